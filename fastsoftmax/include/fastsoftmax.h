/* fastsoftmax from C and C++: softmax, cross-entropy and gradients on rows in the caller's own memory.
 *
 *     #include <Python.h>
 *     #include <fastsoftmax.h>           its folder is what fastsoftmax.get_include() says; nothing is linked
 *
 *     const fastsoftmax_api *fs = fastsoftmax_import();       once, with the GIL; NULL: an ImportError is set
 *     if (fs->softmax(FASTSOFTMAX_FLOAT32, n_rows, n_classes, logits, n_classes, probs, n_classes, NULL) != FASTSOFTMAX_OK) ...
 *
 * The functions need no GIL, no Python thread state and no Python thread, call nothing of Python's, never raise, and may run
 * in any number of threads at once. Their results have the bits of the Python functions on the Cython backend.
 *
 * Arrays   an array of rows is a pointer to its first class, the class axis contiguous, and a row stride: how many ELEMENTS
 *          (not bytes) one row begins after the one before. It may be any number, n_classes where rows lie close; of what
 *          is written it is at least n_classes or at most -n_classes. Pointers are aligned to their elements.
 * Outputs  may be one of the arrays of rows that are read, exactly (pointer and stride), and else share no memory with
 *          inputs. What stands in them before is never read.
 * Status   FASTSOFTMAX_OK; or a row, 0 or more, the first whose label is outside [0, n_classes); or one of the negative
 *          codes below, where nothing has been written. Labels are checked on the load that uses them, so that other rows may
 *          have been written where one is wrong: scan_labels says so beforehand.
 * Options  NULL for the defaults of fastsoftmax_default_options(). What of them a function reads stands beside it. */
#ifndef FASTSOFTMAX_H
#define FASTSOFTMAX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FASTSOFTMAX_API_VERSION 1      /* changes where what is below does; what is only added at an end leaves it */

enum {                                 /* dtypes of the rows; `real` is double for FLOAT64 and float for all others */
    FASTSOFTMAX_FLOAT64 = 0,
    FASTSOFTMAX_FLOAT32 = 1,
    FASTSOFTMAX_BFLOAT16 = 2,
    FASTSOFTMAX_FLOAT16 = 3
};

enum {                                 /* status */
    FASTSOFTMAX_OK = -1,
    FASTSOFTMAX_BAD_DTYPE = -2,        /* none of the codes above */
    FASTSOFTMAX_BAD_SIZE = -3,         /* negative, or rows of no classes, or more than memory can hold */
    FASTSOFTMAX_BAD_POINTER = -4,      /* NULL where there are rows and it is not optional, or not aligned */
    FASTSOFTMAX_BAD_STRIDE = -5,       /* rows that are written overlap each other, or the rows read in place; or out of range */
    FASTSOFTMAX_BAD_OPTION = -6        /* out of its range, or not for this function, or struct_size is none */
};

#define FASTSOFTMAX_NO_IGNORE INT64_MIN /* an ignore_index that no label can have */

typedef struct fastsoftmax_options {
    size_t struct_size;                /* sizeof(fastsoftmax_options) */
    const void *class_weight;          /* (n_classes,) real; NULL: 1 */
    const double *sample_weight;       /* (n_rows,); NULL: 1. A row of weight 0 is inert: loss, lse and gradient 0 */
    const double *dlosses;             /* (n_rows,), the upstream gradient; NULL: 1 */
    double grad_scale;                 /* gradients are multiplied with it: 1/n_rows, say, for that of a mean */
    double temperature;                /* in [1e-15, 1e15] */
    double softcap;                    /* z = softcap*tanh(logits/temperature/softcap), likewise; 0: none */
    double label_smoothing;            /* in [0, 1] */
    double z_loss;                     /* adds z_loss*lse^2; at least 0 */
    int64_t ignore_index;              /* a row with this label is inert */
    int32_t n_threads;                 /* at most, the caller's own among them; 1: no other, and no lock is taken */
    int32_t reserved;                  /* 0 */
} fastsoftmax_options;

static inline fastsoftmax_options fastsoftmax_default_options(void) {
    fastsoftmax_options options;
    options.struct_size = sizeof options;
    options.class_weight = NULL;
    options.sample_weight = options.dlosses = NULL;
    options.grad_scale = options.temperature = 1;
    options.softcap = options.label_smoothing = options.z_loss = 0;
    options.ignore_index = -100;
    options.n_threads = 1;
    options.reserved = 0;
    return options;
}

