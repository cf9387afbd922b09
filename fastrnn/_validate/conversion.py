"""What comes from Keras, and files that are converted to other kinds."""

import os
import re

from .arrays import real_array
from .messages import described


def keras_weights(weights, gates, two_biases):
    """What ``get_weights()`` of a recurrent layer of Keras gives.

    Parameters
    ----------
    weights : list of array_like
        Kernel ``(I, gates * H)``, recurrent kernel ``(H, gates * H)``, and the bias, if there is one; then those of the
        reverse direction.
    gates : int
    two_biases : bool
        Whether the bias may be ``(2, gates * H)``.

    Returns
    -------
    list of (ndarray, ndarray, ndarray or None)
        By direction, in one floating dtype.
    """
    arrays = _weights(weights, (2, 3, 4, 6))
    each = len(arrays) if len(arrays) < 4 else len(arrays) // 2
    shape = arrays[1].shape
    width = shape[-1] if shape else 0
    if len(shape) != 2 or not width or width != gates * shape[0]:
        raise ValueError(f"weights[1]: expected a recurrent kernel of shape (H, {gates}H), got {shape}")
    shape = arrays[0].shape
    if len(shape) != 2 or not shape[0] or shape[1] != width:
        raise ValueError(f"weights[0]: expected a kernel of shape (I, {width}), got {shape}")
    biases = [(width,), (2, width)][: 1 + two_biases]
    if each == 3 and arrays[2].shape not in biases:
        expected = " or ".join(map(str, biases))
        raise ValueError(f"weights[2]: expected a bias of shape {expected}, got {arrays[2].shape}")
    for i in range(each, len(arrays)):
        if arrays[i].shape != arrays[i - each].shape:
            raise ValueError(f"weights[{i}]: expected shape {arrays[i - each].shape}, as of the other direction, "
                             f"got {arrays[i].shape}")  # fmt: skip
    return [(*arrays[i : i + each], None)[:3] for i in range(0, len(arrays), each)]


def keras_table(weights, bias):
    """``get_weights()`` of an Embedding, ``[(V, E)]``; with ``bias`` of a Dense, ``[(I, O)]`` or ``[(I, O), (O,)]``."""
    arrays = _weights(weights, (1, 2) if bias else (1,))
    shape = arrays[0].shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"weights[0]: expected a matrix, got shape {shape}")
    if len(arrays) == 2 and arrays[1].shape != shape[1:]:
        raise ValueError(f"weights[1]: expected a bias of shape {shape[1:]}, got {arrays[1].shape}")
    return arrays


def _weights(weights, counts):
    """So many floating arrays of one dtype; 16 bits as float32."""
    if not isinstance(weights, (list, tuple)):
        raise TypeError(f"weights: expected a list of arrays, as get_weights() gives, got {described(weights)}")
    if len(weights) not in counts:
        raise ValueError(f"weights: expected {' or '.join(map(str, counts))} arrays, got {len(weights)}")
    arrays = [real_array(array, f"weights[{i}]") for i, array in enumerate(weights)]
    arrays = [array.astype("float32") if array.dtype.name == "float16" else array for array in arrays]
    for i, array in enumerate(arrays):
        if array.dtype.name not in ("float32", "float64") or array.dtype != arrays[0].dtype:
            raise ValueError(f"weights[{i}]: expected float32 or float64, the same for all, got {array.dtype}")
    return arrays


def built(layer, name="layer"):
    """A layer of Keras that has its weights."""
    if not layer.built:
        raise ValueError(f"{name}: it has no weights yet; build it, or call it once")
    return layer


