"""Training on a stream of text: truncated backpropagation through time with carried state.

    TextStreams      one long text cut into rows that are read side by side
    warmup_cosine    a schedule of learning rates
    Trainer          the loop; checkpoints that it can go on from exactly; callbacks
    plot_history     the curve of a run as an image     progress_display   a bar or lines

Imports numpy, the public losses and optimisers, and ``_validate``; matplotlib and tqdm only when
something is to be shown. Not imported by ``import fastrnn``.
"""

import json
import math
import shutil
import sys
import time
import zlib
from importlib.util import find_spec

import numpy as np

from . import _validate
from .losses import cross_entropy
from .models.language import TRAINING, LanguageModel
from .optim import clip_grad_norm


class TrainingDiverged(ArithmeticError):
    """The loss is no finite number any more."""


class TextStreams:
    """One text as ``batch_size`` rows that are read side by side, ``seq_length`` at a time.

    Row ``b`` begins at ``b / batch_size`` of the text, so that the state after one window is
    the state before the next. When the rows are used up, an epoch ends and they begin again.

    Parameters
    ----------
    codes : ndarray of int
        ``(N,)``, with ``N > batch_size * seq_length``.
    batch_size, seq_length : int
        ``B`` and ``T``.

    Attributes
    ----------
    windows : int
        Windows per epoch.
    characters : int
        Characters per window.
    checksum : int
        Of the text, to recognise it by.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import TextStreams
    >>> streams = TextStreams(np.arange(10), batch_size=2, seq_length=2)
    >>> x, y, first = streams.window(1)
    >>> x.tolist(), y.tolist(), first
    ([[2, 7], [3, 8]], [[3, 8], [4, 9]], False)
    """

    def __init__(self, codes, batch_size, seq_length):
        self.batch_size = _validate.positive_int(batch_size, "batch_size")
        self.seq_length = _validate.positive_int(seq_length, "seq_length")
        codes = np.asarray(codes)
        self.characters = self.batch_size * self.seq_length
        _validate.text_length(codes.size, self.characters + self.batch_size)
        length = codes.size // self.batch_size
        rows = codes[: length * self.batch_size].reshape(self.batch_size, length)
        self._rows = np.ascontiguousarray(rows.T)
        self.checksum = zlib.crc32(self._rows.astype("<i4"))
        self.windows = (length - 1) // self.seq_length

    def window(self, step):
        """Inputs and targets ``(T, B)`` of a step, and whether an epoch begins with it."""
        start = step % self.windows * self.seq_length
        end = start + self.seq_length
        return self._rows[start:end], self._rows[start + 1 : end + 1], start == 0

    def identity(self):
        """Batch size, sequence length and checksum: what makes windows the same."""
        return [self.batch_size, self.seq_length, self.checksum]


def warmup_cosine(peak, warmup=0.03):
    """Learning rates that rise linearly to ``peak`` and fall along a cosine to 0.

    Parameters
    ----------
    peak : float
    warmup : float
        The part of the run in which they rise, in [0, 1].

    Returns
    -------
    callable
        Progress in [0, 1] -> learning rate.

    Examples
    --------
    >>> from fastrnn.training import warmup_cosine
    >>> rate = warmup_cosine(1.0, warmup=0.5)
    >>> rate(0.25), rate(0.5), rate(1.0)
    (0.5, 1.0, 0.0)
    """
    peak = _validate.real(peak, "peak", minimum=0)
    warmup = _validate.probability(warmup, "warmup")

    def rate(progress):
        if progress < warmup:
            return peak * progress / warmup
        if warmup == 1:
            return peak
        return peak * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2

    return rate


