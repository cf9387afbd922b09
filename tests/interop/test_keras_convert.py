"""``fastrnn.interop.keras`` against Keras: same weights, same results, same files, both ways."""

import json
import os
import re
import zipfile

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5_files
import keras_files as kf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import budget
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.interop import keras as ours
from fastrnn.interop._hdf5 import Hdf5

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")
KL = keras.layers

pytestmark = pytest.mark.interop

CLOSE = 1e-5  # of float32: Keras computes with another library's products
ACTIVATIONS = ["tanh", "sigmoid", "relu", "linear", "elu", "leaky_relu", "softsign", "softplus", "hard_sigmoid", "hard_tanh"]


def close(name, result, expected):
    expected = np.asarray(keras.ops.convert_to_numpy(expected))
    assert result.shape == expected.shape, f"{name}: {result.shape}, expected {expected.shape}"
    error = np.max(np.abs(result - expected), initial=0.0)
    assert error <= CLOSE * max(1.0, np.max(np.abs(expected), initial=0.0)), f"{name}: {error:.3g}"


def randomised(layer, rng, scale=0.5):
    """Random weights, biases too, so that no gate can stand for another."""
    layer.set_weights([scale * rng.standard_normal(array.shape).astype(array.dtype) for array in layer.get_weights()])
    return layer


@st.composite
def recurrent(draw):
    """Class, options and merge mode of a recurrent layer of Keras."""
    name = draw(st.sampled_from(["SimpleRNN", "LSTM", "GRU"]))
    options = {"units": draw(st.integers(1, 9)), "use_bias": draw(st.booleans()), "return_sequences": draw(st.booleans()),
               "activation": draw(st.sampled_from(ACTIVATIONS)), "dropout": draw(st.sampled_from([0.0, 0.3])),
               "recurrent_dropout": draw(st.sampled_from([0.0, 0.2])), "unroll": draw(st.booleans())}  # fmt: skip
    if name != "SimpleRNN":
        options["recurrent_activation"] = draw(st.sampled_from(["sigmoid", "hard_sigmoid", "tanh"]))
    if name == "GRU":
        options["reset_after"] = draw(st.booleans())
    return name, options, draw(st.sampled_from([None, "concat", "sum", "ave", "mul"]))


@budget(0.5)
@given(recurrent(), st.integers(1, 7), st.integers(0, 99))
def test_layers(described, width, seed):
    name, options, merge = described
    layer = getattr(KL, name)(**options)
    if merge:
        layer = KL.Bidirectional(layer, merge_mode=merge)
    layer.build((None, None, width))
    rng = np.random.default_rng(seed)
    randomised(layer, rng, 0.3)
    x = rng.standard_normal((3, 5, width)).astype(np.float32)
    here = ours.from_layer(layer)
    sequences = (layer.forward_layer if hasattr(layer, "forward_layer") else layer).return_sequences
    expected = layer(x)
    close("y", here(x)[0] if sequences else ours.Final(here)(x), expected)
    weights = ours.to_weights(here)
    for i, array in enumerate(layer.get_weights()):
        assert_same_bits(f"weights[{i}]", weights[i], array)
    back = ours.to_layer(here, return_sequences=sequences)
    assert type(back) is type(layer)
    close("back", keras.ops.convert_to_numpy(back(x)), expected)
    for one, two in zip(back.get_weights(), layer.get_weights(), strict=True):
        assert_same_bits("weight", one, two)
    for option in ("dropout", "recurrent_dropout"):
        inner, other = (getattr(each, "forward_layer", each) for each in (layer, back))
        assert getattr(inner, option) == pytest.approx(getattr(other, option))


@st.composite
def layers_of_ours(draw):
    cls = draw(st.sampled_from([fr.RNN, fr.LSTM, fr.GRU]))
    options = {"num_layers": draw(st.integers(1, 3)), "bias": draw(st.booleans()), "bidirectional": draw(st.booleans()),
               "merge": draw(st.sampled_from(["concat", "sum", "mean", "mul"])),
               "dropout": draw(st.sampled_from([0.0, 0.25])),
               "dtype": draw(st.sampled_from(["float32", "float64"])), "rng": draw(st.integers(0, 99))}  # fmt: skip
    if cls is fr.GRU:
        options["reset_after"] = draw(st.booleans())
    return cls(draw(st.integers(1, 5)), draw(st.integers(1, 6)), batch_first=True, **options)


