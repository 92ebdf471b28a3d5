"""[5] linear_cross_entropy: a linear layer and its loss, without the logits."""

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .. import api_linear
from ..typing import Gradient
from . import composed
from .arrays import array_of, checked, scalars_of, tensor_of
from .losses import check_weight, cross_entropy, unbatched
from .ops import Op, times

LAYER = ("Tensor input, Tensor linear_weight, Tensor target, Tensor? linear_bias, Tensor? weight, str reduction, "
         "int ignore_index, float label_smoothing, float z_loss, float? softcap, bool rounded")
GRADIENTS: tuple[Gradient, ...] = ("features", "classifier", "bias")


def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
                         weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
                         label_smoothing: float = 0.0, options: object = None, z_loss: float = 0.0,
                         softcap: float | None = None) -> Tensor:
    """torch.nn.functional.linear_cross_entropy: cross_entropy(linear(input, linear_weight, linear_bias), target).

    input          (..., in_features)
    linear_weight  (C, in_features); or (C, d1, ..., dK, in_features) for input (N, in_features)
    target         class indices, (...) or (N, d1, ..., dK); or class probabilities, shaped as the logits
    linear_bias    (C,) or (C, d1, ..., dK)
    ignore_index   -100 unless given; not with class probabilities
    options        torch's choice of chunks: taken, and not needed, since logits are computed in blocks in any case
    The other arguments are those of cross_entropy.

    Only a block of logits exists at a time, and its gradients are computed with the loss. Where the target holds class
    probabilities or linear_weight has more than two axes, torch computes all of them first.
    """
    for name, tensor in (("input", input), ("linear_weight", linear_weight), ("linear_bias", linear_bias)):
        if tensor is not None:
            checked(tensor, name)
    checked(target, "target", floats=False)
    outputs = _checked_outputs(input, linear_weight, linear_bias)
    loss: dict[str, Any] = {"weight": weight, "reduction": reduction, "label_smoothing": label_smoothing, "z_loss": z_loss,
                            "softcap": softcap}
    is_probabilities = tuple(target.shape) == (*input.shape[:-1], *outputs)
    if is_probabilities and ignore_index is not None:
        raise ValueError("ignore_index is given, but the target holds class probabilities")
    loss["ignore_index"] = -100 if ignore_index is None else ignore_index
    if is_probabilities or len(outputs) > 1:
        return _by_logits(input, linear_weight, target, linear_bias, outputs, loss)
    check_weight(weight)
    return _fused(input, linear_weight, unbatched(input, target), linear_bias, **loss)


def _checked_outputs(input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None) -> tuple[int, ...]:
    """(C,) or (C, d1, ..., dK)."""
    *outputs, n_features = shape = tuple(linear_weight.shape)
    if not outputs:
        raise ValueError(f"linear_weight has shape {shape}, but must have 2 axes or more: (C, in_features)")
    if not input.ndim or input.shape[-1] != n_features:
        raise ValueError(f"input has shape {tuple(input.shape)}, but must have (..., {n_features}) for linear_weight of "
                         f"shape {shape}")
    if len(outputs) > 1 and input.ndim != 2:
        raise ValueError(f"input has shape {tuple(input.shape)}, but must have (N, {n_features}) where linear_weight has "
                         f"more than 2 axes, {shape}")
    if linear_bias is not None and list(linear_bias.shape) != outputs:
        raise ValueError(f"linear_bias has shape {tuple(linear_bias.shape)}, but must have {tuple(outputs)}")
    return tuple(outputs)


def _by_logits(input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None, outputs: tuple[int, ...],
               loss: dict[str, Any]) -> Tensor:
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = functional.linear(input, linear_weight.reshape(-1, input.shape[-1]), bias)
    lead = input.shape[:-1]
    if len(outputs) == 1 and len(lead) > 1:  # the class axis is the last here, and cross_entropy's is axis 1
        losses = cross_entropy(logits.reshape(-1, *outputs), target.reshape(-1, *outputs), **loss)
        return losses.reshape(lead) if loss["reduction"] == "none" else losses
    return cross_entropy(logits.reshape(*lead, *outputs), target, **loss)


def _fused(input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None, weight: Tensor | None,
           reduction: str, ignore_index: int, label_smoothing: float, z_loss: float, softcap: float | None) -> Tensor:
    factors = [input, linear_weight] + ([] if linear_bias is None else [linear_bias])
    dtype = functools.reduce(torch.promote_types, (t.dtype for t in factors))
    rounded = False
    if dtype is not torch.float64 and torch.is_autocast_enabled("cpu"):
        # What autocast asks of linear: factors in its dtype. That takes no copies here, and float16 would gain nothing.
        rounded = torch.get_autocast_dtype("cpu") is torch.bfloat16
        dtype = torch.float32
    wanted = [reduction != "none" and torch.is_grad_enabled() and t is not None and t.requires_grad
              for t in (input, linear_weight, linear_bias)]
    loss: Tensor = _linear_cross_entropy(input, linear_weight, target, linear_bias, weight, reduction, ignore_index,
                                         label_smoothing, z_loss, softcap, rounded, dtype, wanted)[0]
    return loss


