"""Decoding: kept tokens and distributions, streams, beams against brute force, bad input."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import decoding

INF = math.inf


def rows_of_logits(*shape, seed=0, dtype="float64"):
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def probabilities(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


# -- rows of logits -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_softmax(dtype):
    x = rows_of_logits(4, 3, 7, dtype=dtype)
    x[1, 1, :5] = -INF
    x[2, 2] = 1000 + np.arange(7)
    before = x.copy()
    result = decoding.log_softmax(x)
    assert result.dtype == dtype
    for place in np.ndindex(4, 3):
        row = x[place].astype(float)
        with np.errstate(divide="ignore"):
            expected = np.log(probabilities(row))
        finite = np.isfinite(expected)
        assert_close("log softmax", result[place][finite], expected[finite], "forward", dtype)
        assert (result[place][~finite] == -INF).all()
    assert_same_bits("x", x, before)
    assert decoding.log_softmax([0, 0]).dtype == np.float64


@given(
    values=st.lists(st.sampled_from([-INF, -2.0, 0.0, 0.5, 3.0]), min_size=1, max_size=9).filter(lambda v: max(v) > -INF),
    k=st.integers(1, 10),
)
def test_top_k_one_by_one(values, k):
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    expected = [v if i in order else -INF for i, v in enumerate(values)]
    assert decoding.top_k(values, k).tolist() == expected
    two = decoding.top_k([values, values[::-1]], k)
    assert two[0].tolist() == expected and np.isfinite(two[1]).sum() <= k


@given(
    weights=st.lists(st.integers(0, 5), min_size=1, max_size=9).filter(any),
    sixteenths=st.integers(1, 16),
)
def test_top_p_one_by_one(weights, sixteenths):
    """With whole numbers of equal parts; p lies between two sums, so that rounding decides nothing."""
    p = sixteenths / 16 - (1e-3 if sixteenths < 16 else 0)
    with np.errstate(divide="ignore"):
        logits = np.log(np.array(weights, float))
    kept, total = set(), 0
    for i in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        if total < p * sum(weights) and weights[i]:
            kept.add(i)
        total += weights[i]
    result = decoding.top_p(logits, p)
    assert {i for i in range(len(weights)) if result[i] > -INF} == kept
    assert (result[sorted(kept)] == logits[sorted(kept)]).all()
    assert_same_bits("a row among others", decoding.top_p(np.stack([logits[::-1], logits]), p)[1], result)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [0.01, 1.0, 8.0])
@pytest.mark.parametrize("step", [0.0, 0.25])
def test_top_p_of_many_tokens(dtype, scale, step):
    """Against sorting all of a row; with equal logits (on a grid) or none, in nuclei of few tokens and of most."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, scale, (4, 4999)).astype(dtype)
    logits = np.round(logits / step) * np.dtype(dtype).type(step) if step else logits
    logits[1, 7] = -INF
    for p in (1e-3, 0.3, 0.7, 0.95, 0.999):
        found = decoding.top_p(logits, p)
        for row, result in zip(logits, found):
            order = np.argsort(-row, kind="stable")
            chances = np.exp((row - row.max())[order]).astype(np.float64)
            below = (chances.cumsum() - chances) / chances.sum()
            inside = np.sort(order[below < p])
            assert abs(below - p).min() > 1e-12, "a p that rounding decides"
            assert np.array_equal(np.flatnonzero(result > -INF), inside)
            assert np.array_equal(result[inside], row[inside])
        assert_same_bits("rows in another order of memory", decoding.top_p(np.asfortranarray(logits), p), found)
        assert_same_bits("a row alone", decoding.top_p(logits[2], p), found[2])


def test_a_nucleus_that_is_reached_exactly_takes_no_more():
    assert decoding.top_p([0.0, 0.0, 0.0, 0.0], 0.5).tolist() == [0, 0, -INF, -INF]


def test_greedy():
    x = rows_of_logits(3, 2, 5)
    assert (decoding.greedy(x) == x.argmax(-1)).all() and decoding.greedy([0, 4, 4]) == 1
    assert type(decoding.greedy(x[0, 0])) is int
    assert (decoding.sample(x, temperature=0) == x.argmax(-1)).all()
    assert (decoding.sample(x, temperature=1e-310, rng=0) == x.argmax(-1)).all(), "no overflow, no warning"
    assert (decoding.sample(x, top_k=1, rng=0) == x.argmax(-1)).all()
    assert (decoding.sample(x, top_p=1e-9, rng=0) == x.argmax(-1)).all()


OPTIONS = [{}, {"temperature": 0.5}, {"temperature": 3.0}, {"top_k": 3}, {"top_p": 0.8}, {"temperature": 2.0, "top_k": 4, "top_p": 0.7}]


