"""[5] The losses in jax.numpy, from which JAX derives what the kernels do not compute: second derivatives.

The formulas are those of reference.py, several arrays of the size of the logits at a time.
"""

import jax
from jax import numpy as jnp

from .calls import Options, real_dtype


def loss(options: Options, logits: jax.Array, target: jax.Array, class_weight: jax.Array | None,
         sample_weight: jax.Array | None) -> jax.Array:
    """The loss of calls.losses, differentiable as often as you like."""
    real = real_dtype(logits)
    weight = jnp.ones(logits.shape[:-1], real) if sample_weight is None else sample_weight
    used = weight != 0 if options.is_soft else (weight != 0) & _counts(options, target)
    z = _transform(options, jnp.where(used[..., None], logits.astype(real), 0))
    classes = jnp.ones(logits.shape[-1], real) if class_weight is None else class_weight
    lse = jax.nn.logsumexp(z, axis=-1)
    smooth = options.label_smoothing / logits.shape[-1]
    if options.is_soft:
        losses = _below(lse, z, classes * ((1 - options.label_smoothing) * target.astype(real) + smooth))
        total = weight.sum()
    else:
        at = jnp.where(used, target, 0).astype(jnp.int32)
        losses = (1 - options.label_smoothing) * classes[at] * (lse - jnp.take_along_axis(z, at[..., None], -1)[..., 0])
        losses = losses + _below(lse, z, jnp.broadcast_to(smooth * classes, z.shape)) if smooth else losses
        total = jnp.where(used, weight * classes[at], 0).sum()
    losses = jnp.where(used, weight * (losses + options.z_loss * lse**2), 0)
    if options.reduction == "none":
        return losses
    norm = jnp.where(total == 0, 0.0 if options.empty == "zero" else jnp.nan, 1 / total)
    return losses.sum() * (norm if options.reduction == "mean" else 1)


def loss_and_grad(options: Options, logits: jax.Array, target: jax.Array, class_weight: jax.Array | None,
                  sample_weight: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """(loss, dlogits) of calls.losses."""
    losses, pull = jax.vjp(lambda x: loss(options, x, target, class_weight, sample_weight), logits)
    return losses, pull(jnp.ones_like(losses))[0]


def _counts(options: Options, labels: jax.Array) -> jax.Array:
    """Whether the label is not ignore_index; that may be none of the labels' dtype, whose -100 is 156, say."""
    info, ignored = jnp.iinfo(labels.dtype), options.ignore_index
    if ignored is None or not info.min <= ignored <= info.max:
        return jnp.ones(labels.shape, bool)
    return labels != ignored


def _transform(options: Options, logits: jax.Array) -> jax.Array:
    u = logits / options.temperature
    return u if options.softcap is None else options.softcap * jnp.tanh(u / options.softcap)


def _below(lse: jax.Array, z: jax.Array, t: jax.Array) -> jax.Array:
    """sum_k t[k]*(lse - z[k]), 0 where t is 0, whatever z is there."""
    gap = lse[..., None] - z
    return jnp.sum(jnp.where(t == 0, 0, t * jnp.where((t == 0) & jnp.isinf(gap), 0, gap)), axis=-1)
