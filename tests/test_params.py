"""``Module``: named parameters over flat buffers, versions, edits, state dicts, copies."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.params import ALIGNMENT, Module, restoring

SHAPES = {"weight": (5, 3), "bias": (5,), "one": (1,)}


class Toy(Module):
    """Three parameters and nothing to compute."""

    def __init__(self, dtype="float32", rng=0):
        self._declare(SHAPES.items(), dtype)
        self._init_uniform(np.random.default_rng(rng), 1.0)
        self.rng = rng

    def _config(self):
        return {"dtype": self.dtype.name}


class Wide(Module):
    """As many parameters of 10 entries as it is told."""

    def __init__(self, count):
        self._declare(((f"p{i}", (2, 5)) for i in range(count)), "float64")

    def _config(self):
        return {"count": len(self._views)}


def same_values(left, right):
    assert list(left) == list(right)
    for name in left:
        assert_same_bits(name, left[name], right[name])


# -- buffers --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_are_aligned_views_of_flat_buffers(dtype):
    toy = Toy(dtype)
    assert list(toy.parameters) == list(toy.grads) == list(SHAPES)
    assert toy.dtype == dtype
    for name, shape in SHAPES.items():
        value, gradient = toy.parameters[name], toy.grads[name]
        assert value.shape == gradient.shape == shape
        assert value.dtype == gradient.dtype == dtype
        assert value.ctypes.data % ALIGNMENT == gradient.ctypes.data % ALIGNMENT == 0
        assert np.shares_memory(value, toy._values)
        assert np.shares_memory(gradient, toy._gradients)
        assert not gradient.any()
    assert toy._values.ndim == toy._gradients.ndim == 1


def test_padding_between_parameters_stays_zero():
    toy = Toy("float64")
    total = sum(value.sum() for value in toy.parameters.values())
    assert np.isclose(toy._values.sum(), total)
    toy.load_state_dict({name: np.zeros(shape) for name, shape in SHAPES.items()})
    assert not toy._values.any()


def test_the_same_seed_gives_the_same_numbers_in_both_dtypes():
    single, double = Toy("float32", rng=3), Toy("float64", rng=3)
    for name in SHAPES:
        rounded = double.parameters[name].astype(np.float32)
        assert_same_bits(name, single.parameters[name], rounded)


def test_parameters_can_never_be_made_writable():
    toy = Toy()
    for array in toy.parameters.values():
        for view in (array, array[:1], array.reshape(-1)):
            with pytest.raises(ValueError):
                view[...] = 0
            with pytest.raises(ValueError):
                view.flags.writeable = True
    with pytest.raises(ValueError):
        toy.parameters["bias"] += 1


def test_grads_keep_their_identity_and_are_writable():
    toy = Toy()
    gradient = toy.grads["bias"]
    toy.grads["bias"] += 2
    toy.grads["weight"] = np.ones((5, 3), ">f8")
    assert toy.grads["bias"] is gradient
    assert (gradient == 2).all() and (toy._gradients.sum() == 10 + 15)
    toy.zero_grad()
    assert toy.grads["bias"] is gradient and not toy._gradients.any()


# -- assignment -----------------------------------------------------------------------------


def test_assignment_copies_and_makes_a_new_version():
    toy, given_array = Toy(), np.arange(5.0)
    view, version = toy.parameters["bias"], toy._version
    toy.parameters["bias"] = given_array
    given_array[:] = -1
    assert view.tolist() == [0, 1, 2, 3, 4]
    assert toy._version > version


BAD_ASSIGNMENTS = {
    "unknown name": ("biass", np.zeros(5), ValueError, "biass"),
    "not a name": (3, np.zeros(5), ValueError, "3"),
    "too long": ("bias", np.zeros(6), ValueError, r"bias.*\(5,\).*\(6,\)"),
    "would broadcast": ("weight", np.zeros(3), ValueError, "weight"),
    "scalar": ("bias", 0.0, ValueError, "bias"),
    "transposed": ("weight", np.zeros((3, 5)), ValueError, "weight"),
    "ragged": ("weight", [[1, 2], [3]], ValueError, "weight"),
    "complex": ("bias", np.zeros(5, complex), TypeError, "complex128"),
    "objects": ("bias", np.zeros(5, object), TypeError, "object"),
    "strings": ("bias", list("abcde"), TypeError, "bias"),
    "none": ("bias", None, TypeError, "None"),
    "dates": ("bias", np.zeros(5, "M8[s]"), TypeError, "datetime64"),
}


@pytest.mark.parametrize("case", BAD_ASSIGNMENTS)
@pytest.mark.parametrize("target", ["parameters", "grads", "edit"])
def test_bad_assignments_name_the_parameter_and_change_nothing(case, target):
    name, value, error, words = BAD_ASSIGNMENTS[case]
    toy = Toy()
    before, version = toy.state_dict(), toy._version
    with toy.edit() as edit:
        mapping = edit if target == "edit" else getattr(toy, target)
        with pytest.raises(error, match=words):
            mapping[name] = value
    same_values(toy.state_dict(), before)
    assert toy._version == version
    assert not toy._gradients.any()


# -- edit -----------------------------------------------------------------------------------


def test_edits_are_seen_inside_the_block_and_kept_after_it():
    toy, version = Toy(), Toy()._version
    with toy.edit() as p:
        p["bias"][2] = 7
        assert toy.parameters["bias"][2] == 7
        seen = toy._version
        assert seen > version
        toy._sync()
        assert toy._version == seen, "nothing changed since"
        p["weight"] = np.ones((5, 3))
        p["one"] *= 2
    assert toy._version > seen and not toy._editing
    assert (toy.parameters["weight"] == 1).all() and toy.parameters["bias"][2] == 7


def test_an_edit_that_changes_nothing_makes_no_new_version():
    toy = Toy()
    toy.parameters["bias"] = np.full(5, np.nan)
    version = toy._version
    with toy.edit() as p:
        p["weight"] += 0
        toy._sync()
    assert toy._version == version


def test_arrays_left_over_from_an_edit_cannot_reach_the_parameters():
    toy = Toy()
    with toy.edit() as p:
        array, part = p["weight"], p["weight"][1:]
    before, version = toy.state_dict(), toy._version
    with pytest.raises(ValueError):
        array[0] = 1
    with pytest.raises(ValueError, match="edit"):
        p["weight"] = np.zeros((5, 3))
    part[...] = 9
    toy._sync()
    same_values(toy.state_dict(), before)
    assert toy._version == version


def test_nested_edits_share_their_arrays():
    toy = Toy()
    with toy.edit() as outer:
        with toy.edit() as inner:
            assert inner["bias"] is outer["bias"]
            inner["bias"][:] = 1
        outer["bias"][0] = 2
        assert toy.parameters["bias"].tolist() == [2, 1, 1, 1, 1]
    assert toy.parameters["bias"].tolist() == [2, 1, 1, 1, 1]


def test_an_exception_keeps_the_edits_made_before_it():
    toy = Toy()
    with pytest.raises(KeyError):
        with toy.edit() as p:
            p["bias"][:] = 3
            p["nothing"][:] = 4
    assert (toy.parameters["bias"] == 3).all()
    assert not toy._editing and not p["bias"].flags.writeable


def test_other_ways_to_write_agree_with_an_open_edit():
    toy = Toy()
    with toy.edit() as p:
        p["bias"][0] = 5
        toy.parameters["one"] = [4.0]
        assert p["one"][0] == 4 and p["bias"][0] == 5
        with toy._write() as values:
            values *= 2
        assert p["one"][0] == 8 and p["bias"][0] == 10
        toy.load_state_dict({**toy.state_dict(), "bias": np.zeros(5)})
        assert not p["bias"].any() and p["one"][0] == 8
    assert not toy.parameters["bias"].any() and toy.parameters["one"][0] == 8


# -- state dicts ----------------------------------------------------------------------------


def test_state_dict_copies():
    toy = Toy()
    state = toy.state_dict()
    state["bias"][:] = 0
    assert toy.parameters["bias"].any()
    toy.load_state_dict(state)
    assert not toy.parameters["bias"].any()


@given(
    name=st.sampled_from(list(SHAPES)),
    fault=st.sampled_from(["missing", "shape", "complex", "object", "extra", "text"]),
)
def test_a_refused_state_dict_changes_nothing(name, fault):
    toy = Toy()
    before, version = toy.state_dict(), toy._version
    state = {key: np.full(shape, 8.0) for key, shape in SHAPES.items()}
    if fault == "missing":
        del state[name]
    elif fault == "extra":
        state[name + "_reverse"] = state[name]
    else:
        state[name] = {
            "shape": np.zeros((7, 7)),
            "complex": state[name] * 1j,
            "object": state[name].astype(object),
            "text": "weights",
        }[fault]
    with pytest.raises(ValueError, match=name):
        toy.load_state_dict(state)
    same_values(toy.state_dict(), before)
    assert toy._version == version


@pytest.mark.parametrize("value", [None, 3, [("bias", 1)], "bias"])
def test_a_state_dict_that_is_no_mapping(value):
    with pytest.raises(TypeError, match="state_dict"):
        Toy().load_state_dict(value)


# -- copies and structure -------------------------------------------------------------------


def pickled(protocol):
    return lambda module: pickle.loads(pickle.dumps(module, protocol))


COPIES = [copy.copy, copy.deepcopy, *map(pickled, range(pickle.HIGHEST_PROTOCOL + 1))]


@pytest.mark.parametrize("duplicate", COPIES)
def test_copies_are_whole_and_independent(duplicate):
    toy = Toy("float64")
    toy.grads["bias"] = np.arange(5)
    toy.label = "mine"
    toy.rng.random(3)
    with toy.edit() as p:
        p["one"][:] = 6
        other = duplicate(toy)
    same_values(other.parameters, toy.parameters)
    same_values(other.grads, toy.grads)
    assert other.label == "mine" and not other._editing
    if duplicate is not copy.copy:
        assert other.rng.random() == toy.rng.random()
    with pytest.raises(ValueError):
        other.parameters["bias"].flags.writeable = True
    other.parameters["bias"] = np.ones(5)
    other.grads["bias"] += 1
    assert np.shares_memory(other.grads["bias"], other._gradients)
    assert (toy.parameters["bias"] != 1).all() and toy.grads["bias"].tolist() == [0, 1, 2, 3, 4]


def test_repr_has_the_sizes():
    assert repr(Toy()) == "Toy(dtype='float32')  # 21 parameters"
    assert "Parameters({'weight': (5, 3)" in repr(Toy().parameters)


def test_a_budget_refuses_more_parameters_than_there_are_values():
    with restoring(30):
        Wide(3)
    with pytest.raises(ValueError, match="more parameters"), restoring(29):
        Wide(3)
    with pytest.raises(ValueError, match="more parameters"), restoring(10**6):
        Wide(10**12)  # stops at the 100,001st: the names are drawn one by one
    assert Toy().parameters["bias"].any(), "outside, parameters are drawn again"


@pytest.mark.parametrize("value", ["x", 1.5, True, [1], np.random.RandomState(0)])
def test_rng_refuses_what_is_no_generator(value):
    with pytest.raises(TypeError, match="rng"):
        Toy().rng = value


def test_rng_takes_none_seeds_and_generators():
    toy, generator = Toy(), np.random.default_rng(1)
    toy.rng = generator
    assert toy.rng is generator
    toy.rng = np.int64(4)
    assert toy.rng.random() == np.random.default_rng(4).random()
    toy.rng = None
    assert isinstance(toy.rng, np.random.Generator)
    with pytest.raises(ValueError, match="rng"):
        toy.rng = -1


def test_names_are_public():
    assert issubclass(fr.Linear, Module)
