"""``LanguageModel``: tokens -> Embedding -> recurrent layers -> Linear -> the next token.

    LanguageModel    the model: logits, gradients, perplexity, text, one file

Imports numpy, the public layers, losses, ``decoding`` and the other modules of this package; the training loop when it
fits.
"""

import math

import numpy as np

from .. import _validate, lookup
from ..blocks import Embedding, Linear
from ..decoding import beam_search, draw, log_softmax
from ..losses import cross_entropy
from ..params import restoring
from . import files
from .layers import SQUARE, initialise, layer_of, output_width
from .vocabulary import UNITS, Vocabulary

#: How many logits are computed at a time, when a text is measured: 16 MB of float32.
LOGITS = 1 << 22
#: Options of every layer that can be set later.
RATES = ("input_dropout", "recurrent_dropout", "weight_drop")


class LanguageModel:
    """A language model: ``p(next token | all tokens before)``, of characters, words or bytes.

    Parameters
    ----------
    vocabulary : Vocabulary, WordVocabulary or ByteVocabulary
        ``V`` numbers; ``Vocabulary.of(text, tokens=...)`` makes one.
    embedding_dim : int, optional
        ``E``; None: 48, or ``hidden_size`` for the cells that add their input to their units (MUT1, MUT2).
    hidden_size, num_layers : int
    cell : str
        ``"lstm"``, ``"gru"``, ``"rnn"``, ``"lstm_peephole"``, ``"mgu"``, ``"sru"``, ...: every cell there is; a wrong
        name is answered with the list.
    dropout : float
        Between the recurrent layers, in training.
    dtype : "float32" or "float64"
    rng : None, int or numpy.random.Generator
        Draws the parameters: the layers' own defaults, but orthogonal recurrent weights (Saxe et al., ICLR 2014) and,
        where ``f`` is a gate that keeps the state, a bias of 1 for it (Jozefowicz et al., ICML 2015).
    **options
        Of the recurrent layer, such as ``recurrent_dropout=0.2``, ``skip="residual"``, ``layer_norm=True``.

    Attributes
    ----------
    embedding, layer, head : Module
        ``(V, E)``, the recurrent layers, and ``(H -> V)``.
    vocabulary, cell
        As given.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit, by its name.

    Examples
    --------
    >>> from fastrnn.models import LanguageModel, Vocabulary
    >>> model = LanguageModel(Vocabulary("abc"), embedding_dim=4, hidden_size=8, rng=0)
    >>> logits, state = model(model.vocabulary.encode("abca"))
    >>> logits.shape
    (4, 4)
    >>> len("".join(model.generate(10, prime="ab", rng=1)))
    10
    """

    def __init__(self, vocabulary, embedding_dim=None, hidden_size=128, num_layers=2, *, cell="lstm", dropout=0.0,
                 dtype="float32", rng=None, **options):  # fmt: skip
        rng = _validate.generator(rng)
        self.vocabulary = _validate.vocabulary(vocabulary, Vocabulary)
        if embedding_dim is None:
            embedding_dim = hidden_size if cell in SQUARE else 48
        self.cell, self._options = cell, tuple(options)
        options = {"dropout": dropout, "dtype": dtype, "rng": rng, **options}
        self.embedding = Embedding(len(vocabulary), embedding_dim, dtype=dtype, rng=rng)
        self.layer = layer_of(cell, (embedding_dim, hidden_size, num_layers), options)
        self.head = Linear(output_width(self.layer), len(vocabulary), dtype=dtype, rng=rng)
        if not restoring.active():
            initialise(self.layer, rng)

    @property
    def modules(self):
        """The modules that have parameters, for an optimiser."""
        return [self.embedding, self.layer, self.head]

    @property
    def parameters(self):
        """``embedding.weight``, ``layer.weight_ih_l0``, ... -> read-only array."""
        names = ("embedding", "layer", "head")
        return {f"{n}.{k}": a for n in names for k, a in getattr(self, n).parameters.items()}

    def __call__(self, codes, state=None):
        """Logits ``(T, B, V)`` and the state after numbers ``(T, B)``; also without ``B``."""
        y, state = lookup.call(self.embedding, self.layer, codes, state)
        return self.head(y), state

    def vjp(self, codes, state=None):
        """``logits, state, pullback``; ``pullback(dlogits)`` adds to the modules' gradients."""
        y, state, to_layer = lookup.vjp(self.embedding, self.layer, codes, state)
        logits, to_head = self.head.vjp(y)

        def pullback(dlogits):
            to_layer(to_head(dlogits))

        return logits, state, pullback

    # -- training ---------------------------------------------------------------------------

    def fit(self, text, *, valid=None, epochs=None, steps=None, seconds=None, batch_size=None, seq_length=64,
            learning_rate=3e-3, max_norm=5.0, folder=None, resume=False, rng=None, **options):  # fmt: skip
        """Train on a text: Adam, truncated BPTT, a learning rate that rises shortly and then falls along a cosine.

        What is not in the vocabulary is trained as the unknown. For another optimiser or another source of data see
        ``fastrnn.Trainer``, which does the work.

        Parameters
        ----------
        text : str, bytes or ndarray of int
            Or its numbers.
        valid : the same, or float, optional
            Held-out text, whose loss is measured after each epoch; or the part of ``text``, at its end, to hold out.
        epochs, steps, seconds : optional
            How long; 10 epochs if none is given.
        batch_size : int, optional
            Pieces of the text that are read side by side; None: 32, or fewer in a short text.
        seq_length : int
            Tokens of each that a step reads and sends gradients back through.
        learning_rate : float
            Its peak.
        max_norm : float, optional
            Gradients are scaled down to this norm.
        folder : str or path-like, optional
            Where ``last.safetensors`` and ``best.safetensors`` are kept.
        resume : bool
            Go on with the run whose checkpoint is in ``folder``, exactly as it would have gone on.
        rng : None, int or numpy.random.Generator
            Draws masks of dropout; None: the layer's own.
        **options
            Of ``fastrnn.Trainer``: ``schedule``, ``patience``, ``validate_every``, ``checkpoint_every``, ``callbacks``,
            ``progress`` (True: shows bits per token).

        Returns
        -------
        Trainer
            Whose ``history`` has the losses, in nats per token.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, or a text that is too short.
        TrainingDiverged
            If the loss or a gradient is no finite number any more.

        Examples
        --------
        >>> from fastrnn.models import LanguageModel, Vocabulary
        >>> text = "the cat sat on the mat. " * 100
        >>> model = LanguageModel(Vocabulary.of(text), hidden_size=32, num_layers=1, rng=0)
        >>> trainer = model.fit(text, epochs=20, seq_length=24, learning_rate=0.02)
        >>> "".join(model.generate(20, prime="the cat", temperature=0))
        ' sat on the mat. the'
        """
        from ..optim import Adam
        from ..training import TextStreams, Trainer, progress_display, warmup_cosine

        codes = self._codes(text)
        if valid is not None:
            codes, valid = _validate.held_out(codes, valid, self._codes)
            _validate.text_length(valid.size, 2, "valid", self.units)
        if batch_size is None:
            batch_size = max(1, min(32, codes.size // (_validate.positive_int(seq_length, "seq_length") + 1)))
        if epochs is steps is seconds is None:
            epochs = 10
        options.setdefault("schedule", warmup_cosine(learning_rate))
        if options.get("progress") is True:
            options["progress"] = progress_display(measure=f"bits/{self.units.removesuffix('s')}", scale=1 / math.log(2))
        trainer = Trainer(
            self, Adam(self.modules, lr=learning_rate), TextStreams(codes, batch_size, seq_length, unit=self.units),
            valid=valid if valid is None else lambda model: model._bits(valid, None, 32, 128) * math.log(2),
            epochs=epochs, steps=steps, seconds=seconds, max_norm=max_norm, folder=folder, rng=rng, **options,
        )  # fmt: skip
        if resume:
            trainer.resume()
        trainer.run()
        return trainer

    # -- measuring --------------------------------------------------------------------------

    def bits_per_character(self, text, *, limit=None, streams=32, steps=128):
        """How many bits the model needs for a character of a text: mean of ``-log2 p(character | those before)``.

        Of words and bytes, it is the mean per token times tokens per character of the text, so that models of
        characters, words and bytes can be compared; but a word model need not tell the white space between words, and
        has one number for all that it does not know.

        The text is read as ``streams`` pieces side by side, each from a zero state: in a long text that costs a
        hundredth of a bit and is many times faster than one piece.

        Parameters
        ----------
        text : str, bytes or ndarray of int
            A string; for a byte model also bytes (each then counts as a character); or their numbers, of which the
            text is what they decode to. At least 2 tokens.
        limit : int, optional
            Read only the beginning of each piece, about so many tokens altogether.
        streams : int
            Fewer for a text of less than 64 tokens per piece.
        steps : int
            Tokens of each piece per call, at most; the result does not depend on it.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit.
        """
        codes = self._codes(text)
        bits = self._bits(codes, limit, streams, steps)
        if self.vocabulary.tokens == "chars":
            return bits
        return bits * codes.size / len(text if isinstance(text, (str, bytes)) else self.vocabulary.decode(codes))

    def perplexity(self, text, *, limit=None, streams=32, steps=128):
        """Among how many equally likely tokens the model chooses, as it were: 2 to the mean bits of a token.

        Parameters
        ----------
        text, limit, streams, steps
            As for ``bits_per_character``.

        Returns
        -------
        float
            From 1; of characters, words or bytes, as the model has them; infinite where it is too large.

        Examples
        --------
        >>> from fastrnn.models import LanguageModel, Vocabulary
        >>> model = LanguageModel(Vocabulary("abc"), rng=0)
        >>> model.head.load_state_dict({"weight": 0 * model.head.parameters["weight"], "bias": [0, 0, 0, 0]})
        >>> round(model.perplexity("abacab"), 3)
        4.0
        """
        bits = self._bits(self._codes(text), limit, streams, steps)
        return math.inf if bits >= 1024 else 2.0**bits

    def _codes(self, text):
        return _validate.codes(text, "text") if isinstance(text, np.ndarray) else self.vocabulary.encode(text)

    def _bits(self, codes, limit, streams, steps):
        """The mean bits of a token, all but the first of each piece."""
        streams, steps = _validate.positive_int(streams, "streams"), _validate.positive_int(steps, "steps")
        limit = None if limit is None else _validate.positive_int(limit, "limit")
        streams = max(1, min(streams, codes.size // 64))
        steps = min(steps, max(1, LOGITS // (streams * len(self.vocabulary))))
        length = _validate.text_length(codes.size, 2, what=self.units) // streams
        pieces = codes[: length * streams].reshape(streams, length).T
        pieces = pieces[: max(2, limit // streams + 1)] if limit else pieces
        state, bits = None, 0.0
        for start in range(0, len(pieces) - 1, steps):
            target = pieces[start + 1 : start + steps + 1]
            logits, state = self(pieces[start : start + len(target)], state)
            bits += float(cross_entropy(logits, target, reduction="sum")[0]) / math.log(2)
        return bits / pieces[1:].size

    @property
    def units(self):
        """What the model's tokens are called: characters, words or bytes."""
        return UNITS[self.vocabulary.tokens]

    # -- writing ----------------------------------------------------------------------------

    def generate(self, length, *, prime="", temperature=1.0, top_k=None, top_p=None, rng=None):
        """Write text, one token at a time.

        Parameters
        ----------
        length : int
            Tokens (characters, words, bytes) to write after ``prime``.
        prime : str
            What the text begins with; not part of the result. Empty: as after a newline, or the first token of the
            vocabulary.
        temperature : float
            Logits are divided by it: below 1 likelier, above 1 more surprising; 0 always the likeliest token.
        top_k : int, optional
            Choose among the k likeliest tokens.
        top_p : float, optional
            Choose among the likeliest tokens that have this probability together.
        rng : None, int or numpy.random.Generator
            The same seed gives the same text.

        Returns
        -------
        iterator of str
            Single characters, words with the space before them, or what a byte has completed, as they are made; never
            the unknown one.

        Raises
        ------
        TypeError, ValueError
            For arguments out of range, or a ``prime`` with tokens not in the vocabulary.
        """
        length = _validate.integer(length, "length", minimum=0)
        choosing = _validate.choosing(temperature, top_k, top_p)
        rng = _validate.generator(rng)
        prime = self._known(prime)
        return self._pieces(self._begun(prime), self._decoder_after(prime), length, choosing, rng)

    def _known(self, prime):
        """The numbers of a prime, all of them known."""
        check = _validate.text_or_bytes if self.vocabulary.tokens == "bytes" else _validate.text
        text = check(prime, "prime")
        _validate.known_characters(self.vocabulary.unknown(text), "prime", self.units)
        return self.vocabulary.encode(text)

    def _begun(self, prime):
        """The numbers that the model reads before it writes, at least one."""
        return prime if prime.size else np.array([self.vocabulary.start])

    def _decoder_after(self, prime):
        """A decoder that has read a prime."""
        decoder = self.vocabulary.decoder()
        for code in prime:
            decoder.feed(code)
        return decoder

    def _pieces(self, codes, decoder, length, choosing, rng):
        """The generator behind ``generate``, all arguments checked."""
        step, first = lookup.stepper(self.embedding, self.layer), self.vocabulary.first
        for code in codes:
            y = step(code)
        for written in range(length):
            code = first + int(draw(self.head(y)[first:], *choosing, rng))
            yield decoder.feed(code)
            if written + 1 < length:
                y = step(code)
        if rest := decoder.end():
            yield rest

    def beam_search(self, length, *, prime="", width=5, end=None, length_penalty=1.0):
        """The likeliest texts that a beam finds, see ``fastrnn.decoding.beam_search``.

        Parameters
        ----------
        length : int
            Tokens of the longest.
        prime : str
            What the texts begin with; not part of the results.
        width : int
            How many go on at every step.
        end : str, optional
            The token that ends a text, such as ``"\\n"``.
        length_penalty : float

        Returns
        -------
        list of (str, float)
            Text and score, ``log p(text) / n^length_penalty`` for its n tokens; best first.

        Raises
        ------
        TypeError, ValueError
            For arguments out of range, or tokens not in the vocabulary.

        Examples
        --------
        >>> from fastrnn.models import LanguageModel, Vocabulary
        >>> model = LanguageModel(Vocabulary("abc"), hidden_size=8, rng=0)
        >>> [len(text) for text, score in model.beam_search(4, prime="a", width=2)]
        [4, 4]
        """
        prime = self._known(prime)
        codes = self._begun(prime)
        eos = None if end is None else _validate.one_token(self.vocabulary.encode(end), self.vocabulary.first, "end")
        state = self(codes[:-1, np.newaxis])[1] if codes.size > 1 else None

        def step(tokens, state):
            logits, state = self(tokens[np.newaxis], state)
            scores = log_softmax(logits[0].astype(np.float64))
            scores[:, : self.vocabulary.first] = -np.inf
            return scores, state

        found = beam_search(step, int(codes[-1]), state, width=width, length=length, length_penalty=length_penalty, eos=eos)
        return [(self._text_after(prime, one.tokens), one.score) for one in found]

    def _text_after(self, prime, tokens):
        """The text of tokens that follow a prime."""
        decoder = self._decoder_after(prime)
        return "".join(map(decoder.feed, tokens)) + decoder.end()

    # -- files ------------------------------------------------------------------------------

    def _config(self):
        config = self.layer._config()
        rates = [name for name in RATES if config[name]]
        return {
            "embedding_dim": self.embedding.embedding_dim,
            "hidden_size": self.layer.hidden_size,
            "num_layers": self.layer.num_layers,
            "cell": self.cell,
            **{name: config[name] for name in ("dropout", "dtype", *dict.fromkeys((*rates, *self._options)))},
        }

    def save(self, path, tensors=None, metadata=None):
        """Save into one safetensors file, with the vocabulary in its metadata; ``fastrnn.load`` reads it too.

        The file appears complete or not at all; an earlier one is left intact on failure.

        Parameters
        ----------
        path : str or path-like
        tensors, metadata : mapping, optional
            More to put into the file: arrays by names that begin with ``"training."``, strings.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        files.write(self, path, tensors or {}, metadata or {})

    @classmethod
    def load(cls, path):
        """Load a model that ``save`` or a training run wrote.

        Raises
        ------
        ValueError
            If the file is malformed or not a language model; says which file and what is wrong.
        OSError
            If it cannot be read.
        """
        return cls.read(path)[0]

    @classmethod
    def read(cls, path):
        """``model, tensors, metadata`` of a file: what ``save`` was given."""
        return files.read(cls, path)

    def __repr__(self):
        count = sum(array.size for array in self.parameters.values())
        sizes = ", ".join(f"{k}={v!r}" for k, v in self._config().items())
        return f"LanguageModel({len(self.vocabulary)} {self.units}, {sizes})  # {count:,} parameters"

