/* Rows that lie side by side in memory, copied to a tile where the classes of a row do, and back: squares of N x N
 * elements are transposed in registers, as the integers that they are stored in. */
#ifndef FASTSOFTMAX_TRANSPOSE_H
#define FASTSOFTMAX_TRANSPOSE_H

#include "storage.h"

#define LINE 64 /* bytes of a cache line: what is read of a class at a time */

/* lanes of the first halves of two vectors in turn, or of the last ones */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, mask, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, mask, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif
#define FIRST_2 0, 2
#define LAST_2 1, 3
#define FIRST_4 0, 4, 1, 5
#define LAST_4 2, 6, 3, 7
#define FIRST_8 0, 8, 1, 9, 2, 10, 3, 11
#define LAST_8 4, 12, 5, 13, 6, 14, 7, 15
#define FIRST_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LAST_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

#if VEC_BYTES == 32 /* the same within halves of a vector, and a vector of two halves in memory */
#define FIRST_HALVES_4 0, 4, 2, 6
#define LAST_HALVES_4 1, 5, 3, 7
#define FIRST_HALVES_8 0, 8, 1, 9, 4, 12, 5, 13
#define LAST_HALVES_8 2, 10, 3, 11, 6, 14, 7, 15
INLINE __m256i halves(const char *first, const char *last) {
    __m256i v = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)first));
    return _mm256_inserti128_si256(v, _mm_loadu_si128((const __m128i *)last), 1);
}
#endif

#if VEC_BYTES == 64 /* within quarters of a vector (one instruction that keeps both operands), and of whole quarters */
#define FIRST_QUARTERS_8 0, 8, 2, 10, 4, 12, 6, 14
#define LAST_QUARTERS_8 1, 9, 3, 11, 5, 13, 7, 15
#define EVEN_QUARTERS_8 0, 1, 4, 5, 8, 9, 12, 13
#define ODD_QUARTERS_8 2, 3, 6, 7, 10, 11, 14, 15
#define FIRST_QUARTERS_16 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define LAST_QUARTERS_16 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define EVEN_QUARTERS_16 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define ODD_QUARTERS_16 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
/* the bits of a number below N in another order: so the rows come, and so the columns are left */
#define TURNED_8(i) (((i) & 1) << 2 | ((i) & 2) | (i) >> 2)
#define TURNED_16(i) (((i) & 3) << 2 | ((i) & 4) >> 1 | (i) >> 3)
#endif

/* elements a side of a square: vectors of 16-bit ones are half as long, so that a square stays in registers */
#if VEC_BYTES == 64
#define N_8 8
#define N_4 16
#define N_2 16
#elif VEC_BYTES == 32
#define N_8 4
#define N_4 8
#define N_2 8
#else
#define N_8 2
#define N_4 4
#define N_2 8
#endif

INLINE void stream_vector(char *to, const void *from, size_t bytes) {
#if VEC_BYTES == 64
    if (bytes == 64) { _mm512_stream_si512((void *)to, _mm512_loadu_si512(from)); return; }
#endif
#if VEC_BYTES >= 32
    if (bytes == 32) { _mm256_stream_si256((void *)to, _mm256_loadu_si256(from)); return; }
#endif
#if defined(__SSE2__)
    _mm_stream_si128((void *)to, _mm_loadu_si128(from));
#else
    memcpy(to, from, bytes);
#endif
}

/* n bytes from `from`, which lies in its line as `to` does, whole lines of them past the caches */
static void stream_bytes(char *to, const char *from, Py_ssize_t n) {
    Py_ssize_t k = -(uintptr_t)to & (LINE - 1);
    if (k > n) k = n;
    memcpy(to, from, k);
    for (; k + LINE <= n; k += LINE)
        for (int i = 0; i < LINE; i += VEC_BYTES) stream_vector(to + k + i, from + k + i, VEC_BYTES);
    memcpy(to + k, from + k, n - k);
}

