"""Sparse and dense targets, divergences, entropies and derivatives along a direction, against float64 formulas."""

from functools import partial

import numpy as np
import pytest
from layouts import LAYOUTS
from operations import DTYPES, dtype_of, make

import fastsoftmax as fs
from fastsoftmax import reference

SHAPES = [(3, 5), (40, 60), (7, 1000), (3, 9000), (2, 30_000)]
CLOSE = {"float64": dict(rtol=1e-11, atol=1e-12), "float32": dict(rtol=3e-5, atol=3e-6),
         "bfloat16": dict(rtol=2e-2, atol=1e-3), "float16": dict(rtol=3e-3, atol=1e-4)}
WIDE = reference.WIDE


def logits_of(shape, dtype="float32", seed=0):
    return make("logits", shape, dtype, seed)


def close(got, right, dtype, scale=1.0):
    options = CLOSE[dtype]
    np.testing.assert_allclose(np.asarray(got).astype(float), np.asarray(right).astype(float), rtol=options["rtol"],
                               atol=options["atol"] * scale)


def sums(a):
    return np.sum(a, axis=-1)


def sparse_inputs(shape, k, dtype, seed=0):
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, shape[1], (shape[0], k))  # some twice
    probs = rng.random((shape[0], k)) * 1.5 / k
    indices[rng.random(indices.shape) < 0.1] = -100
    indices[0] = -100
    indices[:, 0] = np.where(np.arange(shape[0]) > 0, rng.integers(0, shape[1], shape[0]), -100)
    return logits_of(shape, dtype, seed), indices, probs


def dense(shape, indices, probs):
    q = np.zeros(shape)
    for i, row in enumerate(indices):
        for j, k in enumerate(row):
            if k != -100:
                q[i, k] += probs[i, j]
    return q


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_is_soft_with_zeros(backend, shape, dtype):
    x, indices, probs = sparse_inputs(shape, 4, dtype)
    q = dense(shape, indices, probs)
    z = x.astype(WIDE)
    right, gradient = reference.losses(z, q.astype(WIDE)), reference.dlogits(z, q.astype(WIDE), np.ones(len(x)))
    right[0], gradient[0] = 0, 0
    got = fs.sparse_cross_entropy_and_grad(x, indices, probs, reduction="none")
    np.testing.assert_allclose(got.loss, right.astype(float), rtol=1e-11 if dtype == "float64" else 2e-6)
    close(got.dlogits, gradient, dtype)
    assert not got.dlogits[0].any() and got.lse[0] == 0
    np.testing.assert_array_equal(fs.sparse_cross_entropy(x, indices, probs, reduction="none"), got.loss)
    mean = fs.sparse_cross_entropy_and_grad(x, indices, probs)
    assert mean.loss == pytest.approx(float(right[1:].mean()), rel=1e-5)
    close(mean.dlogits, gradient / (len(x) - 1), dtype)
    inside = x.copy()
    got_inside = fs.sparse_cross_entropy_and_grad(inside, indices, probs, reduction="none", out=inside)
    assert got_inside.dlogits is inside
    close(inside, gradient, dtype)


@pytest.mark.parametrize("options", [dict(label_smoothing=0.1), dict(z_loss=0.01), dict(softcap=2.0, temperature=0.5),
                                     dict(label_smoothing=0.2, z_loss=0.1, softcap=3.0)])
@pytest.mark.parametrize("weights", [False, True])
def test_sparse_takes_the_options_of_soft(backend, options, weights):
    rng = np.random.default_rng(5)
    for shape in ((6, 50), (3, 9000)):
        x, indices, probs = sparse_inputs(shape, 5, "float64")
        q = dense(shape, indices, probs)
        sample = rng.random(shape[0])
        sample[0] = 0
        options = dict(options, sample_weight=sample, dlosses=rng.random(shape[0]))
        if weights:
            options["class_weight"] = rng.random(shape[1])
        want = fs.soft_cross_entropy_and_grad(x, q, **options)
        got = fs.sparse_cross_entropy_and_grad(x, indices, probs, **options)
        assert got.loss == pytest.approx(want.loss, rel=1e-11)
        np.testing.assert_allclose(got.dlogits, want.dlogits, rtol=1e-9, atol=1e-13)


