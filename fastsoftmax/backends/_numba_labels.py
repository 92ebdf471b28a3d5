"""[1] A row's own label, or several with shares (contract.Targets): what they add to its loss and to its gradient."""

import math

import numpy as np

from ._numba_cache import inlined, jit
from ._numba_math import as_real, put, real_of
from ._numba_states import capped

INERT, BAD = -2, -3  # a row that does not count, a label out of range


@jit
def label_of(a, n, i):
    """The row's label, -1 where it has none or several, INERT or BAD."""
    y = -1
    if n.has_labels:
        y = a.labels[i]
        if y == n.ignore_index:
            return INERT
        if y < 0 or y >= n.n_classes:
            return BAD
    if n.weighs_rows and a.sample_weight[i] == 0:
        return INERT
    for j in several(n, i):
        if a.ids[j] >= n.n_classes:
            return BAD
    return y


@inlined
def several(n, i):
    """Where the labels of row i stand, if it has several."""
    return range(i * n.n_targets, (i + 1) * n.n_targets)


@inlined
def is_class(n, k):
    """Padding is none; and what was checked may have been changed since."""
    return 0 <= k < n.n_classes


@jit
def logit_at(a, n, i, k):
    z = real_of(a.x[n.x0 + i * n.x_step + k])
    return np.float64(capped(z, as_real(a.x, n.scale), as_real(a.x, n.cap)) if n.cap != 0 else z)


@jit
def find_several(a, n, i):
    for j in several(n, i):
        k = a.ids[j]
        if is_class(n, k):
            a.found[j] = logit_at(a, n, i, k)


@inlined
def find_logits(a, n, i):
    """Those of several labels, before they are overwritten."""
    if n.n_targets:  # a call passes some forty arguments: a tenth of what a row of 100 classes takes
        find_several(a, n, i)


@inlined
def weight_of(a, n, k):
    return np.float64(a.class_weight[k]) if n.weighs_classes else 1.0


@inlined
def own_target(a, n, k):
    """(1 - e)*w[k]: C, or C_j but for its share."""
    return (1 - n.smoothing) * weight_of(a, n, k)


@jit
def several_targets(a, n, i):
    c = 0.0
    for j in several(n, i):
        k = a.ids[j]
        if is_class(n, k):
            c += own_target(a, n, k) * a.shares[j]
    return c


@inlined
def own_targets(a, n, i, y):
    """C, the sum of the labels' own targets."""
    if y >= 0:
        return own_target(a, n, y)
    return several_targets(a, n, i) if n.n_targets else 0.0


@inlined
def term(c, gap):
    return 0.0 if c == 0 else c * gap


@jit
def several_losses(a, n, i, m, more):
    loss = 0.0
    for j in several(n, i):
        k = a.ids[j]
        if is_class(n, k):
            loss += term(own_target(a, n, k) * a.shares[j], more + (m - a.found[j]) * n.inner)
    return loss


@inlined
def own_loss(a, n, i, y, z_y, m, more):
    """sum C_j*(L - z[id_j]), L = m*inner + more."""
    if y >= 0:
        return term(own_target(a, n, y), more + (m - z_y) * n.inner)
    return several_losses(a, n, i, m, more) if n.n_targets else 0.0


@jit
def upstream(a, n, i):
    """g*scale: what multiplies dz."""
    g = n.grad_scale * n.scale
    if n.has_dlosses:
        g *= a.dlosses[i]
    return g * a.sample_weight[i] if n.weighs_rows else g


@jit
def put_one(a, n, i, k, z_k, c, others, final):
    """The gradient at a label with the target c of its own: -rest/(1 + rest) keeps its digits as p -> 1."""
    total = 1 + final.rest
    p = math.exp((z_k - final.m) * n.inner) / total
    minus = -final.rest / total if z_k == final.m else p - 1
    z_part = 2 * n.z_loss * a.lse[i] if n.z_loss != 0 else 0.0
    dz = c * minus + (others + final.t + z_part) * p - n.smoothing / n.n_classes * weight_of(a, n, k)
    if n.cap != 0:
        dz *= 1 - (z_k / n.cap) ** 2
    put(a.out, n.out0 + i * n.out_step + k, as_real(a.out, dz * upstream(a, n, i)))


@jit
def put_several(a, n, i, final):
    total = several_targets(a, n, i)
    for j in several(n, i):
        k = a.ids[j]
        if is_class(n, k):
            c = own_target(a, n, k) * a.shares[j]
            put_one(a, n, i, k, a.found[j], c, total - c, final)


@inlined
def put_labels(a, n, i, y, final):
    """The gradient at the row's labels, last."""
    if y >= 0:
        put_one(a, n, i, y, final.z_y, own_target(a, n, y), 0.0, final)
    elif n.n_targets and y != INERT:
        put_several(a, n, i, final)
