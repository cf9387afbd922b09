"""Recurrent layers: sizes, inputs, states, gradients and streams."""

import numpy as np

from .arrays import converted, real_array, sequence_lengths
from .messages import described, shape_text
from .scalars import boolean, one_of, probability, real

MAX_SIZE = 2**24  # of a layer: keeps every index of a weight matrix far from overflow


def recurrent_sizes(input_size, hidden_size, num_layers, proj_size):
    """Sizes of a recurrent layer that belong together."""
    if proj_size >= hidden_size and proj_size:
        raise ValueError(f"proj_size: expected less than hidden_size {hidden_size}, got {proj_size}")
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value > MAX_SIZE:
            raise ValueError(f"{name}: expected at most {MAX_SIZE}, got {value}")


#: Activation -> its alpha and beta, by default as in ONNX; None where it has none.
ACTIVATIONS = {
    "identity": (None, None), "sigmoid": (None, None), "tanh": (None, None), "relu": (None, None), "elu": (1.0, None),
    "leaky_relu": (0.01, None), "softsign": (None, None), "softplus": (None, None), "hard_sigmoid": (0.2, 0.5),
    "hard_tanh": (None, None), "affine": (1.0, 0.0), "scaled_tanh": (1.0, 1.0), "thresholded_relu": (1.0, None),
}  # fmt: skip


def activation(value, name):
    """An activation, ``name`` or ``(name, alpha)`` or ``(name, alpha, beta)``, as ``(name, alpha, beta)``."""
    entry = (value,) if isinstance(value, str) else value
    if not isinstance(entry, (tuple, list)) or not 1 <= len(entry) <= 3:
        raise TypeError(f"{name}: expected a name, (name, alpha) or (name, alpha, beta), got {described(value)}")
    chosen = one_of(entry[0], name, tuple(ACTIVATIONS))
    numbers = []
    for letter, given, default in zip(("alpha", "beta"), (*entry[1:], None, None), ACTIVATIONS[chosen]):
        if given is not None and default is None:
            raise ValueError(f"{name}: expected no {letter}, which {chosen!r} does not have, got {described(given)}")
        numbers.append(real(default if given is None else given, f"{name}: {letter}") if default is not None else 0.0)
    return (chosen, *numbers)


def activations(value, count):
    """So many activations, each as ``(name, alpha, beta)``."""
    if isinstance(value, str) or not isinstance(value, (tuple, list)):
        raise TypeError(f"activations: expected a tuple of {count}, got {described(value)}")
    if len(value) != count:
        raise ValueError(f"activations: expected {count}, got {len(value)}")
    return [activation(entry, f"activations[{i}]") for i, entry in enumerate(value)]


def zoneout(value, states):
    """Probabilities of h and of c; one number is for both."""
    if isinstance(value, (tuple, list)):
        if states == 1 or len(value) != 2:
            expected = "a number" if states == 1 else "a number or (z_h, z_c)"
            raise ValueError(f"zoneout: expected {expected}, got {described(value)}")
        return tuple(probability(z, f"zoneout[{i}]") for i, z in enumerate(value))
    z = probability(value, "zoneout")
    return z, z if states > 1 else 0.0


def has_regulariser(layer, p, name):
    """An option that only RNN, LSTM and GRU have."""
    if p and not layer._regularised:
        raise ValueError(f"{name}: expected 0, since {type(layer).__name__} does not have it, got {described(p)}")


def has_recurrence(layer, p, name):
    """An option of layers in which h enters a weight."""
    if p and "weight_hh_l0" not in layer.parameters:
        raise ValueError(f"{name}: expected 0, since {type(layer).__name__} has no weight_hh, got {described(p)}")


def alone(name, others):
    """An option that goes with none of these."""
    for other, value in others.items():
        if value:
            raise ValueError(f"{other}: expected none with {name}, got {value!r}")


