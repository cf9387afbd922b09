"""What is left of a gradient after 200 steps: RNN, LSTM and GRU side by side.

    python examples/vanishing_gradients.py [picture]

Six nets of 64 units read the same noise. The objective depends on the last output alone, so whatever
gradient there is at an early step has come all the way back. Writes a picture (gradients.png, or the
path given; its ending says which format) and prints some of the numbers.
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import fastrnn as fr

T, I, H = 200, 16, 64


def rnn(factor=1.0):
    """As it comes, with uniform weights and tanh, but for a factor of R."""
    layer = fr.RNN(I, H, dtype="float64", rng=0)
    with layer.edit() as p:
        p["weight_hh_l0"] *= factor
    return layer


def identity_rnn():
    """Relu, R the identity, no biases, small W (Le, Jaitly & Hinton 2015)."""
    layer = fr.RNN(I, H, nonlinearity="relu", dtype="float64", rng=0)
    with layer.edit() as p:
        p["weight_hh_l0"][:] = np.eye(H)
        p["bias_ih_l0"][:] = p["bias_hh_l0"][:] = 0
        p["weight_ih_l0"] *= 0.01
    return layer


def lstm(forget_bias):
    """The forget gate's two biases add up to ``forget_bias``."""
    layer = fr.LSTM(I, H, dtype="float64", rng=0)
    with layer.edit() as p:
        p["bias_ih_l0"][H : 2 * H] = forget_bias
        p["bias_hh_l0"][H : 2 * H] = 0
    return layer


def gru():
    """As it comes."""
    return fr.GRU(I, H, dtype="float64", rng=0)


def nets():
    return {
        "RNN": rnn(),
        "RNN, 3 R": rnn(3.0),
        "RNN, relu, R = identity": identity_rnn(),
        "LSTM, forget bias 0": lstm(0.0),
        "LSTM, forget bias 1": lstm(1.0),
        "GRU": gru(),
    }


def task():
    """Noise, and the gradient of an objective that reads the last output."""
    rng = np.random.default_rng(1)
    dy = np.zeros((T, H))
    dy[-1] = rng.standard_normal(H)
    dy[-1] /= np.linalg.norm(dy[-1])
    return rng.standard_normal((T, I)), dy


def main(path="gradients.png"):
    x, dy = task()
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    print(f"{'':24}|dL/dh_1|  |dh_T/dh_T-20|  spectral radius")
    for name, layer in nets().items():
        norms = fr.diagnostics.gradient_norms(layer, x, dy)["h"]
        values = fr.diagnostics.jacobian_singular_values(layer, x, T - 20)
        radius = fr.diagnostics.spectral_radius(layer)
        fr.diagnostics.plot_gradient_norms({"h": norms}, left, label=name)
        fr.diagnostics.plot_singular_values(values, right)
        radii = radius if isinstance(radius, dict) else {"R": radius}
        text = ", ".join(f"{block} {value:.2f}" for block, value in radii.items())
        print(f"{name:24}{norms[0]:9.1e}  {values[0]:14.1e}  {text}")
    left.set(title="how much comes back to step t", ylabel=r"$\|\partial L / \partial h_t\|$", xlim=(0, T))
    right.set(title="what 20 steps do to a change", ylim=(1e-13, 1e3))
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
