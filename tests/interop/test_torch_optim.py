"""Optimisers and schedules against PyTorch's: 100 steps in float64 to 1e-10."""

import math

import numpy as np
import pytest
from tolerance import assert_close

import fastrnn as fr
from fastrnn import optim

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.interop

OPTIMISERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "eps": 1e-4, "weight_decay": 0.01}),
    ("RMSprop", {"momentum": 0.7}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"momentum": 0.7, "centered": True, "weight_decay": 0.01}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "amsgrad": True}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.2}),
    ("AdamW", {"lr": 0.02, "amsgrad": True}),
]


def gradients(w, step):
    """Of a bowl that is shaken: some coordinates steep, some flat."""
    scale = np.linspace(0.1, 3, w.size).reshape(w.shape)
    return scale * w + np.sin(np.arange(w.size).reshape(w.shape) + step)


@pytest.mark.parametrize("name, options", OPTIMISERS, ids=[f"{n}-{'-'.join(o) or 'defaults'}" for n, o in OPTIMISERS])
def test_trajectories(name, options):
    head = fr.Linear(5, 7, dtype="float64", rng=0)
    theirs = [torch.nn.Parameter(torch.tensor(array.copy())) for array in head.parameters.values()]
    optimiser, other = getattr(optim, name)(head, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(100):
        for (key, array), tensor in zip(head.parameters.items(), theirs):
            head.grads[key] = gradients(array, step)
            tensor.grad = torch.tensor(gradients(tensor.detach().numpy(), step))
        optimiser.step()
        other.step()
        for array, tensor in zip(head.parameters.values(), theirs):
            assert_close("w", array, tensor.detach().numpy(), "gradient")


SCHEDULES = {
    "step": (lambda o: optim.StepLR(o, 7, 0.3), lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.3)),
    "cosine": (
        lambda o: optim.CosineLR(o, 30, 0.01),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30, 0.01),
    ),
    "warm-up and cosine": (
        lambda o: optim.WarmupLR(optim.CosineLR(o, 20), 10),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.LinearLR(o, 1 / 10, 1, 9),
                torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
            ],
            [10],
        ),
    ),
}


def pair():
    """An optimiser of each library with lr = 0.2."""
    return (optim.SGD(fr.Linear(1, 1), lr=0.2), torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about itself
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    ours, theirs = pair()
    schedule, other = (make(optimiser) for make, optimiser in zip(SCHEDULES[name], (ours, theirs)))
    for _ in range(30):
        assert ours.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12, abs=1e-15)
        theirs.step()
        schedule.step()
        other.step()


@pytest.mark.parametrize("mode, threshold", [("min", "rel"), ("max", "rel"), ("min", "abs"), ("max", "abs")])
def test_plateaus(mode, threshold):
    rng = np.random.default_rng(0)
    for _ in range(20):
        options = {
            "mode": mode, "threshold_mode": threshold, "factor": rng.uniform(0.5, 0.9), "threshold": rng.uniform(0, 0.3),
            "patience": int(rng.integers(4)), "cooldown": int(rng.integers(3)), "min_lr": rng.uniform(0, 0.05),
        }  # fmt: skip
        ours, theirs = pair()
        schedule = optim.ReduceOnPlateau(ours, **options)
        other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
        for metric in [*(rng.uniform(-1, 4, 30) + 3 * np.exp(-np.arange(30) / 5)), math.nan, 1.0]:
            schedule.step(metric)
            other.step(metric)
            assert ours.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
