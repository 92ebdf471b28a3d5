"""JAX: jit on the CPU, the logits donated where the gradient may take their place, each call waited for."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import threads
from .rivals import Contender

os.environ.setdefault("NPROC", str(threads.get_num_threads()))  # XLA sizes its pool of threads by this, once
import jax  # noqa: E402
from jax import numpy as jnp  # noqa: E402

try:
    from jax import enable_x64
except ImportError:  # JAX before 0.8
    from jax.experimental import enable_x64


@dataclass(frozen=True)
class _Arguments:
    x: Any
    labels: Any
    second: Any
    axis: int


def _wrap(inputs):
    with _precision(inputs):
        second = None if inputs.second is None else jnp.asarray(inputs.second)
        arrays = jax.block_until_ready((jnp.array(inputs.x), jnp.asarray(inputs.labels), second))
        return _Arguments(*arrays, inputs.axis)


def _precision(inputs):
    return enable_x64(inputs.case.dtype == "float64")


def _mean_loss(x, labels, axis):
    where = jnp.expand_dims(labels, axis)
    at_label = jnp.take_along_axis(x, where, axis)
    return (jax.nn.logsumexp(x, axis, keepdims=True) - at_label).mean()


def _mean_soft_loss(x, q, axis):
    return -(q * jax.nn.log_softmax(x, axis)).sum(axis).mean()


def _grad(p, dp, axis):
    return p * (dp - (p * dp).sum(axis, keepdims=True))


_jit = partial(jax.jit, static_argnames="axis")
_loss, _soft_loss = _jit(_mean_loss), _jit(_mean_soft_loss)
_gradient = _jit(jax.value_and_grad(_mean_loss))
_gradient_in_place = _jit(jax.value_and_grad(_mean_loss), donate_argnames="x")
_softmax, _log_softmax, _logsumexp = _jit(jax.nn.softmax), _jit(jax.nn.log_softmax), _jit(jax.nn.logsumexp)
_softmax_grad = _jit(_grad)


def _wait(*result):
    return jax.block_until_ready(result)


OPERATIONS = {
    "loss": lambda a: _wait(_loss(a.x, a.labels, axis=a.axis), None),
    "gradient-in-place": lambda a: _wait(*_gradient_in_place(a.x, a.labels, axis=a.axis)),
    "gradient": lambda a: _wait(*_gradient(a.x, a.labels, axis=a.axis)),
    "softmax": lambda a: _wait(None, _softmax(a.x, axis=a.axis)),
    "log-softmax": lambda a: _wait(None, _log_softmax(a.x, axis=a.axis)),
    "logsumexp": lambda a: _wait(_logsumexp(a.x, axis=a.axis), None),
    "soft-cross-entropy": lambda a: _wait(_soft_loss(a.x, a.second, axis=a.axis), None),
    "softmax-grad": lambda a: _wait(None, _softmax_grad(a.x, a.second, axis=a.axis)),
}


def load(_):
    """The contender."""
    return Contender(OPERATIONS, _wrap, np.asarray, _precision, consumes=True)
