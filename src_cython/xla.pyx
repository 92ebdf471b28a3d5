# cython: freethreading_compatible=True, cdivision=True
# The handlers that XLA calls for fastsoftmax.jax, on its own threads and without the interpreter, over the C API.
# Class axis last, arrays close together. vmap adds axes in front, to every argument and result.

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport NAN
from libc.stdint cimport int8_t, int16_t, uint8_t, uint16_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from fastsoftmax.backends.cython import C_API as _C_API

include "header.pxi"
include "xla_ffi.pxi"
include "xla_frame.pxi"
include "xla_linear.pxi"

cdef extern from "huge_pages.h":
    void ask_for_huge_pages(void *, size_t) noexcept nogil

cdef const Api *kernels = <const Api *>PyCapsule_GetPointer(_C_API, API_CAPSULE)
if kernels.version != API_VERSION or kernels.struct_size != sizeof(Api):
    raise ImportError("the handlers for XLA and the compiled kernels are of different versions: reinstall fastsoftmax")

cdef extern from "fastsoftmax.h":
    int64_t NO_IGNORE "FASTSOFTMAX_NO_IGNORE"
    enum:
        FLOAT64 "FASTSOFTMAX_FLOAT64"
        FLOAT32 "FASTSOFTMAX_FLOAT32"
        BFLOAT16 "FASTSOFTMAX_BFLOAT16"
        FLOAT16 "FASTSOFTMAX_FLOAT16"

# The attributes, which XLA sorts by name: `numbers`, float64, and `whole`, int64.
NUMBERS = ("temperature", "softcap", "label_smoothing", "z_loss")
WHOLE = ("kernel", "n_threads", "ignore_index", "has_class_weight", "has_sample_weight", "is_mean", "empty_is_zero")
KERNELS = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "soft_cross_entropy")

cdef struct Numbers:
    double temperature, softcap, label_smoothing, z_loss

cdef struct Whole:
    int64_t kernel, n_threads, ignore_index, has_class_weight, has_sample_weight, is_mean, empty_is_zero

cdef enum Kernel:
    SOFTMAX, LOG_SOFTMAX, LOGSUMEXP, CROSS_ENTROPY, SOFT_CROSS_ENTROPY

# one call, taken out of its frame
cdef struct Call:
    const XlaApi *api
    const Numbers *numbers
    const Whole *whole
    const XlaBuffer *logits
    const XlaBuffer *target        # labels or target_probs
    const XlaBuffer *class_weight  # or NULL; (n_classes,), or as many of these as vmap made of it
    const XlaBuffer *sample_weight # or NULL; one a row
    const XlaBuffer *first         # results: out, lse or losses
    const XlaBuffer *second        # dlogits, or NULL
    int dtype
    int64_t n_rows, n_classes
    int64_t n_parts                # runs of rows that have class weights of their own
    int64_t n_losses               # each of so many rows that follow each other: 1 for reduction="none"
    const int64_t *labels
    double *losses                 # one a row
    double *totals                 # one a loss: what a mean divides by
    double *norms                  # one a row, 1/total, where there are several means; else NULL
    ApiOptions options


cdef int64_t size_of(const XlaBuffer *buffer) noexcept nogil:
    cdef int64_t i, size = 1
    for i in range(buffer.rank):
        size *= buffer.dims[i]
    return size


cdef int dtype_of(const XlaBuffer *buffer) noexcept nogil:
    if buffer.dtype == XLA_F32:
        return FLOAT32
    if buffer.dtype == XLA_F64:
        return FLOAT64
    if buffer.dtype == XLA_BF16:
        return BFLOAT16
    return FLOAT16 if buffer.dtype == XLA_F16 else -1


cdef size_t itemsize_of(int dtype) noexcept nogil:
    return 8 if dtype == FLOAT64 else 4 if dtype == FLOAT32 else 2


