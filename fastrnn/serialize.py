"""Saving and loading modules as safetensors files.

A safetensors file is 8 bytes (the length of the header, little-endian), a JSON header (name ->
dtype, shape, offsets; ``__metadata__`` -> strings) and the bytes of the tensors without gaps.
``save`` puts the module's configuration into the metadata, so that ``load`` needs nothing else.
A reader trusts nothing: everything in the header is checked against the size of the file before
anything is allocated.

Format: https://github.com/huggingface/safetensors. Imports numpy, ``params``, ``blocks``, ``files`` and
``_validate``; json when a file is read or written.
"""

import os
from importlib import import_module

import numpy as np

from . import _validate
from .blocks import Sequential
from .files import extent, write_atomically
from .params import Module, registry, restoring

FORMAT = "fastrnn"
VERSION = 1
#: Formats of models, which know how to read them, and where these are.
MODELS = {
    "fastrnn-language-model": (".models", "LanguageModel"),
    "fastrnn-estimator": (".models.estimators", "Estimator"),
}
#: Modules that are imported when a file names one.
LATE = {"Final": ".interop.keras", "Masked": ".interop.keras", "Masking": ".interop.keras"}
#: Tensors of a file whose names begin so belong to a training run, not to the model.
TRAINING = "training."
MAX_HEADER = 100_000_000  # bytes; the bound of the reference implementation
MAX_AXES = 64  # of a NumPy array

#: NumPy's name -> the format's name.
_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}
_NUMPY_NAMES = {name: dtype for dtype, name in _DTYPES.items()}


# -- writing --------------------------------------------------------------------------------


def write_safetensors(path, tensors, metadata=None):
    """Write arrays into one file, which appears under its name complete or not at all.

    The bytes go to a new file beside it, are flushed to the disk, and the file is renamed. If
    anything fails, an earlier file of that name is left as it was.

    Parameters
    ----------
    path : str or path-like
    tensors : mapping of str to array_like
        Booleans, integers and floats of up to 64 bits.
    metadata : mapping of str to str, optional

    Raises
    ------
    TypeError, ValueError
        For names, arrays or metadata the format cannot hold; then nothing is written.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from fastrnn.serialize import read_safetensors, write_safetensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "a.safetensors")
    ...     write_safetensors(path, {"w": np.arange(3)}, {"note": "counting"})
    ...     tensors, metadata = read_safetensors(path)
    >>> tensors["w"], metadata
    (array([0, 1, 2]), {'note': 'counting'})
    """
    path = _validate.path(path)
    arrays, metadata = _validate.tensors_to_write(tensors, metadata, _DTYPES)
    # Largest items first, so that each tensor is aligned to its items.
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    write_atomically(path, [_header(arrays, metadata, order), *(arrays[n] for n in order)])


def _header(arrays, metadata, order):
    """Length and JSON header, padded with spaces to a multiple of 8 bytes."""
    import json

    offsets, end = {}, 0
    for name in order:
        offsets[name] = [end, end + arrays[name].nbytes]
        end += arrays[name].nbytes
    entries = {"__metadata__": metadata} if metadata else {}
    for name, array in arrays.items():
        entries[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": offsets[name],
        }
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


# -- reading --------------------------------------------------------------------------------


def read_safetensors(path, *, mapped=True):
    """Read all arrays of a file.

    Parameters
    ----------
    path : str or path-like
    mapped : bool
        Map the file into memory: what is never looked at is never read, and processes that map the same file share its
        memory. The arrays can be written, which the file does not see. It must stay as it is while they are used:
        whoever writes it anew has to write another file and rename that, as ``save`` does. False reads it at once.

    Returns
    -------
    tensors : dict of str to ndarray
        In the order of the header; writable, native byte order.
    metadata : dict of str to str

    Raises
    ------
    ValueError
        If the file is not a well-formed safetensors file; names the file and what is wrong.
    OSError
        If it cannot be read.

    Examples
    --------
    See ``write_safetensors``.
    """
    path, mapped = _validate.path(path), _validate.boolean(mapped, "mapped")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        entries, metadata, start = _read_header(file, size, path)
        places = _checked_places(entries, size - start, path)
        data = _mapped(file, size)[start:] if mapped else np.empty(size - start, np.uint8)
        if not mapped and file.readinto(memoryview(data)) != data.size:
            _validate.refuse_file(path, "it became shorter while it was read")
    tensors = {}
    for name, (dtype, shape, begin, end) in places.items():
        array = data[begin:end]
        if array.ctypes.data % dtype.itemsize:
            array = array.copy()
        array = array.view(dtype.newbyteorder("<")).reshape(shape)
        tensors[name] = array.astype(dtype, copy=False)
    return tensors, metadata


