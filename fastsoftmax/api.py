"""[4] The public functions: check -> plan -> run -> wrap, nothing more.

Logits have any number of leading axes, (..., n_classes); the class axis is the last unless `axis` says otherwise.
Losses and log-sum-exps come back in float64, arrays over the classes in the dtype of the logits (integers are
taken as float64). Formulas: reference.py; errors: check.py.
"""

from __future__ import annotations  # help() then shows names, not what they stand for

import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, Literal, NamedTuple, SupportsIndex, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import backends, check, threads
from . import typing as t
from .backends import current
from .check import LabelError as LabelError
from .check import Problem
from .contract import no_short_cut
from .foreign import any_array
from .run import execute
from .typing import FloatT, ForeignT, Labels, LossT, Number, Reduced, Rows, ScalarT

quiet = np.errstate(all="ignore")  # NaN and infinities are answers: no warning, whatever np.seterr says


class CrossEntropyGrad(NamedTuple, Generic[LossT, ScalarT]):
    """loss: float64, a scalar or (...). dlogits: as the logits. lse: (...) float64, 0 for ignored rows."""

    loss: LossT
    dlogits: NDArray[ScalarT]
    lse: Rows[np.float64]


def _short(kernel: str) -> Callable[[Callable[..., Any]], Any]:
    """Offer each call to the backend's short cut, which takes what is small and plain, and go the long way otherwise."""

    def decorate(function: Callable[..., Any]) -> Any:
        defaults = getattr(function, "__kwdefaults__", None) or {}

        @functools.wraps(function)
        def short_or_long(*arguments: Any, **options: Any) -> Any:
            short_cut = getattr(backends.load(current()), "short_cut", no_short_cut)
            result = short_cut(kernel, defaults, arguments, options, threads.get_num_threads)
            if result is None:
                return the_long_way(*arguments, **options)
            if type(result) is tuple:
                return CrossEntropyGrad(*result)
            if type(result) is int:  # the label was right when it was checked: another thread has changed it since
                logits, labels = arguments
                raise check.label_error(labels.reshape(-1), result, labels.shape, logits.shape[-1],
                                        options.get("ignore_index", defaults["ignore_index"]))
            return result

        the_long_way = any_array(quiet(function), retry=short_or_long)
        return short_or_long

    return decorate


@overload
def softmax(logits: ForeignT, *, axis: SupportsIndex = -1, temperature: Number = 1.0,
            out: ForeignT | None = None) -> ForeignT: ...
@overload
def softmax(logits: NDArray[FloatT], **options: Unpack[t.SoftmaxOptions]) -> NDArray[FloatT]: ...
@overload
def softmax(logits: ArrayLike, **options: Unpack[t.SoftmaxOptions]) -> NDArray[Any]: ...
@_short("softmax_rows")
def softmax(logits: ArrayLike, *, axis: SupportsIndex = -1, temperature: Number = 1.0,
            out: NDArray[Any] | None = None) -> NDArray[Any]:
    """exp(z - max z) / sum exp(z - max z) over `axis`, z = logits/temperature.

    `out` may be an array of the same shape and dtype, also `logits` itself (in place).
    Blanchard, Higham and Higham 2021, doi 10.1093/imanum/draa038, algorithm 3.2 with division.
    """
    return _out(check.softmax("softmax_rows", logits, axis, temperature, out))


@overload
def log_softmax(logits: ForeignT, *, axis: SupportsIndex = -1, temperature: Number = 1.0,
                out: ForeignT | None = None) -> ForeignT: ...
@overload
def log_softmax(logits: NDArray[FloatT], **options: Unpack[t.SoftmaxOptions]) -> NDArray[FloatT]: ...
@overload
def log_softmax(logits: ArrayLike, **options: Unpack[t.SoftmaxOptions]) -> NDArray[Any]: ...
@_short("log_softmax_rows")
def log_softmax(logits: ArrayLike, *, axis: SupportsIndex = -1, temperature: Number = 1.0,
                out: NDArray[Any] | None = None) -> NDArray[Any]:
    """(z - max z) - log1p(sum of the other exp(z - max z)) over `axis`: exact digits also where p -> 1."""
    return _out(check.softmax("log_softmax_rows", logits, axis, temperature, out))


