"""[3] Derivatives of cross_entropy along a direction v: sum_k dz[k]*v[k], and the Hessian times v.

With C, t, T of contract.py and mu = sum p*v: scale*((C + T)*mu - sum_k t[k]*v[k] - C*v[y]) and scale^2*(C + T)*p*(v - mu).
The kernels compute these. With a cap or a z_loss they are what `_Curved` says, in NumPy.
"""

import math

import numpy as np

from . import check, run, threads
from .plan import LOGITS_PER_SLICE


def derivatives(problem):
    """(n_rows,) of the unreduced losses; 0 where a row does not count."""
    if problem.cap or problem.z_loss:
        return _curved(problem).losses
    own, total, labels = _weights(problem)
    found = total * run.execute(problem._replace(sample_weight=None)).losses - own * _at(problem, labels)
    if problem.smoothing:
        found -= _smoothed(problem)
    weight = 1.0 if problem.sample_weight is None else problem.sample_weight
    counts = (problem.labels != problem.ignore_index) & (np.broadcast_to(weight, found.shape) != 0)
    return np.where(counts, problem.scale * weight * found, 0.0)


def products(problem):
    """The Hessian times v, where the results go."""
    if problem.cap or problem.z_loss:
        return _curved(problem).shown
    upstream = 1.0 if problem.dlosses is None else problem.dlosses
    return run.execute(problem._replace(dlosses=_weights(problem)[1] * problem.scale * upstream)).out


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


def _curved(problem):
    """All rows, a few at a time: float64 copies of them are the only temporaries."""
    n_rows, n_classes = math.prod(problem.lead), problem.first.shape[-1]
    curved = _Curved(problem)
    if n_rows and n_classes:
        step = max(1, LOGITS_PER_SLICE // n_classes // 8)
        cuts = [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
        bad = threads.each(curved, cuts, threads.get_num_threads())
        if bad >= 0:  # the label was right when it was checked: another thread has changed it since
            raise check.label_error(problem.labels, bad, problem.lead, n_classes, problem.ignore_index)
    return curved


class _Curved:
    """The same where z is curved, or a loss is: with z' = scale*(1 - (z/cap)^2), z'' = -2*scale*z*z'/cap^2,
    A = C + T + 2*z_loss*L, dz[k] = A*p[k] - t[k] - C*[k == y], w = z'*v and mu = sum p*w,

        sum dz*w = A*mu - sum t*w - C*w[y]        z'*(A*p*(w - mu) + 2*z_loss*mu*p) + z''*v*dz

    A call computes rows start to stop; -1, or the first whose label is wrong.
    """

    def __init__(self, problem):
        self.problem, self.losses = problem, np.zeros(math.prod(problem.lead))
        self.out, self.shown = run.outputs(problem)
        self.weight = _class_weight(problem)

    def __call__(self, start, stop):
        problem, rows = self.problem, slice(start, stop)
        at = np.unravel_index(np.arange(start, stop), problem.lead) if problem.lead else (None,)
        labels = problem.labels[rows].copy()
        counts = labels != problem.ignore_index
        bad = counts & ((labels < 0) | (labels >= len(self.weight)))
        if bad.any():
            return start + int(bad.argmax())
        share = np.ones(len(labels)) if problem.sample_weight is None else problem.sample_weight[rows]
        counts &= share != 0
        with np.errstate(all="ignore"):
            losses, product = self._of(problem.first[at].astype(np.float64), problem.second[at].astype(np.float64),
                                       np.where(labels == problem.ignore_index, 0, labels))
            self.losses[rows] = np.where(counts, share * losses, 0.0)
            if self.out is not None:
                g = problem.grad_scale * share * (1.0 if problem.dlosses is None else problem.dlosses[rows])
                self.out[at] = np.where(counts[:, None], g[:, None] * product, 0.0).astype(self.out.dtype)
        return -1

    def _of(self, x, v, y):
        """(sum dz*w, the Hessian times v) of rows without their own factors."""
        problem, row = self.problem, np.arange(len(y))
        z, slope, bend = _mapped(x * problem.scale, problem.scale, problem.cap)
        top = np.max(z, axis=1, keepdims=True)
        e = np.exp(z - top)
        total = np.sum(e, axis=1, keepdims=True)
        p, w = e / total, slope * v
        own = (1 - problem.smoothing) * self.weight[y]
        t = problem.smoothing / len(self.weight) * self.weight
        a = (own + np.sum(t))[:, None] + 2 * problem.z_loss * (top + np.log(total))
        mean = np.sum(np.where(p == 0, 0.0, p * w), axis=1, keepdims=True)
        losses = a[:, 0] * mean[:, 0] - own * w[row, y] - (np.sum(t * w, axis=1) if problem.smoothing else 0.0)
        if self.out is None:
            return losses, None
        product = slope * np.where(p == 0, 0.0, p * (a * (w - mean) + 2 * problem.z_loss * mean))
        if problem.cap:
            dz = a * p - t
            dz[row, y] -= own
            product += bend * v * dz
        return losses, product


def _mapped(u, scale, cap):
    """z, dz/dx and its derivative."""
    if not cap:
        return u, np.full_like(u, scale), np.zeros_like(u)
    t = np.tanh(u / cap)
    slope = scale * (1 - t * t)
    return cap * t, slope, -2 * scale / cap * t * slope
