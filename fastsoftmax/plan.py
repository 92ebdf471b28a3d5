"""[3] Problem -> Plan: which backend and kernel, how rows and classes are cut, how many threads. Reads no array."""

import math
from typing import NamedTuple

from .contract import BLOCK, KEPT_BYTES, LOGITS_PER_THREAD, n_blocks

# Half a millisecond of work: long against Python's cost for a slice, short against Ctrl-C.
LOGITS_PER_SLICE = 1 << 20
# Rows that the kernels cannot read in place are copied this many logits at a time (8 MB of float64).
STAGED_LOGITS = 1 << 20
# Outputs of this size would push everything else out of the caches: they go past them.
STREAMED_BYTES = 1 << 24


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
    staged: bool  # whether rows are copied, a few at a time, to where kernels can read them
    staged_rows: int
    stream: bool  # whether the output goes past the caches
    keep_exps: bool  # whether rows hold their exps in place, which saves the second exp


def make(problem, backend, splits_classes, n_threads, staged, in_place):
    """The plan for a problem on a backend."""
    n_rows, n_classes = math.prod(problem.lead), problem.first.shape[-1]
    blocks = n_blocks(n_classes)
    n_threads = max(1, min(n_threads, n_rows * n_classes // LOGITS_PER_THREAD))
    few = n_threads > 1 and n_rows < 2 * n_threads and blocks > n_rows
    long = n_classes > 16 * LOGITS_PER_SLICE
    row_bytes = n_classes * problem.dtype.itemsize
    keep_exps = in_place and blocks > 1 and row_bytes <= KEPT_BYTES
    # kept exps round differently, so they must not depend on the number of threads
    split = "classes" if splits_classes and (few or long) and not keep_exps else "rows"
    shares = 4 * n_threads if n_threads > 1 else 1
    if split == "classes":
        step = max(1, min(LOGITS_PER_SLICE // BLOCK, -(-blocks // shares)))
    else:
        step = max(1, min(LOGITS_PER_SLICE // max(1, n_classes), -(-n_rows // shares)))
    rows = max(1, min(n_rows, STAGED_LOGITS // max(1, n_classes)))
    large = problem.wants_out and n_rows * row_bytes >= STREAMED_BYTES
    return Plan(backend, problem.kernel, problem.dtype.name, n_rows, n_classes, blocks, n_threads, split,
                step, staged, rows, large and not staged and not in_place, keep_exps)
