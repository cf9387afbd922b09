"""Dates: many written forms to ISO, by an encoder-decoder with attention that reads and writes characters.

    python examples/dates.py [seed] [picture]

20,000 dates from 1900 to 2099, each in one of 16 unambiguous forms, are learned from; 2,000 others, none of whose days was
among these, are written. The encoder is an LSTM of 32 units in each direction, the decoder one of 64 with Luong's attention.
Reported is how many dates are right to the last digit; the picture shows which character each digit was taken from.

Sources: Sutskever, Vinyals & Le (2014) and Cho et al. (2014), encoder-decoders; Luong, Pham & Manning (2015), attention.
"""

import sys

import numpy as np

from fastrnn.models import Seq2Seq

TARGETS = {"exact": ">= 0.99"}
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December"]  # fmt: skip
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
FIRST, LAST = np.datetime64("1900-01-01"), np.datetime64("2100-01-01")


def ordinal(day):
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day % 10 if not 10 < day < 14 else 0, "th")
    return f"{day}{ending}"


def written(date, form):
    """A date in one of 16 forms; the month is named, or the order begins with the year."""
    year, month, day = map(int, str(date).split("-"))
    name, weekday = MONTHS[month - 1], DAYS[(date - np.datetime64("2001-01-01")).astype(int) % 7]  # a Monday
    short, th = name[:3], ordinal(day)
    return [
        f"{day} {name} {year}", f"{name} {day}, {year}", f"{day} {short} {year}", f"{short} {day}, {year}",
        f"the {th} of {name} {year}", f"{name} the {th}, {year}", f"{weekday}, {day} {name} {year}",
        f"{weekday[:3]} {day:02d} {short} {year}", f"{weekday}, {name} {th}, {year}", f"{day:02d}-{short}-{year}",
        f"{day:02d}{short.upper()}{year}", f"{year} {name} {day}", f"{year}/{month}/{day}", f"{year}.{month:02d}.{day:02d}",
        f"{year}{month:02d}{day:02d}", f"{name.upper()} {day} {year}",
    ][form]  # fmt: skip


FORMS = 16


def pairs(rng, train, test):
    """So many pairs to learn from, so many to try: of different days."""
    days = rng.permutation((LAST - FIRST).astype(int))[: train + test]
    dates = FIRST + days
    forms = rng.integers(0, FORMS, len(dates))
    X, y = [written(date, form) for date, form in zip(dates, forms)], [str(date) for date in dates]
    return X[:train], y[:train], X[train:], y[train:]


def run(seed=0, picture=None, train=20_000, test=2_000, **options):
    """The figure: dates that are right to the last digit; ``options`` are those of ``Seq2Seq``."""
    X, y, unseen, truth = pairs(np.random.default_rng([seed, 1]), train, test)
    options = {"hidden_size": 64, "epochs": 6, "batch_size": 64, "learning_rate": 0.005, **options}
    model = Seq2Seq(attention="luong", bidirectional=True, random_state=seed, **options).fit(X, y)
    if picture is not None:
        draw(picture, model, [max(unseen, key=len), min(unseen, key=len)])
    return {"exact": model.score(unseen, truth)}


def draw(path, model, dates):
    """Which characters the decoder looks at for each one that it writes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    both = figure.subplots(1, 2, width_ratios=[len(date) for date in dates])
    for axes, read, wrote, weights in zip(both, dates, *model.attend(dates)):
        axes.imshow(weights, cmap="gray", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(read)), read, family="monospace")
        axes.set_yticks(range(len(wrote)), wrote, family="monospace")
        axes.set(xlabel="read", ylabel="written")
    figure.savefig(path, dpi=90)


def main(seed=0, picture=None):
    print(f"exact: {run(int(seed), picture)['exact']:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
