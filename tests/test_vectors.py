"""Stored results of PyTorch: gate order, projection, bidirectional, lengths, in both dtypes.

``vectors/make_vectors.py`` made the files; nothing here needs PyTorch.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from tolerance import assert_close

import fastrnn as fr

FILES = sorted(Path(__file__).with_name("vectors").glob("*.json"))


def array(stored):
    """The array of a file's shape and hexadecimal values."""
    return np.array([float.fromhex(value) for value in stored["values"]]).reshape(stored["shape"])


def arrays(stored):
    return {name: array(value) for name, value in stored.items()}


def state_of(parts):
    """{"h": ..., "c": ...} or {"h": ...} as the contract's state."""
    return (parts["h"], parts["c"]) if "c" in parts else parts["h"]


def parts_of(state):
    return dict(zip("hc", state)) if isinstance(state, tuple) else {"h": state}


def test_all_files_are_there():
    assert len(FILES) >= 12
    assert {"lstm_projection", "lstm_lengths", "gru_bidirectional", "rnn_relu"} <= {f.stem for f in FILES}


@pytest.mark.smoke
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path, dtype):
    stored = json.loads(path.read_text())
    layer = getattr(fr, stored["layer"])(
        stored["input_size"], stored["hidden_size"], dtype=dtype, **stored["arguments"]
    )
    parameters = arrays(stored["parameters"])
    assert {name: value.shape for name, value in layer.parameters.items()} == {
        name: value.shape for name, value in parameters.items()
    }
    layer.load_state_dict(parameters)
    call = array(stored["x"]), state_of(arrays(stored["state"])), stored["lengths"]
    expected_y, expected_final = array(stored["y"]), arrays(stored["final"])

    for y, final, *_ in (layer(*call), layer.vjp(*call)):
        assert_close("y", y, expected_y, "forward", dtype)
        for name, part in parts_of(final).items():
            assert_close(name, part, expected_final[name], "forward", dtype)

    _, _, pullback = layer.vjp(*call)
    dx, dstate0 = pullback(array(stored["dy"]), state_of(arrays(stored["dstate"])))
    assert_close("dx", dx, array(stored["dx"]), "gradient", dtype)
    expected_dstate0, expected_grads = arrays(stored["dstate0"]), arrays(stored["grads"])
    for name, part in parts_of(dstate0).items():
        assert_close(f"d{name}0", part, expected_dstate0[name], "gradient", dtype)
    assert set(layer.grads) == set(expected_grads)
    for name, gradient in layer.grads.items():
        assert_close(name, gradient, expected_grads[name], "gradient", dtype)
