# The three products of a linear layer, its logits and both gradients, cut in tickets for the threads of pool.h.

from libc.stdint cimport uint32_t

cdef extern from "product.h":
    ctypedef struct Matrix "fs_matrix":
        const char *data
        Py_ssize_t row, column
        int code, is_plain
    ctypedef struct Product "fs_product":
        Matrix classifier, dclassifier
        const void *bias
        const void *features
        void *logits
        void *dfeatures
        void *dbias
        Py_ssize_t features_step, logits_step, n_rows, n_given, n_features, n_classes, step, column_step
        int first, stream
    void logits_ticket_f(void *, Py_ssize_t, void *) noexcept nogil
    void logits_ticket_d(void *, Py_ssize_t, void *) noexcept nogil
    void dfeatures_ticket_f(void *, Py_ssize_t, void *) noexcept nogil
    void dfeatures_ticket_d(void *, Py_ssize_t, void *) noexcept nogil
    void dclassifier_ticket_f(void *, Py_ssize_t, void *) noexcept nogil
    void dclassifier_ticket_d(void *, Py_ssize_t, void *) noexcept nogil
    void logits_ticket_pairs(void *, Py_ssize_t, void *) noexcept nogil
    void dfeatures_ticket_pairs(void *, Py_ssize_t, void *) noexcept nogil
    void dclassifier_ticket_pairs(void *, Py_ssize_t, void *) noexcept nogil
    void logits_ticket_dots(void *, Py_ssize_t, void *) noexcept nogil
    void dfeatures_ticket_dots(void *, Py_ssize_t, void *) noexcept nogil
    void dclassifier_ticket_dots(void *, Py_ssize_t, void *) noexcept nogil
    void pair_rows(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, uint32_t *, Py_ssize_t) noexcept nogil
    void pair_columns(const float *, Py_ssize_t, uint32_t *) noexcept nogil
    bint is_bf16_cpu() noexcept nogil
    Py_ssize_t TILE_ROWS, TILE_VECTORS, CLASSES_DEEP, ROWS_DEEP, CLASSES_WIDE, PANELS_WIDE, W_D "W_D"

import numpy as np

from fastsoftmax.dtypes import find

ctypedef void (*Ticket)(void *, Py_ssize_t, void *) noexcept nogil

# By the way they are multiplied: floats, doubles, pairs of bfloat16, the same by an instruction of the CPU.
cdef Ticket LOGITS[4]
cdef Ticket DFEATURES[4]
cdef Ticket DCLASSIFIER[4]
LOGITS[:] = [logits_ticket_f, logits_ticket_d, logits_ticket_pairs, logits_ticket_dots]
DFEATURES[:] = [dfeatures_ticket_f, dfeatures_ticket_d, dfeatures_ticket_pairs, dfeatures_ticket_dots]
DCLASSIFIER[:] = [dclassifier_ticket_f, dclassifier_ticket_d, dclassifier_ticket_pairs, dclassifier_ticket_dots]

cdef double OPERATIONS_PER_THREAD = 1e7  # multiplications: waking a thread takes as long (60 us) as some 4e6 of them
cdef Py_ssize_t ROWS_READ = 16  # more rows would take as long as turning or copying the classifier
cdef double OPERATIONS_PER_TICKET = 1e9  # 20 ms at 2 operations a multiply-add and 100 GFLOP/s: signals wait as long


