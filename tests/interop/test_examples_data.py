"""The examples of real data, with fewer epochs and nets than they have; and what they are made of."""

import numpy as np
import pytest
from examples import example

pytest.importorskip("sklearn")

pytestmark = pytest.mark.interop


def test_digits(tmp_path):
    picture = tmp_path / "digits.png"
    figures = example("digits").run(0, picture, train=600, nets=1, hidden_size=32, epochs=6)
    assert figures["median"] == figures["net 1"] > 0.9
    assert picture.stat().st_size > 2_000


def test_shifted_digits():
    """By one pixel each way; what leaves is gone, what comes in is empty."""
    digits = example("digits")
    images = np.arange(1.0, 129).reshape(2, 8, 8)
    same, up, down, left, right = digits.shifted(images).reshape(5, 2, 8, 8)
    assert (same == images).all()
    assert (up[:, :-1] == images[:, 1:]).all() and not up[:, -1].any()
    assert (down[:, 1:] == images[:, :-1]).all() and not down[:, 0].any()
    assert (left[:, :, :-1] == images[:, :, 1:]).all() and not left[:, :, -1].any()
    assert (right[:, :, 1:] == images[:, :, :-1]).all() and not right[:, :, 0].any()


def test_japanese_vowels(tmp_path):
    pytest.importorskip("sktime")
    vowels, picture = example("japanese_vowels"), tmp_path / "vowels.png"
    figures = vowels.run(0, picture, nets=1, grid={"hidden_size": [16]}, folds=2, epochs=10)
    assert figures["median"] == figures["net 1"] > 0.85
    assert picture.stat().st_size > 5_000
    frames, speakers = vowels.utterances("test")
    assert len(frames) == len(speakers) == 370 and len(set(speakers)) == 9
    assert {x.shape[1] for x in frames} == {12} and 7 <= min(map(len, frames)) <= max(map(len, frames)) == 29
