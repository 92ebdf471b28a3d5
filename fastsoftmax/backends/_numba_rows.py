"""[1] The softmax family, one kernel: lse, softmax, log_softmax, cross-entropy with one label, several or dense targets.

A row is read block by block (_numba_states.py) and written while the next one is read, or holds its exps in place.
"""

import math

import numpy as np
from numba.extending import overload

from ..contract import ALL, BLOCK, FINALS, FINISH, STATES, WRITE
from . import _numba_blocks as blocks
from . import _numba_kept as kept
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, kernel
from ._numba_labels import (
    BAD,
    INERT,
    find_logits,
    label_of,
    logit_at,
    own_loss,
    own_targets,
    put_labels,
    upstream,
)
from ._numba_states import block_of, block_state, fold, lse_of, nothing, other_state, rest_of
from ._numba_targets import unit_of, write_general
from ._numba_types import (
    CENTERED,
    LABELS,
    LOG2_E,
    LOG_SOFTMAX,
    SOFTMAX,
    TARGETS,
    Before,
    Final,
    span,
    without_owners,
)

SERVING = 2.0**-40, 2.0**40  # factors of kept exps with which they round as exps of the row's own maximum

# ---- results --------------------------------------------------------------------------------------------------


@inlined
def finish(a, n, i, y, f, z_y, rest):
    """Write the row's loss and lse, return what its gradient needs."""
    t = f.t * unit_of(n)
    more = math.log1p(rest)
    lse = lse_of(f, more, n.inner)
    if n.kind == LABELS or n.kind == TARGETS:
        loss = t * more + f.d * unit_of(n) + own_loss(a, n, i, y, z_y, f.m, more)
        if n.z_loss != 0:
            loss += n.z_loss * lse * lse
        a.losses[i] = loss * a.sample_weight[i] if n.weighs_rows else loss
    if n.kind != SOFTMAX and n.kind != LOG_SOFTMAX:
        a.lse[i] = lse
    return Final(f.m, rest, z_y, t)


@inlined
def plain(v):
    """v, or a NaN as memory._rounded wants it, whatever the bits of the caller's."""
    return np.nan if np.isnan(v) else v


@inlined
def to_write(a, n, i, y, final):
    """What row i is to be written from."""
    # e of a lone class is 1
    about = blocks.relative(a.x, final.m, n.inner * LOG2_E) if n.n_classes > BLOCK else (final.m, 0.0, 1.0)
    if n.kind == LOG_SOFTMAX:
        return Before(i, y, final, 1.0, math.log1p(final.rest), about)
    if n.kind == SOFTMAX:
        return Before(i, y, final, 1 / (1 + final.rest), 0.0, about)
    g = upstream(a, n, i)
    total = own_targets(a, n, i, y) + final.t
    if n.z_loss != 0:
        total += 2 * n.z_loss * a.lse[i]
    less = g * n.smoothing / n.n_classes if n.kind == LABELS and n.smoothing != 0 else 0.0  # not -0
    return Before(i, y, final, plain(g * total / (1 + final.rest)), plain(less), about)


@inlined
def is_plain(n):
    """Whether rows are written without a look at class weights, target_probs or a cap."""
    return n.cap == 0 and n.kind != TARGETS and not (n.kind == LABELS and n.smoothing != 0 and n.weighs_classes)


@inlined
def write_plain(a, n, row, start, count):
    """out of some classes of a plain row, but for the label's own share."""
    x0, out0 = n.x0 + row.row * n.x_step + start, n.out0 + row.row * n.out_step + start
    if n.kind == LOG_SOFTMAX:
        blocks.write_logs(a.x, x0, a.out, out0, count, row.final.m, n.inner, row.less, n.streams)
    else:
        blocks.write_exps(a.x, x0, a.out, out0, count, row.about, n.inner * LOG2_E, row.factor, row.less, n.streams)


@jit
def write_block(a, n, row, b):
    """out of one block, but for the label's own share."""
    first, count = span(n, b)
    if is_plain(n):
        write_plain(a, n, row, first, count)
    else:
        z = memory.of(block_of(a, n, row.row, b))
        write_general(a, n, row, b, z, upstream(a, n, row.row) * unit_of(n))


@jit
def clear_row(a, n, i, block0, block1):
    """An inert row's gradient, 0."""
    for b in range(block0, block1):
        first, count = span(n, b)
        out = memory.as_array(a.out, n.out0 + i * n.out_step + first, count)
        out[:] = 0


@overload(blocks.write_late, jit_options=dict(forceinline=True, error_model="numpy"))
def _write_late(a, n, late, start, stop):
    def nothing(a, n, late, start, stop):
        pass

    def from_logits(a, n, late, start, stop):
        before, b = late
        first, last = piece_of(a, n, before.row, b, start, stop)
        write_plain(a, n, before, b * BLOCK + first, last - first)

    def from_exps(a, n, late, start, stop):
        if late.row < 0:
            return
        first, last = piece_of(a, n, late.row, late.b, start, stop)
        if np.isnan(late.by):
            write_plain(a, n, late.before, late.b * BLOCK + first, last - first)
        else:
            out0 = n.out0 + late.row * n.out_step + late.b * BLOCK + first
            kept.multiply(a.z, late.at + first, a.out, out0, last - first, late.by, late.before.factor, True)

    return nothing if len(late) == 0 else from_logits if len(late) == 2 else from_exps


