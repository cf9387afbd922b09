"""Safetensors files: round trips, atomic writing, files made to harm, configurations that lie."""

import json
import os
import stat

import numpy as np
import pytest
from damaged import mutated, refusals
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn import files
from fastrnn.params import Module
from fastrnn.serialize import read_safetensors, write_safetensors

DTYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def file_of(header, data=b"", length=None):
    """The bytes of a file with this header (JSON value, text or bytes) and data."""
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header)
    header = header.encode() if isinstance(header, str) else header
    length = len(header) if length is None else length
    return length.to_bytes(8, "little") + header + data


def entry(shape=(2,), offsets=(0, 8), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


# -- round trips ----------------------------------------------------------------------------


@given(
    kinds=st.lists(
        st.tuples(
            st.sampled_from(DTYPES),
            st.lists(st.integers(0, 3), max_size=4),
            st.sampled_from(["<", ">"]),
        ),
        max_size=6,
    ),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3),
    names=st.lists(st.text(max_size=6), min_size=6, max_size=6, unique=True),
)
def test_what_is_written_is_read(tmp_path_factory, kinds, metadata, names):
    def encodable(text):
        return not any("\ud800" <= c <= "\udfff" for c in text) and text != "__metadata__"

    names = [name for name in names if encodable(name)]
    metadata = {k: v for k, v in metadata.items() if encodable(k) and encodable(v)}
    rng = np.random.default_rng(0)
    tensors = {
        name: (100 * rng.random(shape)).astype(np.dtype(kind).newbyteorder(order))
        for name, (kind, shape, order) in zip(names, kinds)
    }
    path = tmp_path_factory.mktemp("round") / "x.safetensors"
    write_safetensors(path, tensors, metadata)
    for mapped in (True, False):
        again, read_metadata = read_safetensors(path, mapped=mapped)
        assert list(again) == list(tensors) and read_metadata == metadata
        for name, array in tensors.items():
            assert_same_bits(name, again[name], array.astype(array.dtype.newbyteorder("=")))
            assert again[name].flags.writeable and again[name].flags.aligned


def test_the_bytes_of_the_format(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"b": np.array([True]), "a": np.array([[1.0, 2.0]], ">f4")}, {"k": "v"})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length]) == {
        "__metadata__": {"k": "v"},
        "b": entry([1], [8, 9], "BOOL"),
        "a": entry([1, 2], [0, 8]),
    }
    assert data[8 + length :] == np.array([1, 2], "<f4").tobytes() + b"\1"


def test_tensors_that_are_not_aligned_in_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    header = {"a": entry([1], [0, 1], "U8"), "b": entry([2], [1, 9])}
    path.write_bytes(file_of(header, b"\7" + np.array([3, 4], "<f4").tobytes()))
    tensors, metadata = read_safetensors(str(path))
    assert tensors["a"].tolist() == [7] and tensors["b"].tolist() == [3, 4] and metadata == {}
    assert tensors["b"].flags.aligned


def test_a_mapped_file_is_read_where_it_is_looked_at(tmp_path):
    """Neither allocated nor copied; what is written to an array stays out of the file, which may be replaced meanwhile."""
    import tracemalloc

    path, large = tmp_path / "x.safetensors", np.arange(1_000_000.0)
    write_safetensors(path, {"a": large, "b": np.ones(3)})
    before = path.read_bytes()
    tracemalloc.start()
    tensors, _ = read_safetensors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    tensors["a"][:3] = -1
    assert path.read_bytes() == before
    write_safetensors(path, {"a": np.zeros(5)})
    assert tensors["a"][:4].tolist() == [-1, -1, -1, 3] and tensors["b"].tolist() == [1, 1, 1]
    assert read_safetensors(path)[0]["a"].tolist() == [0] * 5
    with pytest.raises(TypeError, match="mapped: "):
        read_safetensors(path, mapped=1)


def model():
    head = fr.Linear(3, 5, bias=False, dtype="float64", rng=1)
    return fr.Sequential(
        fr.Embedding(5, 3, rng=0), fr.Sequential(fr.Linear(3, 3, rng=2), fr.Dropout(0.25)), head
    )


def test_modules_come_back_with_their_structure_and_bits(tmp_path):
    path = tmp_path / "model.safetensors"
    saved = model()
    fr.save(path, saved)
    loaded = fr.load(path)
    assert repr(loaded) == repr(saved)
    for name, array in saved.parameters.items():
        assert_same_bits(name, loaded.parameters[name], array)
        assert not loaded.grads[name].any()
    assert_same_bits("y", loaded([1, 2]), saved([1, 2]))
    assert {p.name for p in tmp_path.iterdir()} == {"model.safetensors"}


