"""`out`: what it may be, that anything else is refused, and that nothing is written when it is."""

import checks
import numpy as np
import pytest
from operations import DTYPES, OPERATIONS, dtype_of, inputs_of

import fastsoftmax as fs

TAKES_OUT = pytest.mark.parametrize("name", [name for name, o in OPERATIONS.items() if o.takes_out])


@TAKES_OUT
def test_out_of_every_layout(backend, name):
    """Given, strided, reversed, Fortran, unaligned, memory with the class axis first: the bits of a fresh one."""
    operation, shape = OPERATIONS[name], (3, 4, 97)
    for dtype in DTYPES:
        inputs = inputs_of(name, shape, dtype)
        right, kind = operation(*inputs), dtype_of(dtype)
        unaligned = np.zeros(3 * 4 * 97 * kind.itemsize + 1, np.uint8)[1:].view(kind).reshape(shape)
        for out in (np.empty(shape, kind), np.empty((3, 4, 300), kind)[..., 1:292:3], np.empty((6, 4, 97), kind)[::2],
                    np.empty(shape, kind)[::-1, :, ::-1], np.empty(shape, kind, order="F"), unaligned,
                    np.empty((97, 4, 3), kind).T, np.empty((4, 3, 97), kind).swapaxes(0, 1)):
            got = operation.call(*inputs, out=out)
            assert (got.dlogits if isinstance(got, tuple) else got) is out
            checks.check_same_bits(operation(*inputs, out=out), right)


@TAKES_OUT
def test_out_along_another_axis(backend, name):
    operation = OPERATIONS[name]
    inputs = inputs_of(name, (3, 4, 5), "float32")
    moved = [a if a.dtype.kind == "i" else np.ascontiguousarray(np.moveaxis(a, -1, 0)) for a in inputs]
    right = operation(*moved, axis=0)
    for out in (np.empty((5, 3, 4), np.float32), np.empty((4, 3, 5), np.float32).T):
        checks.check_same_bits(operation(*moved, axis=0, out=out), right)
    in_place = [a.copy() for a in inputs]
    right = operation(*in_place, out=in_place[0])
    for got, expected in zip(operation(*moved, axis=0, out=moved[0]), right, strict=True):
        checks.check_same_bits([np.moveaxis(got, 0, -1) if got.ndim == 3 else got], [expected])


@TAKES_OUT
def test_out_that_is_refused(name):
    operation = OPERATIONS[name]
    inputs = inputs_of(name, (3, 5), "float32")
    read_only = np.zeros((3, 5), np.float32)
    read_only.flags.writeable = False
    strided = np.lib.stride_tricks.as_strided
    base = np.zeros(64, np.float32)
    for out, error, says in [
        (read_only, ValueError, "^out is read-only"),
        (np.zeros((3, 5)), TypeError, "^out has dtype float64, but must have float32"),
        (np.zeros((3, 5), np.float16), TypeError, "^out has dtype float16"),
        (np.zeros((3, 5), np.int32), TypeError, "^out has dtype int32"),
        (np.zeros((3, 5), object), TypeError, "^out has dtype object"),
        (np.zeros((3, 5), ">f4"), TypeError, "^out has dtype >f4, but must have float32 in native byte order"),
        (np.zeros((5, 3), np.float32), ValueError, r"^out has shape \(5, 3\), but must have \(3, 5\)"),
        (np.zeros((3, 5, 1), np.float32), ValueError, r"^out has shape \(3, 5, 1\)"),
        (np.zeros(15, np.float32), ValueError, r"^out has shape \(15,\)"),
        (np.zeros((3, 6), np.float32), ValueError, r"^out has shape \(3, 6\)"),
        (strided(base, (3, 5), (0, 4)), ValueError, "^out has elements that share memory"),
        (strided(base, (3, 5), (4, 0)), ValueError, "^out has elements that share memory"),
        (strided(base, (3, 5), (8, 4)), ValueError, "^out has elements that share memory"),
        (strided(base, (3, 5), (20, 2)), ValueError, "^out has elements that share memory"),
        (np.ma.zeros((3, 5), np.float32), TypeError, "^out must be a numpy array, not MaskedArray"),
        ([[0.0] * 5] * 3, TypeError, "^out must be a numpy array, not list"),
        ("out", TypeError, "^out must be a numpy array, not str"),
    ]:
        written = out if type(out) is np.ndarray else None
        checks.check_refused(lambda o=out: operation(*inputs, out=o), error, says, written)


