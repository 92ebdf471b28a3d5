"""[5] For compiled code: inside a user's own `@njit` functions fastsoftmax just works.

    @njit
    def step(logits, labels):
        return fs.cross_entropy_and_grad(logits, labels, out=logits).loss

Numba finds softmax, log_softmax, logsumexp, cross_entropy, soft_cross_entropy and the two ..._and_grad by itself, by the
entry point `numba_extensions`. This module has what goes beyond: row kernels, fused_cross_entropy, exp and tanh.
In compiled code everything runs on the thread that calls, so that `prange` is the user's to use.
"""

from collections.abc import Callable
from typing import Any

try:
    import numba as _numba  # noqa: F401
except ImportError as error:
    raise ImportError('fastsoftmax.numba needs Numba: pip install "fastsoftmax[numba]"') from error

from numpy.typing import DTypeLike

from .. import _numba_extension
from . import fused as _fused
from .fused import exp as exp
from .fused import tanh as tanh
from .rows import row_cross_entropy as row_cross_entropy
from .rows import row_cross_entropy_and_grad as row_cross_entropy_and_grad
from .rows import row_log_softmax as row_log_softmax
from .rows import row_logsumexp as row_logsumexp
from .rows import row_softmax as row_softmax

Function = Callable[..., Any]

_numba_extension.init()  # where the package lies there without its metadata, Numba finds no entry point


def fused_cross_entropy(transform: Function | tuple[Function, Function], *, dtype: DTypeLike | None = None) -> Function:
    """Compile a transform of the logits into the loss: z = f(logits/temperature), loss = cross_entropy(z, labels).

    transform  f(x, *params) -> z, of one logit, or (f, df) for the gradient too, dlogits = dz*df: df(x, *params), or
               df(x, z, *params) where z spares it some of f's work. `@njit` functions, or such as it can compile; those
               with cache=True are kept compiled
    dtype      what to compile for now; by default at the first call with each dtype

    Returns a function (logits, labels, *, params=(), class_weight=None, sample_weight=None, ignore_index=-100,
    reduction="mean", label_smoothing=0.0, z_loss=0.0, temperature=1.0, axis=-1, empty="nan", dlosses=None, out=None), whose
    arguments and results are those of cross_entropy or, with df, of cross_entropy_and_grad. It may be called from Python,
    where it uses the library's threads, and from compiled code. A row is read once; z never exists for more than a row.
    Where nothing comes from above, at a masked class say, the gradient is 0 whatever df is there.
    """
    fused: Function = _fused.make(transform, dtype)
    return fused