@budget(0.5)
@given(layers_of_ours(), st.booleans())
def test_layers_of_ours(layer, last):
    """To a model of Keras, several layers as several, and back as they were; two biases come back as their sum."""
    model = ours.Final(layer) if last else layer
    there = ours.to_model(model)
    x = np.random.default_rng(0).standard_normal((2, 4, layer.input_size)).astype(layer.dtype)
    expected = keras.ops.convert_to_numpy(there(x))
    close("y", model(x) if last else model(x)[0], expected)
    (back,) = ours.from_model(there)
    back = back.layer if last else back
    kept = {"rng", "merge"} if not layer.bidirectional else {"rng"}
    config = {name: value for name, value in layer._config().items() if name not in kept}
    if layer.num_layers == 1:
        config["dropout"] = 0.0
    assert {name: back._config()[name] for name in config} == config
    summed = layer.bias and not (isinstance(layer, fr.GRU) and config["reset_after"])
    for name, array in layer.parameters.items():
        if summed and name.startswith("bias"):
            other = layer.parameters[name.replace("ih", "hh")]
            array = array + other if "ih" in name else np.zeros_like(array)
        assert_same_bits(name, back.parameters[name], array)


def test_a_backend_without_float64_is_refused(monkeypatch):
    """As JAX is without a switch."""
    monkeypatch.setattr(KL.GRU, "get_weights", lambda layer: [np.zeros(2, np.float32)])
    with pytest.raises(ValueError, match="dtype: the backend of Keras has no float64, it makes float32 of it"):
        ours.to_layer(fr.GRU(2, 3, dtype="float64"))
    ours.to_layer(fr.GRU(2, 3))


# ---- masks --------------------------------------------------------------------------------------

CODES = np.array([[3, 4, 5, 0, 0], [0, 0, 1, 2, 0], [6, 0, 3, 0, 1], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]])


