"""The benchmark suite's own code; nothing here judges a time."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import timing  # noqa: E402
from bench.__main__ import main, row  # noqa: E402
from bench.contenders import Fastrnn, installed  # noqa: E402
from bench.shapes import SETS, Case  # noqa: E402


def test_flops_count_products_only():
    assert Case("forward", "LSTM", 10, 3, 5, 7).flops == 2 * 10 * 3 * 4 * 7 * (5 + 7)
    assert Case("train", "GRU", 1, 1, 2, 2).flops == 3 * 2 * 3 * 2 * 4


def test_sets_have_no_case_twice():
    for cases in SETS.values():
        assert len({c.name for c in cases}) == len(cases)


def test_disagreement_is_found_before_timing():
    case = Case("train", "GRU", 3, 2, 4, 5)
    runners = {n: Fastrnn(case, *timing.problem(case), 1) for n in ("a", "b")}
    for runner in runners.values():
        runner.run()
    timing.check(runners)
    runners["b"].result = (runners["b"].result[0] + np.float32(0.01), runners["b"].result[1])
    with pytest.raises(timing.Disagreement, match="a and b differ"):
        timing.check(runners)


def test_summary():
    s = timing.summary([4.0, 1.0, 2.0, 3.0, 5.0])
    assert s["median"] == 3 and s["low"] < 3 < s["high"] and s["rounds"] == 5


def test_ratio_is_that_of_the_fastest_other():
    case = Case("forward", "RNN", 1, 1, 4, 4)
    quick, slow, ours = ({"median": m, "low": m, "high": m} for m in (3.0, 8.0, 2.0))
    text, ratio = row(case, {"fastrnn": ours, "slow": slow, "quick": quick})
    assert ratio == 1.5 and "quick" in text
    assert row(case, {"fastrnn": ours})[1] is None


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.sched_setaffinity", lambda *a: None, raising=False)
    file = tmp_path / "out.json"
    assert main(["step", "--only", "RNN 1/1/16", "--seconds", "0.01", "--json", str(file)]) == 0
    assert "RNN 1/1/16" in capsys.readouterr().out
    (result,) = json.loads(file.read_text())["results"]
    assert result["case"]["hidden"] == 16 and result["times"]["fastrnn"]["rounds"] >= 7
    with pytest.raises(SystemExit) as stop:
        main(["no-such-set"])
    assert stop.value.code == 2 and "no-such-set" in capsys.readouterr().err


def test_this_library_is_installed():
    assert "fastrnn" in installed()
