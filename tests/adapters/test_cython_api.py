"""fastsoftmax from Cython and C: the table of functions and the Cython module give the bits of the Python functions."""

import ctypes
import importlib.util
import math
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import c_table
import child
import numpy as np
import pytest
from c_table import BAD_DTYPE, BAD_OPTION, BAD_POINTER, BAD_SIZE, BAD_STRIDE, OK, Options
from operations import make

import fastsoftmax as fs
from fastsoftmax import backends
from fastsoftmax.check.numbers import SCALES
from fastsoftmax.contract import NO_IGNORE, STREAMED_BYTES
from fastsoftmax.dtypes import BY_NAME, find

built = pytest.mark.skipif(backends.why_not("cython") is not None, reason="the compiled kernels are not built")
HERE = Path(__file__).resolve().parent
PACKAGE = Path(fs.__file__).resolve().parent
EXAMPLE = HERE.parent.parent / "examples" / "cython_extension"
DTYPES = list(BY_NAME)
CC = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")

# one logit; abreast; abreast with rows left over; one block; two; exps kept, in place or aside; too long for that
SHAPES = [(1, 1), (3, 7), (37, 60), (3, 1000), (4, 4097), (30, 30_000), (2, 250_000)]


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The example's two extensions and every_function.pyx, compiled out of the source tree against the package in use."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    if not shutil.which(CC[0]):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("extension")
    for path in (*EXAMPLE.iterdir(), HERE / "every_function.pyx"):
        if path.suffix in (".pyx", ".py") or path.name == "perplexity.c":
            shutil.copy(path, folder)
    environment = os.environ | {"CFLAGS": "-O1 -g0"}
    if not os.environ.get("FASTSOFTMAX_INSTALLED"):  # there nothing but what pip has installed is to be found
        environment["PYTHONPATH"] = str(PACKAGE.parent)
    commands = [("setup.py", "build_ext", "--inplace"),
                ("-m", "Cython.Build.Cythonize", "-i", "-q", "every_function.pyx")]
    running = [subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT) for command in commands]
    for process in running:
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
    return SimpleNamespace(folder=folder, **{name: _import(name, folder) for name in
                                             ("loss_and_grad", "perplexity", "every_function")})


def _import(name, folder):
    path = next(folder.glob(f"{name}.*{sysconfig.get_config_var('SHLIB_SUFFIX')}"))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["c", "cython"])
def functions(request):
    """{name: function(dtype code, n_rows, n_classes, addresses and strides, Options or None)} -> status."""
    if backends.why_not("cython"):
        pytest.skip("the compiled kernels are not built")
    if request.param == "c":
        table = c_table.table()
        return {name: getattr(table, name) for name in c_table.FUNCTIONS}
    module = request.getfixturevalue("modules").every_function

    def by_address(function):
        def call(*arguments):
            *arguments, options = arguments
            return function(*(a or 0 for a in arguments), ctypes.addressof(options) if options else 0)
        return call

    return {name: by_address(getattr(module, name)) for name in c_table.FUNCTIONS}


def address(a):
    return None if a is None else a.ctypes.data


