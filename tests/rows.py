"""The table of the cells that the tests of recurrent layers go through: one row per cell and telling choice of options."""

from typing import NamedTuple


class Row(NamedTuple):
    """A cell: the oracle's name for its kind, and the arguments that choose it."""

    kind: str
    arguments: dict = {}
    projected: bool = False  # has a ``proj_size``
    square: str = ""  # "first": the input has H units, "all": inner layers' inputs too


LSTMS = {
    "lstm": {},
    "lstm_peephole": {"peephole": True},
    "lstm_coupled": {"coupled": True},
    "lstm_coupled_peephole": {"peephole": True, "coupled": True},
}
#: One function with an alpha, one without, one with both; those of the gates keep a state from growing.
CHOSEN = (("scaled_tanh", 0.9, 0.6), ("elu", 0.7), "softsign")
CELLS = {
    "rnn_tanh": Row("rnn"),
    "rnn_relu": Row("rnn", {"nonlinearity": "relu"}),
    "rnn_softplus_residual": Row("rnn", {"nonlinearity": "softplus", "residual": True}),
    "rnn_clip": Row("rnn", {"clip": 0.7}),
    **{name: Row("lstm", arguments) for name, arguments in LSTMS.items()},
    **{f"{name}_proj": Row("lstm", arguments, projected=True) for name, arguments in LSTMS.items()},
    "lstm_activations": Row("lstm", {"activations": CHOSEN}),
    "lstm_clip": Row("lstm", {"clip": 0.5}),
    "lstm_activations_coupled": Row("lstm", {"activations": CHOSEN, "coupled": True}),
    "lstm_activations_coupled_peephole": Row("lstm", {"activations": CHOSEN, "clip": 1.5, **LSTMS["lstm_coupled_peephole"]}),
    "lstm_activations_peephole_proj": Row("lstm", {"activations": CHOSEN, "clip": 1.5, "peephole": True}, projected=True),
    "gru": Row("gru"),
    "gru_reset_before": Row("gru", {"reset_after": False}),
    "gru_activations": Row("gru", {"activations": CHOSEN[:2], "clip": 0.8}),
    "gru_activations_before": Row("gru", {"activations": CHOSEN[:2], "clip": 0.8, "reset_after": False}),
    "rnn_norm": Row("rnn", {"layer_norm": True}),
    "lstm_norm": Row("lstm", {"layer_norm": True}),
    "gru_norm": Row("gru", {"layer_norm": True}),
    "gru_norm_before": Row("gru", {"layer_norm": True, "reset_after": False}),
    "mgu": Row("mgu"),
    "mut1": Row("mut1", square="all"),
    "mut2": Row("mut2", square="all"),
    "mut3": Row("mut3"),
    "indrnn": Row("indrnn"),
    "fastrnn": Row("fastrnn"),
    "fastgrnn": Row("fastgrnn"),
    "multiplicative_lstm": Row("multiplicative_lstm"),
    "sru": Row("sru"),
    "sru_equal": Row("sru", {"alpha": 2.0}, square="first"),
    "min_gru": Row("min_gru"),
    "min_lstm": Row("min_lstm"),
    "slstm": Row("slstm"),
    "slstm_exp": Row("slstm", {"forget": "exp"}),
}
#: Further rows, for tests of what they differ by.
FURTHER = {
    **{f"rnn_{name}": Row("rnn", {"nonlinearity": name}) for name in (
        "sigmoid", "identity", "elu", "leaky_relu", "softsign", "softplus", "hard_sigmoid", "hard_tanh", "affine",
        "scaled_tanh", "thresholded_relu")},
    "rnn_elu_alpha": Row("rnn", {"nonlinearity": "elu", "alpha": 0.6}),
    "rnn_leaky_relu_alpha": Row("rnn", {"nonlinearity": "leaky_relu", "alpha": -0.3, "residual": True}),
    "rnn_hard_sigmoid_alpha_beta": Row("rnn", {"nonlinearity": "hard_sigmoid", "alpha": 0.7, "beta": 0.4}),
    "rnn_hard_sigmoid_falling": Row("rnn", {"nonlinearity": "hard_sigmoid", "alpha": -0.5, "beta": 0.3}),
    "rnn_affine_alpha_beta": Row("rnn", {"nonlinearity": "affine", "alpha": 0.8, "beta": -0.2, "clip": 0.9}),
    "rnn_scaled_tanh_alpha_beta": Row("rnn", {"nonlinearity": "scaled_tanh", "alpha": 1.4, "beta": 0.6}),
    "rnn_thresholded_relu_alpha": Row("rnn", {"nonlinearity": "thresholded_relu", "alpha": -0.2}),
    "rnn_norm_softsign_residual": Row("rnn", {"layer_norm": True, "nonlinearity": "softsign", "residual": True}),
    "indrnn_tanh": Row("indrnn", {"nonlinearity": "tanh"}),
    "indrnn_scaled_tanh": Row("indrnn", {"nonlinearity": "scaled_tanh", "alpha": 1.4, "beta": 0.6}),
    "lstm_norm_activations": Row("lstm", {"layer_norm": True, "clip": 1.2, "activations": CHOSEN}),
    "gru_norm_activations": Row("gru", {"layer_norm": True, "clip": 1.2, "activations": CHOSEN[:2]}),
    "gru_norm_before_activations": Row(
        "gru", {"layer_norm": True, "clip": 1.2, "activations": CHOSEN[:2], "reset_after": False}),
}  # fmt: skip
#: The kernels of chosen functions, with functions that map integers to integers.
LINEAR = ("identity", "identity", "identity")
POLYNOMIAL = {
    "rnn_linear": Row("rnn", {"nonlinearity": "affine", "alpha": 2, "beta": 1, "residual": True}),
    **{name.replace("lstm", "lstm_linear"): Row("lstm", {"activations": LINEAR, **arguments})
       for name, arguments in LSTMS.items()},
    "lstm_linear_peephole_proj": Row("lstm", {"activations": LINEAR, "peephole": True}, projected=True),
    "gru_linear": Row("gru", {"activations": LINEAR[:2]}),
    "gru_linear_before": Row("gru", {"activations": LINEAR[:2], "reset_after": False}),
    "indrnn_linear": Row("indrnn", {"nonlinearity": "identity"}),
}
ROWS = CELLS | FURTHER | POLYNOMIAL
#: One cell of each mechanism, for tests in which the cell does not matter otherwise: one product of x and of h; vectors
#: of weights; a stage after; other orders of gates in both products; two stages; functions by choice; statistics of
#: whole rows, in one stage and in two; x without a weight; three stages; no product of h; scalars; a second pair of
#: matrices; a state that does not leave; four states.
TELLING = [
    "rnn_tanh", "lstm_coupled_peephole", "lstm_proj", "gru", "gru_reset_before", "lstm_activations_coupled_peephole",
    "lstm_norm", "gru_norm_before", "mut1", "mut3", "indrnn", "fastgrnn", "multiplicative_lstm", "sru", "slstm",
]  # fmt: skip
LAYERS = {
    "rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "mgu": "MGU", "mut1": "MUT1", "mut2": "MUT2", "mut3": "MUT3",
    "indrnn": "IndRNN", "fastrnn": "FastRNN", "fastgrnn": "FastGRNN", "multiplicative_lstm": "MultiplicativeLSTM",
    "sru": "SRU", "min_gru": "MinGRU", "min_lstm": "MinLSTM", "slstm": "SLSTM",
}  # fmt: skip
