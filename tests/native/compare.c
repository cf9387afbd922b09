/* Runs every cell, forward and backward, and every optimiser on two instruction sets, by two threads on the first and by one
 * on the other, and compares all results: for CPUs that
 * Python does not run on here (under an emulator), and for sanitizers without Python.
 *
 *     compare ISA OTHER      prints the largest difference by dtype; exit code 1 when one is too large
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "pool.h"
#include "sequence.h"

enum { NORMALISER = 2 }; /* the state that divides another, and is positive: sLSTM's n */
enum { T = 7, B = 11, I = 5, ARRAYS = 2 + 2 * FR_MAX_STATES + FR_MAX_PARAMETERS };

typedef struct Arrays {
    int count;
    size_t elements[ARRAYS];
    char *data[ARRAYS]; /* y, dx, states and gradients of them, then a gradient per parameter */
} Arrays;

static const FrOptions options = {.activation = {{FR_ACT_SIGMOID, 1, 0}, {FR_ACT_TANH, 1, 0}, {FR_ACT_TANH, 1, 0}}, .clip = 1, .scale = 1};
static uint64_t seed;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / (double)(1ull << 53) * 2 - 1;
}

/* Between centre - scale and centre + scale. Exactly as long as asked for, so that a sanitizer sees every step beyond. */
static char *spread(size_t elements, int size, double centre, double scale)
{
    char *p = malloc(elements * size + 1);
    for (size_t i = 0; i < elements; i++) {
        const double v = centre + scale * uniform();
        if (size == 4)
            ((float *)p)[i] = (float)v;
        else
            ((double *)p)[i] = v;
    }
    return p;
}

static char *filled(size_t elements, int size, double scale) { return spread(elements, size, 0, scale); }

static char *aligned(size_t bytes) { return aligned_alloc(64, (bytes + 127) & ~(size_t)63); }

static char *kept(Arrays *a, size_t elements, int size, double scale)
{
    a->elements[a->count] = elements;
    return a->data[a->count++] = filled(elements, size, scale);
}

/* Grows the size of a parameter that has these rows of `units` by `depth`. */
static void need(size_t *size, const FrGates *rows, int units, int depth)
{
    for (int g = 0; g < rows->count; g++)
        if ((size_t)(rows->row[g] + 1) * units * depth > *size)
            *size = (size_t)(rows->row[g] + 1) * units * depth;
}

/* Filled at random, or with zeros that `zeros` keeps. */
static void parameters(FrParameters *p, const FrPlan *plan, int size, Arrays *zeros)
{
    size_t sizes[FR_MAX_PARAMETERS] = {0};
    for (int i = 0; i < plan->stages; i++) {
        const FrStagePlan *s = &plan->stage[i];
        need(&sizes[s->of->gx_from], &s->of->gx, s->units, plan->input);
        need(&sizes[s->of->rec_from], &s->of->rec, s->units, s->rec.depth);
        need(&sizes[s->of->gx_bias_from], &s->of->gx_bias, s->units, 1);
        need(&sizes[s->of->rec_bias_from], &s->of->rec_bias, s->units, 1);
    }
    for (int i = 0; i < plan->cell->vectors.count; i++) {
        const FrVector *v = &plan->cell->vectors.of[i];
        const FrGates row = {1, {v->row}};
        need(&sizes[v->from], &row, v->scalar ? 1 : plan->hidden, 1);
        if (v->also >= 0)
            need(&sizes[v->also], &row, v->scalar ? 1 : plan->hidden, 1);
    }
    const double scale = 1 / sqrt(plan->hidden); /* as layers are initialised */
    memset(p, 0, sizeof *p);
    for (int i = 0; i < FR_MAX_PARAMETERS; i++)
        if (sizes[i])
            p->of[i] = zeros ? kept(zeros, sizes[i], size, 0) : filled(sizes[i], size, scale);
}

static FrRows rows(char *base, int width, int size)
{
    return (FrRows){base, (ptrdiff_t)B * width * size, (ptrdiff_t)width * size};
}

