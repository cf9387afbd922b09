#include "plan.h"

#include <string.h>

#define GATES(...) {sizeof((int8_t[]){__VA_ARGS__}), {__VA_ARGS__}}
#define NO_GATES {0, {0}}
/* Not one in terms of another: the commas of an expanded argument would part it. */
#define STAGE(gx, rec, dg, gx_at, rec_at) \
    {gx, rec, dg, gx_at, rec_at, gx, rec, FR_B_IH, FR_B_HH, FR_W_IH, FR_W_HH, 0}
#define ONE_BIAS(gx, rec, dg, gx_at, rec_at, gx_bias, rec_bias) \
    {gx, rec, dg, gx_at, rec_at, gx_bias, rec_bias, FR_B_IH, FR_B_IH, FR_W_IH, FR_W_HH, 0}
#define MATRICES(gx, rec, dg, gx_at, rec_at, gx_bias, rec_bias, gx_from, rec_from) \
    {gx, rec, dg, gx_at, rec_at, gx_bias, rec_bias, FR_B_IH, FR_B_IH, gx_from, rec_from, 0}
#define WHOLE_ROWS(gx, rec, dg, gx_at, rec_at) \
    {gx, rec, dg, gx_at, rec_at, NO_GATES, NO_GATES, FR_B_IH, FR_B_HH, FR_W_IH, FR_W_HH, 1}
#define EXTRA(i) {FR_EXTRA + (i), 0, -1, 0}
#define PART(from, row) {from, row, -1, 0}
#define SUM(from, row, also) {from, row, also, 0}
#define SQUASHED(i) {FR_EXTRA + (i), 0, -1, 1}
#define VECTORS(...) {sizeof((FrVector[]){__VA_ARGS__}) / sizeof(FrVector), {__VA_ARGS__}}
#define NO_VECTORS {0, {{0, 0, 0, 0}}}
#define CELL1(id, states, saves, reads_x, vectors, ...) {#id, states, saves, reads_x, vectors, 1, {__VA_ARGS__}},
#define CELL2(id, states, saves, reads_x, vectors, ...) {#id, states, saves, reads_x, vectors, 2, {__VA_ARGS__}},
#define CELL3(id, states, saves, reads_x, vectors, ...) {#id, states, saves, reads_x, vectors, 3, {__VA_ARGS__}},
const FrCell fr_cells[FR_CELLS] = {
#include "kernels/cells.def"
};

/* The projection is a stage like the cells' own: no input product, one "gate", the m_t of (L..) in. */
static const FrStage projection_stage = MATRICES(NO_GATES, GATES(0), 1, 0, 0, NO_GATES, NO_GATES, FR_W_IH, FR_W_HR);

int fr_cell_by_name(const char *name)
{
    for (int i = 0; i < FR_CELLS; i++)
        if (!strcmp(name, fr_cells[i].name))
            return i;
    return -1;
}

/* Blocks per panel: as many as a tile's width holds, unless that pads much; half a block is what the
 * start of one more panel costs. */
static int choose_blocks(int hidden_blocks, int gates)
{
    const int most = FR_MAX_WIDTH / gates;
    int best = 1, best_cost = -1;
    for (int b = 1; b <= most; b++) {
        const int panels = (hidden_blocks + b - 1) / b, cost = 2 * panels * b + panels;
        if (best_cost < 0 || cost <= best_cost) {
            best = b;
            best_cost = cost;
        }
    }
    return best;
}

static FrMatrix matrix(const FrGates *gates, int units, int depth, int blocks, int lanes)
{
    const int hidden_blocks = (units + lanes - 1) / lanes, depth_all = (depth + lanes - 1) / lanes;
    FrMatrix m = {gates, units, depth, blocks, (hidden_blocks + blocks - 1) / blocks, 0, 0};
    m.depth_blocks = choose_blocks(depth_all, 1);
    m.depth_panels = (depth_all + m.depth_blocks - 1) / m.depth_blocks;
    return m;
}

