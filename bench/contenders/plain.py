"""Plain NumPy: the loop that a textbook has. Takes part when it is named."""

import numpy as np

from .base import Contender


class Numpy(Contender):
    """Inference of one layer in one direction; the input product once, for all steps."""

    name, needs, default = "numpy", ("numpy",), False

    def __init__(self, problem, threads):
        weights = {k.removesuffix("_l0"): v for k, v in problem.weights.items()}
        zeros = np.zeros((problem.case.batch, problem.case.hidden), problem.case.dtype)
        states = (zeros, zeros) if problem.case.cell == "LSTM" else (zeros,)
        if problem.state:
            states = tuple(s[0] for s in problem.state)
        self.code = "y, final = run(x, states, *weights)"
        self.names = {
            "run": {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[problem.case.cell],
            "x": problem.x,
            "states": states,
            "weights": (
                np.ascontiguousarray(weights["weight_ih"].T),
                np.ascontiguousarray(weights["weight_hh"].T),
                weights["bias_ih"],
                weights["bias_hh"],
            ),
        }

    @classmethod
    def can_run(cls, case, threads):
        """One layer, one direction, no lengths, no training."""
        return case.what != "train" and case.layers == case.directions == 1 and not case.shortest

    def outputs(self, assigned):
        """As `Contender.outputs`."""
        return {"y": assigned["y"], **{k: s[None] for k, s in zip("hc", assigned["final"])}}


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(x, states, w, r, b, u):
    gates = x @ w + (b + u)
    h, c = states
    y = np.empty((*x.shape[:2], h.shape[1]), h.dtype)
    for t, given in enumerate(gates):
        i, f, g, o = np.split(given + h @ r, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        y[t] = h = _sigmoid(o) * np.tanh(c)
    return y, (h, c)


def _gru(x, states, w, r, b, u):
    gates = x @ w + b
    (h,) = states
    width = h.shape[1]
    y = np.empty((*x.shape[:2], width), h.dtype)
    for t, given in enumerate(gates):
        inner = h @ r + u
        both = _sigmoid(given[:, : 2 * width] + inner[:, : 2 * width])
        n = np.tanh(given[:, 2 * width :] + both[:, :width] * inner[:, 2 * width :])
        y[t] = h = n + both[:, width:] * (h - n)
    return y, (h,)


def _rnn(x, states, w, r, b, u):
    gates = x @ w + (b + u)
    (h,) = states
    y = np.empty((*x.shape[:2], h.shape[1]), h.dtype)
    for t, given in enumerate(gates):
        y[t] = h = np.tanh(given + h @ r)
    return y, (h,)
