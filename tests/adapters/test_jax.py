"""fastsoftmax.jax: the numbers of the public functions, under every transformation of JAX's, by handler and by callback."""

import functools
import itertools
import threading

import child
import numpy as np
import oracle
import pytest

import fastsoftmax as fs

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import fastsoftmax.jax as fj  # noqa: E402

try:
    from jax import enable_x64
except ImportError:  # JAX before 0.8
    from jax.experimental import enable_x64

ALL = dict(label_smoothing=0.1, z_loss=0.01, softcap=5.0, temperature=0.7)
pytestmark = pytest.mark.usefixtures("quick")
LOSS_TOLERANCE = {"float64": 1e-14, "float32": 2.0**-23}  # of one rounding to float32, and of a sum in another order


def problem(shape=(6,), n_classes=40, dtype="float32", ignored=True):
    """(logits, labels) as JAX arrays, x64 where it must be on for the dtype."""
    n_rows = int(np.prod(shape))
    x, y = oracle.problem(n_rows, n_classes, "float64", ignored=ignored)
    return jnp.asarray(x.reshape(*shape, n_classes), dtype), jnp.asarray(y.reshape(shape))


def formula(x, y):
    """The mean as a user of jax.nn writes it."""
    return -jnp.take_along_axis(jax.nn.log_softmax(x), y[..., None], -1).mean()


def as_numpy(x, y):
    return np.asarray(x), np.asarray(y).astype(np.int64)


def close(got, right, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(np.asarray(got, np.float64), np.asarray(right, np.float64), rtol=rtol, atol=atol)


# ------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(("dtype", "reduction", "options"), [
    ("float64", "mean", ALL), ("float64", "sum", {}), ("float32", "mean", {}), ("float32", "sum", ALL),
    ("float32", "none", ALL), ("bfloat16", "mean", ALL), ("bfloat16", "none", {}), ("float16", "sum", ALL)])
def test_loss_and_gradient_are_those_of_numpy(route, dtype, options, reduction):
    with enable_x64(dtype == "float64"):
        x, y = problem(dtype=dtype)
        if options:
            weights = np.linspace(0.5, 2, 40, dtype="float32"), np.float32([1, 0.5, 0, 1, 2, 1])
            options = dict(options, class_weight=weights[0], sample_weight=weights[1])
        options = dict(options, reduction=reduction)
        right, dlogits, _ = fs.cross_entropy_and_grad(*as_numpy(x, y), **options)
        loss = fj.cross_entropy(x, y, **options)
        gradient = jax.jit(jax.grad(lambda x: fj.cross_entropy(x, y, **options).sum()))(x)
    wide = "float64" if dtype == "float64" else "float32"
    assert (loss.dtype, gradient.dtype) == (wide, dtype)
    close(loss, right, rtol=LOSS_TOLERANCE[wide], atol=0)
    np.testing.assert_array_equal(np.asarray(gradient), dlogits)  # to the bit: the same kernels


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_soft_targets(route, reduction):
    with enable_x64(True):
        x, _ = problem(dtype="float64")
        q = jax.nn.softmax(x[::-1] / 2)
        options = dict(ALL, reduction=reduction, class_weight=np.linspace(0.5, 2, 40), sample_weight=np.arange(6.0))
        right, dlogits, _ = fs.soft_cross_entropy_and_grad(np.asarray(x), np.asarray(q), **options)
        loss, pull = jax.vjp(lambda x: fj.soft_cross_entropy(x, q, **options), x)
        close(loss, right, rtol=1e-14)
        np.testing.assert_array_equal(pull(jnp.ones_like(loss))[0], dlogits)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_softmax(route, name, dtype):
    x, _ = problem(dtype=dtype)
    got = jax.jit(getattr(fj, name))(x)
    assert got.dtype == dtype
    np.testing.assert_array_equal(np.asarray(got), getattr(fs, name)(np.asarray(x)))
    theirs = functools.partial(getattr(jax.nn, name), axis=-1)
    wide = x.astype("float32")
    v = jnp.cos(jnp.arange(got.size, dtype="float32")).reshape(got.shape)
    gradient = jax.grad(lambda x: (getattr(fj, name)(x) * v).sum())(x)
    close(gradient, jax.grad(lambda x: (theirs(x) * v).sum())(wide), rtol=0, atol=1e-6 if dtype == "float32" else 2e-2)


