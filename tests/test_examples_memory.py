"""The examples about memory, smaller than they are, and what they are made of."""

import numpy as np
import pytest
from examples import example


def rng(*seed):
    return np.random.default_rng(seed)


# -- the adding problem -----------------------------------------------------------------------------


def test_sequences_of_the_adding_problem():
    adding = example("adding_problem")
    x, sums = adding.sequences(rng(0), 21, 400)
    numbers, marks = x[..., 0], x[..., 1]
    assert x.shape == (21, 400, 2) and sums.shape == (400, 1) and numbers.min() >= 0 and numbers.max() < 1
    assert set(np.unique(marks)) == {0, 1} and (marks[:10].sum(axis=0) == 1).all() and (marks[10:].sum(axis=0) == 1).all()
    assert marks.any(axis=1).all()  # every step is marked in some sequence
    np.testing.assert_allclose((numbers * marks).sum(axis=0), sums[:, 0])
    assert abs(np.mean((sums - 1) ** 2) - adding.GUESS) < 0.02


def test_curriculum_of_the_adding_problem():
    adding = example("adding_problem")
    data = adding.Adding([0, 0], 80, steps=100, batch_size=3)
    lengths = [len(data.batch(step).x) for step in range(100)]
    assert lengths == sorted(lengths) and lengths[0] == adding.SHORTEST and lengths[50:] == 50 * [80] and lengths[25] == 28
    assert not np.array_equal(data.batch(60).x, data.batch(61).x) and np.array_equal(data.batch(60).x, data.batch(60).x)
    full = adding.Adding([0, 1], 80, batch_size=3)
    assert len(full) == 1 and full.batch(0).x.shape == (80, 3, 2)


def test_adding_problem():
    adding = example("adding_problem")
    names = ["LSTM", "GRU", "relu RNN, identity, T = 10"]
    figures = adding.run(T=12, short=10, steps=800, hidden_size=32, test=300, names=names)
    assert figures["LSTM"] < 0.04 and figures["GRU"] < 0.01 and figures["relu RNN, identity, T = 10"] < 0.12
    assert list(figures) == names


# -- copying from memory ----------------------------------------------------------------------------


def test_sequences_to_copy():
    copying = example("copy_memory")
    x, said = copying.sequences(rng(0), 7, 3)
    assert x.shape == said.shape == (17, 3)
    assert np.array_equal(x[:5], said[12:]) and x[:5].max() < copying.ALPHABET
    assert (x[5:11] == copying.BLANK).all() and (x[11] == copying.CUE).all() and (x[12:] == copying.BLANK).all()
    assert (said[:12] == copying.BLANK).all()
    x, _ = copying.sequences(rng(0), 1, 3)  # a delay of 1 is the cue alone
    assert x.shape == (11, 3) and (x[5] == copying.CUE).all()


def test_curriculum_of_copying():
    """The delay is raised when 17 of 20 losses are 0, 20 steps after the last time or later, and not beyond the most."""
    copying = example("copy_memory")

    class Trainer:
        def __init__(self):
            self.step, self.losses, self.history = 0, [], self

        def last(self, name, count):
            return np.array(self.losses[-count:])

    trainer, data = Trainer(), copying.Copying(0, most=10, batch_size=2)
    for loss in 40 * [1.0] + 100 * [0.0]:
        trainer.step, trainer.losses = trainer.step + 1, [*trainer.losses, loss]
        data.raise_delay(trainer)
    assert data.reached == 56 * [1] + 20 * [2] + 20 * [4] + 20 * [7] + 24 * [10]
    assert {len(data.batch(step).x) - 10 for step in range(200)} == {6, 7, 8, 9, 10}


def test_copy_memory():
    copying = example("copy_memory")
    figures = copying.run(delay=20, longer=30, steps=800, batch_size=32, hidden_size=48, test=300, rate=0.02)
    assert figures["LSTM"] > 0.9 and figures["LSTM, delay of 30"] > 0.9 and figures["LSTM, delay reached"] == 20
    assert figures["tanh RNN"] < 0.5 and figures["tanh RNN, delay reached"] < 20
    assert set(copying.TARGETS) < set(figures)


# -- the embedded Reber grammar -----------------------------------------------------------------------


def test_what_the_reber_grammar_allows():
    reber = example("reber_grammar")
    assert reber.allowed("BTBTXSETE") == [["T", "P"], ["B"], ["T", "P"], ["S", "X"], ["X", "S"], ["E"], ["T"], ["E"], []]
    assert reber.allowed("BPBPVVEPE")[-3:] == [["P"], ["E"], []]
    for wrong in ("BTBTXSEPE", "BTBTXSET" + "B", "TTBTXSETE", "BTBTXSETEE", "BTBTVSETE"):
        assert reber.allowed(wrong) is None
    assert reber.allowed("BTBTXSET")[-1] == ["E"]  # a beginning is no string
    strings = [reber.string(rng(0, n)) for n in range(300)]
    assert all(reber.allowed(one)[-1] == [] for one in strings)
    assert {one[1] for one in strings} == {"T", "P"} and min(map(len, strings)) == 9
    assert len({one[2:-2] for one in strings}) > 60


