"""Checkpoints of training: exact resumption from every step, after kills, and what stays when one cannot be written."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kills import killed_and_resumed
from runs import RUNS, TEXT, assert_same_file, contents, language, sequences, series, small_model

import fastrnn as fr
from fastrnn import files
from fastrnn.models import LanguageModel, Vocabulary
from fastrnn.serialize import read_safetensors, write_safetensors

# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("name", RUNS)
def test_resumed_after_every_step(name, tmp_path):
    """From other weights, generators and orders: all that a checkpoint holds at the end is that of the whole run."""
    whole = RUNS[name](folder=tmp_path / "whole")
    whole.notes["mine"] = [1, "two"]
    whole.callbacks.append(lambda run: run.save(tmp_path / f"{run.step}.safetensors"))
    RUNS[name](folder=tmp_path / "whole").save(tmp_path / "0.safetensors")  # before the first
    whole.run()
    assert whole.step >= 6 and whole.stopped_early == (name == "sequences")
    for step in range(whole.step + 1):
        folder = tmp_path / f"from {step}"
        run = RUNS[name](seed=7, folder=folder)
        run.resume(tmp_path / f"{step}.safetensors")
        run.notes["mine"] = [1, "two"]
        assert run.step == step and run.history.last("loss").size == step
        folder.mkdir()
        best = tmp_path / "whole" / "best.safetensors"
        if step > 0:
            (folder / "best.safetensors").write_bytes(best.read_bytes())
        run.run()
        run.save()  # where nothing was left to do, too
        assert run.history["seconds"].size == whole.history["seconds"].size
        for attribute in ("step", "epoch", "seen", "loss", "valid_loss", "best", "bad", "notes", "stopped_early"):
            assert getattr(run, attribute) == getattr(whole, attribute), attribute
        for file in ("last.safetensors", "best.safetensors"):
            assert_same_file(folder / file, tmp_path / "whole" / file)


def test_generators_of_any_kind(tmp_path):
    """Whose states hold arrays, shared by two modules; and none where none was made."""
    for kind in (np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM):

        def make(seed, kind=kind):
            generator = np.random.Generator(kind(seed))
            drops = [fr.Dropout(0.5, rng=generator), fr.Dropout(0.5, rng=generator)]
            model = fr.Sequential(drops[0], fr.GRU(2, 3, rng=0), drops[1], fr.Dropout(0.0), fr.Linear(3, 1, rng=0))
            x = np.random.default_rng(0).standard_normal((40, 2))
            data = fr.training.Streams(x, x[:, :1], 2, 5)
            return fr.Trainer(model, fr.optim.SGD(model, lr=0.1), data, loss=fr.losses.mse_loss, epochs=2)

        whole = make(1)
        whole.callbacks.append(lambda run: run.save(tmp_path / "3") if run.step == 3 else None)
        whole.run()
        whole.save(tmp_path / "whole")
        run = make(2)
        run.resume(tmp_path / "3")
        assert run.model[0].rng is run.model[2].rng and run.model[3].__dict__["_rng"] is None
        run.run()
        run.save(tmp_path / "run")
        assert_same_file(tmp_path / "run", tmp_path / "whole")


def test_a_longer_run(tmp_path):
    """A finished run goes on with more epochs: as one that was that long from the beginning, but for its last validation."""
    short = series(epochs=1, schedule=None, folder=tmp_path)
    short.run()
    long = series(seed=3, epochs=2, schedule=None, folder=tmp_path)
    long.resume()
    long.run()
    whole = series(epochs=2, schedule=None)
    whole.run()
    assert long.step == 10 and long.history["loss"].tolist() == whole.history["loss"].tolist()


def test_checkpoints_are_where_they_were_asked_for(tmp_path):
    """Every so many steps; else after each validation; always at the end; nowhere without a folder."""
    for every, expected in ((4, [4, 8, 11]), (None, [8, 11]), (100, [11])):
        steps = []
        run = language(folder=tmp_path, checkpoint_every=every)
        save = run.save

        def noted(path=None, run=run, steps=steps, save=save):
            steps.append(run.step)
            save(path)

        run.save = noted
        run.run()
        assert steps == expected
    run = language(folder=tmp_path, callbacks=[lambda run: setattr(run, "stopping", run.step == 3)])
    run.run()
    assert contents(tmp_path / "last.safetensors")[2]["step"] == 3  # stopped: the step it is at


# ---------------------------------------------------------------- what is refused


def _rewritten(path, metadata=None, tensors=None):
    old, described = read_safetensors(path)
    write_safetensors(path, {**old, **(tensors or {})}, {**described, **(metadata or {})})


def test_other_runs_are_refused(tmp_path):
    path = tmp_path / "last.safetensors"
    language(steps=3, folder=tmp_path).run()
    with pytest.raises(ValueError, match=r"last.safetensors: it does not fit this run: data .*checksum"):
        language(text=TEXT[::-1]).resume(path)
    run = language()
    run.model = LanguageModel(Vocabulary("abcdefgh \n"), 8, 13, rng=0)
    with pytest.raises(ValueError, match=r"last.safetensors: it does not fit this run: model: expected"):
        run.resume(path)
    run.model = LanguageModel(Vocabulary("abcdefgh\n "), 8, 12, dropout=0.3, rng=0)
    with pytest.raises(ValueError, match="vocabulary"):
        run.resume(path)
    with pytest.raises(ValueError, match="schedule"):
        run = language(schedule=None)
        run.schedule = fr.optim.StepLR(run.optimizer, 2)
        run.resume(path)
    with pytest.raises(ValueError, match="it does not fit this run"):
        series().resume(path)
    with pytest.raises(FileNotFoundError):
        series(folder=tmp_path / "none").resume()
    small_model().save(path)
    with pytest.raises(ValueError, match="model only"):
        language().resume(path)
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="last.safetensors"):
        language().resume(path)


@pytest.mark.parametrize("change", ["step", "optimizer", "state", "generators", "deep", "weights", "schedule"])
def test_damaged_checkpoints_are_refused(change, tmp_path):
    """By a ValueError that names the file, whatever is missing or wrong in it."""
    path = tmp_path / "last.safetensors"
    make = series if change == "schedule" else language
    run = make(folder=tmp_path)
    run.run()
    tensors, metadata = read_safetensors(path)
    state = json.loads(metadata["training"])
    if change in ("step", "generators"):
        del state[change]
    elif change == "schedule":
        state["schedule"]["taken"] = "x"
    elif change == "state":
        state["state"] = [0, 9]
    elif change == "optimizer":
        tensors.pop("training.optimizer.0.weight.exp_avg")
    elif change == "weights":
        tensors["head.bias"] = tensors["head.bias"][:-1]
    metadata["training"] = "[" * 100_000 if change == "deep" else json.dumps(state)
    write_safetensors(path, tensors, metadata)
    with pytest.raises(ValueError, match="last.safetensors: it does not fit this run"):
        make().resume(path)


# ---------------------------------------------------------------- files that cannot be written


def test_a_failed_checkpoint_leaves_the_former(tmp_path, monkeypatch):
    run = sequences(folder=tmp_path, checkpoint_every=1)
    before = {}

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(run):
        if run.step == 5:
            before.update({path.name: path.read_bytes() for path in tmp_path.iterdir()})
            monkeypatch.setattr(os, "fsync", full)

    run.callbacks.append(fill)
    with pytest.raises(OSError, match="No space left on device: .*last.safetensors") as caught:
        run.run()
    assert caught.value.filename == str(tmp_path / "last.safetensors")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    whole = sequences(folder=tmp_path / "whole", checkpoint_every=1)
    whole.run()
    again = sequences(seed=3, folder=tmp_path, checkpoint_every=1)
    again.resume()
    assert again.step == 4
    again.run()
    assert_same_file(tmp_path / "last.safetensors", tmp_path / "whole" / "last.safetensors")


FULL = """
import os, resource, sys
sys.path.insert(0, sys.argv[2])
from runs import language
run = language(folder=sys.argv[1], checkpoint_every=1)
def limit(run):
    if run.step == 3:
        if sys.argv[3] == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        else:
            os.chmod(sys.argv[1], 0o500)
            if os.geteuid() == 0:
                os.seteuid(65534)