#define U uint64_t
#define SIZE 8
#include "transpose.inc"
#define U uint32_t
#define SIZE 4
#include "transpose.inc"
#define U uint16_t
#define SIZE 2
#include "transpose.inc"

/* Element (row, class) of memory lies at x + row*itemsize + class*stride, of a tile at row*tile_stride + class*itemsize.
 * Rows of a tile are aligned, and written up to the next whole vector. A line of each class is moved at a time. Where rows
 * are all that lies between two classes, memory is read in order first, as many classes as stay in the L2 cache: lines a
 * power of two apart are fetched at less than half the speed, and share few of its sets. */
#define EACH_STRIP(READS, ...) do { \
        Py_ssize_t width = n_rows * itemsize, most = stride == width && width > LINE ? READ_BYTES / width : n_classes; \
        for (Py_ssize_t k = 0; k < n_classes; k += most) { \
            Py_ssize_t n = n_classes - k < most ? n_classes - k : most; \
            if (READS) read_ahead(x + k * stride, n * width); \
            for (Py_ssize_t i = 0; i < n_rows; i += LINE / itemsize) { \
                Py_ssize_t rows = n_rows - i < LINE / itemsize ? n_rows - i : LINE / itemsize; \
                __VA_ARGS__; \
            } \
        } \
    } while (0)
#define READ_BYTES (1 << 18)

INLINE void read_ahead(const char *x, Py_ssize_t bytes) {
    for (Py_ssize_t at = 0; at < bytes; at += LINE) (void)*(const volatile char *)(x + at);
}

static void load_tile(const char *x, Py_ssize_t stride, char *tile, Py_ssize_t tile_stride, Py_ssize_t n_rows,
                      Py_ssize_t n_classes, Py_ssize_t itemsize) {
    EACH_STRIP(stride == width, {
        const char *from = x + k * stride + i * itemsize;
        char *to = tile + i * tile_stride + k * itemsize;
        if (itemsize == 8) load_tile_8(from, stride, to, tile_stride, rows, n);
        else if (itemsize == 4) load_tile_4(from, stride, to, tile_stride, rows, n);
        else load_tile_2(from, stride, to, tile_stride, rows, n);
    });
}

static void store_tile(char *x, Py_ssize_t stride, const char *tile, Py_ssize_t tile_stride, Py_ssize_t n_rows,
                       Py_ssize_t n_classes, Py_ssize_t itemsize, int stream) {
    stream = stream && n_rows * itemsize % LINE == 0 && ((uintptr_t)x | (uintptr_t)stride) % LINE == 0;
    EACH_STRIP(stride == width && !stream, {
        char *to = x + k * stride + i * itemsize;
        const char *from = tile + i * tile_stride + k * itemsize;
        if (itemsize == 8) store_tile_8(to, stride, from, tile_stride, rows, n, stream);
        else if (itemsize == 4) store_tile_4(to, stride, from, tile_stride, rows, n, stream);
        else store_tile_2(to, stride, from, tile_stride, rows, n, stream);
    });
}

/* the same for rows whose classes lie side by side, to where the rows do, and back; SQUARE_BYTES(T) are written of a class */
#define SQUARE_BYTES(T) (sizeof(T) == 8 ? N_8 * 8 : sizeof(T) == 4 ? N_4 * 4 : N_2 * 2)
#define LOAD_ABREAST(T, x, stride, tile, tile_stride, n_rows, n_classes) \
    (sizeof(T) == 8 ? load_tile_8 : sizeof(T) == 4 ? load_tile_4 : load_tile_2)( \
        x, stride, tile, tile_stride, n_classes, n_rows)
#define STORE_ABREAST(T, x, stride, tile, tile_stride, n_rows, n_classes) \
    (sizeof(T) == 8 ? store_tile_8 : sizeof(T) == 4 ? store_tile_4 : store_tile_2)( \
        x, stride, tile, tile_stride, n_classes, n_rows, 0)

#endif
