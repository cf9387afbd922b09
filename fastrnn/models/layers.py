"""The recurrent layers of models by the names of their cells.

Imports numpy, the public layers, ``init`` and ``_validate``.
"""

import numpy as np

from .. import _validate, layers, variants
from ..init import _orthogonal

#: Name -> layer, and the options of it that the name stands for.
LAYERS = {
    "rnn": (layers.RNN, {}),
    "rnn_relu": (layers.RNN, {"nonlinearity": "relu"}),
    "rnn_norm": (layers.RNN, {"layer_norm": True}),
    "lstm": (layers.LSTM, {}),
    "lstm_peephole": (layers.LSTM, {"peephole": True}),
    "lstm_coupled": (layers.LSTM, {"coupled": True}),
    "lstm_coupled_peephole": (layers.LSTM, {"coupled": True, "peephole": True}),
    "lstm_norm": (layers.LSTM, {"layer_norm": True}),
    "gru": (layers.GRU, {}),
    "gru_reset_before": (layers.GRU, {"reset_after": False}),
    "gru_norm": (layers.GRU, {"layer_norm": True}),
    "gru_norm_before": (layers.GRU, {"layer_norm": True, "reset_after": False}),
    "mgu": (variants.MGU, {}),
    "mut1": (variants.MUT1, {}),
    "mut2": (variants.MUT2, {}),
    "mut3": (variants.MUT3, {}),
    "indrnn": (variants.IndRNN, {}),
    "fastrnn": (variants.FastRNN, {}),
    "fastgrnn": (variants.FastGRNN, {}),
    "multiplicative_lstm": (variants.MultiplicativeLSTM, {}),
    "sru": (variants.SRU, {}),
    "min_gru": (variants.MinGRU, {}),
    "min_lstm": (variants.MinLSTM, {}),
    "slstm": (variants.SLSTM, {}),
}
#: Cells that add their input to their units, so that it must be as wide.
SQUARE = ("mut1", "mut2")


def layer_of(cell, sizes, options):
    """The layer of a cell's name, its sizes (input, hidden, layers) and further options."""
    kind, given = LAYERS[_validate.one_of(cell, "cell", LAYERS)]
    if cell in SQUARE:
        _validate.embedding_width(cell, *sizes[:2])
    return kind(*sizes, **given, **_validate.language_options(options, cell, given))


def output_width(layer):
    """How wide ``y`` of a layer of one direction is."""
    config = layer._config()
    return (layer.proj_size or layer.hidden_size) * (layer.num_layers if config["skip"] == "output" else 1)


def initialise(layer, rng):
    """Orthogonal recurrent weights, block by block, and a bias of 1 for a gate f that keeps the state.

    What else there is stays as it has been drawn: unlike ``init.apply``, which is for the layer as a whole.
    """
    row, forgets = layer._row, layer.bias and "+f" in layer._row.memory
    with layer.edit() as p:
        for suffix in (f"_l{n}{side}" for n in range(layer.num_layers) for side in ("", "_reverse")[: layer.num_directions]):
            R = p.get(f"weight_hh{suffix}")
            if R is not None and R.ndim == 2:
                for block in np.split(R, len(row.recurrent)):
                    block[:] = _orthogonal(block.shape, layer.hidden_size, rng)
            for name in row.biases if forgets else ():
                gates = np.split(p[f"{name}{suffix}"], len(row.biased))
                gates[row.biased.index("f")][:] = 1 if name == "bias_ih" else 0
