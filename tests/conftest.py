"""Settings of the whole suite: how hard hypothesis tries, and whether a skip may pass."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Time depends on the machine and on what else it does; it must not decide whether a test passes.
_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("dev", max_examples=25, **_common)
settings.register_profile("ci", max_examples=60, derandomize=True, **_common)
settings.register_profile("nightly", max_examples=300, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


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
