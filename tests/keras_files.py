"""``.keras`` files made by hand: configurations and weights of layers, in a zip archive."""

import json
import struct
import zipfile

import h5_files
import numpy as np
from damaged import zipped

PLACES = {"LSTM": ["cell"], "GRU": ["cell"], "SimpleRNN": ["cell"], "TimeDistributed": ["layer"],
          "Bidirectional": ["forward_layer/cell", "backward_layer/cell"]}  # fmt: skip
SNAKE = {"SimpleRNN": "simple_rnn", "TimeDistributed": "time_distributed", "InputLayer": "input_layer"}


def entry(name, **config):
    config = {"name": name.lower(), **config}
    return {"module": "keras.layers", "class_name": name, "config": config, "registered_name": None}


def bidirectional(name, merge_mode="concat", backward=None, **config):
    """The entry of a Bidirectional."""
    return entry("Bidirectional", merge_mode=merge_mode, layer=entry(name, **{"go_backwards": False, **config}),
                 backward_layer=entry(name, **{"go_backwards": True, **config, **(backward or {})}))  # fmt: skip


def sequential(entries):
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "sequential", "layers": entries},
            "registered_name": "Sequential"}  # fmt: skip


def groups(layers):
    """The tree of weights: ``layers`` are pairs of an entry and a list of arrays."""
    counts, tree = {}, {}
    for described, weights in layers:
        name = described["class_name"]
        counts[name] = counts.get(name, -1) + 1
        key = SNAKE.get(name, name.lower()) + (f"_{counts[name]}" if counts[name] else "")
        tree[key] = {"vars": {}}
        places = PLACES.get(name, [""])
        each = len(weights) // len(places)
        for i, place in enumerate(places):
            inner = tree[key]
            for part in filter(None, place.split("/")):
                inner = inner.setdefault(part, {})
            inner["vars"] = {str(n): array for n, array in enumerate(weights[i * each : (i + 1) * each])}
    return {"layers": tree, "vars": {}}


def claiming(data, size):
    """An archive whose last part says that it had so many bytes, in the directory's numbers of 8 bytes."""
    data = bytearray(data)
    entry, end = data.rindex(b"PK\1\2"), data.rindex(b"PK\5\6")
    name, more = struct.unpack_from("<HH", data, entry + 28)
    struct.pack_into("<I", data, entry + 24, 2**32 - 1)
    struct.pack_into("<H", data, entry + 30, more + 12)
    length = struct.unpack_from("<I", data, end + 12)[0]
    struct.pack_into("<I", data, end + 12, length + 12)
    data[entry + 46 + name : entry + 46 + name] = struct.pack("<HHQ", 1, 8, size)
    return bytes(data)


def parts(layers, tree=None, config=None, **options):
    """What is in a file, by name."""
    config = sequential([described for described, _ in layers]) if config is None else config
    weights = h5_files.File(groups(layers) if tree is None else tree, **options).data
    return {"metadata.json": json.dumps({"keras_version": "3.8.0"}), "config.json": json.dumps(config),
            "model.weights.h5": weights}  # fmt: skip


def file(layers, compression=zipfile.ZIP_STORED, **more):
    return zipped(parts(layers, **more), compression)


def weights(name, width, units, bias=True, two=True, dtype=np.float32, rng=0):
    """Random weights of a recurrent layer, as ``get_weights()`` gives them."""
    gates = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[name] * units
    rng = np.random.default_rng(rng)
    shapes = [(width, gates), (units, gates)] + [(2, gates) if name == "GRU" and two else (gates,)] * bias
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def tagger():
    """A model of several kinds of layers."""
    rng = np.random.default_rng(0)
    table, kernel = rng.standard_normal((9, 3)).astype("f4"), rng.standard_normal((8, 5)).astype("f4")
    both = weights("LSTM", 3, 4) + weights("LSTM", 3, 4, rng=1)
    return [
        (entry("InputLayer"), []), (entry("Embedding", mask_zero=False), [table]),
        (bidirectional("LSTM", return_sequences=True), both), (entry("Dropout", rate=0.2), []),
        (entry("GRU", return_sequences=True, reset_after=False, use_bias=True), weights("GRU", 8, 8, two=False)),
        (entry("GRU", return_sequences=True, reset_after=True), weights("GRU", 8, 8)),
        (entry("TimeDistributed", layer=entry("Dense", activation="linear")), [kernel, kernel[0]]),
    ]  # fmt: skip
