"""[1] The softmax family, one kernel: lse, softmax, log_softmax, cross-entropy with labels or dense targets.

A row is read block by block (contract.BLOCK); a block's second reading comes from L1. `a` are the arrays, each
(n_rows, n_classes) one a flat array and a place to start, `n` the numbers; what is absent is an empty array and a flag.
"""

import math
from typing import NamedTuple

import numpy as np
from numba.extending import overload

from ..contract import ALL, BLOCK, FINALS, FINISH, STATES, WRITE
from . import _numba_blocks as blocks
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, kernel, sum_jit
from ._numba_math import as_real, exp2_raised, lowered, maximum, put, real_of, tanh

LSE, SOFTMAX, LOG_SOFTMAX, LABELS, TARGETS = range(5)  # what a job is
INERT, BAD = -2, -3  # a row that does not count, a label out of range
GROUP = 512  # classes: 64 lanes of 8 terms
LOG2_E = blocks.LOG2_E


class Arrays(NamedTuple):
    """x, q, out: flat carriers; z: room for one block. The others as in contract.Job, flat. In the kernels: vec.Memory."""

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
    """The row that is written while the next one is read: memory does both at once. row: -1 for none."""

    row: int
    y: int
    final: Final


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
        return vec.as_array(x, start, count)

    def converted(x, z, start, count):
        for k in range(count):
            z[k] = real_of(x[start + k])
        return vec.as_array(z, 0, count)

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
    return vec.as_array(a.z, 0, count)


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
def target(a, n, q_row, k):
    """t[k], without the label's own share."""
    t = n.smoothing / n.n_classes
    if n.kind == TARGETS:
        t += (1 - n.smoothing) * np.float64(real_of(a.q[q_row + k]))
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
        could, m, s = blocks.max_exp_sum(a.x, n.x0 + i * n.x_step + first, count, n.inner * LOG2_E, a, n, late)
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
    _, _, _, up, _, _ = blocks.limits(e)
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
    more = math.log1p(rest)
    lse = f.m * n.inner + more
    if np.isinf(f.m) and not np.isnan(f.best_sum + f.other):
        lse = f.m
    if n.kind == LABELS or n.kind == TARGETS:
        c = label_share(a, n, y)
        loss = f.t * more + f.d
        if c != 0:
            loss += c * (more + (f.m - z_y) * n.inner)
        if n.z_loss != 0:
            loss += n.z_loss * lse * lse
        a.losses[i] = loss * a.sample_weight[i] if n.weighs_rows else loss
    if n.kind != SOFTMAX and n.kind != LOG_SOFTMAX:
        a.lse[i] = lse
    return Final(f.m, rest, z_y, f.t)


# ---- writing --------------------------------------------------------------------------------------------------


@jit
def put_general(a, n, i, b, out, final, factor, g):
    """The gradient with targets of every kind and the cap's slope."""
    first, _ = span(n, b)
    z = block_of(a, n, i, b)
    m, log2_scale, q_row = as_real(z, final.m), as_real(z, n.inner * LOG2_E), n.q0 + i * n.q_step
    targets = n.kind == TARGETS or n.smoothing != 0
    for k in range(len(z)):
        dz = np.float64(exp_above(z[k], m, log2_scale)) * factor
        if targets:
            dz -= g * target(a, n, q_row, first + k)
        if n.cap != 0:
            dz *= 1 - (np.float64(z[k]) / n.cap) ** 2
        put(out, k, dz)


@jit
def upstream(a, n, i):
    """g*scale: what multiplies dz."""
    g = n.grad_scale * n.scale
    if n.has_dlosses:
        g *= a.dlosses[i]
    return g * a.sample_weight[i] if n.weighs_rows else g


@jit
def factors(a, n, i, y, final):
    """(what multiplies exp(z - z_m), g*scale)."""
    if n.kind == SOFTMAX:
        return 1 / (1 + final.rest), 1.0
    g = upstream(a, n, i)
    total = label_share(a, n, y) + final.t
    if n.z_loss != 0:
        total += 2 * n.z_loss * a.lse[i]
    return g * total / (1 + final.rest), g


@inlined
def is_plain(n):
    """Whether rows are written without a look at class weights, target_probs or a cap."""
    return n.cap == 0 and n.kind != TARGETS and not (n.kind == LABELS and n.smoothing != 0 and n.weighs_classes)


