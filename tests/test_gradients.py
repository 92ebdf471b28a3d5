"""Every gradient is the slope of its function: central differences of fourth order, every option alone and together."""

import checks
import numpy as np
import pytest

import fastsoftmax as fs

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(3, 6)), np.array([0, 5, -100])
Q = RNG.normal(size=(3, 6))
OPTIONS = [
    {}, {"class_weight": RNG.random(6)}, {"class_weight": RNG.normal(size=6)}, {"sample_weight": [0.5, -2, 1]},
    {"sample_weight": 3}, {"label_smoothing": 0.1}, {"label_smoothing": 1.0}, {"z_loss": 0.3}, {"softcap": 1.5},
    {"temperature": 0.4}, {"temperature": 3}, {"softcap": 2, "temperature": 0.5},
    {"class_weight": RNG.random(6), "label_smoothing": 0.2},
    {"class_weight": RNG.random(6), "sample_weight": RNG.random(3), "label_smoothing": 0.2, "z_loss": 0.1,
     "softcap": 2, "temperature": 0.7},
]
options_of_each = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o))


def upstream(reduction, shape=(3,)):
    """One factor for a reduced loss, one a row for losses."""
    return RNG.normal(size=shape) if reduction == "none" else 0.7


@options_of_each
@pytest.mark.parametrize("reduction", fs.check.REDUCTIONS)
def test_cross_entropy(backend, options, reduction):
    g = upstream(reduction)
    dlogits = fs.cross_entropy_and_grad(X, LABELS, reduction=reduction, dlosses=g, **options).dlogits
    checks.check_gradient(lambda x: np.sum(g * fs.cross_entropy(x, LABELS, reduction=reduction, **options)), X, dlogits)


@options_of_each
@pytest.mark.parametrize("reduction", fs.check.REDUCTIONS)
def test_soft_cross_entropy(backend, options, reduction):
    """Targets that are negative and do not sum to 1."""
    g = upstream(reduction)
    dlogits = fs.soft_cross_entropy_and_grad(X, Q, reduction=reduction, dlosses=g, **options).dlogits
    checks.check_gradient(lambda x: np.sum(g * fs.soft_cross_entropy(x, Q, reduction=reduction, **options)), X, dlogits)


def test_softmax_and_log_softmax(backend):
    d = RNG.normal(size=X.shape)
    checks.check_gradient(lambda x: np.sum(d * fs.softmax(x)), X, fs.softmax_grad(fs.softmax(X), d))
    checks.check_gradient(lambda x: np.sum(d * fs.log_softmax(x)), X, fs.log_softmax_grad(fs.log_softmax(X), d))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_any_axis(backend, axis):
    x = RNG.normal(size=(2, 3, 4))
    labels = RNG.integers(0, x.shape[axis], np.delete(x.shape, axis))
    options = dict(axis=axis, reduction="sum", label_smoothing=0.1)
    dlogits = fs.cross_entropy_and_grad(x, labels, **options).dlogits
    checks.check_gradient(lambda z: fs.cross_entropy(z, labels, **options), x, dlogits)
    d = RNG.normal(size=x.shape)
    p, log_p = fs.softmax(x, axis=axis), fs.log_softmax(x, axis=axis)
    checks.check_gradient(lambda z: np.sum(d * fs.softmax(z, axis=axis)), x, fs.softmax_grad(p, d, axis=axis))
    checks.check_gradient(lambda z: np.sum(d * fs.log_softmax(z, axis=axis)), x, fs.log_softmax_grad(log_p, d, axis=axis))


def test_the_gradient_of_logsumexp_is_softmax(backend):
    checks.check_gradient(lambda x: np.sum(fs.logsumexp(x)), X, fs.softmax(X))
