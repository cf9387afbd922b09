"""``Trainer``: the training loop.

Imports the losses, the optimisers, ``_validate`` and the other modules of this package.
"""

import math
import os
import sys
import time


from .. import _validate
from ..files import remove_leftovers
from ..losses import cross_entropy
from ..optim import Optimizer, ReduceOnPlateau, Schedule, clip_grad_norm, clip_grad_value
from ..params import Module
from . import checkpoints
from .calls import Caller, leaves, named, parts, spread
from .divergence import explained, overflowed
from .history import History
from .progress import display_for

LAST, BEST = "last.safetensors", "best.safetensors"


class Trainer:
    """Trains a model: the loop, validation, checkpoints from which it goes on exactly, early stopping.

    Parameters
    ----------
    model : Module, LanguageModel or object
        With ``__call__`` and ``vjp`` as modules or ``LanguageModel`` have them; an object's attributes are its modules.
    optimizer : Optimizer
        Over the model's modules.
    data : TextStreams, Streams, Sequences or another source
        What is trained on. A source that carries states also does it through the layers of a ``Sequential``.
    loss : callable
        ``loss(output, target) -> (value, gradient)``, the mean over the targets, like those of ``fr.losses``; or a
        module such as ``AdaptiveSoftmax``, to whose parameters the optimiser then is given too.
    epochs, steps : int, optional
        How long; one of them, or ``seconds``.
    seconds : float, optional
        Stop after this time at the latest; progress then follows the clock if that is ahead.
    valid : source or callable, optional
        Held-out data, whose mean loss is taken by plain calls; or a function of the model that returns a number, of
        which less is better. Without it the mean training loss takes its place.
    validate_every : int, optional
        Steps; by default an epoch. 0: only when ``validate`` is called. The last step is always followed by one.
    patience : int, optional
        Stop early: after so many validations in a row none of which was better than the best before.
    schedule : Schedule or callable, optional
        Of ``fr.optim``, stepped after every step (``ReduceOnPlateau``: at every validation, by its loss); or a function
        progress in [0, 1] -> learning rate, such as ``warmup_cosine(peak)``.
    max_norm, clip_value : float, optional
        Gradients are limited to this value each, then scaled down to this norm together.
    folder : str or path-like, optional
        Where ``last.safetensors`` and ``best.safetensors`` are kept.
    checkpoint_every : int, optional
        Steps between two checkpoints; by default one after each validation. There is always one at the end.
    callbacks : iterable of callable
        Called with the trainer after every step.
    progress : bool or display, optional
        True: a bar on a terminal that has tqdm, lines elsewhere. None: nothing but the bar.
    rng : int or numpy.random.Generator, optional
        Seeds what is drawn while training: masks of dropout, the order of the data.

    Attributes
    ----------
    step, epoch, saved : int
        Steps taken; the number of the epoch that the next one is in, from 0; the step of the last checkpoint.
    seen : int
        Targets trained on.
    elapsed : float
        Seconds spent in ``run``, over all resumed runs.
    loss : float
        Training loss, averaged over about the last 50 steps.
    valid_loss, best : float
        The last validation's and the best; None before the first.
    validated : bool
        Whether the step just taken was followed by a validation; for callbacks.
    history : History
        Numbers by name, as arrays: ``trainer.history["loss"]``.
    notes : dict
        JSON values of one's own, kept in checkpoints.
    stopping : bool
        Set it (in a callback, a signal handler, another thread) and ``run`` returns after the step it is at.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit.

    Examples
    --------
    >>> import numpy as np, fastrnn as fr
    >>> from fastrnn.training import Sequences
    >>> rng = np.random.default_rng(0)
    >>> inputs = [rng.standard_normal((length, 1)) for length in rng.integers(5, 30, 64)]
    >>> data = Sequences(inputs, [x.cumsum(axis=0) for x in inputs], batch_size=16)
    >>> model = fr.Sequential(fr.GRU(1, 16, rng=1), fr.Linear(16, 1, rng=2))
    >>> trainer = fr.Trainer(model, fr.optim.Adam(model, lr=0.01), data, loss=fr.losses.mse_loss, epochs=20, rng=0)
    >>> trainer.run()
    >>> trainer.step, bool(trainer.history["loss"][-1] < 0.2 * trainer.history["loss"][0])
    (80, True)
    """

    def __init__(self, model, optimizer, data, *, loss=cross_entropy, epochs=None, steps=None, seconds=None, valid=None,
                 validate_every=None, patience=None, schedule=None, max_norm=None, clip_value=None, folder=None,
                 checkpoint_every=None, callbacks=(), progress=None, rng=None):  # fmt: skip
        self.model = _validate.trainable(model)
        self.optimizer = _validate.instance(optimizer, Optimizer, "optimizer", "an optimiser")
        self.data, self.valid = _validate.source(data), _validate.valid_data(valid)
        self._loss_function = _validate.loss_function(loss)
        self.seconds = _validate.optional_positive(seconds, "seconds")
        epochs, self.steps = _validate.length_of_run(epochs, steps, self.seconds)
        if epochs is not None:
            self.steps = epochs * len(data)
        self.epochs = epochs
        self.validate_every = _or(validate_every, len(data), "validate_every")
        self.patience = None if patience is None else _validate.positive_int(patience, "patience")
        self.schedule = _validate.schedule(schedule, Schedule)
        if isinstance(schedule, Schedule):
            _validate.schedule_of(schedule, optimizer)
        self.max_norm = _validate.optional_positive(max_norm, "max_norm")
        self.clip_value = _validate.optional_positive(clip_value, "clip_value")
        self.folder = None if folder is None else _validate.path(folder, "folder")
        self.checkpoint_every = _or(checkpoint_every, 0, "checkpoint_every")
        self.callbacks = _validate.callback_list(callbacks)
        self._look_at_the_model(model, loss)
        if rng is not None:
            self._seed(_validate.generator(rng))
        self._display = display_for(progress)
        self.step, self.seen, self.elapsed = 0, 0, 0.0
        self.loss = self.valid_loss = self.best = None
        self.bad = 0  # validations since the best
        self.state, self.history, self.notes = None, History(), {}
        self.validated = self.stopping = False
        self._validated_at = self.saved = 0
        self._last_tick = None  # while nothing runs

    def _look_at_the_model(self, model, loss):
        own = parts(model)
        of_loss = {"loss": loss} if isinstance(loss, Module) else {}
        self._leaves = leaves([*own.values(), *of_loss.values()])
        self._parameters, self._loss_parameters = named(own), named(of_loss)
        layers = [leaf for leaf in self._leaves if leaf._recurrent]
        for data, name in ((self.data, "data"), (self.valid, "valid")):
            if hasattr(data, "batch"):
                _validate.layout(data, layers, name)
        self._caller = Caller(model)

    def _seed(self, generator):
        for leaf in self._leaves:
            if hasattr(leaf, "_rng"):
                leaf.rng = generator
        if hasattr(self.data, "seed"):
            self.data.seed(generator)

    # -- how far it is ------------------------------------------------------------------------

    @property
    def progress(self):
        """The part of the run that is done, in [0, 1]."""
        done = 0.0 if self.steps is None else self.step / self.steps if self.steps else 1.0
        return min(1.0, max(done, self.elapsed / self.seconds if self.seconds else 0.0))

    @property
    def epoch(self):
        """The number of the epoch that the next step is in, from 0."""
        return self.step // len(self.data)

    @property
    def stopped_early(self):
        """Whether patience has run out."""
        return self.patience is not None and self.bad >= self.patience

    @property
    def done(self):
        """Whether there is nothing left to do."""
        return self.progress >= 1 or self.stopped_early

    def _tick(self):
        if self._last_tick is not None:
            now = time.monotonic()
            self.elapsed, self._last_tick = self.elapsed + now - self._last_tick, now

    # -- the loop -----------------------------------------------------------------------------

    def run(self):
        """Train until the steps or the seconds are used up, patience has run out, or somebody sets ``stopping``.

        Raises
        ------
        TrainingDiverged
            If the loss or a gradient is NaN or infinite: at which step and in which parameter. Weights, optimiser,
            schedule, generators and history are those before that step. Also if a parameter is, when a checkpoint is
            to be written: the one before stays.
        OSError
            If a checkpoint cannot be written; it names the file, and the one before is intact.
        """
        self._prepare_folder()
        self._last_tick = time.monotonic()
        try:
            self._run()
        finally:
            self._last_tick = None

    def _run(self):
        begin = self.step
        with self._display:
            while not self.done and not self.stopping:
                self._train_step()
                self._tick()
                self.validated = False
                if self.progress >= 1 or self.validate_every and self.step % self.validate_every == 0:
                    self.validate()
                for callback in self.callbacks:
                    self._tick()
                    callback(self)
                self._tick()
                self._display.at(self)
                self._checkpoint_if_due()
            late = self.done and begin < self.step != self._validated_at  # the time was up between two steps
            if late:
                self.validate()
        if self.folder is not None and (late or self.saved != self.step):
            self._save_if_finite()

    def _prepare_folder(self):
        if self.folder is not None:
            os.makedirs(self.folder, exist_ok=True)
            for name in (LAST, BEST):
                remove_leftovers(os.path.join(self.folder, name))

    def _checkpoint_if_due(self):
        due = self.step % self.checkpoint_every == 0 if self.checkpoint_every else self.validated
        if self.folder is not None and due:
            self._save_if_finite()
            self._tick()

    def _save_if_finite(self):
        """A step may have overflowed: that is not to take the place of a good checkpoint."""
        error = overflowed(self.step, self._parameters | self._loss_parameters)
        if error is not None:
            raise error
        self.save()

    def _train_step(self):
        batch = self.data.batch(self.step)
        before = checkpoints.generator_states(self._leaves)
        output, state, pullback = self._caller.vjp(batch, self.state)
        self.optimizer.zero_grad()
        value, gradient = self._loss_of(output, batch, training=True)
        norm = math.nan
        if math.isfinite(value):
            pullback(spread(gradient(), output, batch.select))
            norm = self._clip()
        if not math.isfinite(norm):
            checkpoints.rewind_generators(self._leaves, before)
            raise explained(self.step + 1, self.epoch + 1, value, self._loss_parameters | self._parameters, batch)
        if self.schedule is not None and not isinstance(self.schedule, Schedule):
            # Of the middle of the step, so that neither the first nor the last has rate 0.
            self.optimizer.lr = self.schedule(min(1.0, self.progress + (0.5 / self.steps if self.steps else 0.0)))
        self.history.add(loss=value, learning_rate=self.optimizer.lr, gradient_norm=norm)
        self.optimizer.step()
        if isinstance(self.schedule, Schedule) and not isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.step()
        self.state, self.step, self.seen = state, self.step + 1, self.seen + batch.size
        weight = max(0.02, 1 / self.step)
        self.loss = value if self.loss is None else (1 - weight) * self.loss + weight * value

    def _loss_of(self, output, batch, training):
        """The value, and a function that gives the gradient with respect to ``output[batch.select]``."""
        rows = output if batch.select is None else output[batch.select]
        if not self._loss_parameters:
            value, gradient = self._loss_function(rows, batch.target)
            return float(value), lambda: gradient
        if training:
            value, pullback = self._loss_function.vjp(rows, batch.target)
            return float(value), pullback
        return float(self._loss_function(rows, batch.target)), None

    def _clip(self):
        """Limit the gradients; their norm before that, of which NaN and infinities are seen."""
        modules, unlimited = self.optimizer._leaves, sys.float_info.max
        if self.clip_value is None:
            return clip_grad_norm(modules, self.max_norm or unlimited)
        norm = clip_grad_norm(modules, unlimited)
        clip_grad_value(modules, self.clip_value)
        if self.max_norm is not None:
            clip_grad_norm(modules, self.max_norm)
        return norm

    # -- validation ---------------------------------------------------------------------------

    def evaluate(self, data):
        """The mean loss over a source of data, by plain calls: no dropout, nothing is changed.

        Parameters
        ----------
        data : source
            One epoch of it is read.

        Returns
        -------
        float
        """
        state, total, count = None, 0.0, 0
        for number in range(len(_validate.source(data))):
            batch = data.batch(number)
            output, state = self._caller.forward(batch, state)
            total += self._loss_of(output, batch, training=False)[0] * batch.size
            count += batch.size
        return total / count

    def validate(self):
        """Measure the held-out data now, note it in the history, keep the model if it is the best so far.

        Returns
        -------
        float
            The loss: that of ``valid``, or the mean training loss since the last validation.
        """
        since = self.history.last("loss", self.step - self._validated_at)
        loss = train_loss = float(since.mean()) if since.size else math.nan
        row = {"step": self.step, "seen": self.seen, "train_loss": train_loss}
        if self.valid is not None:
            loss = self.evaluate(self.valid) if hasattr(self.valid, "batch") else float(self.valid(self.model))
            row["valid_loss"] = loss
        self._validated_at, self.valid_loss, self.validated = self.step, loss, True
        self._tick()
        self.history.add(**row, seconds=self.elapsed)
        if isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.step(loss)
        better = math.isfinite(loss) and (self.best is None or loss < self.best)
        self.best, self.bad = (loss, 0) if better else (self.best, self.bad + 1)
        if better and self.folder is not None:
            checkpoints.write_model(self, os.path.join(self.folder, BEST))
        self._display.evaluated(self, loss)
        return loss

    # -- checkpoints --------------------------------------------------------------------------

    def save(self, path=None):
        """Write a checkpoint: a file that ``fr.load`` or ``LanguageModel.load`` reads and ``resume`` goes on from.

        It is a new file that replaces the old one when it is complete.

        Parameters
        ----------
        path : str or path-like, optional
            By default ``last.safetensors`` in ``folder``.

        Raises
        ------
        OSError
            If it cannot be written; it names the file, and the one before is intact.
        """
        path = self._path(path)
        try:
            checkpoints.save(self, path)
        except FileNotFoundError:  # the folder is not there yet, or not any more
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            checkpoints.save(self, path)
        self.saved = self.step

    def resume(self, path=None):
        """Take over a checkpoint of a run with the same model, data and settings.

        The run then ends with the same bits as one that was never interrupted, on as many threads.

        Parameters
        ----------
        path : str or path-like, optional
            By default ``last.safetensors`` in ``folder``.

        Raises
        ------
        ValueError
            If the file is no checkpoint, or of another run; names the file and what is wrong.
        OSError
            If it cannot be read.
        """
        checkpoints.resume(self, self._path(path))
        self.saved = self.step

    def _path(self, path):
        _validate.checkpoint_folder(self.folder, path)
        return os.path.join(self.folder, LAST) if path is None else _validate.path(path)

    def __repr__(self):
        of = "" if self.steps is None else f" of {self.steps:,}"
        return f"Trainer({type(self.model).__name__}, step {self.step:,}{of})"


def _or(value, default, name):
    return default if value is None else _validate.integer(value, name, minimum=0)
