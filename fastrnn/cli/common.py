"""What commands share: their error, types of arguments, the option for threads, Ctrl-C.

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


class CommandError(Exception):
    """What the user did wrong or what is missing, and what to do; ends the command."""


def number(kind, minimum, exclusive=False):
    """An argparse type: a finite number of at least (or above) a minimum."""

    def parse(text):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if math.isfinite(value) and (value > minimum if exclusive else value >= minimum):
                return value
        what = "an integer" if kind is int else "a number"
        bound = "above" if exclusive else "of at least"
        raise argparse.ArgumentTypeError(f"expected {what} {bound} {minimum}, got {text!r}")

    return parse


def add_threads(command):
    """The option ``--threads`` of a command."""
    command.add_argument("--threads", metavar="N", type=number(int, 1), help="threads to use (default: all CPUs)")


def use_threads(count):
    """Set the number of threads, if one was given."""
    from ..threads import set_num_threads

    if count is not None:
        set_num_threads(min(count, 1024))


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


def generate_command(options, path):
    """The command line that generates from a model, in a form this shell can run."""
    program = shlex.split(options.program)
    python = os.path.dirname(shutil.which("python") or "")
    if program[0] == "python" and os.path.realpath(python) != os.path.realpath(os.path.dirname(sys.executable)):
        relative = os.path.relpath(sys.executable)
        program[0] = sys.executable if relative.startswith("..") else relative
    return shlex.join([*program, "generate", path]) + ' --prime "def " --length 500 --temperature 0.8 --seed 1'
