"""Modules of other frameworks, and what they and this one do not share."""

from .messages import described


def convertible(value, kinds, name="module"):
    """What ``kinds`` has for the exact type of a module; a subclass may compute something else."""
    if type(value) not in kinds:
        listed = ", ".join(dict.fromkeys(kind.__name__ for kind in kinds))
        raise TypeError(f"{name}: expected one of {listed}, got {described(value)}")
    return kinds[type(value)]


def framework_module(value, kind, name="model"):
    """A module of another framework, of any class."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected a {kind.__module__.split('.')[0]} module, got {described(value)}")
    return value


def expressible(value, allowed, name, owner, where):
    """Refuse an option that ``where`` does not have, unless it has one of the values that change nothing."""
    if value not in allowed:
        expected = " or ".join(repr(option) for option in allowed)
        raise ValueError(f"{owner}: {where} has no {name}={value!r}, only {expected}")
    return value
