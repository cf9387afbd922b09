"""Timing: were the spikes 49 steps apart, or 50? LSTMs with and without peepholes.

    python examples/timing.py [seed] [picture]

The input is 0 but for spikes: the first after up to 9 steps, three more after 49 or 50 steps each, at random. At every
spike but the first the net has to say which it was; between spikes nothing happens, and nothing is asked for. So it has to
count, and to begin anew at each spike. Peepholes let the gates of an LSTM see what its cells have counted even while they
put out nothing. A sequence is right if all three answers are.

Two LSTMs of 16 units, with peepholes and without, have the same budget, 6,000 steps of Adam, and a curriculum: spikes are 9
or 10 steps apart until the loss of the last 25 batches is small, then 10 or 11, and so on up to 49 or 50. Reported are 1,000
fresh sequences with 49 and 50, how far the curriculum came, and after how many steps of training.

Source: Gers, Schraudolph & Schmidhuber (2002), where the spikes are a stream.
"""

import sys

import numpy as np

import fastrnn as fr
from fastrnn.training import Batch, Source, warmup_cosine

TARGETS = {"peepholes": ">= 0.99"}
LEAD, SPIKES = 10, 3


def spike_trains(rng, apart, count):
    """``x (T, count, 1)``; of the spikes but the first the steps, and whether they were late, ``(SPIKES, count)`` each."""
    late = rng.integers(0, 2, (SPIKES, count))
    first = rng.integers(0, LEAD, count)
    steps = first + (apart + late).cumsum(axis=0)
    x = np.zeros((LEAD + SPIKES * (apart + 1), count, 1), np.float32)
    x[first, np.arange(count)] = x[steps, np.arange(count)] = 1
    return x, steps, late


class Trains(Source):
    """Spikes ``self.apart`` steps apart or one more; ``further`` raises that."""

    def __init__(self, seed, shortest, longest, batch_size=32, enough=0.1):
        self.seed, self.longest, self.batch_size, self.enough = seed, longest, batch_size, enough
        self.apart, self.since = shortest, 0

    def __len__(self):
        return 100

    def batch(self, step):
        x, steps, late = spike_trains(np.random.default_rng([self.seed, 1, step]), self.apart, self.batch_size)
        at = steps, np.arange(self.batch_size)  # the loss sees these outputs
        return Batch(x, late[..., np.newaxis].astype(np.float32), select=at, size=late.size)

    def further(self, trainer):
        """A callback: what has been learned is made longer."""
        if self.apart < self.longest and trainer.step >= self.since + 25:
            if trainer.history.last("loss", 25).mean() < self.enough:
                self.apart, self.since = self.apart + 1, trainer.step


def trained(peephole, seed, shortest, longest, hidden_size, steps, rate):
    """The net and its curriculum."""
    rng = np.random.default_rng(seed)
    layer = fr.init.apply(fr.LSTM(1, hidden_size, peephole=peephole), "torch", forget_bias=2.0, rng=rng)
    model = fr.Sequential(layer, fr.Linear(hidden_size, 1, rng=rng))
    data = Trains(seed, shortest, longest)
    trainer = fr.Trainer(
        model, fr.optim.Adam(model), data, loss=fr.losses.binary_cross_entropy_with_logits, steps=steps,
        schedule=warmup_cosine(rate), max_norm=1.0, validate_every=0, callbacks=[data.further],
    )  # fmt: skip
    trainer.run()
    return model, data


def right(model, rng, apart, count):
    """The part of the sequences that are right in all answers."""
    x, steps, late = spike_trains(rng, apart, count)
    answers = model(x)[steps, np.arange(count), 0] > 0
    return (answers == late).all(axis=0).mean()


def run(seed=0, picture=None, shortest=9, longest=49, test=1_000, hidden_size=16, steps=6_000, rate=0.005):
    """The figures: sequences that are right, and how far the curricula came."""
    figures, models = {}, {}
    for name, peephole in (("peepholes", True), ("no peepholes", False)):
        models[name], data = trained(peephole, seed, shortest, longest, hidden_size, steps, rate)
        figures[name] = right(models[name], np.random.default_rng([seed, 2]), longest, test)
        figures[f"{name}: steps apart that were reached"] = data.apart
        figures[f"{name}: after so many steps of training"] = data.since
    if picture is not None:
        draw(picture, models, longest, np.random.default_rng([seed, 3]))
    return figures


def states(layer, x):
    """The cell states ``(T, H)`` while a sequence is read."""
    stream, found = layer.stream(), []
    for x_t in x:
        stream.step(x_t)
        found.append(stream.state[1][0, 0])
    return np.array(found)


def draw(path, models, apart, rng):
    """Eight cells of both nets while one sequence is read, that has both distances."""
    from matplotlib.figure import Figure

    x, steps, late = spike_trains(rng, apart, 50)
    chosen = np.argmax(late.any(axis=0) & ~late.all(axis=0))
    x, steps, late = x[:, chosen : chosen + 1], steps[:, chosen], late[:, chosen]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for axes, (name, model) in zip(figure.subplots(2, 1, sharex=True), models.items()):
        cells, answers = states(model[0], x[:, 0]), apart + (model(x)[steps, 0, 0] > 0)
        axes.plot((cells / np.abs(cells).max(axis=0))[:, :8], linewidth=1)  # the others are like these
        axes.axvline(np.argmax(x), color="0.7", linewidth=1)
        for step, truth, answer in zip(steps, apart + late, answers):
            axes.axvline(step, color="0.7", linewidth=1)
            axes.annotate(f"{truth}: {answer}", (step, 1), (2, -1), xycoords=("data", "axes fraction"),
                          textcoords="offset points", color="0.3")  # fmt: skip
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(ylabel="c of 8 cells, scaled")
        axes.set_title(name, loc="left")
    axes.set(xlabel="step; at the lines spikes, how far they are from the one before, and the answer")
    figure.savefig(path, dpi=80)


def main(seed=0, picture=None):
    for name, figure in run(int(seed), picture).items():
        print(f"{name}: {figure:.2%}" if name.endswith("peepholes") else f"{name}: {figure:,}")


if __name__ == "__main__":
    main(*sys.argv[1:])
