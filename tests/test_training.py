"""The training loop: what it computes at a step, when it validates and stops, what it says."""

import json
import math
import sys

import numpy as np
import pytest
from runs import RUNS, TEXT, Tagger, adaptive, language, own_model, ragged, sequences, series, small_model
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.models import LanguageModel
from fastrnn.training import (
    History,
    Sequences,
    Source,
    Streams,
    TextStreams,
    TrainingDiverged,
    plot_history,
    progress_display,
    warmup_cosine,
)


def parameters_of(model):
    """Copies by name."""
    return {name: leaf._views[own].copy() for name, (leaf, own) in _places(model).items()}


def _places(model):
    from fastrnn.training.calls import named, parts

    return named(parts(model))


# ---------------------------------------------------------------- a step


def test_text_streams_as_by_hand():
    """Windows one after the other, the state of one before the next, none before an epoch: to the bit."""
    run, model = language(steps=10), small_model(0, dropout=0.3)
    run.run()
    data, optimizer = run.data, fr.optim.Adam(model.modules, lr=0.02)
    state, losses = None, []
    for step in range(10):
        batch = data.batch(step)
        logits, state, pullback = model.vjp(batch.x, None if step % 8 == 0 else state)
        loss, gradient = fr.losses.cross_entropy(logits, batch.target)
        optimizer.zero_grad()
        pullback(gradient)
        fr.optim.clip_grad_norm(model.modules, 5.0)
        optimizer.lr = warmup_cosine(0.02)((step + 0.5) / 10)
        optimizer.step()
        losses.append(float(loss))
    assert run.history["loss"].tolist() == losses and run.seen == 10 * 48
    for name, array in model.parameters.items():
        assert_same_bits(name, run.model.parameters[name], array)


def test_states_through_a_sequential():
    """Carried through its layers as by hand, in training and in validation."""
    first, second, head = fr.GRU(2, 4, rng=0), fr.LSTM(4, 5, rng=0), fr.Linear(5, 1, rng=0)
    x = np.random.default_rng(5).standard_normal((40, 2))
    data = Streams(x, x[:, :1], batch_size=2, seq_length=4)
    model = fr.Sequential(first, fr.Sequential(second, head))
    run = fr.Trainer(model, fr.optim.SGD(model, lr=0.1), data, loss=fr.losses.mse_loss, steps=4, valid=data)
    modules = [fr.GRU(2, 4, rng=0), fr.LSTM(4, 5, rng=0), fr.Linear(5, 1, rng=0)]
    optimizer, h, hc = fr.optim.SGD(modules, lr=0.1), None, None
    for step in range(4):
        batch = data.batch(step)
        y, h, to_first = modules[0].vjp(batch.x, h)
        z, hc, to_second = modules[1].vjp(y, hc)
        out, to_head = modules[2].vjp(z)
        optimizer.zero_grad()
        to_first(to_second(to_head(fr.losses.mse_loss(out, batch.target)[1]))[0])
        optimizer.step()
    run.run()
    for ours, theirs in zip((first, second, head), modules):
        for name, array in theirs.parameters.items():
            assert_same_bits(name, ours.parameters[name], array)
    whole = [np.concatenate([getattr(data.batch(i), part) for i in range(5)]) for part in ("x", "target")]
    expected = fr.losses.mse_loss(head(second(first(whole[0])[0])[0]), whole[1])[0]
    assert run.evaluate(data) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
def test_ragged_steps_as_one_by_one(batch_first):
    """Padding counts nothing: the gradient of a batch is that of its sequences, each alone."""
    inputs, targets = ragged()
    layer = fr.LSTM(3, 5, bidirectional=True, batch_first=batch_first, dtype="float64", rng=0)
    model = fr.Sequential(layer, fr.Linear(10, 1, dtype="float64", rng=0))
    data = Sequences(inputs, targets, len(inputs), batch_first=batch_first, rng=0)
    run = fr.Trainer(model, fr.optim.SGD(model, lr=0.0), data, loss=fr.losses.mse_loss, steps=1)
    run.run()
    found = {name: gradient.copy() for name, gradient in model.grads.items()}
    model.zero_grad()
    total = 0.0
    for x, target in zip(inputs, targets):
        axis = 0 if batch_first else 1
        y, pullback = model.vjp(np.expand_dims(x, axis))
        value, gradient = fr.losses.mse_loss(y, np.expand_dims(target, axis), reduction="sum")
        pullback(gradient / sum(map(len, inputs)))
        total += float(value) / sum(map(len, inputs))
    assert run.history["loss"][0] == pytest.approx(total, rel=1e-12)
    for name, gradient in model.grads.items():
        assert_close(name, found[name], gradient, "gradient")


