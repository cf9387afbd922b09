"""``tbptt``: against full BPTT, against the oracle with the truncation written out, and its manners."""

import numpy as np
import pytest
from cases import Case, Data
from hypothesis import given
from hypothesis import strategies as st
from rows import CELLS
from strategies import budget
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import reference


class Squares:
    """The loss ``sum (y - target)^2 / 2`` of a block; notes what it saw."""

    def __init__(self, target, axis=0):
        self.target, self.axis, self.blocks = target, axis, []

    def __call__(self, y, t0):
        steps = slice(t0, t0 + y.shape[self.axis])
        difference = y - (self.target[:, steps] if self.axis else self.target[steps])
        self.blocks.append((t0, y))
        return (difference**2).sum() / 2, difference


def same_grads(left, right):
    for name in left.grads:
        assert_same_bits(name, left.grads[name], right.grads[name])


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def oracle_gradients(data, k1, k2, target):
    """The sum of the values and the gradients, with every cut written out: in each window the state before it
    is a number, the one that the whole run has there."""
    spec, p, x = data.spec, data.parameters, data.x_plain
    T = len(x)
    value, total = 0.0, {name: np.zeros(shape) for name, shape in reference.parameter_shapes(spec).items()}
    for t0 in range(0, T, k1):
        end = min(t0 + k1, T)
        start = max(0, end - k2)
        _, before, _ = reference.forward(spec, p, x[:start], data.state_plain)
        y, _, tape = reference.forward(spec, p, x[start:end], before)
        dy = y - target[start:end]
        dy[: t0 - start] = 0
        value += (dy**2).sum() / 2
        for name, gradient in reference.backward(spec, p, tape, dy)[2].items():
            total[name] += gradient
    return value, total


