# The short cut: a small plain call from its arguments to its results, with no Problem, Plan or Job on the way.

from cpython.long cimport PyLong_AsLongLongAndOverflow

from numpy import errstate, float64

from fastsoftmax.contract import LOGITS_PER_ROW as _LOGITS_PER_ROW, SCALES as _SCALES, STREAMED_BYTES as _STREAMED_BYTES
from fastsoftmax.dtypes import find as _find

cdef extern from "numpy/arrayobject.h":
    bint PyTypeNum_ISINTEGER(int) nogil
    bint PyTypeNum_ISUNSIGNED(int) nogil
    object PyArray_NewLikeArray(cnp.ndarray, cnp.NPY_ORDER, cnp.PyArray_Descr *, int)

cdef Py_ssize_t STREAMED_BYTES = _STREAMED_BYTES, LOGITS_PER_ROW = _LOGITS_PER_ROW
cdef dict _codes_of_dtypes = {}  # filled as they are met: bfloat16 is not imported for it
cdef tuple _REDUCTIONS = ("none", "mean", "sum")
cdef enum:
    MOST_CUTS = 256  # of its rows
cdef tuple _READ = ("out", "reduction", "ignore_index")  # options that are read; others are numbers or at their defaults
cdef double SMALLEST = _SCALES[0], LARGEST = _SCALES[1]


def short_cut(kernel, dict defaults, tuple arguments, dict options, get_num_threads):
    """The whole call where it is plain, as contract.py says; None, with nothing written, where it is not."""
    cdef Task task
    cdef Py_ssize_t n_rows, bad
    cdef int n_threads
    cdef bint splits
    cdef double total = 0
    memset(&task, 0, sizeof(Task))
    task.kernel, task.scale, task.grad_scale = _CODES[kernel], 1, 1
    if not take_keywords(&task, options, defaults):
        return None
    logits, out, losses, lse, labels = arguments[0] if arguments else None, options.get("out"), None, None, None
    n_rows = take_logits(&task, logits)
    if n_rows == 0 or not may_be_written(out, logits) or len(arguments) != (2 if task.kernel == CROSS_ENTROPY else 1):
        return None
    n_threads = threads_for(&task, n_rows, get_num_threads)
    splits = are_split(&task, n_rows, n_threads, "out" in defaults)
    reduction = options.get("reduction", defaults.get("reduction"))
    if task.kernel == CROSS_ENTROPY:
        ignore_index, labels = options.get("ignore_index", defaults["ignore_index"]), as_int64(arguments[1])
        if (not take_labels(&task, n_rows, logits, labels, reduction, ignore_index, &total)
                or out is not None and share_memory(out, arguments[1])):
            return None
        losses = one_a_row(logits)
        task.losses = <double *>data(losses)
    if task.kernel == CROSS_ENTROPY or task.kernel == LSE:
        lse = one_a_row(logits)
        task.lse = <double *>data(lse)
    if "out" in defaults:
        out = PyArray_NewLikeArray(logits, cnp.NPY_CORDER, NULL, 0) if out is None else out
        task.out, task.out_stride = <char *>data(out), task.first_stride
    derive(&task, not splits)
    bad = run_split_rows(&task, n_rows, n_threads) if splits else run_all_rows(&task, n_rows, n_threads)
    if bad >= 0:
        return bad
    if task.kernel == LSE:
        return scalar_if_0d(lse if task.lanes.itemsize == 8 else rounded(lse, logits))
    if task.kernel != CROSS_ENTROPY:
        return out
    loss = scalar_if_0d(losses) if reduction == "none" else float64(reduced(losses, reduction, total))
    return loss if out is None else (loss, out, scalar_if_0d(lse))


cdef inline Py_ssize_t work_of(const Task *task, Py_ssize_t n_rows) noexcept nogil:
    """In logits."""
    return n_rows * (task.n_classes + LOGITS_PER_ROW)


cdef bint is_shared(const Task *task, Py_ssize_t n_rows) noexcept nogil:
    """Whether the task is worth a second thread: with a worker awake less is worth one."""
    cdef Py_ssize_t work = work_of(task, n_rows)
    return work >= 2 * ASLEEP or work >= 2 * AWAKE and pool_is_near()


