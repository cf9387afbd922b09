"""The oracle's stacks: how directions and layers are joined, masks inside a call, learned states, cell states."""

from dataclasses import replace

import numpy as np
import pytest
from differences import CELLS, Problem, check
from tolerance import assert_close

from fastrnn import reference
from fastrnn.reference import Spec


#: Those in which h enters a product.
RECURRENT = ["rnn residual", "rnn norm", "lstm", "lstm peephole", "lstm norm", "coupled", "gru", "gru norm", "cho",
             "cho norm", "mgu", "mut1", "mut2", "mut3", "indrnn", "fastrnn", "fastgrnn", "multiplicative_lstm",
             "slstm"]  # fmt: skip


@pytest.mark.parametrize("cell", RECURRENT)
def test_gradients_under_masks(cell):
    kind, options = CELLS[cell]
    check(Problem(kind, noise=True, **options))


STACKS = {
    "sum": {"merge": "sum"},
    "mean": {"merge": "mean", "given": False},
    "mul": {"merge": "mul", "noise": True},
    "input": {"skip": "input", "merge": "mean", "noise": True},
    "output": {"skip": "output"},
    "residual": {"skip": "residual", "merge": "sum"},
    "residual everywhere": {"skip": "residual", "input_size": 2, "bidirectional": False},
    "residual of mul": {"skip": "residual", "input_size": 2, "merge": "mul", "noise": True},
    "learned": {"learn_state": True, "given": False},
    "learned and not used": {"learn_state": True},
    "zoneout in inference": {"zoneout": (0.2, 0.6)},
}


@pytest.mark.parametrize("name", STACKS)
def test_gradients_of_joined_layers(name):
    """Two layers with dropout between them."""
    options = {"num_layers": 2, "hidden_size": 2, "input_size": 1, "dropout": True} | STACKS[name]
    check(Problem("lstm", **options))


def test_gradients_of_three_layers():
    for skip in ("input", "output", "residual"):
        check(Problem("rnn", num_layers=3, hidden_size=2, bidirectional=False, skip=skip, dropout=True))


@pytest.mark.parametrize("kind", ["rnn", "gru", "sru"])
def test_gradients_of_learned_states(kind):
    zoneout = 0.3 if kind != "sru" else None
    check(Problem(kind, learn_state=True, given=False, zoneout=zoneout))


# ---- What differences cannot see ----------------------------------------------------------------

MERGES = {
    "concat": lambda a, b: np.concatenate([a, b], axis=2),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}


def by_hand(problem):
    """y of a stack from calls of single layers, joined as the names say."""
    spec, x, masks = problem.spec, problem.x, problem.masks
    inside = np.arange(problem.T)[:, None, None] < np.array(problem.lengths)[:, None]
    x = np.where(inside, x, 0)
    u, below, outputs = x, x, []
    for layer in range(spec.num_layers):
        one = replace(spec, num_layers=1, merge="concat", skip="none", input_size=u.shape[2])
        names = [name for name in problem.parameters if f"_l{layer}" in name]
        params = {name.replace(f"_l{layer}", "_l0"): problem.parameters[name] for name in names}
        rows = slice(layer * spec.directions, (layer + 1) * spec.directions)
        y, _, _ = reference.forward(one, params, u, tuple(part[rows] for part in problem.state), problem.lengths)
        y = MERGES[spec.merge](*np.split(y, 2, axis=2)) if spec.bidirectional else y
        dropped = y * masks[layer] if layer < spec.num_layers - 1 else y
        if spec.skip == "residual":
            y = dropped = below + dropped if below.shape == dropped.shape else dropped
        outputs.append(y)
        u = np.concatenate([dropped, x], axis=2) if spec.skip == "input" else dropped
        below = y
    return np.concatenate(outputs, axis=2) if spec.skip == "output" else outputs[-1]


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("skip", ["none", "input", "output", "residual"])
@pytest.mark.parametrize("D", [1, 2])
def test_joined_layers(merge, skip, D):
    I = 4 if skip == "residual" and merge == "mul" else 3
    sizes = {"input_size": I, "hidden_size": 4, "num_layers": 3, "bidirectional": D == 2}
    problem = Problem("lstm", dropout=True, merge=merge, skip=skip, **sizes)
    expected = by_hand(problem)
    assert expected.shape[2] == problem.spec.total_output_size
    assert_close("y", problem.run()[0], expected, "forward")


@pytest.mark.parametrize("skip", ["none", "input", "output", "residual"])
def test_nothing_past_a_length_is_read(skip):
    """NaN in x, dy, dc_seq and every mask past the lengths changes nothing, and all is 0 there."""
    sizes = {"input_size": 4, "hidden_size": 4, "num_layers": 3}
    problem = Problem("lstm", dropout=True, noise=True, merge="mean", skip=skip, **sizes)
    y, _, tape = problem.run()
    gradients, c_seq = problem.gradients(), tape.c_seq
    past = np.arange(problem.T)[:, None] >= np.array(problem.lengths)
    for array in (problem.x, problem.dy, problem.dc_seq, *problem.masks, *sum(problem.noise.zoneout, ())):
        array[past] = np.nan
    again, _, tape = problem.run()
    assert not again[past].any() and not tape.c_seq[past].any()
    assert_close("y", again, y, "forward")
    assert_close("c_seq", tape.c_seq, c_seq, "forward")
    for name, gradient in problem.gradients().items():
        assert_close(name, gradient, gradients[name], "gradient")


