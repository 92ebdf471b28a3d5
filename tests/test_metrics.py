"""Metrics of scores against their definitions, one batch or many."""

import math
import pickle

import numpy as np
import pytest
from operations import make

import fastsoftmax as fs
from fastsoftmax import metrics


def scored(n_rows=200, n_classes=20, seed=0):
    """Scores with some rows ignored and some that are right, and which rows count."""
    shape = (n_rows, n_classes)
    x, y = make("logits", shape, "float64", seed), make("labels", shape, "float64", seed)
    y[::3] = np.argmax(x, axis=1)[::3]
    y[5::40] = -100
    return fs.score(x, y), y >= 0


def part(scores, rows):
    return type(scores)(*(None if a is None else a[rows] for a in scores))


def calibration(scores, w, n_bins):
    """Guo et al. 2017, equation 3, bin by bin."""
    found = 0.0
    for b in range(n_bins):
        inside = (scores.confidence > b / n_bins) & (scores.confidence <= (b + 1) / n_bins)
        weight = w[inside].sum()
        if weight:
            right = np.sum(w[inside] * (scores.ranks[inside] == 1)) / weight
            sure = np.sum(w[inside] * scores.confidence[inside]) / weight
            found += weight / w.sum() * abs(right - sure)
    return found


@pytest.mark.parametrize("weighted", [False, True])
def test_against_the_definitions(backend, weighted):
    scores, counts = scored()
    given = np.random.default_rng(0).random(len(counts)) if weighted else None
    w = counts * (given if weighted else 1.0)
    mean = lambda values: np.sum(w[counts] * values[counts]) / w.sum()  # noqa: E731
    n_bytes = np.random.default_rng(1).integers(1, 9, len(counts))
    got = fs.Metrics(hits_at=(2, 7), n_bins=10).update(scores, sample_weight=given, n_bytes=n_bytes).compute()
    right = dict(n_rows=counts.sum(), weight=w.sum(), loss=mean(scores.losses), perplexity=math.exp(mean(scores.losses)),
                 bits_per_token=mean(scores.losses) / math.log(2),
                 bits_per_byte=np.sum(w * scores.losses) / np.sum(w * n_bytes) / math.log(2),
                 accuracy=mean(scores.ranks == 1), mean_reciprocal_rank=mean(1 / np.maximum(scores.ranks, 1)),
                 entropy=mean(scores.entropy), calibration_error=calibration(part(scores, counts), w[counts], 10))
    for name, value in right.items():
        assert getattr(got, name) == pytest.approx(value, rel=1e-12), name
    assert got.hits == {k: pytest.approx(mean(scores.ranks <= k), rel=1e-12) for k in (2, 7)}


def test_functions_are_the_same(backend):
    scores, _ = scored()
    want = fs.Metrics(hits_at=(3,)).update(scores, n_bytes=500).compute()
    assert metrics.perplexity(scores) == want.perplexity
    assert metrics.bits_per_token(scores) == want.bits_per_token
    assert metrics.bits_per_byte(scores, 500) == want.bits_per_byte
    assert metrics.accuracy(scores) == want.accuracy
    assert metrics.hit_at_k(scores, 3) == want.hits[3]
    assert metrics.mean_reciprocal_rank(scores) == want.mean_reciprocal_rank
    assert metrics.mean_entropy(scores) == want.entropy
    assert metrics.calibration_error(scores) == want.calibration_error
    assert metrics.calibration_error(scores, n_bins=1) == pytest.approx(
        abs(want.accuracy - np.sum(scores.confidence) / want.n_rows), rel=1e-12)
    assert metrics.accuracy(scores, sample_weight=np.where(scores.ranks == 1, 1.0, 0.0)) == 1
    assert metrics.bits_per_byte(scores, 500) == pytest.approx(np.sum(scores.losses) / 500 / math.log(2), rel=1e-12)


def close(got, want):
    for name, a, b in zip(got._fields, got, want, strict=True):
        if name == "hits":
            assert a == pytest.approx(b, rel=1e-13)
        else:
            assert a == pytest.approx(b, rel=1e-13, nan_ok=True), name


def test_merging_of_batches_in_any_grouping():
    scores, counts = scored()
    counts = counts.astype(int)
    whole = fs.Metrics().update(scores, n_bytes=counts).compute()
    parts = [slice(0, 3), slice(3, 90), slice(90, 90), slice(90, 200)]

    def made():
        return [fs.Metrics().update(part(scores, rows), n_bytes=counts[rows]) for rows in parts]

    a, b, c, d = made()
    chain = a.merge(b, c, d)
    close(chain.compute(), whole)
    a, b, c, d = made()
    tree = d.merge(b).merge(a.merge(c))
    close(tree.compute(), whole)
    assert chain.compute().n_rows == tree.compute().n_rows == whole.n_rows
    assert chain.compute().accuracy == tree.compute().accuracy == whole.accuracy  # sums of ones are exact
    one = fs.Metrics()
    for rows in parts:
        one.update(part(scores, rows), n_bytes=counts[rows])
    close(one.compute(), whole)


