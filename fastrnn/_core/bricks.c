/* Products of backward on a matrix unit: of gate gradients with the transposed weights, and of weight gradients. */
#include "bptt_impl.h"

/* How many of `each` hold `count`. */
static ptrdiff_t holding(ptrdiff_t count, ptrdiff_t each) { return (count + each - 1) / each; }

/* Where the unit pays: LSTMs and GRUs of 32 units lose up to 1.1 times by it, of 64 gain 1.05 times; sweeps gain from 16
 * rows on, a brick of them; gradients of weights, with 64 units, from some 250 rows on, with 256 from 60. */
enum { LEAST_UNITS = 48, LEAST_BATCH = 16, LEAST_WORK = 16000 };
int fr_bricks_always;

static int pays(const FrPlan *plan) { return plan->unit && (plan->hidden >= LEAST_UNITS || fr_bricks_always); }

int fr_bricks_pay(const FrPlan *plan, ptrdiff_t batch)
{
    return pays(plan) && (batch >= LEAST_BATCH || fr_bricks_always);
}

int fr_brick_gradients_pay(const FrPlan *plan, ptrdiff_t rows)
{
    return pays(plan) && (rows * plan->hidden >= LEAST_WORK || fr_bricks_always);
}

/* ---- Sweeps: depth is the gate gradients of a row, all panels behind each other. ---- */

/* Rows of a sweep whose bricks are made at a time, where it has more than a step's: those of dx. */
enum { GROUP = 64 };

static void lay_out_rows(const FrPlan *plan, int count, char *base, size_t *used, FrBackScratch *w)
{
    ptrdiff_t depth = 0;
    for (int i = 0; i < plan->stages; i++) {
        const ptrdiff_t gx = fr_brick_depth(&plan->stage[i].gx), rec = fr_brick_depth(&plan->stage[i].rec);
        depth = gx > depth ? gx : depth;
        depth = rec > depth ? rec : depth;
    }
    w->group = count > GROUP ? count : GROUP;
    w->dg_bricks = count ? fr_take(base, used, holding(w->group, FR_BRICK) * depth * FR_BRICK_BYTES) : NULL;
}

/* Elements from a row's first gate gradient to those of vector `i` of all panels; -1 past the last. */
static ptrdiff_t vector_at(const FrPlan *plan, const FrSweep *v, ptrdiff_t i)
{
    const ptrdiff_t panel = i / v->width;
    return panel == v->from->panels ? -1 : (panel * v->capacity * v->from->dg_width + i % v->width) * plan->kernels->lanes;
}

void fr_brick_rows(const FrBack *back, FrBackScratch *w, const FrSweep *v, ptrdiff_t first, ptrdiff_t rows)
{
    const FrPlan *plan = back->run->plan;
    const ptrdiff_t depth = fr_brick_depth(v->matrix);
    fr_phase_begin(&w->me, (int)holding(rows, FR_BRICK));
    for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;) {
        const ptrdiff_t r = first + chunk * FR_BRICK, live = v->live - r;
        char *brick = w->dg_bricks + chunk * depth * FR_BRICK_BYTES;
        for (ptrdiff_t k = 0; k < depth; k++, brick += FR_BRICK_BYTES)
            plan->unit->left(w->a + r, live < FR_BRICK ? (live > 0 ? (int)live : 0) : FR_BRICK, vector_at(plan, v, 2 * k),
                             vector_at(plan, v, 2 * k + 1), brick);
    }
    fr_phase_end(&w->me);
}

void fr_brick_product(const FrBack *back, const FrBackScratch *w, const FrSweep *v, int q, ptrdiff_t r, ptrdiff_t rows, int room,
                      void *out)
{
    const FrPlan *plan = back->run->plan;
    const ptrdiff_t depth = fr_brick_depth(v->matrix), wide = v->matrix->depth_blocks * FR_BRICK;
    FrBricks product = {
        .columns = (int)wide, .c_row = wide, .depth = depth, .right_next = depth * FR_BRICK_BYTES,
        .right = back->packed_back + v->bricks + q * v->matrix->depth_blocks * depth * FR_BRICK_BYTES,
    };
    for (ptrdiff_t done = 0; done < rows; done += product.count * FR_BRICK) {
        product.count = 0;
        for (ptrdiff_t at = done; at < rows && product.count < 2; at += FR_BRICK) {
            product.left[product.count] = w->dg_bricks + (r + at) / FR_BRICK * depth * FR_BRICK_BYTES;
            product.rows[product.count] = room || rows - at > FR_BRICK ? FR_BRICK : (int)(rows - at);
            product.c[product.count++] = fr_at(plan, out, at * wide);
        }
        plan->unit->multiply(&product);
    }
}

/* ---- Weight gradients: dW += dg^T operand over the rows of a block of steps. Depth is the block's rows. The operands' bricks
 * are made first, for all threads; those of a pair of vectors of dg by the thread that multiplies them with all operands. ---- */

/* A product in which a stage's gate gradients meet an operand. */
typedef struct Factor {
    const FrMatrix *matrix;
    const FrGates *gates;
    int at, width;               /* vectors of a panel of dg that take part, and the first  */
    const void *const *operand;  /* rows of the block                                       */
    char *right;                 /* [brick of columns][brick of rows]                       */
    char *gradient;
} Factor;

