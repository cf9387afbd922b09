"""What estimators are given: sequences, labels, targets, weights, series. Axes: ``N`` sequences, ``F`` features."""

import numpy as np

from .arrays import as_array, exact_shape, real_array
from .messages import described
from .scalars import boolean, float_dtype, generator, integer, one_of, real
from .texts import text
from .training import _listed


def sequence_list(X, features=None, name="X"):
    """Sequences as a list of ``(T_i, F)`` arrays of finite numbers; ``features``: how many they must have.

    An array is ``(N, T, F)``, or ``(N, T)`` for one feature; a list has ``(T_i, F)`` or ``(T_i,)`` arrays.
    """
    if hasattr(X, "tocsr"):
        raise TypeError(f"{name}: expected sequences in dense arrays, got a sparse one")
    if X is None:
        raise ValueError(f"{name}: expected sequences, got None")
    array = as_array(X, name, "sequences") if hasattr(X, "__array__") else None
    if array is not None and (array.dtype != object or array.ndim != 1):
        parts, names = _cut(real_array(array, name), name), [name]
    else:
        parts = [real_array(x, f"{name}[{i}]") for i, x in enumerate(_listed(X, name))]
        names = [f"{name}[{i}]" for i in range(len(parts))]
    if not parts:
        raise ValueError(f"{name}: expected at least one sequence, got none")
    parts = [part[:, np.newaxis] if part.ndim == 1 else part for part in parts]
    width = parts[0].shape[-1] if features is None and parts[0].ndim == 2 else features
    for i, part in enumerate(parts):
        if part.ndim != 2 or not len(part) or part.shape[1] != width or not width:
            expected = "(T >= 1, F >= 1)" if width in (None, 0) else f"(T >= 1, {width})"
            raise ValueError(f"{names[i % len(names)]}: expected sequences of shape {expected}, got {part.shape}")
    _finite(parts, name)
    return parts


def _cut(array, name):
    """The sequences of an array."""
    if array.ndim not in (2, 3):
        raise ValueError(
            f"{name}: expected a list of (T, F) arrays or an array of shape (N, T, F) or (N, T), got {array.shape}. "
            "Reshape your data, as by X[np.newaxis] for a single sequence"
        )
    return list(array)


def _finite(parts, name):
    for i, part in enumerate(parts):
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity (inf) in number {i}")


def targets_given(y, name="y"):
    """Refuse to learn from nothing."""
    if y is None:
        raise ValueError(f"{name}: this estimator requires y to be passed, but the target y is None")
    return y


def one_for_each(values, count, name="y"):
    """``values``, if there is one for each sequence."""
    if len(values) != count:
        raise ValueError(f"{name}: expected one for each of {count} sequences, got {len(values)}")
    return values


def step_labels(y, lengths, name="y"):
    """Labels of all steps, as a list of ``(T_i,)`` arrays of any kind."""
    y = list(one_for_each(_listed(targets_given(y), name), len(lengths), name))
    labels = [as_array(part, f"{name}[{i}]", "labels") for i, part in enumerate(y)]
    for i, (part, length) in enumerate(zip(labels, lengths)):
        exact_shape(part, f"{name}[{i}]", (length,))
    return labels


def known_labels(labels, classes):
    """The places of labels among classes."""
    place = {label: i for i, label in enumerate(classes.tolist())}
    unknown = set(labels.tolist()) - set(place)
    if unknown:
        raise ValueError(f"y: expected labels among {list(place)}, got {sorted(unknown, key=repr)[0]!r}")
    return np.array([place[label] for label in labels.tolist()], np.intp)


def first_classes(classes):
    """The classes that ``partial_fit`` is told at its first call."""
    if classes is None:
        raise ValueError("classes: expected all classes at the first call of partial_fit, got None")
    return np.unique(as_array(classes, "classes", "an array of labels"))


def same_classes(given, classes):
    """Refuse other classes at a later call."""
    if given is not None and not np.array_equal(np.unique(as_array(given, "classes", "labels")), classes):
        raise ValueError(f"classes: expected those of the first call, {classes.tolist()}, or None, got {described(given)}")


def partial_class_weight(class_weight, labels):
    """The weight of each label by its class, where not all data are seen: not ``"balanced"``."""
    if class_weight is None:
        return np.ones(len(labels))
    if not isinstance(class_weight, dict):
        raise ValueError(f"class_weight: expected a dict or None with partial_fit, got {described(class_weight)}")
    return np.array([real(class_weight.get(label, 1), "class_weight", minimum=0) for label in labels.tolist()])


def numeric_targets(y, count, name="y"):
    """Targets of sequences: ``(N, O)`` in float64, and whether they came as ``(N,)``."""
    array = real_array(targets_given(y), name)
    if array.ndim not in (1, 2) or array.ndim == 2 and not array.shape[1]:
        raise ValueError(f"{name}: expected an array of shape (N,) or (N, O), got {array.shape}")
    one_for_each(array, count, name)
    _finite([array], name)
    return array.reshape(count, -1).astype(np.float64), array.ndim == 1


