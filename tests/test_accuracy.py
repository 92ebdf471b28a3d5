"""The digits that are promised, at 100,000 and 1,000,000 classes, at any offset, and as p[y] -> 1."""

import checks
import numpy as np
import oracle
import pytest
from operations import DTYPES, dtype_of

import fastsoftmax as fs
from fastsoftmax import reference


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
@pytest.mark.parametrize(("n_rows", "n_classes"), [(3, 100_000), (1, 1_000_000)])
def test_float32_at_any_offset(every_backend, n_rows, n_classes, offset):
    logits, labels = oracle.problem(n_rows, n_classes, ignored=False)
    logits += np.float32(offset)
    right, gradient = reference.cross_entropy(logits, labels, reduction="none")
    right_lse, probs = reference.logsumexp(logits).astype(np.float32), reference.softmax(logits)
    for backend in every_backend:  # the reference takes longer than they do
        with fs.use_backend(backend):
            loss, dlogits, lse = fs.cross_entropy_and_grad(logits, labels, reduction="none")
            np.testing.assert_allclose(loss, right, rtol=2e-7)
            assert (np.abs(lse - right_lse) <= np.spacing(right_lse)).all()
            assert (np.abs(fs.logsumexp(logits) - right_lse) <= np.spacing(right_lse)).all()
            checks.check_rows_sum_to_zero(dlogits)
            checks.check_elements(dlogits, gradient, logits)
            checks.check_elements(fs.softmax(logits), probs, logits)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_classes", [4090, 100_000])
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_equal_targets_add_up(backend, dtype, n_classes, smoothing):
    """e/V added V times is e: the same rounding at every step would show in the loss and in the sums of the rows."""
    logits, labels = oracle.problem(4, n_classes, dtype, spread=0.1, ignored=False)
    loss, dlogits, _ = fs.cross_entropy_and_grad(logits, labels, label_smoothing=smoothing, reduction="none")
    right, _ = reference.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    np.testing.assert_allclose(loss, right.astype(np.float64), rtol=2e-7 if dtype == "float32" else 1e-15)
    checks.check_rows_sum_to_zero(dlogits, 1e-6 if dtype == "float32" else 2e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gap", [1, 5, 17, 40, 80])
@pytest.mark.parametrize("n_classes", [2, 3, 70, 5000])
def test_relative_accuracy_as_p_goes_to_1(backend, dtype, gap, n_classes):
    """The loss and the gradient at the label are about exp(-gap): 4.1e-8 for [17, 0], never 0."""
    x = np.zeros((1, n_classes), dtype_of(dtype))
    x[0, n_classes // 2] = gap
    loss, dlogits, _ = fs.cross_entropy_and_grad(x, [n_classes // 2], reduction="none")
    rest = (n_classes - 1) * np.exp(-np.longdouble(gap))
    np.testing.assert_allclose(loss, np.log1p(rest).astype(float), rtol=1e-5 if dtype != "float64" else 1e-13)
    log_p = fs.log_softmax(x)[0, n_classes // 2]
    checks.check_close(log_p, -np.log1p(rest), np.log1p(rest) * (1 + gap), dtype)
    checks.check_close(dlogits[0, n_classes // 2], -rest / (1 + rest), rest * (1 + gap), dtype)
    options = dict(class_weight=np.full(n_classes, 3), dlosses=-2, reduction="none")
    weighted = fs.cross_entropy_and_grad(x, [n_classes // 2], **options)
    checks.check_close(weighted.dlogits[0, n_classes // 2], 6 * rest / (1 + rest), 6 * rest * (1 + gap), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cap_keeps_its_digits(backend, dtype):
    powers = np.logspace(-30, 3, 5000)
    x = np.concatenate([powers, -powers, [np.inf, -np.inf, 0]]).astype(dtype)
    # two classes, one at 0: the loss is log1p(exp(-z)), so it shows z
    pair, labels = np.stack([x, np.zeros_like(x)], axis=1), np.zeros(len(x), int)
    got = fs.cross_entropy(pair, labels, softcap=3.0, reduction="none")
    right, _ = reference.cross_entropy(pair.astype("f8"), labels, softcap=3.0, reduction="none")
    np.testing.assert_allclose(got, right, rtol=1e-6 if dtype == "float32" else 2e-15)
    pair = np.array([[2, -1e4, -1e4], [40, -40, -41]], dtype)
    got = fs.cross_entropy_and_grad(pair, [0, 0], softcap=30.0, reduction="none").dlogits
    _, right = reference.cross_entropy(pair.astype("f8"), [0, 0], softcap=30.0, reduction="none")
    np.testing.assert_allclose(got, right, rtol=2e-5 if dtype == "float32" else 1e-12)
