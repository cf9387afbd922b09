"""Faults seeded into the oracle's cells, functions and options, each of which the suite's comparison must see."""

import numpy as np
import pytest
from oracles import Fault, check_the_comparison, oracle_of
from test_faults import complaints
from tolerance import assert_close

import fastrnn as fr

FAULTS = {
    # ---- functions
    "elu': 1 below zero": Fault(
        "functions", "np.where(a > 0, 1.0, alpha * np.exp(_below(a)))",
        "np.ones_like(a)", ("rnn_elu_alpha", "lstm_activations")),
    "elu without alpha": Fault(
        "functions", "np.where(a > 0, a, alpha * np.expm1(_below(a)))",
        "np.where(a > 0, a, np.expm1(_below(a)))", ("rnn_elu_alpha", "lstm_activations")),
    "leaky_relu': 0 below zero": Fault(
        "functions", "lambda a: np.where(a > 0, 1.0, alpha), (0.0,))",
        "lambda a: np.where(a > 0, 1.0, 0.0), (0.0,))", ("rnn_leaky_relu_alpha",)),
    "softsign' without its square": Fault(
        "functions", "1 / (1 + np.abs(a))**2", "1 / (1 + np.abs(a))", ("rnn_softsign", "lstm_activations")),
    "softplus' is that of relu": Fault(
        "functions", "Function(softplus, sigmoid)",
        "Function(softplus, lambda a: (a > 0) * 1.0)", ("rnn_softplus",)),
    "hard_sigmoid': alpha everywhere": Fault(
        "functions", "return np.where(inside, alpha, 0.0)",
        "return np.full_like(a, alpha)", ("rnn_hard_sigmoid_alpha_beta",)),
    "hard_tanh': 1 everywhere": Fault(
        "functions", "lambda a: np.where((a > -1) & (a < 1), 1.0, 0.0), (-1.0, 1.0))",
        "np.ones_like, (-1.0, 1.0))", ("rnn_hard_tanh",)),
    "affine without beta": Fault(
        "functions", "lambda a: alpha * a + beta, lambda a: np.full_like(a, alpha)",
        "lambda a: alpha * a, lambda a: np.full_like(a, alpha)", ("rnn_affine_alpha_beta",)),
    "scaled_tanh' without beta": Fault(
        "functions", "alpha * beta * (1 - np.tanh(beta * a)**2)",
        "alpha * (1 - np.tanh(beta * a)**2)", ("rnn_scaled_tanh_alpha_beta", "gru_activations")),
    "thresholded_relu with the threshold taken off": Fault(
        "functions", "np.where(a <= alpha, 0.0, a)",
        "np.where(a <= alpha, 0.0, a - alpha)", ("rnn_thresholded_relu_alpha",)),
    "alpha and beta swapped": Fault(
        "functions", 'zip(("alpha", "beta"), numbers)',
        'zip(("beta", "alpha"), numbers)', ("rnn_affine_alpha_beta", "rnn_scaled_tanh_alpha_beta")),
    # ---- options
    "lstm: candidate with the function of the gates": Fault(
        "lstm", "g = act_g(a_g)                                          # (L4)",
        "g = act_f(a_g)  # (L4)", ("lstm_activations",)),
    "lstm: tanh in the place of h": Fault(
        "lstm", "m = o * act_h(a_c) ", "m = o * np.tanh(a_c) ", ("lstm_activations",)),
    "gru: reset gate with the function of the candidate": Fault(
        "gru", "r = act_f(u_r + v_r)                                    # (G3)",
        "r = act_g(u_r + v_r)  # (G3)", ("gru_activations",)),
    "clip lets gradients pass": Fault(
        "functions", " * (np.abs(a) <= limit),", ",", ("rnn_clip", "lstm_clip", "gru_activations")),
    "clip bounds from above only": Fault(
        "functions", "Function(lambda a: function(np.clip(a, -limit, limit)),",
        "Function(lambda a: function(np.minimum(a, limit)),", ("rnn_clip", "lstm_clip", "gru_activations")),
    "clip leaves the candidate": Fault(
        "spec", "clipped(f, spec.clip), clipped(g, spec.clip), *h)",
        "clipped(f, spec.clip), g, *h)", ("lstm_clip", "gru_activations")),
    "clip bounds the cell state too": Fault(
        "lstm", "a_c = cell_norm_forward(p, c_new) ",
        "c_new = c_new if k.spec.clip is None else np.clip(c_new, -k.spec.clip, k.spec.clip); a_c = "
        "cell_norm_forward(p, c_new) ", ("lstm_clip",)),
    "residual inside the function": Fault(
        "rnn", "h_new = h + h_new                               # (O3)",
        "h_new = act(a + h)  # (O3)", ("rnn_softplus_residual",)),
    "residual: gradient of the connection lost": Fault(
        "rnn", "dh = dh + dh_new  ", "dh = dh + 0  ", ("rnn_softplus_residual",)),
    # ---- layer norm
    "layer norm: unbiased variance": Fault(
        "products", "1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)",
        "1 / np.sqrt((centred**2).sum(axis=1, keepdims=True) / max(1, centred.shape[1] - 1) + EPSILON)",
        ("rnn_norm", "lstm_norm", "gru_norm")),
    "layer norm: another epsilon": Fault(
        "products", "EPSILON = 1e-5", "EPSILON = 1e-3", ("rnn_norm", "lstm_norm", "gru_norm")),
    "layer norm: gradient through the mean lost": Fault(
        "products", "dunit - dunit.mean(axis=1, keepdims=True) - unit * along",
        "dunit - unit * along", ("rnn_norm", "lstm_norm", "gru_norm")),
    "layer norm: gradient through the variance lost": Fault(
        "products", "dunit.mean(axis=1, keepdims=True) - unit * along)",
        "dunit.mean(axis=1, keepdims=True))", ("rnn_norm", "lstm_norm", "gru_norm")),
    "layer norm: gradient of the gain from the value": Fault(
        "products", "return da, (dy * unit).sum(axis=0)",
        "return da, (dy * unit * gain).sum(axis=0)", ("rnn_norm", "lstm_norm", "gru_norm")),
    "layer norm: the normalised c is carried on": Fault(
        "lstm", "a_c = cell_norm_forward(p, c_new) ", "a_c = c_new = cell_norm_forward(p, c_new) ", ("lstm_norm",)),
    "layer norm: c without one": Fault(
        "lstm", "a_c = cell_norm_forward(p, c_new) ", "a_c = c_new ", ("lstm_norm",)),
    "layer norm: gates of a GRU by themselves": Fault(
        "products",
        '    if f"weight_ln_{side}" in p:\n'
        '        a, _ = norm_forward(a, p[f"weight_ln_{side}"][rows], p[f"bias_ln_{side}"][rows])',
        '    if f"weight_ln_{side}" in p:\n'
        "        cut = [np.split(v, max(1, a.shape[1] // p['weight_hh'].shape[1]), axis=-1) for v in (a, "
        'p[f"weight_ln_{side}"][rows], p[f"bias_ln_{side}"][rows])]\n'
        "        a = np.concatenate([norm_forward(*three)[0] for three in zip(*cut)], axis=1)",
        ("gru_norm", "lstm_norm", "gru_norm_before")),
    "layer norm: biases inside": Fault(
        "products", 'a = linear_forward(x, p[f"weight_{side}"][rows])\n',
        'a = linear_forward(x, p[f"weight_{side}"][rows]) + p.get(f"bias_{side}", '
        'np.zeros(len(p[f"weight_{side}"])))[rows]\n', ("rnn_norm", "lstm_norm", "gru_norm")),
    "cho with layer norm: reset after the product": Fault(
        "gru", 'a_n = u_n + product_forward(p, "hh", q, n_) ',
        'a_n = u_n + r * product_forward(p, "hh", h, n_) ', ("gru_norm_before",)),
    # ---- MGU, MUT
    "mgu: f after the product": Fault(
        "mgu",
        "a_n = linear_forward(x, W_n, b_n) + linear_forward(q, R_n)\n"
        "    n = TANH(a_n)                                           # (M4)",
        "a_n = linear_forward(x, W_n, b_n) + f * linear_forward(s, R_n)\n"
        "    n = TANH(a_n)                                           # (M4)", ("mgu",)),
    "mgu: f and 1 - f swapped": Fault(
        "mgu", "h_new = (1 - f) * h + f * n ", "h_new = f * h + (1 - f) * n ", ("mgu",)),
    "mgu: gradient of f through q lost": Fault(
        "mgu", "(dh_new * (n - h) + dq * s)", "(dh_new * (n - h))", ("mgu",)),
    "mgu: gradient of R_n from h": Fault(
        "mgu", "dq, dR_n, _ = linear_backward(q, R_n, da_n)             # (M12)",
        "dq, dR_n, _ = linear_backward(s, R_n, da_n)             # (M12)", ("mgu",)),
    "mut1: x for tanh(x)": Fault(
        "mgu", "linear_forward(q, R_n, b_n) + TANH(x)", "linear_forward(q, R_n, b_n) + x", ("mut1",)),
    "mut1: gradient through tanh(x) lost": Fault(
        "mgu", "dx = dx + da_n * TANH.slope(x) ", "dx = dx + 0 ", ("mut1",)),
    "mut1: z and r swapped": Fault(
        "mgu", 'W_z, W_r = blocks(p, "weight_ih", 2)', 'W_r, W_z = blocks(p, "weight_ih", 2)', ("mut1",)),
    "mut2: r without x": Fault(
        "mgu", "a_r = x + linear_forward(s, R_r, b_r)", "a_r = linear_forward(s, R_r, b_r)", ("mut2",)),
    "mut2: gradient through r's x lost": Fault("mgu", "dx = dx + da_r  ", "dx = dx + 0  ", ("mut2",)),
    "mut3: h for tanh(h)": Fault("mgu", "linear_forward(TANH(s), R_z)", "linear_forward(s, R_z)", ("mut3",)),
    "mut3: gradient of R_z from h": Fault(
        "mgu", "linear_backward(TANH(s), R_z, da_z)", "linear_backward(s, R_z, da_z)", ("mut3",)),
    "mut3: gradient through tanh(h) without its slope": Fault(
        "mgu", "dt * TANH.slope(s) + ds", "dt + ds", ("mut3",)),
    # ---- IndRNN, FastRNN, FastGRNN, multiplicative LSTM
    "indrnn: dw from h_t": Fault(
        "rnn", "dw = (da * (h * k.mask)).sum(axis=0)", "dw = (da * act(a)).sum(axis=0)", ("indrnn",)),
    "indrnn: dh without w": Fault("rnn", 'dh = da * k.p["weight_hh"] * k.mask', "dh = da * k.mask", ("indrnn",)),
    "fastrnn: alpha and beta swapped": Fault(
        "rnn", 'h_new = SIGMOID(p["alpha"]) * n + SIGMOID(p["beta"]) * h',
        'h_new = SIGMOID(p["beta"]) * n + SIGMOID(p["alpha"]) * h', ("fastrnn",)),
    "fastrnn: gradient of alpha without sigmoid'": Fault(
        "rnn", 'grads["alpha"] += SIGMOID.slope(p["alpha"]) * (dh_new * n).sum()',
        'grads["alpha"] += (dh_new * n).sum()', ("fastrnn",)),
    "fastrnn: gradient of beta of the last step only": Fault(
        "rnn", "(dh_new * h).sum()      # (Q23)", "(dh_new * n).sum()      # (Q23)", ("fastrnn",)),
    "fastgrnn: zeta on all of n": Fault(
        "rnn", "h_new = (zeta * (1 - z) + nu) * n + z * h ", "h_new = (zeta + nu) * n + z * h ", ("fastgrnn",)),
    "fastgrnn: gradient of z without zeta": Fault("rnn", "(h - zeta * n)", "(h - n)", ("fastgrnn",)),
    "fastgrnn: one bias for both": Fault("rnn", "n = TANH(u + b_n) ", "n = TANH(u + b_z) ", ("fastgrnn",)),
    "fastgrnn: the product's gradient of one gate": Fault("rnn", "du = da_z + da_n ", "du = da_n ", ("fastgrnn",)),
    "multiplicative: sum for product": Fault("lstm", "q = u * v  ", "q = u + v  ", ("multiplicative_lstm",)),
    "multiplicative: gradients of the factors swapped": Fault(
        "lstm", "du, dv = dq * v, dq * u", "du, dv = dq * u, dq * v", ("multiplicative_lstm",)),
    "multiplicative: h in the place of q": Fault(
        "lstm", "lstm_gates_forward(k, preactivation(p, x, q), c)",
        "lstm_gates_forward(k, preactivation(p, x, h), c)", ("multiplicative_lstm",)),
    "multiplicative: dx through m lost": Fault("lstm", "return dx + dx_m,", "return dx,", ("multiplicative_lstm",)),
    # ---- SRU, minGRU, minLSTM
    "sru: r sees the new c": Fault(
        "elementwise",
        "a_r = u_r + v_r * c + b_r\n"
        "    r = SIGMOID(a_r)                                        # (SR3)\n"
        "    c_new = f * c + (1 - f) * t                             # (SR4)",
        "c_new = f * c + (1 - f) * t\n    a_r = u_r + v_r * c_new + b_r\n    r = SIGMOID(a_r)",
        ("sru", "sru_equal")),
    "sru: f and 1 - f swapped": Fault(
        "elementwise", "c_new = f * c + (1 - f) * t ", "c_new = (1 - f) * c + f * t ", ("sru", "sru_equal")),
    "sru: highway without alpha": Fault(
        "elementwise", "h = r * c_new + (1 - r) * (alpha * s)", "h = r * c_new + (1 - r) * s", ("sru_equal",)),
    "sru: gradient through v_r lost": Fault(
        "elementwise", "da_f * v_f + da_r * v_r ", "da_f * v_f ", ("sru", "sru_equal")),
    "sru: gradient of the highway's x lost": Fault(
        "elementwise", "dx = dx if own else dx + ds", "dx = dx if own else dx + 0", ("sru_equal",)),
    "sru: v_f and v_r swapped in the gradient": Fault(
        "elementwise", "stacked(da_f * c, da_r * c)", "stacked(da_r * c, da_f * c)", ("sru", "sru_equal")),
    "min_gru: z and 1 - z swapped": Fault(
        "elementwise", "h_new = (1 - z) * h + z * n  ", "h_new = z * h + (1 - z) * n  ", ("min_gru",)),
    "min_gru: a candidate that is not linear": Fault(
        "elementwise", "h_new = (1 - z) * h + z * n  ",
        "n = n / (1 + abs(n)); h_new = (1 - z) * h + z * n  ", ("min_gru",)),
    "min_gru: sign of dz": Fault(
        "elementwise", "da_z = dh_new * (n - h) * SIGMOID.slope(a_z)            # (MG11)",
        "da_z = dh_new * (h - n) * SIGMOID.slope(a_z)            # (MG11)", ("min_gru",)),
    "min_lstm: f and i not divided by their sum": Fault(
        "elementwise", "keep, take = SIGMOID(delta), SIGMOID(-delta)",
        "keep, take = SIGMOID(a_f), SIGMOID(a_i)", ("min_lstm",)),
    "min_lstm: f and i swapped": Fault(
        "elementwise", "delta = softplus(-a_i) - softplus(-a_f)",
        "delta = softplus(-a_f) - softplus(-a_i)", ("min_lstm",)),
    "min_lstm: gradient of the logarithms lost": Fault(
        "elementwise", "ddelta * SIGMOID(-a_f), -ddelta * SIGMOID(-a_i)", "ddelta, -ddelta", ("min_lstm",)),
    # ---- sLSTM
    "slstm: no log f in the maximum": Fault(
        "slstm", "f = np.exp(a_i - m_new), np.exp(log_f + m - m_new)",
        "f = np.exp(a_i - m_new), np.exp(log_f)", ("slstm", "slstm_exp")),
    "slstm: exponential forget gate for the sigmoid": Fault(
        "slstm", 'log_f = a_f if k.spec.forget == "exp" else -softplus(-a_f)', "log_f = a_f", ("slstm",)),
    "slstm: n without the forget gate": Fault(
        "slstm", "n_new = f * n + i  ", "n_new = n + i  ", ("slstm", "slstm_exp")),
    "slstm: h not divided by n": Fault(
        "slstm", "h_new = o * (c_new / n_new)", "h_new = o * c_new", ("slstm", "slstm_exp")),
    "slstm: gradient through n lost": Fault(
        "slstm", "dn_new = dn_new - dh_new * o * ratio / n_new ", "dn_new = dn_new ", ("slstm", "slstm_exp")),
    "slstm: gradient of log sigma lost": Fault("slstm", "else dlog_f * SIGMOID(-a_f) ", "else dlog_f ", ("slstm",)),
    "slstm: the empty scale is 0": Fault(
        "slstm", 'empty={"m": -np.inf}', 'empty={"m": 0.0}', ("slstm", "slstm_exp")),
    "slstm: gradient through the scale": Fault(
        "slstm", "dn_new * f, np.zeros_like(dm_new)), grads",
        "dn_new * f, dm_new + dlog_f), grads", ("slstm", "slstm_exp")),
}  # fmt: skip


