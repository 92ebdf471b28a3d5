"""grad_filter: gradients without what is negligible, and a bound on what that costs which holds."""

import json

import checks
import child
import ml_dtypes
import numpy as np
import pytest
from test_linear import DTYPES, inputs, layouts

import fastsoftmax as fs
from fastsoftmax import contract, optim, reference


def peaked(n_rows, n_features, n_classes, dtype=np.float64, seed=0, depth=30.0):
    """As inputs(), of a model that is sure of itself: its likeliest classes are the first."""
    features, classifier, bias, labels = inputs(n_rows, n_features, n_classes, np.float64, seed)
    classifier *= 2 / np.sqrt(n_features)
    bias = bias - depth * np.sqrt(np.linspace(0, 1, n_classes))
    return *(a.astype(dtype) for a in (features, classifier, bias)), labels


def right(features, classifier, bias, labels, **options):
    """dfeatures, dclassifier in doubles, of all dlogits."""
    x, w, b = (a.astype(np.float64) for a in (features, classifier, bias))
    dlogits = reference.cross_entropy(x @ w.T + b, labels, **options)[1].astype(np.float64)
    return dlogits @ w, dlogits.T @ x


def norms(got, exact):
    """Frobenius norms of what dfeatures and dclassifier are off by."""
    return [float(np.linalg.norm(a.astype(np.float64) - b)) for a, b in zip(got[1:3], exact, strict=True)]


def check_bound(arrays, eps, rounding=1e-13, **options):
    """The bound holds against doubles; loss and dbias are those without a filter -> what came."""
    features, classifier, bias, labels = arrays
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=eps, **options)
    plain = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, **options)
    exact = right(*arrays, **{k: v for k, v in options.items() if k in ("reduction", "label_smoothing", "z_loss", "softcap",
                                                                      "temperature", "class_weight", "sample_weight",
                                                                      "dlosses")})
    bounds = (got.bound.dfeatures, got.bound.dclassifier)
    for error, bound, value in zip(norms(got, exact), bounds, exact, strict=True):
        assert error <= bound + rounding * np.linalg.norm(value)
    if "max_workspace_bytes" in options:  # some of which the filter takes, so that blocks, and their sums, are others
        np.testing.assert_allclose(got.dbias.astype(float), plain.dbias.astype(float), rtol=1e-2, atol=1e-6)
    else:
        checks.check_same_bits((got.loss, got.dbias, got.lse), (plain.loss, plain.dbias, plain.lse))
    assert plain.bound is None
    assert got.bound.dropped.shape == labels.shape and 0 <= got.bound.kept <= 1
    return got


