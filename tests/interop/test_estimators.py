"""Estimators of sequences: they learn, to the bit the same; forms of input; scikit-learn's tools; files; bad input."""

import pickle

import numpy as np
import pytest
from commands import run_here
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.serialize import read_safetensors, write_safetensors

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone, is_classifier, is_regressor  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402

from fastrnn.models import SequenceClassifier, SequenceRegressor, SequenceTagger  # noqa: E402

pytestmark = pytest.mark.interop

QUICK = {"hidden_size": 6, "epochs": 2, "random_state": 0}


def walks(count, seed=0, longest=12, features=2):
    """Sequences of different lengths."""
    rng = np.random.default_rng(seed)
    return [5 + 3 * rng.standard_normal((length, features)) for length in rng.integers(2, longest, count)]


def sums(X):
    return np.array([(x[:, 0] - 5).sum() for x in X])


def task(kind, X):
    """Targets of sequences: the sign of a sum, at each step whether what comes next is large, the sum itself."""
    if kind is SequenceClassifier:
        return np.where(sums(X) > 0, "up", "down")
    if kind is SequenceTagger:
        return [np.append(x[1:, 0] > 5, False).astype(int) for x in X]
    return 1000 + sums(X)


KINDS = [SequenceClassifier, SequenceTagger, SequenceRegressor]
each_kind = pytest.mark.parametrize("kind", KINDS)


def assert_equal_results(ours, theirs):
    ours, theirs = (list(results) if isinstance(results, list) else [results] for results in (ours, theirs))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one, other)


def scores_of(model, X):
    """The numbers behind its predictions."""
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


# ---- Learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, options, least",
    [
        (SequenceClassifier, {"cell": "gru"}, 0.9),
        (SequenceClassifier, {"cell": "lstm", "pooling": "mean", "bidirectional": True}, 0.9),
        (SequenceClassifier, {"cell": "rnn", "pooling": "max", "early_stopping": True, "validation_fraction": 0.2}, 0.85),
        (SequenceTagger, {"bidirectional": True}, 0.95),
        (SequenceRegressor, {"cell": "gru"}, 0.9),
        (SequenceRegressor, {"cell": "min_gru", "num_layers": 2, "pooling": "last"}, 0.7),
    ],
)
def test_learns(kind, options, least):
    X = walks(400)
    y = task(kind, X)
    model = kind(**{"hidden_size": 16, "epochs": 30, "random_state": 0, **options}).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > least
    assert model.loss_curve_[-1] < 0.6 * model.loss_curve_[0]
    assert model.n_iter_ == len(model.loss_curve_) <= 30
    assert (model.validation_curve_ is None) == (not model.early_stopping)


def test_the_future_needs_the_second_direction():
    """What comes next is a coin for who has not seen it."""
    X = walks(300)
    y = task(SequenceTagger, X)
    model = SequenceTagger(16, epochs=20, random_state=0).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) < 0.75


def test_early_stopping_keeps_the_best():
    """Labels that mean nothing: the held-out loss grows, training stops, and the parameters are those of its minimum."""
    X, y = walks(60), np.random.default_rng(1).integers(0, 2, 60)
    options = {"hidden_size": 32, "learning_rate": 0.03, "random_state": 0, "validation_fraction": 0.3}
    model = SequenceClassifier(early_stopping=True, epochs=200, patience=4, **options).fit(X, y)
    best = model.validation_curve_.argmin()
    assert model.n_iter_ == best + 1 + 4 < 200
    assert model.validation_curve_[best] < model.validation_curve_[-1]
    again = SequenceClassifier(early_stopping=True, epochs=200, patience=4, **options)
    run = again._run
    again._run = lambda data, valid, loss, once: (run(data, valid, loss, once), vars(again).update(valid=valid, loss=loss))
    again.fit(X, y)
    batch = again.valid.batch(0)
    assert len(again.valid) == 1 and len(batch.x[0]) == 18
    assert again.loss(again._network(batch.x, batch.lengths), batch.target)[0] == model.validation_curve_[best]


