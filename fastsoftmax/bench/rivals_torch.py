"""PyTorch on the CPU, eager: as its users call it, and by hand in place. Its tensors share NumPy's memory."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from .. import threads
from .cases import dtype_of
from .rivals import Contender


@dataclass(frozen=True)
class _Arguments:
    x: torch.Tensor
    labels: torch.Tensor
    second: torch.Tensor | None
    out: torch.Tensor | None
    axis: int


def _tensor(array):
    if array is None:
        return None
    if array.dtype.name == "bfloat16":  # torch does not know NumPy's
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _array(tensor):
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(dtype_of("bfloat16"))
    return tensor.numpy()


def _wrap(inputs, autograd):
    torch.set_num_threads(threads.get_num_threads())
    x = _tensor(inputs.x).requires_grad_(autograd)
    return _Arguments(x, _tensor(inputs.labels), _tensor(inputs.second), _tensor(inputs.out), inputs.axis)


def _loss(a):
    return functional.cross_entropy(a.x, a.labels), None


def gradient(a, loss=functional.cross_entropy):
    """Loss and gradient by autograd: what backward() does after zero_grad(set_to_none=True)."""
    value = loss(a.x, a.labels)
    return value, torch.autograd.grad(value, a.x)[0]


def _softmax(a):
    return None, torch.softmax(a.x, a.axis, out=a.out)


def _log_softmax(a):
    return None, torch.log_softmax(a.x, a.axis, out=a.out)


def _logsumexp(a):
    return torch.logsumexp(a.x, a.axis), None


def _soft_cross_entropy(a):
    return functional.cross_entropy(a.x, a.second), None


def _softmax_grad(a):
    return None, torch._softmax_backward_data(a.second, a.x, a.axis, a.x.dtype, grad_input=a.out)


def by_hand(x, labels, axis):
    """Loss and gradient without autograd, in the memory of x."""
    lse = torch.logsumexp(x, axis, keepdim=True)
    where = labels.unsqueeze(axis)
    value = (lse - x.gather(axis, where)).mean()
    x.sub_(lse).exp_()
    x.scatter_add_(axis, where, torch.full_like(lse, -1))
    return value, x.mul_(1 / labels.numel())


def _gradient_in_place(a):
    return by_hand(a.x, a.labels, a.axis)


EAGER = {"loss": _loss, "gradient-in-place": gradient, "gradient": gradient, "softmax": _softmax,
         "log-softmax": _log_softmax, "logsumexp": _logsumexp, "soft-cross-entropy": _soft_cross_entropy,
         "softmax-grad": _softmax_grad}
IN_PLACE = {"gradient-in-place": _gradient_in_place}


def load(name):
    """The contender "torch" or "torch-in-place"."""
    if name == "torch":
        return contender(EAGER, lambda operation: operation.gradient)
    return contender(IN_PLACE, lambda operation: False)


def contender(operations, autograd):
    """The Contender for operations of which autograd(operation) says whether they call backward()."""
    return Contender(operations, lambda inputs: _wrap(inputs, autograd(inputs.operation)), _array,
                     lambda inputs: torch.set_grad_enabled(autograd(inputs.operation)))
