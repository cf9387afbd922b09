"""What a run shows and writes: history, curves, lines, models."""

import json
import math
import subprocess
import sys

import pytest
from runs import language, sequences, series
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.models import LanguageModel
from fastrnn.training import History, plot_history, progress_display


def test_history(tmp_path):
    history = History({"loss": [1.0, 2.0]})
    history.add(loss=3, other=math.nan)
    assert history["loss"].tolist() == [1, 2, 3] and len(history) == 2 and repr(history) == "History(loss: 3, other: 1)"
    history["loss"][0] = 9  # a copy
    assert history.last("loss", 2).tolist() == [2, 3] and history.last("loss")[0] == 1 and not history.last("none").size
    for _ in range(97):
        history.add(loss=4)
    history.write(tmp_path / "history.json", most=50, epochs=3)
    written = json.loads((tmp_path / "history.json").read_text())
    assert written["loss"][:3] == [1.5, 3.5, 4.0] and len(written["loss"]) == 50 and written["steps_per_row"] == 2
    assert written["other"] == [None] and written["epochs"] == 3
    with pytest.raises(KeyError, match="nothing"):
        history["nothing"]


def test_curves(tmp_path):
    pytest.importorskip("matplotlib")
    for name, run in (("with", sequences()), ("without", language()), ("none", language(steps=0))):
        run.run()
        plot_history(run.history, tmp_path / name, baseline=(1.0, "a guess") if name == "with" else None)
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_lines(capsys):
    """Without a terminal: a line for each validation; nothing unless it is asked for."""
    language(valid=lambda model: 0.5).run()
    assert capsys.readouterr().err == ""
    language(valid=lambda model: 0.5, progress=progress_display(measure="bits/char", scale=2)).run()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "\r" not in "".join(lines)
    assert lines[1].startswith("100%          528 characters  ") and "  1.000 bits/char held out  " in lines[1]
    assert lines[1].endswith(" chars/s  0:00 left")
    sequences(progress=True).run()
    assert "targets/s" in capsys.readouterr().err
    language(progress=False).run()
    assert capsys.readouterr().err == ""


def test_not_loaded_before_it_is_used():
    code = "import sys, fastrnn; assert 'fastrnn.training' not in sys.modules; fastrnn.Trainer; fastrnn.training.History"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_are_models(tmp_path):
    """What is kept in the folder can be loaded as a model."""
    run = language(folder=tmp_path)
    run.run()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.safetensors", "last.safetensors"]
    for load in (LanguageModel.load, fr.load):
        assert_same_bits("head", load(tmp_path / "last.safetensors").parameters["head.bias"], run.model.parameters["head.bias"])
    run = series(folder=tmp_path)
    run.run()
    again = fr.load(tmp_path / "last.safetensors")
    assert_same_bits("bias", again.parameters["1.2.bias"], run.model.parameters["1.2.bias"])
    assert repr(run) == "Trainer(Sequential, step 10 of 10)"
