#define FR_TARGET avx2
#define FR_ISA_AVX2 1
#include "../kernels/all.inc"
