"""Checkpoints of a ``Trainer``: everything that decides how the run goes on.

A file is the model as ``save`` of it writes it, and beside it, under names that begin with ``training.``: the
optimiser's buffers, the carried state, the history, the parameters of a loss; as JSON in the metadata: position,
schedule, generators, counters. Imports numpy, ``serialize`` and ``_validate``.
"""

import json
import zlib

import numpy as np

from .. import _validate, serialize
from ..params import Module
from ..serialize import TRAINING, read_safetensors, write_safetensors
from .history import History

#: Attributes of a trainer that are JSON values.
COUNTERS = ("step", "seen", "elapsed", "loss", "valid_loss", "best", "bad", "_validated_at", "notes")

#: The column of a history that is another in every run; not a tensor, so that those of equal runs are equal.
CLOCK = "seconds"


def write_model(trainer, path, tensors=None, metadata=None):
    """The model in a file of its own kind, with the parameters of the loss, and what else is given."""
    model, tensors, metadata = trainer.model, {**_of_loss(trainer), **(tensors or {})}, metadata or {}
    if isinstance(model, Module):
        serialize.save(path, model, tensors, metadata)
    elif hasattr(model, "save"):
        model.save(path, tensors, metadata)
    else:
        write_safetensors(path, {**_arrays(trainer._parameters), **tensors}, metadata)


def _of_loss(trainer):
    return {TRAINING + name: array for name, array in _arrays(trainer._loss_parameters).items()}


def _arrays(places):
    arrays = {}
    for name, (leaf, own) in places.items():
        if leaf._editing:
            leaf._sync()
        arrays[name] = leaf._views[own]
    return arrays


def save(trainer, path):
    """Write a checkpoint."""
    optimizer, states = trainer.optimizer.state_dict(), []
    tensors = {f"{TRAINING}optimizer.{k}": a for k, a in optimizer.pop("buffers").items()}
    tensors |= {f"{TRAINING}history.{k}": a for k, a in trainer.history.items() if k != CLOCK}
    run = {name: getattr(trainer, name) for name in COUNTERS}
    run |= {
        "model": _described(trainer.model),
        "vocabulary": _vocabulary(trainer.model),
        "data": _identity(trainer.data),
        "sources": [_source_state(source) for source in (trainer.data, trainer.valid)],
        CLOCK: trainer.history.last(CLOCK).tolist(),
        "optimizer": optimizer,
        "schedule": trainer.schedule.state_dict() if hasattr(trainer.schedule, "state_dict") else None,
        "generators": generator_states(trainer._leaves),
        "state": _packed(trainer.state, states),
    }
    tensors |= {f"{TRAINING}state.{i}": array for i, array in enumerate(states)}
    write_model(trainer, path, tensors, {"training": json.dumps(run, default=_plain)})


def resume(trainer, path):
    """Take over a checkpoint."""
    tensors, metadata = read_safetensors(path, mapped=False)
    if "training" not in metadata:
        _validate.refuse_file(path, "it holds a model only, no training run to go on with")
    try:
        _restore(trainer, tensors, json.loads(metadata["training"]))
        return
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
    _validate.refuse_file(path, f"it does not fit this run: {problem}")


def _restore(trainer, tensors, run):
    _validate.same(run["model"], _described(trainer.model), "model", most=500)
    _validate.same(run["vocabulary"], _vocabulary(trainer.model), "checksum of the vocabulary")
    _validate.same(run["data"], _identity(trainer.data), "data (batch, sequence length, checksum)")
    optimizer = {**run["optimizer"], "buffers": _group(tensors, "optimizer.")}
    places = trainer._parameters | {TRAINING + name: place for name, place in trainer._loss_parameters.items()}
    given = {k: a for k, a in tensors.items() if not k.startswith(TRAINING) or k.startswith(TRAINING + "loss.")}
    arrays = _validate.state_arrays(given, {name: leaf._views[own].shape for name, (leaf, own) in places.items()}, "tensors")
    state = _unpacked(run["state"], _group(tensors, "state."))
    history = History({**_group(tensors, "history."), **({CLOCK: run[CLOCK]} if run[CLOCK] else {})})
    counters = {name: run[name] for name in COUNTERS}
    schedule = hasattr(trainer.schedule, "load_state_dict")
    _validate.same(run["schedule"] is not None, schedule, "schedule (whether there is one)")
    trainer.optimizer.load_state_dict(optimizer)
    if schedule:
        trainer.schedule.load_state_dict(run["schedule"])
    for name, (leaf, own) in places.items():
        leaf._store({own: arrays[name]})
    restore_generators(trainer._leaves, run["generators"])
    for source, source_state in zip((trainer.data, trainer.valid), run["sources"]):
        if source_state is not None:
            source.load_state_dict(source_state)
    vars(trainer).update(counters, state=state, history=history)


def _group(tensors, prefix):
    prefix = TRAINING + prefix
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _described(model):
    """What a model is, where its class says it."""
    return type(model).__name__ if type(model).__repr__ is object.__repr__ else repr(model)


def _vocabulary(model):
    """A checksum of what its numbers stand for, or None."""
    if not hasattr(model, "vocabulary"):
        return None
    return zlib.crc32(json.dumps(model.vocabulary.described()).encode())


def _identity(source):
    """As JSON gives it back."""
    return json.loads(json.dumps(source.identity(), default=_plain)) if hasattr(source, "identity") else len(source)


def _source_state(source):
    return source.state_dict() if hasattr(source, "state_dict") and hasattr(source, "batch") else None


# -- generators and states ------------------------------------------------------------------


def generator_states(leaves):
    """The states of all generators of masks, and which leaf has which: ``[states, numbers]``; JSON values but arrays."""
    numbers, states, known = [], [], {}
    for leaf in leaves:
        generator = leaf.__dict__.get("_rng")
        if generator is not None and id(generator) not in known:
            known[id(generator)] = len(states)
            states.append(generator.bit_generator.state)
        numbers.append(None if generator is None else known[id(generator)])
    return [states, numbers]


def rewind_generators(leaves, saved):
    """Set the generators that leaves have to the states they had."""
    states, numbers = saved
    for leaf, number in zip(leaves, numbers, strict=True):
        if number is not None:
            leaf.rng.bit_generator.state = states[number]


def restore_generators(leaves, saved):
    """Set generators to what ``generator_states`` returned; leaves that shared one share one."""
    states, numbers = saved
    generators = {}
    for leaf, number in zip(leaves, numbers, strict=True):
        if number is None:
            if leaf.__dict__.get("_rng") is not None:
                leaf.rng = None
            continue
        if number not in generators:
            bits = getattr(np.random, states[number]["bit_generator"])()
            bits.state = states[number]
            generators[number] = np.random.Generator(bits)
        leaf.rng = generators[number]


def _packed(state, arrays):
    """A state of arrays, tuples and None with numbers in the place of arrays, which are appended to ``arrays``."""
    if state is None:
        return None
    if isinstance(state, (tuple, list)):
        return [_packed(part, arrays) for part in state]
    arrays.append(state)
    return len(arrays) - 1


def _unpacked(packed, arrays):
    if packed is None:
        return None
    if isinstance(packed, list):
        return tuple(_unpacked(part, arrays) for part in packed)
    return arrays[str(packed)]


def _plain(value):
    """NumPy scalars and arrays as JSON values (states of some bit generators hold arrays)."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else _validate.json_value(value)
