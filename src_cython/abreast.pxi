# Rows of few classes: as many as a vector has lanes are turned to lie side by side, and computed a lane each.

cdef enum:
    LANES = 16  # at most


cdef Py_ssize_t run_abreast(const Task *task, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil:
    """What run_rows does, whole rows. Those left over by whole bundles are faster one by one where they are few."""
    cdef Abreast room
    cdef Py_ssize_t i = row0, bad = -1, few = task.lanes.abreast // 2
    while i < row1 and bad < 0:
        if row1 - i <= few:
            bad = row_alone(task, i, &room)
            i += 1
        else:
            bad = rows_abreast(task, i, min(task.lanes.abreast, row1 - i), &room)
            i += task.lanes.abreast
    return bad


cdef inline bint needs_log(const Task *task) noexcept nogil:
    return has_results(task) or task.kernel == LOG_SOFTMAX


cdef Py_ssize_t row_alone(const Task *task, Py_ssize_t i, Abreast *room) noexcept nogil:
    """One row with the bits that it has among others."""
    cdef int64_t y = label_of(task, i)
    cdef double m, rest, log1p_rest = 0
    cdef Final final
    if is_inert(task, i, y, ALL):
        inert_row(task, i, 0, 1, ALL)
        return -1
    if is_wrong(task, y):
        return i
    task.lanes.rest_alone(room, first_at(task, i, 0), task.n_classes, task.log2e, &m, &rest,
                          &log1p_rest if needs_log(task) else NULL)
    final = finish_one(task, i, y, m, &rest, &log1p_rest)
    if task.out == NULL:
        return -1
    if task.kernel == LOG_SOFTMAX:
        write_logs(task, i, final.m, log1p_rest)
    else:
        task.lanes.short_write(room.e, task.n_classes, factor(task, &final), out_at(task, i, 0))
        write_label(task, &final)
    return -1


cdef Py_ssize_t rows_abreast(const Task *task, Py_ssize_t i0, Py_ssize_t n_rows, Abreast *room) noexcept nogil:
    """Rows i0 to i0 + n_rows, at most task.lanes.abreast of them."""
    cdef Py_ssize_t i, j
    cdef int64_t y[LANES]
    cdef bint inert[LANES]
    cdef double m[LANES]
    cdef double rest[LANES]
    cdef double log1p_rest[LANES]
    cdef double a[LANES]
    cdef Final finals[LANES]
    cdef double x_y
    for j in range(n_rows):
        i = i0 + j
        y[j] = label_of(task, i)
        inert[j] = is_inert(task, i, y[j], ALL)
        if not inert[j] and is_wrong(task, y[j]):
            return i
    task.lanes.load_abreast(room, first_at(task, i0, 0), task.first_stride, n_rows, task.n_classes)
    task.lanes.rests_abreast(room, task.n_classes, task.log2e, rows_ahead(task, i0, task.lanes.abreast), m, rest,
                             log1p_rest if needs_log(task) else NULL)
    for j in range(n_rows):
        if task.is_weightless and task.kernel != SOFTMAX and not inert[j] and not is_endless(task, m[j]):
            x_y = logit(task, i0 + j, y[j])
            plain_results(task, i0 + j, m[j], x_y, log1p_rest[j])
            if task.out != NULL and task.kernel != LOG_SOFTMAX:
                finals[j] = plain_final(task, i0 + j, y[j], m[j], x_y, rest[j])
                a[j] = factor(task, &finals[j])
        elif task.kernel == SOFTMAX:
            a[j] = NAN if is_endless(task, m[j]) else 1 / (1 + rest[j])
        elif inert[j]:
            finals[j].row, a[j] = -1, 0
        else:
            finals[j] = finish_one(task, i0 + j, y[j], m[j], &rest[j], &log1p_rest[j])
            a[j] = factor(task, &finals[j])
    if task.out != NULL and task.kernel == LOG_SOFTMAX:
        task.lanes.write_logs_abreast(room, task.n_classes, task.scale, m, log1p_rest, out_at(task, i0, 0), task.out_stride,
                                      n_rows)
    elif task.out != NULL:
        task.lanes.write_abreast(room, task.n_classes, a, out_at(task, i0, 0), task.out_stride, n_rows)
    for j in range(n_rows):
        if inert[j]:
            inert_row(task, i0 + j, 0, 1, ALL)
        elif task.out != NULL and task.kernel != SOFTMAX and task.kernel != LOG_SOFTMAX:
            write_label(task, &finals[j])
    return -1


cdef inline Final finish_one(const Task *task, Py_ssize_t i, Py_ssize_t y, double m, double *rest,
                             double *log1p_rest) noexcept nogil:
    """A row's results, also where its maximum is infinite and `rest` means nothing yet."""
    cdef State state
    state.m, state.s = m, 0
    state.other = state.t = state.d = 0
    if is_endless(task, m):
        state.s = NAN if task.lanes.any_nan(first_at(task, i, 0), task.n_classes) else INFINITY
        rest[0] = log1p_rest[0] = NAN
    return finish_with(task, i, y, logit(task, i, y), &state, rest[0], log1p_rest[0])
