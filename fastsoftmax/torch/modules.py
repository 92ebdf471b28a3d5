"""[5] The losses as modules, with torch's arguments and the same names in a state_dict."""

import math

import torch
from torch import Tensor, nn

from .linear import linear_cross_entropy
from .losses import cross_entropy


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """torch.nn.CrossEntropyLoss over `cross_entropy`, whose arguments these are."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
                 label_smoothing: float = 0.0, *, z_loss: float = 0.0, softcap: float | None = None) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)
        self.z_loss, self.softcap = z_loss, softcap

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing,
                             z_loss=self.z_loss, softcap=self.softcap)


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
                f"reduction={self.reduction!r}, ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}, "
                f"z_loss={self.z_loss}, softcap={self.softcap}")
