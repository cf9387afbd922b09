"""Group (S): the one time loop of all cells; layers and directions around it."""

from typing import NamedTuple

import numpy as np

from .cells import cell_of, join_state, local_parameters, parameter_shapes, places, split_state
from .products import zeros
from .spec import Local

# ---------------------------------------------------------------- time: the one loop of all cells


def valid_steps(T, B, lengths):
    """(S3) valid (T, B): is step t inside sequence b?"""
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    return np.arange(T)[:, None] < lengths[None, :]


def walk_forward(cell, k, u, state, valid, reverse):
    """(S4)-(S7) One direction: u (T, B, I), state tuple of (B, .) -> y (T, B, out), final state, steps for backward.

    Only the sequences alive at a step enter the cell; the others keep their state and their output stays 0.
    """
    T, B, _ = u.shape
    state = tuple(part.copy() for part in state)
    y, steps = np.zeros((T, B, k.spec.output_size)), []
    for t in reversed(range(T)) if reverse else range(T):                   # (S4)
        alive = np.flatnonzero(valid[t])
        new, saved = cell.forward(k, u[t, alive], tuple(part[alive] for part in state))
        for part, new_part in zip(state, new[-len(state):]):
            part[alive] = new_part                                          # (S5)
        y[t, alive] = new[0]                                                # (S6)
        steps.append((t, alive, saved))
    return y, state, steps                                                  # (S7)


def walk_backward(cell, k, steps, dy, dstate):
    """(S11)-(S15), (S21) BPTT: dy (T, B, out), dstate tuple of (B, .) -> du (T, B, I), dstate0, grads."""
    dstate = tuple(part.copy() for part in dstate)                          # (S11)
    du = np.zeros((*dy.shape[:2], k.p["weight_ih"].shape[1]))
    grads = zeros(k.p)
    for t, alive, saved in reversed(steps):
        dnew = [part[alive] for part in dstate]
        if "h" not in cell.states:
            dnew.insert(0, 0.0)
        dnew[0] = dnew[0] + dy[t, alive]                                    # (S12)
        dx, dprevious, step_grads = cell.backward(k, saved, dnew)           # (S12)
        for part, previous_part in zip(dstate, dprevious):
            part[alive] = previous_part                                     # (S13)
        du[t, alive] = dx                                                   # (S14)
        for name in grads:
            grads[name] += step_grads[name]                                 # (S21)
    return du, dstate, grads                                                # (S15)


# ---------------------------------------------------------------- layers and directions


class Tape(NamedTuple):
    """What ``backward`` needs: T and B, the steps of each place of the L*D axis, the dropout masks."""

    T: int
    B: int
    steps: list
    masks: list


def forward(spec, params, x, state=None, lengths=None, masks=None):
    """(S1)-(S9) The whole layer stack.

    x (T, B, I), any real dtype; state the array of the only state or a tuple, h (L*D, B, H or P), others
    (L*D, B, H), None is the empty state; lengths (B,) in 0..T; masks: L-1 arrays (T, B, D*out), masks[l] multiplies
    the output of layer l.
    Returns y (T, B, D*out), the final state in the form of ``state``, and the tape for ``backward``.
    """
    u = np.asarray(x, np.float64)
    T, B, _ = u.shape
    cell, valid = cell_of(spec), valid_steps(T, B, lengths)
    initial, finals, outputs, all_steps = split_state(spec, state, B, cell.empty), [], [], []
    for k, (l, d, suffix) in enumerate(places(spec)):                       # (S1)
        here = Local(spec, local_parameters(spec, params, l, suffix))
        y, final, steps = walk_forward(cell, here, u, tuple(part[k] for part in initial), valid, reverse=d == 1)
        outputs.append(y)
        finals.append(final)
        all_steps.append(steps)
        if d == spec.directions - 1:
            u, outputs = np.concatenate(outputs, axis=2), []                # (S8)
            if masks is not None and l < spec.num_layers - 1:
                u = u * masks[l]                                            # (S9)
    final = join_state(spec, [np.stack(parts) for parts in zip(*finals)])
    return u, final, Tape(T, B, all_steps, masks)


def backward(spec, params, tape, dy=None, dstate=None):
    """(S11)-(S17) BPTT through the whole stack.

    dy (T, B, D*out) or None; dstate None or the form of ``state``, any of a tuple None.
    Returns dx (T, B, I), dstate0 in the form of ``state``, grads: name -> array.
    """
    out, D = spec.output_size, spec.directions
    dy = np.zeros((tape.T, tape.B, D * out)) if dy is None else np.asarray(dy, np.float64)
    cell, dfinal = cell_of(spec), split_state(spec, dstate, tape.B)
    dinitial, grads, du = tuple(np.zeros_like(part) for part in dfinal), {}, 0.0
    for k, (l, d, suffix) in reversed(list(enumerate(places(spec)))):
        here = Local(spec, local_parameters(spec, params, l, suffix))
        dy_d = dy[:, :, d * out:(d + 1) * out]
        du_d, dstate0, local = walk_backward(cell, here, tape.steps[k], dy_d, tuple(part[k] for part in dfinal))
        du = du + du_d                                                      # (S16)
        for part, part0 in zip(dinitial, dstate0):
            part[k] = part0
        grads |= {name + suffix: grad for name, grad in local.items()}
        if d == 0 and l > 0:
            dy, du = du if tape.masks is None else du * tape.masks[l - 1], 0.0      # (S17)
    return du, join_state(spec, dinitial), {name: grads[name] for name in parameter_shapes(spec)}
