"""Parity: whether a string has an odd number of ones, learned from strings of 20 bits, exact on strings of 500.

    python examples/parity.py [seed] [picture]

A string comes bit by bit; only after its last bit is there a target. A single wrong step makes everything after it wrong,
and no part of a string says anything about its parity: there is nothing to be learned little by little. So the curriculum
begins with strings of at most 2 bits, and lets them grow by 1 bit whenever the loss of the last 50 steps is small, up to 20.
An LSTM of 16 units, batches of 64 fresh strings whose length is drawn anew.

Reported are the parity of 1,000 random strings of 500 bits, and the part of them in which that of every prefix is right too.

Source: Minsky & Papert (1969); for recurrent nets Bengio, Simard & Frasconi (1994).
"""

import sys

import numpy as np

import fastrnn as fr
from fastrnn.training import Batch, Source, warmup_cosine

TARGETS = {"exact": ">= 1"}


def strings(rng, length, count):
    """Bits, ``(length, count, 1)``, and the parity of every prefix, of the same shape."""
    x = rng.integers(0, 2, (length, count, 1)).astype(np.float32)
    return x, x.cumsum(axis=0) % 2


class Growing(Source):
    """Strings of up to ``self.longest`` bits, which ``grow`` makes more of."""

    def __init__(self, seed, most, batch_size=64, enough=0.05):
        self.seed, self.most, self.batch_size, self.enough = seed, most, batch_size, enough
        self.longest, self.since = 2, 0

    def __len__(self):
        return 100

    def batch(self, step):
        rng = np.random.default_rng([self.seed, 1, step])
        x, parity = strings(rng, rng.integers(1, self.longest + 1), self.batch_size)
        return Batch(x, parity[-1], select=-1, size=self.batch_size)  # the loss sees the last step

    def grow(self, trainer):
        """A callback: strings grow when what there is has been learned."""
        if trainer.step >= self.since + 50 and trainer.history.last("loss", 50).mean() < self.enough:
            self.longest, self.since = min(self.most, self.longest + 1), trainer.step


def run(seed=0, picture=None, longest=20, bits=500, test=1_000, hidden_size=16, steps=4_000):
    """The figures: strings that are right, and how far the curriculum came."""
    rng = np.random.default_rng(seed)
    model = fr.Sequential(fr.LSTM(1, hidden_size, rng=rng), fr.Linear(hidden_size, 1, rng=rng))
    data = Growing(seed, longest)
    trainer = fr.Trainer(
        model, fr.optim.Adam(model), data, loss=fr.losses.binary_cross_entropy_with_logits, steps=steps,
        schedule=warmup_cosine(0.01), max_norm=1.0, validate_every=0, callbacks=[data.grow],
    )  # fmt: skip
    trainer.run()
    x, parity = strings(np.random.default_rng([seed, 2]), bits, test)
    right = (model(x) > 0) == parity
    return {"exact": right[-1].mean(), "exact, every prefix": right.all(axis=0).mean(), "bits reached": data.longest}


def main(seed=0, picture=None):
    figures = run(int(seed), picture)
    for name in ("exact", "exact, every prefix"):
        print(f"{name}: {figures[name]:.2%}")
    print(f"bits reached: {figures['bits reached']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