@jit
def write_plain(a, n, i, y, final, start, count, ahead):
    """out of some classes of a plain row, but for the label's own share."""
    x0, out0 = n.x0 + i * n.x_step + start, n.out0 + i * n.out_step + start
    if n.kind == LOG_SOFTMAX:
        blocks.write_logs(a.x, x0, a.out, out0, count, final.m, n.inner, math.log1p(final.rest), n.streams, ahead)
    else:
        factor, g = factors(a, n, i, y, final)
        less = g * n.smoothing / n.n_classes if n.kind == LABELS else 0.0
        blocks.write_exps(a.x, x0, a.out, out0, count, final.m, n.inner * LOG2_E, factor, less, n.streams, ahead)


@jit
def write_block(a, n, i, y, final, b):
    """out of one block, but for the label's own share."""
    first, count = span(n, b)
    start = n.out0 + i * n.out_step + first
    out = vec.as_array(a.out, start, count)
    if y == INERT:
        out[:] = 0
    elif is_plain(n):
        write_plain(a, n, i, y, final, first, count, n.x0)
    else:
        factor, g = factors(a, n, i, y, final)
        put_general(a, n, i, b, out, final, factor, g)


@overload(blocks.write_late, jit_options=dict(forceinline=True, error_model="numpy"))
def _write_late(a, n, late, start, stop):
    def nothing(a, n, late, start, stop):
        pass

    def some(a, n, late, start, stop):
        before, b, ahead = late  # what is `ahead`, after the block that is being read, is fetched meanwhile
        head = vec.head(a.out, n.out0 + before.row * n.out_step + b * BLOCK)  # pieces end where vectors do
        count = min(BLOCK, n.n_classes - b * BLOCK)
        first = 0 if start == 0 else min(start + head, count)
        last = count if stop == count else min(stop + head, count)
        write_plain(a, n, before.row, before.y, before.final, b * BLOCK + first, last - first, ahead + first)

    return nothing if len(late) == 0 else some


@jit
def put_label(a, n, i, y, final):
    """The gradient at the label, last: -rest/(1 + rest) keeps its digits as p -> 1."""
    if n.kind != LABELS or y < 0:
        return
    c, total = label_share(a, n, y), 1 + final.rest
    p = math.exp((final.z_y - final.m) * n.inner) / total
    minus = -final.rest / total if final.z_y == final.m else p - 1
    weight = np.float64(a.class_weight[y]) if n.weighs_classes else 1.0
    t = n.smoothing / n.n_classes * weight
    z_part = 2 * n.z_loss * a.lse[i] if n.z_loss != 0 else 0.0
    dz = c * minus + (final.t + z_part) * p - t
    if n.cap != 0:
        dz *= 1 - (final.z_y / n.cap) ** 2
    put(a.out, n.out0 + i * n.out_step + y, as_real(a.out, dz * upstream(a, n, i)))


# ---- the kernel -----------------------------------------------------------------------------------------------


@jit
def inert_row(a, n, i):
    if n.kind == LABELS or n.kind == TARGETS:
        a.losses[i] = 0.0
        a.lse[i] = 0.0


