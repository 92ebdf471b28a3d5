"""[5] softmax, log_softmax and logsumexp, with their derivatives in terms of their own results."""

import functools
from typing import Any, SupportsIndex

import jax
from jax import numpy as jnp
from jax.typing import ArrayLike

from .. import api
from .. import typing as t
from . import calls, checks


def softmax(logits: ArrayLike, *, axis: SupportsIndex = -1, temperature: t.Number = 1.0) -> jax.Array:
    """exp(z - max z) / sum exp(z - max z) over `axis`, z = logits/temperature, in the dtype of the logits."""
    return _along("softmax", logits, axis, temperature)


def log_softmax(logits: ArrayLike, *, axis: SupportsIndex = -1, temperature: t.Number = 1.0) -> jax.Array:
    """(z - max z) - log1p(sum of the other exp(z - max z)) over `axis`: exact digits also where p -> 1."""
    return _along("log_softmax", logits, axis, temperature)


def logsumexp(logits: ArrayLike, *, axis: SupportsIndex = -1, keepdims: bool = False) -> jax.Array:
    """log(sum(exp(logits))) over `axis`, in the dtype of the logits; -inf for a row of -inf."""
    x = checks.logits_array(logits, axis)
    lse = _jitted("logsumexp", 1.0, calls.backend_now(), api.get_num_threads(), x).astype(x.dtype)
    return jnp.expand_dims(lse, axis) if keepdims else lse


def _along(kernel: str, logits: ArrayLike, axis: Any, temperature: t.Number) -> jax.Array:
    x = checks.logits_array(logits, axis)
    checks.temperature(temperature)
    return jnp.moveaxis(_jitted(kernel, float(temperature), calls.backend_now(), api.get_num_threads(), x), -1, axis)


_softmax = jax.custom_jvp(calls.softmax, nondiff_argnums=(0, 1, 2, 3))
_jitted = jax.jit(_softmax, static_argnums=(0, 1, 2, 3))


def _tangents(kernel: str, temperature: float, backend: str, n_threads: int, primals: Any, tangents: Any) -> Any:
    """With p = softmax(z): dp = p*(dz - sum p*dz), d log p = dz - sum p*dz, d lse = sum p*dz; rounded once, at the end."""
    (x,), (dx,) = primals, tangents
    result = functools.partial(_softmax, temperature=temperature, backend=backend, n_threads=n_threads)
    found = result(kernel, logits=x)
    real = calls.real_dtype(x)
    p = jnp.exp(found.astype(real)) if kernel == "log_softmax" else found.astype(real)
    if kernel == "logsumexp":
        p = result("softmax", logits=x).astype(real)
    dz = dx.astype(real) / temperature
    mean = jnp.sum(p * dz, axis=-1, keepdims=True)
    change = {"softmax": p * (dz - mean), "log_softmax": dz - mean, "logsumexp": mean[..., 0]}[kernel]
    return found, change.astype(found.dtype)


_softmax.defjvp(_tangents)
