"""[3] A block of rows at a time, with all their logits: three products and no logit computed twice."""

import numpy as np

from .. import run
from .results import Blocks, check_row, chosen, is_real, per_row, place, put


def fill(problem, results, products):
    """Losses and gradients of all rows that count."""
    p, real = results.plan, problem.loss.dtype.real
    blocks = Blocks(problem, p)
    gradients = results.gradients
    sums = dclassifier, dbias = [_sums(g, real, problem.accumulate) for g in gradients[1:]]
    for start in range(0, p.n_rows, p.block_rows):
        stop = min(start + p.block_rows, p.n_rows)
        count, rows = stop - start, chosen(results, start, stop)
        at = place(problem, rows)
        blocks.load(problem, at, count)
        products.logits(blocks.features, blocks.logits, count, 0, p.n_classes)
        _losses(problem, results, blocks, rows, count)
        if gradients[0] is not None:
            products.dfeatures(blocks.logits, blocks.dfeatures, count, 0, p.n_classes, True)
            put(gradients[0], at, blocks.dfeatures[:count, :p.n_features], problem.accumulate)
        if dclassifier is not None or dbias is not None:
            products.dclassifier(blocks.logits, blocks.features, count, dclassifier, dbias,
                                 start == 0 and not problem.accumulate)
    for g, s in zip(gradients[1:], sums, strict=True):
        if s is not g:
            g[...] = s


def _sums(gradient, real, accumulate):
    """Where a gradient is added up: in its own place, or in the dtype of computation, to be rounded once."""
    if gradient is None or is_real(gradient, real):
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
