#include "dispatch.h"

#include <stdatomic.h>
#include <string.h>
#if FR_BUILT_amx
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* targets.def as a table of what this build has: lines of targets that were left out vanish. */
#define JOIN(a, b) a##b
#define CALL(macro, ...) macro(__VA_ARGS__)
#define WHEN_0(...)
#define WHEN_1(...) __VA_ARGS__
#define WHEN_(built) JOIN(WHEN_, built)
#define WHEN(built, ...) CALL(WHEN_(built), __VA_ARGS__)

#define TARGET(name, flags, cpu) WHEN(FR_BUILT_##name, extern const FrKernels fr_##name##_f32, fr_##name##_f64;)
#define UNIT_TARGET(name, flags, of, cpu) WHEN(FR_BUILT_##name, extern const FrUnit fr_##name##_unit;)
#include "targets/targets.def"

typedef struct Target {
    const char *isa;
    const FrKernels *f32, *f64;
    const FrUnit *unit;
    int (*runs_here)(void), hidden;
} Target;

/* What `ask` says, asked once. */
static int once(atomic_int *known, int (*ask)(void))
{
    enum { UNKNOWN, NO, YES };
    int is = atomic_load(known);
    if (is == UNKNOWN)
        atomic_store(known, is = ask() ? YES : NO);
    return is == YES;
}

#if FR_BUILT_amx
enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, TILE_STATE = 3 << 17, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

/* Of the CPU and of the system; AVX-512 is known to be there. */
static int ask_for_amx(void)
{
    unsigned a, b, c, d, state;
    __asm__("xgetbv" : "=a"(state), "=d"(d) : "c"(0));
    return (state & TILE_STATE) == TILE_STATE && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_BF16) && (d & AMX_TILE);
}

static int has_amx(void)
{
    static atomic_int known;
    return once(&known, ask_for_amx);
}

/* Linux gives the 8 KB that a thread's tiles take to processes that have asked for them, once and for all threads; from then
 * on it refuses alternate signal stacks on which these would not fit. */
static int ask_for_tiles(void) { return !syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA); }
#else
static int ask_for_tiles(void) { return 0; }
#endif

#define TARGET(name, flags, cpu) WHEN(FR_BUILT_##name, static int runs_##name(void) { return (cpu); })
#include "targets/targets.def"

#define TABLES(name) &fr_##name##_f32, &fr_##name##_f64
static const Target targets[] = {
#define TARGET(name, flags, cpu) WHEN(FR_BUILT_##name, {#name, TABLES(name), NULL, runs_##name, 0},)
#define UNIT_TARGET(name, flags, of, cpu) WHEN(FR_BUILT_##name, {#name, TABLES(of), &fr_##name##_unit, runs_##name, 0},)
#define TEST_TARGET(name, like, cpu) WHEN(FR_BUILT_##name, {#name, TABLES(name), NULL, runs_##name, 1},)
#include "targets/targets.def"
};

enum { TARGETS = sizeof targets / sizeof *targets };

static const Target *find(int i)
{
    for (int t = 0; t < TARGETS; t++)
        if (targets[t].runs_here() && i-- == 0)
            return &targets[t];
    return NULL;
}

const char *fr_isa_name(int i)
{
    const Target *t = find(i);
    return t ? t->isa : NULL;
}

int fr_isa_hidden(int i) { return find(i)->hidden; }

static const Target *named(const char *isa)
{
    const Target *t;
    for (int i = 0; (t = find(i)); i++)
        if (!strcmp(t->isa, isa))
            return t;
    return NULL;
}

const FrKernels *fr_kernels(const char *isa, int size)
{
    const Target *t = named(isa);
    return !t ? NULL : size == 4 ? t->f32 : size == 8 ? t->f64 : NULL;
}

const FrUnit *fr_unit(const char *isa, int size)
{
    static atomic_int known;
    const Target *t = named(isa);
    return t && t->unit && size == 4 && once(&known, ask_for_tiles) ? t->unit : NULL;
}
