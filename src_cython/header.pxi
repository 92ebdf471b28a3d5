# The C API's header, fastsoftmax/include/fastsoftmax.h, as Cython sees it.

from libc.stdint cimport int32_t, int64_t, uint32_t

cdef extern from "fastsoftmax.h":
    ctypedef struct ApiOptions "fastsoftmax_options":
        size_t struct_size
        const void *class_weight
        const double *sample_weight
        const double *dlosses
        double grad_scale, temperature, softcap, label_smoothing, z_loss
        int64_t ignore_index
        int32_t n_threads
    ctypedef struct Api "fastsoftmax_api":
        uint32_t version
        size_t struct_size, options_size
        int64_t (*softmax)(int, int64_t, int64_t, const void *, int64_t, void *, int64_t, const ApiOptions *) noexcept nogil
        int64_t (*log_softmax)(int, int64_t, int64_t, const void *, int64_t, void *, int64_t, const ApiOptions *) noexcept nogil
        int64_t (*logsumexp)(int, int64_t, int64_t, const void *, int64_t, double *, const ApiOptions *) noexcept nogil
        int64_t (*cross_entropy)(int, int64_t, int64_t, const void *, int64_t, const int64_t *, double *, double *, void *,
                                 int64_t, const ApiOptions *) noexcept nogil
        int64_t (*soft_cross_entropy)(int, int64_t, int64_t, const void *, int64_t, const void *, int64_t, double *, double *,
                                      void *, int64_t, const ApiOptions *) noexcept nogil
        int64_t (*softmax_grad)(int, int64_t, int64_t, const void *, int64_t, const void *, int64_t, void *, int64_t,
                                const ApiOptions *) noexcept nogil
        int64_t (*log_softmax_grad)(int, int64_t, int64_t, const void *, int64_t, const void *, int64_t, void *, int64_t,
                                    const ApiOptions *) noexcept nogil
        int64_t (*scan_labels)(int, int64_t, int64_t, const int64_t *, double *, const ApiOptions *) noexcept nogil
    ApiOptions api_default_options "fastsoftmax_default_options"() noexcept nogil
    const char *api_status_text "fastsoftmax_status_text"(int64_t) noexcept nogil
    const char *API_CAPSULE "FASTSOFTMAX_CAPSULE"
    enum:
        API_VERSION "FASTSOFTMAX_API_VERSION"
        API_OK "FASTSOFTMAX_OK"
        API_BAD_DTYPE "FASTSOFTMAX_BAD_DTYPE"
        API_BAD_SIZE "FASTSOFTMAX_BAD_SIZE"
        API_BAD_POINTER "FASTSOFTMAX_BAD_POINTER"
        API_BAD_STRIDE "FASTSOFTMAX_BAD_STRIDE"
        API_BAD_OPTION "FASTSOFTMAX_BAD_OPTION"
