"""The examples of real data, with fewer epochs and nets than they have; and what they are made of."""

import numpy as np
import pytest
from examples import drawn, example

pytest.importorskip("sklearn")

pytestmark = pytest.mark.interop


def test_digits(tmp_path):
    picture = tmp_path / "digits.png"
    figures = example("digits").run(0, picture, train=600, nets=1, hidden_size=32, epochs=6)
    assert figures["median"] == figures["net 1"] > 0.9
    assert drawn(picture)


def test_shifted_digits():
    """By one pixel each way; what leaves is gone, what comes in is empty."""
    digits = example("digits")
    images = np.arange(1.0, 129).reshape(2, 8, 8)
    same, up, down, left, right = digits.shifted(images).reshape(5, 2, 8, 8)
    assert (same == images).all()
    assert (up[:, :-1] == images[:, 1:]).all() and not up[:, -1].any()
    assert (down[:, 1:] == images[:, :-1]).all() and not down[:, 0].any()
    assert (left[:, :, :-1] == images[:, :, 1:]).all() and not left[:, :, -1].any()
    assert (right[:, :, 1:] == images[:, :, :-1]).all() and not right[:, :, 0].any()


def test_japanese_vowels(tmp_path):
    pytest.importorskip("sktime")
    vowels, picture = example("japanese_vowels"), tmp_path / "vowels.png"
    grid = {"hidden_size": [16], "cell_options": [{"recurrent_dropout": 0.1}]}
    figures = vowels.run(0, picture, nets=1, grid=grid, folds=2, epochs=10)
    assert figures["median"] == figures["net 1"] > 0.9
    assert drawn(picture)
    frames, speakers = vowels.utterances("test")
    assert len(frames) == len(speakers) == 370 and len(set(speakers)) == 9
    assert {x.shape[1] for x in frames} == {12} and 7 <= min(map(len, frames)) <= max(map(len, frames)) == 29


def test_sunspots(tmp_path):
    pytest.importorskip("statsmodels")
    sunspots, picture = example("sunspots"), tmp_path / "sunspots.png"
    grid = {"output_taps": [9], "epochs": [20, 60]}
    figures = sunspots.run(0, picture, nets=2, grid=grid, folds=2)
    assert figures["one step, NARX"] < figures["one step, persistence"]
    assert figures["one step, the better AR"] == min(figures["one step, AR"], figures["one step, AR of roots"])
    assert figures["one step, NARX"] < figures["one step, AR"] < 0.7 * figures["one step, persistence"]
    assert drawn(picture)


def test_autoregression_by_least_squares():
    """Order by Akaike's criterion, forecasts one step ahead and in a free run: all of it by ``lstsq``."""
    pytest.importorskip("statsmodels")
    rng, known = np.random.default_rng(0), 150
    series = list(rng.standard_normal(3))
    while len(series) < 200:
        series.append(0.7 + 1.1 * series[-1] - 0.9 * series[-2] + 0.4 * series[-3] + rng.standard_normal())
    series = np.array(series)

    def seen(order):  # 1, y_{t-1}, ..., y_{t-order}, of the steps from ``order`` on
        return np.column_stack([np.ones(200 - order)] + [series[order - k : 200 - k] for k in range(1, order + 1)])

    def fit(order, first):
        x, y = seen(order)[first - order : known - order], series[first:known]
        weights = np.linalg.lstsq(x, y, rcond=None)[0]
        return weights, len(y) * np.log(np.mean((y - x @ weights) ** 2)) + 2 * order

    order = min(range(21), key=lambda order: fit(order, 20)[1])
    weights, _ = fit(order, order)
    one_step, free = example("sunspots").autoregression(series, known)
    assert order >= 3 and one_step == pytest.approx(seen(order)[known - order :] @ weights, rel=1e-8)
    run = list(series[:known])
    for _ in range(50):
        run.append(weights @ [1, *run[: -order - 1 : -1]])
    assert free == pytest.approx(run[known:], rel=1e-8)


def test_networks_of_sunspots_are_a_mean():
    """One step ahead of what each says; a free run of one network is its own, of two goes on from what both said."""
    pytest.importorskip("statsmodels")
    sunspots = example("sunspots")
    series = np.sin(np.arange(60) * 0.6)
    models = sunspots.fitted(series[:40], [0, 1], {"output_taps": 3, "epochs": 2})
    alone = [sunspots.one_step([model], series, 40) for model in models]
    both = sunspots.one_step(models, series, 40)
    assert len(both) == 20 and (alone[0] != alone[1]).all() and both == pytest.approx((alone[0] + alone[1]) / 2, rel=1e-12)
    assert sunspots.free_run(models[:1], series[:40], 20) == pytest.approx(models[0].predict(20), rel=1e-5, abs=1e-5)
    run = sunspots.free_run(models, series[:40], 2)
    assert run[0] == both[0]
    assert run[1] == np.mean([model.predict_series([*series[:40], run[0], 0.0])[-1] for model in models])
