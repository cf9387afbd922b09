"""``fastrnn train``, as a user meets it: in processes of its own."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from commands import run, shown, start
from kills import killed_and_resumed
from runs import assert_same_file, contents

import fastrnn as fr
from fastrnn.models.layers import LAYERS

TEXT = "".join(f"the {i % 7} of {i % 5}, and {'no' * (i % 3)}.\n" for i in range(700))
TINY = ["--rnn-size", "12", "--batch-size", "8", "--seq-length", "16", "--threads", "1"]
FILES = ["best.safetensors", "curve.png", "history.json", "last.safetensors"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def here(capsys):
    """Exit code and stderr of a command in this process, where there are many to try."""
    from fastrnn.cli import main

    def call(*arguments):
        try:
            code = main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().err

    before = fr.get_num_threads()
    yield call
    fr.set_num_threads(before)


def train(text, folder, *arguments, **options):
    return run("train", "--data", text, "--checkpoint-dir", folder, *TINY, *arguments, **options)


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    """Folder, stdout and stderr of a whole run with a bit of everything."""
    folder = tmp_path_factory.mktemp("out") / "a run"
    code, out, err = train(text, folder, "--max-epochs", "3", "--dropout", "0.3", "--checkpoint-every", "7", "--seed", "5",
                           "--learning-rate", "0.02", "--train-frac", "0.8", "--val-frac", "0.1")  # fmt: skip
    assert code == 0, err
    return folder, out, err


# ---- What it does -------------------------------------------------------------------------------


def test_files_and_words(trained):
    folder, out, err = trained
    assert sorted(path.name for path in folder.iterdir()) == FILES
    count = len(TEXT)
    assert f"{count:,} characters, {len(set(TEXT))} different" in out and f"{round(0.1 * count):,} characters at its" in out
    assert "lstm, 2 layers of 12 units" in out and "a checkpoint every 7 steps" in out
    best = float(re.search(r"Best: +([\d.]+) bits per character held out, perplexity ([\d.]+): ", out)[1])
    assert best < 0.55 < float(re.search(r"([\d.]+) bits/char held out", err)[1])
    lines = err.splitlines()
    assert len(lines) == 3 and all(re.search(r"bits/char held out .*chars/s .*left", line) for line in lines)
    history = json.loads((folder / "history.json").read_text())
    steps = round(0.8 * count) // 8 // 16
    assert history["step"] == [steps, 2 * steps, 3 * steps] and len(history["loss"]) == 3 * steps
    assert min(history["valid_loss"]) / 0.693147 == pytest.approx(best, abs=1e-3) and history["settings"]["seed"] == 5
    assert (folder / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_command_it_names_generates(trained):
    command = shlex.split(re.search(r"More: +(.*)", trained[1])[1])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and len(done.stdout) >= 500 and done.stderr == ""


@pytest.mark.parametrize("cell", LAYERS)
def test_every_cell(cell, tmp_path, here):
    short = tmp_path / "short.txt"
    short.write_text(TEXT[:600])
    arguments = ["train", "--data", short, "--checkpoint-dir", tmp_path / "run", "--model", cell, "--rnn-size", 6]
    code, err = here(*arguments, "--max-epochs", 1, "--seq-length", 9, "--threads", 1)
    assert code == 0, err
    assert fr.load(tmp_path / "run" / "best.safetensors").cell == cell


@pytest.mark.parametrize(
    "fractions, trained_on, held_out",
    [
        (["--train-frac", "1"], 1.0, 0.0),
        (["--train-frac", "0.98"], 0.98, 0.02),
        (["--val-frac", "0.5"], 0.5, 0.5),
        (["--val-frac", "0", "--train-frac", "0.3"], 0.3, 0.0),
    ],
)
def test_fractions(fractions, trained_on, held_out, text, tmp_path, here):
    """One alone leaves the other what is left; without held-out text the best is that of training."""
    code, err = here("train", "--data", text, "--checkpoint-dir", tmp_path, *TINY, *fractions, "--max-epochs", 1)
    assert code == 0 and ("held out" in err) == (held_out > 0), err
    run_state = contents(tmp_path / "last.safetensors")[2]
    assert run_state["step"] == round(trained_on * len(TEXT)) // 8 // 16
    assert run_state["notes"]["settings"]["val_frac"] == pytest.approx(held_out)
    history = json.loads((tmp_path / "history.json").read_text())
    assert ("valid_loss" in history) == (held_out > 0)
    assert run_state["best"] == pytest.approx(history["valid_loss" if held_out else "train_loss"][0])


@pytest.mark.parametrize("tokens, unit", [("words", "word"), ("bytes", "byte")])
def test_tokens_from_a_pipe(tokens, unit, tmp_path):
    """Read from standard input, which a run that goes on wants again."""
    data = TEXT.encode() if tokens == "words" else bytes(range(256)) * 60
    command = [sys.executable, "-m", "fastrnn", "train", "--checkpoint-dir", tmp_path, "--max-epochs"]
    first = [*command, "1", "--data", "-", "--tokens", tokens, *TINY]
    done = subprocess.run(first, input=data, capture_output=True, check=True)
    assert b"standard input" in done.stdout and f"bits per {unit} held out".encode() in done.stdout
    code, _, err = run("train", "--checkpoint-dir", tmp_path, "--resume")
    assert code == 2 and "--data: the run read standard input; give it the same text again" in err
    subprocess.run([*command, "2", "--data", "-", "--resume"], input=data, capture_output=True, check=True)
    history = json.loads((tmp_path / "history.json").read_text())
    assert len(history["step"]) == 2 and history["step"][1] == 2 * history["step"][0] == len(history["loss"])
    other = subprocess.run([*command, "3", "--data", "-", "--resume"], input=data[::-1], capture_output=True)
    assert other.returncode == 2 and b"checksum" in other.stderr and b"Give the text of that run" in other.stderr


def test_begun_with_a_model(trained, text, tmp_path):
    """Its weights, cell, sizes and vocabulary; a new optimiser, position and history."""
    model = trained[0] / "best.safetensors"
    code, out, err = train(text, tmp_path / "new", "--init-from", model, "--max-epochs", "1", "--learning-rate", "1e-9")
    assert code == 0 and f"parameters, from {model}" in out
    ours, theirs = fr.load(tmp_path / "new" / "last.safetensors"), fr.load(model)
    for name, array in theirs.parameters.items():
        assert abs(ours.parameters[name] - array).max() < 1e-6
    assert contents(tmp_path / "new" / "last.safetensors")[2]["step"] == len(TEXT) * 95 // 100 // 8 // 16


def test_on_a_terminal(text, tmp_path):
    """A bar with the time left, drawn again and again; every line ends."""
    pytest.importorskip("tqdm")
    text = shown("train", "--data", text, "--checkpoint-dir", tmp_path, *TINY, "--max-epochs", 2)
    assert re.search(r"\r *\d+% .*bits/char held out, [\d,]+ chars/s, \d+:\d\d left", text)
    assert re.search(r"left *\r\nTrained: ", text)


# ---- Going on -----------------------------------------------------------------------------------


def interrupted(text, folder, *arguments, **options):
    """Start a run that would take long, interrupt it once it has measured something."""
    process = start("train", "--data", text, "--checkpoint-dir", folder, *TINY, *arguments, **options)
    assert "bits/char" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def test_interrupt_keeps_the_checkpoint_and_resume_goes_on(text, tmp_path):
    """With the very bits, from another folder of work, with nothing but the folder's name."""
    whole, folder = tmp_path / "whole", tmp_path / "a folder"
    options = ["--max-epochs", "20", "--dropout", "0.2", "--model", "gru"]
    assert train(text, whole, *options)[0] == 0
    relative = os.path.relpath(text, tmp_path)
    code, out, err = interrupted(relative, folder.name, *options, cwd=tmp_path)
    assert code == 130 and "the checkpoint is kept" in err
    assert sorted(path.name for path in folder.iterdir()) == FILES
    stopped = int(re.search(r"Stopped after step ([\d,]+) of", err)[1].replace(",", ""))
    assert contents(folder / "last.safetensors")[2]["step"] == stopped > 0
    command = shlex.split(re.search(r"go on: +(.*)", err)[1])
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and f"Resumed:  after step {stopped:,} of" in done.stdout, done.stderr
    assert_same_file(folder / "best.safetensors", whole / "best.safetensors")
    tensors, _, run_state = contents(folder / "last.safetensors")
    expected, _, whole_state = contents(whole / "last.safetensors")
    assert run_state == whole_state and all((tensors[name] == array).all() for name, array in expected.items())


