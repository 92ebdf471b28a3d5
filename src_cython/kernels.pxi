# The row kernels of fastsoftmax/contract.py. One text: dtypes are rows of the table in lanes.h, instruction sets are
# compilations of this file (kernels_baseline.pyx, kernels_v3.pyx, kernels_v4.pyx).

cimport cython
cimport numpy as cnp
from libc.math cimport INFINITY, NAN, exp, fabs, fma, isinf, isnan, log1p, tanh
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset

include "lanes.pxi"

cnp.import_array()

cdef enum:
    FINALS = 7  # doubles a row in Job.finals
    PARTS = 5  # doubles a block in Job.states
    KEPT_BLOCKS = 256  # blocks of a row whose exps can be kept in place
    # bytes at a time where reading and writing take turns and writing has next to nothing to compute, so that its stores come in
    # short bursts (log_softmax of 512 x 100,000: 10.7 ms, and 14.3 ms with pieces of 1,024 logits)
    LIGHT_PIECE = 1024
    NARROW_PIECE = 2048  # logits of 16 bits at a time, which take half the bytes (log_softmax on Zen 5: 0.8 of the time with 512)
    SOON = 2048  # bytes that take as long to be computed as the next ones from memory
    APART_BYTES = 1 << 21  # a row that is streamed before the next one is read
    LATE_BYTES = 1 << 17  # a row of which a part is fetched while the one before is multiplied in place
    GUESSED = 16  # logits of a block whose maximum is taken for the block's at first
cdef double LOG2E = 1.44269504088896340736

cdef enum Phase:
    ALL, STATES, FINISH, WRITE, LABEL

cdef enum Kernel:
    LSE, SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY, SOFT_CROSS_ENTROPY, SOFTMAX_GRAD, LOG_SOFTMAX_GRAD, ENTROPY, KL, JS, CENTERED

from fastsoftmax.contract import (BLOCK as _BLOCK, FINALS as _FINALS, KEPT_BYTES as _KEPT_BYTES, KERNELS as _KERNELS,
                                  KINDS as _KINDS, PARTS as _PARTS)
cdef Py_ssize_t KEPT_BYTES = _KEPT_BYTES
# What AVX-512 streams of float32 is computed twice where a row is larger, instead of being kept in the L2 cache. There, on
# Zen 4, rows of 400 KB gain 8 % on one thread and lose 2 % on two, rows of 513 KB gain 2 % and lose 8 %; with 1.25 MB of L2
# (Ice Lake) these gain 13 % and 9 %. On Zen 5, whose exps take half the time, rows of 40 to 800 KB lose 1 to 15 %. Other exps take
# longer: float64 gains 20 to 30 %, on AVX2 60 %, and float32 25 %.
cdef Py_ssize_t CHEAP_KEPT_BYTES = 0 if is_zen5() else l2_bytes(1 << 20) * 2 // 5
# Reading and writing take turns: with 1,024 logits at a time Zen 5's two threads take up to 1.06 times as long for softmax.
cdef Py_ssize_t PIECE = 512 if is_zen5() else 1024
fetches_near = is_zen5()
KINDS = {name: code for code, name in enumerate(_KINDS)}
_CODES = {name: code for code, name in enumerate(_KERNELS)}
if _BLOCK != BLOCK or _FINALS * sizeof(double) != sizeof(Final) or _PARTS != PARTS:
    raise ImportError("the compiled kernels are of another version: reinstall fastsoftmax")

# what a block, or any run of blocks, is known by
cdef struct State:
    double m       # maximum raw logit
    double s       # sum exp(z - z_m) of the block that holds the maximum (the first such)
    double other   # the same of all other blocks
    double t       # sum of targets, in units of Task.unit
    double d       # sum of targets*(z_m - z), likewise
    double alone   # s without one maximum, to relative accuracy, where s + other < PEAKED; or UNKNOWN
    Py_ssize_t best  # which block holds the maximum

# what the writing pass of a row needs
cdef struct Final:
    Py_ssize_t row  # -1 for none
    Py_ssize_t y   # the label, read once: it was checked as it was read
    double m       # maximum raw logit
    double rest    # sum exp(z - z_m) over all classes but one maximum
    double a       # factor of p: A*g*scale, or 1
    double g       # upstream gradient times scale
    double x_y     # the label's logit, read before the row may be overwritten

# what a block of a row is written from, where exps are relative to its own maximum
cdef struct Top:
    double m       # maximum raw logit
    int raised     # Sums.raised

