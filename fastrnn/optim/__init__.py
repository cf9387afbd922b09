"""Optimisers, schedules of their learning rates, and gradient clipping.

    optimizers  SGD, RMSprop, Adam, AdamW
    schedules   StepLR, CosineLR, WarmupLR, ReduceOnPlateau
    clipping    clip_grad_norm, clip_grad_value

A training step is ``pullback``, clipping, ``optimizer.step()``, ``schedule.step()``, ``optimizer.zero_grad()``.
"""

from .clipping import clip_grad_norm, clip_grad_value
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import CosineLR, ReduceOnPlateau, Schedule, StepLR, WarmupLR

__all__ = [
    "SGD", "Adam", "AdamW", "CosineLR", "Optimizer", "RMSprop", "ReduceOnPlateau", "Schedule", "StepLR", "WarmupLR",
    "clip_grad_norm", "clip_grad_value",
]  # fmt: skip
