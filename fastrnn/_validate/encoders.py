"""What ``Seq2Seq`` and ``CTCRecognizer`` read and write."""

import numpy as np

from .arrays import real_array
from .estimators import sequence_list
from .labels import label_sequences
from .messages import described
from .scalars import one_of


def label_classes(sequences, name):
    """The labels in a list of label sequences, sorted, as an array; all strings or all integers, one at least."""
    found = {label for labels in sequences for label in labels}
    for kind in (str, int):
        if found and all(type(label) is kind for label in found):
            return np.array(sorted(found))
    if not found:
        raise ValueError(f"{name}: expected at least one label, got none")
    others = [label for label in found if type(label) not in (str, int)]
    what = described(others[0]) if others else "both"
    raise TypeError(f"{name}: expected labels that are all strings or all integers, got {what}")


def aligned(sequences, steps, name="y"):
    """Refuse more labels than the steps of their sequence have place for."""
    for i, (labels, length) in enumerate(zip(sequences, steps)):
        needed = len(labels) + sum(a == b for a, b in zip(labels, labels[1:]))
        if needed > length:
            raise ValueError(f"{name}[{i}]: expected labels for {length} steps, got {len(labels)} that need {needed}")


def encoder_inputs(X, kind, kinds, features=None, name="X"):
    """What an encoder reads: its kind, and a list of label sequences, each a list, or of ``(T, F)`` arrays.

    A vector is one step. ``features``: how many there must be.
    """
    one_of(kind, "inputs", ("auto", *kinds))
    if isinstance(X, (str, bytes, dict)) or not hasattr(X, "__iter__"):
        raise TypeError(f"{name}: expected a list of sequences or vectors, got {described(X)}")
    X = X if isinstance(X, np.ndarray) else list(X)
    if not len(X):
        raise ValueError(f"{name}: expected at least one sequence, got none")
    if kind == "auto":
        kind = _kind_of(X[0])
    if kind == "tokens":
        words = label_sequences(X, name)
        for i, word in enumerate(words):
            if not word:
                raise ValueError(f"{name}[{i}]: expected at least one token, got none")
        return kind, words
    if kind == "vector":
        rows = real_array(X, name)
        if rows.ndim != 2:
            raise ValueError(f"{name}: expected an array of shape (N, F), got {rows.shape}")
        X = rows[:, np.newaxis]
    return kind, sequence_list(X, features, name)


def _kind_of(value):
    """What a sequence or vector is, by its looks."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.ndim:
        return "frames" if value.ndim > 1 else "vector" if value.dtype.kind == "f" else "tokens"
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (str, int, np.integer)):
        return "vector" if isinstance(value[0], (float, np.floating)) else "frames"
    return "tokens"


def has_attention(attention, kinds):
    """Refuse to show the weights of an attention that there is not."""
    if attention is None:
        raise ValueError(f"attention: expected one of {kinds}, whose weights there are to see, got None")
