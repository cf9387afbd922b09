"""The sets that measure whole processes. A function per set gives the results of one of its cases.

    import   seconds of the import statement alone in a fresh interpreter, and of making a layer and its first
             call once everything is imported: LSTM(64, 64), 10 steps
    memory   what the resident set of a fresh process grows by during a call, at its highest, beyond the arrays that
             the call returns; it is the layer's first, so that packed weights count, but not the library's
    busy     calls with several threads while other processes keep CPUs busy at nice 19
"""

import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time

from .contenders import CONTENDERS, running
from .problem import Problem
from .timing import summary

IMPORTS = {"fastrnn": "fastrnn", "numpy": "numpy", "torch": "torch", "ort": "onnxruntime"}
IMPORT_ROUNDS = 7
#: Contenders that give back what memory a call needs, and whose threads can be set in a running process.
WITH_MEMORY = ("fastrnn", "torch")
WITH_THREADS = ("fastrnn", "torch", "ort-iobind", "openvino")


def _child(*args):
    """What a fresh Python says, as a number."""
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "a process ended")
    return float(done.stdout.split()[-1])


def _importing(module):
    return ("-c", f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)")


def imports(what, spec):
    """``import`` or ``first call``, milliseconds; interleaved."""
    names = [n for n in IMPORTS if n in (*spec["contenders"], "numpy") and importlib.util.find_spec(IMPORTS[n])]
    if what == "first call":
        names.remove("numpy")
    times = {name: [] for name in names}
    for turn in range(IMPORT_ROUNDS + 1):
        for name in names:
            args = _importing(IMPORTS[name]) if what == "import" else ("-m", "bench.child", "first", name)
            taken = _child(*args)
            if turn:  # the first fills the file cache
                times[name].append(taken * 1e3)
    figures = {name: {**summary(t), "counts": True} for name, t in times.items()}
    return [{"unit": "ms", "figures": figures}]


def memory(case, spec):
    """Megabytes beyond input and output."""
    figures = {}
    for name in WITH_MEMORY:
        if name in spec["contenders"]:
            task = json.dumps({"case": case, "threads": spec["threads"]})
            figures[name] = {"median": _child("-m", "bench.child", "memory", name, task), "counts": True}
    return [{"unit": "MB", "figures": figures}]


def busy(case, spec):
    """Times with one other process and with one for each thread, in microseconds.

    A figure's ``median`` is that of calls with all threads beside the busy processes; ``one`` and ``one_busy`` are
    those of one thread without and with them, ``quiet`` that of all threads without.
    """
    quiet = _both(case, spec)
    found = []
    for count in sorted({1, spec["threads"]}):
        with keeping_busy(count):
            loaded = _both(case, spec)
        figures = {
            name: {"median": all_, "one_busy": one, "one": quiet[name][0], "quiet": quiet[name][1], "counts": True}
            for name, (one, all_) in loaded.items()
        }
        found.append({"name": f"{case.name}, {count} busy", "figures": figures})
    return found


def _both(case, spec):
    """Name -> microseconds with one thread and with all."""
    problem, found = Problem.of(case), {}
    for name in running([n for n in WITH_THREADS if n in spec["contenders"]], case, spec["threads"]):
        found[name] = [_alone(CONTENDERS[name](problem, n), spec["seconds"]) for n in (1, spec["threads"])]
    return found


def _alone(contender, seconds):
    """Microseconds of a call, median of at least 5 in a row."""
    timer, times = contender.timer(), []
    with contender.around():
        timer.timeit(2)
        while len(times) < 5 or sum(times) < seconds:
            times.append(timer.timeit(1))
    time.sleep(contender.spin)
    return statistics.median(times) * 1e6


@contextlib.contextmanager
def keeping_busy(count):
    """A context with so many processes that compute at nice 19, on the CPUs of this one."""
    code = "import os\nos.nice(19)\nwhile True: pass"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        time.sleep(0.2)
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


RUN = {"import": imports, "memory": memory, "busy": busy}