@overload
def logsumexp(logits: ForeignT, *, axis: SupportsIndex = -1, keepdims: bool = False) -> ForeignT: ...
@overload
def logsumexp(logits: NDArray[FloatT], *, axis: SupportsIndex = -1, keepdims: bool = False) -> Rows[FloatT]: ...
@overload
def logsumexp(logits: ArrayLike, *, axis: SupportsIndex = -1, keepdims: bool = False) -> Rows[Any]: ...
@_short("lse_rows")
def logsumexp(logits: ArrayLike, *, axis: SupportsIndex = -1, keepdims: bool = False) -> Rows[Any]:
    """log(sum(exp(logits))) over `axis`, in the dtype of the logits; -inf for a row of -inf."""
    problem = check.softmax("lse_rows", logits, axis, 1.0, None)
    dtype = problem.first.dtype if problem.first.dtype.kind not in "iu" else np.dtype(np.float64)
    lse = execute(problem).lse.reshape(problem.lead).astype(dtype.newbyteorder("="))
    return np.expand_dims(lse, axis) if keepdims else lse[()]


@overload
def softmax_grad(probs: ForeignT, dprobs: ArrayLike, *, axis: SupportsIndex = -1,
                 out: ForeignT | None = None) -> ForeignT: ...
@overload
def softmax_grad(probs: NDArray[FloatT], dprobs: NDArray[FloatT],
                 **options: Unpack[t.PairOptions]) -> NDArray[FloatT]: ...
@overload
def softmax_grad(probs: ArrayLike, dprobs: ArrayLike, **options: Unpack[t.PairOptions]) -> NDArray[Any]: ...
@any_array
@quiet
def softmax_grad(probs: ArrayLike, dprobs: ArrayLike, *, axis: SupportsIndex = -1,
                 out: NDArray[Any] | None = None) -> NDArray[Any]:
    """probs*(dprobs - sum(probs*dprobs)): the gradient through softmax, from its own output."""
    return _out(check.pair("softmax_grad_rows", probs, dprobs, axis, out, ("probs", "dprobs")))


@overload
def log_softmax_grad(log_probs: ForeignT, dlog_probs: ArrayLike, *, axis: SupportsIndex = -1,
                     out: ForeignT | None = None) -> ForeignT: ...
@overload
def log_softmax_grad(log_probs: NDArray[FloatT], dlog_probs: NDArray[FloatT],
                     **options: Unpack[t.PairOptions]) -> NDArray[FloatT]: ...
@overload
def log_softmax_grad(log_probs: ArrayLike, dlog_probs: ArrayLike, **options: Unpack[t.PairOptions]) -> NDArray[Any]: ...
@any_array
@quiet
def log_softmax_grad(log_probs: ArrayLike, dlog_probs: ArrayLike, *, axis: SupportsIndex = -1,
                     out: NDArray[Any] | None = None) -> NDArray[Any]:
    """dlog_probs - exp(log_probs)*sum(dlog_probs): the gradient through log_softmax, from its own output."""
    names = ("log_probs", "dlog_probs")
    return _out(check.pair("log_softmax_grad_rows", log_probs, dlog_probs, axis, out, names))


@overload
def cross_entropy(logits: ForeignT, labels: Labels, *, reduction: t.Reduction = "mean",
                  **options: Unpack[t.Options]) -> ForeignT: ...
@overload
def cross_entropy(logits: ArrayLike, labels: Labels, *, reduction: Reduced = "mean",
                  **options: Unpack[t.Options]) -> np.float64: ...
@overload
def cross_entropy(logits: ArrayLike, labels: Labels, *, reduction: Literal["none"],
                  **options: Unpack[t.Options]) -> Rows[np.float64]: ...
