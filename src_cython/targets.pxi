# Classes that a row is compared with beside all others: its label, or several with shares (contract.Targets).

from fastsoftmax.contract import Targets


cdef void take_targets(Task *task, labels) except *:
    """Labels, or what is in their place."""
    task.labels = task.ids = NULL
    if not isinstance(labels, Targets):
        task.labels = <const int64_t *>data(labels)
        return
    task.ids, task.shares = <const int64_t *>data(labels.ids), <const double *>data(labels.shares)
    task.found = <double *>data(labels.found)
    task.n_targets = cnp.PyArray_DIM(<cnp.ndarray>labels.ids, 1)


cdef bint are_wrong(const Task *task, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1, int phase) noexcept nogil:
    """Whether one of a row's ids is out of range; on the way, the logits there are read."""
    cdef Py_ssize_t j
    cdef int64_t k
    if task.ids == NULL or phase == FINISH:
        return False
    for j in range(i * task.n_targets, (i + 1) * task.n_targets):
        k = (<const volatile int64_t *>task.ids)[j]
        if k >= task.n_classes:
            return True
        if block0 * BLOCK <= k < block1 * BLOCK:
            task.found[j] = task.lanes.get(first_at(task, i, 0), k)
    return False


cdef inline double share_of(const Task *task, Py_ssize_t j) noexcept nogil:
    """C_j."""
    return (1 - task.smoothing) * class_weight_of(task, task.ids[j]) * task.shares[j]


cdef double targets_loss(const Task *task, Py_ssize_t i, double m, double log1p_rest, double *loss) noexcept nogil:
    """Add what the targets add to the loss; the sum of their C_j."""
    cdef Py_ssize_t j
    cdef double c, total = 0
    for j in range(i * task.n_targets, (i + 1) * task.n_targets):
        if 0 <= task.ids[j] < task.n_classes:
            c = share_of(task, j)
            total += c
            if c != 0:
                loss[0] += c * (log1p_rest + gap(task, m, task.found[j]))
    return total


cdef void write_targets(const Task *task, const Final *final, Py_ssize_t block0, Py_ssize_t block1) noexcept nogil:
    """The elements of a row's targets that lie in these blocks."""
    cdef Py_ssize_t j
    if final.row < 0:
        return
    for j in range(final.row * task.n_targets, (final.row + 1) * task.n_targets):
        if 0 <= task.ids[j] < task.n_classes and block0 * BLOCK <= task.ids[j] < block1 * BLOCK:
            write_target(task, final, task.ids[j], task.found[j], share_of(task, j))


cdef void write_target(const Task *task, const Final *final, Py_ssize_t k, double x_k, double c) noexcept nogil:
    """c*(p_k - 1) + (A - c)*p_k - t_k, where p - 1 = -rest/(1 + rest) at a maximum keeps its digits as p -> 1."""
    cdef double total = 1 + final.rest, p = exp(-gap(task, final.m, x_k)) / total
    cdef double minus = 0.0 - final.rest / total if x_k == final.m else p - 1
    cdef double dz = c * minus + (final.a - c) * p - task.smooth * class_weight_of(task, k)
    if task.cap > 0:
        dz = dz * (1 - (z_of(task, x_k) / task.cap) ** 2)
    task.lanes.put(out_at(task, final.row, 0), k, final.g * dz)
