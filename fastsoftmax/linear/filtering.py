"""[3] grad_filter: which dlogits are negligible, and how far the gradients without them are from those with all.

With E what is dropped of dlogits, the gradients miss E W and E^T X. By the triangle inequality row i of the first is at
most sum_k |E[i, k]| |W[k]|, and row k of the second sum_i |E[i, k]| |X[i]|; a Frobenius norm is that of its rows' norms.
"""

import math
from typing import NamedTuple

import numpy as np


class Bound(NamedTuple):
    """Of the Frobenius norms of what dfeatures and dclassifier miss, None where not wanted; and how much was dropped."""

    dfeatures: float | None
    dclassifier: float | None
    dropped: np.ndarray  # (n_rows,) float64, the sum of what was dropped of |dlogits| over the row's unit
    kept: float  # share of dlogits that gradients were computed from


class Filter:
    """Of one problem: it makes products of each block of dlogits, and adds up what they drop."""

    def __init__(self, problem, results, products):
        p, real = results.plan, problem.loss.dtype.real
        self.problem, self.results, self.products, self.plan = problem, results, products, p
        self.class_norms = products.class_norms()
        self.by_class = np.zeros(p.n_classes)
        self.dropped = np.zeros((len(results.losses), 2))
        self.n_kept = self.n_all = 0
        self.units = _units(problem)
        self.limits = (problem.grad_filter * self.units).astype(real)

    def products_of(self, logits, features, rows, count, class0, class1):
        """The products of a block of dlogits, whose memory they may use, without what is negligible in it."""
        x = features[:count, :self.plan.n_features]
        row_norms = np.sqrt(np.einsum("ij,ij->i", x, x))
        block = self.products.filtered(logits, count, class0, class1, np.ascontiguousarray(self.limits[rows]), row_norms,
                                       self.class_norms, 1 / self.plan.kept_cost)
        self.by_class[class0:class1] += block.by_class
        self.dropped[rows] += block.dropped
        self.n_kept += block.n_kept
        self.n_all += count * (class1 - class0)
        return block

    def bound(self):
        """What was dropped in all -> Bound."""
        slack = self._slack()
        norms = [slack * math.sqrt(np.sum(np.square(a))) for a in (self.dropped[:, 1], self.by_class)]
        wanted = [norm if name in self.problem.wanted else None
                  for name, norm in zip(("features", "classifier"), norms, strict=True)]
        dropped = np.divide(self.dropped[:, 0], self.units, out=np.zeros(len(self.units)), where=self.units > 0)
        return Bound(*wanted, dropped, self.n_kept / max(1, self.n_all))

    def _slack(self):
        """What the bounds are multiplied by: a sum of n terms >= 0 is rounded by a share of n units at most."""
        unit = np.finfo(self.problem.loss.dtype.real).eps
        return math.exp(unit * (2 * self.plan.n_features + self.plan.block_rows + 4096))


def _units(problem):
    """(n_rows,) the factor of softmax - onehot in the gradient of each row, but for smoothing, z_loss and softcap."""
    loss = problem.loss
    units = np.full(math.prod(loss.lead), abs(loss.grad_scale * loss.scale))
    counts = loss.labels != loss.ignore_index
    for a in (loss.sample_weight, loss.dlosses):
        if a is not None:
            units *= np.abs(a)
    if loss.class_weight is not None:
        units *= np.abs(loss.class_weight[np.where(counts, loss.labels, 0)])
    return np.where(counts, units, 0)


def none(problem):
    """The Bound where nothing was filtered."""
    wanted = [0.0 if name in problem.wanted else None for name in ("features", "classifier")]
    return Bound(*wanted, np.zeros(math.prod(problem.loss.lead)), 1.0)
