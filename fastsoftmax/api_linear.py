"""[4] The public functions of a linear layer and its loss together: check -> plan -> run -> wrap, nothing more.

features (..., n_features), classifier (n_classes, n_features), bias (n_classes,): logits are features.classifier + bias, of
which only a block of rows exists at a time. Everything else is as in api.py.
"""

from __future__ import annotations  # help() then shows names, not what they stand for

import functools
from collections.abc import Sequence
from typing import Any, Generic, Literal, NamedTuple, SupportsIndex, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import check
from . import typing as t
from .api import put, quiet, reduced
from .api_score import Scores, TopK, score_targets, scores, top, top_targets
from .foreign import any_array
from .linear import Results, execute, planned, predict
from .optim import Optimizer
from .plan import WORKSPACE_BYTES, LinearPlan
from .typing import ForeignT, Labels, LossT, Number, Reduced, Rows


class GradBound(NamedTuple):
    """What grad_filter has dropped, and how far the gradients can be from those without it.

    dfeatures, dclassifier  upper bounds on the Frobenius norms of the differences, None where the gradient is not wanted.
                With E what is dropped of dlogits, these are E @ classifier and E.T @ features; row by row the triangle
                inequality bounds them by sum_k |E[i, k]|*|classifier[k]| and sum_i |E[i, k]|*|features[i]|, which are
                summed as E is dropped. They hold for what is computed with: rounding, which the unfiltered gradients are
                subject to as well, comes on top. dbias is never filtered
    dropped     (...) float64, the sum of |p - onehot| that each row has lost (see grad_filter), exactly known
    kept        the share of dlogits that the gradients are computed from, 1 where dense products are faster
    """

    dfeatures: float | None
    dclassifier: float | None
    dropped: Rows[np.float64]
    kept: float


class LinearCrossEntropyGrad(NamedTuple, Generic[LossT]):
    """loss: float64, a scalar or (...). Gradients: shaped as their inputs, None where not wanted. lse: (...) float64.

    bound: how far grad_filter can have moved the gradients, None without it.
    """

    loss: LossT
    dfeatures: NDArray[Any] | Any
    dclassifier: NDArray[Any] | Any
    dbias: NDArray[Any] | Any
    lse: Rows[np.float64]
    bound: GradBound | None = None


@overload
def linear_cross_entropy(features: ForeignT, classifier: ArrayLike, labels: Labels, *, reduction: t.Reduction = "mean",
                         **options: Unpack[t.LinearOptions]) -> ForeignT: ...
@overload
def linear_cross_entropy(features: ArrayLike, classifier: ArrayLike, labels: Labels, *, reduction: Reduced = "mean",
                         **options: Unpack[t.LinearOptions]) -> np.float64: ...
@overload
def linear_cross_entropy(features: ArrayLike, classifier: ArrayLike, labels: Labels, *, reduction: Literal["none"],
                         **options: Unpack[t.LinearOptions]) -> Rows[np.float64]: ...
