"""fastsoftmax.jax.linear_cross_entropy: the bits of the public function, by handler and callback, and its derivatives."""

import functools

import numpy as np
import pytest

import fastsoftmax as fs

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402
from jax_layer import ALL, NAMES, close, layer, of_logits, some_weights, x64  # noqa: E402

import fastsoftmax.jax as fj  # noqa: E402

pytestmark = pytest.mark.usefixtures("quick")


# ------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("jit", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_linear_cross_entropy(route, reduction, jit):
    with x64(True):
        arrays, y = layer()
        options = dict(some_weights(), reduction=reduction, **ALL)

        def ours(features, classifier, bias):
            return fj.linear_cross_entropy(features, classifier, y, bias=bias, **options)

        loss, pull = jax.vjp(jit(ours), *arrays)
        again, pull_right = jax.vjp(lambda f, w, b: of_logits(f, w, y, b, **options), *arrays)
        close(loss, again, rtol=1e-12, atol=0)
        upstream = jnp.cos(jnp.arange(loss.size, dtype=float)).reshape(loss.shape)
        for got, wanted in zip(pull(upstream), pull_right(upstream), strict=True):
            close(got, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("dtypes", "options"), [
    (("float64",), ALL), (("float32",), {}), (("float32",), dict(ALL, reduction="sum")), (("float16",), ALL),
    (("bfloat16",), dict(reduction="none")), (("bfloat16", "float32"), ALL), (("float32", "float16"), {}),
    (("float32",), dict(compute_dtype="bfloat16")), (("float32",), dict(ignore_index=7, max_workspace_bytes=300_000))])
def test_bits_are_those_of_numpy(route, dtypes, options):
    with x64("float64" in dtypes):
        (f, w, b), y = layer(*dtypes)
        y = jnp.where(y == -100, options.get("ignore_index", -100), y)
        options = dict(some_weights(), **options)
        right = fs.linear_cross_entropy_and_grad(*map(np.asarray, (f, w, y)), bias=np.asarray(b), **options)

        def loss(f, w, b):
            return fj.linear_cross_entropy(f, w, y, bias=b, **options)

        got, pull = jax.vjp(jax.jit(loss), f, w, b)
        assert got.dtype == ("float64" if "float64" in dtypes else "float32")
        np.testing.assert_array_equal(got, np.asarray(right.loss, got.dtype))
        for gradient, name in zip(pull(jnp.ones_like(got)), NAMES, strict=True):
            wanted = getattr(right, f"d{name}")
            assert gradient.dtype == wanted.dtype
            np.testing.assert_array_equal(np.asarray(gradient), wanted)
        np.testing.assert_array_equal(loss(f, w, b), got)  # without gradients


@pytest.mark.parametrize("dtype", ["int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16", "uint32",
                                   "uint64"])
def test_labels_of_any_integer_dtype(route, dtype):
    with x64(dtype.endswith("64")):
        (f, w, _), _ = layer("float32")
        y = np.arange(6).reshape(2, 3)
        close(fj.linear_cross_entropy(f, w, jnp.asarray(y, dtype)), fs.linear_cross_entropy(f, w, y))


@pytest.mark.parametrize(("empty", "mean"), [("nan", np.nan), ("zero", 0.0)])
def test_nothing_that_counts(route, empty, mean):
    (f, w, _), y = layer("float32")
    loss, gradients = jax.value_and_grad(fj.linear_cross_entropy, (0, 1))(f, w, jnp.full_like(y, -100), empty=empty)
    np.testing.assert_array_equal(loss, mean)
    assert not any(np.any(g) for g in gradients)
    for shapes in ((0, 8), (30, 8)), ((0, 0), (3, 0)), ((2, 0, 8), (0, 8)):
        f, w = map(jnp.zeros, shapes)
        y = jnp.zeros(f.shape[:-1], int)
        np.testing.assert_array_equal(fj.linear_cross_entropy(f, w, y, empty=empty), mean)
        for reduction in "sum", "none":
            loss, pull = jax.vjp(functools.partial(fj.linear_cross_entropy, labels=y, reduction=reduction), f, w)
            assert loss.shape == (y.shape if reduction == "none" else ()) and not np.any(loss)
            assert [g.shape for g in pull(loss)] == list(shapes) and not any(np.any(g) for g in pull(loss))
    close(fj.linear_cross_entropy(jnp.zeros((2, 0)), jnp.zeros((3, 0)), jnp.zeros(2, int)), np.log(3))
    close(fj.linear_cross_entropy(jnp.zeros(8), jnp.zeros((3, 8)), jnp.array(1)), np.log(3))


def test_every_backend(backend):
    (f, w, b), y = layer("float32")
    got = jax.grad(lambda f: fj.linear_cross_entropy(f, w, y, bias=b))(f)
    right = fs.linear_cross_entropy_and_grad(*map(np.asarray, (f, w, y)), bias=np.asarray(b), wrt=("features",))
    np.testing.assert_array_equal(got, right.dfeatures)


# ------------------------------------------------------------------------------------------------ derivatives


