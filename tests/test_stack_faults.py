"""Faults seeded into how the oracle joins layers, each of which the comparison of stacks must see."""

import numpy as np
import pytest
from oracles import Fault, broken, oracle_of
from stacks import Problem, check_against_the_oracle

FAULTS = {
    "mean: a sum": Fault("stack", "(ys[0] + ys[1]) / (2 if", "(ys[0] + ys[1]) / (1 if", {"merge": "mean"}),
    "sum: the gradient of a mean": Fault(
        "stack", 'dY / (2 if spec.merge == "mean" else 1)', "dY / 2", {"merge": "sum"}),
    "mul: gradients not crossed": Fault(
        "stack", "[dY * ys[1], dY * ys[0]]", "[dY * ys[0], dY * ys[1]]", {"merge": "mul"}),
    "input: x before y": Fault(
        "stack", "np.concatenate([dropped, x], axis=2)", "np.concatenate([x, dropped], axis=2)", {"skip": "input"}),
    "input: no gradient of the x that was skipped to": Fault(
        "stack", "dx = dx + du[:, :, width:]", "dx = dx + 0 * du[:, :, width:]", {"skip": "input"}),
    "output: the gradient of the last layer alone": Fault(
        "stack", "dYs = np.split(dy, L, axis=2) ", "dYs = (L - 1) * [np.zeros((T, B, width))] + [dy[:, :, -width:]] ",
        {"skip": "output"}),
    "residual: the first layer left out": Fault(
        "spec", 'return self.skip == "residual" and', 'return layer > 0 and self.skip == "residual" and',
        {"skip": "residual", "merge": "sum"}),
    "residual: no gradient past a layer": Fault(
        "stack", "dYs[l - 1] = dYs[l - 1] + dYs[l]", "pass", {"skip": "residual"}),
    "learned states: rows of another layer": Fault(
        "stack", "np.repeat(part[:, None], B, axis=1)", "np.repeat(part[::-1, None], B, axis=1)",
        {"learn_state": True}),
    "learned states: the mean of the batch": Fault(
        "stack", "part.sum(axis=1)", "part.mean(axis=1)", {"learn_state": True}),
    "c_seq: the state before the step": Fault(
        "walk", "c_seq[t, alive] = new_part", "c_seq[t, alive] = old[-1]", {"return_cell_states": True}),
    "c_seq: no gradient": Fault("walk", "+= dc_seq[t, alive]", "+= 0", {"return_cell_states": True}),
    "c_seq: directions swapped": Fault(
        "stack", "c_seq = np.concatenate(c_seqs, axis=2)", "c_seq = np.concatenate(c_seqs[::-1], axis=2)",
        {"return_cell_states": True, "merge": "mean"}),
}  # fmt: skip


def seen(oracle, options):
    """Does the comparison with this oracle fail?"""
    given = "learn_state" not in options
    problem = Problem("lstm", I=4, L=2, ragged=True, bidirectional=True, given=given, seed=1, **options)
    try:
        check_against_the_oracle(problem, oracle=oracle)
    except (AssertionError, ValueError):  # ValueError: shapes do not fit
        return True
    return False


def test_the_unbroken_text_passes():
    oracle = oracle_of("unbroken_oracle", {})
    for fault in FAULTS.values():
        assert not seen(oracle, fault.shown_by)


@pytest.mark.parametrize("name", FAULTS)
def test_the_comparison_sees(name):
    fault = FAULTS[name]
    with np.errstate(all="ignore"):
        assert seen(broken(fault), fault.shown_by), name