@_short("cross_entropy_rows")
def cross_entropy(logits: ArrayLike, labels: Labels, *, class_weight: ArrayLike | None = None,
                  sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                  reduction: t.Reduction = "mean", label_smoothing: Number = 0.0, z_loss: Number = 0.0,
                  softcap: Number | None = None, temperature: Number = 1.0, axis: SupportsIndex = -1,
                  empty: t.Empty = "nan") -> Rows[np.float64]:
    """-log softmax(logits)[labels], reduced: torch's meaning of weights, smoothing, ignore_index and mean.

    logits        (..., n_classes) floats          labels        (...) class indices, any integer dtype
    class_weight  (n_classes,)                     sample_weight (...) or a scalar; a row of weight 0 is inert
                  weights may be negative; NaN and infinities count as IEEE arithmetic has it, where they are used
    ignore_index  label of rows that do not count, or None
    reduction     "mean": over the weights of the rows that count; "sum"; "none": (...) float64
    z_loss        adds z_loss*logsumexp^2          softcap       z = softcap*tanh(logits/temperature/softcap),
                                                   which makes +-inf +-softcap: a -inf is no mask there
    empty         what the mean is where the weights add up to 0: "nan" as in torch, or "zero"

    Raises LabelError (a ValueError and IndexError) for a label outside [0, n_classes).
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index,
                   reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                   temperature=temperature, axis=axis, empty=empty)
    problem = check.cross_entropy(logits, labels, None, options)
    return reduced(problem, execute(problem).losses)


@overload
def cross_entropy_and_grad(logits: ForeignT, labels: Labels, *, reduction: t.Reduction = "mean",
                           dlosses: ArrayLike | None = None, out: ForeignT | None = None,
                           **options: Unpack[t.Options]) -> t.ForeignGrad[ForeignT]: ...
@overload
def cross_entropy_and_grad(logits: NDArray[FloatT], labels: Labels, *, reduction: Reduced = "mean",
                           **options: Unpack[t.GradOptions]) -> CrossEntropyGrad[np.float64, FloatT]: ...
@overload
def cross_entropy_and_grad(logits: NDArray[FloatT], labels: Labels, *, reduction: Literal["none"],
                           **options: Unpack[t.GradOptions]) -> CrossEntropyGrad[Rows[np.float64], FloatT]: ...
@overload
def cross_entropy_and_grad(logits: ArrayLike, labels: Labels, *, reduction: Reduced = "mean",
                           **options: Unpack[t.GradOptions]) -> CrossEntropyGrad[np.float64, Any]: ...
@overload
def cross_entropy_and_grad(logits: ArrayLike, labels: Labels, *, reduction: Literal["none"],
                           **options: Unpack[t.GradOptions]) -> CrossEntropyGrad[Rows[np.float64], Any]: ...
@_short("cross_entropy_rows")
def cross_entropy_and_grad(logits: ArrayLike, labels: Labels, *, class_weight: ArrayLike | None = None,
                           sample_weight: ArrayLike | None = None, ignore_index: SupportsIndex | None = -100,
                           reduction: t.Reduction = "mean", label_smoothing: Number = 0.0, z_loss: Number = 0.0,
                           softcap: Number | None = None, temperature: Number = 1.0, axis: SupportsIndex = -1,
                           empty: t.Empty = "nan", dlosses: ArrayLike | None = None,
                           out: NDArray[Any] | None = None) -> CrossEntropyGrad[Any, Any]:
    """cross_entropy and its gradient, softmax - onehot at its simplest -> CrossEntropyGrad(loss, dlogits, lse).

    dlosses  the upstream gradient, a scalar or (...) one a row, multiplied in at no cost
    out      where dlogits goes: `logits` itself for in place, which reads and writes memory once
    The other arguments are those of cross_entropy.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index,
                   reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                   temperature=temperature, axis=axis, empty=empty)
    problem = check.cross_entropy(logits, labels, None, options, wants_out=True, dlosses=dlosses, out=out)
    return with_grad(problem)


@overload
def soft_cross_entropy(logits: ForeignT, target_probs: ArrayLike, *, reduction: t.Reduction = "mean",
                       **options: Unpack[t.SoftOptions]) -> ForeignT: ...
@overload
def soft_cross_entropy(logits: ArrayLike, target_probs: ArrayLike, *, reduction: Reduced = "mean",
                       **options: Unpack[t.SoftOptions]) -> np.float64: ...
@overload
def soft_cross_entropy(logits: ArrayLike, target_probs: ArrayLike, *, reduction: Literal["none"],
                       **options: Unpack[t.SoftOptions]) -> Rows[np.float64]: ...
