/* AVX-512 F, DQ, BW, VL: 512-bit vectors, 32 registers, lane masks. */
#include <immintrin.h>
#include <stdint.h>

#define VREGS 32
#define V_HAS_SCALE2

FR_INLINE void v_prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T1); }

#ifdef FR_DOUBLE

#define VL 8
typedef __m512d vec;
typedef __mmask8 vmask;

FR_INLINE vmask v_first_n(int n) { return (vmask)((1u << n) - 1); }

FR_INLINE vec v_load(const real *p) { return _mm512_loadu_pd(p); }
FR_INLINE void v_store(real *p, vec v) { _mm512_storeu_pd(p, v); }
FR_INLINE vec v_load_n(const real *p, int n) { return _mm512_maskz_loadu_pd(v_first_n(n), p); }
FR_INLINE void v_store_n(real *p, vec v, int n) { _mm512_mask_storeu_pd(p, v_first_n(n), v); }
FR_INLINE vec v_set(real x) { return _mm512_set1_pd(x); }
FR_INLINE vec v_bcast(const real *p) { return _mm512_set1_pd(*p); }
FR_INLINE vec v_zero(void) { return _mm512_setzero_pd(); }

FR_INLINE vec v_add(vec a, vec b) { return _mm512_add_pd(a, b); }
FR_INLINE vec v_sub(vec a, vec b) { return _mm512_sub_pd(a, b); }
FR_INLINE vec v_mul(vec a, vec b) { return _mm512_mul_pd(a, b); }
FR_INLINE vec v_div(vec a, vec b) { return _mm512_div_pd(a, b); }
FR_INLINE vec v_sqrt(vec a) { return _mm512_sqrt_pd(a); }
FR_INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_pd(a, b, c); }
FR_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_pd(a, b, c); }
FR_INLINE vec v_max(vec a, vec b) { return _mm512_max_pd(a, b); }
FR_INLINE vec v_min(vec a, vec b) { return _mm512_min_pd(a, b); }
FR_INLINE vec v_neg(vec a) { return _mm512_xor_pd(a, _mm512_set1_pd(-0.0)); }
FR_INLINE vec v_abs(vec a) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), a); }

/* 0xCA: bits of m where the first operand is set, of s elsewhere. */
FR_INLINE vec v_copysign(vec m, vec s)
{
    return _mm512_castsi512_pd(_mm512_ternarylogic_epi64(
        _mm512_set1_epi64(INT64_MAX), _mm512_castpd_si512(m), _mm512_castpd_si512(s), 0xCA));
}

FR_INLINE real v_sum(vec v)
{
    __m256d a = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    __m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

FR_INLINE vec v_pow2(vec t)
{
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(t), 52));
}

FR_INLINE vec v_round(vec x)
{
    return _mm512_roundscale_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

FR_INLINE vec v_scale2(vec x, vec n) { return _mm512_scalef_pd(x, n); }
FR_INLINE vec v_scale2_low(vec x, vec n) { return _mm512_scalef_pd(x, n); }

FR_INLINE vmask v_lt(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
FR_INLINE vmask v_gt(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
FR_INLINE vmask v_ge(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ); }
FR_INLINE vec v_select(vmask m, vec a, vec b) { return _mm512_mask_blend_pd(m, b, a); }

#else

#define VL 16
typedef __m512 vec;
typedef __mmask16 vmask;

FR_INLINE vmask v_first_n(int n) { return (vmask)((1u << n) - 1); }

FR_INLINE vec v_load(const real *p) { return _mm512_loadu_ps(p); }
FR_INLINE void v_store(real *p, vec v) { _mm512_storeu_ps(p, v); }
FR_INLINE vec v_load_n(const real *p, int n) { return _mm512_maskz_loadu_ps(v_first_n(n), p); }
FR_INLINE void v_store_n(real *p, vec v, int n) { _mm512_mask_storeu_ps(p, v_first_n(n), v); }
FR_INLINE vec v_set(real x) { return _mm512_set1_ps(x); }
FR_INLINE vec v_bcast(const real *p) { return _mm512_set1_ps(*p); }
FR_INLINE vec v_zero(void) { return _mm512_setzero_ps(); }

FR_INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
FR_INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
FR_INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
FR_INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
FR_INLINE vec v_sqrt(vec a) { return _mm512_sqrt_ps(a); }
FR_INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
FR_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
FR_INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
FR_INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
FR_INLINE vec v_neg(vec a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
FR_INLINE vec v_abs(vec a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }

/* 0xCA: bits of m where the first operand is set, of s elsewhere. */
FR_INLINE vec v_copysign(vec m, vec s)
{
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        _mm512_set1_epi32(INT32_MAX), _mm512_castps_si512(m), _mm512_castps_si512(s), 0xCA));
}

/* The reciprocal to 2^-14, then one residual correction of the quotient: 2^-28 before rounding.  3 cycles
 * where a division takes 10; doubles need two steps more and gain nothing. */
#define V_HAS_RATIO
FR_INLINE vec v_ratio(vec n, vec d)
{
    vec r = _mm512_rcp14_ps(d);
    vec q = v_mul(n, r);
    return v_fma(v_fnma(d, q, n), r, q);
}

FR_INLINE real v_sum(vec v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

FR_INLINE vec v_pow2(vec t)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23));
}

FR_INLINE vec v_round(vec x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

FR_INLINE vec v_scale2(vec x, vec n) { return _mm512_scalef_ps(x, n); }
FR_INLINE vec v_scale2_low(vec x, vec n) { return _mm512_scalef_ps(x, n); }

FR_INLINE vmask v_lt(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
FR_INLINE vmask v_gt(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
FR_INLINE vmask v_ge(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
FR_INLINE vec v_select(vmask m, vec a, vec b) { return _mm512_mask_blend_ps(m, b, a); }

#endif
