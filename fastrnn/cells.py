"""The table of recurrent cells: one row per cell.

A row names what Python needs to know of a cell; its stages and kernels are in ``_core/kernels``.
"""


class Cell:
    """A row: gates, states, and which parameters there are.

    Attributes
    ----------
    gates : str
        Gate order of the rows of ``weight_ih``; H rows each.
    states : tuple of str
    empty : tuple of float
        What each state is when none is given.
    recurrent : str
        Gate order of the rows of ``weight_hh``; empty when that is a vector (H,), or there is none.
    biased : str
        Gate order of the biases.
    biases : tuple of str
        Their names.
    extra : tuple of (str, tuple of str, float or None)
        What else there is, in the order in which the engine counts it: name, shape (``"2H"``, ``"I"``, ...), initial
        value; None is drawn.
    memory : str
        The gates that say how long the state is kept, each behind a sign: ``"+f"`` keeps it as ``f`` opens,
        ``"-i"`` as ``i`` closes. Empty without such gates.
    """

    __slots__ = ("gates", "states", "empty", "recurrent", "biased", "biases", "extra", "memory")

    def __init__(self, gates, states=("h",), *, empty=None, recurrent=None, biased=None, biases=("bias_ih", "bias_hh"),
                 extra=(), memory=""):  # fmt: skip
        self.gates, self.states, self.biases, self.extra, self.memory = gates, states, biases, extra, memory
        self.empty = empty or len(states) * (0.0,)
        self.recurrent = gates if recurrent is None else recurrent
        self.biased = gates if biased is None else biased

    def shapes(self, sizes, bias, proj_size):
        """Names and shapes of one direction of one layer, in torch's order; ``sizes``: letter -> number."""
        width = "P" if proj_size else "H"
        yield "weight_ih", _shape((f"{len(self.gates)}H", "I"), sizes)
        if self.recurrent:
            yield "weight_hh", _shape((f"{len(self.recurrent)}H", width), sizes)
        extra = [(name, _shape(shape, sizes)) for name, shape, _ in self.extra]
        yield from (item for item in extra if len(item[1]) == 2 or item[0] == "weight_hh")
        if bias:
            for name in self.biases:
                yield name, _shape((f"{len(self.biased)}H",), sizes)
        if proj_size:
            yield "weight_hr", _shape(("P", "H"), sizes)
        yield from (item for item in extra if len(item[1]) == 1 and item[0] != "weight_hh")

    def slots(self):
        """Names of all parameters there can be, in the engine's order; None is left out there."""
        common = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
        return common + [name for name, _, _ in self.extra if name not in common]


def _shape(symbols, sizes):
    """("3H", "I") with the sizes of H and I put in."""
    return tuple(1 if symbol == "1" else int(symbol[:-1] or 1) * sizes[symbol[-1]] for symbol in symbols)


_HC = ("h", "c")
_ONE = ("bias_ih",)


def _vectors(*names):
    return tuple((name, ("H",), None) for name in names)


def _normed(gates, states=("h",), memory=""):
    rows = (f"{len(gates)}H",)
    extra = [("weight_ln_ih", rows, 1.0), ("bias_ln_ih", rows, 0.0), ("weight_ln_hh", rows, 1.0), ("bias_ln_hh", rows, 0.0)]
    if "c" in states:
        extra += [("weight_ln_c", ("H",), 1.0), ("bias_ln_c", ("H",), 0.0)]
    return Cell(gates, states, extra=tuple(extra), memory=memory)


def _lstm(peephole, coupled):
    peepholes = _vectors(*["weight_ci", "weight_cf", "weight_co"][coupled:]) if peephole else ()
    return Cell("fgo" if coupled else "ifgo", _HC, extra=peepholes, memory="+f" if coupled else "+f-i")


CELLS = {
    "rnn_tanh": Cell("h"),
    "rnn_relu": Cell("h"),
    "rnn_general": Cell("h"),
    "lstm": _lstm(False, False),
    "lstm_peephole": _lstm(True, False),
    "lstm_coupled": _lstm(False, True),
    "lstm_coupled_peephole": _lstm(True, True),
    "lstm_general": _lstm(False, False),
    "lstm_general_peephole": _lstm(True, False),
    "lstm_general_coupled": _lstm(False, True),
    "lstm_general_coupled_peephole": _lstm(True, True),
    "gru": Cell("rzn", memory="+z"),
    "gru_reset_before": Cell("rzn", memory="+z"),
    "gru_general": Cell("rzn", memory="+z"),
    "gru_general_before": Cell("rzn", memory="+z"),
    "mgu": Cell("fn", biases=_ONE, memory="-f"),
    "mut1": Cell("zr", recurrent="rn", biased="zrn", biases=_ONE, memory="-z"),
    "mut2": Cell("zn", recurrent="zrn", biased="zrn", biases=_ONE, memory="-z"),
    "mut3": Cell("zrn", biases=_ONE, memory="-z"),
    "indrnn": Cell("h", recurrent="", biases=_ONE, extra=_vectors("weight_hh")),
    "fastrnn": Cell("h", biases=_ONE, extra=(("alpha", ("1",), -3.0), ("beta", ("1",), 3.0))),
    "fastgrnn": Cell("h", biased="zn", biases=_ONE, extra=(("zeta", ("1",), 1.0), ("nu", ("1",), -4.0)), memory="+z"),
    "multiplicative_lstm": Cell("ifgo", _HC, biases=_ONE, memory="+f-i",
                                extra=(("weight_mx", ("H", "I"), None), ("weight_mh", ("H", "H"), None))),
    "sru": Cell("xfr", ("c",), recurrent="", biased="fr", biases=_ONE, extra=(("weight_c", ("2H",), None),), memory="+f"),
    "sru_projected": Cell("xfrs", ("c",), recurrent="", biased="fr", biases=_ONE, extra=(("weight_c", ("2H",), None),),
                          memory="+f"),
    "min_gru": Cell("zn", recurrent="", biases=_ONE, memory="-z"),
    "min_lstm": Cell("fin", recurrent="", biases=_ONE, memory="+f-i"),
    "rnn_norm": _normed("h"),
    "lstm_norm": _normed("ifgo", _HC, memory="+f-i"),
    "gru_norm": _normed("rzn", memory="+z"),
    "gru_norm_before": _normed("rzn", memory="+z"),
    "slstm": Cell("ifzo", ("h", "c", "n", "m"), empty=(0.0, 0.0, 0.0, -float("inf")), biases=_ONE, memory="+f"),
}  # fmt: skip
