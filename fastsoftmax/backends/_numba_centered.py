"""[1] p*(f - sum p*f): Hessian-vector products, gradients of entropies and of divergences from other distributions.

f is the second array, or z - z_m less log q where that holds q or its logarithm, or z - z_m alone.
"""

import math

import numpy as np

from ..contract import ALL, BLOCK, FINISH
from . import _numba_blocks as blocks
from . import _numba_lanes as lanes
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_aside import rest_aside
from ._numba_cache import inlined, jit, kernel
from ._numba_labels import BAD, INERT, label_of, upstream
from ._numba_rows import clear_row, inert_row, plain
from ._numba_states import block_of, fold, lse_of, nothing
from ._numba_targets import log_lanes
from ._numba_types import LOG2_E, LOGITS, LOGS, SECOND, span, without_owners


@inlined
def exp_lanes(z, n, m):
    """By what exp(z - z_m) is computed: m, how exponents are split, what multiplies z - m."""
    _, _, _, _, lowest, up, _, _ = blocks.limits(z)
    by = blocks.split_of(z, vec.scalar_like(z, n.inner * LOG2_E), 0.0, lowest, up)
    return vec.full(z, m), by, vec.full(z, n.inner)


@inlined
def exp_and_f(a, n, q_row, k, count, v, of, logs):
    """2^RAISE*exp(z - z_m), which is 0 exactly from some depth on, and f, from class k on; `count` classes are left."""
    m, by, inner = of
    depth = vec.larger(by[2], v - m)
    e, f = blocks.exp2_cut(a.x, depth, by), depth * inner
    if n.second != LOGITS:
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
    zero, total, total_f = vec.full(z, 0.0), 0.0, 0.0
    for start in range(0, count, step):
        end = min(start + step, count)
        s = s_f = zero
        for k in range(start, end, vec.width(z)):
            v = lanes.load(z, k, end - k, -np.inf)
            e, f = exp_and_f(a, n, q_row, first + k, end - k, v, of, logs)
            s, s_f = s + e, s_f + vec.product(e, f)
        total += vec.total(s, zero, zero, zero)
        total_f += vec.total(s_f, zero, zero, zero)
    _, _, _, _, _, up, _, _ = blocks.limits(z)
    return math.ldexp(total, -int(up)), math.ldexp(total_f, -int(up))


@jit
def block_sums(a, n, i, b):
    """(maximum, sum e, sum e*f) of block b. sum e is NaN where the block holds one, inf with a +inf, 0 with -inf alone."""
    z, count = memory.of(block_of(a, n, i, b)), span(n, b)[1]
    m = blocks.vector_max(z, 0, count)
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
    if gap == np.inf:
        return s_f * 0
    return math.exp(-gap) * (s_f if n.second == SECOND else s_f - gap * s)


@inlined
def step_of(z, k, count, v, with_these):
    """a*p*(f - mean)*(1 - (z/cap)^2)."""
    a, n, q_row, first, of, logs, (factor, last, mean, over_cap) = with_these
    e, f = exp_and_f(a, n, q_row, first + k, count, v, of, logs)
    dz = vec.product(e, f - mean) * factor * last
    if n.cap != 0:
        u = v * over_cap
        dz = dz * (vec.full(z, 1.0) - u * u)
    return dz


@jit
def write_block(a, n, i, b, z, m, factor, mean):
    first, count = span(n, b)
    head, last = lanes.lowering(z, factor)
    numbers = vec.full(z, head), vec.full(z, last), vec.plain(vec.full(z, mean)), vec.full(z, 1 / n.cap)
    with_these = (a, n, n.q0 + i * n.q_step, first, exp_lanes(z, n, m), log_lanes(a, n, i), numbers)
    lanes.write_each(step_of, with_these, z, 0, a.out, n.out0 + i * n.out_step + first, count, n.streams)


@jit
def whole_row(a, n, i):
    f, total_f, n_blocks = nothing(), 0.0, -(-n.n_classes // BLOCK)
    for b in range(n_blocks):
        m, s, s_f = block_sums(a, n, i, b)
        top = max(m, f.m)
        total_f = moved(total_f, f.best_sum + f.other, f.m, top, n) + moved(s_f, s, m, top, n)
        f = fold(f, b, m, s, 0.0, 0.0, n.inner)
    rest = rest_aside(a, n, i, f)
    more, mean = math.log1p(rest), total_f / (1 + rest)
    loss = mean if n.second == SECOND else more - mean if n.second == LOGITS else mean - more
    a.losses[i] = loss * a.sample_weight[i] if n.weighs_rows else loss
    a.lse[i] = lse_of(f, more, n.inner)
    if n.writes:
        factor = plain(upstream(a, n, i) / (1 + rest))
        for b in range(n_blocks):
            write_block(a, n, i, b, memory.of(block_of(a, n, i, b)), f.m, factor, mean)


@kernel
def centered_rows(a, n, row0, row1, block0, block1, phase):
    """Rows row0 to row1, as a whole, when a phase would end with them; the first row with a bad label, or -1."""
    a = without_owners(a)
    for i in range(row0, row1 if phase == ALL or phase == FINISH else row0):
        y = label_of(a, n, i)
        if y == BAD:
            return i
        if y != INERT:
            whole_row(a, n, i)
            continue
        inert_row(a, n, i)
        if n.writes:
            clear_row(a, n, i, 0, -(-n.n_classes // BLOCK))
    if n.streams:
        memory.fence()
    return -1
