/* Large products of plain float32 matrices on a matrix unit: gradients of `Linear` and its like. */
#ifndef FR_UNITGEMM_H
#define FR_UNITGEMM_H

#include "kernels/kernels.h"

/* c = a b, or c += a b. All have contiguous rows, `_row` elements apart. An entry of the result does not depend on which rows
 * are made together. */
typedef struct FrUnitGemm {
    const FrUnit *unit;
    const float *a, *b;      /* (rows, depth), or (depth, rows) if transposed; (depth, columns) */
    float *c;                /* (rows, columns)                                                 */
    ptrdiff_t rows, columns, depth, a_row, b_row, c_row;
    int transposed, add;
} FrUnitGemm;

/* Bytes that a call needs, 64-byte aligned. */
size_t fr_unit_gemm_scratch(void);
/* Rows first ... last - 1 of the result; depth must not be 0. */
void fr_unit_gemm(const FrUnitGemm *g, ptrdiff_t first, ptrdiff_t last, char *scratch);

#endif
