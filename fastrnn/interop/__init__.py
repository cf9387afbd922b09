"""To and from other frameworks: weights, files, and layers in the place of theirs.

    pt      what ``torch.save`` wrote, read without PyTorch
    torch   modules of PyTorch to layers and back; ``accelerate``

A framework is imported when something needs it; where it is missing, the ``ImportError`` says how to get it.
"""

from . import torch
from .pt import read_pt

__all__ = ["read_pt", "torch"]
