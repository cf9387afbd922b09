#include "sequence_impl.h"

/* Input products are computed for blocks of steps: large enough that the input weights are read rarely, small
 * enough to stay in L2 with what else a step needs: (100,64,512) is as fast with 256 KB to 512 KB, 1 % slower
 * with 1 MB; (100,32,256) 2 % slower with 256 KB. */
enum { GX_BYTES = 1 << 19 };

typedef struct Scratch {
    FrMember me;
    ptrdiff_t rows;                       /* capacity of a block of steps     */
    char *gx[FR_MAX_STAGES];
    char *operands, *save;                /* of one step, when not kept       */
    const void **x;                       /* from here on each member's own   */
    void **prev, **out, **cell_prev, **cell, **operand;
    char *acc;
} Scratch;

/* Returns the size of all. */
static size_t lay_out(const FrPlan *plan, int count, int members, int rank, char *base, Scratch *w)
{
    const size_t size = plan->kernels->size, VL = plan->kernels->lanes;
    size_t gx_row = 1, used = 0;
    for (int i = 0; i < plan->stages; i++)
        gx_row += (size_t)plan->stage[i].panels * plan->stage[i].gx_width * VL * size;
    w->rows = GX_BYTES / gx_row < (size_t)count ? count : (ptrdiff_t)(GX_BYTES / gx_row);
    w->me = fr_member(fr_take(base, &used, fr_team_size(members)), members, rank);
    for (int i = 0; i < plan->stages; i++)
        w->gx[i] = fr_take(base, &used, (size_t)plan->stage[i].panels * plan->stage[i].gx_width * VL * size * w->rows);
    w->operands = fr_take(base, &used, plan->stages > 1 ? (size_t)count * plan->padded * size : 0);
    w->save = fr_take(base, &used, plan->cell->stages > 1 ? (size_t)count * plan->padded * plan->cell->saves * size : 0);

    const size_t shared = used;
    int i = 0;
    do {
        w->x = fr_take(base, &used, w->rows * sizeof(void *));
        w->prev = fr_take(base, &used, count * sizeof(void *));
        w->out = fr_take(base, &used, count * sizeof(void *));
        w->cell_prev = fr_take(base, &used, count * sizeof(void *));
        w->cell = fr_take(base, &used, count * sizeof(void *));
        w->operand = fr_take(base, &used, count * sizeof(void *));
        w->acc = fr_take(base, &used, (size_t)FR_ROWS * FR_MAX_WIDTH * VL * size);
    } while (i++ < rank);
    return shared + (used - shared) / (rank + 1) * members;
}

size_t fr_forward_scratch(const FrPlan *plan, int count, int members)
{
    Scratch unused;
    return lay_out(plan, count, members, 0, NULL, &unused);
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
static void input_products(const FrRun *run, Scratch *w, ptrdiff_t rows)
{
    const FrPlan *plan = run->plan;
    const FrKernels *k = plan->kernels;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        const ptrdiff_t width = (ptrdiff_t)s->gx_width * k->lanes, panel = plan->input * width;
        if (!s->gx_width)
            continue;
        FrProduct product = {
            .a = w->x,
            .panel = fr_at(plan, run->packed, s->gx_panels),
            .init = fr_at(plan, run->packed, s->gx_bias),
            .out = w->gx[i],
            .depth = plan->input, .chunks = 1, .a_step = 1,
            .panel_step = width, .out_row = width,
            .panel_next = panel, .init_next = width, .out_next = w->rows * width,
            .rows = (int)rows,
        };
        const int one_tile = rows <= k->tile_rows[s->gx_width], group = one_tile ? fr_share(&w->me, s->panels) : 1;
        fr_phase_begin(&w->me, (s->panels + group - 1) / group);
        for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
            const int p = chunk * group;
            FrProduct at = product;
            fr_skip_panels(k, &at, p);
            if (one_tile)
                fr_products(k, s->gx_width, &at, s->panels - p < group ? s->panels - p : group);
            else {
                at.ahead = fr_at(plan, at.panel, panel);
                fr_tall_product(k, s->gx_width, &at, rows);
            }
        }
        fr_phase_end(&w->me);
    }
}

/* One stage of one step over all slots alive: product and cell kernel, tile by tile. `all` brings what
 * is the same for all of them, its pointers at row 0. */
