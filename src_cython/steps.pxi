# A step of an optimizer, for the threads of pool.h.

from fastsoftmax.contract import RULES as _RULES

_RULE_CODES = {name: code for code, name in enumerate(_RULES)}

cdef struct StepCuts:
    const Lanes *lanes
    StepJob job
    const Py_ssize_t *edges  # where each ticket begins and ends


cdef void step_ticket(void *arg, Py_ssize_t ticket, void *room) noexcept nogil:
    cdef StepCuts *cuts = <StepCuts *>arg
    cuts.lanes.step(&cuts.job, cuts.edges[2 * ticket], cuts.edges[2 * ticket + 1])


@cython.final
cdef class Step:
    """A contract.Step whose arrays are contiguous, of what its kernels take; they are kept alive by `arrays`."""
    cdef object arrays
    cdef StepCuts cuts
    cdef Py_ssize_t width

    def __init__(self, step, int code):
        self.arrays = step
        self.width = step.gradient.size // max(1, len(step.gradient))
        self.cuts.lanes = fs_table[code]
        self.cuts.job.x, self.cuts.job.g = data(step.parameter), data(step.gradient)
        for i, state in enumerate(step.state):
            self.cuts.job.state[i] = data(state)
        for i, number in enumerate(step.numbers):
            self.cuts.job.numbers[i] = number
        self.cuts.job.rule, self.cuts.job.decay = _RULE_CODES[step.rule], step.decay

    def __call__(self, Py_ssize_t start, Py_ssize_t stop):
        with nogil:
            self.cuts.lanes.step(&self.cuts.job, start * self.width, stop * self.width)
        return -1

    def each(self, slices, int n_threads):
        """What __call__ does for every slice, on n_threads threads that take no GIL."""
        cdef cnp.ndarray edges = np.array(slices, np.intp) * self.width
        cdef Work work
        cdef int stopped
        self.cuts.edges = <const Py_ssize_t *>cnp.PyArray_DATA(edges)
        work.run, work.poll, work.arg, work.n_tickets = step_ticket, poll, &self.cuts, len(slices)
        work.is_short, work.room_bytes = False, 0
        with nogil:
            stopped = pool_run(&work, n_threads)
        return ended(stopped, &work)


step = Step