def distribution(logits, temperature=1.0, top_k=None, top_p=None):
    """What ``sample`` draws from, token by token."""
    weights = probabilities(logits / temperature)
    order = list(np.argsort(-weights))[:top_k]
    kept, total = [], 0.0
    for i in order:
        if top_p is None or total < top_p * weights[order].sum():
            kept.append(i)
        total += weights[i]
    return np.array([w if i in kept else 0.0 for i, w in enumerate(weights)]) / weights[kept].sum()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_samples_are_distributed_so(options):
    """Counts of 40,000 draws: within 5 standard deviations each, none where the probability is 0."""
    logits, n = rows_of_logits(6) / 2, 40_000
    expected = distribution(logits, **options)
    drawn = decoding.sample(np.broadcast_to(logits, (n, 6)), rng=0, **options)
    counts = np.bincount(drawn, minlength=6)
    assert (np.abs(counts - n * expected) <= 5 * np.sqrt(n * expected * (1 - expected))).all()


@given(seed=st.integers(0, 10**6), options=st.sampled_from(OPTIONS))
def test_a_seed_draws_the_same_and_rows_draw_in_turn(seed, options):
    logits = rows_of_logits(5, 4, seed=seed)
    together = decoding.sample(logits, rng=seed, **options)
    rng = np.random.default_rng(seed)
    alone = [decoding.sample(row, rng=rng, **options) for row in logits]
    assert together.tolist() == alone and all(type(token) is int for token in alone)
    assert (decoding.sample(logits, rng=seed, **options) == together).all()


class Ends(np.random.Generator):
    """A generator that draws the ends of [0, 1)."""

    def __init__(self, value):
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, shape):
        return np.full(shape, self.value)


@pytest.mark.parametrize("value, expected", [(0.0, 1), (math.nextafter(1, 0), 4)])
def test_what_has_no_probability_is_never_drawn(value, expected):
    logits = [-INF, 0.1, 0.7, 0.3, 0.2, -INF, -INF]
    assert decoding.sample(logits, rng=Ends(value)) == expected


# -- streams --------------------------------------------------------------------------------


TABLE = rows_of_logits(5, 5, seed=3)


def by_table(tokens, state):
    return TABLE[tokens], (0 if state is None else state) + 1


def test_generate_is_a_loop_of_samples():
    rng, token, expected = np.random.default_rng(1), 2, []
    for _ in range(30):
        token = decoding.sample(TABLE[token], temperature=0.8, top_k=4, rng=rng)
        expected.append(token)
    stream = decoding.generate(by_table, 2, length=30, temperature=0.8, top_k=4, rng=1)
    assert list(stream) == expected


def test_generate_is_lazy_and_endless():
    calls = []

    def step(tokens, state):
        calls.append(state)
        return by_table(tokens, state)

    stream = decoding.generate(step, 0, 10, rng=0)
    assert calls == []
    first = [next(stream) for _ in range(3)]
    assert calls == [10, 11, 12] and all(type(token) is int for token in first)
    assert list(decoding.generate(step, 0, length=0)) == []


def test_generate_ends_with_eos():
    tokens = list(decoding.generate(by_table, 0, eos=4, rng=5))
    assert tokens[-1] == 4 and 4 not in tokens[:-1]


def test_generate_side_by_side():
    def count(tokens, state):
        return np.eye(9)[np.minimum(tokens + 1, 8)], state

    rows = list(decoding.generate(count, [5, 3, 6], eos=7, temperature=0))
    assert np.array(rows).tolist() == [[6, 4, 7], [7, 5, 7], [7, 6, 7], [7, 7, 7]]


# -- beams ----------------------------------------------------------------------------------


class Net:
    """A small network whose state, an array and a nested one, holds all that was before."""

    def __init__(self, seed, V=3, H=4, batch_axis=1):
        rng = np.random.default_rng(seed)
        self.V, self.axis = V, batch_axis
        self.embed, self.a, self.out = rng.standard_normal((V, H)), rng.standard_normal((H, H)), 2 * rng.standard_normal((H, V))

    def start(self):
        h = np.expand_dims(np.zeros((1, 4)), 0) if self.axis else np.zeros((1, 4))
        return {"h": h, "more": [h + 1, None]}

    def __call__(self, tokens, state):
        h, more = state["h"], state["more"][0]
        h, more = np.tanh(h @ self.a + self.embed[tokens]), np.sin(more @ self.a + h)
        return decoding.log_softmax((h + more).reshape(len(tokens), -1) @ self.out), {"h": h, "more": [more, None]}

    def log_probability(self, start, tokens):
        """Of one sequence, by itself."""
        state, total = self.start(), 0.0
        for before, token in zip([start, *tokens], tokens):
            scores, state = self(np.array([before]), state)
            total += scores[0, token]
        return total