def sequential(*layers, shape=(None,), dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


@pytest.mark.parametrize("merge", [None, "concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_masks_of_codes(name, merge):
    """Wherever the masked steps are; of sequences of length 0, too."""
    def recurrent(sequences):
        layer = getattr(KL, name)(4, return_sequences=sequences)
        return KL.Bidirectional(layer, merge_mode=merge) if merge else layer

    model = randomised(sequential(KL.Embedding(9, 3, mask_zero=True), recurrent(True), recurrent(False), KL.Dense(2),
                                  dtype="int32"), np.random.default_rng(0))  # fmt: skip
    close("y", ours.from_model(model)(CODES), model(CODES))
    model = randomised(sequential(KL.Embedding(9, 3, mask_zero=True), recurrent(True), KL.Dense(2), dtype="int32"),
                       np.random.default_rng(1))  # fmt: skip
    seen = CODES != 0
    close("y", ours.from_model(model)(CODES)[seen], keras.ops.convert_to_numpy(model(CODES))[seen])


def test_masks_of_values():
    x = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    x[0, 2:], x[1, :2], x[2, 3], x[2, 1, 0] = -1, -1, -1, -1
    model = randomised(sequential(KL.Masking(-1.0), KL.GRU(3, return_sequences=True), KL.LSTM(4), shape=(None, 2)),
                       np.random.default_rng(0))  # fmt: skip
    here = ours.from_model(model)
    close("y", here(x), model(x))
    back = ours.to_model(here)
    close("back", keras.ops.convert_to_numpy(back(x)), model(x))
    assert [type(layer).__name__ for layer in back.layers] == ["Masking", "GRU", "LSTM"]


def test_masked_values_in_the_dtype_of_the_model():
    """Keras casts to it before it compares."""
    x = np.random.default_rng(0).standard_normal((3, 5, 2))
    x[0, 2], x[1, 2], x[2, 2] = 0.1, np.float32(0.1), np.float16(0.1)
    model = randomised(sequential(KL.Masking(0.1), KL.GRU(3), shape=(None, 2)), np.random.default_rng(0))
    for dtype in ("float16", "float32", "float64"):
        close(dtype, ours.from_model(model)(x.astype(dtype)), model(x.astype(dtype)))


def double_models():
    """Of float64, with the layers that have no parameters in every place."""
    def linear(*sizes):
        return fr.Linear(*sizes, dtype="float64", rng=0)

    def recurrent(cls, width, layers):
        return cls(width, 4, layers, dropout=0.1, batch_first=True, dtype="float64", rng=1)

    yield fr.Sequential(fr.Dropout(0.1), linear(3, 4), fr.Dropout(0.2), linear(4, 2), fr.Dropout(0.3))
    yield fr.Sequential(fr.Dropout(0.1), ours.Final(recurrent(fr.GRU, 3, 3)), linear(4, 2))
    yield ours.Masked(ours.Masking(0.5), recurrent(fr.GRU, 3, 2), fr.Dropout(0.2), ours.Final(recurrent(fr.LSTM, 4, 2)))
    yield ours.Masked(ours.Masking(0.5), fr.Sequential(fr.Dropout(0.1), ours.Final(recurrent(fr.RNN, 3, 1))), linear(4, 2))


@pytest.mark.parametrize("number", range(4))
def test_models_of_float64_are_nowhere_rounded(tmp_path, number):
    model = list(double_models())[number]
    x = np.random.default_rng(0).standard_normal((2, 5, 3)[-2 if number == 0 else 0 :])
    if number > 1:
        x[0, 2] = 0.5
    there = ours.to_model(model)
    y = keras.ops.convert_to_numpy(there(x))
    assert {layer.compute_dtype for layer in there.layers} == {"float64"} and y.dtype == np.float64
    assert there.inputs[0].dtype == "float64"
    close("y", model(x), y)
    for layer in there.layers:
        if isinstance(layer, (KL.Dropout, KL.Masking)):
            passed = keras.ops.convert_to_numpy(layer(x))
            assert_same_bits("x", passed[1:], x[1:])
    ours.write(tmp_path / "a.keras", model)
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert_same_bits("y", keras.ops.convert_to_numpy(again(x)), y)
    assert_same_bits("y", ours.read(tmp_path / "a.keras")(x), ours.from_model(there)(x))


def test_dropout_between_two_dtypes_rounds_nothing():
    """It has that of what comes before it."""
    model = fr.Sequential(fr.Linear(3, 4, dtype="float64"), fr.Dropout(0.1), fr.Linear(4, 2), fr.Dropout(0.1))
    assert [layer.compute_dtype for layer in ours.to_model(model).layers] == ["float64"] * 2 + ["float32"] * 2
    only = ours.to_model(ours.Masked(ours.Masking(0.1), fr.Dropout(0.1)))
    assert [layer.compute_dtype for layer in only.layers] == ["float32"] * 2


def test_what_is_past_a_length_is_another_thing():
    """As the page says: here 0, in Keras the output before, or 0 if ``zero_output_for_mask``."""
    model = randomised(sequential(KL.Embedding(9, 3, mask_zero=True), KL.GRU(3, return_sequences=True), dtype="int32"),
                       np.random.default_rng(0))  # fmt: skip
    y = keras.ops.convert_to_numpy(model(CODES[:1]))
    assert (y[0, 3:] == y[0, 2]).all() and not ours.from_model(model)(CODES[:1])[0, 3:].any()


# ---- models and files -----------------------------------------------------------------------------


def taggers():
    rng = np.random.default_rng(0)
    inner = keras.Sequential([keras.Input((None, 6)), KL.GRU(5, return_sequences=True, reset_after=False), KL.Dropout(0.1)])
    yield randomised(sequential(
        KL.Embedding(20, 3), KL.Dropout(0.2), KL.Bidirectional(KL.LSTM(3, return_sequences=True)), inner,
        KL.SimpleRNN(4, return_sequences=True, activation="relu"), KL.TimeDistributed(KL.Dense(3)),
        KL.Dense(2, use_bias=False), dtype="int32"), rng)  # fmt: skip
    yield randomised(sequential(KL.Embedding(20, 3, mask_zero=True), KL.Bidirectional(KL.GRU(4), merge_mode="mul"),
                                KL.Dense(2), dtype="int32"), rng)  # fmt: skip
    yield randomised(sequential(KL.LSTM(3, return_sequences=True, dropout=0.1), KL.LSTM(3, recurrent_dropout=0.2),
                                shape=(None, 4)), rng)  # fmt: skip
    yield randomised(sequential(*(KL.Dense(3) for _ in range(30)), shape=(3,)), rng, 0.2)


@pytest.mark.parametrize("number", range(4))
def test_models_and_files(tmp_path, number):
    model = list(taggers())[number]
    rng = np.random.default_rng(0)
    x = {2: rng.standard_normal((2, 6, 4)), 3: rng.standard_normal((5, 3))}.get(number, rng.integers(1, 20, (2, 6)))
    x = x.astype(np.int32 if number < 2 else np.float32)
    expected = model(x)
    here = ours.from_model(model)
    close("y", here(x), expected)
    model.save(tmp_path / "a.keras")
    read = ours.read(tmp_path / "a.keras")
    assert repr(read) == repr(here)
    for name, array in here.parameters.items():
        assert_same_bits(name, read.parameters[name], array)
    ours.write(tmp_path / "b.keras", here)
    back = keras.saving.load_model(tmp_path / "b.keras")
    close("back", keras.ops.convert_to_numpy(back(x)), expected)
    again = ours.read(tmp_path / "b.keras")
    for name, array in here.parameters.items():
        assert_same_bits(name, again.parameters[name], array)


def test_a_trained_model_with_its_optimizer(tmp_path):
    """More than layers is in such a file."""
    model = sequential(KL.GRU(3, dropout=0.1, recurrent_dropout=0.1), KL.Dense(1), shape=(None, 2))
    model.compile("adam", "mse")
    model.fit(np.ones((4, 3, 2)), np.ones((4, 1)), verbose=0)
    model.save(tmp_path / "a.keras")
    close("y", ours.read(tmp_path / "a.keras")(np.ones((4, 3, 2))), model(np.ones((4, 3, 2))))


def test_weights_of_a_functional_model(tmp_path):
    """What ``get_weights()`` gives of every layer, whatever the model is."""
    words, other = keras.Input((None,), dtype="int32"), keras.Input((None, 3))
    encoder = keras.Sequential([keras.Input((None, 4)), KL.LSTM(5, return_sequences=True, name="inner")], name="encoder")
    x = encoder(KL.Embedding(9, 4)(words))
    x = KL.Concatenate()([x, KL.LSTM(2, return_sequences=True)(other)])
    x = KL.LSTM(6, return_sequences=True, go_backwards=True)(KL.Conv1D(4, 3, padding="same")(x))
    x = KL.Bidirectional(KL.SimpleRNN(3), name="both")(x)
    model = keras.Model([words, other], [KL.Dense(3, activation="softmax", name="first")(x), KL.Dense(1)(x)])
    model = randomised(model, np.random.default_rng(0))
    model.save(tmp_path / "a.keras")
    found = ours.read_weights(tmp_path / "a.keras")
    layers = {layer.name: layer for layer in model.layers if layer.weights and not isinstance(layer, KL.Conv1D)}
    layers["encoder/inner"] = layers.pop("encoder").layers[0]
    assert set(found) == set(layers) | {layer.name for layer in model.layers if isinstance(layer, KL.Dropout)}
    for name, layer in layers.items():
        for one, two in zip(found[name], layer.get_weights(), strict=True):
            assert_same_bits(name, one, two)


def test_files_made_by_hand_are_keras_s(tmp_path):
    """What the other tests of the reader are made from."""
    weights = kf.weights("LSTM", 3, 4) + kf.weights("LSTM", 3, 4, rng=1)
    layers = [(kf.entry("InputLayer", batch_shape=[None, None, 3]), []),
              (kf.bidirectional("LSTM", return_sequences=True, units=4), weights),
              (kf.entry("Dense", units=2), [np.ones((8, 2), "f4"), np.ones(2, "f4")])]  # fmt: skip
    layers[1][0]["config"]["layer"]["config"]["name"], layers[1][0]["config"]["backward_layer"]["config"]["name"] = "f", "b"
    (tmp_path / "a.keras").write_bytes(kf.file(layers))
    model = keras.saving.load_model(tmp_path / "a.keras")
    for one, two in zip(model.get_weights(), [*weights, *layers[2][1]], strict=True):
        assert_same_bits("weight", one, two)


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_hdf5_files(tmp_path, libver):
    rng = np.random.default_rng(0)
    arrays = {dtype: (50 * rng.random((2, 3))).astype(dtype) for dtype in ("f2", "f4", "f8", ">f4", "i4", "u1", ">i8")}
    arrays |= {"empty": np.zeros((0, 3)), "scalar": np.array(3.5), "vector": np.arange(5.0)}
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        group = file.create_group("some/where")
        for name in list(arrays)[:7]:
            group[name] = arrays[name]
        other = file.create_group("other")
        for name in list(arrays)[7:]:
            other[name] = arrays[name]
        other.attrs["note"] = "text"
        other.create_group("inside")
        file.create_group("nothing")
    read = Hdf5(np.fromfile(tmp_path / "a.h5", np.uint8), "a.h5")
    found = read.datasets("some/where") | read.datasets("other")
    assert set(found) == set(arrays) and read.datasets("nothing") == read.datasets("no/where") == {}
    for name, array in arrays.items():
        assert_same_bits(name, found[name], array.astype(array.dtype.newbyteorder("=")))
    with h5py.File(tmp_path / "b.h5", "w", libver=libver) as file:
        file.create_dataset("x/pieces", data=np.ones((100, 100)), chunks=(10, 10))
    with pytest.raises(ValueError, match="'x/pieces' is in pieces"):
        Hdf5(np.fromfile(tmp_path / "b.h5", np.uint8), "b.h5").datasets("x")


@pytest.mark.parametrize("new", [False, True])
def test_hdf5_files_made_by_hand(tmp_path, new):
    members = {"a": {f"n{i}": np.arange(float(i)) for i in range(1, 30)}, "b": np.ones((2, 3), ">f4")}
    data = h5_files.File(members, new=new).data
    found = Hdf5(np.frombuffer(data, np.uint8), "a.h5").datasets("a")
    for name, array in members["a"].items():
        assert_same_bits(name, found[name], array)
    if not new:  # whose checksums are left out
        (tmp_path / "a.h5").write_bytes(data)
        with h5py.File(tmp_path / "a.h5", "r") as file:
            assert sorted(file["a"]) == sorted(members["a"]) and (file["b"][()] == 1).all()
            for name, array in members["a"].items():
                assert_same_bits(name, file["a"][name][()], array)


def test_a_group_of_many_in_the_newer_layout_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        for i in range(50):
            file[f"x/{i}"] = np.ones(2)
    with pytest.raises(ValueError, match="keeps its members in a heap"):
        Hdf5(np.fromfile(tmp_path / "a.h5", np.uint8), "a.h5").datasets("x")


def test_h5_files_of_keras_are_of_the_older_layout(tmp_path):
    next(taggers()).save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert archive.read("model.weights.h5")[8] == 0  # the superblock's version
        assert json.loads(archive.read("config.json"))["class_name"] == "Sequential"


# ---- what is refused ------------------------------------------------------------------------------


class Own(KL.GRU):
    pass


def built(layer, width=3):
    layer.build((None, None, width))
    return layer


REFUSED = {
    "own class": (lambda: ours.from_layer(built(Own(3))), TypeError, "layer: expected one of SimpleRNN, .*type Own"),
    "another layer": (lambda: ours.from_layer(KL.Conv1D(2, 3)), TypeError, "Conv1D"),
    "no weights": (lambda: ours.from_layer(KL.GRU(3)), ValueError, "layer: it has no weights yet"),
    "activation": (lambda: ours.from_layer(built(KL.GRU(3, activation="gelu"))), ValueError, "activation='gelu'"),
    "function": (lambda: ours.from_layer(built(KL.GRU(3, activation=lambda x: x))), ValueError, "GRU: fastrnn has no activ"),
    "dense": (lambda: ours.from_layer(built(KL.Dense(3, activation="relu"))), ValueError, "Dense: fastrnn has no"),
    "backwards": (lambda: ours.from_layer(built(KL.GRU(3, go_backwards=True))), ValueError, "go_backwards=True"),
    "stateful": (lambda: ours.from_model(keras.Sequential([keras.Input(batch_shape=(2, 4, 3)), KL.GRU(3, stateful=True)])),
                 ValueError, "stateful=True"),
    "merge": (lambda: ours.from_layer(built(KL.Bidirectional(KL.GRU(3), merge_mode=None))), ValueError, "merge_mode=None"),
    "no model": (lambda: ours.from_model(built(KL.GRU(3))), TypeError, "model: expected one of Sequential"),
    "softmax": (lambda: ours.from_model(sequential(KL.Softmax(), shape=(3,))), TypeError, "Softmax"),
    "another cell": (lambda: ours.to_model(fr.MGU(2, 3)), TypeError, "MGU"),
    "inside": (lambda: ours.to_model(fr.Sequential(fr.GRU(2, 3, clip=1.0))), ValueError, "GRU: Keras has no clip=1.0"),
    "final": (lambda: ours.to_model(ours.Final(fr.MGU(2, 3))), TypeError, "MGU"),
    "twice": (lambda: ours.to_model(fr.Sequential(*[fr.Linear(3, 3)] * 2)), ValueError, "no Linear that occurs twice"),
    "padding": (lambda: ours.to_model(fr.Embedding(3, 2, 1)), ValueError, "Keras has no padding_idx=1, only None"),
    "masked padding": (lambda: ours.to_model(ours.Masked(fr.Embedding(3, 2, 1), fr.Linear(2, 3))), ValueError, "only 0"),
    "layers": (lambda: ours.to_layer(fr.GRU(2, 3, 2)), ValueError, "num_layers=2"),
    "sequences": (lambda: ours.to_layer(fr.GRU(2, 3), return_sequences=1), TypeError, "return_sequences: "),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_other_does_not_have_is_refused(case):
    function, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        function()
