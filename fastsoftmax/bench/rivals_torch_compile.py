"""torch.compile of the same formulas, each for its own shapes (dynamic=False)."""

from functools import partial

import torch
from torch.nn import functional

from .rivals_torch import by_hand, contender, gradient

_compile = partial(torch.compile, dynamic=False)
_loss, _by_hand = _compile(functional.cross_entropy), _compile(by_hand)
_softmax, _log_softmax, _logsumexp = _compile(torch.softmax), _compile(torch.log_softmax), _compile(torch.logsumexp)


@_compile
def _softmax_grad(p, dp, axis):
    return p * (dp - (p * dp).sum(axis, keepdim=True))


OPERATIONS = {"loss": lambda a: (_loss(a.x, a.labels), None),
              "gradient-in-place": lambda a: _by_hand(a.x, a.labels, a.axis),
              "gradient": lambda a: gradient(a, _loss),
              "softmax": lambda a: (None, _softmax(a.x, a.axis)),
              "log-softmax": lambda a: (None, _log_softmax(a.x, a.axis)),
              "logsumexp": lambda a: (_logsumexp(a.x, a.axis), None),
              "soft-cross-entropy": lambda a: (_loss(a.x, a.second), None),
              "softmax-grad": lambda a: (None, _softmax_grad(a.x, a.second, a.axis))}


def load(_):
    """The contender."""
    torch.compiler.reset()  # each measurement is compiled for itself; beyond 8 shapes PyTorch would give up
    return contender(OPERATIONS, lambda operation: operation.gradient and not operation.in_place)
