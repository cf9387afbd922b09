"""Learned initial states, and the cell states of all steps."""

import numpy as np
import pytest
from cases import dealt_out
from hypothesis import given
from hypothesis import strategies as st
from stacks import LEARNABLE, WITH_CELLS, Problem, in_form_of, parts_of, problems
from strategies import budget
from tolerance import assert_close, assert_same_bits

import fastrnn as fr

# ---------------------------------------------------------------- learned initial states


def without_learning(problem):
    """The same layer without learned states, and those as an argument of its call."""
    layer = problem.layer
    own = {name: array for name, array in layer.parameters.items() if name not in ("h0", "c0")}
    arguments = {name: value for name, value in layer._config().items() if name != "learn_state"}
    plain = type(layer)(**arguments)
    plain.load_state_dict(own)
    learned = [layer.parameters[name + "0"] for name in layer.state_names]
    spread = [np.repeat(part[:, None], problem.B, axis=1) for part in learned]
    return plain, in_form_of(tuple(spread) if len(spread) > 1 else spread[0], spread)


@pytest.mark.parametrize("name", LEARNABLE)
@budget(0.5)
@given(st.data())
def test_learned_states_are_an_argument_that_the_layer_brings(name, data):
    """Bits of outputs and gradients are those of a layer that is given the states; dstate0 too."""
    problem = problems(data.draw, name, learn_state=True, given=False)
    layer, (plain, state) = problem.layer, without_learning(problem)
    x, _, lengths = problem.arguments()
    dy = problem.rng.standard_normal(plain(x, None, lengths)[0].shape).astype(layer.dtype)
    dstate = problem.state_in(problem.random_state())
    expected_y, expected_state = plain(x, problem.state_in(state), lengths)
    y, final = layer(x, lengths=lengths)
    assert_same_bits("y", y, expected_y)
    for ours, theirs in zip(parts_of(final), parts_of(expected_state), strict=True):
        assert_same_bits("state", ours, theirs)
    expected_dx, expected = plain.vjp(x, problem.state_in(state), lengths)[2](dy, dstate)
    for _ in range(2):  # gradients are added
        y, final, pullback = layer.vjp(x, None, lengths)
        dx, dstate0 = pullback(dy, dstate)
        assert_same_bits("y", y, expected_y)
        assert_same_bits("dx", dx, expected_dx)
        for ours, theirs in zip(parts_of(dstate0), parts_of(expected), strict=True):
            assert_same_bits("dstate0", ours, theirs)
    for name, part in zip(layer.state_names, problem.state_out(expected)):
        assert_close(name + "0", layer.grads[name + "0"], 2 * part.sum(axis=1), "gradient")
    plain.vjp(x, problem.state_in(state), lengths)[2](dy, dstate)
    for name, gradient in plain.grads.items():
        assert_same_bits(name, layer.grads[name], gradient)


@pytest.mark.parametrize("name", LEARNABLE)
def test_learned_states_only_where_none_is_given(name):
    """A state that is given has its own gradient, and None in a tuple is zeros."""
    problem = Problem(name, B=2, learn_state=True)
    layer, (plain, _) = problem.layer, without_learning(problem)
    states = [problem.state]
    if isinstance(problem.state, tuple):
        states += [(problem.state[0], None), (None, None)]
    for state in states:
        y, _, pullback = layer.vjp(problem.x, state)
        assert_same_bits("y", y, plain(problem.x, state)[0])
        pullback(np.ones_like(y))
    for name in layer.state_names:
        assert not layer.grads[name + "0"].any()
    # through the checkers of arguments that have to be converted, too
    listed = problem.x.tolist()
    for state in (*states, None):
        expected = layer(problem.x, state)[0]
        assert_same_bits("y", layer(listed, state)[0], expected)
    assert not np.array_equal(layer(listed)[0], plain(listed)[0])


@pytest.mark.parametrize("name", LEARNABLE)
def test_streams_start_from_learned_states(name):
    problem = Problem(name, B=2, learn_state=True, dtype="float32")
    layer = problem.layer
    stream = layer.stream(2)
    for _ in range(2):
        y, state = layer(problem.x)
        for ours, theirs in zip(parts_of(stream.state), parts_of(layer(problem.x[:0])[1]), strict=True):
            assert_same_bits("state", ours, theirs)
        for x_t, y_t in zip(problem.x, y):
            assert_same_bits("y_t", stream.step(x_t).copy(), y_t)
        with layer.edit() as p:  # new weights arrive at the next reset
            for name in layer.state_names:
                p[name + "0"] *= 2
            stream.reset()
    stream.reset(problem.state)
    assert_same_bits("y_t", stream.step(problem.x[0]).copy(), layer(problem.x, problem.state)[0][0])


