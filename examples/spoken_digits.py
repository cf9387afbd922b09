"""Spoken digits: strings of digits from frames that nobody has aligned with them, by CTC.

    python examples/spoken_digits.py [seed] [picture]

An utterance is 3 to 9 digits. Each digit is a curve through 4 points in a space of 12 features, spoken in 5 to 14 frames
at a speed that varies within it; neighbours run into one another, some pauses are between, and every frame has noise.
The clean setting has noise of deviation 0.1, the noisy one of 0.6, where the points themselves have a deviation of 1.

An LSTM of 48 units in each direction learns from 3,000 utterances. Reported is the label error rate on 2,000 others, the
likeliest path being taken, and that of a prefix beam search of width 5 on the first 300 of them. The picture has one of
the noisy utterances.

Source: Graves, Fernandez, Gomez & Schmidhuber (2006).
"""

import sys

import numpy as np

from fastrnn import ctc
from fastrnn.models import CTCRecognizer

TARGETS = {"clean": "<= 0.02", "noisy": "<= 0.02"}
FEATURES, POINTS = 12, 4
NOISE = {"clean": 0.1, "noisy": 0.6}
#: The curves of the ten digits, the same in all runs: (10, POINTS, FEATURES).
DIGITS = np.random.default_rng(1997).standard_normal((10, POINTS, FEATURES))


def spoken(digit, rng):
    """Frames of one digit, at a speed that varies."""
    steps = rng.random(rng.integers(5, 15)) + 0.3
    at = (steps.cumsum() - steps / 2) / steps.sum() * (POINTS - 1)
    before = np.minimum(at.astype(int), POINTS - 2)
    part = (at - before)[:, np.newaxis]
    return (1 - part) * DIGITS[digit, before] + part * DIGITS[digit, before + 1]


def utterance(rng, noise):
    """Frames ``(T, 12)`` and the digits in them, as a string."""
    digits = rng.integers(0, 10, rng.integers(3, 10))
    parts = []
    for digit in digits:
        parts += [np.zeros((rng.integers(0, 4), FEATURES)), spoken(digit, rng)]
    frames = np.concatenate(parts)
    around = np.pad(frames, ((1, 1), (0, 0)), mode="edge")
    frames = (around[:-2] + 2 * frames + around[2:]) / 4  # neighbours run into one another
    return frames + noise * rng.standard_normal(frames.shape), "".join(map(str, digits))


def utterances(rng, count, setting):
    """So many frames and strings."""
    return tuple(zip(*(utterance(rng, NOISE[setting]) for _ in range(count))))


def run(seed=0, picture=None, train=3_000, test=2_000, settings=("clean", "noisy"), **options):
    """The figures: label error rates by setting and way of decoding; ``options`` are those of ``CTCRecognizer``."""
    figures = {}
    options = {"hidden_size": 48, "epochs": 8, "learning_rate": 0.01, **options}
    for setting in settings:
        rng = np.random.default_rng([seed, 1])  # the same digits in each setting
        (X, y), (unseen, truth) = utterances(rng, train, setting), utterances(rng, test, setting)
        model = CTCRecognizer(random_state=seed, **options).fit(list(X), y)
        figures[setting] = model.label_error_rate(list(unseen), truth)
        model.set_params(decoding="beam", beam_width=5)
        few = list(unseen[:300])
        figures[f"{setting}, beam search, {len(few)} of them"] = ctc.label_error_rate(model.predict(few), truth[:300])
    if picture is not None:
        draw(picture, model, unseen[0], truth[0])
    return figures


def draw(path, model, frames, digits):
    """The frames of an utterance of the last setting; below, how likely every digit is at each of them, and the blank."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.imshow(frames.T, cmap="gray", aspect="auto", interpolation="nearest")
    above.set(ylabel="feature", title=f"{digits}, read as {model.predict([frames])[0]}")
    (found,) = model.predict_proba([frames])
    below.plot(found[:, 0], color="0.8", label="blank")
    for digit, likely in zip(model.classes_, found.T[1:]):
        if likely.max() > 0.3:
            below.plot(likely, label=digit)
    below.set(xlabel="frame", ylabel="probability", ylim=(0, 1.05))
    below.spines[["top", "right"]].set_visible(False)
    below.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    for name, rate in run(int(seed), picture).items():
        print(f"label error rate, {name}: {rate:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
