#define FR_TARGET avx512
#define FR_VEC "vec_avx512.h"
#include "../kernels/all.inc"
