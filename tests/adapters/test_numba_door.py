"""The functions inside a user's own compiled code: the same results, errors and promises as from Python.

Compiling is what takes time here, so a function of a test does all that fits into one.
"""

import importlib.metadata
import math
import pickle
import subprocess
import sys

import child
import numpy as np
import pytest
from operations import dtype_of

import fastsoftmax as fs

numba = pytest.importorskip("numba")

import fastsoftmax.numba as fn  # noqa: E402
from fastsoftmax.numba.errors import LabelError, Refused  # noqa: E402

njit, TypingError = numba.njit, numba.TypingError
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def numba_backend():
    """What compiled code is compared with, bit by bit."""
    with fs.use_backend("numba"):
        yield


def same(got, right):
    """Equal dtypes, shapes and bits, of arrays, numbers and tuples."""
    if isinstance(right, tuple):
        assert len(got) == len(right)
        for g, r in zip(got, right, strict=True):
            same(g, r)
        return
    got, right = np.asarray(got), np.asarray(right)
    assert (got.dtype, got.shape) == (right.dtype, right.shape)
    np.testing.assert_array_equal(got, right)


# ---- the public functions --------------------------------------------------------------------------------------


def everything(x, y, out, weight, rows, upstream):
    return (fs.softmax(x, temperature=0.5), fs.logsumexp(x),
            fs.cross_entropy_and_grad(x, y, class_weight=weight, sample_weight=rows, label_smoothing=0.1, z_loss=0.01,
                                      softcap=9.0, temperature=2.0, reduction="none", dlosses=upstream),
            fs.cross_entropy_and_grad(x, y, out=out))


@pytest.fixture(scope="module")
def compiled():
    return njit(everything)


def arguments(dtype, n_rows=6, n_classes=9000, labels=np.int64):
    """Several blocks a row, an ignored label, a row of no weight."""
    x = (3 * RNG.normal(size=(n_rows, n_classes))).astype(dtype)
    y = RNG.integers(0, n_classes, n_rows).astype(labels)
    y[1] = labels(-100)
    rows = RNG.random(n_rows)
    rows[2] = 0
    return x, y, np.empty_like(x), RNG.random(n_classes).astype(dtype), rows, RNG.normal(size=n_rows)


def test_results_are_those_of_python_to_the_bit(compiled):
    given = arguments("float32")
    got, right = compiled(*given), everything(*given)
    same(got, right)
    assert type(got[2]) is fs.CrossEntropyGrad
    assert got[3].dlogits.ctypes.data == given[2].ctypes.data  # out is filled, and is the array that comes back
    in_place = given[0].copy(), given[0].copy()
    same(compiled(in_place[0], given[1], in_place[0], *given[3:])[3],
         fs.cross_entropy_and_grad(in_place[1], given[1], out=in_place[1]))
    same(in_place[0], in_place[1])


def test_float64_to_the_bit():
    x, y, *_ = arguments("float64")
    same(any_layout(x, y, np.empty_like(x)), fs.cross_entropy_and_grad(x, y))


@njit
def any_layout(x, y, out):
    return fs.cross_entropy_and_grad(x, y, out=out)


@pytest.mark.parametrize("name", ["steps", "columns", "backwards", "turned", "classes apart"])
def test_any_layout_in_and_out(name):
    cut = {"steps": lambda a: a[::2, :5000], "columns": lambda a: a[:6, 1:5001], "backwards": lambda a: a[::-2, :5000],
           "turned": lambda a: a[:5, :5].T, "classes apart": lambda a: a[:6, ::3]}[name]
    table, room = RNG.normal(size=(12, 10001)).astype("f4"), np.full((12, 10001), np.nan, "f4")
    x, out = cut(table), cut(room)
    y = RNG.integers(0, x.shape[1], len(x)).astype(np.int32)
    got = any_layout(x, y, out)
    same(got, fs.cross_entropy_and_grad(np.ascontiguousarray(x), y))
    np.testing.assert_array_equal(out, got.dlogits)
    np.testing.assert_array_equal(cut(np.isnan(room)), False)
    assert np.isnan(room).sum() == room.size - out.size  # nothing beside it is written
    overlapping = table[:-1, :5000], table[1:, :5000]
    with pytest.raises(ValueError, match="out overlaps logits without being exactly it"):
        any_layout(overlapping[0], np.zeros(11, np.int32), overlapping[1])