@each_kind
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_same_seed_gives_the_same_bits(kind, n_jobs):
    X = walks(50)
    y, options = task(kind, X), {**QUICK, "dropout": 0.2, "num_layers": 2, "n_jobs": n_jobs}
    threads = fr.get_num_threads()
    first, second = (scores_of(kind(**options).fit(X, y), X) for _ in range(2))
    assert_equal_results(first, second)
    assert fr.get_num_threads() == threads
    other = scores_of(kind(**{**options, "random_state": 1}).fit(X, y), X)
    assert not np.array_equal(np.concatenate([np.ravel(r) for r in first]), np.concatenate([np.ravel(r) for r in other]))


@pytest.mark.parametrize("state", [lambda: np.random.RandomState(3), lambda: np.random.default_rng(3), lambda: np.int64(3)])
def test_kinds_of_random_state(state):
    X = walks(30)
    y = task(SequenceRegressor, X)
    first, second = (SequenceRegressor(**{**QUICK, "random_state": state()}).fit(X, y).predict(X) for _ in range(2))
    assert_same_bits("y", first, second)


@each_kind
def test_partial_fit(kind):
    """Epoch by epoch; also across a pickle, which keeps optimiser and generator."""
    X = walks(120)
    y = task(kind, X)
    first = {} if kind is SequenceRegressor else {"classes": np.unique(np.concatenate(y) if kind is SequenceTagger else y)}
    model = kind(16, cell="gru", bidirectional=True, dropout=0.1, random_state=0).partial_fit(X, y, **first)
    for _ in range(4):
        model.partial_fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    for _ in range(15):
        model.partial_fit(X, y)
        copy.partial_fit(X, y)
    assert model.n_iter_ == 20 and model.loss_curve_[-1] < 0.6 * model.loss_curve_[0]
    assert_equal_results(scores_of(model, X), scores_of(copy, X))


# ---- Input and output ---------------------------------------------------------------------------


@each_kind
def test_forms_of_input(kind):
    """An array, its sequences in a list, as an array of objects, and as nested lists are the same."""
    X = np.random.default_rng(0).standard_normal((20, 5, 3))
    y = np.arange(100).reshape(20, 5) % 3 if kind is SequenceTagger else np.arange(20) % 3
    expected = kind(**QUICK).fit(X, y)
    objects = np.empty(20, object)
    objects[:] = list(X)
    for form in (list(X), objects, X.tolist(), tuple(X.astype(">f8")), np.asfortranarray(X)):
        model = kind(**QUICK).fit(form, list(y) if kind is SequenceTagger else list(y))
        assert_equal_results(np.asarray(scores_of(model, form)), np.asarray(scores_of(expected, X)))
    assert expected.n_features_in_ == 3
    assert np.shape(expected.predict(X)) == y.shape
    one_feature = kind(**QUICK).fit(X[:, :, 0], y)
    assert one_feature.n_features_in_ == 1
    assert_equal_results(one_feature.predict(X[:, :, 0]), kind(**QUICK).fit(X[:, :, :1], y).predict(X[:, :, :1]))


@each_kind
def test_results_do_not_depend_on_company(kind):
    """One sequence alone, or among others, longer and shorter, in another order."""
    X = walks(300, longest=30)
    model = kind(**QUICK).fit(X[:40], task(kind, X[:40]))
    whole = scores_of(model, X)
    for i in (0, 7, 299):
        np.testing.assert_array_equal(whole[i], scores_of(model, [X[i]])[0])
    np.testing.assert_array_equal(scores_of(model, X[::-1])[0], whole[-1])


def test_probabilities():
    X = walks(40)
    y = np.arange(40) % 4
    model = SequenceClassifier(**QUICK).fit(X, y)
    p = model.predict_proba(X)
    assert p.shape == (40, 4) and p.dtype == np.float64
    assert_close("sum", p.sum(axis=1), np.ones(40), "forward")
    assert_close("log", np.exp(model.predict_log_proba(X)), p, "forward")
    np.testing.assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    tagger = SequenceTagger(**QUICK).fit(X, task(SequenceTagger, X))
    for x, p, labels in zip(X, tagger.predict_proba(X), tagger.predict(X), strict=True):
        assert p.shape == (len(x), 2) and labels.shape == (len(x),)
        np.testing.assert_array_equal(labels, tagger.classes_[p.argmax(axis=1)])


