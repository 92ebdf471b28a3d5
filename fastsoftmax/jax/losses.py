"""[5] cross_entropy and soft_cross_entropy: what jax.jvp, jax.grad and jax.vmap make of calls.losses."""

from typing import Any, SupportsIndex

import jax
from jax import numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from .. import api
from .. import typing as t
from . import calls, checks, formulas
from .calls import Options


def cross_entropy(logits: ArrayLike, labels: ArrayLike, *, class_weight: ArrayLike | None = None,
                  sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                  reduction: t.Reduction = "mean", label_smoothing: t.Number = 0.0, z_loss: t.Number = 0.0,
                  softcap: t.Number | None = None, temperature: t.Number = 1.0, axis: SupportsIndex = -1,
                  empty: t.Empty = "nan", in_place: bool = False) -> jax.Array:
    """-log softmax(logits)[labels], reduced, as fastsoftmax.cross_entropy has it.

    logits        (..., n_classes) floats          labels        (...) class indices, any integer dtype
    class_weight  (n_classes,)                     sample_weight (...) or a scalar; a row of weight 0 is inert
    ignore_index  label of rows that do not count, or None
    reduction     "mean": over the weights of the rows that count; "sum"; "none": (...)
    z_loss        adds z_loss*logsumexp^2          softcap       z = softcap*tanh(logits/temperature/softcap)
    empty         what the mean is where the weights add up to 0: "nan" or "zero"
    in_place      let the gradient take the memory of the logits: for logits that are computed under the same jit, or
                  donated to it, and not used again; others are copied first, which costs time

    Losses are float32, or float64 where the logits are. Arrays may be traced, options may not. Derivatives, of any order,
    are with respect to the logits alone. A label outside [0, n_classes) raises when the computation meets it: a
    jax.errors.JaxRuntimeError or a ValueError, as JAX has it, that names it.
    """
    x = checks.logits_array(logits, axis)
    y = checks.label_array(labels, x.shape[:-1])
    chosen: dict[str, Any] = dict(ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing,
                                  z_loss=z_loss, softcap=softcap, temperature=temperature, empty=empty)
    weights = checks.weights(x, class_weight, sample_weight, calls.real_dtype(x))
    checks.options(x, weights[0], **chosen)
    return _jitted(_options(False, in_place, **chosen), x, y, *weights)


def soft_cross_entropy(logits: ArrayLike, target_probs: ArrayLike, *, class_weight: ArrayLike | None = None,
                       sample_weight: ArrayLike | None = None, reduction: t.Reduction = "mean",
                       label_smoothing: t.Number = 0.0, z_loss: t.Number = 0.0, softcap: t.Number | None = None,
                       temperature: t.Number = 1.0, axis: SupportsIndex = -1, empty: t.Empty = "nan",
                       in_place: bool = False) -> jax.Array:
    """-sum_k w[k]*q[k]*log softmax(logits)[k] for dense targets q, which need not sum to 1.

    `mean` divides by the number of rows, or by the sum of sample_weight. 0*log 0 = 0. Derivatives are with respect to
    logits and target_probs; the latter's, and all second ones, are computed by jax.numpy.
    """
    x, q = checks.as_array(logits, "logits"), checks.as_array(target_probs, "target_probs")
    if q.shape != x.shape:
        raise ValueError(f"target_probs has shape {q.shape}, but must have that of logits, {x.shape}")
    x, q = checks.logits_array(x, axis), checks.logits_array(q, axis, "target_probs")
    together = jnp.promote_types(x.dtype, q.dtype)
    x, q = x.astype(together), q.astype(together)
    chosen: dict[str, Any] = dict(reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                                  temperature=temperature, empty=empty)
    weights = checks.weights(x, class_weight, sample_weight, calls.real_dtype(x))
    checks.options(x, weights[0], **chosen)
    return _jitted(_options(True, in_place, ignore_index=None, **chosen), x, q, *weights)


def softmax_cross_entropy_with_integer_labels(logits: ArrayLike, labels: ArrayLike, axis: SupportsIndex = -1,
                                              where: ArrayLike | None = None) -> jax.Array:
    """optax's function of this name: one loss a row, without options; where: (..., n_classes), which classes there are."""
    if where is not None:
        logits = jnp.where(where, logits, -jnp.inf)
    return cross_entropy(logits, labels, axis=axis, ignore_index=None, reduction="none")


def _options(is_soft: bool, in_place: bool, *, ignore_index: Any, reduction: str, label_smoothing: Any, z_loss: Any,
             softcap: Any, temperature: Any, empty: str) -> Options:
    """The options of a call made here and now, which were checked."""
    return Options(is_soft, reduction, None if ignore_index is None else int(ignore_index), float(label_smoothing),
                   float(z_loss), None if softcap is None else float(softcap), float(temperature), empty, bool(in_place),
                   calls.backend_now(), api.get_num_threads())


def _losses(options: Options, *arrays: Any) -> jax.Array:
    return calls.losses(options, False, *arrays)[0]


def _losses_and_grad(options: Options, *arrays: Any) -> tuple[jax.Array, ...]:
    return tuple(calls.losses(options, True, *arrays))


_loss = jax.custom_jvp(_losses, nondiff_argnums=(0,))
_loss_and_grad = jax.custom_jvp(_losses_and_grad, nondiff_argnums=(0,))
_jitted = jax.jit(_loss, static_argnums=0)


def _tangents_of_loss(options: Options, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """d loss = sum dlogits*d logits, where dlogits come with the loss: the transpose, gradients, has them at hand."""
    logits, target, *weights = primals
    _refuse_weights(tangents)
    dx, dq = tangents[:2]
    if _is_zero(dx):
        loss = _loss(options, *primals)
        tangent = jnp.zeros_like(loss)
    else:
        loss, dlogits = _loss_and_grad(options, *primals)
        axes = -1 if options.reduction == "none" else None
        tangent = jnp.sum(dlogits.astype(loss.dtype) * dx.astype(loss.dtype), axes)
    if not _is_zero(dq):
        tangent += jax.jvp(lambda q: formulas.loss(options, logits, q, *weights), (target,), (dq,))[1]
    return loss, tangent


def _tangents_of_grad(options: Options, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Second derivatives, and with those of the formulas any."""
    _refuse_weights(tangents)
    places = [i for i in range(2) if not _is_zero(tangents[i])]

    def formula(*moving: jax.Array) -> tuple[jax.Array, jax.Array]:
        arrays = list(primals)
        for i, a in zip(places, moving, strict=True):
            arrays[i] = a
        return formulas.loss_and_grad(options, *arrays)

    _, found = jax.jvp(formula, tuple(primals[i] for i in places), tuple(tangents[i] for i in places))
    return _loss_and_grad(options, *primals), found


def _is_zero(tangent: Any) -> bool:
    return tangent is None or isinstance(tangent, SymbolicZero) or tangent.dtype == jax.dtypes.float0


def _refuse_weights(tangents: Any) -> None:
    for name, tangent in zip(("class_weight", "sample_weight"), tangents[2:], strict=True):
        if not _is_zero(tangent):
            raise checks.weight_error(name)


_loss.defjvp(_tangents_of_loss, symbolic_zeros=True)
_loss_and_grad.defjvp(_tangents_of_grad, symbolic_zeros=True)
