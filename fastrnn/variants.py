"""The recurrent layers beside RNN, LSTM and GRU: lighter, multiplicative, linear and exponential cells.

They take what all layers take; one bias, ``bias_ih``, unless said otherwise.
"""

from . import _validate
from .layers import Recurrent, documented, inner_size, layer_sizes


class _Plain(Recurrent):
    """A layer without options of its own; ``_cell`` names its row of ``cells.CELLS``."""

    _cell = None

    def __init__(self, input_size, hidden_size, num_layers=1, **common):
        self._build(self._cell, layer_sizes(input_size, hidden_size, num_layers), {}, **common)


@documented
class MGU(_Plain):
    """Minimal gated unit (Zhou 2016): ``f = sigmoid(W_f x + R_f h + b_f)``, ``n = tanh(W_n x + R_n (f*h) + b_n)``,
    ``h' = (1-f)*h + f*n``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.MGU(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _cell = "mgu"


class _Mutation(Recurrent):
    """MUT1 and MUT2, which add their input to H units."""

    def __init__(self, input_size, hidden_size, num_layers=1, **common):
        sizes = layer_sizes(input_size, hidden_size, num_layers)
        _validate.equal_widths(type(self).__name__, *sizes[:3], inner_size(sizes, **common), common.get("skip"))
        self._build(type(self).__name__.lower(), sizes, {}, **common)


@documented
class MUT1(_Mutation):
    """MUT1 (Jozefowicz, Zaremba & Sutskever 2015): ``z = sigmoid(W_z x + b_z)``, ``r = sigmoid(W_r x + R_r h + b_r)``,
    ``n = tanh(R_n (r*h) + tanh(x) + b_n)``, ``h' = n*z + h*(1-z)``.

    ``weight_ih`` has the gates z, r, ``weight_hh`` r, n, ``bias_ih`` z, r, n.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L; I = H.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.MUT1(4, 4, rng=0)(np.zeros((5, 2, 4)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """


@documented
class MUT2(_Mutation):
    """MUT2 (Jozefowicz, Zaremba & Sutskever 2015): ``z = sigmoid(W_z x + R_z h + b_z)``,
    ``r = sigmoid(x + R_r h + b_r)``, ``n = tanh(R_n (r*h) + W_n x + b_n)``, ``h' = n*z + h*(1-z)``.

    ``weight_ih`` has the gates z, n, ``weight_hh`` and ``bias_ih`` z, r, n.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L; I = H.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.MUT2(4, 4, rng=0)(np.zeros((5, 2, 4)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """


@documented
class MUT3(_Plain):
    """MUT3 (Jozefowicz, Zaremba & Sutskever 2015): ``z = sigmoid(W_z x + R_z tanh(h) + b_z)``,
    ``r = sigmoid(W_r x + R_r h + b_r)``, ``n = tanh(R_n (r*h) + W_n x + b_n)``, ``h' = n*z + h*(1-z)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.MUT3(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _cell = "mut3"


@documented
class IndRNN(Recurrent):
    """Independently recurrent network (Li 2018): ``h' = g(W x + w*h + b)``; ``weight_hh`` is w, ``(H,)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    nonlinearity : str
        g, from the list of ``RNN``.
    alpha, beta : float, optional
        Its numbers.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.IndRNN(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(self, input_size, hidden_size, num_layers=1, *, nonlinearity="relu", alpha=None, beta=None, **common):
        entry = _validate.activation((nonlinearity, alpha, beta), "nonlinearity")
        options = {"nonlinearity": nonlinearity, "alpha": alpha, "beta": beta}
        self._build("indrnn", layer_sizes(input_size, hidden_size, num_layers), options,
                    engine_options={"activations": [entry]}, **common)  # fmt: skip


@documented
class FastRNN(_Plain):
    """FastRNN (Kusupati 2018): ``h' = sigmoid(alpha)*tanh(W x + R h + b) + sigmoid(beta)*h``.

    ``alpha_l0``, first -3, and ``beta_l0``, first 3, are ``(1,)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.FastRNN(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _cell = "fastrnn"


@documented
class FastGRNN(_Plain):
    """FastGRNN (Kusupati 2018): ``z = sigmoid(W x + R h + b_z)``, ``n = tanh(W x + R h + b_n)``,
    ``h' = (sigmoid(zeta)*(1-z) + sigmoid(nu))*n + z*h``.

    One W and one R, ``bias_ih (2H,)``; ``zeta_l0``, first 1, and ``nu_l0``, first -4, are ``(1,)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.FastGRNN(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _cell = "fastgrnn"


@documented
class MultiplicativeLSTM(_Plain):
    """Multiplicative LSTM (Krause 2016): an LSTM whose gates see ``m = (W_mx x)*(W_mh h)`` in place of h.

    ``weight_mx (H, I)`` and ``weight_mh (H, H)`` have no bias. The state is ``(h, c)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, (h, c) = fr.MultiplicativeLSTM(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _cell = "multiplicative_lstm"


@documented
class SRU(Recurrent):
    """Simple recurrent unit (Lei 2018): ``f = sigmoid(W_f x + v_f*c + b_f)``, ``r = sigmoid(W_r x + v_r*c + b_r)``,
    ``c' = f*c + (1-f)*(W x)``, ``h = r*c' + (1-r)*alpha*s``, where s is x, or ``W_s x`` when I is not H.

    ``weight_ih`` has the blocks of c', f, r and, if need be, s; ``bias_ih`` and ``weight_c``, which is v, have f, r.
    The state is c alone.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    alpha : float
        Scale of the highway.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, c = fr.SRU(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, c.shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(self, input_size, hidden_size, num_layers=1, *, alpha=1.0, **common):
        alpha = _validate.real(alpha, "alpha")
        sizes = layer_sizes(input_size, hidden_size, num_layers)
        widths = input_size, inner_size(sizes, **common)
        cells = ["sru" if width == hidden_size else "sru_projected" for width in widths]
        self._build(cells[0], sizes, {"alpha": alpha}, inner=cells[1], engine_options={"scale": alpha}, **common)


@documented
class MinGRU(_Plain):
    """minGRU (Feng 2024): ``z = sigmoid(W_z x + b_z)``, ``h' = (1-z)*h + z*(W_n x + b_n)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.MinGRU(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _cell = "min_gru"


@documented
class MinLSTM(_Plain):
    """minLSTM (Feng 2024): ``f, i = sigmoid(W x + b)``, ``f' = f / (f + i)``, ``h' = f'*h + (1-f')*(W_n x + b_n)``.

    f' is computed from the logarithms of f and i. The state is h.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.MinLSTM(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _cell = "min_lstm"


@documented
class SLSTM(Recurrent):
    """sLSTM, the scalar LSTM of xLSTM (Beck 2024), with one head and full R; gates i, f, z, o before activation:

    ``m' = max(log f + m, i)``, ``i' = exp(i - m')``, ``f' = exp(log f + m - m')``, ``c' = f'*c + i'*tanh(z)``,
    ``n' = f'*n + i'``, ``h' = sigmoid(o)*c'/n'``, where f is ``sigmoid(f)`` or ``exp(f)``.

    The state is ``(h, c, n, m)``; None is the empty one, ``h = c = n = 0`` and ``m = -inf``. m is a scale: no gradient
    flows through it, which is exact for every loss on h.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    forget : "sigmoid" or "exp"
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, (h, c, n, m) = fr.SLSTM(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, m.shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(self, input_size, hidden_size, num_layers=1, *, forget="sigmoid", **common):
        _validate.one_of(forget, "forget", ("sigmoid", "exp"))
        self._build("slstm", layer_sizes(input_size, hidden_size, num_layers), {"forget": forget},
                    engine_options={"exp_forget": forget == "exp"}, **common)  # fmt: skip
