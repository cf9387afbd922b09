"""``read_pt`` without PyTorch: files made by hand, hostile ones, and damaged ones."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pt_files as pt
import pytest
from damaged import mutated, reader, refusals
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.interop import read_pt, write_pt


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path / "x.pt", read_pt)


def vector(count, kind="Float", key="0", **more):
    return pt.tensor(kind, key, count, (count,), (1,), **more)


# ---- what a file holds --------------------------------------------------------------------------


def test_a_state_dict(read):
    arrays = pt.example()
    found = read(pt.state_dict_file(arrays))
    assert type(found) is dict and list(found) == list(arrays)
    for name, array in arrays.items():
        assert_same_bits(name, found[name], array)
        assert found[name].flags.writeable and found[name].flags.aligned


def test_a_layer_takes_it(read):
    layer, twin = fr.LSTM(3, 5, num_layers=2, bidirectional=True, rng=0), fr.LSTM(3, 5, num_layers=2, bidirectional=True)
    twin.load_state_dict(read(pt.state_dict_file(layer.parameters)))
    for name, array in layer.parameters.items():
        assert_same_bits(name, twin.parameters[name], array)


@pytest.mark.parametrize("dtype", pt.STORAGES)
def test_dtypes(read, dtype):
    array = np.array([0, 1, 3, 100]).astype(dtype)
    pt.same_bits("a", read(pt.state_dict_file({"a": array}))["a"], array)


def test_bfloat16_becomes_float32(read):
    expected = np.array([1.0, -2.5, 3e38, 0.0, np.inf], np.float32)
    stored = (expected.view(np.uint32) >> 16).astype("<u2")
    found = read(pt.archive(vector(5, "BFloat16"), {"0": stored.tobytes()}))
    assert_same_bits("a", found, (stored.astype(np.uint32) << 16).view(np.float32))
    assert found[0] == 1 and found[1] == -2.5 and np.isinf(found[4])


def test_types_without_a_storage_of_their_own(read):
    array = np.array([1, 2**31], np.uint32)
    untyped = pt.items(pt.text("storage"), pt.name("torch.storage", "UntypedStorage"), pt.text("0"), pt.text("cpu"),
                       pt.number(8)) + b"Q"  # fmt: skip
    body = pt.tensor("", "0", 0, (2,), (1,), stored=untyped, more=[pt.name("torch", "uint32")],
                     function="_rebuild_tensor_v3")  # fmt: skip
    assert_same_bits("a", read(pt.archive(body, {"0": array.tobytes()})), array)


def test_strides_and_shared_memory(read):
    array = np.arange(12, dtype=np.float64)
    whole, part = pt.tensor("Double", "0", 12, (3, 4), (4, 1)), pt.tensor("Double", "0", 12, (2, 3), (1, 4), offset=1)
    found, turned = read(pt.archive(pt.items(whole, part), {"0": array.tobytes()}))
    assert_same_bits("whole", found, array.reshape(3, 4))
    assert_same_bits("part", turned, array.reshape(3, 4)[:, 1:3].T.copy())
    found[0, 1] = 99
    assert turned[0, 0] == 99


def test_other_values(read):
    """What a checkpoint holds beside tensors."""
    values = {"epoch": 3, "loss": 0.5, "name": "gru", "none": None, "yes": True, "no": False, "large": 2**70, "less": -5,
              "betas": (0.9, 0.999), "groups": [{"lr": 1e-3, "params": [0, 1]}, ()], "long text": "é" * 300}  # fmt: skip
    for protocol in (2, 3, 4, 5):
        assert read(pt.archive(pickle.dumps(values, protocol)[:-1])) == values


def test_parameters_and_sizes(read):
    parameter = pt.called(pt.name("torch._utils", "_rebuild_parameter"), vector(2), b"\x88", pt.ORDERED)
    size = pt.called(pt.name("torch", "Size"), pt.numbers(3, 4))
    array, shape = read(pt.archive(pt.items(parameter, size), {"0": np.ones(2, "<f4").tobytes()}))
    assert array.tolist() == [1, 1] and shape == (3, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "complex64"])
def test_big_endian(read, dtype):
    array = np.array([1, 2, 300]).astype(dtype)
    swapped = array.astype(array.dtype.newbyteorder(">"))
    body = vector(3, pt.STORAGES[dtype])
    assert_same_bits("a", read(pt.archive(body, {"0": swapped.tobytes()}, order=b"big")), array)
    assert_same_bits("a", read(pt.archive(body, {"0": array.tobytes()}, order=None)), array)


def test_empty_tensors(read):
    body = pt.items(pt.tensor("Float", "0", 0, (0, 3), (3, 1)), pt.tensor("Float", "0", 0, (2, 0), (0, 1)))
    assert [array.shape for array in read(pt.archive(body, {"0": b""}))] == [(0, 3), (2, 0)]


def test_files_of_before_archives(read):
    storages = {"7": np.arange(6.0, dtype="f4"), "12": np.array([True, False])}
    first, second = pt.storage("Float", "7", 6, b"N"), pt.storage("Bool", "12", 2, b"N")
    body = pt.mapping({
        "a": pt.tensor("", "", 0, (2, 3), (3, 1), stored=first), "b": pt.tensor("", "", 0, (2,), (1,), stored=second),
    })  # fmt: skip
    found = read(pt.stream(body, storages))
    assert_same_bits("a", found["a"], storages["7"].reshape(2, 3))
    assert_same_bits("b", found["b"], storages["12"])


def test_what_is_written_is_read(tmp_path):
    real = [dtype for dtype in pt.STORAGES if "complex" not in dtype]
    arrays = pt.example() | {dtype: np.array([[0, 1], [3, 100]]).astype(dtype) for dtype in real}
    arrays |= {"turned": np.arange(6.0).reshape(2, 3).T, "empty": np.zeros((0, 3)), "swapped": np.array([1, 2], ">f4")}
    write_pt(tmp_path / "x.pt", arrays)
    found = read_pt(tmp_path / "x.pt")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert_same_bits(name, found[name], array.astype(array.dtype.newbyteorder("=")))
    with pytest.raises(TypeError, match="complex64"):
        write_pt(tmp_path / "y.pt", {"a": np.ones(2, np.complex64)})
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


# ---- hostile files ------------------------------------------------------------------------------


class Command:
    """What a hostile pickle runs."""

    def __reduce__(self):
        return print, ("this ran",)


FOUR = {"0": bytes(16)}
SIZE = pt.name("torch", "Size")


def repeated(part):
    """An archive in which one part occurs twice."""
    with pytest.warns(UserWarning, match="Duplicate"):
        return pt.archive(vector(4), FOUR, extra=[(part, b"little")])


def lying(data, old, new):
    assert data.count(old) == 1
    return data.replace(old, new)


def overlapping():
    """An archive whose directory leads from many names to one part."""
    data = pt.archive(vector(4), {"0": bytes(100)}, order=None)
    end, at = data.index(b"PK\5\6"), data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", at + 4)
    entry = data[second : data.index(b"PK\1\2", second + 4)]
    assert entry.count(b"archive/data/0") == 1
    more = b"".join(entry.replace(b"data/0", b"data/%c" % letter) for letter in range(65, 91))
    directory = data[at:end] + more
    counts = struct.pack("<HHI", data[at:end].count(b"PK\1\2") + 26, data[at:end].count(b"PK\1\2") + 26, len(directory))
    return data[:at] + directory + data[end : end + 8] + counts + data[end + 16 :]


STREAM = {"0": np.zeros(4, "f4")}
IN_STREAM = pt.tensor("", "", 0, (4,), (1,), stored=pt.storage("Float", "0", 4, b"N"))
HOSTILE = {
    "empty": (b"", "breaks off"),
    "text": (b"PyTorch", "breaks off|operation"),
    "a plain pickle": (pickle.dumps({"a": 1}), "begins as no file"),
    "a command": (pt.archive(pickle.dumps(Command(), 2)[2:-1]), "names '__builtin__.print'"),
    "a command, protocol 4": (pt.archive(pickle.dumps(Command(), 4)[2:-1]), "names 'builtins.print'"),
    "a command before archives": (pickle.dumps(Command(), 2), "names '__builtin__.print'"),
    "eval": (pt.archive(pt.called(pt.name("builtins", "eval"), pt.text("1"))), "names 'builtins.eval'"),
    "numpy": (pt.archive(pickle.dumps(np.ones(3), 2)[2:-1]), "names 'numpy"),
    "a module": (pt.archive(pt.name("torch.nn.modules.rnn", "GRU") + b")\x81"), "names 'torch.nn.modules.rnn.GRU'"),
    "old operations": (pt.archive(b"(I1\nios\nsystem\n"), "operation b'I'"),
    "an instance": (pt.archive(b"(ios\nsystem\n"), "operation b'i'"),
    "an object": (pt.archive(SIZE + b")\x81"), "operation b'.x81'"),
    "a set": (pt.archive(b"\x8f"), "operation b'.x8f'"),
    "bytes": (pt.archive(b"C\x01a"), "operation b'C'"),
    "extension": (pt.archive(b"\x82\x01"), "operation b'.x82'"),
    "name of numbers": (pt.archive(b"K\x01K\x02\x93"), "makes no sense"),
    "endless name": (pt.archive(b"c" + b"a" * 5000), "makes no sense"),
    "not UTF-8": (pt.archive(b"X\x01\x00\x00\x00\xff"), "not UTF-8"),
    "long text": (pt.archive(b"X\xff\xff\xff\xffa"), "breaks off"),
    "longer text": (pt.archive(b"\x8d" + b"\xff" * 8), "breaks off"),
    "long number": (pt.archive(b"\x8a\xffa"), "breaks off"),
    "stack empty": (pt.archive(b"R"), "makes no sense"),
    "no mark": (pt.archive(b"t"), "makes no sense"),
    "below a mark": (pt.archive(b"K\x01(\x85"), "makes no sense"),
    "memo empty": (pt.archive(b"h\x01"), "makes no sense"),
    "memo far": (pt.archive(b"Nr\xff\xff\xff\xffj\xff\xff\xff\xfej"), "makes no sense"),
    "two values": (pt.archive(b"NN"), "leaves 2 values"),
    "no value": (pt.archive(b""), "leaves 0 values"),
    "append to a tuple": (pt.archive(b")Na"), "appends to something other"),
    "item of a list": (pt.archive(b"]NNs"), "sets items of something other"),
    "key of a tuple": (pt.archive(b"})Ns"), "keys of a dict"),
    "keys odd": (pt.archive(b"}(K\x01u"), "keys of a dict"),
    "attributes of a list": (pt.archive(b"]}b"), "sets attributes"),
    "call of a number": (pt.archive(b"K\x01)R"), "calls something"),
    "call with a list": (pt.archive(SIZE + b"]R"), "calls something"),
    "call of a type": (pt.archive(pt.name("torch", "FloatStorage") + b")R"), "calls something"),
    "dict from pairs": (pt.archive(pt.called(pt.name("collections", "OrderedDict"), b"]")), "a dict is made"),
    "size of text": (pt.archive(pt.called(SIZE, pt.text("ab"))), "a size is made"),
    "size negative": (pt.archive(pt.called(SIZE, pt.numbers(-1))), "a size is made"),
    "parameter of text": (pt.archive(pt.called(pt.name("torch._utils", "_rebuild_parameter"), pt.text("a"), b"N", b"N")),
                          "a parameter is made"),
    "a name left": (pt.archive(SIZE), "stands where a value"),
    "a name inside": (pt.archive(pt.items(b"]" + SIZE + b"a")), "stands where a value"),
    "a storage left": (pt.archive(pt.storage("Float", "0", 4), FOUR), "stands where a value"),
    "storage missing": (pt.archive(vector(4, key="1"), FOUR), "'data/1' is missing"),
    "storage elsewhere": (pt.archive(vector(4, key="../version"), FOUR), "'data/../version' is missing"),
    "storage short": (pt.archive(vector(5), FOUR), "16 bytes, not 5 items of 4"),
    "storage long": (pt.archive(vector(3), FOUR), "16 bytes, not 3 items of 4"),
    "storage huge": (pt.archive(pt.tensor("Float", "0", 2**62, (2,), (1,)), FOUR), "16 bytes, not"),
    "storage of two types": (pt.archive(pt.items(vector(4), vector(2, "Double")), FOUR), "two types"),
    "storage negative": (pt.archive(pt.tensor("Float", "0", -4, (4,), (1,)), FOUR), "storage is not described"),
    "storage key number": (pt.archive(lying(vector(4), pt.text("0"), b"K\x00"), FOUR), "storage is not described"),
    "storage with a view": (pt.archive(pt.tensor("", "", 0, (4,), (1,), stored=pt.storage("Float", "0", 4, b"N")), FOUR),
                            "more than a type"),
    "not a storage": (pt.archive(lying(vector(4), pt.text("storage"), pt.text("module")), FOUR), "storage is not described"),
    "persistent number": (pt.archive(b"K\x01Q"), "storage is not described"),
    "tensor of a number": (pt.archive(vector(4, stored=b"K\x01")), "tensor is not described"),
    "too few arguments": (pt.archive(pt.called(pt.name("torch._utils", "_rebuild_tensor_v2"), b"N")), "a tensor is made"),
    "shape list": (pt.archive(lying(vector(4), b"(K\x04t", b"](K\x04e"), FOUR), "tensor is not described"),
    "shape negative": (pt.archive(pt.tensor("Float", "0", 4, (-1,), (1,)), FOUR), "tensor is not described"),
    "shape of true": (pt.archive(lying(vector(4), b"(K\x04t", b"(\x88t"), FOUR), "tensor is not described"),
    "shape without strides": (pt.archive(pt.tensor("Float", "0", 4, (2, 2), (1,)), FOUR), "tensor is not described"),
    "65 axes": (pt.archive(pt.tensor("Float", "0", 4, (1,) * 65, (1,) * 65), FOUR), "tensor is not described"),
    "stride negative": (pt.archive(pt.tensor("Float", "0", 4, (4,), (-1,), offset=3), FOUR), "tensor is not described"),
    "offset negative": (pt.archive(vector(4, offset=-1), FOUR), "tensor is not described"),
    "conjugated": (pt.archive(vector(4, more=[pt.mapping({"conj": b"\x88"}, b"}")]), FOUR), "tensor is not described"),
    "beyond by size": (pt.archive(pt.tensor("Float", "0", 4, (5,), (1,)), FOUR), "beyond its storage"),
    "beyond by offset": (pt.archive(vector(4, offset=1), FOUR), "beyond its storage"),
    "beyond by stride": (pt.archive(pt.tensor("Float", "0", 4, (2, 2), (3, 1)), FOUR), "beyond its storage"),
    "repeated": (pt.archive(pt.tensor("Float", "0", 4, (9, 4), (0, 1)), FOUR), "or repeats it"),
    "a wrap": (pt.archive(pt.tensor("Float", "0", 4, (2,), (2**62,)), FOUR), "too large"),
    "huge": (pt.archive(pt.tensor("Float", "0", 4, (2**40, 2**40), (0, 0)), FOUR), "too large"),
    "huge but empty": (pt.archive(pt.tensor("Float", "0", 4, (2**62, 2**62, 0), (0, 0, 0)), FOUR), "too large"),
    "byte order": (pt.archive(vector(4), FOUR, order=b"middle"), "byte order"),
    "compressed": (pt.archive(vector(400), {"0": bytes(1600)}, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "no pickle": (lying(pt.archive(b"N"), b"archive/data.pkl\x80", b"archive/data.xyz\x80").replace(
        b"archive/data.pkl", b"archive/data.xyz"), "no data.pkl"),
    "twice": (None, "occurs twice"),
    "overlapping parts": (overlapping(), "parts overlap"),
    "cut": (pt.archive(vector(4), FOUR)[:-30], "zip directory"),
    "cut at the front": (b"PK\3\4" + pt.archive(vector(4), FOUR)[40:], "not where|zip directory|missing"),
    "stream, version": (pt.stream(IN_STREAM, STREAM, version=1000), "version or byte order"),
    "stream, big endian": (pt.stream(IN_STREAM, STREAM, little=b"\x89"), "version or byte order"),
    "stream, magic": (pt.stream(IN_STREAM, STREAM, magic=7), "begins as no file"),
    "stream, keys missing": (pt.stream(IN_STREAM, STREAM, keys=[]), "list of storages"),
    "stream, keys more": (pt.stream(IN_STREAM, STREAM, keys=["0", "1"]), "list of storages"),
    "stream, keys twice": (pt.stream(IN_STREAM, STREAM, keys=["0", "0"]), "list of storages"),
    "stream, count": (pt.stream(IN_STREAM, STREAM, counts={"0": 5}), "not 4 items"),
    "stream, cut": (pt.stream(IN_STREAM, STREAM)[:-1], "not 4 items"),
    "stream, huge": (pt.stream(pt.tensor("", "", 0, (4,), (1,), stored=pt.storage("Float", "0", 2**70, b"N")), STREAM),
                     "items long"),
    "stream, view": (pt.stream(pt.tensor("", "", 0, (4,), (1,), stored=pt.storage("Float", "0", 4, b")")), STREAM),
                     "views of storages"),
    "stream, two types": (pt.stream(pt.items(IN_STREAM, IN_STREAM.replace(b"FloatStorage", b"LongStorage")), STREAM),
                          "two types"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(read, tmp_path, case, capsys):
    data, words = HOSTILE[case]
    data = repeated("archive/byteorder") if data is None else data
    with pytest.raises(ValueError, match=words) as caught:
        read(data)
    assert str(caught.value).startswith(f"{tmp_path / 'x.pt'}: ") and len(str(caught.value)) < 500
    assert capsys.readouterr().out == ""


def test_a_file_cannot_ask_for_work(read):
    """Operations of a few bytes that name something long again and again; containers a million deep."""
    long = b"(" + 20_000 * b"K\x01" + b"tq\x00"
    with pytest.raises(ValueError, match="a size is made"):
        read(pt.archive(long + SIZE + b"q\x01" + 20_000 * b"h\x01h\x00\x85R"))
    with pytest.raises(ValueError, match="keys of a dict"):
        read(pt.archive(b"}" + b")" + 100_000 * b"\x85" + b"Ns"))
    deep = read(pt.archive(b"]" + 100_000 * b"]" + 100_000 * b"a"))
    depth = 0
    while deep:
        (deep,), depth = deep, depth + 1
    assert depth == 100_000
    shared = read(pt.archive(b")q\x00" + 200 * b"h\x00\x86q\x00"))  # 2^200 leaves, were they not shared
    assert len(shared) == 2


def test_nothing_is_allocated_by_a_number(read):
    """A count of 2^40 items is compared with the file's size, not reserved."""
    import tracemalloc

    data = pt.archive(pt.tensor("Float", "0", 2**40, (2**40,), (1,)), FOUR)
    tracemalloc.start()
    with pytest.raises(ValueError, match="16 bytes, not"):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_pt(tmp_path / "nothing.pt")


