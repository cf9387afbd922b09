#include "sequence_impl.h"

/* Input products are computed for blocks of steps: large enough that the input weights are read rarely, small
 * enough to stay in L2 with what else a step needs: (100,64,512) is as fast with 256 KB to 512 KB, 1 % slower
 * with 1 MB; (100,32,256) 2 % slower with 256 KB. */
enum { GX_BYTES = 1 << 19 };

typedef struct Scratch {
    FrMember me;
    ptrdiff_t rows;                       /* capacity of a block of steps     */
    char *gx[FR_MAX_STAGES];
    char *raw;                            /* recurrent product of a whole step, for kernels that want whole rows */
    FrKept one;                           /* of one step, when not kept       */
    FrKept kept;
    FrZone zone;                          /* each member's own               */
    void **dropped;
    const void **x;                       /* from here on each member's own   */
    ptrdiff_t *code;                      /* in the place of x, with a lookup */
    void **prev, **out;
    void **cell_prev[FR_MAX_STATES], **cell[FR_MAX_STATES], **operand[FR_MAX_STAGES];
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
    w->raw = fr_take(base, &used, count * fr_raw_row(plan));
    w->one = (FrKept){0};
    if (plan->cell->stages > 1)
        w->one.save = fr_take(base, &used, (size_t)count * plan->padded * plan->cell->saves * size);
    for (int i = 1; i < plan->stages; i++)
        w->one.operand[i] = fr_take(base, &used, (size_t)count * plan->padded * size);

    const size_t shared = used;
    int i = 0;
    do {
        w->x = fr_take(base, &used, w->rows * sizeof(void *));
        w->code = fr_take(base, &used, w->rows * sizeof(ptrdiff_t));
        w->prev = fr_take(base, &used, count * sizeof(void *));
        w->out = fr_take(base, &used, count * sizeof(void *));
        for (int e = 1; e < plan->cell->states; e++) {
            w->cell_prev[e] = fr_take(base, &used, count * sizeof(void *));
            w->cell[e] = fr_take(base, &used, count * sizeof(void *));
        }
        for (int i = 1; i < plan->stages; i++)
            w->operand[i] = fr_take(base, &used, count * sizeof(void *));
        w->dropped = fr_take(base, &used, count * sizeof(void *));
        fr_lay_out_zone(plan, count, base, &used, &w->zone);
        w->acc = fr_take(base, &used, (size_t)FR_ROWS * FR_MAX_WIDTH * VL * size);
    } while (i++ < rank);
    return shared + (used - shared) / (rank + 1) * members;
}

size_t fr_forward_scratch(const FrPlan *plan, int count, int members)
{
    Scratch unused;
    return lay_out(plan, count, members, 0, NULL, &unused);
}

size_t fr_workspace(const FrPlan *plan, ptrdiff_t rows, int drop)
{
    FrKept unused;
    return fr_lay_out_kept(plan, rows, drop, NULL, &unused);
}

/* gx = W x + b_ih for the block's rows. */
static void input_products(const FrPlan *plan, const char *packed, Scratch *w, ptrdiff_t rows)
{
    const FrKernels *k = plan->kernels;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        const ptrdiff_t width = (ptrdiff_t)s->gx_width * k->lanes, panel = plan->input * width;
        if (!s->gx_width)
            continue;
        FrProduct product = {
            .a = w->x,
            .panel = fr_at(plan, packed, s->gx_panels),
            .init = fr_at(plan, packed, s->gx_bias),
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

/* The same from the run's lookup. */
static void looked_up(const FrRun *run, Scratch *w, ptrdiff_t rows)
{
    const FrPlan *plan = run->plan;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        const ptrdiff_t width = (ptrdiff_t)s->gx_width * plan->kernels->lanes, bytes = width * plan->kernels->size;
        if (!width)
            continue;
        const int group = fr_share(&w->me, s->panels);
        fr_phase_begin(&w->me, (s->panels + group - 1) / group);
        for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;)
            for (int p = chunk * group; p < s->panels && p < (chunk + 1) * group; p++) {
                const char *from = run->lookup->gx[i] + p * run->lookup->rows * bytes;
                char *to = w->gx[i] + p * w->rows * bytes;
                for (ptrdiff_t r = 0; r < rows; r++)
                    memcpy(to + r * bytes, from + w->code[r] * bytes, bytes);
            }
        fr_phase_end(&w->me);
    }
}

static size_t lay_out_products(const FrPlan *plan, ptrdiff_t rows, char *base, char **gx)
{
    size_t used = 0;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        gx[i] = fr_take(base, &used, (size_t)rows * s->panels * s->gx_width * plan->kernels->lanes * plan->kernels->size);
    }
    return used;
}

