"""Every option that torch has gives torch's numbers; where float32 rounds, torch is the one further from the truth."""

import itertools

import numpy as np
import oracle
import pytest

import fastsoftmax as fs
from fastsoftmax import reference

torch = pytest.importorskip("torch")

CASES = list(itertools.product(("none", "mean", "sum"), (0.0, 0.1, 1.0), (False, True), (-100, 3)))


@pytest.mark.parametrize(("reduction", "smoothing", "weighted", "ignore_index"), CASES)
def test_labels(backend, reduction, smoothing, weighted, ignore_index):
    logits, labels = oracle.problem(12, 40, "float64")
    labels[labels == -100] = ignore_index
    labels[:3] = 3
    weight = np.random.default_rng(1).random(40) if weighted else None
    x = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        x, torch.tensor(labels), weight=None if weight is None else torch.tensor(weight), reduction=reduction,
        label_smoothing=smoothing, ignore_index=ignore_index)
    loss.sum().backward()
    got, dlogits, _ = fs.cross_entropy_and_grad(logits, labels, class_weight=weight, reduction=reduction,
                                                label_smoothing=smoothing, ignore_index=ignore_index)
    np.testing.assert_allclose(got, loss.detach().numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dlogits, x.grad.numpy(), rtol=1e-10, atol=1e-14)


SOFT_CASES = list(itertools.product(("none", "mean", "sum"), (0.0, 0.1), (False, True)))


@pytest.mark.parametrize(("reduction", "smoothing", "weighted"), SOFT_CASES)
def test_soft_targets(backend, reduction, smoothing, weighted):
    rng = np.random.default_rng(0)
    logits, q = rng.normal(size=(5, 30)), rng.normal(size=(5, 30))
    weight = rng.random(30) if weighted else None
    x = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x, torch.tensor(q), reduction=reduction, label_smoothing=smoothing,
                                             weight=None if weight is None else torch.tensor(weight))
    loss.sum().backward()
    got, dlogits, _ = fs.soft_cross_entropy_and_grad(logits, q, class_weight=weight, reduction=reduction,
                                                     label_smoothing=smoothing)
    np.testing.assert_allclose(got, loss.detach().numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dlogits, x.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("labels", "weight"), [
    ([-100] * 3, None),
    ([0, 1, 0], [0, 0, 1, 1]),
    ([0, 1, -100], [0, 0, 1, 1]),
    ([0, -100, 2], [-1, 0, 3, 1]),
], ids=str)
def test_weights_of_nothing(backend, labels, weight, smoothing):
    """All ignored, all weights zero: the mean is NaN, and so is the gradient of the rows that count."""
    logits = np.random.default_rng(0).normal(size=(3, 4))
    for reduction in ("none", "mean", "sum"):
        x = torch.tensor(logits, requires_grad=True)
        w = None if weight is None else torch.tensor(weight, dtype=torch.float64)
        loss = torch.nn.functional.cross_entropy(x, torch.tensor(labels), weight=w, label_smoothing=smoothing,
                                                 reduction=reduction)
        loss.sum().backward()
        got = fs.cross_entropy_and_grad(logits, labels, class_weight=weight, label_smoothing=smoothing,
                                        reduction=reduction)
        np.testing.assert_allclose(got.loss, loss.detach().numpy(), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(got.dlogits, x.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_any_leading_axes(backend, reduction):
    """torch's class axis is 1: (N, C, d1, d2)."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 7, 3, 2)), rng.integers(0, 7, (2, 3, 2))
    labels[0, 0, 0] = -100
    x = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x, torch.tensor(labels), reduction=reduction, label_smoothing=0.1)
    upstream = rng.normal(size=tuple(loss.shape))
    loss.backward(torch.tensor(upstream))
    got = fs.cross_entropy_and_grad(logits, labels, axis=1, reduction=reduction, label_smoothing=0.1, dlosses=upstream)
    np.testing.assert_allclose(got.loss, loss.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(got.dlogits, x.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_softmax_and_its_gradients(backend):
    rng = np.random.default_rng(0)
    logits, d = rng.normal(size=(2, 3, 9)), rng.normal(size=(2, 3, 9))
    for axis in (0, 1, 2):
        for theirs, ours, gradient in [(torch.softmax, fs.softmax, fs.softmax_grad),
                                       (torch.log_softmax, fs.log_softmax, fs.log_softmax_grad)]:
            x = torch.tensor(logits, requires_grad=True)
            y = theirs(x, axis)
            y.backward(torch.tensor(d))
            got = ours(logits, axis=axis)
            np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-12)
            np.testing.assert_allclose(gradient(got, d, axis=axis), x.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_a_zero_target_at_a_masked_class(backend):
    """0 here, NaN in torch: a deliberate difference."""
    logits, q = np.array([[0, 1, -np.inf]]), np.array([[0.25, 0.75, 0]])
    assert torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(q)).isnan()
    np.testing.assert_allclose(fs.soft_cross_entropy(logits, q), fs.soft_cross_entropy(logits[:, :2], q[:, :2]), rtol=1e-15)


def test_tensors_are_arrays_too(backend):
    """torch's memory is NumPy's, also where `out` lies in it."""
    memory = np.random.default_rng(0).normal(size=(3, 3))
    x, y = torch.from_numpy(memory), torch.tensor([0, 1, 2])
    assert fs.cross_entropy(x, y) == fs.cross_entropy(memory, [0, 1, 2])
    with pytest.raises(ValueError, match="^out overlaps logits"):
        fs.cross_entropy_and_grad(x.T, y, out=memory)
    right = fs.softmax(memory)
    np.testing.assert_allclose(fs.softmax(x, out=memory), right, rtol=1e-15)
    np.testing.assert_array_equal(x.numpy(), memory)


def test_torch_is_further_from_the_truth(backend):
    logits, labels = oracle.problem(4, 100_000, ignored=False)
    logits += np.float32(1e4)
    right, _ = reference.cross_entropy(logits, labels, reduction="none")
    ours = fs.cross_entropy(logits, labels, reduction="none")
    theirs = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels), reduction="none").numpy()
    assert np.abs(ours / right - 1).max() < np.abs(theirs / right - 1).max()
    peaked = np.array([[17, 0]], np.float32)
    assert torch.nn.functional.cross_entropy(torch.tensor(peaked), torch.tensor([0])) == 0
    assert abs(fs.cross_entropy(peaked, [0]) / np.log1p(np.exp(-17.0)) - 1) < 1e-5
