# cython: boundscheck=False
"""A training step's loss and gradient in Cython: no Python object is touched between the logits and their gradient."""

from libc.stdint cimport int64_t

import numpy as np

from fastsoftmax cimport cython_api as fs

ctypedef fused real:
    float
    double


def loss_and_grad(real[:, ::1] logits, const int64_t[::1] labels, int n_threads=1):
    """The mean loss; `logits` becomes its gradient. A label of -100 means that the row does not count."""
    cdef int dtype = fs.FLOAT32 if real is float else fs.FLOAT64
    cdef int64_t status, n_rows = logits.shape[0], n_classes = logits.shape[1]
    cdef double total_weight, loss = 0
    cdef double[::1] losses = np.empty(n_rows)
    cdef fs.Options options = fs.default_options()
    if n_rows == 0 or labels.shape[0] != n_rows:
        raise ValueError(f"{labels.shape[0]} labels for {n_rows} rows")
    options.n_threads = n_threads
    with nogil:
        status = fs.scan_labels(dtype, n_rows, n_classes, &labels[0], &total_weight, &options)
        if status == fs.OK:
            options.grad_scale = 1 / total_weight
            status = fs.cross_entropy(dtype, n_rows, n_classes, &logits[0, 0], n_classes, &labels[0], &losses[0], NULL,
                                      &logits[0, 0], n_classes, &options)
    if status >= 0:
        raise IndexError(f"labels[{status}] is {labels[status]}, outside [0, {n_classes})")
    if status != fs.OK:
        raise ValueError(fs.status_text(status).decode())
    for i in range(n_rows):
        loss += losses[i]
    return loss / total_weight
