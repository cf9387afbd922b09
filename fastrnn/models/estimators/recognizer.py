"""``CTCRecognizer``. Imports numpy, scikit-learn, ``ctc``, the losses, ``_validate`` and the base."""

from functools import partial

import numpy as np

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
        self._keep(locals())

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
        source = partial(self._source, self._standardized(sequences), [numbered(classes, word) for word in labels])
        self._train_on(source, len(labels), logits_loss)
        return self

    def _fitted_shapes(self):
        _validate.exact_shape(self.classes_, "classes_", (self._network.config["outputs"] - 1,))
        return super()._fitted_shapes()

    def _checked_decoding(self):
        _validate.one_of(self.decoding, "decoding", DECODING)
        return _validate.positive_int(self.beam_width, "beam_width")

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
