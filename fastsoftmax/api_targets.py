"""[4] The public functions of other targets than one label: a few classes with shares, distributions, directions.

check -> plan -> run -> wrap, as in api.py, whose words for arguments hold here too.
"""

from __future__ import annotations  # help() then shows names, not what they stand for

from typing import Any, Literal, SupportsIndex, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import check, directions
from . import typing as t
from .api import CrossEntropyGrad, quiet, reduced, row_sums, with_grad
from .check import Problem
from .foreign import any_array
from .run import execute
from .typing import FloatT, ForeignT, Labels, Number, Reduced, Rows


@overload
def sparse_cross_entropy(logits: ForeignT, indices: Labels, probs: ArrayLike, *, reduction: t.Reduction = "mean",
                         **options: Unpack[t.Options]) -> ForeignT: ...
@overload
def sparse_cross_entropy(logits: ArrayLike, indices: Labels, probs: ArrayLike, *, reduction: Reduced = "mean",
                         **options: Unpack[t.Options]) -> np.float64: ...
@overload
def sparse_cross_entropy(logits: ArrayLike, indices: Labels, probs: ArrayLike, *, reduction: Literal["none"],
                         **options: Unpack[t.Options]) -> Rows[np.float64]: ...
@any_array
@quiet
def sparse_cross_entropy(logits: ArrayLike, indices: Labels, probs: ArrayLike, *, class_weight: ArrayLike | None = None,
                         sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                         reduction: t.Reduction = "mean", label_smoothing: Number = 0.0, z_loss: Number = 0.0,
                         softcap: Number | None = None, temperature: Number = 1.0, axis: SupportsIndex = -1,
                         empty: t.Empty = "nan") -> Rows[np.float64]:
    """-sum_j probs[j]*log softmax(logits)[indices[j]]: soft_cross_entropy where all but a few target_probs are 0.

    logits   (..., n_classes) floats
    indices  (..., k) classes, any integer dtype: a teacher's top k, the two of MixUp, several labels; where `axis` is not
             the last, the k stand there
    probs    (..., k) their shares, which need not sum to 1; those of a class that stands there twice add up
    ignore_index  in the place of a class: padding, whatever its share. A row of padding alone does not count

    Costs k numbers a row beyond cross_entropy. `mean` divides by the number of rows that count, or by the sum of their
    sample_weight. The other arguments are those of cross_entropy; class weights and smoothing act as in soft_cross_entropy.
    Raises LabelError for an index outside [0, n_classes).
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index, reduction=reduction,
                   label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap, temperature=temperature, axis=axis,
                   empty=empty)
    problem = check.sparse_cross_entropy(logits, indices, probs, options)
    return reduced(problem, execute(problem).losses)


@overload
def sparse_cross_entropy_and_grad(logits: ForeignT, indices: Labels, probs: ArrayLike, *, reduction: t.Reduction = "mean",
                                  dlosses: ArrayLike | None = None, out: ForeignT | None = None,
                                  **options: Unpack[t.Options]) -> t.ForeignGrad[ForeignT]: ...
@overload
def sparse_cross_entropy_and_grad(logits: NDArray[FloatT], indices: Labels, probs: ArrayLike, *,
                                  reduction: Reduced = "mean",
                                  **options: Unpack[t.GradOptions]) -> CrossEntropyGrad[np.float64, FloatT]: ...
@overload
def sparse_cross_entropy_and_grad(logits: NDArray[FloatT], indices: Labels, probs: ArrayLike, *, reduction: Literal["none"],
                                  **options: Unpack[t.GradOptions]) -> CrossEntropyGrad[Rows[np.float64], FloatT]: ...
@overload
def sparse_cross_entropy_and_grad(logits: ArrayLike, indices: Labels, probs: ArrayLike, *, reduction: Reduced = "mean",
                                  **options: Unpack[t.GradOptions]) -> CrossEntropyGrad[np.float64, Any]: ...
@overload
def sparse_cross_entropy_and_grad(logits: ArrayLike, indices: Labels, probs: ArrayLike, *, reduction: Literal["none"],
                                  **options: Unpack[t.GradOptions]) -> CrossEntropyGrad[Rows[np.float64], Any]: ...
@any_array
@quiet
def sparse_cross_entropy_and_grad(logits: ArrayLike, indices: Labels, probs: ArrayLike, *,
                                  class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
                                  ignore_index: SupportsIndex | None = -100, reduction: t.Reduction = "mean",
                                  label_smoothing: Number = 0.0, z_loss: Number = 0.0, softcap: Number | None = None,
                                  temperature: Number = 1.0, axis: SupportsIndex = -1, empty: t.Empty = "nan",
                                  dlosses: ArrayLike | None = None,
                                  out: NDArray[Any] | None = None) -> CrossEntropyGrad[Any, Any]:
    """sparse_cross_entropy and its gradient, p*sum(probs) less probs at indices at its simplest -> CrossEntropyGrad.

    dlosses, out: as of cross_entropy_and_grad; `out=logits` works in place.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index, reduction=reduction,
                   label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap, temperature=temperature, axis=axis,
                   empty=empty)
    return with_grad(check.sparse_cross_entropy(logits, indices, probs, options, wants_out=True, dlosses=dlosses, out=out))


