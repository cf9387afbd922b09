"""``delay``: values and gradients against a loop over steps and taps, bad calls."""

import numpy as np
import pytest
from cases import LAYOUTS, Untouched
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.reference import central_difference


@given(
    T=st.integers(0, 6),
    between=st.sampled_from([(), (1,), (3,), (2, 2), (0,)]),
    I=st.integers(1, 3),
    taps=st.lists(st.integers(0, 8), min_size=1, max_size=5),
    dtype=st.sampled_from(["float32", "float64"]),
    layout=st.sampled_from(sorted({*LAYOUTS} - {"other dtype"})),
)
def test_values_and_gradients(T, between, I, taps, dtype, layout):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, *between, I)).astype(dtype)
    dy = rng.standard_normal((T, *between, len(taps) * I)).astype(dtype)
    given_x, given_dy = LAYOUTS[layout](x), LAYOUTS[layout](dy)
    with Untouched(given_x, given_dy):
        y, pullback = fr.delay.vjp(given_x, np.array(taps))
        dx = pullback(given_dy)
    expected_y, expected_dx = np.zeros(y.shape), np.zeros(x.shape)
    for t in range(T):
        for k, tap in enumerate(taps):
            if tap <= t:
                expected_y[t, ..., k * I : (k + 1) * I] = x[t - tap]
                expected_dx[t - tap] += dy[t, ..., k * I : (k + 1) * I]
    assert_same_bits("y", y, expected_y.astype(dtype))
    assert_same_bits("y of the call", fr.delay(given_x, taps), y)
    assert_close("dx", dx, expected_dx, "gradient", dtype)
    assert dx.flags.writeable and not y.flags.writeable


def test_central_differences():
    rng = np.random.default_rng(0)
    x, dy, taps = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 9)), [2, 0, 2]
    numeric = central_difference(lambda z: (fr.delay(z, taps) * dy).sum(), x)
    assert_close("dx", fr.delay.vjp(x, taps)[1](dy), numeric, "numeric")


def test_a_window_is_a_convolution():
    """A linear map of the taps 0, 1, 2 is a convolution over time: the first layer of a TDNN."""
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((7, 1)), rng.standard_normal(3)
    head = fr.Linear(3, 1, bias=False, dtype="float64")
    head.parameters["weight"] = kernel[None]
    assert_close("y", head(fr.delay(x, [0, 1, 2]))[:, 0], np.convolve(x[:, 0], kernel)[:7], "forward")


def test_what_lies_past_a_length_does_not_enter_what_lies_within():
    x = np.ones((5, 2, 1))
    x[3:, 1] = np.nan
    assert np.isfinite(fr.delay(x, [0, 1, 4])[:3]).all()
    dy = np.ones((5, 2, 3))
    dy[3:, 1] = 0
    assert fr.delay.vjp(x, [0, 1, 4])[1](dy)[:, 1, 0].tolist() == [2, 2, 1, 0, 0]


def test_enormous_taps_and_dtypes():
    assert not fr.delay(np.ones((3, 1)), np.array([2**64 - 1], "u8")).any()
    for dtype, result in (("float32", "float32"), (">f8", "float64"), ("int8", "float64")):
        y, pullback = fr.delay.vjp(np.ones((3, 1), dtype), [1])
        assert y.dtype == pullback(np.ones((3, 1))).dtype == result


BAD = {
    "x 1-D": (lambda: fr.delay(np.zeros(3), [1]), ValueError, r"x: .*\(T, ..., I\).*\(3,\)"),
    "x complex": (lambda: fr.delay(np.zeros((3, 1), complex), [1]), TypeError, "x: .*complex128"),
    "taps a number": (lambda: fr.delay(np.zeros((3, 1)), 1), ValueError, "taps: .*list"),
    "no taps": (lambda: fr.delay(np.zeros((3, 1)), []), ValueError, "taps: .*at least one"),
    "taps ahead": (lambda: fr.delay(np.zeros((3, 1)), [0, -2]), ValueError, "taps: .*at least 0.*-2"),
    "taps floats": (lambda: fr.delay(np.zeros((3, 1)), [1.0]), TypeError, "taps: .*float64"),
    "taps bools": (lambda: fr.delay(np.zeros((3, 1)), [True]), TypeError, "taps: .*bool"),
    "taps None": (lambda: fr.delay(np.zeros((3, 1)), None), TypeError, "taps: .*None"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()


def test_a_pullback_is_called_once_and_a_refusal_does_not_count():
    _, pullback = fr.delay.vjp(np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match=r"dy: .*\(3, 4\)"):
        pullback(np.zeros((3, 2)))
    pullback(np.zeros((3, 4)))
    with pytest.raises(RuntimeError, match="before"):
        pullback(np.zeros((3, 4)))
