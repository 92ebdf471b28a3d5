# The C API: each function of fastsoftmax.h fills a task with its arguments, as they are; `run_given` checks and runs it.

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uintptr_t

include "header.pxi"

cdef extern from "Python.h":
    Py_ssize_t MOST_BYTES "PY_SSIZE_T_MAX"  # of an array

cdef double LEAST_SCALE = 1e-15, MOST_SCALE = 1e15  # check.numbers.SCALES


cdef int64_t api_softmax(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                         void *out, int64_t out_stride, const ApiOptions *options) noexcept nogil:
    cdef Task task = given(SOFTMAX, logits, logits_stride, NULL, 0, out, out_stride)
    return run_given(&task, dtype, n_rows, n_classes, options)


cdef int64_t api_log_softmax(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                             void *out, int64_t out_stride, const ApiOptions *options) noexcept nogil:
    cdef Task task = given(LOG_SOFTMAX, logits, logits_stride, NULL, 0, out, out_stride)
    return run_given(&task, dtype, n_rows, n_classes, options)


cdef int64_t api_logsumexp(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                           double *lse, const ApiOptions *options) noexcept nogil:
    cdef Task task = given(LSE, logits, logits_stride, NULL, 0, NULL, 0)
    task.lse = lse
    return run_given(&task, dtype, n_rows, n_classes, options)


cdef int64_t api_cross_entropy(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                               const int64_t *labels, double *losses, double *lse, void *dlogits, int64_t dlogits_stride,
                               const ApiOptions *options) noexcept nogil:
    cdef Task task = given(CROSS_ENTROPY, logits, logits_stride, NULL, 0, dlogits, dlogits_stride)
    task.labels, task.losses, task.lse = labels, losses, lse
    return run_given(&task, dtype, n_rows, n_classes, options)


cdef int64_t api_soft_cross_entropy(int dtype, int64_t n_rows, int64_t n_classes, const void *logits, int64_t logits_stride,
                                    const void *target_probs, int64_t target_probs_stride, double *losses, double *lse,
                                    void *dlogits, int64_t dlogits_stride, const ApiOptions *options) noexcept nogil:
    cdef Task task = given(SOFT_CROSS_ENTROPY, logits, logits_stride, target_probs, target_probs_stride, dlogits,
                           dlogits_stride)
    task.losses, task.lse = losses, lse
    return run_given(&task, dtype, n_rows, n_classes, options)


cdef int64_t api_softmax_grad(int dtype, int64_t n_rows, int64_t n_classes, const void *probs, int64_t probs_stride,
                              const void *dprobs, int64_t dprobs_stride, void *out, int64_t out_stride,
                              const ApiOptions *options) noexcept nogil:
    cdef Task task = given(SOFTMAX_GRAD, probs, probs_stride, dprobs, dprobs_stride, out, out_stride)
    return run_given(&task, dtype, n_rows, n_classes, options)


cdef int64_t api_log_softmax_grad(int dtype, int64_t n_rows, int64_t n_classes, const void *log_probs,
                                  int64_t log_probs_stride, const void *dlog_probs, int64_t dlog_probs_stride, void *out,
                                  int64_t out_stride, const ApiOptions *options) noexcept nogil:
    cdef Task task = given(LOG_SOFTMAX_GRAD, log_probs, log_probs_stride, dlog_probs, dlog_probs_stride, out, out_stride)
    return run_given(&task, dtype, n_rows, n_classes, options)


cdef int64_t api_scan_labels(int dtype, int64_t n_rows, int64_t n_classes, const int64_t *labels, double *total_weight,
                             const ApiOptions *options) noexcept nogil:
    cdef Task task = given(CROSS_ENTROPY, NULL, 0, NULL, 0, NULL, 0)
    cdef double total
    cdef int64_t status = take_shape(&task, dtype, n_rows, n_classes)
    if status == API_OK:
        status = take_options(&task, options)
    if status != API_OK:
        return status
    if labels == NULL and n_rows > 0 or not (is_aligned(labels, 8) and is_aligned(total_weight, 8)):
        return API_BAD_POINTER
    status = scan(labels, n_rows, n_classes, task.ignore_index, task.class_weight, task.sample_weight,
                  task.lanes.weight_itemsize == 4, &total)
    if total_weight != NULL:
        total_weight[0] = total
    return status


cdef Task given(int kernel, const void *first, int64_t first_stride, const void *second, int64_t second_stride, void *out,
                int64_t out_stride) noexcept nogil:
    """A task of arrays of rows, whose strides are elements yet."""
    cdef Task task
    memset(&task, 0, sizeof(Task))
    task.kernel = kernel
    task.first, task.first_stride = <const char *>first, first_stride
    task.second, task.second_stride = <const char *>second, second_stride
    task.out, task.out_stride = <char *>out, out_stride
    return task


cdef int64_t run_given(Task *task, int dtype, int64_t n_rows, int64_t n_classes, const ApiOptions *options) noexcept nogil:
    """The whole call: a status."""
    cdef int64_t status = take_shape(task, dtype, n_rows, n_classes)
    if status == API_OK:
        status = take_options(task, options)
    if status != API_OK or n_rows == 0:
        return status
    if is_any_missing(task) or not are_aligned(task):
        return API_BAD_POINTER
    if not take_strides(task, n_rows):
        return API_BAD_STRIDE
    task.stream = (task.out != NULL and task.out != task.first
                   and n_rows * n_classes * task.lanes.itemsize >= STREAMED_BYTES)
    derive(task, not task.stream)
    return run_alone_or_shared(task, n_rows, 1 if options == NULL else min(options.n_threads, MOST_CUTS))


