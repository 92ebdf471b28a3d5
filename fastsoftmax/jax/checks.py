"""[5] Arguments as they are traced: shapes, dtypes and options, with the errors of the public functions."""

from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from .. import api
from ..check.arrays import array, class_axis_last


def logits_array(value: Any, axis: Any, name: str = "logits") -> jax.Array:
    """Floats with the class axis last."""
    a = as_array(value, name)
    python_values(axis=axis)
    class_axis_last(array(np.broadcast_to(np.zeros((), a.dtype), a.shape), name), axis, name)  # raises for dtype and axis
    if jnp.issubdtype(a.dtype, jnp.integer):
        a = a.astype(jnp.result_type(float))
    shown, a = a.shape, jnp.moveaxis(a, axis, -1)
    if a.shape[-1] == 0 and np.prod(a.shape[:-1]) > 0:
        raise ValueError(f"{name} has zero classes in shape {shown}: there is nothing to normalise")
    return a


def as_array(value: Any, name: str) -> jax.Array:
    """jnp.asarray that says which argument it could not read."""
    if value is None:
        raise TypeError(f"{name} must be an array, not None")
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be read as an array: {error}") from None


def label_array(value: Any, lead: tuple[int, ...]) -> jax.Array:
    """One label a row, of any integer dtype; none is narrowed to another on the way."""
    if isinstance(value, np.ndarray | np.integer | int | list | tuple):
        given = np.asarray(value)
        if given.dtype.kind in "iu" and given.size and given.dtype.itemsize > jnp.result_type(int).itemsize:
            _refuse_wide(given)
    a = as_array(value, "labels")
    if not jnp.issubdtype(a.dtype, jnp.integer):
        raise TypeError(f"labels has dtype {a.dtype}; class indices of an integer dtype are required")
    if a.shape != lead:
        raise ValueError(f"labels has shape {a.shape}, but must have {lead}, one label a row")
    if jnp.iinfo(a.dtype).bits < 8:  # JAX's int4 and the like
        a = a.astype(np.int8)
    return a


def _refuse_wide(labels: Any) -> None:
    """JAX without x64 would make 3 of 2^32 + 3."""
    info = np.iinfo(np.int32)
    wrong = (labels < info.min) | (labels > info.max)
    if wrong.any():
        at = np.unravel_index(wrong.argmax(), labels.shape)
        raise api.LabelError(f"labels[{', '.join(str(int(i)) for i in at)}] is {labels[at]}, more than int32 holds, "
                             "which JAX makes of it without jax_enable_x64")


def weights(logits: jax.Array, class_weight: Any, sample_weight: Any, real: Any) -> tuple[Any, Any]:
    """(class_weight, sample_weight) in the dtype of the losses, the latter one a row; None where there are none."""
    if class_weight is not None:
        class_weight = as_array(class_weight, "class_weight").astype(real)
    if sample_weight is not None:
        sample_weight, lead = as_array(sample_weight, "sample_weight").astype(real), logits.shape[:-1]
        if sample_weight.shape not in ((), lead):
            raise ValueError(f"sample_weight has shape {sample_weight.shape}, but must be a scalar or have {lead}, one a "
                             "row")
        sample_weight = jnp.broadcast_to(sample_weight, lead)
    return class_weight, sample_weight


def options(logits: jax.Array, class_weight: Any, **keywords: Any) -> None:
    """Raise what cross_entropy would for these options: it is called with no rows."""
    python_values(**keywords)
    nothing = np.empty((0, logits.shape[-1]), logits.dtype)
    if class_weight is not None:
        class_weight = np.broadcast_to(np.zeros((), class_weight.dtype), class_weight.shape)
    api.cross_entropy(nothing, np.empty(0, np.int64), class_weight=class_weight, **keywords)


def python_values(**options: Any) -> None:
    """Raise for the first option that is traced."""
    for name, value in options.items():
        if isinstance(value, jax.core.Tracer):
            instead = ": divide the logits by it yourself" if name == "temperature" else ""
            raise TypeError(f"{name} is traced by JAX, but options are Python values, part of what is compiled{instead}")


def temperature(value: Any) -> None:
    """Raise what softmax would for this temperature."""
    python_values(temperature=value)
    api.softmax(np.zeros(1), temperature=value)


def weight_error(name: str) -> TypeError:
    """The exception for derivatives with respect to class_weight or sample_weight."""
    instead = ', or use reduction="none" and weigh the losses yourself' if name == "sample_weight" else ""
    return TypeError(f"fastsoftmax.jax does not differentiate with respect to {name}: wrap it in "
                     f"jax.lax.stop_gradient{instead}")
