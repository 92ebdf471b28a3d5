import itertools

import checks
import numpy as np
import oracle
import pytest

import fastsoftmax as fs
from fastsoftmax import reference

SIZES = [*range(1, 18), 31, 32, 33, 63, 64, 65, 97, 4095, 4096, 4097, 9001]
OPTIONS = [dict(zip(("class_weight", "sample_weight", "label_smoothing", "z_loss", "softcap", "temperature"), c,
                    strict=True))
           for c in itertools.product((False, True), (False, True), (0.0, 0.1), (0.0, 0.01), (None, 5.0), (1.0, 0.7))]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_size_against_the_reference(backend, dtype):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    for n_classes in SIZES:
        logits, labels = oracle.problem(9, n_classes, kind)
        loss, dlogits, lse = fs.cross_entropy_and_grad(logits, labels, reduction="none")
        right, gradient = reference.cross_entropy(logits, labels, reduction="none")
        checks.check_losses(loss, right, dtype)
        checks.check_elements(dlogits, gradient, logits, dtype)
        used = labels != -100
        checks.check_losses(lse[used], reference.logsumexp(logits.astype(np.longdouble))[used], dtype)
        assert (dlogits[~used] == 0).all() and (loss[~used] == 0).all()
        checks.check_losses(fs.cross_entropy(logits, labels, reduction="none"), right, dtype)


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


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
def test_loss_keeps_its_digits_at_any_offset(backend, offset):
    logits, labels = oracle.problem(3, 100_000, ignored=False)
    shifted = logits + np.float32(offset)
    loss, dlogits, lse = fs.cross_entropy_and_grad(shifted, labels, reduction="none")
    right, gradient = reference.cross_entropy(shifted, labels, reduction="none")
    np.testing.assert_allclose(loss, right, rtol=2e-7)
    checks.check_rows_sum_to_zero(dlogits)
    checks.check_elements(dlogits, gradient, shifted)


def test_loss_keeps_relative_accuracy_as_p_goes_to_1(backend):
    loss, dlogits, _ = fs.cross_entropy_and_grad(np.array([17, 0], np.float32), 0)
    right = np.log1p(np.exp(-17.0))
    assert abs(loss / right - 1) < 1e-5
    assert abs(dlogits[0] / -(1 / (1 + np.exp(17.0))) - 1) < 1e-5


def test_threads_change_no_bit(backend):
    for shape in [(64, 20_000), (1, 1_000_000), (3, 300_001)]:
        logits, labels = oracle.problem(*shape, ignored=False)
        results = []
        for n in (1, 2, 7):
            with fs.use_num_threads(n):
                results.append((*fs.cross_entropy_and_grad(logits, labels, reduction="none", label_smoothing=0.1),
                                fs.softmax(logits), fs.log_softmax(logits), fs.logsumexp(logits)))
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_in_place_only_when_asked(backend, dtype):
    for n_classes in (50, 9001):
        logits, labels = oracle.problem(5, n_classes, dtype)
        before = logits.copy()
        fresh = fs.cross_entropy_and_grad(logits, labels)
        np.testing.assert_array_equal(logits, before)
        same = fs.cross_entropy_and_grad(logits, labels, out=logits)
        assert same.dlogits is logits
        assert same.loss == fresh.loss  # to the bit; in place, a gradient may be rounded otherwise
        np.testing.assert_array_equal(same.lse, fresh.lse)
        _, right = reference.cross_entropy(before, labels)
        for dlogits in (fresh.dlogits, same.dlogits):
            checks.check_elements(dlogits, right, before, dtype)


def test_a_masked_class_and_the_infinities(backend):
    inf, nan = np.inf, np.nan
    x = np.array([[0, -inf, 1], [-inf, -inf, -inf], [0, inf, 1], [nan, inf, 1], [0, 0, 0]], np.float32)
    lse = fs.logsumexp(x)
    np.testing.assert_allclose(lse, [np.log(1 + np.e), -inf, inf, nan, np.log(3)], rtol=1e-6)
    p = fs.softmax(x)
    assert p[0, 1] == 0 and np.isnan(p[1:4]).all() and np.allclose(p[4], 1 / 3)
    loss, dlogits, _ = fs.cross_entropy_and_grad(x, [1, 0, 0, 0, 0], reduction="none")
    assert loss[0] == inf and np.isnan(loss[1:4]).all()
    np.testing.assert_allclose(dlogits[0], [1 / (1 + np.e), -1, np.e / (1 + np.e)], rtol=1e-6)


def test_zero_rows_and_nothing_counted(backend):
    assert np.isnan(fs.cross_entropy(np.zeros((0, 5)), np.zeros(0, int)))
    assert fs.cross_entropy(np.zeros((0, 5)), np.zeros(0, int), reduction="sum") == 0
    assert np.isnan(fs.cross_entropy(np.zeros((2, 5)), [-100, -100]))
    assert fs.cross_entropy(np.zeros((2, 5)), [-100, -100], empty="zero") == 0


LAYOUTS = ["fortran", "reversed", "strided", "swapped", "broadcast", "middle axis", "read-only"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_awkward_layouts(backend, layout):
    base, labels = oracle.problem(6, 40, ignored=False)
    x, axis = base, -1
    if layout == "fortran":
        x = np.asfortranarray(base)
    elif layout == "reversed":
        x = base[::-1, ::-1]
    elif layout == "strided":
        x = np.repeat(base, 3, axis=1)[:, ::3]
    elif layout == "swapped":
        x = base.astype(base.dtype.newbyteorder())
    elif layout == "broadcast":
        x = np.broadcast_to(base[0], base.shape)
    elif layout == "middle axis":
        x, axis, labels = base.T[None].copy(), 1, labels[None]
    else:
        x = base.copy()
        x.flags.writeable = False
    right, gradient = reference.cross_entropy(np.moveaxis(x, axis, -1).reshape(6, 40), labels.reshape(-1))
    loss, dlogits, _ = fs.cross_entropy_and_grad(x, labels, axis=axis)
    np.testing.assert_allclose(loss, right, rtol=1e-6)
    np.testing.assert_allclose(np.moveaxis(dlogits, axis, -1).reshape(6, 40), gradient, rtol=1e-5, atol=1e-7)