@inlined
def ahead_of(n, i, b, row1):
    """Where block b of row i starts; it may lie in the next row, if that one is before row1."""
    n_blocks = -(-n.n_classes // BLOCK)
    if b >= n_blocks:
        i, b = min(i + 1, row1 - 1), min(b - n_blocks, n_blocks - 1)
    return n.x0 + i * n.x_step + b * BLOCK


@jit
def nobody():
    return Before(-1, -1, Final(0.0, 0.0, 0.0, 0.0))


@jit
def write_row(a, n, before):
    if before.row >= 0:
        for b in range(-(-n.n_classes // BLOCK)):
            write_block(a, n, before.row, before.y, before.final, b)
        put_label(a, n, before.row, before.y, before.final)


@jit
def whole_row(a, n, i, y, row1, before):
    """Read row i while the row before is written; what row i is to be written from."""
    f, n_blocks = nothing(), -(-n.n_classes // BLOCK)
    for b in range(n_blocks):
        if before.row >= 0 and is_plain(n):
            late = (before, b, ahead_of(n, i, b + 1, row1))
            m, s, t, d = block_state(a, n, i, b, late)
        else:
            if before.row >= 0:
                write_block(a, n, before.row, before.y, before.final, b)
            m, s, t, d = block_state(a, n, i, b, ())
        f = fold(f, b, m, s, t, d, n.inner)
    if before.row >= 0:
        put_label(a, n, before.row, before.y, before.final)
    z_y = logit_at(a, n, i, y) if n.kind == LABELS else 0.0
    now = Before(i, y, finish(a, n, i, y, f, z_y, rest_of(a, n, i, f)))
    if n.writes and n_blocks == 1:
        write_row(a, n, now)
    return now if n.writes and n_blocks > 1 else nobody()


@jit
def kept_row(a, n, i, y, row1):
    """In place, one exp a logit: exps stand where the logits were, then are multiplied."""
    f, n_blocks = nothing(), -(-n.n_classes // BLOCK)
    kept = np.empty((n_blocks, 2))
    z_y = logit_at(a, n, i, y) if n.kind == LABELS else 0.0
    for b in range(n_blocks):
        first, count = span(n, b)
        start = n.out0 + i * n.out_step + first
        m, s, kept[b, 0], kept[b, 1] = blocks.exp_in_place(a.out, start, count, n.inner * LOG2_E,
                                                         ahead_of(n, i, b + 2, row1))
        f = fold(f, b, m, s, 0.0, 0.0, n.inner)
    rest = f.best_sum + f.other - 1
    if np.isinf(f.m) or np.isnan(rest):
        rest = np.nan
    elif rest < 1:
        first, count = span(n, f.best)
        rest = f.other + kept_rest(a.out, n.out0 + i * n.out_step + first, count, f.m, kept[f.best, 0],
                                   kept[f.best, 1], n.inner)
    final = finish(a, n, i, y, f, z_y, rest)
    factor, _ = factors(a, n, i, y, final)
    _, _, _, up, _, _ = blocks.limits(a.out)
    log2e = vec.scalar_like(a.out, n.inner * LOG2_E)
    for b in range(n_blocks):
        first, count = span(n, b)
        by = math.ldexp(factor, -int(up)) * np.exp2(vec.fused(kept[b, 0] - final.m, log2e, kept[b, 1]))
        blocks.multiply(a.out, n.out0 + i * n.out_step + first, count, by)
    put_label(a, n, i, y, final)


@jit
def finish_row(a, n, i, y):
    """whole_row's middle, from the states."""
    if y == INERT:
        inert_row(a, n, i)
        return
    f = nothing()
    n_blocks = -(-n.n_classes // BLOCK)
    for b in range(n_blocks):
        at = 4 * (i * n_blocks + b)
        f = fold(f, b, a.states[at], a.states[at + 1], a.states[at + 2], a.states[at + 3], n.inner)
    z_y = logit_at(a, n, i, y) if n.kind == LABELS else 0.0
    final = finish(a, n, i, y, f, z_y, rest_of(a, n, i, f))
    at = i * FINALS
    a.finals[at], a.finals[at + 1], a.finals[at + 2], a.finals[at + 3] = final.m, final.rest, final.z_y, final.t


@jit
def one_phase(a, n, i, y, block0, block1, phase):
    if phase == FINISH:
        finish_row(a, n, i, y)
    elif phase == STATES and y != INERT:
        for b in range(block0, block1):
            m, s, t, d = block_state(a, n, i, b, ())
            at = 4 * (i * -(-n.n_classes // BLOCK) + b)
            a.states[at], a.states[at + 1], a.states[at + 2], a.states[at + 3] = m, s, t, d
    elif phase >= WRITE:
        at = i * FINALS
        final = Final(a.finals[at], a.finals[at + 1], a.finals[at + 2], a.finals[at + 3])
        if phase > WRITE:
            put_label(a, n, i, y, final)
        else:
            for b in range(block0, block1):
                write_block(a, n, i, y, final, b)


@kernel
def softmax_rows(a, n, row0, row1, block0, block1, phase):
    """Rows row0 to row1, or one phase of their blocks; the first row with a bad label, or -1."""
    a = Arrays(vec.memory(a.x), vec.memory(a.q), vec.memory(a.out), vec.memory(a.z), vec.memory(a.class_weight),
               vec.memory(a.labels), vec.memory(a.sample_weight), vec.memory(a.dlosses), vec.memory(a.losses),
               vec.memory(a.lse), vec.memory(a.states), vec.memory(a.finals))
    before = nobody()
    for i in range(row0, row1):
        y = label_of(a, n, i)
        if y == BAD:
            return i
        if phase != ALL:
            one_phase(a, n, i, y, block0, block1, phase)
        elif y == INERT:
            inert_row(a, n, i)
            if n.writes:
                for b in range(-(-n.n_classes // BLOCK)):
                    write_block(a, n, i, y, before.final, b)
        elif n.keeps:
            kept_row(a, n, i, y, row1)
        else:
            before = whole_row(a, n, i, y, row1, before)
    write_row(a, n, before)
    if n.streams:
        vec.fence()
    return -1
