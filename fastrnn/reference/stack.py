"""Group (S), layers and directions around the time loop; (H) how they are joined; (D) masks of a call."""

from typing import NamedTuple

import numpy as np

from .cells import cell_of, join_state, local_parameters, parameter_shapes, places, split_state, state_names
from .spec import Local
from .walk import valid_steps, walk_backward, walk_forward


class Noise(NamedTuple):
    """The masks inside a call; places are those of the L*D axis."""

    inputs: list | None = None  # (D2) for each layer (B, width of its input)
    recurrent: list | None = None  # (D3) for each place (B, H or P)
    weights: list | None = None  # (D1) for each place, of the shape of ``weight_hh``
    zoneout: list | None = None  # (D4) (D5) for each place a tuple: for each state (T, B, .), 1 where the old one stays


class Tape(NamedTuple):
    """What ``backward`` needs, and ``c_seq`` (T, B, D*H), the cell states of the last layer."""

    T: int
    B: int
    steps: list  # for each place
    masks: list | None
    noise: Noise
    valid: np.ndarray  # (T, B)
    outputs: list  # for each layer the outputs of its directions
    learned: bool  # was the initial state that of the parameters?
    c_seq: np.ndarray


def place(spec, params, noise, sizes, k, layer, suffix):
    """What the cell of place k sees; sizes are T and B."""
    T, B = sizes
    p = local_parameters(spec, params, layer, suffix)
    if noise.weights is not None:
        p["weight_hh"] = p["weight_hh"] * noise.weights[k]                  # (D1)
    mask = np.ones((B, spec.output_size)) if noise.recurrent is None else noise.recurrent[k]
    zoneout = None if noise.zoneout is None else noise.zoneout[k]
    if zoneout is None and spec.zoneout is not None:
        z = spec.zoneout if isinstance(spec.zoneout, tuple) else (spec.zoneout,)
        zoneout = [np.full((T, B, 1), number) for number in z]              # (D6)
    return Local(spec, p, mask, zoneout)


def merge_forward(spec, ys):
    """(S8), (H1) The outputs of the directions as one."""
    if len(ys) == 1 or spec.merge == "concat":
        return np.concatenate(ys, axis=2)
    if spec.merge == "mul":
        return ys[0] * ys[1]
    return (ys[0] + ys[1]) / (2 if spec.merge == "mean" else 1)


def merge_backward(spec, ys, dY):
    """(S17), (H11) The gradient of each direction's output."""
    if len(ys) == 1 or spec.merge == "concat":
        return np.split(dY, len(ys), axis=2)
    if spec.merge == "mul":
        return [dY * ys[1], dY * ys[0]]
    return [dY / (2 if spec.merge == "mean" else 1)] * 2


def initial_state(spec, params, state, B):
    """(H5) The state given; without one the learned state for every sequence, or the empty one."""
    if state is None and spec.learn_state:
        learned = [np.asarray(params[f"{name}0"], np.float64) for name in state_names(spec)]
        return tuple(np.repeat(part[:, None], B, axis=1) for part in learned)
    return split_state(spec, state, B, cell_of(spec).empty)


def forward(spec, params, x, state=None, lengths=None, masks=None, noise=Noise()):
    """(S1)-(S9), (H1)-(H6), (D1)-(D6) The whole layer stack.

    x (T, B, I), any real dtype; state the array of the only state or a tuple, h (L*D, B, H or P), others
    (L*D, B, H), None is the empty state; lengths (B,) in 0..T; masks: L-1 arrays (T, B, .), masks[l] multiplies
    the output of layer l; noise: the masks inside.
    Returns y (T, B, D*out), or as wide as merge and skip make it, the final state in the form of ``state``, and the
    tape for ``backward``.
    """
    x = np.asarray(x, np.float64)
    (T, B, _), valid = x.shape, valid_steps(x.shape[0], x.shape[1], lengths)
    initial = initial_state(spec, params, state, B)
    u, Y, Ys, c_seqs = x, x, [], []
    finals, all_steps, outputs = [], [], []
    for k, (l, d, suffix) in enumerate(places(spec)):                       # (S1)
        if d == 0:
            u, ys, c_seqs = u if noise.inputs is None else u * noise.inputs[l], [], []      # (D2)
        here = place(spec, params, noise, (T, B), k, l, suffix)
        start = tuple(part[k] for part in initial)
        y, c_seq, final, steps = walk_forward(cell_of(spec), here, u, start, valid, reverse=d == 1)
        ys.append(y)
        c_seqs.append(c_seq)
        finals.append(final)
        all_steps.append(steps)
        if d == spec.directions - 1:
            outputs.append(ys)
            u, Y = join_layers(spec, l, merge_forward(spec, ys), Y, x, masks, valid)
            Ys.append(Y)
    y = np.concatenate(Ys, axis=2) if spec.skip == "output" else Y          # (H3)
    final = join_state(spec, [np.stack(parts) for parts in zip(*finals)])
    c_seq = np.concatenate(c_seqs, axis=2)                                  # (H6)
    learned = state is None and spec.learn_state
    return y, final, Tape(T, B, all_steps, masks, noise, valid, outputs, learned, c_seq)


