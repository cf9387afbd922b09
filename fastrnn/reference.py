"""The oracle: the equations of ``docs/equations.md`` in float64 NumPy, line by line.

It exists to be read and to be compared with. It imports numpy only, shares no line with the
engine, is never imported by the package, and checks no input. Comments cite equation numbers.

    numbers of the page            here
    (F) (A)                        sigmoid, linear_forward, linear_backward
    (R) (L P J) (K) (G) (C)        one cell = one ``*_forward`` and, below it, one ``*_backward``
    (S)                            walk_forward, walk_backward: the one time loop of all cells;
                                   forward, backward: layers, directions, dropout
    numeric check                  central_difference

A cell works on the ``n`` sequences that are alive at one time step:

    forward (p, x, state)       -> (state', saved)         x (n, I), state a tuple: h (n, H or P)[, c (n, H)]
    backward(p, saved, dstate') -> (dx, dstate, grads)     the vector-Jacobian product of one step

``p`` maps names without layer suffix (``weight_ih``, ...) to arrays; ``d_v`` in the page is ``dv`` here.
"""

from dataclasses import dataclass
from typing import Callable, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Spec:
    """What a recurrent layer is; the fields are the constructor arguments of the layers."""

    kind: str  # "rnn" | "lstm" | "gru"
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    nonlinearity: str = "tanh"
    peephole: bool = False
    coupled: bool = False
    proj_size: int = 0
    reset_after: bool = True

    @property
    def directions(self):
        """D: 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self):
        """Width of h: P with a projection, otherwise H."""
        return self.proj_size or self.hidden_size


# ---------------------------------------------------------------- functions and the affine map


def sigmoid(a):
    """(F1) 1 / (1 + exp(-a)), which is exp(a) / (1 + exp(a)); exp of -|a| never overflows."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1.0, e) / (1.0 + e)


def linear_forward(x, W, b=None):
    """(A1) x (..., I), W (O, I), b (O,) or None -> (..., O)."""
    return x @ W.T if b is None else x @ W.T + b


def linear_backward(x, W, dy):
    """Gradients (A11), (A21), (A22): dx (..., I), dW (O, I), db (O,)."""
    dy_rows, x_rows = dy.reshape(-1, W.shape[0]), x.reshape(-1, W.shape[1])
    return dy @ W, dy_rows.T @ x_rows, dy_rows.sum(axis=0)


def preactivation(p, x, h):
    """(A2) x W_ih^T + b_ih + h W_hh^T + b_hh: (n, G*H)."""
    return (linear_forward(x, p["weight_ih"], p.get("bias_ih"))
            + linear_forward(h, p["weight_hh"], p.get("bias_hh")))


def preactivation_backward(p, x, h, da):
    """(A12), (A13), (A23)-(A25): dx, dh and the gradients of both weights and both biases."""
    dx, dW_ih, db_ih = linear_backward(x, p["weight_ih"], da)
    dh, dW_hh, db_hh = linear_backward(h, p["weight_hh"], da)
    return dx, dh, {"weight_ih": dW_ih, "weight_hh": dW_hh, "bias_ih": db_ih, "bias_hh": db_hh}


def gates(a, count):
    """Cut (n, count*H) into its ``count`` blocks (n, H)."""
    return np.split(a, count, axis=1)


# ---------------------------------------------------------------- RNN: Elman 1990


def rnn_tanh_forward(p, x, state):
    """(R1), (R2)."""
    (h,) = state
    h_new = np.tanh(preactivation(p, x, h))             # (R1) (R2)
    return (h_new,), (x, h, h_new)


def rnn_tanh_backward(p, saved, dstate):
    """(R11), then (A)."""
    x, h, h_new = saved
    (dh_new,) = dstate
    da = dh_new * (1 - h_new**2)                        # (R11)
    dx, dh, grads = preactivation_backward(p, x, h, da)
    return dx, (dh,), grads


def rnn_relu_forward(p, x, state):
    """(R1), (R3)."""
    (h,) = state
    h_new = np.maximum(preactivation(p, x, h), 0.0)     # (R1) (R3)
    return (h_new,), (x, h, h_new)


def rnn_relu_backward(p, saved, dstate):
    """(R12), then (A)."""
    x, h, h_new = saved
    (dh_new,) = dstate
    da = dh_new * (h_new > 0)                           # (R12)
    dx, dh, grads = preactivation_backward(p, x, h, da)
    return dx, (dh,), grads


