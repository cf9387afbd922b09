"""Dates in many written forms to ISO: an encoder-decoder with attention reads characters and writes characters.

    python examples/dates.py [seed]

20,000 dates in one of 16 unambiguous forms are learned from; 2,000 others, none of whose days was among these, are
written. Reports how many are right to the last digit.
"""

import sys

import numpy as np

from fastrnn.models import Seq2Seq

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


def run(seed=0, train=20_000, test=2_000, **options):
    """The figure, and the model and the test pairs for those who want to look."""
    X, y, unseen, truth = pairs(np.random.default_rng(seed), train, test)
    options = {"hidden_size": 64, "epochs": 6, "batch_size": 64, "learning_rate": 0.005, **options}
    model = Seq2Seq(attention="luong", bidirectional=True, random_state=seed, **options).fit(X, y)
    return {"exact": model.score(unseen, truth)}, model, (unseen, truth)


def main(seed=0):
    figures, model, (unseen, truth) = run(int(seed))
    for read, wrote in zip(unseen[:5], model.predict(unseen[:5])):
        print(f"{read:32}{wrote}")
    print(f"exact: {figures['exact']:.2%} of {len(truth):,} unseen dates")


if __name__ == "__main__":
    main(*sys.argv[1:])
