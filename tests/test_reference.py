"""The oracle's cells: every gradient against central differences of the forward pass, and what those cannot see.

The tests of the engine compare it with the oracle; these say that the oracle's backward is that of its
forward, for every cell and option, and check its forward where a wrong one would have a right gradient.
"""

import numpy as np
import pytest
from differences import CELLS, FUNCTIONS, SQUARE, Problem, assert_gradient, check
from tolerance import assert_close

from fastrnn import reference
from fastrnn.reference import Spec


@pytest.mark.parametrize("cell", CELLS)
def test_gradients(cell):
    kind, options = CELLS[cell]
    check(Problem(kind, **options))


@pytest.mark.parametrize("cell", ["rnn tanh", "lstm peephole", "gru", "mut1", "indrnn", "multiplicative_lstm", "sru",
                                  "sru highway", "slstm"])  # fmt: skip
def test_gradients_of_stacks(cell):
    kind, options = CELLS[cell]
    sizes = {"num_layers": 2, "bidirectional": kind not in SQUARE}
    check(Problem(kind, **(sizes | options)))


@pytest.mark.parametrize("cell", ["gru norm", "mgu", "mut1", "mut2", "mut3", "indrnn", "fastrnn", "fastgrnn",
                                  "multiplicative_lstm", "sru", "sru highway", "min_gru", "min_lstm",
                                  "slstm"])  # fmt: skip
def test_gradients_without_biases(cell):
    kind, options = CELLS[cell]
    problem = Problem(kind, **({"bias": False, "bidirectional": False} | options))
    assert not any(name.startswith(("bias_ih", "bias_hh")) for name in problem.parameters)
    check(problem)


# ---- What differences cannot see ----------------------------------------------------------------


VALUES = {
    "tanh": (np.tanh(-1.5), np.tanh(0.25)),
    "relu": (0, 0.25),
    "sigmoid": (1 / (1 + np.exp(1.5)), 1 / (1 + np.exp(-0.25))),
    "identity": (-1.5, 0.25),
    "elu": (np.exp(-1.5) - 1, 0.25),
    ("elu", 0.5): ((np.exp(-1.5) - 1) / 2, 0.25),
    "leaky_relu": (-0.015, 0.25),
    ("leaky_relu", 0.5): (-0.75, 0.25),
    "softsign": (-0.6, 0.2),
    "softplus": (np.log(1 + np.exp(-1.5)), np.log(1 + np.exp(0.25))),
    "hard_sigmoid": (0.2, 0.55),
    ("hard_sigmoid", 0.5, 0.25): (0, 0.375),
    "hard_tanh": (-1, 0.25),
    "affine": (-1.5, 0.25),
    ("affine", 2.0, 1.0): (-2, 1.5),
    "scaled_tanh": (np.tanh(-1.5), np.tanh(0.25)),
    ("scaled_tanh", 2.0, 0.5): (2 * np.tanh(-0.75), 2 * np.tanh(0.125)),
    "thresholded_relu": (0, 0),
    ("thresholded_relu", 0.125): (0, 0.25),
}


@pytest.mark.parametrize("entry", VALUES)
def test_values(entry):
    """At -1.5 and 0.25, by the formulas of the ONNX operators."""
    assert_close(str(entry), reference.function_of(entry)(np.array([-1.5, 0.25])), np.array(VALUES[entry]), "forward")


SLOPES_AT_KINKS = {
    ("relu",): {0.0: 0.0},
    ("leaky_relu", 0.25): {0.0: 0.25},
    ("elu", 0.5): {0.0: 0.5},
    ("hard_sigmoid", 0.5, 0.5): {-1.0: 0.0, 1.0: 0.0},
    ("hard_tanh",): {-1.0: 0.0, 1.0: 0.0},
    ("thresholded_relu", 0.5): {0.5: 0.0},
}


@pytest.mark.parametrize("entry", SLOPES_AT_KINKS)
def test_slopes_at_kinks(entry):
    function, expected = reference.function_of(entry), SLOPES_AT_KINKS[entry]
    assert function.kinks == tuple(expected)
    assert function.slope(np.array(list(expected))).tolist() == list(expected.values())


