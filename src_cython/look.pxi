# What one asks of a row beside its loss, in one reading: rank and depth, the largest logits, a sample.

from libc.stdint cimport uint64_t

cdef extern from "select.h":
    void select_candidates(Candidate *, Py_ssize_t, Py_ssize_t) noexcept nogil
    void sort_candidates(Candidate *, Py_ssize_t) noexcept nogil
    Candidate last_candidate(const Candidate *, Py_ssize_t) noexcept nogil

from fastsoftmax.contract import STATS as _STATS

cdef enum:
    STATS = 8  # doubles a row in Look.stats
if _STATS != STATS:
    raise ImportError("the compiled kernels are of another version: reinstall fastsoftmax")

# a contract.Look with its pointers taken out
cdef struct Look:
    Task task
    double *stats
    int64_t *ids
    double *values
    Py_ssize_t k
    const uint64_t *words
    int64_t *drawn
    double top_p
    const Py_ssize_t *cuts  # where the rows of a ticket begin, and the last ones end
    Py_ssize_t *bad  # OUT: of each ticket the first row whose label is out of range, or -1

# classes that come before another: above its logit, or equal to it with a smaller id
cdef struct Before:
    double value
    Py_ssize_t id


cdef Py_ssize_t look_row(const Look *look, Py_ssize_t i, void *room) noexcept nogil:
    """Statistics and largest logits of a row; i where its label is out of range, else -1."""
    cdef const Task *task = &look.task
    cdef int64_t y = label_of(task, i)
    cdef Py_ssize_t b, above = 0
    cdef bint counts = task.labels != NULL
    cdef double x_y, down = 0, beyond
    cdef Find find
    cdef State state, block
    if counts and y == task.ignore_index:
        forget_row(look, i)
        return -1
    if is_wrong(task, y):
        return i
    x_y = logit(task, i, y) if counts else NAN
    find.found, find.n, find.k = <Candidate *>room, 0, look.k
    find.threshold = first_threshold(task, i, look.k, find.found)
    for b in range(task.n_blocks):
        beyond = x_y if b * BLOCK > y else task.lanes.below(x_y)
        down = see_block(look, i, b, beyond, counts, &find, &state, &block, down, &above)
        if counts and b * BLOCK <= y < (b + 1) * BLOCK:
            above += above_within(task, i, b, x_y, y)
    if look.k:
        put_largest(look, i, &find)
    if look.stats != NULL:
        if is_peaked(task, &state):
            down = seen_again(task, i, &state, down)
        put_stats(look, i, y, x_y, &state, down, above)
    return -1


cdef double seen_again(const Task *task, Py_ssize_t i, State *state, double down) noexcept nogil:
    """Where the sums are small: the best block once more, now with its maximum known, which costs no digit."""
    cdef Seen guessed, known
    cdef Py_ssize_t n = block_size(task, state.best)
    cdef const char *x = first_at(task, i, state.best)
    single_out(task, i, state, NULL)
    see(task, x, n, guess_of(task, x, n), 0, False, INFINITY, &guessed)
    see(task, x, n, state.m, 0, False, INFINITY, &known)
    return max(0.0, down - guessed.d + known.d)


cdef double see_block(const Look *look, Py_ssize_t i, Py_ssize_t b, double beyond, bint counts, Find *find, State *state,
                      State *block, double down, Py_ssize_t *above) noexcept nogil:
    """One block's part of everything; `down` with it."""
    cdef const Task *task = &look.task
    cdef Py_ssize_t n = block_size(task, b)
    cdef const char *x = first_at(task, i, b)
    cdef Seen seen
    see(task, x, n, guess_of(task, x, n), beyond, counts, find.threshold, &seen)
    block.m, block.s, block.best = seen.m, seen.s, b
    block.other = block.t = block.d = 0
    block.alone = UNKNOWN
    above[0] += seen.above if counts else 0
    if block.m == INFINITY and task.cap == 0:
        block.s = NAN if task.lanes.any_nan(x, n) else INFINITY
    if look.k and seen.runs and find.threshold != INFINITY:
        find.base = b * BLOCK
        task.lanes.search(x, n, seen.runs, find)
        keep_largest(find)
    if b == 0:
        state[0] = block[0]
        return seen.d
    down = folded_down(task, state, block, down, seen.d)
    fold(task, state, block[0])
    return down


