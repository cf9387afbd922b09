/* The backward half of the time loop. A stage's step is: product of the gate gradients that depend on
 * it with the transposed weights -> backward kernel on that tile. Weight and input gradients are products
 * over a block of steps; the blocks' boundaries count from step 0. */
#include "bptt_impl.h"

/* Gate gradients of a block of steps: about what L2 holds, but enough rows that a tile of the weight
 * gradient is worth loading, and no more than make a difference. */
enum { DG_BYTES = 1 << 20, LEAST_ROWS = 128, MOST_ROWS = 1024 };

static int widest(const FrPlan *plan)
{
    int w = plan->padded;
    if (plan->output > w) w = plan->output;
    return plan->input > w ? plan->input : w;
}

/* Returns the size of all. */
static size_t lay_out(const FrPlan *plan, int count, int members, int bricks, int rank, char *base, FrBackScratch *w)
{
    const size_t size = plan->kernels->size, VL = plan->kernels->lanes, pointer = sizeof(void *);
    size_t row = 1, used = 0;
    for (int i = 0; i < plan->stages; i++)
        row += (size_t)plan->stage[i].panels * plan->stage[i].dg_width * VL * size;
    ptrdiff_t target = DG_BYTES / row;
    if (target < LEAST_ROWS) target = LEAST_ROWS;
    if (target > MOST_ROWS) target = MOST_ROWS;
    w->steps = target / count > 1 ? target / count : 1;
    w->rows = w->steps * count;
    w->me = fr_member(fr_take(base, &used, fr_team_size(members)), members, rank);
    for (int i = 0; i < plan->stages; i++) {
        const size_t bytes = (size_t)plan->stage[i].panels * plan->stage[i].dg_width * VL * size;
        w->dg[i] = fr_take(base, &used, bytes * w->rows);
        if (i == 0)
            w->edge = fr_take(base, &used, bytes * count);
    }
    w->zeros = fr_take(base, &used, (size_t)(widest(plan) + FR_MAX_WIDTH * VL) * size);
    w->vectors = fr_take(base, &used, (size_t)plan->cell->vectors.count * plan->padded * size);
    w->raw = fr_take(base, &used, count * fr_raw_row(plan));
    fr_lay_out_shared_bricks(plan, bricks ? count : 0, base, &used, w);

    const size_t shared = used;
    const size_t most_a = (size_t)w->rows > FR_MAX_WIDTH * VL ? (size_t)w->rows : FR_MAX_WIDTH * VL;
    int i = 0;
    do {
        w->x = fr_take(base, &used, w->rows * pointer);
        w->code = fr_take(base, &used, w->rows * sizeof(ptrdiff_t));
        w->prev = fr_take(base, &used, w->rows * pointer);
        for (int s = 0; s < plan->stages; s++)
            w->operand[s] = fr_take(base, &used, w->rows * pointer);
        w->drop = fr_take(base, &used, count * pointer);
        fr_lay_out_zone(plan, count, base, &used, &w->zone);
        w->dx = fr_take(base, &used, w->rows * pointer);
        w->a = fr_take(base, &used, most_a * pointer);
        w->out = fr_take(base, &used, count * pointer);
        for (int e = 1; e < plan->cell->states; e++) {
            w->cell_prev[e] = fr_take(base, &used, count * pointer);
            w->cell[e] = fr_take(base, &used, count * pointer);
            w->dc[e] = fr_take(base, &used, count * pointer);
        }
        w->dy = fr_take(base, &used, count * pointer);
        w->dh = fr_take(base, &used, count * pointer);
        w->none = fr_take(base, &used, count * pointer);
        w->start = fr_take(base, &used, (w->steps + 1) * sizeof(ptrdiff_t));
        w->acc = fr_take(base, &used, (size_t)FR_ROWS * FR_MAX_WIDTH * VL * size);
        w->columns = fr_take(base, &used, (size_t)w->rows * FR_MAX_WIDTH * VL * size);
        fr_lay_out_own_bricks(plan, base, &used, w);
    } while (i++ < rank);
    return shared + (used - shared) / (rank + 1) * members;
}

ptrdiff_t fr_backward_steps(const FrPlan *plan, int count)
{
    FrBackScratch w;
    lay_out(plan, count, 1, 0, 0, NULL, &w);
    return w.steps;
}

size_t fr_backward_scratch(const FrPlan *plan, int count, int members, int bricks)
{
    FrBackScratch unused;
    return lay_out(plan, count, members, bricks, 0, NULL, &unused);
}

