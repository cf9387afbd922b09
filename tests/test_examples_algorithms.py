"""The experiments with algorithms (addition, parity, timing), smaller than they are, and what they are made of."""

import numpy as np
import pytest
from examples import drawn, example


def test_sums_are_sums():
    addition = example("binary_addition")
    x, bits = addition.added(np.array([[1, 1], [1, 0], [0, 1]]))  # 3 + 5
    assert x.tolist() == [[1, 1], [1, 0], [0, 1], [0, 0]] and bits.ravel().tolist() == [0, 0, 0, 1]
    inputs, sums = addition.random_pairs(np.random.default_rng(0), 50, 1, 70)
    assert {len(x) for x in inputs} <= set(range(2, 72)) and max(map(len, inputs)) > 65
    for x, bits in zip(inputs, sums):
        first, second, total = (addition.number(column) for column in (x[:, 0], x[:, 1], bits[:, 0]))
        assert first + second == total


def test_a_carry_goes_through_all_places():
    addition = example("binary_addition")
    for x, bits in zip(*addition.carried_pairs(np.random.default_rng(0), 20, 30)):
        assert x[0].tolist() == [1, 1] and (x[1:-1].sum(axis=1) == 1).all()
        assert not bits[:-1].any() and bits[-1] == 1


def test_binary_addition():
    figures = example("binary_addition").run(0, train=3_000, bits=50, test=100)
    assert figures["tanh RNN"] >= 0.99 and figures["LSTM"] >= 0.9


def test_parity():
    parity = example("parity")
    x, truth = parity.strings(np.random.default_rng(0), 9, 5)
    assert (truth[-1] == np.bitwise_xor.reduce(x.astype(int))).all() and (truth[0] == x[0]).all()
    figures = parity.run(0, longest=8, bits=50, test=200, steps=1_500)
    assert figures["bits reached"] == 8 and figures["exact"] >= 0.95


def test_spike_trains():
    timing = example("timing")
    x, steps, late = timing.spike_trains(np.random.default_rng(0), 9, 200)
    for b in range(200):
        spikes = np.flatnonzero(x[:, b, 0])
        assert x[spikes, b].tolist() == 4 * [[1]] and (steps[:, b] == spikes[1:]).all() and spikes[0] < timing.LEAD
        assert np.diff(spikes).tolist() == (9 + late[:, b]).tolist()
    assert 0.4 < late.mean() < 0.6


def test_timing(tmp_path):
    pytest.importorskip("matplotlib")
    figures = example("timing").run(0, tmp_path / "timing.png", shortest=4, longest=6, test=200, steps=700)
    assert figures["peepholes"] > 0.9 and figures["peepholes: steps apart that were reached"] == 6
    assert drawn(tmp_path / "timing.png")
