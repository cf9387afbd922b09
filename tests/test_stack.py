"""How layers are stacked: merged directions, skips, learned initial states.

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
    "lstm_coupled_peephole_proj": (fr.LSTM, {"peephole": True, "coupled": True, "proj_size": 2}),
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
    form.setdefault("bidirectional", directions == 2)
    if name in EQUAL and form["L"] > 1:  # inputs of inner layers have to stay as wide as their states
        form["bidirectional"] &= form.get("merge", "concat") != "concat"
        if form.get("skip") == "input":
            form["skip"] = "residual"
    return Problem(name, ragged=ragged, **form)


# ---------------------------------------------------------------- stacks, put together from single layers

MERGED = {
    "concat": lambda a, b: np.concatenate([a, b], axis=2),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}
#: Gradients of the two directions' outputs a and b.
PARTED = {
    "concat": lambda d, a, b: np.split(d, 2, axis=2),
    "sum": lambda d, a, b: (d, d),
    "mean": lambda d, a, b: (d / 2, d / 2),
    "mul": lambda d, a, b: (d * b, d * a),
}


class Composed:
    """The same stack of single layers, one ``vjp`` each; arrays are (T, B, .)."""

    def __init__(self, problem):
        layer, self.problem = problem.layer, problem
        config = layer._config()
        self.merge, self.skip, self.D = config["merge"], config["skip"], layer.num_directions
        plain = {"num_layers": 1, "merge": "concat", "skip": "none", "learn_state": False, "batch_first": False, "dropout": 0}
        self.layers = []
        for l in range(layer.num_layers):
            width = layer.parameters[f"weight_ih_l{l}"].shape[1]
            single = type(layer)(**config | plain | {"input_size": width})
            single.load_state_dict({n: layer.parameters[n.replace("_l0", f"_l{l}")] for n in single.parameters})
            self.layers.append(single)

    def rows(self, state, l):
        """Those of layer l of a state."""
        if state is None:
            return None
        rows = slice(l * self.D, (l + 1) * self.D)
        return in_form_of(state, [part if part is None else part[rows] for part in parts_of(state)])

    def forward(self, masks=None):
        """y and the parts of the final state."""
        p, self.pulls, self.outputs, self.masks, states, beside = self.problem, [], [], masks, [], []
        self.skipped = []
        u = p.x
        for l, single in enumerate(self.layers):
            r, state, pull = single.vjp(u, self.rows(p.state, l), p.lengths)
            a, b = np.split(r, 2, axis=2) if self.D == 2 else (r, None)
            m = r if self.D == 1 else MERGED[self.merge](a, b)
            v = m if masks is None or l == len(masks) else m * masks[l]
            self.skipped.append(self.skip == "residual" and u.shape == v.shape)
            if self.skipped[-1]:
                v = np.where(p.valid[..., None], v + u, 0).astype(v.dtype)
            u = np.concatenate([v, p.x], axis=2) if self.skip == "input" else v
            self.pulls.append(pull)
            self.outputs.append((a, b))
            states.append(parts_of(state))
            beside.append(m)
        y = np.concatenate(beside, axis=2) if self.skip == "output" else v
        self.width = m.shape[2]
        return np.ascontiguousarray(y), [np.concatenate(parts) for parts in zip(*states)]

    def backward(self, dy, dstate):
        """dx and the parts of dstate0; the gradients are in the single layers."""
        p, M, L = self.problem, self.width, len(self.layers)
        dy = np.where(p.valid[..., None], dy, 0).astype(dy.dtype)
        dv, dx, dstates = dy[:, :, -M:], 0, [None] * L
        for l in range(L - 1, -1, -1):
            dm = dv if self.masks is None or l == L - 1 else dv * self.masks[l]
            if self.skip == "output" and l < L - 1:
                dm = dm + dy[:, :, l * M : (l + 1) * M]
            if self.D == 2:
                dm = np.concatenate(PARTED[self.merge](dm, *self.outputs[l]), axis=2)
            du, dstates[l] = self.pulls[l](dm, self.rows(dstate, l))
            if self.skip == "input" and l:
                dx, du = dx + du[:, :, M:], du[:, :, :M]
            dv = du + dv if self.skipped[l] else du
        return dx + dv, [np.concatenate(parts) for parts in zip(*map(parts_of, dstates))]

    def gradients(self):
        for l, single in enumerate(self.layers):
            for name, gradient in single.grads.items():
                yield name.replace("_l0", f"_l{l}"), gradient


def check_composed(problem, masks=None, before=None):
    """Outputs, bit for bit, and gradients of the layer against single ones; ``before``: done before each pass."""
    layer, composed = problem.layer, Composed(problem)
    expected_y, expected_state = composed.forward(masks)
    given_dy = problem.rng.standard_normal(expected_y.shape).astype(layer.dtype)
    given_dy[~problem.valid] = np.nan
    dy, dstate = np.ascontiguousarray(problem.laid_out(given_dy)), problem.random_dstate()
    arguments, kept = problem.arguments(), dy.copy()
    for result in [layer.vjp(*arguments)] if masks else [layer(*arguments), layer.vjp(*arguments)]:
        assert_same_bits("y", problem.plain(result[0]), expected_y)
        for ours, theirs in zip(problem.state_out(result[1]), expected_state, strict=True):
            assert_same_bits("state", ours, theirs)
    dx, dstate0 = result[2](dy, problem.state_in(dstate))
    assert_same_bits("dy is the caller's", dy, kept)
    expected_dx, expected_dstate0 = composed.backward(given_dy, dstate)
    assert_close("dx", problem.plain(dx), expected_dx, "gradient", layer.dtype)
    for ours, theirs in zip(problem.state_out(dstate0), expected_dstate0, strict=True):
        assert_close("dstate0", ours, theirs, "gradient")
    for name, gradient in composed.gradients():
        assert_close(name, layer.grads[name], gradient, "gradient")
    return layer.grads


MERGES, SKIPS = ["concat", "sum", "mean", "mul"], ["none", "input", "output", "residual"]
STACKS = {"merge": st.sampled_from(MERGES), "skip": st.sampled_from(SKIPS)}


@pytest.mark.parametrize("name", LAYERS)
@budget(0.8)
@given(st.data())
def test_a_stack_is_its_layers(name, data):
    """In every form of call, and whatever lies past the lengths."""
    options = {option: data.draw(values) for option, values in STACKS.items()}
    check_composed(problems(data.draw, name, given=data.draw(st.booleans()), **options))


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("name", ["gru", "lstm_coupled_peephole_proj", "sru"])
def test_every_combination(name, merge, skip):
    """Both directions of three ragged layers whose input is as wide as their output."""
    width = 2 if name.endswith("proj") else 4
    I = 2 * width if merge == "concat" else width
    for dtype in ("float32", "float64"):
        check_composed(Problem(name, I=I, L=3, ragged=True, bidirectional=True, merge=merge, skip=skip, dtype=dtype))


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_dropout_in_a_stack(merge, skip, batch_first):
    """One mask between two layers, (T, B) by what a layer passes on: on neither x, nor the input skipped, nor y."""
    problem = Problem("lstm", I=4, L=3, ragged=True, bidirectional=True, merge=merge, skip=skip, dropout=0.5,
                      batch_first=batch_first)  # fmt: skip
    shape = (problem.T, problem.B, 8 if merge == "concat" else 4)
    rng, problem.layer.rng = np.random.default_rng(3), 3
    check_composed(problem, [2.0 * (rng.random(shape, np.float32) >= 0.5) for _ in range(2)])
    assert problem.layer.rng.bit_generator.state == rng.bit_generator.state


WAYS = [
    {"bidirectional": True, "merge": "mul", "skip": "input"},
    {"bidirectional": True, "merge": "mean", "skip": "residual", "learn_state": True},
    {"bidirectional": True, "merge": "sum", "skip": "output"},
    {"skip": "residual", "I": 3},
]


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("name", LAYERS)
def test_central_differences(name, way):
    """Every entry of every parameter, of x and of the initial states."""
    options = dict(WAYS[way])
    if name == "slstm":
        options["learn_state"] = False
    if name in EQUAL and options["skip"] == "input":
        options["skip"] = "residual"
    problem = Problem(name, H=3, L=2, T=3, B=2, given=not options.get("learn_state"), **options)
    layer, rng = problem.layer, problem.rng
    y, state, pullback = layer.vjp(problem.x, problem.state)
    dy, dstate = rng.standard_normal(y.shape), problem.random_dstate()
    dx, dstate0 = pullback(dy, dstate)

    def loss():
        y, state = layer(problem.x, problem.state)
        pairs = zip(parts_of(state), parts_of(dstate))
        return np.sum(y * dy) + sum(np.sum(part * d) for part, d in pairs if d is not None)

    def check(label, array, gradient, eps=1e-5):
        numeric = np.empty(array.shape)
        for i in np.ndindex(array.shape):
            value = array[i]
            array[i] = value + eps
            above = loss()
            array[i] = value - eps
            numeric[i] = (above - loss()) / (2 * eps)
            array[i] = value
        assert_close(label, gradient, numeric, "numeric")

    check("x", problem.x, dx)
    if problem.state is not None:
        for label, part, gradient in zip(layer.state_names, parts_of(problem.state), parts_of(dstate0)):
            if label != "m":
                check(f"state {label}", part, gradient)
    with layer.edit() as p:
        for label, array in p.items():
            check(label, array, layer.grads[label])


def test_widths():
    """Of y, of inner weights, and of states, which stay the cells' own."""
    x = np.zeros((5, 2, 3))

    def shapes(**options):
        layer = fr.LSTM(3, 4, 3, proj_size=2, bidirectional=True, **options)
        y, (h, c) = layer(x)
        assert h.shape == (6, 2, 2) and c.shape == (6, 2, 4)
        return y.shape[2], layer.parameters["weight_ih_l0"].shape[1], layer.parameters["weight_ih_l2_reverse"].shape[1]

    assert shapes() == (4, 3, 4)
    assert shapes(skip="residual") == (4, 3, 4)
    assert shapes(skip="input") == (4, 3, 7)
    assert shapes(skip="output") == (12, 3, 4)
    for merge in ("sum", "mean", "mul"):
        assert shapes(merge=merge) == (2, 3, 2)
        assert shapes(merge=merge, skip="input") == (2, 3, 5)
        assert shapes(merge=merge, skip="output") == (6, 3, 2)
    assert fr.SRU(5, 4, 2, bidirectional=True, merge="sum").parameters["weight_ih_l1"].shape == (12, 4)
    assert fr.SRU(4, 4, 2, bidirectional=True).parameters["weight_ih_l1"].shape == (16, 8)
    assert fr.SRU(4, 4, 2, skip="input").parameters["weight_ih_l1"].shape == (16, 8)


