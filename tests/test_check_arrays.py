"""Arrays that are refused, in every argument that takes one, and the odd ones that are taken."""

import re

import checks
import numpy as np
import pytest
from operations import DTYPES, OPERATIONS, dtype_of, inputs_of

import fastsoftmax as fs

X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
Y = [0, 1, 2]
IDS = [[0, 1, 2, 3, 4]] * 3


def rng():
    return np.random.default_rng(0)


# every argument that is an array, and how to pass it; ALIKE: those that must have the shape of another
ARGUMENTS = {
    "softmax(logits)": lambda a: fs.softmax(a),
    "log_softmax(logits)": lambda a: fs.log_softmax(a),
    "logsumexp(logits)": lambda a: fs.logsumexp(a),
    "softmax_grad(probs)": lambda a: fs.softmax_grad(a, X),
    "log_softmax_grad(log_probs)": lambda a: fs.log_softmax_grad(a, X),
    "cross_entropy(logits)": lambda a: fs.cross_entropy(a, Y),
    "cross_entropy_and_grad(logits)": lambda a: fs.cross_entropy_and_grad(a, Y),
    "soft_cross_entropy(logits)": lambda a: fs.soft_cross_entropy(a, X),
    "sparse_cross_entropy(logits)": lambda a: fs.sparse_cross_entropy(a, IDS, X),
    "sparse_cross_entropy_and_grad(logits)": lambda a: fs.sparse_cross_entropy_and_grad(a, IDS, X),
    "entropy(probs)": lambda a: fs.entropy(a),
    "kl_divergence(p)": lambda a: fs.kl_divergence(a, X),
    "js_divergence(p)": lambda a: fs.js_divergence(a, X),
    "kl_divergence_with_logits(logits)": lambda a: fs.kl_divergence_with_logits(X, a),
    "kl_divergence_with_logits_and_grad(logits)": lambda a: fs.kl_divergence_with_logits_and_grad(X, a),
    "entropy_with_logits(logits)": lambda a: fs.entropy_with_logits(a),
    "entropy_with_logits_and_grad(logits)": lambda a: fs.entropy_with_logits_and_grad(a),
    "cross_entropy_jvp(logits)": lambda a: fs.cross_entropy_jvp(a, Y, X),
    "cross_entropy_hvp(logits)": lambda a: fs.cross_entropy_hvp(a, Y, X),
    "score(logits)": lambda a: fs.score(a, Y),
    "topk(logits)": lambda a: fs.topk(a, 2),
    "target_log_prob(logits)": lambda a: fs.target_log_prob(a, Y),
    "sample(logits)": lambda a: fs.sample(a, rng()),
}
ALIKE = {
    "softmax_grad(dprobs)": lambda a: fs.softmax_grad(X, a),
    "log_softmax_grad(dlog_probs)": lambda a: fs.log_softmax_grad(X, a),
    "soft_cross_entropy(target_probs)": lambda a: fs.soft_cross_entropy(X, a),
    "soft_cross_entropy_and_grad(target_probs)": lambda a: fs.soft_cross_entropy_and_grad(X, a),
    "sparse_cross_entropy(probs)": lambda a: fs.sparse_cross_entropy(X, IDS, a),
    "sparse_cross_entropy_and_grad(probs)": lambda a: fs.sparse_cross_entropy_and_grad(X, IDS, a),
    "kl_divergence(q)": lambda a: fs.kl_divergence(X, a),
    "js_divergence(q)": lambda a: fs.js_divergence(X, a),
    "kl_divergence_with_logits(target)": lambda a: fs.kl_divergence_with_logits(a, X),
    "kl_divergence_with_logits_and_grad(target)": lambda a: fs.kl_divergence_with_logits_and_grad(a, X, target_logits=True),
    "cross_entropy_jvp(tangents)": lambda a: fs.cross_entropy_jvp(X, Y, a),
    "cross_entropy_hvp(tangents)": lambda a: fs.cross_entropy_hvp(X, Y, a),
}
OPTIONAL = {
    "cross_entropy(class_weight)": lambda a: fs.cross_entropy(X, Y, class_weight=a),
    "cross_entropy(sample_weight)": lambda a: fs.cross_entropy(X, Y, sample_weight=a),
    "soft_cross_entropy(class_weight)": lambda a: fs.soft_cross_entropy(X, X, class_weight=a),
    "soft_cross_entropy(sample_weight)": lambda a: fs.soft_cross_entropy(X, X, sample_weight=a),
    "cross_entropy_and_grad(dlosses)": lambda a: fs.cross_entropy_and_grad(X, Y, dlosses=a),
    "soft_cross_entropy_and_grad(dlosses)": lambda a: fs.soft_cross_entropy_and_grad(X, X, dlosses=a),
    "sparse_cross_entropy(class_weight)": lambda a: fs.sparse_cross_entropy(X, IDS, X, class_weight=a),
    "sparse_cross_entropy(sample_weight)": lambda a: fs.sparse_cross_entropy(X, IDS, X, sample_weight=a),
    "sparse_cross_entropy_and_grad(dlosses)": lambda a: fs.sparse_cross_entropy_and_grad(X, IDS, X, dlosses=a),
    "kl_divergence_with_logits(sample_weight)": lambda a: fs.kl_divergence_with_logits(X, X, sample_weight=a),
    "kl_divergence_with_logits_and_grad(dlosses)": lambda a: fs.kl_divergence_with_logits_and_grad(X, X, dlosses=a),
    "entropy_with_logits(sample_weight)": lambda a: fs.entropy_with_logits(X, sample_weight=a),
    "entropy_with_logits_and_grad(dlosses)": lambda a: fs.entropy_with_logits_and_grad(X, dlosses=a),
    "cross_entropy_jvp(class_weight)": lambda a: fs.cross_entropy_jvp(X, Y, X, class_weight=a),
    "cross_entropy_jvp(sample_weight)": lambda a: fs.cross_entropy_jvp(X, Y, X, sample_weight=a),
    "cross_entropy_hvp(dlosses)": lambda a: fs.cross_entropy_hvp(X, Y, X, dlosses=a),
}
EVERY = {**ARGUMENTS, **ALIKE, **OPTIONAL}
ALLOWED = "; allowed are float64, float32, float16, bfloat16 and integers"
REFUSED = [
    (X > 0, "has dtype bool" + ALLOWED),
    (X.astype(object), "has dtype object" + ALLOWED),
    (X.astype(complex), "has dtype complex128" + ALLOWED),
    (X.astype(str), "has dtype <U[0-9]+" + ALLOWED),
    (X.astype(bytes), r"has dtype \|S[0-9]+" + ALLOWED),
    (X.astype(np.longdouble), "has dtype (float128|longdouble)" + ALLOWED),
    (np.zeros((3, 5), "M8[s]"), "has dtype datetime64"),
    (np.zeros((3, 5), "m8[s]"), "has dtype timedelta64"),
    (np.zeros((3, 5), [("a", "f4")]), r"has dtype \[\('a'"),
    (np.ma.array(X), "is a masked array: its mask would be lost"),
    (list(np.ma.array(X)), "is a masked array"),
    ([[1.0, np.ma.masked]], "is a masked array"),
    ("logits", "has dtype <U6"),
    ({"a": 1}, "has dtype object"),
    ([[2**70, 1]], "has dtype object"),
    ([[None, 1]], "has dtype object"),
]


