"""The recurrent layers: RNN, LSTM, GRU.

A layer is a row of ``cells.CELLS`` with sizes; everything it computes is in ``_core``. Arguments
and parameter names are those of ``torch.nn``.
"""

from . import _validate
from ._core import engine
from .blocks import dropout_mask
from .cells import CELLS
from .params import Module


class Recurrent(engine.Recurrent, Module):
    """What RNN, LSTM and GRU share: everything but the choice of the cell."""

    _recurrent = True
    _takes_lengths = True

    def _build(self, cell, sizes, options, *, bias=True, batch_first=False, dropout=0.0,
               bidirectional=False, dtype="float32", rng=None):  # fmt: skip
        """Check the arguments, allocate and draw the parameters, plan the engine."""
        row = CELLS[cell]
        self._bias = _validate.boolean(bias, "bias")
        input_size, hidden_size, num_layers, proj_size = sizes
        directions = 2 if _validate.boolean(bidirectional, "bidirectional") else 1
        batch_first = _validate.boolean(batch_first, "batch_first")
        dtype, rng = _validate.float_dtype(dtype), _validate.generator_or_none(rng)
        self._row, self._options = row, options
        self.state_names = row.states
        self.proj_size = proj_size
        self.state_sizes = (proj_size or hidden_size, hidden_size)[: len(row.states)]
        self.dropout = dropout
        self.rng = rng
        self._declare(
            _parameter_specs(row, self._bias, input_size, hidden_size, num_layers, directions, proj_size),
            dtype,
        )
        self._init_uniform(rng, hidden_size**-0.5)
        self._configure(
            cell, dtype.itemsize, input_size, hidden_size, num_layers, directions, proj_size, batch_first,
            _validate.recurrent_inputs, _validate.output_gradients, _validate.pullback_ready,
        )  # fmt: skip
        suffixes = [s for _, s in _suffixes(num_layers, directions)]
        self._attach(*([self._arrays_of(row, views, s) for s in suffixes]
                       for views in (self._cut(self._values), self._grad_views)))  # fmt: skip

    def _arrays_of(self, row, views, suffix):
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
        names += [f"weight_{v}" for v in row.vectors]
        return [views.get(name + suffix) for name in names]

    def _mask(self, shape):
        """The dropout mask of a layer's input."""
        return dropout_mask(self.rng, self.dropout, shape, self.dtype)

    @property
    def bidirectional(self):
        """Whether there is a reverse direction."""
        return self.num_directions == 2

    @property
    def bias(self):
        """Whether there are biases."""
        return self._bias

    @property
    def dropout(self):
        """Probability of dropping an element between layers in ``vjp``; can be set."""
        return self._dropout

    @dropout.setter
    def dropout(self, p):
        self._dropout = _validate.probability(p, "dropout")

    def _config(self):
        config = {"input_size": self.input_size, "hidden_size": self.hidden_size, "num_layers": self.num_layers}
        config |= self._options
        return config | {
            "bias": self._bias, "batch_first": self.batch_first, "dropout": self.dropout,
            "bidirectional": self.bidirectional, "dtype": self.dtype.name,
        }  # fmt: skip

    def stream(self, batch_size=1):
        """Step through time: an object with ``step(x_t) -> y_t``, ``state``, ``reset(state=None)``.

        Parameters
        ----------
        batch_size : int
            Sequences that are stepped side by side.

        Returns
        -------
        fastrnn._core.engine.Stream

        Raises
        ------
        ValueError
            For a bidirectional layer: its reverse direction begins at the end.

        Examples
        --------
        >>> import numpy as np, fastrnn as fr
        >>> stream = fr.GRU(3, 4, rng=0).stream()
        >>> stream.step(np.zeros(3, np.float32)).shape
        (4,)
        """
        _validate.streamable(self)
        return engine.Stream(self, _validate.positive_int(batch_size, "batch_size"),
                             _validate.stream_input, _validate.recurrent_state)  # fmt: skip


def _suffixes(num_layers, directions):
    for layer in range(num_layers):
        for suffix in ("", "_reverse")[:directions]:
            yield layer, f"_l{layer}{suffix}"


