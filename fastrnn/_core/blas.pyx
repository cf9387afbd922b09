# cython: language_level=3, boundscheck=False, wraparound=False
"""The only user of scipy's BLAS: row-major products, with sizes checked against BLAS's int.

Importing this module imports scipy.linalg (some 0.2 s), so it is done at the first large product.
Each function has its formula as docstring; arrays are C-contiguous and of one float dtype.
"""

cimport cython
from scipy.linalg.cython_blas cimport dgemm, sgemm

ctypedef fused real:
    float
    double

cdef Py_ssize_t INT_MAX = 2147483647


def fits(*sizes):
    """Can BLAS count to every one of these?"""
    return all(0 < n <= INT_MAX for n in sizes)


def gemm(bint transpose_a, bint transpose_b, const real[:, ::1] a, const real[:, ::1] b, bint add, real[:, ::1] c):
    """c = op(a) @ op(b), or c += op(a) @ op(b); op(m) = m or m.T"""
    # row-major c is column-major c.T = op(b).T @ op(a).T
    cdef int m = <int>c.shape[0], n = <int>c.shape[1]
    cdef int k = <int>(a.shape[0] if transpose_a else a.shape[1])
    cdef int lda = <int>a.shape[1], ldb = <int>b.shape[1], ldc = <int>c.shape[1]
    cdef real alpha = 1, beta = add
    cdef char ta = b"T" if transpose_a else b"N", tb = b"T" if transpose_b else b"N"
    with nogil:
        if real is float:
            sgemm(&tb, &ta, &n, &m, &k, &alpha, <float *>&b[0, 0], &ldb, <float *>&a[0, 0], &lda, &beta, &c[0, 0], &ldc)
        else:
            dgemm(&tb, &ta, &n, &m, &k, &alpha, <double *>&b[0, 0], &ldb, <double *>&a[0, 0], &lda, &beta, &c[0, 0], &ldc)


def description():
    """Name and version of the library."""
    import scipy

    try:
        library = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{library['name']} {library['version']} (scipy)"
    except (AttributeError, KeyError, TypeError):
        return "unknown (scipy)"


def _asks():
    """Functions that return the pool's threads, of every OpenBLAS or MKL that scipy's BLAS may be."""
    import ctypes

    names = [f"{prefix}openblas_get_num_threads{suffix}" for prefix in ("scipy_", "") for suffix in ("", "64_")]
    names.append("MKL_Get_Max_Threads")
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(None, 5)[5].strip() for line in maps if "blas" in line or "mkl_rt" in line}
    except OSError:
        return []
    asks = []
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        asks += [getattr(library, name) for name in names if hasattr(library, name)]
    return asks


_ask = _asks()


def pool_threads():
    """Threads a product may use; when it cannot be found out, more than anybody has."""
    return max((ask() for ask in _ask), default=1 << 30)
