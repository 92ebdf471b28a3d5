"""[1] The softmax family for compiled code of others: arrays of any layout, bound to the row kernels."""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import intrinsic, overload
from numba.np.arrayobj import populate_array

from ..contract import ALL, STREAMED_BYTES
from . import _numba_rows as rows
from ._numba_cache import jit, pasted
from ._numba_types import LABELS, PROBS, SOFTMAX, Arrays, Numbers, is_fit, scratch_size
from ._numba_vec import I64


class PerRow(NamedTuple):
    """Arrays of a number a row or a class, as the kernels take them: 1-d, contiguous, empty where absent."""

    class_weight: np.ndarray
    labels: np.ndarray
    sample_weight: np.ndarray
    dlosses: np.ndarray
    losses: np.ndarray
    lse: np.ndarray


class Options(NamedTuple):
    """What of Numbers does not depend on where arrays lie."""

    kind: int
    ignore_index: int
    scale: float
    cap: float
    smoothing: float
    z_loss: float
    grad_scale: float


# ---- the same memory as another array --------------------------------------------------------------------------


def _flattened(array, readonly):
    kind = types.Array(array.dtype, 1, "C", readonly=readonly)

    def codegen(context, builder, signature, args):
        given, flat = context.make_array(array)(context, builder, args[0]), context.make_array(kind)(context, builder)
        populate_array(flat, given.data, [given.nitems], [given.itemsize], given.itemsize, given.meminfo, given.parent)
        return impl_ret_borrowed(context, builder, kind, flat._getvalue())

    return kind(array), codegen


@intrinsic
def flat(typingctx, array):
    """The array's memory from its first element on, as a 1-d array. It is as long as the array has elements: where its
    rows lie apart or backwards, kernels find them by their steps."""
    return _flattened(array, False) if isinstance(array, types.Array) else None


@intrinsic
def readable(typingctx, array):
    """The same, read-only, as kernels take what they do not write."""
    return _flattened(array, True) if isinstance(array, types.Array) else None


