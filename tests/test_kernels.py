"""Kernels of every instruction set that this CPU runs: functions, products, and whole layers against scalar."""

import itertools

import numpy as np
import pytest
from cases import Case, Data, on_isa, smooth
from rows import CELLS, TELLING
from strategies import WIDTHS
from tolerance import ULPS, assert_close, assert_same_bits, ulps

from fastrnn._core import engine

ISAS = engine.isas()
VECTOR_ISAS = [isa for isa in ISAS if isa != "scalar"] or ["scalar"]
DTYPES = ["float32", "float64"]
FUNCTIONS = ["exp", "sigmoid", "tanh"]
SENTINEL = 0x7FC0DEAD  # in float32 a NaN with a payload


def exact(name, x):
    """The function in extended precision, with infinities and zeros where they belong."""
    x = x.astype(np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        if name == "sigmoid":
            e = np.exp(-np.abs(x))
            return np.where(x >= 0, 1, e) / (1 + e)
        return {"exp": np.exp, "tanh": np.tanh}[name](x)


def edges(dtype):
    """Zeros, infinities, NaN, denormals, the ends of every range, neighbours of small integers."""
    info = np.finfo(dtype)
    tiny = [info.smallest_subnormal * k for k in (1, 2, 3, 1000)] + [info.tiny, info.tiny / 2]
    small = [info.eps**power for power in (0.25, 0.5, 1, 2)]
    sizes = [0.34657359, 0.5, 1, 9, 10, 17, 18, 20, 37, 40, 87, 88.7, 103, 104, 709.7, 745, 746, 1e4, info.max]
    magnitudes = np.array([0.0, np.inf, *tiny, *small, *sizes], dtype)
    magnitudes = np.concatenate([magnitudes, np.nextafter(magnitudes, dtype(0)), np.nextafter(magnitudes, dtype(1))])
    return np.concatenate([magnitudes, -magnitudes, [np.nan]]).astype(dtype)


def spread(dtype):
    """Numbers of every exponent, and a dense walk through the range in which nothing is saturated."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    exponents = rng.uniform(info.minexp - info.nmant, 10, 20_000)
    magnitudes = np.ldexp(rng.uniform(1, 2, 20_000), exponents.astype(int))
    limit = -np.log(float(info.smallest_subnormal)) + 2
    walk = np.linspace(-limit, limit, 40_001)
    close = np.linspace(-20, 20, 40_001)
    return np.concatenate([magnitudes, -magnitudes, walk, close]).astype(dtype)


@pytest.mark.smoke
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_error(name, dtype, isa):
    """At most 4 ULP everywhere, denormal results included; not finite exactly where it should be."""
    x = np.concatenate([edges(np.dtype(dtype).type), spread(np.dtype(dtype).type)])
    result = engine.math(name, x, isa)
    assert result.dtype == dtype and result.shape == x.shape
    error = ulps(result, exact(name, x))
    worst = int(np.argmax(error))
    assert error[worst] <= ULPS, f"{name}({x[worst]!r}) = {result[worst]!r}: {error[worst]:.2f} ULP"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_function_values(dtype, isa):
    """Exact at zeros and infinities; symmetric, bounded, rising; NaN in, NaN out."""
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    assert_same_bits("exp", engine.math("exp", x, isa)[:4], np.array([1, 1, np.inf, 0], dtype))
    assert_same_bits("sigmoid", engine.math("sigmoid", x, isa)[:4], np.array([0.5, 0.5, 1, 0], dtype))
    assert_same_bits("tanh", engine.math("tanh", x, isa)[:4], np.array([0.0, -0.0, 1, -1], dtype))
    for name in FUNCTIONS:
        assert np.isnan(engine.math(name, x, isa)[4])
    x = np.sort(spread(np.dtype(dtype).type))
    for name in FUNCTIONS:
        values = engine.math(name, x, isa)
        finite = values[np.isfinite(values)]
        falls = finite[:-1] - finite[1:]
        assert (falls <= np.spacing(np.abs(finite[:-1]))).all(), f"{name} falls by more than one ULP"
    sigmoid, tanh = engine.math("sigmoid", x, isa), engine.math("tanh", x, isa)
    assert (sigmoid >= 0).all() and (sigmoid <= 1).all() and (np.abs(tanh) <= 1).all()
    assert_same_bits("tanh is odd", engine.math("tanh", -x, isa), -tanh)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_function_of_any_length(dtype, isa):
    """Each lane does what every other lane does, in whole vectors and in tails."""
    x = np.linspace(-5, 5, 67).astype(dtype)
    for name in FUNCTIONS:
        whole = engine.math(name, x, isa)
        for n in range(len(x) + 1):
            assert_same_bits(f"{name} of {n}", engine.math(name, x[:n].copy(), isa), whole[:n])
        for start in range(1, 20):
            assert_same_bits(f"{name} from {start}", engine.math(name, x[start:].copy(), isa), whole[start:])


# ---------------------------------------------------------------- products


def product_data(rows, depth, units, dtype):
    rng = np.random.default_rng(rows * 10_000 + depth * 100 + units)
    return tuple(rng.standard_normal(s).astype(dtype) for s in ((rows, depth), (units, depth), (units,)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", WIDTHS)
def test_product(units, dtype, isa):
    """a W^T + b for 1 to 20 rows; and each row's bits are those it has alone."""
    for depth in (1, 2, 5, 16, 67):
        a, w, bias = product_data(20, depth, units, dtype)
        expected = a.astype(float) @ w.astype(float).T + bias
        alone = np.concatenate([engine.product(a[r : r + 1].copy(), w, bias, isa) for r in range(20)])
        assert_close("product", alone, expected, "forward", dtype)
        for rows in range(1, 21):
            assert_same_bits(f"{rows} rows", engine.product(a[:rows].copy(), w, bias, isa), alone[:rows])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_product_of_integers_is_exact(dtype, isa):
    """Every entry from its own row and column: no lane, panel or tile is mistaken for another."""
    for rows, depth, units in ((1, 3, 5), (3, 1, 17), (7, 4, 33), (13, 8, 65), (20, 2, 100)):
        a = (np.arange(rows * depth).reshape(rows, depth) % 11 - 5).astype(dtype)
        w = (np.arange(units * depth).reshape(units, depth) % 13 - 6).astype(dtype)
        bias = np.arange(units).astype(dtype)
        assert_same_bits("product", engine.product(a, w, bias, isa), a @ w.T + bias + 0.0)


@pytest.mark.parametrize("isa", ISAS)
def test_product_keeps_nan_in_its_row(isa):
    a, w, bias = product_data(9, 7, 21, "float32")
    clean = engine.product(a, w, bias, isa)
    a[4, 6] = np.nan
    result = engine.product(a, w, bias, isa)
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    assert np.isnan(result[4]).all()
    assert_same_bits("the others", result[others], clean[others])


# ---------------------------------------------------------------- whole layers


def layer_on(isa, data):
    """A layer of the data whose kernels are those of one instruction set."""
    with on_isa(isa):
        return data.layer()


def everything(data, layer):
    """All results of one training pass: name -> (array, kind of tolerance)."""
    y, state, pullback = layer.vjp(*data.calls())
    dx, dstate0 = pullback(data.dy, data.dstate)
    results = {"y": (y, "forward"), "dx": (dx, "gradient")}
    for label, parts, kind in (("state", state, "forward"), ("dstate0", dstate0, "gradient")):
        for i, part in enumerate(data.plain_state(parts)):
            results[f"{label}[{i}]"] = part, kind
    return {**results, **{name: (array, "gradient") for name, array in layer.grads.items()}}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", VECTOR_ISAS)
def test_layers_against_scalar(isa, cell, dtype):
    """Sizes 1 to four vectors of the widest set and one more."""
    for H in [*WIDTHS[:18], 64, 65]:
        data = Data(smooth(Case(cell, I=1 + H % 7, H=H, T=2, B=1 + H % 4, D=1 + H % 2, dtype=dtype, seed=H)))
        ours = everything(data, layer_on(isa, data))
        scalar = everything(data, layer_on("scalar", data))
        for name, (array, kind) in ours.items():
            assert_close(f"H = {H}: {name}", array, scalar[name][0], kind, dtype)


@pytest.mark.parametrize("isa", ISAS)
def test_a_layer_keeps_its_instruction_set(isa):
    """The choice is made when a layer is made; it is not changed by a later one."""
    data = Data(Case("lstm", I=9, H=33, T=5, B=3, dtype="float32"))
    layer = layer_on(isa, data)
    with on_isa("scalar"):
        inside = layer(*data.calls())[0]
    assert_same_bits("y", layer(*data.calls())[0], inside)
    assert engine.isa() in ISAS


# ---------------------------------------------------------------- guard bytes


def guarded(array):
    """A copy inside a larger buffer, with sentinels before and after every row."""
    word = np.dtype(f"u{array.dtype.itemsize}")
    shape = [size + 4 for size in array.shape]
    buffer = np.full(shape, SENTINEL if word.itemsize == 4 else SENTINEL << 32, word)
    view = buffer.view(array.dtype)[(slice(2, -2),) * array.ndim]
    view[...] = array
    return view, buffer


def row_of_memory(array):
    """A contiguous copy inside a larger buffer: the form that is used without another copy."""
    word = np.dtype(f"u{array.dtype.itemsize}")
    buffer = np.full(array.size + 64, SENTINEL if word.itemsize == 4 else SENTINEL << 32, word)
    view = buffer[32 : 32 + array.size].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view, buffer


@pytest.mark.parametrize("place", [guarded, row_of_memory])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_guards_around_every_buffer(dtype, isa, place):
    """Nothing beside an array is written, and nothing beside it (NaN) is read into a result."""
    for cell, H in itertools.product(CELLS, (1, 7, 9, 17, 33)):
        data = Data(Case(cell, I=H + 2, H=H, L=2, T=3, B=3, dtype=dtype, lengths=(3, 1, 2)))
        layer = layer_on(isa, data)
        clean = everything(data, layer)
        clean = {name: array.copy() for name, (array, _) in clean.items()}
        buffers = []

        def wrap(array):
            if isinstance(array, tuple):
                return tuple(map(wrap, array))
            view, buffer = place(array)
            buffers.append((buffer, buffer.copy()))
            return view

        for name in ("x", "state", "dy", "dstate"):
            setattr(data, name, wrap(getattr(data, name)))
        layer.zero_grad()
        for name, (array, _) in everything(data, layer).items():
            assert_same_bits(f"{cell}, H = {H}: {name}", array, clean[name])
        for buffer, before in buffers:
            assert np.array_equal(buffer, before), "a guard was overwritten"


def test_guards_around_step_buffers():
    data = Data(Case("lstm", I=9, H=17, T=5, B=2, dtype="float32", state="none"))
    layer = data.layer()
    expected, _ = layer(data.x)
    stream = layer.stream(2)
    for x_t, y_t in zip(data.x, expected, strict=True):
        view, buffer = row_of_memory(x_t)
        before = buffer.copy()
        assert_same_bits("y_t", stream.step(view).copy(), y_t)
        assert np.array_equal(buffer, before)


def test_products_of_repeated_and_of_no_columns():
    """Strides of 0: an operand that a broadcast repeats, and one without columns."""
    rng = np.random.default_rng(0)
    column, w = rng.standard_normal((3, 1)), rng.standard_normal((9, 4))
    repeated = np.broadcast_to(column, (3, 9))
    assert_same_bits("repeated", engine.matmul(repeated, w), engine.matmul(repeated.copy(), w))
    assert not engine.matmul(np.zeros((3, 0)), np.zeros((0, 4))).any()