def test_shared_modules_are_written_once_and_stay_shared(tmp_path):
    path = tmp_path / "tied.safetensors"
    layer = fr.Linear(3, 3)
    fr.save(path, fr.Sequential(layer, fr.Sequential(fr.Dropout(0.5), layer), layer))
    assert list(read_safetensors(path)[0]) == ["0.weight", "0.bias"]
    loaded = fr.load(path)
    assert loaded[0] is loaded[1][1] is loaded[2]
    assert_same_bits("weight", loaded[0].parameters["weight"], layer.parameters["weight"])


def test_a_save_inside_an_edit_has_the_edits(tmp_path):
    layer = fr.Linear(2, 2)
    with layer.edit() as p:
        p["bias"][:] = 5
        fr.save(tmp_path / "x", layer)
    assert (fr.load(tmp_path / "x").parameters["bias"] == 5).all()


# -- writing --------------------------------------------------------------------------------


class Broken(RuntimeError):
    pass


@pytest.mark.parametrize("moment", ["fsync", "replace", "write"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), Broken(), KeyboardInterrupt()]
)
def test_a_failure_leaves_the_earlier_file_intact(tmp_path, monkeypatch, moment, error):
    path = tmp_path / "model.safetensors"
    fr.save(path, fr.Linear(2, 2, rng=0))
    before = path.read_bytes()

    def fail(*arguments):
        raise error

    if moment == "write":
        monkeypatch.setattr(files, "_bytes", fail)
    else:
        monkeypatch.setattr(os, moment, fail)
    with pytest.raises(type(error)) as caught:
        fr.save(path, fr.Linear(3, 3))
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert str(path) in str(caught.value) and caught.value.errno == 28
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_unwritable_places_name_the_path_given(tmp_path):
    for place in (tmp_path / "missing" / "x.safetensors", tmp_path):
        with pytest.raises(OSError, match=str(place)):
            fr.save(place, fr.Linear(2, 2))
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_stays_one(tmp_path):
    real, link = tmp_path / "real.safetensors", tmp_path / "link.safetensors"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write_safetensors(link, {"a": [1.0]})
    assert link.is_symlink() and read_safetensors(real)[0]["a"].tolist() == [1]
    assert stat.S_IMODE(real.stat().st_mode) & 0o400


A = np.zeros(2)
BAD_WRITES = {
    "no dict": (lambda p: write_safetensors(p, [A]), TypeError, "tensors: .*list"),
    "complex": (lambda p: write_safetensors(p, {"w": A * 1j}), TypeError, "w.*complex128"),
    "object": (lambda p: write_safetensors(p, {"w": None}), TypeError, "w.*object"),
    "text": (lambda p: write_safetensors(p, {"w": "a"}), TypeError, "w.*<U1"),
    "dates": (lambda p: write_safetensors(p, {"w": A.astype("M8[s]")}), TypeError, "w.*datetime"),
    "long": (lambda p: write_safetensors(p, {"w": A.astype("g")}), TypeError, "w"),
    "name": (lambda p: write_safetensors(p, {3: A}), TypeError, "name.*3"),
    "reserved": (lambda p: write_safetensors(p, {"__metadata__": A}), ValueError, "__metadata__"),
    "surrogate": (lambda p: write_safetensors(p, {"\ud800": A}), ValueError, "UTF-8"),
    "metadata": (lambda p: write_safetensors(p, {}, {"k": 3}), TypeError, "metadata.*'k'.*3"),
    "metadata key": (lambda p: write_safetensors(p, {}, {3: "k"}), TypeError, "metadata.*3"),
    "metadata list": (lambda p: write_safetensors(p, {}, ["k"]), TypeError, "metadata: .*list"),
    "module": (lambda p: fr.save(p, {"w": A}), TypeError, "module: .*dict"),
    "swapped": (lambda p: fr.save(fr.Linear(1, 1), p), TypeError, "module: "),
    "number": (lambda p: fr.save(1, fr.Linear(1, 1)), TypeError, "path: .*1"),
    "bytes": (lambda p: fr.save(b"x", fr.Linear(1, 1)), TypeError, "path: .*bytes"),
    "none": (lambda p: fr.load(None), TypeError, "path: .*None"),
    "empty": (lambda p: fr.load(""), ValueError, "path: "),
    "null byte": (lambda p: read_safetensors("a\0b"), ValueError, "path: "),
}