# ---- damaged files ------------------------------------------------------------------------------


def originals():
    storages = {"7": np.arange(6.0, dtype="f4"), "12": np.array([1, 2])}
    first, second = pt.storage("Float", "7", 6, b"N"), pt.storage("Long", "12", 2, b"N")
    body = pt.mapping({
        "a": pt.tensor("", "", 0, (2, 3), (3, 1), stored=first), "b": pt.tensor("", "", 0, (2,), (1,), stored=second),
    })  # fmt: skip
    return [pt.state_dict_file(pt.example()), pt.stream(body, storages)]


def damage():
    """``make`` of ``refusals``."""
    sources = originals()
    return lambda i, rng: mutated(sources[i % len(sources)], rng)


def read_plain(path):
    assert plain(read_pt(path))


def plain(value):
    """Only what such a file may hold."""
    if isinstance(value, (dict, list, tuple)):
        return all(map(plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, (np.ndarray, str, int, float, bool))


def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path):
    refused = refusals(tmp_path / "x.pt", read_plain, damage(), 2000, np.random.default_rng(0))
    assert 500 < refused < 2000  # some reach the tensors' bytes alone


@pytest.mark.nightly
def test_more_damaged_files(tmp_path):
    assert refusals(tmp_path / "x.pt", read_plain, damage(), 20_000, np.random.default_rng(1)) > 5000


def test_a_pickle_may_be_cut_anywhere(read):
    data = pt.program(pt.mapping({"a": vector(4)}))
    for end in range(len(data)):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as parts:
            parts.writestr("archive/data.pkl", data[:end])
            parts.writestr("archive/data/0", bytes(16))
        with pytest.raises(ValueError, match="x.pt: "):
            read(file.getvalue())
