"""[1] Exps kept in the output, or aside, until they are multiplied, and their sum without the largest."""

import math
from typing import NamedTuple

import numpy as np
from numba.extending import overload

from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_blocks import (
    LOG2_E,
    each_vector,
    exp2_split,
    first_max,
    has_nan,
    limits,
    most,
    near,
    split_of,
    vector_max,
    write_late,
)
from ._numba_cache import inlined, jit
from ._numba_lanes import below, find_first, lowering
from ._numba_types import Before

HEADROOM = 20  # powers of two that kept exps may be too large
AHEAD = 128  # vectors that are fetched ahead


@inlined
def kept_step(x, k, out, at, s, t, by, ahead):
    memory.prefetch_pair(x, ahead)
    v, w = memory.load_pair(x, k)
    e, f = exp2_split(x, v, by), exp2_split(x, w, by)
    memory.store_pair(out, at, e, f)
    return s + e, t + f


@inlined
def last_kept_step(x, k, stop, out, at, s, by):
    e = vec.keep_some(exp2_split(x, memory.load_some(x, k, stop - k, 0.0), by), stop - k)
    memory.store_some(out, at, stop - k, e)
    return s + e


@inlined
def seen_step(x, k, m, n):
    v, w = memory.load_pair(x, k)
    return vec.larger(v, m), vec.larger(w, n)


@jit
def exps(x, start, count, out, at, scale_log2e, m, then, n_then, ahead, a, n, late, piece):
    """out[at:] = e = 2^(x*log2e - c + RAISE); (whether it could, m, sum of 2^(x*log2e - c), c, the other maximum).

    m: the maximum, or what is taken for it, or NaN where it is not known; c makes e about 2^RAISE there. Meanwhile the
    maximum of x[then:then + n_then] is taken, which is the next block, before its exps may stand in its place, or this
    one, where m is a guess; and x[ahead:] is fetched; and the block `late` is written, `piece` by piece. Nothing is done
    where MAGIC - c would not be exact. The sum is NaN where the block holds one.
    """
    _, _, large, _, lowest, up, _, _ = limits(x)
    log2e, w, stop = vec.scalar_like(x, scale_log2e), vec.width(x), start + count
    if np.isnan(m):
        m = vector_max(x, start, count)
    c = near(m * log2e)
    if not abs(c) < large:
        return False, m, 0.0, 0.0, np.nan
    m0 = m1 = m2 = m3 = vec.full(x, -np.inf)
    seen, n_seen = then, n_then // (8 * w) * (8 * w)
    by = split_of(x, log2e, c, lowest, up)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = vec.full(x, 0.0)
    whole = count // (8 * w) * (8 * w)
    for first in range(0, count, piece):
        write_late(a, n, late, first, min(first + piece, count))
        for k in range(first, min(first + piece, whole), 8 * w):
            if seen < then + n_seen:
                m0, m1 = seen_step(x, seen, m0, m1)
                m2, m3 = seen_step(x, seen + 2 * w, m2, m3)
                m0, m1 = seen_step(x, seen + 4 * w, m0, m1)
                m2, m3 = seen_step(x, seen + 6 * w, m2, m3)
                seen += 8 * w
            s0, s1 = kept_step(x, start + k, out, at + k, s0, s1, by, ahead + k)
            s2, s3 = kept_step(x, start + k + 2 * w, out, at + k + 2 * w, s2, s3, by, ahead + k + 2 * w)
            s4, s5 = kept_step(x, start + k + 4 * w, out, at + k + 4 * w, s4, s5, by, ahead + k + 4 * w)
            s6, s7 = kept_step(x, start + k + 6 * w, out, at + k + 6 * w, s6, s7, by, ahead + k + 6 * w)
    if whole < count:
        k, at = start + whole, at + whole
        s0 = last_kept_step(x, k, stop, out, at, s0, by)
        s1 = last_kept_step(x, k + w, stop, out, at + w, s1, by)
        s2 = last_kept_step(x, k + 2 * w, stop, out, at + 2 * w, s2, by)
        s3 = last_kept_step(x, k + 3 * w, stop, out, at + 3 * w, s3, by)
        s4 = last_kept_step(x, k + 4 * w, stop, out, at + 4 * w, s4, by)
        s5 = last_kept_step(x, k + 5 * w, stop, out, at + 5 * w, s5, by)
        s6 = last_kept_step(x, k + 6 * w, stop, out, at + 6 * w, s6, by)
        s7 = last_kept_step(x, k + 7 * w, stop, out, at + 7 * w, s7, by)
    s = vec.total(s0, s1, s2, s3) + vec.total(s4, s5, s6, s7)
    next_m = max(vec.top(m0, m1, m2, m3), vector_max(x, seen, then + n_then - seen)) if n_then > 0 else np.nan
    return True, m, math.ldexp(s, -int(up)), c, next_m


