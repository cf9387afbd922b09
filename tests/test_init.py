"""``init.apply``: each scheme on every cell, by gate block, layer and direction."""

import numpy as np
import pytest
from cases import CELLS, Case
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import reference

SCHEMES = ["torch", "glorot", "orthogonal", "identity", "chrono"]
#: Kind -> order of the gates in the biases, those that keep the state, those that replace it, blocks of weight_hh.
GATES = {
    "rnn": ("h", "", "", 1), "lstm": ("ifgo", "f", "i", 4), "lstm_coupled": ("fgo", "f", "", 3), "gru": ("rzn", "z", "", 3),
    "mgu": ("fn", "", "f", 2), "mut1": ("zrn", "", "z", 2), "mut2": ("zrn", "", "z", 3), "mut3": ("zrn", "", "z", 3),
    "indrnn": ("h", "", "", 1), "fastrnn": ("h", "", "", 1), "fastgrnn": ("zn", "z", "", 1),
    "multiplicative_lstm": ("ifgo", "f", "i", 4), "sru": ("fr", "f", "", 0), "min_gru": ("zn", "", "z", 0),
    "min_lstm": ("fin", "f", "i", 0), "slstm": ("ifzo", "f", "", 4),
}  # fmt: skip


def gates(cell):
    coupled = CELLS[cell].arguments.get("coupled")
    return GATES["lstm_coupled" if coupled else CELLS[cell].kind]


def case_of(cell, H=6):
    return Case(cell, I=4, H=H, P=3, L=2, D=2, dtype="float64")


def new(cell, H=6, **more):
    return case_of(cell, H).new_layer(**more)


def suffixes(cell):
    """Of every layer and direction."""
    return [suffix for *_, suffix in reference.places(case_of(cell).spec)]


def is_drawn(name):
    """All but what begins with a value of its own: gains, shifts, scalars."""
    return name.startswith(("weight_", "bias_")) and "_ln_" not in name


def options(cell, scheme):
    """What ``apply`` needs for this scheme; None where the cell cannot have it."""
    if scheme != "chrono":
        return {}
    return {"t_max": 50} if any(gates(cell)[1:3]) else None


SUPPORTED = [(cell, scheme) for cell in CELLS for scheme in SCHEMES if options(cell, scheme) is not None]


