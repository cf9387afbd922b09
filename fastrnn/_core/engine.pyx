# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The boundary: arrays -> plan -> scratch -> release the GIL -> run.

The plain case (an array of the layer's dtype, contiguous, of the right shape) is checked here in C.
Anything else goes to the checker the layer was built with, which converts or raises; no user error
is raised in this file.
"""

cimport cython
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset
cimport numpy as cnp
from .core cimport *

import os

import numpy as np

cnp.import_array()

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t, size_t)

# Work below which a second thread costs more than it brings: handing over takes some 10 us, in
# which one core does about 2 Mflop in float32.
cdef double LEAST_FLOPS_PER_THREAD = 4e6
# Inner outputs of a deep one-directional net at inference: steps are run in blocks of this size.
cdef Py_ssize_t INNER_BYTES = 1 << 19
# Releasing the GIL costs some 0.1 us: worth it above a few us of work.
cdef double NOGIL_FLOPS = 1e6

version = FR_VERSION.decode()


# ------------------------------------------------------------------ instruction sets and threads


def isas():
    """Names of the instruction sets in this build that this CPU runs, best first."""
    names = []
    cdef int i = 0
    while fr_isa_name(i) != NULL:
        if not fr_isa_hidden(i):
            names.append(fr_isa_name(i).decode())
        i += 1
    return tuple(names)


built = isas
cdef bytes _isa = isas()[0].encode()


def isa():
    """The instruction set of the layers made from now on."""
    return _isa.decode()


def use_isa(name=None):
    """Choose it by name (``"linear"`` included: identity activations, for tests); None is the default."""
    global _isa
    if name is None:
        name = os.environ.get("FASTRNN_ISA", "").strip() or isas()[0]
    if fr_kernels(name.encode(), 4) == NULL:
        raise ImportError(f"FASTRNN_ISA={name}: not in this build or not on this CPU; "
                          f"there is {', '.join(isas())}")
    _isa = name.encode()


use_isa()


def set_threads(int n):
    fr_set_threads(n)


def get_threads():
    return fr_get_threads()


# ------------------------------------------------------------------------------ memory


@cython.final
cdef class _Buffer:
    """64-byte aligned memory that lives as long as somebody refers to it."""
    cdef char *data
    cdef size_t size

    def __cinit__(self, size_t size):
        self.size = (size + 127) & ~<size_t>63
        self.data = <char *>aligned_alloc(64, self.size)
        if self.data == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.data)


# ------------------------------------------------------------------------------ runs


ctypedef struct Job:
    FrRun *runs
    Py_ssize_t first, last


cdef void forward_task(void *context, int i) noexcept nogil:
    cdef Job *job = <Job *>context
    fr_forward(&job.runs[i], job.first, job.last)


cdef void backward_task(void *context, int i) noexcept nogil:
    cdef FrBack *back = &(<FrBack *>context)[i]
    cdef const FrPlan *plan = back.run.plan
    memset(back.gradients, 0, plan.gradients * plan.kernels.size)
    fr_backward(back)


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


cdef class Pullback:
    """One evaluation of a layer, and, after ``vjp``, all that its backward pass reads.

    ``dx, dstate0 = pullback(dy, dstate=None)`` runs BPTT and adds the parameter gradients to
    ``layer.grads``. It may be called once.
    """
    cdef Recurrent layer
    cdef Py_ssize_t steps, batch, version
    cdef bint ragged, unbatched, used
    cdef object x, h0, c0               # as given; None is zeros
    cdef list inputs, outputs, masks    # by layer: what it read, what it computed, dropout of its input
    cdef list workspaces                # by layer and direction and part
    cdef Py_ssize_t *lengths            # of every slot
    cdef int *rows                      # batch row of every slot; slots are ordered part by part
    cdef int parts                      # sets of sequences, one per thread
    cdef FrRun *runs                    # [layer][direction][part]

    def __dealloc__(self):
        free(self.lengths)
        free(self.runs)

    cdef int first_slot(self, int part) noexcept:
        cdef int each = <int>(self.batch // self.parts), larger = <int>(self.batch % self.parts)
        return part * each + max(0, part - (self.parts - larger))

    cdef int share(self, object lengths) except -1:
        """Deals the sequences out: equal parts in order, or, when ragged, every parts-th of the
        sequences sorted by length, longest first."""
        cdef Py_ssize_t i, slot = 0, n = self.batch
        self.parts = self.layer.parts_for(self.steps, n)
        self.lengths = <Py_ssize_t *>malloc(n * (sizeof(Py_ssize_t) + sizeof(int)) + 1)
        if self.lengths == NULL:
            raise MemoryError()
        self.rows = <int *>(self.lengths + n)
        if not self.ragged:
            for i in range(n):
                self.lengths[i] = self.steps
                self.rows[i] = <int>i
            return 0
        order = np.argsort(-lengths, kind="stable")
        for chosen in sorted((order[part::self.parts] for part in range(self.parts)), key=len):
            for row in chosen:
                self.rows[slot] = row
                self.lengths[slot] = lengths[row]
                slot += 1
        return 0

    cdef object window(self, FrRows *rows, object array, Py_ssize_t width, Py_ssize_t column, bint batch_first):
        """Points `rows` at the columns from `column` on of a (T, B, width) or (B, T, width) array."""
        cdef Py_ssize_t size = self.layer.size
        rows.base = data_of(array)
        if rows.base != NULL:
            rows.base += column * size
        rows.time = width * size * (1 if batch_first else self.batch)
        rows.batch = width * size * (self.steps if batch_first else 1)

    cdef int lay_out(self, int l, object x, object y, object h, object c, bint keep) except -1:
        """Fills the runs of one layer."""
        cdef Recurrent layer = self.layer
        cdef FrPlan *plan = layer.plan(l)
        cdef bint first = l == 0, last = l == layer.num_layers - 1
        cdef Py_ssize_t i, rows, size = layer.size
        cdef FrRun *run
        cdef FrWorkspace ws
        cdef int d, p, at
        for d in range(layer.num_directions):
            at = l * layer.num_directions + d
            for p in range(self.parts):
                run = &self.runs[at * self.parts + p]
                run.plan = plan
                run.reverse = d
                run.count = self.first_slot(p + 1) - self.first_slot(p)
                run.row = self.rows + self.first_slot(p)
                run.length = self.lengths + self.first_slot(p)
                self.window(&run.x, x, plan.input, 0, first and layer.batch_first)
                self.window(&run.y, y, plan.output * layer.num_directions, d * plan.output,
                            last and layer.batch_first)
                run.packed = (<_Buffer>layer.packed[at]).data
                run.h = data_of(h) + at * self.batch * plan.output * size
                run.c = NULL if c is None else data_of(c) + at * self.batch * plan.hidden * size
                if keep:
                    rows = 0
                    for i in range(run.count):
                        rows += run.length[i]
                    ws = fr_workspace(plan, rows)
                    buffer = _Buffer(ws.total)
                    self.workspaces.append(buffer)
                    run.ws_save = (<_Buffer>buffer).data
                    run.ws_cell = run.ws_save + ws.cell if c is not None else NULL
                    run.ws_operand = run.ws_save + ws.operand
        return 0

    cdef object evaluate(self, bint keep):
        """(y, h, c) with all axes; c is None without a cell state."""
        cdef Recurrent layer = self.layer
        cdef Py_ssize_t width = layer.output_size * layer.num_directions, T = self.steps, B = self.batch
        cdef int l, layers = layer.num_layers, tasks = layer.num_directions * self.parts
        cdef cnp.npy_intp[3] shape
        cdef Py_ssize_t block = T, first, inner = B * width * layer.size
        shape[0] = layers * layer.num_directions
        shape[1] = B
        shape[2] = layer.output_size
        h = cnp.PyArray_ZEROS(3, shape, layer.type_number, 0) if self.h0 is None else cnp.PyArray_NewCopy(self.h0, cnp.NPY_CORDER)
        c = None
        if layer.states == 2:
            shape[2] = layer.hidden_size
            c = cnp.PyArray_ZEROS(3, shape, layer.type_number, 0) if self.c0 is None else cnp.PyArray_NewCopy(self.c0, cnp.NPY_CORDER)
        shape[0], shape[1] = (B, T) if layer.batch_first else (T, B)
        shape[2] = width
        y = cnp.PyArray_ZEROS(3, shape, layer.type_number, 0) if self.ragged else cnp.PyArray_EMPTY(3, shape, layer.type_number, 0)
        self.runs = <FrRun *>calloc(layers * tasks + 1, sizeof(FrRun))
        if self.runs == NULL:
            raise MemoryError()
        self.inputs, self.outputs, self.masks, self.workspaces = [], [], [], []
        if T == 0 or B == 0:
            self.outputs = [y] * layers
            return y, h, c

        if layers > 1 and not keep and layer.num_directions == 1 and T * inner > INNER_BYTES:
            block = max(1, INNER_BYTES // inner)
        x = self.x
        scratch = layer.take_scratch(self)
        for l in range(layers):
            if l:
                x = self.outputs[l - 1]
                mask = layer._mask(self.ragged, x.shape) if keep and layer._dropout else None
                self.masks.append(mask)
                if mask is not None:
                    x = np.multiply(x, mask)
            out = y
            if l < layers - 1:
                shape[0], shape[1] = block, B
                out = cnp.PyArray_ZEROS(3, shape, layer.type_number, 0) if self.ragged else cnp.PyArray_EMPTY(3, shape, layer.type_number, 0)
            self.inputs.append(x)
            self.outputs.append(out)
            self.lay_out(l, x, out, h, c, keep)
            layer.lend_scratch(scratch, self.runs + l * tasks, tasks)
            if block == T:
                self.run(l, tasks, 0, T)
        if block < T:
            for first in range(0, T, block):
                for l in range(layers):
                    # inner arrays hold one block: absolute step `first` stands at their start
                    for i in range(tasks):
                        if l:
                            self.runs[l * tasks + i].x.base = data_of(self.outputs[l - 1]) - first * inner
                        if l < layers - 1:
                            self.runs[l * tasks + i].y.base = data_of(self.outputs[l]) - first * inner
                    self.run(l, tasks, first, min(T, first + block))
        layer.scratch = scratch
        return y, h, c

    cdef int run(self, int l, int tasks, Py_ssize_t first, Py_ssize_t last) except -1:
        cdef Job job
        job.runs = self.runs + l * tasks
        job.first = first
        job.last = last
        if self.layer.flops(last - first, self.batch) < NOGIL_FLOPS:
            fr_parallel(forward_task, &job, tasks)
        else:
            with nogil:
                fr_parallel(forward_task, &job, tasks)
        return 0

    cdef object back_layer(self, int l, object dy, object dh, object dc):
        """BPTT through one layer: its dx; dh and dc are rewritten to the initial states' gradients."""
        cdef Recurrent layer = self.layer
        cdef FrPlan *plan = layer.plan(l)
        cdef bint first = l == 0, last = l == layer.num_layers - 1
        cdef Py_ssize_t i, width = plan.output * layer.num_directions, size = layer.size
        # the larger parts need not be the ones that need more: blocks hold whole steps
        cdef size_t need = max(fr_backward_scratch(plan, self.first_slot(1)),
                               fr_backward_scratch(plan, <int>self.batch - self.first_slot(self.parts - 1)))
        cdef size_t gradients = (plan.gradients * size + 63) & ~<size_t>63
        cdef int d, p, at
        cdef FrBack *back
        x = self.inputs[l]
        dx = np.zeros_like(x) if self.ragged else np.empty_like(x)
        memory = _Buffer(self.parts * (need + gradients + sizeof(FrBack)))
        cdef char *base = (<_Buffer>memory).data
        cdef FrBack *backs = <FrBack *>(base + self.parts * (need + gradients))
        for d in range(layer.num_directions):
            at = l * layer.num_directions + d
            for p in range(self.parts):
                back = &backs[p]
                back.run = &self.runs[at * self.parts + p]
                back.h0 = NULL if self.h0 is None else data_of(self.h0) + at * self.batch * plan.output * size
                back.c0 = NULL if self.c0 is None else data_of(self.c0) + at * self.batch * plan.hidden * size
                self.window(&back.dy, dy, width, d * plan.output, last and layer.batch_first)
                self.window(&back.dx, dx, plan.input, 0, first and layer.batch_first)
                back.dx_add = d
                back.dh = data_of(dh) + at * self.batch * plan.output * size
                back.dc = NULL if dc is None else data_of(dc) + at * self.batch * plan.hidden * size
                back.packed_back = (<_Buffer>layer.packed_back[at]).data
                back.gradients = base + p * gradients
                back.scratch = base + self.parts * gradients + p * need
            with nogil:
                fr_parallel(backward_task, backs, self.parts)
            for p in range(self.parts):
                fr_unpack_gradients(plan, base + p * gradients, &layer.gradient_pointers[at])
        return dx

    def __call__(self, dy=None, dstate=None):
        """Back-propagation through time.

        Parameters
        ----------
        dy : ndarray, optional
            Gradient of the loss with respect to ``y``, in its shape; None is zeros.
        dstate : ndarray or tuple, optional
            With respect to the final state, in its form; None, or None in it, is zeros.

        Returns
        -------
        dx : ndarray
            In the shape of ``x``.
        dstate0 : ndarray or tuple
            In the form of the state.

        Raises
        ------
        RuntimeError
            When called a second time, or after the layer's weights were changed.
        """
        cdef Recurrent layer = self.layer
        cdef int l
        y = self.outputs[self.layer.num_layers - 1] if self.outputs is not None else None
        layer.current()
        layer._ready(self.used, self.version != layer._version)
        dy, states = layer._check_gradients(layer, dy, dstate, (<object>y).shape, self.batch, self.unbatched)
        self.used = True
        names = (layer.output_size, layer.hidden_size)[:layer.states]
        rows = layer.num_layers * layer.num_directions
        carry = [np.zeros((rows, self.batch, n), layer.dtype) if s is None else np.array(s, order="C")
                 for n, s in zip(names, states)]
        dc = carry[1] if layer.states == 2 else None
        dx = dy
        if self.steps == 0 or self.batch == 0:
            dx = np.zeros_like(self.x)
        else:
            layer.pack_back()
            for l in range(layer.num_layers - 1, -1, -1):
                dx = self.back_layer(l, dx, carry[0], dc)
                if l and self.masks[l - 1] is not None:
                    np.multiply(dx, self.masks[l - 1], out=dx)
        self.inputs = self.outputs = self.masks = self.workspaces = None
        self.x = self.h0 = self.c0 = None
        return layer.shaped(self.unbatched, dx), layer.state_of(self.unbatched, carry)


# ------------------------------------------------------------------------------ layers


cdef class Recurrent:
    """What the layers are made of: their sizes, plans, packed weights and calls."""
    cdef public Py_ssize_t _version, _editing
    cdef public double _dropout
    cdef readonly int input_size, hidden_size, num_layers, num_directions, output_size, states
    cdef readonly bint batch_first
    cdef int size, type_number
    cdef FrPlan *plans                  # of the first layer, and of the others
    cdef FrParameters *value_pointers   # by layer and direction
    cdef FrParameters *gradient_pointers
    cdef list packed, packed_back       # buffers by layer and direction, for the versions below
    cdef Py_ssize_t packed_version, packed_back_version
    cdef object scratch                 # a buffer for the next call; None while one runs
    cdef object _check_inputs, _check_gradients, _ready

    def __dealloc__(self):
        free(self.plans)
        free(self.value_pointers)

    def _configure(self, str cell, int size, int input_size, int hidden_size, int num_layers, int num_directions,
                   int proj_size, bint batch_first, check_inputs, check_gradients, ready):
        """Plan the layer; the callables check arguments that are not plain, and pullbacks."""
        cdef int number = fr_cell_by_name(cell.encode())
        cdef const FrKernels *kernels = fr_kernels(_isa, size)
        cdef int rows = num_layers * num_directions
        self.plans = <FrPlan *>malloc(2 * sizeof(FrPlan))
        self.value_pointers = <FrParameters *>calloc(2 * rows, sizeof(FrParameters))
        if self.plans == NULL or self.value_pointers == NULL:
            raise MemoryError()
        self.gradient_pointers = self.value_pointers + rows
        self.size = size
        self.type_number = cnp.NPY_FLOAT if size == 4 else cnp.NPY_DOUBLE
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.num_directions = num_directions
        self.output_size = proj_size or hidden_size
        self.batch_first = batch_first
        self.states = fr_cells[number].states
        fr_plan(&self.plans[0], kernels, number, input_size, hidden_size, proj_size)
        fr_plan(&self.plans[1], kernels, number, self.output_size * num_directions, hidden_size, proj_size)
        self.packed_version = self.packed_back_version = -1
        self._check_inputs, self._check_gradients, self._ready = check_inputs, check_gradients, ready

    def _attach(self, values, gradients):
        """The parameter arrays, by layer and direction: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr (or
        None), then the elementwise weights. They must never move."""
        for i, (v, g) in enumerate(zip(values, gradients)):
            point(&self.value_pointers[i], v)
            point(&self.gradient_pointers[i], g)

    cdef FrPlan *plan(self, int l) noexcept:
        return &self.plans[l > 0]

    cdef double flops(self, Py_ssize_t steps, Py_ssize_t batch) noexcept:
        """Of one layer, one direction, forward; padding included."""
        cdef FrPlan *plan = &self.plans[self.num_layers > 1]
        return 2.0 * steps * batch * plan.packed

    cdef int parts_for(self, Py_ssize_t steps, Py_ssize_t batch) noexcept:
        cdef double worth = self.flops(steps, batch) / LEAST_FLOPS_PER_THREAD
        cdef Py_ssize_t n = min(<Py_ssize_t>fr_get_threads(), batch)
        return <int>max(1, n if worth >= n else <Py_ssize_t>worth)

    cdef int current(self) except -1:
        """Takes over what an open edit() block changed."""
        if self._editing:
            self._sync()
        return 0

    cdef int pack(self) except -1:
        """Packs the weights unless these are packed. Buffers in use are not written to again."""
        cdef int i
        self.current()
        if self.packed_version == self._version:
            return 0
        version = self._version
        packed = []
        for i in range(self.num_layers * self.num_directions):
            plan = self.plan(i // self.num_directions)
            buffer = _Buffer(plan.packed * self.size)
            fr_pack(plan, &self.value_pointers[i], (<_Buffer>buffer).data)
            packed.append(buffer)
        self.packed, self.packed_version = packed, version
        return 0

    cdef int pack_back(self) except -1:
        cdef int i
        if self.packed_back_version == self._version:
            return 0
        version = self._version
        packed = []
        for i in range(self.num_layers * self.num_directions):
            plan = self.plan(i // self.num_directions)
            buffer = _Buffer(plan.packed_back * self.size)
            fr_pack_back(plan, &self.value_pointers[i], (<_Buffer>buffer).data)
            packed.append(buffer)
        self.packed_back, self.packed_back_version = packed, version
        return 0

    cdef object take_scratch(self, Pullback call):
        """A buffer that is large enough for all tasks of one layer of this call."""
        cdef int count = call.first_slot(call.parts) - call.first_slot(call.parts - 1)
        cdef size_t need = max(fr_forward_scratch(&self.plans[0], count), fr_forward_scratch(&self.plans[1], count))
        buffer = self.scratch
        self.scratch = None
        need *= call.parts * self.num_directions
        if buffer is None or (<_Buffer>buffer).size < need:
            buffer = _Buffer(need)
        return buffer

    cdef void lend_scratch(self, object buffer, FrRun *runs, int tasks) noexcept:
        cdef int i
        cdef size_t each = ((<_Buffer>buffer).size // tasks) & ~<size_t>63
        for i in range(tasks):
            runs[i].scratch = (<_Buffer>buffer).data + i * each

    cdef object shaped(self, bint unbatched, array):
        return array[0] if unbatched and self.batch_first else array[:, 0] if unbatched else array

    cdef object state_of(self, bint unbatched, arrays):
        if unbatched:
            arrays = [a[:, 0] for a in arrays]
        return arrays[0] if self.states == 1 else (arrays[0], arrays[1])

    cdef bint plain_state(self, object state, Py_ssize_t batch) noexcept:
        """Is `state` None or exactly the arrays C can read?"""
        if state is None:
            return True
        if self.states == 1:
            return self.plain_part(state, batch, self.output_size)
        return (type(state) is tuple and len(<tuple>state) == 2
                and self.plain_part((<tuple>state)[0], batch, self.output_size)
                and self.plain_part((<tuple>state)[1], batch, self.hidden_size))

    cdef bint plain_part(self, object a, Py_ssize_t batch, Py_ssize_t width) noexcept:
        return a is None or (plain(a, self.type_number, 3)
                             and cnp.PyArray_DIM(a, 0) == self.num_layers * self.num_directions
                             and cnp.PyArray_DIM(a, 1) == batch and cnp.PyArray_DIM(a, 2) == width)

    cdef Pullback begin(self, x, state, lengths):
        """The call's arguments checked, and its sequences dealt out."""
        cdef Pullback call = Pullback.__new__(Pullback)
        cdef int t = self.batch_first
        if not (lengths is None and plain(x, self.type_number, 3) and cnp.PyArray_DIM(x, 2) == self.input_size
                and self.plain_state(state, cnp.PyArray_DIM(x, 1 - t))):
            x, state, lengths, call.unbatched = self._check_inputs(self, x, state, lengths)
            if self.states == 1:
                state = state[0]
        if self.states == 2 and state is not None:
            call.h0, call.c0 = state
        else:
            call.h0 = state
        self.pack()
        call.layer = self
        call.version = self._version
        call.x = x
        call.steps, call.batch = cnp.PyArray_DIM(x, t), cnp.PyArray_DIM(x, 1 - t)
        call.ragged = lengths is not None
        call.share(lengths)
        return call

    def __call__(self, x, state=None, lengths=None):
        """Run the layer; nothing is kept for backward.

        Parameters
        ----------
        x : ndarray
            ``(T, B, I)``, ``(B, T, I)`` with ``batch_first``, or ``(T, I)``.
        state : ndarray or tuple, optional
            Initial state: ``h (L*D, B, H)``, for LSTM ``(h, c)``; without ``B`` when ``x`` has none;
            None, or None in it, is zeros.
        lengths : array_like of int, optional
            ``(B,)`` in ``0..T``, in any order. What lies past a length is never read.

        Returns
        -------
        y : ndarray
            ``(T, B, D*H)`` in the layout of ``x`` (``D*P`` with a projection), 0 past a length.
        state : ndarray or tuple
            The state after each sequence's last step, in the form of the initial one.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, before any work is done.
        """
        cdef Pullback call = self.begin(x, state, lengths)
        y, h, c = call.evaluate(False)
        if call.unbatched or self.states == 2:
            return self.shaped(call.unbatched, y), self.state_of(call.unbatched, (h, c) if self.states == 2 else (h,))
        return y, h

    def vjp(self, x, state=None, lengths=None):
        """Run the layer and keep what backward needs.

        Takes what a call takes. Returns ``y`` (read-only: backward reads it) and ``state``, the
        same bits as a call's, and ``pullback``: ``dx, dstate0 = pullback(dy, dstate=None)``.
        """
        cdef Pullback call = self.begin(x, state, lengths)
        call.x, call.h0, call.c0 = owned(call.x), owned(call.h0), owned(call.c0)
        y, h, c = call.evaluate(True)
        y.flags.writeable = False
        return (self.shaped(call.unbatched, y),
                self.state_of(call.unbatched, (h, c) if self.states == 2 else (h,)), call)


cdef class Stream:
    """A layer stepped through time. It owns its buffers; a step allocates nothing but the view it
    returns. Weights edited meanwhile reach it at its next ``reset``."""
    cdef Recurrent layer
    cdef Py_ssize_t batch
    cdef Pullback call                  # its runs, one per layer
    cdef object h, c, y0, y1, inner, memory, _check_step, _check_state
    cdef bint odd

    def __init__(self, Recurrent layer, Py_ssize_t batch_size, check_step, check_state):
        self.layer, self.batch = layer, batch_size
        self._check_step, self._check_state = check_step, check_state
        self.reset()

    def reset(self, state=None):
        """Start again from ``state`` (zeros when None), with the layer's weights as they are now.

        Parameters
        ----------
        state : ndarray or tuple, optional
            As a call of the layer takes it, with its batch axis.
        """
        cdef Recurrent layer = self.layer
        cdef Pullback call
        cdef FrRun *run
        cdef int l
        states = self._check_state(layer, state, self.batch)
        rows = (layer.num_layers, self.batch)
        arrays = [np.zeros((*rows, n), layer.dtype) if s is None else np.array(s, order="C")
                  for n, s in zip((layer.output_size, layer.hidden_size), states)]
        call = Pullback.__new__(Pullback)
        layer.pack()
        call.layer, call.steps, call.batch = layer, 1, self.batch
        call.share(None)
        call.parts = 1
        call.runs = <FrRun *>calloc(layer.num_layers, sizeof(FrRun))
        if call.runs == NULL:
            raise MemoryError()
        call.workspaces = [layer.packed]   # these weights stay alive with the stream
        self.h, self.c = arrays[0], arrays[1] if layer.states == 2 else None
        self.y0 = np.zeros((self.batch, layer.output_size), layer.dtype)
        self.y1 = np.zeros_like(self.y0)
        self.inner = np.zeros((2, self.batch, layer.output_size), layer.dtype)
        self.memory = _Buffer(max(fr_forward_scratch(&layer.plans[0], self.batch),
                                  fr_forward_scratch(&layer.plans[1], self.batch)))
        for l in range(layer.num_layers):
            run = &call.runs[l]
            call.lay_out(l, self.inner[(l + 1) % 2], self.inner[l % 2], self.h, self.c, False)
            run.scratch = (<_Buffer>self.memory).data
            run.x.batch = run.plan.input * layer.size
            run.y.batch = layer.output_size * layer.size
        self.call = call

    @property
    def state(self):
        """A copy of the state: ``(L, B, H)``, for LSTM ``(h, c)``."""
        if self.layer.states == 1:
            return self.h.copy()
        return self.h.copy(), self.c.copy()

    def step(self, x_t):
        """One time step.

        Parameters
        ----------
        x_t : ndarray
            ``(B, I)``, or ``(I,)`` for batch 1; may be the ``y_t`` of the step before.

        Returns
        -------
        y_t : ndarray
            ``(B, H)`` or ``(H,)`` (``P`` with a projection): read-only, valid until the next step.
        """
        cdef Recurrent layer = self.layer
        cdef Pullback call = self.call
        cdef int l, ndim = 2
        cdef cnp.npy_intp[2] shape
        cdef bint single
        if plain(x_t, layer.type_number, 1):
            single = self.batch == 1 and cnp.PyArray_DIM(x_t, 0) == layer.input_size
            if not single:
                x_t, single = self._check_step(layer, x_t, self.batch)
        elif (plain(x_t, layer.type_number, 2) and cnp.PyArray_DIM(x_t, 0) == self.batch
              and cnp.PyArray_DIM(x_t, 1) == layer.input_size):
            single = False
        else:
            x_t, single = self._check_step(layer, x_t, self.batch)
        y = self.y1 if self.odd else self.y0
        self.odd = not self.odd
        call.runs[0].x.base = <char *>cnp.PyArray_DATA(x_t)
        call.runs[layer.num_layers - 1].y.base = <char *>cnp.PyArray_DATA(y)
        for l in range(layer.num_layers):
            fr_forward(&call.runs[l], 0, 1)
        shape[0], shape[1] = self.batch, layer.output_size
        view = cnp.PyArray_SimpleNewFromData(1 if single else 2, &shape[1] if single else shape, layer.type_number,
                                             cnp.PyArray_DATA(y))
        cnp.PyArray_CLEARFLAGS(view, cnp.NPY_ARRAY_WRITEABLE)
        cnp.set_array_base(view, y)
        return view


cdef void *pointer(object array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef void point(FrParameters *p, arrays):
    p.weight_ih, p.weight_hh = pointer(arrays[0]), pointer(arrays[1])
    p.bias_ih, p.bias_hh, p.weight_hr = pointer(arrays[2]), pointer(arrays[3]), pointer(arrays[4])
    for i, array in enumerate(arrays[5:]):
        p.vector[i] = pointer(array)


# ------------------------------------------------------------------------------ for tests


def math(str name, array, str isa_name=None):
    """exp, sigmoid or tanh of a float array by one instruction set's kernel."""
    source = np.ascontiguousarray(array)
    cdef const FrKernels *k = fr_kernels((isa_name or isa()).encode(), source.itemsize)
    cdef int which = {"exp": FR_EXP, "sigmoid": FR_SIGMOID, "tanh": FR_TANH}[name]
    result = np.empty_like(source)
    k.math[which](cnp.PyArray_DATA(source), cnp.PyArray_DATA(result), source.size)
    return result


def product(a, w, bias, str isa_name=None):
    """``a @ w.T + bias`` (rows, depth) (units, depth) (units,) by the packed micro-kernel, tile by tile."""
    a, w, bias = np.ascontiguousarray(a), np.ascontiguousarray(w), np.ascontiguousarray(bias)
    cdef const FrKernels *k = fr_kernels((isa_name or isa()).encode(), a.itemsize)
    cdef int rows = a.shape[0], depth = a.shape[1], units = w.shape[0], r, n, p, i, tile
    cdef FrPlan plan
    cdef FrParameters parameters
    cdef FrProduct one
    cdef const void *pointers[8]
    fr_plan(&plan, k, fr_cell_by_name(b"rnn_tanh"), depth, units, 0)
    cdef FrStagePlan *s = &plan.stage[0]
    hidden = np.zeros((units, units), a.dtype)
    point(&parameters, (w, hidden, bias, None, None))
    packed = _Buffer(plan.packed * k.size)
    fr_pack(&plan, &parameters, (<_Buffer>packed).data)
    cdef Py_ssize_t width = s.gx_width * k.lanes
    result = np.zeros((rows, s.panels * width), a.dtype)
    tile = k.tile_rows[s.gx_width]
    for r in range(0, rows, tile):
        n = min(tile, rows - r)
        for i in range(n):
            pointers[i] = <char *>cnp.PyArray_DATA(a) + (r + i) * depth * k.size
        for p in range(s.panels):
            memset(&one, 0, sizeof(FrProduct))
            one.a = pointers
            one.panel = (<_Buffer>packed).data + (s.gx_panels + p * depth * width) * k.size
            one.init = (<_Buffer>packed).data + (s.gx_bias + p * width) * k.size
            one.out = <char *>cnp.PyArray_DATA(result) + (r * s.panels + p) * width * k.size
            one.depth, product.chunks, product.a_step, product.panel_step = depth, 1, 1, width
            one.out_row = s.panels * width
            one.rows, product.panels = n, 1
            k.product[s.gx_width](&one)
    return np.ascontiguousarray(result[:, :units])
