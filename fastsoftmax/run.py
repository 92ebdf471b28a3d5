"""[3] Plan -> filled buffers: binds the job to its backend and hands the slices to the threads."""

import math
from typing import NamedTuple

import numpy as np

from . import backends, check, plan, threads
from .contract import ALL, BLOCK, FINALS, FINISH, PARTS, STATES, WRITE, Job
from .dtypes import carrier_view, find

TAKES_LSE = ("cross_entropy_rows", "soft_cross_entropy_rows", "centered_rows", "lse_rows")
TAKES_LOSSES = (*TAKES_LSE[:-1], "entropy_rows", "kl_divergence_rows", "js_divergence_rows")


class Filled(NamedTuple):
    """What a run leaves: per-row results (n_rows,) float64, and the output with its class axis in place."""

    plan: plan.Plan
    losses: np.ndarray | None
    lse: np.ndarray | None
    out: np.ndarray | None


def _is_readable(a, row):
    return find(a.dtype) is row and a.dtype.isnative and a.flags.aligned


def rows_in_place(a, row, n_rows):
    """The array as (n_rows, n_classes) where the kernels can read it in place, else None."""
    if not _is_readable(a, row):
        return None
    if a.shape[-1] > 1 and a.strides[-1] != a.itemsize:
        return None
    if a.ndim == 2:
        return carrier_view(a, row)
    try:
        return carrier_view(a.reshape((n_rows, a.shape[-1]), copy=False), row)
    except ValueError:
        return None


def _side_by_side(a, row):
    """The array as (n_outer, n_classes, inner), `inner` rows side by side, where the kernels can read it so, else None."""
    if not _is_readable(a, row) or not a.strides[-1]:
        return None
    inner, split = 1, a.ndim - 1
    while split and a.strides[split - 1] == inner * a.itemsize:
        split -= 1
        inner *= a.shape[split]
    try:
        return carrier_view(np.moveaxis(a, -1, split).reshape((-1, a.shape[-1], inner), copy=False), row)
    except ValueError:
        return None


def _views(arrays, row, n_rows, tiles):
    """(arrays as the kernels take them or None, how many rows lie side by side or 0, whether nothing else does)."""
    views = [None if a is None else rows_in_place(a, row, n_rows) for a in arrays]
    odd = [i for i in range(3) if views[i] is None and arrays[i] is not None]
    if not odd:
        return views, 0, False
    if not tiles or not n_rows:
        return None, 0, False
    for i in odd:
        views[i] = _side_by_side(arrays[i], row)
    if any(views[i] is None or views[i].shape[2] != views[odd[0]].shape[2] for i in odd):
        return None, 0, False
    inner = views[odd[0]].shape[2]
    return views, inner, all(views[i].strides[1] == inner * row.itemsize for i in odd)


def execute(problem, backend=None):
    """Allocate the outputs, then fill them, by the current backend or by one given."""
    row, n_rows = problem.dtype, math.prod(problem.lead)
    out, out_shown = outputs(problem)
    losses = np.empty(n_rows) if problem.kernel in TAKES_LOSSES else None
    lse = np.empty(n_rows) if problem.kernel in TAKES_LSE else None
    arrays = [problem.first, problem.second, out]
    name = backends.current() if backend is None else backend.NAME
    backend = backend or backends.load(name)
    views, inner, packed = _views(arrays, row, n_rows, backend.TILES and problem.kernel != "centered_rows")
    staged = views is None
    in_place = problem.out is not None and _start(arrays[0]) == _start(out)
    p = plan.make(problem, name, backend, threads.get_num_threads(), inner, packed, staged, in_place)
    per_row = (problem.labels, problem.sample_weight, problem.dlosses, losses, lse, problem.shifts)
    if n_rows == 0 or p.n_classes == 0:
        bad = -1
    elif staged:
        bad = _run_staged(problem, p, backend, arrays, per_row)
    else:
        bad = _run(_planned_job(problem, p, *views, *per_row), p, backend, n_rows, inner)
    if bad >= 0:  # the label was right when it was checked: another thread has changed it since
        raise check.label_error(problem.labels, bad, problem.lead, p.n_classes, problem.ignore_index)
    return Filled(p, losses, lse, out_shown)


def fill(problem, logits, out, labels, sample_weight, dlosses, losses, lse):
    """As execute, for some rows (n, n_classes) that the kernels can read in place: the first bad row of them, or -1."""
    name = backends.current()
    backend, n_rows = backends.load(name), len(logits)
    some = problem._replace(first=logits, lead=(n_rows,))
    p = plan.make(some, name, backend, threads.get_num_threads(), 0, False, False, True)
    job = _planned_job(some, p, logits, None, out, labels, sample_weight, dlosses, losses, lse)
    return _run(job, p, backend, n_rows, 0)


