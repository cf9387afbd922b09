#define FR_TARGET neon
#define FR_ISA_NEON 1
#include "../kernels/all.inc"
