# How the layers of a stack are joined: directions merged, dropout, skips; part of engine.pyx.
#
# Into layer l goes u, which is x for the first one; it reads u, or, under input_dropout, u * mask. Its runs compute r,
# and it passes on v, the u of the next layer, and of the last one y: m = merge(r), v = m * mask with dropout, and with
# skip="residual" v = m * mask + u where widths agree. With skip="input" u is [v, x], with skip="output" y is all m
# side by side.

cdef enum:
    COPY, SUM, MEAN, MUL, HALF      # of rows; the first four are also the ways to merge directions
cdef enum:
    NONE, INPUT, OUTPUT, RESIDUAL   # skips

MERGES = ("concat", "sum", "mean", "mul")
SKIPS = ("none", "input", "output", "residual")

ctypedef fused real:
    float
    double


cdef void combine_row(int how, const real *a, const real *b, real *out, Py_ssize_t n) noexcept nogil:
    """out = a, a + b, (a + b) / 2, a * b or a / 2; it may be a or b."""
    cdef Py_ssize_t i
    cdef real half = 0.5
    if how == COPY:
        memcpy(out, a, n * sizeof(real))
    elif how == SUM:
        for i in range(n):
            out[i] = a[i] + b[i]
    elif how == MEAN:
        for i in range(n):
            out[i] = half * (a[i] + b[i])
    elif how == MUL:
        for i in range(n):
            out[i] = a[i] * b[i]
    else:
        for i in range(n):
            out[i] = half * a[i]


