"""[5] linear_cross_entropy as JAX sees it: a call, and its derivatives. Python plans the blocks, so XLA's handler goes into
Python, over XLA's own memory.

For a loss that is one number, the gradients come with it. For one a row they wait for what comes from above: the tangent of
the losses is a primitive of its own, whose transpose computes them. No N x V array in either.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from . import calls, checks, linear_calls

# for each vmap, the outermost first: which arrays have an axis of it, their first
Levels = tuple[tuple[bool, ...], ...]


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


def real_of(inputs: Inputs) -> Any:
    """The dtype of losses and weights."""
    return np.result_type(*(calls.real_dtype(a) for a in (inputs.features, inputs.classifier)))


def call(options: LinearOptions, wrt: Sequence[str], inputs: Inputs, dlosses: jax.Array | None = None) -> Any:
    """[loss, gradients of those in `wrt`]."""
    lead = inputs.labels.shape if options.reduction == "none" else ()
    shapes = [jax.ShapeDtypeStruct(lead, real_of(inputs))]
    shapes += [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (getattr(inputs, name) for name in wrt)]
    inputs = inputs._replace(features=calls.cpu_only_p.bind(inputs.features))
    arrays = {name: a for name, a in {**inputs._asdict(), "dlosses": dlosses}.items() if a is not None}
    keywords = options._asdict()
    by_handler = keywords.pop("by_handler")
    text = linear_calls.text_of(linear_calls.Call(keywords, tuple(arrays), tuple(wrt)))
    if by_handler:
        handler = jax.ffi.ffi_call(calls.LINEAR_TARGET, shapes, vmap_method="sequential")
        return handler(*arrays.values(), call=text)
    compute = functools.partial(_in_python, text, shapes)
    return jax.pure_callback(compute, shapes, *arrays.values(), vmap_method="sequential")


def _in_python(text: str, shapes: list[Any], *arguments: Any) -> list[Any]:
    results = [np.empty(shape.shape, shape.dtype) for shape in shapes]
    linear_calls.fill(text, [np.asarray(a) for a in arguments], results)
    return results


def _no_second(*_: Any, **__: Any) -> Any:
    raise TypeError("fastsoftmax.jax.linear_cross_entropy has no second derivatives: for these, use "
                    "fastsoftmax.jax.cross_entropy(features @ classifier.T + bias, labels)")


_once = jax.custom_jvp(call, nondiff_argnums=(0, 1))
_once.defjvp(_no_second)


def _loss(options: LinearOptions, inputs: Inputs) -> jax.Array:
    loss: jax.Array = call(options, (), inputs)[0]
    return loss


def _tangents(options: LinearOptions, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """The loss and its tangent, computed from the gradients with respect to what moves, and from no others."""
    inputs, moving = primals[0], {name: t for name, t in tangents[0]._asdict().items() if not _is_zero(t)}
    for name in moving:
        if name.endswith("weight"):
            raise checks.weight_error(name)
    if options.reduction == "none" and moving:
        leaves, tree = jax.tree.flatten((inputs, moving))
        return _once(options, (), inputs)[0], tangents_p.bind(*leaves, tree=tree, options=options, mapped=())
    loss, *gradients = _once(options, tuple(moving), inputs)
    tangent = jnp.zeros_like(loss)
    for gradient, t in zip(gradients, moving.values(), strict=True):
        tangent += jnp.sum(gradient.astype(loss.dtype) * t.astype(loss.dtype))
    return loss, tangent


def _is_zero(tangent: Any) -> bool:
    return tangent is None or isinstance(tangent, SymbolicZero) or tangent.dtype == jax.dtypes.float0


def _rows_tangents(*leaves: Any, tree: Any, options: LinearOptions, mapped: Levels) -> jax.Array:
    """sum_k dlogits[k]*dz[k], one number a row, where the tangents of the logits are dz = dx.w + x.dw + db.

    As dx.(dlogits.w) + x.(dlogits.dw) + dlogits.db: the features' gradient has all three, where the tangents dw and db are
    further columns of the classifier, which further features of 0 keep out of the logits.
    """
    if mapped:
        inner = functools.partial(_rows_tangents, tree=tree, options=options, mapped=mapped[1:])
        return jax.lax.map(lambda some: inner(*_put(leaves, mapped[0], some)), _get(leaves, mapped[0]))
    inputs, moving = jax.tree.unflatten(tree, leaves)
    real = real_of(inputs)
    x = inputs.features.astype(real)
    columns, factors = [inputs.classifier], [moving.get("features", jnp.zeros_like(x))]
    if "classifier" in moving:
        columns, factors = [*columns, moving["classifier"]], [*factors, x]
    if "bias" in moving:
        columns, factors = [*columns, moving["bias"][:, None]], [*factors, jnp.ones_like(x[..., :1])]
    wide, factor = (jnp.concatenate([a.astype(real) for a in some], -1) for some in (columns, factors))
    x = jnp.concatenate([x, jnp.zeros((*x.shape[:-1], wide.shape[1] - x.shape[-1]), real)], -1)
    ones = jnp.ones(inputs.labels.shape, real)
    _, gradient = _once(options, ("features",), inputs._replace(features=x, classifier=wide), ones)
    return jnp.sum(gradient * factor, -1)


def _transpose(upstream: Any, *leaves: Any, tree: Any, options: LinearOptions, mapped: Levels) -> list[Any]:
    """What the losses' upstream gradient makes of the gradients that are wanted."""
    wanted = [ad.is_undefined_primal(a) for a in leaves]
    if isinstance(upstream, ad.Zero) or not any(wanted):
        return [None] * len(leaves)
    shapes = [jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in _get(leaves, wanted)]
    gradients = _gradients(upstream, _put(leaves, wanted, shapes), tree, options, mapped)
    return _put([None] * len(leaves), wanted, gradients)


