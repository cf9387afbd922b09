# Passes over a module's flat buffers, in blocks that threads take in turn; part of engine.pyx.

# Elements: 64 KB of float32 a stream, some 10 us of Adam. Results do not depend on who takes a block.
cdef enum:
    PASS_BLOCK = 1 << 14
BLOCK = PASS_BLOCK

cdef dict RULES = {"sgd": FR_SGD, "rmsprop": FR_RMSPROP, "adam": FR_ADAM}

ctypedef struct Pass:
    const FrKernels *kernels
    int rule
    FrUpdate update     # of all elements; for `squares` and `scale` only the gradients
    double *sums        # of squares, by block
    double factor


cdef inline Py_ssize_t block_at(Pass *p, int i, Py_ssize_t *count) noexcept nogil:
    """Where block i begins, in bytes, and how many elements it has."""
    count[0] = min(PASS_BLOCK, p.update.n - <Py_ssize_t>i * PASS_BLOCK)
    return <Py_ssize_t>i * PASS_BLOCK * p.kernels.size


cdef void update_task(void *context, int i) noexcept nogil:
    cdef Pass *p = <Pass *>context
    cdef FrUpdate u = p.update
    cdef Py_ssize_t at = block_at(p, i, &u.n)
    cdef int b
    u.values = <char *>u.values + at
    u.gradients = <const char *>u.gradients + at
    for b in range(3):
        if u.buffer[b] != NULL:
            u.buffer[b] = <char *>u.buffer[b] + at
    p.kernels.update[p.rule](&u)


cdef void squares_task(void *context, int i) noexcept nogil:
    cdef Pass *p = <Pass *>context
    cdef Py_ssize_t count, at = block_at(p, i, &count)
    p.sums[i] = p.kernels.squares(<const char *>p.update.gradients + at, count)


cdef void scale_task(void *context, int i) noexcept nogil:
    cdef Pass *p = <Pass *>context
    cdef Py_ssize_t count, at = block_at(p, i, &count)
    p.kernels.scale(p.factor, count, <char *>p.update.gradients + at)


cdef int start_pass(Pass *p, gradients) except -1:
    """Sets up `p` for flat gradients; returns the number of blocks."""
    memset(p, 0, sizeof(Pass))
    p.kernels = fr_kernels(_isa, gradients.itemsize)
    p.update.gradients = cnp.PyArray_DATA(gradients)
    p.update.n = gradients.size
    return <int>((gradients.size + PASS_BLOCK - 1) // PASS_BLOCK)


def update(str rule, values, gradients, buffers, *, double lr, double shrink=1, double decay=0, double momentum=0,
           double gain=1, double first=0, double second=0, double unbias=1, double eps=0, bint fresh=False,
           bint nesterov=False):
    """One step of an optimiser, in place.

    Parameters
    ----------
    rule : str
        ``"sgd"``, ``"rmsprop"`` or ``"adam"``; ``kernels/optim.inc`` says what the numbers are in each.
    values, gradients : ndarray
        ``(N,)`` of one float dtype, contiguous.
    buffers : sequence of ndarray or None
        As long and of the same dtype, in the rule's order; None for what it does without.
    """
    cdef Pass p
    cdef int blocks = start_pass(&p, gradients)
    p.rule = RULES[rule]
    p.update.values = cnp.PyArray_DATA(values)
    for i, buffer in enumerate(buffers):
        p.update.buffer[i] = pointer(buffer)
    p.update.lr, p.update.shrink, p.update.decay, p.update.momentum, p.update.gain = lr, shrink, decay, momentum, gain
    p.update.first, p.update.second, p.update.unbias, p.update.eps = first, second, unbias, eps
    p.update.fresh, p.update.nesterov = fresh, nesterov
    with nogil:
        fr_parallel(update_task, &p, blocks)


def squares(gradients):
    """The sum of squares of a flat, contiguous float array, in float64; the same bits on every CPU."""
    cdef Pass p
    cdef int i, blocks = start_pass(&p, gradients)
    cdef double total = 0
    sums = _Buffer(blocks * sizeof(double))
    p.sums = <double *>(<_Buffer>sums).data
    with nogil:
        fr_parallel(squares_task, &p, blocks)
        for i in range(blocks):
            total += p.sums[i]
    return total


def scale(gradients, double factor):
    """Multiply a flat, contiguous float array in place."""
    cdef Pass p
    cdef int blocks = start_pass(&p, gradients)
    p.factor = factor
    with nogil:
        fr_parallel(scale_task, &p, blocks)