def test_states_travel_as_plain_arrays():
    scores, _ = scored()
    settings = dict(hits_at=(1, 3), n_bins=7)
    one, other = (fs.Metrics(**settings).update(part(scores, rows)) for rows in (slice(0, 50), slice(50, 200)))
    again = fs.Metrics.from_state(pickle.loads(pickle.dumps(one.state())), **settings)
    close(again.compute(), one.compute())
    whole = fs.Metrics(**settings).update(scores).state()
    for name, sums in again.merge(other).state().items():
        np.testing.assert_allclose(sums, whole[name], rtol=1e-13)
    added = {name: a + other.state()[name] for name, a in one.state().items()}  # what an all-reduce does
    close(fs.Metrics.from_state(added, **settings).compute(), again.compute())
    close(pickle.loads(pickle.dumps(one)).compute(), one.compute())


def test_shapes_nothing_nan_and_bytes_of_some_batches():
    x, y = make("logits", (2, 3, 9), "float32"), make("labels", (2, 3, 9), "float32")
    scores = fs.score(x, y)
    assert metrics.perplexity(scores) == pytest.approx(math.exp(scores.losses.mean()), rel=1e-12)
    assert metrics.perplexity(fs.score(x[0, 0], y[0, 0])) == pytest.approx(math.exp(scores.losses[0, 0]), rel=1e-6)
    empty = fs.Metrics().compute()
    assert empty.n_rows == 0 and empty.weight == 0 and math.isnan(empty.accuracy) and math.isnan(empty.perplexity)
    ignored = fs.Metrics().update(fs.score(x, np.full((2, 3), -100))).compute()
    assert ignored.n_rows == 0 and math.isnan(ignored.loss) and math.isnan(ignored.calibration_error)
    some = fs.Metrics().update(scores).update(part(scores, 0), n_bytes=10)
    assert some.compute().bits_per_byte == pytest.approx(scores.losses[0].sum() / 10 / math.log(2), rel=1e-12)
    assert math.isnan(fs.Metrics().update(scores).compute().bits_per_byte)
    x[1, 1, 4] = np.nan
    broken = fs.Metrics().update(fs.score(x, y)).compute()
    assert math.isnan(broken.loss) and math.isnan(broken.calibration_error) and broken.n_rows == 6


def test_scores_of_shards_count_too(backend):
    x, y = make("logits", (50, 90), "float64"), make("labels", (50, 90), "float64")
    cuts = [(0, 40), (40, 90)]
    state = fs.merge_states([fs.row_state(x[:, a:b], y, shard_offset=a) for a, b in cuts])
    counts = sum(fs.rank_counts(x[:, a:b], state, shard_offset=a) for a, b in cuts)
    got, want = (fs.Metrics().update(s).compute() for s in (state.scores(counts), fs.score(x, y)))
    for name in set(got._fields) - {"bits_per_byte"}:
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=1e-11), name


def test_confidence(backend):
    x = make("logits", (6, 500), "float64")
    scores = fs.score(x, [0, 1, 2, 3, 4, -100], top_k=1)
    np.testing.assert_allclose(scores.confidence[:5], np.exp(scores.top_log_probs[:5, 0]), rtol=1e-12)
    assert scores.confidence[5] == 0


def test_bad_input():
    scores, _ = scored()
    one = fs.Metrics()
    for error, words, call in (
            (TypeError, "scores must be what fastsoftmax.score gives, not list", lambda: one.update([1.0])),
            (ValueError, r"sample_weight has shape \(3,\)", lambda: one.update(scores, sample_weight=[1, 2, 3])),
            (ValueError, r"n_bytes has shape \(3,\)", lambda: one.update(scores, n_bytes=[1, 2, 3])),
            (ValueError, "n_bytes is -1", lambda: one.update(scores, n_bytes=-1)),
            (ValueError, r"hits_at\[1\] is 0, but must be at least 1", lambda: fs.Metrics(hits_at=(1, 0))),
            (TypeError, "hits_at must be a sequence of integers, not int", lambda: fs.Metrics(hits_at=3)),
            (ValueError, "n_bins is 0", lambda: fs.Metrics(n_bins=0)),
            (TypeError, "n_bins must be an integer", lambda: fs.Metrics(n_bins=2.5)),
            (ValueError, r"n_bins is 15 in one and 9 in the other", lambda: one.merge(fs.Metrics(n_bins=9))),
            (ValueError, "hits_at is", lambda: one.merge(fs.Metrics(hits_at=(1,)))),
            (TypeError, "only Metrics can be merged", lambda: one.merge(one.state())),
            (TypeError, "state must be a dict with 'n_rows'", lambda: fs.Metrics.from_state({})),
            (ValueError, r"state\['bins'\] has shape", lambda: fs.Metrics.from_state(one.state(), n_bins=9))):
        with pytest.raises(error, match=words):
            call()
    assert one.compute().n_rows == 0  # nothing of a refused batch was added
