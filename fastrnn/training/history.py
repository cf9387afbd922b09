"""What a run was like: numbers by name, as arrays, in a file, as a picture.

Imports numpy and ``files``; matplotlib when a picture is drawn.
"""

import io
import json
from array import array
from collections.abc import Mapping

import numpy as np

from ..files import write_atomically


class History(Mapping):
    """Columns of numbers: ``history["loss"]`` is an array of float64.

    A ``Trainer`` adds to ``loss``, ``learning_rate`` and ``gradient_norm`` at every step, and to ``step``, ``seen``,
    ``seconds``, ``train_loss`` (the mean since the row before) and ``valid_loss`` at every validation.

    Examples
    --------
    >>> from fastrnn.training import History
    >>> history = History()
    >>> history.add(loss=2.5, lr=0.1)
    >>> history.add(loss=1.5, lr=0.1)
    >>> history["loss"], list(history)
    (array([2.5, 1.5]), ['loss', 'lr'])
    """

    def __init__(self, columns=()):
        self._columns = {name: array("d", np.asarray(values, float).tobytes()) for name, values in dict(columns).items()}

    def add(self, **values):
        """Append a number to each of these columns."""
        for name, value in values.items():
            if name not in self._columns:
                self._columns[name] = array("d")
            self._columns[name].append(value)

    def __getitem__(self, name):
        return np.array(self._columns[name], float)

    def __iter__(self):
        return iter(self._columns)

    def __len__(self):
        return len(self._columns)

    def last(self, name, count=None):
        """The last numbers of a column, or all there are; an empty array where it has none."""
        column = self._columns.get(name, array("d"))
        return np.array(column if count is None else column[max(0, len(column) - count) :], float)

    def __repr__(self):
        return f"History({', '.join(f'{name}: {len(self._columns[name])}' for name in self)})"

    def write(self, path, most=2000, **more):
        """Write a JSON file: column -> list of numbers.

        Parameters
        ----------
        path : str or path-like
            A new file that replaces the old one when it is complete.
        most : int
            Columns that are longer are written as means of ``"steps_per_row"`` numbers each.
        **more
            Further JSON values.
        """
        longest = max(map(len, self._columns.values()), default=0)
        every = max(1, -(-longest // most))
        columns = {name: _thinned(self[name], every if len(self[name]) > most else 1) for name in self}
        values = {name: [float(f"{v:.7g}") if np.isfinite(v) else None for v in column] for name, column in columns.items()}
        text = json.dumps({**more, "steps_per_row": every, **values}, indent=None, separators=(", ", ": "))
        write_atomically(path, [text.replace('], "', '],\n "').encode() + b"\n"])


def _thinned(values, every):
    """Means of ``every`` numbers each, of what is left in the last."""
    if every == 1:
        return values
    starts = np.arange(0, len(values), every)
    return np.add.reduceat(values, starts) / np.diff(starts, append=len(values))


def plot_history(history, path, *, title="", label="loss", scale=1.0, unit="targets", baseline=None):
    """Draw training and validation loss over what was trained on, into a PNG file.

    Parameters
    ----------
    history : History
        Of a ``Trainer``.
    path : str or path-like
        A new file that replaces the old one when it is complete.
    title, label, unit : str
        What is drawn, of what, over what.
    scale : float
        Losses are multiplied by it, as by 1 / log(2) for bits.
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
    losses, steps, seen = history.last("loss"), history.last("step"), history.last("seen")
    # What a step is worth: sources of ragged data have steps of different sizes, here each counts as their mean.
    size = seen[-1] / steps[-1] if len(steps) and steps[-1] else 1.0
    factor, prefix = (1e-6, "million ") if size * max(len(losses), 1) > 5e5 else (1.0, "")
    every = max(1, -(-len(losses) // 200))
    x = np.minimum(np.arange(0, len(losses), every) + every / 2, len(losses))
    if baseline is not None:
        axes.axhline(baseline[0], color="0.6", linestyle="--", linewidth=1)
        axes.annotate(f"{baseline[1]}: {baseline[0]:.2f}", (1, baseline[0]), (-4, -4), color="0.4",
                      xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", va="top")  # fmt: skip
    axes.plot(x * size * factor, _thinned(losses, every) * scale, color="#9ecae1", label="training")
    if "valid_loss" in history:
        valid, at = history["valid_loss"] * scale, seen * factor
        valid, at = valid[np.isfinite(valid)], at[np.isfinite(valid)]
        axes.plot(at, valid, color="#08519c", marker="o", markersize=3, label="held out")
        if valid.size:
            axes.annotate(f"{valid[-1]:.2f}", (at[-1], valid[-1]), (0, 8), color="#08519c",
                          textcoords="offset points", ha="center", va="bottom")  # fmt: skip
    axes.set(xlabel=f"{prefix}{unit} trained on", ylabel=label, title=title)
    axes.set_xlim(left=0)
    axes.margins(y=0.12)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    write_atomically(path, [picture.getvalue()])
