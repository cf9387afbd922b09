#define FR_TARGET scalar
#define FR_ISA_SCALAR 1
#include "../kernels/all.inc"