size_t fr_lookup_products(const FrPlan *plan, ptrdiff_t rows)
{
    char *unused[FR_MAX_STAGES];
    return lay_out_products(plan, rows, NULL, unused);
}

void fr_look_up(const FrPlan *plan, const char *packed, FrLookup *lookup, char *memory)
{
    const void *x[FR_ROWS];
    Scratch w = {.x = x, .me = fr_member(NULL, 1, 0), .rows = lookup->rows};
    lay_out_products(plan, lookup->rows, memory, lookup->gx);
    memcpy(w.gx, lookup->gx, sizeof w.gx);
    for (ptrdiff_t first = 0, n; first < lookup->rows; first += n) {
        n = fr_tile_rows(lookup->rows - first, FR_ROWS);
        for (int r = 0; r < n; r++)
            x[r] = fr_at(plan, lookup->table, (first + r) * plan->input);
        input_products(plan, packed, &w, n);
        for (int i = 0; i < plan->stages; i++)
            w.gx[i] = fr_at(plan, w.gx[i], n * plan->stage[i].gx_width * plan->kernels->lanes);
    }
}

/* The recurrent product of a stage's step for `rows` rows: its first panel. */
static inline FrProduct recurrent_product(const FrRun *run, const FrStagePlan *s, void *const *operand, int rows)
{
    const FrPlan *plan = run->plan;
    const ptrdiff_t width = (ptrdiff_t)s->rec_width * plan->kernels->lanes;
    return (FrProduct){
        .a = (const void *const *)operand,
        .panel = fr_at(plan, run->packed, s->rec_panels),
        .init = fr_at(plan, run->packed, s->rec_bias),
        .depth = s->rec.depth, .chunks = 1, .a_step = 1,
        .panel_step = width, .out_row = width,
        .panel_next = s->rec.depth * width, .init_next = width, .out_next = rows * width,
        .rows = rows,
    };
}

/* One stage of one step over all slots alive, which are one tile of rows: several panels for each call of the
 * cell kernel, in odd steps from the last on where that pays. Nothing is copied: a copy of what was just written, as long as a batch of 1 needs for a panel, waits. */
static void one_tile_step(const FrRun *run, Scratch *w, const FrStagePlan *s, FrTile *tile, void *const *operand, int rows,
                          int odd)
{
    const FrPlan *plan = run->plan;
    const FrKernels *k = plan->kernels;
    const int group = fr_group(&w->me, s->panels, rows);
    FrProduct product = recurrent_product(run, s, operand, rows);
    int at = 0; /* panel at which the product stands */
    tile->acc = w->acc;
    tile->acc_panel = product.out_next;
    tile->rows = rows;
    w->me.backwards = odd && fr_turns(fr_share(&w->me, s->panels) * product.panel_next * k->size);
    fr_phase_begin(&w->me, (s->panels + group - 1) / group);
    for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
        const int p = chunk * group, panels = s->panels - p < group ? s->panels - p : group;
        fr_skip_panels(k, &product, p - at);
        product.out = w->acc;
        tile->first = p * s->blocks;
        tile->count = fr_blocks_in(tile->first, panels * s->blocks, s->hidden_blocks);
        (w->me.backwards ? fr_products_back : fr_products)(k, s->rec_width, &product, panels);
        at = w->me.backwards ? p : p + panels;
        s->forward(tile);
    }
    fr_phase_end(&w->me);
    w->me.backwards = 0;
}

/* The same for more rows: one panel after the other, tile by tile. `all` brings what is the same for all of them, its
 * pointers at row 0. */
static void tiles_step(const FrRun *run, Scratch *w, const FrStagePlan *s, FrTile *all, void *const *operand, int rows)
{
    const FrPlan *plan = run->plan;
    const FrKernels *k = plan->kernels;
    const FrProduct whole = recurrent_product(run, s, operand, rows);
    FrTile tile = *all;
    tile.acc = w->acc;
    fr_phase_begin(&w->me, s->panels);
    for (int p; (p = fr_phase_next(&w->me)) >= 0;) {
        FrProduct product = whole;
        fr_skip_panels(k, &product, p);
        product.out = w->acc;
        product.ahead = fr_at(plan, product.panel, product.panel_next);
        tile.first = p * s->blocks;
        tile.count = fr_blocks_in(tile.first, s->blocks, s->hidden_blocks);
        for (int r = 0; r < rows; r += tile.rows) {
            fr_tile_at(plan, s, &tile, all, r);
            tile.rows = fr_kernel_rows(k, s->rec_width, rows - r);
            product.a = whole.a + r;
            fr_tall_product(k, s->rec_width, &product, tile.rows);
            s->forward(&tile);
        }
    }
    fr_phase_end(&w->me);
}

