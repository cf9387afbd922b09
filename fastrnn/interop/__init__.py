"""To and from other frameworks: weights, files, and layers in the place of theirs.

    pt           what ``torch.save`` wrote, read without PyTorch; ``write_pt``
    npz          archives of NumPy
    serialize    of the package: safetensors files, mapped into memory
    torch        modules of PyTorch to layers and back; ``accelerate``
    keras        weights, layers, models and files of Keras 3 to layers and back
    conversion   from a file of one kind to one of another, by their endings; ``fastrnn convert``

A framework is imported when something needs it; where it is missing, the ``ImportError`` says how to get it.
"""

from ..serialize import read_safetensors, write_safetensors
from . import keras, torch
from ._pt_write import write_pt
from .conversion import convert
from .npz import read_npz, write_npz
from .pt import read_pt

__all__ = ["convert", "keras", "read_npz", "read_pt", "read_safetensors", "torch", "write_npz", "write_pt",
           "write_safetensors"]  # fmt: skip
