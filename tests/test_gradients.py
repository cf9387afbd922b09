"""Every gradient of every cell, by name, against the oracle; and what a pullback promises."""

import itertools

import numpy as np
import pytest
from cases import (
    LAYOUTS,
    Case,
    Data,
    check_gradients,
    compare_gradients,
    dealt_out,
    smooth,
    state_parts,
    variant,
)
from hypothesis import given
from hypothesis import strategies as st
from rows import CELLS, TELLING
from strategies import BATCHES, WIDTHS, per_cell, smooth_cases
from test_forward import BROAD, LONG, SOME
from tolerance import assert_close, assert_same_bits

import fastrnn as fr


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_small_stack(cell, dtype):
    check_gradients(smooth(variant(BROAD[cell], dtype=dtype)))


@pytest.mark.smoke
@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_turns(cell, B):
    """R of a size that is gone through forwards and backwards in turn, with a panel at the end that is not full."""
    check_gradients(Case(cell, I=3, H=75, T=4, B=B, dtype="float32", seed=B))


@pytest.mark.parametrize("cell", CELLS)
@per_cell(1.5)
@given(st.data())
def test_gradients(cell, data):
    check_gradients(data.draw(smooth_cases(cell=cell)))


@pytest.mark.parametrize("H", WIDTHS)
@pytest.mark.parametrize("cell", TELLING)
def test_every_width(cell, H):
    for dtype, B in itertools.product(["float32", "float64"], [1, 5]):
        I = WIDTHS[-1 - WIDTHS.index(H)]
        check_gradients(smooth(Case(cell, I=I, H=H, T=3, B=B, dtype=dtype, seed=H)))


@pytest.mark.parametrize("B", [*BATCHES, 23, 33, 64])
def test_every_batch(B):
    lengths = tuple(np.random.default_rng(B).integers(0, 5, B).tolist())
    for cell, H in (("lstm", 17), ("gru", 33), ("lstm_proj", 9)):
        for dtype in ("float32", "float64"):
            check_gradients(Case(cell, I=4, H=H, T=4, B=B, dtype=dtype, lengths=lengths, seed=B))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_layout(layout, batch_first):
    case = Case("lstm", I=5, H=6, T=4, B=3, lengths=(1, 4, 0), layout=layout, batch_first=batch_first)
    for cell, dtype in SOME:
        check_gradients(variant(case, cell=cell, dtype=dtype, D=2))
        check_gradients(variant(case, cell=cell, dtype=dtype, B=1, lengths=None, unbatched=True))


def test_every_order_of_lengths():
    for lengths in itertools.permutations((0, 1, 2, 4)):
        check_gradients(Case("gru", H=4, L=2, D=2, T=4, B=4, lengths=lengths, padding=np.nan))
        check_gradients(Case("lstm_peephole_proj", H=4, D=2, T=4, B=4, lengths=lengths, padding=np.nan))


@pytest.mark.parametrize("cell", TELLING)
def test_long_and_large(cell):
    """Past every block of time steps and every panel."""
    for case in LONG:
        check_gradients(smooth(variant(case, cell=cell)))
    check_gradients(smooth(Case(cell, I=7, H=200, P=70, D=2, T=4, B=20, dtype="float64")))
    check_gradients(smooth(Case(cell, I=150, H=130, T=20, B=1, dtype="float32")))


@pytest.mark.parametrize("cell", TELLING)
def test_numbers_of_threads(cell):
    """Large enough to be dealt out; the parts of each thread end early, or hold no step at all."""
    lengths = (0, 0, 0, 30, 1, 29, 0, 0, 17, 30, 30)
    for case in (
        Case(cell, I=40, H=72, L=2, D=2, T=30, B=11, lengths=lengths, padding=np.nan),
        Case(cell, I=200, H=160, P=100, T=12, B=32, dtype="float32"),
    ):
        data = Data(smooth(case))
        expected = data.results()
        for threads in (1, 2, 5):
            with fr.num_threads(threads):
                compare_gradients(data, expected)


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.5)
@given(st.data())
def test_threads_share_small_work(cell, data):
    """Dealt out by rows and by hidden blocks, to more threads than there are CPUs."""
    case = data.draw(smooth_cases(cell=cell))
    with dealt_out(data.draw(st.integers(2, 5))):
        check_gradients(case)


@pytest.mark.parametrize(
    ("dy", "dstate"), [*itertools.product([True, False], ["none", "all", "h", "c"])]
)
def test_missing_parts_are_zeros(dy, dstate):
    for state in ("none", "h", "all"):
        check_gradients(Case("lstm_peephole", L=2, D=2, dy=dy, dstate=dstate, state=state))
        check_gradients(Case("lstm_proj", dy=dy, dstate=dstate, state=state, lengths=(0, 3)))


# ---------------------------------------------------------------- what a pullback promises

