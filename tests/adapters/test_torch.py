"""The door from PyTorch: torch's numbers, dtypes and shapes, and what it does with memory."""

import importlib
import itertools
import sys
import tracemalloc
import warnings

import numpy as np
import pytest

import fastsoftmax as fs

torch = pytest.importorskip("torch")
fst = pytest.importorskip("fastsoftmax.torch")
functional = torch.nn.functional
from fastsoftmax.torch import arrays, memory  # noqa: E402

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPES = ((7,), (5, 7), (3, 7, 2), (2, 7, 3, 2))
CASES = list(itertools.product(("none", "mean", "sum"), (0.0, 0.1), (False, True)))


def problem(shape=(5, 7), dtype=torch.float64, seed=0):
    """Logits that require a gradient, labels of which one is ignored where there are several, and class weights."""
    generator = torch.Generator().manual_seed(seed)
    axis = 0 if len(shape) == 1 else 1
    x = torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()
    y = torch.randint(shape[axis], shape[:axis] + shape[axis + 1:], generator=generator)
    if y.ndim:
        y.view(-1)[0] = -100
    return x, y, torch.rand(shape[axis], dtype=torch.float64, generator=generator).to(dtype)


def layer(dtype=torch.float64, n_rows=4, n_classes=7, n_features=5):
    """input, linear_weight, linear_bias, target."""
    generator = torch.Generator().manual_seed(1)
    shapes = (n_rows, n_features), (n_classes, n_features), (n_classes,)
    made = [torch.randn(s, dtype=torch.float64, generator=generator).to(dtype).requires_grad_() for s in shapes]
    y = torch.randint(n_classes, (n_rows,), generator=generator)
    y[1] = -100
    return *made, y


def same(ours, theirs, inputs, **tolerances):
    """Value, shape, dtype, and the gradients for one upstream gradient."""
    torch.testing.assert_close(ours, theirs, equal_nan=True, **tolerances)
    upstream = torch.randn(theirs.shape, dtype=theirs.dtype, generator=torch.Generator().manual_seed(2))
    grads = [torch.autograd.grad(loss, inputs, upstream) for loss in (ours, theirs)]
    for got, right, tensor in zip(*grads, inputs, strict=True):
        torch.testing.assert_close(got, right, equal_nan=True, **tolerances)
        assert got.stride() == torch.empty_like(tensor).stride()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_labels(shape, dtype):
    x, y, w = problem(shape, dtype)
    for (reduction, smoothing, weighted), ignored in itertools.product(CASES, (-100, 3)):
        labels = y.clone().masked_fill_(y == -100, ignored)
        options = {"weight": w if weighted else None, "reduction": reduction, "label_smoothing": smoothing,
                   "ignore_index": ignored}
        same(fst.cross_entropy(x, labels, **options), functional.cross_entropy(x, labels, **options), [x])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_class_probabilities(shape):
    x, _, w = problem(shape)
    q = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    for reduction, smoothing, weighted in CASES:
        options = {"weight": w if weighted else None, "reduction": reduction, "label_smoothing": smoothing}
        same(fst.cross_entropy(x, q, **options), functional.cross_entropy(x, q, **options), [x, q])


def test_a_target_of_one_for_unbatched_input():
    x, y, w = problem((7,))
    features, classifier, *_ = layer()
    for reduction in ("none", "mean", "sum"):
        right = functional.cross_entropy(x, y, w, reduction=reduction)  # torch's own gradient wants y there
        torch.testing.assert_close(functional.cross_entropy(x, y[None], w, reduction=reduction), right)
        same(fst.cross_entropy(x, y[None], w, reduction=reduction), right, [x])
        same(fst.linear_cross_entropy(features[0], classifier, y[None], reduction=reduction),
             functional.cross_entropy(classifier @ features[0], y, reduction=reduction), [features, classifier])
    assert fst.cross_entropy(x, y[None], label_smoothing=0.1) == fst.cross_entropy(x, y, label_smoothing=0.1)
    with pytest.raises(TypeError, match="^target has dtype torch.int64"):  # one class: it is a probability, as in torch
        fst.cross_entropy(x[:1], y[None])


