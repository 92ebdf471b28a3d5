"""[1] Targets of all classes, in lanes: t[k] = w[k]*((1-e)*q[k] + e/V), their sums, and gradients with them."""

import numpy as np

from . import _numba_lanes as lanes
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_blocks import exp2_split, limits, split_of
from ._numba_cache import inlined, jit
from ._numba_types import LABELS, LOG2_E, LOGS, TARGETS, span


@inlined
def unit_of(n):
    """e/V where all targets have it as a factor: a sum of ones is exact, one of V times e/V is not."""
    return n.smoothing / n.n_classes if n.kind == LABELS else 1.0


@inlined
def shift_of(a, n, i):
    return a.shifts[i] if n.has_shifts else 0.0


@inlined
def log_lanes(a, n, i):
    """By what log q follows from the second array, where that holds it: what it is multiplied with, what is added."""
    return vec.full(a.x, n.q_scale), vec.plain(vec.full(a.x, -shift_of(a, n, i)))


@inlined
def target_lanes(a, n, i):
    """What all targets of row i are made with: 1 - e, e/V or a unit, and log_lanes."""
    smooth = n.smoothing / n.n_classes if n.kind == TARGETS else 1.0
    return vec.full(a.x, 1 - n.smoothing), vec.full(a.x, smooth), log_lanes(a, n, i)


@inlined
def targets_at(a, n, q_row, k, count, made_with):
    """t from class k on, without the labels' own shares; `count` classes are left."""
    keep, t, logs = made_with
    if n.kind == TARGETS:
        memory.prefetch_one_ahead(a.q, q_row + k)
        q = lanes.load(a.q, q_row + k, count, 0.0)
        if n.second == LOGS:
            q = lanes.exp(a.x, vec.fma(q, logs[0], logs[1]))
        t = vec.fma(q, keep, t)
    if n.weighs_classes:
        t = t * vec.plain(lanes.load(a.class_weight, k, count, 0.0))
    return t


@jit
def target_sums(a, n, i, b, z, m):
    """(sum t, sum t*(z_m - z)) of block b, whose logits are z, in units of unit_of(n); a zero target at a -inf gives 0."""
    first, count = span(n, b)
    q_row, made_with, step = n.q0 + i * n.q_step, target_lanes(a, n, i), lanes.RUN * vec.width(z)
    reference, zero = vec.full(z, m if np.isfinite(m) else 0.0), vec.full(z, 0.0)
    total = d = 0.0
    for start in range(0, count, step):
        end = min(start + step, count)
        st = sd = zero
        for k in range(start, end, vec.width(z)):
            t = lanes.keep(z, targets_at(a, n, q_row, first + k, end - k, made_with), end - k)
            st = st + t
            sd = sd + vec.product(t, reference - lanes.load(z, k, end - k, 0.0))
        total += vec.total(st, zero, zero, zero)
        d += vec.total(sd, zero, zero, zero)
    return total, d * n.inner


@jit
def target_logs(a, n, i, b):
    """sum q*log q of block b."""
    first, count = span(n, b)
    q_block, logs, step = n.q0 + i * n.q_step + first, log_lanes(a, n, i), lanes.RUN * vec.width(a.q)
    zero, total = vec.full(a.q, 0.0), 0.0
    for start in range(0, count, step):
        end = min(start + step, count)
        s = zero
        for k in range(start, end, vec.width(a.q)):
            q = lanes.load(a.q, q_block + k, end - k, 0.0)
            if n.second == LOGS:
                log = vec.fma(q, logs[0], logs[1])
                q = lanes.exp(a.x, log)
            else:
                log = lanes.log(a.x, q)
            s = s + lanes.keep(a.q, vec.product(q, log), end - k)
        total += vec.total(s, zero, zero, zero)
    return total


@inlined
def general_step(z, k, count, v, with_these):
    """(exp(z - z_m)*factor - unit*t)*(1 - (z/cap)^2)."""
    a, n, q_row, first, made_with, (m, by, factor, last, minus_unit, over_cap) = with_these
    dz = exp2_split(z, v - m, by) * factor * last
    if n.kind == TARGETS or n.smoothing != 0:
        dz = vec.fma(targets_at(a, n, q_row, first + k, count, made_with), minus_unit, dz)
    if n.cap != 0:
        u = v * over_cap
        dz = dz * (vec.full(z, 1.0) - u * u)
    return dz


@jit
def write_general(a, n, row, b, z, unit):
    """The gradient of block b, whose logits are z, with targets of every kind, `unit` times t, and the cap's slope."""
    first, count = span(n, b)
    _, _, _, _, lowest, up, _, _ = limits(z)
    factor, last = lanes.lowering(z, row.factor)
    by = split_of(z, vec.scalar_like(z, n.inner * LOG2_E), 0.0, lowest, up)
    numbers = (vec.full(z, row.final.m), by, vec.full(z, factor), vec.full(z, last), vec.plain(vec.full(z, -unit)),
               vec.full(z, 1 / n.cap))
    with_these = (a, n, n.q0 + row.row * n.q_step, first, target_lanes(a, n, row.row), numbers)
    lanes.write_each(general_step, with_these, z, 0, a.out, n.out0 + row.row * n.out_step + first, count, n.streams)
