"""The layers that ``fr.diagnostics`` is tested with, and what the tests need of them.

Time is counted as the module does: h_t is the state after t steps, so it is ``y[t - 1]``.
"""

import numpy as np

import fastrnn as fr
from fastrnn.reference import Spec

T, B, I, H = 5, 2, 3, 4

#: Every kind of cell, as a layer with these arguments.
LAYERS = {
    "rnn": (fr.RNN, {}),
    "rnn_general": (fr.RNN, {"nonlinearity": "softsign", "residual": True, "clip": 0.8}),
    "lstm": (fr.LSTM, {}),
    "lstm_projected": (fr.LSTM, {"proj_size": 2, "peephole": True}),
    "lstm_general": (fr.LSTM, {"coupled": True, "peephole": True, "clip": 0.7,
                               "activations": ("hard_sigmoid", ("scaled_tanh", 1.5, 0.7), "tanh")}),
    "gru": (fr.GRU, {}),
    "gru_before": (fr.GRU, {"reset_after": False}),
    "gru_general": (fr.GRU, {"activations": (("hard_sigmoid", 0.3, 0.4), "softsign"), "clip": 0.9}),
    "rnn_norm": (fr.RNN, {"layer_norm": True}),
    "lstm_norm": (fr.LSTM, {"layer_norm": True, "clip": 0.9}),
    "gru_norm": (fr.GRU, {"layer_norm": True}),
    "gru_norm_before": (fr.GRU, {"layer_norm": True, "reset_after": False}),
    "mgu": (fr.MGU, {}),
    "mut1": (fr.MUT1, {}),
    "mut2": (fr.MUT2, {}),
    "mut3": (fr.MUT3, {}),
    "indrnn": (fr.IndRNN, {"nonlinearity": "tanh"}),
    "fastrnn": (fr.FastRNN, {}),
    "fastgrnn": (fr.FastGRNN, {}),
    "multiplicative_lstm": (fr.MultiplicativeLSTM, {}),
    "sru": (fr.SRU, {"alpha": 0.8}),
    "sru_projected": (fr.SRU, {}),
    "min_gru": (fr.MinGRU, {}),
    "min_lstm": (fr.MinLSTM, {}),
    "slstm": (fr.SLSTM, {}),
    "slstm_exp": (fr.SLSTM, {"forget": "exp"}),
}  # fmt: skip
#: Those whose state has h.
WITH_H = [name for name in LAYERS if not name.startswith("sru")]

NONLINEARITIES = {
    "identity": {}, "sigmoid": {}, "tanh": {}, "relu": {}, "elu": {"alpha": 0.7}, "leaky_relu": {"alpha": 0.2},
    "softsign": {}, "softplus": {}, "hard_sigmoid": {}, "hard_tanh": {}, "affine": {"alpha": 0.6, "beta": 0.1},
    "scaled_tanh": {"alpha": 1.3, "beta": 0.8}, "thresholded_relu": {"alpha": 0.3},
}  # fmt: skip


def build(name, **more):
    """A layer with larger weights than it is born with, so that no gradient is small by accident."""
    cls, arguments = LAYERS[name]
    sizes = {"input_size": H if name.startswith("mut") or name == "sru" else I, "hidden_size": H}
    layer = cls(**{**sizes, "dtype": "float64", "rng": 1, **arguments, **more})
    rng = np.random.default_rng(5)
    layer.load_state_dict({key: rng.uniform(-0.9, 0.9, array.shape) for key, array in layer.parameters.items()})
    return layer


#: Ways to join two layers and two directions: options of the layer, and those that the oracle does not have.
STACKS = {
    "plain": {},
    "sum, input": {"merge": "sum", "skip": "input"},
    "mean, output": {"merge": "mean", "skip": "output"},
    "mul, residual": {"merge": "mul", "skip": "residual"},
    "residual from x on": {"skip": "residual", "bidirectional": False},
    "learned": {"learn_state": True},
}
NOT_SEEN = {"checkpoint": 2, "dropout": 0.5, "recurrent_dropout": 0.5}


def stack_of(name, stack, **more):
    """Two layers of a cell, and the same for the oracle."""
    options = {"num_layers": 2, "bidirectional": True, **more, **STACKS[stack]}
    layer = build(name, **options, **NOT_SEEN, **({"input_size": H} if stack == "residual from x on" else {}))
    return layer, Spec(type(layer).__name__.lower(), layer.input_size, H, **{**LAYERS[name][1], **options})


def arrays(layer, *, T=T, B=B, seed=0):
    """x, dy and an initial state (with m of an sLSTM at 0) for a time-first call."""
    rng = np.random.default_rng(seed)
    rows = layer.num_layers * layer.num_directions
    x = rng.standard_normal((T, B, layer.input_size))
    dy = rng.standard_normal(layer(x)[0].shape)
    parts = [np.zeros((rows, B, width)) if name == "m" else rng.uniform(0.1, 0.9, (rows, B, width))
             for name, width in zip(layer.state_names, layer.state_sizes)]  # fmt: skip
    return x, dy, joined(parts)


def ragged(lengths, *given):
    """Copies of (T, B, .) arrays that hold NaN past the lengths."""
    copies = [array.copy() for array in given]
    for array in copies:
        array[np.arange(len(array))[:, None] >= np.array(lengths)] = np.nan
    return copies


def joined(parts):
    return parts[0] if len(parts) == 1 else tuple(parts)


def split(state):
    return state if isinstance(state, tuple) else (state,)


def states_of(layer, x, state):
    """The states after 0, 1, ..., T steps of a layer of one direction, each a tuple."""
    return [split(state), *(split(layer(x[: t + 1], state)[1]) for t in range(len(x)))]


def rotation(size, angle):
    """Eigenvalues size * exp(+-i angle): their absolute value is ``size``, their real parts are not."""
    return size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
