"""Faults seeded into the oracle's masks, each of which the comparison of masked layers must see."""

import numpy as np
import pytest
from cases import Case
from masked import check_masked, masked, rates_of
from oracles import Fault, check_the_comparison, oracle_of

ALL = ("lstm", "gru", "gru_reset_before", "rnn_tanh")
FAULTS = {
    "zoneout: old and new swapped": Fault(
        "walk", "tuple(e[t, alive] * a + (1 - e[t, alive]) * b for", "tuple(e[t, alive] * b + (1 - e[t, alive]) * a for", ALL),
    "zoneout: the mask of the step before": Fault(
        "walk", "tuple(e[t, alive] * a + (1 - e[t, alive]) * b for",
        "tuple(e[t - 1, alive] * a + (1 - e[t - 1, alive]) * b for", ALL),
    "zoneout: h and c with one mask": Fault(
        "walk", "in zip(k.zoneout, old, new))", "in zip((k.zoneout[0],) * 2, old, new))", ("lstm",)),
    "zoneout: h from the c that was kept": Fault(
        "walk", "        for name, part, new_part in zip(cell.states",
        "        if len(new) > 1: new = (saved[-1][9] * np.tanh(new[1]), new[1])\n"
        "        for name, part, new_part in zip(cell.states", ("lstm",)),
    "zoneout: gradient of the old state lost": Fault(
        "walk", "kept = [e[t, alive] * d for", "kept = [0 * d for", ALL),
    "zoneout: gradient of the new state not masked": Fault(
        "walk", "dnew = [(1 - e[t, alive]) * d for", "dnew = [d for", ALL),
    "recurrent dropout: the carried h too": Fault(
        "gru", "h_new = (1 - z) * n + z * h                             # (G6)",
        "h_new = (1 - z) * n + z * (h * k.mask)                             # (G6)", ("gru",)),
    "recurrent dropout: not on r * h": Fault("gru", "q = r * (h * k.mask) ", "q = r * h ", ("gru_reset_before",)),
    "recurrent dropout: a mask of another direction": Fault(
        "stack", "else noise.recurrent[k]", "else noise.recurrent[k - 1]", ALL),
    "recurrent dropout: gradient of R not masked": Fault(
        "rnn", "dx, dh = preactivation_backward(k.p, x, h * k.mask, da, grads)\n    dh = dh * k.mask\n    if",
        "dx, dh = preactivation_backward(k.p, x, h, da, grads)\n    dh = dh * k.mask\n    if", ("rnn_tanh",)),
    "recurrent dropout: gradient of h not masked": Fault(
        "rnn", "dx, dh = preactivation_backward(k.p, x, h * k.mask, da, grads)\n    dh = dh * k.mask\n    if",
        "dx, dh = preactivation_backward(k.p, x, h * k.mask, da, grads)\n    if", ("rnn_tanh",)),
    "recurrent dropout of IndRNN: gradient of h not masked": Fault(
        "rnn", 'dh = da * k.p["weight_hh"] * k.mask', 'dh = da * k.p["weight_hh"]', ("indrnn",)),
    "weight drop: not of the reverse direction": Fault(
        "stack", "    if noise.weights is not None:\n", '    if noise.weights is not None and "reverse" not in suffix:\n', ALL),
    "weight drop: gradient not masked": Fault(
        "stack", 'local["weight_hh"] = local["weight_hh"] * tape.noise.weights[k]', "pass", ALL),
    "input dropout: of the first layer only": Fault(
        "stack", "u * noise.inputs[l], [], []", "(u * noise.inputs[l] if l == 0 else u), [], []", ALL),
    "input dropout: gradient not masked": Fault("stack", "du * tape.noise.inputs[l] ", "du ", ALL),
}  # fmt: skip


def complaints(oracle, cell):
    """What the comparison says about this oracle under all masks, and under each alone; empty if nothing."""
    case, found = Case(cell, I=3, H=4, L=2, D=2, T=4, B=3, lengths=(4, 0, 3), padding=np.nan, seed=1), []
    rates = {"input_dropout": 0.4, "recurrent_dropout": 0.5, "weight_drop": 0.3, "zoneout": 0.5}
    rates = {name: p for name, p in rates.items() if name in rates_of(cell)}
    for chosen in [rates, *({name: p} for name, p in rates.items())]:
        try:
            with np.errstate(invalid="ignore"):
                check_masked(masked(case, **chosen), oracle)
        except AssertionError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("cell", [*ALL, "indrnn"])
def test_the_unbroken_text_passes(cell):
    assert complaints(oracle_of("unbroken_oracle", {}), cell) == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_comparison_sees(name):
    check_the_comparison(FAULTS[name], complaints)