def all_sequences(V, length, eos):
    """Those that end with eos and those that do not end within ``length``."""
    for n in range(1, length + 1):
        for tokens in itertools.product(range(V), repeat=n):
            if eos not in tokens[:-1] and (n == length or tokens[-1] == eos):
                yield tokens


@pytest.mark.parametrize("eos", [None, 0, 2])
@pytest.mark.parametrize("penalty", [0, 0.5, 1, 2])
def test_a_wide_beam_finds_the_true_best(eos, penalty):
    for seed, axis in itertools.product(range(4), (0, 1, -2)):
        net = Net(seed, batch_axis=axis)
        scored = [(net.log_probability(1, t) / len(t) ** penalty, t) for t in all_sequences(3, 4, eos)]
        scored.sort(reverse=True)
        found = decoding.beam_search(net, 1, net.start(), width=81, length=4, length_penalty=penalty, eos=eos, batch_axis=axis)
        assert [tuple(one.tokens) for one in found] == [tokens for _, tokens in scored]
        assert_close("score", np.array([one.score for one in found]), np.array([score for score, _ in scored]), "forward")


def plain_beam(net, start, width, length, penalty, eos):
    """The same search with lists, every sequence computed from its beginning; never stops early."""
    live, ended = [((), 0.0)], []
    for n in range(1, length + 1):
        longer = [((*t, v), net.log_probability(start, (*t, v))) for t, _ in live for v in range(net.V)]
        ended += [(total / n**penalty, t) for t, total in longer if t[-1] == eos]
        live = sorted((one for one in longer if one[0][-1] != eos), key=lambda one: -one[1])[:width]
    ended += [(total / length**penalty, t) for t, total in live]
    return sorted(ended, reverse=True)[:width]


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("penalty", [0, 1])
def test_narrow_beams(width, penalty):
    for seed, eos in itertools.product(range(4), (None, 1)):
        net = Net(seed, V=4)
        expected = plain_beam(net, 0, width, 6, penalty, eos)
        found = decoding.beam_search(net, 0, net.start(), width=width, length=6, length_penalty=penalty, eos=eos)
        assert [tuple(one.tokens) for one in found] == [tokens for _, tokens in expected]


def test_a_beam_of_one_is_greedy():
    net = Net(7, V=6)
    (found,) = decoding.beam_search(net, 2, net.start(), width=1, length=12)
    assert found.tokens.tolist() == list(decoding.generate(net, 2, net.start(), length=12, temperature=0))


def test_a_beam_through_a_layer_finds_the_best():
    """States of recurrent layers, tuples included, are gathered as they come."""
    lstm, head, embed = fr.LSTM(5, 8, num_layers=2, rng=0), fr.Linear(8, 4, rng=1), fr.Embedding(4, 5, rng=2)
    with head.edit() as p:
        p["weight"] *= 8

    def step(tokens, state):
        y, state = lstm(embed(tokens[np.newaxis]), state)
        return decoding.log_softmax(head(y[0])), state

    def log_probability(tokens):
        y, _ = lstm(embed(np.array([[0, *tokens[:-1]]]).T))
        return decoding.log_softmax(head(y[:, 0]))[np.arange(len(tokens)), list(tokens)].sum()

    best = max(itertools.product(range(4), repeat=4), key=log_probability)
    found = decoding.beam_search(step, 0, width=64, length=4)
    assert tuple(found[0].tokens) == best and len(found) == 64
    assert found[0].score == pytest.approx(log_probability(best) / 4, rel=1e-5)


def test_reorder_and_early_end():
    """A search that cannot become better calls the model no more; reorder gets state and rows."""
    calls, table = [], np.log([[0.01, 0.99], [0.5, 0.5]])

    def step(tokens, state):
        calls.append(len(tokens))
        return table[tokens], [*state, tokens.tolist()]

    found = decoding.beam_search(step, 0, [], width=1, length=50, length_penalty=0, eos=1, reorder=lambda state, rows: state)
    assert [(one.tokens.tolist(), one.score) for one in found] == [([1], table[0, 1])] and calls == [1]


def test_no_early_end_while_length_can_win():
    """An end of probability 0.6, or 0.4 and then nine certain tokens: worse in sum, better per token."""
    table = np.array([[-INF, math.log(0.6), math.log(0.4)], 3 * [-INF], [-INF, -INF, 0.0]])

    def step(tokens, state):
        return table[tokens], state

    for penalty, tokens in ((0, [1]), (1, 10 * [2])):
        (found,) = decoding.beam_search(step, 0, width=1, length=10, length_penalty=penalty, eos=1)
        assert found.tokens.tolist() == tokens


