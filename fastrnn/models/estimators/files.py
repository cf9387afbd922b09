"""An estimator in a safetensors file: its arrays as tensors, all else as JSON in the metadata.

    write, read    what ``save`` and ``load`` of an estimator do

Imports numpy, ``params``, ``serialize`` and ``_validate``.
"""

import json

import numpy as np

from ... import _validate
from ...params import restoring
from ...serialize import read_safetensors, write_safetensors

FORMAT = "fastrnn-estimator"
VERSION = "1"
NETWORK = "network."


def write(estimator, path):
    """Write a fitted estimator."""
    network = estimator._network
    tensors = {f"{NETWORK}{part}.{k}": a for part, module in network.modules.items() for k, a in module.parameters.items()}
    tensors |= {name: getattr(estimator, name) for name in estimator._arrays if getattr(estimator, name) is not None}
    described = {
        "class": type(estimator).__name__,
        "parameters": _written(estimator.get_params(deep=False)),
        "network": network.config,
        "values": {name: getattr(estimator, name) for name in estimator._values},
    }
    metadata = {"format": FORMAT, "format_version": VERSION, "estimator": json.dumps(described, default=_plain)}
    write_safetensors(path, tensors, metadata)


def _written(parameters):
    """Parameters as JSON can hold them: no generators, no displays; the keys of ``class_weight`` may be no strings."""
    if not isinstance(parameters["random_state"], (int, np.integer)):
        parameters["random_state"] = None
    parameters["progress"] = parameters["progress"] is True
    if isinstance(parameters.get("class_weight"), dict):
        parameters["class_weight"] = list(parameters["class_weight"].items())
    return parameters


def _plain(value):
    """NumPy's numbers and types, and arrays of labels, as JSON values."""
    if isinstance(value, np.ndarray):
        return {"dtype": _validate.label_dtype(value), "labels": value.tolist()}
    if isinstance(value, np.generic):
        return value.item()
    return _validate.parameter_dtype(value).name


def read(kind, path):
    """The estimator of a file; ``kind`` is its class or a base of it. ValueError for a file that has none."""
    tensors, metadata = read_safetensors(_validate.path(path), mapped=False)
    if metadata.get("format") != FORMAT:
        _validate.refuse_file(path, "it is not an estimator of fastrnn")
    if metadata.get("format_version") != VERSION:
        _validate.refuse_file(path, f"format_version is {metadata.get('format_version')!r}, expected {VERSION!r}")
    try:
        return _restored(kind, tensors, json.loads(metadata["estimator"]))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    _validate.refuse_file(path, problem)


def _restored(kind, tensors, described):
    """The estimator of checked tensors and unchecked metadata."""
    kinds = {cls.__name__: cls for cls in _subclasses(kind)}
    cls = kinds[_validate.one_of(described["class"], "class", kinds)]
    parameters = described["parameters"]
    if isinstance(parameters.get("class_weight"), list):
        parameters["class_weight"] = dict(parameters["class_weight"])
    estimator = cls(**parameters)
    own = {k.removeprefix(NETWORK): a for k, a in tensors.items() if k.startswith(NETWORK)}
    with restoring(sum(array.size for array in own.values())):
        network = cls._network_class(**described["network"])
    shapes = {f"{part}.{k}": a.shape for part, module in network.modules.items() for k, a in module.parameters.items()}
    _validate.state_arrays(own, shapes, "tensors")
    for part, module in network.modules.items():
        module.load_state_dict({k.removeprefix(f"{part}."): a for k, a in own.items() if k.startswith(f"{part}.")})
    estimator._network = network
    estimator._rng = _validate.random_generator(estimator.random_state)
    for name in cls._values:
        setattr(estimator, name, _labels(described["values"][name]))
    arrays = {name: array for name, array in tensors.items() if not name.startswith(NETWORK)}
    _fill(estimator, arrays)
    return estimator


def _labels(value):
    """The array of labels that a JSON object stands for; other values as they are."""
    return np.array(value["labels"], _validate.label_dtype(value["dtype"])) if isinstance(value, dict) else value


def _fill(estimator, arrays):
    """Take over the fitted arrays, if they have the shapes that go with the network."""
    expected = estimator._fitted_shapes()
    curves = {name: arrays[name].shape[:1] for name in ("loss_curve_", "validation_curve_") if name in arrays}
    _validate.state_arrays(arrays, expected | curves, "tensors")
    for name in estimator._arrays:
        setattr(estimator, name, arrays.get(name))
    estimator.n_iter_ = len(estimator.loss_curve_)


def _subclasses(kind):
    """A class and all that come from it."""
    yield kind
    for cls in kind.__subclasses__():
        yield from _subclasses(cls)
