"""``TreeLSTM``: against a node at a time, central differences and ``LSTM``; orders, forests, copies, bad input."""

import copy
import pickle

import numpy as np
import pytest
from cases import LAYOUTS, Untouched, dealt_out, on_isa
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn._core import engine
from fastrnn.reference import central_difference, sigmoid


def forest(rng, N, roots=0.2, fan=3):
    """Parents of N nodes in random order; with a large ``fan`` parents are near the root, and have many children."""
    order, parents = rng.permutation(N), np.full(N, -1)
    for place in range(1, N):
        if rng.random() >= roots:
            parents[order[place]] = order[int(place * rng.random() ** fan)]
    return parents


def one_node(p, x, children):
    """``h, c`` of a node from its ``x (I,)`` and its children's ``(h, c)``."""
    W_i, W_f, W_g, W_o = np.split(p["weight_ih_l0"], 4)
    R_i, R_f, R_g, R_o = np.split(p["weight_hh_l0"], 4)
    H = len(W_i)
    b_i, b_f, b_g, b_o = np.split(p.get("bias_ih_l0", np.zeros(4 * H)), 4)
    h_sum, c = np.zeros(H), np.zeros(H)
    for h_k, c_k in children:
        h_sum = h_sum + h_k
        c = c + sigmoid(W_f @ x + R_f @ h_k + b_f) * c_k
    i, o = sigmoid(W_i @ x + R_i @ h_sum + b_i), sigmoid(W_o @ x + R_o @ h_sum + b_o)
    c = c + i * np.tanh(W_g @ x + R_g @ h_sum + b_g)
    return o * np.tanh(c), c


def node_by_node(p, x, parents):
    """``h, c (N, H)`` in float64, by recursion."""
    p = {name: np.asarray(array, np.float64) for name, array in p.items()}
    states = {}

    def visit(node):
        if node not in states:
            below = [visit(kid) for kid in range(len(x)) if parents[kid] == node]
            states[node] = one_node(p, x[node], below)
        return states[node]

    both = [visit(node) for node in range(len(x))]
    H = p["weight_hh_l0"].shape[1]
    h, c = (np.array([state[k] for state in both]).reshape(-1, H) for k in (0, 1))
    return h, c


