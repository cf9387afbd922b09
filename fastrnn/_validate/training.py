"""What a ``Trainer`` and its sources of data are given."""

from .arrays import integer_array, real_array
from .messages import described
from .scalars import integer


def codes(value, name="codes"):
    """The numbers of a text, ``(N,)``."""
    array = integer_array(value, name)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected an array of shape (N,), got {array.shape}")
    return array


def long_enough(size, name, rows, steps):
    """Refuse a series that is too short to be cut into ``rows`` of ``steps`` each."""
    if size < rows * steps:
        raise ValueError(f"{name}: expected at least {rows} x {steps} = {rows * steps:,} for one step, got {size:,}")


def series(inputs, targets):
    """Inputs and targets ``(N, ...)``, as many of either."""
    inputs, targets = real_array(inputs, "inputs"), real_array(targets, "targets")
    if inputs.ndim == 0 or targets.shape[:1] != inputs.shape[:1]:
        raise ValueError(f"targets: expected as many as inputs, got arrays of shapes {inputs.shape} and {targets.shape}")
    return inputs, targets


def ragged(inputs, targets, kind):
    """Inputs and targets of ``Sequences``, as lists of arrays."""
    inputs = [real_array(x, f"inputs[{i}]") for i, x in enumerate(_listed(inputs, "inputs"))]
    make = integer_array if kind == "labels" else real_array
    targets = [make(target, f"targets[{i}]") for i, target in enumerate(_listed(targets, "targets"))]
    if not inputs or len(inputs) != len(targets):
        raise ValueError(f"targets: expected one for each input, at least one, got {len(targets)} for {len(inputs)}")
    for i, (x, target) in enumerate(zip(inputs, targets)):
        if x.ndim == 0 or len(x) == 0 or x.shape[1:] != inputs[0].shape[1:]:
            expected = ", ".join(["T >= 1", *map(str, inputs[0].shape[1:])])
            raise ValueError(f"inputs[{i}]: expected an array of shape ({expected}), got {x.shape}")
        if kind == "step" and target.shape[:1] != x.shape[:1]:
            raise ValueError(f"targets[{i}]: expected one for each of {len(x)} steps, got an array of shape {target.shape}")
        if kind == "labels" and target.ndim != 1:
            raise ValueError(f"targets[{i}]: expected a list of classes, got an array of shape {target.shape}")
        own = target.shape[1:] if kind == "step" else target.shape
        first = targets[0].shape[1:] if kind == "step" else targets[0].shape
        if kind != "labels" and own != first:
            raise ValueError(f"targets[{i}]: expected the shape of the others, {first}, got {own}")
    return inputs, targets


def _listed(value, name):
    """Anything that can be gone through, but no text, as a list."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name}: expected a list of arrays, got {described(value)}")
    return list(value)


def source(value, name="data"):
    """A source of data: it has a length, and batches."""
    if not hasattr(value, "batch") or not hasattr(value, "__len__"):
        raise TypeError(
            f"{name}: expected a source of data, such as TextStreams or Sequences, got {described(value)}"
        )
    if len(value) < 1:
        raise ValueError(f"{name}: expected at least one step an epoch, got none")
    return value


def trainable(value):
    """A model: it has a ``vjp`` and can be called."""
    if not callable(value) or not hasattr(value, "vjp"):
        raise TypeError(f"model: expected a module or another object with a vjp, got {described(value)}")
    return value


def valid_data(value):
    """What a model is validated with: None, a source of data, or a function of the model."""
    return value if value is None or (callable(value) and not hasattr(value, "batch")) else source(value, "valid")


def loss_function(value):
    """A function of output and target, or a module with parameters that is one."""
    if not callable(value):
        raise TypeError(f"loss: expected a function of output and target, got {described(value)}")
    return value


def schedule(value, kind):
    """None, a schedule, or a function of the progress."""
    if value is not None and not isinstance(value, kind) and not callable(value):
        raise TypeError(f"schedule: expected a schedule of fastrnn.optim or a function, got {described(value)}")
    return value


def schedule_of(schedule, optimizer):
    """A schedule of this optimiser."""
    if schedule.optimizer is not optimizer:
        raise ValueError("schedule: expected one of the optimizer given, got one of another")
    return schedule


def length_of_run(epochs, steps, seconds):
    """Epochs and steps, of which one at most is given, if there is any end."""
    if epochs is not None and steps is not None:
        raise ValueError(f"epochs: expected None with steps = {steps}, got {epochs}")
    if epochs is None and steps is None and seconds is None:
        raise ValueError("epochs: expected epochs, steps or seconds, got none of them")
    epochs = None if epochs is None else integer(epochs, "epochs", minimum=0)
    return epochs, None if steps is None else integer(steps, "steps", minimum=0)


def layout(data, layers, name="data"):
    """Refuse data whose layout is not that of the layers that read it."""
    for layer in layers:
        if layer.batch_first != getattr(data, "batch_first", False):
            here, there = ("time", "the batch") if layer.batch_first else ("the batch", "time")
            raise ValueError(f"{name}: expected {there} first, as the layers have it, got {here} first")
        if getattr(data, "carries", False) and layer.bidirectional:
            raise ValueError(f"{name}: these streams carry a state on, which no bidirectional layer can have")


def callback_list(values):
    """Functions of the trainer."""
    values = list(values)
    for value in values:
        if not callable(value):
            raise TypeError(f"callbacks: expected functions of the trainer, got {described(value)}")
    return values


def json_value(value):
    """Refuse what JSON cannot hold."""
    raise TypeError(f"notes: expected JSON values, got {described(value)}")


def checkpoint_folder(folder, path):
    """Refuse a checkpoint without a place."""
    if folder is None and path is None:
        raise ValueError("path: expected a path, as the trainer has no folder, got None")


