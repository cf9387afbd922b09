"""``NARXForecaster``: it learns known systems; each kind of forecast from its definition; scikit-learn's tools; files."""

import pickle

import numpy as np
import pytest
from tolerance import assert_same_bits

import fastrnn as fr

sklearn = pytest.importorskip("sklearn")
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score  # noqa: E402

from fastrnn.models import NARXForecaster, SequenceClassifier  # noqa: E402

pytestmark = pytest.mark.interop


def driven(steps=400, seed=0):
    """A nonlinear system with an input: ``y_t = 0.6 y_{t-1} - 0.2 y_{t-2} + tanh(u_t) + 0.5 u_{t-1}``."""
    u = np.random.default_rng(seed).standard_normal((steps, 1))
    y = np.zeros(steps)
    for t in range(2, steps):
        y[t] = 0.6 * y[t - 1] - 0.2 * y[t - 2] + np.tanh(u[t, 0]) + 0.5 * u[t - 1, 0]
    return 50 + 10 * y, u


QUICK = {"epochs": 3, "random_state": 0}


def net(model, past, inputs):
    """One step of a fitted model from its last values (newest last) and the inputs it sees (newest last), unscaled."""
    scaled = (np.asarray(past) - model.target_mean_) / model.target_scale_
    seen = [scaled[::-1].ravel()]
    if inputs is not None:
        seen.append(((np.asarray(inputs) - model.input_mean_) / model.input_scale_)[::-1].ravel())
    z = np.concatenate(seen)
    p = {f"{part}.{name}": a for part, module in model._network.modules.items() for name, a in module.parameters.items()}
    y = p["head.weight"] @ np.tanh(p["hidden.weight"] @ z + p["hidden.bias"]) + p["head.bias"] + p["direct.weight"] @ z
    return y * model.target_scale_ + model.target_mean_


def free_run(model, y, X, first, steps):
    """Forecasts of the steps ``first..first+steps-1`` from what is before them."""
    K, L = model.output_taps, model.input_taps
    known = [row for row in y.reshape(len(y), -1)[:first]]
    for t in range(first, first + steps):
        known.append(net(model, known[-K:], None if X is None else X[t - L + 1 : t + 1]))
    return np.array(known[first:])


@pytest.mark.parametrize("training", ["series-parallel", "closed-loop"])
def test_learns_a_system_with_inputs(training):
    y, u = driven()
    model = NARXForecaster(2, 2, training=training, epochs=60, random_state=0).fit(y[:300], u[:300])
    assert model.score(y[300:], u[300:]) > 0.98
    forecast = model.predict(100, u[300:])
    assert forecast.shape == (100,) and np.std(forecast - y[300:]) < 0.2 * np.std(y)
    assert model.n_features_in_ == 1


def test_closed_loop_training_is_better_at_free_runs():
    """With noise on what is measured, one-step training trusts the last value too much."""
    rng = np.random.default_rng(0)
    y = np.sin(np.arange(500) * 0.3) + 0.3 * rng.standard_normal(500)
    errors = {}
    for training in ("series-parallel", "closed-loop"):
        model = NARXForecaster(3, training=training, rollout=15, epochs=60, hidden_size=8, random_state=0).fit(y[:400])
        errors[training] = np.sqrt(np.nanmean((model.predict_series(y[400:], steps=15) - y[400:]) ** 2))
    assert errors["closed-loop"] < 0.9 * errors["series-parallel"]


@pytest.mark.parametrize("exogenous", [True, False])
@pytest.mark.parametrize("K, L", [(3, 2), (1, 5), (2, 1)])
def test_forecasts_by_their_definition(K, L, exogenous):
    y, u = driven(60)
    u = np.hstack([u, u**2]) if exogenous else None
    model = NARXForecaster(K, L, dtype="float64", **QUICK).fit(y, u)
    first = max(K, L - 1) if exogenous else K
    for k in (1, 2, 5):
        ahead = model.predict_series(y, u, steps=k)
        assert np.isnan(ahead[: first + k - 1]).all() and not np.isnan(ahead[first + k - 1 :]).any()
        for t in (first + k - 1, 30, 59):
            np.testing.assert_allclose(ahead[t], free_run(model, y, u, t - k + 1, k)[-1, 0], rtol=1e-9)
    whole = model.predict_series(y, u, steps=None)
    np.testing.assert_allclose(whole[first:], free_run(model, y, u, first, 60 - first)[:, 0], rtol=1e-9)
    assert np.isnan(whole[:first]).all()


