"""``Seq2Seq`` and ``CTCRecognizer`` as scikit-learn sees them: cloned, pickled, searched, saved; what they learn."""

import pickle

import numpy as np
import pytest

import fastrnn as fr

pytest.importorskip("sklearn")

from sklearn.base import clone, is_classifier, is_regressor  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402

from fastrnn.models import CTCRecognizer, Seq2Seq  # noqa: E402

pytestmark = pytest.mark.interop


def words(count=120, seed=0):
    rng = np.random.default_rng(seed)
    X = ["".join(rng.choice(list("abc"), rng.integers(1, 5))) for _ in range(count)]
    return X, [word.upper() for word in X]


def frames(count=60, seed=0):
    rng = np.random.default_rng(seed)
    y = ["".join(rng.choice(list("ab"), rng.integers(1, 4))) for _ in range(count)]
    X = [np.eye(3)[[i for c in word for i in (*rng.integers(1, 4) * ["ab".index(c)], 2)]] for word in y]
    return [x + 0.1 * rng.standard_normal(x.shape) for x in X], y


def small(kind, **options):
    return kind(8, **{"epochs": 2, "random_state": 0, **options})


CASES = {"seq2seq": (Seq2Seq, words), "luong": (lambda *a, **k: Seq2Seq(*a, attention="luong", **k), words),
         "bahdanau": (lambda *a, **k: Seq2Seq(*a, attention="bahdanau", bidirectional=True, **k), words),
         "frames": (lambda *a, **k: Seq2Seq(*a, cell="gru", **k), frames), "ctc": (CTCRecognizer, frames)}  # fmt: skip
EVERY = pytest.mark.parametrize("name", CASES)


def fitted(name, **options):
    kind, data = CASES[name]
    X, y = data()
    return small(kind, **options).fit(X, y), X, y


@EVERY
def test_parameters_and_clones(name):
    kind, _ = CASES[name]
    model = small(kind, learning_rate=0.02)
    assert model.get_params()["learning_rate"] == 0.02 and model.get_params()["hidden_size"] == 8
    again = clone(model).set_params(epochs=3)
    assert again.epochs == 3 and model.epochs == 2 and "epochs=2" in repr(model)
    with pytest.raises(NotFittedError):
        again.predict([])
    with pytest.raises(ValueError, match="epoch"):
        model.set_params(epoch=3)


@EVERY
def test_same_seed_same_bits_pickled_and_saved(name, tmp_path):
    model, X, y = fitted(name)
    other, *_ = fitted(name)
    for part, module in model._network.modules.items():
        for parameter, array in module.parameters.items():
            assert np.array_equal(array, other._network.modules[part].parameters[parameter]), (part, parameter)
    model.save(tmp_path / "model.safetensors")
    for again in (pickle.loads(pickle.dumps(model)), type(model).load(tmp_path / "model.safetensors"),
                  fr.load(tmp_path / "model.safetensors")):  # fmt: skip
        assert again.predict(X) == model.predict(X) and again.score(X, y) == model.score(X, y)
        assert again.get_params() == model.get_params()


@EVERY
def test_fitting_again_begins_anew_and_arguments_stay(name):
    model, X, y = fitted(name)
    first = model.predict(X)
    before = model.get_params()
    assert model.fit(X, y) is model and model.predict(X) == first and model.get_params() == before


@EVERY
def test_search_and_cross_validation(name):
    kind, data = CASES[name]
    X, y = data()
    scores = cross_val_score(small(kind), X, y, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()
    search = GridSearchCV(small(kind), {"hidden_size": [4, 8]}, cv=2).fit(X, y)
    assert search.best_params_["hidden_size"] in (4, 8) and search.predict(X[:2])
    assert not is_classifier(small(kind)) and not is_regressor(small(kind))


@EVERY
def test_early_stopping(name):
    model, *_ = fitted(name, early_stopping=True, validation_fraction=0.2, epochs=4, n_jobs=1)
    assert model.n_iter_ <= 4 and len(model.validation_curve_) == len(model.loss_curve_)


@pytest.mark.parametrize("attention", [None, "luong", "bahdanau"])
def test_it_learns_to_copy(attention):
    X, y = words(400)
    model = Seq2Seq(24, attention=attention, epochs=30, random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.9
    beam = clone(model).set_params(beam_width=3).fit(X[:300], y[:300])
    assert beam.score(X[300:], y[300:]) >= model.score(X[300:], y[300:]) - 0.02
    assert model.predict(["abc"]) == ["ABC"] and model.set_params(max_length=2).predict(["abc"]) == ["AB"]


def test_attend():
    X, y = words()
    model = small(Seq2Seq, attention="luong").fit(X, y)
    written, maps = model.attend(X[:7])
    assert written == model.predict(X[:7])
    for word, x, weights in zip(written, X, maps):
        assert weights.shape == (len(word), len(x)) and np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="attention: .*None"):
        small(Seq2Seq).fit(X, y).attend(X)


def test_vectors_lists_and_integers():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 200)
    X = np.eye(3)[kinds] + 0.1 * rng.standard_normal((200, 3))
    y = [[7, 7, 8][: k + 1] for k in kinds]
    model = Seq2Seq(16, epochs=20, random_state=0).fit(X, y)
    assert model.inputs_ == "vector" and model.score(X, y) > 0.95 and model.predict(X[:1]) == [y[0]]
    tokens = [[int(k), 3] for k in kinds]
    model = Seq2Seq(16, epochs=20, random_state=0).fit(tokens, y)
    assert model.inputs_ == "tokens" and model.score(tokens, y) > 0.95
    assert len(model.predict([[99, 3]])) == 1  # what fit has not seen


