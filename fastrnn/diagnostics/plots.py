"""Pictures of what the other modules return. matplotlib is imported when one is drawn.

Each function draws on the axes it is given, or on those of a new figure, and returns them:
``plot_gradient_norms(norms).figure.savefig("norms.png")``.
"""

import numpy as np

from .. import _validate


def plot_gradient_norms(norms, axes=None, *, label=None):
    """The norms of ``gradient_norms`` over time, on a logarithmic scale: h solid, other states dashed.

    Parameters
    ----------
    norms : dict of str to ndarray
        A state that is 0 throughout is left out; a 0 is a gap. ``[k]`` in the legend is the place on the L*D axis.
    axes : matplotlib.axes.Axes, optional
    label : str, optional
        Of this layer, in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        If ``norms`` is no such dict.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> x, dy = np.ones((2, 30, 1, 5))
    >>> norms = fr.diagnostics.gradient_norms(fr.LSTM(5, 5, rng=0), x, dy)
    >>> axes = fr.diagnostics.plot_gradient_norms(norms, label="LSTM")
    >>> len(axes.lines)
    2
    """
    norms = {name: np.atleast_2d(values) for name, values in _validate.results(norms, "norms").items()}
    norms = {name: rows for name, rows in norms.items() if rows.any()}
    axes, colors = _axes(axes), {}
    for name, rows in norms.items():
        for k, values in enumerate(rows):
            words = [label] * bool(label) + [name] * (len(norms) > 1) + [f"[{k}]"] * (len(rows) > 1)
            (line,) = axes.plot(_positive(values), color=colors.get(k), linestyle="-" if name == "h" else "--",
                                label=" ".join(words) or None)  # fmt: skip
            colors[k] = line.get_color()
    axes.set(yscale="log", xlabel="step t", ylabel="norm of the gradient with respect to the state")
    return _finished(axes)


def plot_singular_values(values, axes=None, *, label=None):
    """Singular values of ``jacobian_singular_values`` on a logarithmic scale, around the line of 1.

    Parameters
    ----------
    values : ndarray or dict of int to ndarray
        ``(..., H)``: each set of values from the largest to the smallest. A dict t -> values: the largest (solid), the
        median (dashed) and the smallest (dotted) of all that there are at each t.
    axes, label
        As for ``plot_gradient_norms``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> layer, x = fr.RNN(5, 8, rng=0), np.ones((30, 5))
    >>> over_time = {t: fr.diagnostics.jacobian_singular_values(layer, x, t) for t in range(0, 30, 10)}
    >>> axes = fr.diagnostics.plot_singular_values(over_time, label="RNN")
    """
    axes = _axes(axes)
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    if hasattr(values, "items"):
        sets = [np.ravel(v) for v in values.values()]
        (line,) = axes.plot(list(values), _positive([v.max() for v in sets]), label=label)
        for style, of in (("--", np.median), (":", np.min)):
            axes.plot(list(values), _positive([of(v) for v in sets]), color=line.get_color(), linestyle=style)
        axes.set(xlabel="t")
    else:
        values, color = np.asarray(values), None
        for row in values.reshape(-1, values.shape[-1]):
            (line,) = axes.plot(np.arange(1, len(row) + 1), _positive(row), color=color, label=label)
            color, label = line.get_color(), None
        axes.set(xlabel="number, from the largest")
    axes.set(yscale="log", ylabel="singular values of $\\partial h_T / \\partial h_t$")
    return _finished(axes)


def plot_saturation(saturation, axes=None, *, label=None):
    """The fractions of ``gate_saturation`` as bars: how often each gate is closed, in between, open.

    Parameters
    ----------
    saturation : dict of str to ndarray
    axes, label
        As for ``plot_gradient_norms``; the label stands before each gate's letter.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        If ``saturation`` is no such dict.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> saturation = fr.diagnostics.gate_saturation(fr.GRU(5, 8, rng=0), np.ones((30, 5)))
    >>> axes = fr.diagnostics.plot_saturation(saturation)
    >>> [text.get_text() for text in axes.get_yticklabels()]
    ['r', 'z', 'n']
    """
    bars = []
    for letter, (closed, opened) in _validate.results(saturation, "saturation").items():
        rows = list(zip(np.atleast_1d(closed), np.atleast_1d(opened)))
        name = " ".join([label] * bool(label) + [letter])
        bars += [(name + f" [{k}]" * (len(rows) > 1), *row) for k, row in enumerate(rows)]
    axes = _axes(axes)
    names, closed, opened = (list(column) for column in zip(*bars)) if bars else ([], [], [])
    between = [1 - a - b for a, b in zip(closed, opened)]
    first = not axes.patches  # a legend entry once, also when several layers share the axes
    for left, width, color, what in (
        ([0.0] * len(bars), closed, "#b2182b", "closed"),
        (closed, between, "0.88", "in between"),
        ([1 - b for b in opened], opened, "#2166ac", "open"),
    ):
        axes.barh(names, width, left=left, color=color, label=what if first else None)
    axes.set(xlim=(0, 1), xlabel="fraction of steps and units")
    axes.yaxis.set_inverted(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return axes


def _axes(axes):
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(layout="constrained").add_subplot()
    return axes


def _positive(values):
    """As they are, with gaps where a logarithm has no place for them."""
    values = np.asarray(values, np.float64)
    return np.where(values > 0, values, np.nan)


def _finished(axes):
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False)
    return axes
