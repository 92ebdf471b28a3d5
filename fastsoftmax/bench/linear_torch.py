"""PyTorch's linear layer and loss, as its users call them. Its tensors share NumPy's memory."""

import torch
from torch.nn import functional

from .. import threads
from .linear_rivals import GRADIENTS, LOSSES
from .rivals import Contender


def _wrap(inputs):
    torch.set_num_threads(threads.get_num_threads())
    x, w = (torch.from_numpy(a).requires_grad_(inputs.operation.gradient) for a in (inputs.x, inputs.w))
    return x, w, torch.from_numpy(inputs.y)


def _losses(a):
    x, w, y = a
    return (functional.cross_entropy(functional.linear(x, w), y, reduction="none"),)


def _gradients(a):
    """By autograd: what backward() does after zero_grad(set_to_none=True)."""
    x, w, y = a
    loss = functional.cross_entropy(functional.linear(x, w), y)
    return loss, *torch.autograd.grad(loss, (x, w))


def load(name):
    """The contender "torch"."""
    return Contender({LOSSES.name: _losses, GRADIENTS.name: _gradients}, _wrap, lambda tensor: tensor.detach().numpy(),
                     lambda inputs: torch.set_grad_enabled(inputs.operation.gradient))
