"""``gradient_regulariser`` by central differences and from the oracle's own steps; the activations behind it."""

import numpy as np
import pytest
from cases import Case, Data
from diagnosed import NONLINEARITIES, I, T, arrays, build, rotation, split, states_of
from tolerance import assert_close

import fastrnn as fr
from fastrnn import diagnostics, reference
from fastrnn.reference import central_difference


def oracle_omega(layer, x, dy, state, lengths):
    """Omega as a function of R, for one layer and direction, from the layer's calls alone.

    Deltas by differences of calls, the slopes D of every step by differences of its output in a bias; R is in the
    Jacobian, D R (+ 1 with a residual), alone.
    """
    steps, W = len(x), layer.parameters["weight_hh_l0"]
    terms = []
    for b in range(x.shape[1]):
        n = steps if lengths is None else lengths[b]
        own, start, residual = x[:n, b : b + 1], state[:, b : b + 1], layer._options["residual"]
        left = [split(s)[0] for s in states_of(layer, own, start)]
        for t in range(n):  # from h_t to h_{t+1}

            def follows(h):
                later = layer(own[t + 1 :], h)[0]
                return np.sum(dy[t, b] * h) + np.sum(dy[t + 1 : n, b : b + 1] * later)

            delta = central_difference(follows, left[t + 1])[0, 0]

            def shifted(bias):
                other = type(layer)(**layer._config())
                other.load_state_dict({**layer.state_dict(), "bias_ih_l0": bias})
                return np.sum(other(own[t : t + 1], left[t])[0])

            slope = central_difference(shifted, layer.parameters["bias_ih_l0"])
            terms.append((delta, slope, np.eye(len(W)) * residual))

    def omega(R):
        total = 0.0
        for delta, slope, skip in terms:
            length = np.linalg.norm(delta)
            if length > 1e-12:  # differences do not give an exact 0
                total += (np.linalg.norm(delta @ (slope[:, None] * R + skip)) / length - 1) ** 2
        return total

    return omega


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_regulariser_by_differences(nonlinearity, residual):
    """Both of its results, in R with deltas and states held; lengths, an initial state, two sequences."""
    numbers = NONLINEARITIES[nonlinearity]
    layer = build("rnn", nonlinearity=nonlinearity, residual=residual, clip=1.4, **numbers)
    x, dy, state = arrays(layer, T=4)
    lengths = [4, 2]
    omega, gradient = diagnostics.gradient_regulariser(layer, x, dy, state=state, lengths=lengths)
    oracle = oracle_omega(layer, x, dy, state, lengths)
    assert_close("omega", np.array(omega), np.array(oracle(layer.parameters["weight_hh_l0"])), "numeric")
    expected = central_difference(oracle, layer.parameters["weight_hh_l0"])
    assert np.abs(expected).max() > 1e-3
    assert_close("gradient", gradient, expected, "numeric")


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu"])
def test_regulariser_of_a_stack(cell, monkeypatch):
    """Against the oracle's own backward steps, whose dh is delta dh_{t+1}/dh_t: Omega of all places."""
    case = Case(cell, I=3, H=4, L=2, D=2, T=4, B=2, lengths=(4, 3), padding=np.nan)
    data = Data(case)
    omega, gradient = diagnostics.gradient_regulariser(
        data.layer(), data.x, data.dy, state=data.state, lengths=case.lengths)  # fmt: skip
    assert gradient.shape == (4, 4, 4)
    plain, seen = reference.cell_of(data.spec), []

    def backward(k, saved, dstate):
        """The cell's, noting R, the pre-activations, what comes in and what goes on."""
        dx, dprevious, grads = plain.backward(k, saved, dstate)
        seen.append((k.p["weight_hh"], saved[2], dstate[0], dprevious[0]))
        return dx, dprevious, grads

    _, _, tape = data.forward()
    monkeypatch.setattr(reference.stack, "cell_of", lambda spec: plain._replace(backward=backward))
    reference.backward(data.spec, data.parameters, tape, np.where(np.isnan(data.dy_plain), 0.0, data.dy_plain))
    expected_omega, expected = 0.0, {}
    for R, a, deltas, handed_on in seen:
        slopes = 1 - np.tanh(a) ** 2 if cell == "rnn_tanh" else (a > 0) * 1.0
        for delta, slope, v in zip(deltas, slopes, handed_on):
            length, rest = np.linalg.norm(delta), np.linalg.norm(v)
            if length > 0:
                expected_omega += (rest / length - 1) ** 2
            if rest > 0:
                step = 2 * (rest / length - 1) / (length * rest) * np.outer(delta * slope, v)
                expected[R.tobytes()] = expected.get(R.tobytes(), 0.0) + step
    assert_close("omega", np.array(omega), np.array(expected_omega), "gradient")
    for k, (_, _, suffix) in enumerate(reference.places(data.spec)):
        key = np.asarray(data.parameters["weight_hh" + suffix], np.float64).tobytes()
        assert_close(suffix, gradient[k], expected[key], "gradient")


