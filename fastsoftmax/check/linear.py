"""[3] The arguments of the linear operations -> LinearProblem."""

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from .. import dtypes
from ..typing import Gradient
from .arrays import Array, Shape, array, as_array, row_of, shares_memory, writeable_array
from .numbers import integer, number, one_of
from .problems import Problem, cross_entropy

GRADIENTS = get_args(Gradient)


class LinearProblem(NamedTuple):
    """Arguments that are known to be right. `loss` is the problem of the logits, whose array holds nothing."""

    loss: Problem
    features: Array  # (*lead, n_features), any strides
    classifier: Array  # (n_classes, n_features), any strides
    bias: Array | None  # (n_classes,) in the dtype of computation
    max_workspace_bytes: int
    wanted: tuple[str, ...] = ()
    shift: int = 0
    shapes: tuple[Shape, ...] = ()  # of the gradients, in the order of GRADIENTS
    rows: tuple[dtypes.Dtype, ...] = ()  # their dtypes
    out: tuple[Array | None, ...] = (None, None, None)
    accumulate: bool = False
    pairs: bool = False  # whether factors are rounded to bfloat16, where the backend can multiply these
    optimizer: Any = None  # steps classifier and bias, which are then `parameters`, as soon as their gradients are complete
    parameters: tuple[Array | None, Array | None] = (None, None)
    grad_filter: float | None = None


def linear_cross_entropy(features: object, classifier: object, labels: object, bias: object, options: dict[str, Any], *,
                         shift: Any = 0, max_workspace_bytes: Any, wrt: object = (), dlosses: object = None,
                         out: object = None, accumulate: Any = False, grad_dtype: object = None,
                         compute_dtype: object = None, grad_filter: object = None) -> LinearProblem:
    """Arguments of linear_cross_entropy, with gradients where `wrt` names some."""
    x, w = _matrix(features, "features"), _matrix(classifier, "classifier")
    if w.ndim != 2:
        raise ValueError(f"classifier must have 2 axes, (n_classes, n_features), but has shape {w.shape}")
    if x.ndim == 0 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"features have shape {x.shape}, but must have (..., {w.shape[1]}): the classifier has "
                         f"{w.shape[1]} features a class, shape {w.shape}")
    b = None if bias is None else _matrix(bias, "bias")
    if b is not None and b.shape != (w.shape[0],):
        raise ValueError(f"bias has shape {b.shape}, but must have {(w.shape[0],)}, one number a class")
    row = row_of(*(a for a in (x, w, b) if a is not None))
    real = row.real
    names = _wanted(wrt, b is not None)
    shift = _shift(shift, x.shape[:-1])
    lead = x.shape[:-1] if not shift else (*x.shape[:-2], x.shape[-2] - shift)
    given = {"labels": labels, "sample_weight": options["sample_weight"]}
    inner = {**options, "sample_weight": _shifted(given["sample_weight"], "sample_weight", x.shape[:-1], shift)}
    # an array of the logits' shape with no memory behind it: what is checked of logits is checked of it
    logits = np.broadcast_to(np.zeros((), real), (*lead, w.shape[0]))
    loss = cross_entropy(logits, _shifted(labels, "labels", x.shape[:-1], shift), None, inner, wants_out=bool(names),
                         dlosses=dlosses)
    shapes = (x.shape, w.shape, (w.shape[0],))
    rows = _gradient_rows(grad_dtype, (x, w, b if b is not None else w))
    inputs = {"features": features, "classifier": classifier, "bias": bias, "dlosses": dlosses,
              "class_weight": options["class_weight"], **given}
    targets, rows = _outs(out, names, shapes, rows, grad_dtype, inputs)
    if accumulate not in (False, True):
        raise TypeError(f"accumulate must be a bool, not {type(accumulate).__name__}")
    if accumulate and any(t is None and n in names for n, t in zip(GRADIENTS, targets, strict=True)):
        raise ValueError("accumulate=True adds to given gradients: give an array in `out` for each of " + ", ".join(names))
    workspace = integer(max_workspace_bytes, "max_workspace_bytes")
    if shift:
        x = x[..., :-shift, :]
    bias_real = None if b is None else np.ascontiguousarray(b, dtype=real)
    pairs = _pairs(compute_dtype, row, (x, w))
    return LinearProblem(loss, x, w, bias_real, workspace, names, shift, shapes, rows, targets, bool(accumulate), pairs,
                         grad_filter=_grad_filter(grad_filter))


