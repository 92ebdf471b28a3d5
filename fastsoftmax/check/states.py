"""[3] The arguments of what is computed of a part of the classes, and of its states."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, Shape, as_array, out_array
from .numbers import integer, number
from .problems import Problem
from .rows import LabelError, ignored_label, label_array, per_row, position_of
from .score import unlabelled

NOWHERE = -1  # what stands for the label of a row that is ignored


class Shard(NamedTuple):
    """Arguments that are known to be right, of classes offset to offset + n_classes.

    problem.labels are those among these classes, 0 for rows whose label is elsewhere, NOWHERE for those that are ignored.
    """

    problem: Problem
    offset: int
    labels: NDArray[np.int64] | None  # (n_rows,), of all classes
    is_here: NDArray[np.bool_] | None  # (n_rows,)


def shard(logits: object, labels: object, shard_offset: Any, ignore_index: Any, softcap: Any, temperature: Any,
          axis: Any) -> Shard:
    """Logits of some classes, and labels, if any, of all."""
    problem = unlabelled(logits, softcap, temperature, axis)
    if labels is None:
        return _shard(problem, None, shard_offset)
    ignored = ignored_label(ignore_index)
    given = label_array(labels, problem.lead, 2**63 - 1, ignore_index)
    wrong = (given < 0) & (given != ignored)
    if wrong.any():
        other = "" if ignore_index is None else f", or ignore_index={ignored}"
        raise LabelError(f"{_first(given.reshape(problem.lead), wrong)}, but must be at least 0{other}")
    return _shard(problem, np.where(given == ignored, NOWHERE, given), shard_offset)


def shard_of(logits: object, state: Any, shard_offset: Any, axis: Any) -> Shard:
    """Logits of some classes, and the state of all."""
    has_every_label(state)
    problem = unlabelled(logits, state.softcap, state.temperature, axis)
    if problem.lead != state.m.shape:
        raise ValueError(f"logits have rows of shape {problem.lead}, but the state has {state.m.shape}")
    found = _shard(problem, state.labels.reshape(-1), shard_offset)
    first, stop = found.offset, found.offset + problem.first.shape[-1]
    if not any(a <= first and stop <= b for a, b in state.classes):
        known = " and ".join(f"{a} to {b}" for a, b in state.classes)
        raise ValueError(f"logits are those of classes {first} to {stop}, but the state is of {known}: "
                         "look at shard_offset")
    return found


def _shard(problem: Problem, labels: NDArray[np.int64] | None, shard_offset: Any) -> Shard:
    offset = integer(shard_offset, "shard_offset")
    if not 0 <= offset < 2**62:
        raise ValueError(f"shard_offset is {offset}, outside [0, 2^62)")
    if labels is None:
        return Shard(problem, offset, None, None)
    is_here = (labels >= offset) & (labels < offset + problem.first.shape[-1])
    local = np.where(is_here, labels - offset, np.where(labels < 0, NOWHERE, 0))
    return Shard(problem._replace(labels=local, ignore_index=NOWHERE), offset, labels, is_here)


def shard_grad(logits: Array, given: Shard, dlosses: object, z_loss: Any, axis: Any,
               out: object) -> tuple[Shard, NDArray[np.float64]]:
    """(the same with where its gradient goes, the upstream gradients of the rows)."""
    problem = given.problem
    upstream = np.ones(math.prod(problem.lead)) if dlosses is None else per_row(dlosses, "dlosses", problem.lead)
    target = out_array(out, logits, axis, problem.dtype, [("logits", logits), ("dlosses", dlosses)])
    return given._replace(problem=problem._replace(
        wants_out=True, out=target, out_given=target if out is None else np.asarray(out), axis=axis,
        z_loss=number(z_loss, "z_loss", 0.0))), upstream


def size_of(top_k: Any) -> int:
    """How many classes a state keeps."""
    k = integer(top_k, "top_k")
    if k < 0:
        raise ValueError(f"top_k is {k}, but must be at least 0")
    return k


def counts_before(n_before: object, lead: Shape) -> NDArray[np.int64]:
    """Counts of rows, from all shards together."""
    a = as_array(n_before, "n_before", "fill it first")
    if a.dtype.kind not in "iu":
        raise TypeError(f"n_before has dtype {a.dtype}; the sum of what rank_counts gives for each shard is required")
    if a.shape != lead:
        raise ValueError(f"n_before has shape {a.shape}, but must have {lead}, one count a row")
    if (a < 0).any():
        raise ValueError(f"n_before has a count of {a.min()}, but must be at least 0")
    return a.astype(np.int64)


def one_state(given: Any, kind: type, name: str = "state") -> Any:
    """A state, not its fields."""
    if not isinstance(given, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(given).__name__}")
    return given


def state_list(given: Any, kind: type) -> tuple[Any, ...]:
    """At least one state."""
    if isinstance(given, kind) or not isinstance(given, Iterable):
        raise TypeError(f"states must be a sequence of {kind.__name__}, not {type(given).__name__}")
    found = tuple(one_state(one, kind, f"states[{i}]") for i, one in enumerate(given))
    if not found:
        raise ValueError("states is empty: there is nothing to merge")
    return found


def mergeable(a: Any, b: Any) -> None:
    """Raise unless two states are of the same rows and options, and of different classes."""
    for name, one, other in (("rows of shape", a.m.shape, b.m.shape), ("temperature", a.temperature, b.temperature),
                             ("softcap", a.softcap, b.softcap), ("top_k", a.top_ids.shape[-1], b.top_ids.shape[-1]),
                             ("labels", a.labels is not None, b.labels is not None)):
        if one != other:
            raise ValueError(f"states with different {name} cannot be merged: {one} and {other}")
    differ = np.asarray(a.labels != b.labels)
    if differ.any():
        raise ValueError(f"states of different labels cannot be merged: {_first(a.labels, differ)} in one and "
                         f"{b.labels.flat[differ.argmax()]} in the other")
    for first, stop in a.classes:
        for other, end in b.classes:
            if max(first, other) < min(stop, end):
                raise ValueError(f"classes {max(first, other)} to {min(stop, end)} are in two states: look at their "
                                 "shard_offset, or one was merged twice")


def _first(labels: NDArray[np.int64], rows: Any) -> str:
    """'labels[17] is 5' of the first of some rows."""
    at = position_of(np.argmax(rows), labels.shape)
    return f"labels{f'[{at}]' if at else ''} is {labels.flat[np.argmax(rows)]}"


def has_every_label(state: Any) -> None:
    """Raise unless the label of each row that counts is in a shard of the state."""
    if state.labels is None:
        raise TypeError("the state was made without labels")
    missing = (state.labels >= 0) & ~state.has_label
    if missing.any():
        raise LabelError(f"{_first(state.labels, missing)}, which is in no shard of this state: merge the others, "
                         "or look at their shard_offset")
