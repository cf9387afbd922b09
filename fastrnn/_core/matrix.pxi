# Matrix products on the packed micro-kernel, and kernels by name for tests; part of engine.pyx.

def math(str name, array, str isa_name=None):
    """exp, sigmoid or tanh of a float array by one instruction set's kernel."""
    source = np.ascontiguousarray(array)
    cdef bytes isa_bytes = isa_name.encode() if isa_name else _isa
    cdef const FrKernels *k = fr_kernels(isa_bytes, source.itemsize)
    cdef int which = {"exp": FR_EXP, "sigmoid": FR_SIGMOID, "tanh": FR_TANH}[name]
    result = np.empty_like(source)
    k.math[which](cnp.PyArray_DATA(source), cnp.PyArray_DATA(result), source.size)
    return result



cdef struct GemmParts:
    FrGemm gemm
    Py_ssize_t rows
    int parts
    char *scratch
    size_t each


cdef void gemm_task(void *context, int i) noexcept nogil:
    cdef GemmParts *p = <GemmParts *>context
    fr_gemm(&p.gemm, p.rows * i // p.parts, p.rows * (i + 1) // p.parts, p.scratch + i * p.each)


cdef object strided(object array, Py_ssize_t *row, Py_ssize_t *column):
    """A 2-D array as it is when C can read it with strides of whole elements, not 0; else a copy."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(array)
    cdef bint repeated = cnp.PyArray_STRIDE(array, 1) == 0 and cnp.PyArray_DIM(array, 1) > 1
    if (not cnp.PyArray_ISBEHAVED_RO(array) or cnp.PyArray_STRIDE(array, 0) % size
            or cnp.PyArray_STRIDE(array, 1) % size or repeated):
        array = cnp.PyArray_NewCopy(array, cnp.NPY_CORDER)
    row[0] = cnp.PyArray_STRIDE(array, 0) // size
    column[0] = cnp.PyArray_STRIDE(array, 1) // size or 1  # an empty array may have strides of 0
    return array


def matmul(a, b, bias=None, out=None, str isa_name=None):
    """``a @ b + bias``, or ``out += a @ b``.

    Parameters
    ----------
    a, b : ndarray
        ``(rows, depth)`` and ``(depth, columns)`` of one float dtype, any strides: transposes cost nothing.
    bias : ndarray, optional
        ``(columns,)``, contiguous.
    out : ndarray, optional
        ``(rows, columns)``, rows contiguous, added to.

    Returns
    -------
    ndarray
        ``(rows, columns)``. A row has the same bits whatever the other rows and the number of threads.
    """
    cdef GemmParts p
    cdef FrGemm *g = &p.gemm
    memset(g, 0, sizeof(FrGemm))
    cdef bytes name = isa_name.encode() if isa_name else _isa
    g.kernels = fr_kernels(name, a.itemsize)
    a = strided(a, &g.a_row, &g.a_step)
    b = strided(b, &g.b_step, &g.b_column)
    p.rows, g.columns, g.depth, g.add = a.shape[0], b.shape[1], a.shape[1], out is not None
    if out is None:
        out = np.empty((p.rows, g.columns), a.dtype)
    g.a, g.b, g.bias, g.c = data_of(a), data_of(b), data_of(bias), data_of(out)
    g.c_row = cnp.PyArray_STRIDE(out, 0) // cnp.PyArray_ITEMSIZE(out)
    p.parts = <int>max(1, min(fr_get_threads(), p.rows, <double>p.rows * g.columns * g.depth
                              / (ROWS_THAT_SHARE * LEAST_WORK_PER_THREAD)))
    p.each = fr_gemm_scratch(g)
    scratch = _Buffer(p.parts * p.each)
    p.scratch = (<_Buffer>scratch).data
    with nogil:
        fr_parallel(gemm_task, &p, p.parts)
    return out


cdef class Packed:
    """``b (depth, columns)``, the right operand of products to come, with ``bias (columns,)`` or None: packed, so that
    neither is read again."""
    cdef FrGemm gemm
    cdef object memory, bias, scratch

    def __init__(self, b, bias=None):
        memset(&self.gemm, 0, sizeof(FrGemm))
        self.gemm.kernels = fr_kernels(_isa, b.itemsize)
        b = strided(b, &self.gemm.b_step, &self.gemm.b_column)
        self.gemm.b, self.gemm.depth, self.gemm.columns = data_of(b), b.shape[0], b.shape[1]
        self.memory = _Buffer(fr_gemm_packed(&self.gemm))
        fr_gemm_pack(&self.gemm, (<_Buffer>self.memory).data)
        self.gemm.packed = (<_Buffer>self.memory).data
        self.bias = None if bias is None else bias.copy()
        self.gemm.bias = data_of(self.bias)

    cdef FrGemm product(self, char *a, Py_ssize_t a_row, const Py_ssize_t *a_at,
                        char *c, Py_ssize_t c_row, const Py_ssize_t *c_at, bint add):
        """Rows of `a`, as far apart as `a_row` elements, times b; to rows of `c`."""
        cdef FrGemm g = self.gemm
        g.a, g.a_row, g.a_step, g.a_at = a, a_row, 1, a_at
        g.c, g.c_row, g.c_at, g.add = c, c_row, c_at, add
        return g

    def times(self, a):
        """``a @ b + bias`` for contiguous rows ``a``, with the bits of `matmul`: by one thread, for few rows."""
        cdef FrGemm g
        cdef cnp.npy_intp[2] shape
        shape[0], shape[1] = cnp.PyArray_DIM(a, 0), self.gemm.columns
        out = cnp.PyArray_EMPTY(2, shape, cnp.PyArray_TYPE(a), 0)
        g = self.product(data_of(a), self.gemm.depth, NULL, data_of(out), self.gemm.columns, NULL, False)
        scratch, self.scratch = self.scratch, None  # another thread's call finds none
        if scratch is None:
            scratch = _Buffer(fr_gemm_scratch(&g))
        if <double>shape[0] * shape[1] * g.depth < NOGIL_WORK:
            fr_gemm(&g, 0, shape[0], (<_Buffer>scratch).data)
        else:
            with nogil:
                fr_gemm(&g, 0, shape[0], (<_Buffer>scratch).data)
        self.scratch = scratch
        return out


def product(a, w, bias, str isa_name=None):
    """``a @ w.T + bias`` by one instruction set's kernels, for tests."""
    return matmul(np.ascontiguousarray(a), np.ascontiguousarray(w).T, np.ascontiguousarray(bias), None, isa_name)


cdef object with_whole_rows(object array, Py_ssize_t *row):
    """A 2-D array as it is when its rows are contiguous, else a copy."""
    cdef Py_ssize_t column
    array = strided(array, row, &column)
    if column != 1:
        array = np.ascontiguousarray(array)
        row[0] = cnp.PyArray_DIM(array, 1)
    return array


cdef struct UnitParts:
    FrUnitGemm gemm
    int parts
    char *scratch


cdef void unit_task(void *context, int i) noexcept nogil:
    cdef UnitParts *p = <UnitParts *>context
    cdef Py_ssize_t pair = 2 * FR_BRICK, pairs = (p.gemm.rows + pair - 1) // pair
    fr_unit_gemm(&p.gemm, pairs * i // p.parts * pair, min(p.gemm.rows, pairs * (i + 1) // p.parts * pair),
                 p.scratch + i * fr_unit_gemm_scratch())


def has_unit(int size, str isa_name=None):
    """Has the instruction set a matrix unit for floats of `size` bytes?"""
    cdef bytes name = isa_name.encode() if isa_name else _isa
    return fr_unit(name, size) != NULL


def unit_matmul(a, b, bint transposed=False, out=None, str isa_name=None):
    """``op(a) @ b``, or ``out += op(a) @ b``, on the matrix unit.

    Parameters
    ----------
    a, b : ndarray
        ``(rows, depth)``, or ``(depth, rows)`` if transposed, and ``(depth, columns)``, of float32, not empty; any strides.
    out : ndarray, optional
        ``(rows, columns)``, rows contiguous, added to.

    Returns
    -------
    ndarray
        ``(rows, columns)``. The same bits for any number of threads.
    """
    cdef UnitParts p
    cdef FrUnitGemm *g = &p.gemm
    cdef bytes name = isa_name.encode() if isa_name else _isa
    g.unit, g.transposed, g.add = fr_unit(name, 4), transposed, out is not None
    g.rows, g.depth, g.columns = cnp.PyArray_DIM(a, transposed), cnp.PyArray_DIM(a, not transposed), cnp.PyArray_DIM(b, 1)
    if out is None:
        out = np.empty((g.rows, g.columns), np.float32)
    a, b = with_whole_rows(a, &g.a_row), with_whole_rows(b, &g.b_row)
    g.a, g.b, g.c = <float *>data_of(a), <float *>data_of(b), <float *>data_of(out)
    g.c_row = cnp.PyArray_STRIDE(out, 0) // sizeof(float)
    p.parts = <int>max(1, min(fr_get_threads(), g.rows // (2 * FR_BRICK), <double>g.rows * g.columns * g.depth
                              / (ROWS_THAT_SHARE * LEAST_WORK_PER_THREAD)))
    scratch = _Buffer(p.parts * fr_unit_gemm_scratch())
    p.scratch = (<_Buffer>scratch).data
    with nogil:
        fr_parallel(unit_task, &p, p.parts)
    return out


def multiply_adds(int size, Py_ssize_t rounds):
    """Do multiply-adds on registers of floats of `size` bytes; returns the floating-point operations done.

    The time it takes is the bound of every product.
    """
    vector = _Buffer(64)
    memset((<_Buffer>vector).data, 0, 64)
    return fr_kernels(_isa, size).multiply_adds((<_Buffer>vector).data, rounds)