@any_array
@quiet
def linear_cross_entropy(features: ArrayLike, classifier: ArrayLike, labels: Labels, *, bias: ArrayLike | None = None,
                         class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
                         ignore_index: SupportsIndex | None = -100, reduction: t.Reduction = "mean",
                         label_smoothing: Number = 0.0, z_loss: Number = 0.0, softcap: Number | None = None,
                         temperature: Number = 1.0, empty: t.Empty = "nan", shift: SupportsIndex = 0,
                         max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES,
                         compute_dtype: t.ComputeDtype | None = None) -> Rows[np.float64]:
    """cross_entropy(features @ classifier.T + bias, labels) without the logits, which need N times V numbers.

    features, classifier, bias  floats, of different dtypes if you like; 16-bit ones are computed with in float32
    shift                how many positions later the label stands that a row of features predicts: 1 for next-token
                         labels that lie as the tokens do, (..., n_positions). Losses are (..., n_positions - shift)
    max_workspace_bytes  what may be allocated beside results
    compute_dtype        "bfloat16": factors of matrix products are rounded to it (their products are not), which a CPU
                         with AVX512-BF16 does twice as many of at a time; so it is by default where all are bfloat16.
                         Products by BLAS (the Numba and NumPy backends) are of float32 all the same
    The other arguments are those of cross_entropy.

    Rows that do not count (ignore_index, weight 0) cost nothing. Raises LabelError for a label outside [0, n_classes),
    ValueError for a workspace that not even a few rows fit in.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index,
                   reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                   temperature=temperature, axis=-1, empty=empty)
    problem = check.linear_cross_entropy(features, classifier, labels, bias, options, shift=shift,
                                         max_workspace_bytes=max_workspace_bytes, compute_dtype=compute_dtype)
    return reduced(problem.loss, execute(problem).losses)


@overload
def linear_cross_entropy_and_grad(features: ForeignT, classifier: ArrayLike, labels: Labels, *,
                                  reduction: t.Reduction = "mean",
                                  out: tuple[ForeignT | None, ForeignT | None, ForeignT | None] | None = None,
                                  **options: Unpack[t.LinearWantedOptions]) -> t.ForeignLinearGrad[ForeignT]: ...
@overload
def linear_cross_entropy_and_grad(features: ArrayLike, classifier: ArrayLike, labels: Labels, *,
                                  reduction: Reduced = "mean", **options: Unpack[t.LinearGradOptions]
                                  ) -> LinearCrossEntropyGrad[np.float64]: ...
@overload
def linear_cross_entropy_and_grad(features: ArrayLike, classifier: ArrayLike, labels: Labels, *,
                                  reduction: Literal["none"], **options: Unpack[t.LinearGradOptions]
                                  ) -> LinearCrossEntropyGrad[Rows[np.float64]]: ...
@any_array
@quiet
def linear_cross_entropy_and_grad(features: ArrayLike, classifier: ArrayLike, labels: Labels, *,
                                  bias: ArrayLike | None = None, class_weight: ArrayLike | None = None,
                                  sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                                  reduction: t.Reduction = "mean", label_smoothing: Number = 0.0, z_loss: Number = 0.0,
                                  softcap: Number | None = None, temperature: Number = 1.0, empty: t.Empty = "nan",
                                  shift: SupportsIndex = 0, max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES,
                                  compute_dtype: t.ComputeDtype | None = None,
                                  wrt: Sequence[t.Gradient] = check.GRADIENTS, dlosses: ArrayLike | None = None,
                                  out: tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None] | None = None,
                                  accumulate: bool = False, grad_dtype: DTypeLike | None = None,
                                  grad_filter: Number | None = None) -> LinearCrossEntropyGrad[Any]:
    """linear_cross_entropy and its gradients -> LinearCrossEntropyGrad(loss, dfeatures, dclassifier, dbias, lse, bound).

    With dlogits the gradient that cross_entropy_and_grad gives: dfeatures = dlogits @ classifier,
    dclassifier = dlogits.T @ features, dbias = dlogits.sum(0).

    wrt         which gradients are wanted: each left out saves a matrix product
    dlosses     the upstream gradient, a scalar or one a loss
    out         (dfeatures, dclassifier, dbias): where they go, None for a new array
    accumulate  add to the arrays in `out` instead of writing them
    grad_dtype  of the gradients; that of their inputs if None
    grad_filter  eps: what is below it of |p - onehot| may be left out of dfeatures and dclassifier, where that is faster;
                `bound` says how much that was, and how far it can have moved them. More precisely an element of dlogits
                below eps*unit, where the unit of a row is |g*w[y]|/temperature with its upstream gradient g (reduction,
                dlosses and sample_weight) and class weight w[y]. For trained models, whose p is negligible nearly
                everywhere. Loss and dbias stay exact. What is left out depends on backend and workspace
    The other arguments are those of linear_cross_entropy.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index,
                   reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                   temperature=temperature, axis=-1, empty=empty)
    problem = check.linear_cross_entropy(features, classifier, labels, bias, options, shift=shift,
                                         max_workspace_bytes=max_workspace_bytes, wrt=wrt, dlosses=dlosses, out=out,
                                         accumulate=accumulate, grad_dtype=grad_dtype, compute_dtype=compute_dtype,
                                         grad_filter=grad_filter)
    filled = execute(problem)
    loss = reduced(problem.loss, filled.losses)
    dfeatures, dclassifier, dbias = filled.gradients
    return LinearCrossEntropyGrad(loss, dfeatures, dclassifier, dbias, filled.lse.reshape(problem.loss.lead)[()],
                                  _bound(problem, filled))


