"""A file of ONNX as plain values: graphs, nodes, arrays.

The package ``onnx`` takes the bytes apart and knows the operators; everything it gives is checked here. No number in a
file decides how much is allocated: a tensor is as large as its bytes, which are counted first.
"""

import math
import os
import sys
from dataclasses import dataclass

import numpy as np

from .. import _validate
from ..interop._needed import needed

#: Types of tensors that are computed with, by their number in ``TensorProto.DataType``.
DTYPES = {number: np.dtype(name) for number, name in {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}.items()}  # fmt: skip
#: Where numbers stand that are not bytes: the field, and the type in which it has them.
_FIELDS = {"float32": ("float_data", "float32"), "float64": ("double_data", "float64"), "int64": ("int64_data", "int64"),
           "uint32": ("uint64_data", "uint64"), "uint64": ("uint64_data", "uint64")}  # fmt: skip
_OTHERS = "int32_data", "int32"
_MAX_AXES = 64  # of a NumPy array
_MAX_BYTES = 2**60


def library():
    """The package ``onnx``."""
    return needed("onnx", "onnx", "ONNX")


@dataclass(frozen=True)
class Value:
    """An input or an output of a model.

    Attributes
    ----------
    name : str
    dtype : np.dtype
    shape : tuple of int, str or None, or None
        A number, a name for a size that a call decides, None for any; None as a whole for any number of axes.
    """

    name: str
    dtype: np.dtype
    shape: tuple | None


@dataclass
class Node:
    name: str
    operator: str
    domain: str
    inputs: list
    outputs: list
    attributes: dict  # name -> (number of its type, value)


@dataclass
class Graph:
    where: str  # the file, for messages
    opset: int
    nodes: list
    inputs: list
    outputs: list
    initializers: dict
    producer: str = ""


def read(path):
    """The graph of a file."""
    path = _validate.path(path)
    with open(path, "rb") as file:
        data = file.read()
    return parse(data, path, os.path.dirname(os.path.abspath(path)))


def parse(data, where, folder=None):
    """The graph that these bytes are; ``folder`` is where files of tensors may lie, None for nowhere."""
    model = library().ModelProto()
    from google.protobuf.message import DecodeError

    try:
        model.ParseFromString(data)
    except DecodeError as error:
        _validate.refuse_file(where, f"it is no ONNX model: {error!s:.100}")
    return _Reader(where, folder).model(model)


def plain(proto):
    """The value of an attribute of numbers or texts."""
    kinds = type(proto)
    if proto.type in (kinds.FLOAT, kinds.INT):
        return proto.f if proto.type == kinds.FLOAT else proto.i
    if proto.type in (kinds.FLOATS, kinds.INTS):
        return tuple(proto.floats if proto.type == kinds.FLOATS else proto.ints)
    if proto.type == kinds.STRING:
        return proto.s.decode()
    return tuple(text.decode() for text in proto.strings)


