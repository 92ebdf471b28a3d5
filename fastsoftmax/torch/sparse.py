"""[5] A few classes a row: sparse_cross_entropy and target_log_prob."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import api_score, api_targets
from . import composed
from .arrays import array_of, checked, class_dim, lead_of, scalars_of, wide
from .losses import check_weight
from .ops import Op
from .registered import Loss


def sparse_cross_entropy(input: Tensor, indices: Tensor, probs: Tensor, weight: Tensor | None = None, *,
                         ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0,
                         z_loss: float = 0.0, softcap: float | None = None, temperature: float = 1.0,
                         dim: int | None = None) -> Tensor:
    """-sum_j probs[j]*log softmax(input)[indices[j]], reduced: cross_entropy with a few class probabilities a row.

    input    (C,), (N, C) or (N, C, d1, ..., dK) logits; or any shape with the classes at `dim`
    indices  shaped as input with k instead of C: a teacher's top k, the two of MixUp, several labels; any integer dtype
    probs    shaped as indices: their shares, which need not sum to 1; those of a class that stands there twice add up
    ignore_index   in the place of a class: padding, whatever its share. A row of padding alone does not count in a mean
    temperature    divides input

    The other arguments are those of cross_entropy. A gradient goes to input, and to probs where these require it.
    Raises fastsoftmax.LabelError for an index outside [0, C).
    """
    checked(input, "input")
    checked(indices, "indices", floats=False)
    checked(probs, "probs")
    check_weight(weight)
    axis = class_dim(input, dim if dim is not None else 0 if input.ndim == 1 else 1)
    check_rows("indices", indices, input, axis)
    if probs.shape != indices.shape:
        raise ValueError(f"probs has shape {tuple(probs.shape)}, but must have that of indices, {tuple(indices.shape)}")
    return _sparse(input, indices, probs, weight, reduction, ignore_index, label_smoothing, z_loss, softcap, temperature,
                   axis)


def target_log_prob(input: Tensor, ids: Tensor, *, temperature: float = 1.0, softcap: float | None = None,
                    dim: int = -1) -> Tensor:
    """log softmax(input) at given classes, exact also where that is close to 0: shaped as ids, float32 at least.

    input  logits with the classes at `dim`
    ids    class indices of any integer dtype, shaped as input without `dim`, or with k of them there

    log_softmax(input, dim).gather(dim, ids), of which only the gradient is ever as large as the input.
    Raises fastsoftmax.LabelError for an id outside [0, C).
    """
    checked(input, "input")
    checked(ids, "ids", floats=False)
    axis = class_dim(input, dim)
    if tuple(ids.shape) != lead_of(input, axis):
        check_rows("ids", ids, input, axis)
    found: Tensor = _target_log_prob(input, ids, temperature, softcap, axis)
    return found


def check_rows(name: str, indices: Tensor, input: Tensor, axis: int) -> None:
    """Raise unless these are class indices for every row of the input."""
    if indices.ndim != input.ndim or lead_of(indices, axis) != lead_of(input, axis):
        wanted = ", ".join(map(str, (*input.shape[:axis], "k", *input.shape[axis + 1:])))
        raise ValueError(f"{name} has shape {tuple(indices.shape)}, but must have ({wanted}) for input of shape "
                         f"{tuple(input.shape)} with its classes at dim={axis}")


def _call(function: Any, input: Tensor, indices: Tensor, probs: Tensor, weight: Tensor | None, reduction: str,
          ignore_index: int, label_smoothing: float, z_loss: float, softcap: float | None, temperature: float, dim: int,
          **more: Any) -> Any:
    return function(array_of(input), array_of(indices), array_of(probs),
                    class_weight=None if weight is None else array_of(weight), ignore_index=ignore_index,
                    reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                    temperature=temperature, axis=dim, **more)


def _others(upstream: Tensor, needed: Sequence[bool], input: Tensor, indices: Tensor, probs: Tensor, weight: Tensor | None,
            reduction: str, ignore_index: int, label_smoothing: float, z_loss: float, softcap: float | None,
            temperature: float, dim: int) -> list[Tensor | None]:
    """(label_smoothing - 1)*weight*log softmax at the indices, times the upstream gradient: what probs get."""
    counts = indices != ignore_index
    ids = indices.to(torch.int64).where(counts, 0)
    factor = upstream * (label_smoothing - 1)
    if reduction == "none":
        factor = factor.unsqueeze(dim)
    elif reduction == "mean":
        factor = factor / counts.any(dim).sum()
    if weight is not None:
        factor = factor * weight[ids]
    log_p = target_log_prob(input, ids, temperature=temperature, softcap=softcap, dim=dim)
    return [None, None, (log_p * factor).to(probs.dtype).where(counts, 0), None]


_sparse = Loss("sparse_cross_entropy(Tensor input, Tensor indices, Tensor probs, Tensor? weight, str reduction, "
               "int ignore_index, float label_smoothing, float z_loss, float? softcap, float temperature, int dim)", 0,
               (api_targets.sparse_cross_entropy, api_targets.sparse_cross_entropy_and_grad), _call,
               composed.sparse_cross_entropy, _others)


def _log_prob(input: Tensor, ids: Tensor, temperature: float, softcap: float | None, dim: int) -> Tensor:
    found = api_score.target_log_prob(array_of(input), array_of(ids), temperature=temperature, softcap=softcap, axis=dim)
    return scalars_of(np.asarray(found, order="C"), wide(input))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, ids, *ctx.options = inputs
    ctx.save_for_backward(input, ids)


def _backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    """That of sparse_cross_entropy with minus the upstream gradient for shares."""
    input, ids = ctx.saved_tensors
    temperature, softcap, dim = ctx.options
    if ids.ndim < input.ndim:
        ids, upstream = ids.unsqueeze(dim), upstream.unsqueeze(dim)
    one = upstream.new_ones(())
    dinput = _sparse.gradient(one, input, ids, -upstream, None, "sum", -100, 0.0, 0.0, softcap, temperature, dim)
    return dinput, None, None, None, None


_target_log_prob = Op("target_log_prob(Tensor input, Tensor ids, float temperature, float? softcap, int dim) -> Tensor",
                      _log_prob, lambda input, ids, *_: ids.new_empty(ids.shape, dtype=wide(input)), _save, _backward)
