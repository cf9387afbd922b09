"""Schedules of an optimiser's learning rate: ``StepLR, CosineLR, WarmupLR, ReduceOnPlateau``.

A schedule is made from an optimiser, whose learning rate it sets at once and, at each ``step()``, anew: after
every step of the optimiser, or after every epoch, as its lengths are counted in. The rate at the start, ``base``,
is the optimiser's own when the schedule is made.

Imports ``_validate`` and ``optimizers``.
"""

import math

from .. import _validate
from .optimizers import Optimizer


class Schedule:
    """What the schedules share: an optimiser, numbers, a state.

    A subclass gives its numbers to ``__init__`` and computes a rate in ``lr_at``.

    Attributes
    ----------
    optimizer : Optimizer
    taken : int
        How often ``step`` was called.
    """

    def __init__(self, optimizer, **numbers):
        self.optimizer = _validate.instance(optimizer, Optimizer, "optimizer", "an optimiser")
        self._set(_validate.schedule_numbers(numbers))
        self._names = (*numbers, "taken", "base_lr")
        self.taken, self.base_lr = 0, optimizer.lr
        optimizer.lr = self.lr_at(0)

    def _set(self, numbers):
        for name, value in numbers.items():
            setattr(self, name, value)

    def lr_at(self, n):
        """The learning rate after ``n`` steps, n = 0, 1, ..."""
        raise NotImplementedError

    def step(self):
        """Count a step and set the optimiser's learning rate."""
        self.taken += 1
        self.optimizer.lr = self.lr_at(self.taken)

    def state_dict(self):
        """The schedule's class, its numbers and how far it is: JSON values."""
        return {"schedule": type(self).__name__, **{name: getattr(self, name) for name in self._names}}

    def load_state_dict(self, state_dict):
        """Take over what ``state_dict`` returned, and set the optimiser's learning rate.

        Raises
        ------
        TypeError, ValueError
            Naming the entry that does not fit; then nothing has been changed.
        """
        self._set(_validate.schedule_state(state_dict, type(self).__name__, self._names))
        self.optimizer.lr = self.lr_at(self.taken)

    def __repr__(self):
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({inside})"


