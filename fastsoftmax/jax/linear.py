"""[5] linear_cross_entropy. Python plans its blocks, so the compiled handler goes into Python, over XLA's own memory.

For a loss that is one number, the gradients come with it; for one a row, the pass back computes them, with what comes from
above: no N x V array in either.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

import jax
import numpy as np
from jax.custom_derivatives import SymbolicZero, zero_from_primal
from jax.typing import ArrayLike

from .. import api, api_linear, backends, plan
from .. import typing as t
from . import calls, checks, linear_calls

DIFFERENTIABLE = ("features", "classifier", "bias")


class LinearOptions(NamedTuple):
    """What the loss depends on beside arrays. Hashable."""

    ignore_index: int | None
    reduction: str
    label_smoothing: float
    z_loss: float
    softcap: float | None
    temperature: float
    empty: str
    max_workspace_bytes: int
    compute_dtype: str | None
    backend: str
    n_threads: int
    by_handler: bool


class Inputs(NamedTuple):
    """The arrays, checked; None for those that are not given."""

    features: jax.Array
    classifier: jax.Array
    labels: jax.Array
    bias: jax.Array | None
    class_weight: jax.Array | None
    sample_weight: jax.Array | None


def linear_cross_entropy(features: ArrayLike, classifier: ArrayLike, labels: ArrayLike, *, bias: ArrayLike | None = None,
                         class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
                         ignore_index: SupportsIndex | None = -100, reduction: t.Reduction = "mean",
                         label_smoothing: t.Number = 0.0, z_loss: t.Number = 0.0, softcap: t.Number | None = None,
                         temperature: t.Number = 1.0, empty: t.Empty = "nan",
                         max_workspace_bytes: SupportsIndex = plan.WORKSPACE_BYTES,
                         compute_dtype: t.ComputeDtype | None = None) -> jax.Array:
    """cross_entropy(features @ classifier.T + bias, labels) without the logits, which need N times V numbers.

    features (..., n_features), classifier (n_classes, n_features), bias (n_classes,); labels (...). Gradients are with
    respect to these three, and as many matrix products are spent on them as are asked for; there is no forward mode, and
    there are no second derivatives. Other arguments: fastsoftmax.linear_cross_entropy.
    """
    arrays = _checked(features, classifier, labels, bias, ignore_index, max_workspace_bytes, compute_dtype)
    real = _real(arrays)
    logits = jax.ShapeDtypeStruct((*arrays.labels.shape, arrays.classifier.shape[0]), real)
    weights = checks.weights(logits, class_weight, sample_weight, real)
    chosen = dict(ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss,
                  softcap=softcap, temperature=temperature, empty=empty)
    checks.options(logits, weights[0], **chosen)
    options = LinearOptions(None if ignore_index is None else int(ignore_index), reduction, float(label_smoothing),
                            float(z_loss), None if softcap is None else float(softcap), float(temperature), empty,
                            int(max_workspace_bytes), compute_dtype, backends.current(), api.get_num_threads(),
                            calls.handler() is not None)
    return _jitted(options, arrays._replace(class_weight=weights[0], sample_weight=weights[1]))


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


def _real(inputs: Inputs) -> Any:
    """The dtype of losses and weights."""
    return np.result_type(*(calls.real_dtype(a) for a in (inputs.features, inputs.classifier)))


def _call(options: LinearOptions, wrt: Sequence[str], inputs: Inputs, dlosses: jax.Array | None = None) -> Any:
    """[loss, gradients of those in `wrt`]."""
    lead = inputs.labels.shape if options.reduction == "none" else ()
    shapes = [jax.ShapeDtypeStruct(lead, _real(inputs))]
    shapes += [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (getattr(inputs, name) for name in wrt)]
    inputs = inputs._replace(features=calls.cpu_only_p.bind(inputs.features))
    arrays = {name: a for name, a in {**inputs._asdict(), "dlosses": dlosses}.items() if a is not None}
    keywords = options._asdict()
    by_handler = keywords.pop("by_handler")
    text = linear_calls.text_of(linear_calls.Call(keywords, tuple(arrays), tuple(wrt)))
    if by_handler:
        call = jax.ffi.ffi_call(calls.LINEAR_TARGET, shapes, vmap_method="sequential")
        return call(*arrays.values(), call=text)
    compute = functools.partial(_in_python, text, shapes)
    return jax.pure_callback(compute, shapes, *arrays.values(), vmap_method="sequential")


def _in_python(text: str, shapes: list[Any], *arguments: Any) -> list[Any]:
    results = [np.empty(shape.shape, shape.dtype) for shape in shapes]
    linear_calls.fill(text, [np.asarray(a) for a in arguments], results)
    return results


def _no_second(options: Any, wrt: Any, primals: Any, tangents: Any) -> Any:
    raise TypeError("fastsoftmax.jax.linear_cross_entropy has no second derivatives: for these, use "
                    "fastsoftmax.jax.cross_entropy(features @ classifier.T + bias, labels)")


_once = jax.custom_jvp(_call, nondiff_argnums=(0, 1))
_once.defjvp(_no_second)


def _loss(options: LinearOptions, inputs: Inputs) -> jax.Array:
    return _call(options, (), inputs)[0]


def _forward(options: LinearOptions, inputs: Any) -> Any:
    """The loss and, for the way back, its gradients, None where these wait for what comes from above, and the arrays."""
    values = Inputs(*(None if a is None else a.value for a in inputs))
    wrt = [name for name, a in inputs._asdict().items() if a is not None and a.perturbed and name != "labels"]
    for name in wrt:
        if name.endswith("weight"):
            raise checks.weight_error(name)
    if options.reduction == "none":
        return _once(options, (), values)[0], (dict.fromkeys(wrt), values)
    loss, *gradients = _once(options, tuple(wrt), values)
    return loss, (dict(zip(wrt, gradients, strict=True)), values)


def _back(options: LinearOptions, kept: Any, upstream: Any) -> tuple[Inputs]:
    gradients, values = kept
    if isinstance(upstream, SymbolicZero):
        gradients = {}
    elif options.reduction == "none" and gradients:
        gradients = dict(zip(gradients, _once(options, tuple(gradients), values, upstream)[1:], strict=True))
    else:
        gradients = {name: (g * upstream).astype(g.dtype) for name, g in gradients.items()}
    # a zero that is none: JAX before 0.10 wants the same tree whatever is asked for
    all_of = {name: gradients.get(name, zero_from_primal(a, symbolic_zeros=True))
              for name, a in values._asdict().items() if name in DIFFERENTIABLE and a is not None}
    return (Inputs(**{**dict.fromkeys(Inputs._fields), **all_of}),)


_linear = jax.custom_vjp(_loss, nondiff_argnums=(0,))
_linear.defvjp(_forward, _back, symbolic_zeros=True)
_jitted = jax.jit(_linear, static_argnums=0)
