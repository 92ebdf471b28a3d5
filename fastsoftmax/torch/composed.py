"""[5] The losses in torch's own operations: N x V numbers several times over, but differentiable as often as you like."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .arrays import HALVES


def capped(logits: Tensor, softcap: float | None) -> Tensor:
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def is_probabilities(input: Tensor, target: Tensor) -> bool:
    """torch's rule for what a target holds."""
    return target.shape == input.shape


def class_axis(input: Tensor) -> int:
    return 0 if input.ndim == 1 else 1


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int,
                  label_smoothing: float, z_loss: float, softcap: float | None) -> Tensor:
    z = capped(input.float() if input.dtype in HALVES else input, softcap)
    w = None if weight is None else weight.to(z.dtype)
    if not z_loss:
        return functional.cross_entropy(z, target, w, ignore_index=ignore_index, reduction=reduction,
                                        label_smoothing=label_smoothing)
    losses = functional.cross_entropy(z, target, w, ignore_index=ignore_index, reduction="none",
                                      label_smoothing=label_smoothing)
    squares = z_loss * torch.logsumexp(z, class_axis(z)) ** 2
    total: Any = losses.numel()
    if not is_probabilities(input, target):
        counts = target != ignore_index
        squares = torch.where(counts, squares, 0)
        total = counts.sum() if w is None else torch.where(counts, w[target.where(counts, 0)], 0).sum()
    losses = losses + squares
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.sum() / total


def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None,
                         weight: Tensor | None, *options: Any) -> Tensor:
    dtype = torch.promote_types(input.dtype, linear_weight.dtype)
    dtype = torch.float32 if dtype in HALVES else dtype
    bias = None if linear_bias is None else linear_bias.to(dtype)
    logits = functional.linear(input.to(dtype), linear_weight.to(dtype), bias)
    return cross_entropy(logits, target, weight, *options)


def second_order(loss: Callable[..., Tensor], inputs: Sequence[Tensor | None], upstream: Tensor, vs: Sequence[Tensor],
                 at: Sequence[int], needed: Sequence[bool]) -> list[Tensor | None]:
    """The gradient of sum(v*g) with regard to `upstream` and to `inputs`, those `needed`; g is the gradient of
    upstream*loss(*inputs) with regard to the inputs `at`, a v for each."""
    operands: tuple[Any, ...] = (upstream, *inputs)
    chosen = [i for i, need in enumerate(needed) if need]

    def gradients(*some: Tensor) -> tuple[Tensor, ...]:
        u, *x = _replaced(operands, chosen, some)
        value, pull, *_ = torch.func.vjp(lambda *y: loss(*_replaced(x, at, y)), *(x[i] for i in at))
        found: tuple[Tensor, ...] = pull(u.to(value.dtype))
        return found

    found = iter(torch.func.vjp(gradients, *(operands[i] for i in chosen))[1](tuple(vs)))
    return [next(found) if need else None for need in needed]


def _replaced(values: Sequence[Any], at: Sequence[int], by: Sequence[Any]) -> list[Any]:
    changed = list(values)
    for i, value in zip(at, by, strict=True):
        changed[i] = value
    return changed
