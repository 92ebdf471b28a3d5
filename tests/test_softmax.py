import checks
import numpy as np
import oracle
import pytest

import fastsoftmax as fs
from fastsoftmax import reference


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_softmax_and_log_softmax(backend, dtype):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    for n_classes in (1, 2, 17, 64, 97, 5000):
        x, _ = oracle.problem(4, n_classes, kind)
        right = reference.softmax(x.astype(np.longdouble))
        checks.check_elements(fs.softmax(x), right, x, dtype)
        log_right = reference.log_softmax(x.astype(np.longdouble))
        checks.check_elements(fs.log_softmax(x), log_right, x, dtype, scale=np.abs(log_right).max())
        assert fs.softmax(x).dtype == x.dtype


def test_gradients_through_softmax(backend):
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(3, 200)), rng.normal(size=(3, 200))
    p = reference.softmax(x).astype(np.float64)
    np.testing.assert_allclose(fs.softmax_grad(p, d), p * (d - (p * d).sum(1, keepdims=True)), atol=1e-15)
    np.testing.assert_allclose(fs.log_softmax_grad(np.log(p), d), d - p * d.sum(1, keepdims=True), atol=1e-12)


def test_divergences(backend):
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(50), 4), rng.dirichlet(np.ones(50), 4)
    p[0, 0] = q[1, 0] = 0
    np.testing.assert_allclose(fs.entropy(p), reference.entropy(p), rtol=1e-13)
    np.testing.assert_allclose(fs.kl_divergence(p, q), reference.kl_divergence(p, q), rtol=1e-12)
    assert fs.kl_divergence(p, q)[1] == np.inf
    np.testing.assert_allclose(fs.kl_divergence(p, p), 0, atol=1e-15)


def test_axes_and_lists(backend):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    for axis in (0, 1, 2, -1, -2, -3):
        np.testing.assert_allclose(np.moveaxis(fs.softmax(x, axis=axis), axis, -1),
                                   reference.softmax(np.moveaxis(x, axis, -1)), rtol=1e-12)
        assert fs.logsumexp(x, axis=axis, keepdims=True).shape == np.sum(x, axis=axis, keepdims=True).shape
    np.testing.assert_allclose(fs.softmax([0, 0]), [0.5, 0.5])
