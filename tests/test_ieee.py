"""NaN, infinities, zeros, overflow and subnormals, for every operation: quiet, and confined to their row."""

import checks
import numpy as np
import pytest
from operations import DTYPES, OPERATIONS, dtype_of, inputs_of, make

import fastsoftmax as fs
from fastsoftmax import reference

INF, NAN = np.inf, np.nan
dtype_names = pytest.mark.parametrize("dtype", DTYPES)
sizes = pytest.mark.parametrize("n_classes", [3, 65, 4097])


def hostile(n_classes, dtype):
    """Eight rows: class 0 masked; all masked; +inf; +inf and NaN; -NaN; -inf and +inf; one class left; plain."""
    x = make("logits", (8, n_classes), dtype)
    x[0, 0] = -INF
    x[1] = -INF
    x[2, 0] = INF
    x[3, [0, -1]] = INF, NAN
    x[4, 1] = -np.float64(NAN)
    x[5, [0, -1]] = -INF, INF
    x[6, 1:] = -INF
    return x


def wide(a):
    return np.asarray(a).astype(np.float64)


@dtype_names
@sizes
def test_softmax_of_masked_and_broken_rows(backend, dtype, n_classes):
    x = hostile(n_classes, dtype)
    p, log_p, lse = wide(fs.softmax(x)), wide(fs.log_softmax(x)), wide(fs.logsumexp(x))
    assert p[0, 0] == 0 and log_p[0, 0] == -INF and np.isfinite(log_p[0, 1:]).all()
    assert np.isnan(p[1:6]).all() and np.isnan(log_p[1:6]).all()
    np.testing.assert_array_equal(p[6], np.arange(n_classes) == 0)
    np.testing.assert_array_equal(log_p[6], np.where(np.arange(n_classes) == 0, 0, -INF))
    np.testing.assert_array_equal(lse[1:6], [-INF, INF, NAN, NAN, INF])
    assert lse[6] == wide(x)[6, 0] and np.isfinite(lse[[0, 7]]).all()


@dtype_names
@sizes
def test_losses_of_masked_and_broken_rows(backend, dtype, n_classes):
    x = hostile(n_classes, dtype)
    loss, dlogits, lse = fs.cross_entropy_and_grad(x, np.zeros(8, int), reduction="none")
    dlogits = wide(dlogits)
    assert loss[0] == INF and np.isnan(loss[1:6]).all() and loss[6] == 0 and np.isfinite(loss[7])
    np.testing.assert_array_equal(lse[1:6], [-INF, INF, NAN, NAN, INF])
    assert dlogits[0, 0] == -1 and (dlogits[0, 1:] > 0).all() and abs(dlogits[0].sum()) < 0.02
    assert np.isnan(dlogits[1:6]).all()
    assert not dlogits[6].any()
    masked = fs.cross_entropy_and_grad(x[[0, 6]], [1, 0], reduction="none")
    assert np.isfinite(masked.loss).all() and masked.dlogits[0, 0] == 0 and masked.dlogits[1, 1] == 0
    assert np.isnan(fs.cross_entropy(x, np.zeros(8, int)))


@dtype_names
def test_smoothing_and_soft_targets_over_a_masked_class(backend, dtype):
    """A class of -inf with a weight costs +inf and keeps a finite gradient; one of weight 0 costs nothing (torch: NaN)."""
    x = hostile(65, dtype)[:1]
    smooth = fs.cross_entropy_and_grad(x, [1], label_smoothing=0.5)
    assert smooth.loss == INF and np.isfinite(wide(smooth.dlogits)).all()
    q = make("probs", (1, 65), dtype)
    with_weight = fs.soft_cross_entropy_and_grad(x, q)
    assert with_weight.loss == INF and np.isfinite(wide(with_weight.dlogits)).all()
    q[0, 0] = 0
    loss, dlogits, _ = fs.soft_cross_entropy_and_grad(x, q)
    right = reference.losses(x.astype(reference.WIDE), q.astype(reference.WIDE))
    checks.check_losses(loss, right[0], dtype)
    assert dlogits[0, 0] == 0 and np.isfinite(wide(dlogits)).all()
    zero = fs.cross_entropy_and_grad(x, [0], class_weight=np.where(np.arange(65), 1.0, 0), reduction="sum")
    assert zero.loss == 0 and not wide(zero.dlogits).any()


