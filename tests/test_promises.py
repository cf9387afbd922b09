"""Same bits: whatever the batch mates, the padding, the chunking in time and the number of threads."""

import numpy as np
import pytest
from cases import Case, Data, dealt_out, state_parts, variant
from hypothesis import given
from hypothesis import strategies as st
from rows import CELLS
from strategies import BATCHES, WIDTHS, cases, per_cell
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn import reference

THREADS = [1, 2, 3]
#: Large enough that work is worth dealing to three threads, with a tail in every dimension.
LARGE = [
    Case("lstm", I=65, H=130, L=2, T=20, B=17, dtype="float32"),
    Case("lstm", I=65, H=130, L=2, D=2, T=20, B=17, dtype="float64", lengths=(20, 0, 7) * 5 + (1, 19)),
    Case("lstm_coupled_peephole_proj", I=30, H=140, P=70, T=12, B=33, dtype="float32"),
    Case("gru", I=300, H=257, T=9, B=1, dtype="float32"),
    Case("gru_reset_before", I=40, H=129, T=9, B=13, D=2, dtype="float64"),
    Case("lstm", I=20, H=520, T=5, B=1, dtype="float32"),
    Case("rnn_tanh", I=500, H=300, T=9, B=5, dtype="float32"),
    Case("lstm_norm", I=30, H=140, T=9, B=13, D=2, dtype="float32"),
    Case("gru_norm_before", I=40, H=129, T=9, B=5, dtype="float64"),
    Case("mut3", I=40, H=150, T=9, B=3, dtype="float32"),
    Case("multiplicative_lstm", I=65, H=140, T=9, B=9, dtype="float32"),
    Case("sru", I=300, H=257, L=2, T=9, B=3, dtype="float32"),
    Case("slstm", I=65, H=130, T=9, B=5, dtype="float32"),
]


def assert_same_result(case, result, expected, rows=slice(None), label=""):
    """(y, state) in the plain layout, restricted to ``rows`` of the batch of ``expected``."""
    assert_same_bits(f"y{label}", result[0], np.ascontiguousarray(expected[0][:, rows]))
    for ours, theirs in zip(result[1], expected[1], strict=True):
        assert_same_bits(f"state{label}", ours, np.ascontiguousarray(theirs[:, rows]))


def run(data, layer, rows=slice(None), x=None, lengths="own"):
    """y and state parts of a call on some rows of the batch; the layout is time-major."""
    x, state = data.x if x is None else x, data.state
    if state is not None:
        state = reference.join_state(data.spec, [None if part is None else part[:, rows] for part in state_parts(state)])
    if lengths == "own":
        lengths = None if data.lengths is None else data.lengths[rows]
    y, final = layer(np.ascontiguousarray(x[:, rows]), state, lengths)
    return y, data.plain_state(final)


def streamed(data, layer):
    """All steps through a stream; None for a layer that has none."""
    if layer.bidirectional:
        return None
    stream = layer.stream(data.case.B)
    stream.reset(data.state)
    return np.array([stream.step(x_t).copy() for x_t in data.x])


PLAIN = {"batch_first": False, "unbatched": False, "layout": "plain", "padding": 0.0}


# ---------------------------------------------------------------- batch mates


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.5)
@given(st.data())
def test_batch_mates(cell, data):
    """Any choice of sequences, in any order and number, gives each the bits it has in the batch."""
    values = data.draw(cases(cell=cell, **PLAIN))
    arrays = Data(values)
    layer = arrays.layer()
    whole = run(arrays, layer)
    rows = data.draw(st.lists(st.integers(0, values.B - 1), min_size=1, max_size=14))
    assert_same_result(values, run(arrays, layer, rows), whole, rows)


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_alone_or_anywhere(cell, dtype):
    """Each sequence alone, and at each place of a batch of 17 and of every smaller one."""
    case = Case(cell, I=9, H=33, T=5, B=17, dtype=dtype)
    data = Data(case)
    layer = data.layer()
    whole = run(data, layer)
    for b in range(case.B):
        assert_same_result(case, run(data, layer, [b]), whole, [b], f" of {b} alone")
    for B in BATCHES:
        rows = list(range(case.B))[-B:]
        assert_same_result(case, run(data, layer, rows), whole, rows, f" in a batch of {B}")


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.5)
@given(st.data())
def test_padding(cell, data):
    """Neither what the padding holds nor how long it is reaches a bit of a result."""
    values = data.draw(cases(cell=cell, **PLAIN))
    lengths = values.lengths or (values.T,) * values.B
    arrays = Data(variant(values, lengths=lengths))
    layer = arrays.layer()
    y, state = run(arrays, layer)
    extra = data.draw(st.integers(0, 5))
    filler = data.draw(st.sampled_from([np.nan, np.inf, -3e38, 1.0]))
    x = np.full((values.T + extra, values.B, values.I), filler, values.dtype)
    for b, length in enumerate(lengths):
        x[:length, b] = arrays.x[:length, b]
        assert not y[length:, b].any(), "output past a length is 0"
    padded_y, padded_state = run(arrays, layer, x=x)
    assert_same_result(values, (padded_y[: values.T], padded_state), (y, state))
    assert not padded_y[values.T :].any()
    for b, length in enumerate(lengths):
        alone = run(arrays, layer, [b], x=arrays.x[:length], lengths=None)
        assert_same_result(values, alone, (y[:length], state), [b], f" of {b} without padding")


