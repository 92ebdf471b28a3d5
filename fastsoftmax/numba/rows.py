"""[5] Row kernels for compiled code: one row, no options; compiled once a dtype and kept, so that callers compile fast."""

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from ..backends import _numba_types as states
from ..backends._numba_cache import jit, kernel
from ..backends._numba_door import WHOLE_ROWS, Options, PerRow, absent, bind, readable, run_plain
from ..contract import NO_IGNORE
from . import arguments as a
from .errors import LabelError, Refused


def of_one_dtype(x, out):
    """The dtype of the rows."""
    raise NotImplementedError("compiled only")


@overload(of_one_dtype)
def _of_one_dtype(x, out):
    for name, array in (("x", x), ("out", out)):
        if not isinstance(array, types.Array) or array.ndim != 1 or array.dtype not in (types.float32, types.float64):
            raise TypingError(f"{name} must be a row, a 1-dimensional array of float32 or float64, not {array}")
    if x.dtype != out.dtype:
        raise TypingError(f"out has dtype {out.dtype}, but must have {x.dtype}")
    if not out.mutable and out is not x:
        raise TypingError("out is read-only")
    real = np.float32 if x.dtype == types.float32 else np.float64
    return lambda x, out: real


@jit
def job_of(real, kind, x, out, labels, dloss, writes):
    """The kernel's job for one row."""
    if len(x) == 0:
        raise Refused("x has zero classes: there is nothing to normalise")
    if writes and len(out) != len(x):
        raise Refused("out has length {}, but must have {}", len(out), len(x))
    nothing = absent(np.float64)
    r = PerRow(absent(real), labels, nothing, nothing, np.empty(1), np.empty(1))
    o = Options(kind, NO_IGNORE, 1.0, 0.0, 0.0, 0.0, dloss)
    place = a.place_of(x, out) if writes else 0
    return bind(real, x, absent(real), out, r, o, 1, place, writes)


@jit
def label_job(real, x, y, out, dloss, writes):
    """The same with a label, which is checked."""
    if not 0 <= y < len(x) and len(x) > 0:
        raise LabelError(y, 0, (), len(x), NO_IGNORE)
    return job_of(real, states.LABELS, x, out, readable(np.full(1, np.int64(y))), dloss, writes)


@kernel
def row_softmax(x, out):
    """out = softmax(x) of one row, contiguous or not; out may be x itself. A row is float32 or float64, out as x."""
    run_plain(job_of(of_one_dtype(x, out), states.SOFTMAX, x, out, absent(np.int64), 1.0, True), WHOLE_ROWS)


@kernel
def row_log_softmax(x, out):
    """out = log_softmax(x), likewise."""
    run_plain(job_of(of_one_dtype(x, out), states.LOG_SOFTMAX, x, out, absent(np.int64), 1.0, True), WHOLE_ROWS)


@kernel
def row_logsumexp(x):
    """log(sum(exp(x))), float64."""
    real = of_one_dtype(x, x)
    job = job_of(real, states.LSE, x, np.empty(0, real), absent(np.int64), 1.0, False)
    run_plain(job, WHOLE_ROWS)
    return job.arrays.lse[0]


@kernel
def row_cross_entropy(x, y):
    """-log softmax(x)[y], float64; LabelError for y outside [0, len(x))."""
    real = of_one_dtype(x, x)
    job = label_job(real, x, y, np.empty(0, real), 1.0, False)
    run_plain(job, WHOLE_ROWS)
    return job.arrays.losses[0]


@kernel
def row_cross_entropy_and_grad(x, y, dx, dloss=1.0):
    """The same, and dx = dloss*(softmax(x) - onehot(y)), which may be x itself."""
    job = label_job(of_one_dtype(x, dx), x, y, dx, float(dloss), True)
    run_plain(job, WHOLE_ROWS)
    return job.arrays.losses[0]
