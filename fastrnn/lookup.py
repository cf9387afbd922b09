"""An Embedding in front of a recurrent layer: the layer reads a table in place of an input product.

``E W_ih^T + b`` has a row for each code. A step gathers its row; backward adds the gate gradients up by code, and only
then multiplies them with the table and with ``W_ih``. A vocabulary of 100 characters so costs next to no input product.
Outputs have the bits that ``layer(embedding(codes))`` has; gradients differ in the order of their sums.

Imports numpy and ``_validate``.
"""

from functools import partial

import numpy as np

from . import _validate

#: Products with codes this many times as often as with rows of the table: where a table begins to pay.
WORTH = 2
#: Bytes of the largest table that a stream keeps: more than that takes its time from a cache that the weights need.
STREAM_BYTES = 1 << 23


def call(embedding, layer, codes, state=None, lengths=None):
    """What ``layer(embedding(codes), state, lengths)`` returns."""
    codes, used = _rows(embedding, layer, codes)
    if used is None:
        return layer(embedding(codes), state, lengths)
    table, place = _table(embedding, codes, used)
    return layer._look_up(table, place, state, lengths)


def vjp(embedding, layer, codes, state=None, lengths=None):
    """What ``layer.vjp`` returns, of what ``embedding.vjp`` does; the pullback adds to the gradients of both.

    ``_, dstate0 = pullback(dy, dstate=None, dc_seq=None)``: codes have no gradient.
    """
    codes, used = _rows(embedding, layer, codes)
    if used is None or layer.input_dropout:
        x, to_embedding = embedding.vjp(codes)
        *results, to_layer = layer.vjp(x, state, lengths)
        return *results, _Pullback(embedding, to_layer, to_embedding)
    table, place = _table(embedding, codes, used)
    *results, to_layer = layer._look_up_vjp(table, place, state, lengths)
    return *results, _Pullback(embedding, to_layer, partial(embedding._add_gradients, used))


def stepper(embedding, layer):
    """``code -> y_t`` of a new stream of the layer: for one sequence, whose codes are in range."""
    stream = layer.stream()
    table = embedding.parameters["weight"]
    rows = layer.parameters["weight_ih_l0"].shape[0] * embedding.num_embeddings
    if layer._can_look_up and rows * layer.dtype.itemsize <= STREAM_BYTES and table.dtype == layer.dtype:
        stream._look_up(table)
        return stream._step_row
    return lambda code: stream.step(table[code])


def _rows(embedding, layer, codes):
    """Checked codes, and which rows of the table occur; None where a product for every code is as good."""
    codes = _validate.indices(codes, "x", embedding.num_embeddings)
    if embedding.dtype != layer.dtype or embedding.embedding_dim != layer.input_size or not layer._can_look_up:
        return codes, None
    used = np.flatnonzero(np.bincount(codes.ravel(), minlength=embedding.num_embeddings))
    return codes, used if 0 < WORTH * used.size <= codes.size else None


def _table(embedding, codes, used):
    """The rows of the table that occur, and codes that count these."""
    place = np.empty(embedding.num_embeddings, np.intp)
    place[used] = np.arange(used.size)
    return embedding.parameters["weight"].take(used, axis=0), place[codes]


class _Pullback:
    """Through a layer into its embedding."""

    __slots__ = ("_embedding", "_version", "_to_layer", "_to_embedding")

    def __init__(self, embedding, to_layer, to_embedding):
        self._embedding, self._version = embedding, embedding._version
        self._to_layer, self._to_embedding = to_layer, to_embedding

    def __call__(self, *gradients, **more):
        if self._embedding._editing:
            self._embedding._sync()
        _validate.pullback_ready(False, self._embedding._version != self._version)
        dx, dstate0 = self._to_layer(*gradients, **more)
        return self._to_embedding(dx), dstate0