def test_the_recogniser_learns():
    X, y = frames(200)
    model = CTCRecognizer(16, epochs=15, random_state=0).fit(X[:150], y[:150])
    assert model.score(X[150:], y[150:]) > 0.95
    assert model.score(X[150:], y[150:]) == 1 - model.label_error_rate(X[150:], y[150:])
    beam = model.set_params(decoding="beam").predict(X[150:])
    assert fr.ctc.label_error_rate(beam, y[150:]) < 0.05
    for x, p in zip(X, model.predict_proba(X)):
        assert p.shape == (len(x), 3) and np.allclose(p.sum(axis=1), 1)
    lists = CTCRecognizer(8, epochs=2, random_state=0).fit(X, [[ord(c) for c in word] for word in y])
    assert isinstance(lists.predict(X[:1])[0], list) and lists.classes_.tolist() == [97, 98]


def bad(kind, X, y, **options):
    return lambda: small(kind, **options).fit(X, y)


F = [np.zeros((4, 2))]
BAD = {
    "y None": (bad(Seq2Seq, ["a"], None), ValueError, "y: .*None"),
    "not as many": (bad(Seq2Seq, ["a", "b"], ["a"]), ValueError, "y: .*2 sequences.*1"),
    "an empty word": (bad(Seq2Seq, ["a", ""], ["a", "b"]), ValueError, r"X\[1\]: .*at least one token"),
    "nothing": (bad(Seq2Seq, [], []), ValueError, "X: .*none"),
    "nothing to write": (bad(Seq2Seq, ["a"], [""]), ValueError, "y: .*at least one label"),
    "mixed labels": (bad(Seq2Seq, ["a"], [["a", 1]]), TypeError, "y: .*all strings or all integers.*both"),
    "floats as labels": (bad(Seq2Seq, ["a"], [[1.5]]), TypeError, "y: .*1.5"),
    "inputs": (bad(Seq2Seq, ["a"], ["a"], inputs="words"), ValueError, "inputs: .*'words'"),
    "attention": (bad(Seq2Seq, ["a"], ["a"], attention="yes"), ValueError, "attention: .*'yes'"),
    "beam": (bad(Seq2Seq, ["a"], ["a"], beam_width=0), ValueError, "beam_width: .*0"),
    "max_length": (bad(Seq2Seq, ["a"], ["a"], max_length=0), ValueError, "max_length: .*0"),
    "NaN": (bad(Seq2Seq, [np.full((3, 2), np.nan)], ["a"]), ValueError, "X: .*NaN"),
    "one sequence": (bad(CTCRecognizer, np.zeros(3), ["a"]), ValueError, r"X: .*\(N, T, F\)"),
    "too short": (bad(CTCRecognizer, F, ["abcde"]), ValueError, r"y\[0\]: .*4 steps, got 5 that need 5"),
    "no step between": (bad(CTCRecognizer, F, ["aab" "b"]), ValueError, r"y\[0\]: .*4 steps, got 4 that need 6"),
    "decoding": (bad(CTCRecognizer, F, ["ab"], decoding="best"), ValueError, "decoding: .*'best'"),
    "y a number": (bad(CTCRecognizer, F, [3]), TypeError, r"y\[0\]: .*3"),
    "n_jobs": (bad(CTCRecognizer, F, ["a"], n_jobs=0), ValueError, "n_jobs: .*0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, text = BAD[name]
    with pytest.raises(error, match=text):
        call()


def test_other_features_than_those_of_fit():
    model, X, y = fitted("ctc")
    with pytest.raises(ValueError, match=r"X\[0\]: .*3.*\(4, 2\)"):
        model.predict([np.zeros((4, 2))])
    model, X, y = fitted("frames")
    with pytest.raises(ValueError, match=r"X\[0\]: .*3.*\(4, 2\)"):
        model.predict([np.zeros((4, 2))])