def parameter(value: Any, name: str) -> Array:
    """What an optimizer steps: an array of floats that can be written to."""
    return writeable_array(value, name, np.shape(value), row_of(np.asarray(value)))


def linear_step(features: object, classifier: Any, labels: object, bias: Any, options: dict[str, Any], *, optimizer: Any,
                shift: Any, max_workspace_bytes: Any, dlosses: object, compute_dtype: object,
                wrt: object = GRADIENTS, grad_filter: object = None) -> LinearProblem:
    """Arguments of linear_cross_entropy_step: classifier and bias are written to, so they must be arrays already."""
    if not all(callable(getattr(optimizer, name, None)) for name in ("start", "step_part")):
        raise TypeError(f"optimizer must be one of fastsoftmax.optim, not {type(optimizer).__name__}")
    stepped = (*_wanted(wrt, True), "classifier", "bias")
    problem = linear_cross_entropy(features, classifier, labels, bias, options, shift=shift, wrt=stepped,
                                   max_workspace_bytes=max_workspace_bytes, dlosses=dlosses, compute_dtype=compute_dtype,
                                   grad_filter=grad_filter)
    inputs = {"features": features, "labels": labels, "dlosses": dlosses, "class_weight": options["class_weight"],
              "sample_weight": options["sample_weight"], "classifier": classifier}
    for name, a in (("classifier", classifier), ("bias", bias)):
        if a is not None:
            target = parameter(a, name)
            for other, value in inputs.items():
                if other != name and value is not None and shares_memory(np.asarray(value), target):
                    raise ValueError(f"{name} overlaps {other}, and is to be written to")
    return problem._replace(optimizer=optimizer, parameters=(classifier, bias))


def linear_rows(features: object, classifier: object, bias: object, options: dict[str, Any], max_workspace_bytes: Any,
                labels: object = None, ignore_index: Any = None, shift: Any = 0) -> LinearProblem:
    """Arguments of what a linear layer predicts, for rows with labels or without."""
    x = _matrix(features, "features")
    options = dict(class_weight=None, sample_weight=None, ignore_index=ignore_index, reduction="none", label_smoothing=0.0,
                   z_loss=0.0, axis=-1, empty="nan", **options)
    given = np.zeros(x.shape[:-1], np.int64) if labels is None else labels
    problem = linear_cross_entropy(x, classifier, given, bias, options, shift=shift,
                                   max_workspace_bytes=max_workspace_bytes)
    if not len(problem.classifier):
        raise ValueError("classifier has zero classes: there is nothing to predict")
    return problem if labels is not None else problem._replace(loss=problem.loss._replace(labels=None))


def count_of(k: Any, n_classes: int, name: str, least: int) -> int:
    """How many classes are asked for."""
    n = integer(k, name)
    if not least <= n <= n_classes:
        raise ValueError(f"{name} is {n}, outside [{least}, {n_classes}]")
    return n