@pytest.mark.parametrize("exogenous", [True, False])
@pytest.mark.parametrize("K, L", [(2, 1), (9, 3)])
def test_the_direct_map_alone_is_linear_regression(K, L, exogenous):
    """Hidden units that say nothing: the map and a constant are those of least squares on the taps, in every kind of forecast."""
    y, u = driven(120)
    model = NARXForecaster(K, L, dtype="float64", standardize=False, **QUICK).fit(y[:80], u[:80] if exogenous else None)
    rows = [np.r_[y[t - K : t][::-1], u[t - L + 1 : t + 1, 0][::-1] if exogenous else [], 1] for t in range(K, 120)]
    weights = np.linalg.lstsq(np.array(rows[: 80 - K]), y[K:80], rcond=None)[0]
    p = {name: module.parameters for name, module in model._network.modules.items()}
    p["head"]["weight"], p["head"]["bias"] = np.zeros((1, 16)), weights[-1:]
    p["direct"]["weight"] = weights[np.newaxis, :-1]
    run = list(y[:80])
    for t in range(80, 120):
        run.append(np.r_[run[: -K - 1 : -1], u[t - L + 1 : t + 1, 0][::-1] if exogenous else [], 1] @ weights)
    inputs, later = (u, u[80:]) if exogenous else (None, None)
    np.testing.assert_allclose(model.predict_series(y, inputs)[K:], np.array(rows) @ weights, rtol=1e-10)
    np.testing.assert_allclose(model.predict(40, later), run[80:], rtol=1e-9)


@pytest.mark.parametrize("exogenous", [True, False])
def test_predict_goes_on(exogenous):
    """After the series of ``fit``, or after another."""
    y, u = driven(80)
    y = np.column_stack([y, -y])  # two outputs
    inputs = (lambda part: u[part]) if exogenous else lambda part: None
    model = NARXForecaster(3, 4, dtype="float64", **QUICK).fit(y[:50], inputs(slice(50)))
    forecast = model.predict(20, inputs(slice(50, 70)))
    expected = free_run(model, y[:50], inputs(slice(70)), 50, 20)
    np.testing.assert_allclose(forecast, expected, rtol=1e-9)
    other = model.predict(10, inputs(slice(70, 80)), y=y[60:70], past_X=inputs(slice(60, 70)))
    np.testing.assert_allclose(other, free_run(model, y[:70], inputs(slice(80)), 70, 10), rtol=1e-9)
    assert_same_bits("first", model.predict(1, inputs(slice(50, 51))), forecast[:1])


def test_early_stopping_holds_out_the_end():
    y, u = driven(200)
    wild = np.r_[y[:150], np.random.default_rng(0).standard_normal(50) * 100]
    options = {"early_stopping": True, "validation_fraction": 0.25, "patience": 3, "epochs": 100, "random_state": 0}
    calm = NARXForecaster(2, 2, standardize=False, learning_rate=0.003, **options).fit(y / 50, u)
    other = NARXForecaster(2, 2, standardize=False, learning_rate=0.003, **options).fit(wild / 50, u)
    assert calm.loss_curve_[0] == other.loss_curve_[0]  # the end is not trained on
    assert calm.validation_curve_[0] != other.validation_curve_[0]
    assert len(calm.validation_curve_) == calm.n_iter_


def test_the_same_seed_gives_the_same_bits():
    y, u = driven(100)
    options = {"training": "closed-loop", "rollout": 4, "epochs": 4}
    first, second, other = (NARXForecaster(random_state=s, **options).fit(y, u).predict_series(y, u) for s in (0, 0, 1))
    assert_same_bits("forecast", first, second)
    assert not np.array_equal(first, other, equal_nan=True)