def test_impossible_tokens():
    """-inf is never taken, nor does it fill the beam."""
    table = np.array([[-INF, 0.0, -INF], [-INF, -INF, 0.0], [-INF, -INF, -INF]])

    def step(tokens, state):
        return table[tokens], state

    (only,) = decoding.beam_search(step, 0, width=5, length=2)
    assert only.tokens.tolist() == [1, 2] and only.score == 0
    assert decoding.beam_search(step, 0, width=5, length=3) == []
    (only,) = decoding.beam_search(step, 0, width=5, length=9, eos=2)
    assert only.tokens.tolist() == [1, 2]


def test_gather():
    h, c = np.arange(12.0).reshape(1, 3, 4), np.arange(6.0).reshape(2, 3, 1)
    rows = [2, 0, 0, 1]
    one, two = decoding.gather((h, c), rows)
    assert (one == h[:, rows]).all() and (two == c[:, rows]).all() and type(decoding.gather([h], rows)) is list
    assert (decoding.gather(h, [0, 0], axis=0) == h[[0, 0]]).all() and decoding.gather(None, rows) is None
    pair = decoding.gather(decoding.Hypothesis(h, c), rows)
    assert type(pair) is decoding.Hypothesis and (pair.score == c[:, rows]).all()


# -- bad input ------------------------------------------------------------------------------


def sampled(**options):
    return lambda: decoding.sample([0.0, 1.0], **options)


def searched(step=by_table, start=0, width=2, length=3, **options):
    return lambda: decoding.beam_search(step, start, width=width, length=length, **options)


def returning(value):
    return lambda tokens, state: value


BAD = {
    "nan": (lambda: decoding.greedy([0.0, math.nan]), ValueError, "logits: .*nan"),
    "inf": (lambda: decoding.sample([[0, 1], [INF, 1]]), ValueError, "logits: .*inf"),
    "no chance": (lambda: decoding.log_softmax([-INF, -INF]), ValueError, "logits: .*only -inf"),
    "empty": (lambda: decoding.greedy(np.zeros((3, 0))), ValueError, r"logits: .*\(3, 0\)"),
    "scalar": (lambda: decoding.top_k(1.0, 1), ValueError, r"logits: .*\(\)"),
    "text": (lambda: decoding.top_p("ab", 0.5), TypeError, "logits: "),
    "k": (lambda: decoding.top_k([1.0], 0), ValueError, "k: .*0"),
    "p": (lambda: decoding.top_p([1.0], 1.5), ValueError, "top_p: .*1.5"),
    "temperature": (sampled(temperature=-1), ValueError, "temperature: .*-1"),
    "top_k": (sampled(top_k=2.5), TypeError, "top_k: .*2.5"),
    "top_p": (sampled(top_p=0), ValueError, "top_p: .*0"),
    "rng": (sampled(rng="a"), TypeError, "rng: .*'a'"),
    "step": (lambda: decoding.generate(None, 0), TypeError, "step: .*None"),
    "start": (lambda: decoding.generate(by_table, -1), ValueError, "start: .*-1"),
    "starts": (lambda: decoding.generate(by_table, [[0]]), ValueError, "start: "),
    "start float": (lambda: decoding.generate(by_table, 0.5), TypeError, "start: .*0.5"),
    "length": (lambda: decoding.generate(by_table, 0, length=-1), ValueError, "length: .*-1"),
    "eos": (lambda: next(decoding.generate(by_table, 0, eos=5)), ValueError, "eos: .*5"),
    "no pair": (lambda: next(decoding.generate(returning(3), 0)), TypeError, "step: .*3"),
    "rows": (lambda: next(decoding.generate(returning((np.zeros((2, 3)), 0)), 0)), ValueError, r"step.*\(1, V\).*\(2, 3\)"),
    "step nan": (lambda: next(decoding.generate(returning(([[math.nan]], 0)), 0)), ValueError, "step's logits: .*nan"),
    "width": (searched(width=0), ValueError, "width: .*0"),
    "beam length": (searched(length=0), ValueError, "length: .*0"),
    "penalty": (searched(length_penalty=-1), ValueError, "length_penalty: .*-1"),
    "beam start": (searched(start=[0]), TypeError, "start: "),
    "logits": (searched(), ValueError, "step's log_probs: .*at most 0"),
    "beam nan": (searched(returning(([[math.nan]], 0))), ValueError, "step's log_probs: .*nan"),
    "beam eos": (searched(returning((np.zeros((1, 3)), 0)), eos=3), ValueError, "eos: .*3"),
    "state": (searched(returning((np.full((1, 3), -1.0), 0))), TypeError, "state: .*0; or give reorder"),
    "axis": (searched(returning((np.full((1, 3), -1.0), np.zeros(1)))), ValueError, "batch_axis: .*1"),
    "reorder": (searched(reorder=3), TypeError, "reorder: .*3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()
