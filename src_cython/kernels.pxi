# The row kernels of fastsoftmax/contract.py. One text: dtypes are rows of the table in lanes.h, instruction sets are
# compilations of this file (kernels_baseline.pyx, kernels_v3.pyx, kernels_v4.pyx).

cimport cython
cimport numpy as cnp
from libc.math cimport INFINITY, NAN, exp, isnan, log1p, tanh
from libc.stdint cimport int64_t

cdef extern from "lanes.h":
    ctypedef struct Map "fs_map":
        double m, z_m, scale, scale_log2e, cap, scale_over_cap
    ctypedef struct Lanes "fs_lanes":
        Py_ssize_t itemsize, weight_itemsize
        double (*get)(const void *, Py_ssize_t) noexcept nogil
        void (*put)(void *, Py_ssize_t, double) noexcept nogil
        double (*block_max)(const void *, Py_ssize_t) noexcept nogil
        Py_ssize_t (*find)(const void *, Py_ssize_t, double) noexcept nogil
        int (*any_nan)(const void *, Py_ssize_t) noexcept nogil
        double (*exp_sum)(const void *, Py_ssize_t, const Map *) noexcept nogil
        void (*target_sums)(const void *, const void *, const void *, Py_ssize_t, const Map *, double, double,
                            double *, double *) noexcept nogil
        void (*write_probs)(const void *, void *, const void *, const void *, Py_ssize_t, const Map *, double, double,
                            double) noexcept nogil
        void (*write_log_probs)(const void *, void *, Py_ssize_t, const Map *, double) noexcept nogil
        double (*grad_sum)(const void *, const void *, Py_ssize_t, int) noexcept nogil
        void (*write_softmax_grad)(const void *, const void *, void *, Py_ssize_t, double, int) noexcept nogil
        double (*divergence)(const void *, const void *, Py_ssize_t) noexcept nogil
    const Lanes *fs_table[4]
    float fs_read_pass(const float *, Py_ssize_t) noexcept nogil
    void fs_update_pass(float *, Py_ssize_t) noexcept nogil
    void fs_copy_pass(const float *, float *, Py_ssize_t) noexcept nogil

cnp.import_array()

cdef enum:
    BLOCK = 4096
cdef double LOG2E = 1.44269504088896340736

cdef enum Phase:
    ALL, STATES, FINISH, WRITE, LABEL

cdef enum Kernel:
    LSE, SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY, SOFT_CROSS_ENTROPY, SOFTMAX_GRAD, LOG_SOFTMAX_GRAD, ENTROPY, KL

from fastsoftmax.contract import BLOCK as _BLOCK, KERNELS as _KERNELS
_CODES = {name: code for code, name in enumerate(_KERNELS)}
if _BLOCK != BLOCK:
    raise ImportError("the compiled kernels are of another version: reinstall fastsoftmax")

# what a block, or any run of blocks, is known by
cdef struct State:
    double m       # maximum raw logit
    double s       # sum exp(z - z_m) of the block that holds the maximum (the first such)
    double other   # the same of all other blocks
    double t       # sum of targets
    double d       # sum of targets*(z_m - z)
    Py_ssize_t best  # which block holds the maximum

# what the writing pass of a row needs
cdef struct Final:
    double m       # maximum raw logit
    double rest    # sum exp(z - z_m) over all classes but one maximum
    double a       # factor of p: A*g*scale, or 1
    double g       # upstream gradient times scale; 0 with `inert`