# a job with its pointers taken out: what every function below works on
cdef struct Task:
    const Lanes *lanes
    int kernel
    const char *first
    const char *second
    char *out
    const int64_t *labels
    const int64_t *ids     # of a contract.Targets, n_targets a row, -1 where there is none
    const double *shares
    double *found
    Py_ssize_t n_targets
    const char *class_weight
    const double *sample_weight
    const double *dlosses
    double *losses
    double *lse
    double *states
    double *finals
    Py_ssize_t n_classes, n_blocks, first_stride, second_stride, out_stride
    # of arrays whose rows lie side by side, `inner` of them: class strides (else 0); the strides above are of `inner` rows.
    # `group` of them are computed together.
    Py_ssize_t inner, group, first_class, second_class, out_class
    double scale, log2e, cap, smoothing, z_loss, grad_scale
    double keep, smooth   # t[k] = w[k]*(keep*q[k] + smooth)
    double spread # sum of these t where a row is a direction
    double unit   # smooth where all targets have it as a factor: a sum of ones is exact, one of V times e/V is not
    bint has_targets, stream, is_short, is_abreast
    bint is_weightless  # whether a row is short, and its loss, if it has one, that of its label alone
    bint by_blocks  # whether exps are relative to a block's own maximum, which they must be to be kept
    bint keeps      # whether they are: to the bit the same
    # Whether a row is written as soon as it is read: where its exps are kept and the output is not streamed, as later they come
    # from no nearer a cache; of soft targets where two rows of logits and targets and one of exps are more than the L2 cache
    # holds, and one of each, read twice, is not (100,000 float32, one thread: 9.1 -> 8.3 ms).
    bint at_once
    int late_quarters  # of a row in place that are fetched while the one before is written
    bint guesses    # whether a block's maximum is guessed for them: its logits are still there where the guess is of no use
    bint is_aside   # in memory of their own: the output is too narrow, or the row before is written meanwhile
    int64_t ignore_index
    int kind              # of the second array: OF_PROBS, OF_LOGS, and for CENTERED others
    bint minus_entropy    # whether sum q*log q is added to the loss
    double q_scale
    const double *shifts


include "rows.pxi"
include "targets.pxi"
include "softmax.pxi"
include "abreast.pxi"
include "bundles.pxi"
include "lines.pxi"
include "sums.pxi"
include "centered.pxi"
include "tiles.pxi"
include "pool.pxi"
include "product.pxi"
include "look.pxi"
include "steps.pxi"


cdef Py_ssize_t run_rows(const Task *task, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t block0, Py_ssize_t block1,
                         int phase, char *room) noexcept nogil:
    """Rows row0 to row1, or their part from block0 to block1; `room`: kept_bytes of memory for this thread alone."""
    cdef Py_ssize_t i
    cdef int64_t y
    cdef Final before  # the row that is written while the next one is read: memory does both at once
    cdef Top tops[KEPT_BLOCKS]  # and the maxima of its blocks
    cdef Next next  # the block whose maximum is taken while the exps of the one before are kept
    if phase == ALL and task.stream and task.n_blocks == 1:
        return run_lines(task, row0, row1)
    if phase == ALL and task.is_abreast:
        return run_abreast(task, row0, row1)
    if phase == ALL and task.is_weightless:
        return run_bundles(task, row0, row1)
    if task.kernel == CENTERED:
        return run_centered(task, row0, row1)
    before.row = -1
    next.seen = NULL
    for i in range(row0, row1):
        y = label_of(task, i)
        if is_inert(task, i, y, phase):
            inert_row(task, i, block0, block1, phase)
        elif phase < WRITE and (is_wrong(task, y) or are_wrong(task, i, block0, block1, phase)):
            return i
        elif phase == STATES:
            states_of(task, i, y, block0, block1)
        elif task.kernel > SOFT_CROSS_ENTROPY:
            sum_row(task, i, block0, block1, phase)
        elif phase != ALL:
            softmax_phase(task, i, y, block0, block1, phase)
        elif not (task.is_short and short_row(task, i, y)):
            softmax_row(task, i, y, row1, &before, tops, &next, room)
    write_row(task, &before, tops, room, row1)
    if task.stream:
        fence()
    return -1


