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
    memory : str
        The gates that say how long the state is kept, each behind a sign: ``"+f"`` keeps it as ``f`` opens,
        ``"-i"`` as ``i`` closes. Empty without such gates.
    """

    __slots__ = ("gates", "states", "vectors", "memory")

    def __init__(self, gates, states=("h",), vectors=(), memory=""):
        self.gates, self.states, self.vectors, self.memory = gates, states, vectors, memory


CELLS = {
    "rnn_tanh": Cell("h"),
    "rnn_relu": Cell("h"),
    "lstm": Cell("ifgo", ("h", "c"), memory="+f-i"),
    "lstm_peephole": Cell("ifgo", ("h", "c"), ("ci", "cf", "co"), memory="+f-i"),
    "lstm_coupled": Cell("fgo", ("h", "c"), memory="+f"),
    "lstm_coupled_peephole": Cell("fgo", ("h", "c"), ("cf", "co"), memory="+f"),
    "gru": Cell("rzn", memory="+z"),
    "gru_reset_before": Cell("rzn", memory="+z"),
}