typedef struct fastsoftmax_api {
    uint32_t version;                  /* FASTSOFTMAX_API_VERSION */
    uint32_t reserved;
    size_t struct_size, options_size;  /* sizeof of this table and of the options, as the library knows them */

    /* out = exp(z - max z)/sum exp(z - max z), z = logits/temperature. Options: temperature, n_threads. */
    int64_t (*softmax)(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                       void *out, int64_t out_stride, const fastsoftmax_options *options);

    /* out = z - lse, exact also where it is close to 0. Options: temperature, n_threads. */
    int64_t (*log_softmax)(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                           void *out, int64_t out_stride, const fastsoftmax_options *options);

    /* lse = log sum exp z, (n_rows,). Options: temperature, n_threads. */
    int64_t (*logsumexp)(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                         double *lse, const fastsoftmax_options *options);

    /* losses = lse - z[label], (n_rows,); lse, (n_rows,), or NULL; dlogits = their gradient, or NULL. All options. */
    int64_t (*cross_entropy)(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                             const int64_t *labels, double *losses, double *lse, void *dlogits, int64_t dlogits_stride,
                             const fastsoftmax_options *options);

    /* losses = sum target_probs*(lse - z), of targets that need not add up to 1. All options but ignore_index. */
    int64_t (*soft_cross_entropy)(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                                  const void *target_probs, int64_t target_probs_stride, double *losses, double *lse,
                                  void *dlogits, int64_t dlogits_stride, const fastsoftmax_options *options);

    /* out = probs*(dprobs - sum probs*dprobs): the gradient through softmax. Options: n_threads. */
    int64_t (*softmax_grad)(int dtype, int64_t n_rows, int64_t n_classes, const void *probs, int64_t probs_stride,
                            const void *dprobs, int64_t dprobs_stride, void *out, int64_t out_stride,
                            const fastsoftmax_options *options);

    /* out = dlog_probs - exp(log_probs)*sum dlog_probs: the gradient through log_softmax. Options: n_threads. */
    int64_t (*log_softmax_grad)(int dtype, int64_t n_rows, int64_t n_classes, const void *log_probs, int64_t log_probs_stride,
                                const void *dlog_probs, int64_t dlog_probs_stride, void *out, int64_t out_stride,
                                const fastsoftmax_options *options);

    /* All labels, before any logit is read: the first wrong row, or FASTSOFTMAX_OK and total_weight (or NULL), what a mean
     * divides by: the weights of the rows that count, 1 for each without weights. Options: both weights, ignore_index. */
    int64_t (*scan_labels)(int dtype, int64_t n_rows, int64_t n_classes, const int64_t *labels, double *total_weight,
                           const fastsoftmax_options *options);
} fastsoftmax_api;

/* What a negative status means, one line; "" for others. */
static inline const char *fastsoftmax_status_text(int64_t status) {
    switch (status) {
    case FASTSOFTMAX_BAD_DTYPE: return "dtype is none of FASTSOFTMAX_FLOAT64, FLOAT32, BFLOAT16, FLOAT16";
    case FASTSOFTMAX_BAD_SIZE: return "n_rows or n_classes is negative or too large, or there are rows of no classes";
    case FASTSOFTMAX_BAD_POINTER: return "an array is NULL or not aligned to its elements";
    case FASTSOFTMAX_BAD_STRIDE: return "a row stride is too large, or rows that are written would overlap";
    case FASTSOFTMAX_BAD_OPTION: return "an option is out of its range or not for this function, or struct_size is wrong";
    default: return "";
    }
}

/* Whether a table is one that this header describes, or a later one with the same beginning. */
static inline int fastsoftmax_fits(const fastsoftmax_api *api) {
    return api && api->version == FASTSOFTMAX_API_VERSION && api->struct_size >= sizeof(fastsoftmax_api)
        && api->options_size >= sizeof(fastsoftmax_options);
}

#define FASTSOFTMAX_MODULE "fastsoftmax.cython_api"
#define FASTSOFTMAX_CAPSULE FASTSOFTMAX_MODULE "._C_API" /* the attribute _C_API of that module, and the capsule's name */

#ifdef Py_PYTHON_H /* where Python.h stands before this header */
/* The table, which lives as long as the process; NULL with an exception set: an ImportError where the compiled kernels are
 * not built, or the installed fastsoftmax is older than this header, or not made for it. */
static inline const fastsoftmax_api *fastsoftmax_import(void) {
    const fastsoftmax_api *api = NULL;
    PyObject *module = PyImport_ImportModule(FASTSOFTMAX_MODULE);
    PyObject *capsule = module ? PyObject_GetAttrString(module, "_C_API") : NULL;
    if (capsule) api = (const fastsoftmax_api *)PyCapsule_GetPointer(capsule, FASTSOFTMAX_CAPSULE);
    if (api && !fastsoftmax_fits(api)) {
        PyErr_Format(PyExc_ImportError, "the installed fastsoftmax has a C API of version %u, table of %zu bytes; this extension "
                     "was compiled for version %d, %zu bytes: compile it again, or upgrade fastsoftmax",
                     (unsigned)api->version, api->struct_size, FASTSOFTMAX_API_VERSION, sizeof(fastsoftmax_api));
        api = NULL;
    }
    Py_XDECREF(capsule);
    Py_XDECREF(module);
    return api;
}
#endif

#ifdef __cplusplus
}
#endif

#endif
