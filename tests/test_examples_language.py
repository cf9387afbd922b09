"""The character model of examples/, on a part of its text; and the n-grams it is compared with."""

import itertools
import lzma
from collections import Counter

import numpy as np
import pytest
from examples import drawn, example

character_model = example("character_model")
KneserNey = character_model.KneserNey


def test_character_model(tmp_path):
    picture = tmp_path / "model.png"
    figures = character_model.run(0, picture, characters=300_000, unseen=30_000, orders=(2, 3), hidden_size=64)
    assert figures["GRU"] < figures["2-gram"] < 4.2 and figures["3-gram"] < figures["2-gram"]
    assert drawn(picture)


def defined(codes, order, size):
    """``p(history, w)`` straight from the definition, with the discounts that the model estimates."""
    counts = {order: Counter(tuple(codes[i : i + order]) for i in range(len(codes) - order + 1))}
    for n in range(order, 1, -1):
        counts[n - 1] = Counter(gram[1:] for gram in counts[n])
    discounts = {n: KneserNey.discounts(np.array(list(of_n.values()))) for n, of_n in counts.items()}

    def p(history, w):
        n = len(history) + 1
        shorter = p(history[1:], w) if history else 1 / size
        follow = {v: counts[n][(*history, v)] for v in range(size)}
        if not any(follow.values()):
            return shorter
        taken = {v: discounts[n][min(c, 3)] for v, c in follow.items()}
        return (follow[w] - taken[w] + sum(taken.values()) * shorter) / sum(follow.values())

    return p


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_n_grams_by_their_definition(order):
    """Of every code behind every history, known or not; they add up to 1."""
    size = 5
    codes = np.random.default_rng(order).choice(size, 300, p=[0.5, 0.25, 0.15, 0.1, 0])
    model, p = KneserNey(codes, order, size), defined(codes.tolist(), order, size)
    for history in itertools.product(range(size), repeat=order - 1):
        whole = [model.probabilities(np.array([*history, w]))[0] for w in range(size)]
        assert whole == pytest.approx([p(history, w) for w in range(size)], rel=1e-12)
        assert sum(whole) == pytest.approx(1, rel=1e-12)
    text = codes[:50].tolist()
    each = [p(tuple(text[i - order + 1 : i]), text[i]) for i in range(order - 1, 50)]
    assert model.bits(codes[:50]) == pytest.approx(-np.log2(each).mean(), rel=1e-12)


def test_discounts():
    """Chen and Goodman's: y = n1 / (n1 + 2 n2), D_k = k - (k + 1) y n_{k+1} / n_k."""
    counts = np.array([1, 1, 1, 1, 2, 2, 3, 4, 9])
    assert KneserNey.discounts(counts).tolist() == [0, 1 - 2 * 0.5 * 2 / 4, 2 - 3 * 0.5 * 1 / 2, 3 - 4 * 0.5 * 1 / 1]


def test_xz_behind_another_text():
    """A text that it has just read costs next to nothing."""
    text = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 5_000))
    alone = character_model.compressed(text)
    assert alone == 8 * len(lzma.compress(text.encode(), preset=9)) / 5_000
    assert character_model.compressed(text, text) < 0.05 * alone