def test_sparse_with_one_sure_label_is_cross_entropy(backend):
    x, y = logits_of((9, 7000)), make("labels", (9, 7000), "float32")
    x[np.arange(9), y] = 40
    want = fs.cross_entropy_and_grad(x, y, reduction="none")
    got = fs.sparse_cross_entropy_and_grad(x, y[:, None], np.ones((9, 1)), reduction="none")
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6)  # on Numba by NumPy, the other by kernels


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_layouts_axes_threads(backend, layout):
    x, indices, probs = sparse_inputs((6, 5000), 3, "float32")
    want = fs.sparse_cross_entropy_and_grad(x, indices, probs)
    got = fs.sparse_cross_entropy_and_grad(LAYOUTS[layout](x), indices, probs)
    close(got.dlogits, want.dlogits, "float32")
    first = fs.sparse_cross_entropy_and_grad(np.ascontiguousarray(x.T), indices.T, probs.T, axis=0)
    close(first.dlogits.T, want.dlogits, "float32")
    with fs.use_num_threads(1):
        one = fs.sparse_cross_entropy_and_grad(x, indices, probs)
    np.testing.assert_array_equal(one.dlogits, want.dlogits)


def test_long_rows_split_by_classes(backend):
    x, indices, probs = sparse_inputs((2, 300_000), 3, "float32")
    x = np.concatenate([x] * 3, axis=1)
    with fs.use_num_threads(1):
        one = fs.sparse_cross_entropy_and_grad(x, indices, probs)
    with fs.use_num_threads(2):
        two = fs.sparse_cross_entropy_and_grad(x, indices, probs)
    np.testing.assert_array_equal(one.dlogits, two.dlogits)
    q = dense(x.shape, indices, probs)
    right = reference.losses(x.astype(WIDE), q)[1:].mean()
    assert two.loss == pytest.approx(float(right), rel=1e-6)


def targets_of(kind, shape, dtype):
    """(target as given, log q, options)."""
    t = logits_of(shape, dtype, 3)
    log_q = reference.log_softmax(t.astype(WIDE))
    if kind == "logits":
        return t, log_q, dict(target_logits=True)
    given = (np.maximum(np.exp(log_q), 1e-6) if kind == "probs" else log_q).astype(dtype_of(dtype))  # above 0 in float16
    wide = given.astype(WIDE)
    return given, np.log(wide) if kind == "probs" else wide, dict(log_target=kind == "logs")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["probs", "logs", "logits"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(3, 5), (7, 1000), (3, 9000)])
