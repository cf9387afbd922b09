/* Which instruction set runs: the only place that asks the CPU. */
#ifndef FR_DISPATCH_H
#define FR_DISPATCH_H

#include "kernels/kernels.h"

/* Names of the targets in this build that this CPU can run, best first; NULL past the last. */
const char *fr_isa_name(int i);
/* Nonzero when the target is chosen only by name. */
int fr_isa_hidden(int i);
/* The kernels of a target for elements of `size` bytes; NULL when it is not there or cannot run here. */
const FrKernels *fr_kernels(const char *isa, int size);
/* Its matrix unit, for elements of `size` bytes; NULL without one, or if the system refuses it to this process, which is
 * asked at the first call. */
const FrUnit *fr_unit(const char *isa, int size);

#endif