@intrinsic
def absent(typingctx, dtype):
    """A read-only array of nothing."""
    kind = types.Array(dtype.dtype, 1, "C", readonly=True)

    def codegen(context, builder, signature, args):
        array = context.make_array(kind)(context, builder)
        size = I64(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        populate_array(array, context.get_constant_null(types.CPointer(kind.dtype)), [I64(0)], [size], size, None)
        return array._getvalue()

    return kind(dtype), codegen


def step_of(x):
    """(whether a row's classes lie side by side and rows one step apart, that step in elements)."""
    raise NotImplementedError("compiled only")


@overload(step_of)
def _step_of(x):
    last = x.ndim - 2

    def packed(x):
        return True, x.shape[-1]

    def one_row(x):
        return x.shape[0] <= 1 or x.strides[0] == x.itemsize, 0

    def stepped(x):
        if x.shape[-1] > 1 and x.strides[-1] != x.itemsize:
            return False, 0
        for axis in range(last):
            if x.shape[axis] > 1 and x.strides[axis] != x.strides[axis + 1] * x.shape[axis + 1]:
                return False, 0
        return x.strides[last] % x.itemsize == 0, x.strides[last] // x.itemsize

    if not x.aligned:
        return lambda x: (False, 0)
    return packed if x.layout == "C" else one_row if x.ndim == 1 else stepped


# ---- jobs ------------------------------------------------------------------------------------------------------


@jit
def numbers_of(o, r, n_classes, steps, place, writes, staged, row_bytes, n_rows):
    """Numbers as backends.numba makes them, with the plan's choices."""
    x_step, q_step, out_step = steps
    large = writes and n_rows * row_bytes >= STREAMED_BYTES
    streams = large and not staged and place != 1
    keeps = (writes and not staged and is_fit(n_classes, row_bytes) and o.cap == 0
             and (o.kind == SOFTMAX or (o.kind == LABELS and o.smoothing == 0)))
    inner = 1.0 if o.cap != 0 else o.scale
    zero = np.int64(0)
    return Numbers(np.int64(o.kind), np.int64(PROBS), np.int64(n_classes), zero, zero, np.int64(x_step), zero,
                   np.int64(q_step), zero, np.int64(out_step), np.int64(o.ignore_index), keeps, streams, np.int64(place),
                   writes, o.kind == LABELS, False, False, len(r.class_weight) > 0, len(r.sample_weight) > 0,
                   len(r.dlosses) > 0, o.scale, inner, o.cap, o.smoothing, o.z_loss, o.grad_scale, 1.0)


class Bound(NamedTuple):
    """A job: what the kernel gets, the arrays as they were given, and room for one row where that has to be copied."""

    arrays: Arrays
    numbers: Numbers
    x: np.ndarray
    q: np.ndarray
    out: np.ndarray
    x_row: np.ndarray
    q_row: np.ndarray
    out_row: np.ndarray
    n_rows: int
    copies: bool  # or None: never, known as this is compiled


@jit
def arrays_of(real, x, q, out, r, n):
    """Arrays, with room for what is computed meanwhile."""
    z, nothing = np.empty(scratch_size(n), real), np.empty(0, np.float64)
    return Arrays(readable(x), readable(q), flat(out), z, r.class_weight, r.labels, absent(np.int64),
                  absent(np.float64), nothing, absent(np.float64), r.sample_weight, r.dlosses, r.losses, r.lse, nothing,
                  nothing)


@jit
def where_they_lie(real, x, q, out, r, o, n_rows, place, writes, copies):
    """For arrays whose rows are one step apart."""
    steps, nothing = (step_of(x)[1], step_of(q)[1], step_of(out)[1]), np.empty(0, real)
    n = numbers_of(o, r, x.shape[-1], steps, place, writes, False, x.shape[-1] * x.itemsize, n_rows)
    return Bound(arrays_of(real, x, q, out, r, n), n, x, q, out, nothing, nothing, nothing, n_rows, copies)


@jit
def row_by_row(real, x, q, out, r, o, n_rows, writes):
    """For any arrays: each row is copied to where its classes lie side by side, in the dtype of computation."""
    n_classes = x.shape[-1]
    x_row, q_row = np.empty(n_classes, real), np.empty(min(n_classes, q.size), real)
    out_row = np.empty(min(n_classes, out.size), real)
    n = numbers_of(o, r, n_classes, (0, 0, 0), 0, writes, True, 0, 0)
    return Bound(arrays_of(real, x_row, q_row, out_row, r, n), n, x, q, out, x_row, q_row, out_row, n_rows, True)


def bind(real, x, q, out, r, o, n_rows, place, writes):
    """A kernel's job for all rows of x, (..., n_classes), with q and out of its shape or, where absent, arrays of nothing.
    `real`: the dtype of computation."""
    raise NotImplementedError("compiled only")


@overload(bind)
def _bind(real, x, q, out, r, o, n_rows, place, writes):
    def all_at_once(real, x, q, out, r, o, n_rows, place, writes):
        return where_they_lie(real, x, q, out, r, o, n_rows, place, writes, None)

    def one_by_one(real, x, q, out, r, o, n_rows, place, writes):
        return row_by_row(real, x, q, out, r, o, n_rows, writes)

    def as_they_lie(real, x, q, out, r, o, n_rows, place, writes):
        if step_of(x)[0] and step_of(q)[0] and step_of(out)[0]:
            return where_they_lie(real, x, q, out, r, o, n_rows, place, writes, False)
        return row_by_row(real, x, q, out, r, o, n_rows, writes)

    if any(a.dtype != real.dtype for a in (x, q, out)):
        return one_by_one
    return all_at_once if all(a.layout == "C" and a.aligned for a in (x, q, out)) else as_they_lie


@jit
def place_in(row, lead):
    """The position of a row in the leading shape."""
    at = lead
    for axis in range(len(lead) - 1, -1, -1):
        at = tuple_setitem(at, axis, row % lead[axis])
        row //= lead[axis]
    return at


def row_at(x, row):
    """All classes of one row."""
    raise NotImplementedError("compiled only")


@overload(row_at)
def _row_at(x, row):
    if x.ndim == 1:
        return lambda x, row: x
    return (lambda x, row: x[row]) if x.ndim == 2 else (lambda x, row: x[place_in(row, x.shape[:-1])])


def take(b, row):
    """Copy a row, if rows are copied; the rows before which one are now ready."""
    raise NotImplementedError("compiled only")


def give(b, row):
    """Copy a row that was written back."""
    raise NotImplementedError("compiled only")


def never_copies(b):
    return isinstance(b.types[b.fields.index("copies")], types.NoneType)


@overload(take)
def _take(b, row):
    def copy(b, row):
        if not b.copies:
            return b.n_rows
        b.x_row[:] = row_at(b.x, row)
        if len(b.q_row):
            b.q_row[:] = row_at(b.q, row)
        return row + 1

    return (lambda b, row: b.n_rows) if never_copies(b) else copy


@overload(give)
def _give(b, row):
    def copy(b, row):
        if b.copies and len(b.out_row):
            row_at(b.out, row)[:] = b.out_row

    return (lambda b, row: None) if never_copies(b) else copy


# ---- running ---------------------------------------------------------------------------------------------------


def lend(library, other):
    """Have whoever links `library` link `other` too. Numba links a function with all that it calls, and makes the machine
    code of all that anew, of which a kernel takes a second: between a kernel and the function of a user it is made for the
    latter alone. What is compiled in between finds the kernel where it was loaded."""
    other._ensure_finalized()
    alone = library._get_module_for_linking

    def together():
        module = alone().clone()
        module.link_in(other._get_module_for_linking(), preserve=True)
        return module

    library._get_module_for_linking = together


@intrinsic
def lent(typingctx, function, arguments):
    """function(*arguments), which is linked not by who calls it, but by who calls that."""
    sig = function.get_call_type(typingctx, arguments.types, {})

    def codegen(context, builder, signature, args):
        made = function.dispatcher.overloads[sig.args]
        address = context.declare_function(builder.module, made.fndesc)
        values = cgutils.unpack_tuple(builder, args[1])
        status, result = context.call_conv.call_function(builder, address, sig.return_type, sig.args, values)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        lend(context.active_code_library, made.library)
        return result

    return sig.return_type(function, arguments), codegen


def runner(kernel, lends):
    """run(job, more): kernel(arrays, numbers, row0, row1, *more) over all rows -> the first row with a bad label, or -1.

    lends: where run() is part of an implementation, which only compiled code calls (`lent`)."""
    invoke = pasted(lambda arguments: lent(kernel, arguments)) if lends else pasted(lambda arguments: kernel(*arguments))

    @pasted
    def run(b, more):
        row, bad = np.int64(0), np.int64(-1)
        while row < b.n_rows and bad < 0:
            stop = take(b, row)
            bad = invoke((b.arrays, b.numbers, row, stop, *more))
            give(b, row)
            row = stop
        return bad

    return run


WHOLE_ROWS = np.int64(0), np.int64(0), np.int64(ALL)  # what the plain kernel takes more: blocks and phase
run_plain, run_lent = runner(rows.softmax_rows, False), runner(rows.softmax_rows, True)
