"""``delay``: earlier steps of a sequence beside the present one.

Imports numpy, ``pullback`` and ``_validate``.
"""

import numpy as np

from . import _validate
from .pullback import Pullback, read_only


def delay(x, taps):
    """A tapped delay line: ``y_t = (x_{t - taps[0]}, x_{t - taps[1]}, ...)``, with zeros before the start.

    The windows of a time-delay network (Waibel et al. 1989), the input and output taps of a NARX model
    (Lin et al. 1996).

    Parameters
    ----------
    x : array_like
        ``(T, ..., I)``: time comes first.
    taps : sequence of int
        Steps back, each at least 0, in any order; 0 is the present step.

    Returns
    -------
    ndarray
        ``(T, ..., K*I)`` for K taps, in the floating dtype of ``x``: a block for each tap, in their order.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> fr.delay(np.array([[1.0], [2.0], [3.0]]), [0, 2])
    array([[1., 0.],
           [2., 0.],
           [3., 1.]])
    """
    return _forward(*_validate.delayed(x, taps))


def delay_vjp(x, taps):
    """``delay`` and its backward pass: ``y, pullback``; ``dx = pullback(dy)``, once.

    Where sequences have lengths, ``dy`` must be 0 past them, as a layer's ``dx`` is: a step that lies past a
    length looks back at one that does not.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, pullback = fr.delay.vjp(np.ones((3, 1)), [0, 2])
    >>> pullback(np.array([[1, 1], [10, 10], [100, 100]])).ravel()
    array([101.,  10., 100.])
    """
    x, taps = _validate.delayed(x, taps)
    y = _forward(x, taps)
    shape, width = x.shape, x.shape[-1]

    def backward(dy):
        dx = np.zeros(shape, dy.dtype)
        for k, tap in enumerate(taps):
            dx[: len(dx) - tap] += dy[tap:, ..., k * width : (k + 1) * width]
        return dx

    return read_only(y), Pullback(y, backward)


delay.vjp = delay_vjp


def _forward(x, taps):
    width = x.shape[-1]
    y = np.zeros((*x.shape[:-1], len(taps) * width), x.dtype)
    for k, tap in enumerate(taps):
        y[tap:, ..., k * width : (k + 1) * width] = x[: len(x) - tap]
    return y
