"""[5] The public functions inside compiled code: for the types of a call's arguments, an implementation to compile.

Options are checked by type here and handed to a core, one for each combination of what is fixed as it is compiled. The
cores run the kernels of the Numba backend on the caller's thread, to its bits.
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.core.imputils import impl_ret_new_ref
from numba.extending import intrinsic

from .. import api
from ..backends import _numba_types as states
from ..backends._numba_cache import jit
from ..backends._numba_door import WHOLE_ROWS, Bound, Options, PerRow, absent, bind, run_lent
from ..backends.numba import scan
from ..check import EMPTIES, REDUCTIONS
from ..contract import NO_IGNORE
from . import arguments as a
from .errors import LabelError, Refused

# ---- softmax, log_softmax, logsumexp ---------------------------------------------------------------------------


@jit
def rows_of(x, shape):
    """How many rows there are, with a class in each."""
    n_rows = a.rows_in(x.shape[:-1])
    if n_rows > 0 and x.shape[-1] == 0:
        raise Refused("logits has zero classes in shape {}: there is nothing to normalise", shape)
    return n_rows


@functools.cache
def softmax_core(kind, axis, ndim, real):
    """(logits, temperature, out) -> (out, its job)."""
    turn = a.turned(axis, ndim)

    @jit
    def core(logits, temperature, out):
        shown = a.output(out, logits, real)
        x, filled, nothing = turn(logits), turn(shown), absent(np.float64)
        n_rows, place = rows_of(x, logits.shape), a.place_of(x, filled)
        o = Options(kind, NO_IGNORE, a.scale_of(temperature), 0.0, 0.0, 0.0, 1.0)
        r = PerRow(absent(real), absent(np.int64), nothing, nothing, np.empty(0), np.empty(0))
        return shown, bind(real, x, absent(real), filled, r, o, n_rows, place, True)

    return core


def softmax_like(kind):
    def resolve(logits, *, axis=-1, temperature=1.0, out=None):
        a.need_array(logits, "logits")
        a.need_numbers(temperature=temperature)
        core = softmax_core(kind, a.axis_of(axis, logits), logits.ndim, a.real_of(logits))

        def implementation(logits, axis=-1, temperature=1.0, out=None):
            shown, job = core(logits, temperature, out)
            run_lent(job, WHOLE_ROWS)
            return shown

        return implementation

    return resolve


softmax, log_softmax = softmax_like(states.SOFTMAX), softmax_like(states.LOG_SOFTMAX)


@functools.cache
def lse_core(axis, ndim, real):
    """(logits) -> (its leading shape, the job)."""
    turn = a.turned(axis, ndim)

    @jit
    def core(logits):
        x, nothing = turn(logits), absent(np.float64)
        n_rows = rows_of(x, logits.shape)
        o = Options(states.LSE, NO_IGNORE, 1.0, 0.0, 0.0, 0.0, 1.0)
        r = PerRow(absent(real), absent(np.int64), nothing, nothing, np.empty(0), np.empty(n_rows))
        return x.shape[:-1], bind(real, x, absent(real), np.empty(0, real), r, o, n_rows, 0, False)

    return core


def logsumexp(logits, *, axis=-1, keepdims=False):
    a.need_array(logits, "logits")
    if getattr(keepdims, "literal_value", keepdims) is not False:
        raise TypingError("keepdims is not supported in compiled code: give the result its axis by reshape")
    real = a.real_of(logits)
    core = lse_core(a.axis_of(axis, logits), logits.ndim, real)

    def implementation(logits, axis=-1, keepdims=False):
        lead, job = core(logits)
        run_lent(job, WHOLE_ROWS)
        return a.shaped(job.arrays.lse.astype(real), lead)

    return implementation


# ---- losses ----------------------------------------------------------------------------------------------------


class Fixed(NamedTuple):
    """What a loss's core is compiled for, beside the types of its arguments."""

    soft: bool
    grad: bool
    axis: int
    ndim: int
    real: type
    reduction: str
    empty: str


class Begun(NamedTuple):
    """A loss's job, and what it takes to name the results."""

    job: Bound
    shown: np.ndarray  # the gradient as the user sees it
    lead: tuple
    total: float  # what `mean` divides by


