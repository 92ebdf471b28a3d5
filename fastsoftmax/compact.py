"""[4] The gradient of cross_entropy in O(N) numbers, for who keeps the logits: rows and products are made on demand."""

import math
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import backends, check, run, threads
from . import typing as t
from .api import quiet, reduced
from .check import Array, Problem
from .contract import TILE_ROWS, Layer
from .dtypes import Dtype
from .linear.results import aligned
from .plan import WORKSPACE_BYTES, padded
from .run import execute
from .typing import Labels, Number, Rows


class CompactGrad:
    """What cross_entropy_and_grad gives, without dlogits: it is made of the logits, some rows at a time, when asked for.

    loss, lse      as of CrossEntropyGrad
    shape, dtype   of dlogits, (..., n_classes)

    `g @ w` and `g.T @ x` are products with dlogits, np.asarray(g) is dlogits. The logits are not copied: where they are
    changed, so is what comes later. Labels and weights are. Arguments may be arrays of any library, results are NumPy's.
    """

    __array_ufunc__ = None  # x @ g is asked of __rmatmul__, not of np.asarray(g)

    def __init__(self, problem: Problem, loss: Rows[np.float64], lse: Rows[np.float64], max_workspace_bytes: int) -> None:
        self.loss, self.lse = loss, lse
        self._problem = problem._replace(labels=problem.labels.copy(), class_weight=_copied(problem.class_weight),
                                         wants_out=True)
        self._n_rows, self._n_classes = math.prod(problem.lead), problem.first.shape[-1]
        self._workspace = max_workspace_bytes
        kind = problem.first.dtype
        self.dtype: np.dtype[Any] = np.dtype(np.float64) if kind.kind in "iu" else kind.newbyteorder("=")

    @property
    def shape(self) -> tuple[int, ...]:
        return np.moveaxis(self._problem.first, -1, int(self._problem.axis)).shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> "Transposed":  # noqa: N802
        """(n_classes, ...): `g.T @ x` is g.rmatmul(x)."""
        return Transposed(self)

    def __repr__(self) -> str:
        return f"CompactGrad(shape={self.shape}, dtype={self.dtype})"

    @quiet
    def rows(self, start: SupportsIndex = 0, stop: SupportsIndex | None = None, *,
             out: NDArray[Any] | None = None) -> NDArray[Any]:
        """dlogits of rows start to stop, (stop - start, n_classes), to the bit; leading axes are counted as one."""
        first, last = check.row_range(start, stop, self._n_rows)
        some = self._part(first, last)
        target = check.given_out(out, some.first.shape, some.dtype, {"logits": self._problem.first})
        found: Array = execute(some._replace(out=target, out_given=target)).out
        return found

    @quiet
    def to_array(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """dlogits, whole; out=logits works in place, after which there is nothing to make it of again."""
        problem, axis = self._problem, self._problem.axis
        logits = np.moveaxis(problem.first, -1, int(axis))
        target = check.out_array(out, logits, axis, problem.dtype, [("logits", logits)])
        found: Array = execute(problem._replace(out=target, out_given=out)).out
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        check.must_copy(copy)
        return self.to_array().astype(self.dtype if dtype is None else dtype, copy=False)

    @quiet
    def matmul(self, w: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """dlogits @ w for w (n_classes, n) or (n_classes,): (..., n) or (...), over the last axis of dlogits.

        Computed, and given back, in float64 where logits or w are, else in float32.
        """
        problem = self._problem
        factor, is_vector, row = check.factor(w, "w", (self._n_classes,), problem.first)
        shape = (*problem.lead, factor.shape[1])
        target = check.given_out(out, shape[:-1] if is_vector else shape, row, {"logits": problem.first, "w": factor})
        found = np.empty((self._n_rows, factor.shape[1]), row.real)
        products = _products(row, factor)
        for some, count, tile, columns in self._tiles(row, factor.shape[1]):
            products.dfeatures(tile, columns, count, 0, self._n_classes, True)
            found[some] = columns[:count, :factor.shape[1]]
        return _placed(found.reshape(shape[:-1] if is_vector else shape), target)

    @quiet
    def rmatmul(self, x: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """dlogits.T @ x for x (..., n) or (...), shaped as labels: (n_classes, n) or (n_classes,), added up over all rows.

        With the features of a linear layer as x this is the gradient of its classifier. dtypes: as of matmul.
        """
        problem = self._problem
        factor, is_vector, row = check.factor(x, "x", problem.lead, problem.first)
        shape = (self._n_classes, factor.shape[-1])
        target = check.given_out(out, shape[:1] if is_vector else shape, row, {"logits": problem.first, "x": factor})
        found = np.zeros(shape, row.real)
        rows, products = factor.reshape(self._n_rows, shape[1]), _products(row, found)
        for some, count, tile, columns in self._tiles(row, shape[1]):
            columns[...] = 0
            columns[:count, :shape[1]] = rows[some]
            products.dclassifier(tile, columns, count, found, None, some.start == 0)
        return _placed(found[:, 0] if is_vector else found, target)

    def __matmul__(self, w: ArrayLike) -> NDArray[Any]:
        return self.matmul(w)

    def __rmatmul__(self, x: ArrayLike) -> Any:
        if len(self._problem.lead) != 1:
            return NotImplemented
        return self.rmatmul(np.asarray(x).T).T

    def _part(self, start: int, stop: int) -> Problem:
        """The problem of some rows alone."""
        p, rows = self._problem, slice(start, stop)
        return p._replace(first=self._logits(start, stop), lead=(stop - start,), axis=-1, labels=p.labels[rows],
                          sample_weight=None if p.sample_weight is None else p.sample_weight[rows],
                          dlosses=None if p.dlosses is None else p.dlosses[rows])

    def _logits(self, start: int, stop: int) -> Array:
        """(stop - start, n_classes), a view where there can be one."""
        x, lead = self._problem.first, self._problem.lead
        if len(lead) == 1:
            return x[start:stop]
        at = np.unravel_index(np.arange(start, stop), lead) if lead else ()
        try:
            return x.reshape((self._n_rows, self._n_classes), copy=False)[start:stop]
        except ValueError:
            return np.asarray(x[at]).reshape(stop - start, self._n_classes)

    def _tiles(self, row: Dtype, n_columns: int) -> Iterator[tuple[slice, int, Array, Array]]:
        """(rows, how many, their part of dlogits in a block, a block for n_columns): blocks as contract.Layer has them."""
        steps = padded(self._n_classes, row.itemsize), padded(n_columns, row.itemsize)
        most = max(1, self._workspace // (sum(steps) * row.itemsize * TILE_ROWS)) * TILE_ROWS
        most = min(most, -(-self._n_rows // TILE_ROWS) * TILE_ROWS)
        if not most or not n_columns:
            return
        tile, columns = (aligned(most, step, row.real) for step in steps)
        for start in range(0, self._n_rows, most):
            count = min(most, self._n_rows - start)
            self._fill(row, start, count, tile[:count, :self._n_classes])
            yield slice(start, start + count), count, tile, columns

    def _fill(self, row: Dtype, start: int, count: int, tile: Array) -> None:
        """Some rows of dlogits, computed in `row`, in place where the logits cannot be read as such where they are."""
        some = self._part(start, start + count)
        weight = some.class_weight
        some = some._replace(dtype=row, class_weight=None if weight is None else weight.astype(row.real))
        view = run.rows_in_place(some.first, row, count)
        if view is None:
            tile[...] = some.first
            view = tile
        run.fill(some, view, tile, some.labels, some.sample_weight, some.dlosses, np.empty(count), np.empty(count))


class Transposed:
    """A compact gradient with its classes first."""

    __array_ufunc__ = None

    def __init__(self, of: CompactGrad) -> None:
        self.T, self.dtype = of, of.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.T._n_classes, *self.T._problem.lead)

    def __matmul__(self, x: ArrayLike) -> NDArray[Any]:
        return self.T.rmatmul(x)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.moveaxis(self.T.__array__(dtype, copy), int(self.T._problem.axis), 0)


def _copied(a: Array | None) -> Array | None:
    return None if a is None else a.copy()


def _products(row: Dtype, classifier: Array) -> Any:
    return backends.load(backends.current()).products(Layer(row, classifier, None), threads.get_num_threads())


def _placed(found: Array, target: Array | None) -> Array:
    """A result where it goes."""
    if target is None:
        return found
    target[...] = found
    return target


@quiet
def cross_entropy_compact_grad(logits: ArrayLike, labels: Labels, *, class_weight: ArrayLike | None = None,
                               sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                               reduction: t.Reduction = "mean", label_smoothing: Number = 0.0, z_loss: Number = 0.0,
                               softcap: Number | None = None, temperature: Number = 1.0, axis: SupportsIndex = -1,
                               empty: t.Empty = "nan", dlosses: ArrayLike | None = None,
                               max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES) -> CompactGrad:
    """cross_entropy and its gradient in O(N) numbers -> CompactGrad: its rows, g @ w and g.T @ x are made tile by tile.

    max_workspace_bytes  what a product may allocate beside its result; a few rows at least
    The other arguments are those of cross_entropy_and_grad. `logits` are kept, not copied.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index, reduction=reduction,
                   label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap, temperature=temperature, axis=axis,
                   empty=empty)
    workspace = check.workspace(max_workspace_bytes)
    problem = check.cross_entropy(logits, labels, None, options, dlosses=dlosses)
    filled = execute(problem)
    return CompactGrad(problem, reduced(problem, filled.losses), filled.lse.reshape(problem.lead)[()], workspace)
