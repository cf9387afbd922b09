"""What a trainer refuses, and what it says when losses, gradients or parameters are no numbers any more."""

import numpy as np
import pytest
from runs import RUNS, parameters_of, ragged, sequences, series
from tolerance import assert_same_bits

import fastrnn as fr
from fastrnn.training import Sequences, Source, Streams, TextStreams, TrainingDiverged, warmup_cosine

# ---------------------------------------------------------------- divergence


def everything(run):
    state = run.optimizer.state_dict()
    generators = [leaf.rng.bit_generator.state for leaf in run._leaves if leaf.__dict__.get("_rng") is not None]
    arrays = {**parameters_of(run.model), **state.pop("buffers")}
    rest = (state, generators, dict(run.history), run.step, run.seen, run.loss, run.optimizer.lr, run.schedule)
    return {name: array.copy() for name, array in arrays.items()}, repr(rest)


def assert_diverges(run, message, steps=3):
    """At the step after ``steps``, having changed nothing; returns the error."""
    before = []
    run.callbacks.append(lambda run: before.append(everything(run)))
    with pytest.raises(TrainingDiverged, match=message) as caught:
        run.run()
    assert len(before) == steps and caught.value.step == steps + 1 == run.step + 1
    arrays, rest = everything(run)
    for name, array in arrays.items():
        assert_same_bits(name, array, before[-1][0][name])
    assert rest == before[-1][1]
    return caught.value


@pytest.mark.parametrize("name", ["language", "own_model", "adaptive"])
def test_diverged_parameter(name):
    run = RUNS[name]()
    part, parameter = {
        "language": ("head.bias", lambda: run.model.head),
        "own_model": ("heads.1.weight", lambda: run.model.heads[1]),
        "adaptive": ("loss.head.weight", lambda: run._loss_function),
    }[name]

    def spoil(run):
        if run.step == 3:
            own = part.removeprefix("heads.1.").removeprefix("loss.") if name != "language" else "bias"
            with parameter().edit() as p:
                p[own].flat[0] = np.inf

    run.callbacks.append(spoil)
    error = assert_diverges(run, rf"at step 4 \(epoch 1\): the parameter {part} is not finite; try a smaller learning")
    assert error.parameter == part and not error.data


def test_diverged_gradient():
    """The loss is a number, its gradient is not."""

    def loss(output, target):
        value, gradient = fr.losses.mse_loss(output, target)
        if run.step == 3:
            gradient[0, 0] = np.nan
        return value, gradient

    run = sequences(clip_value=None)
    run._loss_function = loss
    error = assert_diverges(run, "a gradient is not finite at step 4 .epoch 2.: that of 1.weight_ih_l0; ")
    assert error.parameter == "1.weight_ih_l0"
    for options in ({"clip_value": 1.0}, {"clip_value": None, "max_norm": 1.0}, {"clip_value": 1.0, "max_norm": 1.0}):
        run = sequences(**options)
        run._loss_function = lambda output, target: (1.0, np.full_like(output, np.inf))
        with pytest.raises(TrainingDiverged, match="a gradient is not finite at step 1"):
            run.run()


def test_diverged_data_and_loss():
    inputs, targets = ragged(3)
    for spoilt, word in ((inputs, "input"), (targets, "target")):
        spoilt[1][0, 0] = np.nan
        layer = fr.Sequential(fr.GRU(3, 1, rng=0))
        data = Sequences(inputs, targets, 3, rng=0)
        with pytest.raises(TrainingDiverged, match=f"loss became nan at step 1 .*: NaN or infinity in the {word}") as caught:
            fr.Trainer(layer, fr.optim.SGD(layer), data, loss=fr.losses.mse_loss, epochs=1).run()
        assert caught.value.data and caught.value.parameter is None
        spoilt[1][0, 0] = 0
    run = series()
    run._loss_function = lambda output, target: (np.inf if run.step == 3 else 1.0, np.ones_like(output))
    assert_diverges(run, "loss became inf at step 4 .*: all parameters and inputs are finite, but not what the loss makes")


@pytest.mark.parametrize("every", [2, 100])
def test_an_overflow_is_not_kept(every, tmp_path):
    """A step that ends in infinities does not replace the checkpoint before it, nor does the end of the run."""
    run = series(folder=tmp_path, checkpoint_every=every, max_norm=1.0,
                 schedule=lambda progress: 1e38 if progress > 0.9 else 0.01)  # fmt: skip
    run.optimizer.weight_decay = 1e3
    run.save()
    with pytest.raises(TrainingDiverged, match="the parameter 0.weight_ih_l0 is not finite after step 10; try a smaller"):
        run.run()
    kept = fr.load(tmp_path / "last.safetensors")
    assert all(np.isfinite(array).all() for array in kept.parameters.values())


# ---------------------------------------------------------------- bad calls


def noted():
    run = series()
    run.notes["seen"] = {1, 2}
    run.save("never written")


def bad(**options):
    return lambda: series(**options)


