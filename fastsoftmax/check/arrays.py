"""[3] Arguments that are arrays, and those that results go to."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import dtypes
from .foreign import memory
from .numbers import integer

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]


def _is_masked(value: object) -> bool:
    """Whether there is a mask anywhere that np.asarray would drop without a word."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_masked, value))
    return isinstance(value, np.ma.MaskedArray)


def _is_categorical(value: object) -> bool:
    """Whether there are categories, of which np.asarray takes the values, where labels are often meant by their codes."""
    kinds = getattr(value, "dtypes", ()) if hasattr(value, "columns") else [getattr(value, "dtype", None)]
    return any(str(kind).lower().startswith("categor") for kind in kinds)


def as_array(value: object, name: str, remedy: str) -> Array:
    """np.asarray that says which argument it could not read, and loses neither a mask nor the meaning of categories."""
    if type(value) is np.ndarray:
        return value
    if _is_masked(value):
        raise TypeError(f"{name} is a masked array: its mask would be lost; {remedy}")
    if _is_categorical(value):
        raise TypeError(f"{name} is categorical: give the codes or the values of its categories, whichever are meant")
    return memory(value, name)


def array(value: object, name: str) -> Array:
    """Anything array-like as a plain ndarray of a dtype in the table (integers become float64 later)."""
    if value is None:
        raise TypeError(f"{name} must be an array, not None")
    a = as_array(value, name, "fill it first, with -inf say" if name == "logits" else "fill it first")
    if dtypes.find(a.dtype) is None and a.dtype.kind not in "iu":
        allowed = "allowed are float64, float32, float16, bfloat16 and integers"
        ways = {"to_numpy": "to_numpy(dtype=...) may give one", "toarray": "toarray() gives one"}
        hint = "".join(f"; {name}.{text}" for way, text in ways.items() if a.dtype.kind == "O" and hasattr(value, way))
        raise TypeError(f"{name} has dtype {a.dtype}; {allowed}{hint}")
    return a


def class_axis_last(a: Array, axis: Any, name: str) -> Array:
    """The array with its class axis moved to the end, a view."""
    if a.ndim == 0:
        raise ValueError(f"{name} must have a class axis, but is 0-dimensional")
    position = integer(axis, "axis")
    if not -a.ndim <= position < a.ndim:
        raise ValueError(f"axis is {position}, outside [{-a.ndim}, {a.ndim}) for {name} of shape {a.shape}")
    return a if position in (-1, a.ndim - 1) else np.moveaxis(a, position, -1)


def row_of(*arrays: Array) -> dtypes.Dtype:
    """The table's row for the result of these arrays together."""
    rows = [dtypes.find(a.dtype) or dtypes.F64 for a in arrays]
    if all(r is rows[0] for r in rows):
        return rows[0]
    widest = max(r.itemsize for r in rows)
    return dtypes.F64 if widest == 8 else dtypes.F32


def out_array(out: object, like: Array, axis: Any, row: dtypes.Dtype, inputs: Sequence[tuple[str, object]]) -> Array | None:
    """The caller's `out`, checked, with its class axis last; or None. inputs: (name, as the caller gave it)."""
    if out is None:
        return None
    a = writeable_array(out, "out", like.shape, row)
    for name, value in inputs:
        other = None if value is None else np.asarray(value)  # a data frame or tensor may share its memory too
        if other is None or (_is_exactly(other, a) and name != "class_weight"):
            continue
        if shares_memory(other, a):
            raise ValueError(f"out overlaps {name} without being exactly it")
    return class_axis_last(np.asarray(out), axis, "out")


def same_shape(name: str, a: Array, shape: Shape) -> None:
    """Raise unless an array has this shape."""
    if a.shape != shape:
        raise ValueError(f"{name} has shape {a.shape}, but must have {shape}")


def writeable_array(out: object, name: str, shape: Shape, row: dtypes.Dtype) -> Array:
    """An ndarray that a result of this shape and dtype of the table can be written to."""
    return _writeable(out, name, shape, row.name, lambda dtype: dtypes.find(dtype) is row)


def plain_array(out: object, name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """The same for a NumPy dtype."""
    return _writeable(out, name, shape, dtype.name, lambda given: given == dtype)


def _writeable(out: object, name: str, shape: Shape, wanted: str, fits: Callable[[np.dtype[Any]], bool]) -> Array:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a numpy array, not {type(out).__name__}")
    same_shape(name, out, shape)
    if not fits(out.dtype) or not out.dtype.isnative:
        raise TypeError(f"{name} has dtype {out.dtype}, but must have {wanted} in native byte order")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if not out.flags.c_contiguous and _overlaps_itself(out):
        raise ValueError(f"{name} has elements that share memory (a broadcast or strided view)")
    return out


def _is_exactly(a: Array, out: Array) -> bool:
    """Whether both are one and the same view of memory."""
    strides = [[s for s, n in zip(x.strides, x.shape, strict=True) if n > 1] for x in (a, out)]
    return (a.dtype == out.dtype and a.shape == out.shape and strides[0] == strides[1]
            and a.__array_interface__["data"][0] == out.__array_interface__["data"][0])


def shares_memory(a: Array, out: Array) -> bool:
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
