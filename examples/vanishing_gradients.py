"""What is left of a gradient after 200 steps: RNN, LSTM and GRU side by side.

    python examples/vanishing_gradients.py [seed] [picture]

Six nets of 64 units, none of them trained, read the same noise. The objective depends on the last output alone, so whatever
gradient there is at an early step has come all the way back. Reports the norm of the gradient at the first step, where
it is 1 at the last; the largest singular value of the Jacobian of the last 20 steps; and the spectral radius of R, gate by
gate. A relu unit that was off once hands nothing on: of the 64 some, or none, were on at every step of the noise. What nets
learn with such gradients, and with cured ones, is in cures.py.

Source: Pascanu, Mikolov & Bengio (2013).
"""

import sys

import numpy as np

import fastrnn as fr

TARGETS = {
    "|dL/dh_1|, RNN": "<= 1e-40",
    "|dL/dh_1|, RNN, 3 R": ">= 1e3",
    "|dL/dh_1|, LSTM, forget bias 1": ">= 1e-20",
}
T, I, H = 200, 16, 64


def rnn(seed, factor=1.0):
    """As it comes, with uniform weights and tanh, but for a factor of R."""
    layer = fr.RNN(I, H, dtype="float64", rng=seed)
    with layer.edit() as p:
        p["weight_hh_l0"] *= factor
    return layer


def identity_rnn(seed):
    """Relu, R the identity, no biases, small W (Le, Jaitly & Hinton 2015)."""
    layer = fr.RNN(I, H, nonlinearity="relu", dtype="float64", rng=seed)
    with layer.edit() as p:
        p["weight_hh_l0"][:] = np.eye(H)
        p["bias_ih_l0"][:] = p["bias_hh_l0"][:] = 0
        p["weight_ih_l0"] *= 0.01
    return layer


def lstm(seed, forget_bias):
    """The forget gate's two biases add up to ``forget_bias``."""
    layer = fr.LSTM(I, H, dtype="float64", rng=seed)
    with layer.edit() as p:
        p["bias_ih_l0"][H : 2 * H] = forget_bias
        p["bias_hh_l0"][H : 2 * H] = 0
    return layer


def gru(seed):
    """As it comes."""
    return fr.GRU(I, H, dtype="float64", rng=seed)


def nets(seed):
    return {
        "RNN": rnn(seed),
        "RNN, 3 R": rnn(seed, 3.0),
        "RNN, relu, R = identity": identity_rnn(seed),
        "LSTM, forget bias 0": lstm(seed, 0.0),
        "LSTM, forget bias 1": lstm(seed, 1.0),
        "GRU": gru(seed),
    }


def task(seed):
    """Noise, and the gradient of an objective that reads the last output."""
    rng = np.random.default_rng(seed + 1)
    dy = np.zeros((T, H))
    dy[-1] = rng.standard_normal(H)
    dy[-1] /= np.linalg.norm(dy[-1])
    return rng.standard_normal((T, I)), dy


def run(seed=0, picture=None):
    """The figures, net by net."""
    x, dy = task(seed)
    figures, curves = {}, {}
    for name, layer in nets(seed).items():
        norms = fr.diagnostics.gradient_norms(layer, x, dy)["h"]
        values = fr.diagnostics.jacobian_singular_values(layer, x, T - 20)
        radius = fr.diagnostics.spectral_radius(layer)
        figures[f"|dL/dh_1|, {name}"] = float(norms[0])
        figures[f"|dh_T/dh_T-20|, {name}"] = float(values[0])
        for gate, value in radius.items() if isinstance(radius, dict) else [("R", radius)]:
            figures[f"spectral radius, {name}, {gate}"] = value
        curves[name] = norms, values
    if picture is not None:
        draw(picture, curves)
    return figures


def draw(path, curves):
    """Norms over time, and singular values."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for name, (norms, values) in curves.items():
        fr.diagnostics.plot_gradient_norms({"h": norms}, left, label=name)
        fr.diagnostics.plot_singular_values(values, right)
    left.set(title="how much comes back to step t", ylabel=r"$\|\partial L / \partial h_t\|$", xlim=(0, T))
    right.set(title="what 20 steps do to a change", ylim=(1e-13, 1e3))
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    for name, figure in run(int(seed), picture).items():
        print(f"{name}: {figure:.2f}" if name.startswith("spectral") else f"{name}: {figure:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
