"""What can be counted while a module is trained: numbers that are none, and clipped gradients."""

import math

import numpy as np

from .. import _validate
from ..optim import clip_grad_norm
from ..params import Module


def nan_counts(module):
    """How many entries of each parameter and each gradient are NaN or infinite.

    Parameters
    ----------
    module : Module
        A layer, a block, a ``Sequential``.

    Returns
    -------
    dict of str to tuple of int
        By the parameter's name: how many of its values, and how many of its gradient's.

    Raises
    ------
    TypeError
        For what is not a module.

    Examples
    --------
    >>> import fastrnn as fr
    >>> head = fr.Linear(3, 2, rng=0)
    >>> head.grads["bias"] = [float("nan"), 1.0]
    >>> fr.diagnostics.nan_counts(head)
    {'weight': (0, 0), 'bias': (0, 1)}
    """
    _validate.module(module, Module)
    grads = module.grads
    return {name: (_not_finite(array), _not_finite(grads[name])) for name, array in module.parameters.items()}


def _not_finite(array):
    return array.size - int(np.count_nonzero(np.isfinite(array)))


class ClipCounter:
    """``fr.optim.clip_grad_norm`` that counts: call it in its place, with the modules.

    Parameters
    ----------
    max_norm : float
        At least 0.

    Attributes
    ----------
    calls : int
    clipped : int
        How often the norm was finite and the gradients were scaled.
    not_finite : int
        How often the norm was NaN or infinite.
    largest : float
        The largest finite norm.

    Raises
    ------
    TypeError, ValueError
        For a ``max_norm`` that is no such number.

    Examples
    --------
    >>> import fastrnn as fr
    >>> head = fr.Linear(2, 1, bias=False)
    >>> clip = fr.diagnostics.ClipCounter(1.0)
    >>> for gradient in ([[3.0, 4.0]], [[0.3, 0.4]]):
    ...     head.grads["weight"] = gradient
    ...     norm = clip(head)
    >>> clip
    ClipCounter(max_norm=1.0): 1 of 2 clipped, 0 not finite, largest norm 5
    """

    def __init__(self, max_norm):
        self.max_norm = _validate.real(max_norm, "max_norm", minimum=0)
        self.calls = self.clipped = self.not_finite = 0
        self.largest = 0.0

    def __call__(self, modules):
        """Clip, count, and return the norm before scaling."""
        norm = clip_grad_norm(modules, self.max_norm)
        self.calls += 1
        if math.isfinite(norm):
            self.clipped += self.max_norm / (norm + 1e-6) < 1
            self.largest = max(self.largest, norm)
        else:
            self.not_finite += 1
        return norm

    def __repr__(self):
        return (f"ClipCounter(max_norm={self.max_norm}): {self.clipped} of {self.calls} clipped, "
                f"{self.not_finite} not finite, largest norm {self.largest:.3g}")  # fmt: skip