cdef void combine_rows(Pullback call, int how, const FrRows *a, const FrRows *b, const FrRows *out, Py_ssize_t width,
                       Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t t, j, row
    cdef char *at_a
    cdef char *at_b
    cdef char *at_out
    for t in range(first, last):
        for j in range(call.batch):
            if t >= call.lengths[j]:
                continue
            row = call.rows[j]
            at_a, at_b = a.base + t * a.time + row * a.batch, b.base + t * b.time + row * b.batch
            at_out = out.base + t * out.time + row * out.batch
            if call.layer.size == 4:
                combine_row[float](how, <float *>at_a, <float *>at_b, <float *>at_out, width)
            else:
                combine_row[double](how, <double *>at_a, <double *>at_b, <double *>at_out, width)


cdef void combine(Pullback call, int how, const FrRows *a, const FrRows *b, const FrRows *out, Py_ssize_t width,
                  Py_ssize_t first, Py_ssize_t last):
    """The same for `width` columns of all rows of steps [first, last) that belong to a sequence; others are not read."""
    if <double>(last - first) * call.batch * width < NOGIL_WORK:
        combine_rows(call, how, a, b, out, width, first, last)
    else:
        with nogil:
            combine_rows(call, how, a, b, out, width, first, last)


cdef FrRows columns_from(FrRows rows, Py_ssize_t bytes) noexcept:
    rows.base += bytes
    return rows


cdef FrRows steady(Pullback call, int l) except *:
    """The mask of the input of layer l, the same at every step."""
    cdef FrRows rows
    mask = call.drawn.inputs[l]
    rows.base, rows.time, rows.batch = data_of(mask), 0, cnp.PyArray_DIM(mask, 1) * call.layer.size
    return rows


cdef int mask_input(Pullback call, int l) except -1:
    """What layer l reads, from what goes into it."""
    cdef FrRows mask = steady(call, l), rows
    cdef FrRun *run = &call.runs[l * call.layer.num_directions * call.parts]
    call.reads(&rows, call.unmasked[l], l)
    combine(call, MUL, &rows, &mask, &run.x, run.plan.input, 0, call.steps)
    return 0


cdef int mask_gradient(Pullback call, int l, object du) except -1:
    """From the gradient of what layer l reads to that of what goes into it, in place."""
    cdef FrRows mask = steady(call, l), rows
    call.window(&rows, du, 0, l == 0 and call.layer.batch_first)
    combine(call, MUL, &rows, &mask, &rows, call.layer.plan(l).input, 0, call.steps)
    return 0


cdef int join(Pullback call, int l, Py_ssize_t first, Py_ssize_t last) except -1:
    """From r to v and what else the next layer reads, once the runs of layer l have done steps [first, last)."""
    cdef Recurrent layer = call.layer
    cdef int tasks = layer.num_directions * call.parts
    cdef FrRun *run = &call.runs[l * tasks]
    cdef bint final = l == layer.num_layers - 1
    cdef Py_ssize_t width = layer.layer_size
    cdef FrRows u = run.x, at = run.y, v, m, rest    # `at`: where m, then v, stands so far
    if call.unmasked is not None:
        call.reads(&u, call.unmasked[l], l)
    if not final:
        v = run[tasks].x
        if call.unmasked is not None:
            call.reads(&v, call.unmasked[l + 1], l + 1)
    elif call.outputs[l] is call.y:
        v = run.y
    else:
        call.place(&v, call.y, l)
    mask = call.mask(l)
    if layer.merging:
        m = v
        if layer.skip == OUTPUT:
            call.place(&m, call.y, l)
        combine(call, layer.merge, &run.y, &run[call.parts].y, &m, width, first, last)  # (H1)
        at = m
    if mask is not None:
        call.window(&rest, mask, 0, False)
        combine(call, MUL, &at, &rest, &v, width, first, last)
        at = v
    if layer.residual(l):
        combine(call, SUM, &at, &u, &v, width, first, last)  # (H4)
    if layer.skip == INPUT and not final:
        rest = columns_from(v, width * layer.size)
        u = call.runs.x
        if call.unmasked is not None:
            call.reads(&u, call.x, 0)
        combine(call, COPY, &u, &u, &rest, layer.input_size, first, last)  # (H2)
    return 0


cdef object unjoin(Pullback call, int l, object dy, FrRows *d, bint ours):
    """From the gradient d of v to that of r, which it then points to; `ours`: d may be written to.

    With skip="output" dy, the gradient of y, enters. Returns what keeps the new rows alive.
    """
    cdef Recurrent layer = call.layer
    cdef FrRun *run = &call.runs[l * layer.num_directions * call.parts]
    cdef Py_ssize_t width = layer.layer_size, T = call.steps
    cdef FrRows out = d[0], other
    cdef bint halved = layer.merging and layer.merge == MEAN
    mask, held = call.mask(l), None
    if (mask is not None or halved) and not ours:
        held = call.inner(T, width)
        call.window(&out, held, 0, False)
    if mask is not None:
        call.window(&other, mask, 0, False)
        combine(call, MUL, d, &other, &out, width, 0, T)
        d[0] = out
    if layer.skip == OUTPUT and l < layer.num_layers - 1:
        call.window(&other, dy, l * width, layer.batch_first)
        combine(call, SUM, d, &other, &out, width, 0, T)  # (H13)
    if halved:
        combine(call, HALF, d, d, &out, width, 0, T)  # (H11)
        d[0] = out
    elif layer.merging and layer.merge == MUL:
        both = call.inner(T, 2 * width)
        call.window(&out, both, 0, False)
        combine(call, MUL, d, &run[call.parts].y, &out, width, 0, T)  # (H11)
        other = columns_from(out, width * layer.size)
        combine(call, MUL, d, &run.y, &other, width, 0, T)
        d[0], held = out, both
    return held


cdef int pass_on(Pullback call, int l, object du, const FrRows *dv, object dx) except -1:
    """What of the gradients of v and of u goes past layer l: adds the first to du, where the layer was skipped, and
    du's part for x to dx, which the first layer's du takes over."""
    cdef Recurrent layer = call.layer
    cdef FrRows to, more
    call.window(&to, du, 0, l == 0 and layer.batch_first)
    if layer.residual(l):
        combine(call, SUM, &to, dv, &to, layer.layer_size, 0, call.steps)  # (H14)
    if layer.skip == INPUT:
        call.window(&more, dx, 0, False)
        if l:
            to = columns_from(to, layer.layer_size * layer.size)
            combine(call, SUM, &more, &to, &more, layer.input_size, 0, call.steps)  # (H12)
        else:
            combine(call, SUM, &to, &more, &to, layer.input_size, 0, call.steps)  # (H12)
    return 0
