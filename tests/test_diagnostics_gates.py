"""``gate_saturation``: the gates, by what the cells make of them, and the fractions, by counting."""

import numpy as np
import pytest
from cases import Case, Data
from diagnosed import LAYERS, NONLINEARITIES, STACKS, H, arrays, build, ragged, split, stack_of
from tolerance import assert_close

import fastrnn as fr
from fastrnn import diagnostics, reference
from fastrnn.reference import sigmoid


def normalised(a, gain, shift):
    return gain * (a - a.mean(axis=-1, keepdims=True)) / np.sqrt(a.var(axis=-1, keepdims=True) + 1e-5) + shift


def rebuilt(name, layer, part, g):
    """The cell's new states, SRU's output ``y`` too, by its equations, from its gates; ``part``: one layer and
    direction."""
    p, x, before = part.parameters(), part.u, part.before
    h, c = before.get("h"), before.get("c")
    scalar = {key: sigmoid(p[key]) for key in ("alpha", "beta", "zeta", "nu") if key in p}
    if name in ("rnn", "rnn_norm", "indrnn"):
        return {"h": g["h"]}
    if name == "rnn_general":
        return {"h": h + g["h"]}
    if "lstm" in name and name != "min_lstm" and "slstm" not in name:
        c_new = g["f"] * c + g.get("i", 1 - g["f"]) * g["g"]
        m = g["o"] * np.tanh(normalised(c_new, p["weight_ln_c"], p["bias_ln_c"]) if "weight_ln_c" in p else c_new)
        return {"h": m @ p["weight_hr"].T if "weight_hr" in p else m, "c": c_new}
    if name.startswith("gru"):
        return {"h": (1 - g["z"]) * g["n"] + g["z"] * h}
    if name == "mgu":
        return {"h": (1 - g["f"]) * h + g["f"] * g["n"]}
    if name.startswith("mut"):
        return {"h": g["n"] * g["z"] + h * (1 - g["z"])}
    if name == "fastrnn":
        return {"h": scalar["alpha"] * g["h"] + scalar["beta"] * h}
    if name == "fastgrnn":
        return {"h": (scalar["zeta"] * (1 - g["z"]) + scalar["nu"]) * g["n"] + g["z"] * h}
    if name.startswith("sru"):
        blocks = np.split(x @ p["weight_ih"].T, len(p["weight_ih"]) // H, axis=2)
        c_new = g["f"] * c + (1 - g["f"]) * blocks[0]
        s = blocks[3] if name == "sru_projected" else x
        return {"c": c_new, "y": g["r"] * c_new + (1 - g["r"]) * layer._options["alpha"] * s}
    if name in ("min_gru", "min_lstm"):
        n = (x @ p["weight_ih"].T + p["bias_ih"])[..., -H:]
        keep = 1 - g["z"] if name == "min_gru" else g["f"]
        return {"h": keep * h + (1 - keep) * n}
    assert name.startswith("slstm")
    mean = g["f"] * (c / before["n"]) + (1 - g["f"]) * g["z"]
    return {"h": g["o"] * mean, "c": mean * part.after["n"]}


@pytest.mark.parametrize("name", LAYERS)
def test_gates_are_those_of_the_cell(name):
    """With them the cell's equations give the states that the engine gave; the fractions are counts of them."""
    layer = build(name)
    x, _, state = arrays(layer, T=6, B=3)
    lengths = [6, 2, 4]
    walk = diagnostics.walk.Walk(layer, x, state, lengths)
    (part,) = walk.forward()
    gates = diagnostics.gates.Gates(part)
    diagnostics.gates._FORMULAS[type(layer)](gates)
    values = {letter: value for letter, (value, _) in gates.found.items()}
    alive = np.arange(6)[:, None] < lengths
    for key, expected in rebuilt(name, layer, part, values).items():
        assert_close(key, (part.y if key == "y" else part.after[key])[alive], expected[alive], "forward")
    y, final = layer(x, state, lengths)
    assert_close("y", part.y, y, "forward")
    ends = (np.array(lengths) - 1, np.arange(3))
    for key, whole in zip(layer.state_names, split(final)):
        assert_close(key, part.after[key][ends], whole[0], "forward")
    saturation = diagnostics.gate_saturation(layer, x, low=0.3, high=0.6, state=state, lengths=lengths)
    assert list(saturation) == list(values)
    for letter, (value, (start, end)) in gates.found.items():
        place = ((value - start) / (end - start))[alive]
        assert saturation[letter].tolist() == [np.mean(place < 0.3), np.mean(place > 0.6)]


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_bounds_of_activations(nonlinearity):
    """The values that an activation comes close to from both sides, or is 0 at; none for those that have no two."""
    layer = build("rnn", nonlinearity=nonlinearity, **NONLINEARITIES[nonlinearity])
    one = fr.RNN(1, 1, nonlinearity=nonlinearity, dtype="float64", rng=0, **NONLINEARITIES[nonlinearity])
    one.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[0.0]], "bias_ih_l0": [0.0], "bias_hh_l0": [0.0]})
    low, high = one(np.array([[[-1e9]], [[1e9]]]))[0].ravel()
    found = diagnostics.gate_saturation(layer, arrays(layer)[0])
    if "relu" in nonlinearity and nonlinearity != "leaky_relu":
        y = layer(arrays(layer)[0])[0]
        assert found["h"].tolist() == [np.mean(y == 0), 0.0] and 0 < np.mean(y == 0) < 1
    elif max(abs(low), abs(high)) < 10:
        place = (layer(arrays(layer)[0])[0] - low) / (high - low)
        expected = diagnostics.gate_saturation(layer, arrays(layer)[0], low=0.4, high=0.7)["h"]
        assert expected.tolist() == [np.mean(place < 0.4), np.mean(place > 0.7)]
    else:
        assert found == {}


