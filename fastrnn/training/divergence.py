"""Losses and gradients that are no numbers any more: where they come from. Imports numpy."""

import numpy as np


class TrainingDiverged(ArithmeticError):
    """The loss, a gradient or a parameter is not finite.

    Attributes
    ----------
    step : int
        The step that was tried, counted from 1.
    parameter : str or None
        The first parameter that is not finite, or whose gradient is not.
    data : bool
        Whether it is the data that hold the NaN or infinity.

    Examples
    --------
    >>> from fastrnn.training import TrainingDiverged
    >>> TrainingDiverged("the loss became nan at step 3", step=3).step
    3
    """

    def __init__(self, message, *, step, parameter=None, data=False):
        super().__init__(message)
        self.step, self.parameter, self.data = step, parameter, data


ADVICE = "try a smaller learning rate"


def explained(step, epoch, loss, parameters, batch):
    """The ``TrainingDiverged`` of a step: with the first cause that is found.

    Parameters
    ----------
    step, epoch : int
        Counted from 1.
    loss : float
    parameters : dict of str to (Module, str)
        Name -> (leaf, own name).
    batch : Batch
    """
    when = f"at step {step} (epoch {epoch})"
    said = f"the loss became {loss} {when}" if not np.isfinite(loss) else f"a gradient is not finite {when}"
    name = _first(parameters, "_views")
    if name is not None:
        problem = f"the parameter {name} is not finite; {ADVICE}"
        return TrainingDiverged(f"{said}: {problem}", step=step, parameter=name)
    for what, values in (("input", batch.x), ("target", batch.target)):
        if not all(_finite(part) for part in (values if isinstance(values, tuple) else (values,))):
            return TrainingDiverged(f"{said}: NaN or infinity in the {what} of this step", step=step, data=True)
    if np.isfinite(loss):
        name = _first(parameters, "_grad_views")
        what = "their norm is beyond the largest number" if name is None else f"that of {name}"
        return TrainingDiverged(f"{said}: {what}; {ADVICE}, or clipping", step=step, parameter=name)
    problem = f"all parameters and inputs are finite, but not what the loss makes of the output; {ADVICE}"
    return TrainingDiverged(f"{said}: {problem}", step=step)


def overflowed(step, parameters):
    """The ``TrainingDiverged`` of parameters that a step has made infinite or NaN, or None."""
    name = _first(parameters, "_views")
    if name is None:
        return None
    return TrainingDiverged(f"the parameter {name} is not finite after step {step}; {ADVICE}", step=step, parameter=name)


def _first(parameters, views):
    """The name of the first array that is not finite."""
    for name, (leaf, own) in parameters.items():
        if not _finite(getattr(leaf, views)[own]):
            return name
    return None


def _finite(values):
    values = np.asarray(values)
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
