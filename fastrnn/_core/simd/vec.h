/* The vector vocabulary in which every kernel is written.
 *
 * A target names its header of this folder in FR_VEC, defines FR_DOUBLE or not, and includes this file.
 * A new instruction set is a new header with the words marked (*); the
 * others have a definition below in terms of those, which a header replaces where it gains.
 * This directory is the only place where intrinsics appear; it includes no Python.h.
 *
 *   real, vec, vmask       the element (float, or double with FR_DOUBLE), VL of them, VL truth values (*)
 *   VL, VREGS              lanes of a vec; vector registers, from which tile shapes follow (*)
 *
 *   v_load(p)              VL elements, any alignment (*)
 *   v_store(p, v)          VL elements, any alignment (*)
 *   v_load_n(p, n)         the first n lanes, 0 <= n <= VL, the others 0; reads nothing past p[n-1] (*)
 *   v_store_n(p, v, n)     the first n lanes, 0 <= n <= VL; touches nothing past p[n-1] (*)
 *   v_prefetch(p)          hint: the cache line of p will be read soon, bring it into L2; any address is fine (*)
 *   v_set(x)               x in every lane (*)
 *   v_bcast(p)             *p in every lane, as a memory operand where there is one (*)
 *   v_zero()               0 in every lane (*)
 *
 *   v_add v_sub v_mul v_div (a, b)    a + b, a - b, a * b, a / b, correctly rounded (*)
 *   v_sqrt(a)              its square root, correctly rounded; NaN below 0 (*)
 *   v_fma(a, b, c)         a * b + c, v_fnma(a, b, c) = c - a * b: one rounding, or two on a CPU without FMA (*)
 *   v_ratio(n, d)          n / d within 1 ULP, for |n| <= d and 1/2 <= d <= 2; NaN stays NaN
 *   v_max v_min (a, b)     the larger, the smaller; b if either is NaN, so v_max(bound, x) keeps a NaN x (*)
 *   v_neg(a) v_abs(a)      sign flipped, sign cleared, also of 0 and NaN (*)
 *   v_copysign(m, s)       |m| with the sign bit of s (*)
 *   v_sum(v)               sum of the lanes: lane i plus lane i + VL/2, then the same on each half (*)
 *
 *   V_SHIFTER              t = x + V_SHIFTER rounds x to an integer n = t - V_SHIFTER, |x| < 2^22 (2^51) (*)
 *   v_pow2(t)              2^n from that t, -126 <= n <= 127 (-1022 <= n <= 1023) (*)
 *   v_round(x)             nearest integer, ties to even, any x (*)
 *   v_scale2(x, n)         x * 2^n, n integral, |n| <= 252 (2044): inf beyond the range, denormals rounded once
 *                          if x is 0 or 2^-60 <= |x| <= 2^60; NaN stays NaN
 *   v_scale2_low(x, n)     the same, cheaper, for 1/2 <= |x| <= 2 and -189 <= n <= 62 (-1533 <= n <= 510) only
 *
 *   v_lt v_gt v_ge (a, b)  a < b, a > b, a >= b; false if either is NaN (*)
 *   v_select(m, a, b)      a where m, else b (*)
 */
#ifndef FR_VEC_H
#define FR_VEC_H

#ifdef _MSC_VER
#define FR_INLINE static __forceinline
#else
#define FR_INLINE static inline __attribute__((always_inline))
#endif

#ifdef FR_DOUBLE
typedef double real;
#define V_SHIFTER (0x1.8p52 + 1023) /* the exponent bias makes v_pow2 a single shift */
#else
typedef float real;
#define V_SHIFTER (0x1.8p23f + 127)
#endif

#include FR_VEC /* the target file's header, of this folder */

#ifndef V_HAS_RATIO
FR_INLINE vec v_ratio(vec n, vec d)
{
    return v_div(n, d);
}
#endif

#ifndef V_HAS_SCALE2
/* Two factors of about n/2 each: the first product is exact, so only the second one rounds. */
FR_INLINE vec v_scale2(vec x, vec n)
{
    const vec shifter = v_set(V_SHIFTER);
    vec half = v_fma(n, v_set((real)0.5), shifter);
    vec rest = v_add(v_sub(n, v_sub(half, shifter)), shifter);
    return v_mul(v_mul(x, v_pow2(half)), v_pow2(rest));
}

/* A variable factor kept in the normal range by a constant one, which alone rounds. */
FR_INLINE vec v_scale2_low(vec x, vec n)
{
#ifdef FR_DOUBLE
    const real up = 512, down = 0x1p-512;
#else
    const real up = 64, down = 0x1p-64f;
#endif
    return v_mul(v_mul(x, v_pow2(v_add(n, v_set(V_SHIFTER + up)))), v_set(down));
}
#endif

#endif
