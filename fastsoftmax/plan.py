"""[3] Problem -> Plan: which backend and kernel, how rows and classes are cut, how many threads. Reads no array."""

import math
from typing import NamedTuple

from .contract import BLOCK, KEPT_BYTES, LOGITS_PER_ROW, STREAMED_BYTES, n_blocks

# Half a millisecond of work: long against Python's cost for a slice, short against Ctrl-C.
LOGITS_PER_SLICE = 1 << 20
# Rows that the kernels cannot read in place are copied this many bytes at a time: more than a few, for the cache lines
# of rows side by side to be read whole, less than what falls out of the L2 cache (1 MB and 8 MB are a fifth slower).
STAGED_BYTES = 1 << 22
# Of rows that lie side by side, as many are read together as a cache line holds,
LINE_BYTES = 64
# or all of them, memory in order, where a block of them (4096 times this much a thread) stays in the L3 cache.
BAND_BYTES = 1 << 11


class Plan(NamedTuple):
    """How a problem is computed. `print(plan)` is a bug report."""

    backend: str
    kernel: str
    dtype: str
    n_rows: int
    n_classes: int
    n_blocks: int
    n_threads: int
    split: str  # "rows", or "classes" where rows are few and long
    step: int  # rows, or blocks of classes, in one slice
    group: int  # rows that a kernel reads together: more than one where they lie side by side
    tiled: bool  # whether the class axis is contiguous in some array only after the kernel's own copying
    staged: bool  # whether rows are copied, a few at a time, to where kernels can read them
    staged_rows: int
    stream: bool  # whether the output goes past the caches
    keep_exps: bool  # whether rows of the output hold their exps meanwhile, which saves the second exp


def make(problem, name, backend, n_threads, inner, packed, staged, in_place):
    """The plan for a problem on a backend. `inner` rows lie side by side in memory, 0: classes do; `packed`: only they."""
    n_rows, n_classes = math.prod(problem.lead), problem.first.shape[-1]
    blocks, tiled, itemsize = n_blocks(n_classes), inner > 0, problem.dtype.itemsize
    n_threads = max(1, min(n_threads, n_rows * (n_classes + LOGITS_PER_ROW) // backend.LOGITS_PER_THREAD))
    group = 1
    if tiled:
        whole = packed and max(blocks, n_rows // inner) >= 4 * n_threads
        group = _group(inner, itemsize, whole, problem.second is not None)
    few = n_threads > 1 and n_rows < 2 * n_threads * group and blocks * group > n_rows
    long = n_classes * group > 16 * LOGITS_PER_SLICE
    row_bytes = n_classes * itemsize
    large = problem.wants_out and n_rows * row_bytes >= STREAMED_BYTES
    stream = large and not staged and (tiled or not in_place)
    keep_exps = problem.wants_out and not (stream or tiled or staged) and blocks > 1 and row_bytes <= KEPT_BYTES
    # a backend may round kept exps differently (Numba does), so they must not depend on the number of threads
    split = "classes" if backend.SPLITS_CLASSES and (few or long) and not keep_exps else "rows"
    shares = 4 * n_threads if n_threads > 1 else 1
    if split == "classes":
        step = max(1, min(LOGITS_PER_SLICE // BLOCK // group, -(-blocks // shares)))
    else:
        step = max(1, min(LOGITS_PER_SLICE // max(1, n_classes), -(-n_rows // shares)))
        step = -(-step // group) * group
    rows = max(1, min(n_rows, STAGED_BYTES // max(1, row_bytes)))
    return Plan(name, problem.kernel, problem.dtype.name, n_rows, n_classes, blocks, n_threads, split,
                step, group, tiled, staged, rows, stream, keep_exps)


def _group(inner, itemsize, whole, two_arrays):
    """How many of `inner` rows that lie side by side are computed together: a line of each class, or if `whole` all."""
    if whole and inner * itemsize <= BAND_BYTES >> two_arrays:
        return inner
    return min(inner, LINE_BYTES // itemsize)
