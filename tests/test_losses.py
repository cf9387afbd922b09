"""Losses: plain formulas, gradients against differences, stored numbers of PyTorch."""

import math

import numpy as np
import pytest
from cases import dealt_out, on_isa
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_close, assert_same_bits

from fastrnn import losses
from fastrnn._core import engine

SHAPES = [(), (1,), (4,), (2, 3), (2, 1, 3)]
REDUCTIONS = ["mean", "sum", "none"]
seeds = st.integers(0, 10**6)
reductions = st.sampled_from(REDUCTIONS)


def central_differences(total, x, eps=1e-5):
    """The gradient of ``total(x)``, entry by entry."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = eps
        gradient[place] = (total(x + step) - total(x - step)) / (2 * eps)
    return gradient


def check(function, x, values, reduction, divisor):
    """``function(x, reduction)`` against the value of each element and against differences."""
    loss, gradient = function(x, reduction)
    expected = {"none": values, "sum": values.sum(), "mean": values.sum() / divisor}[reduction]
    assert_close("loss", np.asarray(loss), np.asarray(expected), "forward", "float64")
    numeric = central_differences(lambda z: np.sum(function(z, reduction)[0]), x)
    assert_close("gradient", gradient, numeric, "numeric", "float64")


# -- cross entropy --------------------------------------------------------------------------


def plain_cross_entropy(x, target, weight, ignore_index, smoothing):
    """One number per row, and what "mean" divides by, written out."""
    values, divisor = np.zeros(target.shape), 0.0
    for place in np.ndindex(target.shape):
        t = target[place]
        if t == ignore_index:
            continue
        row = [float(v) for v in x[place]]
        log_sum = math.log(math.fsum(math.exp(v) for v in row))
        for c, v in enumerate(row):
            share = smoothing / len(row) + (1 - smoothing) * (c == t)
            values[place] += weight[c] * share * (log_sum - v)
        divisor += weight[t]
    return values, divisor


@given(
    shape=st.sampled_from(SHAPES),
    classes=st.integers(1, 6),
    reduction=reductions,
    weighted=st.booleans(),
    ignored=st.sampled_from([None, -100, 0]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    seed=seeds,
)
def test_cross_entropy(shape, classes, reduction, weighted, ignored, smoothing, seed):
    rng = np.random.default_rng(seed)
    x = 3 * rng.standard_normal((*shape, classes))
    target = rng.integers(0, classes, shape)
    ignore_index = -100 if ignored is None else ignored
    if ignored is not None:
        target = np.where(rng.random(shape) < 0.4, ignored, target)
        if np.all(target == ignored):
            return  # the mean of nothing: below
    weight = 0.1 + rng.random(classes) if weighted else None
    plain = np.ones(classes) if weight is None else weight
    values, divisor = plain_cross_entropy(x, target, plain, ignore_index, smoothing)

    def function(z, reduction):
        return losses.cross_entropy(
            z, target, weight, ignore_index, reduction, label_smoothing=smoothing
        )

    check(function, x, values, reduction, divisor)


def test_cross_entropy_when_everything_is_ignored():
    loss, gradient = losses.cross_entropy(np.ones((2, 3)), [-100, -100])
    assert np.isnan(loss) and not gradient.any()
    loss, gradient = losses.cross_entropy(np.ones((2, 3)), [-100, -100], reduction="sum")
    assert loss == 0 and not gradient.any()
    loss, gradient = losses.cross_entropy(np.ones((0, 3)), np.zeros(0, int))
    assert np.isnan(loss) and gradient.shape == (0, 3)


@pytest.mark.parametrize("shift", [0, 1e4, -1e4])
def test_cross_entropy_is_stable(shift):
    loss, gradient = losses.cross_entropy(np.array([[0, 200.0, -1e3]]) + shift, [0])
    assert loss == 200 and gradient.tolist() == [[-1, 1, 0]]
    loss, gradient = losses.cross_entropy(np.array([[0, -np.inf]], np.float32), [0])
    assert loss == 0 and gradient.tolist() == [[0, 0]]
    assert losses.cross_entropy([[0, -np.inf]], [1])[0] == np.inf


def test_cross_entropy_keeps_nan_where_it_is():
    x = np.zeros((3, 2))
    x[:2, 0] = np.nan
    loss, gradient = losses.cross_entropy(x, [0, -100, 1], reduction="none")
    assert np.isnan(loss[0]) and loss[1] == 0 and np.isfinite(loss[2])
    assert np.isnan(gradient[0]).all() and (gradient[1] == 0).all()
    assert np.isfinite(gradient[2]).all()


@pytest.mark.smoke
@pytest.mark.parametrize("isa", engine.isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_of_every_width(dtype, isa):
    """Whole vectors, tails, pieces of a row; logits that are masked; smoothing with and without weights."""
    rng = np.random.default_rng(0)
    for classes in (1, 2, 7, 8, 9, 15, 16, 17, 33, 63, 65, 100, 1023, 1024, 1025, 2061):
        x, target = (4 * rng.standard_normal((5, classes))).astype(dtype), rng.integers(0, classes, 5)
        x[3, target[3] + 1 :] = -np.inf
        x[4, target[4] + 1 :] = -1e4
        weight = (0.5 + rng.random(classes)).astype(dtype)
        for e, w in ((0, None), (0, weight), (0.1, None), (0.1, weight)):
            with on_isa(isa):
                values, gradient = losses.cross_entropy(x, target, w, reduction="none", label_smoothing=e)
            w = np.ones(classes) if w is None else w.astype(float)
            share = e / classes * w + (1 - e) * w[target][:, None] * (np.arange(classes) == target[:, None])
            z = x.astype(float) - x.max(1, keepdims=True)
            log_sum = np.log(np.exp(z).sum(1, keepdims=True))
            expected = (share * np.where(share > 0, log_sum - z, 0)).sum(1)
            assert_close("loss", values, expected, "forward", dtype)
            expected = np.exp(z - log_sum) * share.sum(1, keepdims=True) - share
            assert_close("gradient", gradient, expected, "gradient", dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_has_the_bits_that_it_has_alone(dtype):
    rng = np.random.default_rng(1)
    x, target = rng.standard_normal((23, 77)).astype(dtype), rng.integers(0, 77, 23)
    options = {"reduction": "none", "label_smoothing": 0.1}
    alone = [losses.cross_entropy(x[i : i + 1], target[i : i + 1], **options) for i in range(23)]
    for threads in (1, 2, 5):
        with dealt_out(threads):
            values, gradient = losses.cross_entropy(x, target, **options)
        assert_same_bits("values", values, np.concatenate([one[0] for one in alone]))
        assert_same_bits("gradient", gradient, np.concatenate([one[1] for one in alone]))


def test_cross_entropy_of_fifty_thousand_classes():
    """Rounding errors of a long sum in float32 do not add up."""
    x = np.random.default_rng(2).standard_normal((3, 50_000))
    target = [0, 49_999, 777]
    exact, d_exact = losses.cross_entropy(x.astype(np.float32).astype(float), target, reduction="none")
    values, gradient = losses.cross_entropy(x.astype(np.float32), target, reduction="none")
    assert_close("loss", values, exact, "forward", "float32")
    off = gradient.copy(), d_exact.copy()
    for array in off:
        array[np.arange(3), target] = 0  # beside which the others are small
    assert_close("gradient", *off, "gradient", "float32")


@pytest.mark.parametrize("name", ["cross_entropy", "ctc_loss"])
def test_other_float_types(name):
    """Computed in float32 or float64, returned in the type that came."""
    x = -np.random.default_rng(3).random((3, 4)).astype(np.float16)
    for dtype, wide in ((np.float16, np.float32), (np.longdouble, np.float64)):
        loss, gradient = CALLS[name](x.astype(dtype))
        exact, d_exact = CALLS[name](x.astype(wide))
        assert loss.dtype == gradient.dtype == dtype
        assert loss == exact.astype(dtype) and (gradient == d_exact.astype(dtype)).all()


def test_any_ignore_index():
    """Also one that is a class, and numbers that only unsigned integers hold."""
    x, target = np.random.default_rng(4).standard_normal((4, 3)), np.array([0, 1, 2, 1])
    expected = losses.cross_entropy(x, np.where(target == 1, -100, target))
    huge = np.where(target == 1, 2**64 - 5, target.astype(np.uint64)).astype(np.uint64)
    for given, index in ((target, 1), (huge, 2**64 - 5), (np.where(target == 1, 7, target), 7)):
        loss, gradient = losses.cross_entropy(x, given, ignore_index=index)
        assert loss == expected[0] and (gradient == expected[1]).all() and not gradient[1].any()


# -- elements -------------------------------------------------------------------------------


def plain_element(name, x, t, delta, positive):
    if name == "mse_loss":
        return (x - t) ** 2
    if name == "huber_loss":
        d = abs(x - t)
        return d * d / 2 if d <= delta else delta * (d - delta / 2)
    s = 1 / (1 + math.exp(-x))
    return -positive * t * math.log(s) - (1 - t) * math.log(1 - s)


ELEMENTWISE = ["mse_loss", "huber_loss", "binary_cross_entropy_with_logits"]


@given(
    name=st.sampled_from(ELEMENTWISE),
    shape=st.sampled_from(SHAPES),
    reduction=reductions,
    weighted=st.booleans(),
    special=st.booleans(),
    seed=seeds,
)
def test_elementwise_losses(name, shape, reduction, weighted, special, seed):
    rng = np.random.default_rng(seed)
    x, t = 2 * rng.standard_normal(shape), rng.random(shape)
    weight = 0.1 + rng.random(shape) if weighted else None
    delta, positive, options = 1.0, 1.0, {}
    if special and name == "huber_loss":
        options["delta"] = delta = 0.6
    if special and name.startswith("binary"):
        positive = 0.1 + rng.random(shape[-1:])
        options["pos_weight"] = positive
    factors = np.broadcast_to(positive, shape)
    values = np.zeros(shape)
    for place in np.ndindex(shape):
        values[place] = plain_element(name, float(x[place]), float(t[place]), delta, factors[place])
    divisor = values.size
    if weighted:
        values *= weight
        divisor = weight.sum() if name == "mse_loss" else divisor

    def function(z, reduction):
        return getattr(losses, name)(z, t, reduction=reduction, weight=weight, **options)

    check(function, x, values, reduction, divisor)


def test_logits_far_from_zero():
    function = losses.binary_cross_entropy_with_logits
    with np.errstate(all="raise", under="ignore"):
        loss, gradient = function(np.array([1e4, -1e4, 1e4, -1e4]), [1, 0, 0, 1], reduction="none")
    assert loss.tolist() == [0, 0, 1e4, 1e4] and gradient.tolist() == [0, 0, 1, -1]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_mean_of_nothing(name):
    loss, gradient = getattr(losses, name)(np.zeros((0, 2)), np.zeros((0, 2)))
    assert np.isnan(loss) and gradient.shape == (0, 2)


# -- dtypes and inputs ----------------------------------------------------------------------

CALLS = {
    "cross_entropy": lambda x, **kw: losses.cross_entropy(x, [0, 1, 2], **kw),
    "mse_loss": lambda x, **kw: losses.mse_loss(x, np.ones((3, 4)), **kw),
    "huber_loss": lambda x, **kw: losses.huber_loss(x, np.ones((3, 4)), **kw),
    "binary_cross_entropy_with_logits": lambda x, **kw: losses.binary_cross_entropy_with_logits(
        x, np.ones((3, 4)), **kw
    ),
    "ctc_loss": lambda x, **kw: losses.ctc_loss(x, [1], 3, 1, **kw),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CALLS)
def test_results_have_the_dtype_of_the_first_argument(name, reduction):
    x = -np.random.default_rng(0).random((3, 4))
    exact, d_exact = CALLS[name](x, reduction=reduction)
    for dtype in ("float32", "float64", ">f8", ">f4"):
        given_x = np.asfortranarray(x.astype(dtype))
        before = given_x.copy()
        loss, gradient = CALLS[name](given_x, reduction=reduction)
        native = np.dtype(dtype).newbyteorder("=")
        assert loss.dtype == gradient.dtype == native and gradient.shape == x.shape
        assert_close("loss", np.asarray(loss), np.asarray(exact), "forward", native)
        assert_close("gradient", gradient, d_exact, "gradient", native)
        assert (given_x == before).all()
        assert not np.shares_memory(gradient, given_x)
    loss, gradient = CALLS[name]((10 * x).astype(int), reduction=reduction)
    assert loss.dtype == gradient.dtype == np.float64


SINES = 3 * np.sin(1.7 * np.arange(20.0))
STORED = {  # PyTorch 2.13, float64
    "mse_loss": (
        4.945588698935876,
        [-0.3333333333333333, 0.8943559498769922, -0.3132671652162292,
         -1.2525097301027934, 0.35169669010671034, 0.771665700802899],
    ),
    "huber_loss": (
        1.458716273046657,
        [-0.16666666666666666, 0.16666666666666666, -0.1566335826081146,
         -0.16666666666666666, 0.16666666666666666, 0.16666666666666666],
    ),
    "binary_cross_entropy_with_logits": (
        1.5816410305406883,
        [-0.08333333333333333, 0.10991750109994243, 0.024005302606449255,
         -0.15358830762089665, 0.0646126314504157, 0.13933605282769848],
    ),
    "cross_entropy": (
        4.430994095814542,
        [[-0.1164665969961203, 0.1278493620598746, -0.010143190703985502, -0.0012395743597687838],
         [0.020573544428195468, 0.05291139863277984, -0.01266822006612998, -0.06081672299484533],
         [0.0, 0.0, 0.0, 0.0],
         [0.22030561368887103, -0.23862413095020404, -0.012729671508117995, 0.031048188769451004],
         [0.2855504049937891, -0.0031012065419778177, -0.491009721431676, 0.20856052297986466]],
    ),
    "ctc_loss": (  # gradient with respect to the logits
        1.5745695537850593,
        [[0.016067602131332737, -0.028540826049421403, 0.011000491825337345, 0.00147273209275132],
         [-0.20632118579943146, 0.1974090861581097, 0.0039124309835491386, 0.004999668657772607],
         [0.1849473339393257, -0.20522596931486745, 0.0016299963427701908, 0.01864863903277156],
         [0.08075600305080662, -0.14362112995898205, 0.001138984575877998, 0.061726142332297444],
         [-0.15240158695972889, -0.05804475120679455, 0.002300605843225125, 0.20814573232329833]],
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_stored_numbers(name):
    logits = SINES.reshape(5, 4)
    if name == "cross_entropy":
        loss, gradient = losses.cross_entropy(
            logits, [0, 3, -100, 1, 2], [0.5, 1, 2, 0.25], label_smoothing=0.1
        )
    elif name == "ctc_loss":
        log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        loss, gradient = losses.ctc_loss(log_probs, [1, 1], 5, 2)
        gradient = gradient - np.exp(log_probs) * gradient.sum(1, keepdims=True)
    else:
        loss, gradient = getattr(losses, name)(SINES[:6], np.cos(np.arange(6.0)) ** 2)
    assert_close("loss", np.asarray(loss), np.asarray(STORED[name][0]), "forward")
    assert_close("gradient", gradient, np.asarray(STORED[name][1]), "gradient")


Z, LP = np.zeros((2, 3)), np.log(np.full((4, 2, 3), 1 / 3))
ce, mse, huber = losses.cross_entropy, losses.mse_loss, losses.huber_loss
bce, ctc = losses.binary_cross_entropy_with_logits, losses.ctc_loss
BAD = {
    "ce class high": (lambda: ce(Z, [0, 3]), ValueError, r"target: .*0\.\.2.*got 3"),
    "ce class low": (lambda: ce(Z, [0, -1]), ValueError, "target: .*got -1"),
    "ce floats": (lambda: ce(Z, [0.0, 1.0]), TypeError, "target: .*float64"),
    "ce bools": (lambda: ce(Z, [True, False]), TypeError, "target: .*bool"),
    "ce one-hot": (
        lambda: ce(Z, np.eye(2, 3, dtype=int)), ValueError, r"target: .*\(2,\).*\(2, 3\)"
    ),
    "ce short": (lambda: ce(Z, [0]), ValueError, r"target: .*\(1,\)"),
    "ce scalar": (lambda: ce(1.0, 0), ValueError, r"input: .*\(\)"),
    "ce no classes": (lambda: ce(np.zeros((2, 0)), [0, 0]), ValueError, "input: "),
    "ce complex": (lambda: ce(Z * 1j, [0, 1]), TypeError, "input: .*complex128"),
    "ce none": (lambda: ce(None, [0, 1]), TypeError, "input: .*None"),
    "ce weight": (lambda: ce(Z, [0, 1], weight=[1, 2]), ValueError, r"weight: .*\(3,\)"),
    "ce ignore": (lambda: ce(Z, [0, 1], ignore_index=1.5), TypeError, "ignore_index: .*1.5"),
    "ce smoothing": (lambda: ce(Z, [0, 1], label_smoothing=2), ValueError, "label_smoothing: "),
    "ce reduction": (lambda: ce(Z, [0, 1], reduction="avg"), ValueError, "reduction: .*'avg'"),
    "ce no reduction": (lambda: ce(Z, [0, 1], reduction=None), TypeError, "reduction: .*None"),
    "mse shape": (lambda: mse(Z, np.zeros(3)), ValueError, r"target: .*\(2, 3\).*\(3,\)"),
    "mse objects": (lambda: mse(Z, Z.astype(object)), TypeError, "target: .*object"),
    "mse weight": (lambda: mse(Z, Z, weight=[1, 2, 3]), ValueError, "weight: "),
    "mse reduction": (lambda: mse(Z, Z, "total"), ValueError, "reduction: .*'total'"),
    "huber delta": (lambda: huber(Z, Z, delta=0), ValueError, "delta: .*> 0.*got 0"),
    "huber text": (lambda: huber(Z, Z, delta="1"), TypeError, "delta: .*'1'"),
    "bce shape": (lambda: bce(Z, Z[:1]), ValueError, "target: "),
    "bce weight": (lambda: bce(Z, Z, weight=[1, 2]), ValueError, "weight: .*broadcasts"),
    "bce wide": (lambda: bce(Z, Z, weight=np.ones((4, 2, 3))), ValueError, "weight: "),
    "bce pos": (lambda: bce(Z, Z, pos_weight=[[1], [2], [3]]), ValueError, "pos_weight: "),
    "ctc axes": (lambda: ctc(LP[0, 0], [1], 1, 1), ValueError, "log_probs: "),
    "ctc blank": (lambda: ctc(LP, [[1], [2]], [4, 4], [1, 1], blank=3), ValueError, "blank: .*3"),
    "ctc blank label": (
        lambda: ctc(LP, [[1], [0]], [4, 4], [1, 1]), ValueError, "targets: .*blank 0.*got 0"
    ),
    "ctc class": (lambda: ctc(LP, [[1], [3]], [4, 4], [1, 1]), ValueError, "targets: .*got 3"),
    "ctc batch": (lambda: ctc(LP, [[1]], [4, 4], [1, 1]), ValueError, r"targets: .*\(2, S\)"),
    "ctc floats": (lambda: ctc(LP, [[1.0], [2]], [4, 4], [1, 1]), TypeError, "targets: "),
    "ctc steps": (
        lambda: ctc(LP, [[1], [2]], [4, 5], [1, 1]), ValueError, r"input_lengths: .*0\.\.4.*got 5"
    ),
    "ctc step count": (lambda: ctc(LP, [[1], [2]], [4], [1, 1]), ValueError, "input_lengths: "),
    "ctc labels": (
        lambda: ctc(LP, [[1], [2]], [4, 4], [1, 2]), ValueError, "target_lengths: .*got 2"
    ),
    "ctc float lengths": (
        lambda: ctc(LP, [[1], [2]], [4.0, 4], [1, 1]), TypeError, "input_lengths: "
    ),
    "ctc sum": (lambda: ctc(LP, [1, 2, 1], [4, 4], [1, 1]), ValueError, "target_lengths: .*3.*2"),
    "ctc flag": (
        lambda: ctc(LP, [1, 2], [4, 4], [1, 1], zero_infinity=1), TypeError, "zero_infinity: "
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()