# ---------------------------------------------------------------- LSTM: Gers, Schmidhuber & Cummins 2000


def peep(p, name, c):
    """(P1)-(P3) What a peephole adds to a gate: w * c, nothing without that weight."""
    return p[name] * c if name in p else 0.0


def project_forward(p, m):
    """(J1) h = m W_hr^T; without a projection (L8) h = m."""
    return linear_forward(m, p["weight_hr"]) if "weight_hr" in p else m


def project_backward(p, m, dh):
    """(J11), (J21); without a projection (L11). Returns dm (n, H) and the gradient of weight_hr."""
    if "weight_hr" not in p:
        return dh, {}
    dm, dW_hr, _ = linear_backward(m, p["weight_hr"], dh)
    return dm, {"weight_hr": dW_hr}


def lstm_forward(p, x, state):
    """(L1)-(L8); with peephole weights (P1)-(P3); with weight_hr (J1)."""
    h, c = state
    a_i, a_f, a_g, a_o = gates(preactivation(p, x, h), 4)   # (L1)
    i = sigmoid(a_i + peep(p, "weight_ci", c))              # (L2) (P1)
    f = sigmoid(a_f + peep(p, "weight_cf", c))              # (L3) (P2)
    g = np.tanh(a_g)                                        # (L4)
    c_new = f * c + i * g                                   # (L5)
    o = sigmoid(a_o + peep(p, "weight_co", c_new))          # (L6) (P3)
    m = o * np.tanh(c_new)                                  # (L7)
    h_new = project_forward(p, m)                           # (L8) (J1)
    return (h_new, c_new), (x, h, c, i, f, g, o, c_new, m)


def lstm_backward(p, saved, dstate):
    """(L11)-(L18); with peephole weights (P11)-(P12), (P21)-(P23); with weight_hr (J11), (J21)."""
    x, h, c, i, f, g, o, c_new, m = saved
    dh_new, dc_new = dstate
    dm, dproj = project_backward(p, m, dh_new)              # (L11) (J11) (J21)
    tc = np.tanh(c_new)
    da_o = dm * tc * o * (1 - o)                            # (L12)
    dc_new = dc_new + dm * o * (1 - tc**2) + peep(p, "weight_co", da_o)         # (L13) (P11)
    da_i = dc_new * g * i * (1 - i)                         # (L14)
    da_f = dc_new * c * f * (1 - f)                         # (L15)
    da_g = dc_new * i * (1 - g**2)                          # (L16)
    dc = dc_new * f + peep(p, "weight_ci", da_i) + peep(p, "weight_cf", da_f)   # (L17) (P12)
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)   # (L18)
    dx, dh, grads = preactivation_backward(p, x, h, da)
    dpeep = {"weight_ci": (da_i * c).sum(axis=0),           # (P21)
             "weight_cf": (da_f * c).sum(axis=0),           # (P22)
             "weight_co": (da_o * c_new).sum(axis=0)}       # (P23)
    return dx, (dh, dc), {**grads, **dproj, **dpeep}


# ---------------------------------------------------------------- LSTM, coupled gates: Greff et al. 2017


def coupled_forward(p, x, state):
    """(K1)-(K8), the input gate is 1 - f; with peephole weights (P2), (P3); with weight_hr (J1)."""
    h, c = state
    a_f, a_g, a_o = gates(preactivation(p, x, h), 3)        # (K1)
    f = sigmoid(a_f + peep(p, "weight_cf", c))              # (K2) (P2)
    i = 1 - f                                               # (K3)
    g = np.tanh(a_g)                                        # (K4)
    c_new = f * c + i * g                                   # (K5)
    o = sigmoid(a_o + peep(p, "weight_co", c_new))          # (K6) (P3)
    m = o * np.tanh(c_new)                                  # (K7)
    h_new = project_forward(p, m)                           # (K8) (J1)
    return (h_new, c_new), (x, h, c, f, i, g, o, c_new, m)


