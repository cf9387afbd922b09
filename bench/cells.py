"""The cells that a case can name: fastrnn's layer and its options, and how many multiply-adds a step has.

Imports nothing of the suite. The plain ones are those that every library has.
"""

from typing import NamedTuple


class Cell(NamedTuple):
    """A recurrent layer with its options. Blocks are of H rows of a matrix; a step multiplies each once."""

    layer: str  # its class in fastrnn; RNN, LSTM and GRU are also those of the other libraries
    inner: float  # blocks of I columns, which multiply x
    recurrent: float  # blocks of H columns, which multiply states
    options: dict = {}
    stages: int = 1  # products at a step that wait for each other
    projected: bool = False  # proj_size is H / 2

    @property
    def normed(self):
        """Whether there is a layer normalisation."""
        return self.options.get("layer_norm", False)


PLAIN = ("LSTM", "GRU", "RNN")
CELLS = {
    "LSTM": Cell("LSTM", 4, 4),
    "GRU": Cell("GRU", 3, 3),
    "RNN": Cell("RNN", 1, 1),
    "RNN relu": Cell("RNN", 1, 1, {"nonlinearity": "relu"}),
    "RNN softplus": Cell("RNN", 1, 1, {"nonlinearity": "softplus"}),
    "RNN residual": Cell("RNN", 1, 1, {"residual": True}),
    "RNN norm": Cell("RNN", 1, 1, {"layer_norm": True}),
    "LSTM peephole": Cell("LSTM", 4, 4, {"peephole": True}),
    "LSTM coupled": Cell("LSTM", 3, 3, {"coupled": True}),
    "LSTM coupled peephole": Cell("LSTM", 3, 3, {"coupled": True, "peephole": True}),
    "LSTM projected": Cell("LSTM", 4, 2.5, stages=2, projected=True),
    "LSTM activations": Cell("LSTM", 4, 4, {"activations": ("hard_sigmoid", "softsign", "tanh"), "clip": 3.0}),
    "LSTM norm": Cell("LSTM", 4, 4, {"layer_norm": True}),
    "GRU before": Cell("GRU", 3, 3, {"reset_after": False}, stages=2),
    "GRU activations": Cell("GRU", 3, 3, {"activations": ("hard_sigmoid", "softsign"), "clip": 3.0}),
    "GRU norm": Cell("GRU", 3, 3, {"layer_norm": True}),
    "GRU before norm": Cell("GRU", 3, 3, {"reset_after": False, "layer_norm": True}, stages=2),
    "MGU": Cell("MGU", 2, 2, stages=2),
    "MUT1": Cell("MUT1", 2, 2, stages=2),
    "MUT2": Cell("MUT2", 2, 3, stages=2),
    "MUT3": Cell("MUT3", 3, 3, stages=3),
    "IndRNN": Cell("IndRNN", 1, 0),
    "FastRNN": Cell("FastRNN", 1, 1),
    "FastGRNN": Cell("FastGRNN", 1, 1),
    "MultiplicativeLSTM": Cell("MultiplicativeLSTM", 5, 5, stages=2),
    "SRU": Cell("SRU", 3, 0),  # where I = H
    "MinGRU": Cell("MinGRU", 2, 0),
    "MinLSTM": Cell("MinLSTM", 3, 0),
    "SLSTM": Cell("SLSTM", 4, 4),
    "SLSTM exp": Cell("SLSTM", 4, 4, {"forget": "exp"}),
}
