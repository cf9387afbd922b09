"""The examples of encoder-decoders and CTC, smaller than they are, and what they are made of."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

pytestmark = pytest.mark.interop

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dates_are_what_they_say():
    dates = example("dates")
    date = np.datetime64("2026-11-21")  # a Saturday
    forms = [dates.written(date, form) for form in range(dates.FORMS)]
    assert len(set(forms)) == dates.FORMS == 16 and all("2026" in form and "21" in form for form in forms)
    assert "Saturday, 21 November 2026" in forms and "2026/11/21" in forms and "the 21st of November 2026" in forms
    X, y, unseen, truth = dates.pairs(np.random.default_rng(0), 300, 200)
    assert not set(y) & set(truth) and len(set(truth)) == 200


def test_dates():
    figures, *_ = example("dates").run(train=3_000, test=200, hidden_size=48, epochs=6, batch_size=32, learning_rate=0.01)
    assert figures["exact"] > 0.8


def test_translation(tmp_path):
    translation = example("translation")
    options = {"hidden_size": 48, "epochs": 6, "batch_size": 32, "learning_rate": 0.01}
    figures, model, (unseen, _) = translation.run(train=1_500, test=150, **options)
    assert figures["exact"] > 0.6
    translation.picture(tmp_path / "attention.png", model, unseen[0])
    assert (tmp_path / "attention.png").stat().st_size > 5_000


def test_spoken_digits():
    figures = example("spoken_digits").run(train=800, test=100, settings=("clean",), hidden_size=32, epochs=10, batch_size=16)
    assert figures["clean"] < 0.05


def test_captions():
    captions = example("captions")
    figures, *_ = captions.run(train=4_000, test=200, epochs=5)
    assert figures["exact"] > 0.25  # where a guess is right once in thousands of times
    pixels, words = captions.scene(np.random.default_rng(0))
    assert pixels.shape == (432,) and words[0] == "a" and words.count("a") == 2
