"""What the estimators share: training by a ``Trainer``, threads, seeds, files; of those that read sequences also the data.

Imports numpy, scikit-learn, the public optimisers and the training loop, and the other modules of this package.
"""

from contextlib import nullcontext
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted

from ... import _validate
from ...optim import AdamW
from ...pooling import KINDS
from ...threads import default_num_threads, num_threads
from ...training import Sequences, Trainer, warmup_cosine
from . import files
from ..networks import SequenceNetwork

#: Sequences that are read side by side when something is predicted.
READ = 256

COMMON = """
    epochs : int
        How often ``fit`` goes through the data, at most.
    batch_size : int
    learning_rate : float
        Of Adam: its peak; ``fit`` lets it rise shortly and then fall along a cosine.
    weight_decay : float
        Apart from the gradient (Loshchilov & Hutter 2019).
    max_norm : float, optional
        Gradients are scaled down to this norm.
    early_stopping : bool
        Hold out a part of the data, stop when its loss has not improved for ``patience`` epochs, and keep the parameters
        that were best on it.
    validation_fraction : float
        The part held out, in (0, 1).
    patience : int
    standardize : bool
        Bring what comes in, and numbers that are to be predicted, to mean 0 and deviation 1 by what ``fit`` sees.
    dtype : "float32" or "float64"
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        Of everything random; the same int gives the same bits, on as many threads.
    n_jobs : int, optional
        Threads; None: as many as fastrnn uses anyway, -1: all there are.
    progress : bool
        Show a bar on a terminal that has tqdm, lines elsewhere.
"""

RECURRENT = """
    hidden_size, num_layers : int
    cell : str
        ``"lstm"``, ``"gru"``, ``"rnn"``, ``"mgu"``, ``"sru"``, ...: every cell there is, as in ``LanguageModel``.
    bidirectional : bool
    dropout : float
        Between the layers and in front of the output, in training.
    cell_options : dict, optional
        Of the recurrent layer, such as ``{"recurrent_dropout": 0.2}``.
"""

SHARED = """
    n_iter_ : int
        Epochs trained.
    loss_curve_, validation_curve_ : ndarray
        The mean losses of each epoch; the second is None without ``early_stopping``.
"""


def documented(cls):
    """Put what is shared into a docstring."""
    for name, text in (("{recurrent}", RECURRENT), ("{common}", COMMON), ("{shared}", SHARED)):
        cls.__doc__ = cls.__doc__.replace(name, text.strip())
    return cls


class Best:
    """A callback of a ``Trainer``: keeps the parameters that were best on the held-out data."""

    def __init__(self, network):
        self._modules, self._kept = network.modules, {}

    def __call__(self, trainer):
        if trainer.validated and trainer.bad == 0:
            self._kept = {name: module.state_dict() for name, module in self._modules.items()}

    def restore(self):
        """Put them back."""
        for name, arrays in self._kept.items():
            self._modules[name].load_state_dict(arrays)


class Estimator(BaseEstimator):
    """Base of all estimators of fastrnn: parameters as scikit-learn has them, a network, one file.

    A subclass makes a network in ``_begin`` and hands ``_run`` sources of data.
    """

    _optimizer = None  # of an estimator that a file gave, until it is trained on

    def _keep(self, arguments):
        """The arguments of a constructor, as attributes: unchecked, as scikit-learn wants it."""
        vars(self).update({name: value for name, value in arguments.items() if name != "self"})

    def _begin(self, make_network):
        """Everything anew: generator, network, optimiser."""
        rng = _validate.random_generator(self.random_state)
        self._network = make_network(rng)
        self._rng, self._optimizer = rng, None
        self.n_iter_, self.loss_curve_, self.validation_curve_ = 0, np.zeros(0), None

    def _checked_run(self):
        """Check what training asks for, before it begins."""
        _validate.real(self.learning_rate, "learning_rate", above=0)
        _validate.real(self.weight_decay, "weight_decay", minimum=0)
        _validate.optional_positive(self.max_norm, "max_norm")
        _validate.boolean(self.standardize, "standardize")
        if _validate.boolean(self.early_stopping, "early_stopping"):
            _validate.real(self.validation_fraction, "validation_fraction", above=0, below=1)
            _validate.positive_int(self.patience, "patience")
        _validate.positive_int(self.batch_size, "batch_size")
        _validate.positive_int(self.epochs, "epochs")
        _validate.thread_count(self.n_jobs, 1)

    def _train_on(self, source, count, loss, once=False, groups=None):
        """Train on ``count`` examples, but for those held out for early stopping.

        ``source(chosen, **options)`` is a source of data of some of them, by their numbers; ``groups (count,)``: of each
        group as large a share is held out.
        """
        train, valid = np.arange(count), None
        if self.early_stopping and not once:
            seed = int(self._rng.integers(2**31))
            train, held_out = train_test_split(train, test_size=self.validation_fraction, stratify=groups, random_state=seed)
            valid = source(np.sort(held_out), shuffle=False)
        self._run(source(np.sort(train), rng=self._rng), valid, loss, once)

    def _run(self, data, valid, loss, once=False):
        """Train; ``once``: an epoch more, at the full learning rate, for ``partial_fit``."""
        if self._optimizer is None:
            modules = list(self._network.modules.values())
            self._optimizer = AdamW(modules, lr=self.learning_rate, weight_decay=self.weight_decay)
        self._optimizer.lr = self.learning_rate
        best = Best(self._network)
        if once:
            options = {"epochs": 1}
        else:
            options = {"epochs": self.epochs, "schedule": warmup_cosine(self.learning_rate), "callbacks": [best]}
        if valid is not None:
            options |= {"valid": valid, "patience": self.patience}
        trainer = Trainer(self._network, self._optimizer, data, loss=loss, max_norm=self.max_norm, rng=self._rng,
                          progress=self.progress, **options)  # fmt: skip
        with self._threads():
            trainer.run()
        if valid is not None:
            best.restore()
            self.validation_curve_ = trainer.history["valid_loss"]
        self.loss_curve_ = np.append(self.loss_curve_, trainer.history["train_loss"])
        self.n_iter_ = len(self.loss_curve_)

    def _threads(self):
        count = _validate.thread_count(self.n_jobs, default_num_threads())
        return nullcontext() if count is None else num_threads(count)

    def save(self, path):
        """Save into one safetensors file, which ``load`` and ``fastrnn.load`` read.

        Parameters, fitted attributes and the network; not how training would go on (optimiser and generator: pickle
        keeps these). A ``random_state`` that is a generator is saved as None.

        Parameters
        ----------
        path : str or path-like
            The file appears complete or not at all.

        Raises
        ------
        TypeError, ValueError
            For what a file cannot hold, such as classes that are objects.
        OSError
            If it cannot be written.
        """
        check_is_fitted(self)
        files.write(self, path)

    @classmethod
    def load(cls, path):
        """Load what ``save`` wrote.

        Raises
        ------
        ValueError
            If the file is malformed or holds no such estimator; says which file and what is wrong.
        OSError
            If it cannot be read.
        """
        return files.read(cls, path)


