"""[3] The arguments of each operation on logits -> Problem."""

import math
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from .. import backends, dtypes
from ..contract import NO_IGNORE
from ..typing import Empty, Reduction
from .arrays import Array, Shape, array, class_axis_last, out_array, row_of
from .numbers import cap_of, number, one_of, scale_of
from .rows import class_weights, ignored_label, label_array, label_error, per_row

REDUCTIONS, EMPTIES = get_args(Reduction), get_args(Empty)


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
    labels: Any = None  # an array of int64, or contract.Targets
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
    kind: str = "probs"  # what `second` holds: contract.py
    minus_entropy: bool = False
    q_scale: float = 1.0
    shifts: Array | None = None


def problem_arrays(first: object, second: object, axis: Any,
                    names: tuple[str, ...]) -> tuple[Array, Array, Array | None, dtypes.Dtype]:
    a = array(first, names[0])
    x = class_axis_last(a, axis, names[0])
    if x.shape[-1] == 0 and math.prod(x.shape[:-1]) > 0:
        raise ValueError(f"{names[0]} has zero classes in shape {a.shape}: there is nothing to normalise")
    if second is None and len(names) == 1:
        return a, x, None, row_of(a)
    b = array(second, names[1])
    if b.shape != a.shape:
        raise ValueError(f"{names[1]} has shape {b.shape}, but must have that of {names[0]}, {a.shape}")
    return a, x, class_axis_last(b, axis, names[1]), row_of(a, b)


def softmax(kernel: str, logits: object, axis: Any, temperature: Any, out: Array | None) -> Problem:
    """Arguments of softmax, log_softmax and logsumexp (which has no `out`)."""
    a, x, _, row = problem_arrays(logits, None, axis, ("logits",))
    scale = scale_of(temperature)
    target = out_array(out, a, axis, row, [("logits", a)])
    return Problem(kernel, row, x, out=target, out_given=out, axis=axis, lead=x.shape[:-1], scale=scale,
                   wants_out=kernel != "lse_rows")


def pair(kernel: str, first: object, second: object, axis: Any, out: Array | None, names: tuple[str, str]) -> Problem:
    """Arguments of the two-array operations: the softmax gradients and the divergences."""
    a, x, y, row = problem_arrays(first, second, axis, names)
    target = out_array(out, a, axis, row, list(zip(names, (first, second), strict=True)))
    return Problem(kernel, row, x, y, out=target, out_given=out, axis=axis, lead=x.shape[:-1],
                   wants_out=kernel.endswith("grad_rows"))


def single(kernel: str, first: object, axis: Any, name: str) -> Problem:
    """Arguments of entropy."""
    _, x, _, row = problem_arrays(first, None, axis, (name,))
    return Problem(kernel, row, x, axis=axis, lead=x.shape[:-1])


def cross_entropy(logits: object, labels: object, target_probs: object, options: dict[str, Any], *,
                  wants_out: bool = False, dlosses: object = None, out: Array | None = None) -> Problem:
    """Arguments of cross_entropy (labels) and soft_cross_entropy (target_probs), with or without gradient."""
    soft = labels is None and target_probs is not None
    axis = options["axis"]
    names = ("logits", "target_probs") if soft else ("logits",)
    a, x, q, row = problem_arrays(logits, target_probs, axis, names)
    lead, n_classes = x.shape[:-1], x.shape[-1]
    given = None if soft else options["ignore_index"]
    ignore = ignored_label(given)
    indices = None if soft else label_array(labels, lead, n_classes, given)
    weight = class_weights(options["class_weight"], n_classes, row)
    rows = options["sample_weight"]
    rows = None if rows is None else per_row(rows, "sample_weight", lead)
    upstream = None if dlosses is None else per_row(dlosses, "dlosses", lead)
    reduction = one_of(options["reduction"], "reduction", REDUCTIONS)
    empty = one_of(options["empty"], "empty", EMPTIES)
    smoothing = number(options["label_smoothing"], "label_smoothing", 0.0, 1.0)
    z_loss = number(options["z_loss"], "z_loss", 0.0)
    scale, cap = scale_of(options["temperature"]), cap_of(options["softcap"])
    inputs = [("logits", logits), ("target_probs", target_probs), ("labels", labels), ("dlosses", dlosses),
              ("class_weight", options["class_weight"]), ("sample_weight", options["sample_weight"])]
    target = out_array(out, a, axis, row, inputs)
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
