"""``SequenceClassifier``. Imports numpy, scikit-learn, ``_validate`` and the bases."""

import numpy as np
from sklearn.utils import column_or_1d

from ... import _validate
from .base import documented
from .labels import LabelEstimator, probabilities


@documented
class SequenceClassifier(LabelEstimator):
    """A label for a sequence: recurrent layers, pooled over the steps of each sequence, and a softmax.

    Parameters
    ----------
    {recurrent}
    pooling : "last", "max" or "mean"
        What is made of the outputs of a sequence: see ``fastrnn.pool``.
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
    >>> X = [rng.standard_normal((length, 2)) for length in rng.integers(3, 12, 200)]
    >>> y = np.array(["rises" if x[:, 0].sum() > 0 else "falls" for x in X])
    >>> model = fr.models.SequenceClassifier(16, cell="gru", epochs=20, random_state=0).fit(X[:150], y[:150])
    >>> model.score(X[150:], y[150:]) > 0.85
    True
    >>> model.predict_proba(X[150:]).shape
    (50, 2)
    """

    _stratified = True

    def __init__(self, hidden_size=32, num_layers=1, *, cell="lstm", bidirectional=False, pooling="last", dropout=0.0,
                 cell_options=None, class_weight=None, epochs=50, batch_size=32, learning_rate=0.01, weight_decay=0.0,
                 max_norm=1.0, early_stopping=False, validation_fraction=0.1, patience=10, standardize=True,
                 dtype="float32", random_state=None, n_jobs=None, progress=False):  # fmt: skip
        self._keep(locals())

    def _checked(self, X, y, sample_weight):
        sequences = _validate.sequence_list(X)
        labels = column_or_1d(_validate.targets_given(y), warn=True)
        _validate.one_for_each(labels, len(sequences))
        return sequences, labels, _validate.sequence_weights(sample_weight, len(sequences))

    def _cut(self, rows, sequences):
        return rows

    def predict_proba(self, X):
        """The probability of each class: ``(N, C)``, in the order of ``classes_``."""
        return probabilities(np.stack(self._outputs(X)))

    def predict_log_proba(self, X):
        """Its logarithm."""
        return np.log(self.predict_proba(X))

    def predict(self, X):
        """The likeliest label of each sequence: ``(N,)``."""
        outputs = np.stack(self._outputs(X))
        return self.classes_[outputs.argmax(axis=1)]
