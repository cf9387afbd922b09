#include "sequence_impl.h"

/* Input products are computed for blocks of steps that stay in L2 beside the recurrent weights. */
enum { GX_BYTES = 256 << 10 };

typedef struct Scratch {
    ptrdiff_t rows;                       /* capacity of a block of steps     */
    const void **x;
    void **prev, **out, **cell_prev, **cell, **operand;
    char *gx[FR_MAX_STAGES], *acc;
    char *operands, *save;                /* of one step, when not kept       */
} Scratch;

static size_t lay_out(const FrPlan *plan, int count, char *base, Scratch *w)
{
    const size_t size = plan->kernels->size, VL = plan->kernels->lanes;
    size_t gx_row = 1, used = 0;
    for (int i = 0; i < plan->stages; i++)
        gx_row += (size_t)plan->stage[i].panels * plan->stage[i].gx_width * VL * size;
    w->rows = GX_BYTES / gx_row < (size_t)count ? count : (ptrdiff_t)(GX_BYTES / gx_row);
    w->x = fr_take(base, &used, w->rows * sizeof(void *));
    w->prev = fr_take(base, &used, count * sizeof(void *));
    w->out = fr_take(base, &used, count * sizeof(void *));
    w->cell_prev = fr_take(base, &used, count * sizeof(void *));
    w->cell = fr_take(base, &used, count * sizeof(void *));
    w->operand = fr_take(base, &used, count * sizeof(void *));
    for (int i = 0; i < plan->stages; i++)
        w->gx[i] = fr_take(base, &used, (size_t)plan->stage[i].panels * plan->stage[i].gx_width * VL * size * w->rows);
    w->acc = fr_take(base, &used, (size_t)FR_GROUP * FR_MAX_WIDTH * VL * size);
    w->operands = fr_take(base, &used, plan->stages > 1 ? (size_t)count * plan->padded * size : 0);
    w->save = fr_take(base, &used, plan->cell->stages > 1 ? (size_t)count * plan->padded * plan->cell->saves * size : 0);
    return used;
}

size_t fr_forward_scratch(const FrPlan *plan, int count)
{
    Scratch unused;
    return lay_out(plan, count, NULL, &unused);
}

FrWorkspace fr_workspace(const FrPlan *plan, ptrdiff_t rows)
{
    const size_t row = (size_t)plan->padded * plan->kernels->size;
    FrWorkspace ws;
    size_t used = 0;
    fr_take(NULL, &used, rows * row * plan->cell->saves);
    ws.cell = used;
    fr_take(NULL, &used, plan->cell->states > 1 ? rows * row : 0);
    ws.operand = used;
    fr_take(NULL, &used, plan->stages > 1 ? rows * row : 0);
    ws.total = used;
    return ws;
}

/* gx = W x + b_ih for the block's rows. */
static void input_products(const FrRun *run, const Scratch *w, ptrdiff_t rows)
{
    const FrPlan *plan = run->plan;
    const FrKernels *k = plan->kernels;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        const ptrdiff_t width = (ptrdiff_t)s->gx_width * k->lanes, panel = plan->input * width;
        if (!s->gx_width)
            continue;
        const int together = rows <= k->pair_rows[s->gx_width] ? s->panels : 1;
        for (int p = 0; p < s->panels; p += together)
            for (ptrdiff_t r = 0, n; r < rows; r += n) {
                n = fr_tile_rows(rows - r, k->tile_rows[s->gx_width]);
                FrProduct product = {
                    .a = w->x + r,
                    .panel = fr_at(plan, run->packed, s->gx_panels + p * panel),
                    .init = fr_at(plan, run->packed, s->gx_bias + p * width),
                    .out = fr_at(plan, w->gx[i], (p * w->rows + r) * width),
                    .depth = plan->input, .chunks = 1, .a_step = 1,
                    .panel_step = width, .out_row = width,
                    .panel_next = panel, .init_next = width, .out_next = w->rows * width,
                    .rows = (int)n,
                };
                fr_products(k, s->gx_width, &product, together);
            }
    }
}

/* One stage of one step over all slots alive: product and cell kernel, tile by tile. `tile` brings what
 * is the same for all of them. */
