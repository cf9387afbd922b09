"""How far gates are open. They are computed again, for all steps at once, from the states that a run passed through."""

import numpy as np

from .. import _validate
from ..layers import GRU, LSTM, RNN
from ..variants import (
    MGU,
    MUT1,
    MUT2,
    MUT3,
    SLSTM,
    SRU,
    FastGRNN,
    FastRNN,
    IndRNN,
    MinGRU,
    MinLSTM,
    MultiplicativeLSTM,
)
from .activations import Squash, softplus, squashes
from .walk import Walk, by_place, kinds

_SIGMOID, _TANH = Squash("sigmoid"), Squash("tanh")

#: The parameters that the formulas below know.
_PARAMETERS = (
    "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ci", "weight_cf", "weight_co",
    "weight_mx", "weight_mh", "weight_c", "alpha", "beta", "zeta", "nu",
    "weight_ln_ih", "bias_ln_ih", "weight_ln_hh", "bias_ln_hh", "weight_ln_c", "bias_ln_c",
)  # fmt: skip


def gate_saturation(layer, x, *, low=0.1, high=0.9, state=None, lengths=None):
    """How often each gate is nearly closed and nearly open (Karpathy, Johnson & Fei-Fei 2015).

    A gate that is always open or always closed lets no gradient through to what decides it; a forget gate that is
    open keeps the gradient of what it remembers.

    Values are measured on the range of their activation, from 0 to 1: sigmoid as it is, a tanh by (1 + tanh) / 2. A
    relu counts as closed where it is 0. Candidates (n, g, h) are among the gates; those without bounds are left out.

    Parameters
    ----------
    layer : RNN, LSTM, GRU, ...
    x : array_like
        ``(T, B, I)``, or as the layer takes it.
    low, high : float
        Below the one a gate counts as closed, above the other as open.
    state, lengths : optional
        As a call of the layer takes them.

    Returns
    -------
    dict of str to ndarray
        By gate: the fractions, over valid steps, sequences and units, that are closed and open, ``(2,)``; ``(2, L*D)``
        with several layers or directions. NaN where there is no step. minLSTM's f is f/(f+i), that of an sLSTM the
        share of the old normaliser in the new one.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name; for a cell whose gates are not known here.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> layer = fr.LSTM(3, 4, rng=0)
    >>> with layer.edit() as p:
    ...     p["bias_ih_l0"][4:8] = 5  # the forget gate
    >>> closed, open_ = fr.diagnostics.gate_saturation(layer, np.zeros((20, 3)))["f"]
    >>> float(closed), float(open_)
    (0.0, 1.0)
    """
    walk = Walk(layer, x, state, lengths)
    formula = next((_FORMULAS[cls] for cls in type(layer).__mro__ if cls in _FORMULAS), None)
    formula = _validate.supported_cell(formula, layer, "gate_saturation")
    _validate.known_parameters(kinds(layer), _PARAMETERS, "gate_saturation")
    low, high = _validate.thresholds(low, high)
    found = []
    for part in walk.forward():
        gates = Gates(part)
        formula(gates)
        found.append({letter: _fractions(*gate, part.alive, low, high) for letter, gate in gates.found.items()})
    return {letter: by_place([fractions[letter] for fractions in found]).T for letter in found[0]}


def _fractions(values, bounds, alive, low, high):
    values = values[alive]
    if not values.size:
        return np.full(2, np.nan)
    start, end = bounds
    if end == np.inf:
        return np.array([np.mean(values <= start), 0.0])
    with np.errstate(invalid="ignore", divide="ignore"):  # a scale of 0 has no middle
        place = (values - start) / (end - start)
    return np.array([np.mean(place < low), np.mean(place > high)])


class Gates:
    """What a formula has to work with, all of it ``(T, B, .)``, and where it leaves the gates.

    ``found`` maps a gate's letter to its values and the bounds of its activation.
    """

    def __init__(self, part):
        self.p, self.row, self.options = part.parameters(), part.cell._row, part.cell._options
        self.x, self.h, self.before, self.after = part.u, part.before.get("h"), part.before, part.after
        self.f, self.g, *_ = *squashes(self.options), None, None
        self.found = {}

    def gate(self, letter, a, squash=_SIGMOID):
        """Activate, note and return a gate."""
        values = squash(a)
        if squash.bounds is not None:
            self.found[letter] = values, squash.bounds
        return values

    def _block(self, name, letters, letter):
        rows = len(self.p[name]) // len(letters)
        return self.p[name][letters.index(letter) * rows :][:rows]

    def _product(self, side, v, letters, letter):
        """A block of a product, with layer norm (N1)-(N4) over the blocks that it takes together."""
        if f"weight_ln_{side}" not in self.p:
            return v @ self._block(f"weight_{side}", letters, letter).T
        together = letters if letters != "rzn" else "n" if letter == "n" else "rz"  # (N5) (N7)
        W, gain, shift = (
            np.concatenate([self._block(name + side, letters, other) for other in together])
            for name in ("weight_", "weight_ln_", "bias_ln_")
        )
        a = v @ W.T
        a -= a.mean(axis=-1, keepdims=True)
        a *= gain / np.sqrt(np.mean(a**2, axis=-1, keepdims=True) + 1e-5)
        return np.split(a + shift, len(together), axis=-1)[together.index(letter)]

    def W(self, letter):
        """A block of W x."""
        return self._product("ih", self.x, self.row.gates, letter)

    def R(self, letter, v):
        """A block of R times the rows of v."""
        return self._product("hh", v, self.row.recurrent, letter)

    def b(self, letter, *names):
        """A block of the biases: of those named, or their sum."""
        return sum(self._block(name, self.row.biased, letter) for name in names or self.row.biases if name in self.p)

    def all(self, letter, v):
        """W x + R v + b."""
        return self.W(letter) + self.R(letter, v) + self.b(letter)

    def peephole(self, letter, c):
        """A peephole's part of a gate."""
        return self.p.get(f"weight_c{letter}", 0.0) * c


