# Labels before any kernel runs.

def scan_labels(cnp.ndarray labels, Py_ssize_t n_classes, int64_t ignore_index, class_weight, sample_weight):
    """(first row whose label is out of range or -1, sum of the weights of the rows that count)."""
    cdef const int64_t *y = <const int64_t *>cnp.PyArray_DATA(labels)
    cdef const void *w = data(class_weight)
    cdef const double *rows = <const double *>data(sample_weight)
    cdef bint single = class_weight is not None and cnp.PyArray_ITEMSIZE(class_weight) == 4
    cdef Py_ssize_t bad, n = cnp.PyArray_DIM(labels, 0)
    cdef double total
    with nogil:
        bad = scan(y, n, n_classes, ignore_index, w, rows, single, &total)
    return bad, total


cdef Py_ssize_t scan(const int64_t *y, Py_ssize_t n, Py_ssize_t n_classes, int64_t ignore_index, const void *w,
                     const double *rows, bint single, double *total) noexcept nogil:
    """The first bad row or -1. w: weights of the classes, of `single` precision or double; rows: of the rows; or NULL."""
    cdef Py_ssize_t i
    cdef double weight
    total[0] = 0
    for i in range(n):
        if y[i] == ignore_index:
            continue
        if not 0 <= y[i] < n_classes:
            return i
        if rows != NULL and rows[i] == 0:
            continue
        weight = 1.0 if w == NULL else (<const float *>w)[y[i]] if single else (<const double *>w)[y[i]]
        total[0] += weight if rows == NULL else weight * rows[i]
    return -1
