"""``fr.diagnostics``: gradient norms, Jacobians and spectral radii against differences; bad calls; no side effects."""

import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import Case, Data
from diagnosed import LAYERS, WITH_H, B, H, I, T, arrays, build, joined, rotation, split, states_of
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn import diagnostics, reference
from fastrnn.reference import central_difference

ROOT = Path(__file__).resolve().parents[1]

# ---------------------------------------------------------------- gradient_norms


@pytest.mark.parametrize("name", LAYERS)
def test_norms_by_differences(name):
    """dL/dh_t and dL/dc_t: what follows step t, as a function of the state it left."""
    layer = build(name)
    x, dy, state = arrays(layer)
    norms = diagnostics.gradient_norms(layer, x, dy, state=state)
    assert list(norms) == list(layer.state_names)
    for t, left in enumerate(states_of(layer, x, state)[1:]):
        for i, part in enumerate(layer.state_names):

            def objective(value):
                parts = [value if j == i else other for j, other in enumerate(left)]
                direct = np.sum(dy[t] * value[0]) if part == "h" else 0.0
                return direct + np.sum(dy[t + 1 :] * layer(x[t + 1 :], joined(parts))[0])

            expected = 0.0 if part == "m" else np.linalg.norm(central_difference(objective, left[i]))
            assert_close(f"{part} {t}", norms[part][t : t + 1], np.array([expected]), "numeric")


def disturbed(cell, number, row, part, unit, eps):
    """The oracle's cell, but at its call ``number`` it adds ``eps`` to one unit of one part of its new state."""
    calls = itertools.count()

    def forward(k, x, state):
        new, saved = cell.forward(k, x, state)
        if next(calls) == number:
            new[part][row, unit] += eps
        return new, saved

    return cell._replace(forward=forward)


@pytest.mark.parametrize("cell", ["lstm_peephole_proj", "gru"])
def test_norms_of_a_stack(cell, monkeypatch):
    """Two layers, two directions, lengths: a state inside the oracle is moved, and L looked at."""
    case = Case(cell, I=2, H=3, P=2, L=2, D=2, T=3, B=2, lengths=(3, 2), padding=np.nan, state="none")
    data = Data(case)
    layer, dy = data.layer(), np.where(np.isnan(data.dy_plain), 0.0, data.dy_plain)
    norms = diagnostics.gradient_norms(layer, data.x, data.dy, lengths=case.lengths)
    plain, eps, places = reference.cell_of(data.spec), 1e-5, reference.places(data.spec)

    def moved(*where):
        """L when a state is moved; the oracle runs place after place, each of them T steps."""
        cell = disturbed(plain, *where)
        monkeypatch.setattr(reference.stack, "cell_of", lambda spec: cell)
        return np.sum(dy * data.forward()[0])

    for part, name in enumerate(layer.state_names):
        expected = np.zeros((len(places), case.T, case.B, layer.state_sizes[part]))
        for k, t, b, unit in np.ndindex(expected.shape):
            if t < case.lengths[b]:
                number = k * case.T + (case.T - 1 - t if places[k][1] else t)
                where = number, sum(t < length for length in case.lengths[:b]), part, unit
                expected[k, t, b, unit] = (moved(*where, eps) - moved(*where, -eps)) / (2 * eps)
        assert_close(name, norms[name], np.sqrt(np.sum(expected**2, axis=(2, 3))), "numeric")


