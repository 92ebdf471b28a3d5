"""[5] The losses as modules, with torch's arguments and the same names in a state_dict."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .divergences import kl_divergence_with_logits
from .linear import linear_cross_entropy
from .losses import cross_entropy
from .sparse import sparse_cross_entropy


def _changed(options: dict[str, Any], function: Callable[..., Any]) -> str:
    """The options that are not the defaults of a function, as a repr has them."""
    defaults = inspect.signature(function).parameters
    return ", ".join(f"{name}={value!r}" for name, value in options.items() if value != defaults[name].default)


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """torch.nn.CrossEntropyLoss over `cross_entropy`, whose arguments these are."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
                 label_smoothing: float = 0.0, *, z_loss: float = 0.0, softcap: float | None = None) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)
        self.z_loss, self.softcap = z_loss, softcap

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing,
                             z_loss=self.z_loss, softcap=self.softcap)

    def extra_repr(self) -> str:
        names = "ignore_index", "reduction", "label_smoothing", "z_loss", "softcap"
        return _changed({name: getattr(self, name) for name in names}, cross_entropy)


class LinearCrossEntropyLoss(nn.Module):
    """torch.nn.LinearCrossEntropyLoss over `linear_cross_entropy`: a linear layer, `self.linear`, and its loss.

    in_features, num_classes   of the layer          out_features   (d1, ..., dK) of a K-dimensional loss
    bias, device, dtype        as of torch.nn.Linear
    The other arguments are those of linear_cross_entropy.
    """

    weight: Tensor | None

    def __init__(self, in_features: int, num_classes: int, *, out_features: tuple[int, ...] = (), bias: bool = False,
                 device: torch.device | str | None = None, dtype: torch.dtype | None = None, reduction: str = "mean",
                 weight: Tensor | None = None, ignore_index: int | None = None, label_smoothing: float = 0.0,
                 options: object = None, z_loss: float = 0.0, softcap: float | None = None) -> None:
        super().__init__()
        if weight is not None and weight.shape != (num_classes,):
            raise ValueError(f"weight has shape {tuple(weight.shape)}, but must have {(num_classes,)}, one weight a class")
        self.register_buffer("weight", weight)
        self.in_features, self.num_classes, self.out_features = in_features, num_classes, tuple(out_features)
        self.reduction, self.ignore_index, self.label_smoothing = reduction, ignore_index, label_smoothing
        self.options, self.z_loss, self.softcap = options, z_loss, softcap
        self.linear = nn.Linear(in_features, num_classes * math.prod(out_features), bias, device, dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of features (..., in_features)."""
        outputs = self.num_classes, *self.out_features
        bias = self.linear.bias
        return linear_cross_entropy(input, self.linear.weight.reshape(*outputs, self.in_features), target,
                                    linear_bias=None if bias is None else bias.reshape(outputs), weight=self.weight,
                                    reduction=self.reduction, ignore_index=self.ignore_index,
                                    label_smoothing=self.label_smoothing, options=self.options, z_loss=self.z_loss,
                                    softcap=self.softcap)

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
                f"bias={self.linear.bias is not None}, reduction={self.reduction!r}, ignore_index={self.ignore_index}, "
                f"label_smoothing={self.label_smoothing}, options={self.options}, z_loss={self.z_loss}, "
                f"softcap={self.softcap}")


class _WithOptions(nn.Module):
    """A loss with the keywords of its function, which are checked here."""

    def __init__(self, function: Callable[..., Tensor], n_tensors: int, options: dict[str, Any]) -> None:
        super().__init__()
        inspect.signature(function).bind(*[None] * n_tensors, **options)
        self.options = options

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


class SparseCrossEntropyLoss(_WithOptions):
    """`sparse_cross_entropy`, whose keywords these are; called with (input, indices, probs)."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, **options: Any) -> None:
        super().__init__(sparse_cross_entropy, 4, options)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, indices: Tensor, probs: Tensor) -> Tensor:
        return sparse_cross_entropy(input, indices, probs, self.weight, **self.options)


class KLDivergenceLoss(_WithOptions):
    """`kl_divergence_with_logits`, whose keywords these are; called with (target, logits)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(kl_divergence_with_logits, 2, options)

    def forward(self, target: Tensor, logits: Tensor) -> Tensor:
        return kl_divergence_with_logits(target, logits, **self.options)
