/* THE time loop: one direction of one layer over one set of sequences, forward and BPTT.
 *
 * A run works on `count` sequences in slots sorted by length, longest first, so that the sequences alive
 * at a step are a prefix and nothing is computed to be masked. Step s of slot j is time s, or
 * length[j] - 1 - s in the reverse direction. Rows of arrays are reached by pointers, so layout
 * (time-major, batch-major), direction, ragged lengths and the thread's share cost one pass over pointers a step.
 *
 * ws_ is kept from forward to backward, scratch dies with the call; all is the caller's memory.
 */
#ifndef FR_SEQUENCE_H
#define FR_SEQUENCE_H

#include "plan.h"

/* A (T, B, width) array of any layout with contiguous rows; strides in bytes. */
typedef struct FrRows {
    char *base;
    ptrdiff_t time, batch;
} FrRows;

/* x whose rows are those of a table: their input products are made once for each row of it. Not for kernels that read x. */
typedef struct FrLookup {
    const char *table;       /* (rows, I)                                                     */
    ptrdiff_t rows;
    const ptrdiff_t *code;   /* (T, B): the table's row that is x there; strides in elements  */
    ptrdiff_t time, batch;
    char *gx[FR_MAX_STAGES]; /* W x + b_ih by row of the table: [panel][row][gx_width][VL]    */
} FrLookup;

typedef struct FrRun {
    const FrPlan *plan;
    int reverse, count;
    int members;             /* threads that share the run, by hidden blocks                  */
    const int *row;          /* batch row of each slot                                        */
    const ptrdiff_t *length; /* of each slot, descending                                      */
    ptrdiff_t first, last;   /* steps to run                                                  */
    FrRows x, y;
    const FrLookup *lookup;  /* in the place of x, or NULL                                    */
    FrRows c;                /* cell states of all steps, (T, B, H); base NULL: not asked for    */
    const char *packed;
    char *state[FR_MAX_STATES]; /* (B, P) for h, (B, H): state on entry and, rewritten, on exit */
    const char *drop;        /* (B, P): factors of h as it enters R, or NULL; needs ws         */
    uint64_t zone_key;       /* of the zoneout masks, with ws; without, zoneout is its mean    */
    char *ws;                /* fr_workspace bytes for backward; NULL at inference            */
    ptrdiff_t ws_rows;       /* that it has room for; it begins with step `first`             */
    char *scratch;           /* fr_forward_scratch bytes                                      */
} FrRun;

typedef struct FrBack {
    const FrRun *run;        /* as given to fr_forward, whose steps are gone back through. Runs over parts of the
                              * steps are taken last to first; they begin at multiples of fr_backward_steps, and the
                              * scratch and dstate are handed on from one to the next     */
    const char *state0[FR_MAX_STATES]; /* h before step 0, other states before run->first; NULL is zeros */
    FrRows dy, dx, dc;       /* dc: of run->c; each base may be NULL, that of dx unless a kernel adds to it; dx: with a lookup
                              * (rows, I), of its table                                              */
    char *looked_up;         /* with a lookup: fr_lookup_gradients bytes, zeros               */
    int dx_add;              /* add to dx, which another direction has written; always when the cell reads x */
    char *dstate[FR_MAX_STATES]; /* as state: dL/d final state in, dL/d initial state out      */
    const char *packed_back; /* as panels, or as bricks                                       */
    int bricks;
    FrParameters grads;      /* added to                                                      */
    int members;             /* as in FrRun                                                   */
    char *scratch;           /* fr_backward_scratch bytes                                     */
} FrBack;

/* Bytes at `memory` for the table's products, and of their gradients; makes the products. */
size_t fr_lookup_products(const FrPlan *plan, ptrdiff_t rows);
size_t fr_lookup_gradients(const FrPlan *plan, ptrdiff_t rows);
void fr_look_up(const FrPlan *plan, const char *packed, FrLookup *lookup, char *memory);

/* All runs, side by side. */
void fr_forward(const FrRun *runs, int count);
void fr_backward(const FrBack *backs, int count);

/* Steps of a block of the weight gradients. */
ptrdiff_t fr_backward_steps(const FrPlan *plan, int count);

/* Whether products of gate gradients with weights are best made on the plan's matrix unit, for so many sequences. (Of all
 * threads: dx shall not depend on their number.) */
int fr_bricks_pay(const FrPlan *plan, ptrdiff_t batch);
/* Nonzero: also where that does not pay, for tests. */
extern int fr_bricks_always;

size_t fr_forward_scratch(const FrPlan *plan, int count, int members);
size_t fr_backward_scratch(const FrPlan *plan, int count, int members, int bricks); /* bricks: as in FrBack */

/* Bytes that a run keeps for backward over `rows` rows, the sum of its lengths. */
size_t fr_workspace(const FrPlan *plan, ptrdiff_t rows, int drop);

#endif
