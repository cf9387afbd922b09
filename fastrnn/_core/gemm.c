#include "gemm.h"
#include "sequence_impl.h"

/* Depth that is multiplied at a time: a panel of 4 vectors is then 64 KB and stays in L2 for all rows. */
enum { DEPTH = 256 };

typedef struct Panels {
    int width, count; /* vectors of a panel, panels */
    char *packed, *init, *acc;
} Panels;

static size_t lay_out(const FrGemm *g, char *base, Panels *p)
{
    const size_t vector = (size_t)g->kernels->lanes * g->kernels->size;
    const ptrdiff_t vectors = (g->columns + g->kernels->lanes - 1) / g->kernels->lanes;
    size_t used = 0;
    p->width = vectors < FR_MAX_WIDTH ? (int)vectors : FR_MAX_WIDTH;
    p->count = p->width ? (int)((vectors + p->width - 1) / p->width) : 0;
    p->packed = fr_take(base, &used, DEPTH * p->width * vector);
    p->init = fr_take(base, &used, p->width * vector);
    p->acc = fr_take(base, &used, FR_MAX_ROWS * p->width * vector);
    return used;
}

size_t fr_gemm_scratch(const FrGemm *g)
{
    Panels unused;
    return lay_out(g, NULL, &unused);
}

/* One panel against all rows, over depth [first, first + depth). */
static void panel_rows(const FrGemm *g, const Panels *p, int panel, ptrdiff_t first, ptrdiff_t depth, int add)
{
    const FrKernels *k = g->kernels;
    const ptrdiff_t size = k->size, wide = (ptrdiff_t)p->width * k->lanes;
    const void *a[FR_MAX_ROWS];
    void *rows[FR_MAX_ROWS];
    for (ptrdiff_t r = 0, n; r < g->rows; r += n) {
        n = fr_tile_rows(g->rows - r, k->tile_rows[p->width]);
        for (int i = 0; i < n; i++) {
            a[i] = g->a + ((r + i) * g->a_row + first * g->a_step) * size;
            rows[i] = g->c + ((r + i) * g->c_row + panel * wide) * size;
        }
        const FrProduct product = {
            .a = a, .panel = p->packed, .init = p->init, .out = p->acc,
            .depth = depth, .chunks = 1, .a_step = g->a_step, .panel_step = wide, .out_row = wide,
            .rows = (int)n,
        };
        k->product[p->width][n](&product);
        const ptrdiff_t left = g->columns - panel * wide;
        const FrTile tile = {
            .rows = (int)n, .count = (int)((left < wide ? left : wide) + k->lanes - 1) / k->lanes,
            .units = (int)(left < wide ? left : wide), .acc_blocks = p->width, .blocks = p->width, .acc = p->acc,
            .slot = {[FR_OUT] = rows},
        };
        k->store(&tile, add);
    }
}

void fr_gemm(const FrGemm *g)
{
    const FrKernels *k = g->kernels;
    const ptrdiff_t size = k->size;
    Panels p;
    lay_out(g, g->scratch, &p);
    const ptrdiff_t wide = (ptrdiff_t)p.width * k->lanes;
    for (int panel = 0; panel < p.count; panel++) {
        const ptrdiff_t column = panel * wide, left = g->columns - column, count = left < wide ? left : wide;
        memset(p.init, 0, wide * size);
        if (g->bias)
            memcpy(p.init, g->bias + column * size, count * size);
        ptrdiff_t first = 0;
        do {
            const ptrdiff_t depth = g->depth - first < DEPTH ? g->depth - first : DEPTH;
            k->panel(g->b + (first * g->b_step + column * g->b_column) * size, g->b_step, g->b_column, depth, count, wide,
                     p.packed);
            panel_rows(g, &p, panel, first, depth, g->add || first);
            memset(p.init, 0, wide * size);
            first += depth;
        } while (first < g->depth);
    }
}