def test_learned_parameters():
    """Names, shapes, order; zeros at first, and the same draws as without them."""
    lstm = fr.LSTM(2, 5, 3, proj_size=2, bidirectional=True, learn_state=True, rng=0)
    plain = fr.LSTM(2, 5, 3, proj_size=2, bidirectional=True, rng=0)
    assert list(lstm.parameters) == [*plain.parameters, "h0", "c0"] == list(lstm.grads)
    assert lstm.parameters["h0"].shape == (6, 2) and lstm.parameters["c0"].shape == (6, 5)
    assert not lstm.parameters["h0"].any() and not lstm.parameters["c0"].any()
    for name, array in plain.parameters.items():
        assert_same_bits(name, lstm.parameters[name], array)
    assert lstm.rng.bit_generator.state == plain.rng.bit_generator.state
    assert list(fr.SRU(3, 3, learn_state=True).parameters)[-1] == "c0"
    assert "h0" not in fr.SRU(3, 3, learn_state=True).parameters
    assert list(fr.GRU(3, 3, learn_state=True).parameters)[-1] == "h0"


def test_states_are_learned():
    """An optimiser moves them to where the outputs should be."""
    gru = fr.GRU(2, 3, learn_state=True, dtype="float64", rng=0)
    wanted = fr.GRU(2, 3, dtype="float64", rng=0)(np.zeros((1, 1, 2)), np.full((1, 1, 3), 0.5))[1]
    optimiser = fr.optim.Adam(gru, lr=0.05)
    for _ in range(200):
        y, _, pullback = gru.vjp(np.zeros((1, 1, 2)))
        loss, dy = fr.losses.mse_loss(y, wanted)
        pullback(dy)
        optimiser.step()
        optimiser.zero_grad()
    assert loss < 1e-4 and gru.parameters["h0"].any()


# ---------------------------------------------------------------- sequences of cell states


@pytest.mark.parametrize("name", WITH_CELLS)
def test_cell_states_of_a_call(name):
    """Step by step the c of the state, to the bit, on any number of threads; the other results are those without."""
    for dtype, B in (("float32", 1), ("float64", 6)):
        problem = Problem(name, I=20, H=33, L=2, T=6, B=B, skip="output", return_cell_states=True, dtype=dtype)
        layer = problem.layer
        plain = type(layer)(**layer._config() | {"return_cell_states": False})
        plain.load_state_dict(layer.state_dict())
        y, state = plain(problem.x, problem.state)
        stream, place = layer.stream(B), layer.state_names.index("c")
        stream.reset(problem.state)
        expected = []
        for x_t in problem.x:
            stream.step(x_t)
            expected.append(parts_of(stream.state)[place][-1])
        for threads in (1, 2, 3):
            with dealt_out(threads):
                for result in (layer(problem.x, problem.state), layer.vjp(problem.x, problem.state)):
                    assert_same_bits("y", result[0], y)
                    for ours, theirs in zip(parts_of(result[1]), parts_of(state), strict=True):
                        assert_same_bits("state", ours, theirs)
                    assert_same_bits("c_seq", result[2], np.array(expected))


@pytest.mark.parametrize("name", WITH_CELLS)
def test_a_cell_state_in_the_middle_is_a_final_one(name):
    """The gradient of c_t is that of the final c of the sequence up to t: also where the scale m is held."""
    problem = Problem(name, L=2, return_cell_states=True)
    layer, place = problem.layer, problem.layer.state_names.index("c")
    for t in range(problem.T):
        _, state, c_seq, pullback = layer.vjp(problem.x, problem.state)
        dc_seq = np.zeros_like(c_seq)
        dc_seq[t] = problem.rng.standard_normal(c_seq[t].shape)
        layer.zero_grad()
        dx, dstate0 = pullback(None, dc_seq=dc_seq)
        gradients = {label: gradient.copy() for label, gradient in layer.grads.items()}
        layer.zero_grad()
        final = [None] * len(layer.state_names)
        final[place] = np.stack([np.zeros_like(dc_seq[t]), dc_seq[t]])
        short = layer.vjp(problem.x[: t + 1], problem.state)[3]
        expected_dx, expected = short(None, in_form_of(state, final))
        assert_close("dx", dx[: t + 1], expected_dx, "gradient")
        assert not dx[t + 1 :].any()
        for ours, theirs in zip(parts_of(dstate0), parts_of(expected), strict=True):
            assert_close("dstate0", ours, theirs, "gradient")
        for label, gradient in layer.grads.items():
            assert_close(label, gradients[label], gradient, "gradient")