LAYER = fr.GRU(3, 4, rng=0)
SGD = fr.optim.SGD(LAYER)
GOOD = Sequences(*ragged(4), 2, rng=0)
REFUSED = {
    "model": (lambda: fr.Trainer(3, SGD, GOOD, epochs=1), TypeError, "model: expected a module"),
    "optimizer": (lambda: fr.Trainer(LAYER, 0.1, GOOD, epochs=1), TypeError, "optimizer: expected an optimiser"),
    "data": (lambda: fr.Trainer(LAYER, SGD, [1, 2], epochs=1), TypeError, "data: expected a source of data"),
    "no data": (lambda: fr.Trainer(LAYER, SGD, type("E", (Source,), {"__len__": lambda self: 0})(), epochs=1), ValueError,
                "data: expected at least one step"),
    "loss": (lambda: fr.Trainer(LAYER, SGD, GOOD, loss="mse", epochs=1), TypeError, "loss: expected a function"),
    "valid": (bad(valid=3), TypeError, "valid: expected a source"),
    "length": (bad(epochs=None), ValueError, "epochs, steps or seconds"),
    "both": (bad(steps=3), ValueError, "epochs: expected None with steps = 3, got 2"),
    "epochs": (bad(epochs=-1), ValueError, "epochs"),
    "steps": (bad(epochs=None, steps=1.5), TypeError, "steps"),
    "seconds": (bad(seconds=0), ValueError, "seconds"),
    "validate_every": (bad(validate_every=-1), ValueError, "validate_every"),
    "patience": (bad(patience=0), ValueError, "patience"),
    "schedule": (bad(schedule=0.1), TypeError, "schedule: expected a schedule"),
    "another's": (bad(schedule=fr.optim.StepLR(SGD, 2)), ValueError, "schedule: expected one of the optimizer given"),
    "max_norm": (bad(max_norm=0), ValueError, "max_norm"),
    "clip_value": (bad(clip_value=-1), ValueError, "clip_value"),
    "folder": (bad(folder=3), TypeError, "folder"),
    "checkpoint_every": (bad(checkpoint_every="5"), TypeError, "checkpoint_every"),
    "callbacks": (bad(callbacks=[3]), TypeError, "callbacks: expected functions"),
    "rng": (bad(rng="x"), TypeError, "rng"),
    "layout": (lambda: fr.Trainer(LAYER, SGD, Sequences(*ragged(4), 2, batch_first=True, rng=0), epochs=1), ValueError,
               "data: expected time first, .* got the batch first"),
    "layout of the layer": (lambda: fr.Trainer(fr.GRU(3, 4, batch_first=True), SGD, GOOD, epochs=1), ValueError,
                            "data: expected the batch first"),
    "no way back": (lambda: fr.Trainer(fr.GRU(3, 4, bidirectional=True), SGD, Streams(np.ones((9, 3)), np.ones(9), 1, 3),
                                       epochs=1), ValueError, "bidirectional"),
    "notes": (lambda: noted(), TypeError, "notes: expected JSON values, got an object of type set"),
    "path": (lambda: series().save(), ValueError, "path: expected a path, as the trainer has no folder"),
    "warmup": (lambda: warmup_cosine(1.0, warmup=2), ValueError, "warmup"),
    "short text": (lambda: TextStreams(np.arange(11), 3, 3), ValueError, "codes: expected at least 3 x 4 = 12 .*got 11"),
    "no batch": (lambda: TextStreams(np.arange(9), 0, 3), ValueError, "batch_size"),
    "codes": (lambda: TextStreams(np.ones(9), 1, 3), TypeError, "codes"),
    "codes in rows": (lambda: TextStreams(np.ones((9, 2), int), 1, 3), ValueError, r"codes: .*\(N,\)"),
    "short series": (lambda: Streams(np.ones(8), np.ones(8), 3, 3), ValueError, "inputs: expected at least 3 x 3"),
    "series": (lambda: Streams(np.ones(9), np.ones(8), 3, 3), ValueError, "targets: expected as many as inputs"),
    "kind": (lambda: Sequences([[1]], [[1]], 1, kind="steps"), ValueError, "kind"),
    "no sequences": (lambda: Sequences([], [], 1), ValueError, "at least one"),
    "text": (lambda: Sequences("abc", [1, 2, 3], 1), TypeError, "inputs: expected a list of arrays"),
    "other number": (lambda: Sequences([[1], [2]], [[1]], 1), ValueError, "got 1 for 2"),
    "empty": (lambda: Sequences([[1], []], [[1], []], 1), ValueError, r"inputs\[1\]: expected .*T >= 1"),
    "width": (lambda: Sequences([np.ones((2, 3)), np.ones((2, 2))], [[1, 1], [1, 1]], 1), ValueError, r"inputs\[1\]: .*\(T >= 1, 3\)"),
    "steps of targets": (lambda: Sequences([[1, 2]], [[1]], 1), ValueError, r"targets\[0\]: expected one for each of 2 steps"),
    "shape of targets": (lambda: Sequences([[1], [2]], [[1], [[2, 3]]], 1), ValueError, r"targets\[1\]: expected the shape of the others"),
    "labels": (lambda: Sequences([[1]], [3], 1, kind="labels"), ValueError, r"targets\[0\]: expected a list of classes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()
