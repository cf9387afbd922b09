"""Pooling, delay lines, initial parameters, truncated BPTT, trees."""

import numpy as np

from .arrays import converted, exact_shape, floating, integer_array, real_array, sequence_lengths
from .messages import described, shape_text
from .recurrent import recurrent_inputs
from .scalars import integer, one_of, positive_int, real


def pooled(y, lengths, kind, kinds, directions):
    """The arguments of ``pool``.

    Returns
    -------
    y : ndarray
        ``(T, B, D*H)``, C-contiguous, in its floating dtype; a sequence alone with ``B = 1``.
    lengths : ndarray of int64
        ``(B,)``, T where none was given; nobody else's.
    unbatched : bool
    """
    one_of(kind, "kind", kinds)
    integer(directions, "directions", 1, 2)
    array = real_array(y, "y")
    if array.ndim not in (2, 3):
        raise ValueError(f"y: expected an array of shape (T, B, D*H) or (T, D*H), got {array.shape}")
    if array.shape[-1] % directions:
        raise ValueError(f"y: expected a last axis of {directions} equal parts, one a direction, got {array.shape}")
    unbatched = array.ndim == 2
    steps, batch = array.shape[0], 1 if unbatched else array.shape[1]
    if lengths is None:
        lengths = np.full(batch, steps)
    else:
        lengths = sequence_lengths(lengths, "lengths", batch, steps, unbatched).copy()
    array = floating(array, "y")
    return array[:, np.newaxis] if unbatched else array, lengths, unbatched


def delayed(x, taps):
    """The arguments of ``delay``: ``x (T, ..., I)``, floating, and taps as a list of int in ``0..T``.

    What lies T steps back or more is before the start of every step.
    """
    array = real_array(x, "x")
    if array.ndim < 2:
        raise ValueError(f"x: expected an array of shape (T, ..., I), got {array.shape}")
    taps = integer_array(taps, "taps")
    if taps.ndim != 1 or not taps.size:
        raise ValueError(f"taps: expected a list of at least one number of steps back, got shape {taps.shape}")
    if int(taps.min()) < 0:
        raise ValueError(f"taps: expected numbers of steps back of at least 0, got {taps.min()}")
    return floating(array, "x"), [min(int(tap), len(array)) for tap in taps]


def recurrent_layer(value, kind, name="layer"):
    """A recurrent layer."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected a recurrent layer, got {described(value)}")
    return value


def initialisation(layer, kind, scheme, schemes, forget_bias, t_max):
    """The arguments of ``init.apply``: forget bias and t_max as float, or None where they have no part."""
    recurrent_layer(layer, kind)
    one_of(scheme, "scheme", schemes)
    chrono, cell = scheme == "chrono", type(layer).__name__
    if forget_bias is not None:
        forget_bias = real(forget_bias, "forget_bias")
        if "+f" not in layer._row.memory:
            raise ValueError(f"forget_bias: expected None, got {forget_bias}: {cell} has no forget gate")
        if chrono:
            raise ValueError(f"forget_bias: expected None with 'chrono', which sets that bias, got {forget_bias}")
    if t_max is not None:
        t_max = real(t_max, "t_max", minimum=2)
    elif chrono:
        raise ValueError("t_max: expected a number of steps of at least 2 with 'chrono', got None")
    if chrono and not layer._row.memory:
        raise ValueError(f"scheme: 'chrono' sets the gates that keep the state, {cell} has none")
    if not layer.bias and (chrono or forget_bias is not None):
        what = "scheme: 'chrono'" if chrono else f"forget_bias: {forget_bias}"
        raise ValueError(f"{what} sets a bias, and this layer has bias=False")
    return forget_bias, t_max if chrono else None


def truncated(layer, kind, x, loss, k1, k2, state):
    """The arguments of ``tbptt``.

    Returns
    -------
    x : ndarray
        In the layer's dtype, in the layout it came in.
    axis : int
        Of the time.
    k1, k2 : int
    """
    recurrent_layer(layer, kind, "module")
    if layer.bidirectional:
        raise ValueError("module: expected a layer of one direction, got a bidirectional one")
    if not callable(loss):
        raise TypeError(f"loss: expected a function, got {described(loss)}")
    k1 = positive_int(k1, "k1")
    k2 = integer(k2, "k2")
    if k2 < k1:
        raise ValueError(f"k2: expected at least k1 = {k1}, got {k2}")
    x, _, _, unbatched = recurrent_inputs(layer, x, state)
    if unbatched:
        x = x[0] if layer.batch_first else x[:, 0]
    return x, int(layer.batch_first and not unbatched), k1, k2


def loss_result(result, y):
    """What the ``loss`` of ``tbptt`` returned for ``y``: a float, and its gradient or None."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(f"loss: expected it to return (value, dy), got {described(result)}")
    value, dy = result
    value = real_array(value, "loss: value", shape=())
    return float(value), None if dy is None else real_array(dy, "loss: dy", y.dtype, y.shape)


def tree(x, parents, size, dtype):
    """The arguments of a tree's call: ``x (N, size)`` in ``dtype`` and parents ``(N,)`` in -1..N-1, as intp."""
    x = real_array(x, "x")
    if x.ndim != 2 or x.shape[1] != size:
        raise ValueError(f"x: expected an array of shape {shape_text(('N', size))}, got {x.shape}")
    parents = exact_shape(integer_array(parents, "parents"), "parents", x.shape[:1])
    if parents.size:
        lowest, highest = int(parents.min()), int(parents.max())
        if lowest < -1 or highest >= len(x):
            bad = lowest if lowest < -1 else highest
            raise ValueError(f"parents: expected nodes in 0..{len(x) - 1} or -1 for a root, got {bad}")
    return converted(x, dtype), converted(parents, np.dtype(np.intp))


def acyclic(parents, order):
    """Refuse parents that go round in a circle; ``order`` holds the nodes that do not."""
    if len(order) < len(parents):
        node = np.setdiff1d(np.arange(len(parents)), order)[0]
        raise ValueError(f"parents: expected trees, got a cycle through node {node}")
