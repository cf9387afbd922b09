"""The regulariser of vanishing gradients. Numbers: docs/equations.md, (GR)."""

import numpy as np

from .. import _validate
from ..layers import RNN
from .activations import squashes
from .walk import Walk, by_place, kinds, norm

_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def gradient_regulariser(layer, x, dy, *, state=None, lengths=None):
    """Omega of Pascanu, Mikolov & Bengio 2013, and its immediate derivative with respect to R.

    ``Omega = sum over t of (|delta_{t+1} dh_{t+1}/dh_t| / |delta_{t+1}| - 1)**2``: it is 0 where every step hands
    the gradient on in its full length. delta_t is dL/dh_t, a row, for the objective L = sum of ``y * dy``, and complete:
    from y_t, from the next step and, in a lower layer, from the layer above. Norms are of one sequence's units;
    Omega is the sum over all T steps, the one from the initial state h_0 to h_1 among them, and over the sequences.
    A step with |delta_{t+1}| = 0 counts 0.

    The gradient is the paper's: deltas and states, and so the slopes of the nonlinearity, are held; only R in
    dh_{t+1}/dh_t varies. Where delta_{t+1} dh_{t+1}/dh_t is 0 its norm has no derivative, and 0 is taken.

    Parameters
    ----------
    layer : RNN
        With any nonlinearity, clip, residual.
    x : array_like
        ``(T, B, I)``, or as the layer takes it.
    dy : array_like
        The gradient with respect to ``y``, in its shape.
    state, lengths : optional
        As a call of the layer takes them.

    Returns
    -------
    omega : float
        The sum over layers and directions, too.
    gradient : ndarray
        ``(H, H)``, of ``weight_hh``; ``(L*D, H, H)`` with several layers or directions.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name; for a layer that is not an ``RNN``.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> layer = fr.RNN(1, 1, nonlinearity="identity", bias=False, rng=0)
    >>> layer.parameters["weight_hh_l0"] = [[0.5]]
    >>> fr.diagnostics.gradient_regulariser(layer, np.zeros((4, 1)), np.ones((4, 1)))  # 4 steps of (0.5 - 1)**2
    (1.0, array([[-4.]]))
    """
    walk = Walk(layer, x, state, lengths)
    _validate.of_class(layer, RNN, "gradient_regulariser")
    _validate.known_parameters(kinds(layer), _PARAMETERS, "gradient_regulariser")
    dy = walk.output_gradient(dy)
    walk.forward(keep=True)
    found = [_one_part(part, gradients["h"]) for part, gradients in zip(walk.parts, walk.backward(dy))]
    return sum(omega for omega, _ in found), by_place([gradient for _, gradient in found])


def _one_part(part, delta):
    """Omega and its gradient for one layer and direction; delta: dL/dh of what each step leaves, (T, B, H)."""
    p, options = part.parameters(), part.cell._options
    (squash,) = squashes(options)
    R = p["weight_hh"]
    a = part.u @ p["weight_ih"].T + part.before["h"] @ R.T + p.get("bias_ih", 0.0) + p.get("bias_hh", 0.0)
    length = norm(delta, 2)
    counts = (length != 0) & part.alive
    # of length 1 from the start: neither ratio nor gradient can then underflow with delta
    unit = delta[counts] / length[counts][:, None]              # (GR1)
    q = unit * squash.slope(a[counts])                          # (GR2)
    v = q @ R + (unit if options["residual"] else 0.0)          # (GR3)
    ratio = norm(v, 1)                                          # (GR4)
    omega = float(np.sum((ratio - 1) ** 2))                     # (GR5)
    d_v = 2 * (ratio - 1) / np.where(ratio == 0, np.inf, ratio)  # (GR11), v aside
    return omega, q.T @ (d_v[:, None] * v)                      # (GR21)