cdef inline void see(const Task *task, const char *x, Py_ssize_t n, double guess, double beyond, bint counts,
                     double threshold, Seen *seen) noexcept nogil:
    """lanes.look with a guess of the maximum, or with the maximum."""
    cdef Map map = map_of(task, reference(task, guess))
    if is_endless(task, guess) or not task.lanes.look(x, n, &map, beyond, counts, threshold, seen):
        map = map_of(task, reference(task, task.lanes.block_max(x, n)))
        task.lanes.look(x, n, &map, beyond, counts, threshold, seen)


cdef inline double folded_down(const Task *task, const State *a, const State *b, double down_a,
                               double down_b) noexcept nogil:
    """sum e*(z_m - z) of a and b together, relative to the larger of their maxima: as fold has their sums."""
    cdef double shift = gap(task, reference(task, b.m), reference(task, a.m)), s = a.other + a.s
    if b.m > a.m:
        return down_b + (0.0 if is_endless(task, a.m) and not isnan(s) else exp(-shift) * (down_a + shift * s))
    return down_a + (exp(shift) if a.m > b.m and not is_endless(task, b.m) else 1.0) * (down_b - shift * b.s)


cdef Py_ssize_t above_within(const Task *task, Py_ssize_t i, Py_ssize_t b, double x_y, Py_ssize_t y) noexcept nogil:
    """What is to be added for the label's own block, which was counted as a whole by what is at least x_y."""
    cdef Py_ssize_t n = block_size(task, b), at = y - b * BLOCK
    cdef const char *x = first_at(task, i, b)
    cdef const char *rest = x + at * task.lanes.itemsize
    return task.lanes.count_above(rest, n - at, x_y) - task.lanes.count_above(rest, n - at, task.lanes.below(x_y))


cdef double first_threshold(const Task *task, Py_ssize_t i, Py_ssize_t k, Candidate *room) noexcept nogil:
    """What the k-th largest of the first block is above, for certain."""
    cdef double tops[TOP_GROUPS]
    cdef Py_ssize_t j, groups = TOP_GROUPS, n = block_size(task, 0)
    cdef double least
    if k == 0 or k > TOP_GROUPS or n < 4 * TOP_GROUPS:
        return -INFINITY
    task.lanes.group_tops(first_at(task, i, 0), n, tops)
    while groups >= 4 * k:
        groups //= 2
        for j in range(groups):
            tops[j] = max(tops[j], tops[j + groups])
    for j in range(groups):
        room[j].value, room[j].id = tops[j], j
    select_candidates(room, groups, k)
    least = last_candidate(room, k).value
    return -INFINITY if least == -INFINITY else task.lanes.below(least)


cdef inline void keep_largest(Find *find) noexcept nogil:
    """Drop what cannot be among the first k. Once these are NaN, nothing comes before them: the threshold is inf."""
    cdef Candidate last
    if find.k > FEW and find.n >= 2 * find.k:
        select_candidates(find.found, find.n, find.k)
        find.n = find.k
        last = last_candidate(find.found, find.k)
        find.threshold = INFINITY if isnan(last.value) else last.value


cdef void put_largest(const Look *look, Py_ssize_t i, Find *find) noexcept nogil:
    cdef Py_ssize_t j, k = look.k, n
    cdef int64_t *ids = look.ids + i * k
    cdef double *values = look.values + i * k
    if find.n > k:
        select_candidates(find.found, find.n, k)
        find.n = k
    n = find.n
    if k > FEW:
        sort_candidates(find.found, n)
    for j in range(n):
        ids[j], values[j] = find.found[j].id, find.found[j].value
    j = 0
    while n < k:  # all others are -inf, which is above nothing
        if look.task.lanes.get(first_at(&look.task, i, 0), j) == -INFINITY:
            ids[n], values[n] = j, -INFINITY
            n += 1
        j += 1


cdef void put_stats(const Look *look, Py_ssize_t i, Py_ssize_t y, double x_y, const State *state, double down,
                    Py_ssize_t above) noexcept nogil:
    """See contract.Look."""
    cdef const Task *task = &look.task
    cdef double *stats = look.stats + i * STATS
    cdef double rest = rest_of(task, state), log1p_rest = log1p(rest)
    stats[0] = state.m
    stats[1] = rest
    stats[2] = NAN if is_endless(task, state.m) else down
    stats[3] = lse_of(task, state, log1p_rest)
    stats[4] = log1p_rest + gap(task, state.m, x_y)
    stats[5] = x_y
    if task.labels != NULL and (isnan(x_y) or x_y == -INFINITY):
        above = like_before(task, i, y, x_y) + (0 if isnan(x_y) else above)
    stats[6] = 1 + above if task.labels != NULL else 0
    stats[7] = look.ids[i * look.k] if look.k else first_best(task, i, state)


