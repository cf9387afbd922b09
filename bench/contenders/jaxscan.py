"""JAX: `jax.lax.scan`, jitted, computations run in the calling thread (asynchronous dispatch costs a thread hop).

Weights lie as the products want them, (I, G*H) and (H, G*H), and biases that only ever occur added up are one;
for inference all are constants of the compiled program, which also gives the gradients of its training one.
JAX takes its number of threads from NPROC in the environment, when it is imported.
"""

import os
import time

import numpy as np

from ..problem import suffixes
from .base import Contender


class Jax(Contender):
    """A scan over time, its input product before the scan or in it, whichever is quicker for the case.

    Before is quicker for batch 1, RNN and training; in the scan by up to 40 % for an LSTM with a batch
    (100/16/128: 3.4 and 5.5 ms). Both are compiled and tried before anything is timed.
    """

    name, needs = "jax", ("jax",)
    spin = 0.002
    unroll = 1

    def __init__(self, problem, threads):
        os.environ.setdefault("NPROC", str(threads))
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)
        jax.config.update("jax_enable_x64", problem.case.dtype == "float64")
        self.case, self.jax, self.np = problem.case, jax, jax.numpy
        weights = [_weights(problem.case, suffix, problem.weights) for suffix in suffixes(problem.case)]
        weights = jax.tree.map(self.np.asarray, weights)
        x = self.np.asarray(problem.x)
        if problem.lengths is None:
            self.valid = None
        else:
            self.valid = self.np.asarray(np.arange(self.case.steps)[:, None, None] < problem.lengths[:, None])
        self.names = {"x": x, "weights": weights}
        if problem.state:
            state = tuple(self.np.asarray(s[0]) for s in problem.state)
            cell = CELLS[self.case.cell]
            self.names.update(state=state, run=jax.jit(lambda x, s: _step(jax, cell, weights[0], x, s)))
            self.names["x"] = x[0]
            self.code = "final = run(x, state)"  # ready when it returns; asking it costs 0.6 us
        elif self.case.what == "train":
            self.names["dy"] = dy = self.np.asarray(problem.dy)
            self.names["run"] = self.quicker(self.gradients, x, weights, dy)
            self.code = "y, (dx, dweights) = run(x, weights, dy)\ndx.block_until_ready()"
        else:
            self.names["run"] = self.quicker(lambda early: lambda x: self.forward(x, weights, early), x)
            self.code = "y, finals = run(x)\ny.block_until_ready()"

    @classmethod
    def can_run(cls, case, threads):
        """Everything but steps of more than one layer."""
        return case.what in ("forward", "train") or case.layers == case.directions == 1

    def quicker(self, make, *inputs):
        """The quicker of the two programs, compiled."""
        times = {}
        for early in (True, False):
            run = self.jax.jit(make(early))
            self.jax.block_until_ready(run(*inputs))
            tries = []
            while len(tries) < 2 or len(tries) < 9 and sum(tries) < 0.05:
                start = time.perf_counter()
                self.jax.block_until_ready(run(*inputs))
                tries.append(time.perf_counter() - start)
            times[run] = min(tries)
        return min(times, key=times.get)

    def forward(self, x, weights, early):
        """y and the final states of all layers and directions."""
        finals, directions = [], self.case.directions
        for layer in range(self.case.layers):
            ways = [self.direction(x, weights[directions * layer + d], d == 1, early) for d in range(directions)]
            finals += [final for _, final in ways]
            x = self.np.concatenate([y for y, _ in ways], -1) if directions == 2 else ways[0][0]
        return x, finals

    def direction(self, x, w, reverse, early):
        """y and the final state of one layer in one direction; past a length the state stands still."""
        steps, batch, size = x.shape
        cell, np_ = CELLS[self.case.cell], self.np
        if early:
            x = (x.reshape(steps * batch, size) @ w["w"] + w["b"]).reshape(steps, batch, -1)

        def body(state, given):
            inner, valid = given if self.valid is not None else (given, None)
            gates = inner if early else inner @ w["w"] + w["b"]
            new = cell(self.jax, gates, state, w)
            if valid is None:
                return new, new[0]
            return tuple(np_.where(valid, n, s) for n, s in zip(new, state)), np_.where(valid, new[0], 0)

        start = (np_.zeros((batch, self.case.hidden), x.dtype),) * (2 if self.case.cell == "LSTM" else 1)
        given = x if self.valid is None else (x, self.valid)
        final, y = self.jax.lax.scan(body, start, given, reverse=reverse, unroll=self.unroll)
        return y, final

    def gradients(self, early):
        """A function that gives y, and the gradients of x and of the weights."""

        def run(x, weights, dy):
            y, pullback = self.jax.vjp(lambda x, w: self.forward(x, w, early)[0], x, weights)
            return y, pullback(dy)

        return run

    def outputs(self, assigned):
        """As `Contender.outputs`."""
        if "final" in assigned:  # a step
            h, *c = (np.asarray(s)[None] for s in assigned["final"])
            return {"y": h, "h": h, **dict(zip("c", c))}
        found = {"y": np.asarray(assigned["y"])}
        if self.case.what != "train":
            finals = zip(*assigned["finals"])  # by kind: h of all, c of all
            return {**found, **{k: np.stack(s) for k, s in zip("hc", finals)}}
        found["dx"] = np.asarray(assigned["dx"])
        for suffix, dw in zip(suffixes(self.case), assigned["dweights"], strict=True):
            found |= _gradients(self.case, suffix, {k: np.asarray(v) for k, v in dw.items()})
        return found