class SequenceEstimator(Estimator):
    """Base of the estimators that read sequences."""

    _network_class = SequenceNetwork
    _kind = "whole"  # of the targets, as Sequences has it
    _arrays = ("mean_", "scale_", "loss_curve_", "validation_curve_")  # what a file holds besides the network
    _values = ()  # and what else, as JSON

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _fitted_shapes(self):
        """The shapes of the arrays that a file must hold; sizes are those of the network."""
        self.n_features_in_ = self._network.config["features"]
        return dict.fromkeys(("mean_", "scale_"), (self.n_features_in_,))

    def _start(self, sequences, outputs):
        """Begin anew with what these data say: how many features there are, and how large they are."""
        pooling = _validate.one_of(self.pooling, "pooling", KINDS) if hasattr(self, "pooling") else None
        options = {"cell": self.cell, "hidden_size": self.hidden_size, "num_layers": self.num_layers,
                   "bidirectional": self.bidirectional, "pooling": pooling, "dropout": self.dropout,
                   "cell_options": self.cell_options, "dtype": self.dtype}  # fmt: skip
        features = sequences[0].shape[1]
        self._begin(lambda rng: SequenceNetwork(features, outputs, rng=rng, **options))
        self.n_features_in_ = features
        self.mean_, self.scale_ = moments(np.concatenate(sequences), self.standardize)

    def _standardized(self, sequences):
        return [standardized(x, self.mean_, self.scale_, self._network.layer.dtype) for x in sequences]

    def _train(self, sequences, targets, loss, once=False, groups=None):
        """``targets[i]`` has in its last column how much it counts; ``groups``: in what shares sequences are held out."""
        counts = [i for i, target in enumerate(targets) if target[..., -1].any()]  # what counts nothing is left out
        inputs, targets = self._standardized([sequences[i] for i in counts]), [targets[i] for i in counts]
        groups = None if groups is None else groups[counts]
        self._train_on(partial(self._source, inputs, targets), len(inputs), loss, once, groups)

    def _source(self, inputs, targets, chosen, **options):
        inputs, targets = [inputs[i] for i in chosen], [targets[i] for i in chosen]
        return Sequences(inputs, targets, self.batch_size, kind=self._kind, **options)

    def _outputs(self, X):
        """What the network says of each sequence, in their order: ``(C,)`` each, or ``(T_i, C)`` where nothing is pooled."""
        check_is_fitted(self)
        inputs = self._standardized(_validate.sequence_list(X, self.n_features_in_))
        outputs = len(inputs) * [None]
        with self._threads():
            for chosen, batch in batches(inputs):
                output = self._network(batch.x, batch.lengths)
                for b, i in enumerate(chosen):
                    outputs[i] = output[b] if output.ndim == 2 else output[: batch.lengths[b], b]
        return outputs


def moments(rows, wanted=True):
    """Mean and deviation of each column of ``(N, F)``, in float64; 0 and 1 where nothing is to be done."""
    mean, scale = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    if wanted:
        mean = rows.mean(axis=0, dtype=np.float64)
        deviation = rows.std(axis=0, dtype=np.float64)
        # A column of equal numbers has a deviation of rounding errors, or none.
        scale = np.where(deviation > 1e-12 * np.abs(rows).max(axis=0), deviation, 1.0)
    return mean, scale


def standardized(values, mean, scale, dtype):
    """Values by ``moments``."""
    return ((values - mean) / scale).astype(dtype)


def batches(inputs):
    """Which of the inputs, and a batch of them: of similar lengths."""
    source = Sequences(inputs, np.arange(len(inputs)), READ, kind="whole", shuffle=False)
    for number in range(len(source)):
        batch = source.batch(number)
        yield batch.target, batch


def as_given(X, results):
    """Results of sequences: an array if these came as one, else a list."""
    return np.stack(results) if hasattr(X, "__array__") and np.ndim(X) > 1 else results


def weighted(loss):
    """``loss`` of targets in whose last column stands how much each counts: the sum of that, by their number."""

    def mean(output, target):
        values, gradient = loss(output, target[..., :-1])
        weights = target[..., -1].astype(gradient.dtype) / len(target)
        return float((values * weights).sum()), gradient * weights[:, np.newaxis]

    return mean
