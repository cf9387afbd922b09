"""Figures of several processes made one, and the value that is judged.

Raw results are what worker.py yields; combined ones have the same keys, medians over their processes, and ``value``,
``best``, ``values``. One JSON file holds a description of the machine, the command line and raw results.
"""

import json
import statistics

#: What the value of a result is, by set; of the others: `RATIO`.
RATIO = "best other / fastrnn"
VALUES = {
    "peak": "share of the FMA peak",
    "cells": "time / an LSTM's by multiply-adds; SRU, MinGRU, MinLSTM, IndRNN forward: / that of their product",
    "busy": "all threads beside busy processes / one thread alone",
    "import": "fastrnn / numpy for the import, / torch for the first call",
    "memory": "forward: MB; train: fastrnn / torch",
}
#: What else the results of a set hold: GF/s in registers; microseconds that `yardstick` expects.
BESIDE = {"peak": "peak", "cells": "expected"}
#: Contenders whose figure is shown but is never the best other.
OURS = "fastrnn"


def best_other(figures):
    """Name of the quickest other contender that counts, or None."""
    others = [name for name, figure in figures.items() if name != OURS and figure["counts"]]
    return min(others, key=lambda name: figures[name]["median"], default=None)


def value(result):
    """What a raw or combined result is judged by; None if there is nothing to compare with."""
    figures = result["figures"]
    if OURS not in figures:
        return None
    ours = figures[OURS]["median"]
    if result["set"] == "peak":
        return result["flops"] / ours / 1e3 / result["peak"]
    if result["set"] == "cells":
        return ours / result["expected"]
    if result["set"] == "busy":
        return ours / figures[OURS]["one"]
    if result["set"] == "memory" and result["what"] == "forward":
        return ours
    if result["set"] in ("import", "memory"):
        other = "numpy" if result["what"] == "import" else "torch"
        return ours / figures[other]["median"] if other in figures else None
    return ratio(result)


def ratio(result):
    """Best other / fastrnn of a result that has times of calls; None without either."""
    figures, best = result["figures"], best_other(result["figures"])
    if OURS not in figures or best is None or result["unit"] != "us":
        return None
    return figures[best]["median"] / figures[OURS]["median"]


def combine(raw):
    """One result for each set, number of threads and case, in the order of their first appearance.

    Parameters
    ----------
    raw : list of dict

    Returns
    -------
    list of dict
        Figures are medians over the processes, with the range of medians as ``between``; ``values`` are those of
        the processes, ``value`` their median; ``best`` is the quickest other of the combined figures.
    """
    groups = {}
    for result in raw:
        groups.setdefault(key(result), []).append(result)
    return [_combined(results) for results in groups.values()]


def key(result):
    """What results of several processes, or of base and head, have in common."""
    return result["set"], result["threads"], result["name"]


def _combined(results):
    names = {name: None for r in results for name in r["figures"]}
    figures = {name: _figure([r["figures"][name] for r in results if name in r["figures"]]) for name in names}
    values = [v for v in map(value, results) if v is not None]
    beside = {name: [r[name] for r in results if name in r] for name in BESIDE.values()}
    return {
        **results[0],
        **{name: statistics.median(numbers) for name, numbers in beside.items() if numbers},
        "figures": figures,
        "problems": {name: text for r in results for name, text in r["problems"].items()},
        "failed": next((r["failed"] for r in results if r["failed"]), None),
        "values": values,
        "value": statistics.median(values) if values else None,
        "best": best_other(figures),
    }


def _figure(figures):
    """Medians of every number; what is not a number is the first's."""
    full = [f for f in figures if not f.get("warm")] or figures
    found = dict(full[0])
    for name, first in found.items():
        if isinstance(first, (int, float)) and not isinstance(first, bool):
            found[name] = statistics.median(f[name] for f in full if name in f)
    medians = [f["median"] for f in full]
    found["between"] = max(medians) - min(medians)
    return found


def spread(figure):
    """Of a figure, relative to its median: the interquartile range, or the range between processes if wider."""
    quartiles = figure["high"] - figure["low"] if "high" in figure else 0.0
    return max(quartiles, figure.get("between", 0.0)) / figure["median"] if figure["median"] else 0.0


def gflops(result):
    """GF/s of fastrnn; None where no calls are timed."""
    if not result["flops"] or OURS not in result["figures"] or result["unit"] != "us":
        return None
    return result["flops"] / result["figures"][OURS]["median"] / 1e3


def read(paths):
    """Description of the machine and raw results of one or several files of one machine.

    Raises
    ------
    ValueError
        If a file is not one of ours.
    """
    about, raw = None, []
    for path in paths:
        with open(path) as file:
            data = json.load(file)
        if not isinstance(data, dict) or not {"machine", "results"} <= data.keys():
            raise ValueError(f"{path}: expected a file that python -m bench --json wrote")
        about = about or data["machine"]
        raw += data["results"]
    return about, raw


def write(path, about, raw):
    """The file that `read` reads."""
    with open(path, "w") as file:
        json.dump({"machine": about, "results": raw}, file, indent=1)
        file.write("\n")
