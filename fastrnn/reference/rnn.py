"""Groups (R) with (O), (I), (Q), (Y): cells of one product each for x and h; RNN, IndRNN, FastRNN, FastGRNN."""

from .functions import SIGMOID, TANH
from .products import blocks, linear_backward, linear_forward, preactivation, preactivation_backward, stacked, zeros
from .spec import Cell, functions_of, shapes, torch_shapes

# ---------------------------------------------------------------- RNN: Elman 1990; any function, residual, layer norm


def rnn_forward(k, x, state):
    """(R1)-(R3), (O1)-(O3), (N5)."""
    (h,), (act,) = state, k.functions
    a = preactivation(k.p, x, h * k.mask)               # (R1) (N5)
    h_new = act(a)                                      # (R2) (R3) (O2)
    if k.spec.residual:
        h_new = h + h_new                               # (O3)
    return (h_new,), (x, h, a)


def rnn_backward(k, saved, dstate):
    """(R11), (R12), (O11)-(O13), then (A)."""
    x, h, a = saved
    (dh_new,), (act,) = dstate, k.functions
    grads = zeros(k.p)
    da = dh_new * act.slope(a)                          # (R11) (R12) (O12)
    dx, dh = preactivation_backward(k.p, x, h * k.mask, da, grads)
    dh = dh * k.mask
    if k.spec.residual:
        dh = dh + dh_new                                # (O13)
    return dx, (dh,), grads


RNN = Cell(rnn_forward, rnn_backward, lambda spec, I: torch_shapes(spec, I, 1),
           kinks=lambda spec, saved: [(functions_of(spec)[0], saved[2])])


# ---------------------------------------------------------------- IndRNN: Li et al. 2018


def indrnn_forward(k, x, state):
    """(I1), (I2)."""
    p, (h,), (act,) = k.p, state, k.functions
    a = linear_forward(x, p["weight_ih"], p.get("bias_ih")) + p["weight_hh"] * (h * k.mask)     # (I1)
    return (act(a),), (x, h, a)                         # (I2)


def indrnn_backward(k, saved, dstate):
    """(I11)-(I13), (I21)-(I23)."""
    x, h, a = saved
    (dh_new,), (act,) = dstate, k.functions
    da = dh_new * act.slope(a)                          # (I11)
    dx, dW, db = linear_backward(x, k.p["weight_ih"], da)       # (I12) (I21) (I23)
    dh = da * k.p["weight_hh"] * k.mask                 # (I13)
    dw = (da * (h * k.mask)).sum(axis=0)                # (I22)
    return dx, (dh,), {"weight_ih": dW, "weight_hh": dw, "bias_ih": db}


# ---------------------------------------------------------------- FastRNN: Kusupati et al. 2018


def fastrnn_forward(k, x, state):
    """(Q1), (Q2)."""
    p, (h,) = k.p, state
    a = preactivation(p, x, h * k.mask)
    n = TANH(a)                                         # (Q1)
    h_new = SIGMOID(p["alpha"]) * n + SIGMOID(p["beta"]) * h    # (Q2)
    return (h_new,), (x, h, a, n)


def fastrnn_backward(k, saved, dstate):
    """(Q11)-(Q13), (Q21)-(Q23)."""
    p, (dh_new,), grads = k.p, dstate, zeros(k.p)
    x, h, a, n = saved
    da = dh_new * SIGMOID(p["alpha"]) * TANH.slope(a)   # (Q11)
    dx, dh = preactivation_backward(p, x, h * k.mask, da, grads)        # (Q12) (Q13) (Q21)
    dh = dh_new * SIGMOID(p["beta"]) + dh * k.mask      # (Q13)
    grads["alpha"] += SIGMOID.slope(p["alpha"]) * (dh_new * n).sum()    # (Q22)
    grads["beta"] += SIGMOID.slope(p["beta"]) * (dh_new * h).sum()      # (Q23)
    return dx, (dh,), grads


# ---------------------------------------------------------------- FastGRNN


def fastgrnn_forward(k, x, state):
    """(Y1)-(Y4)."""
    p, (h,) = k.p, state
    b_z, b_n = blocks(p, "bias_ih", 2)
    u = linear_forward(x, p["weight_ih"]) + linear_forward(h * k.mask, p["weight_hh"])      # (Y1)
    z = SIGMOID(u + b_z)                                # (Y2)
    n = TANH(u + b_n)                                   # (Y3)
    zeta, nu = SIGMOID(p["zeta"]), SIGMOID(p["nu"])
    h_new = (zeta * (1 - z) + nu) * n + z * h           # (Y4)
    return (h_new,), (x, h, u, z, n)


def fastgrnn_backward(k, saved, dstate):
    """(Y11)-(Y15), (Y21)-(Y24)."""
    p, (dh_new,) = k.p, dstate
    x, h, u, z, n = saved
    b_z, b_n = blocks(p, "bias_ih", 2)
    zeta, nu = SIGMOID(p["zeta"]), SIGMOID(p["nu"])
    da_z = dh_new * (h - zeta * n) * SIGMOID.slope(u + b_z)             # (Y11)
    da_n = dh_new * (zeta * (1 - z) + nu) * TANH.slope(u + b_n)         # (Y12)
    du = da_z + da_n                                    # (Y13)
    dx, dW, _ = linear_backward(x, p["weight_ih"], du)          # (Y14) (Y21)
    dh, dR, _ = linear_backward(h * k.mask, p["weight_hh"], du)         # (Y15) (Y21)
    dh = dh_new * z + dh * k.mask                       # (Y15)
    db = stacked(da_z, da_n).sum(axis=0)                # (Y22)
    dzeta = SIGMOID.slope(p["zeta"]) * (dh_new * (1 - z) * n).sum()     # (Y23)
    dnu = SIGMOID.slope(p["nu"]) * (dh_new * n).sum()   # (Y24)
    return dx, (dh,), {"weight_ih": dW, "weight_hh": dR, "bias_ih": db, "zeta": dzeta, "nu": dnu}


def indrnn_shapes(spec, I):
    """R is diagonal."""
    sizes = shapes(spec, I, W=1, R=1, b=1)
    return sizes | {"weight_hh": (spec.hidden_size,)}


INDRNN = Cell(indrnn_forward, indrnn_backward, indrnn_shapes, kinks=RNN.kinks)
FASTRNN = Cell(fastrnn_forward, fastrnn_backward,
               lambda spec, I: shapes(spec, I, W=1, R=1, b=1, after={"alpha": (1,), "beta": (1,)}))
FASTGRNN = Cell(fastgrnn_forward, fastgrnn_backward,
                lambda spec, I: shapes(spec, I, W=1, R=1, b=2, after={"zeta": (1,), "nu": (1,)}))
