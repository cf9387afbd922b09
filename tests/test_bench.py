"""The benchmark suite's own code; nothing here judges a time."""

import html.parser
import importlib.util
import json
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import fastrnn as fr

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bench import child, compare, machine, page, problem, processes, report, results, table, targets  # noqa: E402
from bench import __main__ as command  # noqa: E402
from bench import timing, worker  # noqa: E402
from bench.contenders import CONTENDERS, installed, running  # noqa: E402
from bench.shapes import KINDS, PROCESS_SETS, SETS, Case  # noqa: E402

SHAPE = 7, 3, 4, 8  # T, B, I, H


@pytest.fixture(autouse=True)
def threads():
    """The tests after these find the number of threads that there was."""
    before = fr.get_num_threads()
    yield
    fr.set_num_threads(before)


# ---- Cases and sets -----------------------------------------------------------------------------


def test_flops_count_products_only():
    assert Case("forward", "LSTM", 10, 3, 5, 7).flops == 2 * 10 * 3 * 4 * 7 * (5 + 7)
    assert Case("train", "GRU", 1, 1, 2, 2).flops == 3 * 2 * 3 * 2 * 4
    deep = Case("forward", "RNN", 10, 3, 5, 7, layers=2, directions=2)
    assert deep.flops == 2 * (2 * 10 * 3 * 7 * (5 + 7) + 2 * 10 * 3 * 7 * (14 + 7))


def test_flops_of_a_ragged_batch_are_those_of_its_valid_steps():
    ragged, full = Case("forward", "RNN", 9, 4, 5, 7, shortest=3), Case("forward", "RNN", 9, 4, 5, 7)
    assert ragged.flops * 9 * 4 == full.flops * sum(ragged.lengths)


@pytest.mark.parametrize("batch", [1, 4, 5, 32])
def test_lengths_reach_from_shortest_to_all_steps(batch):
    lengths = Case("forward", "GRU", 200, batch, 2, 2, shortest=20).lengths
    assert len(lengths) == batch and min(lengths) == 20 and all(20 <= n <= 200 for n in lengths)
    if batch > 1:
        assert max(lengths) == 200
    if batch > 4:
        assert lengths != sorted(lengths) and lengths != sorted(lengths, reverse=True)
    assert Case("forward", "GRU", 200, batch, 2, 2).lengths is None


def test_bytes_read_the_recurrent_weights_at_every_step():
    one, two = (Case("forward", "RNN", t, 1, 3, 5).bytes for t in (1, 2))
    assert two - one == 4 * (5 * 5 + 3 + 5)
    assert Case("forward", "RNN", 1, 1, 3, 5, dtype="float64").bytes == 2 * one


def test_sets_have_no_case_twice_and_names_that_differ():
    for cases in SETS.values():
        assert len(set(cases)) == len({c.name for c in cases}) == len(cases)


def shapes(name, what=None):
    """{(cell, T, B, I, H)} of a set."""
    return {(c.cell, c.steps, c.batch, c.input, c.hidden) for c in SETS[name] if what in (None, c.what)}


def every_cell(*shapes):
    return {(cell, *s[:2], s[-2], s[-1]) for s in shapes for cell in ("LSTM", "GRU", "RNN")}


def test_the_judged_sets_have_the_agreed_shapes():
    steps = every_cell(*((1, 1, h, h) for h in (16, 32, 64, 128, 256, 512)))
    assert shapes("step") == shapes("stream") == steps
    assert {c.what for c in SETS["step"]} == {"step"} and {c.what for c in SETS["stream"]} == {"stream"}
    assert shapes("forward") == every_cell(
        *((100, 1, h, h) for h in (32, 64, 128, 256, 512)), (100, 4, 128, 128), (100, 16, 128, 128), (1000, 8, 64, 64),
        (100, 32, 256, 256), (200, 32, 40, 320), (100, 64, 512, 512), (50, 128, 1024, 1024),
    )  # fmt: skip
    assert shapes("train") == every_cell(
        (100, 1, 64, 64), (100, 1, 256, 256), (100, 16, 128, 128), (100, 32, 256, 256), (200, 32, 40, 320),
        (100, 64, 512, 512),
    )  # fmt: skip
    for what in ("forward", "train"):
        assert shapes("ragged", what) == every_cell((200, 32, 128, 128))
        assert shapes("float64", what) == every_cell((100, 16, 128, 128))
    assert {c.shortest for c in SETS["ragged"]} == {20} and {c.dtype for c in SETS["float64"]} == {"float64"}
    large = every_cell((100, 32, 256, 256), (100, 64, 512, 512), (50, 128, 1024, 1024))
    assert shapes("peak") == {s for s in large if s[0] != "RNN"}
    assert {(c.what, c.steps, c.batch, c.hidden) for c in PROCESS_SETS["memory"]} == {
        ("forward", 2000, 16, 256), ("forward", 20000, 16, 256), ("train", 2000, 16, 256),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["deepbench", "benchdnn", "speech", "edge"])
def test_the_other_sets_are_sane(name):
    """Every kind of case is described, and none takes a core beyond some seconds at 50 GF/s."""
    assert {c.cell for c in SETS[name]} <= {"LSTM", "GRU", "RNN"} and len(SETS[name]) >= 10
    for c in SETS[name]:
        assert c.what in KINDS and c.flops < 5 * 50e9 and c.bytes < 1e11, c.name
        assert min(c[2:8]) >= 1 and c.directions <= 2
    if name == "deepbench":
        assert all(c.input == c.hidden for c in SETS[name])
    if name == "speech":
        assert sum(c.directions == 2 and c.layers > 1 for c in SETS[name]) >= 5
    if name == "edge":
        assert {c.steps for c in SETS[name]} == {1, 100} and max(c.hidden for c in SETS[name]) <= 64


# ---- Contenders ---------------------------------------------------------------------------------

KIND_CASES = [
    Case("step", "LSTM", 1, 1, 3, 5), Case("stream", "LSTM", 1, 1, 3, 5), Case("forward", "LSTM", *SHAPE),
    Case("train", "LSTM", *SHAPE), Case("forward", "LSTM", *SHAPE, layers=2, directions=2),
    Case("train", "LSTM", *SHAPE, layers=2, directions=2), Case("forward", "LSTM", *SHAPE, shortest=2),
    Case("train", "LSTM", *SHAPE, shortest=2), Case("forward", "LSTM", *SHAPE, dtype="float64"),
    Case("train", "LSTM", *SHAPE, dtype="float64"),
]  # fmt: skip


def test_numpy_and_fastrnn_are_installed():
    assert {"fastrnn", "numpy"} <= set(installed())


def tiny_cases(name):
    """What an installed contender is tried with. Those that compile for seconds are tried with less: layers and
    directions with one cell, and the unrolled scan, which shares all else, forward only."""
    for case in KIND_CASES:
        for cell in ("LSTM", "GRU", "RNN"):
            slow = name == "jax" and case.layers > 1 and cell != "RNN"
            slow = slow or name == "jax-u4" and (case.what == "train" or case.shortest or case.layers > 1)
            if CONTENDERS[name].can_run(case, 2) and not slow:
                yield case._replace(cell=cell)


@pytest.mark.parametrize("early", [False, True])
def test_jax_scans_agree(early, monkeypatch):
    """With the input product before the scan and in it; a measurement takes the quicker of both."""
    if CONTENDERS["jax"].installed():
        monkeypatch.setattr(CONTENDERS["jax"], "quicker", lambda self, make, *inputs: self.jax.jit(make(early)))
        for case in (KIND_CASES[6], KIND_CASES[7]):
            ready, problems = timing.prepare(case._replace(cell="GRU"), ["fastrnn", "jax"], 1)
            assert problems == {} and "jax" in ready


