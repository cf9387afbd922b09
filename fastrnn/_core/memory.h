/* Memory of the engine: 64-byte aligned; large pieces in huge pages where the system has them, since a fault for
 * every 4 KB of a training call's memory can cost as much as its arithmetic. */
#ifndef FR_MEMORY_H
#define FR_MEMORY_H

#include <stddef.h>

void *fr_allocate(size_t bytes); /* NULL when there is none; free() gives it back */

#endif