SIZES = [(1, 1, 1), (2, 3, 5), (7, 64, 1024), (6, 65, 1025), (13, 17, 4097), (40, 130, 3000)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("eps", [1e-12, 1e-6, 1e-3, 1.0])
def test_the_bound_holds(backend, size, eps):
    for make in (inputs, peaked):
        got = check_bound(make(*size, np.float64), eps)
        assert np.all(got.bound.dropped <= size[2] * eps)
    if eps == 1e-6 and size[2] > 1000:
        assert got.bound.kept < 0.9 and got.bound.dclassifier > 0


def test_the_bound_is_of_use():
    """Not many times the error, and small against the gradient."""
    arrays = peaked(200, 40, 5000)
    got = check_bound(arrays, 1e-5)
    exact = right(*arrays)
    assert got.bound.kept < 0.25
    for error, bound, value in zip(norms(got, exact), (got.bound.dfeatures, got.bound.dclassifier), exact, strict=True):
        assert 0 < error <= bound < 10 * error
        assert bound < 1e-3 * np.linalg.norm(value)


def test_an_adversary(backend):
    """All that is dropped points the same way, so that the triangle inequality has nothing to spare."""
    n_classes, n_features = 2048, 8
    classifier = np.ones((n_classes, n_features))
    features = np.ones((5, n_features))
    bias = np.full(n_classes, -20.0)
    bias[3] = 0
    arrays = features, classifier, bias, np.full(5, 3)
    got = check_bound(arrays, 1e-6)
    error = norms(got, right(*arrays))
    assert error[0] == pytest.approx(got.bound.dfeatures, rel=1e-6)
    assert error[1] == pytest.approx(got.bound.dclassifier, rel=1e-6)
    dlogits = reference.cross_entropy(features @ classifier.T + bias, np.full(5, 3), reduction="sum")[1].astype(float)
    below = np.where(np.abs(dlogits) < 1e-6, np.abs(dlogits), 0).sum(axis=1)
    np.testing.assert_allclose(got.bound.dropped, below, rtol=1e-9)


OPTIONS = ({"label_smoothing": 0.1}, {"z_loss": 0.01}, {"softcap": 5.0}, {"temperature": 0.5}, {"reduction": "sum"},
           {"label_smoothing": 0.2, "z_loss": 0.1, "softcap": 8.0, "temperature": 0.5, "reduction": "sum"})


@pytest.mark.parametrize("options", OPTIONS)
def test_options(backend, options):
    check_bound(peaked(17, 20, 3000), 1e-5, **options)


def test_weights_and_upstream_gradients(backend):
    rng = np.random.default_rng(1)
    arrays = peaked(17, 20, 3000)
    got = check_bound(arrays, 1e-5, class_weight=rng.random(3000), sample_weight=rng.random(17) * (np.arange(17) != 4),
                      dlosses=rng.standard_normal(17), reduction="none")
    assert got.bound.dropped[[1, 4]].tolist() == [0, 0] and got.bound.kept < 0.9
    scaled = check_bound(arrays, 1e-5, dlosses=1000.0, reduction="sum")
    alone = check_bound(arrays, 1e-5, reduction="sum")
    np.testing.assert_allclose(scaled.bound.dropped, alone.bound.dropped, rtol=1e-9)
    assert scaled.bound.dfeatures == pytest.approx(1000 * alone.bound.dfeatures)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(backend, dtype):
    stored = {np.float64: 1e-13, np.float32: 2e-6, np.float16: 2.0**-11, ml_dtypes.bfloat16: 2.0**-8}[dtype]
    got = check_bound(peaked(40, 65, 3000, dtype), 1e-5, stored)
    assert got.dclassifier.dtype == dtype and got.bound.kept < 0.9
    rounded = check_bound(peaked(40, 65, 3000, np.float32), 1e-5, 0.01, compute_dtype="bfloat16")
    assert rounded.bound.kept < 0.9
    check_bound(peaked(40, 65, 3000, np.float32), 1e-5, stored + 2e-6, grad_dtype=dtype)


@pytest.mark.parametrize("layout, dtype", layouts("turned", "backwards", "swapped", "unaligned"))
def test_layouts(backend, dtype, layout):
    features, classifier, bias, labels = peaked(20, 21, 2100, dtype)
    memory = np.zeros(classifier.nbytes + 1, np.uint8)
    unaligned = memory[1:].view(dtype).reshape(classifier.shape)
    unaligned[...] = classifier
    other = {"turned": np.asfortranarray(classifier), "backwards": classifier[::-1, ::-1].copy()[::-1, ::-1],
             "unaligned": unaligned, "swapped": classifier.astype(classifier.dtype.newbyteorder())}[layout]
    out = (np.empty((21, 20), dtype).T, np.empty((2100, 42), dtype)[:, ::2], None)
    got = fs.linear_cross_entropy_and_grad(features, other, labels, bias=bias, grad_filter=1e-4, out=out)
    want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
    bounds = got.bound.dfeatures, got.bound.dclassifier
    unit = {np.float64: 1e-12, np.float32: 1e-5, np.float16: 2e-3, ml_dtypes.bfloat16: 2e-2}[dtype]
    for a, b, bound in zip(got[1:3], want[1:3], bounds, strict=True):
        b = b.astype(float)
        assert np.linalg.norm(a.astype(float) - b) <= bound + unit * np.linalg.norm(b)


@pytest.mark.parametrize(("n_rows", "n_classes"), [(40, 3000), (1700, 300)])
def test_nothing_below_gives_the_bits_without_a_filter(backend, n_rows, n_classes):
    features, classifier, bias, labels = inputs(n_rows, 33, n_classes, np.float32)
    plain = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
    for eps in (0, 1e-30):  # no filter, and one that finds nothing
        got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=eps)
        checks.check_same_bits(got[:5], plain[:5])
        assert got.bound[:2] == (0, 0) and got.bound.kept == 1 and not got.bound.dropped.any()


def test_gradients_left_out(backend):
    features, classifier, bias, labels = peaked(20, 20, 3000)
    everything = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=1e-4)
    for wrt in ((), ("bias",), ("features",), ("classifier", "bias")):
        got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, wrt=wrt, grad_filter=1e-4)
        for i, name in enumerate(("features", "classifier", "bias")):
            if name in wrt:
                np.testing.assert_array_equal(got[1 + i], everything[1 + i])
                assert i == 2 or got.bound[i] == everything.bound[i]
            else:
                assert got[1 + i] is None and (i == 2 or got.bound[i] is None)


def test_given_arrays_are_added_to(backend):
    features, classifier, bias, labels = peaked(40, 20, 3000)
    want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=1e-4)
    out = tuple(np.ones_like(a) for a in (features, classifier, bias))
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=1e-4, out=out,
                                           accumulate=True)
    for a, b, value in zip(got[1:4], out, want[1:4], strict=True):
        assert a is b
        np.testing.assert_allclose(a, 1 + value, rtol=1e-14, atol=1e-14)
    assert got.bound[:2] == want.bound[:2]


