"""The benchmark's cases, and its sets of them."""

import re
from pathlib import Path

import pytest
from benches import Case
from bench.cells import CELLS, PLAIN
from bench.problem import weight_shapes
from bench.shapes import KINDS, PROCESS_SETS, SETS

import fastrnn as fr


def test_flops_count_products_only():
    assert Case("forward", "LSTM", 10, 3, 5, 7).flops == 2 * 10 * 3 * 4 * 7 * (5 + 7)
    assert Case("train", "GRU", 1, 1, 2, 2).flops == 3 * 2 * 3 * 2 * 4
    deep = Case("forward", "RNN", 10, 3, 5, 7, layers=2, directions=2)
    assert deep.flops == 2 * (2 * 10 * 3 * 7 * (5 + 7) + 2 * 10 * 3 * 7 * (14 + 7))


def test_flops_of_a_ragged_batch_are_those_of_its_valid_steps():
    ragged, full = Case("forward", "RNN", 9, 4, 5, 7, shortest=3), Case("forward", "RNN", 9, 4, 5, 7)
    assert ragged.flops * 9 * 4 == full.flops * sum(ragged.lengths)


@pytest.mark.parametrize("batch", [1, 4, 5, 32])
def test_lengths_reach_from_shortest_to_all_steps(batch):
    lengths = Case("forward", "GRU", 200, batch, 2, 2, shortest=20).lengths
    assert len(lengths) == batch and min(lengths) == 20 and all(20 <= n <= 200 for n in lengths)
    if batch > 1:
        assert max(lengths) == 200
    if batch > 4:
        assert lengths != sorted(lengths) and lengths != sorted(lengths, reverse=True)
    assert Case("forward", "GRU", 200, batch, 2, 2).lengths is None


def test_bytes_read_the_recurrent_weights_at_every_step():
    one, two = (Case("forward", "RNN", t, 1, 3, 5).bytes for t in (1, 2))
    assert two - one == 4 * (5 * 5 + 3 + 5)
    assert Case("forward", "RNN", 1, 1, 3, 5, dtype="float64").bytes == 2 * one


def test_sets_have_no_case_twice_and_names_that_differ():
    for cases in SETS.values():
        assert len(set(cases)) == len({c.name for c in cases}) == len(cases)


def shapes(name, what=None):
    """{(cell, T, B, I, H)} of a set."""
    return {(c.cell, c.steps, c.batch, c.input, c.hidden) for c in SETS[name] if what in (None, c.what)}


def every_cell(*shapes):
    return {(cell, *s[:2], s[-2], s[-1]) for s in shapes for cell in ("LSTM", "GRU", "RNN")}


def test_the_judged_sets_have_the_agreed_shapes():
    steps = every_cell(*((1, 1, h, h) for h in (16, 32, 64, 128, 256, 512)))
    assert shapes("step") == shapes("stream") == steps
    assert {c.what for c in SETS["step"]} == {"step"} and {c.what for c in SETS["stream"]} == {"stream"}
    assert shapes("forward") == every_cell(
        *((100, 1, h, h) for h in (32, 64, 128, 256, 512)), (100, 4, 128, 128), (100, 16, 128, 128), (1000, 8, 64, 64),
        (100, 32, 256, 256), (200, 32, 40, 320), (100, 64, 512, 512), (50, 128, 1024, 1024),
    )  # fmt: skip
    assert shapes("train") == every_cell(
        (100, 1, 64, 64), (100, 1, 256, 256), (100, 16, 128, 128), (100, 32, 256, 256), (200, 32, 40, 320),
        (100, 64, 512, 512),
    )  # fmt: skip
    for what in ("forward", "train"):
        assert shapes("ragged", what) == every_cell((200, 32, 128, 128))
        assert shapes("float64", what) == every_cell((100, 16, 128, 128))
    assert {c.shortest for c in SETS["ragged"]} == {20} and {c.dtype for c in SETS["float64"]} == {"float64"}
    large = every_cell((100, 32, 256, 256), (100, 64, 512, 512), (50, 128, 1024, 1024))
    assert shapes("peak") == {s for s in large if s[0] != "RNN"}
    assert {(c.what, c.steps, c.batch, c.hidden) for c in PROCESS_SETS["memory"]} == {
        ("forward", 2000, 16, 256), ("forward", 20000, 16, 256), ("train", 2000, 16, 256),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["deepbench", "benchdnn", "speech", "edge"])
def test_the_other_sets_are_sane(name):
    """Every kind of case is described, and none takes a core beyond some seconds at 50 GF/s."""
    assert {c.cell for c in SETS[name]} <= {"LSTM", "GRU", "RNN"} and len(SETS[name]) >= 10
    for c in SETS[name]:
        assert c.what in KINDS and c.flops < 5 * 50e9 and c.bytes < 1e11, c.name
        assert min(c[2:8]) >= 1 and c.directions <= 2
    if name == "deepbench":
        assert all(c.input == c.hidden for c in SETS[name])
    if name == "speech":
        assert sum(c.directions == 2 and c.layers > 1 for c in SETS[name]) >= 5
    if name == "edge":
        assert {c.steps for c in SETS[name]} == {1, 100} and max(c.hidden for c in SETS[name]) <= 64


# ---- Cells ------------------------------------------------------------------------------------------


def test_every_layer_is_a_cell_of_the_set():
    """Forward and trained, at one shape; a layer of sequences that is left out would not be measured."""
    for what in ("forward", "train"):
        assert shapes("cells", what) == {(cell, 100, 32, 256, 256) for cell in CELLS}
    layers = {t.__name__ for t in vars(fr).values() if isinstance(t, type) and issubclass(t, fr.layers.Recurrent)}
    assert {cell.layer for cell in CELLS.values()} == layers and list(CELLS)[:3] == list(PLAIN)
    assert {c.what for cases in SETS.values() for c in cases if c.cell not in PLAIN} == {"forward", "train"}


@pytest.mark.parametrize("cell", CELLS)
def test_products_of_a_cell_are_those_of_its_layer(cell):
    """Every entry of a matrix is multiplied once a step and row; weights that are shared out have the layer's shapes."""
    case = Case("forward", cell, 5, 3, 8, 8)
    layer = getattr(fr, CELLS[cell].layer)(8, 8, **case.options)
    entries = sum(array.size for array in layer.parameters.values() if array.ndim == 2)
    assert case.flops == 2 * 5 * 3 * entries and case._replace(what="train").flops == 3 * case.flops
    assert case.bytes > Case("forward", cell, 1, 3, 8, 8).bytes and isinstance(case.bytes, int)
    there = {name: array.shape for name, array in layer.parameters.items()}
    assert weight_shapes(case) in ({}, there) and (CELLS[cell].layer in PLAIN or weight_shapes(case) == {})
    assert layer(case_input(case))[0].shape == (5, 3, case.output)


def case_input(case):
    return [[[0.0] * case.input] * case.batch] * case.steps


def test_stages_are_the_engines():
    """How many products at a step wait for each other, as the list of kernels has it; a projection is one more."""
    table = (Path(__file__).resolve().parents[1] / "fastrnn/_core/kernels/cells.def").read_text()
    stages = {name: int(n) for n, name in re.findall(r"^CELL(\d)\((\w+),", table, re.M)}
    for name, cell in CELLS.items():
        layer = getattr(fr, cell.layer)(8, 8, **Case("forward", name, 1, 1, 8, 8).options)
        (kernels,) = {stages[key] for key, row in fr.cells.CELLS.items() if row is layer._row}
        assert cell.stages == kernels + cell.projected