@overload
def kl_divergence_with_logits(target: ForeignT, logits: ArrayLike, *, reduction: t.Reduction = "mean",
                              **options: Unpack[t.DivergenceOptions]) -> ForeignT: ...
@overload
def kl_divergence_with_logits(target: ArrayLike, logits: ArrayLike, *, reduction: Reduced = "mean",
                              **options: Unpack[t.DivergenceOptions]) -> np.float64: ...
@overload
def kl_divergence_with_logits(target: ArrayLike, logits: ArrayLike, *, reduction: Literal["none"],
                              **options: Unpack[t.DivergenceOptions]) -> Rows[np.float64]: ...
@any_array
@quiet
def kl_divergence_with_logits(target: ArrayLike, logits: ArrayLike, *, log_target: bool = False,
                              target_logits: bool = False, reverse: bool = False, sample_weight: ArrayLike | None = None,
                              reduction: t.Reduction = "mean", softcap: Number | None = None, temperature: Number = 1.0,
                              axis: SupportsIndex = -1, empty: t.Empty = "nan") -> Rows[np.float64]:
    """KL(q || p) = sum q*(log q - log p), p = softmax(logits), in nats; with `reverse` KL(p || q).

    target         (..., n_classes) q, which need not sum to 1: then it is sum q*log q - sum q*log p
    log_target     it is log q                    target_logits  it is logits: q = softmax(target/temperature)
    temperature    divides logits, and target where that is logits; softcap is of the logits alone
    reduction      "mean" over rows (torch's "batchmean"), or over their sample_weight

    0*log 0 = 0; inf where q = 0 < p (reverse), or p = 0 < q.
    """
    options = dict(sample_weight=sample_weight, reduction=reduction, softcap=softcap, temperature=temperature, axis=axis,
                   empty=empty)
    problem = _divergence(target, logits, log_target, target_logits, reverse, options)
    return reduced(problem, execute(problem).losses)


@overload
def kl_divergence_with_logits_and_grad(target: ForeignT, logits: ArrayLike, *, reduction: t.Reduction = "mean",
                                       dlosses: ArrayLike | None = None, out: ForeignT | None = None,
                                       **options: Unpack[t.DivergenceOptions]) -> t.ForeignGrad[ForeignT]: ...
@overload
def kl_divergence_with_logits_and_grad(target: NDArray[FloatT], logits: NDArray[FloatT], *, reduction: Reduced = "mean",
                                       **options: Unpack[t.DivergenceGradOptions]
                                       ) -> CrossEntropyGrad[np.float64, FloatT]: ...
@overload
def kl_divergence_with_logits_and_grad(target: NDArray[FloatT], logits: NDArray[FloatT], *, reduction: Literal["none"],
                                       **options: Unpack[t.DivergenceGradOptions]
                                       ) -> CrossEntropyGrad[Rows[np.float64], FloatT]: ...
@overload
def kl_divergence_with_logits_and_grad(target: ArrayLike, logits: ArrayLike, *, reduction: Reduced = "mean",
                                       **options: Unpack[t.DivergenceGradOptions]) -> CrossEntropyGrad[np.float64, Any]: ...
@overload
def kl_divergence_with_logits_and_grad(target: ArrayLike, logits: ArrayLike, *, reduction: Literal["none"],
                                       **options: Unpack[t.DivergenceGradOptions]
                                       ) -> CrossEntropyGrad[Rows[np.float64], Any]: ...
