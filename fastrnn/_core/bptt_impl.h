/* What the two files of the backward half share: bptt.c, which goes through the steps, and gradients.c, which makes
 * the gradients of weights and inputs of a block of them. */
#ifndef FR_BPTT_IMPL_H
#define FR_BPTT_IMPL_H

#include "sequence_impl.h"

typedef struct FrBackScratch {
    FrMember me;
    ptrdiff_t steps, rows;       /* of a block                                                  */
    char *dg[FR_MAX_STAGES];     /* [panel][row of the block][dg_width][VL]                     */
    char *edge;                  /* dg[0] of the first step of the block that follows in time   */
    char *zeros, *vectors;       /* vectors: gradients of the elementwise weights               */
    char *raw;                   /* a step's product, for kernels that want whole rows          */
    char *right[2 * FR_MAX_STAGES]; /* bricks of operands, for the gradients of weights, by factor  */
    char *dg_bricks;             /* of a sweep's gate gradients, and for how many rows there is room */
    ptrdiff_t group;
    FrKept kept;
    char *looked_up[FR_MAX_STAGES]; /* gate gradients summed by row of the lookup's table: [panel][row][dg_width][VL] */
    const void **x, **prev, **operand[FR_MAX_STAGES], **dx; /* by row of the block; from here on each member's own */
    ptrdiff_t *code;             /* of the lookup, by row of the block                          */
    const void **a;              /* operand rows of the product at hand                         */
    void **out, **dy, **dh, **none, **drop; /* by slot                                          */
    FrZone zone;
    void **cell_prev[FR_MAX_STATES], **cell[FR_MAX_STATES], **dc[FR_MAX_STATES];
    ptrdiff_t *start;            /* by step of the block: its first row                         */
    char *acc, *columns;
    char *left;                  /* bricks of two vectors of gate gradients, for those of weights */
} FrBackScratch;

/* A product of gate gradients with a transposed weight matrix, and what becomes of its tiles. */
typedef struct FrSweep {
    const FrStagePlan *from;  /* the stage whose gradients go in                                  */
    const FrMatrix *matrix;   /* its input or its recurrent matrix                                */
    ptrdiff_t packed, bricks; /* where that stands, transposed, and as bricks                     */
    int width, at;            /* vectors of a gradient panel that belong to it, and the first     */
    ptrdiff_t capacity;       /* rows of a gradient panel                                         */
    ptrdiff_t live, rows;     /* rows from `live` on have no gradient yet: their product is 0     */
    const FrStagePlan *stage; /* whose backward kernel takes the tiles; NULL: they are stored ... */
    int add;                  /* ... or added                                                     */
    int odd;                  /* a step of an odd number: panels may come in the opposite order   */
} FrSweep;

static inline FrSweep fr_through_input(const FrStagePlan *from, ptrdiff_t capacity)
{
    return (FrSweep){from, &from->gx, from->gx_back, from->gx_bricks, from->gx_width, from->gx_at, capacity, 0, 0, NULL, 0, 0};
}

static inline FrSweep fr_through_recurrence(const FrStagePlan *from, ptrdiff_t capacity)
{
    return (FrSweep){from, &from->rec, from->rec_back, from->rec_bricks, from->rec_width, from->rec_at, capacity, 0, 0, NULL, 0, 0};
}

/* Points w->a at `n` rows of gradients, the first of which is `row` of the buffer. */
static inline void fr_aim(const FrPlan *plan, const FrBackScratch *w, const FrSweep *v, const char *dg, ptrdiff_t row, ptrdiff_t n)
{
    const ptrdiff_t VL = plan->kernels->lanes;
    for (ptrdiff_t r = 0; r < n; r++)
        w->a[r] = fr_at(plan, dg, ((row + r) * v->from->dg_width + v->at) * VL);
}

/* All tiles of a sweep. `all` is a tile of all rows: its pointers at row 0. */
void fr_sweep(const FrBack *back, FrBackScratch *w, const FrSweep *v, const FrTile *all);

/* Parameter gradients of the block's `rows` rows, and its first step's gate gradients, `n` rows, put aside; W's are left
 * to fr_table_gradients with a lookup. */
void fr_parameter_gradients(const FrBack *back, FrBackScratch *w, ptrdiff_t rows, int n);

/* dx of `rows` rows of gate gradients, `first` on of the `capacity` that dg holds by stage. */
void fr_input_gradients(const FrBack *back, FrBackScratch *w, char *const *dg, ptrdiff_t capacity, ptrdiff_t first, ptrdiff_t rows);

/* Bricks: the memory that all members, or each, need for them, where they pay. `count`: sequences of a step whose sweeps are
 * made of bricks, 0 if none are. */
void fr_lay_out_shared_bricks(const FrPlan *plan, int count, char *base, size_t *used, FrBackScratch *w);
void fr_lay_out_own_bricks(const FrPlan *plan, char *base, size_t *used, FrBackScratch *w);

/* Whether the gradients of weights from the block's `rows` rows are; makes them. */
int fr_brick_gradients_pay(const FrPlan *plan, ptrdiff_t rows);
void fr_brick_gradients(const FrBack *back, FrBackScratch *w, ptrdiff_t rows);

/* Gate gradients of rows `first` on of a sweep, w->group at most, as bricks; then their product with panel `q`, to rows of
 * `out`, of which there is room for whole bricks, or not. */
void fr_brick_rows(const FrBack *back, FrBackScratch *w, const FrSweep *v, ptrdiff_t first, ptrdiff_t rows);
void fr_brick_product(const FrBack *back, const FrBackScratch *w, const FrSweep *v, int q, ptrdiff_t r, ptrdiff_t rows, int room,
                      void *out);

/* Adds the gradients of the elementwise weights to those of their parameters. */
void fr_vector_gradients(const FrBack *back, const FrBackScratch *w);

/* With a lookup: where the gradients of its table's products are; adds the block's to them; from them, in the end, to
 * those of W and of the table. */
void fr_lay_out_table(const FrBack *back, FrBackScratch *w);
void fr_table_rows(const FrBack *back, FrBackScratch *w, ptrdiff_t rows);
void fr_table_gradients(const FrBack *back, FrBackScratch *w);

#endif