@pytest.mark.parametrize("options", [{"merge": "mul"}, {"skip": "input", "L": 1}, {"skip": "output", "L": 1},
                                     {"skip": "residual", "I": 5, "L": 1}])  # fmt: skip
def test_options_without_an_effect(options):
    """Directions of which there is one; skips of which there is none."""
    problem = Problem("gru", **options)
    plain = fr.GRU(problem.layer.input_size, 4, problem.layer.num_layers, dtype="float64")
    plain.load_state_dict(problem.layer.state_dict())
    assert_same_bits("y", problem.layer(problem.x, problem.state)[0], plain(problem.x, problem.state)[0])


# ---------------------------------------------------------------- the promises of the plain layers


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("name", LAYERS)
def test_streams(name, skip):
    """Every step has the bits of one call; y_t may be the next x_t."""
    if name in EQUAL and skip == "input":
        skip = "residual"
    for I, L in ((4, 3), (5, 2), (4, 1)):
        problem = Problem(name, I=I, L=L, B=2, skip=skip, dtype="float32", batch_first=True)
        layer = problem.layer
        y, state = layer(*problem.arguments())
        stream = layer.stream(2)
        stream.reset(problem.state)
        for x_t, y_t in zip(problem.x, problem.plain(y)):
            assert_same_bits("y_t", stream.step(x_t).copy(), y_t)
        for ours, theirs in zip(parts_of(stream.state), parts_of(state), strict=True):
            assert_same_bits("state", ours, theirs)


