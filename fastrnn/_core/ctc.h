/* Connectionist temporal classification (Graves et al. 2006), forward and backward in logarithms. */
#ifndef FR_CTC_H
#define FR_CTC_H

#include "kernels/kernels.h"

#include <stdatomic.h>

typedef struct FrCtc {
    const FrKernels *kernels;          /* of double                                               */
    int size;                          /* of an element of log_probs and gradient, in bytes       */
    ptrdiff_t count, classes, blank;   /* sequences, classes, the class that is the blank         */
    const char *log_probs;             /* [steps][count][classes]                                 */
    const ptrdiff_t *targets;          /* [count][most_labels]                                    */
    const ptrdiff_t *steps, *labels;   /* [count]                                                 */
    ptrdiff_t most_steps, most_labels; /* at least the largest of them                            */
    const double *scale;               /* [count], of the gradients                               */
    int zero_infinity;
    double *values;                    /* [count]                                                 */
    char *gradient;                    /* like log_probs, zeros at first                          */
    atomic_ptrdiff_t next;             /* sequence to take                                        */
} FrCtc;

/* Bytes that each caller of fr_ctc needs, 64-byte aligned. */
size_t fr_ctc_scratch(const FrCtc *c);
/* Takes sequences until there are none; any number of threads may. */
void fr_ctc(FrCtc *c, char *scratch);

#endif
