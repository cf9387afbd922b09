"""``Attention``: a mean of what an encoder has put out, weighted by how well it fits a query.

    Attention     scores, weights and context vectors: Luong's product or Bahdanau's sum
    Walk          the attention to one batch of memories, query by query

Equations (AT1) to (AT23). Time comes first, ``(T, B, .)``; products are the engine's, so that a row has the same bits
whatever its batch mates are. Imports numpy, ``params``, ``_core`` and ``_validate``.
"""

import numpy as np

from .. import _validate
from .._core import engine, products
from ..params import Module
from ..pullback import kept, read_only

KINDS = ("luong", "bahdanau")


class Attention(Module):
    """Which parts of a memory matter to a query: ``context = sum_t weight_t memory_t``.

    Weights are the softmax of scores over the steps of each memory. ``"luong"``: ``score = q . (W_m m)``, the "general"
    product (Luong, Pham & Manning, EMNLP 2015). ``"bahdanau"``: ``score = v . tanh(W_q q + W_m m)``, the sum (Bahdanau,
    Cho & Bengio, ICLR 2015).

    Parameters
    ----------
    query_size, memory_size : int
        ``H`` and ``E``.
    size : int, optional
        ``A``, the width in which both meet; ``H`` with ``"luong"``, where there is no other.
    kind : "luong" or "bahdanau"
    dtype : "float32" or "float64"
    rng : None, int or numpy.random.Generator
        Draws ``weight_memory (A, E)`` and, with ``"bahdanau"``, ``weight_query (A, H)`` and ``weight_score (A,)`` from
        U(-1/sqrt(n), 1/sqrt(n)), n the last axis.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models import Attention
    >>> attention = Attention(4, 6, kind="luong", rng=0)
    >>> memory, queries = np.ones((5, 2, 6)), np.ones((3, 2, 4))
    >>> context, weights = attention(queries, memory, lengths=[5, 2])
    >>> context.shape, weights.shape
    ((3, 2, 6), (2, 3, 5))
    >>> weights[1, 0].round(2).tolist()
    [0.5, 0.5, 0.0, 0.0, 0.0]
    """

    _takes_lengths = True

    def __init__(self, query_size, memory_size, size=None, *, kind="luong", dtype="float32", rng=None):
        self.query_size = _validate.positive_int(query_size, "query_size")
        self.memory_size = _validate.positive_int(memory_size, "memory_size")
        self.kind = _validate.one_of(kind, "kind", KINDS)
        size = self.query_size if size is None else _validate.positive_int(size, "size")
        if kind == "luong":
            _validate.same(size, self.query_size, "size")
        self.size = size
        dtype, rng = _validate.float_dtype(dtype), _validate.generator_or_none(rng)
        bounds = {"weight_memory": self.memory_size**-0.5}
        specs = [("weight_memory", (size, self.memory_size))]
        if kind == "bahdanau":
            specs += [("weight_query", (size, self.query_size)), ("weight_score", (size,))]
            bounds |= {"weight_query": self.query_size**-0.5, "weight_score": size**-0.5}
        self._declare(specs, dtype)
        self._init_uniform(rng, bounds)

    def _config(self):
        return {
            "query_size": self.query_size, "memory_size": self.memory_size, "size": self.size, "kind": self.kind,
            "dtype": self.dtype.name,
        }  # fmt: skip

    def __call__(self, queries, memory, lengths=None):
        """``context (S, B, E), weights (B, S, T)`` for ``queries (S, B, H)``, ``memory (T, B, E)``, ``lengths (B,)``."""
        return self.over(memory, lengths)(queries)

    def vjp(self, queries, memory, lengths=None):
        """``context, weights, pullback``; ``d_queries, d_memory = pullback(d_context)``, once."""
        walk = self.over(memory, lengths)
        context, weights, backward = walk.vjp(queries)

        def pullback(d_context):
            d_queries = backward(d_context)
            return d_queries, walk.finish()

        return context, weights, pullback

    def over(self, memory, lengths=None):
        """A ``Walk``: the attention to these memories, to be asked query by query."""
        return Walk(self, memory, lengths)


