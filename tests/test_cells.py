"""What cells and options have for themselves: functions by name, clip, layer norm, scales that keep exponentials finite.

That every cell computes its equations is in ``test_forward`` and ``test_gradients``.
"""

import numpy as np
import pytest
from cases import FURTHER, ROWS, Case, Data, check_forward, check_gradients, compare_gradients, on_isa, smooth
from tolerance import ULPS, assert_close, ulps

import fastrnn as fr
from fastrnn import reference
from fastrnn._core import engine

DTYPES = ["float32", "float64"]
ISAS = engine.isas()


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", FURTHER)
def test_options(cell, dtype):
    """Rows that have no place in the property tests."""
    for case in (
        Case(cell, I=3, H=5, L=2, D=2, T=4, B=3, lengths=(4, 0, 2), padding=np.nan, dtype=dtype),
        Case(cell, I=9, H=33, T=5, B=7, dtype=dtype, seed=1),
    ):
        case = smooth(case)  # forward too: a thresholded relu jumps
        check_forward(case)
        check_gradients(case)


def test_every_function_has_a_row():
    named = {row.arguments.get("nonlinearity", "tanh") for row in ROWS.values() if row.kind == "rnn"}
    assert named == set(engine.ACTIVATIONS)


# ---------------------------------------------------------------- functions of one number


def applied(entry, x):
    """g(x) and g'(x) of a row of numbers, by a layer of one unit that adds nothing to it."""
    name, *numbers = entry
    layer = fr.RNN(1, 1, nonlinearity=name, bias=False, dtype=x.dtype, residual=True, **dict(zip(("alpha", "beta"), numbers)))
    layer.load_state_dict({"weight_ih_l0": [[1]], "weight_hh_l0": [[0]]})
    y, _, pullback = layer.vjp(x.reshape(1, -1, 1))
    dx, _ = pullback(np.ones_like(y))
    return y.ravel(), dx.ravel()


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


#: (name, alpha, beta) -> value and slope by the formulas of the ONNX operators; x is of extended precision.
FORMULAS = {
    ("identity",): (lambda x: x, np.ones_like),
    ("sigmoid",): (lambda x: 1 / (1 + np.exp(-x)), lambda x: 1 / (2 + 2 * np.cosh(x))),
    ("tanh",): (np.tanh, lambda x: 1 / np.cosh(x)**2),
    ("relu",): (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
    ("elu",): (lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1, np.exp(x))),
    ("elu", 0.625): (lambda x: np.where(x > 0, x, 0.625 * np.expm1(x)), lambda x: np.where(x > 0, 1, 0.625 * np.exp(x))),
    ("leaky_relu", 0.25): (lambda x: np.where(x > 0, x, x / 4), lambda x: np.where(x > 0, 1, 0.25)),
    ("softsign",): (lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x))**2),
    ("softplus",): (softplus, lambda x: 1 / (1 + np.exp(-x))),
    ("hard_sigmoid", 0.25, 0.5): (lambda x: np.clip(x / 4 + 0.5, 0, 1), lambda x: np.where(np.abs(x) < 2, 0.25, 0)),
    ("hard_tanh",): (lambda x: np.clip(x, -1, 1), lambda x: 1.0 * (np.abs(x) < 1)),
    ("affine", 0.75, 0.25): (lambda x: 0.75 * x + 0.25, lambda x: 0 * x + 0.75),
    ("scaled_tanh", 1.25, 0.75): (lambda x: 1.25 * np.tanh(0.75 * x), lambda x: 1.25 * 0.75 / np.cosh(0.75 * x)**2),
    ("thresholded_relu", 0.5): (lambda x: np.where(x > 0.5, x, 0), lambda x: 1.0 * (x > 0.5)),
}  # fmt: skip
#: Defaults where there are numbers.
DEFAULTS = {"elu": (1.0,), "leaky_relu": (0.01,), "hard_sigmoid": (0.2, 0.5), "affine": (1.0, 0.0), "scaled_tanh": (1.0, 1.0),
            "thresholded_relu": (1.0,)}  # fmt: skip


def points(dtype):
    """Dense around 0 with every kink above, every size up to where nothing changes any more, both signs."""
    sizes = np.concatenate([np.linspace(0, 4, 1025), np.linspace(4, 40, 500), np.logspace(-30, 3, 500)])
    return np.concatenate([sizes, -sizes]).astype(dtype)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("entry", FORMULAS, ids=lambda entry: "-".join(map(str, entry)))
