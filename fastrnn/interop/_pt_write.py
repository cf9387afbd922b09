"""``write_pt``: a ``state_dict`` in a file that ``torch.load`` reads, written without PyTorch."""

import struct

from .. import _validate
from ..files import write_atomically

#: NumPy's name of a dtype -> PyTorch's class of storage.
_STORAGES = {
    "float64": "Double", "float32": "Float", "float16": "Half", "int64": "Long", "int32": "Int", "int16": "Short",
    "int8": "Char", "uint8": "Byte", "bool": "Bool",
}  # fmt: skip


def write_pt(path, tensors):
    """Write arrays into a ``.pt`` file, as ``torch.save`` writes a ``state_dict``; it appears complete or not at all.

    Parameters
    ----------
    path : str or path-like
    tensors : mapping of str to array_like
        Such as ``module.state_dict()``.

    Raises
    ------
    TypeError, ValueError
        For names or arrays that such a file cannot hold.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile, fastrnn as fr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.pt")
    ...     fr.interop.write_pt(path, fr.GRU(3, 4).state_dict())
    ...     list(fr.interop.read_pt(path))
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    """
    import io
    import zipfile

    path = _validate.path(path)
    arrays, _ = _validate.tensors_to_write(tensors, None, _STORAGES)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", _pickle(arrays))
        archive.writestr("archive/byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            with archive.open(f"archive/data/{key}", "w", force_zip64=True) as part:
                part.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        archive.writestr("archive/version", b"3\n")
    write_atomically(path, [file.getvalue()])


def _pickle(arrays):
    """The pickle of an OrderedDict of tensors, protocol 2."""
    entries = []
    for key, (name, array) in enumerate(arrays.items()):
        storage = _tuple(_text("storage"), _name("torch", f"{_STORAGES[array.dtype.name]}Storage"), _text(str(key)),
                         _text("cpu"), _number(array.size))  # fmt: skip
        strides = [step // array.itemsize for step in array.strides]
        tensor = _tuple(storage + b"Q", _number(0), _tuple(*map(_number, array.shape)), _tuple(*map(_number, strides)),
                        b"\x89", _ORDERED)  # fmt: skip
        entries.append(_text(name) + _name("torch._utils", "_rebuild_tensor_v2") + tensor + b"R")
    return b"\x80\x02" + _ORDERED + b"(" + b"".join(entries) + b"u."


def _name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def _text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(value):
    """Up to 2^63, in 8 bytes."""
    return b"\x8a\x08" + struct.pack("<q", value)


def _tuple(*values):
    return b"(" + b"".join(values) + b"t"


_ORDERED = _name("collections", "OrderedDict") + b")R"
