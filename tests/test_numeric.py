"""Central differences of the engine itself, in float64: parameters, input, initial states.

No equation is used here: the objective is the engine's forward pass, its gradient the engine's
backward pass. So an error that engine and oracle shared would show.
"""

import numpy as np
import pytest
from cases import CELLS, Case, Data, Untouched, state_names
from tolerance import assert_close

EPS = 1e-5
#: No kink may lie between the two points; states and inputs are of order 1.
KINK_MARGIN = 1e-3


def problem(cell, **changes):
    """Two layers, two directions, ragged lengths; a seed that keeps clear of kinks.

    Where a state m is a scale that backward holds, the gradients are those of losses on h.
    """
    loss = {"dstate": "h"} if "m" in state_names(Case(cell)) else {}
    for seed in range(1000):
        values = {"I": 2, "H": 3, "L": 2, "D": 2, "T": 3, "B": 2, "lengths": (3, 1), **loss, **changes}
        data = Data(Case(cell, seed=seed, **values))
        if data.kink_margin() > KINK_MARGIN:
            return data
    raise AssertionError("no seed keeps clear of the kinks")


class Objective:
    """<y, dy> + <final state, dstate> of the engine, and its gradient by the engine."""

    def __init__(self, data):
        self.data, self.layer = data, data.layer()

    def value(self, x, state):
        y, final = self.layer(x, state, self.data.lengths)
        total = 0.0 if self.data.dy is None else np.sum(y * self.data.dy)
        pairs = zip(self.parts(final), self.parts(self.data.dstate))
        return total + sum(np.sum(a * b) for a, b in pairs if b is not None)

    def parts(self, state):
        return state if isinstance(state, tuple) else (state,)

    def gradients(self):
        """dx, dstate0, parameter gradients."""
        data = self.data
        _, _, pullback = self.layer.vjp(data.x, data.state, data.lengths)
        dx, dstate0 = pullback(data.dy, data.dstate)
        return dx, self.parts(dstate0), dict(self.layer.grads)


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
    x, state = data.x.copy(), tuple(part.copy() for part in objective.parts(data.state))

    def value():
        return objective.value(x, state if isinstance(data.state, tuple) else state[0])

    with Untouched(data.x, data.state):
        assert_close("dx", dx, differences(x, value), "numeric")
        for name, part, gradient in zip(state_names(data.case), state, dstate0, strict=True):
            if name == "m":
                assert not gradient.any(), "no gradient flows through a scale"
                continue
            assert_close(f"d{name}0", gradient, differences(part, value), "numeric")
        with objective.layer.edit() as p:
            for name, array in p.items():
                assert_close(name, grads[name], differences(array, value), "numeric")


@pytest.mark.parametrize("cell", CELLS)
def test_stack(cell):
    check(problem(cell))


@pytest.mark.parametrize("cell", CELLS)
def test_long(cell):
    """A dozen steps through one unit more than a vector holds, without biases."""
    check(problem(cell, I=1, H=5, L=1, D=1, T=12, B=1, lengths=None, bias=False))


@pytest.mark.parametrize("cell", ["lstm_peephole", "gru"])
def test_batch_first(cell):
    check(problem(cell, batch_first=True, D=1, B=3, lengths=(0, 2, 3)))


def test_unbatched():
    check(problem("lstm_coupled_peephole_proj", unbatched=True, B=1, lengths=None))
