"""Groups (L), (P), (K), (J), with (O) and (N): the LSTM and its variants."""

import numpy as np

from .products import gates, linear_backward, linear_forward, norm_backward, norm_forward
from .products import preactivation, preactivation_backward, zeros
from .spec import Cell, functions_of, shapes, torch_shapes


def peep(p, name, c):
    """(P1)-(P3) What a peephole adds to a gate: w * c, nothing without that weight."""
    return p[name] * c if name in p else 0.0


def peep_gradients(da, c):
    """(P21)-(P23) Gradient of a peephole's weight."""
    return (da * c).sum(axis=0)


def cell_norm_forward(p, c):
    """(N6) What the last tanh of an LSTM sees: LN(c) with gains for it, otherwise c."""
    return norm_forward(c, p["weight_ln_c"], p["bias_ln_c"])[0] if "weight_ln_c" in p else c


def cell_norm_backward(p, c, da, grads):
    """(N14): dc; adds the gradients of gain and shift to ``grads``."""
    if "weight_ln_c" not in p:
        return da
    _, saved = norm_forward(c, p["weight_ln_c"], 0.0)
    dc, dgain, dshift = norm_backward(saved, p["weight_ln_c"], da)          # (N14)
    grads["weight_ln_c"] += dgain
    grads["bias_ln_c"] += dshift
    return dc


def project_forward(p, m):
    """(J1) h = m W_hr^T; without a projection (L8) h = m."""
    return linear_forward(m, p["weight_hr"]) if "weight_hr" in p else m


def project_backward(p, m, dh):
    """(J11), (J21); without a projection (L11). Returns dm (n, H) and the gradient of weight_hr."""
    if "weight_hr" not in p:
        return dh, {}
    dm, dW_hr, _ = linear_backward(m, p["weight_hr"], dh)
    return dm, {"weight_hr": dW_hr}


# ---------------------------------------------------------------- LSTM: Gers, Schmidhuber & Cummins 2000


def lstm_gates_forward(k, a, c):
    """(L2)-(L7) from the pre-activations: c', m and what backward needs; (P1)-(P3), (O4), (O5), (N6)."""
    p, (act_f, act_g, act_h) = k.p, k.functions
    a_i, a_f, a_g, a_o = gates(a, 4)
    a_i = a_i + peep(p, "weight_ci", c)                     # (P1)
    a_f = a_f + peep(p, "weight_cf", c)                     # (P2)
    i = act_f(a_i)                                          # (L2) (O4)
    f = act_f(a_f)                                          # (L3) (O4)
    g = act_g(a_g)                                          # (L4) (O4)
    c_new = f * c + i * g                                   # (L5)
    a_o = a_o + peep(p, "weight_co", c_new)                 # (P3)
    o = act_f(a_o)                                          # (L6) (O4)
    a_c = cell_norm_forward(p, c_new)                       # (N6)
    m = o * act_h(a_c)                                      # (L7) (O5)
    return c_new, m, (a_i, a_f, a_g, a_o, a_c, c, i, f, g, o, c_new)


def lstm_gates_backward(k, saved, dm, dc_new, grads):
    """(L12)-(L18): da, dc; (P11), (P12), (P21)-(P23), (O14), (O15), (N14)."""
    p, (act_f, act_g, act_h) = k.p, k.functions
    a_i, a_f, a_g, a_o, a_c, c, i, f, g, o, c_new = saved
    da_o = dm * act_h(a_c) * act_f.slope(a_o)                                   # (L12) (O14)
    da_c = dm * o * act_h.slope(a_c)                                            # (O15)
    dc_new = dc_new + cell_norm_backward(p, c_new, da_c, grads)                 # (L13) (N14)
    dc_new = dc_new + peep(p, "weight_co", da_o)                                # (P11)
    da_i = dc_new * g * act_f.slope(a_i)                                        # (L14) (O14)
    da_f = dc_new * c * act_f.slope(a_f)                                        # (L15) (O14)
    da_g = dc_new * i * act_g.slope(a_g)                                        # (L16) (O14)
    dc = dc_new * f + peep(p, "weight_ci", da_i) + peep(p, "weight_cf", da_f)   # (L17) (P12)
    grads |= {"weight_ci": peep_gradients(da_i, c),                             # (P21)
              "weight_cf": peep_gradients(da_f, c),                             # (P22)
              "weight_co": peep_gradients(da_o, c_new)}                         # (P23)
    return np.concatenate([da_i, da_f, da_g, da_o], axis=1), dc                 # (L18)


def lstm_forward(k, x, state):
    """(L1)-(L8); with weight_hr (J1)."""
    h, c = state
    c_new, m, saved = lstm_gates_forward(k, preactivation(k.p, x, h * k.mask), c)   # (L1) (N5)
    return (project_forward(k.p, m), c_new), (x, h, m, saved)   # (L8) (J1)


def lstm_backward(k, saved, dstate):
    """(L11)-(L18); with weight_hr (J11), (J21)."""
    x, h, m, saved = saved
    dh_new, dc_new = dstate
    dm, dproj = project_backward(k.p, m, dh_new)            # (L11) (J11) (J21)
    grads = zeros(k.p) | dproj
    da, dc = lstm_gates_backward(k, saved, dm, dc_new, grads)
    dx, dh = preactivation_backward(k.p, x, h * k.mask, da, grads)
    return dx, (dh * k.mask, dc), grads


