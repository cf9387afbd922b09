"""``python -m bench [SET ...]``: times fastrnn beside the libraries that are installed.

``python -m bench compare A.json B.json``, ``report A.json ... -o DIR`` and ``page A.json ... -o FILE``: what can be
done with the figures.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from . import compare, machine, page, report, results, table, worker
from .contenders import CONTENDERS, installed
from .shapes import KINDS, PROCESS_SETS, SETS
from .targets import verdicts

ALL = (*SETS, *PROCESS_SETS)
TOOLS = {"compare": compare.main, "report": report.main, "page": page.main}
ROOT = Path(__file__).resolve().parents[1]


def arguments(argv):
    """The parsed command line of a run."""
    kinds = "".join(f"\n  {name:8s} {text}" for name, text in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"In the time of a case: input products, copies of states, and{kinds}",
    )  # fmt: skip
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(ALL)}; all when none is named")
    parser.add_argument("--only", default="", help="cases whose name contains this, such as 'LSTM 100/1/'")
    parser.add_argument("--threads", type=_numbers, default=[1], help="one number or several: 1,2")
    parser.add_argument("--seconds", type=float, default=1.0, help="per case and process (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="fresh processes a set; medians of them count")
    parser.add_argument("--contenders", type=_words, help=f"of {', '.join(CONTENDERS)}; else all that are installed")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="in place of the sets' own; not judged")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    args = parser.parse_args(argv)
    for found, known, what in ((args.sets, ALL, "set"), (args.contenders or [], CONTENDERS, "contender")):
        unknown = [name for name in found if name not in known]
        if unknown:
            parser.error(f"no {what} named {', '.join(unknown)}; there are {', '.join(known)}")
    missing = [name for name in args.contenders or [] if not CONTENDERS[name].installed()]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}")
    if args.processes < 1:
        parser.error(f"--processes: expected at least 1, got {args.processes}")
    return args


def _words(text):
    return list(dict.fromkeys(["fastrnn", *filter(None, text.split(","))]))


def _numbers(text):
    numbers = [int(word) for word in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of at least 1, got {text}")
    return numbers


def specs(args):
    """What the workers are to do, one spec for each set and number of threads that has cases."""
    names = args.contenders or [n for n in installed() if CONTENDERS[n].default]
    common = {"seconds": args.seconds, "only": args.only, "dtype": args.dtype, "contenders": names}
    found = [{"set": s, "threads": t, **common} for t in args.threads for s in args.sets or ALL]
    return [spec for spec in found if worker.cases(spec)]


def fresh(module, argument, threads):
    """Start a module of ours in a fresh process that has the same fastrnn as this one."""
    ours = Path(importlib.util.find_spec("fastrnn").origin).parents[1]
    paths = os.pathsep.join([str(ours), str(ROOT)])
    environment = {**os.environ, **machine.environment(threads), "PYTHONPATH": paths}
    command = [sys.executable, "-m", module, argument]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def roofline():
    """`machine.roofline` from a fresh process on one core."""
    with fresh("bench.child", "roofline", 1) as process:
        return json.load(process.stdout)


def work(spec):
    """Yield the results of a fresh process; raises RuntimeError when it dies."""
    with fresh("bench.worker", json.dumps(spec), spec["threads"]) as process:
        try:
            yield from map(json.loads, process.stdout)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"the process of set {spec['set']} ended with status {process.returncode}")


def measure(spec, processes, progress):
    """Raw results of a spec from several processes, and whether all ran to their end."""
    raw, whole = [], True
    for turn in range(processes):
        try:
            for result in work(spec):
                raw.append({**result, "process": turn})
                progress.step(f"{spec['set']}: {result['name']}, threads {spec['threads']}")
        except RuntimeError as error:
            print(error, file=sys.stderr)
            whole = False
    return raw, whole


def run(args):
    """Measure, print, write; 0 when all went well."""
    todo = specs(args)
    if not todo:
        print("no case is left", file=sys.stderr)
        return 2
    names = todo[0]["contenders"]
    about = {**machine.description(), "roofline": roofline(), "argv": sys.argv[1:]}
    print(f"{about['cpu']}, {about['date']}; contenders: {', '.join(names)}; processes: {args.processes}")
    progress = table.Progress(args.processes * sum(map(worker.expected, todo)))
    raw, good = [], True
    with contextlib.suppress(KeyboardInterrupt):  # what is measured by then is kept
        for spec in todo:
            found, whole = measure(spec, args.processes, progress)
            raw, good = raw + found, good and whole
            progress.close()
            if found:
                table.show(results.combine(found))
            if args.json:
                results.write(args.json, about, raw)
    combined = results.combine(raw)
    good = good and not any(r["failed"] for r in combined)
    missed = not args.dtype and any(v.missed for v in verdicts(combined))
    return 0 if good and not (args.check and missed) else 1


def main(argv=None):
    """The command line; the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in TOOLS:
        return TOOLS[argv[0]](argv[1:])
    return run(arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
