"""The command line: ``fastrnn COMMAND`` or ``python -m fastrnn COMMAND``.

One function per command, which takes the parsed arguments; ``_parser`` lists them. Exit codes:
0 done, 2 a wrong command line or file, 130 stopped by Ctrl-C, 141 the reader of a pipe left.
Commands import what they need when they run; matplotlib and tqdm only if they are there.
"""

import argparse
import contextlib
import math
import os
import shlex
import shutil
import signal
import sys

EVALUATIONS = 16  # of the demo, evenly spread; each with a checkpoint
SAMPLES = (1, 3, 8)  # the evaluations after which the demo shows a sample; and the last one
HELD_OUT = 0.06  # part of the demo's characters in the files it never trains on
MEASURED = 131072  # held-out characters per evaluation
NOT_SOURCE_CODE = {
    "__pycache__", "dist-packages", "encodings", "ensurepip", "idle_test", "idlelib",
    "pydoc_data", "site-packages", "test", "tests", "turtledemo",
}  # fmt: skip


class CommandError(Exception):
    """What the user did wrong or what is missing, and what to do; ends the command."""


# -- arguments ------------------------------------------------------------------------------


def _number(kind, minimum, exclusive=False):
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


def _add_demo(commands):
    command = commands.add_parser(
        "demo",
        help="train a character model on Python's own source code, in about a minute",
        description="Trains a character language model (a 2-layer LSTM) on the source code of the Python standard "
        "library on this machine, shows samples as it improves, saves the model and draws the training curve. "
        "Ctrl-C stops it and keeps a checkpoint.",
    )
    add = command.add_argument
    positive, seconds = _number(int, 1), _number(float, 0, exclusive=True)
    add("--output", metavar="FOLDER", default="demo-output", help="where the results go (default: %(default)s)")
    add("--seconds", metavar="S", type=seconds, help="train for this time at most; it ends properly, only sooner")
    add("--characters", metavar="N", type=positive, default=4_000_000,
        help="characters to train on (default: %(default)s)")  # fmt: skip
    add("--corpus", metavar="FOLDER", help="learn from the .py files of this folder instead")
    add("--resume", action="store_true", help="go on with the run that was stopped, from its checkpoint")
    add("--seed", metavar="N", type=_number(int, 0), default=0, help="of weights and samples (default: %(default)s)")
    add("--threads", metavar="N", type=positive, help="threads to use (default: all CPUs)")
    add("--rnn-size", metavar="H", type=positive, default=128, help="hidden units per layer (default: %(default)s)")
    add("--batch-size", metavar="B", type=positive, default=16, help="texts read side by side (default: %(default)s)")
    add("--seq-length", metavar="T", type=positive, default=64, help="steps of truncated BPTT (default: %(default)s)")
    add("--learning-rate", metavar="R", type=seconds, default=5e-3, help="its peak (default: %(default)s)")
    command.set_defaults(command=demo)


def _add_generate(commands):
    command = commands.add_parser(
        "generate",
        help="write text with a trained model",
        description="Writes text with a trained language model, each character as soon as it is made.",
    )
    add = command.add_argument
    add("model", metavar="MODEL", help="a file such as demo-output/model.safetensors, or a checkpoint")
    add("--prime", metavar="TEXT", default="", help="what the text begins with (default: nothing)")
    add("--length", metavar="N", type=_number(int, 0), default=500, help="characters to write (default: %(default)s)")
    add("--temperature", metavar="X", type=_number(float, 0), default=0.8,
        help="below 1 likelier, above 1 more surprising, 0 always the likeliest (default: %(default)s)")  # fmt: skip
    add("--seed", metavar="N", type=_number(int, 0), help="the same seed gives the same text (default: a new one)")
    add("--threads", metavar="N", type=_number(int, 1), help="threads to use (default: all CPUs)")
    command.set_defaults(command=generate)


def _add_info(commands):
    command = commands.add_parser(
        "info",
        help="version, instruction sets, BLAS, threads",
        description="Prints what fastrnn was built with and runs on.",
    )
    command.set_defaults(command=info)


