/* Cross entropy of rows of logits with its gradient, in one visit of each row. */
#ifndef FR_CROSSENTROPY_H
#define FR_CROSSENTROPY_H

#include "kernels/kernels.h"

typedef struct FrCrossEntropy {
    const FrKernels *kernels;
    ptrdiff_t rows, classes;
    const char *logits;        /* [rows][classes]                                                     */
    const ptrdiff_t *target;   /* [rows], negative where the row counts nothing; NULL: `values` are the
                                * logarithms of the sums of exp                                       */
    const char *weight;        /* [classes], or NULL: ones                                            */
    const char *spread;        /* [classes]: what smoothing gives to every class, or NULL             */
    double kept, spread_sum;   /* what smoothing leaves to the target's class; the sum of `spread`    */
    double scale;              /* of the gradients, not of the values                                 */
    double *values;            /* [rows]                                                              */
    char *gradient;            /* [rows][classes], or NULL                                            */
} FrCrossEntropy;

/* Rows first ... last - 1. */
void fr_cross_entropy(const FrCrossEntropy *c, ptrdiff_t first, ptrdiff_t last);

#endif