def test_several_outputs():
    X = walks(60)
    y = np.column_stack([sums(X), -1e6 * sums(X)])
    model = SequenceRegressor(16, cell="gru", epochs=30, random_state=0).fit(X, y)
    assert model.predict(X).shape == (60, 2) and model.n_outputs_ == 2
    assert model.score(X, y) > 0.8
    assert SequenceRegressor(**QUICK).fit(X, y[:, :1]).predict(X).shape == (60, 1)


def test_features_and_targets_may_have_any_size():
    """Standardised: a shift and a factor change next to nothing."""
    X = walks(50)
    y = sums(X)
    plain = SequenceRegressor(**QUICK, dtype="float64").fit(X, y).predict(X)
    large = SequenceRegressor(**QUICK, dtype="float64").fit([1e6 * x - 1e7 for x in X], 1e9 * y).predict([1e6 * x - 1e7 for x in X])
    np.testing.assert_allclose(large / 1e9, plain, rtol=1e-6, atol=1e-6)
    raw = SequenceRegressor(**QUICK, standardize=False).fit(X, y)
    assert not raw.mean_.any() and (raw.scale_ == 1).all() and (raw.target_scale_ == 1).all()


# ---- Weights ------------------------------------------------------------------------------------


@each_kind
def test_weights_of_samples(kind):
    """What counts nothing is as good as absent; a common factor changes nothing that can be seen."""
    X = walks(60)
    y = task(kind, X)
    weights = np.r_[np.ones(40), np.zeros(20)]
    options = {**QUICK, "standardize": False}
    expected = kind(**options).fit(X[:40], y[:40])
    assert_equal_results(scores_of(expected, X), scores_of(kind(**options).fit(X, y, weights), X))
    assert_equal_results(scores_of(expected, X), scores_of(kind(**options).fit(X, y, 4 * weights), X))


def test_weights_of_steps():
    """A step of weight 0 has no label."""
    X, rng = walks(80), np.random.default_rng(0)
    y = [(x[:, 0] > 5).astype(int) for x in X]
    known = [np.r_[1.0, rng.integers(0, 2, len(x) - 1)] for x in X]
    wrong = [np.where(w > 0, labels, 1 - labels) for w, labels in zip(known, y)]
    first, second = (SequenceTagger(16, epochs=40, random_state=0).fit(X, labels, known) for labels in (y, wrong))
    assert_equal_results(first.predict_proba(X), second.predict_proba(X))
    assert first.score(X, y) > 0.9 > 0.7 > first.score(X, wrong)
    assert first.score(X, wrong, known) > 0.9


def test_weights_of_classes():
    X = walks(200)
    y = np.where(np.random.default_rng(0).random(200) < 0.1, "rare", "usual")  # nothing to be learned but the shares
    options = {"hidden_size": 4, "epochs": 20, "weight_decay": 1.0, "random_state": 0}
    plain, balanced, only = (
        SequenceClassifier(class_weight=weights, **options).fit(X, y).predict_proba(X)[:, 0].mean()
        for weights in (None, "balanced", {"rare": 1000.0})
    )
    assert plain < 0.25 and 0.35 < balanced < 0.65 and only > 0.9


# ---- scikit-learn's tools -----------------------------------------------------------------------


