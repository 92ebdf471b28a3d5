"""[1] The Numba backend: kernels compiled at their first call with each dtype. `numpy.py` is the same, to be read."""

import numpy as np

try:
    import numba
except ImportError as error:
    raise ImportError('the Numba backend needs Numba: pip install "fastsoftmax[numba]"') from error

from ..contract import BLOCK, FINALS, LOGITS_PER_PYTHON_THREAD, NO_IGNORE, Job, Targets, n_blocks
from . import _numba_centered as centered
from . import _numba_look as looks
from . import _numba_pairs as pairs
from . import _numba_rows as rows
from . import _numba_steps as steps
from . import _numba_types as kinds
from . import _steps
from ._blas import products as products
from ._numba_cache import kernel

SPLITS_CLASSES = True
FORGETS_CLASSES = False
TILES = False
LOGITS_PER_THREAD = LOGITS_PER_PYTHON_THREAD
# With two threads softmax of one row of 1,000,000 classes takes 1.7 times as long as with one, of 2,000,000 1.14, of
# 4,000,000 0.81.
PHASE_LOGITS_PER_THREAD = 4 * LOGITS_PER_THREAD

KERNELS = {
    "lse_rows": (rows.softmax_rows, kinds.LSE),
    "softmax_rows": (rows.softmax_rows, kinds.SOFTMAX),
    "log_softmax_rows": (rows.softmax_rows, kinds.LOG_SOFTMAX),
    "cross_entropy_rows": (rows.softmax_rows, kinds.LABELS),
    "soft_cross_entropy_rows": (rows.softmax_rows, kinds.TARGETS),
    "softmax_grad_rows": (pairs.pair_rows, pairs.SOFTMAX_GRAD),
    "log_softmax_grad_rows": (pairs.pair_rows, pairs.LOG_SOFTMAX_GRAD),
    "entropy_rows": (pairs.pair_rows, pairs.ENTROPY),
    "kl_divergence_rows": (pairs.pair_rows, pairs.KL_DIVERGENCE),
    "js_divergence_rows": (pairs.pair_rows, pairs.JS_DIVERGENCE),
    "centered_rows": (centered.centered_rows, kinds.CENTERED),
}
SECOND = {"probs": kinds.PROBS, "logs": kinds.LOGS, "second": kinds.SECOND, "logits": kinds.LOGITS}


def describe():
    """One line for show_config()."""
    return f"Numba {numba.__version__}, compiled for this CPU at first use"


def _in(array, dtype):
    """An input as the kernels take it: contiguous, read-only, empty where absent, so that one type fits all."""
    if array is None:
        array = np.empty(0, dtype)
    array = np.ascontiguousarray(array, dtype).view()
    array.flags.writeable = False
    return array


def _flat(array, dtype, writeable):
    """(all the memory between the rows' ends as one 1-d array, where row 0 starts, the row step), in elements."""
    if array is None or array.size == 0:
        empty = np.empty(0, dtype)
        empty.flags.writeable = writeable
        return empty, 0, 0
    n_rows, n_classes = array.shape
    step = array.strides[0] // array.itemsize if n_rows > 1 else 0
    reach = step * (n_rows - 1)
    lowest = array if reach >= 0 else array[::-1]
    flat = np.lib.stride_tricks.as_strided(lowest[0], (abs(reach) + n_classes,), (array.itemsize,),
                                           writeable=writeable)
    return flat, max(0, -reach), step


def _place(job):
    """1 where out is first itself, 2 where it is second, else 0."""
    for number, array in ((1, job.first), (2, job.second)):
        if job.out is not None and array is not None and job.out.ctypes.data == array.ctypes.data:
            return number
    return 0


def _keeps(job, kind):
    """Whether this job's rows hold their exps: in the output, or aside, where that is streamed."""
    n_classes = job.first.shape[1]
    plain = kind == kinds.SOFTMAX or (kind == kinds.LABELS and job.smoothing == 0)
    return bool((job.keep_exps or job.stream and kinds.is_fit(n_classes, n_classes * job.dtype.itemsize)) and plain
                and job.cap == 0 and job.dtype.carrier == job.dtype.real and KERNELS[job.kernel][0] is rows.softmax_rows)


def _several(targets):
    """A job's Targets, each array flat, or nothing."""
    if targets is None:
        return _in(None, np.int64), _in(None, np.float64), np.empty(0)
    return _in(targets.ids.reshape(-1), np.int64), _in(targets.shares.reshape(-1), np.float64), targets.found.reshape(-1)


