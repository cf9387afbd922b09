# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: auto_pickle=False
"""The boundary: arrays -> plan -> scratch -> release the GIL -> run.

The plain case (an array of the layer's dtype, contiguous, of the right shape) is checked here in C.
Anything else goes to the checker the layer was built with, which converts or raises; no user error
is raised in this file.
"""

cimport cython
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
cimport numpy as cnp
from .core cimport *

import os
import threading

import numpy as np

cnp.import_array()

# Work, in multiply-adds of a row, below which a thread costs more than it brings: some 5 us. A row alone reads
# the weights for itself, four and more share them.
cdef double LEAST_WORK_PER_THREAD = 1.25e5
cdef Py_ssize_t ROWS_THAT_SHARE = 4
# Rows that a thread should have to itself; with fewer it does better with some hidden blocks of all rows ...
cdef Py_ssize_t LEAST_ROWS = 4
# ... if its share of a step, in multiply-adds of a row, is worth the meeting at the end: LSTM H = 128 and RNN
# H = 256 gain 1.3 times, LSTM H = 64 and RNN H = 128 lose 1.1 times.
cdef double LEAST_WORK_TO_MEET = 4e4
cdef bint _spread = False
# Inner outputs of a deep one-directional net at inference: steps are run in blocks of this size.
cdef Py_ssize_t INNER_BYTES = 1 << 19
# Releasing the GIL costs some 0.1 us: worth it above a few us of work.
cdef double NOGIL_WORK = 1e5

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


def spread(bint on):
    """Deal every call out to all threads, however small it is: for tests."""
    global _spread
    _spread = on


def prefer_unit(bint on):
    """Use the matrix unit, if there is one, for every call, however small: for tests."""
    global fr_bricks_always
    fr_bricks_always = on


def set_threads(int n):
    fr_set_threads(n)


def get_threads():
    return fr_get_threads()


include "arrays.pxi"
include "evaluation.pxi"
include "stack.pxi"


# ------------------------------------------------------------------------------ layers

cdef enum:
    FORWARD, BACK, BRICKS  # forms of packed weights: for forward; for backward, as panels or for a matrix unit


cdef size_t packed_size(const FrPlan *plan, int form) noexcept:
    if form == BRICKS:
        return plan.packed_bricks
    return (plan.packed if form == FORWARD else plan.packed_back) * plan.kernels.size


cdef void pack_weights(const FrPlan *plan, const FrParameters *p, int form, void *memory) noexcept:
    if form == FORWARD:
        fr_pack(plan, p, memory)
    elif form == BACK:
        fr_pack_back(plan, p, memory)
    else:
        fr_pack_bricks(plan, p, memory)


