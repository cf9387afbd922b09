"""Groups (A) and (N): what lies between the operands of a step and its gates; products, biases, layer norm.

A product takes the rows ``rows`` of ``weight_<side>``, side "ih" or "hh", and of everything that
belongs to them: bias, gain and shift. Its backward adds to ``grads``, which holds every parameter.
"""

import numpy as np

ALL = slice(None)
EPSILON = 1e-5  # (N2)


def linear_forward(x, W, b=None):
    """(A1) x (..., I), W (O, I), b (O,) or None -> (..., O)."""
    return x @ W.T if b is None else x @ W.T + b


def linear_backward(x, W, dy):
    """Gradients (A11), (A21), (A22): dx (..., I), dW (O, I), db (O,)."""
    dy_rows, x_rows = dy.reshape(-1, W.shape[0]), x.reshape(-1, W.shape[1])
    return dy @ W, dy_rows.T @ x_rows, dy_rows.sum(axis=0)


def norm_forward(a, gain, shift):
    """(N1)-(N4) Layer norm of the rows of a (n, O): the value, then what backward needs."""
    centred = a - a.mean(axis=1, keepdims=True)                             # (N1)
    scale = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)     # (N2)
    unit = centred * scale                                                  # (N3)
    return gain * unit + shift, (unit, scale)                               # (N4)


def norm_backward(saved, gain, dy):
    """(N11), (N12), (N21), (N22): da and the gradients of gain and shift."""
    unit, scale = saved
    dunit = dy * gain                                                       # (N11)
    along = (dunit * unit).mean(axis=1, keepdims=True)
    da = scale * (dunit - dunit.mean(axis=1, keepdims=True) - unit * along)     # (N12)
    return da, (dy * unit).sum(axis=0), dy.sum(axis=0)                      # (N21) (N22)


def zeros(p):
    """A gradient of zeros for every parameter."""
    return {name: np.zeros_like(array) for name, array in p.items()}


def product_forward(p, side, x, rows=ALL):
    """(A1), with gains layer norm over these rows before the bias is added: x (n, .) -> (n, rows)."""
    a = linear_forward(x, p[f"weight_{side}"][rows])
    if f"weight_ln_{side}" in p:
        a, _ = norm_forward(a, p[f"weight_ln_{side}"][rows], p[f"bias_ln_{side}"][rows])
    return a + p[f"bias_{side}"][rows] if f"bias_{side}" in p else a


def product_backward(p, side, x, da, grads, rows=ALL):
    """(A11), (A21), (A22), (N13): dx; adds the gradients of these rows to ``grads``."""
    if f"bias_{side}" in p:
        grads[f"bias_{side}"][rows] += da.sum(axis=0)
    W = p[f"weight_{side}"][rows]
    if f"weight_ln_{side}" in p:
        gain = p[f"weight_ln_{side}"][rows]
        _, saved = norm_forward(linear_forward(x, W), gain, 0.0)
        da, dgain, dshift = norm_backward(saved, gain, da)                  # (N13)
        grads[f"weight_ln_{side}"][rows] += dgain
        grads[f"bias_ln_{side}"][rows] += dshift
    dx, dW, _ = linear_backward(x, W, da)
    grads[f"weight_{side}"][rows] += dW
    return dx


def preactivation(p, x, h):
    """(A2), (N5) x W_ih^T + b_ih + h W_hh^T + b_hh: (n, G*H)."""
    return product_forward(p, "ih", x) + product_forward(p, "hh", h)


def preactivation_backward(p, x, h, da, grads):
    """(A12), (A13), (A23)-(A25): dx, dh; adds the gradients of weights and biases to ``grads``."""
    return product_backward(p, "ih", x, da, grads), product_backward(p, "hh", h, da, grads)


def gates(a, count):
    """Cut (n, count*H) into its ``count`` blocks (n, H)."""
    return np.split(a, count, axis=1)


def blocks(p, name, count):
    """A parameter's ``count`` blocks of H rows; zeros for one that is not there, a bias."""
    return np.split(p[name], count) if name in p else [0.0] * count


def stacked(*parts):
    """Blocks of gates (n, H) side by side, for a product that takes them together."""
    return np.concatenate(parts, axis=1)
