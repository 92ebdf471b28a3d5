# cython: language_level=3
"""Every function and constant of fastsoftmax.cython_api, for Python; arrays and options by their addresses."""

cimport fastsoftmax.cython_api
from libc.stdint cimport int64_t

from fastsoftmax cimport cython_api as fs
from fastsoftmax.cython_api cimport Options, default_options

CONSTANTS = dict(FLOAT64=fs.FLOAT64, FLOAT32=fs.FLOAT32, BFLOAT16=fs.BFLOAT16, FLOAT16=fs.FLOAT16, OK=fs.OK,
                 BAD_DTYPE=fs.BAD_DTYPE, BAD_SIZE=fs.BAD_SIZE, BAD_POINTER=fs.BAD_POINTER, BAD_STRIDE=fs.BAD_STRIDE,
                 BAD_OPTION=fs.BAD_OPTION)


def defaults():
    cdef Options options = default_options()
    return (<const char *>&options)[:sizeof(Options)]


def status_text(int64_t status):
    return fastsoftmax.cython_api.status_text(status)


def softmax(int dtype, int64_t n, int64_t v, size_t logits, int64_t step, size_t out, int64_t out_step, size_t options):
    with nogil:
        status = fs.softmax(dtype, n, v, <void *>logits, step, <void *>out, out_step, <Options *>options)
    return status


def log_softmax(int dtype, int64_t n, int64_t v, size_t logits, int64_t step, size_t out, int64_t out_step, size_t options):
    with nogil:
        status = fs.log_softmax(dtype, n, v, <void *>logits, step, <void *>out, out_step, <Options *>options)
    return status


def logsumexp(int dtype, int64_t n, int64_t v, size_t logits, int64_t step, size_t lse, size_t options):
    with nogil:
        status = fs.logsumexp(dtype, n, v, <void *>logits, step, <double *>lse, <Options *>options)
    return status


def cross_entropy(int dtype, int64_t n, int64_t v, size_t logits, int64_t step, size_t labels, size_t losses, size_t lse,
                  size_t out, int64_t out_step, size_t options):
    with nogil:
        status = fs.cross_entropy(dtype, n, v, <void *>logits, step, <int64_t *>labels, <double *>losses, <double *>lse,
                                  <void *>out, out_step, <Options *>options)
    return status


def soft_cross_entropy(int dtype, int64_t n, int64_t v, size_t logits, int64_t step, size_t targets, int64_t targets_step,
                       size_t losses, size_t lse, size_t out, int64_t out_step, size_t options):
    with nogil:
        status = fs.soft_cross_entropy(dtype, n, v, <void *>logits, step, <void *>targets, targets_step, <double *>losses,
                                       <double *>lse, <void *>out, out_step, <Options *>options)
    return status


def softmax_grad(int dtype, int64_t n, int64_t v, size_t probs, int64_t step, size_t dprobs, int64_t dprobs_step,
                 size_t out, int64_t out_step, size_t options):
    with nogil:
        status = fs.softmax_grad(dtype, n, v, <void *>probs, step, <void *>dprobs, dprobs_step, <void *>out, out_step,
                                 <Options *>options)
    return status


def log_softmax_grad(int dtype, int64_t n, int64_t v, size_t log_probs, int64_t step, size_t dlog_probs,
                     int64_t dlog_probs_step, size_t out, int64_t out_step, size_t options):
    with nogil:
        status = fs.log_softmax_grad(dtype, n, v, <void *>log_probs, step, <void *>dlog_probs, dlog_probs_step, <void *>out,
                                     out_step, <Options *>options)
    return status


def scan_labels(int dtype, int64_t n, int64_t v, size_t labels, size_t total_weight, size_t options):
    with nogil:
        status = fs.scan_labels(dtype, n, v, <int64_t *>labels, <double *>total_weight, <Options *>options)
    return status
