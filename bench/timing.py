"""Correctness first, then interleaved rounds: every contender has its turn in each round, so that a machine
that drifts drifts for all of them.

A turn begins with calls that are not timed, so that every contender finds its weights in the cache and its threads
awake as in a user's loop; then come some that are timed together, so that reading the clock (0.1 us) does not count.
Single steps are also timed one by one, for percentiles. With several threads the turn before it must be over: the
workers of other libraries spin for up to 40 ms after a call, so that long is waited before the next contender.
"""

import statistics
import time

from .contenders import CONTENDERS, running
from .problem import Problem, disagreeing

LEAST_ROUNDS = 5
#: Another contender this many times slower than the quickest is not timed beyond its warm-up.
SLOW = 3.0
#: Seconds that the timed calls of a turn last if they are short, and the most of them.
TURN, MOST_CALLS = 5e-4, 200
#: Seconds of the calls before them, with one thread and with several; none before calls of more than `LONG`.
BEFORE, BEFORE_THREADS, LONG = 1e-4, 5e-3, 0.02


def measure(case, names, threads, seconds, extra=None):
    """Times of every contender that can run the case.

    Parameters
    ----------
    case : Case
    names : list of str
        Contenders, fastrnn among them.
    threads : int
    seconds : float
        For all rounds together; there are at least `LEAST_ROUNDS`.
    extra : callable, optional
        Called once a round.

    Returns
    -------
    figures : dict of str to dict
        By contender: `summary`, whether it ``counts``, the ``code`` that was timed; or, if it was only warmed up,
        ``median`` and ``warm``.
    problems : dict of str to str
        By contender that did not take part: why.

    Raises
    ------
    Disagreement
        If fastrnn agrees with no one.
    """
    ready, problems = prepare(case, names, threads)
    warm = {}
    for name, contender in ready.items():
        warm[name] = warm_up(contender)
        settle(contender, threads)
    timed, figures = {}, {}
    quickest = min((t for n, t in warm.items() if n != "fastrnn" and ready[n].counts(case)), default=0)
    for name, contender in ready.items():
        if name != "fastrnn" and warm[name] > SLOW * quickest:
            figures[name] = {"median": warm[name] * 1e6, "warm": True}
        else:
            timed[name] = Turns(contender, warm[name], threads, case.what in ("step", "stream"))
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        rounds += 1
        for turns in timed.values():
            turns.take()
            if len(timed) > 1:
                settle(turns.contender, threads)
        if extra:
            extra()
    figures |= {name: turns.figure() for name, turns in timed.items()}
    for name, figure in figures.items():
        figure |= {"counts": ready[name].counts(case), "code": ready[name].code}
    return figures, problems


def prepare(case, names, threads):
    """The contenders that can run a case and compute what fastrnn does, and why others do not."""
    problem, ready, outputs, problems = Problem.of(case), {}, {}, {}
    for name in running(names, case, threads):
        try:
            contender = CONTENDERS[name](problem, threads)
            with contender.around():
                outputs[name] = contender.outputs(contender.call())
        except Exception as error:  # of whatever kind: a library that cannot do it is left out
            if name == "fastrnn":
                raise
            problems[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        else:
            ready[name] = contender
            settle(contender, threads)
    wrong = disagreeing(outputs, case.dtype)
    return {n: c for n, c in ready.items() if n not in wrong}, problems | wrong


def settle(contender, threads):
    """Wait until a contender's threads have gone to sleep."""
    if threads > 1:
        time.sleep(contender.spin)


def warm_up(contender):
    """Seconds of the quickest of some calls: at least two, for 20 ms."""
    timer, times = contender.timer(), []
    with contender.around():
        while len(times) < 2 or sum(times) < 0.02:
            times.append(timer.timeit(1))
    return min(times)


class Turns:
    """The turns of one contender, with what they took."""

    def __init__(self, contender, guess, threads, one_by_one):
        self.contender, self.timer = contender, contender.timer()
        self.calls = max(1, min(MOST_CALLS, int(TURN / guess)))
        before = BEFORE_THREADS if threads > 1 else BEFORE
        self.before = max(1, min(MOST_CALLS, int(before / guess))) if guess < LONG else 0
        self.one_by_one = one_by_one
        self.times, self.single = [], []

    def take(self):
        """One turn."""
        timeit = self.timer.timeit
        with self.contender.around():
            if self.before:
                timeit(self.before)
            self.times.append(timeit(self.calls) / self.calls * 1e6)
            if self.one_by_one:
                self.single += [timeit(1) * 1e6 for _ in range(self.calls)]

    def figure(self):
        """What there is to say about them."""
        return {**summary(self.times), "calls": self.calls * len(self.times), **percentiles(self.single)}


def summary(times):
    """Median and quartiles of the turns' mean times, in microseconds, and how many turns there were."""
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "rounds": len(times)}


def percentiles(times):
    """``p50`` and ``p99`` of calls timed one by one; nothing of no calls."""
    if not times:
        return {}
    ordered = sorted(times)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]}
