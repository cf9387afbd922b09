"""Files as ``torch.save`` writes them, made by hand: pickles from their operations, archives from their parts."""

import io
import struct
import zipfile

import numpy as np
from tolerance import assert_same_bits

#: NumPy dtype -> name of the storage class.
STORAGES = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "int32": "Int", "int16": "Short",
            "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat",
            "complex128": "ComplexDouble"}  # fmt: skip


def name(module, attribute):
    """The operation that names a class or a function."""
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    """In the shortest of the forms that pickle has for it."""
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if 0 <= value < 65536:
        return b"M" + struct.pack("<H", value)
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def items(*values):
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def numbers(*values):
    return items(*map(number, values))


def called(function, *arguments):
    return function + items(*arguments) + b"R"


def storage(kind, key, count, *more):
    """The operation that stands for a storage."""
    return items(text("storage"), name("torch", f"{kind}Storage"), text(key), text("cpu"), number(count), *more) + b"Q"


ORDERED = name("collections", "OrderedDict") + b")R"


def tensor(kind, key, count, shape, strides, offset=0, more=(), stored=None, function="_rebuild_tensor_v2"):
    stored = storage(kind, key, count) if stored is None else stored
    return called(name("torch._utils", function), stored, number(offset), numbers(*shape), numbers(*strides),
                  b"\x89", ORDERED, *more)  # fmt: skip


def mapping(entries, start=ORDERED):
    """A dict: key -> operations of its value."""
    return start + b"(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def program(body):
    return b"\x80\x02" + body + b"."


def archive(body, storages=(), order=b"little", compression=zipfile.ZIP_STORED, extra=()):
    """The bytes of a file: of a pickle's operations and of storages by key."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as parts:
        parts.writestr("archive/data.pkl", program(body))
        if order is not None:
            parts.writestr("archive/byteorder", order)
        for key, data in dict(storages).items():
            parts.writestr(f"archive/data/{key}", data)
        parts.writestr("archive/version", b"3\n")
        for part, data in extra:
            parts.writestr(part, data)
    return file.getvalue()


def state_dict_file(arrays):
    """A ``state_dict`` of C-contiguous arrays, in an archive."""
    entries, storages = {}, {}
    for key, (title, array) in enumerate(arrays.items()):
        steps = [step // array.itemsize for step in array.strides]
        entries[title] = tensor(STORAGES[array.dtype.name], str(key), array.size, array.shape, steps)
        storages[str(key)] = array.tobytes()
    metadata = mapping({"_metadata": mapping({"": mapping({"version": number(1)}, b"}")})}, b"}")
    return archive(mapping(entries) + metadata + b"b", storages)


def stream(body, storages, keys=None, counts=None, magic=0x1950A86A20F9469CFC6C, version=1001, little=b"\x88"):
    """The same as before there were archives: five pickles and the storages."""
    listed = sorted(storages) if keys is None else keys
    machine = mapping({"protocol_version": number(1001), "little_endian": little}, b"}")
    head = [number(magic), number(version), machine, body, b"](" + b"".join(map(text, listed)) + b"e"]
    data = b"".join(map(program, head))
    for key in sorted(storages):
        array = storages[key]
        data += struct.pack("<q", array.size if counts is None else counts[key]) + array.tobytes()
    return data


def example():
    """A ``state_dict`` of a small layer and what else is found in one."""
    rng = np.random.default_rng(0)
    return {
        "rnn.weight_ih_l0": rng.standard_normal((6, 3)).astype(np.float32),
        "rnn.bias_ih_l0": rng.standard_normal(6),
        "steps": np.array(17),
        "mask": np.array([True, False, True]),
    }


def same_bits(name, result, expected):
    """``assert_same_bits``, also of complex numbers."""
    if expected.dtype.kind == "c":
        assert result.dtype == expected.dtype
        result, expected = (np.ascontiguousarray(a).view(a.real.dtype) for a in (result, expected))
    assert_same_bits(name, result, expected)
