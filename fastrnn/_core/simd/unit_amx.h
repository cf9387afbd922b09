/* Intel AMX: eight tiles of 16 rows by 64 bytes, and products of bfloat16 pairs that are added up in float. The words of a
 * matrix unit; tiles are named by literal numbers.
 *
 *   u_begin() u_end()       before the first tile of a call, after its last one; per thread
 *   u_zero(t)               tile t = 0
 *   u_load(t, p, step)      its 16 rows from p on, `step` bytes apart; u_store likewise
 *   u_fence()               what was stored before is there for the tiles loaded after
 *   u_dot(c, a, b)          c[i][j] += sum over k < 16 of a[i][k].low * b[k][j].low + a[i][k].high * b[k][j].high
 *
 *   pairs                   16 pairs of bfloat16, (low, high), of one row of a tile
 *   u_split(low, high, p)   p[0], p[1], p[2]: each of the 16 + 16 floats as the sum of three bfloat16. The first two are
 *                           rounded, so that the rest has at most 16, then 8 bits, and the sum is the float, exactly; below
 *                           2^-110 bits are lost, since the unit takes denormals for 0. Infinity, and what rounds to it, from
 *                           3.396e38 on, becomes NaN.
 *   u_put(p, pairs)         stores one row
 *   u_transpose(v)          16 vectors as the rows of a matrix become its columns
 */
#include "vec_avx512.h"

typedef __m512i pairs;

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} UnitShape;

FR_INLINE void u_begin(void)
{
    static const UnitShape whole = {
        .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&whole);
}

FR_INLINE void u_end(void) { _tile_release(); }

/* The compiler does not know what a tile load reads. */
#define u_fence() __asm__ volatile("" ::: "memory")
#define u_zero(t) _tile_zero(t)
#define u_load(t, p, step) _tile_loadd(t, p, step)
#define u_store(t, p, step) _tile_stored(t, p, step)
#define u_dot(c, a, b) _tile_dpbf16ps(c, a, b)

/* The nearest bfloat16 as a float: away from zero where there are two. */
FR_INLINE vec u_nearest(vec x)
{
    const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32((int)0xffff0000)));
}

/* The upper halves of low and of high. 0xF8: a | (b & c). */
FR_INLINE pairs u_pair(vec low, vec high)
{
    return _mm512_ternarylogic_epi32(_mm512_srli_epi32(_mm512_castps_si512(low), 16), _mm512_castps_si512(high),
                                     _mm512_set1_epi32((int)0xffff0000), 0xF8);
}

FR_INLINE void u_split(vec low, vec high, pairs p[3])
{
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const vec l = u_nearest(low), h = u_nearest(high);
        p[i] = u_pair(l, h);
        low = v_sub(low, l);
        high = v_sub(high, h);
    }
    p[2] = u_pair(low, high);
}

FR_INLINE void u_put(void *p, pairs v) { _mm512_store_si512(p, v); }

FR_INLINE void u_transpose(vec v[16])
{
    __m512 t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            const __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            v[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            v[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    /* v[4 q + c]: column c, and 4, 8, 12 further on, of rows 4 q ... 4 q + 3 */
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m512 a = _mm512_shuffle_f32x4(v[c], v[4 + c], 0x88), b = _mm512_shuffle_f32x4(v[8 + c], v[12 + c], 0x88);
        const __m512 d = _mm512_shuffle_f32x4(v[c], v[4 + c], 0xdd), e = _mm512_shuffle_f32x4(v[8 + c], v[12 + c], 0xdd);
        t[c] = _mm512_shuffle_f32x4(a, b, 0x88);
        t[8 + c] = _mm512_shuffle_f32x4(a, b, 0xdd);
        t[4 + c] = _mm512_shuffle_f32x4(d, e, 0x88);
        t[12 + c] = _mm512_shuffle_f32x4(d, e, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        v[i] = t[i];
}