class JaxUnrolled(Jax):
    """The scan unrolled by 4, which gains with two threads only."""

    name, unroll = "jax-u4", 4

    @classmethod
    def can_run(cls, case, threads):
        """Whole sequences, with threads."""
        return threads > 1 and case.what in ("forward", "train")


def _lstm(jax, gates, state, w):
    i, f, g, o = jax.numpy.split(gates + state[0] @ w["r"], 4, -1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
    return jax.nn.sigmoid(o) * jax.numpy.tanh(c), c


def _gru(jax, gates, state, w):
    (h,), width = state, state[0].shape[-1]
    inner = h @ w["r"]
    r, z = jax.numpy.split(jax.nn.sigmoid(gates[:, : 2 * width] + inner[:, : 2 * width]), 2, -1)
    n = jax.numpy.tanh(gates[:, 2 * width :] + r * (inner[:, 2 * width :] + w["bn"]))
    return ((1 - z) * n + z * h,)


def _rnn(jax, gates, state, w):
    return (jax.numpy.tanh(gates + state[0] @ w["r"]),)


CELLS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _step(jax, cell, w, x, state):
    """One step: the new state, h first."""
    return cell(jax, x @ w["w"] + w["b"], state, w)


def _weights(case, suffix, weights):
    """Of one layer and direction, from torch's."""
    w, r, b, u = (weights[f"{kind}_{suffix}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    found = {"w": np.ascontiguousarray(w.T), "r": np.ascontiguousarray(r.T)}
    if case.cell != "GRU":
        return {**found, "b": b + u}
    width = 2 * case.hidden  # the reset gate multiplies the last third of u
    return {**found, "b": np.concatenate([b[:width] + u[:width], b[width:]]), "bn": u[width:]}


def _gradients(case, suffix, dw):
    """By torch's names; a bias that was added up has the gradient of both its parts."""
    inner = dw["b"]
    if case.cell == "GRU":
        inner = np.concatenate([inner[: 2 * case.hidden], dw["bn"]])
    return {
        f"weight_ih_{suffix}": dw["w"].T, f"weight_hh_{suffix}": dw["r"].T,
        f"bias_ih_{suffix}": dw["b"], f"bias_hh_{suffix}": inner,
    }  # fmt: skip
