"""Checks of what users pass in: the one place that raises ``TypeError`` and ``ValueError``.

Every function here takes a user's value and the name of the argument it came in, and either
returns the value in the form the rest of the package relies on or raises an error that says
which argument it was, what came and what was expected. Nothing is modified and nothing is
computed before all checks of a call have passed.

Imports numpy only. Axis letters: ``T`` time, ``B`` batch, ``I`` input, ``L`` layers,
``D`` directions, ``N`` sequences of a loss, ``C`` classes.
"""

import operator

import numpy as np

MAX_THREADS = 1024
MAX_SIZE = 2**24  # of a layer: keeps every index of a weight matrix far from overflow


# -- words ----------------------------------------------------------------------------------


def _described(value):
    """What a value is, in a few words, for an error message."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    if isinstance(value, (bool, int, float, complex, str)):
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    return f"an object of type {type(value).__name__}"


def _shape_text(shape):
    """``("T", "B", 8)`` as ``(T, B, 8)``, one axis as ``(B,)``."""
    comma = "," if len(shape) == 1 else ""
    return f"({', '.join(str(size) for size in shape)}{comma})"


# -- scalars --------------------------------------------------------------------------------


def integer(value, name, minimum=None, maximum=None):
    """An integer of any integer type in ``minimum..maximum``, as ``int``; ``bool`` is refused."""
    expected = "an integer"
    if minimum is not None:
        expected += f" of at least {minimum}" if maximum is None else f" in {minimum}..{maximum}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected {expected}, got {_described(value)}")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {_described(value)}") from None
    if (minimum is not None and result < minimum) or (maximum is not None and result > maximum):
        raise ValueError(f"{name}: expected {expected}, got {result}")
    return result


def positive_int(value, name):
    """A size: an integer of at least 1."""
    return integer(value, name, minimum=1)


def boolean(value, name):
    """``True`` or ``False`` (NumPy's too), as ``bool``."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {_described(value)}")
    return bool(value)


def real(value, name, minimum=None, maximum=None, below=None, above=None):
    """A finite real number within the bounds given, as ``float``."""
    bounds = ((minimum, ">="), (above, ">"), (maximum, "<="), (below, "<"))
    text = " and ".join(f"{sign} {bound}" for bound, sign in bounds if bound is not None)
    expected = "a finite number" + (" " + text if text else "")
    if isinstance(value, (bool, np.bool_, str, bytes, complex, np.complexfloating)):
        raise TypeError(f"{name}: expected {expected}, got {_described(value)}")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected {expected}, got {_described(value)}") from None
    inside = (
        abs(result) < float("inf")
        and (minimum is None or result >= minimum)
        and (maximum is None or result <= maximum)
        and (below is None or result < below)
        and (above is None or result > above)
    )
    if not inside:
        raise ValueError(f"{name}: expected {expected}, got {result}")
    return result


def probability(value, name):
    """A probability in [0, 1]."""
    return real(value, name, minimum=0, maximum=1)


def one_of(value, name, options):
    """One of the strings ``options``."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {tuple(options)}, got {_described(value)}")
    if value not in options:
        raise ValueError(f"{name}: expected one of {tuple(options)}, got {value!r}")
    return value


def float_dtype(value, name="dtype"):
    """``float32`` or ``float64`` in any spelling NumPy knows, as a native ``np.dtype``."""
    try:
        dtype = None if value is None else np.dtype(value)
    except (TypeError, ValueError):
        dtype = None
    if dtype is None:
        raise TypeError(f"{name}: expected 'float32' or 'float64', got {_described(value)}")
    if dtype not in (np.dtype("float32"), np.dtype("float64")):
        raise ValueError(f"{name}: expected 'float32' or 'float64', got '{dtype}'")
    return dtype


def generator(value, name="rng"):
    """A ``numpy.random.Generator``: the one given, one seeded by an int, or a fresh one."""
    if value is None:
        return np.random.default_rng()
    if isinstance(value, np.random.Generator):
        return value
    try:
        return np.random.default_rng(integer(value, name, minimum=0))
    except TypeError:
        raise TypeError(
            f"{name}: expected None, an int seed or a numpy Generator, got {_described(value)}"
        ) from None


def generator_or_none(value, name="rng"):
    """The same, but None stays: ``numpy.random`` is not imported before somebody draws from it."""
    return None if value is None else generator(value, name)


def path(value, name="path"):
    """A file path, ``str`` or path-like, as ``str``."""
    result = value.__fspath__() if hasattr(type(value), "__fspath__") else value
    if not isinstance(result, str):
        raise TypeError(f"{name}: expected a path (str or path-like), got {_described(value)}")
    if not result or "\0" in result:
        raise ValueError(f"{name}: expected a path, got {result!r}")
    return result


# -- arrays ---------------------------------------------------------------------------------


def _as_array(value, name, expected):
    """``np.asarray`` whose failures name the argument."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected {expected}, got {_described(value)}: {error}") from None
    except Exception as error:
        raise TypeError(f"{name}: expected {expected}, got {_described(value)}: {error}") from None


