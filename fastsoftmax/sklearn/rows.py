"""[5] X a block of rows at a time: losses, gradients, logits, the likeliest classes. X is dense, or sparse by rows (CSR).

Few rows of a sparse X are made dense, for the fused kernels; a very sparse one is multiplied as it is, which needs a block
of logits, and a classifier that is contiguous along its classes.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .. import api, api_linear

Array: TypeAlias = NDArray[Any]
Matrix: TypeAlias = Any  # an ndarray or a scipy.sparse CSR matrix, which has no types

# scipy's products run on one thread: 512 rows, 5,000 features and 4,000 classes took as long as dense ones at 1/20.
DENSE_ENOUGH = 1 / 50


class Layer(NamedTuple):
    """The parameters, or their gradient. classifier (n_classes, n_features), bias (n_classes,) or None."""

    classifier: Array
    bias: Array | None

    def each(self, change: Callable[[Array], Array]) -> "Layer":
        """Both, changed alike."""
        return Layer(change(self.classifier), None if self.bias is None else change(self.bias))


class Rows(NamedTuple):
    """What is fitted to. labels are indices of classes; losses are multiplied by weights, float64, and added up."""

    X: Matrix
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]

    def take(self, chosen: Array) -> "Rows":
        """Copies of some, by index or mask."""
        return Rows(self.X[chosen], self.labels[chosen], self.weights[chosen])

    @property
    def n_rows(self) -> int:
        return len(self.labels)


def is_very_sparse(X: Matrix) -> bool:
    """Whether X is better multiplied as it is."""
    return bool(sparse.issparse(X) and X.nnz < DENSE_ENOUGH * X.shape[0] * X.shape[1])


def slices(n_rows: int, row_bytes: int, max_bytes: int) -> Iterator[slice]:
    """Blocks of as many rows as max_bytes hold, at least one."""
    step = max(1, max_bytes // max(1, row_bytes))
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def dense_blocks(X: Matrix, max_bytes: int) -> Iterator[tuple[slice, Array, int]]:
    """(which rows, they, the bytes that are left) for all of a dense X at once, or blocks of a sparse one."""
    if not sparse.issparse(X):
        yield slice(0, X.shape[0]), X, max_bytes
        return
    for some in slices(X.shape[0], X.shape[1] * X.dtype.itemsize, max_bytes // 2):
        yield some, X[some].toarray(), max_bytes - max_bytes // 2


def loss_and_add_gradient(rows: Rows, layer: Layer, gradient: Layer, max_bytes: int) -> float:
    """The sum of losses; their gradient is added to `gradient`."""
    if is_very_sparse(rows.X):
        return _sparse_loss_and_add_gradient(rows, layer, gradient, max_bytes)
    total = 0.0
    for some, X, left in dense_blocks(rows.X, max_bytes):
        total += float(api_linear.linear_cross_entropy_and_grad(
            X, layer.classifier, rows.labels[some], bias=layer.bias, sample_weight=rows.weights[some], reduction="sum",
            wrt=("classifier", "bias"), out=(None, *gradient), accumulate=True, max_workspace_bytes=left).loss)
    return total


def _sparse_loss_and_add_gradient(rows: Rows, layer: Layer, gradient: Layer, max_bytes: int) -> float:
    """The same by scipy's products, which are dlogits.T @ X the other way round."""
    total = 0.0
    for some, logits in _logits_of_sparse(rows.X, layer, max_bytes):
        result = api.cross_entropy_and_grad(logits, rows.labels[some], sample_weight=rows.weights[some], reduction="sum",
                                            out=logits)
        gradient.classifier.T[...] += rows.X[some].T @ logits
        if gradient.bias is not None:
            gradient.bias[...] += logits.sum(axis=0)
        total += float(result[0])
    return total


def _logits_of_sparse(X: Matrix, layer: Layer, max_bytes: int) -> Iterator[tuple[slice, Array]]:
    by_features = np.ascontiguousarray(layer.classifier.T)  # once: scipy would copy it for every block
    row_bytes = len(layer.classifier) * np.result_type(X.dtype, by_features.dtype).itemsize
    for some in slices(X.shape[0], row_bytes, max_bytes):
        logits = X[some] @ by_features
        if layer.bias is not None:
            logits += layer.bias
        yield some, logits


def mean_loss(rows: Rows, layer: Layer, max_bytes: int) -> float:
    """The weighted mean of the losses."""
    total = 0.0
    if is_very_sparse(rows.X):
        for some, logits in _logits_of_sparse(rows.X, layer, max_bytes):
            total += float(api.cross_entropy(logits, rows.labels[some], sample_weight=rows.weights[some], reduction="sum"))
    else:
        for some, X, left in dense_blocks(rows.X, max_bytes):
            total += float(api_linear.linear_cross_entropy(X, layer.classifier, rows.labels[some], bias=layer.bias,
                                                           sample_weight=rows.weights[some], reduction="sum",
                                                           max_workspace_bytes=left))
    return total / float(rows.weights.sum())


def logits(X: Matrix, layer: Layer, max_bytes: int) -> Array:
    """All of them, (n_rows, n_classes), for callers who want that many numbers; nothing else is as large."""
    out = np.empty((X.shape[0], len(layer.classifier)), np.result_type(X.dtype, layer.classifier.dtype))
    if sparse.issparse(X):
        for some, block in _logits_of_sparse(X, layer, max_bytes):
            out[some] = block
    else:
        np.matmul(X, layer.classifier.T, out=out)
        if layer.bias is not None:
            out += layer.bias
    return out


def top(X: Matrix, layer: Layer, k: int, max_bytes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(log-probabilities, ids) of the k likeliest classes of each row, (n_rows, k), the likeliest first."""
    log_probs, ids = np.empty((X.shape[0], k)), np.empty((X.shape[0], k), np.int64)
    if is_very_sparse(X):
        for some, block in _logits_of_sparse(X, layer, max_bytes):
            api.log_softmax(block, out=block)
            ids[some] = [_top_of_row(row, k) for row in block]
            log_probs[some] = np.take_along_axis(block, ids[some], axis=1)
    else:
        for some, block, left in dense_blocks(X, max_bytes):
            log_probs[some], ids[some] = api_linear.linear_topk(block, layer.classifier, k, bias=layer.bias,
                                                                max_workspace_bytes=left)
    return log_probs, ids


def _top_of_row(row: Array, k: int) -> Array:
    """Indices of the k largest numbers, the largest first, among equals the least index."""
    candidates = np.flatnonzero(row >= (row.max() if k == 1 else np.partition(row, -k)[-k]))
    found: Array = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
    return found