@dtype_names
def test_a_cap_makes_infinities_finite(backend, dtype):
    """z = c*tanh(x/c): +-inf are +-c there; NaN stays NaN."""
    x = hostile(65, dtype)
    loss, dlogits, lse = fs.cross_entropy_and_grad(x, np.zeros(8, int), softcap=3.0, reduction="none")
    right, gradient = reference.cross_entropy(x, np.zeros(8, int), softcap=3.0, reduction="none")
    checks.check_losses(loss, right, dtype)
    checks.check_losses(lse, reference.logsumexp(reference.transform(x, softcap=3.0)), dtype)
    checks.check_close(dlogits, gradient, 4.0, dtype)


def test_what_is_wrong_stays_in_its_row(backend):
    for dtype in DTYPES:
        for name, operation in OPERATIONS.items():
            inputs = inputs_of(name, (8, 97), dtype)
            broken = [a.copy() for a in inputs]
            broken[0][:7] = hostile(97, dtype)[:7]
            got, right = operation(*broken), operation(*inputs)
            checks.check_same_bits([r[7] for r in got], [r[7] for r in right])


def test_broken_rows_cut_into_blocks_give_the_same_bits(backend):
    """One row of 1,100,001 classes is split among threads, twelve are not."""
    x = make("logits", (12, 1_100_001), "float32")
    x[0, :200_000], x[1], x[2, 299_000], x[3, 150_000], x[4, [0, -1]] = -INF, -INF, NAN, INF, (INF, NAN)
    for name in ("softmax", "log_softmax", "logsumexp", "cross_entropy_and_grad", "optional_and_grad"):
        inputs = (x, np.full(12, 299_999))[:len(OPERATIONS[name].inputs)]
        with fs.use_num_threads(2):
            checks.check_batch(OPERATIONS[name], inputs, rows=range(5))


@dtype_names
@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_warns_and_no_state_changes(backend, name, dtype):
    operation = OPERATIONS[name]
    values = hostile(65, dtype)
    largest, least = np.float64(np.finfo(np.float16).max), 2.0**-24
    values[7, :8] = [0.0, -0.0, largest, -largest, least, -least, 1, 0]
    inputs = [a if a.dtype.kind == "i" else v for a, v in
              zip(inputs_of(name, (8, 65), dtype), (values, values[::-1]), strict=False)]
    checks.check_quiet(lambda: operation(*inputs))
    if operation.kernel.endswith("cross_entropy_rows"):
        for reduction in fs.check.REDUCTIONS:
            checks.check_quiet(lambda r=reduction: operation.call(*inputs, reduction=r))
        checks.check_quiet(lambda: operation.call(*inputs, sample_weight=[0, 0, 0, 0, 0, 0, 0, -0.0], reduction="mean"))
        checks.check_quiet(lambda: operation.call(*inputs, class_weight=np.full(65, 1e300), reduction="mean"))
        checks.check_quiet(lambda: operation.call(*inputs, sample_weight=[INF, -INF, NAN, 1e300, 1, 1, 1, 1]))


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_warns_in_other_threads(backend, name):
    inputs = inputs_of(name, (64, 20_000), "float32")
    inputs[0][::3, :7] = [NAN, INF, -INF, 3e38, -3e38, 0, 1e-45]
    with fs.use_num_threads(2):
        checks.check_quiet(lambda: OPERATIONS[name](*inputs))


def rounded(right, dtype):
    """The reference as `dtype` holds it: what is beyond becomes an infinity."""
    with np.errstate(over="ignore"):
        return wide(np.asarray(right).astype(np.float64).astype(dtype_of(dtype)))


