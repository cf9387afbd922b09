"""Binary addition: learned from short numbers, exact on numbers of 200 bits.

    python examples/binary_addition.py [seed] [picture]

Two numbers come bit by bit, lowest bit first, and a bit of their sum is due at every step; one step more, at which both are
0, has room for the last carry. A tanh RNN of 16 units learns from 4,000 pairs of 1 to 12 bits, all read ten times over, and
so does an LSTM beside it. The plain net is the right one here: a carry is a switch, and units that saturate are switches.

A sum counts as exact if all of its bits are right. Reported are 1,000 pairs of 200 random bits, which have carries over a
few places only, and 1,000 pairs that are each other's complement but for the lowest bit, which is 1 in both: there a carry
goes through all 200 places.

Source: recurrent nets that add, digit by digit, are of Cottrell & Tsung (1993).
"""

import sys

import numpy as np

import fastrnn as fr
from fastrnn.training import Sequences, warmup_cosine

TARGETS = {"tanh RNN": ">= 1"}


def number(bits):
    """Of bits, lowest first, the number."""
    return int("".join("01"[int(bit)] for bit in reversed(bits)), 2)


def added(pair):
    """``pair (bits, 2)`` with a step more, and the bits of the sum, ``(bits + 1, 1)``."""
    x = np.concatenate([pair, [[0, 0]]]).astype(np.float32)
    total = number(x[:, 0]) + number(x[:, 1])
    return x, np.array([[total >> place & 1] for place in range(len(x))], np.float32)


def random_pairs(rng, count, shortest, longest):
    """So many pairs of numbers of so many bits, and their sums."""
    lengths = rng.integers(shortest, longest + 1, count)
    return tuple(zip(*(added(rng.integers(0, 2, (length, 2))) for length in lengths)))


def carried_pairs(rng, count, bits):
    """Pairs whose carry goes through all places."""
    first = rng.integers(0, 2, (count, bits))
    first[:, 0] = 1
    second = 1 - first
    second[:, 0] = 1
    return tuple(zip(*(added(pair) for pair in np.stack([first, second], axis=2))))


def logits(model, inputs):
    """Of numbers equally long, ``(count, steps)``."""
    return model(np.stack(inputs, axis=1))[..., 0].T


def exact(model, inputs, sums):
    """The part of the sums that is right."""
    return float(np.mean(((logits(model, inputs) > 0) == np.stack(sums)[..., 0]).all(axis=1)))


def trained(layer, inputs, sums, epochs, rng):
    """The net, with a head behind the layer."""
    model = fr.Sequential(layer, fr.Linear(layer.hidden_size, 1, rng=rng))
    data = Sequences(inputs, sums, batch_size=32)
    trainer = fr.Trainer(
        model, fr.optim.Adam(model), data, loss=fr.losses.binary_cross_entropy_with_logits, epochs=epochs,
        schedule=warmup_cosine(0.01), max_norm=1.0, rng=rng,
    )  # fmt: skip
    trainer.run()
    return model


def run(seed=0, picture=None, train=4_000, longest=12, bits=200, test=1_000, hidden_size=16, epochs=10):
    """The figures: sums that are exact."""
    rng = np.random.default_rng(seed)
    inputs, sums = random_pairs(rng, train, 1, longest)
    random, carried = random_pairs(rng, test, bits, bits), carried_pairs(rng, test, bits)
    figures = {}
    for name, cell in (("tanh RNN", fr.RNN), ("LSTM", fr.LSTM)):
        model = trained(cell(2, hidden_size, rng=rng), inputs, sums, epochs, rng)
        figures[name] = exact(model, *random)
        figures[f"{name}, a carry through all places"] = exact(model, *carried)
    return figures


def main(seed=0, picture=None):
    for name, part in run(int(seed), picture).items():
        print(f"exact, {name}: {part:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