def test_divergence_with_logits(backend, shape, reverse, kind, dtype):
    x = logits_of(shape, dtype)
    target, log_q, options = targets_of(kind, shape, dtype)
    q, log_p = np.exp(log_q), reference.log_softmax(x.astype(WIDE))
    p = np.exp(log_p)
    if reverse:
        right = sums(p * (log_p - log_q))
        gradient = p * (log_p - log_q - right[:, None])
    else:
        right, gradient = sums(q * (log_q - log_p)), p * sums(q)[:, None] - q
    got = fs.kl_divergence_with_logits_and_grad(target, x, reverse=reverse, reduction="none", **options)
    np.testing.assert_allclose(got.loss, right.astype(float), **CLOSE["float64" if dtype == "float64" else "float32"])
    close(got.dlogits, gradient, dtype)
    np.testing.assert_allclose(got.lse, reference.logsumexp(x.astype(WIDE)).astype(float), rtol=1e-6)
    np.testing.assert_array_equal(fs.kl_divergence_with_logits(target, x, reverse=reverse, reduction="none", **options),
                                  got.loss)
    mean = fs.kl_divergence_with_logits_and_grad(target, x, reverse=reverse, dlosses=3.0, out=x, **options)
    assert mean.dlogits is x
    close(x, 3 * gradient / len(x), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_classes", [30_000, 60_000, 250_000])
def test_long_rows_of_soft_targets(backend, n_classes, dtype):
    """Kept, written at once or by blocks: the same bits in a batch, alone, in either input's place and on one thread."""
    x, q = (make(kind, (3, n_classes), dtype) for kind in ("logits", "probs"))
    x[1, 5000:9000] = -np.inf
    q[1, 5000:9000] = 0
    p, t = reference.softmax(x.astype(WIDE)), q.astype(WIDE)
    for call in (lambda x, q, **o: fs.soft_cross_entropy_and_grad(x, q, **o),
                 lambda x, q, **o: fs.kl_divergence_with_logits_and_grad(q, x, **o),
                 lambda x, q, **o: fs.soft_cross_entropy_and_grad(x, q, label_smoothing=0.1, **o)):
        got = call(x, q, reduction="none")
        with fs.use_num_threads(1):
            np.testing.assert_array_equal(call(x, q, reduction="none").dlogits, got.dlogits)
        for i in range(3):
            alone = call(x[i:i + 1], q[i:i + 1], reduction="none")
            np.testing.assert_array_equal(alone.dlogits[0], got.dlogits[i])
            assert alone.loss[0] == got.loss[i]
        for place in (0, 1):
            mine = [x.copy(), q.copy()]
            np.testing.assert_array_equal(call(*mine, reduction="none", out=mine[place]).dlogits, got.dlogits)
    close(fs.soft_cross_entropy_and_grad(x, q, reduction="none").dlogits, p * sums(t)[:, None] - t, dtype, 1e-3)


@pytest.mark.parametrize("reverse", [False, True])
def test_divergence_with_temperature_and_weights(backend, reverse):
    x, t = logits_of((5, 700), "float64"), logits_of((5, 700), "float64", 3)
    weight = np.array([1.0, 0, 2, 0.5, 1])
    q, log_p = reference.softmax(t / 2), reference.log_softmax(x.astype(WIDE) / 2)
    p = np.exp(log_p)
    rows = sums(p * (log_p - np.log(q))) if reverse else sums(q * (np.log(q) - log_p))
    right = float(sums(weight * rows) / weight.sum())
    got = fs.kl_divergence_with_logits_and_grad(t, x, target_logits=True, temperature=2, reverse=reverse,
                                                sample_weight=weight)
    assert got.loss == pytest.approx(right, rel=1e-10)
    assert not got.dlogits[1].any()
    step = 1e-6
    for i, k in ((0, 3), (2, 699)):
        moved = x.copy()
        moved[i, k] += step
        after = fs.kl_divergence_with_logits(t, moved, target_logits=True, temperature=2, reverse=reverse,
                                             sample_weight=weight)
        assert got.dlogits[i, k] == pytest.approx((after - got.loss) / step, abs=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_softcap_in_divergence_and_entropy_by_differences(backend, reverse):
    x = logits_of((2, 300), "float64")
    q = reference.softmax(logits_of((2, 300), "float64", 3)).astype(float)
    calls = {"kl": (lambda a: fs.kl_divergence_with_logits(q, a, softcap=2.0, reverse=reverse, reduction="sum"),
                    lambda a: fs.kl_divergence_with_logits_and_grad(q, a, softcap=2.0, reverse=reverse, reduction="sum")),
             "entropy": (lambda a: fs.entropy_with_logits(a, softcap=2.0, temperature=0.5, reduction="sum"),
                         lambda a: fs.entropy_with_logits_and_grad(a, softcap=2.0, temperature=0.5, reduction="sum"))}
    for value, with_grad in calls.values():
        got = with_grad(x)
        assert got.loss == pytest.approx(value(x), rel=1e-12)
        for k in (0, 17, 299):
            up, down = x.copy(), x.copy()
            up[1, k] += 1e-5
            down[1, k] -= 1e-5
            assert got.dlogits[1, k] == pytest.approx((value(up) - value(down)) / 2e-5, rel=1e-5, abs=1e-9)


def test_zeros_and_infinities_in_divergences(backend):
    x = np.array([[0.0, 1, -np.inf], [0, 1, -np.inf], [0, 1, 2], [np.nan, 0, 0], [np.inf, 0, 0]])
    q = np.array([[0.5, 0.5, 0], [0.5, 0.25, 0.25], [0.5, 0.5, 0], [1, 0, 0], [1, 0, 0]])
    forward = fs.kl_divergence_with_logits_and_grad(q, x, reduction="none")
    p = reference.softmax(x.astype(WIDE)).astype(float)
    assert np.isfinite(forward.loss[[0, 2]]).all() and forward.loss[1] == np.inf and np.isnan(forward.loss[3:]).all()
    np.testing.assert_allclose(forward.dlogits[:3], (p - q)[:3], atol=1e-12)
    backward = fs.kl_divergence_with_logits(q, x, reverse=True, reduction="none")
    assert np.isfinite(backward[[0, 1]]).all() and backward[2] == np.inf and np.isnan(backward[3:]).all()
    with np.errstate(divide="ignore"):
        logs = np.log(q)
    for reverse, right in ((False, forward.loss), (True, backward)):
        got = fs.kl_divergence_with_logits(logs, x, log_target=True, reverse=reverse, reduction="none")
        np.testing.assert_allclose(got[:3], right[:3])
    assert fs.js_divergence([1.0, 0], [0.0, 1]) == pytest.approx(np.log(2))
    assert fs.js_divergence([0.5, 0.5], [0.5, 0.5]) == 0


@pytest.mark.parametrize("last", [5.0, 5e4])
def test_classes_without_a_target_count_by_their_probability(backend, last):
    """Also where those of a whole block have none left: 0*inf is 0."""
    x, q = np.zeros((1, 9000)), np.zeros((1, 9000))
    x[0, 8500], q[0, 8500] = last, 1
    loss, dlogits, _ = fs.kl_divergence_with_logits_and_grad(q, x, reverse=True)
    if last == 5:
        assert loss == np.inf
    else:
        assert loss == 0 and not dlogits.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (7, 1000), (3, 9000)])
