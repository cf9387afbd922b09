"""An embedding in front of a layer: the table of its products gives the layer's bits and the oracle's gradients."""

import itertools

import numpy as np
import pytest
from cases import KINK, Case, Data, dealt_out
from hypothesis import assume, given
from hypothesis import strategies as st
from rows import CELLS
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import lookup

FOLDED = [name for name in CELLS if Case(cell=name).new_layer()._can_look_up]


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Products of a table however seldom its rows occur."""
    monkeypatch.setattr(lookup, "WORTH", 1e-9)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


class Coded:
    """A case whose x is rows of a table: its data, embedding, layer and codes."""

    def __init__(self, case, rows=7, **more):
        rng = np.random.default_rng(case.seed)
        self.data = Data(case)
        self.embedding = fr.Embedding(rows, case.I, dtype=case.dtype, rng=case.seed)
        codes = rng.integers(0, rows - 1, (case.T, case.B))  # the last row never occurs
        self.table = self.embedding.parameters["weight"].astype(np.float64)
        self.data.x_plain = self.table[codes]
        self.plain_codes = codes
        self.codes = codes[:, 0] if case.unbatched else codes.T if case.batch_first else codes
        self.layer = case.new_layer(**more)
        self.layer.load_state_dict(self.data.parameters)

    def arguments(self):
        return self.embedding, self.layer, self.codes, self.data.state, self.data.lengths


cases = st.builds(
    Case, I=st.sampled_from([1, 3, 20]), H=st.sampled_from([1, 5, 17, 33]), L=st.integers(1, 2), D=st.integers(1, 2),
    bias=st.booleans(), dtype=st.sampled_from(["float32", "float64"]), T=st.integers(1, 9), B=st.just(3),
    batch_first=st.booleans(), lengths=st.sampled_from([None, (1, 0, 1), (0, 0, 0)]), seed=st.integers(0, 999),
)  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize("cell", FOLDED)
@given(case=cases, threads=st.sampled_from([1, 2]))
def test_the_bits_of_the_layer_and_gradients_of_the_oracle(cell, case, threads):
    lengths = case.lengths and tuple(length * case.T for length in case.lengths)
    problem = Coded(Case(**{**vars(case), "cell": cell, "lengths": lengths}))
    data, layer, embedding = problem.data, problem.layer, problem.embedding
    assume(data.kink_margin() > KINK[case.dtype])
    with dealt_out(threads):
        y, *state = layer(embedding(problem.codes), data.state, data.lengths)
        called_y, *called = lookup.call(*problem.arguments())
        vjp_y, *vjp_state, pullback = lookup.vjp(*problem.arguments())
        none, dstate0 = pullback(data.dy, data.dstate)
    for name, result in (("call", (called_y, *called)), ("vjp", (vjp_y, *vjp_state))):
        for i, (a, b) in enumerate(zip((result[0], *parts(result[1])), (y, *parts(state[0])), strict=True)):
            assert_same_bits(f"{name}, result {i}", a, b)
    assert none is None
    _, _, (dx, expected_dstate0, gradients) = data.results()
    d_table = np.zeros_like(problem.table)
    np.add.at(d_table, problem.plain_codes, dx)
    dtype = data.case.dtype
    assert_close("table", embedding.grads["weight"], d_table, "gradient", dtype)
    for i, (a, b) in enumerate(zip(data.plain_state(dstate0), parts(expected_dstate0), strict=True)):
        assert_close(f"dstate0[{i}]", a, b, "gradient", dtype)
    for name, expected in gradients.items():
        assert_close(name, layer.grads[name], expected, "gradient", dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_rows_than_a_block_has(dtype):
    """Backward multiplies the table's gradients piece by piece."""
    problem = Coded(Case(cell="gru", I=4, H=6, T=1200, B=3, dtype=dtype, seed=1), rows=2500)
    _, _, pullback = lookup.vjp(*problem.arguments())
    pullback(problem.data.dy, problem.data.dstate)
    _, _, (dx, _, gradients) = problem.data.results()
    d_table = np.zeros_like(problem.table)
    np.add.at(d_table, problem.plain_codes, dx)
    assert_close("table", problem.embedding.grads["weight"], d_table, "gradient", dtype)
    assert_close("weight_ih_l0", problem.layer.grads["weight_ih_l0"], gradients["weight_ih_l0"], "gradient", dtype)


