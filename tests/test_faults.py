"""The tests tested: faults seeded into the oracle's text, each of which the suite's own comparison must see.

The engine is compared with a broken oracle by ``check_forward`` and ``check_gradients``, the very
functions of the suite, on a handful of fixed cases. A replaced text must occur exactly once in its
module, so that a change of the oracle cannot silently void a fault.
"""

import numpy as np
import pytest
from cases import Case, check_forward, check_gradients, smooth
from oracles import Fault, check_the_comparison, oracle_of

ALL = ("lstm", "gru", "rnn_tanh")
FAULTS = {
    "lstm: gates i and f swapped": Fault(
        "lstm", "a_i, a_f, a_g, a_o = gates(", "a_f, a_i, a_g, a_o = gates(", ("lstm",)),
    "lstm: gates g and o swapped": Fault(
        "lstm", "a_i, a_f, a_g, a_o = gates(", "a_i, a_f, a_o, a_g = gates(", ("lstm",)),
    "coupled: gates f and g swapped": Fault(
        "lstm", "a_f, a_g, a_o = gates(preactivation(", "a_g, a_f, a_o = gates(preactivation(",
        ("lstm_coupled_peephole",)),
    "coupled: i = f": Fault("lstm", "i = 1 - f  ", "i = f  ", ("lstm_coupled_peephole",)),
    "gru: r and z swapped in the recurrent product": Fault(
        "gru", 'v_r, v_z = gates(product_forward(p, "hh", q, rz)', 'v_z, v_r = gates(product_forward(p, "hh", q, rz)',
        ("gru",)),
    "gru: bias_hh outside the reset": Fault(
        "gru", "n = act_g(u_n + r * v_n) ", "b = p['bias_hh'][n_]; n = act_g(u_n + r * (v_n - b) + b) ", ("gru",)),
    "cho: bias_hh inside the reset": Fault(
        "gru", 'a_n = u_n + product_forward(p, "hh", q, n_) ',
        'b = p["bias_hh"][n_]; a_n = u_n + product_forward(p, "hh", q, n_) - b + r * b ', ("gru_reset_before",)),
    "cho: reset after the product": Fault(
        "gru", 'a_n = u_n + product_forward(p, "hh", q, n_) ', 'a_n = u_n + r * product_forward(p, "hh", h, n_) ',
        ("gru_reset_before",)),
    "gru: sign of dz": Fault(
        "gru", "da_z = dh_new * (h - n) * act_f.slope(a_z)              # (G11)",
        "da_z = dh_new * (n - h) * act_f.slope(a_z)              # (G11)", ("gru",)),
    "gru: d_h loses the way past the gates": Fault(
        "gru", "(dh_new * z + dq * k.mask,)", "(dq * k.mask,)", ("gru",)),
    "gru: gradient of bias_hh is that of bias_ih": Fault(
        "gru", "(dh_new * z + dq * k.mask,), grads  ",
        "(dh_new * z + dq * k.mask,), grads | {'bias_hh': grads.get('bias_ih')}  ", ("gru",)),
    "first step dropped from dW_hh": Fault(
        "walk", "grads[name] += step_grads[name]",
        "grads[name] += step_grads[name] * (name != 'weight_hh' or t != steps[0][0])", ALL),
    "h_t used for h_{t-1}": Fault(
        "lstm", "(x, h, m, saved)   # (L8)", "(x, project_forward(k.p, m), m, saved)   # (L8)", ("lstm",)),
    "c_t used for c_{t-1}": Fault(
        "lstm", "(a_i, a_f, a_g, a_o, a_c, c, i, f, g, o, c_new)\n\n",
        "(a_i, a_f, a_g, a_o, a_c, c_new, i, f, g, o, c_new)\n\n", ("lstm",)),
    "gradients added twice": Fault(
        "walk", "grads[name] += step_grads[name]", "grads[name] += 2 * step_grads[name]", ALL),
    "gradients of the last step only": Fault(
        "walk", "grads[name] += step_grads[name]", "grads[name] = step_grads[name]", ALL),
    "h0 and c0 swapped": Fault(
        "cells", "parts = state if len(", "parts = state[::-1] if len(", ("lstm", "lstm_coupled_peephole")),
    "lengths off by one": Fault(
        "walk", "np.arange(T)[:, None] < lengths[None, :]", "np.arange(T)[:, None] < lengths[None, :] - 1", ALL),
    "padding leaks into the state": Fault(
        "walk", "alive = np.flatnonzero(valid[t])", "alive = np.arange(B)", ALL),
    "reverse direction starts at T": Fault(
        "stack", "valid, reverse=d == 1)", "valid | (d == 1), reverse=d == 1)", ALL),
    "gradient of ended sequences lost": Fault(
        "walk", "            part[alive] = previous_part", "            part[:] = 0; part[alive] = previous_part", ALL),
    "dx of the forward direction only": Fault("stack", "du = du + du_d  ", "du = du_d  ", ALL),
    "states ordered by direction first": Fault(
        "stack", "tuple(part[k] for part in initial)", "tuple(part[d * spec.num_layers + l] for part in initial)", ALL),
    "peephole of o on the old c": Fault(
        "lstm", "o = act_f(a_o)                                          # (L6)",
        "o = act_f(a_o + peep(p, 'weight_co', c - c_new))        # (L6)", ("lstm_peephole",)),
    "peephole gradient of i from the new c": Fault(
        "lstm", '"weight_ci": peep_gradients(da_i, c)', '"weight_ci": peep_gradients(da_i, c_new)', ("lstm_peephole",)),
    "d_c without the peephole of o": Fault(
        "lstm", 'dc_new = dc_new + peep(p, "weight_co", da_o)', "dc_new = dc_new + 0", ("lstm_peephole",)),
    "projection transposed": Fault(
        "lstm", 'return linear_forward(m, p["weight_hr"]) if', 'return m @ p["weight_hr"].reshape(m.shape[1], -1) if',
        ("lstm_proj",)),
    "projection missing": Fault(
        "lstm", 'return linear_forward(m, p["weight_hr"]) if', 'return m[:, :len(p["weight_hr"])] if', ("lstm_proj",)),
    "projection's gradient from the wrong operand": Fault(
        "lstm", 'dm, dW_hr, _ = linear_backward(m, p["weight_hr"], dh)',
        'dm, dW_hr, _ = linear_backward(m * 0.9, p["weight_hr"], dh)', ("lstm_proj",)),
    "relu': 1 below zero": Fault(
        "functions", "lambda a: np.where(a > 0, 1.0, 0.0), (0.0,))", "np.ones_like, (0.0,))", ("rnn_relu",)),
    "one weight_ih for both directions": Fault(
        "cells", "params[name + suffix], np.float64)",
        "params[name + (suffix[:3] if name == 'weight_ih' else suffix)], np.float64)", ALL),
}  # fmt: skip

def handful(cell):
    """The handful of cases: two layers and directions, lengths of 0, T and between, NaN padding; and without a state."""
    for case in (
        Case(cell, I=3, H=4, L=2, D=2, T=4, B=3, lengths=(4, 0, 2), padding=np.nan, seed=3),
        Case(cell, H=5, T=3),
        Case(cell, H=5, T=3, state="none"),
    ):
        yield smooth(case)


def complaints(oracle, cell):
    """What the suite's comparisons say about this oracle; empty if nothing."""
    found = []
    for case in handful(cell):
        for check in (check_forward, check_gradients):
            try:
                with np.errstate(invalid="ignore"):
                    check(case, oracle)
            except AssertionError as error:
                found.append(str(error))
    return found


@pytest.mark.parametrize("cell", sorted({cell for fault in FAULTS.values() for cell in fault.shown_by}))
def test_the_unbroken_text_passes(cell):
    assert complaints(oracle_of("unbroken_oracle", {}), cell) == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_comparison_sees(name):
    check_the_comparison(FAULTS[name], complaints)


def test_the_list_is_long():
    assert len(FAULTS) >= 10