@inlined
def piece_of(a, n, i, b, start, stop):
    """Which classes of a block are written in the place of start to stop: pieces end where vectors do."""
    head = memory.head(a.out, n.out0 + i * n.out_step + b * BLOCK)
    count = min(BLOCK, n.n_classes - b * BLOCK)
    return 0 if start == 0 else min(start + head, count), count if stop == count else min(stop + head, count)


# ---- the kernel -----------------------------------------------------------------------------------------------


@jit
def inert_row(a, n, i):
    if n.kind == LABELS or n.kind == TARGETS or n.kind == CENTERED:
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
    return Before(-1, INERT, Final(0.0, 0.0, 0.0, 0.0), 0.0, 0.0, (0.0, 0.0, 1.0))


@jit
def write_row(a, n, before):
    if before.row >= 0:
        for b in range(-(-n.n_classes // BLOCK)):
            write_block(a, n, before, b)
        put_labels(a, n, before.row, before.y, before.final)


@jit
def whole_row(a, n, i, y, before):
    """Read row i while the row before is written; what row i is to be written from."""
    find_logits(a, n, i)
    f, n_blocks = nothing(), -(-n.n_classes // BLOCK)
    for b in range(n_blocks):
        if before.row >= 0 and is_plain(n):
            m, s, t, d = block_state(a, n, i, b, (before, b))
        else:
            if before.row >= 0:
                write_block(a, n, before, b)
            m, s, t, d = block_state(a, n, i, b, ())
        f = fold(f, b, m, s, t, d, n.inner)
    if before.row >= 0:
        put_labels(a, n, before.row, before.y, before.final)
    z_y = logit_at(a, n, i, y) if y >= 0 else 0.0
    final = finish(a, n, i, y, f, z_y, rest_of(a, n, i, f))
    if not n.writes:
        return nobody()
    now = to_write(a, n, i, y, final)
    if n_blocks > 1:
        return now
    write_row(a, n, now)
    return nobody()


@inlined
def after(n, i, b, row1):
    """Where the block after block b of row i starts, and how many classes it has: none after the last one before row1."""
    n_blocks = -(-n.n_classes // BLOCK)
    if b + 1 < n_blocks:
        return n.x0 + i * n.x_step + (b + 1) * BLOCK, min(BLOCK, n.n_classes - (b + 1) * BLOCK)
    return (n.x0 + (i + 1) * n.x_step, min(BLOCK, n.n_classes)) if i + 1 < row1 else (n.x0, 0)


@jit
def kept_row(a, n, i, y, row1, seen):
    """One exp a logit: exps stand in the output, which may be where the logits are, then are multiplied. `seen`: the
    maximum of the first block, or NaN; that of the next row's -> the same."""
    find_logits(a, n, i)
    f, n_blocks, log2e, out0 = nothing(), -(-n.n_classes // BLOCK), n.inner * LOG2_E, n.out0 + i * n.out_step
    scales = np.empty((n_blocks, 2))  # what a block's exps are relative to: a logit, and c, or NaN where there are none
    z_y = logit_at(a, n, i, y) if y >= 0 else 0.0
    for b in range(n_blocks):
        first, count = span(n, b)
        start, at, scales[b, 0] = n.x0 + i * n.x_step + first, out0 + first, 0.0
        if n.in_place == 1:
            then, n_then = after(n, i, b, row1)
            could, m, s, scales[b, 1], seen = kept.exps(a.x, start, count, a.out, at, log2e, seen, then, n_then,
                                                        ahead_of(n, i, b + 2, row1), a, n, (), BLOCK)
            s = kept.about(a.x, s, scales[b, 1], m, log2e)
            if not could:
                s, scales[b, 0] = kept.far_exps(a.out, at, count, log2e, m)
                scales[b, 1] = 0.0 if m > -np.inf else np.nan
        else:
            could, m, s, scales[b, 1] = kept.guessed_exps(a.x, start, count, a.out, at, log2e, a, n, (), BLOCK)
            if not could:
                m, s = other_state(a, n, i, b)
                scales[b, 1] = np.nan
        f = fold(f, b, m, s, 0.0, 0.0, n.inner)
    rest = f.best_sum + f.other - 1
    if np.isinf(f.m) or np.isnan(rest):
        rest = np.nan
    elif rest < 1 and n.in_place == 1:
        first, count = span(n, f.best)
        rest = kept.rest(a.out, out0 + first, count, f.m, scales[f.best, 0], scales[f.best, 1], n.inner, f.other)
    elif rest < 1:
        rest = rest_of(a, n, i, f)
    final = finish(a, n, i, y, f, z_y, rest)
    write_kept(a, n, to_write(a, n, i, y, final), scales)
    return seen


@inlined
def factor_of(row, c):
    """What exps with a block's own c are to be multiplied with; NaN where they would not round as those with the row's."""
    reference, row_c, over = row.about
    if reference != 0 or np.isnan(c):
        return np.nan
    by = row.factor * over * math.ldexp(1.0, int(max(c - row_c, -2000.0)))
    return by if SERVING[0] < abs(by) and abs(row.factor * over) < SERVING[1] else np.nan


@jit
def write_kept(a, n, row, scales):
    """A row from its exps; where these are none, or do not serve, from its logits, if they are still there."""
    out0 = n.out0 + row.row * n.out_step
    for b in range(len(scales)):
        first, count = span(n, b)
        reference, c = scales[b, 0], scales[b, 1]
        by = factor_of(row, c if reference == 0 else np.nan)
        if np.isnan(by) and n.in_place == 1:  # of a block of -inf alone, exps are 0
            over = np.exp2(vec.fused(reference - row.final.m, vec.scalar_like(a.x, n.inner * LOG2_E), c))
            by = 0.0 if np.isnan(c) else row.factor * over
        if np.isnan(by):
            write_plain(a, n, row, first, count)
        else:
            kept.multiply(a.out, out0 + first, a.out, out0 + first, count, by, row.factor, False)
    put_labels(a, n, row.row, row.y, row.final)


@jit
def aside_row(a, n, i, y, before, scales):
    """Read row i, its exps to a.z, while the row before is written from there; what row i is to be written from."""
    find_logits(a, n, i)
    f, log2e, room = nothing(), n.inner * LOG2_E, room_of(a)
    for b in range(scales.shape[1]):
        first, count = span(n, b)
        late = kept.Late(before.row, b, room + first, scales[0, b], before)
        start = n.x0 + i * n.x_step + first
        could, m, s, scales[1, b] = kept.guessed_exps(a.x, start, count, a.z, room + first, log2e, a, n, late,
                                                      16 * vec.width(a.x))
        if not could:
            m, s = other_state(a, n, i, b)
            scales[1, b] = np.nan
        f = fold(f, b, m, s, 0.0, 0.0, n.inner)
    put_labels(a, n, before.row, before.y, before.final)
    z_y = logit_at(a, n, i, y) if y >= 0 else 0.0
    now = to_write(a, n, i, y, finish(a, n, i, y, f, z_y, rest_of(a, n, i, f)))
    for b in range(scales.shape[1]):
        scales[0, b] = factor_of(now, scales[1, b])
    return now


@inlined
def room_of(a):
    """Where a row's exps are kept aside: after the block that everybody has there."""
    return BLOCK + memory.head(a.z, BLOCK)


@jit
def write_aside(a, n, before, scales):
    """The last row of those, of which there may be none."""
    for b in range(scales.shape[1]):
        first, count = span(n, b)
        blocks.write_late(a, n, kept.Late(before.row, b, room_of(a) + first, scales[0, b], before), 0, count)
    put_labels(a, n, before.row, before.y, before.final)


@jit
def finish_row(a, n, i, y):
    """whole_row's middle, from the states."""
    if y == INERT:
        inert_row(a, n, i)
        return
    find_logits(a, n, i)
    f = nothing()
    n_blocks = -(-n.n_classes // BLOCK)
    for b in range(n_blocks):
        at = 4 * (i * n_blocks + b)
        f = fold(f, b, a.states[at], a.states[at + 1], a.states[at + 2], a.states[at + 3], n.inner)
    z_y = logit_at(a, n, i, y) if y >= 0 else 0.0
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
            put_labels(a, n, i, y, final)
        elif y == INERT:
            clear_row(a, n, i, block0, block1)
        else:
            row = to_write(a, n, i, y, final)
            for b in range(block0, block1):
                write_block(a, n, row, b)


@kernel
def softmax_rows(a, n, row0, row1, block0, block1, phase):
    """Rows row0 to row1, or one phase of their blocks; the first row with a bad label, or -1."""
    a = without_owners(a)
    before, seen = nobody(), np.nan
    is_aside = n.keeps and n.streams and phase == ALL
    scales = np.empty((2, -(-n.n_classes // BLOCK) if is_aside else 0))
    for i in range(row0, row1):
        y = label_of(a, n, i)
        if y == BAD:
            return i
        if phase != ALL:
            one_phase(a, n, i, y, block0, block1, phase)
        elif y == INERT:
            inert_row(a, n, i)
            seen = np.nan
            if n.writes:
                clear_row(a, n, i, 0, -(-n.n_classes // BLOCK))
        elif is_aside:
            before = aside_row(a, n, i, y, before, scales)
        elif n.keeps:
            seen = kept_row(a, n, i, y, row1, seen)
        else:
            before = whole_row(a, n, i, y, before)
    if is_aside:
        write_aside(a, n, before, scales)
    else:
        write_row(a, n, before)
    if n.streams:
        memory.fence()
    return -1
