"""[4] The public functions of what one asks of logits beside the loss: check -> look -> wrap, nothing more.

One reading of the logits for everything. Classes have an order, here and in every result: the larger logit first, NaN
before all, among equals the smaller id. What comes back is float64 and int64.
"""

from __future__ import annotations  # help() then shows names, not what they stand for

from typing import Any, NamedTuple, SupportsIndex, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import check, look
from . import typing as t
from .api import put, quiet
from .check import Problem
from .foreign import any_array
from .typing import ForeignT, Labels, Number, Rows


class TopK(NamedTuple):
    """(..., k) each, the likeliest class first; among equals the least id first, and NaN before all."""

    log_probs: NDArray[np.float64]
    ids: NDArray[np.int64]


class Scores(NamedTuple):
    """What a prediction is worth, (...) each, of an ignored row 0 and class -1.

    losses         -log softmax(logits)[labels]             log_probs    minus these
    lse            log-sum-exp                              entropy      -sum p*log p of the prediction, in nats
    ranks          1 where the label is the first class     argmax       the first class
    confidence     the probability of argmax
    top_ids, top_log_probs   (..., top_k) the first classes and their log-probabilities, where the classes are if `axis` is
                   not the last; None without top_k
    """

    losses: Rows[np.float64]
    lse: Rows[np.float64]
    log_probs: Rows[np.float64]
    ranks: Rows[np.int64]
    argmax: Rows[np.int64]
    entropy: Rows[np.float64]
    confidence: Rows[np.float64]
    top_ids: Rows[np.int64]
    top_log_probs: Rows[np.float64]


@overload
def score(logits: ForeignT, labels: Labels, *, out: tuple[ForeignT | None, ...] | None = None,
          **options: Unpack[t.ScoreOptions]) -> t.ForeignScores[ForeignT]: ...
@overload
def score(logits: ArrayLike, labels: Labels, *, out: tuple[Any, ...] | None = None,
          **options: Unpack[t.ScoreOptions]) -> Scores: ...
@any_array
@quiet
def score(logits: ArrayLike, labels: Labels, *, top_k: SupportsIndex = 0, ignore_index: SupportsIndex | None = -100,
          temperature: Number = 1.0, softcap: Number | None = None, axis: SupportsIndex = -1,
          out: tuple[Any, ...] | None = None) -> Scores:
    """Loss, rank of the label, entropy, the likeliest classes: what one asks of a prediction, in one reading -> Scores.

    logits  (..., n_classes) floats            labels  (...) class indices, any integer dtype
    top_k   how many of the likeliest classes are wanted
    out     a Scores of arrays to write to, such as an earlier call's: float64, int64 for ranks and classes
    The other arguments are those of cross_entropy. ranks: 1 + how many classes come before the label; of equal logits the
    smaller id does. Raises LabelError for a label outside [0, n_classes).
    """
    options = dict(ignore_index=ignore_index, temperature=temperature, softcap=softcap, axis=axis)
    problem = check.scored(logits, labels, options)
    k = check.count_of(top_k, problem.first.shape[-1], "top_k", 0)
    targets = score_targets(out, problem.lead, k, int(axis), logits=logits, labels=labels)
    return scores(problem, look.execute(problem, k), k, int(axis), targets)


def score_targets(out: object, lead: tuple[int, ...], k: int, axis: int, **inputs: object) -> tuple[Any, ...] | None:
    """The caller's arrays for Scores."""
    if out is None:  # 3 us of 40 otherwise
        return None
    of_k = {"top_ids": np.int64, "top_log_probs": np.float64}
    results: dict[str, Any] = {name: (lead, np.float64) for name in Scores._fields}
    results |= {name: (lead, np.int64) for name in ("ranks", "argmax")}
    results |= {name: (k_shape(lead, k, axis), dtype) if k else None for name, dtype in of_k.items()}
    return check.targets_of(out, results, **inputs)


def scores(problem: Problem, looked: look.Looked, k: int, axis: int = -1,
           targets: tuple[Any, ...] | None = None) -> Scores:
    stats, lead = looked.stats, problem.lead

    def per_row(a: NDArray[Any]) -> Rows[Any]:
        return a.reshape(lead)[()]

    losses = stats[:, 4].copy()
    top = None
    if k:
        found = looked.ids, look.log_probs(problem, stats, looked.values)
        top = tuple(at_axis(a, lead, axis) for a in found)
    return Scores(*put(targets, (
        per_row(losses), per_row(stats[:, 3].copy()), per_row(0 - losses), per_row(stats[:, 6].astype(np.int64)),
        per_row(stats[:, 7].astype(np.int64)), per_row(look.entropies(stats)), per_row(look.confidences(stats)),
        *(top or (None, None)))))


def at_axis(a: NDArray[Any], lead: tuple[int, ...], axis: int) -> NDArray[Any]:
    """(n_rows, k) numbers in the shape of the rows, k where the classes are."""
    a = a.reshape(*lead, a.shape[-1])
    return a if axis in (-1, len(lead)) else np.moveaxis(a, -1, axis)  # which takes 6 us also where nothing moves


def k_shape(lead: tuple[int, ...], k: int, axis: int) -> tuple[int, ...]:
    """The shape that it has."""
    shape = list(lead)
    shape.insert(axis % (len(lead) + 1), k)
    return tuple(shape)


@overload
def topk(logits: ForeignT, k: SupportsIndex, *, out: tuple[ForeignT, ForeignT] | None = None,
         **options: Unpack[t.LookOptions]) -> t.ForeignTopK[ForeignT]: ...
@overload
def topk(logits: ArrayLike, k: SupportsIndex, *, out: tuple[NDArray[Any], NDArray[Any]] | None = None,
         **options: Unpack[t.LookOptions]) -> TopK: ...
