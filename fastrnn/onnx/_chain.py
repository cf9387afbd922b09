"""A file as a module: where it is one layer after the other, as many modules of PyTorch and most of ``export`` are."""

import re

import numpy as np

from .. import _validate
from ..blocks import Embedding, Linear, Sequential
from ..interop._filled import filled, stacked
from . import _file
from ._model import Program
from ._recurrent import Recurrent

_MERGES = {"ReduceSum": "sum", "ReduceMean": "mean", "ReduceProd": "mul"}
#: Operators through which final states reach an output.
_HANDS_ON = ("Concat", "Identity", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Slice", "Gather")


def to_module(path):
    """The module that an ONNX file holds: RNN, LSTM, GRU, Embedding, Linear, or a Sequential of these.

    The file's first output is what counts; others may be final states. Layers of one kind that follow each other and have
    the same sizes and options become one of several layers. A layer that is reached through transposed axes is
    ``batch_first``. Parameters keep their bits.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Module

    Raises
    ------
    ValueError
        If the file is damaged, or computes anything else: names the node. ``load`` may run it.
    OSError
        If it cannot be read.
    ImportError
        Without the package ``onnx``.

    Examples
    --------
    ``fr.save("tagger.safetensors", fr.onnx.to_module("tagger.onnx"))``.
    """
    graph = _file.read(path)
    return _Chain(graph).module()


class _Chain:
    """The steps between the input and the first output, in order."""

    def __init__(self, graph):
        self.where, self.ours = graph.where, graph.producer == "fastrnn"
        self.program = Program.of(graph)
        self.makers = {name: step for step in self.program.steps for name in step.node.outputs if name}
        if not graph.outputs:
            _validate.refuse_file(self.where, "it has no output")
        self.inputs = {name for name in self.program.inputs if name not in self.program.own}
        given = {value.name: value for value in graph.inputs}
        self.steps, self.lengths, name = [], set(), graph.outputs[0].name
        while name not in self.inputs:
            if name not in self.makers:
                _validate.refuse_file(self.where, f"its output does not depend on an input, but on {name!r:.100}")
            step = self.makers[name]
            if isinstance(step.function, Recurrent) and name != step.node.outputs[0]:
                self.refuse(step, "its final state goes on, not its outputs")
            self.steps.append(step)
            name = step.inputs[self.way(step)]
        self.steps.reverse()
        self.data, self.shape = name, given[name].shape or ()
        self.codes = np.dtype(given[name].dtype).kind in "iu"
        for value in graph.outputs[1:]:
            self.check_state(value.name)

    def refuse(self, step, problem):
        _validate.refuse_node(self.where, step.node.name, step.node.operator, f"this is no module: {problem}")

    def constant(self, step, i):
        """The constant that a step reads as its input i, or None."""
        name = step.inputs[i] if i < len(step.inputs) else ""
        return None if name in self.inputs else self.program.own.get(name)

    def way(self, step):
        """Which input of a step the chain goes through: the only one that is no constant."""
        if isinstance(step.function, Recurrent):
            return 0
        varying = [i for i, name in enumerate(step.inputs) if name and self.constant(step, i) is None]
        if len(varying) != 1:
            self.refuse(step, f"it joins {len(varying)} values")
        return varying[0]

    def check_state(self, output):
        """Refuse an output that is no final state of the layers."""
        left, seen = [output], set()
        while left:
            name = left.pop()
            step = self.makers.get(name)
            if step is None:
                _validate.refuse_file(self.where, f"its output {output!r:.100} is none of its layers")
            if isinstance(step.function, Recurrent) and step in self.steps:
                if name == step.node.outputs[0]:
                    self.refuse(step, "its outputs are put out beside its states")
            elif step.node.operator not in _HANDS_ON:
                self.refuse(step, f"the output {output!r:.100} is no final state")
            elif id(step) not in seen:
                seen.add(id(step))
                left += [read for i, read in enumerate(step.inputs) if read and self.constant(step, i) is None]

    # -- modules ------------------------------------------------------------------------------

    def module(self):
        modules, self.swapped, left = [], False, self.steps[::-1]
        while left:
            step = left.pop()
            operator = step.node.operator
            if isinstance(step.function, Recurrent):
                self.add_layer(modules, step, left)
            elif operator == "Transpose" and self.swaps(step.function.keywords.get("perm"), modules):
                self.swapped = not self.swapped
            elif operator == "Gather" and not modules:
                modules.append(self.embedding(step))
            elif operator in ("MatMul", "Gemm"):
                modules.append(self.linear(step, left))
            elif operator not in ("Identity", "Dropout"):
                self.refuse(step, "there is none for this operator here")
        if self.swapped or not modules:
            _validate.refuse_file(self.where, "its output has other axes than its input, or it computes nothing")
        modules = [stacked([entry[0] for entry in module], module[0][1]) if isinstance(module, list) else module
                   for module in modules]  # fmt: skip
        return modules[0] if len(modules) == 1 else Sequential(*modules)

    def swaps(self, perm, modules):
        """Whether time and batch change places: codes have no other axes, all else has one more."""
        return perm == (1, 0, 2) or perm == (1, 0) and self.codes and not modules

    def embedding(self, step):
        table = self.constant(step, 0)
        if table is None or table.ndim != 2 or step.function.keywords["axis"] != 0:
            self.refuse(step, "only rows of a table can be gathered")
        return self.filled(step, Embedding, table.shape, {"weight": table})

    def linear(self, step, left):
        """Of a product with a constant, and of the sum with one behind it."""
        weight, options = self.constant(step, 1), step.function.keywords
        bias = self.constant(step, 2)
        numbers = options.get("alpha", 1), options.get("beta", 1), options.get("transA", 0)
        if weight is None or weight.ndim != 2 or numbers != (1, 1, 0):
            self.refuse(step, "only a product with a matrix of weights on the right is Linear")
        weight = weight if options.get("transB") else weight.T
        if bias is None and left and left[-1].node.operator == "Add":
            bias = self.constant(left[-1], 1 - self.way(left[-1]))
            left.pop()
        if bias is not None and bias.shape != weight.shape[:1]:
            self.refuse(step, f"a bias of shape {bias.shape} is added to {weight.shape[0]} outputs")
        sizes = *weight.shape[::-1], bias is not None
        return self.filled(step, Linear, sizes, {"weight": weight} | ({} if bias is None else {"bias": bias}))

    def filled(self, step, kind, sizes, parameters):
        """A module of these parameters."""
        dtype = parameters["weight"].dtype
        if dtype.name not in ("float32", "float64") or 0 in sizes[:2]:
            self.refuse(step, f"its weights are of {dtype}, of the sizes {sizes[:2]}")
        return filled(lambda: kind(*sizes, dtype=dtype.name), parameters)

    def add_layer(self, modules, step, left):
        """To the list of the layers that become one module, where it goes on with them."""
        recurrent = step.function
        if recurrent.layers is None or len(recurrent.layers) != 1 or recurrent.layers[0][1]:
            self.refuse(step, "its weights are inputs, it runs in reverse alone, or its directions differ")
        for i, name in enumerate(step.inputs[4:7], 4):
            if name and not (self.is_lengths(name) if i == 4 else self.is_start(name)):
                self.refuse(step, f"its input {i} is neither an input of the model nor zero")
        self.lengths.add(self.origin(step.inputs[4]) if len(step.inputs) > 4 and step.inputs[4] else None)
        if len(self.lengths) > 1:
            self.refuse(step, "its lengths are not those of the layer before")
        layer = recurrent.layers[0][0]
        merge = self.joined(step, left, layer, recurrent.batch_first)
        config = layer._config() | {"merge": merge, "batch_first": self.swapped != recurrent.batch_first}
        width = layer.hidden_size * (layer.num_directions if merge == "concat" else 1)
        entry = layer, config, width, step.node.name
        if modules and isinstance(modules[-1], list) and self.goes_on(modules[-1][-1], entry):
            modules[-1].append(entry)
        else:
            modules.append([entry])

    def joined(self, step, left, layer, batch_first):
        """Take the steps that make ``(T, B, D*H)`` of Y; what becomes of two directions."""
        behind = [left.pop() for _ in range(min(len(left), 1))]
        directions = 2 if batch_first else 1  # the axis
        operator = behind[0].node.operator if behind else None
        if operator == "Squeeze" and layer.num_directions == 1 and self.axes(behind[0]) == (directions,):
            return "concat"
        if operator in _MERGES and layer.num_directions == 2 and self.axes(behind[0]) == (directions,):
            if not behind[0].function.keywords["keepdims"]:
                return _MERGES[operator]
        if operator == "Transpose" and not batch_first and behind[0].function.keywords.get("perm") == (0, 2, 1, 3) and left:
            behind.append(left.pop())
        if behind[-1:] and behind[-1].node.operator == "Reshape" and len(behind) == (1 if batch_first else 2):
            if self.keeps_axes(self.constant(behind[-1], 1), layer.num_directions * layer.hidden_size):
                return "concat"
        return self.refuse(step, "its outputs go on otherwise than from a layer to the next")

    def keeps_axes(self, sizes, width):
        """Whether a shape is time and batch as they are, in numbers too where the input has them, and this width."""
        there = (*self.shape, None, None)[1::-1] if self.swapped else (*self.shape, None, None)[:2]
        if sizes is None or len(sizes) != 3 or sizes[2] not in (width, -1) or np.count_nonzero(sizes == -1) > 1:
            return False
        return all(size in (0, -1, known) for size, known in zip(sizes[:2], there))

    def axes(self, step):
        """The axes that a step has as an input or as an attribute."""
        given = self.constant(step, 1)
        return step.function.keywords.get("axes") if given is None else tuple(np.atleast_1d(given).tolist())

    def origin(self, name):
        """What lengths are cast from."""
        step = self.makers.get(name)
        return step.inputs[0] if step is not None and step.node.operator == "Cast" else name

    def is_lengths(self, name):
        return self.origin(name) in self.inputs - {self.data}

    def is_start(self, name):
        """Whether an initial state is an input of the model, a part of one, or zero."""
        while name not in self.inputs:
            if name in self.program.own:
                return not self.program.own[name].any()
            step = self.makers[name]
            if step.node.operator == "ConstantOfShape":
                value = step.function.keywords.get("value")
                return value is None or not value.any()
            if step.node.operator == "Expand" and self.constant(step, 0) is not None:
                return not self.constant(step, 0).any()
            if step.node.operator not in ("Split", "Slice", "Gather", "Unsqueeze", "Cast"):
                return False
            name = step.inputs[0]
        return name != self.data

    # -- layers that are one module -------------------------------------------------------------

    def goes_on(self, before, entry):
        """Whether a layer is the next of the module of the one before."""
        (one, options, width, name), (two, more, own_width, other) = before, entry
        same = {**options, "input_size": 0} == {**more, "input_size": 0}
        if type(one) is not type(two) or not same or two.input_size != width or width != own_width:
            return False
        names = [re.fullmatch(r"(.*)l(\d+)", text) for text in (name, other)]
        if self.ours and all(names):  # export says which layer of which module a node is
            return names[0][1] == names[1][1] and int(names[0][2]) + 1 == int(names[1][2])
        return True
