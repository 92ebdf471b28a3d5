import itertools

import checks
import numpy as np
import oracle
import pytest

import fastsoftmax as fs
from fastsoftmax import reference

OPTIONS = [dict(zip(("class_weight", "sample_weight", "label_smoothing", "z_loss", "softcap", "temperature"), c,
                    strict=True))
           for c in itertools.product((False, True), (False, True), (0.0, 0.1), (0.0, 0.01), (None, 5.0), (1.0, 0.7))]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_combination_of_options(backend, options):
    rng = np.random.default_rng(3)
    logits, labels = oracle.problem(11, 130, "float64")
    options = dict(options)
    options["class_weight"] = rng.random(130) if options["class_weight"] else None
    options["sample_weight"] = rng.integers(0, 3, 11) / 2 if options["sample_weight"] else None
    dlosses = rng.normal(size=11)
    for reduction in ("none", "mean", "sum"):
        loss, dlogits, _ = fs.cross_entropy_and_grad(logits, labels, reduction=reduction, dlosses=dlosses, **options)
        right, gradient = reference.cross_entropy(logits, labels, reduction=reduction, dlosses=dlosses, **options)
        np.testing.assert_allclose(loss, right, rtol=1e-13)
        np.testing.assert_allclose(dlogits, gradient, rtol=1e-11, atol=1e-14)


def test_soft_targets(backend):
    rng = np.random.default_rng(0)
    logits, q, w = rng.normal(size=(6, 70)), rng.random((6, 70)), rng.random(70)
    q[0, :5] = 0
    logits[0, :5] = -np.inf
    t = w * (0.9 * q + 0.1 / 70)
    t0 = w * q
    loss, dlogits, _ = fs.soft_cross_entropy_and_grad(logits, q, class_weight=w, reduction="none")
    np.testing.assert_allclose(loss, reference.losses(logits, t0), rtol=1e-13)
    np.testing.assert_allclose(dlogits, reference.dlogits(logits, t0, np.ones(6)), rtol=1e-11, atol=1e-14)
    smooth = fs.soft_cross_entropy(logits[1:], q[1:], class_weight=w, label_smoothing=0.1)
    np.testing.assert_allclose(smooth, reference.losses(logits[1:], t[1:]).mean(), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_in_place_only_when_asked(backend, dtype):
    for n_classes in (50, 9001):
        logits, labels = oracle.problem(5, n_classes, dtype)
        before = logits.copy()
        fresh = fs.cross_entropy_and_grad(logits, labels)
        np.testing.assert_array_equal(logits, before)
        same = fs.cross_entropy_and_grad(logits, labels, out=logits)
        assert same.dlogits is logits
        checks.check_same_bits(same, fresh)
        _, right = reference.cross_entropy(before, labels)
        for dlogits in (fresh.dlogits, same.dlogits):
            checks.check_elements(dlogits, right, before, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_row_of_masked_classes_but_one_loses_nothing(backend, dtype):
    for n_classes in (2, 5000):
        x = np.full((3, n_classes), -np.inf, dtype)
        x[:, 1] = 7
        for out in (None, x):
            loss, dlogits, lse = fs.cross_entropy_and_grad(x, [1, 1, 1], reduction="none", out=out)
            assert (loss == 0).all() and (lse == 7).all() and (dlogits == 0).all()


def test_zero_rows_and_nothing_counted(backend):
    none, labels = np.zeros((0, 5)), np.zeros(0, int)
    assert np.isnan([fs.cross_entropy(none, labels), fs.soft_cross_entropy(none, none)]).all()
    assert fs.cross_entropy(none, labels, reduction="sum") == fs.soft_cross_entropy(none, none, reduction="sum") == 0
    assert fs.cross_entropy(none, labels, empty="zero") == fs.soft_cross_entropy(none, none, empty="zero") == 0
    assert fs.cross_entropy(none, labels, reduction="none").shape == (0,)
    assert np.isnan(fs.cross_entropy(np.zeros((2, 5)), [-100, -100]))
    assert fs.cross_entropy(np.zeros((2, 5)), [-100, -100], empty="zero") == 0