def test_integer_logits_and_temperature(route):
    x = jnp.arange(12).reshape(2, 6) % 5
    close(fj.softmax(x, temperature=2.0), jax.nn.softmax(x / 2.0))
    close(fj.logsumexp(x, keepdims=True), jax.nn.logsumexp(x.astype("float32"), axis=-1, keepdims=True))


@pytest.mark.parametrize("axis", [0, -2])
def test_axis(route, axis):
    x, y = problem((2, 3), 5, ignored=False)
    moved = jnp.moveaxis(x, -1, axis)
    close(fj.cross_entropy(moved, y, axis=axis), formula(x, y))
    close(jax.grad(fj.cross_entropy)(moved, y, axis=axis), jnp.moveaxis(jax.grad(formula)(x, y), -1, axis))
    close(fj.log_softmax(moved, axis=axis), jax.nn.log_softmax(moved, axis=axis))
    close(fj.logsumexp(moved, axis=axis, keepdims=True), jax.nn.logsumexp(moved, axis=axis, keepdims=True))


def test_the_function_that_optax_has(route):
    x, y = problem(ignored=False)
    right = -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], -1)[:, 0]
    close(fj.softmax_cross_entropy_with_integer_labels(x, y), right)
    close(fj.softmax_cross_entropy_with_integer_labels(x.T, y, axis=0), right)
    where = jnp.arange(40) % 2 == y[:, None] % 2
    masked = -jnp.take_along_axis(jax.nn.log_softmax(x, where=where), y[:, None], -1)[:, 0]
    close(fj.softmax_cross_entropy_with_integer_labels(x, y, where=where), masked)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_labels_of_any_integer_dtype(route, dtype):
    x, _ = oracle.problem(4, 200)
    y = np.array([100, 1, 127, 2], dtype)
    with enable_x64(dtype.endswith("64")):
        close(fj.cross_entropy(x, jnp.asarray(y)), fs.cross_entropy(x, y))


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_labels_of_less_than_a_byte(route, dtype):
    x, y = oracle.problem(4, 200)[0], np.array([7, 1, 0, 2])
    close(fj.cross_entropy(x, jnp.asarray(y, dtype)), fs.cross_entropy(x, y))


def test_a_uint8_156_is_not_ignore_index(route):
    x, _ = problem((3,), 200)
    y = jnp.array([156, 1, 2], "uint8")
    close(fj.cross_entropy(x, y), formula(x, y.astype("int32")))
    close(jax.jvp(jax.grad(fj.cross_entropy), (x, y), (x, np.zeros(3, jax.dtypes.float0)))[1],
          jax.jvp(jax.grad(lambda x: formula(x, y.astype("int32"))), (x,), (x,))[1])


@pytest.mark.parametrize(("empty", "mean"), [("nan", np.nan), ("zero", 0.0)])
def test_nothing_that_counts(route, empty, mean):
    x, y = problem((3,))
    nothing = jnp.full_like(y, -100)
    loss, gradient = jax.value_and_grad(fj.cross_entropy)(x, nothing, empty=empty)
    np.testing.assert_array_equal(loss, mean)
    np.testing.assert_array_equal(gradient, np.zeros((3, 40)))  # rows that do not count are inert
    for shape in (0, 40), (0, 0):
        rows = jnp.zeros(shape), jnp.zeros(0, int)
        np.testing.assert_array_equal(fj.cross_entropy(*rows, empty=empty), mean)
        assert fj.cross_entropy(*rows, reduction="sum") == 0
        assert fj.cross_entropy(*rows, reduction="none").shape == (0,)
        assert jax.grad(fj.cross_entropy)(*rows, reduction="sum").shape == shape


