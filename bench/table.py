"""The terminal: a table for each set, its footer, and progress on stderr."""

import importlib.util
import sys

from .results import OURS, RATIO, VALUES, gflops, spread
from .shapes import PROCESS_SETS
from .targets import geometric_mean, verdicts


def number(x):
    """Four digits or so: 0.712, 5.21, 48.1, 1,234."""
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.1f}" if abs(x) >= 100 else f"{x:.3g}"


def others(figures):
    """The other contenders, nearest first: ``~`` from warm-up only, ``*`` shown but not counted."""
    names = sorted((n for n in figures if n != OURS), key=lambda n: figures[n]["median"])
    marks = [
        f"{n}{'*' * (not figures[n]['counts'])} {number(figures[n]['median'])}{'~' * bool(figures[n].get('warm'))}"
        for n in names
    ]
    return ", ".join(marks)


HEADER = f"{'case (T/B/H)':40s} {'fastrnn':>10s}    {'GF/s':>6s} {'spread':>6s} {'value':>6s}  others, nearest first"


def row(result):
    """One line of the table."""
    if OURS not in result["figures"]:
        return f"{result['name']:40s} failed: {result['failed']}"
    ours = result["figures"][OURS]
    rate, ratio = gflops(result), result["value"]
    text = f"{result['name']:40s} {number(ours['median']):>10s} {result['unit']:2s}"
    text += f" {rate:6.1f}" if rate else " " * 7
    text += f" {100 * spread(ours):4.0f} %" + (f" {ratio:6.2f}" if ratio is not None else " " * 7)
    if "one" in ours:
        known = (("alone", "quiet"), ("one thread", "one"), ("one thread busy", "one_busy"))
        return text + "  " + ", ".join(f"{word} {number(ours[k])}" for word, k in known) + _shares(result)
    text += f"  {others(result['figures'])}"
    text += f"; peak {result['peak']:.0f} GF/s" if "peak" in result else ""
    return text + (f"; expected {number(result['expected'])}" if "expected" in result else "")


def _shares(result):
    """Of a busy case: the same ratio of the other contenders."""
    rest = {n: f["median"] / f["one"] for n, f in result["figures"].items() if n != OURS}
    return "".join(f"; {n} {ratio:.2f}" for n, ratio in sorted(rest.items(), key=lambda item: item[1]))


def footer(results):
    """Lines below the table of one set and number of threads: mean, least, targets, who is missing."""
    lines, judged = [], [r for r in results if r["value"] is not None]
    name = results[0]["set"]
    if judged and name not in PROCESS_SETS:
        mean = geometric_mean(r["value"] for r in judged)
        ends = [f(judged, key=lambda r: r["value"]) for f in (min, max)]
        least, most = (f"{r['value']:.2f} ({r['name']})" for r in ends)
        lines.append(f"value, {VALUES.get(name, RATIO)}: geometric mean {mean:.2f}, least {least}, most {most}")
    for verdict in verdicts(results):
        lines.append(target_line(verdict))
        lines += [f"    {text}" for text in verdict.missed]
    for result in results:
        if result["failed"] and OURS in result["figures"]:
            lines.append(f"{result['name']} failed in a process: {result['failed']}")
        lines += [f"{result['name']}: without {n}: {text}" for n, text in result["problems"].items()]
    return lines


def target_line(verdict):
    """A target and how it was met, in a line."""
    target, word = verdict.target, "at most" if verdict.target.at_most else "at least"
    text = f"target {target.name}, threads {verdict.threads}: every case {word} {target.every:g}"
    text += f" (H = 512: {target.wide:g})" if target.wide else ""
    text += f", worst {verdict.worst['value']:.2f}"
    if target.mean is not None:
        text += f"; mean {word} {target.mean:g}, is {verdict.mean:.3f}"
    return text + (": MISSED" if verdict.missed else ": met")


def show(results):
    """Print the table of one set and number of threads."""
    print(f"\n{results[0]['set']}, threads {results[0]['threads']}")
    print(HEADER)
    for result in results:
        print(row(result))
    print("\n".join(footer(results)), flush=True)


class Progress:
    """How far a run is: a bar of tqdm's on a terminal that has it, else a line per case; on stderr."""

    def __init__(self, total):
        self.total, self.done, self.bar = total, 0, None
        if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
            from tqdm import tqdm

            self.bar = tqdm(total=total, file=sys.stderr, unit="case", leave=False)

    def step(self, text):
        """A case is done."""
        self.done += 1
        if self.bar is None:
            print(f"{self.done}/{self.total} {text}", file=sys.stderr, flush=True)
        else:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()

    def close(self):
        """Take the bar away; it comes back at the next step."""
        if self.bar is not None:
            self.bar.clear()