def composed(layer, x, disturb=None):
    """y of a stack put together here from layers of one direction, run a step at a time.

    ``disturb``: (place, step, part, unit, by how much): one unit of a state, once it is computed.
    """
    D, outputs, u = layer.num_directions, [], x
    for place in range(layer.num_layers * D):
        l, d = divmod(place, D)
        alone = type(layer)(u.shape[2], layer.hidden_size, dtype="float64", rng=0)
        alone.load_state_dict({key: layer.parameters[f"{key[:-1]}{l}{'_reverse' * d}"] for key in alone.parameters})
        y, state = np.zeros((*x.shape[:2], layer.hidden_size)), None
        for t in range(len(x))[:: 1 - 2 * d]:
            y[t], state = alone(u[t : t + 1], state)[0][0], split(alone(u[t : t + 1], state)[1])
            if disturb is not None and disturb[:2] == (place, t):
                state[disturb[2]][0, 0, disturb[3]] += disturb[4]
                y[t] = state[0][0]
            state = joined(state)
        outputs.append(y)
        if d == D - 1:
            both = outputs[-D:]
            merged = {"concat": lambda: np.concatenate(both, axis=2), "sum": lambda: sum(both),
                      "mean": lambda: sum(both) / D, "mul": lambda: np.prod(both, axis=0)}[layer._config()["merge"]]()  # fmt: skip
            skip = layer._config()["skip"]
            passed = merged + u if skip == "residual" and merged.shape == u.shape else merged
            u = np.concatenate([passed, x], axis=2) if skip == "input" else passed
            outputs[-D:] = [passed] * D
    return np.concatenate(outputs[::D], axis=2) if skip == "output" else passed


@pytest.mark.parametrize("skip", ["none", "input", "output", "residual"])
@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "mul"])
def test_norms_of_merged_directions_and_skips(merge, skip):
    for cls in (fr.GRU, fr.LSTM):
        layer = cls(H, H, 2, bidirectional=True, merge=merge, skip=skip, dtype="float64", rng=3)
        x = np.random.default_rng(0).standard_normal((3, 1, H))
        y = layer(x)[0]
        assert_close("y", composed(layer, x), y, "forward")
        dy = np.random.default_rng(1).standard_normal(y.shape)
        norms = diagnostics.gradient_norms(layer, x, dy)
        for part, name in enumerate(layer.state_names):
            expected = np.zeros((4, 3, H))
            for place, t, unit in np.ndindex(expected.shape):
                up, down = (np.sum(dy * composed(layer, x, (place, t, part, unit, eps))) for eps in (1e-5, -1e-5))
                expected[place, t, unit] = (up - down) / 2e-5
            assert_close(name, norms[name], np.linalg.norm(expected, axis=2), "numeric")


@pytest.mark.parametrize("name", ["lstm_projected", "sru", "gru"])
def test_learned_initial_states(name):
    """They are the state when none is given."""
    layer = build(name, learn_state=True, num_layers=2)
    x, dy, _ = arrays(layer)
    learned = joined([np.repeat(layer.parameters[part + "0"][:, None], B, axis=1) for part in layer.state_names])
    assert all(part.any() for part in split(learned))
    for state in (None, learned):
        norms = diagnostics.gradient_norms(layer, x, dy, state=state)
        closed = diagnostics.gate_saturation(layer, x, low=0.5, high=0.5, state=state)
        if state is None:
            first = norms, closed
    for ours, theirs in zip(first, (norms, closed)):
        for key in theirs:
            assert_same_bits(key, ours[key], theirs[key])
    zeros = diagnostics.gradient_norms(layer, x, dy, state=joined([0 * part for part in split(learned)]))
    assert (zeros[layer.state_names[0]] != norms[layer.state_names[0]]).any()


def test_norms_in_every_form_of_call():
    """Batch first, unbatched, float32, dropout and lists change the form alone; SRU's layers have two cells."""
    for name in ("lstm", "sru", "gru"):
        layer = build(name, num_layers=2, bidirectional=True)
        x, dy, state = arrays(layer, B=1)
        expected = diagnostics.gradient_norms(layer, x, dy, state=state)
        parts = joined([part[:, 0] for part in split(state)])
        single = diagnostics.gradient_norms(layer, x[:, 0].tolist(), dy[:, 0], state=parts)
        other = build(name, num_layers=2, bidirectional=True, batch_first=True, dropout=0.5)
        swapped = diagnostics.gradient_norms(other, x.swapaxes(0, 1), dy.swapaxes(0, 1), state=state)
        assert expected[layer.state_names[0]].shape == (4, T)
        for part, values in expected.items():
            assert_same_bits(part, single[part], values)
            assert_same_bits(part, swapped[part], values)
    layer = build("lstm", dtype="float32")
    x, dy, state = (np.float32(a) for a in arrays(layer))
    double = build("lstm")
    double.load_state_dict(layer.state_dict())
    wide = diagnostics.gradient_norms(double, x, dy, state=tuple(state))
    for part, values in diagnostics.gradient_norms(layer, x, dy, state=tuple(state)).items():
        assert_same_bits(part, values, wide[part])


