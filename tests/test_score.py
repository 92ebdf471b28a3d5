"""score, topk, sample and target_log_prob against full sorts and float64 softmax, with ties, NaN and infinities."""

import numpy as np
import pytest
from layouts import LAYOUTS
from operations import DTYPES, dtype_of, make

import fastsoftmax as fs
from fastsoftmax import reference
from fastsoftmax.dtypes import BY_NAME

SHAPES = [(5, 7), (40, 100), (9, 1000), (4, 4096), (3, 4097), (2, 20_000)]


def order_of(x):
    """Classes of one row in order, by a full sort."""
    x = np.asarray(x).astype(np.float64)
    return sorted(range(len(x)), key=lambda k: (not np.isnan(x[k]), 0 if np.isnan(x[k]) else -x[k], k))


def logits_of(shape, dtype, seed=0):
    """Rounded, so that there are ties in every row."""
    x = make("logits", shape, "float64", seed)
    return (np.round(4 * x) / 4).astype(dtype_of(dtype))


def check_scores(x, y, got, k, dtype, **options):
    z = reference.transform(x.astype(reference.WIDE), options.get("temperature", 1.0), options.get("softcap"))
    p, log_p = reference.softmax(z), reference.log_softmax(z)
    row = np.arange(len(x))
    close = dict(rtol=2e-12, atol=2e-12) if dtype == "float64" else dict(rtol=3e-6, atol=3e-6)
    np.testing.assert_allclose(got.losses, -log_p[row, y].astype(float), **close)
    np.testing.assert_array_equal(got.log_probs, -got.losses)
    np.testing.assert_allclose(got.lse, reference.logsumexp(z).astype(float), **close)
    np.testing.assert_allclose(got.entropy, -np.sum(np.where(p == 0, 0, p * log_p), axis=1).astype(float), **close)
    orders = [order_of(one) for one in x]
    np.testing.assert_array_equal(got.ranks, [1 + o.index(label) for o, label in zip(orders, y, strict=True)])
    np.testing.assert_array_equal(got.argmax, [o[0] for o in orders])
    np.testing.assert_array_equal(got.top_ids, [o[:k] for o in orders])
    np.testing.assert_allclose(got.top_log_probs, np.take_along_axis(log_p, got.top_ids, 1).astype(float), **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_score_against_a_full_sort(backend, shape, dtype):
    x, y = logits_of(shape, dtype), make("labels", shape, "float64")
    k = min(shape[1], 10)
    check_scores(x, y, fs.score(x, y, top_k=k), k, dtype)
    assert fs.score(x, y).top_ids is None


@pytest.mark.parametrize("options", [dict(temperature=0.3), dict(softcap=2.0), dict(softcap=3.0, temperature=2.0)])
def test_score_with_options(backend, options):
    x, y = logits_of((6, 5000), "float32"), make("labels", (6, 5000), "float64")
    check_scores(x, y, fs.score(x, y, top_k=3, **options), 3, "float32", **options)


@pytest.mark.parametrize("k", [1, 2, 50, 127, 128, 129, 1000, 5000])
def test_topk_of_any_size(backend, k):
    x = logits_of((3, 5000), "float32", 1)
    got = fs.topk(x, k)
    np.testing.assert_array_equal(got.ids, [order_of(row)[:k] for row in x])


@pytest.mark.parametrize("kind", ["rising", "falling", "equal", "masked", "few finite"])
def test_topk_of_awkward_orders(backend, kind):
    x = np.sort(logits_of((1, 9000), "float32"))
    x = {"rising": x, "falling": x[:, ::-1], "equal": 0 * x, "masked": np.full_like(x, -np.inf),
         "few finite": np.where(np.arange(9000) % 4000 == 17, x, -np.inf)}[kind]
    np.testing.assert_array_equal(fs.topk(x, 20).ids[0], order_of(x[0])[:20])


@pytest.mark.parametrize("n_classes", [6, 700, 9000])
def test_order_of_nan_and_infinities(backend, n_classes):
    x = np.tile(logits_of((1, n_classes), "float32"), (6, 1))
    x[0, [3, 5]] = np.nan
    x[1, 4] = np.inf
    x[2, 2:] = -np.inf
    x[3] = -np.inf
    x[4, [1, n_classes - 1]] = [np.inf, np.nan]
    x[5] = np.nan
    for y in (0, 3, n_classes - 1):
        got = fs.score(x, np.full(6, y), top_k=5)
        orders = [order_of(row) for row in x]
        np.testing.assert_array_equal(got.top_ids, [o[:5] for o in orders])
        np.testing.assert_array_equal(got.argmax, [o[0] for o in orders])
        np.testing.assert_array_equal(got.ranks, [1 + o.index(y) for o in orders])
        np.testing.assert_array_equal(np.isnan(got.entropy), [True, True, False, True, True, True])
        np.testing.assert_array_equal(got.lse[[0, 1, 3, 4, 5]], [np.nan, np.inf, -np.inf, np.nan, np.nan])
        np.testing.assert_allclose(got.losses, fs.cross_entropy(x, np.full(6, y), reduction="none"), rtol=1e-6)
    drawn = fs.sample(x, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[[0, 1, 3, 4, 5]], [3, 4, 0, n_classes - 1, 0])
    assert drawn[2] in (0, 1)
    np.testing.assert_array_equal(fs.sample(x, np.random.default_rng(0), top_k=3)[[0, 1, 3, 4, 5]],
                                  [3, 4, 0, n_classes - 1, 0])


def test_ignored_rows_are_inert(backend):
    x, y = logits_of((4, 300), "float32"), np.array([1, -100, 2, -1])
    x[1] = np.nan
    with pytest.raises(fs.LabelError, match=r"labels\[3\] is -1, outside \[0, 300\)"):
        fs.score(x, y)
    y[3] = 5
    got = fs.score(x, y, top_k=2)
    assert [a[1] for a in got[:6]] == [0, 0, 0, 0, -1, 0]
    np.testing.assert_array_equal(got.top_ids[1], [-1, -1])
    np.testing.assert_array_equal(got.top_log_probs[1], [0, 0])


def test_entropy_of_sure_and_far_rows(backend):
    """Small entropies to relative accuracy, wherever the largest logit stands, and large offsets."""
    x = np.zeros((3, 20_000), np.float32)
    x[0, 5], x[1, 9_000], x[2, 19_999] = 30, 30, 60
    for offset in (0, 1024):
        z = (x + np.float32(offset)).astype(reference.WIDE)
        p = reference.softmax(z)
        right = -np.sum(p * reference.log_softmax(z), axis=1)
        np.testing.assert_allclose(fs.score(x + np.float32(offset), [0, 1, 2]).entropy, right.astype(float), rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(backend, layout):
    x, y = logits_of((6, 500), "float32"), make("labels", (6, 500), "float64")
    want = fs.score(x, y, top_k=4)
    got = fs.score(LAYOUTS[layout](x), y, top_k=4)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_axes_and_shapes(backend):
    x = logits_of((2, 3, 40), "float32")
    y = make("labels", (2, 3, 40), "float64")
    want = fs.score(x, y, top_k=2)
    got = fs.score(np.ascontiguousarray(np.moveaxis(x, -1, 1)), y, top_k=2, axis=1)
    for a, b in zip(got[:-2], want[:-2], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(got[-2:], want[-2:], strict=True):  # k stands where the classes do
        np.testing.assert_array_equal(a, np.moveaxis(b, -1, 1))
    first = fs.topk(np.moveaxis(x, -1, 0), 2, axis=0)
    np.testing.assert_array_equal(first.ids, np.moveaxis(want.top_ids, -1, 0))
    one = fs.score(x[0, 0], y[0, 0])
    assert one.losses == want.losses[0, 0] and one.ranks == want.ranks[0, 0]
    assert fs.score(x[:0], y[:0]).losses.shape == (0, 3)
    assert fs.topk(x[:0], 2).ids.shape == (0, 3, 2)
    assert fs.sample(x[:0], np.random.default_rng()).shape == (0, 3)


def test_target_log_prob(backend):
    x = logits_of((2, 3, 40), "bfloat16")
    ids = np.random.default_rng(0).integers(0, 40, (2, 3, 5))
    right = reference.log_softmax(x.astype(reference.WIDE))
    got = fs.target_log_prob(x, ids)
    np.testing.assert_allclose(got, np.take_along_axis(right, ids, 2).astype(float), rtol=1e-6)
    np.testing.assert_array_equal(fs.target_log_prob(x, ids[..., 0]), got[..., 0])
    first = np.moveaxis(x, 2, 0)
    np.testing.assert_array_equal(fs.target_log_prob(first, np.moveaxis(ids, 2, 0), axis=0), np.moveaxis(got, 2, 0))
    np.testing.assert_array_equal(fs.target_log_prob(first, ids[..., 0], axis=0), got[..., 0])
    top = fs.topk(first, 3, axis=0)  # what one function gives goes into another
    np.testing.assert_array_equal(fs.target_log_prob(first, top.ids, axis=0), top.log_probs)
    with pytest.raises(ValueError, match=r"ids has shape \(2, 3, 5\), but must have \(2, 3\) or \(k, 2, 3\)"):
        fs.target_log_prob(first, ids, axis=0)
    np.testing.assert_array_equal(fs.target_log_prob(x[0, 0], 3), fs.target_log_prob(x, np.full((2, 3), 3))[0, 0])
    sure = fs.target_log_prob(np.array([17.0, 0.0], np.float32), 0)
    assert sure == pytest.approx(-np.log1p(np.exp(-17)), rel=1e-6)
    with pytest.raises(fs.LabelError, match=r"ids\[1, 0, 2\] is 40"):
        ids[1, 0, 2] = 40
        fs.target_log_prob(x, ids)


@pytest.mark.parametrize("options", [{}, dict(temperature=2.0), dict(softcap=1.5), dict(top_p=0.6), dict(top_k=7),
                                     dict(top_k=9, top_p=0.5), dict(top_p=1e-9)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_samples_follow_the_probabilities(backend, options, dtype):
    """A chi-squared test; the sets of top_k and top_p by a full sort."""
    n = 20_000
    x = logits_of((1, 50), dtype)
    z = reference.transform(x.astype(reference.WIDE), options.get("temperature", 1.0), options.get("softcap"))
    p = reference.softmax(z)[0].astype(float)
    order = np.array(order_of(x[0]))[:options.get("top_k", 50)]
    mass = np.cumsum(p[order])
    order = order[mass - p[order] < options.get("top_p", 1.0) * mass[-1]]
    kept = np.zeros(50)
    kept[order] = p[order] / p[order].sum()
    drawn = fs.sample(np.broadcast_to(x, (n, 50)), np.random.default_rng(1), **options)
    counts = np.bincount(drawn, minlength=50)
    assert not counts[kept == 0].any()
    expected = n * kept[kept > 0]
    chi2 = np.sum((counts[kept > 0] - expected) ** 2 / expected)
    assert chi2 < {1: 1}.get(len(order), len(order) + 4.5 * np.sqrt(2 * len(order)))


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_samples_of_many_classes_fall_where_the_mass_is(backend, top_p):
    """The mass before a class drawn is uniform (probability integral transform): mean and variance of 400 draws."""
    n_classes, n = 100_000, 400
    x = make("logits", (1, n_classes), "float32")
    p = reference.softmax(x.astype(reference.WIDE))[0].astype(float)
    order = np.argsort(-p, kind="stable")
    place = np.empty(n_classes, int)
    place[order] = np.arange(n_classes)
    before = (np.cumsum(p[order]) - p[order] / 2)[place]
    u = before[fs.sample(np.broadcast_to(x, (n, n_classes)), np.random.default_rng(3), top_p=top_p)] / top_p
    assert u.max() < 1 + 1e-4
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * n) and abs(u.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / n)


def test_samples_do_not_depend_on_threads_or_batch(backend):
    x = logits_of((300, 3000), "float32")
    with fs.use_num_threads(1):
        want = fs.sample(x, np.random.default_rng(0), top_p=0.8)
    with fs.use_num_threads(3):
        np.testing.assert_array_equal(fs.sample(x, np.random.default_rng(0), top_p=0.8), want)
    np.testing.assert_array_equal(fs.sample(x[:7], np.random.default_rng(0), top_p=0.8), want[:7])


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(backend, dtype):
    x, y = logits_of((400, 2000), dtype), make("labels", (400, 2000), "float64")
    with fs.use_num_threads(1):
        want = fs.score(x, y, top_k=5)
    with fs.use_num_threads(2):
        got = fs.score(x, y, top_k=5)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(fs.score(x[7:9], y[7:9]).losses, want.losses[7:9])


def test_losses_are_those_of_cross_entropy(backend):
    for dtype in ("float64", "float32"):
        x, y = make("logits", (20, 9000), dtype), make("labels", (20, 9000), dtype)
        losses = fs.cross_entropy(x, y, reduction="none")
        np.testing.assert_allclose(fs.score(x, y).losses, losses, rtol=4 * BY_NAME[dtype].eps)


def test_out(backend):
    x = logits_of((4, 30), "float32")
    log_probs, ids = np.empty((4, 3)), np.empty((4, 3), np.int64)
    got = fs.topk(x, 3, out=(log_probs, ids))
    assert got.log_probs is log_probs and got.ids is ids
    np.testing.assert_array_equal(ids, fs.topk(x, 3).ids)
    drawn = np.empty(4, np.int64)
    assert fs.sample(x, np.random.default_rng(0), out=drawn) is drawn
    np.testing.assert_array_equal(drawn, fs.sample(x, np.random.default_rng(0)))
    found = np.empty(4)
    assert fs.target_log_prob(x, np.zeros(4, int), out=found) is found


def test_bad_input():
    x = logits_of((4, 30), "float32")
    rng, own = np.random.default_rng(), np.zeros((4, 2))
    for error, words, call in (
            (ValueError, "k is 31, outside", lambda: fs.topk(x, 31)),
            (ValueError, "k is 0, outside", lambda: fs.topk(x, 0)),
            (ValueError, "top_k is 31, outside", lambda: fs.score(x, [0] * 4, top_k=31)),
            (ValueError, "top_k is -1, outside", lambda: fs.sample(x, rng, top_k=-1)),
            (TypeError, "k must be an integer, not float", lambda: fs.topk(x, 2.0)),
            (ValueError, r"top_p is 0.0, outside \(0, 1\]", lambda: fs.sample(x, rng, top_p=0)),
            (ValueError, r"top_p is 1.5, outside \(0, 1\]", lambda: fs.sample(x, rng, top_p=1.5)),
            (ValueError, r"top_p is nan, outside", lambda: fs.sample(x, rng, top_p=float("nan"))),
            (ValueError, "temperature is 0", lambda: fs.sample(x, rng, temperature=0)),
            (TypeError, "rng must be a numpy.random.Generator, not int", lambda: fs.sample(x, 0)),
            (TypeError, "rng must be a numpy.random.Generator, not RandomState",
             lambda: fs.sample(x, np.random.RandomState(0))),
            (TypeError, "labels has dtype float64", lambda: fs.score(x, np.zeros(4))),
            (ValueError, r"labels has shape \(3,\)", lambda: fs.score(x, [0, 1, 2])),
            (ValueError, "ids has shape", lambda: fs.target_log_prob(x, [0, 1])),
            (ValueError, "zero classes", lambda: fs.topk(np.zeros((2, 0)), 1)),
            (TypeError, "out must be a tuple", lambda: fs.topk(x, 2, out=np.empty((4, 2)))),
            (ValueError, r"out has length 1, but must be a tuple \(log_probs, ids\)", lambda: fs.topk(x, 2, out=(own,))),
            (TypeError, "ids must be an integer array, not None", lambda: fs.target_log_prob(x, None)),
            (TypeError, "ids is a masked array: its mask would be lost; fill it first",
             lambda: fs.target_log_prob(x, np.ma.array([0] * 4))),
            (ValueError, "out overlaps ids", lambda: fs.target_log_prob(x, own.view(np.int64), out=own)),
            (TypeError, "has dtype int32, but must have int64", lambda: fs.sample(x, rng, out=np.empty(4, np.int32))),
            (ValueError, "out overlaps logits", lambda: fs.target_log_prob(own, [0] * 4, out=own[:, 0]))):
        state = rng.bit_generator.state
        with pytest.raises(error, match=words):
            call()
        assert rng.bit_generator.state == state  # nothing was drawn


def test_no_rows_of_no_classes(backend):
    nothing = np.zeros((0, 0))
    assert fs.sample(nothing, np.random.default_rng()).shape == (0,)
    assert fs.target_log_prob(nothing, np.zeros((0, 3), int)).shape == (0, 3)
    assert fs.score(nothing, []).losses.shape == (0,)
    with pytest.raises(ValueError, match=r"k is 1, outside \[1, 0\]"):
        fs.topk(nothing, 1)


def test_a_place_without_axes_is_returned():
    x, one, at = logits_of((30,), "float32"), np.zeros(()), np.zeros((), np.int64)
    assert fs.target_log_prob(x, 3, out=one) is one and one == fs.target_log_prob(x, 3)
    assert fs.sample(x, np.random.default_rng(0), out=at) is at and at == fs.sample(x, np.random.default_rng(0))
