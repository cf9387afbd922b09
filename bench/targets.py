"""The bounds a set of cases has to keep. A single case may miss its bound by 3 %, a mean may not.

What is bounded is a result's ``value``: best other / fastrnn in the sets that time calls (at least), the share
of the FMA peak (at least), megabytes, fastrnn / another or / what is expected of a cell (at most); results.py
computes it.
"""

import math
from typing import NamedTuple

from .cells import CELLS, PLAIN

NOISE = 0.03


class Target(NamedTuple):
    """Bounds of some results of a set; what is None holds for all."""

    set: str
    every: float  # of each value
    mean: float | None = None  # of their geometric mean
    what: str | None = None
    cells: tuple = PLAIN
    threads: int | None = None
    wide: float | None = None  # of each value with H = 512, in place of every
    at_most: bool = False
    of: str = ""  # what the cells are called, where they are many

    @property
    def name(self):
        """As the tables show it."""
        cells = self.of or ("" if self.cells == PLAIN else "/".join(self.cells))
        return " ".join(filter(None, [self.set, self.what, cells]))

    def applies(self, result):
        """Whether a result is bounded by this."""
        return (
            result["set"] == self.set
            and self.what in (None, result["what"])
            and self.threads in (None, result["threads"])
            and (result["cell"] is None or result["cell"] in self.cells)
        )

    def bound(self, result):
        """Of one result."""
        return self.wide if self.wide and result["hidden"] == 512 else self.every

    def missed(self, result):
        """Whether a result is out of its bound by more than noise."""
        if self.at_most:
            return not result["value"] <= self.bound(result) * (1 + NOISE)
        return not result["value"] >= self.bound(result) * (1 - NOISE)



def cells(condition):
    """Names of the cells of which something is true."""
    return tuple(name for name, cell in CELLS.items() if condition(cell))


#: The bounds of the set cells, by kind of cell.
SHARES = {
    "of one product": (1.25, cells(lambda c: c.recurrent and c.stages == 1 and not c.normed)),
    "of several products": (1.4, cells(lambda c: c.recurrent and c.stages > 1 and not c.normed)),
    "with layer normalisation": (1.5, cells(lambda c: c.normed)),
}
TARGETS = [
    Target("step", 1.05, 1.8, wide=1.0),
    Target("stream", 1.1, 2.5, wide=1.03),
    Target("forward", 1.0, 1.3),
    Target("train", 1.1, 1.65, threads=1),
    Target("train", 1.2, 1.8, threads=2),
    Target("ragged", 1.5, 2.0, what="forward"),
    Target("ragged", 2.0, 2.5, what="train"),
    Target("float64", 1.3, 1.8),
    Target("peak", 0.78, 0.82),
    *(Target("cells", most, cells=names, threads=1, at_most=True, of=of) for of, (most, names) in SHARES.items()),
    Target("cells", 1.25, what="forward", cells=("SRU", "MinGRU", "MinLSTM"), threads=1, at_most=True),
    Target("busy", 1.3, at_most=True),
    Target("import", 1.3, what="import", at_most=True),
    Target("import", 1.0, what="first call", at_most=True),
    Target("memory", 4.0, what="forward", at_most=True),
    Target("memory", 0.6, what="train", cells=("LSTM", "GRU"), at_most=True),
    Target("memory", 1.0, what="train", cells=("RNN",), at_most=True),
]


def geometric_mean(values):
    """exp of the mean logarithm; NaN of nothing."""
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


class Verdict(NamedTuple):
    """How the results of one target did."""

    target: Target
    threads: int
    mean: float  # NaN if the target has none
    worst: dict  # the result nearest to, or furthest beyond, its bound
    missed: list  # sentences; empty when the target is met


def verdicts(results):
    """A `Verdict` of every target and number of threads that bounds one of the results.

    Results without a value (nothing to compare with) are not judged.
    """
    found = []
    for target in TARGETS:
        bounded = [r for r in results if r["value"] is not None and target.applies(r)]
        for threads in sorted({r["threads"] for r in bounded}):
            found.append(_verdict(target, threads, [r for r in bounded if r["threads"] == threads]))
    return found


def _verdict(target, threads, results):
    sign = -1 if target.at_most else 1
    worst = min(results, key=lambda r: sign * r["value"] / target.bound(r))
    word = "at most" if target.at_most else "at least"
    missed = [
        f"{r['name']}: {r['value']:.2f}, {word} {target.bound(r):g}" for r in results if target.missed(r)
    ]
    mean = math.nan if target.mean is None else geometric_mean(r["value"] for r in results)
    if target.mean is not None and not (mean <= target.mean if target.at_most else mean >= target.mean):
        missed.append(f"geometric mean: {mean:.3f}, {word} {target.mean:g}")
    return Verdict(target, threads, mean, worst, missed)
