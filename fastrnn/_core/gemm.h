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
    const char *packed;       /* b as fr_gemm_pack leaves it, or NULL            */
    char *c;
    const ptrdiff_t *a_at, *c_at; /* which row of a and of c row i is; NULL: i   */
    ptrdiff_t columns, depth;
    ptrdiff_t a_row, a_step, b_step, b_column, c_row;
    int add;
} FrGemm;

/* Bytes that fr_gemm_pack writes, and those that a call needs; both 64-byte aligned. */
size_t fr_gemm_packed(const FrGemm *g);
size_t fr_gemm_scratch(const FrGemm *g);
void fr_gemm_pack(const FrGemm *g, char *packed);
/* Rows first ... last - 1 of the result. */
void fr_gemm(const FrGemm *g, ptrdiff_t first, ptrdiff_t last, char *scratch);

#endif
