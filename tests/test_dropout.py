"""Dropout between layers: what its masks are, when they are drawn, and the gradients under them."""

import copy

import numpy as np
import pytest
from cases import Case, Data, smooth, state_parts, variant
from rows import CELLS, TELLING
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import reference



def revealing(p, dtype="float64", rng=0):
    """Two relu layers; the second copies its input, so that y shows the mask on the first one's."""
    layer = fr.RNN(3, 6, 2, nonlinearity="relu", dropout=p, dtype=dtype, rng=rng)
    with layer.edit() as w:
        for name in w:
            w[name][...] = 0
        w["weight_ih_l0"][...] = 0.5
        w["bias_ih_l0"][...] = np.arange(1, 7)
        w["weight_ih_l1"][...] = np.eye(6)
    x = np.random.default_rng(1).uniform(0.5, 1, (50, 8, 3))
    hidden = x.sum(axis=2, keepdims=True) * 0.5 + np.arange(1, 7)
    return layer, x, hidden


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_masks(p, dtype):
    """Entries are 0 with probability p, otherwise scaled by 1/(1-p), each by itself."""
    layer, x, hidden = revealing(p, dtype)
    y, _, _ = layer.vjp(x)
    mask = y / hidden
    kept = mask != 0
    assert_close("mask", mask[kept].astype(dtype), np.full(kept.sum(), 1 / (1 - p)), "forward")
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / kept.size)
    for axis in range(3):
        assert (kept != np.roll(kept, 1, axis)).any(), "no axis shares its mask"
    assert not np.array_equal(layer.vjp(x)[0], y), "each pass draws its own"


def test_dropout_extremes():
    layer, x, hidden = revealing(0.0)
    assert_close("y", layer.vjp(x)[0], hidden, "forward")
    layer, x, _ = revealing(1.0)
    y, _, pullback = layer.vjp(x)
    dx, _ = pullback(np.ones_like(y))
    assert not y.any() and not dx.any()
    assert layer(x)[0].any()


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_dropout_is_off_in_inference(cell, D):
    data = Data(Case(cell, L=3, D=D, dtype="float32", lengths=(2, 4)))
    layer = data.case.new_layer(dropout=0.5)
    layer.load_state_dict(data.parameters)
    expected, plain = data.layer()(*data.calls())[0], data.layer().vjp(*data.calls())[0]
    assert_same_bits("y", layer(*data.calls())[0], expected)
    assert not np.array_equal(layer.vjp(*data.calls())[0], plain)
    single = variant(data.case, L=1)
    alone = single.new_layer(dropout=0.5)
    y = alone.vjp(data.x)[0]
    assert_same_bits("one layer has nothing between", y, alone(data.x)[0])


def test_same_rng_same_masks():
    """A seed, a Generator and a restored state of one: same masks, also after a copy."""
    layer, x, _ = revealing(0.5)
    layer.rng = 5
    first, second = layer.vjp(x)[0], layer.vjp(x)[0]
    layer.rng = np.random.default_rng(5)
    assert_same_bits("first", layer.vjp(x)[0], first)
    state = layer.rng.bit_generator.state
    twin = copy.deepcopy(layer)
    assert_same_bits("second", layer.vjp(x)[0], second)
    assert_same_bits("second of the copy", twin.vjp(x)[0], second)
    layer.rng.bit_generator.state = state
    assert_same_bits("second again", layer.vjp(x)[0], second)
    before = layer.rng.bit_generator.state
    layer(x)
    layer.stream(8).step(x[0])
    assert layer.rng.bit_generator.state == before, "inference draws nothing"


def test_the_probability_is_an_attribute():
    layer, x, hidden = revealing(0.5)
    assert layer.dropout == 0.5
    layer.dropout = 0.0
    assert_close("y", layer.vjp(x)[0], hidden, "forward")
    layer.dropout = 0.25
    y = layer.vjp(x)[0]
    assert_close("scale", np.max(y / hidden, keepdims=True).ravel(), np.array([4 / 3]), "forward")


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("cell", TELLING)
def test_gradients_with_dropout(cell, D):
    """Every gradient against the oracle under the layer's own mask.

    The mask is read off a second layer of the same form and rng whose first layer puts out a known
    constant and whose second shows it: both draw masks of the same shape from the same state.
    """
    data = Data(smooth(Case(cell, I=3, H=6, L=2, D=D, T=5, B=3, lengths=(5, 2, 4))))
    D = data.case.D
    layer = data.case.new_layer(dropout=0.5)
    layer.load_state_dict(data.parameters)
    width = D * data.spec.output_size
    probe = fr.RNN(data.case.I, width // D, 2, nonlinearity="relu", dropout=0.5, bidirectional=D == 2, dtype="float64")
    with probe.edit() as w:
        for name in w:
            w[name][...] = 0
        for place, half in (("", 0), ("_reverse", width // D))[:D]:
            w[f"bias_ih_l0{place}"][...] = 1
            w[f"weight_ih_l1{place}"][...] = np.eye(width)[half : half + width // D]
    layer.rng, probe.rng = 3, 3
    mask = probe.vjp(data.x, None, data.lengths)[0]
    assert set(np.unique(mask)) == {0.0, 2.0}
    y, _, pullback = layer.vjp(*data.calls())
    dx, dstate0 = pullback(data.dy, data.dstate)
    expected_y, _, tape = reference.forward(
        data.spec, data.parameters, data.x_plain, data.state_plain, data.case.lengths, [mask]
    )
    expected = reference.backward(data.spec, data.parameters, tape, data.dy_plain, data.dstate_plain)
    assert_close("y", y, expected_y, "forward")
    assert_close("dx", dx, expected[0], "gradient")
    for ours, theirs in zip(data.plain_state(dstate0), state_parts(expected[1]), strict=True):
        assert_close("dstate0", ours, theirs, "gradient")
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, expected[2][name], "gradient")
