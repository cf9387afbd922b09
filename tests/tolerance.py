"""THE tolerance: the one formula by which results are compared, and the one table of its numbers.

    |result - expected| <= RELATIVE[kind, dtype] * max|expected| + 16 eps(dtype)      (every entry)

Errors are measured against the largest entry of the array: rounding errors of a product are of the
size of its terms, not of what cancellation leaves of them. The second term is for arrays whose
largest entry is itself such a remainder (one unit, one step): a few roundings of terms of size 1.

Nothing else in the tests holds a number that says how close is close enough.
"""

import numpy as np

RELATIVE = {
    ("forward", "float32"): 2e-6,
    ("forward", "float64"): 1e-10,
    ("runtime", "float32"): 1e-5,  # of another runtime, whose sigmoid and tanh are approximations
    ("gradient", "float32"): 2e-5,
    ("gradient", "float64"): 1e-10,
    # Central differences with eps = 1e-5: truncation about 1e-10, amplified by third derivatives
    # that a handful of layers, directions and steps multiply.
    ("numeric", "float64"): 1e-7,
}
ROUNDINGS = 16
PEER = 4  # how many times another library's own error in the same dtype ours may be
ULPS = 4  # exp, sigmoid, tanh


def allowed(kind, dtype, expected):
    """The largest error that an array may have anywhere; an infinity is met exactly and sets no scale for the others."""
    dtype = np.dtype(dtype)
    largest = np.max(np.abs(expected), initial=0.0, where=~np.isinf(expected))
    return RELATIVE[kind, dtype.name] * largest + ROUNDINGS * float(np.finfo(dtype).eps)


def worst(result, expected):
    """max |result - expected|; infinite where one is NaN and the other is not."""
    result, expected = np.asarray(result, np.float64), np.asarray(expected, np.float64)
    both_nan = np.isnan(result) & np.isnan(expected)
    with np.errstate(invalid="ignore"):
        error = np.where((result == expected) | both_nan, 0.0, np.abs(result - expected))
    return float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))


def assert_close(name, result, expected, kind, dtype=None):
    """``result`` has the shape of ``expected``, the dtype asked for, and its values."""
    dtype = np.dtype(result.dtype if dtype is None else dtype)
    assert result.dtype == dtype, f"{name}: dtype {result.dtype}, expected {dtype}"
    assert result.shape == expected.shape, f"{name}: {result.shape}, expected {expected.shape}"
    error, limit = worst(result, expected), allowed(kind, dtype, expected)
    assert error <= limit, f"{name}: error {error:.3g} exceeds {limit:.3g}"


def assert_as_good_as(name, result, peer, expected, kind):
    """``result`` is as close as the formula asks, or within ``PEER`` times the error of ``peer``."""
    error, other = worst(result, expected), worst(peer, expected)
    limit = max(PEER * other, allowed(kind, result.dtype, expected))
    assert error <= limit, f"{name}: error {error:.3g} exceeds {limit:.3g} (peer's: {other:.3g})"


def assert_same_bits(name, result, expected):
    """Equal to the last bit, the sign of zeros included."""
    assert result.dtype == expected.dtype, f"{name}: {result.dtype} is not {expected.dtype}"
    assert result.shape == expected.shape, f"{name}: {result.shape} is not {expected.shape}"
    bits = np.dtype(f"u{result.dtype.itemsize}")
    ours, theirs = (np.ascontiguousarray(array).view(bits) for array in (result, expected))
    different = int(np.count_nonzero(ours != theirs))
    assert different == 0, (
        f"{name}: {different} of {ours.size} entries differ in their bits, "
        f"by at most {worst(result, expected):.3g}"
    )


def ulps(result, exact):
    """|result - exact| in units of the last place of ``exact`` in the dtype of ``result``.

    ``exact`` is of a wider dtype. Entries that are not finite must agree exactly (else: inf).
    """
    dtype = result.dtype
    with np.errstate(over="ignore"):
        rounded = exact.astype(dtype)
    finite = np.isfinite(result) & np.isfinite(rounded)
    same = (result == rounded) | (np.isnan(result) & np.isnan(rounded))
    distance = np.where(finite | same, 0.0, np.inf)
    wide = np.longdouble
    unit = np.spacing(np.abs(rounded[finite])).astype(wide)
    distance[finite] = (np.abs(result[finite].astype(wide) - exact[finite].astype(wide)) / unit).astype(float)
    return distance
