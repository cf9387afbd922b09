"""The pickle of a file of ``torch.save``: containers, numbers, strings and tensors, and nothing else.

A pickle is a program for a machine with a stack and a memo. This one knows the operations that pickling such values
gives, in protocols 2 to 5; a name of a class or a function is looked up in a table of a few, never imported. Every
operation takes time and memory in proportion to its own bytes, so a file cannot ask for more than its size.
"""

import struct
from dataclasses import dataclass

import numpy as np

from .. import _validate


@dataclass(frozen=True)
class Kind:
    """The items of a storage: their name in PyTorch, and the type of what is stored."""

    name: str
    stored: str

    @property
    def itemsize(self):
        return np.dtype(self.stored).itemsize


_KINDS = {name: Kind(name, stored) for name, stored in {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "int64": "i8", "int32": "i4", "int16": "i2",
    "int8": "i1", "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "u1", "complex64": "c8",
    "complex128": "c16",
}.items()}  # fmt: skip
_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}  # fmt: skip


@dataclass(frozen=True)
class _Name:
    """A class or function that a pickle may name."""

    does: str  # "dict", "size", "tensor", "tensor3", "parameter", "kind", "dtype"
    kind: Kind | None = None


_NAMES = {
    "collections.OrderedDict": _Name("dict"),
    "torch.Size": _Name("size"),
    "torch._utils._rebuild_tensor": _Name("tensor"),
    "torch._utils._rebuild_tensor_v2": _Name("tensor"),
    "torch._utils._rebuild_tensor_v3": _Name("tensor3"),
    "torch._utils._rebuild_parameter": _Name("parameter"),
    "torch.storage.UntypedStorage": _Name("kind", _KINDS["uint8"]),
    **{f"torch.{name}Storage": _Name("kind", _KINDS[kind]) for name, kind in _STORAGES.items()},
    **{f"torch.{name}": _Name("dtype", kind) for name, kind in _KINDS.items()},
}
_MAX_AXES = 64  # of a NumPy array
_LONGEST_NAME = 1000  # bytes
_CONSTANTS = {ord("N"): None, 0x88: True, 0x89: False}
#: Operation -> the format of the number that follows it, and what the number is for.
_NUMBERS = {
    ord("J"): ("<i", "value"), ord("K"): ("<B", "value"), ord("M"): ("<H", "value"), ord("G"): (">d", "value"),
    ord("q"): ("<B", "put"), ord("r"): ("<I", "put"), ord("h"): ("<B", "get"), ord("j"): ("<I", "get"),
    ord("X"): ("<I", "text"), 0x8C: ("<B", "text"), 0x8D: ("<Q", "text"), 0x8A: ("<B", "long"), 0x80: ("<B", "ignore"),
    0x95: ("<Q", "ignore"),
}  # fmt: skip


