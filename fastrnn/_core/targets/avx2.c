#define FR_TARGET avx2
#define FR_VEC "vec_avx2.h"
#include "../kernels/all.inc"
