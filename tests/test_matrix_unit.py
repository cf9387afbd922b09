"""Products on a matrix unit: exact where they must be, as good as those in float32, and nothing outside touched.

Layers use it here however small they are.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from cases import Case, Data, dealt_out, on_isa, smooth
from rows import CELLS
from test_kernels import everything, layer_on
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn._core import engine, products

UNITS = [isa for isa in engine.isas() if engine.has_unit(4, isa)]
SHAPES = [(1, 1, 1), (16, 32, 16), (2, 33, 17), (15, 7, 31), (17, 64, 15), (31, 95, 48), (32, 96, 32), (33, 31, 33), (50, 130, 70), (70, 600, 300)]

pytestmark = pytest.mark.skipif(not UNITS, reason="no matrix unit on this CPU")


@pytest.fixture(autouse=True)
def however_small():
    engine.prefer_unit(True)
    yield
    engine.prefer_unit(False)


each_unit = pytest.mark.parametrize("isa", UNITS)
each_way = pytest.mark.parametrize("transposed", [False, True])


def product(a, b, isa, transposed=False, out=None):
    """a @ b, of which the unit finds a, or its transpose, in memory."""
    a, b = (np.ascontiguousarray(array, np.float32) for array in (a.T if transposed else a, b))
    return engine.unit_matmul(a, b, transposed, out, isa)


def operands(rows, depth, columns, seed=0):
    rng = np.random.default_rng([seed, rows, depth, columns])
    return rng.standard_normal((rows, depth)).astype(np.float32), rng.standard_normal((depth, columns)).astype(np.float32)


@pytest.mark.smoke
@each_unit
@each_way
@pytest.mark.parametrize("shape", SHAPES)
def test_integers_are_exact(shape, transposed, isa):
    """Of up to 24 bits, three parts of which matter, against -1, 0 and 1, and the other way round."""
    rng = np.random.default_rng(shape)
    rows, depth, columns = shape
    large = rng.integers(-(2**24), 2**24, (rows, depth)) // depth
    small = rng.integers(-1, 2, (depth, columns))
    result = product(large.astype(np.float32), small, isa, transposed)
    assert_same_bits("a @ b", result, (large @ small).astype(np.float32))
    result = product(small.T.astype(np.float32), large.T, isa, transposed)
    assert_same_bits("b' @ a'", result, (large @ small).T.astype(np.float32))


@each_unit
@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_are_one(shape, isa):
    a, b = operands(*shape)
    by_rows, by_columns = (product(a, b, isa, way) for way in (False, True))
    assert_same_bits("a @ b", by_columns, by_rows)
    assert_close("a @ b", by_rows, a.astype(float) @ b.astype(float), "forward")


@pytest.mark.smoke
@each_unit
def test_error_is_that_of_float32(isa):
    """Root mean square, relative to the terms: no larger than that of float32 sums in the order of k."""
    a, b = operands(64, 300, 48)
    exact, terms = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b).astype(float)
    in_order = np.zeros(exact.shape, np.float32)
    for k in range(a.shape[1]):
        in_order += a[:, k : k + 1] * b[k]
    ours, theirs = (np.sqrt(np.mean(((c - exact) / terms) ** 2)) for c in (product(a, b, isa), in_order))
    assert 0 < ours <= theirs


@each_unit
def test_single_products_are_those_of_float32(isa):
    """Depth 1: within two units of the last place, whatever the signs and the places of the bits."""
    rng = np.random.default_rng(1)
    a = np.ldexp(rng.uniform(-1, 1, (160, 1)), rng.integers(-40, 40, (160, 1))).astype(np.float32)
    b = np.ldexp(rng.uniform(-1, 1, (1, 160)), rng.integers(-40, 40, (1, 160))).astype(np.float32)
    exact = a.astype(float) * b
    error = np.abs(product(a, b, isa) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert error.max() <= 2


@each_unit
@each_way
def test_scale_does_not_matter(transposed, isa):
    """Powers of two factor out, to the bit, as far as no part becomes a denormal."""
    a, b = operands(20, 70, 18)
    result = product(a, b, isa, transposed)
    for power in (-80, -30, 30, 100):
        scaled = product(np.ldexp(a, power), b, isa, transposed)
        assert_same_bits(f"2**{power}", scaled, np.ldexp(result, power))


@each_unit
@each_way
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.float32(np.nan).view(np.uint32) | np.uint32(0x7FFFFF)])
def test_what_is_not_finite_stays_in_its_row_and_shows(bad, transposed, isa):
    """Every NaN, its payload all ones, too, and infinities: none comes out as a number."""
    a, b = operands(37, 50, 20)
    clean = product(a, b, isa, transposed)
    a[21, 33] = np.asarray(bad, np.uint32).view(np.float32) if isinstance(bad, np.uint32) else bad
    result = product(a, b, isa, transposed)
    assert not np.isfinite(result[21]).any()
    rest = np.arange(37) != 21
    assert_same_bits("other rows", result[rest], clean[rest])


@each_unit
@each_way
@pytest.mark.parametrize("dtype, depth, used", [("float32", 33, 1), ("float32", 31, 0), ("float64", 33, 0)])
def test_who_multiplies(monkeypatch, dtype, depth, used, transposed, isa):
    """Gradients of plain products: the unit those of float32 that are large and deep enough."""
    calls, matmul = [], engine.unit_matmul
    monkeypatch.setattr(engine, "unit_matmul", lambda *arguments: calls.append(1) or matmul(*arguments))
    a, b = (array.astype(dtype) for array in operands(300, depth, 300))
    former = np.ones((300, 300), dtype)
    with on_isa(isa):
        total = products.gradient(np.ascontiguousarray(a.T) if transposed else a, b, transposed, former.copy())
    assert_close("product", total, former + a.astype(float) @ b, "forward")
    assert len(calls) == used


@each_unit
@each_way
def test_strides(transposed, isa):
    """Parts of larger arrays, and rows that are all one."""
    a, b = operands(40, 50, 30)
    expected = product(a, b, isa, transposed)
    given = np.ascontiguousarray(a.T) if transposed else a
    wide, deep = np.full((given.shape[0] + 2, given.shape[1] + 7), np.nan, np.float32), np.full((50, 60), np.nan, np.float32)
    wide[1:-1, 3:-4] = given
    for columns in slice(None, None, 2), slice(3, 33):
        deep[:, columns] = b
        assert_same_bits("parts", engine.unit_matmul(wide[1:-1, 3:-4], deep[:, columns], transposed, isa_name=isa), expected)
    same = np.broadcast_to(given[0], given.shape)
    assert_same_bits("one row", engine.unit_matmul(same, b, transposed, isa_name=isa),
                     engine.unit_matmul(same.copy(), b, transposed, isa_name=isa))


@each_unit
@each_way
@pytest.mark.parametrize("adding", [False, True])
def test_an_entry_depends_on_its_row_and_column_alone(adding, transposed, isa):
    a, b = operands(70, 600, 100)
    former = operands(70, 1, 100)[0] @ operands(70, 1, 100)[1] if adding else None
    whole = product(a, b, isa, transposed, former.copy() if adding else None)
    for rows, columns in ((17, 100), (70, 95), (33, 31), (1, 1)):
        part = former[:rows, :columns].copy() if adding else None
        part = product(a[:rows], b[:, :columns], isa, transposed, part)
        assert_same_bits(f"{rows} x {columns}", part, np.ascontiguousarray(whole[:rows, :columns]))


@each_unit
@each_way
def test_threads(transposed, isa):
    a, b = operands(130, 700, 270)
    with fr.num_threads(1):
        alone = product(a, b, isa, transposed)
    for threads in (2, 3, 5):
        with fr.num_threads(threads):
            assert_same_bits(f"{threads} threads", product(a, b, isa, transposed), alone)


@each_unit
@pytest.mark.parametrize("shape", SHAPES)
def test_adds_and_touches_nothing_else(shape, isa):
    rows, depth, columns = shape
    a, b = operands(*shape)
    around = np.full((rows + 2, columns + 5), 7, np.float32)
    inside = around[1:-1, 2:-3]
    inside[...] = np.arange(rows * columns).reshape(rows, columns) % 5
    before = around.copy()
    product(a, b, isa, out=inside)
    assert_close("c", inside, before[1:-1, 2:-3] + a.astype(float) @ b.astype(float), "forward")
    inside[...] = before[1:-1, 2:-3]
    assert_same_bits("around", around, before)


@each_unit
@pytest.mark.parametrize("cell", CELLS)
def test_layers_against_scalar(cell, isa):
    """The unit for all products of backward; sizes around its 16 and 32."""
    for B, I, H in ((1, 3, 5), (4, 16, 16), (16, 5, 33), (19, 16, 15), (33, 17, 32)):
        plain = smooth(Case(cell, I=I, H=H, T=4, B=B, D=1 + B % 2, dtype="float32", seed=B))
        for lengths in (None, tuple((3 * i) % 5 for i in range(B))):
            data = Data(Case(**{**vars(plain), "lengths": lengths}))
            ours, scalar = everything(data, layer_on(isa, data)), everything(data, layer_on("scalar", data))
            for name, (array, kind) in ours.items():
                assert_close(f"{B}, {I}, {H}, {lengths}: {name}", array, scalar[name][0], kind)


@each_unit
@pytest.mark.parametrize("cell", ["lstm", "gru", "mut3", "lstm_norm"])
def test_gradients_add_up(cell, isa):
    """Over several blocks of steps, and over passes."""
    data = Data(Case(cell, I=9, H=70, T=60, B=20, dtype="float32"))
    ours, scalar = layer_on(isa, data), layer_on("scalar", data)
    for passes in (1, 2):
        results, expected = everything(data, ours), everything(data, scalar)
        for name, (array, kind) in results.items():
            assert_close(f"{name}, pass {passes}", array, expected[name][0], kind)


@each_unit
@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_norm", "lstm_proj", "mut3"])
def test_forward_and_dx_do_not_depend_on_threads(cell, isa):
    data = Data(Case(cell, I=20, H=40, P=0, T=6, B=21, D=2, dtype="float32"))
    results = []
    for threads in (1, 2, 3, 5):
        with dealt_out(threads):
            results.append(everything(data, layer_on(isa, data)))
    for result in results[1:]:
        for name in result:
            if name in ("y", "dx") or "state" in name:
                assert_same_bits(name, result[name][0], results[0][name][0])


@pytest.mark.parametrize("isa, asked", [("amx", True), ("avx512", False)])
def test_tiles_are_asked_for_when_a_layer_wants_them(isa, asked):
    """From then on the system refuses small signal stacks to the process: not for an import, nor for another choice."""
    code = """
import ctypes, fastrnn as fr
def granted():
    mask = ctypes.c_uint64()
    assert not ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(mask))
    return bool(mask.value >> 18 & 1)
at_import = granted()
fr.LSTM(2, 3)
print(at_import, granted())
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "FASTRNN_ISA": isa}, capture_output=True, text=True)
    assert done.stdout.split() == ["False", str(asked)], done.stderr


@each_unit
def test_forward_has_the_bits_of_the_kernels_beside_it(isa):
    data = Data(Case("lstm", I=20, H=40, T=6, B=21, dtype="float32"))
    ours, beside = (everything(data, layer_on(name, data)) for name in (isa, "avx512"))
    assert_same_bits("y", ours["y"][0], beside["y"][0])
    assert (ours["dx"][0] != beside["dx"][0]).any(), "the unit was not used"
    with on_isa(isa):
        assert engine.isa() == isa