@any_array
@quiet
def soft_cross_entropy(logits: ArrayLike, target_probs: ArrayLike, *, class_weight: ArrayLike | None = None,
                       sample_weight: ArrayLike | None = None, reduction: t.Reduction = "mean",
                       label_smoothing: Number = 0.0, z_loss: Number = 0.0, softcap: Number | None = None,
                       temperature: Number = 1.0, axis: SupportsIndex = -1,
                       empty: t.Empty = "nan") -> Rows[np.float64]:
    """-sum_k w[k]*q[k]*log softmax(logits)[k] for dense targets q, which need not sum to 1 (torch's meaning).

    `mean` divides by the number of rows, or by the sum of sample_weight. 0*log 0 = 0.
    """
    options = dict(class_weight=class_weight, sample_weight=sample_weight, reduction=reduction,
                   label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap, temperature=temperature,
                   axis=axis, empty=empty)
    problem = check.cross_entropy(logits, None, check.array(target_probs, "target_probs"), options)
    return reduced(problem, execute(problem).losses)


@overload
def soft_cross_entropy_and_grad(logits: ForeignT, target_probs: ArrayLike, *, reduction: t.Reduction = "mean",
                                dlosses: ArrayLike | None = None, out: ForeignT | None = None,
                                **options: Unpack[t.SoftOptions]) -> t.ForeignGrad[ForeignT]: ...
@overload
def soft_cross_entropy_and_grad(logits: NDArray[FloatT], target_probs: NDArray[FloatT], *, reduction: Reduced = "mean",
                                **options: Unpack[t.SoftGradOptions]) -> CrossEntropyGrad[np.float64, FloatT]: ...
@overload
def soft_cross_entropy_and_grad(logits: NDArray[FloatT], target_probs: NDArray[FloatT], *, reduction: Literal["none"],
                                **options: Unpack[t.SoftGradOptions]) -> CrossEntropyGrad[Rows[np.float64], FloatT]: ...
@overload
def soft_cross_entropy_and_grad(logits: ArrayLike, target_probs: ArrayLike, *, reduction: Reduced = "mean",
                                **options: Unpack[t.SoftGradOptions]) -> CrossEntropyGrad[np.float64, Any]: ...
@overload
def soft_cross_entropy_and_grad(logits: ArrayLike, target_probs: ArrayLike, *, reduction: Literal["none"],
                                **options: Unpack[t.SoftGradOptions]) -> CrossEntropyGrad[Rows[np.float64], Any]: ...
@any_array
@quiet
def soft_cross_entropy_and_grad(logits: ArrayLike, target_probs: ArrayLike, *, class_weight: ArrayLike | None = None,
                                sample_weight: ArrayLike | None = None, reduction: t.Reduction = "mean",
                                label_smoothing: Number = 0.0, z_loss: Number = 0.0, softcap: Number | None = None,
                                temperature: Number = 1.0, axis: SupportsIndex = -1, empty: t.Empty = "nan",
                                dlosses: ArrayLike | None = None,
                                out: NDArray[Any] | None = None) -> CrossEntropyGrad[Any, Any]:
    """soft_cross_entropy and its gradient, p*sum(w*q) - w*q at its simplest -> CrossEntropyGrad."""
    options = dict(class_weight=class_weight, sample_weight=sample_weight, reduction=reduction,
                   label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap, temperature=temperature,
                   axis=axis, empty=empty)
    targets = check.array(target_probs, "target_probs")
    return with_grad(check.cross_entropy(logits, None, targets, options, wants_out=True, dlosses=dlosses, out=out))


@overload
def entropy(probs: ForeignT, *, axis: SupportsIndex = -1, out: ForeignT | None = None) -> ForeignT: ...
@overload
def entropy(probs: ArrayLike, *, axis: SupportsIndex = -1, out: NDArray[Any] | None = None) -> Rows[np.float64]: ...
@any_array
@quiet
def entropy(probs: ArrayLike, *, axis: SupportsIndex = -1, out: NDArray[Any] | None = None) -> Rows[np.float64]:
    """-sum p*log p over `axis`, in nats, float64; 0*log 0 = 0. out: (...) float64 to write to."""
    return row_sums(check.single("entropy_rows", probs, axis, "probs"), out, probs=probs)


