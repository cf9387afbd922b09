"""Decoding: from logits to tokens, one at a time or by search.

    log_softmax          logits -> logarithms of probabilities
    top_k, top_p         the likeliest tokens, the others at -inf
    greedy, sample       a token for every row of logits
    generate             a stream of tokens of a step function
    beam_search          the likeliest sequences of a step function
    gather               rows of a state

A step function is ``step(tokens, state) -> (scores, state)``: ``tokens (W,)`` are the last tokens of W sequences,
``scores (W, V)`` say what comes next, ``state`` is whatever it wants to get back next time. Tokens are numbers
0 ... V - 1. Nothing here changes an array that it is given.

Imports numpy and ``_validate``; ``numpy.random`` only to draw.
"""

from typing import NamedTuple

import numpy as np

from . import _validate


def log_softmax(logits):
    """``logits - log(sum(exp(logits)))`` over the last axis, without overflow.

    Parameters
    ----------
    logits : array_like
        ``(..., V)``; -inf is a probability of 0.

    Returns
    -------
    ndarray
        The same shape and floating dtype.

    Raises
    ------
    TypeError, ValueError
        For what are no logits: NaN, +inf, or a row without a finite number.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> np.exp(fr.decoding.log_softmax(np.log([1.0, 3.0])))
    array([0.25, 0.75])
    """
    logits = _validate.logits(logits)
    below = logits - logits.max(axis=-1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=-1, keepdims=True))


def top_k(logits, k):
    """The k largest logits of each row; the others become -inf.

    Parameters
    ----------
    logits : array_like
        ``(..., V)``.
    k : int
        At least 1. Of equal ones the first are kept, so that it is never more than k.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> import fastrnn as fr
    >>> fr.decoding.top_k([1.0, 3.0, 2.0, 2.0], 2)
    array([-inf,   3.,   2., -inf])
    """
    return _keep_k(_validate.logits(logits), _validate.positive_int(k, "k"))


def top_p(logits, p):
    """The nucleus: the fewest likeliest tokens whose probabilities add up to p; the others become -inf.

    Source: Holtzman et al., ICLR 2020.

    Parameters
    ----------
    logits : array_like
        ``(..., V)``.
    p : float
        In (0, 1]; 1 keeps all, and the likeliest token is always kept. Of equal ones the first come first.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> np.exp(fr.decoding.top_p(np.log([0.1, 0.5, 0.15, 0.25]), 0.7)).round(2)
    array([0.  , 0.5 , 0.  , 0.25])
    """
    return _keep_p(_validate.logits(logits), _validate.choosing(1, None, p)[2])


def greedy(logits):
    """The likeliest token of each row; of equal ones the first.

    Parameters
    ----------
    logits : array_like
        ``(..., V)``.

    Returns
    -------
    ndarray of int
        ``(...)``; an int for one row.

    Raises
    ------
    TypeError, ValueError
        For what are no logits.

    Examples
    --------
    >>> import fastrnn as fr
    >>> fr.decoding.greedy([[1.0, 3.0], [2.0, 0.0]])
    array([1, 0])
    """
    return _plain(_validate.logits(logits).argmax(axis=-1))


def sample(logits, *, temperature=1.0, top_k=None, top_p=None, rng=None):
    """A token of each row, drawn from the softmax of ``logits / temperature``.

    Parameters
    ----------
    logits : array_like
        ``(..., V)``.
    temperature : float
        Below 1 likelier tokens, above 1 more surprising ones; 0 is ``greedy``.
    top_k : int, optional
        Draw from the k likeliest only.
    top_p : float, optional
        Draw from the nucleus only, of what temperature and ``top_k`` have left.
    rng : None, int or numpy.random.Generator
        The same seed draws the same tokens; one number is taken from it for each row.

    Returns
    -------
    ndarray of int
        ``(...)``; an int for one row.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> rng = np.random.default_rng(0)
    >>> tokens = fr.decoding.sample(np.log(np.full((1000, 2), [0.2, 0.8])), rng=rng)
    >>> bool(0.77 < tokens.mean() < 0.83)
    True
    """
    logits = _validate.logits(logits)
    chosen = _validate.choosing(temperature, top_k, top_p)
    return _plain(draw(logits, *chosen, _validate.generator(rng)))


def _plain(tokens):
    """An array without axes as the int in it."""
    return tokens if tokens.ndim else int(tokens)


def draw(logits, temperature, k, p, rng):
    """``sample`` of checked arguments: float logits, a generator."""
    if temperature == 0:
        return logits.argmax(axis=-1)
    below = logits.astype(np.float64)
    below -= below.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # a tiny temperature makes -inf of all but the likeliest
        below /= temperature
    if k is not None:
        below = _keep_k(below, k)
    if p is not None:
        below = _keep_p(below, p)
    reached = np.exp(below, out=below).cumsum(axis=-1)
    whole = reached[..., -1:]
    # At most (1 - 2^-53) whole, which rounds to less than the whole: the count ends at a token with a probability.
    return (reached <= rng.random(whole.shape) * whole).sum(axis=-1)


