/* Shared by the two halves of the time loop (sequence.c forward, bptt.c backward): tiles, rows,
 * scratch. Included by them only. */
#ifndef FR_SEQUENCE_IMPL_H
#define FR_SEQUENCE_IMPL_H

#include "sequence.h"

#include <string.h>

/* Rows times panels that one call of a cell kernel gets: enough to hide the latency of its
 * arithmetic, little enough to stay in L1 (8 tiles of 4 vectors are 2 KB). */
enum { FR_GROUP = 8 };

static inline char *fr_at(const FrPlan *plan, const void *base, ptrdiff_t element)
{
    return (char *)base + element * plan->kernels->size;
}

/* Takes `bytes` of scratch, 64-byte aligned; with a NULL base only counts. */
static inline void *fr_take(char *base, size_t *used, size_t bytes)
{
    void *p = base ? base + *used : NULL;
    *used += (bytes + 63) & ~(size_t)63;
    return p;
}

/* Rows of the next tile when `left` remain: as even as possible, at most `most`. */
static inline int fr_tile_rows(ptrdiff_t left, int most)
{
    if (left <= most)
        return (int)left;
    const int tiles = (int)((left + most - 1) / most);
    return (int)((left + tiles - 1) / tiles);
}

/* The same rows against `panels` panels, two at a time where the tile is small. */
static inline void fr_products(const FrKernels *k, int width, FrProduct *p, int panels)
{
    while (panels > 0) {
        p->panels = panels > 1 && p->rows <= k->pair_rows[width] ? 2 : 1;
        k->product[width](p);
        p->panel = (const char *)p->panel + p->panels * p->panel_next * k->size;
        p->init = (const char *)p->init + p->panels * p->init_next * k->size;
        p->out = (char *)p->out + p->panels * p->out_next * k->size;
        panels -= p->panels;
    }
}

/* Slots alive at step s, when `n` were at an earlier one / at a later one. */
static inline int fr_shrink(const FrRun *run, int n, ptrdiff_t s)
{
    while (n > 0 && run->length[n - 1] <= s)
        n--;
    return n;
}

static inline int fr_grow(const FrRun *run, int n, ptrdiff_t s)
{
    while (n < run->count && run->length[n] > s)
        n++;
    return n;
}

static inline char *fr_row(const FrRun *run, const FrRows *a, int slot, ptrdiff_t s)
{
    const ptrdiff_t t = run->reverse ? run->length[slot] - 1 - s : s;
    return a->base + t * a->time + run->row[slot] * a->batch;
}

#endif