cdef int64_t run_alone_or_shared(Task *task, Py_ssize_t n_rows, int most_threads) noexcept nogil:
    """All rows; the first bad one, or API_OK."""
    cdef Cut cuts[MOST_CUTS]
    cdef Work work
    cdef Py_ssize_t bad, n_cuts, n = work_of(task, n_rows)
    cdef int n_threads = min(most_threads, n // AWAKE) if most_threads > 1 and is_shared(task, n_rows) else 1
    if n_threads == 1 and kept_bytes(task) == 0:
        bad = run_rows(task, 0, n_rows, 0, task.n_blocks, ALL, NULL)
    else:
        work.poll = NULL
        n_cuts = cut_rows(task, n_rows, n_threads, cuts)
        if work_off(&work, task, cuts, n_cuts, n_threads, n < 2 * ASLEEP) == POOL_NO_MEMORY:
            task.keeps = False  # to the bit the same, with a second exp
            work_off(&work, task, cuts, n_cuts, n_threads, n < 2 * ASLEEP)
        bad = first_bad(cuts, n_cuts)
    if n_threads == 1 < most_threads and n >= 2 * AWAKE:
        pool_alone()
    return bad


cdef int64_t take_shape(Task *task, int dtype, int64_t n_rows, int64_t n_classes) noexcept nogil:
    if not 0 <= dtype < 4:
        return API_BAD_DTYPE
    if n_rows < 0 or n_classes < 0 or (n_rows > 0 and not 0 < n_classes <= MOST_BYTES // 8 // n_rows):
        return API_BAD_SIZE
    task.lanes = fs_table[dtype]
    task.n_classes = n_classes
    return API_OK


cdef int64_t take_options(Task *task, const ApiOptions *options) noexcept nogil:
    """What the kernel has a use for; whatever else would change the logits themselves must be at its default."""
    cdef ApiOptions o
    if options != NULL and options.struct_size != sizeof(ApiOptions):
        return API_BAD_OPTION
    o = api_default_options() if options == NULL else options[0]
    if (not LEAST_SCALE <= o.temperature <= MOST_SCALE or not (o.softcap == 0 or LEAST_SCALE <= o.softcap <= MOST_SCALE)
            or not 0 <= o.label_smoothing <= 1 or not 0 <= o.z_loss < INFINITY or o.n_threads < 1):
        return API_BAD_OPTION
    task.scale, task.grad_scale = 1 / o.temperature, 1
    if task.kernel != CROSS_ENTROPY and task.kernel != SOFT_CROSS_ENTROPY:
        return API_OK if o.softcap == 0 and (task.kernel < CROSS_ENTROPY or o.temperature == 1) else API_BAD_OPTION
    if not (is_aligned(o.class_weight, task.lanes.weight_itemsize) and is_aligned(o.sample_weight, 8)
            and is_aligned(o.dlosses, 8)):
        return API_BAD_POINTER
    task.class_weight = <const char *>o.class_weight
    task.sample_weight, task.dlosses, task.grad_scale = o.sample_weight, o.dlosses, o.grad_scale
    task.cap, task.smoothing, task.z_loss, task.ignore_index = o.softcap, o.label_smoothing, o.z_loss, o.ignore_index
    return API_OK


cdef bint is_any_missing(const Task *task) noexcept nogil:
    """Whether an array that the kernel cannot do without is NULL."""
    if task.first == NULL:
        return True
    if task.kernel == LSE:
        return task.lse == NULL
    if task.kernel == SOFTMAX or task.kernel == LOG_SOFTMAX:
        return task.out == NULL
    if task.kernel == CROSS_ENTROPY:
        return task.labels == NULL or task.losses == NULL
    if task.kernel == SOFT_CROSS_ENTROPY:
        return task.second == NULL or task.losses == NULL
    return task.second == NULL or task.out == NULL


cdef inline bint is_aligned(const void *x, Py_ssize_t itemsize) noexcept nogil:
    return <uintptr_t>x % <uintptr_t>itemsize == 0


cdef bint are_aligned(const Task *task) noexcept nogil:
    return (is_aligned(task.first, task.lanes.itemsize) and is_aligned(task.second, task.lanes.itemsize)
            and is_aligned(task.out, task.lanes.itemsize) and is_aligned(task.labels, 8) and is_aligned(task.losses, 8)
            and is_aligned(task.lse, 8))


cdef bint take_strides(Task *task, Py_ssize_t n_rows) noexcept nogil:
    """From elements to bytes; False where rows that are written would overlap each other, or what is read in place."""
    cdef Py_ssize_t most = MOST_BYTES // 8 // n_rows, itemsize = task.lanes.itemsize
    if not (-most <= task.first_stride <= most and -most <= task.second_stride <= most and -most <= task.out_stride <= most):
        return False
    if task.out != NULL and n_rows > 1 and (
            -task.n_classes < task.out_stride < task.n_classes
            or task.out == task.first and task.out_stride != task.first_stride
            or task.out == task.second and task.out_stride != task.second_stride):
        return False
    task.first_stride *= itemsize
    task.second_stride *= itemsize
    task.out_stride *= itemsize
    return True


cdef Api API
memset(&API, 0, sizeof(Api))
API.version, API.struct_size, API.options_size = API_VERSION, sizeof(Api), sizeof(ApiOptions)
API.softmax, API.log_softmax, API.logsumexp = api_softmax, api_log_softmax, api_logsumexp
API.cross_entropy, API.soft_cross_entropy = api_cross_entropy, api_soft_cross_entropy
API.softmax_grad, API.log_softmax_grad = api_softmax_grad, api_log_softmax_grad
API.scan_labels = api_scan_labels
C_API = PyCapsule_New(&API, API_CAPSULE, NULL)
