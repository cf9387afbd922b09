"""``TreeLSTM``: an LSTM whose state comes from a node's children instead of the step before.

A forest is worked through level by level, from the leaves up: a level is all the nodes whose highest child
lies just below. What the nodes see of ``x`` is one product for all of them; what they see of their children
is two products a level. Backward runs the levels down and leaves the weight gradients to one product each.

Imports numpy, ``params``, ``pullback``, ``_validate`` and the engine's products and functions.
"""

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
        run = self._run(x, parents)
        return run.unsorted(run.h), run.unsorted(run.c)

    def vjp(self, x, parents):
        """The same, and its backward pass: ``h, c, pullback``; ``dx = pullback(dh, dc=None)``, once.

        Either gradient may be None for zeros.
        """
        run = self._run(x, parents)
        h, c = read_only(run.unsorted(run.h)), read_only(run.unsorted(run.c))
        return h, c, _TreePullback(h, run.backward, self)

    def _run(self, x, parents):
        if self._editing:
            self._sync()
        x, parents = _validate.tree(x, parents, self.input_size, self.dtype)
        return _Run(self, x, _Forest(parents))


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


class _Forest:
    """The order in which nodes are computed, and who is whose child.

    Places are numbers of nodes in that order: level by level, leaves first.

    Attributes
    ----------
    order : ndarray
        ``(N,)``: the node at each place.
    levels : list of (slice, slice)
        The places of each level, and its nodes' children as a part of ``kids``.
    kids, owners : ndarray
        ``(K,)``: the places of all children, and of their parents, sorted by parent.
    firsts, counts : ndarray
        Where the children of each inner place begin in ``kids``, and how many there are.
    leaves : int
        How many places come before the inner ones.
    """

    def __init__(self, parents):
        levels = _levels(parents)
        self.order = np.concatenate([*levels, np.empty(0, np.intp)])
        _validate.acyclic(parents, self.order)
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(place))
        above = parents[self.order]
        above = np.where(above >= 0, place[above], -1)
        by_owner = np.argsort(above, kind="stable")
        self.kids = by_owner[np.count_nonzero(above < 0) :]
        self.owners = above[self.kids]
        self.firsts = np.flatnonzero(np.diff(self.owners, prepend=-1))
        self.counts = np.diff(self.firsts, append=len(self.kids))
        ends = np.cumsum([0, *map(len, levels)])
        kid_ends = np.searchsorted(self.owners, ends)
        self.levels = [(slice(*ends[n : n + 2]), slice(*kid_ends[n : n + 2])) for n in range(len(levels))]
        self.leaves = len(levels[0]) if levels else 0

    def inner(self, array, places):
        """The rows of a level in an array of the inner places."""
        return array[places.start - self.leaves : places.stop - self.leaves]

    def sums(self, array, places, kids):
        """Each node's sum over its children's rows of ``array``, which holds those of one level.

        All first children, then all second ones, and so on: ``np.add.reduceat`` takes 3 to 8 times as long.
        """
        starts, counts = self.inner(self.firsts, places) - kids.start, self.inner(self.counts, places)
        total = array[starts]
        for rank in range(1, counts.max()):
            more = np.flatnonzero(counts > rank)
            total[more] += array[starts[more] + rank]
        return total


def _levels(parents):
    """The nodes of each level, leaves first; those on a cycle are in none."""
    waiting = np.bincount(parents[parents >= 0], minlength=len(parents))  # children in no level yet
    ready, levels = np.flatnonzero(waiting == 0), []
    while ready.size:
        levels.append(ready)
        above = parents[ready]
        above, counts = np.unique(above[above >= 0], return_counts=True)
        waiting[above] -= counts
        ready = above[waiting[above] == 0]
    return levels


def _iog(array, axis=0):
    """The blocks i, g, o of an array in four blocks i, f, g, o."""
    i, _, g, o = np.split(array, 4, axis)
    return np.concatenate([i, g, o], axis)