def drawn(seed, *shape, dtype="float64"):
    """Numbers that float32 holds."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32).astype(dtype)


forests = st.builds(
    lambda seed, N, roots, fan: forest(np.random.default_rng(seed), N, roots, fan),
    st.integers(0, 999), st.integers(0, 14), st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.2, 1, 8]),
)  # fmt: skip


@given(
    parents=forests,
    sizes=st.tuples(st.integers(1, 5), st.sampled_from([1, 2, 5, 17])),
    bias=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    layout=st.sampled_from(sorted({*LAYOUTS} - {"other dtype"})),
)
def test_states_are_those_of_a_node_at_a_time(parents, sizes, bias, dtype, layout):
    I, H = sizes
    tree = fr.TreeLSTM(I, H, bias=bias, dtype=dtype, rng=1)
    x = drawn(2, len(parents), I, dtype=dtype)
    given_x, given_parents = LAYOUTS[layout](x), LAYOUTS[layout](parents)
    with Untouched(given_x, given_parents):
        h, c = tree(given_x, given_parents)
        vjp_h, vjp_c, _ = tree.vjp(given_x, given_parents)
    expected_h, expected_c = node_by_node(tree.parameters, x, parents)
    assert_close("h", h, expected_h, "forward", dtype)
    assert_close("c", c, expected_c, "forward", dtype)
    assert_same_bits("h of vjp", vjp_h, h)
    assert_same_bits("c of vjp", vjp_c, c)
    assert h.flags.writeable and not vjp_h.flags.writeable and not vjp_c.flags.writeable


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("given_gradients", ["both", "dh", "dc"])
@pytest.mark.parametrize("seed, roots, fan", [(0, 0.2, 1), (1, 0.0, 0.2), (2, 0.0, 8), (3, 1.0, 1)])
def test_central_differences(seed, roots, fan, given_gradients, bias):
    """Of a loss on all of ``h`` and ``c``, in x and every parameter: of the recursion, not of the engine."""
    N, I, H = 7, 2, 3
    parents = forest(np.random.default_rng(seed), N, roots, fan)
    tree = fr.TreeLSTM(I, H, bias=bias, dtype="float64", rng=seed)
    x, weights = drawn(seed, N, I), tree.state_dict()
    dh = drawn(seed + 1, N, H) if given_gradients != "dc" else None
    dc = drawn(seed + 2, N, H) if given_gradients != "dh" else None

    def loss(p, x):
        return sum((s * d).sum() for s, d in zip(node_by_node(p, x, parents), (dh, dc)) if d is not None)

    _, _, pullback = tree.vjp(x, parents)
    dx = pullback(dh, dc)
    assert_close("dx", dx, central_difference(lambda z: loss(weights, z), x), "numeric")
    assert list(tree.grads) == list(weights)
    for name, array in weights.items():
        numeric = central_difference(lambda z, name=name: loss({**weights, name: z}, x), array)
        assert_close(name, tree.grads[name], numeric, "numeric")


@given(parents=forests, H=st.sampled_from([1, 3, 16, 33]))
def test_gradients_in_float32(parents, H):
    """Those of float64, whose own are compared with central differences."""
    single, double = (fr.TreeLSTM(3, H, dtype=dtype, rng=0) for dtype in ("float32", "float64"))
    double.load_state_dict(single.state_dict())
    x, dh, dc = drawn(1, len(parents), 3), drawn(2, len(parents), H), drawn(3, len(parents), H)
    dx, exact = (tree.vjp(x, parents)[2](dh, dc) for tree in (single, double))
    assert_close("dx", dx, exact, "gradient", "float32")
    for name in single.grads:
        assert_close(name, single.grads[name], double.grads[name], "gradient", "float32")


def slope_along(tree, x, parents, name, direction, dh, dc):
    """Numeric: of ``<h, dh> + <c, dc>`` of the recursion, in x or a parameter, along a direction."""
    inputs = {"x": x, **tree.state_dict()}

    def loss(t):
        moved = {**inputs, name: inputs[name] + t[0] * direction}
        return sum((s * d).sum() for s, d in zip(node_by_node(moved, moved["x"], parents), (dh, dc)))

    return central_difference(loss, np.zeros(1))


@pytest.mark.smoke
@pytest.mark.parametrize("isa", engine.isas())
@pytest.mark.parametrize("H", [1, 3, 16, 67])
def test_every_instruction_set(H, isa):
    """From one unit to several panels with a tail: float64 against the recursion, float32 against float64."""
    parents, x, dh, dc = forest(np.random.default_rng(0), 23), drawn(1, 23, 5), drawn(2, 23, H), drawn(3, 23, H)
    with on_isa(isa):
        single, double = (fr.TreeLSTM(5, H, dtype=dtype, rng=H) for dtype in ("float32", "float64"))
        double.load_state_dict(single.state_dict())
        given, exact = ({"x": t.vjp(x, parents)[2](dh, dc), **t.grads} for t in (single, double))
        for tree in (single, double):
            for name, state, expected in zip("hc", tree(x, parents), node_by_node(tree.parameters, x, parents)):
                assert_close(name, state, expected, "forward", tree.dtype)
    for n, name in enumerate(exact):
        assert_close(name, given[name], exact[name], "gradient", "float32")
        direction = drawn(n, *exact[name].shape) / exact[name].size ** 0.5
        slope = slope_along(double, x, parents, name, direction, dh, dc)
        assert_close(name, np.array([(exact[name] * direction).sum()]), slope, "numeric")


def test_wide_levels_and_every_way_to_deal_them():
    """More nodes in a level and in all than are worked on at a time; threads have parts of each: the same states."""
    parents = np.concatenate([np.arange(700) // 3 + 700, np.full(234, 934), [-1]])
    tree, x, dh = fr.TreeLSTM(4, 21, dtype="float64", rng=0), drawn(0, 935, 4), drawn(1, 935, 21)
    h, c, pullback = tree.vjp(x, parents)
    dx, grads = pullback(dh), {name: gradient.copy() for name, gradient in tree.grads.items()}
    expected_h, expected_c = node_by_node(tree.parameters, x, parents)
    assert_close("h", h, expected_h, "forward")
    assert_close("c", c, expected_c, "forward")
    for threads in (2, 3):
        tree.zero_grad()
        with dealt_out(threads):
            other_h, other_c, other = tree.vjp(x, parents)
            other_dx = other(dh)
        assert_same_bits("h", other_h, h)
        assert_same_bits("c", other_c, c)
        assert_same_bits("dx", other_dx, dx)
        for name, gradient in grads.items():
            assert_close(name, tree.grads[name], gradient, "gradient")


def lstm_of(tree):
    """The LSTM with a tree's weights."""
    lstm = fr.LSTM(tree.input_size, tree.hidden_size, dtype=tree.dtype)
    zeros = np.zeros(4 * tree.hidden_size)
    lstm.load_state_dict({**tree.state_dict(), "bias_hh_l0": zeros})
    return lstm


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_chain_of_1000_nodes_is_an_lstm(dtype):
    """In the order of time, and in any other."""
    T, I, H = 1000, 3, 5
    tree = fr.TreeLSTM(I, H, dtype=dtype, rng=0)
    lstm = lstm_of(tree)
    x, dh, dc = drawn(1, T, I, dtype=dtype), drawn(2, T, H, dtype=dtype), np.zeros((T, H), dtype)
    dc[-1] = drawn(3, H)
    y, (_, last), through_time = lstm.vjp(x)
    expected_dx, _ = through_time(dh, (None, dc[-1:]))
    for order in (np.arange(T), np.random.default_rng(0).permutation(T)):
        parents = np.empty(T, int)
        parents[order] = np.append(order[1:], -1)
        given_x, given_dh, given_dc = (np.empty_like(array) for array in (x, dh, dc))
        given_x[order], given_dh[order], given_dc[order] = x, dh, dc
        tree.zero_grad()
        h, c, pullback = tree.vjp(given_x, parents)
        dx = pullback(given_dh, given_dc)
        assert_close("h", h[order], y, "forward")
        assert_close("c", c[order[-1:]], last, "forward")
        assert_close("dx", dx[order], expected_dx, "gradient")
        for name in tree.grads:
            assert_close(name, tree.grads[name], lstm.grads[name], "gradient")


