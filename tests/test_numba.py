"""The Numba backend against the reference, and bit for bit against itself with rows cut into blocks."""

import os
import subprocess
import sys

import checks
import numpy as np
import oracle
import pytest

import fastsoftmax as fs
from fastsoftmax import backends, contract, dtypes, reference

pytest.importorskip("numba")
SIZES = [1, 2, 7, 63, 64, 65, 4095, 4096, 4097, 10_000]
DTYPES = ["float64", "float32", "float16", "bfloat16"]


@pytest.fixture(autouse=True)
def numba_backend():
    with fs.use_backend("numba"):
        yield


def kind_of(dtype):
    return pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)


def bits(a):
    return np.ascontiguousarray(a).view(np.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_classes", SIZES)
def test_every_kernel_against_the_reference(dtype, n_classes):
    x, labels = oracle.problem(5, n_classes, kind_of(dtype))
    wide = x.astype("f8")
    p, log_p = reference.softmax(wide), reference.log_softmax(wide)
    checks.check_elements(fs.softmax(x), p, x, dtype)
    checks.check_elements(fs.log_softmax(x), log_p, x, dtype, scale=1 + np.abs(log_p).max())
    same = x.copy()
    fs.softmax(same, out=same)
    checks.check_elements(same, p, x, dtype)
    if n_classes <= contract.BLOCK:  # longer rows keep their exps in place, which rounds otherwise
        np.testing.assert_array_equal(bits(same), bits(fs.softmax(x)))
    same = x.copy()
    np.testing.assert_array_equal(bits(fs.log_softmax(same, out=same)), bits(fs.log_softmax(x)))
    right, gradient = reference.cross_entropy(x.astype("f8"), labels, reduction="none")
    loss, dlogits, lse = fs.cross_entropy_and_grad(x, labels, reduction="none")
    checks.check_losses(loss, right, dtype)
    checks.check_elements(dlogits, gradient, x, dtype)
    used = labels != -100
    checks.check_losses(lse[used], reference.logsumexp(wide)[used], dtype)
    stored = p.astype(x.dtype)
    checks.check_losses(fs.entropy(stored), reference.entropy(stored), dtype)
    other = np.roll(stored, 1, axis=1)
    if dtype != "float16":
        checks.check_losses(fs.kl_divergence(stored, other), reference.kl_divergence(stored, other), dtype, scale=10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("over", [None, 0, 1])
def test_gradients_and_where_they_go(dtype, over):
    rng = np.random.default_rng(1)
    for n_classes in (7, 4097):
        x, d = (rng.normal(size=(3, n_classes)).astype(kind_of(dtype)) for _ in range(2))
        p, log_p = fs.softmax(x), fs.log_softmax(x)
        w, lw, dw = p.astype("f8"), log_p.astype("f8"), d.astype("f8")
        eps = dtypes.find(x.dtype).eps
        for first, wide, function in ((p, w, fs.softmax_grad), (log_p, lw, fs.log_softmax_grad)):
            a, b = first.copy(), d.copy()
            got = function(a, b, out=None if over is None else (a, b)[over]).astype("f8")
            right = w * (dw - np.sum(w * dw, 1, keepdims=True)) if function is fs.softmax_grad else (
                dw - np.exp(wide) * np.sum(dw, 1, keepdims=True))
            np.testing.assert_allclose(got, right, rtol=8 * eps, atol=8 * eps * np.abs(dw).max())


@pytest.mark.parametrize("options", [
    {}, {"label_smoothing": 0.1}, {"z_loss": 0.01}, {"softcap": 5.0}, {"temperature": 0.7},
    {"class_weight": True}, {"class_weight": True, "label_smoothing": 0.2},
    {"class_weight": True, "label_smoothing": 0.2, "softcap": 3.0, "z_loss": 1e-3, "temperature": 1.3},
], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_options_in_every_dtype(dtype, options):
    x, labels = oracle.problem(6, 4097, kind_of(dtype))
    options = dict(options)
    if options.get("class_weight"):
        options["class_weight"] = np.random.default_rng(5).random(4097).astype("f4").astype("f8")
    weight, upstream = np.array([0, 1, 2, 1, 0.5, 1]), np.arange(6) - 2.0
    right, gradient = reference.cross_entropy(x.astype("f8"), labels, reduction="none", sample_weight=weight,
                                              dlosses=upstream, **options)
    got = fs.cross_entropy_and_grad(x, labels, reduction="none", sample_weight=weight, dlosses=upstream, **options)
    np.testing.assert_allclose(got.loss, right, rtol=1e-12 if dtype == "float64" else 1e-5)
    row = dtypes.find(x.dtype)
    eps = max(row.eps, 2.0**-24) if dtype != "float64" else row.eps
    tiny = 2.0**-24 if dtype == "float16" else 0
    np.testing.assert_allclose(got.dlogits.astype("f8"), gradient, rtol=100 * eps, atol=16 * eps * 1e-3 + tiny)
    same = x.copy()
    fs.cross_entropy_and_grad(same, labels, reduction="none", sample_weight=weight, dlosses=upstream, out=same,
                              **options)
    keeps = x.dtype.itemsize > 2 and not {"softcap", "label_smoothing"} & set(options)  # then rounding differs
    if keeps:
        np.testing.assert_allclose(same.astype("f8"), gradient, rtol=100 * eps, atol=16 * eps * 1e-3 + tiny)
    else:
        np.testing.assert_array_equal(bits(same), bits(got.dlogits))


def run_job(name, split, x, q, labels, options):
    """A kernel's outputs, whole rows at once or in phases, three blocks at a time."""
    backend, row = backends.load("numba"), dtypes.find(x.dtype)
    n_rows, n_classes = x.shape
    blocks = contract.n_blocks(n_classes)
    out = np.full_like(x, 3)
    losses, lse = np.full(n_rows, 5.0), np.full(n_rows, 5.0)
    states, finals = (np.empty((n_rows, blocks, 4)), np.empty((n_rows, contract.FINALS))) if split else (None, None)
    view = dtypes.carrier_view
    run = backend.bind(contract.Job(name, row, view(x, row), view(q, row), view(out, row), labels, losses=losses,
                                    lse=lse, states=states, finals=finals, **options))
    if not split:
        assert run(0, n_rows, 0, blocks, contract.ALL) == -1
        return out, losses, lse
    cuts = [(i, i + 1, b, min(b + 3, blocks)) for i in range(n_rows) for b in range(0, blocks, 3)]
    for cut in cuts[::-1]:
        run(*cut, contract.STATES)
    run(0, n_rows, 0, blocks, contract.FINISH)
    for cut in cuts[::-1]:
        run(*cut, contract.WRITE)
    run(0, n_rows, 0, blocks, contract.WRITE + 1)
    return out, losses, lse


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", contract.KERNELS)
def test_cut_rows_give_the_same_bits(name, dtype):
    x, labels = oracle.problem(4, 30_001, kind_of(dtype), spread=5)
    x[1, :9000] = -np.inf
    x[2, 20_000] = np.nan
    q = np.abs(oracle.problem(4, 30_001, kind_of(dtype), seed=1)[0])
    if name not in contract.KERNELS[:5]:
        x = np.abs(x)
    labels = labels if name == "cross_entropy_rows" else None
    for options in ({}, {"smoothing": 0.1, "z_loss": 0.1, "scale": 1.5}, {"cap": 4.0, "grad_scale": 0.5}):
        options = {"ignore_index": -100, **options}
        for a, b in zip(*(run_job(name, s, x, q, labels, options) for s in (False, True)), strict=True):
            wrong = np.isnan(a.astype("f8"))  # a NaN's own bits mean nothing
            np.testing.assert_array_equal(wrong, np.isnan(b.astype("f8")))
            np.testing.assert_array_equal(bits(a[~wrong]), bits(b[~wrong]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_classes", [3, 100, 9000])
def test_nan_and_the_infinities(dtype, n_classes):
    inf, nan = np.inf, np.nan
    x = np.zeros((8, n_classes), kind_of(dtype))
    x[0] = -inf
    x[1, -1] = inf
    x[2, [0, -1]] = nan, inf
    x[3, 1] = -np.float64(nan)
    x[4, :-1] = -inf
    x[5, :2] = inf, -inf
    x[6] = nan
    lse = fs.logsumexp(x).astype("f8")
    np.testing.assert_allclose(lse, [-inf, inf, nan, nan, 0, inf, nan, np.log(n_classes)], rtol=1e-2)
    loss, dlogits, _ = fs.cross_entropy_and_grad(x, np.full(8, n_classes - 1), reduction="none")
    np.testing.assert_allclose(loss, [nan, nan, nan, nan, 0, nan, nan, np.log(n_classes)], rtol=1e-6)
    for result in (dlogits, fs.softmax(x)):
        wrong = np.isnan(result.astype("f8"))
        assert wrong[[0, 1, 2, 3, 5, 6]].all() and not wrong[[4, 7]].any()
    assert (dlogits[4] == 0).all()
    np.testing.assert_array_equal(fs.softmax(x)[4].astype("f8"), np.arange(n_classes) == n_classes - 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_numbers_round_as_they_should(dtype):
    numba = pytest.importorskip("numba")
    from fastsoftmax.backends import _numba_math as m

    @numba.njit
    def load(stored, real):
        for k in range(len(stored)):
            real[k] = m.real_of(stored[k])

    @numba.njit
    def store(real, stored):
        for k in range(len(real)):
            m.put(stored, k, real[k])

    kind, carrier = np.dtype(kind_of(dtype)), dtypes.BY_NAME[dtype].carrier
    every = np.arange(1 << 16, dtype=np.uint16)
    real = np.empty(1 << 16, np.float32)
    load(every.view(carrier), real)
    np.testing.assert_array_equal(real, every.view(kind).astype("f4"))
    # every number, the middles between neighbours, their neighbours, and any bits at all
    spread = np.random.default_rng(0).integers(0, 2**32, 1 << 18, dtype=np.uint32).view("f4")
    with np.errstate(all="ignore"):
        middle = (real[:-1] + real[1:]) / 2
        values = np.concatenate([real, middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf), spread])
        right = values.astype(kind)
    stored = np.empty(len(values), carrier)
    store(values, stored)
    nan = np.isnan(values)
    np.testing.assert_array_equal(stored.view(np.uint16)[~nan], right.view(np.uint16)[~nan])
    assert np.isnan(stored.view(kind)[nan].astype("f4")).all()


def test_subnormals_are_kept():
    x = np.array([[0, -95, -100, -200]], np.float32)
    p = fs.softmax(x)
    np.testing.assert_allclose(p[0], reference.softmax(x.astype("f8"))[0], rtol=2e-2, atol=0.8e-45)
    assert p[0, 2] > 0 and p[0, 3] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cap_keeps_its_digits(dtype):
    powers = np.logspace(-30, 3, 5000)
    x = np.concatenate([powers, -powers, [np.inf, -np.inf, 0]]).astype(dtype)
    # two classes, one at 0: the loss is log1p(exp(-z)), so it shows z
    pair, labels = np.stack([x, np.zeros_like(x)], axis=1), np.zeros(len(x), int)
    got = fs.cross_entropy(pair, labels, softcap=3.0, reduction="none")
    right, _ = reference.cross_entropy(pair.astype("f8"), labels, softcap=3.0, reduction="none")
    np.testing.assert_allclose(got, right, rtol=1e-6 if dtype == "float32" else 2e-15)
    pair = np.array([[2, -1e4, -1e4], [40, -40, -41]], dtype)
    got = fs.cross_entropy_and_grad(pair, [0, 0], softcap=30.0, reduction="none").dlogits
    _, right = reference.cross_entropy(pair.astype("f8"), [0, 0], softcap=30.0, reduction="none")
    np.testing.assert_allclose(got, right, rtol=2e-5 if dtype == "float32" else 1e-12)


def test_same_as_numpy():
    x, labels = oracle.problem(20, 5000)
    ours = fs.cross_entropy_and_grad(x, labels, label_smoothing=0.1, reduction="none")
    with fs.use_backend("numpy"):
        theirs = fs.cross_entropy_and_grad(x, labels, label_smoothing=0.1, reduction="none")
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-9)


def test_labels_are_checked_where_they_are_used():
    x, labels = oracle.problem(6, 10)
    backend = backends.load("numba")
    assert backend.scan_labels(labels, 10, -100, None, None) == (-1, 5.0)
    labels[4] = 10
    losses = np.empty(6)
    job = contract.Job("cross_entropy_rows", dtypes.F32, x, labels=labels, losses=losses, lse=losses.copy(),
                       ignore_index=-100)
    assert backend.bind(job)(0, 6, 0, 1, contract.ALL) == 4
    assert backend.scan_labels(labels, 10, -100, None, None) == (4, 0.0)


# the smallest of the kernels: what is tested is where it is kept
SCRIPT = """
import numpy as np
from fastsoftmax import backends
print(backends.load("numba").scan_labels(np.array([1, 0]), 2, -100, None, None))
"""


def test_a_cache_that_cannot_be_used_means_compiling_again(tmp_path):
    """Broken files, a file in the way of the folder; and files lie in the user's own folder, not in the temporary one."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "temporary").mkdir()
    own = {"XDG_CACHE_HOME": str(tmp_path / "own"), "TMPDIR": str(tmp_path / "temporary"), "NUMBA_CACHE_DIR": ""}

    def start(variables):
        return subprocess.Popen([sys.executable, "-P", "-c", SCRIPT], env={**os.environ, **variables}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(child):
        out, error = child.communicate()
        assert child.returncode == 0 and out == "(-1, 2.0)\n", error

    first, blocked = start(own), start({"NUMBA_CACHE_DIR": str(tmp_path / "file")})
    end(first)
    end(blocked)
    if sys.platform == "linux":
        files = [*(tmp_path / "own" / "fastsoftmax").rglob("*.nb?")]
        assert files and not any((tmp_path / "temporary").iterdir())
        assert (files[0].parent.stat().st_mode & 0o777) == 0o700
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(b"not a pickle")
    end(start(own))
