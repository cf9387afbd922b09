"""Correctness first, then interleaved rounds: every contender runs once a round, so that a machine that
drifts drifts for all of them."""

import statistics
import time

import numpy as np

from .contenders import CONTENDERS, can_run

# Largest difference allowed before anything is timed, relative to the largest entry (float32).
TOLERANCE = 1e-4


class Disagreement(Exception):
    """A contender computes something else than fastrnn."""


def problem(case):
    """Weights with torch's names and default scale, an input and a gradient, the same every time."""
    rng = np.random.default_rng(0)
    rows = {"LSTM": 4, "GRU": 3, "RNN": 1}[case.cell] * case.hidden
    shapes = {
        "weight_ih_l0": (rows, case.input), "weight_hh_l0": (rows, case.hidden),
        "bias_ih_l0": (rows,), "bias_hh_l0": (rows,),
    }  # fmt: skip
    bound = case.hidden**-0.5
    weights = {k: rng.uniform(-bound, bound, s).astype(np.float32) for k, s in shapes.items()}
    x = rng.standard_normal((case.steps, case.batch, case.input), dtype=np.float32)
    dy = rng.standard_normal((case.steps, case.batch, case.hidden), dtype=np.float32)
    return weights, x, dy


def check(runners):
    """Raise unless all runners' outputs agree with the first one's."""
    (first, reference), *others = [(name, r.outputs()) for name, r in runners.items()]
    for name, outputs in others:
        for ours, theirs in zip(reference, outputs):
            off = np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-30)
            if not off <= TOLERANCE:
                raise Disagreement(f"{first} and {name} differ by {off:.2g} of the largest entry")


def measure(case, names, threads, seconds):
    """Times of every contender that can run the case.

    Returns
    -------
    dict of str to dict
        By name: ``median`` and quartiles ``low``, ``high`` in microseconds, ``rounds``.
    """
    given = problem(case)
    runners = {n: CONTENDERS[n](case, *given, threads) for n in names if can_run(n, case)}
    for runner in runners.values():  # warm-up
        runner.run()
        runner.run()
    check(runners)
    times = {name: [] for name in runners}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[names[0]]) < 7:
        for name, runner in runners.items():
            start = time.perf_counter()
            runner.run()
            times[name].append((time.perf_counter() - start) * 1e6)
    return {name: summary(t) for name, t in times.items()}


def summary(times):
    """Median and quartiles."""
    low, median, high = statistics.quantiles(times, n=4)
    return {"median": median, "low": low, "high": high, "rounds": len(times)}