@pytest.mark.parametrize("argument", EVERY)
def test_what_is_no_array_of_numbers_is_refused(argument):
    call, name = EVERY[argument], argument.partition("(")[2][:-1]
    for value, says in REFUSED:
        checks.check_refused(lambda v=value: call(v), TypeError, f"^{name} {says}")
    for kind in ("float8_e4m3fn", "int4"):
        narrow = np.zeros((3, 5), getattr(pytest.importorskip("ml_dtypes"), kind))
        checks.check_refused(lambda v=narrow: call(v), TypeError, f"^{name} has dtype {kind}{ALLOWED}")
    checks.check_refused(lambda: call([[1, 2], [3]]), ValueError, f"^{name} cannot be read as an array: .*inhomogeneous")
    if argument not in OPTIONAL:
        checks.check_refused(lambda: call(None), TypeError, f"^{name} must be an array, not None")


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_no_class_axis_and_no_classes(argument):
    call, name = ARGUMENTS[argument], argument.partition("(")[2][:-1]
    checks.check_refused(lambda: call(3.0), ValueError, f"^{name} must have a class axis, but is 0-dimensional")
    for empty in (np.zeros((3, 0)), np.zeros(0), [[]]):
        checks.check_refused(lambda e=empty: call(e), ValueError, rf"^{name} has zero classes in shape \(")


