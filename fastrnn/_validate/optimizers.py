"""Hyperparameters, parameters and state of an optimiser and of a schedule."""

from .messages import described
from .scalars import boolean, integer, one_of, positive_int, real

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


_SCHEDULE_LIMITS = {
    "gamma": {"minimum": 0},
    "base_lr": {"minimum": 0},
    "min_lr": {"minimum": 0},
    "factor": {"minimum": 0, "below": 1},
    "threshold": {"minimum": 0},
}
_CHOICES = {"mode": ("min", "max"), "threshold_mode": ("rel", "abs")}


def schedule_numbers(values):
    """The numbers of a schedule by name, its counters included, each within its limits."""
    checked = {}
    for name, value in values.items():
        if name in ("steps", "step_size"):
            checked[name] = positive_int(value, name)
        elif name in _SCHEDULE_LIMITS:
            checked[name] = real(value, name, **_SCHEDULE_LIMITS[name])
        elif name in _CHOICES:
            checked[name] = one_of(value, name, _CHOICES[name])
        elif name == "best":
            checked[name] = None if value is None else real(value, name)
        else:
            checked[name] = integer(value, name, minimum=0)
    return checked


def instance(value, kinds, name, expected):
    """``value``, if it is of one of these classes."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name}: expected {expected}, got {described(value)}")
    return value


def schedule_state(state, kind, names):
    """The numbers in a schedule's state dict, all but what it nests."""
    keys = {"schedule", *names}
    if not isinstance(state, dict) or set(state) != keys:
        got = sorted(map(str, state)) if isinstance(state, dict) else described(state)
        raise ValueError(f"state_dict: expected a dict with the keys {sorted(keys)}, got {got}")
    if state["schedule"] != kind:
        raise ValueError(f"state_dict['schedule']: expected {kind!r}, got {described(state['schedule'])}")
    return schedule_numbers({name: state[name] for name in names if name != "then"})


def metric(value):
    """What a plateau is looked for in: any real number, NaN and infinities included."""
    if isinstance(value, (bool, str, bytes, complex)):
        raise TypeError(f"metric: expected a number, got {described(value)}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"metric: expected a number, got {described(value)}") from None
