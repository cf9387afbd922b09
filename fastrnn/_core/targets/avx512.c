#define FR_TARGET avx512
#define FR_ISA_AVX512 1
#include "../kernels/all.inc"
