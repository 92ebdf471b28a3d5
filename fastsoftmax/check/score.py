"""[3] The arguments of what is asked of rows beside their loss."""

import math
from typing import Any

import numpy as np

from .arrays import Array, Shape, plain_array, shares_memory
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
    return np.moveaxis(a, axis, -1).reshape(math.prod(lead), a.shape[axis])


def share_of(top_p: Any) -> float:
    """A share of the mass."""
    return number(top_p, "top_p", 0.0, 1.0, above=True)


def targets_of(out: object, results: dict[str, tuple[Shape, Any]], **inputs: object) -> tuple[Array, ...] | None:
    """The caller's arrays for results {name: (shape, dtype)}, which share no memory with the inputs; or None."""
    if out is None:
        return None
    names = ", ".join(results)
    given = (out,) if len(results) == 1 else out
    if not isinstance(given, tuple):
        raise TypeError(f"out must be a tuple ({names}), not {type(out).__name__}")
    if len(given) != len(results):
        raise ValueError(f"out has length {len(given)}, but must be a tuple ({names})")
    targets: list[Array] = []
    for i, (a, (shape, dtype)) in enumerate(zip(given, results.values(), strict=True)):
        name = "out" if len(results) == 1 else f"out[{i}]"
        targets.append(plain_array(a, name, shape, np.dtype(dtype)))
        for other, value in inputs.items():
            if shares_memory(np.asarray(value), targets[i]):
                raise ValueError(f"{name} overlaps {other}")
        if i and shares_memory(targets[0], targets[i]):
            raise ValueError(f"{name} overlaps out[0]")
    return tuple(targets)
