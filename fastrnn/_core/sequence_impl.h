/* Shared by the two halves of the time loop (sequence.c forward, bptt.c backward): tiles, rows,
 * scratch; gemm.c takes its tiles and scratch from here too. */
#ifndef FR_SEQUENCE_IMPL_H
#define FR_SEQUENCE_IMPL_H

#include "sequence.h"
#include "team.h"

#include <stdint.h>
#include <string.h>

/* FR_GROUP: rows times panels that one call of a cell kernel gets at least, so that the latency of its
 * arithmetic is hidden. FR_ROWS: rows that it gets at most, a multiple of every tile of the product; their products,
 * up to 48 * 4 vectors or 12 KB, stay in L1. */
enum { FR_GROUP = 8, FR_ROWS = 48 };

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

/* Rows of the next tile that a cell kernel gets: FR_ROWS at most, and whole tiles of the product while more remain. 50
 * rows are 9 tiles of the product so, not 10; 128 are 22, not 24. */
static inline int fr_kernel_rows(const FrKernels *k, int width, ptrdiff_t left)
{
    const int tile = k->tile_rows[width], rows = fr_tile_rows(left, FR_ROWS);
    return rows < left ? (rows + tile - 1) / tile * tile : rows;
}

/* What is kept of every row for backward: vectors of the cell, states after h, operands of the stages after the
 * first, and of the first if it is not h itself. */
typedef struct FrKept {
    char *save, *state[FR_MAX_STATES], *operand[FR_MAX_STAGES];
} FrKept;

/* Its places for `rows` rows in memory at `base`; returns the bytes. */
static inline size_t fr_lay_out_kept(const FrPlan *plan, ptrdiff_t rows, int drop, char *base, FrKept *kept)
{
    const size_t row = (size_t)plan->padded * plan->kernels->size;
    size_t used = 0;
    kept->save = fr_take(base, &used, rows * row * plan->cell->saves);
    for (int e = 1; e < plan->cell->states; e++)
        kept->state[e] = fr_take(base, &used, rows * row);
    for (int i = !drop; i < plan->stages; i++)
        kept->operand[i] = fr_take(base, &used, rows * row);
    return used;
}

static inline void fr_skip_panels(const FrKernels *k, FrProduct *p, ptrdiff_t n)
{
    p->panel = (const char *)p->panel + n * p->panel_next * k->size;
    p->init = (const char *)p->init + n * p->init_next * k->size;
    p->out = (char *)p->out + n * p->out_next * k->size;
}

/* The same rows against `panels` panels, two at a time where the tile is small; `p` then points behind them. It is moved,
 * not copied: a copy of what was just written waits. */
static inline void fr_products(const FrKernels *k, int width, FrProduct *p, int panels)
{
    while (panels > 0) {
        const int pair = panels > 1 && p->rows <= k->pair_rows[width];
        (pair ? k->product_pair[width] : k->product[width])[p->rows](p);
        fr_skip_panels(k, p, 1 + pair);
        panels -= 1 + pair;
    }
}

/* The same from the last panel on; `p` points again at the first. */
static inline void fr_products_back(const FrKernels *k, int width, FrProduct *p, int panels)
{
    fr_skip_panels(k, p, panels);
    while (panels > 0) {
        const int pair = panels > 1 && p->rows <= k->pair_rows[width];
        fr_skip_panels(k, p, -1 - pair);
        (pair ? k->product_pair[width] : k->product[width])[p->rows](p);
        panels -= 1 + pair;
    }
}

/* Whether the panels of a small tile's product, `bytes` of them for each thread, are best gone through forwards and
 * backwards in turn: what a step has used last is then still there for the next one. 1.17 times as fast where the
 * weights are a little larger than L1 (LSTM, H = 64, a batch of 1), 1.33 where they are larger than L2 (H = 512); 1 to 2 %
 * slower in between, where only the prefetcher sees a difference. */
static inline int fr_turns(ptrdiff_t bytes) { return (bytes > 1 << 15 && bytes < 1 << 17) || bytes > 3 << 19; }

/* Many rows against one panel: p->a and p->out cover all of them. Meanwhile what
 * is at p->ahead, as large as the panel, is brought into L2, a line for each k of the first `width` tiles: H = 512,
 * whose R does not fit L2, gains 11 %. */
