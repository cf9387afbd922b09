"""``fr.ctc``: against all paths written out, against the loss, and edit distances against a plain recursion."""

from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_close

import fastrnn as fr
from fastrnn.decoding import log_softmax


def collapsed(path, blank):
    """Repetitions taken for one, blanks left out."""
    return tuple(c for c, before in zip(path, (None, *path)) if c != before and c != blank)


def all_labellings(log_probs, blank):
    """Labels -> the sum of the probabilities of their paths."""
    T, C = log_probs.shape
    found = {}
    for path in product(range(C), repeat=T):
        labels = collapsed(path, blank)
        found[labels] = found.get(labels, 0.0) + np.exp(log_probs[range(T), path].sum())
    return found


def scores(seed, T, C, sharp=1.0):
    return log_softmax(sharp * np.random.default_rng(seed).standard_normal((T, C)))


@given(seed=st.integers(0, 10**6), T=st.integers(0, 5), C=st.integers(1, 3), data=st.data())
def test_a_wide_beam_is_exact(seed, T, C, data):
    """All labellings, in order, each with the sum over all its paths."""
    blank = data.draw(st.integers(0, C - 1))
    log_probs = scores(seed, T, C)
    expected = all_labellings(log_probs, blank)
    found = fr.ctc.beam_search(log_probs, width=1000, blank=blank)
    assert {tuple(one.tokens) for one in found} == set(expected) and len(found) == len(expected)
    ours = np.array([one.score for one in found])
    assert_close("log p", ours, np.log([expected[tuple(one.tokens)] for one in found]), "forward")
    assert (np.diff(ours) <= 0).all()
    assert_close("their sum", np.exp(ours).sum(keepdims=True), np.ones(1), "forward")


@given(seed=st.integers(0, 10**6), T=st.integers(1, 12), C=st.integers(2, 6), width=st.integers(1, 6))
def test_a_narrow_beam_gives_bounds_from_below(seed, T, C, width):
    """What the loss says of the same labels is their whole probability."""
    log_probs = scores(seed, T, C, 2.0)
    found = fr.ctc.beam_search(log_probs, width=width)
    assert 1 <= len(found) <= width and len({tuple(one.tokens) for one in found}) == len(found)
    for one in found:
        loss, _ = fr.losses.ctc_loss(log_probs, one.tokens, T, len(one.tokens), reduction="sum")
        assert one.score <= -loss + 1e-9 * (1 + loss)


def test_a_beginning_that_comes_back_is_the_same_beginning():
    """Three beginnings are in the beam; [1] leaves it and comes back while [1, 2] stays: the paths of [1, 2] by way of
    the new [1] join those that are there, so no labelling occurs twice."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        log_probs = log_softmax(3 * rng.standard_normal((15, 4)))
        found = fr.ctc.beam_search(log_probs, width=3)
        assert len({tuple(one.tokens) for one in found}) == len(found)


@given(seed=st.integers(0, 10**6), T=st.integers(0, 9), C=st.integers(1, 4))
def test_greedy_is_the_likeliest_path(seed, T, C):
    log_probs = scores(seed, T, C)
    for blank in range(C):
        assert tuple(fr.ctc.greedy(log_probs, blank)) == collapsed(log_probs.argmax(axis=1), blank)


def test_a_repeated_label_needs_a_blank_between():
    path = np.array([1, 1, 0, 1, 2, 2, 0, 0, 2])
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.eye(3)[path])
    assert fr.ctc.greedy(log_probs).tolist() == [1, 1, 2, 2]
    (only,) = fr.ctc.beam_search(log_probs, width=5)
    assert only.tokens.tolist() == [1, 1, 2, 2] and only.score == 0


def test_long_sequences_do_not_underflow():
    log_probs = scores(0, 3000, 5)
    best = fr.ctc.beam_search(log_probs, width=4)[0]
    loss, _ = fr.losses.ctc_loss(log_probs, best.tokens, 3000, len(best.tokens), reduction="sum")
    assert np.isfinite(best.score) and best.score <= -loss * (1 - 1e-12) and best.score < -1000


def plain_distance(a, b):
    @lru_cache(None)
    def distance(i, j):
        if not i or not j:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return distance(len(a), len(b))


@given(a=st.text("ab ", max_size=8), b=st.text("abc", max_size=8))
def test_edit_distance(a, b):
    assert fr.ctc.edit_distance(a, b) == plain_distance(a, b)
    assert fr.ctc.edit_distance(np.array([ord(c) for c in a], int), [ord(c) for c in b]) == plain_distance(a, b)


def test_label_error_rate():
    assert fr.ctc.label_error_rate([[1, 2], [3]], [[1, 2], [3]]) == 0
    assert fr.ctc.label_error_rate(["", "abc"], ["ab", "b"]) == 4 / 3
    assert fr.ctc.label_error_rate([()], [("x", "y")]) == 1


P = np.log(np.full((3, 2), 0.5))
BAD = {
    "3-D": (lambda: fr.ctc.greedy(np.zeros((2, 2, 2))), ValueError, r"log_probs: .*\(T, C\).*\(2, 2, 2\)"),
    "no classes": (lambda: fr.ctc.greedy(np.zeros((2, 0))), ValueError, "log_probs: "),
    "NaN": (lambda: fr.ctc.greedy([[np.nan, 0.0]]), ValueError, "log_probs: .*NaN"),
    "None": (lambda: fr.ctc.beam_search(None), TypeError, "log_probs: .*None"),
    "logits": (lambda: fr.ctc.beam_search(np.ones((2, 2))), ValueError, "log_probs: .*at most 0.*1.0"),
    "blank": (lambda: fr.ctc.beam_search(P, blank=2), ValueError, "blank: .*0..1.*2"),
    "width 0": (lambda: fr.ctc.beam_search(P, width=0), ValueError, "width: .*at least 1.*0"),
    "width float": (lambda: fr.ctc.beam_search(P, width=2.0), TypeError, "width: .*2.0"),
    "a number": (lambda: fr.ctc.edit_distance(3, "a"), TypeError, "a: .*3"),
    "unhashable": (lambda: fr.ctc.edit_distance("a", [[1]]), TypeError, "b: .*hashed"),
    "not as many": (lambda: fr.ctc.label_error_rate(["a"], ["a", "b"]), ValueError, "predictions: .*2 references.*1"),
    "nothing to find": (lambda: fr.ctc.label_error_rate(["a"], [""]), ValueError, "references: .*at least one label"),
    "one string": (lambda: fr.ctc.label_error_rate("a", "a"), TypeError, "predictions: .*list"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()