SIMPLE = Case("lstm", I=4, H=9, L=2, D=2, T=5, B=3, lengths=(2, 5, 0), dtype="float32")


def gradients_of(data, layer):
    """dx, dstate0 and copies of the parameter gradients of one fresh pass."""
    layer.zero_grad()
    _, _, pullback = layer.vjp(*data.calls())
    dx, dstate0 = pullback(data.dy, data.dstate)
    return dx, dstate0, {name: gradient.copy() for name, gradient in layer.grads.items()}


def test_pullback_once():
    data = Data(SIMPLE)
    layer = data.layer()
    _, _, pullback = layer.vjp(*data.calls())
    pullback(data.dy, data.dstate)
    before = {name: gradient.copy() for name, gradient in layer.grads.items()}
    with pytest.raises(RuntimeError, match="pullback"):
        pullback(data.dy, data.dstate)
    for name, gradient in layer.grads.items():
        assert_same_bits(name, gradient, before[name])


def change_by_assignment(layer):
    layer.parameters["weight_hh_l0"] = layer.parameters["weight_hh_l0"] * 2


def change_by_edit(layer):
    with layer.edit() as p:
        p["bias_ih_l1_reverse"][0] += 1


def change_by_loading(layer):
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})


@pytest.mark.parametrize("change", [change_by_assignment, change_by_edit, change_by_loading])
def test_stale_weights(change):
    """A pullback of weights that are no longer there refuses to work, and adds nothing."""
    data = Data(SIMPLE)
    layer = data.layer()
    _, _, pullback = layer.vjp(*data.calls())
    change(layer)
    with pytest.raises(RuntimeError, match="weights"):
        pullback(data.dy, data.dstate)
    assert all(not gradient.any() for gradient in layer.grads.values())
    y, _ = layer(*data.calls())
    new_y, _, new_pullback = layer.vjp(*data.calls())
    new_pullback(data.dy, data.dstate)
    assert_same_bits("y", new_y, y)


def test_several_pullbacks_alive():
    """Three passes forward, then backward in another order: each gets its own gradients."""
    layer = Data(SIMPLE).layer()
    all_data = [Data(variant(SIMPLE, seed=seed, T=T)) for seed, T in ((0, 5), (1, 7), (2, 6))]
    alone = [gradients_of(data, layer) for data in all_data]
    passes = [layer.vjp(*data.calls()) for data in all_data]
    for i in (1, 2, 0):
        layer.zero_grad()
        dx, dstate0 = passes[i][2](all_data[i].dy, all_data[i].dstate)
        assert_same_bits("dx", dx, alone[i][0])
        for ours, theirs in zip(dstate0, alone[i][1], strict=True):
            assert_same_bits("dstate0", ours, theirs)
        for name, gradient in layer.grads.items():
            assert_same_bits(name, gradient, alone[i][2][name])


@pytest.mark.smoke
def test_gradients_accumulate_in_place():
    data = Data(variant(SIMPLE, dtype="float64"))
    layer = data.layer()
    arrays = dict(layer.grads)
    assert all(not array.any() for array in arrays.values())
    _, _, once = gradients_of(data, layer)
    for _ in range(2):
        layer.vjp(*data.calls())[2](data.dy, data.dstate)
    for name, gradient in layer.grads.items():
        assert gradient is arrays[name], "grads keep their identity"
        assert np.shares_memory(gradient, arrays[name])
        assert_close(name, gradient, 3 * once[name], "gradient")
    arrays["weight_ih_l0"][...] = 7.0
    assert (layer.grads["weight_ih_l0"] == 7.0).all(), "grads are writable"
    layer.zero_grad()
    for name, gradient in layer.grads.items():
        assert gradient is arrays[name] and not gradient.any()


