"""[1] What is done to one block of a row: maximum and sum in one reading, the plain ways of writing.

exp is 2^t: t is a multiple of 1/STEPS, whose power is put together from its bits (vec.power), and a fraction, whose
power is a polynomial.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit
from ._numba_math import C32, C64

LOG2_E = 1 / math.log(2)
PIECE = 1024  # classes read, then written, in turn: memory does both at once

# (2^(f/STEPS) - 1)/f on |f| <= 1/2, minimax in the relative error of the power: with a table 5.4e-8 and 7.0e-18.
# MAGIC: adding it rounds to an integer, which then stands in the last bits, biased as an exponent is where STEPS is 1.
# LARGE: beyond, STEPS*c + MAGIC is no exact integer.
if vec.HAS_TABLES:
    SERIES32 = (0.0216611669896939601, 0.000234597217367866288)
    SERIES64 = (0.0433216987849966785, 0.000938384792808981889, 0.0000135508077763952194, 1.4676100328580907e-7,
                1.27161203956391151e-9, 9.18114549919102172e-12)
    MAGIC32, LARGE32, MAGIC64, LARGE64 = 1.5 * 2.0**23, 2.0**16, 1.5 * 2.0**52, 2.0**46
else:
    SERIES32, SERIES64 = C32, C64
    MAGIC32, LARGE32, MAGIC64, LARGE64 = 1.5 * 2.0**23 + 127, 2.0**21, 1.5 * 2.0**52 + 1023, 2.0**50

# LOW: powers below are made about 2^LOW. RAISE: what is kept or written is at first 2^RAISE too large, clear of the
# subnormals, and cut off at 2^LOWEST; LEAST is still a normal number when lowered. HEADROOM: powers of two that a term
# may reach.
#           STEPS                MAGIC    LARGE    LOW      LOWEST   RAISE  LEAST      HEADROOM
LIMITS32 = (float(vec.STEPS32), MAGIC32, LARGE32, -120.0, -191.0, 64.0, 2.0**-60, 60.0)
LIMITS64 = (float(vec.STEPS64), MAGIC64, LARGE64, -1000.0, -1535.0, 512.0, 2.0**-500, 400.0)


def limits(x):
    """LIMITS of the dtype in which the carrier x is computed."""
    raise NotImplementedError("compiled only")


@overload(limits, inline="always")
def _limits(x):
    return (lambda x: LIMITS64) if x.dtype == types.float64 else (lambda x: LIMITS32)


def series(c):
    @inlined
    def series(x, f):
        """c[0] + f*(c[1] + f*(c[2] + ...))."""
        p = vec.full(x, c[-1])
        for i in range(len(c) - 2, -1, -1):
            p = vec.fma(p, f, vec.full(x, c[i]))
        return p

    return series


series32, series64 = series(SERIES32), series(SERIES64)


def series_of(x, f):
    """(2^(f/STEPS) - 1)/f."""
    raise NotImplementedError("compiled only")


@overload(series_of, inline="always")
def _series_of(x, f):
    return (lambda x, f: series64(x, f)) if x.dtype == types.float64 else (lambda x, f: series32(x, f))


@inlined
def split_of(x, log2e, c, lowest, up):
    """By what v is split for 2^(v*log2e - c + up), c an even integer; v below (c + lowest)/log2e counts as that."""
    steps, magic, _, _, _, _, _, _ = limits(x)
    return vec.full(x, steps * log2e), vec.full(x, magic + steps * (up - c)), vec.full(x, (c + lowest) / log2e)


@inlined
def parts(x, v, by):
    """(power, p, f): the power of two is power*(1 + p*f). The split is exact however far the exponent is from 0."""
    return parts_of_cut(x, vec.larger(by[2], v), by)


@inlined
def parts_of_cut(x, v, by):
    """The same for v that was cut off at `low`."""
    log2e, shift, _ = by
    k = vec.fma(v, log2e, shift)
    f = vec.fma(v, log2e, shift - k)
    return vec.power(k), series_of(x, f), f


@inlined
def exp2_cut(x, v, by):
    power, p, f = parts_of_cut(x, v, by)
    return vec.fma(p * f, power, power)


@inlined
def exp2_split(x, v, by):
    power, p, f = parts(x, v, by)
    return vec.fma(p * f, power, power)


def add_exp2(x, s, v, by):
    """s and such a power more; for numbers of 16 bits in one operation less."""
    raise NotImplementedError("compiled only")


@overload(add_exp2, inline="always")
def _add_exp2(x, s, v, by):
    def fused(x, s, v, by):
        power, p, f = parts(x, v, by)
        return vec.fma(vec.fma(p, f, vec.full(x, 1.0)), power, s)

    return fused if x.dtype.bitwidth == 16 else (lambda x, s, v, by: s + exp2_split(x, v, by))


@inlined
def near(t):
    """The nearest even integer: a tie of x*log2e - c is then rounded as one of x*log2e, whatever c."""
    return 2 * np.rint(t / 2)


@inlined
def first_max(x, start, count):
    v = memory.load_some(x, start, count, -np.inf)
    return vec.top(v, v, v, v)


@inlined
def fused_step(x, k, m, n, s, t, by):
    """Two vectors' part of maxima and sums."""
    memory.prefetch_ahead(x, k)
    v, w = memory.load_pair(x, k)
    return vec.larger(v, m), vec.larger(w, n), add_exp2(x, s, v, by), add_exp2(x, t, w, by)


