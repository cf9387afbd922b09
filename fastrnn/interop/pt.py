"""Files of ``torch.save``, read without PyTorch.

Such a file is a zip archive of uncompressed parts (a pickle, and the bytes of every storage) or, as written before
PyTorch 1.6, five pickles and the storages behind them. Nothing in the pickle is executed: ``_pt_pickle`` knows the few
operations that containers and tensors need, and refuses everything else by name.

The file is read once; tensors are views of that memory. No number in the file decides how much is allocated.
"""

import numpy as np

from .. import _validate
from ._archive import Archive, read_bytes
from ._pt_pickle import Unpickler

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what a file without an archive begins with
_ALIGNED = 16  # bytes: of the largest item, and of what NumPy allocates


def read_pt(path):
    """Read a ``.pt`` or ``.pth`` file of ``torch.save``: a ``state_dict``, or containers of tensors.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict, list, tuple, ndarray, int, float, str, bool or None
        What was saved, tensors as arrays: writable, native byte order; bfloat16 as float32. Tensors that shared memory
        share it. What hangs on a ``state_dict`` beside its tensors (``_metadata``) is left out.

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but tensors, dicts, lists, tuples, strings and numbers; names the file
        and what is wrong.
    OSError
        If it cannot be read.

    Examples
    --------
    ``fr.LSTM(40, 128).load_state_dict(fr.interop.read_pt("lstm.pt"))`` takes the weights that
    ``torch.save(lstm.state_dict(), "lstm.pt")`` wrote.
    """
    path = _validate.path(path)
    with open(path, "rb") as file:
        data = read_bytes(file, path)
        archive = data[:4].tobytes() == b"PK\3\4"
        return (_Archive(file, data, path) if archive else _Stream(data, path)).value()


class _Archive(Archive):
    """A zip archive: ``NAME/data.pkl``, ``NAME/data/KEY`` and, since PyTorch 2.1, ``NAME/byteorder``."""

    def __init__(self, file, data, path):
        super().__init__(file, data, path, lambda name: name.partition("/")[2])
        self.storages = {}
        if "data.pkl" not in self.parts:
            _validate.refuse_file(path, "it has no data.pkl: torch.save did not write it")

    def value(self):
        """What was saved."""
        order = self.part("byteorder").tobytes() if "byteorder" in self.parts else b"little"
        if order not in (b"little", b"big"):
            _validate.refuse_file(self.path, f"unknown byte order {order!r:.40}")
        self.order = "<" if order == b"little" else ">"
        return Unpickler(self.part("data.pkl").tobytes(), self.path, self.storage).value()

    def storage(self, kind, key, count, *rest):
        """The storage that the pickle calls ``key``."""
        if rest:
            _validate.refuse_file(self.path, "a storage has more than a type, a key, a place and a size")
        if key not in self.storages:
            data = self.part(f"data/{key}")
            self.storages[key] = kind, count, _items(data, kind, count, self.order, key, self.path)
        former, size, array = self.storages[key]
        if (former, size) != (kind, count):
            _validate.refuse_file(self.path, f"the storage {key!r:.40} has two types or sizes")
        return array


class _Stream:
    """Five pickles (a magic number, a version, the machine, what was saved, the keys in order), then the storages."""

    def __init__(self, data, path):
        self.data, self.path, self.storages, self.found = data, path, {}, {}

    def value(self):
        """What was saved. Its pickle is run twice, as the storages come behind it."""
        raw, at, head = self.data.tobytes(), 0, []
        for _ in range(5):
            here = at
            reader = Unpickler(raw, self.path, self._noted, at)
            value, at = reader.value(), reader.at
            head.append((here, value))
            if len(head) == 1 and (type(value) is not int or value != _MAGIC):
                _validate.refuse_file(self.path, "it begins as no file of torch.save does")
        (_, version), (_, machine), (place, _), (_, keys) = head[1:]
        little = isinstance(machine, dict) and machine.get("little_endian") is True
        if type(version) is not int or version != _PROTOCOL or not little:
            _validate.refuse_file(self.path, "its version or byte order is none that is known here")
        if not isinstance(keys, list) or not all(type(key) is str for key in keys) or sorted(keys) != sorted(self.found):
            _validate.refuse_file(self.path, "its list of storages does not fit its tensors")
        for key in keys:
            at = self._read(key, at)
        return Unpickler(raw, self.path, self._given, place).value()

    def _noted(self, kind, key, count, view=None):
        if view is not None:
            _validate.refuse_file(self.path, "it has views of storages, as of before PyTorch 0.4")
        if self.found.setdefault(key, (kind, count)) != (kind, count):
            _validate.refuse_file(self.path, f"the storage {key!r:.40} has two types or sizes")
        return None

    def _given(self, kind, key, count, view=None):
        return self.storages[key]

    def _read(self, key, at):
        """The storage that begins at ``at``: the number of its items, then these; returns where it ends."""
        kind, count = self.found[key]
        start, size = at + 8, count * kind.itemsize
        if start + size > self.data.size or self.data[at:start].tobytes() != count.to_bytes(8, "little"):
            _validate.refuse_file(self.path, f"the storage {key!r:.40} is not {count} items long")
        self.storages[key] = _items(self.data[start : start + size], kind, count, "<", key, self.path)
        return start + size


def _items(data, kind, count, order, key, path):
    """The bytes of a storage as an array of its items in native byte order, aligned."""
    if data.size != count * kind.itemsize:
        _validate.refuse_file(path, f"the storage {key!r:.40} has {data.size} bytes, not {count} items of {kind.itemsize}")
    stored = np.dtype(kind.stored)
    if data.ctypes.data % _ALIGNED:
        data = data.copy()
    items = data.view(stored.newbyteorder(order)).astype(stored, copy=False)
    if kind.name == "bool":
        return items != 0
    if kind.name == "bfloat16":  # the upper half of a float32
        return (items.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return items