@budget(0.7)
@given(
    cell=st.sampled_from(sorted(set(CELLS) - {"rnn_relu"})),
    L=st.integers(1, 2),
    T=st.integers(1, 9),
    k1=st.integers(1, 10),
    more=st.integers(0, 10),
    layout=st.sampled_from(["time first", "batch first", "unbatched"]),
    state=st.sampled_from(["none", "all"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_truncation(cell, L, T, k1, more, layout, state, dtype):
    k2, unbatched = k1 + more, layout == "unbatched"
    case = Case(cell, L=L, T=T, B=1 if unbatched else 3, unbatched=unbatched, state=state, dtype=dtype,
                batch_first=layout == "batch first")  # fmt: skip
    data = Data(case)
    layer = data.layer()
    target = np.random.default_rng(1).standard_normal((T, case.B, data.spec.output_size))
    axis = int(layout == "batch first")
    loss = Squares(target[:, 0] if unbatched else target.swapaxes(0, axis), axis)
    value, final = fr.tbptt(layer, data.x, loss, k1, k2, data.state)
    expected_value, expected = oracle_gradients(data, k1, k2, target)
    assert_close("value", np.array(value, dtype), np.array(expected_value), "forward", dtype)
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, expected[name], "gradient", dtype)
    y, last = layer(data.x, data.state)
    for ours, theirs in zip(parts(final), parts(last), strict=True):
        assert_same_bits("final state", ours, theirs)
    assert [t0 for t0, _ in loss.blocks] == list(range(0, T, k1))
    assert_same_bits("outputs", np.concatenate([block for _, block in loss.blocks], axis), y)


@pytest.mark.parametrize("cell", CELLS)
def test_one_window_is_full_bptt_to_the_bit(cell):
    """Also with dropout: the same rng, the same masks."""
    for dtype in ("float32", "float64"):
        case = Case(cell, L=2, T=12, B=3, dtype=dtype)
        ours, theirs = (case.new_layer(dropout=0.3) for _ in range(2))
        data = Data(case)
        target = np.zeros((12, 3, data.spec.output_size), dtype)
        value, final = fr.tbptt(ours, data.x, Squares(target), 12, 12, data.state)
        y, state, pullback = theirs.vjp(data.x, data.state)
        pullback(y)
        assert value == float((y**2).sum() / 2)
        same_grads(ours, theirs)
        for one, other in zip(parts(final), parts(state), strict=True):
            assert_same_bits("state", one, other)


@pytest.mark.parametrize("k1", [1, 3, 5, 20])
@pytest.mark.parametrize("cell", ["lstm_peephole_proj", "gru_reset_before", "rnn_tanh"])
def test_without_truncation_it_is_full_bptt(cell, k1):
    """k2 >= T, whatever k1 is."""
    case = Case(cell, L=2, T=20, B=2)
    data, target = Data(case), np.ones((20, 2, case.spec.output_size))
    full, ours = data.layer(), data.layer()
    y, _, pullback = full.vjp(data.x, data.state)
    pullback(y - target)
    for k2 in (20, 1000):
        ours.zero_grad()
        fr.tbptt(ours, data.x, Squares(target), k1, k2, data.state)
        for name in full.grads:
            assert_close(name, ours.grads[name], full.grads[name], "gradient")


def test_truncation_matters():
    """The test above compares things that differ."""
    layer, x = fr.GRU(2, 3, dtype="float64", rng=0), np.random.default_rng(0).standard_normal((20, 1, 2))
    gradients = {}
    for k1, k2 in ((1, 1), (1, 2), (2, 2), (2, 3), (2, 20)):
        layer.zero_grad()
        fr.tbptt(layer, x, Squares(np.zeros((20, 1, 3))), k1, k2)
        gradients[k1, k2] = layer.grads["weight_hh_l0"].copy()
    for first in gradients:
        for second in gradients:
            assert first == second or np.abs(gradients[first] - gradients[second]).max() > 1e-3


def test_gradients_are_added_also_those_of_a_head():
    layer, head = fr.GRU(2, 3, dtype="float64", rng=0), fr.Linear(3, 1, dtype="float64", rng=0)
    x, target = np.random.default_rng(0).standard_normal((10, 2, 2)), np.ones((10, 2, 1))

    def loss(y, t0):
        prediction, pullback = head.vjp(y)
        value, gradient = fr.losses.mse_loss(prediction, target[t0 : t0 + len(y)], reduction="sum")
        return value, pullback(gradient)

    once, _ = fr.tbptt(layer, x, loss, 4, 6)
    first = {name: gradient.copy() for module in (layer, head) for name, gradient in module.grads.items()}
    twice, _ = fr.tbptt(layer, x, loss, 4, 6)
    assert once == twice and type(once) is float
    for module in (layer, head):
        for name, gradient in module.grads.items():
            assert_close(name, gradient, 2 * first[name], "gradient")
    assert first["weight"].any()


def test_a_block_without_a_loss():
    """Only the last block has one: its gradient goes back k2 steps, whatever lies between."""
    layer, x = fr.LSTM(2, 3, dtype="float64", rng=0), np.random.default_rng(0).standard_normal((10, 2, 2))
    value, _ = fr.tbptt(layer, x, lambda y, t0: (1.5, np.ones_like(y) if t0 == 8 else None), 2, 6)
    assert value == 7.5
    ours = {name: gradient.copy() for name, gradient in layer.grads.items()}
    layer.zero_grad()
    _, before = layer(x[:4])
    y, _, pullback = layer.vjp(x[4:], before)
    dy = np.zeros_like(y)
    dy[4:] = 1
    pullback(dy)
    for name, gradient in layer.grads.items():
        assert_close(name, ours[name], gradient, "gradient")


def test_no_steps():
    layer, h = fr.GRU(2, 3, rng=0), np.ones((1, 2, 3), np.float32)
    value, state = fr.tbptt(layer, np.zeros((0, 2, 2)), Squares(None), 2, 4, h)
    assert value == 0 and type(value) is float and (state == h).all()
    assert not layer.grads["weight_hh_l0"].any()


def test_nothing_of_the_caller_is_changed():
    layer, rng = fr.LSTM(2, 3, dtype="float64", rng=0), np.random.default_rng(0)
    x, state = rng.standard_normal((9, 2, 2)), tuple(rng.standard_normal((2, 1, 2, 3)))
    copies = [x.copy(), *(part.copy() for part in state)]
    fr.tbptt(layer, x, Squares(np.zeros((9, 2, 3))), 2, 5, state)
    for ours, theirs in zip((x, *state), copies):
        assert_same_bits("argument", ours, theirs)


def test_a_nan_loss_is_a_value():
    layer = fr.RNN(2, 3)
    assert np.isnan(fr.tbptt(layer, np.zeros((4, 1, 2)), lambda y, t0: (np.nan, None), 2, 2)[0])


LAYER, X = fr.GRU(2, 3, rng=0), np.zeros((6, 1, 2))


def run(module=LAYER, x=X, loss=lambda y, t0: (0.0, y), k1=2, k2=4, **more):
    return fr.tbptt(module, x, loss, k1, k2, **more)


BAD = {
    "a block": (lambda: run(fr.Linear(2, 3)), TypeError, "module: .*recurrent.*Linear"),
    "a chain": (lambda: run(fr.Sequential(LAYER)), TypeError, "module: .*recurrent.*Sequential"),
    "two directions": (lambda: run(fr.GRU(2, 3, bidirectional=True)), ValueError, "module: .*bidirectional"),
    "x": (lambda: run(x=np.zeros((6, 1, 4))), ValueError, r"x: .*\(T, B, 2\).*\(6, 1, 4\)"),
    "state": (lambda: run(state=np.zeros((1, 2, 3))), ValueError, "state: "),
    "loss": (lambda: run(loss=None), TypeError, "loss: .*function.*None"),
    "k1 zero": (lambda: run(k1=0), ValueError, "k1: .*at least 1.*0"),
    "k1 float": (lambda: run(k1=2.0), TypeError, "k1: .*integer.*2.0"),
    "k2 smaller": (lambda: run(k1=3, k2=2), ValueError, "k2: .*k1 = 3.*2"),
    "k2 None": (lambda: run(k2=None), TypeError, "k2: .*None"),
    "loss returns a number": (lambda: run(loss=lambda y, t0: 1.0), TypeError, r"loss: .*\(value, dy\).*1.0"),
    "loss returns three": (lambda: run(loss=lambda y, t0: (1, y, y)), TypeError, r"loss: .*\(value, dy\)"),
    "value an array": (lambda: run(loss=lambda y, t0: (y, y)), ValueError, r"loss: value: .*\(2, 1, 3\)"),
    "value None": (lambda: run(loss=lambda y, t0: (None, y)), TypeError, "loss: value: .*None"),
    "dy shorter": (lambda: run(loss=lambda y, t0: (0, y[1:])), ValueError, r"loss: dy: .*\(2, 1, 3\).*\(1, 1, 3\)"),
    "dy complex": (lambda: run(loss=lambda y, t0: (0, y * 1j)), TypeError, "loss: dy: .*complex"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()
    assert not any(gradient.any() for gradient in LAYER.grads.values())


def test_a_loss_that_changes_the_weights_is_refused():
    layer = fr.GRU(2, 3, rng=0)

    def loss(y, t0):
        layer.parameters["bias_ih_l0"] = np.zeros(9)
        return 0.0, np.ones_like(y)

    with pytest.raises(RuntimeError, match="changed"):
        fr.tbptt(layer, X, loss, 2, 2)
