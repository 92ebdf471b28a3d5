"""[3] Problem -> Plan: which backend and kernel, how rows and classes are cut, how many threads. Reads no array."""

import math
from typing import NamedTuple

from .contract import (
    BLOCK,
    CLASSES_DEEP,
    CLASSES_WIDE,
    FILTERED,
    FINALS,
    KEPT_BYTES,
    LOGITS_PER_ROW,
    PANEL_BYTES,
    PANELS_WIDE,
    PARTS,
    STREAMED_BYTES,
    TILE_ROWS,
    n_blocks,
)

# Half a millisecond of work: long against Python's cost for a slice, short against Ctrl-C.
LOGITS_PER_SLICE = 1 << 20
# Of whole rows more, as the first is read while none is written, the last written while none is read (two threads of Zen 4,
# 50,257 to 128,256 float32: up to 2 % less time).
LOGITS_PER_SLICE_OF_ROWS = 1 << 21
# Rows that the kernels cannot read in place are copied this many bytes at a time: more than a few, for the cache lines
# of rows side by side to be read whole, less than what falls out of the L2 cache (1 MB and 8 MB are a fifth slower).
STAGED_BYTES = 1 << 22
# Of rows that lie side by side, as many are read together as a cache line holds,
LINE_BYTES = 64
# or all of them, memory in order, where a block of them (4096 times this much a thread) stays in the L3 cache.
BAND_BYTES = 1 << 11

# How long both products take for a dlogit that grad_filter keeps, which is listed and multiplied alone, against one of a
# dense product: where more than 1/KEPT_COST of FILTERED classes are kept, the dense one is faster. Compiled kernels; where
# the dense product is of bfloat16; by BLAS, which leaves out whole classes (`python -m fastsoftmax.bench.linear_filter`).
KEPT_COST, KEPT_COST_OF_PAIRS, KEPT_COST_OF_CLASSES = 4.0, 8.0, 1.5

