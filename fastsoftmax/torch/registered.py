"""[5] How a loss of the public face, with its gradient, becomes two operators: see `Loss`, which is all that one needs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .arrays import HALVES, array_of, lead_of, scalars_of
from .composed import first_order, second_order
from .memory import empty_like
from .ops import Op, is_eager, times


class Loss:
    """A loss whose arguments are tensors, then `str reduction`, then others, then `int dim`; it is called with these.

    schema     its name and arguments as torch.library.define takes them
    at         which of the tensors holds the logits          paired  which other one has a number a class too
    functions  of the public face: the loss, and the loss with its gradient
    call       call(function, *arguments, **more): one of them, with arrays
    by_torch   the loss in torch's own operations, for derivatives beyond the first and of the other tensors
    others     others(upstream, needed, *arguments) -> gradients of the tensors that are `needed`, unless those of by_torch
    """

    def __init__(self, schema: str, at: int, functions: tuple[Callable[..., Any], Callable[..., Any]],
                 call: Callable[..., Any], by_torch: Callable[..., Tensor],
                 others: Callable[..., Sequence[Tensor | None]] | None = None, paired: int | None = None) -> None:
        self.n_tensors, self.at, self.paired = schema.count("Tensor"), at, paired
        self.functions, self.call, self.by_torch, self.others = functions, call, by_torch, others
        name, arguments = schema[:-1].split("(", 1)
        self.gradient = Op(f"{name}_backward(Tensor upstream, {arguments}) -> Tensor", self._gradient,
                           lambda upstream, *given: torch.empty_like(given[at]), self._save_gradient,
                           self._backward_of_gradient)
        self.forward = Op(f"{name}({arguments}, ScalarType dtype, bool with_grad) -> (Tensor, Tensor)", self._compute,
                          self._fake, self._save, self._backward)

    def __call__(self, *arguments: Any) -> Tensor:
        """The loss in the dtype of all its floats together, as torch has it; float32 under autocast."""
        logits, reduction = arguments[self.at], arguments[self.n_tensors]
        dtype = logits.dtype
        for tensor in arguments[:self.n_tensors]:
            if tensor is not None and tensor.is_floating_point():
                dtype = torch.promote_types(dtype, tensor.dtype)
        if dtype in HALVES and torch.is_autocast_enabled("cpu"):
            dtype = torch.float32
        # A float16 gradient of the mean may be too small for float16 until the upstream one has scaled it.
        now = (logits.requires_grad and torch.is_grad_enabled() and reduction != "none"
               and logits.dtype is not torch.float16 and is_eager())
        loss: Tensor = self.forward(*arguments, dtype, now)[0]
        return loss

    def _value_and_grad(self, *arguments: Any, **more: Any) -> tuple[Any, Tensor]:
        """The loss, and its gradient shaped, typed and laid out as torch.empty_like(logits)."""
        logits = arguments[self.at]
        grad = empty_like(logits)
        dtype = grad.dtype if self.paired is None else torch.promote_types(grad.dtype, arguments[self.paired].dtype)
        made = grad if dtype is grad.dtype else torch.empty_like(grad, dtype=dtype)
        value = self.call(self.functions[1], *arguments, out=array_of(made), **more)[0]
        return value, grad if made is grad else grad.copy_(made)

    def _compute(self, *given: Any) -> tuple[Tensor, Tensor]:
        *arguments, dtype, with_grad = given
        if with_grad:
            value, grad = self._value_and_grad(*arguments)
            return scalars_of(value, dtype), grad
        return scalars_of(self.call(self.functions[0], *arguments), dtype), arguments[self.at].new_empty(0)

    def _fake(self, *given: Any) -> tuple[Tensor, Tensor]:
        *arguments, dim, dtype, with_grad = given
        logits = arguments[self.at]
        shape = lead_of(logits, dim) if arguments[self.n_tensors] == "none" else ()
        return logits.new_empty(shape, dtype=dtype), torch.empty_like(logits) if with_grad else logits.new_empty(0)

    def _save(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *ctx.options, _, ctx.with_grad = inputs[self.n_tensors:]
        ctx.save_for_backward(*inputs[:self.n_tensors], output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    def _backward(self, ctx: Any, upstream: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        *tensors, grad = ctx.saved_tensors
        found: list[Tensor | None] = [None] * self.n_tensors
        if upstream is not None:
            needed = list(ctx.needs_input_grad[:self.n_tensors])
            wanted, needed[self.at] = needed[self.at], False
            if any(needed):
                others = self.others or self._others_by_torch
                found = list(others(upstream, needed, *tensors, *ctx.options))
            if wanted:
                now = ctx.with_grad and not upstream.ndim and not torch.is_grad_enabled()
                found[self.at] = (times([grad], upstream)[0] if now else
                                  self.gradient(upstream, *tensors, *ctx.options))
        return *found, *[None] * (len(ctx.options) + 2)

    def _others_by_torch(self, upstream: Tensor, needed: Sequence[bool], *arguments: Any) -> list[Tensor | None]:
        options = arguments[self.n_tensors:]
        return first_order(lambda *tensors: self.by_torch(*tensors, *options), arguments[:self.n_tensors], upstream, needed)

    def _gradient(self, upstream: Tensor, *arguments: Any) -> Tensor:
        return self._value_and_grad(*arguments, dlosses=array_of(upstream))[1]

    def _save_gradient(self, ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.options = inputs[self.n_tensors + 1:]
        ctx.save_for_backward(*inputs[:self.n_tensors + 1])

    def _backward_of_gradient(self, ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        upstream, *tensors = ctx.saved_tensors
        found = second_order(lambda *some: self.by_torch(*some, *ctx.options), tensors, upstream, [v], [self.at],
                             ctx.needs_input_grad[:self.n_tensors + 1])
        return *found, *[None] * len(ctx.options)
