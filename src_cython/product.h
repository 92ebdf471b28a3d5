/* Logits of a linear layer, and what their gradient gives: three matrix products, a block of rows by a block of classes. */
#ifndef FASTSOFTMAX_PRODUCT_H
#define FASTSOFTMAX_PRODUCT_H

#include "lanes.h"

/* a matrix in memory: bytes between rows and between columns; the dtype's code */
typedef struct {
    const char *data;
    Py_ssize_t row, column;
    int code, is_plain;                /* whether it is what is computed with, columns side by side */
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
} fs_product;

/* Registers: 16 of AVX2 and SSE hold 6 x 2 vectors of sums, 32 of AVX-512 hold 6 x 4, beside a row and one more. */
#define TILE_ROWS 6
#if VEC_BYTES == 64
#define TILE_VECTORS 4
#else
#define TILE_VECTORS 2
#endif
#define PACE 4                         /* steps of a product for each line of memory that is fetched ahead */
#define PANEL_LINES (TILE_VECTORS * VEC_BYTES / LINE)
#define CLASSES_DEEP 128               /* terms of a sum over classes in one accumulator: a panel stays in the L1 cache */
#define FETCHED (CLASSES_DEEP / PACE)  /* lines, while a product of so many classes is computed */
#define DEEP_LINES (CLASSES_DEEP * (int)sizeof(T) / LINE)
#define CLASSES_WIDE 48                /* whose gradients are read with the same features */
#define WIDE_LINES (CLASSES_WIDE * (int)sizeof(T) / LINE)

/* memory of a thread's own, from the next cache line on: vectors that straddle two take twice the time */
INLINE void *aligned(void *room) { return (void *)(((uintptr_t)room + LINE - 1) & ~(uintptr_t)(LINE - 1)); }

#define T float
#define R f
#include "product.inc"
#define T double
#define R d
#include "product.inc"
#endif