def test_masked_classes_nan_and_infinity(route):
    x, y = problem((5,), 10, ignored=False)
    x = x.at[0, (y[0] + 1) % 10].set(-jnp.inf).at[1, y[1]].set(-jnp.inf).at[2].set(-jnp.inf).at[3, 4].set(jnp.nan)
    right = fs.cross_entropy_and_grad(*as_numpy(x, y), reduction="none")
    loss, pull = jax.vjp(lambda x: fj.cross_entropy(x, y, reduction="none"), x)
    np.testing.assert_array_equal(loss, right.loss.astype("float32"))
    np.testing.assert_array_equal(pull(jnp.ones(5))[0], right.dlogits)
    second = jax.jvp(jax.grad(lambda x: fj.cross_entropy(x, y, reduction="sum")), (x,), (jnp.ones_like(x),))[1]
    assert np.isfinite(second[4]).all() and np.isfinite(second[0]).all()


def test_one_row_without_a_batch(route):
    x, y = problem(ignored=False)
    close(jax.jit(fj.cross_entropy)(x[0], y[0]), formula(x[:1], y[:1]))
    close(fj.cross_entropy(np.asarray(x).tolist(), np.asarray(y).tolist()), formula(x, y))


# ------------------------------------------------------------------------------------------------ transformations


def test_jit_grad_and_vmap(route):
    x, y = problem((3, 4), ignored=False)
    loss, gradient = jax.jit(jax.value_and_grad(fj.cross_entropy))(x, y)
    close(loss, formula(x, y))
    close(gradient, jax.grad(formula)(x, y))
    close(jax.vmap(fj.cross_entropy)(x, y), jax.vmap(formula)(x, y))
    close(jax.jit(jax.vmap(jax.grad(fj.cross_entropy)))(x, y), jax.vmap(jax.grad(formula))(x, y))
    close(jax.vmap(jax.grad(fj.cross_entropy), (1, 1), 1)(x, y), jax.vmap(jax.grad(formula), (1, 1), 1)(x, y))
    close(jax.vmap(fj.cross_entropy, (None, 0))(x, jnp.stack([y, y[::-1]])), [formula(x, y), formula(x, y[::-1])])
    nested = functools.partial(fj.cross_entropy, reduction="sum")
    close(jax.vmap(jax.vmap(nested))(x, y), fj.cross_entropy(x, y, reduction="none"))
    close(jax.vmap(fj.softmax)(x), jax.nn.softmax(x))


