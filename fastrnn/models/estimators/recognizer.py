"""``CTCRecognizer``. Imports numpy, scikit-learn, ``ctc``, the losses, ``_validate`` and the base."""

import numpy as np
from sklearn.model_selection import train_test_split

from ... import _validate, ctc
from ...decoding import log_softmax
from ...losses import ctc_loss
from ..encoderdecoder import numbered
from .base import SequenceEstimator, documented
from .labels import probabilities

DECODING = ("greedy", "beam")


def logits_loss(logits, target):
    """``ctc_loss`` of logits ``(T, B, C)``, the blank being class 0; ``target`` as ``Sequences`` has it."""
    log_probs = logits - logits.max(axis=-1, keepdims=True)
    log_probs -= np.log(np.exp(log_probs).sum(axis=-1, keepdims=True))
    value, gradient = ctc_loss(log_probs, *target)
    # Through the softmax of every step; (CT15) sums to 0 where nothing is to be learned, past the lengths.
    gradient -= np.exp(log_probs) * gradient.sum(axis=-1, keepdims=True)
    return value, gradient


@documented
class CTCRecognizer(SequenceEstimator):
    """Labels of a sequence, in order, that nobody has aligned with its steps: recurrent layers trained with CTC.

    The net says at every step which label it is, or none, the blank; the loss is that of all alignments together (Graves,
    Fernandez, Gomez & Schmidhuber, ICML 2006).

    Parameters
    ----------
    {recurrent}
    decoding : "greedy" or "beam"
        The labels of the likeliest path, or those that a prefix beam search finds: see ``fastrnn.ctc``.
    beam_width : int
        Of the search.
    {common}

    Attributes
    ----------
    classes_ : ndarray
        The labels, sorted; their classes are 1, 2, ..., that of the blank is 0.
    n_features_in_ : int
        F.
    {shared}

    Notes
    -----
    ``X`` is a list of ``(T_i, F)`` arrays or an array ``(N, T, F)``; ``y`` a list of strings, whose characters are the
    labels, or of lists of strings or integers. A sequence needs a step for each label, and one more between equal ones.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> rng = np.random.default_rng(0)
    >>> y = ["".join(rng.choice(list("abc"), rng.integers(1, 4))) for _ in range(300)]
    >>> def spoken(word):  # a letter lasts for 2 to 4 steps, and one of silence follows
    ...     steps = [i for c in word for i in rng.integers(2, 5) * ["abc".index(c)] + [3]]
    ...     return np.eye(4)[steps] + 0.2 * rng.standard_normal((len(steps), 4))
    >>> X = [spoken(word) for word in y]
    >>> model = fr.models.CTCRecognizer(16, epochs=20, random_state=0).fit(X[:250], y[:250])
    >>> model.score(X[250:], y[250:]) > 0.95
    True
    >>> model.predict([spoken("cab")])
    ['cab']
    """

    _kind = "labels"
    _values = ("classes_", "strings_")

    def __init__(self, hidden_size=64, num_layers=1, *, cell="lstm", bidirectional=True, dropout=0.0, cell_options=None,
                 decoding="greedy", beam_width=10, epochs=50, batch_size=32, learning_rate=0.01, weight_decay=0.0,
                 max_norm=1.0, early_stopping=False, validation_fraction=0.1, patience=10, standardize=True,
                 dtype="float32", random_state=None, n_jobs=None, progress=False):  # fmt: skip
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.cell = cell
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.cell_options = cell_options
        self.decoding, self.beam_width = decoding, beam_width
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.weight_decay, self.max_norm = learning_rate, weight_decay, max_norm
        self.early_stopping, self.validation_fraction, self.patience = early_stopping, validation_fraction, patience
        self.standardize = standardize
        self.dtype = dtype
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.progress = progress

    def fit(self, X, y):
        """Train anew.

        Parameters
        ----------
        X : list of array_like or array_like
            ``(T_i, F)`` each, or ``(N, T, F)``.
        y : list of str or of lists
            The labels of each sequence.

        Returns
        -------
        CTCRecognizer
            Itself.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, by their names.
        TrainingDiverged
            If the loss or a gradient is no finite number any more.
        """
        sequences = _validate.sequence_list(X)
        labels = _validate.label_sequences(_validate.targets_given(y), "y")
        _validate.one_for_each(labels, len(sequences))
        classes = _validate.label_classes(labels, "y")
        _validate.aligned(labels, [len(x) for x in sequences])
        self._checked_decoding()
        self._checked_run()
        self._start(sequences, len(classes) + 1)
        self.classes_, self.strings_ = classes, all(isinstance(word, str) for word in y)
        self._train(sequences, [numbered(classes, word) for word in labels])
        return self

    def _fitted_shapes(self):
        _validate.exact_shape(self.classes_, "classes_", (self._network.config["outputs"] - 1,))
        return super()._fitted_shapes()

    def _checked_decoding(self):
        _validate.one_of(self.decoding, "decoding", DECODING)
        return _validate.positive_int(self.beam_width, "beam_width")

    def _train(self, sequences, codes):
        inputs, train, valid = self._standardized(sequences), np.arange(len(codes)), None
        if self.early_stopping:
            seed = int(self._rng.integers(2**31))
            train, held_out = train_test_split(train, test_size=self.validation_fraction, random_state=seed)
            valid = self._source(inputs, codes, held_out, shuffle=False)
        self._run(self._source(inputs, codes, train, rng=self._rng), valid, logits_loss)

    def predict_proba(self, X):
        """The probability of each class at each step: a list of ``(T_i, 1 + C)``, the blank's first."""
        return [probabilities(output) for output in self._outputs(X)]

    def predict(self, X):
        """The labels of each sequence: a list of strings, if ``fit`` was given such, or of lists."""
        width, words = self._checked_decoding(), []
        for output in self._outputs(X):
            if self.decoding == "greedy":
                codes = ctc.greedy(output)
            else:
                codes = ctc.beam_search(log_softmax(output.astype(np.float64)), width=width)[0].tokens
            word = self.classes_[codes - 1].tolist()
            words.append("".join(word) if self.strings_ else word)
        return words

    def label_error_rate(self, X, y):
        """Insertions, deletions and substitutions that make ``y`` of what is predicted, per label of ``y``."""
        return ctc.label_error_rate(self.predict(X), y)

    def score(self, X, y):
        """1 - the label error rate: 1 if all labels are right; it may be negative."""
        return 1 - self.label_error_rate(X, y)
