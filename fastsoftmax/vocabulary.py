"""[4] Nominal classes and their indices: "cat" <-> 0. One-hot vectors, for teaching and for the tests."""

from collections.abc import Iterable
from typing import Any, Generic, SupportsIndex, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import check
from .foreign import any_array
from .typing import ClassT, ForeignT, Labels, Rows, ScalarT


class Vocabulary(Generic[ClassT]):
    """A fixed order of distinct classes: `encode` gives indices, `decode` gives the classes back."""

    def __init__(self, classes: Iterable[ClassT]) -> None:
        self.classes = tuple(classes)
        self._index: dict[Any, int] = {c: i for i, c in enumerate(self.classes)}
        if len(self._index) != len(self.classes):
            twice = next(c for i, c in enumerate(self.classes) if self._index[c] != i)
            raise ValueError(f"classes must be distinct, but {twice!r} occurs twice")

    def __len__(self) -> int:
        return len(self.classes)

    def __contains__(self, item: object) -> bool:
        return item in self._index

    def __repr__(self) -> str:
        return f"Vocabulary of {len(self)} classes"

    @overload  # a tuple that is a class is one item: what mypy sees as an overlap is meant
    def encode(self, items: ClassT, *, unknown: int | None = None) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def encode(self, items: list[Any] | tuple[Any, ...] | NDArray[Any], *,
               unknown: int | None = None) -> NDArray[np.int64]: ...
    def encode(self, items: Any, *, unknown: int | None = None) -> int | NDArray[np.int64]:
        """The index of one class, or an int64 array for a list or array; `unknown` stands for others."""
        if isinstance(items, (list, tuple, np.ndarray)) and not (isinstance(items, tuple) and items in self._index):
            flat = [self.encode(i, unknown=unknown) for i in np.asarray(items, dtype=object).reshape(-1)]
            return np.array(flat, np.int64).reshape(np.shape(np.asarray(items, dtype=object)))
        found = self._index.get(items, unknown)
        if found is None:
            raise KeyError(f"{items!r} is not one of the {len(self)} classes")
        return found

    @overload
    def decode(self, indices: list[Any] | tuple[Any, ...] | NDArray[np.integer[Any]]) -> list[ClassT]: ...
    @overload
    def decode(self, indices: int | np.integer[Any]) -> ClassT: ...
    def decode(self, indices: Any) -> ClassT | list[ClassT]:
        """The class of one index, or a list for an array; LabelError outside [0, len)."""
        labels = check.class_indices(indices, len(self), "indices")
        found = [self.classes[i] for i in labels.reshape(-1)]
        return found if labels.ndim else found[0]


@overload
def one_hot(labels: ForeignT, n_classes: SupportsIndex, dtype: DTypeLike = np.float32) -> ForeignT: ...
@overload
def one_hot(labels: Labels, n_classes: SupportsIndex) -> NDArray[np.float32]: ...
@overload
def one_hot(labels: Labels, n_classes: SupportsIndex,
            dtype: type[ScalarT] | np.dtype[ScalarT]) -> NDArray[ScalarT]: ...
@overload
def one_hot(labels: Labels, n_classes: SupportsIndex, dtype: DTypeLike) -> NDArray[Any]: ...
@any_array
def one_hot(labels: Labels, n_classes: SupportsIndex, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """(..., n_classes) with a 1 at each label: N x V numbers that nobody should build for real.

    Raises LabelError for a label outside [0, n_classes).
    """
    n_classes = check.class_count(n_classes)
    indices = check.class_indices(labels, n_classes, "labels")
    out = np.zeros((*indices.shape, n_classes), dtype)
    np.put_along_axis(out, indices[..., None], 1, -1)
    return out


@overload
def from_one_hot(one_hot: ForeignT) -> ForeignT: ...
@overload
def from_one_hot(one_hot: ArrayLike) -> Rows[np.int64]: ...
@any_array
def from_one_hot(one_hot: ArrayLike) -> Rows[np.int64]:
    """The labels (...) int64 of one-hot vectors (..., n_classes); ValueError where a row is not one-hot."""
    a = check.one_hot_array(one_hot)
    return np.argmax(a, axis=-1) if a.size else np.zeros(a.shape[:-1], np.int64)
