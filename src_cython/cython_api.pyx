# cython: freethreading_compatible=True
"""The kernels for Cython and C: functions to cimport (cython_api.pxd), and _C_API, the capsule of include/fastsoftmax.h."""

from cpython.pycapsule cimport PyCapsule_GetPointer

from fastsoftmax.backends.cython import C_API as _C_API

include "header.pxi"

cdef const Api *api = <const Api *>PyCapsule_GetPointer(_C_API, API_CAPSULE)
if api.version != API_VERSION or api.struct_size != sizeof(Api) or sizeof(Options) != sizeof(ApiOptions):
    raise ImportError("fastsoftmax.cython_api and the compiled kernels are of different versions: reinstall fastsoftmax")


cdef int64_t softmax(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                     void *out, int64_t out_stride, const Options *options) noexcept nogil:
    return api.softmax(dtype, n_rows, n_classes, logits, logits_stride, out, out_stride, <const ApiOptions *>options)


cdef int64_t log_softmax(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                         void *out, int64_t out_stride, const Options *options) noexcept nogil:
    return api.log_softmax(dtype, n_rows, n_classes, logits, logits_stride, out, out_stride, <const ApiOptions *>options)


cdef int64_t logsumexp(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                       double *lse, const Options *options) noexcept nogil:
    return api.logsumexp(dtype, n_rows, n_classes, logits, logits_stride, lse, <const ApiOptions *>options)


cdef int64_t cross_entropy(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                           const int64_t *labels, double *losses, double *lse, void *dlogits, int64_t dlogits_stride,
                           const Options *options) noexcept nogil:
    return api.cross_entropy(dtype, n_rows, n_classes, logits, logits_stride, labels, losses, lse, dlogits, dlogits_stride,
                             <const ApiOptions *>options)


cdef int64_t soft_cross_entropy(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                                const void *target_probs, int64_t target_probs_stride, double *losses, double *lse,
                                void *dlogits, int64_t dlogits_stride, const Options *options) noexcept nogil:
    return api.soft_cross_entropy(dtype, n_rows, n_classes, logits, logits_stride, target_probs, target_probs_stride, losses,
                                  lse, dlogits, dlogits_stride, <const ApiOptions *>options)


cdef int64_t softmax_grad(int dtype, int64_t n_rows, int64_t n_classes, const void *probs, int64_t probs_stride,
                          const void *dprobs, int64_t dprobs_stride, void *out, int64_t out_stride,
                          const Options *options) noexcept nogil:
    return api.softmax_grad(dtype, n_rows, n_classes, probs, probs_stride, dprobs, dprobs_stride, out, out_stride,
                            <const ApiOptions *>options)


cdef int64_t log_softmax_grad(int dtype, int64_t n_rows, int64_t n_classes, const void *log_probs, int64_t log_probs_stride,
                              const void *dlog_probs, int64_t dlog_probs_stride, void *out, int64_t out_stride,
                              const Options *options) noexcept nogil:
    return api.log_softmax_grad(dtype, n_rows, n_classes, log_probs, log_probs_stride, dlog_probs, dlog_probs_stride, out,
                                out_stride, <const ApiOptions *>options)


cdef int64_t scan_labels(int dtype, int64_t n_rows, int64_t n_classes, const int64_t *labels, double *total_weight,
                         const Options *options) noexcept nogil:
    return api.scan_labels(dtype, n_rows, n_classes, labels, total_weight, <const ApiOptions *>options)


cdef const char *status_text(int64_t status) noexcept nogil:
    return api_status_text(status)
