"""linear_topk, linear_target_log_prob and linear_sample against the logits in full."""

import ml_dtypes
import numpy as np
import pytest
from test_linear import inputs

import fastsoftmax as fs

SMALL = 1 << 19


def log_probs(features, classifier, bias, temperature=1.0, softcap=None):
    z = (features.astype(float) @ classifier.astype(float).T + bias.astype(float)) / temperature
    z = softcap * np.tanh(z / softcap) if softcap else z
    return z - np.logaddexp.reduce(z, axis=1)[:, None]


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, {"softcap": 3.0}])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, ml_dtypes.bfloat16])
def test_the_likeliest(backend, dtype, options):
    features, classifier, bias, _ = inputs(30, 20, 9000, dtype)
    right = log_probs(features, classifier, bias, **options)
    for k, workspace in ((1, 64 << 20), (7, 1 << 20), (9000, 64 << 20)):
        got = fs.linear_topk(features, classifier, k, bias=bias, max_workspace_bytes=workspace, **options)
        want = np.argsort(-right, axis=1, kind="stable")[:, :k]
        assert got.ids.shape == got.log_probs.shape == (30, k)
        np.testing.assert_allclose(got.log_probs, np.take_along_axis(right, want, 1), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(got.log_probs, np.take_along_axis(right, got.ids, 1), rtol=1e-5, atol=1e-5)


def test_ties_and_nan(backend):
    classifier = np.zeros((5000, 2))
    got = fs.linear_topk(np.ones((2, 2)), classifier, 3)
    np.testing.assert_array_equal(got.ids, [[0, 1, 2]] * 2)
    bias = np.zeros(5000)
    bias[[7, 4500, 4600]] = 1
    np.testing.assert_array_equal(fs.linear_topk(np.ones(2), classifier, 4, bias=bias).ids, [7, 4500, 4600, 0])
    bias[4999] = np.nan
    got = fs.linear_topk(np.ones(2), classifier, 2, bias=bias)
    np.testing.assert_array_equal(got.ids, [4999, 7])
    assert np.isnan(got.log_probs).all()


def test_log_probs_of_given_classes(backend):
    features, classifier, bias, _ = inputs(30, 20, 900)
    right = log_probs(features, classifier, bias)
    ids = np.random.default_rng(0).integers(0, 900, (30, 4))
    got = fs.linear_target_log_prob(features, classifier, ids, bias=bias, max_workspace_bytes=SMALL)
    np.testing.assert_allclose(got, np.take_along_axis(right, ids, 1), rtol=1e-5, atol=1e-5)
    one = fs.linear_target_log_prob(features.reshape(5, 6, 20), classifier, ids[:, 0].reshape(5, 6), bias=bias)
    np.testing.assert_allclose(one.reshape(-1), got[:, 0], rtol=1e-6)
    sure = fs.linear_target_log_prob(np.ones((1, 1)), np.array([[17.0], [0.0]]), [0])
    assert sure[0] == pytest.approx(-np.log1p(np.exp(-17)), rel=1e-6)
    with pytest.raises(fs.LabelError, match=r"ids\[3, 1\] is 900"):
        ids[3, 1] = 900
        fs.linear_target_log_prob(features, classifier, ids, bias=bias)
    with pytest.raises(ValueError, match="ids has shape"):
        fs.linear_target_log_prob(features, classifier, ids[:20] % 900)


def test_samples_follow_the_probabilities(backend):
    features = np.ones((20_000, 1), np.float32)
    classifier = np.linspace(0, 3, 50)[:, None].astype(np.float32)
    p = np.exp(log_probs(features[:1], classifier, np.zeros(50), temperature=2.0))[0]
    drawn = fs.linear_sample(features, classifier, np.random.default_rng(1), temperature=2.0)
    expected = 20_000 * p
    chi2 = np.sum((np.bincount(drawn, minlength=50) - expected) ** 2 / expected)
    assert chi2 < 85.4  # of 49 degrees of freedom; more happens once in a thousand times
    few = fs.linear_sample(features, classifier, np.random.default_rng(1), top_k=3)
    assert set(few) == {47, 48, 49}


def test_samples_do_not_depend_on_workspace_and_threads(backend):
    features, classifier, bias, _ = inputs(40, 20, 900)
    want = fs.linear_sample(features, classifier, np.random.default_rng(0), bias=bias)
    with fs.use_num_threads(1):
        got = fs.linear_sample(features, classifier, np.random.default_rng(0), bias=bias, max_workspace_bytes=SMALL)
    np.testing.assert_array_equal(got, want)
    one = fs.linear_sample(features[0], classifier, np.random.default_rng(0), bias=bias)
    assert one == want[0]


def test_bad_input():
    features, classifier, _, _ = inputs(4, 5, 7)
    for words, call in (("k is 8, outside", lambda: fs.linear_topk(features, classifier, 8)),
                        ("k is 0, outside", lambda: fs.linear_topk(features, classifier, 0)),
                        ("top_k is -1", lambda: fs.linear_sample(features, classifier, np.random.default_rng(), top_k=-1)),
                        ("zero classes", lambda: fs.linear_topk(features, classifier[:0], 1)),
                        ("temperature is 0", lambda: fs.linear_topk(features, classifier, 1, temperature=0))):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="rng must be a numpy.random.Generator, not int"):
        fs.linear_sample(features, classifier, 0)
    assert fs.linear_topk(features[:0], classifier, 2).ids.shape == (0, 2)


def test_score_is_that_of_the_logits(backend):
    features, classifier, bias, labels = inputs(30, 20, 900)
    labels = labels.copy()
    labels[4] = -100
    logits = features @ classifier.T + bias
    want = fs.score(logits, labels, top_k=5, temperature=0.5)
    got = fs.linear_score(features, classifier, labels, bias=bias, top_k=5, temperature=0.5, max_workspace_bytes=SMALL)
    for name in ("losses", "lse", "log_probs", "entropy", "top_log_probs"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-4, atol=1e-4)
    for name in ("ranks", "argmax", "top_ids"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    tokens = labels.reshape(5, 6)
    shifted = fs.linear_score(features.reshape(5, 6, 20), classifier, tokens, bias=bias, shift=1)
    np.testing.assert_array_equal(shifted.ranks, fs.linear_score(
        features.reshape(5, 6, 20)[:, :-1], classifier, tokens[:, 1:], bias=bias).ranks)