def test_leading_axes_and_next_token_labels(backend):
    features, classifier, bias, _ = peaked(24, 10, 2000)
    labels = np.random.default_rng(0).integers(0, 20, (2, 12))
    x = features.reshape(2, 12, 10)
    got = fs.linear_cross_entropy_and_grad(x, classifier, labels, bias=bias, shift=1, grad_filter=1e-4)
    want = fs.linear_cross_entropy_and_grad(x[:, :-1], classifier, labels[:, 1:], bias=bias, grad_filter=1e-4)
    assert got.bound.dropped.shape == (2, 11)
    np.testing.assert_array_equal(got.bound.dropped, want.bound.dropped)
    assert got.bound.kept == want.bound.kept < 1
    one = fs.linear_cross_entropy_and_grad(features[0], classifier, 3, bias=bias, grad_filter=1e-4)
    assert np.shape(one.bound.dropped) == ()


def test_the_same_bits_for_any_threads():
    features, classifier, bias, labels = peaked(100, 130, 5000, np.float32)
    with fs.use_backend("cython"):
        want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=1e-5)
        assert want.bound.kept < 0.9
        for n in (1, 2, 3, 16):
            with fs.use_num_threads(n):
                got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=1e-5)
            checks.check_same_bits(got[:5], want[:5])
            checks.check_same_bits(got.bound, want.bound)


@pytest.mark.parametrize("grad_dtype", [np.float64, np.float32, ml_dtypes.bfloat16])
def test_many_blocks(backend, grad_dtype):
    arrays = peaked(200, 17, 5000, np.float32)
    check_bound(arrays, 1e-4, 2.0**-8 if grad_dtype == ml_dtypes.bfloat16 else 1e-5, grad_dtype=grad_dtype,
                max_workspace_bytes=1_500_000)
    plan = fs.linear_plan(*arrays[:2], arrays[3], bias=arrays[2], grad_dtype=grad_dtype, max_workspace_bytes=1_500_000,
                          grad_filter=1e-4)
    assert plan.block_rows < 200 and plan.kept_cost > 1


def test_each_piece_is_filtered_or_not():
    """Classes that are likely are multiplied as ever, though others are not."""
    n = 3 * contract.FILTERED
    features, classifier, bias, labels = inputs(20, 16, n)
    bias[contract.FILTERED:2 * contract.FILTERED] -= 40
    labels %= contract.FILTERED
    with fs.use_backend("cython"):
        got = check_bound((features, classifier, bias, labels), 1e-9, 2e-6)
    assert got.bound.kept == pytest.approx(2 / 3, abs=0.01)
    assert not got.dclassifier[contract.FILTERED:2 * contract.FILTERED].any()


def test_nan_stays_where_it_belongs(backend):
    features, classifier, bias, labels = peaked(12, 20, 3000)
    features[3, 4], features[5, 0] = np.nan, np.inf
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="none", grad_filter=1e-4)
    rest = np.delete(np.arange(12), [3, 5])
    assert np.isnan(got.dfeatures[[3, 5]]).all() and np.isfinite(got.dfeatures[rest]).all()
    assert np.isnan(got.dclassifier).all()
    bias[2000:] = -np.inf  # masked classes
    masked = fs.linear_cross_entropy_and_grad(features[rest], classifier, labels[rest] % 2000, bias=bias, grad_filter=1e-4)
    assert not masked.dclassifier[2000:].any() and np.isfinite(masked.bound.dclassifier)


def test_nothing_to_do(backend):
    features, classifier, bias, labels = inputs(0, 20, 70)
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=1e-6)
    assert got.bound.dropped.shape == (0,) and got.bound[:2] == (0, 0)
    ignored = fs.linear_cross_entropy_and_grad(np.ones((3, 20)), classifier, [-100] * 3, grad_filter=1e-6)
    assert not ignored.dfeatures.any() and not ignored.bound.dropped.any()
    empty = fs.linear_cross_entropy_and_grad(np.ones((3, 0)), np.ones((5, 0)), [0] * 3, grad_filter=0.5)
    assert empty.loss == pytest.approx(np.log(5)) and empty.bound.dclassifier == 0


def test_bad_input():
    features, classifier, _, labels = inputs(4, 5, 7)
    for value, kind, words in ((-1e-6, ValueError, r"grad_filter is -1e-06, outside \[0, 1\]"),
                               (2, ValueError, "grad_filter is 2.0"), (np.nan, ValueError, "grad_filter is nan"),
                               ("1", TypeError, "grad_filter must be a real number")):
        with pytest.raises(kind, match=words):
            fs.linear_cross_entropy_and_grad(features, classifier, labels, grad_filter=value)


