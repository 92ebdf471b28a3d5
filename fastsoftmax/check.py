"""[3] Raw arguments -> Problem. The only file with text that a user reads as an error."""

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from . import backends, dtypes
from .contract import NO_IGNORE
from .typing import BackendName, Empty, Reduction

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
REDUCTIONS, EMPTIES = get_args(Reduction), get_args(Empty)
SCALES = (1e-15, 1e15)  # of temperature and softcap: they and their quotients are normal float32 numbers


class LabelError(ValueError, IndexError):
    """A label outside [0, n_classes) that is not ignore_index."""


class Problem(NamedTuple):
    """Arguments that are known to be right. Arrays have the class axis last, `lead` is the shape before it."""

    kernel: str
    dtype: dtypes.Dtype
    first: Array
    second: Array | None = None
    out: Array | None = None  # the caller's, class axis last
    out_given: Array | None = None  # the caller's, as given
    wants_out: bool = False
    axis: int = -1
    lead: Shape = ()
    labels: Array | None = None
    class_weight: Array | None = None
    sample_weight: Array | None = None
    dlosses: Array | None = None
    scale: float = 1.0
    cap: float = 0.0
    smoothing: float = 0.0
    z_loss: float = 0.0
    grad_scale: float = 1.0
    ignore_index: int = NO_IGNORE
    reduction: str = "none"
    empty: str = "nan"
    total_weight: float = 0.0


# ---------------------------------------------------------------------------------------------- arrays


def _is_masked(value: object) -> bool:
    """Whether there is a mask anywhere that np.asarray would drop without a word."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_masked, value))
    return isinstance(value, np.ma.MaskedArray)


def _as_array(value: object, name: str, remedy: str) -> Array:
    """np.asarray that says which argument it could not read, and loses no mask."""
    if type(value) is np.ndarray:
        return value
    if _is_masked(value):
        raise TypeError(f"{name} is a masked array: its mask would be lost; {remedy}")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as an array: {error}") from None


def array(value: object, name: str) -> Array:
    """Anything array-like as a plain ndarray of a dtype in the table (integers become float64 later)."""
    if value is None:
        raise TypeError(f"{name} must be an array, not None")
    a = _as_array(value, name, "fill it first, with -inf say")
    if dtypes.find(a.dtype) is None and a.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {a.dtype}; allowed are float64, float32, float16, bfloat16 and integers")
    return a


def class_axis_last(a: Array, axis: Any, name: str) -> Array:
    """The array with its class axis moved to the end, a view."""
    if a.ndim == 0:
        raise ValueError(f"{name} must have a class axis, but is 0-dimensional")
    position = _integer(axis, "axis")
    if not -a.ndim <= position < a.ndim:
        raise ValueError(f"axis is {position}, outside [{-a.ndim}, {a.ndim}) for {name} of shape {a.shape}")
    return a if position in (-1, a.ndim - 1) else np.moveaxis(a, position, -1)


def _row_of(*arrays: Array) -> dtypes.Dtype:
    """The table's row for the result of these arrays together."""
    rows = [dtypes.find(a.dtype) or dtypes.F64 for a in arrays]
    if all(r is rows[0] for r in rows):
        return rows[0]
    widest = max(r.itemsize for r in rows)
    return dtypes.F64 if widest == 8 else dtypes.F32


def _problem_arrays(first: object, second: object, axis: Any,
                    names: tuple[str, ...]) -> tuple[Array, Array, Array | None, dtypes.Dtype]:
    a = array(first, names[0])
    x = class_axis_last(a, axis, names[0])
    if x.shape[-1] == 0 and math.prod(x.shape[:-1]) > 0:
        raise ValueError(f"{names[0]} has zero classes in shape {a.shape}: there is nothing to normalise")
    if second is None and len(names) == 1:
        return a, x, None, _row_of(a)
    b = array(second, names[1])
    if b.shape != a.shape:
        raise ValueError(f"{names[1]} has shape {b.shape}, but must have that of {names[0]}, {a.shape}")
    return a, x, class_axis_last(b, axis, names[1]), _row_of(a, b)


