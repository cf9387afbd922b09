"""The networks of the estimators: every gradient against central differences, padding, feedback; and what they may import."""

import subprocess
import sys

import numpy as np
import pytest
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.models.networks import NarxNetwork, SequenceNetwork
from fastrnn.reference import central_difference


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def assert_gradients(network, run):
    """Of the loss ``sum(output * d)``, in every parameter of a float64 network; ``run(way)`` calls it."""
    output, pullback = run("vjp")
    assert_same_bits("output", np.asarray(output), run("__call__"))
    d = drawn(9, *output.shape)
    pullback(d)
    names = {f"{part}.{name}" for part, module in network.modules.items() for name in module.parameters}
    assert len(names) >= 4
    for part, module in network.modules.items():
        for name, array in module.state_dict().items():

            def loss(values, module=module, name=name):
                module.parameters[name] = values
                return (run("__call__") * d).sum()

            numeric = central_difference(loss, array)
            module.parameters[name] = array
            assert_close(f"{part}.{name}", module.grads[name], numeric, "numeric")


@pytest.mark.parametrize("pooling", [None, "last", "max", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_of_sequences(pooling, bidirectional):
    network = SequenceNetwork(2, 3, cell="gru", hidden_size=3, bidirectional=bidirectional, pooling=pooling,
                              dtype="float64", rng=np.random.default_rng(0))  # fmt: skip
    x, lengths = drawn(1, 5, 3, 2), [5, 1, 3]
    assert_gradients(network, lambda way: getattr(network, way)(x, lengths=lengths))


def test_dropout_of_sequences():
    """Half of the features of the head are dropped in ``vjp``, the others doubled."""
    network = SequenceNetwork(2, 4, hidden_size=50, pooling="mean", dropout=0.5, dtype="float64", rng=np.random.default_rng(0))
    x = drawn(1, 4, 1, 2)
    seen = {}
    network.head.vjp = lambda y, vjp=network.head.vjp: seen.update(y=y) or vjp(y)
    network.vjp(x)
    features = fr.pool(network.layer(x)[0], kind="mean")
    kept = seen["y"] != 0
    assert 10 < kept.sum() < 40
    assert_close("kept", seen["y"][kept], 2 * features[kept], "forward")


@pytest.mark.parametrize("pooling", [None, "max"])
def test_gradients_through_dropout(pooling):
    """With the same mask at every call."""
    network = SequenceNetwork(2, 3, cell="gru", hidden_size=6, pooling=pooling, dropout=0.5, dtype="float64",
                              rng=np.random.default_rng(0))  # fmt: skip
    x = drawn(1, 4, 2, 2)

    def masked(way):
        network.dropout.rng = 7
        output, pullback = network.vjp(x)
        return (output, pullback) if way == "vjp" else output

    assert_gradients(network, masked)


@pytest.mark.parametrize("pooling", [None, "last", "max", "mean"])
@pytest.mark.parametrize("cell", ["lstm", "rnn_relu", "slstm", "lstm_peephole"])
def test_padding_does_not_count(cell, pooling):
    network = SequenceNetwork(3, 2, cell=cell, hidden_size=7, bidirectional=True, pooling=pooling, rng=np.random.default_rng(1))
    x = drawn(2, 6, 2, 3).astype(np.float32)
    x[4:, 1] = np.nan
    both, alone = network(x, lengths=[6, 4]), network(x[:4, 1:], lengths=[4])
    assert_same_bits("y", *((both[1], alone[0]) if pooling else (both[:4, 1], alone[:, 0])))


def test_last_is_the_final_state_of_both_directions():
    network = SequenceNetwork(3, 2, hidden_size=5, bidirectional=True, pooling="last", rng=np.random.default_rng(1))
    x, lengths = drawn(2, 6, 4, 3), [6, 2, 3, 1]
    h = network.layer(x, lengths=lengths)[1][0]
    assert_same_bits("y", network(x, lengths), network.head(np.concatenate([h[0], h[1]], axis=1)))


def test_initial_values_of_both_directions():
    """Recurrent weights orthogonal by block, forget gates open."""
    network = SequenceNetwork(3, 2, hidden_size=6, num_layers=2, bidirectional=True, rng=np.random.default_rng(1))
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        p = network.layer.parameters
        for R in np.split(p[f"weight_hh_{suffix}"].astype(np.float64), 4):
            assert_close(suffix, (R @ R.T).astype(np.float32), np.eye(6), "forward")
        assert (p[f"bias_ih_{suffix}"][6:12] == 1).all() and not p[f"bias_hh_{suffix}"][6:12].any()


def plain_narx(network, history, drive):
    """Step by step from the definition."""
    p = {f"{part}.{name}": a for part, module in network.modules.items() for name, a in module.parameters.items()}
    past, outputs = [history[:, i : i + 2] for i in range(0, history.shape[1], 2)], []
    for u in drive:
        z = np.concatenate([*past, u], axis=1)
        y = np.tanh(z @ p["hidden.weight"].T + p["hidden.bias"]) @ p["head.weight"].T + p["head.bias"]
        y = y + z @ p["direct.weight"].T if "direct.weight" in p else y
        past = [y, *past[:-1]]
        outputs.append(y)
    return np.stack(outputs)


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("taps, steps, width", [(1, 3, 2), (3, 1, 0), (2, 5, 1)])
def test_narx(taps, steps, width, linear):
    """Forward by its definition; gradients through all that is fed back."""
    network = NarxNetwork(2, taps, width, hidden_size=4, linear=linear, dtype="float64", rng=np.random.default_rng(0))
    history, drive = drawn(1, 3, 2 * taps), drawn(2, steps, 3, width)
    assert_close("y", network((history, drive)), plain_narx(network, history, drive), "forward")
    assert_gradients(network, lambda way: getattr(network, way)((history, drive)))


def test_narx_goes_on_along_its_direct_map():
    """Where all tanh units are 1 or -1, a step changes by the direct map alone; without it, by nothing."""
    z = drawn(1, 50, 6)
    for linear in (True, False):
        network = NarxNetwork(2, 2, 2, linear=linear, dtype="float64", rng=np.random.default_rng(0))
        near, far = (network((scale * z[:, :4], scale * z[np.newaxis, :, 4:]))[0] for scale in (1e6, 3e6))
        slope = network.direct.parameters["weight"] if linear else np.zeros((2, 6))
        assert_close("change", far - near, 2e6 * z @ slope.T, "forward")


# ---- Without scikit-learn -----------------------------------------------------------------------

MISSING = """
import sys
import fastrnn as fr
assert "SequenceClassifier" in dir(fr.models) and "sklearn" not in sys.modules
sys.modules["sklearn"] = None  # as if it were not there
try:
    fr.models.NAME
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["SequenceClassifier", "SequenceTagger", "SequenceRegressor", "NARXForecaster"])
def test_who_lacks_scikit_learn_is_told(name):
    done = subprocess.run([sys.executable, "-c", MISSING.replace("NAME", name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pip install 'fastrnn[sklearn]'" in done.stdout
