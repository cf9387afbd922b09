"""Arguments of the losses."""

import numpy as np

from .arrays import (
    broadcastable,
    converted,
    exact_shape,
    floating,
    integer_array,
    real_array,
    sequence_lengths,
)
from .scalars import boolean, integer, one_of, probability

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing):
    """The arguments of ``losses.cross_entropy``: logits, intp targets (-1: ignored), weight, smoothing."""
    one_of(reduction, "reduction", REDUCTIONS)
    ignore_index = integer(ignore_index, "ignore_index")
    smoothing = probability(label_smoothing, "label_smoothing")
    logits = real_array(input, "input")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"input: expected an array of shape (..., C), got {logits.shape}")
    classes = logits.shape[-1]
    target = _classes(target, logits.shape[:-1], classes, ignore_index)
    logits = floating(logits, "input")
    if weight is not None:
        weight = real_array(weight, "weight", logits.dtype, (classes,))
    return logits, target, weight, smoothing


def _classes(target, shape, classes, ignore_index):
    """Integers in ``0..classes-1``, as intp of this shape; -1 for those that are ``ignore_index``."""
    target = exact_shape(integer_array(target, "target"), "target", shape)
    ignored = target == ignore_index
    bad = ((target < 0) | (target >= classes)) & ~ignored
    if bad.any():
        raise ValueError(
            f"target: expected classes in 0..{classes - 1} or ignore_index={ignore_index}, "
            f"got {target[bad].flat[0]}"
        )
    target = converted(target, np.dtype(np.intp))
    return np.where(ignored, np.intp(-1), target) if ignored.any() else target


def class_targets(target, shape, classes, ignore_index, reduction):
    """The arguments of an ``AdaptiveSoftmax`` besides ``x``: its targets, -1 for those ignored."""
    one_of(reduction, "reduction", REDUCTIONS)
    return _classes(target, shape, classes, integer(ignore_index, "ignore_index"))


def clusters(cutoffs, in_features, n_classes, div_value):
    """The cutoffs of an ``AdaptiveSoftmax``, and the features that each cluster sees."""
    given = integer_array(cutoffs, "cutoffs")
    if given.ndim != 1 or given.size == 0:
        raise ValueError(f"cutoffs: expected at least one class, got an array of shape {given.shape}")
    cutoffs = given.tolist()
    if cutoffs[0] < 1 or cutoffs[-1] >= n_classes or any(a >= b for a, b in zip(cutoffs, cutoffs[1:])):
        raise ValueError(f"cutoffs: expected increasing classes in 1..{n_classes - 1}, got {cutoffs}")
    widths = []
    for i in range(len(cutoffs)):
        widths.append(int(in_features // div_value ** (i + 1)))
        if widths[i] < 1:
            raise ValueError(
                f"div_value: expected a number that leaves every cluster a feature, got {div_value}: "
                f"cluster {i} has {in_features} // {div_value} ** {i + 1} = 0"
            )
    return tuple(cutoffs), widths


def elementwise(input, target, weight, reduction):
    """The arguments of an elementwise loss: three arrays of one shape and dtype."""
    one_of(reduction, "reduction", REDUCTIONS)
    input = floating(input, "input")
    target = real_array(target, "target", input.dtype, input.shape)
    if weight is not None:
        weight = real_array(weight, "weight", input.dtype, input.shape)
    return input, target, weight


def broadcast_weights(input, weight, pos_weight):
    """Two optional weights that broadcast to the shape of ``input``."""
    if weight is not None:
        weight = broadcastable(weight, "weight", input.shape, input.dtype)
    if pos_weight is not None:
        pos_weight = broadcastable(pos_weight, "pos_weight", input.shape, input.dtype)
    return weight, pos_weight


def ctc(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity):
    """The arguments of ``losses.ctc_loss``.

    Returns
    -------
    log_probs : ndarray
        ``(T, N, C)``.
    targets : ndarray of intp
        ``(N, S)``, whatever form they came in; the blank past each target's length.
    steps, labels : ndarray of intp
        ``(N,)``: lengths of inputs and of targets.
    shape : tuple of int
        Of ``log_probs`` as it came.
    """
    one_of(reduction, "reduction", REDUCTIONS)
    boolean(zero_infinity, "zero_infinity")
    log_probs = real_array(log_probs, "log_probs")
    if log_probs.ndim not in (2, 3) or log_probs.shape[-1] == 0:
        raise ValueError(
            f"log_probs: expected an array of shape (T, N, C) or (T, C), got {log_probs.shape}"
        )
    shape, single = log_probs.shape, log_probs.ndim == 2
    steps, classes, count = shape[0], shape[-1], 1 if single else shape[1]
    blank = integer(blank, "blank", 0, classes - 1)
    targets = integer_array(targets, "targets")
    in_a_row = targets.ndim == 1
    if not in_a_row and (single or targets.ndim != 2 or len(targets) != count):
        expected = "(S,)" if single else f"({count}, S) or (sum(target_lengths),)"
        raise ValueError(f"targets: expected an array of shape {expected}, got {targets.shape}")
    longest = targets.shape[-1]
    input_lengths = _ctc_lengths(input_lengths, "input_lengths", count, steps, single)
    labels = _ctc_lengths(target_lengths, "target_lengths", count, longest, single)
    if in_a_row and not single and labels.sum() != longest:
        raise ValueError(
            f"target_lengths: expected a sum of {longest}, the number of targets, "
            f"got {labels.sum()}"
        )
    padded = np.full((count, int(labels.max(initial=0))), blank, np.intp)
    inside = np.arange(padded.shape[1]) < labels[:, np.newaxis]
    used = targets[: labels[0]] if single else targets
    if not in_a_row:
        used = targets[:, : padded.shape[1]][inside]
    bad = (used < 0) | (used >= classes) | (used == blank)
    if bad.any():
        raise ValueError(
            f"targets: expected classes in 0..{classes - 1} other than the blank {blank}, "
            f"got {used[bad].flat[0]}"
        )
    padded[inside] = used
    log_probs = floating(log_probs, "log_probs")
    return log_probs.reshape(steps, count, classes), padded, input_lengths, labels, shape


def _ctc_lengths(value, name, count, maximum, single):
    """``(N,)`` integers in ``0..maximum``; for one sequence also an integer."""
    array = integer_array(value, name)
    if single and array.ndim == 0:
        array = array.reshape(1)
    return sequence_lengths(array, name, count, maximum).astype(np.intp)
