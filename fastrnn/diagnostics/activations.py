"""The activations of the layers in NumPy: value, slope and bounds. At a kink the slope is that of docs/equations.md.

Each function takes the pre-activation and the numbers alpha and beta, which not all of them use.
"""

from typing import Callable, NamedTuple

import numpy as np

from .. import _validate


class Activation(NamedTuple):
    """``value(a, alpha, beta)``, ``slope(a, alpha, beta)`` and ``bounds(alpha)``, None without a lower one."""

    value: Callable
    slope: Callable
    bounds: Callable = lambda alpha: None


def sigmoid(a, *_):
    """1 / (1 + exp(-a)), without overflow."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1.0, e) / (1.0 + e)


def softplus(a, *_):
    """log(1 + exp(a))."""
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))


def _tanh_slope(a):
    return 1 - np.tanh(a) ** 2


def _from_zero(alpha):
    return 0.0, np.inf


def _unit(alpha):
    return 0.0, 1.0


def _both_sides(alpha):
    return -1.0, 1.0


#: By name, in the order of ``_validate.ACTIVATIONS``.
ACTIVATIONS = {
    "identity": Activation(lambda a, alpha, beta: a, lambda a, alpha, beta: np.ones_like(a)),
    "sigmoid": Activation(sigmoid, lambda a, alpha, beta: sigmoid(a) * sigmoid(-a), _unit),
    "tanh": Activation(lambda a, alpha, beta: np.tanh(a), lambda a, alpha, beta: _tanh_slope(a), _both_sides),
    "relu": Activation(lambda a, alpha, beta: np.maximum(a, 0.0), lambda a, alpha, beta: np.where(a > 0, 1.0, 0.0), _from_zero),
    "elu": Activation(lambda a, alpha, beta: np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0.0))),
                      lambda a, alpha, beta: np.where(a > 0, 1.0, alpha * np.exp(np.minimum(a, 0.0)))),
    "leaky_relu": Activation(lambda a, alpha, beta: np.where(a > 0, a, alpha * a),
                             lambda a, alpha, beta: np.where(a > 0, 1.0, alpha)),
    "softsign": Activation(lambda a, alpha, beta: a / (1 + np.abs(a)), lambda a, alpha, beta: (1 + np.abs(a)) ** -2.0,
                           _both_sides),
    "softplus": Activation(softplus, sigmoid),
    "hard_sigmoid": Activation(
        lambda a, alpha, beta: np.clip(alpha * a + beta, 0.0, 1.0),
        lambda a, alpha, beta: np.where((alpha * a + beta > 0) & (alpha * a + beta < 1), alpha, 0.0), _unit),
    "hard_tanh": Activation(lambda a, alpha, beta: np.clip(a, -1.0, 1.0),
                            lambda a, alpha, beta: np.where((a > -1) & (a < 1), 1.0, 0.0), _both_sides),
    "affine": Activation(lambda a, alpha, beta: alpha * a + beta, lambda a, alpha, beta: np.full_like(a, alpha)),
    "scaled_tanh": Activation(lambda a, alpha, beta: alpha * np.tanh(beta * a),
                              lambda a, alpha, beta: alpha * beta * _tanh_slope(beta * a),
                              lambda alpha: (-abs(alpha), abs(alpha))),
    "thresholded_relu": Activation(lambda a, alpha, beta: np.where(a > alpha, a, 0.0),
                                   lambda a, alpha, beta: np.where(a > alpha, 1.0, 0.0), _from_zero),
}  # fmt: skip


class Squash:
    """One activation of a layer, with its numbers and the clip of what it is applied to."""

    def __init__(self, name, alpha=0.0, beta=0.0, clip=None):
        self._activation, self._numbers = ACTIVATIONS[name], (alpha, beta)
        self._clip = np.inf if clip is None else clip
        self.bounds = self._activation.bounds(alpha)

    def __call__(self, a):
        return self._activation.value(np.clip(a, -self._clip, self._clip), *self._numbers)

    def slope(self, a):
        """Of the whole: 0 beyond the clip."""
        inside = self._activation.slope(np.clip(a, -self._clip, self._clip), *self._numbers)
        return np.where(np.abs(a) > self._clip, 0.0, inside)


def squashes(options):
    """The activations among a layer's options, in their order; none for a cell that has only its own."""
    entries = options.get("activations", ())
    if "nonlinearity" in options:
        entries = [(options["nonlinearity"], options["alpha"], options["beta"])]
    return [Squash(*_validate.activation(entry, "activations"), clip=options.get("clip")) for entry in entries]
