"""``convert``: from a file of one kind to one of another, by their endings.

Files of ``.pt``, ``.npz``, and ``.safetensors`` that ``fr.save`` did not write, hold a ``state_dict``: tensors with the
names and the meaning that PyTorch gives them, but not what is computed with them. Into another such file they go as they
are. For ``.keras`` and ``.onnx``, which hold models, layers are recognised by names and shapes.
"""

import re
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

from .. import _validate, serialize
from ..blocks import Dropout, Embedding, Linear, Sequential
from ..layers import GRU, LSTM, RNN
from ..params import Module
from . import keras
from ._filled import filled
from ._keras_blocks import Final, Masked, Masking
from ._keras_layers import has_two_biases
from ._pt_write import write_pt
from .npz import read_npz, write_npz
from .pt import read_pt
from .torch import checked_options

ENDINGS = (".safetensors", ".pt", ".pth", ".npz", ".keras", ".onnx")
_DROPOUTS = ("input_dropout", "recurrent_dropout", "weight_drop")  # which no weights depend on
_DTYPES = {"float16", "float32", "float64"}  # of weights; halves become float32, as bfloat16 does where it is read
_OF_A_CELL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_RECURRENT = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(\d+)(_reverse)?")


@dataclass
class Conversion:
    """What was converted.

    Attributes
    ----------
    module : Module or None
        The model, if it was not tensors alone.
    mapped : list of (str, tuple, str)
        What each parameter is called in the first file, its shape, what it is called in the second one.
    lost : list of str
        What the module says and the second file, of tensors alone, does not: which layers have the batch first, ``Final``,
        ``Masked``, ``Masking``.
    """

    module: object
    mapped: list = field(repr=False)
    lost: list = field(default_factory=list)


def convert(source, target, *, key=None, chain=False, nonlinearity=None, batch_first=False):
    """Convert a file to one of another kind.

    Parameters
    ----------
    source, target : str or path-like
        Ending in ``.safetensors``, ``.pt``, ``.pth``, ``.npz``, ``.keras`` or ``.onnx``.
    key : str, optional
        The name of the ``state_dict`` in a checkpoint of PyTorch that holds more.
    chain : bool
        A ``state_dict`` to a model: that its layers, in the order of the file, each read what the one before puts out, at
        all steps. Not asked for a single layer, nor for those that are named 0, 1, 2, ..., as of a Sequential.
    nonlinearity : str, optional
        Of an RNN in a ``state_dict``: "tanh" or "relu".
    batch_first : bool
        Of the layers of a ``state_dict``, for ``.onnx``; a model of Keras always has the batch first.

    Returns
    -------
    Conversion

    Raises
    ------
    TypeError, ValueError
        Naming what the second format does not have, or what is wrong with the first file; for a language model or an
        estimator, of which other kinds of files hold the layers only.
    ImportError
        Without Keras for writing ``.keras``, without onnx for ``.onnx``.
    OSError

    Examples
    --------
    >>> import os, tempfile, fastrnn as fr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, second = os.path.join(folder, "gru.safetensors"), os.path.join(folder, "gru.pt")
    ...     fr.save(first, fr.GRU(3, 4))
    ...     fr.interop.convert(first, second).mapped[0]
    ('weight_ih_l0', (12, 3), 'weight_ih_l0')
    """
    source, target = _validate.path(source, "source"), _validate.path(target, "target")
    kinds = _validate.file_ending(source, ENDINGS, "source"), _validate.file_ending(target, ENDINGS, "target")
    _validate.another_file(source, target)
    chain, batch_first = _validate.boolean(chain, "chain"), _validate.boolean(batch_first, "batch_first")
    if nonlinearity is not None:
        _validate.one_of(nonlinearity, "nonlinearity", ("tanh", "relu"))
    content = _read(source, kinds[0], key)
    if kinds[1] in (".keras", ".onnx") and not isinstance(content, Module):
        content = module_of(content, chain, nonlinearity, batch_first)
    _write(target, kinds[1], content)
    if not isinstance(content, Module):
        return Conversion(None, [(name, array.shape, name) for name, array in content.items()])
    first, second = labels(content, kinds[0], reading=True), labels(content, kinds[1])
    mapped = [(first[name], array.shape, second[name]) for name, array in content.parameters.items()]
    return Conversion(content, mapped, _lost(content) if kinds[1] in (".pt", ".pth", ".npz") else [])


