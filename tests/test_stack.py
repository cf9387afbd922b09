"""How layers are stacked: merged directions and skips.

Compared with the oracle, with central differences, and to the bit with what single layers compute when they are put
together here, in NumPy.
"""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from cases import dealt_out
from hypothesis import given
from hypothesis import strategies as st
from stacks import (
    EQUAL,
    LAYERS,
    LEARNABLE,
    MERGES,
    SKIPS,
    STACKS,
    WITH_CELLS,
    Problem,
    check_against_the_oracle,
    check_all_differences,
    in_form_of,
    parts_of,
    problems,
    spec_of,
)
from strategies import budget
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import reference

# ---------------------------------------------------------------- the oracle, and central differences


@pytest.mark.parametrize("name", LAYERS)
@budget(0.8)
@given(st.data())
def test_all_options_against_the_oracle(name, data):
    options = {option: data.draw(values) for option, values in STACKS.items()}
    if name in LEARNABLE:
        options["learn_state"] = data.draw(st.booleans())
    if name in WITH_CELLS:
        options["return_cell_states"] = data.draw(st.booleans())
    problem = problems(data.draw, name, given=data.draw(st.booleans()), **options)
    check_against_the_oracle(problem, with_dc=data.draw(st.booleans()))


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_all_masks_in_a_stack(name, merge, skip):
    """Masks of inputs, of h and of weight_hh beside dropout, drawn here as the layer draws them."""
    rates = {"input_dropout": 0.25, "recurrent_dropout": 0.5, "weight_drop": 0.25, "dropout": 0.5}
    I = 8 if merge == "concat" else 4
    problem = Problem(name, I=I, L=3, ragged=True, bidirectional=True, merge=merge, skip=skip,
                      batch_first=skip == "output", **rates)  # fmt: skip
    layer, spec, rng = problem.layer, spec_of(problem.layer), np.random.default_rng(3)

    def mask(p, *shape):
        return (rng.random(shape, np.float32) >= p) / (1 - p)

    noise = reference.Noise(
        inputs=[mask(0.25, problem.B, spec.layer_input_size(l)) for l in range(3)],
        recurrent=mask(0.5, 6, problem.B, 4),
        weights=[mask(0.25, *array.shape) for label, array in layer.parameters.items() if "weight_hh" in label],
    )
    masks = [mask(0.5, problem.T, problem.B, spec.layer_output_size) for _ in range(2)]
    layer.rng = 3
    check_against_the_oracle(problem, masks, noise)


WAYS = [
    {"bidirectional": True, "merge": "mul", "skip": "input"},
    {"bidirectional": True, "merge": "mean", "skip": "residual", "learn_state": True},
    {"bidirectional": True, "merge": "sum", "skip": "output"},
    {"skip": "residual", "I": 3, "return_cell_states": True},
    {"bidirectional": True, "merge": "mul", "return_cell_states": True},
]


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("name", LAYERS)
def test_central_differences(name, way):
    """Every entry of every parameter, of x and of the initial states."""
    options = dict(WAYS[way])
    if name == "slstm":
        options["learn_state"] = False
    if name in EQUAL and options.get("skip") == "input":
        options["skip"] = "residual"
    if name not in WITH_CELLS or name == "slstm":
        options["return_cell_states"] = False
    problem = Problem(name, H=3, L=2, T=3, B=2, given=not options.get("learn_state"), **options)
    check_all_differences(problem, lambda: problem.layer.vjp(problem.x, problem.state))


@pytest.mark.parametrize("skip", SKIPS)
def test_central_differences_under_masks(skip):
    """All of them in one stack, the cell states of the last layer zoned out, too."""
    rates = dict.fromkeys(["input_dropout", "recurrent_dropout", "weight_drop", "dropout"], 0.25)
    problem = Problem("lstm", I=3, H=3, L=2, T=4, B=2, ragged=True, padding=0.0, bidirectional=True, merge="mean",
                      skip=skip, zoneout=(0.3, 0.2), return_cell_states=True, **rates)  # fmt: skip

    def run():
        problem.layer.rng = 4
        return problem.layer.vjp(*problem.arguments())

    check_all_differences(problem, run)


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
        plain = {"num_layers": 1, "merge": "concat", "skip": "none", "batch_first": False, "dropout": 0}
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


def check_composed(problem, masks=None):
    """Outputs, bit for bit, and gradients of the layer against single ones; with masks, that the layer draws."""
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


