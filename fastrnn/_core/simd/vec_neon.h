/* NEON of the AArch64 baseline: 128-bit vectors, 32 registers. */
#include <arm_neon.h>
#include <stdint.h>

#define VREGS 32

FR_INLINE void v_prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

#ifdef FR_DOUBLE

#define VL 2
typedef float64x2_t vec;
typedef uint64x2_t vmask;

FR_INLINE vec v_load(const real *p) { return vld1q_f64(p); }
FR_INLINE void v_store(real *p, vec v) { vst1q_f64(p, v); }
FR_INLINE vec v_set(real x) { return vdupq_n_f64(x); }
FR_INLINE vec v_bcast(const real *p) { return vld1q_dup_f64(p); }
FR_INLINE vec v_zero(void) { return vdupq_n_f64(0); }

FR_INLINE vec v_load_n(const real *p, int n)
{
    if (n >= 2) return vld1q_f64(p);
    return n == 1 ? vld1q_lane_f64(p, v_zero(), 0) : v_zero();
}

FR_INLINE void v_store_n(real *p, vec v, int n)
{
    if (n >= 2) vst1q_f64(p, v);
    else if (n == 1) vst1q_lane_f64(p, v, 0);
}

FR_INLINE vec v_add(vec a, vec b) { return vaddq_f64(a, b); }
FR_INLINE vec v_sub(vec a, vec b) { return vsubq_f64(a, b); }
FR_INLINE vec v_mul(vec a, vec b) { return vmulq_f64(a, b); }
FR_INLINE vec v_div(vec a, vec b) { return vdivq_f64(a, b); }
FR_INLINE vec v_sqrt(vec a) { return vsqrtq_f64(a); }
FR_INLINE vec v_fma(vec a, vec b, vec c) { return vfmaq_f64(c, a, b); }
FR_INLINE vec v_fnma(vec a, vec b, vec c) { return vfmsq_f64(c, a, b); }
FR_INLINE vec v_neg(vec a) { return vnegq_f64(a); }
FR_INLINE vec v_abs(vec a) { return vabsq_f64(a); }
FR_INLINE real v_sum(vec v) { return vaddvq_f64(v); }
FR_INLINE vec v_round(vec x) { return vrndnq_f64(x); }

FR_INLINE vmask v_lt(vec a, vec b) { return vcltq_f64(a, b); }
FR_INLINE vmask v_gt(vec a, vec b) { return vcgtq_f64(a, b); }
FR_INLINE vmask v_ge(vec a, vec b) { return vcgeq_f64(a, b); }
FR_INLINE vec v_select(vmask m, vec a, vec b) { return vbslq_f64(m, a, b); }
FR_INLINE vec v_copysign(vec m, vec s) { return vbslq_f64(vdupq_n_u64(INT64_MAX), m, s); }

FR_INLINE vec v_pow2(vec t)
{
    return vreinterpretq_f64_s64(vshlq_n_s64(vreinterpretq_s64_f64(t), 52));
}

#else

#define VL 4
typedef float32x4_t vec;
typedef uint32x4_t vmask;

FR_INLINE vec v_load(const real *p) { return vld1q_f32(p); }
FR_INLINE void v_store(real *p, vec v) { vst1q_f32(p, v); }
FR_INLINE vec v_set(real x) { return vdupq_n_f32(x); }
FR_INLINE vec v_bcast(const real *p) { return vld1q_dup_f32(p); }
FR_INLINE vec v_zero(void) { return vdupq_n_f32(0); }

FR_INLINE vec v_load_n(const real *p, int n)
{
    if (n >= 4) return vld1q_f32(p);
    vec v = v_zero();
    if (n & 2) v = vcombine_f32(vld1_f32(p), vget_low_f32(v));
    if (n == 3) v = vld1q_lane_f32(p + 2, v, 2);
    if (n == 1) v = vld1q_lane_f32(p, v, 0);
    return v;
}

FR_INLINE void v_store_n(real *p, vec v, int n)
{
    if (n >= 4) { vst1q_f32(p, v); return; }
    if (n & 2) vst1_f32(p, vget_low_f32(v));
    if (n == 3) vst1q_lane_f32(p + 2, v, 2);
    if (n == 1) vst1q_lane_f32(p, v, 0);
}

FR_INLINE vec v_add(vec a, vec b) { return vaddq_f32(a, b); }
FR_INLINE vec v_sub(vec a, vec b) { return vsubq_f32(a, b); }
FR_INLINE vec v_mul(vec a, vec b) { return vmulq_f32(a, b); }
FR_INLINE vec v_div(vec a, vec b) { return vdivq_f32(a, b); }
FR_INLINE vec v_sqrt(vec a) { return vsqrtq_f32(a); }
FR_INLINE vec v_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
FR_INLINE vec v_fnma(vec a, vec b, vec c) { return vfmsq_f32(c, a, b); }
FR_INLINE vec v_neg(vec a) { return vnegq_f32(a); }
FR_INLINE vec v_abs(vec a) { return vabsq_f32(a); }
FR_INLINE vec v_round(vec x) { return vrndnq_f32(x); }

FR_INLINE real v_sum(vec v)
{
    float32x2_t a = vadd_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(vpadd_f32(a, a), 0);
}

FR_INLINE vmask v_lt(vec a, vec b) { return vcltq_f32(a, b); }
FR_INLINE vmask v_gt(vec a, vec b) { return vcgtq_f32(a, b); }
FR_INLINE vmask v_ge(vec a, vec b) { return vcgeq_f32(a, b); }
FR_INLINE vec v_select(vmask m, vec a, vec b) { return vbslq_f32(m, a, b); }
FR_INLINE vec v_copysign(vec m, vec s) { return vbslq_f32(vdupq_n_u32(INT32_MAX), m, s); }

FR_INLINE vec v_pow2(vec t)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(t), 23));
}

#endif

/* Not vmaxq and vminq: those return NaN where this vocabulary returns b. */
FR_INLINE vec v_max(vec a, vec b) { return v_select(v_gt(a, b), a, b); }
FR_INLINE vec v_min(vec a, vec b) { return v_select(v_lt(a, b), a, b); }
