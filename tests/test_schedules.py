"""Schedules: closed formulas, stored numbers of PyTorch, state, bad input."""

import json
import math

import numpy as np
import pytest
from tolerance import assert_close

import fastrnn as fr
from fastrnn import optim

METRICS = [5.0, 4.0, 4.0, 3.9999, 4.1, 3.0, math.nan, 3.5, 3.5, 3.5, 3.5, 2.9, 2.8, 2.8, 6.5, 2.8, 2.8, 2.8, 2.8]
# How often ReduceLROnPlateau of PyTorch 2.13 had reduced the rate after each of METRICS, from lr = 1.
PLATEAUS = [
    ({"patience": 1, "factor": 0.5}, "0001111223333344556"),
    ({"patience": 2, "factor": 0.25, "cooldown": 2, "min_lr": 0.1}, "0000111112222222222"),
    ({"patience": 1, "factor": 0.5, "threshold": 0.5, "threshold_mode": "abs"}, "0001111223344556677"),
    ({"patience": 0, "factor": 0.9, "mode": "max", "threshold": 0.2}, "0123456789ABCDDEFGH"),
]
PLATEAUS = [
    (options, [max(options["factor"] ** int(k, 18), options.get("min_lr", 0)) for k in counts])
    for options, counts in PLATEAUS
]


def optimiser(lr=0.3):
    return optim.SGD(fr.Linear(1, 1), lr=lr)


def rates(schedule, steps, *metrics):
    """The optimiser's rate at the start and after each step."""
    result = [schedule.optimizer.lr]
    for _ in range(steps):
        schedule.step()
        result.append(schedule.optimizer.lr)
    return np.array(result)


