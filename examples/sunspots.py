"""Sunspots: a NARX network forecasts them, beside autoregression.

    python examples/sunspots.py [seed] [picture]

The yearly numbers from 1700 on; the years up to 1920 are learned from, those from 1921 to 2008 are the test. Five networks
see the square roots of the last years; how many years, and how the networks are trained, is chosen by cross-validation in
time of the years up to 1920. The forecast is the mean of the five, squared. Autoregression, its order chosen by Akaike's
criterion on the same years, has the numbers or their square roots. Reported are root mean squared errors: of forecasts one
year ahead, each from what was measured until then, and of a free run, in which the 88 years after 1920 are forecast from
what was known in 1920; beside it those of persistence (1920 again and again) and of the last eleven years repeated.

Sources: Box and Jenkins 1970 (autoregression of these numbers); Lin et al. 1996 (NARX networks). The data come with
statsmodels.
"""

import sys

import numpy as np
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from statsmodels.datasets import sunspots
from statsmodels.tsa.ar_model import AutoReg, ar_select_order

from fastrnn.models import NARXForecaster

TARGETS = {"one step, NARX / the better AR": "< 1"}
LAST, CYCLE = 1920, 11
GRID = {"output_taps": [9, 12], "hidden_size": [4, 8], "weight_decay": [0.0, 0.1]}


def squared(roots):
    """Numbers of sunspots, none below 0."""
    return np.maximum(roots, 0) ** 2


def rmse(forecast, truth):
    return float(np.sqrt(np.mean((forecast - truth) ** 2)))


def autoregression(series, known):
    """Forecasts of all after the first ``known``: one step ahead, and a free run."""
    order = ar_select_order(series[:known], maxlag=20, ic="aic").ar_lags
    fitted = AutoReg(series[:known], order).fit()
    one_step = AutoReg(series, order).predict(fitted.params, known, len(series) - 1)
    return one_step, fitted.forecast(len(series) - known)


def networks(series, known, seeds, options):
    """The same, by the mean of networks."""
    models = [NARXForecaster(random_state=seed, **options).fit(series[:known]) for seed in seeds]
    one_step = np.mean([model.predict_series(series)[known:] for model in models], axis=0)
    run = list(series[:known])
    while len(run) < len(series):  # what all of them say is what each sees next
        run.append(np.mean([model.predict(1, y=run)[0] for model in models]))
    return one_step, np.array(run[known:])
