"""[3] The arguments of what is asked of rows beside their loss."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import Array, Shape, class_axis_last, plain_array, shares_memory
from .numbers import cap_of, number
from .problems import Problem, cross_entropy, softmax
from .rows import class_indices

_PLAIN = dict(class_weight=None, sample_weight=None, reduction="none", label_smoothing=0.0, z_loss=0.0, empty="nan")


def scored(logits: object, labels: object, options: dict[str, Any]) -> Problem:
    """Logits with labels; options: ignore_index, softcap, temperature, axis."""
    return cross_entropy(logits, labels, None, {**_PLAIN, **options})


def unlabelled(logits: object, softcap: Any, temperature: Any, axis: Any) -> Problem:
    """Logits alone."""
    return softmax("lse_rows", logits, axis, temperature, None)._replace(cap=cap_of(softcap))


def ids_of(ids: object, problem: Problem, axis: Any) -> tuple[Array, Shape]:
    """(ids as (n_rows, k) int64, their shape), for one id a row or k of them, which stand where the classes do."""
    lead = problem.lead
    found = class_indices(ids, problem.first.shape[-1], "ids")
    if found.shape == lead:
        return found.reshape(math.prod(lead), 1), found.shape
    return rows_last(found, lead, axis, "ids", f"{lead} or "), found.shape


def rows_last(a: Array, lead: Shape, axis: Any, name: str, also: str = "") -> Array:
    """(n_rows, k) of an array of k a row, which stand at the class axis; `also`: what other shape is allowed."""
    wanted: list[Any] = list(lead)
    wanted.insert(axis if axis >= 0 else len(lead) + 1 + axis, "k")
    if a.ndim != len(wanted) or any(n not in (m, "k") for n, m in zip(wanted, a.shape, strict=True)):
        text = ", ".join(map(str, wanted)) + "," * (len(wanted) == 1)
        raise ValueError(f"{name} has shape {a.shape}, but must have {also}({text}), k where the classes are")
    return class_axis_last(a, axis, name).reshape(math.prod(lead), a.shape[axis])


def share_of(top_p: Any) -> float:
    """A share of the mass."""
    return number(top_p, "top_p", 0.0, 1.0, above=True)


def targets_of(out: object, results: Mapping[str, tuple[Shape, Any] | None], **inputs: object) -> tuple[Any, ...] | None:
    """The caller's arrays for results {name: (shape, dtype)}, which share no memory with the inputs; or None.

    A result that is None is not there, and neither is its array.
    """
    if out is None:
        return None
    names = ", ".join(results)
    given = (out,) if len(results) == 1 else out
    if not isinstance(given, tuple):
        raise TypeError(f"out must be a tuple ({names}), not {type(out).__name__}")
    if len(given) != len(results):
        raise ValueError(f"out has length {len(given)}, but must be a tuple ({names})")
    others, targets = dict(inputs), []
    for i, (a, result) in enumerate(zip(given, results.values(), strict=True)):
        name = "out" if len(results) == 1 else f"out[{i}]"
        if (result is None) != (a is None):
            raise TypeError(f"{name} must be {'None' if result is None else 'an array'}, not {type(a).__name__}")
        targets.append(a if result is None else _apart(plain_array(a, name, result[0], np.dtype(result[1])), name, others))
        others[name] = a
    return tuple(targets)


def _apart(a: Array, name: str, others: dict[str, object]) -> Array:
    """An array to write to, which has no byte in common with any of the others."""
    for other, value in others.items():
        if value is not None and shares_memory(np.asarray(value), a):
            raise ValueError(f"{name} overlaps {other}")
    return a