def read_metadata(path):
    """The metadata alone of a file, as ``read_safetensors`` returns it."""
    path = _validate.path(path)
    with open(path, "rb") as file:
        return _read_header(file, os.fstat(file.fileno()).st_size, path)[1]


def _mapped(file, size):
    """The bytes of a file, mapped; what is written to them stays with this process."""
    import mmap

    return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY), np.uint8)


def _read_header(file, size, path):
    """The header's entries, its metadata and where the tensors start."""
    if size < 8:
        _validate.refuse_file(path, f"it has {size} bytes, too few for a safetensors file")
    begin = file.read(8)
    if begin.startswith(b"PK\3\4"):
        _validate.refuse_file(path, "it is a zip archive, as .pt, .npz and .keras files are, not a safetensors file: "
                              "fr.interop reads those")  # fmt: skip
    length = int.from_bytes(begin, "little")
    if length > MAX_HEADER:
        _validate.refuse_file(path, f"its header claims {length} bytes, more than {MAX_HEADER}")
    if length > size - 8:
        _validate.refuse_file(path, f"its header claims {length} bytes, it has {size - 8} left")
    entries = parsed(file.read(length), path, "header")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _validate.refuse_file(path, "__metadata__ is not an object of strings")
    return entries, metadata, 8 + length


def parsed(text, path, what):
    """A JSON object; no duplicate keys, no NaN, no unbounded nesting."""
    import json

    problems = []

    def once(pairs):
        entries = {}
        for key, value in pairs:
            if key in entries:
                problems.append(f"the key {key!r:.80} occurs twice")
            entries[key] = value
        return entries

    def constant(name):
        problems.append(f"{name} is not JSON")

    entries = None
    try:
        if isinstance(text, bytes):
            text = text.decode()
        entries = json.loads(text, object_pairs_hook=once, parse_constant=constant)
    except RecursionError:
        problems.append("nested too deeply")
    except ValueError as error:  # not UTF-8, not JSON, an integer of thousands of digits
        problems.append(str(error))
    if not problems and not isinstance(entries, dict):
        problems.append(f"expected a JSON object, got {type(entries).__name__}")
    if problems:
        _validate.refuse_file(path, f"{what}: {problems[0]}")
    return entries


def _checked_places(entries, available, path):
    """Name -> (dtype, shape, begin, end), where all of them together cover the buffer once."""
    places = {name: _checked_place(name, entry, path) for name, entry in entries.items()}
    expected = 0
    for name in sorted(places, key=lambda name: places[name][2:]):
        _, _, begin, end = places[name]
        if begin != expected:
            what = "a gap before" if begin > expected else "an overlap at"
            _validate.refuse_file(path, f"{what} tensor {name!r:.80}: {begin}, expected {expected}")
        expected = end
    if expected != available:
        _validate.refuse_file(path, f"tensors end at {expected} of {available} bytes")
    return places


def _checked_place(name, entry, path):
    """One header entry as (dtype, shape, begin, end)."""

    def refuse(problem):
        _validate.refuse_file(path, f"tensor {name!r:.80}: {problem}")

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        refuse("expected exactly dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _NUMPY_NAMES:
        refuse(f"unknown dtype {kind!r:.40}")
    dtype = np.dtype(_NUMPY_NAMES[kind])
    if not _natural_numbers(shape) or len(shape) > MAX_AXES:
        refuse(f"shape is not a list of up to {MAX_AXES} natural numbers")
    if not _natural_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        refuse("data_offsets are not two natural numbers in order")
    size, possible = extent(shape, dtype.itemsize)
    if size != offsets[1] - offsets[0]:
        refuse(f"its shape needs {size} bytes, its offsets give {offsets[1] - offsets[0]}")
    if not possible:
        refuse("its shape is too large")
    return dtype, tuple(shape), *offsets


def _natural_numbers(values):
    """Whether ``values`` is a list of integers >= 0 (``true`` is none)."""
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


# -- modules --------------------------------------------------------------------------------


def save(path, module, tensors=None, metadata=None):
    """Save a module, its configuration and parameters, into one safetensors file.

    The file appears complete or not at all; if writing fails, an earlier one is left intact.
    Gradients, rng states and the state of optimisers are not part of it.

    Parameters
    ----------
    path : str or path-like
    module : Module
        A recurrent layer or a block.
    tensors, metadata : mapping, optional
        More to put into the file: arrays by names that begin with ``"training."``, which ``load`` passes over;
        strings.

    Raises
    ------
    TypeError
        If ``module`` is not a module.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile, fastrnn as fr
    >>> model = fr.Sequential(fr.Embedding(10, 4), fr.Linear(4, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     fr.save(path, model)
    ...     again = fr.load(path)
    >>> bool((again([3]) == model([3])).all())
    True
    """
    import json

    _validate.module(module, Module)
    configuration = json.dumps(_described(module, {}))
    own = {name: module.parameters[name] for name in _first_names(module)}
    described = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "configuration": configuration,
    }
    write_safetensors(path, {**own, **(tensors or {})}, {**described, **(metadata or {})})


