#include "tree.h"

#include "pool.h"

#include <string.h>

size_t fr_tree_scratch(const FrTree *t)
{
    size_t most = 0;
    for (int i = 0; i < FR_TREE_PRODUCTS; i++) {
        const size_t size = fr_gemm_scratch(&t->product[i]);
        most = size > most ? size : most;
    }
    return most;
}

static char *row(const FrTree *t, char *array, ptrdiff_t i) { return array + i * t->hidden * t->kernels->size; }

static FrTreeNode node_at(const FrTree *t, ptrdiff_t place)
{
    const ptrdiff_t node = t->node[place], kid = t->first_kid[place];
    return (FrTreeNode){
        .hidden = t->hidden, .node = node, .kids = t->first_kid[place + 1] - kid, .kid = t->kid + kid,
        .gates = row(t, t->gates, 4 * place), .forget = row(t, t->forget, kid),
        .h = t->h, .c = t->c, .dh = t->dh, .dc = t->dc,
    };
}

/* What is done with places first ... last - 1: of one level, except the products of x. */
typedef void (*Work)(const FrTree *, ptrdiff_t first, ptrdiff_t last, char *scratch);

static void inputs(const FrTree *t, ptrdiff_t first, ptrdiff_t last, char *scratch)
{
    fr_gemm(&t->product[FR_TREE_INPUT], first, last, scratch);
}

static void children(const FrTree *t, ptrdiff_t first, ptrdiff_t last, char *scratch)
{
    fr_gemm(&t->product[FR_TREE_SUM_I], first - t->leaves, last - t->leaves, scratch);
    fr_gemm(&t->product[FR_TREE_SUM_GO], first - t->leaves, last - t->leaves, scratch);
}

static void forward(const FrTree *t, ptrdiff_t first, ptrdiff_t last, char *scratch)
{
    const size_t bytes = t->hidden * t->kernels->size;
    if (first >= t->leaves) {
        for (ptrdiff_t place = first; place < last; place++) {                          /* (T1) */
            const ptrdiff_t *kid = t->kid + t->first_kid[place], *end = t->kid + t->first_kid[place + 1];
            char *sum = row(t, t->sums, place - t->leaves);
            memcpy(sum, row(t, t->h, *kid), bytes);
            while (++kid < end)
                t->kernels->add(row(t, t->h, *kid), sum, t->hidden);
        }
        children(t, first, last, scratch);                                              /* (T2) */
        fr_gemm(&t->product[FR_TREE_FORGET], t->first_kid[first], t->first_kid[last], scratch);
    }
    for (ptrdiff_t place = first; place < last; place++) {
        const FrTreeNode node = node_at(t, place);
        t->kernels->tree_forward(&node);
    }
}

static void backward(const FrTree *t, ptrdiff_t first, ptrdiff_t last, char *scratch)
{
    for (ptrdiff_t place = first; place < last; place++) {
        const FrTreeNode node = node_at(t, place);
        t->kernels->tree_backward(&node);
    }
    if (first < t->leaves)
        return;
    children(t, first, last, scratch);                                                  /* (T16) */
    for (ptrdiff_t place = first; place < last; place++)
        for (ptrdiff_t i = t->first_kid[place]; i < t->first_kid[place + 1]; i++)
            t->kernels->add(row(t, t->sums, place - t->leaves), row(t, t->dh, t->kid[i]), t->hidden);
    fr_gemm(&t->product[FR_TREE_FORGET], t->first_kid[first], t->first_kid[last], scratch); /* (T17) */
}

typedef struct Parts {
    const FrTree *tree;
    Work work;
    ptrdiff_t first, count;
    int parts;
} Parts;

static void part(void *context, int i)
{
    const Parts *p = context;
    p->work(p->tree, p->first + p->count * i / p->parts, p->first + p->count * (i + 1) / p->parts,
            p->tree->scratch + i * fr_tree_scratch(p->tree));
}

/* Every place is worked on by one thread, and its children with it: they are nobody else's. */
static void deal(const FrTree *t, Work work, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t worth = (last - first) / t->least;
    Parts parts = {t, work, first, last - first, worth < 1 ? 1 : worth < t->threads ? (int)worth : t->threads};
    fr_parallel(part, &parts, parts.parts);
}

void fr_tree_forward(const FrTree *t)
{
    const ptrdiff_t *level = t->level + 1;
    for (ptrdiff_t first = 0, last; first < t->nodes; first = last) {
        last = first + t->block < t->nodes ? first + t->block : t->nodes;
        deal(t, inputs, first, last);
        for (ptrdiff_t at = first, end; at < last; at = end) {
            end = *level < last ? *level : last;
            deal(t, forward, at, end);
            level += end == *level;
        }
    }
}

void fr_tree_backward(const FrTree *t)
{
    const ptrdiff_t *level = t->level;
    while (*level < t->nodes)
        level++;
    for (ptrdiff_t last = t->nodes, first; last > 0; last = first) {
        first = last > t->block ? last - t->block : 0;
        for (ptrdiff_t end = last, at; end > first; end = at) {
            level -= end == *level;
            at = *level > first ? *level : first;
            deal(t, backward, at, end);
        }
        deal(t, inputs, first, last);                                                   /* (T18) */
    }
}
