"""scikit-learn's own checks of estimators.

They hand over arrays ``(n_samples, n_features)``. The estimators read these as n_samples sequences of one feature, so what the
checks say of features does not apply to them: it is checked of ``OneStep``, for which such an array is sequences of one step.
The tagger and the forecaster learn from what the checks do not have; of them the interface is checked.
"""

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
from sklearn.utils import estimator_checks  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from fastrnn.models import NARXForecaster, SequenceClassifier, SequenceRegressor, SequenceTagger  # noqa: E402

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning", "ignore:.*array_api.*"),
]

#: Of arrays ``(N, T)`` as sequences of one feature.
NO_FEATURES = "(N, T) is N sequences of one feature, of any T: the columns are steps, not features"
#: What is not so in fastrnn, however the array is read.
ELSEWISE = {
    "check_complex_data": "complex numbers raise TypeError, as everywhere in fastrnn, not ValueError",
    "check_dtype_object": "arrays of objects are sequences, not numbers",
    "check_dataframe_column_names_consistency": "sequences have no names of columns",
    "check_n_features_in_after_fitting": "it asks for scikit-learn's words; ours name the sequence",
    "check_estimators_empty_data_messages": "it asks for scikit-learn's words",
    "check_sample_weight_equivalence_on_dense_data": "repeated sequences fall into other batches than weighted ones",
}
OF_FEATURES = {
    name: NO_FEATURES
    for name in (
        "check_n_features_in", "check_estimators_partial_fit_n_features", "check_classifiers_train", "check_regressors_train",
    )
}  # fmt: skip
LEARNING = {"hidden_size": 8, "epochs": 40, "learning_rate": 0.03, "cell": "gru", "random_state": 0}


def one_step(kind):
    """A class of estimators for which ``(n, F)`` is n sequences of one step."""

    class OneStep(kind):
        def _checked(self, X, y, sample_weight):
            return super()._checked(as_steps(X), y, sample_weight)

        def _outputs(self, X):
            return super()._outputs(as_steps(X))

    OneStep.__name__ = OneStep.__qualname__ = f"OneStep{kind.__name__}"
    globals()[OneStep.__name__] = OneStep  # where pickle looks for it
    return OneStep


def as_steps(X):
    """``(n, F)`` as ``(n, 1, F)``; all else as it is."""
    if hasattr(X, "tocsr") or np.ndim(X) != 2:
        return X
    return np.asarray(X)[:, np.newaxis]


@parametrize_with_checks(
    [kind(**LEARNING) for kind in (SequenceClassifier, SequenceRegressor)],
    expected_failed_checks=lambda estimator: ELSEWISE | OF_FEATURES,
)
def test_estimator(estimator, check):
    check(estimator)


OF_STEPS = [one_step(kind)(**LEARNING) for kind in (SequenceClassifier, SequenceRegressor)]


@pytest.mark.parametrize(
    "estimator, check",
    [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.func.__name__}")
        for one in OF_STEPS
        for estimator, check in estimator_checks.estimator_checks_generator(one)
        if check.func.__name__ in OF_FEATURES
    ],
)
def test_estimator_of_features(estimator, check):
    check(estimator)


#: Checks that call no ``fit`` with arrays of scikit-learn's own.
INTERFACE = [
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types", "check_estimator_repr",
    "check_no_attributes_set_in_init", "check_parameters_default_constructible", "check_get_params_invariance",
    "check_set_params", "check_do_not_raise_errors_in_init_or_set_param", "check_mixin_order",
]  # fmt: skip


@pytest.mark.parametrize("name", INTERFACE)
@pytest.mark.parametrize("estimator", [SequenceTagger(), NARXForecaster()], ids=lambda e: type(e).__name__)
def test_interface(estimator, name):
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)
