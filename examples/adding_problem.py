"""The adding problem: two numbers out of 200 are marked, and their sum is asked for at the end.

    python examples/adding_problem.py [seed] [picture]

Every step has a number, uniform in [0, 1], and a mark, which is 1 at one step of the first half and at one of the second.
After the last step the net has to say the sum of the two marked numbers; who always says 1 has a mean squared error of 1/6.

All nets have one layer, as many units, and the same budget: as many steps of Adam, of 50 fresh sequences each. The
curriculum is the same too: sequences grow from 10 steps to their full length, geometrically, in the first half of
training. The LSTM begins with chrono biases, GRU and tanh RNN as they come; the relu RNN with the identity for R, and W
small. Reports the error on 2,000 sequences of full length, which is 50 for one of two relu RNNs and 200 for all others.

The task is of Hochreiter & Schmidhuber (1997), in the form of Le, Jaitly & Hinton (2015), whose the relu RNN is; chrono
biases are of Tallec & Ollivier (2018).
"""

import sys

import numpy as np

import fastrnn as fr
from fastrnn.training import Batch, Source, warmup_cosine

TARGETS = {"LSTM": "<= 0.01", "GRU": "<= 0.01", "tanh RNN": ">= 0.1", "relu RNN, identity, T = 50": "<= 0.02"}
GUESS = 1 / 6
SHORTEST = 10


def sequences(rng, T, count):
    """``x (T, B, 2)``, numbers and marks, and sums ``(B, 1)``."""
    x = np.zeros((T, count, 2), np.float32)
    x[..., 0] = rng.random((T, count), np.float32)
    each = np.arange(count)
    first, second = rng.integers(0, T // 2, count), rng.integers(T // 2, T, count)
    x[first, each, 1] = x[second, each, 1] = 1
    return x, (x[first, each, 0] + x[second, each, 0])[:, np.newaxis]


class Adding(Source):
    """Batches whose sequences grow to ``T`` steps in the first half of ``steps``; with ``steps=0`` they all have that."""

    def __init__(self, seed, T, steps=0, batch_size=50):
        self.seed, self.T, self.steps, self.batch_size = seed, T, steps, batch_size

    def __len__(self):
        return max(self.steps, 1)

    def batch(self, step):
        grown = min(1.0, 2 * step / self.steps) if self.steps else 1.0
        T = round(SHORTEST * (self.T / SHORTEST) ** grown)
        x, sums = sequences(np.random.default_rng([*self.seed, step]), T, self.batch_size)
        return Batch(x, sums, select=-1, size=self.batch_size)  # the loss sees the last step


def lstm(hidden_size, T, rng):
    return fr.init.apply(fr.LSTM(2, hidden_size), "chrono", t_max=T, rng=rng)


def gru(hidden_size, T, rng):
    return fr.GRU(2, hidden_size, rng=rng)


def rnn(hidden_size, T, rng):
    return fr.RNN(2, hidden_size, rng=rng)


def identity_rnn(hidden_size, T, rng):
    """Relu, the identity for R, no biases, small W: what is added up stays, and grows by little."""
    layer = fr.init.apply(fr.RNN(2, hidden_size, nonlinearity="relu"), "identity", rng=rng)
    with layer.edit() as p:
        p["weight_ih_l0"] *= 0.1
    return layer


def trained(layer, seed, T, steps, rate):
    """The net, its head beside the layer, and its history, with errors on held-out sequences of full length."""
    model = fr.Sequential(layer, fr.Linear(layer.hidden_size, 1, rng=seed))
    trainer = fr.Trainer(
        model, fr.optim.Adam(model), Adding([seed, 0], T, steps), loss=fr.losses.mse_loss, steps=steps,
        valid=Adding([seed, 1], T, batch_size=500), validate_every=max(1, steps // 40), schedule=warmup_cosine(rate),
        max_norm=1.0,
    )  # fmt: skip
    trainer.run()
    return model, trainer.history


def run(seed=0, picture=None, T=200, short=50, steps=2_000, hidden_size=64, test=2_000, names=None):
    """The figures: mean squared errors, of all nets or of some."""
    nets = {
        "LSTM": (lstm, T, 0.005),
        "GRU": (gru, T, 0.005),
        "tanh RNN": (rnn, T, 0.005),
        f"relu RNN, identity, T = {short}": (identity_rnn, short, 0.003),
        f"relu RNN, identity, T = {T}": (identity_rnn, T, 0.003),
    }
    figures, curves = {}, {}
    for name in names or nets:
        kind, length, rate = nets[name]
        layer = kind(hidden_size, length, np.random.default_rng(seed))
        model, curves[name] = trained(layer, seed, length, steps, rate)
        x, sums = sequences(np.random.default_rng([seed, 2]), length, test)
        figures[name] = float(np.mean((model(x)[-1] - sums) ** 2))
    if picture is not None:
        draw(picture, curves)
    return figures


def draw(path, curves):
    """Errors at full length while training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(GUESS, color="0.6", linewidth=1)
    axes.annotate("always 1", (0, GUESS), (2, -12), textcoords="offset points", color="0.4")
    for name, history in curves.items():
        axes.plot(history["step"], history["valid_loss"], label=name)
    axes.set(yscale="log", xlabel="steps of training", ylabel="mean squared error", title="the adding problem")
    axes.set_ylim(1e-4, 1e2)  # before they have seen long sequences some nets are off by far more
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    for name, error in run(int(seed), picture).items():
        print(f"mean squared error, {name}: {error:.5f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
