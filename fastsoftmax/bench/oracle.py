"""The right answers of a measurement, in longdouble, and how far a contender is from them."""

from dataclasses import dataclass

import numpy as np

from .. import reference
from .cases import Inputs

DIGITS = {"float64": (53, -1022), "float32": (24, -126), "bfloat16": (8, -126), "float16": (11, -14)}
CHECKED_ROWS = 16  # rows of a table that are compared


@dataclass(frozen=True)
class Right:
    """value: the mean loss, (...) log-sum-exps, or None. table: (n, n_classes), the first rows; or None.

    scale: what the errors of the table are relative to, where that is more than the elements themselves: a
    difference of two numbers cannot be better than they are.
    """

    inputs: Inputs
    value: np.ndarray | None
    table: np.ndarray | None
    scale: np.ndarray | None

    def errors(self, value, table):
        """{"relative_error", "max_ulp"} of a contender's NumPy results: the larger of the value's and the table's."""
        pairs = []
        if self.value is not None:
            pairs.append((value, self.value, self.value))
        if self.table is not None:
            pairs.append((_rows(self.inputs, table[:self._checked()]), self.table, self.scale))
        worst = [_errors(*pair, self.inputs.case.dtype) for pair in pairs]
        return dict(zip(("relative_error", "max_ulp"), map(float, np.max(worst, axis=0)), strict=True))

    def _checked(self):
        return min(CHECKED_ROWS, len(self.inputs.blocks[0]))


def ulp(value, dtype):
    """The distance between numbers of the dtype near `value`, as longdouble."""
    digits, least = DIGITS[dtype]
    exponent = np.frexp(np.abs(np.asarray(value, np.longdouble)))[1] - 1
    return np.ldexp(np.longdouble(1), np.maximum(exponent, least) - digits + 1)


def right(inputs):
    """What the operation should give for these inputs."""
    operation = inputs.operation
    block = _rows(inputs, inputs.blocks[0])
    if operation.second == "dprobs":
        return _right_grad(inputs, block)
    log_probs = reference.log_softmax(block)
    lse = (block[:, 0] - log_probs[:, 0]).reshape(-1, *inputs.labels.shape[1:])
    value, checked = None, slice(0, min(CHECKED_ROWS, len(inputs.blocks[0])) * inputs.case.inner)
    if operation.name == "logsumexp":
        value = lse[np.arange(len(inputs.x)) % len(lse)]
    elif operation.second == "target_probs":
        q = _rows(inputs, inputs.blocks[1])
        losses = -np.sum(q * log_probs, axis=-1).reshape(lse.shape)
        value = losses[np.arange(len(inputs.x)) % len(lse)].mean()
    elif operation.gradient or operation.name == "loss":
        at = np.take_along_axis(inputs.x, np.expand_dims(inputs.labels, inputs.axis), inputs.axis)
        at = at.astype(np.longdouble).reshape(inputs.labels.shape)
        value = (lse[np.arange(len(inputs.x)) % len(lse)] - at).mean()
    table = None
    if operation.out or operation.in_place:
        table = log_probs[checked] if operation.name == "log-softmax" else np.exp(log_probs[checked])
    if operation.gradient:
        subtract_one_hot(table, log_probs[checked], inputs.labels.reshape(-1)[:len(table)])
        table /= inputs.labels.size
    return Right(inputs, value, table, table)


def subtract_one_hot(probs, log_probs, labels):
    """probs - onehot(labels), in place, with every digit of p - 1 where p is all but 1."""
    at = np.arange(len(labels)), labels
    probs[at] = np.expm1(log_probs[at])


def _right_grad(inputs, probs):
    n = min(CHECKED_ROWS, len(inputs.blocks[0])) * inputs.case.inner
    probs, dprobs = probs[:n], _rows(inputs, inputs.blocks[1])[:n]
    dot = np.sum(probs * dprobs, axis=-1, keepdims=True)
    return Right(inputs, None, probs * (dprobs - dot), probs * (np.abs(dprobs) + np.abs(dot)))


def _rows(inputs, table):
    """(n, n_classes) longdouble, one row per label."""
    return np.moveaxis(table, inputs.axis, -1).reshape(-1, inputs.case.n_classes).astype(np.longdouble)


def _errors(got, right, scale, dtype):
    off = np.abs(np.asarray(got).astype(np.longdouble).reshape(np.shape(right)) - right)
    # below the least normal number an ulp grows no smaller, so nothing is expected to be relatively right there
    scale = np.maximum(np.abs(scale), np.ldexp(np.longdouble(1), DIGITS[dtype][1]))
    return np.max(off / scale), np.max(off / ulp(scale, dtype))