def overlapping(shape, dtype):
    """(memory, view as input, view as out) that share some bytes, or are the same ones otherwise arranged."""
    n = int(np.prod(shape))
    size = np.dtype(dtype).itemsize
    for view in (lambda b: b[n // 2:n // 2 + n].reshape(shape), lambda b: b[n - 1:2 * n - 1].reshape(shape),
                 lambda b: b[:n].reshape(shape)[::-1], lambda b: b[:n].reshape(shape)[..., ::-1],
                 lambda b: b[:2 * n:2].reshape(shape), lambda b: b[:n].reshape(shape[::-1]).T,
                 lambda b: b.view(np.uint8)[1:1 + n * size].view(dtype).reshape(shape)):
        base = np.linspace(0.1, 0.2, 2 * n).astype(dtype)
        yield base, base[:n].reshape(shape), view(base)


@TAKES_OUT
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_out_that_overlaps_an_input(name, dtype):
    """With every array of numbers in turn; out that is exactly an input is test_laws."""
    operation = OPERATIONS[name]
    for i, kind in enumerate(operation.inputs):
        if kind != "labels":
            for base, view, out in overlapping((4, 5), dtype_of(dtype)):
                inputs = list(inputs_of(name, (4, 5), dtype))
                inputs[i] = view
                checks.check_refused(lambda x=inputs, o=out: operation(*x, out=o), ValueError,
                                     r"^out overlaps \w+ without being exactly it", base)


def test_out_that_overlaps_what_goes_with_the_rows():
    x, labels = inputs_of("cross_entropy", (6, 6), "float64")
    q, = inputs_of("softmax", (6, 6), "float64")
    memory = np.zeros(40)
    out = memory[:36].reshape(6, 6)
    for name, value in [("class_weight", memory[:6]), ("class_weight", memory[35:29:-1]), ("sample_weight", memory[30:36]),
                        ("dlosses", memory[1:12:2]), ("dlosses", memory[3:4].reshape(()))]:
        for call in (lambda **o: fs.cross_entropy_and_grad(x, labels, **o),
                     lambda **o: fs.soft_cross_entropy_and_grad(x, q, **o)):
            options = {name: value, "out": out}
            checks.check_refused(lambda c=call, o=options: c(**o), ValueError, f"^out overlaps {name}", memory)
    same = memory.view(np.int64)[:6]
    checks.check_refused(lambda: fs.cross_entropy_and_grad(x, same, out=out), ValueError, "^out overlaps labels", memory)
    narrow = memory.view(np.int16)[:6]
    checks.check_refused(lambda: fs.cross_entropy_and_grad(x, narrow, out=out), ValueError, "^out overlaps labels", memory)
    row = np.ones(5)
    checks.check_refused(lambda: fs.cross_entropy_and_grad(np.zeros(5), 1, class_weight=row, out=row), ValueError,
                         "^out overlaps class_weight", row)


def test_out_between_the_rows_of_an_input(backend):
    """Views that interleave share no byte."""
    both = np.random.default_rng(0).normal(size=(4, 2, 33)).astype(np.float32)
    right, kept = fs.softmax(both[:, 0]), both[:, 0].copy()
    fs.softmax(both[:, 0], out=both[:, 1])
    checks.check_same_bits([both[:, 1], both[:, 0]], [right, kept])
    columns = np.random.default_rng(0).normal(size=(4, 66)).astype(np.float32)
    right = fs.softmax(columns[:, ::2])
    checks.check_same_bits([fs.softmax(columns[:, ::2], out=columns[:, 1::2])], [right])


def test_out_that_is_the_input_seen_twice(backend):
    """Another view object of the same elements, and one whose strides differ only where there is one element."""
    x, labels = inputs_of("cross_entropy", (1, 40), "float32")
    right = x.copy()
    fs.cross_entropy_and_grad(right, labels, out=right)
    odd = np.lib.stride_tricks.as_strided
    for view in (lambda a: a[...], lambda a: a.reshape(1, 40), lambda a: odd(a, (1, 40), (4, 4))):
        same = x.copy()
        fs.cross_entropy_and_grad(same, labels, out=view(same))
        checks.check_same_bits([same], [right])


def test_errors_leave_every_output_alone(backend):
    """Whatever is wrong, also with what is checked last: out and in-place logits stay as they were."""
    x, labels = inputs_of("cross_entropy", (3, 5), "float32")
    for options in ({"class_weight": [1]}, {"sample_weight": [1]}, {"ignore_index": 0.5}, {"reduction": "all"},
                    {"label_smoothing": 2}, {"z_loss": -1}, {"softcap": 0}, {"temperature": 0}, {"axis": 5},
                    {"empty": None}, {"dlosses": [1]}):
        for out in (np.full((3, 5), 7, np.float32), x):
            name, = options
            checks.check_refused(lambda o=options, t=out: fs.cross_entropy_and_grad(x, labels, out=t, **o),
                                 (ValueError, TypeError), name, out)
