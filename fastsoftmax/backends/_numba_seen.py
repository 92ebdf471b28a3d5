"""[1] What is seen of a block: its sums in one reading for everything; its exps aside, in the room for one block."""

import math

import numpy as np

from ..contract import BLOCK
from . import _numba_blocks as blocks
from . import _numba_lanes as lanes
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, sum_jit
from ._numba_states import block_of
from ._numba_types import LOG2_E, ZERO, span

RUN = 256  # exps that are added up at a time

# ---- one reading ------------------------------------------------------------------------------------------------


@inlined
def deep_step(x, v, m, by, top, s, d):
    """The maximum, and s and d, more by 2^RAISE*e and by e*(x - m) of that, e = exp(z - z_m)."""
    depth = vec.larger(by[2], v - m)
    e = blocks.exp2_cut(x, depth, by)
    return vec.larger(v, top), s + e, vec.fma(e, depth, d)


@inlined
def count_above(v, bound):
    return vec.count_bits(vec.bits_above(v, bound))


@jit
def see(x, start, count, m, scale_log2e, beyond):
    """(maximum, sum e, sum e*(m - x), how many are above `beyond` or NaN) of a block; m: the maximum, or a little less."""
    _, _, _, _, lowest, up, _, _ = blocks.limits(x)
    w, stop = vec.width(x), start + count
    by = blocks.split_of(x, vec.scalar_like(x, scale_log2e), 0.0, lowest, up)
    reference, bound, zero = vec.full(x, m), vec.full(x, beyond), vec.full(x, 0.0)
    t0 = t1 = vec.full(x, -np.inf)
    total, down, above = 0.0, 0.0, 0
    for first in range(start, stop, 64 * w):  # short sums, whose roundings do not pile up as those of a long one
        end = min(first + 64 * w, stop)
        whole = first + (end - first) // (4 * w) * (4 * w)
        s0 = s1 = s2 = s3 = d0 = d1 = d2 = d3 = zero
        for k in range(first, whole, 4 * w):
            memory.prefetch_ahead(x, k)
            memory.prefetch_ahead(x, k + 2 * w)
            v0, v1 = memory.load_pair(x, k)
            v2, v3 = memory.load_pair(x, k + 2 * w)
            t0, s0, d0 = deep_step(x, v0, reference, by, t0, s0, d0)
            t1, s1, d1 = deep_step(x, v1, reference, by, t1, s1, d1)
            t0, s2, d2 = deep_step(x, v2, reference, by, t0, s2, d2)
            t1, s3, d3 = deep_step(x, v3, reference, by, t1, s3, d3)
            above += count_above(v0, bound) + count_above(v1, bound) + count_above(v2, bound) + count_above(v3, bound)
        for k in range(whole, end, w):
            v = memory.load_some(x, k, end - k, -np.inf)
            t0, s0, d0 = deep_step(x, v, reference, by, t0, s0, d0)
            above += count_above(v, bound)
        total += vec.total(s0, s1, s2, s3)
        down += vec.total(d0, d1, d2, d3)
    return vec.top(t0, t1, t0, t1), math.ldexp(total, -int(up)), -math.ldexp(down, -int(up)), above


@jit
def see_plain(x, start, count, scale_log2e, beyond):
    """The same relative to the maximum, from a guess of it where that is good enough. sum e is NaN where the block holds
    one, inf with a +inf, 0 with -inf alone."""
    _, _, _, _, _, _, _, headroom = blocks.limits(x)
    m = blocks.first_max(x, start, count)
    if np.isfinite(m):
        top, s, d, above = see(x, start, count, m, scale_log2e, beyond)
        gap = (top - m) * vec.scalar_like(x, scale_log2e)
        if gap < headroom / 4:
            lower = np.exp2(-gap)
            return top, s * lower, (d + (top - m) * s) * lower, above
    m = blocks.vector_max(x, start, count)
    top, s, d, above = see(x, start, count, m if m > -np.inf else 0.0, scale_log2e, beyond)
    if top == np.inf:
        s = np.nan if lanes.find_first(x, start, count, np.inf) >= 0 else np.inf
    return top, s, d, above


@jit
def see_block(a, n, i, b, beyond):
    """(largest logit, maximum of z, sum e, sum e*(z_m - z), how many logits are above `beyond` or NaN) of a block."""
    first, count = span(n, b)
    top, s, d, above = see_plain(a.x, n.x0 + i * n.x_step + first, count, n.inner * LOG2_E, beyond)
    if n.cap == 0:
        return top, top, s, d * n.inner, above
    z = memory.of(block_of(a, n, i, b))
    z_m, s, d, _ = see_plain(z, ZERO, count, LOG2_E, np.inf)
    return top, z_m, s, d, above


@jit
def depth_of(a, n, i, b, m):
    """sum e*(z_m - z) of a block whose maximum m is known, which costs no digit."""
    z = memory.of(block_of(a, n, i, b))
    return see(z, ZERO, span(n, b)[1], m, n.inner * LOG2_E, np.inf)[2] * n.inner


@jit
def mass_of(a, n, i, b):
    """(maximum of z, sum e) of a block."""
    first, count = span(n, b)
    if n.cap == 0:
        could, m, s = blocks.max_exp_sum(a.x, n.x0 + i * n.x_step + first, count, n.inner * LOG2_E, a, n, (), BLOCK)
        if could:
            return m, s
    _, m, s, _, _ = see_block(a, n, i, b, np.inf)
    return m, s


# ---- exps aside -------------------------------------------------------------------------------------------------


@jit
def put_aside(a, n, i, b, z, m, k, stop, bound):
    """a.z = exp(z - z_m) of some classes of block b, 0 where the logit is not above bound; their sum. z, the block as it is
    computed with, may be a.z itself."""
    start, w = n.x0 + i * n.x_step + b * BLOCK, vec.width(a.z)
    _, _, _, _, lowest, up, _, _ = blocks.limits(z)
    by = blocks.split_of(z, vec.scalar_like(z, n.inner * LOG2_E), 0.0, lowest, up)
    reference, lower, bounds = vec.full(z, m if m > -np.inf else 0.0), vec.full(z, 2.0**-up), vec.full(z, bound)
    total, zero = 0.0, vec.full(z, 0.0)
    for first in range(k, stop, lanes.RUN * w):
        end = min(first + lanes.RUN * w, stop)
        s = zero
        for at in range(first, end, w):
            v, x = lanes.load(z, at, end - at, -np.inf), lanes.load(a.x, start + at, end - at, -np.inf)
            e = vec.keep_above(blocks.exp2_split(z, v - reference, by) * lower, x, bounds)
            lanes.store(a.z, at, end - at, e, False)
            s = s + e
        total += vec.total(s, zero, zero, zero)
    return total


@sum_jit
def total_of(e):
    s = 0.0
    for k in range(len(e)):
        s += np.float64(e[k])
    return s


@inlined
def run_aside(a, k, count):
    return total_of(memory.as_array(a.z, k, min(RUN, count - k)))


@jit
def rest_aside(a, n, i, f):
    """_numba_states.rest_of, with the best block's exps aside where the sum is small."""
    total = f.best_sum + f.other
    if np.isinf(f.m) or np.isnan(total):
        return np.nan
    if total >= 2:
        return total - 1
    count, k, alone = span(n, f.best)[1], 0, 0.0
    put_aside(a, n, i, f.best, memory.of(block_of(a, n, i, f.best)), f.m, ZERO, count, -np.inf)
    while k < count - 1 and a.z[k] != 1:
        k += 1
    a.z[k] = 0
    for k in range(0, count, RUN):
        alone += run_aside(a, k, count)
    return f.other + alone