def join_layers(spec, l, Y, before, x, masks, valid):
    """(S9), (H2), (H4) What layer l+1 reads, and the output of layer l with its residual connection."""
    dropped = Y if masks is None or l == spec.num_layers - 1 else Y * masks[l]      # (S9)
    if spec.skip == "residual":
        if spec.is_residual(l):
            dropped = np.where(valid[:, :, None], before + dropped, 0.0)    # (H4)
        return dropped, dropped
    return np.concatenate([dropped, x], axis=2) if spec.skip == "input" else dropped, Y     # (H2)


def backward(spec, params, tape, dy=None, dstate=None, dc_seq=None):
    """(S11)-(S17), (H11)-(H15), (D11)-(D14) BPTT through the whole stack.

    dy of y's shape or None; dstate None or the form of ``state``, any of a tuple None; dc_seq (T, B, D*H) or None.
    Returns dx (T, B, I), dstate0 in the form of ``state``, grads: name -> array.
    """
    T, B, L, D, width = tape.T, tape.B, spec.num_layers, spec.directions, spec.layer_output_size
    inside = tape.valid[:, :, None]
    dy = np.zeros((T, B, spec.total_output_size)) if dy is None else np.where(inside, dy, 0.0)
    dYs = [np.zeros((T, B, width)) for _ in range(L - 1)] + [dy]
    if spec.skip == "output":
        dYs = np.split(dy, L, axis=2)                                       # (H13)
    dx, dfinal = np.zeros((T, B, spec.input_size)), split_state(spec, dstate, B)
    for name in cell_of(spec).empty:                                        # (SL18), also of sequences without a step
        dfinal[cell_of(spec).states.index(name)][...] = 0
    dinitial, grads = tuple(np.zeros_like(part) for part in dfinal), {}
    for l in reversed(range(L)):
        dropped = tape.masks is not None and l < L - 1
        dY = dYs[l] * tape.masks[l] if dropped and spec.skip == "residual" else dYs[l]      # (H14)
        dc_parts = [None] * D if dc_seq is None or l < L - 1 else np.split(np.asarray(dc_seq, np.float64), D, axis=2)
        du = 0.0
        for d, (dy_d, dc_d) in enumerate(zip(merge_backward(spec, tape.outputs[l], dY), dc_parts)):
            k, suffix = l * D + d, f"_l{l}" + ("", "_reverse")[d]
            here = place(spec, params, tape.noise, (T, B), k, l, suffix)
            end = tuple(part[k] for part in dfinal)
            du_d, dstate0, local = walk_backward(cell_of(spec), here, tape.steps[k], dy_d, dc_d, end)
            du = du + du_d                                                  # (S16)
            for part, part0 in zip(dinitial, dstate0):
                part[k] = part0
            if tape.noise.weights is not None:
                local["weight_hh"] = local["weight_hh"] * tape.noise.weights[k]     # (D21)
            grads |= {name + suffix: grad for name, grad in local.items()}
        du = du if tape.noise.inputs is None else du * tape.noise.inputs[l]     # (D14)
        if l == 0:
            dx = dx + du
        else:
            dbelow = du[:, :, :width]
            if spec.skip == "input":
                dx = dx + du[:, :, width:]                                  # (H12)
            if tape.masks is not None and spec.skip != "residual":
                dbelow = np.where(inside, dbelow * tape.masks[l - 1], 0.0)  # (S17)
            dYs[l - 1] = dYs[l - 1] + dbelow
        if spec.is_residual(l):                                             # (H14)
            if l == 0:
                dx = dx + dYs[0]
            else:
                dYs[l - 1] = dYs[l - 1] + dYs[l]
    if spec.learn_state:
        for name, part in zip(state_names(spec), dinitial):
            grads[f"{name}0"] = part.sum(axis=1) * tape.learned             # (H21)
    return dx, join_state(spec, dinitial), {name: grads[name] for name in parameter_shapes(spec)}