@pytest.mark.parametrize("case", BAD_WRITES)
def test_bad_arguments_write_nothing(tmp_path, case):
    call, error, words = BAD_WRITES[case]
    with pytest.raises(error, match=words):
        call(str(tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


# -- files made to harm ---------------------------------------------------------------------

ONE, EIGHT = {"a": entry()}, bytes(8)
HOSTILE = {
    "empty": (b"", "too few"),
    "seven bytes": (b"\0" * 7, "too few"),
    "no header": (b"\0" * 8, "header: "),
    "header past the end": (file_of(ONE, EIGHT, length=10**6), "claims 1000000 bytes"),
    "header of 2^64 - 1": (b"\xff" * 8 + b"{}", "claims 18446744073709551615 bytes"),
    "header over the bound": (file_of("{}", length=100_000_001), "more than 100000000"),
    "truncated data": (file_of(ONE, bytes(7)), "end at 8 of 7 bytes"),
    "trailing data": (file_of(ONE, bytes(9)), "end at 8 of 9 bytes"),
    "data without tensors": (file_of({}, b"x"), "end at 0 of 1 bytes"),
    "not utf-8": (file_of(b'{"\xff": 1}'), "utf-8"),
    "not json": (file_of("{'a': 1}"), "header: "),
    "two values": (file_of("{}{}"), "header: "),
    "a list": (file_of("[]"), "expected a JSON object, got list"),
    "a number": (file_of("3"), "expected a JSON object, got int"),
    "deep": (file_of('{"a":' + "[" * 200_000), "nested too deeply"),
    "deep metadata": (file_of('{"__metadata__":' + '{"a":' * 100_000), "nested too deeply"),
    "long integer": (file_of('{"a":' + "9" * 100_000 + "}"), "header: "),
    "duplicate tensor": (
        file_of(f'{{"a": {json.dumps(entry())}, "a": {json.dumps(entry())}}}', EIGHT),
        "'a' occurs twice",
    ),
    "duplicate field": (
        file_of(
            '{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', EIGHT
        ),
        "'dtype' occurs twice",
    ),
    "nan": (file_of('{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}'), "NaN"),
    "infinity": (
        file_of('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, Infinity]}}'), "Infinity"
    ),
    "metadata list": (file_of({"__metadata__": []}), "__metadata__"),
    "metadata number": (file_of({"__metadata__": {"a": 1}}), "__metadata__"),
    "tensor list": (file_of({"a": []}), "'a'.*exactly"),
    "field missing": (file_of({"a": {"dtype": "F32", "shape": [2]}}, EIGHT), "'a'.*exactly"),
    "field more": (file_of({"a": entry(more=1)}, EIGHT), "'a'.*exactly"),
    "dtype unknown": (file_of({"a": entry(dtype="F128")}, EIGHT), "unknown dtype 'F128'"),
    "dtype of numpy": (file_of({"a": entry(dtype="float32")}, EIGHT), "unknown dtype"),
    "dtype object": (file_of({"a": entry(dtype=["F32"])}, EIGHT), "unknown dtype"),
    "shape number": (file_of({"a": {**entry(), "shape": 2}}, EIGHT), "'a'.*shape"),
    "shape bool": (file_of({"a": entry([True, 2])}, EIGHT), "'a'.*shape"),
    "shape float": (file_of({"a": entry([2.0])}, EIGHT), "'a'.*shape"),
    "shape text": (file_of({"a": entry(["2"])}, EIGHT), "'a'.*shape"),
    "shape negative": (file_of({"a": entry([-1, -2])}, EIGHT), "'a'.*shape"),
    "shape wrong": (file_of({"a": entry([3])}, EIGHT), "needs 12 bytes.*give 8"),
    "shape overflow": (file_of({"a": entry([2**32, 2**32])}, EIGHT), "'a'.*needs"),
    "shape wraps to 8": (file_of({"a": entry([2**62 + 2])}, EIGHT), "'a'.*needs"),
    "shape huge but empty": (file_of({"a": entry([2**62, 2**62, 0], (0, 0))}), "too large"),
    "shape of 65 axes": (file_of({"a": entry([1] * 65, (0, 4))}, bytes(4)), "'a'.*shape"),
    "offsets one": (file_of({"a": entry(offsets=[8])}, EIGHT), "'a'.*data_offsets"),
    "offsets three": (file_of({"a": entry(offsets=[0, 8, 8])}, EIGHT), "'a'.*data_offsets"),
    "offsets bool": (file_of({"a": entry([1], [False, 4])}, bytes(4)), "'a'.*data_offsets"),
    "offsets float": (file_of({"a": entry(offsets=[0, 8.0])}, EIGHT), "'a'.*data_offsets"),
    "offsets negative": (file_of({"a": entry(offsets=[-8, 0])}, EIGHT), "'a'.*data_offsets"),
    "offsets reversed": (file_of({"a": entry(offsets=[8, 0])}, EIGHT), "'a'.*data_offsets"),
    "offsets far": (file_of({"a": entry(offsets=[2**63, 2**63 + 8])}, EIGHT), "gap before"),
    "gap at the start": (
        file_of({"a": entry(offsets=[8, 16])}, bytes(16)), "gap before tensor 'a'"
    ),
    "gap between": (
        file_of({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)), "gap before tensor 'b'"
    ),
    "overlap": (
        file_of({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "overlap at tensor 'b'"
    ),
    "the same bytes": (file_of({"a": entry(), "b": entry()}, EIGHT), "overlap at tensor 'b'"),
    "empty inside another": (
        file_of({"a": entry(), "b": entry([0], [4, 4])}, EIGHT), "overlap at tensor 'b'"
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(tmp_path, case):
    data, words = HOSTILE[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    for reader in (read_safetensors, lambda path: read_safetensors(path, mapped=False), fr.load):
        with pytest.raises(ValueError, match=words) as caught:
            reader(path)
        assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) < 500


@given(data=st.data())
def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    fr.save(path, fr.Sequential(fr.Embedding(3, 2), fr.Linear(2, 2)))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] = data.draw(st.integers(0, 255))
        else:
            del content[place]
    path.write_bytes(content)
    try:
        module = fr.load(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert isinstance(module, Module)


def damage():
    """``make`` of ``refusals``: of a model, and of tensors alone."""
    rng = np.random.default_rng(0)
    tensors = {dtype: (100 * rng.random((2, 3))).astype(dtype) for dtype in DTYPES}
    files = []

    def make(i, rng):
        return mutated(files[i % 2], rng)

    def prepared(folder):
        fr.save(folder / "model", fr.Sequential(fr.Embedding(3, 2), fr.GRU(2, 2), fr.Linear(2, 2)))
        write_safetensors(folder / "tensors", tensors, {"note": "many types"})
        files.extend((folder / name).read_bytes() for name in ("model", "tensors"))
        return make

    return prepared


def read_both_ways(path):
    """As tensors, mapped or not, and as a model."""
    read_safetensors(path)
    read_safetensors(path, mapped=False)
    fr.load(path)


def test_more_is_damaged_and_refused_or_read_but_nothing_else(tmp_path):
    make = damage()(tmp_path)
    for read, least in ((read_safetensors, 100), (read_both_ways, 200)):
        refused = refusals(tmp_path / "x.safetensors", read, make, 500, np.random.default_rng(0))
        assert least < refused <= 500


@pytest.mark.nightly
def test_much_more_is_damaged(tmp_path):
    make = damage()(tmp_path)
    for seed, read in enumerate((read_safetensors, read_both_ways)):
        assert refusals(tmp_path / "x.safetensors", read, make, 20_000, np.random.default_rng(seed)) > 4000


# -- configurations that lie ----------------------------------------------------------------


def linear(**changes):
    arguments = {"in_features": 3, "out_features": 2, "bias": True, "dtype": "float32"}
    return {"class": "Linear", "arguments": {**arguments, **changes}}


def chain(*modules):
    return {"class": "Sequential", "modules": list(modules)}


W, B = np.zeros((2, 3), "f4"), np.zeros(2, "f4")
GOOD = {"weight": W, "bias": B}
LIES = {
    "no metadata": (None, GOOD, "no fastrnn configuration"),
    "not json": ("Linear(3, 2)", GOOD, "configuration: "),
    "a list": ([linear()], GOOD, "configuration: "),
    "deep": ('{"class":' * 50_000, GOOD, "nested too deeply"),
    "unknown class": ({"class": "os.system", "arguments": {}}, GOOD, "unknown class 'os.system'"),
    "class list": ({"class": ["Linear"], "arguments": {}}, GOOD, "unknown class"),
    "no class": ({"arguments": {}}, GOOD, "unknown class None"),
    "no arguments": ({"class": "Linear"}, GOOD, "Linear has no arguments"),
    "arguments list": ({"class": "Linear", "arguments": [3, 2]}, GOOD, "Linear has no arguments"),
    "argument unknown": (linear(groups=3), GOOD, "groups"),
    "argument missing": (
        {"class": "Linear", "arguments": {"in_features": 3}}, GOOD, "out_features"
    ),
    "argument type": (linear(in_features="3"), GOOD, "in_features: .*'3'"),
    "argument value": (linear(out_features=-2), GOOD, "out_features: .*-2"),
    "dtype": (linear(dtype="object"), GOOD, "dtype: "),
    "larger": (linear(in_features=4), GOOD, "more parameters than the file holds"),
    "enormous": (linear(in_features=2**40, out_features=2**40), GOOD, "more parameters"),
    "beyond numbers": (linear(in_features=10**400), GOOD, "more parameters"),
    "smaller": (linear(in_features=2), GOOD, r"weight.*\(2, 2\).*\(2, 3\)"),
    "other dtype": (linear(dtype="float64"), GOOD, "weight.*float64.*float32"),
    "no bias": (linear(bias=False), GOOD, "'bias' is not expected"),
    "tensor missing": (linear(), {"bias": B, "weights": W}, "'weight' is missing"),
    "tensor more": (linear(), {**GOOD, "extra": B}, "'extra' is not expected"),
    "tensor of integers": (linear(), {"weight": W.astype("i4"), "bias": B}, "weight.*int32"),
    "transposed": (linear(), {"weight": W.T, "bias": B}, "weight.*shape"),
    "empty chain": (chain(), GOOD, "Sequential has no list of modules"),
    "chain of names": (chain("Linear"), GOOD, "not a JSON object"),
    "chain with arguments": ({**chain(linear()), "arguments": {}}, GOOD, "no list of modules"),
    "chain names": (chain(linear()), GOOD, "'0.weight' is missing"),
    "shared unknown": (chain({"shared": 7}), {}, "number 7"),
    "shared with itself": (chain({"shared": 0}), {}, "number 0"),
    "shared bool": (chain(linear(), {"shared": True}), GOOD, "number True"),
    "nested chains": (
        '{"class":"Sequential","modules":[' * 400
        + '{"class":"Dropout","arguments":{"p":0}}'
        + "]}" * 400,
        {"a": B},
        "not expected|nested|recursion",
    ),
}


@pytest.mark.parametrize("case", LIES)
def test_configurations_that_do_not_fit_are_refused(tmp_path, case):
    configuration, tensors, words = LIES[case]
    path = tmp_path / "x.safetensors"
    metadata = {}
    if configuration is not None:
        text = configuration if isinstance(configuration, str) else json.dumps(configuration)
        metadata = {"format": "fastrnn", "format_version": "1", "configuration": text}
    write_safetensors(path, tensors, metadata)
    with pytest.raises(ValueError, match=words) as caught:
        fr.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_later_format_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, GOOD, {"format": "fastrnn", "format_version": "2"})
    with pytest.raises(ValueError, match="format_version is '2', expected '1'"):
        fr.load(path)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        fr.load(tmp_path / "nothing")


@pytest.mark.parametrize("layer", [
    fr.RNN(3, 4, nonlinearity="elu", alpha=np.float32(0.5), clip=np.float64(2)),
    fr.LSTM(np.int64(3), 4, proj_size=np.int64(2), peephole=np.bool_(True)),
    fr.LSTM(3, 4, activations=["tanh", ["elu", np.float32(0.5)], "tanh"]),
    fr.GRU(3, 4, zoneout=np.float32(0.25), checkpoint=np.int32(7)),
    fr.SRU(3, 4, alpha=np.float32(1.5)),
], ids=["rnn", "lstm", "activations", "gru", "sru"])  # fmt: skip
def test_options_may_be_numbers_of_numpy(layer, tmp_path):
    fr.save(tmp_path / "layer", layer)
    twin = fr.load(tmp_path / "layer")
    assert repr(twin) == repr(layer) and "np." not in repr(layer)
    assert_same_bits("y", twin(np.ones((2, 1, 3)))[0], layer(np.ones((2, 1, 3)))[0])


def test_an_archive_is_no_safetensors_file(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    with pytest.raises(ValueError, match=r"x.npz: it is a zip archive, as .pt, .npz and .keras files are"):
        fr.load(tmp_path / "x.npz")
