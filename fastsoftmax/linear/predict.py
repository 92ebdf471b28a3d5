"""[3] What a linear layer predicts, without its logits of all rows: statistics, the likeliest classes, samples."""

import math

import numpy as np

from .. import look
from .results import Blocks, check_row, make_plan, make_products, place


def scores(problem, k):
    """The statistics of all rows, and of each the first k classes -> look.Looked."""
    looked = look.new(math.prod(problem.loss.lead), k, True, False)
    for rows, logits in _blocks(problem):
        labels = problem.loss.labels[rows] if problem.loss.labels is not None else None
        check_row(problem, rows, look.fill(problem.loss, logits, look.cut(looked, rows), labels))
    return looked


def target_log_prob(problem, ids):
    """log softmax(z)[ids], (n_rows, k) float64, for ids (n_rows, k)."""
    found = np.empty(ids.shape)
    for rows, logits in _blocks(problem):
        looked = look.new(len(logits), 0, True, False)
        look.fill(problem.loss, logits, looked)
        found[rows] = look.log_probs(problem.loss, looked.stats, np.take_along_axis(logits, ids[rows], 1))
    return found


def sample(problem, words, k, top_p):
    """One class a row, (n_rows,), drawn from softmax(z), or from its first classes; see contract.Look."""
    looked = look.new(len(words), k, False, not k)
    for rows, logits in _blocks(problem):
        look.fill(problem.loss, logits, look.cut(looked, rows), None, None if k else words[rows], top_p)
    return look.draw(problem.loss, looked, words, top_p) if k else looked.drawn


def _blocks(problem):
    """(slice of rows, their logits) of all rows, as many at a time as the workspace holds."""
    n_rows = math.prod(problem.loss.lead)
    p = make_plan(problem, n_rows)
    if n_rows == 0:
        return
    products, blocks = make_products(problem, p), Blocks(problem, p)
    for start in range(0, n_rows, p.block_rows):
        rows = slice(start, min(start + p.block_rows, n_rows))
        count = rows.stop - start
        blocks.load(problem, place(problem, rows), count)
        products.logits(blocks.features, blocks.logits, count, 0, p.n_classes)
        yield rows, blocks.logits[:count, :p.n_classes]
