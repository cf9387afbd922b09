"""From the outputs of a net trained with ``losses.ctc_loss`` to labels.

    greedy              the labels of the likeliest path
    beam_search         the likeliest labels that a prefix beam search finds
    edit_distance       insertions, deletions and substitutions between two sequences
    label_error_rate    the same over many, for each label there should be

A path has a class for every step, one of which is the blank. Its labels are what is left when repetitions are taken
for one, and then blanks are left out: many paths have the same labels, whose probability is the sum of theirs.

Imports numpy, ``decoding`` and ``_validate``.
"""

import numpy as np

from . import _validate
from .decoding import Hypothesis, _best


def greedy(log_probs, blank=0):
    """The labels of the likeliest path: best path decoding (Graves et al., ICML 2006).

    Parameters
    ----------
    log_probs : array_like
        ``(T, C)``: of each step, logarithms of the probabilities of the classes, or logits.
    blank : int
        The class that stands for "no label".

    Returns
    -------
    ndarray of int
        At most T labels.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> path = [0, 3, 3, 0, 3, 1]
    >>> fr.ctc.greedy(np.eye(4)[path])
    array([3, 3, 1])
    """
    scores, blank = _validate.step_scores(log_probs, blank)
    path = scores.argmax(axis=1)
    first = np.diff(path, prepend=-1) != 0
    return path[first & (path != blank)]


def beam_search(log_probs, *, width=10, blank=0):
    """The likeliest labels that a prefix beam search finds.

    After every step the ``width`` likeliest beginnings of a labelling go on, each with the probability of its paths
    that end in a blank and of those that end in its last label: only after a blank does the same label count anew. With
    a beam as wide as there are beginnings all probabilities are exact; else they are bounds from below, as paths through
    what was given up are missing. Sources: Graves, *Supervised Sequence Labelling*, 2012, section 7.5; Hannun et al.,
    arXiv:1408.2873.

    Parameters
    ----------
    log_probs : array_like
        ``(T, C)``: of each step, logarithms of the probabilities of the classes; see ``decoding.log_softmax``.
    width : int
    blank : int

    Returns
    -------
    list of decoding.Hypothesis
        At most ``width``, best first: ``tokens`` are the labels, ``score`` is ``log p(labels)``.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])  # blank, label 1
    >>> fr.ctc.greedy(log_probs)  # the likeliest path, 0.36, has none
    array([], dtype=int64)
    >>> best = fr.ctc.beam_search(log_probs)[0]  # three paths with 0.64 together have one
    >>> best.tokens.tolist(), round(float(np.exp(best.score)), 6)
    ([1], 0.64)
    """
    scores, blank = _validate.step_scores(log_probs, blank)
    _validate.log_probabilities(scores, "log_probs")
    width = _validate.positive_int(width, "width")
    beam = _Beam(blank)
    for row in scores.astype(np.float64, copy=False):
        beam.advance(row, width)
    order = np.argsort(-beam.total(), kind="stable")
    return [Hypothesis(beam.labels_of(i), float(beam.total()[i])) for i in order]


class _Beam:
    """Beginnings of labellings, as nodes of a tree that only grows: node 0 is the empty one.

    ``nodes``, ``parents``, ``last`` ``(W,)``: their numbers, those of the beginnings one label shorter, their last
    labels; ``in_blank``, ``in_label`` ``(W,)``: log probabilities of their paths that end in a blank, in the label.
    """

    def __init__(self, blank):
        self.blank = blank
        self.nodes, self.parents, self.last = np.array([0]), np.array([-1]), np.array([blank])
        self.in_blank, self.in_label = np.zeros(1), np.full(1, -np.inf)
        self._numbers = {}  # (node, label) -> the node one label longer: one that comes back is the same again
        self._made = [(-1, blank)]  # node -> (its parent, its last label)

    def total(self):
        return np.logaddexp(self.in_blank, self.in_label)

    def advance(self, row, width):
        """One step, whose log probabilities are ``row (C,)``."""
        total, last, each = self.total(), self.last, np.arange(len(self.nodes))
        in_blank, in_label = total + row[self.blank], self.in_label + row[last]
        longer = total[:, np.newaxis] + row
        longer[each, last] = self.in_blank + row[last]
        # What becomes longer may be in the beam already: its paths come together.
        short, long = np.nonzero(self.nodes[:, np.newaxis] == self.parents)
        in_label[long] = np.logaddexp(in_label[long], longer[short, last[long]])
        longer[short, last[long]] = -np.inf
        longer[:, self.blank] = np.logaddexp(in_blank, in_label)  # the column of those that stay
        rows, columns, values = _best(longer, width)
        stays = columns == self.blank
        self.in_blank = np.where(stays, in_blank[rows], -np.inf)
        self.in_label = np.where(stays, in_label[rows], values)
        self.parents = np.where(stays, self.parents[rows], self.nodes[rows])
        self.last = np.where(stays, last[rows], columns)
        self.nodes = self.nodes[rows]
        for i in np.flatnonzero(~stays):
            self.nodes[i] = self._number(int(self.parents[i]), int(self.last[i]))

    def _number(self, node, label):
        number = self._numbers.setdefault((node, label), len(self._made))
        if number == len(self._made):
            self._made.append((node, label))
        return number

    def labels_of(self, i):
        """The labels of the i-th."""
        labels, node = [], int(self.nodes[i])
        while node:
            node, label = self._made[node]
            labels.append(label)
        return np.array(labels[::-1], np.intp)


def edit_distance(a, b):
    """How many insertions, deletions and substitutions make ``b`` of ``a`` (Levenshtein 1966).

    Parameters
    ----------
    a, b : str or sequence
        Of things that can be compared and hashed.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        For what is no sequence of such things.

    Examples
    --------
    >>> import fastrnn as fr
    >>> fr.ctc.edit_distance("kitten", "sitting")
    3
    """
    numbers = {}
    a, b = (_numbered(_validate.label_list(value, name), numbers) for value, name in ((a, "a"), (b, "b")))
    columns = np.arange(len(b) + 1)
    row = columns.copy()  # row[j]: the distance of what has been read of a from b[:j]
    for i, label in enumerate(a, 1):
        # In a column of its own: from the row above, or diagonally; then along the row, each step 1.
        below = np.concatenate([[i], np.minimum(row[1:] + 1, row[:-1] + (b != label))])
        row = np.minimum.accumulate(below - columns) + columns
    return int(row[-1])


def _numbered(labels, numbers):
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.intp)


def label_error_rate(predictions, references):
    """The edit distances of all predictions from what they should be, per label there should be.

    Source: Graves et al., ICML 2006.

    Parameters
    ----------
    predictions, references : sequence of str or of sequences
        As many of either.

    Returns
    -------
    float
        0 if all are right; more than 1 is possible.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit, or references without a label.

    Examples
    --------
    >>> import fastrnn as fr
    >>> fr.ctc.label_error_rate(["31", "4"], ["314", "1"])
    0.5
    """
    pairs, count = _validate.labellings(predictions, references)
    return sum(edit_distance(a, b) for a, b in pairs) / count
