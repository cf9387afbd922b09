"""Modules written as ONNX files: operators of version 17 of the standard, time and batch of any size."""

import numpy as np

from .. import _validate
from ..blocks import Dropout, Embedding, Linear, Sequential
from ..files import write_atomically
from ..layers import GRU, LSTM, RNN
from ._file import library
from ._recurrent import BLOCKS, DEFAULTS, FUNCTIONS, GATES, PEEPHOLES

OPSET, IR_VERSION = 17, 8
_MAX_BYTES = 2**31 - 2**20  # what protocol buffers hold, less what is not weights
#: Options that the standard's operators do not have, and the values of them that change nothing.
_ONLY = {"proj_size": (0,), "residual": (False,), "layer_norm": (False,), "zoneout": (0, (0, 0)),
         "return_cell_states": (False,)}  # fmt: skip
_THERE = {ours: (name, count) for name, (ours, count) in FUNCTIONS.items()} | {"identity": ("Affine", 2)}


def export(model, path, *, lengths=False, state=False):
    """Write a module as an ONNX file.

    The input is ``x``: ``(T, B, I)``, or ``(B, T, I)`` if the layers are ``batch_first``; for an Embedding integers
    ``(T, B)``, ``(B, T)``. Sizes of time and batch are left open. The output is ``y``; of a recurrent layer also its final
    states, ``h`` and of an LSTM ``c``, ``(L*D, B, H)``. Dropout, which only acts in training, is left out.

    Parameters
    ----------
    model : Module
        RNN, LSTM, GRU, Linear, Embedding, Dropout, or a Sequential of these.
    path : str or path-like
    lengths : bool
        Whether there is an input ``lengths``: ``(B,)`` of int32, in 1..T. Runtimes do not agree on 0.
    state : bool
        Whether there are inputs for the initial states of a recurrent layer, ``h0`` and of an LSTM ``c0``, like ``h``.

    Raises
    ------
    TypeError
        For another module.
    ValueError
        Naming an option that ONNX does not have, such as a projection.
    OSError
        If the file cannot be written.
    ImportError
        Without the package ``onnx``.

    Examples
    --------
    ``fr.onnx.export(fr.Sequential(fr.Embedding(100, 16), fr.GRU(16, 32), fr.Linear(32, 100)), "model.onnx")``.
    """
    onnx = library()
    path = _validate.path(path)
    lengths, state = _validate.boolean(lengths, "lengths"), _validate.boolean(state, "state")
    proto = _Writer(onnx, lengths, state).model(model)
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, [proto.SerializeToString()])


