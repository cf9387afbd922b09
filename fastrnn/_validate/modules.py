"""Modules, their parameters, and when a pullback may be called."""

from .arrays import real_array
from .messages import described


def module(value, kind, name="module"):
    """A module."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected a module, got {described(value)}")
    return value


def module_list(value, kind, name="modules"):
    """A module or an iterable of modules, as a list of modules."""
    if isinstance(value, kind):
        return [value]
    try:
        modules = list(value)
    except TypeError:
        modules = [value]
    for module in modules:
        if not isinstance(module, kind):
            raise TypeError(f"{name}: expected modules or a list of them, got {described(module)}")
    return modules


def sequential_modules(modules, kind):
    """The modules of a ``Sequential``: at least one."""
    modules = module_list(modules, kind)
    if not modules:
        raise ValueError("modules: expected at least one module, got none")
    return modules


def known_name(name, names, what):
    """``name``, if it is among ``names``."""
    if name not in names:
        listed = ", ".join(names) or "none"
        raise ValueError(f"{what}: no array is named {name!r}; there are: {listed}")
    return name


def state_arrays(given, expected, what="state_dict"):
    """The arrays of a state dict, if names, dtypes and shapes all fit.

    Parameters
    ----------
    given : mapping of str to array_like
    expected : mapping of str to shape
    what : str
        What the mapping is called in messages.

    Returns
    -------
    dict of str to ndarray
        As they came, unconverted.

    Raises
    ------
    TypeError
        If ``given`` is not a mapping.
    ValueError
        Naming the first key that is missing, unknown, not real or of a wrong shape.
    """
    if not hasattr(given, "keys") or not hasattr(given, "__getitem__"):
        raise TypeError(f"{what}: expected a dict of arrays, got {described(given)}")
    names = list(given.keys())
    for name in expected:
        if name not in names:
            raise ValueError(f"{what}: {name!r} is missing")
    for name in names:
        if name not in expected:
            raise ValueError(f"{what}: {name!r} is not expected here")
    arrays = {}
    for name, shape in expected.items():
        try:
            arrays[name] = real_array(given[name], f"{what}[{name!r}]", shape=shape)
        except TypeError as error:
            raise ValueError(str(error)) from None
    return arrays


def open_edit(closed):
    """Refuse to write through the mapping of an ``edit()`` block that has been left."""
    if closed:
        raise ValueError("edit: this edit() block has been left; its arrays are read-only")


def within_budget(left):
    """Refuse a configuration that declares more parameters than its file has values for."""
    if left < 0:
        raise ValueError("configuration: it declares more parameters than the file holds")


def pullback_ready(used, stale):
    """Refuse a pullback that was called before or whose weights were changed since its vjp."""
    if used:
        raise RuntimeError("pullback: it was called before; each vjp gives one backward pass")
    if stale:
        raise RuntimeError("pullback: the weights were changed since the vjp it belongs to")
