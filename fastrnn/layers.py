"""What all recurrent layers share, and RNN, LSTM, GRU; the others are in ``variants``.

A layer is a row of ``cells.CELLS`` with sizes; everything it computes is in ``_core``. Arguments
and parameter names are those of ``torch.nn``.
"""

from . import _validate
from ._core import engine
from .blocks import dropout_mask
from .cells import CELLS
from .params import Module
from .regularisers import Masks


_LONGEST = 2**40  # steps: more than any array has, and far from what overflows


class Recurrent(engine.Recurrent, Module):
    """What all recurrent layers share: everything but the choice of the cell."""

    _recurrent = True
    _regularised = False  # has zoneout and weight_drop
    _takes_lengths = True

    def _build(self, cell, sizes, options, *, inner=None, engine_options=None, bias=True, batch_first=False,
               dropout=0.0, input_dropout=0.0, recurrent_dropout=0.0, weight_drop=0.0, zoneout=0.0, bidirectional=False,
               merge="concat", skip="none", learn_state=False, return_cell_states=False, checkpoint=None, dtype="float32",
               rng=None):  # fmt: skip
        """Check the arguments, allocate and draw the parameters, plan the engine.

        ``options`` are the constructor's arguments that are not common to all layers, ``engine_options`` what the
        kernels know of them; ``inner`` is the cell of the layers after the first, if it is another one.
        """
        inner = inner or cell
        row = CELLS[cell]
        self._bias = _validate.boolean(bias, "bias")
        input_size, hidden_size, num_layers, proj_size = sizes
        directions = 2 if _validate.boolean(bidirectional, "bidirectional") else 1
        inner_input = inner_size(sizes, bidirectional=bidirectional, merge=merge, skip=skip)
        batch_first = _validate.boolean(batch_first, "batch_first")
        dtype, rng = _validate.float_dtype(dtype), _validate.generator_or_none(rng)
        learn_state = _validate.learnable_state(learn_state, type(self).__name__, row.empty)
        self._row, self._options = row, {name: _plain(value) for name, value in options.items()}
        cell_states = _validate.has_cell_states(return_cell_states, type(self).__name__, row.states)
        self._stack = {"merge": merge, "skip": skip, "learn_state": learn_state, "return_cell_states": cell_states}
        self.state_names = row.states
        self.proj_size = proj_size
        self.state_sizes = tuple(proj_size or hidden_size if name == "h" else hidden_size for name in row.states)
        self.dropout = dropout
        self.rng = rng
        self._checkpoint = None if checkpoint is None else _validate.positive_int(checkpoint, "checkpoint")
        self._keep_states_every(min(self._checkpoint or 0, _LONGEST))
        self._zoneout = _validate.zoneout(zoneout, len(row.states))
        _validate.has_regulariser(self, any(self._zoneout) and zoneout, "zoneout")
        specs = _parameter_specs(row, CELLS[inner], self._bias, sizes, directions, inner_input)
        learned = [name + "0" for name in row.states] if learn_state else []
        shapes = [(num_layers * directions, width) for width in self.state_sizes]
        self._declare([*specs, *zip(learned, shapes)], dtype)
        self._rates = {}
        self.input_dropout, self.recurrent_dropout, self.weight_drop = input_dropout, recurrent_dropout, weight_drop
        suffixes = [s for _, s in _suffixes(num_layers, directions)]
        constants = {name + s: value for name, _, value in row.extra if value is not None for s in suffixes}
        self._init_uniform(rng, hidden_size**-0.5, constants | dict.fromkeys(learned, 0.0))
        self._configure(
            cell, inner, dtype.itemsize, input_size, hidden_size, num_layers, directions, proj_size, batch_first,
            row.empty, engine_options or {}, merge, skip, cell_states,
            _validate.recurrent_inputs, _validate.output_gradients, _validate.pullback_ready,
        )  # fmt: skip
        both = self._cut(self._values), self._grad_views
        self._attach(*([[views.get(name + s) for name in row.slots()] for s in suffixes] for views in both))
        if learned:
            self._learn(*([views[name] for name in learned] for views in both))

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

    @property
    def checkpoint(self):
        """Steps between the states that ``vjp`` keeps, or None: it keeps all."""
        return self._checkpoint

    def _draw_masks(self, widths, batch, weights):
        """The masks of one ``vjp``, but for those of ``dropout``."""
        return Masks(self, widths, batch, weights)

    def _set_rate(self, name, p):
        self._rates[name] = _validate.probability(p, name)
        self._masked = any(self._rates.values()) or any(self._zoneout)

    @property
    def input_dropout(self):
        """Probability of dropping an entry of every layer's input at all steps, in ``vjp``; can be set."""
        return self._rates["input_dropout"]

    @input_dropout.setter
    def input_dropout(self, p):
        self._set_rate("input_dropout", p)

    @property
    def recurrent_dropout(self):
        """Probability of dropping a unit of ``h_{t-1}`` on its way into R at all steps, in ``vjp``; can be set."""
        return self._rates["recurrent_dropout"]

    @recurrent_dropout.setter
    def recurrent_dropout(self, p):
        _validate.has_recurrence(self, p, "recurrent_dropout")
        self._set_rate("recurrent_dropout", p)

    @property
    def weight_drop(self):
        """Probability of dropping an entry of ``weight_hh``, in ``vjp``; can be set. RNN, LSTM, GRU."""
        return self._rates["weight_drop"]

    @weight_drop.setter
    def weight_drop(self, p):
        _validate.has_regulariser(self, p, "weight_drop")
        self._set_rate("weight_drop", p)

    @property
    def zoneout(self):
        """Probability of keeping h, and c, from the step before. RNN, LSTM, GRU."""
        return self._zoneout[: len(self.state_names)] if len(self.state_names) > 1 else self._zoneout[0]

    def _config(self):
        config = {"input_size": self.input_size, "hidden_size": self.hidden_size, "num_layers": self.num_layers}
        config |= self._options
        return config | {
            "bias": self._bias, "batch_first": self.batch_first, "dropout": self.dropout, **self._rates,
            "bidirectional": self.bidirectional, **self._stack, "checkpoint": self._checkpoint, "dtype": self.dtype.name,
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


def _parameter_specs(row, inner, bias, sizes, directions, inner_input):
    """Names and shapes of the parameters in torch's order; ``row`` of the first layer, ``inner`` of the others, whose
    input is ``inner_input`` wide."""
    input_size, hidden_size, num_layers, proj_size = sizes
    letters = {"I": input_size, "H": hidden_size, "P": proj_size}
    for layer, suffix in _suffixes(num_layers, directions):
        if layer:
            letters["I"] = inner_input
        for name, shape in (inner if layer else row).shapes(letters, bias, proj_size):
            yield name + suffix, shape


def layer_sizes(input_size, hidden_size, num_layers, proj_size=0):
    sizes = (
        _validate.positive_int(input_size, "input_size"),
        _validate.positive_int(hidden_size, "hidden_size"),
        _validate.positive_int(num_layers, "num_layers"),
        _validate.integer(proj_size, "proj_size", 0),
    )
    _validate.recurrent_sizes(*sizes)
    return sizes


def inner_size(sizes, *, bidirectional=False, merge="concat", skip="none", **_):
    """Width of the input of all layers but the first; checks what it depends on."""
    input_size, hidden_size, _, proj_size = sizes
    both = _validate.boolean(bidirectional, "bidirectional")
    side_by_side = _validate.one_of(merge, "merge", engine.MERGES) == "concat"
    given_too = _validate.one_of(skip, "skip", engine.SKIPS) == "input"
    return (proj_size or hidden_size) * (2 if both and side_by_side else 1) + (input_size if given_too else 0)


_COMMON = """
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool
        Whether ``x`` and ``y`` are ``(B, T, ...)``.
    dropout : float
        Probability of dropping an element on its way from one layer to the next, in ``vjp``.
    input_dropout, recurrent_dropout : float
        Probability of dropping an entry of every layer's input, a unit of ``h_{t-1}`` on its way into R, in ``vjp``: one
        mask for all steps and gates of a sequence (Gal & Ghahramani 2016).
    bidirectional : bool
        Whether a second direction reads each sequence from its end.
    merge : "concat", "sum", "mean" or "mul"
        What a layer makes of the outputs of its two directions; all but "concat" give H (P) columns instead of 2H. With
        one direction all are the same.
    skip : "none", "input", "output" or "residual"
        "input": every layer but the first reads ``[y, x]``, y what the layer before passes on; ``dropout`` falls on y
        alone. "output": ``y`` is what all layers put out, the first one's first, ``L*D*H`` wide, without ``dropout``.
        "residual": what goes into a layer is added to what it passes on, after ``dropout``, if both are as wide. States
        stay the cells' own.
    learn_state : bool
        Whether the initial states are parameters: ``h0``, ``c0``, ``(L*D, H)`` (``h0 (L*D, P)`` with a projection),
        first 0, are used for ``state=None``; ``dstate0`` is returned as well.
    return_cell_states : bool
        Calls return ``y, state, c_seq``, and ``vjp`` ``y, state, c_seq, pullback``, whose pullback takes ``dc_seq=``:
        ``c_seq (T, B, D*H)`` holds the cell states of the last layer, both directions' whatever ``merge``. Of layers
        that have a cell state c; a stream has it in ``state``.
    checkpoint : int, optional
        For long sequences: ``vjp`` keeps the states every so many steps, rounded up to whole blocks of the backward
        pass, which runs each stretch again; all results have the same bits (Chen 2016; Gruslys 2016). ``x`` is then not
        copied and must stay as it is until the pullback has run. None keeps all.
    dtype : "float32" or "float64"
    rng : None, int or numpy.random.Generator
        Draws the initial parameters, U(-1/sqrt(H), 1/sqrt(H)), and the dropout masks.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.
"""


_GENERAL = """
    clip : float, optional
        Bounds the pre-activations of gates and candidate, not the cell state.
    zoneout : float or (float, float)
        Probability that a unit of h, and of an LSTM's c, keeps its value from the step before, drawn at every step in
        ``vjp`` (Krueger 2017); a call and a stream take the mean. One number is for both.
    weight_drop : float
        Probability of dropping an entry of ``weight_hh``, one mask a ``vjp`` (Merity 2018).
    layer_norm : bool
        Normalise ``W x`` and ``R h`` of every row, and the LSTM's cell state on its way out (Ba, Kiros & Hinton 2016);
        gains ``weight_ln_ih``, ``weight_ln_hh``, ``weight_ln_c`` start at 1, shifts ``bias_ln_...`` at 0.
"""


def documented(cls):
    cls.__doc__ = cls.__doc__.replace("{general}", _GENERAL.strip()).replace("{common}", _COMMON.strip())
    return cls


def _plain(value):
    """A checked option in Python's own types, which a file can hold, and in tuples of our own."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    return value.item() if hasattr(value, "item") else value  # of a NumPy scalar


def _general(names, entries, clip, layer_norm, zoneout):
    """The engine's options for activations that are not the cell's own, for a clip, layer normalisation or zoneout;
    None when there is nothing of these."""
    clip, layer_norm = _validate.optional_positive(clip, "clip"), _validate.boolean(layer_norm, "layer_norm")
    if clip is None and tuple(entry[0] for entry in entries) == names and not layer_norm and not any(zoneout):
        return None
    options = {"activations": entries, "zoneout": zoneout}
    return options if clip is None else options | {"clip": clip}


@documented
class RNN(Recurrent):
    """Elman RNN: ``h_t = g(W x_t + b_ih + R h_{t-1} + b_hh)`` (Elman 1990).

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    nonlinearity : str
        g: "tanh", "relu", "sigmoid", "identity", "elu", "leaky_relu", "softsign", "softplus", "hard_sigmoid",
        "hard_tanh", "affine", "scaled_tanh" or "thresholded_relu", as ONNX defines them.
    alpha, beta : float, optional
        Numbers of the nonlinearity; ONNX's when None (affine 1 and 0, scaled_tanh 1 and 1, thresholded_relu 1).
    residual : bool
        ``h_t = h_{t-1} + g(...)``.
    {general}
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.RNN(3, 4, rng=0)(np.zeros((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _regularised = True

    def __init__(self, input_size, hidden_size, num_layers=1, *, nonlinearity="tanh", alpha=None, beta=None,
                 residual=False, clip=None, layer_norm=False, zoneout=0.0, **common):  # fmt: skip
        entry = _validate.activation((nonlinearity, alpha, beta), "nonlinearity")
        residual = _validate.boolean(residual, "residual")
        special = _general((nonlinearity,) if nonlinearity in ("tanh", "relu") else (), [entry], clip, layer_norm,
                           _validate.zoneout(zoneout, 1))  # fmt: skip
        if residual and special is None:
            special = {"activations": [entry]}
        options = {"nonlinearity": nonlinearity, "alpha": alpha, "beta": beta, "residual": residual, "clip": clip,
                   "layer_norm": layer_norm, "zoneout": zoneout}  # fmt: skip
        cell = f"rnn_{nonlinearity}" if special is None else "rnn_norm" if layer_norm else "rnn_general"
        self._build(cell, layer_sizes(input_size, hidden_size, num_layers), options,
                    engine_options=special and special | {"residual": residual}, zoneout=zoneout, **common)  # fmt: skip


@documented
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
    activations : tuple
        Of the gates, of the candidate and of the cell state on its way out, from the list of ``RNN``; an entry may
        be ``(name, alpha)`` or ``(name, alpha, beta)``.
    {general}
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

    _regularised = True

    def __init__(self, input_size, hidden_size, num_layers=1, *, proj_size=0, peephole=False, coupled=False,
                 activations=("sigmoid", "tanh", "tanh"), clip=None, layer_norm=False, zoneout=0.0, **common):  # fmt: skip
        entries = _validate.activations(activations, 3)
        special = _general(("sigmoid", "tanh", "tanh"), entries, clip, layer_norm, _validate.zoneout(zoneout, 2))
        options = {
            "proj_size": proj_size,
            "peephole": _validate.boolean(peephole, "peephole"),
            "coupled": _validate.boolean(coupled, "coupled"),
            "activations": activations,
            "clip": clip,
            "layer_norm": layer_norm,
            "zoneout": zoneout,
        }
        if layer_norm:
            _validate.alone("layer_norm", {name: options[name] for name in ("peephole", "coupled", "proj_size")})
        cell = "lstm" + ("_norm" if layer_norm else "_general") * (special is not None)
        cell += "_coupled" * options["coupled"] + "_peephole" * options["peephole"]
        self._build(cell, layer_sizes(input_size, hidden_size, num_layers, proj_size), options, engine_options=special,
                    zoneout=zoneout, **common)  # fmt: skip


@documented
class GRU(Recurrent):
    """GRU (Cho 2014): ``h_t = (1-z)*n + z*h_{t-1}``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H, L.
    reset_after : bool
        True: ``n = tanh(W_n x + b_in + r*(R_n h + b_hn))``, as PyTorch and cuDNN; False:
        ``n = tanh(W_n x + b_in + R_n (r*h) + b_hn)``, as in the paper.
    activations : tuple
        Of the gates and of the candidate, as for ``LSTM``.
    {general}
    {common}

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y, h = fr.GRU(3, 4, bidirectional=True, rng=0)(np.zeros((5, 2, 3)), lengths=[5, 2])
    >>> y.shape, h.shape
    ((5, 2, 8), (2, 2, 4))
    """

    _regularised = True

    def __init__(self, input_size, hidden_size, num_layers=1, *, reset_after=True, activations=("sigmoid", "tanh"),
                 clip=None, layer_norm=False, zoneout=0.0, **common):  # fmt: skip
        options = {
            "reset_after": _validate.boolean(reset_after, "reset_after"),
            "activations": activations,
            "clip": clip,
            "layer_norm": layer_norm,
            "zoneout": zoneout,
        }
        special = _general(("sigmoid", "tanh"), _validate.activations(activations, 2), clip, layer_norm,
                           _validate.zoneout(zoneout, 1))  # fmt: skip
        kind = "" if special is None else "_norm" if layer_norm else "_general"
        cell = "gru" + kind + ("" if reset_after else "_before" if kind else "_reset_before")
        self._build(cell, layer_sizes(input_size, hidden_size, num_layers), options, engine_options=special,
                    zoneout=zoneout, **common)  # fmt: skip