def rows(a):
    """The two arguments that an array of rows is."""
    return (None, 0) if a is None else (a.ctypes.data, a.strides[0] // a.itemsize)


def shape_of(a):
    """The three arguments that come first."""
    return (find(a.dtype).code, *a.shape)


def loss(functions, logits, second, out=None, **options):
    """(losses, lse, gradient or None), of labels or of dense targets."""
    losses, lse = np.full(len(logits), 99.0), np.full(len(logits), 99.0)
    hard = second.ndim == 1
    function = functions["cross_entropy" if hard else "soft_cross_entropy"]
    second = (address(second),) if hard else rows(second)
    assert function(*shape_of(logits), *rows(logits), *second, address(losses), address(lse), *rows(out),
                    Options(**options)) == OK
    return losses, lse, out


def same(a, b):
    """Whether two arrays have the same bytes; a NaN may be any."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype and a.shape == b.shape
    if a.tobytes() == b.tobytes():
        return True
    a, b = a.astype(np.float64), b.astype(np.float64)
    return bool(np.all((a == b) | np.isnan(a) & np.isnan(b)))


def by_python(function, *arguments, **options):
    with fs.use_backend("cython"), fs.use_num_threads(2):
        return function(*arguments, **options)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_of_the_python_functions(functions, dtype, shape, n_threads):
    x, q, y = make("logits", shape, dtype), make("probs", shape, dtype), make("labels", shape, dtype)
    options, out = dict(n_threads=n_threads), np.empty_like(x)
    for name in ("softmax", "log_softmax"):
        assert functions[name](*shape_of(x), *rows(x), *rows(out), Options(**options)) == OK
        assert same(out, by_python(getattr(fs, name), x)), name
    lse = np.empty(shape[0])
    assert functions["logsumexp"](*shape_of(x), *rows(x), address(lse), Options(**options)) == OK
    assert same(lse.astype(x.dtype), by_python(fs.logsumexp, x))
    for function, second in ((fs.cross_entropy_and_grad, y), (fs.soft_cross_entropy_and_grad, q)):
        right = by_python(function, x, second, reduction="none")
        assert all(map(same, loss(functions, x, second, out, **options), (right.loss, right.lse, right.dlogits)))
        assert all(map(same, loss(functions, x, second, **options)[:2], (right.loss, right.lse)))
    for name in ("softmax_grad", "log_softmax_grad"):
        assert functions[name](*shape_of(q), *rows(q), *rows(x), *rows(out), Options(**options)) == OK
        assert same(out, by_python(getattr(fs, name), q, x)), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_outputs_past_the_caches_and_large_rows_in_place(functions, dtype):
    few, y = make("logits", (13, 40_000), dtype), make("labels", (13, 40_000), dtype)
    right, times = by_python(fs.cross_entropy_and_grad, few, y, reduction="none").dlogits, STREAMED_BYTES // few.nbytes + 1
    x, y, out = np.tile(few, (times, 1)), np.tile(y, times), np.empty((13 * times, 40_000), few.dtype)
    assert out.nbytes >= STREAMED_BYTES
    for to in (out, x):
        loss(functions, x, y, to, n_threads=2)
        assert all(same(to[i:i + 13], right) for i in range(0, len(to), 13))


@pytest.mark.parametrize("shape", [(6, 5), (6, 500), (6, 9000)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_in_place(functions, dtype, shape):
    x, q, y = make("logits", shape, dtype), make("probs", shape, dtype), make("labels", shape, dtype)
    for second, function in ((y, fs.cross_entropy_and_grad), (q, fs.soft_cross_entropy_and_grad)):
        right = by_python(function, x, second, reduction="none").dlogits
        here = x.copy()
        assert same(loss(functions, here, second, here)[2], right)
    here = x.copy()
    assert functions["softmax"](*shape_of(x), *rows(here), *rows(here), None) == OK
    assert same(here, by_python(fs.softmax, x))
    right, first, second = by_python(fs.softmax_grad, q, x), q.copy(), x.copy()
    assert functions["softmax_grad"](*shape_of(x), *rows(first), *rows(x), *rows(first), None) == OK
    assert functions["softmax_grad"](*shape_of(x), *rows(q), *rows(second), *rows(second), None) == OK
    assert same(first, right) and same(second, right)


EACH_OPTION = [dict(temperature=0.7), dict(softcap=5.0), dict(label_smoothing=0.1), dict(z_loss=0.01), dict(ignore_index=2),
               dict(temperature=0.7, softcap=5.0, label_smoothing=0.1, z_loss=0.01, ignore_index=0)]
WEIGHTS = ("class_weight", "sample_weight", "dlosses")


@pytest.mark.parametrize("changed", [*EACH_OPTION, *((name,) for name in WEIGHTS), WEIGHTS], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_option(functions, dtype, changed):
    for shape in ((9, 6), (9, 5000)):
        x, q, y = make("logits", shape, dtype), make("probs", shape, dtype), make("labels", (9, 6), dtype)
        arrays = dict(class_weight=np.linspace(0.5, 1.5, shape[1]).astype(find(x.dtype).real),
                      sample_weight=np.array([1, 0.5, 0, 2, 1, 1, 0, 3, 1.0]), dlosses=np.linspace(-1, 2, 9))
        arrays = {name: a for name, a in arrays.items() if name in changed}
        options = changed if isinstance(changed, dict) else {}
        addresses = {name: address(a) for name, a in arrays.items()}
        right = by_python(fs.cross_entropy_and_grad, x, y, reduction="none", **options, **arrays)
        assert all(map(same, loss(functions, x, y, np.empty_like(x), **options, **addresses),
                       (right.loss, right.lse, right.dlogits)))
        soft = {name: value for name, value in options.items() if name != "ignore_index"}
        right = by_python(fs.soft_cross_entropy_and_grad, x, q, reduction="none", **soft, **arrays)
        assert all(map(same, loss(functions, x, q, np.empty_like(x), **options, **addresses),
                       (right.loss, right.lse, right.dlogits)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_a_mean_is_scaled_by_what_scan_labels_finds(functions, dtype):
    x, y = make("logits", (50, 300), dtype), make("labels", (50, 300), dtype)
    y[::7] = -100
    weight = np.linspace(0.1, 3, 300).astype(find(x.dtype).real)
    sample_weight, total = np.linspace(0, 1, 50), np.empty(1)
    options = dict(class_weight=address(weight), sample_weight=address(sample_weight))
    assert functions["scan_labels"](*shape_of(x), address(y), address(total), Options(**options)) == OK
    right = by_python(fs.cross_entropy_and_grad, x, y, class_weight=weight, sample_weight=sample_weight)
    losses, _, out = loss(functions, x, y, np.empty_like(x), grad_scale=1 / total[0], **options)
    assert same(out, right.dlogits) and np.sum(losses) / total[0] == right.loss


def test_temperature_of_a_softmax(functions):
    x = make("logits", (5, 700), "float32")
    out, lse = np.empty_like(x), np.empty(5)
    options = Options(temperature=0.3)
    for name in ("softmax", "log_softmax"):
        assert functions[name](*shape_of(x), *rows(x), *rows(out), options) == OK
        assert same(out, by_python(getattr(fs, name), x, temperature=0.3))
    assert functions["logsumexp"](*shape_of(x), *rows(x), address(lse), options) == OK
    assert same(lse, loss(functions, x, np.zeros(5, np.int64), temperature=0.3)[1])


@pytest.mark.parametrize("n_classes", [6, 900, 9000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_apart_backwards_and_all_the_same(functions, dtype, n_classes):
    wide = make("logits", (10, n_classes + 5), dtype)
    y = make("labels", (10, n_classes), dtype)
    apart = wide[:, 3:-2]
    for x in (apart, apart[::-1], np.broadcast_to(apart[1], apart.shape)):
        right = by_python(fs.cross_entropy_and_grad, x, y, reduction="none")
        frame = np.full_like(wide, 7)
        for out in (np.empty(x.shape, x.dtype), frame[:, 2:-3], frame[::-1, 2:-3]):
            assert same(loss(functions, x, y, out)[2], right.dlogits)
        assert np.all(frame[:, :2] == 7) and np.all(frame[:, -3:] == 7)


@pytest.mark.parametrize("n_classes", [3, 500, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_infinities_and_nan(functions, dtype, n_classes):
    x = make("logits", (9, n_classes), dtype)
    x[0, 1], x[1], x[2, 2], x[3, 0], x[4, 1:] = -np.inf, -np.inf, np.inf, np.nan, -np.inf
    y = np.array([1, 0, 2, 0, 0, 1, 2, 0, 1])
    right = by_python(fs.cross_entropy_and_grad, x, y, reduction="none")
    got = loss(functions, x, y, np.empty_like(x))
    assert all(map(same, got, (right.loss, right.lse, right.dlogits)))
    assert got[0][0] == np.inf and math.isnan(got[0][1]) and np.isfinite(got[0][5:]).all()


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("wrong", [-1, -99, 40, 2**32 + 3, NO_IGNORE])
def test_the_first_row_with_a_wrong_label(functions, wrong, n_threads):
    for n_classes in (40, 6000):
        x, y = make("logits", (200, n_classes), "float32"), np.zeros(200, np.int64)
        y[[150, 170]] = n_classes if wrong == 40 else wrong
        losses = np.empty(200)
        assert functions["scan_labels"](*shape_of(x), address(y), None, None) == 150
        assert functions["cross_entropy"](*shape_of(x), *rows(x), address(y), address(losses), None, None, 0,
                                          Options(n_threads=n_threads)) == 150


def test_no_lse_and_no_ignored_row(functions):
    x, y = make("logits", (30, 5000), "float64"), make("labels", (30, 5000), "float64")
    y[4] = -100
    losses, out = np.empty(30), np.empty_like(x)
    assert functions["cross_entropy"](*shape_of(x), *rows(x), address(y), address(losses), None, *rows(out), None) == OK
    right = by_python(fs.cross_entropy_and_grad, x, y, reduction="none")
    assert same(losses, right.loss) and same(out, right.dlogits) and losses[4] == 0
    options = Options(ignore_index=NO_IGNORE)
    assert functions["cross_entropy"](*shape_of(x), *rows(x), address(y), address(losses), None, None, 0, options) == 4


X, Y, OUT, LOSSES = np.ones((4, 6), np.float32), np.zeros(4, np.int64), np.full((4, 6), 7, np.float32), np.full(4, 7.0)
PLAIN = dict(dtype=1, n_rows=4, n_classes=6, logits=X.ctypes.data, step=6, labels=Y.ctypes.data, losses=LOSSES.ctypes.data,
             lse=None, out=OUT.ctypes.data, out_step=6)
ABSURD = [
    (BAD_DTYPE, dict(dtype=4)), (BAD_DTYPE, dict(dtype=-1)), (BAD_SIZE, dict(n_rows=-1)), (BAD_SIZE, dict(n_classes=0)),
    (BAD_SIZE, dict(n_classes=-6)), (BAD_SIZE, dict(n_classes=2**62)), (BAD_SIZE, dict(n_rows=2**61, n_classes=2)),
    (BAD_POINTER, dict(logits=None)), (BAD_POINTER, dict(labels=None)), (BAD_POINTER, dict(losses=None)),
    (BAD_POINTER, dict(logits=X.ctypes.data + 2)), (BAD_POINTER, dict(out=OUT.ctypes.data + 1)),
    (BAD_POINTER, dict(lse=LOSSES.ctypes.data + 4)), (BAD_POINTER, dict(sample_weight=LOSSES.ctypes.data + 4)),
    (BAD_POINTER, dict(class_weight=LOSSES.ctypes.data + 2)), (BAD_POINTER, dict(dlosses=1)),
    (BAD_STRIDE, dict(out_step=5)), (BAD_STRIDE, dict(out_step=-5)), (BAD_STRIDE, dict(out_step=0)),
    (BAD_STRIDE, dict(step=2**62)), (BAD_STRIDE, dict(step=NO_IGNORE)), (BAD_STRIDE, dict(out_step=-(2**62))),
    (BAD_STRIDE, dict(out=X.ctypes.data, step=-6)),
    (BAD_OPTION, dict(temperature=0)), (BAD_OPTION, dict(temperature=math.nan)), (BAD_OPTION, dict(temperature=-1)),
    (BAD_OPTION, dict(temperature=math.inf)), (BAD_OPTION, dict(temperature=SCALES[0] / 2)),
    (BAD_OPTION, dict(softcap=2 * SCALES[1])), (BAD_OPTION, dict(softcap=-1)), (BAD_OPTION, dict(label_smoothing=1.1)),
    (BAD_OPTION, dict(label_smoothing=math.nan)), (BAD_OPTION, dict(z_loss=-0.1)), (BAD_OPTION, dict(z_loss=math.inf)),
    (BAD_OPTION, dict(n_threads=0)), (BAD_OPTION, dict(struct_size=0)),
    (BAD_OPTION, dict(struct_size=ctypes.sizeof(Options) + 8)),
]


@pytest.mark.parametrize(("status", "changed"), ABSURD, ids=str)
def test_absurd_arguments_have_a_status_and_write_nothing(functions, status, changed):
    arguments = PLAIN | {name: value for name, value in changed.items() if name in PLAIN}
    options = Options(**{name: value for name, value in changed.items() if name not in PLAIN})
    assert functions["cross_entropy"](*arguments.values(), options) == status
    assert np.all(X == 1) and np.all(OUT == 7) and np.all(LOSSES == 7)


def test_the_edges_of_what_is_allowed(functions):
    for temperature in SCALES:
        assert functions["cross_entropy"](*PLAIN.values(), Options(temperature=temperature, n_threads=2**31 - 1)) == OK
    nothing = PLAIN | dict(n_rows=0, logits=None, labels=None, losses=None, out=None)
    for n_classes in (0, 6):
        assert functions["cross_entropy"](*(nothing | dict(n_classes=n_classes)).values(), None) == OK
    assert functions["cross_entropy"](*(nothing | dict(dtype=9)).values(), None) == BAD_DTYPE
    total = np.full(1, 7.0)
    assert functions["scan_labels"](1, 0, 6, None, address(total), None) == OK and total[0] == 0
    one = PLAIN | dict(n_rows=1, step=0, out_step=0)
    assert functions["cross_entropy"](*one.values(), None) == OK
    OUT[:], LOSSES[:] = 7, 7


def test_options_that_are_not_for_a_function(functions):
    pair, single = (*shape_of(X), *rows(X), *rows(X), *rows(OUT)), (*shape_of(X), *rows(X), *rows(OUT))
    for name in ("softmax", "log_softmax"):
        assert functions[name](*single, Options(softcap=3.0)) == BAD_OPTION
    assert functions["logsumexp"](*shape_of(X), *rows(X), address(LOSSES), Options(softcap=3.0)) == BAD_OPTION
    for name in ("softmax_grad", "log_softmax_grad"):
        assert functions[name](*pair, Options(softcap=3.0)) == functions[name](*pair, Options(temperature=2)) == BAD_OPTION
        assert functions[name](*shape_of(X), *rows(X), None, 6, *rows(OUT), None) == BAD_POINTER
        assert functions[name](*shape_of(X), *rows(X), *rows(X), None, 6, None) == BAD_POINTER
    assert functions["softmax"](*shape_of(X), *rows(X), None, 6, None) == BAD_POINTER
    assert functions["logsumexp"](*shape_of(X), *rows(X), None, None) == BAD_POINTER
    assert functions["scan_labels"](*shape_of(X), None, address(LOSSES), None) == BAD_POINTER
    assert np.all(OUT == 7) and np.all(LOSSES == 7)


@built
def test_cython_has_the_constants_and_defaults_of_the_header(modules):
    header = (PACKAGE / "include" / "fastsoftmax.h").read_text()
    for name, value in modules.every_function.CONSTANTS.items():
        assert f"FASTSOFTMAX_{name} = {value}" in header
        assert getattr(c_table, name, value) == value == BY_NAME.get(name.lower(), SimpleNamespace(code=value)).code
    assert modules.every_function.defaults() == bytes(Options())
    texts = {modules.every_function.status_text(status) for status in range(BAD_OPTION, OK)}
    assert len(texts) == 5 and b"" not in texts
    assert modules.every_function.status_text(OK) == modules.every_function.status_text(3) == b""


@built
def test_the_table_says_what_it_is():
    table = c_table.table()
    assert (table.version, table.struct_size, table.options_size) == (1, ctypes.sizeof(table), ctypes.sizeof(Options))


@built
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_the_cython_example(modules, real):
    function = modules.loss_and_grad.loss_and_grad
    x, y = make("logits", (64, 3000), np.dtype(real).name), make("labels", (64, 3000), "float32")
    y[5] = -100
    right = by_python(fs.cross_entropy_and_grad, x, y)
    assert function(x, y, n_threads=2) == pytest.approx(right.loss, rel=1e-14)
    assert same(x, right.dlogits)
    y[9] = 3000
    with pytest.raises(IndexError, match=r"labels\[9\] is 3000, outside \[0, 3000\)"):
        function(x, y)
    with pytest.raises(ValueError, match="out of its range"):
        function(x, np.zeros(64, np.int64), n_threads=0)
    assert same(x, right.dlogits)


@built
def test_the_plain_c_example_in_threads_of_c(modules):
    function = modules.perplexity.perplexity
    x, y = make("logits", (101, 2000), "float32"), make("labels", (101, 2000), "float32")
    right = math.exp(by_python(fs.cross_entropy, x, y))
    assert function(x, y) == pytest.approx(right, rel=1e-13)
    assert function(x, y) == function(x, y, 4) == function(x, y, 16)
    y[[77, 100]] = 2000
    for n_threads in (1, 4):
        with pytest.raises(IndexError, match=r"labels\[77\] is out of range"):
            function(x, y, n_threads)
    with pytest.raises(ValueError, match="float32"):
        function(x.astype(np.float64), y)
    with pytest.raises(ValueError, match="rows of no classes"):
        function(np.empty((2, 0), np.float32), y[:2].copy())


FORKED = """
import os, threading, numpy as np, c_table
table, rng = c_table.table(), np.random.default_rng(0)
x, y, options = rng.normal(size=(300, 5000)).astype(np.float32), rng.integers(0, 5000, 300), c_table.Options(n_threads=2)

def compute():
    losses, out = np.empty(300), np.empty_like(x)
    assert table.cross_entropy(1, 300, 5000, x.ctypes.data, 5000, y.ctypes.data, losses.ctypes.data, None, out.ctypes.data,
                               5000, options) == -1
    return losses.tobytes() + out.tobytes()

right, got = compute(), []
for use in range(2):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if compute() == right == compute() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert compute() == right
callers = [threading.Thread(target=lambda: got.append(compute())) for _ in range(4)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
print(set(got) == {right})
"""


@built
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not support fork")
def test_forks_and_callers_in_many_threads():
    assert child.run(FORKED, PYTHONWARNINGS="ignore") == "True\n"


OLDER = """
import sys, c_table
c_table.table().{field} -= 1
sys.path.insert(0, sys.argv[1])
import perplexity
"""


@built
@pytest.mark.parametrize("field", ["version", "struct_size", "options_size"])
def test_an_extension_compiled_for_another_version_is_not_imported(modules, field):
    with pytest.raises(AssertionError, match="ImportError: the installed fastsoftmax has a C API of version"):
        child.run(OLDER.format(field=field), str(modules.folder))


CHOSEN = """
import fastsoftmax.cython_api as api
from fastsoftmax.backends import cython
print(api._C_API is cython.C_API, cython.INSTRUCTION_SET)
"""


@built
def test_the_table_is_that_of_the_chosen_instruction_set():
    assert child.run(CHOSEN, FASTSOFTMAX_CPU="baseline", FASTSOFTMAX_BACKEND="numpy") == "True baseline\n"
    with pytest.raises(AssertionError, match="ImportError: FASTSOFTMAX_CPU is 'z80'; allowed are"):
        child.run(CHOSEN, FASTSOFTMAX_CPU="z80")


def test_without_the_compiled_module_an_import_error_says_what_to_do():
    spec = importlib.util.spec_from_file_location("fastsoftmax.cython_api", PACKAGE / "cython_api.py")
    with pytest.raises(ImportError, match="needs the compiled kernels, which are not built: install a C compiler"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_header_and_declarations_are_where_compilers_look():
    assert Path(fs.get_include()) == PACKAGE / "include"
    assert (PACKAGE / "include" / "fastsoftmax.h").is_file() and (PACKAGE / "cython_api.pxd").is_file()


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("python", ["", "#include <Python.h>\n"], ids=["alone", "behind Python.h"])
def test_the_header_compiles_without_a_warning(language, python):
    compiler = CC[0] if language == "c" else shlex.split(sysconfig.get_config_var("CXX") or "c++")[0]
    if not shutil.which(compiler):
        pytest.skip(f"no {language} compiler")
    text = python + "#include <fastsoftmax.h>\nint fits(const fastsoftmax_api *api) { return fastsoftmax_fits(api); }\n"
    command = [compiler, "-x", language, "-", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
               f"-I{fs.get_include()}", "-isystem", sysconfig.get_path("include")]
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_page_shows_the_examples_as_they_are():
    page = (EXAMPLE.parent.parent / "docs" / "c-and-cython.md").read_text()
    for name in ("loss_and_grad.pyx", "perplexity.c", "setup.py"):
        assert (EXAMPLE / name).read_text() in page
