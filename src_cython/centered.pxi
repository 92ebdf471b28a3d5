# Kernels of p*(f - sum p*f): Hessian-vector products, the gradients of entropies and of divergences from other distributions.

cdef void centered_row(const Task *task, Py_ssize_t i) noexcept nogil:
    """losses[i] from the mean of f under p, lse, and out[i] = g_i*p*(f - mean): the row is read, then read again from L2."""
    cdef Py_ssize_t b
    cdef State state, block
    cdef Map map
    cdef Block at
    cdef double sum_f, down = 0, rest, log1p_rest, mean, a, share = 1
    block.other = block.t = block.d = block.alone = 0
    for b in range(task.n_blocks):
        at = block_at(task, i, b)
        block.m, block.best = task.lanes.block_max(at.x, at.n), b
        map = map_of(task, reference(task, block.m))
        task.lanes.centered_sums(&at, &map, &block.s, &sum_f)
        if block.m == INFINITY and task.cap == 0:
            block.s = sum_f = NAN
        if b == 0:
            state, down = block, sum_f
        else:
            down = folded_mean(task, &state, &block, down, sum_f)
            fold(task, &state, block)
    single_out(task, i, &state)
    rest = rest_of(task, &state)
    log1p_rest, mean = log1p(rest), down / (1 + rest)
    task.lse[i] = lse_of(task, &state, log1p_rest)
    if task.sample_weight != NULL:
        share = task.sample_weight[i]
    task.losses[i] = share * (mean if task.kind == OF_SECOND else
                              log1p_rest - mean if task.kind == OF_LOGITS else mean - log1p_rest)
    if task.out == NULL:
        return
    map = map_of(task, reference(task, state.m))
    a = task.grad_scale * task.scale * share * (1.0 if task.dlosses == NULL else task.dlosses[i]) / (1 + rest)
    for b in range(task.n_blocks):
        at = block_at(task, i, b)
        task.lanes.write_centered(&at, &map, a, mean)


cdef inline double folded_mean(const Task *task, const State *a, const State *b, double sum_a, double sum_b) noexcept nogil:
    """sum e*f of a and b together; where f has z - z_m as a term, relative to the larger maximum."""
    cdef double shift = gap(task, reference(task, b.m), reference(task, a.m)), moved = 0 if task.kind == OF_SECOND else shift
    if b.m > a.m:
        if is_endless(task, a.m) and not isnan(a.other + a.s):
            return sum_b
        return sum_b + exp(-shift) * (sum_a - moved * (a.other + a.s))
    if is_endless(task, b.m) and not isnan(b.s):
        return sum_a
    return sum_a + exp(shift) * (sum_b + moved * b.s)
