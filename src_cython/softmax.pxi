# Softmax and cross-entropy: a row's state is read, its results follow from the state, then it is written.

cdef enum:
    FOLDED = 64  # blocks of a row, together

cdef State block_state(const Task *task, Py_ssize_t i, Py_ssize_t b, double above, const Late *late,
                       char *kept, Next *next, Top *top) noexcept nogil:
    """One block's state, with a block of the row before written meanwhile; its exps go to `kept`, if that is not NULL, which
    may be where its logits are, and what they are relative to to `top`. `above`: a maximum not larger than it is not the row's.
    Whatever is read twice is read from L1."""
    cdef State state
    cdef Sums sums
    cdef Py_ssize_t n = block_size(task, b)
    cdef const char *x = first_at(task, i, b)
    cdef Map map
    cdef Block block
    cdef bint is_known = kept != NULL and not task.guesses  # the maximum, before any exp
    state.other = state.t = state.d = 0
    state.best = b
    sums.alone, sums.above = UNKNOWN, above
    if task.cap > 0:
        if late != NULL:
            late.write(&late.block, &late.map, late.a)
        sums.max = task.lanes.block_max(x, n)
    if is_known:
        task.lanes.exps(x, kept, n, task.log2e, next, late, &sums)
    elif task.cap > 0 or not task.lanes.max_exp_sum(x, kept, n, task.log2e, late, &sums):
        map = map_of(task, reference(task, sums.max))
        sums.sum = task.lanes.exp_sum(x, n, &map)
    state.m, state.s, state.alone = sums.max, sums.sum, sums.alone
    if state.m == INFINITY and task.cap == 0 and not is_known:
        state.s = NAN if task.lanes.any_nan(x, n) else INFINITY
    if top != NULL:
        top.m, top.raised = sums.max, sums.raised
    if task.has_targets:
        block, map = block_at(task, i, b), map_of(task, reference(task, state.m))
        block.smooth = task.smooth / task.unit
        task.lanes.target_sums(&block, &map, task.minus_entropy, &state.t, &state.d)
    return state


cdef inline void put_state(const Task *task, Py_ssize_t i, Py_ssize_t b, State state) noexcept nogil:
    cdef double *at = task.states + (i * task.n_blocks + b) * PARTS
    at[0], at[1], at[2], at[3], at[4] = state.m, state.s, state.t, state.d, state.alone


