"""What the tests of stacked layers share: every recurrent layer, one call of it, and its comparison with the oracle."""

from dataclasses import fields

import numpy as np
from hypothesis import strategies as st
from tolerance import assert_close

import fastrnn as fr
from fastrnn import reference

#: Name -> (class, arguments): every recurrent layer, and the forms that differ in states or widths.
LAYERS = {
    "rnn": (fr.RNN, {}),
    "rnn_residual": (fr.RNN, {"nonlinearity": "sigmoid", "residual": True}),
    "lstm": (fr.LSTM, {}),
    "lstm_coupled_peephole_proj": (fr.LSTM, {"peephole": True, "coupled": True, "proj_size": 2}),
    "lstm_general": (fr.LSTM, {"activations": ("sigmoid", "scaled_tanh", "softplus"), "clip": 3.0}),
    "lstm_norm": (fr.LSTM, {"layer_norm": True}),
    "gru": (fr.GRU, {}),
    "gru_reset_before": (fr.GRU, {"reset_after": False}),
    "mgu": (fr.MGU, {}),
    "mut1": (fr.MUT1, {}),
    "mut2": (fr.MUT2, {}),
    "mut3": (fr.MUT3, {}),
    "indrnn": (fr.IndRNN, {"nonlinearity": "tanh"}),
    "fastrnn": (fr.FastRNN, {}),
    "fastgrnn": (fr.FastGRNN, {}),
    "multiplicative_lstm": (fr.MultiplicativeLSTM, {}),
    "sru": (fr.SRU, {"alpha": 1.25}),
    "min_gru": (fr.MinGRU, {}),
    "min_lstm": (fr.MinLSTM, {}),
    "slstm": (fr.SLSTM, {}),
}
LEARNABLE = sorted(set(LAYERS) - {"slstm"})
WITH_CELLS = ["lstm", "lstm_coupled_peephole_proj", "lstm_general", "lstm_norm", "multiplicative_lstm", "sru", "slstm"]
EQUAL = ("mut1", "mut2")  # their inputs are as wide as their states


def parts_of(state):
    return state if isinstance(state, tuple) else (state,)


def in_form_of(state, parts):
    return tuple(parts) if isinstance(state, tuple) else parts[0]


class Problem:
    """A layer of some options, with random parameters, and the arguments of one call."""

    def __init__(self, name, I=3, H=4, L=2, T=5, B=3, *, dtype="float64", ragged=False, unbatched=False, given=True,
                 padding=np.nan, seed=0, **options):
        cls, arguments = LAYERS[name]
        self.name, self.T, self.B = name, T, 1 if unbatched else B
        self.unbatched = unbatched
        rng = self.rng = np.random.default_rng(seed)
        self.layer = cls(H if name in EQUAL else I, H, L, dtype=dtype, rng=seed, **arguments, **options)
        bound = 1.5 * H**-0.5
        self.layer.load_state_dict({n: rng.uniform(-bound, bound, a.shape) for n, a in self.layer.parameters.items()})
        self.lengths = rng.integers(0, T + 1, self.B) if ragged else None
        self.x = rng.standard_normal((T, self.B, self.layer.input_size)).astype(dtype)
        if ragged:
            self.x[~self.valid] = padding
        self.state = self.random_state() if given else None

    @property
    def valid(self):
        """(T, B): which steps belong to a sequence."""
        lengths = np.full(self.B, self.T) if self.lengths is None else self.lengths
        return np.arange(self.T)[:, None] < lengths

    def random_state(self):
        rows = self.layer.num_layers * self.layer.num_directions
        widths = zip(self.layer.state_names, self.layer.state_sizes)
        parts = [self.rng.uniform(0.5 if name == "n" else -1, 1, (rows, self.B, width)).astype(self.layer.dtype)
                 for name, width in widths]  # fmt: skip
        return in_form_of(tuple(parts) if len(parts) > 1 else parts[0], parts)

    def random_dstate(self):
        """The gradient of a loss on the final states; SLSTM's only on h, which is what it is exact for."""
        state = self.random_state()
        return (state[0], None, None, None) if self.name == "slstm" else state

    def laid_out(self, array):
        """(T, B, .) as the layer takes it."""
        if array is None or self.unbatched:
            return array if array is None else array[:, 0]
        return array.swapaxes(0, 1) if self.layer.batch_first else array

    def plain(self, array):
        """What the layer returns as (T, B, .)."""
        if self.unbatched:
            return array[:, None]
        return np.ascontiguousarray(array.swapaxes(0, 1)) if self.layer.batch_first else array

    def state_in(self, state):
        if state is None or not self.unbatched:
            return state
        return in_form_of(state, [part if part is None else part[:, 0] for part in parts_of(state)])

    def state_out(self, state):
        return [part[:, None] if self.unbatched else part for part in parts_of(state)]

    def arguments(self):
        return self.laid_out(self.x), self.state_in(self.state), self.lengths


