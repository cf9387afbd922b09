"""The experiments with taggers, encoder-decoders and CTC, smaller than they are, and what they are made of."""

from itertools import product

import numpy as np
import pytest
from examples import drawn, example

pytest.importorskip("sklearn")

pytestmark = pytest.mark.interop


def test_dates_are_what_they_say():
    dates = example("dates")
    date = np.datetime64("2026-11-21")  # a Saturday
    forms = [dates.written(date, form) for form in range(dates.FORMS)]
    assert len(set(forms)) == dates.FORMS == 16 and all("2026" in form and "21" in form for form in forms)
    assert "Saturday, 21 November 2026" in forms and "2026/11/21" in forms and "the 21st of November 2026" in forms
    X, y, unseen, truth = dates.pairs(np.random.default_rng(0), 300, 200)
    assert not set(y) & set(truth) and len(set(truth)) == 200


def test_dates(tmp_path):
    options = {"hidden_size": 48, "epochs": 6, "batch_size": 32, "learning_rate": 0.01}
    figures = example("dates").run(0, tmp_path / "dates.png", train=3_000, test=200, **options)
    assert figures["exact"] > 0.8
    assert drawn(tmp_path / "dates.png")


def test_translation(tmp_path):
    options = {"hidden_size": 48, "epochs": 6, "batch_size": 32, "learning_rate": 0.01}
    figures = example("translation").run(0, tmp_path / "attention.png", train=1_500, test=150, **options)
    assert figures["exact"] > 0.6
    assert drawn(tmp_path / "attention.png")


def test_translated_sentences_are_different():
    X, y = example("translation").pairs(np.random.default_rng(0), 400)
    assert len({tuple(words) for words in X}) == len(X) == len(y) == 400
    assert all(words[-1].endswith("is") and len(words) >= 5 for words in y)


def test_spoken_digits(tmp_path):
    options = {"hidden_size": 32, "epochs": 10, "batch_size": 16}
    spoken = example("spoken_digits")
    figures = spoken.run(0, tmp_path / "spoken.png", train=800, test=100, settings=("clean",), **options)
    assert figures["clean"] < 0.05
    assert drawn(tmp_path / "spoken.png")


def test_captions(tmp_path):
    captions = example("captions")
    figures = captions.run(0, tmp_path / "captions.png", train=5_000, test=200, epochs=5, batch_size=32)
    assert figures["exact"] > 0.4  # where a guess is right once in thousands of times
    assert drawn(tmp_path / "captions.png")
    pixels, words = captions.scene(np.random.default_rng(0))
    assert pixels.shape == (432,) and words[0] == "a" and words.count("a") == 2


def test_tagging(tmp_path):
    figures = example("tagging").run(0, tmp_path / "tagging.png", train=500, test=200, hidden_size=24, epochs=12)
    assert figures["both directions"] > 0.9
    assert abs(figures["one direction"] - figures["ceiling of one direction"]) < 0.1
    assert drawn(tmp_path / "tagging.png")


def test_labels_of_tagging():
    """(1, 1), (1, 2), (1, 2), (2, 2), (2, 4), (4, 4)."""
    assert example("tagging").labels(np.array([1, 0, 0, 2, 0, 4])).tolist() == [0, 1, 1, 5, 7, 15]


@pytest.mark.parametrize("length, kinds", [(2, 2), (3, 3), (5, 2), (5, 3)])
def test_the_ceiling_of_one_direction(length, kinds):
    """By all sequences there are: the best label for each run of steps, as often as it is right."""
    tagging, marked = example("tagging"), 0.3
    chances = {}
    for inside in product(range(kinds + 1), repeat=length - 2):
        blanks = inside.count(0)
        p = (1 - marked) ** blanks * (marked / kinds) ** (len(inside) - blanks) / kinds**2
        for first, last in product(range(1, kinds + 1), repeat=2):
            steps = np.array([first, *inside, last])
            for t, label in enumerate(tagging.labels(steps, kinds)):
                by_label = chances.setdefault(tuple(steps[: t + 1]), {})
                by_label[label] = by_label.get(label, 0) + p
    best = sum(max(by_label.values()) for by_label in chances.values()) / length
    assert np.isclose(best, tagging.ceiling([length], kinds, marked), rtol=1e-12)
