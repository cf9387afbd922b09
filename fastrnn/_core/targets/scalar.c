#define FR_TARGET scalar
#define FR_VEC "vec_scalar.h"
#include "../kernels/all.inc"
