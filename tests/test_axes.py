"""Other class axes than the last: the bits of the last one, in every operation, and never a step outside the arrays."""

import importlib
import sys

import checks
import child
import numpy as np
import pytest
from operations import DTYPES, OPERATIONS, dtype_of, inputs_of
from test_run import builds

import fastsoftmax as fs
from fastsoftmax import backends, contract

# around a cache line of each dtype, and around the vectors and blocks of the class axis
INNER = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65)
CLASSES = (1, 2, 10, 15, 17, 100, 1025)
LONG = (4095, 4096, 4097, 10_000)
NAMES = pytest.mark.parametrize("name", OPERATIONS)
WITH_OUT = pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.takes_out])


def moved(a, axis=1):
    """The same numbers with the class axis elsewhere in memory, which is contiguous; labels have none."""
    return np.ascontiguousarray(np.moveaxis(a, -1, axis)) if a.dtype.kind != "i" else a


def check_moved(got, right, axis=1):
    """The bits of what was computed with the class axis last."""
    checks.check_same_bits([np.moveaxis(g, axis, -1) if g.ndim == 3 else g for g in got], right)


@pytest.mark.parametrize("dtype", DTYPES)
@NAMES
def test_sizes_that_straddle_lines_vectors_and_blocks(backend, name, dtype):
    operation = OPERATIONS[name]
    for inner, n_classes in [(i, c) for i in INNER for c in CLASSES] + [(i, c) for i in (1, 15, 17, 33) for c in LONG]:
        inputs = inputs_of(name, (2 if n_classes < 2000 else 1, inner, n_classes), dtype)
        check_moved(operation(*map(moved, inputs), axis=1), operation(*inputs))


