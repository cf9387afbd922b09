"""The networks of the estimators, in the form that a ``Trainer`` takes: a call, a ``vjp``, attributes that are modules.

    SequenceNetwork    recurrent layers -> pooling -> dropout -> Linear
    NarxNetwork        taps of outputs and inputs -> tanh layer -> outputs, which are fed back

Imports numpy, the public layers and blocks, ``pooling`` and ``_validate``.
"""

import numpy as np

from .. import _validate
from ..blocks import Dropout, Linear
from ..params import restoring
from ..pooling import KINDS, pool
from .layers import LAYERS, initialise

#: What ``cell_options`` may not hold: arguments of the estimators, and what would change the form of outputs.
ARGUMENTS = (
    "input_size", "hidden_size", "num_layers", "bidirectional", "batch_first", "dropout", "merge", "return_cell_states",
    "dtype", "rng",
)  # fmt: skip


class SequenceNetwork:
    """``x (T, B, F)`` -> ``(B, C)``; without pooling ``(T, B, C)``.

    Parameters
    ----------
    features, outputs : int
        F, C.
    cell, hidden_size, num_layers, bidirectional, pooling, dropout, cell_options, dtype
        Those of the estimators.
    rng : numpy.random.Generator, optional
        Draws the parameters, and the masks of dropout.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.networks import SequenceNetwork
    >>> network = SequenceNetwork(3, 5, pooling="mean", rng=np.random.default_rng(0))
    >>> network(np.zeros((7, 2, 3)), lengths=[7, 4]).shape
    (2, 5)
    """

    def __init__(self, features, outputs, *, cell="lstm", hidden_size=32, num_layers=1, bidirectional=False, pooling=None,
                 dropout=0.0, cell_options=None, dtype="float32", rng=None):  # fmt: skip
        kind, given = LAYERS[_validate.one_of(cell, "cell", LAYERS)]
        options = _validate.cell_options(cell_options, cell, given, ARGUMENTS)
        if pooling is not None:
            _validate.poolable(pooling, KINDS, bidirectional, options.get("skip"))
        self.layer = kind(features, hidden_size, num_layers, bidirectional=bidirectional, dropout=dropout, dtype=dtype,
                          rng=rng, **given, **options)  # fmt: skip
        self.dropout = Dropout(dropout, rng=rng)
        width = self.layer(np.zeros((1, 1, features)))[0].shape[-1]  # as layers, directions and skips make it
        self.head = Linear(width, outputs, dtype=dtype, rng=rng)
        if not restoring.active():
            initialise(self.layer, rng)
        self.pooling = pooling
        self.config = {
            "features": self.layer.input_size, "outputs": self.head.out_features, "cell": cell,
            "hidden_size": self.layer.hidden_size, "num_layers": self.layer.num_layers,
            "bidirectional": self.layer.bidirectional, "pooling": pooling, "dropout": self.dropout.p,
            "cell_options": cell_options, "dtype": self.layer.dtype.name,
        }  # fmt: skip

    @property
    def modules(self):
        """Name -> module, of those with parameters."""
        return {"layer": self.layer, "head": self.head}

    def __call__(self, x, lengths=None):
        y, _ = self.layer(x, lengths=lengths)
        if self.pooling is not None:
            y = pool(y, lengths, self.pooling, self.layer.num_directions)
        return self.head(y)

    def vjp(self, x, lengths=None):
        """``output, pullback``; ``pullback(d_output)`` adds to the modules' gradients."""
        y, _, to_layer = self.layer.vjp(x, lengths=lengths)
        to_pool = None
        if self.pooling is not None:
            y, to_pool = pool.vjp(y, lengths, self.pooling, self.layer.num_directions)
        y, to_dropout = self.dropout.vjp(y)
        output, to_head = self.head.vjp(y)

        def pullback(d_output):
            dy = to_dropout(to_head(d_output))
            to_layer(dy if to_pool is None else to_pool(dy), input_gradient=False)

        return output, pullback


class NarxNetwork:
    """``y_t = f(y_{t-1}, ..., y_{t-K}, drive_t)``, run for R steps, in which outputs take the place of what was measured.

    ``f(z) = V tanh(W z + b) + c``, and ``+ U z`` with ``linear`` (Lin et al. 1996, with direct connections).

    Parameters
    ----------
    outputs, taps, drive : int
        O, K, and how many numbers D the drive of a step has: what exogenous inputs a step sees.
    hidden_size : int
    linear : bool
    dtype : "float32" or "float64"
    rng : numpy.random.Generator, optional

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.networks import NarxNetwork
    >>> network = NarxNetwork(1, taps=3, drive=2, rng=np.random.default_rng(0))
    >>> history, drive = np.zeros((4, 3)), np.zeros((10, 4, 2))  # (B, K*O), (R, B, D)
    >>> network((history, drive)).shape
    (10, 4, 1)
    """

    def __init__(self, outputs, taps, drive=0, *, hidden_size=16, linear=True, dtype="float32", rng=None):
        self.config = {"outputs": outputs, "taps": taps, "drive": drive, "hidden_size": hidden_size, "linear": linear,
                       "dtype": np.dtype(dtype).name}  # fmt: skip
        width = outputs * taps + drive
        self.hidden = Linear(width, hidden_size, dtype=dtype, rng=rng)
        self.head = Linear(hidden_size, outputs, dtype=dtype, rng=rng)
        self.direct = Linear(width, outputs, bias=False, dtype=dtype, rng=rng) if linear else None
        self.dtype = self.hidden.dtype

    @property
    def modules(self):
        """Name -> module."""
        own = {"hidden": self.hidden, "head": self.head}
        return own | {"direct": self.direct} if self.direct is not None else own

    def __call__(self, x):
        history, drive = x
        outputs = []
        for u in drive:
            z = self._taps(history, u)
            y = self.head(np.tanh(self.hidden(z)))
            outputs.append(y if self.direct is None else y + self.direct(z))
            history = self._after(history, outputs[-1])
        return np.stack(outputs)

    def vjp(self, x):
        """``output, pullback``: through all R steps, also where an output came back as an input."""
        history, drive = x
        outputs, steps = [], []
        for u in drive:
            y, to_step = self._step_vjp(self._taps(history, u))
            outputs.append(y)
            steps.append(to_step)
            history = self._after(history, y)
        width, past = self.head.out_features, history.shape[1]

        def pullback(d_outputs):
            d_history = np.zeros((len(history), past), self.dtype)  # of what the next step sees
            for to_step, dy in zip(reversed(steps), reversed(d_outputs)):
                dz = to_step(dy + d_history[:, :width])
                d_history = np.concatenate([d_history[:, width:], np.zeros_like(dy)], axis=1) + dz[:, :past]

        return np.stack(outputs), pullback

    def _step_vjp(self, z):
        a, to_hidden = self.hidden.vjp(z)
        h = np.tanh(a)
        y, to_head = self.head.vjp(h)
        to_direct = None
        if self.direct is not None:
            more, to_direct = self.direct.vjp(z)
            y = y + more

        def pullback(dy):
            dz = to_hidden(to_head(dy) * (1 - h * h))
            return dz if to_direct is None else dz + to_direct(dy)

        return y, pullback

    def _taps(self, history, u):
        return np.concatenate([history, u], axis=1).astype(self.dtype, copy=False)

    def _after(self, history, y):
        """The newest comes first, the oldest is dropped."""
        return np.concatenate([y, history[:, : history.shape[1] - y.shape[1]]], axis=1)
