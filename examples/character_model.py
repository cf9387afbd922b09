"""Character language model: Python's own sources, beside n-gram models and xz.

    python examples/character_model.py [seed] [picture]

The sources of the standard library on this machine, a sixteenth of them held out in whole files. A GRU of 256 units reads
the others twice, 32 pieces of them side by side, with truncated BPTT over 64 characters. On the same text n-gram models are
counted, smoothed by interpolated Kneser-Ney with three discounts; xz compresses the held-out files, alone and behind the
training text, from which it then may copy. Reported are bits per character of the held-out files and the seconds it took to
learn; the picture shows how the GRU passes the n-grams, and what it writes.

Sources: Chen and Goodman 1999 (n-grams); Karpathy, Johnson and Fei-Fei 2015 (characters of source code).
"""

import lzma
import sys
import sysconfig
import time

import numpy as np

from fastrnn.models import LanguageModel, Vocabulary
from fastrnn.models.texts import read_files, split_files

TARGETS = {"GRU": "< 5-gram"}
#: Tests, tables, and what is not of the standard library.
LEFT_OUT = {"__pycache__", "dist-packages", "encodings", "idlelib", "pydoc_data", "site-packages", "test", "tests"}


def texts(seed, characters, unseen):
    """Training text and held-out text, so many characters of each at most."""
    files = read_files(sysconfig.get_path("stdlib"), ".py", LEFT_OUT)
    train, held_out = split_files(files, 1 / 16, rng=seed)
    return "".join(files[name] for name in train)[:characters], "".join(files[name] for name in held_out)[:unseen]


def grams(codes, n, size):
    """A number for each run of ``n`` codes, to the base ``size``; the last code is its last digit."""
    numbers = np.zeros(len(codes) - n + 1, np.int64)
    for k in range(n):
        numbers = numbers * size + codes[k : len(numbers) + k]
    return numbers


def found(numbers, table):
    """Where numbers are in a sorted table, and whether they are."""
    place = np.searchsorted(table, numbers).clip(max=len(table) - 1)
    return place, table[place] == numbers


