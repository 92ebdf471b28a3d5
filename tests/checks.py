"""The laws, as functions: each raises AssertionError where a result breaks it."""

import warnings

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import dtypes, reference

BUDGET = 4e-7 * 2**24  # in units of 2^-24: 4e-7*(1 + |x - max|) for float32, the same multiple for float64
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-24, "float16": 2.0**-24}
STORED = {name: row.eps if row.itemsize == 2 else 0.0 for name, row in dtypes.BY_NAME.items()}
TINY = {"float64": 2.0**-1072, "float32": 2.0**-147, "bfloat16": 2.0**-131, "float16": 2.0**-22}  # 4 subnormal steps


# ------------------------------------------------------------------------------------------------ accuracy


def check_close(got, right, size, dtype, budget=BUDGET):
    """NaN and infinities where they belong; else within `budget` units of `size` and half a step of storing."""
    got, right = np.asarray(got).astype(np.longdouble), np.asarray(right, np.longdouble)
    assert got.shape == right.shape
    finite = np.isfinite(right)
    np.testing.assert_array_equal(got[~finite], right[~finite])
    got, right, size = got[finite], right[finite], np.broadcast_to(size, got.shape)[finite]
    bound = budget * UNIT[dtype] * np.abs(size) + STORED[dtype] * np.abs(right) + TINY[dtype]
    worst = np.max(np.abs(got - right) / bound, initial=0)
    assert worst <= 1, f"{worst} times the budget"


def check_results(got, right, dtype):
    """All results of an operation against the reference: right as an Operation's `right` gives it."""
    for result, (value, size) in zip(got, right, strict=True):
        check_close(result, value, size, dtype if result.dtype.name == dtype else _computed(dtype))


def _computed(dtype):
    """The dtype in which numbers of this one are computed; losses and log-sum-exps are stored in float64."""
    return dtype if dtype == "float64" else "float32"


def check_losses(got, right, dtype="float32", scale=1.0):
    """Losses within a few units of the dtype they are computed in, relative to what the sums hold."""
    check_close(got, right, scale + np.abs(np.where(np.isfinite(right), right, 0)), _computed(dtype), budget=32)


def check_elements(got, right, logits, dtype="float32", scale=0.0):
    """Each element within BUDGET units * (1 + |x - max|) of itself, plus what storing rounds away (and of `scale`)."""
    x = np.asarray(logits).astype(np.longdouble)
    depth = 1 + np.abs(x - np.max(x, axis=-1)[..., None])
    check_close(got, right, depth * np.abs(right) + scale, dtype)


# --------------------------------------------------------------------------------------------------- laws


