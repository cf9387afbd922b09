"""``TreeLSTM``: an LSTM whose state comes from a node's children instead of the step before.

A forest is worked through level by level, from the leaves up: a level is all the nodes whose highest child
lies just below. What nodes see of ``x`` is a product for many of them at a time, of all levels; what they see of
their children is three products a level. Backward runs the levels down and leaves the weight gradients to one product
of all nodes each. The levels are the engine's (``tree.c``); here are the order of the nodes and the memory.

Imports numpy, ``params``, ``pullback``, ``_validate`` and the engine's products and functions.
"""

from functools import partial

import numpy as np

from . import _validate
from ._core import engine, products
from .params import Module
from .pullback import Pullback, read_only


class TreeLSTM(Module):
    """Child-sum tree LSTM (Tai, Socher & Manning 2015).

    With the children k of a node and ``s = sum_k h_k``: ``i, o = sigmoid(W x + R s + b)``,
    ``g = tanh(W x + R s + b)``, one ``f_k = sigmoid(W_f x + R_f h_k + b_f)`` for each child,
    ``c = i*g + sum_k f_k*c_k``, ``h = o*tanh(c)``.

    Parameters
    ----------
    input_size, hidden_size : int
        I, H. There are ``weight_ih_l0 (4H, I)``, ``weight_hh_l0 (4H, H)`` and ``bias_ih_l0 (4H,)``; the gates
        in the order i, f, g, o.
    bias : bool
    dtype : "float32" or "float64"
    rng : None, int or numpy.random.Generator
        Draws the initial parameters, U(-1/sqrt(H), 1/sqrt(H)).

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.

    Examples
    --------
    Two trees: node 2 with the children 0 and 1, node 4 with the child 3.

    >>> import numpy as np, fastrnn as fr
    >>> tree = fr.TreeLSTM(3, 4, rng=0)
    >>> h, c, pullback = tree.vjp(np.ones((5, 3)), [2, 2, -1, 4, -1])
    >>> h.shape, c.shape
    ((5, 4), (5, 4))
    >>> dh = np.zeros((5, 4))
    >>> dh[2] = 1  # a loss on the first root
    >>> dx = pullback(dh)
    >>> dx.any(axis=1)
    array([ True,  True,  True, False, False])
    """

    def __init__(self, input_size, hidden_size, *, bias=True, dtype="float32", rng=None):
        self.input_size = _validate.positive_int(input_size, "input_size")
        self.hidden_size = _validate.positive_int(hidden_size, "hidden_size")
        _validate.recurrent_sizes(self.input_size, self.hidden_size, 1, 0)
        self.bias = _validate.boolean(bias, "bias")
        dtype, rng = _validate.float_dtype(dtype), _validate.generator_or_none(rng)
        rows = 4 * self.hidden_size
        specs = [("weight_ih_l0", (rows, self.input_size)), ("weight_hh_l0", (rows, self.hidden_size))]
        if self.bias:
            specs.append(("bias_ih_l0", (rows,)))
        self._packed = {}  # whether transposed -> version, operands
        self._declare(specs, dtype)
        self._init_uniform(rng, self.hidden_size**-0.5)

    def _config(self):
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "bias": self.bias,
            "dtype": self.dtype.name,
        }

    def __call__(self, x, parents):
        """States of all nodes of a forest.

        Parameters
        ----------
        x : array_like
            ``(N, I)``: the nodes, in any order.
        parents : array_like of int
            ``(N,)``: the number of each node's parent, -1 for a root.

        Returns
        -------
        h, c : ndarray
            ``(N, H)``.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, before any work is done; for parents that go round in a circle.
        """
        return self._forward(*self._checked(x, parents))[:2]

    def vjp(self, x, parents):
        """The same, and its backward pass: ``h, c, pullback``; ``dx = pullback(dh, dc=None)``, once.

        Either gradient may be None for zeros.
        """
        x, forest = self._checked(x, parents)
        h, c, *kept = self._forward(x, forest)
        x = x[forest[0]]  # by place; and nobody else's
        return read_only(h), read_only(c), _TreePullback(h, partial(self._backward, x, forest, h, c, *kept), self)

    def _checked(self, x, parents):
        if self._editing:
            self._sync()
        x, parents = _validate.tree(x, parents, self.input_size, self.dtype)
        return x, _forest(parents)

    def _operands(self, transposed):
        """The right operands of ``engine.tree_pass``, packed after a change only: of backward or, transposed, forward."""
        version, packed = self._version, self._packed.get(transposed)
        if packed is None or packed[0] != version:
            W, R, H = self._views["weight_ih_l0"], self._views["weight_hh_l0"], self.hidden_size
            blocks = W, R[:H], R[2 * H :], R[H : 2 * H]
            biases = self._views.get("bias_ih_l0") if transposed else None, None, None, None
            operands = tuple(engine.Packed(w.T if transposed else w, bias) for w, bias in zip(blocks, biases))
            packed = self._packed[transposed] = version, operands
        return packed[1]

    def _forward(self, x, forest):
        """``h`` and ``c (N, H)`` by node; then, for backward, gates, sums over children and forget gates."""
        order, ends, _, kids = forest
        H, nodes, inner = self.hidden_size, len(order), len(order) - ends[:2][-1]
        shapes = (nodes, H), (nodes, H), (nodes, 4 * H), (inner, H), (len(kids), H)
        h, c, *kept = (np.empty(shape, self.dtype) for shape in shapes)
        engine.tree_pass(forest, self._operands(True), False, *kept, h, c, x)
        return h, c, *kept

    def _backward(self, x, forest, h, c, gates, sums, forget, dh, dc):
        """``dx``; adds the parameter gradients to the module's. ``x`` is by place."""
        H, inner = self.hidden_size, len(x) - len(sums)
        dh, dc = (np.zeros_like(h) if d is None else d.copy() for d in (dh, dc))
        dx = np.empty_like(x)
        engine.tree_pass(forest, self._operands(False), True, gates, np.empty_like(sums), forget, dh, c, dx, dc)
        grads = self._grad_views
        products.gradient(gates, x, transpose_a=True, add_to=grads["weight_ih_l0"])  # (T21)
        if self.bias:
            grads["bias_ih_l0"] += gates.sum(axis=0)  # (T23)
        if len(sums):
            R = grads["weight_hh_l0"]
            for block in slice(H), slice(2 * H, None):
                products.gradient(gates[inner:, block], sums, transpose_a=True, add_to=R[block])  # (T22)
            products.gradient(forget, h[forest[3]], transpose_a=True, add_to=R[H : 2 * H])
        return dx


class _TreePullback(Pullback):
    """The backward pass of one ``vjp`` of a tree."""

    __slots__ = ()

    def __call__(self, dh, dc=None):
        """``dx (N, I)`` from the gradients with respect to ``h`` and ``c``, each ``(N, H)`` or None."""
        self._check_ready()
        given = (("dh", dh), ("dc", dc))
        dh, dc = (None if d is None else _validate.real_array(d, name, self._dtype, self._shape) for name, d in given)
        backward, self._backward = self._backward, None
        return backward(dh, dc)


def _forest(parents):
    """The order in which nodes are computed, and who is whose child: the forest of ``engine.tree_pass``."""
    order, ends = engine.levels(parents)
    _validate.acyclic(parents, order)
    place = np.full(len(order) + 1, len(order))  # that of -1, the parent of roots, behind all
    place[order] = np.arange(len(order))
    above = place[parents]
    kids = np.argsort(above, kind="stable")[: np.count_nonzero(parents >= 0)]
    return order, ends, np.searchsorted(above[kids], np.arange(len(order) + 1)), kids
