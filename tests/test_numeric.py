"""Central differences of the engine itself, in float64: parameters, input, initial states.

No equation is used here: the objective is the engine's forward pass, its gradient the engine's
backward pass. So an error that engine and oracle shared would show.
"""

import numpy as np
import pytest
from cases import Case, Data, Untouched, smooth, state_parts, variant
from rows import ROWS, TELLING
from tolerance import assert_close

from fastrnn import reference

EPS = 1e-5
#: No kink may lie between the two points; states and inputs are of order 1.
KINK_MARGIN = 1e-3


def problem(cell, **changes):
    """Two layers, two directions, ragged lengths; a seed that keeps clear of kinks."""
    values = {"I": 2, "H": 3, "L": 2, "D": 2, "T": 3, "B": 2, "lengths": (3, 1), **changes}
    case = Case(cell, **values)
    if case.normed:  # rows that are small beside the square root of 1e-5 have large third derivatives
        case = variant(case, I=5, H=6)
    # what an sLSTM gives are the gradients of objectives that read h
    return Data(smooth(variant(case, dstate="h") if case.kind == "slstm" else case, KINK_MARGIN))


class Objective:
    """<y, dy> + <final state, dstate> of the engine, and its gradient by the engine."""

    def __init__(self, data):
        self.data, self.layer = data, data.layer()

    def value(self, x, state):
        y, final = self.layer(x, state, self.data.lengths)
        total = 0.0 if self.data.dy is None else np.sum(y * self.data.dy)
        pairs = zip(state_parts(final), state_parts(self.data.dstate))
        return total + sum(np.sum(a * b) for a, b in pairs if b is not None)

    def gradients(self):
        """dx, dstate0, parameter gradients."""
        data = self.data
        _, _, pullback = self.layer.vjp(data.x, data.state, data.lengths)
        dx, dstate0 = pullback(data.dy, data.dstate)
        return dx, state_parts(dstate0), dict(self.layer.grads)


def differences(array, value):
    """(value(+eps) - value(-eps)) / 2 eps for every entry of ``array``, which is changed in place."""
    gradient = np.zeros_like(array)
    for j in np.ndindex(array.shape):
        middle = array[j]
        ends = []
        for point in (middle + EPS, middle - EPS):
            array[j] = point
            ends.append(value())
        array[j] = middle
        gradient[j] = (ends[0] - ends[1]) / (2 * EPS)
    return gradient


def check(data):
    objective = Objective(data)
    dx, dstate0, grads = objective.gradients()
    x, state = data.x.copy(), tuple(part.copy() for part in state_parts(data.state))

    def value():
        return objective.value(x, reference.join_state(data.spec, state))

    with Untouched(data.x, data.state):
        assert_close("dx", dx, differences(x, value), "numeric")
        for name, part, gradient in zip(data.case.state_names, state, dstate0, strict=True):
            if name == "m":  # the scale of an sLSTM is held
                assert not gradient.any()
                continue
            assert_close(f"d{name}0", gradient, differences(part, value), "numeric")
        with objective.layer.edit() as p:
            for name, array in p.items():
                assert_close(name, grads[name], differences(array, value), "numeric")


@pytest.mark.parametrize("cell", TELLING)
def test_stack(cell):
    check(problem(cell))


@pytest.mark.parametrize("cell", ROWS)
def test_layer(cell):
    check(problem(cell, L=1))


@pytest.mark.parametrize("cell", TELLING)
def test_long(cell):
    """A dozen steps through one unit more than a vector holds, without biases."""
    check(problem(cell, I=1, H=5, L=1, D=1, T=12, B=1, lengths=None, bias=False))


@pytest.mark.parametrize("cell", ["lstm_peephole", "gru"])
def test_batch_first(cell):
    check(problem(cell, batch_first=True, D=1, B=3, lengths=(0, 2, 3)))


def test_unbatched():
    check(problem("lstm_coupled_peephole_proj", unbatched=True, B=1, lengths=None))
