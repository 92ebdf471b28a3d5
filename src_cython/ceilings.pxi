# The machine's own ceilings, in compiled loops: what the kernels are measured against.

cdef extern from "ceilings.h":
    float fs_read_pass(const float *, Py_ssize_t) noexcept nogil
    void fs_update_pass(float *, Py_ssize_t) noexcept nogil
    void fs_copy_pass(const float *, float *, Py_ssize_t) noexcept nogil
    float fs_fma_pass(Py_ssize_t) noexcept nogil
    int W_F


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


def fma_pass(Py_ssize_t n_rounds):
    """12 independent multiply-adds on whole vectors, n_rounds times -> floating-point operations done."""
    cdef volatile float result  # keeps the compiler from leaving the work out
    with nogil:
        result = fs_fma_pass(n_rounds)
    return 24 * W_F * n_rounds
