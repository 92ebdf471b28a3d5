"""[1] A class drawn from a row's softmax by inversion, or from that over its first classes with top_p of the mass.

A class drawn is kept if what comes before it has less than top_p of the mass, else drawn again from that. What is kept is
distributed as softmax over the smallest such set: every class drawn comes from a set that holds that one. Half of what is
too much goes with each trial, on average.
"""

import numpy as np

from ..contract import BLOCK
from . import _numba_lanes as lanes
from . import _numba_memory as memory
from ._numba_cache import inlined, jit
from ._numba_math import real_of
from ._numba_seen import RUN, mass_of, put_aside, run_aside
from ._numba_states import block_of, share
from ._numba_types import ZERO, span

# splitmix64 (Steele, Lea and Flood 2014, doi 10.1145/2714064.2660195)
GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@inlined
def uniform(word):
    """A number in [0, 1), of 53 bits."""
    z = (word ^ (word >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@jit
def find_best(a, n, i, m, first, has_nan):
    """The row's first class, a NaN if it has one; its largest logit m stands nowhere before class `first`."""
    row = n.x0 + i * n.x_step
    if has_nan:
        return lanes.find_first(a.x, row, n.n_classes, np.inf)
    if m == -np.inf:
        return 0
    return first + lanes.find_first(a.x, row + first, n.n_classes - first, lanes.below(a.x, m))


@jit
def exps_before(a, n, i, b, m, value, at):
    """a.z = exp(z - z_m) of block b, 0 for what does not come before class `at` with the logit `value`, unless that is
    -inf; their sum."""
    first, count = span(n, b)
    split = min(max(at - first, 0), count)
    z = memory.of(block_of(a, n, i, b))  # once: where it is converted, that is to a.z
    before = put_aside(a, n, i, b, z, m, ZERO, split, lanes.below(a.x, value))
    return before + put_aside(a, n, i, b, z, m, split, count, value)


@jit
def pick(a, count, target):
    """The first of the exps in a.z at which their sum is more than target; or the last that is not nothing."""
    k, s = ZERO, 0.0
    while k + RUN < count:
        more = s + run_aside(a, k, count)
        if more > target:
            break
        k, s = k + RUN, more
    while k < count:
        s += np.float64(a.z[k])
        if s > target and a.z[k] > 0:
            return k
        k += 1
    k = count - 1
    while k > 0 and not a.z[k] > 0:
        k -= 1
    return k


@jit
def draw_from(a, n, o, i, total, value, at, u):
    """The class at u of the mass before class `at`, whose blocks have o.masses."""
    n_blocks, b, target = -(-n.n_classes // BLOCK), 0, u * total
    last = 0
    for k in range(n_blocks):
        if o.masses[k] > 0:
            last = k
    while b < last and target >= o.masses[b]:
        target -= o.masses[b]
        b += 1
    own = exps_before(a, n, i, b, o.masses[n_blocks + b], value, at)
    part = min(target / o.masses[b], 1 - 2.0**-53)
    return b * BLOCK + pick(a, span(n, b)[1], part * own)


@jit
def draw_row(a, n, o, i):
    n_blocks, top, best, total = -(-n.n_classes // BLOCK), -np.inf, 0, 0.0
    for b in range(n_blocks):
        m, o.masses[b] = mass_of(a, n, i, b)
        o.masses[n_blocks + b] = m
        if m > top:
            top, best = m, b
    for b in range(n_blocks):
        o.masses[b] *= share(o.masses[n_blocks + b], top, n.inner)
        total += o.masses[b]
    if np.isnan(total) or np.isinf(top):
        return find_best(a, n, i, top, best * BLOCK, np.isnan(total))
    word, most, value, at = o.words[i], o.top_p * total, -np.inf, ZERO
    while True:
        word += GOLDEN
        at = draw_from(a, n, o, i, total, value, at, uniform(word))
        value = np.float64(real_of(a.x[n.x0 + i * n.x_step + at]))
        if o.top_p >= 1:
            return at
        total = 0.0
        for b in range(n_blocks):
            m = o.masses[n_blocks + b]
            o.masses[b] = 0.0
            if n.cap != 0 or m >= value:
                o.masses[b] = exps_before(a, n, i, b, m, value, at) * share(m, top, n.inner)
            total += o.masses[b]
        if not total >= most or total == 0:
            return at
