/* Gradients of weights, biases and inputs from the gate gradients of a block of steps: large products, one phase of the
 * threads for all parameters. */
#include "bptt_impl.h"

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
static void add_rows(const FrBack *back, const FrBackScratch *w, Strip *strip, const char *from, char *to, int n)
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
static void weight_gradient(const FrBack *back, const FrBackScratch *w, const FrSweep *v, const FrGates *gates,
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
static void bias_gradients(const FrBack *back, const FrBackScratch *w, int i, ptrdiff_t rows)
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
static void keep_edge(const FrPlan *plan, const FrBackScratch *w, int count, int n)
{
    const FrStagePlan *s = &plan->stage[0];
    const ptrdiff_t row = (ptrdiff_t)s->dg_width * plan->kernels->lanes * plan->kernels->size;
    for (int p = 0; p < s->panels; p++)
        memcpy(w->edge + p * count * row, w->dg[0] + p * w->rows * row, n * row);
}

/* A stage's strips, those of R first, and its biases. With a lookup W comes at the end; with bricks there are no strips. */
static int stage_chunks(const FrRun *run, int bricks, const FrStagePlan *s)
{
    const FrKernels *k = run->plan->kernels;
    return bricks ? 1 : (s->rec_width ? strips(k, &s->rec) : 0) + (s->gx_width && !run->lookup ? strips(k, &s->gx) : 0) + 1;
}

/* Parameter gradients of the block's rows, one phase: a chunk is a strip of a weight matrix, or a
 * stage's biases, or the edge, `n` rows. */
void fr_parameter_gradients(const FrBack *back, FrBackScratch *w, ptrdiff_t rows, int n)
{
    const FrPlan *plan = back->run->plan;
    const FrKernels *k = plan->kernels;
    const int bricks = fr_brick_gradients_pay(plan, rows);
    int chunks = 1;
    for (int i = 0; i < plan->stages; i++)
        chunks += stage_chunks(back->run, bricks, &plan->stage[i]);
    fr_phase_begin(&w->me, chunks);
    for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
        if (!chunk) {
            keep_edge(plan, w, back->run->count, n);
            continue;
        }
        int i = 0, q = chunk - 1;
        while (q >= stage_chunks(back->run, bricks, &plan->stage[i]))
            q -= stage_chunks(back->run, bricks, &plan->stage[i++]);
        const FrStagePlan *s = &plan->stage[i];
        const int recurrent = s->rec_width && !bricks ? strips(k, &s->rec) : 0;
        if (q < recurrent) {
            const FrSweep v = fr_through_recurrence(s, w->rows);
            weight_gradient(back, w, &v, &s->rec_gates, w->operand[i], w->dg[i],
                            back->grads.of[s->of->rec_from], q, rows);
        } else if (q < stage_chunks(back->run, bricks, s) - 1) {
            const FrSweep v = fr_through_input(s, w->rows);
            weight_gradient(back, w, &v, &s->gx_gates, w->x, w->dg[i], back->grads.of[s->of->gx_from], q - recurrent, rows);
        } else {
            bias_gradients(back, w, i, rows);
        }
    }
    fr_phase_end(&w->me);
    if (bricks)
        fr_brick_gradients(back, w, rows);
}

/* Adds the gradients of the elementwise weights to those of their parameters. */
void fr_vector_gradients(const FrBack *back, const FrBackScratch *w)
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
void fr_input_gradients(const FrBack *back, FrBackScratch *w, char *const *dg, ptrdiff_t capacity, ptrdiff_t first, ptrdiff_t rows)
{
    const FrPlan *plan = back->run->plan;
    int add = back->dx_add;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        if (!s->gx_width)
            continue;
        FrSweep gx = fr_through_input(s, capacity);
        FrTile tile = {.slot = {[FR_OUT] = (void *const *)w->dx}};
        gx.live = gx.rows = rows;
        gx.add = add;
        fr_aim(plan, w, &gx, dg[i], first, rows);
        fr_sweep(back, w, &gx, &tile);
        add = 1;
    }
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

void fr_lay_out_table(const FrBack *back, FrBackScratch *w)
{
    lay_out_looked_up(back->run->plan, back->run->lookup->rows, back->looked_up, w->looked_up);
}

/* Adds the block's gate gradients to those of the table's rows. */
void fr_table_rows(const FrBack *back, FrBackScratch *w, ptrdiff_t rows)
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
void fr_table_gradients(const FrBack *back, FrBackScratch *w)
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
            const FrSweep v = fr_through_input(s, table->rows);
            fr_phase_begin(&w->me, s->gx_width ? strips(plan->kernels, &s->gx) : 0);
            for (int q; (q = fr_phase_next(&w->me)) >= 0;)
                weight_gradient(back, w, &v, &s->gx_gates, w->x,
                                fr_at(plan, w->looked_up[i], first * s->dg_width * plan->kernels->lanes),
                                back->grads.of[s->of->gx_from], q, rows);
            fr_phase_end(&w->me);
        }
        fr_input_gradients(back, w, w->looked_up, table->rows, first, rows);
    }
}
