/* The machine's own ceilings, to hold kernels against: read n floats; add to each; copy past the caches; multiply-add. */
#ifndef FASTSOFTMAX_CEILINGS_H
#define FASTSOFTMAX_CEILINGS_H

#include "storage.h"

static float fs_read_pass(const float *x, Py_ssize_t n) {
    vf s[8];
    for (int j = 0; j < 8; j++) s[j] = set_f(0);
    for (Py_ssize_t k = 0; k + 8 * W_F <= n; k += 8 * W_F)
        for (int j = 0; j < 8; j++) s[j] = max_f(load_f32(x + k + j * W_F), s[j]);
    return (float)(sum_f(s) + sum_f(s + 4));
}

static void fs_update_pass(float *x, Py_ssize_t n) {
    Py_ssize_t k = 0;
    for (; k + W_F <= n; k += W_F) store_f32(x + k, load_f32(x + k) + 1.0f);
    for (; k < n; k++) x[k] += 1.0f;
}

static void fs_copy_pass(const float *x, float *out, Py_ssize_t n) {
    Py_ssize_t k = 0;
    for (; k < n && ((uintptr_t)(out + k) & (VEC_BYTES - 1)); k++) out[k] = x[k];
    for (; k + W_F <= n; k += W_F) stream_f32(out + k, load_f32(x + k));
    for (; k < n; k++) out[k] = x[k];
    fence();
}

/* n rounds of 12 independent multiply-adds on whole vectors: 24*n*W_F floating-point operations */
static float fs_fma_pass(Py_ssize_t n) {
    vf s[12], a = set_f(0.999f), b = set_f(0.001f);
    for (int j = 0; j < 12; j++) s[j] = set_f((float)j);
    for (Py_ssize_t k = 0; k < n; k++)
        for (int j = 0; j < 12; j++) s[j] = fma_f(s[j], a, b);
    return (float)(sum_f(s) + sum_f(s + 4) + sum_f(s + 8));
}
#endif
