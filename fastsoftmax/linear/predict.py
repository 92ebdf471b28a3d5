"""[3] What a linear layer predicts, without its logits of all rows: log-probabilities, the likeliest classes, samples."""

import math

import numpy as np

from .. import backends, run
from ..contract import BLOCK, Layer
from .results import Blocks, make_plan, place


def target_log_prob(problem, ids):
    """log softmax(z)[ids], (n_rows, k) float64, for ids (n_rows, k)."""
    found = np.empty(ids.shape)
    for rows, logits, lse in _blocks(problem):
        found[rows] = _z(problem, np.take_along_axis(logits, ids[rows], 1)) - lse[:, None]
    return found


def topk(problem, k):
    """(log_probs, ids), (n_rows, k) each, likeliest first; among equals the least id first, and NaN before all."""
    n_rows = math.prod(problem.loss.lead)
    log_probs, ids = np.empty((n_rows, k)), np.empty((n_rows, k), np.int64)
    for rows, logits, lse in _blocks(problem):
        values, ids[rows] = _largest(logits, k)
        log_probs[rows] = _z(problem, values) - lse[:, None]
    return log_probs, ids


def sample(problem, rng, k):
    """One class a row, (n_rows,), drawn from softmax(z), or of its k likeliest: Gumbel-max.

    argmax of z - log(e) with exponential e (Gumbel 1954). A row's numbers are drawn in order, then its neighbour's, so
    samples do not depend on threads or workspace.
    """
    drawn = np.empty(math.prod(problem.loss.lead), np.int64)
    for rows, logits, _ in _blocks(problem, wants_lse=False):
        values, ids = _largest(logits, k) if k else (logits, None)
        for i, row in enumerate(range(rows.start, rows.stop)):
            noise = rng.standard_exponential(values.shape[1])
            best = np.argmax(_z(problem, values[i]) - np.log(noise, out=noise))
            drawn[row] = best if ids is None else ids[i, best]
    return drawn


def _blocks(problem, wants_lse=True):
    """(slice of rows, their logits, their lse) of all rows, as many at a time as the workspace holds."""
    n_rows = math.prod(problem.loss.lead)
    p = make_plan(problem, n_rows)
    if n_rows == 0:
        return
    layer = Layer(problem.loss.dtype, problem.classifier, problem.bias, problem.pairs)
    products = backends.load(p.backend).products(layer, p.n_threads)
    blocks = Blocks(problem, p)
    for start in range(0, n_rows, p.block_rows):
        rows = slice(start, min(start + p.block_rows, n_rows))
        count = rows.stop - start
        blocks.load(problem, place(problem, rows), count)
        products.logits(blocks.features, blocks.logits, count, 0, p.n_classes)
        logits, lse = blocks.logits[:count, :p.n_classes], np.empty(count)
        if wants_lse:
            run.fill(problem.loss._replace(kernel="lse_rows"), logits, None, None, None, None, None, lse)
        yield rows, logits, lse


def _z(problem, logits):
    """What softmax sees of some logits, in float64."""
    u = logits.astype(np.float64) * problem.loss.scale
    return problem.loss.cap * np.tanh(u / problem.loss.cap) if problem.loss.cap else u


def _largest(logits, k):
    """(values, ids) of the k largest of each row, the largest first, the least id first among equals, NaN before all.

    Only what exceeds the k-th of the classes before is looked at: of later blocks that is next to nothing.
    """
    n_rows, n_classes = logits.shape
    k = min(k, n_classes)
    values = np.empty((n_rows, 0), logits.dtype)
    ids = np.empty((n_rows, 0), np.int64)
    for start in range(0, n_classes, BLOCK):
        block = logits[:, start:start + BLOCK]
        if start < k:
            rows = np.arange(n_rows)
        else:
            rows = np.flatnonzero(~np.all(block <= values[:, -1:], axis=1))
        if not len(rows):
            continue
        both = np.concatenate([values[rows], block[rows]], axis=1)
        new = np.broadcast_to(np.arange(start, start + block.shape[1]), (len(rows), block.shape[1]))
        names = np.concatenate([ids[rows], new], axis=1)
        order = _first(both, k)
        if start < k:
            values, ids = np.take_along_axis(both, order, 1), np.take_along_axis(names, order, 1)
        else:
            values[rows], ids[rows] = np.take_along_axis(both, order, 1), np.take_along_axis(names, order, 1)
    return values, ids


def _first(values, k):
    """Positions of the k largest of each row, in order, the first among equals first, NaN before all."""
    keys = np.where(np.isnan(values), -np.inf, -values)
    if np.isnan(values).any() or k >= values.shape[1]:
        return np.lexsort((keys, ~np.isnan(values)), axis=1)[:, :k]
    # the k-th by selection; of those equal to it, the first ones: a stable sort of what is not beyond it
    kth = np.partition(keys, k - 1, axis=1)[:, k - 1:k]
    order = np.empty((len(values), k), np.int64)
    for i, row in enumerate(keys):
        at = np.flatnonzero(row <= kth[i])
        order[i] = at[np.argsort(row[at], kind="stable")][:k]
    return order