static void finish(const FrKernels *k, const FrSweep *v, const FrTile *tile)
{
    if (v->stage)
        v->stage->backward(tile);
    else
        k->store(tile, v->add);
}

/* A product of a sweep with all its panels ahead. */
static FrProduct sweep_product(const FrBack *back, const FrBackScratch *w, const FrSweep *v)
{
    const FrPlan *plan = back->run->plan;
    const ptrdiff_t lanes = plan->kernels->lanes, out = v->matrix->depth_blocks * lanes, depth = v->width * lanes;
    return (FrProduct){
        .a = w->a,
        .panel = fr_at(plan, back->packed_back, v->packed),
        .init = w->zeros,
        .depth = depth, .chunks = v->live ? v->from->panels : 0,
        .a_step = 1, .a_jump = v->capacity * v->from->dg_width * lanes,
        .panel_step = out, .out_row = out,
        .panel_next = v->from->panels * depth * out, .out_next = v->rows * out,
    };
}

/* Rows left from `r` on, those alive and the others apart. */
static ptrdiff_t rows_left(const FrSweep *v, ptrdiff_t r) { return (r < v->live ? v->live : v->rows) - r; }

/* `rows` of these against one panel; `product` stands at row 0. */
static void some_rows(const FrKernels *k, const FrSweep *v, FrProduct product, ptrdiff_t r, ptrdiff_t rows)
{
    product.a += r;
    product.chunks = r < v->live ? v->from->panels : 0;
    fr_tall_product(k, v->matrix->depth_blocks, &product, rows);
}

/* A tile of a sweep, but for its rows and its place. */
static FrTile sweep_tile(const FrBackScratch *w, const FrSweep *v, const FrTile *all)
{
    FrTile tile = *all;
    tile.units = v->matrix->depth;
    tile.acc = w->acc;
    tile.acc_blocks = v->matrix->depth_blocks;
    tile.blocks = v->stage ? v->stage->blocks : v->matrix->depth_blocks;
    return tile;
}

/* All tiles of a sweep on the matrix unit. */
static void brick_sweep(const FrBack *back, FrBackScratch *w, const FrSweep *v, const FrTile *all)
{
    const FrPlan *plan = back->run->plan;
    const int blocks = v->matrix->depth_blocks, hidden_blocks = (v->matrix->depth + FR_BRICK - 1) / FR_BRICK;
    FrTile tile = sweep_tile(w, v, all);
    for (ptrdiff_t first = 0; first < v->rows; first += w->group) {
        const ptrdiff_t rows = v->rows - first < w->group ? v->rows - first : w->group;
        fr_brick_rows(back, w, v, first, rows);
        fr_phase_begin(&w->me, v->matrix->depth_panels);
        for (int q; (q = fr_phase_next(&w->me)) >= 0;) {
            tile.first = q * blocks;
            tile.count = fr_blocks_in(tile.first, blocks, hidden_blocks);
            for (ptrdiff_t r = 0; r < rows; r += tile.rows) {
                fr_tile_at(plan, v->stage ? v->stage : v->from, &tile, all, first + r);
                tile.rows = rows - r < 2 * FR_BRICK ? (int)(rows - r) : 2 * FR_BRICK;
                fr_brick_product(back, w, v, q, r, tile.rows, 1, w->acc);
                finish(plan->kernels, v, &tile);
            }
        }
        fr_phase_end(&w->me);
    }
}

/* All tiles of a sweep. `all` is a tile of all rows: its pointers at row 0. */
void fr_sweep(const FrBack *back, FrBackScratch *w, const FrSweep *v, const FrTile *all)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    const int blocks = v->matrix->depth_blocks, hidden_blocks = (v->matrix->depth + k->lanes - 1) / k->lanes;
    if (back->bricks && v->live) {
        brick_sweep(back, w, v, all);
        return;
    }
    const int one_tile = v->rows <= k->tile_rows[blocks] && (v->live == v->rows || !v->live);
    const int panels = v->matrix->depth_panels, group = one_tile ? fr_group(&w->me, panels, v->rows) : 1;
    const FrProduct whole = sweep_product(back, w, v);
    FrTile tile = sweep_tile(w, v, all);
    w->me.backwards = one_tile && v->odd && fr_turns(fr_share(&w->me, panels) * whole.panel_next * k->size);
    fr_phase_begin(&w->me, (panels + group - 1) / group);
    for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
        const int q = chunk * group, some = panels - q < group ? panels - q : group;
        FrProduct product = whole;
        fr_skip_panels(k, &product, q);
        product.ahead = fr_at(plan, product.panel, product.panel_next);
        product.out = w->acc;
        tile.first = q * blocks;
        tile.count = fr_blocks_in(tile.first, some * blocks, hidden_blocks);
        if (one_tile) {
            product.rows = tile.rows = (int)v->rows;
            tile.acc_panel = v->rows * whole.out_row;
            (w->me.backwards ? fr_products_back : fr_products)(k, blocks, &product, some);
            finish(k, v, &tile);
            continue;
        }
        for (ptrdiff_t r = 0; r < v->rows; r += tile.rows) {
            fr_tile_at(plan, v->stage ? v->stage : v->from, &tile, all, r);
            tile.rows = fr_kernel_rows(k, blocks, rows_left(v, r));
            some_rows(k, v, product, r, tile.rows);
            finish(k, v, &tile);
        }
    }
    fr_phase_end(&w->me);
    w->me.backwards = 0;
}