def test_without_dropout_and_zoneout():
    """What is random in training is left out: dropouts, zoneout, weight_drop."""
    noise = {"dropout": 0.5, "input_dropout": 0.4, "recurrent_dropout": 0.3, "weight_drop": 0.2, "zoneout": (0.3, 0.2)}
    layer, quiet = build("lstm", num_layers=2, **noise), build("lstm", num_layers=2)
    x, dy, state = arrays(layer)
    for function in (diagnostics.gradient_norms, lambda *a, **b: diagnostics.gate_saturation(a[0], a[1], **b)):
        expected = function(quiet, x, dy, state=state)
        for part, values in function(layer, x, dy, state=state).items():
            assert_close(part, values, expected[part], "gradient")


def test_norms_far_below_what_squares_hold():
    """0.01 to the 150th is 1e-300, 100 to the 150th 1e300; beyond that is 0, or no finite number."""
    layer = fr.RNN(1, 2, nonlinearity="identity", bias=False, dtype="float64", rng=0)
    dy = np.zeros((200, 2))
    dy[-1] = 3, 4
    powers = np.arange(199, -1, -1)
    for factor in (0.01, 100.0):
        layer.parameters["weight_hh_l0"] = factor * np.eye(2)
        norms = diagnostics.gradient_norms(layer, np.zeros((200, 1)), dy)["h"]
        within = powers <= 150
        assert_close("ratio", norms[within] / (5 * factor ** powers[within]), np.ones(within.sum()), "gradient")
        assert norms[0] == 0 if factor < 1 else not np.isfinite(norms[0])


@pytest.mark.parametrize("name", ["lstm", "sru"])
def test_empty_calls(name):
    layer = build(name)
    for steps, batch in ((0, 2), (3, 0)):
        x, dy, state = arrays(layer, T=steps, B=batch)
        for values in diagnostics.gradient_norms(layer, x, dy, state=state).values():
            assert_same_bits("norms", values, np.zeros(steps))
        for fractions in diagnostics.gate_saturation(layer, x).values():
            assert np.isnan(fractions).all() and fractions.shape == (2,)
    assert diagnostics.jacobian_singular_values(build("gru"), np.zeros((4, 0, I)), 1).shape == (0, H)
    assert diagnostics.gradient_regulariser(build("rnn"), np.zeros((0, I)), np.zeros((0, H)))[0] == 0


# ---------------------------------------------------------------- Jacobian


@pytest.mark.parametrize("name", WITH_H)
def test_singular_values_by_differences(name):
    """Of dh_T/dh_t, other states held: by differences of calls over what is left of x."""
    layer = build(name)
    x, _, state = arrays(layer)
    for t, left in enumerate(states_of(layer, x, state)):
        values = diagnostics.jacobian_singular_values(layer, x, t, state=state)
        assert values.shape == (B, layer.output_size)
        for b in range(B):
            own = [part[:, b : b + 1] for part in left]

            def final(h, unit):
                return split(layer(x[t:, b : b + 1], joined([h, *own[1:]]))[1])[0][0, 0, unit]

            rows = [central_difference(lambda h: final(h, unit), own[0])[0, 0] for unit in range(layer.output_size)]
            assert_close(f"{t} {b}", values[b], np.linalg.svd(np.array(rows), compute_uv=False), "numeric")


