"""What is to be seen in a small picture, in words: from a vector to a sequence.

    python examples/captions.py [seed]

A scene is a picture of 12 x 12 pixels in 3 colours, on which 2 of 4 figures stand in different squares of a 3 x 3 board,
each in one of 4 colours; every pixel has noise. The caption names both, the upper or else the left one first, and how
they stand to each other. A linear map of the pixels is the first state of the decoder. Reports how many captions of
scenes not learned from are right to the last word.
"""

import sys

import numpy as np

from fastrnn.models import Seq2Seq

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


def run(seed=0, train=60_000, test=2_000, **options):
    """The figure, the model, and the scenes not learned from."""
    rng = np.random.default_rng(seed)
    (X, y), (unseen, truth) = scenes(rng, train), scenes(rng, test)
    options = {"hidden_size": 128, "epochs": 6, "batch_size": 64, "learning_rate": 0.005, "weight_decay": 0.02, **options}
    model = Seq2Seq(standardize=False, random_state=seed, **options).fit(X, y)
    return {"exact": model.score(unseen, truth)}, model, (unseen, truth)


def main(seed=0):
    figures, model, (unseen, truth) = run(int(seed))
    for caption in model.predict(unseen[:5]):
        print(" ".join(caption))
    print(f"exact: {figures['exact']:.2%} of {len(truth):,} unseen scenes")


if __name__ == "__main__":
    main(*sys.argv[1:])
