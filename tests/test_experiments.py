"""The command that runs the experiments, on some that take no time; and what it has made of the real ones."""

import json
import math

import pytest
from examples import EXAMPLES, drawn, example

experiments = example("experiments")
DOCS = EXAMPLES.parent / "docs"

GOOD = '''\
"""A title: what it shows.

    python examples/parity.py [seed]

Some words, on
two lines. Source: somebody, 1999.

    a table
"""
TARGETS = {"right": ">= 0.9"}
def run(seed=0, picture=None):
    print("something said meanwhile", end="")
    if picture:
        open(picture, "w").write("a picture")
    return {"right": 1 - 0.2 * (seed in (2, 5, 6)), "other, |x|": 12345.678, "seed": seed}
'''
BAD = '"""Bad: it cannot end."""\nTARGETS = {}\ndef run(seed=0, picture=None):\n    raise RuntimeError("out of luck")\n'
MEDIAN = '''\
"""Median: of five."""
MEDIAN_OF = 5
TARGETS = {"a": "< b"}
def run(seed=0, picture=None):
    return {"a": 1, "b": 2}
'''


@pytest.fixture
def folders(tmp_path):
    """Where three experiments are, of which the second fails, and an empty folder for what is written."""
    folder, docs = tmp_path / "examples", tmp_path / "docs"
    folder.mkdir()
    docs.mkdir()
    for name, text in (("parity", GOOD), ("adding_problem", BAD), ("digits", MEDIAN)):
        (folder / f"{name}.py").write_text(text)
    return folder, docs


def written(docs):
    """The experiments in the JSON file, and the page."""
    return json.loads((docs / "experiments.json").read_text())["experiments"], (docs / "experiments.md").read_text()


def test_a_failure_is_reported_and_the_others_go_on(folders, capsys):
    assert experiments.main([], *folders) == 1
    said = capsys.readouterr().out
    assert "RuntimeError: out of luck" in said and "\nadding_problem, seed 0: failed\n" in said
    found, page = written(folders[1])
    assert list(found) == ["parity", "digits"]
    assert found["parity"]["figures"] == {"0": {"right": 1.0, "other, |x|": 12345.678, "seed": 0.0}}
    assert found["digits"]["figures"] == {"0": {"a": 1.0, "b": 2.0}}
    assert found["parity"]["seconds"] > 0 and found["parity"]["picture"] and not found["digits"]["picture"]
    assert "Bad" not in page


def test_all_is_well(folders, capsys):
    assert experiments.main(["--only", "parity", "digits"], *folders) == 0
    assert "2 runs" in capsys.readouterr().out
    _, page = written(folders[1])
    assert "## 2. A title\n\nWhat it shows.\n\nSome words, on\ntwo lines. Source: somebody, 1999.\n\n    a table\n" in page
    assert "![A title](experiments/parity.png)" in page and "python examples/parity.py" not in page
    assert "| right | >= 0.9 | 1 |\n| other, \\|x\\| |  | 12,346 |" in page
    assert "[2. A title](#2-a-title) | 1 of 1 |" in page and "medians of 5 seeds." in page
    assert "of seed 0 on" in page


def test_the_page_depends_on_nothing_else(folders):
    experiments.main(["--only", "parity"], *folders)
    results = json.loads((folders[1] / "experiments.json").read_text())
    abouts = experiments.abouts(folders[0])
    page = experiments.page(results, abouts)
    assert page == (folders[1] / "experiments.md").read_text() == experiments.page(results, abouts)
    (folders[1] / "experiments.md").unlink()
    (folders[0] / "parity.py").write_text(GOOD.replace("A title", "Another"))
    assert experiments.main(["--page"], *folders) == 0
    another = page.replace("A title", "Another").replace("2-a-title", "2-another")
    assert (folders[1] / "experiments.md").read_text() == another


def test_other_seeds(folders, capsys):
    """One of three may miss its bound, two may not; the table has all of them; figures that are medians are not repeated."""
    assert experiments.main(["--seeds", "1", "2", "3", "--only", "parity", "digits"], *folders) == 0
    found, page = written(folders[1])
    assert list(found) == ["parity"] and list(found["parity"]["figures"]) == ["1", "2", "3"]
    assert not found["parity"]["picture"] and "| right | >= 0.9 | 1 | **0.8** | 1 |" in page and "2 of 3" in page
    assert experiments.main(["--seeds", "4", "5", "6", "--only", "parity"], *folders) == 1
    assert "parity: right is not >= 0.9 with seeds 5, 6" in capsys.readouterr().out
    assert experiments.main(["--only", "parity"], *folders) == 0
    found, page = written(folders[1])
    assert len(found["parity"]["figures"]) == 7 and "| | bound | seed 0 | seed 1 |" in page.replace("|  |", "| |")


