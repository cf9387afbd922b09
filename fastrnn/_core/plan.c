#include "plan.h"

#include <string.h>

#define GATES(...) {sizeof((int8_t[]){__VA_ARGS__}), {__VA_ARGS__}}
#define STAGE(gx, rec, dg, gx_at, rec_at) {gx, rec, dg, gx_at, rec_at}
#define CELL1(id, states, saves, vectors, ...) {#id, states, saves, vectors, 1, {__VA_ARGS__}},
#define CELL2(id, states, saves, vectors, ...) {#id, states, saves, vectors, 2, {__VA_ARGS__}},
const FrCell fr_cells[FR_CELLS] = {
#include "kernels/cells.def"
};

/* The projection is a stage like the cells' own: no input product, one "gate", the m_t of (L..) in. */
static const FrStage projection_stage = {{0, {0}}, {1, {0}}, 1, 0, 0};

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

static void plan_stage(FrPlan *plan, FrStagePlan *s, const FrStage *stage, int units, int depth)
{
    const int VL = plan->kernels->lanes;
    const int gates = stage->gx.count > stage->rec.count ? stage->gx.count : stage->rec.count;
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
}

void fr_plan(FrPlan *plan, const FrKernels *kernels, int cell, int input, int hidden, int projection)
{
    const FrCell *c = &fr_cells[cell];
    memset(plan, 0, sizeof *plan);
    plan->kernels = kernels;
    plan->cell = c;
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
    plan->vectors = take(&plan->packed, (ptrdiff_t)c->vectors * plan->padded);
}

static char *at(const FrPlan *plan, const void *base, ptrdiff_t element)
{
    return (char *)base + element * plan->kernels->size;
}

void fr_pack(const FrPlan *plan, const FrParameters *p, void *packed)
{
    const FrKernels *k = plan->kernels;
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        const int projection = i == plan->cell->stages;
        if (s->gx_width) {
            k->pack(&s->gx, p->weight_ih, at(plan, packed, s->gx_panels));
            k->pack_bias(&s->gx, p->bias_ih, at(plan, packed, s->gx_bias));
        }
        k->pack(&s->rec, projection ? p->weight_hr : p->weight_hh, at(plan, packed, s->rec_panels));
        k->pack_bias(&s->rec, projection ? NULL : p->bias_hh, at(plan, packed, s->rec_bias));
    }
    for (int v = 0; v < plan->cell->vectors; v++) {
        char *out = at(plan, packed, plan->vectors + (ptrdiff_t)v * plan->padded);
        memset(out, 0, (size_t)plan->padded * k->size);
        memcpy(out, p->vector[v], (size_t)plan->hidden * k->size);
    }
}

void fr_pack_back(const FrPlan *plan, const FrParameters *p, void *packed_back)
{
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        if (s->gx_width)
            plan->kernels->pack_transposed(&s->gx, p->weight_ih, at(plan, packed_back, s->gx_back));
        plan->kernels->pack_transposed(&s->rec, i == plan->cell->stages ? p->weight_hr : p->weight_hh,
                                       at(plan, packed_back, s->rec_back));
    }
}

static void *moved(const void *p, const void *from, void *to)
{
    return p ? (char *)to + ((const char *)p - (const char *)from) : NULL;
}

FrParameters fr_parameters_at(const FrParameters *p, void *base)
{
    const void *from = p->weight_ih;
    FrParameters q = {
        .weight_ih = base, .weight_hh = moved(p->weight_hh, from, base), .bias_ih = moved(p->bias_ih, from, base),
        .bias_hh = moved(p->bias_hh, from, base), .weight_hr = moved(p->weight_hr, from, base), .count = p->count,
    };
    for (size_t v = 0; v < sizeof q.vector / sizeof *q.vector; v++)
        q.vector[v] = moved(p->vector[v], from, base);
    return q;
}