def lstm_kinks(spec, saved):
    """Every function of a step with its argument."""
    a_i, a_f, a_g, a_o, a_c, *_ = saved[-1]
    act_f, act_g, act_h = functions_of(spec)
    return [(act_f, a_i), (act_f, a_f), (act_g, a_g), (act_f, a_o), (act_h, a_c)]


# ---------------------------------------------------------------- LSTM, coupled gates: Greff et al. 2017


def coupled_forward(k, x, state):
    """(K1)-(K8), the input gate is 1 - f; with peephole weights (P2), (P3); with weight_hr (J1)."""
    p, (act_f, act_g, act_h) = k.p, k.functions
    h, c = state
    a_f, a_g, a_o = gates(preactivation(p, x, h * k.mask), 3)   # (K1)
    a_f = a_f + peep(p, "weight_cf", c)                     # (P2)
    f = act_f(a_f)                                          # (K2) (O4)
    i = 1 - f                                               # (K3)
    g = act_g(a_g)                                          # (K4) (O4)
    c_new = f * c + i * g                                   # (K5)
    a_o = a_o + peep(p, "weight_co", c_new)                 # (P3)
    o = act_f(a_o)                                          # (K6) (O4)
    m = o * act_h(c_new)                                    # (K7) (O5)
    h_new = project_forward(p, m)                           # (K8) (J1)
    return (h_new, c_new), (x, h, m, (a_f, a_g, a_o, c, f, i, g, o, c_new))


def coupled_backward(k, saved, dstate):
    """(K11)-(K17); with peephole weights (P11), (K18), (P22)-(P23); with weight_hr (J11), (J21)."""
    p, (act_f, act_g, act_h) = k.p, k.functions
    x, h, m, (a_f, a_g, a_o, c, f, i, g, o, c_new) = saved
    dh_new, dc_new = dstate
    dm, dproj = project_backward(p, m, dh_new)              # (K11) (J11) (J21)
    da_o = dm * act_h(c_new) * act_f.slope(a_o)             # (K12) (O14)
    dc_new = dc_new + dm * o * act_h.slope(c_new) + peep(p, "weight_co", da_o)      # (K13) (O15) (P11)
    da_f = dc_new * (c - g) * act_f.slope(a_f)              # (K14) (O14)
    da_g = dc_new * i * act_g.slope(a_g)                    # (K15) (O14)
    dc = dc_new * f + peep(p, "weight_cf", da_f)            # (K16) (K18)
    da = np.concatenate([da_f, da_g, da_o], axis=1)         # (K17)
    grads = zeros(p) | dproj
    dx, dh = preactivation_backward(p, x, h * k.mask, da, grads)
    grads |= {"weight_cf": peep_gradients(da_f, c),         # (P22)
              "weight_co": peep_gradients(da_o, c_new)}     # (P23)
    return dx, (dh * k.mask, dc), grads


def coupled_kinks(spec, saved):
    """Every function of a step with its argument."""
    a_f, a_g, a_o, *_, c_new = saved[-1]
    act_f, act_g, act_h = functions_of(spec)
    return [(act_f, a_f), (act_g, a_g), (act_f, a_o), (act_h, c_new)]


# ---------------------------------------------------------------- multiplicative LSTM: Krause et al. 2016


def multiplicative_forward(k, x, state):
    """(X1)-(X4), then (L2)-(L8)."""
    p, (h, c) = k.p, state
    u = linear_forward(x, p["weight_mx"])                   # (X1)
    v = linear_forward(h * k.mask, p["weight_mh"])          # (X2)
    q = u * v                                               # (X3)
    c_new, m, saved = lstm_gates_forward(k, preactivation(p, x, q), c)      # (X4)
    return (m, c_new), (x, h, u, v, q, saved)


def multiplicative_backward(k, saved, dstate):
    """(L11)-(L18), then (X11)-(X14), (X21)-(X23)."""
    p, (dh_new, dc_new), grads = k.p, dstate, zeros(k.p)
    x, h, u, v, q, saved = saved
    da, dc = lstm_gates_backward(k, saved, dh_new, dc_new, grads)
    dx, dq = preactivation_backward(p, x, q, da, grads)     # (X11) (X13) (X21)
    du, dv = dq * v, dq * u                                 # (X12)
    dx_m, dW_mx, _ = linear_backward(x, p["weight_mx"], du)     # (X13) (X22)
    dh, dW_mh, _ = linear_backward(h * k.mask, p["weight_mh"], dv)      # (X14) (X23)
    return dx + dx_m, (dh * k.mask, dc), grads | {"weight_mx": dW_mx, "weight_mh": dW_mh}


def multiplicative_shapes(spec, I):
    """Four blocks, and the two weights of the intermediate state."""
    H = spec.hidden_size
    return shapes(spec, I, W=4, R=4, b=4, between={"weight_mx": (H, I), "weight_mh": (H, H)})


LSTM = Cell(lstm_forward, lstm_backward, lambda spec, I: torch_shapes(spec, I, 4), ("h", "c"), lstm_kinks)
COUPLED = Cell(coupled_forward, coupled_backward, lambda spec, I: torch_shapes(spec, I, 3), ("h", "c"), coupled_kinks)
MULTIPLICATIVE = Cell(multiplicative_forward, multiplicative_backward, multiplicative_shapes, ("h", "c"))
