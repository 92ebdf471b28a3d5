# Rows that lie side by side in memory: a group of them is copied, a block of classes at a time, to a tile where a row's
# classes lie side by side, and the row kernels run on the tile.

cdef extern from "transpose.h":
    void load_tile(const char *, Py_ssize_t, char *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
    void store_tile(char *, Py_ssize_t, const char *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, bint) noexcept nogil
    enum: LINE


# where a group's logits, its second array and its states are copied to
cdef struct Room:
    char *first
    char *second
    double *states
    double *finals
    Py_ssize_t stride


cdef Room room_at(const Task *task, char *memory) noexcept nogil:
    """Where everything lies in `memory`; with memory 0, `finals` end where the room does."""
    cdef Room room
    cdef Py_ssize_t rows = task.group, lines = min(task.n_classes, <Py_ssize_t>BLOCK) * task.lanes.itemsize // LINE
    room.stride = ((lines + 1) | 1) * LINE  # odd: rows a power of two apart would share the sets of the L1 cache
    room.first = memory + (-<Py_ssize_t>memory & (LINE - 1))
    room.second = room.first + rows * room.stride
    room.states = <double *>(room.second + (rows * room.stride if task.second_class else 0))
    room.finals = room.states + rows * task.n_blocks * PARTS
    return room


cdef Py_ssize_t room_bytes(const Task *task) noexcept nogil:
    return <Py_ssize_t>(room_at(task, NULL).finals + task.group * FINALS) + LINE


cdef inline const char *aside(const Task *task, const char *x, Py_ssize_t outer_stride, Py_ssize_t class_stride,
                              Py_ssize_t i, Py_ssize_t b) noexcept nogil:
    """Row i's first class of block b in an array whose rows lie side by side."""
    return (x + i // task.inner * outer_stride + i % task.inner * task.lanes.itemsize + b * BLOCK * class_stride)


cdef Py_ssize_t run_tile(const Task *task, const Room *room, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t b,
                         int phase) noexcept nogil:
    """One phase of one block of rows that lie side by side."""
    cdef Task tile = task[0]
    cdef Py_ssize_t bad, n = block_size(task, b), rows = row1 - row0, itemsize = task.lanes.itemsize
    cdef Py_ssize_t start = row0 * room.stride + b * BLOCK * itemsize  # the tile's own, in arrays that it is a part of
    if task.first_class:
        load_tile(aside(task, task.first, task.first_stride, task.first_class, row0, b), task.first_class,
                  room.first, room.stride, rows, n, itemsize)
        tile.first, tile.first_stride = room.first - start, room.stride
    if task.second_class:
        load_tile(aside(task, task.second, task.second_stride, task.second_class, row0, b), task.second_class,
                  room.second, room.stride, rows, n, itemsize)
        tile.second, tile.second_stride = room.second - start, room.stride
    if task.out_class:  # in place in the tile
        tile.out, tile.out_stride, tile.stream = room.first - start, room.stride, False
    bad = run_rows(&tile, row0, row1, b, b + 1, phase, NULL)
    if bad >= 0 or phase == STATES or task.out == NULL:
        return bad
    if phase == WRITE:
        run_rows(&tile, row0, row1, b, b + 1, LABEL, NULL)
    if task.out_class:
        store_tile(<char *>aside(task, task.out, task.out_stride, task.out_class, row0, b), task.out_class,
                   room.first, room.stride, rows, n, itemsize, task.stream)
    return -1


cdef Py_ssize_t run_group(const Task *task, const Room *room, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t block0,
                          Py_ssize_t block1, int phase) noexcept nogil:
    """Blocks forward to be read, backward to be written: the last ones are still in the caches."""
    cdef Py_ssize_t b, bad = -1
    if phase == STATES or phase == ALL:
        for b in range(block0, block1):
            bad = run_tile(task, room, row0, row1, b, phase)
            if bad >= 0:
                break
    elif phase == WRITE:
        for b in range(block1 - 1, block0 - 1, -1):
            bad = run_tile(task, room, row0, row1, b, WRITE)
    return bad


cdef Py_ssize_t run_groups(const Task *task, char *memory, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t block0,
                           Py_ssize_t block1, int phase) noexcept nogil:
    """What run_rows does, for rows that lie side by side."""
    cdef Room room = room_at(task, memory)
    cdef Task group = task[0]
    cdef Py_ssize_t i = row0, end, bad = -1
    if phase == FINISH:  # no logit is needed
        return run_rows(task, row0, row1, block0, block1, FINISH, NULL)
    if phase == LABEL:  # a label's element was written with its block
        return -1
    while i < row1 and bad < 0:
        end = min(min(row1, i + task.group), (i // task.inner + 1) * task.inner)
        if phase == ALL and task.n_blocks > 1:
            group.states, group.finals = room.states - i * task.n_blocks * PARTS, room.finals - i * FINALS
            bad = run_group(&group, &room, i, end, block0, block1, STATES)
            if bad < 0:
                bad = run_rows(&group, i, end, block0, block1, FINISH, NULL)
            if bad < 0 and task.out != NULL:
                bad = run_group(&group, &room, i, end, block0, block1, WRITE)
        else:
            bad = run_group(task, &room, i, end, block0, block1, phase)
        i = end
    if task.stream:
        fence()
    return bad
