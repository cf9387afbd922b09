"""What a recurrent layer is besides its arithmetic: parameters, copies, files, forms of input."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from cases import LAYOUTS, Case, Data, check_forward, check_gradients, smooth, state_parts, variant
from rows import CELLS, FURTHER, TELLING
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn import reference

STACK = Case("lstm_peephole", I=3, H=5, L=2, D=2, T=4, B=2, dtype="float32")


def assert_same_parameters(layer, expected):
    assert list(layer.parameters) == list(expected)
    for name, array in layer.parameters.items():
        assert_same_bits(name, array, np.asarray(expected[name]))


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_names_and_shapes(cell, bias):
    case = Case(cell, I=3, H=5, L=2, D=2, bias=bias, dtype="float32")
    layer, shapes = case.new_layer(), reference.parameter_shapes(case.spec)
    for arrays in (layer.parameters, layer.grads, layer.state_dict()):
        assert {name: array.shape for name, array in arrays.items()} == shapes
        assert list(arrays) == list(shapes), "in torch's order"
        assert all(array.dtype == np.float32 for array in arrays.values())
    assert all(not gradient.any() for gradient in layer.grads.values())
    assert not any(array.flags.writeable for array in layer.parameters.values())


def test_names_spelt_out():
    names = list(fr.LSTM(2, 4, 2, bidirectional=True, proj_size=3).parameters)
    local = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    places = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    assert names == [name + place for place in places for name in local]
    assert fr.LSTM(2, 4, 2, bidirectional=True, proj_size=3).parameters["weight_ih_l1"].shape == (16, 6)
    assert list(fr.GRU(2, 4, bias=False).parameters) == ["weight_ih_l0", "weight_hh_l0"]
    peepholes = {"weight_ci_l0", "weight_cf_l0", "weight_co_l0"}
    assert peepholes < set(fr.LSTM(2, 4, peephole=True).parameters)
    coupled = fr.LSTM(2, 4, peephole=True, coupled=True).parameters
    assert peepholes & set(coupled) == {"weight_cf_l0", "weight_co_l0"}
    assert coupled["weight_ih_l0"].shape == (12, 2)


#: Beginnings of names -> first values, of parameters that are not drawn.
FIRST = {"weight_ln_": 1, "bias_ln_": 0, "alpha_": -3, "beta_": 3, "zeta_": 1, "nu_": -4}


@pytest.mark.parametrize("cell", [*TELLING, "fastrnn", "gru_norm"])
def test_initial_values(cell):
    """U(-1/sqrt(H), 1/sqrt(H)), from the seed alone, the same numbers in both dtypes; or a value of their own."""
    H = 400
    case = Case(cell, I=30, H=H, P=200)
    single, again, double = (case.new_layer(rng=7, dtype=d) for d in ("float32", "float32", "float64"))
    other = case.new_layer(rng=8, dtype="float32")
    bound = H**-0.5
    for name, array in single.parameters.items():
        first = [value for beginning, value in FIRST.items() if name.startswith(beginning)]
        if first:
            assert (array == first).all()
            continue
        assert_same_bits(name, again.parameters[name], array)
        assert_same_bits(name, double.parameters[name].astype(np.float32), array)
        assert not np.array_equal(other.parameters[name], array)
        assert np.abs(array).max() <= np.float32(bound)
        assert np.abs(array).max() > 0.97 * bound
        assert abs(array.mean()) < 5 * bound / np.sqrt(3 * array.size)
        assert abs(array.std() - bound / np.sqrt(3)) < 0.05 * bound
    generator = case.new_layer(rng=np.random.default_rng(7), dtype="float32")
    assert_same_parameters(generator, single.parameters)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_values_without_a_seed(dtype):
    """Of the same distribution, no two alike; ``numpy.random``, slow to import, is not needed for them."""
    H = 400
    one, two = (fr.LSTM(30, H, dtype=dtype).parameters for _ in range(2))
    for name, array in one.items():
        values = array.astype(float) * H**0.5
        assert np.abs(values).max() <= 1 + 1e-7 and abs(values).max() > 0.99
        assert abs(values.mean()) < 5 / np.sqrt(3 * values.size)
        assert abs(values.std() - 3**-0.5) < 0.03
        follow = np.corrcoef(values.ravel()[:-1], values.ravel()[1:])[0, 1]
        assert abs(follow) < 5 / np.sqrt(values.size)
        assert not np.array_equal(array, two[name])
    code = "import sys, fastrnn as fr; fr.LSTM(2, 3); fr.Linear(2, 3); print('numpy.random' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_assignment_copies():
    data = Data(STACK)
    layer = data.layer()
    before, _ = layer(data.x)
    new = np.asfortranarray(np.full((20, 5), 0.25))  # float64, another order
    layer.parameters["weight_hh_l0"] = new
    new[...] = np.nan
    assert (layer.parameters["weight_hh_l0"] == 0.25).all()
    after, _ = layer(data.x)
    assert np.isfinite(after).all() and not np.array_equal(after, before)
    data.parameters["weight_hh_l0"] = np.full((20, 5), 0.25)
    expected, _ = data.layer()(data.x)
    assert_same_bits("y", after, expected)


def test_edit():
    """Changes reach the next call; arrays handed out stay what they are."""
    data = Data(STACK)
    layer = data.layer()
    view, y = layer.parameters["bias_ih_l0"], layer(data.x)[0]
    with layer.edit() as p:
        assert list(p) == list(layer.parameters)
        assert all(array.flags.writeable for array in p.values())
        p["bias_ih_l0"] += 1
        p["weight_hh_l1_reverse"][2, 1:4] = 0.5
        p["weight_co_l0"][...] *= -1
    assert np.array_equal(view, layer.parameters["bias_ih_l0"])
    changed = {name: value.astype(np.float32) for name, value in data.parameters.items()}
    changed["bias_ih_l0"] += 1
    changed["weight_hh_l1_reverse"][2, 1:4] = 0.5
    changed["weight_co_l0"] *= -1
    assert_same_parameters(layer, changed)
    data.parameters = changed
    assert_same_bits("y", layer(data.x)[0], data.layer()(data.x)[0])
    assert not np.array_equal(layer(data.x)[0], y)


def test_calls_inside_edit_see_its_changes():
    """And a pullback from before a change inside the block is stale at once."""
    data = Data(STACK)
    layer, twin = data.layer(), data.layer()
    with layer.edit() as p:
        _, _, pullback = layer.vjp(data.x)
        p["weight_hh_l1"][1, 2] = 3
        inside = layer(data.x)[0]
        with pytest.raises(RuntimeError, match="weights"):
            pullback(data.dy)
        p["bias_hh_l0_reverse"][0] = -3
        assert not np.array_equal(layer(data.x)[0], inside)
    with twin.edit() as p:
        p["weight_hh_l1"][1, 2] = 3
    assert_same_bits("y", twin(data.x)[0], inside)


def test_edit_that_fails_keeps_what_was_done():
    layer = Data(STACK).layer()
    with pytest.raises(ZeroDivisionError), layer.edit() as p:
        p["bias_ih_l0"][...] = 3
        raise ZeroDivisionError
    assert (layer.parameters["bias_ih_l0"] == 3).all()


def test_state_dict_is_a_copy_and_loads_back():
    data = Data(STACK)
    layer, other = data.layer(), STACK.new_layer()
    saved = layer.state_dict()
    other.load_state_dict(saved)
    assert_same_parameters(other, saved)
    assert_same_bits("y", other(data.x)[0], layer(data.x)[0])
    for array in saved.values():
        array[...] = np.nan
    assert np.isfinite(layer(data.x)[0]).all() and np.isfinite(other(data.x)[0]).all()
    single = {name: array.astype(">f8") for name, array in layer.state_dict().items()}
    double = variant(STACK, dtype="float64").new_layer()
    double.load_state_dict(single)
    assert_same_parameters(double, {name: array.astype("f8") for name, array in single.items()})


def test_gradients_do_not_follow_parameters():
    layer = Data(STACK).layer()
    layer.grads["bias_ih_l0"][...] = 2
    layer.load_state_dict({name: array * 2 for name, array in layer.state_dict().items()})
    assert (layer.grads["bias_ih_l0"] == 2).all()


# ---------------------------------------------------------------- copies and files

FORMS = {
    "pickle": lambda layer, path: pickle.loads(pickle.dumps(layer)),
    "deepcopy": lambda layer, path: copy.deepcopy(layer),
    "file": lambda layer, path: (fr.save(path, layer), fr.load(path))[1],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", [*CELLS, *FURTHER])
def test_copies(cell, form, tmp_path):
    """A copy computes the same bits, has the same arguments, and shares no memory."""
    case = Case(cell, L=2, D=2, batch_first=True, bias=False, dtype="float32")
    layer = case.new_layer(dropout=0.25)
    twin = FORMS[form](layer, tmp_path / "layer.safetensors")
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert_same_parameters(twin, layer.parameters)
    x = Data(case).x
    y, _ = layer(x)
    assert_same_bits("y", twin(x)[0], y)
    with twin.edit() as p:
        p["weight_ih_l0"][...] = 0
    assert_same_bits("y", layer(x)[0], y)
    assert layer.parameters["weight_ih_l0"].any()


def test_copies_of_a_working_layer():
    """Packed weights, open pullbacks and streams do not travel; gradients do."""
    data = Data(STACK)
    layer = data.layer()
    _, _, pullback = layer.vjp(*data.calls())
    pullback(data.dy)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        for name, gradient in layer.grads.items():
            assert_same_bits(name, twin.grads[name], gradient)
        twin.zero_grad()
        assert layer.grads["weight_ih_l0"].any()


@pytest.mark.parametrize("cell", CELLS)
def test_repr_shows_sizes(cell):
    text = repr(Case(cell, I=13, H=17, P=11, L=3).new_layer())
    assert type(Case(cell).new_layer()).__name__ in text
    sizes = ["13"] * (not CELLS[cell].square) + ["17", "3"] + ["11"] * CELLS[cell].projected
    assert all(size in text for size in sizes), text


# ---------------------------------------------------------------- forms of input


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", ["float16", "float32", "float64", "longdouble", "int8", "uint64", "bool", "list"])
def test_results_have_the_layers_dtype(given, dtype):
    """Any real dtype is converted; the result has the layer's."""
    data = Data(variant(STACK, dtype=dtype))
    layer = data.layer()
    x = (np.arange(4 * 2 * 3).reshape(4, 2, 3) % 5).astype("float64" if given == "list" else given)
    expected, _ = layer(np.ascontiguousarray(x, dtype))
    x = x.tolist() if given == "list" else x
    y, state = layer(x)
    assert y.dtype == dtype and all(part.dtype == dtype for part in state)
    assert_same_bits("y", y, expected)
    y, state, pullback = layer.vjp(x)
    dx, dstate0 = pullback(np.ones(y.shape, np.int16))
    arrays = [y, *state, dx, *dstate0, *layer.grads.values()]
    assert all(array.dtype == dtype and array.dtype.isnative for array in arrays)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_from_any_layout(layout):
    data = Data(STACK)
    layer = STACK.new_layer()
    layer.load_state_dict(
        {name: LAYOUTS[layout](array.astype(np.float32)) for name, array in data.parameters.items()}
    )
    assert_same_bits("y", layer(data.x)[0], data.layer()(data.x)[0])
    dressed = LAYOUTS[layout](data.parameters["weight_hh_l1"])
    layer.parameters["weight_hh_l1"] = dressed
    assert np.array_equal(layer.parameters["weight_hh_l1"], data.parameters["weight_hh_l1"])