@pytest.mark.parametrize("cell", sorted({cell for fault in FAULTS.values() for cell in fault.shown_by}))
def test_the_unbroken_text_passes(cell):
    assert complaints(oracle_of("unbroken_oracle", {}), cell) == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_comparison_sees(name):
    check_the_comparison(FAULTS[name], complaints)


# ---------------------------------------------------------------- trees

TREE = ("tree",)
TREE_FAULTS = {
    "one f for the sum of the children": Fault(
        "tree", "a_f = u_f + linear_forward(h[children], R_f) ",
        "a_f = u_f + linear_forward(h_sum, R_f) + 0 * h[children] ", TREE),
    "children's c not gated": Fault("tree", "(f * c[children]).sum(axis=0)", "c[children].sum(axis=0)", TREE),
    "h~ is the mean": Fault(
        "tree", "h_sum = h[children].sum(axis=0, keepdims=True) ",
        "h_sum = h[children].sum(axis=0, keepdims=True) / max(1, len(children)) ", TREE),
    "gradient to the children through h~ lost": Fault(
        "tree", "dh[children] += dh_sum + dh_children ", "dh[children] += dh_children ", TREE),
    "gradient to the children through f lost": Fault(
        "tree", "dh[children] += dh_sum + dh_children ", "dh[children] += dh_sum ", TREE),
    "gradient of W_f of one child": Fault(
        "tree", "stacked(da_i, da_f.sum(axis=0, keepdims=True), da_g, da_o)",
        "stacked(da_i, da_f[:1] if len(da_f) else 0 * da_i, da_g, da_o)", TREE),
    "gradient to the children's c lost": Fault("tree", "dc[children] += dc_node * f ", "pass ", TREE),
}  # fmt: skip


