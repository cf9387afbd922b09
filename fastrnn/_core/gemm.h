/* Our own matrix product, on the packed micro-kernel: what `Linear` uses where BLAS brings nothing or
 * would bring more threads than allowed. A row of the result does not depend on the other rows. */
#ifndef FR_GEMM_H
#define FR_GEMM_H

#include "kernels/kernels.h"

/* c[i][j] = bias[j] + sum_k a[i][k] * b[k][j]; `add`: += instead of =. a and b may have any strides
 * (in elements), so either may be a transpose; c has contiguous rows. */
typedef struct FrGemm {
    const FrKernels *kernels;
    const char *a, *b, *bias; /* bias may be NULL                                */
    char *c, *scratch;        /* scratch: fr_gemm_scratch bytes, 64-byte aligned */
    ptrdiff_t rows, columns, depth;
    ptrdiff_t a_row, a_step, b_step, b_column, c_row;
    int add;
} FrGemm;

size_t fr_gemm_scratch(const FrGemm *g);
void fr_gemm(const FrGemm *g);

#endif
