"""Arrays that are not NumPy's: their memory goes in, results come back as they went in, what cannot be read says why."""

import array
import importlib
import mmap
import sys

import checks
import numpy as np
import pytest
from operations import OPERATIONS, dtype_of, inputs_of

import fastsoftmax as fs
from fastsoftmax import check, optim

X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
Y = np.array([0, 4, 2])
W = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
LABELS = np.array([6, 0, 3])  # of W's classes


class Capsule:
    """An array with DLPack and nothing else."""

    def __init__(self, numbers, device=(1, 0)):
        self.numbers, self.on = numbers, device

    def __dlpack_device__(self):
        return self.on

    def __dlpack__(self, **options):
        return self.numbers.__dlpack__(**options)


class Sharing(Capsule):
    """DLPack, and `__array__` that copies."""

    def __array__(self, dtype=None, copy=None):
        return self.numbers.copy()


class Old(Capsule):
    """DLPack before 1.0, which does not say whether memory may be written to."""

    def __dlpack__(self, stream=None):
        return self.numbers.__dlpack__()


class Copying:
    """An array of a namespace, whose memory nobody sees."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __array__(self, dtype=None, copy=None):
        return self.numbers.copy()

    def __array_namespace__(self, api_version=None):
        return importlib.import_module("test_foreign_namespace")


def torch_of(a):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if a.dtype.name == "bfloat16" else torch.from_numpy(a)


def jax_of(a):
    return pytest.importorskip("jax.numpy").asarray(a)


def strict_of(a):
    return pytest.importorskip("array_api_strict").asarray(a, copy=False)


LIBRARIES = {"torch": torch_of, "jax": jax_of, "array_api_strict": strict_of}
SHARING = {"torch": torch_of, "array_api_strict": strict_of, "DLPack alone": Capsule, "DLPack beside a copy": Sharing}
every_library = pytest.mark.parametrize("library", LIBRARIES)


def dtypes_of(library):
    return {"torch": ("float64", "float32", "bfloat16", "float16"), "jax": ("float32", "bfloat16", "float16"),
            "array_api_strict": ("float64", "float32")}[library]


def same(got, right, kind):
    """Arrays of a library with the numbers of NumPy's; JAX's have 32 bits at most."""
    assert isinstance(got, kind)
    got, right = check.memory(got, "got"), np.asarray(right)
    if kind.__module__.startswith("jax") and right.dtype.itemsize == 8:
        right = right.astype(f"{right.dtype.kind}4")
    checks.check_same_bits([got], [right])


@every_library
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_gives_arrays_of_the_library(backend, library, name):
    operation, make = OPERATIONS[name], LIBRARIES[library]
    for dtype in dtypes_of(library):
        inputs = inputs_of(name, (3, 5), dtype)
        foreign = [make(a) for a in inputs]
        right, got = operation.call(*inputs), operation.call(*foreign)
        assert type(got) is type(right) or not isinstance(right, tuple)
        fields = zip(got, right, strict=True) if isinstance(right, tuple) else [(got, right)]
        for a, b in fields:
            same(a, b, type(foreign[0]))


@every_library
def test_the_linear_operations_too(library):
    make = LIBRARIES[library]
    x, w, y = make(X), make(W), make(LABELS)
    kind = type(x)
    for got, right in [
        (fs.linear_cross_entropy(x, w, y), fs.linear_cross_entropy(X, W, LABELS)),
        (fs.linear_target_log_prob(x, w, y), fs.linear_target_log_prob(X, W, LABELS)),
        *zip(fs.linear_score(x, w, y, top_k=2), fs.linear_score(X, W, LABELS, top_k=2), strict=True),
        (fs.linear_sample(x, w, np.random.default_rng(0)), fs.linear_sample(X, W, np.random.default_rng(0))),
        *zip(fs.linear_topk(x, w, 2), fs.linear_topk(X, W, 2), strict=True),
        *zip(fs.linear_cross_entropy_and_grad(x, w, y, bias=make(np.ones(7, np.float32)))[:5],
             fs.linear_cross_entropy_and_grad(X, W, LABELS, bias=np.ones(7, np.float32))[:5], strict=True),
        (fs.one_hot(y, 7), fs.one_hot(LABELS, 7)),
        (fs.from_one_hot(fs.one_hot(y, 7)), LABELS),
    ]:
        same(got, right, kind)
    found = fs.linear_cross_entropy_and_grad(x, w, y, wrt=("features",))
    assert type(found) is fs.LinearCrossEntropyGrad and found.dclassifier is None and found.dbias is None
    assert fs.linear_plan(x, w, y) == fs.linear_plan(X, W, LABELS)
    assert fs.Vocabulary("abcdefg").decode(y) == ["g", "a", "d"]


SHARES = np.full((3, 2), 0.5, np.float32)
PAIRS = np.array([[0, 3], [4, 1], [2, 0]])
P, Q = fs.softmax(X), fs.softmax(X[::-1])
SCORES_AND_TARGETS = {
    "score": (lambda x, y: fs.score(x, y, top_k=2), X, Y),
    "topk": (lambda x: fs.topk(x, 2, softcap=3), X),
    "target_log_prob": (fs.target_log_prob, X, PAIRS),
    "sample": (lambda x: fs.sample(x, np.random.default_rng(0), top_k=3), X),
    "sparse_cross_entropy": (fs.sparse_cross_entropy, X, PAIRS, SHARES),
    "sparse_cross_entropy_and_grad": (fs.sparse_cross_entropy_and_grad, X, PAIRS, SHARES),
    "kl_divergence_with_logits": (lambda q, x: fs.kl_divergence_with_logits(q, x, reduction="none"), P, X),
    "kl_divergence_with_logits_and_grad": (lambda z, x: fs.kl_divergence_with_logits_and_grad(z, x, target_logits=True),
                                           X[::-1].copy(), X),
    "entropy_with_logits": (fs.entropy_with_logits, X),
    "entropy_with_logits_and_grad": (lambda x, w: fs.entropy_with_logits_and_grad(x, sample_weight=w), X, X[:, 0].copy()),
    "js_divergence": (fs.js_divergence, P, Q),
    "cross_entropy_jvp": (fs.cross_entropy_jvp, X, Y, P),
    "cross_entropy_hvp": (fs.cross_entropy_hvp, X, Y, P),
}


@every_library
@pytest.mark.parametrize("name", SCORES_AND_TARGETS)
def test_scores_and_other_targets_too(backend, library, name):
    call, *inputs = SCORES_AND_TARGETS[name]
    foreign = [LIBRARIES[library](a) for a in inputs]
    right, got = call(*inputs), call(*foreign)
    assert type(got) is type(right) or not isinstance(right, tuple)
    for a, b in zip(got, right, strict=True) if isinstance(right, tuple) else [(got, right)]:
        same(a, b, type(foreign[0]))


@every_library
def test_what_was_not_asked_for_stays_none(library):
    x, y = LIBRARIES[library](X), LIBRARIES[library](Y)
    for scores in (fs.score(x, y), fs.linear_score(x, LIBRARIES[library](W), y)):
        assert type(scores) is fs.Scores and scores.top_ids is None and scores.top_log_probs is None
        assert all(isinstance(a, type(x)) for a in scores[:6])
    same(fs.score(x[0, :], int(Y[0])).ranks, fs.score(X[0], Y[0]).ranks, type(x))


def test_scores_and_gradients_of_torch_are_written_in_place():
    torch = pytest.importorskip("torch")
    x, y, pairs = torch_of(X.copy()), torch_of(Y), torch_of(PAIRS)
    outs = torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.int64)
    found = fs.topk(x, 2, out=outs)
    assert found.log_probs is outs[0] and found.ids is outs[1]
    checks.check_same_bits([a.numpy() for a in outs], fs.topk(X, 2))
    assert fs.target_log_prob(X, pairs, out=outs[0]) is outs[0]
    ids, one = torch.zeros(3, dtype=torch.int64), torch.zeros((), dtype=torch.float64)
    assert fs.sample(x, np.random.default_rng(0), out=ids) is ids
    assert fs.target_log_prob(x[0], 1, out=one) is one and one == fs.target_log_prob(X[0], 1)
    tangents = torch_of(P.copy())
    assert fs.cross_entropy_hvp(x, y, tangents, out=tangents) is tangents
    checks.check_same_bits([tangents.numpy()], [fs.cross_entropy_hvp(X, Y, P)])
    assert fs.entropy_with_logits_and_grad(x, out=x).dlogits is x
    checks.check_same_bits([x.numpy()], [fs.entropy_with_logits_and_grad(X).dlogits])
    checks.check_refused(lambda: fs.topk(x, 2, out=(outs[0], x)), ValueError, r"^out\[1\] has shape")
    same_memory = pairs.view(torch.float64)
    checks.check_refused(lambda: fs.target_log_prob(X, pairs, out=same_memory), ValueError, "^out overlaps ids")


@every_library
def test_reduced_losses_are_arrays_without_axes(library):
    x, y = LIBRARIES[library](X), LIBRARIES[library](Y)
    for reduction in ("mean", "sum"):
        loss = fs.cross_entropy(x, y, reduction=reduction)
        assert loss.ndim == 0
        same(loss, fs.cross_entropy(X, Y, reduction=reduction), type(x))
    same(fs.logsumexp(logits=x[0, :]), fs.logsumexp(X[0]), type(x))


def test_the_first_argument_decides():
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    x, y = torch_of(X), jnp.asarray(Y)
    right = fs.cross_entropy(X, Y)
    same(fs.cross_entropy(x, y), right, torch.Tensor)
    same(fs.cross_entropy(x, list(Y)), right, torch.Tensor)
    assert type(fs.cross_entropy(X, y)) is type(fs.cross_entropy(X.tolist(), y)) is np.float64
    same(fs.softmax_grad(torch_of(X), X), fs.softmax_grad(X, X), torch.Tensor)
    assert type(fs.softmax_grad(X, torch_of(X))) is np.ndarray
    weight, temperature = torch_of(np.arange(5.0)), torch.tensor(2.0)
    same(fs.cross_entropy(x, y, class_weight=weight, temperature=temperature),
         fs.cross_entropy(X, Y, class_weight=np.arange(5.0), temperature=2.0), torch.Tensor)


def test_array_api_compat_sees_the_namespace_that_went_in():
    compat = pytest.importorskip("array_api_compat")
    for library in LIBRARIES:
        x = LIBRARIES[library](X)
        assert compat.array_namespace(fs.softmax(x)) is compat.array_namespace(x)
        assert compat.device(fs.softmax(x)) == compat.device(x)


def test_a_namespace_without_dlpack(monkeypatch):
    namespace = type(sys)("test_foreign_namespace")
    namespace.asarray = Copying
    monkeypatch.setitem(sys.modules, namespace.__name__, namespace)
    got = fs.softmax(Copying(X))
    assert type(got) is Copying
    checks.check_same_bits([got.numbers], [fs.softmax(X)])
    checks.check_refused(lambda: fs.softmax(X, out=Copying(X)), TypeError, "^out cannot be written to: a Copying gives a")
    checks.check_refused(lambda: fs.linear_cross_entropy_step(X, Copying(W), LABELS, optimizer=optim.SGD(0.1)), TypeError,
                         "^classifier cannot be written to: a Copying gives a copy")


def test_who_names_no_library_gets_ndarrays():
    for value in (Capsule(X), Sharing(X), memoryview(X), array.array("f", X[0])):
        assert type(fs.softmax(value)) is np.ndarray


@pytest.mark.parametrize("name", SHARING)
def test_memory_goes_in_and_is_written_to(backend, name):
    make = SHARING[name]
    for dtype in ("float32", "bfloat16") if name == "torch" else ("float32", "float64"):
        numbers = X.astype(dtype_of(dtype))
        memory = check.memory(make(numbers), "x")
        assert memory.ctypes.data == numbers.ctypes.data and memory.strides == numbers.strides
        right = fs.softmax(numbers)
        target = np.empty_like(numbers)
        out = make(target)
        assert fs.softmax(make(numbers), out=out) is out
        checks.check_same_bits([target], [right])
        assert fs.softmax(numbers, out=(again := make(np.empty_like(numbers)))) is again
        in_place = make(numbers)
        right = fs.cross_entropy_and_grad(numbers.copy(), Y)
        got = fs.cross_entropy_and_grad(in_place, make(Y), out=in_place)
        assert got.dlogits is in_place
        checks.check_same_bits([numbers, check.memory(got.loss, "loss")], [right.dlogits, right.loss])


def test_what_does_not_say_whether_it_may_be_written_to():
    checks.check_same_bits([fs.softmax(Old(X))], [fs.softmax(X)])
    checks.check_refused(lambda: fs.softmax(X, out=Old(X)), ValueError, "^out is read-only", X)


def test_strides_are_kept():
    torch = pytest.importorskip("torch")
    base = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    tensor = torch.from_numpy(base)
    for view, plain in [(tensor.T, base.T), (tensor[::2, 1::3], base[::2, 1::3]), (tensor[:1].expand(4, 8), base[[0] * 4])]:
        same(fs.softmax(view), fs.softmax(np.ascontiguousarray(plain)), torch.Tensor)
    out = torch.zeros(8, 6)
    assert fs.softmax(tensor, out=out.T).shape == (6, 8)
    checks.check_same_bits([out.numpy().T], [fs.softmax(base)])
    checks.check_refused(lambda: fs.softmax(tensor, out=torch.zeros(8).expand(6, 8)), ValueError,
                         "^out has elements that share memory")
    checks.check_refused(lambda: fs.softmax(tensor[:3], out=tensor[1:4]), ValueError,
                         "^out overlaps logits without being exactly it", base)


def test_results_in_torch_are_over_our_memory(monkeypatch):
    torch = pytest.importorskip("torch")
    ours = []
    make = torch.from_dlpack
    monkeypatch.setattr(torch, "from_dlpack", lambda a: ours.append(a) or make(a))
    for x in (torch_of(X), torch_of(X).bfloat16()):
        result = fs.softmax(x)
        assert result.data_ptr() == ours[-1].ctypes.data
        result += 1  # and it may be written to
    class Mine(torch.Tensor):
        pass
    assert isinstance(fs.softmax(torch_of(X).as_subclass(Mine)), torch.Tensor)


def test_gradients_and_parameters_of_torch_are_written_in_place():
    torch = pytest.importorskip("torch")
    right = fs.linear_cross_entropy_and_grad(X, W, LABELS)
    outs = (torch.zeros(3, 5), torch.zeros(7, 5), None)
    got = fs.linear_cross_entropy_and_grad(X, torch_of(W), LABELS, out=outs)
    assert got.dfeatures is outs[0] and got.dclassifier is outs[1]
    checks.check_same_bits([a.numpy() for a in outs[:2]], [right.dfeatures, right.dclassifier])
    fs.linear_cross_entropy_and_grad(X, W, LABELS, wrt=["classifier"], out=(None, outs[1], None), accumulate=True)
    np.testing.assert_allclose(outs[1].numpy(), 2 * right.dclassifier, rtol=1e-6)
    plain, tensor = W.copy(), torch_of(W.copy())
    for classifier in (plain, tensor):
        fs.linear_cross_entropy_step(X, classifier, LABELS, optimizer=optim.SGD(0.5))
    checks.check_same_bits([tensor.numpy()], [plain])


def test_buffers(tmp_path):
    right = fs.softmax(X)
    path = tmp_path / "logits"
    path.write_bytes(X.tobytes())
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        with memoryview(mapped) as raw, raw.cast("f", X.shape) as view:
            assert check.memory(view, "x").ctypes.data == np.frombuffer(mapped, np.float32).ctypes.data
            checks.check_same_bits([fs.softmax(view)], [right])
            assert fs.softmax(view, out=view) is view
    np.testing.assert_array_equal(np.fromfile(path, np.float32), right.reshape(-1))
    logits, labels = array.array("d", [0.5, 2, 1]), array.array("i", [2])
    assert check.memory(logits, "x").ctypes.data == logits.buffer_info()[0]
    assert fs.cross_entropy(memoryview(logits).cast("B").cast("d", (1, 3)), labels) == fs.cross_entropy([[0.5, 2, 1]], [2])
    out = array.array("d", [0] * 3)
    assert fs.softmax(logits, out=out) is out
    np.testing.assert_array_equal(out, fs.softmax(np.array([0.5, 2, 1])))
    checks.check_refused(lambda: fs.softmax(logits, out=memoryview(out).toreadonly()), ValueError, "^out is read-only")
    checks.check_refused(lambda: fs.softmax(logits, out=array.array("f", [0] * 3)), TypeError,
                         "^out has dtype float32, but must have float64")
    checks.check_refused(lambda: fs.softmax(logits, out=b"12345678"), TypeError, "^out cannot be written to: a bytes")


def test_subclasses_of_ndarray_give_ndarrays(tmp_path):
    class Mine(np.ndarray):
        pass
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    mapped[...] = X
    for logits in (X.view(Mine), X.view(np.matrix), mapped):
        got = fs.cross_entropy_and_grad(logits, Y)
        assert type(got.dlogits) is np.ndarray
        checks.check_same_bits(got, fs.cross_entropy_and_grad(X, Y))
    right = fs.softmax(X)
    assert fs.softmax(mapped, out=mapped) is mapped
    checks.check_same_bits([mapped], [right])
    masked = np.ma.array(X, mask=X > 1)
    checks.check_refused(lambda: fs.softmax(masked), TypeError, "^logits is a masked array")
    checks.check_refused(lambda: fs.cross_entropy(X, np.ma.array(Y)), TypeError, "^labels is a masked array.*ignore_index")
    checks.check_refused(lambda: fs.softmax(X, out=masked), TypeError, "^out must be a numpy array, not MaskedArray")


def test_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X)
    checks.check_same_bits(fs.cross_entropy_and_grad(frame, pandas.Series(Y)), fs.cross_entropy_and_grad(X, Y))
    nullable = frame.astype("Float32")
    checks.check_same_bits([fs.softmax(nullable[0])], [fs.softmax(X[:, 0])])
    checks.check_refused(lambda: fs.softmax(nullable), TypeError, r"^logits has dtype object.*logits.to_numpy\(dtype=")
    checks.check_same_bits([fs.softmax(nullable.to_numpy(dtype="float32"))], [fs.softmax(X)])
    series = pandas.Series(X[0])
    assert np.shares_memory(check.memory(series, "x"), series.to_numpy())
    right = fs.cross_entropy(X, Y)
    for labels in (pandas.Series(Y, dtype="Int16"), pandas.Index(Y), pandas.array(Y), pandas.Series(Y.astype(np.uint8))):
        assert fs.cross_entropy(frame, labels) == right
    missing = pandas.Series([0, None, 1], dtype="Int64")
    checks.check_refused(lambda: fs.cross_entropy(frame, missing), TypeError, "^labels has dtype (float64|object); class")
    for labels in (pandas.Series(Y).astype("category"), pandas.Categorical(["a", "b", "a"]), pandas.CategoricalIndex(Y)):
        checks.check_refused(lambda y=labels: fs.cross_entropy(X, y), TypeError, "^labels is categorical: give the codes")
        checks.check_refused(lambda y=labels: fs.one_hot(y, 5), TypeError, "^labels is categorical")
    mixed = frame.assign(kind=pandas.Categorical([1, 2, 3]))
    checks.check_refused(lambda: fs.softmax(mixed), TypeError, "^logits is categorical")
    codes = pandas.Series(["b", "a", "b"]).astype("category").cat.codes
    assert fs.cross_entropy(frame, codes) == fs.cross_entropy(X, [1, 0, 1])
    checks.check_refused(lambda: fs.softmax(pandas.Series([1.0, "a"])), TypeError, "^logits has dtype object")
    checks.check_refused(lambda: fs.softmax(series, out=series), TypeError, "^out must be a numpy array, not Series")


def test_polars_and_arrow():
    polars = pytest.importorskip("polars")
    frame, labels = polars.DataFrame({str(i): X[:, i] for i in range(5)}), polars.Series(Y)
    checks.check_same_bits(fs.cross_entropy_and_grad(frame, labels), fs.cross_entropy_and_grad(X, Y))
    column = polars.Series(X[0])
    assert np.shares_memory(check.memory(column, "x"), column.to_numpy(allow_copy=False))
    checks.check_refused(lambda: fs.cross_entropy(X, polars.Series([0, None, 1])), TypeError, "^labels has dtype float64")
    checks.check_refused(lambda: fs.softmax(polars.Series(["a"])), TypeError, "^logits has dtype (object|<U1)")
    letters = polars.Series(["a", "b", "a"], dtype=polars.Categorical)
    checks.check_refused(lambda: fs.cross_entropy(X, letters), TypeError, "^labels is categorical")
    arrow = pytest.importorskip("pyarrow")
    column = arrow.array(X[0])
    assert check.memory(column, "x").ctypes.data == column.buffers()[1].address
    checks.check_same_bits([fs.softmax(column)], [fs.softmax(X[0])])
    assert fs.cross_entropy(X, arrow.array(Y)) == fs.cross_entropy(X, Y)
    checks.check_refused(lambda: fs.cross_entropy(X, arrow.array([0, None, 1])), TypeError, "^labels has dtype float64")
    assert np.isnan(fs.softmax(arrow.array([1.0, None]))).all()


def refused_everywhere(value, says):
    """In the first argument, the second and an option."""
    checks.check_refused(lambda: fs.softmax(value), TypeError, f"^logits {says}")
    checks.check_refused(lambda: fs.softmax_grad(X, value), TypeError, f"^dprobs {says}")
    checks.check_refused(lambda: fs.cross_entropy(X, value), TypeError, f"^labels {says}")
    checks.check_refused(lambda: fs.cross_entropy(X, Y, class_weight=value), TypeError, f"^class_weight {says}")
    checks.check_refused(lambda: fs.linear_cross_entropy(X, W, LABELS, bias=value), TypeError, f"^bias {says}")
    checks.check_refused(lambda: fs.linear_cross_entropy_step(X, value, LABELS, optimizer=optim.SGD(1)), TypeError,
                         f"^classifier {says}")
    checks.check_refused(lambda: fs.softmax(X, out=value), TypeError, f"^out {says}")
    checks.check_refused(lambda: fs.linear_cross_entropy_and_grad(X, W, LABELS, out=(None, value, None)), TypeError,
                         rf"^out\[1\] {says}")


def test_what_torch_does_not_give():
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.bfloat16):
        graph = torch.ones(3, 5, dtype=dtype, requires_grad=True)
        refused_everywhere(graph, r"requires grad, which would be lost here: use fastsoftmax.torch, or .+\.detach\(\)$")
        assert fs.softmax(graph.detach()).dtype == dtype
        nowhere = torch.ones(3, 5, dtype=dtype, device="meta")
        refused_everywhere(nowhere, "is on device meta, but must be in the CPU's memory: move it there first$")
    refused_everywhere(torch.ones(3, 5).to_sparse(), "cannot be read as an array: can't convert Sparse")
    refused_everywhere(torch.tensor([1 + 2j]).conj().imag, "cannot be read as an array: .*negative bit")
    checks.check_refused(lambda: fs.softmax([torch.ones(3, requires_grad=True)]), TypeError, "^logits cannot be read.*grad")
    checks.check_refused(lambda: fs.softmax(torch.ones(3) > 0), TypeError, "^logits has dtype bool")
    narrow = torch.ones(3).to(torch.float8_e4m3fn)
    checks.check_refused(lambda: fs.softmax(narrow), TypeError, "^logits cannot be read as an array: .*Float8")
    checks.check_refused(lambda: fs.cross_entropy(X, torch.ones(3)), TypeError, "^labels has dtype float32; class indices")
    checks.check_refused(lambda: torch.vmap(fs.softmax)(torch.ones(3, 5)), TypeError, "^logits cannot be read as an array")
    with pytest.raises(fs.LabelError, match=r"^labels\[1\] is 5, outside \[0, 5\)"):
        fs.cross_entropy(torch_of(X), torch.tensor([0, 5, 1]))


def test_what_jax_does_not_give():
    jax = pytest.importorskip("jax")
    x = jax_of(X)
    checks.check_refused(lambda: jax.jit(fs.softmax)(x), TypeError, "^logits is traced by JAX.*use fastsoftmax.jax")
    checks.check_refused(lambda: jax.grad(lambda a: fs.cross_entropy(X, Y, class_weight=a).sum())(x[0]), TypeError,
                         "^class_weight is traced by JAX")
    checks.check_refused(lambda: fs.softmax(x, out=x), ValueError, "^out is read-only", X)
    checks.check_refused(lambda: fs.linear_cross_entropy_step(X, jax_of(W), LABELS, optimizer=optim.SGD(1)), ValueError,
                         "^classifier is read-only")
    checks.check_refused(lambda: fs.softmax(jax.random.key(0)), TypeError, "^logits cannot be read as an array: .*PRNG")


def test_memory_that_is_elsewhere():
    refused_everywhere(Capsule(X, (2, 0)), "cannot be read as an array: its memory is that of a device, type 2 of DLPack's")
    checks.check_same_bits([fs.softmax(Capsule(X, (3, 0)))], [fs.softmax(X)])  # pinned
    accelerator = Capsule(X, (2, 1))
    accelerator.device = "cuda:1"
    refused_everywhere(accelerator, "is on device cuda:1, but must be in the CPU's memory: move it there first")
    strict = pytest.importorskip("array_api_strict")
    refused_everywhere(strict.ones((3, 5), device=strict.Device("device1")), r"is on device .*device1.*, but must be")


def test_small_calls_take_the_short_cut(monkeypatch):
    if fs.backends.why_not("cython"):
        pytest.skip("no compiler: the Cython kernels are not built")
    def never(*arguments, **options):
        raise AssertionError("the long way")
    with fs.use_backend("cython"):
        monkeypatch.setattr(check, "softmax", never)
        monkeypatch.setattr(check, "cross_entropy", never)
        for make in (Capsule, torch_of):
            memory = X.copy()
            x = make(memory)
            fs.softmax(x, out=x)
            fs.cross_entropy_and_grad(x, make(Y), out=x)


def test_bfloat16_without_ml_dtypes(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError, match="^logits is bfloat16, which NumPy knows by ml_dtypes: pip install ml_dtypes"):
        fs.softmax(torch.ones(3, dtype=torch.bfloat16))