MERGES, SKIPS = ["concat", "sum", "mean", "mul"], ["none", "input", "output", "residual"]
STACKS = {"merge": st.sampled_from(MERGES), "skip": st.sampled_from(SKIPS)}
FORMS = st.fixed_dictionaries(
    {
        "I": st.sampled_from([1, 4, 9, 17]),
        "H": st.sampled_from([4, 9, 17]),
        "L": st.sampled_from([1, 2, 3]),
        "T": st.sampled_from([0, 1, 2, 5]),
        "B": st.sampled_from([0, 1, 3, 8]),
        "dtype": st.sampled_from(["float32", "float64"]),
        "batch_first": st.booleans(),
        "unbatched": st.sampled_from([False, False, True]),
        "padding": st.sampled_from([np.nan, np.inf, 1e30]),
        "seed": st.integers(0, 2**16),
    }
)


def problems(draw, name, **more):
    form = draw(FORMS) | more
    ragged = not form["unbatched"] and draw(st.booleans())
    directions = 2 if draw(st.booleans()) else 1
    form.setdefault("bidirectional", directions == 2)
    if name in EQUAL and form["L"] > 1:  # inputs of inner layers have to stay as wide as their states
        form["bidirectional"] &= form.get("merge", "concat") != "concat"
        if form.get("skip") == "input":
            form["skip"] = "residual"
    return Problem(name, ragged=ragged, **form)


# ---------------------------------------------------------------- the oracle

KINDS = {"MultiplicativeLSTM": "multiplicative_lstm", "MinGRU": "min_gru", "MinLSTM": "min_lstm"}


def spec_of(layer, oracle=reference):
    """The layer as the oracle has it."""
    config, name = layer._config(), type(layer).__name__
    known = {field.name: config[field.name] for field in fields(oracle.Spec) if field.name in config}
    return oracle.Spec(KINDS.get(name, name.lower()), **known | {"zoneout": config.get("zoneout") or None})


def check_against_the_oracle(problem, masks=None, noise=None, oracle=reference, with_dc=True):
    """Outputs and every gradient of ``vjp``, by name; masks as the oracle takes them, those that the layer draws."""
    layer, spec, rng = problem.layer, spec_of(problem.layer, oracle), problem.rng
    parameters = {name: array.astype(float) for name, array in layer.parameters.items()}
    noise = reference.Noise() if noise is None else noise
    with np.errstate(invalid="ignore"):  # of what lies past the lengths
        expected_y, expected_state, tape = oracle.forward(
            spec, parameters, problem.x, problem.state, problem.lengths, masks, noise
        )
    dy, dstate = rng.standard_normal(expected_y.shape).astype(layer.dtype), problem.random_dstate()
    dc_seq = rng.standard_normal(tape.c_seq.shape).astype(layer.dtype)
    dy[~problem.valid] = dc_seq[~problem.valid] = np.nan
    y, state, *c_seq, pullback = layer.vjp(*problem.arguments())
    if not (c_seq and with_dc):
        dc_seq = None
    dx, dstate0 = pullback(problem.laid_out(dy), problem.state_in(dstate), dc_seq=problem.laid_out(dc_seq))
    assert_close("y", problem.plain(y), expected_y, "forward", layer.dtype)
    for array in c_seq:
        assert_close("c_seq", problem.plain(array), tape.c_seq, "forward", layer.dtype)
    for ours, theirs in zip(problem.state_out(state), parts_of(expected_state), strict=True):
        assert_close("state", ours, theirs, "forward")
    expected_dx, expected, grads = oracle.backward(spec, parameters, tape, dy, dstate, dc_seq)
    assert_close("dx", problem.plain(dx), expected_dx, "gradient", layer.dtype)
    for ours, theirs in zip(problem.state_out(dstate0), parts_of(expected), strict=True):
        assert_close("dstate0", ours, theirs, "gradient")
    assert list(layer.grads) == list(grads)
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, grads[name], "gradient")


# ---------------------------------------------------------------- central differences


def check_differences(loss, label, array, gradient, eps=3e-4):
    """Of every entry of ``array``, which ``loss`` reads: of the fourth order, since ``alpha_l0`` and its like are alone in
    their arrays, and small."""

    def at(i, value):
        array[i] = value
        return loss()

    numeric = np.empty(array.shape)
    for i in np.ndindex(array.shape):
        value = array[i]
        near, far = (at(i, value + step) - at(i, value - step) for step in (eps, 2 * eps))
        numeric[i] = (8 * near - far) / (12 * eps)
        array[i] = value
    assert_close(label, gradient, numeric, "numeric")


def check_all_differences(problem, run):
    """Every parameter, x and the initial states; ``run`` calls ``vjp`` with the same masks each time."""
    layer, rng = problem.layer, problem.rng
    y, state, *c_seq, pullback = run()
    dy, dstate = rng.standard_normal(y.shape), problem.random_dstate()
    dc_seq = [rng.standard_normal(array.shape) for array in c_seq]
    layer.zero_grad()
    dx, dstate0 = pullback(dy, dstate, **dict(zip(["dc_seq"], dc_seq)))

    def loss():
        y, state, *c_seq, _ = run()
        pairs = [(y, dy), *zip(parts_of(state), parts_of(dstate)), *zip(c_seq, dc_seq)]
        return sum(np.sum(array * d) for array, d in pairs if d is not None)

    check_differences(loss, "x", problem.x, dx)
    if problem.state is not None:
        for label, part, gradient in zip(layer.state_names, parts_of(problem.state), parts_of(dstate0)):
            if label != "m":
                check_differences(loss, f"state {label}", part, gradient)
    with layer.edit() as p:
        for label, array in p.items():
            check_differences(loss, label, array, layer.grads[label])
