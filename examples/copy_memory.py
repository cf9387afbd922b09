"""Copying from memory: five symbols are shown once, and are to be said after 100 steps of nothing.

    python examples/copy_memory.py [seed] [picture]

The net reads 5 symbols of an alphabet of 8, then blanks, whose last is a cue instead: the delay is their number; then 5
more blanks, at which it has to say the symbols in their order, having said blank at every step before. A guess gets one
symbol in eight right.

An LSTM with chrono biases, and a tanh RNN beside it with the same budget, have a curriculum: the delay begins at 1, and is
raised by a half and one, up to 100, whenever the loss of the last 20 steps was small. Every batch draws a delay between half
of that and all of it. Reports how many symbols of 2,000 fresh sequences with a delay of 100 are right, how far the
curriculum came, and how many are right after a delay of 150, which neither was trained with.

The task is of Hochreiter & Schmidhuber (1997), in the form of Arjovsky, Shah & Bengio (2016); chrono biases are of Tallec &
Ollivier (2018).
"""

import sys
from functools import partial

import numpy as np

import fastrnn as fr
from fastrnn.training import Batch, Source, warmup_cosine

TARGETS = {"LSTM": ">= 0.99"}
ALPHABET, SHOWN = 8, 5
BLANK, CUE = ALPHABET, ALPHABET + 1
#: Blanks are many and easy: at a delay of 100 all of them together weigh as much as the five symbols.
WEIGHTS = np.array(ALPHABET * [1.0] + [0.05])


def sequences(rng, delay, count):
    """What is read and what is to be said: ``(T, B)`` each."""
    T = SHOWN + delay + SHOWN
    x, said = np.full((2, T, count), BLANK)
    x[:SHOWN] = said[-SHOWN:] = rng.integers(0, ALPHABET, (SHOWN, count))
    x[SHOWN + delay - 1] = CUE
    return x, said


class Copying(Source):
    """Batches with delays up to ``self.delay``, which ``raise_delay`` raises."""

    def __init__(self, seed, most, batch_size, enough=0.2):
        self.seed, self.most, self.batch_size, self.enough = seed, most, batch_size, enough
        self.delay, self.since, self.reached = 1, 0, []

    def __len__(self):
        return 100

    def batch(self, step):
        rng = np.random.default_rng([self.seed, 0, step])
        delay = rng.integers(self.delay // 2, self.delay) + 1
        return Batch(*sequences(rng, delay, self.batch_size), size=SHOWN * self.batch_size)

    def raise_delay(self, trainer):
        """A callback: what has been learned is made harder."""
        lately = trainer.history.last("loss", 20)
        if trainer.step >= self.since + 20 and lately.mean() < self.enough:
            self.delay, self.since = min(self.most, self.delay + self.delay // 2 + 1), trainer.step
        self.reached.append(self.delay)


def lstm(size, hidden_size, delay, rng):
    return fr.init.apply(fr.LSTM(size, hidden_size), "chrono", t_max=delay + SHOWN, rng=rng)


def rnn(size, hidden_size, delay, rng):
    return fr.RNN(size, hidden_size, rng=rng)


def trained(kind, seed, delay, steps, batch_size, hidden_size, rate):
    """The net, and the curriculum's delay at each step."""
    rng = np.random.default_rng(seed)
    table = fr.Embedding(ALPHABET + 2, 16, rng=rng)
    model = fr.Sequential(table, kind(16, hidden_size, delay, rng), fr.Linear(hidden_size, ALPHABET + 1, rng=rng))
    data = Copying(seed, delay, batch_size)
    trainer = fr.Trainer(
        model, fr.optim.Adam(model), data, loss=partial(fr.losses.cross_entropy, weight=WEIGHTS), steps=steps,
        schedule=warmup_cosine(rate), max_norm=1.0, validate_every=0, callbacks=[data.raise_delay],
    )  # fmt: skip
    trainer.run()
    return model, data.reached


def right(model, rng, delay, count):
    """The part of the symbols that is right, of so many fresh sequences."""
    x, said = sequences(rng, delay, count)
    return float(np.mean(model(x)[-SHOWN:].argmax(axis=2) == said[-SHOWN:]))


def run(seed=0, picture=None, delay=100, longer=150, steps=3_000, batch_size=64, hidden_size=64, test=2_000, rate=0.01):
    """The figures: symbols right, and how far the curriculum came."""
    figures, climbs, models = {}, {}, {}
    for name, kind in (("LSTM", lstm), ("tanh RNN", rnn)):
        model, climbs[name] = trained(kind, seed, delay, steps, batch_size, hidden_size, rate)
        figures[name] = right(model, np.random.default_rng([seed, 1]), delay, test)
        figures[f"{name}, delay reached"] = climbs[name][-1]
        figures[f"{name}, delay of {longer}"] = right(model, np.random.default_rng([seed, 2]), longer, test)
        models[name] = model
    if picture is not None:
        draw(picture, climbs, cells(models["LSTM"], seed, delay))
    return figures


def cells(model, seed, delay):
    """The cell states ``(H, T)`` while one sequence is read; those that stay the same for longest come first."""
    x, _ = sequences(np.random.default_rng([seed, 3]), delay, 1)
    table, layer = model[0], model[1]
    stream, seen = layer.stream(), []
    for vector in table(x[:, 0]):
        stream.step(vector)
        seen.append(np.tanh(stream.state[1][0, 0]))
    seen = np.array(seen).T
    changed = np.abs(np.diff(seen[:, SHOWN : SHOWN + delay - 1])).sum(axis=1)
    return seen[np.argsort(changed)]


def draw(path, climbs, seen):
    """How far the curricula came; what the LSTM's cells hold meanwhile."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, reached in climbs.items():
        left.plot(np.arange(1, len(reached) + 1), reached, label=name)
    left.set(yscale="log", xlabel="steps of training", ylabel="delay reached", title="the curriculum")
    left.grid(color="0.92")
    left.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    image = right.imshow(seen, cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    right.set(xlabel="step", ylabel="unit", title="tanh(c) of the LSTM, one sequence")
    figure.colorbar(image, ax=right)
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    for name, figure in run(int(seed), picture).items():
        print(f"{name}: {figure}" if name.endswith("reached") else f"symbols right, {name}: {figure:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
