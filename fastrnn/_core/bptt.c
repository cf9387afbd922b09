/* The backward half of the time loop. A stage's step is: product of the gate gradients that depend on
 * it with the transposed weights -> backward kernel on that tile. Weight and input gradients are products
 * over a block of steps; the blocks' boundaries count from step 0. */
#include "sequence_impl.h"

/* Gate gradients of a block of steps: about what L2 holds, but enough rows that a tile of the weight
 * gradient is worth loading, and no more than make a difference. */
enum { DG_BYTES = 1 << 20, LEAST_ROWS = 128, MOST_ROWS = 1024 };

typedef struct Scratch {
    FrMember me;
    ptrdiff_t steps, rows;       /* of a block                                                  */
    char *dg[FR_MAX_STAGES];     /* [panel][row of the block][dg_width][VL]                     */
    char *edge;                  /* dg[0] of the first step of the block that follows in time   */
    char *zeros, *vectors;       /* vectors: gradients of the elementwise weights               */
    char *raw;                   /* a step's product, for kernels that want whole rows          */
    FrKept kept;
    char *looked_up[FR_MAX_STAGES]; /* gate gradients summed by row of the lookup's table: [panel][row][dg_width][VL] */
    const void **x, **prev, **operand[FR_MAX_STAGES], **dx; /* by row of the block; from here on each member's own */
    ptrdiff_t *code;             /* of the lookup, by row of the block                          */
    const void **a;              /* operand rows of the product at hand                         */
    void **out, **dy, **dh, **none, **drop; /* by slot                                          */
    FrZone zone;
    void **cell_prev[FR_MAX_STATES], **cell[FR_MAX_STATES], **dc[FR_MAX_STATES];
    ptrdiff_t *start;            /* by step of the block: its first row                         */
    char *acc, *columns;
} Scratch;

static int widest(const FrPlan *plan)
{
    int w = plan->padded;
    if (plan->output > w) w = plan->output;
    return plan->input > w ? plan->input : w;
}

/* Returns the size of all. */
static size_t lay_out(const FrPlan *plan, int count, int members, int rank, char *base, Scratch *w)
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
    } while (i++ < rank);
    return shared + (used - shared) / (rank + 1) * members;
}

ptrdiff_t fr_backward_steps(const FrPlan *plan, int count)
{
    Scratch w;
    lay_out(plan, count, 1, 0, NULL, &w);
    return w.steps;
}

size_t fr_backward_scratch(const FrPlan *plan, int count, int members)
{
    Scratch unused;
    return lay_out(plan, count, members, 0, NULL, &unused);
}

static size_t lay_out_looked_up(const FrPlan *plan, ptrdiff_t rows, char *base, char **dg)
{
    size_t used = 0;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        const int width = s->gx_width ? s->dg_width : 0;
        dg[i] = fr_take(base, &used, (size_t)rows * s->panels * width * plan->kernels->lanes * plan->kernels->size);
    }
    return used;
}

size_t fr_lookup_gradients(const FrPlan *plan, ptrdiff_t rows)
{
    char *unused[FR_MAX_STAGES];
    return lay_out_looked_up(plan, rows, NULL, unused);
}

/* A product of gate gradients with a transposed weight matrix, and what becomes of its tiles. */
typedef struct Sweep {
    const FrStagePlan *from;  /* the stage whose gradients go in                                  */
    const FrMatrix *matrix;   /* its input or its recurrent matrix                                */
    ptrdiff_t packed;         /* where that stands, transposed                                    */
    int width, at;            /* vectors of a gradient panel that belong to it, and the first     */
    ptrdiff_t capacity;       /* rows of a gradient panel                                         */
    ptrdiff_t live, rows;     /* rows from `live` on have no gradient yet: their product is 0     */
    const FrStagePlan *stage; /* whose backward kernel takes the tiles; NULL: they are stored ... */
    int add;                  /* ... or added                                                     */
} Sweep;

static Sweep through_input(const FrStagePlan *from, ptrdiff_t capacity)
{
    return (Sweep){from, &from->gx, from->gx_back, from->gx_width, from->gx_at, capacity, 0, 0, NULL, 0};
}

static Sweep through_recurrence(const FrStagePlan *from, ptrdiff_t capacity)
{
    return (Sweep){from, &from->rec, from->rec_back, from->rec_width, from->rec_at, capacity, 0, 0, NULL, 0};
}

