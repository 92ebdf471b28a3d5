"""[3] What a linear layer predicts, without its logits of all rows: log-probabilities, the likeliest classes, samples."""

import math

import numpy as np

from .. import run
from ..contract import BLOCK
from .results import Blocks, make_plan, make_products, place


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
    products, blocks = make_products(problem, p), Blocks(problem, p)
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
    """(values, ids), (n_rows, k), of the largest of each row, in order; among equals the least id first, NaN before all."""
    values, ids = np.empty((len(logits), k), logits.dtype), np.empty((len(logits), k), np.int64)
    for i, row in enumerate(logits):
        ids[i] = _largest_of(row, k)
        values[i] = row[ids[i]]
    return values, ids


def _largest_of(row, k):
    """Block by block: of later ones next to nothing exceeds the k-th of those before, and only that is looked at."""
    ids = np.empty(0, np.int64)
    for start in range(0, len(row), BLOCK):
        block = row[start:start + BLOCK]
        at = np.arange(len(block)) if len(ids) < k else np.flatnonzero(~(block <= row[ids[-1]]))
        if len(at):
            both = np.concatenate([ids, start + at])
            ids = both[_first(row[both], k)]
    return ids


def _first(values, k):
    """Positions of the k largest, in order."""
    is_nan = np.isnan(values)
    keys = np.where(is_nan, -np.inf, -values)
    if is_nan.any() or k >= len(values):
        return np.lexsort((keys, ~is_nan))[:k]
    at = np.flatnonzero(keys <= np.partition(keys, k - 1)[k - 1])
    return at[np.argsort(keys[at], kind="stable")[:k]]
