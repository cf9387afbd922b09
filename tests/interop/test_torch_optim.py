"""Optimisers against PyTorch's: 100 steps in float64 to 1e-10."""

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