cdef bint take(Call *call, XlaFrame *frame) noexcept nogil:
    """Take the frame apart; False where it is not as fastsoftmax.jax makes it."""
    cdef XlaAttributes *attributes = &frame.attributes
    cdef int64_t n = 1
    if (frame.stage != XLA_EXECUTE or attributes.size != 2 or attributes.types[0] != XLA_ARRAY or attributes.types[1] != XLA_ARRAY
            or (<XlaArray *>attributes.items[0]).size * 8 != sizeof(Numbers) or (<XlaArray *>attributes.items[1]).size * 8 != sizeof(Whole)):
        return False
    call.api = frame.api
    call.numbers = <const Numbers *>(<XlaArray *>attributes.items[0]).data
    call.whole = <const Whole *>(<XlaArray *>attributes.items[1]).data
    call.target = call.class_weight = call.sample_weight = call.second = NULL
    call.labels = NULL
    n += call.whole.kernel >= CROSS_ENTROPY
    n += call.whole.has_class_weight + call.whole.has_sample_weight
    if frame.arguments.size != n or not 1 <= frame.results.size <= 2:
        return False
    call.logits, call.first = <XlaBuffer *>frame.arguments.items[0], <XlaBuffer *>frame.results.items[0]
    if call.whole.kernel >= CROSS_ENTROPY:
        call.target = <XlaBuffer *>frame.arguments.items[1]
    if call.whole.has_class_weight:
        call.class_weight = <XlaBuffer *>frame.arguments.items[2]
    if call.whole.has_sample_weight:
        call.sample_weight = <XlaBuffer *>frame.arguments.items[n - 1]
    if frame.results.size == 2:
        call.second = <XlaBuffer *>frame.results.items[1]
    call.dtype = dtype_of(call.logits)
    if call.dtype < 0 or call.logits.rank < 1:
        return False
    call.n_classes = call.logits.dims[call.logits.rank - 1]
    call.n_rows = size_of(call.logits) / call.n_classes if call.n_classes else 0
    call.options = api_default_options()
    call.options.temperature, call.options.softcap = call.numbers.temperature, call.numbers.softcap
    call.options.label_smoothing, call.options.z_loss = call.numbers.label_smoothing, call.numbers.z_loss
    call.options.n_threads, call.options.ignore_index = <int32_t>call.whole.n_threads, call.whole.ignore_index
    return True


cdef XlaError *handle(XlaFrame *frame) noexcept nogil:
    cdef Call call
    if is_question(frame):
        return describe(frame)
    if not is_readable(frame):
        return fail(frame.api, XLA_FAILED_PRECONDITION, OTHER_XLA)
    if not take(&call, frame):
        return fail(frame.api, XLA_FAILED_PRECONDITION, OTHER_DOOR)
    return losses_of(&call) if call.whole.kernel >= CROSS_ENTROPY else softmax_of(&call)


cdef XlaError *checked(const Call *call, int64_t status) noexcept nogil:
    """NULL, or the error of a kernel's status."""
    if status == API_OK:
        return NULL
    if status < 0:
        return fail(call.api, XLA_INVALID_ARGUMENT, api_status_text(status))
    return label_error(call, status)


cdef XlaError *label_error(const Call *call, int64_t row) noexcept nogil:
    """As fastsoftmax's LabelError has it: 'labels[1, 3] is 12, outside [0, 10) and not ignore_index=-100'."""
    cdef char text[512]
    cdef int at = snprintf(text, 32, "labels")
    cdef int64_t axis, inside = call.n_rows, rest = row
    for axis in range(min(call.target.rank, <int64_t>16)):
        inside /= call.target.dims[axis]
        at += snprintf(text + at, 32, "%s%lld", b"[" if axis == 0 else b", ", <long long>(rest / inside))
        rest %= inside
    at += snprintf(text + at, 96, "%s is %lld, outside [0, %lld)", b"]" if call.target.rank else b"",
                   <long long>call.labels[row], <long long>call.n_classes)
    if call.options.ignore_index != NO_IGNORE:
        snprintf(text + at, 64, " and not ignore_index=%lld", <long long>call.options.ignore_index)
    return fail(call.api, XLA_INVALID_ARGUMENT, text)


cdef XlaError *softmax_of(Call *call) noexcept nogil:
    cdef int64_t status, v = call.n_classes, n = call.n_rows
    cdef double *lse
    if call.whole.kernel != LOGSUMEXP:
        ask_for_huge_pages(call.first.data, n * v * itemsize_of(call.dtype))
    if call.whole.kernel == SOFTMAX:
        status = kernels.softmax(call.dtype, n, v, call.logits.data, v, call.first.data, v, &call.options)
    elif call.whole.kernel == LOG_SOFTMAX:
        status = kernels.log_softmax(call.dtype, n, v, call.logits.data, v, call.first.data, v, &call.options)
    elif call.first.dtype == XLA_F64:
        status = kernels.logsumexp(call.dtype, n, v, call.logits.data, v, <double *>call.first.data, &call.options)
    else:
        lse = <double *>calloc(n + 1, sizeof(double))
        if lse == NULL:
            return fail(call.api, XLA_RESOURCE_EXHAUSTED, "no memory for one number a row")
        status = kernels.logsumexp(call.dtype, n, v, call.logits.data, v, lse, &call.options)
        narrow(lse, <float *>call.first.data, n)
        free(lse)
    return checked(call, status)