def coupled_backward(p, saved, dstate):
    """(K11)-(K17); with peephole weights (P11), (K18), (P22)-(P23); with weight_hr (J11), (J21)."""
    x, h, c, f, i, g, o, c_new, m = saved
    dh_new, dc_new = dstate
    dm, dproj = project_backward(p, m, dh_new)              # (K11) (J11) (J21)
    tc = np.tanh(c_new)
    da_o = dm * tc * o * (1 - o)                            # (K12)
    dc_new = dc_new + dm * o * (1 - tc**2) + peep(p, "weight_co", da_o)         # (K13) (P11)
    da_f = dc_new * (c - g) * f * (1 - f)                   # (K14)
    da_g = dc_new * i * (1 - g**2)                          # (K15)
    dc = dc_new * f + peep(p, "weight_cf", da_f)            # (K16) (K18)
    da = np.concatenate([da_f, da_g, da_o], axis=1)         # (K17)
    dx, dh, grads = preactivation_backward(p, x, h, da)
    dpeep = {"weight_cf": (da_f * c).sum(axis=0),           # (P22)
             "weight_co": (da_o * c_new).sum(axis=0)}       # (P23)
    return dx, (dh, dc), {**grads, **dproj, **dpeep}


# ---------------------------------------------------------------- GRU, reset after the product: cuDNN, torch


def gru_forward(p, x, state):
    """(G1)-(G6)."""
    (h,) = state
    u_r, u_z, u_n = gates(linear_forward(x, p["weight_ih"], p.get("bias_ih")), 3)   # (G1)
    v_r, v_z, v_n = gates(linear_forward(h, p["weight_hh"], p.get("bias_hh")), 3)   # (G2)
    r = sigmoid(u_r + v_r)                                  # (G3)
    z = sigmoid(u_z + v_z)                                  # (G4)
    n = np.tanh(u_n + r * v_n)                              # (G5)
    h_new = (1 - z) * n + z * h                             # (G6)
    return (h_new,), (x, h, r, z, n, v_n)


def gru_backward(p, saved, dstate):
    """(G11)-(G17), (G21)."""
    x, h, r, z, n, v_n = saved
    (dh_new,) = dstate
    da_z = dh_new * (h - n) * z * (1 - z)                   # (G11)
    da_n = dh_new * (1 - z) * (1 - n**2)                    # (G12)
    da_r = da_n * v_n * r * (1 - r)                         # (G13)
    du = np.concatenate([da_r, da_z, da_n], axis=1)         # (G14)
    dv = np.concatenate([da_r, da_z, da_n * r], axis=1)     # (G15)
    dx, dW_ih, db_ih = linear_backward(x, p["weight_ih"], du)           # (G16) (G21)
    dh_product, dW_hh, db_hh = linear_backward(h, p["weight_hh"], dv)   # (G17) (G21)
    dh = dh_new * z + dh_product                            # (G17)
    return dx, (dh,), {"weight_ih": dW_ih, "weight_hh": dW_hh, "bias_ih": db_ih, "bias_hh": db_hh}


# ---------------------------------------------------------------- GRU, reset before the product: Cho et al. 2014


def cho_gru_forward(p, x, state):
    """(C1)-(C7): two recurrent products, of h and of r * h."""
    (h,) = state
    H = h.shape[1]
    W, b = p["weight_hh"], p.get("bias_hh", np.zeros(3 * H))
    u_r, u_z, u_n = gates(linear_forward(x, p["weight_ih"], p.get("bias_ih")), 3)   # (C1)
    v_r, v_z = gates(linear_forward(h, W[:2 * H], b[:2 * H]), 2)                    # (C2)
    r = sigmoid(u_r + v_r)                                  # (C3)
    z = sigmoid(u_z + v_z)                                  # (C4)
    q = r * h                                               # (C5)
    n = np.tanh(u_n + linear_forward(q, W[2 * H:], b[2 * H:]))                      # (C6)
    h_new = (1 - z) * n + z * h                             # (C7)
    return (h_new,), (x, h, r, z, q, n)


