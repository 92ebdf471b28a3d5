"""[5] Labels to indices of classes, and weights of rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight

from .rows import Array


def check_kind(y: Array) -> None:
    """Refuse numbers that are not whole. (sklearn's check warns of many classes, which are the point here.)"""
    if y.dtype.kind == "f":
        broken = np.flatnonzero(y != np.floor(y))
        if len(broken):
            raise ValueError(f"Unknown label type: continuous. y[{broken[0]}] is {y[broken[0]]}, which is no class")


def encode(y: Array) -> tuple[Array, NDArray[np.int64]]:
    """(classes in order, which of them each label is)."""
    check_kind(y)
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must have at least 2 classes, but has only one class: {classes[0]}")
    return classes, labels.astype(np.int64, copy=False)


def encode_known(y: Array, classes: Array) -> NDArray[np.int64]:
    """Which of the classes each label is, all of which must be among them."""
    check_kind(y)
    labels = np.minimum(np.searchsorted(classes, y), len(classes) - 1).astype(np.int64)
    unknown = np.flatnonzero(classes[labels] != y)
    if len(unknown):
        raise ValueError(f"y[{unknown[0]}] is {y[unknown[0]]}, which is not one of the {len(classes)} classes given")
    return labels


def row_weights(X: Any, labels: NDArray[np.int64], classes: Array, sample_weight: Any,
                class_weight: Any) -> NDArray[np.float64]:
    """(n_rows,) float64: sample_weight times the weight of the label's class."""
    weights: NDArray[np.float64] = _check_sample_weight(sample_weight, X, dtype=np.float64, copy=True,
                                                        ensure_non_negative=True)
    if class_weight is not None:
        weights *= _class_weights(class_weight, labels, weights, classes)[labels]
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number: here every row has weight 0")
    return weights


def _class_weights(class_weight: Any, labels: NDArray[np.int64], weights: NDArray[np.float64], classes: Array) -> Array:
    """(n_classes,), by sklearn's definitions; 0 where a class has rows of weight 0 only."""
    if isinstance(class_weight, str):
        totals = np.bincount(labels, weights, len(classes))
        balanced: Array = np.divide(totals.sum() / len(classes), totals, out=np.zeros(len(classes)), where=totals != 0)
        return balanced
    by_class: Array = compute_class_weight(class_weight, classes=classes, y=classes)
    if not by_class.min() >= 0 or np.isinf(by_class.max()):
        bad = np.flatnonzero(~(by_class >= 0) | np.isinf(by_class))[0]
        raise ValueError(f"class_weight of {classes[bad]} is {by_class[bad]}, but must be a number of at least 0")
    return by_class
