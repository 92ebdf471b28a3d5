"""The door from PyTorch as operators: conformance, compilers, transforms, and torch's own sample inputs."""

import pytest

torch = pytest.importorskip("torch")
fst = pytest.importorskip("fastsoftmax.torch")
functional = torch.nn.functional
from fastsoftmax.torch import composed, linear, losses, softmaxes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # compilers and test tools warn about themselves
OPS = torch.ops.fastsoftmax


def arguments():
    """{operator and case: an overload and its arguments}."""
    x, w = torch.randn(3, 4, 2, requires_grad=True), torch.rand(4)
    y, q = torch.tensor([[0, 1], [-100, 3], [2, 2]]), torch.rand(3, 4, 2, requires_grad=True)
    rows, one = torch.randn(3, 2, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    features, classifier, bias = (torch.randn(s, requires_grad=True) for s in ((3, 5), (4, 5), (4,)))
    options, labels = (-100, 0.1, 0.1, 3.0), y[:, 0]
    layer, all_grads = (features, classifier, labels, bias, w, "mean", *options, False), [True] * 3
    bare = (features, classifier, labels, None, None, "none", *options, False)
    return {
        "labels": (OPS.cross_entropy.default, (x, y, w, "mean", *options, torch.float32, True)),
        "labels, later": (OPS.cross_entropy.default, (x, y, w, "none", *options, torch.float64, False)),
        "probabilities": (OPS.cross_entropy.default, (x, q, None, "mean", *options, torch.float32, False)),
        "gradient": (OPS.cross_entropy_backward.default, (rows, x, y, w, "none", *options)),
        "gradient, probabilities": (OPS.cross_entropy_backward.default, (one, x, q, w, "mean", *options)),
        "linear": (OPS.linear_cross_entropy.default, (*layer, torch.float32, all_grads)),
        "linear, later": (OPS.linear_cross_entropy.default, (*bare, torch.float32, [False] * 3)),
        "linear gradient": (OPS.linear_cross_entropy_backward.default, (one, *layer, all_grads)),
        "softmax": (OPS.softmax.default, (x, 1)),
        "softmax gradient": (OPS.softmax_backward.default, (x, q, 1)),
        "log_softmax": (OPS.log_softmax.default, (x, -1)),
        "log_softmax gradient": (OPS.log_softmax_backward.default, (x, q, 2)),
    }


@pytest.mark.parametrize("case", arguments())
def test_opcheck(case):
    torch.manual_seed(0)
    overload, given = arguments()[case]
    assert set(torch.library.opcheck(overload, given).values()) == {"SUCCESS"}


def test_every_operator_is_checked():
    ops = [losses._cross_entropy, losses._cross_entropy_backward, linear._linear_cross_entropy, softmaxes._softmax,
           linear._linear_cross_entropy_backward, softmaxes._log_softmax]
    assert {op.overload for op in ops} <= {overload for overload, _ in arguments().values()}


def both(x, y, features, classifier):
    loss = fst.cross_entropy(2 * x, y, reduction="none", z_loss=0.1).sum() + fst.cross_entropy(x, y)
    return loss + 3 * fst.linear_cross_entropy(features, classifier, y) + fst.softmax(x, 1).log().mean()


def inputs():
    torch.manual_seed(0)
    x, features, classifier = (torch.randn(s, requires_grad=True) for s in ((6, 9), (6, 5), (9, 5)))
    return x, torch.tensor([0, 3, -100, 8, 2, 2]), features, classifier


def grads(loss, given):
    return torch.autograd.grad(loss, [t for t in given if t.requires_grad])


@pytest.mark.parametrize(("compiler", "dynamic"), [("aot_eager", False), ("aot_eager", True), ("inductor", True)])
def test_compiled_whole(compiler, dynamic):
    torch._dynamo.reset()
    given = inputs()
    compiled = torch.compile(both, fullgraph=True, dynamic=dynamic, backend=compiler)
    loss, right = compiled(*given), both(*given)
    torch.testing.assert_close(loss, right)
    torch.testing.assert_close(grads(loss, given), grads(right, given))
    with torch.no_grad():
        torch.testing.assert_close(compiled(*given), right)


def test_a_compiled_graph_holds_one_node_a_function():
    torch._dynamo.reset()
    seen = []

    def record(graph, examples):
        seen.extend(str(node.target) for node in graph.graph.nodes if "fastsoftmax" in str(node.target))
        return graph

    torch.compile(both, fullgraph=True, backend=record)(*inputs())
    assert sorted(seen) == ["fastsoftmax.cross_entropy.default"] * 2 + ["fastsoftmax.linear_cross_entropy.default",
                                                                        "fastsoftmax.softmax.default"]


def test_compiled_under_autocast():
    torch._dynamo.reset()
    _, y, features, classifier = inputs()

    def loss(features, classifier):
        logits = functional.linear(features, classifier)
        return fst.cross_entropy(logits, y) + fst.linear_cross_entropy(features, classifier, y)

    with torch.autocast("cpu", torch.bfloat16):
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(features, classifier)
        right = loss(features, classifier)
    assert compiled.dtype is torch.float32
    torch.testing.assert_close(compiled, right)


def test_a_compiled_call_refuses_alike():
    torch._dynamo.reset()
    x, y, *_ = inputs()
    compiled = torch.compile(fst.cross_entropy, fullgraph=True, backend="aot_eager")
    with pytest.raises(IndexError, match=r"target\[0\] is 9, outside \[0, 9\)"):
        compiled(x, y + 9)


def test_exported():
    class Model(torch.nn.Module):
        def forward(self, x, y):
            return fst.cross_entropy(x, y)

    x, y, *_ = inputs()
    exported = torch.export.export(Model(), (x.detach(), y))
    assert exported.module()(x.detach(), y) == fst.cross_entropy(x.detach(), y)


def test_fake_tensors_are_not_computed_with():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x, y = torch.empty(10**6, 10**6), torch.empty(10**6, dtype=torch.int64)
        assert fst.cross_entropy(x, y).shape == ()
        assert fst.cross_entropy(x, y, reduction="none").shape == y.shape
        assert fst.softmax(x, 1).shape == x.shape


def test_transforms():
    x, y, features, classifier = inputs()
    right, = torch.autograd.grad(fst.cross_entropy(x, y, reduction="sum"), x)
    torch.testing.assert_close(torch.func.grad(fst.cross_entropy)(x, y), right / 5)
    y = y.clamp(0)  # the mean over a single row that is ignored is NaN
    right, = torch.autograd.grad(fst.cross_entropy(x, y, reduction="sum"), x)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(fst.cross_entropy))(x, y), right)
    by_row = torch.func.vmap(torch.func.grad(fst.linear_cross_entropy, 1), (0, None, 0))(features, classifier, y)
    whole, = torch.autograd.grad(fst.linear_cross_entropy(features, classifier, y), classifier)
    torch.testing.assert_close(by_row.mean(0), whole)
    torch.testing.assert_close(torch.func.vmap(lambda row: fst.softmax(row, 0))(x), torch.softmax(x, 1))
    hessian = torch.func.jacrev(torch.func.jacrev(fst.cross_entropy))(x, y)
    torch.testing.assert_close(hessian, torch.func.hessian(functional.cross_entropy)(x, y))


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_gradients_by_the_batch(reduction):
    """Of autograd's own older vmap, whose tensors look like plain ones."""
    x, y, features, classifier = inputs()
    q, logits = torch.rand(6, 9, requires_grad=True), functional.linear(features, classifier)
    options = {"reduction": reduction}
    pairs = [(fst.cross_entropy(x, y, **options), functional.cross_entropy(x, y, **options), [x]),
             (fst.cross_entropy(x, q, **options), functional.cross_entropy(x, q, **options), [x, q]),
             (fst.linear_cross_entropy(features, classifier, y, **options),
              functional.cross_entropy(logits, y, **options), [features, classifier]),
             (fst.entropy_with_logits(x, **options), composed.entropy(x, reduction, None, 1.0, 1), [x]),
             (fst.softmax(x, 1), functional.softmax(x, 1), [x]),
             (fst.target_log_prob(x, y.clamp(0)), functional.log_softmax(x, 1).gather(1, y.clamp(0)[:, None])[:, 0], [x])]
    for ours, theirs, given in pairs:
        upstream = torch.randn(3, *theirs.shape)
        for again in (False, True):
            got, right = (torch.autograd.grad(loss, given, upstream, retain_graph=True, create_graph=again,
                                              is_grads_batched=True) for loss in (ours, theirs))
            torch.testing.assert_close(got, right)
    hessian = torch.autograd.functional.hessian
    torch.testing.assert_close(hessian(lambda x: fst.cross_entropy(x, y), x, vectorize=True),
                               hessian(lambda x: functional.cross_entropy(x, y), x))


