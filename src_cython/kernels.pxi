# The row kernels of fastsoftmax/contract.py. One text: dtypes are rows of the table in lanes.h, instruction sets are
# compilations of this file (kernels_baseline.pyx, kernels_v3.pyx, kernels_v4.pyx).

cimport cython
cimport numpy as cnp
from libc.math cimport INFINITY, NAN, exp, exp2, fma, isnan, log1p, tanh
from libc.stdint cimport int64_t
from libc.string cimport memset

include "lanes.pxi"

cnp.import_array()

cdef enum:
    FINALS = 7  # doubles a row in Job.finals
    KEPT_BLOCKS = 256  # blocks of a row whose exps can be kept in place
cdef double LOG2E = 1.44269504088896340736

cdef enum Phase:
    ALL, STATES, FINISH, WRITE, LABEL

cdef enum Kernel:
    LSE, SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY, SOFT_CROSS_ENTROPY, SOFTMAX_GRAD, LOG_SOFTMAX_GRAD, ENTROPY, KL

from fastsoftmax.contract import BLOCK as _BLOCK, FINALS as _FINALS, KERNELS as _KERNELS
_CODES = {name: code for code, name in enumerate(_KERNELS)}
if _BLOCK != BLOCK or _FINALS * sizeof(double) != sizeof(Final):
    raise ImportError("the compiled kernels are of another version: reinstall fastsoftmax")

# what a block, or any run of blocks, is known by
cdef struct State:
    double m       # maximum raw logit
    double s       # sum exp(z - z_m) of the block that holds the maximum (the first such)
    double other   # the same of all other blocks
    double t       # sum of targets, in units of Bound.unit
    double d       # sum of targets*(z_m - z), likewise
    Py_ssize_t best  # which block holds the maximum

# what the writing pass of a row needs
cdef struct Final:
    Py_ssize_t row  # -1 for none
    Py_ssize_t y   # the label, read once: it was checked as it was read
    double m       # maximum raw logit
    double rest    # sum exp(z - z_m) over all classes but one maximum
    double a       # factor of p: A*g*scale, or 1
    double g       # upstream gradient times scale
    double x_y     # the label's logit, read before the row may be overwritten


