"""What commands share: their error, types of arguments, files and texts that they read, threads, Ctrl-C.

Imports the standard library only; the package when something is done.
"""

import argparse
import contextlib
import math
import os
import shlex
import shutil
import signal
import sys


#: What train and demo write into their folders, the one to use first.
MODELS = ("best.safetensors", "model.safetensors", "last.safetensors")
#: What a command says of its argument MODEL.
MODEL_HELP = "a file such as demo-output/model.safetensors, a checkpoint, or the folder of a run of train or demo"


class CommandError(Exception):
    """What the user did wrong or what is missing, and what to do; ends the command."""


def number(kind, minimum, exclusive=False, maximum=math.inf):
    """An argparse type: a finite number of at least (or above) a minimum, up to a maximum."""

    def parse(text):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if math.isfinite(value) and value <= maximum and (value > minimum if exclusive else value >= minimum):
                return value
        what = "an integer" if kind is int else "a number"
        bound = f"{'above' if exclusive else 'of at least'} {minimum}" + f" and up to {maximum}" * (maximum < math.inf)
        raise argparse.ArgumentTypeError(f"expected {what} {bound}, got {text!r}")

    return parse


def add_command(commands, name, run, summary, description, examples):
    """A command that shows examples at the end of its help; returns what adds arguments to it."""
    shown = "".join(f"\n  %(prog)s {line}".rstrip() for line in examples)
    command = commands.add_parser(
        name, help=summary, description=description, epilog="examples:" + shown if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(command=run)
    return command


def add_threads(command):
    """The option ``--threads`` of a command."""
    command.add_argument("--threads", metavar="N", type=number(int, 1), help="threads to use (default: all CPUs)")


def use_threads(count):
    """Set the number of threads, if one was given."""
    from ..threads import set_num_threads

    if count is not None:
        set_num_threads(min(count, 1024))


def model_file(path):
    """The file of a model: the one given, or the best in a folder of train or demo."""
    if not os.path.isdir(path):
        return path
    for name in MODELS:
        if os.path.isfile(os.path.join(path, name)):
            return os.path.join(path, name)
    raise CommandError(f"{path}: this folder has no {', '.join(MODELS[:-1])} or {MODELS[-1]}; give a model's file.")


def load_model(path):
    """The language model of a file, or of a folder of train or demo."""
    from ..models import LanguageModel

    path = model_file(path)
    try:
        return LanguageModel.load(path)
    except ValueError as error:
        hint = "MODEL is a file that train or demo wrote, such as demo-output/model.safetensors"
        raise CommandError(f"{error}. {hint}.") from None


def read_text(path, tokens="chars"):
    """The text of a file, or of standard input for ``-``: a string with plain newlines; for byte models the bytes."""
    if path == "-":
        if sys.stdin is None:
            raise CommandError("standard input: it is closed; give a file.")
        data, path = sys.stdin.buffer.read(), "standard input"
    else:
        with open(path, "rb") as file:
            data = file.read()
    if not data:
        raise CommandError(f"{path}: it is empty; give a text.")
    if tokens == "bytes":
        return data
    try:
        text = data.decode("utf-8-sig")
        problem, at = "a NUL", data.find(b"\0")
    except UnicodeDecodeError as error:
        problem, at = f"byte 0x{data[error.start]:02x}, which is not UTF-8", error.start
    if at >= 0:
        raise CommandError(
            f"{path}: this is no text, or not in UTF-8: {problem}, at offset {at:,}. "
            "Convert it to UTF-8 (iconv -f LATIN1 -t UTF-8), or use a model of bytes (train --tokens bytes)."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def place(text, offset):
    """``line 3, column 14`` of a text."""
    return f"line {text.count(chr(10), 0, offset) + 1:,}, column {offset - text.rfind(chr(10), 0, offset):,}"


def known_only(vocabulary, text, where, remedy):
    """Refuse a text with a character or word that is not in the vocabulary: which, where, what to do."""
    found = vocabulary.find_unknown(text)
    if found is not None:
        token, offset = found
        known = vocabulary.characters if vocabulary.tokens == "chars" else " ".join(vocabulary.words[:20]) + " ..."
        unit = "character" if vocabulary.tokens == "chars" else "word"
        named = f" (U+{ord(token):04X})" if len(token) == 1 and not token.isascii() else ""
        raise CommandError(
            f"{where}: {token!r}{named} at {place(text, offset)} is not among the {len(vocabulary) - 1:,} {unit}s that this "
            f"model knows: {known!a:.200}. {remedy}"
        )


@contextlib.contextmanager
def stopping_on_interrupt(trainer):
    """The first Ctrl-C lets the trainer finish its step, the second one does not wait."""

    def stop(number, frame):
        if trainer.stopping:
            raise KeyboardInterrupt
        trainer.stopping = True

    former = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def installed(module):
    """Whether an optional package is there."""
    from importlib.util import find_spec

    return find_spec(module) is not None


def program_words(options):
    """What starts this program, in a form this shell can run."""
    program = shlex.split(options.program)
    python = os.path.dirname(shutil.which("python") or "")
    if program[0] == "python" and os.path.realpath(python) != os.path.realpath(os.path.dirname(sys.executable)):
        relative = os.path.relpath(sys.executable)
        program[0] = sys.executable if relative.startswith("..") else relative
    return program


def generate_command(options, path, prime=' --prime "def "'):
    """The command line that generates from a model."""
    return shlex.join([*program_words(options), "generate", path]) + f"{prime} --length 500 --temperature 0.8 --seed 1"
