"""Small runs of the trainer, of every kind of model and data, and how two of them are compared."""

import json

import numpy as np
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.models import LanguageModel, Vocabulary
from fastrnn.serialize import read_safetensors
from fastrnn.training import Sequences, Streams, TextStreams, warmup_cosine
from fastrnn.training.calls import named, parts

TEXT = "abcde fgh\n" * 40


def small_model(seed=0, **options):
    return LanguageModel(Vocabulary("abcdefgh \n"), 8, 12, 2, rng=seed, **options)


def ragged(count=14, seed=0, longest=7, width=3):
    """Inputs ``(T_i, width)`` and, for each step, the sum of what was read."""
    rng = np.random.default_rng(seed)
    inputs = [rng.standard_normal((length, width)) for length in rng.integers(1, longest + 1, count)]
    return inputs, [x.cumsum(axis=0)[:, :1] for x in inputs]


class Tagger:
    """A model of one's own: a layer and a list of heads, with no more than the trainer asks for."""

    def __init__(self, seed=0):
        self.layer = fr.GRU(3, 6, bidirectional=True, dropout=0.3, num_layers=2, rng=seed)
        self.heads = [fr.Linear(12, 1, rng=seed), fr.Linear(1, 1, rng=seed)]

    def __call__(self, x, lengths=None):
        return self.heads[1](self.heads[0](self.layer(x, lengths=lengths)[0]))

    def vjp(self, x, lengths=None):
        y, _, to_layer = self.layer.vjp(x, lengths=lengths)
        z, to_first = self.heads[0].vjp(y)
        out, to_second = self.heads[1].vjp(z)
        return out, lambda dout: to_layer(to_first(to_second(dout)))


def language(seed=0, dropout=0.3, text=TEXT, lr=0.02, **options):
    """Truncated BPTT with carried state, masks, a rate by progress."""
    model = small_model(seed, dropout=dropout)
    data = TextStreams(model.vocabulary.encode(text), batch_size=3, seq_length=16)  # 8 steps an epoch
    optimizer = fr.optim.Adam(model.modules, lr=lr)
    options = {"steps": 11, "schedule": warmup_cosine(lr), "max_norm": 5.0} | options
    return fr.Trainer(model, optimizer, data, **options)


def sequences(seed=0, **options):
    """Ragged data in a new order every epoch, held-out data, a rate that falls on a plateau, early stopping."""
    model = fr.Sequential(fr.Dropout(0.2, rng=seed), fr.LSTM(3, 6, rng=seed), fr.Linear(6, 1, rng=seed))
    optimizer = fr.optim.SGD(model, lr=0.5, momentum=0.9)
    schedule = fr.optim.ReduceOnPlateau(optimizer, factor=0.5, patience=0)
    options = {"epochs": 8, "valid": Sequences(*ragged(5, seed=1), 2, rng=seed), "patience": 2, "validate_every": 2,
               "schedule": schedule, "clip_value": 0.1} | options  # fmt: skip
    return fr.Trainer(model, optimizer, Sequences(*ragged(), 5, rng=seed), loss=fr.losses.mse_loss, **options)


def series(seed=0, **options):
    """A state carried through the layers of a Sequential, nested ones too; a schedule by steps."""
    x = np.random.default_rng(5).standard_normal((40, 2))
    inner = fr.Sequential(fr.LSTM(4, 5, rng=seed), fr.Dropout(0.2, rng=seed), fr.Linear(5, 1, rng=seed))
    model = fr.Sequential(fr.GRU(2, 4, rng=seed), inner)
    optimizer = fr.optim.AdamW(model, lr=0.05)
    schedule = fr.optim.WarmupLR(fr.optim.CosineLR(optimizer, 6), 3)
    options = {"epochs": 2, "schedule": schedule, "validate_every": 3} | options
    data = Streams(x, x.cumsum(axis=0)[:, :1], batch_size=2, seq_length=4)
    return fr.Trainer(model, optimizer, data, loss=fr.losses.mse_loss, **options)


def adaptive(seed=0, **options):
    """A loss that has parameters."""
    model = fr.Sequential(fr.Embedding(20, 8, rng=seed), fr.GRU(8, 8, dropout=0.2, num_layers=2, rng=seed))
    head = fr.AdaptiveSoftmax(8, 20, [4, 10], div_value=2, rng=seed)
    codes = np.random.default_rng(0).integers(0, 20, 200)
    data = TextStreams(codes, 4, 8)
    return fr.Trainer(model, fr.optim.RMSprop([model, head]), data, loss=head, epochs=1, **options)


def own_model(seed=0, **options):
    """A model of one's own, both directions over ragged data."""
    model = Tagger(seed)
    optimizer = fr.optim.Adam([model.layer, *model.heads])
    data = Sequences(*ragged(), 4, rng=seed)
    return fr.Trainer(model, optimizer, data, loss=fr.losses.huber_loss, epochs=2, **options)


RUNS = {run.__name__: run for run in (language, sequences, series, adaptive, own_model)}
CLOCK = ("elapsed", "seconds")


def contents(path):
    """Tensors, metadata and run of a file, without what depends on the clock."""
    tensors, metadata = read_safetensors(path)
    run = json.loads(metadata.pop("training", "{}"))
    for name in CLOCK:
        run.pop(name, None)
    return tensors, metadata, run


def assert_same_file(ours, theirs):
    """Two checkpoints, or two models, are equal to the bit."""
    (tensors, *rest), (expected, *others) = contents(ours), contents(theirs)
    assert list(tensors) == list(expected)
    for name, array in tensors.items():
        assert_same_bits(name, array, expected[name])
    assert rest == others


def parameters_of(model):
    """Copies by name."""
    return {name: leaf._views[own].copy() for name, (leaf, own) in named(parts(model)).items()}
