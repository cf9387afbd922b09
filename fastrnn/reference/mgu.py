"""Groups (M), (U), (V), (W): cells of one bias whose last gate sees a gated h; MGU and the three MUTs."""

import numpy as np

from .functions import SIGMOID, TANH
from .products import blocks, linear_backward, linear_forward, stacked
from .spec import Cell, shapes

# ---------------------------------------------------------------- MGU: Zhou et al. 2016


def mgu_forward(k, x, state):
    """(M1)-(M5)."""
    p, (h,) = k.p, state
    W_f, W_n = blocks(p, "weight_ih", 2)
    R_f, R_n = blocks(p, "weight_hh", 2)
    b_f, b_n = blocks(p, "bias_ih", 2)
    s = h * k.mask
    a_f = linear_forward(x, W_f, b_f) + linear_forward(s, R_f)      # (M1)
    f = SIGMOID(a_f)                                        # (M2)
    q = f * s                                               # (M3)
    a_n = linear_forward(x, W_n, b_n) + linear_forward(q, R_n)
    n = TANH(a_n)                                           # (M4)
    h_new = (1 - f) * h + f * n                             # (M5)
    return (h_new,), (x, h, s, a_f, f, q, a_n, n)


def mgu_backward(k, saved, dstate):
    """(M11)-(M15), (M21)-(M23)."""
    p, (dh_new,) = k.p, dstate
    x, h, s, a_f, f, q, a_n, n = saved
    R_f, R_n = blocks(p, "weight_hh", 2)
    da_n = dh_new * f * TANH.slope(a_n)                     # (M11)
    dq, dR_n, _ = linear_backward(q, R_n, da_n)             # (M12) (M22)
    da_f = (dh_new * (n - h) + dq * s) * SIGMOID.slope(a_f)     # (M13)
    dx, dW, db = linear_backward(x, p["weight_ih"], stacked(da_f, da_n))    # (M14) (M21) (M23)
    ds, dR_f, _ = linear_backward(s, R_f, da_f)             # (M15) (M22)
    dh = dh_new * (1 - f) + (ds + dq * f) * k.mask          # (M15)
    return dx, (dh,), {"weight_ih": dW, "weight_hh": np.concatenate([dR_f, dR_n]), "bias_ih": db}


# ---------------------------------------------------------------- MUT1: Jozefowicz, Zaremba & Sutskever 2015


def mut1_forward(k, x, state):
    """(U1)-(U5)."""
    p, (h,) = k.p, state
    W_z, W_r = blocks(p, "weight_ih", 2)
    R_r, R_n = blocks(p, "weight_hh", 2)
    b_z, b_r, b_n = blocks(p, "bias_ih", 3)
    s = h * k.mask
    a_z = linear_forward(x, W_z, b_z)
    z = SIGMOID(a_z)                                        # (U1)
    a_r = linear_forward(x, W_r, b_r) + linear_forward(s, R_r)
    r = SIGMOID(a_r)                                        # (U2)
    q = r * s                                               # (U3)
    a_n = linear_forward(q, R_n, b_n) + TANH(x)
    n = TANH(a_n)                                           # (U4)
    h_new = n * z + h * (1 - z)                             # (U5)
    return (h_new,), (x, h, s, a_z, z, a_r, r, q, a_n, n)


def mut1_backward(k, saved, dstate):
    """(U11)-(U16), (U21)-(U23)."""
    p, (dh_new,) = k.p, dstate
    x, h, s, a_z, z, a_r, r, q, a_n, n = saved
    R_r, R_n = blocks(p, "weight_hh", 2)
    da_z = dh_new * (n - h) * SIGMOID.slope(a_z)            # (U11)
    da_n = dh_new * z * TANH.slope(a_n)                     # (U12)
    dq, dR_n, db_n = linear_backward(q, R_n, da_n)          # (U13) (U22) (U23)
    da_r = dq * s * SIGMOID.slope(a_r)                      # (U14)
    dx, dW, db_zr = linear_backward(x, p["weight_ih"], stacked(da_z, da_r))     # (U15) (U21) (U23)
    dx = dx + da_n * TANH.slope(x)                          # (U15)
    ds, dR_r, _ = linear_backward(s, R_r, da_r)             # (U16) (U22)
    dh = dh_new * (1 - z) + (ds + dq * r) * k.mask          # (U16)
    return dx, (dh,), {"weight_ih": dW, "weight_hh": np.concatenate([dR_r, dR_n]),
                       "bias_ih": np.concatenate([db_zr, db_n])}


# ---------------------------------------------------------------- MUT2


