/* The table of block primitives: one row a dtype, one text for all of them (lanes.inc). */
#ifndef FASTSOFTMAX_LANES_H
#define FASTSOFTMAX_LANES_H

#include <Python.h>
#include "storage.h"
#include "select.h"
#include "transpose.h"

/* how a logit becomes z, with the reference m that is subtracted */
typedef struct {
    double m, z_m;                     /* m a raw logit, z_m its z */
    double scale, scale_log2e;         /* 1/temperature, times log2 e */
    double cap, scale_over_cap;        /* softcap, 0 for none */
} fs_map;

/* what is made of the second array: nothing, its logarithm is taken, it is one, or it is not looked at */
enum { OF_PROBS, OF_LOGS, OF_SECOND, OF_LOGITS };

/* where a block is read and written; t[k] = w[k]*(keep*q[k] + smooth), w or q absent: 1 or 0; OF_LOGS exp(q_scale*q[k] -
 * q_shift) in the place of q[k] */
typedef struct {
    const void *x, *q, *w;
    void *out;
    Py_ssize_t n;
    int stream;                        /* whether out goes past the caches */
    double keep, smooth;
    /* of write_exps alone: the maximum of x, and what out does not exceed; the exps that were kept of it, in the place of x or
     * aside, or NULL, and by how many powers of two they are larger than from that maximum */
    double top, most;
    const void *e;
    int raised;
    const void *ahead;                 /* what is fetched while kept exps are multiplied, a quarter of as much; or NULL */
    double mean;                       /* of f: of write_centered alone */
    int kind;
    double q_scale, q_shift;
} fs_block;

/* a block of the row before, to be written while this one is read */
typedef struct {
    void (*write)(const fs_block *, const fs_map *, double);
    fs_block block;
    fs_map map;
    double a;
    Py_ssize_t piece;                  /* logits read, then written, in turn: memory does both at once */
} fs_late;

#define BLOCK_SIZE 4096                /* classes of a block, contract.BLOCK */

/* The block after the one whose exps are kept, or no x: its maximum is taken while this one's exps are computed, for it must be
 * known before its own may stand in its place. Logits are fetched in order, a block and a half before their exps are computed: with
 * 1.25 blocks rows of 100,000 float32 take 1.15 times as long on one thread of Zen 5, with 2 blocks 1.05. Of short rows a quarter is
 * fetched while the row before is multiplied (5,000 classes: 1.2 times faster, 10,000 1.1); more than memory gives in that time is
 * dropped (all four quarters: 1.7 times as long as none). */
typedef struct {
    const void *x;
    Py_ssize_t n;
    const void *ahead;                 /* what is fetched meanwhile, so many quarters of as much as is read; or NULL */
    int quarters;
    const void *seen;                  /* the block whose maximum is known, or NULL */
    double max;
} fs_next;

/* what a block is read for */
typedef struct {
    double max, sum;                   /* the maximum m; sum exp(z - z_m) */
    double alone;                      /* that without one maximum, where it is less than PEAKED and m more than `above` */
    double above;
    int raised;                        /* powers of two by which exps that were kept are larger than from m; or NOT_KEPT */
} fs_sums;
#define PEAKED 1.99                    /* of two equal maxima the sum is more, whatever the rounding of exps */
#define UNKNOWN -1.0
#define NOT_KEPT -1
#define CLEAR 0x1p-40                  /* what is cut off, 2^12 times 2^LOW, is below the last bit of double */

/* room for the exps of a block, and a vector beyond */
typedef struct { double exps[BLOCK_SIZE + 8] __attribute__((aligned(64))); } fs_room;

/* classes of rows that are computed abreast, one in each lane: with more, turning them costs what it saves (Zen 4; loss of
 * 100 float32 classes 214 and 300 cycles a row, softmax 234 and 233) */
#define MOST_ABREAST_f 100
#define MOST_ABREAST_d 64
typedef struct {
    char x[MOST_ABREAST_f * VEC_BYTES], e[MOST_ABREAST_f * VEC_BYTES];
} __attribute__((aligned(64))) fs_abreast;

/* what is looked for in a block, and where it goes; what was seen beside it */
typedef struct {
    double threshold;                  /* only logits above it, or NaN, are candidates; inf where none can be */
    Py_ssize_t base, n, k;             /* the class a block begins with; how many candidates there are, and are wanted */
    fs_candidate *found;
} fs_find;
typedef struct {
    double m, s, d;                    /* maximum, sum exp(z - z_m), and of that times z_m - z */
    Py_ssize_t above;
    uint32_t runs;                     /* those that hold candidates: at most 32, of 64 vectors of 2 */
} fs_seen;
#define TOP_GROUPS 128
#define FEW 32                         /* candidates that are kept in order */
#define RUN 64                         /* vectors */

/* a step of an optimizer: contract.Step */
enum { STEP_SGD, STEP_MOMENTUM, STEP_ADAGRAD, STEP_ADAM };
typedef struct {
    void *x;                           /* the parameter */
    const void *g;                     /* its gradient, and the optimizer's state, in what is computed with */
    void *state[2];
    int rule;
    double numbers[7], decay;
} fs_step;

