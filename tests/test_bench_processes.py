"""What the benchmark measures of the machine, and in whole processes."""

import os

import numpy as np
import pytest
from benches import SHAPE, Case, result, threads  # noqa: F401
from bench import child, machine, processes, results, table, worker, yardstick
from bench.contenders import CONTENDERS
from bench.shapes import PROCESS_SETS


def test_description():
    about = machine.description()
    assert about["cpu"] and about["cpus"] >= 1 and {"python", "numpy", "fastrnn"} <= about["versions"].keys()
    assert machine.environment(3)["NPROC"] == "3" and machine.bandwidth(1 << 16, bursts=1) > 0.1


def test_peak_is_the_best_of_bursts(monkeypatch):
    from fastrnn._core import engine

    asked = []
    monkeypatch.setattr(
        engine, "multiply_adds", lambda size, rounds: asked.append(size) or rounds * 100, raising=False
    )
    clock = iter(x for i in range(1, 99) for x in (0.0, 1.0 / i))  # ever quicker
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert machine.Peak.available()
    peak = machine.Peak()  # its first burst took a second
    peak()
    assert set(asked) == {4} and peak.median() == pytest.approx(1000 * 100 * 4 / 1e9)


def test_a_share_of_the_peak(monkeypatch):
    from fastrnn._core import engine

    monkeypatch.setattr(engine, "multiply_adds", lambda size, rounds: sum(range(rounds)) and rounds, raising=False)
    monkeypatch.setitem(worker.SETS, "peak", [Case("forward", "GRU", *SHAPE)])
    spec = {"set": "peak", "threads": 1, "seconds": 0.0, "contenders": ["fastrnn"]}
    (one,) = results.combine(list(worker.results(spec)))
    share = one["flops"] / one["figures"]["fastrnn"]["median"] / 1e3 / one["peak"]
    assert one["peak"] > 0 and one["value"] == pytest.approx(share) and "; peak" in table.row(one)


def test_without_the_peak_loop_the_set_says_so(monkeypatch):
    monkeypatch.setattr(machine.Peak, "available", staticmethod(lambda: False))
    spec = {"set": "peak", "threads": 1, "seconds": 0.01, "contenders": ["fastrnn"], "only": "GRU 100/32/"}
    (one,) = worker.results(spec)
    assert "multiply_adds" in one["failed"] and one["figures"] == {}


@pytest.mark.parametrize("what, cell", [("forward", "MUT2"), ("train", "MinGRU"), ("forward", "SRU")])
def test_what_is_expected_of_a_cell(what, cell, monkeypatch):
    """An LSTM's time by multiply-adds, or that of the one product that there is; measured in the same rounds."""
    case = Case(what, cell, 7, 3, 8, 8)
    monkeypatch.setitem(worker.SETS, "cells", [case])
    spec = {"set": "cells", "threads": 1, "seconds": 0.0, "contenders": ["fastrnn"]}
    (one,) = results.combine(list(worker.results(spec)))
    assert one["failed"] is None and one["value"] == one["figures"]["fastrnn"]["median"] / one["expected"] > 0
    stick = yardstick.Yardstick(case, 1)
    stick()
    assert len(stick.turns.times) == 1 and stick.median() == stick.share * stick.turns.times[0]
    contender = stick.turns.contender
    if cell == "SRU":
        assert stick.share == 1 and contender.outputs(contender.call())["y"].shape == (7, 3, 3 * 8)
    else:
        assert stick.share == {"MUT2": 5 / 8, "MinGRU": 2 / 8}[cell] and type(contender.layer).__name__ == "LSTM"
        assert contender.case.what == what


def test_cases_of_a_spec():
    def names(**spec):
        return [getattr(c, "name", c) for c in worker.cases({"threads": 1, "only": "", "dtype": None, **spec})]

    assert names(set="import") == ["import", "first call"] and names(set="import", only="first") == ["first call"]
    assert names(set="busy") == [] and len(names(set="busy", threads=2)) == 3
    assert worker.expected({"set": "busy", "threads": 2}) == 6 and worker.expected({"set": "step", "threads": 2}) == 18
    assert names(set="peak", threads=2) == [] and len(names(set="peak")) == 6
    assert names(set="step", only="GRU H16", dtype="float64") == ["step GRU H16 float64"]


def test_memory_beyond_what_is_returned(monkeypatch):
    """A contender that needs 30 MB and returns 20 of them, one that returns nothing."""
    code = "import numpy as np\ntemporary = np.ones(10_000_000 // 8)\ny = np.ones(20_000_000 // 8)"

    class Hungry(CONTENDERS["fastrnn"]):
        def __init__(self, problem, threads):
            super().__init__(problem, threads)
            self.code = code + "\ndel temporary"

    if not os.access("/proc/self/clear_refs", os.W_OK):
        with pytest.raises((SystemExit, OSError)):
            child.reset_peak()
        return
    monkeypatch.setitem(CONTENDERS, "hungry", Hungry)
    assert child.memory("hungry", Case("forward", "RNN", 9, 1, 4, 4), 1) == pytest.approx(10, abs=1)
    assert child.returned([np.ones(3), (np.ones(2), [np.ones(1, np.float32)]), "text", None]) == 44


def test_first_calls():
    assert 0 < child.first("fastrnn") < 60
    spec = {"contenders": ["fastrnn"]}
    assert processes._child(*processes._importing("json")) < 60
    with pytest.raises(RuntimeError, match="no_such_module"):
        processes._child(*processes._importing("no_such_module"))
    assert set(processes.RUN) == set(PROCESS_SETS) and spec


def test_imports_are_measured_beside_numpy(monkeypatch):
    asked = []
    monkeypatch.setattr(processes, "_child", lambda *args: asked.append(args) or len(asked))
    (one,) = processes.imports("import", {"contenders": ["fastrnn"]})
    assert one["figures"].keys() == {"fastrnn", "numpy"} and one["unit"] == "ms"
    assert one["figures"]["fastrnn"]["rounds"] == processes.IMPORT_ROUNDS == len(asked) / 2 - 1
    assert one["figures"]["fastrnn"]["median"] == 9000  # the first of eight is not counted
    (one,) = processes.imports("first call", {"contenders": ["fastrnn"]})
    assert one["figures"].keys() == {"fastrnn"}


def test_busy_processes_end(monkeypatch):
    with processes.keeping_busy(1) as started:
        assert started[0].poll() is None
    assert started[0].poll() is not None
    monkeypatch.setattr(processes, "_alone", lambda contender, seconds: 7.0)
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: None)
    case = Case("forward", "RNN", *SHAPE)
    found = processes.busy(case, {"contenders": ["fastrnn"], "threads": 2, "seconds": 0.01})
    assert [r["name"] for r in found] == [f"{case.name}, {n} busy" for n in (1, 2)]
    ours = found[0]["figures"]["fastrnn"]
    assert [ours[k] for k in ("median", "one", "one_busy", "quiet")] == [7.0] * 4
    assert results.value(result(set="busy", figures=found[0]["figures"])) == 1