def test_c_seq_is_the_cell_state_of_the_last_layer():
    """Step by step that of a layer by itself: forward direction first, then the reverse one."""
    problem = Problem("lstm", num_layers=2, merge="sum")
    _, (_, c), tape = problem.run()
    for b, length in enumerate(problem.lengths):
        assert_close("forward", tape.c_seq[length - 1, b, :3], c[2, b], "forward")
        assert_close("reverse", tape.c_seq[0, b, 3:], c[3, b], "forward")
    one_way = Problem("lstm", bidirectional=False)
    _, _, tape = one_way.run()
    _, (_, c), _ = reference.forward(one_way.spec, one_way.parameters, one_way.x[:2], one_way.state)
    assert_close("step", tape.c_seq[1, :1], c[0, :1], "forward")


@pytest.mark.parametrize("options", [{}, {"proj_size": 2, "peephole": True}])
def test_zoneout(options):
    """Masked steps by hand; without masks the mean takes their place."""
    problem = Problem("lstm", noise=True, bidirectional=False, **options)
    spec, (e_h, e_c) = problem.spec, problem.noise.zoneout[0]
    for noise, zoneout in ((reference.Noise(zoneout=[(e_h, e_c)]), (0.5, 0.5)), (reference.Noise(), (0.3, 0.1))):
        y, (h_last, c_last), _ = reference.forward(
            replace(spec, zoneout=zoneout), problem.parameters, problem.x, problem.state, noise=noise
        )
        h, c = problem.state
        for t in range(problem.T):
            a, b = (e_h[t], e_c[t]) if noise.zoneout else zoneout
            _, (h_new, c_new), _ = reference.forward(spec, problem.parameters, problem.x[t : t + 1], (h, c))
            h, c = a * h + (1 - a) * h_new, b * c + (1 - b) * c_new
            assert_close(f"y{t}", y[t], h[0], "forward")
        assert_close("h", h_last, h, "forward")
        assert_close("c", c_last, c, "forward")


@pytest.mark.parametrize("cell", RECURRENT)
def test_recurrent_dropout_scales_columns(cell):
    """For one sequence a mask on h that enters a product is one on the columns of the weight it meets."""
    kind, options = CELLS[cell]
    spec = Spec(kind, 3, 3, **options)
    rng = np.random.default_rng(0)
    params = reference.random_parameters(spec, rng)
    x, state = rng.standard_normal((4, 1, 3)), reference.random_state(spec, rng, 1)
    values = [0.0, 1.0, 1.0] if kind == "mut3" else [0.0, 4 / 3, 4 / 3]  # tanh of a mask is one only of 0 and 1
    row = np.array(values[: spec.output_size])
    y, _, _ = reference.forward(spec, params, x, state, noise=reference.Noise(recurrent=[row[None]]))
    name = "weight_mh_l0" if kind == "multiplicative_lstm" else "weight_hh_l0"
    expected, _, _ = reference.forward(spec, params | {name: params[name] * row}, x, state)
    assert_close("y", y, expected, "forward")
    plain, _, _ = reference.forward(spec, params, x, state)
    assert not np.allclose(y, plain)


def test_weight_drop_and_input_dropout():
    """One mask on the weight; one mask on the input for all steps, of each layer."""
    problem = Problem("gru", noise=True, num_layers=2, bidirectional=False)
    noise = problem.noise._replace(zoneout=None, recurrent=None)
    params = dict(problem.parameters)
    for layer in range(2):
        params[f"weight_hh_l{layer}"] = params[f"weight_hh_l{layer}"] * noise.weights[layer]
    y, _, _ = reference.forward(problem.spec, problem.parameters, problem.x, noise=noise)
    u = problem.x
    for layer in range(2):
        one = {name.replace(f"_l{layer}", "_l0"): array for name, array in params.items() if f"_l{layer}" in name}
        spec = Spec("gru", u.shape[2], 3)
        u, _, _ = reference.forward(spec, one, u * noise.inputs[layer])
    assert_close("y", y, u, "forward")


def test_learned_states_are_used_without_a_state():
    spec = Spec("lstm", 2, 3, num_layers=2, bidirectional=True, proj_size=2, learn_state=True)
    shapes = reference.parameter_shapes(spec)
    assert list(shapes)[-2:] == ["h0", "c0"] and shapes["h0"] == (4, 2) and shapes["c0"] == (4, 3)
    rng = np.random.default_rng(0)
    params, x = reference.random_parameters(spec, rng), rng.standard_normal((3, 5, 2))
    y, _, tape = reference.forward(spec, params, x)
    state = tuple(np.repeat(params[name][:, None], 5, axis=1) for name in ("h0", "c0"))
    expected, _, other = reference.forward(spec, params, x, state)
    assert_close("y", y, expected, "forward")
    _, dstate0, grads = reference.backward(spec, params, tape, np.ones_like(y))
    assert_close("h0", grads["h0"], dstate0[0].sum(axis=1), "gradient")
    _, _, grads = reference.backward(spec, params, other, np.ones_like(y))
    assert not grads["h0"].any() and not grads["c0"].any()
