"""Arrays: kind, shape and dtype."""

import numpy as np

from .messages import described, shape_text


def as_array(value, name, expected):
    """``np.asarray`` whose failures name the argument."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected {expected}, got {described(value)}: {error}") from None
    except Exception as error:
        raise TypeError(f"{name}: expected {expected}, got {described(value)}: {error}") from None


def given(value, name):
    """``value``, if it is not None."""
    if value is None:
        raise TypeError(f"{name}: expected an array of real numbers, got None")
    return value


def real_array(value, name, dtype=None, shape=None):
    """An array of real numbers.

    Parameters
    ----------
    value : array_like
        Floating, integer or boolean; any stride, byte order and alignment.
    name : str
        The argument's name.
    dtype : np.dtype, optional
        Without it the array is returned as it came, neither copied nor converted.
    shape : tuple of int, optional
        The exact shape expected.

    Raises
    ------
    TypeError
        For complex numbers, objects, strings and everything else that is not real.
    ValueError
        For a wrong shape.
    """
    array = as_array(value, name, "an array of real numbers")
    if array.dtype.kind not in "fiub":
        what = f"dtype {array.dtype}" if isinstance(value, np.ndarray) else described(value)
        raise TypeError(f"{name}: expected an array of real numbers, got {what}")
    if shape is not None:
        exact_shape(array, name, shape)
    return array if dtype is None else converted(array, dtype)


def converted(array, dtype):
    """The same numbers, native ``dtype``, C-contiguous and aligned; copied only if needed."""
    array = np.asarray(array, dtype=dtype, order="C")
    return array if array.flags.aligned else array.copy()


def exact_shape(array, name, shape):
    """``array``, if it has this shape."""
    if array.shape != tuple(shape):
        raise ValueError(
            f"{name}: expected an array of shape {shape_text(shape)}, got {array.shape}"
        )
    return array


def same_dtype(array, name, dtype):
    """Refuse an array of another dtype."""
    if array.dtype != dtype:
        raise ValueError(f"{name}: expected dtype {dtype}, got {array.dtype}")


def integer_array(value, name):
    """Integers of any integer dtype, as int64 or uint64; floats and booleans are refused.

    Not as they came: NumPy 2.0.0 crashes where it compares strided integers of some dtypes with a
    number that the dtype does not hold.
    """
    array = as_array(value, name, "an array of integers")
    if array.size == 0 and isinstance(value, (list, tuple)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        what = f"dtype {array.dtype}" if isinstance(value, np.ndarray) else described(value)
        if isinstance(value, (list, tuple)):
            what += f" of {array.dtype}"
        raise TypeError(f"{name}: expected integers, got {what}")
    wide = array.dtype.kind == "u" and array.dtype.itemsize == 8
    return np.asarray(array, order="C") if wide else array.astype(np.int64, copy=False)


def indices(value, name, count):
    """Integers in ``0..count-1`` of any shape, as a C-contiguous ``intp`` array."""
    array = integer_array(value, name)
    if array.size:
        lowest, highest = int(array.min()), int(array.max())
        if lowest < 0 or highest >= count:
            bad = lowest if lowest < 0 else highest
            raise ValueError(f"{name}: expected integers in 0..{count - 1}, got {bad}")
    return converted(array, np.dtype(np.intp))


def sequence_lengths(lengths, name, batch, steps, unbatched=False):
    """``lengths``: ``(B,)`` integers in ``0..T``, as int64."""
    if unbatched:
        raise ValueError(f"{name}: expected None with an unbatched x, got {described(lengths)}")
    lengths = exact_shape(integer_array(lengths, name), name, (batch,))
    if lengths.size:
        lowest, highest = int(lengths.min()), int(lengths.max())
        if lowest < 0 or highest > steps:
            bad = lowest if lowest < 0 else highest
            raise ValueError(f"{name}: expected integers in 0..{steps}, got {bad}")
    return converted(lengths, np.dtype(np.int64))


def floating(value, name):
    """A real array in its own native floating dtype; integers and booleans become float64."""
    array = real_array(value, name)
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind == "f" else np.dtype(np.float64)
    return converted(array, dtype)


def last_axis(value, name, size, dtype):
    """A real array ``(..., size)`` with any leading axes, converted to ``dtype``."""
    array = real_array(value, name)
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(f"{name}: expected an array of shape (..., {size}), got {array.shape}")
    return converted(array, dtype)


def broadcastable(value, name, shape, dtype):
    """A real array that broadcasts to ``shape``, converted to ``dtype``."""
    array = real_array(value, name)
    try:
        fits = np.broadcast_shapes(array.shape, shape) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: expected an array that broadcasts to {shape_text(shape)}, got {array.shape}"
        )
    return converted(array, dtype)