run.callbacks.append(limit)
try:
    run.run()
except OSError as error:
    print(type(error).__name__, error.errno, error.filename)
"""


@pytest.mark.parametrize("way, number", [("full", errno.EFBIG), ("unwritable", errno.EACCES)])
def test_no_room_or_no_right(way, number, tmp_path):
    """A real limit of the system: an error that names the file; the file before, and nothing else."""
    folder = tmp_path / "run"
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", FULL, folder, Path(__file__).parent, way], capture_output=True, text=True)
    name = "PermissionError" if way == "unwritable" else "OSError"
    folder.chmod(0o700)
    # pytest's own folders are closed to others: without rights the path ends earlier, at the same error
    assert done.stdout == f"{name} {number} {folder / 'last.safetensors'}\n", done.stderr
    assert contents(folder / "last.safetensors")[2]["step"] == 2
    assert {path.name for path in folder.iterdir()} <= {"last.safetensors", "best.safetensors"}


def test_leftovers_are_removed(tmp_path):
    """What a killed process left of its file, and nothing else."""
    name = "last[1].safetensors"
    (tmp_path / f".{name}.0123456789abcdef.tmp").write_text("half")
    kept = [name, f"{name}.tmp", f".{name}.tmp", ".other.0123456789abcdef.tmp", f".{name}.0123456789abcdeg.tmp"]
    for other in kept:
        (tmp_path / other).write_text("mine")
    files.remove_leftovers(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    files.remove_leftovers(tmp_path / "none" / name)


# ---------------------------------------------------------------- kills

KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from runs import small_model
import fastrnn as fr
from fastrnn.training import TextStreams, warmup_cosine
fr.set_num_threads(1)
model = small_model(dropout=0.3)
data = TextStreams(model.vocabulary.encode("abcde fgh\\n" * 400), batch_size=4, seq_length=32)
trainer = fr.Trainer(model, fr.optim.Adam(model.modules), data, steps=int(sys.argv[3]), max_norm=5.0,
                     schedule=warmup_cosine(0.02), valid=data, validate_every=100, folder=sys.argv[1], checkpoint_every=7)
if os.path.exists(os.path.join(sys.argv[1], "last.safetensors")):
    trainer.resume()
trainer.run()
"""


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.kill)])
def test_killed(kills, tmp_path):
    """SIGKILL at random moments, then once more to the end: every file has the bits of the run that nobody disturbed."""
    script = [sys.executable, "-c", KILLED]
    more = [Path(__file__).parent, str(300 + 500 * kills)]
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*script, whole, *more], check=True)
    killed_and_resumed([*script, folder, *more], folder, kills)
    assert {path.name for path in folder.iterdir()} == {"last.safetensors", "best.safetensors"}
    for path in folder.iterdir():
        assert_same_file(path, whole / path.name)
