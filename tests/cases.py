"""What the tests of recurrent layers compare: a case, its data, and the comparison itself.

A ``Case`` says everything about one call in small printable values; ``Data(case)`` makes the arrays
from the case's seed, in the user's layout for the engine and in ``(T, B, .)`` float64 for the
oracle. ``check_forward`` and ``check_gradients`` are the comparisons of the whole suite; the seeded
faults hand them a broken oracle.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from tolerance import assert_close

import fastrnn as fr
from fastrnn import reference
from fastrnn._core import engine


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


@dataclass(frozen=True)
class Case:
    """One call of one layer, and the gradients that come back."""

    cell: str = "lstm"
    I: int = 3
    H: int = 5
    P: int = 0  # of the cells with a projection
    L: int = 1
    D: int = 1
    bias: bool = True
    dtype: str = "float64"
    T: int = 4
    B: int = 2
    unbatched: bool = False
    batch_first: bool = False
    lengths: tuple | None = None
    padding: float = 0.0  # what x and dy hold past the lengths
    state: str = "all"  # "none", "all", the name of one of several: the others are None
    dy: bool = True
    dstate: str = "all"
    layout: str = "plain"
    seed: int = 0

    def __post_init__(self):
        """Sizes that the cell does not have become the nearest that it has."""
        if self.row.projected:  # 0 < P < H
            object.__setattr__(self, "H", max(2, self.H))
            object.__setattr__(self, "P", self.P or self.H // 2)
        if self.row.square:
            object.__setattr__(self, "I", self.H)
        if self.row.square == "all" and self.L > 1:
            object.__setattr__(self, "D", 1)
        if self.normed and self.dtype == "float32":
            # Of one or two numbers layer norm leaves a sign, of the product of one input nearly so: their gradients are
            # remainders of what cancels. Of few numbers some rows are close to equal.
            object.__setattr__(self, "H", max(8, self.H))
            object.__setattr__(self, "I", max(4, self.I))

    @property
    def row(self):
        return ROWS[self.cell]

    @property
    def kind(self):
        return self.row.kind

    @property
    def normed(self):
        return self.row.arguments.get("layer_norm", False)

    @property
    def state_names(self):
        return reference.state_names(self.spec)

    @property
    def empty(self):
        """What each state is when none is given."""
        return tuple(reference.cell_of(self.spec).empty.get(name, 0.0) for name in self.state_names)

    @property
    def arguments(self):
        """Keyword arguments of the layer's constructor, sizes aside, that the oracle knows too."""
        extra = {"proj_size": self.P} if self.row.projected else {}
        return {"num_layers": self.L, "bidirectional": self.D == 2, "bias": self.bias,
                **self.row.arguments, **extra}  # fmt: skip

    @property
    def spec(self):
        return reference.Spec(self.kind, self.I, self.H, **self.arguments)

    def new_layer(self, **more):
        """The layer, with parameters of its own."""
        layer = getattr(fr, LAYERS[self.kind])
        arguments = {"batch_first": self.batch_first, "dtype": self.dtype, "rng": self.seed,
                     **self.arguments, **more}  # fmt: skip
        return layer(self.I, self.H, **arguments)


def variant(case, **changes):
    """The same case with other values."""
    return replace(case, **changes)


#: Distances of what a function is applied to from its kinks that rounding cannot cross.
KINK = {"float32": 4e-6, "float64": 1e-12}


def is_smooth(case, margin=None):
    """Is the gradient of this case well defined in its dtype?"""
    return Data(case).kink_margin() > (KINK[case.dtype] if margin is None else margin)


def smooth(case, margin=None):
    """The case, or the same with the first later seed that keeps clear of kinks."""
    for seed in range(case.seed, case.seed + 2000):
        found = variant(case, seed=seed)
        if is_smooth(found, margin):
            return found
    raise AssertionError("no seed keeps clear of the kinks")


@contextmanager
def dealt_out(threads):
    """While active, every call goes to so many threads, however small it is."""
    engine.spread(True)
    try:
        with fr.num_threads(threads):
            yield
    finally:
        engine.spread(False)


@contextmanager
def on_isa(name):
    """Layers made inside use the kernels of this instruction set."""
    before = engine.isa()
    engine.use_isa(name)
    try:
        yield
    finally:
        engine.use_isa(before)


# ---------------------------------------------------------------- arrays in awkward clothes


