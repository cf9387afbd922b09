/* Plain C: a vector of one lane.  The fallback on any CPU, and the readable definition of every word.
 * v_fma is a product and a sum: without FMA hardware libm's fma() would cost some 30 times as much. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define VL 1
#define VREGS 16

typedef real vec;
typedef int vmask;

FR_INLINE vec v_load(const real *p) { return *p; }
FR_INLINE void v_store(real *p, vec v) { *p = v; }
FR_INLINE vec v_load_n(const real *p, int n) { return n > 0 ? *p : 0; }
FR_INLINE void v_store_n(real *p, vec v, int n) { if (n > 0) *p = v; }
FR_INLINE vec v_set(real x) { return x; }
FR_INLINE vec v_bcast(const real *p) { return *p; }
FR_INLINE vec v_zero(void) { return 0; }

FR_INLINE void v_prefetch(const void *p)
{
#ifdef __GNUC__
    __builtin_prefetch(p, 0, 2);
#else
    (void)p;
#endif
}

FR_INLINE vec v_add(vec a, vec b) { return a + b; }
FR_INLINE vec v_sub(vec a, vec b) { return a - b; }
FR_INLINE vec v_mul(vec a, vec b) { return a * b; }
FR_INLINE vec v_div(vec a, vec b) { return a / b; }
FR_INLINE vec v_fma(vec a, vec b, vec c) { return a * b + c; }
FR_INLINE vec v_fnma(vec a, vec b, vec c) { return c - a * b; }
FR_INLINE vec v_max(vec a, vec b) { return a > b ? a : b; }
FR_INLINE vec v_min(vec a, vec b) { return a < b ? a : b; }
FR_INLINE vec v_neg(vec a) { return -a; }
FR_INLINE vec v_sum(vec v) { return v; }

FR_INLINE vmask v_lt(vec a, vec b) { return a < b; }
FR_INLINE vmask v_gt(vec a, vec b) { return a > b; }
FR_INLINE vmask v_ge(vec a, vec b) { return a >= b; }
FR_INLINE vec v_select(vmask m, vec a, vec b) { return m ? a : b; }

#ifdef FR_DOUBLE
FR_INLINE vec v_abs(vec a) { return fabs(a); }
FR_INLINE vec v_sqrt(vec a) { return sqrt(a); }
FR_INLINE vec v_copysign(vec m, vec s) { return copysign(m, s); }

FR_INLINE vec v_pow2(vec t)
{
    uint64_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits <<= 52;
    memcpy(&t, &bits, sizeof t);
    return t;
}
#else
FR_INLINE vec v_abs(vec a) { return fabsf(a); }
FR_INLINE vec v_sqrt(vec a) { return sqrtf(a); }
FR_INLINE vec v_copysign(vec m, vec s) { return copysignf(m, s); }

FR_INLINE vec v_pow2(vec t)
{
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits <<= 23;
    memcpy(&t, &bits, sizeof t);
    return t;
}
#endif

/* Adding 2^23 (2^52) leaves no fraction bits; from there on every number is an integer already. */
FR_INLINE vec v_round(vec x)
{
#ifdef FR_DOUBLE
    const real big = 0x1p52;
#else
    const real big = 0x1p23f;
#endif
    vec a = v_abs(x);
    return a < big ? v_copysign((a + big) - big, x) : x;
}
