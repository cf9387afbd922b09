"""``SequenceRegressor``. Imports numpy, scikit-learn, the losses, ``_validate`` and the base."""

import numpy as np
from sklearn.base import RegressorMixin

from ... import _validate
from ...losses import mse_loss
from .base import SequenceEstimator, documented, moments, weighted


@weighted
def square_loss(output, target):
    """Squared errors, the mean of each row."""
    values, gradient = mse_loss(output, target, reduction="none")
    return values.mean(axis=1), gradient / output.shape[1]


@documented
class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """Numbers for a sequence: recurrent layers, pooled over the steps of each sequence, and a Linear; squared error.

    Parameters
    ----------
    {recurrent}
    pooling : "last", "max" or "mean"
        What is made of the outputs of a sequence: see ``fastrnn.pool``.
    {common}

    Attributes
    ----------
    n_features_in_, n_outputs_ : int
        F, O.
    {shared}

    Notes
    -----
    ``X`` is a list of ``(T_i, F)`` arrays or an array ``(N, T, F)``; ``(N, T)`` stands for one feature.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((length, 1)) for length in rng.integers(3, 12, 200)]
    >>> y = np.array([100 + x.sum() for x in X])
    >>> model = fr.models.SequenceRegressor(16, cell="gru", epochs=30, random_state=0).fit(X[:150], y[:150])
    >>> model.score(X[150:], y[150:]) > 0.8
    True
    """

    _arrays = (*SequenceEstimator._arrays, "target_mean_", "target_scale_")
    _values = ("_flat",)

    def __init__(self, hidden_size=32, num_layers=1, *, cell="lstm", bidirectional=False, pooling="last", dropout=0.0,
                 cell_options=None, epochs=50, batch_size=32, learning_rate=0.01, weight_decay=0.0, max_norm=1.0,
                 early_stopping=False, validation_fraction=0.1, patience=10, standardize=True, dtype="float32",
                 random_state=None, n_jobs=None, progress=False):  # fmt: skip
        self._keep(locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Train anew.

        Parameters
        ----------
        X : list of array_like or array_like
            ``(T_i, F)`` each, or ``(N, T, F)``.
        y : array_like
            ``(N,)``, or ``(N, O)``.
        sample_weight : array_like, optional
            ``(N,)``: how much each sequence counts in the loss.

        Returns
        -------
        SequenceRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, by their names.
        TrainingDiverged
            If the loss or a gradient is no finite number any more.
        """
        sequences, targets, weights, flat = self._checked(X, y, sample_weight)
        self._checked_run()
        self._begin_with(sequences, targets, flat)
        self._train(sequences, self._scaled(targets, weights / weights[weights > 0].mean()), square_loss)
        return self

    def partial_fit(self, X, y, sample_weight=None):
        """Go on training, for one epoch of these data; the first call says what mean and deviation there are.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.

        Returns
        -------
        SequenceRegressor
            Itself.
        """
        sequences, targets, weights, flat = self._checked(X, y, sample_weight)
        self._checked_run()
        if not hasattr(self, "n_outputs_"):
            self._begin_with(sequences, targets, flat)
        _validate.sequence_list(sequences, self.n_features_in_)
        _validate.same_outputs(targets, self.n_outputs_)
        self._train(sequences, self._scaled(targets, weights), square_loss, once=True)
        return self

    def _checked(self, X, y, sample_weight):
        sequences = _validate.sequence_list(X)
        targets, flat = _validate.numeric_targets(y, len(sequences))
        return sequences, targets, _validate.sequence_weights(sample_weight, len(sequences)), flat

    def _begin_with(self, sequences, targets, flat):
        self._start(sequences, targets.shape[1])
        self.target_mean_, self.target_scale_ = moments(targets, self.standardize)
        self.n_outputs_, self._flat = targets.shape[1], flat

    def _fitted_shapes(self):
        self.n_outputs_ = self._network.config["outputs"]
        _validate.boolean(self._flat, "_flat")
        return super()._fitted_shapes() | dict.fromkeys(("target_mean_", "target_scale_"), (self.n_outputs_,))

    def _scaled(self, targets, weights):
        return np.column_stack([(targets - self.target_mean_) / self.target_scale_, weights])

    def predict(self, X):
        """``(N,)``, or ``(N, O)`` as ``y`` was in ``fit``; float64."""
        predicted = np.stack(self._outputs(X)) * self.target_scale_ + self.target_mean_
        return predicted[:, 0] if self._flat else predicted