class KneserNey:
    """``p(w | h) = (c(hw) - D(c(hw))) / c(h) + sum_v D(c(hv)) / c(h) * p(w | h')``, h' being h without its first code.

    c counts how often the longest n-grams occur, and of shorter ones how many codes they occur behind; D is a discount
    for a count of 1, another for 2, a third for all others. Of an unknown h only ``p(w | h')`` is left.
    """

    def __init__(self, codes, order, size):
        self.order, self.size, self.levels = order, size, []
        numbers = grams(codes, order, size)
        for n in range(order, 0, -1):
            numbers, counts = np.unique(numbers, return_counts=True)
            discounts = self.discounts(counts)[np.minimum(counts, 3)]
            histories = numbers // size
            first = np.flatnonzero(np.diff(histories, prepend=-1))
            totals = np.add.reduceat(counts, first)
            own = (counts - discounts) / np.repeat(totals, np.diff(first, append=len(counts)))
            self.levels.insert(0, (numbers, own, histories[first], np.add.reduceat(discounts, first) / totals))
            numbers = numbers % size ** (n - 1)  # each as often as there are codes that it occurs behind

    @staticmethod
    def discounts(counts):
        """``0, D_1, D_2, D_3``, by how many n-grams occur once, twice, ...: Chen and Goodman's estimates."""
        often = np.bincount(np.minimum(counts, 5), minlength=6)
        y = often[1] / max(often[1] + 2 * often[2], 1)
        return np.array([0.0] + [np.clip(k - (k + 1) * y * often[k + 1] / max(often[k], 1), 0, k) for k in (1, 2, 3)])

    def probabilities(self, codes):
        """Of each code that has ``order - 1`` others before it."""
        p = np.full(len(codes) - self.order + 1, 1 / self.size)
        for n, (numbers, own, histories, passed_on) in enumerate(self.levels, 1):
            here = grams(codes[self.order - n :], n, self.size)
            place, seen = found(here, numbers)
            before, known = found(here // self.size, histories)
            p = np.where(known, np.where(seen, own[place], 0) + passed_on[before] * p, p)
        return p

    def bits(self, codes):
        """Per code."""
        return float(-np.log2(self.probabilities(codes)).mean())


def compressed(text, before=""):
    """Bits per character that xz needs for a text, or for it behind another one more than for that alone."""
    sizes = [len(lzma.compress(data.encode(errors="replace"), preset=9)) for data in (before + text, before) if data]
    return 8 * (sizes[0] - sum(sizes[1:])) / len(text)


def timed(function, *args, **options):
    """Seconds, and what it returns."""
    began = time.perf_counter()
    result = function(*args, **options)
    return time.perf_counter() - began, result


def draw(path, figures, history, written):
    """Held-out bits over the characters read, those of the others as lines; beside it a text of the model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4, 3))
    bits = history["valid_loss"] / np.log(2)
    read, bits = history["seen"][np.isfinite(bits)] / 1e6, bits[np.isfinite(bits)]
    left.plot(read, bits, color="#08519c", marker="o", markersize=3)
    left.annotate("GRU", (read[0], bits[0]), (6, 4), color="#08519c", textcoords="offset points")
    for name, value in figures.items():
        if name.endswith("-gram") or name.startswith("xz"):
            x, side = (0, "left") if name.startswith("xz") else (1, "right")
            left.axhline(value, color="0.6", linestyle="--", linewidth=1)
            left.annotate(name, (x, value), (4 - 8 * x, 2), color="0.4", fontsize=8, xycoords=("axes fraction", "data"),
                          textcoords="offset points", ha=side)  # fmt: skip
    left.set(xlabel="million characters read", ylabel="bits per held-out character")
    left.set_xlim(left=0)
    left.spines[["top", "right"]].set_visible(False)
    lines = [line if len(line) <= 66 else line[:65] + "\N{HORIZONTAL ELLIPSIS}" for line in written.splitlines()]
    right.text(0, 1, "\n".join(lines[:34]), family="monospace", fontsize=7.5, va="top", transform=right.transAxes)
    right.set_axis_off()
    right.set_title("it writes", loc="left")
    figure.savefig(path, dpi=90)


def run(seed=0, picture=None, characters=10_000_000, unseen=1_000_000, orders=(3, 4, 5, 6), hidden_size=256, epochs=2):
    """Bits per character and seconds."""
    train, held_out = texts(seed, characters, unseen)
    vocabulary = Vocabulary.source_code()
    codes, unseen_codes = vocabulary.encode(train), vocabulary.encode(held_out)
    model = LanguageModel(vocabulary, hidden_size=hidden_size, num_layers=1, cell="gru", rng=seed)
    options = {"epochs": epochs, "batch_size": 32, "seq_length": 64, "learning_rate": 0.005}
    every = max(1, epochs * len(codes) // (32 * 64 * 16))  # 16 times, for the picture alone
    pieces = unseen_codes[: len(unseen_codes) // 1000 * 1000].reshape(-1, 1000)[::5].ravel()  # from everywhere
    seconds, trainer = timed(model.fit, codes, valid=pieces, validate_every=every, **options)
    figures = {"GRU": model.bits_per_character(unseen_codes), "GRU, seconds": seconds}
    for order in orders:
        seconds, ngrams = timed(KneserNey, codes, order, len(vocabulary))
        figures |= {f"{order}-gram": ngrams.bits(unseen_codes), f"{order}-gram, seconds": seconds}
    figures["xz -9"] = compressed(held_out)
    figures["xz -9 behind the training text"] = compressed(held_out, train)
    if picture is not None:
        written = "def " + "".join(model.generate(2000, prime="def ", temperature=0.5, rng=seed))
        draw(picture, figures, trainer.history, written)
    return figures


def main(seed=0, picture=None):
    for name, value in run(int(seed), picture).items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
