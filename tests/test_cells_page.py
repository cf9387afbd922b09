"""docs/cells.md is true: a row for every cell, with the parameters, states and products that its layer has."""

import re
from pathlib import Path

import pytest

import fastrnn as fr
from fastrnn.cells import CELLS
from fastrnn.layers import Recurrent

DOCS = Path(__file__).resolve().parents[1] / "docs"
COLUMNS = ["Layer", "Equations", "Parameters", "State", "Multiply-adds", "Forward", "Training", "Source"]
#: Two options at once, of which the page has a row each.
COMBINED = {"lstm_general_peephole", "lstm_general_coupled", "lstm_general_coupled_peephole"}


def rows(page):
    """Every row of the page's tables, by column."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells if row != COLUMNS and set(row[0]) != {"-"}]


ROWS = rows((DOCS / "cells.md").read_text())


def layer_of(row, **sizes):
    """The layer that a row makes, with these sizes."""
    return eval("fr." + row["Layer"].strip("`"), {"fr": fr, **sizes})


def shape(text, sizes):
    """ "4H, I" with numbers for the letters."""
    found = re.findall(r"(\d*)([IHP]?)(?:, ?|$)", text.removesuffix(","))
    return tuple(int(n or 1) * sizes.get(letter, 1) for n, letter in found if n or letter)


def products(layer):
    """Multiply-adds of a step: every entry of a matrix once."""
    return sum(array.size for array in layer.parameters.values() if array.ndim == 2)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["Layer"].strip("`"))
def test_row(row):
    sizes = {"I": 6, "H": 8, "P": 3}
    layer = layer_of(row, **sizes)
    named = [(f"{name}_l0", shape(text, sizes)) for name, text in re.findall(r"`(\w+)` \(([^)]*)\)", row["Parameters"])]
    assert named == [(name, array.shape) for name, array in layer.parameters.items()]
    if isinstance(layer, Recurrent):
        assert row["State"] == ", ".join(layer.state_names)
    for letter, anchor in re.findall(r"\[(\w+)\]\((\S+)\)", row["Equations"]):
        assert anchor.startswith("equations.md#") and anchor.endswith(f"-{letter.lower()}")
    assert float(row["Forward"]) > 0 < float(row["Training"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["Layer"].strip("`"))
def test_multiply_adds(row):
    """Beside an LSTM of the same input: I = H, and I = 2 H where a cell is another one then."""
    if row["Layer"] == "`TreeLSTM(I, H)`":  # 4 products of x; 3 of the 50 inner nodes of 100, 1 of the 99 children
        share = (4 + 3 * 50 / 100 + 99 / 100) / 8
    else:
        wide = 16 if row["Layer"] == "`SRU(I, H)`" else 8
        share = products(layer_of(row, I=wide, H=8, P=4)) / products(fr.LSTM(wide, 8))
    assert float(row["Multiply-adds"]) == pytest.approx(share, abs=2e-3)


def test_every_layer_and_every_cell_has_a_row():
    layers = [layer_of(row, I=6, H=8, P=3) for row in ROWS]
    public = {thing for thing in vars(fr).values() if isinstance(thing, type) and issubclass(thing, Recurrent)}
    assert {type(layer) for layer in layers} == public | {fr.TreeLSTM}
    used = {name for layer in layers for name, row in CELLS.items() if getattr(layer, "_row", None) is row}
    assert used == CELLS.keys() - COMBINED
    assert len({row["Layer"] for row in ROWS}) == len(ROWS)


def test_sources_are_on_the_page_of_equations():
    """First name and year of each."""
    sources = (DOCS / "equations.md").read_text().partition("\n## Sources\n")[2].splitlines()
    named = [one for row in ROWS for one in re.findall(r"([A-Z]\w+)[^,\d]*(?:, \w+ & \w+|& \w+)? (\d{4})", row["Source"])]
    assert len(named) > 15
    for name, year in named:
        assert any(name in line and year in line for line in sources), f"{name} {year}"
