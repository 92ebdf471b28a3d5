"""[1] What is done to one block of a row: maximum and sum in one reading, exps in place, the plain ways of writing.

exp is 2^t: t = n + f with |f| <= 1/2, 2^f by a polynomial, 2^n put together from its bits (vec.power).
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit
from ._numba_math import C32, C32_FLOOR, C64

LOG2_E = 1 / math.log(2)
WIDTH, GROUP = vec.LANES, 8 * vec.LANES  # classes: of one vector; of the eight that are summed apart
PIECE = 1024  # classes read, then written, in turn: memory does both at once

# MAGIC: adding it rounds to an integer, which then stands, biased as an exponent is, in the last bits.
# LOW: powers below are made about 2^LOW. RAISE: kept exps are 2^RAISE too large, clear of the subnormals, and
# cut off at 2^LOWEST. LARGE: beyond, MAGIC - c is no exact integer. HEADROOM: powers of two that a term may reach.
#           MAGIC                 LOW      LOWEST   RAISE  LARGE    HEADROOM
LIMITS32 = (1.5 * 2.0**23 + 127, -120.0, -180.0, 64.0, 2.0**21, 60.0)
LIMITS64 = (1.5 * 2.0**52 + 1023, -1000.0, -1500.0, 512.0, 2.0**50, 400.0)


def limits(x):
    """LIMITS of the dtype in which the carrier x is computed."""
    raise NotImplementedError("compiled only")


@overload(limits, inline="always")
def _limits(x):
    return (lambda x: LIMITS64) if x.dtype == types.float64 else (lambda x: LIMITS32)


def _series(c):
    @inlined
    def series(x, f):
        """c[0] + f*(c[1] + f*(c[2] + ...))."""
        p = vec.full(x, c[-1])
        for i in range(len(c) - 2, -1, -1):
            p = vec.fma(p, f, vec.full(x, c[i]))
        return p

    return series


series32, series64, series_floor32 = _series(C32), _series(C64), _series(C32_FLOOR)


def exp2_of(x, f, power):
    """2^f * power."""
    raise NotImplementedError("compiled only")


@overload(exp2_of, inline="always")
def _exp2_of(x, f, power):
    def single(x, f, power):
        return vec.fma(series32(x, f) * f, power, power)

    def double(x, f, power):
        return vec.fma(series64(x, f) * f, power, power)

    return double if x.dtype == types.float64 else single


def exp2_scaled(x, t):
    """2^t, by VREDUCE and VSCALEF, which takes floor(t): doubles, whose series is for |f| <= 1/2, give it an integer."""
    raise NotImplementedError("compiled only")


@overload(exp2_scaled, inline="always")
def _exp2_scaled(x, t):
    def single(x, t):
        f = vec.fraction(t)
        return vec.scaled(vec.fma(series_floor32(x, f), f, vec.full(x, 1.0)), t)

    def double(x, t):
        f = vec.fraction(t)
        return vec.scaled(vec.fma(series64(x, f), f, vec.full(x, 1.0)), t - f)

    return double if x.dtype == types.float64 else single


@inlined
def exp2_split(x, v, log2e, shift, low):
    """2^(v*log2e - c), c an even integer, shift = MAGIC - c: the split is exact however far the exponent is from 0."""
    v = vec.larger(low, v)
    k = vec.fma(v, log2e, shift)
    return exp2_of(x, vec.fma(v, log2e, shift - k), vec.power(k))


@inlined
def exp2_raised(x, t, magic, low):
    """2^(t + RAISE) for t <= 0, magic = MAGIC + RAISE, low = LOWEST."""
    t = vec.larger(low, t)
    k = t + magic
    return exp2_of(x, t - (k - magic), vec.power(k))


@inlined
def near(t):
    """The nearest even integer: a tie of x*log2e - c is then rounded as one of x*log2e, whatever c."""
    return 2 * np.rint(t / 2)


@inlined
def first_max(x, start, count):
    v = memory.load_some(x, start, min(count, WIDTH), -np.inf)
    return vec.top(v, v, v, v)


@inlined
def fused_step(x, v, m, s, log2e, shift, low):
    """The next vector's part of maximum and sum."""
    return vec.larger(v, m), s + exp2_split(x, v, log2e, shift, low)


@inlined
def last_step(x, k, stop, m, s, log2e, shift, low):
    """The same of x[k:stop], which may be short or nothing."""
    v = memory.load_some(x, k, stop - k, -np.inf)
    return vec.larger(v, m), s + vec.keep_some(exp2_split(x, v, log2e, shift, low), stop - k)