/* One layer, forward and backward, over ragged sequences, by `members` threads; on the matrix unit where there is one. */
static Arrays evaluate(const char *isa, int size, int cell, int hidden, int projection, int reverse, int members)
{
    static const ptrdiff_t length[B] = {7, 7, 6, 6, 5, 4, 3, 2, 2, 1, 0};
    static const int row[B] = {3, 0, 10, 1, 9, 2, 8, 4, 7, 5, 6};
    const FrKernels *k = fr_kernels(isa, size);
    const FrUnit *unit = fr_unit(isa, size);
    const int input = fr_cells[cell].reads_x ? hidden : I;
    Arrays out = {0};
    FrPlan plan;
    FrParameters p, d_p;
    seed = 1;
    fr_plan(&plan, k, unit, cell, input, hidden, projection, &options);
    parameters(&p, &plan, size, NULL);
    const size_t h = (size_t)B * plan.output;
    char *x = filled((size_t)T * B * input, size, 1), *dy = filled(T * h, size, 1);
    char *y = kept(&out, T * h, size, 0), *dx = kept(&out, (size_t)T * B * input, size, 0);
    char *state0[FR_MAX_STATES], *state[FR_MAX_STATES], *dstate[FR_MAX_STATES];
    for (int e = 0; e < plan.cell->states; e++) {
        const size_t elements = e ? (size_t)B * hidden : h;
        state0[e] = spread(elements, size, e == NORMALISER ? 2 : 0, 1);
        state[e] = kept(&out, elements, size, 0);
        dstate[e] = kept(&out, elements, size, 1);
        memcpy(state[e], state0[e], elements * size);
    }
    parameters(&d_p, &plan, size, &out);

    ptrdiff_t steps = 0;
    for (int b = 0; b < B; b++)
        steps += length[b];
    char *packed = aligned(plan.packed * size), *packed_back = aligned(unit ? plan.packed_bricks : plan.packed_back * size);
    char *work = aligned(fr_workspace(&plan, steps, 0));
    char *scratch = aligned(fr_forward_scratch(&plan, B, members));
    char *scratch_back = aligned(fr_backward_scratch(&plan, B, members, unit != NULL));
    fr_pack(&plan, &p, packed);
    (unit ? fr_pack_bricks : fr_pack_back)(&plan, &p, packed_back);
    FrRun run = {
        .plan = &plan, .reverse = reverse, .count = B, .members = members, .row = row, .length = length,
        .x = rows(x, input, size), .y = rows(y, plan.output, size), .packed = packed, .ws = work, .ws_rows = steps, .last = T,
        .scratch = scratch,
    };
    memcpy(run.state, state, sizeof state);
    fr_forward(&run, 1);
    FrBack back = {
        .run = &run, .dy = rows(dy, plan.output, size), .dx = rows(dx, input, size),
        .dx_add = plan.cell->reads_x, .packed_back = packed_back, .bricks = unit != NULL,
        .grads = d_p, .members = members, .scratch = scratch_back,
    };
    memcpy(back.state0, state0, sizeof state0);
    memcpy(back.dstate, dstate, sizeof dstate);
    fr_backward(&back, 1);

    void *mine[] = {x, dy, packed, packed_back, work, scratch, scratch_back};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
        free(mine[i]);
    for (int e = 0; e < plan.cell->states; e++)
        free(state0[e]);
    for (int i = 0; i < FR_MAX_PARAMETERS; i++)
        free(p.of[i]);
    return out;
}

/* Values and buffers after three steps of an optimiser, with some of its buffers or all. */
static Arrays optimised(const FrKernels *k, int rule, int all, ptrdiff_t n)
{
    Arrays out = {0};
    FrUpdate u = {
        .n = n, .lr = 0.1, .shrink = 0.9, .decay = 0.1, .momentum = 0.8, .gain = 0.7, .first = 0.9, .second = 0.95,
        .unbias = 2, .eps = 1e-3, .nesterov = all,
    };
    seed = rule + 10 * n;
    u.values = kept(&out, n, k->size, 1);
    for (int b = 0; b < FR_MAX_BUFFERS; b++) {
        const int always = rule == FR_ADAM ? 2 : rule == FR_RMSPROP ? 1 : 0;
        u.buffer[b] = b < always || all ? kept(&out, n, k->size, 0) : NULL;
    }
    for (int step = 0; step < 3; step++) {
        char *gradients = filled(n, k->size, 1);
        u.gradients = gradients;
        u.fresh = step == 0;
        k->update[rule](&u);
        free(gradients);
    }
    return out;
}

/* Largest difference relative to the largest entry of its array; frees both. An array of smaller entries than
 * `cancelled` holds what is left of sums of terms about 1, whose rounding is relative to them. */
static double difference(Arrays *a, Arrays *b, int size)
{
    static const double cancelled = 0.1;
    double worst = 0;
    for (int i = 0; i < a->count; i++) {
        double most = cancelled, off = 0;
        for (size_t e = 0; e < a->elements[i]; e++) {
            const double u = size == 4 ? ((float *)a->data[i])[e] : ((double *)a->data[i])[e];
            const double v = size == 4 ? ((float *)b->data[i])[e] : ((double *)b->data[i])[e];
            most = fmax(most, fabs(v));
            off = isfinite(u) && isfinite(v) ? fmax(off, fabs(u - v)) : INFINITY;
        }
        worst = fmax(worst, off / most);
        free(a->data[i]);
        free(b->data[i]);
    }
    return worst;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int failed = 0;
    fr_set_threads(2);
    fr_bricks_always = 1;
    for (int size = 4; size <= 8; size += 4) {
        const FrKernels *one = fr_kernels(argv[1], size), *other = fr_kernels(argv[2], size);
        if (!one || !other)
            return 2;
        double worst = 0;
        int cases = 0;
        for (int cell = 0; cell < FR_CELLS; cell++)
            for (int hidden = 1; hidden <= 67; hidden += 3)
                for (int projection = 0; projection < (fr_cells[cell].states > 1 && hidden > 3 ? 4 : 1); projection += 3)
                    for (int reverse = 0; reverse < 2; reverse++, cases++) {
                        Arrays a = evaluate(argv[1], size, cell, hidden, projection, reverse, 2);
                        Arrays b = evaluate(argv[2], size, cell, hidden, projection, reverse, 1);
                        worst = fmax(worst, difference(&a, &b, size));
                    }
        for (int rule = 0; rule < FR_RULES; rule++)
            for (int n = 0; n <= 67; n++)
                for (int all = 0; all < 2; all++, cases++) {
                    Arrays a = optimised(one, rule, all, n), b = optimised(other, rule, all, n);
                    worst = fmax(worst, difference(&a, &b, size));
                }
        printf("%s and %s, %d-bit: %d cases, largest difference %.2g\n", argv[1], argv[2], 8 * size, cases, worst);
        failed |= !(worst < (size == 4 ? 2e-5 : 1e-10));
    }
    return failed;
}
