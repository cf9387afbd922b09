/* What the time loop and the kernels agree on: the shape of a product, of a tile, and of a cell.
 *
 * Plain C, no dtype: a pointer is `void *` here and `real *` inside a target, and counts are elements.
 * VL is the number of lanes of one vector. Hidden units are cut into hidden blocks of VL; a panel is
 * `blocks` hidden blocks times all gates of a product, and weights, products and gradients all share
 * the panel's order [gate][block][lane].
 */
#ifndef FR_KERNELS_H
#define FR_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    FR_MAX_STAGES = 3, FR_MAX_GATES = 4, FR_MAX_WIDTH = 4, FR_MAX_ROWS = 8,
    FR_MAX_STATES = 4, FR_MAX_VECTORS = 18, FR_MAX_PARAMETERS = 12
};

/* out[r][v] = init[r][v] + sum_k a[r][k] * panel[k][v], added up in the order of k for every tile
 * shape, so that no result depends on the tile it was computed in. v counts `width` vectors. */
typedef struct FrProduct {
    const void *const *a;    /* one operand row per tile row ...                                      */
    ptrdiff_t a_first;       /* ... from this element on                                              */
    const void *panel;       /* [depth][width][VL]                                                    */
    const void *init;        /* [rows][width][VL], or one row for all with init_row = 0               */
    void *out;               /* [rows][width][VL]; may be init itself                                 */
    ptrdiff_t depth, chunks; /* k runs over `chunks` runs of `depth` elements ...                     */
    ptrdiff_t a_step;        /* ... `a_step` apart within a run ...                                   */
    ptrdiff_t a_jump;        /* ... and the runs start `a_jump` apart                                 */
    ptrdiff_t panel_step;    /* from one k to the next                                                */
    ptrdiff_t init_row, out_row;
    ptrdiff_t panel_next, init_next, out_next; /* from one panel to the next, when there are two      */
    const void *ahead;       /* brought into L2 meanwhile, a vector for each k; NULL: nothing; when many
                              * rows are tiled, as large as the panel                                  */
    int rows;
} FrProduct;

/* Rows of a tile that live in row-major arrays: one pointer per row, at hidden unit 0. */
enum FrSlot {
    FR_PREV,     /* h_{t-1}                                                                           */
    FR_OUT,      /* what the stage computes: h_t, or the operand of the next stage                    */
    FR_OPERAND,  /* h_{t-1} as it enters R: after its dropout, if there is one                        */
    FR_DROP,     /* that dropout's factors, or NULL                                                   */
    FR_ZONE_H,   /* zoneout: the share of h_{t-1} in h_t, or NULL                                     */
    FR_ZONE_C,   /* the same for c                                                                    */
    FR_X,        /* x_t, for cells in which it is as wide as h                                        */
    FR_DX,       /* dL/dx_t, to be added to                                                           */
    FR_DY,       /* dL/dy_t; the pointer array is NULL when there is none                             */
    FR_DH,       /* in: dL/dh_t that came along the elementwise path; out: the same for h_{t-1}       */
    FR_CELL_PREV,/* c_{t-1}; FR_CELL_PREV + 1 and + 2: the states after c                             */
    FR_CELL = FR_CELL_PREV + FR_MAX_STATES - 1, /* c_t and what follows it                            */
    FR_DC = FR_CELL + FR_MAX_STATES - 1,        /* as FR_DH, for c and what follows it                */
    FR_SLOTS = FR_DC + FR_MAX_STATES - 1
};

/* What ONNX can choose from; alpha and beta as there. */
enum FrActivationKind {
    FR_IDENTITY, FR_ACT_SIGMOID, FR_ACT_TANH, FR_RELU, FR_ELU, FR_LEAKY_RELU, FR_SOFTSIGN, FR_SOFTPLUS,
    FR_HARD_SIGMOID, FR_HARD_TANH, FR_AFFINE, FR_SCALED_TANH, FR_THRESHOLDED_RELU
};

typedef struct FrActivation {
    int kind;
    double alpha, beta;
} FrActivation;

/* Numbers of a layer that are no parameters. */
typedef struct FrOptions {
    FrActivation activation[3]; /* in ONNX's order: RNN f; GRU f, g; LSTM f, g, h                     */
    double clip;                /* of pre-activations; infinity: none                                 */
    double scale;               /* SRU's alpha                                                        */
    double zone[2];             /* zoneout of h and of c                                              */
    int residual, exp_forget;
} FrOptions;

/* One tile as a cell kernel sees it: `rows` rows by the hidden blocks first ... first + count - 1. */
typedef struct FrTile {
    int rows, first, count;
    int units;               /* hidden units of the layer: lanes past them are neither read nor written */
    int acc_blocks, blocks;  /* hidden blocks in a panel of `acc`, and in one of `gx` and `dg`          */
    const void *acc;         /* product of the step: [panel of the tile][row][gate][acc_blocks][VL]     */
    ptrdiff_t acc_panel;
    const void *gx;          /* input product: [panel of the layer][row][gate][blocks][VL]              */
    ptrdiff_t gx_panel;
    void *save;              /* kept for backward: [hidden block of the layer][row][saves][VL], or NULL */
    ptrdiff_t save_block;
    void *dg;                /* gate gradients: [panel of the layer][row][dg][blocks][VL]               */
    ptrdiff_t dg_panel;
    const void *vectors;     /* elementwise weights: [vector][padded units]                             */
    void *d_vectors;
    ptrdiff_t padded;
    const FrOptions *options;
    void *const *slot[FR_SLOTS];
} FrTile;