class StepLR(Schedule):
    """``lr = base gamma^floor(n / step_size)`` after n steps.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        Steps between two changes.
    gamma : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> import fastrnn as fr
    >>> optimiser = fr.optim.SGD(fr.Linear(1, 1), lr=8)
    >>> schedule = fr.optim.StepLR(optimiser, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> optimiser.lr
    2.0
    """

    def __init__(self, optimizer, step_size, gamma=0.1):
        super().__init__(optimizer, step_size=step_size, gamma=gamma)

    def lr_at(self, n):
        """The learning rate after ``n`` steps."""
        return self.base_lr * self.gamma ** (n // self.step_size)


class CosineLR(Schedule):
    """``lr = min_lr + (base - min_lr) (1 + cos(pi n / steps)) / 2`` after n steps, then ``min_lr``.

    Source: Loshchilov and Hutter, ICLR 2017, equation 5, without restarts.

    Parameters
    ----------
    optimizer : Optimizer
    steps : int
        After which ``min_lr`` is reached.
    min_lr : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> import fastrnn as fr
    >>> optimiser = fr.optim.SGD(fr.Linear(1, 1), lr=1)
    >>> schedule = fr.optim.CosineLR(optimiser, steps=2)
    >>> [round(schedule.lr_at(n), 6) for n in range(4)]
    [1.0, 0.5, 0.0, 0.0]
    """

    def __init__(self, optimizer, steps, min_lr=0.0):
        super().__init__(optimizer, steps=steps, min_lr=min_lr)

    def lr_at(self, n):
        """The learning rate after ``n`` steps."""
        fallen = (1 - math.cos(math.pi * min(n, self.steps) / self.steps)) / 2
        return self.base_lr + (self.min_lr - self.base_lr) * fallen


class WarmupLR(Schedule):
    """``lr = base (n + 1) / steps`` after n < steps steps, then another schedule from its beginning.

    Parameters
    ----------
    then : Optimizer, StepLR, CosineLR or WarmupLR
        What comes after; with an optimiser its learning rate stays.
    steps : int
        Of the warm-up, after which ``base`` has been reached.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, or a schedule that depends on more than the step.

    Examples
    --------
    >>> import fastrnn as fr
    >>> optimiser = fr.optim.SGD(fr.Linear(1, 1), lr=1)
    >>> schedule = fr.optim.WarmupLR(fr.optim.CosineLR(optimiser, steps=2), steps=4)
    >>> optimiser.lr
    0.25
    >>> [round(schedule.lr_at(n), 6) for n in range(7)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.0]
    """

    def __init__(self, then, steps):
        kinds = (Optimizer, StepLR, CosineLR, WarmupLR)
        _validate.instance(then, kinds, "then", "an optimiser, StepLR, CosineLR or WarmupLR")
        self.then = None if isinstance(then, Optimizer) else then
        optimizer = self.then.optimizer if self.then else then
        if self.then:
            _validate.schedule_numbers({"steps": steps})  # before the rate is set
            optimizer.lr = then.base_lr
        super().__init__(optimizer, steps=steps)
        self._names += ("then",)

    def lr_at(self, n):
        """The learning rate after ``n`` steps."""
        if n < self.steps:
            return self.base_lr * (n + 1) / self.steps
        return self.then.lr_at(n - self.steps) if self.then else self.base_lr

    def state_dict(self):
        """The schedule's class, its numbers, how far it is, and the same of ``then``."""
        return {**super().state_dict(), "then": self.then.state_dict() if self.then else None}

    def load_state_dict(self, state_dict):
        """Take over what ``state_dict`` returned; as for every schedule."""
        numbers = _validate.schedule_state(state_dict, type(self).__name__, self._names)
        if self.then:
            self.then.load_state_dict(state_dict["then"])
        else:
            _validate.same(state_dict["then"], None, "state_dict['then']")
        self._set(numbers)
        self.optimizer.lr = self.lr_at(self.taken)


class ReduceOnPlateau(Schedule):
    """``lr = max(factor lr, min_lr)`` when a metric has not become better in ``patience`` steps.

    Parameters
    ----------
    optimizer : Optimizer
    mode : str
        ``"min"``: less is better; ``"max"``.
    factor : float
        In [0, 1).
    patience : int
        Steps without a better metric that are let pass; the next one reduces the rate.
    threshold : float
        By how much a metric has to be better than the best, ...
    threshold_mode : str
        ... as a part of the best, ``"rel"``, or as a number, ``"abs"``.
    cooldown : int
        Steps after a reduction that are not counted.
    min_lr : float

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> import fastrnn as fr
    >>> optimiser = fr.optim.SGD(fr.Linear(1, 1), lr=1)
    >>> schedule = fr.optim.ReduceOnPlateau(optimiser, factor=0.5, patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.5]:
    ...     schedule.step(loss)
    >>> optimiser.lr, schedule.best
    (0.5, 2.0)
    """

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel",
                 cooldown=0, min_lr=0.0):  # fmt: skip
        super().__init__(optimizer, mode=mode, factor=factor, patience=patience, threshold=threshold,
                         threshold_mode=threshold_mode, cooldown=cooldown, min_lr=min_lr)  # fmt: skip
        self.best, self.bad, self.cooling = None, 0, 0
        self._names += ("best", "bad", "cooling")

    def lr_at(self, n):
        """The optimiser's learning rate: what comes depends on the metric."""
        return self.optimizer.lr

    def step(self, metric):
        """Look at the metric of an epoch; NaN and infinities count as no better one.

        Parameters
        ----------
        metric : float
        """
        metric = _validate.metric(metric)
        self.taken += 1
        if math.isfinite(metric) and self._better(metric):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            # Never up, should the rate be below min_lr already.
            self.optimizer.lr = min(self.optimizer.lr, max(self.factor * self.optimizer.lr, self.min_lr))
            self.cooling, self.bad = self.cooldown, 0

    def _better(self, metric):
        if self.best is None:
            return True
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1 + sign * self.threshold)
        return sign * metric > sign * self.best + self.threshold