class _Reader:
    def __init__(self, where, folder):
        self.where, self.folder, self.opset, self.files = where, folder, None, {}

    def refuse(self, problem):
        _validate.refuse_file(self.where, problem)

    def text(self, value):
        """A name in the file; one that is not UTF-8 comes as bytes."""
        if not isinstance(value, str):
            self.refuse(f"a name in it is not UTF-8: {value!r:.60}")
        return value

    def model(self, proto):
        versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
        newest = library().defs.onnx_opset_version()
        if not proto.HasField("graph") or len(versions) != 1:
            self.refuse("it is no ONNX model: it has no graph, or not one version of the standard operators")
        self.opset = versions[0]
        if not 7 <= self.opset <= newest:
            self.refuse(f"its operators are of version {self.opset}; from 7 to {newest}, which the package onnx knows, they "
                        "can be read")  # fmt: skip
        graph = self.graph(proto.graph)
        graph.producer = self.text(proto.producer_name)
        return graph

    def graph(self, proto):
        if proto.sparse_initializer:
            self.refuse("it has sparse tensors")
        initializers = {}
        for tensor in proto.initializer:
            if tensor.name in initializers or not tensor.name:
                self.refuse(f"the tensor {tensor.name!r:.100} occurs twice, or has no name")
            initializers[self.text(tensor.name)] = self.tensor(tensor)
        nodes = [self.node(node, i) for i, node in enumerate(proto.node)]
        inputs, outputs = ([self.value(value) for value in values] for values in (proto.input, proto.output))
        return Graph(self.where, self.opset, nodes, inputs, outputs, initializers)

    def node(self, proto, i):
        attributes, operator = {}, self.text(proto.op_type)
        name = self.text(proto.name) or f"number {i}"
        for attribute in proto.attribute:
            title = self.text(attribute.name)
            if title in attributes:
                _validate.refuse_node(self.where, name, operator, f"it has {title!r:.100} twice")
            attributes[title] = attribute.type, self.attribute(attribute, name, operator)
        domain = "" if proto.domain == "ai.onnx" else self.text(proto.domain)
        inputs, outputs = (list(map(self.text, names)) for names in (proto.input, proto.output))
        return Node(name, operator, domain, inputs, outputs, attributes)

    def attribute(self, proto, node, operator):
        kinds = library().AttributeProto
        if proto.type == kinds.TENSOR:
            return self.tensor(proto.t)
        if proto.type == kinds.GRAPH:
            return self.graph(proto.g)
        if proto.type in (kinds.FLOAT, kinds.INT, kinds.STRING, kinds.FLOATS, kinds.INTS, kinds.STRINGS):
            try:
                return plain(proto)
            except UnicodeDecodeError:
                self.refuse(f"a text in it is not UTF-8, of the node {node!r:.100}")
        return _validate.refuse_node(self.where, node, operator, f"the type of {proto.name!r:.100} cannot be read")

    def value(self, proto):
        """An input or output; one without a type, as graphs inside of graphs may have, is None but for its name."""
        name = self.text(proto.name)
        if not proto.HasField("type"):
            return Value(name, None, None)
        tensor = proto.type.tensor_type
        if not proto.type.HasField("tensor_type") or tensor.elem_type not in DTYPES:
            self.refuse(f"{proto.name!r:.100} is no tensor of numbers, or of a type that is not computed with")
        shape = None
        if tensor.HasField("shape"):
            shape = tuple(map(self.size, tensor.shape.dim))
        return Value(name, DTYPES[tensor.elem_type], shape)

    def size(self, proto):
        """An entry of a shape: a number, a name, or None for any size, as which some files have -1."""
        if proto.HasField("dim_value"):
            return proto.dim_value if proto.dim_value >= 0 else None
        return self.text(proto.dim_param) or None

    # -- tensors --------------------------------------------------------------------------------

    def tensor(self, proto):
        """A tensor as a read-only array."""
        dims = list(proto.dims)
        dtype = DTYPES.get(proto.data_type)
        title = f"the tensor {proto.name!r:.100}"
        if dtype is None:
            self.refuse(f"{title} has the type {proto.data_type}, which is not computed with")
        if proto.HasField("segment") or len(dims) > _MAX_AXES or any(size < 0 for size in dims):
            self.refuse(f"{title} is in parts, has too many axes or a negative size")
        if math.prod(max(size, 1) for size in dims) * dtype.itemsize > _MAX_BYTES:
            self.refuse(f"{title} is too large")
        count = math.prod(dims)
        if proto.data_location == proto.EXTERNAL:
            array = self._from_bytes(self.external(proto, title, count * dtype.itemsize), dtype, count, title)
        elif proto.HasField("raw_data"):
            array = self._from_bytes(np.frombuffer(proto.raw_data, np.uint8), dtype, count, title)
        else:
            array = self._from_field(proto, dtype, count, title)
        array = array.reshape(dims)
        array.flags.writeable = False
        return array

    def _from_bytes(self, data, dtype, count, title):
        if data.size != count * dtype.itemsize:
            self.refuse(f"{title} has {data.size} bytes, not {count} items of {dtype.itemsize}")
        if data.ctypes.data % dtype.itemsize or not data.flags.c_contiguous:
            data = data.copy()
        if dtype.kind == "b":
            return data != 0
        items = data.view(dtype)
        return items.byteswap() if sys.byteorder == "big" else items.view()

    def _from_field(self, proto, dtype, count, title):
        field, stored = _FIELDS.get(dtype.name, _OTHERS)
        numbers = getattr(proto, field)
        if len(numbers) != count:
            self.refuse(f"{title} has {len(numbers)} numbers, not {count}")
        array = np.array(numbers, stored)
        if dtype.name == "float16":  # its bits
            return array.astype(np.uint16).view(dtype)
        return array.astype(dtype)

    def external(self, proto, title, size):
        """The bytes of a tensor that lies in a file beside the model's; never outside of its folder."""
        entries = {self.text(entry.key): self.text(entry.value) for entry in proto.external_data}
        location = entries.get("location", "")
        offset, length = entries.get("offset", "0"), entries.get("length", str(size))
        if self.folder is None or not location or "\0" in location:
            self.refuse(f"{title} is in a file, which was not given")
        if not (offset.isdecimal() and length.isdecimal() and len(offset) < 20 and len(length) < 20):
            self.refuse(f"{title} has no place in its file")
        if location not in self.files:
            folder = os.path.realpath(self.folder)
            path = os.path.realpath(os.path.join(folder, location))
            if os.path.isabs(location) or not path.startswith(os.path.join(folder, "")) or not os.path.isfile(path):
                self.refuse(f"{title} should be in {location!r:.100}, which is no file in the folder of the model")
            self.files[location] = np.fromfile(path, np.uint8)
        start, end = int(offset), int(offset) + int(length)
        if end > self.files[location].size:
            self.refuse(f"{title} goes beyond the end of {location!r:.100}")
        return self.files[location][start:end]
