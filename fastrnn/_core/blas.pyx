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


def gemm(bint transpose_a, bint transpose_b, real alpha, const real[:, ::1] a, const real[:, ::1] b, real beta,
         real[:, ::1] c):
    """c = alpha * op(a) @ op(b) + beta * c, op(m) = m or m.T"""
    # row-major c is column-major c.T = op(b).T @ op(a).T
    cdef int m = <int>c.shape[0], n = <int>c.shape[1]
    cdef int k = <int>(a.shape[0] if transpose_a else a.shape[1])
    cdef int lda = <int>a.shape[1], ldb = <int>b.shape[1], ldc = <int>c.shape[1]
    cdef char ta = b"T" if transpose_a else b"N", tb = b"T" if transpose_b else b"N"
    if m == 0 or n == 0 or k == 0:
        return
    with nogil:
        if real is float:
            sgemm(&tb, &ta, &n, &m, &k, &alpha, <float *>&b[0, 0], &ldb, <float *>&a[0, 0], &lda, &beta, &c[0, 0], &ldc)
        else:
            dgemm(&tb, &ta, &n, &m, &k, &alpha, <double *>&b[0, 0], &ldb, <double *>&a[0, 0], &lda, &beta, &c[0, 0], &ldc)
