"""The command line, as a user meets it: in processes of its own."""

import re
import shlex
import signal
import subprocess
import sys

import pytest
from commands import run, shown, start

from fastrnn.models import LanguageModel

TINY = ["--rnn-size", "16", "--batch-size", "4", "--seq-length", "16", "--threads", "1"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(12):
        lines = [f"def f{i}(x):\n    return x + {i * number}\n\n" for i in range(60)]
        (folder / f"m{number}.py").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Output folder, stdout and stderr of a complete tiny demo."""
    output = tmp_path_factory.mktemp("out") / "demo output"
    code, out, err = run("demo", "--corpus", corpus, "--output", output, "--characters", 10_000, *TINY)
    assert code == 0, err
    return output, out, err


# ---- demo ---------------------------------------------------------------------------------------


def test_demo_reports(trained):
    output, out, err = trained
    assert (output / "model.safetensors").exists() and (output / "last.safetensors").exists()
    assert "whole files" in out and out.count("it writes:") == 4
    final = float(re.search(r"Held out: ([\d.]+) bits per character", out)[1])
    assert final < 5
    lines = err.splitlines()
    assert len(lines) == 16 and "\r" not in err and "\x1b" not in err
    assert all(re.search(r"bits/char held out.*chars/s.*left", line) for line in lines)


def test_demo_draws_the_curve(trained):
    pytest.importorskip("matplotlib")
    assert (trained[0] / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_demo_says_how_to_generate(trained):
    command = shlex.split(re.search(r"More: +(.*)", trained[1])[1])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("def ")
    assert len(done.stdout) == len("def ") + 500 + 1


def test_demo_limited_by_seconds(corpus, tmp_path):
    code, out, err = run("demo", "--corpus", corpus, "--output", tmp_path, "--seconds", "0.5",
                         "--characters", 10**9, *TINY)  # fmt: skip
    assert code == 0 and "Held out:" in out and (tmp_path / "model.safetensors").exists()


def interrupted(corpus, output):
    """Start a demo that would take long, interrupt it once it has measured something."""
    process = start("demo", "--corpus", corpus, "--output", output, "--characters", 400_000, *TINY)
    assert "bits/char" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def test_interrupt_keeps_the_checkpoint_and_resume_goes_on(corpus, tmp_path):
    code, out, err = interrupted(corpus, tmp_path)
    assert code == 130 and "checkpoint is kept" in err and "--resume" in err
    checkpoint = tmp_path / "last.safetensors"
    LanguageModel.load(checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]
    stopped = int(re.search(r"after ([\d,]+) characters", err)[1].replace(",", ""))
    arguments = ["--corpus", corpus, "--output", tmp_path, "--characters", stopped + 5000, *TINY]
    code, out, err = run("demo", *arguments, "--resume")
    assert code == 0 and f"after {stopped:,} characters" in out
    assert run("generate", checkpoint, "--length", 5)[0] == 0


def test_demo_on_a_terminal(corpus, tmp_path):
    """With tqdm: one line that is drawn again and again."""
    pytest.importorskip("tqdm")
    text = shown("demo", "--corpus", corpus, "--output", tmp_path, "--characters", 5_000, *TINY)
    assert "\r" in text and re.search(r"\d% .*bits/char held out, [\d,]+ chars/s, \d+:\d\d left", text)


def test_without_tqdm_and_matplotlib(corpus, tmp_path):
    """The extras are missed politely: a finder in front of all others hides them."""
    code = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('tqdm', 'matplotlib') else find(name, *a)\n"
        "from fastrnn.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "assert not {'tqdm', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    arguments = ["demo", "--corpus", corpus, "--output", tmp_path, "--characters", 500, *TINY]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is not installed (pip install 'fastrnn[demo]')") == 2
    assert not (tmp_path / "curve.png").exists()


# ---- generate, info, help -----------------------------------------------------------------------


def test_generate(trained):
    model = trained[0] / "model.safetensors"
    texts = [run("generate", model, "--prime", "def f", "--length", 60, "--seed", s) for s in (1, 1, 2)]
    assert all(code == 0 and err == "" for code, _, err in texts)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0][1].startswith("def f") and len(texts[0][1]) == 66


def test_generate_streams(trained):
    """Characters arrive while the command is still writing."""
    process = start("generate", trained[0] / "model.safetensors", "--length", 10**8, "--seed", 1)
    assert len(process.stdout.read(200)) == 200 and process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err


def test_reader_of_the_pipe_leaves(trained):
    process = start("generate", trained[0] / "model.safetensors", "--length", 10**8)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 141


def test_info():
    code, out, _ = run("info")
    assert code == 0 and "instruction set" in out and "threads" in out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["demo", "--help"], ["generate", "--help"], ["info", "-h"]])
def test_help(arguments):
    code, out, err = run(*arguments)
    assert code == 0 and err == "" and "usage: python -m fastrnn" in out


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing"], "invalid choice: 'nothing'"),
        (["generate"], "MODEL"),
        (["generate", "{tmp}/none.safetensors"], "none.safetensors: No such file"),
        (["generate", "{tmp}"], "{tmp}: this folder has no best.safetensors, model.safetensors or last.safetensors"),
        (["generate", __file__], "is a file that train or demo wrote"),
        (["generate", "{model}", "--prime", "d\u00e9f"], "--prime: '\u00e9' (U+00E9) at line 1, column 2 is not among the 96 characters"),
        (["generate", "{model}", "--length", "-1"], "--length: expected an integer of at least 0, got '-1'"),
        (["generate", "{model}", "--temperature", "nan"], "--temperature: expected a number of at least 0"),
        (["generate", "{model}", "--seed", "x"], "--seed: expected an integer"),
        (["demo", "--seconds", "0"], "--seconds: expected a number above 0"),
        (["demo", "--output", "{model}"], "File exists"),
        (["demo", "--output", "{tmp}", "--corpus", "{tmp}"], "has 0 .py files"),
        (["demo", "--output", "{tmp}", "--corpus", "{tmp}/none"], "does not exist"),
        (["demo", "--output", "{tmp}", "--corpus", "{corpus}", "--seq-length", "9999"], "fewer than the"),
        (["demo", "--output", "{tmp}", "--corpus", "{corpus}", "--resume"], "no checkpoint to resume"),
        (["demo", "--output", "{output}", "--corpus", "{corpus}", "--resume"], "Give the options of that run"),
    ],
)
def test_errors(trained, corpus, tmp_path, arguments, message):
    places = {"tmp": tmp_path, "model": trained[0] / "model.safetensors", "output": trained[0], "corpus": corpus}

    def filled(text):
        return text.format(**places) if "{" in text else text

    code, _, err = run(*map(filled, arguments))
    assert code == 2 and filled(message) in err
    assert len(err.splitlines()) == 1 or err.startswith("usage: ")
