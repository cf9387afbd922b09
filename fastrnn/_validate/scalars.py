"""Numbers, choices, data types, generators and paths."""

import operator

import numpy as np

from .messages import described

MAX_THREADS = 1024


def integer(value, name, minimum=None, maximum=None):
    """An integer of any integer type in ``minimum..maximum``, as ``int``; ``bool`` is refused."""
    expected = "an integer"
    if minimum is not None:
        expected += f" of at least {minimum}" if maximum is None else f" in {minimum}..{maximum}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected {expected}, got {described(value)}")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {described(value)}") from None
    if (minimum is not None and result < minimum) or (maximum is not None and result > maximum):
        raise ValueError(f"{name}: expected {expected}, got {result}")
    return result


def positive_int(value, name):
    """A size: an integer of at least 1."""
    return integer(value, name, minimum=1)


def thread_variable(text, name):
    """The number of threads in an environment variable."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_THREADS):
        raise ValueError(f"{name}: expected an integer in 1..{MAX_THREADS}, got {text!r}")
    return int(text)


def boolean(value, name):
    """``True`` or ``False`` (NumPy's too), as ``bool``."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {described(value)}")
    return bool(value)


def real(value, name, minimum=None, maximum=None, below=None, above=None):
    """A finite real number within the bounds given, as ``float``."""
    bounds = ((minimum, ">="), (above, ">"), (maximum, "<="), (below, "<"))
    text = " and ".join(f"{sign} {bound}" for bound, sign in bounds if bound is not None)
    expected = "a finite number" + (" " + text if text else "")
    if isinstance(value, (bool, np.bool_, str, bytes, complex, np.complexfloating)):
        raise TypeError(f"{name}: expected {expected}, got {described(value)}")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected {expected}, got {described(value)}") from None
    inside = (
        abs(result) < float("inf")
        and (minimum is None or result >= minimum)
        and (maximum is None or result <= maximum)
        and (below is None or result < below)
        and (above is None or result > above)
    )
    if not inside:
        raise ValueError(f"{name}: expected {expected}, got {result}")
    return result


def optional_positive(value, name):
    """None, or a positive number."""
    return None if value is None else real(value, name, above=0)


def probability(value, name):
    """A probability in [0, 1]."""
    return real(value, name, minimum=0, maximum=1)


def one_of(value, name, options):
    """One of the strings ``options``."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {tuple(options)}, got {described(value)}")
    if value not in options:
        raise ValueError(f"{name}: expected one of {tuple(options)}, got {value!r}")
    return value


def same(value, expected, what, most=80):
    """``value``, if it is the one expected; ``most`` characters of either are in the message."""
    if value != expected:
        raise ValueError(f"{what}: expected {expected!r:.{most}}, got {value!r:.{most}}")
    return value


def float_dtype(value, name="dtype"):
    """``float32`` or ``float64`` in any spelling NumPy knows, as a native ``np.dtype``."""
    try:
        dtype = None if value is None else np.dtype(value)
    except (TypeError, ValueError):
        dtype = None
    if dtype is None:
        raise TypeError(f"{name}: expected 'float32' or 'float64', got {described(value)}")
    if dtype not in (np.dtype("float32"), np.dtype("float64")):
        raise ValueError(f"{name}: expected 'float32' or 'float64', got '{dtype}'")
    return dtype


def generator(value, name="rng"):
    """A ``numpy.random.Generator``: the one given, one seeded by an int, or a fresh one."""
    if value is None:
        return np.random.default_rng()
    if isinstance(value, np.random.Generator):
        return value
    try:
        return np.random.default_rng(integer(value, name, minimum=0))
    except TypeError:
        raise TypeError(
            f"{name}: expected None, an int seed or a numpy Generator, got {described(value)}"
        ) from None


def generator_or_none(value, name="rng"):
    """The same, but None stays: ``numpy.random`` is not imported before somebody draws from it."""
    return None if value is None else generator(value, name)


def path(value, name="path"):
    """A file path, ``str`` or path-like, as ``str``."""
    result = value.__fspath__() if hasattr(type(value), "__fspath__") else value
    if not isinstance(result, str):
        raise TypeError(f"{name}: expected a path (str or path-like), got {described(value)}")
    if not result or "\0" in result:
        raise ValueError(f"{name}: expected a path, got {result!r}")
    return result
