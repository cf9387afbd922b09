"""What a ``Trainer`` reads: batches by the number of the step.

    Batch           what one step reads
    TextStreams     one long text cut into rows that are read side by side, with carried state
    Streams         the same of long series: inputs and targets
    Sequences       many sequences of different lengths, in batches of similar ones

A source of one's own has ``len(source)``, the steps of an epoch, and ``source.batch(step)``, which depends on
nothing but the step (0, 1, ...): that is what makes resuming exact. What else it may have is in ``Source``.

Imports numpy and ``_validate``.
"""

import zlib
from typing import NamedTuple

import numpy as np

from .. import _validate


class Batch(NamedTuple):
    """What one step reads.

    Attributes
    ----------
    x : ndarray
        The model's input.
    target
        What ``loss(output, target)`` gets.
    lengths : ndarray of int, optional
        ``(B,)``, handed to models that take it.
    select : index, optional
        The loss sees ``output[select]``.
    first : bool, optional
        None: no state is carried. True: it begins anew. False: it is the one after the step before.
    size : int
        How much the batch counts in means and in what is shown: its targets.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import Batch
    >>> Batch(np.zeros((5, 2, 3)), np.zeros((5, 2, 1)), size=10).lengths is None
    True
    """

    x: np.ndarray
    target: object
    lengths: np.ndarray = None
    select: object = None
    first: bool = None
    size: int = 1


class Source:
    """What sources of data share, and what one of one's own may leave out.

    Attributes
    ----------
    unit : str
        What is counted, in what is shown.
    batch_first : bool
        Whether batches are ``(B, T, ...)``.
    carries : bool
        Whether a batch goes on where the one before ended, so that states are carried.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import Batch, Source
    >>> class Noise(Source):
    ...     def __len__(self):
    ...         return 100
    ...     def batch(self, step):
    ...         x = np.random.default_rng(step).standard_normal((20, 8, 1))
    ...         return Batch(x, x.cumsum(axis=0), size=160)
    >>> Noise().batch(3).x.shape
    (20, 8, 1)
    """

    unit = "targets"
    batch_first = carries = False

    def __len__(self):
        """Steps of an epoch."""
        raise NotImplementedError

    def batch(self, step):
        """The ``Batch`` of a step, counted from 0 through all epochs."""
        raise NotImplementedError

    def identity(self):
        """JSON values that are the same for the same data in the same batches."""
        return [type(self).__name__, len(self)]

    def state_dict(self):
        """JSON values: what was drawn at construction."""
        return {}

    def load_state_dict(self, state_dict):
        """Take over what ``state_dict`` returned."""

    def seed(self, rng):
        """Draw anew what is random, from a numpy Generator."""


class Streams(Source):
    """Long series, cut into ``batch_size`` rows that are read side by side, ``seq_length`` steps at a time.

    Row ``b`` begins at ``b / batch_size`` of the series, so that the state after one window is the state before the
    next: truncated BPTT with carried state. When the rows are used up an epoch ends; they begin again, from the
    initial state.

    Parameters
    ----------
    inputs, targets : array_like
        ``(N, ...)`` each, step by step.
    batch_size, seq_length : int
        ``B`` and ``T``; ``N >= B T``.

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit each other or are too short.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import Streams
    >>> streams = Streams(np.zeros((100, 3)), np.zeros((100, 1)), batch_size=4, seq_length=5)
    >>> len(streams), streams.batch(0).x.shape, streams.batch(0).target.shape
    (5, (5, 4, 3), (5, 4, 1))
    """

    carries = True

    def __init__(self, inputs, targets, batch_size, seq_length):
        inputs, targets = _validate.series(inputs, targets)
        self._sizes(batch_size, seq_length)
        _validate.long_enough(len(inputs), "inputs", self.batch_size, self.seq_length)
        self._inputs, self._targets = self._rows(inputs), self._rows(targets)
        self.checksum = _checksum([self._inputs, self._targets])

    def _sizes(self, batch_size, seq_length):
        self.batch_size = _validate.positive_int(batch_size, "batch_size")
        self.seq_length = _validate.positive_int(seq_length, "seq_length")

    def _rows(self, series):
        """``(N / B, B, ...)``: step by step, row beside row."""
        length = len(series) // self.batch_size
        rows = series[: length * self.batch_size].reshape(self.batch_size, length, *series.shape[1:])
        return np.ascontiguousarray(rows.swapaxes(0, 1))

    def __len__(self):
        return len(self._inputs) // self.seq_length

    def batch(self, step):
        """Inputs and targets ``(T, B, ...)`` of a step."""
        start = step % len(self) * self.seq_length
        end = start + self.seq_length
        x, target = self._inputs[start:end], self._targets[start:end]
        return Batch(x, target, first=start == 0, size=self.batch_size * self.seq_length)

    def identity(self):
        """Batch size, sequence length and checksum: what makes windows the same."""
        return [self.batch_size, self.seq_length, self.checksum]


