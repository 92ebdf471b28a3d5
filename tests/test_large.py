"""More than 2^31 logits, for real: bfloat16, in place, 4.3 GB."""

import numpy as np
import pytest

import fastsoftmax as fs


def test_offsets_beyond_2_to_the_31():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    if fs.backends.current() == "numpy":
        pytest.skip("one run in the compiled backends is enough: the offsets of NumPy cannot overflow")
    n_rows, n_classes = 21_500, 100_000
    row = np.random.default_rng(0).normal(size=n_classes).astype(ml_dtypes.bfloat16)
    logits = np.empty((n_rows, n_classes), ml_dtypes.bfloat16)
    logits[:] = row
    labels = np.arange(n_rows, dtype=np.int64) % n_classes
    loss, dlogits, _ = fs.cross_entropy_and_grad(logits, labels, out=logits, reduction="none")
    alone = fs.cross_entropy_and_grad(row, labels[-1], reduction="none")
    assert loss[-1] == alone.loss
    np.testing.assert_array_equal(dlogits[-1].view(np.int16), alone.dlogits.view(np.int16))
