/* Vectors of float and double, in GCC/Clang vector extensions: as wide as the instruction set this file is built for.
 * Arithmetic is written with plain operators; what knows the instruction set is here, but for the 16-bit conversions
 * (storage.h), transposition (transpose.h) and tables (vec_math.h). */
#ifndef FASTSOFTMAX_VEC_H
#define FASTSOFTMAX_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define VEC_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define VEC_BYTES 32
#else
#define VEC_BYTES 16
#endif

#define INLINE static inline __attribute__((always_inline))
#define W_F (VEC_BYTES / 4)
#define W_D (VEC_BYTES / 8)

typedef float vf __attribute__((vector_size(VEC_BYTES)));
typedef double vd __attribute__((vector_size(VEC_BYTES)));
typedef int32_t vi __attribute__((vector_size(VEC_BYTES)));
typedef uint32_t vu __attribute__((vector_size(VEC_BYTES)));
typedef int64_t vl __attribute__((vector_size(VEC_BYTES)));
typedef uint16_t vh __attribute__((vector_size(VEC_BYTES / 2)));

INLINE vf set_f(float x) { return x - (vf){0}; }
INLINE vd set_d(double x) { return x - (vd){0}; }

/* mask ? a : b, mask being all ones or all zeros in each lane */
INLINE vf select_f(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
INLINE vd select_d(vl mask, vd a, vd b) { return (vd)(((vl)a & mask) | ((vl)b & ~mask)); }

/* whether any lane is set */
INLINE int any_f(vi mask) {
#if VEC_BYTES == 32
    return _mm256_movemask_ps((__m256)mask);
#else
    int64_t part[VEC_BYTES / 8], any = 0;
    memcpy(part, &mask, sizeof part);
    for (int i = 0; i < VEC_BYTES / 8; i++) any |= part[i];
    return any != 0;
#endif
}
INLINE int any_d(vl mask) { return any_f((vi)mask); }

/* the lanes, as bits, where a is above b or a NaN */
#if VEC_BYTES == 64
INLINE uint32_t bits_above_f(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_NLE_UQ); }
INLINE uint32_t bits_above_d(vd a, vd b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_NLE_UQ); }
#elif VEC_BYTES == 32
INLINE uint32_t bits_above_f(vf a, vf b) { return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_NLE_UQ)); }
INLINE uint32_t bits_above_d(vd a, vd b) { return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_NLE_UQ)); }
#elif defined(__SSE2__)
INLINE uint32_t bits_above_f(vf a, vf b) { return _mm_movemask_ps(_mm_cmpnle_ps((__m128)a, (__m128)b)); }
INLINE uint32_t bits_above_d(vd a, vd b) { return _mm_movemask_pd(_mm_cmpnle_pd((__m128d)a, (__m128d)b)); }
#else
INLINE uint32_t bits_above_f(vf a, vf b) { uint32_t m = 0; for (int i = 0; i < W_F; i++) m |= (uint32_t)!(a[i] <= b[i]) << i; return m; }
INLINE uint32_t bits_above_d(vd a, vd b) { uint32_t m = 0; for (int i = 0; i < W_D; i++) m |= (uint32_t)!(a[i] <= b[i]) << i; return m; }
#endif

/* s + e where x is above b */
#if VEC_BYTES == 64
INLINE vf add_above_f(vf s, vf e, vf x, vf b) {
    return (vf)_mm512_mask_add_ps((__m512)s, _mm512_cmp_ps_mask((__m512)x, (__m512)b, _CMP_GT_OQ), (__m512)s, (__m512)e);
}
INLINE vd add_above_d(vd s, vd e, vd x, vd b) {
    return (vd)_mm512_mask_add_pd((__m512d)s, _mm512_cmp_pd_mask((__m512d)x, (__m512d)b, _CMP_GT_OQ), (__m512d)s, (__m512d)e);
}
#else
INLINE vf add_above_f(vf s, vf e, vf x, vf b) { return s + select_f((vi)(x > b), e, set_f(0)); }
INLINE vd add_above_d(vd s, vd e, vd x, vd b) { return s + select_d((vl)(x > b), e, set_d(0)); }
#endif

/* a*b, but nothing where a is 0, whatever b */
#if VEC_BYTES == 64
INLINE vf times_f(vf a, vf b) {
    return (vf)_mm512_maskz_mul_ps(_mm512_cmp_ps_mask((__m512)a, _mm512_setzero_ps(), _CMP_NEQ_UQ), (__m512)a, (__m512)b);
}
INLINE vd times_d(vd a, vd b) {
    return (vd)_mm512_maskz_mul_pd(_mm512_cmp_pd_mask((__m512d)a, _mm512_setzero_pd(), _CMP_NEQ_UQ), (__m512d)a, (__m512d)b);
}
#else
INLINE vf times_f(vf a, vf b) { return select_f((vi)(a == 0), set_f(0), a * b); }
INLINE vd times_d(vd a, vd b) { return select_d((vl)(a == 0), set_d(0), a * b); }
#endif