@pytest.mark.parametrize("mixed", list(itertools.product(DTYPES, DTYPES)), ids=str)
def test_the_dtype_of_a_loss_is_torchs(mixed):
    x, q = (torch.rand(3, 4, dtype=dtype) for dtype in mixed)
    x.requires_grad_()
    loss = fst.cross_entropy(x, q)
    loss.backward()
    assert loss.dtype is functional.cross_entropy(x, q).dtype
    assert x.grad.dtype is x.dtype


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, dim):
    x, _, _ = problem((3, 7, 2))
    same(getattr(fst, name)(x, dim), getattr(functional, name)(x, dim), [x])
    integers = (getattr(door, name)((9 * x.detach()).long(), dim, dtype=torch.float64) for door in (fst, functional))
    torch.testing.assert_close(*integers)
    single = torch.tensor(3.0)
    assert getattr(fst, name)(single, 0).equal(getattr(functional, name)(single, 0))
    for shape in ((4, 0), (0, 4), (0,), (2, 0, 3)):
        for axis in range(len(shape)):
            x = torch.empty(shape, requires_grad=True)
            same(getattr(fst, name)(x, axis), getattr(functional, name)(x, axis), [x])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_linear(reduction, biased):
    x, classifier, bias, y = layer()
    weight = torch.rand(7, dtype=torch.float64)
    inputs = [x, classifier, bias][:2 + biased]
    for smoothing in (0.0, 0.1):
        options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
        logits = functional.linear(x, classifier, bias if biased else None)
        ours = fst.linear_cross_entropy(x, classifier, y, linear_bias=bias if biased else None, **options)
        same(ours, functional.cross_entropy(logits, y, **options), inputs)


