"""[1] Vectors one at a time, their lanes in the order of memory, for arrays of several dtypes; exp and log of lanes."""

import math

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_blocks import LOG2_E, exp2_split, limits, series, split_of
from ._numba_cache import inlined, jit
from ._numba_math import as_real

RUN = 32  # terms a lane of a sum, whose roundings do not pile up as those of a long one


@inlined
def load(x, k, n, fill):
    """x[k:k + n] and lanes of `fill` after it; n may be beyond the vector."""
    return memory.load_whole(x, k) if n >= vec.width(x) else memory.load_some(x, k, n, fill)


@inlined
def store(out, k, n, v, streams):
    """out[k:k + n] = v[:n]; n may be beyond the vector."""
    if n < vec.width(out):
        memory.store_some(out, k, n, v)
    elif streams:
        memory.stream_whole(out, k, v)
    else:
        memory.store_whole(out, k, v)


@inlined
def below(x, v):
    """The largest number of the dtype in which x is computed below v: what is at least v is above it."""
    return np.float64(np.nextafter(as_real(x, v), as_real(x, -np.inf)))


@jit
def find_first(x, start, count, bound):
    """The first of x[start:start + count] above bound or NaN: how far from start, or -1."""
    bounds = vec.full(x, bound)
    for k in range(0, count, vec.width(x)):
        bits = vec.bits_above(load(x, start + k, count - k, -np.inf), bounds)
        if bits:
            return k + vec.first_bit(bits)
    return -1


@inlined
def keep(x, v, n):
    """The first n lanes, and 0 in the others."""
    return v if n >= vec.width(x) else vec.keep_some(v, n)


@inlined
def write_each(step, with_these, z, z0, out, out0, count, streams):
    """out = step(z, k, n, lanes of z[k:k + n], with_these), aligned to cache lines after a head."""
    head, k = min(memory.head(out, out0), count), 0
    while k < count:
        n = min((head if k < head else count) - k, vec.width(out))
        v = step(z, k, n, load(z, z0 + k, n, 0.0), with_these)
        store(out, out0 + k, n, v, streams and k >= head)
        k += n


@inlined
def lowering(x, a):
    """What makes `a` times something of 2^RAISE times it: two factors, so that only the second product can leave the normal
    numbers."""
    _, _, _, _, _, up, least, _ = limits(x)
    lower = 2.0**-up
    if least < abs(a) < 0.25 / lower:
        return a * lower, 1.0
    return (lower, a) if abs(a) > 1 else (a, lower)


@inlined
def exp(x, v):
    """exp(v) of any v: as exp(v/2)^2, for which no power of two is out of reach."""
    _, _, _, _, lowest, up, _, _ = limits(x)
    by = split_of(x, LOG2_E / 2, 0.0, lowest, up)
    root = exp2_split(x, vec.smaller(vec.full(x, 2 * up / LOG2_E), v), by) * vec.full(x, 2.0**-up)
    return root * root


# ---- logarithms -------------------------------------------------------------------------------------------------

# v = 2^n*g with sqrt(1/2) <= g < sqrt(2), log g = 2*atanh(s) by its series in s = (g - 1)/(g + 1), to s^9 below 3e-9
# relative, to s^21 below 1e-17. log 2 in two parts, so that n times the first is exact.
ATANH32, ATANH64 = (tuple(2 / i for i in range(3, last + 1, 2)) for last in (9, 21))
LOG_2_32, LOG_2_64 = (0.693145751953125, 1.42860682030941723e-6), (0.69314718055994528623, 2.3190468138462996e-17)
#             size, mantissa bits, bits of sqrt(1/2), least normal number, what scales smaller ones
_SINGLE = 32, 23, 0x3F3504F3, 2.0**-126, 24
_DOUBLE = 64, 52, 0x3FE6A09E667F3BCD, 2.0**-1022, 54


@intrinsic
def log_parts(typingctx, v):
    """(n, g) of positive finite numbers."""
    size, mantissa, half, least, shift = _SINGLE if v == vec.F32 else _DOUBLE

    def codegen(context, builder, signature, args):
        real, kind = args[0].type, vec.integers(size, v.count)
        small = builder.fcmp_ordered("<", args[0], vec.constant(real, least))
        y = builder.select(small, builder.fmul(args[0], vec.constant(real, 2.0**shift)), args[0])
        bits = builder.bitcast(y, kind)
        n = builder.ashr(builder.sub(bits, vec.constant(kind, half)), vec.constant(kind, mantissa))
        g = builder.bitcast(builder.sub(bits, builder.shl(n, vec.constant(kind, mantissa))), real)
        n = builder.sitofp(builder.trunc(n, vec.integers(32, v.count)) if size > 32 else n, real)
        n = builder.select(small, builder.fsub(n, vec.constant(real, float(shift))), n)
        return context.make_tuple(builder, signature.return_type, (n, g))

    return types.UniTuple(v, 2)(v), codegen


@intrinsic
def log_ends(typingctx, v, log):
    """log, but for what is no positive finite number."""

    def codegen(context, builder, signature, args):
        v, log = args
        for cmp, value, there in (("==", 0.0, -math.inf), ("==", math.inf, math.inf), ("<", 0.0, math.nan)):
            at = builder.fcmp_ordered(cmp, v, vec.constant(v.type, value))
            log = builder.select(at, vec.constant(v.type, there), log)
        return builder.select(builder.fcmp_unordered("uno", v, v), vec.constant(v.type, math.nan), log)

    return v(v, log), codegen


atanh32, atanh64 = series(ATANH32), series(ATANH64)


def atanh_of(x, s2):
    """2*(1/3 + s2*(1/5 + ...))."""
    raise NotImplementedError("compiled only")


@overload(atanh_of, inline="always")
def _atanh_of(x, s2):
    return (lambda x, s2: atanh64(x, s2)) if x.dtype == types.float64 else (lambda x, s2: atanh32(x, s2))


def log_2(x):
    """LOG_2 of the dtype in which the carrier x is computed."""
    raise NotImplementedError("compiled only")


@overload(log_2, inline="always")
def _log_2(x):
    return (lambda x: LOG_2_64) if x.dtype == types.float64 else (lambda x: LOG_2_32)


@inlined
def log(x, v):
    """log(v): -inf of 0, NaN of what is below."""
    n, g = log_parts(v)
    high, low = log_2(x)
    s = (g - vec.full(x, 1.0)) / (g + vec.full(x, 1.0))
    s2 = s * s
    rest = vec.fma(n, vec.full(x, low), vec.fma(s * s2, atanh_of(x, s2), s + s))
    return log_ends(v, vec.fma(n, vec.full(x, high), rest))
