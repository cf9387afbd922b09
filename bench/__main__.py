"""``python -m bench [SET ...]``: times fastrnn beside the libraries that are installed."""

import argparse
import json
import math
import os
import sys

from .contenders import installed
from .shapes import SETS
from .timing import measure


def arguments(argv):
    """The parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all when none is named")
    parser.add_argument("--only", default="", help="cases whose name contains this, such as 'LSTM 100/1/'")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="per case")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    args = parser.parse_args(argv)
    unknown = [name for name in args.sets if name not in SETS]
    if unknown:
        parser.error(f"no set named {', '.join(unknown)}; there are {', '.join(SETS)}")
    if args.threads < 1:
        parser.error(f"--threads: expected at least 1, got {args.threads}")
    return args


def row(case, times):
    """One line of the table, and the ratio best other / fastrnn (None without another)."""
    ours = times["fastrnn"]
    others = {name: t for name, t in times.items() if name != "fastrnn"}
    best = min(others, key=lambda name: others[name]["median"], default=None)
    text = f"{case.name:26s} {ours['median']:12.1f} {case.flops / ours['median'] / 1e3:7.1f}"
    spread = (ours["high"] - ours["low"]) / ours["median"]
    text += f" {100 * spread:5.0f} %"
    if best is None:
        return text, None
    ratio = others[best]["median"] / ours["median"]
    return text + f" {others[best]['median']:12.1f} {best:12s} {ratio:6.2f}", ratio


def main(argv=None):
    """Run; 0 when every case ran."""
    args = arguments(argv)
    if args.threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    names = installed()
    print(f"contenders: {', '.join(names)}; float32, threads: {args.threads}; medians of interleaved rounds")
    print(f"{'case (T/B/H)':26s} {'fastrnn us':>12s} {'GF/s':>7s} {'spread':>7s} {'best other us':>13s}")
    results, ratios = [], []
    for case in [c for name in args.sets or SETS for c in SETS[name] if args.only in c.name]:
        times = measure(case, names, args.threads, args.seconds)
        text, ratio = row(case, times)
        print(text, flush=True)
        results.append({"case": case._asdict(), "times": times})
        ratios += [ratio] if ratio else []
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"best other / fastrnn: geometric mean {mean:.2f}, least {min(ratios):.2f}, of {len(ratios)} cases")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"threads": args.threads, "results": results}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