def test_linear_in_other_shapes():
    x, classifier, bias, y = layer()
    one = fst.linear_cross_entropy(x[0], classifier, y[0], linear_bias=bias)
    same(one, functional.cross_entropy(functional.linear(x[0], classifier, bias), y[0]), [x, classifier])
    many = fst.linear_cross_entropy(x.reshape(2, 2, 5), classifier, y.reshape(2, 2), reduction="none")
    same(many.reshape(-1), functional.cross_entropy(functional.linear(x, classifier), y, reduction="none"), [x, classifier])
    q = torch.rand(2, 2, 7, dtype=torch.float64)
    soft = fst.linear_cross_entropy(x.reshape(2, 2, 5), classifier, q)
    same(soft, functional.cross_entropy(functional.linear(x, classifier), q.reshape(4, 7)), [x, classifier])
    wide = torch.randn(3, 2, 2, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(3, (4, 2, 2))
    logits = functional.linear(x, wide.reshape(12, 5)).reshape(4, 3, 2, 2)
    same(fst.linear_cross_entropy(x, wide, target), functional.cross_entropy(logits, target), [x, wide])


@pytest.mark.parametrize("options", [{}, {"z_loss": 0.1}, {"softcap": 2.0}, {"z_loss": 0.1, "softcap": 2.0}], ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_the_numbers_are_those_of_the_plain_call(reduction, options):
    x, y, w = problem((3, 7, 2), torch.float32)
    found = fst.cross_entropy(x, y, w, reduction=reduction, **options)
    plain = fs.cross_entropy_and_grad(x.detach().numpy(), y.numpy(), class_weight=w.numpy(), axis=1, reduction=reduction,
                                      **options)
    np.testing.assert_array_equal(found.detach().numpy(), np.float32(plain.loss))
    np.testing.assert_array_equal(torch.autograd.grad(found.sum(), x)[0].numpy(), plain.dlogits)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layouts(dtype):
    base = torch.randn(4, 6, 3, 2, dtype=torch.float64).to(dtype)
    for view in (base.transpose(0, 1), base[:, ::2], base.permute(3, 1, 2, 0), base.to(memory_format=torch.channels_last),
                 base[:, :, :1].expand(4, 6, 5, 2), base[:1].expand(3, 6, 3, 2)):
        x = view.detach().requires_grad_()
        assert x.data_ptr() == view.data_ptr() and x.stride() == view.stride()
        y = torch.randint(x.shape[1], (x.shape[0], *x.shape[2:]))
        wide = x.detach().double().requires_grad_()
        for reduction in ("mean", "none"):
            ours = fst.cross_entropy(x, y, reduction=reduction)
            theirs = functional.cross_entropy(wide, y, reduction=reduction)
            torch.testing.assert_close(ours, theirs.to(dtype))
            got, right = torch.autograd.grad(ours.sum(), x)[0], torch.autograd.grad(theirs.sum(), wide)[0]
            torch.testing.assert_close(got, right.to(dtype))
            assert got.stride() == torch.empty_like(x).stride()


def test_nothing_but_zero_rows():
    x, y = torch.zeros(0, 5, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    assert fst.cross_entropy(x, y).isnan()
    assert fst.cross_entropy(x, y, reduction="none").shape == (0,)
    loss = fst.cross_entropy(x, y, reduction="sum")
    loss.backward()
    assert loss == 0 and x.grad.shape == (0, 5)


def test_every_target_ignored():
    x, y, _ = problem()
    loss = fst.cross_entropy(x, torch.full_like(y, -100))
    assert loss.isnan()
    assert torch.autograd.grad(loss, x)[0].isnan().logical_or(x == x).all()


def test_a_zero_target_at_a_masked_class():
    """0 here, NaN in torch: a deliberate difference."""
    x, q = torch.tensor([[0.0, 1.0, -torch.inf]]), torch.tensor([[0.25, 0.75, 0.0]])
    assert functional.cross_entropy(x, q).isnan()
    torch.testing.assert_close(fst.cross_entropy(x, q), fst.cross_entropy(x[:, :2], q[:, :2]))


# derivatives

OPTIONS = [{}, {"label_smoothing": 0.1, "z_loss": 0.1, "softcap": 2.0}]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "all"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_first_and_second_derivatives(reduction, options):
    x, y, w = problem((3, 3))
    q = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    for loss, inputs in ((lambda x: fst.cross_entropy(x, y, w, reduction=reduction, **options), (x,)),
                         (lambda x, q: fst.cross_entropy(x, q, w, reduction=reduction, **options), (x, q))):
        assert torch.autograd.gradcheck(loss, inputs)
        assert torch.autograd.gradgradcheck(loss, inputs, fast_mode=True)


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "all"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_derivatives_of_linear(reduction, options):
    x, classifier, bias, y = layer(n_rows=3, n_classes=4, n_features=2)

    def loss(x, classifier, bias):
        return fst.linear_cross_entropy(x, classifier, y, linear_bias=bias, reduction=reduction, **options)

    assert torch.autograd.gradcheck(loss, (x, classifier, bias))
    assert torch.autograd.gradgradcheck(loss, (x, classifier, bias), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda w: loss(x.detach(), w, None), (classifier,), fast_mode=True)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_derivatives_of_softmax(name, dim):
    x, _, _ = problem((3, 4))
    assert torch.autograd.gradcheck(lambda x: getattr(fst, name)(x, dim), (x,))
    assert torch.autograd.gradgradcheck(lambda x: getattr(fst, name)(x, dim), (x,))


def test_the_second_derivative_is_that_of_the_formula():
    """p*v - p(p.v), once and again, for a sum over rows."""
    x, y, _ = problem((3, 7))
    y[0] = 2
    v = torch.randn(3, 7, dtype=torch.float64)
    first, = torch.autograd.grad(fst.cross_entropy(x, y, reduction="sum"), x, create_graph=True)
    second, = torch.autograd.grad((first * v).sum(), x, create_graph=True)
    p = torch.softmax(x, 1)
    right = p * v - p * (p * v).sum(1, keepdim=True)
    torch.testing.assert_close(second, right)
    torch.testing.assert_close(*(torch.autograd.grad((h * v).sum(), x)[0] for h in (second, right)))


def test_backward_again_and_again():
    x, y, _ = problem()
    right, = torch.autograd.grad(functional.cross_entropy(x, y), x)
    loss = fst.cross_entropy(x, y)
    for times in (1, 2, 3):
        loss.backward(retain_graph=True)
        torch.testing.assert_close(x.grad, times * right)
    x.grad.zero_()
    grad, = torch.autograd.grad(loss, x, retain_graph=True)
    grad.mul_(5)  # it is the caller's
    (loss * 2).backward(retain_graph=True)
    torch.testing.assert_close(x.grad, 2 * right)
    torch.autograd.backward([loss, loss * 3])
    torch.testing.assert_close(x.grad, 6 * right)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("factor", [1.0, 0.25, -3.0, 0.0])
def test_the_upstream_gradient(factor):
    x, y, _ = problem()
    y[0] = 1
    kept = x.detach().clone()
    (fst.cross_entropy(x, y) * factor).backward()
    torch.testing.assert_close(x.grad, torch.autograd.grad(functional.cross_entropy(x, y) * factor, x)[0])
    assert x.detach().equal(kept)


def test_a_float16_gradient_is_scaled_before_it_is_rounded():
    """1/4,096 of what float16 hardly holds: nothing would be left of it, and loss scaling would come too late."""
    x = torch.full((4096, 64), 0.0, dtype=torch.float16)
    x[:, 0] = 8.0
    x.requires_grad_()
    y = torch.zeros(4096, dtype=torch.int64)
    wide = x.detach().double().requires_grad_()
    scale = 16384
    right, = torch.autograd.grad(functional.cross_entropy(wide, y) * scale, wide)
    got, = torch.autograd.grad(fst.cross_entropy(x, y) * scale, x)
    torch.testing.assert_close(got, right.half(), rtol=2e-3, atol=0)
    features = torch.ones(4096, 1, dtype=torch.float16, requires_grad=True)
    classifier = x.detach()[0, :, None].clone().requires_grad_()
    loss = fst.linear_cross_entropy(features, classifier, y) * scale
    got, dclassifier = torch.autograd.grad(loss, (features, classifier))
    assert got.dtype is dclassifier.dtype is torch.float16
    torch.testing.assert_close(got, (right @ classifier.double()).half(), rtol=2e-3, atol=0)


# memory


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_and_arrays_share_their_memory(dtype):
    x = torch.randn(6, 4).to(dtype).t()
    a = arrays.array_of(x)
    assert a.__array_interface__["data"][0] == x.data_ptr()
    assert a.strides == tuple(s * x.element_size() for s in x.stride())
    back = arrays.tensor_of(a)
    assert back.data_ptr() == x.data_ptr() and back.dtype is dtype and back.equal(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_torch_has_put_off_is_done_first(dtype):
    x, y, _ = problem(dtype=dtype)
    for lazy in (torch._neg_view(-x.detach()), torch._efficientzerotensor((5, 7), dtype=dtype)):
        assert lazy.is_neg() or lazy._is_zerotensor()
        plain = lazy.clone()
        assert fst.softmax(lazy, 1).equal(fst.softmax(plain, 1))
        grads = []
        for a in (lazy, plain):
            a = a.detach().requires_grad_()
            grads += torch.autograd.grad(fst.cross_entropy(a, y) + fst.cross_entropy(x, a), a)
        assert grads[0].equal(grads[1])
    imaginary = torch.complex(x.detach().float(), x.detach().float()).conj().imag
    assert fst.softmax(imaginary, 1).equal(fst.softmax(-x.float(), 1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nothing_is_copied(dtype):
    """NumPy's allocations while a loss of 2 MB and more of logits is computed."""
    x, y = torch.randn(64, 16_384).to(dtype), torch.randint(16_384, (64,))
    fst.cross_entropy(x, y)
    tracemalloc.start()
    try:
        fst.cross_entropy(x, y)
        fst.softmax(x, 1)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_no_gradient_is_computed_where_none_is_wanted(monkeypatch):
    x, y, _ = problem()
    features, classifier, _, labels = layer()

    def refuse(*arguments, **options):
        raise AssertionError("a gradient")

    monkeypatch.setattr("fastsoftmax.torch.losses.api.cross_entropy_and_grad", refuse)
    monkeypatch.setattr("fastsoftmax.torch.linear.api_linear.linear_cross_entropy_and_grad", refuse)
    assert not fst.cross_entropy(x.detach(), y).requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert not fst.cross_entropy(x, y).requires_grad
            assert not fst.linear_cross_entropy(features, classifier, labels).requires_grad
    with pytest.raises(AssertionError):
        fst.cross_entropy(x, y)


def test_only_wanted_gradients_of_linear(monkeypatch):
    from fastsoftmax import api_linear

    features, classifier, _, labels = layer()
    seen, plain = [], api_linear.linear_cross_entropy_and_grad
    monkeypatch.setattr(api_linear, "linear_cross_entropy_and_grad",
                        lambda *arrays, **options: seen.append(options["wrt"]) or plain(*arrays, **options))
    fst.linear_cross_entropy(features.detach(), classifier, labels).backward()
    assert seen == [["classifier"]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_results_lie_where_earlier_ones_lay(monkeypatch, dtype):
    monkeypatch.setattr(memory, "LARGE_BYTES", 1024)
    fst.empty_cache()
    x, y, _ = problem((16, 100), dtype)
    places = []
    for _ in range(3):
        x.grad = None
        fst.cross_entropy(x, y).backward()
        places.append(x.grad.data_ptr())
        assert not x.grad._is_view()
    assert len(set(places)) == 1
    kept, right = x.grad, x.grad.clone()
    x.grad = None
    (fst.cross_entropy(x, y) * 2).backward()
    assert x.grad.data_ptr() != kept.data_ptr() and kept.equal(right)
    torch.testing.assert_close(x.grad, 2 * right)
    array = arrays.array_of(x.grad)  # shares it too
    x.grad = None
    assert arrays.array_of(fst.softmax(x, 1).detach()).ctypes.data != array.ctypes.data
    fst.empty_cache()
    np.testing.assert_array_equal(array, arrays.array_of(2 * right))


# autocast


@pytest.mark.parametrize("within", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_autocast_gives_torchs_dtypes(dtype, within):
    x, y, _ = problem(dtype=dtype)
    q = torch.rand(5, 7).to(dtype)
    features, classifier, bias, labels = layer(dtype)
    with torch.autocast("cpu", within):
        pairs = [(fst.cross_entropy(x, y), functional.cross_entropy(x, y)),
                 (fst.cross_entropy(x, q), functional.cross_entropy(x, q)),
                 (fst.softmax(x, 1), functional.softmax(x, 1)), (fst.log_softmax(x, 1), functional.log_softmax(x, 1))]
        linear = fst.linear_cross_entropy(features, classifier, labels, linear_bias=bias)
        theirs = functional.cross_entropy(functional.linear(features, classifier, bias), labels)
    for ours, right in pairs:
        assert ours.dtype is right.dtype
        torch.testing.assert_close(ours, right, rtol=2 * torch.finfo(dtype).eps, atol=2 * torch.finfo(dtype).eps)
    assert linear.dtype is theirs.dtype
    torch.testing.assert_close(linear, theirs, rtol=2e-2, atol=2e-2)  # torch's logits are of 16 bits, ours are not
    for tensor, grad in zip((features, classifier, bias), torch.autograd.grad(linear, (features, classifier, bias)),
                            strict=True):
        assert grad.dtype is tensor.dtype


def test_autocast_rounds_the_factors_of_linear():
    x, classifier, _, y = layer(torch.float32, 16, 64, 32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = fst.linear_cross_entropy(x, classifier, y)
    rounded = fst.linear_cross_entropy(x.bfloat16().float(), classifier.bfloat16().float(), y)
    assert abs(loss - rounded) < abs(loss - fst.linear_cross_entropy(x, classifier, y))


# what is refused


def nested(layout):
    with warnings.catch_warnings(action="ignore"):  # a prototype
        return torch.nested.nested_tensor([torch.zeros(2, 7), torch.zeros(3, 7)], layout=layout)


@pytest.mark.parametrize(("error", "match", "call"), [
    (ValueError, "^input is on meta, but fastsoftmax computes on the CPU", lambda x, y: fst.cross_entropy(x.to("meta"), y)),
    (ValueError, "^target is on meta", lambda x, y: fst.cross_entropy(x, y.to("meta"))),
    (ValueError, "^weight is on meta", lambda x, y: fst.cross_entropy(x, y, torch.ones(7, device="meta"))),
    (ValueError, "^input is on meta", lambda x, y: fst.softmax(x.to("meta"), 0)),
    (ValueError, "^linear_weight is on meta", lambda x, y: fst.linear_cross_entropy(x, x.to("meta"), y)),
    (TypeError, "^input must be a torch.Tensor, not list", lambda x, y: fst.cross_entropy([[0.0]], y)),
    (TypeError, "^input has dtype torch.int64; allowed are torch.float32", lambda x, y: fst.cross_entropy(x.long(), y)),
    (TypeError, "^input has dtype torch.complex64", lambda x, y: fst.softmax(x.to(torch.complex64), 0)),
    (TypeError, "^input has layout torch.sparse_coo", lambda x, y: fst.softmax(x.to_sparse(), 0)),
    (TypeError, "^input is a nested tensor, but must be dense", lambda x, y: fst.softmax(nested(torch.strided), 2)),
    (TypeError, "^target is a nested tensor, but must be dense", lambda x, y: fst.cross_entropy(x, nested(torch.jagged))),
    (TypeError, "^target has dtype torch.int64; allowed are torch.float32", lambda x, y: fst.cross_entropy(x, x.long())),
    (TypeError, "^target has dtype float32; class indices", lambda x, y: fst.cross_entropy(x, y.float())),
    (ValueError, r"^target has shape \(4,\), but must have \(5,\)", lambda x, y: fst.cross_entropy(x, y[:4])),
    (ValueError, r"^weight has shape \(6,\), but must have \(7,\)", lambda x, y: fst.cross_entropy(x, y, torch.ones(6))),
    (ValueError, "^weight requires grad", lambda x, y: fst.cross_entropy(x, y, torch.ones(7, requires_grad=True))),
    (ValueError, "^input must have a class axis", lambda x, y: fst.cross_entropy(x[0, 0], y)),
    (ValueError, "^reduction is 'all'; allowed are 'none', 'mean', 'sum'",
     lambda x, y: fst.cross_entropy(x, y, None, -100, "all")),
    (ValueError, "^label_smoothing is 2.0", lambda x, y: fst.cross_entropy(x, y, label_smoothing=2.0)),
    (ValueError, "^dim is 2, outside", lambda x, y: fst.softmax(x, 2)),
    (ValueError, r"^dim is 1, outside \[-1, 1\) for input of shape \(\)", lambda x, y: fst.softmax(x[0, 0], 1)),
    (TypeError, "^dim must be an integer, not float", lambda x, y: fst.softmax(x, 1.0)),
    (TypeError, "^dim must be an integer, not bool", lambda x, y: fst.log_softmax(x, True)),
    (TypeError, "^dtype must be a torch.dtype, not str", lambda x, y: fst.softmax(x, 1, dtype="float32")),
    (TypeError, "^dtype is torch.int32; allowed are torch.float32", lambda x, y: fst.softmax(x, 1, dtype=torch.int32)),
    (ValueError, "^ignore_index is 2, but the target holds class prob", lambda x, y: fst.cross_entropy(x, x, None, 2)),
    (TypeError, "^ignore_index must be an integer, not NoneType", lambda x, y: fst.cross_entropy(x, x, None, None)),
    (ValueError, r"^target has shape \(2,\), but must have \(\)", lambda x, y: fst.cross_entropy(x[0], y[:2])),
    (ValueError, r"^input has shape \(5, 7\), but must have \(..., 6\)",
     lambda x, y: fst.linear_cross_entropy(x, torch.ones(3, 6), y)),
    (ValueError, "^linear_weight has shape", lambda x, y: fst.linear_cross_entropy(x, torch.ones(7), y)),
    (ValueError, "^linear_bias has shape", lambda x, y: fst.linear_cross_entropy(x, torch.ones(3, 7), y,
                                                                                 linear_bias=torch.ones(4))),
    (ValueError, r"^input has shape \(7,\), but must have \(N, 7\)",
     lambda x, y: fst.linear_cross_entropy(x[0], torch.ones(3, 2, 7), y)),
    (ValueError, "^ignore_index is given", lambda x, y: fst.linear_cross_entropy(x, torch.ones(7, 7), x, ignore_index=1)),
], ids=lambda value: value.strip("^")[:40] if isinstance(value, str) else "")
def test_refused(error, match, call):
    x, y, _ = problem(dtype=torch.float32)
    with pytest.raises(error, match=match):
        call(x.detach(), y)


@pytest.mark.parametrize("gradient", [False, True])
def test_a_label_out_of_range(gradient):
    x, y, _ = problem()
    y[3] = 7
    for wrong in (fs.LabelError, IndexError, ValueError):
        with pytest.raises(wrong, match=r"^target\[3\] is 7, outside \[0, 7\) and not ignore_index=-100"):
            fst.cross_entropy(x if gradient else x.detach(), y)
    with pytest.raises(fs.LabelError, match=r"^target\[3\] is 7"):
        fst.linear_cross_entropy(x.t().detach()[:5, :5], torch.ones(7, 5, dtype=torch.float64), y)


def test_without_torch(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fastsoftmax.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'^fastsoftmax.torch needs PyTorch: pip install "fastsoftmax\[torch\]"'):
        importlib.import_module("fastsoftmax.torch")


def test_without_ml_dtypes(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    arrays._bfloat16.cache_clear()
    with pytest.raises(ImportError, match=r'^bfloat16 tensors need ml_dtypes: pip install "fastsoftmax\[torch\]"'):
        fst.softmax(torch.zeros(3, dtype=torch.bfloat16), 0)
    assert fst.softmax(torch.zeros(4), 0).tolist() == [0.25] * 4


# modules


def test_the_loss_as_a_module():
    x, y, w = problem(dtype=torch.float32)
    options = {"weight": w, "ignore_index": 3, "reduction": "sum", "label_smoothing": 0.1}
    ours, theirs = fst.CrossEntropyLoss(**options, z_loss=0.0), torch.nn.CrossEntropyLoss(**options)
    assert isinstance(ours, torch.nn.CrossEntropyLoss)
    same(ours(x, torch.where(y < 0, 3, y)), theirs(x, torch.where(y < 0, 3, y)), [x])
    assert fst.CrossEntropyLoss(z_loss=0.1, softcap=2.0)(x, y) == fst.cross_entropy(x, y, z_loss=0.1, softcap=2.0)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert repr(fst.CrossEntropyLoss()) == "CrossEntropyLoss()"
    shown = "CrossEntropyLoss(ignore_index=3, reduction='sum', label_smoothing=0.1, z_loss=0.2)"
    assert repr(fst.CrossEntropyLoss(**options, z_loss=0.2)) == shown


@pytest.mark.parametrize("out_features", [(), (3, 2)])
def test_the_linear_loss_as_a_module(out_features):
    x, _, _, y = layer(torch.float32)
    ours = fst.LinearCrossEntropyLoss(5, 7, out_features=out_features, bias=True, weight=torch.rand(7), ignore_index=2)
    target = torch.randint(7, (4, *out_features))
    logits = ours.linear(x).reshape(4, 7, *out_features)
    right = functional.cross_entropy(logits, target, weight=ours.weight, ignore_index=2)
    same(ours(x, target), right, [x, ours.linear.weight, ours.linear.bias])
    assert ours.extra_repr() == (f"in_features=5, num_classes=7, out_features={out_features}, bias=True, reduction='mean', "
                                 "ignore_index=2, label_smoothing=0.0, options=None, z_loss=0.0, softcap=None")
    if hasattr(torch.nn, "LinearCrossEntropyLoss"):
        theirs = torch.nn.LinearCrossEntropyLoss(5, 7, out_features=out_features, bias=True, weight=torch.rand(7),
                                                 ignore_index=2)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(x, target), theirs(x, target))
    with pytest.raises(ValueError, match="^weight has shape"):
        fst.LinearCrossEntropyLoss(5, 7, weight=torch.ones(5))


def test_the_benchmark_judges(capsys):
    from fastsoftmax.bench import torch_door

    status = torch_door.main(["--rounds", "1", "--large", "16,1000"])
    out = capsys.readouterr().out
    assert status == (torch_door.MISSED if "MISSED" in out else 0)
    assert "large, forward and backward: PyTorch over the door: " in out
    alike = {"ms": 1.0, "min_ms": 0.001}
    found = {pair: dict.fromkeys(timed, alike) for pair, timed in torch_door.contenders((2, 3)).items()}
    assert [met for *_, met in torch_door.judged(found, found)] == [True, True, False]