class Knows:
    """Logits of the grammar itself, as of a model: 0 for what is allowed, and -1000 for what is not."""

    def __init__(self, reber, forgets=False):
        self.reber, self.forgets = reber, forgets

    def __call__(self, x, lengths):
        logits = np.full((*x.shape, 7), -1000.0)
        for n, length in enumerate(lengths):
            string = "".join(self.reber.SYMBOLS[code] for code in x[:length, n])
            for step, symbols in enumerate(self.reber.allowed(string)):
                if self.forgets and step == length - 3:
                    symbols = "TP"
                logits[step, n, [self.reber.SYMBOLS.index(s) for s in symbols]] = 0
        return logits


def test_predictions_are_judged():
    """Right at all steps; a net that forgets the outer symbol is right nowhere."""
    reber = example("reber_grammar")
    strings = [reber.string(rng(1, n)) for n in range(100)]
    everywhere, outer = reber.predicted(Knows(reber), strings)
    assert everywhere.all() and outer.all()
    everywhere, outer = reber.predicted(Knows(reber, forgets=True), strings)
    assert not everywhere.any() and not outer.any()


def test_reber_grammar():
    reber = example("reber_grammar")
    figures = reber.run(train=1_500, test=300, hidden_size=24, epochs=10)
    assert figures["predicted"] > 0.95 and figures["outer symbol"] > 0.95 and figures["written on"] > 0.85
    assert set(reber.TARGETS) < set(figures)


# -- vanishing and exploding gradients ----------------------------------------------------------------


def test_vanishing_gradients():
    figures = example("vanishing_gradients").run(seed=3)
    left = {name.removeprefix("|dL/dh_1|, "): figure for name, figure in figures.items() if name.startswith("|dL/dh_1|")}
    plain, large, identity, forgetful, patient, gru = left.values()
    assert plain < forgetful < patient < identity < 1 < large and plain < 1e-40 and 1e-60 < gru < 1e-20


def test_cures():
    """What is cured learns, and what is not does not; the regulariser brings the gradient back."""
    cures = example("cures")
    figures = cures.run(T=30, steps=200, test=300)
    assert set(cures.TARGETS) < set(figures)
    for name, bound in cures.TARGETS.items():
        assert figures[name] > 0.95 if bound.startswith(">=") else 0.4 < figures[name] < 0.6, name
    assert figures["returned, RNN, before"] == figures["returned, RNN, regulariser, before"] < 1e-6
    assert figures["returned, RNN, regulariser, after"] > 0.01
    assert figures["returned, LSTM, forget bias 1, before"] > 100 * figures["returned, LSTM, forget bias 0, before"]
    assert 0.1 < figures["returned, relu RNN, identity, before"] < 10


def test_what_came_back():
    """Of a linear net with half the identity for R, half at every step."""
    cures = example("cures")
    layer, head = cures.fr.RNN(cures.INPUTS, 3, nonlinearity="identity", rng=0), cures.fr.Linear(3, 1, rng=0)
    layer.parameters["weight_hh_l0"] = np.eye(3) / 2
    x, bits = cures.sequences(rng(0), 6, 4)
    np.testing.assert_allclose(cures.returned(layer, head, x), 0.5 ** np.arange(5, -1, -1), rtol=1e-6)
    assert (x[0, :, 0] == 2 * bits[:, 0] - 1).all() and not x[1:, :, 0].any() and x[:, :, 1:].all()


# -- pictures -------------------------------------------------------------------------------------------


def test_pictures(tmp_path):
    """They are drawn, and the figures are the same with a picture and without: nothing depends on a run before."""
    pytest.importorskip("matplotlib")
    small = {
        "adding_problem": {"T": 12, "short": 10, "steps": 20, "hidden_size": 4, "test": 10},
        "copy_memory": {"delay": 5, "longer": 6, "steps": 20, "hidden_size": 4, "test": 10},
        "reber_grammar": {"train": 100, "test": 60, "hidden_size": 4, "epochs": 1},
        "cures": {"T": 5, "steps": 5, "hidden_size": 4, "test": 10},
    }
    for name, sizes in small.items():
        path = tmp_path / f"{name}.png"
        assert example(name).run(5, path, **sizes) == example(name).run(5, **sizes) != example(name).run(6, **sizes)
        assert path.read_bytes().startswith(b"\x89PNG") and 5_000 < path.stat().st_size < 100_000
