"""``Embedding``, ``Linear``, ``Dropout``, ``Sequential``: values, gradients, rules, bad input."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.params import Module

LEADING = [(), (1,), (4,), (0,), (3, 2), (2, 0), (2, 3, 2)]


def drawn(seed, *shape, dtype="float64"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def awkward(array, form):
    """The same numbers in a form that is not plain."""
    if form == "reversed":
        return array[..., ::-1].copy()[..., ::-1]
    if form == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    if form == "unaligned":
        raw = np.zeros(array.nbytes + 1, np.uint8)
        view = raw[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view
    if form == "read-only":
        array = array.copy()
        array.flags.writeable = False
        return array
    return np.asfortranarray(array)


FORMS = ["reversed", "big-endian", "unaligned", "read-only", "fortran"]


# -- Linear ---------------------------------------------------------------------------------


@given(
    leading=st.sampled_from(LEADING),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bias=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    form=st.sampled_from(FORMS),
    seed=st.integers(0, 99),
)
def test_linear_and_its_gradients(leading, sizes, bias, dtype, form, seed):
    I, O = sizes
    layer = fr.Linear(I, O, bias, dtype=dtype, rng=seed)
    x, dy = drawn(seed, *leading, I, dtype=dtype), drawn(seed + 1, *leading, O, dtype=dtype)
    W = layer.parameters["weight"].astype(np.float64)
    b = layer.parameters["bias"].astype(np.float64) if bias else 0
    given_x = awkward(x, form)
    y, pullback = layer.vjp(given_x)
    dx = pullback(awkward(dy, form))
    assert_close("y", y, np.einsum("...i,oi->...o", x.astype(np.float64), W) + b, "forward", dtype)
    assert_same_bits("y of the call", layer(x), y)
    assert_close("dx", dx, np.einsum("...o,oi->...i", dy.astype(np.float64), W), "gradient", dtype)
    rows, d_rows = x.reshape(-1, I).astype(np.float64), dy.reshape(-1, O).astype(np.float64)
    assert_close("dW", layer.grads["weight"], d_rows.T @ rows, "gradient", dtype)
    if bias:
        assert_close("db", layer.grads["bias"], d_rows.sum(0), "gradient", dtype)
    assert_same_bits("x", np.ascontiguousarray(given_x, dtype), x)


def test_linear_is_initialised_as_in_torch():
    layer = fr.Linear(16, 500, rng=0)
    for array in layer.parameters.values():
        assert array.min() < -0.24 and array.max() > 0.24 and abs(array).max() <= 0.25
    again = fr.Linear(16, 500, rng=np.random.default_rng(0))
    assert_same_bits("weight", again.parameters["weight"], layer.parameters["weight"])
    other = fr.Linear(16, 500)
    assert (other.parameters["weight"] != layer.parameters["weight"]).any()


def test_gradients_add_up():
    layer, x = fr.Linear(3, 2, dtype="float64"), drawn(0, 5, 3)
    first, second = layer.vjp(x)[1], layer.vjp(2 * x)[1]  # several may be alive at once
    second(np.ones((5, 2)))
    first(np.ones((5, 2)))
    assert_close("dW", layer.grads["weight"], np.tile(3 * x.sum(0), (2, 1)), "gradient")
    assert (layer.grads["bias"] == 10).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "float16"])
def test_results_have_the_dtype_of_the_block(dtype):
    layer = fr.Linear(3, 2)
    y, pullback = layer.vjp(np.ones((4, 3), dtype))
    assert y.dtype == np.float32 and pullback(np.ones((4, 2), dtype)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("I", "O"), [(3, 1), (40, 70), (600, 100)])
def test_linear_of_few_rows_has_the_bits_of_many(I, O, dtype):
    """Also after its weights were changed: what it keeps packed is never stale."""
    layer, x = fr.Linear(I, O, dtype=dtype, rng=0), drawn(1, 40, I, dtype=dtype)
    for change in (lambda: None, lambda: layer.load_state_dict(fr.Linear(I, O, dtype=dtype, rng=7).state_dict())):
        change()
        many = layer(x)
        for rows in (1, 2, 7, 16):
            assert_same_bits(f"{rows} rows", layer(x[:rows]), many[:rows])
        assert_same_bits("one row", copy.deepcopy(layer)(x[3]), many[3])


# -- Embedding ------------------------------------------------------------------------------


@given(
    count=st.integers(1, 30),
    width=st.integers(1, 5),
    shape=st.sampled_from([(), (0,), (1,), (7,), (60,), (5, 40), (3, 0, 2)]),
    kind=st.sampled_from(["int64", "uint8", "int8", ">i4", "uint64"]),
    seed=st.integers(0, 99),
    skewed=st.booleans(),
)
def test_embedding_and_its_gradient(count, width, shape, kind, seed, skewed):
    table = fr.Embedding(count, width, dtype="float64", rng=seed)
    rng = np.random.default_rng(seed)
    index = (count * rng.random(shape) ** (8 if skewed else 1)).astype(kind)
    W = table.parameters["weight"]
    y, pullback = table.vjp(index)
    assert_same_bits("y", y, W[index.astype(int)])
    assert_same_bits("y of the call", table(index), W[index.astype(int)])
    dy = rng.standard_normal(y.shape)
    assert pullback(dy) is None
    expected = np.zeros((count, width))
    np.add.at(expected, index.astype(int).ravel(), dy.reshape(-1, width))
    assert_close("dW", table.grads["weight"], expected, "gradient")


def test_embedding_gradients_are_reproducible():
    index = np.random.default_rng(0).zipf(1.3, 3000) % 50
    dy = drawn(1, 3000, 6, dtype="float32")
    tables = [fr.Embedding(50, 6) for _ in range(2)]
    for table in tables:
        table.vjp(index)[1](dy)
    assert_same_bits("dW", tables[0].grads["weight"], tables[1].grads["weight"])


def test_embedding_is_drawn_from_the_standard_normal():
    W = fr.Embedding(200, 50, rng=0).parameters["weight"]
    assert abs(W.mean()) < 0.05 and abs(W.std() - 1) < 0.05


# -- Dropout --------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 1.0])
def test_dropout_zeroes_scales_and_keeps_the_mean(p):
    drop, x = fr.Dropout(p, rng=0), np.ones((100, 200))
    y, pullback = drop.vjp(x)
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 0.01
    assert (y[kept] == 1 / (1 - p if p < 1 else 1)).all()
    assert_same_bits("dx", pullback(x), y)
    assert_same_bits("call", drop(x), x)
    assert (x == 1).all()


def test_the_same_rng_state_gives_the_same_mask_in_both_dtypes():
    drop = fr.Dropout(0.5, rng=7)
    state = copy.deepcopy(drop.rng.bit_generator.state)
    first = drop.vjp(np.ones(50))[0]
    assert (drop.vjp(np.ones(50))[0] != first).any()
    drop.rng.bit_generator.state = state
    single = drop.vjp(np.ones(50, np.float32))[0]
    assert single.dtype == np.float32 and (single == first).all()
    drop.rng = 7
    assert (drop.vjp(np.ones(50))[0] == first).all()


def test_p_can_be_set():
    drop = fr.Dropout(0.5)
    drop.p = 0
    assert (drop.vjp([1.0, 2.0])[0] == [1, 2]).all()
    with pytest.raises(ValueError, match="p: "):
        drop.p = 2
    assert drop.p == 0 and repr(drop) == "Dropout(p=0.0)"


# -- Sequential -----------------------------------------------------------------------------


class Running(Module):
    """A stand-in for a recurrent layer: running sums ``y_t = w (x_1 + ... + x_t)``."""

    _recurrent = True

    def __init__(self):
        self._declare([("w", (1,))], "float64")
        self.parameters["w"] = [2.0]

    def _config(self):
        return {}

    def _inside(self, x, lengths):
        T = len(x)
        lengths = np.full(x.shape[1], T) if lengths is None else np.asarray(lengths)
        return (np.arange(T)[:, None] < lengths)[..., None]

    def __call__(self, x, state=None, lengths=None):
        inside = self._inside(x, lengths)
        y = self.parameters["w"] * np.cumsum(x * inside, axis=0) * inside
        return y, y[-1]

    def vjp(self, x, state=None, lengths=None):
        inside = self._inside(x, lengths)
        y, state = self(x, state, lengths)

        def pullback(dy, dstate=None):
            self.grads["w"] += (dy * y).sum() / self.parameters["w"]
            back = np.cumsum((dy * inside)[::-1], axis=0)[::-1] * inside
            return self.parameters["w"] * back, np.zeros_like(state)

        return y, state, pullback


def test_sequential_passes_outputs_lengths_and_gradients_on():
    first, running = fr.Linear(3, 4, dtype="float64"), Running()
    head = fr.Linear(4, 2, dtype="float64")
    model = fr.Sequential(first, fr.Sequential(running, fr.Dropout(0)), head)
    x, dy, lengths = drawn(0, 6, 2, 3), drawn(1, 6, 2, 2), [6, 3]
    expected = head(running(first(x), lengths=lengths)[0])
    assert_same_bits("call", model(x, lengths=lengths), expected)
    y, pullback = model.vjp(x, lengths=lengths)
    assert_same_bits("vjp", y, expected)
    dx = pullback(dy)
    numeric = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-4
        difference = model(x + step, lengths) - model(x - step, lengths)
        numeric[place] = (dy * difference).sum() / 2e-4
    assert_close("dx", dx, numeric, "numeric")
    assert not dx[3:, 1].any()
    assert running.grads["w"][0] != 0 and first.grads["weight"].any()


def test_sequential_shares_names_and_arrays():
    table, head = fr.Embedding(5, 3), fr.Linear(3, 5)
    model = fr.Sequential(table, fr.Sequential(fr.Dropout(0.1), head), head)
    names = ["0.weight", "1.1.weight", "1.1.bias", "2.weight", "2.bias"]
    assert list(model.parameters) == list(model.grads) == names
    assert model.parameters["2.bias"] is head.parameters["bias"]
    assert model.grads["0.weight"] is table.grads["weight"]
    assert len(model) == 3 and model[0] is table and list(model)[2] is head
    assert [type(m).__name__ for m in model.modules()] == [
        "Sequential", "Embedding", "Sequential", "Dropout", "Linear", "Linear",
    ]
    with model.edit() as p:
        p["2.bias"][:] = 7
        assert (model.parameters["1.1.bias"] == 7).all()
    assert (head.parameters["bias"] == 7).all() and not head._editing and not table._editing
    model.grads["0.weight"] = np.ones((5, 3))
    model.parameters["0.weight"] = np.zeros((5, 3))
    assert table.grads["weight"].all() and not table.parameters["weight"].any()
    model.zero_grad()
    assert not table.grads["weight"].any()
    state = model.state_dict()
    state["0.weight"] += 1
    model.load_state_dict(state)
    assert (table.parameters["weight"] == 1).all()
    state["2.bias"] = state["2.bias"][:2]
    state["0.weight"] += 1
    with pytest.raises(ValueError, match="2.bias"):
        model.load_state_dict(state)
    assert (table.parameters["weight"] == 1).all()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_sequentials_keep_what_is_shared(duplicate):
    head = fr.Linear(3, 3)
    model = fr.Sequential(head, fr.Dropout(0.5, rng=3), head)
    model.label = "tied"
    other = duplicate(model)
    assert other[0] is other[2] and other[0] is not head and other.label == "tied"
    x = drawn(0, 4, 3)
    assert_same_bits("call", other(x), model(x))
    assert_same_bits("vjp", other.vjp(x)[0], model.vjp(x)[0])
    assert repr(other) == repr(model) and "(1): Dropout(p=0.5)" in repr(model)


def test_one_rng_for_all_dropouts():
    model = fr.Sequential(fr.Dropout(0.5), fr.Sequential(fr.Dropout(0.5)))
    model.rng = 5
    assert model[0].rng is model[1][0].rng is model.rng


def test_a_refused_call_draws_no_mask():
    model = fr.Sequential(fr.Dropout(0.5, rng=1), fr.Linear(3, 2))
    fresh = np.random.default_rng(1)
    with pytest.raises(ValueError, match="x: "):
        model.vjp(np.ones((4, 5)))
    assert model[0].rng.random() == fresh.random()


# -- pullbacks ------------------------------------------------------------------------------

BLOCKS = {
    "linear": (lambda: fr.Linear(3, 3, dtype="float64"), np.ones((2, 3))),
    "embedding": (lambda: fr.Embedding(4, 3, dtype="float64"), np.array([1, 2])),
    "dropout": (lambda: fr.Dropout(0.5), np.ones((2, 3))),
    "no dropout": (lambda: fr.Dropout(0.0), np.ones((2, 3))),
    "sequential": (
        lambda: fr.Sequential(fr.Linear(3, 3, dtype="float64"), fr.Dropout(0.5)),
        np.ones((2, 3)),
    ),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_pullback_can_be_called_once(block):
    make, x = BLOCKS[block]
    y, pullback = make().vjp(x)
    pullback(np.ones_like(y))
    with pytest.raises(RuntimeError, match="before"):
        pullback(np.ones_like(y))


@pytest.mark.parametrize("dy", [None, np.ones((2, 4)), np.ones(3), np.ones((2, 3), complex), "dy"])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_refused_pullback_stays_usable(block, dy):
    make, x = BLOCKS[block]
    module = make()
    y, pullback = module.vjp(x)
    with pytest.raises((TypeError, ValueError), match="dy: "):
        pullback(dy)
    assert not any(gradient.any() for gradient in module.grads.values())
    pullback(np.ones_like(y))


@pytest.mark.parametrize("block", ["linear", "embedding", "sequential"])
@pytest.mark.parametrize("how", ["assign", "edit", "load", "step"])
def test_a_pullback_refuses_weights_that_were_changed(block, how):
    make, x = BLOCKS[block]
    module = make()
    name = next(iter(module.parameters))
    y, pullback = module.vjp(x)
    if how == "assign":
        module.parameters[name] = module.parameters[name]
    elif how == "edit":
        with module.edit() as p:
            p[name] += 1
    elif how == "load":
        module.load_state_dict(module.state_dict())
    else:
        fr.optim.SGD(module).step()
    with pytest.raises(RuntimeError, match="changed"):
        pullback(np.ones_like(y))
    assert not any(gradient.any() for gradient in module.grads.values())


def test_edits_reach_calls_and_pullbacks_inside_the_block():
    layer = fr.Linear(2, 2, bias=False, dtype="float64")
    y, pullback = layer.vjp(np.eye(2))
    with layer.edit() as p:
        p["weight"][...] = [[1, 2], [3, 4]]
        assert layer(np.eye(2)).tolist() == [[1, 3], [2, 4]]
        with pytest.raises(RuntimeError, match="changed"):
            pullback(np.ones((2, 2)))
        y, pullback = layer.vjp(np.eye(2))
        assert pullback(np.eye(2)).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_caller_does_to_x_later_changes_no_gradient(block):
    make, x = BLOCKS[block]
    module, results = make(), []
    for spoil in (False, True):
        given_x = x.copy()
        module.rng = 0
        module.zero_grad()
        y, pullback = module.vjp(given_x)
        assert not y.flags.writeable
        if spoil:
            given_x[...] = 0
        dx = pullback(np.ones_like(y))
        gradients = [gradient.tolist() for gradient in module.grads.values()]
        results.append((y.tolist(), None if dx is None else dx.tolist(), gradients))
    assert results[0] == results[1]


# -- bad input ------------------------------------------------------------------------------

X, INDEX = np.ones((2, 3)), [0, 1]
BAD = {
    "linear no size": (lambda: fr.Linear(0, 3), ValueError, "in_features: "),
    "linear negative": (lambda: fr.Linear(3, -1), ValueError, "out_features: .*-1"),
    "linear float": (lambda: fr.Linear(3.0, 1), TypeError, "in_features: .*3.0"),
    "linear bool": (lambda: fr.Linear(3, True), TypeError, "out_features: "),
    "linear bias": (lambda: fr.Linear(3, 1, "no"), TypeError, "bias: .*'no'"),
    "linear dtype": (lambda: fr.Linear(3, 1, dtype="int32"), ValueError, "dtype: .*int32"),
    "linear no dtype": (lambda: fr.Linear(3, 1, dtype=None), TypeError, "dtype: .*None"),
    "linear dtype name": (lambda: fr.Linear(3, 1, dtype="single!"), TypeError, "dtype: "),
    "linear byte order": (lambda: fr.Linear(3, 1, dtype=">f4"), ValueError, "dtype: .*>f4"),
    "linear rng": (lambda: fr.Linear(3, 1, rng="seed"), TypeError, "rng: .*'seed'"),
    "linear width": (lambda: fr.Linear(4, 1)(X), ValueError, r"x: .*\(\.\.\., 4\).*\(2, 3\)"),
    "linear scalar": (lambda: fr.Linear(4, 1)(1.0), ValueError, "x: "),
    "linear complex": (lambda: fr.Linear(3, 1)(X * 1j), TypeError, "x: .*complex128"),
    "linear objects": (lambda: fr.Linear(3, 1)(X.astype(object)), TypeError, "x: .*object"),
    "linear text": (lambda: fr.Linear(3, 1).vjp("abc"), TypeError, "x: .*'abc'"),
    "linear none": (lambda: fr.Linear(3, 1).vjp(None), TypeError, "x: .*None"),
    "linear ragged": (lambda: fr.Linear(3, 1)([[1, 2, 3], [1]]), ValueError, "x: "),
    "embedding size": (lambda: fr.Embedding(0, 3), ValueError, "num_embeddings: "),
    "embedding width": (lambda: fr.Embedding(3, None), TypeError, "embedding_dim: .*None"),
    "embedding high": (lambda: fr.Embedding(4, 3)([0, 4]), ValueError, r"x: .*0\.\.3.*got 4"),
    "embedding low": (lambda: fr.Embedding(4, 3).vjp([0, -1]), ValueError, "x: .*got -1"),
    "embedding huge": (
        lambda: fr.Embedding(4, 3)(np.array([2**63], np.uint64)),
        ValueError,
        f"x: .*{2**63}",
    ),
    "embedding floats": (lambda: fr.Embedding(4, 3)([0.0, 1.0]), TypeError, "x: .*float64"),
    "embedding bools": (lambda: fr.Embedding(4, 3)([True]), TypeError, "x: .*bool"),
    "embedding objects": (lambda: fr.Embedding(4, 3)([None]), TypeError, "x: "),
    "dropout high": (lambda: fr.Dropout(1.1), ValueError, "p: .*1.1"),
    "dropout nan": (lambda: fr.Dropout(float("nan")), ValueError, "p: .*nan"),
    "dropout text": (lambda: fr.Dropout("half"), TypeError, "p: .*'half'"),
    "dropout rng": (lambda: fr.Dropout(0.5, rng=1.5), TypeError, "rng: .*1.5"),
    "dropout complex": (lambda: fr.Dropout(0.5)(X * 1j), TypeError, "x: "),
    "dropout none": (lambda: fr.Dropout(0.5).vjp(None), TypeError, "x: "),
    "sequential empty": (lambda: fr.Sequential(), ValueError, "modules: "),
    "sequential number": (lambda: fr.Sequential(fr.Dropout(), 3), TypeError, "modules: .*3"),
    "sequential list": (lambda: fr.Sequential([fr.Dropout()]), TypeError, "modules: .*list"),
    "sequential class": (lambda: fr.Sequential(fr.Dropout), TypeError, "modules: "),
    "sequential width": (
        lambda: fr.Sequential(fr.Embedding(4, 3), fr.Linear(5, 1))(INDEX),
        ValueError,
        "x: .*5",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()