@pytest.mark.parametrize("form", [list, tuple, *(np.dtype(c).newbyteorder(o) for c in "bBhHiIlLqQ" for o in "=S")])
def test_lengths_of_any_integer_type(form):
    data = Data(variant(STACK, B=3))
    layer, values = data.layer(), [4, 0, 2]
    lengths = form(values) if callable(form) else np.array(values, form)
    y, state = layer(data.x, data.state, lengths)
    expected_y, expected_state = layer(data.x, data.state, np.array(values))
    assert_same_bits("y", y, expected_y)
    for ours, theirs in zip(state, expected_state, strict=True):
        assert_same_bits("state", ours, theirs)


def test_lengths_may_be_strided():
    data = Data(variant(STACK, B=3))
    lengths = np.array([9, 2, 9, 0, 9, 4])[::-2]
    expected, _ = data.layer()(data.x, None, [4, 0, 2])
    assert_same_bits("y", data.layer()(data.x, None, lengths)[0], expected)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)])
@pytest.mark.parametrize("step", [1, 2, -1, -3])
def test_every_stride(axes, step):
    """Views in every order of axes and with every kind of step, for x, states and dy."""
    data = Data(Case("gru", I=4, H=6, T=5, B=3, dtype="float32"))
    layer = data.layer()

    def view(array):
        turned = array.transpose(axes)
        buffer = np.full([3 * size for size in turned.shape], np.nan, array.dtype)
        cut = buffer[(slice(None, None, step),) * 3][tuple(slice(size) for size in turned.shape)]
        cut[...] = turned
        return cut.transpose(np.argsort(axes))

    y, state, pullback = layer.vjp(view(data.x), view(data.state))
    dx, dstate0 = pullback(view(data.dy), view(data.dstate))
    gradients = {name: array.copy() for name, array in layer.grads.items()}
    layer.zero_grad()
    expected_y, expected_state, pullback = layer.vjp(data.x, data.state)
    expected_dx, expected_dstate0 = pullback(data.dy, data.dstate)
    assert_same_bits("y", y, expected_y)
    assert_same_bits("state", state, expected_state)
    assert_same_bits("dx", dx, expected_dx)
    assert_same_bits("dstate0", dstate0, expected_dstate0)
    for name, array in layer.grads.items():
        assert_same_bits(name, gradients[name], array)


