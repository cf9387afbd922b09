"""A call of a recurrent module of PyTorch on this engine, and its backward pass.

Tensors and arrays share memory, with two exceptions: what ``vjp`` returns is copied, because a script may change the
outputs of a module in place and backward reads them; and packed sequences are laid out in steps of equal size.
"""

import threading
import weakref
from typing import NamedTuple

import numpy as np
import torch
from torch.autograd import Function, forward_ad

from .torch import layer_like

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}
CLASSES = (torch.Tensor, torch.nn.Parameter)  # others may be anything


def ordinary():
    """Is a call just that: not traced, compiled, cast, batched or differentiated by a transformation?"""
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch.is_autocast_enabled("cpu")
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def computable(tensors):
    """Are these tensors what the engine reads: of one dtype, in this memory?"""
    dtype = tensors[0].dtype
    return dtype in _DTYPES and all(
        type(t) in CLASSES and t.dtype is dtype and t.is_cpu and t.layout is torch.strided and not t.is_neg()
        for t in tensors
    )


def readable(tensor):
    """A tensor's memory as a read-only array: the engine need not copy it, as nobody writes through it."""
    array = tensor.detach().numpy()
    array.flags.writeable = False
    return array


class Places:
    """Where the rows of a packed sequence stand in ``(T, B)`` or ``(B, T)`` steps.

    Attributes
    ----------
    lengths : ndarray
        ``(B,)``, longest first.
    rows : ndarray
        Of every packed row, its place among T*B.
    """

    __slots__ = ("lengths", "rows", "shape", "whole")

    def __init__(self, batch_sizes, batch_first):
        sizes = batch_sizes.numpy()
        T, B = sizes.size, int(sizes[0])
        t = np.repeat(np.arange(T), sizes)
        b = np.arange(t.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        self.lengths = np.count_nonzero(sizes[:, np.newaxis] > np.arange(B), axis=0)
        self.rows = b * T + t if batch_first else t * B + b
        self.shape = (B, T) if batch_first else (T, B)
        self.whole = t.size == T * B and not batch_first  # the layout is the packed one

    @classmethod
    def of(cls, packed, batch_first):
        """None for a packed sequence that no function of PyTorch makes."""
        sizes = packed.batch_sizes
        fits = (
            sizes.dim() == 1 and sizes.dtype is torch.int64 and sizes.is_cpu and sizes.numel() and int(sizes[-1]) > 0
            and not bool((sizes[1:] > sizes[:-1]).any()) and int(sizes.sum()) == len(packed.data)
        )  # fmt: skip
        return cls(sizes, batch_first) if fits else None

    def spread(self, rows):
        """Packed rows in steps; what lies past a length is never read."""
        if self.whole:
            return rows.reshape(*self.shape, -1)
        steps = np.empty((self.shape[0] * self.shape[1], rows.shape[1]), rows.dtype)
        steps[self.rows] = rows
        return steps.reshape(*self.shape, -1)

    def gather(self, steps):
        """Steps as packed rows, copied."""
        return steps.reshape(-1, steps.shape[-1]).take(self.rows, axis=0)


class Form(NamedTuple):
    """What of a module decides which layer computes it, by PyTorch's names."""

    dtype: torch.dtype
    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    bidirectional: bool
    proj_size: int
    dropout: float = 0.0  # every call brings its own


class Engine:
    """A layer that has the bits of a module's weights whenever it is asked for.

    A layer whose weights a backward pass still needs is left as it is, and another one takes its place.
    """

    def __init__(self, module, dtype):
        self.form = form_of(module, dtype)
        self.frozen = False
        self.lock = threading.RLock()
        self._begin()

    def _begin(self):
        self._layer = layer_like(self.form, _DTYPES[self.form.dtype])
        self._pending = weakref.WeakSet()

    def layer(self, weights):
        """The layer with these weights, name -> array; as it is, if frozen."""
        if self.frozen:
            return self._layer
        with self.lock:
            bits = np.dtype(f"u{self._layer.dtype.itemsize}")
            views = self._layer._views
            same = all(np.array_equal(np.ascontiguousarray(a).view(bits), views[n].view(bits)) for n, a in weights.items())
            if not same:
                if self._pending:
                    self._begin()
                self._layer.load_state_dict(weights)
            return self._layer

    def expect(self, lease):
        """The layer's weights stay until ``lease`` is gone or done."""
        self._pending.add(lease)

    def done(self, lease):
        self._pending.discard(lease)


def form_of(module, dtype):
    """All that a layer is made from."""
    return Form(dtype, *(getattr(module, name) for name in Form._fields[1:-1]))


class Lease:
    """A forward pass whose backward pass may come."""

    __slots__ = ("layer", "pullback", "__weakref__")

    def __init__(self, layer, pullback):
        self.layer, self.pullback = layer, pullback


class Call:
    """One call: all of it that is not a tensor.

    Tensors come as ``x``, the initial states, if any, and the weights.
    """

    __slots__ = ("engine", "names", "states", "places", "dropout", "seed")

    def __init__(self, engine, names, states, places, dropout):
        self.engine, self.names, self.states, self.places, self.dropout = engine, names, states, places, dropout
        # From PyTorch's generator, so that torch.manual_seed decides the masks.
        self.seed = int(torch.randint(2**62, ())) if dropout else None

    def _arguments(self, x, tensors):
        """The layer, and what it is called with."""
        states, weights = tensors[: self.states], tensors[self.states :]
        layer = self.engine.layer(dict(zip(self.names, map(readable, weights))))
        x, states = readable(x), tuple(map(readable, states))
        state = (states if len(states) > 1 else states[0]) if states else None
        if self.places is None:
            return layer, (x, state)
        return layer, (self.places.spread(x), state, self.places.lengths)

    def infer(self, x, *tensors):
        """``y, *final_states``; nothing is kept."""
        layer, arguments = self._arguments(x, tensors)
        y, final = layer(*arguments)
        y = y if self.places is None else self.places.gather(y)
        return tuple(map(torch.from_numpy, (y, *_tuple(final))))

    def vjp(self, x, *tensors):
        """The same and the ``Lease`` of its backward pass."""
        with self.engine.lock:
            layer, arguments = self._arguments(x, tensors)
            layer.dropout = self.dropout
            if self.dropout:
                layer.rng = np.random.default_rng(self.seed)
            y, final, pullback = layer.vjp(*arguments)
            lease = Lease(layer, pullback)
            self.engine.expect(lease)
        y = y.copy() if self.places is None else self.places.gather(y)
        return tuple(map(torch.from_numpy, (y, *_tuple(final)))), lease

    def backward(self, lease, tensors, gradients, needed):
        """Gradients of x, states and weights; None for those that are not needed.

        A second backward pass through the same call runs it again.
        """
        dy, *dstate = [None if g is None else readable(g.resolve_neg()) for g in gradients]
        if dy is not None and self.places is not None:
            dy = self.places.spread(dy)
        with self.engine.lock:
            if lease.pullback is None:
                _, again = self.vjp(*tensors)
                lease.layer, lease.pullback = again.layer, again.pullback
            layer, pullback = lease.layer, lease.pullback
            layer.zero_grad()
            dstate = dstate[0] if len(dstate) == 1 else tuple(dstate)
            dx, dstate0 = pullback(dy, dstate, input_gradient=needed[0])
            lease.pullback = None
            self.engine.done(lease)
            wanted = zip(self.names, needed[1 + self.states :])
            weights = [torch.from_numpy(layer.grads[name].copy()) if want else None for name, want in wanted]
        dx = dx if dx is None or self.places is None else self.places.gather(dx)
        inputs = [dx, *_tuple(dstate0)[: self.states]]
        return [torch.from_numpy(a) if want else None for a, want in zip(inputs, needed)] + weights


def _tuple(state):
    return state if isinstance(state, tuple) else (state,)


class Run(Function):
    """A call that autograd follows: ``y, *final_states = Run.apply(call, x, *states, *weights)``."""

    @staticmethod
    def forward(ctx, call, *tensors):
        outputs, ctx.lease = call.vjp(*tensors)
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)  # PyTorch then notices what is changed in place
        return outputs

    @staticmethod
    def backward(ctx, *gradients):
        tensors = ctx.saved_tensors
        if all(g is None for g in gradients):
            return (None,) * (1 + len(tensors))
        with torch.no_grad():
            results = ctx.call.backward(ctx.lease, tensors, gradients, ctx.needs_input_grad[1:])
        if torch.is_grad_enabled():  # create_graph=True
            results = Once.apply(len(results), *results, *tensors, *gradients)
        return (None, *results)


class Once(Function):
    """Gradients that cannot be differentiated again."""

    @staticmethod
    def forward(ctx, count, *tensors):
        ctx.set_materialize_grads(False)
        return tuple(None if t is None else t.clone() for t in tensors[:count])

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError("fastrnn.torch has no second derivatives: "
                           "fastrnn.torch.restore(model) gives the model to PyTorch, which has them")  # fmt: skip