/* Points w->a at `n` rows of gradients, the first of which is `row` of the buffer. */
static void aim(const FrPlan *plan, const Scratch *w, const Sweep *v, const char *dg, ptrdiff_t row, ptrdiff_t n)
{
    const ptrdiff_t VL = plan->kernels->lanes;
    for (ptrdiff_t r = 0; r < n; r++)
        w->a[r] = fr_at(plan, dg, ((row + r) * v->from->dg_width + v->at) * VL);
}

static void finish(const FrKernels *k, const Sweep *v, const FrTile *tile)
{
    if (v->stage)
        v->stage->backward(tile);
    else
        k->store(tile, v->add);
}

/* A product of a sweep with all its panels ahead. */
static FrProduct sweep_product(const FrBack *back, const Scratch *w, const Sweep *v)
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
static ptrdiff_t rows_left(const Sweep *v, ptrdiff_t r) { return (r < v->live ? v->live : v->rows) - r; }

/* `rows` of these against one panel; `product` stands at row 0. */
static void some_rows(const FrKernels *k, const Sweep *v, FrProduct product, ptrdiff_t r, ptrdiff_t rows)
{
    product.a += r;
    product.ahead = (const char *)product.panel + product.panel_next * k->size;
    product.chunks = r < v->live ? v->from->panels : 0;
    fr_tall_product(k, v->matrix->depth_blocks, &product, rows);
}

/* All tiles of a sweep. `all` is a tile of all rows: its pointers at row 0. */
static void sweep(const FrBack *back, Scratch *w, const Sweep *v, const FrTile *all)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    const int blocks = v->matrix->depth_blocks, units = v->matrix->depth;
    const int hidden_blocks = (units + k->lanes - 1) / k->lanes;
    const int one_tile = v->rows <= k->tile_rows[blocks] && (v->live == v->rows || !v->live);
    const int panels = v->matrix->depth_panels, group = one_tile ? fr_group(&w->me, panels, v->rows) : 1;
    const FrProduct whole = sweep_product(back, w, v);
    FrTile tile = *all;
    tile.units = units;
    tile.acc = w->acc;
    tile.acc_blocks = blocks;
    tile.blocks = v->stage ? v->stage->blocks : blocks;
    fr_phase_begin(&w->me, (panels + group - 1) / group);
    for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
        const int q = chunk * group, some = panels - q < group ? panels - q : group;
        FrProduct product = whole;
        fr_skip_panels(k, &product, q);
        product.out = w->acc;
        tile.first = q * blocks;
        tile.count = fr_blocks_in(tile.first, some * blocks, hidden_blocks);
        if (one_tile) {
            product.rows = tile.rows = (int)v->rows;
            tile.acc_panel = v->rows * whole.out_row;
            fr_products(k, blocks, &product, some);
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
}

/* The same for a stage whose kernel wants whole rows: all products first; then one member takes all rows, since
 * they add to the same gradients. */
static void whole_rows_sweep(const FrBack *back, Scratch *w, const Sweep *v, const FrTile *all)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    const FrProduct whole = sweep_product(back, w, v);
    fr_phase_begin(&w->me, v->matrix->depth_panels);
    for (int q; (q = fr_phase_next(&w->me)) >= 0;) {
        FrProduct product = whole;
        product.out = w->raw;
        fr_skip_panels(k, &product, q);
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
static ptrdiff_t gather_pointers(const FrBack *back, const Scratch *w, ptrdiff_t first, ptrdiff_t last, ptrdiff_t before)
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
                w->dx[rows + j] = fr_row(run, &back->dx, j, s);
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
static void slot_pointers(const FrBack *back, const Scratch *w, ptrdiff_t s, int n, ptrdiff_t kept, int n_prev)
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
static void add_cell_gradients(const FrBack *back, Scratch *w, ptrdiff_t s, int n)
{
    const FrPlan *plan = back->run->plan;
    fr_phase_begin(&w->me, 1);
    if (!fr_phase_next(&w->me))
        for (int j = 0; j < n; j++)
            plan->kernels->add(fr_row(back->run, &back->dc, j, s), w->dc[1][j], plan->hidden); /* (H15) */
    fr_phase_end(&w->me);
}

/* Step s of the block that begins at `first`: every stage, last to first. */
static void step(const FrBack *back, Scratch *w, ptrdiff_t first, ptrdiff_t s, ptrdiff_t kept, int live)
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
        Sweep v = through_recurrence(from, over_edge ? run->count : w->rows);
        v.stage = stage;
        v.rows = n;
        v.live = i == final ? live : n;
        if (i < final)
            aim(plan, w, &v, w->dg[i + 1], row, n);
        else if (over_edge)
            aim(plan, w, &v, w->edge, 0, live);
        else
            aim(plan, w, &v, w->dg[0], row + n, live);
        /* the output's gradient enters at the last stage; what a projection's operand gets is all of it */
        tile.slot[FR_DY] = i == final && back->dy.base ? w->dy : NULL;
        const int before_projection = i < final && final == plan->cell->stages;
        tile.slot[FR_DH] = before_projection ? w->none : w->dh;
        tile.slot[FR_DROP] = before_projection || !run->drop ? NULL : w->drop;
        tile.slot[FR_ZONE_H] = i == final ? w->zone.row[0] : NULL;
        tile.dg = fr_at(plan, w->dg[i], row * stage->dg_width * VL);
        tile.dg_panel = w->rows * stage->dg_width * VL;
        (stage->of->whole_rows ? whole_rows_sweep : sweep)(back, w, &v, &tile);
    }
}