def write_late(a, n, late, start, stop):
    """Write the classes start to stop of the block that `late` describes; () is nobody's. Overloaded in _numba_rows."""
    raise NotImplementedError("compiled only")


@jit
def max_exp_sum(x, start, count, scale_log2e, a, n, late):
    """(whether it could, maximum m, sum exp(z - z_m)) of a block, in one reading, z = x*scale.

    e = 2^(x*log2e - c) with c guessed from the first vector: useless where that is -inf or large, or more than
    2^HEADROOM too low. A NaN is in the sum, not in the maximum. The block `late` is written in any case, piece by piece.
    """
    magic, lowest, _, _, large, headroom = limits(x)
    one = vec.scalar_like(x, scale_log2e)
    c = near(first_max(x, start, count) * one)
    if not abs(c) < large:
        write_late(a, n, late, 0, count)
        return False, 0.0, 0.0
    log2e, shift, low = vec.full(x, one), vec.full(x, magic - c), vec.full(x, (c + lowest) / one)
    m0 = m1 = m2 = m3 = vec.full(x, -np.inf)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = vec.full(x, 0.0)
    for piece in range(0, count, PIECE):
        end = min(piece + PIECE, count)
        write_late(a, n, late, piece, end)
        whole = start + piece + (end - piece) // GROUP * GROUP
        for k in range(start + piece, whole, GROUP):
            m0, s0 = fused_step(x, memory.load(x, k), m0, s0, log2e, shift, low)
            m1, s1 = fused_step(x, memory.load(x, k + WIDTH), m1, s1, log2e, shift, low)
            m2, s2 = fused_step(x, memory.load(x, k + 2 * WIDTH), m2, s2, log2e, shift, low)
            m3, s3 = fused_step(x, memory.load(x, k + 3 * WIDTH), m3, s3, log2e, shift, low)
            m0, s4 = fused_step(x, memory.load(x, k + 4 * WIDTH), m0, s4, log2e, shift, low)
            m1, s5 = fused_step(x, memory.load(x, k + 5 * WIDTH), m1, s5, log2e, shift, low)
            m2, s6 = fused_step(x, memory.load(x, k + 6 * WIDTH), m2, s6, log2e, shift, low)
            m3, s7 = fused_step(x, memory.load(x, k + 7 * WIDTH), m3, s7, log2e, shift, low)
        if whole < start + end:
            stop = start + end
            m0, s0 = last_step(x, whole, stop, m0, s0, log2e, shift, low)
            m1, s1 = last_step(x, whole + WIDTH, stop, m1, s1, log2e, shift, low)
            m2, s2 = last_step(x, whole + 2 * WIDTH, stop, m2, s2, log2e, shift, low)
            m3, s3 = last_step(x, whole + 3 * WIDTH, stop, m3, s3, log2e, shift, low)
            m0, s4 = last_step(x, whole + 4 * WIDTH, stop, m0, s4, log2e, shift, low)
            m1, s5 = last_step(x, whole + 5 * WIDTH, stop, m1, s5, log2e, shift, low)
            m2, s6 = last_step(x, whole + 6 * WIDTH, stop, m2, s6, log2e, shift, low)
            m3, s7 = last_step(x, whole + 7 * WIDTH, stop, m3, s7, log2e, shift, low)
    m = vec.top(m0, m1, m2, m3)
    exact = near(m * one)  # from guess to exact is a power of two: the sum does not depend on the guess
    if not exact - c < headroom:
        return False, m, 0.0
    s = vec.total(s0, s1, s2, s3) + vec.total(s4, s5, s6, s7)
    return True, m, math.ldexp(s, int(c - exact)) * np.exp2(vec.fused(-m, one, exact))


@jit
def vector_max(x, start, count):
    """The maximum of x[start:start + count], NaN apart."""
    m0 = m1 = m2 = m3 = vec.full(x, -np.inf)
    stop = start + count
    whole = start + count // (4 * WIDTH) * (4 * WIDTH)
    for k in range(start, whole, 4 * WIDTH):
        m0, m1 = vec.larger(memory.load(x, k), m0), vec.larger(memory.load(x, k + WIDTH), m1)
        m2, m3 = vec.larger(memory.load(x, k + 2 * WIDTH), m2), vec.larger(memory.load(x, k + 3 * WIDTH), m3)
    for k in range(whole, stop, WIDTH):
        m0 = vec.larger(memory.load_some(x, k, stop - k, -np.inf), m0)
    return vec.top(m0, m1, m2, m3)


