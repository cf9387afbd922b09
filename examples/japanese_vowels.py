"""Japanese Vowels: who of nine men speaks, from two vowels.

    python examples/japanese_vowels.py [seed] [picture]

An utterance is /ae/, 7 to 29 frames of 12 LPC cepstrum coefficients; 270 are learned from, 370 others are the test, as the
data are published. How many units and how much dropout of the hidden states is chosen by five-fold cross-validation of the
270; then five bidirectional GRUs, of either direction of which the last output counts, learn from all of them and differ by
their seed alone. Reported is the part of the test utterances named right, by the median of the five and by each; the picture
shows how many are after the first frames.

Source: Kudo, Toyama and Shimbo 1999; the data come with sktime.
"""

import sys

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sktime.datasets import load_japanese_vowels

from fastrnn.models import SequenceClassifier

TARGETS = {"median": ">= 0.975"}
MEDIAN_OF = 5
GRID = {"hidden_size": [64, 128], "cell_options": [{"recurrent_dropout": rate} for rate in (0.25, 0.5)]}


def utterances(split):
    """Frames ``(T_i, 12)`` of each, and who speaks."""
    frames, speakers = load_japanese_vowels(split=split, return_type="df-list")
    return [utterance.to_numpy() for utterance in frames], np.asarray(speakers)


def draw(path, counts, parts):
    """The part named right over the frames heard, of each net and their median."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(counts, parts.T, color="#9ecae1", linewidth=1)
    axes.plot(counts, np.median(parts, axis=0), color="#08519c", marker="o", markersize=3, label="median of the nets")
    axes.axhline(1 / 9, color="0.6", linestyle="--", linewidth=1)
    axes.annotate("a guess", (counts[-1], 1 / 9), (0, 3), color="0.4", textcoords="offset points", ha="right")
    axes.set(xlabel="frames heard, at most", ylabel="part of the test utterances named right", ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=90)


def run(seed=0, picture=None, nets=5, grid=GRID, folds=5, epochs=60):
    """Test accuracies; the nets have the seeds from ``nets * seed`` on."""
    (X, y), (unseen, truth) = utterances("train"), utterances("test")
    model = SequenceClassifier(cell="gru", bidirectional=True, dropout=0.5, epochs=epochs, random_state=seed)
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
    search = GridSearchCV(model, grid, cv=cut, scoring="neg_log_loss", refit=False).fit(X, y)
    model.set_params(**search.best_params_)
    fitted = [clone(model).set_params(random_state=nets * seed + i).fit(X, y) for i in range(nets)]
    scores = [net.score(unseen, truth) for net in fitted]
    if picture is not None:
        counts = np.arange(1, 30, 2)
        draw(picture, counts, np.array([[net.score([x[:n] for x in unseen], truth) for n in counts] for net in fitted]))
    figures = {"median": float(np.median(scores))}
    figures |= {f"net {i + 1}": score for i, score in enumerate(scores)}
    return figures | {"units": model.hidden_size, "recurrent dropout": model.cell_options["recurrent_dropout"]}


def main(seed=0, picture=None):
    for name, value in run(int(seed), picture).items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