def test_a_failure_takes_the_old_figures_away(folders):
    experiments.main(["--seeds", "0", "1", "--only", "parity"], *folders)
    (folders[0] / "parity.py").write_text(GOOD.replace("return {", "return {1 / seed: 0, "))
    assert experiments.main(["--only", "parity"], *folders) == 1
    found, page = written(folders[1])
    assert list(found["parity"]["figures"]) == ["1"] and not found["parity"]["picture"]
    assert "seed 0 |" not in page and ".png" not in page and not (folders[1] / "experiments/parity.png").exists()


def test_a_failure_with_another_seed_leaves_those_of_seed_0(folders):
    experiments.main(["--only", "parity"], *folders)
    (folders[0] / "parity.py").write_text(GOOD.replace("return {", "return {1 / (seed - 1): 0, "))
    assert experiments.main(["--seeds", "1", "--only", "parity"], *folders) == 1
    found, page = written(folders[1])
    assert list(found["parity"]["figures"]) == ["0"] and found["parity"]["picture"] and "parity.png" in page
    assert (folders[1] / "experiments/parity.png").exists()


@pytest.mark.parametrize(
    "figures, bound, good",
    [
        ({"a": 0.99}, ">= 0.99", True), ({"a": 0.98}, ">= 0.99", False), ({"a": 0.01}, "<= 0.01", True),
        ({"a": 0.02}, "<= 0.01", False), ({"a": 0.0}, "> 0", False), ({"a": 1.0, "the other": 1.0}, "< the other", False),
        ({"a": 0.9, "the other": 1.0}, "< the other", True), ({"a": math.nan}, ">= 0", False), ({"b": 1.0}, ">= 0", False),
        ({"a": 1.0}, "< the other", False), ({"a": 1.0, "b": math.nan}, "< b", False),
    ],
)  # fmt: skip
def test_judging(figures, bound, good):
    assert experiments.missed(figures, {"a": bound}) == ([] if good else ["a"])


def test_seed_0_must_meet_its_bounds():
    abouts = {"a": experiments.About("", "", {"x": "> 0"}, 1)}
    for values, wrong in (({0: 1, 1: 0, 2: 1, 3: 1}, 0), ({0: 0, 1: 1, 2: 1, 3: 1}, 1), ({0: 0}, 1), ({1: 0, 2: 1}, 1)):
        assert len(experiments.verdicts({("a", seed): {"x": x} for seed, x in values.items()}, abouts)) == wrong


def test_figures_on_the_page():
    values = (1.0, 0.99996, 0.9949, 0.00012346, 201_000, 17_123.4, -0.5, math.nan, math.inf)
    texts = ["1", "0.99996", "0.9949", "0.0001235", "201,000", "17,123", "-0.5", "nan", "inf"]
    assert list(map(experiments.shown, values)) == texts


# ---- The real ones ------------------------------------------------------------------------------


def test_every_example_is_an_experiment():
    files = {path.stem for path in EXAMPLES.glob("*.py")} - {"experiments"}
    assert files == set(experiments.NUMBERS)


@pytest.mark.parametrize("name", experiments.abouts(EXAMPLES))
def test_what_an_example_says(name):
    """A title and what is shown; bounds that can be judged."""
    about = experiments.about(EXAMPLES / f"{name}.py")
    assert about.title and about.text and about.median_of >= 1
    for bound in about.targets.values():
        sign, _, limit = bound.partition(" ")
        assert sign in experiments.SIGNS and limit


def test_the_page_is_that_of_the_figures():
    """After a change of a docstring or a bound: python examples/experiments.py --page."""
    results = json.loads((DOCS / "experiments.json").read_text())
    assert (DOCS / "experiments.md").read_text() == experiments.page(results, experiments.abouts(EXAMPLES))
    pictures = {f"{name}.png" for name, result in results["experiments"].items() if result["picture"]}
    assert pictures == {path.name for path in (DOCS / "experiments").iterdir()}
    assert all(drawn(DOCS / "experiments" / name) for name in pictures)
