"""The machine: its name, the versions of what runs on it, and how fast it can multiply and read."""

import importlib.metadata
import os
import platform
import statistics
import time

import numpy as np

PACKAGES = ("fastrnn", "numpy", "scipy", "torch", "onnxruntime", "onnx", "jax", "openvino")
#: Bytes to read for a bandwidth: what fits the second cache, and what fits none that is a core's own.
LEVELS = {"L2": 1 << 20, "memory": 1 << 26}


def cpu_name():
    """As the system calls it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions():
    """Of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "fastrnn" not in found:  # built in place
        import fastrnn

        found["fastrnn"] = fastrnn.__version__
    return found


def description():
    """CPU, number of CPUs this process may use, system, versions, date."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": cpu_name(), "cpus": cpus, "system": f"{platform.system()} {platform.release()}",
        "versions": versions(), "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def pin(threads):
    """Keep this process on as many CPUs as it has threads, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def environment(threads):
    """What libraries read when they are imported, to use that many threads."""
    names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


class Peak:
    """The FMA peak of one core, from bursts of a loop that only has registers; call it once a round."""

    def __init__(self, size=4):
        from fastrnn._core import engine

        self.loop, self.size, self.rounds = engine.multiply_adds, size, 1000
        self.seen = []
        while self._burst()[1] < 1e-3:
            self.rounds *= 2

    @staticmethod
    def available():
        """Whether this build of fastrnn has the loop."""
        from fastrnn._core import engine

        return hasattr(engine, "multiply_adds")

    def _burst(self):
        start = time.perf_counter()
        flops = self.loop(self.size, self.rounds)
        taken = time.perf_counter() - start
        return flops / taken / 1e9, taken

    def __call__(self):
        """The best of three bursts of a millisecond or two."""
        self.seen.append(max(self._burst()[0] for _ in range(3)))

    def median(self):
        """GF/s."""
        return statistics.median(self.seen)


def bandwidth(size, bursts=5):
    """GB/s read from two arrays of ``size`` bytes together: their dot product by NumPy, best of some bursts."""
    a, b = np.ones((2, size // 8), np.float32)
    calls, best = max(1, (1 << 25) // size), 0.0
    for _ in range(bursts):
        start = time.perf_counter()
        for _ in range(calls):
            np.dot(a, b)
        best = max(best, calls * size / (time.perf_counter() - start) / 1e9)
    return best


def roofline():
    """``peak`` in GF/s (None if this build cannot tell) and GB/s by level, of one core."""
    peak = None
    if Peak.available():
        burst = Peak()
        for _ in range(5):
            burst()
        peak = burst.median()
    return {"peak": peak, "bandwidth": {level: bandwidth(size) for level, size in LEVELS.items()}}