def test_the_order_of_the_nodes_does_not_matter():
    rng = np.random.default_rng(0)
    N, parents = 60, forest(np.random.default_rng(0), 60)
    tree, x, dh = fr.TreeLSTM(4, 8, dtype="float64", rng=0), drawn(1, N, 4), drawn(2, N, 8)
    h, c, pullback = tree.vjp(x, parents)
    dx, grads = pullback(dh), {name: gradient.copy() for name, gradient in tree.grads.items()}
    for _ in range(5):
        order = rng.permutation(N)  # node order[n] becomes node n
        place = np.argsort(order)
        renamed = np.where(parents[order] < 0, -1, place[parents[order]])
        tree.zero_grad()
        other_h, other_c, other_pullback = tree.vjp(x[order], renamed)
        other_dx = other_pullback(dh[order])
        assert_close("h", other_h, h[order], "forward")
        assert_close("c", other_c, c[order], "forward")
        assert_close("dx", other_dx, dx[order], "gradient")
        for name, gradient in grads.items():
            assert_close(name, tree.grads[name], gradient, "gradient")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_trees_of_a_forest_do_not_see_each_other(dtype):
    """Each has the bits that it has alone, also beside NaN and trees that are higher and wider."""
    rng = np.random.default_rng(0)
    tree = fr.TreeLSTM(3, 9, dtype=dtype, rng=0)
    parts = [forest(rng, N, 0.0, fan) for N, fan in ((1, 1), (12, 1), (30, 0.1), (40, 9), (2, 1))]
    xs = [drawn(n, len(part), 3, dtype=dtype) for n, part in enumerate(parts)]
    dhs = [drawn(n + 9, len(part), 9, dtype=dtype) for n, part in enumerate(parts)]
    xs[2][:] = np.nan
    offsets = np.cumsum([0, *map(len, parts)])
    parents = np.concatenate([np.where(part < 0, -1, part + offset) for part, offset in zip(parts, offsets)])
    h, c, pullback = tree.vjp(np.concatenate(xs), parents)
    dx = pullback(np.concatenate(dhs))
    for part, x, dh, start, end in zip(parts, xs, dhs, offsets, offsets[1:]):
        alone_h, alone_c, alone = tree.vjp(x, part)
        assert_same_bits("h", h[start:end], alone_h)
        assert_same_bits("c", c[start:end], alone_c)
        assert_same_bits("dx", dx[start:end], alone(dh))
    assert np.isnan(h[13:43]).all() and not np.isnan(np.delete(h, slice(13, 43), 0)).any()