def _parameter_specs(row, bias, input_size, hidden_size, num_layers, directions, proj_size):
    """Names and shapes of the parameters in torch's order."""
    rows, width = len(row.gates) * hidden_size, proj_size or hidden_size
    for layer, suffix in _suffixes(num_layers, directions):
        yield f"weight_ih{suffix}", (rows, width * directions if layer else input_size)
        yield f"weight_hh{suffix}", (rows, width)
        if bias:
            yield f"bias_ih{suffix}", (rows,)
            yield f"bias_hh{suffix}", (rows,)
        if proj_size:
            yield f"weight_hr{suffix}", (proj_size, hidden_size)
        for vector in row.vectors:
            yield f"weight_{vector}{suffix}", (hidden_size,)


def _sizes(input_size, hidden_size, num_layers, proj_size=0):
    sizes = (
        _validate.positive_int(input_size, "input_size"),
        _validate.positive_int(hidden_size, "hidden_size"),
        _validate.positive_int(num_layers, "num_layers"),
        _validate.integer(proj_size, "proj_size", 0),
    )
    _validate.recurrent_sizes(*sizes)
    return sizes


_COMMON = """
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool
        Whether ``x`` and ``y`` are ``(B, T, ...)``.
    dropout : float
        Probability of dropping an element of the input of every layer but the first, in ``vjp``.
    bidirectional : bool
        Whether a second direction reads each sequence from its end.
    dtype : "float32" or "float64"
    rng : None, int or numpy.random.Generator
        Draws the initial parameters, U(-1/sqrt(H), 1/sqrt(H)), and the dropout masks.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.
"""


def _documented(cls):
    cls.__doc__ = cls.__doc__.replace("{common}", _COMMON.strip())
    return cls


@_documented
class RNN(Recurrent):
    """Elman RNN: ``h_t = g(W x_t + b_ih + R h_{t-1} + b_hh)`` (Elman 1990).

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    nonlinearity : "tanh" or "relu"
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.RNN(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(self, input_size, hidden_size, num_layers=1, *, nonlinearity="tanh", **common):
        _validate.one_of(nonlinearity, "nonlinearity", ("tanh", "relu"))
        sizes = _sizes(input_size, hidden_size, num_layers)
        self._build(f"rnn_{nonlinearity}", sizes, {"nonlinearity": nonlinearity}, **common)


@_documented
class LSTM(Recurrent):
    """LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers 1999).

    ``i, f, o = sigmoid(W x_t + R h_{t-1} + b)``, ``g = tanh(...)``, ``c_t = f*c_{t-1} + i*g``,
    ``h_t = o*tanh(c_t)``. The state is ``(h, c)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    proj_size : int
        P: ``h_t = W_hr (o*tanh(c_t))`` is P wide (Sak 2014); 0 for none.
    peephole : bool
        Diagonal weights from the cell state to the gates (Gers & Schmidhuber 2000).
    coupled : bool
        ``i = 1 - f``: gates f, g, o (Greff 2017).
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> layer = fr.LSTM(3, 4, rng=0)
    >>> y, (h, c), pullback = layer.vjp(np.zeros((5, 2, 3)))
    >>> dx, (dh0, dc0) = pullback(np.ones_like(y))
    >>> dx.shape, dc0.shape, layer.grads["weight_hh_l0"].shape
    ((5, 2, 3), (1, 2, 4), (16, 4))
    """

    def __init__(self, input_size, hidden_size, num_layers=1, *, proj_size=0, peephole=False, coupled=False, **common):
        options = {
            "proj_size": proj_size,
            "peephole": _validate.boolean(peephole, "peephole"),
            "coupled": _validate.boolean(coupled, "coupled"),
        }
        cell = "lstm" + "_coupled" * options["coupled"] + "_peephole" * options["peephole"]
        self._build(cell, _sizes(input_size, hidden_size, num_layers, proj_size), options, **common)


@_documented
class GRU(Recurrent):
    """GRU (Cho 2014): ``h_t = (1-z)*n + z*h_{t-1}``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    reset_after : bool
        True: ``n = tanh(W_n x + b_in + r*(R_n h + b_hn))``, as PyTorch and cuDNN; False:
        ``n = tanh(W_n x + b_in + R_n (r*h) + b_hn)``, as in the paper.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.GRU(3, 4, bidirectional=True, rng=0)(np.zeros((5, 2, 3)), lengths=[5, 2])
    >>> y.shape, h.shape
    ((5, 2, 8), (2, 2, 4))
    """

    def __init__(self, input_size, hidden_size, num_layers=1, *, reset_after=True, **common):
        reset_after = _validate.boolean(reset_after, "reset_after")
        cell = "gru" if reset_after else "gru_reset_before"
        self._build(cell, _sizes(input_size, hidden_size, num_layers), {"reset_after": reset_after}, **common)
