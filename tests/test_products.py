"""``products.gradient``: the same sums, by BLAS only where that is a single thread and the product is large."""

import numpy as np
import pytest
from tolerance import assert_close

from fastrnn._core import blas, products


class Recorder:
    """The module ``blas`` with a pool of so many threads; ``calls``: the products it was asked for."""

    def __init__(self, threads):
        self.pool_threads, self.calls, self.fits = lambda: threads, 0, blas.fits

    def gemm(self, *arguments):
        self.calls += 1
        blas.gemm(*arguments)


LARGE, SMALL = (256, 256, 256), (256, 256, 255)


@pytest.mark.parametrize("adding", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("threads, sizes, used", [(1, LARGE, 1), (2, LARGE, 0), (1, SMALL, 0)])
def test_who_multiplies(monkeypatch, threads, sizes, used, transpose, adding):
    recorder = Recorder(threads)
    monkeypatch.setattr(products, "_blas", recorder)
    rng = np.random.default_rng(0)
    rows, depth, columns = sizes
    a, b = rng.standard_normal((rows, depth)), rng.standard_normal((depth, columns))
    former = rng.standard_normal((rows, columns))
    expected = a @ b + former if adding else a @ b
    given, total = np.ascontiguousarray(a.T) if transpose else a, former.copy() if adding else None
    result = products.gradient(given, b, transpose, total)
    assert_close("product", result, expected, "forward")
    assert recorder.calls == used and (result is total) == adding
