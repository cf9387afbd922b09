"""Hypothesis strategies for recurrent layers and their inputs.

Structure is drawn, so that it shrinks; values come from the case's seed.
"""

import numpy as np
from cases import LAYOUTS, Case, is_smooth
from hypothesis import settings
from hypothesis import strategies as st
from rows import CELLS, ROWS

#: Around every vector width, in elements, and around small multiples of them.
WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 66]
#: Around the rows of every tile.
BATCHES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 17]
STEPS = [0, 1, 2, 3, 4, 5, 6, 7]


def budget(share):
    """This share of the profile's examples, for tests that cost more or less than others."""
    return settings(max_examples=max(2, round(settings.default.max_examples * share)))


def per_cell(share):
    """The same for a test of each cell: the more cells, the fewer examples each, so that the time stays."""
    return budget(share * min(1, 16 / len(CELLS)))


@st.composite
def lengths(draw, T, B):
    """None, all T, or any integers in 0..T in any order."""
    form = draw(st.sampled_from(["none", "any", "any", "full", "extremes"]))
    if form == "none":
        return None
    values = {"any": st.integers(0, T), "full": st.just(T), "extremes": st.sampled_from([0, T])}
    return tuple(draw(st.lists(values[form], min_size=B, max_size=B)))


@st.composite
def cases(draw, cell=None, **fixed):
    """A ``Case`` of one cell (or of any); ``fixed`` are fields that are not drawn."""

    def pick(name, strategy):
        return fixed[name] if name in fixed else draw(strategy)

    cell = cell or draw(st.sampled_from(sorted(CELLS)))
    row = ROWS[cell]
    H = pick("H", st.sampled_from(WIDTHS[1:] if row.projected else WIDTHS))
    L, D = pick("L", st.sampled_from([1, 1, 2, 3])), pick("D", st.sampled_from([1, 2]))
    unbatched = pick("unbatched", st.sampled_from([False, False, False, True]))
    B = 1 if unbatched else pick("B", st.sampled_from(BATCHES))
    T = pick("T", st.sampled_from(STEPS))
    if "T" not in fixed and T == STEPS[-1] and L * D * H * B < 500 and draw(st.booleans()):
        T = 40
    names = Case(cell).state_names
    parts = ["none", "all", *(names if len(names) > 1 else ())]
    values = {
        "cell": cell, "H": H, "L": L, "D": D, "T": T, "B": B, "unbatched": unbatched,
        "I": pick("I", st.sampled_from(WIDTHS)),
        "P": pick("P", st.integers(1, H - 1)) if row.projected else 0,
        "bias": pick("bias", st.sampled_from([True, True, False])),
        "dtype": pick("dtype", st.sampled_from(["float32", "float64"])),
        "batch_first": pick("batch_first", st.booleans()),
        "lengths": None if unbatched else pick("lengths", lengths(T, B)),
        "padding": pick("padding", st.sampled_from([np.nan, 0.0, 1e30])),
        "state": pick("state", st.sampled_from(parts)),
        "dy": pick("dy", st.sampled_from([True, True, True, False])),
        "dstate": pick("dstate", st.sampled_from(parts)),
        "layout": pick("layout", st.sampled_from(sorted(LAYOUTS, key="plain".__ne__))),
        "seed": pick("seed", st.integers(0, 2**32 - 1)),
    }  # fmt: skip
    return Case(**values)


def smooth_cases(**arguments):
    """Cases whose gradient exists: those of ``cases`` in which no function sits on its kink."""
    return cases(**arguments).filter(is_smooth)