def _keep_k(logits, k):
    size = logits.shape[-1]
    if k >= size:
        return logits.copy()
    least = np.partition(logits, size - k, axis=-1)[..., size - k, np.newaxis]
    above, tied = logits > least, logits == least
    return np.where(above | tied & (tied.cumsum(-1) <= k - above.sum(-1, keepdims=True)), logits, -np.inf)


#: Tokens that a nucleus is looked for among at first: finding them takes a tenth of the time of sorting 50,000.
_LIKELIEST = 256


def _keep_p(logits, p):
    if p == 1:
        return logits.copy()
    rows = np.ascontiguousarray(logits.reshape(-1, logits.shape[-1]))
    kept, open_rows, count = np.empty(rows.shape, bool), np.arange(len(rows)), _LIKELIEST
    while open_rows.size:
        kept[open_rows], decided = _nucleus(rows[open_rows], p, count)
        open_rows, count = open_rows[~decided], 16 * count
    return np.where(kept.reshape(logits.shape), logits, -np.inf)


def _nucleus(rows, p, count):
    """Which tokens are in the nucleus ``(N, V)``, as the ``count`` likeliest say, and whether they decide it ``(N,)``."""
    size = rows.shape[1]
    chances = np.exp(rows - rows.max(axis=-1, keepdims=True))
    whole = chances.sum(axis=-1, keepdims=True, dtype=np.float64)
    top = np.broadcast_to(np.arange(size), rows.shape)
    if count < size:
        top = np.sort(np.argpartition(rows, size - count, axis=-1)[:, size - count :], axis=-1)
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(rows, top, -1), axis=-1, kind="stable"), -1)
    values, chances = np.take_along_axis(rows, top, -1), np.take_along_axis(chances, top, -1)
    inside = chances.cumsum(axis=-1, dtype=np.float64) - chances < p * whole
    kept = np.zeros(rows.shape, bool)
    np.put_along_axis(kept, top, inside, -1)
    # A token as likely as the last of the top may be missing there; what is likelier is not.
    decided = np.where(inside, values, np.inf).min(axis=-1) > values[:, -1]
    return kept, decided | (count >= size)


def generate(step, start, state=None, *, length=None, eos=None, temperature=1.0, top_k=None, top_p=None, rng=None):
    """Tokens, one after the other, each as soon as it has been chosen.

    Parameters
    ----------
    step : callable
        ``step(tokens (B,), state) -> (logits (B, V), state)``.
    start : int or array_like of int
        The token before the first, or ``(B,)`` of them, for B sequences side by side.
    state : optional
        What the first call of ``step`` gets: None, or the state after a prompt.
    length : int, optional
        How many tokens at most; None: until ``eos``, or without end.
    eos : int, optional
        The token that ends a sequence. Of several, those that have ended repeat it until all have.
    temperature, top_k, top_p, rng
        As for ``sample``.

    Returns
    -------
    iterator of int, or of ndarray of int
        A token, or ``(B,)``; ``eos`` is the last.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range; while it runs, for what ``step`` returns.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> def count(tokens, state):
    ...     return np.eye(10)[(tokens + 1) % 10], state
    >>> list(fr.decoding.generate(count, 3, eos=8, temperature=0))
    [4, 5, 6, 7, 8]
    """
    _validate.function(step, "step")
    tokens, single = _validate.tokens(start, "start")
    length = None if length is None else _validate.integer(length, "length", minimum=0)
    eos = None if eos is None else _validate.token(eos, "eos")
    choosing = _validate.choosing(temperature, top_k, top_p)
    return _generated(step, tokens, state, single, length, eos, choosing, _validate.generator(rng))


def _generated(step, tokens, state, single, length, eos, choosing, rng):
    """The generator behind ``generate``, all arguments checked."""
    ended, made = np.zeros(len(tokens), bool), 0
    while (length is None or made < length) and not ended.all():
        logits, state = _validate.stepped(step(tokens, state), len(tokens))
        tokens = draw(_validate.logits(logits, "step's logits"), *choosing, rng)
        if eos is not None:
            _validate.token(eos, "eos", logits.shape[-1])
            tokens[ended] = eos
            ended |= tokens == eos
        made += 1
        yield int(tokens[0]) if single else tokens.copy()


