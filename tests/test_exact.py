"""Exact linear mode: kernels with identity activations, small integers in, error exactly 0.

With identity gates a layer is polynomial integer arithmetic, in which a gate, an offset or a time
step that is taken for another one changes the result by at least 1, and rounding cannot hide it.
The oracle gets the same activations, and their derivatives, in the place of its own.
"""

import re

import numpy as np
import pytest
from cases import CELLS, POLYNOMIAL, TELLING, Case, Data, on_isa
from oracles import TEXTS, oracle_of
from strategies import WIDTHS
from tolerance import assert_same_bits

#: Cells in which nothing but sigmoid and tanh is not a polynomial, and those with chosen functions that are. Not exact on
#: integers: a softplus or an exponential (minLSTM, sLSTM), whose values are no integers; a division (sLSTM, softsign);
#: layer norm, which is a division by a root; a clip or another chosen function that is not linear.
CELLS = [
    *(cell for cell in CELLS if not re.search(r"softplus|clip|activations|norm|min_lstm|slstm", cell)),
    *POLYNOMIAL,
]  # fmt: skip

#: The oracle's functions that the kernels of the linear target replace.
REPLACED = ("SIGMOID", "TANH")
#: For a bound on the size of everything on the way, differences in these modules become sums of
#: magnitudes: module -> how many there are.
DIFFERENCES = {"elementwise": 10, "gru": 6, "lstm": 3, "mgu": 12, "rnn": 4}


def linear_oracle(name, texts):
    """A copy of the oracle in which sigmoid and tanh are the identity."""
    oracle = oracle_of(name, texts)
    for function in REPLACED:
        there = getattr(oracle.functions, function)
        there.value, there.slope = (lambda a: a), np.ones_like
    return oracle


def magnitudes():
    """The texts of the oracle in which 1 - z, h - n and their like are sums."""
    texts = {}
    for module, count in DIFFERENCES.items():
        texts[module], found = re.subn(r"\b(1|c|h|n|c_new) - (\w)", r"\1 + \2", TEXTS[module])
        assert found == count, f"{module}: {found} differences, not {count}"
    return texts


EXACT, BOUND = linear_oracle("linear_oracle", {}), linear_oracle("magnitude_oracle", magnitudes())


def leaves(value):
    """The arrays in tuples of tuples."""
    if isinstance(value, tuple):
        return [array for part in value for array in leaves(part)]
    return [value] if isinstance(value, np.ndarray) else []


class Integers(Data):
    """A case whose numbers are small integers: weights of -1, 0, 1, about ``density`` to a row."""

    def __init__(self, case, density):
        super().__init__(case)
        self.density = density
        rng = np.random.default_rng(case.seed)
        self.parameters = {name: self._weights(rng, array) for name, array in self.parameters.items()}
        for name in ("x", "dy", "state", "dstate"):
            plain = getattr(self, f"{name}_plain")
            plain = self._small(rng, plain)
            setattr(self, f"{name}_plain", plain)
            form = self._sequence if name in ("x", "dy") else self._user_state
            setattr(self, name, form(plain))

    def _weights(self, rng, array):
        share = self.density / (array.shape[-1] if array.ndim == 2 else 4)
        return rng.choice([-1.0, 1.0], array.shape) * (rng.random(array.shape) < share)

    def _small(self, rng, plain):
        if isinstance(plain, tuple):
            return tuple(self._small(rng, part) for part in plain)
        return rng.integers(-1, 2, plain.shape).astype(float)

    def largest(self):
        """A bound on every number that any order of evaluation meets."""
        parameters = {name: np.abs(array) for name, array in self.parameters.items()}
        state, dstate = (tuple(map(np.abs, s)) if isinstance(s, tuple) else np.abs(s)
                         for s in (self.state_plain, self.dstate_plain))  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            y, final, tape = BOUND.forward(
                self.spec, parameters, np.abs(self.x_plain), state, self.case.lengths
            )
            dx, dstate0, grads = BOUND.backward(
                self.spec, parameters, tape, np.abs(self.dy_plain), dstate
            )
        finals = [part for s in (final, dstate0) for part in (s if isinstance(s, tuple) else (s,))]
        saved = [a for steps in tape.steps for _, _, arrays in steps for a in leaves(arrays)]
        return max(float(a.max(initial=0)) for a in (y, dx, *finals, *grads.values(), *saved))