def tree_complaints(oracle, _):
    """What a comparison of a forest of eight nodes with this oracle says; empty if nothing."""
    rng, parents = np.random.default_rng(0), [3, 6, 3, -1, 3, -1, 7, -1]
    tree = fr.TreeLSTM(3, 4, dtype="float64", rng=0)
    x, dh, dc = rng.standard_normal((8, 3)), rng.standard_normal((8, 4)), rng.standard_normal((8, 4))
    h, c, pullback = tree.vjp(x, parents)
    results = {"h": h, "c": c, "x": pullback(dh, dc), **tree.grads}
    p = tree.state_dict()
    expected_h, expected_c, tape = oracle.tree_forward(p, x, parents)
    dx, grads = oracle.tree_backward(p, tape, dh, dc)
    expected, found = {"h": expected_h, "c": expected_c, "x": dx, **grads}, []
    assert list(results) == list(expected)
    for name, array in expected.items():
        try:
            assert_close(name, results[name], array, "forward" if name in "hc" else "gradient")
        except AssertionError as error:
            found.append(str(error))
    return found


def test_the_unbroken_tree_passes():
    assert tree_complaints(oracle_of("unbroken_oracle", {}), "tree") == []


@pytest.mark.parametrize("name", TREE_FAULTS)
def test_the_comparison_of_trees_sees(name):
    check_the_comparison(TREE_FAULTS[name], tree_complaints)