def other_shapes(x, q, integers):
    return (fs.soft_cross_entropy_and_grad(x, q, label_smoothing=0.2, reduction="none"), fs.log_softmax(integers, axis=0),
            fs.cross_entropy(x[0, 0], 2, ignore_index=None))


def test_soft_targets_more_axes_integers_another_axis_one_row():
    x, q = RNG.normal(size=(2, 2, 3, 40)).astype("f4")
    given = x, np.abs(q), RNG.integers(-5, 5, (3, 8))
    same(njit(other_shapes)(*given), other_shapes(*given))


@njit
def mean_or_zero(x, y, ignore):
    return fs.cross_entropy(x, y, ignore_index=ignore, empty="zero")


def test_no_rows_and_awkward_logits(compiled):
    assert mean_or_zero(np.empty((0, 3), "f4"), np.empty(0, np.int64), -100) == 0
    x = np.zeros((4, 5), "f4")
    x[0, 1], x[1, 2], x[2], x[3, 0] = -np.inf, np.inf, -np.inf, np.nan
    given = x, np.zeros(4, np.int64), np.empty_like(x), np.ones(5, "f4"), np.ones(4), np.ones(4)
    same(compiled(*given), everything(*given))


# ---- what is refused -------------------------------------------------------------------------------------------


def test_a_label_out_of_range_is_named():
    x = np.zeros((3, 5), "f4")
    with pytest.raises(fs.LabelError, match=r"labels\[1\] is 5, outside \[0, 5\) and not ignore_index=-1") as caught:
        mean_or_zero(x, np.array([0, 5, 9]), -1)
    assert isinstance(caught.value, IndexError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is fs.LabelError and str(copy) == str(caught.value)
    with pytest.raises(fs.LabelError, match=rf"labels\[0\] is {2**64 - 1}, outside"):  # not -1
        mean_or_zero(x, np.array([2**64 - 1, 0, 0], np.uint64), -1)
    with pytest.raises(ValueError, match=r"labels has shape \(2,\), but must have \(3,\), one label a row"):
        mean_or_zero(x, np.array([0, 1]), -1)
    with pytest.raises(ValueError, match=r"zero classes in shape \(3, 0\)"):
        mean_or_zero(x[:, :0], np.array([0, 1, 2]), -1)


def test_numbers_out_of_range_are_named():
    @njit
    def loss(x, y, smoothing, z_loss, cap, temperature):
        return fs.cross_entropy(x, y, label_smoothing=smoothing, z_loss=z_loss, softcap=cap, temperature=temperature)

    x, y = np.zeros((2, 3), "f4"), np.zeros(2, np.int64)
    right = dict(label_smoothing=0.0, z_loss=0.0, softcap=1.0, temperature=1.0)
    for name, value, allowed in (("label_smoothing", 1.5, r"\[0, 1\]"), ("z_loss", math.nan, r"\[0, inf\)"),
                                 ("softcap", 0.0, r"\[1e-15, 1e\+15\]"), ("temperature", -1.0, r"\[1e-15, 1e\+15\]")):
        with pytest.raises(ValueError, match=f"{name} is {value}, outside {allowed}"):
            loss(x, y, *(right | {name: value}).values())


@pytest.mark.parametrize("call, text", [
    (lambda x, y: fs.cross_entropy(x, y, reduction="average"), "reduction is 'average'; allowed are 'none', 'mean', 'sum'"),
    (lambda x, y: fs.cross_entropy(x, y * 0.5), "labels has dtype float64; allowed in compiled code are integers"),
    (lambda x, y: fs.cross_entropy(x, x), "labels has dtype float64"),
    (lambda x, y: fs.cross_entropy(x, y, None), "cross_entropy: too many positional arguments"),
    (lambda x, y: fs.cross_entropy(x, y, sharpness=3), "sharpness"),
    (lambda x, y: fs.softmax(x, axis=2), r"axis is 2, outside \[-2, 2\)"),
    (lambda x, y: fs.softmax(x, axis=len(y)), "axis must be an integer written in the call"),
    (lambda x, y: fs.softmax(x, temperature=True), "temperature must be a number"),
    (lambda x, y: fs.softmax(x, out=y), "out has 1 axes|out has dtype int64, but must have float64"),
    (lambda x, y: fs.softmax(3.0), "logits must be an array"),
    (lambda x, y: fs.logsumexp(x, keepdims=True), "keepdims is not supported in compiled code"),
    (lambda x, y: fs.cross_entropy(x, y, class_weight=2.0), "class_weight must be an array"),
    (lambda x, y: fn.row_softmax(x, x), "x must be a row"),
])
def test_a_wrong_option_is_named_as_it_is_compiled(call, text):
    with pytest.raises(TypingError, match=text):
        njit(call)(np.zeros((2, 3)), np.zeros(2, np.int64))


# ---- row kernels -----------------------------------------------------------------------------------------------


def test_row_kernels_in_a_loop_of_the_users_own():
    @njit(parallel=True)
    def rows(x, y, probs, dx):
        losses, lse = np.empty(len(x)), np.empty(len(x))
        for i in numba.prange(len(x)):
            fn.row_softmax(x[i], probs[i])
            lse[i] = fn.row_logsumexp(x[i])
            losses[i] = fn.row_cross_entropy_and_grad(x[i], y[i], dx[i], 0.5)
        return losses, lse

    x, y, *_ = arguments("float32", n_rows=16)
    y[1] = 3
    probs, dx = np.empty_like(x), np.empty_like(x)
    losses, lse = rows(x, y, probs, dx)
    right = fs.cross_entropy_and_grad(x, y, reduction="none", dlosses=0.5)
    same((losses, lse, dx, probs), (right.loss, right.lse, right.dlogits, fs.softmax(x)))


def test_row_kernels_from_python_and_what_they_refuse():
    x = RNG.normal(size=300).astype("f4")
    assert fn.row_cross_entropy(x, 7) == fs.cross_entropy(x, 7)
    with pytest.raises(fs.LabelError, match=r"labels is 300, outside \[0, 300\)"):
        fn.row_cross_entropy(x, 300)
    with pytest.raises(ValueError, match="x has zero classes"):
        fn.row_cross_entropy(x[:0], 0)


# ---- transforms ------------------------------------------------------------------------------------------------


@njit
def capped(x, cap):
    return cap * fn.tanh(x / cap)


@njit
def capped_slope(x, z, cap):
    return 1 - (z / cap) ** 2


@njit
def logarithmic(x):
    return math.copysign(math.log1p(abs(x)), x)


@njit
def logarithmic_slope(x):
    return 1 / (1 + abs(x))


SOFTCAP = fn.fused_cross_entropy((capped, capped_slope))
LOGARITHMIC = fn.fused_cross_entropy((logarithmic, logarithmic_slope))


def test_a_transform_is_the_loss_of_what_it_makes_and_the_chain_rule():
    x, y, _, weight, rows, upstream = arguments("float32")
    options = dict(class_weight=weight, sample_weight=rows, label_smoothing=0.1, z_loss=0.01, reduction="none",
                   dlosses=upstream)
    z = (np.sign(x) * np.log1p(np.abs(x.astype("f8") * np.float32(0.5)))).astype("f4")
    right = fs.cross_entropy_and_grad(z, y, **options)
    got = LOGARITHMIC(x, y, temperature=2.0, **options)
    np.testing.assert_allclose(got.loss, right.loss, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(got.dlogits, right.dlogits * (0.5 / (1 + np.abs(0.5 * x))), rtol=2e-5, atol=1e-9)
    assert not got.dlogits[1].any() and not got.dlogits[2].any() and got.loss[1] == got.loss[2] == 0
    plain = fn.fused_cross_entropy(njit(lambda x: x))
    assert plain(x, y) == fs.cross_entropy(x, y)  # to the bit: the plain kernel does the rest


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_cap_of_the_users_own_agrees_with_softcap(dtype):
    x, y, *_ = arguments("float64")
    x = (5 * x).astype(dtype_of(dtype))
    with fs.use_backend("numpy"):  # which has nothing to compile
        right = fs.cross_entropy_and_grad(x, y, softcap=30.0)
    got = SOFTCAP(x, y, params=(30.0,))
    eps = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 2**-7}[dtype]
    assert got.dlogits.dtype == x.dtype
    np.testing.assert_allclose(got.loss, right.loss, rtol=min(eps, 2e-6))
    np.testing.assert_allclose(got.dlogits.astype("f8"), right.dlogits.astype("f8"), rtol=4 * eps, atol=1e-12)
    with fs.use_num_threads(3):
        many = SOFTCAP(np.tile(x, (40, 1)), np.tile(y, 40), params=(30.0,), reduction="none", dlosses=1 / 5)
    same(many.lse, np.tile(got.lse, 40))
    same(many.dlogits[-6:], got.dlogits)
    in_place = x.copy()
    same(SOFTCAP(in_place, y, params=(30.0,), out=in_place).loss, got.loss)
    same(in_place, got.dlogits)
    same(SOFTCAP(np.asfortranarray(x), y, params=(30.0,)).dlogits, got.dlogits)


def test_a_transform_within_compiled_code():
    @njit
    def step(x, y, cap, out):
        return SOFTCAP(x, y, params=(cap,), label_smoothing=0.1, out=out)

    x, y, *_ = arguments("float32")
    right = SOFTCAP(x, y, params=(7.5,), label_smoothing=0.1)
    same(step(x, y, 7.5, x), right)
    with pytest.raises(TypingError, match="params must be a tuple of 1 numbers"):
        njit(lambda x, y: SOFTCAP(x, y))(x, y)


def test_transforms_that_are_refused():
    for wrong, text in ((3, "a function f, or a pair"),
                        ((capped, logarithmic), "df takes 1 arguments, but must take f's 2")):
        with pytest.raises(TypeError, match=text):
            fn.fused_cross_entropy(wrong)
    x, y = np.zeros((2, 3)), np.zeros(2, int)
    with pytest.raises(TypeError, match="params must be a tuple of 1 numbers"):
        SOFTCAP(x, y)
    with pytest.raises(ValueError, match=r"params\[0\] is nan"):
        SOFTCAP(x, y, params=(math.nan,))
    with pytest.raises(fs.LabelError, match=r"labels\[1\] is 3, outside"):
        SOFTCAP(x, np.array([0, 3]), params=(1.0,))
    with pytest.raises(TypeError, match="for gradients"):
        fn.fused_cross_entropy(capped)(x, y, params=(1.0,), out=x)


# ---- as Numba finds it -----------------------------------------------------------------------------------------


def test_the_entry_point_is_declared_and_loads_no_kernel():
    found = importlib.metadata.entry_points(group="numba_extensions")
    assert "fastsoftmax._numba_extension:init" in {entry.value for entry in found}
    out = child.run("import sys; from numba import njit; njit(lambda: 1)(); import fastsoftmax; "
                    "print('fastsoftmax._numba_extension' in sys.modules, 'fastsoftmax.backends.numba' in sys.modules)")
    assert out == "True False\n"


USER = """
import sys
import numpy as np
import fastsoftmax as fs
from numba import njit
from fastsoftmax.numba import fused_cross_entropy

@njit(cache=True)
def half(x):
    return 0.5*x

@njit(cache=True)
def slope(x):
    return 0.5

@njit(cache=True)
def loss(x, y):
    return fs.cross_entropy(x, y)

x = np.arange(12, dtype=np.float32).reshape(3, 4)
y = np.array([0, 1, 2])
fused = fused_cross_entropy((half, slope))
fs.set_backend("numba")
print(loss(x, y) == fs.cross_entropy(x, y), fused(x, y).loss == fs.cross_entropy(0.5*x, y))
try:
    loss(x, y + 2)
except fs.LabelError as error:
    print(error)
print(sum(loss.stats.cache_hits.values()), "numba.np.arraymath" in sys.modules, file=sys.stderr)
"""


def test_a_users_function_is_loaded_from_the_cache(tmp_path):
    (tmp_path / "user.py").write_text(USER)
    runs = [subprocess.run([sys.executable, str(tmp_path / "user.py")], capture_output=True, text=True, timeout=120,
                           check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout == "True True\nlabels[2] is 4, outside [0, 4) and not ignore_index=-100\n"
    assert [run.stderr.split()[0] for run in runs] == ["0", "1"]


def test_texts_of_errors_outlive_a_process():
    for error in (LabelError(7, 5, (2, 3), 4, -100), Refused("out has shape {}", (2, 3))):
        copy = pickle.loads(pickle.dumps(error))
        assert isinstance(error, type(copy)) and copy.args == error.args
    assert str(LabelError(7, 5, (2, 3), 4, -100)) == "labels[1, 2] is 7, outside [0, 4) and not ignore_index=-100"
