"""Initial parameters of recurrent layers.

Imports ``_validate`` and ``layers``; numpy for what is computed.
"""

import numpy as np

from . import _validate
from .layers import Recurrent


def apply(layer, scheme, forget_bias=None, t_max=None, *, rng=None):
    """Draw the parameters of a recurrent layer anew, block by block of H rows: gate, layer, direction.

    ================ ====================================== ============================ ============
    ``scheme``       ``weight_hh``                          other matrices               biases
    ================ ====================================== ============================ ============
    ``"torch"``      U(-s, s), s = 1/sqrt(H)                U(-s, s)                     U(-s, s)
    ``"glorot"``     U(-g, g), g = sqrt(6 / (rows + columns)), of each block, everywhere 0
    ``"orthogonal"`` orthogonal columns of length 1         as ``"glorot"``              0
    ``"identity"``   the identity                           U(-s, s)                     0
    ``"chrono"``     U(-s, s)                               U(-s, s)                     see below
    ================ ====================================== ============================ ============

    ``"chrono"`` is for dependencies of up to ``t_max`` steps: with u drawn from U(1, t_max - 1) for each
    unit, the gates that keep the state get the bias log u, and those that replace it -log u (LSTM: f and i;
    GRU: z, which keeps it); the other biases are U(-s, s). Elementwise weights (peepholes) are U(-s, s) in
    every scheme, those in the place of ``weight_hh`` are 1 for ``"identity"``. Parameters that begin with a
    value of their own (gains and shifts of a normalisation, scalars, learned states) stay as they are.

    Sources: Glorot & Bengio 2010; Saxe, McClelland & Ganguli 2014 (orthogonal); Le, Jaitly & Hinton 2015
    (identity); Tallec & Ollivier 2018 (chrono); Jozefowicz, Zaremba & Sutskever 2015 (forget bias).

    Parameters
    ----------
    layer : RNN, LSTM, GRU, ...
    scheme : str
        One of the table.
    forget_bias : float, optional
        The bias of the forget gate, in addition to a scheme other than ``"chrono"``. Like chrono's it is what
        both biases of a gate add up to: ``bias_ih`` has it, ``bias_hh`` is 0 there.
    t_max : float, optional
        Steps, at least 2; ``"chrono"`` needs it, the others do not use it.
    rng : None, int or numpy.random.Generator
        None is ``layer.rng``.

    Returns
    -------
    layer
        The same, changed in place.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name; for a bias that the layer or its cell does not have.

    Examples
    --------
    >>> import fastrnn as fr
    >>> layer = fr.init.apply(fr.LSTM(3, 2, rng=0), "orthogonal", forget_bias=1.0)
    >>> layer.parameters["bias_ih_l0"]
    array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    >>> irnn = fr.init.apply(fr.RNN(3, 2, nonlinearity="relu", rng=0), "identity")
    >>> irnn.parameters["weight_hh_l0"]
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    forget_bias, t_max = _validate.initialisation(layer, Recurrent, scheme, _SCHEMES, forget_bias, t_max)
    rng = layer.rng if rng is None else _validate.generator(rng)
    drawn = {}
    for name, view in layer.parameters.items():
        kind = name.rpartition("_l")[0]
        if kind.startswith(("weight_", "bias_")) and "_ln_" not in name:
            drawn[name] = _parameter(kind, view.shape, layer.hidden_size, scheme, rng)
    for name in drawn:
        if name.startswith("bias_ih") and (forget_bias is not None or scheme == "chrono"):
            second = drawn.get(name.replace("bias_ih", "bias_hh"))
            _set_memory(layer._row, drawn[name], second, forget_bias, t_max, rng)
    layer._store(drawn)
    return layer


def _parameter(kind, shape, hidden_size, scheme, rng):
    """New values, float64, of one parameter; ``kind`` is its name without layer and direction."""
    recurrent, other, zero_biases = _SCHEMES[scheme]
    if kind.startswith("bias_"):
        return np.zeros(shape) if zero_biases else _uniform(shape, hidden_size, rng)
    draw = recurrent if kind == "weight_hh" else other
    if len(shape) == 1:  # elementwise
        return np.ones(shape) if draw is _identity else _uniform(shape, hidden_size, rng)
    rows, columns = shape
    if rows % hidden_size:  # a projection
        return draw(shape, hidden_size, rng)
    return np.concatenate([draw((hidden_size, columns), hidden_size, rng) for _ in range(rows // hidden_size)])


def _uniform(shape, hidden_size, rng):
    return rng.uniform(-(hidden_size**-0.5), hidden_size**-0.5, shape)


def _glorot(shape, hidden_size, rng):
    bound = (6 / sum(shape)) ** 0.5
    return rng.uniform(-bound, bound, shape)


def _orthogonal(shape, hidden_size, rng):
    """Uniform among all such matrices: the signs of the diagonal of R make QR unique (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal(shape))
    return q * np.where(np.diagonal(r) < 0, -1.0, 1.0)


def _identity(shape, hidden_size, rng):
    return np.eye(*shape)


#: Scheme -> how a block of weight_hh is drawn, a block of another matrix, and whether biases are 0.
_SCHEMES = {
    "torch": (_uniform, _uniform, False),
    "glorot": (_glorot, _glorot, True),
    "orthogonal": (_orthogonal, _glorot, True),
    "identity": (_identity, _uniform, True),
    "chrono": (_uniform, _uniform, False),
}


def _set_memory(row, bias, second, forget_bias, t_max, rng):
    """Set, in the biases of one layer and direction, the gates that say how long the state is kept."""
    size = len(bias) // len(row.biased)
    if t_max is None:
        values = {"f": forget_bias}
    else:
        log_u = np.log(rng.uniform(1, t_max - 1, size))
        signs = zip(row.memory[::2], row.memory[1::2])
        values = {gate: log_u if sign == "+" else -log_u for sign, gate in signs}
    for gate, value in values.items():
        at = row.biased.index(gate) * size
        bias[at : at + size] = value
        if second is not None:
            second[at : at + size] = 0
