/* Shared by the two halves of the time loop (sequence.c forward, bptt.c backward): tiles, rows,
 * scratch; gemm.c takes its tiles and scratch from here too. */
#ifndef FR_SEQUENCE_IMPL_H
#define FR_SEQUENCE_IMPL_H

#include "sequence.h"

#include <stdint.h>
#include <string.h>

/* FR_GROUP: rows times panels that one call of a cell kernel gets at least, so that the latency of its
 * arithmetic is hidden. FR_ROWS: rows that it gets at most; their products, up to 48 * 4 vectors or
 * 12 KB, stay in L1. FR_DEPTH: depth that is multiplied at a time when there are several tiles of rows, so
 * that a panel, 32 KB of it, comes from L2 once and is used from L1 by all of them: 174 GF/s against 166
 * at (100,32,256), 161 against 152 with BPTT. */
enum { FR_GROUP = 8, FR_ROWS = 48, FR_DEPTH = 128 };

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

static inline void fr_next_panel(const FrKernels *k, FrProduct *p)
{
    p->panel = (const char *)p->panel + p->panel_next * k->size;
    p->init = (const char *)p->init + p->init_next * k->size;
    p->out = (char *)p->out + p->out_next * k->size;
}

/* The same rows against `panels` panels, two at a time where the tile is small. */
static inline void fr_products(const FrKernels *k, int width, FrProduct *p, int panels)
{
    while (panels > 0) {
        p->panels = panels > 1 && p->rows <= k->pair_rows[width] ? 2 : 1;
        k->product[width](p);
        panels -= p->panels;
        for (int n = p->panels; n > 0; n--)
            fr_next_panel(k, p);
    }
}

/* Many rows against one panel: p->a and p->out cover all of them. Blocked by depth, which changes no
 * bit: what was added up so far is stored and loaded again. */
static inline void fr_tall_product(const FrKernels *k, int width, const FrProduct *p, ptrdiff_t rows)
{
    const int most = k->tile_rows[width];
    const ptrdiff_t total = p->chunks > 1 ? p->chunks : p->depth, one = p->chunks > 1 ? p->depth : 1;
    const ptrdiff_t blocks = rows <= most ? 1 : (total * one + FR_DEPTH - 1) / FR_DEPTH;
    const ptrdiff_t block = blocks > 1 ? (total + blocks - 1) / blocks : total;
    FrProduct tile = *p;
    tile.panels = 1;
    ptrdiff_t first = 0;
    do {
        const ptrdiff_t count = total - first < block ? total - first : block;
        if (p->chunks > 1) {
            tile.chunks = count;
            tile.a_first = p->a_first + first * p->a_jump;
            tile.panel = (const char *)p->panel + first * p->depth * p->panel_step * k->size;
        } else {
            tile.depth = count;
            tile.a_first = p->a_first + first * p->a_step;
            tile.panel = (const char *)p->panel + first * p->panel_step * k->size;
        }
        for (ptrdiff_t r = 0; r < rows; r += tile.rows) {
            tile.rows = fr_tile_rows(rows - r, most);
            tile.a = p->a + r;
            tile.out = (char *)p->out + r * p->out_row * k->size;
            tile.init = first ? tile.out : (char *)p->init + r * p->init_row * k->size;
            tile.init_row = first ? p->out_row : p->init_row;
            k->product[width](&tile);
        }
        first += count;
    } while (first < total);
}

/* Of `count` hidden blocks from `first` on, those that hold units. */
static inline int fr_blocks_in(int first, int count, int hidden_blocks)
{
    return first + count > hidden_blocks ? hidden_blocks - first : count;
}

/* Moves `tile` to row r of `all`. */
static inline void fr_tile_at(const FrPlan *plan, const FrStagePlan *s, FrTile *tile, const FrTile *all, ptrdiff_t r)
{
    const ptrdiff_t VL = plan->kernels->lanes;
    for (int j = 0; j < FR_SLOTS; j++)
        tile->slot[j] = all->slot[j] ? all->slot[j] + r : NULL;
    tile->gx = all->gx ? fr_at(plan, all->gx, r * s->gx_width * VL) : NULL;
    tile->save = all->save ? fr_at(plan, all->save, r * plan->cell->saves * VL) : NULL;
    tile->dg = all->dg ? fr_at(plan, all->dg, r * s->dg_width * VL) : NULL;
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
