"""``RNN``, ``LSTM``, ``GRU`` as modules of PyTorch, computed by this engine.

Constructor, ``state_dict``, inputs, outputs, packed sequences and autograd are those of ``torch.nn``: in a training
script ``fastrnn.torch.GRU`` stands for ``torch.nn.GRU``. ``accelerate(model)`` swaps all that a model has, and
``restore(model)`` swaps them back. docs/interop.md says what is computed here and what goes to PyTorch.

PyTorch is imported with the first name that is used: ``pip install 'fastrnn[torch]'``.
"""

from .interop._needed import needed
from .interop.torch import accelerate, restore

_MODULES = ("GRU", "LSTM", "RNN", "Sequential")
__all__ = ["GRU", "LSTM", "RNN", "Sequential", "accelerate", "restore"]


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    needed("torch", "torch", "PyTorch")
    from .interop import _torch_modules

    return getattr(_torch_modules, name)
