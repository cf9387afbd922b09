"""Streams: step by step, the bits of one call; state, reset, and what belongs to whom."""

import gc
import itertools
import tracemalloc

import numpy as np
import pytest
from cases import LAYOUTS, Case, Data, state_parts, variant
from hypothesis import given
from hypothesis import strategies as st
from rows import CELLS, TELLING
from strategies import WIDTHS, cases, per_cell
from tolerance import assert_same_bits

from fastrnn import reference


def assert_same_state(state, expected):
    """States in the contract's form, bit for bit."""
    for ours, theirs in zip(state_parts(state), state_parts(expected), strict=True):
        assert_same_bits("state", ours, theirs)


def check_stream(data, layer):
    """All steps of the data through a fresh stream against one call."""
    stream = layer.stream(data.case.B)
    stream.reset(data.state)
    y, state = layer(data.x, reference.join_state(data.spec, data.initial()))
    for t, x_t in enumerate(data.x):
        assert_same_bits(f"step {t}", stream.step(x_t).copy(), y[t])
    assert_same_state(stream.state, state)


STREAM = {"D": 1, "lengths": None, "batch_first": False, "unbatched": False}


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.5)
@given(st.data())
def test_stream_is_one_call(cell, data):
    arrays = Data(data.draw(cases(cell=cell, **STREAM)))
    check_stream(arrays, arrays.layer())


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_width(cell, dtype):
    """Batch 1 and a few rows at every size around a vector's width."""
    for H, B in itertools.product(WIDTHS, [1, 3]):
        data = Data(Case(cell, I=3, H=H, L=2, T=3, B=B, dtype=dtype, seed=H))
        check_stream(data, data.layer())


@pytest.mark.parametrize("cell", TELLING)
def test_large(cell):
    data = Data(Case(cell, I=100, H=300, L=2, T=6, B=1, dtype="float32"))
    check_stream(data, data.layer())


@pytest.mark.parametrize("cell", CELLS)
def test_many_steps(cell):
    """Buffers that are used in turn stay in step over a hundred steps."""
    data = Data(Case(cell, I=3, H=18, L=3, T=101, B=2, dtype="float32", state="none"))
    check_stream(data, data.layer())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    data = Data(Case("lstm", I=5, H=9, L=2, T=4, B=3, dtype="float32", layout=layout))
    check_stream(data, data.layer())


def test_one_sequence_without_batch_axis():
    data = Data(Case("lstm_proj", I=4, H=9, L=2, T=5, B=1, dtype="float32", state="none"))
    layer = data.layer()
    y, state = layer(data.x)
    stream = layer.stream()
    for t, x_t in enumerate(data.x):
        result = stream.step(x_t[0]) if t % 2 else stream.step(x_t)
        assert result.shape == ((4,) if t % 2 else (1, 4))
        assert_same_bits(f"step {t}", result.reshape(1, -1).copy(), y[t])
    assert_same_state(stream.state, state)
    assert stream.state[0].shape == (2, 1, 4) and stream.state[1].shape == (2, 1, 9)


def test_batch_first_has_no_effect():
    data = Data(Case("gru", I=4, H=9, T=3, B=2, dtype="float32"))
    plain, flipped = data.layer(), data.case.new_layer(batch_first=True)
    flipped.load_state_dict(data.parameters)
    one, other = plain.stream(2), flipped.stream(2)
    for x_t in data.x:
        assert_same_bits("y_t", other.step(x_t).copy(), one.step(x_t).copy())


@pytest.mark.parametrize("cell", CELLS)
def test_bidirectional_has_no_stream(cell):
    with pytest.raises(ValueError, match="bidirectional"):
        Case(cell, D=2).new_layer().stream()


# ---------------------------------------------------------------- state and reset


@pytest.mark.parametrize("cell", CELLS)
def test_reset(cell):
    """reset() goes back to the empty state, reset(state) to that state; the state may come from anywhere."""
    data = Data(Case(cell, I=3, H=7, L=2, T=4, B=3, dtype="float32"))
    layer = data.layer()
    stream = layer.stream(3)
    first = [stream.step(x_t).copy() for x_t in data.x]
    middle = stream.state
    stream.step(data.x[0])
    stream.reset()
    for part, empty in zip(state_parts(stream.state), data.case.empty, strict=True):
        assert (part == empty).all()
    for x_t, y_t in zip(data.x, first, strict=True):
        assert_same_bits("after reset", stream.step(x_t).copy(), y_t)
    assert_same_state(stream.state, middle)
    expected, _ = layer(data.x, middle)
    stream.reset(middle)
    for x_t, y_t in zip(data.x, expected, strict=True):
        assert_same_bits("after reset(state)", stream.step(x_t).copy(), y_t)


def test_state_is_a_copy():
    data = Data(Case("lstm", I=3, H=7, T=4, B=2, dtype="float32"))
    layer = data.layer()
    stream = layer.stream(2)
    stream.reset(data.state)
    for part in data.state:
        part[...] = np.nan  # reset took a copy
    stream.step(data.x[0])
    for part in stream.state:
        assert np.isfinite(part).all()
        part[...] = np.nan
    for part in stream.state:
        assert np.isfinite(part).all()
    kept = stream.state
    before = [part.copy() for part in kept]
    stream.step(data.x[1])
    for part, same in zip(kept, before, strict=True):
        assert_same_bits("state", part, same)