@pytest.mark.parametrize("workspace", [64 << 20, 1_700_000])
def test_a_step(backend, workspace):
    """As with the filtered gradient itself; by blocks of classes, which are filtered alike, too."""
    features, classifier, bias, labels = peaked(100, 20, 5000)
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=1e-4)
    w, b = classifier.copy(), bias.copy()
    step = fs.linear_cross_entropy_step(features, w, labels, bias=b, optimizer=optim.SGD(0.5), grad_filter=1e-4,
                                        max_workspace_bytes=workspace)
    np.testing.assert_allclose(w, classifier - 0.5 * got.dclassifier, rtol=1e-9, atol=2 * got.bound.dclassifier)
    np.testing.assert_allclose(b, bias - 0.5 * got.dbias, rtol=1e-9, atol=1e-12)
    if workspace == 64 << 20:
        np.testing.assert_allclose(w, classifier - 0.5 * got.dclassifier, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(step.dfeatures, got.dfeatures, rtol=1e-9, atol=1e-12)
        assert step.bound.kept == got.bound.kept < 0.9
        assert step.bound.dclassifier == pytest.approx(got.bound.dclassifier)
    w, b = classifier.copy(), bias.copy()
    alone = fs.linear_cross_entropy_step(features, w, labels, bias=b, optimizer=optim.SGD(0.5), grad_filter=1e-4,
                                         wrt=(), max_workspace_bytes=workspace)
    assert alone.dfeatures is None and alone.bound.dfeatures is None and alone.bound.dclassifier > 0
    assert step.bound.dfeatures < 0.1 and fs.linear_cross_entropy_step(
        features, w, labels, bias=b, optimizer=optim.SGD(0.5)).bound is None


PEAK = """
import tracemalloc
import numpy as np
import fastsoftmax as fs
fs.set_backend("{backend}")
rng = np.random.default_rng(0)
x, w = rng.standard_normal((600, 32), np.float32), rng.standard_normal((20000, 32), np.float32)
y, b = rng.integers(0, 20000, 600), -np.linspace(0, 30, 20000, dtype=np.float32)
out = (np.empty_like(x), np.empty_like(w), None)
fs.linear_cross_entropy_and_grad(x[:2], w, y[:2], out=(np.empty_like(x[:2]), out[1], None))
tracemalloc.start()
got = fs.linear_cross_entropy_and_grad(x, w, y, bias=b, out=out, grad_filter=1e-6, wrt=("features", "classifier"),
                                       max_workspace_bytes=8 << 20)
print(tracemalloc.get_traced_memory()[1])
"""


def test_memory_stays_within_the_workspace(backend):
    peak = int(child.run(PEAK.format(backend=backend)))
    assert peak < (8 << 20) + {"cython": 1 << 19, "numba": 2 << 20, "numpy": 6 << 20}[backend]


def test_the_benchmark(tmp_path, monkeypatch, capsys):
    for package in ("rich", "tqdm"):
        pytest.importorskip(package)
    from fastsoftmax.bench import linear_filter as bench

    def demo_case(options, stop):
        case = bench.peaked_case(options)
        return bench.Case("demo", "a model", case.x, case.w, case.b, case.y)

    monkeypatch.setattr(bench, "demo_case", demo_case)
    monkeypatch.setattr(bench, "COST_SIZE", (7, 2048))
    status = bench.main(["--output", str(tmp_path), "--rounds", "2", "--rows", "13", "--features", "8",
                         "--vocabulary", "2100"])
    results, text = json.loads((tmp_path / "linear-filter.json").read_text()), (tmp_path / "linear-filter.md").read_text()
    assert status in (0, bench.MISSED) and results["status"] == "complete"  # at this size speed says nothing
    for e in results["demo"]["entries"] + results["peaked"]["entries"]:
        assert e["holds"] and 0 < e["kept"] <= e["tiles"] <= 1 and e["ms"] > 0 and e["cost"] <= 1
        assert e["multiplied"] >= e["kept"] * 0.5 and e["dropped"] <= e["most_dropped"] <= 1
    assert len(results["costs"]) == len(bench.COSTS)
    assert "times faster than dense, wanted at least 1.8" in text and "filtered over dense" in text
    assert "times faster than dense" in capsys.readouterr().out


def test_arrays_of_other_libraries():
    torch = pytest.importorskip("torch")
    features, classifier, bias, labels = peaked(20, 16, 3000, np.float32)
    want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=1e-4)
    got = fs.linear_cross_entropy_and_grad(*map(torch.from_numpy, (features, classifier, labels)), grad_filter=1e-4,
                                           bias=torch.from_numpy(bias))
    assert isinstance(got.bound, fs.GradBound) and got.bound[:2] == want.bound[:2] and got.bound.kept == want.bound.kept
    np.testing.assert_array_equal(got.bound.dropped.numpy(), want.bound.dropped)