/* The same for a stage whose kernel wants whole rows: all products first; then one member takes all rows, since
 * they add to the same gradients. */
static void whole_rows_sweep(const FrBack *back, FrBackScratch *w, const FrSweep *v, const FrTile *all)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    const FrProduct whole = sweep_product(back, w, v);
    const int bricks = back->bricks && v->live;
    if (bricks)
        fr_brick_rows(back, w, v, 0, v->rows);
    fr_phase_begin(&w->me, v->matrix->depth_panels);
    for (int q; (q = fr_phase_next(&w->me)) >= 0;) {
        FrProduct product = whole;
        product.out = w->raw;
        if (bricks) {
            fr_brick_product(back, w, v, q, 0, v->rows, 0, fr_at(plan, w->raw, q * whole.out_next));
            continue;
        }
        fr_skip_panels(k, &product, q);
        product.ahead = fr_at(plan, product.panel, product.panel_next);
        char *const out = product.out;
        for (ptrdiff_t r = 0; r < v->rows; r += rows_left(v, r)) {
            product.out = fr_at(plan, out, r * whole.out_row);
            some_rows(k, v, product, r, rows_left(v, r));
        }
    }
    fr_phase_end(&w->me);
    fr_phase_begin(&w->me, 1);
    if (!fr_phase_next(&w->me))
        for (ptrdiff_t r = 0; r < v->rows; r++) {
            FrTile tile = *all;
            fr_tile_at(plan, v->stage, &tile, all, r);
            tile.rows = 1;
            tile.count = v->stage->hidden_blocks;
            tile.units = v->stage->units;
            tile.acc = fr_at(plan, w->raw, r * whole.out_row);
            tile.acc_panel = v->rows * whole.out_row;
            tile.acc_blocks = v->matrix->depth_blocks;
            tile.blocks = v->stage->blocks;
            v->stage->backward(&tile);
        }
    fr_phase_end(&w->me);
}

/* Row pointers of the block's steps [first, last), and each step's first row. Returns the rows. */
static ptrdiff_t gather_pointers(const FrBack *back, const FrBackScratch *w, ptrdiff_t first, ptrdiff_t last, ptrdiff_t before)
{
    const FrRun *run = back->run;
    const FrPlan *plan = run->plan;
    const ptrdiff_t size = plan->kernels->size, padded = plan->padded * size;
    ptrdiff_t rows = 0;
    int n = fr_shrink(run, run->count, first);
    for (ptrdiff_t s = first; s < last; rows += n, s++) {
        n = fr_shrink(run, n, s);
        w->start[s - first] = rows;
        for (int j = 0; j < n; j++) {
            if (run->lookup) {
                w->code[rows + j] = fr_code(run, j, s);
            } else {
                w->x[rows + j] = fr_row(run, &run->x, j, s);
                w->dx[rows + j] = back->dx.base ? fr_row(run, &back->dx, j, s) : NULL;
            }
            w->prev[rows + j] = s ? fr_row(run, &run->y, j, s - 1)
                                  : back->state0[0] ? back->state0[0] + run->row[j] * plan->output * size : w->zeros;
            w->operand[0][rows + j] = w->prev[rows + j];
            for (int i = !run->drop; i < plan->stages; i++)
                w->operand[i][rows + j] = w->kept.operand[i] + (before + rows + j) * padded;
        }
    }
    w->start[last - first] = rows;
    return rows;
}

/* Row pointers of step s that change from step to step; `kept` is its first row in the workspace, `n_prev`
 * the slots alive at the step before. */
