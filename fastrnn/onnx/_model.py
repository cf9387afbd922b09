"""A graph that can be run: every node checked and turned into a function before the first call."""

from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from .. import _validate
from . import _arithmetic, _control, _file, _recurrent, _shapes  # noqa: F401  (two of them fill the table)
from ._operators import OPERATORS

_ROWS = OPERATORS | _control.NODES | _recurrent.ROWS
#: What is computed ahead of the first call: this many items, and this many times those of the file.
_AHEAD, _TIMES = 1 << 16, 16


def load(path):
    """Read an ONNX file: a function of named inputs.

    Parameters
    ----------
    path : str or path-like
        Tensors in files of their own are read if these are in the same folder.

    Returns
    -------
    Model
        ``model(**inputs)`` returns a dict of arrays by the names of the outputs; ``model.inputs`` and ``model.outputs`` say
        names, dtypes and shapes.

    Raises
    ------
    ValueError
        If the file is no ONNX model, or damaged; for an operator or attribute that cannot be run, naming the node.
    OSError
        If it cannot be read.
    ImportError
        Without the package ``onnx``.

    Examples
    --------
    ``fr.onnx.load("tagger.onnx")(tokens=[[3, 1, 4]])["logits"]``.
    """
    return Model(_file.read(path))


class Model:
    """A model of ONNX. RNN, GRU and LSTM nodes are layers of this engine, whose weights are packed once.

    Attributes
    ----------
    inputs, outputs : tuple of Value
        ``name``, ``dtype``, ``shape``; an entry of a shape is a number, a name, or None for any size.
    """

    def __init__(self, graph):
        self._where = graph.where
        self._program = Program.of(graph)
        given = [value for value in graph.inputs if value.name not in graph.initializers]
        self._optional = [value for value in graph.inputs if value.name in graph.initializers]
        self.inputs, self.outputs = (*given, *self._optional), tuple(graph.outputs)
        for value in self.inputs:
            if value.dtype is None:
                _validate.refuse_file(graph.where, f"{value.name!r:.100} has no type")

    def __call__(self, /, **inputs):
        """Outputs by name. Inputs that have a value in the file may be left out.

        Raises
        ------
        TypeError, ValueError
            For an input that is missing, unknown, of another dtype or shape, by its name; for a node that cannot compute
            with what it gets.
        """
        names = [value.name for value in self.inputs]
        _validate.named_inputs(inputs, names, [value.name for value in self._optional])
        values = {}
        for value in self.inputs:
            if value.name in inputs:
                array = _validate.graph_input(inputs[value.name], value.name, value.dtype, value.shape)
                values[value.name] = _read_only(array)
        with np.errstate(all="ignore"):
            results = self._program.run(values)
        return {name: own if own.flags.writeable else own.copy() for name, own in results.items()}

    def __repr__(self):
        return f"Model({', '.join(map(_described, self.inputs))}) -> {', '.join(map(_described, self.outputs))}"


def _described(value):
    if value.shape is None:
        return f"{value.name}: {value.dtype}"
    return f"{value.name}: {value.dtype} ({', '.join('?' if size is None else str(size) for size in value.shape)})"


def _read_only(array):
    """A view through which nothing is written: results that are views of it are copied before they are handed out."""
    array = array.view()
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class _Standard:
    """An operator in the standard."""

    since: int
    inputs: tuple  # how many at least, at most
    outputs: tuple
    single: tuple  # for each input whether it has to be there
    kinds: dict  # attribute -> number of its type
    required: set
    defaults: dict


@cache
def _standard(operator, opset):
    """The operator in this version of the standard; None if it is not in it."""
    defs = _file.library().defs
    try:
        schema = defs.get_schema(operator, opset, "")
    except defs.SchemaError:
        return None
    attributes = schema.attributes.items()
    return _Standard(
        schema.since_version, (schema.min_input, schema.max_input), (schema.min_output, schema.max_output),
        tuple(given.option == type(given.option).Single for given in schema.inputs),
        {name: int(attribute.type.value) for name, attribute in attributes},
        {name for name, attribute in attributes if attribute.required},
        {name: _file.plain(attribute.default_value) for name, attribute in attributes if attribute.default_value.type},
    )  # fmt: skip


