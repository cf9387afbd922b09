"""Products of plain matrices: a matrix unit or BLAS where they gain, else the engine's own.

BLAS belongs to the process. Its pool is never resized, and it is used only when that is a single thread: OpenBLAS's
threads spin for some 25 ms after each product, on the CPUs that the engine's own threads want (training of a
language model, 2 x 256, on two threads: 82 ms a step, 42 without). It is loaded at the first large product, never at import.
"""

import numpy as np

from . import engine

# Multiply-adds from which a gradient goes to BLAS: loading it costs 0.2 s once, and below this the two
# are level (weight gradient of 2500 x 256 -> 100, a broadcast side with a stride: BLAS 1.4 times as fast).
LARGE = 1 << 24

# Multiply-adds, and depth, from which the matrix unit gains: 1.3 to 1.9 times.
LARGE_FOR_UNIT, DEEP_FOR_UNIT = 1 << 21, 32

_blas = None


def _allowed():
    """The BLAS module when it is used."""
    global _blas
    if _blas is None:
        from . import blas

        _blas = blas
    return _blas if _blas.pool_threads() == 1 else None


def gradient(a, b, transpose_a=False, add_to=None):
    """``op(a) @ b``, or ``add_to += op(a) @ b``, of 2-D arrays of one dtype; those that are not contiguous never go to BLAS."""
    rows, depth = a.shape[::-1] if transpose_a else a.shape
    size = rows * depth * b.shape[1]
    if size == 0:  # NumPy gives empty arrays strides of 0, with which no kernel gets to an end
        return np.zeros((rows, b.shape[1]), a.dtype) if add_to is None else add_to
    if size >= LARGE_FOR_UNIT and depth >= DEEP_FOR_UNIT and engine.has_unit(a.itemsize):
        return engine.unit_matmul(a, b, transpose_a, add_to)
    blas = _allowed() if size >= LARGE and a.flags.c_contiguous and b.flags.c_contiguous else None
    if blas is None or not blas.fits(rows, depth, b.shape[1]):
        return engine.matmul(a.T if transpose_a else a, b, None, add_to)
    out = np.empty((rows, b.shape[1]), a.dtype) if add_to is None else add_to
    blas.gemm(transpose_a, False, a, b, add_to is not None, out)
    return out