@pytest.mark.parametrize("name", [n for n in installed() if n != "fastrnn"])
def test_contender_agrees(name, monkeypatch):
    """Each that is installed here, in every kind of case it can run, and again after it has run."""
    cases = list(tiny_cases(name))
    assert cases
    if name == "jax":  # compiling both programs of every case would take twice as long
        monkeypatch.setattr(CONTENDERS[name], "quicker", lambda self, make, *inputs: self.jax.jit(make(True)))
    for case in cases:
        ready, problems = timing.prepare(case, ["fastrnn", name], 2)
        assert problems == {} and list(ready) == ["fastrnn", name], case.name
        contender = ready[name]
        with contender.around():
            contender.timer().timeit(2)
            found = contender.outputs(contender.call())
        assert {k: v.dtype for k, v in found.items()} == dict.fromkeys(found, np.dtype(case.dtype))
        if not contender.counts(case):
            assert "h" not in found


def test_fastrnn_gives_everything_that_is_compared():
    for case, names in ((KIND_CASES[2], "y h c"), (KIND_CASES[1], "y h c"), (KIND_CASES[5], "y dx")):
        contender = CONTENDERS["fastrnn"](problem.Problem.of(case), 1)
        found = contender.outputs(contender.call())
        weights = problem.weight_shapes(case) if case.what == "train" else ()
        assert found.keys() == {*names.split(), *weights}
        assert all(np.abs(v).max() > 0 for v in found.values())


def test_what_a_contender_cannot_do_it_is_left_out_of():
    everyone = list(CONTENDERS)
    assert "torch-cell" not in running(everyone, KIND_CASES[2], 1)
    assert not {"ort", "ort-iobind", "openvino", "numpy"} & set(running(everyone, KIND_CASES[3], 1))
    assert not {"ort", "openvino"} & set(running(everyone, KIND_CASES[8], 1))
    assert "jax-u4" in running(everyone, KIND_CASES[2], 2) and "jax-u4" not in running(everyone, KIND_CASES[2], 1)
    ragged, padded = KIND_CASES[6], CONTENDERS["torch-nolengths"]
    assert not padded.counts(ragged) and padded.counts(ragged._replace(what="train"))
    assert not padded.can_run(KIND_CASES[2], 1)


# ---- Agreement and timing -----------------------------------------------------------------------


def test_disagreement():
    ours = {"y": np.ones(3), "h": np.ones(2)}
    wrong = {"y": np.array([1, 1, 1.01]), "h": np.ones(2)}
    assert problem.difference(ours, dict(ours), 1e-4) is None
    assert "y differs" in problem.difference(ours, wrong, 1e-4)
    assert problem.difference(ours, wrong, 1e-1) is None
    assert "y is missing" in problem.difference(ours, {"h": np.ones(2)}, 1e-4)
    assert problem.difference(ours, {"y": np.ones(3)}, 1e-4) is None  # only a final state may be missing
    assert "shape" in problem.difference(ours, {"y": np.ones((3, 1)), "h": np.ones(2)}, 1e-4)
    assert "y differs" in problem.difference(ours, {"y": np.full(3, np.nan), "h": np.ones(2)}, 1e-4)
    assert problem.disagreeing({"fastrnn": ours}, "float32") == {}
    assert list(problem.disagreeing({"fastrnn": ours, "a": wrong, "b": ours}, "float32")) == ["a"]
    with pytest.raises(problem.Disagreement, match="a: y differs"):
        problem.disagreeing({"fastrnn": ours, "a": wrong, "b": wrong}, "float32")


class Broken(CONTENDERS["fastrnn"]):
    """fastrnn with one unit of an output off."""

    name = "broken"

    def outputs(self, assigned):
        found = super().outputs(assigned)
        return {**found, "h": found["h"] + 0.1}


class Refusing(CONTENDERS["fastrnn"]):
    name = "refusing"

    def __init__(self, problem, threads):
        raise NotImplementedError("not this one\nnor that")


