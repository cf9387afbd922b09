"""Files of Keras 3, read without Keras: a zip archive of a configuration in JSON and of weights in HDF5."""

from .. import _validate
from ..params import restoring
from ..serialize import parsed
from ._archive import Archive, read_bytes
from ._hdf5 import Hdf5
from ._keras_layers import CONVERTED, RECURRENT, assembled, entry

_DEEPEST = 50  # models inside each other


def model_of(path):
    """The Sequential of a ``.keras`` file."""
    return _opened(path, lambda description, store: assembled(_parts_in(description, store)), whole=True)


def weights_of(path):
    """The weights of the layers that are known here, by name."""
    return _opened(path, lambda description, store: {
        place: _arrays(name, key, store) for name, _, place, key in _layers(description, ("Sequential", "Functional"))
        if name in CONVERTED
    })  # fmt: skip


def _opened(path, made_of, whole=False):
    """What is made of the configuration and the weights of a file; any error names the file.

    ``whole``: options too, some of which Keras 2 has by the same names with another meaning.
    """
    with open(path, "rb") as file:
        data = read_bytes(file, path)
        archive = Archive(file, data, path, deflated=True)
    problem = None
    try:
        if whole and "metadata.json" in archive.parts:
            _validate.keras_version(_json(archive, "metadata.json").get("keras_version"))
        description = _json(archive, "config.json")
        weights = archive.part("model.weights.h5", checked=True).copy()  # to be aligned
        with restoring(weights.size):  # a number of parameters that no file of this size has
            return made_of(description, Hdf5(weights, path))
    except (TypeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        problem = str(error).removeprefix(f"{path}: ") or type(error).__name__
    _validate.refuse_file(path, problem)


def _json(archive, name):
    return parsed(archive.part(name, checked=True).tobytes(), archive.path, name)


def _parts_in(description, store):
    """Class name, configuration and weights of the layers of a Sequential."""
    for name, inner, _, key in _layers(description, ("Sequential",)):
        _, config = entry(inner)
        _validate.keras_class(name, CONVERTED)
        yield name, config, _arrays(name, key, store)


def _layers(description, models, key="layers", names="", depth=0):
    """The layers of a model, and of those in it: class name, description, own name, group in the file."""
    name, config = entry(description)
    _validate.keras_class(name, models, "a model of fastrnn")
    counts = {}
    for inner in _validate.keras_layers(config.get("layers"), depth, _DEEPEST):
        name = inner["class_name"]
        counts[name] = counts.get(name, -1) + 1
        group = f"{key}/{_snake(name)}" + (f"_{counts[name]}" if counts[name] else "")
        title = names + str(inner.get("name", inner["config"].get("name")))
        if name in models:
            yield from _layers(inner, models, f"{group}/layers", f"{title}/", depth + 1)
        elif name != "InputLayer":
            yield name, inner, title, group


def _arrays(name, key, store):
    """The weights of a layer, as ``get_weights()`` gives them."""
    return [array for part in _places(name) for array in _variables(store, key + part)]


def _snake(name):
    """A class's name as Keras has it in files: SimpleRNN -> simple_rnn."""
    return {"SimpleRNN": "simple_rnn", "TimeDistributed": "time_distributed"}.get(name, name.lower())


def _places(name):
    """Where the variables of a layer are in its group."""
    if name in RECURRENT:
        return ("/cell/vars",)
    if name == "Bidirectional":
        return "/forward_layer/cell/vars", "/backward_layer/cell/vars"
    return () if name in ("Dropout", "Masking") else ("/layer/vars",) if name == "TimeDistributed" else ("/vars",)


def _variables(store, place):
    """The arrays 0, 1, ... of a group."""
    found = store.datasets(place)
    return [found[str(i)] for i in range(len(found)) if str(i) in found]