@pytest.mark.parametrize("module", builds())
def test_every_instruction_set(monkeypatch, module):
    kernels, used = importlib.import_module(f"fastsoftmax.backends.{module}"), []
    monkeypatch.setattr(backends.load("cython"), "bind", lambda job: used.append(job) or kernels.bind(job))
    monkeypatch.setattr(backends.load("cython"), "short_cut", kernels.short_cut)
    with fs.use_backend("cython"):
        for dtype, name in [(dtype, name) for dtype in DTYPES for name in OPERATIONS]:
            for shape in [(2, 33, 50), (1, 17, 4097)]:
                inputs = inputs_of(name, shape, dtype)
                check_moved(OPERATIONS[name](*map(moved, inputs), axis=1), OPERATIONS[name](*inputs))
    assert {job.kernel for job in used if job.first.ndim == 3} == set(contract.KERNELS) - {"centered_rows"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_option(backend, dtype):
    rng = np.random.default_rng(0)
    for inner, n_classes in [(17, 10), (33, 4100)]:
        x, labels = inputs_of("cross_entropy", (2, inner, n_classes), dtype)
        x[0, 3], x[0, 5, 7] = -np.inf, np.nan
        x[1, :, 0] = 80  # what is left beside it is small, and keeps its digits
        labels[1, 4], labels[1, :2] = -100, 0
        rows = rng.random((2, inner)) * (rng.random((2, inner)) < 0.8)
        for options in [dict(class_weight=rng.random(n_classes)), dict(sample_weight=rows), dict(z_loss=0.1, softcap=5.0),
                        dict(dlosses=rng.normal(size=(2, inner)), temperature=0.5), dict(label_smoothing=0.1)]:
            right = fs.cross_entropy_and_grad(x, labels, **options)
            check_moved(fs.cross_entropy_and_grad(moved(x), labels, axis=1, **options), right)


@pytest.mark.parametrize("dtype", DTYPES)
@WITH_OUT
def test_given_outputs(backend, name, dtype):
    """In place, apart, beside a margin that stays, the class axis last in one array and not in the other, turned round."""
    operation = OPERATIONS[name]
    for shape in [(2, 33, 50), (1, 17, 10_000)]:
        inputs = inputs_of(name, shape, dtype)
        right, aside = operation(*inputs), [moved(a) for a in inputs]
        wide = np.full((shape[0], shape[2], shape[1] + 9), 7, dtype_of(dtype))
        turned = np.empty_like(aside[0])[:, ::-1]
        last = np.moveaxis(np.empty_like(inputs[0]), -1, 1)
        for out in (wide[:, :, 4:-5], turned, last, np.empty_like(aside[0])):
            check_moved(operation(*aside, axis=1, out=out), right)
        assert (wide[:, :, :4] == 7).all() and (wide[:, :, -5:] == 7).all()
        out = np.moveaxis(np.empty_like(aside[0]), 1, -1)
        checks.check_same_bits(operation(*inputs, out=out), right)
        check_moved(operation(*aside, axis=1, out=aside[0]), right)


@NAMES
def test_any_number_of_threads(backend, name):
    """Cut by rows, by blocks of classes, and with all rows at once."""
    operation = OPERATIONS[name]
    for shape in [(1, 5, 150_000), (1, 40, 20_000), (12, 20, 3000)]:
        inputs = inputs_of(name, shape, "float32")
        aside, right = [moved(a) for a in inputs], operation(*inputs)
        for n in (1, 2, 3):
            with fs.use_num_threads(n):
                check_moved(operation(*aside, axis=1), right)


@WITH_OUT
def test_outputs_too_large_for_the_caches(backend, name):
    operation = OPERATIONS[name]
    for dtype, inner, margin in [("float32", 16, 0), ("float32", 512, 0), ("float64", 33, 0), ("bfloat16", 64, 64)]:
        inputs = inputs_of(name, (1, inner, 5_000_000 // inner), dtype)
        wide = np.full((1, inputs[0].shape[-1], inner + margin), 7, inputs[0].dtype)
        out = wide[:, :, :inner]
        check_moved(operation(*map(moved, inputs), axis=1, out=out), operation(*inputs))
        assert (wide[:, :, inner:] == 7).all()


@NAMES
def test_axes_by_number(backend, name):
    """First, in the middle, counted from behind; positions of several axes lie side by side, or apart."""
    operation = OPERATIONS[name]
    inputs = inputs_of(name, (3, 4, 5, 6), "float32")
    right = operation(*inputs)
    for axis in (0, 1, 2, -2, -4):
        got = operation(*(moved(a, axis) for a in inputs), axis=axis)
        checks.check_same_bits([np.moveaxis(g, axis, -1) if g.ndim == 4 else g for g in got], right)
        odd = [a if a.dtype.kind == "i" else np.asfortranarray(moved(a, axis)) for a in inputs]
        got = operation(*odd, axis=axis)
        checks.check_same_bits([np.moveaxis(g, axis, -1) if g.ndim == 4 else g for g in got], right)


GUARDED = """
import sys, numpy as np, fastsoftmax as fs
from guarded import guarded
from operations import DTYPES, OPERATIONS, inputs_of
from test_axes import moved

fs.set_backend(sys.argv[1])
for dtype in DTYPES:
    for name, operation in OPERATIONS.items():
        for inner, n_classes in [(1, 5), (2, 16), (7, 33), (15, 17), (16, 16), (17, 9), (33, 3), (33, 4097)]:
            for at_end in (True, False):
                plain = [moved(a) for a in inputs_of(name, (1, inner, n_classes), dtype)]
                inputs = [guarded(a, at_end) for a in plain]
                options = {"out": guarded(plain[0], at_end)} if operation.takes_out else {}
                for a, b in zip(operation(*inputs, axis=1, **options), operation(*plain, axis=1), strict=True):
                    assert a.tobytes() == b.tobytes(), (dtype, name, inner, n_classes)
print("inside")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no mprotect")
def test_no_kernel_reads_or_writes_outside_its_arrays(backend):
    """A touch beyond them ends the child with a segmentation fault."""
    assert child.run(GUARDED, backend) == "inside\n"
