/* Logits of a linear layer, and what their gradient gives: three matrix products, a block of rows by a block of classes. */
#ifndef FASTSOFTMAX_PRODUCT_H
#define FASTSOFTMAX_PRODUCT_H

#include "lanes.h"

/* a matrix in memory: bytes between rows and between columns; the dtype's code */
typedef struct {
    const char *data;
    Py_ssize_t row, column;
    int code;
    int is_plain;                      /* whether it is of the dtype computed with, columns side by side, rows whole elements apart */
} fs_matrix;

/* What the three kinds of tickets work on. Features and logits are padded: rows to whole tiles, columns to whole panels. */
typedef struct {
    fs_matrix classifier;              /* n_classes by n_features */
    fs_matrix dclassifier;             /* the same, or no data */
    const void *bias;                  /* n_classes, or NULL */
    const void *features;              /* n_rows, features_step elements apart */
    void *logits;                      /* n_rows, logits_step elements apart; then dlogits */
    void *dfeatures;                   /* as features */
    void *dbias;                       /* n_classes, or NULL */
    Py_ssize_t features_step, logits_step, n_rows, n_given, n_features, n_classes;
    Py_ssize_t step, column_step;      /* of a ticket: classes, or rows and columns */
    int first;                         /* whether gradients are written, not added to */
    int stream;                        /* whether dclassifier, of aligned elements, goes past the caches */
} fs_product;

/* Registers: 16 of AVX2 and SSE hold 6 x 2 vectors of sums, 32 of AVX-512 hold 6 x 4, beside a row and one more. */
#define TILE_ROWS 6
#if VEC_BYTES == 64
#define TILE_VECTORS 4
#else
#define TILE_VECTORS 2
#endif
#define PANEL_LINES (TILE_VECTORS * VEC_BYTES / LINE)
#define SOME_ROWS 8                    /* whose logits are computed from squares of classes that are turned in registers */
#define FEW_AHEAD 2048                 /* bytes that are fetched before their square is begun */
#define FEW_ROWS 2                     /* of a tile that has no more: computing all of it would cost what memory does */
#define ROWS_AHEAD 8                   /* classes, that are fetched before they are copied; an even number */
#define PANELS_WIDE 4                  /* panels copied together: 1 KB of a class lies in memory in order */
#define CLASSES_DEEP 128               /* terms of a sum over classes in one accumulator: a panel stays in the L1 cache */
#define FETCHES 4                      /* products, that fetch a line of each of so many classes */
#define FETCHED (CLASSES_DEEP / FETCHES) /* lines, while a product of so many classes is computed */
#define DEEP_LINES (CLASSES_DEEP * (int)sizeof(T) / LINE)
#define ROWS_DEEP 768                  /* whose gradients are computed together, whole tiles: more lie in more pages than the CPU
                                        * knows at a time (16,380 x 512 by 4,000 classes, Zen 4: 110 GFLOP/s, 190 so) */
#define CLASSES_WIDE 48                /* whose gradients are read with the same features */
#define WIDE_LINES (CLASSES_WIDE * (int)sizeof(T) / LINE)

#define bytes_of_f 4
#define bytes_of_d 8

/* memory of a thread's own, from the next cache line on: vectors that straddle two take twice the time */
INLINE void *aligned(void *room) { return (void *)(((uintptr_t)room + LINE - 1) & ~(uintptr_t)(LINE - 1)); }

#define T float
#define R f
#define S f
#define E float
#define PAIRS 0
#define TARGET
#define MULTIPLY_ADD fma_f
#include "product.inc"
#define T double
#define R d
#define S d
#define E double
#define PAIRS 0
#define TARGET
#define MULTIPLY_ADD fma_d
#include "product.inc"

/* two floats as bfloat16, the first in the low half; a NaN of any bits stays one */
INLINE vu pair_of(vf first, vf second) {
    vf pair[2] = {select_f((vi)(first == first), first, set_f(NAN)), select_f((vi)(second == second), second, set_f(NAN))};
    return mixed_bf16(pair);
}
INLINE uint32_t one_pair(float first, float second) {
    vf pair[2] = {set_f(first), set_f(second)};
    return pair_of(pair[0], pair[1])[0];
}

/* n rows as pairs of rows that follow each other, the last one with zeros where n is odd */
static void pair_rows(const float *x, Py_ssize_t x_step, Py_ssize_t n, Py_ssize_t n_columns, uint32_t *to,
                      Py_ssize_t step) {
    for (Py_ssize_t i = 0; i < n; i += 2, to += step) {
        const float *first = x + i * x_step, *second = i + 1 < n ? first + x_step : NULL;
        Py_ssize_t j = 0;
        for (; j + W_F <= n_columns; j += W_F) {
            vu pair = pair_of(load_f32(first + j), second ? load_f32(second + j) : set_f(0));
            memcpy(to + j, &pair, sizeof pair);
        }
        for (; j < n_columns; j++) to[j] = one_pair(first[j], second ? second[j] : 0);
    }
}

/* n columns of a row as pairs of columns that follow each other; may be in place */
static void pair_columns(const float *x, Py_ssize_t n, uint32_t *to) {
    bf16 *out = (bf16 *)to;
    Py_ssize_t j = 0;
    for (; j + W_F <= n; j += W_F) {
        vf v = load_f32(x + j);
        store_bf16(out + j, select_f((vi)(v == v), v, set_f(NAN)));
    }
    for (; j < n; j += 2) to[j / 2] = one_pair(x[j], j + 1 < n ? x[j + 1] : 0);
}

/* one step of pairs where the CPU has no instruction for it */
INLINE vf pair_product(vu a, vu b, vf sum) {
    return fma_f((vf)(a & 0xffff0000), (vf)(b & 0xffff0000), fma_f((vf)(a << 16), (vf)(b << 16), sum));
}
#define T float
#define R f
#define S pairs
#define E uint32_t
#define PAIRS 1
#define TARGET
#define MULTIPLY_ADD pair_product
#include "product.inc"

#if VEC_BYTES == 64
INLINE BF16_CPU vf dot_product(vu a, vu b, vf sum) {
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#define T float
#define R f
#define S dots
#define E uint32_t
#define PAIRS 1
#define TARGET BF16_CPU
#define MULTIPLY_ADD dot_product
#include "product.inc"
#else
#define logits_ticket_dots logits_ticket_pairs
#define dfeatures_ticket_dots dfeatures_ticket_pairs
#define dclassifier_ticket_dots dclassifier_ticket_pairs
#endif
#endif