@pytest.mark.parametrize("cell, letters", [("lstm_peephole", "ifgo"), ("lstm_coupled", "fgo"), ("gru", "rzn"),
                                           ("gru_reset_before", "rzn")])  # fmt: skip
def test_saturation_by_layer_and_direction(cell, letters):
    """From the gates that the oracle saved."""
    case = Case(cell, I=3, H=4, L=2, D=2, T=5, B=3, lengths=(5, 0, 3), padding=np.nan)
    data = Data(case)
    _, _, tape = data.forward()
    of_saved = {
        "lstm_peephole": lambda saved: saved[-1][6:10],
        "lstm_coupled": lambda saved: (saved[-1][4], *saved[-1][6:8]),
        "gru": lambda saved: saved[2:5],
        "gru_reset_before": lambda saved: (*saved[2:4], saved[5]),
    }[cell]
    found = diagnostics.gate_saturation(data.layer(), data.x, low=0.4, high=0.55, state=data.state, lengths=case.lengths)
    assert list(found) == list(letters)
    assert_fractions(found, letters, tape, of_saved)


@pytest.mark.parametrize("stack", STACKS)
def test_saturation_of_a_stack(stack):
    """Of the inputs that each layer really has."""
    (layer, spec), lengths = stack_of("gru", stack), (5, 3)
    x, _, state = arrays(layer)
    state = None if spec.learn_state else state
    found = diagnostics.gate_saturation(layer, *ragged(lengths, x), low=0.4, high=0.55, state=state, lengths=lengths)
    _, _, tape = reference.forward(spec, layer.parameters, x, state, lengths)
    assert_fractions(found, "rzn", tape, lambda saved: saved[2:5])


def assert_fractions(found, letters, tape, of_saved):
    """By counting over the steps of the oracle's tape."""
    for k, steps in enumerate(tape.steps):
        for letter, gate in zip(letters, map(np.concatenate, zip(*(of_saved(saved) for _, _, saved in steps)))):
            gate = (1 + gate) / 2 if letter in "gn" else gate
            assert found[letter][:, k].tolist() == [np.mean(gate < 0.4), np.mean(gate > 0.55)]