class _Run:
    """One evaluation: all arrays by place, of a child by its place in ``kids``."""

    def __init__(self, module, x, forest):
        self.module, self.forest = module, forest
        self.x = x[forest.order]
        views, H = module._views, module.hidden_size
        nodes, children = len(forest.order), len(forest.kids)
        self.h, self.c, self.tanh_c, self.i, self.g, self.o = np.empty((6, nodes, H), module.dtype)
        self.child_sum = np.empty((nodes - forest.leaves, H), module.dtype)  # of the inner places
        self.f = np.empty((children, H), module.dtype)
        pre = engine.matmul(self.x, views["weight_ih_l0"].T, views.get("bias_ih_l0"))
        # Transposed here: every product packs its right operand, whose rows it reads best one behind the other.
        transposed = [np.ascontiguousarray(block.T) for block in self._weights()]
        for places, kids in forest.levels:
            self._forward(places, kids, pre[places], *transposed)

    def _weights(self):
        """``R_iog (3H, H)`` and ``R_f (H, H)``."""
        R, H = self.module._views["weight_hh_l0"], self.module.hidden_size
        return _iog(R), R[H : 2 * H]

    def _forward(self, places, kids, pre, R_iog_T, R_f_T):
        """The states of a level; ``pre`` is what its nodes see of ``x``."""
        forest = self.forest
        pre = np.split(pre, 4, axis=1)
        i, g, o = pre[0], pre[2], pre[3]
        if inner := kids.start < kids.stop:
            children = forest.kids[kids]
            child_sum = forest.inner(self.child_sum, places)
            child_sum[...] = forest.sums(self.h[children], places, kids)
            u = np.split(engine.matmul(child_sum, R_iog_T), 3, axis=1)
            i, g, o = i + u[0], g + u[1], o + u[2]
            f = pre[1][forest.owners[kids] - places.start] + engine.matmul(self.h[children], R_f_T)
            self.f[kids] = engine.math("sigmoid", f)
        self.i[places] = engine.math("sigmoid", i)
        self.g[places] = engine.math("tanh", g)
        self.o[places] = engine.math("sigmoid", o)
        c = self.i[places] * self.g[places]
        if inner:
            c += forest.sums(self.f[kids] * self.c[children], places, kids)
        self.c[places] = c
        self.tanh_c[places] = engine.math("tanh", c)
        self.h[places] = self.o[places] * self.tanh_c[places]

    def backward(self, dh, dc):
        """``dx``; adds the parameter gradients to the module's."""
        order, kids, leaves = self.forest.order, self.forest.kids, self.forest.leaves
        dh, dc = (np.zeros_like(self.h) if d is None else d[order] for d in (dh, dc))
        d_pre = np.empty((len(order), 4 * self.h.shape[1]), self.h.dtype)
        d_f = np.empty_like(self.f)
        weights = self._weights()
        for places, of_level in reversed(self.forest.levels):
            self._backward(places, of_level, dh, dc, d_pre[places], d_f[of_level], *weights)
        grads, H = self.module._grad_views, self.h.shape[1]
        products.gradient(d_pre, self.x, transpose_a=True, add_to=grads["weight_ih_l0"])
        if self.module.bias:
            grads["bias_ih_l0"] += d_pre.sum(axis=0)
        d_weight = grads["weight_hh_l0"]
        products.gradient(d_f, self.h[kids], transpose_a=True, add_to=d_weight[H : 2 * H])
        d_iog = products.gradient(_iog(d_pre[leaves:], 1), self.child_sum, transpose_a=True)
        d_weight[:H] += d_iog[:H]
        d_weight[2 * H :] += d_iog[H:]
        return self.unsorted(products.gradient(d_pre, self.module._views["weight_ih_l0"]))

    def _backward(self, places, kids, dh, dc, d_pre, d_f, R_iog, R_f):
        """Of a level: sets ``d_pre`` and its children's ``d_f``, adds to its children's ``dh`` and ``dc``."""
        forest, i, g, o, tanh_c = self.forest, self.i[places], self.g[places], self.o[places], self.tanh_c[places]
        d_c = dc[places] + dh[places] * o * (1 - tanh_c**2)
        d_pre_i, d_pre_f, d_pre_g, d_pre_o = np.split(d_pre, 4, axis=1)
        d_pre_o[...] = dh[places] * tanh_c * o * (1 - o)
        d_pre_i[...] = d_c * g * i * (1 - i)
        d_pre_g[...] = d_c * i * (1 - g**2)
        d_pre_f[...] = 0
        if len(d_f):
            children, owners, f = forest.kids[kids], forest.owners[kids] - places.start, self.f[kids]
            d_f[...] = d_c[owners] * self.c[children] * f * (1 - f)
            d_pre_f[...] = forest.sums(d_f, places, kids)
            dc[children] += d_c[owners] * f  # nobody is the child of two
            dh[children] += engine.matmul(_iog(d_pre, 1), R_iog)[owners] + engine.matmul(d_f, R_f)

    def unsorted(self, array):
        """Rows by place -> rows by node."""
        result = np.empty_like(array)
        result[self.forest.order] = array
        return result