def test_broadcast_input():
    """Strides of 0: one row seen as many."""
    layer = fr.LSTM(3, 5, rng=0)
    x = np.broadcast_to(np.float32([1, 2, 3]), (4, 2, 3))
    assert_same_bits("y", layer(x)[0], layer(x.copy())[0])
    y, _, pullback = layer.vjp(x)
    dx, _ = pullback(np.broadcast_to(np.float32(1), y.shape))
    assert dx.shape == x.shape and dx.flags.writeable


@pytest.mark.parametrize("cell", CELLS)
def test_results_are_fresh_arrays(cell):
    """Writable (but for vjp's y), contiguous in the layer's layout, shared with nothing."""
    for batch_first in (False, True):
        data = Data(Case(cell, L=2, D=2, T=3, B=2, dtype="float32", batch_first=batch_first))
        layer = data.layer()
        y, state = layer(*data.calls())
        again, _ = layer(*data.calls())
        assert y.flags.c_contiguous and y.flags.writeable and not np.shares_memory(y, again)
        _, vjp_state, pullback = layer.vjp(*data.calls())
        dx, dstate0 = pullback(data.dy, data.dstate)
        parts = [*data.plain_state(state), *data.plain_state(vjp_state), dx, *data.plain_state(dstate0)]
        given = [data.x, data.dy, *data.plain_state(data.state), *data.plain_state(data.dstate)]
        for part in parts:
            assert part.flags.writeable
            assert not any(np.shares_memory(part, array) for array in given)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_unbatched(cell, batch_first):
    """(T, I) gives what a batch of one gives, without the batch axis anywhere."""
    case = Case(cell, L=2, D=2, T=4, B=1, unbatched=True, batch_first=batch_first, dtype="float32")
    check_forward(case)
    check_gradients(smooth(case))
    data = Data(case)
    layer, out = data.layer(), case.D * data.spec.output_size
    y, state = layer(data.x, data.state)
    assert y.shape == (4, out)
    assert all(part.ndim == 2 for part in state_parts(state))


@pytest.mark.parametrize("T, B", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("cell", CELLS)
def test_empty(cell, T, B):
    """With T = 0 the final state is the initial one, in an array of its own."""
    for batch_first in (False, True):
        data = Data(Case(cell, L=2, D=2, T=T, B=B, batch_first=batch_first, dtype="float32"))
        layer = data.layer()
        y, state = layer(*data.calls())
        out = data.case.D * data.spec.output_size
        assert y.shape == ((B, T, out) if batch_first else (T, B, out)) and y.dtype == np.float32
        if T == 0:
            for ours, initial in zip(data.plain_state(state), data.plain_state(data.state), strict=True):
                assert_same_bits("state", ours, initial)
                assert not np.shares_memory(ours, initial)
        y, state = layer(data.x, None, [0] * B)
        for part, empty in zip(data.plain_state(state), data.case.empty, strict=True):
            assert (part == empty).all()
