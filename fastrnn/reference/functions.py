"""Groups (F), (E), (O1): functions of one number, each with its slope and with the places where that jumps."""

from dataclasses import dataclass
from typing import Callable

import numpy as np


def sigmoid(a):
    """(F1) 1 / (1 + exp(-a)), which is exp(a) / (1 + exp(a)); exp of -|a| never overflows."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1.0, e) / (1.0 + e)


def softplus(a):
    """(E5) log(1 + exp(a)), whatever the size of a."""
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))


@dataclass
class Function:
    """``function(a)`` is its value, ``function.slope(a)`` its derivative, ``kinks`` are where the slope jumps."""

    value: Callable
    slope: Callable
    kinks: tuple = ()

    def __call__(self, a):
        return self.value(a)


def _below(a):
    """The part of a that is not above 0, so that exp of it does not overflow."""
    return np.minimum(a, 0.0)


def elu(alpha=1.0):
    """(E2)."""
    return Function(lambda a: np.where(a > 0, a, alpha * np.expm1(_below(a))),
                    lambda a: np.where(a > 0, 1.0, alpha * np.exp(_below(a))), () if alpha == 1 else (0.0,))


def leaky_relu(alpha=0.01):
    """(E3)."""
    return Function(lambda a: np.where(a > 0, a, alpha * a), lambda a: np.where(a > 0, 1.0, alpha), (0.0,))


def hard_sigmoid(alpha=0.2, beta=0.5):
    """(E6)."""
    def slope(a):
        inside = (alpha * a + beta > 0) & (alpha * a + beta < 1)
        return np.where(inside, alpha, 0.0)

    kinks = () if alpha == 0 else (-beta / alpha, (1 - beta) / alpha)
    return Function(lambda a: np.clip(alpha * a + beta, 0.0, 1.0), slope, kinks)


def affine(alpha=1.0, beta=0.0):
    """(E8)."""
    return Function(lambda a: alpha * a + beta, lambda a: np.full_like(a, alpha))


def scaled_tanh(alpha=1.0, beta=1.0):
    """(E9)."""
    return Function(lambda a: alpha * np.tanh(beta * a), lambda a: alpha * beta * (1 - np.tanh(beta * a)**2))


def thresholded_relu(alpha=1.0):
    """(E10) NaN for NaN."""
    return Function(lambda a: np.where(a <= alpha, 0.0, a), lambda a: np.where(a > alpha, 1.0, 0.0), (alpha,))


SIGMOID = Function(sigmoid, lambda a: sigmoid(a) * (1 - sigmoid(a)))                        # (F1)
TANH = Function(np.tanh, lambda a: 1 - np.tanh(a)**2)                                       # (F2)
RELU = Function(lambda a: np.maximum(a, 0.0), lambda a: np.where(a > 0, 1.0, 0.0), (0.0,))  # (F3)
IDENTITY = Function(lambda a: a, np.ones_like)                                              # (E1)
SOFTSIGN = Function(lambda a: a / (1 + np.abs(a)), lambda a: 1 / (1 + np.abs(a))**2)        # (E4)
SOFTPLUS = Function(softplus, sigmoid)                                                      # (E5)
HARD_TANH = Function(lambda a: np.clip(a, -1.0, 1.0),
                     lambda a: np.where((a > -1) & (a < 1), 1.0, 0.0), (-1.0, 1.0))         # (E7)

#: Name -> a function, or what makes one of alpha and beta.
FUNCTIONS = {"tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "identity": IDENTITY, "elu": elu,
             "leaky_relu": leaky_relu, "softsign": SOFTSIGN, "softplus": SOFTPLUS, "hard_sigmoid": hard_sigmoid,
             "hard_tanh": HARD_TANH, "affine": affine, "scaled_tanh": scaled_tanh,
             "thresholded_relu": thresholded_relu}


def function_of(entry):
    """The function of a name, ``(name, alpha)`` or ``(name, alpha, beta)``; None is the default of either number."""
    name, *numbers = (entry,) if isinstance(entry, str) else entry
    found = FUNCTIONS[name]
    if isinstance(found, Function):
        return found
    return found(**{key: number for key, number in zip(("alpha", "beta"), numbers) if number is not None})


def clipped(function, limit):
    """(O1), (O11) a is bounded by the limit first; None bounds nothing."""
    if limit is None:
        return function
    return Function(lambda a: function(np.clip(a, -limit, limit)),                          # (O1)
                    lambda a: function.slope(np.clip(a, -limit, limit)) * (np.abs(a) <= limit),     # (O11)
                    (-limit, limit, *(kink for kink in function.kinks if abs(kink) < limit)))