static void stage_step(const FrRun *run, Scratch *w, int i, const FrTile *all, void *const *operand, int rows)
{
    const FrPlan *plan = run->plan;
    const FrKernels *k = plan->kernels;
    const FrStagePlan *s = &plan->stage[i];
    const ptrdiff_t width = (ptrdiff_t)s->rec_width * k->lanes, panel = s->rec.depth * width;
    /* one tile of rows: several panels for each call of the cell kernel; else one panel, many rows */
    const int one_tile = rows <= k->tile_rows[s->rec_width];
    const int group = one_tile ? fr_group(&w->me, s->panels, rows) : 1;
    const FrProduct whole = {
        .a = (const void *const *)operand,
        .panel = fr_at(plan, run->packed, s->rec_panels),
        .init = fr_at(plan, run->packed, s->rec_bias),
        .depth = s->rec.depth, .chunks = 1, .a_step = 1,
        .panel_step = width, .out_row = width,
        .panel_next = panel, .init_next = width, .out_next = rows * width,
    };
    FrTile tile = *all;
    tile.units = s->units;
    tile.acc = w->acc;
    tile.acc_blocks = tile.blocks = s->blocks;
    fr_phase_begin(&w->me, (s->panels + group - 1) / group);
    for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
        const int p = chunk * group, panels = s->panels - p < group ? s->panels - p : group;
        FrProduct product = whole;
        fr_skip_panels(k, &product, p);
        product.out = w->acc;
        tile.first = p * s->blocks;
        tile.count = fr_blocks_in(tile.first, panels * s->blocks, s->hidden_blocks);
        if (one_tile) {
            product.rows = tile.rows = rows;
            tile.acc_panel = rows * width;
            fr_products(k, s->rec_width, &product, panels);
            s->forward(&tile);
            continue;
        }
        for (int r = 0; r < rows; r += tile.rows) {
            fr_tile_at(plan, s, &tile, all, r);
            tile.rows = fr_tile_rows(rows - r, FR_ROWS);
            product.a = whole.a + r;
            product.ahead = fr_at(plan, product.panel, panel);
            fr_tall_product(k, s->rec_width, &product, tile.rows);
            s->forward(&tile);
        }
    }
    fr_phase_end(&w->me);
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
        const ptrdiff_t gx_width = (ptrdiff_t)stage->gx_width * plan->kernels->lanes;
        tile.slot[FR_OUT] = i == plan->stages - 1 ? w->out : w->operand;
        tile.gx = gx_width ? fr_at(plan, w->gx[i], gx_row * gx_width) : NULL;
        tile.gx_panel = w->rows * gx_width;
        tile.save = i < plan->cell->stages ? save : NULL;
        stage_step(run, w, i, &tile, i ? w->operand : w->prev, n);
    }
}

/* Slots first ... n - 1 end here: their rows become the run's state. */
static void finish(const FrRun *run, const Scratch *w, int first, int n)
{
    const FrPlan *plan = run->plan;
    const size_t size = plan->kernels->size;
    if (w->me.rank)
        return;
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

/* Steps [first, last) of a run, as one of its members. */
static void forward(const FrRun *run, int rank, ptrdiff_t first, ptrdiff_t last)
{
    const FrPlan *plan = run->plan;
    const ptrdiff_t h_row = (ptrdiff_t)plan->output * plan->kernels->size;
    const ptrdiff_t c_row = (ptrdiff_t)plan->hidden * plan->kernels->size;
    Scratch w;
    lay_out(plan, run->count, run->members, rank, run->scratch, &w);
    if (rank && fr_finished(&w.me))
        return;

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
    fr_finish(&w.me);
}

typedef struct Job {
    const FrRun *runs;
    int count;
    ptrdiff_t first, last;
} Job;

static void task(void *context, int i)
{
    const Job *job = context;
    forward(&job->runs[i % job->count], i / job->count, job->first, job->last);
}

void fr_forward(const FrRun *runs, int count, ptrdiff_t first, ptrdiff_t last)
{
    Job job = {runs, count, first, last};
    for (int i = 0; i < count; i++)
        if (runs[i].members > 1)
            fr_team_begin((FrTeam *)runs[i].scratch, runs[i].members);
    fr_parallel(task, &job, count * runs[0].members);
}