def _out(out: object, like: Array, axis: Any, row: dtypes.Dtype,
         inputs: Sequence[tuple[str, object]]) -> Array | None:
    """The caller's `out`, checked, with its class axis last; or None. inputs: (name, as the caller gave it)."""
    if out is None:
        return None
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be a numpy array, not {type(out).__name__}")
    if out.shape != like.shape:
        raise ValueError(f"out has shape {out.shape}, but must have {like.shape}")
    if dtypes.find(out.dtype) is not row or not out.dtype.isnative:
        raise TypeError(f"out has dtype {out.dtype}, but must have {row.name} in native byte order")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if not out.flags.c_contiguous and _overlaps_itself(out):
        raise ValueError("out has elements that share memory (a broadcast or strided view)")
    for name, value in inputs:
        if value is None:
            continue
        a = np.asarray(value)  # a data frame or tensor may share its memory too
        if not (_is_exactly(a, out) and name != "class_weight") and _shares_memory(a, out):
            raise ValueError(f"out overlaps {name} without being exactly it")
    return class_axis_last(np.asarray(out), axis, "out")


def _is_exactly(a: Array, out: Array) -> bool:
    """Whether both are one and the same view of memory."""
    strides = [[s for s, n in zip(x.strides, x.shape, strict=True) if n > 1] for x in (a, out)]
    return (a.dtype == out.dtype and a.shape == out.shape and strides[0] == strides[1]
            and a.__array_interface__["data"][0] == out.__array_interface__["data"][0])


def _shares_memory(a: Array, out: Array) -> bool:
    """Whether they have a byte in common; yes where that is too hard to tell (it is NP-hard)."""
    try:
        return np.shares_memory(a, out, max_work=10**6)  # type: ignore[arg-type, unused-ignore]
    except np.exceptions.TooHardError:
        return True


def _overlaps_itself(a: Array) -> bool:
    """Whether two indices may reach one element: a stride shorter than what lies inside it."""
    if a.size == 0:
        return False
    reach = a.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach = stride * (length - 1) + reach
    return False


# --------------------------------------------------------------------------------------------- numbers


def number(value: Any, name: str, low: float, high: float = math.inf, *, above: bool = False) -> float:
    """A real number in [low, high], or in (low, high] with `above`; never NaN, never an infinity."""
    x = value if type(value) is float else _as_float(value, name)
    if not math.isfinite(x) or x < low or x > high or (above and x == low):
        bracket = "(" if above else "["
        end = "inf)" if high == math.inf else f"{high:g}]"
        raise ValueError(f"{name} is {x}, outside {bracket}{low:g}, {end}")
    return x


def _as_float(value: Any, name: str) -> float:
    """A real number as a float, inf where it is too large for one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    wrong = TypeError(f"{name} must be a real number, not {type(value).__name__}")
    if isinstance(value, (bool, np.bool_, str, bytes, np.complexfloating, np.ndarray)):
        raise wrong
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise wrong from None


def _integer(value: Any, name: str) -> int:
    """A Python or NumPy integer as an int; never a bool."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None


def thread_count(n: SupportsIndex | str, name: str = "n") -> int:
    """A number of threads, at least 1; a string where it comes from an environment variable."""
    try:
        count = int(n) if isinstance(n, str) else _integer(n, name)
    except ValueError:
        raise ValueError(f"{name} is {n!r}, but must be an integer of at least 1") from None
    if count < 1:
        raise ValueError(f"{name} is {count}, but must be at least 1")
    return count


def backend_name(name: BackendName, where: str = "name") -> BackendName:
    """A backend that exists and works here, or "auto"."""
    one_of(name, where, ("auto", *backends.NAMES))
    reason = None if name == "auto" else backends.why_not(name)
    if reason:
        raise ValueError(f"{where} is {name!r}, which is not available: {reason}")
    return name


