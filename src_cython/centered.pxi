# Kernels of p*(f - sum p*f): Hessian-vector products, the gradients of entropies and of divergences from other distributions.

# what a row is written from, while the next one is read: memory does both at once
cdef struct Centered:
    Py_ssize_t row  # -1 for none
    double m, a, mean
    double bent  # what t is multiplied with where a direction is bent by a cap
    Py_ssize_t y  # the label, where its element is written alone: -1 for none
    double at_label  # that element


cdef Py_ssize_t run_centered(const Task *task, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil:
    """What run_rows does, whole rows."""
    cdef Py_ssize_t i, b
    cdef int64_t y
    cdef Centered before
    cdef Late late
    before.row = -1
    for i in range(row0, row1):
        y = label_of(task, i)
        if is_inert(task, i, y, ALL):
            inert_row(task, i, 0, task.n_blocks, ALL)
        elif is_wrong(task, y):
            return i
        else:
            centered_row(task, i, y, &before)
    if before.row >= 0:
        for b in range(task.n_blocks):
            late = late_centered(task, &before, b)
            late.write(&late.block, &late.map, late.a)
        write_bent_label(task, &before)
    if task.stream:
        fence()
    return -1


cdef void centered_row(const Task *task, Py_ssize_t i, int64_t y, Centered *before) noexcept nogil:
    """losses[i] from the mean of f under p, lse, and in `before` how out[i] = g_i*p*(f - mean) is to be written."""
    cdef Py_ssize_t b
    cdef State state
    cdef Late late
    cdef double down = 0, rest, log1p_rest, mean, share = 1
    for b in range(task.n_blocks):
        if before.row >= 0:
            late = late_centered(task, before, b)
        down = centered_block(task, i, b, &late if before.row >= 0 else NULL, &state, down)
    write_bent_label(task, before)
    if is_peaked(task, &state):
        down = centered_again(task, i, &state, down)
    rest = rest_of(task, &state)
    log1p_rest, mean = log1p(rest), down / (1 + rest)
    task.lse[i] = lse_of(task, &state, log1p_rest)
    if task.sample_weight != NULL:
        share = task.sample_weight[i]
    task.losses[i] = share * (log1p_rest - mean if task.kind == OF_LOGITS else mean - log1p_rest)
    before.row, before.m, before.mean = i if task.out != NULL else -1, reference(task, state.m), mean
    before.a = task.grad_scale * task.scale * share * (1.0 if task.dlosses == NULL else task.dlosses[i]) / (1 + rest)
    before.y, before.bent = -1, 0
    if task.kind == OF_SECOND:
        directed(task, i, y, rest, share, before)


cdef void directed(const Task *task, Py_ssize_t i, int64_t y, double rest, double share, Centered *row) noexcept nogil:
    """losses[i] and `row` of a direction: see contract.py."""
    cdef double x_y = logit(task, i, y), v_y = task.lanes.get(second_at(task, i, 0), y), u = 0, slope, p, minus, dz
    cdef double own = (1 - task.smoothing) * class_weight_of(task, y), more = 2 * task.z_loss, a, mean = row.mean, g
    if task.cap > 0:
        u = z_of(task, x_y) / task.cap
    slope = 1 - u * u
    a = own + task.spread + (more * task.lse[i] if more != 0 else 0.0)
    task.losses[i] = share * task.scale * (a * mean - own * slope * v_y)
    g = row.a * task.scale  # without A, which may be 0 where what z_loss adds is not
    if more != 0 and fabs(a) < 1e-15 * more:
        a = 1e-15 * more
    row.a = g * a
    if more != 0:
        row.mean = mean * (1 - more / a)
    if task.cap > 0:
        p = exp(-gap(task, row.m, x_y)) / (1 + rest)
        minus = 0.0 - rest / (1 + rest) if x_y == row.m else p - 1
        dz = own * minus + (a - own) * p - task.smooth * class_weight_of(task, y)
        g *= 1 + rest
        row.y, row.bent = y, 2 / task.cap * g
        row.at_label = g * slope * (a * p * (slope * v_y - mean) + more * mean * p - 2 / task.cap * u * v_y * dz)


cdef inline void write_bent_label(const Task *task, const Centered *final) noexcept nogil:
    """The element of the label, which differs from the others where z is bent."""
    if final.row >= 0 and final.y >= 0:
        task.lanes.put(out_at(task, final.row, 0), final.y, final.at_label)


cdef inline Late late_centered(const Task *task, const Centered *final, Py_ssize_t b) noexcept nogil:
    cdef Late late
    late.block, late.map = block_at(task, final.row, b), map_of(task, final.m)
    late.block.mean, late.block.smooth = final.mean, task.smooth * final.bent
    late.write, late.a, late.piece = task.lanes.write_centered, final.a, PIECE
    return late


cdef double centered_block(const Task *task, Py_ssize_t i, Py_ssize_t b, const Late *late, State *state,
                           double down) noexcept nogil:
    """One block's part of `state` and of `down`, sum e*f, with a block of the row before written meanwhile."""
    cdef Py_ssize_t n = block_size(task, b)
    cdef Block at = block_at(task, i, b)
    cdef State block
    cdef Seen seen
    see_centered(task, &at, guess_of(task, at.x, n), late, &seen)
    if seen.m == INFINITY and task.cap == 0:
        seen.s = seen.d = NAN
    block.m, block.s, block.best = seen.m, seen.s, b
    block.other = block.t = block.d = 0
    block.alone = UNKNOWN
    if b == 0:
        state[0] = block
        return seen.d
    down = folded_mean(task, state, &block, down, seen.d)
    fold(task, state, block)
    return down


cdef double centered_again(const Task *task, Py_ssize_t i, State *state, double down) noexcept nogil:
    """Where the sums are small: the best block once more, now with its maximum known, which costs no digit."""
    cdef Seen guessed, known
    cdef Block at = block_at(task, i, state.best)
    single_out(task, i, state, NULL)
    if task.kind == OF_SECOND or isinf(down):  # f does not depend on the guess; an infinity stays
        return down
    see_centered(task, &at, guess_of(task, at.x, at.n), NULL, &guessed)
    see_centered(task, &at, state.m, NULL, &known)
    return down - guessed.d + known.d


cdef inline void see_centered(const Task *task, const Block *at, double guess, const Late *late, Seen *seen) noexcept nogil:
    """lanes.centered_sums with a guess of the maximum, or with the maximum."""
    cdef Map map = map_of(task, reference(task, guess))
    if not task.lanes.centered_sums(at, &map, late, seen) or is_endless(task, guess):
        map = map_of(task, reference(task, task.lanes.block_max(at.x, at.n)))
        task.lanes.centered_sums(at, &map, NULL, seen)


cdef inline double folded_mean(const Task *task, const State *a, const State *b, double sum_a, double sum_b) noexcept nogil:
    """sum e*f of a and b together; where f has z - z_m as a term, relative to the larger maximum."""
    cdef double shift = gap(task, reference(task, b.m), reference(task, a.m)), moved = 0 if task.kind == OF_SECOND else shift
    if b.m > a.m:
        if is_endless(task, a.m) and not isnan(a.other + a.s):
            return sum_b
        return sum_b + moved_mean(exp(-shift), sum_a - moved * (a.other + a.s))
    if is_endless(task, b.m) and not isnan(b.s):
        return sum_a
    return sum_a + moved_mean(exp(shift), sum_b + moved * b.s)


cdef inline double moved_mean(double factor, double total) noexcept nogil:
    """0 where the probabilities are nothing, though f be infinite."""
    return 0.0 if factor == 0 and isinf(total) else factor * total