def keras_class(name, known, where="fastrnn"):
    """The class of a layer in a configuration."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{where} has no {name!r:.80} of Keras, only {', '.join(known)}")
    return name


def masked_input(x, axes):
    """An array of so many axes, batch first."""
    if x.ndim != axes:
        shape = "(B, T)" if axes == 2 else "(B, T, I)"
        raise ValueError(f"x: expected an array of shape {shape}, got {x.shape}")
    return x


def has_output_state(layer):
    """A recurrent layer whose state holds its last output."""
    if layer.state_names[0] != "h":
        raise ValueError(f"layer: expected one whose state holds its output, got {type(layer).__name__}")
    return layer


def one_module(modules, name):
    """The only one of some modules."""
    if len(modules) != 1:
        raise ValueError(f"{name}: expected one layer, got {len(modules)}")
    return modules[0]


def maskable(modules, masking, embedding):
    """Modules of a ``Masked``: the first says what is masked, recurrent layers have the batch first."""
    first = modules[0]
    if not (isinstance(first, masking) or isinstance(first, embedding) and first.padding_idx is not None):
        raise ValueError("modules: expected a Masking, or an Embedding with padding_idx, before all others, "
                         f"got {type(first).__name__}")  # fmt: skip
    for module in modules:
        for inner in module.modules():
            if inner._recurrent and not inner.batch_first:
                raise ValueError(f"modules: expected layers with batch_first=True, got {type(inner).__name__} without")
    return modules


def met_once(modules, where):
    """Modules none of which occurs twice."""
    for i, module in enumerate(modules):
        if any(module is other for other in modules[:i]):
            raise ValueError(f"{where} has no {type(module).__name__} that occurs twice")
    return modules


def masks_first(name, position):
    """A layer of Keras that masks steps, at its position in a model."""
    if position:
        raise ValueError(f"{name}: fastrnn has no layer that masks steps behind another")


def keras_version(value):
    """The version of Keras that wrote a file: 3 or later."""
    number = re.match(r"[0-9]{1,9}(?=\.)", value) if isinstance(value, str) else None
    if number is None or int(number[0]) < 3:
        raise ValueError(f"metadata.json: expected a file of Keras 3 or later, got keras_version {value!r:.80}")


def keras_entry(value):
    """A layer in a configuration of Keras: one of its own classes, with its configuration."""
    _described_layer(value)
    name, registered, module = value["class_name"], value.get("registered_name"), value.get("module", "keras")
    if registered not in (None, name) or not isinstance(module, str) or module.split(".")[0] != "keras":
        raise ValueError(f"configuration: {name!r:.80} of {module!r:.80} is not one of Keras's own classes")
    return value


def _described_layer(value):
    fits = isinstance(value, dict) and isinstance(value.get("class_name"), str) and isinstance(value.get("config"), dict)
    if not fits:
        raise ValueError("configuration: a layer has no class_name and config")


def keras_layers(value, depth, most):
    """The layers of a model in a configuration of Keras, so many models deep."""
    if not isinstance(value, list) or depth > most:
        raise ValueError("configuration: a model has no list of layers, or models lie too deep inside each other")
    for layer in value:
        _described_layer(layer)
    return value


def one_class(value, classes, name="cls"):
    """One of some classes."""
    if not isinstance(value, type) or value not in classes:
        listed = ", ".join(kind.__name__ for kind in classes)
        got = value.__name__ if isinstance(value, type) else described(value)
        raise TypeError(f"{name}: expected one of the classes {listed}, got {got}")
    return value


def ending(path, end):
    """A path that ends as the format asks for."""
    if not path.endswith(end):
        raise ValueError(f"path: expected one that ends in {end}, got {described(path)}")
    return path


def file_ending(path, endings, name):
    """The ending of a path, one of those known."""
    for end in endings:
        if path.endswith(end):
            return end
    raise ValueError(f"{name}: expected a path that ends in {', '.join(endings)}, got {described(path)}")


def another_file(source, target):
    """The second path is not that of the first file."""
    if os.path.exists(target) and os.path.exists(source) and os.path.samefile(source, target):
        raise ValueError(f"target: expected another file than source, got {target}")


def no_whole_model(form, models, path):
    """A file is not of one of fastrnn's formats for more than modules."""
    if form in models:
        raise ValueError(f"{path}: it holds a whole model of fastrnn ({form}), of which other kinds of files hold the layers "
                         "only; of a LanguageModel fr.save(path, fr.Sequential(model.embedding, model.layer, model.head)) "
                         "makes a file that can be converted")  # fmt: skip


def tensors_of(value, key, path):
    """The ``state_dict`` in what a file of PyTorch holds; ``key`` names the one of several."""
    if key is not None:
        if not isinstance(value, dict) or key not in value:
            raise ValueError(f"key: {path} has no {key!r:.80}{_choices(value)}")
        value = value[key]
    if not isinstance(value, dict) or not value or not all(hasattr(array, "dtype") for array in value.values()):
        raise ValueError(f"{path}: expected a state_dict, a dict of tensors alone{_choices(value)}")
    return {str(name): array for name, array in value.items()}


def _choices(value):
    """What may be in the place of the whole."""
    names = [repr(name) for name, inner in value.items() if isinstance(inner, dict)] if isinstance(value, dict) else []
    return f"; its key may be one of {', '.join(names):.200}" if names else ""


def one_after_another(prefixes, chain):
    """Names of layers in the order in which each reads what the one before it puts out."""
    counted = list(prefixes) == [str(i) for i in range(len(prefixes))]
    if len(prefixes) > 1 and not chain and not counted:
        listed = ", ".join(repr(prefix) for prefix in prefixes)
        raise ValueError(f"chain: a state_dict does not say what is done with the layers {listed:.300}; "
                         "chain=True (--chain) takes them one after another, each at all steps")  # fmt: skip


def named_once(first, name):
    """A tensor of a layer has one name in a file."""
    if first != name:
        raise ValueError(f"the file: {first!r:.100} and {name!r:.100} are names of the same tensor of one layer")


def layer_kind(found, prefix):
    """A layer that was recognised by its tensors."""
    if found is None:
        raise ValueError(f"{prefix or 'the file'}: its tensors are not those of an RNN, LSTM, GRU, Embedding or Linear")
    return found


def one_dtype(dtypes, prefix):
    """The tensors of a layer, name -> dtype, are all of one."""
    first, *others = dtypes.items()
    for name, dtype in others:
        if dtype != first[1]:
            raise ValueError(f"{prefix or 'the file'}: expected tensors of one dtype in a layer, but "
                             f"{first[0]!r} is {first[1]}, {name!r} {dtype}")  # fmt: skip


def table_kind(kinds, prefix):
    """What a matrix alone is, if that is clear."""
    if len(kinds) != 1:
        raise ValueError(f"{prefix or 'the file'}: a weight alone is that of an Embedding or of a Linear without a bias, "
                         "and the shapes do not say which")  # fmt: skip
    return kinds[0]


def fitting_widths(before, after, name):
    """What a layer puts out is what the next one reads."""
    if before != after:
        raise ValueError(f"{name}: it reads {after} numbers, the layer before it puts out {before}")


def nonlinearity_given(value, name):
    """The nonlinearity of an RNN, which its tensors do not tell."""
    if value is None:
        raise ValueError(f"nonlinearity: {name or 'the file'} is an RNN, and a state_dict does not say whether of tanh or "
                         "relu; give it (--nonlinearity)")  # fmt: skip
    return value


def kept_dtype(dtype, expected):
    """The dtype in which the backend of Keras keeps what it was given."""
    if dtype != expected:
        raise ValueError(f"dtype: the backend of Keras has no {expected}, it makes {dtype} of it")