cdef int threads_for(const Task *task, Py_ssize_t n_rows, get_num_threads) except -1:
    """How many threads the task is worth."""
    return min(get_num_threads(), work_of(task, n_rows) // AWAKE) if is_shared(task, n_rows) else 1


cdef Py_ssize_t cut_rows(const Task *task, Py_ssize_t n_rows, int n_threads, Cut *cuts) noexcept nogil:
    """Cuts of whole rows, four for each thread but at most MOST_CUTS; their number."""
    cdef Py_ssize_t i, step = 1 + (n_rows - 1) // min(4 * n_threads, MOST_CUTS), n_cuts = (n_rows - 1) // step + 1
    for i in range(n_cuts):
        cuts[i].row0, cuts[i].row1 = i * step, min((i + 1) * step, n_rows)
        cuts[i].block0, cuts[i].block1, cuts[i].phase = 0, task.n_blocks, ALL
    return n_cuts


cdef Py_ssize_t run_all_rows(const Task *task, Py_ssize_t n_rows, int n_threads) except -2:
    """All of the task, on n_threads threads; the first bad row, or -1."""
    cdef Py_ssize_t bad, work = work_of(task, n_rows)
    cdef Cut cuts[MOST_CUTS]
    if n_threads == 1 and kept_bytes(task) == 0:
        with nogil:
            bad = run_rows(task, 0, n_rows, 0, task.n_blocks, ALL, NULL)
    else:
        bad = run_cuts(task, cuts, cut_rows(task, n_rows, n_threads, cuts), n_threads, work < 2 * ASLEEP)
    if n_threads == 1 and work >= 2 * AWAKE:
        pool_alone()
    return bad


cdef bint are_split(const Task *task, Py_ssize_t n_rows, int n_threads, bint writes) noexcept nogil:
    """Whether the rows are cut by classes: as plan.make has it, they are few, and do not keep exps in the output."""
    cdef Py_ssize_t n_blocks = (task.n_classes + BLOCK - 1) // BLOCK
    return (1 < n_threads and n_rows < 2 * n_threads and n_blocks > n_rows
            and not (writes and n_blocks > 1 and task.first_stride <= KEPT_BYTES))


cdef Py_ssize_t run_split_rows(Task *task, Py_ssize_t n_rows, int n_threads) except -2:
    """All of the task, its rows, of which a call below STREAMED_BYTES has 45 at most, cut by classes; the first bad row, or -1."""
    cdef Cut cuts[MOST_CUTS]
    cdef Py_ssize_t i, b, bad, n = 0, of_a_row = max(1, min(4 * n_threads, MOST_CUTS) // n_rows)
    cdef Py_ssize_t step = (task.n_blocks + of_a_row - 1) // of_a_row
    cdef bint is_short = work_of(task, n_rows) < 2 * ASLEEP
    task.states = <double *>malloc(n_rows * (task.n_blocks * PARTS + FINALS) * sizeof(double))
    if task.states == NULL:
        raise MemoryError("the states of split rows")
    task.finals = task.states + n_rows * task.n_blocks * PARTS
    try:
        for i in range(n_rows):
            for b in range(0, task.n_blocks, step):
                cuts[n].row0, cuts[n].row1, cuts[n].block0, cuts[n].block1 = i, i + 1, b, min(b + step, task.n_blocks)
                cuts[n].phase = STATES
                n += 1
        bad = run_cuts(task, cuts, n, n_threads, is_short)
        if bad < 0:
            bad = run_rows(task, 0, n_rows, 0, task.n_blocks, FINISH, NULL)
        if bad < 0 and task.out != NULL:
            for i in range(n):
                cuts[i].phase = WRITE
            run_cuts(task, cuts, n, n_threads, is_short)
            run_rows(task, 0, n_rows, 0, task.n_blocks, LABEL, NULL)
        return bad
    finally:
        free(task.states)


cdef bint take_keywords(Task *task, dict options, dict defaults) except -1:
    """The task's numbers; False unless all options exist, and each is read elsewhere, a plain number or at its default."""
    for name, value in options.items():
        if name not in defaults:
            return False
        default = defaults[name]
        if (value is not default and name not in _READ and (type(value) is not type(default) or value != default)
                and not take_number(task, name, value)):
            return False
    return True


cdef bint take_number(Task *task, name, value) except -1:
    """Whether it is a number that this option may be, a float or int; then the task has it."""
    cdef double x
    if type(value) is not float and (type(value) is not int or not -1 <= value <= 1 << 52):
        return False
    x = value
    if name == "temperature" and SMALLEST <= x <= LARGEST:
        task.scale = 1 / x
    elif name == "softcap" and SMALLEST <= x <= LARGEST:
        task.cap = x
    elif name == "label_smoothing" and 0 <= x <= 1:
        task.smoothing = x
    elif name == "z_loss" and 0 <= x < INFINITY:
        task.z_loss = x
    else:
        return False
    return True


cdef bint is_plain(array) noexcept:
    """Exactly an ndarray, C-contiguous, aligned and in native byte order."""
    return cnp.PyArray_CheckExact(array) and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)


cdef Py_ssize_t take_logits(Task *task, logits) except -1:
    """The task's rows; their number, 0 where this is not for the short cut."""
    cdef Py_ssize_t size
    if not is_plain(logits):
        return 0
    size = cnp.PyArray_SIZE(logits)
    if cnp.PyArray_NDIM(logits) == 0 or size == 0 or cnp.PyArray_NBYTES(logits) >= STREAMED_BYTES:
        return 0
    dtype = (<cnp.ndarray>logits).dtype
    code = _codes_of_dtypes.get(dtype)
    if code is None:
        row = _find(dtype)
        if row is None:
            return 0
        code = _codes_of_dtypes[dtype] = row.code
    task.lanes = fs_table[<int>code]
    task.first = <const char *>cnp.PyArray_DATA(logits)
    task.n_classes = cnp.PyArray_DIM(logits, cnp.PyArray_NDIM(logits) - 1)
    task.first_stride = task.n_classes * task.lanes.itemsize
    return size // task.n_classes


cdef object as_int64(labels):
    """Plain labels of another integer dtype as int64, if that holds all their values; everything else as it is."""
    cdef int kind
    if not is_plain(labels):
        return labels
    kind = cnp.PyArray_TYPE(labels)
    if kind == cnp.NPY_INT64 or not PyTypeNum_ISINTEGER(kind):
        return labels
    if PyTypeNum_ISUNSIGNED(kind) and cnp.PyArray_ITEMSIZE(labels) == sizeof(int64_t):
        return labels
    return cnp.PyArray_Cast(labels, cnp.NPY_INT64)


cdef bint take_labels(Task *task, Py_ssize_t n_rows, logits, labels, reduction, ignore_index, double *total) except -1:
    """The task's labels and what follows from them; False where this is not for the short cut, or a label is wrong."""
    cdef int overflow = 0
    if (not is_plain(labels) or cnp.PyArray_TYPE(labels) != cnp.NPY_INT64 or not have_shape(labels, logits, 1)
            or type(reduction) is not str or reduction not in _REDUCTIONS or type(ignore_index) is not int):
        return False
    task.ignore_index = PyLong_AsLongLongAndOverflow(ignore_index, &overflow)
    task.labels = <const int64_t *>cnp.PyArray_DATA(labels)
    if overflow or scan(task.labels, n_rows, task.n_classes, task.ignore_index, NULL, NULL, False, total) >= 0:
        return False
    if reduction == "mean":
        task.grad_scale = 1 / total[0] if total[0] else NAN
    return True


cdef bint may_be_written(out, logits) noexcept:
    """None, the logits themselves, or an array like them in memory of its own."""
    if out is None or out is logits:
        return out is None or cnp.PyArray_ISWRITEABLE(logits)
    return (is_plain(out) and cnp.PyArray_ISWRITEABLE(out) and cnp.PyArray_DESCR(out) is cnp.PyArray_DESCR(logits)
            and have_shape(out, logits, 0) and not share_memory(out, logits))


cdef bint have_shape(array, logits, int less) noexcept:
    """Whether the array has the shape of the logits, less so many axes at its end."""
    cdef int i, ndim = cnp.PyArray_NDIM(logits) - less
    if cnp.PyArray_NDIM(array) != ndim:
        return False
    for i in range(ndim):
        if cnp.PyArray_DIM(array, i) != cnp.PyArray_DIM(logits, i):
            return False
    return True


cdef bint share_memory(a, b) noexcept:
    """Whether two contiguous arrays have a byte in common."""
    cdef const char *start_a = <const char *>cnp.PyArray_DATA(a)
    cdef const char *start_b = <const char *>cnp.PyArray_DATA(b)
    return start_a < start_b + cnp.PyArray_NBYTES(b) and start_b < start_a + cnp.PyArray_NBYTES(a)


cdef object one_a_row(logits):
    """A float64 array of the leading shape."""
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(logits) - 1, cnp.PyArray_DIMS(logits), cnp.NPY_DOUBLE, False)


cdef object scalar_if_0d(array):
    return array if cnp.PyArray_NDIM(array) else array[()]


cdef object rounded(array, like):
    with errstate(all="ignore"):  # what underflows is an answer
        return array.astype((<cnp.ndarray>like).dtype)


cdef double reduced(losses, reduction, double total):
    cdef double loss = pairwise_sum(<const double *>cnp.PyArray_DATA(losses), cnp.PyArray_SIZE(losses))
    return loss if reduction == "sum" else loss / total if total else NAN


cdef double pairwise_sum(const double *x, Py_ssize_t n) noexcept:
    """The sum in the order of np.add.reduce: eight partial sums over runs of 128, halves above."""
    cdef Py_ssize_t i, half
    cdef int j
    cdef double total = 0
    cdef double part[8]
    if n > 128:
        half = n // 2 - n // 2 % 8
        return pairwise_sum(x, half) + pairwise_sum(x + half, n - half)
    for i in range(n - n % 8):
        part[i % 8] = x[i] if i < 8 else part[i % 8] + x[i]
    if n >= 8:
        total = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]))
    for i in range(n - n % 8, n):
        total += x[i]
    return total