def test_a_wrong_contender_is_left_out_with_a_message(monkeypatch):
    monkeypatch.setitem(CONTENDERS, "broken", Broken)
    monkeypatch.setitem(CONTENDERS, "refusing", Refusing)
    case = Case("forward", "GRU", *SHAPE)
    figures, problems = timing.measure(case, ["fastrnn", "broken", "numpy", "refusing"], 1, 0.01)
    assert figures.keys() == {"fastrnn", "numpy"}
    assert "h differs" in problems["broken"] and problems["refusing"] == "NotImplementedError: not this one"
    with pytest.raises(problem.Disagreement, match="broken"):
        timing.measure(case, ["fastrnn", "broken"], 1, 0.01)
    monkeypatch.setitem(CONTENDERS, "fastrnn", Refusing)
    with pytest.raises(NotImplementedError):
        timing.measure(case, ["fastrnn", "numpy"], 1, 0.01)


def test_measure():
    rounds = []
    figures, _ = timing.measure(Case("step", "RNN", 1, 1, 3, 5), ["fastrnn"], 1, 0.02, lambda: rounds.append(1))
    ours = figures["fastrnn"]
    assert ours["low"] <= ours["median"] <= ours["high"] and 0 < ours["p50"] <= ours["p99"]
    assert ours["rounds"] == len(rounds) >= timing.LEAST_ROUNDS and ours["calls"] > ours["rounds"]
    assert ours["counts"] and ours["code"] == "y, final = layer(x, state)"


def test_a_slow_contender_is_only_warmed_up(monkeypatch):
    class Slow(CONTENDERS["numpy"]):
        def __init__(self, problem, threads):
            super().__init__(problem, threads)
            self.code += "\nsleep(0.005)"
            self.names["sleep"] = __import__("time").sleep

    monkeypatch.setitem(CONTENDERS, "slow", Slow)
    case = Case("forward", "RNN", *SHAPE)
    figures, _ = timing.measure(case, ["fastrnn", "numpy", "slow"], 1, 0.01)
    assert figures["slow"]["warm"] and figures["slow"]["median"] > 5000 and "warm" not in figures["numpy"]
    assert "warm" not in timing.measure(case, ["fastrnn", "slow"], 1, 0.01)[0]["slow"]  # nobody is quicker


def test_threads_are_left_to_settle(monkeypatch):
    """After every contender's turn, when there are several threads, so that none is slowed by another's spinning."""
    slept = []
    monkeypatch.setattr(timing.time, "sleep", slept.append)
    monkeypatch.setattr(CONTENDERS["numpy"], "spin", 0.25)
    case = Case("forward", "RNN", *SHAPE)
    timing.measure(case, ["fastrnn", "numpy"], 1, 0.0)
    assert slept == []
    timing.measure(case, ["fastrnn", "numpy"], 2, 0.0)
    assert slept.count(0.25) == 2 + timing.LEAST_ROUNDS


def test_summary_and_percentiles():
    s = timing.summary([4.0, 1.0, 2.0, 3.0, 5.0])
    assert s == {"low": 2.0, "median": 3.0, "high": 4.0, "rounds": 5}
    assert timing.percentiles([float(i) for i in range(100, 0, -1)]) == {"p50": 51.0, "p99": 100.0}
    assert timing.percentiles([3.0]) == {"p50": 3.0, "p99": 3.0} and timing.percentiles([]) == {}


# ---- Results, targets, the table ----------------------------------------------------------------


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


def test_the_best_other_counts():
    one = result(others=[("slow", 8.0), ("star", 1.0), ("quick", 3.0)])
    one["figures"]["star"]["counts"] = False
    assert results.best_other(one["figures"]) == "quick" and results.value(one) == 1.5
    assert results.best_other(result(others=[])["figures"]) is None and results.value(result(others=[])) is None
    text = table.others(one["figures"])
    assert re.fullmatch(r"star\* 1, quick 3, slow 8", text)


