"""What classifier and tagger share. Imports numpy, scikit-learn, the losses, ``_validate`` and the base."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from ... import _validate
from ...losses import cross_entropy
from .base import SequenceEstimator, weighted


@weighted
def class_loss(output, target):
    """Cross entropy of rows and classes."""
    return cross_entropy(output, target[:, 0].astype(np.intp), reduction="none")


def probabilities(logits):
    """Softmax of the last axis, in float64."""
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


class LabelEstimator(ClassifierMixin, SequenceEstimator):
    """Base of the estimators of labels.

    A subclass checks its arguments in ``_checked``, which returns sequences and, of all labels, these and their weights
    in a row; ``_cut`` makes of such a row the targets of each sequence.
    """

    _values = ("classes_",)
    _stratified = False  # whether a part held out has its share of each class

    def _checked(self, X, y, sample_weight):
        raise NotImplementedError

    def _cut(self, rows, sequences):
        raise NotImplementedError

    def fit(self, X, y, sample_weight=None):
        """Train anew.

        Parameters
        ----------
        X : list of array_like or array_like
            ``(T_i, F)`` each, or ``(N, T, F)``.
        y : array_like or list of array_like
            Labels: of a classifier ``(N,)``; of a tagger ``(T_i,)`` each, or ``(N, T)``.
        sample_weight : array_like, optional
            How much each sequence counts in the loss, ``(N,)``. For a tagger also how much each step does, like ``y``; 0
            for a step without a label.

        Returns
        -------
        Estimator
            Itself.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, by their names.
        TrainingDiverged
            If the loss or a gradient is no finite number any more.
        """
        sequences, labels, weights = self._checked(X, y, sample_weight)
        self._checked_run()
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        weights = _validate.total_weights(weights * compute_sample_weight(self.class_weight, labels))
        self._start(sequences, len(classes))
        self.classes_ = classes
        targets = self._cut(np.column_stack([codes, weights / weights.mean()]), sequences)
        self._train(sequences, targets, class_loss, groups=codes if self._stratified else None)
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Go on training, for one epoch of these data; the first call says what mean and deviation features have.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.
        classes : array_like, optional
            All labels that may come, at the first call.

        Returns
        -------
        Estimator
            Itself.
        """
        known = getattr(self, "classes_", None)
        sequences, labels, weights = self._checked(X, y, sample_weight)
        self._checked_run()
        check_classification_targets(labels)
        if known is not None:
            _validate.same_classes(classes, known)
            _validate.sequence_list(sequences, self.n_features_in_)
        all_classes = _validate.first_classes(classes) if known is None else known
        codes = _validate.known_labels(labels, all_classes)
        weights = weights * _validate.partial_class_weight(self.class_weight, labels)
        if known is None:
            self._start(sequences, len(all_classes))
            self.classes_ = all_classes
        self._train(sequences, self._cut(np.column_stack([codes, weights]), sequences), class_loss, once=True)
        return self

    def _fitted_shapes(self):
        _validate.exact_shape(self.classes_, "classes_", (self._network.config["outputs"],))
        return super()._fitted_shapes()
