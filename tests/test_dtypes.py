"""All 65,536 patterns of both 16-bit formats through load and store."""

import numpy as np
import pytest
from operations import dtype_of

import fastsoftmax as fs

kinds = pytest.mark.parametrize("kind", ["float16", "bfloat16"])


def every_pattern(dtype):
    return np.arange(65536, dtype=np.uint16).view(dtype)


def same(got, right):
    """Equal numbers, NaN where NaN is due."""
    np.testing.assert_array_equal(got.astype(np.float32), right.astype(np.float32))


@kinds
def test_load(backend, kind):
    """The log-sum-exp of one class is its logit: number, subnormal, infinity or NaN; then at every place of a vector."""
    x = every_pattern(dtype_of(kind))
    same(fs.logsumexp(x[:, None]), x)
    lse = fs.cross_entropy_and_grad(x[:, None], np.zeros(65536, int), reduction="none").lse
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(lse, x.astype(np.float64))
        finite = np.where(np.isfinite(x.astype(np.float32)), x, 0).astype(x.dtype)
    row = np.arange(65536)
    placed = np.zeros((65536, 37), x.dtype)
    placed[row, row % 37] = finite
    same(fs.log_softmax_grad(np.full(placed.shape, -np.inf, x.dtype), placed), placed)


@kinds
@pytest.mark.parametrize("factor", [1.0, -1.0, 1.0078125, 1.5, 2.0**-9, 3 * 2.0**-12, 3.0])
def test_store(backend, kind, factor):
    """softmax_grad of p = [1, c], dp = [0, b] is [-c*b, ...], exact in float32: stored rounded to nearest even."""
    dtype = dtype_of(kind)
    b = every_pattern(dtype)
    p, dp = np.empty((65536, 2), dtype), np.zeros((65536, 2), dtype)
    p[:], dp[:, 1] = [1, factor], b
    with np.errstate(all="ignore"):
        right = (0 - np.float32(factor) * b.astype(np.float32)).astype(dtype)
    same(fs.softmax_grad(p, dp)[:, 0], right)


@kinds
def test_softmax_of_every_pattern(backend, kind):
    """softmax of [x, 0] is the rounding of float64's, but for ties of the float32 value in between."""
    dtype = dtype_of(kind)
    x = np.zeros((65536, 2), dtype)
    x[:, 0] = every_pattern(dtype)
    with np.errstate(all="ignore"):
        d = x[:, 0].astype(np.float64)
        p = np.where(np.isinf(d) & (d > 0), np.nan, 1 / (1 + np.exp(-d)))
        right = p.astype(np.float32).astype(dtype)
    bits, expected = fs.softmax(x)[:, 0].view(np.int16), right.view(np.int16)
    nan = np.isnan(right)
    np.testing.assert_array_equal(np.isnan(bits.view(dtype)), nan)
    assert np.abs(bits[~nan].astype(int) - expected[~nan]).max() <= 1
    assert np.mean(bits[~nan] != expected[~nan]) < 1e-3


@kinds
def test_a_nan_of_any_pattern_spoils_its_row_alone(backend, kind):
    dtype = dtype_of(kind)
    patterns = every_pattern(dtype)
    nan = patterns[np.isnan(patterns.astype(np.float32))]
    x = np.zeros((len(nan), 37), dtype)
    x[np.arange(len(nan)), np.arange(len(nan)) % 37] = nan
    assert np.isnan(fs.softmax(x).astype(np.float32)).all() and np.isnan(fs.logsumexp(x).astype(np.float32)).all()
    x[::2] = 0
    assert np.isfinite(fs.softmax(x).astype(np.float32)[::2]).all()


@kinds
@pytest.mark.parametrize("n_classes", [101, 4096, 4096 + 33, 9000])
def test_long_rows_of_any_patterns(backend, kind, n_classes):
    """Extremes are found by the bits: rows of one sign, of both, with what is masked, infinite or no number, anywhere."""
    rng = np.random.default_rng(n_classes)
    numbers = every_pattern(dtype_of(kind)).astype(np.float32)
    finite = numbers[np.abs(numbers) < 60]
    pools = [finite, finite[finite > 0], finite[finite < 0], np.concatenate([finite, [-np.inf] * 9000]),
             np.array([0, -0.0, 1e-30, -1e-30, 1]), np.array([-np.inf, -1, -80])]
    x = np.stack([rng.choice(pool, n_classes) for pool in pools for _ in range(3)]).astype(dtype_of(kind))
    for i, odd in enumerate((np.nan, -np.nan, np.inf)):
        x = np.concatenate([x, x[3 * i:3 * i + 3]])
        x[-3:][np.arange(3), [0, n_classes - 1, n_classes // 2]] = odd
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        top = wide.max(axis=1)
        lse = top + np.log(np.sum(np.exp(wide - top[:, None]), axis=1))
        lse[np.isinf(top) & ~np.isnan(wide).any(axis=1)] = top[np.isinf(top) & ~np.isnan(wide).any(axis=1)]
        right = np.exp(wide - np.where(lse == np.inf, np.nan, lse)[:, None])
    loss = fs.cross_entropy(x, np.zeros(len(x), int), reduction="none")
    np.testing.assert_allclose(fs.logsumexp(x).astype(np.float64), lse, rtol=2.0**-8)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(loss, np.where(lse == np.inf, np.nan, lse - wide[:, 0]), rtol=1e-6, atol=1e-6)
    step = 2.0**-8 if kind == "bfloat16" else 2.0**-11
    for out in (None, x):
        np.testing.assert_allclose(fs.softmax(x, out=out).astype(np.float64), right, rtol=1.001 * step, atol=1e-7)


@kinds
@pytest.mark.parametrize("n_classes", [127, 4096, 4096 + 127])
def test_a_maximum_is_seen_wherever_it_stands(backend, kind, n_classes):
    """Where the label has nearly all of the mass its loss is relative to the maximum: any other would cost its digits."""
    places = np.r_[0:n_classes:31, n_classes - 130 if n_classes > 130 else 0:n_classes]
    x = np.full((len(places), n_classes), -20, dtype_of(kind))
    x[np.arange(len(places)), places] = 0
    loss, dlogits, _ = fs.cross_entropy_and_grad(x, places, reduction="none")
    np.testing.assert_allclose(loss, np.full(len(places), (n_classes - 1) * np.exp(-20.0)), rtol=1e-4)
    at_label = dlogits[np.arange(len(places)), places].astype(np.float64)
    np.testing.assert_allclose(at_label, -loss, rtol=2.0**-8, atol=2.0**-24 if kind == "float16" else 0)


@pytest.mark.parametrize("stream", [False, True])
def test_subnormal_probabilities_of_bfloat16(backend, stream):
    """Also where the CPU converts to bfloat16 by itself, which would make them 0."""
    dtype = dtype_of("bfloat16")
    x = np.full((900 if stream else 3, 9600), -89, dtype)
    x[:, 77], x[:, 5000:5500:7] = 0, -np.inf
    p = fs.softmax(x)[:3].astype(np.float64)
    assert (p[:, 77] == 1).all() and not p[:, 5000:5500:7].any()
    rest = np.delete(p, np.r_[77, 5000:5500:7], axis=1)
    assert (rest == rest[0, 0]).all() and abs(rest[0, 0] / np.exp(-89.0) - 1) < 2.0**-4 and rest[0, 0] < 2.0**-126
