"""``Seq2Seq``. Imports numpy, scikit-learn, the training data, the net, ``_validate`` and the base."""

from functools import partial

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ... import _validate
from ...losses import cross_entropy
from ...training import Sequences
from ..attention import KINDS
from ..encoderdecoder import INPUTS, EncoderDecoder, numbered
from .base import Estimator, batches, documented, moments, standardized

#: The code of both the start and the end of what is written: the one is only read, the other only written.
MARK = 0


class Pairs(Sequences):
    """Sequences and what is to be written of them: batches of ``(inputs, codes read)`` and codes to be written.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.models.estimators.seq2seq import Pairs
    >>> batch = Pairs([np.array([5, 6, 7]), np.array([8])], [[1, 2], [3]], 2, shuffle=False).batch(0)
    >>> batch.x[1].T.tolist(), batch.target.T.tolist(), batch.lengths.tolist()
    ([[0, 3, 0], [0, 1, 2]], [[3, 0, -100], [1, 2, 0]], [1, 3])
    """

    def __init__(self, inputs, targets, batch_size, **options):
        super().__init__(inputs, targets, batch_size, kind="labels", **options)

    def batch(self, step):
        """Codes ``(S, B)``, of which -100 counts nothing."""
        batch = super().batch(step)
        labels, _, counts = batch.target
        mark = np.full((len(labels), 1), MARK)
        read, written = np.concatenate([mark, labels], axis=1), np.concatenate([labels, mark], axis=1)
        at = np.arange(written.shape[1])
        written[at == counts[:, np.newaxis]] = MARK
        written[at > counts[:, np.newaxis]] = -100
        x = batch.x, np.ascontiguousarray(read.T)
        return batch._replace(x=x, target=np.ascontiguousarray(written.T), size=int(counts.sum()) + len(counts))


