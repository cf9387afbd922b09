"""How a message names what came and what was expected."""

import numpy as np


def described(value):
    """What a value is, in a few words, for an error message."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    if isinstance(value, (bool, int, float, complex, str)):
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    return f"an object of type {type(value).__name__}"


def shape_text(shape):
    """``("T", "B", 8)`` as ``(T, B, 8)``, one axis as ``(B,)``."""
    comma = "," if len(shape) == 1 else ""
    return f"({', '.join(str(size) for size in shape)}{comma})"
