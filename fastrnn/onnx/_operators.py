"""The operators around recurrent layers, in NumPy.

A function takes a node's inputs (None where one is left out) and, by keyword, its attributes; where an attribute has become
an input in a later version, the input's name ends in ``_in``. ``since`` is the version of the operator that the model means,
``outputs`` how many outputs the node has. Attributes that are not given come with the standard's defaults. What a function
raises is turned into an error that names the node.

A row of the table also says which version of the operator is the newest known here (a newer one may mean something else),
what there is to refuse before anything is computed, and how many items come out at most, for operators whose outputs are
computed once where all their inputs are constants.
"""

import math
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from types import FunctionType
from typing import Callable

import numpy as np

from .. import _validate
from .._core import engine
from ._file import DTYPES

#: Operator -> its row.
OPERATORS = {}


@dataclass(frozen=True)
class Operator:
    function: Callable
    keywords: frozenset  # the attributes that the function takes; since and outputs
    newest: int
    items: Callable | None  # (inputs, attributes) -> how many come out at most; None: never computed ahead
    refuse: Callable | None  # attributes -> what is wrong with them, or None


def operator(name, newest, items=None, refuse=None):
    """Enter a function into the table."""

    def entered(function):
        parameters = signature(function).parameters.values() if isinstance(function, FunctionType) else ()
        keywords = frozenset(p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY)
        OPERATORS[name] = Operator(function, keywords, newest, items, refuse)
        return function

    return entered


# -- how many items come out ----------------------------------------------------------------------


def _same(inputs, attributes):
    """No more than go in."""
    return sum(array.size for array in inputs if array is not None)


def _broadcast(inputs, attributes):
    return math.prod(np.broadcast_shapes(*(array.shape for array in inputs)))


def _shape_given(inputs, attributes):
    """The second input is a shape to broadcast to."""
    return math.prod(np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist())))


def _gathered(inputs, attributes):
    data, indices = inputs
    return indices.size * data.size // max(1, data.shape[attributes["axis"]])


# -- one item from one or several -------------------------------------------------------------------


def _elementwise(name, newest, function):
    operator(name, newest, _broadcast)(function)


def _in_own_dtype(function):
    """A function of numbers, whose parameters take the dtype of x."""

    @wraps(function)
    def computed(x, **attributes):
        return np.asarray(function(x, **attributes), x.dtype)

    return computed


def _folded(function):
    def computed(*arrays):
        result = arrays[0]
        for array in arrays[1:]:
            result = function(result, array)
        return result

    return computed


