"""NumPy archives: a ``state_dict`` in a ``.npz`` file, names as in PyTorch.

``numpy.savez`` and ``numpy.load`` write and read the same files. This reader has no pickle to be careful with, and the
size of an array is compared with what there is of it before anything is allocated.
"""

import re

import numpy as np

from .. import _validate
from ..files import extent, write_atomically
from ._archive import Archive, read_bytes

_DTYPES = frozenset(
    "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 complex64 complex128".split()
)
_MAX_AXES = 64  # of a NumPy array
_LONGEST_HEADER = 10_000  # bytes; NumPy's own bound
_LONGEST_NAME = 65535 - len(".npy")  # bytes; a zip archive has 16 bits for the length
_HEADER = {
    "descr": re.compile(r"""['"]descr['"] *: *['"]([<>|=]?[a-z]\d*)['"]"""),
    "order": re.compile(r"""['"]fortran_order['"] *: *(True|False)"""),
    "shape": re.compile(r"""['"]shape['"] *: *\(([\d, ]*)\)"""),
}


def write_npz(path, tensors):
    """Write arrays into a ``.npz`` file, as ``numpy.savez`` would; it appears complete or not at all.

    Parameters
    ----------
    path : str or path-like
    tensors : mapping of str to array_like
        Such as ``module.state_dict()``: booleans, integers, floats.

    Raises
    ------
    TypeError, ValueError
        For names or arrays that cannot be written.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile, fastrnn as fr
    >>> layer, twin = fr.GRU(3, 4), fr.GRU(3, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.npz")
    ...     fr.interop.write_npz(path, layer.state_dict())
    ...     twin.load_state_dict(fr.interop.read_npz(path))
    >>> bool((twin.parameters["weight_hh_l0"] == layer.parameters["weight_hh_l0"]).all())
    True
    """
    import io
    import zipfile

    path = _validate.path(path)
    arrays, _ = _validate.tensors_to_write(tensors, None, _DTYPES)
    _validate.zip_names(arrays, _LONGEST_NAME)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, array, allow_pickle=False)
    write_atomically(path, [file.getvalue()])


def read_npz(path):
    """Read the arrays of a ``.npz`` file.

    Parameters
    ----------
    path : str or path-like
        Of ``numpy.savez``, ``savez_compressed`` or ``write_npz``.

    Returns
    -------
    dict of str to ndarray
        Writable, native byte order.

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but booleans and numbers: objects, texts, records. Names the file and
        what is wrong.
    OSError
        If it cannot be read.

    Examples
    --------
    See ``write_npz``.
    """
    path = _validate.path(path)
    with open(path, "rb") as file:
        data = read_bytes(file, path)
        archive = Archive(file, data, path, deflated=True)
    arrays = {}
    for part in archive.parts:
        if not part.endswith(".npy"):
            archive.refuse(part, "is no array")
        arrays[part.removesuffix(".npy")] = _array(archive, part)
    return arrays


def _array(archive, part):
    """An array from a ``.npy`` file: a magic number, a header in Python's words, the items."""
    data = archive.part(part, checked=True)
    head = data[:12].tobytes()
    version = head[6:8]
    if head[:6] != b"\x93NUMPY" or version not in (b"\1\0", b"\2\0", b"\3\0") or len(head) < 12:
        archive.refuse(part, "is no array")
    start = 10 if version == b"\1\0" else 12
    length = int.from_bytes(head[8:start], "little")
    if length > min(_LONGEST_HEADER, data.size - start):
        archive.refuse(part, f"has a header of {length} bytes")
    dtype, order, shape = _described(archive, part, data[start : start + length].tobytes().decode("latin-1"))
    items = data[start + length :]
    size, possible = extent(shape, dtype.itemsize)
    if items.size != size:
        archive.refuse(part, f"has {items.size} bytes, its shape needs {size}")
    if not possible:
        archive.refuse(part, "has a shape that is too large")
    if dtype.kind == "b":
        return (items != 0).reshape(shape, order=order)
    return items.view(dtype).astype(dtype.newbyteorder("=")).reshape(shape, order=order)  # a copy: writable, aligned


def _described(archive, part, header):
    """Type, order and shape that a header gives."""
    found = {key: pattern.findall(header) for key, pattern in _HEADER.items()}
    if any(len(values) != 1 for values in found.values()):
        archive.refuse(part, "has a header that is no plain array's")
    (descr,), (order,), (shape,) = found.values()
    dtype = problem = None
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError) as error:
        problem = error
    if problem or dtype.newbyteorder("=").name not in _DTYPES:
        archive.refuse(part, f"has items of type {descr!r:.40}, which are no numbers")
    sizes = [size for size in shape.replace(" ", "").split(",") if size]
    if len(sizes) > _MAX_AXES or any(len(size) > 20 for size in sizes):
        archive.refuse(part, "has a shape that is too large")
    return dtype, "F" if order == "True" else "C", tuple(map(int, sizes))
