"""[3] A block of rows at a time, with all their logits: three products and no logit computed twice."""

import numpy as np

from .. import run
from ..contract import BLOCK
from . import steps
from .results import Blocks, check_row, chosen, is_real, per_row, place, put


def fill(problem, results, products, kept):
    """Losses and gradients of all rows that count; or the optimizer's step in the place of the layer's own gradients.

    kept: a Filter, or None.
    """
    p, real = results.plan, problem.loss.dtype.real
    blocks = Blocks(problem, p)
    in_tiles = problem.optimizer is not None and p.block_rows >= p.n_rows
    dfeatures, *own = results.gradients
    if problem.optimizer is not None and not in_tiles:  # several blocks of rows: their sum must be kept
        sums = [None if a is None else np.empty(a.shape, real) for a in problem.parameters]
    else:
        sums = [_sums(g, real, problem.accumulate, g is own[0] and p.block_rows >= p.n_rows) for g in own]
    for start in range(0, p.n_rows, p.block_rows):
        stop = min(start + p.block_rows, p.n_rows)
        count, rows = stop - start, chosen(results, start, stop)
        at = place(problem, rows)
        blocks.load(problem, at, count)
        products.logits(blocks.features, blocks.logits, count, 0, p.n_classes)
        _losses(problem, results, blocks, rows, count)
        if in_tiles:
            _step_in_tiles(problem, p, products, kept, blocks, rows)
        else:
            some = kept.products_of(blocks.logits, blocks.features, rows, count, 0, p.n_classes) if kept else products
            if dfeatures is not None:
                some.dfeatures(blocks.logits, blocks.dfeatures, count, 0, p.n_classes, True)
            if any(s is not None for s in sums):
                some.dclassifier(blocks.logits, blocks.features, count, *sums, start == 0 and not problem.accumulate)
        if dfeatures is not None:
            put(dfeatures, at, blocks.dfeatures[:count, :p.n_features], problem.accumulate)
    if problem.optimizer is not None and not in_tiles:
        steps.step(problem, slice(0, p.n_classes), sums)
    for g, s in zip(own, sums, strict=True):
        if g is not None and s is not g:
            g[...] = s


def _step_in_tiles(problem, p, products, kept, blocks, rows):
    """One block holds all rows: the gradients of some classes at a time, and their step."""
    real = problem.loss.dtype.real
    tiles = [None if a is None else np.empty((min(BLOCK, p.n_classes), *a.shape[1:]), real) for a in problem.parameters]
    for class0 in range(0, p.n_classes, BLOCK):
        class1 = min(class0 + BLOCK, p.n_classes)
        logits, sums = blocks.logits[:, class0:], [None if t is None else t[:class1 - class0] for t in tiles]
        some = kept.products_of(logits, blocks.features, rows, p.n_rows, class0, class1) if kept else products
        if blocks.dfeatures is not None:
            some.dfeatures(logits, blocks.dfeatures, p.n_rows, class0, class1, class0 == 0)
        some.dclassifier(logits, blocks.features, p.n_rows, *sums, True)
        steps.step(problem, slice(class0, class1), sums)


def _sums(gradient, real, accumulate, is_rounded_once):
    """Where a gradient is added up: in its own place, or, over several blocks of rows, in the dtype of computation."""
    if gradient is None or is_rounded_once or is_real(gradient, real):
        return gradient
    return gradient.astype(real) if accumulate else np.empty(gradient.shape, real)


def _losses(problem, results, blocks, rows, count):
    """Losses and lse of a block of logits, and their gradient in their place."""
    logits = blocks.logits[:count, :results.plan.n_classes]
    losses, lse = np.empty(count), np.empty(count)
    out = logits if problem.loss.wants_out else None
    bad = run.fill(problem.loss, logits, out, *per_row(problem, rows), losses, lse)
    check_row(problem, rows, bad)
    results.losses[rows], results.lse[rows] = losses, lse
