"""A linear layer in JAX, for tests of fastsoftmax.jax.linear_cross_entropy."""

import contextlib

import jax
import numpy as np
from jax import numpy as jnp

import fastsoftmax.jax as fj

ALL = dict(label_smoothing=0.1, z_loss=0.01, softcap=5.0, temperature=0.7)
NAMES = ("features", "classifier", "bias")


@contextlib.contextmanager
def x64(on=True):
    """As jax.enable_x64, but on XLA's threads too, where callbacks run."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", on)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def layer(dtype=float, classifier_dtype=None):
    """(features, classifier, bias), labels."""
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=shape), dtype) for shape in ((2, 3, 8), (30, 8), (30,))]
    arrays[1] = arrays[1].astype(classifier_dtype or dtype)
    return tuple(arrays), jnp.asarray(rng.integers(0, 30, (2, 3))).at[0, 1].set(-100)


def some_weights():
    sample_weight = np.linspace(0, 1, 6, dtype="f").reshape(2, 3)
    return dict(class_weight=np.linspace(0.5, 2, 30, dtype="f"), sample_weight=sample_weight)


def of_logits(features, classifier, labels, bias, **options):
    """The same by way of all logits."""
    return fj.cross_entropy(features @ classifier.T + bias, labels, **options)


def close(got, right, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(np.asarray(got, np.float64), np.asarray(right, np.float64), rtol=rtol, atol=atol)