@pytest.mark.parametrize("options", [
    {}, {"checkpoint": 10}, {"skip": "input"}, {"skip": "residual"}, {"merge": "mul"}, {"input_dropout": 0.5},
    {"learn_state": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "rnn_norm", "sru"])
def test_without_dx(cell, options):
    """All other gradients keep their bits."""
    case, rng, results = Case(cell, I=9, H=9, L=2, D=2, T=75, B=3, dtype="float32", seed=1), np.random.default_rng(0), []
    x = rng.standard_normal((75, 3, 9))
    for wanted in (True, False):
        layer = case.new_layer(**options)
        y, state, pullback = layer.vjp(x, lengths=[2, 75, 0])
        dx, dstate0 = pullback(np.cos(np.arange(y.size)).reshape(y.shape), input_gradient=wanted)
        assert (dx is not None) == wanted
        results.append({**layer.grads, "state": np.array(dstate0)})
    for name, gradient in results[0].items():
        assert_same_bits(name, results[1][name], gradient)


def test_input_gradient_is_a_bool():
    data = Data(variant(SIMPLE, dtype="float32"))
    pullback = data.layer().vjp(*data.calls())[2]
    with pytest.raises(TypeError, match="input_gradient: expected True or False, got"):
        pullback(data.dy, input_gradient=data.dy)
    pullback(data.dy)


@pytest.mark.parametrize("cell", CELLS)
def test_output_of_vjp(cell):
    """y is read-only, because backward reads it; y and state have the bits of the call's."""
    data = Data(Case(cell, I=4, H=9, L=2, D=2, T=5, B=3, lengths=(2, 5, 0), dtype="float32"))
    layer = data.layer()
    expected_y, expected_state = layer(*data.calls())
    y, state, pullback = layer.vjp(*data.calls())
    assert_same_bits("y", y, expected_y)
    for ours, theirs in zip(data.plain_state(state), data.plain_state(expected_state), strict=True):
        assert_same_bits("state", ours, theirs)
    assert expected_y.flags.writeable
    with pytest.raises(ValueError):
        y[0] = 0
    before = y.copy()
    pullback(data.dy)
    assert_same_bits("y", y, before)


@pytest.mark.parametrize("cell", ["rnn_relu", *TELLING])
def test_later_writes_of_the_caller_do_not_reach_backward(cell):
    """x, state and the returned state may be overwritten between vjp and pullback."""
    data = Data(Case(cell, I=4, H=9, L=2, T=5, B=3, dtype="float32"))
    layer = data.layer()
    expected = gradients_of(data, layer)
    layer.zero_grad()
    arguments = [data.x, *state_parts(data.state)]
    _, state, pullback = layer.vjp(*data.calls())
    for array in (*arguments, *data.plain_state(state)):
        array[...] = np.nan
    dx, dstate0 = pullback(data.dy, data.dstate)
    assert_same_bits("dx", dx, expected[0])
    for ours, theirs in zip(data.plain_state(dstate0), data.plain_state(expected[1]), strict=True):
        assert_same_bits("dstate0", ours, theirs)
    for name, gradient in layer.grads.items():
        assert_same_bits(name, gradient, expected[2][name])


def test_gradient_past_a_length_is_zero_and_its_dy_ignored():
    data = Data(variant(SIMPLE, padding=np.nan))
    layer = data.layer()
    dx, _, noisy = gradients_of(data, layer)
    quiet = Data(variant(SIMPLE, padding=0.0))
    clean_dx, _, clean = gradients_of(quiet, layer)
    assert_same_bits("dx", dx, clean_dx)
    for b, length in enumerate(SIMPLE.lengths):
        assert not dx[length:, b].any()
    for name in clean:
        assert_same_bits(name, noisy[name], clean[name])


@pytest.mark.parametrize("cell", CELLS)
def test_length_zero_passes_the_state_gradient_through(cell):
    data = Data(Case(cell, H=6, D=2, T=3, B=2, lengths=(0, 0), padding=np.nan))
    layer = data.layer()
    dx, dstate0, gradients = gradients_of(data, layer)
    assert not dx.any()
    assert all(not gradient.any() for gradient in gradients.values())
    parts = zip(data.case.state_names, data.plain_state(dstate0), data.plain_state(data.dstate), strict=True)
    for name, ours, theirs in parts:  # none goes through m, the scale of an sLSTM
        assert_same_bits(f"dstate0 {name}", ours, np.zeros_like(theirs) if name == "m" else theirs)


@pytest.mark.parametrize("T", [0, 3])
@pytest.mark.parametrize("B", [0, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_empty(cell, T, B):
    """T = 0 and B = 0 give well-formed empty results and zero gradients."""
    case = Case(cell, L=2, D=2, T=T, B=B, lengths=(0,) * B)
    check_gradients(case)
    check_gradients(variant(case, batch_first=True, lengths=None, dtype="float32"))


def test_relu_at_zero():
    """relu'(0) = 0: a unit whose pre-activation is exactly 0 sends nothing back."""
    data = Data(Case("rnn_relu", I=2, H=3, T=2, B=1, state="none", dtype="float64"))
    layer = data.layer()
    layer.load_state_dict({name: 0 * value for name, value in data.parameters.items()})
    dx, dstate0, gradients = gradients_of(data, layer)
    assert not dx.any() and not dstate0[:, 0].any()
    assert all(not gradient.any() for gradient in gradients.values())


def test_nan_in_dy_reaches_its_sequence_only():
    data = Data(variant(SIMPLE, lengths=None, D=1))
    layer = data.layer()
    clean, _, _ = gradients_of(data, layer)
    data.dy[3, 1, 0] = np.nan
    dx, (dh, dc), _ = gradients_of(data, layer)
    assert np.isnan(dx[:4, 1]).all() and not np.isnan(dx[4, 1]).any()
    assert np.isnan(dh[:, 1]).any() and not np.isnan(dh[:, [0, 2]]).any()
    assert np.array_equal(dx[:, [0, 2]], clean[:, [0, 2]])
    assert not np.isnan(dc[:, [0, 2]]).any()
