"""[3] Logits of a part of the classes: what a state is made of, how many come before a label, their gradient."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import backends, look, run, states, threads
from .check import Array, Problem, Shard
from .contract import BLOCK, LOGITS_PER_ROW, WRITE, Job, n_blocks
from .dtypes import carrier_view
from .plan import LOGITS_PER_SLICE, STAGED_BYTES

Floats = NDArray[np.float64]
CHUNK_ROWS = 64  # whose blocks are cut among threads at a time


def read(shard: Shard, k: int) -> dict[str, Any]:
    """The fields of a state, by name."""
    problem, lead = shard.problem, shard.problem.lead
    n_kept = min(k, problem.first.shape[-1])
    looked = look.execute(problem, n_kept)
    stats = looked.stats
    nan = np.isnan(stats[:, 3])  # lse
    m, rest, down = (np.where(nan, np.nan, stats[:, j]).reshape(lead) for j in range(3))
    ids, logits = np.full((*lead, k), -1, np.int64), np.full((*lead, k), -np.inf)
    if n_kept:
        ids[..., :n_kept], logits[..., :n_kept] = (a.reshape(*lead, n_kept) for a in looked[1:3])
    new = dict(m=m, rest=rest, down=down, argmax=_as_global(stats[:, 7].astype(np.int64), shard.offset).reshape(lead),
               top_ids=_as_global(ids, shard.offset), top_logits=logits, labels=None, has_label=None, label_logits=None,
               classes=((shard.offset, shard.offset + problem.first.shape[-1]),))
    if shard.labels is not None and shard.is_here is not None:
        new.update(labels=shard.labels.reshape(lead), has_label=shard.is_here.reshape(lead),
                   label_logits=np.where(shard.is_here, stats[:, 5], np.nan).reshape(lead))
    return new


def _as_global(ids: NDArray[np.int64], offset: int) -> NDArray[np.int64]:
    return np.where(ids < 0, ids, ids + offset)


def _place(lead: tuple[int, ...], rows: Any) -> tuple[Any, ...]:
    """The index of some rows, numbered in order, in an array of their leading axes."""
    return tuple(np.unravel_index(rows, lead)) if lead else ()


# ---- ranks ----------------------------------------------------------------------------------------------------


def count_before(shard: Shard, state: Any) -> NDArray[np.int64]:
    """(n_rows,) how many of these classes come before the label, in contract.Look's order; 0 for ignored rows."""
    problem, n_rows = shard.problem, math.prod(shard.problem.lead)
    x, labels, values = problem.first, state.labels.reshape(-1), state.label_logits.reshape(-1)
    n_classes = x.shape[-1]
    before = np.clip(labels - shard.offset, 0, n_classes)  # of equal classes these do
    found = np.zeros(n_rows, np.int64)

    def some(row0: int, row1: int) -> int:
        for i in np.flatnonzero(labels[row0:row1] >= 0) + row0:
            row = x[_place(problem.lead, i)]
            found[i] = _count(row if row.itemsize > 2 else row.astype(np.float32), values[i], before[i])
        return -1

    n_threads, step = _shares(n_rows, n_classes)
    threads.each(some, [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)], n_threads)
    return found


def _count(row: Array, value: Any, before: int) -> int:
    if np.isnan(value):
        return int(np.count_nonzero(np.isnan(row[:before])))
    narrow = row.dtype.type(value)
    value = narrow if narrow == value else value  # compared in the row's own dtype where that is the same
    return len(row) - int(np.count_nonzero(row <= value)) + int(np.count_nonzero(row[:before] == value))