def generator(rng: object) -> np.random.Generator:
    """A NumPy random generator."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, not {type(rng).__name__}: numpy.random.default_rng(seed)")
    return rng


def _matrix(value: object, name: str) -> Array:
    a = np.asarray(array(value, name))
    if dtypes.find(a.dtype) is None:
        raise TypeError(f"{name} has dtype {a.dtype}; allowed are float64, float32, float16 and bfloat16")
    return a


def _wanted(wrt: object, has_bias: bool) -> tuple[str, ...]:
    """The gradients asked for, each once, in the order of GRADIENTS; by default all there are."""
    if isinstance(wrt, str) or not isinstance(wrt, Sequence):
        raise TypeError(f"wrt must be a tuple of {', '.join(map(repr, GRADIENTS))}, not {type(wrt).__name__}")
    for name in wrt:
        one_of(name, "wrt", GRADIENTS)
    return tuple(name for name in GRADIENTS if name in wrt and (has_bias or name != "bias"))


def _shift(shift: Any, lead: Shape) -> int:
    n = integer(shift, "shift")
    if n < 0:
        raise ValueError(f"shift is {n}, but must be at least 0")
    if n and not lead:
        raise ValueError(f"shift is {n}, but features have one row only: there is no next one")
    return min(n, lead[-1]) if n else 0


def _shifted(value: object, name: str, lead: Shape, shift: int) -> Any:
    """What is given for every row, without the first `shift` of each sequence."""
    if not shift or value is None:
        return value
    a = as_array(value, name, "fill it first")
    if name != "labels" and a.ndim == 0:
        return value
    if a.shape != lead:
        raise ValueError(f"{name} has shape {a.shape}, but must have {lead}, that of features without their last axis")
    return a[..., shift:]


def _pairs(compute_dtype: object, row: dtypes.Dtype, arrays: tuple[Array, Array]) -> bool:
    """Whether factors are rounded to bfloat16: where that is asked for, or all of them are."""
    if compute_dtype is None:
        return all(dtypes.find(a.dtype) is dtypes.BF16 for a in arrays)
    name = getattr(compute_dtype, "name", getattr(compute_dtype, "__name__", compute_dtype))
    if name not in ("bfloat16", "float32"):
        raise ValueError(f"compute_dtype is {compute_dtype!r}; allowed are 'bfloat16', 'float32' and None")
    if row is dtypes.F64:
        raise ValueError(f"compute_dtype is {name!r}, but there are float64 arrays, which are computed with as such")
    return bool(name == "bfloat16")


def _grad_filter(value: Any) -> float | None:
    return None if value is None else number(value, "grad_filter", 0.0, 1.0)


def _gradient_rows(grad_dtype: object, arrays: tuple[Array, ...]) -> tuple[dtypes.Dtype, ...]:
    """The dtype of each gradient: that of its input, or the one asked for."""
    if grad_dtype is None:
        return tuple(row_of(a) for a in arrays)
    try:
        row = dtypes.find(np.dtype(grad_dtype))  # type: ignore[call-overload]
    except TypeError:
        row = None
    if row is None:
        raise TypeError(f"grad_dtype is {grad_dtype!r}; allowed are float64, float32, float16 and bfloat16")
    return (row,) * len(arrays)


def _outs(out: object, names: tuple[str, ...], shapes: tuple[Shape, ...], rows: tuple[dtypes.Dtype, ...],
          grad_dtype: object, inputs: dict[str, object]) -> tuple[tuple[Array | None, ...], tuple[dtypes.Dtype, ...]]:
    """The arrays given for gradients, in the order of GRADIENTS, and the dtypes: an array's own where none is asked for."""
    if out is None:
        return (None, None, None), rows
    if not isinstance(out, (tuple, list)) or len(out) != len(GRADIENTS):
        raise TypeError("out must be a tuple (dfeatures, dclassifier, dbias), None for each that is not given")
    found: list[Array | None] = []
    kinds = list(rows)
    for i, (name, a) in enumerate(zip(GRADIENTS, out, strict=True)):
        if a is None:
            found.append(None)
            continue
        label = f"out[{i}], the gradient of {name},"
        if name not in names:
            raise ValueError(f"{label} is given, but not wanted: wrt has no {name!r}, or there is no such input")
        if grad_dtype is None and isinstance(a, np.ndarray):
            kinds[i] = dtypes.find(a.dtype) or kinds[i]
        target = writeable_array(a, label, shapes[i], kinds[i])
        others = {**inputs, **{f"out[{j}]": found[j] for j in range(i)}}
        for other, value in others.items():
            if value is not None and shares_memory(np.asarray(value), target):
                raise ValueError(f"{label} overlaps {other}")
        found.append(target)
    return tuple(found), tuple(kinds)


def workspace_error(given: int, least: int) -> ValueError:
    """The exception for a workspace that holds not even one tile."""
    return ValueError(f"max_workspace_bytes is {given:,}, but the least that works for these shapes is {least:,}")


