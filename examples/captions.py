"""Captions: what is to be seen in a small picture, in words, from a vector to a sequence.

    python examples/captions.py [seed] [picture]

A scene is a picture of 12 x 12 pixels in 3 colours, on which 2 of 4 figures stand in different squares of a 3 x 3 board,
each in one of 4 colours; every pixel has noise. The caption names both, the upper or else the left one first, and how
they stand to each other. A linear map of the pixels is the first state of an LSTM of 128 units, which writes the words; it
learns from 60,000 scenes. Reported is how many captions of 2,000 others are right to the last word.

Source: Vinyals, Toshev, Bengio & Erhan (2015), who have photographs, and a convolutional net before the LSTM.
"""

import sys

import numpy as np

from fastrnn.models import Seq2Seq

TARGETS = {"exact": ">= 0.98"}
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
FIGURES = {
    "square": ["####", "#..#", "#..#", "####"],
    "cross": [".##.", "####", "####", ".##."],
    "bar": ["....", "####", "####", "...."],
    "corner": ["#...", "#...", "#...", "####"],
}  # fmt: skip
NOISE = 0.1


def drawn(name):
    return np.array([[c == "#" for c in row] for row in FIGURES[name]], float)


def scene(rng):
    """Pixels ``(432,)`` and words."""
    picture, things = np.zeros((12, 12, 3)), []
    for square in sorted(rng.choice(9, 2, replace=False)):  # row by row: the upper or left one first
        row, column = divmod(int(square), 3)
        colour, figure = str(rng.choice(list(COLOURS))), str(rng.choice(list(FIGURES)))
        patch = drawn(figure)[:, :, np.newaxis] * COLOURS[colour]
        picture[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = patch
        things.append((row, column, ["a", colour, figure]))
    (row, column, first), (other_row, other_column, second) = things
    how = ["above"] if other_row > row else []
    if other_column != column:
        how += ["and"] * bool(how) + ["left" if other_column > column else "right", "of"]
    picture += NOISE * rng.standard_normal(picture.shape)
    return picture.ravel().astype(np.float32), [*first, *how, *second]


def scenes(rng, count):
    """So many pictures ``(N, 432)`` and captions."""
    pixels, captions = zip(*(scene(rng) for _ in range(count)))
    return np.stack(pixels), list(captions)


def run(seed=0, picture=None, train=60_000, test=2_000, **options):
    """The figure: captions that are right to the last word; ``options`` are those of ``Seq2Seq``."""
    rng = np.random.default_rng([seed, 1])
    (X, y), (unseen, truth) = scenes(rng, train), scenes(rng, test)
    options = {"hidden_size": 128, "epochs": 6, "batch_size": 64, "learning_rate": 0.005, "weight_decay": 0.02, **options}
    model = Seq2Seq(standardize=False, random_state=seed, **options).fit(X, y)
    if picture is not None:
        draw(picture, unseen[:6], model.predict(unseen[:6]), truth)
    return {"exact": model.score(unseen, truth)}


def draw(path, pixels, captions, truth):
    """Scenes and what the net says of them; in red what is wrong."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), layout="constrained")
    for axes, scene, caption, right in zip(figure.subplots(2, 3).flat, pixels, captions, truth):
        axes.imshow(scene.reshape(12, 12, 3).clip(0, 1), interpolation="nearest")
        axes.set_axis_off()
        half = len(caption) - 3
        words = " ".join(caption[:3]) + "\n" + " ".join(caption[3:half]) + "\n" + " ".join(caption[half:])
        axes.set_title(words, fontsize=10, color="black" if caption == right else "red")
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    print(f"exact: {run(int(seed), picture)['exact']:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
