/* The process's worker threads. */
#ifndef FR_POOL_H
#define FR_POOL_H

#include <sched.h>

/* Waits a moment, before looking again for what another thread is about to do; `spins` counts the times. After
 * some 20 us that thread has probably lost its CPU: give it this one. */
static inline void fr_pause(unsigned spins)
{
    if (spins > 500) {
        sched_yield();
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

typedef void (*FrTask)(void *context, int index);

/* How many threads may work, the calling one included; at least 1. Takes effect at the next call. */
void fr_set_threads(int n);
int fr_get_threads(void);

/* task(context, 0 ... count - 1), on the caller and the workers; returns when all are done. When
 * another caller is using the workers the caller does all itself, so concurrent calls never run more
 * threads than callers + workers. */
void fr_parallel(FrTask task, void *context, int count);

#endif
