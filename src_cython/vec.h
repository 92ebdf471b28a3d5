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

/* whether any lane is set */
INLINE int any_f(vi mask) {
#if VEC_BYTES == 32
    return _mm256_movemask_ps((__m256)mask);
#endif
    int64_t part[VEC_BYTES / 8], any = 0;
    memcpy(part, &mask, sizeof part);
    for (int i = 0; i < VEC_BYTES / 8; i++) any |= part[i];
    return any != 0;
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

/* adding MAGIC rounds to an integer, which then stands, biased as an exponent is, in the last bits */
#define MAGIC_f (12582912.0f + 127)          /* 1.5 * 2^23 */
#define MAGIC_d (6755399441055744.0 + 1023)  /* 1.5 * 2^52 */
/* a power of two is made RAISE too large, clear of the subnormals, and lowered by a product with LOWER */
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

/* 2^(x*log2e - c + raise), c an integer, for x >= (c + lowest)/log2e, else about 2^(lowest + raise). The exponent is split
 * into a multiple of 1/STEPS and a fraction, exactly but for one rounding of the fraction, however far from 0 it is: needs
 * FMA. */
typedef struct { vf log2e, shift, low; } split_f;
typedef struct { vd log2e, shift, low; } split_d;
#define LOW_f -120
#define LOW_d -1000
/* With RAISE the bits of 2^(lowest + raise) are all 0: what is cut off is nothing, as a -inf is, and so is its product with
 * LOWER, whereas one that underflows takes 150 cycles. */
#define LOWEST_f -191
#define LOWEST_d -1535
/* 2^multiple for k = MAGIC + STEPS*multiple, and (2^(f/STEPS) - 1)/f, minimax in the relative error of 2^(f/STEPS). A
 * table holds 2^(j/STEPS), less what the j in the last bits of k adds where k is shifted to the exponent. */
#if VEC_BYTES == 64
#define STEPS_f 32
#define LARGE_f 0x1p16                       /* beyond, STEPS*c + MAGIC is no exact integer */
#define SPLIT_MAGIC_f 12582912.0             /* 1.5 * 2^23 */
static const uint32_t powers_f[] __attribute__((aligned(64))) = {
    0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a, 0x3f79c3d3, 0x3f78f4f0, 0x3f7837f0, 0x3f778d3a,
    0x3f76f532, 0x3f767043, 0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6, 0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d,
    0x3f75672a, 0x3f75b9be, 0x3f76248c, 0x3f76a81e, 0x3f7744fd, 0x3f77fbb8, 0x3f78ccdf, 0x3f79b907, 0x3f7ac0c7, 0x3f7be4ba,
    0x3f7d257d, 0x3f7e83b3};
INLINE vf step_power_f(vf k) {
    __m512i step = _mm512_permutex2var_epi32(_mm512_load_si512(powers_f), (__m512i)k, _mm512_load_si512(powers_f + 16));
    return (vf)((vi)step + ((vi)k << 18));
}
INLINE vf step_poly_f(vf f) { /* 5.4e-8 */
    return fma_f(set_f(0.000234597217367866288f), f, set_f(0.0216611669896939601f));
}
#elif VEC_BYTES == 32
#define STEPS_f 8
#define LARGE_f 0x1p18
#define SPLIT_MAGIC_f 12582912.0
static const uint32_t powers_f[] __attribute__((aligned(32))) = {
    0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
INLINE vf step_power_f(vf k) {
    __m256i step = _mm256_permutevar8x32_epi32(_mm256_load_si256((const __m256i *)powers_f), (__m256i)k);
    return (vf)((vi)step + ((vi)k << 20));
}
INLINE vf step_poly_f(vf f) { /* 2.6e-8 */
    return fma_f(fma_f(set_f(0.000108391066591f), f, set_f(0.00375402546771f)), f, set_f(0.0866434017813f));
}
#else
#define STEPS_f 1
#define LARGE_f 0x1p21
#define SPLIT_MAGIC_f MAGIC_f
#define step_power_f power_f
#define step_poly_f poly_f
#endif
#if VEC_BYTES == 64
#define STEPS_d 16
#define LARGE_d 0x1p46
#define SPLIT_MAGIC_d 6755399441055744.0     /* 1.5 * 2^52 */
static const uint64_t powers_d[] __attribute__((aligned(64))) = {
    0x3ff0000000000000, 0x3fefb5586cf9890f, 0x3fef72b83c7d517b, 0x3fef387a6e756238, 0x3fef06fe0a31b715, 0x3feedea64c123422,
    0x3feebfdad5362a27, 0x3feeab07dd485429, 0x3feea09e667f3bcd, 0x3feea11473eb0187, 0x3feeace5422aa0db, 0x3feec49182a3f090,
    0x3feee89f995ad3ad, 0x3fef199bdd85529c, 0x3fef5818dcfba487, 0x3fefa4afa2a490da};
INLINE vd step_power_d(vd k) {
    __m512i step = _mm512_permutex2var_epi64(_mm512_load_si512(powers_d), (__m512i)k, _mm512_load_si512(powers_d + 8));
    return (vd)((vl)step + ((vl)k << 48));
}
INLINE vd step_poly_d(vd f) { /* 7.0e-18 */
    static const double c[] = {9.18114549919102172e-12, 1.27161203956391151e-9, 1.4676100328580907e-7,
        0.0000135508077763952194, 0.000938384792808981889, 0.0433216987849966785};
    vd q = set_d(c[0]);
    for (int i = 1; i < 6; i++) q = fma_d(q, f, set_d(c[i]));
    return q;
}
#else
#define STEPS_d 1
#define LARGE_d 0x1p50
#define SPLIT_MAGIC_d MAGIC_d
#define step_power_d power_d
#define step_poly_d poly_d
#endif
INLINE split_f split_of_f(double log2e, double c, int lowest, int raise) {
    return (split_f){set_f(STEPS_f * log2e), set_f(SPLIT_MAGIC_f + STEPS_f * (raise - c)), set_f((c + lowest) / log2e)};
}
INLINE split_d split_of_d(double log2e, double c, int lowest, int raise) {
    return (split_d){set_d(STEPS_d * log2e), set_d(SPLIT_MAGIC_d + STEPS_d * (raise - c)), set_d((c + lowest) / log2e)};
}
/* the multiple as k, and the fraction */
INLINE vf split_kept_f(vf x, split_f by, vf *f) { /* for x that is not below by.low */
    vf k = fma_f(x, by.log2e, by.shift);
    *f = fma_f(x, by.log2e, by.shift - k);
    return k;
}
INLINE vd split_kept_d(vd x, split_d by, vd *f) {
    vd k = fma_d(x, by.log2e, by.shift);
    *f = fma_d(x, by.log2e, by.shift - k);
    return k;
}
INLINE vf split_at_f(vf x, split_f by, vf *f) { return split_kept_f(max_f(by.low, x), by, f); } /* in this order NaN stays */
INLINE vd split_at_d(vd x, split_d by, vd *f) { return split_kept_d(max_d(by.low, x), by, f); }
INLINE vf exp2_split_f(vf x, split_f by) {
    vf f, power = step_power_f(split_at_f(x, by, &f));
    return fma_f(step_poly_f(f) * f, power, power);
}
INLINE vd exp2_split_d(vd x, split_d by) {
    vd f, power = step_power_d(split_at_d(x, by, &f));
    return fma_d(step_poly_d(f) * f, power, power);
}

/* 2^t for t up to 2^6 (2^9), where below the subnormals 0, NaN for NaN: raised by 1/LOWER, or not */
INLINE vf exp2_raised_f(vf t) { return exp2_split_f(t, split_of_f(1, 0, LOWEST_f, RAISE_f)); }
INLINE vd exp2_raised_d(vd t) { return exp2_split_d(t, split_of_d(1, 0, LOWEST_d, RAISE_d)); }
INLINE vf exp2_f(vf t) { return exp2_raised_f(t) * LOWER_f; }
INLINE vd exp2_d(vd t) { return exp2_raised_d(t) * LOWER_d; }

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

/* log(x) for float, likewise */
#if VEC_BYTES == 64
/* x = 2^e * g, 3/4 <= g < 3/2, and g = (1 + r)/c for the c next to 1/g of 17 in two registers, as log 1/c is: |r| <= 1/32,
 * and beside 1 c is 1, so that nothing is lost there */
static const float log_c[] __attribute__((aligned(64))) = {
    1, 1, 1, 1, 1, 1, 1, 1, 0x1.555556p+0f, 0x1.47ae14p+0f, 0x1.3b13b2p+0f, 0x1.2f684cp+0f,
    0x1.24924ap+0f, 0x1.1a7b96p+0f, 0x1.111112p+0f, 0x1.08421p+0f, 1,
    0x1.e1e1e2p-1f, 0x1.c71c72p-1f, 0x1.af286cp-1f, 0x1.99999ap-1f, 0x1.861862p-1f,
    0x1.745d18p-1f, 0x1.642c86p-1f, 0x1.555556p-1f, 1, 1, 1, 1, 1, 1, 1};
static const float log_of_c[] __attribute__((aligned(64))) = {
    0, 0, 0, 0, 0, 0, 0, 0, -0x1.269624p-2f, -0x1.f991c4p-3f, -0x1.a93ed8p-3f,
    -0x1.5bf408p-3f, -0x1.1178eep-3f, -0x1.9335e4p-4f, -0x1.08599ap-4f,
    -0x1.0415c8p-5f, 0, 0x1.f0a30ap-5f, 0x1.e27074p-4f, 0x1.5ff306p-3f,
    0x1.c8ff7ap-3f, 0x1.1675cap-2f, 0x1.4618bap-2f, 0x1.739d7ep-2f, 0x1.9f323cp-2f,
    0, 0, 0, 0, 0, 0, 0};
INLINE vf log_f(vf x) {
    __m512 e = _mm512_getexp_ps((__m512)x), g = _mm512_getmant_ps((__m512)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan);
    e = _mm512_mask_add_ps(e, _mm512_cmp_ps_mask(g, _mm512_set1_ps(1), _CMP_LT_OQ), e, _mm512_set1_ps(1));
    __m512i at = _mm512_srli_epi32(_mm512_add_epi32((__m512i)g, _mm512_set1_epi32(1 << 18)), 19);
    __m512 c = _mm512_permutex2var_ps(_mm512_load_ps(log_c), at, _mm512_load_ps(log_c + 16));
    vf l = (vf)_mm512_permutex2var_ps(_mm512_load_ps(log_of_c), at, _mm512_load_ps(log_of_c + 16));
    vf r = (vf)_mm512_fmsub_ps(g, c, _mm512_set1_ps(1));
    vf p = fma_f(fma_f(fma_f(set_f(0.2f), r, set_f(-0.25f)), r, set_f(1.0f / 3)), r, set_f(-0.5f));
    return fma_f((vf)e, set_f(0.693147180559945309f), l) + fma_f(r * r, p, r);
}
#else
/* log g = 2*atanh(s), by its series to s^9, below 3e-9 relative */
static inline vf log_odd_f(vf x) {
    vi tiny = (vi)(x < 1.17549435e-38f);
    vf y = select_f(tiny, x * 16777216.0f, x); /* 2^24 */
    vi e = (((vi)y - 0x3f3504f3) >> 23);       /* sqrt(1/2) */
    vf g = (vf)((vi)y - (e << 23));
    vf s = (g - 1.0f) / (g + 1.0f), s2 = s * s;
    vf p = fma_f(fma_f(fma_f(set_f(2.0f / 9), s2, set_f(2.0f / 7)), s2, set_f(2.0f / 5)), s2, set_f(2.0f / 3));
    vf n = __builtin_convertvector(e, vf) - select_f(tiny, set_f(24.0f), set_f(0.0f));
    vf r = fma_f(n, set_f(0.693145751953125f), fma_f(n, set_f(1.42860682030941723e-6f), fma_f(s * s2, p, 2.0f * s)));
    r = select_f((vi)(x == 0.0f), set_f(-INFINITY), r);
    r = select_f((vi)(x == INFINITY), set_f(INFINITY), r);
    return select_f((vi)(x >= 0.0f), r, set_f(NAN));
}
#if VEC_BYTES == 32
/* As above with 8 c, of which 1 serves from 31/32 to 17/16: |r| <= 1/16, where the polynomial is within 8.2e-9 of log(1 + r),
 * relative. What is no normal number above 0 goes the longer way. */
static const float log_c[] __attribute__((aligned(32))) = {
    0x1.3b13b2p+0f, 0x1.24924ap+0f, 0x1.111112p+0f, 1, 0x1.c71c72p-1f, 0x1.99999ap-1f, 0x1.745d18p-1f, 0x1.555556p-1f};
static const float log_of_c[] __attribute__((aligned(32))) = {
    -0x1.a93ed8p-3f, -0x1.1178eep-3f, -0x1.08599ap-4f, 0, 0x1.e27074p-4f, 0x1.c8ff7ap-3f, 0x1.4618bap-2f, 0x1.9f323cp-2f};
static __attribute__((noinline)) vf log_of_odd_f(vf x) { return log_odd_f(x); }
INLINE vf log_f(vf x) {
    vi bits = (vi)x - (0x3f800000 - (7 << 19)), e = bits >> 23; /* x = 2^e * g, 25/32 <= g < 25/16 */
    __m256i at = (__m256i)(bits >> 20);
    vf g = (vf)((vi)x - (e << 23)), c = (vf)_mm256_permutevar8x32_ps(_mm256_load_ps(log_c), at);
    vf l = (vf)_mm256_permutevar8x32_ps(_mm256_load_ps(log_of_c), at), r = fma_f(g, c, set_f(-1));
    vf p = fma_f(fma_f(fma_f(set_f(0.19820413f), r, set_f(-0.25069883f)), r, set_f(0.33333817f)), r, set_f(-0.49999943f));
    vf log = fma_f(__builtin_convertvector(e, vf), set_f(0.693147180559945309f), l) + fma_f(r * r, p, r);
    vi is_odd = ~((vi)(x >= set_f(1.17549435e-38f)) & (vi)(x < set_f(INFINITY)));
    return any_f(is_odd) ? select_f(is_odd, log_of_odd_f(x), log) : log;
}
#else
INLINE vf log_f(vf x) { return log_odd_f(x); }
#endif
#endif

/* log(1 + x) for x >= 0; the last term is what 1 + x has lost */
INLINE vd log1p_d(vd x) {
    vd u = 1.0 + x;
    return log_d(u) + (x - (u - 1.0)) / u;
}

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
