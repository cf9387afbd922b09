"""Gradient clipping, by norm and by value: one pass to measure, one to change.

Imports numpy, ``_validate``, the engine and ``optimizers``.
"""

import numpy as np

from .. import _validate
from .._core import engine
from .optimizers import leaves_of


def clip_grad_norm(modules, max_norm):
    """Scale all gradients by ``max_norm / (norm + 1e-6)`` if that is less than 1.

    Parameters
    ----------
    modules : Module or iterable of Module
    max_norm : float
        At least 0.

    Returns
    -------
    norm : float
        The 2-norm of all gradients together before scaling, summed in float64, so that neither
        size nor large float32 values cost digits; the same bits on every CPU. NaN or infinite
        when a gradient is (or, in float64, beyond 1e154): look at it before a step is taken.
        With NaN nothing is scaled; with infinity finite gradients become 0, infinite ones NaN.

    Examples
    --------
    >>> import fastrnn as fr
    >>> head = fr.Linear(2, 1, bias=False)
    >>> head.grads["weight"] = [[3.0, 4.0]]
    >>> fr.optim.clip_grad_norm(head, 1.0)
    5.0
    >>> head.grads["weight"].round(3)
    array([[0.6, 0.8]], dtype=float32)
    """
    leaves = leaves_of(modules)
    max_norm = _validate.real(max_norm, "max_norm", minimum=0)
    norm = sum(engine.squares(leaf._gradients) for leaf in leaves) ** 0.5
    scale = max_norm / (norm + 1e-6)
    if scale < 1:
        for leaf in leaves:
            engine.scale(leaf._gradients, scale)
    return norm


def clip_grad_value(modules, clip_value):
    """Limit each gradient to ``[-clip_value, clip_value]``: infinite ones too; NaN stays NaN.

    Parameters
    ----------
    modules : Module or iterable of Module
    clip_value : float
        At least 0.

    Examples
    --------
    >>> import fastrnn as fr
    >>> head = fr.Linear(2, 1, bias=False)
    >>> head.grads["weight"] = [[3.0, -0.5]]
    >>> fr.optim.clip_grad_value(head, 1.0)
    >>> head.grads["weight"]
    array([[ 1. , -0.5]], dtype=float32)
    """
    leaves = leaves_of(modules)
    clip_value = _validate.real(clip_value, "clip_value", minimum=0)
    for leaf in leaves:
        np.clip(leaf._gradients, -clip_value, clip_value, out=leaf._gradients)
