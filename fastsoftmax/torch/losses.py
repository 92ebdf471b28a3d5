"""[5] cross_entropy, for labels and for class probabilities."""

from typing import Any

import torch
from torch import Tensor

from .. import api
from ..check.numbers import integer
from . import composed
from .arrays import HALVES, array_of, checked, scalars_of
from .composed import class_axis, is_probabilities, second_order
from .memory import empty_like
from .ops import Op, is_eager, times

LOSS = ("Tensor input, Tensor target, Tensor? weight, str reduction, int ignore_index, float label_smoothing, "
        "float z_loss, float? softcap")


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0, *, z_loss: float = 0.0,
                  softcap: float | None = None) -> Tensor:
    """torch.nn.functional.cross_entropy: -log softmax(input)[target], reduced.

    input    (C,), (N, C) or (N, C, d1, ..., dK) logits: float32, float64, bfloat16 or float16
    target   class indices of any integer dtype, (), (N,) or (N, d1, ..., dK); or class probabilities, shaped as input.
             As in torch, (1,) stands for () too
    weight   (C,), one weight a class; no gradient goes there
    ignore_index, reduction, label_smoothing   as in torch: "mean" is over the weights of the targets that count, and
             class probabilities have no class to ignore
    z_loss   adds z_loss*logsumexp^2          softcap   logits become softcap*tanh(input/softcap)

    Where a gradient will be asked for and the loss is one number, it is computed in the same reading of the logits.
    Raises fastsoftmax.LabelError, which is a ValueError and an IndexError, for a target outside [0, C).
    """
    checked(input, "input")
    checked(target, "target", floats=False)
    check_weight(weight)
    if not input.ndim:
        raise ValueError("input must have a class axis, but is 0-dimensional")
    dtype = input.dtype
    if is_probabilities(input, target):
        checked(target, "target")
        if integer(ignore_index, "ignore_index") >= 0:
            raise ValueError(f"ignore_index is {ignore_index}, but the target holds class probabilities")
        dtype = torch.promote_types(dtype, target.dtype)
        dtype = dtype if weight is None else torch.promote_types(dtype, weight.dtype)
    else:
        target = unbatched(input, target)
    if dtype in HALVES and torch.is_autocast_enabled("cpu"):
        dtype = torch.float32  # torch casts the logits, which changes nothing else: we compute in float32 in any case
    # A float16 gradient of the mean may be too small for float16 until the upstream one has scaled it.
    now = (input.requires_grad and torch.is_grad_enabled() and reduction != "none" and input.dtype is not torch.float16
           and is_eager())
    loss: Tensor = _cross_entropy(input, target, weight, reduction, ignore_index, label_smoothing, z_loss, softcap, dtype,
                                  now)[0]
    return loss


def unbatched(input: Tensor, target: Tensor) -> Tensor:
    """Class indices, () for input of one row: torch takes (1,) as well."""
    return target.reshape(()) if input.ndim == 1 and target.shape == (1,) else target


def check_weight(weight: Tensor | None) -> None:
    """Raise unless these are class weights, which no gradient is asked for."""
    if weight is not None:
        checked(weight, "weight")
        if weight.requires_grad and torch.is_grad_enabled():
            raise ValueError("weight requires grad, but no gradient goes to class weights: weight.detach()")


def _call(function: Any, soft: Any, input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int,
          label_smoothing: float, z_loss: float, softcap: float | None, **options: Any) -> Any:
    """A function of the public face: `function` for labels, `soft` for probabilities."""
    options.update(reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap)
    if weight is not None:
        options["class_weight"] = array_of(weight)
    if input.ndim > 2:
        options["axis"] = 1
    if is_probabilities(input, target):
        return soft(array_of(input), array_of(target), **options)
    return function(array_of(input), array_of(target), ignore_index=ignore_index, **options)


