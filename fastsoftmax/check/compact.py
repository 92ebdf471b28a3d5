"""[3] The arguments of a compact gradient's methods."""

from typing import Any

import numpy as np

from .. import dtypes
from .arrays import Array, Shape, array, row_of, shares_memory, writeable_array
from .numbers import integer


def row_range(start: Any, stop: Any, n_rows: int) -> tuple[int, int]:
    """Rows start to stop of n_rows."""
    first = integer(start, "start")
    last = n_rows if stop is None else integer(stop, "stop")
    if not 0 <= first <= last <= n_rows:
        raise ValueError(f"rows {first} to {last} are not within the {n_rows} there are: 0 <= start <= stop <= {n_rows}")
    return first, last


def factor(value: object, name: str, lead: Shape, logits: Array) -> tuple[Array, bool, dtypes.Dtype]:
    """(a factor (*lead, n), whether it was given as a vector (*lead), what a product with the gradient is computed in)."""
    a = array(value, name)
    if a.shape[:len(lead)] != lead or a.ndim > len(lead) + 1:
        rows = ", ".join(map(str, lead))
        raise ValueError(f"{name} has shape {a.shape}, but must have ({rows}{',' if len(lead) == 1 else ''}) or "
                         f"({rows}{', ' if rows else ''}n)")
    real = row_of(logits, a).real
    if dtypes.find(a.dtype) is None:
        a = a.astype(real)
    return (a[..., None] if a.ndim == len(lead) else a), a.ndim == len(lead), dtypes.BY_NAME[real.name]


def given_out(out: object, shape: Shape, row: dtypes.Dtype, inputs: dict[str, object]) -> Array | None:
    """The caller's array for a result, or None; it overlaps no input."""
    if out is None:
        return None
    target = writeable_array(out, "out", shape, row)
    for name, value in inputs.items():
        if shares_memory(np.asarray(value), target):
            raise ValueError(f"out overlaps {name}")
    return target


def workspace(max_workspace_bytes: Any) -> int:
    """Bytes that may be allocated beside results."""
    n = integer(max_workspace_bytes, "max_workspace_bytes")
    if n < 0:
        raise ValueError(f"max_workspace_bytes is {n}, but must be at least 0")
    return n


def must_copy(copy: object) -> None:
    """Raise where NumPy asks for an array that is there already."""
    if copy is False:
        raise ValueError("a compact gradient has no array that could be had without a copy")
