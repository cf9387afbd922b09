"""``Attention``: a loop over sequences, queries and steps; gradients of everything by central differences."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import budget
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.models import Attention
from fastrnn.reference import central_difference

KINDS = ["luong", "bahdanau"]


def made(kind, H=3, E=4, A=5, dtype="float64"):
    return Attention(H, E, None if kind == "luong" else A, kind=kind, dtype=dtype, rng=0)


def expected(attention, queries, memory, lengths):
    """Context and weights in float64, a number at a time."""
    p = {name: np.float64(array) for name, array in attention.parameters.items()}
    (S, B, _), T = queries.shape, len(memory)
    context, weights = np.zeros((S, B, memory.shape[2])), np.zeros((B, S, T))
    for b, s in np.ndindex(B, S):
        n = T if lengths is None else lengths[b]
        e = []
        for t in range(n):
            key = p["weight_memory"] @ memory[t, b]
            if attention.kind == "luong":
                e.append(queries[s, b] @ key)
            else:
                e.append(p["weight_score"] @ np.tanh(p["weight_query"] @ queries[s, b] + key))
        alpha = np.exp(np.array(e) - max(e))
        weights[b, s, :n] = alpha / alpha.sum()
        context[s, b] = sum(weights[b, s, t] * memory[t, b] for t in range(n))
    return context, weights


def data(S, B, T, H=3, E=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((S, B, H)), rng.standard_normal((T, B, E)), rng.standard_normal((S, B, E))


@pytest.mark.parametrize("kind", KINDS)
@given(S=st.integers(1, 4), B=st.integers(1, 4), T=st.integers(1, 6), dtype=st.sampled_from(["float32", "float64"]),
       data_of=st.data())  # fmt: skip
def test_values(kind, S, B, T, dtype, data_of):
    lengths = data_of.draw(st.none() | st.lists(st.integers(1, T), min_size=B, max_size=B))
    attention = made(kind, dtype=dtype)
    queries, memory, _ = (a.astype(dtype) for a in data(S, B, T))
    if lengths is not None:
        memory[np.arange(T)[:, None] >= np.array(lengths)] = np.nan  # not looked at
    context, weights = attention(queries, memory, lengths)
    expected_context, expected_weights = expected(attention, queries, np.float64(memory), lengths)
    assert_close("context", context, expected_context, "forward", dtype)
    assert_close("weights", weights, expected_weights, "forward", dtype)
    for name, array, other in zip(("context", "weights"), attention.vjp(queries, memory, lengths), (context, weights)):
        assert_same_bits(name, array, other)


@pytest.mark.parametrize("kind", KINDS)
@given(S=st.integers(1, 3), B=st.integers(1, 3), T=st.integers(1, 4), seed=st.integers(0, 99), data_of=st.data())
@budget(0.4)
def test_gradients(kind, S, B, T, seed, data_of):
    """Of queries, memory and every parameter, by name."""
    lengths = data_of.draw(st.none() | st.lists(st.integers(1, T), min_size=B, max_size=B))
    attention = made(kind)
    queries, memory, d_context = data(S, B, T, seed=seed)
    _, _, pullback = attention.vjp(queries, memory, lengths)
    d_queries, d_memory = pullback(d_context)

    def objective(q=queries, m=memory, **parameters):
        other = copy.deepcopy(attention)
        for name, array in parameters.items():
            other.parameters[name] = array
        return (other(q, m, lengths)[0] * d_context).sum()

    assert_close("d_queries", d_queries, central_difference(lambda a: objective(q=a), queries), "numeric")
    assert_close("d_memory", d_memory, central_difference(lambda a: objective(m=a), memory), "numeric")
    for name, value in attention.parameters.items():
        numeric = central_difference(lambda a: objective(**{name: a}), value)
        assert_close(f"d_{name}", attention.grads[name], numeric, "numeric")


@pytest.mark.parametrize("kind", KINDS)
def test_query_by_query(kind):
    """A walk asked one query after the other gives what all at once give, also backward."""
    attention = made(kind)
    queries, memory, d_context = data(4, 3, 5)
    lengths = [5, 1, 3]
    context, weights, pullback = attention.vjp(queries, memory, lengths)
    d_queries, d_memory = pullback(d_context)
    whole = {name: array.copy() for name, array in attention.grads.items()}
    attention.zero_grad()
    walk = attention.over(memory, lengths)
    asked = [walk.vjp(one[None]) for one in queries]
    assert_same_bits("context", np.concatenate([one[0] for one in asked]), context)
    assert_same_bits("weights", np.concatenate([one[1] for one in asked], axis=1), weights)
    back = [one[2](d[None]) for one, d in zip(asked[::-1], d_context[::-1])]
    assert_close("d_queries", np.concatenate(back[::-1]), d_queries, "gradient")
    assert_close("d_memory", walk.finish(), d_memory, "gradient")
    for name, array in whole.items():
        assert_close(f"d_{name}", attention.grads[name], array, "gradient")


@pytest.mark.parametrize("kind", KINDS)
def test_mates_and_padding_do_not_show(kind):
    """To the bit."""
    attention = made(kind, dtype="float32")
    queries, memory, _ = (a.astype("float32") for a in data(2, 3, 6))
    context, _ = attention(queries, memory, [6, 4, 2])
    for b, n in enumerate([6, 4, 2]):
        alone, _ = attention(queries[:, b : b + 1], memory[:n, b : b + 1])
        assert_close("context", context[:, b : b + 1], alone, "forward")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_past_a_length_comes_back(kind):
    attention = made(kind)
    queries, memory, d_context = data(2, 3, 5)
    lengths = [5, 1, 3]
    memory[np.arange(5)[:, None] >= np.array(lengths)] = 0
    plain = attention.vjp(queries, memory, lengths)[2](d_context)
    grads = {name: array.copy() for name, array in attention.grads.items()}
    attention.zero_grad()
    memory[np.arange(5)[:, None] >= np.array(lengths)] = np.nan
    for name, array, other in zip(("dq", "dm"), attention.vjp(queries, memory, lengths)[2](d_context), plain):
        assert_same_bits(name, array, other)
    for name, array in grads.items():
        assert_same_bits(name, attention.grads[name], array)
    assert not plain[1][1:, 1].any() and not plain[1][3:, 2].any() and plain[1][:3, 2].all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_caller_changes_later_does_not_matter(kind):
    attention = made(kind)
    queries, memory, d_context = data(2, 3, 5)
    plain = attention.vjp(queries.copy(), memory.copy())[2](d_context)
    _, _, pullback = attention.vjp(queries, memory)
    queries[:], memory[:] = 7, 7
    for name, array, other in zip(("dq", "dm"), pullback(d_context), plain):
        assert_same_bits(name, array, other)


@pytest.mark.parametrize("kind", KINDS)
def test_large_scores_do_not_overflow(kind):
    attention = made(kind, dtype="float32")
    queries, memory, _ = (1e18 * a.astype("float32") for a in data(2, 2, 3))
    context, weights = attention(queries, memory)
    assert np.isfinite(weights).all() and np.isfinite(context).all()


def test_it_is_a_module(tmp_path):
    for kind in KINDS:
        attention = made(kind)
        fr.save(tmp_path / "a.safetensors", attention)
        again, copied = fr.load(tmp_path / "a.safetensors"), copy.deepcopy(attention)
        queries, memory, _ = data(2, 3, 4)
        for other in (again, copied):
            assert_same_bits("context", other(queries, memory)[0], attention(queries, memory)[0])
    assert list(made("luong").parameters) == ["weight_memory"]
    assert {k: a.shape for k, a in made("bahdanau").parameters.items()} == {
        "weight_memory": (5, 4), "weight_query": (5, 3), "weight_score": (5,)}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_when_a_pullback_is_called(kind):
    attention = made(kind)
    queries, memory, d_context = data(2, 2, 3)
    walk = attention.over(memory)
    _, _, pullback = walk.vjp(queries)
    with pytest.raises(RuntimeError, match="1 of the pullbacks"):
        walk.finish()
    with pytest.raises(ValueError, match=r"d_context: .*\(2, 2, 4\)"):
        pullback(d_context[:1])
    pullback(d_context)
    with pytest.raises(RuntimeError, match="before"):
        pullback(d_context)
    walk.finish()
    with pytest.raises(RuntimeError, match="before"):
        walk.finish()
    _, _, pullback = attention.vjp(queries, memory)
    attention.parameters["weight_memory"] = np.zeros((attention.size, 4))
    with pytest.raises(RuntimeError, match="changed"):
        pullback(d_context)


M, Q = np.zeros((3, 2, 4)), np.zeros((1, 2, 3))
BAD = {
    "kind": (lambda: Attention(3, 4, kind="dot"), ValueError, "kind: .*luong.*'dot'"),
    "size": (lambda: Attention(3, 4, 5, kind="luong"), ValueError, "size: expected 3, got 5"),
    "query_size": (lambda: Attention(0, 4), ValueError, "query_size: "),
    "memory_size": (lambda: Attention(3, 4.0), TypeError, "memory_size: "),
    "dtype": (lambda: Attention(3, 4, dtype="int8"), ValueError, "dtype: "),
    "memory 2-D": (lambda: made("luong")(Q, M[0]), ValueError, r"memory: .*\(T, B, 4\).*\(2, 4\)"),
    "memory of no step": (lambda: made("luong")(Q, M[:0]), ValueError, "memory: .*not empty"),
    "memory None": (lambda: made("luong")(Q, None), TypeError, "memory: .*None"),
    "another batch": (lambda: made("luong")(Q[:, :1], M), ValueError, r"queries: .*\(S, 2, 3\).*\(1, 1, 3\)"),
    "no query": (lambda: made("bahdanau")(Q[:0], M), ValueError, "queries: .*S >= 1"),
    "length 0": (lambda: made("bahdanau")(Q, M, [3, 0]), ValueError, "lengths: .*1..3.*0"),
    "lengths past T": (lambda: made("bahdanau")(Q, M, [3, 4]), ValueError, "lengths: .*0..3.*4"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()
