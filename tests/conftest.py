"""Settings of the whole suite: how hard hypothesis tries, the oracle's threads, and whether a skip may pass."""

import ctypes
import gc
import os

import numpy  # noqa: F401  (its BLAS is looked for below)
import pytest
from hypothesis import HealthCheck, settings

# Time depends on the machine and on what else it does; it must not decide whether a test passes.
_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("dev", max_examples=25, **_common)
settings.register_profile("ci", max_examples=60, derandomize=True, **_common)
settings.register_profile("nightly", max_examples=300, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def _oracle_on_one_thread():
    """Limits NumPy's own BLAS, with which the oracle computes; not SciPy's, which is the engine's.

    Its threads spin for each other: beside three busy processes, on two cores, 3 s of work took 30 s of CPU.
    """
    if not os.path.exists("/proc/self/maps"):
        return
    with open("/proc/self/maps") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if "numpy.libs" in line and "openblas" in line}
    for library in map(ctypes.CDLL, sorted(paths)):
        for name in ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads"):
            if hasattr(library, name):
                getattr(library, name)(1)


_oracle_on_one_thread()


def pytest_collection_finish():
    """Thousands of tests stay until the end: the garbage collector need not go through them again and again."""
    gc.collect()
    gc.freeze()


def _refuse_skip(report):
    """Under FASTRNN_NO_SKIPS a test that could not run has failed; an expected failure has not."""
    if os.environ.get("FASTRNN_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which FASTRNN_NO_SKIPS forbids: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _refuse_skip((yield))