def fill_phase(problem, phase, logits, class0, class1, n_classes, labels, sample_weight, dlosses, losses, lse, states,
               finals):
    """One phase for some rows of which `logits` holds the classes class0 to class1: the first bad row of them, or -1."""
    name = backends.current()
    backend, n_rows, n_threads = backends.load(name), len(logits), threads.get_num_threads()
    n_threads = max(1, min(n_threads, n_rows * (class1 - class0) // backend.LOGITS_PER_THREAD))
    job = _job(problem, logits, None, logits if phase >= WRITE else None, labels, sample_weight, dlosses, losses, lse,
               states=states, finals=finals, class0=class0, n_classes=n_classes)
    blocks = class0 // BLOCK, -(-class1 // BLOCK)
    slices = [(*rows, *blocks, phase) for rows in _cuts(n_rows, 0, -(-n_rows // (4 * n_threads)))]
    return threads.each(backend.bind(job), slices, n_threads)


def outputs(problem):
    """(class axis last, as the user sees it) of the array to write, or (None, None)."""
    if not problem.wants_out:
        return None, None
    if problem.out is not None:
        return problem.out, problem.out_given
    dtype = problem.first.dtype
    if find(dtype) is not problem.dtype:
        dtype = np.dtype(problem.dtype.name)
    shown = np.empty_like(_moved(problem.first, -1, problem.axis), dtype=dtype.newbyteorder("="), subok=False)
    return _moved(shown, problem.axis, -1), shown


def _moved(a, source, destination):
    """np.moveaxis, which takes 3 us also where nothing moves."""
    return a if source == destination else np.moveaxis(a, source, destination)


def _start(a):
    return a.__array_interface__["data"][0]


def _planned_job(problem, p, *arrays):
    return _job(problem, *arrays, stream=p.stream, group=p.group, keep_exps=p.keep_exps)


def _job(problem, first, second, out, labels, sample_weight, dlosses, losses, lse, shifts=None, **how):
    return Job(problem.kernel, problem.dtype, first, second, out, labels, problem.class_weight, sample_weight,
               dlosses, losses, lse, problem.scale, problem.cap, problem.smoothing, problem.z_loss,
               problem.grad_scale, problem.ignore_index, kind=problem.kind, minus_entropy=problem.minus_entropy,
               q_scale=problem.q_scale, shifts=shifts, **how)


def _cuts(n_rows, inner, step):
    """[(first row, row behind)] of at most `step` rows, in even shares, or where `inner` lie side by side, of one run or of
    whole ones."""
    if not inner:
        n = -(-n_rows // step)
        return [(n_rows * i // n, n_rows * (i + 1) // n) for i in range(n)]
    whole = max(inner, step // inner * inner)
    return [(start, min(start + step, base + whole, n_rows))
            for base in range(0, n_rows, whole) for start in range(base, min(base + whole, n_rows), step)]


def _run(job, p, backend, n_rows, inner):
    """All rows of a job, cut as planned."""
    if p.split == "rows":
        run = backend.bind(job)
        slices = [(*rows, 0, p.n_blocks, ALL) for rows in _cuts(n_rows, inner, p.step)]
        return threads.each(run, slices, p.n_threads)
    # rows a few at a time, so that the states stay small however many long rows there are
    for start, stop in _cuts(n_rows, inner, max(64, p.group)):
        count = stop - start
        run = backend.bind(_with_states(job, slice(start, stop), count, p.n_blocks))
        cuts = [(*rows, b, min(b + p.step, p.n_blocks)) for rows in _cuts(count, min(inner, count), p.group)
                for b in range(0, p.n_blocks, p.step)]
        threads.each(run, [(*c, STATES) for c in cuts], p.n_threads)
        bad = run(0, count, 0, p.n_blocks, FINISH)
        if bad >= 0:
            return start + bad
        if job.out is not None:
            threads.each(run, [(*c, WRITE) for c in cuts], p.n_threads)
            run(0, count, 0, p.n_blocks, WRITE + 1)
    return -1


def _part(a, rows):
    """Rows of an array; where they lie side by side, all of one outer row or whole ones."""
    if a is None or a.ndim < 3:
        return a if a is None else a[rows]
    outer, at = divmod(rows.start, a.shape[2])
    count = rows.stop - rows.start
    if count < a.shape[2]:
        return a[outer:outer + 1, :, at:at + count]
    return a[outer:outer + count // a.shape[2]]


def _with_states(job, rows, count, blocks):
    cut = {name: _part(getattr(job, name), rows) for name in
           ("first", "second", "out", "labels", "sample_weight", "dlosses", "losses", "lse", "shifts")}
    return job._replace(**cut, states=np.empty((count, blocks, PARTS)), finals=np.empty((count, FINALS)))


def _run_staged(problem, p, backend, arrays, per_row):
    """Rows that cannot be read in place: copied a few at a time, computed, copied back."""
    row, n_classes = problem.dtype, p.n_classes
    native = np.dtype(arrays[0].dtype if arrays[0].dtype.name == row.name else row.name).newbyteorder("=")
    scratch = [None if a is None else np.empty((p.staged_rows, n_classes), native) for a in arrays]
    for start in range(0, p.n_rows, p.staged_rows):
        count = min(p.staged_rows, p.n_rows - start)
        rows = np.unravel_index(np.arange(start, start + count), problem.lead) if problem.lead else ()
        for a, s in zip(arrays[:2], scratch[:2], strict=True):
            if a is not None:
                s[:count] = a[rows]
        views = [None if s is None else carrier_view(s[:count], row) for s in scratch]
        cut = [None if a is None else a[start:start + count] for a in per_row]
        bad = _run(_planned_job(problem, p, *views, *cut), p, backend, count, 0)
        if bad >= 0:
            return start + bad
        if arrays[2] is not None:
            arrays[2][rows] = scratch[2][:count]
    return -1
