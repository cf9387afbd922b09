# The C side of the engine; shapes, units and lifetimes are explained in the headers.

cdef extern from "kernels/kernels.h" nogil:
    ctypedef struct FrCell:
        int states, reads_x
    ctypedef struct FrActivation:
        int kind
        double alpha, beta
    ctypedef struct FrOptions:
        FrActivation *activation
        double clip, scale
        double *zone
        int residual, exp_forget
    int FR_W_HH
    int FR_SGD, FR_RMSPROP, FR_ADAM
    ctypedef struct FrUpdate:
        void *values
        const void *gradients
        void **buffer
        Py_ssize_t n
        double lr, shrink, decay, momentum, gain, first, second, unbias, eps
        int fresh, nesterov
    ctypedef struct FrKernels:
        int lanes, size
        void (**math)(const void *, void *, Py_ssize_t)
        void (*add)(const void *, void *, Py_ssize_t)
        void (**update)(const FrUpdate *) noexcept nogil
        double (*squares)(const void *, Py_ssize_t) noexcept nogil
        void (*scale)(double, Py_ssize_t, void *) noexcept nogil
        double (*multiply_adds)(void *, Py_ssize_t)
    int FR_BRICK
    ctypedef struct FrUnit:
        pass
    int FR_EXP, FR_SIGMOID, FR_TANH

cdef extern from "plan.h" nogil:
    ctypedef struct FrPlan:
        const FrKernels *kernels
        const FrCell *cell
        int input, hidden, output
        Py_ssize_t packed, packed_back, packed_bricks
    ctypedef struct FrParameters:
        void **of
        Py_ssize_t count
    const FrCell *fr_cells
    int fr_cell_by_name(const char *)
    void fr_plan(FrPlan *, const FrKernels *, const FrUnit *, int cell, int input, int hidden, int projection,
                 const FrOptions *)
    void fr_pack(const FrPlan *, const FrParameters *, void *)
    void fr_pack_back(const FrPlan *, const FrParameters *, void *)
    void fr_pack_bricks(const FrPlan *, const FrParameters *, void *)
    FrParameters fr_parameters_at(const FrParameters *, void *)

cdef extern from "sequence.h" nogil:
    ctypedef struct FrRows:
        char *base
        Py_ssize_t time, batch
    ctypedef struct FrLookup:
        const char *table
        Py_ssize_t rows
        const Py_ssize_t *code
        Py_ssize_t time, batch
    ctypedef struct FrRun:
        const FrPlan *plan
        int reverse, count, members
        const int *row
        const Py_ssize_t *length
        Py_ssize_t first, last
        FrRows x, y, c
        const FrLookup *lookup
        const char *packed
        char **state
        const char *drop
        unsigned long long zone_key
        char *ws
        Py_ssize_t ws_rows
        char *scratch
    ctypedef struct FrBack:
        const FrRun *run
        const char **state0
        FrRows dy, dx, dc
        char *looked_up
        int dx_add
        char **dstate
        const char *packed_back
        int bricks
        FrParameters grads
        int members
        char *scratch
    void fr_forward(const FrRun *, int)
    Py_ssize_t fr_backward_steps(const FrPlan *, int)
    bint fr_bricks_pay(const FrPlan *, Py_ssize_t)
    int fr_bricks_always
    void fr_backward(const FrBack *, int)
    size_t fr_forward_scratch(const FrPlan *, int, int)
    size_t fr_backward_scratch(const FrPlan *, int, int, int)
    size_t fr_workspace(const FrPlan *, Py_ssize_t, int)
    size_t fr_lookup_products(const FrPlan *, Py_ssize_t)
    size_t fr_lookup_gradients(const FrPlan *, Py_ssize_t)
    void fr_look_up(const FrPlan *, const char *, FrLookup *, char *)

cdef extern from "gemm.h" nogil:
    ctypedef struct FrGemm:
        const FrKernels *kernels
        const char *a
        const char *b
        const char *bias
        const char *packed
        char *c
        const Py_ssize_t *a_at
        const Py_ssize_t *c_at
        Py_ssize_t columns, depth, a_row, a_step, b_step, b_column, c_row
        int add
    size_t fr_gemm_packed(const FrGemm *)
    size_t fr_gemm_scratch(const FrGemm *)
    void fr_gemm_pack(const FrGemm *, char *)
    void fr_gemm(const FrGemm *, Py_ssize_t, Py_ssize_t, char *)

cdef extern from "unitgemm.h" nogil:
    ctypedef struct FrUnitGemm:
        const FrUnit *unit
        const float *a
        const float *b
        float *c
        Py_ssize_t rows, columns, depth, a_row, b_row, c_row
        int transposed, add
    size_t fr_unit_gemm_scratch()
    void fr_unit_gemm(const FrUnitGemm *, Py_ssize_t, Py_ssize_t, char *)

cdef extern from "tree.h" nogil:
    int FR_TREE_INPUT, FR_TREE_SUM_I, FR_TREE_SUM_GO, FR_TREE_FORGET
    ctypedef struct FrTree:
        const FrKernels *kernels
        Py_ssize_t nodes, hidden, leaves, block, least
        int threads
        const Py_ssize_t *node
        const Py_ssize_t *first_kid
        const Py_ssize_t *kid
        const Py_ssize_t *level
        FrGemm *product
        char *gates
        char *sums
        char *forget
        char *h
        char *c
        char *dh
        char *dc
        char *scratch
    size_t fr_tree_scratch(const FrTree *)
    void fr_tree_forward(const FrTree *)
    void fr_tree_backward(const FrTree *)

cdef extern from "crossentropy.h" nogil:
    ctypedef struct FrCrossEntropy:
        const FrKernels *kernels
        Py_ssize_t rows, classes
        const char *logits
        const Py_ssize_t *target
        const char *weight
        const char *spread
        double kept, spread_sum, scale
        double *values
        char *gradient
    void fr_cross_entropy(const FrCrossEntropy *, Py_ssize_t, Py_ssize_t)

cdef extern from "ctc.h" nogil:
    ctypedef struct FrCtc:
        const FrKernels *kernels
        int size, zero_infinity
        Py_ssize_t count, classes, blank, most_steps, most_labels
        const char *log_probs
        const Py_ssize_t *targets
        const Py_ssize_t *steps
        const Py_ssize_t *labels
        const double *scale
        double *values
        char *gradient
    size_t fr_ctc_scratch(const FrCtc *)
    void fr_ctc(FrCtc *, char *)

cdef extern from "dispatch.h" nogil:
    const char *fr_isa_name(int)
    int fr_isa_hidden(int)
    const FrUnit *fr_unit(const char *, int)
    const FrKernels *fr_kernels(const char *, int)

cdef extern from "pool.h" nogil:
    ctypedef void (*FrTask)(void *, int) noexcept nogil
    void fr_set_threads(int)
    int fr_get_threads()
    void fr_parallel(FrTask, void *, int)

cdef extern from *:
    const char *FR_VERSION

cdef extern from "memory.h" nogil:
    void *fr_allocate(size_t)
