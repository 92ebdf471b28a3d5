"""[3] A linear layer and its loss together: of the logits there is a block at a time, in bounded workspace."""

import math

import numpy as np

from .. import backends, check, plan, threads
from ..contract import Layer
from . import by_classes, by_rows, steps
from .results import Results, clear, new_results


def execute(problem):
    """Allocate results and workspace, then fill them, by rows or by classes as planned -> Results."""
    rows = _rows_that_count(problem.loss)
    n_rows = math.prod(problem.loss.lead)
    p = _make_plan(problem, n_rows if rows is None else len(rows))
    results = new_results(problem, p, n_rows, rows)
    if p.n_rows == 0 or p.n_classes == 0:
        clear(problem, results)
        return results
    if problem.optimizer is not None:
        steps.start(problem)
    layer = Layer(problem.loss.dtype, problem.classifier, problem.bias)
    products = backends.load(p.backend).products(layer, p.n_threads)
    (by_classes if p.order == "classes" else by_rows).fill(problem, results, products)
    return results


def _make_plan(problem, n_rows):
    """The plan, or the error of a workspace that is too small."""
    name = backends.current()
    p = plan.make_linear(problem, n_rows, name, backends.load(name), threads.get_num_threads())
    if p.workspace_bytes > problem.max_workspace_bytes:
        raise check.workspace_error(problem.max_workspace_bytes, p.least_workspace_bytes)
    return p


def _rows_that_count(loss):
    """Indices of the rows that are neither ignored nor of weight 0; None for all."""
    counts = loss.labels != loss.ignore_index
    if loss.sample_weight is not None:
        counts &= loss.sample_weight != 0
    return None if counts.all() else np.flatnonzero(counts)


__all__ = ["Results", "execute"]