/* Parameters by place; from FR_EXTRA on what only some cells have, in the order of cells.py. */
enum { FR_W_IH, FR_W_HH, FR_B_IH, FR_B_HH, FR_W_HR, FR_EXTRA };

/* Gates of one product, by the gate's place in the rows of the weight matrix; in the rows of a bias -1 is none. */
typedef struct FrGates {
    int count;
    int8_t row[FR_MAX_GATES];
} FrGates;

/* A stage is: recurrent product -> cell kernel. The operand of the first stage is h_{t-1}, of a later
 * one the output of the stage before. Either product may have no gates. `dg` gate gradients are stored per hidden
 * block; those of the input product start at `gx_at`, those of the recurrent product at `rec_at`. */
typedef struct FrStage {
    FrGates gx, rec;
    int dg, gx_at, rec_at;
    FrGates gx_bias, rec_bias;                            /* by gate of the product      */
    int8_t gx_bias_from, rec_bias_from, gx_from, rec_from; /* parameters                 */
    int whole_rows;          /* the kernel gets all hidden blocks of its rows at once    */
} FrStage;

/* An elementwise weight: H entries of a parameter from row * H on, or the sigmoid of its one entry, for all units;
 * the sum of two parameters where `also` is one. 0 where the layer lacks the parameter. */
typedef struct FrVector {
    int8_t from, row, also, scalar;
} FrVector;

typedef struct FrCell {
    const char *name;
    int states;              /* h, c, ...                                                          */
    int saves;               /* vectors kept per hidden block and step                             */
    int reads_x;             /* the kernels use FR_X and FR_DX                                     */
    struct {
        int count;
        FrVector of[FR_MAX_VECTORS];
    } vectors;
    int stages;
    FrStage stage[FR_MAX_STAGES];
} FrCell;

/* A weight matrix (gates * units, depth), row-major, and its packed forms. */
typedef struct FrMatrix {
    const FrGates *gates;
    int units, depth, blocks, panels;
    int depth_blocks, depth_panels; /* hidden blocks per panel, and panels, when `depth` is the output */
} FrMatrix;

enum {
#define CELL1(id, ...) FR_CELL_##id,
#define CELL2(id, ...) FR_CELL_##id,
#define CELL3(id, ...) FR_CELL_##id,
#include "kernels/cells.def"
#undef CELL1
#undef CELL2
#undef CELL3
    FR_CELLS
};

enum { FR_EXP, FR_SIGMOID, FR_TANH, FR_MATHS };

enum { FR_SGD, FR_RMSPROP, FR_ADAM, FR_RULES, FR_MAX_BUFFERS = 3 };

/* One step of an optimiser on a run of parameters; what the numbers are is said at each rule of optim.inc. */
typedef struct FrUpdate {
    void *values;
    const void *gradients;
    void *buffer[FR_MAX_BUFFERS];  /* NULL: the rule does without */
    ptrdiff_t n;
    double lr, shrink, decay, momentum, gain, first, second, unbias, eps;
    int fresh, nesterov;
} FrUpdate;

/* One step of CTC, in logarithms. A target of L labels has the states blank 0 ... L, and label i between blank i and
 * blank i + 1. `width` is L + 1 in whole vectors; all arrays go on for a vector of -inf, from_labels also begins
 * with one. */
typedef struct FrCtcStep {
    ptrdiff_t width;
    const double *skip;              /* 0 where label i may follow label i - 1 directly, otherwise -inf */
    double blank;                    /* the log probability of the blank ...                            */
    const double *emitted;           /* ... and of each label: of this step, in backward of the next    */
    const double *from_blanks, *from_labels; /* forward: alpha of the step before                       */
    double *blanks, *labels;         /* forward: alpha; backward: beta of the next step, then of this   */
} FrCtcStep;

/* A node of a tree LSTM: its gates and its children's, of which it has `kids`; whole arrays of states by node. Backward
 * puts the gradients of the pre-activations in the places of the gates. */
typedef struct FrTreeNode {
    ptrdiff_t hidden, node, kids;
    const ptrdiff_t *kid;            /* nodes                                               */
    void *gates, *forget;            /* [i, f, g, o][hidden], [kids][hidden]                */
    void *h, *c, *dh, *dc;           /* [node][hidden]; the gradients in backward           */
} FrTreeNode;

typedef void (*FrProductKernel)(const FrProduct *);
typedef void (*FrCellKernel)(const FrTile *);

