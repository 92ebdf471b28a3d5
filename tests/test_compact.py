"""The compact gradient against the dense one: rows to the bit, products within rounding, without an array of their size."""

import tracemalloc

import numpy as np
import pytest
from layouts import LAYOUTS
from operations import DTYPES, make

import fastsoftmax as fs

SHAPE = (40, 300)
CLOSE = {"float64": dict(rtol=1e-11, atol=1e-13), "float32": dict(rtol=3e-5, atol=1e-6),
         "bfloat16": dict(rtol=3e-2, atol=3e-3), "float16": dict(rtol=3e-3, atol=3e-4)}
OPTIONS = [{}, dict(reduction="sum", label_smoothing=0.1, z_loss=0.01, temperature=0.7),
           dict(softcap=5.0, reduction="none"), dict(empty="zero", ignore_index=7)]


def inputs(dtype, shape=SHAPE, seed=0):
    x, y = make("logits", shape, dtype, seed), make("labels", shape, "float64", seed)
    y.flat[1] = -100
    rng = np.random.default_rng(seed)
    return x, y, rng.normal(size=(shape[-1], 5)), rng.normal(size=(*shape[:-1], 3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_those_of_the_dense_gradient(backend, dtype):
    x, y, _, _ = inputs(dtype)
    want = fs.cross_entropy_and_grad(x, y)
    got = fs.cross_entropy_compact_grad(x, y)
    assert got.loss == want.loss and got.shape == x.shape and got.ndim == 2 and got.dtype == x.dtype
    np.testing.assert_array_equal(got.lse, want.lse)
    for start, stop in ((0, 40), (3, 4), (7, 39), (40, 40)):
        np.testing.assert_array_equal(got.rows(start, stop), want.dlogits[start:stop])
    np.testing.assert_array_equal(got.rows(), want.dlogits)
    np.testing.assert_array_equal(got.to_array(), want.dlogits)
    np.testing.assert_array_equal(np.asarray(got), want.dlogits)
    np.testing.assert_array_equal(np.asarray(got.T), want.dlogits.T)
    assert np.asarray(got, np.float64).dtype == np.float64
    out = np.empty((4, 300), x.dtype)
    assert got.rows(3, 7, out=out) is out
    np.testing.assert_array_equal(out, want.dlogits[3:7])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("workspace", [0, 1 << 26])
def test_products(backend, dtype, options, workspace):
    x, y, w, v = inputs(dtype)
    y[y == options.get("ignore_index")] += 1
    y[1] = options.get("ignore_index", -100)
    rng = np.random.default_rng(1)
    more = dict(sample_weight=rng.random(40), class_weight=rng.random(300) + 0.5, dlosses=rng.normal(size=40), **options)
    dense = fs.cross_entropy_and_grad(x, y, **more).dlogits.astype(np.float64)
    got = fs.cross_entropy_compact_grad(x, y, max_workspace_bytes=workspace, **more)
    np.testing.assert_array_equal(got.rows().astype(float), dense)
    narrow = np.float64 if dtype == "float64" else np.float32
    size = np.abs(dense).max()
    close = dict(rtol=CLOSE[dtype]["rtol"], atol=CLOSE[dtype]["atol"] * size * 40)
    for a, b in ((w, v), (w.astype(np.float32), v.astype(np.float32))):
        real = np.result_type(a, narrow)
        assert got.matmul(a).dtype == got.rmatmul(b).dtype == real
        np.testing.assert_allclose(got @ a, dense @ a, **close)
        np.testing.assert_allclose(got.T @ b, dense.T @ b, **close)
        np.testing.assert_allclose(b.T @ got, b.T @ dense, **close)
        np.testing.assert_allclose(got @ a[:, 0], dense @ a[:, 0], **close)
        np.testing.assert_allclose(got.T @ b[:, 1], dense.T @ b[:, 1], **close)
        left, right = np.empty((40, 5), real), np.empty((300, 3), real)
        assert got.matmul(a, out=left) is left and got.rmatmul(b, out=right) is right
        np.testing.assert_array_equal(left, got @ a)
        np.testing.assert_array_equal(right, got.T @ b)


def test_products_of_many_columns_are_those_of_a_linear_layer(backend):
    """The gradients of linear_cross_entropy are these products."""
    rng = np.random.default_rng(0)
    features, classifier = rng.normal(size=(50, 33)), rng.normal(size=(700, 33))
    labels = rng.integers(0, 700, 50)
    want = fs.linear_cross_entropy_and_grad(features, classifier, labels)
    got = fs.cross_entropy_compact_grad(features @ classifier.T, labels)
    np.testing.assert_allclose(got @ classifier, want.dfeatures, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(got.T @ features, want.dclassifier, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(backend, layout):
    x, y, w, v = inputs("float32")
    want = fs.cross_entropy_compact_grad(x, y)
    got = fs.cross_entropy_compact_grad(LAYOUTS[layout](x), y)
    np.testing.assert_array_equal(got.rows(3, 9), want.rows(3, 9))
    np.testing.assert_array_equal(got @ w, want @ w)
    np.testing.assert_array_equal(got.T @ v, want.T @ v)
    np.testing.assert_allclose(got @ LAYOUTS[layout](w), want @ w, rtol=1e-11, atol=1e-14)  # BLAS rounds by the layout
    np.testing.assert_allclose(got.T @ LAYOUTS[layout](v), want.T @ v, rtol=1e-11, atol=1e-14)


def test_axes_shapes_and_integers(backend):
    x, y, w, v = inputs("float64", (2, 3, 50))
    want = fs.cross_entropy_and_grad(x, y).dlogits
    for a, axis in ((x, -1), (np.moveaxis(x, -1, 1), 1), (np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0)):
        got = fs.cross_entropy_compact_grad(a, y, axis=axis)
        assert got.shape == a.shape and got.T.shape == (50, 2, 3)
        np.testing.assert_array_equal(got.rows(1, 5), want.reshape(6, 50)[1:5])
        np.testing.assert_array_equal(np.moveaxis(got.to_array(), axis, -1), want)
        np.testing.assert_allclose(got @ w, want @ w, rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(got @ w[:, 0], want @ w[:, 0], rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(got.T @ v, np.einsum("abk,abn->kn", want, v), rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(got.T @ v[..., 0], np.einsum("abk,ab->k", want, v[..., 0]), rtol=1e-11, atol=1e-15)
    one = fs.cross_entropy_compact_grad(x[0, 0], y[0, 0])
    row = fs.cross_entropy_and_grad(x[0, 0], y[0, 0]).dlogits
    np.testing.assert_array_equal(one.rows()[0], row)
    np.testing.assert_allclose(one @ w, row @ w, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(one.T @ [2.0, 3.0], np.outer(row, [2, 3]), rtol=1e-11)
    np.testing.assert_allclose(one.T @ 2.0, 2 * row, rtol=1e-11)
    none = fs.cross_entropy_compact_grad(x[0, :0], y[0, :0], reduction="sum")
    assert none.loss == 0 and (none @ w).shape == (0, 5) and none.rows().shape == (0, 50)
    np.testing.assert_array_equal(none.T @ v[0, :0], np.zeros((50, 3)))
    whole = fs.cross_entropy_compact_grad(np.array([[1, 2, 3]]), [2])
    assert whole.dtype == np.float64
    np.testing.assert_allclose(whole @ np.arange(3), whole.to_array() @ np.arange(3), rtol=1e-12)


def test_it_follows_the_logits_and_nothing_else(backend):
    x, y, w, _ = inputs("float64")
    weight = np.ones(300)
    got = fs.cross_entropy_compact_grad(x, y, class_weight=weight)
    x *= 2
    want = fs.cross_entropy_and_grad(x, y).dlogits
    y[:], weight[:] = 0, 7
    np.testing.assert_array_equal(got.to_array(), want)
    np.testing.assert_allclose(got @ w, want @ w, rtol=1e-11, atol=1e-15)
    assert got.to_array(out=x) is x
    np.testing.assert_array_equal(x, want)


def test_threads_change_no_bit():
    x, y, w, v = inputs("float32", (300, 5000))
    found = []
    for n in (1, 3):
        with fs.use_num_threads(n):
            got = fs.cross_entropy_compact_grad(x, y, max_workspace_bytes=1 << 20)
            found.append((got @ w, got.T @ v, got.rows(5, 100)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_product_allocates_an_array_of_the_logits_size(backend):
    x, y, w, v = inputs("float32", (512, 4000))
    w, v = w.astype(np.float32), v.astype(np.float32)
    got = fs.cross_entropy_compact_grad(x, y, max_workspace_bytes=1 << 20)
    for call in (lambda: got @ w, lambda: got.T @ v):
        call()
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.nbytes / 2


def test_bad_input():
    x, y, w, v = inputs("float32")
    got = fs.cross_entropy_compact_grad(x, y)
    for error, words, call in (
            (ValueError, "rows 3 to 41 are not within the 40", lambda: got.rows(3, 41)),
            (ValueError, "rows -1 to 4", lambda: got.rows(-1, 4)),
            (TypeError, "start must be an integer", lambda: got.rows(1.0)),
            (ValueError, r"w has shape \(299, 5\), but must have \(300,\) or \(300, n\)", lambda: got @ w[:-1]),
            (ValueError, r"x has shape \(39, 3\), but must have \(40,\) or \(40, n\)", lambda: got.T @ v[:-1]),
            (TypeError, "w has dtype complex128", lambda: got @ (w * 1j)),
            (TypeError, "w must be an array, not None", lambda: got.matmul(None)),
            (ValueError, r"out has shape \(3, 3\)", lambda: got.rmatmul(v, out=np.empty((3, 3)))),
            (TypeError, "out has dtype float32, but must have float64", lambda: got.matmul(w, out=np.empty((40, 5), "f4"))),
            (ValueError, "out overlaps logits", lambda: got.rows(0, 3, out=x[:3])),
            (ValueError, "out overlaps logits", lambda: got.to_array(out=x[::-1])),
            (ValueError, "without a copy", lambda: np.array(got, copy=False)),
            (ValueError, "max_workspace_bytes is -1", lambda: fs.cross_entropy_compact_grad(x, y, max_workspace_bytes=-1)),
            (TypeError, "unsupported operand", lambda: got + 1),
            (fs.LabelError, r"labels\[0\] is 300", lambda: fs.cross_entropy_compact_grad(x, np.full(40, 300)))):
        with pytest.raises(error, match=words):
            call()
