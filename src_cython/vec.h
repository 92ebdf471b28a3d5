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

/* the smaller; b where either is NaN */
INLINE vf min_f(vf a, vf b) { return -max_f(-a, -b); }
INLINE vd min_d(vd a, vd b) { return -max_d(-a, -b); }

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

/* adding MAGIC rounds to an integer, which then stands, biased as an exponent is, in the last bits */
#define MAGIC_f (12582912.0f + 127)          /* 1.5 * 2^23 */
#define MAGIC_d (6755399441055744.0 + 1023)  /* 1.5 * 2^52 */
/* without VSCALEF a power of two is made RAISE too large, clear of the subnormals, and lowered by a product with LOWER */
#define RAISE_f 64
#define RAISE_d 512
#define LOWER_f 0x1p-64f
#define LOWER_d 0x1p-512

/* (2^f - 1)/f on |f| <= 1/2, so that 2^0 is exact; minimax in the relative error of 2^f: float 9.1e-8, double 8.4e-18 */
INLINE vf poly_f(vf f) {
    vf p = fma_f(set_f(0.001326482175f), f, set_f(0.009671507069f));
    p = fma_f(p, f, set_f(0.055507335116f));
    p = fma_f(p, f, set_f(0.240222421991f));
    return fma_f(p, f, set_f(0.693146977640f));
}
INLINE vd poly_d(vd f) {
    static const double c[] = {4.45496059818651839e-10, 7.0725859492692237e-9, 1.01780624458457735e-7, 1.32154425879216897e-6,
        0.0000152527338298361184, 0.000154035304417360502, 0.00133335581464169353, 0.00961812910760688853,
        0.0555041086648215943, 0.240226506959100982, 0.693147180559945309};
    vd p = set_d(c[0]);
    for (int i = 1; i < 11; i++) p = fma_d(p, f, set_d(c[i]));
    return p;
}

/* 2^n for k = n + MAGIC; NaN times it is NaN, whereas an integer added to the bits of a NaN may make a number of it */
INLINE vf power_f(vf k) { return (vf)((vi)k << 23); }
INLINE vd power_d(vd k) { return (vd)((vl)k << 52); }
/* 2^f*power with |f| <= 1/2 */
INLINE vf exp2_of_f(vf f, vf power) { return fma_f(poly_f(f) * f, power, power); }
INLINE vd exp2_of_d(vd f, vd power) { return fma_d(poly_d(f) * f, power, power); }

/* 2^t for t up to 2^6 (2^9), where below the subnormals 0: NaN stays NaN. exp2_raised is 2^t/LOWER where there is no VSCALEF. */
#if VEC_BYTES == 64
#define RAISED 0
INLINE vf exp2_raised_f(vf t) {
    vf p, f = (vf)_mm512_reduce_ps((__m512)t, 1); /* t - floor(t), 0 for an infinite t: VSCALEF takes floor(t) */
    p = fma_f(set_f(0.00186713021195126332f), f, set_f(0.00901702996252961276f)); /* minimax on [0, 1]: 8.3e-8 */
    p = fma_f(p, f, set_f(0.0557999134252242838f));
    p = fma_f(p, f, set_f(0.240164450039273029f));
    p = fma_f(p, f, set_f(0.69315131181760979f));
    return (vf)_mm512_scalef_ps((__m512)fma_f(p, f, set_f(1.0f)), (__m512)t);
}
INLINE vd exp2_raised_d(vd t) {
    vd n = (vd)_mm512_roundscale_pd((__m512d)t, 0), f = (vd)_mm512_reduce_pd((__m512d)t, 0);
    return (vd)_mm512_scalef_pd((__m512d)fma_d(poly_d(f), f, set_d(1.0)), (__m512d)n);
}
INLINE vf exp2_f(vf t) { return exp2_raised_f(t); }
INLINE vd exp2_d(vd t) { return exp2_raised_d(t); }
#else
#define RAISED 1
INLINE vf exp2_raised_f(vf t) {
    t = max_f(set_f(-190.0f), t); /* operands in the order that keeps NaN */
    vf k = t + (MAGIC_f + RAISE_f), f = t - (k - (MAGIC_f + RAISE_f));
    return exp2_of_f(f, power_f(k));
}
INLINE vd exp2_raised_d(vd t) {
    t = max_d(set_d(-1500.0), t);
    vd k = t + (MAGIC_d + RAISE_d), f = t - (k - (MAGIC_d + RAISE_d));
    return exp2_of_d(f, power_d(k));
}
INLINE vf exp2_f(vf t) { return exp2_raised_f(t) * LOWER_f; }
INLINE vd exp2_d(vd t) { return exp2_raised_d(t) * LOWER_d; }
#endif

