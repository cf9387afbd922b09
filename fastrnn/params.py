"""``Module``: what every block and every recurrent layer shares.

A module owns one flat buffer of parameter values and one of gradients. Each parameter is a
view of them that starts at a 64-byte boundary, so kernels get aligned arrays and an optimiser
makes one pass over one buffer. Whatever changes a value increases ``_version``; packed weights
and pullbacks compare it and so can never be silently stale.

Imports numpy and ``_validate``.
"""

import os
import threading
from collections.abc import Mapping

import numpy as np

from . import _validate

ALIGNMENT = 64  # bytes: a cache line and an AVX-512 vector

#: Class name (as written to files) -> class, for every concrete module.
registry = {}

_local = threading.local()


def _aligned_zeros(size, dtype):
    """A 1-D array of zeros whose data starts at a multiple of ``ALIGNMENT`` bytes."""
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _unseeded(count):
    """``count`` numbers in [0, 1) that nobody can ask for again: SplitMix64 (Steele, Lea, Flood 2014) from
    a random start. Importing ``numpy.random`` for them would take longer than all else that a layer does."""
    z = np.arange(count, dtype=np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(int.from_bytes(os.urandom(8), "little"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0**-53


class restoring:
    """While active, modules built by this thread leave their parameters zero.

    Used where the values are about to be copied in (loading, unpickling). ``budget`` bounds
    the number of parameters declared meanwhile: a configuration from a file is refused before
    anything larger than the file itself is allocated.

    Parameters
    ----------
    budget : int, optional
        The number of parameters there are values for.
    """

    def __init__(self, budget=None):
        self.budget = budget

    def __enter__(self):
        self._outer = getattr(_local, "restoring", None)
        _local.restoring = self
        return self

    def __exit__(self, *exception):
        _local.restoring = self._outer
        return False

    @staticmethod
    def active():
        """Whether this thread is inside one."""
        return getattr(_local, "restoring", None) is not None

    def spend(self, count):
        """Take ``count`` parameters from the budget, and from that of whoever is around."""
        if self.budget is not None:
            self.budget -= count
            _validate.within_budget(self.budget)
        if self._outer is not None:
            self._outer.spend(count)


class _Arrays(Mapping):
    """Ordered names -> arrays, in which assigning to a name copies into its array."""

    __slots__ = ("_arrays",)

    def __init__(self, arrays):
        self._arrays = arrays

    def __getitem__(self, name):
        return self._arrays[name]

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self):
        return len(self._arrays)

    def __repr__(self):
        inside = ", ".join(f"{name!r}: {array.shape}" for name, array in self.items())
        return f"{type(self).__name__.lstrip('_')}({{{inside}}})"


class _Gradients(_Arrays):
    """``module.grads``: writable views of the gradient buffer."""

    __slots__ = ()

    def __setitem__(self, name, value):
        array = self._arrays[_validate.known_name(name, self._arrays, "grads")]
        if value is not array:  # ``grads[name] += a`` assigns the array to itself
            array[...] = _validate.real_array(value, f"grads[{name!r}]", array.dtype, array.shape)


class _Edits(_Arrays):
    """What ``edit()`` hands out: writable copies, taken over at every use of the module."""

    __slots__ = ()

    def __setitem__(self, name, value):
        array = self._arrays[_validate.known_name(name, self._arrays, "edit")]
        _validate.open_edit(not array.flags.writeable)
        if value is not array:
            array[...] = _validate.real_array(value, f"edit[{name!r}]", array.dtype, array.shape)


class _Parameters(_Arrays):
    """``module.parameters``: read-only views; ``parameters[name] = array`` copies in."""

    __slots__ = ("_owners",)

    def __init__(self, owners):
        self._owners = owners  # name -> (leaf module, its own name of that parameter)

    def __getitem__(self, name):
        leaf, own = self._owners[name]
        if leaf._editing:
            leaf._sync()
        return leaf._views[own]

    def __setitem__(self, name, value):
        _validate.known_name(name, self._owners, "parameters")
        leaf, own = self._owners[name]
        view = leaf._views[own]
        array = _validate.real_array(value, f"parameters[{name!r}]", view.dtype, view.shape)
        leaf._store({own: array})

    def __iter__(self):
        return iter(self._owners)

    def __len__(self):
        return len(self._owners)


class _Edit:
    """The context manager of ``Module.edit``."""

    def __init__(self, module):
        self._module = module
        self._opened = []

    def __enter__(self):
        for leaf in self._module._leaves():
            leaf._open_edit()
            self._opened.append(leaf)
        owners = self._module._owners()
        return _Edits({name: leaf._edits[own] for name, (leaf, own) in owners.items()})

    def __exit__(self, *exception):
        while self._opened:
            self._opened.pop()._close_edit()
        return False


class _Write:
    """The context manager of ``Module._write``."""

    __slots__ = ("_module",)

    def __init__(self, module):
        self._module = module

    def __enter__(self):
        if self._module._editing:
            self._module._sync()
        return self._module._values

    def __exit__(self, *exception):
        self._module._values_changed()
        return False


class Module:
    """Base of all blocks and recurrent layers: named parameters, gradients and their state.

    A subclass calls ``_declare`` once in its constructor and implements ``_config``.

    Attributes
    ----------
    parameters : mapping of str to ndarray
        Read-only views. ``module.parameters[name] = array`` copies ``array`` in; to change
        values in place use ``edit``.
    grads : mapping of str to ndarray
        Writable gradients of the same names and shapes, zero at first; pullbacks add to them.
    dtype : np.dtype
    """

    _recurrent = False  # calls return (y, state), take a state and lengths
    _takes_lengths = False  # calls take lengths

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        registry[cls._registered_name()] = cls

    @classmethod
    def _registered_name(cls):
        """The name of this class in files: its own inside the package, else its full path."""
        if cls.__module__.split(".")[0] == __name__.split(".")[0]:
            return cls.__name__
        return f"{cls.__module__}.{cls.__qualname__}"

    # -- for subclasses ---------------------------------------------------------------------

    def _declare(self, specs, dtype):
        """Allocate the parameters, as zeros.

        Parameters
        ----------
        specs : iterable of (str, tuple of int)
            Names and shapes in order.
        dtype : np.dtype
            float32 or float64.
        """
        dtype = np.dtype(dtype)
        loading = getattr(_local, "restoring", None)
        step = ALIGNMENT // dtype.itemsize
        places, total = [], 0
        for name, shape in specs:
            shape = tuple(shape)
            size = 1
            for length in shape:
                size *= length
            if loading is not None:
                loading.spend(size)
            places.append((name, shape, total, total + size))
            total += -(-size // step) * step
        self.dtype = dtype
        self._version = 0
        self._editing = 0
        self._edits = None
        self._edit_flat = None
        self._places = tuple(places)
        self._values = _aligned_zeros(total, dtype)
        self._gradients = _aligned_zeros(total, dtype)
        # A memoryview that is read-only at its root: NumPy refuses to make its arrays writable.
        self._views = self._cut(np.asarray(memoryview(self._values).toreadonly()))
        self._grad_views = self._cut(self._gradients)

    def _cut(self, flat):
        """Name -> its part of a flat buffer, in the parameter's shape."""
        return {name: flat[i:j].reshape(shape) for name, shape, i, j in self._places}

    def _init_uniform(self, rng, bound, constants=None):
        """Draw all parameters, in order, from U(-bound, bound), the same in both dtypes; those named get a number.

        ``bound`` may be a dict: a number for each name.
        """
        if getattr(_local, "restoring", None) is None:
            for name, _, i, j in self._places:
                most = bound[name] if isinstance(bound, dict) else bound
                if constants and name in constants:
                    self._values[i:j] = constants[name]
                elif rng is None:
                    self._values[i:j] = (2 * _unseeded(j - i) - 1) * most
                else:
                    self._values[i:j] = rng.uniform(-most, most, j - i)
            self._version += 1

    def _init_normal(self, rng):
        """Draw all parameters, in order, from N(0, 1), the same in both dtypes."""
        if getattr(_local, "restoring", None) is None:
            for _, _, i, j in self._places:
                self._values[i:j] = rng.standard_normal(j - i)
            self._version += 1

    def _config(self):
        """The constructor's arguments that rebuild this module, as JSON values."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _config")

    # -- values -----------------------------------------------------------------------------

    @property
    def parameters(self):
        """Ordered mapping name -> read-only view; assignment copies in."""
        return _Parameters(self._owners())

    @property
    def grads(self):
        """Ordered mapping name -> writable gradient; assignment copies in."""
        owners = self._owners().items()
        return _Gradients({name: leaf._grad_views[own] for name, (leaf, own) in owners})

    def edit(self):
        """Open the parameters for changes in place.

        Returns
        -------
        context manager of mapping of str to ndarray
            The arrays are writable inside the block and read-only after it. Every use of the
            module inside the block already sees the changes; a nested block shares the outer
            one's arrays; an exception keeps what was changed up to then.

        Examples
        --------
        >>> import fastrnn as fr
        >>> head = fr.Linear(3, 2)
        >>> with head.edit() as p:
        ...     p["bias"][:] = 0
        >>> head.parameters["bias"]
        array([0., 0.], dtype=float32)
        """
        return _Edit(self)

    def _open_edit(self):
        if self._edits is None:
            self._edit_flat = self._values.copy()
            self._edits = self._cut(self._edit_flat)
        self._editing += 1

    def _close_edit(self):
        self._sync()
        self._editing -= 1
        if not self._editing:
            for array in self._edits.values():
                array.flags.writeable = False
            self._edits = self._edit_flat = None

    def _sync(self):
        """Take over what an open ``edit()`` block changed; a new version only if it did."""
        if self._editing:
            bits = np.dtype(f"u{self.dtype.itemsize}")  # bits, so that NaN equals itself
            if not np.array_equal(self._edit_flat.view(bits), self._values.view(bits)):
                self._values[:] = self._edit_flat
                self._version += 1

    def _write(self):
        """Context manager: the flat, writable values, for a change in place (optimisers)."""
        return _Write(self)

    def _values_changed(self):
        """Record a change of ``_values``; an open ``edit()`` block sees it too."""
        if self._editing:
            self._edit_flat[:] = self._values
        self._version += 1

    def _store(self, arrays):
        """Copy checked arrays, by their own names, into the values."""
        if self._editing:
            self._sync()
        for name, shape, i, j in self._places:
            if name in arrays:
                self._values[i:j].reshape(shape)[...] = arrays[name]
        self._values_changed()

    def zero_grad(self):
        """Set all gradients to zero."""
        self._gradients[:] = 0

    def state_dict(self):
        """Copies of all parameters.

        Returns
        -------
        dict of str to ndarray
        """
        return {name: array.copy() for name, array in self.parameters.items()}

    def load_state_dict(self, state_dict):
        """Copy parameters in, after all of them have been checked.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Exactly the names and shapes of ``parameters``, real numbers of any dtype.

        Raises
        ------
        ValueError
            Naming the key that is missing, unknown or of a wrong shape or dtype; then no
            parameter has been changed.
        """
        owners = self._owners()
        shapes = {name: leaf._views[own].shape for name, (leaf, own) in owners.items()}
        arrays = _validate.state_arrays(state_dict, shapes)
        of_leaf = {}
        for name, (leaf, own) in owners.items():
            of_leaf.setdefault(id(leaf), (leaf, {}))[1][own] = arrays[name]
        for leaf, own_arrays in of_leaf.values():
            leaf._store(own_arrays)

    # -- structure --------------------------------------------------------------------------

    def modules(self):
        """Iterate over this module and, in order, all modules inside it."""
        yield self

    def _leaves(self):
        """The modules that own parameters themselves, each once, in order."""
        return [self]

    def _owners(self):
        """Parameter name -> (the leaf that owns it, its name there)."""
        return {name: (self, name) for name in self._views}

    @property
    def rng(self):
        """The ``numpy.random.Generator`` of dropout masks; set to None, a seed or a Generator."""
        if self._rng is None:
            self._rng = _validate.generator(None)
        return self._rng

    @rng.setter
    def rng(self, value):
        self._rng = _validate.generator_or_none(value)

    # -- copies -----------------------------------------------------------------------------

    def __reduce_ex__(self, protocol):
        if self._editing:
            self._sync()
        state = {
            "parameters": dict(self._views),
            "grads": dict(self._grad_views),
            "rng": self.__dict__.get("_rng"),
            "attributes": {k: v for k, v in self.__dict__.items() if not k.startswith("_")},
        }
        return _rebuilt, (type(self), self._config()), state

    def __setstate__(self, state):
        self._store(state["parameters"])
        for name, array in state["grads"].items():
            self._grad_views[name][...] = array
        if state["rng"] is not None:
            self._rng = state["rng"]
        self.__dict__.update(state["attributes"])

    def __repr__(self):
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._config().items())
        count = sum(j - i for _, _, i, j in self._places)
        return f"{type(self).__name__}({arguments})" + (f"  # {count:,} parameters" * (count > 0))


def _rebuilt(cls, config):
    """A module of this configuration with parameters still zero (for pickle and copy)."""
    with restoring():
        return cls(**config)