def test_entropy_with_logits(backend, shape, dtype):
    x = logits_of(shape, dtype)
    log_p = reference.log_softmax(x.astype(WIDE))
    p = np.exp(log_p)
    right = -sums(p * log_p)
    got = fs.entropy_with_logits_and_grad(x)
    np.testing.assert_allclose(got.loss, right.astype(float), rtol=1e-11 if dtype == "float64" else 2e-6)
    close(got.dlogits, -p * (log_p + right[:, None]), dtype)
    np.testing.assert_array_equal(fs.entropy_with_logits(x), got.loss)
    np.testing.assert_allclose(fs.score(x, np.zeros(len(x), int)).entropy, got.loss, rtol=2e-6)
    bonus = fs.entropy_with_logits_and_grad(x, reduction="mean", dlosses=-0.01)
    close(bonus.dlogits, 0.01 / len(x) * p * (log_p + right[:, None]), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_js_divergence(backend, dtype):
    for n_classes in (5, 33, 5000):
        p, q = (make(kind, (4, n_classes), dtype) for kind in ("probs", "other probs"))
        p, q = (np.maximum(a, a.dtype.type(1e-6)) for a in (p, q))
        a, b = p.astype(WIDE), q.astype(WIDE)
        m = (a + b) / 2
        right = sums(a * np.log(a / m) + b * np.log(b / m)) / 2
        np.testing.assert_allclose(fs.js_divergence(p, q), right.astype(float), rtol=1e-10)
        np.testing.assert_array_equal(fs.js_divergence(p, q), fs.js_divergence(q, p))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (7, 1000), (3, 9000)])
