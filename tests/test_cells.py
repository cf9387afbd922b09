"""What cells and options have for themselves: functions by name, clip, layer norm, scales that keep exponentials finite.

That every cell computes its equations is in ``test_forward`` and ``test_gradients``.
"""

import numpy as np
import pytest
from cases import FURTHER, ROWS, Case, Data, check_forward, check_gradients, compare_gradients, smooth, variant
from test_kernels import ISAS, on_isa
from tolerance import ULPS, assert_close, assert_same_bits, ulps

import fastrnn as fr
from fastrnn._core import engine

DTYPES = ["float32", "float64"]


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


def function_of(x, name, dtype, **numbers):
    """g(x) and g'(x) for a row of numbers, by a layer of one unit that adds nothing to it."""
    layer = fr.RNN(1, 1, nonlinearity=name, bias=False, dtype=dtype, residual=True, **numbers)
    layer.load_state_dict({"weight_ih_l0": [[1]], "weight_hh_l0": [[0]]})
    y, _, pullback = layer.vjp(np.asarray(x, dtype).reshape(1, -1, 1))
    dx, _ = pullback(np.ones_like(y))
    return y.ravel(), dx.ravel()


def _expm1_of_negative(x):
    return np.expm1(np.minimum(x, 0))


def _log1p_exp(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


#: Name -> value and slope in extended precision, with alpha a and beta b; the ONNX operators' formulas.
FORMULAS = {
    "identity": (lambda x, a, b: x, lambda x, a, b: 1 + 0 * x),
    "sigmoid": (lambda x, a, b: 1 / (1 + np.exp(-x)), lambda x, a, b: np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))**2),
    "tanh": (lambda x, a, b: np.tanh(x), lambda x, a, b: 1 / np.cosh(x)**2),
    "relu": (lambda x, a, b: np.maximum(x, 0), lambda x, a, b: (x > 0) + 0 * x),
    "elu": (lambda x, a, b: np.where(x > 0, x, a * _expm1_of_negative(x)), lambda x, a, b: np.where(x > 0, 1, a * np.exp(np.minimum(x, 0)))),
    "leaky_relu": (lambda x, a, b: np.where(x > 0, x, a * x), lambda x, a, b: np.where(x > 0, 1, a + 0 * x)),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), lambda x, a, b: 1 / (1 + np.abs(x))**2),
    "softplus": (lambda x, a, b: _log1p_exp(x), lambda x, a, b: 1 / (1 + np.exp(-x))),
    "hard_sigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), lambda x, a, b: np.where((a * x + b > 0) & (a * x + b < 1), a, 0 * x)),
    "hard_tanh": (lambda x, a, b: np.clip(x, -1, 1), lambda x, a, b: (np.abs(x) < 1) + 0 * x),
    "affine": (lambda x, a, b: a * x + b, lambda x, a, b: a + 0 * x),
    "scaled_tanh": (lambda x, a, b: a * np.tanh(b * x), lambda x, a, b: a * b / np.cosh(b * x)**2),
    "thresholded_relu": (lambda x, a, b: np.where(x > a, x, 0), lambda x, a, b: (x > a) + 0 * x),
}  # fmt: skip
for name in FORMULAS:
    for dtype in DTYPES:
        rng=np.random.default_rng(0)
        x=np.concatenate([np.linspace(-30,30,4001),np.linspace(-2,2,2001)[1:],10.0**np.linspace(-30,2,500),-10.0**np.linspace(-30,2,500), 10.0**np.linspace(2,4,50)]).astype(dtype)
        from fastrnn._validate.recurrent import ACTIVATIONS
        a,b=ACTIVATIONS[name]; 
        y,dy=function_of(x,name,dtype)
        L=np.longdouble
        aa=L(np.dtype(dtype).type(a or 0)); bb=L(np.dtype(dtype).type(b or 0))
        with np.errstate(all="ignore"):
            X=x.astype(L); v,s=(f(X,aa,bb) for f in FORMULAS[name])
            u1=ulps(y,v.astype(L)); u2=ulps(dy,s.astype(L))
        print(name,dtype,"value %.2f at %g"%(u1.max(),x[u1.argmax()]),"slope %.2f at %g"%(u2.max(),x[u2.argmax()]))
