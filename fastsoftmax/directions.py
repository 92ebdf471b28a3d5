"""[3] Derivatives of cross_entropy along a direction v: sum_k dz[k]*v[k], and the Hessian times v.

With C, t, T of contract.py and mu = sum p*v: scale*((C + T)*mu - sum_k t[k]*v[k] - C*v[y]) and scale^2*(C + T)*p*(v - mu).
"""

import numpy as np

from .run import execute


def derivatives(problem):
    """(n_rows,) of the unreduced losses; 0 where a row does not count."""
    own, total, labels = _weights(problem)
    found = total * execute(problem._replace(sample_weight=None)).losses - own * _at(problem, labels)
    if problem.smoothing:
        found -= _smoothed(problem)
    weight = 1.0 if problem.sample_weight is None else problem.sample_weight
    counts = (problem.labels != problem.ignore_index) & (np.broadcast_to(weight, found.shape) != 0)
    return np.where(counts, problem.scale * weight * found, 0.0)


def products(problem):
    """The Hessian times v, where the results go."""
    upstream = 1.0 if problem.dlosses is None else problem.dlosses
    return execute(problem._replace(dlosses=_weights(problem)[1] * problem.scale * upstream)).out


def _class_weight(problem):
    n_classes = problem.first.shape[-1]
    return np.ones(n_classes) if problem.class_weight is None else problem.class_weight.astype(np.float64)


def _weights(problem):
    """C and C + T of each row, and its label, 0 where that is ignored."""
    labels = np.where(problem.labels == problem.ignore_index, 0, problem.labels)
    weight = _class_weight(problem)
    own = (1 - problem.smoothing) * weight[labels] if len(weight) else np.zeros(len(labels))
    spread = problem.smoothing / len(weight) * np.sum(weight) if problem.smoothing and len(weight) else 0.0
    return own, own + spread, labels


def _at(problem, labels):
    """v at the labels, float64."""
    rows = np.unravel_index(np.arange(len(labels)), problem.lead) if problem.lead else ()
    return np.asarray(problem.second[(*rows, labels if rows else labels[0])]).astype(np.float64).reshape(-1)


def _smoothed(problem):
    """sum_k t[k]*v[k] of each row, one row at a time."""
    weight = _class_weight(problem)
    found = np.empty(len(problem.labels))
    for row in range(len(found)):
        at = np.unravel_index(row, problem.lead) if problem.lead else ()
        found[row] = np.dot(problem.second[at].astype(np.float64), weight)
    return found * (problem.smoothing / len(weight))