cdef inline double finite_or_0(double m) noexcept nogil:
    """The reference that is subtracted: -inf - -inf must not poison a block of masked classes."""
    return 0.0 if m == -INFINITY else m


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
    cdef double scale, cap, smoothing, z_loss, grad_scale
    cdef double keep, smooth   # t[k] = w[k]*(keep*q[k] + smooth)
    cdef bint has_targets
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
        self.keep = 1 - self.smoothing if self.second != NULL else 0.0
        self.smooth = self.smoothing / self.n_classes if self.n_classes else 0.0
        self.has_targets = self.kernel == SOFT_CROSS_ENTROPY or self.smooth != 0

    def __call__(self, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t block0, Py_ssize_t block1, int phase):
        cdef Py_ssize_t bad
        with nogil:
            bad = self.run(row0, row1, block0, block1, phase)
        return bad

    cdef Py_ssize_t run(self, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t block0, Py_ssize_t block1,
                        int phase) noexcept nogil:
        cdef Py_ssize_t i, b
        cdef bint is_softmax = self.kernel <= SOFT_CROSS_ENTROPY
        for i in range(row0, row1):
            if self.is_inert(i):
                if phase == ALL or phase == FINISH:
                    self.losses[i] = 0
                    self.lse[i] = 0
                if (phase == ALL or phase == WRITE) and self.out != NULL:
                    self.write_zeros(i, block0, block1)
                continue
            if self.labels != NULL and not 0 <= self.labels[i] < self.n_classes:
                return i
            if phase == STATES:
                for b in range(block0, block1):
                    if is_softmax:
                        self.put_state(i, b, self.block_state(i, b))
                    else:
                        self.states[(i * self.n_blocks + b) * 4] = self.block_sum(i, b)
            elif is_softmax:
                self.softmax_row(i, block0, block1, phase)
            else:
                self.sum_row(i, block0, block1, phase)
        return -1

    cdef inline bint is_inert(self, Py_ssize_t i) noexcept nogil:
        return ((self.labels != NULL and self.labels[i] == self.ignore_index)
                or (self.sample_weight != NULL and self.sample_weight[i] == 0))

    cdef inline Py_ssize_t block_size(self, Py_ssize_t b) noexcept nogil:
        return min(<Py_ssize_t>BLOCK, self.n_classes - b * BLOCK)

    cdef inline const char *first_at(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        return self.first + i * self.first_stride + b * BLOCK * self.lanes.itemsize

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

    cdef inline Map map_of(self, double m) noexcept nogil:
        cdef Map map
        map.m = m
        map.z_m = self.z_of(m)
        map.scale = self.scale
        map.scale_log2e = self.scale * LOG2E
        map.cap = self.cap
        map.scale_over_cap = self.scale / self.cap if self.cap > 0 else 0.0
        return map

    cdef void write_zeros(self, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1) noexcept nogil:
        cdef Py_ssize_t k, n = min(self.n_classes, block1 * BLOCK) - block0 * BLOCK
        cdef char *out = self.out_at(i, block0)
        for k in range(n * self.lanes.itemsize):
            out[k] = 0

    # ------------------------------------------------------------------------- softmax and cross-entropy

    cdef State block_state(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        """One block's state; its second reading comes from L1."""
        cdef State state
        cdef Py_ssize_t n = self.block_size(b)
        cdef const char *x = self.first_at(i, b)
        cdef Map map
        state.m = self.lanes.block_max(x, n)
        map = self.map_of(finite_or_0(state.m))
        state.s = self.lanes.exp_sum(x, n, &map)
        state.other = state.t = state.d = 0
        state.best = b
        if self.has_targets:
            self.lanes.target_sums(x, self.second_at(i, b), self.weight_at(b), n, &map, self.keep, self.smooth,
                                   &state.t, &state.d)
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
        cdef double shift = self.gap(finite_or_0(b.m), finite_or_0(a.m))
        if b.m > a.m:
            a.other = (a.other + a.s) * (exp(-shift) if a.m > -INFINITY else (1.0 if isnan(a.other + a.s) else 0.0))
            if a.t != 0:
                a.d = a.d + shift * a.t
            a.m, a.s, a.best = b.m, b.s, b.best
        else:
            a.other += b.s * (exp(shift) if b.m > -INFINITY else 1.0)
            if b.t != 0:
                b.d = b.d - shift * b.t
        a.t += b.t
        a.d += b.d

    cdef State row_state(self, Py_ssize_t i, bint stored) noexcept nogil:
        cdef Py_ssize_t b
        cdef State state = self.get_state(i, 0) if stored else self.block_state(i, 0)
        for b in range(1, self.n_blocks):
            self.fold(&state, self.get_state(i, b) if stored else self.block_state(i, b))
        return state

    cdef double rest_of(self, Py_ssize_t i, State *state) noexcept nogil:
        """sum exp(z - z_m) over all classes but one maximum, to relative accuracy also where it is small."""
        cdef double total = state.other + state.s
        cdef Py_ssize_t n, at
        cdef const char *x
        cdef Map map
        if state.m == -INFINITY:
            return NAN
        if not total < 2:
            return total - 1
        n, x, map = self.block_size(state.best), self.first_at(i, state.best), self.map_of(state.m)
        at = self.lanes.find(x, n, state.m)
        return (state.other + self.lanes.exp_sum(x, at, &map)
                + self.lanes.exp_sum(x + (at + 1) * self.lanes.itemsize, n - at - 1, &map))

    cdef double lse_of(self, Py_ssize_t i, double m, double rest) noexcept nogil:
        if m == -INFINITY or m == INFINITY:
            return NAN if self.lanes.any_nan(self.first_at(i, 0), self.n_classes) else m
        return self.z_of(m) + log1p(rest)

    cdef void softmax_row(self, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1, int phase) noexcept nogil:
        cdef State state
        cdef Final final
        cdef double *at
        if phase == ALL or phase == FINISH:
            state = self.row_state(i, phase == FINISH)
            final = self.finish(i, &state)
            if phase == FINISH:
                at = self.finals + i * 4
                at[0], at[1], at[2], at[3] = final.m, final.rest, final.a, final.g
        else:
            at = self.finals + i * 4
            final.m, final.rest, final.a, final.g = at[0], at[1], at[2], at[3]
        if self.out == NULL:
            return
        cdef double x_y = 0
        cdef bint hard = self.labels != NULL
        # the label's logit is read before the row is overwritten, its gradient written last, relative to itself
        if hard and phase == ALL:
            x_y = self.lanes.get(self.first_at(i, 0), self.labels[i])
        if phase == ALL or phase == WRITE:
            self.write(i, block0, block1, &final)
        if hard and phase == ALL:
            self.write_label(i, x_y, &final)
        elif hard and phase == LABEL:
            self.write_label(i, self.finals_x_y(i), &final)

    cdef inline double finals_x_y(self, Py_ssize_t i) noexcept nogil:
        return self.states[i * self.n_blocks * 4]  # put there by `finish`, when the states were no longer needed

    cdef Final finish(self, Py_ssize_t i, State *state) noexcept nogil:
        """The row's results from its state, and what its writing pass needs."""
        cdef Final final
        cdef double log1p_rest, lse, loss, x_y, c = 0, share = 1
        final.m = finite_or_0(state.m)
        final.rest = self.rest_of(i, state)
        final.a = final.g = 1
        lse = self.lse_of(i, state.m, final.rest)
        if self.lse != NULL:
            self.lse[i] = lse
        if self.losses == NULL:
            return final
        log1p_rest = log1p(final.rest)
        loss = state.t * log1p_rest + state.d
        if self.labels != NULL:
            x_y = self.lanes.get(self.first_at(i, 0), self.labels[i])
            c = (1 - self.smoothing) * self.class_weight_of(self.labels[i])
            if c != 0:
                loss += c * (log1p_rest + self.gap(state.m, x_y))
            if self.states != NULL:
                self.states[i * self.n_blocks * 4] = x_y
        if self.z_loss != 0:
            loss += self.z_loss * lse * lse
        if self.sample_weight != NULL:
            share = self.sample_weight[i]
        self.losses[i] = share * loss
        final.g = self.grad_scale * self.scale * share * (1.0 if self.dlosses == NULL else self.dlosses[i])
        final.a = c + state.t + (2 * self.z_loss * lse if self.z_loss != 0 else 0.0)
        return final

    cdef void write(self, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1, Final *final) noexcept nogil:
        cdef Py_ssize_t b
        cdef Map map = self.map_of(final.m)
        cdef double log1p_rest = log1p(final.rest), a = final.a * final.g / (1 + final.rest)
        cdef double keep = self.keep * final.g, smooth = self.smooth * final.g
        for b in range(block0, block1):
            if self.kernel == LOG_SOFTMAX:
                self.lanes.write_log_probs(self.first_at(i, b), self.out_at(i, b), self.block_size(b), &map,
                                           log1p_rest)
            else:
                self.lanes.write_probs(self.first_at(i, b), self.out_at(i, b), self.second_at(i, b),
                                       self.weight_at(b) if self.has_targets else NULL, self.block_size(b), &map, a,
                                       keep, smooth)

    cdef void write_label(self, Py_ssize_t i, double x_y, Final *final) noexcept nogil:
        """C*(p_y - 1) + (A - C)*p_y - t_y, where p - 1 = -rest/(1 + rest) at a maximum keeps its digits as p -> 1."""
        cdef Py_ssize_t y = self.labels[i]
        cdef double w = self.class_weight_of(y), c = (1 - self.smoothing) * w, total = 1 + final.rest, p, minus, dz
        p = exp(-self.gap(final.m, x_y)) / total
        minus = 0.0 - final.rest / total if x_y == final.m else p - 1
        dz = c * minus + (final.a - c) * p - self.smooth * w
        if self.cap > 0:
            dz = dz * (1 - (self.z_of(x_y) / self.cap) ** 2)
        self.lanes.put(self.out_at(i, 0), y, final.g * dz)

    # ------------------------------------------------------------------- plain sums: gradients, divergences

    cdef double block_sum(self, Py_ssize_t i, Py_ssize_t b) noexcept nogil:
        if self.kernel == ENTROPY or self.kernel == KL:
            return self.lanes.divergence(self.first_at(i, b), self.second_at(i, b), self.block_size(b))
        return self.lanes.grad_sum(self.first_at(i, b), self.second_at(i, b), self.block_size(b),
                                   self.kernel == LOG_SOFTMAX_GRAD)

    cdef void sum_row(self, Py_ssize_t i, Py_ssize_t block0, Py_ssize_t block1, int phase) noexcept nogil:
        cdef Py_ssize_t b
        cdef double total = 0
        if phase == LABEL:
            return
        if phase == WRITE:
            total = self.finals[i * 4]
        else:
            for b in range(self.n_blocks):
                total += self.states[(i * self.n_blocks + b) * 4] if phase == FINISH else self.block_sum(i, b)
        if phase == FINISH:
            self.finals[i * 4] = total
        if self.losses != NULL:
            self.losses[i] = total
        if self.out != NULL and phase != FINISH:
            for b in range(block0, block1):
                self.lanes.write_softmax_grad(self.first_at(i, b), self.second_at(i, b), self.out_at(i, b),
                                              self.block_size(b), total, self.kernel == LOG_SOFTMAX_GRAD)


cdef inline void *data(array) except? NULL:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


def bind(job):
    return Bound(job)


def scan_labels(cnp.ndarray labels, Py_ssize_t n_classes, int64_t ignore_index, class_weight, sample_weight):
    """(first row whose label is out of range or -1, sum of the weights of the rows that count)."""
    cdef const int64_t *y = <const int64_t *>cnp.PyArray_DATA(labels)
    cdef const void *w = data(class_weight)
    cdef const double *rows = <const double *>data(sample_weight)
    cdef bint single = class_weight is not None and cnp.PyArray_ITEMSIZE(class_weight) == 4
    cdef Py_ssize_t i, bad = -1, n = cnp.PyArray_DIM(labels, 0)
    cdef double total = 0, weight
    with nogil:
        for i in range(n):
            if y[i] == ignore_index:
                continue
            if not 0 <= y[i] < n_classes:
                bad = i
                break
            if rows != NULL and rows[i] == 0:
                continue
            weight = 1.0 if w == NULL else (<const float *>w)[y[i]] if single else (<const double *>w)[y[i]]
            total += weight if rows == NULL else weight * rows[i]
    return bad, total


def read_pass(cnp.ndarray a):
    """Read a float32 array once: the ceiling of the loss."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a)
    cdef const float *x = <const float *>cnp.PyArray_DATA(a)
    cdef float s
    with nogil:
        s = fs_read_pass(x, n)
    return s


def update_pass(cnp.ndarray a):
    """Add 1 to a float32 array in place: the ceiling of loss and gradient in place."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a)
    cdef float *x = <float *>cnp.PyArray_DATA(a)
    with nogil:
        fs_update_pass(x, n)


def copy_pass(cnp.ndarray a, cnp.ndarray out):
    """Copy a float32 array past the caches: the ceiling of loss and gradient out of place."""
    cdef Py_ssize_t n = min(cnp.PyArray_SIZE(a), cnp.PyArray_SIZE(out))
    cdef const float *x = <const float *>cnp.PyArray_DATA(a)
    cdef float *y = <float *>cnp.PyArray_DATA(out)
    with nogil:
        fs_copy_pass(x, y, n)
