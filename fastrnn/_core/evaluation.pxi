# One evaluation of a recurrent layer and its backward pass; part of engine.pyx.

cdef inline object output_array(cnp.npy_intp *shape, int type_number, bint ragged):
    """A 3-D array to write results to; zeros where steps past a length are not written."""
    return cnp.PyArray_ZEROS(3, shape, type_number, 0) if ragged else cnp.PyArray_EMPTY(3, shape, type_number, 0)


cdef class Pullback:
    """One evaluation of a layer, and, after ``vjp``, all that its backward pass reads.

    ``dx, dstate0 = pullback(dy, dstate=None, dc_seq=None, input_gradient=True)`` runs BPTT and adds the parameter gradients to
    ``layer.grads``. It may be called once.
    """
    cdef Recurrent layer
    cdef Py_ssize_t steps, batch, version
    cdef bint ragged, unbatched, used, learns
    cdef int form                       # of the weights that backward reads: BACK or BRICKS
    cdef object x, y                    # y: only while it is computed
    cdef object table, codes            # x is table[codes]; None when x is itself
    cdef FrLookup[2] lookups            # by direction
    cdef list looked_up                 # their memory
    cdef object cells                   # cell states of the last layer, or None
    cdef tuple initial                  # states as given; None is zeros
    cdef list final                     # states, rewritten by the runs
    cdef list inputs, outputs           # by layer: what it reads, what its runs compute
    cdef list masks                     # by layer but the last: dropout of what it passes on; None without
    cdef list unmasked                  # by layer: what it reads without the masks of its input; None without these
    cdef object drawn                   # other masks of the layer (regularisers.Masks), or None
    cdef list dropped                   # by layer and direction: weight_hh under its mask, packed, packed for backward
    cdef list workspaces                # by layer and direction and part
    cdef Py_ssize_t *lengths            # of every slot
    cdef int *rows                      # batch row of every slot; slots are ordered part by part
    cdef list marks                     # with checkpoints, by layer: the states before each segment of steps
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

    cdef int window(self, FrRows *rows, object array, Py_ssize_t column, bint batch_first) except -1:
        """Points `rows` at the columns from `column` on of a (T, B, width) or (B, T, width) array; None is allowed."""
        cdef Py_ssize_t row
        rows.base = data_of(array)
        if rows.base == NULL:
            return 0
        row = cnp.PyArray_DIM(array, 2) * self.layer.size
        rows.base += column * self.layer.size
        rows.time = row * (1 if batch_first else self.batch)
        rows.batch = row * (self.steps if batch_first else 1)
        return 0

    cdef int place(self, FrRows *rows, object array, int l) except -1:
        """Points `rows` at what layer l puts into y, or into an array of its own."""
        cdef Recurrent layer = self.layer
        if array is self.y:
            return self.window(rows, array, l * layer.layer_size if layer.skip == OUTPUT else 0, layer.batch_first)
        return self.window(rows, array, 0, False)

    cdef int reads(self, FrRows *rows, object array, int l) except -1:
        """Points `rows` at what goes into layer l: x, what the layer before passes on, or an array of its own."""
        return self.window(rows, array, 0, self.layer.batch_first) if array is self.x else self.place(rows, array, l - 1)

    cdef object inner(self, Py_ssize_t steps, Py_ssize_t width):
        """An array between layers."""
        cdef cnp.npy_intp[3] shape
        shape[0], shape[1], shape[2] = steps, self.batch, width
        return output_array(shape, self.layer.type_number, self.ragged)

    cdef object arrange(self, int l, Py_ssize_t block, bint keep):
        """Arrays, of `block` steps, for what layer l computes; returns the one it passes on."""
        cdef Recurrent layer = self.layer
        cdef bint last = l == layer.num_layers - 1, beside = layer.skip == OUTPUT
        mask = None
        if self.masks is not None and not last:
            mask = layer._mask((self.steps, self.batch, layer.layer_size))
            self.masks.append(mask)
        on = self.y if last or beside and mask is None else self.inner(block, layer.plans[1].input)
        if layer.merging and l and not keep:
            self.outputs.append(self.outputs[0])
        elif layer.merging or not beside and (mask is not None or keep and layer.residual(l)):
            self.outputs.append(self.inner(block, layer.num_directions * layer.output_size))
        else:
            self.outputs.append(self.y if beside else on)
        return on

    cdef object mask(self, int l):
        """Dropout of what layer l passes on, or None."""
        return None if self.masks is None or l == self.layer.num_layers - 1 else self.masks[l]

    cdef int lay_out(self, int l, bint keep) except -1:
        """Fills the runs of one layer."""
        cdef Recurrent layer = self.layer
        cdef FrPlan *plan = layer.plan(l)
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
                self.reads(&run.x, self.inputs[l], l)
                if self.codes is not None and l == 0:
                    run.lookup = &self.lookups[d]
                self.place(&run.y, self.outputs[l], l)
                run.y.base += d * plan.output * size
                if self.cells is not None and l == layer.num_layers - 1:
                    self.window(&run.c, self.cells, d * plan.hidden, layer.batch_first)
                run.packed = (<_Buffer>(self.packed_dropped(at) if self.dropped is not None else (<list>layer.packed[FORWARD])[at])).data
                for s in range(layer.states):
                    run.state[s] = data_of(self.final[s]) + at * self.batch * layer.width(s) * size
                if keep:
                    run.first, run.last = 0, self.segment(plan, run.count)
                    rows = 0
                    for i in range(run.count):
                        rows += min(run.length[i], run.last)
                    if self.drawn is not None:
                        run.zone_key = <unsigned long long>self.drawn.key + at * <unsigned long long>0x9e3779b97f4a7c15
                        if self.drawn.recurrent is not None:
                            run.drop = data_of(self.drawn.recurrent) + at * self.batch * plan.output * size
                    buffer = layer.take_spare(fr_workspace(plan, rows, run.drop != NULL))
                    self.workspaces.append(buffer)
                    run.ws, run.ws_rows = (<_Buffer>buffer).data, rows
            if self.codes is not None and l == 0:
                self.look_up(d, run)
        return 0

    cdef int look_up(self, int d, FrRun *run) except -1:
        """The input products of the table's rows, for one direction of the first layer."""
        cdef FrLookup *lookup = &self.lookups[d]
        memory = _Buffer(fr_lookup_products(run.plan, cnp.PyArray_DIM(self.table, 0)))
        self.looked_up.append(memory)
        lookup.table, lookup.rows = data_of(self.table), cnp.PyArray_DIM(self.table, 0)
        lookup.code = <Py_ssize_t *>data_of(self.codes)
        lookup.time = 1 if self.layer.batch_first else self.batch
        lookup.batch = self.steps if self.layer.batch_first else 1
        with nogil:
            fr_look_up(run.plan, run.packed, lookup, (<_Buffer>memory).data)
        return 0

    cdef object packed_dropped(self, int at):
        """The packed weights of one layer and direction with weight_hh under its mask."""
        cdef Recurrent layer = self.layer
        cdef FrPlan *plan = layer.plan(at // layer.num_directions)
        cdef FrParameters p = layer.value_pointers[at]
        if self.dropped[at] is None:
            masked = np.multiply(layer.recurrent_weights[at], self.drawn.weights[at])
            p.of[FR_W_HH] = data_of(masked)
            front, back = _Buffer(packed_size(plan, FORWARD)), _Buffer(packed_size(plan, self.form))
            pack_weights(plan, &p, FORWARD, (<_Buffer>front).data)
            pack_weights(plan, &p, self.form, (<_Buffer>back).data)
            self.dropped[at] = front, back
        return self.dropped[at][0]

    cdef int draw(self) except -1:
        """The masks of this call, but for those of dropout."""
        cdef Recurrent layer = self.layer
        cdef int l
        widths = [layer.plan(l).input for l in range(layer.num_layers)]
        self.drawn = layer._draw_masks(widths, self.batch, layer.recurrent_weights)
        if self.drawn.weights is not None:
            self.dropped = layer.num_layers * layer.num_directions * [None]
        if self.drawn.inputs is not None:
            self.unmasked = []
        return 0

    cdef object evaluate(self, bint keep):
        """y with all axes; the final states are in `final`."""
        cdef Recurrent layer = self.layer
        cdef Py_ssize_t T = self.steps, B = self.batch, block = T, first = 0, last
        cdef int l, s, layers = layer.num_layers, tasks = layer.num_directions * self.parts
        cdef cnp.npy_intp[3] shape
        self.final = [layer.running(self.initial[s], s, B) for s in range(layer.states)]
        shape[0], shape[1] = (B, T) if layer.batch_first else (T, B)
        shape[2] = layer.y_size
        y = self.y = output_array(shape, layer.type_number, self.ragged)
        if layer.cell_states:
            shape[2] = layer.num_directions * layer.hidden_size
            self.cells = output_array(shape, layer.type_number, self.ragged)
        self.runs = <FrRun *>calloc(layers * tasks + 1, sizeof(FrRun))
        if self.runs == NULL:
            raise MemoryError()
        if T == 0 or B == 0:
            return y
        if layers == 1 and not keep and not layer.joined: # a step should cost no more than this
            self.inputs, self.outputs = [self.x], [y]
            scratch = layer.take_scratch(self)
            self.lay_out(0, False)
            layer.lend_scratch(scratch, self.runs, tasks)
            self.run(0, tasks, 0, T)
            layer.scratch = scratch
            self.y = None
            return y
        self.inputs, self.outputs = [], []

        if layers > 1 and not keep and layer.num_directions == 1:
            block = min(T, max(1, INNER_BYTES // (B * layer.plans[1].input * layer.size)))
        if keep:
            self.workspaces, self.marks = [], []
            self.form = BRICKS if fr_bricks_pay(&layer.plans[0], self.batch) else BACK
            if layer._masked:
                self.draw()
            if layer._dropout and layers > 1:
                self.masks = []
        x = self.x
        scratch = layer.take_scratch(self)
        for l in range(layers):
            if self.unmasked is not None:
                self.unmasked.append(x)
                x = self.inner(T, layer.plan(l).input)
            self.inputs.append(x)
            x = self.arrange(l, block, keep)
            self.lay_out(l, keep)
            layer.lend_scratch(scratch, self.runs + l * tasks, tasks)
        while first < T:
            last = min(T, first + block)
            for l in range(layers):
                if self.unmasked is not None:
                    mask_input(self, l)
                if keep and layer.checkpoint:
                    self.run_segments(l, tasks)
                else:
                    self.run(l, tasks, first, last)
                if layer.joined or self.masks is not None:
                    join(self, l, first, last)
            if last < T:
                self.move_on(block, tasks)
            first = last
        layer.scratch = scratch
        self.y = None
        return y

    cdef int move_on(self, Py_ssize_t block, int tasks) except -1:
        """Arrays between layers hold one block of steps: the step after it stands at their start."""
        cdef int l, i
        cdef FrRun *run
        for l in range(self.layer.num_layers):
            for i in range(tasks):
                run = &self.runs[l * tasks + i]
                if l and self.inputs[l] is not self.y:
                    run.x.base -= block * run.x.time
                if self.outputs[l] is not self.y:
                    run.y.base -= block * run.y.time
        return 0

    cdef Py_ssize_t segment(self, FrPlan *plan, int count) noexcept:
        """Steps between two checkpoints of a part of so many sequences: whole blocks of backward's, whose weight
        gradients are then those without checkpoints. All steps when there are none."""
        cdef Py_ssize_t steps, least = self.layer.checkpoint
        if not least:
            return self.steps
        steps = fr_backward_steps(plan, count)
        return (least + steps - 1) // steps * steps

    cdef int run_segments(self, int l, int tasks) except -1:
        """Runs a layer segment by segment, of which the states at the beginning are kept."""
        cdef Recurrent layer = self.layer
        cdef Py_ssize_t k, segments = 1
        cdef int i
        for i in range(l * tasks, (l + 1) * tasks):
            k = self.segment(self.runs[i].plan, self.runs[i].count)
            segments = max(segments, (self.steps + k - 1) // k)
        marks = []
        rows = slice(l * layer.num_directions, (l + 1) * layer.num_directions)
        for k in range(segments):
            marks.append([part[rows].copy() for part in self.final])
            self.run_segment(l, tasks, k)
        self.marks.append(marks)
        return 0

    cdef int run_segment(self, int l, int tasks, Py_ssize_t k) except -1:
        """Runs segment k of a layer; parts of other sizes have other segments."""
        cdef FrRun *runs = self.runs + l * tasks
        cdef Py_ssize_t steps
        cdef int i
        for i in range(tasks):
            steps = self.segment(runs[i].plan, runs[i].count)
            runs[i].first, runs[i].last = min(self.steps, k * steps), min(self.steps, (k + 1) * steps)
        with nogil:
            fr_forward(runs, tasks)
        return 0

    cdef int rerun_segment(self, int l, int d, Py_ssize_t k, list states) except -1:
        """Fills the workspaces of one direction again from its checkpoint, which `states` takes."""
        cdef FrRun *runs = self.runs + (l * self.layer.num_directions + d) * self.parts
        cdef Py_ssize_t steps
        cdef int p, s
        for s, part in enumerate(states):
            part[...] = self.marks[l][k][s][d]
        for p in range(self.parts):
            steps = self.segment(runs[p].plan, runs[p].count)
            runs[p].first, runs[p].last = min(self.steps, k * steps), min(self.steps, (k + 1) * steps)
            for s in range(self.layer.states):
                runs[p].state[s] = data_of(states[s])
        with nogil:
            fr_forward(runs, self.parts)
        return 0

    cdef int run(self, int l, int tasks, Py_ssize_t first, Py_ssize_t last) except -1:
        cdef FrRun *runs = self.runs + l * tasks
        cdef int i
        for i in range(tasks):
            runs[i].first, runs[i].last = first, last
        if self.layer.work(last - first, self.batch) < NOGIL_WORK:
            fr_forward(runs, tasks)
        else:
            with nogil:
                fr_forward(runs, tasks)
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

    cdef object back_layer(self, int l, FrRows dy, object dc_seq, list dstate, bint without_dx):
        """BPTT through one layer: its dx, or None; dstate is rewritten to the initial states' gradients."""
        cdef Recurrent layer = self.layer
        cdef FrPlan *plan = layer.plan(l)
        cdef bint first = l == 0, zeros = self.ragged or plan.cell.reads_x, parted = not layer.merging or layer.merge == MUL
        cdef cnp.npy_intp[3] shape
        cdef Py_ssize_t i, row, size = layer.size
        cdef int d, p, s, at, direct, members = layer.members_for(self.batch, max(fr_get_threads(), self.parts), self.parts)
        # the larger parts need not be the ones that need more: blocks hold whole steps
        cdef bint bricks = self.form == BRICKS
        cdef size_t need = max(fr_backward_scratch(plan, self.first_slot(1), members, bricks),
                               fr_backward_scratch(plan, <int>self.batch - self.first_slot(self.parts - 1), members, bricks))
        cdef size_t parameters = (layer.gradient_pointers[l * layer.num_directions].count * size + 63) & ~<size_t>63
        cdef FrParameters *grads
        cdef FrBack *back
        memory_of_forward = self.scratch_again(l)
        shape[0], shape[1] = (self.batch, self.steps) if first and layer.batch_first else (self.steps, self.batch)
        shape[2] = plan.input
        cdef bint looks_up = first and self.codes is not None
        cdef Py_ssize_t table = 0, summed = 0
        if looks_up:  # of the table, by direction and part
            table = cnp.PyArray_DIM(self.table, 0)
            summed = (fr_lookup_gradients(plan, table) + 63) & ~<size_t>63
            shape[0], shape[1] = layer.num_directions * self.parts, table
            sums = layer.take_spare(self.parts * summed)
        dx = None if without_dx else output_array(shape, layer.type_number, zeros)
        memory = layer.take_spare(self.parts * (need + parameters + sizeof(FrBack)))
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
                back.dy = dy
                if d and parted and dy.base != NULL:
                    back.dy.base += plan.output * size
                if looks_up:
                    back.dx.base = data_of(dx) + (d * self.parts + p) * table * plan.input * size
                    back.looked_up = (<_Buffer>sums).data + p * summed
                    memset(back.looked_up, 0, summed)
                else:
                    self.window(&back.dx, dx, 0, first and layer.batch_first)
                self.window(&back.dc, dc_seq, d * plan.hidden, layer.batch_first)
                back.dx_add = d and not looks_up or plan.cell.reads_x
                back.bricks = bricks
                back.packed_back = (<_Buffer>(layer.packed[self.form][at] if self.dropped is None else self.dropped[at][1])).data
                back.scratch = base + p * need
                back.grads = grads[0]
                if p >= direct:
                    back.grads = fr_parameters_at(grads, base + self.parts * need + p * parameters)
                    memset(back.grads.of[0], 0, parameters)
            try:
                self.back_segments(l, d, backs, memory_of_forward)
                if not direct:
                    layer.adding.acquire()
                if self.dropped is not None:
                    self.drop_gradients(at, backs)
                for p in range(direct, self.parts):
                    plan.kernels.add(backs[p].grads.of[0], grads.of[0], grads.count)
            finally:
                layer.adding.release()
        self.workspaces.append(memory)
        if looks_up:
            self.workspaces.append(sums)
            return dx.sum(axis=0)
        return dx

    cdef object scratch_again(self, int l):
        """With checkpoints: scratch for the runs of one direction of a layer, which they then have."""
        cdef Recurrent layer = self.layer
        cdef int p, d, at, count = self.first_slot(self.parts) - self.first_slot(self.parts - 1)
        if not layer.checkpoint:
            return None
        cdef size_t need = fr_forward_scratch(layer.plan(l), count, self.members)
        memory = _Buffer(need * self.parts)
        for d in range(layer.num_directions):
            for p in range(self.parts):
                at = (l * layer.num_directions + d) * self.parts + p
                self.runs[at].scratch = (<_Buffer>memory).data + p * need
        return memory

    cdef int back_segments(self, int l, int d, FrBack *backs, object scratch) except -1:
        """BPTT through one direction of a layer, with checkpoints segment by segment."""
        cdef Recurrent layer = self.layer
        cdef Py_ssize_t k
        cdef int p, s
        if not layer.checkpoint:
            with nogil:
                fr_backward(backs, self.parts)
            return 0
        states = [np.empty((self.batch, layer.width(s)), layer.dtype) for s in range(layer.states)]
        for k in range(len(self.marks[l]) - 1, -1, -1):
            self.rerun_segment(l, d, k, states)
            for p in range(self.parts):
                for s in range(1, layer.states):
                    backs[p].state0[s] = data_of(self.marks[l][k][s]) + d * self.batch * layer.width(s) * layer.size
            with nogil:
                fr_backward(backs, self.parts)
        return 0

    cdef object back_layers(self, object dy, object dc_seq, list dstate, bint wanted):
        """The same through all layers. A dx that is not wanted is left out where nothing else would be made from it."""
        cdef Recurrent layer = self.layer
        cdef int l
        cdef bint last
        cdef FrRows dv, dr, read
        cdef bint without_dx = not (wanted or layer.joined or self.unmasked is not None or self.codes is not None
                                    or layer.plans[0].cell.reads_x)
        du, dx = dy, None
        if layer.skip == INPUT:
            dx = np.zeros((self.steps, self.batch, layer.input_size), layer.dtype)
        for l in range(layer.num_layers - 1, -1, -1):
            last, held = l == layer.num_layers - 1, None
            self.window(&dv, du, layer.y_size - layer.layer_size if last else 0, last and layer.batch_first)
            dr = dv
            if layer.joined or self.masks is not None:
                held = unjoin(self, l, dy, &dr, not (last or layer.residual(l)))
            below = self.back_layer(l, dr, dc_seq if last else None, dstate, l == 0 and without_dx)
            if self.unmasked is not None:
                mask_gradient(self, l, below)
            if layer.joined:
                pass_on(self, l, below, &dv, dx)
            du = below
        return du

    def __call__(self, dy, dstate=None, *, dc_seq=None, input_gradient=True):
        """Back-propagation through time.

        Parameters
        ----------
        dy : ndarray, optional
            Gradient of the loss with respect to ``y``, in its shape; None is zeros.
        dstate : ndarray or tuple, optional
            With respect to the final state, in its form; None, or None in it, is zeros.
        dc_seq : ndarray, optional
            With respect to ``c_seq``, in its shape, of a layer with ``return_cell_states``; None is zeros.
        input_gradient : bool
            False where nobody needs ``dx``, as of data: a sixth of the work of training one layer is left out.

        Returns
        -------
        dx : ndarray
            In the shape of ``x``; None without ``input_gradient``.
        dstate0 : ndarray or tuple
            In the form of the state.

        Raises
        ------
        RuntimeError
            When called a second time, or after the layer's weights were changed.
        """
        cdef Recurrent layer = self.layer
        cdef int l, s
        layer.current()
        layer._ready(self.used, self.version != layer._version)
        axes = (self.batch, self.steps) if layer.batch_first else (self.steps, self.batch)
        shape = *axes, layer.y_size
        cells = (*axes, layer.num_directions * layer.hidden_size) if layer.cell_states else None
        dy, dc_seq, states = layer._check_gradients(layer, dy, dc_seq, dstate, shape, cells, self.batch, self.unbatched,
                                                    input_gradient)
        self.used = True
        states = layer.hidden_states * (None,) + states
        carry = [layer.running(states[s], s, self.batch) for s in range(layer.states)]
        if self.steps == 0 or self.batch == 0:
            dx = np.zeros_like(self.x)
        else:
            layer.pack(self.form)
            dx = self.back_layers(np.zeros(shape, layer.dtype) if dy is None and layer.joined else dy, dc_seq, carry,
                                  input_gradient)
        for s in range(layer.states):
            if layer.empty[s]:
                carry[s][...] = 0  # a scale: no gradient flows through it
        if self.learns:
            layer.learn(carry, self.batch)
        layer.spare = self.workspaces
        self.inputs = self.outputs = self.masks = self.workspaces = self.unmasked = self.dropped = self.drawn = self.marks = None
        self.x = self.table = self.codes = self.looked_up = self.initial = self.cells = None
        return layer.shaped(self.unbatched, dx) if input_gradient else None, layer.state_of(self.unbatched, carry)
