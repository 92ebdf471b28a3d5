# The products of a linear layer's gradients from those dlogits alone that are not negligible.

cdef extern from "product_filter.h":
    ctypedef struct FilterJob "fs_filter":
        Product block
        const void *limits
        const void *row_norms
        void *class_norms
        double *dropped
        void *by_class
        void *sums
        int64_t *starts
        int64_t *n_kept
        const int64_t *pieces
        Py_ssize_t n_pieces
        double most
    void filter_ticket_f(void *, Py_ssize_t, void *) noexcept nogil
    void filter_ticket_d(void *, Py_ssize_t, void *) noexcept nogil
    void dfeatures_kept_f(void *, Py_ssize_t, void *) noexcept nogil
    void dfeatures_kept_d(void *, Py_ssize_t, void *) noexcept nogil
    void dclassifier_kept_f(void *, Py_ssize_t, void *) noexcept nogil
    void dclassifier_kept_d(void *, Py_ssize_t, void *) noexcept nogil
    void norms_ticket_f(void *, Py_ssize_t, void *) noexcept nogil
    void norms_ticket_d(void *, Py_ssize_t, void *) noexcept nogil
    Py_ssize_t filter_room(Py_ssize_t, Py_ssize_t, double) noexcept nogil
    Py_ssize_t FILTER_CLASSES


cdef double LOOKING = 30  # a dlogit is looked at, 0.2 ns, in the time of so many multiply-adds


@cython.final
cdef class Filtered:
    """A block of dlogits without what is negligible: see contract.Layer. The block's memory holds lists from now on."""
    cdef readonly object dropped, by_class
    cdef object starts, counts, sums, pieces, runs
    cdef Products products
    cdef FilterJob job

    def __init__(self, Products products, dlogits, Py_ssize_t n_rows, Py_ssize_t class0, Py_ssize_t class1, limits,
                 row_norms, class_norms, double most):
        cdef Py_ssize_t n_pieces = wholes(class1 - class0, FILTER_CLASSES)
        real = products.layer.dtype.real
        self.products, self.job.most = products, most
        self.job.block = products.block(dlogits, dlogits, n_rows, class0, class1, False)
        dropped = np.empty((n_pieces, n_rows, 2))
        self.by_class, self.sums = np.empty(class1 - class0, real), np.empty(class1 - class0, real)
        self.starts = np.empty((n_pieces, FILTER_CLASSES + 1), np.int64)
        self.counts = np.empty(n_pieces, np.int64)
        norms = class_norms[class0:class1]
        self.job.limits, self.job.row_norms, self.job.class_norms = data(limits), data(row_norms), data(norms)
        self.job.dropped, self.job.by_class, self.job.sums = <double *>data(dropped), data(self.by_class), data(self.sums)
        self.job.starts, self.job.n_kept = <int64_t *>data(self.starts), <int64_t *>data(self.counts)
        self.run(filter_ticket_d if products.way == 1 else filter_ticket_f, n_pieces,
                 filter_room(n_rows, products.itemsize, most), LOOKING * n_rows * (class1 - class0))
        self.dropped = dropped.sum(axis=0)
        dense = self.starts[:, 0] < 0
        self.pieces = np.flatnonzero(~dense)
        self.job.pieces, self.job.n_pieces = <const int64_t *>data(self.pieces), len(self.pieces)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], dense, [False]])))
        self.runs = [(int(a) * FILTER_CLASSES, min(int(b) * FILTER_CLASSES, class1 - class0))
                     for a, b in zip(edges[::2], edges[1::2], strict=True)]

    @property
    def n_kept(self):
        return int(self.counts.sum())

    def dfeatures(self, dlogits, dfeatures, n_rows, class0, class1, first):
        for start, stop in self.runs:
            self.products.dfeatures(dlogits[:, start:], dfeatures, n_rows, class0 + start, class0 + stop, first)
            first = False
        if not self.job.n_pieces:
            return
        cdef Product *job = &self.job.block
        job.first, job.dfeatures = first, cnp.PyArray_DATA(<cnp.ndarray>dfeatures)
        job.features_step = cnp.PyArray_STRIDE(<cnp.ndarray>dfeatures, 0) // self.products.itemsize
        cdef Py_ssize_t n_tickets = self.products.share_dfeatures(job)
        self.run(dfeatures_kept_d if self.products.way == 1 else dfeatures_kept_f, n_tickets,
                 (job.column_step + 64) * self.products.itemsize + 64, self.operations())

    def dclassifier(self, dlogits, features, n_rows, dclassifier, dbias, first):
        if dbias is not None:
            dbias[...] = self.sums if first else dbias + self.sums
        if dclassifier is None:
            return
        for start, stop in self.runs:
            self.products.dclassifier(dlogits[:, start:], features, n_rows, dclassifier[start:stop], None, first)
        if not self.job.n_pieces:
            return
        cdef Product *job = &self.job.block
        job.first, job.features = first, cnp.PyArray_DATA(<cnp.ndarray>features)
        job.features_step = cnp.PyArray_STRIDE(<cnp.ndarray>features, 0) // self.products.itemsize
        job.dclassifier = matrix_of(dclassifier, self.products.layer.dtype.real)
        self.run(dclassifier_kept_d if self.products.way == 1 else dclassifier_kept_f, self.job.n_pieces, 64,
                 self.operations())

    cdef double operations(self):
        """What waking a thread is weighed against: multiply-adds, and numbers read."""
        cdef Product *job = &self.job.block
        return <double>job.n_features * (<double>self.counts[self.pieces].sum() + <double>self.job.n_pieces * FILTER_CLASSES)

    cdef int run(self, Ticket ticket, Py_ssize_t n_tickets, size_t room_bytes, double operations) except -1:
        return self.products.run_tickets(ticket, &self.job, n_tickets, room_bytes, operations)