def _sliced(array):
    """Every other element of a buffer whose other elements are NaN (or the largest integer)."""
    shape = tuple(2 * size + 3 for size in array.shape)
    filler = np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max
    buffer = np.full(shape, filler, array.dtype)
    view = buffer[tuple(slice(1, 2 * size + 1, 2) for size in array.shape)]
    view[...] = array
    return view


def _reversed(array):
    """Negative strides on every axis."""
    flip = (slice(None, None, -1),) * array.ndim
    return np.ascontiguousarray(array[flip])[flip]


def _unaligned(array):
    """Data that starts at an odd address."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _other_float(array):
    """The other dtype; lossless, because values always come from float32."""
    other = {"float32": "float64", "float64": "float32"}.get(array.dtype.name)
    return array.astype(other) if other else array.astype(np.int32)


LAYOUTS = {
    "plain": lambda array: array,
    "fortran": np.asfortranarray,
    "sliced": _sliced,
    "reversed": _reversed,
    "swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "unaligned": _unaligned,
    "read-only": _read_only,
    "other dtype": _other_float,
}


def root(array):
    """The array that owns the memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


# ---------------------------------------------------------------- data of a case


#: Gains of layer norms of products. About 1, where layers begin, what returns of h is of size 1 whatever R is, and most
#: layers are chaotic: after 20 steps rounding decides their results.
GAIN = 0.3
#: Added to scalars, so that a state and its candidate have shares of about 1 together, as where layers begin; a state
#: that has more grows from step to step.
SCALARS = {"alpha": -1.0, "beta": 1.0, "zeta": 1.0, "nu": -2.0}


def _tame(name, value):
    """A random parameter, moved to where long sequences keep their precision."""
    if name.startswith(("weight_ln_ih", "weight_ln_hh")):
        return GAIN * value
    return value + SCALARS.get(name.partition("_")[0], 0.0)


class Data:
    """The arrays of a case: ``x, state, lengths, dy, dstate`` for the engine, ``*_plain`` for the oracle.

    Values are float32 numbers in either dtype, so that engine and oracle see the same ones.
    """

    def __init__(self, case):
        self.case, self.spec = case, case.spec
        rng = np.random.default_rng(case.seed)
        drawn = reference.random_parameters(self.spec, rng)
        self.parameters = {name: _single(_tame(name, value)) for name, value in drawn.items()}
        self.x_plain = _single(rng.standard_normal((case.T, case.B, case.I)))
        self.dy_plain = _single(rng.standard_normal((case.T, case.B, self.spec.total_output_size)))
        if case.lengths is not None:
            past = np.arange(case.T)[:, None] >= np.array(case.lengths, int)
            self.x_plain[past] = self.dy_plain[past] = case.padding
        if not case.dy:
            self.dy_plain = None
        self.state_plain = self._state(case.state, rng)
        self.dstate_plain = self._state(case.dstate, rng)

        self.lengths = None if case.lengths is None else self._dress(np.array(case.lengths, np.int64))
        self.x = self._sequence(self.x_plain)
        self.dy = None if self.dy_plain is None else self._sequence(self.dy_plain)
        self.state = self._user_state(self.state_plain)
        self.dstate = self._user_state(self.dstate_plain)

    def _state(self, form, rng):
        """A state of the contract for the oracle; always draws, so that other arrays do not change."""
        drawn = reference.random_state(self.spec, rng, self.case.B)
        if form == "none":
            return None
        if not isinstance(drawn, tuple):
            return _single(drawn)
        return tuple(_single(part) if form in ("all", name) else None for name, part in zip(self.case.state_names, drawn))

    def _dress(self, array):
        array = np.ascontiguousarray(array)
        return LAYOUTS[self.case.layout](array)

    def _sequence(self, plain):
        """``(T, B, .)`` in the user's layout and dtype."""
        array = plain.astype(self.case.dtype)
        if self.case.unbatched:
            return self._dress(array[:, 0])
        return self._dress(array.swapaxes(0, 1) if self.case.batch_first else array)

    def _user_state(self, plain):
        if plain is None or isinstance(plain, tuple):
            return plain and tuple(None if part is None else self._user_state(part) for part in plain)
        array = plain.astype(self.case.dtype)
        return self._dress(array[:, 0] if self.case.unbatched else array)

    def layer(self):
        """A layer of this case with the data's parameters."""
        layer = self.case.new_layer()
        layer.load_state_dict(self.parameters)
        return layer

    def calls(self):
        """The arguments of the layer's call."""
        return (self.x, self.state, self.lengths)

    def plain_y(self, y):
        """The engine's ``y`` as the oracle has it: (T, B, .)."""
        if self.case.unbatched:
            return y[:, None]
        return y.swapaxes(0, 1) if self.case.batch_first else y

    def plain_state(self, state):
        """The engine's state, or gradient of it, as a tuple of (L*D, B, .)."""
        names = self.case.state_names
        assert isinstance(state, tuple) == (len(names) > 1), f"the state is {names}"
        assert len(state_parts(state)) == len(names), f"the state is a tuple {names}"
        return tuple(part[:, None] if self.case.unbatched else part for part in state_parts(state))

    def forward(self, oracle=reference):
        """y, final state and tape, of the oracle."""
        lengths = self.case.lengths
        return oracle.forward(self.spec, self.parameters, self.x_plain, self.state_plain, lengths)

    def results(self, oracle=reference):
        """y, final state and (dx, dstate0, parameter gradients) of the oracle."""
        y, state, tape = self.forward(oracle)
        return y, state, oracle.backward(self.spec, self.parameters, tape, self.dy_plain, self.dstate_plain)

    def initial(self):
        """The state of the call with no part missing, plain."""
        given = state_parts(self.state_plain) if self.state_plain is not None else len(self.case.empty) * (None,)
        shapes = reference.state_shapes(self.spec, self.case.B).values()
        return tuple(np.full(shape, empty) if part is None else part
                     for part, shape, empty in zip(given, shapes, self.case.empty, strict=True))  # fmt: skip

    def kink_margin(self):
        """How far this case stays from where a gradient jumps; inf if none does."""
        if not reference.has_kinks(self.spec):
            return np.inf
        return reference.kink_margin(self.spec, self.parameters, self.forward()[2])