def check_same_bits(got, right):
    """Two tuples of arrays, bit for bit; the sign and the bits of a NaN mean nothing."""
    for a, b in zip(got, right, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype and a.shape == b.shape
        if a.tobytes() != b.tobytes():
            both = np.stack([a, b]).reshape(2, -1)  # of scalars too
            both[np.isnan(both)] = np.nan
            np.testing.assert_array_equal(*np.ascontiguousarray(both).view(np.uint8))


def check_rows_sum_to_zero(dlogits, tolerance=1e-6):
    """Without smoothing losses, softmax - onehot sums to nothing."""
    total = np.sum(np.asarray(dlogits, np.float64), axis=-1)
    assert (np.abs(total) <= tolerance).all(), f"rows sum to {np.abs(total).max()}"


def check_shift(x, labels, shift):
    """An offset moves lse and nothing else: x and x + shift, integers that differ by it exactly, have one right answer."""
    z, y = x.astype(reference.WIDE), np.asarray(labels)[..., None]
    p, log_p, lse = reference.softmax(z), reference.log_softmax(z), reference.logsumexp(z)
    depth = 1 + np.max(z, -1)[..., None] - z
    losses, dlogits = -np.take_along_axis(log_p, y, -1)[..., 0], p.copy()
    np.put_along_axis(dlogits, y, np.expm1(np.take_along_axis(log_p, y, -1)), -1)
    for by in (0, shift):
        moved, dtype = x + x.dtype.type(by), x.dtype.name
        check_close(fs.softmax(moved), p, p * depth, dtype)
        check_close(fs.log_softmax(moved), log_p, 1 + np.abs(log_p), dtype)
        got = fs.cross_entropy_and_grad(moved, labels, reduction="none")
        check_close(got.loss, losses, losses + np.sum(p * (depth - 1), axis=-1), dtype)
        check_close(got.dlogits, dlogits, p * depth + np.abs(dlogits), dtype)
        check_close(got.lse, lse + by, 1 + np.abs(lse + by), dtype)


def check_split_vocabulary(x, at):
    """The log-sum-exps of two parts of the classes, in float64, merge to that of the whole."""
    first, second, whole = (
        fs.cross_entropy_and_grad(part, np.zeros(x.shape[:-1], int), reduction="none").lse
        for part in (x[..., :at], x[..., at:], x))
    parts = np.logaddexp(first.astype(np.longdouble), second)
    check_close(whole, parts, 1 + np.abs(parts), _computed(x.dtype.name))


def check_permutation(x, labels, order, dtype):
    """Classes in another order: the same losses, and the gradient in that order."""
    loss, dlogits, lse = fs.cross_entropy_and_grad(x, labels, reduction="none")
    moved = fs.cross_entropy_and_grad(x[..., order], np.argsort(order)[labels], reduction="none")
    check_close(moved.loss, loss, 1 + np.abs(loss), _computed(dtype))
    check_close(moved.lse, lse, 1 + np.abs(lse), _computed(dtype))
    check_close(moved.dlogits, np.asarray(dlogits).astype(np.float64)[..., order], 1.0, dtype)


def check_gradient(loss_of, x, gradient, tolerance=1e-9, h=1e-3):
    """Central differences of fourth order of a function of x, (...) float64, at every element."""
    for at in np.ndindex(x.shape):
        values = []
        for step in (-2, -1, 1, 2):
            moved = x.copy()
            moved[at] += step * h
            values.append(loss_of(moved))
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        assert abs(slope - gradient[at]) <= tolerance * (1 + abs(slope)), f"at {at}: {gradient[at]}, but {slope}"


def check_untouched(operation, inputs, **options):
    """The inputs hold after the call what they held before, and the results share no memory with them."""
    before = [a.copy() for a in inputs]
    got = operation(*inputs, **options)
    check_same_bits(inputs, before)
    assert not any(np.may_share_memory(a, r) for a in inputs for r in got)


def over_first(operation):
    """The operation in place, over a copy of its first input."""
    def call(first, *others):
        first = first.copy()
        return operation(first, *others, out=first)
    return call


def check_threads(operation, inputs):
    """1, 2 and 7 threads give the same bits."""
    results = []
    for n in (1, 2, 7):
        with fs.use_num_threads(n):
            results.append(operation(*inputs))
    check_same_bits(results[1], results[0])
    check_same_bits(results[2], results[0])


def check_batch(operation, inputs, rows):
    """A row's results are the same bits alone, and in any batch."""
    together = operation(*inputs)
    for i in rows:
        check_same_bits(operation(*(a[i] for a in inputs)), [r[i] for r in together])
    check_same_bits(operation(*(a[::-1] for a in inputs)), [r[::-1] for r in together])


def check_in_place(operation, inputs):
    """Over each floating-point input in turn, that input comes back as the result, with the bits of a fresh one."""
    fresh = operation(*inputs)
    for i, target in enumerate(inputs):
        if target.dtype != inputs[0].dtype:
            continue
        same = [a.copy() for a in inputs]
        got = operation.call(*same, out=same[i])
        assert any(r is same[i] for r in (got if isinstance(got, tuple) else (got,)))
        check_same_bits(got if isinstance(got, tuple) else (got,), fresh)


def check_quiet(call):
    """No warning, no exception under np.seterr(all="raise"), and the floating-point state as it was."""
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        before = np.geterr()
        result = call()
        assert np.geterr() == before
        smallest = np.float32(2.0**-149)  # in this thread: nothing is flushed to zero
        assert smallest * np.float32(1) == smallest and np.float32(1) + np.float32(2.0**-24) == 1
    return result


def check_refused(call, error, says, out=None):
    """The error comes, says what it must, and nothing is written."""
    before = None if out is None else out.tobytes()
    with pytest.raises(error, match=says):
        call()
    assert out is None or out.tobytes() == before
