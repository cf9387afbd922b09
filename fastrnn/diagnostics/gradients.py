"""How much of a gradient comes through: its norm at every step, the Jacobian, the spectral radius."""

import numpy as np

from .. import _validate
from ..layers import Recurrent, _suffixes
from .walk import Walk, by_place, joined, norm, split


def gradient_norms(layer, x, dy, *, state=None, lengths=None):
    """Norms of dL/dh_t and dL/dc_t at every step, for the objective L = sum of ``y * dy``.

    dL/dh_t is complete: it comes from y_t, from the next step and, in a lower layer, from the layer above. h and c
    are the two variables that pass from a step to the next: dL/dc_t is what comes back to c_t from step t+1, not by
    way of h_t, as ``dstate0`` is of a call that begins there.

    Parameters
    ----------
    layer : RNN, LSTM, GRU, ...
    x : array_like
        ``(T, B, I)``, or as the layer takes it.
    dy : array_like
        The gradient with respect to ``y``, in its shape.
    state, lengths : optional
        As a call of the layer takes them.

    Returns
    -------
    dict of str to ndarray
        By state (``"h"``, for an LSTM also ``"c"``): ``(T,)``, entry t for the state that belongs to ``y[t]``;
        ``(L*D, T)`` with several layers or directions. Norms over units and batch together; past a length 0.
        An SRU carries c alone; m of an sLSTM has no gradient.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> layer = fr.RNN(1, 1, nonlinearity="identity", bias=False, rng=0)
    >>> layer.parameters["weight_hh_l0"] = [[0.5]]
    >>> fr.diagnostics.gradient_norms(layer, np.zeros((4, 1)), [[0], [0], [0], [1]])
    {'h': array([0.125, 0.25 , 0.5  , 1.   ])}
    """
    walk = Walk(layer, x, state, lengths)
    dy = walk.output_gradient(dy)
    walk.forward(keep=True)
    gradients = walk.backward(dy)
    return {name: by_place([norm(part[name], (1, 2)) for part in gradients]) for name in layer.state_names}


def jacobian_singular_values(layer, x, t, *, state=None, lengths=None):
    """Singular values of dh_T/dh_t: what the steps after the first t do to a small change of h.

    h_t is the state after t steps, h_0 the initial one and h_T the final one, of each layer and direction, along its
    own walk. c_t (and what else a cell carries) is held: of the later states it is not. The Jacobian of T - t steps
    is a product of T - t matrices; singular values below 1e-16 of the largest are rounding.

    Parameters
    ----------
    layer : RNN, LSTM, GRU, ...
        Any cell that carries h.
    x : array_like
        ``(T, B, I)``, or as the layer takes it.
    t : int
        0 to T.
    state, lengths : optional
        As a call of the layer takes them. With lengths T is each sequence's own; with t beyond it nothing follows.

    Returns
    -------
    ndarray
        ``(B, H)``, for each sequence in descending order (``P`` for H with a projection); without B when ``x`` has
        none; with a first axis L*D when there are several layers or directions. NaN for a Jacobian that is not finite.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name; for a cell without h.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> layer = fr.RNN(1, 2, nonlinearity="identity", rng=0)
    >>> layer.parameters["weight_hh_l0"] = [[0, 2], [0.5, 0]]
    >>> fr.diagnostics.jacobian_singular_values(layer, np.zeros((5, 1)), 4)
    array([2. , 0.5])
    """
    walk = Walk(layer, x, state, lengths)
    _validate.hidden_state(layer, "jacobian_singular_values")
    T, B = walk.alive.shape
    t = _validate.step(t, T)
    values = np.array([[_singular_values(_jacobian(part, b, t)) for b in range(B)] for part in walk.forward()])
    values = values.reshape(len(walk.parts), B, walk.parts[0].cell.output_size)
    return by_place(list(values[:, 0] if walk.unbatched else values))


def _jacobian(part, b, t):
    """dh_T/dh_t (P, P) of one sequence: every row of it a sequence of a batch that is sent back."""
    cell, rows = part.cell, part.cell.output_size
    dstate = tuple(np.zeros((1, rows, width)) for width in cell.state_sizes)
    dstate[0][0] = np.eye(rows)
    steps = [s for s in part.order if part.alive[s, b]][t:]
    for s in reversed(steps):
        state = tuple(np.repeat(part.before[name][s : s + 1, b : b + 1], rows, axis=1) for name in cell.state_names)
        _, _, pullback = cell.vjp(np.repeat(part.u[s : s + 1, b : b + 1], rows, axis=1), joined(state))
        dstate = split(pullback(None, joined(dstate))[1])
    return dstate[0][0]


def _singular_values(matrix):
    if not np.isfinite(matrix).all():
        return np.full(len(matrix), np.nan)
    return np.linalg.svd(matrix, compute_uv=False)


def spectral_radius(layer):
    """The spectral radius of R: the largest absolute value of its eigenvalues, gate by gate.

    Below 1 the gradients of an RNN vanish, its slopes being at most 1; above 1 they can explode (Pascanu, Mikolov &
    Bengio 2013). Of a gated cell it says what comes through one gate's block R_g. With a projection the matrix is
    R_g W_hr, which takes the step from o*tanh(c) to the next one's gate.

    Parameters
    ----------
    layer : RNN, LSTM, GRU, ...
        Any cell that has ``weight_hh``; where it is a vector (IndRNN), the matrix is diagonal.

    Returns
    -------
    float, or dict of str to float
        A number for a cell with one block (RNN, IndRNN, FastRNN, FastGRNN), else one for each gate, by its letter.
        With several layers or directions ``(L*D,)`` arrays in place of the numbers. NaN for weights that are not finite.

    Raises
    ------
    TypeError, ValueError
        For what is not a recurrent layer; for a cell without R.

    Examples
    --------
    >>> import fastrnn as fr
    >>> layer = fr.RNN(1, 2, rng=0)
    >>> layer.parameters["weight_hh_l0"] = [[0, 2], [0.5, 0]]
    >>> fr.diagnostics.spectral_radius(layer)
    1.0
    >>> list(fr.diagnostics.spectral_radius(fr.GRU(1, 2, rng=0)))
    ['r', 'z', 'n']
    """
    _validate.recurrent_layer(layer, Recurrent)
    _validate.recurrent_weights(layer)
    gates = layer._row.recurrent or "h"
    found = {gate: [] for gate in gates}
    for _, suffix in _suffixes(layer.num_layers, layer.num_directions):
        R = layer.parameters["weight_hh" + suffix].astype(np.float64)
        back = layer.parameters["weight_hr" + suffix].astype(np.float64) if layer.proj_size else np.eye(layer.hidden_size)
        for gate, block in zip(gates, np.split(np.diag(R) if R.ndim == 1 else R, len(gates))):
            found[gate].append(_radius(block @ back))
    radii = {gate: by_place(values) for gate, values in found.items()}
    return radii if len(gates) > 1 else radii[gates]


def _radius(matrix):
    return float(np.max(np.abs(np.linalg.eigvals(matrix)))) if np.isfinite(matrix).all() else float("nan")