@documented
class Seq2Seq(Estimator):
    """Sequences of tokens from sequences, or from vectors: an encoder, a decoder, and attention between them.

    Parameters
    ----------
    hidden_size, num_layers : int
        Of encoder and decoder.
    cell : str
        ``"lstm"``, ``"gru"``, ``"rnn"``, ...: every cell there is, as in ``LanguageModel``.
    attention : None, "luong" or "bahdanau"
        What the decoder sees of the encoder's outputs: nothing but the last state (Sutskever et al. 2014), a mean that is
        weighted by how well they fit its own output (Luong et al. 2015), or one that enters its next step (Bahdanau et
        al. 2015). Luong's is quicker: training runs all steps of the decoder in one call.
    bidirectional : bool
        Of the encoder, each direction of which then has half of the units.
    embedding_dim : int, optional
        None: 32, or ``hidden_size`` for the cells that add their input to their units.
    inputs : "auto", "tokens", "frames" or "vector"
        What ``X`` holds: strings or lists of strings or integers; ``(T_i, F)`` arrays; one ``(F,)`` array each, whose
        linear map is the decoder's first state, as for captions. "auto" looks at it.
    dropout : float
        Between layers, in training.
    teacher_forcing : float
        How often, in training, the decoder reads the token that should be there, not the one that it would have put
        there (Bengio et al. 2015).
    beam_width : int
        Of the beam search that ``predict`` makes; 1 takes the likeliest token at every step.
    length_penalty : float
        See ``fastrnn.decoding.beam_search``.
    max_length : int, optional
        Tokens that ``predict`` writes at most; None: as many as the longest that ``fit`` has seen.
    {common}

    Attributes
    ----------
    inputs_ : str
        "tokens", "frames" or "vector".
    source_tokens_, target_tokens_ : ndarray
        The tokens, sorted; the first is None where no tokens are read. A token that ``fit`` has not seen is read as one
        that stands for all such.
    {shared}

    Notes
    -----
    A string is the sequence of its characters; what is predicted are strings, if ``fit`` was given such, or lists.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> rng = np.random.default_rng(0)
    >>> X = ["".join(rng.choice(list("abcd"), rng.integers(1, 6))) for _ in range(600)]
    >>> y = [word[::-1].upper() for word in X]
    >>> model = fr.models.Seq2Seq(32, attention="luong", bidirectional=True, epochs=15, random_state=0)
    >>> model.fit(X[:500], y[:500]).score(X[500:], y[500:]) > 0.9
    True
    >>> model.predict(["abcd"])
    ['DCBA']
    """

    _network_class = EncoderDecoder
    _arrays = ("mean_", "scale_", "loss_curve_", "validation_curve_")
    _values = ("inputs_", "source_tokens_", "target_tokens_", "strings_", "longest_")

    def __init__(self, hidden_size=64, num_layers=1, *, cell="lstm", attention=None, bidirectional=False,
                 embedding_dim=None, inputs="auto", dropout=0.0, teacher_forcing=1.0, beam_width=1, length_penalty=1.0,
                 max_length=None, epochs=20, batch_size=32, learning_rate=0.01, weight_decay=0.0, max_norm=1.0,
                 early_stopping=False, validation_fraction=0.1, patience=10, standardize=True, dtype="float32",
                 random_state=None, n_jobs=None, progress=False):  # fmt: skip
        self._keep(locals())

    def fit(self, X, y):
        """Train anew.

        Parameters
        ----------
        X : list of str, list of list, list of array_like or array_like
            As ``inputs`` says.
        y : list of str or of lists of str or int
            What to write.

        Returns
        -------
        Seq2Seq
            Itself.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, by their names.
        TrainingDiverged
            If the loss or a gradient is no finite number any more.
        """
        kind, given = _validate.encoder_inputs(X, self.inputs, INPUTS)
        words = _validate.label_sequences(_validate.targets_given(y), "y")
        _validate.one_for_each(words, len(given))
        tokens = _validate.label_classes(words, "y")
        self._checked_writing()
        self._checked_run()
        source = _validate.label_classes(given, "X") if kind == "tokens" else None
        width = 1 + len(source) if kind == "tokens" else given[0].shape[1]
        self._begin(lambda rng: self._net(kind, width, 1 + len(tokens), rng))
        self.inputs_, self.source_tokens_, self.target_tokens_ = kind, source, tokens
        self.strings_, self.longest_ = all(isinstance(word, str) for word in y), max(map(len, words))
        rows = np.zeros((1, 0)) if kind == "tokens" else np.concatenate(given)
        self.mean_, self.scale_ = moments(rows, self.standardize)
        source = partial(self._source, self._read(given), [numbered(tokens, word) for word in words])
        self._train_on(source, len(words), cross_entropy)
        return self

    def _net(self, kind, width, outputs, rng):
        names = ("hidden_size", "num_layers", "cell", "attention", "bidirectional", "embedding_dim", "dropout",
                 "teacher_forcing", "dtype")  # fmt: skip
        return EncoderDecoder(kind, width, outputs, rng=rng, **{name: getattr(self, name) for name in names})

    def _fitted_shapes(self):
        config = self._network.config
        _validate.same(self.inputs_, config["inputs"], "inputs_")
        _validate.exact_shape(self.target_tokens_, "target_tokens_", (config["output_size"] - 1,))
        if self.inputs_ == "tokens":
            _validate.exact_shape(self.source_tokens_, "source_tokens_", (config["input_size"] - 1,))
        return dict.fromkeys(("mean_", "scale_"), (self._network.features,))

    def _checked_writing(self):
        """Beam width, length penalty, and how long the longest is, or None."""
        width = _validate.positive_int(self.beam_width, "beam_width")
        penalty = _validate.real(self.length_penalty, "length_penalty", minimum=0, maximum=10)
        longest = self.max_length
        return width, penalty, None if longest is None else _validate.positive_int(longest, "max_length")

    def _read(self, given):
        """Checked inputs as the encoder reads them: codes ``(T_i,)``, 0 for what is unknown, or ``(T_i, F)``."""
        if self.inputs_ == "tokens":
            numbers = {token: i for i, token in enumerate(self.source_tokens_.tolist(), 1)}
            return [np.array([numbers.get(token, 0) for token in word]) for word in given]
        return [standardized(x, self.mean_, self.scale_, self._network.head.dtype) for x in given]

    def _source(self, inputs, codes, chosen, **options):
        return Pairs([inputs[i] for i in chosen], [codes[i] for i in chosen], self.batch_size, **options)

    def _given(self, X):
        """What there is to read, of the kind that ``fit`` has seen."""
        check_is_fitted(self)
        return self._read(_validate.encoder_inputs(X, self.inputs_, INPUTS, len(self.mean_))[1])

    def predict(self, X):
        """What is written of each: a list of strings, if ``fit`` was given such, or of lists."""
        width, penalty, longest = self._checked_writing()
        inputs = self._given(X)
        longest = longest or self.longest_
        steps = longest + 1  # with the mark of the end
        written = len(inputs) * [None]
        with self._threads():
            if width > 1:
                for i, x in enumerate(inputs):
                    found = self._network.beam_search(x[:, np.newaxis], MARK, MARK, steps, width, penalty)
                    written[i] = found[0].tokens
            else:
                for chosen, batch in batches(inputs):
                    codes = self._network.greedy(batch.x, batch.lengths, MARK, MARK, steps)
                    for b, i in enumerate(chosen):
                        written[i] = codes[:, b]
        return [self._word(codes[:longest]) for codes in written]

    def _word(self, codes):
        """The tokens before the end."""
        end = np.flatnonzero(codes == MARK)
        word = self.target_tokens_[codes[: end[0] if end.size else None] - 1].tolist()
        return "".join(word) if self.strings_ else word

    def attend(self, X):
        """What is written of each, and which steps of the input each of its tokens looked at.

        Returns
        -------
        words : list of str or of lists
            As ``predict`` gives them.
        maps : list of ndarray
            ``(S_i, T_i)``: weights of the T_i steps, which add up to 1, for each of the S_i tokens.

        Raises
        ------
        TypeError, ValueError
            For inputs that do not fit, and without attention.
        """
        _validate.has_attention(self.attention, KINDS)
        words, inputs = self.predict(X), self._given(X)
        maps = len(inputs) * [None]
        for chosen, batch in batches(inputs):
            read = np.full((1 + max(len(words[i]) for i in chosen), len(chosen)), MARK)
            for b, i in enumerate(chosen):
                read[1 : 1 + len(words[i]), b] = numbered(self.target_tokens_, list(words[i]))
            memory, states = self._network.encode(batch.x, batch.lengths)
            _, weights = self._network.forced(read, states, self._network.walk(memory, batch.lengths))
            for b, i in enumerate(chosen):
                maps[i] = weights[b, : len(words[i]), : batch.lengths[b]]
        return words, maps

    def score(self, X, y):
        """The part of the sequences that are written as they should be, to the last token."""
        words = _validate.label_sequences(y, "y")
        written = self.predict(X)
        _validate.one_for_each(words, len(written))
        return float(np.mean([list(a) == b for a, b in zip(written, words)]))
