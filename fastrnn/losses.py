"""Losses: each returns its value and the gradient with respect to its first argument.

Argument names are those of ``torch.nn.functional``. Everything is computed and returned in the
dtype of the first argument. ``reduction`` is ``"mean"``, ``"sum"`` or ``"none"``; with
``"none"`` the value keeps its axes and the gradient is that of the sum.

Cross entropy and CTC are the engine's, the losses of elements NumPy's. Imports numpy, ``_core`` and
``_validate``.
"""

import numpy as np

from . import _validate
from ._core import engine


def _reduced(values, reduction, divisor=None, dtype=None):
    """``values`` reduced; ``divisor`` is what "mean" divides by (default: their number).

    In ``dtype``; by default that of ``values``.
    """
    dtype = values.dtype if dtype is None else dtype
    if reduction == "none":
        return values.astype(dtype, copy=False)
    total = values.sum(dtype=values.dtype)
    if reduction == "mean":
        divisor = values.size if divisor is None else divisor
        total = total / divisor if divisor else np.nan  # the mean of nothing
    return dtype.type(total)


def _mean_scale(reduction, divisor):
    """What "mean" multiplies gradients by: 1 / divisor (0 where there is nothing)."""
    if reduction != "mean":
        return 1.0
    return 1.0 / float(divisor) if divisor else 0.0


def _computed(array):
    """A float array as the engine computes: float16 in float32, extended precision in float64."""
    if array.itemsize in (4, 8):
        return array
    return array.astype(np.float32 if array.itemsize == 2 else np.float64)


# -- classes --------------------------------------------------------------------------------


