"""The training loop: what it computes at a step, when it validates and stops."""

import math

import numpy as np
import pytest
from runs import RUNS, TEXT, Tagger, adaptive, language, own_model, parameters_of, ragged, sequences, series, small_model
from tolerance import assert_close, assert_same_bits

import fastrnn as fr
from fastrnn.training import Sequences, Streams, warmup_cosine

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


def test_a_layer_alone_and_an_object():
    """Both are models; those without parameters of their own to save have none forgotten."""
    for run in (own_model(), adaptive()):
        before = run.evaluate(run.data)
        run.run()
        assert run.evaluate(run.data) < before
    names = set(parameters_of(Tagger()))
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
    norms = set()
    for options in ({}, {"clip_value": 0.01}, {"max_norm": 0.05}, {"clip_value": 0.01, "max_norm": 0.05}):
        run = series(steps=1, epochs=None, schedule=None, **options)
        run.run()
        gradients = np.concatenate([g.ravel() for g in run.model.grads.values()])
        norms.add(run.history["gradient_norm"][0])
        assert (abs(gradients).max() <= 0.01 * (1 + 1e-6)) == ("clip_value" in options)
        assert (np.linalg.norm(gradients) <= 0.05 * (1 + 1e-6)) == ("max_norm" in options)
    assert len(norms) == 1 and norms.pop() > 0.05


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


def test_a_clock_that_runs_out_between_steps(tmp_path):
    """After the checkpoint of the last step: what is then measured is in the last one, too."""
    run = language(steps=None, seconds=1e6, valid=lambda model: 0.5, validate_every=0, checkpoint_every=1, folder=tmp_path)
    save = run.save

    def late(path=None):
        save(path)
        run.seconds = 1e-9 if run.step == 3 else run.seconds

    run.save = late
    run.run()
    assert run.history["step"].tolist() == [3]
    twin = language(steps=None, seconds=1e6, valid=lambda model: 0.5)
    twin.resume(tmp_path / "last.safetensors")
    assert twin.history["valid_loss"].tolist() == [0.5] and twin.best == 0.5


def test_validate_before_a_run():
    run = sequences()
    loss = run.validate()
    assert loss == run.best == run.evaluate(run.valid) and run.elapsed == 0 and run.history["step"].tolist() == [0]


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