def test_means_of_a_vmap_have_weights_of_their_own(route):
    x, y = problem((3, 4))
    class_weight, sample_weight = jnp.linspace(0.5, 2, 120).reshape(3, 40), jnp.linspace(0, 1, 12).reshape(3, 4)

    def loss(x, y, class_weight, sample_weight, reduction="mean"):
        return fj.cross_entropy(x, y, class_weight=class_weight, sample_weight=sample_weight, reduction=reduction).sum()

    for reduction in ("mean", "none"):
        function = jax.value_and_grad(functools.partial(loss, reduction=reduction))
        arrays = x, y, class_weight, sample_weight
        for axes in itertools.product((0,), (0,), (0, None), (0, None)):
            given = [a if axis == 0 else a[0] for a, axis in zip(arrays, axes, strict=True)]
            got = jax.vmap(function, axes)(*given)
            for i in range(3):
                right = function(*(a[i] if axis == 0 else a for a, axis in zip(given, axes, strict=True)))
                close(got[0][i], right[0])
                np.testing.assert_array_equal(got[1][i], right[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mean_of_one_row_is_divided_by_its_weight(route, dtype):
    with enable_x64(dtype == "float64"):
        x, y = problem((3,), 40, dtype, ignored=False)
        options = dict(class_weight=jnp.linspace(0.5, 2, 40))
        rows = jnp.array([fs.cross_entropy(*as_numpy(x[i], y[i]), **options) for i in range(3)])
        close(fj.cross_entropy(x[0], y[0], **options), rows[0])
        close(jax.vmap(functools.partial(fj.cross_entropy, **options))(x, y), rows)
        nothing = jnp.full_like(y, -100)
        for empty, mean in ("nan", np.nan), ("zero", 0.0):
            mean_of = functools.partial(fj.cross_entropy, empty=empty)
            np.testing.assert_array_equal(mean_of(x[:1], nothing[:1]), mean)
            np.testing.assert_array_equal(jax.vmap(mean_of)(x, nothing), [mean] * 3)


def test_scan_remat_and_a_factor(route):
    x, y = problem((3, 4), ignored=False)
    close(jax.lax.scan(lambda total, row: (total + fj.cross_entropy(*row), None), 0.0, (x, y))[0],
          sum(formula(x[i], y[i]) for i in range(3)))
    close(jax.grad(jax.checkpoint(lambda x: fj.cross_entropy(3 * x, y)))(x), jax.grad(lambda x: formula(3 * x, y))(x))
    mask = jnp.linspace(0, 1, 12).reshape(3, 4)

    def masked(loss, x):
        return (loss(x) * mask).sum() / mask.sum()

    close(jax.grad(functools.partial(masked, lambda x: fj.cross_entropy(x, y, reduction="none")))(x),
          jax.grad(functools.partial(masked, lambda x: jax.vmap(jax.vmap(formula))(x, y)))(x))


@pytest.mark.parametrize(("reduction", "options", "modes"), [
    ("mean", {}, ["fwd", "rev"]), ("mean", ALL, ["rev"]), ("none", ALL, ["fwd"])])
def test_derivatives_to_second_order(reduction, options, modes):
    with enable_x64(True):
        x, y = problem((2, 2), 5, "float64")
        if options:
            options = dict(options, class_weight=np.linspace(0.5, 2, 5), sample_weight=np.float64([[1, 2], [0.5, 0]]))
        check_grads(functools.partial(fj.cross_entropy, labels=y, reduction=reduction, **options), (x,), order=2,
                    modes=modes)


def test_derivatives_of_soft_targets_to_second_order():
    with enable_x64(True):
        x, _ = problem((2, 2), 5, "float64")
        options = dict(ALL, class_weight=np.linspace(0.5, 2, 5), sample_weight=np.float64([[1, 2], [0.5, 0]]))
        check_grads(functools.partial(fj.soft_cross_entropy, **options), (x, jax.nn.softmax(x[::-1])), order=2,
                    modes=["rev"])


@pytest.mark.parametrize("function", [fj.softmax, fj.log_softmax, fj.logsumexp])
def test_softmax_to_second_order_both_ways(function):
    with enable_x64(True):
        x, _ = problem((2,), 5, "float64")
        options = {} if function is fj.logsumexp else dict(temperature=0.3)
        check_grads(functools.partial(function, **options), (x,), order=2)


def test_first_derivatives_both_ways(route):
    with enable_x64(True):
        x, y = problem((2, 2), 5, "float64")
        check_grads(functools.partial(fj.cross_entropy, labels=y), (x,), order=1)
        check_grads(fj.log_softmax, (x,), order=1)


def test_hessian():
    with enable_x64(True):
        x, y = problem((2,), 5, "float64", ignored=False)
        close(jax.jit(jax.hessian(fj.cross_entropy))(x, y), jax.jit(jax.hessian(formula))(x, y), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("handler")
def test_a_gradient_is_one_call_and_nothing_else(optimised):
    x, y = problem()
    for dtype in ("float32", "bfloat16"):
        program = jax.jit(jax.value_and_grad(fj.cross_entropy)).lower(x.astype(dtype), y).compile().as_text()
        assert program.count("custom-call(") == 1
        assert not any(word in program for word in (" multiply(", " copy(", "fusion(", " convert("))


@pytest.mark.usefixtures("handler")
def test_in_place(optimised):
    x, y = problem()
    right = jax.grad(fj.cross_entropy)(x, y)
    function = jax.grad(functools.partial(fj.cross_entropy, in_place=True))
    kept = np.array(x)
    np.testing.assert_array_equal(jax.jit(function)(x, y), right)  # not donated: XLA copies
    np.testing.assert_array_equal(x, kept)
    donating = jax.jit(function, donate_argnums=0).lower(x, y).compile()
    assert " copy(" not in donating.as_text()
    np.testing.assert_array_equal(donating(x, y), right)
    assert x.is_deleted()


def test_the_number_of_threads_is_that_of_tracing(route):
    x, y = problem((64,), 5_000)
    right = jax.grad(fj.cross_entropy)(x, y)
    for n in 1, 3:
        with fs.use_num_threads(n):
            np.testing.assert_array_equal(jax.jit(jax.grad(fj.cross_entropy))(x, y), right)


def test_every_backend(backend):
    x, y = problem(ignored=False)
    loss, gradient = jax.value_and_grad(fj.cross_entropy)(x, y)
    close(loss, formula(x, y))
    close(gradient, jax.grad(formula)(x, y))


def test_many_threads_at_once(route):
    """Neither way in waits for a lock that it holds itself."""
    x, y = problem((32,), 2_000)
    function = jax.jit(jax.value_and_grad(fj.cross_entropy))
    right, failures = jax.block_until_ready(function(x, y)), []

    def work():
        for _ in range(10):
            got = jax.block_until_ready(function(x, y))
            if got[0] != right[0] or (got[1] != right[1]).any():
                failures.append(got)

    workers = [threading.Thread(target=work) for _ in range(4)]
    [w.start() for w in workers]
    [w.join(60) for w in workers]
    assert not failures and not any(w.is_alive() for w in workers)


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("jit", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_a_wrong_label_raises_when_it_is_met(jit):
    x, y = problem((2, 3), 10, ignored=False)
    wrong, text = y.at[1, 2].set(10), r"labels\[1, 2\] is 10, outside \[0, 10\) and not ignore_index=-100"
    for function in (fj.cross_entropy, jax.grad(fj.cross_entropy), jax.vmap(fj.cross_entropy)):
        with pytest.raises(jax.errors.JaxRuntimeError, match=text):
            jax.block_until_ready(jit(function)(x, wrong))
        jax.block_until_ready(jit(function)(x, y))  # and the next call is right
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"labels\[0, 0\] is -100, outside \[0, 10\)(?! and)"):
        fj.cross_entropy(x, y.at[0, 0].set(-100), ignore_index=None).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"labels is 11, outside \[0, 10\)"):
        fj.cross_entropy(x[0, 0], jnp.array(11)).block_until_ready()


def test_a_wrong_label_in_a_function_that_has_run_before(route):
    """JAX calls what it has compiled by another way then, and has another exception for it."""
    x, y = problem((2, 3), 10, ignored=False)
    for function in (fj.cross_entropy, jax.jit(jax.grad(fj.cross_entropy)),
                     lambda x, y: fj.linear_cross_entropy(x, jnp.ones((10, 10)), y)):
        jax.block_until_ready([function(x, y) for _ in range(2)])
        with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=r"labels\[1, 2\] is 10, outside \[0, 10\)"):
            jax.block_until_ready(function(x, y.at[1, 2].set(10)))


@pytest.mark.parametrize(("arguments", "options", "error", "text"), [
    (((2, 3), (2,)), dict(reduction="max"), ValueError, "reduction is 'max'; allowed are"),
    (((2, 3), (2,)), dict(label_smoothing=2.0), ValueError, r"label_smoothing is 2.0, outside \[0, 1\]"),
    (((2, 3), (2,)), dict(temperature=0), ValueError, "temperature is 0.0, outside"),
    (((2, 3), (2,)), dict(softcap="5"), TypeError, "softcap must be a real number, not str"),
    (((2, 3), (2,)), dict(ignore_index=0.5), TypeError, "ignore_index must be an integer"),
    (((2, 3), (2,)), dict(empty="one"), ValueError, "empty is 'one'"),
    (((2, 3), (2,)), dict(axis=2), ValueError, r"axis is 2, outside \[-2, 2\) for logits of shape \(2, 3\)"),
    (((2, 3), (2,)), dict(axis=-3), ValueError, r"axis is -3, outside \[-2, 2\) for logits of shape \(2, 3\)"),
    (((2, 3), (2,)), dict(class_weight=np.ones(2)), ValueError, r"class_weight has shape \(2,\), but must have \(3,\)"),
    (((2, 3), (2,)), dict(sample_weight=np.ones(3)), ValueError, r"sample_weight has shape \(3,\)"),
    (((2, 3), (3,)), {}, ValueError, r"labels has shape \(3,\), but must have \(2,\), one label a row"),
    (((), ()), {}, ValueError, "logits must have a class axis, but is 0-dimensional"),
    (((2, 0), (2,)), {}, ValueError, r"logits has zero classes in shape \(2, 0\)"),
])
def test_wrong_arguments_raise_when_they_are_traced(arguments, options, error, text):
    x, y = jnp.zeros(arguments[0]), jnp.zeros(arguments[1], int)
    with pytest.raises(error, match=text):
        jax.jit(functools.partial(fj.cross_entropy, **options))(x, y)


def test_wrong_arrays():
    x, y = problem((2,), 5, ignored=False)
    with pytest.raises(TypeError, match="labels has dtype float32; class indices of an integer dtype are required"):
        fj.cross_entropy(x, x[:, 0])
    with pytest.raises(TypeError, match="logits has dtype complex64"):
        fj.cross_entropy(x + 0j, y)
    with pytest.raises(TypeError, match="logits must be an array, not None"):
        fj.softmax(None)
    with pytest.raises(fs.LabelError, match=r"labels\[1\] is 4294967299, more than int32 holds"):
        fj.cross_entropy(x, np.array([0, 2**32 + 3]))
    with pytest.raises(ValueError, match=r"target_probs has shape \(5,\), but must have that of logits, \(2, 5\)"):
        fj.soft_cross_entropy(x, x[0])
    with pytest.raises(TypeError, match="target_probs has dtype bool"):
        fj.soft_cross_entropy(x, x > 0)


def test_options_are_not_traced():
    x, y = problem((2,), 5, ignored=False)
    text = "(?m){} is traced by JAX, but options are Python values, part of what is compiled{}$"
    instead = ": divide the logits by it yourself"
    for function in (fj.softmax, lambda x, **options: fj.cross_entropy(x, y, **options),
                     lambda x, **options: fj.soft_cross_entropy(x, x, **options),
                     lambda x, **options: fj.linear_cross_entropy(x, x, y, **options)):
        with pytest.raises(TypeError, match=text.format("temperature", instead)):
            jax.jit(lambda t, f=function: f(x, temperature=t))(2.0)
    for option, value in dict(label_smoothing=0.1, ignore_index=2, axis=1).items():
        with pytest.raises(TypeError, match=text.format(option, "")):
            jax.jit(lambda t, name=option: fj.cross_entropy(x, y, **{name: t}))(value)
    with pytest.raises(TypeError, match=text.format("max_workspace_bytes", "")):
        jax.jit(lambda n: fj.linear_cross_entropy(x, x, y, max_workspace_bytes=n))(1 << 20)


@pytest.mark.parametrize("name", ["class_weight", "sample_weight"])
def test_weights_are_not_differentiated(name):
    x, y = problem((2,), 5, ignored=False)
    weight = jnp.ones(5 if name == "class_weight" else 2)
    with pytest.raises(TypeError, match=f"does not differentiate with respect to {name}: wrap it in jax.lax.stop_gradient"):
        jax.grad(lambda w: fj.cross_entropy(x, y, **{name: w}))(weight)
    with pytest.raises(TypeError, match=f"does not differentiate with respect to {name}"):
        jax.grad(lambda w: fj.linear_cross_entropy(x, x, y, **{name: jnp.ones(2) * w}))(1.0)


def test_other_devices_are_refused(route):
    x, y = problem()
    for function, arrays in ((fj.cross_entropy, (x, y)), (fj.softmax, (x,)), (fj.linear_cross_entropy, (x, x, y))):
        with pytest.raises(NotImplementedError, match="computes on the CPU, but this is compiled for cuda"):
            jax.jit(function).trace(*arrays).lower(lowering_platforms=("cuda",))


def test_without_jax():
    code = """
import sys
sys.modules["jax"] = None
try:
    import fastsoftmax.jax
except ImportError as error:
    print(error)
"""
    assert child.run(code) == 'fastsoftmax.jax needs JAX 0.5 or later: pip install "fastsoftmax[jax]"\n'


# ------------------------------------------------------------------------------------------------ the benchmark


def test_the_benchmark_judges_what_it_measures():
    from fastsoftmax.bench import jax_door

    taken = jax_door.measure((4, 100), 2, lambda text: None)
    assert set(taken) == set(jax_door.contenders((4, 100)))
    for more, met in (0.0, True), (1e3, False):
        alike = {name: dict(ms=1 + more * name.startswith("jit")) for name in taken}
        assert [figure[-1] for figure in jax_door.figures(alike, alike)] == [met] * 6