# ---- vector by vector --------------------------------------------------------------------------------------------


@inlined
def each_vector(step, with_these, x, x0, out, out0, count, streams, ahead):
    """out = step(x), aligned to out's vectors after a head; where `ahead` is not None, x[ahead:] is fetched meanwhile."""
    k = min(memory.head(out, out0), count)
    if k > 0:
        memory.store_some(out, out0, k, step(x, memory.load_some(x, x0, k, 0.0), with_these))
    while k + WIDTH <= count:
        if ahead is not None:
            memory.prefetch(x, ahead + k)
        e = step(x, memory.load(x, x0 + k), with_these)
        if streams:
            memory.stream(out, out0 + k, e)
        else:
            memory.store(out, out0 + k, e)
        k += WIDTH
    if k < count:
        v = memory.load_some(x, x0 + k, count - k, 0.0)
        memory.store_some(out, out0 + k, count - k, step(x, v, with_these))


@inlined
def times_step(x, v, factors):
    return v * factors[0] * factors[1]


# ---- exps kept in place -----------------------------------------------------------------------------------------


@inlined
def kept_step(x, k, s, log2e, shift, low, ahead):
    memory.prefetch(x, ahead)
    e = exp2_split(x, memory.load(x, k), log2e, shift, low)
    memory.store(x, k, e)
    return s + e


@inlined
def last_kept_step(x, k, stop, s, log2e, shift, low):
    e = vec.keep_some(exp2_split(x, memory.load_some(x, k, stop - k, 0.0), log2e, shift, low), stop - k)
    memory.store_some(x, k, stop - k, e)
    return s + e


@jit
def exp_in_place(x, start, count, scale_log2e, ahead):
    """Replace logits by e = 2^((x - reference)*log2e - c + RAISE); (maximum, sum exp(z - z_m), reference, c).

    c makes e about 2^RAISE at the maximum; it is 0, and the reference the maximum, where MAGIC - c would not be exact.
    Fetches x[ahead:] meanwhile. s is NaN where the block holds one, inf with a +inf, 0 with -inf alone.
    """
    magic, _, lowest, up, large, _ = limits(x)
    one, stop = vec.scalar_like(x, scale_log2e), start + count
    m = vector_max(x, start, count)
    c = near(m * one)
    if not abs(c) < large:
        return kept_by_far(x, start, count, one, m)
    log2e, shift, low = vec.full(x, one), vec.full(x, magic + up - c), vec.full(x, (c + lowest) / one)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = vec.full(x, 0.0)
    whole = start + count // GROUP * GROUP
    for k in range(start, whole, GROUP):
        s0 = kept_step(x, k, s0, log2e, shift, low, ahead + k - start)
        s1 = kept_step(x, k + WIDTH, s1, log2e, shift, low, ahead + k - start + WIDTH)
        s2 = kept_step(x, k + 2 * WIDTH, s2, log2e, shift, low, ahead + k - start + 2 * WIDTH)
        s3 = kept_step(x, k + 3 * WIDTH, s3, log2e, shift, low, ahead + k - start + 3 * WIDTH)
        s4 = kept_step(x, k + 4 * WIDTH, s4, log2e, shift, low, ahead + k - start + 4 * WIDTH)
        s5 = kept_step(x, k + 5 * WIDTH, s5, log2e, shift, low, ahead + k - start + 5 * WIDTH)
        s6 = kept_step(x, k + 6 * WIDTH, s6, log2e, shift, low, ahead + k - start + 6 * WIDTH)
        s7 = kept_step(x, k + 7 * WIDTH, s7, log2e, shift, low, ahead + k - start + 7 * WIDTH)
    if whole < stop:
        s0 = last_kept_step(x, whole, stop, s0, log2e, shift, low)
        s1 = last_kept_step(x, whole + WIDTH, stop, s1, log2e, shift, low)
        s2 = last_kept_step(x, whole + 2 * WIDTH, stop, s2, log2e, shift, low)
        s3 = last_kept_step(x, whole + 3 * WIDTH, stop, s3, log2e, shift, low)
        s4 = last_kept_step(x, whole + 4 * WIDTH, stop, s4, log2e, shift, low)
        s5 = last_kept_step(x, whole + 5 * WIDTH, stop, s5, log2e, shift, low)
        s6 = last_kept_step(x, whole + 6 * WIDTH, stop, s6, log2e, shift, low)
        s7 = last_kept_step(x, whole + 7 * WIDTH, stop, s7, log2e, shift, low)
    s = vec.total(s0, s1, s2, s3) + vec.total(s4, s5, s6, s7)
    return m, math.ldexp(s, -int(up)) * np.exp2(vec.fused(-m, one, c)), 0.0, c