@pytest.mark.parametrize("argnums", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradients_of_each_subset_both_ways(route, spy, reduction, argnums):
    """The products that are asked for, and no others."""
    with x64(True):
        arrays, y = layer()
        options = dict(some_weights(), reduction=reduction, **ALL)

        def of(function):
            def moving(*some):
                full = [dict(zip(argnums, some, strict=True)).get(i, a) for i, a in enumerate(arrays)]
                return function(full[0], full[1], y, bias=full[2], **options)
            return moving

        some = [arrays[i] for i in argnums]
        loss, pull = jax.vjp(of(fj.linear_cross_entropy), *some)
        got = pull(jnp.cos(loss))
        assert [[a is not None for a in call[4:]] for call in spy] == [[i in argnums for i in range(3)]]
        right, pull_right = jax.vjp(of(of_logits), *some)
        for gradient, wanted in zip(got, pull_right(jnp.cos(right)), strict=True):
            close(gradient, wanted, rtol=1e-11, atol=1e-13)
        tangents = [jnp.cos(a) for a in some]
        for run in jax.jvp, jax.jit(jax.jvp, static_argnums=0), lambda f, x, dx: (f(*x), jax.linearize(f, *x)[1](*dx)):
            got, right = (run(of(function), some, tangents) for function in (fj.linear_cross_entropy, of_logits))
            assert jax.tree.map(jnp.shape, got) == jax.tree.map(jnp.shape, right)
            close(got[0], right[0], rtol=1e-12)
            close(got[1], right[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_whole_jacobians(route, reduction):
    with x64(True):
        (f, w, b), y = layer()
        f, w, b, y = f[0, :, :3], w[:5, :3], b[:5], y[0] % 5
        ours, right = (lambda *a, function=function: function(a[0], a[1], y, bias=a[2], reduction=reduction)
                       for function in (fj.linear_cross_entropy, of_logits))
        check_grads(ours, (f, w, b), order=1)
        wanted = jax.jacrev(right, (0, 1, 2))(f, w, b)
        for jacobian in jax.jacfwd, jax.jacrev:
            for got, exact in zip(jacobian(ours, (0, 1, 2))(f, w, b), wanted, strict=True):
                close(got, exact, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_vmap_scan_and_checkpoint(route, reduction):
    with x64(True):
        (f, w, b), y = layer()
        b = jnp.stack([b, -b])

        def functions(loss):
            def rows(f, w, y, b):
                return jnp.cos(loss(f, w, y, bias=b, reduction=reduction)).sum()

            axes = 0, None, 0, 0
            yield jax.vmap(rows, axes)
            yield jax.jit(jax.vmap(jax.grad(rows, (0, 1, 3)), axes))
            yield jax.grad(lambda *a: jax.vmap(jax.jit(rows), axes)(*a).sum(), (0, 1, 3))
            yield jax.grad(lambda f, w, y, b: jax.lax.scan(lambda c, a: (c + rows(a[0] + c, w, *a[1:]), None), 1.0,
                                                           (f, y, b))[0], (0, 1, 3))
            yield lambda f, w, y, b: jax.grad(jax.checkpoint(lambda f: rows(2 * f, w, y[0], b[0])))(f[0])
            both = jax.vmap(jax.vmap(rows, (0, None, 0, None)), axes)
            yield jax.grad(lambda f, w, y, b: both(f, w, y, b).sum(), (0, 1, 3))
            yield lambda f, w, y, b: jax.jvp(lambda f, w: jax.vmap(rows, axes)(f, w, y, b), (f, w), (f, w))

        for ours, right in zip(functions(fj.linear_cross_entropy), functions(of_logits), strict=True):
            jax.tree.map(functools.partial(close, rtol=1e-10, atol=1e-12), ours(f, w, y, b), right(f, w, y, b))


def test_16_bits_both_ways():
    (f, w, _), y = layer("bfloat16")
    for reduction in "mean", "none":
        loss = functools.partial(fj.linear_cross_entropy, labels=y, reduction=reduction)
        wide = functools.partial(of_logits, labels=y, bias=0, reduction=reduction)
        got, tangent = jax.jvp(loss, (f, w), (f, w))
        right = jax.jvp(wide, [a.astype("float32") for a in (f, w)], [a.astype("float32") for a in (f, w)])
        assert tangent.dtype == got.dtype == "float32"
        close(got, right[0], rtol=1e-2)
        close(tangent, right[1], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_second_derivatives_are_refused(reduction):
    (f, w, _), y = layer("float32")

    def loss(f):
        return fj.linear_cross_entropy(f, w, y, reduction=reduction)

    for function in (jax.hessian(loss), jax.jit(jax.hessian(loss)), jax.jacfwd(jax.jacfwd(loss)),
                     jax.jacrev(jax.jacfwd(loss)), jax.grad(lambda f: (jax.grad(lambda f: loss(f).sum())(f) ** 2).sum())):
        with pytest.raises(TypeError, match="linear_cross_entropy has no second derivatives"):
            function(f)
