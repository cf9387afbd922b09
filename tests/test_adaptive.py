"""``AdaptiveSoftmax``: a plain formula, differences, stored numbers of PyTorch, saving, bad input."""

import copy

import numpy as np
import pytest
from cases import dealt_out
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_close, assert_same_bits

import fastrnn as fr

SHAPES = [(1,), (7,), (3, 4), (0,)]


def plain(m, x):
    """Log probabilities of all classes, row by row, from the definition."""
    p = {name: array.astype(np.float64) for name, array in m.parameters.items()}
    ends = [*m.cutoffs[1:], m.n_classes]
    result = np.zeros((*x.shape[:-1], m.n_classes))
    for place in np.ndindex(x.shape[:-1]):
        head = np.exp(p["head.weight"] @ x[place] + p.get("head.bias", 0))
        head /= head.sum()
        parts = [head[: m.cutoffs[0]]]
        for i in range(len(ends)):
            tail = np.exp(p[f"tail.{i}.1.weight"] @ (p[f"tail.{i}.0.weight"] @ x[place]))
            parts.append(tail / tail.sum() * head[m.cutoffs[0] + i])
        result[place] = np.log(np.concatenate(parts))
    return result


def plain_loss(m, x, target, reduction="mean"):
    kept = target >= 0
    chosen = np.take_along_axis(plain(m, x), np.where(kept, target, 0)[..., np.newaxis], -1)[..., 0][kept]
    return -chosen.mean() if reduction == "mean" else -chosen.sum()


def differences(total, array, eps=1e-5):
    """The gradient of ``total()`` with respect to a writable array it reads."""
    result = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + eps
        above = total()
        array[place] = value - eps
        result[place] = (above - total()) / (2 * eps)
        array[place] = value
    return result


@given(
    shape=st.sampled_from(SHAPES),
    cutoffs=st.sampled_from([[1], [3], [2, 6], [1, 2, 3]]),
    bias=st.booleans(),
    ignored=st.booleans(),
    reduction=st.sampled_from(["mean", "sum"]),
    seed=st.integers(0, 10**6),
)
def test_loss_and_gradients(shape, cutoffs, bias, ignored, reduction, seed):
    rng = np.random.default_rng(seed)
    m = fr.AdaptiveSoftmax(8, 9, cutoffs, 2.0, bias, dtype="float64", rng=rng)
    x, target = 3 * rng.standard_normal((*shape, 8)), rng.integers(0, 9, shape)
    if ignored:
        target = np.where(rng.random(shape) < 0.3, -100, target)
    loss, pullback = m.vjp(x, target, reduction=reduction)
    assert_same_bits("loss of a call", np.asarray(m(x, target, reduction=reduction)), np.asarray(loss))
    dx = pullback(0.7)
    assert dx.shape == x.shape
    if not (target >= 0).any():
        assert np.isnan(loss) if reduction == "mean" else loss == 0
        assert not dx.any() and not any(array.any() for array in m.grads.values())
        return
    assert_close("loss", np.asarray(loss), np.asarray(plain_loss(m, x, target, reduction)), "forward")
    numeric = differences(lambda: 0.7 * plain_loss(m, x, target, reduction), x)
    assert_close("dx", dx, numeric, "numeric")
    with m.edit() as parameters:
        for name, array in parameters.items():
            numeric = differences(lambda: 0.7 * m(x, target, reduction=reduction), array)
            assert_close(name, m.grads[name], numeric, "numeric")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_losses_of_rows(shape, dtype):
    """Unreduced losses add up; their gradients are those of any weighted sum; a number weighs all alike."""
    rng = np.random.default_rng(1)
    m = fr.AdaptiveSoftmax(8, 9, [2, 6], 2.0, True, dtype=dtype, rng=rng)
    x, target = rng.standard_normal((*shape, 8)).astype(dtype), rng.integers(0, 9, shape)
    target = np.where(rng.random(shape) < 0.3, -100, target)
    weights = rng.standard_normal(shape).astype(dtype)
    losses, pullback = m.vjp(x, target, reduction="none")
    assert losses.shape == shape and losses.dtype == dtype and not losses[target < 0].any()
    assert_same_bits("losses of a call", m(x, target, reduction="none"), losses)
    for place in np.ndindex(shape):
        assert_close("loss", losses[place], m(x[place], target[place], reduction="sum"), "forward")
    dx, expected = pullback(weights), np.zeros_like(x)
    grads = {name: array.copy() for name, array in m.grads.items()}
    m.zero_grad()
    for place in np.ndindex(shape):
        expected[place] = m.vjp(x[place], target[place], reduction="sum")[1](weights[place])
    assert_close("dx", dx, expected, "gradient")
    for name, array in m.grads.items():
        assert_close(name, grads[name], array, "gradient")
    both = [m.vjp(x, target, reduction=way)[1](0.5) for way in ("none", "sum")]
    assert_same_bits("dx of a number", *both)