def _parser(program):
    parser = argparse.ArgumentParser(prog=program, description="fastrnn: recurrent neural networks on the CPU, fast.")
    parser.set_defaults(command=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add_command in (_add_demo, _add_generate, _add_info):
        add_command(commands)
    return parser


def main(arguments=None, program="fastrnn"):
    """Run one command.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    program : str
        What the user calls this program.

    Returns
    -------
    int
        The exit code.
    """
    try:
        options = _parser(program).parse_args(arguments)
        if options.command is None:
            options.parser.print_help()
        else:
            options.program = program
            options.command(options)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # and no second complaint when Python flushes stdout at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"{program}: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2


# -- info, generate -------------------------------------------------------------------------


def info(options):
    """Print what fastrnn was built with and runs on."""
    from .threads import show_config

    show_config()


def generate(options):
    """Write text with a model, character by character."""
    from .models import LanguageModel

    _use_threads(options.threads)
    try:
        model = LanguageModel.load(options.model)
    except ValueError as error:
        hint = "MODEL is a file that the demo wrote, such as demo-output/model.safetensors"
        raise CommandError(f"{error}. {hint}.") from None
    for character in model.vocabulary.unknown(options.prime):
        place = options.prime.index(character) + 1
        known = model.vocabulary.characters
        raise CommandError(
            f"--prime: {character!a}, its character {place}, is not among the {len(known)} characters that this model "
            f"knows: {known!a:.200}. Leave it out or replace it."
        )
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    text = model.generate(options.length, prime=options.prime, temperature=options.temperature, rng=options.seed)
    print(options.prime, end="", flush=True)
    try:
        for character in text:
            print(character, end="", flush=True)
    finally:
        with contextlib.suppress(BrokenPipeError):
            print(flush=True)


def _use_threads(count):
    from .threads import set_num_threads

    if count is not None:
        set_num_threads(min(count, 1024))


# -- demo -----------------------------------------------------------------------------------


def demo(options):
    """Train a character language model on the standard library and show what it learnt."""
    from .training import TrainingDiverged

    _use_threads(options.threads)
    os.makedirs(options.output, exist_ok=True)
    if not os.access(options.output, os.W_OK):
        raise CommandError(f"{options.output}: this folder cannot be written to; choose another with --output.")
    run = _Demo(options)
    if options.resume:
        run.resume()
    try:
        with _stopping_on_interrupt(run.trainer), run.progress:
            run.trainer.run()
            if run.trainer.stopping:
                run.trainer.save(run.checkpoint)
            elif run.evaluations < EVALUATIONS:  # the time was up between two steps
                run.measure()
    except TrainingDiverged as error:
        raise CommandError(f"{error}, such as --learning-rate {options.learning_rate / 4:g}") from None
    if run.trainer.stopping:
        raise KeyboardInterrupt(
            f"Stopped after {run.trainer.characters:,} characters; the checkpoint is kept.\n"
            f"  go on:     the same command with --resume\n"
            f"  generate:  {_generate_command(options, run.checkpoint)}"
        )
    run.finish()


@contextlib.contextmanager
def _stopping_on_interrupt(trainer):
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


class _Demo:
    """One run of the demo: corpus, model, trainer, and what is shown meanwhile."""

    def __init__(self, options):
        import numpy as np

        from .models import LanguageModel, Vocabulary
        from .optim import Adam
        from .training import TextStreams, Trainer, progress_display, warmup_cosine

        self.options = options
        self.checkpoint = os.path.join(options.output, "last.safetensors")
        vocabulary = Vocabulary.source_code()
        texts, self.held_out = self._corpus(vocabulary)
        self.model = LanguageModel(vocabulary, 48, options.rnn_size, 2, rng=options.seed)
        streams = TextStreams(texts, options.batch_size, options.seq_length)
        steps = max(1, round(options.characters / streams.characters))
        self.trainer = Trainer(
            self.model, Adam(self.model.modules), streams, steps=steps, max_norm=5.0, seconds=options.seconds,
            schedule=warmup_cosine(options.learning_rate), callbacks=[self],
        )  # fmt: skip
        chances = (np.bincount(texts, minlength=len(vocabulary)) + 1) / (texts.size + len(vocabulary))
        self.baseline = float(-np.log2(chances)[self.held_out].mean())
        self.progress = progress_display()
        self.evaluations = 0
        count = sum(array.size for array in self.model.parameters.values())
        print(f"Model:    LSTM of 2 layers with {options.rnn_size} units, {count:,} parameters")
        print(f"Training: on {steps * streams.characters:,} characters; truncated BPTT with {options.batch_size} texts "
              f"side by side,\n          {options.seq_length} characters of each per step; Adam")  # fmt: skip
        for extra, what in (("matplotlib", "the training curve will not be drawn"), ("tqdm", "no progress bar")):
            if not _installed(extra):
                print(f"Note:     {what}: {extra} is not installed (pip install 'fastrnn[demo]')")
        sys.stdout.flush()

    def _corpus(self, vocabulary):
        """Numbers of the characters to train on and of those held out."""
        import sysconfig

        from .models.language import read_files, split_files

        folder = self.options.corpus or sysconfig.get_path("stdlib")
        skip = () if self.options.corpus else NOT_SOURCE_CODE
        texts = read_files(folder, ".py", skip)
        if len(texts) < 2:
            what = f"has {len(texts)} .py files with text, not 2 or more"
            what = what if os.path.isdir(folder) else "does not exist"
            raise CommandError(f"{folder}: this folder {what}; choose another with --corpus.")
        train, held_out = split_files(texts, HELD_OUT, rng=0)
        codes = [vocabulary.encode("".join(texts[name] for name in names)) for names in (train, held_out)]
        needed = self.options.batch_size * (self.options.seq_length + 1)
        if codes[0].size < needed or codes[1].size < 2:
            raise CommandError(
                f"{folder}: its {len(train)} files to train on have {codes[0].size:,} characters, fewer than the "
                f"{needed:,} of one step; choose another --corpus, or a smaller --batch-size or --seq-length."
            )
        size = sum(c.size for c in codes) / 1e6
        print(f"Corpus:   {len(texts)} files, {size:.1f} million characters, from {folder}")
        print(f"Held out: {len(held_out)} whole files, {codes[1].size / 1e6:.2f} million characters, never trained on")
        return codes

    def resume(self):
        """Take over the checkpoint."""
        try:
            self.trainer.resume(self.checkpoint)
        except FileNotFoundError:
            raise CommandError(f"{self.checkpoint}: there is no checkpoint to resume; leave --resume out.") from None
        except ValueError as error:
            raise CommandError(f"{error}. Give the options of that run, or leave --resume out.") from None
        self.evaluations = int(self.trainer.progress * EVALUATIONS)
        print(f"Resumed:  after {self.trainer.characters:,} characters")

    def __call__(self, trainer):
        """After every step: a part of the run may be complete."""
        self.progress.at(trainer)
        if trainer.progress * EVALUATIONS >= self.evaluations + 1:
            self.measure()

    def measure(self):
        """Measure held-out text, now and then show a sample, write a checkpoint."""
        trainer = self.trainer
        self.evaluations = int(trainer.progress * EVALUATIONS + 1e-9)
        bits = self.model.bits_per_character(self.held_out, limit=MEASURED)
        trainer.history.append({
            "characters": trainer.characters, "seconds": trainer.elapsed,
            "train": trainer.bits, "held_out": bits, "learning_rate": trainer.optimizer.lr,
        })  # fmt: skip
        self.progress.evaluated(trainer, bits)
        if self.evaluations in (*SAMPLES, EVALUATIONS):
            self.progress.show(self._sample(bits))
        trainer.save(self.checkpoint)

    def _sample(self, bits):
        text = "def " + "".join(self.model.generate(300, prime="def ", temperature=0.7, rng=self.options.seed))
        lines = "\n".join(f"    | {line}" for line in text.splitlines())
        when = f"After {self.trainer.characters:,} characters, at {bits:.2f} bits per character"
        return f"\n{when}, it writes:\n{lines}\n"

    def finish(self):
        """The result, the files, and how to go on."""
        options, trainer = self.options, self.trainer
        bits = trainer.history[-1]["held_out"]
        path = os.path.join(options.output, "model.safetensors")
        self.model.save(path)
        rate = trainer.characters / max(trainer.elapsed, 1e-9)
        print(f"Trained:  {trainer.characters:,} characters in {trainer.elapsed:.0f} s, {rate:,.0f} per second, "
              "measuring and writing included")  # fmt: skip
        print(f"Held out: {bits:.3f} bits per character (frequencies of characters alone: {self.baseline:.2f})")
        print(f"Model:    {path} ({os.path.getsize(path) / 1e6:.1f} MB)")
        if _installed("matplotlib"):
            from .training import plot_history

            curve = os.path.join(options.output, "curve.png")
            title = f"LSTM 2 x {options.rnn_size}, {trainer.elapsed:.0f} s of training on Python source code"
            plot_history(trainer.history, curve, title=title, baseline=(self.baseline, "character frequencies alone"))
            print(f"Curve:    {curve}")
        print(f"More:     {_generate_command(options, path)}")


def _installed(module):
    from importlib.util import find_spec

    return find_spec(module) is not None


def _generate_command(options, path):
    """The command line that generates from a model, in a form this shell can run."""
    program = shlex.split(options.program)
    python = os.path.dirname(shutil.which("python") or "")
    if program[0] == "python" and os.path.realpath(python) != os.path.realpath(os.path.dirname(sys.executable)):
        relative = os.path.relpath(sys.executable)
        program[0] = sys.executable if relative.startswith("..") else relative
    return shlex.join([*program, "generate", path]) + ' --prime "def " --length 500 --temperature 0.8 --seed 1'