def test_function(entry, dtype, isa):
    """Values within 4 ULP where no sum cancels; slopes are differences, so within the tolerance of a gradient."""
    x = points(dtype)
    with on_isa(isa):
        y, slope = applied(entry, x)
    with np.errstate(over="ignore", under="ignore"):
        expected_y, expected_slope = (formula(x.astype(np.longdouble)) for formula in FORMULAS[entry])
    error = ulps(y, expected_y)
    if entry[0] in ("affine", "hard_sigmoid"):  # of a number of either sign and beta
        error[np.abs(expected_y) < 0.1] = 0
    worst = int(np.argmax(error))
    assert error[worst] <= ULPS, f"{entry} of {x[worst]!r} = {y[worst]!r}: {error[worst]:.2f} ULP"
    assert_close("slope", slope, expected_slope, "gradient", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_defaults(dtype):
    """Without alpha and beta they are those of ONNX."""
    assert {entry[0] for entry in FORMULAS} == set(engine.ACTIVATIONS)
    assert set(DEFAULTS) == {entry[0] for entry in FORMULAS if len(entry) > 1}
    x = points(dtype)
    for name, numbers in DEFAULTS.items():
        for ours, explicit in zip(applied((name,), x), applied((name, *numbers), x)):
            assert np.array_equal(ours, explicit), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_at_kinks(dtype):
    """Exactly there: 0 beside what is constant, otherwise that of the left side."""
    for entry, kinks in {
        ("relu",): {0: 0}, ("elu", 0.5): {0: 0.5}, ("leaky_relu", 0.25): {0: 0.25}, ("hard_sigmoid", 0.25, 0.5): {-2: 0, 2: 0},
        ("hard_tanh",): {-1: 0, 1: 0}, ("thresholded_relu", 0.5): {0.5: 0},
    }.items():  # fmt: skip
        _, slope = applied(entry, np.array(list(kinks), dtype))
        assert slope.tolist() == list(kinks.values()), entry
        assert reference.function_of(entry).slope(np.array(list(kinks), float)).tolist() == slope.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_at_the_ends(dtype):
    """Infinities give the limits, NaN gives NaN."""
    limits = {"identity": (-np.inf, np.inf), "sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, np.inf), "elu": (-1, np.inf),
              "leaky_relu": (-np.inf, np.inf), "softsign": (-1, 1), "softplus": (0, np.inf), "hard_sigmoid": (0, 1),
              "hard_tanh": (-1, 1), "affine": (-np.inf, np.inf), "scaled_tanh": (-1, 1),
              "thresholded_relu": (0, np.inf)}  # fmt: skip
    assert set(limits) == set(engine.ACTIVATIONS)
    for name, expected in limits.items():
        y, _ = applied((name,), np.array([-np.inf, np.inf, np.nan], dtype))
        assert tuple(y[:2]) == expected and np.isnan(y[2]), name


# ---------------------------------------------------------------- clip


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip(dtype):
    """The bound itself still passes the gradient, the next number beyond does not; NaN stays."""
    layer = fr.RNN(1, 1, nonlinearity="identity", clip=0.5, bias=False, dtype=dtype)
    layer.load_state_dict({"weight_ih_l0": [[1]], "weight_hh_l0": [[0]]})
    half = np.dtype(dtype).type(0.5)
    beyond = np.nextafter(half, half + half)
    x = np.array([half, -half, beyond, -beyond, 0.25, 1e30, -np.inf, np.nan], dtype)
    y, _, pullback = layer.vjp(x.reshape(1, -1, 1))
    dx, _ = pullback(np.ones_like(y))
    assert y.ravel()[:7].tolist() == [0.5, -0.5, 0.5, -0.5, 0.25, 0.5, -0.5] and np.isnan(y.ravel()[7])
    assert dx.ravel()[:7].tolist() == [1, 1, 0, 0, 1, 0, 0]


def test_clip_leaves_the_cell_state():
    """Gates at their bounds for 20 steps: c grows past the clip."""
    layer = fr.LSTM(1, 1, clip=2.0, dtype="float64")
    layer.load_state_dict({name: np.ones_like(value) for name, value in layer.parameters.items()})
    _, (_, c) = layer(np.full((20, 1, 1), 1e3))
    assert c.item() > 5


# ---------------------------------------------------------------- layer norm


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", [name for name, row in ROWS.items() if row.arguments.get("layer_norm")])
def test_norm_of_zeros(cell, dtype):
    """A row of equal values is normalised to 0: results are the shifts', gradients are large and finite."""
    data = Data(Case(cell, I=4, H=19, L=2, T=3, B=3, dtype=dtype, bias=False, state="none"))
    data.x_plain[...] = 0
    data.x = data.x_plain.astype(dtype)
    compare_gradients(data, data.results())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_norm_of_any_size(scale, dtype):
    """Far below the root of 1e-5 a row keeps its size over it, far above it has variance 1 whatever its mean."""
    data = Data(Case("rnn_norm", I=4, H=19, T=3, B=3, dtype=dtype, bias=False))
    data.parameters["weight_ih_l0"] *= scale
    layer = data.case.new_layer()
    layer.load_state_dict(data.parameters)
    data.parameters = {name: array.astype(float) for name, array in layer.parameters.items()}
    compare_gradients(data, data.results())


# ---------------------------------------------------------------- exponentials kept finite


def exact_slstm(forget, dtype, state):
    """An sLSTM whose gates i and f see integers of up to 1e4, all the sums of which float32 holds."""
    case = Case("slstm_exp" if forget == "exp" else "slstm", I=6, H=19, T=9, B=5, dtype=dtype, state=state, bias=False)
    data, rng = Data(case), np.random.default_rng(1)
    W, R = np.zeros((4, case.H, case.I)), np.zeros((4, case.H, case.H))
    W[0, :, 0], W[1, :, 1] = rng.choice([-5000, 5000], case.H), rng.choice([-5000, 5000], case.H)
    W[0, :, 2] = rng.choice([-1, 0, 1], case.H)  # steps in which no gate outweighs the others
    W[2:, :, 3:], R[2:] = rng.uniform(-1, 1, (2, case.H, 3)), rng.uniform(-0.2, 0.2, (2, case.H, case.H))
    data.parameters = {"weight_ih_l0": W.reshape(-1, case.I), "weight_hh_l0": R.reshape(-1, case.H)}
    data.parameters = {name: array.astype(np.float32).astype(float) for name, array in data.parameters.items()}
    x = rng.integers(-2, 3, data.x_plain.shape).astype(float)
    x[..., 1] = rng.choice([-2, -1, 1, 2], x.shape[:2])  # log sigmoid of 0 is no integer
    data.x_plain, data.x = x, x.astype(dtype)
    if state == "all":  # whole numbers, as far from the gates as they are from each other
        m = rng.choice([-10000, 0, 10000], data.state_plain[3].shape).astype(float)
        data.state_plain = (*data.state_plain[:3], m)
        data.state = tuple(part.astype(dtype) for part in data.state_plain)
    return data


@pytest.mark.smoke
@pytest.mark.parametrize("state", ["none", "all"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_slstm_of_large_gates(forget, dtype, state):
    """Pre-activations of 1e4: nothing overflows, and what the largest exponent leaves is exact."""
    data = exact_slstm(forget, dtype, state)
    a = data.x_plain @ data.parameters["weight_ih_l0"].T
    assert np.abs(a).max() > 9999
    results = data.results()
    assert all(np.isfinite(part).all() for part in (results[0], *results[1], *results[2][2].values()))
    compare_gradients(data, results)


def test_slstm_after_the_empty_state():
    """n is 1 after one step, whatever the gates; h is o tanh(z)."""
    for forget in ("sigmoid", "exp"):
        layer = fr.SLSTM(3, 5, forget=forget, dtype="float64", rng=0)
        x = np.random.default_rng(0).standard_normal((1, 4, 3)) * 100
        _, (h, _, n, m) = layer(x)
        p = layer.parameters
        a_i, _, a_z, a_o = np.split(x[0] @ p["weight_ih_l0"].T + p["bias_ih_l0"], 4, axis=1)
        assert (n == 1).all()
        assert_close("m", m[0], a_i, "forward")
        assert_close("h", h[0], np.tanh(a_z) / (1 + np.exp(-a_o)), "forward")


@pytest.mark.parametrize("dtype", DTYPES)
def test_min_lstm_of_closed_gates(dtype):
    """f and i both vanish in every dtype; f / (f + i) is still exp(a_f) / (exp(a_f) + exp(a_i))."""
    layer = fr.MinLSTM(2, 1, bias=False, dtype=dtype)
    layer.load_state_dict({"weight_ih_l0": [[-10000, 0], [-10000, -1], [0, 1]]})
    x = np.array([[[1, 0]], [[1, 1]], [[1, 20000]]], dtype)
    y, _, pullback = layer.vjp(x, np.full((1, 1, 1), 2, dtype))
    keep = 1 / (1 + np.exp(-np.longdouble(1)))
    first = 0.5 * 2
    expected = [first, keep * first + (1 - keep) * 1, keep * first + (1 - keep) * 1]
    assert_close("y", y.ravel(), np.array(expected, float), "forward", dtype)
    dx, dh0 = pullback(np.ones_like(y))
    assert np.isfinite(dx).all() and np.isfinite(layer.grads["weight_ih_l0"]).all()
    assert_close("dh0", dh0.ravel(), np.array([0.5 + 2 * 0.5 * float(keep)]), "gradient", dtype)