@cython.final
cdef class Bound:
    """A job with its pointers taken out. The arrays are kept alive by `job`."""
    cdef object job
    cdef const Lanes *lanes
    cdef int kernel
    cdef const char *first
    cdef const char *second
    cdef char *out
    cdef const int64_t *labels
    cdef const char *class_weight
    cdef const double *sample_weight
    cdef const double *dlosses
    cdef double *losses
    cdef double *lse
    cdef double *states
    cdef double *finals
    cdef Py_ssize_t n_classes, n_blocks, first_stride, second_stride, out_stride
    cdef double scale, log2e, cap, smoothing, z_loss, grad_scale
    cdef double keep, smooth   # t[k] = w[k]*(keep*q[k] + smooth)
    cdef double unit   # smooth where all targets have it as a factor: a sum of ones is exact, one of V times e/V is not
    cdef bint has_targets, stream, keeps
    cdef int64_t ignore_index

    def __init__(self, job):
        cdef cnp.ndarray first = job.first
        self.job = job
        self.kernel = _CODES[job.kernel]
        self.lanes = fs_table[job.dtype.code]
        self.first = <const char *>cnp.PyArray_DATA(first)
        self.n_classes = cnp.PyArray_DIM(first, 1)
        self.n_blocks = (self.n_classes + BLOCK - 1) // BLOCK
        self.first_stride = cnp.PyArray_STRIDE(first, 0)
        self.second = <const char *>data(job.second)
        self.second_stride = 0 if job.second is None else cnp.PyArray_STRIDE(job.second, 0)
        self.out = <char *>data(job.out)
        self.out_stride = 0 if job.out is None else cnp.PyArray_STRIDE(job.out, 0)
        self.labels = <const int64_t *>data(job.labels)
        self.class_weight = <const char *>data(job.class_weight)
        self.sample_weight = <const double *>data(job.sample_weight)
        self.dlosses = <const double *>data(job.dlosses)
        self.losses = <double *>data(job.losses)
        self.lse = <double *>data(job.lse)
        self.states = <double *>data(job.states)
        self.finals = <double *>data(job.finals)
        self.scale, self.cap, self.smoothing = job.scale, job.cap, job.smoothing
        self.z_loss, self.grad_scale, self.ignore_index = job.z_loss, job.grad_scale, job.ignore_index
        # rounded as the lanes round it: 2^log2e then stands for e everywhere
        self.log2e = <float>(self.scale * LOG2E) if self.lanes.weight_itemsize == 4 else self.scale * LOG2E
        self.keep = 1 - self.smoothing if self.second != NULL else 0.0
        self.smooth = self.smoothing / self.n_classes if self.n_classes else 0.0
        self.unit = self.smooth if self.second == NULL else 1.0
        self.has_targets = self.kernel == SOFT_CROSS_ENTROPY or self.smooth != 0
        self.stream = job.stream
        self.keeps = (job.keep_exps and self.lanes.multiply != NULL and self.n_blocks <= KEPT_BLOCKS
                      and self.cap == 0 and not self.has_targets
                      and (self.kernel == SOFTMAX or self.kernel == CROSS_ENTROPY))

    def __call__(self, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t block0, Py_ssize_t block1, int phase):
        cdef Py_ssize_t bad
        with nogil:
            bad = self.run(row0, row1, block0, block1, phase)
        return bad

    cdef Py_ssize_t run(self, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t block0, Py_ssize_t block1,
                        int phase) noexcept nogil:
        cdef Py_ssize_t i
        cdef int64_t y = 0
        cdef Final before  # the row that is written while the next one is read: memory does both at once
        before.row = -1
        for i in range(row0, row1):
            if self.labels != NULL:  # read once: another thread may change it
                y = (<const volatile int64_t *>self.labels)[i]
            if ((self.labels != NULL and y == self.ignore_index)
                    or (self.sample_weight != NULL and self.sample_weight[i] == 0)):
                self.inert_row(i, block0, block1, phase)
            elif self.labels != NULL and not 0 <= y < self.n_classes:
                return i
            elif phase == STATES:
                self.states_of(i, block0, block1)
            elif self.kernel > SOFT_CROSS_ENTROPY:
                self.sum_row(i, block0, block1, phase)
            elif phase != ALL:
                self.softmax_phase(i, y, block0, block1, phase)
            elif self.keeps:
                self.kept_row(i, y, row1)
            else:
                self.softmax_row(i, y, row1, &before)
        self.write_row(&before)
        if self.stream:
            fence()
        return -1

    cdef void inert_row(self, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1, int phase) noexcept nogil:
        if phase == ALL or phase == FINISH:
            self.losses[i] = 0
            self.lse[i] = 0
        if (phase == ALL or phase == WRITE) and self.out != NULL:
            memset(self.out_at(i, block0), 0,
                   (min(self.n_classes, block1 * BLOCK) - block0 * BLOCK) * self.lanes.itemsize)

    cdef void states_of(self, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1) noexcept nogil:
        cdef Py_ssize_t b
        for b in range(block0, block1):
            if self.kernel <= SOFT_CROSS_ENTROPY:
                self.put_state(i, b, self.block_state(i, b, NULL))
            else:
                self.states[(i * self.n_blocks + b) * 4] = self.block_sum(i, b)

    cdef inline Py_ssize_t block_size(self, Py_ssize_t b) noexcept nogil:
        return min(<Py_ssize_t>BLOCK, self.n_classes - b * BLOCK)

    cdef inline const char *first_at(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        return self.first + i * self.first_stride + b * BLOCK * self.lanes.itemsize

    cdef inline const char *ahead(self, Py_ssize_t i, Py_ssize_t b, Py_ssize_t row1) noexcept nogil:
        """Block b, which may lie in the next row, if that one is before row1; else NULL."""
        if b < self.n_blocks:
            return self.first_at(i, b)
        return self.first_at(i + 1, b - self.n_blocks) if i + 1 < row1 and b < 2 * self.n_blocks else NULL

    cdef inline const char *second_at(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        if self.second == NULL:
            return NULL
        return self.second + i * self.second_stride + b * BLOCK * self.lanes.itemsize

    cdef inline char *out_at(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        return self.out + i * self.out_stride + b * BLOCK * self.lanes.itemsize

    cdef inline const char *weight_at(self, Py_ssize_t b) noexcept nogil:
        if self.class_weight == NULL:
            return NULL
        return self.class_weight + b * BLOCK * self.lanes.weight_itemsize

    cdef inline double class_weight_of(self, Py_ssize_t k) noexcept nogil:
        if self.class_weight == NULL:
            return 1.0
        if self.lanes.weight_itemsize == 8:
            return (<const double *>self.class_weight)[k]
        return (<const float *>self.class_weight)[k]

    cdef inline double z_of(self, double x) noexcept nogil:
        if self.cap > 0:
            return self.cap * tanh(self.scale * x / self.cap)
        return self.scale * x

    cdef inline double gap(self, double m, double x) noexcept nogil:
        """z(m) - z(x), the subtraction first where z is linear."""
        if self.cap > 0:
            return self.z_of(m) - self.z_of(x)
        return self.scale * (m - x)

    cdef inline double reference(self, double m) noexcept nogil:
        """What is subtracted: -inf - -inf must not poison a block of masked classes. A cap makes infinities finite."""
        return 0.0 if m == -INFINITY and self.cap == 0 else m

    cdef inline bint is_endless(self, double m) noexcept nogil:
        return self.cap == 0 and (m == INFINITY or m == -INFINITY)

    cdef inline Map map_of(self, double m) noexcept nogil:
        cdef Map map
        map.m = m
        map.z_m = self.z_of(m)
        map.scale = self.scale
        map.scale_log2e = self.log2e
        map.cap = self.cap
        map.scale_over_cap = self.scale / self.cap if self.cap > 0 else 0.0
        return map

    cdef inline Block block(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        """Block b of row i, as it is read and written."""
        cdef Block block
        block.x, block.q = self.first_at(i, b), self.second_at(i, b)
        block.w = self.weight_at(b) if self.has_targets else NULL
        block.out = self.out_at(i, b)
        block.n = self.block_size(b)
        block.ahead = NULL
        block.stream = self.stream
        block.keep, block.smooth = self.keep, self.smooth
        return block

    # ------------------------------------------------------------------------- softmax and cross-entropy

    cdef State block_state(self, Py_ssize_t i, Py_ssize_t b, const Late *late) noexcept nogil:
        """One block's state, with a block of the row before written meanwhile. Whatever is read twice is read from L1."""
        cdef State state
        cdef Py_ssize_t n = self.block_size(b)
        cdef const char *x = self.first_at(i, b)
        cdef Map map
        cdef Block block
        state.other = state.t = state.d = 0
        state.best = b
        if self.cap > 0 and late != NULL:
            late.write(&late.block, &late.map, late.a)
        if self.cap > 0 or not self.lanes.max_exp_sum(x, n, self.log2e, late, &state.m, &state.s):
            state.m = self.lanes.block_max(x, n)
            map = self.map_of(self.reference(state.m))
            state.s = self.lanes.exp_sum(x, n, &map)
        if state.m == INFINITY and self.cap == 0:
            state.s = NAN if self.lanes.any_nan(x, n) else INFINITY
        if self.has_targets:
            block, map = self.block(i, b), self.map_of(self.reference(state.m))
            block.smooth = self.smooth / self.unit
            self.lanes.target_sums(&block, &map, &state.t, &state.d)
        return state

    cdef inline void put_state(self, Py_ssize_t i, Py_ssize_t b, State state) noexcept nogil:
        cdef double *at = self.states + (i * self.n_blocks + b) * 4
        at[0], at[1], at[2], at[3] = state.m, state.s, state.t, state.d

    cdef inline State get_state(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        cdef State state
        cdef double *at = self.states + (i * self.n_blocks + b) * 4
        state.m, state.s, state.t, state.d = at[0], at[1], at[2], at[3]
        state.other = 0
        state.best = b
        return state

    cdef inline void fold(self, State *a, State b) noexcept nogil:
        """a and the next block together, in float64; the order of blocks is the order of rounding."""
        cdef double shift = self.gap(self.reference(b.m), self.reference(a.m))
        if b.m > a.m:
            a.other = (a.other + a.s) * (0.0 if self.is_endless(a.m) and not isnan(a.other + a.s) else exp(-shift))
            if a.t != 0:
                a.d = a.d + shift * a.t
            a.m, a.s, a.best = b.m, b.s, b.best
        else:
            a.other += b.s * (exp(shift) if a.m > b.m and not self.is_endless(b.m) else 1.0)
            if b.t != 0:
                b.d = b.d - shift * b.t
        a.t += b.t
        a.d += b.d

    cdef State stored_state(self, Py_ssize_t i) noexcept nogil:
        cdef Py_ssize_t b
        cdef State state = self.get_state(i, 0)
        for b in range(1, self.n_blocks):
            self.fold(&state, self.get_state(i, b))
        return state

    cdef double rest_of(self, Py_ssize_t i, State *state) noexcept nogil:
        """sum exp(z - z_m) over all classes but one maximum, to relative accuracy also where it is small."""
        cdef double total = state.other + state.s
        cdef Map map
        if self.is_endless(state.m):
            return NAN
        if not total < 2:
            return total - 1
        map = self.map_of(state.m)
        return state.other + self.lanes.sum_without_max(self.first_at(i, state.best), self.block_size(state.best), &map)

    cdef double lse_of(self, State *state, double rest) noexcept nogil:
        cdef double total = state.s + state.other  # NaN where the row has one
        if self.is_endless(state.m):
            return NAN if isnan(total) else state.m
        return self.z_of(state.m) + log1p(rest)

    cdef void softmax_row(self, Py_ssize_t i, Py_ssize_t y, Py_ssize_t row1, Final *before) noexcept nogil:
        """Read row i while the row before is written; leave in `before` what row i is to be written from."""
        cdef Py_ssize_t b
        cdef State state
        cdef Late late
        for b in range(self.n_blocks):
            if before.row >= 0:
                late = self.late_block(before, b)
                late.block.ahead = self.ahead(i, b + 1, row1)
            if b == 0:
                state = self.block_state(i, b, &late if before.row >= 0 else NULL)
            else:
                self.fold(&state, self.block_state(i, b, &late if before.row >= 0 else NULL))
        self.write_label(before)
        before[0] = self.finish(i, y, self.logit(i, y), &state, self.rest_of(i, &state))
        if self.out == NULL:
            before.row = -1
        elif self.n_blocks == 1:
            self.write_row(before)

    cdef void write_row(self, Final *final) noexcept nogil:
        cdef Py_ssize_t b
        if final.row >= 0:
            for b in range(self.n_blocks):
                self.write_block(final, b)
        self.write_label(final)
        final.row = -1

    cdef void kept_row(self, Py_ssize_t i, Py_ssize_t y, Py_ssize_t row1) noexcept nogil:
        """In place, one exp a logit: e = exp(z - reference) stands where the logits were, then is multiplied."""
        cdef Py_ssize_t b
        cdef double x_y = self.logit(i, y), total, rest
        cdef Kept kept[KEPT_BLOCKS]
        cdef State state, block
        cdef Final final
        block.other = block.t = block.d = 0
        for b in range(self.n_blocks):
            self.lanes.exp_in_place(self.out_at(i, b), self.block_size(b), self.log2e,
                                    self.ahead(i, b + 2, row1), &kept[b])
            block.m, block.s, block.best = kept[b].max, kept[b].sum, b
            if b == 0:
                state = block
            else:
                self.fold(&state, block)
        total, b = state.s + state.other, state.best
        if self.is_endless(state.m):
            rest = NAN
        elif not total < 2:
            rest = total - 1
        else:
            rest = state.other + (self.lanes.sum_of_others(self.out_at(i, b), self.block_size(b)) / self.lanes.raised
                                  * exp2(fma(kept[b].reference - state.m, self.log2e, kept[b].c)))
        final = self.finish(i, y, x_y, &state, rest)
        for b in range(self.n_blocks):
            self.lanes.multiply(self.out_at(i, b), self.block_size(b), self.factor(&final) / self.lanes.raised
                                * exp2(fma(kept[b].reference - final.m, self.log2e, kept[b].c)))
        self.write_label(&final)

    cdef inline double logit(self, Py_ssize_t i, Py_ssize_t y) noexcept nogil:
        return 0.0 if self.labels == NULL else self.lanes.get(self.first_at(i, 0), y)

    cdef inline double factor(self, const Final *final) noexcept nogil:
        """What exp(z - z_m) is multiplied with."""
        return final.a * final.g / (1 + final.rest)

    cdef void softmax_phase(self, Py_ssize_t i, Py_ssize_t y, Py_ssize_t block0, Py_ssize_t block1,
                            int phase) noexcept nogil:
        """softmax_row cut in pieces: `states` hold what was read, `finals` what is to be written from."""
        cdef State state
        cdef Py_ssize_t b
        cdef Final *finals = <Final *>self.finals
        if phase == FINISH:
            state = self.stored_state(i)
            finals[i] = self.finish(i, y, self.logit(i, y), &state, self.rest_of(i, &state))
        elif phase == LABEL:
            self.write_label(&finals[i])
        else:
            for b in range(block0, block1):
                self.write_block(&finals[i], b)

    cdef Final finish(self, Py_ssize_t i, Py_ssize_t y, double x_y, State *state, double rest) noexcept nogil:
        """The row's results from its state, and what its writing pass needs."""
        cdef Final final
        cdef double log1p_rest, lse, loss, t, c = 0, share = 1
        final.row, final.y, final.x_y = i, y, x_y
        final.m = self.reference(state.m)
        final.rest = rest
        final.a = final.g = 1
        lse = self.lse_of(state, final.rest)
        if self.lse != NULL:
            self.lse[i] = lse
        if self.losses == NULL:
            return final
        log1p_rest = log1p(final.rest)
        t = state.t * self.unit
        loss = t * log1p_rest + state.d * self.unit
        if self.labels != NULL:
            c = (1 - self.smoothing) * self.class_weight_of(y)
            if c != 0:
                loss += c * (log1p_rest + self.gap(state.m, x_y))
        if self.z_loss != 0:
            loss += self.z_loss * lse * lse
        if self.sample_weight != NULL:
            share = self.sample_weight[i]
        self.losses[i] = share * loss
        final.g = self.grad_scale * self.scale * share * (1.0 if self.dlosses == NULL else self.dlosses[i])
        final.a = c + t + (2 * self.z_loss * lse if self.z_loss != 0 else 0.0)
        return final

    cdef Late late_block(self, const Final *final, Py_ssize_t b) noexcept nogil:
        """How block b of a finished row is written, but for the label's own share."""
        cdef Late late
        late.block, late.map = self.block(final.row, b), self.map_of(final.m)
        late.block.keep, late.block.smooth = self.keep * final.g, self.smooth * final.g
        if self.kernel == LOG_SOFTMAX:
            late.write, late.a = self.lanes.write_log_probs, log1p(final.rest)
        else:
            late.write, late.a = self.lanes.write_probs, self.factor(final)
        return late

    cdef void write_block(self, const Final *final, Py_ssize_t b) noexcept nogil:
        cdef Late late = self.late_block(final, b)
        late.write(&late.block, &late.map, late.a)

    cdef void write_label(self, const Final *final) noexcept nogil:
        """C*(p_y - 1) + (A - C)*p_y - t_y, where p - 1 = -rest/(1 + rest) at a maximum keeps its digits as p -> 1."""
        cdef double w, c, p, minus, dz, total
        if final.row < 0 or self.labels == NULL:
            return
        w, total = self.class_weight_of(final.y), 1 + final.rest
        c = (1 - self.smoothing) * w
        p = exp(-self.gap(final.m, final.x_y)) / total
        minus = 0.0 - final.rest / total if final.x_y == final.m else p - 1
        dz = c * minus + (final.a - c) * p - self.smooth * w
        if self.cap > 0:
            dz = dz * (1 - (self.z_of(final.x_y) / self.cap) ** 2)
        self.lanes.put(self.out_at(final.row, 0), final.y, final.g * dz)

    # ------------------------------------------------------------------- plain sums: gradients, divergences

    cdef double block_sum(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        if self.kernel == ENTROPY or self.kernel == KL:
            return self.lanes.divergence(self.first_at(i, b), self.second_at(i, b), self.block_size(b))
        return self.lanes.grad_sum(self.first_at(i, b), self.second_at(i, b), self.block_size(b),
                                   self.kernel == LOG_SOFTMAX_GRAD)

    cdef void sum_row(self, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1, int phase) noexcept nogil:
        cdef Py_ssize_t b
        cdef double total = 0
        cdef Block block
        if phase == LABEL:
            return
        if phase == WRITE:
            total = self.finals[i * FINALS]
        else:
            for b in range(self.n_blocks):
                total += self.states[(i * self.n_blocks + b) * 4] if phase == FINISH else self.block_sum(i, b)
        if phase == FINISH:
            self.finals[i * FINALS] = total
        if self.losses != NULL:
            self.losses[i] = total
        if self.out != NULL and phase != FINISH:
            for b in range(block0, block1):
                block = self.block(i, b)
                self.lanes.write_softmax_grad(&block, total, self.kernel == LOG_SOFTMAX_GRAD)


cdef inline void *data(array) except? NULL:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


def bind(job):
    return Bound(job)
