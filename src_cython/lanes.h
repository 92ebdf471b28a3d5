/* The table of block primitives: one row a dtype, one text for all of them (lanes.inc). */
#ifndef FASTSOFTMAX_LANES_H
#define FASTSOFTMAX_LANES_H

#include <Python.h>
#include "storage.h"

/* how a logit becomes z, with the reference m that is subtracted */
typedef struct {
    double m, z_m;                     /* m a raw logit, z_m its z */
    double scale, scale_log2e;         /* 1/temperature, times log2 e */
    double cap, scale_over_cap;        /* softcap, 0 for none */
} fs_map;

typedef struct {
    Py_ssize_t itemsize, weight_itemsize;
    double (*get)(const void *, Py_ssize_t);
    void (*put)(void *, Py_ssize_t, double);
    double (*block_max)(const void *, Py_ssize_t);
    Py_ssize_t (*find)(const void *, Py_ssize_t, double);
    int (*any_nan)(const void *, Py_ssize_t);
    double (*exp_sum)(const void *, Py_ssize_t, const fs_map *);
    void (*target_sums)(const void *, const void *, const void *, Py_ssize_t, const fs_map *, double, double,
                        double *, double *);
    void (*write_probs)(const void *, void *, const void *, const void *, Py_ssize_t, const fs_map *, double, double,
                        double);
    void (*write_log_probs)(const void *, void *, Py_ssize_t, const fs_map *, double);
    double (*grad_sum)(const void *, const void *, Py_ssize_t, int);
    void (*write_softmax_grad)(const void *, const void *, void *, Py_ssize_t, double, int);
    double (*divergence)(const void *, const void *, Py_ssize_t);
} fs_lanes;

#define v_of_f vf
#define v_of_d vd
#define W_of_f W_F
#define W_of_d W_D
#define mask_of_f vi
#define mask_of_d vl
#define real_of_f float
#define real_of_d double
#define zero_f64 0.0
#define zero_f32 0.0f
#define zero_bf16 ((bf16){0})
#define zero_f16 ((f16){0})
#define minus_inf_f64 (-INFINITY)
#define minus_inf_f32 (-INFINITY)
#define minus_inf_bf16 ((bf16){0xff80})
#define minus_inf_f16 ((f16){0xfc00})

#define T double
#define S f64
#define R d
#include "lanes.inc"
#define T float
#define S f32
#define R f
#include "lanes.inc"
#define T bf16
#define S bf16
#define R f
#include "lanes.inc"
#define T f16
#define S f16
#define R f
#include "lanes.inc"

/* in the order of the codes in dtypes.py */
static const fs_lanes *const fs_table[] = {&lanes_f64, &lanes_f32, &lanes_bf16, &lanes_f16};

/* the machine's own ceilings, to measure kernels against: read n floats; add to each; copy past the caches */
static float fs_read_pass(const float *x, Py_ssize_t n) {
    vf s[8];
    for (int j = 0; j < 8; j++) s[j] = set_f(0);
    for (Py_ssize_t k = 0; k + 8 * W_F <= n; k += 8 * W_F)
        for (int j = 0; j < 8; j++) s[j] = max_f(load_f32(x + k + j * W_F), s[j]);
    vf t = set_f(0);
    for (int j = 0; j < 8; j++) t += s[j];
    return (float)sum_f(t);
}
static void fs_update_pass(float *x, Py_ssize_t n) {
    for (Py_ssize_t k = 0; k + W_F <= n; k += W_F) store_f32(x + k, load_f32(x + k) + set_f(1.0f));
}
static void fs_copy_pass(const float *x, float *out, Py_ssize_t n) {
    Py_ssize_t k = 0;
#if VEC_BYTES == 64
    for (; k < n && ((uintptr_t)(out + k) & 63); k++) out[k] = x[k];
    for (; k + W_F <= n; k += W_F) _mm512_stream_ps(out + k, (__m512)load_f32(x + k));
    _mm_sfence();
#elif VEC_BYTES == 32
    for (; k < n && ((uintptr_t)(out + k) & 31); k++) out[k] = x[k];
    for (; k + W_F <= n; k += W_F) _mm256_stream_ps(out + k, (__m256)load_f32(x + k));
    _mm_sfence();
#endif
    for (; k < n; k++) out[k] = x[k];
}
#endif