class Unpickler:
    """Runs one pickle.

    Parameters
    ----------
    data : bytes
    path : str
        Of the file, for messages.
    storage : callable
        ``(kind, key, count, *rest) -> array``, or None while tensors are not wanted.
    at : int
        Where the pickle begins; afterwards where it ends.
    """

    def __init__(self, data, path, storage, at=0):
        self.data, self.path, self.at = data, path, at
        self._storage = storage
        self._stack, self._marks, self._memo = [], [], {}

    def refuse(self, problem):
        """Raise the ``ValueError``."""
        _validate.refuse_file(self.path, f"pickle: {problem}")

    def value(self):
        """What the pickle makes."""
        problem = None
        try:
            while (operation := self.data[self.at]) != ord("."):
                self.at += 1
                self._run(operation)
            self.at += 1
        except (IndexError, KeyError, struct.error):
            problem = f"it breaks off or makes no sense at byte {self.at}"
        except UnicodeDecodeError:
            problem = f"a text before byte {self.at} is not UTF-8"
        if problem is None and len(self._stack) != 1:
            problem = f"it leaves {len(self._stack)} values"
        if problem:
            self.refuse(problem)
        self._check(self._stack[0])
        return self._stack[0]

    def _check(self, result):
        """Refuse names and storages that are left over; containers may be as deep as they like."""
        left, seen = [result], set()
        while left:
            value = left.pop()
            if isinstance(value, (_Name, _Storage)):
                self.refuse("a class or a storage stands where a value is expected")
            if isinstance(value, (dict, list, tuple)) and id(value) not in seen:
                seen.add(id(value))
                left.extend(value.values() if isinstance(value, dict) else value)

    # -- operations -------------------------------------------------------------------------

    def _run(self, operation):
        stack = self._stack
        if operation in _CONSTANTS:
            stack.append(_CONSTANTS[operation])
        elif operation in _NUMBERS:
            self._number(*_NUMBERS[operation])
        elif operation == ord("("):
            self._marks.append(len(stack))
        elif operation in b")]}":
            stack.append({ord(")"): tuple, ord("]"): list, ord("}"): dict}[operation]())
        elif operation in b"t\x85\x86\x87":
            items = self._marked() if operation == ord("t") else self._taken(operation - 0x84)
            stack.append(tuple(items))
        elif operation in b"ae":
            self._append(self._marked() if operation == ord("e") else self._taken(1))
        elif operation in b"us":
            self._set(self._marked() if operation == ord("u") else self._taken(2))
        elif operation == 0x94:  # memoize
            self._memo[len(self._memo)] = stack[-1]
        elif operation in b"c\x93":
            stack.append(self._named(operation))
        elif operation == ord("Q"):
            stack.append(self._persistent(stack.pop()))
        elif operation == ord("R"):
            function, arguments = self._taken(2)
            stack.append(self._called(function, arguments))
        elif operation == ord("b"):  # attributes, such as a state_dict's _metadata
            target, _ = self._taken(2)
            if type(target) is not dict:
                self.refuse("it sets attributes of something other than a dict")
            stack.append(target)
        else:
            self.refuse(f"the operation {bytes([operation])!r} is not among those of tensors and containers")

    def _number(self, form, use):
        (number,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        if use == "value":
            self._stack.append(number)
        elif use == "put":
            self._memo[number] = self._stack[-1]
        elif use == "get":
            self._stack.append(self._memo[number])
        elif use == "text":
            self._stack.append(self._bytes(number).decode())
        elif use == "long":
            self._stack.append(int.from_bytes(self._bytes(number), "little", signed=True))

    def _bytes(self, count):
        """The next so many bytes."""
        if count > len(self.data) - self.at:
            raise IndexError
        self.at += count
        return self.data[self.at - count : self.at]

    def _line(self):
        """The text up to the end of the line."""
        end = self.data.find(b"\n", self.at, self.at + _LONGEST_NAME)
        if end < 0:
            raise IndexError
        return self._bytes(end + 1 - self.at)[:-1].decode()

    def _taken(self, count):
        """The topmost values, taken off the stack, above the last mark."""
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise IndexError
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _marked(self):
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _append(self, items):
        if type(self._stack[-1]) is not list:
            self.refuse("it appends to something other than a list")
        self._stack[-1].extend(items)

    def _set(self, items):
        target = self._stack[-1]
        if type(target) is not dict:
            self.refuse("it sets items of something other than a dict")
        keys = items[::2]
        if len(items) % 2 or not all(type(key) in (str, int) for key in keys):
            self.refuse("the keys of a dict are not strings and integers")
        target.update(zip(keys, items[1::2]))

    def _named(self, operation):
        if operation == ord("c"):
            module, name = self._line(), self._line()
        else:
            module, name = self._taken(2)
            if type(module) is not str or type(name) is not str:
                raise IndexError
        full = f"{module}.{name}"
        if full not in _NAMES:
            self.refuse(f"it names {full!r:.120}, which is no tensor and no plain container")
        return _NAMES[full]

    # -- tensors ----------------------------------------------------------------------------

    def _persistent(self, entry):
        """A storage: ("storage", type, key, place, number of items)."""
        fits = (
            type(entry) is tuple and len(entry) in (5, 6) and type(entry[0]) is str and entry[0] == "storage"
            and isinstance(entry[1], _Name) and entry[1].does == "kind" and type(entry[2]) is str
            and type(entry[4]) is int and entry[4] >= 0
        )  # fmt: skip
        if not fits:
            self.refuse("a storage is not described as torch.save does")
        return _Storage(self._storage(entry[1].kind, entry[2], *entry[4:]))

    def _called(self, function, arguments):
        does = function.does if isinstance(function, _Name) else None
        if type(arguments) is not tuple or does in (None, "kind", "dtype"):
            self.refuse("it calls something that is no function of tensors")
        if does == "dict" and not arguments:
            return {}
        if does == "size" and len(arguments) == 1 and _naturals(arguments[0]):
            return arguments[0]
        if does == "parameter" and len(arguments) == 3 and (arguments[0] is None or isinstance(arguments[0], np.ndarray)):
            return arguments[0]
        if does in ("tensor", "tensor3") and 4 <= len(arguments) <= 8:
            return self._tensor(arguments, does)
        self.refuse(f"a {does} is made from arguments that do not fit")

    def _tensor(self, arguments, does):
        """A view of a storage, from (storage, offset, shape, strides, ...), in items."""
        storage, offset, shape, strides = arguments[:4]
        metadata = arguments[7:] if does == "tensor3" else arguments[6:]
        fits = (
            isinstance(storage, _Storage) and type(offset) is int and offset >= 0 and _naturals(shape) and _naturals(strides)
            and len(shape) == len(strides) and all(map(_nothing, metadata))
        )  # fmt: skip
        if not fits:
            self.refuse("a tensor is not described as torch.save does")
        array = storage.array
        if array is None:
            return None
        if does == "tensor3":
            array = self._as_dtype(array, arguments[6] if len(arguments) > 6 else None)
        return self._view(array, offset, shape, strides)

    def _as_dtype(self, array, dtype):
        """An untyped storage as items of a type that has no storage of its own."""
        plain = isinstance(dtype, _Name) and dtype.does == "dtype" and dtype.kind.name not in ("bool", "bfloat16")
        if not plain or array.dtype != np.uint8 or array.size % dtype.kind.itemsize:
            self.refuse("a tensor is not described as torch.save does")
        return array.view(dtype.kind.stored)

    def _view(self, array, offset, shape, strides):
        count, last, extent = 1, offset, 1
        for length, stride in zip(shape, strides):
            count, last, extent = count * length, last + (length - 1) * stride, extent * max(length, 1)
        if extent * array.itemsize >= 2**63 or any(stride * array.itemsize >= 2**63 for stride in strides):
            self.refuse("the shape of a tensor is too large")
        if count == 0:
            return np.empty(shape, array.dtype)
        if last >= array.size or count > array.size:
            self.refuse("a tensor goes beyond its storage, or repeats it")
        steps = [(s if n > 1 else 1) * array.itemsize for n, s in zip(shape, strides)]
        return np.ndarray(shape, array.dtype, array, offset * array.itemsize, steps)


class _Storage:
    """What stands on the stack for a storage."""

    __slots__ = ("array",)

    def __init__(self, array):
        self.array = array


def _nothing(metadata):
    return metadata is None or type(metadata) is dict and not metadata


def _naturals(values):
    return type(values) is tuple and len(values) <= _MAX_AXES and all(type(value) is int and value >= 0 for value in values)