cdef inline bint is_inert(const Task *task, Py_ssize_t i, int64_t y, int phase) noexcept nogil:
    if phase >= WRITE and task.kernel <= SOFT_CROSS_ENTROPY:  # as it was at FINISH, whatever label and weight are now
        return (<Final *>task.finals)[i].row < 0
    return ((task.labels != NULL and y == task.ignore_index)
            or (task.sample_weight != NULL and task.sample_weight[i] == 0))


cdef void inert_row(const Task *task, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1, int phase) noexcept nogil:
    if phase == ALL or phase == FINISH:
        task.losses[i] = 0
        if task.lse != NULL:
            task.lse[i] = 0
    if phase == FINISH:
        (<Final *>task.finals)[i].row = -1
    if (phase == ALL or phase == WRITE) and task.out != NULL:
        memset(out_at(task, i, block0), 0,
               (min(task.n_classes, block1 * BLOCK) - block0 * BLOCK) * task.lanes.itemsize)


cdef void states_of(const Task *task, Py_ssize_t i, Py_ssize_t y, Py_ssize_t block0, Py_ssize_t block1) noexcept nogil:
    cdef Py_ssize_t b
    cdef State state
    if task.labels != NULL and block0 * BLOCK <= y < block1 * BLOCK:
        (<Final *>task.finals)[i].x_y = logit(task, i, y)
    for b in range(block0, block1):
        if task.kernel <= SOFT_CROSS_ENTROPY:
            state = block_state(task, i, b, -INFINITY, NULL, NULL, NULL, NULL)
            single_out(task, i, &state, NULL)
            put_state(task, i, b, state)
        else:
            task.states[(i * task.n_blocks + b) * PARTS] = block_sum(task, i, b)


cdef void derive(Task *task, bint keep_exps) noexcept nogil:
    """The fields that follow from the others. keep_exps: whether the output may hold a row's exps meanwhile."""
    cdef bint is_dense, is_narrow, may_guess, is_cheap
    cdef Py_ssize_t k
    task.n_blocks = (task.n_classes + BLOCK - 1) // BLOCK
    # rounded as the lanes round it: 2^log2e then stands for e everywhere
    task.log2e = <float>(task.scale * LOG2E) if task.lanes.weight_itemsize == 4 else task.scale * LOG2E
    task.keep = 1 - task.smoothing if task.second != NULL else 0.0
    task.smooth = task.smoothing / task.n_classes if task.n_classes else 0.0
    task.unit = task.smooth if task.second == NULL else 1.0
    task.has_targets = task.kernel == SOFT_CROSS_ENTROPY or task.smooth != 0
    task.spread = task.smoothing
    if task.kernel == CENTERED and task.smooth != 0 and task.class_weight != NULL:
        task.spread = 0
        for k in range(task.n_classes):
            task.spread += task.smooth * class_weight_of(task, k)
    task.is_short = task.n_blocks == 1 and task.cap == 0 and not task.has_targets
    task.is_abreast = (task.is_short and task.kernel <= CROSS_ENTROPY and task.ids == NULL
                       and task.n_classes <= task.lanes.most_abreast)
    task.is_weightless = (task.is_short and task.kernel <= CROSS_ENTROPY and task.class_weight == NULL
                          and task.sample_weight == NULL and task.z_loss == 0 and task.ids == NULL)
    is_dense = task.kernel == SOFT_CROSS_ENTROPY and task.lanes.itemsize == task.lanes.weight_itemsize
    task.by_blocks = (1 < task.n_blocks <= KEPT_BLOCKS and task.n_classes * task.lanes.weight_itemsize <= KEPT_BYTES
                      and task.cap == 0
                      and (is_dense or not task.has_targets and (task.kernel == SOFTMAX or task.kernel == CROSS_ENTROPY)))
    is_narrow = task.lanes.itemsize < task.lanes.weight_itemsize
    may_guess = VEC_BYTES > 16 and not (is_dense or is_narrow) and task.out != task.first  # with FMA: is_exact in lanes_read.inc
    is_cheap = VEC_BYTES == 64 and task.lanes.weight_itemsize == 4
    task.is_aside = (is_dense or is_narrow or may_guess and task.stream
                     and not (is_cheap and task.n_classes * task.lanes.itemsize > CHEAP_KEPT_BYTES))
    task.keeps = task.by_blocks and task.out != NULL and (task.is_aside or keep_exps)
    task.guesses = task.keeps and may_guess
    task.at_once = (task.n_classes * task.lanes.itemsize > (APART_BYTES if task.stream else KEPT_BYTES) if not task.keeps
                    else not (task.guesses and task.stream))
    if task.kernel == SOFT_CROSS_ENTROPY:
        task.at_once = 5 * task.n_classes * task.lanes.itemsize > KEPT_BYTES
        task.keeps = task.keeps and not task.at_once
    task.late_quarters = (task.keeps and task.at_once and not is_narrow
                          and task.n_classes * task.lanes.itemsize <= LATE_BYTES)