/* A weight gradient is made in strips of STRIP vectors of columns, or of one less where they don't come out even: eight
 * rows by three vectors fill the registers, divide a hidden block, and read 11 operands for 24 multiply-adds. */
enum { STRIP = 3 };

static int strips(const FrKernels *k, const FrMatrix *m)
{
    return (m->depth + STRIP * k->lanes - 1) / (STRIP * k->lanes);
}

/* The vector of columns that strip q begins with. */
static ptrdiff_t strip_at(const FrKernels *k, const FrMatrix *m, int q)
{
    return (ptrdiff_t)q * ((m->depth + k->lanes - 1) / k->lanes) / strips(k, m);
}

typedef struct Strip {
    int width, count;     /* vectors of the panel; columns of the matrix in it         */
    ptrdiff_t row;        /* elements of a row of the matrix                           */
    FrProduct product;    /* all but its rows                                          */
} Strip;

/* `n` rows of the gradient, from `to` on, += the product of as many columns of dg, from `from` on, with the panel. */
static void add_rows(const FrBack *back, const Scratch *w, Strip *strip, const char *from, char *to, int n)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    const int VL = k->lanes, wide = strip->width * VL, whole = strip->count == wide;
    FrProduct *product = &strip->product;
    for (int r = 0, rows; r < n; r += rows) {
        rows = fr_tile_rows(n - r, FR_ROWS);
        for (int i = 0; i < rows; i++)
            w->a[i] = fr_at(plan, from, r + i);
        for (int i = 0; i < rows; i++) /* what the next call adds to */
            for (int v = 0; v < strip->width; v++)
                __builtin_prefetch(fr_at(plan, to, (n + r + i) * strip->row + v * VL), 1, 2);
        product->out = whole ? fr_at(plan, to, r * strip->row) : w->acc;
        product->out_row = whole ? strip->row : wide;
        product->init = whole ? product->out : w->zeros;
        product->init_row = whole ? strip->row : 0;
        fr_tall_product(k, strip->width, product, rows);
        if (whole)
            continue;
        for (int i = 0; i < rows; i++)
            w->a[i] = fr_at(plan, to, (r + i) * strip->row);
        const FrTile tile = {
            .rows = rows, .count = (strip->count + VL - 1) / VL, .units = strip->count,
            .acc_blocks = strip->width, .blocks = strip->width, .acc = w->acc, .slot = {[FR_OUT] = (void *const *)w->a},
        };
        k->store(&tile, 1);
    }
}

/* dW += dg^T operand over the block's rows, for the columns of W in strip `q`. */
static void weight_gradient(const FrBack *back, const Scratch *w, const Sweep *v, const FrGates *gates,
                            const void *const *operand, const char *dg, char *gradient, int q, ptrdiff_t rows)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    const FrStagePlan *s = v->from;
    const ptrdiff_t VL = k->lanes, at = strip_at(k, v->matrix, q), first = at * VL, left = v->matrix->depth - first;
    const int width = (int)(strip_at(k, v->matrix, q + 1) - at);
    const ptrdiff_t wide = width * VL;
    Strip strip = {
        .width = width, .count = (int)(left < wide ? left : wide),
        .row = v->matrix->depth,
        .product = {.a = w->a, .panel = w->columns, .depth = rows, .chunks = 1, .a_step = s->dg_width * VL, .panel_step = wide},
    };
    k->columns(operand, rows, first, strip.count, (int)wide, w->columns);
    for (int g = 0; g < gates->count; g++)
        for (int p = 0; p < s->panels; p++) {
            const ptrdiff_t unit = p * s->blocks * VL, units = s->units - unit, most = s->blocks * VL;
            add_rows(back, w, &strip, fr_at(plan, dg, (p * v->capacity * s->dg_width + v->at + g * s->blocks) * VL),
                     fr_at(plan, gradient, (gates->row[g] * s->units + unit) * strip.row + first),
                     (int)(units < most ? units : most));
        }
}