cdef inline Py_ssize_t wholes(Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    return (n + step - 1) // step


cdef Matrix matrix_of(cnp.ndarray a, real) except *:
    cdef Matrix m
    m.data = <const char *>cnp.PyArray_DATA(a)
    m.row, m.column = cnp.PyArray_STRIDE(a, 0), cnp.PyArray_STRIDE(a, 1)
    m.code = find(a.dtype).code
    m.is_plain = a.dtype == real and (m.column == a.itemsize or cnp.PyArray_DIM(a, 1) == 1) and m.row % a.itemsize == 0
    return m


cdef cnp.ndarray aligned(Py_ssize_t n):
    """Memory for n pairs, from a cache line on."""
    memory = np.empty(n + 16, np.uint32)
    return memory[-memory.ctypes.data % 64 // 4:]


@cython.final
cdef class Products:
    """Of a contract.Layer, for blocks of rows and classes. Arrays are kept alive by `layer`; see contract.py."""
    cdef object layer
    cdef Product job
    cdef int n_threads, way
    cdef Py_ssize_t itemsize

    def __init__(self, layer, int n_threads):
        self.layer, self.n_threads = layer, n_threads
        self.itemsize = layer.dtype.itemsize
        self.way = 1 if self.itemsize == 8 else 0 if not layer.pairs else 3 if is_bf16_cpu() else 2
        self.job.classifier = matrix_of(layer.classifier, layer.dtype.real)
        self.job.n_features = layer.classifier.shape[1]

    cdef Product block(self, cnp.ndarray features, cnp.ndarray logits, Py_ssize_t n_rows, Py_ssize_t class0,
                       Py_ssize_t class1, bint first) except *:
        """The job for classes class0 to class1, whose logits are the first columns of `logits`."""
        cdef Product job = self.job
        job.classifier.data += class0 * job.classifier.row
        job.bias = <const char *>data(self.layer.bias)
        if job.bias != NULL:
            job.bias = <const char *>job.bias + class0 * self.itemsize
        job.features, job.features_step = cnp.PyArray_DATA(features), cnp.PyArray_STRIDE(features, 0) // self.itemsize
        job.logits, job.logits_step = cnp.PyArray_DATA(logits), cnp.PyArray_STRIDE(logits, 0) // self.itemsize
        job.n_given, job.n_rows = n_rows, wholes(n_rows, TILE_ROWS) * TILE_ROWS
        job.n_classes, job.first = class1 - class0, first
        return job

    def logits(self, features, logits, n_rows, class0, class1):
        cdef Product job = self.block(features, logits, n_rows, class0, class1, False)
        cdef Py_ssize_t panel = TILE_VECTORS * W_D * 8 // self.itemsize
        job.step = self.share(&job, job.n_classes, panel, 32 * panel)
        pairs = self.paired(&job, False)
        self.run(&job, LOGITS[self.way], wholes(job.n_classes, job.step), (panel + 32) * (job.n_features + 1))

    def dfeatures(self, dlogits, dfeatures, n_rows, class0, class1, first):
        cdef Product job = self.block(dfeatures, dlogits, n_rows, class0, class1, first)
        cdef Py_ssize_t panel = TILE_VECTORS * W_D * 8 // self.itemsize
        job.dfeatures = cnp.PyArray_DATA(<cnp.ndarray>dfeatures)
        self.run(&job, DFEATURES[self.way], self.share_dfeatures(&job),
                 CLASSES_DEEP * (PANELS_WIDE * panel + (job.n_rows if self.way >= 2 else 0)))

    def class_norms(self):
        cdef FilterJob job
        norms = np.empty(len(self.layer.classifier), self.layer.dtype.real)
        job.block, job.class_norms = self.job, data(norms)
        job.block.n_classes, job.block.n_rows = len(norms), 0
        job.block.step = self.share(&job.block, job.block.n_classes, 1, 4 * FILTER_CLASSES)
        self.run_tickets(norms_ticket_d if self.way == 1 else norms_ticket_f, &job, wholes(len(norms), job.block.step),
                         (job.block.n_features + 64) * self.itemsize + 64, self.operations(&job.block))
        return norms

    def filtered(self, *args):
        return Filtered(self, *args)

    def dclassifier(self, dlogits, features, n_rows, dclassifier, dbias, first):
        cdef Py_ssize_t i
        if dclassifier is None or n_rows <= ROWS_DEEP or dclassifier.dtype != self.layer.dtype.real:
            # what is rounded as it is stored is added up at once
            self.add_dclassifier(dlogits, features, n_rows, dclassifier, dbias, first)
            return
        if dbias is not None:
            self.add_dclassifier(dlogits, features, n_rows, None, dbias, first)
        for i in range(0, n_rows, ROWS_DEEP):
            self.add_dclassifier(dlogits[i:], features[i:], min(ROWS_DEEP, n_rows - i), dclassifier, None, first and i == 0)

    cdef int add_dclassifier(self, dlogits, features, Py_ssize_t n_rows, dclassifier, dbias, bint first) except -1:
        n_classes = len(dbias if dclassifier is None else dclassifier)
        cdef Product job = self.block(features, dlogits, n_rows, 0, n_classes, first)
        job.dbias = data(dbias)
        if dclassifier is not None:
            job.dclassifier = matrix_of(dclassifier, self.layer.dtype.real)
            job.stream = first and cnp.PyArray_NBYTES(dclassifier) >= STREAMED_BYTES and cnp.PyArray_ISALIGNED(dclassifier)
        pairs = None if dclassifier is None else self.paired(&job, True)
        job.step = self.share(&job, job.n_classes, CLASSES_WIDE, 16 * CLASSES_WIDE)
        return self.run(&job, DCLASSIFIER[self.way],
                        wholes(job.n_classes, job.step), CLASSES_WIDE * job.n_rows)

    cdef cnp.ndarray paired(self, Product *job, bint rows):
        """The features as pairs of rows or of columns, where they are multiplied so, in the job's place for them."""
        cdef const float *x = <const float *>job.features
        cdef Py_ssize_t i
        if self.way < 2:
            return None
        cdef cnp.ndarray pairs = aligned(job.n_rows * job.features_step // 2)
        cdef uint32_t *to = <uint32_t *>cnp.PyArray_DATA(pairs)
        if rows:
            pair_rows(x, job.features_step, job.n_given, job.features_step, to, job.features_step)
        else:
            for i in range(job.n_rows):
                pair_columns(x + i * job.features_step, job.features_step, to + i * job.features_step // 2)
        job.features = to
        return pairs

    cdef double operations(self, const Product *job):
        """Multiply-adds, and what it costs to read the classifier, in the same unit."""
        return <double>(job.n_rows + ROWS_READ) * job.n_features * job.n_classes

    cdef Py_ssize_t share(self, const Product *job, Py_ssize_t n, Py_ssize_t unit, Py_ssize_t most):
        """Of n, how many are one ticket: whole units, enough tickets for all threads, none too long."""
        cdef Py_ssize_t tickets = max(4 * self.n_threads if self.n_threads > 1 else 1,
                                      <Py_ssize_t>(self.operations(job) / OPERATIONS_PER_TICKET))
        return max(unit, min(most, n // tickets) // unit * unit)

    cdef Py_ssize_t share_dfeatures(self, Product *job):
        """Rows and columns of a ticket -> how many tickets."""
        # Columns first: the classifier is then read once by all threads together, and the logits once by each ticket.
        cdef Py_ssize_t panel = TILE_VECTORS * W_D * 8 // self.itemsize, row_tickets, column_tickets
        column_tickets = max(self.n_threads, <Py_ssize_t>(self.operations(job) / (4 * OPERATIONS_PER_TICKET)))
        job.column_step = max(panel, wholes(wholes(job.n_features, panel), column_tickets) * panel)
        column_tickets = max(1, wholes(job.n_features, job.column_step))
        row_tickets = max(wholes(job.n_rows, ROWS_DEEP), min(job.n_rows // TILE_ROWS, self.n_threads // column_tickets), 1)
        job.step = wholes(job.n_rows, row_tickets * TILE_ROWS) * TILE_ROWS
        return column_tickets * wholes(job.n_rows, job.step)

    cdef int run(self, Product *job, Ticket ticket, Py_ssize_t n_tickets,
                 Py_ssize_t room) except -1:
        return self.run_tickets(ticket, job, n_tickets, room * self.itemsize + 64, self.operations(job))

    cdef int run_tickets(self, Ticket ticket, void *job, Py_ssize_t n_tickets, size_t room_bytes,
                         double operations) except -1:
        cdef Work work
        cdef int n_threads = max(1, min(self.n_threads, <int>min(operations / OPERATIONS_PER_THREAD, 1024.)))
        cdef int stopped
        work.run, work.poll, work.arg, work.n_tickets = ticket, poll, job, n_tickets
        work.is_short = False
        work.room_bytes = room_bytes
        with nogil:
            stopped = pool_run(&work, n_threads)
        return ended(stopped, &work)


include "product_filter.pxi"


def products(layer, n_threads):
    return Products(layer, n_threads)