class _Writer:
    """A graph that grows; values are known by their names."""

    def __init__(self, onnx, lengths, state):
        self.onnx, self.helper, self.lengths, self.state = onnx, onnx.helper, lengths, state
        self.nodes, self.arrays, self.inputs, self.outputs = [], {}, [], []
        self.placed = {}  # id of a module -> what its arrays are called
        self.dtype, self.width = None, None  # of the value that the next module gets

    # -- parts --------------------------------------------------------------------------------

    def add(self, operator, *inputs, outputs=1, name=None, **attributes):
        """A node; the name of its output, or their names."""
        name = name or f"{operator}_{len(self.nodes)}"
        names = [f"{name}.{i}" for i in range(outputs)] if outputs > 1 else [f"{name}.out"]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(self.helper.make_node(operator, inputs, names, name, **attributes))
        return names if outputs > 1 else names[0]

    def array(self, name, array):
        """A constant; the same name is the same array."""
        self.arrays[name] = np.ascontiguousarray(array)
        return name

    def integers(self, *values):
        return self.array("int64" + "".join(f"_{value}" for value in values), np.array(values, np.int64))

    def value(self, name, dtype, shape):
        return self.helper.make_tensor_value_info(name, self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    def cast(self, x, dtype):
        """In another dtype, where two modules have different ones."""
        if self.dtype is None or self.dtype == dtype:
            return x
        return self.add("Cast", x, to=self.helper.np_dtype_to_tensor_dtype(dtype))

    # -- the whole ----------------------------------------------------------------------------

    def model(self, module):
        """The file's ``ModelProto``."""
        leaves = [leaf for leaf in _leaves(module) if type(leaf) is not Dropout]
        recurrent = [leaf for leaf in leaves if leaf._recurrent]
        if not leaves:
            _validate.refuse("model: expected a module that computes something, got Dropout")
        if self.state and not module._recurrent:
            _validate.refuse(f"state: expected False for {type(module).__name__}, which takes no state, got True")
        if self.lengths and not recurrent:
            _validate.refuse("lengths: expected False for a model without recurrent layers, got True")
        batch_first = bool(recurrent) and recurrent[0].batch_first
        for leaf in recurrent:
            _validate.expressible(leaf.batch_first, (batch_first,), "batch_first", "Sequential", "one ONNX file")
        self.axes = ["batch", "time"] if batch_first else ["time", "batch"]
        if type(leaves[0]) is Embedding:
            self.inputs.append(self.value("x", np.int64, self.axes))
        else:
            self.dtype = leaves[0].dtype
            self.width = leaves[0].in_features if type(leaves[0]) is Linear else leaves[0].input_size
            self.inputs.append(self.value("x", self.dtype, [*self.axes, self.width]))
        if self.lengths:
            self.inputs.append(self.value("lengths", np.int32, ["batch"]))
        y, *finals = _WRITERS[type(module)](self, module, "x", "")
        self.output("y", y, [*self.axes, self.width])
        for name, final in zip(getattr(module, "state_names", ()), finals):
            self.output(name, final, [module.num_layers * module.num_directions, "batch", module.hidden_size])
        return self.proto()

    def output(self, name, value, shape):
        """Make a value an output of this name."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [name if other == value else other for other in names]
        self.outputs.append(self.value(name, self.dtype, shape))

    def proto(self):
        from .. import __version__

        size = sum(array.nbytes for array in self.arrays.values())
        if size > _MAX_BYTES:
            _validate.refuse(f"model: expected weights of less than 2 GB, the most that one file holds, got {size} bytes")
        tensors = [self.onnx.numpy_helper.from_array(array, name) for name, array in self.arrays.items()]
        graph = self.helper.make_graph(self.nodes, "fastrnn", self.inputs, self.outputs, tensors)
        return self.helper.make_model(graph, opset_imports=[self.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                      producer_name="fastrnn", producer_version=__version__)  # fmt: skip

    # -- modules ------------------------------------------------------------------------------
    # Each takes a module, the name of what goes in, and how names of its own begin; it returns what comes out.

    def sequential(self, module, x, prefix):
        for i, inner in enumerate(module):
            x, *_ = _WRITERS[type(inner)](self, inner, x, f"{prefix}{i}.")
        return (x,)

    def dropout(self, module, x, prefix):
        return (x,)

    def embedding(self, module, x, prefix):
        if self.dtype is not None:
            _validate.refuse("model: expected an Embedding only in front, got one behind another module")
        prefix = self.placed.setdefault(id(module), prefix)
        self.dtype, self.width = module.dtype, module.embedding_dim
        return (self.add("Gather", self.array(f"{prefix}weight", module.parameters["weight"]), x, axis=0),)

    def linear(self, module, x, prefix):
        prefix, x = self.placed.setdefault(id(module), prefix), self.cast(x, module.dtype)
        self.dtype, self.width = module.dtype, module.out_features
        y = self.add("MatMul", x, self.array(f"{prefix}weight", module.parameters["weight"].T))
        return (self.add("Add", y, self.array(f"{prefix}bias", module.parameters["bias"])) if module.bias else y,)

    def recurrent(self, layer, x, prefix):
        """One node for each layer, and what joins directions and layers; final states behind y."""
        config = _checked(layer, self.lengths)
        x = self.cast(x, layer.dtype)
        self.dtype = layer.dtype
        if layer.batch_first:
            x = self.add("Transpose", x, perm=[1, 0, 2])
        states = self.states(layer, x, prefix)
        attributes = _attributes(layer, config)
        given, width, every, finals = x, layer.input_size, [], []
        for i in range(layer.num_layers):
            own = [state[i] for state in states]
            Y, *final = self.node(layer, i, given, own, prefix, attributes)
            y, own_width = self.joined(layer, Y, config["merge"])
            if config["skip"] == "residual" and own_width == width:
                y = self.add("Add", given, y)
            every.append(y)
            finals.append(final)
            given, width = y, own_width
            if config["skip"] == "input" and i + 1 < layer.num_layers:
                given = self.add("Concat", y, x, axis=-1)
        self.width = own_width
        if config["skip"] == "output" and layer.num_layers > 1:
            y, self.width = self.add("Concat", *every, axis=-1), own_width * layer.num_layers
        if layer.batch_first:
            y = self.add("Transpose", y, perm=[1, 0, 2])
        if prefix:  # in a Sequential, which drops the states
            return (y,)
        return y, *(parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0) for parts in zip(*finals))

    def states(self, layer, x, prefix):
        """For each state its initial values in each layer; empty where these are zeros."""
        L, D, found = layer.num_layers, layer.num_directions, []
        for name in layer.state_names:
            rows = [""] * L
            if self.state:
                self.inputs.append(self.value(f"{name}0", layer.dtype, [L * D, "batch", layer.hidden_size]))
                rows = [f"{name}0"] if L == 1 else self.add("Split", f"{name}0", self.integers(*[D] * L), outputs=L, axis=0)
            elif f"{name}0" in layer.parameters:
                batch = self.add("Gather", self.add("Shape", x), self.integers(1), axis=0)
                shape = self.add("Concat", self.integers(1), batch, self.integers(1), axis=0)
                learned = layer.parameters[f"{name}0"].reshape(L, D, 1, -1)
                rows = [self.add("Expand", self.array(f"{prefix}{name}0_l{i}", learned[i]), shape) for i in range(L)]
            found.append(rows)
        return found

    def node(self, layer, i, x, states, prefix, attributes):
        """The node of one layer: ``Y, Y_h`` and of an LSTM ``Y_c``."""
        operator, place = type(layer).__name__, self.placed.setdefault(id(layer), prefix)
        kind = "coupled" if attributes.get("input_forget") else operator
        suffixes = [f"_l{i}", f"_l{i}_reverse"][: layer.num_directions]

        def there(*names):
            parts = [np.concatenate([_blocks(layer, kind, name + suffix) for name in names]) for suffix in suffixes]
            return np.stack(parts)

        inputs = [x, self.array(f"{place}W_l{i}", there("weight_ih")), self.array(f"{place}R_l{i}", there("weight_hh"))]
        inputs.append(self.array(f"{place}B_l{i}", there("bias_ih", "bias_hh")) if layer.bias else "")
        inputs += ["lengths" if self.lengths else "", *states]
        if f"weight_co_l{i}" in layer.parameters:
            P = np.stack([_peepholes(layer, kind, suffix) for suffix in suffixes])
            inputs.append(self.array(f"{place}P_l{i}", P))
        while not inputs[-1]:
            inputs.pop()
        return self.add(operator, *inputs, outputs=1 + len(states), name=f"{prefix}l{i}", **attributes)

    def joined(self, layer, Y, merge):
        """``(T, D, B, H)`` of a node as ``(T, B, ...)``, and how wide that is."""
        H = layer.hidden_size
        if layer.num_directions == 1:
            return self.add("Squeeze", Y, self.integers(1)), H
        if merge == "concat":
            Y = self.add("Transpose", Y, perm=[0, 2, 1, 3])
            return self.add("Reshape", Y, self.integers(0, 0, 2 * H)), 2 * H
        if merge == "sum":
            return self.add("ReduceSum", Y, self.integers(1), keepdims=0), H
        return self.add({"mean": "ReduceMean", "mul": "ReduceProd"}[merge], Y, axes=[1], keepdims=0), H


#: Class of a module -> what writes it.
_WRITERS = {RNN: _Writer.recurrent, LSTM: _Writer.recurrent, GRU: _Writer.recurrent, Linear: _Writer.linear,
            Embedding: _Writer.embedding, Dropout: _Writer.dropout, Sequential: _Writer.sequential}  # fmt: skip


def _leaves(module):
    """What is inside of Sequentials, in order; each of a class that can be written."""
    _validate.convertible(module, _WRITERS, "model")
    if type(module) is Sequential:
        return [leaf for inner in module for leaf in _leaves(inner)]
    return [module]


def _checked(layer, lengths):
    """The configuration of a layer, whose options the standard all has."""
    config, owner = layer._config(), type(layer).__name__
    _validate.expressible_options(config, _ONLY, owner, "ONNX")
    if lengths and config["skip"] == "residual":
        _validate.refuse(f"{owner}: skip='residual' with an input lengths would add what lies past a length")
    return config


def _attributes(layer, config):
    """Those of the nodes of a layer."""
    operator = type(layer).__name__
    entries = config.get("activations") or [(config["nonlinearity"], config["alpha"], config["beta"])]
    entries = [_validate.activation(entry, "activations") for entry in entries]
    names, numbers = [], ([], [])
    for name, *values in entries:
        _validate.expressible(name, tuple(_THERE), "activation", operator, "ONNX")
        values = (1.0, 0.0) if name == "identity" else values  # Affine
        there, count = _THERE[name]
        names.append(there)
        for own, value in zip(numbers, values[:count]):
            own.append(value)
    coupled = config.get("coupled", False)
    if coupled:
        gate, _, beta = entries[0]
        _validate.expressible(gate, ("sigmoid", "hard_sigmoid"), "activation of coupled gates", operator, "ONNX")
        if gate == "hard_sigmoid":
            _validate.expressible(beta, (0.5,), "beta of coupled hard_sigmoid gates", operator, "ONNX")
    D = layer.num_directions
    attributes = {"hidden_size": layer.hidden_size, "direction": "bidirectional" if D == 2 else None, "clip": config["clip"]}
    if tuple(names) != DEFAULTS[operator]:
        attributes["activations"] = names * D
        attributes |= {f"activation_{key}": own * D or None for key, own in zip(("alpha", "beta"), numbers)}
    if operator == "GRU":
        attributes["linear_before_reset"] = int(config["reset_after"])
    return attributes | ({"input_forget": 1} if coupled else {})


def _blocks(layer, kind, name):
    """A weight or bias of one direction, its blocks in the standard's order.

    Coupled gates: i there is one minus our f, so its weights are those of f negated. Those of f, which a coupled node does
    not read, are ours as they are: a runtime that couples nothing computes the same.
    """
    array = layer.parameters[name]
    blocks = array.reshape(-1, layer.hidden_size, *array.shape[1:])
    there = [None] * BLOCKS[type(layer).__name__]
    for block, (i, sign) in zip(blocks, GATES[kind], strict=True):
        there[i] = block if sign > 0 else -block
    if kind == "coupled":
        there[2] = blocks[0]
    return np.concatenate(there)


def _peepholes(layer, kind, suffix):
    there = [None] * 3
    for name, (i, sign) in PEEPHOLES[kind].items():
        there[i] = layer.parameters[name + suffix] * layer.dtype.type(sign)
    if kind == "coupled":
        there[2] = layer.parameters[f"weight_cf{suffix}"]
    return np.concatenate(there)
