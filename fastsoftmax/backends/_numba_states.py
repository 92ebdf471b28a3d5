"""[1] Reading a row: the states of its blocks, folded; its loss and lse; what it is to be written from.

A row is read block by block (contract.BLOCK); a block's second reading comes from L1. `a` are the arrays, each
(n_rows, n_classes) one a flat array and a place to start, `n` the numbers; what is absent is an empty array and a flag.
"""

import math
from typing import NamedTuple

import numpy as np
from numba.extending import overload

from ..contract import BLOCK
from . import _numba_blocks as blocks
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, sum_jit
from ._numba_math import as_real, exp2_raised, lowered, maximum, real_of, tanh

LSE, SOFTMAX, LOG_SOFTMAX, LABELS, TARGETS = range(5)  # what a job is
INERT, BAD = -2, -3  # a row that does not count, a label out of range
GROUP = 512  # classes: 64 lanes of 8 terms
LOG2_E = blocks.LOG2_E


class Arrays(NamedTuple):
    """x, q, out: flat carriers; z: room for one block. The others as in contract.Job. In kernels: memory.Memory."""

    x: np.ndarray
    q: np.ndarray
    out: np.ndarray
    z: np.ndarray
    class_weight: np.ndarray
    labels: np.ndarray
    sample_weight: np.ndarray
    dlosses: np.ndarray
    losses: np.ndarray
    lse: np.ndarray
    states: np.ndarray
    finals: np.ndarray


class Numbers(NamedTuple):
    """Row i of x starts at x0 + i*x_step, in elements. inner: what multiplies x - max, the scale or 1 with a cap."""

    kind: int
    n_classes: int
    x0: int
    x_step: int
    q0: int
    q_step: int
    out0: int
    out_step: int
    ignore_index: int
    keeps: bool  # whether rows hold their exps in place
    streams: bool  # whether out goes past the caches
    in_place: int  # 1 where out is x itself, 2 where it is q, else 0
    writes: bool
    weighs_classes: bool
    weighs_rows: bool
    has_dlosses: bool
    scale: float
    inner: float
    cap: float
    smoothing: float
    z_loss: float
    grad_scale: float


class Folded(NamedTuple):
    """Some blocks of a row: maximum, sum of the block that holds it, sum of the others, that block, and t, d."""

    m: float
    best_sum: float
    other: float
    best: int
    t: float
    d: float


class Final(NamedTuple):
    """What is left of a row: maximum, sum of exp over all classes but one maximum, z[y], sum of targets."""

    m: float
    rest: float
    z_y: float
    t: float


class Before(NamedTuple):
    """The row that is written while the next one is read: memory does both at once. row: -1 for none.

    Written is factor*exp(z - z_m) - less, or with LOG_SOFTMAX z - z_m - less; the row's targets and slopes come on top."""

    row: int
    y: int
    final: Final
    factor: float
    less: float


# ---- blocks ---------------------------------------------------------------------------------------------------


@inlined
def span(n, b):
    """The classes of block b: from, how many."""
    return b * BLOCK, min(BLOCK, n.n_classes - b * BLOCK)


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


@inlined
def unit_of(n):
    """e/V where all targets have it as a factor: a sum of ones is exact, one of V times e/V is not."""
    return n.smoothing / n.n_classes if n.kind == LABELS else 1.0


@inlined
def target(a, n, q_row, k):
    """t[k] in units of unit_of(n), without the label's own share."""
    t = 1.0
    if n.kind == TARGETS:
        t = n.smoothing / n.n_classes + (1 - n.smoothing) * np.float64(real_of(a.q[q_row + k]))
    return t * np.float64(a.class_weight[k]) if n.weighs_classes else t


@sum_jit
def block_targets(a, n, i, b, z, m):
    """(sum t, sum t*(z_m - z)); a zero target at a -inf logit gives 0."""
    first, count = span(n, b)
    q_row = n.q0 + i * n.q_step + first * (n.kind == TARGETS)
    reference = np.float64(m) if np.isfinite(m) else 0.0
    total = d = 0.0
    for k in range(count):
        t = target(a, n, q_row - first * (n.kind == TARGETS), first + k)
        total += t
        d += 0.0 if t == 0 else t * ((reference - np.float64(z[k])) * n.inner)
    return total, d


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
        z = block_of(a, n, i, b)
        m = np.float64(block_max(z))
        s = 0.0 if m == -np.inf else np.inf
        if not np.isinf(m):
            s = block_sum(z, as_real(z, m), as_real(z, n.inner * LOG2_E))
    if n.kind == TARGETS or (n.kind == LABELS and n.smoothing != 0):
        z = block_of(a, n, i, b)
        t, d = block_targets(a, n, i, b, z, as_real(z, m))
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
def sum_without_best(a, n, i, b, top):
    """The sum over block b without one of its maxima, from exps as they would be kept in place."""
    z = block_of(a, n, i, b)
    for k in range(len(z)):
        a.z[k] = z[k]
    _, _, reference, c = blocks.exp_in_place(a.z, 0, len(z), n.inner * LOG2_E, 0)
    return kept_rest(a.z, 0, len(z), top, reference, c, n.inner)


@jit
def kept_rest(e, start, count, top, reference, c, scale):
    """The sum of kept exps without one of the largest, relative to the maximum."""
    _, _, _, _, _, up, _, _ = blocks.limits(e)
    others = math.ldexp(blocks.sum_of_others(e, start, count), -int(up))
    return others * np.exp2(vec.fused(reference - top, vec.scalar_like(e, scale * LOG2_E), c))


@jit
def rest_of(a, n, i, f):
    """sum exp(z - z_m) over all classes but one maximum; NaN for a row that has no softmax."""
    total = f.best_sum + f.other
    if np.isinf(f.m) or np.isnan(total):
        return np.nan
    if total < 2:  # total - 1 would cancel
        return f.other + sum_without_best(a, n, i, f.best, f.m)
    return total - 1


@jit
def label_of(a, n, i):
    """The row's label, -1 where a job has none, INERT or BAD."""
    y = -1
    if n.kind == LABELS:
        y = a.labels[i]
        if y == n.ignore_index:
            return INERT
        if y < 0 or y >= n.n_classes:
            return BAD
    return INERT if n.weighs_rows and a.sample_weight[i] == 0 else y


@jit
def logit_at(a, n, i, k):
    z = real_of(a.x[n.x0 + i * n.x_step + k])
    return np.float64(capped(z, as_real(a.x, n.scale), as_real(a.x, n.cap)) if n.cap != 0 else z)


@jit
def label_share(a, n, y):
    """C, the label's own target."""
    if n.kind != LABELS:
        return 0.0
    return (1 - n.smoothing) * (np.float64(a.class_weight[y]) if n.weighs_classes else 1.0)


@jit
def finish(a, n, i, y, f, z_y, rest):
    """Write the row's loss and lse, return what its gradient needs."""
    t = f.t * unit_of(n)
    more = math.log1p(rest)
    lse = f.m * n.inner + more
    if np.isinf(f.m) and not np.isnan(f.best_sum + f.other):
        lse = f.m
    if n.kind == LABELS or n.kind == TARGETS:
        c = label_share(a, n, y)
        loss = t * more + f.d * unit_of(n)
        if c != 0:
            loss += c * (more + (f.m - z_y) * n.inner)
        if n.z_loss != 0:
            loss += n.z_loss * lse * lse
        a.losses[i] = loss * a.sample_weight[i] if n.weighs_rows else loss
    if n.kind != SOFTMAX and n.kind != LOG_SOFTMAX:
        a.lse[i] = lse
    return Final(f.m, rest, z_y, t)
