"""[1] What is asked of rows beside their loss (contract.Look): statistics and the first classes. Samples: _numba_draw.py.

The first k classes are a heap, kept where they are written to: at its root stands their last one, which a better class
replaces. A block is searched, vector by vector, only where its maximum is above that root.
"""

import math
from typing import NamedTuple

import numpy as np

from ..contract import BLOCK, STATS
from . import _numba_memory as memory
from . import _numba_vec as vec
from ._numba_cache import inlined, jit, kernel
from ._numba_draw import draw_row, find_best
from ._numba_labels import BAD, INERT, label_of, logit_at
from ._numba_lanes import below
from ._numba_math import real_of
from ._numba_seen import depth_of, rest_aside, see_block
from ._numba_states import fold, lse_of, nothing, share
from ._numba_types import ONE, ZERO, span, without_owners


class Wanted(NamedTuple):
    """Of contract.Look, each flat. masses: room for twice as many numbers as a row has blocks."""

    stats: np.ndarray
    ids: np.ndarray
    values: np.ndarray
    words: np.ndarray
    drawn: np.ndarray
    masses: np.ndarray
    k: int
    wants_stats: bool
    draws: bool
    top_p: float


class First(NamedTuple):
    """A row's first classes: where the heap of at most k begins."""

    values: np.ndarray
    ids: np.ndarray
    at: int
    k: int


# ---- the first classes ------------------------------------------------------------------------------------------


@inlined
def comes_before(v, i, w, j):
    """Whether class i with logit v comes before class j with w."""
    if np.isnan(v) or np.isnan(w):
        return np.isnan(v) and (i < j or not np.isnan(w))
    return v > w or (v == w and i < j)


@inlined
def put_at(h, at, v, i):
    h.values[h.at + at] = v
    h.ids[h.at + at] = i


@jit
def sink(h, n, v, i):
    """Put a class in the place of the root of n."""
    at = ZERO
    while 2 * at + 1 < n:
        child = 2 * at + 1
        w, j = h.values[h.at + child], h.ids[h.at + child]
        if child + 1 < n and comes_before(w, j, h.values[h.at + child + 1], h.ids[h.at + child + 1]):
            child += 1
            w, j = h.values[h.at + child], h.ids[h.at + child]
        if not comes_before(v, i, w, j):
            break
        put_at(h, at, w, j)
        at = child
    put_at(h, at, v, i)


@jit
def offer(h, n, v, i):
    """Keep a class if it is one of the first k; how many there are."""
    if n == h.k:
        if comes_before(v, i, h.values[h.at], h.ids[h.at]):
            sink(h, n, v, i)
        return n
    at = n
    while at > 0:
        parent = (at - 1) // 2
        w, j = h.values[h.at + parent], h.ids[h.at + parent]
        if not comes_before(w, j, v, i):
            break
        put_at(h, at, w, j)
        at = parent
    put_at(h, at, v, i)
    return n + 1


@inlined
def threshold_of(h, n):
    """What the logits of the first k must be above, from where on there are k."""
    return h.values[h.at] if n == h.k else -np.inf


@jit
def offer_those(h, n, x, k, j, bits, first):
    """The lanes of vector j of a pair whose bits are 1; `first` is the class of x[k]."""
    while bits:
        place = memory.mixed_place(x, j, vec.first_bit(bits))
        n = offer(h, n, np.float64(real_of(x[k + place])), first + place)
        bits &= bits - 1
    return n


@jit
def search(h, n, x, start, count, first):
    """Offer what may be among the first k of a block that begins with class `first`; how many there are."""
    w, stop = vec.width(x), start + count
    whole = start + count // (4 * w) * (4 * w)
    threshold = vec.full(x, threshold_of(h, n))
    for k in range(start, whole, 4 * w):
        v0, v1 = memory.load_pair(x, k)
        v2, v3 = memory.load_pair(x, k + 2 * w)
        b0, b1 = vec.bits_above(v0, threshold), vec.bits_above(v1, threshold)
        b2, b3 = vec.bits_above(v2, threshold), vec.bits_above(v3, threshold)
        if b0 | b1 | b2 | b3:
            n = offer_those(h, n, x, k, ZERO, b0, first + k - start)
            n = offer_those(h, n, x, k, ONE, b1, first + k - start)
            n = offer_those(h, n, x, k + 2 * w, ZERO, b2, first + k + 2 * w - start)
            n = offer_those(h, n, x, k + 2 * w, ONE, b3, first + k + 2 * w - start)
            threshold = vec.full(x, threshold_of(h, n))
    for k in range(whole, stop):
        v = np.float64(real_of(x[k]))
        if not v <= threshold_of(h, n):
            n = offer(h, n, v, first + k - start)
    return n


@jit
def put_in_order(h, n, a, x0):
    """The heap of n, sorted; where it is less than k, all others are -inf."""
    for last in range(n - 1, 0, -1):
        v, i = h.values[h.at + last], h.ids[h.at + last]
        put_at(h, last, h.values[h.at], h.ids[h.at])
        sink(h, last, v, i)
    k = ZERO
    while n < h.k:
        if real_of(a.x[x0 + k]) == -np.inf:
            put_at(h, n, -np.inf, k)
            n += 1
        k += 1


