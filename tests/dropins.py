"""Modules of PyTorch and their drop-ins, for the tests of these."""

import pytest

import fastrnn as fr

torch = pytest.importorskip("torch")

KINDS = ["RNN", "LSTM", "GRU"]


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def pair(kind, *sizes, **options):
    """A module of PyTorch and ours, with the same weights."""
    theirs = getattr(torch.nn, kind)(*sizes, **options)
    ours = getattr(fr.torch, kind)(*sizes, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs
