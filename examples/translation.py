"""Translation: a toy language learned with attention, and where the decoder looks.

    python examples/translation.py [seed] [picture]

Sentences of a small grammar are translated into a language in which the verb comes last, adjectives follow their noun
and agree with its gender, and so does the article. 8,000 sentences are learned from, 1,000 others translated, by an LSTM of
32 units in each direction and one of 64 with Luong's attention. Reported is how many are right to the last word; what is lit
in the picture says which word the decoder looked at for each word that it wrote.

Sources: Bahdanau, Cho & Bengio (2015); Luong, Pham & Manning (2015).
"""

import sys

import numpy as np

from fastrnn.models import Seq2Seq

TARGETS = {"exact": ">= 0.95"}
#: English -> (stem, gender): articles and adjectives take the gender's ending.
NOUNS = {"dog": ("kanu", 0), "cat": ("felo", 1), "house": ("domo", 1), "tree": ("arvu", 0), "child": ("infu", 0),
         "river": ("flumo", 1), "book": ("libu", 0), "star": ("stelo", 1)}  # fmt: skip
ADJECTIVES = {"small": "pik", "old": "vek", "red": "rub", "quiet": "tas", "strange": "mir"}
VERBS = {"sees": "vid", "finds": "trov", "follows": "sek", "likes": "am", "hears": "ud"}
PLACES = {"near": "apu", "behind": "dor", "under": "sub"}
ARTICLES = {"the": "l", "a": "un"}
ENDINGS = "ua"


def noun_phrase(rng, depth=0):
    """Words of both languages."""
    noun, article = rng.choice(list(NOUNS)), rng.choice(list(ARTICLES))
    adjectives = list(rng.choice(list(ADJECTIVES), rng.integers(0, 3), replace=False))
    stem, gender = NOUNS[noun]
    ending = ENDINGS[gender]
    ours = [article, *adjectives, noun]
    theirs = [ARTICLES[article] + ending, stem, *(ADJECTIVES[a] + ending for a in adjectives)]
    if depth == 0 and rng.random() < 0.3:
        place = rng.choice(list(PLACES))
        more_ours, more_theirs = noun_phrase(rng, 1)
        ours, theirs = [*ours, place, *more_ours], [*more_theirs, PLACES[place], *theirs]
    return ours, theirs


def sentence(rng):
    """Subject, verb, object; the other language puts the verb last."""
    subject, what = noun_phrase(rng), noun_phrase(rng)
    verb = rng.choice(list(VERBS))
    ours = [*subject[0], verb, *what[0]]
    theirs = [*subject[1], *what[1], VERBS[verb] + "is"]
    if rng.random() < 0.3:
        ours, theirs = [*ours, "today"], ["nun", *theirs]
    return tuple(map(str, ours)), tuple(map(str, theirs))


def pairs(rng, count):
    """Different sentences and their translations."""
    found = {}
    while len(found) < count:
        ours, theirs = sentence(rng)
        found[ours] = theirs
    return [list(ours) for ours in found], [list(theirs) for theirs in found.values()]


def run(seed=0, picture=None, train=8_000, test=1_000, **options):
    """The figure: sentences that are right to the last word; ``options`` are those of ``Seq2Seq``."""
    X, y = pairs(np.random.default_rng([seed, 1]), train + test)
    options = {"hidden_size": 64, "epochs": 10, "batch_size": 64, "learning_rate": 0.005, **options}
    model = Seq2Seq(attention="luong", bidirectional=True, random_state=seed, **options).fit(X[:train], y[:train])
    if picture is not None:
        draw(picture, model, max(X[train:], key=len))
    return {"exact": model.score(X[train:], y[train:])}


def draw(path, model, words):
    """The weights of one sentence: what is lit was looked at."""
    from matplotlib.figure import Figure

    (wrote,), (weights,) = model.attend([words])
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(weights, cmap="gray", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(words)), words, rotation=60)
    axes.set_yticks(range(len(wrote)), wrote)
    axes.set(xlabel="read", ylabel="written")
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    print(f"exact: {run(int(seed), picture)['exact']:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
