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