def cross_entropy(
    input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    """Cross entropy between logits and class indices.

    ``loss = -w[t] * sum_c q_c log softmax(input)_c`` with ``q`` the one-hot target, smoothed as
    ``(1 - e) onehot + e / C`` (each class then with its own weight); "mean" divides by the sum
    of ``w[t]`` over targets that are not ignored. Smoothing: Szegedy et al. (2016).

    Parameters
    ----------
    input : array_like
        Logits ``(..., C)``: classes on the last axis, any leading axes.
    target : array_like of int
        ``(...)``, in ``0..C-1`` or ``ignore_index``.
    weight : array_like, optional
        ``(C,)``, one weight per class.
    ignore_index : int
        Targets of this value give no loss and no gradient.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float
        ``e`` in [0, 1].

    Returns
    -------
    loss : scalar, or ndarray ``(...)`` with ``reduction="none"``
    gradient : ndarray
        Of the loss with respect to ``input``, of its shape.

    Raises
    ------
    TypeError
        If targets are not integers.
    ValueError
        For a target that is no class, or a shape that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import cross_entropy
    >>> loss, gradient = cross_entropy(np.zeros((2, 4)), [0, 3])
    >>> round(float(loss), 4), gradient[0].tolist()
    (1.3863, [-0.375, 0.125, 0.125, 0.125])
    """
    logits, target, weight, smoothing = _validate.cross_entropy(
        input, target, weight, ignore_index, reduction, label_smoothing
    )
    shape, dtype = logits.shape, logits.dtype
    kept = target >= 0
    divisor = np.count_nonzero(kept) if weight is None else weight[target[kept]].sum(dtype=np.float64)
    rows, target = _computed(logits).reshape(-1, shape[-1]), target.ravel()
    weight = None if weight is None else _computed(weight)
    scale = _mean_scale(reduction, divisor)
    values, gradient = engine.cross_entropy(rows, target, weight, smoothing, scale)
    loss = _reduced(values.reshape(shape[:-1]), reduction, divisor, dtype)
    return loss, gradient.astype(dtype, copy=False).reshape(shape)


# -- elements -------------------------------------------------------------------------------


def mse_loss(input, target, reduction="mean", weight=None):
    """Squared error, ``loss = w (input - target)^2``.

    Parameters
    ----------
    input, target : array_like
        Of one shape.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of elements, with ``weight`` by the sum of the weights.
    weight : array_like, optional
        Of the same shape.

    Returns
    -------
    loss : scalar, or ndarray of the shape of ``input`` with ``reduction="none"``
    gradient : ndarray
        Of the shape of ``input``.

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import mse_loss
    >>> loss, gradient = mse_loss(np.array([1.0, 2.0]), [0.0, 4.0])
    >>> float(loss), gradient.tolist()
    (2.5, [1.0, -2.0])
    """
    input, target, weight = _validate.elementwise(input, target, weight, reduction)
    gradient = np.asarray(input - target)
    values = gradient * gradient
    divisor = values.size
    if weight is not None:
        values *= weight
        gradient *= weight
        divisor = weight.sum()
    gradient *= 2 * _mean_scale(reduction, divisor)
    return _reduced(values, reduction, divisor), gradient


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """Huber's loss: ``d^2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``.

    ``d = input - target``. Source: Huber, Ann. Math. Statist. 35 (1964).

    Parameters
    ----------
    input, target : array_like
        Of one shape.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of elements, also with ``weight``.
    delta : float
        Positive.
    weight : array_like, optional
        Of the same shape; multiplies the loss of each element.

    Returns
    -------
    loss : scalar, or ndarray of the shape of ``input`` with ``reduction="none"``
    gradient : ndarray
        Of the shape of ``input``.

    Raises
    ------
    ValueError
        If shapes differ or ``delta`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import huber_loss
    >>> loss, gradient = huber_loss(np.array([0.5, 3.0]), [0.0, 0.0], reduction="sum")
    >>> float(loss), gradient.tolist()
    (2.625, [0.5, 1.0])
    """
    input, target, weight = _validate.elementwise(input, target, weight, reduction)
    delta = _validate.real(delta, "delta", above=0)
    difference = np.asarray(input - target)
    gradient = np.clip(difference, -delta, delta)
    values = gradient * (difference - gradient / 2)
    if weight is not None:
        values *= weight
        gradient *= weight
    gradient *= _mean_scale(reduction, values.size)
    return _reduced(values, reduction), gradient


def binary_cross_entropy_with_logits(
    input, target, weight=None, reduction="mean", pos_weight=None
):
    """Binary cross entropy of logits: ``-w (p t log s(x) + (1 - t) log(1 - s(x)))``.

    ``s`` is the sigmoid, ``x = input``, ``t = target``, ``p = pos_weight``; computed from
    ``log1p(exp(-|x|))``, which neither overflows nor cancels.

    Parameters
    ----------
    input, target : array_like
        Of one shape; targets usually lie in [0, 1].
    weight : array_like, optional
        Broadcasts to the shape of ``input``.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of elements.
    pos_weight : array_like, optional
        Broadcasts to the shape of ``input``: the weight of positive targets.

    Returns
    -------
    loss : scalar, or ndarray of the shape of ``input`` with ``reduction="none"``
    gradient : ndarray
        Of the shape of ``input``.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import binary_cross_entropy_with_logits
    >>> loss, gradient = binary_cross_entropy_with_logits(np.zeros(2), [0, 1])
    >>> round(float(loss), 4), gradient.tolist()
    (0.6931, [0.25, -0.25])
    """
    input, target, _ = _validate.elementwise(input, target, None, reduction)
    weight, pos_weight = _validate.broadcast_weights(input, weight, pos_weight)
    decay = np.asarray(np.exp(-np.abs(input)))
    # softplus(-x) = -log s(x), and 1 - s(x) = s(-x)
    softplus = np.log1p(decay) + np.maximum(-input, 0)
    complement = np.where(input >= 0, decay, 1) / (1 + decay)
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    values = np.asarray((1 - target) * input + positive * softplus)
    gradient = np.asarray((1 - target) - positive * complement)
    if weight is not None:
        values *= weight
        gradient *= weight
    gradient *= _mean_scale(reduction, values.size)
    return _reduced(values, reduction), gradient


# -- sequences ------------------------------------------------------------------------------


def ctc_loss(
    log_probs,
    targets,
    input_lengths,
    target_lengths,
    blank=0,
    reduction="mean",
    zero_infinity=False,
):
    """Connectionist temporal classification: ``-log p(target | log_probs)`` over alignments.

    Forward and backward variables in log space, inside in float64. The gradient is the true
    one with respect to ``log_probs``, minus the posterior of each class at each step; torch
    returns it with ``exp(log_probs)`` added, which gives the same through ``log_softmax``.
    Equations (CT1) to (CT15). Source: Graves et al., ICML 2006, equations 5 to 15.

    Parameters
    ----------
    log_probs : array_like
        ``(T, N, C)`` or, for one sequence, ``(T, C)``: logarithms of probabilities.
    targets : array_like of int
        ``(N, S)``, or all targets in a row ``(sum(target_lengths),)``; no blanks in them.
    input_lengths, target_lengths : array_like of int
        ``(N,)`` in ``0..T`` and ``0..S``; integers for one sequence.
    blank : int
        The class that stands for "no label".
    reduction : {"mean", "sum", "none"}
        "mean" divides each loss by its target length (at least 1) and takes the mean over N.
    zero_infinity : bool
        Give no loss and no gradient for sequences too short for their target.

    Returns
    -------
    loss : scalar, or ndarray ``(N,)`` with ``reduction="none"``
    gradient : ndarray
        Of the shape of ``log_probs``; 0 past ``input_lengths``, whatever stands there, and
        NaN in sequences whose loss is infinite or NaN.

    Raises
    ------
    TypeError, ValueError
        For a label that is no class or is the blank, and for shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.losses import ctc_loss
    >>> loss, gradient = ctc_loss(np.log(np.full((2, 1, 2), 0.5)), [[1]], [2], [1])
    >>> round(float(np.exp(-loss)), 4)  # of 4 paths, 3 give the label
    0.75
    """
    log_probs, targets, steps, labels, shape = _validate.ctc(
        log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity
    )
    share = np.ones(len(labels))  # of each loss in the result
    if reduction == "mean":
        share /= np.maximum(labels, 1)
    scale = share * _mean_scale(reduction, len(labels))
    values, gradient = engine.ctc(_computed(log_probs), targets, steps, labels, blank, scale, zero_infinity)
    loss = _reduced(values * share, reduction, dtype=log_probs.dtype)
    if len(shape) == 2 and reduction == "none":
        loss = loss[0]
    return loss, gradient.astype(log_probs.dtype, copy=False).reshape(shape)