@pytest.mark.parametrize("entry", FUNCTIONS, ids=str)
def test_functions_at_extremes(entry):
    """Nothing overflows; NaN gives NaN, in the value and in its slope or not at all."""
    function = reference.function_of(entry)
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(function(np.array([-1e4, -800.0, 800.0, 1e4]))).all()
        assert np.isfinite(function.slope(np.array([-1e4, -800.0, 800.0, 1e4]))).all()
    assert np.isnan(function(np.array([np.nan]))).all()


def test_clip_is_of_what_gates_are_applied_to():
    """Huge pre-activations give the values at the bound, the cell state passes it, and no gradient goes back."""
    spec = Spec("lstm", 1, 1, clip=0.5, bias=False)
    p = {"weight_ih_l0": np.full((4, 1), 1e3), "weight_hh_l0": np.zeros((4, 1))}
    state = (np.zeros((1, 1, 1)), np.full((1, 1, 1), 10.0))
    y, (_, c), tape = reference.forward(spec, p, np.ones((1, 1, 1)), state)
    s, g = 1 / (1 + np.exp(-0.5)), np.tanh(0.5)
    assert np.isclose(c.item(), s * 10 + s * g) and np.isclose(y.item(), s * np.tanh(c.item()))
    dx, (_, dc0), grads = reference.backward(spec, p, tape, np.ones((1, 1, 1)))
    assert dx.item() == 0 and not grads["weight_ih_l0"].any() and dc0.item() > 0


def test_the_clip_itself_passes_gradients():
    """|a| <= clip has slope 1, as the smallest number beyond has 0."""
    for a, expected in ((0.5, 1.0), (-0.5, 1.0), (np.nextafter(0.5, 1), 0.0), (np.nextafter(-0.5, -1), 0.0)):
        spec = Spec("rnn", 1, 1, nonlinearity="identity", clip=0.5, bias=False)
        p = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.zeros((1, 1))}
        _, _, tape = reference.forward(spec, p, np.full((1, 1, 1), a))
        assert reference.backward(spec, p, tape, np.ones((1, 1, 1)))[0].item() == expected


def test_layer_norm_is_of_all_gates_of_a_product():
    """LSTM: mean 0 and variance 1 over all 4H entries before gain and shift; the GRU's n has its own."""
    rng = np.random.default_rng(0)
    for kind, blocks in (("lstm", [slice(0, 20)]), ("gru", [slice(0, 10), slice(10, 15)])):
        spec = Spec(kind, 3, 5, layer_norm=True, bias=False)
        p = reference.local_parameters(spec, reference.random_parameters(spec, rng), 0, "_l0")
        p |= {"weight_ln_ih": np.ones_like(p["weight_ln_ih"]), "bias_ln_ih": np.zeros_like(p["bias_ln_ih"])}
        for rows in blocks:
            a = reference.product_forward(p, "ih", 10 * rng.standard_normal((4, 3)), rows)
            assert np.allclose(a.mean(axis=1), 0) and np.allclose(a.std(axis=1), 1, rtol=1e-4)


def test_kink_margin():
    """The smallest distance over all steps, from the bounds of clip too; infinite for smooth functions."""
    p = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.zeros((1, 1))}
    x = np.array([3.0, -0.25, 0.75]).reshape(3, 1, 1)
    for options, expected in (({}, np.inf), ({"nonlinearity": "relu"}, 0.25),
                              ({"nonlinearity": "relu", "clip": 0.8125}, 0.0625), ({"clip": 0.5}, 0.25)):  # fmt: skip
        spec = Spec("rnn", 1, 1, bias=False, **options)
        assert reference.has_kinks(spec) == (expected < np.inf)
        assert reference.kink_margin(spec, p, reference.forward(spec, p, x)[2]) == expected


def logistic(a):
    return 1 / (1 + np.exp(-np.asarray(a)))


