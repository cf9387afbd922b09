"""The forward pass of every cell against the oracle, over sizes, layouts, lengths and states."""

import itertools

import numpy as np
import pytest
from cases import LAYOUTS, Case, Data, check_forward, state_parts, variant
from hypothesis import given
from hypothesis import strategies as st
from rows import CELLS, TELLING
from strategies import BATCHES, WIDTHS, cases, per_cell
from tolerance import assert_close, assert_same_bits

#: One small case of each cell that a broken equation, order or offset cannot pass.
BROAD = {
    cell: Case(cell, I=3, H=5, L=2, D=2, T=4, B=3, lengths=(4, 0, 2), padding=np.nan)
    for cell in CELLS
}

SOME = [("lstm", "float32"), ("lstm_proj", "float64"), ("gru", "float32")]

#: More rows and steps than one block of the backward pass takes, with sequences that end in each block.
LONG = [
    Case(I=33, H=100, T=90, B=5, dtype="float64", lengths=(63, 0, 90, 64, 1)),
    Case(I=2, H=3, T=75, B=17, dtype="float32"),
]


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_small_stack(cell, dtype):
    check_forward(variant(BROAD[cell], dtype=dtype))


@pytest.mark.parametrize("cell", CELLS)
@per_cell(0.75)
@given(st.data())
def test_forward(cell, data):
    """As many again are in test_gradients.py: what ``vjp`` returns has the bits of a call."""
    check_forward(data.draw(cases(cell=cell)))


@pytest.mark.parametrize("H", WIDTHS)
@pytest.mark.parametrize("cell", TELLING)
def test_every_width(cell, H):
    """Each size once, whatever hypothesis draws: a width is where a tail kernel begins or ends."""
    for dtype, B in itertools.product(["float32", "float64"], [1, 5]):
        I = WIDTHS[-1 - WIDTHS.index(H)]
        check_forward(Case(cell, I=I, H=H, T=2, B=B, dtype=dtype, seed=H))


@pytest.mark.parametrize("B", [*BATCHES, 23, 33, 64])
def test_every_batch(B):
    """Each number of rows once: how rows are dealt to tiles, with lengths that end them early."""
    lengths = tuple(np.random.default_rng(B).integers(0, 5, B).tolist())
    for cell, H in (("lstm", 17), ("gru", 33), ("lstm_proj", 9)):
        for dtype in ("float32", "float64"):
            check_forward(Case(cell, I=4, H=H, T=4, B=B, dtype=dtype, lengths=lengths, seed=B))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_layout(layout, batch_first):
    case = Case("lstm", I=5, H=6, T=4, B=3, lengths=(1, 4, 0), layout=layout, batch_first=batch_first)
    for cell, dtype in SOME:
        check_forward(variant(case, cell=cell, dtype=dtype, D=2))
        check_forward(variant(case, cell=cell, dtype=dtype, B=1, lengths=None, unbatched=True))


def test_every_order_of_lengths():
    """All 24 orders of four lengths, both directions, two layers."""
    for lengths in itertools.permutations((0, 1, 2, 4)):
        check_forward(Case("gru", H=4, L=2, D=2, T=4, B=4, lengths=lengths, padding=np.nan))
        check_forward(Case("lstm_proj", H=4, D=2, T=4, B=4, lengths=lengths, padding=np.nan))


@pytest.mark.parametrize("cell", TELLING)
def test_long_and_large(cell):
    """Past every block of time steps and every panel: errors that need many steps to show."""
    for case in LONG:
        check_forward(variant(case, cell=cell))
    check_forward(Case(cell, I=7, H=200, P=70, D=2, T=4, B=20, dtype="float64"))
    check_forward(Case(cell, I=150, H=130, T=20, B=1, dtype="float32"))


@pytest.mark.parametrize("lengths", [None, 2 * (150, 0, 1, 149, 75, 76, 38, 150)])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm_proj", "gru_reset_before", "lstm_norm", "sru", "slstm"])
def test_long_and_deep(cell, lengths):
    """Three layers over so many steps that inner outputs are not kept whole: 63 at a time, with P 128."""
    case = Case(cell, I=5, H=130, P=64, L=3, T=150, B=16, dtype="float32", lengths=lengths)
    check_forward(case)
    data = Data(case)
    layer = data.layer()
    assert_same_bits("y", layer(*data.calls())[0], layer.vjp(*data.calls())[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saturated_gates(cell, dtype):
    """Pre-activations in the hundreds: gates are exactly 0 or 1, nothing overflows."""
    case = Case(cell, I=3, H=9, T=5, B=3, dtype=dtype)
    data = Data(case)
    factor = 1.0 if cell == "rnn_relu" else 300.0
    data.x_plain = np.round(data.x_plain * 4) / 4 * factor
    data.x = data.x_plain.astype(dtype)
    y, state = data.layer()(*data.calls())
    assert np.isfinite(y).all()
    expected_y, expected_state, _ = data.forward()
    assert_close("y", y, expected_y, "forward")
    assert_close("state", data.plain_state(state)[0], state_parts(expected_state)[0], "forward")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_stays_in_its_sequence(cell, dtype):
    """A NaN in a valid step makes that sequence NaN from there on, and no other one."""
    data = Data(Case(cell, I=3, H=17, T=6, B=5, dtype=dtype))
    layer = data.layer()
    clean, clean_state = layer(*data.calls())
    x = data.x.copy()
    x[2, 3, 1] = np.nan
    y, state = layer(x, data.state)
    others = [0, 1, 2, 4]
    assert np.isnan(y[2:, 3]).all()
    assert np.array_equal(y[:2, 3], clean[:2, 3])
    assert np.array_equal(y[:, others], clean[:, others])
    for ours, before in zip(data.plain_state(state), data.plain_state(clean_state), strict=True):
        assert np.isnan(ours[:, 3]).all()
        assert np.array_equal(ours[:, others], before[:, others])


def test_states_default_to_zeros():
    """None, (None, None), (h, None) and (None, c) are what explicit zeros are."""
    data = Data(Case("lstm_peephole", L=2, D=2, dtype="float32"))
    layer, (h, c) = data.layer(), data.state
    zero_h, zero_c = np.zeros_like(h), np.zeros_like(c)
    pairs = [
        (None, (zero_h, zero_c)),
        ((None, None), (zero_h, zero_c)),
        ((h, None), (h, zero_c)),
        ((None, c), (zero_h, c)),
        ([h, c], (h, c)),
    ]
    for given_state, explicit in pairs:
        y, (h_n, c_n) = layer(data.x, given_state)
        want_y, (want_h, want_c) = layer(data.x, explicit)
        assert np.array_equal(y, want_y)
        assert np.array_equal(h_n, want_h) and np.array_equal(c_n, want_c)
