/* Elementary functions of vectors: powers of two, tanh, logarithms. */
#ifndef FASTSOFTMAX_VEC_MATH_H
#define FASTSOFTMAX_VEC_MATH_H

#include "vec.h"

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
INLINE double power_one(double n) { return power_d(set_d(n + MAGIC_d))[0]; } /* 2^n, a normal number */

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
INLINE vf split_above_f(vf x, split_f by, vf *f) { /* for x that is not below by.low */
    vf k = fma_f(x, by.log2e, by.shift);
    *f = fma_f(x, by.log2e, by.shift - k);
    return k;
}
INLINE vd split_above_d(vd x, split_d by, vd *f) {
    vd k = fma_d(x, by.log2e, by.shift);
    *f = fma_d(x, by.log2e, by.shift - k);
    return k;
}
INLINE vf split_at_f(vf x, split_f by, vf *f) { return split_above_f(max_f(by.low, x), by, f); } /* in this order NaN stays */
INLINE vd split_at_d(vd x, split_d by, vd *f) { return split_above_d(max_d(by.low, x), by, f); }
INLINE vf exp2_split_f(vf x, split_f by) {
    vf f, power = step_power_f(split_at_f(x, by, &f));
    return fma_f(step_poly_f(f) * f, power, power);
}
INLINE vd exp2_split_d(vd x, split_d by) {
    vd f, power = step_power_d(split_at_d(x, by, &f));
    return fma_d(step_poly_d(f) * f, power, power);
}
/* The same of ABREAST vectors, in their place, one step of all before the next: operations that wait for their operands take
 * less of the CPU's room for these (Zen 4: maxima and sums of exps 7.5 -> 7.0 cycles a vector). `above`: none is below by.low. */
#define ABREAST (VEC_BYTES == 64 ? 4 : 2)
#define EXP2_ABREAST(R) \
    INLINE void exp2_abreast_##R(v##R *x, split_##R by, int above) { \
        v##R k[ABREAST], f[ABREAST]; \
        for (int i = 0; i < ABREAST && !above; i++) x[i] = max_##R(by.low, x[i]); \
        for (int i = 0; i < ABREAST; i++) k[i] = fma_##R(x[i], by.log2e, by.shift); \
        for (int i = 0; i < ABREAST; i++) f[i] = by.shift - k[i]; \
        for (int i = 0; i < ABREAST; i++) k[i] = step_power_##R(k[i]); \
        for (int i = 0; i < ABREAST; i++) f[i] = fma_##R(x[i], by.log2e, f[i]); \
        for (int i = 0; i < ABREAST; i++) x[i] = step_poly_##R(f[i]); \
        for (int i = 0; i < ABREAST; i++) x[i] = x[i] * f[i]; \
        for (int i = 0; i < ABREAST; i++) x[i] = fma_##R(x[i], k[i], k[i]); \
    }
EXP2_ABREAST(f)
EXP2_ABREAST(d)

/* 2^t for t up to 2^6 (2^9), where below the subnormals 0, NaN for NaN: raised by 1/LOWER, or not */
INLINE vf exp2_raised_f(vf t) { return exp2_split_f(t, split_of_f(1, 0, LOWEST_f, RAISE_f)); }
INLINE vd exp2_raised_d(vd t) { return exp2_split_d(t, split_of_d(1, 0, LOWEST_d, RAISE_d)); }
INLINE vf exp2_f(vf t) { return exp2_raised_f(t) * LOWER_f; }
INLINE vd exp2_d(vd t) { return exp2_raised_d(t) * LOWER_d; }

/* a/b for b that is neither huge nor tiny: with the remainder of an approximate quotient a division costs 4 operations, which
 * a divider takes 10 cycles for */
#if VEC_BYTES == 64
INLINE vf quotient_f(vf a, vf b) {
    vf r = (vf)_mm512_rcp14_ps((__m512)b), q = a * r;
    return fma_f(fma_f(-q, b, a), r, q);
}
#else
INLINE vf quotient_f(vf a, vf b) { return a / b; }
#endif

/* tanh(u) = u*P(u^2)/Q(u^2), minimax in the relative error, 3.5e-8 up to TANH_ONE, but for the last coefficient: with that
 * it is 1 + 3.5e-7 there, however it is rounded, and cut off at 1. With the error of rounding it is below 4e-7. */
#define TANH_ONE 9.1f
INLINE vf tanh_f(vf u) {
    vf x = max_f(set_f(-TANH_ONE), min_f(set_f(TANH_ONE), u)), s = x * x; /* in this order NaN stays */
    vf p = fma_f(set_f(-1.02092e-11f), s, set_f(2.7576787e-8f)), q = fma_f(set_f(1.195613e-6f), s, set_f(0.00038154476f));
    p = fma_f(fma_f(fma_f(fma_f(p, s, set_f(2.6640311e-5f)), s, set_f(0.003796988f)), s, set_f(0.13622008f)), s, set_f(1));
    q = fma_f(fma_f(fma_f(q, s, set_f(0.026981601f)), s, set_f(0.46955323f)), s, set_f(1));
    vf t = quotient_f(x * p, q);
    return max_f(set_f(-1), min_f(set_f(1), t));
}