def test_jvp_and_hvp(backend, shape, dtype):
    rng = np.random.default_rng(2)
    x, y = logits_of(shape, dtype), make("labels", shape, dtype)
    v = rng.normal(size=shape).astype(dtype_of(dtype))
    y[1] = -100
    options = dict(label_smoothing=0.1, temperature=2.0, class_weight=rng.random(shape[1]) + 0.5,
                   sample_weight=rng.random(shape[0]))
    for some in ({}, options):
        for reduction in ("none", "mean", "sum"):
            gradient = reference.cross_entropy(x, y, reduction=reduction, **some)[1]
            right = sums(gradient * v.astype(WIDE))
            right = right if reduction == "none" else np.sum(right)
            got = fs.cross_entropy_jvp(x, y, v, reduction=reduction, **some)
            np.testing.assert_allclose(np.asarray(got), right.astype(float), rtol=1e-9 if dtype == "float64" else 1e-4,
                                       atol=1e-12 if dtype == "float64" else 1e-5)
        temperature, weight = some.get("temperature", 1.0), some.get("sample_weight", np.ones(shape[0]))
        p, u = reference.softmax(x.astype(WIDE) / temperature), v.astype(WIDE)
        t = reference.targets(np.where(y == -100, 0, y), shape[1], some.get("class_weight"),
                              some.get("label_smoothing", 0.0))
        factor = (np.where(y == -100, 0, weight) * sums(t))[:, None] / temperature**2
        right = factor * p * (u - sums(p * u)[:, None])
        got = fs.cross_entropy_hvp(x, y, v, reduction="none", dlosses=2.0, **some)
        close(got, 2 * right, dtype)
        again = v.copy()
        assert fs.cross_entropy_hvp(x, y, again, reduction="none", dlosses=2.0, out=again, **some) is again
        np.testing.assert_array_equal(again, got)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("some", [{"softcap": 3.0}, {"z_loss": 0.05}, {"softcap": 3.0, "z_loss": 0.05}], ids=str)
def test_jvp_and_hvp_where_something_is_curved(backend, some, dtype):
    """Against differences of the gradient, in 64 bits of mantissa."""
    rng, shape = np.random.default_rng(3), (5, 700)
    x, y = logits_of(shape, dtype), make("labels", shape, dtype)
    v = rng.normal(size=shape).astype(dtype_of(dtype))
    y[1] = -100
    more = dict(label_smoothing=0.1, temperature=0.8, class_weight=rng.random(shape[1]) + 0.5, sample_weight=rng.random(5))
    upstream = np.arange(1.0, 6.0)
    for options in (some, some | more):
        def gradient(at, options=options):
            return reference.cross_entropy(at, y, reduction="none", **options)[1]

        product = partial(fs.cross_entropy_hvp, reduction="none", dlosses=upstream, **options)
        wide, u, step = x.astype(WIDE), v.astype(WIDE), WIDE(1e-6)
        right = sums(gradient(wide) * u)
        tolerance = dict(rtol=1e-9, atol=1e-12) if dtype == "float64" else dict(rtol=1e-6, atol=1e-7)
        got = fs.cross_entropy_jvp(x, y, v, reduction="none", **options)
        np.testing.assert_allclose(got, right.astype(float), **tolerance)
        np.testing.assert_allclose(fs.cross_entropy_jvp(x, y, v, reduction="sum", **options), np.sum(got), rtol=1e-12)
        right = (gradient(wide + step * u) - gradient(wide - step * u)) / (2 * step)
        got = product(x, y, v)
        close(got, right * upstream[:, None], dtype)
        assert not got[1].any()
        again = v.copy()
        assert product(x, y, again, out=again) is again
        np.testing.assert_array_equal(again, got)
        np.testing.assert_array_equal(product(x.T, y, v.T, axis=0).T, got)


def test_curved_directions_of_awkward_rows(backend):
    """Masked classes, nothing at all, one row, no row; a NaN stays in its row; the mean divides by what counts."""
    x, v = logits_of((4, 30), "float64"), logits_of((4, 30), "float64", seed=4)
    y = np.array([3, 4, 5, -100])
    x[0, 7], x[1, 2], x[2, 5] = -np.inf, np.nan, -np.inf
    for options in ({"z_loss": 0.1}, {"softcap": 2.0}):
        got = fs.cross_entropy_hvp(x, y, v, reduction="sum", **options)
        assert np.isfinite(got[[0, 2, 3]]).all() and np.isnan(got[1]).all() and got[0, 7] == 0 == got[2, 5]
        some = [0, 2, 3]
        np.testing.assert_allclose(fs.cross_entropy_hvp(x[some], y[some], v[some], **options), got[some] / 2, rtol=1e-14)
        np.testing.assert_array_equal(fs.cross_entropy_hvp(x[0], y[0], v[0], reduction="sum", **options), got[0])
        assert fs.cross_entropy_hvp(x[:0], y[:0], v[:0], **options).shape == (0, 30)
        assert fs.cross_entropy_jvp(x[0], y[0], v[0], **options).shape == ()
        x_long, y_long, v_long = logits_of((500, 3000)), np.arange(500), logits_of((500, 3000), seed=4)
        with fs.use_num_threads(1):
            one = fs.cross_entropy_jvp(x_long, y_long, v_long, **options)
        assert fs.cross_entropy_jvp(x_long, y_long, v_long, **options) == one