def test_singular_values_of_a_linear_net():
    """h_T = R^(T-t) h_t + ..., with several sequences, and with t beyond a length."""
    layer = build("rnn", nonlinearity="identity")
    R = layer.parameters["weight_hh_l0"]
    x = np.zeros((T, 3, I))
    values = diagnostics.jacobian_singular_values(layer, x, 2, lengths=[5, 3, 1])
    for row, steps in zip(values, (3, 1, 0)):
        expected = np.linalg.svd(np.linalg.matrix_power(R, steps), compute_uv=False)
        assert_close(f"{steps} steps", row, expected, "gradient")
    assert_same_bits("unbatched", diagnostics.jacobian_singular_values(layer, x[:, 0], 2), values[0])


def test_singular_values_of_a_stack():
    """Each layer and direction is a layer of its own that reads what the one below writes, from its own end."""
    layer = build("lstm", num_layers=2, bidirectional=True)
    x, _, state = arrays(layer)
    lengths, t = [5, 3], 2
    values = diagnostics.jacobian_singular_values(layer, x, t, state=state, lengths=lengths)
    assert values.shape == (4, B, H)
    u = x
    for l in range(2):
        outputs = []
        for d, suffix in enumerate((f"_l{l}", f"_l{l}_reverse")):
            alone = fr.LSTM(u.shape[2], H, dtype="float64", rng=0)
            alone.load_state_dict({key: layer.parameters[key.replace("_l0", suffix)] for key in alone.parameters})
            y = np.zeros((T, B, H))
            for b, length in enumerate(lengths):
                own = u[:length, b : b + 1][:: 1 - 2 * d]
                parts = tuple(part[2 * l + d :][:1, b : b + 1] for part in state)
                y[:length, b : b + 1] = alone(own, parts)[0][:: 1 - 2 * d]
                expected = diagnostics.jacobian_singular_values(alone, own, t, state=parts)[0]
                assert_close(f"{suffix} {b}", values[2 * l + d, b], expected, "gradient")
            outputs.append(y)
        u = np.concatenate(outputs, axis=2)


def test_singular_values_that_are_not_finite():
    layer = build("rnn", nonlinearity="identity")
    layer.parameters["weight_hh_l0"] = 1e200 * np.eye(H)
    assert np.isnan(diagnostics.jacobian_singular_values(layer, np.zeros((3, I)), 0)).all()


# ---------------------------------------------------------------- spectral radius


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_spectral_radius(dtype):
    blocks = [rotation(size, 1.0 + size) for size in (0.5, 2.0, 0.25, 3.0)]
    rnn = fr.RNN(3, 2, 2, bidirectional=True, dtype=dtype, rng=0)
    for k, suffix in enumerate(("_l0", "_l0_reverse", "_l1", "_l1_reverse")):
        rnn.parameters["weight_hh" + suffix] = blocks[k]
    expected = np.array([0.5, 2.0, 0.25, 3.0])
    assert_close("stack", diagnostics.spectral_radius(rnn).astype(dtype), expected, "forward")
    one = fr.RNN(3, 2, dtype=dtype, rng=0)
    one.parameters["weight_hh_l0"] = blocks[1]
    assert isinstance(diagnostics.spectral_radius(one), float)
    assert_close("rnn", np.array(diagnostics.spectral_radius(one), dtype), np.array(2.0), "forward")
    for layer, letters in ((fr.LSTM(3, 2, dtype=dtype, rng=0), "ifgo"), (fr.GRU(3, 2, dtype=dtype, rng=0), "rzn")):
        layer.parameters["weight_hh_l0"] = np.concatenate(blocks[: len(letters)])
        radii = diagnostics.spectral_radius(layer)
        assert list(radii) == list(letters)
        assert_close(letters, np.array(list(radii.values()), dtype), expected[: len(letters)], "forward")


