"""Base against head: ``python -m bench compare A.json B.json``.

A case has moved if fastrnn's figure changed by more than noise. Its change is divided by the median change of the
other contenders in that case, which did not change between the files, so what they show is the machine's. Noise is
3 %, or what the figures themselves say if that is more: half the spreads of both files, and how far the others
differ in their change.
"""

import argparse
import math
import statistics
from typing import NamedTuple

from .results import OURS, combine, key, read, spread
from .table import number

LEAST_NOISE = 0.03


class Change(NamedTuple):
    """Of one case, from base to head."""

    key: tuple  # set, threads, name
    base: float | None  # fastrnn's figure
    head: float | None
    ratio: float | None  # head / base, the machine's drift taken out: above 1 is slower, or more memory
    noise: float | None

    @property
    def verdict(self):
        """One of slower, faster, same, only in base, only in head."""
        if self.base is None or self.head is None:
            return "only in head" if self.base is None else "only in base"
        if self.ratio > 1 + self.noise:
            return "slower"
        return "faster" if self.ratio < 1 / (1 + self.noise) else "same"


def changes(base, head):
    """A `Change` of every case of two lists of combined results."""
    base, head = ({key(r): r for r in results if OURS in r["figures"]} for results in (base, head))
    return [_change(name, base.get(name), head.get(name)) for name in {**base, **head}]


def _change(name, base, head):
    if base is None or head is None:
        one, other = (r and r["figures"][OURS]["median"] for r in (base, head))
        return Change(name, one, other, None, None)
    before, after = base["figures"], head["figures"]
    drifts = [
        after[n]["median"] / before[n]["median"]
        for n in before.keys() & after.keys() - {OURS}
        if not (before[n].get("warm") or after[n].get("warm")) and before[n]["median"] > 0 < after[n]["median"]
    ]
    drift = statistics.median(drifts) if drifts else 1.0
    apart = statistics.median(abs(d / drift - 1) for d in drifts) if drifts else 0.0
    one, other = before[OURS], after[OURS]
    noise = max(LEAST_NOISE, math.hypot(spread(one) / 2, spread(other) / 2, apart))
    if base["unit"] == "MB":  # a machine does not drift in memory; a tenth of a megabyte is Python's
        ratio = max(other["median"], 0.1) / max(one["median"], 0.1)
    else:
        ratio = other["median"] / one["median"] / drift
    return Change(name, one["median"], other["median"], ratio, noise)


def line(change):
    """As the table shows it."""
    shown = [number(f) if f is not None else "-" for f in (change.base, change.head)]
    text = f"{change.key[0]:10s} {change.key[1]} {change.key[2]:40s} {shown[0]:>10s} {shown[1]:>10s}"
    if change.ratio is not None:
        text += f" {change.ratio:7.3f} {100 * change.noise:5.0f} %"
    return text + ("" if change.verdict == "same" else f"  {change.verdict}")


def main(argv):
    """Print every case; 1 if one got slower by more than noise."""
    parser = argparse.ArgumentParser(prog="python -m bench compare", description=__doc__)
    parser.add_argument("base", metavar="A.json")
    parser.add_argument("head", metavar="B.json")
    args = parser.parse_args(argv)
    (about, base), (other, head) = (read([path]) for path in (args.base, args.head))
    if about["cpu"] != other["cpu"]:
        print(f"two machines: {about['cpu']} and {other['cpu']}")
    found = changes(combine(base), combine(head))
    print(f"{'set':10s} T {'case':40s} {'base':>10s} {'head':>10s} {'change':>7s} {'noise':>7s}")
    for change in found:
        print(line(change))
    counts = {word: sum(c.verdict == word for c in found) for word in ("slower", "faster", "same")}
    rest = len(found) - sum(counts.values())
    print(", ".join(f"{n} {word}" for word, n in counts.items()) + f", {rest} in one file only")
    return 1 if counts["slower"] else 0
