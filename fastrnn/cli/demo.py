"""``fastrnn demo``: a character model of Python's own source code, in about a minute."""

import math
import os
import sys

from .common import (
    CommandError,
    add_command,
    add_threads,
    generate_command,
    installed,
    number,
    stopping_on_interrupt,
    use_threads,
)

EVALUATIONS = 16  # of the demo, evenly spread; each with a checkpoint
SAMPLES = (1, 3, 8)  # the evaluations after which the demo shows a sample; and the last one
HELD_OUT = 0.06  # part of the demo's characters in the files it never trains on
BITS = 1 / math.log(2)  # a loss, in nats, times this is bits per character
MEASURED = 131072  # held-out characters per evaluation
NOT_SOURCE_CODE = {
    "__pycache__", "dist-packages", "encodings", "ensurepip", "idle_test", "idlelib",
    "pydoc_data", "site-packages", "test", "tests", "turtledemo",
}  # fmt: skip
EXAMPLES = (
    "",
    "--seconds 20 --output quick",
    "--corpus ~/my/project --output mine",
    "--resume",
)


def add(commands):
    """Describe the command and its arguments."""
    command = add_command(
        commands, "demo", run, "train a character model on Python's own source code, in about a minute",
        "Trains a character language model (a 2-layer LSTM) on the source code of the Python standard library on\n"
        "this machine, shows samples as it improves, saves the model and draws the training curve. Ctrl-C stops it\n"
        "and keeps a checkpoint.", EXAMPLES,
    )  # fmt: skip
    add = command.add_argument
    positive, seconds = number(int, 1), number(float, 0, exclusive=True)
    add("--output", metavar="FOLDER", default="demo-output", help="where the results go (default: %(default)s)")
    add("--seconds", metavar="S", type=seconds, help="train for this time at most; it ends properly, only sooner")
    add("--characters", metavar="N", type=positive, default=4_000_000,
        help="characters to train on (default: %(default)s)")  # fmt: skip
    add("--corpus", metavar="FOLDER", help="learn from the .py files of this folder instead")
    add("--resume", action="store_true", help="go on with the run that was stopped, from its checkpoint")
    add("--seed", metavar="N", type=number(int, 0), default=0, help="of weights and samples (default: %(default)s)")
    add_threads(command)
    add("--rnn-size", metavar="H", type=positive, default=128, help="hidden units per layer (default: %(default)s)")
    add("--batch-size", metavar="B", type=positive, default=16, help="texts read side by side (default: %(default)s)")
    add("--seq-length", metavar="T", type=positive, default=64, help="steps of truncated BPTT (default: %(default)s)")
    add("--learning-rate", metavar="R", type=seconds, default=5e-3, help="its peak (default: %(default)s)")


def run(options):
    """Train a character language model on the standard library and show what it learnt."""
    from ..training import TrainingDiverged

    use_threads(options.threads)
    os.makedirs(options.output, exist_ok=True)
    if not os.access(options.output, os.W_OK):
        raise CommandError(f"{options.output}: this folder cannot be written to; choose another with --output.")
    demo = _Demo(options)
    if options.resume:
        demo.resume()
    try:
        with stopping_on_interrupt(demo.trainer):
            demo.trainer.run()
            if demo.trainer.stopping:
                demo.trainer.save(demo.checkpoint)
            elif demo.evaluations < EVALUATIONS:  # the time was up between two steps
                demo.measured()
    except TrainingDiverged as error:
        raise CommandError(f"{error}, such as --learning-rate {options.learning_rate / 4:g}") from None
    if demo.trainer.stopping:
        raise KeyboardInterrupt(
            f"Stopped after {demo.trainer.seen:,} characters; the checkpoint is kept.\n"
            f"  go on:     the same command with --resume\n"
            f"  generate:  {generate_command(options, demo.checkpoint)}"
        )
    demo.finish()


