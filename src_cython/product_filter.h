/* Gradients of a linear layer from those dlogits alone that are not negligible: of FILTER_CLASSES classes at a time, a list of
 * what is kept, class by class, takes the place of the block, and is multiplied entry by entry. */
#ifndef FASTSOFTMAX_PRODUCT_FILTER_H
#define FASTSOFTMAX_PRODUCT_FILTER_H

#include "product.h"

#define FILTER_CLASSES 1024            /* a piece: with 150 rows it stays in the L2 cache between its two readings */
#define WORD_BYTES 256                 /* of logits, that a word of bits stands for: whole ones may be read of any row */
#define SUM_VECTORS 8                  /* of a gradient, in registers while its entries are added up */
#define NEAR_BYTES (1 << 19)           /* of features, that stay in the L2 cache while the classes go by */

/* `block` is the job of a dense product of the same block of logits. Pieces that are not filtered have a first start of -1. */
typedef struct {
    fs_product block;
    const void *limits;                /* n_given: what is smaller may be dropped */
    const void *row_norms;             /* n_given */
    void *class_norms;                 /* n_classes; where they are computed, OUT */
    double *dropped;                   /* OUT n_pieces x n_given x 2: sum of |dlogits| dropped, and of it times class_norms */
    void *by_class;                    /* OUT n_classes: sum of |dlogits| dropped times row_norms */
    void *sums;                        /* OUT n_classes: sum of all dlogits */
    int64_t *starts;                   /* OUT n_pieces x (FILTER_CLASSES + 1): of each class's entries */
    int64_t *n_kept;                   /* OUT n_pieces */
    const int64_t *pieces;             /* those that are filtered: of products */
    Py_ssize_t n_pieces;
    double most;                       /* share of a piece that may be kept: of more the dense product is faster */
} fs_filter;

#if VEC_BYTES == 64
INLINE uint64_t bits_of_f(vi mask) { return _mm512_movepi32_mask((__m512i)mask); }
INLINE uint64_t bits_of_d(vl mask) { return _mm512_movepi64_mask((__m512i)mask); }
#elif VEC_BYTES == 32
INLINE uint64_t bits_of_f(vi mask) { return (unsigned)_mm256_movemask_ps((__m256)mask); }
INLINE uint64_t bits_of_d(vl mask) { return (unsigned)_mm256_movemask_pd((__m256d)mask); }
#else
INLINE uint64_t bits_of_f(vi mask) {
    uint64_t bits = 0;
    for (int i = 0; i < W_F; i++) bits |= (uint64_t)(mask[i] & 1) << i;
    return bits;
}
INLINE uint64_t bits_of_d(vl mask) {
    uint64_t bits = 0;
    for (int i = 0; i < W_D; i++) bits |= (uint64_t)(mask[i] & 1) << i;
    return bits;
}
#endif

/* The room of a thread that filters: some for each class, some for each row, and the list of what is kept. */
INLINE Py_ssize_t filter_room(Py_ssize_t n_rows, Py_ssize_t itemsize, double most) {
    Py_ssize_t words = FILTER_CLASSES * itemsize / WORD_BYTES;
    return FILTER_CLASSES * 2 * itemsize + (FILTER_CLASSES + 1) * 8 + n_rows * words * 8
         + ((Py_ssize_t)(most * n_rows * FILTER_CLASSES) + 1) * 2 * itemsize + LINE;
}

#define T float
#define R f
#define ROW int32_t
#include "product_filter.inc"
#define T double
#define R d
#define ROW int64_t
#include "product_filter.inc"
#endif
