"""[3] What is asked of rows beside their loss (contract.Look): statistics, the first classes, samples."""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from . import backends, check, run, threads
from .contract import LOGITS_PER_ROW, STATS, Look
from .dtypes import carrier_view
from .plan import LOGITS_PER_SLICE, STAGED_BYTES


class Looked(NamedTuple):
    """What was asked for, arrays of (n_rows,) rows, else None; see contract.Look. `values` are logits."""

    stats: Any = None
    ids: Any = None
    values: Any = None
    drawn: Any = None


def execute(problem, k=0, wants_stats=True, words=None, top_p=1.0):
    """The statistics and the first k classes of all rows, or with `words` a sample of each -> Looked."""
    n_rows = math.prod(problem.lead)
    looked = new(n_rows, k, wants_stats, words is not None)
    for start, logits in _readable(problem.first, problem.dtype, problem.lead):
        rows = slice(start, start + len(logits))
        bad = fill(problem, logits, cut(looked, rows), problem.labels[rows] if problem.labels is not None else None,
                   None if words is None else words[rows], top_p)
        if bad >= 0:  # the label was right when it was checked: another thread has changed it since
            raise check.label_error(problem.labels, start + bad, problem.lead, logits.shape[1], problem.ignore_index)
    return looked


def new(n_rows, k, wants_stats, draws):
    """Room for what is asked for."""
    if draws:
        return Looked(drawn=np.empty(n_rows, np.int64))
    stats = np.empty((n_rows, STATS)) if wants_stats else None
    return Looked(stats, *((np.empty((n_rows, k), np.int64), np.empty((n_rows, k))) if k else (None, None)))


def cut(looked, rows):
    """Some rows of it."""
    return Looked(*(None if a is None else a[rows] for a in looked))


def fill(problem, logits, looked, labels=None, words=None, top_p=1.0):
    """The same for rows (n, n_classes) that the kernels can read in place: the first bad row of them, or -1."""
    backend = backends.load(backends.current())
    n_rows, n_classes = logits.shape
    n_threads = max(1, min(threads.get_num_threads(),
                           n_rows, n_rows * (n_classes + LOGITS_PER_ROW) // backend.LOGITS_PER_THREAD))
    shares = 4 * n_threads if n_threads > 1 else 1
    step = max(1, min(LOGITS_PER_SLICE // max(1, n_classes), -(-n_rows // shares)))
    job = Look(problem.dtype, logits, labels, looked.stats, looked.ids, looked.values, problem.scale, problem.cap,
               problem.ignore_index, words, looked.drawn, top_p)
    run, cuts = backend.look(job), [*range(0, n_rows, step), n_rows]
    return run.each(cuts, n_threads) if hasattr(run, "each") else threads.each(run, [*pairwise(cuts)], n_threads)


def _readable(a, row, lead):
    """(first row, rows as the kernels can read them) of all rows: in place, or copied a few at a time."""
    n_rows, n_classes = math.prod(lead), a.shape[-1]
    if n_rows == 0 or n_classes == 0:
        return
    view = run.rows_in_place(a, row, n_rows)
    if view is not None:
        yield 0, view
        return
    step = max(1, min(n_rows, STAGED_BYTES // (n_classes * row.itemsize)))
    native = np.dtype(a.dtype if a.dtype.name == row.name else row.name).newbyteorder("=")
    for start in range(0, n_rows, step):
        at = np.unravel_index(np.arange(start, min(start + step, n_rows)), lead) if lead else ()
        yield start, carrier_view(np.ascontiguousarray(a[at], native).reshape(-1, n_classes), row)


def z_of(problem, logits):
    """What softmax sees of some logits, in float64."""
    u = np.asarray(logits).astype(np.float64) * problem.scale
    return problem.cap * np.tanh(u / problem.cap) if problem.cap else u


def log_probs(problem, stats, logits):
    """log softmax at logits (n_rows, k) of rows with these statistics, exact also where p -> 1."""
    m, rest = stats[:, :1], stats[:, 1:2]
    x = np.asarray(logits).astype(np.float64)
    gap = z_of(problem, m) - z_of(problem, x) if problem.cap else (m - x) * problem.scale
    return np.where(stats[:, 7:] < 0, 0.0, -(gap + np.log1p(rest)))


def entropies(stats):
    """-sum p*log p in nats: log S - sum p*log(e), both terms of one sign."""
    rest, down = stats[:, 1], stats[:, 2]
    return np.log1p(rest) + down / (1 + rest)


def confidences(stats):
    """The probability of the first class, NaN where a row has no softmax, 0 where it is ignored."""
    return np.where(stats[:, 7] < 0, 0.0, 1 / (1 + stats[:, 1]))


def draw(problem, looked, words, top_p):
    """One class of the first k of each row, ids (n_rows, k) in order, by their softmax, or by as few of them as have top_p
    of its mass."""
    z = z_of(problem, looked.values)
    e = np.exp(z - z[:, :1])
    mass = np.cumsum(e, axis=1)
    counts = mass - e < top_p * mass[:, -1:]  # a class does if what comes before it has less than top_p
    total = np.max(np.where(counts, mass, 0), axis=1)
    at = np.sum(counts & (mass <= (uniform(words) * total)[:, None]), axis=1)
    return np.take_along_axis(looked.ids, np.minimum(at, np.maximum(counts.sum(axis=1) - 1, 0))[:, None], 1)[:, 0]


def uniform(words):
    """The first number in [0, 1) that each word seeds: splitmix64, as the kernels have it."""
    z = words + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
