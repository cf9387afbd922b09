"""Weights and inputs of a case, the same for every contender; and whether their outputs agree."""

from typing import NamedTuple

import numpy as np

from .cells import CELLS, PLAIN

#: Largest difference from fastrnn's entries, relative to the largest of them. Sums of thousands of
#: terms in another order differ by some 1e-6 in float32.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


class Disagreement(Exception):
    """fastrnn computes something that no other contender does."""


class Problem(NamedTuple):
    """What a contender is given. Arrays are C-contiguous and of the case's dtype."""

    case: object
    weights: dict  # torch's names, shapes and scale; empty for cells that fastrnn alone has: then its own
    x: np.ndarray  # (T, B, I)
    state: tuple | None  # h, and c of an LSTM, each (L*D, B, H); None: zeros
    dy: np.ndarray | None  # like y, its gradient
    lengths: np.ndarray | None  # (B,) int64

    @classmethod
    def of(cls, case):
        """The problem of a case."""
        rng = np.random.default_rng(0)
        bound = case.hidden**-0.5
        weights = {
            name: rng.uniform(-bound, bound, shape).astype(case.dtype)
            for name, shape in weight_shapes(case).items()
        }
        steps, batch = case.steps, case.batch
        x = rng.standard_normal((steps, batch, case.input), dtype=case.dtype)
        dy = state = None
        if case.what == "train":
            dy = rng.standard_normal((steps, batch, case.directions * case.output), dtype=case.dtype)
        if case.what in ("step", "stream"):
            shape = 1 + (CELLS[case.cell].layer == "LSTM"), case.layers * case.directions, batch, case.hidden
            state = tuple(rng.uniform(-1, 1, shape).astype(case.dtype))
        lengths = np.array(case.lengths) if case.lengths else None
        return cls(case, weights, x, state, dy, lengths)


def suffixes(case):
    """What torch appends to the names of each layer and direction, in its order."""
    ways = ("", "_reverse")[: case.directions]
    return [f"l{layer}{way}" for layer in range(case.layers) for way in ways]


def weight_shapes(case):
    """Shapes by torch's names, with those of peepholes; none of cells and options that other libraries lack."""
    cell, shapes = CELLS[case.cell], {}
    if cell.layer not in PLAIN or cell.normed:
        return shapes
    rows = cell.inner * case.hidden
    for suffix, size in zip(suffixes(case), case.inputs, strict=True):
        shapes[f"weight_ih_{suffix}"] = rows, size
        shapes[f"weight_hh_{suffix}"] = rows, case.output
        shapes[f"bias_ih_{suffix}"] = shapes[f"bias_hh_{suffix}"] = (rows,)
        if cell.projected:
            shapes[f"weight_hr_{suffix}"] = case.output, case.hidden
        shapes |= {f"weight_c{gate}_{suffix}": (case.hidden,) for gate in peepholes(case)}
    return shapes


def peepholes(case):
    """The gates that see the cell state: i, f, o, or f, o where i is coupled to f."""
    options = CELLS[case.cell].options
    return "ifo"[options.get("coupled", False) :] if options.get("peephole") else ""


def difference(ours, theirs, tolerance):
    """What two dicts of arrays do not agree in, as a sentence; None if they agree.

    Only ``theirs`` may lack final states: such a contender does not count.
    """
    for name, a in ours.items():
        b = theirs.get(name)
        if b is None and name in ("h", "c"):
            continue
        if b is None:
            return f"{name} is missing"
        if a.shape != b.shape:
            return f"{name} has shape {b.shape}, fastrnn's has {a.shape}"
        off = np.abs(a - b).max(initial=0) / max(np.abs(a).max(initial=0), 1e-30)
        if not off <= tolerance:
            return f"{name} differs from fastrnn's by {off:.2g} of its largest entry"
    return None


def disagreeing(outputs, dtype):
    """Name -> what is wrong, of the contenders whose outputs are not fastrnn's.

    Parameters
    ----------
    outputs : dict of str to dict of str to ndarray
        By contender, fastrnn among them.

    Raises
    ------
    Disagreement
        If there are others and none of them agrees with fastrnn.
    """
    ours = outputs["fastrnn"]
    wrong = {}
    for name, theirs in outputs.items():
        message = name != "fastrnn" and difference(ours, theirs, TOLERANCE[dtype])
        if message:
            wrong[name] = message
    if wrong and len(wrong) == len(outputs) - 1:
        raise Disagreement("; ".join(f"{name}: {message}" for name, message in wrong.items()))
    return wrong