def equal_widths(cell, input_size, hidden_size, num_layers, inner_size, skip):
    """Sizes of a cell that adds its input to H units; ``inner_size``: that of the layers after the first."""
    if input_size != hidden_size:
        raise ValueError(f"input_size: expected hidden_size {hidden_size}, for {cell}, got {input_size}")
    if num_layers > 1 and inner_size != hidden_size:
        problem = "bidirectional: expected False, or another merge than 'concat',", "True"
        if skip == "input":
            problem = "skip: expected 'none', 'output' or 'residual'", "'input'"
        raise ValueError(
            f"{problem[0]} with several layers of {cell}, whose inputs must be {hidden_size} wide, got {problem[1]}"
        )


def learnable_state(value, cell, empty):
    """``learn_state``: whether the initial states are parameters; ``empty``: what each state is without one."""
    value = boolean(value, "learn_state")
    if value and any(empty):
        raise ValueError(f"learn_state: expected False for {cell}, whose empty state is not 0, got True")
    return value


def has_cell_states(value, cell, states):
    """``return_cell_states``: whether a layer of these states returns its cell states."""
    value = boolean(value, "return_cell_states")
    if value and "c" not in states:
        raise ValueError(f"return_cell_states: expected False for {cell}, which has no cell state, got True")
    return value


def recurrent_inputs(layer, x, state=None, lengths=None):
    """The arguments of a recurrent layer's call, checked and in the layer's own form.

    Parameters
    ----------
    layer : object
        Has ``input_size, num_layers, num_directions, batch_first, dtype, state_names``
        (``("h",)`` or ``("h", "c")``) and ``state_sizes`` (the width of each state).
    x : array_like
        ``(T, B, I)``, ``(B, T, I)`` with ``batch_first``, or ``(T, I)``.
    state : array_like or tuple of array_like, optional
        ``(L*D, B, width)`` each, without ``B`` when ``x`` has none.
    lengths : array_like of int, optional
        ``(B,)``, in ``0..T``.

    Returns
    -------
    x : ndarray
        3-D, C-contiguous, in the layer's dtype and layout; an unbatched ``x`` with ``B = 1``.
    states : tuple of ndarray or None
        One ``(L*D, B, width)`` array, or None for zeros, per state.
    lengths : ndarray of int64 or None
        ``(B,)``.
    unbatched : bool
    """
    x = real_array(x, "x")
    if x.ndim not in (2, 3) or x.shape[-1] != layer.input_size:
        axes = ("B", "T") if layer.batch_first else ("T", "B")
        batched = shape_text((*axes, layer.input_size))
        single = shape_text(("T", layer.input_size))
        raise ValueError(f"x: expected an array of shape {batched} or {single}, got {x.shape}")
    unbatched = x.ndim == 2
    if unbatched:
        batch, steps = 1, x.shape[0]
    else:
        batch, steps = x.shape[:2] if layer.batch_first else x.shape[1::-1]
    states = _state_arrays(layer, state, "state", batch, unbatched)
    if lengths is not None:
        lengths = sequence_lengths(lengths, "lengths", batch, steps, unbatched)
    x = converted(x, layer.dtype)
    if unbatched:
        x = x[np.newaxis] if layer.batch_first else x[:, np.newaxis]
    return x, _states_converted(layer, states, unbatched), lengths, unbatched


def recurrent_state(layer, state, batch, unbatched=False, name="state"):
    """An initial state as a tuple of ``(L*D, B, width)`` arrays or None (zeros)."""
    states = _state_arrays(layer, state, name, batch, unbatched)
    return _states_converted(layer, states, unbatched)


