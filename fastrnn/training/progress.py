"""How a run goes on, shown while it does: a bar of tqdm's on a terminal, lines elsewhere.

Imports the standard library; tqdm when there is a bar.
"""

import shutil
import sys
import time
from importlib.util import find_spec

QUIET = 30  # seconds after which a line is written even if nothing was measured


def progress_display(*, measure="", scale=1.0, unit=None):
    """An object that shows how a run goes on: a bar on a terminal that has tqdm, else lines.

    Parameters
    ----------
    measure : str
        What a loss is called behind its number, such as ``"bits/char"``.
    scale : float
        Losses are multiplied by it.
    unit : str, optional
        What is counted; by default the ``unit`` of the data.
    """
    return (_Bar if _bar_possible() else _Lines)(measure, scale, unit)


def display_for(progress):
    """What a ``Trainer`` shows: for its argument ``progress``."""
    if progress is None or progress is False:
        return _Bar() if progress is None and _bar_possible() else _Nothing()
    return progress_display() if progress is True else progress


def _bar_possible():
    return sys.stderr is not None and sys.stderr.isatty() and find_spec("tqdm") is not None


def _clock(seconds):
    """``1:02:03``, ``2:03``."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _time_left(trainer):
    return f"{_clock(trainer.elapsed * (1 / trainer.progress - 1) if trainer.progress else 0)} left"


class _Nothing:
    """Shows nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def at(self, trainer):
        """A step was taken."""

    def evaluated(self, trainer, loss):
        """The held-out data were measured."""


class _Lines(_Nothing):
    """Progress as lines, for files, pipes and logs."""

    def __init__(self, measure="", scale=1.0, unit=None):
        self._measure, self._scale, self._unit = f" {measure}" if measure else "", scale, unit
        self._written = time.monotonic()

    def _loss(self, loss):
        return f"{loss * self._scale:.3f}{self._measure}"

    def _unit_of(self, trainer):
        return self._unit or getattr(trainer.data, "unit", "targets")

    def _speed(self, trainer):
        return f"{trainer.seen / max(trainer.elapsed, 1e-9):,.0f} {_short(self._unit_of(trainer))}/s"

    def at(self, trainer):
        if time.monotonic() - self._written > QUIET:
            self._line(trainer, "")

    def evaluated(self, trainer, loss):
        self._line(trainer, f"  {self._loss(loss)} held out" if trainer.valid is not None else "")

    def _line(self, trainer, held_out):
        self._written = time.monotonic()
        parts = [f"{trainer.progress:4.0%}  {trainer.seen:>11,} {self._unit_of(trainer)}  {self._loss(trainer.loss)}{held_out}"]
        print("  ".join([*parts, self._speed(trainer), _time_left(trainer)]), file=sys.stderr, flush=True)

    def show(self, text):
        """Something for stdout."""
        print(text, flush=True)


class _Bar(_Lines):
    """Progress as a bar of tqdm's."""

    _held_out, _drawn = "", 0.0

    def __enter__(self):
        from tqdm import tqdm

        shape = "{percentage:3.0f}% {bar:12} {desc}"
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
            loss = self._held_out or self._loss(trainer.loss)
            self._bar.set_description_str(f"{loss}, {self._speed(trainer)}, {_time_left(trainer)}")

    def evaluated(self, trainer, loss):
        if trainer.valid is not None:
            self._held_out = f"{self._loss(loss)} held out"
        self._drawn = 0.0
        self.at(trainer)

    def show(self, text):
        self._bar.write(text, file=sys.stdout)
        sys.stdout.flush()


def _short(unit):
    return {"characters": "chars"}.get(unit, unit)
