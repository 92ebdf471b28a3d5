"""[1] p*(f - sum p*f): Hessian-vector products, gradients of entropies and of divergences from other distributions.

f is a direction, the second array, or z - z_m less log q where that holds q or its logarithm, or z - z_m alone.
"""

import math
from typing import NamedTuple

import numpy as np

from ..contract import ALL, BLOCK, FINISH
from . import _numba_blocks as blocks
from . import _numba_lanes as lanes
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, kernel
from ._numba_labels import BAD, INERT, label_of, logit_at, own_target, upstream, weight_of
from ._numba_math import as_real, put, real_of
from ._numba_rows import clear_row, inert_row, plain
from ._numba_seen import rest_aside
from ._numba_states import block_of, fold, lse_of, nothing
from ._numba_targets import log_lanes, target_lanes, targets_at
from ._numba_types import LOG2_E, LOGITS, LOGS, SECOND, ZERO, span, without_owners


class Centered(NamedTuple):
    """What a row is written from: its maximum, factor*e*(f - mean), and of a direction that a cap bends what its targets
    are multiplied with and the label's element."""

    m: float
    factor: float
    mean: float
    bent: float
    at_label: float


@inlined
def exp_lanes(z, n, m):
    """By what exp(z - z_m) is computed: m, how exponents are split, what multiplies z - m."""
    _, _, _, _, lowest, up, _, _ = blocks.limits(z)
    by = blocks.split_of(z, vec.scalar_like(z, n.inner * LOG2_E), 0.0, lowest, up)
    return vec.full(z, m), by, vec.full(z, n.inner)


@inlined
def slope_of(z, v, over_cap):
    """(1 - u^2, u), u = z/cap."""
    u = v * over_cap
    return vec.full(z, 1.0) - u * u, u


@inlined
def exp_and_f(a, n, q_row, k, count, v, of, logs):
    """2^RAISE*exp(z - z_m), which is 0 exactly from some depth on, and f or an unbent direction, from class k on; `count`
    classes are left."""
    m, by, inner = of
    depth = vec.larger(by[2], v - m)
    e, f = blocks.exp2_cut(a.x, depth, by), depth * inner
    if n.second != LOGITS:
        memory.prefetch_one_ahead(a.q, q_row + k)
        q = lanes.load(a.q, q_row + k, count, 0.0)
        if n.second == SECOND:
            f = q
        elif n.second == LOGS:
            f = f - vec.fma(q, logs[0], logs[1])
        else:
            f = f - lanes.log(a.x, q)
    return e, f


@jit
def sums(a, n, i, b, z, m):
    """sum e and sum e*f of block b, whose logits are z, e = exp(z - z_m)."""
    first, count = span(n, b)
    q_row, of, logs, step = n.q0 + i * n.q_step, exp_lanes(z, n, m), log_lanes(a, n, i), lanes.RUN * vec.width(z)
    zero, over_cap, total, total_f = vec.full(z, 0.0), vec.full(z, 1 / n.cap), 0.0, 0.0
    for start in range(0, count, step):
        end = min(start + step, count)
        s = s_f = zero
        for k in range(start, end, vec.width(z)):
            v = lanes.load(z, k, end - k, -np.inf)
            e, f = exp_and_f(a, n, q_row, first + k, end - k, v, of, logs)
            if n.second == SECOND and n.cap != 0:
                f = f * slope_of(z, v, over_cap)[0]
            s, s_f = s + e, s_f + vec.product(e, f)
        total += vec.total(s, zero, zero, zero)
        total_f += vec.total(s_f, zero, zero, zero)
    _, _, _, _, _, up, _, _ = blocks.limits(z)
    return math.ldexp(total, -int(up)), math.ldexp(total_f, -int(up))


@jit
def block_sums(a, n, i, b):
    """(maximum, sum e, sum e*f) of block b. sum e is NaN where the block holds one, inf with a +inf, 0 with -inf alone."""
    z, count = memory.of(block_of(a, n, i, b)), span(n, b)[1]
    m = blocks.vector_max(z, ZERO, count)
    if m == np.inf:
        return m, np.nan if blocks.has_nan(z, 0, count) else np.inf, np.nan
    s, s_f = sums(a, n, i, b, z, m if m > -np.inf else 0.0)
    return m, s, s_f


@inlined
def moved(s_f, s, m, top, n):
    """sum e*f relative to a larger maximum; z - z_m is a term of f, or not."""
    if m == top:
        return s_f
    gap = (top - m) * n.inner
    if gap < np.inf and n.second != SECOND:
        s_f -= gap * s
    lower = math.exp(-gap)
    return 0.0 if lower == 0 and np.isinf(s_f) else lower * s_f  # without probability f counts for nothing