def test_spectral_radius_of_other_recurrences():
    """A vector is a diagonal; with a projection a step is m -> W_hr m -> R W_hr m; blocks are those of weight_hh."""
    indrnn = fr.IndRNN(3, 3, dtype="float64", rng=0)
    indrnn.parameters["weight_hh_l0"] = [0.5, -2.0, 1.0]
    assert diagnostics.spectral_radius(indrnn) == 2.0
    layer = build("lstm_projected")
    W_hr = layer.parameters["weight_hr_l0"]
    radii = diagnostics.spectral_radius(layer)
    for gate, block in zip("ifgo", np.split(layer.parameters["weight_hh_l0"], 4)):
        # the nonzero eigenvalues of a product are those of the product the other way round
        expected = max(abs(np.linalg.eigvals(W_hr @ block)))
        assert_close(gate, np.array(radii[gate]), np.array(expected), "gradient")
    assert list(diagnostics.spectral_radius(build("mut1"))) == ["r", "n"]
    assert isinstance(diagnostics.spectral_radius(build("fastgrnn")), float)
    broken = build("rnn")
    broken.parameters["weight_hh_l0"] = np.full((H, H), np.nan)
    assert np.isnan(diagnostics.spectral_radius(broken))


# ---------------------------------------------------------------- what no call does


@pytest.mark.parametrize("name", ["rnn", "lstm", "sru"])
def test_nothing_is_changed(name):
    """Neither the layer nor the caller's arrays; no random number is drawn; an open edit is seen."""
    layer = build(name, num_layers=2, bidirectional=True, dropout=0.5, rng=3)
    x, dy, state = arrays(layer)
    for gradient in layer.grads.values():
        gradient[...] = 7.0
    before = [a.copy() for a in (x, dy, *split(state), *layer.parameters.values(), *layer.grads.values())]
    version, drawn = layer._version, layer.rng.bit_generator.state
    norms = diagnostics.gradient_norms(layer, x, dy, state=state)
    diagnostics.gate_saturation(layer, x, state=state)
    if name != "sru":
        diagnostics.jacobian_singular_values(layer, x, 1, state=state)
        diagnostics.spectral_radius(layer)
    if name == "rnn":
        diagnostics.gradient_regulariser(layer, x, dy, state=state)
    after = [x, dy, *split(state), *layer.parameters.values(), *layer.grads.values()]
    for k, (old, new) in enumerate(zip(before, after, strict=True)):
        assert_same_bits(f"array {k}", new, old)
    assert layer._version == version and layer.rng.bit_generator.state == drawn
    with layer.edit() as p:
        p["weight_ih_l0"][...] *= 0.5
        edited = diagnostics.gradient_norms(layer, x, dy, state=state)
    part = layer.state_names[0]
    assert (edited[part] != norms[part]).any()
    assert_same_bits(part, diagnostics.gradient_norms(layer, x, dy, state=state)[part], edited[part])


# ---------------------------------------------------------------- bad calls

RNN, LSTM, SRU = build("rnn"), build("lstm"), build("sru_projected")
X, DY = np.zeros((T, B, I)), np.zeros((T, B, H))
D = diagnostics

