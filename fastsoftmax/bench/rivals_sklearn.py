"""scikit-learn's private multinomial loss: OpenMP over rows, labels as floats, the mean as a sample weight."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn._loss.loss import HalfMultinomialLoss

from .. import threads
from .rivals import Contender


@dataclass(frozen=True)
class _Arguments:
    loss: HalfMultinomialLoss
    common: dict[str, Any]
    gradient_out: np.ndarray | None


def _wrap(inputs):
    n_rows, n_classes = inputs.x.shape
    common = {"y_true": inputs.labels.astype(inputs.x.dtype), "raw_prediction": inputs.x,
              "sample_weight": np.full(n_rows, 1 / n_rows, inputs.x.dtype),
              "loss_out": np.empty(n_rows, inputs.x.dtype), "n_threads": threads.get_num_threads()}
    # a row is read into a buffer before its gradient is written, so the logits themselves may take it
    gradient_out = inputs.x if inputs.operation.in_place else inputs.out
    return _Arguments(HalfMultinomialLoss(n_classes=n_classes), common, gradient_out)


def _loss(a):
    return a.loss.loss(**a.common).sum(), None


def _gradient(a):
    losses, gradient = a.loss.loss_gradient(**a.common, gradient_out=a.gradient_out)
    return losses.sum(), gradient


def load(_):
    """The contender."""
    return Contender({"loss": _loss, "gradient-in-place": _gradient, "gradient": _gradient}, _wrap)
