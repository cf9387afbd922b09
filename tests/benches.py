"""What the tests of the benchmark suite share. They try its own code; none judges a time."""

import sys
from pathlib import Path

import pytest

import fastrnn as fr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.shapes import Case  # noqa: E402

SHAPE = 7, 3, 4, 8  # T, B, I, H
KIND_CASES = [
    Case("step", "LSTM", 1, 1, 3, 5), Case("stream", "LSTM", 1, 1, 3, 5), Case("forward", "LSTM", *SHAPE),
    Case("train", "LSTM", *SHAPE), Case("forward", "LSTM", *SHAPE, layers=2, directions=2),
    Case("train", "LSTM", *SHAPE, layers=2, directions=2), Case("forward", "LSTM", *SHAPE, shortest=2),
    Case("train", "LSTM", *SHAPE, shortest=2), Case("forward", "LSTM", *SHAPE, dtype="float64"),
    Case("train", "LSTM", *SHAPE, dtype="float64"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def threads():
    """The tests after these find the number of threads that there was."""
    before = fr.get_num_threads()
    yield
    fr.set_num_threads(before)


def result(name="forward RNN 1/1/4", ours=2.0, others=(("a", 3.0),), **more):
    """A raw result with the given medians."""
    figures = {
        n: {"median": m, "low": m * 0.99, "high": m * 1.01, "counts": True, "code": "f()"}
        for n, m in (("fastrnn", ours), *others)
    }
    return {
        "set": "forward", "threads": 1, "name": name, "what": "forward", "cell": "RNN", "hidden": 4, "flops": 8000,
        "bytes": 1000, "unit": "us", "figures": figures, "problems": {}, "failed": None, **more,
    }  # fmt: skip