def blocks(array, H):
    """A matrix by its gate blocks; a projection is one block."""
    return [array] if len(array) % H else np.split(array, len(array) // H)


def is_recurrent(name):
    return name.startswith("weight_hh")


@pytest.mark.parametrize("cell, scheme", SUPPORTED)
def test_every_parameter_is_drawn_and_used(cell, scheme):
    """Same seed, same numbers, in both dtypes; the layer computes with them."""
    layer = new(cell)
    x = np.random.default_rng(0).standard_normal((4, 2, layer.input_size))
    before, y = layer.state_dict(), layer(x)[0]
    assert fr.init.apply(layer, scheme, rng=3, **options(cell, scheme)) is layer
    single = new(cell, dtype="float32")
    fr.init.apply(single, scheme, rng=np.random.default_rng(3), **options(cell, scheme))
    for name, array in layer.parameters.items():
        assert (array != before[name]).any() == is_drawn(name)
        assert_same_bits(name, single.parameters[name], array.astype("float32"))
    assert (layer(x)[0] != y).any()
    expected, *_ = reference.forward(case_of(cell).spec, layer.state_dict(), x)
    assert_close("y", layer(x)[0], expected, "forward")


@pytest.mark.parametrize("cell", CELLS)
def test_torch_is_the_constructor(cell):
    fresh = new(cell, rng=5)
    again = fr.init.apply(new(cell, rng=6), "torch", rng=5)
    for name, array in fresh.parameters.items():
        assert_same_bits(name, again.parameters[name], array)


def uniform(array, bound):
    """All within ``-bound..bound``; mean and mean square those of a uniform draw, to 5 standard errors."""
    assert np.abs(array).max() <= bound
    assert abs(array.mean()) < 5 * bound / np.sqrt(3 * array.size)
    assert abs((array**2).mean() - bound**2 / 3) < 5 * bound**2 * np.sqrt(4 / 45 / array.size)


def drawn(layer):
    return [(name, array) for name, array in layer.parameters.items() if is_drawn(name)]


@pytest.mark.parametrize("cell", CELLS)
def test_glorot(cell):
    layer = fr.init.apply(new(cell), "glorot", rng=0)
    for name, array in drawn(layer):
        if name.startswith("bias"):
            assert not array.any()
        elif array.ndim == 1:
            uniform(array, 6**-0.5)
        else:
            for block in blocks(array, 6):
                uniform(block, (6 / sum(block.shape)) ** 0.5)


@pytest.mark.parametrize("cell", CELLS)
def test_orthogonal(cell):
    """Each gate of each layer and direction, and no two of them alike."""
    layer = fr.init.apply(new(cell), "orthogonal", rng=0)
    seen = []
    for name, array in drawn(layer):
        if name.startswith("bias"):
            assert not array.any()
        elif is_recurrent(name) and array.ndim == 2:
            for block in blocks(array, 6):
                assert_close(name, block.T @ block, np.eye(block.shape[1]), "forward")
                seen.append(block)
        elif array.ndim == 2:
            for block in blocks(array, 6):
                uniform(block, (6 / sum(block.shape)) ** 0.5)
    assert len(seen) == len(suffixes(cell)) * gates(cell)[3] * (CELLS[cell].kind != "indrnn")
    assert len({block.tobytes() for block in seen}) == len(seen)


def test_orthogonal_is_uniform():
    """Both signs of every entry are as likely: without the signs of R the diagonal would be negative."""
    layer, signs = fr.RNN(1, 5, dtype="float64"), []
    for seed in range(400):
        fr.init.apply(layer, "orthogonal", rng=seed)
        signs.append(np.sign(layer.parameters["weight_hh_l0"]))
    assert np.abs(np.mean(signs, axis=0)).max() < 5 * 400**-0.5


@pytest.mark.parametrize("cell", CELLS)
def test_identity(cell):
    layer = fr.init.apply(new(cell), "identity", rng=0)
    for name, array in drawn(layer):
        if name.startswith("bias"):
            assert not array.any()
        elif is_recurrent(name) and array.ndim == 1:  # the diagonal
            assert (array == 1).all()
        elif is_recurrent(name):
            for block in blocks(array, 6):
                assert (block == np.eye(*block.shape)).all()
        else:
            uniform(array, 6**-0.5)


def test_an_identity_rnn_adds_up_its_input():
    """Le et al. 2015: with relu, and input weights that copy, the state is a running sum."""
    layer = fr.init.apply(fr.RNN(3, 3, nonlinearity="relu", dtype="float64"), "identity")
    layer.parameters["weight_ih_l0"] = np.eye(3)
    x = np.random.default_rng(0).random((50, 2, 3))
    assert_close("y", layer(x)[0], np.cumsum(x, axis=0), "forward")


def biases_of(layer, suffix, cell, gate):
    """A gate's block of ``bias_ih``; and of ``bias_hh``, which is empty where there is none."""
    H, at = layer.hidden_size, gates(cell)[0].index(gate)
    both = (layer.parameters.get(f"bias_{which}{suffix}", np.zeros(0)) for which in ("ih", "hh"))
    return [bias[at * H : (at + 1) * H] for bias in both]


@pytest.mark.parametrize("cell", [cell for cell in CELLS if any(gates(cell)[1:3])])
def test_chrono(cell):
    """b = log u, u in 1..t_max - 1, in the gates that keep the state, by direction and layer; -b in the others."""
    layer = fr.init.apply(new(cell, H=200), "chrono", t_max=1000, rng=0)
    order, keeping, replacing, products = gates(cell)
    seen = []
    for suffix in suffixes(cell):
        first, second = biases_of(layer, suffix, cell, keeping or replacing)
        first = first if keeping else -first
        assert not second.any()
        u = np.exp(first)
        assert u.min() >= 1 and u.max() <= 999
        assert abs(u.mean() - 500) < 5 * 999 / np.sqrt(12 * u.size)  # uniform, not uniform in its logarithm
        seen.append(first.tobytes())
        for gate in replacing:
            opposite, second = biases_of(layer, suffix, cell, gate)
            assert_same_bits(gate, opposite, -first)
            assert not second.any()
        for gate in set(order) - {*keeping, *replacing}:
            for bias in biases_of(layer, suffix, cell, gate):
                if bias.size:
                    uniform(bias, 200**-0.5)
    assert len(set(seen)) == len(suffixes(cell))
    uniform(layer.parameters["weight_hh_l0" if products else "weight_ih_l0"], 200**-0.5)


@pytest.mark.parametrize("layer", [fr.LSTM(1, 1, dtype="float64"), fr.GRU(1, 1, dtype="float64")])
def test_chrono_keeps_the_state_for_about_u_steps(layer):
    """With weights of 0 a unit forgets at the rate 1 / (1 + u): its time constant is the one drawn."""
    fr.init.apply(layer, "chrono", t_max=100, rng=1)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        layer.parameters[name] = np.zeros_like(layer.parameters[name])
    lstm = isinstance(layer, fr.LSTM)
    u = np.exp(layer.parameters["bias_ih_l0"][1])
    _, one = layer(np.zeros((1, 1, 1)), (None, np.ones((1, 1, 1))) if lstm else np.ones((1, 1, 1)))
    _, zero = layer(np.zeros((1, 1, 1)))
    kept = one[1] - zero[1] if lstm else one - zero
    assert_close("kept", kept, np.full((1, 1, 1), u / (1 + u)), "forward")


def test_the_shortest_chrono():
    layer = fr.init.apply(fr.LSTM(2, 3), "chrono", t_max=2)
    assert not layer.parameters["bias_ih_l0"][:6].any()


@pytest.mark.parametrize("scheme", ["torch", "glorot", "orthogonal", "identity"])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if gates(cell)[1] == "f"])
def test_forget_bias(cell, scheme):
    """What both biases add up to, in the forget gate; everything else is as without it."""
    plain = fr.init.apply(new(cell), scheme, rng=0)
    layer = fr.init.apply(new(cell), scheme, forget_bias=1.5, rng=0)
    for suffix in suffixes(cell):
        first, second = biases_of(layer, suffix, cell, "f")
        assert (first == 1.5).all() and not second.any()
        for gate in set(gates(cell)[0]) - {"f"}:
            for ours, theirs in zip(biases_of(layer, suffix, cell, gate), biases_of(plain, suffix, cell, gate)):
                assert_same_bits(gate, ours, theirs)
    for name in layer.parameters:
        if name.startswith("weight"):
            assert_same_bits(name, layer.parameters[name], plain.parameters[name])