@inlined
def last_step(x, k, stop, m, s, by):
    """The same of one vector, x[k:stop], which may be short or nothing."""
    v = memory.load_some(x, k, stop - k, -np.inf)
    return vec.larger(v, m), s + vec.keep_some(exp2_split(x, v, by), stop - k)


def write_late(a, n, late, start, stop):
    """Write the classes start to stop of the block that `late` describes; () is nobody's. Overloaded in _numba_rows."""
    raise NotImplementedError("compiled only")


@jit
def max_exp_sum(x, start, count, scale_log2e, a, n, late, piece):
    """(whether it could, maximum m, sum exp(z - z_m)) of a block, in one reading, z = x*scale.

    e = 2^(x*log2e - c) with c guessed from the first vector, and from all where that is -inf or large, or more than
    2^HEADROOM too low. A NaN is in the sum, not in the maximum. The block `late` is written in any case, `piece` by piece.
    """
    _, _, large, lowest, _, _, _, headroom = limits(x)
    log2e, w, stop = vec.scalar_like(x, scale_log2e), vec.width(x), start + count
    c, is_written = near(first_max(x, start, count) * log2e), False
    if not abs(c) < large:
        write_late(a, n, late, 0, count)
        c, is_written = near(vector_max(x, start, count) * log2e), True
    while abs(c) < large:
        by = split_of(x, log2e, c, lowest, 0.0)
        m0 = m1 = m2 = m3 = vec.full(x, -np.inf)
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = vec.full(x, 0.0)
        for first in range(0, count, piece):
            end = min(first + piece, count)
            if not is_written:
                write_late(a, n, late, first, end)
            whole = start + first + (end - first) // (8 * w) * (8 * w)
            for k in range(start + first, whole, 8 * w):
                m0, m1, s0, s1 = fused_step(x, k, m0, m1, s0, s1, by)
                m2, m3, s2, s3 = fused_step(x, k + 2 * w, m2, m3, s2, s3, by)
                m0, m1, s4, s5 = fused_step(x, k + 4 * w, m0, m1, s4, s5, by)
                m2, m3, s6, s7 = fused_step(x, k + 6 * w, m2, m3, s6, s7, by)
            if whole < start + end:
                m0, s0 = last_step(x, whole, stop, m0, s0, by)
                m1, s1 = last_step(x, whole + w, stop, m1, s1, by)
                m2, s2 = last_step(x, whole + 2 * w, stop, m2, s2, by)
                m3, s3 = last_step(x, whole + 3 * w, stop, m3, s3, by)
                m0, s4 = last_step(x, whole + 4 * w, stop, m0, s4, by)
                m1, s5 = last_step(x, whole + 5 * w, stop, m1, s5, by)
                m2, s6 = last_step(x, whole + 6 * w, stop, m2, s6, by)
                m3, s7 = last_step(x, whole + 7 * w, stop, m3, s7, by)
        m, is_written = vec.top(m0, m1, m2, m3), True
        exact = near(m * log2e)  # from guess to exact is a power of two: the sum does not depend on the guess
        if exact - c < headroom:
            s = vec.total(s0, s1, s2, s3) + vec.total(s4, s5, s6, s7)
            return True, m, math.ldexp(s, int(c - exact)) * np.exp2(vec.fused(-m, log2e, exact))
        c = exact
    return False, 0.0, 0.0