# ---------------------------------------------------------------- chunks of time


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.5)
@given(st.data())
def test_chunks(cell, data):
    """A sequence cut anywhere, the state carried over, gives the bits of one call."""
    case = data.draw(cases(cell=cell, D=1, lengths=None, **PLAIN))
    arrays = Data(case)
    layer = arrays.layer()
    y, state = layer(arrays.x, arrays.state)
    cuts = sorted(data.draw(st.lists(st.integers(0, case.T), max_size=4)))
    pieces, carried = [], arrays.state
    for first, last in zip([0, *cuts], [*cuts, case.T]):
        piece, carried = layer(arrays.x[first:last], carried)
        pieces.append(piece)
    joined = np.concatenate(pieces)
    expected = (y, arrays.plain_state(state))
    assert_same_result(case, (joined, arrays.plain_state(carried)), expected)


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("case", LARGE, ids=lambda case: f"{case.cell}-{case.B}x{case.H}")
def test_threads(case):
    """Results have the same bits with any number of threads, in inference and in training."""
    data = Data(case)
    layer = data.layer()
    with fr.num_threads(1):
        expected = run(data, layer)
    for n in THREADS:
        with fr.num_threads(n):
            assert fr.get_num_threads() == n
            assert_same_result(case, run(data, layer), expected, label=f" with {n} threads")
            y, state, _ = layer.vjp(*data.calls())
            state = data.plain_state(state)
            assert_same_result(case, (y, state), expected, label=f" of vjp with {n} threads")


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.5)
@given(st.data())
def test_threads_small(cell, data):
    """Dealt out by rows and by hidden blocks, small as they are, to more threads than there are CPUs."""
    case = data.draw(cases(cell=cell, **PLAIN))
    arrays = Data(case)
    layer = arrays.layer()
    with fr.num_threads(1):
        expected, gradients, steps = run(arrays, layer), all_gradients(arrays, layer), streamed(arrays, layer)
    with dealt_out(data.draw(st.integers(2, 5))):
        assert_same_result(case, run(arrays, layer), expected)
        again, again_steps = all_gradients(arrays, layer), streamed(arrays, layer)
    if steps is not None:
        assert_same_bits("steps", again_steps, steps)
    for name, array in gradients.items():
        if case.B < 8 or name.startswith("d"):  # from 8 on, threads have sequences of their own to sum over
            assert_same_bits(name, again[name], array)


def test_num_threads_is_restored():
    before = fr.get_num_threads()
    try:
        with fr.num_threads(3):
            fr.set_num_threads(2)
        assert fr.get_num_threads() == before
        fr.set_num_threads(5)
        assert fr.get_num_threads() == 5
    finally:
        fr.set_num_threads(before)


def all_gradients(data, layer):
    """One pass of training, as a dict of fresh arrays."""
    layer.zero_grad()
    _, _, pullback = layer.vjp(*data.calls())
    dx, dstate0 = pullback(data.dy, data.dstate)
    states = {f"dstate0[{i}]": part for i, part in enumerate(data.plain_state(dstate0))}
    return {"dx": dx, **states, **{name: array.copy() for name, array in layer.grads.items()}}


@pytest.mark.parametrize("case", LARGE, ids=lambda case: f"{case.cell}-{case.B}x{case.H}")
def test_gradients_are_reproducible(case):
    """For a given number of threads, a second layer and a second pass give the same bits."""
    data = Data(case)
    for n in THREADS:
        with fr.num_threads(n):
            layer = data.layer()
            first = all_gradients(data, layer)
            for again in (all_gradients(data, layer), all_gradients(data, data.layer())):
                for name, array in first.items():
                    assert_same_bits(f"{name} with {n} threads", again[name], array)


# ---------------------------------------------------------------- other forms of the same call


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.5)
@given(st.data())
def test_layout_changes_no_bit(cell, data):
    """batch_first, strides, byte order, alignment, dtype that holds the same numbers: same bits."""
    case = data.draw(cases(cell=cell, unbatched=False))
    dressed, plain = Data(case), Data(variant(case, layout="plain", batch_first=False))
    y, state = dressed.layer()(*dressed.calls())
    expected_y, expected_state = plain.layer()(*plain.calls())
    result = (np.ascontiguousarray(dressed.plain_y(y)), dressed.plain_state(state))
    assert_same_result(case, result, (expected_y, plain.plain_state(expected_state)))


@pytest.mark.parametrize("H", WIDTHS)
def test_vjp_has_the_bits_of_the_call(H):
    for cell in CELLS:
        case = Case(cell, I=4, H=H, L=2, D=2, T=4, B=3, lengths=(2, 4, 3), dtype="float32")
        data = Data(case)
        layer = data.layer()
        y, state, _ = layer.vjp(*data.calls())
        assert_same_result(case, (y, data.plain_state(state)), run(data, layer))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_full_lengths_are_no_lengths(dtype):
    for cell in CELLS:
        data = Data(Case(cell, I=5, H=17, D=2, L=2, T=6, B=7, dtype=dtype))
        layer = data.layer()
        case = data.case
        assert_same_result(case, run(data, layer, lengths=[6] * 7), run(data, layer))