BIG = {"float64": 1.7e308, "float32": 3e38, "bfloat16": 3e38, "float16": 65504}


@dtype_names
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_differences_that_overflow(backend, dtype, temperature):
    x, labels = np.array([[BIG[dtype], -BIG[dtype], 0]] * 3, dtype_of(dtype)), np.arange(3)
    z = reference.transform(x, temperature)
    loss, dlogits, lse = fs.cross_entropy_and_grad(x, labels, temperature=temperature, reduction="none")
    right, gradient = reference.cross_entropy(x, labels, temperature=temperature, reduction="none")
    checks.check_losses(loss, rounded(right, "float64"), dtype)
    checks.check_losses(lse, rounded(reference.logsumexp(z), "float64"), dtype)
    checks.check_close(dlogits, gradient, 1 / temperature, dtype)
    log_p = rounded(reference.log_softmax(z), dtype)
    checks.check_close(fs.softmax(x, temperature=temperature), reference.softmax(z), 1, dtype)
    checks.check_close(fs.log_softmax(x, temperature=temperature), log_p, 1 + np.abs(log_p), dtype)


@dtype_names
def test_smoothing_where_differences_overflow(backend, dtype):
    """Where t*(m - x) is beyond the dtype it is computed in, the loss may be +inf; the gradient is not touched."""
    x = np.array([[BIG[dtype], -BIG[dtype], 0]] * 3, dtype_of(dtype))
    loss, dlogits, _ = fs.cross_entropy_and_grad(x, np.arange(3), label_smoothing=0.5, reduction="none")
    right, gradient = reference.cross_entropy(x, np.arange(3), label_smoothing=0.5, reduction="none")
    checks.check_close(dlogits, gradient, 1, dtype)
    if dtype == "float16" or np.isfinite(loss).any():
        checks.check_losses(loss, rounded(right, "float64"), dtype)


@dtype_names
def test_zero_times_log_zero_is_zero(backend, dtype):
    p = np.array([[0, 1, 0], [0.5, 0.5, 0], [0, 0, 0], [0.5, 0.25, 0.25]], dtype_of(dtype))
    q = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0], [0.5, 0.25, 0.25]], dtype_of(dtype))
    np.testing.assert_allclose(fs.entropy(p), [0, np.log(2), 0, 1.5 * np.log(2)], rtol=1e-15)
    np.testing.assert_array_equal(fs.kl_divergence(p, q), [0, INF, 0, 0])


@dtype_names
def test_divergences_of_what_is_no_distribution(backend, dtype):
    """A NaN anywhere gives NaN, also beside a probability of 0; so does a negative probability."""
    p = np.array([[NAN, 0], [-1, 2], [0, 1], [0, 1]], dtype_of(dtype))
    q = np.array([[1, 0], [1, 1], [NAN, 1], [-1, 1]], dtype_of(dtype))
    np.testing.assert_array_equal(fs.entropy(p), [NAN, NAN, 0, 0])
    np.testing.assert_array_equal(fs.kl_divergence(p, q), [NAN, NAN, NAN, 0])


LEAST = {"float64": 5e-324, "float32": 2.0**-149, "bfloat16": 2.0**-133, "float16": 2.0**-24}


@dtype_names
def test_subnormals_are_kept(backend, dtype):
    kind, least = dtype_of(dtype), LEAST[dtype]
    small = np.array([[least, 3 * least, -5 * least]], kind)
    masked = np.full((1, 3), -INF, kind)
    np.testing.assert_array_equal(wide(fs.log_softmax_grad(masked, small)), wide(small))
    assert wide(fs.logsumexp(small[:, :1])) == least
    tail = np.array([[0.0, np.log(least), np.log(16 * least), np.log(400 * least)]], kind)
    checks.check_close(fs.softmax(tail), reference.softmax(tail.astype(reference.WIDE)), 1, dtype, budget=0)
    assert (wide(fs.softmax(tail))[0, 2:] > 0).all()
    np.testing.assert_allclose(fs.entropy(np.array([[least, 0]], kind)), -least * np.log(least), rtol=1e-10)