class _Demo:
    """One run of the demo: corpus, model, trainer, and what is shown meanwhile."""

    def __init__(self, options):
        import numpy as np

        from ..models import LanguageModel, Vocabulary
        from ..optim import Adam
        from ..training import TextStreams, Trainer, progress_display, warmup_cosine

        self.options = options
        self.checkpoint = os.path.join(options.output, "last.safetensors")
        vocabulary = Vocabulary.source_code()
        texts, self.held_out = self._corpus(vocabulary)
        self.model = LanguageModel(vocabulary, 48, options.rnn_size, 2, rng=options.seed)
        streams = TextStreams(texts, options.batch_size, options.seq_length)
        characters = options.batch_size * options.seq_length
        steps = max(1, round(options.characters / characters))
        self.progress = progress_display(measure="bits/char", scale=BITS)
        self.trainer = Trainer(
            self.model, Adam(self.model.modules), streams, steps=steps, max_norm=5.0, seconds=options.seconds,
            schedule=warmup_cosine(options.learning_rate), valid=self._nats, validate_every=0, callbacks=[self],
            progress=self.progress,
        )  # fmt: skip
        chances = (np.bincount(texts, minlength=len(vocabulary)) + 1) / (texts.size + len(vocabulary))
        self.baseline = float(-np.log2(chances)[self.held_out].mean())
        self.evaluations = 0
        count = sum(array.size for array in self.model.parameters.values())
        print(f"Model:    LSTM of 2 layers with {options.rnn_size} units, {count:,} parameters")
        print(f"Training: on {steps * characters:,} characters; truncated BPTT with {options.batch_size} texts "
              f"side by side,\n          {options.seq_length} characters of each per step; Adam")  # fmt: skip
        for extra, what in (("matplotlib", "the training curve will not be drawn"), ("tqdm", "no progress bar")):
            if not installed(extra):
                print(f"Note:     {what}: {extra} is not installed (pip install 'fastrnn[demo]')")
        sys.stdout.flush()

    def _corpus(self, vocabulary):
        """Numbers of the characters to train on and of those held out."""
        import sysconfig

        from ..models.texts import read_files, split_files

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
        print(f"Resumed:  after {self.trainer.seen:,} characters")

    def _nats(self, model):
        """The loss on held-out text, as the trainer has it."""
        return model.bits_per_character(self.held_out, limit=MEASURED) / BITS

    def __call__(self, trainer):
        """After every step: a part of the run may be complete."""
        if trainer.progress * EVALUATIONS >= self.evaluations + 1:
            if not trainer.validated:
                trainer.validate()
            self.measured()

    def measured(self):
        """Held-out text was measured: now and then show a sample, write a checkpoint."""
        self.evaluations = int(self.trainer.progress * EVALUATIONS + 1e-9)
        if self.evaluations in (*SAMPLES, EVALUATIONS):
            self.progress.show(self._sample(self.trainer.valid_loss * BITS))
        self.trainer.save(self.checkpoint)

    def _sample(self, bits):
        text = "def " + "".join(self.model.generate(300, prime="def ", temperature=0.7, rng=self.options.seed))
        lines = "\n".join(f"    | {line}" for line in text.splitlines())
        when = f"After {self.trainer.seen:,} characters, at {bits:.2f} bits per character"
        return f"\n{when}, it writes:\n{lines}\n"

    def finish(self):
        """The result, the files, and how to go on."""
        options, trainer = self.options, self.trainer
        bits = trainer.valid_loss * BITS
        path = os.path.join(options.output, "model.safetensors")
        self.model.save(path)
        rate = trainer.seen / max(trainer.elapsed, 1e-9)
        print(f"Trained:  {trainer.seen:,} characters in {trainer.elapsed:.0f} s, {rate:,.0f} per second, "
              "measuring and writing included")  # fmt: skip
        print(f"Held out: {bits:.3f} bits per character (frequencies of characters alone: {self.baseline:.2f})")
        print(f"Model:    {path} ({os.path.getsize(path) / 1e6:.1f} MB)")
        if installed("matplotlib"):
            from ..training import plot_history

            curve = os.path.join(options.output, "curve.png")
            title = f"LSTM 2 x {options.rnn_size}, {trainer.elapsed:.0f} s of training on Python source code"
            baseline = (self.baseline, "character frequencies alone")
            plot_history(trainer.history, curve, title=title, label="bits per character", scale=BITS, unit="characters",
                         baseline=baseline)  # fmt: skip
            print(f"Curve:    {curve}")
        print(f"More:     {generate_command(options, path)}")