@jit
def guessed_exps(x, start, count, out, at, scale_log2e, a, n, late, piece):
    """The same where logits stay: (whether it could, maximum, sum exp(z - z_m), c), with c guessed from the first vector,
    or from all where that is of no use. `late` is written in any case."""
    log2e, m, ahead = vec.scalar_like(x, scale_log2e), first_max(x, start, count), start + AHEAD * vec.width(x)
    for _ in range(2):
        could, _, s, c, top = exps(x, start, count, out, at, scale_log2e, m, start, count, ahead, a, n, late, piece)
        late = written(late, could)
        if could and near(top * log2e) - c < HEADROOM:
            return True, top, about(x, s, c, top, scale_log2e), c
        m = vector_max(x, start, count)
    write_late(a, n, late, 0, count)
    return False, m, 0.0, 0.0


class Late(NamedTuple):
    """A block of the row before whose exps are aside, from a.z[at] on: to be multiplied by `by`, or if that is NaN, written
    from its logits. row: -1 where it is written."""

    row: int
    b: int
    at: int
    by: float
    before: Before


def written(late, is_written):
    """`late` as it is then."""
    raise NotImplementedError("compiled only")


@overload(written, inline="always")
def _written(late, is_written):
    if len(late) == 0:
        return lambda late, is_written: late
    return lambda late, is_written: Late(-1 if is_written else late.row, late.b, late.at, late.by, late.before)


@inlined
def about(x, s, c, m, scale_log2e):
    """A sum of 2^(x*log2e - c) as one of exp(z - z_m)."""
    log2e = vec.scalar_like(x, scale_log2e)
    exact = near(m * log2e)
    return math.ldexp(s, int(c - exact)) * np.exp2(vec.fused(-m, log2e, exact))


@jit
def far_exps(x, start, count, scale_log2e, m):
    """In place, for a huge or infinite maximum m, e of plain differences; (sum exp(z - z_m), reference).

    s is NaN where the block holds one, inf with a +inf, 0 with -inf alone.
    """
    _, _, _, _, lowest, up, _, _ = limits(x)
    base = m if m > -np.inf else 0.0
    by, reference = split_of(x, vec.scalar_like(x, scale_log2e), 0.0, lowest, up), vec.full(x, base)
    s, zero, stop = vec.full(x, 0.0), vec.full(x, 0.0), start + count
    holds_nan = np.isinf(m) and has_nan(x, start, stop)
    for k in range(start, stop, vec.width(x)):
        v = memory.load_some(x, k, stop - k, 0.0)
        e = vec.keep_some(exp2_split(x, v - reference, by), stop - k)
        memory.store_some(x, k, stop - k, e)
        s = s + e
    total = math.ldexp(vec.total(s, zero, zero, zero), -int(up))
    if np.isinf(m):
        total = np.nan if holds_nan else (np.inf if m > 0 else 0.0)
    return total, base


@inlined
def times_step(x, v, with_these):
    first, last, most = with_these
    return vec.smaller(most, v * first * last)


@jit
def multiply(x, start, out, at, count, a, factor, streams):
    """out[at:] = what is 2^RAISE too large in x[start:start + count] times a, but no more than `factor`."""
    first, last = lowering(x, a)
    with_these = vec.full(x, first), vec.full(x, last), most(x, factor, 0.0)
    each_vector(times_step, with_these, x, start, out, at, count, streams)


@inlined
def other_step(x, k, stop, s, least):
    v = memory.load_some(x, k, stop - k, 0.0)
    return s + vec.keep_above(v, v, least)


@jit
def sum_of_others(x, start, count):
    """The sum of all kept exps but one of the largest. What was cut off at LOWEST, as a -inf is, counts for nothing."""
    _, _, _, _, lowest, up, _, _ = limits(x)
    least, w, stop = vec.full(x, 2.0 ** (lowest + up + 1)), vec.width(x), start + count
    at = start + find_first(x, start, count, below(x, vector_max(x, start, count)))
    largest, s = x[at], 0.0
    x[at] -= largest  # out of the sum for as long as it takes
    for first in range(start, stop, 64 * w):  # in runs of 16 terms a lane, whose roundings do not pile up
        s0 = s1 = s2 = s3 = vec.full(x, 0.0)
        for k in range(first, min(first + 64 * w, stop), 4 * w):
            s0, s1 = other_step(x, k, stop, s0, least), other_step(x, k + w, stop, s1, least)
            s2, s3 = other_step(x, k + 2 * w, stop, s2, least), other_step(x, k + 3 * w, stop, s3, least)
        s += vec.total(s0, s1, s2, s3)
    x[at] = largest
    return s


@jit
def rest(e, start, count, top, reference, c, scale, other):
    """`other` and the sum of kept exps without one of the largest, relative to the maximum: together, as they are fused."""
    _, _, _, _, _, up, _, _ = limits(e)
    others = math.ldexp(sum_of_others(e, start, count), -int(up))
    return other + others * np.exp2(vec.fused(reference - top, vec.scalar_like(e, scale * LOG2_E), c))
