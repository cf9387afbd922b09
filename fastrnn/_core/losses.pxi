# Losses over rows and sequences; part of engine.pyx.

# What a row of softmax or a state of CTC costs, in multiply-adds of a row of a product.
cdef double SOFTMAX_WORK = 8, CTC_WORK = 100


cdef int parts_for(double work, Py_ssize_t most) noexcept:
    """Threads that this much work is worth."""
    cdef double worth = fr_get_threads() if _spread else work / LEAST_WORK_PER_THREAD
    return <int>max(1, min(fr_get_threads(), most, worth))


cdef struct RowParts:
    const FrCrossEntropy *call
    int parts


cdef void cross_entropy_task(void *context, int i) noexcept nogil:
    cdef RowParts *p = <RowParts *>context
    fr_cross_entropy(p.call, p.call.rows * i // p.parts, p.call.rows * (i + 1) // p.parts)


cdef object run_rows(FrCrossEntropy *c, logits):
    """Fills in what rows have in common; returns `values`."""
    cdef RowParts p
    values = np.empty(len(logits))
    c.kernels = fr_kernels(_isa, cnp.PyArray_ITEMSIZE(logits))
    c.logits, c.rows, c.classes = data_of(logits), cnp.PyArray_DIM(logits, 0), cnp.PyArray_DIM(logits, 1)
    c.values = <double *>data_of(values)
    p.call, p.parts = c, parts_for(<double>c.rows * c.classes * SOFTMAX_WORK, c.rows)
    with nogil:
        fr_parallel(cross_entropy_task, &p, p.parts)
    return values


def cross_entropy(logits, target, weight=None, double smoothing=0, double scale=1, bint gradient=True):
    """Cross entropy of each row, and the gradient of `scale` times their sum.

    Parameters
    ----------
    logits, target, weight : ndarray
        ``(N, C)``, intp ``(N,)`` and ``(C,)`` or None: contiguous, of one float dtype. A row with a negative
        target counts nothing.

    Returns
    -------
    values, gradient : ndarray
        float64 ``(N,)``; ``(N, C)``, or None if not asked for. A row has the same bits whatever the other rows
        and the number of threads.
    """
    cdef FrCrossEntropy c
    memset(&c, 0, sizeof(FrCrossEntropy))
    spread = None
    if smoothing:
        spread = np.full(logits.shape[1], smoothing / logits.shape[1], logits.dtype)
        if weight is not None:
            spread *= weight
        c.spread_sum = spread.sum(dtype=float)
    c.target = <Py_ssize_t *>data_of(target)
    c.weight, c.spread = data_of(weight), data_of(spread)
    c.kept, c.scale = 1 - smoothing, scale
    result = np.empty_like(logits) if gradient else None
    c.gradient = data_of(result)
    return run_rows(&c, logits), result


def log_sum_exp(logits):
    """The logarithm of the sum of exp of each row: float64 ``(N,)`` of contiguous ``(N, C)``."""
    cdef FrCrossEntropy c
    memset(&c, 0, sizeof(FrCrossEntropy))
    return run_rows(&c, logits)


cdef struct CtcParts:
    FrCtc *call
    char *scratch
    size_t each


cdef void ctc_task(void *context, int i) noexcept nogil:
    cdef CtcParts *p = <CtcParts *>context
    fr_ctc(p.call, p.scratch + i * p.each)


def ctc(log_probs, targets, steps, labels, Py_ssize_t blank, scale, bint zero_infinity):
    """CTC of each sequence, and the gradient of the sum of `scale` times them.

    Parameters
    ----------
    log_probs, targets, scale : ndarray
        ``(T, N, C)``; intp ``(N, S)``; float64 ``(N,)``: contiguous.
    steps, labels : ndarray
        intp ``(N,)``: how much of T and S belongs to each sequence.

    Returns
    -------
    values, gradient : ndarray
        float64 ``(N,)``; like ``log_probs``. A sequence has the same bits whatever the others and the number
        of threads.
    """
    cdef FrCtc c
    cdef CtcParts p
    cdef int parts
    memset(&c, 0, sizeof(FrCtc))
    values, gradient = np.empty(targets.shape[0]), np.zeros(log_probs.shape, log_probs.dtype)
    c.kernels, c.size = fr_kernels(_isa, 8), cnp.PyArray_ITEMSIZE(log_probs)
    c.most_steps, c.count, c.classes = log_probs.shape
    c.most_labels, c.blank, c.zero_infinity = targets.shape[1], blank, zero_infinity
    c.log_probs, c.targets = data_of(log_probs), <Py_ssize_t *>data_of(targets)
    c.steps, c.labels = <Py_ssize_t *>data_of(steps), <Py_ssize_t *>data_of(labels)
    c.scale, c.values, c.gradient = <double *>data_of(scale), <double *>data_of(values), data_of(gradient)
    parts = parts_for(<double>c.count * c.most_steps * (c.most_labels + 1) * CTC_WORK, c.count)
    p.call, p.each = &c, fr_ctc_scratch(&c)
    scratch = _Buffer(parts * p.each)
    p.scratch = (<_Buffer>scratch).data
    with nogil:
        fr_parallel(ctc_task, &p, parts)
    return values, gradient
