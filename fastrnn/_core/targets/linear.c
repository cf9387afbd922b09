/* Identity activations, for exact tests with integer-valued data: never chosen, only asked for. */
#define FR_TARGET linear
#define FR_LINEAR 1
#if defined(__AVX2__)
#define FR_VEC "vec_avx2.h"
#elif defined(__ARM_NEON)
#define FR_VEC "vec_neon.h"
#else
#define FR_VEC "vec_scalar.h"
#endif
#include "../kernels/all.inc"