def single(kind, parameters, x, state, **options):
    """One step of one unit, one sequence: y, final state."""
    spec = Spec(kind, 1, 1, **options)
    shapes = reference.parameter_shapes(spec)
    assert set(parameters) == set(shapes)
    p = {name: np.reshape(np.array(parameters[name], float), shape) for name, shape in shapes.items()}
    y, final, _ = reference.forward(spec, p, np.full((1, 1, 1), x), state)
    return y.item(), final


def test_min_lstm_of_vanished_gates():
    """Both gates underflow to 0 as numbers; their ratio does not: exp(a_f - a_i) weighs h and n."""
    p = {"weight_ih_l0": [-1000, -1001, 3], "bias_ih_l0": [0, 0, 0]}
    y, _ = single("min_lstm", p, 1.0, np.full((1, 1, 1), 0.5))
    assert np.isclose(y, (np.e * 0.5 + 3) / (np.e + 1), rtol=1e-12)


def test_an_empty_slstm_starts_with_n_1():
    """Whatever the size of the pre-activations: h = sigmoid(o) tanh(z) after the first step."""
    for i in (-1e4, 0.0, 1e4):
        p = {"weight_ih_l0": [i, 7, 0.5, 2], "weight_hh_l0": [0] * 4, "bias_ih_l0": [0] * 4}
        y, (h, c, n, m) = single("slstm", p, 1.0, None)
        assert n.item() == 1 and m.item() == i and np.isclose(y, logistic(2) * np.tanh(0.5))


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_slstm_is_its_plain_recurrence(forget):
    """With numbers that exp can hold, h is that of the cell without a maximum, also from a state with a scale m."""
    rng = np.random.default_rng(1)
    spec = Spec("slstm", 2, 3, forget=forget)
    params = reference.random_parameters(spec, rng, 2.0)
    x, state = rng.standard_normal((5, 2, 2)), reference.random_state(spec, rng, 2)
    y, _, _ = reference.forward(spec, params, x, state)
    h, c, n, m = (part[0] for part in state)
    c, n = c * np.exp(m), n * np.exp(m)
    for t in range(5):
        a = x[t] @ params["weight_ih_l0"].T + h @ params["weight_hh_l0"].T + params["bias_ih_l0"]
        i, f, z, o = np.split(a, 4, axis=1)
        f = logistic(f) if forget == "sigmoid" else np.exp(f)
        c, n = f * c + np.exp(i) * np.tanh(z), f * n + np.exp(i)
        h = logistic(o) * c / n
        assert_close(f"h{t}", y[t], h, "forward")


def test_sequences_of_no_steps_keep_the_empty_scale():
    """m stays -inf, and an error elsewhere would show beside it."""
    spec = Spec("slstm", 2, 3)
    params = reference.random_parameters(spec, np.random.default_rng(0))
    _, (h, c, n, m), _ = reference.forward(spec, params, np.ones((2, 2, 2)), lengths=[0, 2])
    assert (m[0, 0] == -np.inf).all() and np.isfinite(m[0, 1]).all()
    assert not h[0, 0].any() and not c[0, 0].any() and not n[0, 0].any()
    with pytest.raises(AssertionError, match="error 1 exceeds"):
        assert_close("m", np.where(np.isinf(m), m, m + 1), m, "forward")


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_slstm_at_extremes(forget):
    """Pre-activations of +-1e4 give finite results and gradients, from the empty state on."""
    rng = np.random.default_rng(0)
    spec = Spec("slstm", 3, 4, forget=forget)
    params = reference.random_parameters(spec, rng, 1e4)
    with np.errstate(all="raise", under="ignore"):
        y, final, tape = reference.forward(spec, params, rng.standard_normal((6, 2, 3)))
        gradients = reference.backward(spec, params, tape, rng.standard_normal(y.shape))
    dx, dstate0, grads = gradients
    for array in (y, *final, dx, *dstate0, *grads.values()):
        assert np.isfinite(array).all()
    assert np.abs(y).max() > 0.1