@operator("Div", 14, _broadcast)
def div(a, b):
    """Integers are divided towards zero, as in C."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


def _pow(a, b):
    return np.power(a, b).astype(a.dtype)


def _leaky_relu(x, *, alpha):
    return np.where(x >= 0, x, alpha * x)


def _elu(x, *, alpha):
    return np.where(x >= 0, x, alpha * np.expm1(x))


def _hard_sigmoid(x, *, alpha, beta):
    return np.clip(alpha * x + beta, 0, 1)


def _thresholded_relu(x, *, alpha):
    return np.where(x > alpha, x, 0)


for _name, _newest, _function in [
    ("Add", 14, np.add), ("Sub", 14, np.subtract), ("Mul", 14, np.multiply), ("Pow", 15, _pow),
    ("Max", 13, _folded(np.maximum)), ("Min", 13, _folded(np.minimum)), ("Sum", 13, _folded(np.add)),
    ("Equal", 19, np.equal), ("Less", 13, np.less), ("LessOrEqual", 16, np.less_equal), ("Greater", 13, np.greater),
    ("GreaterOrEqual", 16, np.greater_equal), ("And", 7, np.logical_and), ("Or", 7, np.logical_or),
    ("Xor", 7, np.logical_xor), ("Not", 1, np.logical_not), ("Where", 16, np.where),
    ("Abs", 13, np.abs), ("Neg", 13, np.negative), ("Sign", 13, np.sign), ("Floor", 13, np.floor), ("Ceil", 13, np.ceil),
    ("Sqrt", 13, np.sqrt), ("Exp", 13, np.exp), ("Log", 13, np.log), ("Reciprocal", 13, np.reciprocal),
    ("Tanh", 13, np.tanh), ("Relu", 14, lambda x: np.maximum(x, 0)),
    ("Sigmoid", 13, _in_own_dtype(lambda x: 1 / (1 + np.exp(-x)))),
    ("Softplus", 22, _in_own_dtype(lambda x: np.logaddexp(x, x.dtype.type(0)))),
    ("Softsign", 22, _in_own_dtype(lambda x: x / (1 + np.abs(x)))), ("LeakyRelu", 16, _in_own_dtype(_leaky_relu)),
    ("Elu", 22, _in_own_dtype(_elu)), ("HardSigmoid", 22, _in_own_dtype(_hard_sigmoid)),
    ("ThresholdedRelu", 22, _in_own_dtype(_thresholded_relu)),
]:  # fmt: skip
    _elementwise(_name, _newest, _function)


@operator("Identity", 25, _same)
def identity(x):
    return x


@operator("Clip", 13, _same)
def clip(x, min_in=None, max_in=None, *, min=None, max=None):
    low, high = (min if min_in is None else min_in), (max if max_in is None else max_in)
    x = x if low is None else np.maximum(x, np.asarray(low, x.dtype))
    return x if high is None else np.minimum(x, np.asarray(high, x.dtype))


def _unknown_dtype(attributes):
    if attributes.get("to") not in DTYPES:
        return f"a cast to the type {attributes.get('to')}, which is not computed with"


@operator("Cast", 25, _same, _unknown_dtype)
def cast(x, *, to, saturate=1, round_mode="up"):
    return x.astype(DTYPES[to])


@operator("Dropout", 22)
def dropout(x, ratio_in=None, training_mode=None, *, ratio=0.5, seed=None, outputs=1):
    """As in inference."""
    if training_mode is not None and bool(training_mode):
        _validate.refuse("it is in training mode")
    return (x, np.ones(x.shape, bool))[:outputs]


# -- products -----------------------------------------------------------------------------------


def _product(a, b, bias=None):
    """``a @ b + bias`` of rows, by the engine where it can."""
    plain = a.dtype == b.dtype and a.dtype.name in ("float32", "float64")
    if plain and a.ndim >= 2 and b.ndim == 2 and a.shape[-1] == b.shape[0] and b.size and a.size:
        return engine.matmul(a.reshape(-1, b.shape[0]), b, bias).reshape(*a.shape[:-1], b.shape[1])
    product = np.matmul(a, b)
    return product if bias is None else product + bias


@operator("MatMul", 13)
def matmul(a, b):
    return _product(a, b)


@operator("Gemm", 13)
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    if a.ndim != 2 or b.ndim != 2:
        _validate.refuse(f"it multiplies arrays of {a.ndim} and {b.ndim} axes, not 2")
    a, b = a.T if transA else a, b.T if transB else b
    if alpha == 1 and beta == 1 and c is not None and c.shape == b.shape[1:] and c.dtype == a.dtype:
        return _product(a, b, np.ascontiguousarray(c))
    y = _product(a, b)
    y = y if alpha == 1 else np.asarray(alpha, y.dtype) * y
    return y if c is None else y + np.asarray(beta, y.dtype) * c


# -- over axes ------------------------------------------------------------------------------------


def _list(given, attribute):
    """Integers that come as an input, or as an attribute; None if as neither."""
    if given is not None:
        return tuple(np.atleast_1d(given).tolist())
    return attribute


def _reduction(name, newest, function):
    @operator(name, newest, _same)
    def reduced(x, axes_in=None, *, axes=None, keepdims=1, noop_with_empty_axes=0):
        axes = _list(axes_in, axes)
        if not axes and noop_with_empty_axes:
            return x
        return function(x, axis=axes or None, keepdims=bool(keepdims)).astype(x.dtype)


for _name, _newest, _function in [("ReduceMax", 20, np.max), ("ReduceMin", 20, np.min), ("ReduceSum", 13, np.sum),
                                  ("ReduceMean", 18, np.mean), ("ReduceProd", 18, np.prod)]:  # fmt: skip
    _reduction(_name, _newest, _function)


@operator("ArgMax", 13, _same)
def argmax(x, *, axis=0, keepdims=1, select_last_index=0):
    if select_last_index:
        index = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis, keepdims=bool(keepdims))
    else:
        index = np.argmax(x, axis, keepdims=bool(keepdims))
    return np.asarray(index, np.int64)


def _normalised(function):
    """Along an axis; before version 13, over all axes from that one on."""

    def computed(x, *, axis, since):
        if since >= 13:
            return function(x, axis)
        axis = range(x.ndim)[axis] if x.ndim else 0
        rows = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
        return function(rows, 1).reshape(x.shape)

    return computed


def _softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis, keepdims=True)


def _log_softmax(x, axis):
    x = x - x.max(axis, keepdims=True, initial=-np.inf)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


operator("Softmax", 13)(_normalised(_softmax))
operator("LogSoftmax", 13)(_normalised(_log_softmax))


# -- shapes ---------------------------------------------------------------------------------------


@operator("Reshape", 25, _same)
def reshape(x, shape_in=None, *, shape=None, allowzero=0):
    sizes = _list(shape_in, shape)
    return x.reshape([x.shape[i] if size == 0 and not allowzero else size for i, size in enumerate(sizes)])


@operator("Flatten", 25, _same)
def flatten(x, *, axis=1):
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose", 25, _same)
def transpose(x, *, perm=None):
    return x.transpose(perm)


@operator("Squeeze", 25, _same)
def squeeze(x, axes_in=None, *, axes=None):
    axes = _list(axes_in, axes)
    return np.squeeze(x, axis=None if axes is None else axes)


@operator("Unsqueeze", 25, _same)
def unsqueeze(x, axes_in=None, *, axes=None):
    return np.expand_dims(x, _list(axes_in, axes))


@operator("Concat", 13, _same)
def concat(*arrays, axis):
    return np.concatenate(arrays, axis)


@operator("Split", 18, _same)
def split(x, sizes_in=None, *, axis=0, split=None, num_outputs=None, outputs=1):
    """By sizes, or into as many parts as there are outputs, of which the last may be smaller."""
    sizes = _list(sizes_in, split)
    if sizes is None:
        each = -(-x.shape[axis] // outputs)
        sizes = [max(0, min(each, x.shape[axis] - i * each)) for i in range(outputs)]
    if len(sizes) != outputs or sum(sizes) != x.shape[axis] or min(sizes) < 0 or num_outputs not in (None, outputs):
        _validate.refuse(f"it splits {x.shape[axis]} into {outputs} parts of the sizes {sizes!r:.100}")
    return tuple(np.split(x, np.cumsum(sizes[:-1]), axis))


@operator("Slice", 13, _same)
def slice_(x, starts_in=None, ends_in=None, axes_in=None, steps=None, *, starts=None, ends=None, axes=None):
    starts, ends = _list(starts_in, starts), _list(ends_in, ends)
    axes = _list(axes_in, axes) or range(len(starts))
    steps = _list(steps, None) or (1,) * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0:  # Python would begin in front of the first item
            start = max(start, -x.shape[axis])
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


@operator("Gather", 13, _gathered)
def gather(x, indices, *, axis=0):
    return np.take(x, indices, axis)


def _places(x, indices, axis):
    """Where in x the entries of an array of indices along an axis are."""
    if x.ndim != indices.ndim:
        _validate.refuse(f"its inputs have {x.ndim} and {indices.ndim} axes")
    places = list(np.indices(indices.shape, sparse=True))
    places[axis] = indices
    return tuple(places)


@operator("GatherElements", 13)
def gather_elements(x, indices, *, axis=0):
    return x[_places(x, indices, axis)]


def _adding(attributes):
    if attributes.get("reduction", "none") != "none":
        return f"its reduction is {attributes['reduction']!r:.60}, not 'none'"


def _changed(x, places, updates):
    x = x.copy()
    x[places] = updates
    return x


@operator("ScatterElements", 18, refuse=_adding)
def scatter_elements(x, indices, updates, *, axis=0, reduction="none"):
    return _changed(x, _places(x, indices, axis), updates)


@operator("GatherND", 13, refuse=lambda attributes: "its batch_dims are not 0" if attributes.get("batch_dims") else None)
def gather_nd(x, indices, *, batch_dims=0):
    return x[tuple(np.moveaxis(indices, -1, 0))]


@operator("ScatterND", 18, refuse=_adding)
def scatter_nd(x, indices, updates, *, reduction="none"):
    return _changed(x, tuple(np.moveaxis(indices, -1, 0)), updates)


@operator("Expand", 13, _shape_given)
def expand(x, shape):
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist())))


@operator("Tile", 13)
def tile(x, repeats):
    if repeats.shape != (x.ndim,):
        _validate.refuse(f"it repeats {x.ndim} axes {repeats.tolist()!r:.60} times")
    return np.tile(x, repeats)


@operator("Shape", 25, lambda inputs, attributes: inputs[0].ndim)
def shape_(x, *, start=0, end=None):
    return np.array(x.shape[start:end], np.int64)


@operator("Size", 25, lambda inputs, attributes: 1)
def size_(x):
    return np.array(x.size, np.int64)


# -- made from nothing ------------------------------------------------------------------------------

_CONSTANTS = {"value": None, "value_int": np.int64, "value_ints": np.int64, "value_float": np.float32,
              "value_floats": np.float32}  # fmt: skip


def _no_constant(attributes):
    if len(attributes) != 1 or not set(attributes) <= set(_CONSTANTS):
        return f"its value is given by {', '.join(attributes) or 'nothing'}, not by one of {', '.join(_CONSTANTS)}"


@operator("Constant", 25, lambda inputs, attributes: 0, _no_constant)
def constant(*, value=None, value_int=None, value_ints=None, value_float=None, value_floats=None):
    """A constant is there already: it is no larger than its file."""
    if value is not None:
        return value
    for name, number in (("value_int", value_int), ("value_ints", value_ints), ("value_float", value_float),
                         ("value_floats", value_floats)):  # fmt: skip
        if number is not None:
            return np.array(number, _CONSTANTS[name])
    return _validate.refuse("it has no value")


@operator("ConstantOfShape", 25, lambda inputs, attributes: math.prod(inputs[0].tolist()))
def constant_of_shape(shape, *, value=None):
    value = np.zeros(1, np.float32) if value is None else value
    if value.size != 1:
        _validate.refuse(f"its value has {value.size} items")
    return np.full(tuple(shape.tolist()), value.reshape(()))


@operator("Range", 11)
def range_(start, limit, delta):
    return np.arange(start.item(), limit.item(), delta.item(), start.dtype)