/* The same for a stage without a recurrent product. */
static void elementwise_step(Scratch *w, const FrStagePlan *s, const FrTile *all, int rows)
{
    FrTile tile = *all;
    const int share = fr_share(&w->me, s->hidden_blocks);
    tile.acc = w->acc; /* no kernel reads it */
    fr_phase_begin(&w->me, (s->hidden_blocks + share - 1) / share);
    for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
        tile.first = chunk * share;
        tile.count = fr_blocks_in(tile.first, share, s->hidden_blocks);
        tile.rows = rows;
        s->forward(&tile);
    }
    fr_phase_end(&w->me);
}

/* The same for a stage whose kernel wants whole rows: all products first. */
static void whole_rows_step(const FrRun *run, Scratch *w, const FrStagePlan *s, const FrTile *all, void *const *operand,
                            int rows)
{
    const FrPlan *plan = run->plan;
    const FrKernels *k = plan->kernels;
    const ptrdiff_t width = (ptrdiff_t)s->rec_width * k->lanes;
    const FrProduct whole = recurrent_product(run, s, operand, rows);
    FrTile tile = *all;
    fr_phase_begin(&w->me, s->panels);
    for (int p; (p = fr_phase_next(&w->me)) >= 0;) {
        FrProduct product = whole;
        product.out = w->raw;
        fr_skip_panels(k, &product, p);
        product.ahead = fr_at(plan, product.panel, product.panel_next);
        fr_tall_product(k, s->rec_width, &product, rows);
    }
    fr_phase_end(&w->me);
    fr_phase_begin(&w->me, rows);
    for (int r; (r = fr_phase_next(&w->me)) >= 0;) {
        fr_tile_at(plan, s, &tile, all, r);
        tile.rows = 1;
        tile.count = s->hidden_blocks;
        tile.acc = fr_at(plan, w->raw, r * width);
        tile.acc_panel = rows * width;
        s->forward(&tile);
    }
    fr_phase_end(&w->me);
}

/* h_{t-1} after its dropout, by slot. */
static void *const *drop_out(const FrRun *run, Scratch *w, const FrKept *kept, ptrdiff_t at, int n)
{
    const FrPlan *plan = run->plan;
    fr_phase_begin(&w->me, 1);
    const int mine = !fr_phase_next(&w->me);
    for (int j = 0; j < n; j++) {
        w->dropped[j] = fr_at(plan, kept->operand[0], (at + j) * plan->padded);
        if (mine)
            plan->kernels->multiply(w->prev[j], fr_at(plan, run->drop, (ptrdiff_t)run->row[j] * plan->output), plan->output,
                                    w->dropped[j]);
    }
    fr_phase_end(&w->me);
    return w->dropped;
}

/* Step s of n slots; `gx_row` is its first row in the block's gx, `ws_row` in what is kept. */
static void step(const FrRun *run, Scratch *w, ptrdiff_t s, int n, ptrdiff_t gx_row, ptrdiff_t ws_row)
{
    const FrPlan *plan = run->plan;
    const ptrdiff_t row = (ptrdiff_t)plan->padded * plan->kernels->size;
    const FrKept *kept = run->ws ? &w->kept : &w->one;
    const ptrdiff_t at = run->ws ? ws_row : 0;
    FrTile tile = {
        .save_block = (ptrdiff_t)n * plan->cell->saves * plan->kernels->lanes,
        .vectors = fr_at(plan, run->packed, plan->vectors),
        .padded = plan->padded,
        .options = &plan->options,
        .slot = {[FR_PREV] = w->prev, [FR_OPERAND] = w->prev, [FR_X] = (void *const *)w->x + gx_row},
    };
    if (run->drop)
        tile.slot[FR_OPERAND] = drop_out(run, w, kept, at, n);
    if (run->ws && plan->zoned)
        fr_zone_out(run, &w->zone, s, n);
    for (int j = 0; j < n; j++)
        w->out[j] = fr_row(run, &run->y, j, s);
    for (int e = 1; e < plan->cell->states; e++) {
        const int apart = fr_every_step(run, e);
        if (apart)
            for (int j = 0; j < n; j++)
                w->cell[e][j] = fr_state_row(run, kept, e, j, s, at + j);
        tile.slot[FR_CELL_PREV + e - 1] = w->cell_prev[e];
        tile.slot[FR_CELL + e - 1] = apart ? w->cell[e] : w->cell_prev[e];
    }
    for (int i = 1; i < plan->stages; i++)
        for (int j = 0; j < n; j++)
            w->operand[i][j] = kept->operand[i] + (at + j) * row;

    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *stage = &plan->stage[i];
        const ptrdiff_t gx_width = (ptrdiff_t)stage->gx_width * plan->kernels->lanes;
        void *const *operand = i ? w->operand[i] : tile.slot[FR_OPERAND];
        tile.units = stage->units;
        tile.acc_blocks = tile.blocks = stage->blocks;
        tile.slot[FR_OUT] = i == plan->stages - 1 ? w->out : w->operand[i + 1];
        tile.slot[FR_ZONE_H] = i == plan->stages - 1 ? w->zone.row[0] : NULL;
        tile.slot[FR_ZONE_C] = w->zone.row[1];
        tile.gx = gx_width ? fr_at(plan, w->gx[i], gx_row * gx_width) : NULL;
        tile.gx_panel = w->rows * gx_width;
        tile.save = i < plan->cell->stages && kept->save ? kept->save + at * row * plan->cell->saves : NULL;
        if (stage->of->whole_rows)
            whole_rows_step(run, w, stage, &tile, operand, n);
        else if (stage->rec_width && n <= plan->kernels->tile_rows[stage->rec_width])
            one_tile_step(run, w, stage, &tile, operand, n, s & 1);
        else if (stage->rec_width)
            tiles_step(run, w, stage, &tile, operand, n);
        else
            elementwise_step(w, stage, &tile, n);
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
        memcpy(run->state[0] + run->row[j] * plan->output * size, w->out[j], plan->output * size);
    for (int e = 1; e < plan->cell->states; e++)
        if (fr_every_step(run, e))
            for (int j = first; j < n; j++)
                memcpy(run->state[e] + run->row[j] * plan->hidden * size, w->cell[e][j], plan->hidden * size);
}