def test_kinds_of_targets():
    """Outputs and targets as the loss sees them."""
    inputs, _ = ragged(5)
    seen = []

    def loss(output, target):
        seen.append((output, target))
        return 1.0, np.zeros_like(output)

    layer = fr.GRU(3, 4, rng=0)
    for kind, targets in (("last", range(5)), ("whole", range(5)), ("labels", [[1, 2], [3], [1], [2, 1, 1], []])):
        data = Sequences(inputs, targets, 5, kind=kind, shuffle=False)
        fr.Trainer(layer, fr.optim.SGD(layer), data, loss=loss, steps=1).run()
    order = np.argsort([len(x) for x in inputs], kind="stable")
    (last, classes), (whole, same), (output, (labels, lengths, counts)) = seen
    assert whole.shape == output.shape == (len(inputs[order[-1]]), 5, 4)
    assert classes.tolist() == same.tolist() == order.tolist()
    for row, i in enumerate(order):
        assert_same_bits("last", last[row], layer(inputs[i])[0][-1])
    expected = [[1, 2], [3], [1], [2, 1, 1], []]
    assert [row[:n].tolist() for row, n in zip(labels, counts)] == [expected[i] for i in order]
    assert lengths.tolist() == [len(inputs[i]) for i in order]


def test_labels_are_what_ctc_takes():
    """Learns to spell three labels, through a softmax of the caller's."""

    def loss(logits, target):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        value, gradient = fr.losses.ctc_loss(log_probs, *target)
        return value, gradient - np.exp(log_probs) * gradient.sum(axis=-1, keepdims=True)

    rng = np.random.default_rng(0)
    labels = [rng.integers(1, 4, 3) for _ in range(32)]
    inputs = [np.repeat(np.eye(4)[label], 3, axis=0) for label in labels]
    model = fr.Sequential(fr.GRU(4, 16, rng=0), fr.Linear(16, 4, rng=1))
    data = Sequences(inputs, labels, 8, kind="labels", rng=0)
    run = fr.Trainer(model, fr.optim.Adam(model, lr=0.02), data, loss=loss, epochs=30)
    run.run()
    assert run.history["loss"][-4:].mean() < 0.1 * run.history["loss"][0]


def test_a_layer_alone_and_an_object():
    """Both are models; those without parameters of their own to save have none forgotten."""
    for run in (own_model(), adaptive()):
        before = run.evaluate(run.data)
        run.run()
        assert run.evaluate(run.data) < before
    names = set(_places(Tagger()))
    assert {"heads.0.weight", "heads.1.bias", "layer.weight_hh_l1_reverse"} <= names and len(names) == 20


def test_a_language_model_on_ragged_data():
    """Sentences: it takes no lengths, and needs none, as nothing comes back from the padding."""
    model = small_model()
    texts = [model.vocabulary.encode(TEXT[:n]) for n in (5, 9, 20, 14)]
    data = Sequences([t[:-1] for t in texts], [t[1:] for t in texts], 2, rng=0)
    run = fr.Trainer(model, fr.optim.Adam(model.modules, lr=0.02), data, epochs=40)
    run.run()
    assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]


