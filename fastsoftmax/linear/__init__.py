"""[3] A linear layer and its loss together: of the logits there is a block at a time, in bounded workspace."""

import math

import numpy as np

from . import by_classes, by_rows, filtering, steps
from .results import Results, clear, make_plan, make_products, new_results


def execute(problem):
    """Allocate results and workspace, then fill them, by rows or by classes as planned -> Results."""
    rows, p = _planned(problem)
    results = new_results(problem, p, rows)
    if problem.grad_filter is not None:
        results = results._replace(bound=filtering.none(problem))
    if p.n_rows == 0 or p.n_classes == 0:
        clear(problem, results)
        return results
    if problem.optimizer is not None:
        steps.start(problem)
    products = make_products(problem, p)
    kept = filtering.Filter(problem, results, products) if p.kept_cost else None
    (by_classes if p.order == "classes" else by_rows).fill(problem, results, products, kept)
    return results._replace(bound=kept.bound()) if kept else results


def planned(problem):
    """The plan that execute would follow, without a computation."""
    return _planned(problem)[1]


def _planned(problem):
    """(which rows count, the plan for them)."""
    rows = _rows_that_count(problem.loss)
    return rows, make_plan(problem, math.prod(problem.loss.lead) if rows is None else len(rows))


def _rows_that_count(loss):
    """Indices of the rows that are neither ignored nor of weight 0; None for all."""
    counts = loss.labels != loss.ignore_index
    if loss.sample_weight is not None:
        counts &= loss.sample_weight != 0
    return None if counts.all() else np.flatnonzero(counts)


__all__ = ["Results", "execute", "planned"]
