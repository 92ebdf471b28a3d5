import numpy as np

import fastsoftmax as fs
from fastsoftmax import reference


def test_a_distribution_does_not_diverge_from_itself(backend):
    p, q = np.random.default_rng(0).dirichlet(np.ones(50), (2, 4))
    np.testing.assert_allclose(fs.kl_divergence(p, p), 0, atol=1e-15)
    assert (fs.kl_divergence(p, q) > 0).all() and (fs.kl_divergence(p, q) != fs.kl_divergence(q, p)).all()


def test_axes_and_lists(backend):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    for axis in (0, 1, 2, -1, -2, -3):
        np.testing.assert_allclose(np.moveaxis(fs.softmax(x, axis=axis), axis, -1),
                                   reference.softmax(np.moveaxis(x, axis, -1)), rtol=1e-12)
        assert fs.logsumexp(x, axis=axis, keepdims=True).shape == np.sum(x, axis=axis, keepdims=True).shape
    np.testing.assert_allclose(fs.softmax([0, 0]), [0.5, 0.5])