def _rnn(s):
    s.gate("h", s.all("h", s.h), s.f)


def _lstm(s, v=None):
    """v: what the recurrent matrix sees."""
    v = s.h if v is None else v
    f, g = s.f or _SIGMOID, s.g or _TANH
    if "i" in s.row.gates:
        s.gate("i", s.all("i", v) + s.peephole("i", s.before["c"]), f)
    s.gate("f", s.all("f", v) + s.peephole("f", s.before["c"]), f)
    s.gate("g", s.all("g", v), g)
    s.gate("o", s.all("o", v) + s.peephole("o", s.after["c"]), f)


def _multiplicative_lstm(s):
    _lstm(s, (s.x @ s.p["weight_mx"].T) * (s.h @ s.p["weight_mh"].T))


def _gru(s):
    r = s.gate("r", s.all("r", s.h), s.f)
    s.gate("z", s.all("z", s.h), s.f)
    if s.options["reset_after"]:
        n = s.W("n") + s.b("n", "bias_ih") + r * (s.R("n", s.h) + s.b("n", "bias_hh"))
    else:
        n = s.all("n", r * s.h)
    s.gate("n", n, s.g)


def _mgu(s):
    f = s.gate("f", s.all("f", s.h))
    s.gate("n", s.all("n", f * s.h), _TANH)


def _mut1(s):
    s.gate("z", s.W("z") + s.b("z"))
    r = s.gate("r", s.all("r", s.h))
    s.gate("n", s.R("n", r * s.h) + np.tanh(s.x) + s.b("n"), _TANH)


def _mut2(s):
    s.gate("z", s.all("z", s.h))
    r = s.gate("r", s.x + s.R("r", s.h) + s.b("r"))
    s.gate("n", s.all("n", r * s.h), _TANH)


def _mut3(s):
    s.gate("z", s.all("z", np.tanh(s.h)))
    r = s.gate("r", s.all("r", s.h))
    s.gate("n", s.all("n", r * s.h), _TANH)


def _indrnn(s):
    s.gate("h", s.W("h") + s.p["weight_hh"] * s.h + s.b("h"), s.f)


def _fastrnn(s):
    s.gate("h", s.all("h", s.h), _TANH)


def _fastgrnn(s):
    a = s.W("h") + s.R("h", s.h)
    s.gate("z", a + s.b("z"))
    s.gate("n", a + s.b("n"), _TANH)


def _sru(s):
    for letter, v in zip("fr", np.split(s.p["weight_c"], 2)):
        s.gate(letter, s.W(letter) + v * s.before["c"] + s.b(letter))


def _min_gru(s):
    s.gate("z", s.W("z") + s.b("z"))


def _min_lstm(s):
    """log f - log i is the pre-activation of f / (f + i)."""
    s.gate("f", softplus(-s.W("i") - s.b("i")) - softplus(-s.W("f") - s.b("f")))


def _slstm(s):
    """i' / n' is what is new of the normaliser, and the rest is kept; i' alone has no bound."""
    new = np.exp(s.all("i", s.h) - s.after["m"]) / s.after["n"]
    s.found["f"] = 1 - new, (0.0, 1.0)
    s.gate("z", s.all("z", s.h), _TANH)
    s.gate("o", s.all("o", s.h))


_FORMULAS = {
    RNN: _rnn, LSTM: _lstm, GRU: _gru, MGU: _mgu, MUT1: _mut1, MUT2: _mut2, MUT3: _mut3, IndRNN: _indrnn,
    FastRNN: _fastrnn, FastGRNN: _fastgrnn, MultiplicativeLSTM: _multiplicative_lstm, SRU: _sru, MinGRU: _min_gru,
    MinLSTM: _min_lstm, SLSTM: _slstm,
}  # fmt: skip
