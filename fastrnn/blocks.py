"""Building blocks around recurrent layers: ``Embedding``, ``Linear``, ``Dropout``, ``Sequential``.

Each follows one protocol: ``y = block(x)`` for inference, ``y, pullback = block.vjp(x)`` for
training, ``dx = pullback(dy)`` for the backward pass, which adds the gradients of the
parameters into ``block.grads``. A pullback can be called once, and not after the parameters
were changed. ``y`` from ``vjp`` is read-only, because the next block's backward pass reads it.

Imports numpy, ``params``, ``pullback``, ``lookup`` and ``_validate``. Dense products are the engine's, or BLAS's where
it gains.
"""

import numpy as np

from . import _validate, lookup
from ._core import engine, products
from .params import Module
from .pullback import Pullback, kept, read_only


class Embedding(Module):
    """A table of vectors looked up by index: ``y[...] = weight[x[...]]``.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows ``V`` and columns ``E`` of the table.
    padding_idx : int, optional
        A row that is not trained: its gradient stays 0. It begins as zeros.
    dtype : {"float32", "float64"}
    rng : None, int or numpy.random.Generator
        Draws the initial ``weight (V, E)`` from N(0, 1).

    Raises
    ------
    TypeError
        In a call, if the indices are not integers.
    ValueError
        In a call, if an index is outside ``0..V-1``; for a ``padding_idx`` that is.

    Examples
    --------
    >>> import fastrnn as fr
    >>> table = fr.Embedding(100, 8, rng=0)
    >>> table([[3, 1, 4], [1, 5, 9]]).shape
    (2, 3, 8)
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, *, dtype="float32", rng=None):
        self.num_embeddings = _validate.positive_int(num_embeddings, "num_embeddings")
        self.embedding_dim = _validate.positive_int(embedding_dim, "embedding_dim")
        if padding_idx is not None:
            padding_idx = _validate.integer(padding_idx, "padding_idx", 0, self.num_embeddings - 1)
        self.padding_idx = padding_idx
        dtype, rng = _validate.float_dtype(dtype), _validate.generator(rng)
        self._declare([("weight", (self.num_embeddings, self.embedding_dim))], dtype)
        self._init_normal(rng)
        if padding_idx is not None:
            self._values[padding_idx * self.embedding_dim : (padding_idx + 1) * self.embedding_dim] = 0

    def _config(self):
        padding = {} if self.padding_idx is None else {"padding_idx": self.padding_idx}
        return {"num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim, **padding,
                "dtype": self.dtype.name}  # fmt: skip

    def _add_gradients(self, index, rows):
        """Add the gradients of rows of the table; an index may occur twice."""
        if self.padding_idx is not None:
            trained = index != self.padding_idx
            index, rows = index[trained], rows[trained]
        _add_rows(self._grad_views["weight"], index, rows)

    def __call__(self, x):
        """Look up: integers of any shape ``(...)`` -> ``(..., E)``."""
        if self._editing:
            self._sync()
        index = _validate.indices(x, "x", self.num_embeddings)
        return self._views["weight"].take(index, axis=0)

    def vjp(self, x):
        """Look up and prepare the backward pass: ``y (..., E), pullback``.

        ``pullback(dy)`` returns None: indices have no gradient.
        """
        if self._editing:
            self._sync()
        index = _validate.indices(x, "x", self.num_embeddings)
        y = read_only(self._views["weight"].take(index, axis=0))
        index = kept(index, x)

        def backward(dy):
            self._add_gradients(index.ravel(), dy.reshape(-1, y.shape[-1]))

        return y, Pullback(y, backward, self)


def _add_rows(table, index, rows):
    """``table[index[i]] += rows[i]`` for all ``i``, in a fixed order.

    Sorted by index, the rows of an index that occurs often are summed at once; of the others,
    the k-th occurrences of all of them are added together. The limit balances the number of
    sums and of rounds. (V, E, rows) = (100, 256, 2500): 0.7 ms where ``np.add.at`` takes 4.2.
    """
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(starts, append=index.size)
    targets = ordered[starts]
    often = counts > int(index.size**0.5)
    for target, start, count in zip(targets[often], starts[often], counts[often]):
        table[target] += rows[order[start : start + count]].sum(axis=0)
    targets, starts, counts = targets[~often], starts[~often], counts[~often]
    occurrence = 0
    while targets.size:
        table[targets] += rows[order[starts + occurrence]]
        occurrence += 1
        more = counts > occurrence
        targets, starts, counts = targets[more], starts[more], counts[more]


class Linear(Module):
    """An affine map of the last axis: ``y = x weight^T + bias``.

    Parameters
    ----------
    in_features, out_features : int
        Sizes ``I`` and ``O``.
    bias : bool
    dtype : {"float32", "float64"}
    rng : None, int or numpy.random.Generator
        Draws ``weight (O, I)`` and ``bias (O,)`` from U(-1/sqrt(I), 1/sqrt(I)), as
        ``torch.nn.Linear`` does.

    Raises
    ------
    ValueError
        In a call, if the last axis of ``x`` is not ``I``.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> head = fr.Linear(8, 3, rng=0)
    >>> y, pullback = head.vjp(np.ones((5, 2, 8)))
    >>> y.shape, pullback(np.ones((5, 2, 3))).shape
    ((5, 2, 3), (5, 2, 8))
    >>> head.grads["bias"]
    array([10., 10., 10.], dtype=float32)
    """

    def __init__(self, in_features, out_features, bias=True, *, dtype="float32", rng=None):
        self.in_features = _validate.positive_int(in_features, "in_features")
        self.out_features = _validate.positive_int(out_features, "out_features")
        self.bias = _validate.boolean(bias, "bias")
        dtype, rng = _validate.float_dtype(dtype), _validate.generator_or_none(rng)
        specs = [("weight", (self.out_features, self.in_features))]
        if self.bias:
            specs.append(("bias", (self.out_features,)))
        self._declare(specs, dtype)
        self._init_uniform(rng, self.in_features**-0.5)

    def _config(self):
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias,
            "dtype": self.dtype.name,
        }

    #: Up to so many rows a call multiplies with a packed weight that it keeps: a step of generation packs nothing.
    _FEW = 16
    _packed = None  # the version of the weight, and it packed

    def _forward(self, x, few=0):
        """``x`` checked and converted, and ``y``."""
        if self._editing:
            self._sync()
        x = _validate.last_axis(x, "x", self.in_features, self.dtype)
        rows = x.reshape(-1, self.in_features)
        y = (self._product_of_few if len(rows) <= few else self._product)(rows)
        return x, y.reshape(*x.shape[:-1], self.out_features)

    def _product(self, rows):
        return engine.matmul(rows, self._views["weight"].T, self._views.get("bias"))

    def _product_of_few(self, rows):
        packed = self._packed
        if packed is None or packed[0] != self._version:
            packed = self._version, engine.Packed(self._views["weight"].T, self._views.get("bias"))
            self._packed = packed
        return packed[1].times(rows)

    def __call__(self, x):
        """``(..., I)`` -> ``(..., O)``, any leading axes."""
        return self._forward(x, self._FEW)[1]

    def vjp(self, x):
        """``y (..., O), pullback``; ``pullback(dy)`` returns ``dx (..., I)``."""
        checked, y = self._forward(x)
        x = kept(checked, x)

        def backward(dy):
            dy = dy.reshape(-1, self.out_features)
            rows = x.reshape(-1, self.in_features)
            products.gradient(dy, rows, transpose_a=True, add_to=self._grad_views["weight"])
            if self.bias:
                self._grad_views["bias"] += dy.sum(axis=0)
            return products.gradient(dy, self._views["weight"]).reshape(x.shape)

        return read_only(y), Pullback(y, backward, self)


def dropout_mask(rng, p, shape, dtype):
    """An inverted dropout mask: 0 with probability ``p``, else ``1 / (1 - p)``.

    Drawn in float32 whatever ``dtype`` is, so the same rng state gives the same mask in both.
    """
    keep = rng.random(shape, dtype=np.float32) >= p
    return np.asarray(np.multiply(keep, 1 / (1 - p) if p < 1 else 0.0, dtype=dtype))


class Dropout(Module):
    """Zeroes each element with probability ``p`` in ``vjp`` and scales the others by 1/(1-p).

    A plain call is the identity. Source: Srivastava et al., JMLR 15 (2014), in the inverted
    form.

    Parameters
    ----------
    p : float
        In [0, 1]; an attribute that can be set.
    rng : None, int or numpy.random.Generator
        Draws the masks; an attribute that can be set. Same rng state, same masks.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> drop = fr.Dropout(0.5, rng=0)
    >>> y, pullback = drop.vjp(np.ones(4))
    >>> bool((pullback(np.ones(4)) == y).all())
    True
    """

    def __init__(self, p=0.5, *, rng=None):
        self.p = p
        self._declare([], np.dtype(np.float32))
        self.rng = rng

    @property
    def p(self):
        """The probability of zeroing an element."""
        return self._p

    @p.setter
    def p(self, value):
        self._p = _validate.probability(value, "p")

    def _config(self):
        return {"p": self.p}

    def __call__(self, x):
        """The identity; integers become float64."""
        return _validate.floating(x, "x")

    def vjp(self, x):
        """``y, pullback`` in the shape and floating dtype of ``x``."""
        checked = _validate.floating(x, "x")
        if self.p == 0:
            y = kept(checked, x)
            return read_only(y), Pullback(y, np.copy, self)
        mask = dropout_mask(self.rng, self.p, checked.shape, checked.dtype)
        y = np.multiply(checked, mask, out=np.empty_like(checked))
        return read_only(y), Pullback(y, lambda dy: np.multiply(dy, mask, out=mask), self)


def paired(modules):
    """``(embedding, layer)`` where a recurrent layer follows an Embedding, ``(None, module)`` elsewhere."""
    pairs = []
    for module in modules:
        if module._recurrent and pairs and type(pairs[-1][1]) is Embedding:
            pairs.append((pairs.pop()[1], module))
        else:
            pairs.append((None, module))
    return pairs


class _SequentialPullback:
    """The backward pass of one ``vjp`` of a ``Sequential``."""

    __slots__ = ("_versions", "_pullbacks")

    def __init__(self, versions, pullbacks):
        self._versions = versions  # (leaf, its version in the forward pass)
        self._pullbacks = pullbacks  # (pullback, whether it returns (dx, dstate0))

    def __call__(self, dy):
        """Gradient with respect to ``x`` from ``dy``, the gradient with respect to ``y``."""
        for leaf, _ in self._versions:
            if leaf._editing:
                leaf._sync()
        stale = any(leaf._version != version for leaf, version in self._versions)
        _validate.pullback_ready(self._pullbacks is None, stale)
        pullbacks = self._pullbacks
        for pullback, recurrent in reversed(pullbacks):
            dy = pullback(_validate.given(dy, "dy"))
            if recurrent:
                dy, _ = dy
            self._pullbacks = None  # only now: a refused dy leaves everything usable
        return dy


class Sequential(Module):
    """Modules one after another.

    A recurrent layer starts as it does without a state, receives ``lengths`` and passes on its ``y``.
    Parameters are named ``0.weight``, ``1.weight_ih_l0`` and are the arrays of the modules
    themselves; a module that occurs twice shares its parameters.

    Parameters
    ----------
    *modules : Module
        At least one.

    Examples
    --------
    >>> import fastrnn as fr
    >>> model = fr.Sequential(fr.Embedding(20, 4), fr.Dropout(0.1), fr.Linear(4, 2))
    >>> list(model.parameters)
    ['0.weight', '2.weight', '2.bias']
    >>> model([1, 2, 3]).shape
    (3, 2)
    """

    _takes_lengths = True

    def __init__(self, *modules):
        self._setup(_validate.sequential_modules(modules, Module))

    def _setup(self, modules):
        self._modules = tuple(modules)
        self._steps = paired(self._modules)

    @classmethod
    def _of(cls, modules):
        """An instance of these modules, whatever the constructor of a subclass takes."""
        self = cls.__new__(cls)
        self._setup(modules)
        return self

    def __call__(self, x, lengths=None):
        """The last module's output for ``x``, the first one's input."""
        for embedding, module in self._steps:
            if embedding:
                x = lookup.call(embedding, module, x, lengths=lengths)[0]
            elif module._recurrent:
                x = module(x, lengths=lengths)[0]
            elif module._takes_lengths:
                x = module(x, lengths=lengths)
            else:
                x = module(x)
        return x

    def vjp(self, x, lengths=None):
        """``y, pullback``; ``dx = pullback(dy)`` is None after an Embedding."""
        leaves = self._leaves()
        generators = [leaf._rng for leaf in leaves if getattr(leaf, "_rng", None) is not None]
        before = [generator.bit_generator.state for generator in generators]
        for leaf in leaves:
            if leaf._editing:
                leaf._sync()
        versions = [(leaf, leaf._version) for leaf in leaves]
        try:
            x, pullbacks = self._vjp_chain(x, lengths)
        except BaseException:  # a refused call has no effect: not on dropout masks either
            for generator, state in zip(generators, before):
                generator.bit_generator.state = state
            raise
        return x, _SequentialPullback(versions, pullbacks)

    def _vjp_chain(self, x, lengths):
        pullbacks = []
        for embedding, module in self._steps:
            if embedding:
                x, *_, pullback = lookup.vjp(embedding, module, x, lengths=lengths)
            elif module._recurrent:
                x, *_, pullback = module.vjp(x, lengths=lengths)
            elif module._takes_lengths:
                x, pullback = module.vjp(x, lengths=lengths)
            else:
                x, pullback = module.vjp(x)
            pullbacks.append((pullback, module._recurrent))
        return x, pullbacks

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __getitem__(self, index):
        return self._modules[index]

    def modules(self):
        yield self
        for module in self._modules:
            yield from module.modules()

    def _leaves(self):
        leaves = {id(leaf): leaf for module in self._modules for leaf in module._leaves()}
        return list(leaves.values())

    def _owners(self):
        return {
            f"{i}.{name}": owner
            for i, module in enumerate(self._modules)
            for name, owner in module._owners().items()
        }

    @property
    def rng(self):
        """Setting it gives one Generator to every module inside that draws dropout masks."""
        drawing = [leaf for leaf in self._leaves() if hasattr(leaf, "_rng")]
        return drawing[0].rng if drawing else None

    @rng.setter
    def rng(self, value):
        generator = _validate.generator(value)
        for leaf in self._leaves():
            if hasattr(leaf, "_rng"):
                leaf.rng = generator

    def zero_grad(self):
        for leaf in self._leaves():
            leaf.zero_grad()

    def __reduce_ex__(self, protocol):
        attributes = {k: v for k, v in self.__dict__.items() if not k.startswith("_")}
        return _sequential_of, (type(self), self._modules), attributes

    def __setstate__(self, attributes):
        self.__dict__.update(attributes)

    def __repr__(self):
        lines = [f"({i}): {module!r}" for i, module in enumerate(self._modules)]
        inside = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {inside}\n)"


def _sequential_of(cls, modules):
    """``cls._of`` as a function that pickle can name."""
    return cls._of(modules)