@jit
def kept_by_far(x, start, count, one, m):
    """exp_in_place for huge or infinite maxima: plain differences."""
    magic, _, lowest, up, _, _ = limits(x)
    base = m if m > -np.inf else 0.0
    log2e, reference = vec.full(x, one), vec.full(x, base)
    raised, low = vec.full(x, magic + up), vec.full(x, lowest)
    s, zero, stop = vec.full(x, 0.0), vec.full(x, 0.0), start + count
    holds_nan = np.isinf(m) and has_nan(x, start, stop)
    for k in range(start, stop, WIDTH):
        v = memory.load_some(x, k, stop - k, 0.0)
        e = vec.keep_some(exp2_raised(x, (v - reference) * log2e, raised, low), stop - k)
        memory.store_some(x, k, min(stop - k, WIDTH), e)
        s = s + e
    total = math.ldexp(vec.total(s, zero, zero, zero), -int(up))
    if np.isinf(m):
        total = np.nan if holds_nan else (np.inf if m > 0 else 0.0)
    return m, total, base, 0.0


@jit
def has_nan(x, start, stop):
    for k in range(start, stop):
        if np.isnan(x[k]):
            return True
    return False


@jit
def multiply(x, start, count, a):
    """x[start:start + count] *= a, by two factors where one would be subnormal."""
    _, _, _, up, _, _ = limits(x)
    small = 2.0**-up
    tiny = abs(a) < small
    first, last = vec.full(x, a / small if tiny else a), vec.full(x, small if tiny else 1.0)
    each_vector(times_step, (first, last), x, start, x, start, count, False, None)


@jit
def sum_of_others(x, start, count):
    """The sum of all kept exps but one of the largest. What was cut off at LOWEST, as a -inf is, counts for nothing."""
    _, _, lowest, up, _, _ = limits(x)
    least, m, found, s = 2.0 ** (lowest + up + 1), vector_max(x, start, count), False, 0.0
    for first in range(start, start + count, 64):  # short sums, whose roundings do not pile up as those of a long one
        part = 0.0
        for k in range(first, min(first + 64, start + count)):
            if not found and x[k] == m:
                found = True
            elif not x[k] <= least:
                part += np.float64(x[k])
        s += part
    return s


# ---- writing ----------------------------------------------------------------------------------------------------


def exp_step(x, v, with_these):
    """exp(z - z_m)*first*last - less, with these: m, log2e, first, last, less. VSCALEF underflows gradually by itself;
    without it the power is RAISE too large, and `first` or `last` lowers it."""
    raise NotImplementedError("compiled only")


@overload(exp_step, inline="always")
def _exp_step(x, v, with_these):
    def by_scaling(x, v, with_these):
        m, log2e, _, last, less = with_these
        return vec.fma(exp2_scaled(x, (v - m) * log2e), last, less)

    def by_bits(x, v, with_these):
        m, log2e, first, last, less = with_these
        magic, _, lowest, up, _, _ = limits(x)
        e = exp2_raised(x, (v - m) * log2e, vec.full(x, magic + up), vec.full(x, lowest))
        return vec.fma(e * first, last, less)

    return by_scaling if vec.SCALES else by_bits


@jit
def write_exps(x, x0, out, out0, count, m, scale_log2e, factor, less, streams, ahead):
    """out = factor*exp(z - z_m) - less. out is aligned after a head; x[ahead:] is fetched meanwhile."""
    _, _, _, up, _, _ = limits(x)
    lower = 2.0**-up
    first, last = (lower, factor) if vec.SCALES or abs(factor) > 1 else (factor, lower)  # only the last may underflow
    with_these = (vec.full(x, m), vec.full(x, scale_log2e), vec.full(x, first), vec.full(x, last), vec.full(x, -less))
    each_vector(exp_step, with_these, x, x0, out, out0, count, streams, ahead)


@inlined
def log_step(x, v, with_these):
    return vec.fma(v - with_these[0], with_these[1], with_these[2])


@jit
def write_logs(x, x0, out, out0, count, m, scale, less, streams, ahead):
    """out = (x - m)*scale - less."""
    with_these = (vec.full(x, m), vec.full(x, scale), vec.full(x, -less))
    each_vector(log_step, with_these, x, x0, out, out0, count, streams, ahead)