def sequence_weights(sample_weight, count):
    """How much each sequence counts, ``(N,)`` in float64: not negative, not all 0; 1 without a ``sample_weight``."""
    if sample_weight is None:
        return np.ones(count)
    weights = real_array(sample_weight, "sample_weight", np.dtype(np.float64), (count,))
    return _positive(weights)


def step_weights(sample_weight, lengths):
    """The same for steps, in a row; a number for each sequence, or for each of its steps."""
    if sample_weight is not None:
        listed = _listed(sample_weight, "sample_weight")
        if listed and np.ndim(listed[0]):
            parts = one_for_each(listed, len(lengths), "sample_weight")
            parts = [
                real_array(part, f"sample_weight[{i}]", np.dtype(np.float64), (length,))
                for i, (part, length) in enumerate(zip(parts, lengths))
            ]
            return _positive(np.concatenate(parts))
    return np.repeat(sequence_weights(sample_weight, len(lengths)), lengths)


def _positive(weights, expected="sample_weight: expected finite numbers of at least 0, not all of them zero"):
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(f"{expected}, got others")
    return weights


def total_weights(weights):
    """Weights of samples times those of their classes: not all 0."""
    return _positive(weights, "class_weight: expected weights of at least 0 that leave some sample one")


def label_dtype(value):
    """The name of a dtype of labels, those of an array or one that a file names: numbers, text, or objects that are text."""
    dtype = value.dtype if isinstance(value, np.ndarray) else np.dtype(text(value, "dtype"))
    mixed = dtype == object and isinstance(value, np.ndarray) and not all(isinstance(label, str) for label in value)
    if dtype.kind not in "biufUO" or mixed:
        raise TypeError(f"classes: expected numbers or text in a file, got dtype {dtype}")
    return dtype.str


def parameter_dtype(value):
    """A dtype among parameters that are written to a file, which else are JSON values."""
    if not isinstance(value, (np.dtype, type)):
        raise TypeError(f"parameters: expected JSON values in a file, got {described(value)}")
    return float_dtype(value)


def random_generator(random_state):
    """The Generator of a ``random_state``: None, an int, a Generator, or a ``RandomState``, from which a seed is drawn."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return generator(random_state, "random_state")


def thread_count(n_jobs, most):
    """The threads of an ``n_jobs``; -1 stands for ``most``, -2 for one less; None stays."""
    if n_jobs is None:
        return None
    n_jobs = integer(n_jobs, "n_jobs")
    if n_jobs == 0:
        raise ValueError("n_jobs: expected None, a number of threads, or -1 for all, got 0")
    return n_jobs if n_jobs > 0 else max(1, most + 1 + n_jobs)


def cell_options(options, cell, given, arguments):
    """Further options of a recurrent layer; not those that ``cell`` stands for, nor those that are arguments."""
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise TypeError(f"cell_options: expected a dict or None, got {described(options)}")
    for name in options:
        if name in given or name in arguments:
            what = f"cell={cell!r} stands for it" if name in given else "it is an argument, or not to be had here"
            raise ValueError(f"cell_options: expected no {name!r}: {what}")
    return options


def poolable(pooling, kinds, bidirectional, skip):
    """How outputs are pooled; ``"last"`` must find its two directions side by side."""
    one_of(pooling, "pooling", kinds)
    if pooling == "last" and boolean(bidirectional, "bidirectional") and skip == "output":
        raise ValueError("pooling: expected 'max' or 'mean' for a bidirectional layer with skip='output', got 'last'")
    return pooling


def forecast_series(y, X, steps, name="y"):
    """A series and its exogenous inputs: ``y (T, O)``, ``X (T, F)`` or None, in float64, and whether y came as ``(T,)``.

    ``steps``: at least so many.
    """
    array = real_array(targets_given(y), name)
    if array.ndim not in (1, 2) or array.ndim == 2 and not array.shape[1]:
        raise ValueError(f"{name}: expected an array of shape (T,) or (T, O), got {array.shape}")
    if len(array) < steps:
        raise ValueError(f"{name}: expected at least {steps} steps, got {len(array)}")
    _finite([array], name)
    return array.reshape(len(array), -1).astype(np.float64), exogenous(X, len(array)), array.ndim == 1


def exogenous(X, steps, features=None, name="X"):
    """Exogenous inputs ``(T, F)`` in float64, or None; ``features``: how many there must be, 0 for none."""
    if X is None:
        if features:
            raise ValueError(f"{name}: expected an array of shape ({steps}, {features}), got None")
        return None
    array = real_array(X, name)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if features == 0:
        raise ValueError(f"{name}: expected None, as in fit, got {described(X)}")
    if array.ndim != 2 or len(array) != steps or not array.shape[1] or features not in (None, array.shape[1]):
        raise ValueError(f"{name}: expected an array of shape ({steps}, {features or 'F'}), got {np.shape(X)}")
    _finite([array], name)
    return array.astype(np.float64)


def same_outputs(y, outputs):
    """Refuse targets of another width than those learned from."""
    if y.shape[1] != outputs:
        raise ValueError(f"y: expected {outputs} columns, as in fit, got {y.shape[1]}")