def test_the_gradient_of_one_root_stays_in_its_tree():
    tree, parents = fr.TreeLSTM(2, 3, dtype="float64", rng=0), np.array([2, 2, -1, 4, -1, 2])
    dh = np.zeros((6, 3))
    dh[2] = 1
    dx = tree.vjp(drawn(0, 6, 2), parents)[2](dh)
    assert dx.any(axis=1).tolist() == [True, True, True, False, False, True]


def test_reproducible_whatever_the_number_of_threads():
    parents = forest(np.random.default_rng(0), 400)
    x, dh = drawn(0, 400, 64, dtype="float32"), drawn(1, 400, 128, dtype="float32")
    results = []
    for threads in (1, 2, 2):
        tree = fr.TreeLSTM(64, 128, rng=0)
        with fr.num_threads(threads):
            h, c, pullback = tree.vjp(x, parents)
            results.append([h, c, pullback(dh), *tree.grads.values()])
    for one, two, again in zip(*results):
        assert_same_bits("result", two, again)
        assert_close("result", two, one, "gradient")
    for one, two in zip(results[0][:2], results[1]):
        assert_same_bits("state", two, one)


def test_gradients_add_up_and_several_pullbacks_live():
    tree, parents, x = fr.TreeLSTM(2, 3, dtype="float64", rng=0), [1, -1, 1], drawn(0, 3, 2)
    first, second = tree.vjp(x, parents)[2], tree.vjp(x, parents)[2]
    second(np.ones((3, 3)))
    once = {name: gradient.copy() for name, gradient in tree.grads.items()}
    first(np.ones((3, 3)))
    for name, gradient in tree.grads.items():
        assert_close(name, gradient, 2 * once[name], "gradient")
        assert once[name].any()


def test_packed_weights_follow_the_parameters():
    """Forward and backward after a change are those of a tree that was made with the new values."""
    trees = [fr.TreeLSTM(2, 3, dtype="float64", rng=seed) for seed in (0, 1)]
    x, dh, parents = drawn(0, 3, 2), drawn(1, 3, 3), [2, 2, -1]
    trees[0].vjp(x, parents)[2](dh)
    trees[0].load_state_dict(trees[1].state_dict())
    (h, _, ours), (expected, _, theirs) = (tree.vjp(x, parents) for tree in trees)
    assert_same_bits("h", h, expected)
    assert_same_bits("dx", ours(dh), theirs(dh))


def test_what_the_caller_changes_later_does_not_matter():
    tree = fr.TreeLSTM(2, 3, dtype="float64", rng=0)
    x, parents, dh = drawn(0, 3, 2), np.array([1, -1, 1]), np.ones((3, 3))
    expected = tree.vjp(x, parents)[2](dh)
    _, _, pullback = tree.vjp(x, parents)
    x[:], parents[:] = 7, -1
    assert_same_bits("dx", pullback(dh), expected)
    assert (dh == 1).all()