def test_slstm_gradients_cross_chunks():
    """Two chunks, the second's dstate0 handed to the first, give the gradients of the whole, scale and all."""
    rng = np.random.default_rng(2)
    spec = Spec("slstm", 2, 3, forget="exp")
    params = reference.random_parameters(spec, rng, 2.0)
    x, dy = rng.standard_normal((6, 2, 2)), rng.standard_normal((6, 2, 3))
    _, final, tape = reference.forward(spec, params, x)
    _, middle, first = reference.forward(spec, params, x[:2])
    y2, final2, second = reference.forward(spec, params, x[2:], middle)
    for whole, part in zip(final, final2):
        assert_close("state", part, whole, "forward")
    expected = reference.backward(spec, params, tape, dy)
    dx2, dmiddle, grads2 = reference.backward(spec, params, second, dy[2:])
    dx1, dstate0, grads1 = reference.backward(spec, params, first, dy[:2], dmiddle)
    assert_close("dx", np.concatenate([dx1, dx2]), expected[0], "gradient")
    for name, gradient in expected[2].items():
        assert_close(name, grads1[name] + grads2[name], gradient, "gradient")
    for part, whole in zip(dstate0, expected[1]):
        assert_close("dstate0", part, whole, "gradient")


def test_the_only_state_of_an_sru_is_its_cell_state():
    """State and gradient are plain arrays, (L*D, B, H)."""
    spec = Spec("sru", 4, 4, num_layers=2)
    params = reference.random_parameters(spec, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((3, 2, 4))
    y, c, tape = reference.forward(spec, params, x, np.zeros((2, 2, 4)))
    dx, dc0, _ = reference.backward(spec, params, tape, np.ones_like(y), np.ones_like(c))
    assert reference.state_names(spec) == ("c",) and c.shape == dc0.shape == (2, 2, 4)
    empty, _, _ = reference.forward(spec, params, x)
    assert_close("y", empty, y, "forward")


# ---- Trees --------------------------------------------------------------------------------------

#: Two trees and a node by itself, children before and after their parents, one with three children.
FOREST = (3, 6, 3, -1, 3, -1, 7, -1)


def tree_problem(seed=0, I=2, H=3):
    rng = np.random.default_rng(seed)
    shapes = reference.tree_parameter_shapes(I, H)
    params = {name: rng.uniform(-0.8, 0.8, shape) for name, shape in shapes.items()}
    return params, *(rng.standard_normal((len(FOREST), width)) for width in (I, H, H))


def test_tree_gradients():
    params, x, dh, dc = tree_problem()

    def value():
        h, c, _ = reference.tree_forward(params, x, FOREST)
        return np.sum(h * dh) + np.sum(c * dc)

    _, _, tape = reference.tree_forward(params, x, FOREST)
    dx, grads = reference.tree_backward(params, tape, dh, dc)
    for name, array in {"x": x, **params}.items():
        assert_gradient(name, dx if name == "x" else grads[name], array, value)


def test_a_chain_is_an_lstm():
    """A tree in which each node has one child is an LSTM along it."""
    params, x, _, _ = tree_problem()
    h, c, _ = reference.tree_forward(params, x, [*range(1, len(x)), -1])
    y, (_, last), _ = reference.forward(Spec("lstm", 2, 3), params | {"bias_hh_l0": np.zeros(12)}, x[:, None])
    assert_close("h", h, y[:, 0], "forward")
    assert_close("c", c[-1], last[0, 0], "forward")


def test_trees_of_a_forest_are_apart():
    """Node 5 is alone; the tree of nodes 0, 2, 3, 4 gives the same by itself; names are only names."""
    params, x, _, _ = tree_problem()
    h, c, _ = reference.tree_forward(params, x, FOREST)
    alone, _, _ = reference.tree_forward(params, x[[5]], [-1])
    tree, _, _ = reference.tree_forward(params, x[[3, 4, 2, 0]], [-1, 0, 0, 0])
    assert_close("alone", h[[5]], alone, "forward")
    assert_close("tree", h[[3, 4, 2, 0]], tree, "forward")
