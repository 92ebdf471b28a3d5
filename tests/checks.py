"""The laws, as functions: each raises AssertionError where a result breaks it."""

import numpy as np

BUDGET = 4e-7 * 2**24  # in units of 2^-24: 4e-7*(1 + |x - max|) for float32, the same multiple for float64
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-24, "float16": 2.0**-24}
STORED = {"float64": 0.0, "float32": 0.0, "bfloat16": 2.0**-8, "float16": 2.0**-11}
TINY = {"float64": 1e-307, "float32": 1e-37, "bfloat16": 1e-37, "float16": 2.0**-24}


def check_losses(got, right, dtype="float32", scale=1.0):
    """Losses within a few units of the dtype they are computed in, relative to what the sums hold."""
    got, right = np.asarray(got, np.longdouble), np.asarray(right, np.longdouble)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(right))
    bound = 32 * UNIT[dtype] * (scale + np.abs(right))
    finite = np.isfinite(right)
    assert (np.abs(got - right)[finite] <= bound[finite]).all() if right.ndim else abs(got - right) <= bound


def check_elements(got, right, logits, dtype="float32", scale=0.0):
    """Each element within BUDGET units * (1 + |x - max|) of itself, plus what storing rounds away (and of `scale`)."""
    got, right = np.asarray(got).astype(np.longdouble), np.asarray(right, np.longdouble)
    x = np.asarray(logits).astype(np.longdouble)
    depth = 1 + np.abs(x - np.max(x, axis=-1)[..., None])
    bound = (BUDGET * UNIT[dtype] * depth + STORED[dtype]) * np.abs(right) + BUDGET * UNIT[dtype] * scale + TINY[dtype]
    worst = np.max(np.abs(got - right) - bound, initial=-np.inf)
    assert worst <= 0, f"off by {worst} beyond the bound"


def check_rows_sum_to_zero(dlogits, tolerance=1e-6):
    """Without smoothing losses, softmax - onehot sums to nothing."""
    total = np.sum(np.asarray(dlogits, np.float64), axis=-1)
    assert (np.abs(total) <= tolerance).all(), f"rerun: rows sum to {np.abs(total).max()}"