@pytest.mark.parametrize("skip", SKIPS)
def test_memory_of_inference(skip):
    """Beyond y it does not grow with T."""
    layer, beyond = fr.GRU(32, 32, 3, skip=skip), []
    for T in (3000, 12000):
        x = np.zeros((T, 4, 32), np.float32)
        layer(x)
        tracemalloc.start()
        y, _ = layer(x)
        beyond.append(tracemalloc.get_traced_memory()[1] - y.nbytes)
        tracemalloc.stop()
    assert beyond[1] < beyond[0] + 4096


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
    ("slstm", {"skip": "input", "return_cell_states": True}),
]


@pytest.mark.parametrize("form", COPIES)
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_copies_keep_the_options(name, options, form, tmp_path):
    problem = Problem(name, given=False, **options)
    twin = COPIES[form](problem.layer, tmp_path / "layer.safetensors")
    assert repr(twin) == repr(problem.layer) and list(twin.parameters) == list(problem.layer.parameters)
    assert twin._config() == problem.layer._config() and options.items() <= twin._config().items()
    for ours, theirs in zip(twin(problem.x), problem.layer(problem.x), strict=True):
        for one, other in zip(parts_of(ours), parts_of(theirs), strict=True):
            assert_same_bits("result", one, other)


X = np.zeros((4, 1, 2))
REFUSED = {
    "merge unknown": (lambda: fr.GRU(2, 3, merge="add"), ValueError, "merge.*concat.*sum.*mean.*mul.*'add'"),
    "merge None": (lambda: fr.SRU(2, 3, merge=None), TypeError, "merge.*concat.*None"),
    "skip unknown": (lambda: fr.LSTM(2, 3, skip="dense"), ValueError, "skip.*none.*input.*output.*residual.*'dense'"),
    "skip number": (lambda: fr.MUT1(3, 3, skip=1), TypeError, "skip.*residual.*1"),
    "skip of mut1": (lambda: fr.MUT1(3, 3, 2, skip="input"), ValueError, "skip.*'residual'.*MUT1.*3 wide.*'input'"),
    "concat of mut2": (lambda: fr.MUT2(3, 3, 2, bidirectional=True), ValueError, "bidirectional.*MUT2.*3 wide.*True"),
    "return_cell_states text": (
        lambda: fr.LSTM(2, 3, return_cell_states="c"), TypeError, "return_cell_states.*True or False.*'c'"),
    **{
        f"return_cell_states {cls.__name__}": (
            lambda cls=cls: cls(2, 2, return_cell_states=True), ValueError,
            f"return_cell_states.*False.*{cls.__name__}.*no cell state.*True")
        for cls in (fr.RNN, fr.GRU, fr.MGU, fr.MUT1, fr.IndRNN, fr.FastGRNN, fr.MinGRU, fr.MinLSTM)
    },
    "dc_seq of a plain layer": (
        lambda: fr.LSTM(2, 3).vjp(X)[2](None, dc_seq=np.zeros((4, 1, 3))), ValueError,
        "dc_seq.*None.*return_cell_states.*array"),
    "dc_seq shape": (
        lambda: fr.LSTM(2, 3, return_cell_states=True).vjp(X)[3](None, dc_seq=np.zeros((4, 3))), ValueError,
        r"dc_seq.*\(4, 1, 3\).*\(4, 3\)"),
    "dc_seq complex": (
        lambda: fr.SRU(2, 3, return_cell_states=True).vjp(X)[3](None, dc_seq=np.zeros((4, 1, 3), "c8")), TypeError,
        "dc_seq.*real.*complex"),
    "merge and stream": (
        lambda: fr.GRU(2, 3, bidirectional=True, merge="sum").stream(), ValueError, "stream.*bidirectional"),
    "learn_state number": (lambda: fr.GRU(2, 3, learn_state=1), TypeError, "learn_state.*True or False.*1"),
    "learn_state slstm": (lambda: fr.SLSTM(2, 3, learn_state=True), ValueError, "learn_state.*False.*SLSTM.*True"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


def test_a_refused_dc_seq_has_no_effect():
    """The pullback stays usable."""
    layer = fr.LSTM(2, 3, return_cell_states=True, rng=0)
    y, _, c_seq, pullback = layer.vjp(X)
    with pytest.raises(ValueError, match="dc_seq"):
        pullback(np.ones_like(y), dc_seq=c_seq[1:])
    pullback(np.ones_like(y), dc_seq=c_seq)