class _Ahead:
    """How many items may still be computed before the first call: no node of a hostile file makes many of a few bytes."""

    def __init__(self):
        self.left = _AHEAD

    def read(self, array):
        """There is this array in the file."""
        self.left += _TIMES * array.size

    def allows(self, count):
        """Whether so many items are few enough; counts them, if so."""
        if count > self.left:
            return False
        self.left -= max(count, 0)
        return True


class _Step:
    """A node that is computed at every call."""

    __slots__ = ("node", "inputs", "function", "inside", "done")

    def __init__(self, node, inputs, function, inside=False):
        self.node, self.inputs, self.function, self.inside = node, inputs, function, inside
        self.done = ()  # names of values that nothing reads after it

    def reads(self):
        """The values that it needs, those that graphs inside of it read included."""
        return {*self.inputs, *(self.function.reads if self.inside else ())} - {""}


class Program:
    """The steps of a graph; one inside of a node reads values of those around it.

    Parameters
    ----------
    graph : Graph
    ahead : _Ahead
    outer : collection of str
        The names of the graphs around it.
    constants : dict
        Those of their values that never change.
    """

    def __init__(self, graph, ahead, outer=(), constants=None):
        self._where, self._opset, self._ahead = graph.where, graph.opset, ahead
        self.inputs, self.outputs = [value.name for value in graph.inputs], [value.name for value in graph.outputs]
        self.own = dict(graph.initializers)  # what is there at every call
        for array in self.own.values():
            ahead.read(array)
        self._defined, self._outer = {*self.inputs, *self.own}, frozenset(outer)
        if len({*self.inputs}) != len(self.inputs) or "" in self.inputs:
            _validate.refuse_file(self._where, "its inputs need names, each its own")
        constants = {**(constants or {}), **self.own}
        constants = {name: array for name, array in constants.items() if name not in self.inputs}
        self.steps, self._layers = [], {}
        for node in graph.nodes:
            self._add(node, constants)
        for name in self.outputs:
            if name not in self._defined and name not in self._outer:
                _validate.refuse_file(self._where, f"no node makes its output {name!r:.100}")
        needed = {*self.outputs, *(name for step in self.steps for name in step.reads())}
        #: Names of values from around it.
        self.reads = needed - self._defined
        self.own = {name: array for name, array in self.own.items() if name in needed}
        self._forget()

    @classmethod
    def of(cls, graph):
        """The program of a whole file."""
        return cls(graph, _Ahead())

    def _forget(self):
        """Say after which step each value is done with."""
        kept, last = {*self.outputs, *self.own}, {}
        for step in self.steps:
            for name in (*step.reads(), *step.node.outputs):
                last[name] = step
        for name, step in last.items():
            if name and name not in kept and name in self._defined:
                step.done += (name,)

    # -- before the first call ----------------------------------------------------------------

    def _add(self, node, constants):
        try:
            self._check_names(node)
            step = self._step(node, constants)
        except Exception as error:  # what NumPy raises for the shapes of a damaged file is of many types
            self._refuse(node, error)
        if step is not None:
            self.steps.append(step)
        self._defined.update(name for name in node.outputs if name)

    def _refuse(self, node, error):
        """Have an error name the node; that of a graph inside of it does already."""
        if isinstance(error, ValueError) and str(error).startswith(f"{self._where}: "):
            raise error
        words = f"{error!s:.300}"
        words = words if isinstance(error, ValueError) else f"{type(error).__name__}: {words}"
        _validate.refuse_node(self._where, node.name, node.operator, words)

    def _check_names(self, node):
        for name in node.inputs:
            if name and name not in self._defined and name not in self._outer:
                _validate.refuse(f"nothing before it makes its input {name!r:.100}")
        made = set()
        for name in filter(None, node.outputs):
            if name in self._defined or name in self._outer or name in made:
                _validate.refuse(f"its output {name!r:.100} is there already")
            made.add(name)

    def _standard(self, node):
        """What the standard says of the node's operator, with which its inputs, outputs and attributes agree."""
        if node.domain or node.operator not in _ROWS:
            _validate.refuse("there is no such operator here" + f", of the domain {node.domain:.60}" * bool(node.domain))
        standard = _standard(node.operator, self._opset)
        if standard is None:
            _validate.refuse(f"version {self._opset} of the standard has no such operator")
        if standard.since > _ROWS[node.operator].newest:
            _validate.refuse(f"its version {standard.since} is newer than those known here")
        (least, most), (least_out, most_out) = standard.inputs, standard.outputs
        missing = any(single and not name for single, name in zip(standard.single, node.inputs))
        if not least <= len(node.inputs) <= most or missing:
            _validate.refuse(f"it has {len(node.inputs) - node.inputs.count('')} inputs, not {least} to {most}")
        if not least_out <= len(node.outputs) <= most_out:
            _validate.refuse(f"it has {len(node.outputs)} outputs, not {least_out} to {most_out}")
        for name, (kind, _) in node.attributes.items():
            if standard.kinds.get(name) != kind:
                _validate.refuse(f"it has no attribute {name!r:.60} of that type")
        for name in standard.required - set(node.attributes):
            _validate.refuse(f"its attribute {name!r} is missing")
        return standard

    def _step(self, node, constants):
        """What computes the node; None if that is done, because all that it reads are constants."""
        standard, row = self._standard(node), _ROWS[node.operator]
        given = {name: value for name, (_, value) in node.attributes.items()}
        if node.operator in _control.NODES:
            return _Step(node, node.inputs, row(given, partial(self._inside, constants), len(node.outputs)), True)
        unknown = ", ".join(sorted(set(given) - row.keywords))
        if unknown:
            _validate.refuse(f"its attribute {unknown:.100} cannot be computed with")
        attributes = {name: value for name, value in standard.defaults.items() if name in row.keywords} | given
        if node.operator in _recurrent.ROWS:
            return self._recurrent(node, attributes, constants)
        problem = row.refuse and row.refuse(attributes)
        if problem:
            _validate.refuse(problem)
        more = {"since": standard.since, "outputs": len(node.outputs)}
        function = partial(row.function, **attributes, **{name: more[name] for name in more if name in row.keywords})
        if all(name in constants for name in node.inputs if name):
            inputs = [constants[name] if name else None for name in node.inputs]
            with np.errstate(all="ignore"):
                if row.items is not None and self._ahead.allows(row.items(inputs, attributes)):
                    return self._constant(node, function(*inputs), constants)
        return _Step(node, node.inputs, function)

    def _constant(self, node, results, constants):
        for name, array in zip(node.outputs, _tuple(results), strict=True):
            self.own[name] = constants[name] = _read_only(np.asarray(array))
            if node.operator == "Constant":
                self._ahead.read(constants[name])
        self.own.pop("", None)

    def _recurrent(self, node, attributes, constants):
        """Its weights, if they are constants, are packed now and not read again."""
        recurrent = _recurrent.Recurrent(node.operator, attributes)
        places = {"W": 1, "R": 2, "B": 3, "P": 7}
        weights = {letter: node.inputs[i] for letter, i in places.items() if i < len(node.inputs) and node.inputs[i]}
        if any(name not in constants for name in weights.values()):
            return _Step(node, node.inputs, recurrent)
        arrays = {letter: constants[name] for letter, name in weights.items()}
        same = f"{node.operator} {weights} {attributes}"  # nodes that share all share the layer, as the steps of a decoder
        if same in self._layers:
            recurrent = self._layers[same]
        elif self._ahead.allows(sum(array.size for array in arrays.values())):
            recurrent.pack(**arrays)
            self._layers[same] = recurrent
        else:
            return _Step(node, node.inputs, recurrent)
        return _Step(node, ["" if i in places.values() else name for i, name in enumerate(node.inputs)], recurrent)

    def _inside(self, constants, graph):
        """The program of a graph inside of a node."""
        return Program(graph, self._ahead, self._outer | self._defined, constants)

    # -- a call -------------------------------------------------------------------------------

    def run(self, given, around=()):
        """The outputs, by name, for the values of its inputs; ``around``: the values around it."""
        values = {**dict(around), **self.own, **given}
        for step in self.steps:
            inputs = [values[name] if name else None for name in step.inputs]
            try:
                results = step.function(values, *inputs) if step.inside else step.function(*inputs)
                for name, array in zip(step.node.outputs, _tuple(results)):
                    if name:
                        values[name] = np.asarray(array)
            except (ValueError, TypeError, LookupError, ArithmeticError) as error:
                self._refuse(step.node, error)
            for name in step.done:
                del values[name]
        return {name: values[name] for name in self.outputs}


def _tuple(results):
    return results if isinstance(results, tuple) else (results,)