@pytest.mark.parametrize("B", [1, 9])
@pytest.mark.parametrize("name", WITH_CELLS)
def test_gradients_of_cell_states_on_several_threads(name, B):
    """Against one thread: whoever shares a sequence's units adds dc_seq once."""
    problem = Problem(name, I=17, H=66, L=2, T=7, B=B, ragged=B > 1, bidirectional=True, return_cell_states=True)
    layer, results = problem.layer, []
    dc_seq = problem.rng.standard_normal((problem.T, B, 132))
    for threads in (1, 2, 3):
        with dealt_out(threads):
            layer.zero_grad()
            y, _, _, pullback = layer.vjp(*problem.arguments())
            dx, dstate0 = pullback(np.ones_like(y), dc_seq=dc_seq)
            results.append({"dx": dx, **dict(zip(layer.state_names, parts_of(dstate0))), **layer.grads})
            results[-1] = {label: array.copy() for label, array in results[-1].items()}
    for result in results[1:]:
        for label, array in result.items():
            assert_close(label, array, results[0][label], "gradient")


@pytest.mark.parametrize("name", WITH_CELLS)
def test_cell_states_with_checkpoints(name):
    """And a residual connection: the same bits as without checkpoints."""
    results = []
    for checkpoint in (None, 1):
        problem = Problem(name, I=6, H=6, L=2, T=400, ragged=True, bidirectional=True, merge="mul", skip="residual",
                          return_cell_states=True, dtype="float32", checkpoint=checkpoint)  # fmt: skip
        y, state, c_seq, pullback = problem.layer.vjp(*problem.arguments())
        dx, dstate0 = pullback(np.ones_like(y), problem.random_dstate(), dc_seq=np.ones_like(c_seq))
        results.append([y, *parts_of(state), c_seq, dx, *parts_of(dstate0), *problem.layer.grads.values()])
    for one, other in zip(*results, strict=True):
        assert_same_bits("result", one, other)


def test_cell_states_belong_to_whom():
    """c_seq of a call is the caller's; that of vjp, which backward reads, is read-only, and dc_seq stays what it is."""
    problem = Problem("lstm", batch_first=True, bidirectional=True, return_cell_states=True)
    _, _, c_seq = problem.layer(*problem.arguments())
    assert c_seq.flags.writeable and c_seq.flags.owndata and c_seq.shape == (3, 5, 8)
    y, _, c_seq, pullback = problem.layer.vjp(*problem.arguments())
    with pytest.raises(ValueError):
        c_seq[0] = 0
    dc_seq = np.full(c_seq.shape, 2.0)
    pullback(None, dc_seq=dc_seq)
    assert (dc_seq == 2).all()
    single = Problem("sru", unbatched=True, T=6, return_cell_states=True)
    assert single.layer(*single.arguments())[2].shape == (6, 4)


def test_cell_states_inside_other_modules():
    """Which pass on y and gradients as they do for a layer without."""
    layer, plain = fr.LSTM(3, 4, return_cell_states=True, rng=0), fr.LSTM(3, 4, rng=0)
    x = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32)
    for one, other in zip(*[(model(x), *model.vjp(x)) for model in map(fr.Sequential, (layer, plain))]):
        if isinstance(one, np.ndarray):
            assert_same_bits("y", one, other)
        else:
            assert_same_bits("dx", one(np.ones((6, 2, 4))), other(np.ones((6, 2, 4))))
    results = [fr.tbptt(lstm, x, lambda y, t0: (float(y.sum()), np.ones_like(y)), 2, 4) for lstm in (layer, plain)]
    assert results[0][0] == results[1][0]
    for name, gradient in plain.grads.items():
        assert_same_bits(name, layer.grads[name], gradient)
