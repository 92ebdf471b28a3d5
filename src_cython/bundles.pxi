# Plain rows of one block, a few at a time: the logarithms of all of them are taken together.

cdef enum:
    BUNDLE = 16
    READ_TWICE = 16384  # bytes of logits that the L1 cache still has when their logarithms are written


cdef Py_ssize_t run_bundles(const Task *task, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil:
    """What run_rows does, whole rows."""
    cdef double m[BUNDLE]
    cdef double x_y[BUNDLE]
    cdef double rest[BUNDLE]
    cdef double log1p_rest[BUNDLE]
    cdef bint is_done[BUNDLE]
    cdef Py_ssize_t i = row0, j, n, bad = -1, most = BUNDLE
    if task.kernel == LOG_SOFTMAX:
        most = min(most, max(<Py_ssize_t>1, READ_TWICE // (task.n_classes * task.lanes.itemsize)))
    memset(rest, 0, sizeof(rest))
    while i < row1 and bad < 0:
        n = min(most, row1 - i)
        for j in range(n):
            is_done[j] = False
            bad = plain_row(task, i + j, &m[j], &x_y[j], &rest[j], &is_done[j])
            if bad >= 0:
                n = j
                break
        if needs_log(task):
            log1p_each(rest, log1p_rest, n)
            for j in range(n):
                if not is_done[j]:
                    plain_results(task, i + j, m[j], x_y[j], log1p_rest[j])
                    if task.kernel == LOG_SOFTMAX:
                        write_logs(task, i + j, m[j], log1p_rest[j])
        i += n
    return bad


cdef Py_ssize_t plain_row(const Task *task, Py_ssize_t i, double *m, double *x_y, double *rest,
                          bint *is_done) noexcept nogil:
    """All of a row but what needs a logarithm, or where its maximum is infinite or it is ignored, all. i where the label is
    wrong, else -1."""
    cdef Exps kept
    cdef Final final
    cdef int64_t y = label_of(task, i)
    cdef const char *x = first_at(task, i, 0)
    cdef bint writes_exps = task.out != NULL and task.kernel != LOG_SOFTMAX
    if is_inert(task, i, y, ALL):
        inert_row(task, i, 0, 1, ALL)
        is_done[0] = True
        return -1
    if is_wrong(task, y):
        return i
    m[0] = task.lanes.block_max(x, task.n_classes)
    if is_endless(task, m[0]):
        endless_row(task, i, y)
        is_done[0] = True
        return -1
    x_y[0] = logit(task, i, y)
    rest[0] = task.lanes.short_rest(x, task.n_classes, task.log2e, m[0], rows_ahead(task, i, 1),
                                    kept.exps if writes_exps else NULL)
    if writes_exps:
        final = plain_final(task, i, y, m[0], x_y[0], rest[0])
        task.lanes.short_write(kept.exps, task.n_classes, factor(task, &final), out_at(task, i, 0))
        write_label(task, &final)
    return -1


cdef void endless_row(const Task *task, Py_ssize_t i, Py_ssize_t y) noexcept nogil:
    """A row of one block whose maximum is infinite."""
    cdef Final before
    cdef Top top
    cdef Next next
    before.row = -1
    next.seen = NULL
    softmax_row(task, i, y, i + 1, &before, &top, &next, NULL)


cdef inline void plain_results(const Task *task, Py_ssize_t i, double m, double x_y, double log1p_rest) noexcept nogil:
    """What finish_with has of such a row, in a third of its time."""
    if task.lse != NULL:
        task.lse[i] = z_of(task, m) + log1p_rest
    if task.losses != NULL:
        task.losses[i] = log1p_rest + gap(task, m, x_y)


cdef inline void write_logs(const Task *task, Py_ssize_t i, double m, double log1p_rest) noexcept nogil:
    cdef Block block = block_at(task, i, 0)
    cdef Map map = map_of(task, m)
    task.lanes.write_log_probs(&block, &map, log1p_rest)


cdef inline Final plain_final(const Task *task, Py_ssize_t i, Py_ssize_t y, double m, double x_y, double rest) noexcept nogil:
    """And what it is written from."""
    cdef Final final
    final.row, final.y, final.m, final.rest, final.x_y = i, y, m, rest, x_y
    final.a = final.g = 1
    if task.losses != NULL:
        final.g = task.grad_scale * task.scale * (1.0 if task.dlosses == NULL else task.dlosses[i])
    return final
