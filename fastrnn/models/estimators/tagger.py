"""``SequenceTagger``. Imports numpy, scikit-learn, ``_validate`` and the bases."""

import numpy as np
from sklearn.metrics import accuracy_score

from ... import _validate
from .base import as_given, documented
from .labels import LabelEstimator, probabilities


@documented
class SequenceTagger(LabelEstimator):
    """A label for every step of a sequence: recurrent layers and a softmax.

    Parameters
    ----------
    {recurrent}
    class_weight : dict or "balanced", optional
        How much each class counts in the loss.
    {common}

    Attributes
    ----------
    classes_ : ndarray
        The labels, sorted.
    n_features_in_ : int
        F.
    {shared}

    Notes
    -----
    ``X`` is a list of ``(T_i, F)`` arrays or an array ``(N, T, F)``; ``(N, T)`` stands for one feature.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((length, 1)) for length in rng.integers(3, 12, 200)]
    >>> y = [np.where(np.append(x[1:], 0) > 0, "up", "down") for x in X]  # what comes next
    >>> model = fr.models.SequenceTagger(16, bidirectional=True, epochs=20, random_state=0).fit(X[:150], y[:150])
    >>> model.score(X[150:], y[150:]) > 0.9
    True
    >>> model.predict(X[:1])[0].shape == y[0].shape
    True
    """

    _kind = "step"

    def __init__(self, hidden_size=32, num_layers=1, *, cell="lstm", bidirectional=False, dropout=0.0, cell_options=None,
                 class_weight=None, epochs=50, batch_size=32, learning_rate=0.01, weight_decay=0.0, max_norm=1.0,
                 early_stopping=False, validation_fraction=0.1, patience=10, standardize=True, dtype="float32",
                 random_state=None, n_jobs=None, progress=False):  # fmt: skip
        self._keep(locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.one_d_labels = False
        return tags

    def _checked(self, X, y, sample_weight):
        """Sequences, and the labels and weights of all their steps in a row."""
        sequences = _validate.sequence_list(X)
        lengths = [len(x) for x in sequences]
        labels = _validate.step_labels(y, lengths)
        return sequences, np.concatenate(labels), _validate.step_weights(sample_weight, lengths)

    def _cut(self, rows, sequences):
        return np.split(rows, np.cumsum([len(x) for x in sequences])[:-1])

    def predict_proba(self, X):
        """The probability of each class at each step: a list of ``(T_i, C)``, or ``(N, T, C)``."""
        return as_given(X, [probabilities(output) for output in self._outputs(X)])

    def predict(self, X):
        """The likeliest label of each step: a list of ``(T_i,)``, or ``(N, T)``."""
        return as_given(X, [self.classes_[output.argmax(axis=1)] for output in self._outputs(X)])

    def score(self, X, y, sample_weight=None):
        """The part of all steps whose label is right."""
        _, labels, weights = self._checked(X, y, sample_weight)
        return accuracy_score(labels, np.concatenate(list(self.predict(X))), sample_weight=weights)
