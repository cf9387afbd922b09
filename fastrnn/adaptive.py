"""``AdaptiveSoftmax``: cross entropy over many classes, most of which are rare.

Imports numpy, ``_core``, ``params``, ``pullback`` and ``_validate``.
"""

import numpy as np

from . import _validate
from ._core import engine, products
from .params import Module
from .pullback import Pullback, kept


class _LossPullback(Pullback):
    """The backward pass of a loss, whose own gradient is 1 unless another is given."""

    __slots__ = ()

    def __call__(self, dloss=1.0):
        """Gradient with respect to ``x`` from ``dloss``, the gradient with respect to the loss; a number is for all."""
        return super().__call__(np.broadcast_to(dloss, self._shape) if np.ndim(dloss) == 0 else dloss)


class AdaptiveSoftmax(Module):
    """Linear map, softmax and cross entropy in one, for classes numbered by falling frequency.

    A head decides between the most frequent classes and clusters of the others; the classes of a
    cluster are computed only for rows whose target is there, from a projection of ``x`` that is
    smaller the rarer they are. Equations (AS1) to (AS22). Source: Grave et al., ICML 2017.

    Parameters
    ----------
    in_features, n_classes : int
        Sizes ``I`` and ``C``.
    cutoffs : sequence of int
        The first class of each cluster, increasing, in ``1..C-1``.
    div_value : float
        At least 1: cluster ``i = 0, 1, ...`` sees ``I // div_value ** (i + 1)`` features.
    head_bias : bool
    dtype : {"float32", "float64"}
    rng : None, int or numpy.random.Generator
        Draws each weight from U(-1/sqrt(n), 1/sqrt(n)), ``n`` its columns.

    Attributes
    ----------
    parameters : mapping of str to ndarray
        Those of ``torch.nn.AdaptiveLogSoftmaxWithLoss``: ``head.weight``, ``head.bias``, and of each
        cluster the projection ``tail.{i}.0.weight`` and the classes ``tail.{i}.1.weight``.

    Raises
    ------
    ValueError
        For cutoffs that do not increase, and clusters left without a feature.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> head = fr.AdaptiveSoftmax(16, 1000, [50, 200], rng=0)
    >>> x, target = np.ones((5, 2, 16)), np.arange(10).reshape(5, 2) * 99
    >>> loss, pullback = head.vjp(x, target)
    >>> pullback().shape, head.predict(x).shape
    ((5, 2, 16), (5, 2))
    >>> bool(np.isclose(-loss, np.take_along_axis(head.log_prob(x), target[..., None], 2).mean()))
    True
    """

    def __init__(
        self, in_features, n_classes, cutoffs, div_value=4.0, head_bias=False, *, dtype="float32", rng=None
    ):
        self.in_features = _validate.integer(in_features, "in_features", 1, 2**53)  # exact as a float
        self.n_classes = _validate.positive_int(n_classes, "n_classes")
        self.div_value = _validate.real(div_value, "div_value", minimum=1)
        self.cutoffs, widths = _validate.clusters(cutoffs, self.in_features, self.n_classes, self.div_value)
        self.head_bias = _validate.boolean(head_bias, "head_bias")
        dtype, rng = _validate.float_dtype(dtype), _validate.generator_or_none(rng)
        first = self.cutoffs[0]
        specs = [("head.weight", (first + len(widths), self.in_features))]
        if self.head_bias:
            specs.append(("head.bias", specs[0][1][:1]))
        for i, (width, start, end) in enumerate(zip(widths, self.cutoffs, (*self.cutoffs[1:], self.n_classes))):
            specs.append((f"tail.{i}.0.weight", (width, self.in_features)))
            specs.append((f"tail.{i}.1.weight", (end - start, width)))
        self._declare(specs, dtype)
        bounds = {name: shape[-1] ** -0.5 for name, shape in specs}
        if self.head_bias:
            bounds["head.bias"] = bounds["head.weight"]
        self._init_uniform(rng, bounds)

    def _config(self):
        return {
            "in_features": self.in_features,
            "n_classes": self.n_classes,
            "cutoffs": list(self.cutoffs),
            "div_value": self.div_value,
            "head_bias": self.head_bias,
            "dtype": self.dtype.name,
        }

    def _rows(self, x):
        """``x`` checked and converted; as ``(N, I)``."""
        if self._editing:
            self._sync()
        x = _validate.last_axis(x, "x", self.in_features, self.dtype)
        return x, x.reshape(-1, self.in_features)

    def _head(self, rows):
        return engine.matmul(rows, self._views["head.weight"].T, self._views.get("head.bias"))  # (AS1)

    def _tail(self, i, rows):
        """Projected rows and logits of cluster ``i``. (AS3)"""
        projected = engine.matmul(rows, self._views[f"tail.{i}.0.weight"].T)
        return projected, engine.matmul(projected, self._views[f"tail.{i}.1.weight"].T)

    def _evaluate(self, rows, target, scale, gradient):
        """The losses of all rows, and what backward needs.

        Returns
        -------
        values : ndarray
            float64, ``(N,)``.
        d_head : ndarray or None
            ``scale`` times the gradient with respect to the head's logits.
        tails : list of tuple
            (cluster, its rows' numbers, those rows, their projections, gradient of their logits).
        """
        cluster = np.searchsorted(self.cutoffs, target, side="right")  # 0: in the head
        entry = np.where(cluster > 0, self.cutoffs[0] - 1 + cluster, target)
        values, d_head = engine.cross_entropy(self._head(rows), entry, None, 0, scale, gradient)
        tails = []
        for i, start in enumerate(self.cutoffs):
            index = np.flatnonzero(cluster == i + 1)
            if index.size:
                chosen = rows[index]
                projected, logits = self._tail(i, chosen)
                inner, d_logits = engine.cross_entropy(logits, target[index] - start, None, 0, scale, gradient)
                values[index] += inner  # (AS4), (AS5)
                tails.append((i, index, chosen, projected, d_logits))
        return values, d_head, tails

    def _loss(self, x, target, ignore_index, reduction, gradient):
        """``x`` as checked, the loss, and a function from its gradient to ``dx``."""
        given = x
        x, rows = self._rows(x)
        target = _validate.class_targets(target, x.shape[:-1], self.n_classes, ignore_index, reduction).ravel()
        count = np.count_nonzero(target >= 0) if reduction == "mean" else 1
        scale = 1 / count if count else 0.0
        if gradient:
            rows = kept(rows, given)
        values, d_head, tails = self._evaluate(rows, target, scale, gradient)
        if reduction == "none":
            loss = values.astype(self.dtype).reshape(x.shape[:-1])
        else:
            loss = self.dtype.type(values.sum() * scale if count else np.nan)  # the mean of nothing
        return loss, lambda dloss: self._backward(dloss, rows, d_head, tails).reshape(x.shape)

    def _backward(self, dloss, rows, d_head, tails):
        if (dloss != 1).any():
            dloss = dloss.reshape(-1, 1)  # of each row, or of all together
            d_head *= dloss
            for _, index, *_, d_logits in tails:
                d_logits *= dloss if dloss.size == 1 else dloss[index]
        grads, values = self._grad_views, self._views
        products.gradient(d_head, rows, transpose_a=True, add_to=grads["head.weight"])  # (AS21)
        if self.head_bias:
            grads["head.bias"] += d_head.sum(axis=0)
        dx = products.gradient(d_head, values["head.weight"])
        for i, index, chosen, projected, d_logits in tails:
            down, up = f"tail.{i}.0.weight", f"tail.{i}.1.weight"
            d_projected = products.gradient(d_logits, values[up])  # (AS11)
            products.gradient(d_logits, projected, transpose_a=True, add_to=grads[up])  # (AS22)
            products.gradient(d_projected, chosen, transpose_a=True, add_to=grads[down])
            dx[index] += products.gradient(d_projected, values[down])  # (AS12)
        return dx

    def __call__(self, x, target, ignore_index=-100, reduction="mean"):
        """The loss of ``x (..., I)`` for classes ``target (...)``.

        Targets of ``ignore_index`` count nothing; ``reduction`` is ``"mean"`` (over the others), ``"sum"`` or ``"none"``:
        the losses ``(...)`` themselves. TypeError or ValueError for targets that are no classes.
        """
        return self._loss(x, target, ignore_index, reduction, False)[0]

    def vjp(self, x, target, ignore_index=-100, reduction="mean"):
        """``loss, pullback``; ``pullback(dloss=1.0)`` returns ``dx (..., I)``; dloss as the loss, or a number."""
        loss, backward = self._loss(x, target, ignore_index, reduction, True)
        return loss, _LossPullback(loss, backward, self, "dloss")

    def log_prob(self, x):
        """Logarithms of the probabilities of all classes: ``(..., I)`` -> ``(..., C)``."""
        x, rows = self._rows(x)
        return self._log_prob(rows).reshape(*x.shape[:-1], self.n_classes)

    def _log_prob(self, rows):
        head, first = _log_softmax(self._head(rows)), self.cutoffs[0]
        result = np.empty((len(rows), self.n_classes), self.dtype)
        result[:, :first] = head[:, :first]  # (AS2)
        for i, (start, end) in enumerate(zip(self.cutoffs, (*self.cutoffs[1:], self.n_classes))):
            tail = _log_softmax(self._tail(i, rows)[1])
            np.add(tail, head[:, first + i, np.newaxis], out=result[:, start:end])  # (AS4)
        return result

    def predict(self, x):
        """The most probable class: ``(..., I)`` -> integers ``(...)``.

        Clusters are computed only for rows in which one of them is the head's first choice: no
        class of a cluster is more probable than the cluster.
        """
        x, rows = self._rows(x)
        best = self._head(rows).argmax(axis=1)
        index = np.flatnonzero(best >= self.cutoffs[0])
        best[index] = self._log_prob(rows[index]).argmax(axis=1)
        return best.reshape(x.shape[:-1])


def _log_softmax(logits):
    """Of each row, in place."""
    logits -= engine.log_sum_exp(logits)[:, np.newaxis].astype(logits.dtype)
    return logits