cdef void narrow(const double *wide, float *out, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        out[i] = <float>wide[i]


cdef XlaError *losses_of(Call *call) noexcept nogil:
    """Losses, and dlogits where they are wanted."""
    cdef XlaError *error = NULL
    cdef int64_t n = call.n_rows
    call.n_losses = size_of(call.first)
    call.n_parts = parts_of(call)
    # labels, losses, norms and sample weights, where they are not as they came
    cdef int64_t *room = <int64_t *>calloc(4 * n + call.n_losses + 1, sizeof(int64_t))
    if room == NULL:
        return fail(call.api, XLA_RESOURCE_EXHAUSTED, "no memory for one number a row")
    call.losses = <double *>(room + n)
    if call.n_losses == n and call.first.dtype == XLA_F64 and not call.whole.is_mean:
        call.losses = <double *>call.first.data
    call.totals = <double *>(room + 4 * n)
    call.norms = <double *>(room + 2 * n) if call.whole.is_mean and call.n_losses > 1 else NULL
    call.options.dlosses = call.norms
    if call.sample_weight != NULL:
        call.options.sample_weight = as_doubles(call.sample_weight, <double *>(room + 3 * n), n)
    if call.whole.kernel == CROSS_ENTROPY:
        call.labels = as_int64(call.target, room, n)
    error = weigh(call)
    if error == NULL:
        if call.second != NULL and call.second.data != call.logits.data:
            ask_for_huge_pages(call.second.data, n * call.n_classes * itemsize_of(call.dtype))
        error = run_parts(call)
    free(room)
    return error


cdef int64_t parts_of(Call *call) noexcept nogil:
    """How many runs of rows have class weights of their own: 1 unless vmap runs over weights that differ."""
    cdef int64_t i, n
    cdef size_t n_bytes
    cdef const char *weights
    if call.class_weight == NULL or call.n_classes == 0:
        return 1
    n = size_of(call.class_weight) / call.n_classes
    n_bytes = call.n_classes * (8 if call.class_weight.dtype == XLA_F64 else 4)
    weights = <const char *>call.class_weight.data
    for i in range(1, n):
        if memcmp(weights, weights + i * n_bytes, n_bytes):
            return n
    return 1


cdef const double *as_doubles(const XlaBuffer *buffer, double *room, int64_t n) noexcept nogil:
    cdef int64_t i
    if buffer.dtype == XLA_F64:
        return <const double *>buffer.data
    for i in range(n):
        room[i] = (<const float *>buffer.data)[i]
    return room


ctypedef fused integer:
    int8_t
    int16_t
    int32_t
    uint8_t
    uint16_t
    uint32_t


cdef void widen(const integer *labels, int64_t *room, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        room[i] = labels[i]


cdef const int64_t *as_int64(const XlaBuffer *buffer, int64_t *room, int64_t n) noexcept nogil:
    cdef int64_t i
    if buffer.dtype == XLA_S64:
        return <const int64_t *>buffer.data
    if buffer.dtype == XLA_S32:
        widen(<const int32_t *>buffer.data, room, n)
    elif buffer.dtype == XLA_S16:
        widen(<const int16_t *>buffer.data, room, n)
    elif buffer.dtype == XLA_S8:
        widen(<const int8_t *>buffer.data, room, n)
    elif buffer.dtype == XLA_U32:
        widen(<const uint32_t *>buffer.data, room, n)
    elif buffer.dtype == XLA_U16:
        widen(<const uint16_t *>buffer.data, room, n)
    elif buffer.dtype == XLA_U8:
        widen(<const uint8_t *>buffer.data, room, n)
    else:  # uint64: what int64 cannot hold is as wrong as the largest that it can
        for i in range(n):
            room[i] = <int64_t>min((<const uint64_t *>buffer.data)[i], <uint64_t>0x7fffffffffffffff)
    return room


cdef const void *weights_of(const Call *call, int64_t part) noexcept nogil:
    cdef int itemsize
    if call.class_weight == NULL:
        return NULL
    itemsize = 8 if call.class_weight.dtype == XLA_F64 else 4
    return <const char *>call.class_weight.data + part * call.n_classes * itemsize


cdef XlaError *weigh(Call *call) noexcept nogil:
    """Check all labels before anything is written; what means divide by, and their gradients are multiplied with."""
    cdef int64_t i, j, n_runs = call.n_losses if call.whole.is_mean else call.n_parts
    cdef double norm, total = 0
    cdef XlaError *error
    for i in range(n_runs):
        error = weigh_run(call, i, call.n_rows / n_runs, &total)
        if error != NULL:
            return error
        if not call.whole.is_mean:
            continue
        call.totals[i] = total
        norm = 1 / total if total else 0.0 if call.whole.empty_is_zero else NAN
        if call.norms == NULL:
            call.options.grad_scale = norm
        else:
            for j in range(call.n_rows / n_runs):
                call.norms[i * (call.n_rows / n_runs) + j] = norm
    return NULL


cdef XlaError *weigh_run(const Call *call, int64_t run, int64_t n, double *total) noexcept nogil:
    """The weight of n rows."""
    cdef int64_t row = run * n, status
    cdef ApiOptions options = call.options
    if options.sample_weight != NULL:
        options.sample_weight = call.options.sample_weight + row
    if call.labels == NULL:
        total[0] = n
        if options.sample_weight != NULL:
            total[0] = pairwise_sum(options.sample_weight, n)
        return NULL
    options.class_weight = weights_of(call, row / (call.n_rows / call.n_parts) if n else 0)
    status = kernels.scan_labels(call.dtype, n, call.n_classes, call.labels + row, total, &options)
    return checked(call, status + row if status >= 0 else status)


cdef XlaError *run_parts(Call *call) noexcept nogil:
    cdef int64_t i, row, status = API_OK, v = call.n_classes, n = call.n_rows / call.n_parts
    cdef int64_t row_bytes = v * itemsize_of(call.dtype)
    cdef ApiOptions options = call.options
    cdef const char *logits = <const char *>call.logits.data
    cdef char *dlogits = NULL
    for i in range(call.n_parts if n else 0):
        row = i * n
        options.class_weight = weights_of(call, i)
        options.dlosses = call.norms + row if call.norms != NULL else NULL
        if options.sample_weight != NULL:
            options.sample_weight = call.options.sample_weight + row
        if call.second != NULL:
            dlogits = <char *>call.second.data + row * row_bytes
        if call.labels != NULL:
            status = kernels.cross_entropy(call.dtype, n, v, logits + row * row_bytes, v, call.labels + row,
                                           call.losses + row, NULL, dlogits, v, &options)
        else:
            status = kernels.soft_cross_entropy(call.dtype, n, v, logits + row * row_bytes, v,
                                                <const char *>call.target.data + row * row_bytes, v,
                                                call.losses + row, NULL, dlogits, v, &options)
        if status != API_OK:
            return checked(call, status + row if status >= 0 else status)
    reduce(call)
    return NULL


cdef void reduce(const Call *call) noexcept nogil:
    """The losses of the rows to those that are wanted."""
    cdef int64_t i, n = call.n_rows / call.n_losses if call.n_losses else 0
    cdef double loss
    if call.losses == call.first.data:
        return
    for i in range(call.n_losses):
        loss = pairwise_sum(call.losses + i * n, n)
        if call.whole.is_mean and call.totals[i]:
            loss /= call.totals[i]
        elif call.whole.is_mean:
            loss = 0.0 if call.whole.empty_is_zero else NAN
        if call.first.dtype == XLA_F64:
            (<double *>call.first.data)[i] = loss
        else:
            (<float *>call.first.data)[i] = <float>loss


cdef double pairwise_sum(const double *x, int64_t n) noexcept nogil:
    cdef int64_t i
    cdef double total = 0
    if n > 128:
        return pairwise_sum(x, n / 2) + pairwise_sum(x + n / 2, n - n / 2)
    for i in range(n):
        total += x[i]
    return total


handler = PyCapsule_New(<void *>handle, NULL, NULL)