@any_array
@quiet
def topk(logits: ArrayLike, k: SupportsIndex, *, temperature: Number = 1.0, softcap: Number | None = None,
         axis: SupportsIndex = -1, out: tuple[NDArray[Any], NDArray[Any]] | None = None) -> TopK:
    """The k likeliest classes of each row and their log-probabilities, without sorting a row -> TopK.

    out  (log_probs, ids) to write to, float64 and int64
    Where `axis` is not the last, the k classes stand there, as ids of target_log_prob and sparse_cross_entropy do.
    """
    problem = check.unlabelled(logits, softcap, temperature, axis)
    k = check.count_of(k, problem.first.shape[-1], "k", 1)
    targets = top_targets(out, problem.lead, k, int(axis), logits=logits)
    return top(problem, look.execute(problem, k), int(axis), targets)


def top_targets(out: object, lead: tuple[int, ...], k: int, axis: int, **inputs: object) -> tuple[Any, ...] | None:
    """The caller's arrays for TopK."""
    shape = k_shape(lead, k, axis)
    return check.targets_of(out, {"log_probs": (shape, np.float64), "ids": (shape, np.int64)}, **inputs)


def top(problem: Problem, looked: look.Looked, axis: int, targets: tuple[Any, ...] | None) -> TopK:
    found = look.log_probs(problem, looked.stats, looked.values), looked.ids
    return TopK(*put(targets, tuple(at_axis(a, problem.lead, axis) for a in found)))


@overload
def target_log_prob(logits: ForeignT, ids: Labels, *, out: ForeignT | None = None,
                    **options: Unpack[t.LookOptions]) -> ForeignT: ...
@overload
def target_log_prob(logits: ArrayLike, ids: Labels, *, out: NDArray[Any] | None = None,
                    **options: Unpack[t.LookOptions]) -> Rows[np.float64]: ...
@any_array
@quiet
def target_log_prob(logits: ArrayLike, ids: Labels, *, temperature: Number = 1.0, softcap: Number | None = None,
                    axis: SupportsIndex = -1, out: NDArray[Any] | None = None) -> Rows[np.float64]:
    """log softmax(logits) at given classes, exact also where p -> 1: ids (...) or (..., k); float64, shaped as ids.

    Where `axis` is not the last, the k stand there. Raises LabelError for an id outside [0, n_classes).
    """
    problem = check.unlabelled(logits, softcap, temperature, axis)
    wanted, shape = check.ids_of(ids, problem, int(axis))
    targets = check.targets_of(out, {"log_probs": (shape, np.float64)}, logits=logits, ids=ids)
    looked = look.execute(problem)
    rows = np.unravel_index(np.arange(len(wanted)), problem.lead) if problem.lead else ()
    at = (*(r[:, None] for r in rows), wanted) if rows else (wanted[0],)
    found = look.log_probs(problem, looked.stats, problem.first[at].reshape(wanted.shape))
    log_probs = found.reshape(shape) if shape == problem.lead else at_axis(found, problem.lead, int(axis))
    return put(targets, (log_probs[()],))[0]


@overload
def sample(logits: ForeignT, rng: np.random.Generator, *, out: ForeignT | None = None,
           **options: Unpack[t.SampleOptions]) -> ForeignT: ...
@overload
def sample(logits: ArrayLike, rng: np.random.Generator, *, out: NDArray[Any] | None = None,
           **options: Unpack[t.SampleOptions]) -> Rows[np.int64]: ...
@any_array
@quiet
def sample(logits: ArrayLike, rng: np.random.Generator, *, temperature: Number = 1.0, top_k: SupportsIndex = 0,
           top_p: Number = 1.0, softcap: Number | None = None, axis: SupportsIndex = -1,
           out: NDArray[Any] | None = None) -> Rows[np.int64]:
    """One class a row, (...) int64, drawn from softmax(logits/temperature), with no probability ever stored.

    top_k  draw from the k likeliest classes alone; 0 from all
    top_p  from as few of the likeliest as have that much of the mass, of the top_k where these are asked for
    rng    gives one 64-bit number a row, so that samples do not depend on threads; a row of NaN gives a class of its NaN,
           one with +inf the first such class

    By inversion in float64, within rounding of the stored logits.
    """
    problem = check.unlabelled(logits, softcap, temperature, axis)
    k = check.count_of(top_k, problem.first.shape[-1], "top_k", 0)
    share, generator = check.share_of(top_p), check.generator(rng)
    targets = check.targets_of(out, {"ids": (problem.lead, np.int64)}, logits=logits)
    words = generator.integers(0, 2**64, size=problem.lead, dtype=np.uint64)
    return put(targets, (_drawn(problem, words, k, share)[()],))[0]


@quiet
def sample_by(logits: ArrayLike, words: NDArray[np.uint64], *, temperature: Number = 1.0, top_k: SupportsIndex = 0,
              top_p: Number = 1.0, softcap: Number | None = None, axis: SupportsIndex = -1) -> NDArray[np.int64]:
    """sample for a generator of another library: `words` are its random 64-bit numbers, one a row, (...)."""
    problem = check.unlabelled(logits, softcap, temperature, axis)
    k = check.count_of(top_k, problem.first.shape[-1], "top_k", 0)
    return _drawn(problem, words, k, check.share_of(top_p))


def _drawn(problem: Problem, words: NDArray[np.uint64], k: int, share: float) -> NDArray[np.int64]:
    words = words.reshape(-1)
    if k:
        drawn = look.draw(problem, look.execute(problem, k, wants_stats=False), words, share)
    else:
        drawn = look.execute(problem, words=words, top_p=share).drawn
    return np.asarray(drawn.reshape(problem.lead))
