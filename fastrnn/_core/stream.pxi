# A layer stepped through time; part of engine.pyx.

cdef class Stream:
    """A layer stepped through time. It owns its buffers; a step allocates nothing but the view it
    returns. Weights edited meanwhile reach it at its next ``reset``."""
    cdef Recurrent layer
    cdef Py_ssize_t batch
    cdef Pullback call                  # its runs, one per layer
    cdef object y0, y1, memory, table, _check_step, _check_state
    cdef bint odd

    def __init__(self, Recurrent layer, Py_ssize_t batch_size, check_step, check_state):
        self.layer, self.batch = layer, batch_size
        self._check_step, self._check_state = check_step, check_state
        self.reset()

    def reset(self, state=None):
        """Start again from ``state`` (when None, as a call of the layer does), with the layer's weights as they are now.

        Parameters
        ----------
        state : ndarray or tuple, optional
            As a call of the layer takes it, with its batch axis.
        """
        cdef Recurrent layer = self.layer
        cdef Pullback call
        cdef int l, s
        given = self._check_state(layer, state, self.batch)
        layer.pack(FORWARD)
        learns = layer.learned is not None and state is None
        initial = layer.learned_state(self.batch) if learns else layer.initial(given, self.batch)
        call = Pullback.__new__(Pullback)
        call.final = [layer.running(initial[s], s, self.batch) for s in range(layer.states)]
        call.layer, call.steps, call.batch = layer, 1, self.batch
        call.share(None, 1)
        call.runs = <FrRun *>calloc(layer.num_layers, sizeof(FrRun))
        if call.runs == NULL:
            raise MemoryError()
        call.workspaces = [layer.packed[FORWARD]]   # these weights stay as they are with the stream
        layer.lent = True
        self.y0 = np.zeros((1, self.batch, layer.y_size), layer.dtype)
        self.y1 = np.zeros_like(self.y0)
        self.arrange(call)
        if self.table is not None:
            call.table, call.codes, call.looked_up = self.table, np.zeros((1, self.batch), np.intp), []
        self.memory = _Buffer(max(fr_forward_scratch(&layer.plans[0], self.batch, call.members),
                                  fr_forward_scratch(&layer.plans[1], self.batch, call.members)))
        for l in range(layer.num_layers):
            call.lay_out(l, False)
            call.runs[l].scratch = (<_Buffer>self.memory).data
        self.call = call

    cdef int arrange(self, Pullback call) except -1:
        """Arrays of one step: two between the layers in turn, or, with skip="output", y for all."""
        cdef Recurrent layer = self.layer
        call.y = self.y0
        call.x = np.zeros((1, self.batch, layer.input_size), layer.dtype)  # a step's own comes in its place
        if layer.skip == OUTPUT:
            call.outputs = layer.num_layers * [call.y]
        else:
            inner = [np.zeros((1, self.batch, layer.plans[1].input), layer.dtype) for _ in range(2)]
            call.outputs = [inner[l % 2] for l in range(layer.num_layers - 1)] + [call.y]
        call.inputs = [call.x] + call.outputs[:layer.num_layers - 1]
        return 0

    @property
    def state(self):
        """A copy of the state: ``(L, B, H)``, for LSTM ``(h, c)``."""
        return self.layer.state_of(False, [part.copy() for part in self.call.final])

    def step(self, x_t):
        """One time step.

        Parameters
        ----------
        x_t : ndarray
            ``(B, I)``, or ``(I,)`` for batch 1; may be the ``y_t`` of the step before.

        Returns
        -------
        y_t : ndarray
            ``(B, H)`` or ``(H,)`` (``P`` with a projection, L times as wide with ``skip="output"``): read-only, valid
            until the next step.
        """
        cdef Recurrent layer = self.layer
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
        self.call.runs[0].x.base = <char *>cnp.PyArray_DATA(x_t)
        return self.advance(single)

    def _look_up(self, table):
        """Steps take a row of ``table (rows, I)`` from now on, by `_step_row`; the table is read now and at each
        `reset`. Only if the layer `_can_look_up`, and for a batch of 1."""
        self.table = table
        self.reset()

    def _step_row(self, Py_ssize_t row):
        """``step(table[row])``, to the bit, without its input product."""
        (<Py_ssize_t *>cnp.PyArray_DATA(self.call.codes))[0] = row
        return self.advance(True)

    cdef object advance(self, bint single):
        cdef Recurrent layer = self.layer
        cdef Pullback call = self.call
        cdef int l
        cdef char *base
        cdef cnp.npy_intp[2] shape
        y = self.y1 if self.odd else self.y0
        self.odd = not self.odd
        base = <char *>cnp.PyArray_DATA(y)
        call.runs[layer.num_layers - 1].y.base = base + (layer.y_size - layer.layer_size) * layer.size
        if layer.skip == OUTPUT:
            for l in range(layer.num_layers - 1):
                call.runs[l].y.base = call.runs[l + 1].x.base = base + l * layer.layer_size * layer.size
        for l in range(layer.num_layers):
            call.run(l, 1, 0, 1)
            if layer.joined:
                join(call, l, 0, 1)
        shape[0], shape[1] = self.batch, layer.y_size
        view = cnp.PyArray_SimpleNewFromData(1 if single else 2, &shape[1] if single else shape, layer.type_number,
                                             cnp.PyArray_DATA(y))
        cnp.PyArray_CLEARFLAGS(view, cnp.NPY_ARRAY_WRITEABLE)
        cnp.set_array_base(view, y)
        return view
