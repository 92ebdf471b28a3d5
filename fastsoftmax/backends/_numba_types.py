"""[1] What the row kernels are called with, and what they keep of a row.

`a` are the arrays, each (n_rows, n_classes) one a flat array and a place to start, `n` the numbers; what is absent is an
empty array and a flag.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from ..contract import BLOCK, KEPT_BYTES
from . import _numba_memory as memory
from ._numba_blocks import LOG2_E as LOG2_E
from ._numba_cache import inlined

LSE, SOFTMAX, LOG_SOFTMAX, LABELS, TARGETS, CENTERED = range(6)  # what a job is
SECOND, LOGITS, LOGS, PROBS = range(4)  # what the second array is
ZERO, ONE = np.int64(0), np.int64(1)  # to be passed on: for a literal, which has a type of its own, Numba compiles anew


class Arrays(NamedTuple):
    """x, q, out: flat carriers; z: room for one block. ids, shares, found: of contract.Targets. The others as in
    contract.Job. In kernels: memory.Memory."""

    x: np.ndarray
    q: np.ndarray
    out: np.ndarray
    z: np.ndarray
    class_weight: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    shares: np.ndarray
    found: np.ndarray
    shifts: np.ndarray
    sample_weight: np.ndarray
    dlosses: np.ndarray
    losses: np.ndarray
    lse: np.ndarray
    states: np.ndarray
    finals: np.ndarray


class Numbers(NamedTuple):
    """Row i of x starts at x0 + i*x_step, in elements. inner: what multiplies x - max, the scale or 1 with a cap."""

    kind: int
    second: int
    n_classes: int
    n_targets: int  # labels a row, where it has several
    x0: int
    x_step: int
    q0: int
    q_step: int
    out0: int
    out_step: int
    ignore_index: int
    keeps: bool  # whether rows hold their exps in the output, or where that is streamed, aside
    streams: bool  # whether out goes past the caches
    in_place: int  # 1 where out is x itself, 2 where it is q, else 0
    writes: bool
    has_labels: bool  # one a row
    has_shifts: bool
    minus_entropy: bool
    weighs_classes: bool
    weighs_rows: bool
    has_dlosses: bool
    scale: float
    inner: float
    cap: float
    smoothing: float
    z_loss: float
    grad_scale: float
    q_scale: float


@inlined
def without_owners(a):
    """The arrays as Memory."""
    return Arrays(memory.of(a.x), memory.of(a.q), memory.of(a.out), memory.of(a.z), memory.of(a.class_weight),
                  memory.of(a.labels), memory.of(a.ids), memory.of(a.shares), memory.of(a.found), memory.of(a.shifts),
                  memory.of(a.sample_weight), memory.of(a.dlosses), memory.of(a.losses), memory.of(a.lse),
                  memory.of(a.states), memory.of(a.finals))


@register_jitable
def is_fit(n_classes, row_bytes):
    """Whether a row has several blocks, and the L2 cache room for its exps."""
    return BLOCK < n_classes and row_bytes <= KEPT_BYTES


@register_jitable
def scratch_size(n):
    """How many numbers Arrays.z has: a block, and exps that are kept aside, in whole cache lines."""
    return min(BLOCK, n.n_classes) + (n.n_classes + 16 if n.keeps and n.streams else 0)


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

    Written is factor*exp(z - z_m) - less, or with LOG_SOFTMAX z - z_m - less; the row's targets and slopes come on top.
    about: what its exps are relative to, blocks.relative."""

    row: int
    y: int
    final: Final
    factor: float
    less: float
    about: tuple


@inlined
def span(n, b):
    """The classes of block b: from, how many."""
    return b * BLOCK, min(BLOCK, n.n_classes - b * BLOCK)