def test_clipping():
    """By value first, then by norm; the norm noted is that before."""
    for options in ({}, {"clip_value": 0.01}, {"max_norm": 0.05}, {"clip_value": 0.01, "max_norm": 0.05}):
        run = series(steps=1, epochs=None, schedule=None, **options)
        run.run()
        gradients = np.concatenate([g.ravel() for g in run.model.grads.values()])
        assert run.history["gradient_norm"][0] > 0.05
        assert (abs(gradients).max() <= 0.01 * (1 + 1e-6)) == ("clip_value" in options)
        assert (np.linalg.norm(gradients) <= 0.05 * (1 + 1e-6)) == ("max_norm" in options)


# ---------------------------------------------------------------- schedules, validation, stopping


def test_schedule_by_steps():
    run = series(epochs=None, steps=6, schedule=None)
    run.optimizer.lr = 0.05
    run.schedule = fr.optim.StepLR(run.optimizer, 2, gamma=0.5)
    run.run()
    assert run.history["learning_rate"].tolist() == [0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125]


def test_schedule_by_progress():
    rate = warmup_cosine(2.0, warmup=0.1)
    rates = [rate(progress) for progress in np.linspace(0, 1, 101)]
    assert rates[0] == 0 and rates[10] == 2.0 and rates[100] == 0
    assert all(np.diff(rates[:11]) > 0) and all(np.diff(rates[10:]) < 0)
    assert warmup_cosine(1.0, 0)(0) == warmup_cosine(1.0, 1)(1) == 1


def test_plateau_early_stopping_and_the_best(tmp_path):
    """By validations whose losses are given: the rate falls, the best is kept, and then there is an end."""
    losses = iter([5.0, 3.0, 4.0, math.nan, 2.0, 2.5, 2.25, 9.0, 1.0])
    marks = {}

    def valid(model):
        loss = next(losses)
        marks[loss] = parameters_of(model)
        return loss

    run = sequences(epochs=99, valid=valid, patience=3, folder=tmp_path / "new" / "folder")
    run.run()
    assert run.stopped_early and run.done and run.best == 2.0 and run.valid_loss == 9.0 and run.bad == 3
    assert run.step == 16 == run.history["step"][-1]
    assert run.history["valid_loss"].tolist()[:3] == [5.0, 3.0, 4.0] and math.isnan(run.history["valid_loss"][3])
    assert run.optimizer.lr == 0.5 / 2**5  # after each that was no better
    best = fr.load(tmp_path / "new" / "folder" / "best.safetensors")
    for name, array in marks[2.0].items():
        assert_same_bits(name, best.parameters[name], array)
    run.run()  # does nothing
    assert run.step == 16


def test_when_it_validates():
    """Every so many steps, and at the end; by default every epoch; with 0 when asked."""
    for every, expected in ((3, [3, 6, 9, 11]), (None, [8, 11]), (0, [11])):
        run = language(validate_every=every, valid=lambda model: 1.0)
        said = []
        run.callbacks.append(lambda run, said=said: said.append(run.validated))
        run.run()
        assert run.history["step"].tolist() == expected
        assert np.flatnonzero(said).tolist() == [step - 1 for step in expected]
        assert run.history["seen"].tolist() == [48 * step for step in expected]
    means = [run.history["loss"][:3].mean(), run.history["loss"][3:].mean()]
    asked = language(callbacks=[lambda run: run.validate() if run.step == 3 else None])
    asked.run()
    assert asked.history["train_loss"][:1].tolist() == means[:1] and "valid_loss" not in asked.history
    assert asked.best == asked.history["train_loss"].min()


@pytest.mark.parametrize("name", RUNS)
def test_evaluation_changes_nothing(name):
    run, other = RUNS[name](), RUNS[name]()
    if name == "sequences":
        run.patience = other.patience = None
    run.callbacks.append(lambda run: run.evaluate(run.data))
    run.run()
    other.run()
    for key, array in parameters_of(run.model).items():
        assert_same_bits(key, array, parameters_of(other.model)[key])
    assert run.history["loss"].tolist() == other.history["loss"].tolist()


