"""``.keras`` files read without Keras: made by hand, hostile, damaged."""

import json
import struct
import zipfile

import h5_files
import keras_files as kf
import numpy as np
import pytest
from damaged import mutated, reader, refusals
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.interop import keras


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path / "x.keras", keras.read)


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_model(read, new, compression):
    layers = kf.tagger()
    model = read(kf.file(layers, compression, new=new))
    assert [type(module).__name__ for module in model] == ["Embedding", "LSTM", "Dropout", "GRU", "GRU", "Linear"]
    assert type(model) is fr.Sequential and model[2].p == 0.2
    assert [model[i]._config()["reset_after"] for i in (3, 4)] == [False, True]
    weighted = [weights for _, weights in layers if weights]
    for module, weights in zip((model[0], *model[1:2], *model[3:]), weighted, strict=True):
        for ours, theirs in zip(keras.to_weights(module), weights, strict=True):
            assert_same_bits("weight", ours, theirs)
    assert model([[1, 2, 3]]).shape == (1, 3, 5)


def test_a_classifier_that_masks(read):
    layers = [
        (kf.entry("Embedding", mask_zero=True), [np.random.default_rng(0).standard_normal((9, 3)).astype("f4")]),
        (kf.bidirectional("SimpleRNN", "ave", return_sequences=False), kf.weights("SimpleRNN", 3, 4) * 2),
        (kf.entry("Dense", activation="linear"), [np.ones((4, 2), "f4"), np.ones(2, "f4")]),
    ]
    model = read(kf.file(layers))
    assert type(model) is keras.Masked and type(model[1]) is keras.Final
    assert model[1].layer._config()["merge"] == "mean" and model[0].padding_idx == 0
    assert_same_bits("y", model([[0, 3, 4]]), model([[3, 4, 0]]))


def test_models_in_models(read):
    inner = [kf.entry("LSTM", return_sequences=True), kf.entry("Masking", mask_value=2.0)][:1]
    weights = kf.weights("LSTM", 3, 4)
    tree = {"layers": {"masking": {"vars": {}}, "sequential": {"layers": kf.groups([(inner[0], weights)])["layers"]}}}
    config = kf.sequential([kf.entry("Masking", mask_value=2.0), kf.sequential(inner)])
    model = read(kf.zipped(kf.parts([], tree, config)))
    assert [type(module).__name__ for module in model] == ["Masking", "LSTM"] and model[0].mask_value == 2
    assert_same_bits("kernel", keras.to_weights(model[1])[0], weights[0])


def test_weights_of_any_model(tmp_path):
    """Layer by layer: of functional models, of models in them, beside layers that are not known here."""
    dense, lstm = [np.ones((4, 2), "f4"), np.ones(2, "f4")], kf.weights("LSTM", 3, 4)
    both = kf.weights("GRU", 3, 4) * 2
    inner = kf.sequential([kf.entry("LSTM")]) | {"name": "encoder"}
    tree = kf.groups([(kf.bidirectional("GRU"), both)])
    tree["layers"] |= {"dense": {"vars": {"0": dense[0], "1": dense[1]}}, "conv1_d": {"vars": {"0": dense[0]}},
                       "sequential": {"layers": {"lstm": {"cell": {"vars": dict(zip("012", lstm))}}}}}  # fmt: skip
    head = kf.entry("Dense", activation="softmax")
    head["config"]["name"] = "head"
    entries = [kf.entry("InputLayer"), kf.entry("Conv1D"), inner, kf.bidirectional("GRU", None), head]
    config = kf.sequential(entries) | {"class_name": "Functional", "registered_name": "Functional"}
    path = tmp_path / "x.keras"
    path.write_bytes(kf.zipped(kf.parts([], tree, config)))
    found = keras.read_weights(path)
    assert list(found) == ["encoder/lstm", "bidirectional", "head"]
    for ours, theirs in zip(found.values(), (lstm, both, dense)):
        for one, two in zip(ours, theirs, strict=True):
            assert_same_bits("weight", one, two)
            assert one.flags.aligned and one.flags.writeable
    with pytest.raises(ValueError, match="fastrnn has no 'Functional' of Keras, only Sequential"):
        keras.read(path)
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="x.keras: "):
        keras.read_weights(path)