BAD = {
    "not a layer": (lambda: D.gradient_norms(fr.Linear(2, 2), X, DY), TypeError, "layer", ("recurrent", "Linear")),
    "x too wide": (lambda: D.gradient_norms(RNN, np.zeros((T, B, I + 1)), DY), ValueError, "x", ("(5, 2, 4)", "(T, B, 3)")),
    "dy missing": (lambda: D.gradient_norms(RNN, X, None), TypeError, "dy", ("None",)),
    "dy of another shape": (lambda: D.gradient_norms(RNN, X, DY[1:]), ValueError, "dy", ("(4, 2, 4)", "(5, 2, 4)")),
    "state of another shape": (lambda: D.gradient_norms(RNN, X, DY, state=np.zeros((2, B, H))), ValueError, "state",
                               ("(2, 2, 4)", "(1, 2, 4)")),
    "lengths too long": (lambda: D.gate_saturation(RNN, X, lengths=[6, 1]), ValueError, "lengths", ("6", "0..5")),
    "t negative": (lambda: D.jacobian_singular_values(RNN, X, -1), ValueError, "t", ("-1", "0..5")),
    "t past T": (lambda: D.jacobian_singular_values(RNN, X, 6), ValueError, "t", ("6", "0..5")),
    "t a float": (lambda: D.jacobian_singular_values(RNN, X, 1.0), TypeError, "t", ("1.0", "integer")),
    "no h": (lambda: D.jacobian_singular_values(SRU, X, 1), ValueError, "layer", ("h", "SRU")),
    "Jacobian of a block": (lambda: D.jacobian_singular_values(fr.Linear(2, 2), X, 1), TypeError, "layer", ("Linear",)),
    "no R": (lambda: D.spectral_radius(fr.MinGRU(2, 2)), ValueError, "layer", ("weight_hh", "MinGRU")),
    "spectral radius of an array": (lambda: D.spectral_radius(np.eye(2)), TypeError, "layer", ("array", "recurrent")),
    "regulariser of an LSTM": (lambda: D.gradient_regulariser(LSTM, X, DY), ValueError, "layer", ("RNN", "LSTM")),
    "regulariser without dy": (lambda: D.gradient_regulariser(RNN, X, None), TypeError, "dy", ("None",)),
    "low above high": (lambda: D.gate_saturation(LSTM, X, low=0.8, high=0.2), ValueError, "low", ("0.8", "0.2")),
    "low negative": (lambda: D.gate_saturation(LSTM, X, low=-0.1), ValueError, "low", ("-0.1",)),
    "high text": (lambda: D.gate_saturation(LSTM, X, high="1"), TypeError, "high", ("'1'",)),
    "nan_counts of an array": (lambda: D.nan_counts(X), TypeError, "module", ("array",)),
    "max_norm negative": (lambda: D.ClipCounter(-1), ValueError, "max_norm", ("-1",)),
    "norms an array": (lambda: D.plot_gradient_norms(X), TypeError, "norms", ("array", "dict")),
    "saturation a list": (lambda: D.plot_saturation([1]), TypeError, "saturation", ("list", "dict")),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    call, error, argument, words = BAD[name]
    with pytest.raises(error) as raised:
        call()
    text = str(raised.value)
    assert text.startswith(f"{argument}:") and "expected" in text
    assert all(word in text for word in words), text


def test_unknown_cells_are_refused():
    """A layer of another kind, and one with parameters that the formulas do not know: never a wrong number."""

    class Own(fr.layers.Recurrent):
        def __init__(self):
            self._build("gru", (I, H, 1, 0), {}, dtype="float64", rng=0)

        def _config(self):
            return {}

    with pytest.raises(ValueError, match="^layer: expected a cell that gate_saturation supports, got Own"):
        diagnostics.gate_saturation(Own(), X)
    strange = build("rnn")
    strange._views["weight_xx_l0"] = np.ones(H)
    with pytest.raises(ValueError, match="^layer: expected one without 'weight_xx'"):
        diagnostics.gate_saturation(strange, X)
    with pytest.raises(ValueError, match="^layer: expected one without 'weight_ln_ih'"):
        diagnostics.gradient_regulariser(build("rnn_norm"), X, DY)


# ---------------------------------------------------------------- names and imports


def test_imported_when_used():
    """``import fastrnn`` does not load it, and it does not load matplotlib."""
    code = "import sys, fastrnn as fr; before = set(sys.modules); fr.diagnostics; after = set(sys.modules)\n"
    code += "assert 'fastrnn.diagnostics' not in before and 'fastrnn.diagnostics' in after\n"
    code += "assert not {'matplotlib', 'scipy', 'fastrnn.reference'} & after\n"
    code += "assert fr.diagnostics is sys.modules['fastrnn.diagnostics'] and 'diagnostics' in fr.__all__\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="nothing"):
        fr.nothing


def test_everything_has_an_example():
    for name in diagnostics.__all__:
        assert ">>>" in inspect.getdoc(getattr(diagnostics, name)), name


def test_equation_numbers_exist():
    """Those that the module cites have a row in the page, and each row of its group is cited."""
    page = (ROOT / "docs/equations.md").read_text()
    rows = set(re.findall(r"^\| (\([A-Z]+\d+\)) \|", page, re.M))
    text = "".join(path.read_text() for path in (ROOT / "fastrnn/diagnostics").glob("*.py"))
    cited = set(re.findall(r"\([A-Z]+\d+\)", text))
    assert cited <= rows
    assert {row for row in rows if row.startswith("(GR")} <= cited
