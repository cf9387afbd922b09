"""A recurrent layer one step at a time, so that what flows between the steps can be looked at.

The engine gives the gradients at the two ends of a call. Here every call is one step of one layer and
direction, and what is between two calls is what there is to see. Numbers: docs/equations.md.
"""

import numpy as np

from .. import _validate
from ..layers import Recurrent, _suffixes
from ..params import restoring

#: What one layer and direction is built with, in place of the whole layer's arguments of these names that it has:
#: nothing stacked, nothing random.
_SINGLE = {
    "num_layers": 1, "bidirectional": False, "batch_first": False, "dtype": "float64",
    "dropout": 0.0, "input_dropout": 0.0, "recurrent_dropout": 0.0, "weight_drop": 0.0, "zoneout": 0.0,
    "merge": "concat", "skip": "none", "learn_state": False, "checkpoint": None, "return_cell_states": False,
}  # fmt: skip


class Part:
    """One layer and direction, as a layer of its own, and what it did at every step.

    Attributes
    ----------
    cell : Recurrent
        One layer and direction in float64.
    u : ndarray
        Its input, ``(T, B, I)``.
    y : ndarray
        Its output, ``(T, B, width of h)``.
    order : sequence of int
        The steps in the order of the walk (S4).
    alive : ndarray of bool
        ``(T, B)``: is step t inside sequence b (S3)?
    before, after : dict of str to ndarray
        Each state ``(T, B, width)`` as a step found it and as it left it.
    """

    def __init__(self, layer, place, suffix, u, states, alive):
        config = layer._config() | {"input_size": u.shape[2]}
        config |= {name: value for name, value in _SINGLE.items() if name in config}
        with restoring():
            self.cell = type(layer)(**config)
        arrays = layer.parameters.items()
        self.cell.load_state_dict({name[: -len(suffix)] + "_l0": a for name, a in arrays if name.endswith(suffix)})
        T, B = alive.shape
        self.u, self.alive = u, alive
        self.order = range(T)[::-1] if suffix.endswith("_reverse") else range(T)
        empty = [np.full((1, B, width), value) for value, width in zip(layer._row.empty, layer.state_sizes)]
        self.initial = tuple(new if given is None else given[place : place + 1].astype(np.float64)
                             for new, given in zip(empty, states))  # fmt: skip
        self.before, self.after = ({name: np.zeros((T, B, width)) for name, width in self._widths()} for _ in range(2))
        self.y = np.zeros((T, B, self.cell.output_size))
        self.pullbacks = [None] * T

    def _widths(self):
        return zip(self.cell.state_names, self.cell.state_sizes)

    def parameters(self):
        """Name without suffix -> array."""
        return {name.removesuffix("_l0"): array for name, array in self.cell.parameters.items()}

    def forward(self, keep):
        """Walk; ``keep`` what backward needs."""
        state = self.initial
        for t in self.order:
            arguments = self.u[t : t + 1], joined(state), self._lengths(t)
            y, new, *pullback = self.cell.vjp(*arguments) if keep else self.cell(*arguments)
            new = split(new)
            for name, old_part, new_part in zip(self.cell.state_names, state, new):
                self.before[name][t], self.after[name][t] = old_part[0], new_part[0]
            self.y[t], state = y[0], new
            self.pullbacks[t] = pullback[0] if keep else None

    def _lengths(self, t):
        return None if self.alive[t].all() else self.alive[t].astype(np.int64)

    def backward(self, dy):
        """Walk back, once, from the gradient of ``y`` (S12)-(S16), which is not used past a length.

        Returns ``du (T, B, I)`` and, by state, the gradient with respect to what each step leaves, ``(T, B, width)``:
        that of h is complete, from y_t and from the next step; that of c takes h_t as a variable of its own.
        """
        du = np.zeros_like(self.u)
        gradients = {name: np.zeros_like(array) for name, array in self.after.items()}
        dstate = tuple(np.zeros_like(part) for part in self.initial)
        for t in reversed(self.order):
            for name, part in zip(self.cell.state_names, dstate):
                total = part[0] + dy[t] if name == "h" else part[0]
                gradients[name][t] = np.where(self.alive[t, :, None], total, 0.0)
            dx, dstate = self.pullbacks[t](dy[t : t + 1], joined(dstate))
            du[t], dstate = dx[0], split(dstate)
            self.pullbacks[t] = None
        return du, gradients


