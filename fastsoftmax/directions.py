"""[3] Derivatives of cross_entropy along a direction v: sum_k dz[k]*v[k], the Hessian times v (contract.centered_rows)."""

import numpy as np

from . import look
from .run import execute


def derivatives(problem):
    """(n_rows,) of the unreduced losses; 0 where a row does not count."""
    found = execute(problem).losses
    return found - _smoothed(problem) if problem.smoothing else found


def products(problem):
    """The Hessian times v, where the results go."""
    return execute(problem).out


def _smoothed(problem):
    """What label smoothing adds, sample_weight*scale*sum_k t[k]*f[k] of each row that counts, one row at a time."""
    n_classes = problem.first.shape[-1]
    weight = np.ones(n_classes) if problem.class_weight is None else problem.class_weight.astype(np.float64)
    found = np.empty(len(problem.labels))
    for row in range(len(found)):
        at = np.unravel_index(row, problem.lead) if problem.lead else ()
        v = problem.second[at].astype(np.float64)
        if problem.cap:
            v *= 1 - (look.z_of(problem, problem.first[at]) / problem.cap) ** 2
        found[row] = np.dot(v, weight)
    share = problem.scale * (1.0 if problem.sample_weight is None else problem.sample_weight)
    counts = (problem.labels != problem.ignore_index) & (np.broadcast_to(share, found.shape) != 0)
    return np.where(counts, share * found * (problem.smoothing / max(1, n_classes)), 0.0)
