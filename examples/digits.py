"""Digits, row by row: what a bidirectional LSTM makes of small pictures.

    python examples/digits.py [seed] [picture]

Scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, of which a fixed stratified part of 360 is the test. A picture is read
as a sequence of its eight rows by a bidirectional LSTM; what either direction says at its end decides. It learns from the
other 1,437, each of them also moved by a pixel up, down, left and right; its pooling was chosen by cross-validation of
these. Reported is the part of the test named right, by the median of five nets that differ by their seed alone, and by each;
the picture shows what the median net gets wrong.

Source: Alpaydin and Kaynak 1998; the data come with scikit-learn.
"""

import sys

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastrnn.models import SequenceClassifier

TARGETS = {"median": ">= 0.97"}
MEDIAN_OF = 5
SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


def shifted(images):
    """``(N, 8, 8)`` -> ``(5 N, 8, 8)``: as they are, and moved; what comes in is empty."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    return np.concatenate([wide[:, 1 - down : 9 - down, 1 - right : 9 - right] for down, right in SHIFTS])


def draw(path, images, truth, named):
    """Some pictures, what they are and what they were named."""
    from matplotlib.figure import Figure

    columns = min(max(len(images), 1), 10)
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.1 * columns, 1.5 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, image, right, wrong in zip(places, images, truth, named):
        axes.imshow(image, cmap="gray_r")
        axes.set_title(f"{right}, not {wrong}", fontsize=9)
    figure.savefig(path, dpi=90)


def run(seed=0, picture=None, train=1437, nets=5, hidden_size=64, epochs=15):
    """Test accuracies; the nets have the seeds from ``nets * seed`` on."""
    digits = load_digits()
    images, labels = digits.images, digits.target
    X, unseen, y, truth = train_test_split(images, labels, test_size=360, stratify=labels, random_state=0)
    X, y = shifted(X[:train]), np.tile(y[:train], len(SHIFTS))
    model = SequenceClassifier(hidden_size, bidirectional=True, pooling="last", dropout=0.3, epochs=epochs)
    fitted = [clone(model).set_params(random_state=nets * seed + i).fit(X, y) for i in range(nets)]
    scores = [net.score(unseen, truth) for net in fitted]
    if picture is not None:
        named = fitted[int(np.argsort(scores)[nets // 2])].predict(unseen)
        wrong = named != truth
        draw(picture, unseen[wrong], truth[wrong], named[wrong])
    return {"median": float(np.median(scores))} | {f"net {i + 1}": score for i, score in enumerate(scores)}


def main(seed=0, picture=None):
    for name, value in run(int(seed), picture).items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