def test_step():
    expected = [0.3 * 0.5 ** (n // 3) for n in range(14)]
    assert_close("lr", rates(optim.StepLR(optimiser(), 3, 0.5), 13), np.array(expected), "forward")


@pytest.mark.parametrize("min_lr", [0.0, 0.1, 0.5])
def test_cosine(min_lr):
    expected = [min_lr + (0.3 - min_lr) * (1 + math.cos(math.pi * min(n, 8) / 8)) / 2 for n in range(12)]
    result = rates(optim.CosineLR(optimiser(), 8, min_lr), 11)
    assert_close("lr", result, np.array(expected), "forward")
    assert result[0] == 0.3 and (result[8:] == min_lr).all()


def test_warmup_alone_and_before_others():
    rising = [0.3 * n / 4 for n in (1, 2, 3, 4)]
    assert_close("lr", rates(optim.WarmupLR(optimiser(), 4), 6), np.array([*rising, 0.3, 0.3, 0.3]), "forward")
    for make in (lambda o: optim.StepLR(o, 2), lambda o: optim.CosineLR(o, 5)):
        alone = rates(make(optimiser()), 6)
        whole = rates(optim.WarmupLR(make(optimiser()), 4), 10)
        assert_close("lr", whole, np.concatenate([rising, alone]), "forward")
    twice = optim.WarmupLR(optim.WarmupLR(optimiser(), 2), 3)
    assert_close("lr", rates(twice, 6), 0.3 * np.array([1 / 3, 2 / 3, 1, 0.5, 1, 1, 1]), "forward")
    assert optim.WarmupLR(optimiser(), 1).optimizer.lr == 0.3


@pytest.mark.parametrize("options, expected", PLATEAUS)
def test_plateau_as_in_torch(options, expected):
    schedule = optim.ReduceOnPlateau(optimiser(1.0), **options)
    result = []
    for metric in METRICS:
        schedule.step(np.float32(metric) if metric == 4 else metric)
        result.append(schedule.optimizer.lr)
    assert_close("lr", np.array(result), np.array(expected), "forward")


def test_plateau_never_raises_the_rate():
    schedule = optim.ReduceOnPlateau(optimiser(0.3), patience=0, min_lr=0.5)
    schedule.step(1)
    schedule.step(1)
    assert schedule.optimizer.lr == 0.3


@pytest.mark.parametrize("mode, endless", [("min", -math.inf), ("max", math.inf)])
def test_plateau_takes_no_infinity_for_the_best(mode, endless):
    schedule = optim.ReduceOnPlateau(optimiser(1.0), mode, patience=0, factor=0.5)
    for metric in (2.0, endless, 2.0 + math.copysign(1, endless)):
        schedule.step(metric)
    assert schedule.optimizer.lr == 0.5 and schedule.best in (1.0, 3.0)


def test_plateau_of_negative_numbers_and_from_nan():
    schedule = optim.ReduceOnPlateau(optimiser(1.0), patience=0, factor=0.5, threshold_mode="abs")
    for metric, best, lr in ((math.nan, None, 0.5), (-1, -1, 0.5), (-2, -2, 0.5), (-1.5, -2, 0.25)):
        schedule.step(metric)
        assert schedule.best == best and schedule.optimizer.lr == lr


SCHEDULES = {
    "step": lambda o: optim.StepLR(o, 3, 0.5),
    "cosine": lambda o: optim.CosineLR(o, 20, 0.01),
    "warmup": lambda o: optim.WarmupLR(o, 15),
    "warmup, cosine": lambda o: optim.WarmupLR(optim.CosineLR(o, 9), 5),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_dicts_go_on(name):
    whole = rates(SCHEDULES[name](optimiser()), 20)
    schedule = SCHEDULES[name](optimiser())
    rates(schedule, 12)
    state = json.loads(json.dumps(schedule.state_dict()))
    other = SCHEDULES[name](optimiser(7.0))
    other.load_state_dict(state)
    assert other.taken == 12 and repr(other) == repr(schedule)
    assert (rates(other, 8) == whole[12:]).all()
    assert schedule.state_dict() == state, "nothing is shared"


@pytest.mark.parametrize("options, expected", PLATEAUS)
def test_plateaus_go_on(options, expected):
    schedule = optim.ReduceOnPlateau(optimiser(1.0), **options)
    for metric in METRICS[:9]:
        schedule.step(metric)
    second = optimiser(1.0)
    second.load_state_dict(schedule.optimizer.state_dict())
    other = optim.ReduceOnPlateau(second)
    other.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert second.lr == schedule.optimizer.lr, "the rate is the optimiser's"
    for metric in METRICS[9:]:
        other.step(metric)
    assert second.lr == pytest.approx(expected[-1])


def changed(**entries):
    """A cosine's and a warm-up's state with other entries; None leaves one out."""
    schedule = optim.WarmupLR(optim.CosineLR(optimiser(), 9), 5)
    state = {**schedule.state_dict(), **entries}
    schedule.load_state_dict({name: value for name, value in state.items() if value != "out"})


BAD = {
    "optimiser": (lambda: optim.StepLR(fr.Linear(1, 1), 3), TypeError, "optimizer: .*Linear"),
    "step size": (lambda: optim.StepLR(optimiser(), 0), ValueError, "step_size: .*0"),
    "step size float": (lambda: optim.StepLR(optimiser(), 2.0), TypeError, "step_size: .*2.0"),
    "gamma": (lambda: optim.StepLR(optimiser(), 3, -1), ValueError, "gamma: .*-1"),
    "steps": (lambda: optim.CosineLR(optimiser(), 0), ValueError, "steps: .*0"),
    "min_lr": (lambda: optim.CosineLR(optimiser(), 3, math.nan), ValueError, "min_lr: .*nan"),
    "then": (lambda: optim.WarmupLR(3, 3), TypeError, "then: .*3"),
    "plateau": (lambda: optim.WarmupLR(optim.ReduceOnPlateau(optimiser()), 3), TypeError, "then: .*Plateau"),
    "warm-up": (lambda: optim.WarmupLR(optimiser(), 0), ValueError, "steps: .*0"),
    "mode": (lambda: optim.ReduceOnPlateau(optimiser(), "least"), ValueError, "mode: .*least"),
    "factor": (lambda: optim.ReduceOnPlateau(optimiser(), factor=1), ValueError, "factor: .*1"),
    "patience": (lambda: optim.ReduceOnPlateau(optimiser(), patience=-1), ValueError, "patience: .*-1"),
    "metric": (lambda: optim.ReduceOnPlateau(optimiser()).step("3"), TypeError, "metric: .*'3'"),
    "no metric": (lambda: optim.ReduceOnPlateau(optimiser()).step(None), TypeError, "metric: .*None"),
    "state": (lambda: optim.StepLR(optimiser(), 3).load_state_dict(3), ValueError, "state_dict: .*3"),
    "state lacks": (lambda: changed(taken="out"), ValueError, "state_dict: .*taken"),
    "state of another": (lambda: changed(schedule="StepLR"), ValueError, "schedule.*WarmupLR.*StepLR"),
    "taken": (lambda: changed(taken=-1), ValueError, "taken: .*-1"),
    "nested": (lambda: changed(then=None), ValueError, "state_dict: .*None"),
    "state steps": (lambda: changed(steps=0), ValueError, "steps: .*0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()


def test_a_refused_schedule_leaves_the_rate():
    mine = optimiser()
    cosine = optim.CosineLR(mine, 8)
    rates(cosine, 4)
    before = mine.lr
    for refused in (lambda: optim.WarmupLR(cosine, 0), lambda: cosine.load_state_dict({**cosine.state_dict(), "steps": 0})):
        with pytest.raises(ValueError):
            refused()
        assert mine.lr == before and cosine.taken == 4
