"""``pool``: one vector out of each sequence of a layer's outputs.

Imports numpy, ``pullback`` and ``_validate``.
"""

import numpy as np

from . import _validate
from .pullback import Pullback, read_only

KINDS = ("last", "max", "mean")


def pool(y, lengths=None, kind="last", directions=1):
    """One vector for each sequence: ``y (T, B, D*H)`` -> ``Y (B, D*H)``.

    ``"last"`` is the output that is the final state of its direction: step ``lengths - 1`` of the first,
    step 0 of the reverse one. ``"max"`` is ``Y = max_t y_t``, ``"mean"`` is ``Y = (sum_t y_t) / length``,
    entry by entry, over the steps within the length.

    Parameters
    ----------
    y : array_like
        ``(T, B, D*H)``, or ``(T, D*H)`` for a sequence alone; time comes first.
    lengths : array_like of int, optional
        ``(B,)`` in ``0..T``, in any order. What lies past a length is never used; length 0 gives 0.
    kind : "last", "max" or "mean"
    directions : 1 or 2
        How many lie side by side on the last axis; only ``"last"`` asks.

    Returns
    -------
    ndarray
        ``(B, D*H)``, or ``(D*H,)``, in the floating dtype of ``y``. A NaN in a step within the length gives
        NaN, except for ``"last"`` in a step that is not taken.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y = np.arange(12.0).reshape(3, 2, 2)
    >>> fr.pool(y, lengths=[3, 1])
    array([[8., 9.],
           [2., 3.]])
    >>> fr.pool(y, lengths=[3, 1], directions=2)  # the second column is the reverse direction's
    array([[8., 1.],
           [2., 3.]])
    >>> fr.pool(y, lengths=[3, 0], kind="mean")
    array([[4., 5.],
           [0., 0.]])
    """
    return _forward(y, lengths, kind, directions)[0]


def pool_vjp(y, lengths=None, kind="last", directions=1):
    """``pool`` and its backward pass: ``Y, pullback``; ``dy = pullback(dY)``, once.

    ``dy`` has the shape of ``y`` and is 0 past a length. With ``"max"`` the first of equal steps gets the
    gradient, or the first NaN.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> Y, pullback = fr.pool.vjp(np.array([[1.0, 3.0], [5.0, 3.0]]), kind="max")
    >>> Y
    array([5., 3.])
    >>> pullback([10, 20])
    array([[ 0., 20.],
           [10.,  0.]])
    """
    result, backward = _forward(y, lengths, kind, directions)
    return read_only(result), Pullback(result, backward, name="dY")


pool.vjp = pool_vjp


def _forward(y, lengths, kind, directions):
    """``Y`` and the function from ``dY`` to ``dy``, both in the caller's shapes."""
    y, lengths, unbatched = _validate.pooled(y, lengths, kind, KINDS, directions)
    forward = _mean if kind == "mean" else _taken
    result, backward = forward(y, lengths, kind, directions)
    if not unbatched:
        return result, backward
    return result[0], lambda d_result: backward(d_result[np.newaxis])[:, 0]


def _past(steps, lengths):
    """``(T, B)``: does the step lie past the length?"""
    return np.arange(steps)[:, np.newaxis] >= lengths


def _within(y, past, other):
    """``y`` with ``other`` past the lengths."""
    return np.where(past[:, :, np.newaxis], other, y) if past.any() else y


def _taken(y, lengths, kind, directions):
    """``"last"`` and ``"max"``: each entry is taken from one step."""
    steps, batch, width = y.shape
    alive = lengths[:, np.newaxis] > 0
    if kind == "last":
        place = np.repeat(np.maximum(lengths - 1, 0)[:, np.newaxis], width, axis=1)
        if directions == 2:
            place[:, width // 2 :] = 0
    elif steps:
        # argmax takes the first of equals, and NaN for larger than all else
        place = _within(y, _past(steps, lengths), -np.inf).argmax(axis=0)
    if steps:
        result = np.where(alive, np.take_along_axis(y, place[np.newaxis], axis=0)[0], 0)
    else:
        result = np.zeros((batch, width), y.dtype)

    def backward(d_result):
        dy = np.zeros((steps, batch, width), d_result.dtype)
        if steps:
            np.put_along_axis(dy, place[np.newaxis], np.where(alive, d_result, 0), axis=0)
        return dy

    return result, backward


def _mean(y, lengths, kind, directions):
    """``"mean"``."""
    shape, past = y.shape, _past(len(y), lengths)
    count = np.maximum(lengths, 1)[:, np.newaxis]
    result = (_sum_in_order(_within(y, past, 0)) / count).astype(y.dtype)

    def backward(d_result):
        dy = np.empty(shape, d_result.dtype)
        dy[...] = d_result / count
        dy[past] = 0
        return dy

    return result, backward


def _sum_in_order(y):
    """The sum over the first axis, one step after the other, in float64 or wider.

    NumPy adds the rows of an array in this order, but the entries of a single column in one that depends on
    how many there are; so that batch mates and padding do not show, it never sees a single column.
    """
    wide = np.result_type(y.dtype, np.float64)
    if y[:1].size == 1:
        return np.repeat(y, 2, axis=2).sum(axis=0, dtype=wide)[:, :1]
    return y.sum(axis=0, dtype=wide)
