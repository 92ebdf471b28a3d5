"""[3] The arguments of what is made of scores."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import array, as_array
from .numbers import integer
from .rows import per_row


def positive(value: Any, name: str) -> int:
    """An integer of at least 1."""
    found = integer(value, name)
    if found < 1:
        raise ValueError(f"{name} is {found}, but must be at least 1")
    return found


def positive_integers(values: Any, name: str) -> tuple[int, ...]:
    """Integers of at least 1, each once."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of integers, not {type(values).__name__}")
    return tuple(dict.fromkeys(positive(value, f"{name}[{i}]") for i, value in enumerate(values)))


def counted(scores: Any, sample_weight: object,
            n_bytes: object) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64] | None]:
    """(ranks, weights, bytes: of each row, or 0-d, of all, or None), each (n_rows,)."""
    if not all(hasattr(scores, name) for name in ("losses", "ranks", "entropy", "confidence")):
        raise TypeError(f"scores must be what fastsoftmax.score gives, not {type(scores).__name__}")
    ranks = as_array(scores.ranks, "scores.ranks", "fill it first")
    if ranks.dtype.kind not in "iu":
        raise TypeError(f"scores.ranks has dtype {ranks.dtype}; integers are required")
    weight = np.ones(ranks.size) if sample_weight is None else per_row(sample_weight, "sample_weight", ranks.shape)
    if n_bytes is None:
        return ranks.reshape(-1), weight, None
    given = array(n_bytes, "n_bytes").astype(np.float64)
    rows = per_row(given, "n_bytes", ranks.shape)
    wrong = ~(rows >= 0) | ~np.isfinite(rows)
    if wrong.any():
        raise ValueError(f"n_bytes is {rows[wrong.argmax()]}, but must be at least 0 and finite")
    return ranks.reshape(-1), weight, given if given.ndim == 0 else rows


def alike(one: Any, other: Any, kind: type, names: tuple[str, ...]) -> None:
    """Raise unless `other` is of this kind and has the same settings."""
    if not isinstance(other, kind):
        raise TypeError(f"only {kind.__name__} can be merged into {kind.__name__}, not {type(other).__name__}")
    for name in names:
        a, b = getattr(one, name), getattr(other, name)
        if a != b:
            raise ValueError(f"{name} is {a} in one and {b} in the other: they cannot be merged")


def state_arrays(state: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.float64]]:
    """A state's arrays, each of its shape."""
    if not isinstance(state, dict) or set(state) != set(shapes):
        raise TypeError("state must be a dict with " + ", ".join(map(repr, shapes)))
    found = {name: array(value, f"state[{name!r}]").astype(np.float64) for name, value in state.items()}
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise ValueError(f"state[{name!r}] has shape {found[name].shape}, but must have {shape}: "
                             "hits_at and n_bins must be as they were")
    if not math.isfinite(found["n_rows"][0]) or found["n_rows"][0] < 0:
        raise ValueError(f"state['n_rows'] is {found['n_rows'][0]}, but must be a number of rows")
    return found
