"""``tbptt``: truncated back-propagation through time.

Imports ``_validate`` and ``layers``; numpy for arrays.
"""

import numpy as np

from . import _validate
from .layers import Recurrent


def tbptt(module, x, loss, k1, k2, state=None):
    """Truncated BPTT: after every k1 steps, the losses of these k1 steps are sent back k2 steps.

    BPTT(h; h') of Williams & Peng 1990, with h = k2 and h' = k1. The gradient of a block of losses takes the
    state k2 steps before the block's end for a constant; with k2 >= T nothing is cut and the sum over the blocks
    is the gradient of full BPTT. Memory is that of k2 steps.

    Parameters
    ----------
    module : RNN, LSTM, GRU, ...
        Of one direction. Its gradients are added to ``module.grads``; its parameters must not change meanwhile.
    x : array_like
        What a call takes: ``(T, B, I)``, ``(B, T, I)`` with ``batch_first``, or ``(T, I)``.
    loss : callable
        ``loss(y_block, t0) -> (value, dy)``: a number and the gradient with respect to ``y_block``, the outputs
        of the steps from ``t0`` on, k1 of them or what is left of T; None for a block without a loss.
    k1, k2 : int
        Steps, ``1 <= k1 <= k2``.
    state : ndarray or tuple, optional
        Initial state, as in a call.

    Returns
    -------
    value : float
        The sum of the values.
    state : ndarray or tuple
        The state after the last step.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, before any work is done, and for what ``loss`` returns.
    RuntimeError
        When ``loss`` changed the parameters of the module.

    Notes
    -----
    Where k2 > k1 a window runs steps again that an earlier one ran; the outputs have the same bits, but dropout
    draws new masks.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> gru, head = fr.GRU(3, 8, rng=0), fr.Linear(8, 1, rng=0)
    >>> x, target = np.ones((100, 2, 3)), np.zeros((100, 2, 1))
    >>> def loss(y, t0):
    ...     prediction, pullback = head.vjp(y)
    ...     value, gradient = fr.losses.mse_loss(prediction, target[t0 : t0 + len(y)], reduction="sum")
    ...     return value, pullback(gradient)
    >>> value, state = fr.tbptt(gru, x, loss, k1=10, k2=25)
    >>> state.shape, value > 0, bool(gru.grads["weight_hh_l0"].any())
    ((1, 2, 8), True, True)
    """
    x, axis, k1, k2 = _validate.truncated(module, Recurrent, x, loss, k1, k2, state)
    steps = x.shape[axis]
    total, final = 0.0, None
    start = 0  # `state` is the one before this step
    for t0 in range(0, steps, k1):
        end = min(t0 + k1, steps)
        after = max(0, min(end + k1, steps) - k2) if end < steps else start  # where the next window begins
        y, final, ahead, pullbacks = _window(module, x, axis, (start, after, end), state)
        block = _cut(y, axis, t0 - start, end - start)
        value, dy = _validate.loss_result(loss(block, t0), block)
        total += value
        if dy is not None:
            _send_back(pullbacks, axis, y, t0 - start, dy)
        start, state = after, ahead
    return total, module(x, state)[1] if steps == 0 else final


def _cut(array, axis, first, last):
    """The steps ``first..last-1`` of an array."""
    return array[:, first:last] if axis else array[first:last]


def _window(module, x, axis, bounds, state):
    """Run the steps of a window, in two parts if the next window begins inside it.

    Parameters
    ----------
    bounds : (int, int, int)
        Where the window begins, where the next one does, where it ends.
    state : ndarray, tuple or None
        The state before the first of them.

    Returns
    -------
    y, state : as ``vjp`` of the whole window returns them
    ahead : ndarray, tuple or None
        The state before the next window.
    pullbacks : list of (int, int, callable)
        For each part its steps, counted from the window's first, and its pullback.
    """
    start, after, end = bounds
    outputs, pullbacks, ahead = [], [], state
    for first, last in ((start, after), (after, end)):
        if first < last:
            y, state, *_, pullback = module.vjp(_cut(x, axis, first, last), state)
            outputs.append(y)
            pullbacks.append((first - start, last - start, pullback))
        if last == after:
            ahead = state
    y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis)
    y.flags.writeable = False
    return y, state, ahead, pullbacks


def _send_back(pullbacks, axis, y, first, dy):
    """BPTT through a window whose outputs ``y`` have the gradient ``dy`` from step ``first`` on, 0 before it."""
    whole = np.zeros_like(y)
    _cut(whole, axis, first, y.shape[axis])[...] = dy
    dstate = None
    for begin, end, pullback in reversed(pullbacks):
        part = _cut(whole, axis, begin, end) if end > first else None
        _, dstate = pullback(part, dstate)
