"""The commands that use a model: generate, eval, inspect; and bench, in processes of their own."""

import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from commands import run, run_here, start

import fastrnn as fr
from fastrnn.models import LanguageModel, Vocabulary

TEXT = "one (two) three,\nfour caf\u00e9s five.\n" * 40


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with an untrained model of characters, words and bytes each, a layer, and texts."""
    folder = tmp_path_factory.mktemp("models")
    for tokens in ("chars", "words", "bytes"):
        vocabulary = Vocabulary.of(TEXT, tokens)
        LanguageModel(vocabulary, 8, 16, 1, cell="gru", rng=0).save(folder / f"{tokens}.safetensors")
    fr.save(folder / "layer.safetensors", fr.LSTM(3, 4, 2, bidirectional=True, batch_first=True, rng=0))
    fr.save(folder / "stack.safetensors", fr.Sequential(fr.Linear(3, 4, rng=0), fr.SRU(4, 5, rng=0), fr.RNN(5, 2, rng=0)))
    fr.save(folder / "linear.safetensors", fr.Linear(3, 4, rng=0))
    (folder / "text.txt").write_text(TEXT, encoding="utf-8", newline="\r\n")
    return folder


# ---- generate -----------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [{"temperature": 1.5}, {"temperature": 1.0, "top_k": 3}, {"temperature": 1.0, "top_p": 0.2}])
@pytest.mark.parametrize("tokens", ["chars", "words", "bytes"])
def test_generate_as_the_model_does(models, tokens, choice):
    path = models / f"{tokens}.safetensors"
    text = "".join(LanguageModel.load(path).generate(40, prime="one (", rng=3, **choice))
    options = [word for name, value in choice.items() for word in (f"--{name.replace('_', '-')}", value)]
    code, out, err = run_here("generate", path, "--prime", "one (", "--length", 40, "--seed", 3, *options)
    assert (code, out, err) == (0, "one (" + text + "\n", "")


def test_prime_from_standard_input(models):
    path = models / "chars.safetensors"
    expected = run_here("generate", path, "--prime", "one\ntwo", "--length", 9, "--seed", 1)[1]
    assert run_here("generate", path, "--prime", "-", "--length", 9, "--seed", 1, stdin="one\ntwo\n") == (0, expected, "")


def test_words_follow_the_prime_with_one_space(models):
    path = models / "words.safetensors"
    options = ["--length", 5, "--seed", 1]
    outs = [run_here("generate", path, "--prime", prime, *options)[1] for prime in ("four  five ", "four five")]
    assert outs[0] == outs[1] and outs[0].startswith("four five") and "  " not in outs[0]


def test_beam(models):
    path = models / "words.safetensors"
    expected = LanguageModel.load(path).beam_search(6, prime="four", width=4)[0][0]
    assert run_here("generate", path, "--prime", "four", "--length", 6, "--beam", 4)[1] == "four" + expected + "\n"
    assert run_here("generate", path, "--prime", "four", "--length", 0, "--beam", 4)[1] == "four\n"


# ---- eval ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens, unit", [("chars", "character"), ("words", "word"), ("bytes", "byte")])
def test_eval_as_the_model_does(models, tokens, unit):
    path = models / f"{tokens}.safetensors"
    model, read = LanguageModel.load(path), TEXT
    if tokens == "bytes":
        read = TEXT.replace("\n", "\r\n")  # as the file has it
    for flags, streams in ([], 32), (["--exact"], 1):
        code, out, err = run_here("eval", path, "--data", models / "text.txt", *flags)
        assert code == 0 and err == ""
        assert f"{len(read):,} characters" in out
        bits = model.bits_per_character(read, streams=streams)
        assert re.search(r"Bits: +([\d.]+) per character", out)[1] == f"{bits:.4f}"
        perplexity = model.perplexity(read, streams=streams)
        assert f"Perplexity:  {perplexity:.4f} per {unit}, of {len(model.vocabulary)}\n" in out
    assert run_here("eval", path, "--data", "-", stdin=TEXT)[0] == 0


def test_a_mark_of_the_byte_order_is_no_text(models, tmp_path):
    outs = []
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "text").write_text(TEXT, encoding=encoding)
        outs.append(run_here("eval", models / "chars.safetensors", "--data", tmp_path / "text"))
    assert outs[0] == outs[1] and outs[0][0] == 0


def test_eval_of_unknown_text(models):
    code, out, err = run_here("eval", models / "chars.safetensors", "--data", "-", stdin="one\ntwo {")
    assert (code, out) == (2, "") and "standard input: '{' at line 2, column 5 is not among the" in err
    assert "--replace-unknown" in err
    code, out, err = run_here("eval", models / "chars.safetensors", "--data", "-", "--replace-unknown", stdin="one\ntwo {")
    assert code == 0 and "Unknown:     1 characters, 11.11%" in out
    code, out, err = run_here("eval", models / "words.safetensors", "--data", "-", stdin="one six two")
    assert code == 0 and "Unknown:     1 words, 33.33%" in out


def test_eval_of_any_bytes(models, tmp_path):
    (tmp_path / "data").write_bytes(bytes(range(256)))
    code, out, err = run_here("eval", models / "bytes.safetensors", "--data", tmp_path / "data")
    assert code == 0 and "data, 256 bytes\n" in out and " per byte" in out and "character" not in out


# ---- inspect ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chars", "words", "bytes", "layer", "stack", "linear"])
def test_inspect(models, name):
    path = models / f"{name}.safetensors"
    code, out, err = run_here("inspect", path)
    assert code == 0 and err == ""
    model = fr.load(path)
    rows = dict(re.findall(r"^(\S+) +(\d.*)$", out, re.M))
    for key, array in model.parameters.items():
        shape, size, norm, rms, largest = re.split(r" {2,}|(?<=\d) (?=\d)", " ".join(rows[key].split()).replace(" x ", "x"))
        assert shape == "x".join(map(str, array.shape)) and size == f"{array.size:,}"
        values = array.astype(np.float64)
        found = [np.linalg.norm(values), np.sqrt((values**2).mean()), abs(values).max()]
        assert [norm, rms, largest] == [f"{value:.4g}" for value in found]
    assert rows["all"] == f"{sum(array.size for array in model.parameters.values()):,}"
    assert ("Spectral radius" in out) == (name != "linear")
    layers = {"layer": "LSTM(input_size=3, hidden_size=4, num_layers=2, batch_first=True, bidirectional=True)",
              "stack": "SRU(input_size=4, hidden_size=5)", "linear": "Linear("}  # fmt: skip
    assert layers.get(name, "GRU(input_size=8, hidden_size=16)") in out


def test_inspect_says_what_is_not_finite(tmp_path):
    head = fr.Linear(3, 2, rng=0)
    with head.edit() as p:
        p["bias"][:] = np.nan
        p["weight"][0, 0] = np.inf
    fr.save(tmp_path / "head.safetensors", head)
    code, out, _ = run_here("inspect", tmp_path / "head.safetensors")
    assert code == 0 and "Not finite (NaN or infinity): weight (1), bias (2)" in out


def test_inspect_a_checkpoint(models, tmp_path):
    model = LanguageModel(Vocabulary.of(TEXT), 8, 16, 1, rng=0)
    model.fit(TEXT, steps=7, seq_length=8, folder=tmp_path)
    code, out, _ = run_here("inspect", tmp_path / "last.safetensors")
    assert code == 0 and "Checkpoint: of a training run, after step 7" in out and "training." not in out


@pytest.mark.parametrize("name", ["chars", "bytes", "layer", "stack"])
def test_plot_of_gradient_flow(models, tmp_path, name):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "flow.png"
    code, out, err = run_here("inspect", models / f"{name}.safetensors", "--plot", picture, "--steps", 12)
    assert code == 0 and err == "" and f"Plot:       {picture}" in out
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_folders_of_runs(models, tmp_path):
    """The best model of a folder, else the one at the end, else the last."""
    for name in ("last", "model", "best"):
        model = LanguageModel(Vocabulary.of(TEXT), 8, len(name), 1, rng=0)
        model.save(tmp_path / f"{name}.safetensors")
        assert f"hidden_size={len(name)})" in run_here("inspect", tmp_path)[1]
        expected = "".join(model.generate(9, temperature=0.8, rng=1)) + "\n"
        assert run_here("generate", tmp_path, "--length", 9, "--seed", 1) == (0, expected, "")
        assert run_here("eval", tmp_path, "--data", models / "text.txt")[0] == 0


# ---- bench --------------------------------------------------------------------------------------


def test_bench_hands_over():
    code, out, err = run("bench", "--help")
    assert code == 0 and "usage: python -m bench" in out and "--processes" in out
    code, out, err = run("bench", "nosuch", "--only", "x")
    assert code == 2 and "no set named nosuch" in err


def test_bench_without_a_checkout(tmp_path):
    """The package alone, found through a link: the benchmarks are not beside it."""
    (tmp_path / "fastrnn").symlink_to(fr.__path__[0])
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from fastrnn.cli import main; sys.exit(main(['bench']))"
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2 and "the benchmarks are not installed with the package" in done.stderr


# ---- help, pipes, errors ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["generate", "eval", "inspect", "demo"])
def test_help_has_examples(command):
    code, out, err = run_here(command, "--help")
    assert code == 0 and err == "" and f"examples:\n  python -m fastrnn {command}" in out


def test_version():
    assert run_here("--version") == (0, f"fastrnn {fr.__version__}\n", "")


@pytest.mark.parametrize("command", [["inspect", "{models}/chars.safetensors"], ["info"]])
def test_nobody_reads(models, command):
    """The reader of the pipe is gone before anything is written."""
    process = start(*(word.format(models=models) for word in command))
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 141


@pytest.mark.parametrize("command", [["info"], *([name, "{models}/chars.safetensors"] for name in ("inspect", "generate"))])
def test_full_disks_and_closed_streams(models, command):
    words = [word.format(models=models) for word in command]
    with open("/dev/full", "w") as full:
        process = start(*words, stdout=full)
        assert process.stderr.read() == "python -m fastrnn: error: standard output: No space left on device\n"
    assert process.wait(timeout=60) == 2
    shell = ["sh", "-c", '"$@" >&- <&-', "sh", sys.executable, "-m", "fastrnn", *words]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_standard_input(models):
    shell = ["sh", "-c", '"$@" <&-', "sh", sys.executable, "-m", "fastrnn", "eval", models / "chars.safetensors", "--data", "-"]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert done.returncode == 2 and "standard input: it is closed; give a file" in done.stderr


def test_names_that_are_no_text(models, tmp_path):
    """Bytes of a path, and of a prime of a byte model, that are not UTF-8."""
    path = os.fsencode(tmp_path) + b"/\xff"
    shutil.copy(models / "bytes.safetensors", path)
    for encoding in ("utf-8", "ascii"):
        shell = [sys.executable, "-m", "fastrnn", "inspect", path]
        done = subprocess.run(shell, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
        assert done.returncode == 0 and rb"/\udcff, " in done.stdout and done.stderr == b""
    shell = [sys.executable, "-m", "fastrnn", "generate", path, "--prime", b"\xff\xfe", "--length", "20", "--seed", "1"]
    done = subprocess.run(shell, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    text = "".join(LanguageModel.load(models / "bytes.safetensors").generate(20, prime=b"\xff\xfe", temperature=0.8, rng=1))
    assert done.stdout.decode() == "\ufffd\ufffd" + text + "\n" and done.stderr == b""


def test_interrupt_while_reading(models):
    process = start("eval", models / "chars.safetensors", "--data", "-", stdin=-1)
    process.stdin.write("one")
    process.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == "stopped\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["generate", "{m}/words.safetensors", "--prime", "four\nsix"], "--prime: 'six' at line 2, column 1 is not among"),
        (["generate", "{m}/layer.safetensors"], "it is not a fastrnn language model"),
        (["generate", "{m}/chars.safetensors", "--top-p", "1.5"], "--top-p: expected a number above 0 and up to 1, got '1.5'"),
        (["generate", "{m}/chars.safetensors", "--top-k", "0"], "--top-k: expected an integer of at least 1, got '0'"),
        (["generate", "{m}/chars.safetensors", "--beam", "x"], "--beam: expected an integer"),
        (["generate", "{m}/chars.safetensors", "--beam", "1001"], "--beam: expected an integer of at least 1 and up to 1000"),
        (["eval", "{m}/chars.safetensors"], "required: --data"),
        (["eval", "{m}/chars.safetensors", "--data", "{m}/none"], "{m}/none: No such file"),
        (["eval", "{m}/chars.safetensors", "--data", "{m}"], "{m}: Is a directory"),
        (["eval", "{m}/chars.safetensors", "--data", "{t}/empty"], "{t}/empty: it is empty"),
        (["eval", "{m}/chars.safetensors", "--data", "{t}/one"], "{t}/one: it has 1 characters, too few"),
        (["eval", "{m}/words.safetensors", "--data", "{t}/spaces"], "{t}/spaces: it has 0 words, too few"),
        (["eval", "{m}/chars.safetensors", "--data", "{t}/latin"], "byte 0xe9, which is not UTF-8, at offset 3. Convert"),
        (["eval", "{m}/chars.safetensors", "--data", "{t}/utf16"], "not in UTF-8"),
        (["eval", "{m}/chars.safetensors", "--data", "{t}/nul"], "a NUL, at offset 3"),
        (["eval", "{m}/text.txt", "--data", "{m}/text.txt"], "MODEL is a file that train or demo wrote"),
        (["inspect", "{m}/text.txt"], "MODEL is a file that fastrnn wrote"),
        (["inspect", "{m}/none"], "No such file"),
        (["inspect", "{m}"], "{m}: this folder has no best.safetensors, model.safetensors or last.safetensors"),
        (["inspect", "{m}/linear.safetensors", "--plot", "{t}/a.png"], "no recurrent layer whose gradient flow"),
        (["inspect", "{m}/chars.safetensors", "--plot", "{t}/a.xyz"], "--plot {t}/a.xyz:"),
        (["inspect", "{m}/chars.safetensors", "--plot", "{t}/none/a.png"], "No such file"),
        (["inspect", "{m}/chars.safetensors", "--steps", "1"], "--steps: expected an integer of at least 2"),
        (["info", "more"], "unrecognized arguments: more"),
    ],
)
def test_errors(models, tmp_path, arguments, message):
    files = {"empty": b"", "one": b"o", "spaces": b"  ", "latin": b"caf\xe9", "nul": b"one\0two",
             "utf16": "one".encode("utf-16")}  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    code, _, err = run_here(*(word.format(m=models, t=tmp_path) for word in arguments))
    message = message.format(m=models, t=tmp_path)
    assert code == 2 and message in err
    assert len(err.splitlines()) == 1 or err.startswith("usage: ")
