"""CTC: all paths of small problems, the same recursion in NumPy, bits, long sequences."""

import itertools
import math

import numpy as np
import pytest
from cases import dealt_out, on_isa
from hypothesis import given
from hypothesis import strategies as st
from test_losses import check, reductions, seeds
from tolerance import assert_close, assert_same_bits

from fastrnn import losses
from fastrnn._core import engine

# -- the oracle -----------------------------------------------------------------------------


def log_sum(*terms):
    """``log(sum(exp(terms)))`` in which -inf stands for 0."""
    top = np.maximum(terms[0], terms[1])
    for term in terms[2:]:
        top = np.maximum(top, term)
    top = np.where(np.isneginf(top), 0, top)
    return np.log(sum(np.exp(term - top) for term in terms)) + top


def posterior(emitted, states, steps, labels):
    """Forward-backward over the states (blank, label, blank, ..., blank) of each target.

    Parameters
    ----------
    emitted : ndarray
        ``(T, N, K)``: log probability of each state's class.
    states : ndarray
        ``(N, K)``: the classes.
    steps, labels : ndarray
        ``(N,)``: lengths of inputs and of targets.

    Returns
    -------
    values : ndarray
        ``(N,)``: minus the log probability of each target.
    posterior : ndarray
        ``(T, N, K)``: of each state at each step.
    """
    T, N, K = emitted.shape
    rows = np.arange(N)
    none = -np.inf
    skip = np.full((N, K), none)  # a blank may be skipped between two different labels
    skip[:, 3::2] = np.where(states[:, 3::2] != states[:, 1:-2:2], 0, none)
    ends = np.full((N, K), none)  # a path ends in the last label or in the blank after it
    ends[rows, 2 * labels] = 0
    ends[rows, np.maximum(2 * labels - 1, 0)] = 0

    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = np.full((T, N, K + 2), none)  # two columns of padding before state 0
        if T:
            alpha[0, :, 2:4] = emitted[0, :, :2]
        for t in range(1, T):
            before = alpha[t - 1]
            alpha[t, :, 2:] = emitted[t] + log_sum(
                before[:, 2:], before[:, 1:-1], before[:, :-2] + skip
            )
        alpha = alpha[:, :, 2:]
        values = np.where(labels == 0, 0.0, np.inf)  # of an input without steps
        some = steps > 0
        last = alpha[steps[some] - 1, rows[some]]
        if K:
            final = last + ends[some]
            values[some] = -log_sum(*final.T) if K > 1 else -final[:, 0]

        beta = np.full((N, K + 2), none)  # two columns of padding after the last state
        posterior = alpha  # in place, from the last step to the first
        skip_from = np.concatenate([skip[:, 2:], np.full((N, min(2, K)), none)], axis=1)
        for t in range(T - 1, -1, -1):
            if t + 1 < T:
                after = beta.copy()
                after[:, :K] += emitted[t + 1]
                beta[:, :K] = log_sum(after[:, :K], after[:, 1:-1], after[:, 2:] + skip_from)
            beta[:, :K] = np.where((steps - 1 == t)[:, np.newaxis], ends, beta[:, :K])
            posterior[t] = np.exp(alpha[t] + beta[:, :K] + values[:, np.newaxis])
    return values, posterior


def plain(log_probs, targets, steps, labels, blank):
    """The value of each sequence and the gradient of their sum, in float64."""
    log_probs = log_probs.astype(np.float64)
    T, N, C = log_probs.shape
    states = np.full((N, 2 * targets.shape[1] + 1), blank)
    states[:, 1::2] = targets
    emitted = np.take_along_axis(log_probs, states[np.newaxis], axis=2)
    values, shares = posterior(emitted, states, steps, labels)
    gradient = np.zeros((T, N, C))
    for t, n, k in np.ndindex(shares.shape):
        if t < steps[n]:
            gradient[t, n, states[n, k]] -= shares[t, n, k]
    return values, gradient


