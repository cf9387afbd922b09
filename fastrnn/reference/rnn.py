"""Groups (R) and (O): the RNN of Elman 1990, with any function, clip, residual connection, layer norm."""

from .products import preactivation, preactivation_backward, zeros
from .spec import Cell, functions_of, torch_shapes


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
