"""The tests tested: faults seeded into the oracle's text, each of which the suite's own comparison must see.

The engine is compared with a broken oracle by ``check_forward`` and ``check_gradients``, the very
functions of the suite, on a handful of fixed cases. A replaced text must occur exactly once, so
that a change of the oracle cannot silently void a fault.
"""

import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from cases import Case, check_forward, check_gradients

from fastrnn import reference

TEXT = Path(reference.__file__).read_text()


class Fault(NamedTuple):
    """A text of the oracle, what replaces it, and the cells whose cases must see it."""

    old: str
    new: str
    cells: tuple


FAULTS = {
    "lstm: gates i and f swapped": Fault(
        "a_i, a_f, a_g, a_o = gates(", "a_f, a_i, a_g, a_o = gates(", ("lstm",)),
    "lstm: gates g and o swapped": Fault(
        "a_i, a_f, a_g, a_o = gates(", "a_i, a_f, a_o, a_g = gates(", ("lstm",)),
    "coupled: gates f and g swapped": Fault(
        "a_f, a_g, a_o = gates(preactivation(p, x, h), 3)", "a_g, a_f, a_o = gates(preactivation(p, x, h), 3)",
        ("lstm_coupled_peephole",)),
    "coupled: i = f": Fault("i = 1 - f  ", "i = f  ", ("lstm_coupled_peephole",)),
    "gru: r and z swapped in the recurrent product": Fault(
        "v_r, v_z, v_n = gates(", "v_z, v_r, v_n = gates(", ("gru",)),
    "gru: bias_hh outside the reset": Fault(
        "n = np.tanh(u_n + r * v_n) ",
        "b = p['bias_hh'][2 * h.shape[1]:]; n = np.tanh(u_n + r * (v_n - b) + b) ", ("gru",)),
    "cho: bias_hh inside the reset": Fault(
        "n = np.tanh(u_n + linear_forward(q, W[2 * H:], b[2 * H:])) ",
        "n = np.tanh(u_n + linear_forward(q, W[2 * H:]) + r * b[2 * H:]) ", ("gru_reset_before",)),
    "cho: reset after the product": Fault(
        "linear_forward(q, W[2 * H:], b[2 * H:])", "r * linear_forward(h, W[2 * H:], b[2 * H:])",
        ("gru_reset_before",)),
    "gru: sign of dz": Fault(
        "da_z = dh_new * (h - n) * z * (1 - z)                   # (G11)",
        "da_z = dh_new * (n - h) * z * (1 - z)                   # (G11)", ("gru",)),
    "gru: d_h loses the way past the gates": Fault(
        "dh = dh_new * z + dh_product                            # (G17)",
        "dh = dh_product                            # (G17)", ("gru",)),
    "gru: gradient of bias_hh is that of bias_ih": Fault(
        "\"weight_hh\": dW_hh, \"bias_ih\": db_ih, \"bias_hh\": db_hh}\n\n\n# ---------------------------------------------------------------- GRU, reset before",
        "\"weight_hh\": dW_hh, \"bias_ih\": db_ih, \"bias_hh\": db_ih}\n\n\n# ---------------------------------------------------------------- GRU, reset before",
        ("gru",)),
    "first step dropped from dW_hh": Fault(
        "grads[name] += step_grads[name]",
        "grads[name] += step_grads[name] * (name != 'weight_hh' or t != steps[0][0])", ("lstm", "gru", "rnn_tanh")),
    "h_t used for h_{t-1}": Fault(
        "(x, h, c, i, f, g, o, c_new, m)\n\n", "(x, h_new, c, i, f, g, o, c_new, m)\n\n", ("lstm",)),
    "c_t used for c_{t-1}": Fault(
        "(x, h, c, i, f, g, o, c_new, m)\n\n", "(x, h, c_new, i, f, g, o, c_new, m)\n\n", ("lstm",)),
    "gradients added twice": Fault(
        "grads[name] += step_grads[name]", "grads[name] += 2 * step_grads[name]", ("lstm", "gru", "rnn_tanh")),
    "gradients of the last step only": Fault(
        "grads[name] += step_grads[name]", "grads[name] = step_grads[name]", ("lstm", "gru", "rnn_tanh")),
    "h0 and c0 swapped": Fault(
        "parts = state if spec.kind", "parts = state[::-1] if spec.kind", ("lstm", "lstm_coupled_peephole")),
    "lengths off by one": Fault(
        "np.arange(T)[:, None] < lengths[None, :]", "np.arange(T)[:, None] < lengths[None, :] - 1",
        ("lstm", "gru", "rnn_tanh")),
    "padding leaks into the state": Fault(
        "alive = np.flatnonzero(valid[t])", "alive = np.arange(B)", ("lstm", "gru", "rnn_tanh")),
    "reverse direction starts at T": Fault(
        "valid, reverse=d == 1)", "valid | (d == 1), reverse=d == 1)", ("lstm", "gru", "rnn_tanh")),
    "gradient of ended sequences lost": Fault(
        "            part[alive] = previous_part  ", "            part[:] = 0; part[alive] = previous_part  ",
        ("lstm", "gru", "rnn_tanh")),
    "dx of the forward direction only": Fault(
        "du = du + du_d  ", "du = du_d  ", ("lstm", "gru", "rnn_tanh")),
    "states ordered by direction first": Fault(
        "tuple(part[k] for part in initial)", "tuple(part[d * spec.num_layers + l] for part in initial)",
        ("lstm", "gru", "rnn_tanh")),
    "peephole of o on the old c": Fault(
        'peep(p, "weight_co", c_new))          # (L6)', 'peep(p, "weight_co", c))          # (L6)',
        ("lstm_peephole",)),
    "peephole gradient of i from the new c": Fault(
        '"weight_ci": (da_i * c).sum', '"weight_ci": (da_i * c_new).sum', ("lstm_peephole",)),
    "d_c without the peephole of o": Fault(
        '(1 - tc**2) + peep(p, "weight_co", da_o)         # (L13)', "(1 - tc**2)         # (L13)",
        ("lstm_peephole",)),
    "projection transposed": Fault(
        'return linear_forward(m, p["weight_hr"]) if', 'return m @ p["weight_hr"].reshape(m.shape[1], -1) if',
        ("lstm_proj",)),
    "projection missing": Fault(
        'return linear_forward(m, p["weight_hr"]) if', 'return m[:, :len(p["weight_hr"])] if', ("lstm_proj",)),
    "projection's gradient from the wrong operand": Fault(
        'dm, dW_hr, _ = linear_backward(m, p["weight_hr"], dh)',
        'dm, dW_hr, _ = linear_backward(m * 0.9, p["weight_hr"], dh)', ("lstm_proj",)),
    "relu': 1 below zero": Fault("da = dh_new * (h_new > 0)", "da = dh_new * (h_new >= 0)", ("rnn_relu",)),
    "one weight_ih for both directions": Fault(
        "params[name + suffix], np.float64)",
        "params[name + (suffix[:3] if name == 'weight_ih' else suffix)], np.float64)", ("lstm", "gru", "rnn_tanh")),
}  # fmt: skip