def problem(T, N, C, S, seed, dtype=np.float64, scale=2.0):
    """Log probabilities, targets padded with the blank 0, lengths for which there is a path."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.standard_normal((T, N, C))
    log_probs = (logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))).astype(dtype)
    labels = rng.integers(0, S + 1, N)
    labels[0] = S
    steps = rng.integers(min(T, 2 * S), T + 1, N)
    targets = rng.integers(1, C, (N, S))
    targets[np.arange(S) >= labels[:, np.newaxis]] = 0
    return log_probs, targets, steps, labels


@pytest.mark.smoke
@pytest.mark.parametrize("isa", engine.isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 2, 0), (9, 3, 4, 1), (40, 4, 5, 7), (50, 3, 3, 8), (60, 2, 30, 17)])
def test_against_the_same_in_numpy(shape, dtype, isa):
    """Targets that fill a vector, and one more and one less."""
    log_probs, targets, steps, labels = problem(*shape, seed=sum(shape), dtype=dtype)
    with on_isa(isa):
        result, gradient = losses.ctc_loss(log_probs, targets, steps, labels, reduction="none")
    values, expected = plain(log_probs, targets, steps, labels, 0)
    assert_close("loss", result, values, "forward", dtype)
    assert_close("gradient", gradient, expected, "gradient", dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_thousand_steps(dtype):
    """Nothing is lost where log probabilities add up to ten thousands."""
    log_probs, targets, steps, labels = problem(2000, 2, 20, 60, seed=1, dtype=dtype, scale=4.0)
    result, gradient = losses.ctc_loss(log_probs, targets, steps, labels, reduction="none")
    values, expected = plain(log_probs, targets, steps, labels, 0)
    assert values.min() > 5000
    assert_close("loss", result, values, "forward", dtype)
    assert_close("gradient", gradient, expected, "gradient", dtype)
    sums = gradient.sum(axis=2)[np.arange(2000)[:, np.newaxis] < steps]
    assert_close("sum over classes", sums, -np.ones(sums.shape), "gradient", dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_depend_on_nobody_else(dtype):
    log_probs, targets, steps, labels = problem(70, 7, 6, 20, seed=2, dtype=dtype)
    results = []
    for threads in (1, 2, 5):
        with dealt_out(threads):
            results.append(losses.ctc_loss(log_probs, targets, steps, labels, reduction="none"))
    for values, gradient in results[1:]:
        assert_same_bits("loss", values, results[0][0])
        assert_same_bits("gradient", gradient, results[0][1])
    for n in range(7):
        value, gradient = losses.ctc_loss(log_probs[: steps[n], n], targets[n, : labels[n]], steps[n], labels[n],
                                          reduction="none")  # fmt: skip
        assert_same_bits("loss alone", value, results[0][0][n])
        assert_same_bits("gradient alone", gradient, results[0][1][: steps[n], n])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_log_probability_stays_in_its_sequence(bad):
    """NaN in a class of the target at a step that counts; anywhere else it is not read."""
    log_probs, targets, steps, labels = problem(12, 3, 5, 2, seed=3)
    steps[:] = 12, 8, 12
    clean = losses.ctc_loss(log_probs, targets, steps, labels, reduction="none")
    log_probs[3, 0, targets[0, 0]] = log_probs[9, 1, 0] = bad
    values, gradient = losses.ctc_loss(log_probs, targets, steps, labels, reduction="none", zero_infinity=True)
    assert np.isnan(values[0]) and np.isnan(gradient[:, 0]).all()
    assert_same_bits("the others", values[1:], clean[0][1:])
    assert_same_bits("the others", np.ascontiguousarray(gradient[:, 1:]), np.ascontiguousarray(clean[1][:, 1:]))


# -- small problems -------------------------------------------------------------------------


def plain_ctc(log_probs, target, blank):
    """-log of the summed probability of every path that collapses to ``target``."""
    T, C = log_probs.shape
    total = 0.0
    for path in itertools.product(range(C), repeat=T):
        collapsed = [c for c, _ in itertools.groupby(path) if c != blank]
        if collapsed == list(target):
            total += math.exp(math.fsum(log_probs[t, c] for t, c in enumerate(path)))
    return -math.log(total) if total else math.inf


@given(
    T=st.integers(0, 5),
    N=st.integers(1, 3),
    C=st.integers(2, 4),
    S=st.integers(0, 3),
    blank=st.integers(0, 3),
    reduction=reductions,
    in_a_row=st.booleans(),
    seed=seeds,
)
def test_ctc_against_all_paths(T, N, C, S, blank, reduction, in_a_row, seed):
    rng = np.random.default_rng(seed)
    blank %= C
    x = np.log(rng.dirichlet(np.ones(C), (T, N)))
    labels = [c for c in range(C) if c != blank]
    targets = rng.choice(labels, (N, S))
    steps, counts = rng.integers(0, T + 1, N), rng.integers(0, S + 1, N)
    values = np.array([
        plain_ctc(x[: steps[n], n], targets[n, : counts[n]], blank) for n in range(N)
    ])
    impossible = np.isinf(values)
    values[impossible] = 0
    divisor = 1
    if reduction == "mean":
        values, divisor = values / np.maximum(counts, 1), N
    if in_a_row:
        targets = np.concatenate([targets[n, : counts[n]] for n in range(N)])
    else:
        for n in range(N):
            targets[n, counts[n] :] = -7  # padding is not looked at

    def function(z, reduction):
        return losses.ctc_loss(z, targets, steps, counts, blank, reduction, zero_infinity=True)

    check(function, x, values, reduction, divisor)
    x[np.arange(T)[:, None] >= steps] = np.nan
    loss, gradient = function(x, reduction)
    assert not np.isnan(loss).any() and not np.isnan(gradient).any()
    assert not gradient[:, impossible].any()


def test_ctc_gradient_is_minus_the_posterior():
    x = np.log(np.random.default_rng(0).dirichlet(np.ones(4), (7, 2)))
    _, gradient = losses.ctc_loss(x, [[1, 2], [3, 3]], [7, 5], [2, 2], reduction="sum")
    sums = gradient.sum(axis=2)
    assert_close("sum over classes", sums[:5], -np.ones((5, 2)), "gradient")
    assert (gradient <= 0).all() and not gradient[5:, 1].any()


def test_ctc_without_a_path():
    x = np.log(np.full((2, 2, 3), 1 / 3))
    targets, steps, counts = [[1, 1], [1, 2]], [2, 2], [2, 2]
    loss, gradient = losses.ctc_loss(x, targets, steps, counts, reduction="none")
    assert np.isinf(loss[0]) and np.isfinite(loss[1])
    assert np.isnan(gradient[:, 0]).all() and np.isfinite(gradient[:, 1]).all()
    loss, gradient = losses.ctc_loss(
        x, targets, steps, counts, reduction="none", zero_infinity=True
    )
    assert loss[0] == 0 and not gradient[:, 0].any()


def test_ctc_with_impossible_classes_and_nan():
    x = np.log(np.full((3, 2, 3), 1 / 3))
    x[:, 0, 2] = -np.inf
    x[1, 1, 0] = np.nan
    loss, gradient = losses.ctc_loss(x, [[1], [1]], [3, 3], [1, 1], reduction="none")
    assert np.isfinite(loss[0]) and np.isfinite(gradient[:, 0]).all()
    assert np.isnan(loss[1])


def test_ctc_of_one_sequence_without_a_batch_axis():
    x = np.log(np.random.default_rng(0).dirichlet(np.ones(3), (5, 1)))
    batched, d_batched = losses.ctc_loss(x, [[1, 2]], [5], [2], reduction="none")
    single, d_single = losses.ctc_loss(x[:, 0], [1, 2], 5, 2, reduction="none")
    assert single.shape == () and single == batched[0]
    assert d_single.shape == (5, 3) and (d_single == d_batched[:, 0]).all()


def test_ctc_far_below_the_range_of_probabilities():
    T = 2000
    x = np.full((T, 1, 2), -50.0)
    loss, gradient = losses.ctc_loss(x, [[1]], [T], [1], reduction="sum")
    paths = T * (T + 1) / 2
    assert_close("loss", np.asarray(loss), np.asarray(50 * T - math.log(paths)), "forward")
    assert np.isfinite(gradient).all()