def _bound(problem: check.LinearProblem, filled: Results) -> GradBound | None:
    if filled.bound is None:
        return None
    found = GradBound(*filled.bound)
    return found._replace(dropped=found.dropped.reshape(problem.loss.lead)[()])


def linear_plan(features: ArrayLike, classifier: ArrayLike, labels: Labels, *, bias: ArrayLike | None = None,
                ignore_index: SupportsIndex | None = -100, wrt: Sequence[t.Gradient] = check.GRADIENTS,
                grad_dtype: DTypeLike | None = None, compute_dtype: t.ComputeDtype | None = None,
                optimizer: Optimizer | None = None, grad_filter: Number | None = None,
                max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES) -> LinearPlan:
    """How these would be computed: blocks, workspace, whether logits are computed twice. `print` it.

    wrt        () for linear_cross_entropy, else gradients of linear_cross_entropy_and_grad
    optimizer  of linear_cross_entropy_step
    """
    options = dict(class_weight=None, sample_weight=None, ignore_index=ignore_index, reduction="mean", label_smoothing=0.0,
                   z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan")
    problem = check.linear_cross_entropy(features, classifier, labels, bias, options, wrt=wrt, grad_dtype=grad_dtype,
                                         max_workspace_bytes=max_workspace_bytes, compute_dtype=compute_dtype,
                                         grad_filter=grad_filter)
    plan: LinearPlan = planned(problem._replace(optimizer=optimizer))
    return plan


class LinearCrossEntropyStep(NamedTuple, Generic[LossT]):
    """loss, lse, bound: as of LinearCrossEntropyGrad; dfeatures: as the features, None where not wanted.

    All by the parameters before the step.
    """

    loss: LossT
    dfeatures: NDArray[Any] | Any
    lse: Rows[np.float64]
    bound: GradBound | None = None


@overload
def linear_cross_entropy_step(features: ForeignT, classifier: t.Written, labels: Labels, *, optimizer: Optimizer,
                              reduction: t.Reduction = "mean", dlosses: ArrayLike | None = None,
                              bias: t.Written | None = None, wrt: Sequence[t.Gradient] = ...,
                              grad_filter: Number | None = None,
                              **options: Unpack[t.LinearStepOptions]) -> t.ForeignLinearStep[ForeignT]: ...
@overload
def linear_cross_entropy_step(features: ArrayLike, classifier: t.Written, labels: Labels, *, optimizer: Optimizer,
                              reduction: Reduced = "mean", dlosses: ArrayLike | None = None,
                              bias: t.Written | None = None, wrt: Sequence[t.Gradient] = ...,
                              grad_filter: Number | None = None,
                              **options: Unpack[t.LinearStepOptions]) -> LinearCrossEntropyStep[np.float64]: ...
@overload
def linear_cross_entropy_step(features: ArrayLike, classifier: t.Written, labels: Labels, *, optimizer: Optimizer,
                              reduction: Literal["none"], dlosses: ArrayLike | None = None,
                              bias: t.Written | None = None, wrt: Sequence[t.Gradient] = ...,
                              grad_filter: Number | None = None,
                              **options: Unpack[t.LinearStepOptions]) -> LinearCrossEntropyStep[Rows[np.float64]]: ...
@functools.partial(any_array, written=("classifier", "bias"))
@quiet
def linear_cross_entropy_step(features: ArrayLike, classifier: NDArray[Any], labels: Labels, *, optimizer: Optimizer,
                              bias: NDArray[Any] | None = None, class_weight: ArrayLike | None = None,
                              sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                              reduction: t.Reduction = "mean", label_smoothing: Number = 0.0, z_loss: Number = 0.0,
                              softcap: Number | None = None, temperature: Number = 1.0, empty: t.Empty = "nan",
                              shift: SupportsIndex = 0, max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES,
                              compute_dtype: t.ComputeDtype | None = None,
                              dlosses: ArrayLike | None = None,
                              wrt: Sequence[t.Gradient] = check.GRADIENTS,
                              grad_filter: Number | None = None) -> LinearCrossEntropyStep[Any]:
    """One training step: loss and dfeatures, and classifier and bias stepped in place -> LinearCrossEntropyStep.

    The same numbers as with linear_cross_entropy_and_grad and a step on the whole gradient, which never exists here: each
    block of classes is stepped as soon as its gradient is complete.

    optimizer  one of fastsoftmax.optim, which knows the two as "classifier" and "bias"
    classifier, bias  arrays that can be written to; bias None for none
    wrt        without "features" there is no dfeatures, which saves a product; the other two are stepped in any case
    The other arguments are those of linear_cross_entropy_and_grad. Where the logits of all rows fit the workspace
    (n_rows*n_classes numbers), they are computed once, else twice.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index,
                   reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                   temperature=temperature, axis=-1, empty=empty)
    problem = check.linear_step(features, classifier, labels, bias, options, optimizer=optimizer, shift=shift,
                                max_workspace_bytes=max_workspace_bytes, dlosses=dlosses,
                                compute_dtype=compute_dtype, wrt=wrt, grad_filter=grad_filter)
    filled = execute(problem)
    loss = reduced(problem.loss, filled.losses)
    return LinearCrossEntropyStep(loss, filled.gradients[0], filled.lse.reshape(problem.loss.lead)[()],
                                  _bound(problem, filled))


@overload
def linear_score(features: ForeignT, classifier: ArrayLike, labels: Labels, *,
                 out: tuple[ForeignT | None, ...] | None = None,
                 **options: Unpack[t.LinearScoreOptions]) -> t.ForeignScores[ForeignT]: ...
@overload
def linear_score(features: ArrayLike, classifier: ArrayLike, labels: Labels, *, out: tuple[Any, ...] | None = None,
                 **options: Unpack[t.LinearScoreOptions]) -> Scores: ...
@any_array
@quiet
def linear_score(features: ArrayLike, classifier: ArrayLike, labels: Labels, *, top_k: SupportsIndex = 0,
                 bias: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100, softcap: Number | None = None,
                 temperature: Number = 1.0, shift: SupportsIndex = 0,
                 max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES, out: tuple[Any, ...] | None = None) -> Scores:
    """score(features @ classifier.T + bias, labels) without the logits -> Scores.

    The other arguments are those of linear_cross_entropy, `out` that of score.
    """
    options = {"softcap": softcap, "temperature": temperature}
    problem = check.linear_rows(features, classifier, bias, options, max_workspace_bytes, labels, ignore_index, shift)
    k = check.count_of(top_k, problem.classifier.shape[0], "top_k", 0)
    targets = score_targets(out, problem.loss.lead, k, -1, features=features, classifier=classifier, labels=labels,
                            bias=bias)
    return scores(problem.loss, predict.scores(problem, k), k, -1, targets)


@overload
def linear_topk(features: ForeignT, classifier: ArrayLike, k: SupportsIndex, *,
                out: tuple[ForeignT, ForeignT] | None = None,
                **options: Unpack[t.LinearLookOptions]) -> t.ForeignTopK[ForeignT]: ...
@overload
def linear_topk(features: ArrayLike, classifier: ArrayLike, k: SupportsIndex, *,
                out: tuple[NDArray[Any], NDArray[Any]] | None = None,
                **options: Unpack[t.LinearLookOptions]) -> TopK: ...
@any_array
@quiet
def linear_topk(features: ArrayLike, classifier: ArrayLike, k: SupportsIndex, *, bias: ArrayLike | None = None,
                softcap: Number | None = None, temperature: Number = 1.0,
                max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES,
                out: tuple[NDArray[Any], NDArray[Any]] | None = None) -> TopK:
    """The k likeliest classes of each row and their log-probabilities, by softmax over all classes -> TopK.

    out  (log_probs, ids) to write to, (..., k) float64 and int64
    """
    problem = check.linear_rows(features, classifier, bias, {"softcap": softcap, "temperature": temperature},
                                max_workspace_bytes)
    k = check.count_of(k, problem.classifier.shape[0], "k", 1)
    targets = top_targets(out, problem.loss.lead, k, -1, features=features, classifier=classifier, bias=bias)
    return top(problem.loss, predict.scores(problem, k), -1, targets)


@overload
def linear_target_log_prob(features: ForeignT, classifier: ArrayLike, ids: Labels, *, out: ForeignT | None = None,
                           **options: Unpack[t.LinearLookOptions]) -> ForeignT: ...
@overload
def linear_target_log_prob(features: ArrayLike, classifier: ArrayLike, ids: Labels, *, out: NDArray[Any] | None = None,
                           **options: Unpack[t.LinearLookOptions]) -> Rows[np.float64]: ...
@any_array
@quiet
def linear_target_log_prob(features: ArrayLike, classifier: ArrayLike, ids: Labels, *, bias: ArrayLike | None = None,
                           softcap: Number | None = None, temperature: Number = 1.0,
                           max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES,
                           out: NDArray[Any] | None = None) -> Rows[np.float64]:
    """log softmax(features @ classifier.T + bias) at given classes: ids (...) or (..., k); float64, shaped as ids.

    Raises LabelError for an id outside [0, n_classes).
    """
    problem = check.linear_rows(features, classifier, bias, {"softcap": softcap, "temperature": temperature},
                                max_workspace_bytes)
    wanted, shape = check.ids_of(ids, problem.loss, -1)
    targets = check.targets_of(out, {"log_probs": (shape, np.float64)}, features=features, classifier=classifier, ids=ids,
                               bias=bias)
    return put(targets, (predict.target_log_prob(problem, wanted).reshape(shape)[()],))[0]


@overload
def linear_sample(features: ForeignT, classifier: ArrayLike, rng: np.random.Generator, *, out: ForeignT | None = None,
                  **options: Unpack[t.LinearSampleOptions]) -> ForeignT: ...
@overload
def linear_sample(features: ArrayLike, classifier: ArrayLike, rng: np.random.Generator, *, out: NDArray[Any] | None = None,
                  **options: Unpack[t.LinearSampleOptions]) -> Rows[np.int64]: ...
@any_array
@quiet
def linear_sample(features: ArrayLike, classifier: ArrayLike, rng: np.random.Generator, *, bias: ArrayLike | None = None,
                  softcap: Number | None = None, temperature: Number = 1.0, top_k: SupportsIndex = 0, top_p: Number = 1.0,
                  max_workspace_bytes: SupportsIndex = WORKSPACE_BYTES,
                  out: NDArray[Any] | None = None) -> Rows[np.int64]:
    """sample(features @ classifier.T + bias, rng) without the logits: one class a row, (...).

    The same classes for any number of threads and any workspace. The other arguments are those of sample.
    """
    problem = check.linear_rows(features, classifier, bias, {"softcap": softcap, "temperature": temperature},
                                max_workspace_bytes)
    k = check.count_of(top_k, problem.classifier.shape[0], "top_k", 0)
    share, lead, rng = check.share_of(top_p), problem.loss.lead, check.generator(rng)
    targets = check.targets_of(out, {"ids": (lead, np.int64)}, features=features, classifier=classifier, bias=bias)
    words = rng.integers(0, 2**64, size=lead, dtype=np.uint64).reshape(-1)
    return put(targets, (predict.sample(problem, words, k, share).reshape(lead)[()],))[0]
