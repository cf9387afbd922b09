"""Training: the loop, what it reads, what it writes.

    trainer       Trainer: the loop
    data          TextStreams, Streams, Sequences: where each batch comes from
    calls         how a model is called: with lengths, with a carried state
    checkpoints   files from which a run goes on exactly
    divergence    TrainingDiverged: what became NaN, and where
    history       History: numbers as arrays, in a file, as a picture
    progress      a bar or lines
    rates         warmup_cosine: a learning rate by progress

Imports numpy, the public losses, blocks and optimisers, ``serialize`` and ``_validate``; matplotlib and tqdm only when
something is to be shown. ``import fastrnn`` does not import it; ``fastrnn.Trainer`` does.
"""

from .data import Batch, Sequences, Source, Streams, TextStreams
from .divergence import TrainingDiverged
from .history import History, plot_history
from .progress import progress_display
from .rates import warmup_cosine
from .trainer import BEST, LAST, Trainer

__all__ = [
    "BEST", "LAST", "Batch", "History", "Sequences", "Source", "Streams", "TextStreams", "Trainer", "TrainingDiverged",
    "plot_history", "progress_display", "warmup_cosine",
]  # fmt: skip