@intrinsic
def result_of(typingctx, loss, dlogits, lse):
    """A CrossEntropyGrad, which is generic, and so for Numba no named tuple until it is told."""
    kind = types.NamedTuple((loss, dlogits, lse), api.CrossEntropyGrad)

    def codegen(context, builder, signature, args):
        for t, value in zip(signature.args, args, strict=True):
            context.nrt.incref(builder, t, value)
        return impl_ret_new_ref(context, builder, kind, context.make_tuple(builder, kind, args))

    return kind(loss, dlogits, lse), codegen


@jit
def with_labels(targets, logits, n_classes, ignore_index, lead, real):
    """(labels, target_probs) as the kernels take them; what is absent is an array of nothing."""
    return a.labels_of(targets, lead, n_classes, ignore_index), absent(real)


@jit
def with_probs(targets, logits, n_classes, ignore_index, lead, real):
    if targets.shape != logits.shape:
        raise Refused("target_probs has shape {}, but must have that of logits, {}", targets.shape, logits.shape)
    return absent(np.int64), targets


@jit
def weight_of_labels(r, lead, n_classes, ignore_index):
    """What `mean` divides by; every label is checked on the way, before anything is written."""
    bad, total = scan(r.labels, n_classes, ignore_index, r.class_weight, r.sample_weight)
    if bad >= 0:
        raise LabelError(r.labels[bad], bad, lead, n_classes, ignore_index)
    return total


@jit
def weight_of_rows(r, lead, n_classes, ignore_index):
    return a.pairwise_sum(r.sample_weight) if len(r.sample_weight) else float(len(r.losses))


def reducer(reduction, empty):
    """(total weight) -> what gradients are scaled by; (losses, lead, total weight) -> the losses reduced."""
    if_empty = 0.0 if empty == "zero" else np.nan

    def mean(losses, lead, total):
        return a.pairwise_sum(losses) / total if total != 0 else if_empty

    reduce = {"none": lambda losses, lead, total: a.shaped(losses, lead),
              "sum": lambda losses, lead, total: a.pairwise_sum(losses), "mean": mean}[reduction]
    if reduction == "mean":
        return jit(lambda total: 1 / total if total != 0 else if_empty), jit(reduce)
    return jit(lambda total: 1.0), jit(reduce)


@functools.cache
def loss_core(fixed):
    """((logits, targets, given, out) -> Begun, (Begun, first bad row) -> the loss or, with `grad`, CrossEntropyGrad)."""
    real, grad, kind = fixed.real, fixed.grad, states.TARGETS if fixed.soft else states.LABELS
    turn = a.turned(fixed.axis, fixed.ndim)
    turn_q = turn if fixed.soft else a.turned(0, 1)
    targets_of = with_probs if fixed.soft else with_labels
    weigh, (norm, reduce) = weight_of_rows if fixed.soft else weight_of_labels, reducer(fixed.reduction, fixed.empty)
    place_of = a.place_of_two if fixed.soft else jit(lambda x, q, out: a.place_of(x, out))

    @jit
    def begin(logits, targets, given, out):
        shown = a.output(out, logits, real) if grad else np.empty(0, real)
        x, filled = turn(logits), turn(shown) if grad else shown
        n_rows, lead, n_classes, ignore = rows_of(x, logits.shape), x.shape[:-1], x.shape[-1], a.ignored(given.ignore_index)
        labels, target_probs = targets_of(targets, logits, n_classes, ignore, lead, real)
        q = turn_q(target_probs)
        r = PerRow(a.per_class(given.class_weight, n_classes, real), labels,
                   a.per_row(given.sample_weight, "sample_weight", lead, n_rows),
                   a.per_row(given.dlosses, "dlosses", lead, n_rows), np.empty(n_rows), np.empty(n_rows))
        smoothing, z_loss = a.smoothing_of(given.label_smoothing), a.z_loss_of(given.z_loss)
        scale, cap = a.scale_of(given.temperature), a.cap_of(given.softcap)
        place = place_of(x, q, filled) if grad else 0
        total = weigh(r, lead, n_classes, ignore)
        o = Options(kind, ignore, scale, cap, smoothing, z_loss, norm(total))
        return Begun(bind(real, x, q, filled, r, o, n_rows, place, grad), shown, lead, total)

    @jit
    def end(begun, bad):
        arrays, n = begun.job.arrays, begun.job.numbers
        if bad >= 0:  # the label was right when it was checked: another thread has changed it since
            raise LabelError(arrays.labels[bad], bad, begun.lead, n.n_classes, n.ignore_index)
        loss = reduce(arrays.losses, begun.lead, begun.total)
        return result_of(loss, begun.shown, a.shaped(arrays.lse, begun.lead)) if grad else loss

    return begin, end


