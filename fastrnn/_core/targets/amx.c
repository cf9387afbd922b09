#define FR_TARGET amx
#define FR_VEC "unit_amx.h"
#include "../kernels/bricks.inc"
