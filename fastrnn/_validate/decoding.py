"""Logits, ways of choosing from them, and what step functions return."""

import numpy as np

from .arrays import as_array, floating
from .messages import described
from .scalars import integer, positive_int, real

#: By how much rounding may leave the logarithm of a probability above 0.
ROUNDING = 1e-3


def logits(value, name="logits"):
    """Floats ``(..., V)``, V > 0: in every row one finite at least, none NaN or plus infinity."""
    array = floating(value, name)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"{name}: expected an array of shape (..., V), got {array.shape}")
    highest = array.max(axis=-1)
    if not np.isfinite(highest).all():
        found = highest[~np.isfinite(highest)].flat[0] if highest.ndim else highest
        what = "only -inf in a row" if found < 0 else f"{found}"
        raise ValueError(f"{name}: expected finite numbers or -inf, one finite in every row, got {what}")
    return array


def choosing(temperature, top_k, top_p):
    """How to choose: a number of at least 0, a count or None, a part in (0, 1] or None."""
    temperature = real(temperature, "temperature", minimum=0)
    top_k = None if top_k is None else positive_int(top_k, "top_k")
    top_p = None if top_p is None else real(top_p, "top_p", above=0, maximum=1)
    return temperature, top_k, top_p


def stepped(result, rows):
    """``scores, state`` that a step function returned for ``rows`` tokens."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"step: expected it to return a tuple (log_probs, state), got {described(result)}")
    scores = floating(result[0], "step's log_probs")
    if scores.ndim != 2 or scores.shape[0] != rows or scores.shape[1] == 0:
        raise ValueError(f"step's log_probs: expected an array of shape ({rows}, V), got {scores.shape}")
    return scores, result[1]


def log_probabilities(array, name="step's log_probs"):
    """Logarithms of probabilities: at most 0, -inf included."""
    if not (array <= ROUNDING).all():
        found = array[~(array <= ROUNDING)].flat[0]
        raise ValueError(f"{name}: expected logarithms of probabilities, at most 0, got {found}")
    return array


def token(value, name, size=None):
    """A token's number, below ``size`` where that is known."""
    return integer(value, name, minimum=0, maximum=None if size is None else size - 1)


def tokens(value, name):
    """A token's number, or ``(B,)`` of them, B > 0: as intp, and whether it was one alone."""
    array = as_array(value, name, "integers")
    if array.ndim == 0 and not isinstance(value, np.ndarray):
        return np.array([token(value, name)], np.intp), True
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {described(value)}")
    if array.ndim > 1 or array.size == 0 or array.min() < 0:
        problem = f"{array.min()}" if array.size and array.ndim < 2 else f"an array of shape {array.shape}"
        raise ValueError(f"{name}: expected a token's number or (B,) of them, at least 0, got {problem}")
    return array.astype(np.intp).reshape(-1), array.ndim == 0


def gatherable(state, axis):
    """An array whose batch is on this axis."""
    if not isinstance(state, np.ndarray):
        raise TypeError(f"state: expected None, an array, or a tuple, list or dict of such, got {described(state)}; "
                        "or give reorder")  # fmt: skip
    if not -state.ndim <= axis < state.ndim:
        raise ValueError(f"batch_axis: expected an axis of the states, which have {state.ndim}, got {axis}")
    return state


def function(value, name):
    """Something that can be called."""
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {described(value)}")
    return value
