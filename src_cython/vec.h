/* Vectors of float and double, in GCC/Clang vector extensions: as wide as the instruction set this file is built for.
 * Arithmetic is written with plain operators (contracted to FMA where there is one); only maximum, floor, scaling by
 * 2^n and the 16-bit conversions know the instruction set. */
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

/* the larger; b where either is NaN, as MAXPS has it */
#if VEC_BYTES == 64
INLINE vf max_f(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vd max_d(vd a, vd b) { return (vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
#elif VEC_BYTES == 32
INLINE vf max_f(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vd max_d(vd a, vd b) { return (vd)_mm256_max_pd((__m256d)a, (__m256d)b); }
#elif defined(__SSE2__)
INLINE vf max_f(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
INLINE vd max_d(vd a, vd b) { return (vd)_mm_max_pd((__m128d)a, (__m128d)b); }
#else
INLINE vf max_f(vf a, vf b) { return select_f((vi)(a > b), a, b); }
INLINE vd max_d(vd a, vd b) { return select_d((vl)(a > b), a, b); }
#endif

/* 2^t for any t: t = n + f, 2^f by a polynomial with p(0) = 1 exactly. float: n = floor(t), 0 <= f <= 1, degree 5, relative
 * error 8.3e-8 (Remez exchange); double: n = the nearest, |f| <= 1/2, degree 11, 8.4e-18 (Chebyshev nodes). NaN stays NaN, results below
 * the normal range are rounded subnormals when `subnormals`, else may be flushed to about 2^-126 (2^-1022). */
INLINE vf poly_f(vf f) {
    vf p = set_f(0.00186713021195126332f);
    p = p * f + set_f(0.00901702996252961276f);
    p = p * f + set_f(0.0557999134252242838f);
    p = p * f + set_f(0.240164450039273029f);
    p = p * f + set_f(0.69315131181760979f);
    return p * f + set_f(1.0f);
}

INLINE vd poly_d(vd f) {
    static const double c[] = {4.45496059818651839e-10, 7.0725859492692237e-9, 1.01780624458457735e-7, 1.32154425879216897e-6,
        0.0000152527338298361184, 0.000154035304417360502, 0.00133335581464169353, 0.00961812910760688853,
        0.0555041086648215943, 0.240226506959100982, 0.693147180559945309};
    vd p = set_d(c[0]);
    for (int i = 1; i < 11; i++) p = p * f + set_d(c[i]);
    return p * f + set_d(1.0);
}

#if VEC_BYTES == 64
INLINE vf exp2_f(vf t, int subnormals) {
    (void)subnormals;
    vf f = (vf)_mm512_reduce_ps((__m512)t, 1); /* t - floor(t); 0 for an infinite t */
    return (vf)_mm512_scalef_ps((__m512)poly_f(f), (__m512)t);
}
INLINE vd exp2_d(vd t, int subnormals) {
    (void)subnormals;
    vd f = (vd)_mm512_reduce_pd((__m512d)t, 0);
    return (vd)_mm512_scalef_pd((__m512d)poly_d(f), _mm512_roundscale_pd((__m512d)t, 0));
}
#else
/* without VSCALEF: clamp (operands in the order that keeps NaN), floor by the rounding of a large addend */
INLINE vf exp2_f(vf t, int subnormals) {
    const float magic = 12582912.0f; /* 1.5 * 2^23 */
    t = max_f(set_f(subnormals ? -151.0f : -126.0f), t);
    vf shifted = (t - set_f(0.5f)) + set_f(magic);
    vi n = (vi)shifted - (vi)set_f(magic);
    vf p = poly_f(t - (shifted - set_f(magic)));
    if (!subnormals) return p * (vf)((n + 127) << 23);
    vi half = n >> 1;
    return p * (vf)((half + 127) << 23) * (vf)((n - half + 127) << 23);
}
INLINE vd exp2_d(vd t, int subnormals) {
    const double magic = 6755399441055744.0; /* 1.5 * 2^52 */
    t = max_d(set_d(subnormals ? -1077.0 : -1022.0), t);
    vd shifted = t + set_d(magic);
    vl n = (vl)shifted - (vl)set_d(magic);
    vd p = poly_d(t - (shifted - set_d(magic)));
    if (!subnormals) return p * (vd)((n + 1023) << 52);
    /* n >> 1 without a 64-bit arithmetic shift: n is small, bias it to be positive first */
    vl half = (vl)((n + 4096) >> 1) - 2048;
    return p * (vd)((half + 1023) << 52) * (vd)((n - half + 1023) << 52);
}
#endif

/* the smaller; b where either is NaN */
INLINE vf min_f(vf a, vf b) { return -max_f(-a, -b); }
INLINE vd min_d(vd a, vd b) { return -max_d(-a, -b); }

/* tanh(v) = 1 - 2/(exp(2|v|) + 1) with the sign of v where |v| > 0.25, an odd series below; 1 from 20 on */
INLINE vf tanh_f(vf v) {
    vf a = (vf)((vi)v & 0x7fffffff), x2 = v * v;
    vf series = set_f(-0.00886323552f) * x2 + 0.0218694885f;
    series = ((series * x2 - 0.0539682540f) * x2 + 0.133333333f) * x2 - 0.333333333f;
    vf big = 1.0f - 2.0f / (exp2_f(min_f(set_f(20.0f), a) * 2.88539008f, 0) + 1.0f);
    big = (vf)((vi)big | ((vi)v & (int32_t)0x80000000));
    return select_f((vi)(a <= 0.25f), v + v * (series * x2), big);
}
INLINE vd tanh_d(vd v) {
    for (int i = 0; i < W_D; i++) v[i] = tanh(v[i]);
    return v;
}

/* log(x) for double x > 0 scaled out of the subnormals: x = 2^e * g, sqrt(1/2) <= g < sqrt(2),
 * log g = 2*atanh(s), s = (g - 1)/(g + 1), by its series to s^21: below 1e-17 for s^2 <= 0.0295.
 * log 0 = -inf, log inf = inf, NaN for NaN and below 0. */
INLINE vd log_d(vd x) {
    vl tiny = (vl)(x < 2.2250738585072014e-308);
    vd y = select_d(tiny, x * 18014398509481984.0, x); /* 2^54 */
    vl bits = (vl)y - 0x3fe6a09e667f3bcdLL;            /* sqrt(1/2) */
    vl e = (vl)(((bits >> 52) & 0xfff) ^ 0x800) - 0x800;
    vd g = (vd)((vl)y - (e << 52));
    vd s = (g - 1.0) / (g + 1.0), s2 = s * s, p = set_d(2.0 / 21);
    for (int i = 19; i >= 3; i -= 2) p = p * s2 + 2.0 / i;
    vd n = (vd)((e + 0x4338000000000000LL)) - 6755399441055744.0 - select_d(tiny, set_d(54.0), set_d(0.0));
    vd r = n * 0.69314718055994528623 + (n * 2.3190468138462996e-17 + (s * (s2 * p) + 2.0 * s));
    r = select_d((vl)(x == 0.0), set_d(-INFINITY), r);
    r = select_d((vl)(x == INFINITY), set_d(INFINITY), r);
    return select_d((vl)(x >= 0.0), r, set_d(NAN));
}

/* sums over the lanes, in their order */
INLINE double sum_f(vf a) { double s = 0; for (int i = 0; i < W_F; i++) s += (double)a[i]; return s; }
INLINE double sum_d(vd a) { double s = 0; for (int i = 0; i < W_D; i++) s += a[i]; return s; }

#endif
