"""[5] How a function of the public face becomes an operator of torch: see `Op`, which is all that a new one needs."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

LIBRARY: Any = torch.library.Library("fastsoftmax", "FRAGMENT")  # type: ignore[no-untyped-call]
# What may be passed to a kernel as it is. All else, subclasses of Tensor above all, the dispatcher knows how to treat.
PLAIN = frozenset((Tensor, torch.nn.Parameter, type(None), bool, int, float, str, torch.dtype, list))
NAMES = {"logits": "input", "labels": "target", "target_probs": "target", "class_weight": "weight", "features": "input",
         "classifier": "linear_weight", "bias": "linear_bias", "axis": "dim"}
# A key that is there inside the older vmap of is_grads_batched, whose tensors look plain and have no memory.
BATCHED: Any = torch._C._parse_dispatch_key("VmapMode")
_named = re.compile(r"\b(" + "|".join(NAMES) + r")\b")


class Op:
    """An operator `fastsoftmax::name`, called like a function of positional arguments.

    schema    as torch.library.define takes it
    compute   the kernel: tensors on the CPU -> new tensors, never inputs
    fake      the same of shapes and dtypes alone
    save, backward  as torch.library.register_autograd takes them: save(ctx, inputs, output), backward(ctx, *upstreams);
              left out where nothing is differentiable and all inputs are detached

    Called eagerly, it goes straight to the kernel, because dispatcher and registered formula take 10 us together; a graph
    that is being traced or compiled sees the operator.
    """

    def __init__(self, schema: str, compute: Callable[..., Any], fake: Callable[..., Any],
                 save: Callable[..., None] | None = None, backward: Callable[..., Any] | None = None) -> None:
        name = schema[:schema.index("(")]
        own = re.findall(r"(\w+)[,)]", schema)  # names of the public face that are the door's too

        def kernel(*arguments: Any) -> Any:
            try:
                return compute(*arguments)
            except (TypeError, ValueError) as error:  # which speaks of the public face's arguments
                raise type(error)(_named.sub(lambda found: found[0] if found[0] in own else NAMES[found[0]],
                                             str(error))) from None

        LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        LIBRARY.impl(name, kernel, "CPU")
        torch.library.register_fake(f"fastsoftmax::{name}", fake, lib=LIBRARY)
        save, backward = save or _nothing_to_save, backward or _no_gradient
        torch.library.register_autograd(f"fastsoftmax::{name}", backward, setup_context=save, lib=LIBRARY)
        formulas = {"forward": kernel, "setup_context": save, "backward": backward, "vmap": self._one_by_one}
        node = type(name, (torch.autograd.Function,), {key: staticmethod(f) for key, f in formulas.items()})
        self._kernel, self._differentiable = kernel, node.apply  # type: ignore[attr-defined]
        self.overload: Any = getattr(torch.ops.fastsoftmax, name).default

    def __call__(self, *arguments: Any) -> Any:
        if is_eager() and PLAIN.issuperset(map(type, arguments)):
            differentiable = torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments)
            return (self._differentiable if differentiable else self._kernel)(*arguments)
        if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
            return self._differentiable(*arguments)  # torch.func knows these, and not what register_autograd makes
        return self.overload(*arguments)

    def _one_by_one(self, info: Any, in_dims: Sequence[Any], *arguments: Any) -> tuple[Any, Any]:
        """torch.func.vmap."""
        found = [self(*(a.select(dim, i) if isinstance(dim, int) else a for a, dim in zip(arguments, in_dims, strict=True)))
                 for i in range(info.batch_size)]
        if isinstance(found[0], Tensor):
            return torch.stack(found), 0
        stacked = tuple(map(torch.stack, zip(*found, strict=True)))
        return stacked, (0,) * len(stacked)


def _nothing_to_save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.mark_non_differentiable(*((output,) if isinstance(output, Tensor) else output))


def _no_gradient(ctx: Any, *upstreams: Any) -> tuple[None, ...]:
    return (None,) * len(ctx.needs_input_grad)


def is_eager() -> bool:
    """Whether nothing but autograd looks on: no compiler, transform, mode or tracer."""
    return not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
                or torch._C._dispatch_tls_is_dispatch_key_included(BATCHED) or torch._C._len_torch_dispatch_stack()
                or torch._C._len_torch_function_stack() or torch._C._is_tracing())


def times(grads: Sequence[Tensor], upstream: Tensor) -> Sequence[Tensor]:
    """Gradients that the forward pass has left, times the scalar upstream gradient: for nothing where that is 1, and in
    their own memory where the graph is about to be freed, so that nobody else will ask for them."""
    if not is_eager() or type(upstream) is not Tensor or torch._C._autograd._get_current_graph_task_keep_graph():
        return [grad * upstream for grad in grads]
    factor = upstream.item()
    return grads if factor == 1 else [grad.mul_(factor) for grad in grads]