typedef struct {
    Py_ssize_t itemsize, weight_itemsize;
    double (*get)(const void *, Py_ssize_t);
    void (*put)(void *, Py_ssize_t, double);
    double (*block_max)(const void *, Py_ssize_t);
    int (*any_nan)(const void *, Py_ssize_t);
    double (*exp_sum)(const void *, Py_ssize_t, const fs_map *);
    double (*sum_without_max)(const void *, Py_ssize_t, const fs_map *);
    int (*max_exp_sum)(const void *, void *, Py_ssize_t, double, const fs_late *, fs_sums *);
    void (*target_sums)(const fs_block *, const fs_map *, int, double *, double *);
    double (*short_rest)(const void *, Py_ssize_t, double, double, const void *, void *);
    void (*short_write)(const void *, Py_ssize_t, double, void *);
    void (*write_probs)(const fs_block *, const fs_map *, double);
    void (*write_log_probs)(const fs_block *, const fs_map *, double);
    double (*grad_sum)(const void *, const void *, Py_ssize_t, int);
    void (*write_softmax_grad)(const fs_block *, double, int);
    double (*divergence)(const void *, const void *, Py_ssize_t, int);
    Py_ssize_t abreast, most_abreast;  /* how many rows, of how many classes */
    void (*load_abreast)(fs_abreast *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t);
    void (*rests_abreast)(fs_abreast *, Py_ssize_t, double, const void *, double *, double *, double *);
    void (*write_abreast)(fs_abreast *, Py_ssize_t, const double *, void *, Py_ssize_t, Py_ssize_t);
    void (*write_logs_abreast)(fs_abreast *, Py_ssize_t, double, const double *, const double *, void *, Py_ssize_t,
                               Py_ssize_t);
    void (*rest_alone)(fs_abreast *, const void *, Py_ssize_t, double, double *, double *, double *);
    double (*relative)(double, double, double);
    void (*exps)(const void *, void *, Py_ssize_t, double, fs_next *, const fs_late *, fs_sums *);
    double (*sum_of_others)(void *, Py_ssize_t);
    void (*write_exps)(const fs_block *, const fs_map *, double);
    int (*look)(const void *, Py_ssize_t, const fs_map *, double, int, double, fs_seen *);
    void (*search)(const void *, Py_ssize_t, uint32_t, fs_find *);
    double (*below)(double);
    Py_ssize_t (*find)(const void *, Py_ssize_t, double);
    Py_ssize_t (*count_above)(const void *, Py_ssize_t, double);
    double (*mass_above)(const void *, Py_ssize_t, const fs_map *, double);
    void (*group_tops)(const void *, Py_ssize_t, double *);
    Py_ssize_t (*pick)(const void *, Py_ssize_t, const fs_map *, double, double, double, Py_ssize_t);
    int (*centered_sums)(const fs_block *, const fs_map *, const fs_late *, fs_seen *);
    void (*write_centered)(const fs_block *, const fs_map *, double);
    void (*step)(const fs_step *, Py_ssize_t, Py_ssize_t);
} fs_lanes;

/* sums of each kind side by side, where a loop has several: AVX2 has 16 registers (Zen 1, topk of 512 x 100,000: 28 ms,
 * with 4 of each 32) */
#define SUMS (VEC_BYTES == 64 ? 4 : 2)
#define AHEAD_BYTES 8192               /* fetched while a block is read: loss of 512 x 100,000 float64 15.7 -> 13.4 ms */
#define HEADROOM_f 60                  /* powers of two that a sum of 2^12 terms may lie above 1 */
#define HEADROOM_d 400
/* The same of exps that are kept. To the bit they serve as those from a block's maximum, if the factor of these lies between
 * 1/SERVING and SERVING: theirs, times LOWER, is a normal number then, and what these leave out becomes 0. */
#define HEADROOM_KEPT 20
#define SERVING 0x1p40

#define LEAST_f 0x1p-60 /* times LOWER it is a normal number */
#define LEAST_d 0x1p-500

#define v_of_f vf
#define v_of_d vd
#define W_of_f W_F
#define W_of_d W_D
#define mask_of_f vi
#define mask_of_d vl
#define real_of_f float
#define real_of_d double
#define kept_as_f f32
#define kept_as_d f64
#define is_halved_bf16 1               /* how two vectors are loaded `mixed`: even and odd logits */
#define is_halved_f16 0
#define is_halved_f32 0
#define is_halved_f64 0
#define next_f nextafterf
#define next_d nextafter
#define zero_f64 0.0
#define zero_f32 0.0f
#define zero_bf16 ((bf16){0})
#define zero_f16 ((f16){0})
#define minus_inf_f64 (-INFINITY)
#define minus_inf_f32 (-INFINITY)
#define minus_inf_bf16 ((bf16){0xff80})
#define minus_inf_f16 ((f16){0xfc00})

#define T double
#define KEEPS 1
#define S f64
#define R d
#include "lanes.inc"
#define T float
#define KEEPS 1
#define S f32
#define R f
#include "lanes.inc"
#define T bf16
#define KEEPS 0
#define S bf16
#define R f
#include "lanes.inc"
#define T f16
#define KEEPS 0
#define S f16
#define R f
#include "lanes.inc"

/* exp(x) for x <= 0 and log(1 + x), and of n numbers, to the bit the same, which are read and written up to whole vectors */
INLINE vd exp_d(vd x) { return exp2_d(x * 1.44269504088896340736); }
#define ONE_AND_EACH(name) \
    static double name##_one(double x) { return name##_d(set_d(x))[0]; } \
    static void name##_each(const double *x, double *y, Py_ssize_t n) { \
        for (Py_ssize_t k = 0; k < n; k += W_D) { \
            vd v; \
            memcpy(&v, x + k, sizeof v); \
            v = name##_d(v); \
            memcpy(y + k, &v, sizeof v); \
        } \
    }
ONE_AND_EACH(exp)
ONE_AND_EACH(log1p)
#undef ONE_AND_EACH

/* in the order of the codes in dtypes.py */
static const fs_lanes *const fs_table[] = {&lanes_f64, &lanes_f32, &lanes_bf16, &lanes_f16};

#endif
