"""Awkward layouts give the bits of plain ones, and are copied a few rows at a time."""

import sys

import checks
import child
import numpy as np
import pytest
from layouts import LAYOUTS
from operations import DTYPES, OPERATIONS, dtype_of, inputs_of

import fastsoftmax as fs

operation_names = pytest.mark.parametrize("name", OPERATIONS)


@operation_names
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(backend, name, layout):
    operation = OPERATIONS[name]
    for dtype in DTYPES:
        for shape in [(6, 97), (2, 3, 40), (33,)]:
            inputs = inputs_of(name, shape, dtype)
            right = operation(*inputs)
            odd = [LAYOUTS[layout](a) if a.ndim else a for a in inputs]
            kept = [a.tobytes() for a in odd]
            checks.check_same_bits(operation(*odd), right)
            assert [a.tobytes() for a in odd] == kept
            if len(inputs) == 2:  # one plain, one odd
                checks.check_same_bits(operation(inputs[0], odd[1]), right)
                checks.check_same_bits(operation(odd[0], inputs[1]), right)


@operation_names
def test_broadcast_views(backend, name):
    operation = OPERATIONS[name]
    for shape, cut in [((4, 97), np.s_[:1]), ((4, 97), np.s_[:, :1]), ((2, 3, 40), np.s_[:, :1]), ((4, 97), np.s_[:1, :1])]:
        views = [np.broadcast_to(a[cut] if a.shape == shape else a.flat[0], a.shape)
                 for a in inputs_of(name, shape, "float32")]
        checks.check_same_bits(operation(*views), operation(*(np.ascontiguousarray(v) for v in views)))


@operation_names
def test_memory_mapped_files(backend, name, tmp_path):
    operation = OPERATIONS[name]
    for dtype in DTYPES:
        inputs = inputs_of(name, (5, 97), dtype)
        right = operation(*inputs)
        mapped = []
        for i, a in enumerate(inputs):
            path = tmp_path / f"{dtype}{i}"
            path.write_bytes(b"head" + a.tobytes())  # 4 bytes: float64 is unaligned
            mapped.append(np.memmap(path, a.dtype, "r", 4, a.shape))
        got = operation(*mapped)
        checks.check_same_bits(got, right)
        assert all(type(r) in (np.ndarray, np.memmap) and not isinstance(r, np.memmap) for r in got)
        if operation.takes_out:
            out = np.memmap(tmp_path / "out", dtype_of(dtype), "w+", 0, (5, 97))
            checks.check_same_bits(operation(*mapped, out=out), right)
            assert (tmp_path / "out").read_bytes() == out.tobytes()


@pytest.mark.parametrize("kind", ["class_weight", "sample_weight", "dlosses", "labels"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_goes_with_the_rows_in_awkward_layouts(backend, layout, kind):
    x, labels = inputs_of("cross_entropy", (4, 9), "float32")
    rng = np.random.default_rng(0)
    options = {"class_weight": rng.random(9), "sample_weight": rng.random(4), "dlosses": rng.normal(size=4)}
    right = fs.cross_entropy_and_grad(x, labels, **options)
    if kind == "labels":
        labels = LAYOUTS[layout](labels)
    else:
        options[kind] = LAYOUTS[layout](options[kind])
    checks.check_same_bits(fs.cross_entropy_and_grad(x, labels, **options), right)


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.takes_out])
def test_outputs_too_large_for_the_caches(backend, name):
    """Rows at odd offsets in wider memory, 18 MB in all: the bits of single rows, and nothing else is written."""
    operation = OPERATIONS[name]
    for dtype, shape in [("float32", (9, 500_003)), ("bfloat16", (18, 500_003))]:
        inputs = inputs_of(name, shape, dtype)
        wide = np.full((shape[0], shape[1] + 8), 7, inputs[0].dtype)
        got = operation(*inputs, out=wide[:, 3:-5])
        for i in (0, shape[0] - 1):
            checks.check_same_bits([r[i] for r in got], operation(*(a[i] for a in inputs)))
        assert (wide[:, :3] == 7).all() and (wide[:, -5:] == 7).all()


PEAK = """
import resource, sys, numpy as np, fastsoftmax as fs
fs.set_backend(sys.argv[1])
x, y = np.ones((120, 50_000), np.float32), np.zeros(120, int)
views = {"fortran": np.ones((50_000, 120), np.float32).T, "swapped": x.view(">f4"), "strided": x[:, ::2],
         "reverse": x[::-1, ::-1], "plain": x}
out = np.ones((120, 50_000), np.float32)
for name, view in views.items():
    fs.cross_entropy_and_grad(view[:30], y[:30], out=out[:30, :view.shape[1]])
    fs.softmax(view[:30], out=out[:30, :view.shape[1]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fs.cross_entropy_and_grad(view, y, out=out[:, :view.shape[1]], label_smoothing=0.1)
    fs.softmax(view, out=out[:, :view.shape[1]])
    if name == "plain":
        fs.cross_entropy(view, y, softcap=5.0)
        fs.log_softmax(view, out=out)
        fs.softmax_grad(view, view, out=out)
        fs.log_softmax_grad(view, view, out=out)
        fs.soft_cross_entropy_and_grad(view, view, out=out)
        fs.logsumexp(view), fs.entropy(view), fs.kl_divergence(view, view)
    print(name, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no getrusage")
def test_awkward_layouts_are_copied_a_few_rows_at_a_time(backend):
    """Beyond what 30 rows of 6 MB needed, 120 rows of 24 MB need next to nothing."""
    for line in child.run(PEAK, backend).splitlines():
        name, megabytes = line.split()
        assert float(megabytes) < 8, f"{name}: {megabytes} MB"
