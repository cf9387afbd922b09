#include "dispatch.h"

#include <string.h>

/* targets.def as a table of what this build has: lines of targets that were left out vanish. */
#define JOIN(a, b) a##b
#define CALL(macro, ...) macro(__VA_ARGS__)
#define WHEN_0(...)
#define WHEN_1(...) __VA_ARGS__
#define WHEN_(built) JOIN(WHEN_, built)
#define WHEN(built, ...) CALL(WHEN_(built), __VA_ARGS__)

#define TARGET(name, flags, cpu) WHEN(FR_BUILT_##name, extern const FrKernels fr_##name##_f32, fr_##name##_f64;)
#include "targets/targets.def"

typedef struct Target {
    const FrKernels *f32, *f64;
    int (*runs_here)(void), hidden;
} Target;

#define TARGET(name, flags, cpu) WHEN(FR_BUILT_##name, static int runs_##name(void) { return (cpu); })
#include "targets/targets.def"

static const Target targets[] = {
#define TARGET(name, flags, cpu) WHEN(FR_BUILT_##name, {&fr_##name##_f32, &fr_##name##_f64, runs_##name, 0},)
#define TEST_TARGET(name, like, cpu) WHEN(FR_BUILT_##name, {&fr_##name##_f32, &fr_##name##_f64, runs_##name, 1},)
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
    return t ? t->f32->isa : NULL;
}

int fr_isa_hidden(int i) { return find(i)->hidden; }

const FrKernels *fr_kernels(const char *isa, int size)
{
    const Target *t;
    for (int i = 0; (t = find(i)); i++)
        if (!strcmp(t->f32->isa, isa))
            return size == 4 ? t->f32 : size == 8 ? t->f64 : NULL;
    return NULL;
}
