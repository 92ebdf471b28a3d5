"""[3] The arguments of losses whose target is a distribution: a few classes with shares, or all of them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import dtypes
from ..contract import Targets
from .arrays import Array, Shape, array, as_array, out_array
from .numbers import cap_of, flag, integer, one_of, scale_of
from .problems import EMPTIES, REDUCTIONS, Problem, cross_entropy, problem_arrays
from .rows import ignored_label, label_array, label_error, per_row
from .score import rows_last


def sparse_cross_entropy(logits: object, indices: object, probs: object, options: dict[str, Any], *,
                         wants_out: bool = False, dlosses: object = None, out: Array | None = None) -> Problem:
    """Arguments of sparse_cross_entropy, with or without gradient. Rows of padding alone do not count."""
    a, x, _, row = problem_arrays(logits, None, options["axis"], ("logits",))
    lead, n_classes = x.shape[:-1], x.shape[-1]
    axis = integer(options["axis"], "axis")
    ids, shape = _ids(indices, lead, n_classes, options["ignore_index"], axis)
    shares = array(probs, "probs")
    if shares.shape != shape:
        raise ValueError(f"probs has shape {shares.shape}, but must have that of indices, {shape}")
    targets = merged(ids, rows_last(shares, lead, axis, "probs").astype(np.float64))
    given = options["sample_weight"]
    weight = np.ones(len(ids)) if given is None else per_row(given, "sample_weight", lead)
    counts = (targets.ids >= 0).any(axis=1)
    weight = weight if counts.all() else np.where(counts, weight, 0.0)
    plain = given is None and bool(counts.all())
    inner = {**options, "ignore_index": None, "sample_weight": None if plain else weight.reshape(lead)}
    if x.shape[-1] == 0 and not math.prod(lead):
        inner["ignore_index"] = 0
    problem = cross_entropy(logits, np.zeros(lead, np.int64), None, inner, wants_out=wants_out, dlosses=dlosses)
    inputs = [("logits", logits), ("indices", indices), ("probs", probs), ("dlosses", dlosses),
              ("class_weight", options["class_weight"]), ("sample_weight", given)]
    total = float(np.sum(weight))
    return problem._replace(labels=targets, out=out_array(out, a, options["axis"], row, inputs), out_given=out,
                            total_weight=total, grad_scale=_norm(problem.reduction, problem.empty, total))


def _ids(indices: object, lead: tuple[int, ...], n_classes: int, ignore_index: Any,
         axis: int) -> tuple[NDArray[np.int64], Shape]:
    """((n_rows, k) ids, -1 where there is none, in memory of their own; their shape)."""
    ids = label_array(indices, None, n_classes, ignore_index, "indices")
    shape = as_array(indices, "indices", "fill it with ignore_index").shape
    found = rows_last(ids.reshape(shape), lead, axis, "indices")
    padding = ignored_label(ignore_index)
    outside = ((ids < 0) | (ids >= n_classes)) & (ids != padding)
    if outside.any():
        raise label_error(ids, outside.argmax(), shape, n_classes, padding, "indices")
    return np.where(found == padding, -1, found), shape


def merged(ids: NDArray[np.int64], shares: NDArray[np.float64]) -> Targets:
    """Targets with no class twice in a row: the shares of equal ones are added up."""
    ordered = np.sort(ids, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        order = np.argsort(ids, axis=1, kind="stable")
        ids, shares = np.take_along_axis(ids, order, 1), np.take_along_axis(shares, order, 1)
        for j in range(ids.shape[1] - 1, 0, -1):
            again = (ids[:, j] == ids[:, j - 1]) & (ids[:, j] >= 0)
            shares[again, j - 1] += shares[again, j]
            ids[again, j] = -1
    return Targets(np.ascontiguousarray(ids), np.ascontiguousarray(shares), np.empty(ids.shape))


def divergence(kernel: str, target: object, logits: object, kind: str, options: dict[str, Any], *, wants_out: bool = False,
               dlosses: object = None, out: Array | None = None) -> Problem:
    """Arguments of what compares logits with distributions that `target` holds; of kind "logits" there is none.

    options: sample_weight, softcap, temperature, axis, reduction, empty.
    """
    names = ("logits",) if kind == "logits" else ("logits", "target")
    a, x, second, row = problem_arrays(logits, target, options["axis"], names)
    inputs = [("logits", logits), ("target", target)]
    return _divergence(kernel, row, a, x, second, kind, options, wants_out, dlosses, out, inputs)


def _divergence(kernel: str, row: dtypes.Dtype, a: Array, x: Array, second: Array | None, kind: str,
                options: dict[str, Any], wants_out: bool, dlosses: object, out: Array | None,
                inputs: list[tuple[str, object]]) -> Problem:
    lead, given = x.shape[:-1], options["sample_weight"]
    weight = None if given is None else per_row(given, "sample_weight", lead)
    upstream = None if dlosses is None else per_row(dlosses, "dlosses", lead)
    reduction = one_of(options["reduction"], "reduction", REDUCTIONS)
    empty = one_of(options["empty"], "empty", EMPTIES)
    inputs = [*inputs, ("sample_weight", given), ("dlosses", dlosses)]
    target = out_array(out, a, options["axis"], row, inputs)
    total = float(math.prod(lead)) if weight is None else float(np.sum(weight))
    return Problem(kernel, row, x, second, target, out, wants_out, options["axis"], lead, sample_weight=weight,
                   dlosses=upstream, scale=scale_of(options["temperature"]), cap=cap_of(options["softcap"]),
                   grad_scale=_norm(reduction, empty, total), reduction=reduction, empty=empty, total_weight=total,
                   kind=kind, minus_entropy=kernel == "soft_cross_entropy_rows")


def _norm(reduction: str, empty: str, total: float) -> float:
    """What `mean` multiplies by."""
    if reduction != "mean":
        return 1.0
    return 1 / total if total else (0.0 if empty == "zero" else math.nan)


def target_kind(log_target: object, target_logits: object) -> str:
    """What the target holds: "probs", "logs" or "logits"."""
    is_log, is_logits = flag(log_target, "log_target"), flag(target_logits, "target_logits")
    if is_log and is_logits:
        raise ValueError("log_target and target_logits are both True: the target is one or the other")
    return "logs" if is_log else "logits" if is_logits else "probs"


def direction(logits: object, labels: object, tangents: object, options: dict[str, Any], *, wants_out: bool = False,
              dlosses: object = None, out: Array | None = None) -> Problem:
    """Arguments of the derivatives of cross_entropy along `tangents`, shaped as the logits."""
    a, _, v, row = problem_arrays(logits, tangents, options["axis"], ("logits", "tangents"))
    problem = cross_entropy(logits, labels, None, options, wants_out=wants_out, dlosses=dlosses)
    inputs = [("logits", logits), ("tangents", tangents), ("labels", labels), ("dlosses", dlosses),
              ("class_weight", options["class_weight"]), ("sample_weight", options["sample_weight"])]
    target = out_array(out, a, options["axis"], row, inputs)
    return problem._replace(kernel="centered_rows", kind="second", second=v, dtype=row, out=target, out_given=out)
