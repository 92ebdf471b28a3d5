"""The same numbers as scipy.special, in float64, along every axis; where they differ on purpose, how."""

import numpy as np
import pytest

import fastsoftmax as fs

special = pytest.importorskip("scipy.special")

RNG = np.random.default_rng(0)
X = 5 * RNG.normal(size=(3, 4, 5))
axes = pytest.mark.parametrize("axis", range(-3, 3))


@axes
def test_softmax_log_softmax_and_logsumexp(backend, axis):
    np.testing.assert_allclose(fs.softmax(X, axis=axis), special.softmax(X, axis=axis), rtol=1e-14)
    # as p -> 1 scipy's logarithm of a sum is off by 1e-16, whatever is left of it (scipy #19521)
    np.testing.assert_allclose(fs.log_softmax(X, axis=axis), special.log_softmax(X, axis=axis), rtol=1e-13, atol=2e-16)
    for keepdims in (False, True):
        right = special.logsumexp(X, axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(fs.logsumexp(X, axis=axis, keepdims=keepdims), right, rtol=1e-14)


@axes
def test_entropy_and_kl_divergence(backend, axis):
    p, q = special.softmax(X, axis=axis), special.softmax(X[::-1] / 2, axis=axis)
    np.testing.assert_allclose(fs.entropy(p, axis=axis), special.entr(p).sum(axis), rtol=1e-14)
    np.testing.assert_allclose(fs.kl_divergence(p, q, axis=axis), special.rel_entr(p, q).sum(axis), rtol=1e-12)
    # scipy's kl_div adds q - p, which is nothing in a sum over distributions
    np.testing.assert_allclose(fs.kl_divergence(p, q, axis=axis), special.kl_div(p, q).sum(axis), rtol=1e-10)


def test_many_classes(backend):
    x = RNG.normal(size=(2, 50_000))
    np.testing.assert_allclose(fs.softmax(x), special.softmax(x, axis=-1), rtol=1e-13)
    np.testing.assert_allclose(fs.log_softmax(x), special.log_softmax(x, axis=-1), rtol=1e-13)
    np.testing.assert_allclose(fs.logsumexp(x), special.logsumexp(x, axis=-1), rtol=1e-14)
    p, q = special.softmax(x, axis=-1)
    np.testing.assert_allclose(fs.entropy(p), special.entr(p).sum(), rtol=1e-13)
    np.testing.assert_allclose(fs.kl_divergence(p, q), special.rel_entr(p, q).sum(), rtol=1e-12)


def test_zeros_and_infinities(backend):
    inf, nan = np.inf, np.nan
    p = np.array([[0, 1], [0.5, 0.5], [1, 0], [0, 0], [nan, 0], [0, 1]])
    q = np.array([[0, 1], [1, 0], [0.5, 0.5], [1, 0], [1, 0], [nan, 1]])
    np.testing.assert_array_equal(fs.kl_divergence(p, q), special.rel_entr(p, q).sum(-1))
    np.testing.assert_allclose(fs.entropy(p), special.entr(p).sum(-1), rtol=1e-15)
    x = np.array([[0, -inf], [-inf, -inf], [inf, 0], [nan, 1], [nan, inf]])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(fs.logsumexp(x), special.logsumexp(x, axis=-1))
        np.testing.assert_array_equal(fs.softmax(x), special.softmax(x, axis=-1))
        np.testing.assert_array_equal(fs.log_softmax(x[[0, 3, 4]]), special.log_softmax(x[[0, 3, 4]], axis=-1))


def test_integers_and_float32(backend):
    x = np.array([[1, 2, 3], [0, 0, 7]])
    np.testing.assert_allclose(fs.softmax(x), special.softmax(x, axis=-1), rtol=1e-15)
    x = X.astype(np.float32)
    assert fs.softmax(x).dtype == special.softmax(x, axis=-1).dtype == np.float32
    np.testing.assert_allclose(fs.softmax(x), special.softmax(x, axis=-1), rtol=3e-6)
    np.testing.assert_allclose(fs.log_softmax(x), special.log_softmax(x, axis=-1), rtol=3e-6)


def test_scipy_is_further_from_the_truth(backend):
    x, right = np.array([17, 0], np.float32), -np.log1p(np.exp(-17.0))
    assert abs(fs.log_softmax(x)[0] / right - 1) < 1e-5 < abs(special.log_softmax(x)[0] / right - 1)


def test_a_negative_number_is_no_probability(backend):
    """NaN here; -inf (entr) and inf (rel_entr) in scipy."""
    assert np.isnan(fs.entropy([-1.0, 2])) and special.entr(-1) == -np.inf
    assert np.isnan(fs.kl_divergence([-1.0, 2], [1.0, 2])) and special.rel_entr(-1, 1) == np.inf
