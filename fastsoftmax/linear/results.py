"""[3] What a linear operation leaves, and how a block of it is put in its place."""

import math
from typing import NamedTuple

import numpy as np

from .. import backends, check, plan, threads
from ..contract import Layer
from ..dtypes import find


class Results(NamedTuple):
    """losses, lse (n_rows,) float64, 0 where a row does not count; gradients, one for each of check.GRADIENTS or None."""

    plan: plan.LinearPlan
    losses: np.ndarray
    lse: np.ndarray
    gradients: tuple
    rows: np.ndarray | None  # (plan.n_rows,) which count, None for all
    bound: tuple | None = None  # a filtering.Bound, where gradients are filtered


def make_plan(problem, n_rows):
    """The plan, or the error of a workspace that is too small."""
    name = backends.current()
    p = plan.make_linear(problem, n_rows, name, backends.load(name), threads.get_num_threads())
    if p.workspace_bytes > problem.max_workspace_bytes:
        raise check.workspace_error(problem.max_workspace_bytes, p.least_workspace_bytes)
    return p


def make_products(problem, p):
    """The backend's products of the layer."""
    layer = Layer(problem.loss.dtype, problem.classifier, problem.bias, problem.pairs)
    return backends.load(p.backend).products(layer, p.n_threads)


def new_results(problem, p, rows):
    """Allocated, the gradients where the caller wants them; of rows that do not count they are 0."""
    gradients = tuple(_gradient(problem, i) if i == 0 or problem.optimizer is None else None for i in range(3))
    dfeatures = gradients[0]
    if dfeatures is not None and not problem.accumulate:
        if rows is not None:
            dfeatures[...] = 0
        elif problem.shift:
            dfeatures[..., -problem.shift:, :] = 0
    n_rows = math.prod(problem.loss.lead)
    return Results(p, np.zeros(n_rows), np.zeros(n_rows), gradients, rows)


def _gradient(problem, i):
    if check.GRADIENTS[i] not in problem.wanted:
        return None
    if problem.out[i] is not None:
        return problem.out[i]
    like, row = problem.classifier if i else problem.features, problem.rows[i]
    return np.empty(problem.shapes[i], like.dtype.newbyteorder("=") if find(like.dtype) is row else np.dtype(row.name))


def clear(problem, results):
    """Gradients where nothing counts."""
    for g in results.gradients:
        if g is not None and not problem.accumulate:
            g[...] = 0


def chosen(results, start, stop):
    """Which rows those from start to stop are, of the rows that count: a slice or indices."""
    return slice(start, stop) if results.rows is None else results.rows[start:stop]


def place(problem, rows):
    """The index of some rows, numbered in order, in an array of their leading axes."""
    lead = problem.loss.lead
    if len(lead) == 1:
        return rows
    rows = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    return np.unravel_index(rows, lead) if lead else ()


def per_row(problem, rows):
    """labels, sample_weight and dlosses of some rows."""
    loss = problem.loss
    return [None if a is None else a[rows] for a in (loss.labels, loss.sample_weight, loss.dlosses)]


def put(out, at, values, accumulate):
    """out[at] = values, or added to it, rounded once."""
    out[at] = out[at].astype(values.dtype, copy=False) + values if accumulate else values


def is_real(a, dtype):
    """Whether what is added up in this dtype can be added up in the array itself."""
    return a.dtype == dtype and a.flags.aligned


def check_row(problem, rows, bad):
    """Raise for a label that was right when it was checked, and that another thread has changed since."""
    if bad >= 0:
        loss = problem.loss
        row = rows.start + bad if isinstance(rows, slice) else rows[bad]
        raise check.label_error(loss.labels, row, loss.lead, problem.classifier.shape[0], loss.ignore_index)


def aligned(n_rows, n_columns, dtype):
    """An empty block that begins with a cache line, as its rows then do."""
    memory = np.empty(n_rows * n_columns * dtype.itemsize + plan.LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % plan.LINE_BYTES
    return memory[start:len(memory) - plan.LINE_BYTES + start].view(dtype).reshape(n_rows, n_columns)


class Blocks:
    """The workspace that both orders need: some rows of features, their logits, and the gradients of the features."""

    def __init__(self, problem, p):
        real = problem.loss.dtype.real
        self.features = aligned(p.block_rows, p.features_step, real)
        self.features[:, p.n_features:] = 0
        self.logits = aligned(p.block_rows, p.logits_step, real)
        self.dfeatures = aligned(p.block_rows, p.features_step, real) if "features" in problem.wanted else None

    def load(self, problem, at, count):
        """Some rows of the features, and zeros up to the end of the block."""
        self.features[:count, :problem.features.shape[-1]] = problem.features[at]
        self.features[count:] = 0
