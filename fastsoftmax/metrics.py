"""[4] What is made of Scores: perplexity, accuracy, hit@k, mean reciprocal rank, bits per byte, calibration.

`Metrics` adds up batches without keeping a row of them: O(1) numbers, which processes can exchange and merge. The functions
are the same for one batch. Rows that are ignored (rank 0), or have weight 0, do not count; over no row a mean is NaN.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import check
from .api import quiet
from .api_score import Scores

HITS_AT = (1, 5, 10)
N_BINS = 15  # of confidence: Guo et al. 2017, arXiv 1706.04599
SUMS = ("weight", "loss", "entropy", "reciprocal_rank", "loss_of_bytes", "bytes")


class MetricValues(NamedTuple):
    """Means over the rows that count, weighted.

    n_rows, weight     how many count, and the sum of their weights
    loss, perplexity   nats a row, and exp of that            bits_per_token, bits_per_byte   the latter NaN without n_bytes
    accuracy           of argmax                              hits     {k: how often the label is among the first k}
    mean_reciprocal_rank   of 1/rank                          entropy  of the predictions, in nats
    calibration_error  sum over bins of confidence of (share of the rows)*|accuracy - mean confidence|
    """

    n_rows: int
    weight: float
    loss: float
    perplexity: float
    bits_per_token: float
    bits_per_byte: float
    accuracy: float
    hits: dict[int, float]
    mean_reciprocal_rank: float
    entropy: float
    calibration_error: float


class Metrics:
    """Sums over batches of Scores: `update` adds one, `merge` adds another's sums, `compute` makes MetricValues of them.

    hits_at  the k of hit@k           n_bins  how many bins of equal width confidence is put into

    Merging in any order gives the same counts, and the same sums up to the rounding of float64.
    """

    def __init__(self, *, hits_at: Sequence[SupportsIndex] = HITS_AT, n_bins: SupportsIndex = N_BINS) -> None:
        self.hits_at = check.positive_integers(hits_at, "hits_at")
        self.n_bins = check.positive(n_bins, "n_bins")
        self._n_rows = 0
        self._sums = np.zeros(len(SUMS))
        self._hits = np.zeros(1 + len(self.hits_at))  # of k = 1 first
        self._bins = np.zeros((3, self.n_bins))  # weight, confidence, hits

    @quiet
    def update(self, scores: Scores, *, sample_weight: ArrayLike | None = None, n_bytes: ArrayLike | None = None) -> Self:
        """Add a batch; returns self.

        sample_weight  (...) or a scalar        n_bytes  of text: (...), of each row, or a scalar, of all rows together
        """
        ranks, weight, n_bytes_of = check.counted(scores, sample_weight, n_bytes)
        counts = (ranks > 0) & (weight != 0)
        ranks, w = ranks[counts], weight[counts]
        losses, entropy, confidence = (np.asarray(a, np.float64).reshape(-1)[counts]
                                       for a in (scores.losses, scores.entropy, scores.confidence))
        self._n_rows += len(ranks)
        nats = float(np.sum(w * losses))
        self._sums += [np.sum(w), nats, np.sum(w * entropy), np.sum(w / ranks), 0.0, 0.0]
        if n_bytes_of is not None:
            self._sums[4:] += nats, np.sum((w * n_bytes_of[counts]) if n_bytes_of.ndim else n_bytes_of)
        self._hits += [np.sum(w[ranks <= k]) for k in (1, *self.hits_at)]
        at = np.clip(np.ceil(np.where(np.isnan(confidence), 0, confidence) * self.n_bins).astype(int) - 1, 0, None)
        for total, values in zip(self._bins, (w, w * confidence, w * (ranks == 1)), strict=True):
            total += np.bincount(at, values, self.n_bins)
        return self

    def merge(self, *others: "Metrics") -> Self:
        """Add the sums of others, with the same hits_at and n_bins; returns self."""
        for other in others:
            check.alike(self, other, Metrics, ("hits_at", "n_bins"))
            self._n_rows += other._n_rows
            for mine, its in zip(self._arrays(), other._arrays(), strict=True):
                mine += its
        return self

    @quiet
    def compute(self) -> MetricValues:
        """All of them for what has been added so far."""
        weight, loss, entropy, reciprocal, loss_of_bytes, n_bytes = (np.float64(s) for s in self._sums)
        of_bins, confidence, hits = self._bins
        apart = float(np.sum(np.abs(hits - confidence)) / weight)
        return MetricValues(self._n_rows, float(weight), float(loss / weight), float(np.exp(loss / weight)),
                            float(loss / weight / math.log(2)), float(loss_of_bytes / n_bytes / math.log(2)),
                            float(self._hits[0] / weight),
                            {k: float(h / weight) for k, h in zip(self.hits_at, self._hits[1:], strict=True)},
                            float(reciprocal / weight), float(entropy / weight), apart)

    def __repr__(self) -> str:
        return f"Metrics(hits_at={self.hits_at}, n_bins={self.n_bins}): {self._n_rows} rows"

    def state(self) -> dict[str, NDArray[np.float64]]:
        """The sums as new float64 arrays, for another process: those of equal settings may also be added up as they are."""
        return dict(n_rows=np.array([float(self._n_rows)]), sums=self._sums.copy(), hits=self._hits.copy(),
                    bins=self._bins.copy())

    @classmethod
    def from_state(cls, state: dict[str, NDArray[np.float64]], *, hits_at: Sequence[SupportsIndex] = HITS_AT,
                   n_bins: SupportsIndex = N_BINS) -> Self:
        """What `state` was taken from, with the same settings."""
        new = cls(hits_at=hits_at, n_bins=n_bins)
        names = ("sums", "hits", "bins")
        shapes = {name: a.shape for name, a in zip(names, new._arrays(), strict=True)}
        given = check.state_arrays(state, {"n_rows": (1,), **shapes})
        new._n_rows = int(given["n_rows"][0])
        for name, a in zip(names, new._arrays(), strict=True):
            a[...] = given[name]
        return new

    def _arrays(self) -> tuple[NDArray[np.float64], ...]:
        return self._sums, self._hits, self._bins


def _of(scores: Scores, sample_weight: ArrayLike | None) -> MetricValues:
    return Metrics().update(scores, sample_weight=sample_weight).compute()


def perplexity(scores: Scores, *, sample_weight: ArrayLike | None = None) -> float:
    """exp of the mean loss."""
    return _of(scores, sample_weight).perplexity


def bits_per_token(scores: Scores, *, sample_weight: ArrayLike | None = None) -> float:
    """The mean loss in bits."""
    return _of(scores, sample_weight).bits_per_token


def bits_per_byte(scores: Scores, n_bytes: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """The bits of all losses over the bytes of the text: n_bytes of all rows together, or (...) of each."""
    return Metrics().update(scores, sample_weight=sample_weight, n_bytes=n_bytes).compute().bits_per_byte


def accuracy(scores: Scores, *, sample_weight: ArrayLike | None = None) -> float:
    """How often argmax is the label."""
    return _of(scores, sample_weight).accuracy


def hit_at_k(scores: Scores, k: SupportsIndex, *, sample_weight: ArrayLike | None = None) -> float:
    """How often the label is among the first k classes."""
    (hit,) = Metrics(hits_at=(check.positive(k, "k"),)).update(scores, sample_weight=sample_weight).compute().hits.values()
    return hit


def mean_reciprocal_rank(scores: Scores, *, sample_weight: ArrayLike | None = None) -> float:
    """The mean of 1/rank."""
    return _of(scores, sample_weight).mean_reciprocal_rank


def mean_entropy(scores: Scores, *, sample_weight: ArrayLike | None = None) -> float:
    """Of the predictions, in nats."""
    return _of(scores, sample_weight).entropy


def calibration_error(scores: Scores, *, n_bins: SupportsIndex = N_BINS, sample_weight: ArrayLike | None = None) -> float:
    """The expected calibration error: how far accuracy and confidence are apart, on average over bins of confidence.

    Bins are ((b - 1)/n_bins, b/n_bins]; Guo et al. 2017, arXiv 1706.04599.
    """
    return Metrics(n_bins=n_bins).update(scores, sample_weight=sample_weight).compute().calibration_error
