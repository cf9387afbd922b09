# One evaluation of a recurrent layer and its backward pass; part of engine.pyx.

cdef inline object output_array(cnp.npy_intp *shape, int type_number, bint ragged):
    """A 3-D array to write results to; zeros where steps past a length are not written."""
    return cnp.PyArray_ZEROS(3, shape, type_number, 0) if ragged else cnp.PyArray_EMPTY(3, shape, type_number, 0)


cdef class Pullback:
    """One evaluation of a layer, and, after ``vjp``, all that its backward pass reads.

    ``dx, dstate0 = pullback(dy, dstate=None)`` runs BPTT and adds the parameter gradients to
    ``layer.grads``. It may be called once.
    """
    cdef Recurrent layer
    cdef Py_ssize_t steps, batch, version
    cdef bint ragged, unbatched, used
    cdef object x
    cdef tuple initial                  # states as given; None is zeros
    cdef list final                     # states, rewritten by the runs
    cdef list inputs, outputs, masks    # by layer: what it read, what it computed, factors of its input
    cdef object drawn                   # other masks of the layer (regularisers.Masks), or None
    cdef list dropped                   # by layer and direction: weight_hh under its mask, packed, packed back
    cdef list workspaces                # by layer and direction and part
    cdef Py_ssize_t *lengths            # of every slot
    cdef int *rows                      # batch row of every slot; slots are ordered part by part
    cdef int parts                      # sets of sequences ...
    cdef int members                    # ... and the threads that share each
    cdef FrRun *runs                    # [layer][direction][part]

    def __dealloc__(self):
        free(self.lengths)
        free(self.runs)

    cdef int first_slot(self, int part) noexcept:
        cdef int each = <int>(self.batch // self.parts), larger = <int>(self.batch % self.parts)
        return part * each + max(0, part - (self.parts - larger))

    cdef void deal(self, Py_ssize_t most_parts) noexcept:
        """Threads go to sets of sequences, which need not wait for each other, while each set keeps rows
        enough; the others share a set's hidden blocks."""
        cdef Recurrent layer = self.layer
        cdef int threads = layer.threads_for(self.steps, self.batch)
        self.parts = <int>max(1, min(threads, self.batch // LEAST_ROWS, most_parts))
        self.members = layer.members_for(self.batch, threads, self.parts)

    cdef int share(self, object lengths, Py_ssize_t most_parts) except -1:
        """Deals the sequences out: equal parts in order, or, when ragged, every parts-th of the
        sequences sorted by length, longest first."""
        cdef Py_ssize_t i, slot = 0, n = self.batch
        self.deal(most_parts)
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

    cdef int lay_out(self, int l, object x, object y, bint keep) except -1:
        """Fills the runs of one layer."""
        cdef Recurrent layer = self.layer
        cdef FrPlan *plan = layer.plan(l)
        cdef bint first = l == 0, last = l == layer.num_layers - 1
        cdef Py_ssize_t i, rows, size = layer.size
        cdef FrRun *run
        cdef int d, p, at, s
        for d in range(layer.num_directions):
            at = l * layer.num_directions + d
            for p in range(self.parts):
                run = &self.runs[at * self.parts + p]
                run.plan = plan
                run.reverse = d
                run.members = self.members
                run.count = self.first_slot(p + 1) - self.first_slot(p)
                run.row = self.rows + self.first_slot(p)
                run.length = self.lengths + self.first_slot(p)
                self.window(&run.x, x, plan.input, 0, first and layer.batch_first)
                self.window(&run.y, y, plan.output * layer.num_directions, d * plan.output,
                            last and layer.batch_first)
                run.packed = (<_Buffer>(self.packed_dropped(at) if self.dropped is not None else layer.packed[at])).data
                for s in range(layer.states):
                    run.state[s] = data_of(self.final[s]) + at * self.batch * layer.width(s) * size
                if keep:
                    rows = 0
                    for i in range(run.count):
                        rows += run.length[i]
                    if self.drawn is not None:
                        run.zone_key = <unsigned long long>self.drawn.key + at * <unsigned long long>0x9e3779b97f4a7c15
                        if self.drawn.recurrent is not None:
                            run.drop = data_of(self.drawn.recurrent) + at * self.batch * plan.output * size
                    buffer = _Buffer(fr_workspace(plan, rows, run.drop != NULL))
                    self.workspaces.append(buffer)
                    run.ws, run.ws_rows = (<_Buffer>buffer).data, rows
        return 0

    cdef object packed_dropped(self, int at):
        """The packed weights of one layer and direction with weight_hh under its mask."""
        cdef Recurrent layer = self.layer
        cdef FrPlan *plan = layer.plan(at // layer.num_directions)
        cdef FrParameters p = layer.value_pointers[at]
        if self.dropped[at] is None:
            masked = np.multiply(layer.recurrent_weights[at], self.drawn.weights[at])
            p.of[FR_W_HH] = data_of(masked)
            front, back = _Buffer(plan.packed * layer.size), _Buffer(plan.packed_back * layer.size)
            fr_pack(plan, &p, (<_Buffer>front).data)
            fr_pack_back(plan, &p, (<_Buffer>back).data)
            self.dropped[at] = front, back
        return self.dropped[at][0]

    cdef object input_mask(self, int l, object x):
        """The factors of a layer's input, which broadcast to x, or None."""
        cdef Recurrent layer = self.layer
        mask = layer._mask(x.shape) if l and layer._dropout else None
        if self.drawn is None or self.drawn.inputs is None:
            return mask
        steady = self.drawn.inputs[l]
        steady = steady[:, None] if l == 0 and layer.batch_first else steady
        return steady if mask is None else np.multiply(mask, steady)

    cdef object evaluate(self, bint keep):
        """y with all axes; the final states are in `final`."""
        cdef Recurrent layer = self.layer
        cdef Py_ssize_t width = layer.output_size * layer.num_directions, T = self.steps, B = self.batch
        cdef int l, s, layers = layer.num_layers, tasks = layer.num_directions * self.parts
        cdef cnp.npy_intp[3] shape
        cdef Py_ssize_t block = T, first, inner = B * width * layer.size
        self.final = [layer.running(self.initial[s], s, B) for s in range(layer.states)]
        shape[0], shape[1] = (B, T) if layer.batch_first else (T, B)
        shape[2] = width
        y = output_array(shape, layer.type_number, self.ragged)
        self.runs = <FrRun *>calloc(layers * tasks + 1, sizeof(FrRun))
        if self.runs == NULL:
            raise MemoryError()
        self.inputs, self.outputs, self.masks, self.workspaces = [], [], [], []
        if T == 0 or B == 0:
            self.outputs = [y] * layers
            return y

        if layers > 1 and not keep and layer.num_directions == 1 and T * inner > INNER_BYTES:
            block = max(1, INNER_BYTES // inner)
        if keep and layer._masked:
            widths = [layer.plan(l).input for l in range(layers)]
            self.drawn = layer._draw_masks(widths, B, layer.recurrent_weights)
            if self.drawn.weights is not None:
                self.dropped = layers * layer.num_directions * [None]
        x = self.x
        scratch = layer.take_scratch(self)
        for l in range(layers):
            if l:
                x = self.outputs[l - 1]
            mask = self.input_mask(l, x) if keep else None
            self.masks.append(mask)
            if mask is not None:
                x = np.multiply(x, mask)
            out = y
            if l < layers - 1:
                shape[0], shape[1] = block, B
                out = output_array(shape, layer.type_number, self.ragged)
            self.inputs.append(x)
            self.outputs.append(out)
            self.lay_out(l, x, out, keep)
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
        return y

    cdef int run(self, int l, int tasks, Py_ssize_t first, Py_ssize_t last) except -1:
        if self.layer.work(last - first, self.batch) < NOGIL_WORK:
            fr_forward(self.runs + l * tasks, tasks, first, last)
        else:
            with nogil:
                fr_forward(self.runs + l * tasks, tasks, first, last)
        return 0

    cdef int drop_gradients(self, int at, FrBack *backs) except -1:
        """The gradients of the dropped weight_hh become those of weight_hh."""
        cdef cnp.npy_intp[2] shape
        cdef int p
        mask = self.drawn.weights[at]
        shape[0], shape[1] = mask.shape
        for p in range(self.parts):
            gradient = cnp.PyArray_SimpleNewFromData(2, shape, self.layer.type_number, backs[p].grads.of[FR_W_HH])
            np.multiply(gradient, mask, out=gradient)
        return 0

    cdef object back_layer(self, int l, object dy, list dstate):
        """BPTT through one layer: its dx; dstate is rewritten to the initial states' gradients."""
        cdef Recurrent layer = self.layer
        cdef FrPlan *plan = layer.plan(l)
        cdef bint first = l == 0, last = l == layer.num_layers - 1
        cdef Py_ssize_t i, row, width = plan.output * layer.num_directions, size = layer.size
        cdef int d, p, s, at, direct, members = layer.members_for(self.batch, max(fr_get_threads(), self.parts), self.parts)
        # the larger parts need not be the ones that need more: blocks hold whole steps
        cdef size_t need = max(fr_backward_scratch(plan, self.first_slot(1), members),
                               fr_backward_scratch(plan, <int>self.batch - self.first_slot(self.parts - 1), members))
        cdef size_t parameters = (layer.gradient_pointers[l * layer.num_directions].count * size + 63) & ~<size_t>63
        cdef FrParameters *grads
        cdef FrBack *back
        x = self.inputs[l]
        dx = np.zeros_like(x) if self.ragged or plan.cell.reads_x else np.empty_like(x)
        memory = _Buffer(self.parts * (need + parameters + sizeof(FrBack)))
        cdef char *base = (<_Buffer>memory).data
        cdef FrBack *backs = <FrBack *>(base + self.parts * (need + parameters))
        for d in range(layer.num_directions):
            at = l * layer.num_directions + d
            grads = &layer.gradient_pointers[at]
            # the first part writes to layer.grads, unless another call does just now
            direct = self.dropped is None and layer.adding.acquire(False)
            for p in range(self.parts):
                back = &backs[p]
                back.run = &self.runs[at * self.parts + p]
                back.members = members
                for s in range(layer.states):
                    row = at * self.batch * layer.width(s) * size
                    back.state0[s] = NULL if self.initial[s] is None else data_of(self.initial[s]) + row
                    back.dstate[s] = data_of(dstate[s]) + row
                self.window(&back.dy, dy, width, d * plan.output, last and layer.batch_first)
                self.window(&back.dx, dx, plan.input, 0, first and layer.batch_first)
                back.dx_add = d or plan.cell.reads_x
                back.packed_back = (<_Buffer>(layer.packed_back[at] if self.dropped is None else self.dropped[at][1])).data
                back.scratch = base + p * need
                back.grads = grads[0]
                if p >= direct:
                    back.grads = fr_parameters_at(grads, base + self.parts * need + p * parameters)
                    memset(back.grads.of[0], 0, parameters)
            try:
                with nogil:
                    fr_backward(backs, self.parts)
                if not direct:
                    layer.adding.acquire()
                if self.dropped is not None:
                    self.drop_gradients(at, backs)
                for p in range(direct, self.parts):
                    plan.kernels.add(backs[p].grads.of[0], grads.of[0], grads.count)
            finally:
                layer.adding.release()
        return dx

    def __call__(self, dy, dstate=None):
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
        cdef int l, s
        y = self.outputs[self.layer.num_layers - 1] if self.outputs is not None else None
        layer.current()
        layer._ready(self.used, self.version != layer._version)
        dy, states = layer._check_gradients(layer, dy, dstate, (<object>y).shape, self.batch, self.unbatched)
        self.used = True
        states = layer.hidden_states * (None,) + states
        carry = [layer.running(states[s], s, self.batch) for s in range(layer.states)]
        dx = dy
        if self.steps == 0 or self.batch == 0:
            dx = np.zeros_like(self.x)
        else:
            layer.pack_back()
            for l in range(layer.num_layers - 1, -1, -1):
                dx = self.back_layer(l, dx, carry)
                if self.masks[l] is not None:
                    np.multiply(dx, self.masks[l], out=dx)
        for s in range(layer.states):
            if layer.empty[s]:
                carry[s][...] = 0  # a scale: no gradient flows through it
        self.inputs = self.outputs = self.masks = self.workspaces = self.dropped = self.drawn = None
        self.x = self.initial = None
        return layer.shaped(self.unbatched, dx), layer.state_of(self.unbatched, carry)
