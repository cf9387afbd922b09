"""Group (S), the time loop: the one loop of all cells, with zoneout (D) and the sequence of cell states (H)."""

import numpy as np

from .products import zeros


def valid_steps(T, B, lengths):
    """(S3) valid (T, B): is step t inside sequence b?"""
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    return np.arange(T)[:, None] < lengths[None, :]


def walk_forward(cell, k, u, state, valid, reverse):
    """(S4)-(S7), (H6) One direction: u (T, B, I), state tuple of (B, .) -> y (T, B, out), c_seq, final state, steps.

    Only the sequences alive at a step enter the cell; the others keep their state and their output stays 0.
    c_seq (T, B, H) stays 0 without a cell state; the steps are for ``walk_backward``.
    """
    T, B, _ = u.shape
    state = tuple(part.copy() for part in state)
    y, c_seq, steps = np.zeros((T, B, k.spec.output_size)), np.zeros((T, B, k.spec.hidden_size)), []
    for t in reversed(range(T)) if reverse else range(T):                   # (S4)
        alive = np.flatnonzero(valid[t])
        old = tuple(part[alive] for part in state)
        new, saved = cell.forward(k.of(alive), u[t, alive], old)
        if k.zoneout is not None:                                           # (D4)-(D6)
            new = tuple(e[t, alive] * a + (1 - e[t, alive]) * b for e, a, b in zip(k.zoneout, old, new))
        for name, part, new_part in zip(cell.states, state, new[-len(state):]):
            part[alive] = new_part                                          # (S5)
            if name == "c":
                c_seq[t, alive] = new_part                                  # (H6)
        y[t, alive] = new[0]                                                # (S6)
        steps.append((t, alive, saved))
    return y, c_seq, state, steps                                           # (S7)


def walk_backward(cell, k, steps, dy, dc_seq, dstate):
    """(S11)-(S15), (S21), (H15) BPTT: dy (T, B, out), dc_seq (T, B, H) or None, dstate tuple of (B, .).

    Returns du (T, B, I), dstate0, grads.
    """
    dstate = tuple(part.copy() for part in dstate)                          # (S11)
    du = np.zeros((*dy.shape[:2], k.p["weight_ih"].shape[1]))
    grads = zeros(k.p)
    for t, alive, saved in reversed(steps):
        dnew = [part[alive] for part in dstate]
        if dc_seq is not None:
            dnew[cell.states.index("c")] += dc_seq[t, alive]                # (H15)
        if "h" not in cell.states:
            dnew.insert(0, 0.0)
        dnew[0] = dnew[0] + dy[t, alive]                                    # (S12)
        kept = [0.0] * len(dnew)
        if k.zoneout is not None:
            kept = [e[t, alive] * d for e, d in zip(k.zoneout, dnew)]       # (D12)
            dnew = [(1 - e[t, alive]) * d for e, d in zip(k.zoneout, dnew)]     # (D11)
        dx, dprevious, step_grads = cell.backward(k.of(alive), saved, dnew)     # (S12)
        for part, previous_part, kept_part in zip(dstate, dprevious, kept):
            part[alive] = previous_part + kept_part                         # (S13) (D12)
        du[t, alive] = dx                                                   # (S14)
        for name in grads:
            grads[name] += step_grads[name]                                 # (S21)
    return du, dstate, grads                                                # (S15)