def load(path):
    """Load a module that ``save`` wrote, a ``LanguageModel``, a checkpoint of one included, or an estimator.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    module : Module, LanguageModel or Estimator
        With fresh gradients (zeros) and, where it draws dropout masks, a fresh rng.

    Raises
    ------
    ValueError
        If the file is malformed, was not written by ``save``, or holds tensors that do not fit
        its configuration; names the file and what is wrong.
    OSError
        If it cannot be read.

    Examples
    --------
    See ``save``.
    """
    path = _validate.path(path)
    form = read_metadata(path).get("format")
    if form in MODELS:
        module, name = MODELS[form]
        return getattr(import_module(module, __package__), name).load(path)
    tensors, metadata = read_safetensors(path, mapped=False)
    if metadata.get("format") != FORMAT:
        _validate.refuse_file(path, "it has no fastrnn configuration in its metadata")
    if metadata.get("format_version") != str(VERSION):
        found = metadata.get("format_version")
        _validate.refuse_file(path, f"format_version is {found!r}, expected '{VERSION}'")
    description = parsed(metadata.get("configuration", ""), path, "configuration")
    tensors = {name: array for name, array in tensors.items() if not name.startswith(TRAINING)}
    budget = sum(array.size for array in tensors.values())
    try:
        with restoring(budget):
            module = _built(description, [], path)
        _fill(module, tensors)
        return module
    except (TypeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        problem = str(error).removeprefix(f"{path}: ") or type(error).__name__
    _validate.refuse_file(path, problem)


def _described(module, numbers):
    """JSON values from which ``_built`` makes a module of the same structure.

    A module that occurred before is only referred to by its number, in order of occurrence.
    """
    if id(module) in numbers:
        return {"shared": numbers[id(module)]}
    numbers[id(module)] = len(numbers)
    name = module._registered_name()
    if isinstance(module, Sequential):
        return {"class": name, "modules": [_described(inner, numbers) for inner in module]}
    return {"class": name, "arguments": module._config()}


def _built(description, built, path):
    """The module of a description, its parameters still zero."""
    if not isinstance(description, dict):
        _validate.refuse_file(path, "configuration: a module is not a JSON object")
    if set(description) == {"shared"}:
        number = description["shared"]
        if type(number) is not int or not 0 <= number < len(built) or built[number] is None:
            _validate.refuse_file(path, f"configuration: no module has the number {number!r:.40}")
        return built[number]
    name = description.get("class")
    if isinstance(name, str) and name in LATE:
        import_module(LATE[name], __package__)
    if not isinstance(name, str) or name not in registry:
        _validate.refuse_file(path, f"configuration: unknown class {name!r:.80}")
    cls, place = registry[name], len(built)
    built.append(None)  # its number; not yet to be shared
    if issubclass(cls, Sequential):
        inner = description.get("modules")
        if set(description) != {"class", "modules"} or not isinstance(inner, list) or not inner:
            _validate.refuse_file(path, f"configuration: {name} has no list of modules")
        module = cls._of([_built(entry, built, path) for entry in inner])
    else:
        arguments = description.get("arguments")
        if set(description) != {"class", "arguments"} or not isinstance(arguments, dict):
            _validate.refuse_file(path, f"configuration: {name} has no arguments")
        module = cls(**arguments)
    built[place] = module
    return module


def _first_names(module):
    """Parameter name -> (leaf, own name), each shared parameter under its first name only."""
    names, seen = {}, set()
    for name, (leaf, own) in module._owners().items():
        if (id(leaf), own) not in seen:
            seen.add((id(leaf), own))
            names[name] = (leaf, own)
    return names


def _fill(module, tensors):
    """Copy the file's tensors in, after checking all names, shapes and dtypes."""
    owners = _first_names(module)
    shapes = {name: leaf._views[own].shape for name, (leaf, own) in owners.items()}
    arrays = _validate.state_arrays(tensors, shapes, "tensors")
    for name, (leaf, own) in owners.items():
        _validate.same_dtype(arrays[name], f"tensors[{name!r}]", leaf.dtype)
        leaf._store({own: arrays[name]})
