/* What memory holds against what is computed with: bfloat16 and float16 <-> float, a vector or one element at a time. */
#ifndef FASTSOFTMAX_STORAGE_H
#define FASTSOFTMAX_STORAGE_H

#include <Python.h>
#include "caches.h"
#include "vec_math.h"

typedef struct { uint16_t bits; } bf16;
typedef struct { uint16_t bits; } f16;

/* 16-bit integers to 32 and back, in intrinsics where __builtin_convertvector would go through halves */
#if VEC_BYTES == 64
INLINE vu widen(const void *x) { return (vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256(x)); }
INLINE void narrow(void *x, vu bits) { _mm256_storeu_si256(x, _mm512_cvtepi32_epi16((__m512i)bits)); }
#elif VEC_BYTES == 32
INLINE vu widen(const void *x) { return (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128(x)); }
INLINE void narrow(void *x, vu bits) { /* both halves pack into the low 64 bits of each 128; gather these */
    __m256i packed = _mm256_packus_epi32((__m256i)bits, (__m256i)bits);
    _mm_storeu_si128(x, _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}
#else
INLINE vu widen(const void *x) { vh h; memcpy(&h, x, sizeof h); return __builtin_convertvector(h, vu); }
INLINE void narrow(void *x, vu bits) { vh h = __builtin_convertvector(bits, vh); memcpy(x, &h, sizeof h); }
#endif

/* the first n bytes of a vector's; on AVX-512 by whole vectors and a mask, for stores of parts delay what reads them whole */
#if VEC_BYTES == 64
INLINE void load_few(void *part, const void *from, size_t n) {
    __mmask64 mask = ((__mmask64)1 << n) - 1;
    _mm512_storeu_si512(part, _mm512_mask_loadu_epi8(_mm512_loadu_si512(part), mask, from));
}
INLINE void store_few(void *to, const void *part, size_t n) {
    _mm512_mask_storeu_epi8(to, ((__mmask64)1 << n) - 1, _mm512_loadu_si512(part));
}
INLINE void copy_few(void *to, const void *from, size_t n) {
    __mmask64 mask = ((__mmask64)1 << n) - 1;
    _mm512_mask_storeu_epi8(to, mask, _mm512_maskz_loadu_epi8(mask, from));
}
#else
INLINE void copy_few(void *to, const void *from, size_t n) { memcpy(to, from, n); }
INLINE void load_few(void *part, const void *from, size_t n) { memcpy(part, from, n); }
INLINE void store_few(void *to, const void *part, size_t n) { memcpy(to, part, n); }
#endif

INLINE vf load_f32(const float *x) { vf v; memcpy(&v, x, sizeof v); return v; }
INLINE void store_f32(float *x, vf v) { memcpy(x, &v, sizeof v); }
INLINE vd load_f64(const double *x) { vd v; memcpy(&v, x, sizeof v); return v; }
INLINE void store_f64(double *x, vd v) { memcpy(x, &v, sizeof v); }

/* Round to nearest even by an addend below the cut. A NaN of computed values is safe from it: its lower half is 0. */
INLINE vf load_bf16(const bf16 *x) { return (vf)(widen(x) << 16); }
INLINE vu rounded_bf16(vf v) { return (vu)v + 0x7fff + (((vu)v >> 16) & 1); }
INLINE void store_bf16(bf16 *x, vf v) { narrow(x, rounded_bf16(v) >> 16); }

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

/* all ones in the lanes lo <= i < hi; loads and stores of these lanes alone, what is beyond them is not touched */
INLINE vi between_f(Py_ssize_t lo, Py_ssize_t hi) {
    vi lane;
    for (int i = 0; i < W_F; i++) lane[i] = i;
    int32_t from = lo > W_F ? W_F : lo < 0 ? 0 : (int32_t)lo, to = hi > W_F ? W_F : hi < 0 ? 0 : (int32_t)hi;
    return (vi)(lane >= from) & (vi)(lane < to);
}
INLINE vl between_d(Py_ssize_t lo, Py_ssize_t hi) {
    vl lane;
    for (int i = 0; i < W_D; i++) lane[i] = i;
    return (vl)(lane >= (int64_t)lo) & (vl)(lane < (int64_t)hi);
}
#if VEC_BYTES == 64
INLINE vf load_masked_f(const float *x, vi m) { return (vf)_mm512_maskz_loadu_ps(_mm512_movepi32_mask((__m512i)m), x); }
INLINE vd load_masked_d(const double *x, vl m) { return (vd)_mm512_maskz_loadu_pd(_mm512_movepi64_mask((__m512i)m), x); }
INLINE void store_masked_f(float *x, vi m, vf v) { _mm512_mask_storeu_ps(x, _mm512_movepi32_mask((__m512i)m), (__m512)v); }
INLINE void store_masked_d(double *x, vl m, vd v) { _mm512_mask_storeu_pd(x, _mm512_movepi64_mask((__m512i)m), (__m512d)v); }
#elif VEC_BYTES == 32
INLINE vf load_masked_f(const float *x, vi m) { return (vf)_mm256_maskload_ps(x, (__m256i)m); }
INLINE vd load_masked_d(const double *x, vl m) { return (vd)_mm256_maskload_pd(x, (__m256i)m); }
INLINE void store_masked_f(float *x, vi m, vf v) { _mm256_maskstore_ps(x, (__m256i)m, (__m256)v); }
INLINE void store_masked_d(double *x, vl m, vd v) { _mm256_maskstore_pd(x, (__m256i)m, (__m256d)v); }
#else
INLINE vf load_masked_f(const float *x, vi m) { vf v = {0}; for (int i = 0; i < W_F; i++) if (m[i]) v[i] = x[i]; return v; }
INLINE vd load_masked_d(const double *x, vl m) { vd v = {0}; for (int i = 0; i < W_D; i++) if (m[i]) v[i] = x[i]; return v; }
INLINE void store_masked_f(float *x, vi m, vf v) { for (int i = 0; i < W_F; i++) if (m[i]) x[i] = v[i]; }
INLINE void store_masked_d(double *x, vl m, vd v) { for (int i = 0; i < W_D; i++) if (m[i]) x[i] = v[i]; }
#endif

/* stores past the caches, for aligned vectors that nobody reads soon; storage formats convert first */
#if VEC_BYTES == 64
INLINE void stream_f32(float *x, vf v) { _mm512_stream_ps(x, (__m512)v); }
INLINE void stream_f64(double *x, vd v) { _mm512_stream_pd(x, (__m512d)v); }
INLINE void stream_half(void *x, const void *half) { _mm256_stream_si256(x, _mm256_loadu_si256(half)); }
#elif VEC_BYTES == 32
INLINE void stream_f32(float *x, vf v) { _mm256_stream_ps(x, (__m256)v); }
INLINE void stream_f64(double *x, vd v) { _mm256_stream_pd(x, (__m256d)v); }
INLINE void stream_half(void *x, const void *half) { _mm_stream_si128(x, _mm_loadu_si128(half)); }
#else
INLINE void stream_f32(float *x, vf v) { store_f32(x, v); }
INLINE void stream_f64(double *x, vd v) { store_f64(x, v); }
INLINE void stream_half(void *x, const void *half) { memcpy(x, half, VEC_BYTES / 2); }
#endif
INLINE void stream_bf16(bf16 *x, vf v) { bf16 half[W_F]; store_bf16(half, v); stream_half(x, half); }
INLINE void stream_f16(f16 *x, vf v) { f16 half[W_F]; store_f16(half, v); stream_half(x, half); }

/* Two vectors at once, `mixed`: which logit is in which lane is left to what costs least, the same in loads and stores. */
#define MIXED(S, T, V, W) \
    INLINE void load_mixed_##S(const T *x, V *v) { v[0] = load_##S(x), v[1] = load_##S(x + W); } \
    INLINE void store_mixed_##S(T *x, const V *v) { store_##S(x, v[0]), store_##S(x + W, v[1]); } \
    INLINE void stream_mixed_##S(T *x, const V *v) { stream_##S(x, v[0]), stream_##S(x + W, v[1]); }
MIXED(f64, double, vd, W_D)
MIXED(f32, float, vf, W_F)
MIXED(f16, f16, vf, W_F)
/* even and odd logits apart: a shift and a mask instead of shuffles, which compete with FMA for its ports */
INLINE void load_mixed_bf16(const bf16 *x, vf *v) {
    vu both;
    memcpy(&both, x, sizeof both);
    v[0] = (vf)(both << 16), v[1] = (vf)(both & 0xffff0000);
}
INLINE vu mixed_bf16(const vf *v) { return (rounded_bf16(v[0]) >> 16) | (rounded_bf16(v[1]) & 0xffff0000); }
INLINE void store_mixed_bf16(bf16 *x, const vf *v) { vu both = mixed_bf16(v); memcpy(x, &both, sizeof both); }
INLINE void stream_mixed_bf16(bf16 *x, const vf *v) { stream_f32((float *)x, (vf)mixed_bf16(v)); }

/* The extremes of 16-bit floats by their bits, twice as many at once as when they are computed with: as signed integers the
 * positive ones are in order, as unsigned ones the negative ones are, backwards, and NaN is beyond infinity (Zen 4: the maximum
 * of a block 1.5 -> 0.6 cycles a vector of floats, with the minimum). */
#if VEC_BYTES >= 32
#define HAS_EXTREMES 1
typedef uint16_t packed __attribute__((vector_size(VEC_BYTES)));
typedef struct { packed most, farthest, nearest; } fs_extremes;
#if VEC_BYTES == 64
#define PACKED(name, a, b) ((packed)_mm512_##name((__m512i)(a), (__m512i)(b)))
#else
#define PACKED(name, a, b) ((packed)_mm256_##name((__m256i)(a), (__m256i)(b)))
#endif
INLINE packed load_packed(const void *x) {
    packed v;
    memcpy(&v, x, sizeof v);
    __asm__("" : "+v"(v)); /* loaded once: gcc 12 would load it for each use, and there is one such load a cycle */
    return v;
}
INLINE fs_extremes extremes_from(packed x) { return (fs_extremes){x, x, x}; }
INLINE void see(fs_extremes *seen, packed x) {
    seen->most = PACKED(max_epi16, seen->most, x);
    seen->farthest = PACKED(max_epu16, seen->farthest, x);
    seen->nearest = PACKED(min_epu16, seen->nearest, x);
}
/* the smallest of unsigned integers */
INLINE uint16_t smallest(packed x) {
#if VEC_BYTES == 64
    __m256i half = _mm256_min_epu16(_mm512_castsi512_si256((__m512i)x), _mm512_extracti64x4_epi64((__m512i)x, 1));
#else
    __m256i half = (__m256i)x;
#endif
    __m128i quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return (uint16_t)_mm_extract_epi16(_mm_minpos_epu16(quarter), 0);
}
/* the least and the largest, as bits; 0 where there is a NaN. `inf`: the bits of +inf */
INLINE int extremes_of(const fs_extremes *seen, uint16_t inf, uint16_t *least, uint16_t *most) {
    uint16_t top = smallest(seen->most ^ 0x7fff) ^ 0x7fff;
    uint16_t farthest = ~smallest(~seen->farthest), nearest = smallest(seen->nearest);
    *most = top < 0x8000 ? top : nearest;    /* of negative numbers alone: that nearest to 0 */
    *least = farthest >= 0x8000 ? farthest : nearest;
    return (top <= inf || top >= 0x8000) && farthest <= (inf | 0x8000);
}
INLINE float value_of_bf16(uint16_t bits) { uint32_t wide = (uint32_t)bits << 16; float v; memcpy(&v, &wide, sizeof v); return v; }
INLINE float value_of_f16(uint16_t bits) { return _cvtsh_ss(bits); }
#else
#define HAS_EXTREMES 0
#endif
#define inf_bits_bf16 0x7f80
#define inf_bits_f16 0x7c00

/* two vectors as bfloat16 by an instruction of CPUs that have it: subnormal numbers become 0 */
#if VEC_BYTES == 64
#define BF16_CPU __attribute__((target("avx512bf16")))
INLINE int is_bf16_cpu(void) { return __builtin_cpu_supports("avx512bf16"); }
INLINE BF16_CPU vu converted_bf16(const vf *v) { /* even and odd logits, as they are `mixed` */
    static const uint16_t order[] __attribute__((aligned(64))) = {
        0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)v[1], (__m512)v[0]);
    return (vu)_mm512_permutexvar_epi16(_mm512_load_si512(order), both);
}
#else
INLINE int is_bf16_cpu(void) { return 0; }
#endif

#endif