static ptrdiff_t take(ptrdiff_t *size, ptrdiff_t count)
{
    const ptrdiff_t at = *size;
    *size = (at + count + 15) & ~(ptrdiff_t)15; /* 64 bytes of float */
    return at;
}

ptrdiff_t fr_brick_depth(const FrMatrix *m)
{
    return ((ptrdiff_t)m->panels * m->gates->count * m->blocks + 1) / 2;
}

static ptrdiff_t take_bricks(FrPlan *plan, const FrMatrix *m)
{
    const ptrdiff_t at = plan->packed_bricks;
    plan->packed_bricks += fr_brick_depth(m) * m->depth_panels * m->depth_blocks * FR_BRICK_BYTES;
    return at;
}

static void plan_stage(FrPlan *plan, FrStagePlan *s, const FrStage *stage, int units, int depth)
{
    const int VL = plan->kernels->lanes;
    const int gates = stage->gx.count > stage->rec.count ? stage->gx.count : stage->rec.count;
    s->of = stage;
    s->units = units;
    s->hidden_blocks = (units + VL - 1) / VL;
    s->blocks = choose_blocks(s->hidden_blocks, gates);
    s->panels = (s->hidden_blocks + s->blocks - 1) / s->blocks;
    s->gx_gates = stage->gx;
    s->rec_gates = stage->rec;
    s->gx = matrix(&s->gx_gates, units, plan->input, s->blocks, VL);
    s->rec = matrix(&s->rec_gates, units, depth, s->blocks, VL);
    s->gx_width = stage->gx.count * s->blocks;
    s->rec_width = stage->rec.count * s->blocks;
    s->dg_width = stage->dg * s->blocks;
    s->gx_at = stage->gx_at * s->blocks;
    s->rec_at = stage->rec_at * s->blocks;

    const ptrdiff_t gx = (ptrdiff_t)s->panels * s->gx_width * VL, rec = (ptrdiff_t)s->panels * s->rec_width * VL;
    s->gx_panels = take(&plan->packed, gx * plan->input);
    s->gx_bias = take(&plan->packed, gx);
    s->rec_panels = take(&plan->packed, rec * depth);
    s->rec_bias = take(&plan->packed, rec);
    s->gx_back = take(&plan->packed_back, gx * s->gx.depth_panels * s->gx.depth_blocks * VL);
    s->rec_back = take(&plan->packed_back, rec * s->rec.depth_panels * s->rec.depth_blocks * VL);
    s->gx_bricks = take_bricks(plan, &s->gx);
    s->rec_bricks = take_bricks(plan, &s->rec);
}

void fr_plan(FrPlan *plan, const FrKernels *kernels, const FrUnit *unit, int cell, int input, int hidden, int projection,
             const FrOptions *options)
{
    const FrCell *c = &fr_cells[cell];
    memset(plan, 0, sizeof *plan);
    plan->kernels = kernels;
    plan->unit = unit;
    plan->cell = c;
    plan->options = *options;
    plan->zoned = options->zone[0] > 0 || options->zone[1] > 0;
    plan->input = input;
    plan->hidden = hidden;
    plan->output = projection ? projection : hidden;
    plan->padded = (hidden + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
    plan->stages = c->stages + (projection > 0);
    for (int i = 0; i < c->stages; i++) {
        plan_stage(plan, &plan->stage[i], &c->stage[i], hidden, i ? hidden : plan->output);
        plan->stage[i].forward = kernels->forward[cell][i];
        plan->stage[i].backward = kernels->backward[cell][i];
    }
    if (projection) {
        FrStagePlan *s = &plan->stage[c->stages];
        plan_stage(plan, s, &projection_stage, projection, hidden);
        s->forward = kernels->project;
        s->backward = kernels->project_backward;
    }
    plan->vectors = take(&plan->packed, (ptrdiff_t)c->vectors.count * plan->padded);
}

static char *at_element(const FrPlan *plan, const void *base, ptrdiff_t element)
{
    return (char *)base + element * plan->kernels->size;
}

char *fr_vector_at(const FrPlan *plan, const FrParameters *p, int from, int row)
{
    return from >= 0 && p->of[from] ? at_element(plan, p->of[from], (ptrdiff_t)row * plan->hidden) : NULL;
}

void fr_pack(const FrPlan *plan, const FrParameters *p, void *packed)
{
    const FrKernels *k = plan->kernels;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        if (s->gx_width) {
            k->pack(&s->gx, p->of[s->of->gx_from], at_element(plan, packed, s->gx_panels));
            k->pack_bias(&s->gx, &s->of->gx_bias, p->of[s->of->gx_bias_from], at_element(plan, packed, s->gx_bias));
        }
        if (s->rec_width) {
            k->pack(&s->rec, p->of[s->of->rec_from], at_element(plan, packed, s->rec_panels));
            k->pack_bias(&s->rec, &s->of->rec_bias, p->of[s->of->rec_bias_from], at_element(plan, packed, s->rec_bias));
        }
    }
    for (int i = 0; i < plan->cell->vectors.count; i++) {
        const FrVector *v = &plan->cell->vectors.of[i];
        k->pack_vector(fr_vector_at(plan, p, v->from, v->row), fr_vector_at(plan, p, v->also, v->row), plan->hidden, v->scalar,
                       plan->padded, at_element(plan, packed, plan->vectors + (ptrdiff_t)i * plan->padded));
    }
}

