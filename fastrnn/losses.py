"""Losses: each returns its value and the gradient with respect to its first argument.

Argument names are those of ``torch.nn.functional``. Everything is computed and returned in the
dtype of the first argument. ``reduction`` is ``"mean"``, ``"sum"`` or ``"none"``; with
``"none"`` the value keeps its axes and the gradient is that of the sum.

Imports numpy and ``_validate``.
"""

import numpy as np

from . import _validate


def _reduced(values, reduction, divisor=None):
    """``values`` reduced; ``divisor`` is what "mean" divides by (default: their number)."""
    if reduction == "none":
        return values
    total = values.sum(dtype=values.dtype)
    if reduction == "mean":
        divisor = values.size if divisor is None else divisor
        total = total / divisor if divisor else np.nan  # the mean of nothing
    return values.dtype.type(total)


def _mean_scale(reduction, divisor):
    """What "mean" multiplies gradients by: 1 / divisor (0 where there is nothing)."""
    if reduction != "mean":
        return 1.0
    return 1.0 / float(divisor) if divisor else 0.0


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
    shape, classes = logits.shape, logits.shape[-1]
    dtype = logits.dtype.type
    logits, target = logits.reshape(-1, classes), target.ravel()
    kept = target != ignore_index
    ignored = None if kept.all() else ~kept
    if ignored is not None:
        target = np.where(kept, target, 0)
    counted = kept.astype(dtype) if weight is None else np.where(kept, weight[target], dtype(0))
    divisor = counted.sum() if reduction == "mean" else None
    scale = dtype(_mean_scale(reduction, divisor))

    with np.errstate(invalid="ignore", divide="ignore"):  # infinite logits
        # along rows of C = 100, reduceat and einsum take 0.4 and 0.25 of the time of max and sum
        top = np.maximum.reduceat(logits.reshape(-1), np.arange(0, logits.size, classes))
        shifted = logits - top[:, np.newaxis]
        flat = shifted.reshape(-1)
        at_target = np.arange(target.size) * classes + target
        row = direct = counted * dtype(1 - smoothing)
        values = direct * flat[at_target]
        if smoothing:
            spread = np.full(classes, smoothing / classes, dtype)
            if weight is not None:
                spread *= weight
            row = direct + spread.sum()
            values += np.einsum("nc,c->n", shifted, spread)
        np.exp(shifted, out=shifted)
        partition = np.einsum("nc->n", shifted)
        values = row * np.log(partition) - values
        shifted *= (row * scale / partition)[:, np.newaxis]
    flat[at_target] -= direct * scale
    if smoothing:
        shifted -= spread * scale
    if ignored is not None:  # by assignment: what stands there may be NaN
        values[ignored] = 0
        shifted[ignored] = 0
    return _reduced(values.reshape(shape[:-1]), reduction, divisor), shifted.reshape(shape)


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
    Source: Graves et al., ICML 2006, equations 5 to 15.

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
        NaN where the loss is infinite.

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
    arguments = _validate.ctc(
        log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity
    )
    log_probs, targets, steps, labels, shape = arguments
    T, N, C = log_probs.shape
    states = np.full((N, 2 * targets.shape[1] + 1), blank)
    states[:, 1::2] = targets
    valid = np.arange(T)[:, np.newaxis] < steps
    emitted = np.take_along_axis(log_probs, states[np.newaxis], axis=2).astype(np.float64)
    values, posterior = _ctc_posterior(emitted, states, steps, labels)

    impossible = np.isposinf(values)
    if zero_infinity:
        values = np.where(impossible, 0, values)
        posterior[:, impossible] = 0
    scale = np.ones(N)
    if reduction == "mean":
        scale = 1 / np.maximum(labels, 1)
        values = values * scale
        scale = scale / max(N, 1)
    posterior *= -scale[:, np.newaxis]
    gradient = np.zeros((T, N, C))
    gradient[:, :, blank] = posterior[:, :, ::2].sum(axis=2)
    rows = np.arange(N)
    for label in range(targets.shape[1]):
        gradient[:, rows, targets[:, label]] += posterior[:, :, 2 * label + 1]
    if not zero_infinity:
        gradient[:, impossible] = np.nan
    gradient[~valid] = 0
    dtype = log_probs.dtype
    loss = _reduced(values, reduction).astype(dtype)
    if len(shape) == 2 and reduction == "none":
        loss = loss[0]
    return loss, gradient.astype(dtype).reshape(shape)


def _log_sum(*terms):
    """``log(sum(exp(terms)))`` in which -inf stands for 0."""
    top = np.maximum(terms[0], terms[1])
    for term in terms[2:]:
        top = np.maximum(top, term)
    top = np.where(np.isneginf(top), 0, top)
    return np.log(sum(np.exp(term - top) for term in terms)) + top


def _ctc_posterior(emitted, states, steps, labels):
    """Forward-backward over the states (blank, label, blank, ..., blank) of each target.

    Parameters
    ----------
    emitted : ndarray
        ``(T, N, K)``: log probability of each state's class.
    states : ndarray
        ``(N, K)``: the classes.
    steps, labels : ndarray
        ``(N,)``: lengths of inputs and of targets.

    Returns
    -------
    values : ndarray
        ``(N,)``: minus the log probability of each target.
    posterior : ndarray
        ``(T, N, K)``: of each state at each step.
    """
    T, N, K = emitted.shape
    rows = np.arange(N)
    none = -np.inf
    skip = np.full((N, K), none)  # a blank may be skipped between two different labels
    skip[:, 3::2] = np.where(states[:, 3::2] != states[:, 1:-2:2], 0, none)
    ends = np.full((N, K), none)  # a path ends in the last label or in the blank after it
    ends[rows, 2 * labels] = 0
    ends[rows, np.maximum(2 * labels - 1, 0)] = 0

    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = np.full((T, N, K + 2), none)  # two columns of padding before state 0
        if T:
            alpha[0, :, 2:4] = emitted[0, :, :2]
        for t in range(1, T):
            before = alpha[t - 1]
            alpha[t, :, 2:] = emitted[t] + _log_sum(
                before[:, 2:], before[:, 1:-1], before[:, :-2] + skip
            )
        alpha = alpha[:, :, 2:]
        values = np.where(labels == 0, 0.0, np.inf)  # of an input without steps
        some = steps > 0
        last = alpha[steps[some] - 1, rows[some]]
        if K:
            final = last + ends[some]
            values[some] = -_log_sum(*final.T) if K > 1 else -final[:, 0]

        beta = np.full((N, K + 2), none)  # two columns of padding after the last state
        posterior = alpha  # in place, from the last step to the first
        skip_from = np.concatenate([skip[:, 2:], np.full((N, min(2, K)), none)], axis=1)
        for t in range(T - 1, -1, -1):
            if t + 1 < T:
                after = beta.copy()
                after[:, :K] += emitted[t + 1]
                beta[:, :K] = _log_sum(after[:, :K], after[:, 1:-1], after[:, 2:] + skip_from)
            beta[:, :K] = np.where((steps - 1 == t)[:, np.newaxis], ends, beta[:, :K])
            posterior[t] = np.exp(alpha[t] + beta[:, :K] + values[:, np.newaxis])
    return values, posterior