class TextStreams(Streams):
    """A text as ``Streams``, whose targets are the next characters, words or bytes.

    Parameters
    ----------
    codes : ndarray of int
        ``(N,)``: the numbers of a text, ``N >= batch_size (seq_length + 1)``.
    batch_size, seq_length : int
        ``B`` and ``T``.
    unit : str
        What a number stands for, in what is shown.

    Attributes
    ----------
    checksum : int
        Of the text, to recognise it by.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import TextStreams
    >>> streams = TextStreams(np.arange(10), batch_size=2, seq_length=2)
    >>> batch = streams.batch(1)
    >>> batch.x.tolist(), batch.target.tolist(), batch.first
    ([[2, 7], [3, 8]], [[3, 8], [4, 9]], False)
    """

    def __init__(self, codes, batch_size, seq_length, *, unit="characters"):
        self.unit = unit
        self._sizes(batch_size, seq_length)
        codes = _validate.codes(codes)
        _validate.long_enough(codes.size, "codes", self.batch_size, self.seq_length + 1)
        # As narrow as they can be: of a long text the numbers are most of the memory.
        rows = self._rows(codes.astype(np.min_scalar_type(codes.max())) if codes.min() >= 0 else codes)
        self._inputs, self._targets = rows[:-1], rows[1:]
        self.checksum = _checksum([rows])