def test_values_of_the_other_sets():
    def value(**more):
        return results.value(result(ours=4.0, others=[("numpy", 5.0), ("torch", 10.0)], **more))

    assert value(set="memory", what="forward", unit="MB") == 4.0
    assert value(set="memory", what="train", unit="MB") == 0.4
    assert value(set="import", what="import") == 0.8 and value(set="import", what="first call") == 0.4
    assert value(set="peak", peak=4.0) == pytest.approx(0.5)  # 8000 operations in 4 us are 2 GF/s
    busy = result(ours=4.0, set="busy")
    busy["figures"]["fastrnn"]["one"] = 5.0
    assert results.value(busy) == 0.8
    assert results.value(result(others=[], set="memory", what="train")) is None


def test_combining_takes_medians_over_processes():
    raw = [result(ours=o, others=[("a", a)]) for o, a in ((1.0, 3.0), (2.0, 2.0), (4.0, 6.0))]
    raw[1]["problems"] = {"b": "no"}
    (one,) = results.combine(raw)
    assert one["values"] == [3.0, 1.0, 1.5] and one["value"] == 1.5
    assert one["figures"]["fastrnn"]["median"] == 2 and one["figures"]["fastrnn"]["between"] == 3
    assert one["best"] == "a" and one["problems"] == {"b": "no"} and one["failed"] is None
    assert results.spread(one["figures"]["fastrnn"]) == 1.5
    assert len(results.combine([*raw, result(threads=2), result(name="other"), result(set="train")])) == 4
    failed = result(failed="why", figures={})
    (both,) = results.combine([failed, raw[0]])
    assert both["failed"] == "why" and both["value"] == 3.0


def judged(values, name="step", **more):
    """Combined results with these values."""
    return [{**result(str(i)), "set": name, "hidden": 64, **more, "value": v} for i, v in enumerate(values)]


def test_a_single_case_may_miss_by_three_percent():
    target = targets.Target("step", 1.05, wide=1.0)
    for v, missed in ((1.05, False), (1.05 * 0.971, False), (1.05 * 0.969, True), (math.nan, True)):
        assert target.missed(judged([v])[0]) == missed
    assert not target.missed(judged([0.98], hidden=512)[0]) and target.missed(judged([0.96], hidden=512)[0])
    most = targets.Target("busy", 1.3, at_most=True)
    assert not most.missed(judged([1.3 * 1.029])[0]) and most.missed(judged([1.3 * 1.031])[0])


def test_a_mean_may_not_miss():
    (met,) = targets.verdicts(judged([1.6, 2.1, 1.8001]))
    assert met.missed == [] and met.worst["value"] == 1.6 and met.mean > 1.8
    (missed,) = targets.verdicts(judged([1.79, 1.79]))
    assert missed.missed == ["geometric mean: 1.790, at least 1.8"]
    (both,) = targets.verdicts(judged([0.9, 1.5]))
    assert len(both.missed) == 2 and both.missed[0] == "0: 0.90, at least 1.05"
    assert targets.verdicts(judged([None])) == []


def test_targets_are_those_of_their_set():
    def bounds(**more):
        return [(v.target.every, v.target.mean) for v in targets.verdicts(judged([2.0], **more))]

    assert bounds(name="train") == [(1.1, 1.65)] and bounds(name="train", threads=2) == [(1.2, 1.8)]
    assert bounds(name="ragged") == [(1.5, 2.0)] and bounds(name="ragged", what="train") == [(2.0, 2.5)]
    assert bounds(name="memory") == [(4.0, None)]
    assert bounds(name="memory", what="train") == [(1.0, None)]
    assert bounds(name="memory", what="train", cell="GRU") == [(0.6, None)]
    assert bounds(name="speech") == []
    assert {t.set for t in targets.TARGETS} <= {*SETS, *PROCESS_SETS}
    split = targets.verdicts([*judged([2.0]), *judged([0.5], threads=2)])
    assert [(v.threads, bool(v.missed)) for v in split] == [(1, False), (2, True)]