def test_no_forward_mode():
    x, y, *_ = inputs()
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(lambda x: fst.cross_entropy(x, y), (x.detach(),), (x.detach(),))


def test_checkpoint_and_saved_tensor_hooks():
    x, y, *_ = inputs()
    right, = torch.autograd.grad(functional.cross_entropy(2 * x, y) * 3, x)
    loss = torch.utils.checkpoint.checkpoint(lambda x: fst.cross_entropy(2 * x, y) * 3, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(loss, x)[0], right)
    with torch.autograd.graph.save_on_cpu():
        loss = fst.cross_entropy(2 * x, y) * 3
    torch.testing.assert_close(torch.autograd.grad(loss, x)[0], right)


# torch's own sample inputs

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
CASES = [("nn.functional.cross_entropy", fst.cross_entropy, functional.cross_entropy, DTYPES),
         ("softmax", fst.softmax, functional.softmax, DTYPES),
         ("log_softmax", fst.log_softmax, functional.log_softmax, DTYPES),
         ("nn.functional.linear_cross_entropy", fst.linear_cross_entropy, getattr(functional, "linear_cross_entropy", None),
          DTYPES[:1])]


@pytest.fixture(scope="module")
def samples():
    """(name, dtype) -> torch's sample inputs for it."""
    pytest.importorskip("expecttest")  # which torch.testing needs
    from torch.testing._internal.common_methods_invocations import op_db

    def of(name, dtype):
        torch.manual_seed(0)
        found = [s for op in op_db if op.name == name for s in op.sample_inputs("cpu", dtype, requires_grad=True)]
        return found

    return of