void fr_pack_back(const FrPlan *plan, const FrParameters *p, void *packed_back)
{
    const FrKernels *k = plan->kernels;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        if (s->gx_width)
            k->pack_transposed(&s->gx, p->of[s->of->gx_from], at_element(plan, packed_back, s->gx_back));
        if (s->rec_width)
            k->pack_transposed(&s->rec, p->of[s->of->rec_from], at_element(plan, packed_back, s->rec_back));
    }
}

/* bricks[column of w][depth]; depth: [panel][gate][block][lane], as in `pack_transposed` */
static void pack_bricks(const FrPlan *plan, const FrMatrix *m, const void *w, char *brick)
{
    const ptrdiff_t vectors = (ptrdiff_t)m->panels * m->gates->count * m->blocks;
    for (int at = 0; at < m->depth_panels * m->depth_blocks * FR_BRICK; at += FR_BRICK)
        for (ptrdiff_t v = 0; v < vectors; v += 2, brick += FR_BRICK_BYTES) {
            const void *rows[FR_BRICK_DEPTH];
            for (int i = 0; i < FR_BRICK_DEPTH; i++) {
                const ptrdiff_t vector = v + i / FR_BRICK, panel = vector / m->blocks / m->gates->count;
                const int gate = vector / m->blocks % m->gates->count;
                const ptrdiff_t unit = (panel * m->blocks + vector % m->blocks) * FR_BRICK + i % FR_BRICK;
                const int there = vector < vectors && unit < m->units && at < m->depth;
                rows[i] = there ? at_element(plan, w, (m->gates->row[gate] * m->units + unit) * m->depth) : NULL;
            }
            plan->unit->right(rows, FR_BRICK_DEPTH, at, m->depth - at < FR_BRICK ? m->depth - at : FR_BRICK, brick);
        }
}

void fr_pack_bricks(const FrPlan *plan, const FrParameters *p, void *packed_bricks)
{
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        if (s->gx_width)
            pack_bricks(plan, &s->gx, p->of[s->of->gx_from], (char *)packed_bricks + s->gx_bricks);
        if (s->rec_width)
            pack_bricks(plan, &s->rec, p->of[s->of->rec_from], (char *)packed_bricks + s->rec_bricks);
    }
}

FrParameters fr_parameters_at(const FrParameters *p, void *base)
{
    FrParameters q = {.count = p->count};
    for (int i = 0; i < FR_MAX_PARAMETERS; i++)
        if (p->of[i])
            q.of[i] = (char *)base + ((const char *)p->of[i] - (const char *)p->of[FR_W_IH]);
    return q;
}