/* 2^(x*log2e - c), c an integer and shift = MAGIC - c, for x >= low = (c + LOW)/log2e, else about 2^LOW. The split into
 * integer and fraction is exact but for one rounding at |f| <= 1/2, however far from 0 the exponent. Needs FMA. */
#define LOW_f -120
#define LOW_d -1000
#define LOWEST_f -180 /* with RAISE in shift */
#define LOWEST_d -1500
INLINE vf exp2_split_f(vf x, vf log2e, vf shift, vf low) {
    x = max_f(low, x);
    vf k = fma_f(x, log2e, shift), f = fma_f(x, log2e, shift - k);
    return exp2_of_f(f, power_f(k));
}
INLINE vd exp2_split_d(vd x, vd log2e, vd shift, vd low) {
    x = max_d(low, x);
    vd k = fma_d(x, log2e, shift), f = fma_d(x, log2e, shift - k);
    return exp2_of_d(f, power_d(k));
}

/* tanh(u) = -e/(e + 2), e = expm1(-2|u|) = (2^f - 1)*2^n + (2^n - 1), with the sign of u */
INLINE vf tanh_f(vf u) {
    vi sign = (vi)u & (int32_t)0x80000000;
    vf t = max_f(set_f(-64.0f), (vf)((vi)u ^ sign) * -2.88539008177792681f), k = t + MAGIC_f, f = t - (k - MAGIC_f);
    vf power = power_f(k), e = fma_f(poly_f(f) * f, power, power - 1.0f);
    return (vf)((vi)(-e / (e + 2.0f)) | sign);
}
INLINE vd tanh_d(vd u) {
    vl sign = (vl)u & (int64_t)0x8000000000000000;
    vd t = max_d(set_d(-128.0), (vd)((vl)u ^ sign) * -2.88539008177792681), k = t + MAGIC_d, f = t - (k - MAGIC_d);
    vd power = power_d(k), e = fma_d(poly_d(f) * f, power, power - 1.0);
    return (vd)((vl)(-e / (e + 2.0)) | sign);
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

/* the sum over the lanes of four vectors, in double and in an order of its own, always the same */
typedef float vf_half __attribute__((vector_size(VEC_BYTES / 2)));
INLINE double lanes_d(vd a) {
    double s[W_D];
    memcpy(s, &a, sizeof s);
    for (int n = W_D / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) s[i] += s[i + n];
    return s[0];
}
INLINE vd halves_f(vf a) {
    vf_half half[2];
    memcpy(half, &a, sizeof half);
    return __builtin_convertvector(half[0], vd) + __builtin_convertvector(half[1], vd);
}
INLINE double sum_f(const vf *s) { return lanes_d((halves_f(s[0]) + halves_f(s[1])) + (halves_f(s[2]) + halves_f(s[3]))); }
INLINE double sum_d(const vd *s) { return lanes_d((s[0] + s[1]) + (s[2] + s[3])); }

/* the largest lane of four vectors */
INLINE double top_f(const vf *m) {
    float t[W_F];
    vf a = max_f(max_f(m[0], m[1]), max_f(m[2], m[3]));
    memcpy(t, &a, sizeof t);
    for (int n = W_F / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) t[i] = t[i + n] > t[i] ? t[i + n] : t[i];
    return t[0];
}
INLINE double top_d(const vd *m) {
    double t[W_D];
    vd a = max_d(max_d(m[0], m[1]), max_d(m[2], m[3]));
    memcpy(t, &a, sizeof t);
    for (int n = W_D / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) t[i] = t[i + n] > t[i] ? t[i + n] : t[i];
    return t[0];
}

#endif
