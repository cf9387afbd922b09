"""``Pullback``: the backward pass that ``vjp`` of a block or of a function returns.

Imports numpy and ``_validate``.
"""

import numpy as np

from . import _validate


def kept(array, given):
    """``array`` for the backward pass: a copy, if the caller could still write into it.

    ``array`` is what checking made of the argument ``given``. Read-only arrays, such as the
    ``y`` of another block's ``vjp``, are kept as they are.
    """
    if not array.flags.writeable:
        return array
    if isinstance(given, np.ndarray) and not np.may_share_memory(array, given):
        return array
    return array.copy()


def read_only(array):
    """``array``, from now on read-only: the next block's backward pass may read it."""
    array.flags.writeable = False
    return array


class Pullback:
    """The backward pass of one ``vjp``: ``dx = pullback(dy)``, once.

    Parameters
    ----------
    y : ndarray
        What the forward pass returned.
    backward : callable
        Takes the checked ``dy`` and returns ``dx``.
    module : Module, optional
        Whose parameters must not change in between.
    name : str
        What the gradient of ``y`` is called in messages.
    """

    __slots__ = ("_module", "_version", "_shape", "_dtype", "_backward", "_name")

    def __init__(self, y, backward, module=None, name="dy"):
        self._module = module
        self._version = None if module is None else module._version
        self._shape, self._dtype = y.shape, y.dtype
        self._backward = backward
        self._name = name

    def _check_ready(self):
        """Refuse a second call, and one after the module's parameters were changed."""
        module = self._module
        if module is not None and module._editing:
            module._sync()
        stale = module is not None and module._version != self._version
        _validate.pullback_ready(self._backward is None, stale)

    def __call__(self, dy):
        """Gradient with respect to ``x`` from ``dy``, the gradient with respect to ``y``."""
        self._check_ready()
        dy = _validate.real_array(dy, self._name, self._dtype, self._shape)
        backward, self._backward = self._backward, None
        return backward(dy)
