"""The contenders agree, a wrong one is left out, and turns are timed in rounds."""

import numpy as np
import pytest
from benches import KIND_CASES, SHAPE, Case, threads  # noqa: F401
from bench import problem, timing
from bench.cells import CELLS, PLAIN
from bench.contenders import CONTENDERS, installed, running

# ---- Contenders ---------------------------------------------------------------------------------


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


@pytest.mark.parametrize("cell", CELLS)
def test_cells_agree(cell):
    """All that are installed and have it, both ways and trained; where nobody else has, fastrnn gives everything."""
    quick = [name for name in installed() if not name.startswith("jax")]
    for case in (Case("forward", cell, 7, 3, 8, 8, directions=2), Case("train", cell, 7, 3, 8, 8)):
        names = running(quick, case, 1)
        ready, problems = timing.prepare(case, names, 1)
        assert problems == {} and list(ready) == names
        ours = ready["fastrnn"]
        found, layer = ours.outputs(ours.call()), ours.layer
        more = ["dx", *layer.parameters] if case.what == "train" else list(layer.state_names)
        assert list(found) == ["y", *more] and found["y"].shape == (7, 3, case.directions * case.output)
        assert all(np.abs(v).max() > 0 for v in found.values())


def test_cells_that_others_have():
    def who(cell):
        return {name for name, contender in CONTENDERS.items() if cell in contender.cells} - {"fastrnn"}

    ours_alone = {cell for cell in CELLS if not who(cell)}
    assert ours_alone == {cell for cell, c in CELLS.items() if c.layer not in PLAIN or c.normed} | {"RNN residual"}
    assert who("LSTM projected") == {"torch", "torch-nolengths"} and "numpy" in who("GRU") - who("GRU before")
    assert {"ort", "ort-iobind"} == who("LSTM peephole") == who("GRU before") - {"openvino"}
    assert running(list(CONTENDERS), Case("train", "GRU before", *SHAPE), 1) == ["fastrnn"]


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
