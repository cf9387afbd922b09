"""Learning rates as functions of the progress. Imports ``_validate``."""

import math

from .. import _validate

def warmup_cosine(peak, warmup=0.03):
    """Learning rates that rise linearly to ``peak`` and fall along a cosine to 0.

    Parameters
    ----------
    peak : float
    warmup : float
        The part of the run in which they rise, in [0, 1].

    Returns
    -------
    callable
        Progress in [0, 1] -> learning rate.

    Examples
    --------
    >>> from fastrnn.training import warmup_cosine
    >>> rate = warmup_cosine(1.0, warmup=0.5)
    >>> rate(0.25), rate(0.5), rate(1.0)
    (0.5, 1.0, 0.0)
    """
    peak = _validate.real(peak, "peak", minimum=0)
    warmup = _validate.probability(warmup, "warmup")

    def rate(progress):
        if progress < warmup:
            return peak * progress / warmup
        if warmup == 1:
            return peak
        return peak * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2

    return rate
