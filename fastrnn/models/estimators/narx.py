"""``NARXForecaster``. Imports numpy, scikit-learn, ``delay``, the losses, ``_validate`` and the base.

    Windows           pieces of a series, for a Trainer
    NARXForecaster    the estimator
"""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from ... import _validate
from ...delay import delay
from ...losses import mse_loss
from ...training import Batch, Source
from .base import Estimator, documented, moments, standardized
from ..networks import NarxNetwork

TRAINING = ("series-parallel", "closed-loop")


def first_step(K, L, exogenous):
    """The first step of a series that has enough before it: K of its own, and L - 1 of exogenous inputs, if there are any."""
    return max(K, L - 1) if exogenous else K


class Windows(Source):
    """What a ``NarxNetwork`` is trained on: ``steps`` steps of a series from many beginnings.

    Parameters
    ----------
    series : tuple of ndarray
        ``history (T, K*O)``, ``drive (T, D)``, ``target (T, O)``: what each step sees, and what follows.
    starts : ndarray of int
        Where the windows begin.
    steps, batch_size : int
    shuffle : bool
    """

    unit = "windows"

    def __init__(self, series, starts, steps, batch_size, shuffle=True):
        self._history, self._drive, self._target = series
        self._starts, self._steps, self._batch_size = starts, np.arange(steps)[:, np.newaxis], batch_size
        self._shuffle, self._seed = shuffle, 0

    def seed(self, rng):
        self._seed = int(rng.integers(2**63))

    def __len__(self):
        return -(-len(self._starts) // self._batch_size)

    def batch(self, step):
        epoch, number = divmod(step, len(self))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._starts)) if self._shuffle else None
        chosen = slice(number * self._batch_size, (number + 1) * self._batch_size)
        starts = self._starts[chosen if order is None else order[chosen]]
        at = starts + self._steps  # (R, B)
        return Batch((self._history[starts], self._drive[at]), self._target[at], size=len(starts))