def real_array(value, name, dtype=None, shape=None):
    """An array of real numbers.

    Parameters
    ----------
    value : array_like
        Floating, integer or boolean; any stride, byte order and alignment.
    name : str
        The argument's name.
    dtype : np.dtype, optional
        Without it the array is returned as it came, neither copied nor converted.
    shape : tuple of int, optional
        The exact shape expected.

    Raises
    ------
    TypeError
        For complex numbers, objects, strings and everything else that is not real.
    ValueError
        For a wrong shape.
    """
    array = _as_array(value, name, "an array of real numbers")
    if array.dtype.kind not in "fiub":
        what = f"dtype {array.dtype}" if isinstance(value, np.ndarray) else _described(value)
        raise TypeError(f"{name}: expected an array of real numbers, got {what}")
    if shape is not None:
        exact_shape(array, name, shape)
    return array if dtype is None else converted(array, dtype)


def converted(array, dtype):
    """The same numbers, native ``dtype``, C-contiguous and aligned; copied only if needed."""
    array = np.asarray(array, dtype=dtype, order="C")
    return array if array.flags.aligned else array.copy()


def exact_shape(array, name, shape):
    """``array``, if it has this shape."""
    if array.shape != tuple(shape):
        raise ValueError(
            f"{name}: expected an array of shape {_shape_text(shape)}, got {array.shape}"
        )
    return array


def integer_array(value, name):
    """Integers of any integer dtype, as int64 or uint64; floats and booleans are refused.

    Not as they came: NumPy 2.0.0 crashes where it compares strided integers of some dtypes with a
    number that the dtype does not hold.
    """
    array = _as_array(value, name, "an array of integers")
    if array.size == 0 and isinstance(value, (list, tuple)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        what = f"dtype {array.dtype}" if isinstance(value, np.ndarray) else _described(value)
        if isinstance(value, (list, tuple)):
            what += f" of {array.dtype}"
        raise TypeError(f"{name}: expected integers, got {what}")
    wide = array.dtype.kind == "u" and array.dtype.itemsize == 8
    return np.asarray(array, order="C") if wide else array.astype(np.int64, copy=False)


def indices(value, name, count):
    """Integers in ``0..count-1`` of any shape, as a C-contiguous ``intp`` array."""
    array = integer_array(value, name)
    if array.size:
        lowest, highest = int(array.min()), int(array.max())
        if lowest < 0 or highest >= count:
            bad = lowest if lowest < 0 else highest
            raise ValueError(f"{name}: expected integers in 0..{count - 1}, got {bad}")
    return converted(array, np.dtype(np.intp))


def floating(value, name):
    """A real array in its own native floating dtype; integers and booleans become float64."""
    array = real_array(value, name)
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind == "f" else np.dtype(np.float64)
    return converted(array, dtype)


def last_axis(value, name, size, dtype):
    """A real array ``(..., size)`` with any leading axes, converted to ``dtype``."""
    array = real_array(value, name)
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(f"{name}: expected an array of shape (..., {size}), got {array.shape}")
    return converted(array, dtype)


def broadcastable(value, name, shape, dtype):
    """A real array that broadcasts to ``shape``, converted to ``dtype``."""
    array = real_array(value, name)
    try:
        fits = np.broadcast_shapes(array.shape, shape) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: expected an array that broadcasts to {_shape_text(shape)}, got {array.shape}"
        )
    return converted(array, dtype)


# -- parameters of a module -----------------------------------------------------------------


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
        raise TypeError(f"{what}: expected a dict of arrays, got {_described(given)}")
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


