"""[5] linear_cross_entropy and its arguments."""

from typing import Any, SupportsIndex

import jax
import numpy as np
from jax.typing import ArrayLike

from .. import api, api_linear, backends, plan
from .. import typing as t
from . import calls, checks
from .linear_rules import Inputs, LinearOptions, jitted, real_of


def linear_cross_entropy(features: ArrayLike, classifier: ArrayLike, labels: ArrayLike, *, bias: ArrayLike | None = None,
                         class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
                         ignore_index: SupportsIndex | None = -100, reduction: t.Reduction = "mean",
                         label_smoothing: t.Number = 0.0, z_loss: t.Number = 0.0, softcap: t.Number | None = None,
                         temperature: t.Number = 1.0, empty: t.Empty = "nan",
                         max_workspace_bytes: SupportsIndex = plan.WORKSPACE_BYTES,
                         compute_dtype: t.ComputeDtype | None = None) -> jax.Array:
    """cross_entropy(features @ classifier.T + bias, labels) without the logits, which need N times V numbers.

    features (..., n_features), classifier (n_classes, n_features), bias (n_classes,); labels (...). Gradients are with
    respect to these three, and as many matrix products are spent on them as are asked for; there are no second
    derivatives. Other arguments: fastsoftmax.linear_cross_entropy.
    """
    arrays = _checked(features, classifier, labels, bias, ignore_index, max_workspace_bytes, compute_dtype)
    real = real_of(arrays)
    logits = jax.ShapeDtypeStruct((*arrays.labels.shape, arrays.classifier.shape[0]), real)
    weights = checks.weights(logits, class_weight, sample_weight, real)
    chosen = dict(ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss,
                  softcap=softcap, temperature=temperature, empty=empty)
    checks.options(logits, weights[0], **chosen)
    options = LinearOptions(None if ignore_index is None else int(ignore_index), reduction, float(label_smoothing),
                            float(z_loss), None if softcap is None else float(softcap), float(temperature), empty,
                            int(max_workspace_bytes), compute_dtype, backends.current(), api.get_num_threads(),
                            calls.handler() is not None)
    return jitted(options, arrays._replace(class_weight=weights[0], sample_weight=weights[1]))


def _checked(features: Any, classifier: Any, labels: Any, bias: Any, ignore_index: Any, max_workspace_bytes: Any,
             compute_dtype: Any) -> Inputs:
    """Arrays of the right shapes and dtypes: what linear_plan takes."""
    checks.python_values(max_workspace_bytes=max_workspace_bytes, compute_dtype=compute_dtype)
    x, w = checks.as_array(features, "features"), checks.as_array(classifier, "classifier")
    b = None if bias is None else checks.as_array(bias, "bias")
    y = checks.label_array(labels, x.shape[:-1])
    shapes: list[Any] = [None if a is None else np.broadcast_to(np.zeros((), a.dtype), a.shape) for a in (x, w, b)]
    no_labels = np.broadcast_to(np.int64(-1), y.shape)  # all ignored: it must not say that a label is out of range
    api_linear.linear_plan(shapes[0], shapes[1], no_labels, bias=shapes[2], ignore_index=-1,
                           max_workspace_bytes=max_workspace_bytes, compute_dtype=compute_dtype)
    return Inputs(x, w, y, b, None, None)
