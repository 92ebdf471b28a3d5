"""[1] A step of an optimizer (contract.Step) in NumPy, arrays of any layout; every backend has the same bits."""

import numpy as np

from ..dtypes import find


def step(job):
    """run(start, stop) for a part of the first axis; temporaries are as large as the part."""
    change = CHANGES[job.rule]
    real = job.gradient.dtype.type
    numbers = [real(number) for number in job.numbers]

    def run(start, stop):
        x = job.parameter[start:stop]
        values = x.astype(real, copy=False)
        with np.errstate(all="ignore"):
            g = job.gradient[start:stop]
            if job.decay:
                g = g + real(job.decay) * values
            values -= change(g, *numbers, *(s[start:stop] for s in job.state))
            if values.dtype != x.dtype:
                x[...] = values
        return -1

    return run


def is_plain(job):
    """Whether kernels over one run of memory can take it: arrays of one shape, contiguous, aligned, native, of dtypes that
    belong together, and writable where they are written to. For all else NumPy has an answer, or an error."""
    row, real = find(job.parameter.dtype), job.gradient.dtype
    arrays = (job.parameter, job.gradient, *job.state)
    return (row is not None and row.real == real and all(s.dtype == real for s in job.state)
            and all(a.shape == job.parameter.shape for a in arrays)
            and all(a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative for a in arrays)
            and all(a.flags.writeable for a in (job.parameter, *job.state)))


def _sgd(g, lr):
    return g * lr


def _momentum(g, lr, momentum, velocity):
    velocity *= momentum
    velocity += g
    return velocity * lr


def _adagrad(g, lr, eps, total):
    change = np.square(g)
    total += change
    np.sqrt(total, out=change)
    change += eps
    np.divide(g, change, out=change)
    change *= lr
    return change


def _adam(g, lr, eps, b1, c1, b2, c2, correction, mean, square):
    mean *= b1
    mean += g * c1
    work = np.square(g)
    work *= c2
    square *= b2
    square += work
    np.sqrt(square, out=work)
    work *= correction
    work += eps
    np.divide(mean, work, out=work)
    work *= lr
    return work


CHANGES = {"sgd": _sgd, "momentum": _momentum, "adagrad": _adagrad, "adam": _adam}