def test_activations(read):
    names = {"tanh": "tanh", "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5), "linear": "identity", "elu": ("elu", 1.0)}
    for theirs, ours in names.items():
        layers = [(kf.entry("LSTM", activation=theirs, recurrent_activation="sigmoid"), kf.weights("LSTM", 3, 4))]
        assert read(kf.file(layers))[0].layer._config()["activations"] == ("sigmoid", ours, ours)
        layers = [(kf.entry("SimpleRNN", activation=theirs, dropout=0.1), kf.weights("SimpleRNN", 3, 4))]
        config = read(kf.file(layers))[0].layer._config()
        assert config["nonlinearity"] == (ours if isinstance(ours, str) else ours[0]) and config["input_dropout"] == 0.1


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_layers_that_were_one_are_one_again(read, dropout):
    between = [(kf.entry("Dropout", rate=dropout) | {}, [])] if dropout else []
    for described, _ in between:
        described["config"]["name"] = "lstm_0_dropout0"
    layers = [(kf.entry("LSTM", return_sequences=True), kf.weights("LSTM", 3, 4)), *between,
              (kf.entry("LSTM", return_sequences=False), kf.weights("LSTM", 4, 4, rng=1))]  # fmt: skip
    for number, (described, _) in enumerate((layers[0], layers[-1])):
        described["config"]["name"] = f"lstm_0_l{number}"
    model = read(kf.file(layers))
    (last,) = model
    assert last.layer.num_layers == 2 and last.layer.dropout == dropout
    assert_same_bits("kernel", last.layer.parameters["weight_ih_l1"], layers[-1][1][0].T.copy())
    layers[-1][0]["config"]["name"] = "lstm_0_l2"
    assert len(read(kf.file(layers))) == len(layers)
    layers[-1][0]["config"].update(name="lstm_0_l1", activation="relu")
    assert len(read(kf.file(layers))) == len(layers)


@pytest.mark.parametrize("options", [{}, {"new": True}, {"compact": True}])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8"])
def test_datasets(read, dtype, options):
    kernel = np.arange(6.0).reshape(3, 2).astype(dtype)
    model = read(kf.file([(kf.entry("Dense"), [kernel, kernel[0]])], **options))
    expected = kernel.astype({"2": "f4"}.get(dtype[-1], dtype.lstrip(">")))
    assert_same_bits("kernel", keras.to_weights(model[0])[0], expected)


def test_many_layers(read):
    """More than one table of members."""
    kernel = np.eye(2, dtype="f4")
    layers = [(kf.entry("Dense"), [(number + 1) * kernel]) for number in range(40)]
    model = read(kf.file(layers))
    assert [module.parameters["weight"][0, 0] for module in model] == list(range(1, 41))


def refused_layer(name, weights=(), **config):
    return kf.file([(kf.entry(name, **config), list(weights))])


def changed(change):
    """A file of one Dense whose configuration was changed."""
    config = kf.sequential([kf.entry("Dense")])
    change(config)
    return kf.zipped(kf.parts([(kf.entry("Dense"), [np.ones((2, 3), "f4")])], config=config))


def with_weights(data):
    return kf.zipped(kf.parts([(kf.entry("Dense"), [])]) | {"model.weights.h5": data})


def nested(depth):
    config = kf.sequential([])
    for _ in range(depth):
        config = kf.sequential([config])
    return kf.zipped(kf.parts([], config=config))


K, R, B = L = kf.weights("LSTM", 3, 4)
G = kf.weights("GRU", 3, 4)
DENSE = h5_files.File(kf.groups([(kf.entry("Dense"), [np.ones((2, 3), "f4")])])).data


def poked(old, new, start=0):
    """The weights of a Dense with some bytes changed."""
    at = DENSE.index(old, start)
    return with_weights(DENSE[:at] + new + DENSE[at + len(old) :])


def placed(at, first, *others):
    """These weights with numbers of 8 bytes from a place on."""
    data = struct.pack(f"<{1 + len(others)}Q", first, *others)
    return DENSE[:at] + data + DENSE[at + len(data) :]


TREE, SYMBOLS = b"TREE", DENSE.rindex(b"\x11\0\x10\0")  # the tree of a group; the message of the root that leads to one
LAYOUT = struct.pack("<BB", 3, 1)
SHAPE = struct.pack("<BBB5xQQ", 1, 2, 0, 2, 3)
HOSTILE = {
    "empty": (b"", "zip directory"),
    "no archive": (b"Keras", "zip directory"),
    "no configuration": (kf.zipped({"model.weights.h5": DENSE}), "'config.json' is missing"),
    "no weights": (kf.zipped({"config.json": "{}"}), "'model.weights.h5' is missing"),
    "not json": (kf.zipped({"config.json": "{", "model.weights.h5": DENSE}), "config.json: "),
    "deep": (kf.zipped({"config.json": '{"a":' * 100_000, "model.weights.h5": DENSE}), "nested too deeply"),
    "list": (kf.zipped({"config.json": "[]", "model.weights.h5": DENSE}), "expected a JSON object"),
    "no class": (changed(lambda c: c.pop("class_name")), "no class_name and config"),
    "functional": (changed(lambda c: c.update(class_name="Functional", registered_name=None)), "no 'Functional' of Keras"),
    "no layers": (changed(lambda c: c["config"].pop("layers")), "no list of layers"),
    "layer text": (changed(lambda c: c["config"].update(layers=["Dense"])), "no class_name and config"),
    "own class": (changed(lambda c: c["config"]["layers"][0].update(registered_name="My>Dense")), "not one of Keras's own"),
    "own module": (changed(lambda c: c["config"]["layers"][0].update(module="os")), "'Dense' of 'os' is not one"),
    "module list": (changed(lambda c: c["config"]["layers"][0].update(module=[])), "not one of Keras's own"),
    "other layer": (refused_layer("Conv1D"), "fastrnn has no 'Conv1D' of Keras, only SimpleRNN"),
    "lambda": (refused_layer("Lambda", function="eval"), "no 'Lambda'"),
    "models deep": (nested(60), "too deep"),
    "no model": (nested(0), "at least one module"),
    "dense activation": (refused_layer("Dense", [K], activation="softmax"), "Dense: fastrnn has no activation='softmax'"),
    "dense list": (refused_layer("Dense", [K], activation=["linear"]), "no activation="),
    "activation": (refused_layer("LSTM", L, activation="gelu"), "LSTM: fastrnn has no activation='gelu'"),
    "activation object": (refused_layer("LSTM", L, activation={"class_name": "f"}), "no activation="),
    "recurrent activation": (refused_layer("GRU", G, recurrent_activation="softmax"), "no recurrent_activation='softmax'"),
    "backwards": (refused_layer("GRU", G, go_backwards=True), "GRU: fastrnn has no go_backwards=True"),
    "stateful": (refused_layer("GRU", G, stateful=True), "GRU: fastrnn has no stateful=True"),
    "state": (refused_layer("GRU", G, return_state=True), "no return_state=True"),
    "dropout": (refused_layer("GRU", G, dropout="a"), "input_dropout: "),
    "rate": (refused_layer("Dropout", rate=7), "p: "),
    "noise shape": (refused_layer("Dropout", rate=0.1, noise_shape=[1]), "noise_shape"),
    "mask value": (refused_layer("Masking", mask_value="a"), "mask_value: "),
    "mask later": (kf.file([(kf.entry("Dense"), [K]), (kf.entry("Masking"), [])]), "Masking: .*behind another"),
    "merge none": (kf.file([(kf.bidirectional("LSTM", None), L * 2)]), "Bidirectional: fastrnn has no merge_mode=None"),
    "both backwards": (kf.file([(kf.bidirectional("LSTM", go_backwards=True), L * 2)]), "no go_backwards=True"),
    "both forward": (kf.file([(kf.bidirectional("LSTM", backward={"go_backwards": False}), L * 2)]), "go_backwards=False"),
    "other backward": (kf.file([(kf.bidirectional("LSTM", backward={"activation": "relu"}), L * 2)]), "backward_layer: "),
    "bidirectional dense": (kf.file([(kf.bidirectional("Dense"), L * 2)]), "no 'Dense' of Keras, only SimpleRNN"),
    "bidirectional nothing": (refused_layer("Bidirectional", L * 2), "no class_name"),
    "distributed": (refused_layer("TimeDistributed", [K], layer=kf.entry("LSTM")), "no 'LSTM' of Keras, only Dense"),
    "no arrays": (refused_layer("LSTM"), "expected 2 or 3 or 4 or 6 arrays, got 0"),
    "wrong shapes": (refused_layer("GRU", L), r"weights\[1\]: "),
    "integers": (refused_layer("Dense", [np.ones((2, 3), "i8")]), r"weights\[0\]: .*int64"),
    "reset": (refused_layer("GRU", G, reset_after=False), "reset_after=False, only True"),
    "no hdf5": (with_weights(b"weights"), "HDF5: it leads to byte 0"),
    "other start": (poked(b"\x89HDF", b"\x89HDG"), "does not begin"),
    "superblock": (poked(b"\r\n\x1a\n\0", b"\r\n\x1a\n\7"), "superblock of version 7"),
    "address sizes": (poked(b"\x08\x08", b"\x04\x08"), "of 8 bytes"),
    "base address": (poked(b"\x04\0\x10\0\0\0\0\0\0", b"\x04\0\x10\0\0\0\0\0\1"), "of 8 bytes"),
    "heap": (poked(b"HEAP", b"HEAQ"), "no names"),
    "tree": (poked(b"TREE", b"TREF"), "no members where"),
    "tables": (poked(b"SNOD", b"SNOE"), "no members where"),
    "a circle of members": (with_weights(placed(DENSE.index(b"TREE") + 32, DENSE.index(b"TREE"))), "members.*in a circle"),
    "a circle in a header": (with_weights(placed(SYMBOLS, 16 | 16 << 16, SYMBOLS, 24)), "header.* leads in a circle"),
    "more members than there are": (poked(TREE + b"\0\0\1\0", TREE + b"\0\0\x99\x99"), "more often than makes sense"),
    "name": (poked(b"vars\0", b"\xff\xffrs\0"), "not UTF-8"),
    "in pieces": (poked(LAYOUT, b"\3\2"), "in pieces"),
    "old layout": (poked(LAYOUT, b"\1\1"), "in pieces"),
    "size": (poked(struct.pack("<Q", 24) + b"\0" * 6, struct.pack("<Q", 25) + b"\0" * 6), "25 bytes, its shape needs 24"),
    "shape": (poked(SHAPE, struct.pack("<BBB5xQQ", 1, 2, 0, 2, 4)), "24 bytes, its shape needs 32"),
    "huge shape": (poked(SHAPE, struct.pack("<BBB5xQQ", 1, 2, 0, 2**40, 2**40)), "its shape needs"),
    "many axes": (poked(SHAPE, struct.pack("<BBB5xQQ", 1, 200, 0, 2, 3)), "no shape that is known"),
    "type": (poked(b"\x11\x20", b"\x13\x20"), "no integers or floats"),
    "type of size": (poked(b"\x11\x20\x1f\0\4", b"\x11\x20\x1f\0\3"), "no integers or floats"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(read, tmp_path, case):
    data, words = HOSTILE[case]
    with pytest.raises(ValueError, match=words) as caught:
        read(data)
    assert str(caught.value).startswith(f"{tmp_path / 'x.keras'}: ") and len(str(caught.value)) < 600


def test_files_of_keras_2_are_refused(read, tmp_path):
    """Whose hard_sigmoid has another slope; the weights alone are read."""
    parts = kf.parts([(kf.entry("LSTM", recurrent_activation="hard_sigmoid"), L)])

    def written(metadata):
        return kf.zipped(parts | {"metadata.json": json.dumps(metadata)})

    for version in ("2.15.0", "2.12.0-tf", "0.1.7", "03", "", "a", None, 3, [3], "9" * 5000):
        with pytest.raises(ValueError, match=r"x\.keras: metadata.json: expected a file of Keras 3") as caught:
            read(written({"keras_version": version}))
        assert repr(version)[:80] in str(caught.value) and len(str(caught.value)) < 600
    assert list(keras.read_weights(tmp_path / "x.keras")) == ["lstm"]
    with pytest.raises(ValueError, match="got keras_version None"):
        read(written({}))
    for version in ("3.0.0", "3.11.3", "4.0.0.dev0", "10.1"):
        read(written({"keras_version": version}))
    del parts["metadata.json"]
    assert len(read(kf.zipped(parts))) == 1  # Keras does not need it either


def test_a_checksum_is_compared(read):
    data = bytearray(refused_layer("Dense", [np.full((2, 3), 7.25, "f4")]))
    at = data.index(struct.pack("<f", 7.25))
    data[at] ^= 1
    with pytest.raises(ValueError, match="'model.weights.h5' does not have the checksum"):
        read(bytes(data))


def test_a_part_grows_no_further_than_it_says(read):
    """A bomb: a part that decompresses to a thousand times its size, and says it were small, or that it were huge."""
    parts = {"config.json": json.dumps(kf.sequential([])), "model.weights.h5": bytes(10_000_000)}
    data = bytearray(kf.zipped(parts, zipfile.ZIP_DEFLATED))
    entry = data.rindex(b"PK\1\2")
    for size in (1000, 2**31):
        data[entry + 24 : entry + 28] = struct.pack("<I", size)
        with pytest.raises(ValueError, match="does not decompress to the size"):
            read(bytes(data))


@pytest.mark.parametrize("size", [2**63 - 2, 2**63 - 1, 2**64 - 1])
def test_a_size_that_no_part_can_have(read, size):
    data = kf.claiming(kf.zipped({"config.json": "{}", "model.weights.h5": bytes(99)}, zipfile.ZIP_DEFLATED), size)
    with pytest.raises(ValueError, match=r"x\.keras: the part 'model.weights.h5' does not decompress to the size"):
        read(data)


@pytest.mark.parametrize("error", [MemoryError, OverflowError])
def test_what_stops_a_part_names_the_file(read, monkeypatch, error):
    def part(*_, **__):
        raise error

    monkeypatch.setattr("fastrnn.interop._archive.Archive.part", part)
    with pytest.raises(ValueError, match=rf"x\.keras: {error.__name__}"):
        read(kf.file(kf.tagger()))


def test_one_array_for_many_layers_is_no_memory_for_all(read):
    """A few bytes for each of many layers, which all take their weights from one place."""
    config = kf.sequential([kf.entry("Dense") for _ in range(40)])
    dense = {"vars": {"0": np.ones((100, 100), "f4")}}
    tree = {"layers": {"dense" + (f"_{n}" if n else ""): dense for n in range(40)}}
    with pytest.raises(ValueError, match="more parameters than the file holds"):
        read(kf.zipped(kf.parts([], tree, config)))


def test_a_file_cannot_ask_for_work(read):
    """A group of many members, which are all one object of many messages."""
    file = h5_files.File({}, new=True)
    file.data = bytearray(file.data)
    messages = 5000 * struct.pack("<BHB", 0, 0, 0)
    many = file.append(b"OHDR" + struct.pack("<BBI", 2, 2, 8) + messages)
    inside = {f"n{i}": many for i in range(2000)}
    file.place = lambda what, place=file.place: what if isinstance(what, int) else place(what)
    group = file.place({"vars": inside})
    root = file.place({"layers": {"dense": group}})
    file.data[36:44] = struct.pack("<Q", root)
    config = kf.sequential([kf.entry("Dense")])
    for length, words in ((8, "expected 1 or 2 arrays, got 0"), (len(messages), "more often than makes sense")):
        file.data[many + 6 : many + 10] = struct.pack("<I", length)
        with pytest.raises(ValueError, match=words):
            read(kf.zipped(kf.parts([], config=config) | {"model.weights.h5": bytes(file.data)}))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        keras.read(tmp_path / "nothing.keras")


# ---- damaged files ------------------------------------------------------------------------------


def read_both(path):
    keras.read_weights(path)
    keras.read(path)


def damage():
    """``make`` of ``refusals``: whole files, and parts under a checksum that is right."""
    layers = kf.tagger()
    files = [kf.file(layers), kf.file(layers, zipfile.ZIP_DEFLATED)]
    inside = [kf.parts(layers), kf.parts(layers, new=True)]

    def make(i, rng):
        if i % 4 == 0:
            return mutated(files[i // 4 % 2], rng)
        parts, name = inside[i // 4 % 2], "model.weights.h5" if i % 4 < 3 else "config.json"
        data = parts[name] if isinstance(parts[name], bytes) else parts[name].encode()
        return kf.zipped(parts | {name: mutated(data, rng)})

    return make


def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path):
    refused = refusals(tmp_path / "x.keras", read_both, damage(), 400, np.random.default_rng(0))
    assert 150 < refused < 400


@pytest.mark.nightly
def test_more_damaged_files(tmp_path):
    assert refusals(tmp_path / "x.keras", read_both, damage(), 20_000, np.random.default_rng(1)) > 7500


def test_weights_may_be_cut_anywhere(read):
    for end in range(0, len(DENSE), 17):
        with pytest.raises(ValueError, match="x.keras: "):
            read(with_weights(DENSE[:end]))