def test_hvp_layouts_and_axes(backend):
    x, y, v = logits_of((6, 500)), make("labels", (6, 500), "float32"), logits_of((6, 500), seed=4)
    want = fs.cross_entropy_hvp(x, y, v)
    np.testing.assert_array_equal(fs.cross_entropy_hvp(x.T, y, v.T, axis=0).T, want)
    for layout in LAYOUTS.values():
        np.testing.assert_array_equal(fs.cross_entropy_hvp(layout(x), y, layout(v)), want)
    assert fs.cross_entropy_hvp(x[0], y[0], v[0]).shape == (500,)
    assert fs.cross_entropy_hvp(x[:0], y[:0], v[:0], reduction="sum").shape == (0, 500)


def test_bad_input():
    x = logits_of((4, 30))
    ids, probs = np.zeros((4, 2), int), np.ones((4, 2))
    wrong = ids.copy()
    wrong[2, 1] = 30
    spare = np.zeros_like(x)
    for error, words, call in (
            (fs.LabelError, r"indices\[2, 1\] is 30, outside \[0, 30\)", lambda: fs.sparse_cross_entropy(x, wrong, probs)),
            (fs.LabelError, r"indices\[0, 0\] is -1", lambda: fs.sparse_cross_entropy(x, ids - 1, probs)),
            (ValueError, r"indices has shape \(4,\)", lambda: fs.sparse_cross_entropy(x, ids[:, 0], probs)),
            (ValueError, r"probs has shape \(4, 1\)", lambda: fs.sparse_cross_entropy(x, ids, probs[:, :1])),
            (TypeError, "indices has dtype float64", lambda: fs.sparse_cross_entropy(x, probs, probs)),
            (TypeError, "probs must be an array, not None", lambda: fs.sparse_cross_entropy(x, ids, None)),
            (TypeError, "indices must be an integer array, not None", lambda: fs.sparse_cross_entropy(x, None, probs)),
            (ValueError, "out overlaps probs", lambda: fs.sparse_cross_entropy_and_grad(x, ids, x[:, :2], out=x)),
            (ValueError, "out overlaps indices",
             lambda: fs.sparse_cross_entropy_and_grad(x, spare.view(np.int32)[:, :2], probs, out=spare)),
            (TypeError, "target must be an array, not None", lambda: fs.kl_divergence_with_logits(None, x)),
            (TypeError, "reverse must be a bool, not str", lambda: fs.kl_divergence_with_logits(x, x, reverse="no")),
            (ValueError, r"target has shape \(3, 30\)", lambda: fs.kl_divergence_with_logits(x[:3], x)),
            (ValueError, "both True", lambda: fs.kl_divergence_with_logits(x, x, log_target=True, target_logits=True)),
            (TypeError, "log_target must be a bool, not int", lambda: fs.kl_divergence_with_logits(x, x, log_target=1)),
            (ValueError, r"tangents has shape \(4, 29\)", lambda: fs.cross_entropy_hvp(x, [0] * 4, x[:, 1:])),
            (ValueError, "out overlaps tangents", lambda: fs.cross_entropy_hvp(
                x, [0] * 4, (wide := np.zeros((5, 30), np.float32))[1:], out=wide[:4])),
            (ValueError, "reduction is 'batchmean'", lambda: fs.entropy_with_logits(x, reduction="batchmean")),
            (ValueError, "zero classes", lambda: fs.entropy_with_logits(np.zeros((2, 0))))):
        with pytest.raises(error, match=words):
            call()