#: The handful of cases: every cell, two layers and directions, lengths of 0, T and between, NaN padding.
HANDFUL = {
    cell: [Case(cell, I=3, H=4, L=2, D=2, T=4, B=3, lengths=(4, 0, 2), padding=np.nan, seed=3), Case(cell, H=5, T=3)]
    for cell in ("rnn_tanh", "rnn_relu", "lstm", "lstm_peephole", "lstm_coupled_peephole", "lstm_proj", "gru",
                 "gru_reset_before")
}  # fmt: skip


def oracle_of(text, name):
    """A text of the oracle as a module of its own."""
    module = types.ModuleType(name)
    sys.modules[name] = module  # dataclasses look their module up
    exec(compile(text, name, "exec"), module.__dict__)
    return module


def complaints(oracle, cell):
    """What the suite's comparisons say about this oracle; empty if nothing."""
    found = []
    for case in HANDFUL[cell]:
        for check in (check_forward, check_gradients):
            try:
                with np.errstate(invalid="ignore"):
                    check(case, oracle)
            except AssertionError as error:
                found.append(str(error))
    return found


@pytest.mark.parametrize("cell", HANDFUL)
def test_the_unbroken_text_passes(cell):
    assert complaints(oracle_of(TEXT, "unbroken_oracle"), cell) == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_comparison_sees(name):
    fault = FAULTS[name]
    assert TEXT.count(fault.old) == 1, "the text to break must be there exactly once"
    broken = oracle_of(TEXT.replace(fault.old, fault.new), "broken_oracle")
    for cell in fault.cells:
        assert complaints(broken, cell), f"nothing in {cell} sees: {name}"


def test_the_list_is_long():
    assert len(FAULTS) >= 10
