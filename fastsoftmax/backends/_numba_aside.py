"""[1] A block looked at with its maximum known: its sums, and its exps aside, in the room for one block."""

import math

import numpy as np

from . import _numba_blocks as blocks
from . import _numba_lanes as lanes
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, sum_jit
from ._numba_states import block_of
from ._numba_types import LOG2_E, span

RUN = 256  # exps that are added up at a time

# ---- one reading ------------------------------------------------------------------------------------------------


@jit
def largest(a, n, i, b):
    """The largest logit of block b, NaN apart."""
    first, count = span(n, b)
    return blocks.vector_max(a.x, n.x0 + i * n.x_step + first, count)


@jit
def find_first(x, start, count, bound):
    """The first of x[start:start + count] above bound or NaN: how far from start, or -1."""
    bounds = vec.full(x, bound)
    for k in range(0, count, vec.width(x)):
        bits = vec.bits_above(lanes.load(x, start + k, count - k, -np.inf), bounds)
        if bits:
            return k + vec.first_bit(bits)
    return -1


@inlined
def deep_step(x, v, m, by, s, d):
    """s and d, more by 2^RAISE*e and by e*(x - m) of that, e = exp(z - z_m)."""
    depth = vec.larger(by[2], v - m)
    e = blocks.exp2_cut(x, depth, by)
    return s + e, vec.fma(e, depth, d)


@inlined
def count_above(v, bound):
    return vec.count_bits(vec.bits_above(v, bound))


@jit
def see(x, start, count, m, scale_log2e, beyond):
    """(sum e, sum e*(m - x), how many are above `beyond` or NaN) of a block with the maximum m."""
    _, _, _, _, lowest, up, _, _ = blocks.limits(x)
    w, stop = vec.width(x), start + count
    by = blocks.split_of(x, vec.scalar_like(x, scale_log2e), 0.0, lowest, up)
    top, bound, zero = vec.full(x, m), vec.full(x, beyond), vec.full(x, 0.0)
    total, down, above = 0.0, 0.0, 0
    for first in range(start, stop, 64 * w):  # short sums, whose roundings do not pile up as those of a long one
        end = min(first + 64 * w, stop)
        whole = first + (end - first) // (4 * w) * (4 * w)
        s0 = s1 = s2 = s3 = d0 = d1 = d2 = d3 = zero
        for k in range(first, whole, 4 * w):
            memory.prefetch_pair(x, k + count)
            memory.prefetch_pair(x, k + count + 2 * w)
            v0, v1 = memory.load_pair(x, k)
            v2, v3 = memory.load_pair(x, k + 2 * w)
            s0, d0 = deep_step(x, v0, top, by, s0, d0)
            s1, d1 = deep_step(x, v1, top, by, s1, d1)
            s2, d2 = deep_step(x, v2, top, by, s2, d2)
            s3, d3 = deep_step(x, v3, top, by, s3, d3)
            above += count_above(v0, bound) + count_above(v1, bound) + count_above(v2, bound) + count_above(v3, bound)
        for k in range(whole, end, w):
            v = memory.load_some(x, k, end - k, -np.inf)
            s0, d0 = deep_step(x, v, top, by, s0, d0)
            above += count_above(v, bound)
        total += vec.total(s0, s1, s2, s3)
        down += vec.total(d0, d1, d2, d3)
    return math.ldexp(total, -int(up)), -math.ldexp(down, -int(up)), above


@jit
def see_block(a, n, i, b, top, beyond):
    """(maximum of z, sum e, sum e*(z_m - z), how many logits are above `beyond` or NaN) of a block whose largest is top.

    sum e is NaN where the block holds one, inf with a +inf, 0 with -inf alone."""
    first, count = span(n, b)
    start = n.x0 + i * n.x_step + first
    s, d, above = see(a.x, start, count, top if top > -np.inf else 0.0, n.inner * LOG2_E, beyond)
    if n.cap != 0:
        z = memory.of(block_of(a, n, i, b))
        top = blocks.vector_max(z, 0, count)
        s, d, _ = see(z, 0, count, top, LOG2_E, np.inf)
    elif top == np.inf:
        s = np.nan if find_first(a.x, start, count, np.inf) >= 0 else np.inf
    return top, s, d * n.inner, above


# ---- exps aside -------------------------------------------------------------------------------------------------


@jit
def put_aside(a, n, i, b, m):
    """a.z = exp(z - z_m) of block b."""
    z, count = memory.of(block_of(a, n, i, b)), span(n, b)[1]
    _, _, _, _, lowest, up, _, _ = blocks.limits(z)
    by = blocks.split_of(z, vec.scalar_like(z, n.inner * LOG2_E), 0.0, lowest, up)
    reference, lower = vec.full(z, m if m > -np.inf else 0.0), vec.full(z, 2.0**-up)
    for k in range(0, count, vec.width(z)):
        v = lanes.load(z, k, count - k, 0.0)
        lanes.store(a.z, k, count - k, blocks.exp2_split(z, v - reference, by) * lower, False)


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
def total_aside(a, count):
    """Their sum."""
    total = 0.0
    for k in range(0, count, RUN):
        total += run_aside(a, k, count)
    return total


@jit
def rest_aside(a, n, i, f):
    """_numba_states.rest_of, with the best block's exps aside where the sum is small."""
    total = f.best_sum + f.other
    if np.isinf(f.m) or np.isnan(total):
        return np.nan
    if total >= 2:
        return total - 1
    put_aside(a, n, i, f.best, f.m)
    count, k = span(n, f.best)[1], 0
    while k < count - 1 and a.z[k] != 1:
        k += 1
    a.z[k] = 0
    return f.other + total_aside(a, count)