def cho_gru_backward(p, saved, dstate):
    """(C11)-(C17), (C21)-(C23)."""
    x, h, r, z, q, n = saved
    (dh_new,) = dstate
    H = h.shape[1]
    W = p["weight_hh"]
    da_z = dh_new * (h - n) * z * (1 - z)                   # (C11)
    da_n = dh_new * (1 - z) * (1 - n**2)                    # (C12)
    dq, dW_n, db_n = linear_backward(q, W[2 * H:], da_n)    # (C13) (C22)
    da_r = dq * h * r * (1 - r)                             # (C14)
    da_rz = np.concatenate([da_r, da_z], axis=1)
    dh_product, dW_rz, db_rz = linear_backward(h, W[:2 * H], da_rz)     # (C17) (C21)
    dh = dh_new * z + dq * r + dh_product                   # (C17)
    da = np.concatenate([da_rz, da_n], axis=1)              # (C15)
    dx, dW_ih, db_ih = linear_backward(x, p["weight_ih"], da)           # (C16) (C23)
    return dx, (dh,), {"weight_ih": dW_ih, "weight_hh": np.concatenate([dW_rz, dW_n]),
                       "bias_ih": db_ih, "bias_hh": np.concatenate([db_rz, db_n])}


class Cell(NamedTuple):
    """A row of the table of cells: blocks of H rows in the weights, and the pair of functions."""

    gates: int
    forward: Callable
    backward: Callable


def cell_of(spec):
    """The cell that ``spec`` describes."""
    if spec.kind == "lstm":
        return Cell(3, coupled_forward, coupled_backward) if spec.coupled else Cell(4, lstm_forward, lstm_backward)
    if spec.kind == "gru":
        return Cell(3, gru_forward, gru_backward) if spec.reset_after else Cell(3, cho_gru_forward, cho_gru_backward)
    return {"tanh": Cell(1, rnn_tanh_forward, rnn_tanh_backward),
            "relu": Cell(1, rnn_relu_forward, rnn_relu_backward)}[spec.nonlinearity]


# ---------------------------------------------------------------- parameters


def local_shapes(spec, layer):
    """Names without suffix and shapes of one direction of one layer, in the contract's order."""
    G, H, P = cell_of(spec).gates, spec.hidden_size, spec.output_size
    I = spec.input_size if layer == 0 else spec.directions * P
    shapes = {"weight_ih": (G * H, I), "weight_hh": (G * H, P)}
    if spec.bias:
        shapes |= {"bias_ih": (G * H,), "bias_hh": (G * H,)}
    if spec.proj_size:
        shapes["weight_hr"] = (P, H)
    if spec.peephole:
        shapes |= {name: (H,) for name in ("weight_ci", "weight_cf", "weight_co")
                   if not (spec.coupled and name == "weight_ci")}
    return shapes


def places(spec):
    """(S1) Every (layer, direction, suffix), in the order of the L*D axis of the states."""
    suffixes = ("", "_reverse")[:spec.directions]
    return [(l, d, f"_l{l}{suffix}") for l in range(spec.num_layers) for d, suffix in enumerate(suffixes)]


def parameter_shapes(spec):
    """Ordered dict: name -> shape, per layer and direction."""
    return {name + suffix: shape for l, _, suffix in places(spec) for name, shape in local_shapes(spec, l).items()}


def random_parameters(spec, rng, scale=None):
    """U(-scale, scale) for every parameter; ``scale`` is 1/sqrt(H) unless given."""
    scale = spec.hidden_size**-0.5 if scale is None else scale
    return {name: rng.uniform(-scale, scale, shape) for name, shape in parameter_shapes(spec).items()}


def local_parameters(spec, params, layer, suffix):
    """The parameters of one direction of one layer, in float64, under their names without suffix."""
    return {name: np.asarray(params[name + suffix], np.float64) for name in local_shapes(spec, layer)}


def split_state(spec, state, B):
    """The contract's state (array, tuple, None inside or out: zeros) as a tuple of fresh float64 arrays (L*D, B, .)."""
    widths = (spec.output_size, spec.hidden_size) if spec.kind == "lstm" else (spec.output_size,)
    parts = state if spec.kind == "lstm" and state is not None else (state,) * len(widths)
    shapes = [(spec.num_layers * spec.directions, B, width) for width in widths]
    return tuple(np.zeros(shape) if part is None else np.array(part, np.float64)
                 for part, shape in zip(parts, shapes))


def join_state(spec, parts):
    """The inverse of ``split_state``: (h, c) for an LSTM, h otherwise."""
    return tuple(parts) if spec.kind == "lstm" else parts[0]


# ---------------------------------------------------------------- time: the one loop of all cells


def valid_steps(T, B, lengths):
    """(S3) valid (T, B): is step t inside sequence b?"""
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    return np.arange(T)[:, None] < lengths[None, :]


