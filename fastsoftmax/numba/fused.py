"""[5] fused_cross_entropy: a user's transform of the logits within the loss, for Python and for compiled code."""

import functools

import numpy as np
from numba import njit, types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError
from numba.extending import overload

from .. import api, check
from ..backends import _numba_fused as kernels
from ..backends import _numba_types as states
from ..backends._numba_cache import OPTIONS
from ..backends._numba_door import runner
from ..backends._numba_math import exp_of
from ..backends._numba_math import tanh as tanh_of
from ..backends.numba import LOGITS_PER_THREAD, arguments_of
from ..contract import BLOCK
from ..run import execute
from . import arguments as a
from .public import loss_for

scalar = functools.partial(njit, **OPTIONS, fastmath={"contract"}, forceinline=True)


@scalar
def exp(x):
    """exp(x) of a number; loops of it use the CPU's vectors, which those of math.exp do not."""
    return exp_of(x)


@scalar
def tanh(x):
    """tanh(x), likewise."""
    return tanh_of(x)


class Backend:
    """What run.execute asks of a backend, for one transform and one call's parameters."""

    NAME = "numba, fused"
    SPLITS_CLASSES = FORGETS_CLASSES = TILES = False
    LOGITS_PER_THREAD = LOGITS_PER_THREAD

    def __init__(self, kernel, params):
        self._kernel, self._params = kernel, params

    def bind(self, job):
        flats, arrays, numbers = arguments_of(job, states.LABELS)
        params = tuple(map(job.dtype.real.type, self._params))

        def run(row0, row1, block0, block1, phase):
            scratch = np.empty(BLOCK, job.dtype.real)  # a thread's own
            return self._kernel(states.Arrays(*flats, scratch, *arrays), numbers, row0, row1, params)

        return run


def parts_of(transform):
    """(f, df or None), compiled."""
    parts = transform if isinstance(transform, tuple) else (transform,)
    if not 1 <= len(parts) <= 2 or not all(map(callable, parts)):
        raise TypeError("transform must be a function f, or a pair (f, df) for the gradient too")
    f, df = (*(p if isinstance(p, Dispatcher) else njit(p) for p in parts), None)[:2]
    taken = kernels.arity(f)
    if taken < 1:
        raise TypeError("transform's f must take a logit, and then any parameters")
    if df is not None and not taken <= kernels.arity(df) <= taken + 1:
        raise TypeError(f"transform's df takes {kernels.arity(df)} arguments, but must take f's {taken}, (x, *params), "
                        f"or {taken + 1}, (x, f(x), *params)")
    return f, df


def checked_params(params, wanted):
    """A call's parameters as floats."""
    if not isinstance(params, tuple) or len(params) != wanted:
        raise TypeError(f"params must be a tuple of {wanted} numbers, those that f takes after the logit")
    return tuple(check.number(p, f"params[{i}]", -np.inf) for i, p in enumerate(params))


def make(transform, dtype):
    """The function that fastsoftmax.numba.fused_cross_entropy returns."""
    f, df = parts_of(transform)
    kernel, n_params = kernels.fused_rows(f, df), kernels.arity(f) - 1
    run, grad = runner(kernel, True), df is not None

    def fused_loss(logits, labels, *, params=(), class_weight=None, sample_weight=None, ignore_index=-100, reduction="mean",
                   label_smoothing=0.0, z_loss=0.0, temperature=1.0, axis=-1, empty="nan", dlosses=None, out=None):
        """The loss of f(logits/temperature) or, with df, CrossEntropyGrad(loss, dlogits, lse)."""
        if not grad and (dlosses is not None or out is not None):
            raise TypeError("dlosses and out are for gradients: give transform=(f, df)")
        options = dict(class_weight=class_weight, sample_weight=sample_weight, ignore_index=ignore_index,
                       reduction=reduction, label_smoothing=label_smoothing, z_loss=z_loss, softcap=None,
                       temperature=temperature, axis=axis, empty=empty)
        backend = Backend(kernel, checked_params(params, n_params))
        problem = check.cross_entropy(logits, labels, None, options, wants_out=grad, dlosses=dlosses, out=out)
        filled = execute(problem, backend)
        loss = api.reduced(problem, filled.losses)
        return api.CrossEntropyGrad(loss, filled.out, filled.lse.reshape(problem.lead)[()]) if grad else loss

    fused_loss = api.quiet(fused_loss)
    fused_loss.__name__ = fused_loss.__qualname__ = f"fused_cross_entropy of {f.py_func.__name__}"
    _overload(fused_loss, run, grad, n_params)
    if dtype is not None:
        fused_loss(np.zeros((1, 1), check.array(np.empty(0, dtype), "dtype").dtype), [0], params=(1.0,) * n_params)
    return fused_loss


def _overload(function, run, grad, n_params):
    """`function` inside compiled code."""

    @overload(function, prefer_literal=True, strict=False)
    def resolve(logits, labels, *, params=(), class_weight=None, sample_weight=None, ignore_index=-100, reduction="mean",
                label_smoothing=0.0, z_loss=0.0, temperature=1.0, axis=-1, empty="nan", dlosses=None, out=None):
        if not isinstance(params, (tuple, types.BaseTuple)) or len(params) != n_params:
            raise TypingError(f"params must be a tuple of {n_params} numbers, those that f takes after the logit")
        if not grad and not (a.is_absent(dlosses) and a.is_absent(out)):
            raise TypingError("dlosses and out are for gradients: give transform=(f, df)")
        real = a.real_of(logits)
        begin, end = loss_for(grad, logits, labels, False, axis, reduction, empty, class_weight=class_weight,
                              sample_weight=sample_weight, ignore_index=ignore_index, label_smoothing=label_smoothing,
                              z_loss=z_loss, temperature=temperature, dlosses=dlosses)

        def implementation(logits, labels, params=(), class_weight=None, sample_weight=None, ignore_index=-100,
                           reduction="mean", label_smoothing=0.0, z_loss=0.0, temperature=1.0, axis=-1, empty="nan",
                           dlosses=None, out=None):
            begun = begin(logits, labels, a.Given(class_weight, sample_weight, ignore_index, label_smoothing, z_loss, None,
                                                  temperature, dlosses), out)
            return end(begun, run(begun.job, (kernels.as_reals(real, params),)))

        return implementation