@overload
def kl_divergence(p: ForeignT, q: ArrayLike, *, axis: SupportsIndex = -1, out: ForeignT | None = None) -> ForeignT: ...
@overload
def kl_divergence(p: ArrayLike, q: ArrayLike, *, axis: SupportsIndex = -1,
                  out: NDArray[Any] | None = None) -> Rows[np.float64]: ...
@any_array
@quiet
def kl_divergence(p: ArrayLike, q: ArrayLike, *, axis: SupportsIndex = -1,
                  out: NDArray[Any] | None = None) -> Rows[np.float64]:
    """sum p*log(p/q) over `axis`, in nats, float64; 0*log 0 = 0, inf where q = 0 < p. out: (...) float64 to write to."""
    return row_sums(check.pair("kl_divergence_rows", p, q, axis, None, ("p", "q")), out, p=p, q=q)


def set_backend(name: t.BackendName) -> t.BackendName:
    """Use "cython", "numba", "numpy" or "auto" from now on, in every thread. Returns the old setting."""
    old: t.BackendName = backends.set_default(check.backend_name(name))
    return old


def use_backend(name: t.BackendName) -> AbstractContextManager[None]:
    """Context manager: this backend within the block, in this thread or task only."""
    return backends.override(check.backend_name(name))


def set_num_threads(n: SupportsIndex) -> int:
    """Use n threads for large calls from now on. Returns the old number."""
    old: int = threads.set_default(check.thread_count(n))
    return old


def use_num_threads(n: SupportsIndex) -> AbstractContextManager[None]:
    """Context manager: n threads within the block, in this thread or task only."""
    return threads.override(check.thread_count(n))


def get_num_threads() -> int:
    """The number of threads that a large call uses."""
    n: int = threads.get_num_threads()
    return n


def warmup() -> None:
    """Compile or load what the current backend needs, for float32, so that the first real call is fast."""
    logits = np.zeros((2, 8), np.float32)
    cross_entropy_and_grad(logits, np.zeros(2, np.int64))
    log_softmax(logits)
    softmax_grad(logits, logits)
    entropy(softmax(logits))


def get_include() -> str:
    """The folder of fastsoftmax.h, the header of the C API, for `include_dirs` of an extension that is to be compiled."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")


def show_config() -> None:
    """Print the version, the backends with the reason for each that is missing, instruction set and threads."""
    import platform

    from . import __version__

    print(f"fastsoftmax {__version__}, Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"backend: {current()}, threads: {threads.get_num_threads()}")
    for name in backends.NAMES:
        reason = backends.why_not(name)
        detail = getattr(backends.load(name), "describe", lambda: "available")() if reason is None else reason
        print(f"  {name}: {detail}")


def _out(problem: Problem) -> NDArray[Any]:
    out: NDArray[Any] = execute(problem).out
    return out


def row_sums(problem: Problem, out: object, **inputs: object) -> Rows[np.float64]:
    """One number a row, in the caller's array where there is one."""
    targets = check.targets_of(out, {"sums": (problem.lead, np.float64)}, **inputs)
    return put(targets, (execute(problem).losses.reshape(problem.lead)[()],))[0]


def put(targets: tuple[Any, ...] | None, found: tuple[Any, ...]) -> tuple[Any, ...]:
    """Results, in the caller's arrays where there are some."""
    if targets is None:
        return found
    for target, result in zip(targets, found, strict=True):
        if target is not None:
            target[...] = result
    return targets


def reduced(problem: Problem, losses: NDArray[np.float64]) -> Rows[np.float64]:
    if problem.reduction == "none":
        return losses.reshape(problem.lead)[()]
    total = np.add.reduce(losses)
    if problem.reduction == "sum":
        return total
    if problem.total_weight == 0:
        return np.float64(0.0 if problem.empty == "zero" else "nan")
    return total / problem.total_weight


def with_grad(problem: Problem) -> CrossEntropyGrad[Any, Any]:
    filled = execute(problem)
    loss = reduced(problem, filled.losses)
    return CrossEntropyGrad(loss, filled.out, filled.lse.reshape(problem.lead)[()])
