# Labels before any kernel runs.

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
