/* AVX2 and FMA: 256-bit vectors, 16 registers. */
#include <immintrin.h>
#include <stdint.h>

#define VREGS 16

FR_INLINE void v_prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T1); }

#ifdef FR_DOUBLE

#define VL 4
typedef __m256d vec;
typedef __m256d vmask;

/* A window into ones and zeros: n lanes on, the rest off.  Masked-off lanes never fault. */
FR_INLINE __m256i v_first_n(int n)
{
    static const int64_t ones[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)(ones + 4 - n));
}

FR_INLINE vec v_load(const real *p) { return _mm256_loadu_pd(p); }
FR_INLINE void v_store(real *p, vec v) { _mm256_storeu_pd(p, v); }
FR_INLINE vec v_load_n(const real *p, int n) { return _mm256_maskload_pd(p, v_first_n(n)); }
FR_INLINE void v_store_n(real *p, vec v, int n) { _mm256_maskstore_pd(p, v_first_n(n), v); }
FR_INLINE vec v_set(real x) { return _mm256_set1_pd(x); }
FR_INLINE vec v_bcast(const real *p) { return _mm256_broadcast_sd(p); }
FR_INLINE vec v_zero(void) { return _mm256_setzero_pd(); }

FR_INLINE vec v_add(vec a, vec b) { return _mm256_add_pd(a, b); }
FR_INLINE vec v_sub(vec a, vec b) { return _mm256_sub_pd(a, b); }
FR_INLINE vec v_mul(vec a, vec b) { return _mm256_mul_pd(a, b); }
FR_INLINE vec v_div(vec a, vec b) { return _mm256_div_pd(a, b); }
FR_INLINE vec v_sqrt(vec a) { return _mm256_sqrt_pd(a); }
FR_INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_pd(a, b, c); }
FR_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_pd(a, b, c); }
FR_INLINE vec v_max(vec a, vec b) { return _mm256_max_pd(a, b); }
FR_INLINE vec v_min(vec a, vec b) { return _mm256_min_pd(a, b); }
FR_INLINE vec v_neg(vec a) { return _mm256_xor_pd(a, _mm256_set1_pd(-0.0)); }
FR_INLINE vec v_abs(vec a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }

FR_INLINE vec v_copysign(vec m, vec s)
{
    return _mm256_or_pd(v_abs(m), _mm256_and_pd(_mm256_set1_pd(-0.0), s));
}

FR_INLINE real v_sum(vec v)
{
    __m128d a = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(a, _mm_unpackhi_pd(a, a)));
}

FR_INLINE vec v_pow2(vec t)
{
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(t), 52));
}

FR_INLINE vec v_round(vec x) { return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

FR_INLINE vmask v_lt(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
FR_INLINE vmask v_gt(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_GT_OQ); }
FR_INLINE vmask v_ge(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_GE_OQ); }
FR_INLINE vec v_select(vmask m, vec a, vec b) { return _mm256_blendv_pd(b, a, m); }

#else

#define VL 8
typedef __m256 vec;
typedef __m256 vmask;

/* A window into ones and zeros: n lanes on, the rest off.  Masked-off lanes never fault. */
FR_INLINE __m256i v_first_n(int n)
{
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)(ones + 8 - n));
}

FR_INLINE vec v_load(const real *p) { return _mm256_loadu_ps(p); }
FR_INLINE void v_store(real *p, vec v) { _mm256_storeu_ps(p, v); }
FR_INLINE vec v_load_n(const real *p, int n) { return _mm256_maskload_ps(p, v_first_n(n)); }
FR_INLINE void v_store_n(real *p, vec v, int n) { _mm256_maskstore_ps(p, v_first_n(n), v); }
FR_INLINE vec v_set(real x) { return _mm256_set1_ps(x); }
FR_INLINE vec v_bcast(const real *p) { return _mm256_broadcast_ss(p); }
FR_INLINE vec v_zero(void) { return _mm256_setzero_ps(); }

FR_INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
FR_INLINE vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
FR_INLINE vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
FR_INLINE vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
FR_INLINE vec v_sqrt(vec a) { return _mm256_sqrt_ps(a); }
FR_INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
FR_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
FR_INLINE vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
FR_INLINE vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
FR_INLINE vec v_neg(vec a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
FR_INLINE vec v_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }

FR_INLINE vec v_copysign(vec m, vec s)
{
    return _mm256_or_ps(v_abs(m), _mm256_and_ps(_mm256_set1_ps(-0.0f), s));
}

FR_INLINE real v_sum(vec v)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

FR_INLINE vec v_pow2(vec t)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
}

FR_INLINE vec v_round(vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

FR_INLINE vmask v_lt(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
FR_INLINE vmask v_gt(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
FR_INLINE vmask v_ge(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
FR_INLINE vec v_select(vmask m, vec a, vec b) { return _mm256_blendv_ps(b, a, m); }

#endif
