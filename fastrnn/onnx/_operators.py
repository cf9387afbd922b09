"""The table of the operators around recurrent layers, which are in NumPy: ``_arithmetic`` and ``_shapes`` fill it.

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
from inspect import Parameter, signature
from types import FunctionType
from typing import Callable

import numpy as np

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


def same(inputs, attributes):
    """No more than go in."""
    return sum(array.size for array in inputs if array is not None)


def broadcast(inputs, attributes):
    return math.prod(np.broadcast_shapes(*(array.shape for array in inputs)))


# -- for the functions ---------------------------------------------------------------------------


def integers(given, attribute):
    """Integers that come as an input, or as an attribute; None if as neither."""
    if given is not None:
        return tuple(np.atleast_1d(given).tolist())
    return attribute
