"""One set in one fresh process, pinned to as many CPUs as it has threads.

``python -m bench.worker SPEC``, SPEC being JSON; writes one line of JSON per case. The environment that libraries
read at import is the caller's business: `machine.environment`.
"""

import gc
import json
import os
import sys

from . import machine, processes
from .problem import Disagreement
from .results import BESIDE
from .shapes import PROCESS_SETS, SETS
from .timing import measure
from .yardstick import Yardstick


def cases(spec):
    """The cases of a spec's set that its filter and number of threads leave."""
    if spec["set"] == "peak" and spec["threads"] > 1 or spec["set"] == "busy" and spec["threads"] == 1:
        return []
    found = (SETS | PROCESS_SETS)[spec["set"]]
    if spec.get("dtype") and spec["set"] in SETS:
        found = [c._replace(dtype=spec["dtype"]) for c in found]
    return [c for c in found if spec.get("only", "") in getattr(c, "name", c)]


def expected(spec):
    """How many results a spec has: the set busy has one for each number of busy processes."""
    return len(cases(spec)) * (len({1, spec["threads"]}) if spec["set"] == "busy" else 1)


def results(spec):
    """The result of every case, as it is measured.

    Parameters
    ----------
    spec : dict
        ``set``, ``threads``, ``seconds`` a case, ``contenders``; optionally ``only``, ``dtype``.

    Yields
    ------
    dict
        ``set``, ``threads``, ``name``, ``what``, ``cell``, ``hidden``, ``flops``, ``bytes``, ``unit``,
        ``figures`` by contender, ``problems`` by contender, ``failed`` (None, or why fastrnn has no figure); in the
        sets of `results.BESIDE` what is named there.
    """
    for case in cases(spec):
        common = {"set": spec["set"], "threads": spec["threads"], **identity(case), "unit": "us"}
        common |= {"figures": {}, "problems": {}, "failed": None}
        try:
            if spec["set"] in PROCESS_SETS:
                found = processes.RUN[spec["set"]](case, spec)
                yield from ({**common, **one} for one in found)
            else:
                yield {**common, **timed(case, spec)}
        except (Disagreement, RuntimeError) as error:
            yield {**common, "failed": f"{type(error).__name__}: {error}"}
        gc.collect()


def identity(case):
    """What names a case in results; whole-process measurements of no layer have a name only."""
    if isinstance(case, str):
        return {"name": case, "what": case, "cell": None, "hidden": None, "flops": None, "bytes": None}
    return {k: getattr(case, k) for k in ("name", "what", "cell", "hidden", "flops", "bytes")}


def timed(case, spec):
    """The figures of a case whose calls are timed; with them, from the same rounds, what its set compares with."""
    extra = None
    if spec["set"] == "peak":
        if not machine.Peak.available():
            raise RuntimeError("this build of fastrnn has no multiply_adds to measure the peak with")
        extra = machine.Peak()
    elif spec["set"] == "cells":
        extra = Yardstick(case, spec["threads"])
    figures, problems = measure(case, spec["contenders"], spec["threads"], spec["seconds"], extra)
    found = {"figures": figures, "problems": problems}
    return found | ({BESIDE[spec["set"]]: extra.median()} if extra else {})


def main(argv=None):
    """Run a spec; what libraries print goes to stderr."""
    (text,) = sys.argv[1:] if argv is None else argv
    spec = json.loads(text)
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    machine.pin(spec["threads"])
    for result in results(spec):
        lines.write(json.dumps(result) + "\n")
        lines.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