def longest_exact(cell, dtype, shortest=2, **sizes):
    """The longest case, of at most 3 steps, whose numbers the dtype holds exactly.

    Degrees grow by 3 with each step, so long cases need sparse weights.
    """
    limit = 2.0 ** (np.finfo(dtype).nmant + 1)
    for T in range(3, shortest - 1, -1):
        for density in (1.5, 1.2, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
            seed = sizes["H"] + round(10 * density)
            lengths = np.random.default_rng(seed).integers(1, T + 1, sizes["B"] - 1).tolist()
            case = Case(cell, T=T, dtype=dtype, seed=seed, lengths=(T, *lengths), **sizes)
            data = Integers(case, density)
            if data.largest() <= limit:
                return data
    raise AssertionError(f"the numbers of {shortest} steps are too large")


def check_exact(data):
    """Every result of the engine equals the oracle's; its -0 is as good as 0."""
    with on_isa("linear"):
        layer = data.layer()
        y, state = layer(*data.calls())
        vjp_y, vjp_state, pullback = layer.vjp(*data.calls())
        dx, dstate0 = pullback(data.dy, data.dstate)
    expected_y, expected_state, tape = EXACT.forward(
        data.spec, data.parameters, data.x_plain, data.state_plain, data.case.lengths
    )
    expected = EXACT.backward(data.spec, data.parameters, tape, data.dy_plain, data.dstate_plain)
    pairs = {"y": (y, expected_y), "y of vjp": (vjp_y, expected_y), "dx": (dx, expected[0])}
    states = {"state": (state, expected_state), "state of vjp": (vjp_state, expected_state),
              "dstate0": (dstate0, expected[1])}  # fmt: skip
    for label, (ours, theirs) in states.items():
        both = zip(data.case.state_names, data.plain_state(ours), data.plain_state(theirs), strict=True)
        pairs |= {f"{label} {name}": pair for name, *pair in both}
    pairs |= {name: (layer.grads[name], gradient) for name, gradient in expected[2].items()}
    for name, (ours, theirs) in pairs.items():
        assert_same_bits(f"{data.case.cell}, {name}", ours + 0.0, theirs.astype(data.case.dtype) + 0.0)
    return layer


def test_the_linear_oracle_is_linear_in_its_activations():
    """With identity gates an LSTM step is f*c + i*g, times o: checked on numbers by hand."""
    spec = EXACT.Spec("lstm", 1, 1)
    p = {"weight_ih_l0": np.array([[2.0], [3.0], [5.0], [7.0]]), "weight_hh_l0": np.zeros((4, 1)),
         "bias_ih_l0": np.zeros(4), "bias_hh_l0": np.zeros(4)}  # fmt: skip
    y, (_, c), _ = EXACT.forward(spec, p, np.ones((1, 1, 1)), (np.zeros((1, 1, 1)), np.full((1, 1, 1), 11.0)))
    assert c[0, 0, 0] == 3 * 11 + 2 * 5 and y[0, 0, 0] == 7 * c[0, 0, 0]


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_exact(cell, dtype):
    layer = check_exact(longest_exact(cell, dtype, I=3, H=5, B=3))
    assert any(gradient.any() for gradient in layer.grads.values())


@pytest.mark.parametrize("H", WIDTHS)
@pytest.mark.parametrize("cell", CELLS)
def test_exact_at_every_width(cell, H):
    for dtype in ("float32", "float64"):
        check_exact(longest_exact(cell, dtype, I=1 + H % 6, H=H, B=1 + H % 5))


@pytest.mark.parametrize("B", [1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 17])
def test_exact_at_every_batch(B):
    for cell in ("lstm", "lstm_peephole_proj", *(cell for cell in TELLING if cell in CELLS)):
        check_exact(longest_exact(cell, "float64", I=4, H=9, B=B))


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_exact_stack(cell, D):
    check_exact(longest_exact(cell, "float64", I=3, H=6, L=2, D=D, B=3))