def arguments_of(job, kind):
    carrier, real = job.dtype.carrier, job.dtype.real
    x, x0, x_step = _flat(job.first, carrier, False)
    q, q0, q_step = _flat(job.second, carrier, False)
    out, out0, out_step = _flat(job.out, carrier, True)
    losses = np.empty(0) if job.losses is None else job.losses
    lse = np.empty(0) if job.lse is None else job.lse
    block_states = np.empty(0) if job.states is None else job.states.reshape(-1)
    finals = np.empty(0) if job.finals is None else job.finals.reshape(-1)
    several = job.labels if isinstance(job.labels, Targets) else None
    labels = None if several else job.labels
    arrays = (_in(job.class_weight, real), _in(labels, np.int64), *_several(several), _in(job.shifts, np.float64),
              _in(job.sample_weight, np.float64), _in(job.dlosses, np.float64), losses, lse, block_states, finals)
    inner = 1.0 if job.cap else job.scale
    numbers = kinds.Numbers(
        kind, SECOND[job.kind], job.first.shape[1], several.ids.shape[1] if several else 0, x0, x_step, q0, q_step, out0,
        out_step, job.ignore_index, _keeps(job, kind), bool(job.stream), _place(job), job.out is not None,
        labels is not None, job.shifts is not None, bool(job.minus_entropy), job.class_weight is not None,
        job.sample_weight is not None, job.dlosses is not None, float(job.scale), float(inner), float(job.cap),
        float(job.smoothing), float(job.z_loss), float(job.grad_scale), float(job.q_scale))
    return (x, q, out), arrays, numbers


def bind(job):
    """run(row0, row1, block0, block1, phase) -> the first row with a bad label, or -1."""
    function, kind = KERNELS[job.kernel]
    flats, arrays, numbers = arguments_of(job, kind)
    size = kinds.scratch_size(numbers)

    def run(row0, row1, block0, block1, phase):
        scratch = np.empty(size, job.dtype.real)  # a thread's own
        return function(kinds.Arrays(*flats, scratch, *arrays), numbers, row0, row1, block0, block1, phase)

    return run


def write_exps(job, tops):
    """See contract.py: the phase WRITE alone, from numbers that are known."""
    finals = np.zeros((len(tops), FINALS))
    finals[:, 0] = job.cap * np.tanh(tops * job.scale / job.cap) if job.cap else tops  # here m has the cap on
    return bind(job._replace(finals=finals))


def step(job):
    """See contract.Step; what is not one run of memory, or a parameter of 16 bits, is left to NumPy."""
    plain = _steps.is_plain(job) and job.parameter.dtype == job.gradient.dtype
    return (steps if plain else _steps).step(job)


def look(job):
    """run(row0, row1) -> the first row with a bad label, or -1; see contract.Look."""
    as_job = Job("lse_rows", job.dtype, job.logits, labels=job.labels, scale=job.scale, cap=job.cap,
                 ignore_index=job.ignore_index)
    flats, arrays, numbers = arguments_of(as_job, kinds.LSE)
    stats, ids, values, drawn = (
        np.empty(0, kind) if a is None else a.reshape(-1)
        for a, kind in ((job.stats, np.float64), (job.ids, np.int64), (job.values, np.float64), (job.drawn, np.int64)))
    words, k = _in(job.words, np.uint64), 0 if job.ids is None else job.ids.shape[1]

    def run(row0, row1):
        scratch = np.empty(BLOCK, job.dtype.real), np.empty(2 * n_blocks(job.logits.shape[1]))  # a thread's own
        wanted = looks.Wanted(stats, ids, values, words, drawn, scratch[1], k, job.stats is not None,
                              job.words is not None, float(job.top_p))
        return looks.look_rows(kinds.Arrays(*flats, scratch[0], *arrays), numbers, wanted, row0, row1)

    return run


@kernel
def scan(labels, n_classes, ignore_index, class_weight, sample_weight):
    total = 0.0
    for i in range(len(labels)):
        y = labels[i]
        if y == ignore_index:
            continue
        if y < 0 or y >= n_classes:
            return i, 0.0
        weight = sample_weight[i] if len(sample_weight) else 1.0
        if weight != 0:
            total += weight * class_weight[y] if len(class_weight) else weight
    return -1, total


def scan_labels(labels, n_classes, ignore_index, class_weight, sample_weight):
    """(first row whose label is out of range or -1, sum of the weights of the rows that count)."""
    ignore_index = NO_IGNORE if ignore_index is None else ignore_index
    bad, total = scan(_in(labels, np.int64), n_classes, ignore_index, _in(class_weight, np.float64),
                       _in(sample_weight, np.float64))
    return int(bad), float(total)
