"""The embedded Reber grammar: which symbols may come next, and the one that only a memory can tell.

    python examples/reber_grammar.py [seed] [picture]

A string is B, then T or P, then a string of the Reber grammar, then T or P again, the same as before, then E. The inner
string has 6 symbols and more, and says nothing about the outer symbol. Where the grammar goes two ways both are as likely.

An LSTM of 32 units learns to predict the next symbol from 20,000 strings. 10,000 others, none of which was among these, are
looked at in two ways. "predicted": at every step of a string, the symbols to which the net gives a probability above 1/4
must be those that the grammar allows, no more and no less (to each of which it gives 1/2 or 1); a string with one step
where they are not counts as wrong. "written on": a string is cut anywhere behind its outer symbol, and the net goes on with
what it draws from its own probabilities, all of them, until there is an E for the outer B; counts as right if that is a
string of the grammar, outer symbol included. "outer symbol" is the part of the 10,000 strings at whose last but one place
the net gives the right of T and P, and only it, more than 1/4. Also reported: how long the longest of these strings is.

The grammar is of Reber (1967), its embedding of Cleeremans, Servan-Schreiber & McClelland (1989) and Fahlman (1991); the
task as in Hochreiter & Schmidhuber (1997).
"""

import sys

import numpy as np

import fastrnn as fr
from fastrnn.training import Sequences, warmup_cosine

TARGETS = {"predicted": ">= 0.999", "written on": ">= 0.999", "outer symbol": ">= 0.999"}
SYMBOLS = "BTPSXVE"
#: place -> symbol -> place; the inner grammar begins at 0 and ends at 7.
REBER = [{"B": 1}, {"T": 2, "P": 3}, {"S": 2, "X": 4}, {"T": 3, "V": 5}, {"X": 3, "S": 6}, {"P": 4, "V": 6}, {"E": 7}]
START = ("", -2)
LIKELY = 1 / 4


def ways(state):
    """Symbol -> state, of all symbols allowed; a state is the outer symbol, once it was read, and a place."""
    outer, place = state
    if 0 <= place < 7:
        return {symbol: (outer, to) for symbol, to in REBER[place].items()}
    around = {-2: {"B": ("", -1)}, -1: {"T": ("T", 0), "P": ("P", 0)}, 7: {outer: (outer, 8)}, 8: {"E": (outer, 9)}, 9: {}}
    return around[place]


def allowed(string):
    """What may come after each beginning of a string, ``[]`` after the end; None for a string not of the grammar."""
    state, found = START, []
    for symbol in string:
        if symbol not in ways(state):
            return None
        state = ways(state)[symbol]
        found.append(list(ways(state)))
    return found


def string(rng):
    """One of the grammar."""
    state, symbols = START, ""
    while choices := ways(state):
        symbol = list(choices)[rng.integers(len(choices))]
        symbols, state = symbols + symbol, choices[symbol]
    return symbols


def coded(strings):
    return [np.array([SYMBOLS.index(symbol) for symbol in string]) for string in strings]


def padded(strings):
    """Codes ``(T, N)`` and lengths."""
    lengths = np.array([len(string) for string in strings])
    x = np.zeros((lengths.max(), len(strings)), int)
    for n, codes in enumerate(coded(strings)):
        x[: len(codes), n] = codes
    return x, lengths


def probabilities(logits):
    return np.exp(fr.decoding.log_softmax(logits))


def predicted(model, strings):
    """For each string, whether what is likely is what is allowed: at all steps, and at the outer symbol."""
    x, lengths = padded(strings)
    likely = probabilities(model(x, lengths=lengths)) > LIKELY
    everywhere, outer = np.ones((2, len(strings)), bool)
    for n, string in enumerate(strings):
        sets = [[SYMBOLS[code] for code in np.flatnonzero(row)] for row in likely[: len(string) - 1, n]]
        same = [sorted(one) == sorted(other) for one, other in zip(sets, allowed(string))]
        everywhere[n], outer[n] = all(same), same[-2]
    return everywhere, outer


def written_on(model, beginnings, rng, most=200):
    """Beginnings of strings, and what the model draws to go on, until the E of the outer B; or ``most`` symbols."""
    embedding, layer, head = model
    x, lengths = padded(beginnings)
    y, state = layer(embedding(x), lengths=lengths)
    last, strings = fr.pool(y, lengths), list(beginnings)
    going = np.arange(len(strings))  # the numbers of the strings that have not ended
    while len(going):
        codes = fr.decoding.sample(head(last), rng=rng)
        for n, code in zip(going, codes):
            strings[n] += SYMBOLS[code]
        # The inner string has an E of its own.
        on = np.array([strings[n].count("E") < 2 and len(strings[n]) < most for n in going])
        going, state = going[on], fr.decoding.gather(state, np.flatnonzero(on))
        y, state = layer(embedding(codes[on][np.newaxis]), state)
        last = y[0]
    return strings


def trained(seed, strings, hidden_size, epochs, rate):
    rng = np.random.default_rng(seed)
    size = len(SYMBOLS)
    layer = fr.init.apply(fr.LSTM(size, hidden_size), "torch", forget_bias=2.0, rng=rng)
    model = fr.Sequential(fr.Embedding(size, size, rng=rng), layer, fr.Linear(hidden_size, size, rng=rng))
    codes = coded(strings)
    data = Sequences([code[:-1] for code in codes], [code[1:] for code in codes], batch_size=32, rng=rng)
    fr.Trainer(model, fr.optim.Adam(model), data, epochs=epochs, schedule=warmup_cosine(rate), max_norm=1.0).run()
    return model


def run(seed=0, picture=None, train=20_000, test=10_000, hidden_size=32, epochs=40, rate=0.02):
    """The figures."""
    rng = np.random.default_rng([seed, 1])
    strings = [string(rng) for _ in range(train)]
    known, unseen = set(strings), []
    while len(unseen) < test:
        new = string(rng)
        if new not in known:
            unseen.append(new)
    model = trained(seed, strings, hidden_size, epochs, rate)
    everywhere, outer = predicted(model, unseen)
    beginnings = [one[: rng.integers(2, len(one) - 1)] for one in unseen]
    written = written_on(model, beginnings, rng)
    figures = {
        "predicted": float(everywhere.mean()),
        "outer symbol": float(outer.mean()),
        "written on": float(np.mean([(sets := allowed(one)) is not None and sets[-1] == [] for one in written])),
        "longest string": max(map(len, unseen)),
    }
    if picture is not None:
        draw(picture, model, unseen)
    return figures


def draw(path, model, strings):
    """The probabilities along one string, with either outer symbol."""
    from matplotlib.figure import Figure

    chosen = next(one for one in strings if 18 <= len(one) <= 24)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for axes, outer in zip(figure.subplots(2, 1), "TP"):
        one = chosen[0] + outer + chosen[2:-2] + outer + "E"
        axes.imshow(probabilities(model(padded([one])[0][:, 0]))[:-1].T, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
        for step, symbols in enumerate(allowed(one)[:-1]):
            axes.plot([step] * len(symbols), [SYMBOLS.index(s) for s in symbols], "o", mfc="none", color="#d6604d", ms=11)
        axes.set_xticks(range(len(one) - 1), one[:-1])
        axes.set_yticks(range(len(SYMBOLS)), SYMBOLS)
        axes.set_ylabel("next")
    figure.suptitle("the same string inside, with either outer symbol")
    axes.set_xlabel("read; grey: probability of the next symbol; red: what the grammar allows")
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    for name, figure in run(int(seed), picture).items():
        print(f"{name}: {figure}" if isinstance(figure, int) else f"{name}: {figure:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
