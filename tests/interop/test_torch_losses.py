"""Losses against PyTorch's: values and gradients, float64 and float32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerance import assert_close

import fastrnn as fr
from fastrnn import losses

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.interop

F = torch.nn.functional
REDUCTIONS = st.sampled_from(["mean", "sum", "none"])
SEEDS = st.integers(0, 10**6)
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


def check(ours, function, x, *others, **options):
    """Value and gradient (of the sum, if nothing is reduced) of both, for an array x."""
    value, gradient = ours
    leaf = torch.tensor(x, requires_grad=True)
    theirs = function(leaf, *others, **options)
    theirs.sum().backward()
    assert value.dtype == gradient.dtype == x.dtype
    assert_close("loss", np.asarray(value), theirs.detach().numpy(), "forward")
    assert_close("gradient", gradient, leaf.grad.numpy(), "gradient")


@DTYPES
@given(shape=st.sampled_from([(1,), (6,), (3, 4)]), reduction=REDUCTIONS, smoothing=st.sampled_from([0.0, 0.1, 1.0]),
       weighted=st.booleans(), ignored=st.booleans(), scale=st.sampled_from([1.0, 30.0]), seed=SEEDS)  # fmt: skip
def test_cross_entropy(dtype, shape, reduction, smoothing, weighted, ignored, scale, seed):
    rng = np.random.default_rng(seed)
    x = (scale * rng.standard_normal((*shape, 5))).astype(dtype)
    target = rng.integers(0, 5, shape)
    ignore_index = 3 if ignored else -100
    target.flat[0] = 1  # one that counts
    weight = rng.uniform(0.1, 2, 5).astype(dtype) if weighted else None
    options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": smoothing}
    ours = losses.cross_entropy(x, target, weight, **options)
    rows = lambda leaf: F.cross_entropy(  # noqa: E731
        leaf.reshape(-1, 5), torch.tensor(target.ravel()), None if weight is None else torch.tensor(weight), **options
    ).reshape(shape if reduction == "none" else ())
    check(ours, rows, x)


def pairs(rng, shape, dtype):
    return (2 * rng.standard_normal(shape)).astype(dtype), (2 * rng.standard_normal(shape)).astype(dtype)


@DTYPES
@given(shape=st.sampled_from([(1,), (7,), (3, 4)]), reduction=REDUCTIONS, seed=SEEDS)
def test_mse(dtype, shape, reduction, seed):
    x, target = pairs(np.random.default_rng(seed), shape, dtype)
    check(losses.mse_loss(x, target, reduction=reduction), F.mse_loss, x, torch.tensor(target), reduction=reduction)


@DTYPES
@given(shape=st.sampled_from([(1,), (7,), (3, 4)]), reduction=REDUCTIONS, delta=st.sampled_from([0.5, 1.0, 3.0]), seed=SEEDS)
def test_huber(dtype, shape, reduction, delta, seed):
    x, target = pairs(np.random.default_rng(seed), shape, dtype)
    options = {"reduction": reduction, "delta": delta}
    check(losses.huber_loss(x, target, **options), F.huber_loss, x, torch.tensor(target), **options)


@DTYPES
@given(shape=st.sampled_from([(1,), (7,), (3, 4)]), reduction=REDUCTIONS, weighted=st.booleans(), positive=st.booleans(),
       scale=st.sampled_from([1.0, 40.0]), seed=SEEDS)  # fmt: skip
def test_binary_cross_entropy_with_logits(dtype, shape, reduction, weighted, positive, scale, seed):
    rng = np.random.default_rng(seed)
    x = (scale * rng.standard_normal(shape)).astype(dtype)
    target = rng.uniform(0, 1, shape).astype(dtype)
    weight = rng.uniform(0, 2, shape).astype(dtype) if weighted else None
    pos_weight = rng.uniform(0.2, 3, shape[-1:]).astype(dtype) if positive else None
    options = {"weight": weight, "pos_weight": pos_weight}
    theirs = {name: None if array is None else torch.tensor(array) for name, array in options.items()}
    ours = losses.binary_cross_entropy_with_logits(x, target, reduction=reduction, **options)
    function = F.binary_cross_entropy_with_logits
    check(ours, function, x, torch.tensor(target), reduction=reduction, **theirs)


@DTYPES
@given(reduction=REDUCTIONS, zero_infinity=st.booleans(), blank=st.sampled_from([0, 2]), impossible=st.booleans(), seed=SEEDS)
def test_ctc(dtype, reduction, zero_infinity, blank, impossible, seed):
    """Gradients to the logits, through log_softmax: PyTorch's gradient to log_probs assumes that it follows."""
    rng = np.random.default_rng(seed)
    T, B, C, S = 12, 4, 5, 4
    logits = (2 * rng.standard_normal((T, B, C))).astype(dtype)
    labels = np.array([c for c in range(C) if c != blank])
    targets = labels[rng.integers(0, C - 1, (B, S))]
    target_lengths = rng.integers(0, S + 1, B)
    input_lengths = rng.integers(2 * S + 1, T + 1, B)  # room for blanks between equal labels
    if impossible:
        input_lengths[1], target_lengths[1] = 2, S
    finite = zero_infinity or not impossible
    options = {"blank": blank, "reduction": reduction, "zero_infinity": zero_infinity}
    leaf = torch.tensor(logits, requires_grad=True)
    lengths = torch.tensor(input_lengths), torch.tensor(target_lengths)
    theirs = F.ctc_loss(F.log_softmax(leaf, -1), torch.tensor(targets), *lengths, **options)
    log_probs = F.log_softmax(leaf, -1).detach().numpy()
    value, gradient = losses.ctc_loss(log_probs, targets, input_lengths, target_lengths, **options)
    assert_close("loss", np.asarray(value), theirs.detach().numpy(), "forward")
    if finite:
        theirs.sum().backward()
        d_logits = gradient - np.exp(log_probs) * gradient.sum(axis=-1, keepdims=True)
        assert_close("gradient to the logits", d_logits, leaf.grad.numpy(), "gradient")


@DTYPES
@given(bias=st.booleans(), seed=SEEDS)
def test_adaptive_softmax(dtype, bias, seed):
    rng = np.random.default_rng(seed)
    ours = fr.AdaptiveSoftmax(8, 20, [4, 9], 2.0, bias, dtype=dtype, rng=rng)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 9], 2.0, bias, dtype=getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(array.copy()) for name, array in ours.parameters.items()})
    x, target = rng.standard_normal((11, 8)).astype(dtype), rng.integers(0, 20, 11)
    target[:3] = 0, 4, 9  # PyTorch leaves the gradients of a cluster without targets None
    leaf = torch.tensor(x, requires_grad=True)
    output, loss = theirs(leaf, torch.tensor(target))
    loss.backward()
    value, pullback = ours.vjp(x, target)
    assert_close("loss", np.asarray(value), loss.detach().numpy(), "forward")
    assert_close("losses", ours(x, target, reduction="none"), -output.detach().numpy(), "forward")
    assert_close("dx", pullback(), leaf.grad.numpy(), "gradient")
    for name, parameter in theirs.named_parameters():
        assert_close(name, ours.grads[name], parameter.grad.numpy(), "gradient")
