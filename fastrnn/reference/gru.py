"""Groups (G), (C), with (O) and (N): both GRUs."""

import numpy as np

from .products import gates, product_backward, product_forward, zeros
from .spec import Cell, functions_of, torch_shapes


def rows_of(h):
    """The rows of r and z, which a layer norm takes together, and those of n."""
    H = h.shape[1]
    return slice(0, 2 * H), slice(2 * H, 3 * H)


# ---------------------------------------------------------------- GRU, reset after the product: cuDNN, torch


def gru_forward(k, x, state):
    """(G1)-(G6), (O6), (N7), (N8)."""
    p, (h,), (act_f, act_g) = k.p, state, k.functions
    (rz, n_), q = rows_of(h), h * k.mask
    u_r, u_z = gates(product_forward(p, "ih", x, rz), 2)    # (G1) (N7)
    v_r, v_z = gates(product_forward(p, "hh", q, rz), 2)    # (G2) (N8)
    u_n = product_forward(p, "ih", x, n_)                   # (G1) (N7)
    v_n = product_forward(p, "hh", q, n_)                   # (G2) (N8)
    r = act_f(u_r + v_r)                                    # (G3) (O6)
    z = act_f(u_z + v_z)                                    # (G4) (O6)
    n = act_g(u_n + r * v_n)                                # (G5) (O6)
    h_new = (1 - z) * n + z * h                             # (G6)
    return (h_new,), (x, h, r, z, n, v_n, u_r + v_r, u_z + v_z, u_n + r * v_n)


def gru_backward(k, saved, dstate):
    """(G11)-(G17), (G21), (O16)."""
    p, (dh_new,), (act_f, act_g) = k.p, dstate, k.functions
    x, h, r, z, n, v_n, a_r, a_z, a_n = saved
    (rz, n_), q, grads = rows_of(h), h * k.mask, zeros(p)
    da_z = dh_new * (h - n) * act_f.slope(a_z)              # (G11) (O16)
    da_n = dh_new * (1 - z) * act_g.slope(a_n)              # (G12) (O16)
    da_r = da_n * v_n * act_f.slope(a_r)                    # (G13) (O16)
    da_rz = np.concatenate([da_r, da_z], axis=1)            # (G14) (G15)
    dx = product_backward(p, "ih", x, da_rz, grads, rz) + product_backward(p, "ih", x, da_n, grads, n_)  # (G16) (G21)
    dq = product_backward(p, "hh", q, da_rz, grads, rz)     # (G17) (G21)
    dq = dq + product_backward(p, "hh", q, da_n * r, grads, n_)     # (G15) (G17) (G21)
    return dx, (dh_new * z + dq * k.mask,), grads           # (G17)


# ---------------------------------------------------------------- GRU, reset before the product: Cho et al. 2014


def cho_gru_forward(k, x, state):
    """(C1)-(C7), (O6), (N7), (N9): two recurrent products, of h and of r * h."""
    p, (h,), (act_f, act_g) = k.p, state, k.functions
    rz, n_ = rows_of(h)
    u_r, u_z = gates(product_forward(p, "ih", x, rz), 2)    # (C1) (N7)
    u_n = product_forward(p, "ih", x, n_)                   # (C1) (N7)
    v_r, v_z = gates(product_forward(p, "hh", h * k.mask, rz), 2)   # (C2) (N9)
    r = act_f(u_r + v_r)                                    # (C3) (O6)
    z = act_f(u_z + v_z)                                    # (C4) (O6)
    q = r * (h * k.mask)                                    # (C5)
    a_n = u_n + product_forward(p, "hh", q, n_)             # (C6) (N9)
    n = act_g(a_n)                                          # (C6) (O6)
    h_new = (1 - z) * n + z * h                             # (C7)
    return (h_new,), (x, h, r, z, q, n, u_r + v_r, u_z + v_z, a_n)


def cho_gru_backward(k, saved, dstate):
    """(C11)-(C17), (C21)-(C23), (O16)."""
    p, (dh_new,), (act_f, act_g) = k.p, dstate, k.functions
    x, h, r, z, q, n, a_r, a_z, a_n = saved
    (rz, n_), grads = rows_of(h), zeros(p)
    da_z = dh_new * (h - n) * act_f.slope(a_z)              # (C11) (O16)
    da_n = dh_new * (1 - z) * act_g.slope(a_n)              # (C12) (O16)
    dq = product_backward(p, "hh", q, da_n, grads, n_)      # (C13) (C22)
    da_r = dq * (h * k.mask) * act_f.slope(a_r)             # (C14) (O16)
    da_rz = np.concatenate([da_r, da_z], axis=1)            # (C15)
    dx = product_backward(p, "ih", x, da_rz, grads, rz) + product_backward(p, "ih", x, da_n, grads, n_)  # (C16) (C23)
    dh_products = dq * r + product_backward(p, "hh", h * k.mask, da_rz, grads, rz)     # (C17) (C21)
    return dx, (dh_new * z + dh_products * k.mask,), grads  # (C17)


GRU = Cell(gru_forward, gru_backward, lambda spec, I: torch_shapes(spec, I, 3),
           kinks=lambda spec, saved: list(zip(functions_of(spec)[:1] * 2 + functions_of(spec)[1:], saved[-3:])))
CHO_GRU = GRU._replace(forward=cho_gru_forward, backward=cho_gru_backward)
