"""[1] A user's transform of the logits compiled into the loss: z = f(x), the loss of z and dz, dx = dz*f'(x).

A row is transformed into memory of the thread's own; what happens there is the plain kernel's work, to its bits.
"""

import inspect

import numpy as np
from numba.extending import overload

from ..contract import ALL
from . import _numba_memory as memory
from . import _numba_rows as rows
from ._numba_cache import jit, kernel, pasted
from ._numba_door import absent, readable
from ._numba_labels import BAD, INERT, label_of
from ._numba_math import as_real, put, real_of
from ._numba_types import Arrays, Numbers, is_fit


def arity(function):
    """How many arguments a compiled function takes."""
    return len(inspect.signature(function.py_func).parameters)


def transformer(f, df):
    """(x, z, slope, scale, params): z = f(x*scale), and slope its derivative there. Pasted, so that where slope is x itself
    LLVM sees one array and needs no check for overlap."""
    if df is None:
        @pasted
        def transform(x, z, slope, scale, params):
            for k in range(len(z)):
                z[k] = f(real_of(x[k]) * scale, *params)
    elif arity(df) == arity(f):
        @pasted
        def transform(x, z, slope, scale, params):
            for k in range(len(z)):
                u = real_of(x[k]) * scale
                z[k] = f(u, *params)
                slope[k] = df(u, *params)
    else:
        @pasted
        def transform(x, z, slope, scale, params):
            for k in range(len(z)):
                u = real_of(x[k]) * scale
                z[k] = f(u, *params)
                slope[k] = df(u, z[k], *params)
    return transform


@jit
def numbers_of(n, row_bytes):
    """Those for a row of z, in place and without a scale: f has had it."""
    keeps = n.writes and is_fit(n.n_classes, row_bytes) and n.smoothing == 0
    zero = np.int64(0)
    return Numbers(n.kind, n.second, n.n_classes, zero, zero, zero, zero, zero, zero, zero, n.ignore_index, keeps, False,
                   np.int64(1), n.writes, n.has_labels, False, False, n.weighs_classes, n.weighs_rows, n.has_dlosses, 1.0,
                   1.0, 0.0, n.smoothing, n.z_loss, n.grad_scale * n.scale, 1.0)


@jit
def put_products(out, dz, slope):
    """out = dz*slope; where nothing comes from above, nothing goes on, whatever the slope."""
    for k in range(len(out)):
        put(out, k, dz[k] * slope[k] if dz[k] != 0 else dz[k])


def slopes_in(out, aside):
    """Where a row's slopes are kept: in its output, or aside, where that is too narrow."""
    raise NotImplementedError("compiled only")


@overload(slopes_in)
def _slopes_in(out, aside):
    return (lambda out, aside: out) if out.dtype == aside.dtype else (lambda out, aside: aside)


def as_reals(real, params):
    """A transform's parameters in the dtype that is computed in, so that they do not widen what is."""
    raise NotImplementedError("compiled only")


@overload(as_reals)
def _as_reals(real, params):
    if len(params) == 0:
        return lambda real, params: ()
    return lambda real, params: (real(params[0]), *as_reals(real, params[1:]))


def fused_rows(f, df):
    """The kernel of a transform: (arrays, numbers, row0, row1, params) -> the first row with a bad label, or -1."""
    transform = transformer(f, df)

    def fused(a, n, row0, row1, params):
        z, scale = np.empty(n.n_classes, a.z.dtype), as_real(a.z, n.scale)
        aside = np.empty(n.n_classes if n.writes and a.out.itemsize < z.itemsize else 0, z.dtype)
        b = Arrays(readable(z), absent(z.dtype), z, a.z, a.class_weight, a.labels, a.ids, a.shares, a.found, a.shifts,
                   a.sample_weight, a.dlosses, a.losses, a.lse, a.states, a.finals)
        m = numbers_of(n, n.n_classes * z.itemsize)
        for i in range(row0, row1):
            y = label_of(a, n, i)
            if y == BAD:
                return i
            x = memory.as_array(memory.of(a.x), n.x0 + i * n.x_step, n.n_classes)
            out = memory.as_array(memory.of(a.out), n.out0 + i * n.out_step, n.n_classes if n.writes else 0)
            slope = slopes_in(out, aside)
            if y != INERT:
                if n.in_place == 1 and not len(aside):
                    transform(slope, z, slope, scale, params)
                else:
                    transform(x, z, slope, scale, params)
            bad = rows.softmax_rows(b, m, i, i + 1, np.int64(0), np.int64(0), np.int64(ALL))
            if bad >= 0:
                return bad
            put_products(out, z, slope)
        return -1

    return kernel(fused, (f,) if df is None else (f, df))