cdef Py_ssize_t like_before(const Task *task, Py_ssize_t i, Py_ssize_t y, double x_y) noexcept nogil:
    """How many of the classes before y have its logit, NaN or -inf."""
    cdef Py_ssize_t k, n = 0
    cdef double x
    for k in range(y):
        x = task.lanes.get(first_at(task, i, 0), k)
        n += (isnan(x) and isnan(x_y)) or x == x_y
    return n


cdef Py_ssize_t first_nan(const Task *task, Py_ssize_t i) noexcept nogil:
    """n_classes where there is none."""
    cdef Py_ssize_t k = 0
    while k < task.n_classes and not isnan(task.lanes.get(first_at(task, i, 0), k)):
        k += 1
    return k


cdef Py_ssize_t first_best(const Task *task, Py_ssize_t i, const State *state) noexcept nogil:
    cdef Py_ssize_t b = state.best
    if isnan(state.s + state.other):
        return first_nan(task, i)
    return b * BLOCK + task.lanes.find(first_at(task, i, b), block_size(task, b), state.m)


cdef void forget_row(const Look *look, Py_ssize_t i) noexcept nogil:
    """An ignored row: zeros, and no class."""
    cdef Py_ssize_t j
    for j in range(look.k):
        look.ids[i * look.k + j], look.values[i * look.k + j] = -1, 0
    if look.stats != NULL:
        for j in range(STATS):
            look.stats[i * STATS + j] = 0
        look.stats[i * STATS + 7] = -1


cdef uint64_t GOLDEN = 0x9e3779b97f4a7c15, MIX_1 = 0xbf58476d1ce4e5b9, MIX_2 = 0x94d049bb133111eb


cdef inline double uniform(uint64_t *word) noexcept nogil:
    """The next number in [0, 1), of 53 bits: splitmix64 (Steele, Lea and Flood 2014, doi 10.1145/2714064.2660195)."""
    cdef uint64_t z
    word[0] += GOLDEN
    z = word[0]
    z = (z ^ (z >> 30)) * MIX_1
    z = (z ^ (z >> 27)) * MIX_2
    return ((z ^ (z >> 31)) >> 11) * 1.1102230246251565e-16


cdef void draw_row(const Look *look, Py_ssize_t i, void *room) noexcept nogil:
    """A class by inversion; it is kept if what comes before it has less than top_p of the mass, else drawn again from that.

    What is kept is distributed as softmax over the smallest set of first classes with top_p of the mass: every class drawn
    comes from a set that holds that one. Half of what is too much goes with each trial, on average.
    """
    cdef const Task *task = &look.task
    cdef double *tops = <double *>room
    cdef double *masses = tops + task.n_blocks
    cdef uint64_t word = look.words[i]
    cdef double top = -INFINITY, total, most
    cdef Py_ssize_t b, best = 0
    cdef Before before
    total = masses_of(task, i, tops, masses, &best)
    top = tops[best]
    if isnan(total) or is_endless(task, top):
        look.drawn[i] = first_nan(task, i) if isnan(total) and first_nan(task, i) < task.n_classes else \
            best * BLOCK + task.lanes.find(first_at(task, i, best), block_size(task, best), top)
        return
    most = look.top_p * total
    before.value, before.id = -INFINITY, 0
    while True:
        before.id = pick(task, i, tops, masses, total, before, uniform(&word))
        before.value = task.lanes.get(first_at(task, i, 0), before.id)
        if look.top_p >= 1:
            break
        total = 0
        for b in range(task.n_blocks):
            masses[b] = mass_before(task, i, b, tops[b], before) * exp(-gap(task, top, reference(task, tops[b])))
            total += masses[b]
        if not total >= most or total == 0:
            break
    look.drawn[i] = before.id


cdef double masses_of(const Task *task, Py_ssize_t i, double *tops, double *masses, Py_ssize_t *best) noexcept nogil:
    """The maxima of the blocks and their masses relative to the first of the largest, `best`; the sum of these."""
    cdef Py_ssize_t b
    cdef State state
    cdef double total = 0
    for b in range(task.n_blocks):
        state = block_state(task, i, b, INFINITY, NULL, NULL, NULL, NULL)
        tops[b], masses[b] = state.m, state.s
        if tops[b] > tops[best[0]]:
            best[0] = b
    for b in range(task.n_blocks):
        masses[b] *= exp(-gap(task, reference(task, tops[best[0]]), reference(task, tops[b])))
        total += masses[b]
    return total


