"""Operators that move items: shapes, parts, places; and constants."""

import math

import numpy as np

from .. import _validate
from ._operators import integers, operator, same


def _shape_given(inputs, attributes):
    """The second input is a shape to broadcast to."""
    return math.prod(np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist())))


def _gathered(inputs, attributes):
    data, indices = inputs
    return indices.size * data.size // max(1, data.shape[attributes["axis"]])


# -- shapes ---------------------------------------------------------------------------------------


@operator("Reshape", 25, same)
def reshape(x, shape_in=None, *, shape=None, allowzero=0):
    sizes = integers(shape_in, shape)
    return x.reshape([x.shape[i] if size == 0 and not allowzero else size for i, size in enumerate(sizes)])


@operator("Flatten", 25, same)
def flatten(x, *, axis=1):
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose", 25, same)
def transpose(x, *, perm=None):
    return x.transpose(perm)


@operator("Squeeze", 25, same)
def squeeze(x, axes_in=None, *, axes=None):
    axes = integers(axes_in, axes)
    return np.squeeze(x, axis=None if axes is None else axes)


@operator("Unsqueeze", 25, same)
def unsqueeze(x, axes_in=None, *, axes=None):
    return np.expand_dims(x, integers(axes_in, axes))


@operator("Concat", 13, same)
def concat(*arrays, axis):
    return np.concatenate(arrays, axis)


@operator("Split", 18, same)
def split(x, sizes_in=None, *, axis=0, split=None, num_outputs=None, outputs=1):
    """By sizes, or into as many parts as there are outputs, of which the last may be smaller."""
    sizes = integers(sizes_in, split)
    if sizes is None:
        each = -(-x.shape[axis] // outputs)
        sizes = [max(0, min(each, x.shape[axis] - i * each)) for i in range(outputs)]
    if len(sizes) != outputs or sum(sizes) != x.shape[axis] or min(sizes) < 0 or num_outputs not in (None, outputs):
        _validate.refuse(f"it splits {x.shape[axis]} into {outputs} parts of the sizes {sizes!r:.100}")
    return tuple(np.split(x, np.cumsum(sizes[:-1]), axis))


@operator("Slice", 13, same)
def slice_(x, starts_in=None, ends_in=None, axes_in=None, steps=None, *, starts=None, ends=None, axes=None):
    starts, ends = integers(starts_in, starts), integers(ends_in, ends)
    axes = integers(axes_in, axes) or range(len(starts))
    steps = integers(steps, None) or (1,) * len(starts)
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


@operator("ReverseSequence", 28)
def reverse_sequence(x, lengths, *, batch_axis=1, time_axis=0):
    """Each sequence from its last step to its first; what lies past its length stays."""
    if sorted((batch_axis, time_axis)) != [0, 1] or lengths.shape != (x.shape[batch_axis],):
        _validate.refuse(f"its axes are {batch_axis} and {time_axis}, and it has lengths of {lengths.shape}")
    steps, batch = np.arange(x.shape[time_axis])[:, None], np.arange(x.shape[batch_axis])
    places = np.where(steps < lengths, lengths - 1 - steps, steps)
    return x[batch[:, None], places.T] if time_axis else x[places, batch]


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
    if len(attributes) != 1:
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


@operator("Range", 27)
def range_(start, limit, delta, *, stash_type=1):
    return np.arange(start.item(), limit.item(), delta.item()).astype(start.dtype)