def _gradients(upstream: Any, leaves: list[Any], tree: Any, options: LinearOptions, mapped: Levels) -> list[Any]:
    """The gradients of those leaves of which there is a shape only; summed over calls that share them."""
    wanted = [isinstance(a, jax.ShapeDtypeStruct) for a in leaves]
    if not mapped:
        inputs, moving = jax.tree.unflatten(tree, leaves)
        names = tuple(name for name in sorted(moving) if isinstance(moving[name], jax.ShapeDtypeStruct))
        found: list[Any] = _once(options, names, inputs, upstream)[1:]
        return found
    given = [each and not want for each, want in zip(mapped[0], wanted, strict=True)]
    is_own = _get(mapped[0], wanted)
    is_shared = [not own for own in is_own]
    each = [jax.ShapeDtypeStruct(a.shape[own:], a.dtype) for a, own in zip(_get(leaves, wanted), is_own, strict=True)]
    inside = _put(leaves, wanted, each)

    def step(sums: list[Any], row: Any) -> tuple[list[Any], list[Any]]:
        found = _gradients(row[0], _put(inside, given, row[1]), tree, options, mapped[1:])
        return [s + g for s, g in zip(sums, _get(found, is_shared), strict=True)], _get(found, is_own)

    start = [jnp.zeros(a.shape, a.dtype) for a in _get(each, is_shared)]
    sums, own = jax.lax.scan(step, start, (upstream, _get(leaves, given)))
    return _put(_put([None] * len(each), is_shared, sums), is_own, own)


def _get(leaves: Any, chosen: Any) -> list[Any]:
    return [a for a, is_chosen in zip(leaves, chosen, strict=True) if is_chosen]


def _put(leaves: Any, chosen: Any, others: Any) -> list[Any]:
    """The leaves with others for those that are chosen."""
    rest = iter(others)
    return [next(rest) if is_chosen else a for a, is_chosen in zip(leaves, chosen, strict=True)]


def _shape(*leaves: Any, tree: Any, options: LinearOptions, mapped: Levels) -> Any:
    shapes, sizes = [a.shape for a in leaves], []
    for level in mapped:
        sizes.append(_get(shapes, level)[0][0])
        shapes = [shape[each:] for shape, each in zip(shapes, level, strict=True)]
    inputs, _ = jax.tree.unflatten(tree, leaves)
    rows, _ = jax.tree.unflatten(tree, shapes)
    return jax.core.ShapedArray((*sizes, *rows.labels), real_of(inputs))


def _batch(leaves: Any, axes: Any, *, mapped: Levels, **params: Any) -> tuple[Any, int]:
    """vmap, one call after the other, which is one more level of `mapped`."""
    moved = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(leaves, axes, strict=True)]
    return tangents_p.bind(*moved, mapped=(tuple(axis is not None for axis in axes), *mapped), **params), 0


tangents_p = Primitive("fastsoftmax_linear_tangents")
tangents_p.def_impl(_rows_tangents)
tangents_p.def_abstract_eval(_shape)
mlir.register_lowering(tangents_p, mlir.lower_fun(_rows_tangents, multiple_results=False))
batching.primitive_batchers[tangents_p] = _batch
ad.primitive_transposes[tangents_p] = _transpose
ad.primitive_jvps[tangents_p] = _no_second

_linear = jax.custom_jvp(_loss, nondiff_argnums=(0,))
_linear.defjvp(_tangents, symbolic_zeros=True)
jitted = jax.jit(_linear, static_argnums=0)