def widened(value):
    """A float64 tensor of the same numbers; other things as they are."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.detach().double().requires_grad_(value.requires_grad)
    return value


@pytest.mark.parametrize(("name", "ours", "theirs", "dtype"),
                         [pytest.param(*case[:3], dtype, id=f"{case[0]}-{dtype}") for case in CASES for dtype in case[3]])
def test_torchs_sample_inputs(samples, name, ours, theirs, dtype):
    """torch's loss and gradients of the same numbers in float64, within its tolerances for the dtype."""
    found = samples(name, dtype)
    if not found and theirs is None:
        pytest.skip("no linear_cross_entropy in this torch")
    assert len(found) >= 7
    for sample in found:
        given = (sample.input, *sample.args)
        wide = [widened(value) for value in given]
        options = {key: widened(value) for key, value in sample.kwargs.items() if key != "options"}
        result, right = ours(*given, **sample.kwargs), theirs(*wide, **options)
        torch.testing.assert_close(result, right.to(result.dtype), equal_nan=True)
        if "dtype" not in sample.kwargs and "linear" not in name:
            assert result.dtype is theirs(*given, **sample.kwargs).dtype
        at = [i for i, value in enumerate(given) if isinstance(value, torch.Tensor) and value.requires_grad]
        upstream = torch.randn_like(result)
        got = torch.autograd.grad(result, [given[i] for i in at], upstream)
        true = torch.autograd.grad(right, [wide[i] for i in at], upstream.to(right.dtype))
        for grad, exact in zip(got, true, strict=True):
            # softmax's backward starts from its rounded output, as torch's does: its error is one of the whole row
            rounded = "softmax" in name and "dtype" not in sample.kwargs and dtype.itemsize == 2 and exact.numel()
            by_row = {"rtol": 0, "atol": 4 * torch.finfo(dtype).eps * float(exact.abs().max())} if rounded else {}
            torch.testing.assert_close(grad, exact.to(grad.dtype), equal_nan=True, **by_row)
