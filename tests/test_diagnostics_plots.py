"""Counts, pictures by what is drawn in them, and the example."""

from pathlib import Path

import numpy as np
import pytest
from examples import example
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn import diagnostics

ROOT = Path(__file__).resolve().parents[1]


def test_nan_counts():
    net = fr.Sequential(fr.Linear(2, 3, rng=0), fr.GRU(3, 2, rng=0))
    net.grads["1.weight_hh_l0"][1:3, 0] = np.nan, np.inf
    with net.edit() as p:
        p["0.bias"][1] = -np.inf
    counts = diagnostics.nan_counts(net)
    assert list(counts) == list(net.parameters)
    assert {name: pair for name, pair in counts.items() if any(pair)} == {"0.bias": (1, 0), "1.weight_hh_l0": (0, 2)}
    assert all(type(count) is int for pair in counts.values() for count in pair)


def test_clip_counter():
    head, twin = (fr.Linear(2, 1, bias=False, rng=0) for _ in range(2))
    clip = diagnostics.ClipCounter(2.0)
    for gradient in ([3, 4], [0.6, 0.8], [0, 2], [np.nan, 1], [np.inf, 1], [0, 30]):
        head.grads["weight"] = twin.grads["weight"] = [gradient]
        with np.errstate(invalid="ignore"):
            assert_same_bits("norm", np.float64(clip([head])), np.float64(fr.optim.clip_grad_norm([twin], 2.0)))
        assert_same_bits("gradient", head.grads["weight"], twin.grads["weight"])
    # a norm of exactly max_norm is scaled, by 1e-6 / 2
    assert (clip.calls, clip.clipped, clip.not_finite, clip.largest) == (6, 3, 2, 30.0)
    assert repr(clip) == "ClipCounter(max_norm=2.0): 3 of 6 clipped, 2 not finite, largest norm 30"


def line_data(axes):
    return [np.asarray(line.get_ydata()) for line in axes.lines]


def test_plot_of_norms():
    pytest.importorskip("matplotlib")
    norms = {"h": np.array([1e-30, 0.0, 1.0]), "c": np.array([2.0, 3.0, 0.0]), "m": np.zeros(3)}
    axes = diagnostics.plot_gradient_norms(norms, label="net")
    assert axes.get_yscale() == "log"
    assert [line.get_label() for line in axes.lines] == ["net h", "net c"]
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    assert len({line.get_color() for line in axes.lines}) == 1
    for drawn, values in zip(line_data(axes), ([1e-30, np.nan, 1.0], [2.0, 3.0, np.nan])):
        assert np.array_equal(drawn, values, equal_nan=True)
    again = diagnostics.plot_gradient_norms({"h": np.ones((2, 3))}, axes, label="stack")
    assert again is axes and [line.get_label() for line in axes.lines[2:]] == ["stack [0]", "stack [1]"]
    axes.figure.canvas.draw()
    empty = diagnostics.plot_gradient_norms({"h": np.zeros(3)})
    assert not empty.lines


def test_plot_of_singular_values():
    pytest.importorskip("matplotlib")
    axes = diagnostics.plot_singular_values(np.array([[3.0, 0.5], [1.0, 0.0]]), label="net")
    assert axes.get_yscale() == "log" and [text.get_text() for text in axes.get_legend().get_texts()] == ["net"]
    one, first, second = line_data(axes)
    assert set(one) == {1.0} and first.tolist() == [3.0, 0.5] and np.array_equal(second, [1.0, np.nan], equal_nan=True)
    axes = diagnostics.plot_singular_values({0: np.array([4.0, 2.0, 1.0]), 5: np.array([1.0, 1.0, 0.5])})
    _, largest, median, smallest = line_data(axes)
    assert (largest.tolist(), median.tolist(), smallest.tolist()) == ([4.0, 1.0], [2.0, 1.0], [1.0, 0.5])
    assert axes.lines[1].get_xdata().tolist() == [0, 5]
    axes.figure.canvas.draw()


def test_plot_of_saturation():
    pytest.importorskip("matplotlib")
    axes = diagnostics.plot_saturation({"f": np.array([0.25, 0.5])}, label="a")
    assert diagnostics.plot_saturation({"z": np.array([[0.0, 0.1], [1.0, 0.2]])}, axes, label="b") is axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a f", "b z [0]", "b z [1]"]
    boxes = [(round(bar.get_x(), 9), round(bar.get_width(), 9)) for bar in axes.patches]
    assert boxes == [(0, 0.25), (0.25, 0.25), (0.5, 0.5), (0, 0), (0, 0.1), (0, 0), (0.1, 0.7), (0, 1), (0.8, 0.2)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["closed", "in between", "open"]
    axes.figure.canvas.draw()


def test_the_example_and_its_picture(tmp_path, capsys):
    """It runs, and what it says is so; the picture in the documents is small."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "gradients.png"
    example("vanishing_gradients").main("0", path)
    said = [line.split(": ") for line in capsys.readouterr().out.splitlines()]
    first = {name.removeprefix("|dL/dh_1|, "): float(figure) for name, figure in said if name.startswith("|dL/dh_1|")}
    plain, large, identity, forgetful, patient, gru = first.values()
    assert plain < forgetful < gru < patient < identity < 1 < large
    assert first["RNN"] < 1e-40 and first["RNN, 3 R"] > 1e3 and identity > 1e-2
    for picture in (path, ROOT / "docs/gradients.png"):
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 100_000