def test_regulariser_of_a_rotation_is_zero():
    layer = fr.RNN(I, 2, nonlinearity="identity", dtype="float64", rng=0)
    layer.parameters["weight_hh_l0"] = rotation(1.0, 0.7)
    dy = np.zeros((T, 2))
    dy[-1] = 1.0, 2.0
    omega, gradient = diagnostics.gradient_regulariser(layer, np.zeros((T, I)), dy)
    assert_close("omega", np.array(omega), np.array(0.0), "gradient")
    assert_close("gradient", gradient, np.zeros((2, 2)), "gradient")


def test_regulariser_where_nothing_is_sent_back():
    """Steps after the last that has a gradient count 0; a relu net that is off counts 1 each and has no gradient."""
    layer = fr.RNN(I, 2, nonlinearity="identity", dtype="float64", rng=0)
    layer.parameters["weight_hh_l0"] = 0.5 * np.eye(2)
    dy = np.zeros((T, 2))
    dy[2] = 1.0
    omega, gradient = diagnostics.gradient_regulariser(layer, np.zeros((T, I)), dy)
    assert_close("omega", np.array(omega), np.array(3 * 0.25), "gradient")
    assert_close("gradient", gradient, np.full((2, 2), -3 * 0.5), "gradient")
    assert diagnostics.gradient_regulariser(layer, np.zeros((T, I)), 0 * dy)[0] == 0
    off = fr.RNN(I, 2, nonlinearity="relu", dtype="float64", rng=0)
    off.parameters["bias_ih_l0"] = [-9.0, -9.0]
    omega, gradient = diagnostics.gradient_regulariser(off, np.zeros((T, I)), np.ones((T, 2)))
    assert omega == T and not gradient.any()


def test_regulariser_of_tiny_deltas():
    """150 steps by 0.01 take delta to 1e-300; each step still counts 0.99 squared."""
    layer = fr.RNN(1, 2, nonlinearity="identity", dtype="float64", rng=0)
    layer.parameters["weight_hh_l0"] = 0.01 * np.eye(2)
    dy = np.zeros((150, 2))
    dy[-1] = 1.0
    omega, gradient = diagnostics.gradient_regulariser(layer, np.zeros((150, 1)), dy)
    assert_close("omega", np.array(omega), np.array(150 * 0.99**2), "gradient")
    assert_close("gradient", gradient, np.full((2, 2), -150 * 0.99), "gradient")


@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_activations_are_the_engines(nonlinearity, clip):
    """Value and slope, on both sides of every kink and at them."""
    options = {"alpha": None, "beta": None, **NONLINEARITIES[nonlinearity], "nonlinearity": nonlinearity, "clip": clip}
    (squash,) = diagnostics.activations.squashes(options)
    a = np.concatenate([np.linspace(-4, 4, 33), [0.3, 0.8, -0.8, 2.5, -2.5, -40.0, 40.0, 700.0, -700.0]])
    one = fr.RNN(1, 1, dtype="float64", rng=0, **options)
    one.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[0.0]], "bias_ih_l0": [0.0], "bias_hh_l0": [0.0]})
    y, _, pullback = one.vjp(a[None, :, None])
    dx, _ = pullback(np.ones_like(y))
    assert_close("value", squash(a), y.ravel(), "forward")
    assert_close("slope", squash.slope(a), dx.ravel(), "gradient")
