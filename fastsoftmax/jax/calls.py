"""[5] How JAX reaches the kernels: an XLA FFI handler where the compiled ones are used, else a call back into Python.

Which backend and how many threads is settled where a function is traced, and stays with what jit has compiled.
"""

import functools
import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from .. import api, backends
from . import linear_calls

TARGET, LINEAR_TARGET = "fastsoftmax", "fastsoftmax_linear"


class Options(NamedTuple):
    """What a loss depends on beside arrays. Hashable: part of what jit looks compiled functions up by."""

    is_soft: bool
    reduction: str
    ignore_index: int | None
    label_smoothing: float
    z_loss: float
    softcap: float | None
    temperature: float
    empty: str
    in_place: bool
    backend: str
    n_threads: int


@functools.cache
def handler() -> Any:
    """The module of the compiled handlers, made known to XLA; None where it is not built."""
    try:
        _xla = importlib.import_module("fastsoftmax.backends._xla")
    except ImportError:
        return None
    _xla.compute_linear_by(linear_calls.fill, np.ndarray, jax.numpy.dtype)
    jax.ffi.register_ffi_target(TARGET, _xla.handler, platform="cpu")
    jax.ffi.register_ffi_target(LINEAR_TARGET, _xla.linear_handler, platform="cpu")
    return _xla


def backend_now() -> str:
    """Whose kernels a call that is traced here and now uses: "xla" for the handler, or a backend's name."""
    name: str = backends.current()
    return "xla" if name == "cython" and handler() is not None else name


def real_dtype(logits: jax.Array) -> Any:
    """The dtype of losses, weights and sums."""
    return np.dtype(np.float64 if logits.dtype == np.float64 else np.float32)


def softmax(kernel: str, temperature: float, backend: str, n_threads: int, logits: jax.Array) -> jax.Array:
    """softmax, log_softmax or logsumexp of rows, class axis last."""
    out = jax.ShapeDtypeStruct(logits.shape, logits.dtype)
    if kernel == "logsumexp":
        out = jax.ShapeDtypeStruct(logits.shape[:-1], real_dtype(logits))
    logits = cpu_only_p.bind(logits)
    if backend == "xla":
        call = jax.ffi.ffi_call(TARGET, out, vmap_method="broadcast_all")
        numbers = np.array([temperature, 0, 0, 0], np.float64)
        result: jax.Array = call(logits, numbers=numbers, whole=_whole(kernel, n_threads))
        return result

    def compute(logits: Any) -> Any:
        x = np.asarray(logits)
        with api.use_backend(backend), api.use_num_threads(n_threads):  # type: ignore[arg-type]
            if kernel == "logsumexp":
                return np.asarray(api.logsumexp(x if temperature == 1 else x / temperature), out.dtype)
            return getattr(api, kernel)(x, temperature=temperature)

    return jax.pure_callback(compute, out, logits, vmap_method="sequential")


def losses(options: Options, with_grad: bool, logits: jax.Array, target: jax.Array, class_weight: jax.Array | None,
           sample_weight: jax.Array | None) -> Any:
    """[loss], or [loss, dlogits], class axis last; labels or probabilities for targets; weights in real_dtype."""
    lead = logits.shape[:-1] if options.reduction == "none" else ()
    results = [jax.ShapeDtypeStruct(lead, real_dtype(logits)), jax.ShapeDtypeStruct(logits.shape, logits.dtype)]
    results = results[:1 + with_grad]
    arrays = [a for a in (cpu_only_p.bind(logits), target, class_weight, sample_weight) if a is not None]
    has = class_weight is not None, sample_weight is not None
    if options.backend == "xla":
        aliases = {0: 1} if with_grad and options.in_place else None
        call = jax.ffi.ffi_call(TARGET, results, vmap_method="broadcast_all", input_output_aliases=aliases)
        numbers = [options.temperature, options.softcap or 0.0, options.label_smoothing, options.z_loss]
        kernel = "soft_cross_entropy" if options.is_soft else "cross_entropy"
        whole = _whole(kernel, options.n_threads, options.ignore_index, *has, options.reduction == "mean",
                       options.empty == "zero")
        return call(*arrays, numbers=np.array(numbers, np.float64), whole=whole)
    compute = functools.partial(_losses_in_python, options, has, results)
    return jax.pure_callback(compute, results, *arrays, vmap_method="sequential")


def _whole(kernel: str, n_threads: int, ignore_index: int | None = None, *flags: bool) -> Any:
    """The integers that the handler reads, in the order of its WHOLE."""
    code = handler().KERNELS.index(kernel)
    never = np.iinfo(np.int64).min
    return np.array([code, n_threads, never if ignore_index is None else ignore_index, *(flags or (False,) * 4)], np.int64)


def _losses_in_python(options: Options, has: tuple[bool, bool], results: Sequence[Any], *arrays: Any) -> list[Any]:
    """What the handler does, by the public functions."""
    logits, target, *weights = map(np.asarray, arrays)
    keywords = options._asdict()
    for name in ("is_soft", "in_place", "backend", "n_threads"):
        del keywords[name]
    if options.is_soft:
        del keywords["ignore_index"]
    names = [name for name, is_there in zip(("class_weight", "sample_weight"), has, strict=True) if is_there]
    keywords |= dict(zip(names, weights, strict=True))
    function = ("soft_" if options.is_soft else "") + "cross_entropy" + ("_and_grad" if len(results) == 2 else "")
    with api.use_backend(options.backend), api.use_num_threads(options.n_threads):  # type: ignore[arg-type]
        found = getattr(api, function)(logits, target, **keywords)
    found = (found,) if len(results) == 1 else found[:2]
    return [np.asarray(a, r.dtype) for a, r in zip(found, results, strict=True)]


def _not_here(ctx: Any, *_: Any) -> Any:
    platforms = ctx.platforms or ctx.module_context.platforms
    raise NotImplementedError(f"fastsoftmax.jax computes on the CPU, but this is compiled for {', '.join(platforms)}: "
                              "move the arrays there (jax.device_put) or use jax.nn")


# Does nothing but say, where XLA would otherwise miss a handler, what is wrong with other devices.
cpu_only_p = Primitive("fastsoftmax_cpu_only")
cpu_only_p.def_impl(lambda x: x)
cpu_only_p.def_abstract_eval(lambda x: x)
batching.defvectorized(cpu_only_p)
mlir.register_lowering(cpu_only_p, _not_here)
mlir.register_lowering(cpu_only_p, lambda ctx, x: [x], platform="cpu")
