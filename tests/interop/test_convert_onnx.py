"""``convert`` to and from ``.onnx``: round trips bit for bit, and what ONNX does not have."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.interop import convert, read_pt, write_pt

pytestmark = pytest.mark.interop


def stacks():
    yield fr.LSTM(3, 4, 2, bidirectional=True, rng=0), {}
    yield fr.GRU(3, 4, 2, rng=0), {}
    yield fr.RNN(3, 4, bidirectional=True, rng=0), {"nonlinearity": "tanh"}
    yield fr.Sequential(fr.Embedding(9, 3, rng=0), fr.GRU(3, 4, bidirectional=True, rng=1), fr.Linear(8, 2, rng=2)), {}


@pytest.mark.parametrize("module, options", list(stacks()))
def test_round_trips(tmp_path, module, options):
    """The weights of a ``state_dict`` are in the file, in their order, whatever the modules are called there."""
    write_pt(tmp_path / "a.pt", module.state_dict())
    done = convert(tmp_path / "a.pt", tmp_path / "b.onnx", **options)
    assert list(done.module.parameters) == list(module.parameters)
    convert(tmp_path / "b.onnx", tmp_path / "c.pt")
    found = read_pt(tmp_path / "c.pt")
    for (name, array), again in zip(module.parameters.items(), found.values(), strict=True):
        assert_same_bits(name, np.asarray(again), array)


def test_what_onnx_does_not_have_is_refused(tmp_path):
    fr.save(tmp_path / "a.safetensors", fr.LSTM(3, 5, proj_size=2))
    with pytest.raises((TypeError, ValueError), match="proj_size"):
        convert(tmp_path / "a.safetensors", tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


def test_from_keras(tmp_path):
    module = fr.Sequential(fr.GRU(3, 4, batch_first=True, reset_after=False, rng=0), fr.Linear(4, 2, rng=1))
    fr.interop.keras.write(tmp_path / "a.keras", module)
    convert(tmp_path / "a.keras", tmp_path / "b.onnx")
    convert(tmp_path / "b.onnx", tmp_path / "c.safetensors")
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    assert np.abs(fr.load(tmp_path / "c.safetensors")(x) - module(x)).max() < 1e-5