@inlined
def step_of(z, k, count, v, with_these):
    """factor*e*(f - mean)*(1 - u^2), or of a direction that is bent
    (1 - u^2)*(factor*e*(f*(1 - u^2 - 2*u/cap) - mean) + bent*u*f*w), which has no w without smoothing."""
    a, n, q_row, first, of, logs, targets, (factor, last, mean, over_cap, bent) = with_these
    e, f = exp_and_f(a, n, q_row, first + k, count, v, of, logs)
    if n.cap == 0:
        return vec.product(e, f - mean) * factor * last
    slope, u = slope_of(z, v, over_cap)
    if n.second != SECOND:
        return vec.product(e, f - mean) * factor * last * slope
    tilted = slope - (u + u) * over_cap
    dz = vec.product(e, f * tilted - mean) * factor * last
    if n.smoothing != 0:
        dz = vec.fma(u * f * bent, targets_at(a, n, q_row, first + k, count, targets), dz)
    return slope * dz


@jit
def write_block(a, n, i, b, z, row):
    first, count = span(n, b)
    head, last = lanes.lowering(z, row.factor)
    numbers = (vec.full(z, head), vec.full(z, last), vec.plain(vec.full(z, row.mean)), vec.full(z, 1 / n.cap),
               vec.full(z, row.bent))
    with_these = (a, n, n.q0 + i * n.q_step, first, exp_lanes(z, n, row.m), log_lanes(a, n, i), target_lanes(a, n, i),
                  numbers)
    lanes.write_each(step_of, with_these, z, 0, a.out, n.out0 + i * n.out_step + first, count, n.streams)


@jit
def spread_of(a, n):
    """T, the sum of the targets that label smoothing gives to all classes."""
    if n.smoothing == 0 or not n.weighs_classes:
        return n.smoothing
    total = 0.0
    for k in range(n.n_classes):
        total += weight_of(a, n, k)
    return n.smoothing / n.n_classes * total


@jit
def directed(a, n, i, y, mean, m, rest, spread):
    """(loss, Centered) of a direction; see contract.py."""
    z_y, v_y = logit_at(a, n, i, y), np.float64(real_of(a.q[n.q0 + i * n.q_step + y]))
    u = z_y / n.cap if n.cap != 0 else 0.0
    slope, own, more = 1 - u * u, own_target(a, n, y), 2 * n.z_loss
    total = own + spread + (more * a.lse[i] if more != 0 else 0.0)
    loss = n.scale * (total * mean - own * slope * v_y)
    g = upstream(a, n, i) * n.scale
    if more != 0:
        if abs(total) < 1e-15 * more:  # what z_loss adds is not 0 where the total is
            total = 1e-15 * more
        center = mean * (1 - more / total)
    else:
        center = mean
    if n.cap == 0:
        return loss, Centered(m, plain(g * total / (1 + rest)), center, 0.0, 0.0)
    p = math.exp((z_y - m) * n.inner) / (1 + rest)
    minus = -rest / (1 + rest) if z_y == m else p - 1
    dz = own * minus + (total - own) * p - n.smoothing / n.n_classes * weight_of(a, n, y)
    at_label = g * slope * (total * p * (slope * v_y - center) - 2 / n.cap * u * v_y * dz)
    return loss, Centered(m, plain(g * total / (1 + rest)), center, plain(2 / n.cap * g * n.smoothing / n.n_classes),
                          plain(at_label))


@jit
def whole_row(a, n, i, y, spread):
    f, total_f, n_blocks = nothing(), 0.0, -(-n.n_classes // BLOCK)
    for b in range(n_blocks):
        m, s, s_f = block_sums(a, n, i, b)
        top = max(m, f.m)
        total_f = moved(total_f, f.best_sum + f.other, f.m, top, n) + moved(s_f, s, m, top, n)
        f = fold(f, b, m, s, 0.0, 0.0, n.inner)
    rest = rest_aside(a, n, i, f)
    more, mean = math.log1p(rest), total_f / (1 + rest)
    a.lse[i] = lse_of(f, more, n.inner)
    if n.second == SECOND:
        loss, row = directed(a, n, i, y, mean, f.m, rest, spread)
    else:
        loss = more - mean if n.second == LOGITS else mean - more
        row = Centered(f.m, plain(upstream(a, n, i) / (1 + rest)), mean, 0.0, 0.0)
    a.losses[i] = loss * a.sample_weight[i] if n.weighs_rows else loss
    if n.writes:
        for b in range(n_blocks):
            write_block(a, n, i, b, memory.of(block_of(a, n, i, b)), row)
        if n.second == SECOND and n.cap != 0:
            put(a.out, n.out0 + i * n.out_step + y, as_real(a.out, row.at_label))


@kernel
def centered_rows(a, n, row0, row1, block0, block1, phase):
    """Rows row0 to row1, as a whole, when a phase would end with them; the first row with a bad label, or -1."""
    a = without_owners(a)
    spread = spread_of(a, n)
    for i in range(row0, row1 if phase == ALL or phase == FINISH else row0):
        y = label_of(a, n, i)
        if y == BAD:
            return i
        if y != INERT:
            whole_row(a, n, i, y, spread)
            continue
        inert_row(a, n, i)
        if n.writes:
            clear_row(a, n, i, 0, -(-n.n_classes // BLOCK))
    if n.streams:
        memory.fence()
    return -1