def mut2_forward(k, x, state):
    """(V1)-(V5)."""
    p, (h,) = k.p, state
    W_z, W_n = blocks(p, "weight_ih", 2)
    R_z, R_r, R_n = blocks(p, "weight_hh", 3)
    b_z, b_r, b_n = blocks(p, "bias_ih", 3)
    s = h * k.mask
    a_z = linear_forward(x, W_z, b_z) + linear_forward(s, R_z)
    z = SIGMOID(a_z)                                        # (V1)
    a_r = x + linear_forward(s, R_r, b_r)
    r = SIGMOID(a_r)                                        # (V2)
    q = r * s                                               # (V3)
    a_n = linear_forward(q, R_n, b_n) + linear_forward(x, W_n)
    n = TANH(a_n)                                           # (V4)
    h_new = n * z + h * (1 - z)                             # (V5)
    return (h_new,), (x, h, s, a_z, z, a_r, r, q, a_n, n)


def mut2_backward(k, saved, dstate):
    """(V11)-(V16), (V21)-(V23)."""
    p, (dh_new,) = k.p, dstate
    x, h, s, a_z, z, a_r, r, q, a_n, n = saved
    R_z, R_r, R_n = blocks(p, "weight_hh", 3)
    da_z = dh_new * (n - h) * SIGMOID.slope(a_z)            # (V11)
    da_n = dh_new * z * TANH.slope(a_n)                     # (V12)
    dq, dR_n, db_n = linear_backward(q, R_n, da_n)          # (V13) (V22) (V23)
    da_r = dq * s * SIGMOID.slope(a_r)                      # (V14)
    dx, dW, _ = linear_backward(x, p["weight_ih"], stacked(da_z, da_n))         # (V15) (V21)
    dx = dx + da_r                                          # (V15)
    ds, dR_zr, db_zr = linear_backward(s, np.concatenate([R_z, R_r]), stacked(da_z, da_r))  # (V16) (V22) (V23)
    dh = dh_new * (1 - z) + (ds + dq * r) * k.mask          # (V16)
    return dx, (dh,), {"weight_ih": dW, "weight_hh": np.concatenate([dR_zr, dR_n]),
                       "bias_ih": np.concatenate([db_zr, db_n])}


# ---------------------------------------------------------------- MUT3


def mut3_forward(k, x, state):
    """(W1)-(W5)."""
    p, (h,) = k.p, state
    W_z, W_r, W_n = blocks(p, "weight_ih", 3)
    R_z, R_r, R_n = blocks(p, "weight_hh", 3)
    b_z, b_r, b_n = blocks(p, "bias_ih", 3)
    s = h * k.mask
    a_z = linear_forward(x, W_z, b_z) + linear_forward(TANH(s), R_z)
    z = SIGMOID(a_z)                                        # (W1)
    a_r = linear_forward(x, W_r, b_r) + linear_forward(s, R_r)
    r = SIGMOID(a_r)                                        # (W2)
    q = r * s                                               # (W3)
    a_n = linear_forward(q, R_n, b_n) + linear_forward(x, W_n)
    n = TANH(a_n)                                           # (W4)
    h_new = n * z + h * (1 - z)                             # (W5)
    return (h_new,), (x, h, s, a_z, z, a_r, r, q, a_n, n)


def mut3_backward(k, saved, dstate):
    """(W11)-(W16), (W21)-(W23)."""
    p, (dh_new,) = k.p, dstate
    x, h, s, a_z, z, a_r, r, q, a_n, n = saved
    R_z, R_r, R_n = blocks(p, "weight_hh", 3)
    da_z = dh_new * (n - h) * SIGMOID.slope(a_z)            # (W11)
    da_n = dh_new * z * TANH.slope(a_n)                     # (W12)
    dq, dR_n, _ = linear_backward(q, R_n, da_n)             # (W13) (W22)
    da_r = dq * s * SIGMOID.slope(a_r)                      # (W14)
    dx, dW, db = linear_backward(x, p["weight_ih"], stacked(da_z, da_r, da_n))  # (W15) (W21) (W23)
    dt, dR_z, _ = linear_backward(TANH(s), R_z, da_z)       # (W16) (W22)
    ds, dR_r, _ = linear_backward(s, R_r, da_r)             # (W16) (W22)
    dh = dh_new * (1 - z) + (dt * TANH.slope(s) + ds + dq * r) * k.mask         # (W16)
    return dx, (dh,), {"weight_ih": dW, "weight_hh": np.concatenate([dR_z, dR_r, dR_n]), "bias_ih": db}


MGU = Cell(mgu_forward, mgu_backward, lambda spec, I: shapes(spec, I, W=2, R=2, b=2))
MUT1 = Cell(mut1_forward, mut1_backward, lambda spec, I: shapes(spec, I, W=2, R=2, b=3))
MUT2 = Cell(mut2_forward, mut2_backward, lambda spec, I: shapes(spec, I, W=2, R=3, b=3))
MUT3 = Cell(mut3_forward, mut3_backward, lambda spec, I: shapes(spec, I, W=3, R=3, b=3))
