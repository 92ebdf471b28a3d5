# Kernels that need one plain sum a row: gradients through softmax and log-softmax, entropy, divergence.

cdef double block_sum(const Task *task, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
    if task.kernel >= ENTROPY:
        return task.lanes.divergence(first_at(task, i, b), second_at(task, i, b), block_size(task, b), task.kernel == JS)
    return task.lanes.grad_sum(first_at(task, i, b), second_at(task, i, b), block_size(task, b),
                               task.kernel == LOG_SOFTMAX_GRAD)


cdef void sum_row(const Task *task, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1, int phase) noexcept nogil:
    cdef Py_ssize_t b
    cdef double total = 0
    cdef Block block
    if phase == LABEL:
        return
    if phase == WRITE:
        total = task.finals[i * FINALS]
    else:
        for b in range(task.n_blocks):
            total += task.states[(i * task.n_blocks + b) * PARTS] if phase == FINISH else block_sum(task, i, b)
    if phase == FINISH:
        task.finals[i * FINALS] = total
    if task.losses != NULL:
        task.losses[i] = total
    if task.out != NULL and phase != FINISH:
        for b in range(block0, block1):
            block = block_at(task, i, b)
            task.lanes.write_softmax_grad(&block, total, task.kernel == LOG_SOFTMAX_GRAD)
