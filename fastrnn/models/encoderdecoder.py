"""``EncoderDecoder``: a net from sequences, or vectors, to sequences of tokens.

    encoder      tokens or frames -> a layer's outputs and final states; a vector -> a first state
    decoder      the tokens so far -> the next one; with attention to what the encoder has put out

Under teacher forcing the inputs of the decoder are known. Without attention, and with Luong's, which comes after the
recurrent layers, the decoder then is one call of the engine over all steps. With Bahdanau's, what is attended to enters
the layers, so that the steps are calls of their own, of the batch. Imports numpy, the public layers, ``lookup`` and
``_validate``.
"""

from functools import partial

import numpy as np

from .. import _validate, lookup
from ..blocks import Embedding, Linear
from ..decoding import beam_search, log_softmax
from ..params import restoring
from .attention import KINDS, Attention
from .layers import LAYERS, SQUARE, initialise

INPUTS = ("tokens", "frames", "vector")


class EncoderDecoder:
    """The net of ``Seq2Seq`` (Sutskever, Vinyals & Le, NIPS 2014; Cho et al., EMNLP 2014).

    Parameters
    ----------
    inputs : "tokens", "frames" or "vector"
        Numbers ``(T, B)``, real vectors ``(T, B, I)``, or one ``(1, B, I)`` for each sequence.
    input_size, output_size : int
        The number of tokens, or ``I``; the number of tokens to write.
    embedding_dim, hidden_size, num_layers : int
        Of both sides; ``embedding_dim=None``: 32, or ``hidden_size`` for the cells that add their input to their units.
    cell : str
        As in ``LanguageModel``.
    attention : None, "luong" or "bahdanau"
    bidirectional : bool
        Of the encoder: each direction has half of the units, so that both final states make up the decoder's first.
    dropout : float
        Between recurrent layers, in training.
    teacher_forcing : float
        In training, the probability with which an input of the decoder is the token that should be there; else it is
        the one that the net itself puts there (Bengio et al., NIPS 2015). Tokens have no gradient: the inputs are
        chosen first, by plain steps without dropout, and then are as good as given.
    dtype : "float32" or "float64"
    rng : None, int or numpy.random.Generator

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.encoderdecoder import EncoderDecoder
    >>> net = EncoderDecoder("tokens", 10, 12, hidden_size=8, attention="luong", rng=0)
    >>> read, written = np.zeros((7, 2), int), np.zeros((5, 2), int)
    >>> net((read, written), lengths=[7, 3]).shape
    (5, 2, 12)
    """

    def __init__(self, inputs, input_size, output_size, *, embedding_dim=None, hidden_size=64, num_layers=1,
                 cell="lstm", attention=None, bidirectional=False, dropout=0.0, teacher_forcing=1.0, dtype="float32",
                 rng=None):  # fmt: skip
        _validate.encoder_decoder(inputs, INPUTS, attention, KINDS, bidirectional, hidden_size)
        self.inputs, self.attention_kind = inputs, attention
        self.teacher_forcing = _validate.probability(teacher_forcing, "teacher_forcing")
        self.rng = rng = _validate.generator(rng)
        if embedding_dim is None:
            embedding_dim = hidden_size if cell in SQUARE else 32
        more = {"dropout": dropout, "dtype": dtype, "rng": rng}
        blocks = {"dtype": dtype, "rng": rng}
        self.source = Embedding(input_size, embedding_dim, **blocks) if inputs == "tokens" else None
        if inputs == "vector":
            self.encoder = Linear(input_size, num_layers * hidden_size, **blocks)
        else:
            sides = 2 if bidirectional else 1
            width = embedding_dim if inputs == "tokens" else input_size
            self.encoder = _layer(cell, width, hidden_size // sides, num_layers, bidirectional=bidirectional, **more)
        self.embedding = Embedding(output_size, embedding_dim, **blocks)
        fed = hidden_size if attention == "bahdanau" else 0  # the context, behind the embedding
        self.decoder = _layer(cell, embedding_dim + fed, hidden_size, num_layers, **more)
        self.attention = self.readout = None
        if attention is not None:
            self.attention = Attention(hidden_size, hidden_size, kind=attention, **blocks)
        if attention == "luong":
            self.readout = Linear(2 * hidden_size, hidden_size, **blocks)
        self.head = Linear(hidden_size + fed, output_size, **blocks)
        self.config = {
            "inputs": inputs, "input_size": input_size, "output_size": self.head.out_features,
            "embedding_dim": self.embedding.embedding_dim, "hidden_size": self.decoder.hidden_size,
            "num_layers": self.decoder.num_layers, "cell": cell, "attention": attention,
            "bidirectional": bool(bidirectional), "dropout": self.decoder.dropout,
            "teacher_forcing": self.teacher_forcing, "dtype": self.head.dtype.name,
        }  # fmt: skip
        if not restoring.active():
            for layer in (self.encoder, self.decoder):
                if layer._recurrent:
                    initialise(layer, rng)

    @property
    def modules(self):
        """Name -> module, of those with parameters."""
        names = ("source", "encoder", "embedding", "decoder", "attention", "readout", "head")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def features(self):
        """The numbers of a step of the input; 0 of tokens."""
        if self.inputs == "tokens":
            return 0
        return self.encoder.in_features if self.inputs == "vector" else self.encoder.input_size

    # -- forward and backward over whole sequences ----------------------------------------------

    def __call__(self, x, lengths=None):
        """Logits ``(S, B, V)`` of ``x = (inputs, codes (S, B))``: what comes after each code, given those before."""
        inputs, codes = x
        memory, states = self.encode(inputs, lengths)
        return self.forced(codes, states, self.walk(memory, lengths))[0]

    def vjp(self, x, lengths=None):
        """``logits, pullback``; ``pullback(dlogits)`` adds to the modules' gradients."""
        inputs, codes = x
        memory, states, to_encoder = self._encode_vjp(inputs, lengths)
        walk = self.walk(memory, lengths)
        if self.teacher_forcing < 1:
            codes = self._mixed(codes, states, walk)
        decode = self._fed_vjp if self.attention_kind == "bahdanau" else self._unfed_vjp
        logits, to_decoder = decode(codes, states, walk)

        def pullback(dlogits):
            d_states = to_decoder(dlogits)
            to_encoder(None if walk is None else walk.finish(), d_states)

        return logits, pullback

    def encode(self, inputs, lengths=None):
        """What attention looks at, ``(T, B, H)`` or None, and the decoder's first states, a tuple."""
        if self.inputs == "vector":
            return None, self._of_vector(self.encoder(inputs[0]))
        if self.source is None:
            memory, states = self.encoder(inputs, lengths=lengths)
        else:
            memory, states = lookup.call(self.source, self.encoder, inputs, lengths=lengths)
        return memory, self._joined(states)

    def _encode_vjp(self, inputs, lengths):
        """What ``encode`` returns, and a function of ``d_memory`` (None: 0) and ``d_states``."""
        if self.inputs == "vector":
            return self._vector_vjp(inputs)
        if self.source is None:
            memory, states, to_layer = self.encoder.vjp(inputs, lengths=lengths)
            to_layer = partial(to_layer, input_gradient=False)
        else:
            memory, states, to_layer = lookup.vjp(self.source, self.encoder, inputs, lengths=lengths)
        return memory, self._joined(states), lambda d_memory, d_states: to_layer(d_memory, self._parted(d_states))

    def _vector_vjp(self, inputs):
        a, to_bridge = self.encoder.vjp(inputs[0])
        states = self._of_vector(a)
        h = states[0]

        def back(_, d_states):
            d_a = d_states[0] * (1 - h * h)
            to_bridge(d_a.swapaxes(0, 1).reshape(a.shape))

        return None, states, back

    def _of_vector(self, a):
        """``tanh(a)`` as the first state, h of every layer; other states are empty."""
        h = np.tanh(a).reshape(len(a), self.decoder.num_layers, -1).swapaxes(0, 1)
        return np.ascontiguousarray(h), *(None for _ in self.decoder.state_names[1:])

    def _joined(self, states):
        """The encoder's final states ``(L*D, B, H/D)`` as the decoder's first, ``(L, B, H)``."""
        states = states if isinstance(states, tuple) else (states,)
        if not self.encoder.bidirectional:
            return states
        shape = (self.decoder.num_layers, 2, *states[0].shape[1:])
        return tuple(np.concatenate(list(s.reshape(shape).swapaxes(0, 1)), axis=2) for s in states)

    def _parted(self, d_states):
        """The gradients of ``_joined``, backward."""
        if self.encoder.bidirectional:
            halves = [np.stack(np.split(d, 2, axis=2), axis=1) for d in d_states]  # (L, 2, B, H/2)
            d_states = [d.reshape(-1, *d.shape[2:]) for d in halves]
        return _as_state(d_states)

    def walk(self, memory, lengths=None):
        """The attention to a batch's memory, or None."""
        return None if self.attention is None else self.attention.over(memory, lengths)

    def forced(self, codes, states, walk):
        """Logits ``(S, B, V)``, and weights ``(B, S, T)`` where there is attention, for codes that are given."""
        if self.attention_kind == "bahdanau":
            logits, weights = [], []
            for one in codes:
                row, states, weight = self.step(one, states, walk)
                logits.append(row)
                weights.append(weight)
            return np.stack(logits), np.stack(weights, axis=1)
        y, _ = lookup.call(self.embedding, self.decoder, codes, _as_state(states))
        if walk is None:
            return self.head(y), None
        context, weights = walk(y)
        return self.head(np.tanh(self.readout(np.concatenate([context, y], axis=2)))), weights  # (AT6)

    def _unfed_vjp(self, codes, states, walk):
        """All steps in one call: logits, and a function from their gradient to that of the first states."""
        y, _, to_layer = lookup.vjp(self.embedding, self.decoder, codes, _as_state(states))
        if walk is None:
            logits, to_head = self.head.vjp(y)
            return logits, lambda dlogits: _as_tuple(to_layer(to_head(dlogits))[1])
        context, _, to_context = walk.vjp(y)
        a, to_readout = self.readout.vjp(np.concatenate([context, y], axis=2))
        h = np.tanh(a)  # (AT6)
        logits, to_head = self.head.vjp(h)

        def back(dlogits):
            d_context, dy = np.split(to_readout(to_head(dlogits) * (1 - h * h)), 2, axis=2)  # (AT17)
            dy = dy + to_context(d_context)
            return _as_tuple(to_layer(dy)[1])

        return logits, back

    def _fed_vjp(self, codes, states, walk):
        """Step by step, as contexts enter the layers: (AT7)."""
        embedded, to_embedding = self.embedding.vjp(codes)
        outputs, steps = [], []
        for one in embedded:
            context, _, to_query = walk.vjp(states[0][-1:])
            x = np.concatenate([one, context[0]], axis=1)[np.newaxis]
            y, states, to_layer = self.decoder.vjp(x, _as_state(states))
            states = _as_tuple(states)
            outputs.append(np.concatenate([y, context], axis=2))
            steps.append((to_query, to_layer))
        logits, to_head = self.head.vjp(np.concatenate(outputs))
        width, d_embedded = self.decoder.hidden_size, np.empty(embedded.shape, embedded.dtype)

        def back(dlogits):
            d_outputs, d_states = to_head(dlogits), None
            for s in range(len(steps) - 1, -1, -1):
                to_query, to_layer = steps[s]
                dy, d_context = d_outputs[s : s + 1, :, :width], d_outputs[s : s + 1, :, width:]
                dx, d_states = to_layer(dy, None if d_states is None else _as_state(d_states))
                d_states = list(_as_tuple(d_states))
                d_embedded[s] = dx[0, :, :-width]
                d_query = to_query(d_context + dx[:, :, -width:])  # (AT18)
                d_states[0] = d_states[0].copy()
                d_states[0][-1] += d_query[0]
            to_embedding(d_embedded)
            return tuple(d_states)

        return logits, back

    # -- step by step ---------------------------------------------------------------------------

    def step(self, codes, states, walk):
        """Logits ``(B, V)`` after codes ``(B,)``, states, and weights ``(B, T)`` or None.

        A walk of one memory serves any number of rows: they are its queries.
        """
        embedded, weights = self.embedding(codes)[np.newaxis], None
        if self.attention_kind == "bahdanau":
            context, weights = _asked(walk, states[0][-1:])
            y, states = self.decoder(np.concatenate([embedded, context], axis=2), _as_state(states))
            y = np.concatenate([y, context], axis=2)
        else:
            y, states = self.decoder(embedded, _as_state(states))
            if walk is not None:
                context, weights = _asked(walk, y)
                y = np.tanh(self.readout(np.concatenate([context, y], axis=2)))
        return self.head(y[0]), _as_tuple(states), weights

    def _mixed(self, codes, states, walk):
        """The decoder's inputs when some of them are its own tokens."""
        codes, rate = np.array(codes), self.teacher_forcing
        for s in range(1, len(codes)):
            logits, states, _ = self.step(codes[s - 1], states, walk)
            own = self.rng.random(codes.shape[1]) >= rate
            codes[s, own] = logits.argmax(axis=1)[own]
        return codes

    def greedy(self, inputs, lengths, start, end, longest):
        """Codes ``(S, B)``, S <= longest, the likeliest at each step; ``end`` from where a sequence ends."""
        memory, states = self.encode(inputs, lengths)
        walk, batch = self.walk(memory, lengths), inputs.shape[1]
        codes, ended, written = np.full(batch, start), np.zeros(batch, bool), []
        while len(written) < longest and not ended.all():
            logits, states, _ = self.step(codes, states, walk)
            codes = np.where(ended, end, logits.argmax(axis=1))
            ended |= codes == end
            written.append(codes)
        return np.stack(written)

    def beam_search(self, inputs, start, end, longest, width, length_penalty):
        """The ``Hypothesis`` list of one sequence, ``inputs (T, 1, ...)``."""
        memory, states = self.encode(inputs)
        walk = self.walk(memory)

        def step(tokens, states):
            logits, states, _ = self.step(tokens, states, walk)
            return log_softmax(logits.astype(np.float64)), states

        return beam_search(step, start, states, width=width, length=longest, length_penalty=length_penalty, eos=end)


def _layer(cell, input_size, hidden_size, num_layers, **options):
    """The layer of a cell's name."""
    kind, given = LAYERS[_validate.one_of(cell, "cell", LAYERS)]
    if cell in SQUARE:
        _validate.embedding_width(cell, input_size, hidden_size)
    return kind(input_size, hidden_size, num_layers, **given, **options)


def numbered(tokens, word):
    """The numbers of a word's tokens, 1, 2, ..., in the sorted array of all of them."""
    return 1 + np.searchsorted(tokens, np.array(word, tokens.dtype))


def _as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def _as_state(states):
    """A tuple of states as layers take it: a single one by itself."""
    return states[0] if len(states) == 1 else tuple(states)


def _asked(walk, queries):
    """Context ``(1, B, E)`` and weights ``(B, T)`` for queries ``(1, B, H)``, B rows of one memory or of B."""
    if walk.batch == 1:
        context, weights = walk(queries.swapaxes(0, 1))
        return context.swapaxes(0, 1), weights[0]
    context, weights = walk(queries)
    return context, weights[:, 0]