class Sequences(Source):
    """Many sequences, shuffled, in batches of similar lengths: padded little, and nothing of the padding counts.

    Parameters
    ----------
    inputs : sequence of array_like
        ``(T_i, I)`` or, numbers for an ``Embedding``, ``(T_i,)``; ``T_i >= 1``.
    targets : sequence
        As ``kind`` says.
    batch_size : int
    kind : str
        ``"step"``: ``targets[i]`` is ``(T_i, ...)``; the loss sees the steps there are, in one row: outputs
        ``(N, C)``, targets ``(N, ...)``.
        ``"last"``: ``targets[i]`` belongs to the output of the last step: ``(B, C)``, ``(B, ...)``.
        ``"whole"``: ``targets[i]`` belongs to the sequence; the loss sees the model's output as it is.
        ``"labels"``: ``targets[i]`` is a list of classes; the loss sees the output as it is, and
        ``(targets (B, S), input_lengths, target_lengths)``, what ``losses.ctc_loss`` takes.
    shuffle : bool
        Draw a new order for each epoch; without it sequences come by length, always the same.
    batch_first : bool
        Batches are ``(B, T, ...)``, for layers with ``batch_first``.
    rng : None, int or numpy.random.Generator
        Draws one seed, from which every epoch's order follows.

    Raises
    ------
    TypeError, ValueError
        For sequences that do not fit each other or their targets.

    Notes
    -----
    Of each hundred batches' worth of shuffled sequences, those of similar lengths are put together; then the batches
    are shuffled.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn.training import Sequences
    >>> inputs = [np.ones((length, 3)) for length in (2, 5, 1, 4)]
    >>> data = Sequences(inputs, [[0], [1], [0], [1]], batch_size=2, kind="last", shuffle=False)
    >>> [(data.batch(i).x.shape, data.batch(i).lengths.tolist()) for i in range(len(data))]
    [((2, 2, 3), [1, 2]), ((5, 2, 3), [4, 5])]
    """

    def __init__(self, inputs, targets, batch_size, *, kind="step", shuffle=True, batch_first=False, rng=None):
        self.batch_size = _validate.positive_int(batch_size, "batch_size")
        self.kind = _validate.one_of(kind, "kind", KINDS)
        self.shuffle = _validate.boolean(shuffle, "shuffle")
        self.batch_first = _validate.boolean(batch_first, "batch_first")
        self._inputs, self._targets = _validate.ragged(inputs, targets, kind)
        self._lengths = np.array([len(x) for x in self._inputs])
        self._seed, self._epoch, self._checksum = None, None, None
        if self.shuffle:
            self.seed(_validate.generator(rng))

    def seed(self, rng):
        """Draw another seed."""
        self._seed, self._epoch = int(rng.integers(2**63)), None

    def __len__(self):
        return -(-len(self._inputs) // self.batch_size)

    def identity(self):
        """Sizes, layout and checksum."""
        if self._checksum is None:
            self._checksum = _checksum([*self._inputs, *self._targets])
        layout = [self.kind, self.shuffle, self.batch_first]
        return [len(self._inputs), self.batch_size, *layout, self._checksum]

    def state_dict(self):
        """The seed."""
        return {"seed": self._seed}

    def load_state_dict(self, state_dict):
        self._seed, self._epoch = state_dict["seed"], None

    def batch(self, step):
        """A batch of similar lengths."""
        epoch, number = divmod(step, len(self))
        if epoch != self._epoch:
            self._batches, self._epoch = self._order(epoch), epoch
        chosen = self._batches[number]
        lengths = self._lengths[chosen]
        x = self._padded([self._inputs[i] for i in chosen])
        target, select, size = self._target(chosen, lengths)
        return Batch(x, target, lengths, select, None, size)

    def _order(self, epoch):
        """The numbers of the sequences in each batch of an epoch."""
        B, count = self.batch_size, len(self._inputs)
        if not self.shuffle:
            order = np.argsort(self._lengths, kind="stable")
            return [order[i : i + B] for i in range(0, count, B)]
        rng = np.random.default_rng([self._seed, epoch])
        order, batches = rng.permutation(count), []
        for start in range(0, count, 100 * B):
            similar = order[start : start + 100 * B]
            similar = similar[np.argsort(self._lengths[similar], kind="stable")]
            batches += [similar[i : i + B] for i in range(0, len(similar), B)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def _padded(self, parts):
        """Sequences side by side: ``(T, B, ...)``, or ``(B, T, ...)``, zero past their ends."""
        shape = (len(parts), max(len(part) for part in parts), *parts[0].shape[1:])
        rows = np.zeros(shape, np.result_type(*parts))
        for row, part in zip(rows, parts):
            row[: len(part)] = part
        return rows if self.batch_first else np.ascontiguousarray(rows.swapaxes(0, 1))

    def _target(self, chosen, lengths):
        """Targets, where in the output they belong, and how many there are."""
        targets = [self._targets[i] for i in chosen]
        count = len(targets)
        if self.kind == "labels":
            labels = np.zeros((count, max(len(target) for target in targets)), np.int64)
            for row, target in zip(labels, targets):
                row[: len(target)] = target
            return (labels, lengths, np.array([len(target) for target in targets])), None, count
        if self.kind != "step":
            last = (np.arange(count), lengths - 1) if self.batch_first else (lengths - 1, np.arange(count))
            return np.stack(targets), last if self.kind == "last" else None, count
        inside = np.arange(lengths.max())[:, np.newaxis] < lengths
        inside = inside.T if self.batch_first else inside
        return self._padded(targets)[inside], inside, int(lengths.sum())


KINDS = ("step", "last", "whole", "labels")


def _checksum(arrays):
    """Of dtypes, shapes and bytes."""
    value = 0
    for array in arrays:
        value = zlib.crc32(f"{array.dtype.str}{array.shape}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value