/* a*b + c, but c where a is 0, whatever b */
#if VEC_BYTES == 64
INLINE vf add_times_f(vf a, vf b, vf c) {
    return (vf)_mm512_mask3_fmadd_ps((__m512)a, (__m512)b, (__m512)c,
                                     _mm512_cmp_ps_mask((__m512)a, _mm512_setzero_ps(), _CMP_NEQ_UQ));
}
INLINE vd add_times_d(vd a, vd b, vd c) {
    return (vd)_mm512_mask3_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c,
                                     _mm512_cmp_pd_mask((__m512d)a, _mm512_setzero_pd(), _CMP_NEQ_UQ));
}
#else
INLINE vf add_times_f(vf a, vf b, vf c) { return times_f(a, b) + c; }
INLINE vd add_times_d(vd a, vd b, vd c) { return times_d(a, b) + c; }
#endif

/* the larger or the smaller; b where either is NaN, as MAXPS and MINPS have it */
#if VEC_BYTES == 64
INLINE vf max_f(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vd max_d(vd a, vd b) { return (vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
INLINE vf min_f(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE vd min_d(vd a, vd b) { return (vd)_mm512_min_pd((__m512d)a, (__m512d)b); }
#elif VEC_BYTES == 32
INLINE vf max_f(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vd max_d(vd a, vd b) { return (vd)_mm256_max_pd((__m256d)a, (__m256d)b); }
INLINE vf min_f(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE vd min_d(vd a, vd b) { return (vd)_mm256_min_pd((__m256d)a, (__m256d)b); }
#elif defined(__SSE2__)
INLINE vf max_f(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
INLINE vd max_d(vd a, vd b) { return (vd)_mm_max_pd((__m128d)a, (__m128d)b); }
INLINE vf min_f(vf a, vf b) { return (vf)_mm_min_ps((__m128)a, (__m128)b); }
INLINE vd min_d(vd a, vd b) { return (vd)_mm_min_pd((__m128d)a, (__m128d)b); }
#else
INLINE vf max_f(vf a, vf b) { return select_f((vi)(a > b), a, b); }
INLINE vd max_d(vd a, vd b) { return select_d((vl)(a > b), a, b); }
INLINE vf min_f(vf a, vf b) { return select_f((vi)(a < b), a, b); }
INLINE vd min_d(vd a, vd b) { return select_d((vl)(a < b), a, b); }
#endif

/* a*b + c: one rounding where the CPU has FMA */
#if VEC_BYTES == 64
INLINE vf fma_f(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE vd fma_d(vd a, vd b, vd c) { return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
#elif VEC_BYTES == 32
INLINE vf fma_f(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE vd fma_d(vd a, vd b, vd c) { return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
#else
INLINE vf fma_f(vf a, vf b, vf c) { return a * b + c; }
INLINE vd fma_d(vd a, vd b, vd c) { return a * b + c; }
#endif

/* correctly rounded */
#if VEC_BYTES == 64
INLINE vf sqrt_f(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
INLINE vd sqrt_d(vd a) { return (vd)_mm512_sqrt_pd((__m512d)a); }
#elif VEC_BYTES == 32
INLINE vf sqrt_f(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
INLINE vd sqrt_d(vd a) { return (vd)_mm256_sqrt_pd((__m256d)a); }
#elif defined(__SSE2__)
INLINE vf sqrt_f(vf a) { return (vf)_mm_sqrt_ps((__m128)a); }
INLINE vd sqrt_d(vd a) { return (vd)_mm_sqrt_pd((__m128d)a); }
#else
INLINE vf sqrt_f(vf a) { for (int i = 0; i < W_F; i++) a[i] = sqrtf(a[i]); return a; }
INLINE vd sqrt_d(vd a) { for (int i = 0; i < W_D; i++) a[i] = sqrt(a[i]); return a; }
#endif

/* the sum over the lanes of four vectors, in double and in an order of its own, always the same */
typedef float vf_half __attribute__((vector_size(VEC_BYTES / 2)));
#if VEC_BYTES == 64 /* the halves added first, as below */
INLINE double lanes_d(vd a) { return _mm512_reduce_add_pd((__m512d)a); }
INLINE double largest_f(vf a) { return _mm512_reduce_max_ps((__m512)a); }
INLINE double largest_d(vd a) { return _mm512_reduce_max_pd((__m512d)a); }
#else
#define HALVING(name, R, E, V, W, ...) \
    INLINE R name(V a) { \
        E t[W]; \
        memcpy(t, &a, sizeof t); \
        for (int n = W / 2; n > 0; n /= 2) \
            for (int i = 0; i < n; i++) t[i] = __VA_ARGS__; \
        return t[0]; \
    }
HALVING(lanes_d, double, double, vd, W_D, t[i] + t[i + n])
HALVING(largest_f, double, float, vf, W_F, t[i + n] > t[i] ? t[i + n] : t[i])
HALVING(largest_d, double, double, vd, W_D, t[i + n] > t[i] ? t[i + n] : t[i])
#endif
/* the lanes in doubles, as many vectors as it takes, and the sum of these */
#define HALVES_f 2
#define HALVES_d 1
#if VEC_BYTES == 64 /* not __builtin_convertvector, which halves once more */
INLINE void halves_f(vf a, vd *half) {
    half[0] = (vd)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)a));
    half[1] = (vd)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)a, 1));
}
#else
INLINE void halves_f(vf a, vd *half) {
    vf_half of[2];
    memcpy(of, &a, sizeof of);
    half[0] = __builtin_convertvector(of[0], vd), half[1] = __builtin_convertvector(of[1], vd);
}
#endif
INLINE void halves_d(vd a, vd *half) { half[0] = a; }
INLINE vd wide_f(vf a) {
    vd half[2];
    halves_f(a, half);
    return half[0] + half[1];
}
INLINE vd wide_d(vd a) { return a; }
INLINE double sum_f(const vf *s) { return lanes_d((wide_f(s[0]) + wide_f(s[1])) + (wide_f(s[2]) + wide_f(s[3]))); }
INLINE double sum_d(const vd *s) { return lanes_d((s[0] + s[1]) + (s[2] + s[3])); }

/* s + e where e is more than `cut` and x less than `max`; where it is equal is counted in `ties`, all lanes together or,
 * add_other_lanes, each by itself; a NaN is in */
#if VEC_BYTES == 64 /* all together by scalar instructions: 4 % less time for rows of 1,000 classes than in lanes */
typedef int ties_f, ties_d;
INLINE int count_f(ties_f ties) { return ties; }
INLINE int count_d(ties_d ties) { return ties; }
#define ADD_OTHERS(NAME, V, I, SUFFIX, MASK, TIES, COUNTED) \
    INLINE V NAME(V s, V e, V cut, V x, V max, TIES *ties) { \
        MASK tie = _mm512_cmp_##SUFFIX##_mask((I)x, (I)max, _CMP_EQ_OQ); \
        MASK other = _mm512_mask_cmp_##SUFFIX##_mask((MASK)~tie, (I)e, (I)cut, _CMP_NLE_UQ); \
        *ties = COUNTED; \
        return (V)_mm512_mask_add_##SUFFIX((I)s, other, (I)s, (I)e); \
    }
ADD_OTHERS(add_others_f, vf, __m512, ps, __mmask16, ties_f, *ties + __builtin_popcount(tie))
ADD_OTHERS(add_others_d, vd, __m512d, pd, __mmask8, ties_d, *ties + __builtin_popcount(tie))
ADD_OTHERS(add_other_lanes_f, vf, __m512, ps, __mmask16, vf,
           (vf)_mm512_mask_add_ps((__m512)*ties, tie, (__m512)*ties, _mm512_set1_ps(1)))
ADD_OTHERS(add_other_lanes_d, vd, __m512d, pd, __mmask8, vd,
           (vd)_mm512_mask_add_pd((__m512d)*ties, tie, (__m512d)*ties, _mm512_set1_pd(1)))
#else
typedef vf ties_f;
typedef vd ties_d;
INLINE double count_f(ties_f ties) { return lanes_d(wide_f(ties)); }
INLINE double count_d(ties_d ties) { return lanes_d(ties); }
#define ADD_OTHERS(R, V, MASK) \
    INLINE V add_others_##R(V s, V e, V cut, V x, V max, V *ties) { \
        MASK tie = (MASK)(x == max); \
        *ties += select_##R(tie, set_##R(1), set_##R(0)); \
        return s + select_##R(tie | (MASK)(e <= cut), set_##R(0), e); \
    }
ADD_OTHERS(f, vf, vi)
ADD_OTHERS(d, vd, vl)
#define add_other_lanes_f add_others_f
#define add_other_lanes_d add_others_d
#endif

/* the largest lane of four vectors */
INLINE double top_f(const vf *m) { return largest_f(max_f(max_f(m[0], m[1]), max_f(m[2], m[3]))); }
INLINE double top_d(const vd *m) { return largest_d(max_d(max_d(m[0], m[1]), max_d(m[2], m[3]))); }

#endif
