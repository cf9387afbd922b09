"""Vanishing and exploding gradients, and what cures them: nets that learn nothing, and beside each the same net cured.

    python examples/cures.py [seed] [picture]

A sequence is 40 steps of noise and, at the first of them, a bit, 1 or -1, on a line of its own. After the last step the net
says which it was. Nets of 32 units, the same steps and sequences for all:

    RNN                         tanh, as it comes: what comes back to the first step has all but vanished
    RNN, regulariser            the same net, with Omega of Pascanu, Mikolov & Bengio (2013) added to the loss
    LSTM, forget bias 0         c loses half at every step
    LSTM, forget bias 1         the same net but for that (Jozefowicz, Zaremba & Sutskever 2015)
    relu RNN, identity          R is the identity at first (Le, Jaitly & Hinton 2015); nothing vanishes
    relu RNN, not clipped       the same net; but where the gradient explodes, one step throws the weights far off

The norm of the gradient of all parameters is limited to 1 in all but the last. The relu RNNs are trained by plain gradient
descent, the others with Adam, which makes up for what is small throughout. Reports of each which part of the gradient comes
back to the first step, |dz/dh_1| / |dz/dh_T| for the output z, before and after training; how many bits of 2,000 fresh
sequences are right; and the largest norm that the gradient of the parameters had while training.
"""

import sys
from functools import partial

import numpy as np

import fastrnn as fr

TARGETS = {
    "right, RNN": "<= 0.6",
    "right, RNN, regulariser": ">= 0.99",
    "right, LSTM, forget bias 0": "<= 0.6",
    "right, LSTM, forget bias 1": ">= 0.99",
    "right, relu RNN, identity": ">= 0.99",
    "right, relu RNN, not clipped": "<= 0.6",
}
INPUTS = 5
UNLIMITED = sys.float_info.max


def sequences(rng, T, count):
    """``x (T, B, INPUTS)``, and bits ``(B, 1)``, 0 or 1."""
    x = rng.standard_normal((T, count, INPUTS), np.float32)
    bits = rng.integers(0, 2, (count, 1))
    x[:, :, 0] = 0
    x[0, :, :1] = 2 * bits - 1
    return x, bits


def rnn(hidden_size, rng):
    """As it comes."""
    return fr.RNN(INPUTS, hidden_size, rng=rng)


def identity_rnn(hidden_size, rng):
    """Relu, R the identity, no biases, small W."""
    layer = fr.init.apply(fr.RNN(INPUTS, hidden_size, nonlinearity="relu"), "identity", rng=rng)
    with layer.edit() as p:
        p["weight_ih_l0"] *= 0.1
    return layer


def lstm(hidden_size, rng, forget_bias):
    """As it comes, but for the forget gate."""
    return fr.init.apply(fr.LSTM(INPUTS, hidden_size), "torch", forget_bias=forget_bias, rng=rng)


ADAM, SGD = partial(fr.optim.Adam, lr=0.003), partial(fr.optim.SGD, lr=0.01)
#: Name -> layer, optimiser, factor of the regulariser, limit of the norm.
NETS = {
    "RNN": (rnn, ADAM, 0.0, 1.0),
    "RNN, regulariser": (rnn, ADAM, 0.01, 1.0),
    "LSTM, forget bias 0": (partial(lstm, forget_bias=0.0), ADAM, 0.0, 1.0),
    "LSTM, forget bias 1": (partial(lstm, forget_bias=1.0), ADAM, 0.0, 1.0),
    "relu RNN, identity": (identity_rnn, SGD, 0.0, 1.0),
    "relu RNN, not clipped": (identity_rnn, SGD, 0.0, UNLIMITED),
}


def there_and_back(layer, head, x, bits):
    """The loss and its gradient with respect to the layer's output; ``grads`` of both get theirs."""
    y, _, back = layer.vjp(x)
    logits, head_back = head.vjp(y[-1])
    loss, d_logits = fr.losses.binary_cross_entropy_with_logits(logits, bits)
    dy = np.zeros_like(y)
    dy[-1] = head_back(d_logits)
    back(dy)
    return float(loss), dy


def train(layer, head, optimiser, batches, omega, clip):
    """The losses; training ends where the gradient is no number any more."""
    losses = []
    for x, bits in batches:
        optimiser.zero_grad()
        loss, dy = there_and_back(layer, head, x, bits)
        if omega:
            _, d_R = fr.diagnostics.gradient_regulariser(layer, x, dy)
            layer.grads["weight_hh_l0"] += omega / len(bits) * d_R
        losses.append(loss)
        if not np.isfinite(clip([layer, head])):
            break
        optimiser.step()
    return losses


def returned(layer, head, x):
    """|dz/dh_t| / |dz/dh_T| of all t, where z is what the head says: the loss of a net that is right has no gradient."""
    dz = np.zeros((*x.shape[:2], layer.hidden_size))
    dz[-1] = head.parameters["weight"]
    norms = fr.diagnostics.gradient_norms(layer, x, dz)["h"]
    return norms / norms[-1]


def run(seed=0, picture=None, names=tuple(NETS), T=40, steps=600, batch_size=32, hidden_size=32, test=2_000):
    """The figures, net by net."""
    x, bits = sequences(np.random.default_rng([seed, 2]), T, test)
    figures, curves = {}, {}
    for name in names:
        kind, optimizer, omega, max_norm = NETS[name]
        rng, data = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
        layer, head = kind(hidden_size, rng), fr.Linear(hidden_size, 1, rng=rng)
        clip = fr.diagnostics.ClipCounter(max_norm)
        before = returned(layer, head, x[:, :100])
        batches = (sequences(data, T, batch_size) for _ in range(steps))
        losses = train(layer, head, optimizer([layer, head]), batches, omega, clip)
        after = returned(layer, head, x[:, :100])
        figures[f"right, {name}"] = float(np.mean((head(layer(x)[0][-1]) > 0) == bits))
        figures[f"returned, {name}, before"], figures[f"returned, {name}, after"] = float(before[0]), float(after[0])
        figures[f"largest gradient, {name}"] = clip.largest
        curves[name] = losses, before, after
    if picture is not None:
        draw(picture, curves)
    return figures


def draw(path, curves):
    """Losses, and what comes back to each step: dashed before training, solid after it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (losses, before, after) in curves.items():
        blocks = np.array_split(losses, max(1, len(losses) // 25))
        (line,) = left.plot(np.cumsum(list(map(len, blocks))), list(map(np.mean, blocks)), label=name)
        right.plot(np.arange(1, len(before) + 1), before, "--", color=line.get_color(), linewidth=1)
        right.plot(np.arange(1, len(after) + 1), after, color=line.get_color())
    left.set(yscale="log", xlabel="steps of training", ylabel="loss", title="which bit was it?")
    left.set_ylim(1e-4, 10)
    right.set(yscale="log", xlabel="step t", ylabel=r"$\|\partial z / \partial h_t\| \,/\, \|\partial z / \partial h_T\|$",
              title="what comes back (dashed: before training)")  # fmt: skip
    for axes in (left, right):
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    for name, figure in run(int(seed), picture).items():
        print(f"{name}: {figure:.2%}" if name.startswith("right") else f"{name}: {figure:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
