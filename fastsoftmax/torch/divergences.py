"""[5] kl_divergence_with_logits and entropy_with_logits."""

from typing import Any

from torch import Tensor

from .. import api_targets
from . import composed
from .arrays import array_of, checked, class_dim
from .registered import Loss


def kl_divergence_with_logits(target: Tensor, logits: Tensor, *, log_target: bool = False, target_logits: bool = False,
                              reverse: bool = False, reduction: str = "mean", softcap: float | None = None,
                              temperature: float = 1.0, dim: int | None = None) -> Tensor:
    """KL(q || p) = sum q*(log q - log p), p = softmax(logits), in nats, reduced; with `reverse` KL(p || q).

    target       shaped as logits: q, which need not sum to 1; then it is sum q*log q - sum q*log p
    log_target   target is log q          target_logits  it is logits: q = softmax(target/temperature)
    reduction    "mean" is over rows, not over all elements as in torch.nn.functional.kl_div; "sum"; "none", a number a row
    temperature  divides logits, and target where that is logits; softcap is of the logits alone
    dim          the class axis: the last of (C,) and (N, C), and otherwise to be given

    0*log 0 = 0; inf where q = 0 < p (reverse), or p = 0 < q. A gradient goes to logits, and to target where that requires
    it: this one in torch's operations, with N*C numbers a few times over.
    """
    checked(target, "target")
    checked(logits, "logits")
    return _kl(target, logits, reduction, log_target, target_logits, reverse, softcap, temperature, _chosen(logits, dim))


def entropy_with_logits(logits: Tensor, *, reduction: str = "none", softcap: float | None = None, temperature: float = 1.0,
                        dim: int | None = None) -> Tensor:
    """-sum p*log p, p = softmax(logits), in nats: a number a row unless "mean" or "sum" is asked for.

    temperature, softcap, dim   as of kl_divergence_with_logits
    """
    checked(logits, "logits")
    return _entropy(logits, reduction, softcap, temperature, _chosen(logits, dim))


def _chosen(logits: Tensor, dim: int | None) -> int:
    """The class axis. Nothing but `dim` tells it from others: a wrong guess would give wrong numbers, and no error."""
    if dim is None and logits.ndim > 2:
        raise ValueError(f"dim must be given for logits of shape {tuple(logits.shape)}: the class axis is 1 in "
                         "cross_entropy, and often the last elsewhere")
    return class_dim(logits, -1 if dim is None else dim, "logits")


def _kl_call(function: Any, target: Tensor, logits: Tensor, reduction: str, log_target: bool, target_logits: bool,
             reverse: bool, softcap: float | None, temperature: float, dim: int, **more: Any) -> Any:
    return function(array_of(target), array_of(logits), log_target=log_target, target_logits=target_logits,
                    reverse=reverse, reduction=reduction, softcap=softcap, temperature=temperature, axis=dim, **more)


def _entropy_call(function: Any, logits: Tensor, reduction: str, softcap: float | None, temperature: float, dim: int,
                  **more: Any) -> Any:
    return function(array_of(logits), reduction=reduction, softcap=softcap, temperature=temperature, axis=dim, **more)


_kl = Loss("kl_divergence_with_logits(Tensor target, Tensor logits, str reduction, bool log_target, bool target_logits, "
           "bool reverse, float? softcap, float temperature, int dim)", 1,
           (api_targets.kl_divergence_with_logits, api_targets.kl_divergence_with_logits_and_grad), _kl_call,
           composed.kl_divergence, paired=0)
_entropy = Loss("entropy_with_logits(Tensor logits, str reduction, float? softcap, float temperature, int dim)", 0,
                (api_targets.entropy_with_logits, api_targets.entropy_with_logits_and_grad), _entropy_call,
                composed.entropy)