typedef struct FrKernels {
    int lanes, size;                       /* VL, sizeof(real)                                      */
    int tile_rows[FR_MAX_WIDTH + 1];       /* rows of the largest tile of each width                */
    int pair_rows[FR_MAX_WIDTH + 1];       /* up to this many rows a product may take two panels    */
    FrProductKernel product[FR_MAX_WIDTH + 1][FR_MAX_ROWS + 1], product_pair[FR_MAX_WIDTH + 1][3]; /* by width, rows */
    FrCellKernel forward[FR_CELLS][FR_MAX_STAGES], backward[FR_CELLS][FR_MAX_STAGES];
    FrCellKernel project, project_backward;
    void (*store)(const FrTile *, int add);  /* rows[FR_OUT] = or += acc                             */
    void (*pack)(const FrMatrix *, const void *w, void *panels);
    void (*pack_bias)(const FrMatrix *, const FrGates *rows, const void *bias, void *panels);
    void (*pack_vector)(const void *from, const void *also, ptrdiff_t count, int scalar, ptrdiff_t padded, void *out);
    void (*pack_transposed)(const FrMatrix *, const void *w, void *panels);
    void (*add)(const void *src, void *dst, ptrdiff_t n); /* dst += src                              */
    void (*multiply)(const void *a, const void *b, ptrdiff_t n, void *out);
    void (*fill)(double value, ptrdiff_t n, void *out);
    void (*columns)(const void *const *rows, ptrdiff_t n, ptrdiff_t first, int count, int wide, void *out);
    void (*sum)(const void *rows, ptrdiff_t step, ptrdiff_t n, int vectors, void *out);
    void (*panel)(const void *b, ptrdiff_t step, ptrdiff_t column, ptrdiff_t depth, ptrdiff_t count, ptrdiff_t wide,
                  void *out);
    void (*mask)(uint64_t seed, double share, ptrdiff_t n, void *out); /* ones, as many as `share` says, and zeros */
    void (*update[FR_RULES])(const FrUpdate *);
    double (*squares)(const void *src, ptrdiff_t n);      /* their sum, the same bits in every target */
    void (*scale)(double factor, ptrdiff_t n, void *out); /* out *= factor                           */
    void (*math[FR_MATHS])(const void *src, void *dst, ptrdiff_t n);
    double (*row_max)(const void *x, ptrdiff_t n);
    void (*softmax_row)(const void *x, double top, const void *spread, ptrdiff_t n, void *y, double *sums);
    void (*softmax_gradient_row)(double factor, double scale, const void *spread, ptrdiff_t n, void *y);
    void (*ctc_forward)(const FrCtcStep *), (*ctc_backward)(const FrCtcStep *); /* of double only       */
    double (*ctc_posterior)(const double *alpha, const double *beta, double value, ptrdiff_t width, double *out);
    void (*tree_forward)(const FrTreeNode *), (*tree_backward)(const FrTreeNode *);
    double (*multiply_adds)(void *vector, ptrdiff_t rounds); /* operations done: what the core can do at most */
} FrKernels;

/* A matrix unit multiplies bricks: 16 rows of the left operand, or 16 columns of the right one, by 32 of the depth, k and
 * k + 16 side by side. Each float is the sum of three bfloat16 parts; of the nine products of two floats' parts the six
 * larger ones are added up in float. What is left out is 2^-24 of a product at most (Henry, Tang and Heinecke 2019,
 * "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations"). */
enum { FR_BRICK = 16, FR_BRICK_DEPTH = 32, FR_BRICK_BYTES = 3 * 2 * FR_BRICK * FR_BRICK_DEPTH };

/* c = left * right, or c += it: one or two bricks of rows by any number of columns. */
typedef struct FrBricks {
    int count;               /* bricks of rows                                                  */
    const void *left[2];     /* [depth] bricks each                                             */
    void *c[2];
    int rows[2], columns;    /* of c that there are                                             */
    ptrdiff_t c_row;         /* elements from one row of c to the next                          */
    const void *right;       /* [brick of columns][depth]                                       */
    ptrdiff_t right_next;    /* bytes from one brick of columns to the next                     */
    ptrdiff_t depth;         /* bricks                                                          */
    int add;
} FrBricks;

/* Products of floats on a matrix unit: an addition to the kernels of another target. Rows are pointers; places count elements;
 * a brick is 64-byte aligned. */
typedef struct FrUnit {
    /* `count` rows, the others 0, by the 16 elements from `low` on and the 16 from `high` on (0 where that is negative) */
    void (*left)(const void *const *rows, int count, ptrdiff_t low, ptrdiff_t high, void *brick);
    /* 16 columns, `rows` deep, the rest 0 */
    void (*left_transposed)(const void *from, ptrdiff_t step, ptrdiff_t rows, void *brick);
    /* `columns` columns from `at` on, the others 0, of `count` rows, the rest 0, as is a row of NULL */
    void (*right)(const void *const *rows, ptrdiff_t count, ptrdiff_t at, int columns, void *brick);
    void (*multiply)(const FrBricks *);
} FrUnit;

#endif