def loss_for(grad, logits, targets, soft, axis, reduction, empty, **options):
    """The core for arguments of these types, which are checked."""
    a.need_array(logits, "logits")
    axis = a.axis_of(axis, logits)
    if soft:
        a.need_array(targets, "target_probs")
        if targets.ndim != logits.ndim:
            raise TypingError(f"target_probs has {targets.ndim} axes, but must have those of logits, {logits.ndim}")
    else:
        a.need_labels(targets, logits.ndim - 1)
    a.need_options(logits.ndim - 1, **options)
    real = a.real_of(logits, targets) if soft else a.real_of(logits)
    return loss_core(Fixed(soft, grad, axis, logits.ndim, real, a.literal(reduction, "reduction", REDUCTIONS),
                           a.literal(empty, "empty", EMPTIES)))


def cross_entropy(logits, labels, *, class_weight=None, sample_weight=None, ignore_index=-100, reduction="mean",
                  label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan"):
    begin, end = loss_for(False, logits, labels, False, axis, reduction, empty, class_weight=class_weight,
                    sample_weight=sample_weight, ignore_index=ignore_index, label_smoothing=label_smoothing,
                    z_loss=z_loss, softcap=softcap, temperature=temperature)

    def implementation(logits, labels, class_weight=None, sample_weight=None, ignore_index=-100, reduction="mean",
                       label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan"):
        given = a.Given(class_weight, sample_weight, ignore_index, label_smoothing, z_loss, softcap, temperature, None)
        begun = begin(logits, labels, given, None)
        return end(begun, run_lent(begun.job, WHOLE_ROWS))

    return implementation


def cross_entropy_and_grad(logits, labels, *, class_weight=None, sample_weight=None, ignore_index=-100, reduction="mean",
                           label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan",
                           dlosses=None, out=None):
    begin, end = loss_for(True, logits, labels, False, axis, reduction, empty, class_weight=class_weight,
                    sample_weight=sample_weight, ignore_index=ignore_index, label_smoothing=label_smoothing,
                    z_loss=z_loss, softcap=softcap, temperature=temperature, dlosses=dlosses)

    def implementation(logits, labels, class_weight=None, sample_weight=None, ignore_index=-100, reduction="mean",
                       label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan",
                       dlosses=None, out=None):
        given = a.Given(class_weight, sample_weight, ignore_index, label_smoothing, z_loss, softcap, temperature, dlosses)
        begun = begin(logits, labels, given, out)
        return end(begun, run_lent(begun.job, WHOLE_ROWS))

    return implementation


def soft_cross_entropy(logits, target_probs, *, class_weight=None, sample_weight=None, reduction="mean",
                       label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan"):
    begin, end = loss_for(False, logits, target_probs, True, axis, reduction, empty, class_weight=class_weight,
                    sample_weight=sample_weight, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                    temperature=temperature)

    def implementation(logits, target_probs, class_weight=None, sample_weight=None, reduction="mean",
                       label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan"):
        given = a.Given(class_weight, sample_weight, None, label_smoothing, z_loss, softcap, temperature, None)
        begun = begin(logits, target_probs, given, None)
        return end(begun, run_lent(begun.job, WHOLE_ROWS))

    return implementation


def soft_cross_entropy_and_grad(logits, target_probs, *, class_weight=None, sample_weight=None, reduction="mean",
                                label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan",
                                dlosses=None, out=None):
    begin, end = loss_for(True, logits, target_probs, True, axis, reduction, empty, class_weight=class_weight,
                    sample_weight=sample_weight, label_smoothing=label_smoothing, z_loss=z_loss, softcap=softcap,
                    temperature=temperature, dlosses=dlosses)

    def implementation(logits, target_probs, class_weight=None, sample_weight=None, reduction="mean",
                       label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan",
                       dlosses=None, out=None):
        given = a.Given(class_weight, sample_weight, None, label_smoothing, z_loss, softcap, temperature, dlosses)
        begun = begin(logits, target_probs, given, out)
        return end(begun, run_lent(begun.job, WHOLE_ROWS))

    return implementation