def sines(count, step, scale=1.0):
    return scale * np.sin(step * np.arange(count))


def stored(dtype="float64"):
    """The module and the input whose numbers are below."""
    m = fr.AdaptiveSoftmax(8, 12, [3, 7], div_value=2.0, head_bias=True, dtype=dtype)
    first = 0
    for name, array in m.parameters.items():
        m.parameters[name] = np.sin(1.3 * np.arange(first, first + array.size)).reshape(array.shape)
        first += array.size
    return m, 2 * np.sin(0.7 * np.arange(48) + 0.1).reshape(6, 8)


TARGET = [0, 2, 3, 6, 7, 11]
# PyTorch 2.13, float64: the loss, dx of the fourth row, and of each gradient sum |g| and sum g cos(0, 1, 2, ...)
LOSS = 6.015836697228298
DX = [-0.14979587759451873, -0.34253161137914134, -0.03345773202710603, 0.32463180312776907, 0.20713498616903908,
      -0.21381507079299328, -0.3215255481278567, 0.0417996557988339]  # fmt: skip
GRADIENTS = {
    "head.weight": (15.384438135104078, 0.18646602629549425),
    "head.bias": (0.7831671622500265, 0.455246280543983),
    "tail.0.0.weight": (7.340344344920382, -3.0311510113633204),
    "tail.0.1.weight": (3.2959732056044815, 0.6530752805977851),
    "tail.1.0.weight": (2.720091982343122, 0.6851175135307678),
    "tail.1.1.weight": (0.5645508809091878, -0.16116434138149452),
}
PREDICTED = [1, 7, 7, 7, 0, 0]
LOG_PROB = [-6.10866972885783, -1.262282204092441, -4.412283890979866, -10.596057704723686, -8.088803325743777,
            -8.339204697343812, -11.081093510545992, -0.698064549609305, -4.672435733946548, -2.7081481857732554,
            -2.1001288182607416, -5.106426282138006]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stored_numbers(dtype):
    m, x = stored(dtype)
    loss, pullback = m.vjp(x, TARGET)
    dx = pullback()
    assert_close("loss", np.asarray(loss), np.asarray(LOSS), "forward", dtype)
    assert_close("dx", dx[3], np.asarray(DX), "gradient", dtype)
    assert list(m.parameters) == list(GRADIENTS)
    for name, expected in GRADIENTS.items():
        g = m.grads[name].astype(np.float64).ravel()
        sums = np.asarray([np.abs(g).sum(), g @ np.cos(np.arange(g.size))])
        assert_close(name, sums.astype(dtype), np.asarray(expected), "gradient", dtype)
    assert m.predict(x).tolist() == PREDICTED
    assert_close("log_prob", m.log_prob(x)[1], np.asarray(LOG_PROB), "forward", dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_and_predictions(shape):
    rng = np.random.default_rng(4)
    m = fr.AdaptiveSoftmax(16, 60, [5, 11, 40], 2.0, dtype="float64", rng=rng)
    with m.edit() as p:
        for array in p.values():
            array *= 3
    x = 2 * rng.standard_normal((*shape, 16))
    result = m.log_prob(x)
    assert_close("log_prob", result, plain(m, x), "forward")
    assert_close("sums", np.exp(result).sum(-1), np.ones(shape), "forward")
    assert m.predict(x).tolist() == result.argmax(-1).tolist()
    assert m.predict(x).shape == shape


def test_bits_do_not_depend_on_threads():
    rng = np.random.default_rng(5)
    m = fr.AdaptiveSoftmax(16, 300, [20, 100], rng=rng)
    x, target = rng.standard_normal((40, 16)), rng.integers(0, 300, 40)
    results = []
    for threads in (1, 2, 5):
        with dealt_out(threads):
            m.zero_grad()
            loss, pullback = m.vjp(x, target)
            results.append([np.asarray(loss), pullback(), m.log_prob(x), m.grads["tail.1.1.weight"].copy()])
    for other in results[1:]:
        for first, then in zip(results[0], other):
            assert_same_bits("result", then, first)


def test_gradients_add_up_and_pullbacks_keep_what_they_read():
    m, x = stored()
    _, first = m.vjp(x, TARGET)
    _, second = m.vjp(x, TARGET)
    before = x.copy()
    x[:] = np.nan
    assert_same_bits("dx", second(), first())
    once = {name: array / 2 for name, array in m.grads.items()}
    m.zero_grad()
    m.vjp(before, TARGET)[1]()
    for name, array in m.grads.items():
        assert_close(name, array, once[name], "gradient")
    with pytest.raises(RuntimeError, match="called before"):
        first()
    _, stale = m.vjp(before, TARGET)
    m.parameters["head.bias"] = np.zeros(5)
    with pytest.raises(RuntimeError, match="weights were changed"):
        stale()


def test_saved_and_copied(tmp_path):
    m, x = stored("float32")
    fr.save(tmp_path / "m.safetensors", m)
    for other in (fr.load(tmp_path / "m.safetensors"), copy.deepcopy(m)):
        assert repr(other) == repr(m)
        assert other(x, TARGET) == m(x, TARGET)


def test_initial_parameters():
    m = fr.AdaptiveSoftmax(64, 5000, [1000, 2000], head_bias=True, rng=0)
    for name, array in m.parameters.items():
        columns = 64 if name.startswith("head") else array.shape[1]
        assert 0.99 < np.abs(array).max() * columns**0.5 <= 1, name
    assert m.parameters["tail.1.1.weight"].shape == (3000, 4)
    same, other = (fr.AdaptiveSoftmax(64, 5000, [1000, 2000], head_bias=True, rng=seed) for seed in (0, 1))
    assert_same_bits("seed", same.parameters["head.weight"], m.parameters["head.weight"])
    assert (other.parameters["head.weight"] != m.parameters["head.weight"]).any()


M, X = fr.AdaptiveSoftmax(8, 10, [4], rng=0), np.zeros((2, 8))
BAD = {
    "no cutoffs": (lambda: fr.AdaptiveSoftmax(8, 10, []), ValueError, "cutoffs: .*at least one"),
    "cutoff 0": (lambda: fr.AdaptiveSoftmax(8, 10, [0, 3]), ValueError, r"cutoffs: .*1\.\.9.*\[0, 3\]"),
    "cutoff high": (lambda: fr.AdaptiveSoftmax(8, 10, [10]), ValueError, r"cutoffs: .*1\.\.9.*\[10\]"),
    "falling": (lambda: fr.AdaptiveSoftmax(8, 10, [4, 3]), ValueError, "cutoffs: .*increasing"),
    "twice": (lambda: fr.AdaptiveSoftmax(8, 10, [4, 4]), ValueError, "cutoffs: .*increasing"),
    "float": (lambda: fr.AdaptiveSoftmax(8, 10, [4.0]), TypeError, "cutoffs: .*integers"),
    "narrow": (lambda: fr.AdaptiveSoftmax(8, 10, [4, 6]), ValueError, "div_value: .*cluster 1"),
    "div_value": (lambda: fr.AdaptiveSoftmax(8, 10, [4], 0.0), ValueError, "div_value: "),
    "head_bias": (lambda: fr.AdaptiveSoftmax(8, 10, [4], head_bias=1), TypeError, "head_bias: "),
    "x": (lambda: M(np.zeros((2, 7)), [0, 1]), ValueError, r"x: .*\(\.\.\., 8\)"),
    "target shape": (lambda: M(X, [0]), ValueError, "target: "),
    "target high": (lambda: M.vjp(X, [0, 10]), ValueError, r"target: .*0\.\.9.*got 10"),
    "target float": (lambda: M(X, [0.0, 1.0]), TypeError, "target: "),
    "reduction": (lambda: M(X, [0, 1], reduction="max"), ValueError, "reduction: "),
    "dloss of rows": (lambda: M.vjp(X, [0, 1], reduction="none")[1]([1.0, 2.0, 3.0]), ValueError, "dloss: "),
    "dloss": (lambda: M.vjp(X, [0, 1])[1](np.ones(2)), ValueError, "dloss: "),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()