def thread_variable(text, name):
    """The number of threads in an environment variable."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_THREADS):
        raise ValueError(f"{name}: expected an integer in 1..{MAX_THREADS}, got {text!r}")
    return int(text)


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
            raise TypeError(f"{name}: expected modules or a list of them, got {_described(module)}")
    return modules


def sequential_modules(modules, kind):
    """The modules of a ``Sequential``: at least one."""
    modules = module_list(modules, kind)
    if not modules:
        raise ValueError("modules: expected at least one module, got none")
    return modules


def given(value, name):
    """``value``, if it is not None."""
    if value is None:
        raise TypeError(f"{name}: expected an array of real numbers, got None")
    return value


# -- optimisers -----------------------------------------------------------------------------

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
                raise TypeError(f"betas: expected two numbers, got {_described(value)}")
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
        got = sorted(map(str, state)) if isinstance(state, dict) else _described(state)
        raise ValueError(f"state_dict: expected a dict with the keys {keys}, got {got}")
    if state["optimizer"] != kind:
        raise ValueError(
            f"state_dict['optimizer']: expected {kind!r}, got {_described(state['optimizer'])}"
        )
    steps = integer(state["steps"], "state_dict['steps']", minimum=0)
    values = state["hyperparameters"]
    if not isinstance(values, dict) or set(values) != set(names):
        got = sorted(map(str, values)) if isinstance(values, dict) else _described(values)
        raise ValueError(f"state_dict['hyperparameters']: expected {names}, got {got}")
    return steps, hyperparameters(values), state["buffers"]


# -- losses ---------------------------------------------------------------------------------

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing):
    """The arguments of ``losses.cross_entropy``: logits, intp targets, weight, smoothing."""
    one_of(reduction, "reduction", REDUCTIONS)
    ignore_index = integer(ignore_index, "ignore_index")
    smoothing = probability(label_smoothing, "label_smoothing")
    logits = real_array(input, "input")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"input: expected an array of shape (..., C), got {logits.shape}")
    classes = logits.shape[-1]
    target = exact_shape(integer_array(target, "target"), "target", logits.shape[:-1])
    bad = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if bad.any():
        raise ValueError(
            f"target: expected classes in 0..{classes - 1} or ignore_index={ignore_index}, "
            f"got {target[bad].flat[0]}"
        )
    logits = floating(logits, "input")
    if weight is not None:
        weight = real_array(weight, "weight", logits.dtype, (classes,))
    return logits, converted(target, np.dtype(np.intp)), weight, smoothing


def elementwise(input, target, weight, reduction):
    """The arguments of an elementwise loss: three arrays of one shape and dtype."""
    one_of(reduction, "reduction", REDUCTIONS)
    input = floating(input, "input")
    target = real_array(target, "target", input.dtype, input.shape)
    if weight is not None:
        weight = real_array(weight, "weight", input.dtype, input.shape)
    return input, target, weight


def broadcast_weights(input, weight, pos_weight):
    """Two optional weights that broadcast to the shape of ``input``."""
    if weight is not None:
        weight = broadcastable(weight, "weight", input.shape, input.dtype)
    if pos_weight is not None:
        pos_weight = broadcastable(pos_weight, "pos_weight", input.shape, input.dtype)
    return weight, pos_weight


def ctc(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity):
    """The arguments of ``losses.ctc_loss``.

    Returns
    -------
    log_probs : ndarray
        ``(T, N, C)``.
    targets : ndarray of intp
        ``(N, S)``, whatever form they came in; the blank past each target's length.
    steps, labels : ndarray of intp
        ``(N,)``: lengths of inputs and of targets.
    shape : tuple of int
        Of ``log_probs`` as it came.
    """
    one_of(reduction, "reduction", REDUCTIONS)
    boolean(zero_infinity, "zero_infinity")
    log_probs = real_array(log_probs, "log_probs")
    if log_probs.ndim not in (2, 3) or log_probs.shape[-1] == 0:
        raise ValueError(
            f"log_probs: expected an array of shape (T, N, C) or (T, C), got {log_probs.shape}"
        )
    shape, single = log_probs.shape, log_probs.ndim == 2
    steps, classes, count = shape[0], shape[-1], 1 if single else shape[1]
    blank = integer(blank, "blank", 0, classes - 1)
    targets = integer_array(targets, "targets")
    in_a_row = targets.ndim == 1
    if not in_a_row and (single or targets.ndim != 2 or len(targets) != count):
        expected = "(S,)" if single else f"({count}, S) or (sum(target_lengths),)"
        raise ValueError(f"targets: expected an array of shape {expected}, got {targets.shape}")
    longest = targets.shape[-1]
    input_lengths = _ctc_lengths(input_lengths, "input_lengths", count, steps, single)
    labels = _ctc_lengths(target_lengths, "target_lengths", count, longest, single)
    if in_a_row and not single and labels.sum() != longest:
        raise ValueError(
            f"target_lengths: expected a sum of {longest}, the number of targets, "
            f"got {labels.sum()}"
        )
    padded = np.full((count, int(labels.max(initial=0))), blank, np.intp)
    inside = np.arange(padded.shape[1]) < labels[:, np.newaxis]
    used = targets[: labels[0]] if single else targets
    if not in_a_row:
        used = targets[:, : padded.shape[1]][inside]
    bad = (used < 0) | (used >= classes) | (used == blank)
    if bad.any():
        raise ValueError(
            f"targets: expected classes in 0..{classes - 1} other than the blank {blank}, "
            f"got {used[bad].flat[0]}"
        )
    padded[inside] = used
    log_probs = floating(log_probs, "log_probs")
    return log_probs.reshape(steps, count, classes), padded, input_lengths, labels, shape


def _ctc_lengths(value, name, count, maximum, single):
    """``(N,)`` integers in ``0..maximum``; for one sequence also an integer."""
    array = integer_array(value, name)
    if single and array.ndim == 0:
        array = array.reshape(1)
    return sequence_lengths(array, name, count, maximum).astype(np.intp)


# -- files ----------------------------------------------------------------------------------


def refuse_file(path, problem):
    """Refuse a file that was read: it says which and why."""
    raise ValueError(f"{path}: {problem}")


def tensors_to_write(tensors, metadata, dtypes):
    """Names, arrays and metadata of a safetensors file to be written.

    Parameters
    ----------
    tensors : mapping of str to array_like
    metadata : mapping of str to str, optional
    dtypes : container of str
        The dtypes the format has, as native NumPy names.

    Returns
    -------
    arrays : dict of str to ndarray
        Native byte order, C-contiguous.
    metadata : dict of str to str
    """
    if not hasattr(tensors, "keys"):
        raise TypeError(f"tensors: expected a dict of arrays, got {_described(tensors)}")
    if metadata is not None and not hasattr(metadata, "keys"):
        raise TypeError(f"metadata: expected a dict of strings, got {_described(metadata)}")
    arrays = {}
    for name in tensors.keys():
        _file_text(name, "tensors: name")
        if name == "__metadata__":
            raise ValueError("tensors: the name '__metadata__' is reserved")
        array = _as_array(tensors[name], f"tensors[{name!r}]", "an array")
        dtype = array.dtype.newbyteorder("=")
        if dtype.name not in dtypes:
            raise TypeError(f"tensors[{name!r}]: dtype {array.dtype} cannot be written")
        arrays[name] = converted(array, dtype)
    metadata = {} if metadata is None else {key: metadata[key] for key in metadata.keys()}
    for key, text in metadata.items():
        _file_text(key, "metadata: key")
        _file_text(text, f"metadata[{key!r}]")
    return arrays, metadata


def _file_text(value, name):
    """A string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {_described(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: expected text that UTF-8 can hold, got {value!r}") from None


def same_dtype(array, name, dtype):
    """Refuse an array of another dtype."""
    if array.dtype != dtype:
        raise ValueError(f"{name}: expected dtype {dtype}, got {array.dtype}")


def module(value, kind, name="module"):
    """A module."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected a module, got {_described(value)}")
    return value


# -- recurrent layers -----------------------------------------------------------------------


def recurrent_inputs(layer, x, state=None, lengths=None):
    """The arguments of a recurrent layer's call, checked and in the layer's own form.

    Parameters
    ----------
    layer : object
        Has ``input_size, num_layers, num_directions, batch_first, dtype, state_names``
        (``("h",)`` or ``("h", "c")``) and ``state_sizes`` (the width of each state).
    x : array_like
        ``(T, B, I)``, ``(B, T, I)`` with ``batch_first``, or ``(T, I)``.
    state : array_like or tuple of array_like, optional
        ``(L*D, B, width)`` each, without ``B`` when ``x`` has none.
    lengths : array_like of int, optional
        ``(B,)``, in ``0..T``.

    Returns
    -------
    x : ndarray
        3-D, C-contiguous, in the layer's dtype and layout; an unbatched ``x`` with ``B = 1``.
    states : tuple of ndarray or None
        One ``(L*D, B, width)`` array, or None for zeros, per state.
    lengths : ndarray of int64 or None
        ``(B,)``.
    unbatched : bool
    """
    x = real_array(x, "x")
    if x.ndim not in (2, 3) or x.shape[-1] != layer.input_size:
        axes = ("B", "T") if layer.batch_first else ("T", "B")
        batched = _shape_text((*axes, layer.input_size))
        single = _shape_text(("T", layer.input_size))
        raise ValueError(f"x: expected an array of shape {batched} or {single}, got {x.shape}")
    unbatched = x.ndim == 2
    if unbatched:
        batch, steps = 1, x.shape[0]
    else:
        batch, steps = x.shape[:2] if layer.batch_first else x.shape[1::-1]
    states = _state_arrays(layer, state, "state", batch, unbatched)
    if lengths is not None:
        lengths = sequence_lengths(lengths, "lengths", batch, steps, unbatched)
    x = converted(x, layer.dtype)
    if unbatched:
        x = x[np.newaxis] if layer.batch_first else x[:, np.newaxis]
    return x, _states_converted(layer, states, unbatched), lengths, unbatched


def recurrent_state(layer, state, batch, unbatched=False, name="state"):
    """An initial state as a tuple of ``(L*D, B, width)`` arrays or None (zeros)."""
    states = _state_arrays(layer, state, name, batch, unbatched)
    return _states_converted(layer, states, unbatched)


def output_gradients(layer, dy, dstate, y_shape, batch, unbatched):
    """The arguments of a recurrent layer's pullback, checked and in the layer's own form.

    Parameters
    ----------
    layer : object
        As for ``recurrent_inputs``.
    dy : array_like or None
        In the layout of the ``y`` the user got.
    dstate : array_like, tuple or None
        In the form of the state the user got; each may be None.
    y_shape : tuple of int
        3-D: of ``y`` with its batch axis, also when ``unbatched``.
    batch : int
    unbatched : bool

    Returns
    -------
    dy : ndarray or None
        ``y_shape``, C-contiguous, in the layer's dtype.
    dstates : tuple of ndarray or None
        ``(L*D, B, width)`` each.
    """
    batch_axis = 0 if layer.batch_first else 1
    if dy is not None:
        expected = tuple(y_shape)
        if unbatched:
            expected = expected[:batch_axis] + expected[batch_axis + 1 :]
        dy = real_array(dy, "dy", shape=expected)
    dstates = _state_arrays(layer, dstate, "dstate", batch, unbatched)
    if dy is not None:
        dy = converted(dy, layer.dtype).reshape(y_shape)
    return dy, _states_converted(layer, dstates, unbatched)


def stream_input(layer, x_t, batch):
    """One time step for a stream: ``(B, I)``, or ``(I,)`` when ``B`` is 1.

    Returns
    -------
    x_t : ndarray
        ``(B, I)``, C-contiguous, in the layer's dtype.
    unbatched : bool
        Whether it came as ``(I,)``.
    """
    x_t = real_array(x_t, "x_t")
    size = layer.input_size
    unbatched = batch == 1 and x_t.shape == (size,)
    if not unbatched and x_t.shape != (batch, size):
        expected = _shape_text((batch, size)) + (f" or {_shape_text((size,))}" * (batch == 1))
        raise ValueError(f"x_t: expected an array of shape {expected}, got {x_t.shape}")
    return converted(x_t, layer.dtype).reshape(batch, size), unbatched


def sequence_lengths(lengths, name, batch, steps, unbatched=False):
    """``lengths``: ``(B,)`` integers in ``0..T``, as int64."""
    if unbatched:
        raise ValueError(f"{name}: expected None with an unbatched x, got {_described(lengths)}")
    lengths = exact_shape(integer_array(lengths, name), name, (batch,))
    if lengths.size:
        lowest, highest = int(lengths.min()), int(lengths.max())
        if lowest < 0 or highest > steps:
            bad = lowest if lowest < 0 else highest
            raise ValueError(f"{name}: expected integers in 0..{steps}, got {bad}")
    return converted(lengths, np.dtype(np.int64))


def _state_arrays(layer, state, name, batch, unbatched):
    """The arrays of ``state`` (or of its gradient) as they came, shapes checked."""
    names = layer.state_names
    if state is None:
        return (None,) * len(names)
    if len(names) == 1:
        state = (state,)
    else:
        form = f"a tuple ({', '.join(names)})"
        if not isinstance(state, (tuple, list)):
            raise TypeError(f"{name}: expected {form}, got {_described(state)}")
        if len(state) != len(names):
            raise ValueError(f"{name}: expected {form}, got {len(state)} items")
    rows = layer.num_layers * layer.num_directions
    arrays = []
    for value, letter, width in zip(state, names, layer.state_sizes):
        if value is not None:
            label = name if len(names) == 1 else f"{name} ({letter})"
            shape = (rows, width) if unbatched else (rows, batch, width)
            value = real_array(value, label, shape=shape)
        arrays.append(value)
    return tuple(arrays)


def _states_converted(layer, states, unbatched):
    """Checked states in the layer's dtype, each with its batch axis."""
    result = []
    for array in states:
        if array is not None:
            array = converted(array, layer.dtype)
            array = array[:, np.newaxis] if unbatched else array
        result.append(array)
    return tuple(result)


def recurrent_sizes(input_size, hidden_size, num_layers, proj_size):
    """Sizes of a recurrent layer that belong together."""
    if proj_size >= hidden_size and proj_size:
        raise ValueError(f"proj_size: expected less than hidden_size {hidden_size}, got {proj_size}")
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value > MAX_SIZE:
            raise ValueError(f"{name}: expected at most {MAX_SIZE}, got {value}")


def streamable(layer):
    """Refuse to stream a layer whose reverse direction begins at the end."""
    if layer.bidirectional:
        raise ValueError("stream: expected a layer of one direction, got a bidirectional one")


# -- text -----------------------------------------------------------------------------------


def text(value, name="text"):
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {_described(value)}")
    return value


def alphabet(characters):
    """The characters of a vocabulary: a string in which each occurs once."""
    text(characters, "characters")
    if not characters or len(set(characters)) != len(characters):
        problem = "none" if not characters else "one that occurs twice"
        raise ValueError(f"characters: expected different ones, got {problem}")
    return characters


def text_length(size, minimum, name="text"):
    """How many characters a text has, if that is enough."""
    if size < minimum:
        raise ValueError(f"{name}: expected at least {minimum} characters, got {size}")
    return size


def known_characters(unknown, name):
    """Refuse a text with characters that are not in the vocabulary; ``unknown`` are these."""
    if unknown:
        listed = ", ".join(map(ascii, unknown[:8])) + ", ..." * (len(unknown) > 8)
        raise ValueError(f"{name}: expected characters of the vocabulary, got {listed}")


def optional_positive(value, name):
    """None, or a positive number."""
    return None if value is None else real(value, name, above=0)


def same(value, expected, what):
    """``value``, if it is the one expected."""
    if value != expected:
        raise ValueError(f"{what}: expected {expected!r:.80}, got {value!r:.80}")
    return value


# -- pooling, delay, init, trees ------------------------------------------------------------


def pooled(y, lengths, kind, kinds, directions):
    """The arguments of ``pool``.

    Returns
    -------
    y : ndarray
        ``(T, B, D*H)``, C-contiguous, in its floating dtype; a sequence alone with ``B = 1``.
    lengths : ndarray of int64
        ``(B,)``, T where none was given; nobody else's.
    unbatched : bool
    """
    one_of(kind, "kind", kinds)
    integer(directions, "directions", 1, 2)
    array = real_array(y, "y")
    if array.ndim not in (2, 3):
        raise ValueError(f"y: expected an array of shape (T, B, D*H) or (T, D*H), got {array.shape}")
    if array.shape[-1] % directions:
        raise ValueError(f"y: expected a last axis of {directions} equal parts, one a direction, got {array.shape}")
    unbatched = array.ndim == 2
    steps, batch = array.shape[0], 1 if unbatched else array.shape[1]
    if lengths is None:
        lengths = np.full(batch, steps)
    else:
        lengths = sequence_lengths(lengths, "lengths", batch, steps, unbatched).copy()
    array = floating(array, "y")
    return array[:, np.newaxis] if unbatched else array, lengths, unbatched


def delayed(x, taps):
    """The arguments of ``delay``: ``x (T, ..., I)``, floating, and taps as a list of int in ``0..T``.

    What lies T steps back or more is before the start of every step.
    """
    array = real_array(x, "x")
    if array.ndim < 2:
        raise ValueError(f"x: expected an array of shape (T, ..., I), got {array.shape}")
    taps = integer_array(taps, "taps")
    if taps.ndim != 1 or not taps.size:
        raise ValueError(f"taps: expected a list of at least one number of steps back, got shape {taps.shape}")
    if int(taps.min()) < 0:
        raise ValueError(f"taps: expected numbers of steps back of at least 0, got {taps.min()}")
    return floating(array, "x"), [min(int(tap), len(array)) for tap in taps]


def recurrent_layer(value, kind, name="layer"):
    """A recurrent layer."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected a recurrent layer, got {_described(value)}")
    return value


def initialisation(layer, kind, scheme, schemes, forget_bias, t_max):
    """The arguments of ``init.apply``: forget bias and t_max as float, or None where they have no part."""
    recurrent_layer(layer, kind)
    one_of(scheme, "scheme", schemes)
    chrono, cell = scheme == "chrono", type(layer).__name__
    if forget_bias is not None:
        forget_bias = real(forget_bias, "forget_bias")
        if "+f" not in layer._row.memory:
            raise ValueError(f"forget_bias: expected None, got {forget_bias}: {cell} has no forget gate")
        if chrono:
            raise ValueError(f"forget_bias: expected None with 'chrono', which sets that bias, got {forget_bias}")
    if t_max is not None:
        t_max = real(t_max, "t_max", minimum=2)
    elif chrono:
        raise ValueError("t_max: expected a number of steps of at least 2 with 'chrono', got None")
    if chrono and not layer._row.memory:
        raise ValueError(f"scheme: 'chrono' sets the gates that keep the state, {cell} has none")
    if not layer.bias and (chrono or forget_bias is not None):
        what = "scheme: 'chrono'" if chrono else f"forget_bias: {forget_bias}"
        raise ValueError(f"{what} sets a bias, and this layer has bias=False")
    return forget_bias, t_max if chrono else None


def truncated(layer, kind, x, loss, k1, k2, state):
    """The arguments of ``tbptt``.

    Returns
    -------
    x : ndarray
        In the layer's dtype, in the layout it came in.
    axis : int
        Of the time.
    k1, k2 : int
    """
    recurrent_layer(layer, kind, "module")
    if layer.bidirectional:
        raise ValueError("module: expected a layer of one direction, got a bidirectional one")
    if not callable(loss):
        raise TypeError(f"loss: expected a function, got {_described(loss)}")
    k1 = positive_int(k1, "k1")
    k2 = integer(k2, "k2")
    if k2 < k1:
        raise ValueError(f"k2: expected at least k1 = {k1}, got {k2}")
    x, _, _, unbatched = recurrent_inputs(layer, x, state)
    if unbatched:
        x = x[0] if layer.batch_first else x[:, 0]
    return x, int(layer.batch_first and not unbatched), k1, k2


def loss_result(result, y):
    """What the ``loss`` of ``tbptt`` returned for ``y``: a float, and its gradient or None."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(f"loss: expected it to return (value, dy), got {_described(result)}")
    value, dy = result
    value = real_array(value, "loss: value", shape=())
    return float(value), None if dy is None else real_array(dy, "loss: dy", y.dtype, y.shape)


def tree(x, parents, size, dtype):
    """The arguments of a tree's call: ``x (N, size)`` in ``dtype`` and parents ``(N,)`` in -1..N-1, as intp."""
    x = real_array(x, "x")
    if x.ndim != 2 or x.shape[1] != size:
        raise ValueError(f"x: expected an array of shape {_shape_text(('N', size))}, got {x.shape}")
    parents = exact_shape(integer_array(parents, "parents"), "parents", x.shape[:1])
    if parents.size:
        lowest, highest = int(parents.min()), int(parents.max())
        if lowest < -1 or highest >= len(x):
            bad = lowest if lowest < -1 else highest
            raise ValueError(f"parents: expected nodes in 0..{len(x) - 1} or -1 for a root, got {bad}")
    return converted(x, dtype), converted(parents, np.dtype(np.intp))


def acyclic(parents, order):
    """Refuse parents that go round in a circle; ``order`` holds the nodes that do not."""
    if len(order) < len(parents):
        node = np.setdiff1d(np.arange(len(parents)), order)[0]
        raise ValueError(f"parents: expected trees, got a cycle through node {node}")