static void swap(void ***a, void ***b)
{
    void **t = *a;
    *a = *b;
    *b = t;
}

/* Zoneout at inference: the mean, the same row for all slots. */
static void zone_mean(const FrRun *run, FrZone *z)
{
    const FrPlan *plan = run->plan;
    for (int e = 0; e < 2; e++)
        if (z->row[e]) {
            plan->kernels->fill(plan->options.zone[e], plan->padded, z->share[e]);
            for (int j = 0; j < run->count; j++)
                z->row[e][j] = z->share[e];
        }
}

/* A run, as one of its members. */
static void forward(const FrRun *run, int rank)
{
    const FrPlan *plan = run->plan;
    const ptrdiff_t first = run->first, last = run->last;
    Scratch w;
    lay_out(plan, run->count, run->members, rank, run->scratch, &w);
    if (rank && fr_finished(&w.me))
        return;

    if (run->ws)
        fr_lay_out_kept(plan, run->ws_rows, run->drop != NULL, run->ws, &w.kept);
    else
        zone_mean(run, &w.zone);
    int n = fr_shrink(run, run->count, first);
    for (int j = 0; j < n; j++) {
        w.prev[j] = fr_at(plan, run->state[0], (ptrdiff_t)run->row[j] * plan->output);
        for (int e = 1; e < plan->cell->states; e++)
            w.cell_prev[e][j] = fr_at(plan, run->state[e], (ptrdiff_t)run->row[j] * plan->hidden);
    }
    ptrdiff_t ws_row = 0;
    for (ptrdiff_t s = first, end; s < last && n; s = end) {
        ptrdiff_t rows = 0, gx_row = 0;
        int m = n;
        for (end = s; end < last && (m = fr_shrink(run, m, end)) && rows + m <= w.rows; end++, rows += m)
            for (int j = 0; j < m; j++)
                if (run->lookup)
                    w.code[rows + j] = fr_code(run, j, end);
                else
                    w.x[rows + j] = fr_row(run, &run->x, j, end);
        if (run->lookup)
            looked_up(run, &w, rows);
        else
            input_products(plan, run->packed, &w, rows);
        for (ptrdiff_t t = s; t < end; t++) {
            step(run, &w, t, n, gx_row, ws_row);
            gx_row += n;
            ws_row += n;
            const int alive = t + 1 < last ? fr_shrink(run, n, t + 1) : 0;
            finish(run, &w, alive, n);
            n = alive;
            swap(&w.prev, &w.out);
            for (int e = 1; e < plan->cell->states; e++)
                if (fr_every_step(run, e))
                    swap(&w.cell_prev[e], &w.cell[e]);
        }
    }
    fr_finish(&w.me);
}

typedef struct Job {
    const FrRun *runs;
    int count;
} Job;

static void task(void *context, int i)
{
    const Job *job = context;
    forward(&job->runs[i % job->count], i / job->count);
}

void fr_forward(const FrRun *runs, int count)
{
    Job job = {runs, count};
    for (int i = 0; i < count; i++)
        if (runs[i].members > 1)
            fr_team_begin((FrTeam *)runs[i].scratch, runs[i].members);
    fr_parallel(task, &job, count * runs[0].members);
}
