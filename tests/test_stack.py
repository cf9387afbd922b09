"""How layers are stacked: learned initial states.

Each option is compared with what single layers compute when they are put together here, in NumPy.
"""

import copy
import pickle

import numpy as np
import pytest
from cases import dealt_out
from hypothesis import given
from hypothesis import strategies as st
from strategies import budget
from tolerance import assert_close, assert_same_bits

import fastrnn as fr

#: Name -> (class, arguments): every recurrent layer, and the forms that differ in states or widths.
LAYERS = {
    "rnn": (fr.RNN, {}),
    "rnn_residual": (fr.RNN, {"nonlinearity": "softsign", "residual": True}),
    "lstm": (fr.LSTM, {}),
    "lstm_coupled_peephole_proj": (fr.LSTM, {"peephole": True, "coupled": True, "proj_size": 3}),
    "lstm_general": (fr.LSTM, {"activations": ("sigmoid", "softsign", "tanh"), "clip": 3.0}),
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
        self.layer.load_state_dict({n: rng.uniform(-0.9, 0.9, a.shape) for n, a in self.layer.parameters.items()})
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
    form.setdefault("bidirectional", directions == 2 and not (name in EQUAL and form["L"] > 1))
    return Problem(name, ragged=ragged, **form)


# ---------------------------------------------------------------- learned initial states


def without_learning(problem):
    """The same layer without learned states, and those as an argument of its call."""
    layer = problem.layer
    own = {name: array for name, array in layer.parameters.items() if name not in ("h0", "c0")}
    arguments = {name: value for name, value in layer._config().items() if name != "learn_state"}
    plain = type(layer)(**arguments)
    plain.load_state_dict(own)
    learned = [layer.parameters[name + "0"] for name in layer.state_names]
    spread = [np.repeat(part[:, None], problem.B, axis=1) for part in learned]
    return plain, in_form_of(tuple(spread) if len(spread) > 1 else spread[0], spread)


@pytest.mark.parametrize("name", LEARNABLE)
@budget(0.5)
@given(st.data())
def test_learned_states_are_an_argument_that_the_layer_brings(name, data):
    """Bits of outputs and gradients are those of a layer that is given the states; dstate0 too."""
    problem = problems(data.draw, name, learn_state=True, given=False)
    layer, (plain, state) = problem.layer, without_learning(problem)
    x, _, lengths = problem.arguments()
    dy = problem.rng.standard_normal(plain(x, None, lengths)[0].shape).astype(layer.dtype)
    dstate = problem.state_in(problem.random_state())
    expected_y, expected_state = plain(x, problem.state_in(state), lengths)
    y, final = layer(x, lengths=lengths)
    assert_same_bits("y", y, expected_y)
    for ours, theirs in zip(parts_of(final), parts_of(expected_state), strict=True):
        assert_same_bits("state", ours, theirs)
    expected_dx, expected = plain.vjp(x, problem.state_in(state), lengths)[2](dy, dstate)
    for _ in range(2):  # gradients are added
        y, final, pullback = layer.vjp(x, None, lengths)
        dx, dstate0 = pullback(dy, dstate)
        assert_same_bits("y", y, expected_y)
        assert_same_bits("dx", dx, expected_dx)
        for ours, theirs in zip(parts_of(dstate0), parts_of(expected), strict=True):
            assert_same_bits("dstate0", ours, theirs)
    for name, part in zip(layer.state_names, problem.state_out(expected)):
        assert_close(name + "0", layer.grads[name + "0"], 2 * part.sum(axis=1), "gradient")
    plain.vjp(x, problem.state_in(state), lengths)[2](dy, dstate)
    for name, gradient in plain.grads.items():
        assert_same_bits(name, layer.grads[name], gradient)


@pytest.mark.parametrize("name", LEARNABLE)
def test_learned_states_only_where_none_is_given(name):
    """A state that is given has its own gradient, and None in a tuple is zeros."""
    problem = Problem(name, B=2, learn_state=True)
    layer, (plain, _) = problem.layer, without_learning(problem)
    states = [problem.state]
    if isinstance(problem.state, tuple):
        states += [(problem.state[0], None), (None, None)]
    for state in states:
        y, _, pullback = layer.vjp(problem.x, state)
        assert_same_bits("y", y, plain(problem.x, state)[0])
        pullback(np.ones_like(y))
    for name in layer.state_names:
        assert not layer.grads[name + "0"].any()
    # through the checkers of arguments that have to be converted, too
    listed = problem.x.tolist()
    for state in (*states, None):
        expected = layer(problem.x, state)[0]
        assert_same_bits("y", layer(listed, state)[0], expected)
    assert not np.array_equal(layer(listed)[0], plain(listed)[0])


@pytest.mark.parametrize("name", LEARNABLE)
def test_streams_start_from_learned_states(name):
    problem = Problem(name, B=2, learn_state=True, dtype="float32")
    layer = problem.layer
    stream = layer.stream(2)
    for _ in range(2):
        y, state = layer(problem.x)
        for ours, theirs in zip(parts_of(stream.state), parts_of(layer(problem.x[:0])[1]), strict=True):
            assert_same_bits("state", ours, theirs)
        for x_t, y_t in zip(problem.x, y):
            assert_same_bits("y_t", stream.step(x_t).copy(), y_t)
        with layer.edit() as p:  # new weights arrive at the next reset
            for name in layer.state_names:
                p[name + "0"] *= 2
            stream.reset()
    stream.reset(problem.state)
    assert_same_bits("y_t", stream.step(problem.x[0]).copy(), layer(problem.x, problem.state)[0][0])


def test_learned_parameters():
    """Names, shapes, order; zeros at first, and the same draws as without them."""
    lstm = fr.LSTM(2, 5, 3, proj_size=2, bidirectional=True, learn_state=True, rng=0)
    plain = fr.LSTM(2, 5, 3, proj_size=2, bidirectional=True, rng=0)
    assert list(lstm.parameters) == [*plain.parameters, "h0", "c0"] == list(lstm.grads)
    assert lstm.parameters["h0"].shape == (6, 2) and lstm.parameters["c0"].shape == (6, 5)
    assert not lstm.parameters["h0"].any() and not lstm.parameters["c0"].any()
    for name, array in plain.parameters.items():
        assert_same_bits(name, lstm.parameters[name], array)
    assert lstm.rng.bit_generator.state == plain.rng.bit_generator.state
    assert list(fr.SRU(3, 3, learn_state=True).parameters)[-1] == "c0"
    assert "h0" not in fr.SRU(3, 3, learn_state=True).parameters
    assert list(fr.GRU(3, 3, learn_state=True).parameters)[-1] == "h0"


def test_states_are_learned():
    """An optimiser moves them to where the outputs should be."""
    gru = fr.GRU(2, 3, learn_state=True, dtype="float64", rng=0)
    wanted = fr.GRU(2, 3, dtype="float64", rng=0)(np.zeros((1, 1, 2)), np.full((1, 1, 3), 0.5))[1]
    optimiser = fr.optim.Adam(gru, lr=0.05)
    for _ in range(200):
        y, _, pullback = gru.vjp(np.zeros((1, 1, 2)))
        loss, dy = fr.losses.mse_loss(y, wanted)
        pullback(dy)
        optimiser.step()
        optimiser.zero_grad()
    assert loss < 1e-4 and gru.parameters["h0"].any()


# ---------------------------------------------------------------- copies and refusals

COPIES = {
    "pickle": lambda layer, path: pickle.loads(pickle.dumps(layer)),
    "deepcopy": lambda layer, path: copy.deepcopy(layer),
    "file": lambda layer, path: (fr.save(path, layer), fr.load(path))[1],
}
OPTIONS = [
    ("gru", {"learn_state": True}),
]


@pytest.mark.parametrize("form", COPIES)
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_copies_keep_the_options(name, options, form, tmp_path):
    problem = Problem(name, given=False, **options)
    twin = COPIES[form](problem.layer, tmp_path / "layer.safetensors")
    assert repr(twin) == repr(problem.layer) and list(twin.parameters) == list(problem.layer.parameters)
    for ours, theirs in zip(twin(problem.x), problem.layer(problem.x), strict=True):
        for one, other in zip(parts_of(ours), parts_of(theirs), strict=True):
            assert_same_bits("result", one, other)


REFUSED = {
    "learn_state number": (lambda: fr.GRU(2, 3, learn_state=1), TypeError, "learn_state.*True or False.*1"),
    "learn_state slstm": (lambda: fr.SLSTM(2, 3, learn_state=True), ValueError, "learn_state.*False.*SLSTM.*True"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()