/* tanh(u) = -e/(e + 2), e = expm1(-2|u|) = (2^f - 1)*2^n + (2^n - 1), with the sign of u */
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
/* x = 2^e * g, 1 <= g < 2, and g = (1 + r)/c for the c of 32 in two registers that the first 5 bits of g stand for, as is
 * log 1/c: |r| <= 1/32. On both sides of 1 nothing is lost, as the first and last c are 1 and 1/2; the others are such that
 * log 1/c is a float to 2^-34. The polynomial is within 7.4e-9 of log(1 + r), relative. */
static const float log_c[] __attribute__((aligned(64))) = {
    1, 0x1.e9108ap-1f, 0x1.dae26cp-1f, 0x1.cd9256p-1f, 0x1.c0f664p-1f, 0x1.b4f388p-1f, 0x1.a9885ep-1f, 0x1.9ec00ap-1f,
    0x1.94a160p-1f, 0x1.8ad852p-1f, 0x1.8193acp-1f, 0x1.78a7f4p-1f, 0x1.702518p-1f, 0x1.680344p-1f, 0x1.6062bep-1f,
    0x1.58fe20p-1f, 0x1.51cabap-1f, 0x1.4aff94p-1f, 0x1.447902p-1f, 0x1.3e370ap-1f, 0x1.380970p-1f, 0x1.323298p-1f,
    0x1.2cad42p-1f, 0x1.27245ap-1f, 0x1.220656p-1f, 0x1.1d061cp-1f, 0x1.180974p-1f, 0x1.1371d4p-1f, 0x1.0ec5fcp-1f,
    0x1.0a65d8p-1f, 0x1.0615a6p-1f, 0x1.000000p-1f};
static const float log_of_c[] __attribute__((aligned(64))) = {
    0, 0x1.777088p-5f, 0x1.343c96p-4f, 0x1.a8b41ap-4f, 0x1.0d13c2p-3f, 0x1.449d2ap-3f, 0x1.7ad84cp-3f, 0x1.af6864p-3f,
    0x1.e1ff84p-3f, 0x1.0a113ap-2f, 0x1.2263e0p-2f, 0x1.3a5c26p-2f, 0x1.51c3aep-2f, 0x1.68a33ap-2f, 0x1.7e908cp-2f,
    0x1.9446d4p-2f, 0x1.a9e046p-2f, 0x1.beae28p-2f, 0x1.d311fap-2f, 0x1.e70300p-2f, 0x1.fb1692p-2f, 0x1.073750p-1f,
    0x1.108826p-1f, 0x1.1a0b60p-1f, 0x1.22ffdep-1f, 0x1.2be7a6p-1f, 0x1.34f142p-1f, 0x1.3d6882p-1f, 0x1.462a6cp-1f,
    0x1.4e81c6p-1f, 0x1.56dd56p-1f, 0x1.62e430p-1f};
INLINE vf log_f(vf x) {
    __m512 e = _mm512_getexp_ps((__m512)x), g = _mm512_getmant_ps((__m512)x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_nan);
    __m512i at = _mm512_srli_epi32((__m512i)g, 18);
    __m512 c = _mm512_permutex2var_ps(_mm512_load_ps(log_c), at, _mm512_load_ps(log_c + 16));
    vf l = (vf)_mm512_permutex2var_ps(_mm512_load_ps(log_of_c), at, _mm512_load_ps(log_of_c + 16));
    vf r = (vf)_mm512_fmsub_ps(g, c, _mm512_set1_ps(1));
    vf p = fma_f(fma_f(set_f(-0.2436167597770691f), r, set_f(0.3333568572998047f)), r, set_f(-0.5000012516975403f));
    return fma_f(fma_f(p, r, set_f(1)), r, fma_f((vf)e, set_f(0.693147180559945309f), l));
}
#else
/* log g = 2*atanh(s), by its series to s^9, below 3e-9 relative; any x */
INLINE vf log_series_f(vf x) {
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
static __attribute__((noinline)) vf log_odd_f(vf x) { return log_series_f(x); }
INLINE vf log_f(vf x) {
    vi bits = (vi)x - (0x3f800000 - (7 << 19)), e = bits >> 23; /* x = 2^e * g, 25/32 <= g < 25/16 */
    __m256i at = (__m256i)(bits >> 20);
    vf g = (vf)((vi)x - (e << 23)), c = (vf)_mm256_permutevar8x32_ps(_mm256_load_ps(log_c), at);
    vf l = (vf)_mm256_permutevar8x32_ps(_mm256_load_ps(log_of_c), at), r = fma_f(g, c, set_f(-1));
    vf p = fma_f(fma_f(fma_f(set_f(0.19820413f), r, set_f(-0.25069883f)), r, set_f(0.33333817f)), r, set_f(-0.49999943f));
    vf log = fma_f(__builtin_convertvector(e, vf), set_f(0.693147180559945309f), l) + fma_f(r * r, p, r);
    vi is_odd = ~((vi)(x >= set_f(1.17549435e-38f)) & (vi)(x < set_f(INFINITY)));
    return any_f(is_odd) ? select_f(is_odd, log_odd_f(x), log) : log;
}
#else
INLINE vf log_f(vf x) { return log_series_f(x); }
#endif
#endif

/* log(1 + x) for x >= 0; the last term is what 1 + x has lost */
INLINE vd log1p_d(vd x) {
    vd u = 1.0 + x;
    return log_d(u) + (x - (u - 1.0)) / u;
}

#endif