/* Those of a stage. With a lookup W comes at the end. */
static int factors(const FrBack *back, const FrBackScratch *w, int i, Factor f[2])
{
    const FrStagePlan *s = &back->run->plan->stage[i];
    int n = 0;
    if (s->rec_width)
        f[n++] = (Factor){&s->rec, &s->rec_gates, s->rec_at, s->rec_width, w->operand[i], w->right[2 * i],
                          back->grads.of[s->of->rec_from]};
    if (s->gx_width && !back->run->lookup)
        f[n++] = (Factor){&s->gx, &s->gx_gates, s->gx_at, s->gx_width, w->x, w->right[2 * i + 1],
                          back->grads.of[s->of->gx_from]};
    return n;
}

void fr_lay_out_shared_bricks(const FrPlan *plan, int count, char *base, size_t *used, FrBackScratch *w)
{
    lay_out_rows(plan, count, base, used, w);
    memset(w->right, 0, sizeof w->right);
    if (!fr_brick_gradients_pay(plan, w->rows))
        return;
    const size_t column = (size_t)holding(w->rows, FR_BRICK_DEPTH) * FR_BRICK_BYTES;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        if (s->rec_width)
            w->right[2 * i] = fr_take(base, used, column * holding(s->rec.depth, FR_BRICK));
        if (s->gx_width)
            w->right[2 * i + 1] = fr_take(base, used, column * holding(s->gx.depth, FR_BRICK));
    }
}

void fr_lay_out_own_bricks(const FrPlan *plan, char *base, size_t *used, FrBackScratch *w)
{
    const size_t bytes = 2 * (size_t)holding(w->rows, FR_BRICK_DEPTH) * FR_BRICK_BYTES;
    w->left = fr_brick_gradients_pay(plan, w->rows) ? fr_take(base, used, bytes) : NULL;
}

/* Bricks of rows `first` on, one deep, of all columns of the operand. */
static void operand_bricks(const FrUnit *unit, const Factor *f, ptrdiff_t first, ptrdiff_t rows, ptrdiff_t depth)
{
    char *brick = f->right + first / FR_BRICK_DEPTH * FR_BRICK_BYTES;
    for (int at = 0; at < f->matrix->depth; at += FR_BRICK, brick += depth * FR_BRICK_BYTES) {
        const int left = f->matrix->depth - at;
        unit->right(f->operand + first, rows - first, at, left < FR_BRICK ? left : FR_BRICK, brick);
    }
}

/* One or two vectors of dg, counted over all panels, from `v` on: their products with all operands. */
static void multiply(const FrBack *back, const FrBackScratch *w, int stage, const Factor *f, int count, int v, int last,
                     ptrdiff_t rows)
{
    const FrPlan *plan = back->run->plan;
    const FrStagePlan *s = &plan->stage[stage];
    const ptrdiff_t VL = plan->kernels->lanes, depth = holding(rows, FR_BRICK_DEPTH), step = s->dg_width * VL;
    char *left[2];
    for (int i = 0; v + i < last; i++) {
        const ptrdiff_t p = (v + i) / s->dg_width, at = (v + i) % s->dg_width;
        left[i] = w->left + i * depth * FR_BRICK_BYTES;
        for (ptrdiff_t r = 0; r < rows; r += FR_BRICK_DEPTH)
            plan->unit->left_transposed(fr_at(plan, w->dg[stage], ((p * w->rows + r) * s->dg_width + at) * VL), step, rows - r,
                                        left[i] + r / FR_BRICK_DEPTH * FR_BRICK_BYTES);
    }
    for (; count > 0; count--, f++) {
        FrBricks product = {
            .columns = f->matrix->depth, .c_row = f->matrix->depth, .depth = depth, .add = 1,
            .right = f->right, .right_next = depth * FR_BRICK_BYTES,
        };
        for (int i = 0; v + i < last; i++) {
            const int p = (v + i) / s->dg_width, at = (v + i) % s->dg_width - f->at, unit = (p * s->blocks + at % s->blocks) * VL;
            if (at < 0 || at >= f->width || unit >= s->units)
                continue;
            product.left[product.count] = left[i];
            product.rows[product.count] = s->units - unit < VL ? s->units - unit : VL;
            product.c[product.count++] = fr_at(plan, f->gradient, ((ptrdiff_t)f->gates->row[at / s->blocks] * s->units + unit)
                                                                      * f->matrix->depth);
        }
        if (product.count)
            plan->unit->multiply(&product);
    }
}

void fr_brick_gradients(const FrBack *back, FrBackScratch *w, ptrdiff_t rows)
{
    const FrPlan *plan = back->run->plan;
    const ptrdiff_t depth = holding(rows, FR_BRICK_DEPTH);
    Factor f[2];
    for (int i = 0; i < plan->stages; i++) {
        const int count = factors(back, w, i, f), vectors = plan->stage[i].panels * plan->stage[i].dg_width;
        fr_phase_begin(&w->me, (int)(count * depth));
        for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;)
            operand_bricks(plan->unit, &f[chunk / depth], chunk % depth * FR_BRICK_DEPTH, rows, depth);
        fr_phase_end(&w->me);
        fr_phase_begin(&w->me, count ? (int)holding(vectors, 2) : 0);
        for (int chunk; (chunk = fr_phase_next(&w->me)) >= 0;)
            multiply(back, w, i, f, count, 2 * chunk, vectors - 2 * chunk < 2 ? vectors : 2 * chunk + 2, rows);
        fr_phase_end(&w->me);
    }
}