# What linear_* may allocate beside their results, unless they are told otherwise.
WORKSPACE_BYTES = 64 << 20


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
    work = n_rows * (n_classes + LOGITS_PER_ROW)
    n_threads = max(1, min(n_threads, work // backend.LOGITS_PER_THREAD))
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
    splits = backend.SPLITS_CLASSES and problem.kernel != "centered_rows"
    split = "classes" if splits and (few or long) and not keep_exps else "rows"
    if split == "classes":
        by_classes = min(n_threads, work // backend.PHASE_LOGITS_PER_THREAD)
        if by_classes < n_threads and by_classes <= n_rows and not long:
            split, n_threads = "rows", min(n_threads, n_rows)
        else:
            n_threads = max(1, by_classes)
    shares = 4 * n_threads if n_threads > 1 else 1
    if split == "classes":
        step = max(1, min(LOGITS_PER_SLICE // BLOCK // group, -(-blocks // shares)))
    else:
        slices = n_threads * -(-n_rows * n_classes // (n_threads * LOGITS_PER_SLICE_OF_ROWS))  # as many for each thread
        step = -(-max(1, -(-n_rows // max(1, slices, shares))) // group) * group
    rows = max(1, min(n_rows, STAGED_BYTES // max(1, row_bytes)))
    return Plan(name, problem.kernel, problem.dtype.name, n_rows, n_classes, blocks, n_threads, split,
                step, group, tiled, staged, rows, stream, keep_exps)


def _group(inner, itemsize, whole, two_arrays):
    """How many of `inner` rows that lie side by side are computed together: a line of each class, or if `whole` all."""
    if whole and inner * itemsize <= BAND_BYTES >> two_arrays:
        return inner
    return min(inner, LINE_BYTES // itemsize)


class LinearPlan(NamedTuple):
    """How a linear layer with its loss is computed. `print(plan)` is a bug report.

    A product of a block takes 2*block_rows*n_features*block_classes operations. By rows, blocks have all classes, and no
    logit is computed twice: 3 products. Meanwhile the classifier is read twice, its gradient read and written once, as many
    bytes for few rows as for many, so blocks are as large as the workspace allows. By classes, blocks have all rows, some
    at a time, and logits are computed twice: 4 products. That is for what needs the gradient of the classifier complete,
    class by class, where there are several blocks of rows: an optimizer's step, or rounding to 16 bits. (Backends that
    cannot do that add it up in an array of their own, beyond the workspace.)
    """

    backend: str
    dtype: str  # of the computation
    n_rows: int  # that count
    n_features: int
    n_classes: int
    n_threads: int
    order: str  # "rows" or "classes"
    block_rows: int
    block_classes: int
    features_step: int  # elements from one row of a block of features, or of their gradient, to the next
    logits_step: int
    copies_classes: bool  # whether the classifier is copied, some classes at a time, to be computed with: never all of it
    workspace_bytes: int
    least_workspace_bytes: int  # in this order
    kept_cost: float  # grad_filter: of FILTERED classes a share of at most 1/kept_cost is multiplied alone; 0: no filter


def make_linear(problem, n_rows, name, backend, n_threads):
    """The plan for a LinearProblem of which n_rows count; its workspace may be more than is allowed."""
    by_rows = _by_rows(problem, n_rows, name, n_threads)
    several = by_rows.block_rows < n_rows or by_rows.workspace_bytes > problem.max_workspace_bytes
    wide = problem.loss.dtype.real.itemsize
    rounded = "classifier" in problem.wanted and problem.rows[1].itemsize < wide
    if several and (problem.optimizer is not None or rounded) and backend.FORGETS_CLASSES:
        return _by_classes(problem, n_rows, name, n_threads)
    return by_rows


def _by_rows(problem, n_rows, name, n_threads):
    n_classes, n_features = problem.classifier.shape
    itemsize = problem.loss.dtype.real.itemsize
    features_step, logits_step = padded(n_features, itemsize), padded(n_classes, itemsize)
    row_bytes = _row_bytes(problem, features_step, logits_step, n_threads)
    cost = _kept_cost(problem, name)
    row_bytes += _filter_row_bytes(n_classes, itemsize, n_threads, cost)
    room = n_threads * _room_bytes(n_features, itemsize) + n_classes * itemsize * ("bias" in problem.wanted)
    room += _filter_bytes(n_classes, n_rows, itemsize, n_threads, cost)
    if problem.optimizer is not None:
        room += min(BLOCK, n_classes) * (n_features + 1) * itemsize
    rows, least = _rows_that_fit(problem, n_rows, row_bytes, room)
    return LinearPlan(name, problem.loss.dtype.name, n_rows, n_features, n_classes, n_threads, "rows", rows, n_classes,
                      features_step, logits_step, _copies_classes(problem), rows * row_bytes + room, least, cost)


def _by_classes(problem, n_rows, name, n_threads):
    n_classes, n_features = problem.classifier.shape
    itemsize = problem.loss.dtype.real.itemsize
    classes = min(BLOCK, n_classes)
    features_step, logits_step = padded(n_features, itemsize), padded(classes, itemsize)
    row_bytes = _row_bytes(problem, features_step, logits_step, n_threads)
    cost = _kept_cost(problem, name)
    row_bytes += _filter_row_bytes(classes, itemsize, n_threads, cost)
    known = 8 * (n_blocks(n_classes) * PARTS + FINALS + 2) + itemsize * n_features * ("features" in problem.wanted)
    room = _filter_bytes(n_classes, n_rows, itemsize, n_threads, cost)
    room += n_threads * _room_bytes(n_features, itemsize) + n_rows * known + classes * (n_features + 1) * itemsize
    rows, least = _rows_that_fit(problem, n_rows, row_bytes, room)
    return LinearPlan(name, problem.loss.dtype.name, n_rows, n_features, n_classes, n_threads, "classes", rows, classes,
                      features_step, logits_step, _copies_classes(problem), rows * row_bytes + room, least, cost)


def _kept_cost(problem, name):
    if not problem.grad_filter or not {"features", "classifier"} & set(problem.wanted):
        return 0.0
    if name != "cython":
        return KEPT_COST_OF_CLASSES
    return KEPT_COST_OF_PAIRS if problem.pairs else KEPT_COST


def _filter_row_bytes(n_classes, itemsize, n_threads, cost):
    """What a row of a block takes to be filtered: of each thread, a bit for each class and the list of what it keeps of
    FILTERED classes; what is dropped of each FILTERED classes; its own numbers."""
    if not cost:
        return 0
    return int(n_threads * FILTERED * (itemsize / 8 + 2 * itemsize / cost)) + 16 * -(-n_classes // FILTERED) + 64


def _filter_bytes(n_classes, n_rows, itemsize, n_threads, cost):
    """The same of classes, whose norms, sums, and lists' beginnings are known, and of all rows: their sums and limits."""
    if not cost:
        return 0
    return n_classes * (3 * itemsize + 24) + n_rows * 48 + n_threads * FILTERED * (2 * itemsize + 8)


def _copies_classes(problem):
    a = problem.classifier
    return problem.pairs or a.dtype != problem.loss.dtype.real or (a.shape[1] > 1 and a.strides[1] != a.itemsize)


def _rows_that_fit(problem, n_rows, row_bytes, room):
    """(rows a block, in whole tiles, all blocks of about a size; the workspace of the smallest block)."""
    tiles = -(-n_rows // TILE_ROWS)
    most = max(1, (problem.max_workspace_bytes - room) // (row_bytes * TILE_ROWS))
    blocks = max(1, -(-tiles // most))
    return TILE_ROWS * max(1, -(-tiles // blocks)), TILE_ROWS * row_bytes + room


def padded(n, itemsize):
    """Elements from row to row: whole panels and a cache line, so that rows do not share the few sets of a cache."""
    panel = PANEL_BYTES // itemsize
    return -(-n // panel) * panel + LINE_BYTES // itemsize


def _row_bytes(problem, features_step, logits_step, n_threads):
    """What a row of a block takes: logits, features, their gradient, and its part of each thread's own memory."""
    blocks = 1 + ("features" in problem.wanted) + 0.5 * problem.pairs
    own = n_threads * (CLASSES_DEEP * problem.pairs + CLASSES_WIDE)
    return int(problem.loss.dtype.real.itemsize * (logits_step + features_step * blocks + own))


def _room_bytes(n_features, itemsize):
    """Memory of one thread in a product beside that: a panel of classes, turned, and some of them as they are read."""
    return max((PANEL_BYTES + 32 * itemsize) * (n_features + 1), CLASSES_DEEP * PANELS_WIDE * PANEL_BYTES) + 2 * LINE_BYTES
