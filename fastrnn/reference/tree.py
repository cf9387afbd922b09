"""Group (T): the child-sum tree LSTM of Tai, Socher & Manning 2015, node by node."""

import numpy as np

from .functions import SIGMOID, TANH
from .products import gates, linear_backward, linear_forward, stacked


def tree_parameter_shapes(input_size, hidden_size, bias=True):
    """Ordered dict: name -> shape; blocks i, f, g, o."""
    I, H = input_size, hidden_size
    shapes = {"weight_ih_l0": (4 * H, I), "weight_hh_l0": (4 * H, H)}
    return shapes | {"bias_ih_l0": (4 * H,)} if bias else shapes


def _from_leaves(parents):
    """The nodes in an order in which children come before their parents."""
    waiting = np.bincount([parent for parent in parents if parent >= 0], minlength=len(parents))
    order = [node for node in range(len(parents)) if not waiting[node]]
    for node in order:
        parent = parents[node]
        if parent >= 0:
            waiting[parent] -= 1
            if not waiting[parent]:
                order.append(parent)
    return order


def _pieces(params):
    """W, R without the rows of f, those of f, and the bias b (4H,)."""
    W, R = (np.asarray(params[f"weight_{side}_l0"], np.float64) for side in ("ih", "hh"))
    R_i, R_f, R_g, R_o = np.split(R, 4)
    return W, np.concatenate([R_i, R_g, R_o]), R_f, np.asarray(params.get("bias_ih_l0", np.zeros(len(W))), np.float64)


def tree_forward(params, x, parents):
    """(T1)-(T6): x (N, I), parents (N,) with -1 for a root -> h (N, H), c (N, H), tape."""
    x, parents = np.asarray(x, np.float64), [int(parent) for parent in parents]
    W, R_igo, R_f, b = _pieces(params)
    N, H = len(x), R_f.shape[1]
    h, c, steps = np.zeros((N, H)), np.zeros((N, H)), []
    for node in _from_leaves(parents):
        children = np.flatnonzero(np.array(parents) == node)
        h_sum = h[children].sum(axis=0, keepdims=True)                      # (T1)
        u_i, u_f, u_g, u_o = gates(linear_forward(x[node:node + 1], W, b), 4)   # (T2) (T4)
        v_i, v_g, v_o = gates(linear_forward(h_sum, R_igo), 3)              # (T2)
        a_i, a_g, a_o = u_i + v_i, u_g + v_g, u_o + v_o                     # (T2)
        i, g, o = SIGMOID(a_i), TANH(a_g), SIGMOID(a_o)                     # (T3)
        a_f = u_f + linear_forward(h[children], R_f)                        # (T4) a row for each child
        f = SIGMOID(a_f)                                                    # (T4)
        c_new = i * g + (f * c[children]).sum(axis=0)                       # (T5)
        c[node], h[node] = c_new, o * TANH(c_new)                           # (T6)
        steps.append((node, children, (h_sum, a_i, a_f, a_g, a_o, i, f, g, o)))
    return h, c, (x, h, c, steps)


def tree_backward(params, tape, dh, dc=None):
    """(T11)-(T18), (T21)-(T23): dh (N, H), dc (N, H) or None -> dx (N, I), grads."""
    W, R_igo, R_f, b = _pieces(params)
    x, h, c, steps = tape
    dh, dc = np.array(dh, np.float64), np.zeros_like(h) if dc is None else np.array(dc, np.float64)
    dx, dW, dR_igo, dR_f, db = (np.zeros_like(array) for array in (x, W, R_igo, R_f, b))
    for node, children, (h_sum, a_i, a_f, a_g, a_o, i, f, g, o) in reversed(steps):
        c_node = c[node:node + 1]
        da_o = dh[node] * TANH(c_node) * SIGMOID.slope(a_o)                 # (T11)
        dc_node = dc[node] + dh[node] * o * TANH.slope(c_node)              # (T12)
        da_i = dc_node * g * SIGMOID.slope(a_i)                             # (T13)
        da_g = dc_node * i * TANH.slope(a_g)                                # (T13)
        da_f = dc_node * c[children] * SIGMOID.slope(a_f)                   # (T14)
        dc[children] += dc_node * f                                         # (T15)
        dh_sum, dR, _ = linear_backward(h_sum, R_igo, stacked(da_i, da_g, da_o))        # (T16) (T22)
        dR_igo += dR
        dh_children, dR, _ = linear_backward(h[children], R_f, da_f)        # (T17) (T22)
        dR_f += dR
        dh[children] += dh_sum + dh_children                                # (T17)
        da = stacked(da_i, da_f.sum(axis=0, keepdims=True), da_g, da_o)     # (T18)
        dx[node:node + 1], dW_node, db_node = linear_backward(x[node:node + 1], W, da)  # (T18) (T21) (T23)
        dW += dW_node
        db += db_node
    dR_i, dR_g, dR_o = np.split(dR_igo, 3)
    grads = {"weight_ih_l0": dW, "weight_hh_l0": np.concatenate([dR_i, dR_f, dR_g, dR_o]), "bias_ih_l0": db}
    return dx, {name: grads[name] for name in params}