class Trainer:
    """Trains a ``LanguageModel`` by truncated BPTT: each step goes on from the last state.

    Parameters
    ----------
    model : LanguageModel
    optimizer : Optimizer
        Over ``model.modules``.
    streams : TextStreams
    steps : int
        How many windows to train on.
    schedule : callable, optional
        Progress in [0, 1] -> learning rate.
    max_norm : float, optional
        Gradients are scaled down to this norm.
    seconds : float, optional
        Stop after this time at the latest; progress then follows the clock if that is ahead
        of the steps, so the schedule is run through either way.
    callbacks : iterable of callable
        Called with the trainer after every step.

    Attributes
    ----------
    step : int
        Steps taken.
    elapsed : float
        Seconds spent in ``run``, over all resumed runs.
    bits : float
        Training loss in bits per character, averaged over about the last 50 steps.
    history : list of dict
        For callbacks to append JSON values to; kept in checkpoints.
    stopping : bool
        Set it (in a callback, a signal handler, another thread) and ``run`` returns after the
        step it is at.
    """

    def __init__(self, model, optimizer, streams, *, steps, schedule=None, max_norm=None,
                 seconds=None, callbacks=()):  # fmt: skip
        self.model, self.optimizer, self.streams = model, optimizer, streams
        self.steps = _validate.integer(steps, "steps", minimum=0)
        self.schedule = schedule
        self.max_norm = _validate.optional_positive(max_norm, "max_norm")
        self.seconds = _validate.optional_positive(seconds, "seconds")
        self.callbacks = list(callbacks)
        self.step, self.elapsed, self.bits = 0, 0.0, None
        self.state, self.history = None, []
        self.stopping = False

    @property
    def progress(self):
        """The part of the run that is done, in [0, 1]."""
        done = self.step / self.steps if self.steps else 1.0
        return min(1.0, max(done, self.elapsed / self.seconds if self.seconds else 0.0))

    @property
    def characters(self):
        """Characters trained on."""
        return self.step * self.streams.characters

    def run(self):
        """Train until the steps or the seconds are used up, or a callback asks to stop.

        Raises
        ------
        TrainingDiverged
            If the loss is NaN or infinite; the step's gradients have not been applied.
        """
        last = time.monotonic()
        while self.progress < 1 and not self.stopping:
            self._train_step()
            for callback in self.callbacks:
                now = time.monotonic()
                self.elapsed, last = self.elapsed + now - last, now
                callback(self)
            now = time.monotonic()
            self.elapsed, last = self.elapsed + now - last, now

    def _train_step(self):
        x, y, first = self.streams.window(self.step)
        if self.schedule is not None:
            # Of the middle of the step, so that neither the first nor the last has rate 0.
            self.optimizer.lr = self.schedule(min(1.0, self.progress + 0.5 / self.steps))
        logits, state, pullback = self.model.vjp(x, None if first else self.state)
        loss, gradient = cross_entropy(logits, y)
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss became {loss} at step {self.step + 1}: try a smaller learning rate"
            )
        self.optimizer.zero_grad()
        pullback(gradient)
        if self.max_norm is not None:
            clip_grad_norm(self.model.modules, self.max_norm)
        self.optimizer.step()
        self.state, self.step = state, self.step + 1
        bits = float(loss) / math.log(2)
        weight = max(0.02, 1 / self.step)
        self.bits = bits if self.bits is None else (1 - weight) * self.bits + weight * bits

    # -- checkpoints --------------------------------------------------------------------------

    def save(self, path):
        """Write a checkpoint: a file ``LanguageModel.load`` reads and ``resume`` goes on from.

        It is a new file that replaces the old one when it is complete.
        """
        optimizer = self.optimizer.state_dict()
        tensors = {f"{TRAINING}optimizer.{k}": a for k, a in optimizer.pop("buffers").items()}
        if self.state is not None:
            tensors |= {f"{TRAINING}state.{i}": a for i, a in enumerate(self.state)}
        run = {
            "step": self.step,
            "elapsed": self.elapsed,
            "bits": self.bits,
            "history": self.history,
            "streams": self.streams.identity(),
            "optimizer": optimizer,
            "rng": self.model.layer.rng.bit_generator.state,
        }
        self.model.save(path, tensors, {"training": json.dumps(run, default=_plain)})

    def resume(self, path):
        """Take over a checkpoint of a run with the same model sizes and streams.

        The run then ends with the same bits as one that was never interrupted.

        Raises
        ------
        ValueError
            If the file is no checkpoint, or of another run; names the file and what is wrong.
        OSError
            If it cannot be read.
        """
        model, tensors, metadata = LanguageModel.read(path)
        if "training" not in metadata:
            _validate.refuse_file(path, "it holds a model only, no training run to go on with")
        try:
            self._restore(model, tensors, json.loads(metadata["training"]))
            return
        except (KeyError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        _validate.refuse_file(path, f"it does not fit this run: {problem}")

    def _restore(self, model, tensors, run):
        _validate.same(run["streams"], self.streams.identity(), "batch, sequence length, checksum of the text")
        _validate.same(model.vocabulary.characters, self.model.vocabulary.characters, "vocabulary")
        _validate.same(model._config(), self.model._config(), "sizes")
        prefix = f"{TRAINING}optimizer."
        buffers = {k.removeprefix(prefix): a for k, a in tensors.items() if k.startswith(prefix)}
        state = run["optimizer"]
        betas = state["hyperparameters"].get("betas")  # JSON made a list of the tuple
        state["hyperparameters"] |= {"betas": tuple(betas)} if betas else {}
        self.optimizer.load_state_dict({**state, "buffers": buffers})
        for mine, theirs in zip(self.model.modules, model.modules):
            mine.load_state_dict(theirs.state_dict())
        states = [tensors[k] for k in sorted(tensors) if k.startswith(f"{TRAINING}state.")]
        self.state = tuple(states) or None
        self.model.layer.rng.bit_generator.state = run["rng"]
        self.step, self.elapsed, self.bits = run["step"], run["elapsed"], run["bits"]
        self.history = run["history"]


def _plain(value):
    """NumPy scalars and arrays as JSON values (states of some bit generators hold arrays)."""
    return value.tolist()


def plot_history(history, path, *, title="", baseline=None):
    """Draw bits per character over characters into a PNG file.

    Parameters
    ----------
    history : list of dict
        With ``"characters"``, ``"train"`` and ``"held_out"``.
    path : str or path-like
    title : str
    baseline : tuple of (float, str), optional
        A value to compare with and what it is.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    millions = [entry["characters"] / 1e6 for entry in history]
    held_out = [entry["held_out"] for entry in history]
    if baseline is not None:
        axes.axhline(baseline[0], color="0.6", linestyle="--", linewidth=1)
        axes.annotate(f"{baseline[1]}: {baseline[0]:.2f}", (1, baseline[0]), (-4, -4), color="0.4",
                      xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", va="top")  # fmt: skip
    axes.plot(millions, [entry["train"] for entry in history], color="#9ecae1", label="training text (running mean)")
    axes.plot(millions, held_out, color="#08519c", marker="o", markersize=3, label="held-out files")
    if held_out:
        axes.annotate(f"{held_out[-1]:.2f}", (millions[-1], held_out[-1]), (0, 8), color="#08519c",
                      textcoords="offset points", ha="center", va="bottom")  # fmt: skip
    axes.set(xlabel="million characters trained on", ylabel="bits per character", title=title)
    axes.set_xlim(left=0)
    axes.margins(y=0.12)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


# -- progress -------------------------------------------------------------------------------


def progress_display():
    """An object that shows how a run goes on: a bar on a terminal that has tqdm, else lines."""
    return _Bar() if sys.stderr.isatty() and find_spec("tqdm") else _Lines()


def _time_left(trainer):
    seconds = trainer.elapsed * (1 / trainer.progress - 1) if trainer.progress else 0
    return f"{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d} left"


def _speed(trainer):
    return f"{trainer.characters / max(trainer.elapsed, 1e-9):,.0f} chars/s"


class _Lines:
    """Progress as lines, for files, pipes and logs."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def at(self, trainer):
        """A step was taken."""

    def evaluated(self, trainer, bits):
        """The held-out text was measured."""
        print(f"{trainer.progress:5.0%}  {trainer.characters:>10,} characters  {bits:.3f} bits/char held out  "
              f"{_speed(trainer)}  {_time_left(trainer)}", file=sys.stderr, flush=True)  # fmt: skip

    def show(self, text):
        """Something for stdout."""
        print(text, flush=True)


class _Bar(_Lines):
    """Progress as a bar of tqdm's."""

    def __init__(self):
        self._bits, self._drawn = "", 0.0

    def __enter__(self):
        from tqdm import tqdm

        shape = "{percentage:3.0f}% {bar:16} {desc}"
        # Sizes are given, because tqdm shows nothing on a terminal that says it has none.
        self._bar = tqdm(total=1.0, bar_format=shape, file=sys.stderr, ncols=79, nrows=24)
        return self

    def __exit__(self, *exception):
        self._bar.close()

    def at(self, trainer):
        if time.monotonic() - self._drawn > 0.1 or trainer.progress == 1:
            self._drawn = time.monotonic()
            self._bar.n = trainer.progress
            self._bar.ncols = shutil.get_terminal_size().columns - 1  # 80 where it is unknown
            self._bar.set_description_str(f"{self._bits}{_speed(trainer)}, {_time_left(trainer)}")

    def evaluated(self, trainer, bits):
        self._bits, self._drawn = f"{bits:.3f} bits/char held out, ", 0.0
        self.at(trainer)

    def show(self, text):
        self._bar.write(text, file=sys.stdout)
        sys.stdout.flush()