static inline void fr_tall_product(const FrKernels *k, int width, const FrProduct *p, ptrdiff_t rows)
{
    const int most = k->tile_rows[width];
    const ptrdiff_t depth = p->depth * p->chunks, line = k->lanes * k->size;
    FrProduct tile = *p;
    for (ptrdiff_t r = 0, n = 0; r < rows; r += tile.rows, n++) {
        tile.rows = fr_tile_rows(rows - r, most);
        tile.a = p->a + r;
        tile.out = (char *)p->out + r * p->out_row * k->size;
        tile.init = (char *)p->init + r * p->init_row * k->size;
        tile.ahead = p->ahead && n < width ? (char *)p->ahead + n * depth * line : NULL;
        k->product[width][tile.rows](&tile);
    }
}

/* Whether state e has a row for every step, for backward or for the caller; else a step overwrites it. */
static inline int fr_every_step(const FrRun *run, int e) { return run->ws || (e == 1 && run->c.base); }

/* Zoneout: which share of h and c is kept, by row and unit. */
typedef struct FrZone {
    char *share[2];          /* of h, of c; rows of `padded` units; NULL without                     */
    void **row[2];           /* by slot                                                              */
} FrZone;

static inline void fr_lay_out_zone(const FrPlan *plan, int count, char *base, size_t *used, FrZone *z)
{
    for (int e = 0; e < 2; e++) {
        const int there = plan->options.zone[e] > 0;
        z->share[e] = there ? fr_take(base, used, (size_t)count * plan->padded * plan->kernels->size) : NULL;
        z->row[e] = there ? fr_take(base, used, count * sizeof(void *)) : NULL;
    }
}

/* The time of a slot's step s. */
static inline ptrdiff_t fr_time(const FrRun *run, int slot, ptrdiff_t s)
{
    return run->reverse ? run->length[slot] - 1 - s : s;
}

static inline uint64_t fr_scramble(uint64_t x) /* SplitMix64 */
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* The shares of step s for the first n slots; each member writes the same. A mask depends on the key, the state, the
 * time, the batch row and the unit alone. */
static inline void fr_zone_out(const FrRun *run, FrZone *z, ptrdiff_t s, int n)
{
    const FrPlan *plan = run->plan;
    for (int e = 0; e < 2; e++)
        for (int j = 0; z->row[e] && j < n; j++) {
            const uint64_t t = fr_time(run, j, s);
            const uint64_t seed = fr_scramble(run->zone_key + fr_scramble(2 * t + e) * 0x9e3779b97f4a7c15u + run->row[j]);
            z->row[e][j] = fr_at(plan, z->share[e], (ptrdiff_t)j * plan->padded);
            plan->kernels->mask(seed, plan->options.zone[e], e ? plan->hidden : plan->output, z->row[e][j]);
        }
}

/* Bytes that a row's product takes before kernels that want whole rows; 0 without such. */
static inline size_t fr_raw_row(const FrPlan *plan)
{
    size_t most = 0;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        const size_t forward = (size_t)s->panels * s->rec_width;
        const size_t backward = (size_t)plan->stage[0].rec.depth_panels * plan->stage[0].rec.depth_blocks;
        if (s->of->whole_rows)
            most = forward > most ? forward : backward > most ? backward : most;
    }
    return most * plan->kernels->lanes * plan->kernels->size;
}

/* Panels of each member. */
static inline int fr_share(const FrMember *me, int panels) { return (panels + me->members - 1) / me->members; }

/* Panels that a call of a cell kernel gets of one tile of rows, so that every member finds some. */
static inline int fr_group(const FrMember *me, int panels, ptrdiff_t rows)
{
    const int group = rows < FR_GROUP ? FR_GROUP / (int)rows : 1, share = fr_share(me, panels);
    return group < share ? group : share;
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

/* Steps of a slot that the run covers. */
static inline ptrdiff_t fr_steps_in(const FrRun *run, int slot)
{
    const ptrdiff_t last = run->length[slot] < run->last ? run->length[slot] : run->last;
    return last > run->first ? last - run->first : 0;
}

static inline char *fr_row(const FrRun *run, const FrRows *a, int slot, ptrdiff_t s)
{
    return a->base + fr_time(run, slot, s) * a->time + run->row[slot] * a->batch;
}

/* The row of the run's lookup that is x there. */
static inline ptrdiff_t fr_code(const FrRun *run, int slot, ptrdiff_t s)
{
    return run->lookup->code[fr_time(run, slot, s) * run->lookup->time + run->row[slot] * run->lookup->batch];
}

/* State e, of those with a row for every step, of a slot after step s; `at` is that row in what is kept. */
static inline char *fr_state_row(const FrRun *run, const FrKept *kept, int e, int slot, ptrdiff_t s, ptrdiff_t at)
{
    if (e == 1 && run->c.base)
        return fr_row(run, &run->c, slot, s);
    return kept->state[e] + at * run->plan->padded * run->plan->kernels->size;
}

#endif
