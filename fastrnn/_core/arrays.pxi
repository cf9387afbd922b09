# Arrays and memory as C sees them, and the options of a cell; part of engine.pyx.


@cython.final
cdef class _Buffer:
    """64-byte aligned memory that lives as long as somebody refers to it."""
    cdef char *data
    cdef size_t size

    def __cinit__(self, size_t size):
        self.size = (size + 127) & ~<size_t>63
        self.data = <char *>fr_allocate(self.size)
        if self.data == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.data)


cdef inline bint plain(object a, int type_number, int ndim) noexcept:
    """Is `a` an array of exactly this type and rank that C can read as it is?"""
    return (cnp.PyArray_CheckExact(a) and cnp.PyArray_TYPE(a) == type_number
            and cnp.PyArray_NDIM(a) == ndim and cnp.PyArray_IS_C_CONTIGUOUS(a)
            and cnp.PyArray_ISBEHAVED_RO(a))


cdef inline char *data_of(object a) noexcept:
    return NULL if a is None else <char *>cnp.PyArray_DATA(a)


cdef object owned(object a):
    """`a` as backward may read it later: a copy when somebody else could write to it."""
    if a is None or not cnp.PyArray_CHKFLAGS(a, cnp.NPY_ARRAY_WRITEABLE):
        return a
    return cnp.PyArray_NewCopy(a, cnp.NPY_CORDER)


cdef void *pointer(object array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef void point(FrParameters *p, arrays):
    cdef char *first = <char *>pointer(arrays[0])
    p.count = 0
    for i, array in enumerate(arrays):
        p.of[i] = pointer(array)
        if array is not None:
            p.count = max(p.count, (<char *>p.of[i] - first) // array.itemsize + array.size)


#: Activations by number, as the kernels have them.
ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "elu", "leaky_relu", "softsign", "softplus", "hard_sigmoid",
               "hard_tanh", "affine", "scaled_tanh", "thresholded_relu")


cdef int set_options(FrOptions *o, dict given) except -1:
    """activations: (name, alpha, beta) of up to three; clip: of pre-activations; and what else FrOptions has."""
    memset(o, 0, sizeof(FrOptions))
    for i, (name, alpha, beta) in enumerate(given.get("activations", ())):
        o.activation[i].kind, o.activation[i].alpha, o.activation[i].beta = ACTIVATIONS.index(name), alpha, beta
    o.clip, o.scale = given.get("clip", np.inf), given.get("scale", 1)
    o.zone[0], o.zone[1] = given.get("zoneout", (0, 0))
    o.residual, o.exp_forget = given.get("residual", False), given.get("exp_forget", False)
    return 0