def _read(path, kind, key):
    """A module, or tensors by name."""
    if kind == ".keras":
        return keras.read(path)
    if kind == ".onnx":
        return import_module("fastrnn.onnx").to_module(path)
    if kind == ".safetensors":
        form = serialize.read_metadata(path).get("format")
        if form == serialize.FORMAT:
            return serialize.load(path)
        _validate.no_whole_model(form, serialize.MODELS, path)
        return _validate.tensors_of(serialize.read_safetensors(path, mapped=False)[0], key, path)
    return _validate.tensors_of(read_npz(path) if kind == ".npz" else read_pt(path), key, path)


def _write(path, kind, content):
    """Write a module, or tensors by name."""
    if kind == ".keras":
        keras.write(path, content)
    elif kind == ".onnx":
        import_module("fastrnn.onnx").export(content, path)
    elif kind == ".safetensors":
        save = serialize.save if isinstance(content, Module) else serialize.write_safetensors
        save(path, content)
    else:
        write = write_npz if kind == ".npz" else write_pt
        write(path, _state_dict(content) if isinstance(content, Module) else content)


def _state_dict(module):
    """The tensors of a module, if they mean to PyTorch what they mean here."""
    kinds = {RNN: "RNN", LSTM: "LSTM", GRU: "GRU", Embedding: None, Linear: None, Dropout: None, Masking: None}
    for _, leaf in _leaves(module):
        name = _validate.convertible(leaf, kinds)
        if name:
            checked_options(leaf, name, _DROPOUTS)
    return module.state_dict()


def _lost(module):
    """What a module says and its tensors do not."""
    turned = [_place(prefix, leaf) for prefix, leaf in _leaves(module) if leaf._recurrent and leaf.batch_first]
    there = {type(inner) for inner in module.modules()}
    named = [cls.__name__ for cls in (Final, Masked, Masking) if cls in there]
    return [f"batch_first of {' and '.join(turned)}", *named] if turned else named


def _leaves(module, prefix=""):
    """``(prefix of its parameters, module)`` of all that is in a Sequential."""
    if isinstance(module, Final):
        yield prefix, module.layer
    elif isinstance(module, Sequential):
        for i, inner in enumerate(module):
            yield from _leaves(inner, f"{prefix}{i}.")
    else:
        yield prefix, module


# -- what parameters are called -----------------------------------------------------------------

_GATES = {".keras": {"LSTM": "i f c o", "GRU": "z r h"}, ".onnx": {"LSTM": "i o f c", "GRU": "z r h"}}
_USUAL = {"LSTM": "i f g o", "GRU": "r z n"}
_WORDS = {
    ".keras": {"weight_ih": "kernel", "weight_hh": "recurrent_kernel", "bias_ih": "bias", "bias_hh": "bias"},
    ".onnx": {"weight_ih": "W", "weight_hh": "R", "bias_ih": "Wb of B", "bias_hh": "Rb of B"},
}


def labels(module, kind, reading=False):
    """Parameter -> what it is called in a file of this kind, and the order of its gates if that is not PyTorch's."""
    result = {}
    for prefix, leaf in _leaves(module):
        for name in leaf.parameters:
            result[prefix + name] = prefix + name if kind not in _WORDS else _label(prefix, leaf, name, kind, reading)
    return result


def _place(prefix, leaf, named=None):
    """What a layer is called, and where it is."""
    return f"{named or type(leaf).__name__} {prefix.rstrip('.')}".rstrip()


def _label(prefix, leaf, name, kind, reading):
    title = type(leaf).__name__
    named = {"RNN": "SimpleRNN", "Linear": "Dense"}.get(title, title) if kind == ".keras" else title
    place = _place(prefix, leaf, named)
    match = _RECURRENT.fullmatch(name)
    if match is None or not leaf._recurrent:
        words = {"Embedding": {"weight": "embeddings"}, "Dense": {"weight": "kernel"}}.get(named, {})
        return f"{place}: {words.get(name, name)}"
    word, gates = _WORDS[kind].get(match[1], match[1]), _GATES[kind].get(title)
    place += f", layer {match[2]}" if leaf.num_layers > 1 else ""
    place += ", backward" if match[3] else ""
    if kind == ".keras" and match[1].startswith("bias"):
        second = match[1] == "bias_hh"
        if has_two_biases(leaf):
            word = f"bias[{int(second)}]"
        elif reading and second:
            return f"{place}: none, 0"
        elif not reading:
            word = "bias, the sum of both"
    return f"{place}: {word}" + (f" ({gates} for {_USUAL[title]})" if gates else "")


# -- layers recognised by their tensors -----------------------------------------------------------