def test_stopping_and_seconds():
    run = language(callbacks=[lambda run: setattr(run, "stopping", run.step == 3)])
    run.run()
    assert run.step == 3 and run.seen == 3 * 48 and not run.done
    run.stopping = False
    run.callbacks.clear()
    run.run()
    assert run.step == 11 and run.done
    timed = language(steps=10**6, seconds=0.2, valid=lambda model: 0.5)
    timed.run()
    assert 0 < timed.step < 10**6 and timed.progress == 1 and 0.2 <= timed.elapsed < 5
    assert timed.optimizer.lr < 0.01 and timed.history["step"][-1] == timed.step
    alone = language(steps=None, seconds=0.05)
    alone.run()
    assert alone.progress == 1 and alone.step > 0
    nothing = language(steps=0)
    nothing.run()
    assert nothing.step == 0 and nothing.done and nothing.loss is None


def test_seeds():
    """One seed for masks and order: the same run; another: another."""

    def losses(seed):
        run = sequences(rng=seed)
        run.run()
        return run.history["loss"].tolist()

    assert losses(1) == losses(1) != losses(2)


# ---------------------------------------------------------------- divergence


def everything(run):
    state = run.optimizer.state_dict()
    generators = [leaf.rng.bit_generator.state for leaf in run._leaves if leaf.__dict__.get("_rng") is not None]
    arrays = {**parameters_of(run.model), **state.pop("buffers")}
    rest = (state, generators, dict(run.history), run.step, run.seen, run.loss, run.optimizer.lr, run.schedule and repr(run.schedule))
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
    for options in ({"clip_value": 1.0}, {"max_norm": 1.0}):
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
    run = series(folder=tmp_path, checkpoint_every=every, schedule=lambda progress: 1e38 if progress > 0.9 else 0.01, max_norm=1.0)
    run.optimizer.weight_decay = 1e3
    run.save()
    with pytest.raises(TrainingDiverged, match="the parameter 0.weight_ih_l0 is not finite after step 10; try a smaller"):
        run.run()
    kept = fr.load(tmp_path / "last.safetensors")
    assert all(np.isfinite(array).all() for array in kept.parameters.values())


# ---------------------------------------------------------------- data


def test_streams_carry_on():
    streams = TextStreams(np.arange(103), batch_size=4, seq_length=5)
    assert len(streams) == 4  # rows of 25: 24 inputs that have a target
    x = np.concatenate([streams.batch(step).x for step in range(4)])
    y = np.concatenate([streams.batch(step).target for step in range(4)])
    assert (x == np.arange(20)[:, None] + 25 * np.arange(4)).all() and (y == x + 1).all()
    assert [streams.batch(step).first for step in range(5)] == [True, False, False, False, True]
    series = Streams(np.arange(20)[:, None], np.arange(20), batch_size=2, seq_length=5)
    assert len(series) == 2 and series.batch(1).x[:, :, 0].T.tolist() == [[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]]


@pytest.mark.parametrize("batch_size", [1, 4, 7, 500])
def test_sequences_are_all_there(batch_size):
    """Each once an epoch, whole; of similar lengths; in another order in each epoch, the same for a seed."""
    inputs = [np.arange(1, length + 1) * 1000 + i for i, length in enumerate(np.random.default_rng(0).integers(1, 90, 450))]
    data, twin = (Sequences(inputs, [x + 1 for x in inputs], batch_size, rng=3) for _ in range(2))
    orders, steps = [], len(data)
    for epoch in range(2):
        order, padding, longest = [], 0, []
        for step in range(steps):
            batch, same = data.batch(epoch * steps + step), twin.batch(epoch * steps + step)
            assert_same_bits("x", batch.x, same.x)
            columns = [batch.x[:length, b] for b, length in enumerate(batch.lengths)]
            assert batch.target.tolist() == (batch.x + 1)[batch.select].tolist() and len(batch.target) == batch.size
            assert not batch.x[~batch.select].any() and batch.size == batch.lengths.sum()
            longest.append(batch.lengths.max())
            order += [int(column[0]) % 1000 for column in columns]
            for i, column in zip(order[-len(columns) :], columns):
                assert column.tolist() == inputs[i].tolist()
            padding += batch.x.size - batch.size
        assert sorted(order) == list(range(450))
        assert padding < 0.05 * sum(map(len, inputs)) or batch_size == 500
        assert (np.diff(longest) < 0).any() or steps == 1
        orders.append(order)
    assert orders[0] != orders[1]
    back = data.batch(0)  # any step at any time
    assert_same_bits("x", back.x, twin.batch(0).x)
    fixed = Sequences(inputs, inputs, batch_size, shuffle=False)
    assert [fixed.batch(i).lengths.tolist() for i in range(steps)] == [fixed.batch(i + steps).lengths.tolist() for i in range(steps)]


