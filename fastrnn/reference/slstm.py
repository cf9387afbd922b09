"""Group (SL): the sLSTM of Beck et al. 2024, exponential gates kept finite by a running maximum."""

import numpy as np

from .functions import SIGMOID, TANH, softplus
from .products import gates, preactivation, preactivation_backward, stacked, zeros
from .spec import Cell, shapes


def slstm_forward(k, x, state):
    """(SL1)-(SL8)."""
    h, c, n, m = state
    a_i, a_f, a_z, a_o = gates(preactivation(k.p, x, h * k.mask), 4)    # (SL1)
    log_f = a_f if k.spec.forget == "exp" else -softplus(-a_f)      # (SL2)
    m_new = np.maximum(log_f + m, a_i)                      # (SL3)
    i, f = np.exp(a_i - m_new), np.exp(log_f + m - m_new)   # (SL4)
    z, o = TANH(a_z), SIGMOID(a_o)                          # (SL5)
    c_new = f * c + i * z                                   # (SL6)
    n_new = f * n + i                                       # (SL7)
    h_new = o * (c_new / n_new)                             # (SL8)
    return (h_new, c_new, n_new, m_new), (x, h, c, n, a_f, a_z, a_o, i, f, z, o, c_new, n_new)


def slstm_backward(k, saved, dstate):
    """(SL11)-(SL18); m is held, so no gradient reaches or leaves it."""
    x, h, c, n, a_f, a_z, a_o, i, f, z, o, c_new, n_new = saved
    dh_new, dc_new, dn_new, dm_new = dstate
    ratio, grads = c_new / n_new, zeros(k.p)
    da_o = dh_new * ratio * SIGMOID.slope(a_o)              # (SL11)
    dc_new = dc_new + dh_new * o / n_new                    # (SL12)
    dn_new = dn_new - dh_new * o * ratio / n_new            # (SL13)
    da_i = (dc_new * z + dn_new) * i                        # (SL14)
    dlog_f = (dc_new * c + dn_new * n) * f                  # (SL15)
    da_f = dlog_f if k.spec.forget == "exp" else dlog_f * SIGMOID(-a_f)     # (SL16)
    da_z = dc_new * i * TANH.slope(a_z)                     # (SL17)
    dx, dh = preactivation_backward(k.p, x, h * k.mask, stacked(da_i, da_f, da_z, da_o), grads)
    return dx, (dh * k.mask, dc_new * f, dn_new * f, np.zeros_like(dm_new)), grads      # (SL18)


SLSTM = Cell(slstm_forward, slstm_backward, lambda spec, I: shapes(spec, I, W=4, R=4, b=4), ("h", "c", "n", "m"),
             empty={"m": -np.inf})