def output_gradients(layer, dy, dc_seq, dstate, y_shape, c_shape, batch, unbatched, input_gradient=True):
    """The arguments of a recurrent layer's pullback, checked and in the layer's own form.

    Parameters
    ----------
    layer : object
        As for ``recurrent_inputs``.
    dy : array_like or None
        In the layout of the ``y`` the user got.
    dc_seq : array_like or None
        In the layout of the ``c_seq`` the user got.
    dstate : array_like, tuple or None
        In the form of the state the user got; each may be None.
    y_shape : tuple of int
        3-D: of ``y`` with its batch axis, also when ``unbatched``.
    c_shape : tuple of int or None
        Of ``c_seq``; None if there is none.
    batch : int
    unbatched : bool
    input_gradient : bool
        As the user gave it.

    Returns
    -------
    dy : ndarray or None
        ``y_shape``, C-contiguous, in the layer's dtype.
    dc_seq : ndarray or None
        The same of ``c_shape``.
    dstates : tuple of ndarray or None
        ``(L*D, B, width)`` each.
    """
    boolean(input_gradient, "input_gradient")
    if dc_seq is not None and c_shape is None:
        raise ValueError(f"dc_seq: expected None from a layer without return_cell_states, got {described(dc_seq)}")
    batch_axis = 0 if layer.batch_first else 1
    sequences = {"dy": (dy, y_shape), "dc_seq": (dc_seq, c_shape)}
    for name, (array, shape) in sequences.items():
        if array is not None:
            expected = shape[:batch_axis] + shape[batch_axis + 1 :] if unbatched else shape
            sequences[name] = real_array(array, name, shape=expected), shape
    dstates = _state_arrays(layer, dstate, "dstate", batch, unbatched)
    dy, dc_seq = (array if array is None else converted(array, layer.dtype).reshape(shape)
                  for array, shape in sequences.values())  # fmt: skip
    return dy, dc_seq, _states_converted(layer, dstates, unbatched)


def streamable(layer):
    """Refuse to stream a layer whose reverse direction begins at the end."""
    if layer.bidirectional:
        raise ValueError("stream: expected a layer of one direction, got a bidirectional one")


def stream_input(layer, x_t, batch):
    """One time step for a stream: ``(B, I)``, or ``(I,)`` when ``B`` is 1.

    Returns
    -------
    x_t : ndarray
        ``(B, I)``, C-contiguous, in the layer's dtype.
    unbatched : bool
        Whether it came as ``(I,)``.
    """
    x_t = real_array(x_t, "x_t")
    size = layer.input_size
    unbatched = batch == 1 and x_t.shape == (size,)
    if not unbatched and x_t.shape != (batch, size):
        expected = shape_text((batch, size)) + (f" or {shape_text((size,))}" * (batch == 1))
        raise ValueError(f"x_t: expected an array of shape {expected}, got {x_t.shape}")
    return converted(x_t, layer.dtype).reshape(batch, size), unbatched


def _state_arrays(layer, state, name, batch, unbatched):
    """The arrays of ``state`` (or of its gradient) as they came, shapes checked."""
    names = layer.state_names
    if state is None:
        return (None,) * len(names)
    if len(names) == 1:
        state = (state,)
    else:
        form = f"a tuple ({', '.join(names)})"
        if not isinstance(state, (tuple, list)):
            raise TypeError(f"{name}: expected {form}, got {described(state)}")
        if len(state) != len(names):
            raise ValueError(f"{name}: expected {form}, got {len(state)} items")
    rows = layer.num_layers * layer.num_directions
    arrays = []
    for value, letter, width in zip(state, names, layer.state_sizes):
        if value is not None:
            label = name if len(names) == 1 else f"{name} ({letter})"
            shape = (rows, width) if unbatched else (rows, batch, width)
            value = real_array(value, label, shape=shape)
        arrays.append(value)
    return tuple(arrays)


def _states_converted(layer, states, unbatched):
    """Checked states in the layer's dtype, each with its batch axis."""
    result = []
    for array in states:
        if array is not None:
            array = converted(array, layer.dtype)
            array = array[:, np.newaxis] if unbatched else array
        result.append(array)
    return tuple(result)