@pytest.mark.parametrize("skip", SKIPS)
def test_a_stream_of_one_that_feeds_itself(skip):
    layer = fr.GRU(4, 4, 1, skip=skip, rng=0)
    fed, copied = layer.stream(), layer.stream()
    one = other = np.ones(4, np.float32)
    for _ in range(5):
        one, other = fed.step(one), copied.step(other).copy()
        assert one.shape == (4,) and not one.flags.writeable
        assert_same_bits("y_t", one.copy(), other)


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "sru"])
def test_cut_in_time(name, skip):
    problem = Problem(name, I=4, L=3, T=9, skip=skip, dtype="float32")
    layer = problem.layer
    y, state = layer(problem.x, problem.state)
    parts, carried = [], problem.state
    for first, last in ((0, 4), (4, 4), (4, 9)):
        part, carried = layer(problem.x[first:last], carried)
        parts.append(part)
    assert_same_bits("y", np.concatenate(parts), y)
    for ours, theirs in zip(parts_of(carried), parts_of(state), strict=True):
        assert_same_bits("state", ours, theirs)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("skip", SKIPS)
def test_long_sequences(skip, batch_first):
    """Inference of a stack works on blocks of steps; ``vjp`` on all of them at once."""
    problem = Problem("gru", I=48, H=48, L=3, T=500, B=5, ragged=True, skip=skip, batch_first=batch_first)
    arguments = problem.arguments()
    (y, state), (expected_y, expected_state, _) = problem.layer(*arguments), problem.layer.vjp(*arguments)
    assert_same_bits("y", y, expected_y)
    assert_same_bits("state", state, expected_state)