def test_resume_without_a_run(text, tmp_path):
    """With a text one begins, so that a command can be started again and again; without there is nothing to do."""
    code, out, _ = train(text, tmp_path / "new", "--resume", "--max-epochs", "1")
    assert code == 0 and "there is no run in" in out and "one begins now" in out
    code, _, err = run("train", "--resume", "--checkpoint-dir", tmp_path / "none")
    assert code == 2 and "there is no run to resume; begin one with --data FILE" in err
    code, out, _ = run("train", "--resume", "--checkpoint-dir", tmp_path / "new")
    assert code == 0 and "nothing is left to do" in out


def test_resume_with_other_settings(trained, tmp_path):
    """More epochs, another rate; but not another model."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in trained[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    before = contents(folder / "last.safetensors")[2]["step"]
    code, out, err = run("train", "--checkpoint-dir", folder, "--resume", "--rnn-size", 13)
    assert code == 2 and f"--rnn-size 13: the run in {folder} has 12; leave it out" in err
    more = ["--max-epochs", 4, "--learning-rate", 0.001, "--rnn-size", 12]
    code, out, err = run("train", "--checkpoint-dir", folder, "--resume", *more)
    assert code == 0 and f"Resumed:  after step {before} of {before // 3 * 4}" in out, err
    run_state = contents(folder / "last.safetensors")[2]
    assert run_state["step"] == before // 3 * 4 and run_state["optimizer"]["hyperparameters"]["lr"] < 0.001


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.kill)])
def test_killed(kills, text, tmp_path):
    """SIGKILL at random moments, then --resume: every file has the bits of the run that nobody disturbed."""
    options = ["--data", str(text), *TINY, "--max-epochs", str(3 + 3 * kills), "--dropout", "0.2", "--checkpoint-every", "20",
               "--resume"]  # fmt: skip
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    assert run("train", "--checkpoint-dir", whole, *options)[0] == 0
    command = [sys.executable, "-m", "fastrnn", "train", "--checkpoint-dir", str(folder), *options]
    killed_and_resumed(command, folder, kills)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for name in ("last.safetensors", "best.safetensors"):
        assert_same_file(folder / name, whole / name)


# ---- Errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--data: give a text to train on"),
        (["--data", "{tmp}/none.txt"], "{tmp}/none.txt: No such file or directory"),
        (["--data", "{tmp}"], "{tmp}: Is a directory"),
        (["--data", "{tmp}/empty"], "{tmp}/empty: it is empty"),
        (["--data", "{tmp}/binary"], "{tmp}/binary: this is no text, or not in UTF-8: byte 0xff, which is not UTF-8, at offset 5"),
        (["--data", "{tmp}/short"], "{tmp}/short: 0.95 of it, to train on, has 28 characters; 1 x (50 + 1) = 51 are needed"),
        (["--data", "{text}", "--batch-size", "9999"], "9999 x (50 + 1) = 509,949 are needed for one step"),
        (["--data", "{text}", "--train-frac", "0.9", "--val-frac", "0.2"], "both together at most 1"),
        (["--data", "{text}", "--train-frac", "0"], "expected a part to train on"),
        (["--data", "{text}", "--dropout", "2"], "--dropout: expected a number of at least 0 and up to 1, got '2'"),
        (["--data", "{text}", "--learning-rate", "0"], "--learning-rate: expected a number above 0"),
        (["--data", "{text}", "--model", "lstn"], "--model: invalid choice: 'lstn'"),
        (["--data", "{text}", "--tokens", "letters"], "--tokens: invalid choice: 'letters'"),
        (["--data", "{text}", "--rnn-size", "1.5"], "--rnn-size: expected an integer of at least 1"),
        (["--data", "{text}", "--num-layers", "9" * 30], "--num-layers: expected an integer of at least 1 and up to 1000"),
        (["--data", "{text}", "--checkpoint-dir", "{text}"], "this is a file; --checkpoint-dir wants a folder"),
        (["--data", "{text}", "--checkpoint-dir", "{run}"], "there is a run in this folder, at step "),
        (["--data", "{tmp}/short", "--checkpoint-dir", "{run}", "--resume"], "--batch-size or --seq-length"),
        (["--data", "{tmp}/other", "--checkpoint-dir", "{run}", "--resume"], "Give the text of that run"),
        (["--data", "{text}", "--init-from", "{text}"], "MODEL is a file that train or demo wrote"),
        (["--data", "{text}", "--init-from", "{tmp}/none"], "none: No such file"),
        (["--data", "{text}", "--init-from", "{run}/best.safetensors", "--num-layers", "3"], "the model of --init-from has 2"),
        (["--data", "{tmp}/short", "--init-from", "{run}/best.safetensors"], "'x' at line 1, column 1 is not among the"),
        (["--data", "{text}", "--checkpoint-dir", "{tmp}/model", "--resume"], "it is no run of the command train"),
        (["--data", "{text}", "--checkpoint-dir", "{tmp}/garbage"], "last.safetensors: it has 3 bytes"),
    ],
)
def test_errors(trained, text, tmp_path, here, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"hello\xff\0")
    (tmp_path / "short").write_text("x" * 29)
    (tmp_path / "other").write_text(TEXT[::-1])
    for name, content in (("model", (trained[0] / "best.safetensors").read_bytes()), ("garbage", b"abc")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.safetensors").write_bytes(content)
    places = {"tmp": tmp_path, "text": text, "run": trained[0]}
    before = {path: path.read_bytes() for path in trained[0].iterdir()}
    code, err = here("train", *(a.format(**places) for a in arguments), *TINY[:2], "--threads", "1")
    assert code == 2 and message.format(**places) in err, err
    assert len(err.splitlines()) == 1 or err.startswith("usage: ")
    assert {path: path.read_bytes() for path in trained[0].iterdir()} == before


def test_divergence(text, tmp_path):
    code, _, err = train(text, tmp_path, "--model", "rnn_relu", "--learning-rate", "1e30", "--grad-clip", "1e30")
    assert code == 2 and re.search(r"error: (the loss became|a gradient is not finite).* at step \d+ \(epoch 1\): .*"
                                   r"such as --learning-rate 2.5e\+29. The checkpoint of step 0 is intact", err)  # fmt: skip
    assert train(text, tmp_path, "--max-epochs", "1")[0] == 0  # nothing was lost that would have to be kept


@pytest.mark.parametrize("blocks, kept", [(24, "Nothing was trained yet."), (60, "The checkpoint of step 0 is intact; go on")])
def test_disk_full(blocks, kept, text, tmp_path):
    """A real limit of files: at once, and when there are the optimiser's buffers too."""
    limit = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", sys.executable, "-m", "fastrnn", "train"]
    folder = tmp_path / "run"
    done = subprocess.run([*limit, "--data", text, "--checkpoint-dir", folder, *TINY, "--checkpoint-every", "5"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"error: {folder / 'last.safetensors'}: File too large. {kept}" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["last.safetensors"] * (blocks == 60)
    if blocks == 60:
        code, out, _ = run("train", "--checkpoint-dir", folder, "--resume", "--max-epochs", 1)
        assert code == 0 and "Resumed:  after step 0 of" in out


def test_reader_of_the_pipe_leaves(text, tmp_path):
    """Before the training begins, as ``head -1`` does: then nothing is begun."""
    process = start("train", "--data", text, "--checkpoint-dir", tmp_path / "run", *TINY)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 141
    assert not (tmp_path / "run").exists()