def test_tools_of_scikit_learn():
    X = walks(90)
    y = task(SequenceClassifier, X)
    model = make_pipeline(FunctionTransformer(lambda X: [x[:, :1] for x in X]), SequenceClassifier(8, epochs=8, random_state=0))
    scores = cross_val_score(model, X, y, cv=StratifiedKFold(3), scoring="balanced_accuracy")
    assert scores.shape == (3,) and scores.mean() > 0.6
    grid = {"sequenceclassifier__cell": ["gru", "rnn"], "sequenceclassifier__pooling": ["last", "max"]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4 and search.best_score_ > 0.6
    assert search.best_estimator_[-1].n_features_in_ == 1
    assert search.predict(X).shape == (90,)


def test_search_in_processes():
    X = walks(40)
    y = task(SequenceRegressor, X)
    search = GridSearchCV(SequenceRegressor(epochs=2, random_state=0, n_jobs=1), {"hidden_size": [2, 3]}, cv=2, n_jobs=2).fit(X, y)
    alone = GridSearchCV(SequenceRegressor(epochs=2, random_state=0, n_jobs=1), {"hidden_size": [2, 3]}, cv=2).fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


def test_tagger_in_cross_validation():
    """Ragged labels, and an array of them."""
    X = walks(60)
    assert cross_val_score(SequenceTagger(**QUICK), X, task(SequenceTagger, X), cv=3).shape == (3,)
    X = np.random.default_rng(0).standard_normal((30, 4, 1))
    assert cross_val_score(SequenceTagger(**QUICK), X, (X[:, :, 0] > 0).astype(int), cv=3).shape == (3,)


@each_kind
def test_clones_and_pickles(kind):
    X = walks(30)
    model = kind(**QUICK, cell="gru", cell_options={"recurrent_dropout": 0.1}).fit(X, task(kind, X))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
    assert_equal_results(scores_of(pickle.loads(pickle.dumps(model)), X), scores_of(model, X))
    assert is_classifier(model) == (kind is not SequenceRegressor) and is_regressor(model) == (kind is SequenceRegressor)
    model.set_params(hidden_size=3).fit(X, task(kind, X))
    assert model._network.layer.hidden_size == 3


def test_a_bar_on_request(capsys):
    X = walks(40)
    SequenceRegressor(**QUICK).fit(X, sums(X))
    assert capsys.readouterr().err == ""
    SequenceRegressor(**QUICK, progress=True).fit(X, sums(X))
    assert "100%" in capsys.readouterr().err


# ---- Files --------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("load", ["own", "fr.load"])
def test_files(kind, load, tmp_path):
    X = walks(30)
    model = kind(**QUICK, cell="lstm_peephole", bidirectional=True, num_layers=2, cell_options={"skip": "residual"})
    model.fit(X, task(kind, X)).save(tmp_path / "m.safetensors")
    again = (kind.load if load == "own" else fr.load)(tmp_path / "m.safetensors")
    assert type(again) is kind and again.get_params() == model.get_params()
    assert_equal_results(scores_of(again, X), scores_of(model, X))
    assert_equal_results(again.predict(X), model.predict(X))
    assert again.n_iter_ == 2 and again.n_features_in_ == 2
    np.testing.assert_array_equal(again.loss_curve_, model.loss_curve_)
    again.partial_fit(X, task(kind, X))
    assert again.n_iter_ == 3


@pytest.mark.parametrize("labels", [[3, 7], [True, False], [0.0, 2.0], ["a", "bcd"], np.array(["x", "yy"], object)])
def test_labels_in_files(labels, tmp_path):
    X = walks(20)
    weights = {label: 2.0 for label in np.asarray(labels).tolist()}
    model = SequenceClassifier(**{**QUICK, "random_state": np.random.default_rng(0)}, class_weight=weights)
    model.fit(X, np.asarray(labels)[np.arange(20) % 2]).save(tmp_path / "m.safetensors")
    again = SequenceClassifier.load(tmp_path / "m.safetensors")
    assert again.classes_.dtype == model.classes_.dtype and list(again.classes_) == list(model.classes_)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.class_weight == weights and again.random_state is None


def test_other_files_are_refused(tmp_path):
    X, path = walks(20), tmp_path / "m.safetensors"
    SequenceRegressor(**QUICK).fit(X, sums(X)).save(path)
    with pytest.raises(ValueError, match="class"):
        SequenceClassifier.load(path)
    tensors, metadata = read_safetensors(path)
    text = metadata["estimator"]
    wrong = [
        ({"mean_": np.zeros(3)}, {}, "mean_"),
        ({"more": np.zeros(3)}, {}, "more"),
        ({"network.head.weight": np.zeros((2, 3))}, {}, "weight"),
        ({}, {"format": "another"}, "not an estimator"),
        ({}, {"format_version": "7"}, "format_version"),
        ({}, {"estimator": "{"}, "JSON|Expecting"),
        ({}, {"estimator": text.replace("SequenceRegressor", "Popen")}, "class"),
        ({}, {"estimator": text.replace('"hidden_size": 6', '"hidden_size": 600000')}, "parameters"),
        ({}, {"estimator": text.replace('"cell": "lstm"', '"cell": "spam"')}, "cell"),
        ({}, {"estimator": text.replace('"_flat": true', '"_flat": 1')}, "_flat"),
    ]
    for more, other, message in wrong:
        write_safetensors(path, {**tensors, **more}, {**metadata, **other})
        with pytest.raises(ValueError, match=message) as caught:
            SequenceRegressor.load(path)
        assert str(path) in str(caught.value)
    del tensors["scale_"]
    write_safetensors(path, tensors, metadata)
    with pytest.raises(ValueError, match="scale_"):
        SequenceRegressor.load(path)


def test_what_a_file_cannot_hold(tmp_path):
    X, path = walks(20), tmp_path / "m.safetensors"
    with pytest.raises(NotFittedError):
        SequenceClassifier().save(path)
    model = SequenceClassifier(**QUICK).fit(X, np.arange(20) % 2)
    model.classes_ = np.array([b"a", b"b"])
    with pytest.raises(TypeError, match="classes"):
        model.save(path)
    assert not path.exists()


# ---- Bad input ----------------------------------------------------------------------------------

GOOD = {"X": np.zeros((6, 4, 2)), "y": [0, 1] * 3}
BAD = [
    ({"X": []}, {}, ValueError, "X: expected at least one"),
    ({"X": None}, {}, ValueError, "X: expected sequences"),
    ({"X": 3}, {}, TypeError, "X: expected a list"),
    ({"X": "text"}, {}, TypeError, "X: expected a list"),
    ({"X": np.zeros(6)}, {}, ValueError, "X: .*Reshape your data"),
    ({"X": np.zeros((6, 4, 2, 1))}, {}, ValueError, "X: expected"),
    ({"X": np.zeros((6, 0, 2))}, {}, ValueError, "X: expected sequences of shape"),
    ({"X": np.zeros((6, 4, 0))}, {}, ValueError, "X: expected sequences of shape"),
    ({"X": np.zeros((6, 4, 2), complex)}, {}, TypeError, "X: expected an array of real"),
    ({"X": [np.zeros((3, 2))] * 5 + [np.zeros((3, 1))]}, {}, ValueError, r"X\[5\]: expected sequences of shape \(T >= 1, 2\)"),
    ({"X": [np.zeros((3, 2))] * 5 + [np.full((3, 2), np.inf)]}, {}, ValueError, "X: expected finite numbers.* number 5"),
    ({"X": [["a"]] * 6}, {}, TypeError, r"X\[0\]: expected an array of real"),
    ({"y": None}, {}, ValueError, "y: .* target y is None"),
    ({"y": [0, 1]}, {}, ValueError, "y: expected one for each of 6"),
    ({"y": np.linspace(0, 1, 6)}, {}, ValueError, "continuous"),
    ({"sample_weight": np.ones(5)}, {}, ValueError, "sample_weight: expected an array of shape"),
    ({"sample_weight": -np.ones(6)}, {}, ValueError, "sample_weight: expected finite"),
    ({"sample_weight": np.zeros(6)}, {}, ValueError, "sample_weight: expected finite"),
    ({"sample_weight": ["a"] * 6}, {}, TypeError, "sample_weight"),
    ({}, {"hidden_size": 0}, ValueError, "hidden_size"),
    ({}, {"num_layers": 1.5}, TypeError, "num_layers"),
    ({}, {"cell": "spam"}, ValueError, "cell"),
    ({}, {"bidirectional": 1}, TypeError, "bidirectional"),
    ({}, {"pooling": "sum"}, ValueError, "pooling"),
    ({}, {"pooling": None}, TypeError, "pooling"),
    ({}, {"dropout": 2}, ValueError, "dropout"),
    ({}, {"cell_options": {"merge": "sum"}}, ValueError, "cell_options: expected no 'merge'"),
    ({}, {"cell_options": {"peephole": True}, "cell": "lstm_peephole"}, ValueError, "cell_options: expected no 'peephole'"),
    ({}, {"cell_options": "skip"}, TypeError, "cell_options"),
    ({}, {"cell_options": {"skip": "output"}, "bidirectional": True}, ValueError, "pooling"),
    ({}, {"class_weight": {0: 0, 1: 0}}, ValueError, "class_weight"),
    ({}, {"epochs": 0}, ValueError, "epochs"),
    ({}, {"batch_size": 0}, ValueError, "batch_size"),
    ({}, {"learning_rate": 0}, ValueError, "learning_rate"),
    ({}, {"weight_decay": -1}, ValueError, "weight_decay"),
    ({}, {"max_norm": 0}, ValueError, "max_norm"),
    ({}, {"early_stopping": 1}, TypeError, "early_stopping"),
    ({}, {"early_stopping": True, "validation_fraction": 1.0}, ValueError, "validation_fraction"),
    ({}, {"early_stopping": True, "patience": 0}, ValueError, "patience"),
    ({}, {"standardize": None}, TypeError, "standardize"),
    ({}, {"dtype": "int8"}, ValueError, "dtype"),
    ({}, {"random_state": "seed"}, TypeError, "random_state"),
    ({}, {"n_jobs": 0}, ValueError, "n_jobs"),
    ({}, {"n_jobs": 1.5}, TypeError, "n_jobs"),
]


@pytest.mark.parametrize("arguments, options, error, message", BAD)
def test_bad_input(arguments, options, error, message):
    model = SequenceClassifier(**{**QUICK, **options})
    with pytest.raises(error, match=message):
        model.fit(**{**GOOD, **arguments})
    assert not hasattr(model, "classes_")


def test_bad_input_of_taggers_and_regressors():
    X = GOOD["X"]
    for y, error, message in [
        (None, ValueError, "y: .*None"), ([0] * 6, ValueError, r"y\[0\]: expected an array of shape \(4,\)"),
        (np.zeros((5, 4)), ValueError, "y: expected one for each"), ([[0] * 4] * 5 + [[0]], ValueError, r"y\[5\]"),
        (7, TypeError, "y: expected a list"),
    ]:  # fmt: skip
        with pytest.raises(error, match=message):
            SequenceTagger(**QUICK).fit(X, y)
    for weights, message in [([np.ones(4)] * 5, "sample_weight"), ([np.ones(4)] * 5 + [np.ones(3)], r"sample_weight\[5\]")]:
        with pytest.raises(ValueError, match=message):
            SequenceTagger(**QUICK).fit(X, np.zeros((6, 4), int), weights)
    for y, error, message in [
        (None, ValueError, "y: .*None"), (np.zeros((6, 2, 2)), ValueError, "y: expected an array of shape"),
        (np.zeros(5), ValueError, "y: expected one for each"), ([np.nan] * 6, ValueError, "y: expected finite"),
        (["a"] * 6, TypeError, "y: expected an array of real"),
    ]:  # fmt: skip
        with pytest.raises(error, match=message):
            SequenceRegressor(**QUICK).fit(X, y)


def test_bad_input_later():
    X = walks(20)
    model = SequenceClassifier(**QUICK).fit(X, task(SequenceClassifier, X))
    with pytest.raises(ValueError, match=r"X\[0\]: expected sequences of shape \(T >= 1, 2\)"):
        model.predict(walks(3, features=3))
    with pytest.raises(ValueError, match="y: expected labels among .*'sideways'"):
        model.partial_fit(X, ["up"] * 19 + ["sideways"])
    with pytest.raises(ValueError, match="classes: expected those"):
        model.partial_fit(X, ["up"] * 20, classes=["up", "sideways"])
    with pytest.raises(ValueError, match="X.*shape"):
        model.partial_fit(walks(20, features=3), ["up"] * 20)
    with pytest.raises(ValueError, match="classes: expected all classes"):
        SequenceClassifier().partial_fit(X, task(SequenceClassifier, X))
    with pytest.raises(ValueError, match="class_weight"):
        SequenceClassifier(class_weight="balanced").partial_fit(X, task(SequenceClassifier, X), classes=["down", "up"])
    regressor = SequenceRegressor(**QUICK).fit(X, sums(X))
    with pytest.raises(ValueError, match="y: expected 1 columns"):
        regressor.partial_fit(X, np.zeros((20, 2)))


@each_kind
def test_arrays_of_the_caller_stay_as_they_are(kind):
    X = [x.copy() for x in walks(30)]
    y = task(kind, X)
    before = pickle.dumps((X, y))
    kind(**QUICK).fit(X, y).predict(X)
    assert pickle.dumps((X, y)) == before


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger])
def test_the_command_inspect(tmp_path, kind):
    X = walks(20)
    kind(**QUICK).fit(X, task(kind, X)).save(tmp_path / "model.safetensors")
    code, out, err = run_here("inspect", tmp_path / "model.safetensors")
    assert code == 0 and err == ""
    assert f"Model:      {kind.__name__}" in out and "layer.weight_hh_l0" in out and "head.bias" in out