def module_of(tensors, chain=False, nonlinearity=None, batch_first=False):
    """The model of a ``state_dict``, as for ``convert``.

    Returns
    -------
    Module
        A layer, or a Sequential.
    """
    groups, names = {}, {}
    for name, array in tensors.items():
        prefix, _, own = name.rpartition(".")
        own += "_l0" if own in _OF_A_CELL else ""
        _validate.named_once(names.setdefault((prefix, own), name), name)
        groups.setdefault(prefix, {})[own] = array
    _validate.one_after_another(groups, chain)
    kinds = [_kind(prefix, group) for prefix, group in groups.items()]
    modules, before = [], None
    for cls, (prefix, group), following in zip(kinds, groups.items(), [*list(groups.values())[1:], None]):
        if cls == "table":
            cls = Linear if modules else _table(group["weight"].shape, following, prefix)
        module = _built(cls, group, prefix, nonlinearity, batch_first)
        if before is not None:
            _validate.fitting_widths(before, _width(module), prefix)
        before = module.output_size * module.num_directions if module._recurrent else group["weight"].shape[cls is Embedding]
        modules.append(module)
    return modules[0] if list(groups) == [""] or len(modules) == 1 else Sequential(*modules)


def _kind(prefix, group):
    """RNN, LSTM, GRU, Linear, or "table": a Linear without a bias or an Embedding."""
    axes = {name: array.ndim for name, array in group.items()}
    dtypes = {name: array.dtype.name for name, array in group.items()}
    if not set(dtypes.values()) <= _DTYPES:
        found = None
    elif axes == {"weight": 2, "bias": 1}:
        found = Linear
    elif axes == {"weight": 2}:
        found = "table"
    else:
        found = _recurrent_kind(group, axes)
    found = _validate.layer_kind(found, prefix)
    _validate.one_dtype(dtypes, prefix)
    return found


def _recurrent_kind(group, axes):
    """The class of a recurrent layer, or None."""
    matches = [_RECURRENT.fullmatch(name) for name in group]
    if not all(matches) or any(axes[name] != 1 + name.startswith("weight") for name in group):
        return None
    numbers = {match[2] for match in matches} - {None}
    if {"weight_ih_l0", "weight_hh_l0"} - set(group) or numbers != {str(i) for i in range(len(numbers))}:
        return None
    rows, width = group["weight_hh_l0"].shape
    width = group["weight_hr_l0"].shape[1] if "weight_hr_l0" in group else width
    found = {1: RNN, 3: GRU, 4: LSTM}.get(rows // width if width and rows % width == 0 else 0)
    projected = any(match[1] == "weight_hr" for match in matches)
    return None if projected and found is not LSTM else found


def _table(shape, following, prefix):
    """Embedding or Linear: what a matrix alone in front of all others is, which only the width of the next one can tell."""
    wanted = None
    if following is not None:
        wanted = following.get("weight_ih_l0", following.get("weight")).shape[1]
    fits = [cls for cls, width in ((Embedding, shape[1]), (Linear, shape[0])) if width == wanted]
    return _validate.table_kind(fits, prefix)


def _built(cls, group, prefix, nonlinearity, batch_first):
    """A layer with its tensors."""
    dtype = "float64" if next(iter(group.values())).dtype == "float64" else "float32"
    budget = 2 * sum(array.size for array in group.values())  # so that shapes without entries get no memory
    if cls in (Linear, Embedding):
        rows, columns = group["weight"].shape
        make = partial(Linear, columns, rows, "bias" in group) if cls is Linear else partial(Embedding, rows, columns)
        return filled(partial(make, dtype=dtype), group, budget)
    matches = [_RECURRENT.fullmatch(name) for name in group]
    projection = group.get("weight_hr_l0")
    options = {"proj_size": len(projection)} if projection is not None else {}
    if cls is RNN:
        options["nonlinearity"] = _validate.nonlinearity_given(nonlinearity, prefix)
    hidden = (group["weight_hh_l0"] if projection is None else projection).shape[1]
    return filled(partial(
        cls, group["weight_ih_l0"].shape[1], hidden, 1 + max(int(match[2]) for match in matches), dtype=dtype,
        bias=any(match[1] == "bias_ih" for match in matches), bidirectional=any(match[3] for match in matches),
        batch_first=batch_first, **options,
    ), group, budget)  # fmt: skip


def _width(module):
    """How many numbers a module reads."""
    return module.input_size if module._recurrent else getattr(module, "in_features", None)