static void slot_pointers(const FrBack *back, const FrBackScratch *w, ptrdiff_t s, int n, ptrdiff_t kept, int n_prev)
{
    const FrRun *run = back->run;
    const FrPlan *plan = run->plan;
    const ptrdiff_t c_row = plan->hidden * plan->kernels->size;
    for (int j = 0; j < n; j++) {
        w->out[j] = fr_row(run, &run->y, j, s);
        if (back->dy.base)
            w->dy[j] = fr_row(run, &back->dy, j, s);
        for (int e = 1; e < plan->cell->states; e++) {
            w->cell[e][j] = fr_state_row(run, &w->kept, e, j, s, kept + j);
            w->cell_prev[e][j] = s > run->first ? fr_state_row(run, &w->kept, e, j, s - 1, kept - n_prev + j)
                                   : back->state0[e] ? (char *)back->state0[e] + run->row[j] * c_row : w->zeros;
        }
    }
}

/* Adds what the cell states of step s have from outside to dL/dc_s of n slots. */
static void add_cell_gradients(const FrBack *back, FrBackScratch *w, ptrdiff_t s, int n)
{
    const FrPlan *plan = back->run->plan;
    fr_phase_begin(&w->me, 1);
    if (!fr_phase_next(&w->me))
        for (int j = 0; j < n; j++)
            plan->kernels->add(fr_row(back->run, &back->dc, j, s), w->dc[1][j], plan->hidden); /* (H15) */
    fr_phase_end(&w->me);
}

/* Step s of the block that begins at `first`: every stage, last to first. */
static void step(const FrBack *back, FrBackScratch *w, ptrdiff_t first, ptrdiff_t s, ptrdiff_t kept, int live)
{
    const FrRun *run = back->run;
    const FrPlan *plan = run->plan;
    const ptrdiff_t VL = plan->kernels->lanes, row = w->start[s - first], n = w->start[s - first + 1] - row;
    const int last_of_block = s - first + 1 == w->steps, final = plan->stages - 1;
    FrTile tile = {
        .save_block = n * plan->cell->saves * VL,
        .vectors = fr_at(plan, run->packed, plan->vectors),
        .d_vectors = w->vectors,
        .padded = plan->padded,
        .options = &plan->options,
        .save = fr_at(plan, w->kept.save, kept * plan->padded * plan->cell->saves),
        .slot = {[FR_PREV] = (void *const *)w->prev + row, [FR_OUT] = w->out, [FR_ZONE_C] = w->zone.row[1],
                 [FR_OPERAND] = (void *const *)w->operand[0] + row, [FR_X] = (void *const *)w->x + row,
                 [FR_DX] = (void *const *)w->dx + row},
    };
    for (int e = 1; e < plan->cell->states; e++) {
        tile.slot[FR_CELL_PREV + e - 1] = w->cell_prev[e];
        tile.slot[FR_CELL + e - 1] = w->cell[e];
        tile.slot[FR_DC + e - 1] = w->dc[e];
    }
    if (plan->zoned)
        fr_zone_out(run, &w->zone, s, (int)n);
    for (int i = final; i >= 0; i--) {
        const FrStagePlan *stage = &plan->stage[i], *from = &plan->stage[i == final ? 0 : i + 1];
        const int over_edge = i == final && last_of_block;
        FrSweep v = fr_through_recurrence(from, over_edge ? run->count : w->rows);
        v.stage = stage;
        v.rows = n;
        v.odd = s & 1;
        v.live = i == final ? live : n;
        if (i < final)
            fr_aim(plan, w, &v, w->dg[i + 1], row, n);
        else if (over_edge)
            fr_aim(plan, w, &v, w->edge, 0, live);
        else
            fr_aim(plan, w, &v, w->dg[0], row + n, live);
        /* the output's gradient enters at the last stage; what a projection's operand gets is all of it */
        tile.slot[FR_DY] = i == final && back->dy.base ? w->dy : NULL;
        const int before_projection = i < final && final == plan->cell->stages;
        tile.slot[FR_DH] = before_projection ? w->none : w->dh;
        tile.slot[FR_DROP] = before_projection || !run->drop ? NULL : w->drop;
        tile.slot[FR_ZONE_H] = i == final ? w->zone.row[0] : NULL;
        tile.dg = fr_at(plan, w->dg[i], row * stage->dg_width * VL);
        tile.dg_panel = w->rows * stage->dg_width * VL;
        (stage->of->whole_rows ? whole_rows_sweep : fr_sweep)(back, w, &v, &tile);
    }
}