def test_a_source_of_ones_own():
    """A length and batches are enough."""

    class Random:
        def __len__(self):
            return 3

        def batch(self, step):
            x = np.random.default_rng(step).standard_normal((5, 2, 3))
            return fr.training.Batch(x, x[..., :1])

    model = fr.Sequential(fr.GRU(3, 4, rng=0), fr.Linear(4, 1, rng=0))
    run = fr.Trainer(model, fr.optim.Adam(model), Random(), loss=fr.losses.mse_loss, epochs=2, rng=0)
    run.run()
    assert run.step == run.seen == 6 and run.evaluate(Random()) < 2
    for method in ("__len__", "batch"):
        with pytest.raises(NotImplementedError):
            getattr(Source(), method)(*[0] * (method == "batch"))


# ---------------------------------------------------------------- what is shown and written


def test_history(tmp_path):
    history = History({"loss": [1.0, 2.0]})
    history.add(loss=3, other=math.nan)
    assert history["loss"].tolist() == [1, 2, 3] and len(history) == 2 and repr(history) == "History(loss: 3, other: 1)"
    history["loss"][0] = 9  # a copy
    assert history.last("loss", 2).tolist() == [2, 3] and history.last("loss")[0] == 1 and not history.last("none").size
    for _ in range(97):
        history.add(loss=4)
    history.write(tmp_path / "history.json", most=50, epochs=3)
    written = json.loads((tmp_path / "history.json").read_text())
    assert written["loss"][:3] == [1.5, 3.5, 4.0] and len(written["loss"]) == 50 and written["steps_per_row"] == 2
    assert written["other"] == [None] and written["epochs"] == 3
    with pytest.raises(KeyError, match="nothing"):
        history["nothing"]


def test_curves(tmp_path):
    pytest.importorskip("matplotlib")
    for name, run in (("with", sequences()), ("without", language()), ("none", language(steps=0))):
        run.run()
        plot_history(run.history, tmp_path / name, baseline=(1.0, "a guess") if name == "with" else None)
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_lines(capsys):
    """Without a terminal: a line for each validation; nothing unless it is asked for."""
    language(valid=lambda model: 0.5).run()
    assert capsys.readouterr().err == ""
    language(valid=lambda model: 0.5, progress=progress_display(measure="bits/char", scale=2)).run()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "\r" not in "".join(lines)
    assert lines[1].startswith("100%          528 characters  ") and "  1.000 bits/char held out  " in lines[1]
    assert lines[1].endswith(" chars/s  0:00 left")
    sequences(progress=True).run()
    assert "targets/s" in capsys.readouterr().err
    language(progress=False).run()
    assert capsys.readouterr().err == ""


def test_not_loaded_before_it_is_used():
    import subprocess

    code = "import sys, fastrnn; assert 'fastrnn.training' not in sys.modules; fastrnn.Trainer; fastrnn.training.History"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_are_models(tmp_path):
    """What is kept in the folder can be loaded as a model."""
    run = language(folder=tmp_path)
    run.run()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.safetensors", "last.safetensors"]
    for load in (LanguageModel.load, fr.load):
        assert_same_bits("head", load(tmp_path / "last.safetensors").parameters["head.bias"], run.model.parameters["head.bias"])
    run = series(folder=tmp_path)
    run.run()
    again = fr.load(tmp_path / "last.safetensors")
    assert_same_bits("bias", again.parameters["1.2.bias"], run.model.parameters["1.2.bias"])
    assert repr(run) == "Trainer(Sequential, step 10 of 10)"


# ---------------------------------------------------------------- bad calls


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