cdef Py_ssize_t pick(const Task *task, Py_ssize_t i, const double *tops, const double *masses, double total, Before before,
                     double u) noexcept nogil:
    """The class at u of the mass before `before`; all of it where that has the value -inf."""
    cdef double target = u * total, value = before.value, low
    cdef Py_ssize_t b = 0, at, last = 0, split
    cdef Map map
    for at in range(task.n_blocks):
        if masses[at] > 0:
            last = at
    while b < last and target >= masses[b]:
        target -= masses[b]
        b += 1
    map = map_of(task, reference(task, tops[b]))
    low = -INFINITY if value == -INFINITY else task.lanes.below(value)
    split = min(max(before.id - b * BLOCK, 0), block_size(task, b))
    at = task.lanes.pick(first_at(task, i, b), block_size(task, b), &map, min(target / masses[b], 1 - 1e-16), low, value, split)
    return b * BLOCK + at


cdef double mass_before(const Task *task, Py_ssize_t i, Py_ssize_t b, double top, Before before) noexcept nogil:
    """What comes before `before` in a block, relative to the block's maximum."""
    cdef Py_ssize_t n = block_size(task, b), split = min(max(before.id - b * BLOCK, 0), n)
    cdef const char *x = first_at(task, i, b)
    cdef double mass = 0
    cdef Map map
    if top < before.value:
        return 0
    map = map_of(task, reference(task, top))
    if split:
        mass = task.lanes.mass_above(x, split, &map, task.lanes.below(before.value))
    if split < n:
        mass += task.lanes.mass_above(x + split * task.lanes.itemsize, n - split, &map, before.value)
    return mass


cdef void look_ticket(void *arg, Py_ssize_t ticket, void *room) noexcept nogil:
    cdef const Look *look = <const Look *>arg
    cdef Py_ssize_t i, bad = -1
    for i in range(look.cuts[ticket], look.cuts[ticket + 1]):
        if look.words != NULL:
            draw_row(look, i, room)
        else:
            bad = look_row(look, i, room)
        if bad >= 0:
            break
    look.bad[ticket] = bad


@cython.final
cdef class Looking:
    """A contract.Look as a task. The arrays are kept alive by `job`."""
    cdef object job
    cdef Look look

    def __init__(self, job):
        cdef Task *task = &self.look.task
        self.job = job
        memset(&self.look, 0, sizeof(Look))
        task.kernel = LSE
        task.lanes = fs_table[job.dtype.code]
        task.first, task.first_stride = <const char *>data(job.logits), row_stride(job.logits)
        task.n_classes = cnp.PyArray_DIM(<cnp.ndarray>job.logits, 1)
        task.labels = <const int64_t *>data(job.labels)
        task.scale, task.cap, task.ignore_index = job.scale, job.cap, job.ignore_index
        derive(task, False)
        self.look.stats = <double *>data(job.stats)
        self.look.ids, self.look.values = <int64_t *>data(job.ids), <double *>data(job.values)
        self.look.k = 0 if job.ids is None else cnp.PyArray_DIM(<cnp.ndarray>job.ids, 1)
        self.look.words, self.look.drawn = <const uint64_t *>data(job.words), <int64_t *>data(job.drawn)
        self.look.top_p = job.top_p

    def each(self, list cuts, int n_threads):
        """All rows, cuts[t] to cuts[t + 1] as one ticket; the first bad row, or -1."""
        cdef Look look = self.look
        cdef Py_ssize_t i, n = len(cuts) - 1, bad = -1
        cdef Work work
        cdef int stopped
        at = np.array(cuts, np.intp)
        bads = np.empty(max(n, 1), np.intp)
        look.cuts, look.bad = <const Py_ssize_t *>data(at), <Py_ssize_t *>data(bads)
        work.run, work.poll, work.arg, work.n_tickets, work.is_short = look_ticket, poll, &look, n, False
        work.room_bytes = max((2 * look.k + BLOCK + TOP_GROUPS) * sizeof(Candidate),
                              2 * look.task.n_blocks * sizeof(double))
        with nogil:
            stopped = pool_run(&work, n_threads)
        ended(stopped, &work)
        for i in range(n):
            if look.bad[i] >= 0 and (bad < 0 or look.bad[i] < bad):
                bad = look.bad[i]
        return bad


def look(job):
    return Looking(job)
