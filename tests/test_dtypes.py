import numpy as np
import pytest

import fastsoftmax as fs


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_all_65536_patterns_through_load_and_store(backend, kind):
    """softmax of [x, 0] in 16 bits equals the rounding of float64's, for every bit pattern x."""
    dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16) if kind == "bfloat16" else np.dtype(kind)
    x = np.zeros((65536, 2), dtype)
    x[:, 0] = np.arange(65536, dtype=np.uint16).view(dtype)
    with np.errstate(all="ignore"):
        d = x[:, 0].astype(np.float64)
        p = np.where(np.isinf(d) & (d > 0), np.nan, 1 / (1 + np.exp(-d)))
        right = p.astype(np.float32).astype(dtype)
        bits, expected = fs.softmax(x)[:, 0].view(np.int16), right.view(np.int16)
    nan = np.isnan(right)
    np.testing.assert_array_equal(np.isnan(bits.view(dtype)), nan)
    assert np.abs(bits[~nan].astype(int) - expected[~nan]).max() <= 1  # one step at a tie of the float32 value
    assert np.mean(bits[~nan] != expected[~nan]) < 1e-3


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_log_softmax_of_one_class_stores_what_it_loads(backend, kind):
    """log_softmax_grad with log_probs = -inf passes the upstream through: load and store of every finite pattern."""
    dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16) if kind == "bfloat16" else np.dtype(kind)
    d = np.arange(65536, dtype=np.uint16).view(dtype).reshape(-1, 1)
    finite = np.isfinite(d.astype(np.float32))
    d = np.where(finite, d, np.zeros((), dtype))
    out = fs.log_softmax_grad(np.full(d.shape, -np.inf, dtype), d)
    np.testing.assert_array_equal(out.astype(np.float32), d.astype(np.float32))
