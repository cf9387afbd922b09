/* Identity activations, for exact tests with integer-valued data: never chosen, only asked for. */
#define FR_TARGET linear
#define FR_LINEAR 1
#if defined(__AVX2__)
#define FR_ISA_AVX2 1
#elif defined(__ARM_NEON)
#define FR_ISA_NEON 1
#else
#define FR_ISA_SCALAR 1
#endif
#include "../kernels/all.inc"
