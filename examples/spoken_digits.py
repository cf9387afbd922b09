"""Strings of digits from frames that nobody has aligned with them: CTC.

    python examples/spoken_digits.py [seed]

An utterance is 3 to 9 digits. Each digit is a curve through 4 points in a space of 12 features, spoken in 5 to 14 frames
at a speed that varies within it; neighbours run into one another, some pauses are between, and every frame has noise.
The clean setting has noise of deviation 0.1, the noisy one of 0.6, where the points themselves have a deviation of 1.
Reports the label error rate on 2,000 utterances not learned from.
"""

import sys

import numpy as np

from fastrnn import ctc
from fastrnn.models import CTCRecognizer

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


def run(seed=0, train=3_000, test=2_000, settings=("clean", "noisy"), **options):
    """The figures: label error rates of both ways of decoding, by setting."""
    figures = {}
    options = {"hidden_size": 48, "epochs": 8, "learning_rate": 0.01, **options}
    for setting in settings:
        rng = np.random.default_rng([seed, len(setting)])
        (X, y), (unseen, truth) = utterances(rng, train, setting), utterances(rng, test, setting)
        model = CTCRecognizer(random_state=seed, **options).fit(list(X), y)
        figures[setting] = model.label_error_rate(list(unseen), truth)
        model.set_params(decoding="beam", beam_width=5)
        few = list(unseen[:300])
        figures[f"{setting}, beam, {len(few)} of them"] = ctc.label_error_rate(model.predict(few), truth[:300])
    return figures


def main(seed=0):
    for name, rate in run(int(seed)).items():
        print(f"label error rate, {name}: {rate:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
