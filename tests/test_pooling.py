"""``pool``: values and gradients against loops, what lies past a length, final states, bad calls."""

import numpy as np
import pytest
from cases import LAYOUTS, Untouched
from hypothesis import given
from hypothesis import strategies as st
from strategies import lengths
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.reference import central_difference

KINDS = ["last", "max", "mean"]


@st.composite
def calls(draw):
    """``y``, lengths (or None) and directions; ties are likely, NaN lies past the lengths."""
    T, B, H, D = (draw(st.integers(*ends)) for ends in ((0, 6), (0, 4), (1, 3), (1, 2)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    y = rng.integers(-2, 3, (T, B, D * H)) / 4 if draw(st.booleans()) else rng.standard_normal((T, B, D * H))
    given_lengths = draw(lengths(T, B))
    if given_lengths is not None:
        y[np.arange(T)[:, None] >= np.array(given_lengths, int)] = np.nan
    return y.astype(draw(st.sampled_from(["float32", "float64"]))), given_lengths, D


def expected(y, lengths, kind, D, dY):
    """``Y`` and ``dy`` in float64, an entry at a time."""
    T, B, W = y.shape
    Y, dy = np.zeros((B, W)), np.zeros((T, B, W))
    for b, w in np.ndindex(B, W):
        n = T if lengths is None else lengths[b]
        column = [float(v) for v in y[:n, b, w]]
        if not column:
            continue
        if kind == "mean":
            Y[b, w] = sum(column) / n
            dy[:n, b, w] = dY[b, w] / n
            continue
        t = column.index(max(column))
        if kind == "last":
            t = n - 1 if w < W // D else 0
        Y[b, w], dy[t, b, w] = column[t], dY[b, w]
    return Y, dy


@given(call=calls(), kind=st.sampled_from(KINDS), layout=st.sampled_from(sorted({*LAYOUTS} - {"other dtype"})))
def test_values_and_gradients(call, kind, layout):
    y, lengths, D = call
    dY = np.random.default_rng(1).standard_normal(y.shape[1:]).astype(y.dtype)
    given_y, given_dY = LAYOUTS[layout](y), LAYOUTS[layout](dY)
    given_lengths = None if lengths is None else np.array(lengths, int)
    with Untouched(given_y, given_lengths, given_dY):
        Y, pullback = fr.pool.vjp(given_y, given_lengths, kind, D)
        called = fr.pool(given_y, given_lengths, kind, D)
        dy = pullback(given_dY)
    expected_Y, expected_dy = expected(y, lengths, kind, D, dY)
    assert_close("Y", Y, expected_Y, "forward", y.dtype)
    assert_close("dy", dy, expected_dy, "gradient", y.dtype)
    assert_same_bits("Y of the call", called, Y)
    assert dy.flags.writeable and not Y.flags.writeable


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_caller_changes_later_does_not_matter(kind):
    y, lengths = np.arange(12.0).reshape(3, 2, 2), np.array([3, 1])
    plain = fr.pool.vjp(y, lengths, kind)[1](np.ones((2, 2)))
    _, pullback = fr.pool.vjp(y, lengths, kind)
    y[:], lengths[:] = -1, 0
    assert_same_bits("dy", pullback(np.ones((2, 2))), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_central_differences(kind):
    rng = np.random.default_rng(0)
    y, dY, lengths = rng.standard_normal((5, 3, 4)), rng.standard_normal((3, 4)), [5, 0, 3]
    numeric = central_difference(lambda z: (fr.pool(z, lengths, kind, 2) * dY).sum(), y)
    assert_close("dy", fr.pool.vjp(y, lengths, kind, 2)[1](dY), numeric, "numeric")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_alone(kind):
    y, dY = np.random.default_rng(0).standard_normal((4, 6)), np.arange(6.0)
    Y, pullback = fr.pool.vjp(y, kind=kind, directions=2)
    batched, batched_pullback = fr.pool.vjp(y[:, None], kind=kind, directions=2)
    assert_same_bits("Y", Y, batched[0])
    assert_same_bits("dy", pullback(dY), batched_pullback(dY[None])[:, 0])


@pytest.mark.parametrize("layer", [fr.LSTM, fr.GRU])
def test_last_is_the_final_state(layer):
    """Of the last layer, both directions side by side; and its gradient is that of the state."""
    net = layer(3, 4, num_layers=2, bidirectional=True, dtype="float64", rng=0)
    rng = np.random.default_rng(1)
    x, lengths, dY = rng.standard_normal((6, 3, 3)), [6, 1, 4], rng.standard_normal((3, 8))
    y, state, through_y = net.vjp(x, lengths=lengths)
    h = state[0] if isinstance(state, tuple) else state
    Y, pullback = fr.pool.vjp(y, lengths, directions=2)
    assert_same_bits("Y", Y, np.concatenate([h[2], h[3]], axis=1))
    dx, _ = through_y(pullback(dY))
    dh = np.zeros_like(h)
    dh[2], dh[3] = dY[:, :4], dY[:, 4:]
    _, _, through_state = net.vjp(x, lengths=lengths)
    direct, _ = through_state(None, (dh, None) if isinstance(state, tuple) else dh)
    assert_close("dx", dx, direct, "gradient")


def test_the_first_of_equals_gets_the_gradient():
    y = np.array([[1, 2, -0.0], [3, 2, 0.0], [3, 2, -1]])
    Y, pullback = fr.pool.vjp(y, kind="max")
    assert Y.tolist() == [3, 2, 0]
    assert pullback([5, 7, 9]).tolist() == [[0, 7, 9], [5, 0, 0], [0, 0, 0]]
    lowest = np.full((2, 1, 1), -np.inf)
    Y, pullback = fr.pool.vjp(lowest, [1], kind="max")
    assert Y[0, 0] == -np.inf and pullback([[1.0]]).tolist() == [[[1.0]], [[0.0]]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_in_a_step_within_the_length(dtype):
    y = np.zeros((3, 2, 2), dtype)
    y[1:, 0, 0] = np.nan
    for kind in KINDS:
        assert np.isnan(fr.pool(y, kind=kind)).tolist() == [[True, False], [False, False]]
    assert not np.isnan(fr.pool(y, [1, 3], kind="max")).any()
    dy = fr.pool.vjp(y, kind="max")[1](np.ones((2, 2)))
    assert dy[:, 0, 0].tolist() == [0, 1, 0], "the first NaN gets the gradient"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_mates_and_padding_do_not_show(kind, width, dtype):
    """To the bit, in the result and in the gradient."""
    rng = np.random.default_rng(0)
    for T in (3, 9, 20, 130, 1000):
        y, dY = rng.standard_normal((T, 1, width)).astype(dtype), rng.standard_normal((3, width)).astype(dtype)
        Y, pullback = fr.pool.vjp(y, kind=kind)
        many = rng.standard_normal((T + 77, 3, width)).astype(dtype)
        many[:T, 1] = y[:, 0]
        many_Y, many_pullback = fr.pool.vjp(many, [T + 77, T, 5], kind)
        assert_same_bits("Y", many_Y[1:2], Y)
        assert_same_bits("dy", many_pullback(dY)[:T, 1:2], pullback(dY[1:2]))


def test_the_mean_of_many_steps_is_accurate():
    y = np.full((200_000, 1, 1), 0.1, np.float32)
    assert_close("Y", fr.pool(y, kind="mean"), np.full((1, 1), np.float64(np.float32(0.1))), "forward")


def test_dtypes():
    for dtype, result in (("float32", "float32"), (">f8", "float64"), ("int32", "float64"), ("bool", "float64")):
        for kind in KINDS:
            Y, pullback = fr.pool.vjp(np.ones((3, 2, 4), dtype), kind=kind)
            assert Y.dtype == result and pullback(np.ones((2, 4), "float32")).dtype == result
            assert (Y == 1).all()


BAD = {
    "y 1-D": (lambda: fr.pool(np.zeros(3)), ValueError, r"y: .*\(T, B, D\*H\).*\(3,\)"),
    "y 4-D": (lambda: fr.pool(np.zeros((1, 1, 1, 1))), ValueError, "y: "),
    "y complex": (lambda: fr.pool(np.zeros((2, 2, 2), complex)), TypeError, "y: .*complex128"),
    "y None": (lambda: fr.pool(None), TypeError, "y: .*None"),
    "odd width": (lambda: fr.pool(np.zeros((2, 2, 3)), directions=2), ValueError, r"y: .*2 equal parts.*\(2, 2, 3\)"),
    "directions": (lambda: fr.pool(np.zeros((2, 2, 3)), directions=3), ValueError, "directions: .*1..2.*3"),
    "directions bool": (lambda: fr.pool(np.zeros((2, 2, 3)), directions=True), TypeError, "directions: "),
    "kind": (lambda: fr.pool(np.zeros((2, 2, 3)), kind="sum"), ValueError, "kind: .*last.*'sum'"),
    "lengths of another batch": (lambda: fr.pool(np.zeros((2, 2, 3)), [1]), ValueError, r"lengths: .*\(2,\).*\(1,\)"),
    "lengths past T": (lambda: fr.pool(np.zeros((2, 2, 3)), [1, 3]), ValueError, "lengths: .*0..2.*3"),
    "lengths negative": (lambda: fr.pool(np.zeros((2, 2, 3)), [-1, 2]), ValueError, "lengths: .*0..2.*-1"),
    "lengths floats": (lambda: fr.pool(np.zeros((2, 2, 3)), [1.0, 2.0]), TypeError, "lengths: .*float64"),
    "lengths unbatched": (lambda: fr.pool(np.zeros((2, 3)), [2]), ValueError, "lengths: .*unbatched"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()


def test_a_pullback_is_called_once_and_a_refusal_does_not_count():
    for kind in KINDS:
        _, pullback = fr.pool.vjp(np.zeros((3, 2, 4)), kind=kind)
        for bad in (None, np.zeros((2, 3)), np.zeros((3, 2, 4)), "dY", np.zeros((2, 4), complex)):
            with pytest.raises((TypeError, ValueError), match="dY: "):
                pullback(bad)
        pullback(np.ones((2, 4)))
        with pytest.raises(RuntimeError, match="before"):
            pullback(np.ones((2, 4)))
