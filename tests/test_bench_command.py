"""The benchmark's command line."""

import json
import re

import numpy as np
import pytest
from benches import result
from bench import __main__ as command
from bench import results, timing
from bench.contenders import CONTENDERS
from bench.shapes import KINDS, PROCESS_SETS, SETS


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