cdef inline State get_state(const Task *task, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
    cdef State state
    cdef double *at = task.states + (i * task.n_blocks + b) * PARTS
    state.m, state.s, state.t, state.d, state.alone = at[0], at[1], at[2], at[3], at[4]
    state.other = 0
    state.best = b
    return state


cdef inline double rise(const Task *task, double m_a, double m_b) noexcept nogil:
    """How far the maximum of a block is above another's."""
    return gap(task, reference(task, m_b), reference(task, m_a))


cdef inline void fold(const Task *task, State *a, State b) noexcept nogil:
    """a and the next block together, in float64; the order of blocks is the order of rounding."""
    cdef double shift = rise(task, a.m, b.m)
    fold_by(task, a, b, shift, exp_one(-fabs(shift)))


cdef inline void fold_by(const Task *task, State *a, State b, double shift, double fade) noexcept nogil:
    """fade: what the sums of the lower of both count for, exp(-|shift|)."""
    if b.m > a.m:
        a.other = (a.other + a.s) * (0.0 if is_endless(task, a.m) and not isnan(a.other + a.s) else fade)
        if a.t != 0:
            a.d = a.d + shift * a.t
        a.m, a.s, a.best, a.alone = b.m, b.s, b.best, b.alone
    else:
        a.other += b.s * (fade if a.m > b.m and not is_endless(task, b.m) else 1.0)
        if b.t != 0:
            b.d = b.d - shift * b.t
    a.t += b.t
    a.d += b.d


cdef State stored_state(const Task *task, Py_ssize_t i) noexcept nogil:
    """What fold makes of all blocks, with many exps at a time: this is done while other threads wait."""
    cdef double shifts[FOLDED]
    cdef double fades[FOLDED]
    cdef double m, m_b
    cdef Py_ssize_t b = 1, k, n
    cdef State state = get_state(task, i, 0)
    memset(fades, 0, sizeof(fades))
    while b < task.n_blocks:
        n, m = min(task.n_blocks - b, <Py_ssize_t>FOLDED), state.m
        for k in range(n):
            m_b = task.states[(i * task.n_blocks + b + k) * PARTS]
            shifts[k] = rise(task, m, m_b)
            fades[k] = -fabs(shifts[k])
            m = max(m, m_b)
        exp_each(fades, fades, n)
        for k in range(n):
            fold_by(task, &state, get_state(task, i, b + k), shifts[k], fades[k])
        b += n
    return state


cdef inline bint is_peaked(const Task *task, const State *state) noexcept nogil:
    """Whether the maximum is most of the sums: what is left of them is then not their difference."""
    return state.other + state.s < PEAKED and not is_endless(task, state.m)


cdef inline void single_out(const Task *task, Py_ssize_t i, State *state, char *kept) noexcept nogil:
    """Where it is wanted and unknown, read the best block again, or the exps kept of it: what is left of it without a maximum."""
    cdef Map map
    cdef Py_ssize_t b = state.best
    if not is_peaked(task, state) or state.alone != UNKNOWN:
        return
    if kept != NULL:
        state.alone = (task.lanes.sum_of_others(kept, block_size(task, b))
                       * task.lanes.relative(state.m, state.m, task.log2e))
    else:
        map = map_of(task, state.m)
        state.alone = task.lanes.sum_without_max(first_at(task, i, b), block_size(task, b), &map)


cdef inline double rest_of(const Task *task, const State *state) noexcept nogil:
    """sum exp(z - z_m) over all classes but one maximum, to relative accuracy also where it is small."""
    cdef double total = state.other + state.s
    if is_endless(task, state.m):
        return NAN
    return state.other + state.alone if is_peaked(task, state) else total - 1


cdef inline double lse_of(const Task *task, const State *state, double log1p_rest) noexcept nogil:
    if is_endless(task, state.m):
        return NAN if isnan(state.s + state.other) else state.m  # NaN where the row has one
    return z_of(task, state.m) + log1p_rest


cdef bint short_row(const Task *task, Py_ssize_t i, Py_ssize_t y) noexcept nogil:
    """A row of one block with whatever weights it has: one exp a logit, kept aside. False, with nothing done, where its maximum
    is infinite."""
    cdef Exps kept
    cdef const char *x = first_at(task, i, 0)
    cdef double rest
    cdef State state
    cdef Final final
    state.m = task.lanes.block_max(x, task.n_classes)
    if is_endless(task, state.m):
        return False
    state.s = state.other = state.t = state.d = 0
    rest = task.lanes.short_rest(x, task.n_classes, task.log2e, state.m, rows_ahead(task, i, 1),
                                 kept.exps if task.out != NULL else NULL)
    final = finish_with(task, i, y, logit(task, i, y), &state, rest, log1p_one(rest))
    if task.out != NULL:
        task.lanes.short_write(kept.exps, task.n_classes, factor(task, &final), out_at(task, i, 0))
        write_label(task, &final)
    return True


cdef void softmax_row(const Task *task, Py_ssize_t i, Py_ssize_t y, Py_ssize_t row1, Final *before, Top *tops, Next *next,
                      char *room) noexcept nogil:
    """Read row i while the row before is written; leave in `before` and `tops` what row i is to be written from, and where the
    task keeps exps, these."""
    cdef Py_ssize_t b
    cdef double x_y = 0
    cdef State state, block
    cdef Late late
    if task.keeps:
        x_y = logit(task, i, y)  # before an exp stands in its place
    for b in range(task.n_blocks):
        if before.row >= 0:
            late = late_block(task, before, b, &tops[b], kept_at(task, before.row, b, room))
        if task.keeps and not task.guesses:
            next.x, next.n = ahead(task, i, b + 1, row1), block_size(task, b + 1 if b + 1 < task.n_blocks else 0)
            next.quarters = 4 - task.late_quarters
            next.ahead = fetched_at(task, i, (task.late_quarters * task.n_classes + next.quarters * b * BLOCK) // 4, row1)
        block = block_state(task, i, b, state.m if b else -INFINITY, &late if before.row >= 0 else NULL,
                            kept_at(task, i, b, room), next, &tops[b] if task.by_blocks else NULL)
        if b == 0:
            state = block
        else:
            fold(task, &state, block)
    write_label(task, before)
    single_out(task, i, &state, NULL if task.guesses else kept_at(task, i, state.best, room))
    if not task.keeps:
        x_y = logit(task, i, y)  # from a cache: it was read
    before[0] = finish(task, i, y, x_y, &state, rest_of(task, &state))
    if task.out == NULL:
        before.row = -1
    elif task.n_blocks == 1 or task.at_once:
        write_row(task, before, tops, room, row1)


cdef void write_row(const Task *task, Final *final, const Top *tops, char *room, Py_ssize_t row1) noexcept nogil:
    """Write it, and fetch the beginning of the next row, if that one is before row1."""
    cdef Py_ssize_t b
    cdef const char *next
    if final.row >= 0:
        for b in range(task.n_blocks):
            next = fetched_at(task, final.row + 1, task.late_quarters * b * BLOCK // 4, row1) if task.late_quarters else NULL
            write_block(task, final, b, &tops[b], kept_at(task, final.row, b, room), next)
    write_label(task, final)
    final.row = -1


cdef inline char *kept_at(const Task *task, Py_ssize_t i, Py_ssize_t b, char *room) noexcept nogil:
    """Where the exps of a block are kept: in the output, or aside; NULL where they are not. Aside, in vectors as aligned as those
    of guessed blocks are read: then these go where what was there is written already, wherever in a line either row lies."""
    if not task.keeps:
        return NULL
    if not task.is_aside:
        return out_at(task, i, b)
    return (room + (-<Py_ssize_t>room & (LINE - 1)) + b * (BLOCK * task.lanes.weight_itemsize + LINE)
            + (<Py_ssize_t>first_at(task, i, b) & (VEC_BYTES - 1) if task.guesses else 0))


cdef inline double logit(const Task *task, Py_ssize_t i, Py_ssize_t y) noexcept nogil:
    return 0.0 if task.labels == NULL else task.lanes.get(first_at(task, i, 0), y)


cdef inline double factor(const Task *task, const Final *final) noexcept nogil:
    """What exp(z - z_m) is multiplied with."""
    return final.a * final.g / (1 + final.rest)


cdef void softmax_phase(const Task *task, Py_ssize_t i, Py_ssize_t y, Py_ssize_t block0, Py_ssize_t block1,
                        int phase) noexcept nogil:
    """softmax_row cut in pieces: `states` hold what was read, `finals` what is to be written from."""
    cdef State state
    cdef Top top
    cdef Py_ssize_t b
    cdef Final *finals = <Final *>task.finals
    if phase == FINISH:
        state = stored_state(task, i)
        finals[i] = finish(task, i, y, finals[i].x_y, &state, rest_of(task, &state))
    elif phase == LABEL:
        if task.ids != NULL:
            write_targets(task, &finals[i], block0, block1)
        elif block0 * BLOCK <= finals[i].y < block1 * BLOCK:
            write_label(task, &finals[i])
    else:
        for b in range(block0, block1):
            top.m, top.raised = get_state(task, i, b).m, NOT_KEPT
            write_block(task, &finals[i], b, &top, NULL, NULL)


cdef inline bint has_results(const Task *task) noexcept nogil:
    """Whether a row has other results than what is written of it: then the logarithm of 1 + rest is a part of them."""
    return task.lse != NULL or task.losses != NULL


cdef inline Final finish(const Task *task, Py_ssize_t i, Py_ssize_t y, double x_y, State *state, double rest) noexcept nogil:
    """The row's results from its state, and what its writing pass needs."""
    return finish_with(task, i, y, x_y, state, rest, log1p(rest) if has_results(task) else NAN)


cdef Final finish_with(const Task *task, Py_ssize_t i, Py_ssize_t y, double x_y, State *state, double rest,
                       double log1p_rest) noexcept nogil:
    cdef Final final
    cdef double lse, loss, t, c = 0, share = 1
    final.row, final.y, final.x_y = i, y, x_y
    final.m = reference(task, state.m)
    final.rest = rest
    final.a = final.g = 1
    if not has_results(task):
        return final
    lse = lse_of(task, state, log1p_rest)
    if task.lse != NULL:
        task.lse[i] = lse
    if task.losses == NULL:
        return final
    t = state.t * task.unit
    loss = t * log1p_rest + state.d * task.unit
    if task.labels != NULL:
        c = (1 - task.smoothing) * class_weight_of(task, y)
        if c != 0:
            loss += c * (log1p_rest + gap(task, state.m, x_y))
    elif task.ids != NULL:
        c = targets_loss(task, i, state.m, log1p_rest, &loss)
    if task.z_loss != 0:
        loss += task.z_loss * lse * lse
    if task.sample_weight != NULL:
        share = task.sample_weight[i]
    task.losses[i] = share * loss
    final.g = task.grad_scale * task.scale * share * (1.0 if task.dlosses == NULL else task.dlosses[i])
    final.a = c + t + (2 * task.z_loss * lse if task.z_loss != 0 else 0.0)
    return final


cdef Late late_block(const Task *task, const Final *final, Py_ssize_t b, const Top *top, char *kept) noexcept nogil:
    """How block b of a finished row is written, but for the label's own share; from its exps, where they are `kept`."""
    cdef Late late
    late.block, late.map = block_at(task, final.row, b), map_of(task, final.m)
    late.block.keep = -task.keep * final.g  # what is added
    late.block.smooth = -task.smooth * final.g if task.smooth != 0 else 0.0  # no targets are none, be g infinite
    late.piece = PIECE if task.lanes.itemsize > 2 else NARROW_PIECE
    if task.kernel == LOG_SOFTMAX:
        late.write, late.a = task.lanes.write_log_probs, log1p(final.rest)
        if task.lanes.itemsize > 2:
            late.piece = LIGHT_PIECE // task.lanes.itemsize
        return late
    late.write, late.a = task.lanes.write_probs, factor(task, final)
    if task.by_blocks:
        late.write, late.block.top, late.block.most = task.lanes.write_exps, top.m, late.a
        late.a *= task.lanes.relative(top.m, final.m, task.log2e)
        if kept != NULL and top.raised != NOT_KEPT:
            late.block.e, late.block.raised = kept, top.raised
        if task.guesses:
            late.piece = LIGHT_PIECE // task.lanes.itemsize
    return late


cdef void write_block(const Task *task, const Final *final, Py_ssize_t b, const Top *top, char *kept,
                      const char *next) noexcept nogil:
    cdef Late late = late_block(task, final, b, top, kept)
    late.block.ahead = next
    late.write(&late.block, &late.map, late.a)


cdef void write_label(const Task *task, const Final *final) noexcept nogil:
    """C*(p_y - 1) + (A - C)*p_y - t_y, where p - 1 = -rest/(1 + rest) at a maximum keeps its digits as p -> 1."""
    if final.row >= 0 and task.labels != NULL:
        write_target(task, final, final.y, final.x_y, (1 - task.smoothing) * class_weight_of(task, final.y))
    elif final.row >= 0 and task.ids != NULL:
        write_targets(task, final, 0, task.n_blocks)