cdef size_t kept_bytes(const Task *task) noexcept nogil:
    """Of the exps that a row keeps aside."""
    return task.n_classes * task.lanes.weight_itemsize + (task.n_blocks + 1) * LINE if task.keeps and task.is_aside else 0


cdef inline void *data(array) except? NULL:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline Py_ssize_t row_stride(array) except? -1:
    return 0 if array is None else cnp.PyArray_STRIDE(<cnp.ndarray>array, 0)


cdef inline Py_ssize_t class_stride(array) except? -1:
    """Of an array (n_outer, n_classes, inner), else 0."""
    return 0 if array is None or (<cnp.ndarray>array).ndim == 2 else cnp.PyArray_STRIDE(<cnp.ndarray>array, 1)


cdef inline Py_ssize_t side_by_side(array) except? -1:
    """How many rows lie side by side in an array (n_outer, n_classes, inner), else 0."""
    return 0 if array is None or (<cnp.ndarray>array).ndim == 2 else cnp.PyArray_DIM(<cnp.ndarray>array, 2)


@cython.final
cdef class Bound:
    """A job as a task. The arrays are kept alive by `job`."""
    cdef object job
    cdef Task task

    def __init__(self, job):
        cdef cnp.ndarray first = job.first
        cdef Task *task = &self.task
        self.job = job
        task.kernel = _CODES[job.kernel]
        task.lanes = fs_table[job.dtype.code]
        task.first = <const char *>cnp.PyArray_DATA(first)
        task.n_classes = job.n_classes or cnp.PyArray_DIM(first, 1)
        task.second = <const char *>data(job.second)
        task.out = <char *>data(job.out)
        task.first_stride, task.first_class = row_stride(first), class_stride(first)
        task.second_stride, task.second_class = row_stride(job.second), class_stride(job.second)
        task.out_stride, task.out_class = row_stride(job.out), class_stride(job.out)
        if job.class0:  # what comes before is never touched
            task.first -= job.class0 * task.lanes.itemsize
            task.out -= job.class0 * task.lanes.itemsize if task.out != NULL else 0
        task.inner = max(side_by_side(first), max(side_by_side(job.second), side_by_side(job.out)))
        task.group = job.group
        take_targets(task, job.labels)
        task.class_weight = <const char *>data(job.class_weight)
        task.sample_weight = <const double *>data(job.sample_weight)
        task.dlosses = <const double *>data(job.dlosses)
        task.losses = <double *>data(job.losses)
        task.lse = <double *>data(job.lse)
        task.states = <double *>data(job.states)
        task.finals = <double *>data(job.finals)
        task.scale, task.cap, task.smoothing = job.scale, job.cap, job.smoothing
        task.z_loss, task.grad_scale, task.ignore_index = job.z_loss, job.grad_scale, job.ignore_index
        task.stream = job.stream
        task.kind, task.minus_entropy, task.q_scale = KINDS[job.kind], job.minus_entropy, job.q_scale
        task.shifts = <const double *>data(job.shifts)
        derive(task, job.keep_exps)

    def __call__(self, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t block0, Py_ssize_t block1, int phase):
        cdef Cut cut
        cut.row0, cut.row1, cut.block0, cut.block1, cut.phase = row0, row1, block0, block1, phase
        return run_cuts(&self.task, &cut, 1, 1, False)

    def each(self, list slices, int n_threads):
        """What __call__ does for every slice, on n_threads threads that take no GIL; the first bad row, or -1."""
        cdef Py_ssize_t i, n = len(slices)
        cdef Cut *cuts = <Cut *>malloc(max(n, 1) * sizeof(Cut))
        if cuts == NULL:
            raise MemoryError()
        try:
            for i in range(n):
                cuts[i].row0, cuts[i].row1, cuts[i].block0, cuts[i].block1, cuts[i].phase = slices[i]
            return run_cuts(&self.task, cuts, n, n_threads, False)
        finally:
            free(cuts)


def bind(job):
    return Bound(job)