cdef class Recurrent:
    """What the layers are made of: their sizes, plans, packed weights and calls."""
    cdef public Py_ssize_t _version, _editing
    cdef public double _dropout
    cdef Py_ssize_t checkpoint          # steps between states that a vjp keeps; 0: it keeps all it needs
    cdef public bint _masked            # a vjp draws masks other than those of _dropout
    cdef readonly int input_size, hidden_size, num_layers, num_directions, output_size
    cdef int merge, skip                # see stack.pxi
    cdef bint merging, joined           # directions are; layers are by more than one reading the other's output
    cdef bint cell_states               # a call returns those of the last layer, too
    cdef Py_ssize_t layer_size, y_size  # widths of what a layer passes on, and of y
    cdef int states, hidden_states      # of the cell; the first so many of them are the engine's own business
    cdef tuple empty                    # what each state is without a given one ...
    cdef bint fills                     # ... is not zeros for all
    cdef readonly bint batch_first
    cdef int size, type_number
    cdef FrPlan *plans                  # of the first layer, and of the others
    cdef FrParameters *value_pointers   # by layer and direction
    cdef FrParameters *gradient_pointers
    cdef list recurrent_weights         # weight_hh by layer and direction
    cdef list packed                    # by form: buffers by layer and direction, or None; for the versions below
    cdef Py_ssize_t[3] packed_versions
    cdef bint lent                      # a stream has the packed weights, too
    cdef object scratch                 # a buffer for the next call; None while one runs
    cdef list spare                     # buffers of the last backward pass, for the next vjp
    cdef object adding                  # a lock, held by who adds to the gradients
    cdef tuple learned, learned_gradients   # by state: what it is when none is given, (L*D, width); or both None
    cdef object _check_inputs, _check_gradients, _ready

    def __dealloc__(self):
        free(self.plans)
        free(self.value_pointers)

    def _configure(self, str cell, str inner, int size, int input_size, int hidden_size, int num_layers, int num_directions,
                   int proj_size, bint batch_first, tuple empty, dict options, str merge, str skip, bint cell_states,
                   check_inputs, check_gradients, ready):
        """Plan the layer, `inner`: the cell of all layers but the first; the callables check arguments that are not plain, and pullbacks. `empty`: what each state
        that a caller sees is without a given one; options: see `set_options`; merge, skip: one of `MERGES`, `SKIPS`; cell_states: whether calls return them."""
        cdef int number = fr_cell_by_name(cell.encode()), inner_number = fr_cell_by_name(inner.encode())
        cdef FrOptions chosen
        set_options(&chosen, options)
        cdef const FrKernels *kernels = fr_kernels(_isa, size)
        cdef const FrUnit *unit = fr_unit(_isa, size)
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
        self.hidden_states = self.states - len(empty)
        self.empty = self.hidden_states * (0.0,) + empty
        self.fills = any(self.empty)
        self.cell_states = cell_states
        self.merge, self.skip = MERGES.index(merge), SKIPS.index(skip)
        self.merging = self.merge and num_directions == 2
        self.layer_size = self.output_size if self.merging else self.output_size * num_directions
        self.y_size = self.layer_size * (num_layers if self.skip == OUTPUT else 1)
        fr_plan(&self.plans[0], kernels, unit, number, input_size, hidden_size, proj_size, &chosen)
        fr_plan(&self.plans[1], kernels, unit, inner_number, self.layer_size + (input_size if self.skip == INPUT else 0),
                hidden_size, proj_size, &chosen)
        self.joined = self.merging or self.residual(0) or self.skip and num_layers > 1
        self.packed = [None, None, None]
        self.packed_versions = [-1, -1, -1]
        self.adding = threading.Lock()
        self._check_inputs, self._check_gradients, self._ready = check_inputs, check_gradients, ready

    def _attach(self, values, gradients):
        """The parameter arrays, by layer and direction: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr (or
        None), then what only this cell has, those of one layer and direction one behind the other. They
        must never move."""
        self.recurrent_weights = [v[1] for v in values]
        for i, (v, g) in enumerate(zip(values, gradients)):
            point(&self.value_pointers[i], v)
            point(&self.gradient_pointers[i], g)

    def _keep_states_every(self, Py_ssize_t steps):
        """A vjp keeps states only, so far apart, and backward computes the rest again."""
        self.checkpoint = steps

    def _learn(self, values, gradients):
        """The initial states that are parameters, in the order of the states a caller sees."""
        self.learned = self.hidden_states * (None,) + tuple(values)
        self.learned_gradients = self.hidden_states * (None,) + tuple(gradients)

    cdef FrPlan *plan(self, int l) noexcept:
        return &self.plans[l > 0]

    cdef bint residual(self, int l) noexcept:
        """Is the input of layer l added to its output?"""
        return self.skip == RESIDUAL and self.plan(l).input == self.layer_size

    cdef double work(self, Py_ssize_t steps, Py_ssize_t batch) noexcept:
        """Multiply-adds of one layer and direction, forward, padding included, in terms of one row's."""
        return <double>steps * self.plans[self.num_layers > 1].packed * max(1.0, <double>batch / ROWS_THAT_SHARE)

    cdef int threads_for(self, Py_ssize_t steps, Py_ssize_t batch) noexcept:
        """Threads that each direction gets."""
        cdef double worth = self.work(steps, batch) * self.num_directions / LEAST_WORK_PER_THREAD
        cdef int n = max(1, fr_get_threads() // self.num_directions)
        return <int>max(1, n if worth >= n or _spread else <int>worth)

    cdef int members_for(self, Py_ssize_t batch, int threads, int parts) noexcept:
        """Threads that share each of the parts' hidden blocks."""
        cdef bint worth = self.work(1, batch) >= LEAST_WORK_TO_MEET * threads
        return threads // parts if worth or _spread else 1

    cdef int current(self) except -1:
        """Takes over what an open edit() block changed."""
        if self._editing:
            self._sync()
        return 0

    cdef int pack(self, int form) except -1:
        """Packs the weights in a form unless they are. A stream's are not written to again; other memory is: fresh pages would
        be cleared first, which takes twice as long as packing."""
        cdef int i
        self.current()
        if self.packed_versions[form] == self._version:
            return 0
        version, packed = self._version, None if form == FORWARD and self.lent else self.packed[form]
        if packed is None:
            packed = [_Buffer(packed_size(self.plan(i // self.num_directions), form))
                      for i in range(self.num_layers * self.num_directions)]
        self.packed_versions[form] = -1
        if form == FORWARD:
            self.lent = False
        for i, buffer in enumerate(packed):
            pack_weights(self.plan(i // self.num_directions), &self.value_pointers[i], form, (<_Buffer>buffer).data)
        self.packed[form], self.packed_versions[form] = packed, version
        return 0

    cdef object take_scratch(self, Pullback call):
        """A buffer that is large enough for all tasks of one layer of this call."""
        cdef int count = call.first_slot(call.parts) - call.first_slot(call.parts - 1)
        cdef size_t need = max(fr_forward_scratch(&self.plans[0], count, call.members),
                               fr_forward_scratch(&self.plans[1], count, call.members))
        buffer = self.scratch
        self.scratch = None
        need *= call.parts * self.num_directions
        if buffer is None or (<_Buffer>buffer).size < need:
            buffer = _Buffer(need)
        return buffer

    cdef object take_spare(self, size_t size):
        """A buffer for a vjp or its backward pass. Fresh pages would be cleared first: at (100,64,512) 7 % of the time
        of an LSTM's training."""
        cdef int i
        spare = self.spare
        if spare is not None:
            for i in range(len(spare)):
                if size <= (<_Buffer>spare[i]).size <= 2 * size + 4096:
                    return spare.pop(i)
        return _Buffer(size)

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
        if self.hidden_states:
            arrays = arrays[self.hidden_states:]
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    cdef bint plain_state(self, object state, Py_ssize_t batch) noexcept:
        """Is `state` None or exactly the arrays C can read?"""
        cdef int i
        if state is None:
            return True
        if self.states - self.hidden_states == 1:
            return self.plain_part(state, batch, self.hidden_size if self.hidden_states else self.output_size)
        if type(state) is not tuple or len(<tuple>state) != self.states:
            return False
        for i in range(self.states):
            if not self.plain_part((<tuple>state)[i], batch, self.hidden_size if i else self.output_size):
                return False
        return True

    cdef tuple initial(self, object state, Py_ssize_t batch):
        """An array, or None for zeros, per state of the engine; `state` has been checked."""
        cdef int i, rows = self.num_layers * self.num_directions
        if state is None:
            given = self.states * (None,)
        else:
            given = <tuple>state if type(state) is tuple else (state,)
            if self.hidden_states:
                given = self.hidden_states * (None,) + given
        if self.fills:
            given = tuple([np.full((rows, batch, self.hidden_size), empty, self.dtype) if empty and part is None else part
                           for empty, part in zip(self.empty, given)])
        return given

    cdef tuple learned_state(self, Py_ssize_t batch):
        """As `initial`, when none is given and there are parameters for it."""
        parts = [None if part is None else np.repeat(part[:, np.newaxis], batch, axis=1) for part in self.learned]
        for part in parts:
            if part is not None:
                part.flags.writeable = False  # nobody else has it
        return tuple(parts)

    cdef int learn(self, list dstate, Py_ssize_t batch) except -1:
        """Adds the gradients of the initial states, summed over the batch, to those of the parameters."""
        cdef Py_ssize_t row, b, width
        cdef char *part
        cdef char *to
        with self.adding:
            for s in range(self.hidden_states, self.states):
                width = self.width(s) * self.size
                part, to = data_of(dstate[s]), data_of(self.learned_gradients[s])
                for row in range(self.num_layers * self.num_directions):
                    for b in range(batch):
                        self.plans[0].kernels.add(part + (row * batch + b) * width, to + row * width, self.width(s))
        return 0

    cdef object running(self, object initial, int i, Py_ssize_t batch):
        """State i as a run rewrites it: a copy of the initial one, or zeros."""
        cdef cnp.npy_intp[3] shape
        if initial is not None:
            return cnp.PyArray_NewCopy(initial, cnp.NPY_CORDER)
        shape[0], shape[1], shape[2] = self.num_layers * self.num_directions, batch, self.width(i)
        return cnp.PyArray_ZEROS(3, shape, self.type_number, 0)

    cdef Py_ssize_t width(self, int i) noexcept:
        """Of state i."""
        return self.hidden_size if i else self.output_size

    cdef bint plain_part(self, object a, Py_ssize_t batch, Py_ssize_t width) noexcept:
        return a is None or (plain(a, self.type_number, 3)
                             and cnp.PyArray_DIM(a, 0) == self.num_layers * self.num_directions
                             and cnp.PyArray_DIM(a, 1) == batch and cnp.PyArray_DIM(a, 2) == width)

    cdef Pullback begin(self, x, state, lengths):
        """The call's arguments checked, and its sequences dealt out."""
        cdef Pullback call = Pullback.__new__(Pullback)
        cdef int t = self.batch_first
        if self.plans == NULL:
            raise RuntimeError("layer: its constructor has not run")
        call.learns = self.learned is not None and state is None
        if not (lengths is None and plain(x, self.type_number, 3) and cnp.PyArray_DIM(x, 2) == self.input_size
                and self.plain_state(state, cnp.PyArray_DIM(x, 1 - t))):
            x, state, lengths, call.unbatched = self._check_inputs(self, x, state, lengths)
        self.pack(FORWARD)
        call.layer = self
        call.version = self._version
        call.x = x
        call.steps, call.batch = cnp.PyArray_DIM(x, t), cnp.PyArray_DIM(x, 1 - t)
        call.initial = self.learned_state(call.batch) if call.learns else self.initial(state, call.batch)
        call.ragged = lengths is not None
        call.share(lengths, call.batch)
        return call

    def __call__(self, x, state=None, lengths=None):
        """Run the layer; nothing is kept for backward.

        Parameters
        ----------
        x : ndarray
            ``(T, B, I)``, ``(B, T, I)`` with ``batch_first``, or ``(T, I)``.
        state : ndarray or tuple, optional
            Initial state: ``h (L*D, B, H)``, for LSTM ``(h, c)``; without ``B`` when ``x`` has none;
            None, or None in it, is zeros; with ``learn_state`` None is ``h0``, ``c0``.
        lengths : array_like of int, optional
            ``(B,)`` in ``0..T``, in any order. What lies past a length is never read.

        Returns
        -------
        y : ndarray
            ``(T, B, D*H)`` in the layout of ``x`` (``D*P`` with a projection; ``merge`` and ``skip`` may change the
            width), 0 past a length.
        state : ndarray or tuple
            The state after each sequence's last step, in the form of the initial one.
        c_seq : ndarray
            With ``return_cell_states``: the cell states of the last layer at all steps, ``(T, B, D*H)`` in the layout of
            ``x``, 0 past a length.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, before any work is done.
        """
        return self.answer(self.begin(x, state, lengths))

    cdef object answer(self, Pullback call):
        self.spare = None  # who calls does not train
        y = call.evaluate(False)
        if self.cell_states:
            c_seq = self.shaped(call.unbatched, call.cells)
            return self.shaped(call.unbatched, y), self.state_of(call.unbatched, call.final), c_seq
        return self.shaped(call.unbatched, y), self.state_of(call.unbatched, call.final)

    def vjp(self, x, state=None, lengths=None):
        """Run the layer and keep what backward needs.

        Takes what a call takes. Returns ``y`` (read-only: backward reads it) and ``state``, the
        same bits as a call's, and ``pullback``: ``dx, dstate0 = pullback(dy, dstate=None)``. With ``return_cell_states``
        ``c_seq``, read-only, comes before ``pullback``, which takes ``dc_seq=None``, its gradient.
        """
        return self.answer_vjp(self.begin(x, state, lengths))

    cdef object answer_vjp(self, Pullback call):
        if not self.checkpoint:
            call.x = owned(call.x)
        call.initial = tuple([owned(part) for part in call.initial])
        y = call.evaluate(True)
        y.flags.writeable = False
        final, call.final = call.final, None
        if self.cell_states:
            call.cells.flags.writeable = False
            c_seq = self.shaped(call.unbatched, call.cells)
            return self.shaped(call.unbatched, y), self.state_of(call.unbatched, final), c_seq, call
        return self.shaped(call.unbatched, y), self.state_of(call.unbatched, final), call

    @property
    def _can_look_up(self):
        """May rows of a table take the place of x? Not where x is used otherwise than in the input product."""
        return not (self.plans[0].cell.reads_x or self.skip == INPUT or self.residual(0))

    cdef Pullback begin_look_up(self, table, codes, state, lengths):
        x = table.take(codes, axis=0)
        x.flags.writeable = False
        cdef Pullback call = self.begin(x, state, lengths)
        call.table, call.codes, call.looked_up = table, codes, []
        return call

    def _look_up(self, table, codes, state=None, lengths=None):
        """``self(table[codes], state, lengths)``, to the bit, with input products for each row of the table once.

        table: ``(rows, I)``, contiguous and of this layer's dtype; codes: contiguous intp, ``x``'s leading axes, in
        range; neither is copied. Only if `_can_look_up`, and codes are not empty.
        """
        return self.answer(self.begin_look_up(table, codes, state, lengths))

    def _look_up_vjp(self, table, codes, state=None, lengths=None):
        """The same with a pullback, whose first result is the gradient of the table. Not under input_dropout."""
        return self.answer_vjp(self.begin_look_up(table, codes, state, lengths))


include "stream.pxi"
include "matrix.pxi"
include "tree.pxi"
include "optim.pxi"
include "losses.pxi"
