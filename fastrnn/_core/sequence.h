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

typedef struct FrRun {
    const FrPlan *plan;
    int reverse, count;
    int members;             /* threads that share the run, by hidden blocks                  */
    const int *row;          /* batch row of each slot                                        */
    const ptrdiff_t *length; /* of each slot, descending                                      */
    FrRows x, y;
    const char *packed;
    char *h, *c;             /* (B, P), (B, H): state on entry and, rewritten, on exit        */
    char *ws_save, *ws_cell, *ws_operand; /* by row of all steps; NULL at inference           */
    char *scratch;           /* fr_forward_scratch bytes                                      */
} FrRun;

typedef struct FrBack {
    const FrRun *run;        /* as given to fr_forward over all steps                         */
    const char *h0, *c0;     /* initial states; NULL is zeros                                 */
    FrRows dy, dx;           /* dy.base may be NULL                                           */
    int dx_add;              /* add to dx, which another direction has written                */
    char *dh, *dc;           /* (B, P), (B, H): dL/d final state in, dL/d initial state out   */
    const char *packed_back;
    FrParameters grads;      /* added to                                                      */
    int members;             /* as in FrRun                                                   */
    char *scratch;           /* fr_backward_scratch bytes                                     */
} FrBack;

/* Steps [first, last) of all runs, side by side. */
void fr_forward(const FrRun *runs, int count, ptrdiff_t first, ptrdiff_t last);
void fr_backward(const FrBack *backs, int count);

size_t fr_forward_scratch(const FrPlan *plan, int count, int members);
size_t fr_backward_scratch(const FrPlan *plan, int count, int members);

/* What a run keeps for backward over `rows` rows (the sum of its lengths), in bytes: offsets of
 * ws_cell and ws_operand behind ws_save, and the total. */
typedef struct FrWorkspace {
    size_t cell, operand, total;
} FrWorkspace;
FrWorkspace fr_workspace(const FrPlan *plan, ptrdiff_t rows);

#endif
