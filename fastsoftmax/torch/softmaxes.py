"""[5] softmax and log_softmax."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import api
from .arrays import FLOATS, array_of, axis_of, checked
from .memory import empty_like
from .ops import Op


def softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """torch.nn.functional.softmax: exp(input) / sum exp(input) over `dim`, shaped as input.

    input   any shape; float32, float64, bfloat16 or float16, or what is cast to `dtype`, one of these
    """
    return _over(_softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """torch.nn.functional.log_softmax: input - log sum exp(input) over `dim`; exact digits also where that is close to 0.

    Arguments as of softmax.
    """
    return _over(_log_softmax, input, dim, dtype)


def _over(op: Op, input: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    checked(input, "input", floats=dtype is None)
    if dtype is not None:
        if not isinstance(dtype, torch.dtype):
            raise TypeError(f"dtype must be a torch.dtype, not {type(dtype).__name__}")
        if dtype not in FLOATS:
            raise TypeError(f"dtype is {dtype}; allowed are " + ", ".join(map(str, FLOATS)))
        input = input.to(dtype)
    axis = axis_of(input, dim)
    result: Tensor = op(input, axis) if input.ndim else op(input.reshape(1), axis).reshape(())
    return result


def _along(function: Any, dim: int, first: Tensor, *others: Tensor) -> Tensor:
    """A function of the public face over `dim`; its result is laid out as torch.empty_like(first)."""
    options: dict[str, Any] = {} if dim in (-1, first.ndim - 1) else {"axis": dim}
    result = empty_like(first)
    if result.numel():  # nothing of nothing is no error in torch
        function(array_of(first), *map(array_of, others), out=array_of(result), **options)
    return result


def _registered(name: str, function: Any, gradient: Any, second: Callable[..., tuple[Tensor, Tensor]]) -> Op:
    """An operator and that of its gradient, which is made from the output y and the upstream gradient g.

    second(v, y, g, dim)  the gradient of sum(v*gradient(y, g)) with regard to y and to g
    """

    def save(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.dim = inputs[1]
        ctx.save_for_backward(output)

    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return backward_op(*ctx.saved_tensors, upstream, ctx.dim), None

    def save_again(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        *saved, ctx.dim = inputs
        ctx.save_for_backward(*saved)

    def backward_again(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        return *second(v, *ctx.saved_tensors, ctx.dim), None

    backward_op = Op(f"{name}_backward(Tensor output, Tensor upstream, int dim) -> Tensor",
                     lambda output, upstream, dim: _along(gradient, dim, output, upstream), _like, save_again,
                     backward_again)
    return Op(f"{name}(Tensor input, int dim) -> Tensor", lambda input, dim: _along(function, dim, input), _like,
              save, backward)


def _like(first: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(first)


def _second_softmax(v: Tensor, p: Tensor, g: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    pv, pg = (p * v).sum(dim, keepdim=True), (p * g).sum(dim, keepdim=True)
    return v * (g - pg) - g * pv, p * (v - pv)


def _second_log_softmax(v: Tensor, log_p: Tensor, g: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    p = log_p.exp()
    return -v * p * g.sum(dim, keepdim=True), v - (p * v).sum(dim, keepdim=True)


_softmax = _registered("softmax", api.softmax, api.softmax_grad, _second_softmax)
_log_softmax = _registered("log_softmax", api.log_softmax, api.log_softmax_grad, _second_log_softmax)