@jit
def vector_max(x, start, count):
    """The maximum of x[start:start + count], NaN apart."""
    m0 = m1 = m2 = m3 = vec.full(x, -np.inf)
    w, stop = vec.width(x), start + count
    whole = start + count // (4 * w) * (4 * w)
    for k in range(start, whole, 4 * w):
        v0, v1 = memory.load_pair(x, k)
        v2, v3 = memory.load_pair(x, k + 2 * w)
        m0, m1, m2, m3 = vec.larger(v0, m0), vec.larger(v1, m1), vec.larger(v2, m2), vec.larger(v3, m3)
    for k in range(whole, stop, w):
        m0 = vec.larger(memory.load_some(x, k, stop - k, -np.inf), m0)
    return vec.top(m0, m1, m2, m3)


@jit
def has_nan(x, start, stop):
    for k in range(start, stop):
        if np.isnan(x[k]):
            return True
    return False


# ---- vector by vector --------------------------------------------------------------------------------------------


@inlined
def one_vector(step, with_these, x, at, out, out_at, n):
    memory.store_some(out, out_at, n, step(x, memory.load_some(x, at, n, 0.0), with_these))


@inlined
def each_vector(step, with_these, x, x0, out, out0, count, streams):
    """out = step(x), aligned to cache lines after a head."""
    w = vec.width(x)
    first = min(memory.head(out, out0), count)
    for k in range(0, first, w):
        one_vector(step, with_these, x, x0 + k, out, out0 + k, first - k)
    whole = first + (count - first) // (2 * w) * (2 * w)
    for k in range(first, whole, 2 * w):
        v0, v1 = memory.load_pair(x, x0 + k)
        e0, e1 = step(x, v0, with_these), step(x, v1, with_these)
        if streams:
            memory.stream_pair(out, out0 + k, e0, e1)
        else:
            memory.store_pair(out, out0 + k, e0, e1)
    for k in range(whole, count, w):
        one_vector(step, with_these, x, x0 + k, out, out0 + k, count - k)


# ---- writing ----------------------------------------------------------------------------------------------------


@inlined
def relative(x, m, scale_log2e):
    """(reference, c, exp(z - z_m) over 2^((x - reference)*log2e - c)): c an even integer that makes the power about 1 at
    the maximum m; or 0, and the reference m, where MAGIC - c would not be exact."""
    _, _, large, _, _, _, _, _ = limits(x)
    log2e = vec.scalar_like(x, scale_log2e)
    c = near(m * log2e)
    if abs(c) < large:
        return 0.0, c, np.exp2(vec.fused(-m, log2e, c))
    return 0.0 if np.isinf(m) else m, 0.0, 1.0


@inlined
def most(x, factor, less):
    """What factor*p - less does not exceed: a power at the maximum may be rounded up."""
    return vec.full(x, factor if factor > 0 else np.inf) + vec.full(x, -less)


@inlined
def exp_step(x, v, with_these):
    """exp(z - z_m)*factor - less, with these: reference, how exponents are split, 2^-RAISE*factor, -less, the most."""
    reference, by, factor, minus_less, most = with_these
    return vec.smaller(most, vec.fma(exp2_split(x, v - reference, by), factor, minus_less))


@inlined
def exp_step_by_two(x, v, with_these):
    """The same with the factor in two, so that only the last product can leave the normal numbers."""
    reference, by, first, last, minus_less, most = with_these
    return vec.smaller(most, vec.fma(exp2_split(x, v - reference, by) * first, last, minus_less))


@jit
def write_exps(x, x0, out, out0, count, about, scale_log2e, factor, less, streams):
    """out = factor*exp(z - z_m) - less, with what is `relative` to m: to the bit as from kept exps."""
    _, _, _, _, lowest, up, least, _ = limits(x)
    base, c, over = about
    reference, minus_less, lower = vec.full(x, base), vec.full(x, -less), 2.0**-up
    by = split_of(x, vec.scalar_like(x, scale_log2e), c, lowest, up)
    top, factor = most(x, factor, less), factor * over
    if least < abs(factor) < 0.25 / lower:
        one = (reference, by, vec.full(x, factor * lower), minus_less, top)
        each_vector(exp_step, one, x, x0, out, out0, count, streams)
    else:
        first, last = (lower, factor) if abs(factor) > 1 else (factor, lower)
        two = (reference, by, vec.full(x, first), vec.full(x, last), minus_less, top)
        each_vector(exp_step_by_two, two, x, x0, out, out0, count, streams)


@inlined
def log_step(x, v, with_these):
    return vec.fma(v - with_these[0], with_these[1], with_these[2])


@jit
def write_logs(x, x0, out, out0, count, m, scale, less, streams):
    """out = (x - m)*scale - less."""
    with_these = (vec.full(x, m), vec.full(x, scale), vec.full(x, -less))
    each_vector(log_step, with_these, x, x0, out, out0, count, streams)