# ---- statistics -------------------------------------------------------------------------------------------------


@inlined
def moved(d, s, m, top, scale):
    """sum e*(z_m - z) relative to a larger maximum."""
    return d if m == top or s == 0 else share(m, top, scale) * (d + (top - m) * scale * s)


@jit
def like_before(a, n, i, y, x_y):
    """How many of the classes before y have its logit, NaN or -inf."""
    same = 0
    for k in range(y):
        x = np.float64(real_of(a.x[n.x0 + i * n.x_step + k]))
        same += x == x_y or (np.isnan(x) and np.isnan(x_y))
    return same


@jit
def equal_before(x, start, count, x_y):
    same = 0
    for k in range(start, start + count):
        same += np.float64(real_of(x[k])) == x_y
    return same


@jit
def rank_of(a, n, i, y, x_y, above):
    """Its label's place; `above`: how many are, and of the blocks before the label's own how many are not below."""
    if np.isnan(x_y):
        return 1 + like_before(a, n, i, y, x_y)
    if x_y == -np.inf:
        return 1 + above + like_before(a, n, i, y, x_y)
    first = y // BLOCK * BLOCK
    return 1 + above + equal_before(a.x, n.x0 + i * n.x_step + first, y - first, x_y)


@jit
def put_stats(a, n, o, i, y, f, down, above):
    """All but the first class."""
    rest = rest_aside(a, n, i, f)
    more, at = math.log1p(rest), i * STATS
    o.stats[at + 1] = rest
    o.stats[at + 2] = np.nan if np.isnan(rest) else down
    o.stats[at + 3] = lse_of(f, more, n.inner)
    o.stats[at + 4] = o.stats[at + 5] = np.nan
    o.stats[at + 6] = 0
    if y >= 0:
        x_y = np.float64(real_of(a.x[n.x0 + i * n.x_step + y]))
        o.stats[at + 4] = more + (f.m - logit_at(a, n, i, y)) * n.inner
        o.stats[at + 5] = x_y
        o.stats[at + 6] = rank_of(a, n, i, y, x_y, above)


@jit
def look_row(a, n, o, i, y):
    """Statistics and first classes of a row."""
    x0 = n.x0 + i * n.x_step
    f, m, best, down, best_down, above, found = nothing(), -np.inf, ZERO, 0.0, 0.0, ZERO, ZERO
    h = First(o.values, o.ids, i * o.k, o.k)
    x_y = np.float64(real_of(a.x[x0 + y])) if y >= 0 else np.inf
    x_less = below(a.x, x_y)
    for b in range(-(-n.n_classes // BLOCK)):
        first, count = span(n, b)
        top, z_m, s, d, more = see_block(a, n, i, b, x_less if first + count <= y else x_y)
        if top > m:
            m, best = top, b
        if o.k and (not top <= threshold_of(h, found) or np.isnan(s)):
            found = search(h, found, a.x, x0 + first, count, first)
        larger = max(z_m, f.m)
        best_down = d if z_m > f.m else best_down
        down = moved(down, f.best_sum + f.other, f.m, larger, n.inner) + moved(d, s, z_m, larger, n.inner)
        above += more
        f = fold(f, b, z_m, s, 0.0, 0.0, n.inner)
    if o.wants_stats and f.best_sum + f.other < 2 and np.isfinite(f.m):
        down = max(0.0, down - best_down) + depth_of(a, n, i, f.best, f.m)
    if o.k:
        put_in_order(h, found, a, x0)
    if o.wants_stats:
        put_stats(a, n, o, i, y, f, down, above)
        o.stats[i * STATS] = m
        has_nan = np.isnan(f.best_sum + f.other)
        o.stats[i * STATS + 7] = o.ids[i * o.k] if o.k else find_best(a, n, i, m, best * BLOCK, has_nan)


@jit
def forget_row(o, i):
    """An ignored row: zeros, and no class."""
    for j in range(i * o.k, (i + 1) * o.k):
        o.ids[j] = -1
        o.values[j] = 0.0
    if o.wants_stats:
        for j in range(STATS):
            o.stats[i * STATS + j] = -1.0 if j == 7 else 0.0


@kernel
def look_rows(a, n, o, row0, row1):
    """Rows row0 to row1; the first row with a bad label, or -1."""
    a = without_owners(a)
    o = Wanted(memory.of(o.stats), memory.of(o.ids), memory.of(o.values), memory.of(o.words), memory.of(o.drawn),
               memory.of(o.masses), o.k, o.wants_stats, o.draws, o.top_p)
    for i in range(row0, row1):
        if o.draws:
            o.drawn[i] = draw_row(a, n, o, i)
            continue
        y = label_of(a, n, i)
        if y == BAD:
            return i
        if y == INERT:
            forget_row(o, i)
        else:
            look_row(a, n, o, i, y)
    return -1