def test_tools_of_scikit_learn():
    """They cut the series, and its inputs, in time."""
    y, u = driven(200)
    scores = cross_val_score(NARXForecaster(2, 2, epochs=40, random_state=0), y, u, cv=TimeSeriesSplit(3))
    assert scores.shape == (3,) and scores[-1] > 0.9
    search = GridSearchCV(NARXForecaster(epochs=5, random_state=0), {"output_taps": [2, 3]}, cv=TimeSeriesSplit(2)).fit(y)
    assert set(search.best_params_) == {"output_taps"} and search.best_estimator_.predict(3).shape == (3,)


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("exogenous", [True, False])
@pytest.mark.parametrize("L", [1, 3])
def test_files_and_pickles(exogenous, L, linear, tmp_path):
    y, u = driven(60)
    u, later = (u, u[:5]) if exogenous else (None, None)
    model = NARXForecaster(3, L, dtype=np.float64, linear=linear, **QUICK).fit(y, u)
    model.save(tmp_path / "m.safetensors")
    for again in (NARXForecaster.load(tmp_path / "m.safetensors"), fr.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
        assert_same_bits("forecast", again.predict(5, later), model.predict(5, later))
        assert_same_bits("series", again.predict_series(y, u), model.predict_series(y, u))
        assert again.n_features_in_ == (1 if exogenous else 0) and again.n_iter_ == 3
        assert again.linear is linear
    with pytest.raises(ValueError, match="class"):
        SequenceClassifier.load(tmp_path / "m.safetensors")


Y, U = np.arange(30.0), np.ones((30, 2))
BAD = [
    ({"y": None}, {}, ValueError, "y: .*None"),
    ({"y": Y[:4]}, {}, ValueError, "y: expected at least 6 steps, got 4"),
    ({"y": Y[:10]}, {"training": "closed-loop", "rollout": 8}, ValueError, "y: expected at least 13 steps"),
    ({"y": np.zeros((30, 1, 1))}, {}, ValueError, "y: expected an array of shape"),
    ({"y": np.full(30, np.nan)}, {}, ValueError, "y: expected finite"),
    ({"y": ["a"] * 30}, {}, TypeError, "y: expected an array of real"),
    ({"X": U[:29]}, {}, ValueError, r"X: expected an array of shape \(30, F\)"),
    ({"X": np.full((30, 1), np.inf)}, {}, ValueError, "X: expected finite"),
    ({}, {"output_taps": 0}, ValueError, "output_taps"),
    ({}, {"input_taps": 1.5}, TypeError, "input_taps"),
    ({}, {"training": "open"}, ValueError, "training"),
    ({}, {"training": "closed-loop", "rollout": 0}, ValueError, "rollout"),
    ({}, {"hidden_size": 0}, ValueError, "hidden_size"),
    ({}, {"linear": 1}, TypeError, "linear"),
    ({}, {"dtype": "int8"}, ValueError, "dtype"),
    ({}, {"learning_rate": -1}, ValueError, "learning_rate"),
    ({}, {"early_stopping": True, "validation_fraction": 0.99}, ValueError, "y: expected at least"),
]


@pytest.mark.parametrize("arguments, options, error, message", BAD)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message):
        NARXForecaster(**options).fit(**{"y": Y, **arguments})


def test_bad_input_later():
    with pytest.raises(NotFittedError):
        NARXForecaster().predict(3)
    model, alone = NARXForecaster(**QUICK).fit(Y, U), NARXForecaster(**QUICK).fit(Y)
    for call, error, message in [
        (lambda: model.predict(0, U[:0]), ValueError, "horizon"),
        (lambda: model.predict(2.5, U[:2]), TypeError, "horizon"),
        (lambda: model.predict(3), ValueError, r"X: expected an array of shape \(3, 2\), got None"),
        (lambda: model.predict(3, U[:2]), ValueError, r"X: expected an array of shape \(3, 2\)"),
        (lambda: model.predict(3, U[:3], y=Y), ValueError, "past_X: expected an array"),
        (lambda: model.predict(3, U[:3], y=Y[:3], past_X=U[:3]), ValueError, "y: expected at least 4 steps"),
        (lambda: alone.predict(3, U[:3]), ValueError, "X: expected None"),
        (lambda: alone.predict_series(np.zeros((30, 2))), ValueError, "y: expected 1 columns"),
        (lambda: alone.predict_series(Y, steps=0), ValueError, "steps"),
        (lambda: alone.predict_series(Y[:6], steps=3), ValueError, "y: expected at least 7 steps"),
    ]:
        with pytest.raises(error, match=message):
            call()