/* Adds the gate gradients' sums over the block's rows to the gradients of the biases. */
static void bias_gradients(const FrBack *back, const Scratch *w, int i, ptrdiff_t rows)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    const FrStagePlan *s = &plan->stage[i];
    const FrStage *of = s->of;
    const FrParameters *grads = &back->grads;
    const ptrdiff_t VL = k->lanes, row = s->dg_width * VL;
    if (!grads->of[FR_B_IH] || of->gx_bias.count + of->rec_bias.count == 0)
        return;
    for (int p = 0; p < s->panels; p++) {
        const int unit = p * s->blocks * (int)VL, left = s->units - unit;
        const int n = left < s->blocks * VL ? left : s->blocks * (int)VL;
        k->sum(fr_at(plan, w->dg[i], p * w->rows * row), row, rows, s->dg_width, w->acc);
        for (int g = 0; g < of->gx_bias.count; g++)
            if (of->gx_bias.row[g] >= 0)
                k->add(fr_at(plan, w->acc, (s->gx_at + g * s->blocks) * VL),
                       fr_at(plan, grads->of[of->gx_bias_from], of->gx_bias.row[g] * s->units + unit), n);
        for (int g = 0; g < of->rec_bias.count; g++)
            if (of->rec_bias.row[g] >= 0)
                k->add(fr_at(plan, w->acc, (s->rec_at + g * s->blocks) * VL),
                       fr_at(plan, grads->of[of->rec_bias_from], of->rec_bias.row[g] * s->units + unit), n);
    }
}

/* Keeps dg[0] of the block's first step, `n` rows, for the last step of the block before. */
static void keep_edge(const FrPlan *plan, const Scratch *w, int count, int n)
{
    const FrStagePlan *s = &plan->stage[0];
    const ptrdiff_t row = (ptrdiff_t)s->dg_width * plan->kernels->lanes * plan->kernels->size;
    for (int p = 0; p < s->panels; p++)
        memcpy(w->edge + p * count * row, w->dg[0] + p * w->rows * row, n * row);
}

/* A stage's strips, those of R first, and its biases. With a lookup W comes at the end. */
static int stage_chunks(const FrRun *run, const FrStagePlan *s)
{
    const FrKernels *k = run->plan->kernels;
    return (s->rec_width ? strips(k, &s->rec) : 0) + (s->gx_width && !run->lookup ? strips(k, &s->gx) : 0) + 1;
}

/* Parameter gradients of the block's rows, one phase: a chunk is a strip of a weight matrix, or a
 * stage's biases, or the edge, `n` rows. */
static void parameter_gradients(const FrBack *back, Scratch *w, ptrdiff_t rows, int n)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    int chunks = 1;
    for (int i = 0; i < plan->stages; i++)
        chunks += stage_chunks(back->run, &plan->stage[i]);
    fr_phase_begin(&w->me, chunks);
    for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
        if (!chunk) {
            keep_edge(plan, w, back->run->count, n);
            continue;
        }
        int i = 0, q = chunk - 1;
        while (q >= stage_chunks(back->run, &plan->stage[i]))
            q -= stage_chunks(back->run, &plan->stage[i++]);
        const FrStagePlan *s = &plan->stage[i];
        const int recurrent = s->rec_width ? strips(k, &s->rec) : 0;
        if (q < recurrent) {
            const Sweep v = through_recurrence(s, w->rows);
            weight_gradient(back, w, &v, &s->rec_gates, w->operand[i], w->dg[i],
                            back->grads.of[s->of->rec_from], q, rows);
        } else if (q < stage_chunks(back->run, s) - 1) {
            const Sweep v = through_input(s, w->rows);
            weight_gradient(back, w, &v, &s->gx_gates, w->x, w->dg[i], back->grads.of[s->of->gx_from], q - recurrent, rows);
        } else {
            bias_gradients(back, w, i, rows);
        }
    }
    fr_phase_end(&w->me);
}

/* Adds the gradients of the elementwise weights to those of their parameters. */
static void vector_gradients(const FrBack *back, const Scratch *w)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    for (int i = 0; i < plan->cell->vectors.count; i++) {
        const FrVector *v = &plan->cell->vectors.of[i];
        const char *sum = fr_at(plan, w->vectors, (ptrdiff_t)i * plan->padded);
        char *const to[] = {fr_vector_at(plan, &back->grads, v->from, v->row),
                            fr_vector_at(plan, &back->grads, v->also, v->row)};
        for (int j = 0; j < 2; j++)
            for (int unit = 0; to[j] && unit < plan->hidden; unit += v->scalar ? 1 : plan->hidden)
                k->add(fr_at(plan, sum, unit), to[j], v->scalar ? 1 : plan->hidden);
    }
}

