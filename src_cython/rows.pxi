# Where a task's rows and blocks lie, and how a logit becomes z.

cdef inline Py_ssize_t block_size(const Task *task, Py_ssize_t b) noexcept nogil:
    return min(<Py_ssize_t>BLOCK, task.n_classes - b * BLOCK)


cdef inline const char *first_at(const Task *task, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
    return task.first + i * task.first_stride + b * BLOCK * task.lanes.itemsize


cdef inline const char *ahead(const Task *task, Py_ssize_t i, Py_ssize_t b, Py_ssize_t row1) noexcept nogil:
    """Block b, which may lie in the next row, if that one is before row1; else NULL."""
    if b < task.n_blocks:
        return first_at(task, i, b)
    return first_at(task, i + 1, b - task.n_blocks) if i + 1 < row1 and b < 2 * task.n_blocks else NULL


cdef inline const char *fetched_at(const Task *task, Py_ssize_t i, Py_ssize_t at, Py_ssize_t row1) noexcept nogil:
    """What is fetched when the first `at` logits from row i on are there: those a block and a half further, as the maximum of one
    is taken; NULL where they are not before row1."""
    at += min(task.n_classes, <Py_ssize_t>(3 * BLOCK // 2))
    if at >= task.n_classes:
        i, at = i + 1, at - task.n_classes
    return first_at(task, i, 0) + at * task.lanes.itemsize if i < row1 else NULL


cdef inline const char *rows_ahead(const Task *task, Py_ssize_t i, Py_ssize_t n_rows) noexcept nogil:
    """Where the logits begin that are to be fetched while rows i to i + n_rows, of one block, are computed: beyond these, and
    in time. There may be none."""
    return first_at(task, i, 0) + max(n_rows * task.first_stride, <Py_ssize_t>SOON)


cdef inline const char *second_at(const Task *task, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
    if task.second == NULL:
        return NULL
    return task.second + i * task.second_stride + b * BLOCK * task.lanes.itemsize


cdef inline char *out_at(const Task *task, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
    return task.out + i * task.out_stride + b * BLOCK * task.lanes.itemsize


cdef inline const char *weight_at(const Task *task, Py_ssize_t b) noexcept nogil:
    if task.class_weight == NULL:
        return NULL
    return task.class_weight + b * BLOCK * task.lanes.weight_itemsize


cdef inline double class_weight_of(const Task *task, Py_ssize_t k) noexcept nogil:
    if task.class_weight == NULL:
        return 1.0
    if task.lanes.weight_itemsize == 8:
        return (<const double *>task.class_weight)[k]
    return (<const float *>task.class_weight)[k]


cdef inline double z_of(const Task *task, double x) noexcept nogil:
    if task.cap > 0:
        return task.cap * tanh(task.scale * x / task.cap)
    return task.scale * x


cdef inline double gap(const Task *task, double m, double x) noexcept nogil:
    """z(m) - z(x), the subtraction first where z is linear."""
    if task.cap > 0:
        return z_of(task, m) - z_of(task, x)
    return task.scale * (m - x)


cdef inline double reference(const Task *task, double m) noexcept nogil:
    """What is subtracted: -inf - -inf must not poison a block of masked classes. A cap makes infinities finite."""
    return 0.0 if m == -INFINITY and task.cap == 0 else m


cdef inline double guess_of(const Task *task, const void *x, Py_ssize_t n) noexcept nogil:
    """The maximum of a block's first few logits, taken for the block's at first; with a cap the block's."""
    return task.lanes.block_max(x, min(n, GUESSED) if task.cap == 0 else n)


cdef inline bint is_endless(const Task *task, double m) noexcept nogil:
    return task.cap == 0 and (m == INFINITY or m == -INFINITY)


cdef inline Map map_of(const Task *task, double m) noexcept nogil:
    cdef Map map
    map.m = m
    map.z_m = z_of(task, m)
    map.scale = task.scale
    map.scale_log2e = task.log2e
    map.cap = task.cap
    map.scale_over_cap = task.scale / task.cap if task.cap > 0 else 0.0
    return map


cdef inline Block block_at(const Task *task, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
    """Block b of row i, as it is read and written."""
    cdef Block block
    block.x, block.q = first_at(task, i, b), second_at(task, i, b)
    block.w = weight_at(task, b) if task.has_targets else NULL
    block.out = out_at(task, i, b)
    block.n = block_size(task, b)
    block.stream = task.stream
    block.keep, block.smooth = task.keep, task.smooth
    block.top = block.most = 0
    block.e, block.raised, block.ahead = NULL, 0, NULL
    block.kind, block.q_scale = task.kind, task.q_scale
    block.q_shift = 0.0 if task.shifts == NULL else task.shifts[i]
    return block


cdef inline int64_t label_of(const Task *task, Py_ssize_t i) noexcept nogil:
    """Read once: another thread may change it."""
    return 0 if task.labels == NULL else (<const volatile int64_t *>task.labels)[i]


cdef inline bint is_wrong(const Task *task, int64_t y) noexcept nogil:
    return task.labels != NULL and not 0 <= y < task.n_classes
