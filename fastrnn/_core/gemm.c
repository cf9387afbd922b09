#include "gemm.h"
#include "sequence_impl.h"

/* Depth that is multiplied at a time: a panel of 4 vectors is then 64 KB and stays in L2 for all rows,
 * and 1024 columns of a transposed left operand 1 MB, which do for all panels. */
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
    p->packed = g->packed ? NULL : fr_take(base, &used, DEPTH * p->width * vector);
    p->init = fr_take(base, &used, p->width * vector);
    p->acc = fr_take(base, &used, FR_MAX_ROWS * p->width * vector);
    return used;
}

size_t fr_gemm_scratch(const FrGemm *g)
{
    Panels unused;
    return lay_out(g, NULL, &unused);
}

size_t fr_gemm_packed(const FrGemm *g)
{
    Panels p;
    lay_out(g, NULL, &p);
    return (size_t)g->depth * p.count * p.width * g->kernels->lanes * g->kernels->size;
}

/* Packs the columns of a panel, for `depth` from k = first on. */
static void pack_panel(const FrGemm *g, ptrdiff_t wide, int panel, ptrdiff_t first, ptrdiff_t depth, char *out)
{
    const ptrdiff_t column = panel * wide, left = g->columns - column;
    const char *from = g->b + (first * g->b_step + column * g->b_column) * g->kernels->size;
    g->kernels->panel(from, g->b_step, g->b_column, depth, left < wide ? left : wide, wide, out);
}

void fr_gemm_pack(const FrGemm *g, char *packed)
{
    Panels p;
    lay_out(g, NULL, &p);
    const ptrdiff_t wide = (ptrdiff_t)p.width * g->kernels->lanes;
    for (int panel = 0; panel < p.count; panel++)
        pack_panel(g, wide, panel, 0, g->depth, packed + panel * g->depth * wide * g->kernels->size);
}

/* One panel, packed, against rows from `row` to `end`, over depth [first, first + depth). */
static void panel_rows(const FrGemm *g, const Panels *p, const char *packed, int panel, ptrdiff_t row, ptrdiff_t end,
                       ptrdiff_t first, ptrdiff_t depth, int add)
{
    const FrKernels *k = g->kernels;
    const ptrdiff_t size = k->size, wide = (ptrdiff_t)p->width * k->lanes;
    const void *a[FR_MAX_ROWS];
    void *rows[FR_MAX_ROWS];
    const ptrdiff_t left = g->columns - panel * wide, bytes = depth * wide * size;
    const char *ahead = packed + bytes; /* where the next panel may be: a part of it is fetched during each tile */
    const int direct = !add && !g->c_at && left >= wide; /* the product may write c itself */
    for (ptrdiff_t r = row, n; r < end; r += n) {
        n = fr_tile_rows(end - r, k->tile_rows[p->width]);
        for (int i = 0; i < n; i++) {
            a[i] = g->a + ((g->a_at ? g->a_at[r + i] : r + i) * g->a_row + first * g->a_step) * size;
            rows[i] = g->c + ((g->c_at ? g->c_at[r + i] : r + i) * g->c_row + panel * wide) * size;
        }
        const FrProduct product = {
            .a = a, .panel = packed, .init = p->init, .out = direct ? rows[0] : p->acc,
            .depth = depth, .chunks = 1, .a_step = g->a_step, .panel_step = wide, .out_row = direct ? g->c_row : wide,
            .rows = (int)n, .ahead = g->packed && ahead < packed + 2 * bytes ? ahead : NULL,
        };
        ahead += depth * k->lanes * size;
        k->product[p->width][n](&product);
        if (direct)
            continue;
        const FrTile tile = {
            .rows = (int)n, .count = (int)((left < wide ? left : wide) + k->lanes - 1) / k->lanes,
            .units = (int)(left < wide ? left : wide), .acc_blocks = p->width, .blocks = p->width, .acc = p->acc,
            .slot = {[FR_OUT] = rows},
        };
        k->store(&tile, add);
    }
}

void fr_gemm(const FrGemm *g, ptrdiff_t row, ptrdiff_t end, char *scratch)
{
    const ptrdiff_t size = g->kernels->size;
    Panels p;
    lay_out(g, scratch, &p);
    const ptrdiff_t wide = (ptrdiff_t)p.width * g->kernels->lanes;
    ptrdiff_t first = 0;
    do {
        const ptrdiff_t depth = g->depth - first < DEPTH ? g->depth - first : DEPTH;
        for (int panel = 0; panel < p.count; panel++) {
            const ptrdiff_t column = panel * wide, left = g->columns - column;
            const char *packed = g->packed ? g->packed + (panel * g->depth + first) * wide * size : p.packed;
            memset(p.init, 0, wide * size);
            if (g->bias && !first)
                memcpy(p.init, g->bias + column * size, (left < wide ? left : wide) * size);
            if (!g->packed)
                pack_panel(g, wide, panel, first, depth, p.packed);
            panel_rows(g, &p, packed, panel, row, end, first, depth, g->add || first);
        }
        first += depth;
    } while (first < g->depth);
}