@any_array
@quiet
def kl_divergence_with_logits_and_grad(target: ArrayLike, logits: ArrayLike, *, log_target: bool = False,
                                       target_logits: bool = False, reverse: bool = False,
                                       sample_weight: ArrayLike | None = None, reduction: t.Reduction = "mean",
                                       softcap: Number | None = None, temperature: Number = 1.0, axis: SupportsIndex = -1,
                                       empty: t.Empty = "nan", dlosses: ArrayLike | None = None,
                                       out: NDArray[Any] | None = None) -> CrossEntropyGrad[Any, Any]:
    """kl_divergence_with_logits and its gradient with respect to the logits -> CrossEntropyGrad(loss, dlogits, lse).

    p*sum(q) - q; reverse: p*(log p - log q - KL). dlosses, out: as of cross_entropy_and_grad.
    """
    options = dict(sample_weight=sample_weight, reduction=reduction, softcap=softcap, temperature=temperature, axis=axis,
                   empty=empty)
    return with_grad(_divergence(target, logits, log_target, target_logits, reverse, options, wants_out=True,
                                 dlosses=dlosses, out=out))


def _divergence(target: ArrayLike, logits: ArrayLike, log_target: bool, target_logits: bool, reverse: bool,
                options: dict[str, Any], **more: Any) -> Problem:
    kind = check.target_kind(log_target, target_logits)
    kernel = "centered_rows" if check.flag(reverse, "reverse") else "soft_cross_entropy_rows"
    problem = check.divergence(kernel, target, logits, "probs" if kind == "probs" else "logs", options, **more)
    if kind != "logits":
        return problem
    lse = execute(check.softmax("lse_rows", target, options["axis"], options["temperature"], None)).lse
    return problem._replace(q_scale=problem.scale, shifts=lse)


@overload
def entropy_with_logits(logits: ForeignT, *, reduction: t.Reduction = "none",
                        **options: Unpack[t.EntropyOptions]) -> ForeignT: ...
@overload
def entropy_with_logits(logits: ArrayLike, *, reduction: Literal["none"] = "none",
                        **options: Unpack[t.EntropyOptions]) -> Rows[np.float64]: ...
@overload
def entropy_with_logits(logits: ArrayLike, *, reduction: Reduced,
                        **options: Unpack[t.EntropyOptions]) -> np.float64: ...
@any_array
@quiet
def entropy_with_logits(logits: ArrayLike, *, sample_weight: ArrayLike | None = None, reduction: t.Reduction = "none",
                        softcap: Number | None = None, temperature: Number = 1.0, axis: SupportsIndex = -1,
                        empty: t.Empty = "nan") -> Rows[np.float64]:
    """-sum p*log p over `axis`, p = softmax(logits), in nats, float64; not reduced unless asked for."""
    options = dict(sample_weight=sample_weight, reduction=reduction, softcap=softcap, temperature=temperature, axis=axis,
                   empty=empty)
    problem = check.divergence("centered_rows", None, logits, "logits", options)
    return reduced(problem, execute(problem).losses)


@overload
def entropy_with_logits_and_grad(logits: ForeignT, *, reduction: t.Reduction = "none",
                                 dlosses: ArrayLike | None = None, out: ForeignT | None = None,
                                 **options: Unpack[t.EntropyOptions]) -> t.ForeignGrad[ForeignT]: ...
@overload
def entropy_with_logits_and_grad(logits: NDArray[FloatT], *, reduction: Literal["none"] = "none",
                                 **options: Unpack[t.EntropyGradOptions]) -> CrossEntropyGrad[Rows[np.float64], FloatT]: ...
@overload
def entropy_with_logits_and_grad(logits: NDArray[FloatT], *, reduction: Reduced,
                                 **options: Unpack[t.EntropyGradOptions]) -> CrossEntropyGrad[np.float64, FloatT]: ...
@overload
def entropy_with_logits_and_grad(logits: ArrayLike, *, reduction: Literal["none"] = "none",
                                 **options: Unpack[t.EntropyGradOptions]) -> CrossEntropyGrad[Rows[np.float64], Any]: ...
@overload
def entropy_with_logits_and_grad(logits: ArrayLike, *, reduction: Reduced,
                                 **options: Unpack[t.EntropyGradOptions]) -> CrossEntropyGrad[np.float64, Any]: ...
@any_array
@quiet
def entropy_with_logits_and_grad(logits: ArrayLike, *, sample_weight: ArrayLike | None = None,
                                 reduction: t.Reduction = "none", softcap: Number | None = None, temperature: Number = 1.0,
                                 axis: SupportsIndex = -1, empty: t.Empty = "nan", dlosses: ArrayLike | None = None,
                                 out: NDArray[Any] | None = None) -> CrossEntropyGrad[Any, Any]:
    """entropy_with_logits and its gradient, -p*(log p + entropy) -> CrossEntropyGrad(loss, dlogits, lse).

    dlosses  of an entropy bonus: minus what it is weighted with
    """
    options = dict(sample_weight=sample_weight, reduction=reduction, softcap=softcap, temperature=temperature, axis=axis,
                   empty=empty)
    problem = check.divergence("centered_rows", None, logits, "logits", options, wants_out=True, dlosses=dlosses, out=out)
    return with_grad(problem._replace(grad_scale=-problem.grad_scale))


