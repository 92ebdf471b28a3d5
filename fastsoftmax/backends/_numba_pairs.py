"""[1] Kernels over probabilities, one compiled text: the gradients through softmax and log_softmax, entropy, KL.

Each is a sum over the row, and for the gradients one more pass: out = p*(dp - sum) or dlp - exp(lp)*sum.
"""

import math

import numpy as np

from ..contract import ALL, BLOCK, FINALS, FINISH, STATES, WRITE
from . import _numba_lanes as lanes
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, kernel, sum_jit
from ._numba_math import real_of

SOFTMAX_GRAD, LOG_SOFTMAX_GRAD, ENTROPY, KL_DIVERGENCE, JS_DIVERGENCE = range(5)
GROUP = 64


@sum_jit
def dot(p, dp):
    s = 0.0
    for k in range(len(p)):
        s += np.float64(real_of(p[k])) * np.float64(real_of(dp[k]))
    return s


@sum_jit
def total(dp):
    s = 0.0
    for k in range(len(dp)):
        s += np.float64(real_of(dp[k]))
    return s


@jit
def entropy_of(p):
    s = 0.0
    for k in range(len(p)):
        v = np.float64(real_of(p[k]))
        s -= 0.0 if v == 0 else v * math.log(v)
    return s


@inlined
def relative_to(v, w):
    """v*log(v/w), nothing where v is 0 unless w is NaN."""
    ratio = v / w
    if v == 0:
        return w if np.isnan(w) else 0.0
    if 1e-300 < ratio < 1e300:
        return v * math.log(ratio)
    return v * (math.log(v) - math.log(w))  # the quotient may leave the range of numbers


@jit
def kl_of(p, q):
    s = 0.0
    for k in range(len(p)):
        s += relative_to(np.float64(real_of(p[k])), np.float64(real_of(q[k])))
    return s


@jit
def js_of(p, q):
    s = 0.0
    for k in range(len(p)):
        v, w = np.float64(real_of(p[k])), np.float64(real_of(q[k]))
        middle = (v + w) / 2
        s += (relative_to(v, middle) + relative_to(w, middle)) / 2
    return s


@jit
def block_entropy(p):
    s = 0.0
    for k in range(0, len(p), GROUP):  # short sums, whose roundings do not pile up as those of a long one
        s += entropy_of(p[k:k + GROUP])
    return s


@jit
def block_kl(p, q, kind):
    s = 0.0
    for k in range(0, len(p), GROUP):
        one, other = p[k:k + GROUP], q[k:k + GROUP]
        s += kl_of(one, other) if kind == KL_DIVERGENCE else js_of(one, other)
    return s


@inlined
def block(flat, row0, row_step, n_classes, i, b):
    start = row0 + i * row_step + b * BLOCK
    return flat[start:start + min(BLOCK, n_classes - b * BLOCK)]


@jit
def block_total(a, n, i, b):
    """What block b adds to the row's sum."""
    p = block(a.x, n.x0, n.x_step, n.n_classes, i, b)
    if n.kind == ENTROPY:
        return block_entropy(p)
    q = block(a.q, n.q0, n.q_step, n.n_classes, i, b)
    if n.kind == KL_DIVERGENCE or n.kind == JS_DIVERGENCE:
        return block_kl(p, q, n.kind)
    return dot(p, q) if n.kind == SOFTMAX_GRAD else total(q)


@inlined
def grad_step(p, k, n, v, with_these):
    dp, dp0, s = with_these
    return v * (lanes.load(dp, dp0 + k, n, 0.0) - s)


@inlined
def log_grad_step(lp, k, n, v, with_these):
    dlp, dlp0, s = with_these
    return lanes.load(dlp, dlp0 + k, n, 0.0) - lanes.exp(lp, v) * s


@jit
def write_block(a, n, i, s, b):
    """out of one block."""
    p, dp, out = memory.of(a.x), memory.of(a.q), memory.of(a.out)
    first, count = b * BLOCK, min(BLOCK, n.n_classes - b * BLOCK)
    p0, out0 = n.x0 + i * n.x_step + first, n.out0 + i * n.out_step + first
    with_these = dp, n.q0 + i * n.q_step + first, vec.full(out, s)
    if n.kind == SOFTMAX_GRAD:
        lanes.write_each(grad_step, with_these, p, p0, out, out0, count, n.streams)
    else:
        lanes.write_each(log_grad_step, with_these, p, p0, out, out0, count, n.streams)


@jit
def deliver(a, n, i, s):
    if n.kind != SOFTMAX_GRAD and n.kind != LOG_SOFTMAX_GRAD:
        a.losses[i] = s


@jit
def whole_row(a, n, i, n_blocks):
    s = 0.0
    for b in range(n_blocks):
        s += block_total(a, n, i, b)
    deliver(a, n, i, s)
    if n.writes:
        for b in range(n_blocks):
            write_block(a, n, i, s, b)


@jit
def one_phase(a, n, i, block0, block1, phase):
    n_blocks = -(-n.n_classes // BLOCK)
    if phase == STATES:
        for b in range(block0, block1):
            a.states[4 * (i * n_blocks + b)] = block_total(a, n, i, b)
    elif phase == FINISH:
        s = 0.0
        for b in range(n_blocks):
            s += a.states[4 * (i * n_blocks + b)]
        a.finals[i * FINALS] = s
        deliver(a, n, i, s)
    elif phase == WRITE:
        for b in range(block0, block1):
            write_block(a, n, i, a.finals[i * FINALS], b)


@kernel
def pair_rows(a, n, row0, row1, block0, block1, phase):
    """Rows row0 to row1, or one phase of their blocks; always -1: there are no labels."""
    n_blocks = -(-n.n_classes // BLOCK)
    for i in range(row0, row1):
        if phase == ALL:
            whole_row(a, n, i, n_blocks)
        else:
            one_phase(a, n, i, block0, block1, phase)
    if n.streams:
        memory.fence()
    return -1