@pytest.mark.parametrize("argument", ALIKE)
def test_shapes_that_do_not_fit(argument):
    call, name = ALIKE[argument], argument.partition("(")[2][:-1]
    for shape in [(), (5,), (3, 1), (1, 5), (3, 4), (5, 3), (3, 5, 1)]:
        says = rf"^{name} has shape {re.escape(str(shape))}, but must have that of \w+, \(3, 5\)"
        checks.check_refused(lambda s=shape: call(np.zeros(s)), ValueError, says)


def test_weights_and_upstream_gradients_of_other_shapes():
    for shape in [(), (1,), (3,), (6,), (3, 5), (5, 1)]:
        says = rf"^class_weight has shape {re.escape(str(shape))}, but must have \(5,\), one weight a class"
        checks.check_refused(lambda s=shape: fs.cross_entropy(X, Y, class_weight=np.ones(s)), ValueError, says)
    for name in ("sample_weight", "dlosses"):
        for shape in [(1,), (5,), (3, 1), (1, 3), (3, 5)]:
            says = rf"^{name} has shape {re.escape(str(shape))}, but must be a scalar or have \(3,\), one a row"
            options = {name: np.ones(shape)}
            checks.check_refused(lambda o=options: fs.cross_entropy_and_grad(X, Y, **o), ValueError, says)


@pytest.mark.parametrize("name", OPERATIONS)
def test_axis(name):
    operation = OPERATIONS[name]
    inputs = inputs_of(name, (3, 5), "float32")
    for axis, error, says in [
        (2, ValueError, r"^axis is 2, outside \[-2, 2\) for \w+ of shape \(3, 5\)"),
        (-3, ValueError, r"^axis is -3, outside \[-2, 2\)"),
        (2**70, ValueError, "^axis is 1180591620717411303424, outside"),
        (1.0, TypeError, "^axis must be an integer, not float"),
        (np.float64(1), TypeError, "^axis must be an integer, not float64"),
        (True, TypeError, "^axis must be an integer, not bool"),
        (None, TypeError, "^axis must be an integer, not NoneType"),
        ("1", TypeError, "^axis must be an integer, not str"),
        ((0, 1), TypeError, "^axis must be an integer, not tuple"),
    ]:
        checks.check_refused(lambda a=axis: operation(*inputs, axis=a), error, says)
    right = operation(*inputs)
    for axis in (1, np.int8(-1), np.uint64(1), np.array(1)):
        checks.check_same_bits(operation(*inputs, axis=axis), right)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("axis", range(-3, 3))
def test_the_class_axis_may_be_any(backend, name, axis):
    operation = OPERATIONS[name]
    inputs = inputs_of(name, (3, 4, 5), "float32")
    moved = [a if a.dtype.kind == "i" else np.ascontiguousarray(np.moveaxis(a, -1, axis)) for a in inputs]
    for got, right in zip(operation(*moved, axis=axis), operation(*inputs), strict=True):
        checks.check_same_bits([got if got.ndim < 3 else np.moveaxis(got, axis, -1)], [right])


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_rows_one_class_and_single_rows(backend, name):
    operation = OPERATIONS[name]
    for dtype in DTYPES:
        for shape in [(0, 5), (0, 0), (2, 0, 5), (0, 3, 1)]:
            inputs = inputs_of(name, shape, dtype) if shape[-1] else tuple(
                np.zeros(shape[:-1] if kind == "labels" else shape, int if kind == "labels" else dtype_of(dtype))
                for kind in operation.inputs)
            for got in operation(*inputs):
                assert got.shape in (shape, shape[:-1])
        for shape in [(1,), (4, 1), (2, 3, 1)]:
            inputs = inputs_of(name, shape, dtype)
            flat = [a.reshape(-1) if kind == "labels" else a.reshape(-1, 1)
                    for kind, a in zip(operation.inputs, inputs, strict=True)]
            got = [r.reshape(-1, 1) if r.shape == shape else r.reshape(-1) for r in operation(*inputs)]
            checks.check_results(got, operation.right(*flat), dtype)
        one, many = inputs_of(name, (5,), dtype), operation(*(a[None] for a in inputs_of(name, (5,), dtype)))
        checks.check_same_bits(operation(*one), [r[0] for r in many])
        if "labels" in operation.inputs:
            checks.check_same_bits(operation(one[0], int(one[1])), [r[0] for r in many])