class Walk:
    """A call of a layer: its arguments checked, then run and sent back a step at a time.

    Parameters
    ----------
    layer, x, state, lengths
        As for the layer's own call.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.
    """

    def __init__(self, layer, x, state=None, lengths=None):
        self.layer = _validate.recurrent_layer(layer, Recurrent)
        x, self._states, lengths, self.unbatched = _validate.recurrent_inputs(layer, x, state, lengths)
        self._x = self._time_first(x)
        T, B = self._x.shape[:2]
        if state is None:
            self._states = [_learned(layer, name, B) for name in layer.state_names]
        self.alive = np.arange(T)[:, None] < (np.full(B, T) if lengths is None else lengths)
        self._stack = Stack(layer)
        self.parts = []

    def _time_first(self, array):
        """``(T, B, .)``, float64."""
        return np.ascontiguousarray(array.swapaxes(0, 1) if self.layer.batch_first else array, np.float64)

    def output_gradient(self, dy):
        """``dy``, checked, as ``(T, B, .)``."""
        layer, (T, B) = self.layer, self.alive.shape
        shape = ((B, T) if layer.batch_first else (T, B)) + (self._stack.y_width,)
        dy = _validate.given(dy, "dy")
        return self._time_first(_validate.output_gradients(layer, dy, None, None, shape, None, B, self.unbatched)[0])

    def forward(self, keep=False):
        """Run all parts, layer by layer. Returns them, in the order of the L*D axis (S1)."""
        layer, u = self.layer, self._x
        suffixes = [suffix for _, suffix in _suffixes(layer.num_layers, layer.num_directions)]
        for place, suffix in enumerate(suffixes):
            part = Part(layer, place, suffix, u, self._states, self.alive)
            part.forward(keep)
            self.parts.append(part)
            if (place + 1) % layer.num_directions == 0:
                u = self._stack.next_input(self._x, u, [part.y for part in self.parts[-layer.num_directions :]])
        return self.parts

    def backward(self, dy):
        """Send ``dy (T, B, .)`` back. Returns what ``Part.backward`` found, by part."""
        D, found, du = self.layer.num_directions, [], None
        direct = self._stack.shares(dy)
        while direct:
            parts = self.parts[(len(direct) - 1) * D :][:D]
            d_v = direct.pop() if du is None else direct.pop() + du[..., : self._stack.width]
            d_outputs = self._stack.unmerged(d_v, [part.y for part in parts])
            inputs, gradients = zip(*(part.backward(d_output) for part, d_output in zip(parts, d_outputs)))
            du = sum(inputs) + (d_v if self._stack.residual(parts[0].u) else 0.0)
            found = [*gradients, *found]
        return found


class Stack:
    """How the outputs of directions and layers are put together: ``merge`` and ``skip`` of the layers."""

    def __init__(self, layer):
        config = layer._config()
        self.directions, self.layers = layer.num_directions, layer.num_layers
        self.merge, self.skip = config.get("merge", "concat"), config.get("skip", "none")
        #: Of what a layer passes on, and of y.
        self.width = layer.output_size * (self.directions if self.merge == "concat" else 1)
        self.y_width = self.width * (self.layers if self.skip == "output" else 1)

    def residual(self, u):
        """Is the layer's input added to its output?"""
        return self.skip == "residual" and u.shape[2] == self.width

    def merged(self, outputs):
        if self.directions == 1 or self.merge == "concat":
            return np.concatenate(outputs, axis=2)
        a, b = outputs
        return a * b if self.merge == "mul" else (a + b) * (0.5 if self.merge == "mean" else 1.0)

    def unmerged(self, d, outputs):
        """The gradients of ``outputs`` from that of what they were merged to."""
        if self.directions == 1 or self.merge == "concat":
            return np.split(d, self.directions, axis=2)
        a, b = outputs
        return [d * b, d * a] if self.merge == "mul" else [d * (0.5 if self.merge == "mean" else 1.0)] * 2

    def next_input(self, x, u, outputs):
        """What the next layer reads, after one that read u."""
        v = self.merged(outputs) + (u if self.residual(u) else 0.0)
        return np.concatenate([v, x], axis=2) if self.skip == "input" else v

    def shares(self, dy):
        """What of ``dy`` goes to each layer's output directly."""
        if self.skip == "output":
            return np.split(dy, self.layers, axis=2)
        return [np.zeros((*dy.shape[:2], self.width))] * (self.layers - 1) + [dy]


def _learned(layer, name, batch):
    """The initial state that is a parameter, for each sequence; None where there is none."""
    rows = layer.parameters.get(name + "0")
    return None if rows is None else np.repeat(rows[:, np.newaxis], batch, axis=1)


def kinds(layer):
    """The names of the parameters of one layer and direction, without suffix."""
    return [name.removesuffix("_l0") for name in layer.parameters if name.endswith("_l0")]


def joined(parts):
    """Parts of a state as the layers take them: alone, or a tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def split(state):
    """The inverse."""
    return state if isinstance(state, tuple) else (state,)


def by_place(values):
    """One entry per layer and direction: stacked on a first axis, or as it is where there is one."""
    return values[0] if len(values) == 1 else np.stack(values)


def norm(array, axis):
    """The 2-norm, also where squares would underflow or overflow."""
    largest = np.max(np.abs(array), axis=axis, keepdims=True, initial=0.0)
    scale = np.where((largest > 0) & (largest < np.inf), largest, 1.0)
    with np.errstate(over="ignore"):
        return np.sqrt(np.sum((array / scale) ** 2, axis=axis)) * scale.squeeze(axis)