@overload
def js_divergence(p: ForeignT, q: ArrayLike, *, axis: SupportsIndex = -1, out: ForeignT | None = None) -> ForeignT: ...
@overload
def js_divergence(p: ArrayLike, q: ArrayLike, *, axis: SupportsIndex = -1,
                  out: NDArray[Any] | None = None) -> Rows[np.float64]: ...
@any_array
@quiet
def js_divergence(p: ArrayLike, q: ArrayLike, *, axis: SupportsIndex = -1,
                  out: NDArray[Any] | None = None) -> Rows[np.float64]:
    """(KL(p || m) + KL(q || m))/2, m = (p + q)/2, over `axis`, in nats, float64: symmetric, at most log 2 (Lin 1991).

    out  (...) float64 to write to
    """
    return row_sums(check.pair("js_divergence_rows", p, q, axis, None, ("p", "q")), out, p=p, q=q)


@overload
def cross_entropy_jvp(logits: ForeignT, labels: Labels, tangents: ArrayLike, *, reduction: t.Reduction = "mean",
                      **options: Unpack[t.Options]) -> ForeignT: ...
@overload
def cross_entropy_jvp(logits: ArrayLike, labels: Labels, tangents: ArrayLike, *, reduction: Reduced = "mean",
                      **options: Unpack[t.Options]) -> np.float64: ...
@overload
def cross_entropy_jvp(logits: ArrayLike, labels: Labels, tangents: ArrayLike, *, reduction: Literal["none"],
                      **options: Unpack[t.Options]) -> Rows[np.float64]: ...
@any_array
@quiet
def cross_entropy_jvp(logits: ArrayLike, labels: Labels, tangents: ArrayLike, *, class_weight: ArrayLike | None = None,
                      sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                      reduction: t.Reduction = "mean", label_smoothing: Number = 0.0, z_loss: Number = 0.0,
                      softcap: Number | None = None, temperature: Number = 1.0,
                      axis: SupportsIndex = -1, empty: t.Empty = "nan") -> Rows[np.float64]:
    """The derivative of cross_entropy along `tangents`, shaped as the logits: sum p*v - v[label] at its simplest.

    Reduced as the loss is: one number, or (...) with reduction="none". The gradient is never made.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index, reduction=reduction,
                   label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                   temperature=temperature, axis=axis, empty=empty)
    problem = check.direction(logits, labels, tangents, options)
    return reduced(problem, directions.derivatives(problem))


@overload
def cross_entropy_hvp(logits: ForeignT, labels: Labels, tangents: ArrayLike, *, reduction: t.Reduction = "mean",
                      dlosses: ArrayLike | None = None, out: ForeignT | None = None,
                      **options: Unpack[t.Options]) -> ForeignT: ...
@overload
def cross_entropy_hvp(logits: NDArray[FloatT], labels: Labels, tangents: NDArray[FloatT], *,
                      reduction: t.Reduction = "mean",
                      **options: Unpack[t.GradOptions]) -> NDArray[FloatT]: ...
@overload
def cross_entropy_hvp(logits: ArrayLike, labels: Labels, tangents: ArrayLike, *, reduction: t.Reduction = "mean",
                      **options: Unpack[t.GradOptions]) -> NDArray[Any]: ...
@any_array
@quiet
def cross_entropy_hvp(logits: ArrayLike, labels: Labels, tangents: ArrayLike, *, class_weight: ArrayLike | None = None,
                      sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                      reduction: t.Reduction = "mean", label_smoothing: Number = 0.0, z_loss: Number = 0.0,
                      softcap: Number | None = None, temperature: Number = 1.0,
                      axis: SupportsIndex = -1, empty: t.Empty = "nan", dlosses: ArrayLike | None = None,
                      out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The Hessian of cross_entropy times `tangents`, shaped as the logits: p*v - p*(p.v) at its simplest.

    Of a softmax this is the Gauss-Newton and the Fisher matrix too; with softcap, which bends the logits, or z_loss it is
    the Hessian alone. V x V numbers never exist: two arrays are read, one is written. dlosses, out: as of
    cross_entropy_and_grad; out may also be `tangents`.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index, reduction=reduction,
                   label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                   temperature=temperature, axis=axis, empty=empty)
    problem = check.direction(logits, labels, tangents, options, wants_out=True, dlosses=dlosses, out=out)
    products: NDArray[Any] = directions.products(problem)
    return products