@pytest.mark.parametrize("parents", [[], [-1], [-1, -1, -1]])
def test_no_nodes_or_no_children(parents):
    tree, N = fr.TreeLSTM(2, 3, rng=0), len(parents)
    h, c, pullback = tree.vjp(np.ones((N, 2)), parents)
    dx = pullback(np.ones((N, 3)), np.ones((N, 3)))
    assert h.shape == c.shape == (N, 3) and dx.shape == (N, 2)
    assert h.dtype == c.dtype == dx.dtype == np.float32
    assert not tree.grads["weight_hh_l0"].any() and tree.grads["weight_ih_l0"].any() == (N > 0)


def test_a_node_with_many_children():
    tree = fr.TreeLSTM(2, 3, dtype="float64", rng=0)
    x, parents = drawn(0, 301, 2) / 100, np.append(np.full(300, 300), -1)
    h, c = tree(x, parents)
    expected_h, expected_c = node_by_node(tree.parameters, x, parents)
    assert_close("h", h, expected_h, "forward")
    assert_close("c", c, expected_c, "forward")


# -- a module -------------------------------------------------------------------------------


def test_parameters():
    tree = fr.TreeLSTM(2, 100, rng=0)
    shapes = {name: array.shape for name, array in tree.parameters.items()}
    assert shapes == {"weight_ih_l0": (400, 2), "weight_hh_l0": (400, 100), "bias_ih_l0": (400,)}
    assert list(fr.TreeLSTM(2, 3, bias=False).parameters) == ["weight_ih_l0", "weight_hh_l0"]
    for array in tree.parameters.values():
        assert abs(array).max() <= 0.1 and array.min() < -0.09 and array.max() > 0.09
    assert repr(fr.TreeLSTM(2, 3)).startswith("TreeLSTM(input_size=2, hidden_size=3, bias=True, dtype='float32')")


def saved_and_loaded(tree, folder):
    fr.save(folder / "tree.safetensors", tree)
    return fr.load(folder / "tree.safetensors")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "file"])
def test_copies(way, bias, tmp_path):
    tree = fr.TreeLSTM(2, 3, bias=bias, dtype="float64", rng=0)
    ways = {"deepcopy": copy.deepcopy, "pickle": lambda t: pickle.loads(pickle.dumps(t)),
            "file": lambda t: saved_and_loaded(t, tmp_path)}  # fmt: skip
    other, x, parents = ways[way](tree), drawn(0, 3, 2), [2, 2, -1]
    assert repr(other) == repr(tree)
    for ours, theirs in zip(other(x, parents), tree(x, parents)):
        assert_same_bits("state", ours, theirs)


def test_it_learns():
    """The sum of the leaves, read at the root: through an optimiser and a head."""
    rng = np.random.default_rng(0)
    parents = np.concatenate([[4, 4, 5, 5, 6, 6, -1] + 7 * n * (np.arange(7) < 6) for n in range(32)])
    x = np.where(np.arange(224) % 7 < 4, rng.standard_normal(224), 0)[:, None]
    target = x.reshape(32, 7).sum(axis=1, keepdims=True)
    tree, head = fr.TreeLSTM(1, 16, rng=0), fr.Linear(16, 1, rng=0)
    optimiser, losses = fr.optim.Adam([tree, head], lr=0.02), []
    for _ in range(150):
        h, _, pull_tree = tree.vjp(x, parents)
        prediction, pull_head = head.vjp(h[6::7])
        loss, gradient = fr.losses.mse_loss(prediction, target)
        dh = np.zeros_like(h)
        dh[6::7] = pull_head(gradient)
        pull_tree(dh)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss)
    assert losses[-1] < losses[0] / 20


# -- bad input ------------------------------------------------------------------------------

