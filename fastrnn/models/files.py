"""A ``LanguageModel`` in a safetensors file: its tensors, and in the metadata its configuration and vocabulary.

    write, read    what ``LanguageModel.save`` and ``load`` do

Imports ``params``, ``serialize``, ``_validate`` and the vocabularies.
"""

import json

from .. import _validate
from ..params import restoring
from ..serialize import TRAINING, read_safetensors, write_safetensors
from .vocabulary import restored

FORMAT = "fastrnn-language-model"
VERSION = "2"
#: Versions that can be read; in the first the cell was an LSTM, the vocabulary one of characters.
VERSIONS = ("1", VERSION)


def write(model, path, tensors, metadata):
    """Write a model, and beside it more tensors and metadata."""
    described = {
        "format": FORMAT,
        "format_version": VERSION,
        "configuration": json.dumps(model._config()),
        "vocabulary": json.dumps(model.vocabulary.described()),
    }
    write_safetensors(path, {**model.parameters, **tensors}, {**described, **metadata})


def read(kind, path):
    """``model, tensors, metadata`` of a file; ``kind`` is the model's class. ValueError for a file that has no model."""
    tensors, metadata = read_safetensors(_validate.path(path), mapped=False)
    if metadata.get("format") != FORMAT:
        _validate.refuse_file(path, "it is not a fastrnn language model")
    if metadata.get("format_version") not in VERSIONS:
        found, known = metadata.get("format_version"), " or ".join(map(repr, VERSIONS))
        _validate.refuse_file(path, f"format_version is {found!r}, expected {known}")
    own = {k: a for k, a in tensors.items() if not k.startswith(TRAINING)}
    try:
        return _restored(kind, own, metadata), {k: tensors[k] for k in tensors.keys() - own}, metadata
    except (KeyError, TypeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    _validate.refuse_file(path, problem)


def _restored(kind, tensors, metadata):
    """The model of checked tensors and unchecked metadata."""
    vocabulary = restored(json.loads(metadata["vocabulary"]))
    configuration = json.loads(metadata["configuration"])
    with restoring(sum(array.size for array in tensors.values())):
        model = kind(vocabulary, **configuration)
    _validate.state_arrays(tensors, {k: a.shape for k, a in model.parameters.items()}, "tensors")
    for name in ("embedding", "layer", "head"):
        of_module = {k.split(".", 1)[1]: a for k, a in tensors.items() if k.startswith(f"{name}.")}
        getattr(model, name).load_state_dict(of_module)
    return model
