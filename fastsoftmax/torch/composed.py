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
    z = capped(widened(input), softcap)
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
    return reduced(losses, reduction, total)


def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None,
                         weight: Tensor | None, *options: Any) -> Tensor:
    dtype = torch.promote_types(input.dtype, linear_weight.dtype)
    dtype = torch.float32 if dtype in HALVES else dtype
    bias = None if linear_bias is None else linear_bias.to(dtype)
    logits = functional.linear(input.to(dtype), linear_weight.to(dtype), bias)
    return cross_entropy(logits, target, weight, *options)


def sparse_cross_entropy(input: Tensor, indices: Tensor, probs: Tensor, weight: Tensor | None, reduction: str,
                         ignore_index: int, label_smoothing: float, z_loss: float, softcap: float | None,
                         temperature: float, dim: int) -> Tensor:
    z = widened(input).movedim(dim, -1) / temperature
    ids, shares = indices.movedim(dim, -1).to(torch.int64), probs.movedim(dim, -1).to(z.dtype)
    counts = ids != ignore_index
    q = torch.zeros_like(z).scatter_add(-1, ids.where(counts, 0), shares.where(counts, 0))
    losses = cross_entropy(z.reshape(-1, z.shape[-1]), q.reshape(-1, z.shape[-1]), weight, "none", -100, label_smoothing,
                           z_loss, softcap)
    rows = counts.any(-1)
    return reduced(losses.reshape(rows.shape).where(rows, 0), reduction, rows.sum())


def kl_divergence(target: Tensor, logits: Tensor, reduction: str, log_target: bool, target_logits: bool, reverse: bool,
                  softcap: float | None, temperature: float, dim: int) -> Tensor:
    log_p = torch.log_softmax(capped(widened(logits) / temperature, softcap), dim)
    t = widened(target)
    log_q = torch.log_softmax(t / temperature, dim) if target_logits else t if log_target else None
    p, q = log_p.exp(), t if log_q is None else log_q.exp()
    nothing = (p if reverse else q) == 0  # 0*log 0 = 0, and so are its derivatives
    log_p, log_q = log_p.masked_fill(nothing, 0), t.masked_fill(nothing, 1).log() if log_q is None else log_q
    log_q = log_q.masked_fill(nothing, 0)
    terms = p * (log_p - log_q) if reverse else q * (log_q - log_p)
    losses = terms.sum(dim)
    return reduced(losses, reduction, losses.numel())


def entropy(logits: Tensor, reduction: str, softcap: float | None, temperature: float, dim: int) -> Tensor:
    log_p = torch.log_softmax(capped(widened(logits) / temperature, softcap), dim)
    p = log_p.exp()
    losses = -(p * log_p.masked_fill(p == 0, 0)).sum(dim)
    return reduced(losses, reduction, losses.numel())


def widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALVES else tensor


def reduced(losses: Tensor, reduction: str, total: Any) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.sum() / total


def first_order(loss: Callable[..., Tensor], inputs: Sequence[Tensor | None], upstream: Tensor,
                needed: Sequence[bool]) -> list[Tensor | None]:
    """The gradient of upstream*loss(*inputs) with regard to the inputs that are `needed`."""
    at = [i for i, need in enumerate(needed) if need]
    value, pull, *_ = torch.func.vjp(lambda *some: loss(*_replaced(inputs, at, some)), *(inputs[i] for i in at))
    found = iter(pull(upstream.to(value.dtype)))
    return [next(found) if need else None for need in needed]


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