def walk_forward(cell, p, u, state, valid, reverse):
    """(S4)-(S7) One direction: u (T, B, I), state tuple of (B, .) -> y (T, B, out), final state, steps for backward.

    Only the sequences alive at a step enter the cell; the others keep their state and their output stays 0.
    """
    T, B, _ = u.shape
    state = tuple(part.copy() for part in state)
    y, steps = np.zeros((T, B, state[0].shape[1])), []
    for t in reversed(range(T)) if reverse else range(T):                   # (S4)
        alive = np.flatnonzero(valid[t])
        new, saved = cell.forward(p, u[t, alive], tuple(part[alive] for part in state))
        for part, new_part in zip(state, new):
            part[alive] = new_part                                          # (S5)
        y[t, alive] = new[0]                                                # (S6)
        steps.append((t, alive, saved))
    return y, state, steps                                                  # (S7)


def walk_backward(cell, p, steps, dy, dstate):
    """(S11)-(S15), (S21) BPTT: dy (T, B, out), dstate tuple of (B, .) -> du (T, B, I), dstate0, grads."""
    dstate = tuple(part.copy() for part in dstate)                          # (S11)
    du = np.zeros((*dy.shape[:2], p["weight_ih"].shape[1]))
    grads = {name: np.zeros_like(array) for name, array in p.items()}
    for t, alive, saved in reversed(steps):
        dh_new, *rest = (part[alive] for part in dstate)
        dx, dprevious, step_grads = cell.backward(p, saved, (dh_new + dy[t, alive], *rest))     # (S12)
        for part, previous_part in zip(dstate, dprevious):
            part[alive] = previous_part                                     # (S13)
        du[t, alive] = dx                                                   # (S14)
        for name in p:
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

    x (T, B, I), any real dtype; state h (L*D, B, H or P), for an LSTM (h, c) with c (L*D, B, H), None is zeros;
    lengths (B,) in 0..T; masks: L-1 arrays (T, B, D*out), masks[l] multiplies the output of layer l.
    Returns y (T, B, D*out), the final state in the form of ``state``, and the tape for ``backward``.
    """
    u = np.asarray(x, np.float64)
    T, B, _ = u.shape
    cell, valid = cell_of(spec), valid_steps(T, B, lengths)
    initial, finals, outputs, all_steps = split_state(spec, state, B), [], [], []
    for k, (l, d, suffix) in enumerate(places(spec)):                       # (S1)
        p = local_parameters(spec, params, l, suffix)
        y, final, steps = walk_forward(cell, p, u, tuple(part[k] for part in initial), valid, reverse=d == 1)
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

    dy (T, B, D*out) or None; dstate None or the form of ``state``, for an LSTM (dh, dc) with either None.
    Returns dx (T, B, I), dstate0 in the form of ``state``, grads: name -> array.
    """
    out, D = spec.output_size, spec.directions
    dy = np.zeros((tape.T, tape.B, D * out)) if dy is None else np.asarray(dy, np.float64)
    cell, dfinal = cell_of(spec), split_state(spec, dstate, tape.B)
    dinitial, grads, du = tuple(np.zeros_like(part) for part in dfinal), {}, 0.0
    for k, (l, d, suffix) in reversed(list(enumerate(places(spec)))):
        p = local_parameters(spec, params, l, suffix)
        dy_d = dy[:, :, d * out:(d + 1) * out]
        du_d, dstate0, local = walk_backward(cell, p, tape.steps[k], dy_d, tuple(part[k] for part in dfinal))
        du = du + du_d                                                      # (S16)
        for part, part0 in zip(dinitial, dstate0):
            part[k] = part0
        grads |= {name + suffix: grad for name, grad in local.items()}
        if d == 0 and l > 0:
            dy, du = du if tape.masks is None else du * tape.masks[l - 1], 0.0      # (S17)
    return du, join_state(spec, dinitial), {name: grads[name] for name in parameter_shapes(spec)}


# ---------------------------------------------------------------- numeric check


def central_difference(f, x, eps=1e-5):
    """(f(x + eps e_j) - f(x - eps e_j)) / (2 eps) for every entry j of x: an array of x's shape; f returns a scalar."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for j in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[j] += eps
        down[j] -= eps
        gradient[j] = (f(up) - f(down)) / (2 * eps)
    return gradient