@pytest.mark.parametrize("B", [1, 13])
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("merge", MERGES)
def test_threads(merge, skip, B):
    """The same bits on one, two and three threads; gradients the same bits again on two."""
    problem = Problem("lstm", I=66, H=33, L=2, T=6, B=B, ragged=True, bidirectional=True, merge=merge, skip=skip,
                      dtype="float32", dropout=0.25)  # fmt: skip
    layer = problem.layer

    def gradients():
        layer.rng = 0
        layer.zero_grad()
        y, _, pullback = layer.vjp(*problem.arguments())
        pullback(np.ones_like(y))
        return np.concatenate([gradient.ravel() for gradient in layer.grads.values()])

    expected = layer(*problem.arguments())
    for threads in (1, 2, 3):
        with dealt_out(threads):
            y, state = layer(*problem.arguments())
            assert_same_bits("y", y, expected[0])
            assert_same_bits("h", state[0], expected[1][0])
            assert_same_bits("gradients", gradients(), gradients())


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
    ("lstm", {"bidirectional": True, "merge": "mean", "skip": "residual"}),
    ("sru", {"bidirectional": True, "merge": "sum"}),
    ("mut2", {"bidirectional": True, "merge": "mul", "skip": "output"}),
    ("slstm", {"skip": "input"}),
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
    "merge unknown": (lambda: fr.GRU(2, 3, merge="add"), ValueError, "merge.*concat.*sum.*mean.*mul.*'add'"),
    "merge None": (lambda: fr.SRU(2, 3, merge=None), TypeError, "merge.*concat.*None"),
    "skip unknown": (lambda: fr.LSTM(2, 3, skip="dense"), ValueError, "skip.*none.*input.*output.*residual.*'dense'"),
    "skip number": (lambda: fr.MUT1(3, 3, skip=1), TypeError, "skip.*residual.*1"),
    "skip of mut1": (lambda: fr.MUT1(3, 3, 2, skip="input"), ValueError, "skip.*'residual'.*MUT1.*3 wide.*'input'"),
    "concat of mut2": (lambda: fr.MUT2(3, 3, 2, bidirectional=True), ValueError, "bidirectional.*MUT2.*3 wide.*True"),
    "merge and stream": (lambda: fr.GRU(2, 3, bidirectional=True, merge="sum").stream(), ValueError, "stream.*bidirectional"),
    "learn_state number": (lambda: fr.GRU(2, 3, learn_state=1), TypeError, "learn_state.*True or False.*1"),
    "learn_state slstm": (lambda: fr.SLSTM(2, 3, learn_state=True), ValueError, "learn_state.*False.*SLSTM.*True"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()