def test_geometric_mean():
    assert targets.geometric_mean([2.0, 8.0]) == pytest.approx(4.0) and math.isnan(targets.geometric_mean([]))


def test_row_and_footer(capsys):
    one = result(others=[("a", 3.0)], problems={"b": "cannot"})
    one["figures"]["c"] = {"median": 9.0, "warm": True, "counts": True}
    table.show(results.combine([one, result(name="worse", ours=4.0)]))
    out = capsys.readouterr().out
    assert re.search(r"forward RNN 1/1/4 +2 us +4\.0 +2 % +1\.50  a 3, c 9~\n", out)
    assert "least 0.75 (worse)" in out and "without b: cannot" in out and "MISSED" in out and "target forward" in out
    assert "failed: why" in table.row(results.combine([result(failed="why", figures={})])[0])


def test_numbers_have_few_digits():
    numbers = [table.number(x) for x in (0.7123, 5.214, 48.14, 431.27, 5299.4)]
    assert numbers == ["0.712", "5.21", "48.1", "431.3", "5,299"]


# ---- Comparing ----------------------------------------------------------------------------------


def verdict(base, head):
    (change,) = compare.changes(*(results.combine([r]) for r in (base, head)))
    return change.verdict


def test_moved_and_not_moved():
    assert verdict(result(ours=2.0), result(ours=2.05)) == "same"
    assert verdict(result(ours=2.0), result(ours=2.2)) == "slower"
    assert verdict(result(ours=2.2), result(ours=2.0)) == "faster"


def test_what_the_others_did_too_is_the_machine():
    assert verdict(result(ours=2.0), result(ours=2.4, others=[("a", 3.6)])) == "same"
    assert verdict(result(ours=2.0), result(ours=2.0, others=[("a", 3.6)])) == "faster"
    noisy = [("a", 3.0), ("b", 3.0)], [("a", 3.0), ("b", 4.5)]  # 20 % apart from their median change
    assert verdict(result(ours=2.0, others=noisy[0]), result(ours=2.9, others=noisy[1])) == "same"


def test_a_wide_spread_is_noise():
    base, head = result(ours=2.0), result(ours=2.2)
    head["figures"]["fastrnn"]["high"] = 2.9
    assert verdict(base, head) == "same"


def test_warm_ups_tell_nothing_of_the_machine():
    base, head = result(ours=2.0), result(ours=2.0, others=[("a", 9.0)])
    head["figures"]["a"]["warm"] = True
    assert verdict(base, head) == "same"


def test_cases_of_one_file_only():
    base, head = results.combine([result("x"), result("y")]), results.combine([result("y"), result("z")])
    assert [(c.key[2], c.verdict) for c in compare.changes(base, head)] == [
        ("x", "only in base"), ("y", "same"), ("z", "only in head"),
    ]  # fmt: skip


def test_memory_does_not_drift():
    base, head = (result(ours=m, others=[("torch", 30 * m)], unit="MB", set="memory") for m in (1.0, 2.0))
    assert verdict(base, head) == "slower"
    none, little = (result(ours=m, unit="MB", set="memory") for m in (0.0, 0.05))
    assert verdict(none, little) == "same"


# ---- Files and pages ----------------------------------------------------------------------------