def _shares(n_rows: int, n_classes: int) -> tuple[int, int]:
    """(threads, rows of a slice)."""
    backend = backends.load(backends.current())
    n_threads = max(1, min(threads.get_num_threads(), n_rows,
                           n_rows * (n_classes + LOGITS_PER_ROW) // backend.LOGITS_PER_THREAD))
    return n_threads, max(1, min(LOGITS_PER_SLICE // max(1, n_classes), -(-n_rows // (4 * n_threads))))


# ---- gradients ------------------------------------------------------------------------------------------------


def gradient(shard: Shard, state: Any, upstream: Floats) -> Array:
    """softmax over all classes at these, less 1 at the label, times upstream and the slope of z, where it goes."""
    problem, labels = shard.problem, state.labels.reshape(-1)
    m, rest, lse = (np.asarray(a).reshape(-1) for a in (state.m, state.rest, states.lse(state)))
    g, a = upstream * problem.scale, 1 + 2 * problem.z_loss * lse
    out, shown = run.outputs(problem)
    at = None if shard.is_here is None else np.flatnonzero(shard.is_here)
    tops = np.where((m == -np.inf) & (problem.cap == 0), 0.0, m)  # as kernels take it
    _write(problem, out, tops, g * a / (1 + rest))
    if at is not None and len(at):
        x = state.label_logits.reshape(-1)[at]
        p = np.exp(-states.gap(state, m[at], x)) / (1 + rest[at])
        # at a maximum p - 1 = -rest/(1 + rest), which keeps its digits as p -> 1
        dz = np.where(x == m[at], -rest[at] / (1 + rest[at]), p - 1) + (a[at] - 1) * p
        if problem.cap:
            dz *= 1 - (states.z_of(state, x) / problem.cap) ** 2
        k = labels[at] - shard.offset
        out[(*_place(problem.lead, at), k if problem.lead else k[0])] = (g[at] * dz).astype(out.dtype)
    result: Array = shown
    return result


def _write(problem: Problem, out: Array, tops: Floats, factors: Floats) -> None:
    """out[i, k] = factors[i]*slope*exp(z - z_top), some rows at a time, copied where the kernels cannot reach them."""
    x, row, n_rows = problem.first, problem.dtype, math.prod(problem.lead)
    if not x.size:
        return
    views = [run.rows_in_place(a, row, n_rows) for a in (x, out)]
    if views[0] is not None and views[1] is not None:
        for start in range(0, n_rows, CHUNK_ROWS):
            some = slice(start, start + CHUNK_ROWS)
            _write_rows(problem, views[0][some], views[1][some], tops[some], factors[some], problem.labels[some])
        return
    native = np.dtype(x.dtype if x.dtype.name == row.name else row.name).newbyteorder("=")
    step = max(1, STAGED_BYTES // (x.shape[-1] * row.itemsize))
    for start in range(0, n_rows, step):
        some = slice(start, min(start + step, n_rows))
        at = _place(problem.lead, np.arange(start, some.stop))
        staged = np.ascontiguousarray(x[at], native).reshape(-1, x.shape[-1])
        staged = staged.copy() if np.may_share_memory(staged, x) else staged
        view = carrier_view(staged, row)
        _write_rows(problem, view, view, tops[some], factors[some], problem.labels[some])
        out[at] = staged if problem.lead else staged[0]


def _write_rows(problem: Problem, x: Array, out: Array, tops: Floats, factors: Floats, labels: Any) -> None:
    backend, (n_rows, n_classes) = backends.load(backends.current()), x.shape
    job = Job("cross_entropy_rows", problem.dtype, x, None, out, labels, dlosses=factors, scale=problem.scale,
              cap=problem.cap, grad_scale=1 / problem.scale, ignore_index=problem.ignore_index)
    n_threads, step = _shares(n_rows, n_classes)
    blocks = n_blocks(n_classes)
    deep = blocks if not backend.SPLITS_CLASSES else max(1, min(LOGITS_PER_SLICE // BLOCK, blocks))
    cuts = [(i, min(i + step, n_rows), b, min(b + deep, blocks), WRITE)
            for i in range(0, n_rows, step) for b in range(0, blocks, deep)]
    threads.each(backend.write_exps(job, tops), cuts, n_threads)
