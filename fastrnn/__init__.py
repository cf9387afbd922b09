"""fastrnn: recurrent neural networks on the CPU, fast.

    layers      RNN, LSTM, GRU                     blocks      Embedding, Linear, Dropout, Sequential
    losses      loss and gradient in one call      optim       SGD, RMSprop, Adam, AdamW, schedules, clipping
    serialize   save, load                         threads     how many threads work
    pooling     pool                               delay       delay
    init        initial parameters                 tbptt       truncated BPTT
    adaptive    AdaptiveSoftmax
    tree        TreeLSTM                           diagnostics what gradients do; imported when first used
    training    Trainer, data, checkpoints         models      LanguageModel, vocabularies; both imported when first used
    decoding    from logits to tokens: sampling, beam search
    interop     weights and files of other frameworks; torch: layers as PyTorch modules; imported when first used
    onnx        ONNX files: read, run, written; imported when first used
    ctc         from the outputs of a net trained with CTC to labels; label error rate
    reference   the equations in NumPy, to compare with; never imported by the package
"""

from importlib import import_module as _import_module

from . import ctc, decoding, init, losses, optim
from ._core.engine import version as __version__
from .adaptive import AdaptiveSoftmax
from .blocks import Dropout, Embedding, Linear, Sequential
from .delay import delay
from .layers import GRU, LSTM, RNN
from .pooling import pool
from .serialize import load, save
from .tbptt import tbptt
from .threads import get_num_threads, num_threads, set_num_threads, show_config
from .tree import TreeLSTM
from .variants import (
    MGU,
    MUT1,
    MUT2,
    MUT3,
    SLSTM,
    SRU,
    FastGRNN,
    FastRNN,
    IndRNN,
    MinGRU,
    MinLSTM,
    MultiplicativeLSTM,
)

__all__ = [
    "GRU", "LSTM", "MGU", "MUT1", "MUT2", "MUT3", "RNN", "SLSTM", "SRU", "AdaptiveSoftmax", "Dropout", "Embedding",
    "FastGRNN", "FastRNN", "IndRNN", "LanguageModel", "Linear", "MinGRU", "MinLSTM", "MultiplicativeLSTM", "Sequential",
    "Trainer", "TreeLSTM", "ctc", "decoding", "delay", "diagnostics", "get_num_threads", "init", "interop", "load",
    "losses", "models", "num_threads", "optim", "pool", "save", "set_num_threads", "show_config", "tbptt", "training",
]  # fmt: skip


def __getattr__(name):
    if name in ("diagnostics", "interop", "models", "onnx", "torch", "training"):
        return _import_module(f".{name}", __name__)
    if name == "Trainer":
        return _import_module(".training", __name__).Trainer
    if name == "LanguageModel":
        return _import_module(".models", __name__).LanguageModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