def _options(weight: Tensor | None, linear_bias: Tensor | None, reduction: str, ignore_index: int, label_smoothing: float,
             z_loss: float, softcap: float | None, rounded: bool) -> dict[str, Any]:
    """What the public face takes beside the three arrays."""
    return {"class_weight": None if weight is None else array_of(weight), "reduction": reduction,
            "bias": None if linear_bias is None else array_of(linear_bias), "ignore_index": ignore_index,
            "label_smoothing": label_smoothing, "z_loss": z_loss, "softcap": softcap,
            "compute_dtype": "bfloat16" if rounded else None}


def _loss_and_grads(wanted: list[bool], input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None,
                    weight: Tensor | None, *options: Any, **more: Any) -> tuple[Any, list[Tensor]]:
    """The loss, and a gradient for each that is wanted, with no element for each that is not."""
    wrt = [name for name, want in zip(GRADIENTS, wanted, strict=True) if want]
    found = api_linear.linear_cross_entropy_and_grad(array_of(input), array_of(linear_weight), array_of(target), wrt=wrt,
                                                     **_options(weight, linear_bias, *options), **more)
    return found.loss, [input.new_empty(0) if grad is None else tensor_of(grad) for grad in found[1:4]]


def _widened(input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None) -> torch.dtype | None:
    """The dtype of gradients that wait for the upstream one: float32 for float16, which they may be too small for; else
    that of their tensors."""
    dtypes = [t.dtype for t in (input, linear_weight, linear_bias) if t is not None]
    return torch.float32 if torch.float16 in dtypes and torch.float64 not in dtypes else None


def _compute(input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None, weight: Tensor | None,
             *loss: Any) -> tuple[Tensor, ...]:
    *options, dtype, wanted = loss
    if any(wanted):
        widened = "float32" if _widened(input, linear_weight, linear_bias) else None
        value, grads = _loss_and_grads(wanted, input, linear_weight, target, linear_bias, weight, *options,
                                       grad_dtype=widened)
        return scalars_of(value, dtype), *grads
    value = api_linear.linear_cross_entropy(array_of(input), array_of(linear_weight), array_of(target),
                                            **_options(weight, linear_bias, *options))
    return scalars_of(value, dtype), *(input.new_empty(0) for _ in GRADIENTS)


def _fake(input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None, weight: Tensor | None,
          reduction: str, *options: Any) -> tuple[Tensor, ...]:
    *_, dtype, wanted = options
    widened = _widened(input, linear_weight, linear_bias)
    loss = input.new_empty(input.shape[:-1] if reduction == "none" else (), dtype=dtype)
    return loss, *_fake_grads(wanted, widened, input, linear_weight, linear_bias)


def _fake_grads(wanted: list[bool], dtype: torch.dtype | None, *tensors: Tensor | None) -> list[Tensor]:
    first: Any = tensors[0]
    return [first.new_empty(0) if not want or t is None else t.new_empty(t.shape, dtype=dtype or t.dtype)
            for t, want in zip(tensors, wanted, strict=True)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.wanted = inputs[:5] + inputs[-1:]
    ctx.options = inputs[5:-2]
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    tensors, grads = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
    found: list[Tensor | None] = [None] * 3
    if upstream is not None:
        needed = [ctx.needs_input_grad[i] for i in (0, 1, 3)]
        if needed == ctx.wanted and not torch.is_grad_enabled():
            scaled = iter(times([grad for grad, need in zip(grads, needed, strict=True) if need], upstream))
        else:
            fresh = _linear_cross_entropy_backward(upstream, *tensors, *ctx.options, needed)
            scaled = iter([grad for grad, need in zip(fresh, needed, strict=True) if need])
        like = *tensors[:2], tensors[3]
        found = [next(scaled).to(t.dtype) if need else None for t, need in zip(like, needed, strict=True)]
    return *found[:2], None, found[2], *[None] * 9


def _backward_compute(upstream: Tensor, *loss: Any) -> tuple[Tensor, ...]:
    *tensors_and_options, wanted = loss
    return tuple(_loss_and_grads(wanted, *tensors_and_options, dlosses=array_of(upstream))[1])


def _backward_fake(upstream: Tensor, input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None,
                   *options: Any) -> tuple[Tensor, ...]:
    return tuple(_fake_grads(options[-1], None, input, linear_weight, linear_bias))


def _backward_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.options, ctx.wanted = inputs[6:-1], inputs[-1]
    ctx.save_for_backward(*inputs[:6])


def _backward_backward(ctx: Any, *vs: Tensor) -> tuple[Tensor | None, ...]:
    upstream, input, linear_weight, target, linear_bias, weight = ctx.saved_tensors

    def loss(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return composed.linear_cross_entropy(x, w, target, b, weight, *ctx.options[:-1])

    at = [i for i, want in enumerate(ctx.wanted) if want]
    needed = [ctx.needs_input_grad[i] for i in (0, 1, 2, 4)]
    found = composed.second_order(loss, (input, linear_weight, linear_bias), upstream, [vs[i] for i in at], at, needed)
    return *found[:3], None, found[3], *[None] * 8


_linear_cross_entropy = Op(
    f"linear_cross_entropy({LAYER}, ScalarType dtype, bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor)", _compute, _fake,
    _save, _backward)
_linear_cross_entropy_backward = Op(
    f"linear_cross_entropy_backward(Tensor upstream, {LAYER}, bool[] wanted) -> (Tensor, Tensor, Tensor)",
    _backward_compute, _backward_fake, _backward_save, _backward_backward)
