"""[3] A linear layer and its loss together: of the logits there is a block at a time, in bounded workspace."""

import math

import numpy as np

from .. import backends
from ..contract import Layer
from . import by_classes, by_rows, steps
from .results import Results, clear, make_plan, new_results


def execute(problem):
    """Allocate results and workspace, then fill them, by rows or by classes as planned -> Results."""
    rows = _rows_that_count(problem.loss)
    n_rows = math.prod(problem.loss.lead)
    p = make_plan(problem, n_rows if rows is None else len(rows))
    results = new_results(problem, p, n_rows, rows)
    if p.n_rows == 0 or p.n_classes == 0:
        clear(problem, results)
        return results
    if problem.optimizer is not None:
        steps.start(problem)
    layer = Layer(problem.loss.dtype, problem.classifier, problem.bias, problem.pairs)
    products = backends.load(p.backend).products(layer, p.n_threads)
    (by_classes if p.order == "classes" else by_rows).fill(problem, results, products)
    return results


def planned(problem):
    """The plan that execute would follow, without a computation."""
    rows = _rows_that_count(problem.loss)
    return make_plan(problem, math.prod(problem.loss.lead) if rows is None else len(rows))


def _rows_that_count(loss):
    """Indices of the rows that are neither ignored nor of weight 0; None for all."""
    counts = loss.labels != loss.ignore_index
    if loss.sample_weight is not None:
        counts &= loss.sample_weight != 0
    return None if counts.all() else np.flatnonzero(counts)


__all__ = ["Results", "execute", "planned"]
