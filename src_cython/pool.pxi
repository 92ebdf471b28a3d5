# A task cut in pieces, each a ticket for the threads of pool.h.

from libc.stdlib cimport free, malloc

cdef extern from "pool.h":
    ctypedef struct Work "fs_work":
        void (*run)(void *, Py_ssize_t, void *) noexcept nogil
        int (*poll)() noexcept nogil
        void *arg
        Py_ssize_t n_tickets
        int is_short
        size_t room_bytes
    void pool_start() noexcept
    int pool_run(Work *, int) noexcept nogil
    bint pool_is_near() noexcept nogil
    void pool_alone() noexcept nogil
    enum: POOL_NO_MEMORY, POOL_FORKED

cdef extern from "Python.h":
    int signals "PyErr_CheckSignals"() noexcept

cdef struct Cut:
    Py_ssize_t row0, row1, block0, block1
    int phase
    Py_ssize_t bad  # OUT: the first row whose label is out of range, or -1

cdef struct Cuts:
    const Task *task
    Cut *cuts

# What is worth a thread, in logits, by `python -m fastsoftmax.bench.threshold`: one that sleeps is awake after 60 us, of which
# 18 are the caller's (Zen 4, virtual), one that is awake begins at once.
LOGITS_PER_THREAD = 300_000
cdef Py_ssize_t ASLEEP = LOGITS_PER_THREAD, AWAKE = 30_000

pool_start()


cdef void run_cut(void *arg, Py_ssize_t ticket, void *room) noexcept nogil:
    cdef const Task *task = (<Cuts *>arg).task
    cdef Cut *cut = (<Cuts *>arg).cuts + ticket
    if task.inner:
        cut.bad = run_groups(task, <char *>room, cut.row0, cut.row1, cut.block0, cut.block1, cut.phase)
    else:
        cut.bad = run_rows(task, cut.row0, cut.row1, cut.block0, cut.block1, cut.phase, <char *>room)


cdef int poll() noexcept nogil:
    with gil:
        return signals()


cdef int ended(int stopped, const Work *work) except -1:
    """Raise what kept a job from its end, if anything did; where a signal handler has raised, the exception is set."""
    if stopped == POOL_NO_MEMORY:
        raise MemoryError(f"{work.room_bytes} bytes for each thread")
    if stopped == POOL_FORKED:
        raise RuntimeError("a signal handler forked in the midst of a call: the child cannot end it")
    return -1 if stopped else 0


cdef int work_off(Work *work, const Task *task, Cut *cuts, Py_ssize_t n_cuts, int n_threads, bint is_short) noexcept nogil:
    """All cuts, on n_threads threads; 0, or what stopped it. is_short: whether it is not worth waking a thread for."""
    cdef Cuts arg
    arg.task, arg.cuts = task, cuts
    work.run, work.arg, work.n_tickets, work.is_short = run_cut, &arg, n_cuts, is_short
    work.room_bytes = room_bytes(task) if task.inner else kept_bytes(task)
    return pool_run(work, n_threads)


cdef Py_ssize_t first_bad(const Cut *cuts, Py_ssize_t n_cuts) noexcept nogil:
    """The first bad row of all cuts, or -1."""
    cdef Py_ssize_t bad = -1, i
    for i in range(n_cuts):
        if cuts[i].bad >= 0 and (bad < 0 or cuts[i].bad < bad):
            bad = cuts[i].bad
    return bad


cdef Py_ssize_t run_cuts(const Task *task, Cut *cuts, Py_ssize_t n_cuts, int n_threads, bint is_short) except -2:
    """What work_off does, for a caller with the GIL, who looks after signals; the first bad row, or -1."""
    cdef Work work
    cdef int stopped
    work.poll = poll
    with nogil:
        stopped = work_off(&work, task, cuts, n_cuts, n_threads, is_short)
    ended(stopped, &work)
    return first_bad(cuts, n_cuts)