def one_of(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    """One of a few strings."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed are " + ", ".join(map(repr, allowed)))
    return value


def _scale(temperature: Any) -> float:
    return 1.0 / number(temperature, "temperature", *SCALES)


def _cap(softcap: Any) -> float:
    return 0.0 if softcap is None else number(softcap, "softcap", *SCALES)


# ------------------------------------------------------------------------------------------- per row


def label_array(labels: object, lead: Shape | None, n_classes: int, ignore_index: int | None = None,
                name: str = "labels") -> NDArray[np.int64]:
    """Class indices of exactly the leading shape (None: any), as contiguous int64; compared before narrowing."""
    if labels is None:
        raise TypeError(f"{name} must be an integer array, not None")
    a = _as_array(labels, name, "fill it with ignore_index")
    if a.dtype.kind not in "iu" and not (a.size == 0 and isinstance(labels, (list, tuple))):
        raise TypeError(f"{name} has dtype {a.dtype}; class indices of an integer dtype are required")
    if lead is not None and a.shape != lead:
        raise ValueError(f"{name} has shape {a.shape}, but must have {lead}, one label a row")
    narrow = np.ascontiguousarray(a, dtype=np.int64).reshape(-1)
    # what int64 cannot hold arrives as a negative number, and without ignore_index no label is NO_IGNORE
    lost = narrow < 0 if a.dtype.kind == "u" else narrow == NO_IGNORE if ignore_index is None else None
    if lost is not None and lost.any():
        outside = lost | (((narrow < 0) | (narrow >= n_classes)) & (narrow != _ignore(ignore_index)))
        raise label_error(a.reshape(-1), outside.argmax(), a.shape, n_classes, ignore_index, name)
    return narrow


def class_indices(labels: object, n_classes: int, name: str) -> NDArray[np.int64]:
    """int64 indices in the shape they came in, each in [0, n_classes)."""
    a = label_array(labels, None, n_classes, name=name)
    shape = np.asarray(labels).shape
    outside = (a < 0) | (a >= n_classes)
    if outside.any():
        raise label_error(a, outside.argmax(), shape, n_classes, None, name)
    return a.reshape(shape)


def class_count(n_classes: Any) -> int:
    """A number of classes, at least 0."""
    n = _integer(n_classes, "n_classes")
    if n < 0:
        raise ValueError(f"n_classes is {n}, but must be at least 0")
    return n


def one_hot_array(one_hot: object) -> Array:
    """One-hot vectors (..., n_classes) of numbers or bools: in each row one 1, all else 0."""
    a = _as_array(one_hot, "one_hot", "fill it first")
    a = class_axis_last(a if a.dtype.kind == "b" else array(one_hot, "one_hot"), -1, "one_hot")
    wrong = (np.count_nonzero(a == 1, axis=-1) != 1) | (np.count_nonzero(a, axis=-1) != 1)
    if wrong.any():
        at = _at(wrong.argmax(), wrong.shape)
        raise ValueError(f"one_hot{f'[{at}]' if at else ''} is not a one-hot vector: one 1, all else 0")
    return a


def _at(flat: Any, shape: Shape) -> str:
    """A flat row number as the caller would write it: '17' or '2, 5'."""
    return ", ".join(str(int(i)) for i in np.unravel_index(flat, shape))


def label_error(labels: Array, row: Any, lead: Shape, n_classes: int, ignore_index: int | None,
                name: str = "labels") -> LabelError:
    """The exception for a label out of range."""
    other = "" if ignore_index in (None, NO_IGNORE) else f" and not ignore_index={ignore_index}"
    where = f"{name}[{_at(row, lead)}]" if lead else name
    return LabelError(f"{where} is {labels[row]}, outside [0, {n_classes}){other}")


def _per_row(value: object, name: str, lead: Shape) -> NDArray[np.float64]:
    """A scalar or an array of the leading shape -> contiguous (n_rows,) float64."""
    a = array(value, name)
    if a.shape not in ((), lead):
        raise ValueError(f"{name} has shape {a.shape}, but must be a scalar or have {lead}, one a row")
    return np.ascontiguousarray(np.broadcast_to(a.astype(np.float64), lead)).reshape(-1)


def _class_weight(value: object, n_classes: int, row: dtypes.Dtype) -> Array | None:
    if value is None:
        return None
    a = array(value, "class_weight")
    if a.shape != (n_classes,):
        raise ValueError(f"class_weight has shape {a.shape}, but must have {(n_classes,)}, one weight a class")
    return np.ascontiguousarray(a, dtype=row.real)


def _ignore(ignore_index: Any) -> int:
    value = NO_IGNORE if ignore_index is None else _integer(ignore_index, "ignore_index")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"ignore_index is {value}, outside [-2^63, 2^63)")
    return value


# ------------------------------------------------------------------------------------------ problems


def softmax(kernel: str, logits: object, axis: Any, temperature: Any, out: Array | None) -> Problem:
    """Arguments of softmax, log_softmax and logsumexp (which has no `out`)."""
    a, x, _, row = _problem_arrays(logits, None, axis, ("logits",))
    scale = _scale(temperature)
    target = _out(out, a, axis, row, [("logits", a)])
    return Problem(kernel, row, x, out=target, out_given=out, axis=axis, lead=x.shape[:-1], scale=scale,
                   wants_out=kernel != "lse_rows")


def pair(kernel: str, first: object, second: object, axis: Any, out: Array | None, names: tuple[str, str]) -> Problem:
    """Arguments of the two-array operations: the softmax gradients and the divergences."""
    a, x, y, row = _problem_arrays(first, second, axis, names)
    target = _out(out, a, axis, row, list(zip(names, (first, second), strict=True)))
    return Problem(kernel, row, x, y, out=target, out_given=out, axis=axis, lead=x.shape[:-1],
                   wants_out=kernel.endswith("grad_rows"))


def single(kernel: str, first: object, axis: Any, name: str) -> Problem:
    """Arguments of entropy."""
    _, x, _, row = _problem_arrays(first, None, axis, (name,))
    return Problem(kernel, row, x, axis=axis, lead=x.shape[:-1])


def cross_entropy(logits: object, labels: object, target_probs: object, options: dict[str, Any], *,
                  wants_out: bool = False, dlosses: object = None, out: Array | None = None) -> Problem:
    """Arguments of cross_entropy (labels) and soft_cross_entropy (target_probs), with or without gradient."""
    soft = labels is None and target_probs is not None
    axis = options["axis"]
    names = ("logits", "target_probs") if soft else ("logits",)
    a, x, q, row = _problem_arrays(logits, target_probs, axis, names)
    lead, n_classes = x.shape[:-1], x.shape[-1]
    given = None if soft else options["ignore_index"]
    ignore = _ignore(given)
    indices = None if soft else label_array(labels, lead, n_classes, given)
    weight = _class_weight(options["class_weight"], n_classes, row)
    rows = options["sample_weight"]
    rows = None if rows is None else _per_row(rows, "sample_weight", lead)
    upstream = None if dlosses is None else _per_row(dlosses, "dlosses", lead)
    reduction = one_of(options["reduction"], "reduction", REDUCTIONS)
    empty = one_of(options["empty"], "empty", EMPTIES)
    smoothing = number(options["label_smoothing"], "label_smoothing", 0.0, 1.0)
    z_loss = number(options["z_loss"], "z_loss", 0.0)
    scale, cap = _scale(options["temperature"]), _cap(options["softcap"])
    inputs = [("logits", logits), ("target_probs", target_probs), ("labels", labels), ("dlosses", dlosses),
              ("class_weight", options["class_weight"]), ("sample_weight", options["sample_weight"])]
    target = _out(out, a, axis, row, inputs)
    total = _total_weight(indices, rows, weight, lead, n_classes, ignore)
    norm = 1.0
    if reduction == "mean":
        norm = 1 / total if total else (0.0 if empty == "zero" else math.nan)
    return Problem("soft_cross_entropy_rows" if soft else "cross_entropy_rows", row, x, q, target, out,
                   wants_out, axis, lead, indices, weight, rows, upstream, scale, cap, smoothing, z_loss,
                   norm, ignore, reduction, empty, total)


def _total_weight(labels: NDArray[np.int64] | None, sample_weight: NDArray[np.float64] | None,
                  class_weight: Array | None, lead: Shape, n_classes: int, ignore_index: int) -> float:
    """What `mean` divides by; every label is checked on the way, before anything is written."""
    if labels is None:
        return float(math.prod(lead)) if sample_weight is None else float(np.sum(sample_weight))
    scan = backends.load(backends.current()).scan_labels
    bad, total = scan(labels, n_classes, ignore_index, class_weight, sample_weight)
    if bad >= 0:
        raise label_error(labels, bad, lead, n_classes, ignore_index)
    return float(total)