def _call_and_grad(input: Tensor, target: Tensor, *loss: Any, dlosses: Any = None) -> tuple[Any, Tensor]:
    """loss, and its gradient shaped, typed and laid out as torch.empty_like(input)."""
    options: dict[str, Any] = {} if dlosses is None else {"dlosses": dlosses}
    dinput = empty_like(input)
    if mixed := is_probabilities(input, target) and target.dtype is not input.dtype:
        dinput_wide = torch.empty_like(dinput, dtype=torch.promote_types(input.dtype, target.dtype))
    value, _, _ = _call(api.cross_entropy_and_grad, api.soft_cross_entropy_and_grad, input, target, *loss,
                        out=array_of(dinput_wide if mixed else dinput), **options)
    return value, dinput.copy_(dinput_wide) if mixed else dinput


def _compute(input: Tensor, target: Tensor, *loss: Any) -> tuple[Tensor, Tensor]:
    *options, dtype, with_grad = loss
    if with_grad:
        value, grad = _call_and_grad(input, target, *options)
        return scalars_of(value, dtype), grad
    value = _call(api.cross_entropy, api.soft_cross_entropy, input, target, *options)
    return scalars_of(value, dtype), input.new_empty(0)


def _fake(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, *options: Any) -> tuple[Tensor, Tensor]:
    *_, dtype, with_grad = options
    axis = class_axis(input)
    shape = () if reduction != "none" else input.shape[:axis] + input.shape[axis + 1:]
    return input.new_empty(shape, dtype=dtype), torch.empty_like(input) if with_grad else input.new_empty(0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, target, weight, *ctx.options, _, ctx.with_grad = inputs
    ctx.save_for_backward(input, target, weight, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, upstream: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    input, target, weight, grad = ctx.saved_tensors
    dinput = dtarget = None
    if upstream is not None:
        if ctx.needs_input_grad[0]:
            now = ctx.with_grad and not upstream.ndim and not torch.is_grad_enabled()
            dinput = (times([grad], upstream)[0] if now else
                      _cross_entropy_backward(upstream, input, target, weight, *ctx.options))
        if ctx.needs_input_grad[1]:
            dtarget = _target_grad(upstream, input, target, weight, *ctx.options)
    return dinput, dtarget, *[None] * 8


def _target_grad(upstream: Tensor, input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int,
                 label_smoothing: float, z_loss: float, softcap: float | None) -> Tensor:
    """(label_smoothing - 1)*weight*log softmax, times the upstream gradient: what class probabilities get."""
    from .softmaxes import log_softmax

    axis = class_axis(input)
    factor = upstream * (label_smoothing - 1)
    if reduction == "none":
        factor = factor.unsqueeze(axis)
    elif reduction == "mean":
        factor = factor * (input.shape[axis] / input.numel())
    if weight is not None:
        factor = factor * weight.reshape(-1, *[1] * (input.ndim - axis - 1))
    return (log_softmax(composed.capped(input, softcap), axis) * factor).to(target.dtype)


def _backward_compute(upstream: Tensor, *loss: Any) -> Tensor:
    return _call_and_grad(*loss, dlosses=array_of(upstream))[1]


def _backward_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    upstream, input, target, weight, *ctx.options = inputs
    ctx.save_for_backward(upstream, input, target, weight)


def _backward_backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
    upstream, input, target, weight = ctx.saved_tensors
    loss = lambda x, q: composed.cross_entropy(x, q, weight, *ctx.options)  # noqa: E731
    found = second_order(loss, (input, target), upstream, [v], [0], ctx.needs_input_grad[:3])
    return *found, *[None] * 6


_cross_entropy = Op(f"cross_entropy({LOSS}, ScalarType dtype, bool with_grad) -> (Tensor, Tensor)", _compute, _fake, _save,
                    _backward)
_cross_entropy_backward = Op(f"cross_entropy_backward(Tensor upstream, {LOSS}) -> Tensor", _backward_compute,
                             lambda upstream, input, *_: torch.empty_like(input), _backward_save, _backward_backward)
