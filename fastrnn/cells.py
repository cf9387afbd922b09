"""The table of recurrent cells: one row per cell.

A row names what Python needs to know of a cell; its stages and kernels are in ``_core/kernels``.
"""


class Cell:
    """A row: gate order, states, and which parameters there are besides the two biases.

    Attributes
    ----------
    gates : str
        Gate order of the rows of ``weight_ih`` and ``weight_hh``.
    states : tuple of str
    vectors : tuple of str
        Elementwise weights, each ``(H,)``, named ``weight_<vector>_l<layer>``.
    """

    __slots__ = ("gates", "states", "vectors")

    def __init__(self, gates, states=("h",), vectors=()):
        self.gates, self.states, self.vectors = gates, states, vectors


CELLS = {
    "rnn_tanh": Cell("h"),
    "rnn_relu": Cell("h"),
    "lstm": Cell("ifgo", ("h", "c")),
    "lstm_peephole": Cell("ifgo", ("h", "c"), ("ci", "cf", "co")),
    "lstm_coupled": Cell("fgo", ("h", "c")),
    "lstm_coupled_peephole": Cell("fgo", ("h", "c"), ("cf", "co")),
    "gru": Cell("rzn"),
    "gru_reset_before": Cell("rzn"),
}
