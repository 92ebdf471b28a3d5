"""linear_cross_entropy: the numbers of cross_entropy(features @ classifier.T + bias), on every backend."""

import itertools

import checks
import child
import ml_dtypes
import numpy as np
import pytest
from guarded import guarded

import fastsoftmax as fs
from fastsoftmax import reference

WIDE = np.longdouble
DTYPES = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)
OPTIONS = ({}, {"label_smoothing": 0.1}, {"z_loss": 0.01}, {"softcap": 3.0}, {"temperature": 2.0}, {"reduction": "sum"},
           {"label_smoothing": 0.2, "z_loss": 0.1, "softcap": 5.0, "temperature": 0.5, "reduction": "sum"})


def layouts(*names):
    """Every one in every dtype, but for byte-swapped bfloat16, which NumPy has not."""
    return [(name, dtype) for name in names for dtype in DTYPES if (name, dtype) != ("swapped", ml_dtypes.bfloat16)]


def inputs(n_rows, n_features, n_classes, dtype=np.float32, seed=0):
    """features, classifier, bias and labels, of which the second is ignored."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_rows, n_features)).astype(dtype)
    classifier = rng.standard_normal((n_classes, n_features)).astype(dtype)
    bias = rng.standard_normal(n_classes).astype(dtype)
    labels = rng.integers(0, n_classes, n_rows)
    labels[1:2] = -100
    return features, classifier, bias, labels


def right(features, classifier, bias, labels, **options):
    """loss, dfeatures, dclassifier, dbias in long doubles."""
    x, w, b = (np.asarray(a).astype(WIDE) for a in (features, classifier, bias))
    loss, dlogits = reference.cross_entropy(x @ w.T + b, labels, **options)
    return loss, dlogits @ w, dlogits.T @ x, dlogits.sum(axis=0)


def distance(got, exact):
    """Relative Frobenius error."""
    return float(np.linalg.norm((np.asarray(got).astype(WIDE) - exact).astype(float)) / np.linalg.norm(exact.astype(float)))


def check_gradients(got, exact, dtype, n_features):
    """The loss to a few units of what the logits are rounded to, the gradients likewise, and stored."""
    unit = 2.0**-53 if dtype == np.float64 else 2.0**-24
    stored = {np.float16: 2.0**-11, ml_dtypes.bfloat16: 2.0**-8}.get(dtype, 0)
    size = 1 + np.sqrt(n_features)  # of the logits
    assert abs(got.loss - float(exact[0])) <= 8 * unit * size * (1 + abs(float(exact[0])))
    for gradient, value in zip(got[1:4], exact[1:], strict=True):
        if np.any(value):
            assert distance(gradient, value) <= 16 * unit * size + stored


# Sizes astride the tiles of 6 rows, 64 (32) columns, 128 classes deep and 48 wide, and the blocks of the rows.
SIZES = [(1, 1, 1), (2, 3, 5), (6, 63, 129), (7, 64, 128), (5, 65, 127), (13, 17, 4097), (40, 130, 333)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_gradients(backend, dtype, size):
    arrays = inputs(*size, dtype)
    features, classifier, bias, labels = arrays
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
    check_gradients(got, right(*arrays), dtype, size[1])
    assert [g.dtype for g in got[1:4]] == [dtype] * 3
    assert fs.linear_cross_entropy(features, classifier, labels, bias=bias) == got.loss


@pytest.mark.parametrize("options", OPTIONS)
def test_options(backend, options):
    arrays = inputs(17, 20, 300)
    features, classifier, bias, labels = arrays
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, **options)
    check_gradients(got, right(*arrays, **options), np.float32, 20)


def test_weights_and_upstream_gradients(backend):
    features, classifier, bias, labels = inputs(17, 20, 300)
    rng = np.random.default_rng(1)
    weights = {"class_weight": rng.random(300, np.float32), "sample_weight": rng.random(17) * (np.arange(17) != 4)}
    upstream = rng.standard_normal(17)
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="sum", dlosses=upstream,
                                           **weights)
    exact = right(features, classifier, bias, labels, reduction="sum", dlosses=upstream, **weights)
    check_gradients(got, exact, np.float32, 20)
    logits = features @ classifier.T + bias
    plain = fs.cross_entropy(logits, labels, reduction="none", **weights)
    some = fs.linear_cross_entropy(features, classifier, labels, bias=bias, reduction="none", **weights)
    np.testing.assert_allclose(some, plain, rtol=1e-5)


def test_leading_axes(backend):
    features, classifier, bias, labels = inputs(24, 10, 50)
    flat = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="none")
    cube = fs.linear_cross_entropy_and_grad(features.reshape(2, 3, 4, 10)[:, :, ::-1], classifier,
                                            labels.reshape(2, 3, 4)[:, :, ::-1], bias=bias, reduction="none")
    # by BLAS a row's rounding may depend on where in a block it stands: OpenBLAS on Zen 1
    rtol = 0 if backend == "cython" else 1e-6
    np.testing.assert_allclose(cube.loss[:, :, ::-1].reshape(-1), flat.loss, rtol=rtol)
    np.testing.assert_allclose(cube.dfeatures[:, :, ::-1].reshape(24, 10), flat.dfeatures, rtol=rtol, atol=rtol)
    one = fs.linear_cross_entropy_and_grad(features[0], classifier, labels[0], bias=bias, reduction="sum")
    assert one.dfeatures.shape == (10,) and one.loss == pytest.approx(flat.loss[0], rel=1e-6)


def test_next_token_labels(backend):
    features, classifier, bias, _ = inputs(20, 10, 50)
    tokens = np.random.default_rng(0).integers(0, 50, (2, 10))
    x = features.reshape(2, 10, 10)
    got = fs.linear_cross_entropy_and_grad(x, classifier, tokens, bias=bias, shift=1, sample_weight=np.ones((2, 10)))
    want = fs.linear_cross_entropy_and_grad(x[:, :-1], classifier, tokens[:, 1:], bias=bias)
    assert got.loss == want.loss
    np.testing.assert_array_equal(got.dfeatures[:, :-1], want.dfeatures)
    assert got.dfeatures.shape == x.shape and not got.dfeatures[:, -1].any()
    np.testing.assert_array_equal(got.dclassifier, want.dclassifier)
    assert np.isnan(fs.linear_cross_entropy(x, classifier, tokens, shift=30))
    assert fs.linear_cross_entropy(x, classifier, tokens, shift=3, reduction="none").shape == (2, 7)


def test_gradients_left_out(backend):
    features, classifier, bias, labels = inputs(10, 20, 70)
    everything = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
    for count in range(3):
        for wrt in itertools.combinations(("features", "classifier", "bias"), count):
            got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, wrt=wrt)
            assert got.loss == everything.loss
            for name in ("features", "classifier", "bias"):
                gradient = getattr(got, "d" + name)
                if name in wrt:
                    np.testing.assert_array_equal(gradient, getattr(everything, "d" + name))
                else:
                    assert gradient is None
    assert fs.linear_cross_entropy_and_grad(features, classifier, labels).dbias is None


def test_given_arrays_are_written_or_added_to(backend):
    features, classifier, bias, labels = inputs(10, 20, 70)
    want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
    out = (np.full((20, 10), 7, np.float32).T, np.full((70, 40), 7, np.float32)[:, ::2], np.full(70, 7.0)[::-1])
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, out=out)
    for a, b, value in zip(got[1:4], out, want[1:4], strict=True):
        assert a is b
        np.testing.assert_array_equal(a, value)
    fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, out=out, accumulate=True)
    for a, value in zip(out, want[1:4], strict=True):
        np.testing.assert_array_equal(a, 2 * value)


def test_micro_batches_add_up(backend):
    arrays = inputs(40, 20, 70)
    features, classifier, bias, labels = arrays
    out = tuple(np.zeros_like(a) for a in (features, classifier, bias))
    for i in range(0, 40, 10):
        rows = slice(i, i + 10)
        fs.linear_cross_entropy_and_grad(features[rows], classifier, labels[rows], bias=bias, reduction="sum",
                                         out=(out[0][rows], *out[1:]), accumulate=True)
    exact = right(*arrays, reduction="sum")
    for gradient, value in zip(out, exact[1:], strict=True):
        assert distance(gradient, value) < 1e-5


@pytest.mark.parametrize("grad_dtype", DTYPES)
def test_dtype_of_the_gradients(backend, grad_dtype):
    arrays = inputs(10, 20, 70)
    features, classifier, bias, labels = arrays
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_dtype=grad_dtype)
    assert [g.dtype for g in got[1:4]] == [grad_dtype] * 3
    check_gradients(got, right(*arrays), np.float32 if grad_dtype == np.float64 else grad_dtype, 20)


def test_mixed_dtypes(backend):
    features, classifier, bias, labels = inputs(10, 20, 70)
    mixed = (features.astype(np.float16), classifier.astype(ml_dtypes.bfloat16), bias)
    got = fs.linear_cross_entropy_and_grad(mixed[0], mixed[1], labels, bias=bias)
    assert [g.dtype for g in got[1:4]] == [np.float16, ml_dtypes.bfloat16, np.float32]
    check_gradients(got, right(*mixed, labels), ml_dtypes.bfloat16, 20)
    double = fs.linear_cross_entropy(features.astype(float), classifier, labels, bias=bias)
    assert abs(double - float(right(features, classifier, bias, labels)[0])) < 1e-14


@pytest.mark.parametrize("layout, dtype", layouts("turned", "backwards", "strided", "swapped", "unaligned", "repeated"))
def test_layouts_of_the_classifier(backend, dtype, layout):
    features, classifier, bias, labels = inputs(10, 21, 140, dtype)
    if layout == "repeated":
        classifier = np.broadcast_to(classifier[:1], classifier.shape)
    want = fs.linear_cross_entropy_and_grad(features, classifier.copy(), labels, bias=bias)
    memory = np.zeros(classifier.nbytes + 1, np.uint8)
    unaligned = memory[1:].view(dtype).reshape(classifier.shape)
    unaligned[...] = classifier
    other = {"turned": np.asfortranarray(classifier), "backwards": classifier[::-1, ::-1].copy()[::-1, ::-1],
             "strided": np.repeat(np.repeat(classifier, 2, 0), 3, 1)[::2, ::3], "unaligned": unaligned,
             "repeated": classifier}.get(layout)
    if layout == "swapped":
        other = classifier.astype(classifier.dtype.newbyteorder())
    other.flags.writeable = False
    got = fs.linear_cross_entropy_and_grad(features, other, labels, bias=bias)
    if layout == "swapped" or backend != "cython":  # by BLAS, whose sums depend on the layout
        assert abs(got.loss - want.loss) < 1e-4
        for a, b in zip(got[1:4], want[1:4], strict=True):
            np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=2e-2, atol=1e-3)
    else:
        checks.check_same_bits(got, want)


def test_a_classifier_in_a_file(backend, tmp_path):
    features, classifier, bias, labels = inputs(10, 21, 140)
    classifier.tofile(tmp_path / "classifier")
    mapped = np.memmap(tmp_path / "classifier", np.float32, "r", shape=classifier.shape)
    got = fs.linear_cross_entropy_and_grad(features, mapped, labels, bias=bias)
    checks.check_same_bits(got, fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias))
    assert type(got.dclassifier) is np.ndarray


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_touch_beyond_the_arrays(dtype):
    for at_end, size in itertools.product((False, True), SIZES):
        features, classifier, bias, labels = inputs(*size, dtype)
        given = [guarded(a, at_end) for a in (features, classifier, bias)]
        out = tuple(guarded(a, at_end) for a in given)
        got = fs.linear_cross_entropy_and_grad(given[0], given[1], labels, bias=given[2], out=out)
        want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
        checks.check_same_bits(got, want)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_more_rows_than_are_computed_together(backend, dtype):
    features, classifier, bias, labels = inputs(1700, 70, 300, dtype)
    found = []
    for n_threads in (1, 2):
        with fs.use_num_threads(n_threads):
            found.append(fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="sum"))
    checks.check_same_bits(found[0], found[1])
    step = 1e-5 if dtype == np.float32 else 2.0**-8
    for got, wanted in zip(found[0], right(features, classifier, bias, labels, reduction="sum"), strict=False):
        got, wanted = np.asarray(got).astype(np.float64), np.asarray(wanted, np.float64)
        assert np.abs(got - wanted).max() <= step * np.abs(wanted).max()


def test_the_same_bits_for_any_threads_and_any_batch():
    features, classifier, bias, labels = inputs(100, 130, 3000)
    with fs.use_backend("cython"):
        want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="none")
        for n in (1, 2, 3, 16):
            with fs.use_num_threads(n):
                got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="none")
            checks.check_same_bits(got, want)
        for rows in (slice(0, 1), slice(5, 12), slice(3, 90)):
            got = fs.linear_cross_entropy_and_grad(features[rows], classifier, labels[rows], bias=bias, reduction="none")
            parts = want.loss[rows], want.dfeatures[rows], want.lse[rows]
            checks.check_same_bits((got.loss, got.dfeatures, got.lse), parts)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n_features", "n_classes"), [(33, 3000), (70, 60_100)], ids=["small", "past the caches"])
def test_few_rows_have_the_bits_of_many(dtype, n_features, n_classes):
    """Up to 8 rows are computed otherwise. Of 12, those after the first n count for nothing: they add 0 to each sum."""
    features, classifier, bias, labels = inputs(12, n_features, n_classes, dtype)
    labels[1] = 0
    given = np.random.default_rng(1).standard_normal(1 + classifier.size).astype(dtype)
    with fs.use_backend("cython"):
        for n in range(1, 10):
            dlosses = (np.arange(12) < n).astype(float)
            many = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="none",
                                                    dlosses=dlosses)
            few = (features[:n], classifier, labels[:n])
            got = fs.linear_cross_entropy_and_grad(*few, bias=bias, reduction="none")
            checks.check_same_bits((got.loss, got.dfeatures, got.lse), (many.loss[:n], many.dfeatures[:n], many.lse[:n]))
            assert np.array_equal(got.dclassifier, many.dclassifier) and np.array_equal(got.dbias, many.dbias)
            sums = given.copy()
            out = sums[1:].reshape(classifier.shape)  # in other places of a cache line
            fs.linear_cross_entropy_and_grad(*few, bias=bias, reduction="none", out=(None, out, None), accumulate=True,
                                             wrt=("classifier",))
            assert sums[0] == given[0] and np.array_equal(out, given[1:].reshape(out.shape) + got.dclassifier)
            fs.linear_cross_entropy_and_grad(*few, bias=bias, reduction="none", out=(None, out, None), wrt=("classifier",))
            assert np.array_equal(out, got.dclassifier)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_features", [5, 64, 70])
def test_few_rows_read_classes_that_lie_apart(dtype, n_features):
    """To the bit as those that lie side by side, which are fetched in another order."""
    features, classifier, bias, labels = inputs(9, n_features, 1001, dtype)
    wide = np.full((1001, n_features + 21), np.nan, dtype)
    wide[:, 3:-18] = classifier
    with fs.use_backend("cython"):
        for n in range(1, 10):
            got, want = (fs.linear_cross_entropy_and_grad(features[:n], w, labels[:n], bias=bias, reduction="none")
                         for w in (wide[:, 3:-18], classifier))
            checks.check_same_bits(got, want)


def places(shape, dtype):
    """Arrays that a gradient may be written to, by what is odd about them."""
    rows, columns = shape
    size, itemsize = rows * columns, np.dtype(dtype).itemsize
    packed = np.zeros(rows, [("before", "i1"), ("w", dtype, columns)])
    return {
        "within an element": np.zeros(size * itemsize + 1, np.uint8)[1:].view(dtype).reshape(shape),
        "rows within elements": packed["w"],
        "an element on": np.zeros(size + 1, dtype)[1:].reshape(shape),
        "rows apart": np.zeros((rows, columns + 7), dtype)[:, :columns],
        "columns apart": np.zeros((rows, 2 * columns), dtype)[:, ::2],
        "backwards": np.zeros(shape, dtype)[::-1, ::-1],
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_rows", [1, 4, 8, 9])
def test_gradients_go_to_arrays_of_any_kind(dtype, n_rows):
    features, classifier, _, labels = inputs(n_rows, 70, 60_100, dtype)
    labels[...] = 3
    with fs.use_backend("cython"):
        want = fs.linear_cross_entropy_and_grad(features, classifier, labels, wrt=("classifier",)).dclassifier
        for name, out in places(want.shape, dtype).items():
            got = fs.linear_cross_entropy_and_grad(features, classifier, labels, wrt=("classifier",), out=(None, out, None))
            assert got.dclassifier is out, name
            assert np.array_equal(out, want), name


def test_the_workspace_changes_no_row(backend):
    features, classifier, bias, labels = inputs(100, 33, 3000)
    want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, max_workspace_bytes=700_000)
    if backend == "cython":
        checks.check_same_bits((got.loss, got.dfeatures, got.lse), (want.loss, want.dfeatures, want.lse))
    for a, b in zip(got[:4], want[:4], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("grad_dtype", [np.float32, ml_dtypes.bfloat16])
def test_gradients_of_many_blocks_are_rounded_once(backend, grad_dtype):
    arrays = inputs(300, 33, 3000)
    features, classifier, bias, labels = arrays
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, max_workspace_bytes=1_000_000,
                                           grad_dtype=grad_dtype)
    bound = 2.0**-9 if grad_dtype == ml_dtypes.bfloat16 else 1e-5
    for gradient, value in zip(got[1:4], right(*arrays)[1:], strict=True):
        assert distance(gradient, value) < bound


def test_ignored_rows_are_inert(backend):
    features, classifier, bias, labels = inputs(12, 20, 70)
    weight = np.ones(12)
    weight[7] = 0
    features[[1, 7]] = np.nan
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, sample_weight=weight)
    keep = np.delete(np.arange(12), [1, 7])
    want = fs.linear_cross_entropy_and_grad(features[keep], classifier, labels[keep], bias=bias)
    assert got.loss == pytest.approx(want.loss, rel=1e-15)  # 12 numbers, 2 of them 0, are added in another order than 10
    np.testing.assert_array_equal(got.lse[keep], want.lse)
    assert not got.dfeatures[[1, 7]].any() and not got.lse[[1, 7]].any()
    checks.check_same_bits((got.dfeatures[keep], *got[2:4]), want[1:4])


def test_nan_and_infinite_features_stay_in_their_row(backend):
    features, classifier, bias, labels = inputs(12, 20, 70)
    want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="none")
    features[3, 4], features[5, 0] = np.nan, np.inf
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, reduction="none")
    rest = np.delete(np.arange(12), [3, 5])
    assert np.isnan(got.loss[[3, 5]]).all()
    checks.check_same_bits((got.loss[rest], got.dfeatures[rest]), (want.loss[rest], want.dfeatures[rest]))
    bias[9] = -np.inf  # a masked class
    masked = fs.linear_cross_entropy_and_grad(features[rest], classifier, np.zeros(10, int), bias=bias)
    assert np.isfinite(masked.loss) and masked.dbias[9] == 0


def test_nothing_to_do(backend):
    features, classifier, bias, labels = inputs(0, 20, 70)
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
    assert np.isnan(got.loss) and got.dfeatures.shape == (0, 20) and not got.dclassifier.any() and not got.dbias.any()
    ignored = fs.linear_cross_entropy_and_grad(np.ones((3, 20)), classifier, [-100] * 3, empty="zero")
    assert ignored.loss == 0 and not ignored.dfeatures.any() and not ignored.dclassifier.any()
    out = (None, np.ones((70, 20), np.float32), None)
    fs.linear_cross_entropy_and_grad(features, classifier, labels, wrt=["classifier"], out=out, accumulate=True)
    assert (out[1] == 1).all()
    one = fs.linear_cross_entropy_and_grad(np.ones((3, 2)), np.ones((1, 2)), [0] * 3)
    assert one.loss == 0 and not one.dclassifier.any()
    empty = fs.linear_cross_entropy_and_grad(np.ones((3, 0)), np.ones((5, 0)), [0] * 3)
    assert empty.loss == pytest.approx(np.log(5))


PEAK = """
import sys, tracemalloc
import numpy as np
import fastsoftmax as fs
fs.set_backend("{backend}")
rng = np.random.default_rng(0)
x, w = rng.standard_normal((600, 32), np.float32), rng.standard_normal((20000, 32), np.float32)
y = rng.integers(0, 20000, 600)
out = (np.empty_like(x), np.empty_like(w), None)
fs.linear_cross_entropy_and_grad(x[:2], w, y[:2], out=(np.empty_like(x[:2]), out[1], None))
tracemalloc.start()
fs.linear_cross_entropy_and_grad(x, w, y, out=out, max_workspace_bytes=8 << 20)
print(tracemalloc.get_traced_memory()[1])
"""


def test_memory_stays_within_the_workspace(backend):
    peak = int(child.run(PEAK.format(backend=backend)))
    # BLAS products are made 1,024 classes at a time, 128 KB here; NumPy's row kernels take 512 KB a temporary
    assert peak < (8 << 20) + {"cython": 1 << 19, "numba": 2 << 20, "numpy": 6 << 20}[backend]


NARROW = """
import tracemalloc
import ml_dtypes
import numpy as np
import fastsoftmax as fs
fs.set_backend("{backend}")
x, w = np.ones((6, 64), ml_dtypes.bfloat16), np.ones((60_000, 64), ml_dtypes.bfloat16)
y, out = np.arange(6), (None, np.empty_like(w), None)
fs.linear_cross_entropy_and_grad(x, w, y, out=out)
tracemalloc.start()
fs.linear_cross_entropy_and_grad(x, w, y, out=out, max_workspace_bytes=6 << 20)
print(tracemalloc.get_traced_memory()[1])
"""


def test_one_block_needs_no_wide_gradient(backend):
    assert int(child.run(NARROW.format(backend=backend))) < 10 << 20  # in float32 it would take 15 MB more


def test_bad_input():
    features, classifier, bias, labels = inputs(4, 5, 7)
    good = dict(features=features, classifier=classifier, labels=[0, 1, 2, 3], bias=bias)

    def refused(kind, words, **changes):
        with pytest.raises(kind, match=words):
            fs.linear_cross_entropy_and_grad(**{**good, **changes})

    refused(ValueError, "features have shape", features=features[:, :4])
    refused(ValueError, "classifier must have 2 axes", classifier=classifier[None])
    refused(TypeError, "classifier has dtype int64", classifier=np.zeros((7, 5), np.int64))
    refused(TypeError, "features must be an array, not None", features=None)
    refused(TypeError, "features is a masked array", features=np.ma.masked_array(features))
    refused(ValueError, "bias has shape", bias=bias[:3])
    refused(fs.LabelError, r"labels\[2\] is 7, outside \[0, 7\)", labels=[0, 1, 7, 3])
    refused(ValueError, "labels has shape", labels=[0, 1])
    refused(TypeError, "labels has dtype float64", labels=np.ones(4))
    refused(ValueError, "zero classes", classifier=classifier[:0], bias=bias[:0])
    refused(ValueError, "the least that works for these shapes is", max_workspace_bytes=100)
    refused(TypeError, "max_workspace_bytes must be an integer", max_workspace_bytes=1e6)
    refused(ValueError, "wrt is 'weights'", wrt=["weights"])
    refused(TypeError, "wrt must be a tuple", wrt="features")
    refused(ValueError, "shift is -1", shift=-1)
    refused(ValueError, "shift is 1, but features have one row", features=features[0], labels=0, shift=1)
    refused(TypeError, "grad_dtype is 'int8'", grad_dtype="int8")
    refused(TypeError, "out must be a tuple", out=features)
    refused(ValueError, r"out\[0\], the gradient of features, has shape", out=(np.zeros((3, 5), np.float32), None, None))
    refused(TypeError, r"out\[1\], .* has dtype int64", out=(None, np.zeros((7, 5), np.int64), None))
    refused(TypeError, r"out\[0\], .* has dtype float64, but must have float16", out=(np.zeros((4, 5)), None, None),
            grad_dtype="float16")
    refused(ValueError, r"out\[1\], .* overlaps classifier", out=(None, classifier, None))
    memory = np.zeros((11, 5), np.float32)
    refused(ValueError, r"out\[1\], .* overlaps out\[0\]", out=(memory[:4], memory[3:10], None))
    refused(ValueError, r"out\[2\], .* not wanted", out=(None, None, np.zeros(7, np.float32)), wrt=["features"])
    refused(ValueError, "accumulate=True adds to given gradients", accumulate=True)
    refused(ValueError, "label_smoothing is 2", label_smoothing=2)


def test_the_least_workspace_works():
    features, classifier, bias, labels = inputs(40, 20, 3000)
    with pytest.raises(ValueError, match="is ([0-9,]+)$") as caught:
        fs.linear_cross_entropy(features, classifier, labels, max_workspace_bytes=1)
    least = int(str(caught.value).rpartition(" ")[2].replace(",", ""))
    fs.linear_cross_entropy(features, classifier, labels, max_workspace_bytes=least)
    with pytest.raises(ValueError):
        fs.linear_cross_entropy(features, classifier, labels, max_workspace_bytes=least - 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_factors_in_bfloat16(backend, dtype, size):
    features, classifier, bias, labels = inputs(*size, dtype)
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, compute_dtype="bfloat16")
    rounded = (features.astype(ml_dtypes.bfloat16), classifier.astype(ml_dtypes.bfloat16))
    exact = right(*rounded, bias, labels) if backend == "cython" else right(features, classifier, bias, labels)
    assert abs(got.loss - float(exact[0])) < 2e-5 * (1 + abs(float(exact[0])))
    for gradient, value in zip(got[1:4], exact[1:], strict=True):
        if np.any(value):
            assert distance(gradient, value) < 0.01
    exact_products = fs.linear_cross_entropy_and_grad(*rounded, labels, bias=bias)
    if backend == "cython":
        assert exact_products.loss == got.loss
    wide = fs.linear_cross_entropy_and_grad(*rounded, labels, bias=bias, compute_dtype="float32", grad_dtype=np.float32)
    assert wide.loss == pytest.approx(exact_products.loss, rel=1e-5, abs=1e-6)


def test_nan_of_any_bits_stays_one_in_bfloat16():
    features, classifier, _, labels = inputs(8, 40, 70)
    features.view(np.uint32)[3, 7] = classifier.view(np.uint32)[9, 33] = 0x7FFFFFFF
    with fs.use_backend("cython"):
        got = fs.linear_cross_entropy(features, classifier, labels, compute_dtype="bfloat16", reduction="none")
    assert np.isnan(got[np.arange(8) != 1]).all()
    with pytest.raises(ValueError, match="compute_dtype is 'int8'"):
        fs.linear_cross_entropy(features, classifier, labels, compute_dtype="int8")
    with pytest.raises(ValueError, match="float64 arrays"):
        fs.linear_cross_entropy(features.astype(float), classifier, labels, compute_dtype="bfloat16")


def test_the_plan_says_how_it_is_computed():
    features, classifier, bias, labels = inputs(300, 33, 3000)
    with fs.use_backend("cython"):
        plain = fs.linear_plan(features, classifier, labels, bias=bias)
        assert (plain.order, plain.n_rows, plain.block_rows, plain.copies_classes) == ("rows", 299, 300, False)
        small = fs.linear_plan(features, classifier, labels, max_workspace_bytes=1_000_000)
        assert small.order == "rows" and small.block_rows < 100 and small.workspace_bytes <= 1_000_000
        for changes in ({"grad_dtype": "float16"}, {"optimizer": fs.optim.SGD()}):
            assert fs.linear_plan(features, classifier, labels, max_workspace_bytes=1_000_000, **changes).order == "classes"
        assert fs.linear_plan(features, classifier.astype(np.float16), labels).copies_classes
        assert fs.linear_plan(features, np.asfortranarray(classifier), labels, wrt=()).copies_classes
    assert "block_rows=" in repr(plain)
