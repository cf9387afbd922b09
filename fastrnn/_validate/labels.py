"""Labels: scores of steps, label sequences, and what attention is given."""

import numpy as np

from .arrays import converted, floating, real_array, sequence_lengths
from .messages import described, shape_text
from .scalars import boolean, integer, one_of


def step_scores(log_probs, blank):
    """``(T, C)`` floats, C > 0, none of them NaN or plus infinity; and the blank, one of the classes."""
    array = floating(log_probs, "log_probs")
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"log_probs: expected an array of shape (T, C), got {array.shape}")
    if not (array < np.inf).all():
        raise ValueError("log_probs: expected finite numbers or -inf, got NaN or inf")
    return array, integer(blank, "blank", 0, array.shape[1] - 1)


def label_list(value, name):
    """A sequence of labels, as a list: a string's characters, or anything that can be hashed."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    if isinstance(value, (bytes, dict, set, np.ndarray)) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name}: expected a string or another sequence of labels, got {described(value)}")
    found = [label.item() if isinstance(label, np.generic) else label for label in value]
    for label in found:
        try:
            hash(label)
        except TypeError:
            raise TypeError(f"{name}: expected labels that can be hashed, got {described(label)}") from None
    return found


def label_sequences(values, name):
    """A list of label sequences, each a list."""
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name}: expected a list of label sequences, got {described(values)}")
    return [label_list(value, f"{name}[{i}]") for i, value in enumerate(values)]


def labellings(predictions, references):
    """Pairs of what was predicted and what there should be, and how many labels there should be."""
    predictions, references = label_sequences(predictions, "predictions"), label_sequences(references, "references")
    if len(predictions) != len(references):
        raise ValueError(f"predictions: expected one for each of {len(references)} references, got {len(predictions)}")
    count = sum(map(len, references))
    if count == 0:
        raise ValueError("references: expected at least one label, got none")
    return list(zip(predictions, references)), count


def memory(value, lengths, size, dtype):
    """What attention looks at: ``(T, B, size)`` with T, B >= 1, and lengths ``(B,)`` in 1..T."""
    array = real_array(value, "memory")
    if array.ndim != 3 or array.shape[2] != size or not array.size:
        expected = shape_text(("T", "B", size))
        raise ValueError(f"memory: expected an array of shape {expected}, not empty, got {array.shape}")
    steps, batch = array.shape[:2]
    if lengths is None:
        return converted(array, dtype), np.full(batch, steps)
    lengths = sequence_lengths(lengths, "lengths", batch, steps)
    if lengths.min() < 1:
        raise ValueError(f"lengths: expected integers in 1..{steps}, got {lengths.min()}")
    return converted(array, dtype), lengths


def queries(value, batch, size, dtype):
    """What attention is asked: ``(S, batch, size)`` with S >= 1."""
    array = real_array(value, "queries")
    if array.ndim != 3 or array.shape[1:] != (batch, size) or not array.size:
        expected = shape_text(("S", batch, size))
        raise ValueError(f"queries: expected an array of shape {expected}, S >= 1, got {array.shape}")
    return converted(array, dtype)


def all_came_back(waiting, none):
    """Refuse to finish a walk while pullbacks wait for their gradient, or when nothing has come back since."""
    if waiting:
        raise RuntimeError(f"finish: {waiting} of the pullbacks have not been called yet")
    if none:
        raise RuntimeError("finish: it was called before, or no pullback was")


def encoder_decoder(inputs, kinds, attention, attentions, bidirectional, hidden_size):
    """Choices of an encoder-decoder that belong together."""
    one_of(inputs, "inputs", kinds)
    if attention is not None:
        one_of(attention, "attention", attentions)
    if inputs == "vector" and attention is not None:
        raise ValueError(f"attention: expected None with a vector, which has no steps, got {attention!r}")
    if boolean(bidirectional, "bidirectional"):
        if inputs == "vector":
            raise ValueError("bidirectional: expected False with a vector, which has no steps, got True")
        if integer(hidden_size, "hidden_size", 1) % 2:
            raise ValueError(f"hidden_size: expected an even number, half for each direction, got {hidden_size}")
