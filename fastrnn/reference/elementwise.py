"""Groups (SR), (MG), (ML): cells without a product of h, so one product does all steps; SRU, minGRU, minLSTM."""

from .functions import SIGMOID, softplus
from .products import blocks, gates, linear_backward, linear_forward, stacked
from .spec import Cell, shapes

# ---------------------------------------------------------------- SRU: Lei et al. 2018


def highway(spec):
    """The factor of the highway's input."""
    return 1.0 if spec.alpha is None else spec.alpha


def sru_forward(k, x, state):
    """(SR1)-(SR5). The only state is c."""
    p, (c,), alpha = k.p, state, highway(k.spec)
    v_f, v_r = blocks(p, "weight_c", 2)
    b_f, b_r = blocks(p, "bias_ih", 2)
    count = p["weight_ih"].shape[0] // c.shape[1]
    t, u_f, u_r, *rest = gates(linear_forward(x, p["weight_ih"]), count)    # (SR1)
    s = rest[0] if rest else x                              # (SR1)
    a_f = u_f + v_f * c + b_f
    f = SIGMOID(a_f)                                        # (SR2)
    a_r = u_r + v_r * c + b_r
    r = SIGMOID(a_r)                                        # (SR3)
    c_new = f * c + (1 - f) * t                             # (SR4)
    h = r * c_new + (1 - r) * (alpha * s)                   # (SR5)
    return (h, c_new), (x, c, t, s, a_f, f, a_r, r, c_new)


def sru_backward(k, saved, dnew):
    """(SR11)-(SR18), (SR21)-(SR23)."""
    p, (dh, dc_new), alpha = k.p, dnew, highway(k.spec)
    x, c, t, s, a_f, f, a_r, r, c_new = saved
    v_f, v_r = blocks(p, "weight_c", 2)
    da_r = dh * (c_new - alpha * s) * SIGMOID.slope(a_r)    # (SR11)
    ds = dh * (1 - r) * alpha                               # (SR12)
    dc_new = dc_new + dh * r                                # (SR13)
    da_f = dc_new * (c - t) * SIGMOID.slope(a_f)            # (SR14)
    dt = dc_new * (1 - f)                                   # (SR15)
    dc = dc_new * f + da_f * v_f + da_r * v_r               # (SR16)
    own = p["weight_ih"].shape[0] == 4 * c.shape[1]         # does the highway have a weight?
    du = stacked(dt, da_f, da_r, ds) if own else stacked(dt, da_f, da_r)        # (SR17)
    dx, dW, _ = linear_backward(x, p["weight_ih"], du)      # (SR18) (SR21)
    dx = dx if own else dx + ds                             # (SR18)
    dv = stacked(da_f * c, da_r * c).sum(axis=0)            # (SR22)
    db = stacked(da_f, da_r).sum(axis=0)                    # (SR23)
    return dx, (dc,), {"weight_ih": dW, "bias_ih": db, "weight_c": dv}


def sru_shapes(spec, I):
    """A fourth block where x is not as wide as h."""
    H = spec.hidden_size
    return shapes(spec, I, W=3 if I == H else 4, b=2, after={"weight_c": (2 * H,)})


# ---------------------------------------------------------------- minGRU: Feng et al. 2024


def min_gru_forward(k, x, state):
    """(MG1)-(MG3)."""
    p, (h,) = k.p, state
    a_z, n = gates(linear_forward(x, p["weight_ih"], p.get("bias_ih")), 2)      # (MG1)
    z = SIGMOID(a_z)                                        # (MG2)
    h_new = (1 - z) * h + z * n                             # (MG3)
    return (h_new,), (x, h, a_z, z, n)


def min_gru_backward(k, saved, dstate):
    """(MG11)-(MG14), (MG21)."""
    x, h, a_z, z, n = saved
    (dh_new,) = dstate
    da_z = dh_new * (n - h) * SIGMOID.slope(a_z)            # (MG11)
    dn = dh_new * z                                         # (MG12)
    dh = dh_new * (1 - z)                                   # (MG13)
    dx, dW, db = linear_backward(x, k.p["weight_ih"], stacked(da_z, dn))        # (MG14) (MG21)
    return dx, (dh,), {"weight_ih": dW, "bias_ih": db}


# ---------------------------------------------------------------- minLSTM


def min_lstm_forward(k, x, state):
    """(ML1)-(ML4): f / (f + i) as the sigmoid of a difference of logarithms, so that both may vanish."""
    p, (h,) = k.p, state
    a_f, a_i, n = gates(linear_forward(x, p["weight_ih"], p.get("bias_ih")), 3)     # (ML1)
    delta = softplus(-a_i) - softplus(-a_f)                 # (ML2)
    keep, take = SIGMOID(delta), SIGMOID(-delta)            # (ML3)
    h_new = keep * h + take * n                             # (ML4)
    return (h_new,), (x, h, a_f, a_i, n, keep, take)


def min_lstm_backward(k, saved, dstate):
    """(ML11)-(ML15), (ML21)."""
    x, h, a_f, a_i, n, keep, take = saved
    (dh_new,) = dstate
    ddelta = dh_new * (h - n) * keep * take                 # (ML11)
    da_f, da_i = ddelta * SIGMOID(-a_f), -ddelta * SIGMOID(-a_i)        # (ML12)
    dn = dh_new * take                                      # (ML13)
    dh = dh_new * keep                                      # (ML14)
    dx, dW, db = linear_backward(x, k.p["weight_ih"], stacked(da_f, da_i, dn))      # (ML15) (ML21)
    return dx, (dh,), {"weight_ih": dW, "bias_ih": db}


SRU = Cell(sru_forward, sru_backward, sru_shapes, ("c",))
MIN_GRU = Cell(min_gru_forward, min_gru_backward, lambda spec, I: shapes(spec, I, W=2, b=2))
MIN_LSTM = Cell(min_lstm_forward, min_lstm_backward, lambda spec, I: shapes(spec, I, W=3, b=3))
