"""[1] Reading a row block by block (contract.BLOCK): the states of its blocks, folded. A block's second reading comes from
L1."""

import math

import numpy as np
from numba.extending import overload

from ..contract import BLOCK
from . import _numba_blocks as blocks
from . import _numba_kept as kept
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, sum_jit
from ._numba_math import as_real, exp2_raised, lowered, maximum, real_of, tanh
from ._numba_targets import target_logs, target_sums
from ._numba_types import LABELS, LOG2_E, LOG_SOFTMAX, TARGETS, Folded, span

GROUP = 512  # classes: 64 lanes of 8 terms

# ---- blocks ---------------------------------------------------------------------------------------------------


@inlined
def capped(x, scale, cap):
    return cap * tanh(x * scale / cap)


def plain_block(x, z, start, count):
    """x[start:start + count] in the dtype it is computed in, copied to z where it is stored in another."""
    raise NotImplementedError("compiled only")


@overload(plain_block)
def _plain_block(x, z, start, count):
    def view(x, z, start, count):
        return memory.as_array(x, start, count)

    def converted(x, z, start, count):
        for k in range(count):
            z[k] = real_of(x[start + k])
        return memory.as_array(z, 0, count)

    return view if x.dtype == z.dtype else converted


@jit
def block_of(a, n, i, b):
    """Block b of row i, with the cap on."""
    first, count = span(n, b)
    start = n.x0 + i * n.x_step + first
    if n.cap == 0:
        return plain_block(a.x, a.z, start, count)
    scale, cap = as_real(a.x, n.scale), as_real(a.x, n.cap)
    for k in range(count):
        a.z[k] = capped(real_of(a.x[start + k]), scale, cap)
    return memory.as_array(a.z, 0, count)


@sum_jit
def block_max(z):
    m = as_real(z, -np.inf)
    for k in range(len(z)):
        m = maximum(m, z[k])
    return m


@inlined
def exp_above(x, m, log2_scale):
    """exp((x - m)*scale): subtracting first keeps large offsets exact."""
    return lowered(exp2_raised((x - m) * log2_scale))


@inlined
def raised_exp(x, m, log2_scale):
    return exp2_raised((x - m) * log2_scale)


@sum_jit
def group_sum(z, m, log2_scale):
    s = as_real(z, 0.0)
    for k in range(len(z)):
        s += raised_exp(z[k], m, log2_scale)
    return np.float64(lowered(s))


@jit
def block_sum(z, m, log2_scale):
    """sum exp(z - m): groups in vector lanes, at most a few terms a lane, then float64."""
    s = 0.0
    for start in range(0, len(z), GROUP):
        s += group_sum(z[start:start + GROUP], m, log2_scale)
    return s


@jit
def other_state(a, n, i, b):
    """(m, s) of block b where it can not be read by max_exp_sum."""
    z = block_of(a, n, i, b)
    m = np.float64(block_max(z))
    if np.isinf(m):
        return m, 0.0 if m < 0 else np.inf
    return m, block_sum(z, as_real(z, m), as_real(z, n.inner * LOG2_E))


@jit
def block_state(a, n, i, b, late):
    """(m, s, t, d) of block b. s is NaN where the block holds one, inf with a +inf, 0 with -inf alone."""
    first, count = span(n, b)
    m = s = t = d = 0.0
    could = False
    if n.cap == 0:
        piece = BLOCK
        if len(late) > 0:  # log-probabilities are next to nothing to compute: their stores come in short bursts
            piece = 16 * vec.width(a.x) if n.kind == LOG_SOFTMAX else blocks.PIECE
        could, m, s = blocks.max_exp_sum(a.x, n.x0 + i * n.x_step + first, count, n.inner * LOG2_E, a, n, late, piece)
    if not could:
        m, s = other_state(a, n, i, b)
    if n.kind == TARGETS or (n.kind == LABELS and n.smoothing != 0):
        t, d = target_sums(a, n, i, b, memory.of(block_of(a, n, i, b)), m)
        if n.minus_entropy:
            d += target_logs(a, n, i, b)
    return m, s, t, d


# ---- rows -----------------------------------------------------------------------------------------------------


@inlined
def share(m, top, scale):
    """exp(z_m - z_top), and 1 where both are the same infinity."""
    return 1.0 if m == top else math.exp((m - top) * scale)


@inlined
def shifted(t, m, top, scale):
    """t*(z_top - z_m), with 0 for a maximum of -inf."""
    return 0.0 if t == 0 else t * ((top if top > -np.inf else 0.0) - (m if m > -np.inf else 0.0)) * scale


@jit
def nothing():
    return Folded(-np.inf, 0.0, 0.0, 0, 0.0, 0.0)


@jit
def fold(f, b, m, s, t, d, scale):
    """The blocks so far and one more. The best block's sum stays apart: finish() may leave its maximum out."""
    if m > f.m:
        other = (f.best_sum + f.other) * share(f.m, m, scale)
        return Folded(m, s, other, b, f.t + t, f.d + shifted(f.t, f.m, m, scale) + d)
    other = f.other + s * share(m, f.m, scale)
    return Folded(f.m, f.best_sum, other, f.best, f.t + t, f.d + d + shifted(t, m, f.m, scale))


@jit
def sum_without_best(a, n, i, f):
    """The sum over all blocks without one of the maxima, from exps as they would be kept."""
    z = block_of(a, n, i, f.best)
    for k in range(len(z)):
        a.z[k] = z[k]
    scale_log2e, reference = n.inner * LOG2_E, 0.0
    could, m, _, c, _ = kept.exps(a.z, 0, len(z), a.z, 0, scale_log2e, np.nan, 0, 0, 0, a, n, (), BLOCK)
    if not could:
        _, reference = kept.far_exps(a.z, 0, len(z), scale_log2e, m)
    return kept.rest(a.z, 0, len(z), f.m, reference, c, n.inner, f.other)


@jit
def rest_of(a, n, i, f):
    """sum exp(z - z_m) over all classes but one maximum; NaN for a row that has no softmax."""
    total = f.best_sum + f.other
    if np.isinf(f.m) or np.isnan(total):
        return np.nan
    if total < 2:  # total - 1 would cancel
        return sum_without_best(a, n, i, f)
    return total - 1


@inlined
def lse_of(f, more, scale):
    """From log1p of the rest."""
    return f.m if np.isinf(f.m) and not np.isnan(f.best_sum + f.other) else f.m * scale + more
