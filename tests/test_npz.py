"""``read_npz`` and ``write_npz``: with NumPy's own functions both ways, hostile files, and damaged ones."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from damaged import mutated, reader, refusals, zipped
from keras_files import claiming
from pt_files import same_bits
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.interop import read_npz, write_npz

DTYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16"]


def arrays():
    made = {dtype: np.array([[0, 1, 5], [2, 3, 100]]).astype(dtype) for dtype in DTYPES}
    return made | {"turned": made["f4"].T, "swapped": made["f8"].astype(">f8"), "scalar": np.array(3.5),
                   "empty": np.zeros((0, 3)), "layers.0/ü": np.ones(2)}  # fmt: skip


def check(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        same_bits(name, np.ascontiguousarray(found[name]), np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
        assert found[name].flags.writeable and found[name].flags.aligned


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_of_numpy(tmp_path, save):
    save(tmp_path / "x.npz", **arrays())
    check(read_npz(tmp_path / "x.npz"), arrays())


def test_files_for_numpy(tmp_path):
    write_npz(tmp_path / "x.npz", arrays())
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        check({name: found[name].copy() for name in found.files}, arrays())
    check(read_npz(tmp_path / "x.npz"), arrays())


def test_the_longest_name(tmp_path):
    for name in ("a" * 65531, "ü" * 32765 + "a"):
        write_npz(tmp_path / "x.npz", {name: 1.0})
        assert list(read_npz(tmp_path / "x.npz")) == [name]


def test_a_layer_takes_it(tmp_path):
    layer, twin = fr.LSTM(3, 4, bidirectional=True, rng=0), fr.LSTM(3, 4, bidirectional=True)
    write_npz(tmp_path / "x.npz", layer.parameters)
    twin.load_state_dict(read_npz(tmp_path / "x.npz"))
    for name, array in layer.parameters.items():
        assert_same_bits(name, twin.parameters[name], array)


@pytest.mark.parametrize("tensors, error, words", [
    ([1], TypeError, "tensors: .*list"), ({"a": None}, TypeError, "'a'"), ({"a": "text"}, TypeError, "'a'"),
    ({3: 1.0}, TypeError, "name"), ({"a": np.ones(2, "g")}, TypeError, "'a'"),
    ({"b": 1.0, "a\0b": 1.0}, ValueError, r"tensors\['a\\x00b'\]: .*without NUL"),
    ({"b": 1.0, "ü" * 32766: 1.0}, ValueError, r"tensors\['ü{79}\]: .* 65531 bytes in UTF-8, got 65532 bytes"),
])  # fmt: skip
def test_bad_arguments_write_nothing(tmp_path, tensors, error, words):
    with pytest.raises(error, match=words):
        write_npz(tmp_path / "x.npz", tensors)
    assert list(tmp_path.iterdir()) == []


# ---- hostile files ------------------------------------------------------------------------------


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path / "x.npz", read_npz)


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def array(header="{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", data=bytes(8), length=None, version=b"\1\0"):
    """A file of one array."""
    length = len(header) if length is None else length
    size = length.to_bytes(2 if version == b"\1\0" else 4, "little")
    return zipped({"a.npy": b"\x93NUMPY" + version + size + header.encode() + data})


def header(descr="'<f4'", shape="(2,)", more=""):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {more}}}"


HOSTILE = {
    "empty": (b"", "zip directory"),
    "text": (b"numpy", "zip directory"),
    "an array alone": (zipped({"a.npy": b""})[4:], "not where|zip directory"),
    "no array": (zipped({"a.txt": b"1"}), "'a.txt' is no array"),
    "no magic": (zipped({"a.npy": b"NUMPY" + bytes(100)}), "'a.npy' is no array"),
    "short": (zipped({"a.npy": b"\x93NUMPY\1\0"}), "'a.npy' is no array"),
    "version": (array(version=b"\7\0"), "is no array"),
    "header beyond": (array(length=9000), "a header of 9000 bytes"),
    "header long": (array(header(more=" " * 20_000)), "a header of 2"),
    "header of 4 GB": (array(length=2**32 - 1, version=b"\2\0"), "a header of 4294967295"),
    "no header": (array("{}"), "no plain array's"),
    "two types": (array(header(more="'descr': '<f8', ")), "no plain array's"),
    "a call": (array(header(shape="(open('a'),)")), "no plain array's"),
    "records": (array(header("[('a', '<f4')]")), "no plain array's"),
    "objects": (saved(a=np.array([None])), "type '.O', which are no numbers|no plain array's"),
    "objects, as bytes": (array(header("'|o8'")), "no numbers"),
    "texts": (saved(a=np.array(["text"])), "no numbers|no plain array's"),
    "long double": (array(header("'<f16'"), bytes(32)), "no numbers"),
    "dates": (array(header("'<m8'")), "no numbers"),
    "unknown type": (array(header("'<f3'")), "no numbers"),
    "short data": (array(data=bytes(7)), "7 bytes, its shape needs 8"),
    "long data": (array(data=bytes(9)), "9 bytes, its shape needs 8"),
    "negative": (array(header(shape="(-2,)")), "no plain array's"),
    "huge": (array(header(shape="(1099511627776, 1099511627776)")), "its shape needs"),
    "wraps": (array(header(shape="(4611686018427387906,)")), "its shape needs"),
    "huge but empty": (array(header(shape="(4611686018427387904, 4611686018427387904, 0)"), b""), "too large"),
    "digits": (array(header(shape=f"({'9' * 5000},)")), "too large"),
    "axes": (array(header(shape=f"({'1,' * 65})"), bytes(4)), "too large"),
    "checksum": (saved(a=np.full(2, 7.5)).replace(np.float64(7.5).tobytes(), np.float64(7.25).tobytes()), "checksum"),
    "cut": (saved(a=np.ones(9))[:-30], "zip directory"),
    "encrypted": (zipped({"a.npy": b"x"}).replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"), "encrypted"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(read, tmp_path, case):
    data, words = HOSTILE[case]
    with pytest.raises(ValueError, match=words) as caught:
        read(data)
    assert str(caught.value).startswith(f"{tmp_path / 'x.npz'}: ") and len(str(caught.value)) < 500


def test_nothing_is_allocated_by_a_number(read):
    data = array(header(shape="(1099511627776,)"))
    tracemalloc.start()
    with pytest.raises(ValueError, match="8 bytes, its shape needs 4398046511104"):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("size", [2**63 - 2, 2**63 - 1, 2**64 - 1])
def test_a_size_that_no_array_can_have(read, size):
    with pytest.raises(ValueError, match=r"x\.npz: the part 'a.npy' does not decompress to the size"):
        read(claiming(zipped({"a.npy": bytes(99)}, zipfile.ZIP_DEFLATED), size))


def test_pickles_are_never_run(read, capsys):
    class Command:
        def __reduce__(self):
            return print, ("this ran",)

    file = io.BytesIO()
    np.savez(file, allow_pickle=True, a=np.array([Command()], object))
    with pytest.raises(ValueError, match="a.npy"):
        read(file.getvalue())
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_npz(tmp_path / "nothing.npz")


# ---- damaged files ------------------------------------------------------------------------------


def damage():
    """``make`` of ``refusals``: whole files, and arrays under a checksum that is right."""
    layer = fr.GRU(3, 4, rng=0).state_dict()
    files = [saved(**layer), zipped({"a.npy": bytes(50)}, zipfile.ZIP_DEFLATED)]
    file = io.BytesIO()
    np.savez_compressed(file, **layer)
    files.append(file.getvalue())
    with zipfile.ZipFile(io.BytesIO(files[0])) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def make(i, rng):
        if i % 2:
            return mutated(files[i // 2 % 3], rng)
        name = list(parts)[i // 2 % len(parts)]
        return zipped({name: mutated(parts[name][:160], rng) + parts[name][160:]})

    return make


def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path):
    refused = refusals(tmp_path / "x.npz", read_npz, damage(), 500, np.random.default_rng(0))
    assert 200 < refused < 500


@pytest.mark.nightly
def test_more_damaged_files(tmp_path):
    assert refusals(tmp_path / "x.npz", read_npz, damage(), 20_000, np.random.default_rng(1)) > 8000
