"""What can be looked at, and by which thresholds."""

from .messages import described
from .scalars import integer, probability


def hidden_state(layer, what):
    """Refuse a cell whose state has no h."""
    if "h" not in layer.state_names:
        raise ValueError(f"layer: expected a cell that carries h, for {what}, got {type(layer).__name__}")
    return layer


def of_class(layer, kind, what):
    """Refuse a recurrent layer of another class than the one that ``what`` is defined for."""
    if not isinstance(layer, kind):
        raise ValueError(f"layer: expected {kind.__name__}, for {what}, got {type(layer).__name__}")
    return layer


def known_parameters(names, known, what):
    """Refuse a layer with parameters, and so with equations, that ``what`` does not know."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"layer: expected one without {unknown[0]!r}, which {what} does not know")


def recurrent_weights(layer):
    """Refuse a cell without a matrix or vector R."""
    if "weight_hh_l0" not in layer.parameters:
        raise ValueError(f"layer: expected a cell that has weight_hh, got {type(layer).__name__}")
    return layer


def supported_cell(value, layer, what):
    """``value``, which is None for a cell that ``what`` does not support."""
    if value is None:
        raise ValueError(f"layer: expected a cell that {what} supports, got {type(layer).__name__}")
    return value


def step(t, steps):
    """A number of steps, 0 to T."""
    return integer(t, "t", 0, steps)


def thresholds(low, high):
    """Two fractions, the lower one first."""
    low, high = probability(low, "low"), probability(high, "high")
    if low > high:
        raise ValueError(f"low: expected at most high, {high}, got {low}")
    return low, high


def results(value, name):
    """What a function of ``diagnostics`` returned by name."""
    if not hasattr(value, "items"):
        raise TypeError(f"{name}: expected a dict of arrays, got {described(value)}")
    return value