def state_parts(state):
    """A state as the user gives or gets it, as a tuple."""
    return state if isinstance(state, tuple) else (state,)


def _single(values):
    """Rounded to float32, as float64."""
    return values.astype(np.float32).astype(np.float64)


# ---------------------------------------------------------------- the comparison


class Untouched:
    """Checks on leaving that no byte of the caller's arrays, or around them, has changed."""

    def __init__(self, *arguments):
        flat = []
        for argument in arguments:
            flat += argument if isinstance(argument, tuple) else [argument]
        self._arrays = [root(array) for array in flat if isinstance(array, np.ndarray)]

    def __enter__(self):
        self._before = [array.tobytes() for array in self._arrays]

    def __exit__(self, *exception):
        for array, before in zip(self._arrays, self._before):
            assert array.tobytes() == before, "an array of the caller was modified"
        return False


def compare_states(case, label, state, expected, kind):
    """States, or gradients of them, as tuples of (L*D, B, .)."""
    for name, ours, theirs in zip(case.state_names, state, expected, strict=True):
        assert_close(f"{label} {name}", ours, theirs, kind, case.dtype)


def check_forward(case, oracle=reference):
    """The layer's call against the oracle: output, final state, dtypes, shapes, caller's arrays."""
    data = Data(case)
    layer, expected = data.layer(), data.forward(oracle)
    with Untouched(*data.calls()):
        y, state = layer(*data.calls())
    assert_close("y", data.plain_y(y), expected[0], "forward", case.dtype)
    compare_states(case, "state", data.plain_state(state), state_parts(expected[1]), "forward")


def check_gradients(case, oracle=reference):
    """``vjp`` and its pullback against the oracle: every gradient, by name."""
    data = Data(case)
    compare_gradients(data, data.results(oracle))


def compare_gradients(data, results):
    """The same for results of the oracle that are there already."""
    case, layer = data.case, data.layer()
    expected_y, expected_state, expected = results
    with Untouched(*data.calls(), data.dy, data.dstate):
        y, state, pullback = layer.vjp(*data.calls())
        dx, dstate0 = pullback(data.dy, data.dstate)
    assert_close("y", data.plain_y(y), expected_y, "forward", case.dtype)
    compare_states(case, "state", data.plain_state(state), state_parts(expected_state), "forward")
    assert_close("dx", data.plain_y(dx), expected[0], "gradient", case.dtype)
    compare_states(case, "dstate0", data.plain_state(dstate0), state_parts(expected[1]), "gradient")
    assert list(layer.grads) == list(expected[2])
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, expected[2][name], "gradient", case.dtype)
