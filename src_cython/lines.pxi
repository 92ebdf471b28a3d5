# Rows of one block, where the output goes past the caches: some of them are written to the L1 cache, their labels' share and
# all, and go to memory in whole lines. A line that is streamed in part, or written to once it is, is read from memory again.

cdef extern from "transpose.h":
    void stream_bytes(char *, const char *, Py_ssize_t) noexcept nogil

cdef enum:
    GATHERED = 4096  # bytes of rows that are written before they are streamed: with logits and exps the L1 cache holds them


cdef Py_ssize_t run_lines(const Task *task, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil:
    """What run_rows does, whole rows. Where rows are not apart, a line that one of them ends in waits for the next one."""
    cdef Exps room
    cdef char *lines = <char *>room.exps
    cdef char *to = out_at(task, row0, 0)
    cdef Task part = task[0]
    cdef Py_ssize_t row_bytes = task.n_classes * task.lanes.itemsize, i = row0, n_rows = 1, end, before, held = 0, n, bad = -1
    cdef bint are_apart = task.out_stride != row_bytes
    if not are_apart:
        n_rows = max(1, GATHERED // row_bytes)
        if task.is_abreast:
            n_rows = (n_rows + task.lanes.abreast - 1) // task.lanes.abreast * task.lanes.abreast
    part.stream, part.out_stride = False, row_bytes
    while i < row1:
        end = min(row1, i + n_rows)
        before = <Py_ssize_t>to & (LINE - 1)  # bytes of its line
        part.out = lines + before + held - i * row_bytes
        bad = run_rows(&part, i, end, 0, 1, ALL, NULL)
        if bad >= 0:  # only what is held is whole
            row1 = end = i
        n = held + (end - i) * row_bytes
        held = 0 if are_apart or end == row1 else min(n, (before + n) & (LINE - 1))
        stream_bytes(to, lines + before, n - held)
        memcpy(lines + (<Py_ssize_t>(to + n - held) & (LINE - 1)), lines + before + n - held, held)
        to = out_at(task, end, 0) - held
        i = end
    fence()
    return bad