@pytest.mark.parametrize("name", OPERATIONS)
def test_integers_are_taken_as_float64(backend, name):
    operation = OPERATIONS[name]
    for kind in ("i1", "u2", ">i4", "u8"):
        inputs = [a if k == "labels" else np.abs(np.round(8 * a.astype(np.float64))).astype(kind)
                  for k, a in zip(operation.inputs, inputs_of(name, (3, 5), "float64"), strict=True)]
        right = operation(*(a if k == "labels" else a.astype(np.float64) for k, a in
                            zip(operation.inputs, inputs, strict=True)))
        checks.check_same_bits(operation(*inputs), right)


@pytest.mark.parametrize("name", ["softmax_grad", "log_softmax_grad", "soft_cross_entropy_and_grad", "kl_divergence"])
def test_two_dtypes_give_the_wider(backend, name):
    """float16 and bfloat16 meet in float32, as NumPy promotes them."""
    operation = OPERATIONS[name]
    for first in DTYPES:
        for second in DTYPES:
            a, b = inputs_of(name, (3, 5), first)[0], inputs_of(name, (3, 5), second)[1]
            wide = dtype_of(first) if first == second else np.result_type(
                *("f4" if d.itemsize == 2 else d for d in (a.dtype, b.dtype)))
            checks.check_same_bits(operation(a, b), operation(a.astype(wide), b.astype(wide)))


def test_lists_scalars_frames_and_subclasses(backend):
    right = fs.cross_entropy_and_grad(X, Y, dlosses=2)
    rows = X.tolist()
    for logits in (rows, [tuple(r) for r in rows], list(X), memoryview(X), X.view(np.matrix), X.view(np.recarray)):
        got = fs.cross_entropy_and_grad(logits, tuple(Y), dlosses=2)
        assert type(got.dlogits) is np.ndarray
        np.testing.assert_allclose(got.loss, right.loss, rtol=1e-6)
        np.testing.assert_allclose(got.dlogits, right.dlogits, rtol=1e-5, atol=1e-7)
    assert fs.softmax(range(3)).shape == (3,)
    assert isinstance(fs.cross_entropy(X, Y), np.float64) and isinstance(fs.logsumexp(X[0]), np.float32)
    assert isinstance(fs.entropy([0.5, 0.5]), np.float64)


def test_pandas(backend):
    pandas = pytest.importorskip("pandas")
    frame, labels = pandas.DataFrame(X), pandas.Series(Y)
    checks.check_same_bits([fs.softmax(frame), fs.cross_entropy(frame, labels)], [fs.softmax(X), fs.cross_entropy(X, Y)])
    missing = pandas.Series([0, None, 1])
    checks.check_refused(lambda: fs.cross_entropy(frame, missing), TypeError, "labels has dtype float64")
    checks.check_refused(lambda: fs.softmax(pandas.DataFrame([["a", 1]])), TypeError, "logits has dtype object")
    memory = X.copy()
    shared = pandas.DataFrame(memory, copy=False)
    assert np.shares_memory(shared, memory)
    checks.check_refused(lambda: fs.softmax(shared.iloc[::-1], out=memory), ValueError, "out overlaps logits", memory)


def test_outputs_that_cannot_be_allocated(backend):
    """A broadcast view of 2^58 logits costs nothing, its gradient 2^60 bytes: MemoryError, never an abort.

    Also a result for each of 2^48 rows is more than an address space of 47 bits.
    """
    for dtype in ("float32", "float16"):
        huge = np.broadcast_to(np.zeros((), dtype), (2**10, 2**48))
        for call in (fs.softmax, fs.log_softmax, lambda x: fs.cross_entropy_and_grad(x, np.zeros(2**10, int)),
                     lambda x: fs.softmax_grad(x, x), lambda x: fs.log_softmax_grad(x, x),
                     lambda x: fs.soft_cross_entropy_and_grad(x, x)):
            with pytest.raises(MemoryError):
                call(huge)
        for call in (fs.logsumexp, fs.entropy, lambda x: fs.kl_divergence(x, x)):
            with pytest.raises(MemoryError):
                call(huge.T[:, :2])
    assert fs.cross_entropy(X, Y) > 0