def test_a_forget_bias_of_zero_is_one():
    layer = fr.init.apply(fr.LSTM(2, 3), "torch", forget_bias=0)
    assert not layer.parameters["bias_ih_l0"][3:6].any() and layer.parameters["bias_ih_l0"][:3].all()


def test_the_rng_of_the_layer_is_the_default():
    first, second = fr.GRU(2, 3, rng=1), fr.GRU(2, 3, rng=1)
    fr.init.apply(first, "glorot")
    fr.init.apply(second, "glorot", rng=second.rng)
    for name, array in first.parameters.items():
        assert_same_bits(name, second.parameters[name], array)
    fr.init.apply(second, "glorot")
    assert (second.parameters["weight_hh_l0"] != first.parameters["weight_hh_l0"]).any()


def test_without_biases():
    layer = fr.init.apply(fr.LSTM(2, 3, bias=False), "orthogonal")
    block = layer.parameters["weight_hh_l0"][:3]
    assert_close("R", block.T @ block, np.eye(3), "forward")


def test_a_pullback_from_before_is_refused():
    layer = fr.GRU(2, 3)
    y, _, pullback = layer.vjp(np.ones((2, 1, 2)))
    fr.init.apply(layer, "identity")
    with pytest.raises(RuntimeError, match="changed"):
        pullback(np.ones_like(y))


LSTM, GRU, RNN = fr.LSTM(2, 3, rng=0), fr.GRU(2, 3, rng=0), fr.RNN(2, 3, rng=0)
BARE = fr.LSTM(2, 3, bias=False, rng=0)
BAD = {
    "a block": (lambda: fr.init.apply(fr.Linear(2, 3), "torch"), TypeError, "layer: .*recurrent.*Linear"),
    "None": (lambda: fr.init.apply(None, "torch"), TypeError, "layer: .*None"),
    "unknown": (lambda: fr.init.apply(LSTM, "he"), ValueError, "scheme: .*chrono.*'he'"),
    "not a name": (lambda: fr.init.apply(LSTM, 1), TypeError, "scheme: "),
    "no t_max": (lambda: fr.init.apply(LSTM, "chrono"), ValueError, "t_max: .*None"),
    "short t_max": (lambda: fr.init.apply(LSTM, "chrono", t_max=1.5), ValueError, "t_max: .*2.*1.5"),
    "bad t_max": (lambda: fr.init.apply(LSTM, "torch", t_max="9"), TypeError, "t_max: .*'9'"),
    "chrono without gates": (lambda: fr.init.apply(RNN, "chrono", t_max=9), ValueError, "scheme: .*RNN has none"),
    "chrono without bias": (lambda: fr.init.apply(BARE, "chrono", t_max=9), ValueError, "scheme: .*bias=False"),
    "forget_bias without bias": (
        lambda: fr.init.apply(BARE, "torch", forget_bias=1), ValueError, "forget_bias: .*bias=False"),
    "forget_bias of a GRU": (
        lambda: fr.init.apply(GRU, "torch", forget_bias=1), ValueError, "forget_bias: .*GRU has no forget gate"),
    "forget_bias of an RNN": (lambda: fr.init.apply(RNN, "torch", 1.0), ValueError, "forget_bias: .*RNN"),
    "forget_bias and chrono": (
        lambda: fr.init.apply(LSTM, "chrono", 1.0, t_max=9), ValueError, "forget_bias: .*'chrono'"),
    "forget_bias nan": (lambda: fr.init.apply(LSTM, "torch", np.nan), ValueError, "forget_bias: .*nan"),
    "forget_bias text": (lambda: fr.init.apply(LSTM, "torch", "1"), TypeError, "forget_bias: .*'1'"),
    "rng": (lambda: fr.init.apply(LSTM, "torch", rng="0"), TypeError, "rng: .*'0'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_change_nothing(name):
    call, error, words = BAD[name]
    layers = (LSTM, GRU, RNN, BARE)
    before = [layer.state_dict() for layer in layers]
    with pytest.raises(error, match=words):
        call()
    for layer, values in zip(layers, before):
        for key, array in values.items():
            assert_same_bits(key, layer.parameters[key], array)