/* `anew`: nothing of this run has been gone back through. */
static void begin(const FrBack *back, FrBackScratch *w, int anew)
{
    const FrRun *run = back->run;
    const FrPlan *plan = run->plan;
    const ptrdiff_t size = plan->kernels->size, VL = plan->kernels->lanes;
    for (int j = 0; j < run->count; j++) {
        w->dh[j] = back->dstate[0] + run->row[j] * plan->output * size;
        for (int e = 1; e < plan->cell->states; e++)
            w->dc[e][j] = back->dstate[e] + run->row[j] * plan->hidden * size;
        w->none[j] = w->zeros;
        if (run->drop)
            w->drop[j] = fr_at(plan, run->drop, (ptrdiff_t)run->row[j] * plan->output);
    }
    fr_phase_begin(&w->me, 1);
    if (!fr_phase_next(&w->me) && anew) {
        memset(w->zeros, 0, (widest(plan) + FR_MAX_WIDTH * VL) * size);
        memset(w->vectors, 0, plan->cell->vectors.count * plan->padded * size);
        for (int i = 0; i < plan->stages; i++) { /* hidden blocks that hold no unit are never written */
            const FrStagePlan *s = &plan->stage[i];
            if (s->panels * s->blocks > s->hidden_blocks)
                memset(w->dg[i], 0, s->panels * w->rows * s->dg_width * VL * size);
        }
    }
    fr_phase_end(&w->me);
}

static void backward(const FrBack *back, int rank)
{
    const FrRun *run = back->run;
    const FrPlan *plan = run->plan;
    FrBackScratch w;
    lay_out(plan, run->count, back->members, back->bricks, rank, back->scratch, &w);
    if (fr_finished(&w.me))
        return;
    fr_lay_out_kept(plan, run->ws_rows, run->drop != NULL, run->ws, &w.kept);
    if (run->lookup)
        fr_lay_out_table(back, &w);

    const ptrdiff_t steps = run->count ? run->length[0] : 0;
    ptrdiff_t kept = 0;
    for (int j = 0; j < run->count; j++)
        kept += fr_steps_in(run, j);
    int live = fr_shrink(run, run->count, run->last); /* slots alive at the step after the one at hand */
    begin(back, &w, !live);
    for (ptrdiff_t last = run->last < steps ? run->last : steps, first; last > run->first; last = first) {
        first = (last - 1) / w.steps * w.steps;
        ptrdiff_t rows = 0;
        for (ptrdiff_t s = first, n = run->count; s < last; s++) {
            n = fr_shrink(run, (int)n, s);
            rows += n;
        }
        gather_pointers(back, &w, first, last, kept - rows);
        for (ptrdiff_t s = last - 1; s >= first; s--) {
            const int n = fr_grow(run, live, s), n_prev = s ? fr_grow(run, n, s - 1) : 0;
            kept -= n;
            slot_pointers(back, &w, s, n, kept, n_prev);
            if (back->dc.base)
                add_cell_gradients(back, &w, s, n);
            step(back, &w, first, s, kept, live);
            live = n;
        }
        fr_parameter_gradients(back, &w, rows, live);
        if (run->lookup)
            fr_table_rows(back, &w, rows);
        else if (back->dx.base)
            fr_input_gradients(back, &w, w.dg, w.rows, 0, rows);
    }
    if (!live || run->first)
        return;
    if (run->lookup)
        fr_table_gradients(back, &w);
    FrSweep end = fr_through_recurrence(&plan->stage[0], w.rows);
    FrTile tile = {.slot = {[FR_OUT] = w.dh, [FR_DROP] = run->drop ? w.drop : NULL}};
    end.live = end.rows = live;
    end.add = 1;
    fr_aim(plan, &w, &end, w.dg[0], 0, live);
    fr_sweep(back, &w, &end, &tile);
    fr_phase_begin(&w.me, 1);
    if (!fr_phase_next(&w.me))
        fr_vector_gradients(back, &w);
    fr_phase_end(&w.me);
    fr_finish(&w.me);
}

typedef struct Job {
    const FrBack *backs;
    int count;
} Job;

static void task(void *context, int i)
{
    const Job *job = context;
    backward(&job->backs[i % job->count], i / job->count);
}

void fr_backward(const FrBack *backs, int count)
{
    Job job = {backs, count};
    for (int i = 0; i < count; i++)
        if (backs[i].members > 1)
            fr_team_begin((FrTeam *)backs[i].scratch, backs[i].members);
    fr_parallel(task, &job, count * backs[0].members);
}