class Walk:
    """The attention to one batch of memories.

    ``walk(queries)`` may be called, and ``walk.vjp(queries)``, any number of times; the pullbacks of the latter add up
    what goes back to the memory, which ``finish`` returns when all of them have run.

    Parameters
    ----------
    attention : Attention
    memory : array_like
        ``(T, B, E)``.
    lengths : array_like of int, optional
        ``(B,)`` in 1..T; what lies past them is not looked at.

    Attributes
    ----------
    batch : int
        ``B``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models import Attention
    >>> walk = Attention(4, 6, 8, kind="bahdanau", rng=0).over(np.ones((5, 2, 6)))
    >>> context, weights, pullback = walk.vjp(np.ones((1, 2, 4)))
    >>> pullback(np.ones((1, 2, 6))).shape, walk.finish().shape
    ((1, 2, 4), (5, 2, 6))
    """

    def __init__(self, attention, memory, lengths=None):
        if attention._editing:
            attention._sync()
        self._attention, self._version = attention, attention._version
        checked, self._lengths = _validate.memory(memory, lengths, attention.memory_size, attention.dtype)
        steps, self.batch = checked.shape[:2]
        self._past = np.arange(steps) >= self._lengths[:, np.newaxis]  # (B, T)
        if self._past.any():  # nothing there has to be finite
            self._memory = np.where(self._past.T[:, :, np.newaxis], attention.dtype.type(0), checked)
        else:
            self._memory = kept(checked, memory)
        rows = self._memory.reshape(-1, attention.memory_size)
        keys = engine.matmul(rows, attention._views["weight_memory"].T)  # (AT1)
        self._keys = keys.reshape(steps, self.batch, -1)
        self._d_keys = self._d_memory = None  # before something has come back
        self._open = 0

    def __call__(self, queries):
        """``context (S, B, E), weights (B, S, T)``."""
        return self._forward(queries)[1:3]

    def vjp(self, queries):
        """``context, weights, pullback``, both arrays read-only; ``d_queries = pullback(d_context)``, once."""
        checked, context, weights, tanhs = self._forward(queries, keep=True)
        queries = kept(checked, queries)
        self._open += 1
        used = []

        def pullback(d_context):
            _validate.pullback_ready(bool(used), self._attention._version != self._version)
            d_context = _validate.real_array(d_context, "d_context", context.dtype, context.shape)
            used.append(True)
            self._open -= 1
            return self._backward(queries, weights, tanhs, d_context)

        return read_only(context), read_only(weights), pullback

    def finish(self):
        """``d_memory (T, B, E)``; adds the gradient of ``weight_memory``. Once, after the pullbacks."""
        _validate.all_came_back(self._open, self._d_memory is None)
        _validate.pullback_ready(False, self._attention._version != self._version)
        d_keys = self._d_keys.reshape(-1, self._attention.size)
        d_memory, rows = self._d_memory, self._memory.reshape(-1, self._attention.memory_size)
        products.gradient(d_keys, rows, transpose_a=True, add_to=self._attention._grad_views["weight_memory"])  # (AT21)
        weight = self._attention._views["weight_memory"]
        d_memory += products.gradient(d_keys, weight).reshape(d_memory.shape)  # (AT16)
        self._d_keys = self._d_memory = None
        return d_memory

    def _forward(self, queries, keep=False):
        """Checked queries, context, weights and, to keep for backward, the tanh of Bahdanau's scores."""
        attention = self._attention
        queries = _validate.queries(queries, self.batch, attention.query_size, attention.dtype)
        shape = (self.batch, len(queries), len(self._memory))
        if attention.kind == "luong":
            scores, tanhs = np.zeros(shape, attention.dtype), None
            for b, n in enumerate(self._lengths):
                engine.matmul(queries[:, b], self._keys[:n, b].T, None, scores[b, :, :n])  # (AT3)
        else:
            scores, tanhs = self._summed(queries, shape, keep)
        scores[np.broadcast_to(self._past[:, np.newaxis], shape)] = -np.inf
        scores -= scores.max(axis=2, keepdims=True)
        weights = np.exp(scores, out=scores)
        weights /= weights.sum(axis=2, keepdims=True)  # (AT4)
        context = np.zeros((len(queries), self.batch, attention.memory_size), attention.dtype)
        for b, n in enumerate(self._lengths):
            engine.matmul(weights[b, :, :n], self._memory[:n, b], None, context[:, b])  # (AT5)
        return queries, context, weights, tanhs

    def _summed(self, queries, shape, keep):
        """Bahdanau's scores ``(B, S, T)``, and the ``(T, B, A)`` of each query where they are kept."""
        views, scores, tanhs = self._attention._views, np.empty(shape, queries.dtype), []
        rows = queries.reshape(-1, queries.shape[2])
        asked = engine.matmul(rows, views["weight_query"].T).reshape(*queries.shape[:2], -1)
        column = views["weight_score"][:, np.newaxis]
        for s, one in enumerate(asked):
            z = np.tanh(self._keys + one)
            scores[:, s] = engine.matmul(z.reshape(-1, z.shape[2]), column).reshape(z.shape[:2]).T  # (AT2)
            if keep:
                tanhs.append(z)
        return scores, tanhs

    def _backward(self, queries, weights, tanhs, d_context):
        """``d_queries``; what goes back to memory and keys is added up."""
        if self._d_memory is None:
            self._d_memory, self._d_keys = np.zeros_like(self._memory), np.zeros_like(self._keys)
        d_scores = np.zeros_like(weights)  # of the weights at first
        for b, n in enumerate(self._lengths):
            engine.matmul(d_context[:, b], self._memory[:n, b].T, None, d_scores[b, :, :n])  # (AT11)
            engine.matmul(weights[b, :, :n].T, d_context[:, b], None, self._d_memory[:n, b])  # (AT12)
        d_scores -= (weights * d_scores).sum(axis=2, keepdims=True)
        d_scores *= weights  # (AT13)
        if self._attention.kind == "bahdanau":
            return self._backward_summed(queries, tanhs, d_scores)
        d_queries = np.zeros_like(queries)
        for b, n in enumerate(self._lengths):
            engine.matmul(d_scores[b, :, :n], self._keys[:n, b], None, d_queries[:, b])  # (AT14)
            engine.matmul(d_scores[b, :, :n].T, queries[:, b], None, self._d_keys[:n, b])  # (AT14)
        return d_queries

    def _backward_summed(self, queries, tanhs, d_scores):
        """Through Bahdanau's scores."""
        views, grads = self._attention._views, self._attention._grad_views
        d_asked = np.empty((*queries.shape[:2], self._attention.size), queries.dtype)
        for s, z in enumerate(tanhs):
            d_score = d_scores[:, s].T[:, :, np.newaxis]  # (T, B, 1)
            grads["weight_score"] += (d_score * z).sum(axis=(0, 1))  # (AT22)
            d_sum = d_score * views["weight_score"]
            d_sum *= 1 - z * z  # (AT15)
            self._d_keys += d_sum
            d_asked[s] = d_sum.sum(axis=0)
        d_asked = d_asked.reshape(-1, d_asked.shape[2])
        rows = queries.reshape(-1, queries.shape[2])
        products.gradient(d_asked, rows, transpose_a=True, add_to=grads["weight_query"])  # (AT23)
        return products.gradient(d_asked, views["weight_query"]).reshape(queries.shape)  # (AT15)