static void stage_step(const FrRun *run, const Scratch *w, int i, FrTile *tile, void *const *operand, int rows,
                       const char *gx, char *save)
{
    const FrPlan *plan = run->plan;
    const FrKernels *k = plan->kernels;
    const FrStagePlan *s = &plan->stage[i];
    const ptrdiff_t width = (ptrdiff_t)s->rec_width * k->lanes, panel = s->rec.depth * width;
    const int most = k->tile_rows[s->rec_width];
    void *const *const slot[FR_SLOTS] = {tile->slot[0], tile->slot[1], tile->slot[2], tile->slot[3]};
    const int even = fr_tile_rows(rows, most), group = even >= FR_GROUP ? 1 : FR_GROUP / even;

    tile->units = s->units;
    tile->acc = w->acc;
    tile->acc_blocks = tile->blocks = s->blocks;
    tile->gx_panel = w->rows * s->gx_width * k->lanes;
    for (int p = 0, panels; p < s->panels; p += panels) {
        panels = s->panels - p < group ? s->panels - p : group;
        tile->first = p * s->blocks;
        tile->count = panels * s->blocks;
        if (tile->first + tile->count > s->hidden_blocks)
            tile->count = s->hidden_blocks - tile->first;
        for (int r = 0, n; r < rows; r += n) {
            n = fr_tile_rows(rows - r, most);
            FrProduct product = {
                .a = (const void *const *)operand + r,
                .panel = fr_at(plan, run->packed, s->rec_panels + p * panel),
                .init = fr_at(plan, run->packed, s->rec_bias + p * width),
                .out = w->acc,
                .depth = s->rec.depth, .chunks = 1, .a_step = 1,
                .panel_step = width, .out_row = width,
                .panel_next = panel, .init_next = width, .out_next = n * width,
                .rows = n,
            };
            fr_products(k, s->rec_width, &product, panels);
            tile->rows = n;
            tile->acc_panel = n * width;
            tile->gx = gx ? fr_at(plan, gx, (ptrdiff_t)r * s->gx_width * k->lanes) : NULL;
            tile->save = save ? fr_at(plan, save, (ptrdiff_t)r * plan->cell->saves * k->lanes) : NULL;
            for (int j = 0; j <= FR_CELL; j++)
                tile->slot[j] = slot[j] ? slot[j] + r : NULL;
            s->forward(tile);
        }
    }
    for (int j = 0; j <= FR_CELL; j++)
        tile->slot[j] = slot[j];
}

/* Step s of n slots; `gx_row` is its first row in the block's gx, `ws_row` in what is kept. */
static void step(const FrRun *run, Scratch *w, ptrdiff_t s, int n, ptrdiff_t gx_row, ptrdiff_t ws_row)
{
    const FrPlan *plan = run->plan;
    const ptrdiff_t row = (ptrdiff_t)plan->padded * plan->kernels->size;
    char *save = run->ws_save ? run->ws_save + ws_row * row * plan->cell->saves
                              : plan->cell->stages > 1 ? w->save : NULL;
    for (int j = 0; j < n; j++)
        w->out[j] = fr_row(run, &run->y, j, s);
    if (run->ws_cell)
        for (int j = 0; j < n; j++)
            w->cell[j] = run->ws_cell + (ws_row + j) * row;
    if (plan->stages > 1)
        for (int j = 0; j < n; j++)
            w->operand[j] = run->ws_operand ? run->ws_operand + (ws_row + j) * row : w->operands + j * row;

    FrTile tile = {
        .save_block = (ptrdiff_t)n * plan->cell->saves * plan->kernels->lanes,
        .vectors = fr_at(plan, run->packed, plan->vectors),
        .padded = plan->padded,
        .slot = {w->prev, NULL, w->cell_prev, run->ws_cell ? w->cell : w->cell_prev},
    };
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *stage = &plan->stage[i];
        tile.slot[FR_OUT] = i == plan->stages - 1 ? w->out : w->operand;
        stage_step(run, w, i, &tile, i ? w->operand : w->prev, n,
                   stage->gx_width ? fr_at(plan, w->gx[i], gx_row * stage->gx_width * plan->kernels->lanes) : NULL,
                   i < plan->cell->stages ? save : NULL);
    }
}

/* Slots first ... n - 1 end here: their rows become the run's state. */
static void finish(const FrRun *run, const Scratch *w, int first, int n)
{
    const FrPlan *plan = run->plan;
    const size_t size = plan->kernels->size;
    for (int j = first; j < n; j++)
        memcpy(run->h + run->row[j] * plan->output * size, w->out[j], plan->output * size);
    if (run->ws_cell)
        for (int j = first; j < n; j++)
            memcpy(run->c + run->row[j] * plan->hidden * size, w->cell[j], plan->hidden * size);
}

static void swap(void ***a, void ***b)
{
    void **t = *a;
    *a = *b;
    *b = t;
}

void fr_forward(const FrRun *run, ptrdiff_t first, ptrdiff_t last)
{
    const FrPlan *plan = run->plan;
    const ptrdiff_t h_row = (ptrdiff_t)plan->output * plan->kernels->size;
    const ptrdiff_t c_row = (ptrdiff_t)plan->hidden * plan->kernels->size;
    Scratch w;
    lay_out(plan, run->count, run->scratch, &w);

    int n = fr_shrink(run, run->count, first);
    for (int j = 0; j < n; j++) {
        w.prev[j] = run->h + run->row[j] * h_row;
        w.cell_prev[j] = run->c + run->row[j] * c_row;
    }
    ptrdiff_t ws_row = 0;
    for (ptrdiff_t s = first, end; s < last && n; s = end) {
        ptrdiff_t rows = 0, gx_row = 0;
        int m = n;
        for (end = s; end < last && (m = fr_shrink(run, m, end)) && rows + m <= w.rows; end++, rows += m)
            for (int j = 0; j < m; j++)
                w.x[rows + j] = fr_row(run, &run->x, j, end);
        input_products(run, &w, rows);
        for (ptrdiff_t t = s; t < end; t++) {
            step(run, &w, t, n, gx_row, ws_row);
            gx_row += n;
            ws_row += n;
            const int alive = t + 1 < last ? fr_shrink(run, n, t + 1) : 0;
            finish(run, &w, alive, n);
            n = alive;
            swap(&w.prev, &w.out);
            if (run->ws_cell)
                swap(&w.cell_prev, &w.cell);
        }
    }
}
