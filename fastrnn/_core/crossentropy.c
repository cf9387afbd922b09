#include "crossentropy.h"

#include <math.h>
#include <string.h>

static double element(const char *array, ptrdiff_t i, int size)
{
    return size == 4 ? (double)((const float *)array)[i] : ((const double *)array)[i];
}

static void subtract(char *array, ptrdiff_t i, int size, double x)
{
    if (size == 4)
        ((float *)array)[i] -= (float)x;
    else
        ((double *)array)[i] -= x;
}

void fr_cross_entropy(const FrCrossEntropy *c, ptrdiff_t first, ptrdiff_t last)
{
    const FrKernels *k = c->kernels;
    const ptrdiff_t bytes = c->classes * k->size;
    for (ptrdiff_t row = first; row < last; row++) {
        const char *x = c->logits + row * bytes;
        char *y = c->gradient ? c->gradient + row * bytes : NULL;
        if (c->target && c->target[row] < 0) {
            c->values[row] = 0;
            if (y)
                memset(y, 0, bytes);
            continue;
        }
        double sums[2];
        const double top = k->row_max(x, c->classes);
        k->softmax_row(x, top, c->spread, c->classes, y, sums);
        if (!c->target) {
            c->values[row] = top + log(sums[0]);                                        /* (B4) */
            continue;
        }
        const ptrdiff_t target = c->target[row];
        const double direct = c->kept * (c->weight ? element(c->weight, target, k->size) : 1);
        const double whole = direct + c->spread_sum;
        c->values[row] = whole * log(sums[0]) - direct * (element(x, target, k->size) - top) - sums[1]; /* (B5) */
        if (y) {
            k->softmax_gradient_row(whole * c->scale / sums[0], c->scale, c->spread, c->classes, y);
            subtract(y, target, k->size, direct * c->scale);                            /* (B14) */
        }
    }
}