def test_state_cannot_be_assigned():
    stream = Data(Case("gru")).layer().stream(2)
    with pytest.raises(AttributeError):
        stream.state = np.zeros((1, 2, 5))


# ---------------------------------------------------------------- what y_t is


@pytest.mark.parametrize("L", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_output_is_read_only_and_may_be_the_next_input(cell, L):
    case = Case(cell, I=8, H=8, P=8, L=L, T=1, B=2, dtype="float32")
    if case.row.projected:
        case = variant(case, H=9)
    data = Data(case)
    layer = data.layer()
    stream, copied = layer.stream(2), layer.stream(2)
    y_t, x_t = data.x[0], data.x[0]
    for _ in range(6):
        y_t = stream.step(y_t)
        x_t = copied.step(x_t).copy()
        assert_same_bits("fed back", y_t.copy(), x_t)
        assert not y_t.flags.writeable
        with pytest.raises(ValueError):
            y_t[0] = 0


def test_output_stays_until_the_next_step():
    """Reading the state, another stream and a call of the layer do not touch y_t."""
    data = Data(Case("lstm", I=3, H=9, L=2, T=3, B=2, dtype="float32"))
    layer = data.layer()
    stream, other = layer.stream(2), layer.stream(2)
    y_t = stream.step(data.x[0])
    kept = y_t.copy()
    stream.state, other.step(data.x[1]), layer(data.x)
    assert_same_bits("y_t", y_t.copy(), kept)


def test_output_outlives_its_stream():
    layer = Data(Case("gru", I=3, H=9, dtype="float32")).layer()
    y_t = layer.stream(1).step(np.ones(3))
    kept = y_t.copy()
    gc.collect()
    others = [layer.stream(1).step(np.full(3, i)).copy() for i in range(50)]
    assert len(others) == 50
    assert_same_bits("y_t", y_t.copy(), kept)


def test_streams_are_independent():
    data = Data(Case("lstm", I=3, H=9, L=2, T=6, B=3, dtype="float32"))
    layer = data.layer()
    alone, _ = layer(data.x)
    streams = [layer.stream(1) for _ in range(3)]
    for t in range(6):
        for b in (2, 0, 1):
            assert_same_bits("y_t", streams[b].step(data.x[t, b]).copy(), alone[t, b])


def test_the_input_is_not_kept():
    """x_t may be overwritten as soon as step has returned."""
    data = Data(Case("gru", I=3, H=9, T=4, B=2, dtype="float32", state="none"))
    layer = data.layer()
    expected, _ = layer(data.x)
    stream, buffer = layer.stream(2), np.empty((2, 3), np.float32)
    for t in range(4):
        buffer[...] = data.x[t]
        y_t = stream.step(buffer)
        buffer[...] = np.nan
        assert_same_bits("y_t", y_t.copy(), expected[t])


# ---------------------------------------------------------------- weights


@pytest.mark.smoke
@pytest.mark.parametrize("when", ["edit", "assign", "load"])
def test_new_weights_arrive_at_reset(when):
    """A live stream goes on with its weights; the next reset brings the new ones."""
    data = Data(Case("lstm_peephole", I=3, H=9, L=2, T=4, B=2, dtype="float32", state="none"))
    layer = data.layer()
    old, _ = layer(data.x)
    stream = layer.stream(2)
    assert_same_bits("step 0", stream.step(data.x[0]).copy(), old[0])
    if when == "edit":
        with layer.edit() as p:
            for array in p.values():
                array *= 0.5
    elif when == "assign":
        for name, array in layer.state_dict().items():
            layer.parameters[name] = array * 0.5
    else:
        layer.load_state_dict({name: 0.5 * value for name, value in data.parameters.items()})
    new, _ = layer(data.x)
    assert not np.array_equal(new, old)
    assert_same_bits("step 1", stream.step(data.x[1]).copy(), old[1])
    stream.reset()
    for t in range(4):
        assert_same_bits(f"step {t}", stream.step(data.x[t]).copy(), new[t])


def test_nan_and_recovery():
    """A NaN makes its own sequence NaN until the reset, and no other one."""
    data = Data(Case("gru", I=3, H=9, T=4, B=2, dtype="float32", state="none"))
    layer = data.layer()
    expected, _ = layer(data.x)
    stream = layer.stream(2)
    poisoned = data.x[0].copy()
    poisoned[1, 2] = np.nan
    assert np.isnan(stream.step(poisoned)[1]).all()
    y_1 = stream.step(data.x[1])
    assert np.isnan(y_1[1]).all()
    assert_same_bits("the other", y_1[0].copy(), expected[1, 0])
    stream.reset()
    assert_same_bits("after reset", stream.step(data.x[0]).copy(), expected[0])


# ---------------------------------------------------------------- allocations


@pytest.mark.parametrize("cell", TELLING)
def test_a_step_allocates_nothing_that_lasts(cell):
    """Python's and NumPy's allocations: a few views, never an array of the step's size."""
    data = Data(Case(cell, I=64, H=256, L=2, T=1, B=8, dtype="float32"))
    stream = data.layer().stream(8)
    x_t = data.x[0]
    for _ in range(10):
        stream.step(x_t)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(200):
            stream.step(x_t)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 2048, "of 8 KB that one y_t takes"
    assert after - before < 1024