ABOUT = {
    "cpu": "A <CPU>", "cpus": 2, "system": "Linux", "date": "2026-01-02", "versions": {"fastrnn": "1", "numpy": "2"},
    "roofline": {"peak": 200.0, "bandwidth": {"L2": 100.0, "memory": 20.0}},
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Two files of figures: one thread and two."""
    paths = [str(tmp_path / f"{t}.json") for t in (1, 2)]
    for threads, path in enumerate(paths, 1):
        raw = [result(threads=threads), result("lost", ours=4.0, threads=threads, problems={"b": "cannot"})]
        step = result("step RNN H4", set="step", what="step", threads=threads)
        for figure in step["figures"].values():
            figure |= {"p50": 1.0, "p99": 2.5}
        memory = result("train RNN 9/1/4", set="memory", what="train", unit="MB", threads=threads)
        results.write(path, ABOUT, [*raw, step, memory, result("none", figures={}, failed="why", threads=threads)])
    return paths


def test_reading_refuses_other_files(tmp_path, files):
    about, raw = results.read(files)
    assert about == ABOUT and len(raw) == 10 and {r["threads"] for r in raw} == {1, 2}
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ValueError, match="other.json"):
        results.read([tmp_path / "other.json"])


def test_page(tmp_path, files, capsys):
    assert command.main(["page", *files, "-o", str(tmp_path / "page.md")]) == 0
    text = (tmp_path / "page.md").read_text()
    assert "2026-01-02, A <CPU>, 2 CPUs" in text and "numpy 2" in text and "200 GF/s" in text
    assert "| forward RNN 1/1/4 | 2 | 3 a | 1.50 | 2 | 3 a | 1.50 |" in text
    assert "2 (p99 2.5)" in text and "geometric mean 1.06, least 0.75" in text
    assert f"- `step`: {KINDS['step']}." in text and "`stream`" not in text
    lines = text.partition("## Where fastrnn does not win")[2]
    assert "- lost (forward), threads 1: 0.75 of a's speed." in lines and "forward RNN 1/1/4" not in lines
    assert "Targets missed" in lines and "geometric mean: 1.061, at least 1.3" in lines and "- b in lost." in lines
    header, rule = (next(line for line in text.splitlines() if line.startswith(start)) for start in ("| case", "|---"))
    assert header.count("|") == rule.count("|") == 8


def test_a_page_without_losses_says_so():
    assert "No other library is quicker" in "\n".join(page.losses(results.combine([result()])))


class Tags(html.parser.HTMLParser):
    """Counts of opened and closed tags, and the text."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.closed, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.opened.append(tag)

    def handle_endtag(self, tag):
        self.closed.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_report(tmp_path, files, capsys):
    assert command.main(["report", *files, "-o", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out/index.html").read_text()
    tags = Tags(text)
    for tag in ("table", "tr", "td", "h2", "p", "svg"):
        assert tags.opened.count(tag) == tags.closed.count(tag)
    assert tags.opened.count("table") == 3 and tags.opened.count("tr") == 3 + 10
    assert "A <CPU>" in "".join(tags.words) and "src=" not in text and 'class="less"' in text
    plots = 4 if importlib.util.find_spec("matplotlib") else 0  # roofline, latency, two sets that have values
    assert tags.opened.count("svg") == plots
    assert ("without plots" in capsys.readouterr().out) == (not plots)


def test_plots_leave_out_what_there_is_not():
    if importlib.util.find_spec("matplotlib"):
        empty = results.combine([result(others=[], flops=None)])
        assert report.speedups(empty) is report.roofline(ABOUT, empty) is report.latencies(empty) is None
    assert report.rows([]).count("<tr") == 1


def test_compare_command(tmp_path, files, capsys):
    assert command.main(["compare", files[0], files[0]]) == 0
    slower = str(tmp_path / "slower.json")
    results.write(slower, {**ABOUT, "cpu": "B"}, [result(ours=3.0)])
    assert command.main(["compare", files[0], slower]) == 1
    out = capsys.readouterr().out
    assert "1.500" in out and "slower" in out and "two machines: A <CPU> and B" in out
    assert "1 slower, 0 faster, 0 same, 3 in one file only" in out


# ---- The machine and processes ------------------------------------------------------------------


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


# ---- The command line ---------------------------------------------------------------------------


def test_command_line(tmp_path, capsys, monkeypatch):
    """A run from end to end, in fresh processes, from wherever."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "out.json"
    args = ["--only", "RNN H16", "--seconds", "0.01", "--contenders", "numpy", "--processes", "2", "--json", str(file)]
    assert command.main(["step", *args]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"step RNN H16 .* numpy \d", out) and "target step, threads 1" in out
    assert "2/2 step: step RNN H16, threads 1" in err
    about, raw = results.read([file])
    assert about["versions"]["numpy"] == np.__version__ and about["roofline"]["bandwidth"]["L2"] > 0.1
    assert [r["process"] for r in raw] == [0, 1] and raw[0]["hidden"] == 16
    figures = raw[0]["figures"]
    assert figures.keys() == {"fastrnn", "numpy"} and figures["fastrnn"]["rounds"] >= timing.LEAST_ROUNDS
    assert {"median", "low", "high", "p50", "p99", "code"} <= figures["numpy"].keys()


def fake(monkeypatch, *found):
    """Let `work` give these results, or raise them."""

    def work(spec):
        for one in found:
            if isinstance(one, Exception):
                raise one
            yield one

    monkeypatch.setattr(command, "work", work)
    monkeypatch.setattr(command, "roofline", lambda: None)


def test_exit_status(monkeypatch, capsys):
    args = ["forward", "--only", "RNN 100/1/32", "--contenders", "numpy"]
    fake(monkeypatch, result(ours=1.0))
    assert command.main(args) == command.main([*args, "--check"]) == 0
    fake(monkeypatch, result(ours=9.0))
    assert command.main(args) == 0 and command.main([*args, "--check"]) == 1
    assert command.main([*args, "--check", "--dtype", "float64"]) == 0  # the targets are not for it
    fake(monkeypatch, result(failed="Disagreement: all"))
    assert command.main(args) == 1
    fake(monkeypatch, result(ours=1.0), RuntimeError("the process died"))
    assert command.main(args) == 1 and "the process died" in capsys.readouterr().err
    assert command.main(["forward", "--only", "no such case"]) == 2


def test_an_interrupted_run_keeps_what_it_has(monkeypatch, tmp_path):
    file = tmp_path / "out.json"

    def measure(spec, processes, progress):
        if spec["threads"] == 2:
            raise KeyboardInterrupt
        return [result()], True

    monkeypatch.setattr(command, "measure", measure)
    monkeypatch.setattr(command, "roofline", lambda: None)
    assert command.main(["step", "--threads", "1,2", "--json", str(file)]) == 0
    assert len(json.loads(file.read_text())["results"]) == 1


def test_a_process_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match="set nonsense ended with status 1"):
        list(command.work({"set": "nonsense", "threads": 1}))


@pytest.mark.parametrize(
    "args, message",
    [
        (["no-such-set"], "no-such-set"), (["--contenders", "nobody"], "nobody"), (["--threads", "0"], "at least 1"),
        (["--processes", "0"], "at least 1"), (["--threads", "two"], "--threads"),
    ],
)  # fmt: skip
def test_wrong_command_lines(args, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(args)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_contenders_that_are_not_installed_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(CONTENDERS["torch"], "installed", classmethod(lambda cls: False))
    with pytest.raises(SystemExit):
        command.main(["--contenders", "torch"])
    assert "not installed: torch" in capsys.readouterr().err


def test_specs():
    args = command.arguments(["step", "busy", "--threads", "1,2", "--contenders", "numpy"])
    found = [(s["set"], s["threads"]) for s in command.specs(args)]
    assert found == [("step", 1), ("step", 2), ("busy", 2)]
    assert command.specs(args)[0]["contenders"] == ["fastrnn", "numpy"]
    everyone = command.specs(command.arguments([]))
    assert {s["set"] for s in everyone} == {*SETS, *PROCESS_SETS} - {"busy"}
    assert "numpy" not in everyone[0]["contenders"]


def test_help_says_what_is_included(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    out = capsys.readouterr().out
    assert all(text in out for text in KINDS.values())
