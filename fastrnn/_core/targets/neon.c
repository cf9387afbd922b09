#define FR_TARGET neon
#define FR_VEC "vec_neon.h"
#include "../kernels/all.inc"
