"""Small rows against 50 digits: losses, log-sum-exps, softmax and gradients of the very numbers that are stored."""

import checks
import mpmath
import numpy as np
import pytest
from operations import DTYPES, dtype_of

import fastsoftmax as fs
from fastsoftmax import reference

CONTEXT = mpmath.mp.clone()
CONTEXT.dps = 50
RNG = np.random.default_rng(0)
ROWS = [[17, 0], [0, 17], [40, 0], [0, 0], [0.5], [1, 2, 3], [-1e4, 1e4], [1e-30, -1e-30], [88, -88, 0], [0, -104],
        list(RNG.normal(size=7)), list(20 * RNG.normal(size=33)), [5, *[0] * 99]]
OFFSETS = [0, 1e6, 1e30, 3e38, -3e38]
LARGEST = {"float64": 1e308, "float32": 3.3e38, "bfloat16": 3.3e38, "float16": 6e4}


def exact(row):
    """(softmax, log-sum-exp) of a row of floats, by mpmath."""
    z = sorted((CONTEXT.mpf(float(v)) for v in row), reverse=True)
    rest = CONTEXT.fsum(CONTEXT.exp(v - z[0]) for v in z[1:])
    return [CONTEXT.exp(CONTEXT.mpf(float(v)) - z[0]) / (1 + rest) for v in row], z[0] + CONTEXT.log1p(rest)


def exact_loss(row, y):
    """log(sum exp(z - z[y])), the term of y being 1: log1p of the others."""
    z = [CONTEXT.mpf(float(v)) for v in row]
    return CONTEXT.log1p(CONTEXT.fsum(CONTEXT.exp(v - z[y]) for k, v in enumerate(z) if k != y))


def exact_label_gradient(row, y):
    """p[y] - 1 = -others/(1 + others)."""
    others = CONTEXT.expm1(exact_loss(row, y))
    return -others / (1 + others)


def stored_rows(dtype):
    """The rows with each offset that the dtype can hold, rounded to it."""
    for row in ROWS:
        for offset in OFFSETS:
            x = np.array(row, np.float64) + offset
            if np.abs(x).max() < LARGEST[dtype]:
                yield x.astype(dtype_of(dtype))


def longdouble(value):
    return np.longdouble(mpmath.nstr(value, 25)) if abs(value) > CONTEXT.mpf("1e-4000") else np.longdouble(0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_against_50_digits(backend, dtype):
    """The budgets of the other tests, but with nothing rounded in what they are held against."""
    computed = "float64" if dtype == "float64" else "float32"
    for x in stored_rows(dtype):
        p, lse = exact(x)
        wide = x.astype(np.longdouble)
        right_p, depth = np.array([longdouble(v) for v in p]), 1 + (np.max(wide) - wide)
        spread = np.sum(np.where(right_p == 0, 0, right_p * (depth - 1)))
        checks.check_close(fs.softmax(x), right_p, right_p * depth, dtype)
        checks.check_close(fs.logsumexp(x), longdouble(lse), abs(longdouble(lse)) + spread, dtype)
        for y in {0, len(x) // 2, len(x) - 1}:
            loss, dlogits, got_lse = fs.cross_entropy_and_grad(x, y, reduction="none")
            right, gradient = longdouble(exact_loss(x, y)), longdouble(exact_label_gradient(x, y))
            checks.check_close(loss, right, right + spread, computed)
            checks.check_close(got_lse, longdouble(lse), abs(longdouble(lse)) + spread, computed)
            checks.check_close(dlogits[y], gradient, abs(gradient) + spread, dtype)
            checks.check_close(fs.log_softmax(x)[y], -right, right + spread, dtype)


def test_the_reference_is_right():
    """reference.py itself, in extended precision, to 18 digits where p[y] -> 1 as anywhere else."""
    if np.finfo(reference.WIDE).nmant < 63:
        pytest.skip("long double is float64 on this platform")
    for x in stored_rows("float64"):
        p, lse = exact(x)
        np.testing.assert_allclose(reference.softmax(x[None])[0], [longdouble(v) for v in p], rtol=2e-18 * (2 + np.ptp(x)))
        np.testing.assert_allclose(reference.logsumexp(x[None].astype(reference.WIDE))[0], longdouble(lse), rtol=1e-18)
        for y in {0, len(x) - 1}:
            loss, gradient = reference.cross_entropy(x[None], np.array([y]), reduction="none")
            right, slope = longdouble(exact_loss(x, y)), longdouble(exact_label_gradient(x, y))
            np.testing.assert_allclose(loss[0], right, rtol=2e-18 * (2 + np.ptp(x)), atol=0)
            np.testing.assert_allclose(gradient[0, y], slope, rtol=2e-18 * (2 + np.ptp(x)), atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_divergences_against_50_digits(backend, dtype):
    for size in (2, 7, 33):
        p, q = (RNG.dirichlet(np.ones(size)).astype(dtype_of(dtype)) for _ in range(2))
        exactly = [(CONTEXT.mpf(float(a)), CONTEXT.mpf(float(b))) for a, b in zip(p, q, strict=True)]
        entropy = -CONTEXT.fsum(a * CONTEXT.log(a) for a, _ in exactly if a)
        kl = CONTEXT.fsum(a * (CONTEXT.log(a) - CONTEXT.log(b)) for a, b in exactly if a)
        terms = CONTEXT.fsum(abs(a * (CONTEXT.log(a) - CONTEXT.log(b))) for a, b in exactly if a)
        checks.check_close(fs.entropy(p), longdouble(entropy), 1 + longdouble(entropy), "float64")
        checks.check_close(fs.kl_divergence(p, q), longdouble(kl), 1 + longdouble(terms), "float64")