/* dx of `rows` rows of gate gradients, `first` on of the `capacity` that dg holds by stage. */
static void input_gradients(const FrBack *back, Scratch *w, char *const *dg, ptrdiff_t capacity, ptrdiff_t first, ptrdiff_t rows)
{
    const FrPlan *plan = back->run->plan;
    int add = back->dx_add;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        if (!s->gx_width)
            continue;
        Sweep gx = through_input(s, capacity);
        FrTile tile = {.slot = {[FR_OUT] = (void *const *)w->dx}};
        gx.live = gx.rows = rows;
        gx.add = add;
        aim(plan, w, &gx, dg[i], first, rows);
        sweep(back, w, &gx, &tile);
        add = 1;
    }
}

/* Adds the block's gate gradients to those of the table's rows. */
static void look_up_back(const FrBack *back, Scratch *w, ptrdiff_t rows)
{
    const FrPlan *plan = back->run->plan;
    const ptrdiff_t VL = plan->kernels->lanes, table = back->run->lookup->rows;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        const int panels = s->gx_width ? s->panels : 0;
        fr_phase_begin(&w->me, panels);
        for (int p; (p = fr_phase_next(&w->me)) >= 0;) {
            const char *from = fr_at(plan, w->dg[i], (p * w->rows * s->dg_width + s->gx_at) * VL);
            char *to = fr_at(plan, w->looked_up[i], (p * table * s->dg_width + s->gx_at) * VL);
            for (ptrdiff_t r = 0; r < rows; r++)
                plan->kernels->add(fr_at(plan, from, r * s->dg_width * VL), fr_at(plan, to, w->code[r] * s->dg_width * VL),
                                   s->gx_width * VL);
        }
        fr_phase_end(&w->me);
    }
}

/* From the gradients of the table's products to those of W and of its rows. */
static void table_gradients(const FrBack *back, Scratch *w)
{
    const FrRun *run = back->run;
    const FrPlan *plan = run->plan;
    const FrLookup *table = run->lookup;
    for (ptrdiff_t first = 0, rows; first < table->rows; first += rows) {
        rows = table->rows - first < w->rows ? table->rows - first : w->rows;
        for (ptrdiff_t r = 0; r < rows; r++) {
            w->x[r] = fr_at(plan, table->table, (first + r) * plan->input);
            w->dx[r] = fr_at(plan, back->dx.base, (first + r) * plan->input);
        }
        for (int i = 0; i < plan->stages; i++) {
            const FrStagePlan *s = &plan->stage[i];
            const Sweep v = through_input(s, table->rows);
            fr_phase_begin(&w->me, s->gx_width ? strips(plan->kernels, &s->gx) : 0);
            for (int q; (q = fr_phase_next(&w->me)) >= 0;)
                weight_gradient(back, w, &v, &s->gx_gates, w->x,
                                fr_at(plan, w->looked_up[i], first * s->dg_width * plan->kernels->lanes),
                                back->grads.of[s->of->gx_from], q, rows);
            fr_phase_end(&w->me);
        }
        input_gradients(back, w, w->looked_up, table->rows, first, rows);
    }
}

/* `anew`: nothing of this run has been gone back through. */
static void begin(const FrBack *back, Scratch *w, int anew)
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
    Scratch w;
    lay_out(plan, run->count, back->members, rank, back->scratch, &w);
    if (fr_finished(&w.me))
        return;
    fr_lay_out_kept(plan, run->ws_rows, run->drop != NULL, run->ws, &w.kept);
    if (run->lookup)
        lay_out_looked_up(plan, run->lookup->rows, back->looked_up, w.looked_up);

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
        parameter_gradients(back, &w, rows, live);
        if (run->lookup)
            look_up_back(back, &w, rows);
        else
            input_gradients(back, &w, w.dg, w.rows, 0, rows);
    }
    if (!live || run->first)
        return;
    if (run->lookup)
        table_gradients(back, &w);
    Sweep end = through_recurrence(&plan->stage[0], w.rows);
    FrTile tile = {.slot = {[FR_OUT] = w.dh, [FR_DROP] = run->drop ? w.drop : NULL}};
    end.live = end.rows = live;
    end.add = 1;
    aim(plan, &w, &end, w.dg[0], 0, live);
    sweep(back, &w, &end, &tile);
    fr_phase_begin(&w.me, 1);
    if (!fr_phase_next(&w.me))
        vector_gradients(back, &w);
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
