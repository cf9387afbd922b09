"""Operators that compute: item by item, products, over axes."""

import math
from functools import wraps

import numpy as np

from .. import _validate
from .._core import engine
from ._file import DTYPES
from ._operators import broadcast, integers, operator, same

# -- one item from one or several -------------------------------------------------------------------


def _elementwise(name, newest, function):
    operator(name, newest, broadcast)(function)


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


@operator("Div", 14, broadcast)
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


@operator("Identity", 25, same)
def identity(x):
    return x


@operator("Clip", 13, same)
def clip(x, min_in=None, max_in=None, *, min=None, max=None):
    low, high = (min if min_in is None else min_in), (max if max_in is None else max_in)
    x = x if low is None else np.maximum(x, np.asarray(low, x.dtype))
    return x if high is None else np.minimum(x, np.asarray(high, x.dtype))


def _unknown_dtype(attributes):
    if attributes.get("to") not in DTYPES:
        return f"a cast to the type {attributes.get('to')}, which is not computed with"


@operator("Cast", 28, same, _unknown_dtype)
def cast(x, *, to, saturate=1, round_mode="up"):
    return x.astype(DTYPES[to])


@operator("CastLike", 25, lambda inputs, attributes: inputs[0].size)
def cast_like(x, like, *, saturate=1, round_mode="up"):
    return x.astype(like.dtype)


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


def _reduction(name, newest, function):
    @operator(name, newest, same)
    def reduced(x, axes_in=None, *, axes=None, keepdims=1, noop_with_empty_axes=0):
        axes = integers(axes_in, axes)
        if not axes and noop_with_empty_axes:
            return x
        return function(x, axis=axes or None, keepdims=bool(keepdims)).astype(x.dtype)


def _most(function, floats, integers_):
    """Of no items, the least or the largest number there is."""

    def computed(x, axis, keepdims):
        none = {"f": floats, "b": floats > 0}.get(x.dtype.kind)
        none = getattr(np.iinfo(x.dtype), integers_) if none is None else none
        return function(x, axis=axis, keepdims=keepdims, initial=none)

    return computed


for _name, _newest, _function in [
    ("ReduceMax", 20, _most(np.max, -np.inf, "min")), ("ReduceMin", 20, _most(np.min, np.inf, "max")),
    ("ReduceSum", 13, np.sum), ("ReduceMean", 18, np.mean), ("ReduceProd", 18, np.prod),
]:  # fmt: skip
    _reduction(_name, _newest, _function)


@operator("ArgMax", 13, same)
def argmax(x, *, axis=0, keepdims=1, select_last_index=0):
    if select_last_index:
        index = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis, keepdims=bool(keepdims))
    else:
        index = np.argmax(x, axis, keepdims=bool(keepdims))
    return np.asarray(index, np.int64)


@operator("TopK", 24)
def top_k(x, count, *, axis=-1, largest=1, sorted=1):
    """In order, the first of equal ones first."""
    count, length = count.item(), x.shape[axis]
    if not 0 <= count <= length:
        _validate.refuse(f"it takes {count} of {length}")
    order = np.argsort(np.flip(x, axis) if largest else x, axis, kind="stable")
    order = length - 1 - np.flip(order, axis) if largest else order
    order = np.take(order, range(count), axis)
    return np.take_along_axis(x, order, axis), order.astype(np.int64)


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


@operator("LayerNormalization", 17)
def layer_normalization(x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1, outputs=1):
    """In single precision at least, as ``stash_type`` says; also mean and inverse deviation."""
    if stash_type != 1:
        _validate.refuse(f"its stash_type is {stash_type}, not 1")
    axes = tuple(range(axis % x.ndim, x.ndim))
    wide = x.astype(np.float64 if x.dtype == np.float64 else np.float32)
    mean = wide.mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(np.square(wide - mean).mean(axes, keepdims=True) + epsilon)
    y = ((wide - mean) * inverse).astype(x.dtype) * scale
    y = y if bias is None else y + bias
    return (y, mean.astype(np.float32), inverse.astype(np.float32))[:outputs]


operator("Softmax", 13)(_normalised(_softmax))
operator("LogSoftmax", 13)(_normalised(_log_softmax))
