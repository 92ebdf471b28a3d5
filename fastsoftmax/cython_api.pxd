# fastsoftmax from Cython: `from fastsoftmax cimport cython_api`. The functions need no GIL and never raise; what arrays,
# strides, status and options mean, and what each function computes, stands in include/fastsoftmax.h.

from libc.stdint cimport int32_t, int64_t

cdef enum:  # dtypes; `real` is double for FLOAT64 and float for all others
    FLOAT64 = 0
    FLOAT32 = 1
    BFLOAT16 = 2
    FLOAT16 = 3

cdef enum:  # status; 0 and more is the first row whose label is out of range
    OK = -1
    BAD_DTYPE = -2
    BAD_SIZE = -3
    BAD_POINTER = -4
    BAD_STRIDE = -5
    BAD_OPTION = -6

ctypedef struct Options:
    size_t struct_size  # sizeof(Options)
    const void *class_weight  # (n_classes,) real
    const double *sample_weight  # (n_rows,)
    const double *dlosses  # (n_rows,)
    double grad_scale, temperature, softcap, label_smoothing, z_loss
    int64_t ignore_index
    int32_t n_threads
    int32_t reserved


cdef inline Options default_options() noexcept nogil:
    cdef Options options
    options.struct_size = sizeof(Options)
    options.class_weight = options.sample_weight = options.dlosses = NULL
    options.grad_scale = options.temperature = 1
    options.softcap = options.label_smoothing = options.z_loss = 0
    options.ignore_index = -100
    options.n_threads = 1
    options.reserved = 0
    return options


cdef int64_t softmax(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                     void *out, int64_t out_stride, const Options *options) noexcept nogil
cdef int64_t log_softmax(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                         void *out, int64_t out_stride, const Options *options) noexcept nogil
cdef int64_t logsumexp(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                       double *lse, const Options *options) noexcept nogil
cdef int64_t cross_entropy(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                           const int64_t *labels, double *losses, double *lse, void *dlogits, int64_t dlogits_stride,
                           const Options *options) noexcept nogil
cdef int64_t soft_cross_entropy(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                                const void *target_probs, int64_t target_probs_stride, double *losses, double *lse,
                                void *dlogits, int64_t dlogits_stride, const Options *options) noexcept nogil
cdef int64_t softmax_grad(int dtype, int64_t n_rows, int64_t n_classes, const void *probs, int64_t probs_stride,
                          const void *dprobs, int64_t dprobs_stride, void *out, int64_t out_stride,
                          const Options *options) noexcept nogil
cdef int64_t log_softmax_grad(int dtype, int64_t n_rows, int64_t n_classes, const void *log_probs, int64_t log_probs_stride,
                              const void *dlog_probs, int64_t dlog_probs_stride, void *out, int64_t out_stride,
                              const Options *options) noexcept nogil
cdef int64_t scan_labels(int dtype, int64_t n_rows, int64_t n_classes, const int64_t *labels, double *total_weight,
                         const Options *options) noexcept nogil
cdef const char *status_text(int64_t status) noexcept nogil
