/* What memory holds against what is computed with: bfloat16 and float16 <-> float, a vector or one element at a time. */
#ifndef FASTSOFTMAX_STORAGE_H
#define FASTSOFTMAX_STORAGE_H

#include "vec.h"

typedef struct { uint16_t bits; } bf16;
typedef struct { uint16_t bits; } f16;

INLINE vu widen(const void *x) {
    vh h;
    memcpy(&h, x, sizeof h);
    return __builtin_convertvector(h, vu);
}
INLINE void narrow(void *x, vu bits) {
    vh h = __builtin_convertvector(bits, vh);
    memcpy(x, &h, sizeof h);
}

INLINE vf load_f32(const float *x) { vf v; memcpy(&v, x, sizeof v); return v; }
INLINE void store_f32(float *x, vf v) { memcpy(x, &v, sizeof v); }
INLINE vd load_f64(const double *x) { vd v; memcpy(&v, x, sizeof v); return v; }
INLINE void store_f64(double *x, vd v) { memcpy(x, &v, sizeof v); }

INLINE vf load_bf16(const bf16 *x) { return (vf)(widen(x) << 16); }
/* round to nearest even by an addend below the cut; a NaN is kept one by its quiet bit */
INLINE void store_bf16(bf16 *x, vf v) {
    vu bits = (vu)v, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, nan = (bits >> 16) | 0x40;
    vu is_nan = (vu)(v != v);
    narrow(x, (nan & is_nan) | (rounded & ~is_nan));
}

#if VEC_BYTES == 64
INLINE vf load_f16(const f16 *x) { return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x)); }
INLINE void store_f16(f16 *x, vf v) { _mm256_storeu_si256((__m256i *)x, _mm512_cvtps_ph((__m512)v, 0)); }
#elif VEC_BYTES == 32
INLINE vf load_f16(const f16 *x) { return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x)); }
INLINE void store_f16(f16 *x, vf v) { _mm_storeu_si128((__m128i *)x, _mm256_cvtps_ph((__m256)v, 0)); }
#else
/* The exponent is moved by a product with 2^112 (exact, subnormals included); inf and NaN get theirs back after. */
INLINE vf load_f16(const f16 *x) {
    vu h = widen(x), top = (vu)((h & 0x7c00) == 0x7c00) & 0x7f800000;
    vf v = (vf)((h & 0x7fff) << 13) * 0x1p112f;
    return (vf)((vu)v | top | ((h & 0x8000) << 16));
}
/* Normal results round by an addend; those below 2^-14 by adding 0.5, whose last bit is a float16's smallest. */
INLINE void store_f16(f16 *x, vf v) {
    vu bits = (vu)v, sign = bits & 0x80000000u, a = bits ^ sign;
    vu normal = (a - 0x38000000 + 0xfff + ((a >> 13) & 1)) >> 13;
    vu below = (vu)((vf)a + 0.5f) - 0x3f000000;
    vu is_below = (vu)(a < 0x38800000), is_over = (vu)(a >= 0x477ff000), is_nan = (vu)(a > 0x7f800000);
    vu h = (below & is_below) | (normal & ~is_below);
    h = (0x7c00 & is_over) | (h & ~is_over);
    h = ((0x7e00 | ((a >> 13) & 0x3ff)) & is_nan) | (h & ~is_nan);
    narrow(x, h | (sign >> 16));
}
#endif

#endif