TREE, X = fr.TreeLSTM(2, 3, rng=0), np.zeros((4, 2))
BAD = {
    "input_size": (lambda: fr.TreeLSTM(0, 3), ValueError, "input_size: .*0"),
    "hidden_size": (lambda: fr.TreeLSTM(2, 3.0), TypeError, "hidden_size: .*3.0"),
    "hidden_size enormous": (lambda: fr.TreeLSTM(2, 2**40), ValueError, "hidden_size: "),
    "bias": (lambda: fr.TreeLSTM(2, 3, bias=1), TypeError, "bias: .*1"),
    "dtype": (lambda: fr.TreeLSTM(2, 3, dtype="float16"), ValueError, "dtype: .*float16"),
    "rng": (lambda: fr.TreeLSTM(2, 3, rng="0"), TypeError, "rng: .*'0'"),
    "x of another width": (lambda: TREE(np.zeros((4, 3)), [-1] * 4), ValueError, r"x: .*\(N, 2\).*\(4, 3\)"),
    "x batched": (lambda: TREE(np.zeros((4, 1, 2)), [-1] * 4), ValueError, r"x: .*\(4, 1, 2\)"),
    "x complex": (lambda: TREE(X * 1j, [-1] * 4), TypeError, "x: .*complex128"),
    "x None": (lambda: TREE(None, [-1]), TypeError, "x: .*None"),
    "parents too few": (lambda: TREE(X, [-1]), ValueError, r"parents: .*\(4,\).*\(1,\)"),
    "parents 2-D": (lambda: TREE(X, [[-1] * 4]), ValueError, r"parents: .*\(1, 4\)"),
    "parents floats": (lambda: TREE(X, [-1.0] * 4), TypeError, "parents: .*float64"),
    "parents None": (lambda: TREE(X, None), TypeError, "parents: .*None"),
    "parents past N": (lambda: TREE(X, [1, 2, 4, -1]), ValueError, "parents: .*0..3.*4"),
    "parents below -1": (lambda: TREE(X, [1, 2, -2, -1]), ValueError, "parents: .*-1 for a root.*-2"),
    "parents enormous": (lambda: TREE(X, np.array([2**64 - 1] * 4, "u8")), ValueError, "parents: .*0..3.*1844674"),
    "its own parent": (lambda: TREE(X, [1, 1, -1, -1]), ValueError, "parents: .*cycle through node 1"),
    "a cycle": (lambda: TREE(X, [3, 2, 1, -1]), ValueError, "parents: .*cycle through node 1"),
    "all a cycle": (lambda: TREE.vjp(X, [1, 2, 3, 0]), ValueError, "parents: .*cycle through node 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()


def test_pullbacks():
    """Refused gradients change nothing and leave it usable; it is called once, and not after a change."""
    tree = fr.TreeLSTM(2, 3, rng=0)
    _, _, pullback = tree.vjp(X, [-1] * 4)
    for name, arguments in {"dh": (np.zeros((4, 2)),), "dc": (np.zeros((4, 3)), np.zeros(3))}.items():
        with pytest.raises(ValueError, match=rf"{name}: .*\(4, 3\)"):
            pullback(*arguments)
    with pytest.raises(TypeError, match="dc: .*complex"):
        pullback(None, np.zeros((4, 3), complex))
    assert not any(gradient.any() for gradient in tree.grads.values())
    assert not pullback(None).any()
    with pytest.raises(RuntimeError, match="before"):
        pullback(None)
    _, _, stale = tree.vjp(X, [-1] * 4)
    tree.parameters["bias_ih_l0"] = np.zeros(12)
    with pytest.raises(RuntimeError, match="changed"):
        stale(np.ones((4, 3)))
    with tree.edit() as p:
        p["bias_ih_l0"][6:9] = 1  # g = tanh(1), i = o = 1/2
        h, c = tree(np.zeros((1, 2)), [-1])
    assert_close("c", c, np.full((1, 3), np.tanh(1) / 2), "forward")