@dtype_names
def test_a_subnormal_probability_has_a_finite_divergence(backend, dtype):
    """p/q overflows where log(p/q) is 744.4."""
    p, q = np.array([1, 0], dtype_of(dtype)), np.array([LEAST[dtype], 1], dtype_of(dtype))
    np.testing.assert_allclose(fs.kl_divergence(p, q), -np.log(LEAST[dtype]), rtol=1e-14)


def test_float16_sums_do_not_overflow(backend):
    n = 100_000
    x = np.full((1, n), 60_000, np.float16)
    np.testing.assert_allclose(fs.cross_entropy(x, [5]), np.log(n), rtol=1e-6)
    assert fs.logsumexp(x) == np.float16(60_000 + np.log(n))
    assert (fs.softmax(x) == np.float16(1e-5)).all()
    log_p = np.full((1, n), -11.5, np.float16)
    right = 60_000 - np.exp(-11.5) * 60_000 * n
    np.testing.assert_allclose(wide(fs.log_softmax_grad(log_p, x)), right, rtol=2e-3)
    np.testing.assert_allclose(wide(fs.softmax_grad(np.full((1, n), 2.0**-14, np.float16), x)),
                               2.0**-14 * (60_000 - 2.0**-14 * 6e9), rtol=1e-3)
    np.testing.assert_allclose(fs.entropy(np.full((1, n), 0.5, np.float16)), n / 2 * np.log(2), rtol=1e-6)
    rows = np.zeros((n, 2), np.float16)
    np.testing.assert_allclose(fs.cross_entropy(rows, np.zeros(n, int), reduction="sum"), n * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("empty", ["nan", "zero"])
@pytest.mark.parametrize(("labels", "options"), [
    ([-100, -100], {}),
    ([0, 1], {"sample_weight": 0}),
    ([0, 1], {"sample_weight": [1, -1]}),
    ([0, 1], {"class_weight": [0, 0, 1], "label_smoothing": 0.1}),
], ids=str)
def test_the_mean_over_nothing(backend, labels, options, empty):
    """NaN as in torch, or zero; rows that do not count have gradient 0 in both."""
    x = np.array([[0, 1, 2], [1, -1, 0]], np.float32)
    loss, dlogits, _ = fs.cross_entropy_and_grad(x, labels, empty=empty, **options)
    assert loss == 0 if empty == "zero" else np.isnan(loss)
    counts = labels[0] >= 0 and np.any(options.get("sample_weight", 1))
    np.testing.assert_array_equal(dlogits, np.full((2, 3), NAN if counts and empty == "nan" else 0))
    total = fs.cross_entropy(x, labels, reduction="sum", **options)
    assert np.isfinite(total) and fs.cross_entropy(x[:0], [], empty=empty, reduction="sum") == 0


def test_weights_that_are_not_numbers_stay_where_they_count(backend):
    x, labels = inputs_of("cross_entropy", (4, 5), "float64")
    labels[:] = [0, 1, 2, 3]
    rows = fs.cross_entropy_and_grad(x, labels, sample_weight=[1, NAN, -2, INF], reduction="none")
    plain = fs.cross_entropy_and_grad(x, labels, reduction="none")
    np.testing.assert_allclose(rows.loss, plain.loss * [1, NAN, -2, INF])
    np.testing.assert_allclose(rows.dlogits[[0, 2]], plain.dlogits[[0, 2]] * [[1], [-2]])
    assert not np.isfinite(rows.dlogits[[1, 3]]).any()
    classes = fs.cross_entropy_and_grad(x, labels, class_weight=[1, NAN, -2, INF, 1], reduction="none")
    np.testing.assert_allclose(classes.loss, plain.loss * [1, NAN, -2, INF])
    np.testing.assert_allclose(classes.dlogits[[0, 2]], plain.dlogits[[0, 2]] * [[1], [-2]])
    assert not np.isfinite(classes.dlogits[[1, 3]]).any()
