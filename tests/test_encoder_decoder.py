"""``EncoderDecoder``: gradients of every parameter by central differences, steps against whole runs, choices."""

import numpy as np
import pytest
from tolerance import assert_close

import fastrnn as fr
from fastrnn.models.encoderdecoder import EncoderDecoder
from fastrnn.models.layers import LAYERS, SQUARE
from fastrnn.reference import central_difference

ATTENTIONS = [None, "luong", "bahdanau"]
INPUTS = ["tokens", "frames", "vector"]
WAYS = [(i, a, b) for i in INPUTS for a in ATTENTIONS for b in (False, True) if i != "vector" or not (a or b)]


def made(inputs="tokens", attention=None, bidirectional=False, **options):
    options = {"embedding_dim": 3, "hidden_size": 4, "dtype": "float64", "rng": 0, **options}
    return EncoderDecoder(inputs, 5, 6, attention=attention, bidirectional=bidirectional, **options)


def batch(inputs, T=4, B=3, S=3, seed=0):
    """``x`` and lengths."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 6, (S, B))
    if inputs == "vector":
        return (rng.standard_normal((1, B, 5)), codes), None
    read = rng.integers(0, 5, (T, B)) if inputs == "tokens" else rng.standard_normal((T, B, 5))
    return (read, codes), np.array([T, 1, 2])[:B]


def check_gradients(net, inputs):
    for module in net.modules.values():  # as drawn, what so small a net attends to is always nearly the same
        module.load_state_dict({name: 2 * array for name, array in module.parameters.items()})
    x, lengths = batch(inputs)
    logits, pullback = net.vjp(x, lengths)
    assert_close("logits", logits, net(x, lengths), "forward")
    d = np.random.default_rng(1).standard_normal(logits.shape)
    pullback(d)
    for part, module in net.modules.items():
        for name, value in module.parameters.items():

            def changed(a):
                module.parameters[name] = a
                return float(((net(x, lengths) - logits) * d).sum())  # a difference, so that no digits are lost

            before = value.copy()
            numeric = central_difference(changed, before)
            module.parameters[name] = before
            assert_close(f"{part}.{name}", module.grads[name], numeric, "numeric")


@pytest.mark.parametrize("inputs, attention, bidirectional", WAYS)
def test_gradients(inputs, attention, bidirectional):
    check_gradients(made(inputs, attention, bidirectional), inputs)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_gradients_of_two_layers_of_another_cell(attention):
    check_gradients(made("tokens", attention, True, cell="gru", num_layers=2), "tokens")
    check_gradients(made("frames", attention, cell="slstm", num_layers=2), "frames")
    check_gradients(made("vector", cell="slstm", num_layers=2), "vector")


@pytest.mark.parametrize("cell", sorted(LAYERS))
def test_every_cell(cell):
    """Runs and has a gradient of its first states: the encoder learns from what the decoder writes."""
    width = {"embedding_dim": 4} if cell in SQUARE else {}
    for attention in (None, "luong") if cell in SQUARE else ATTENTIONS:
        net = made("tokens", attention, cell=cell, **width)
        (x, lengths), modules = batch("tokens"), net.modules
        logits, pullback = net.vjp(x, lengths)
        pullback(np.random.default_rng(1).standard_normal(logits.shape))
        assert all(np.isfinite(g).all() for m in modules.values() for g in m.grads.values())
        assert modules["source"].grads["weight"].any() and modules["decoder"].grads["weight_ih_l0"].any()


@pytest.mark.parametrize("inputs, attention, bidirectional", WAYS)
def test_steps_are_the_whole_run(inputs, attention, bidirectional):
    net = made(inputs, attention, bidirectional)
    (read, codes), lengths = batch(inputs)
    memory, states = net.encode(read, lengths)
    whole, weights = net.forced(codes, states, net.walk(memory, lengths))
    walk = net.walk(memory, lengths)
    for s, one in enumerate(codes):
        logits, states, weight = net.step(one, states, walk)
        assert_close("logits", logits, whole[s], "forward")
        if attention is not None:
            assert_close("weights", weight, weights[:, s], "forward")
            assert_close("their sum", weight.sum(axis=1), np.ones(3), "forward")
    assert (weights is None) == (attention is None)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_batch_mates_and_padding_do_not_show(attention):
    net = made("tokens", attention, True)
    (read, codes), lengths = batch("tokens")
    together = net((read, codes), lengths)
    for b, n in enumerate(lengths):
        alone = net((read[:n, b : b + 1], codes[:, b : b + 1]), lengths[b : b + 1])
        assert_close("logits", together[:, b : b + 1], alone, "forward")


@pytest.mark.parametrize("inputs, attention, bidirectional", WAYS)
def test_greedy(inputs, attention, bidirectional):
    """Each sequence alone, the likeliest token at each step, until the end."""
    net = made(inputs, attention, bidirectional, rng=3)
    (read, _), lengths = batch(inputs)
    greedy = net.greedy(read, lengths, 0, 1, 4)
    for b in range(3):
        memory, states = net.encode(own(read, lengths, b))
        walk, written = net.walk(memory), [0]
        while len(written) < 5 and written[-1] != 1:
            logits, states, _ = net.step(np.array(written[-1:]), states, walk)
            written.append(int(logits.argmax()))
        expected = (written[1:] + 4 * [1])[: len(greedy)]
        assert greedy[:, b].tolist() == expected


@pytest.mark.parametrize("inputs, attention, bidirectional", WAYS)
def test_a_wide_beam_is_exact(inputs, attention, bidirectional):
    """A beam of 6 misses none of the sequences of two steps."""
    net = made(inputs, attention, bidirectional, rng=3)
    (read, _), lengths = batch(inputs)
    for b in range(3):
        best = net.beam_search(own(read, lengths, b), 0, 1, 2, 6, 0.0)[0]
        tokens, score = max(all_of_two(net, own(read, lengths, b)), key=lambda found: found[1])
        assert_close("log p", np.array([best.score]), np.array([score]), "forward")
        assert tuple(best.tokens) == tokens


def own(read, lengths, b):
    """What a sequence of the batch has to read."""
    return read[:, b : b + 1] if lengths is None else read[: lengths[b], b : b + 1]


def all_of_two(net, read):
    """Every sequence of at most two tokens, 1 the end, and its log probability."""
    memory, states = net.encode(read)
    walk = net.walk(memory)
    logits, states, _ = net.step(np.array([0]), states, walk)
    first = fr.decoding.log_softmax(logits)[0]
    yield (1,), first[1]
    for a in (0, 2, 3, 4, 5):
        second = fr.decoding.log_softmax(net.step(np.array([a]), states, walk)[0])[0]
        for b in range(6):
            yield (a, b), first[a] + second[b]


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_without_a_teacher_the_net_reads_what_it_has_written(attention):
    net = made("tokens", attention, teacher_forcing=0.0)
    (read, codes), lengths = batch("tokens", S=5)
    logits, _ = net.vjp((read, codes), lengths)
    memory, states = net.encode(read, lengths)
    walk, tokens = net.walk(memory, lengths), codes[0]
    for s in range(5):
        one, states, _ = net.step(tokens, states, walk)
        assert_close("logits", logits[s], one, "forward")
        tokens = one.argmax(axis=1)
    assert_close("of a call", net((read, codes), lengths), made("tokens", attention)((read, codes), lengths), "forward")


def test_some_tokens_are_the_teachers():
    net = made("tokens", teacher_forcing=0.5)
    (read, codes), lengths = batch("tokens", S=200)
    memory, states = net.encode(read, lengths)
    mixed = net._mixed(codes, states, None)
    assert 0.3 < (mixed != codes)[1:].mean() < 0.6 and (mixed[0] == codes[0]).all()
    assert not np.shares_memory(mixed, codes)


BAD = {
    "inputs": (lambda: made("words"), ValueError, "inputs: .*tokens.*'words'"),
    "attention": (lambda: made(attention="dot"), ValueError, "attention: .*luong.*'dot'"),
    "attention to a vector": (lambda: made("vector", "luong"), ValueError, "attention: .*None with a vector.*'luong'"),
    "two directions of a vector": (lambda: made("vector", None, True), ValueError, "bidirectional: .*vector"),
    "odd": (lambda: made("tokens", None, True, hidden_size=5), ValueError, "hidden_size: .*even.*5"),
    "cell": (lambda: made(cell="lstn"), ValueError, "cell: .*'lstn'"),
    "square": (lambda: made(cell="mut1", embedding_dim=3), ValueError, "embedding_dim: .*4.*mut1.*3"),
    "ratio": (lambda: made(teacher_forcing=1.5), ValueError, "teacher_forcing: .*1.5"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()
