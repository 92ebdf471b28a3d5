"""[3] Arguments that have one number a row or a class: labels and weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import dtypes
from ..contract import NO_IGNORE
from .arrays import Array, Shape, array, as_array, class_axis_last
from .numbers import integer


class LabelError(ValueError, IndexError):
    """A label outside [0, n_classes) that is not ignore_index."""


def label_array(labels: object, lead: Shape | None, n_classes: int, ignore_index: int | None = None,
                name: str = "labels") -> NDArray[np.int64]:
    """Class indices of exactly the leading shape (None: any), as contiguous int64; compared before narrowing."""
    if labels is None:
        raise TypeError(f"{name} must be an integer array, not None")
    a = as_array(labels, name, "fill it with ignore_index")
    if a.dtype.kind not in "iu" and not (a.size == 0 and isinstance(labels, (list, tuple))):
        raise TypeError(f"{name} has dtype {a.dtype}; class indices of an integer dtype are required")
    if lead is not None and a.shape != lead:
        raise ValueError(f"{name} has shape {a.shape}, but must have {lead}, one label a row")
    narrow = np.ascontiguousarray(a, dtype=np.int64).reshape(-1)
    # what int64 cannot hold arrives as a negative number, and without ignore_index no label is NO_IGNORE
    lost = narrow < 0 if a.dtype.kind == "u" else narrow == NO_IGNORE if ignore_index is None else None
    if lost is not None and lost.any():
        outside = lost | (((narrow < 0) | (narrow >= n_classes)) & (narrow != ignored_label(ignore_index)))
        raise label_error(a.reshape(-1), outside.argmax(), a.shape, n_classes, ignore_index, name)
    return narrow


def class_indices(labels: object, n_classes: int, name: str) -> NDArray[np.int64]:
    """int64 indices in the shape they came in, each in [0, n_classes)."""
    shape = as_array(labels, name, "fill it first").shape
    a = label_array(labels, None, n_classes, name=name)
    outside = (a < 0) | (a >= n_classes)
    if outside.any():
        raise label_error(a, outside.argmax(), shape, n_classes, None, name)
    return a.reshape(shape)


def class_count(n_classes: Any) -> int:
    """A number of classes, at least 0."""
    n = integer(n_classes, "n_classes")
    if n < 0:
        raise ValueError(f"n_classes is {n}, but must be at least 0")
    return n


def one_hot_array(one_hot: object) -> Array:
    """One-hot vectors (..., n_classes) of numbers or bools: in each row one 1, all else 0."""
    a = as_array(one_hot, "one_hot", "fill it first")
    a = class_axis_last(a if a.dtype.kind == "b" else array(one_hot, "one_hot"), -1, "one_hot")
    wrong = (np.count_nonzero(a == 1, axis=-1) != 1) | (np.count_nonzero(a, axis=-1) != 1)
    if wrong.any():
        at = position_of(wrong.argmax(), wrong.shape)
        raise ValueError(f"one_hot{f'[{at}]' if at else ''} is not a one-hot vector: one 1, all else 0")
    return a


def position_of(flat: Any, shape: Shape) -> str:
    """A flat row number as the caller would write it: '17' or '2, 5'."""
    return ", ".join(str(int(i)) for i in np.unravel_index(flat, shape))


def label_error(labels: Array, row: Any, lead: Shape, n_classes: int, ignore_index: int | None,
                name: str = "labels") -> LabelError:
    """The exception for a label out of range."""
    other = "" if ignore_index in (None, NO_IGNORE) else f" and not ignore_index={ignore_index}"
    where = f"{name}[{position_of(row, lead)}]" if lead else name
    return LabelError(f"{where} is {labels[row]}, outside [0, {n_classes}){other}")


def per_row(value: object, name: str, lead: Shape) -> NDArray[np.float64]:
    """A scalar or an array of the leading shape -> contiguous (n_rows,) float64."""
    a = array(value, name)
    if a.shape not in ((), lead):
        raise ValueError(f"{name} has shape {a.shape}, but must be a scalar or have {lead}, one a row")
    return np.ascontiguousarray(np.broadcast_to(a.astype(np.float64), lead)).reshape(-1)


def class_weights(value: object, n_classes: int, row: dtypes.Dtype) -> Array | None:
    if value is None:
        return None
    a = array(value, "class_weight")
    if a.shape != (n_classes,):
        raise ValueError(f"class_weight has shape {a.shape}, but must have {(n_classes,)}, one weight a class")
    return np.ascontiguousarray(a, dtype=row.real)


def ignored_label(ignore_index: Any) -> int:
    value = NO_IGNORE if ignore_index is None else integer(ignore_index, "ignore_index")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"ignore_index is {value}, outside [-2^63, 2^63)")
    return value
