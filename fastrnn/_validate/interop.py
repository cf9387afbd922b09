"""Modules of other frameworks, and what they and this one do not share."""

import numpy as np

from .arrays import converted, real_array
from .messages import described, shape_text


def convertible(value, kinds, name="module"):
    """What ``kinds`` has for the exact type of a module; a subclass may compute something else."""
    if type(value) not in kinds:
        listed = ", ".join(dict.fromkeys(kind.__name__ for kind in kinds))
        raise TypeError(f"{name}: expected one of {listed}, got {described(value)}")
    return kinds[type(value)]


def framework_module(value, kind, name="model"):
    """A module of another framework, of any class."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected a {kind.__module__.split('.')[0]} module, got {described(value)}")
    return value


def expressible(value, allowed, name, owner, where):
    """Refuse an option that ``where`` does not have, unless it has one of the values that change nothing."""
    if value not in allowed:
        expected = " or ".join(repr(option) for option in allowed)
        raise ValueError(f"{owner}: {where} has no {name}={value!r}, only {expected}")
    return value


def expressible_options(config, only, owner, where):
    """The same of all options of a layer; ``only``: option -> its values that change nothing."""
    for name, allowed in only.items():
        if name in config:
            expressible(config[name], allowed, name, owner, where)


def refuse(problem):
    """A ``ValueError`` of these words; ``refuse_node`` says where."""
    raise ValueError(problem)


def refuse_node(where, node, operator, problem):
    """Refuse a node of a graph, or what it was given: which one, and why."""
    raise ValueError(f"{where}: node {node!r:.100} ({operator:.60}): {problem}") from None


def named_inputs(given, expected, optional):
    """The names of a call's inputs: all of ``expected`` but those that are ``optional``."""
    listed = ", ".join(map(repr, expected)) or "none"
    for name in given:
        if name not in expected:
            raise ValueError(f"{name}: there is no such input; there are: {listed}")
    for name in expected:
        if name not in given and name not in optional:
            raise ValueError(f"{name}: expected an array, got none; the inputs are: {listed}")


def graph_input(value, name, dtype, shape):
    """An input of a graph as an array of its dtype; ``shape`` has numbers, and names or None for any.

    Floats come from any real numbers, integers from integers that fit, booleans from booleans.
    """
    array = np.asarray(real_array(value, name))
    kinds = {"f": "fiub", "i": "iu", "u": "iu", "b": "b"}[dtype.kind]
    if array.dtype.kind not in kinds and not (array.size == 0 and isinstance(value, (list, tuple))):
        raise TypeError(f"{name}: expected {dtype}, got {array.dtype}")
    if shape is not None:
        fixed = [size if isinstance(size, int) else None for size in shape]
        if array.ndim != len(fixed) or any(size not in (None, there) for size, there in zip(fixed, array.shape)):
            expected = shape_text(["?" if size is None else size for size in shape])
            raise ValueError(f"{name}: expected an array of shape {expected}, got {array.shape}")
    if array.size and dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        lowest, highest = int(array.min()), int(array.max())
        if lowest < bounds.min or highest > bounds.max:
            bad = lowest if lowest < bounds.min else highest
            raise ValueError(f"{name}: expected integers of {dtype}, got {bad}")
    return converted(array, dtype)