@documented
class NARXForecaster(RegressorMixin, Estimator):
    """What a series does next, from its last K steps and the last L of other series: a NARX network (Lin et al. 1996).

    ``y_t = f(y_{t-1}, ..., y_{t-K}, u_t, ..., u_{t-L+1})``, f a layer of tanh units, with ``linear`` beside it a direct
    map of all it sees. Series-parallel training lets every step see what was measured; closed-loop training runs ``rollout``
    steps on the network's own outputs, as a forecast does, and sends gradients back through all of them.

    Parameters
    ----------
    output_taps, input_taps : int
        K and L; L says nothing where there are no exogenous inputs.
    hidden_size : int
    linear : bool
        The direct map: the skip-layer connections of Ripley 1996, the linear part of an AR-NN (Medeiros, Teräsvirta and Rech
        2006). Far from all that was learned from, where tanh units no longer change, forecasts go on along it. It is trained
        with the rest; ``weight_decay`` pulls it to 0 too.
    training : "series-parallel" or "closed-loop"
    rollout : int
        Steps of closed-loop training.
    {common}

    Attributes
    ----------
    n_features_in_, n_outputs_ : int
        How many exogenous inputs there are, O.
    {shared}

    Notes
    -----
    A series is the first argument, ``y (T,)`` or ``(T, O)``, the exogenous inputs ``X (T, F)`` of the same steps the second:
    so scikit-learn's ``TimeSeriesSplit``, ``cross_val_score`` and ``GridSearchCV`` cut both in time. What is held out for
    early stopping is the end of the series.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> y = np.sin(np.arange(300) * 0.2)
    >>> model = fr.models.NARXForecaster(output_taps=4, epochs=30, random_state=0).fit(y[:250])
    >>> forecast = model.predict(50)  # the steps after the series that was learned from
    >>> forecast.shape, bool(abs(forecast - y[250:]).max() < 0.2)
    ((50,), True)
    >>> model.score(y[250:]) > 0.99  # one step ahead
    True
    """

    _network_class = NarxNetwork
    _arrays = ("loss_curve_", "validation_curve_", "target_mean_", "target_scale_", "input_mean_", "input_scale_",
               "last_y_", "last_X_")  # fmt: skip
    _values = ("n_features_in_", "_flat", "_taps")

    def __init__(self, output_taps=4, input_taps=4, *, hidden_size=16, linear=True, training="series-parallel", rollout=8,
                 epochs=100, batch_size=32, learning_rate=0.01, weight_decay=0.0, max_norm=1.0, early_stopping=False,
                 validation_fraction=0.1, patience=10, standardize=True, dtype="float32", random_state=None, n_jobs=None,
                 progress=False):  # fmt: skip
        self._keep(locals())

    def fit(self, y, X=None):
        """Train anew on one series.

        Parameters
        ----------
        y : array_like
            ``(T,)`` or ``(T, O)``.
        X : array_like, optional
            ``(T, F)``: exogenous inputs.

        Returns
        -------
        NARXForecaster
            Itself.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, or a series that is too short.
        TrainingDiverged
            If the loss or a gradient is no finite number any more.
        """
        K = _validate.positive_int(self.output_taps, "output_taps")
        L = _validate.positive_int(self.input_taps, "input_taps")
        closed = _validate.one_of(self.training, "training", TRAINING) == "closed-loop"
        steps = _validate.positive_int(self.rollout, "rollout") if closed else 1
        first = first_step(K, L, X is not None)
        y, X, flat = _validate.forecast_series(y, X, first + steps + 1)
        self._checked_run()
        features, outputs = 0 if X is None else X.shape[1], y.shape[1]
        sizes = {"hidden_size": _validate.positive_int(self.hidden_size, "hidden_size"),
                 "linear": _validate.boolean(self.linear, "linear"), "dtype": _validate.float_dtype(self.dtype)}  # fmt: skip
        self._begin(lambda rng: NarxNetwork(outputs, K, features * L, rng=rng, **sizes))
        self.n_features_in_, self.n_outputs_, self._flat, self._taps = features, outputs, flat, [K, L]
        self.target_mean_, self.target_scale_ = moments(y, self.standardize)
        self.input_mean_, self.input_scale_ = moments(np.zeros((1, 0)) if X is None else X, self.standardize)
        self.last_y_, self.last_X_ = y[len(y) - K :], None if X is None else X[len(X) - (L - 1) :]
        self._train(y, X, first, steps)
        return self

    def _train(self, y, X, first, steps):
        series = (*self._seen(y, X), self._scaled(y))
        starts, valid = np.arange(first, len(y) - steps + 1), None
        if self.early_stopping:
            begin = len(y) - max(steps, round(self.validation_fraction * (len(y) - first)))
            _validate.long_enough(begin - first, "y", 1, steps)
            valid = Windows(series, starts[starts >= begin], steps, self.batch_size, shuffle=False)
            starts = starts[starts + steps <= begin]
        self._run(Windows(series, starts, steps, self.batch_size), valid, mse_loss)

    def _fitted_shapes(self):
        config, features = self._network.config, _validate.integer(self.n_features_in_, "n_features_in_", minimum=0)
        K, L = (_validate.positive_int(taps, "_taps") for taps in self._taps)
        _validate.boolean(self._flat, "_flat")
        _validate.same([K, features * L], [config["taps"], config["drive"]], "taps")
        self.n_outputs_ = config["outputs"]
        shapes = dict.fromkeys(("target_mean_", "target_scale_"), (self.n_outputs_,))
        shapes |= dict.fromkeys(("input_mean_", "input_scale_"), (features,)) | {"last_y_": (K, self.n_outputs_)}
        return shapes | {"last_X_": (L - 1, features)} if features else shapes

    def _scaled(self, y):
        return standardized(y, self.target_mean_, self.target_scale_, self._network.dtype)

    def _seen(self, y, X):
        """What every step sees: ``history (T, K*O)``, newest first, and ``drive (T, L*F)``; zeros before the start."""
        history = delay(self._scaled(y), range(1, self._taps[0] + 1))
        return history, np.zeros((len(y), 0), self._network.dtype) if X is None else self._drive(X)

    def _drive(self, X):
        return delay(standardized(X, self.input_mean_, self.input_scale_, self._network.dtype), range(self._taps[1]))

    def _first(self):
        """The first step of a series that has enough before it, as in ``fit``."""
        return first_step(*self._taps, self.n_features_in_)

    def _unscaled(self, outputs):
        values = outputs * self.target_scale_ + self.target_mean_
        return values[..., 0] if self._flat else values

    def _run_from(self, history, drive):
        with self._threads():
            return self._network((history, drive))

    def predict(self, horizon, X=None, *, y=None, past_X=None):
        """The steps after a series: a free run, in which forecasts take the place of what is not known yet.

        Parameters
        ----------
        horizon : int
            R, how many.
        X : array_like, optional
            ``(R, F)``: the exogenous inputs of these steps, if there are any.
        y, past_X : array_like, optional
            The series that is to go on, at least K steps, and its exogenous inputs, as many; by default that of ``fit``.

        Returns
        -------
        ndarray
            ``(R,)`` or ``(R, O)``, float64.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit.
        """
        check_is_fitted(self)
        horizon = _validate.positive_int(horizon, "horizon")
        X = _validate.exogenous(X, horizon, self.n_features_in_)
        K, L = self._taps
        past, past_inputs = self.last_y_, self.last_X_
        if y is not None:
            past, past_inputs = self._series(y, past_X, self._first(), "past_X")
        drive = np.zeros((horizon, 0), self._network.dtype)
        if X is not None:  # what its steps see of it and of what was before
            drive = self._drive(np.concatenate([past_inputs[len(past_inputs) - (L - 1) :], X]))[L - 1 :]
        newest_first = self._scaled(past)[::-1][:K].reshape(1, -1)
        return self._unscaled(self._run_from(newest_first, drive[:, np.newaxis])[:, 0])

    def predict_series(self, y, X=None, *, steps=1):
        """Forecasts for the steps of a series, each from what was known some steps before.

        Parameters
        ----------
        y : array_like
            ``(T,)`` or ``(T, O)``.
        X : array_like, optional
            ``(T, F)``: exogenous inputs; known up to the step forecast.
        steps : int or None
            k: entry t is forecast from ``y[: t - k + 1]``, the steps between by forecasts; 1 is one step ahead. None: a
            free run from the first steps on, which sees no more of ``y``.

        Returns
        -------
        ndarray
            Like ``y``, float64, NaN for the steps that have too few before them.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit.

        Examples
        --------
        >>> import numpy as np, fastrnn as fr
        >>> y = np.sin(np.arange(100) * 0.3)
        >>> model = fr.models.NARXForecaster(output_taps=3, epochs=5, random_state=0).fit(y)
        >>> ahead = model.predict_series(y, steps=5)
        >>> ahead.shape, int(np.isnan(ahead).sum())
        ((100,), 7)
        """
        check_is_fitted(self)
        first = self._first()
        steps = None if steps is None else _validate.positive_int(steps, "steps")
        y, X = self._series(y, X, first + (steps or 1))
        history, drive = self._seen(y, X)
        forecast = np.full(y.shape, np.nan)
        if steps is None:
            forecast[first:] = self._run_from(history[first : first + 1], drive[first:, np.newaxis])[:, 0]
        else:
            starts = np.arange(first, len(y) - steps + 1)
            outputs = self._run_from(history[starts], drive[starts + np.arange(steps)[:, np.newaxis]])
            forecast[first + steps - 1 :] = outputs[-1]
        return self._unscaled(forecast)

    def score(self, y, X=None):
        """The coefficient of determination R² of forecasts one step ahead, over the steps that have enough before them."""
        forecast = self.predict_series(y, X)
        known = ~np.isnan(forecast.reshape(len(forecast), -1)[:, 0])
        return r2_score(np.asarray(y)[known], forecast[known])

    def _series(self, y, X, steps, name="X"):
        y, _, _ = _validate.forecast_series(y, None, steps)
        _validate.same_outputs(y, self.n_outputs_)
        return y, _validate.exogenous(X, len(y), self.n_features_in_, name)