OPTIONS = [{"checkpoint": 3}, {"dropout": 0.5}, {"recurrent_dropout": 0.4}, {"weight_drop": 0.4}, {"zoneout": 0.3},
           {"input_dropout": 0.4}, {"skip": "input"}, {"skip": "output"}, {"skip": "residual"}, {"merge": "sum"},
           {"learn_state": True}]  # fmt: skip


@pytest.mark.parametrize(("options", "width"), list(itertools.product(OPTIONS, (5, 8))), ids=str)
def test_options_of_the_layer(options, width, monkeypatch):
    """A Sequential with and without the table: the same outputs, the same gradients but for the order of sums."""

    def model():
        layer = fr.GRU(width, 8, 2, bidirectional="merge" in options, dtype="float64", rng=1, **options)
        head = fr.Linear(16 if options == {"skip": "output"} else 8, 3, dtype="float64", rng=2)
        return fr.Sequential(fr.Embedding(9, width, dtype="float64", rng=0), layer, head)

    codes, lengths = np.random.default_rng(3).integers(0, 9, (30, 4)), [30, 0, 7, 29]
    with_table, without = model(), model()
    results = []
    for worth, m in ((1e-9, with_table), (1e9, without)):
        monkeypatch.setattr(lookup, "WORTH", worth)
        y, pullback = m.vjp(codes, lengths)
        assert pullback(np.cos(np.arange(y.size)).reshape(y.shape)) is None
        results.append((m(codes, lengths), y))
    assert_same_bits("call", results[0][0], results[1][0])
    assert_same_bits("vjp", results[0][1], results[1][1])
    for name, gradient in without.grads.items():
        assert_close(name, with_table.grads[name], gradient, "gradient")


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_peephole_proj", "mut1"])
@pytest.mark.parametrize("limit", [0, 1 << 23])
def test_stepper_has_the_bits_of_a_stream(cell, limit, monkeypatch):
    monkeypatch.setattr(lookup, "STREAM_BYTES", limit)
    problem = Coded(Case(cell=cell, I=6, H=6, L=2, dtype="float32", seed=2))
    table, stream = problem.embedding.parameters["weight"], problem.layer.stream()
    step = lookup.stepper(problem.embedding, problem.layer)
    for code in (3, 0, 0, 6, 3):
        assert_same_bits(f"after {code}", step(code), stream.step(table[code]))


def test_few_of_many_rows_are_not_worth_a_table(monkeypatch):
    """Codes that hardly repeat go through the layer's own input product."""
    monkeypatch.undo()
    problem = Coded(Case(cell="lstm", T=6, B=2), rows=50)
    asked = []
    monkeypatch.setattr(lookup, "_table", lambda *_: asked.append(True))
    problem.codes = np.arange(12).reshape(6, 2)
    assert_same_bits("y", lookup.call(*problem.arguments())[0],
                     problem.layer(problem.embedding(problem.codes), problem.data.state)[0])  # fmt: skip
    assert not asked


def test_changed_weights_and_second_calls_are_refused():
    problem = Coded(Case(cell="lstm", T=6, B=2))
    y, _, pullback = lookup.vjp(*problem.arguments())
    with problem.embedding.edit() as p:
        p["weight"][0] = 0
    with pytest.raises(RuntimeError, match="changed"):
        pullback(np.ones_like(y))
    assert not problem.layer.grads["weight_ih_l0"].any() and not problem.embedding.grads["weight"].any()
    y, _, pullback = lookup.vjp(*problem.arguments())
    with pytest.raises(ValueError, match="dy"):
        pullback(y[1:])
    pullback(np.ones_like(y))
    with pytest.raises(RuntimeError, match="called before"):
        pullback(np.ones_like(y))


def test_bad_codes():
    problem = Coded(Case(cell="lstm", T=6, B=2), rows=7)
    for wrong in ([[7, 0]], [[-1, 0]]):
        with pytest.raises(ValueError, match="x: expected integers in 0..6"):
            lookup.vjp(problem.embedding, problem.layer, wrong)
    with pytest.raises(TypeError, match="x"):
        lookup.call(problem.embedding, problem.layer, [[0.5]])
    with pytest.raises(ValueError, match="x"):
        lookup.call(problem.embedding, problem.layer, np.zeros((2, 2, 2), int))