def gather(state, rows, axis=1):
    """The rows of a state that sequences go on from.

    Parameters
    ----------
    state : None, ndarray, or tuple, list or dict of such
    rows : array_like of int
        ``(W,)``.
    axis : int
        The batch axis of every array: 1 in the states ``(L*D, B, H)`` of recurrent layers.

    Returns
    -------
    The same with new arrays, W long on that axis.

    Raises
    ------
    TypeError, ValueError
        For a state of anything else, or without that axis.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> h, c = fr.decoding.gather((np.array([[[1.0], [2.0]]]), None), [1, 1, 0])
    >>> h.tolist(), c
    ([[[2.0], [2.0], [1.0]]], None)
    """
    if state is None:
        return None
    if isinstance(state, (tuple, list)):
        parts = [gather(part, rows, axis) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    if isinstance(state, dict):
        return {name: gather(part, rows, axis) for name, part in state.items()}
    return np.take(_validate.gatherable(state, axis), rows, axis=axis)


class Hypothesis(NamedTuple):
    """What ``beam_search`` has found.

    Attributes
    ----------
    tokens : ndarray of int
        ``(n,)``, without the start, with ``eos`` if it ended so.
    score : float
        ``log p(tokens) / n^length_penalty``.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> fr.decoding.Hypothesis(np.array([2, 0]), -0.5).score
    -0.5
    """

    tokens: np.ndarray
    score: float


def beam_search(step, start, state=None, *, width, length, length_penalty=1.0, eos=None, batch_axis=1, reorder=None):
    """The sequences with the largest ``log p(tokens) / n^length_penalty``, n their length, that a beam finds.

    At every step the ``width`` likeliest sequences that have not ended go on; those that end are kept apart, so
    they take nobody's place. It stops when no sequence can become better than the ``width`` best that have ended.
    With as wide a beam as there are sequences, the result is the true best.

    Parameters
    ----------
    step : callable
        ``step(tokens (W,), state) -> (log_probs (W, V), state)``, 1 <= W <= ``width``: logarithms of probabilities,
        -inf for what may not come; see ``log_softmax``.
    start : int
        The token before the first.
    state : optional
        Of one sequence (a batch of 1), for the first call of ``step``.
    width : int
    length : int
        Of the longest sequences; those that have not ended by then count as they are.
    length_penalty : float
        0: long sequences have the smaller probability; 1: the mean per token counts; more favours long ones; at
        most 10. The idea is that of Wu et al., arXiv:1609.08144, section 7.
    eos : int, optional
        The token that ends a sequence.
    batch_axis : int
        Where the arrays in ``state`` have their batch, for ``gather``.
    reorder : callable, optional
        ``reorder(state, rows (W,)) -> state``, instead of ``gather``.

    Returns
    -------
    list of Hypothesis
        At most ``width``, best first; empty when every sequence has probability 0.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range; while it runs, for what ``step`` returns.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> table = np.log([[0.4, 0.6], [0.5, 0.5]])  # after 0, after 1
    >>> found = fr.decoding.beam_search(lambda tokens, state: (table[tokens], state), 0, width=2, length=2)
    >>> [(one.tokens.tolist(), round(float(np.exp(2 * one.score)), 6)) for one in found]
    [([1, 0], 0.3), ([1, 1], 0.3)]
    """
    _validate.function(step, "step")
    last = np.array([_validate.token(start, "start")], np.intp)
    width, length = _validate.positive_int(width, "width"), _validate.positive_int(length, "length")
    penalty = _validate.real(length_penalty, "length_penalty", minimum=0, maximum=10)
    eos = None if eos is None else _validate.token(eos, "eos")
    axis = _validate.integer(batch_axis, "batch_axis")
    if reorder is None:
        reorder = lambda state, rows: gather(state, rows, axis)  # noqa: E731
    _validate.function(reorder, "reorder")

    tokens, sums, ended = np.empty((1, 0), np.intp), np.zeros(1), []
    for n in range(1, length + 1):
        scores, state = _validate.stepped(step(last, state), len(last))
        totals = sums[:, np.newaxis] + _validate.log_probabilities(scores)
        if eos is not None:
            _validate.token(eos, "eos", totals.shape[1])
            ended += _hypotheses(tokens, eos, totals[:, eos], n, penalty)
            totals[:, eos] = -np.inf
        rows, last, sums = _best(totals, width)
        tokens = np.concatenate([tokens[rows], last[:, np.newaxis]], axis=1)
        ended = sorted(ended, key=lambda one: -one.score)[:width]
        # A sum only falls, and is worth most when divided by the largest length.
        if not sums.size or len(ended) == width and ended[-1].score >= sums[0] / length**penalty:
            return ended
        if n < length:
            state = reorder(state, rows)
    ended += [Hypothesis(row, float(total / length**penalty)) for row, total in zip(tokens, sums)]
    return sorted(ended, key=lambda one: -one.score)[:width]


def _hypotheses(tokens, eos, sums, n, penalty):
    """The sequences ``(W, n - 1)`` that end now, where that is possible."""
    return [Hypothesis(np.append(row, eos), float(s / n**penalty)) for row, s in zip(tokens, sums) if s > -np.inf]


def _best(totals, count):
    """Rows, columns and values of the largest finite ``count`` of ``totals (W, V)``, largest first."""
    flat = totals.ravel()
    at = np.flatnonzero(_keep_k(flat, count) > -np.inf)
    at = at[np.argsort(-flat[at], kind="stable")]
    rows, columns = np.divmod(at, totals.shape[1])
    return rows, columns, flat[at]
