"""Hyperparameters, parameters and state of an optimiser."""

from .messages import described
from .scalars import boolean, integer, real

_LIMITS = {
    "lr": {"minimum": 0},
    "momentum": {"minimum": 0},
    "dampening": {},
    "weight_decay": {"minimum": 0},
    "alpha": {"minimum": 0, "maximum": 1},
    "eps": {"minimum": 0},
}


def hyperparameters(values):
    """An optimiser's hyperparameters by name, each within its limits."""
    checked = {}
    for name, value in values.items():
        if name in _LIMITS:
            checked[name] = real(value, name, **_LIMITS[name])
        elif name == "betas":
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise TypeError(f"betas: expected two numbers, got {described(value)}")
            checked[name] = tuple(
                real(beta, f"betas[{i}]", minimum=0, below=1) for i, beta in enumerate(value)
            )
        else:
            checked[name] = boolean(value, name)
    if checked.get("nesterov") and not (checked["momentum"] > 0 and checked["dampening"] == 0):
        raise ValueError(
            "nesterov: expected momentum > 0 and dampening = 0 with it, got "
            f"momentum = {checked['momentum']} and dampening = {checked['dampening']}"
        )
    return checked


def with_parameters(leaves):
    """``leaves``, if there is at least one."""
    if not leaves:
        raise ValueError("modules: expected modules with parameters, got none")
    return leaves


def optimizer_state(state, kind, names):
    """Steps, hyperparameters and buffers out of an optimiser's state dict."""
    keys = ("optimizer", "steps", "hyperparameters", "buffers")
    if not isinstance(state, dict) or set(state) != set(keys):
        got = sorted(map(str, state)) if isinstance(state, dict) else described(state)
        raise ValueError(f"state_dict: expected a dict with the keys {keys}, got {got}")
    if state["optimizer"] != kind:
        raise ValueError(
            f"state_dict['optimizer']: expected {kind!r}, got {described(state['optimizer'])}"
        )
    steps = integer(state["steps"], "state_dict['steps']", minimum=0)
    values = state["hyperparameters"]
    if not isinstance(values, dict) or set(values) != set(names):
        got = sorted(map(str, values)) if isinstance(values, dict) else described(values)
        raise ValueError(f"state_dict['hyperparameters']: expected {names}, got {got}")
    return steps, hyperparameters(values), state["buffers"]
