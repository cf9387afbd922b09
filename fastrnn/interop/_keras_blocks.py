"""What models of Keras have between their layers and fastrnn does not: an output at the end alone, and masks."""

import numpy as np

from .. import _validate
from ..blocks import Embedding, Sequential
from ..layers import Recurrent
from ..params import Module
from ..pullback import Pullback, kept, read_only


class Final(Sequential):
    """A recurrent layer that gives only its last output: ``(B, D*H)``, of Keras's ``return_sequences=False``.

    That is the final state of each direction, the two merged as the layer merges its outputs. Lengths are taken into
    account; where one is 0 it is the initial state.

    Parameters
    ----------
    layer : recurrent layer
        Its parameters have the same names here.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> last = fr.interop.keras.Final(fr.GRU(3, 4, batch_first=True, rng=0))
    >>> last(np.zeros((2, 5, 3))).shape
    (2, 4)
    """

    def __init__(self, layer):
        self._setup([layer])

    def _setup(self, modules):
        layer = _validate.one_module(modules, "layer")
        super()._setup([_validate.has_output_state(_validate.recurrent_layer(layer, Recurrent))])

    @property
    def layer(self):
        """The layer itself."""
        return self._modules[0]

    def _owners(self):
        return self.layer._owners()

    def _merged(self, h):
        """The last layer's part of ``h (L*D, ..., H)``, its directions merged, and them."""
        directions = h[-self.layer.num_directions :]
        merge = self.layer._config()["merge"]
        if len(directions) == 1:
            return directions[0].copy(), directions, "sum"
        first, second = directions
        merged = {"concat": lambda: np.concatenate(directions, axis=-1), "sum": lambda: first + second,
                  "mean": lambda: (first + second) / 2, "mul": lambda: first * second}[merge]()  # fmt: skip
        return merged, directions, merge

    def __call__(self, x, lengths=None):
        state = self.layer(x, lengths=lengths)[1]
        return self._merged(state[0] if isinstance(state, tuple) else state)[0]

    def vjp(self, x, lengths=None):
        """``y, pullback``; ``dx = pullback(dy)``."""
        _, state, *_, pullback = self.layer.vjp(x, lengths=lengths)
        several = isinstance(state, tuple)
        h = state[0] if several else state
        result, directions, merge = self._merged(h)

        def backward(dy):
            dh = np.zeros_like(h)
            parts = {
                "concat": lambda: np.split(dy, len(directions), axis=-1), "sum": lambda: dy, "mean": lambda: dy / 2,
                "mul": lambda: dy * directions[::-1],
            }[merge]()  # fmt: skip
            dh[-len(directions) :] = parts
            return pullback(None, (dh, *(len(state) - 1) * [None]) if several else dh)[0]

        return read_only(result), Pullback(result, backward, self.layer)


class Masking(Module):
    """Says to a ``Masked`` that steps are left out where all of ``x`` is ``mask_value``; passes ``x`` on.

    Parameters
    ----------
    mask_value : float
    """

    def __init__(self, mask_value=0.0):
        self.mask_value = _validate.real(mask_value, "mask_value")
        self._declare([], np.dtype(np.float32))

    def _config(self):
        return {"mask_value": self.mask_value}

    def __call__(self, x):
        return _validate.floating(x, "x")

    def vjp(self, x):
        """``y, pullback``; both are the identity."""
        y = read_only(kept(_validate.floating(x, "x"), x))
        return y, Pullback(y, np.copy, self)


class Masked(Sequential):
    """Modules that leave out the steps that their first one masks, as in Keras.

    An ``Embedding`` masks its ``padding_idx`` (Keras's ``mask_zero``), ``Masking`` its value. Recurrent layers skip a
    masked step wherever it is, before, after or between the others: the steps that are left are moved together, and the
    outputs back to their places. Outputs of masked steps are 0. (Keras repeats the output before there, or gives 0.)

    Parameters
    ----------
    *modules : Module
        The first an ``Embedding`` or a ``Masking``; recurrent layers with ``batch_first=True``.

    Examples
    --------
    >>> import fastrnn as fr
    >>> gru = fr.GRU(3, 4, batch_first=True, rng=0)
    >>> model = fr.interop.keras.Masked(fr.Embedding(9, 3, 0, rng=0), fr.interop.keras.Final(gru))
    >>> bool((model([[0, 0, 5, 7]]) == model([[5, 7, 0, 0]])).all())
    True
    """

    def _setup(self, modules):
        super()._setup(_validate.maskable(_validate.sequential_modules(modules, Module), Masking, Embedding))

    def __call__(self, x, lengths=None):
        """The last module's output; ``x`` is ``(B, T)`` or ``(B, T, I)``. With ``lengths`` no step is masked."""
        if lengths is not None:
            return super().__call__(x, lengths)
        x, order, lengths = self._gathered(x)
        return self._put_back(super().__call__(x, lengths), order, lengths)

    def vjp(self, x, lengths=None):
        """``y, pullback``; ``dx = pullback(dy)`` is None after an Embedding."""
        if lengths is not None:
            return super().vjp(x, lengths)
        x, order, lengths = self._gathered(x)
        inner, pullback = super().vjp(x, lengths)
        y = self._put_back(inner, order, lengths)

        def backward(dy):
            if self._keeps_steps:
                dy = np.take_along_axis(dy, order[..., np.newaxis], axis=1)
                dy[_past(order, lengths)] = 0
            dx = pullback(dy)
            return None if dx is None else self._scattered(dx, order, lengths)

        return read_only(y), Pullback(y, backward)

    @property
    def _keeps_steps(self):
        return not any(isinstance(module, Final) for module in self.modules())

    def _gathered(self, x):
        """``x`` with the steps that are not masked in front, where each came from ``(B, T)``, and how many there are."""
        first = self._modules[0]
        if isinstance(first, Masking):
            x = _validate.masked_input(_validate.floating(x, "x"), 3)
            dtype = leading_dtype(self._modules) or x.dtype  # in which the model computes, as Keras compares
            seen = (x.astype(dtype, copy=False) != dtype.type(first.mask_value)).any(axis=-1)
        else:
            x = _validate.masked_input(_validate.indices(x, "x", first.num_embeddings), 2)
            seen = x != first.padding_idx
        order = np.argsort(~seen, axis=1, kind="stable")
        places = order if x.ndim == 2 else order[..., np.newaxis]
        return np.take_along_axis(x, places, axis=1), order, seen.sum(axis=1)

    def _put_back(self, y, order, lengths):
        return self._scattered(y, order, lengths) if self._keeps_steps else y.copy()

    def _scattered(self, y, order, lengths):
        """Steps back to where they came from; 0 in place of those that are past a length."""
        y = np.where(_past(order, lengths)[..., np.newaxis], 0, y)
        result = np.empty_like(y)
        np.put_along_axis(result, order[..., np.newaxis], y, axis=1)
        return result


def leading_dtype(modules):
    """The dtype of the first module that has parameters; None if none has."""
    return next((leaf.dtype for module in modules for leaf in module._leaves() if leaf._views), None)


def _past(order, lengths):
    return np.arange(order.shape[1]) >= lengths[:, np.newaxis]
