"""The contenders of the comparison: each gives the mean loss, and the loss with its gradient.

logits (n_rows, n_classes) float32, labels (n_rows,) int64. The gradient may overwrite the logits, and does so
wherever the contender's own best style allows it.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import fastsoftmax as fs
from fastsoftmax import backends

JOBS = ("loss", "loss+gradient")


@dataclass(frozen=True)
class Rival:
    """One contender. `absent`: why it cannot run here, or None."""

    name: str
    label: str
    loss: Callable
    loss_and_grad: Callable
    absent: str | None = None

    def call(self, job, logits, labels):
        """(loss, dlogits or None) for one of JOBS."""
        if job == "loss":
            return float(self.loss(logits, labels)), None
        loss, dlogits = self.loss_and_grad(logits, labels)
        return float(loss), dlogits


def one_hot_loss(logits, labels):
    """The textbook: a one-hot table and a softmax table, each n_rows x n_classes."""
    targets = fs.one_hot(labels, logits.shape[1], logits.dtype)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(targets * log_probs).sum(axis=1).mean()


def one_hot_loss_and_grad(logits, labels):
    """As above; gradient softmax - one_hot, over the number of rows."""
    targets = fs.one_hot(labels, logits.shape[1], logits.dtype)
    shifted = logits - logits.max(axis=1, keepdims=True)
    exps = np.exp(shifted)
    sums = exps.sum(axis=1, keepdims=True)
    loss = -(targets * (shifted - np.log(sums))).sum(axis=1).mean()
    return loss, (exps / sums - targets) / np.float32(len(labels))


def indices_loss(logits, labels):
    """NumPy at its best: labels as indices, one temporary table."""
    maxima = logits.max(axis=1, keepdims=True)
    exps = np.subtract(logits, maxima)
    np.exp(exps, out=exps)
    lse = np.log(exps.sum(axis=1)) + maxima[:, 0]
    return (lse - logits[np.arange(len(labels)), labels]).mean()


def indices_loss_and_grad(logits, labels):
    """NumPy at its best: every step in place, in the logits."""
    rows = np.arange(len(labels))
    logits -= logits.max(axis=1, keepdims=True)
    at_label = logits[rows, labels]
    np.exp(logits, out=logits)
    sums = logits.sum(axis=1, keepdims=True)
    loss = (np.log(sums[:, 0]) - at_label).mean()
    logits /= sums * np.float32(len(labels))
    logits[rows, labels] -= np.float32(1 / len(labels))
    return loss, logits


def scipy_loss(logits, labels):
    """scipy.special.log_softmax, then the labels' entries."""
    from scipy.special import log_softmax

    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()


def scipy_loss_and_grad(logits, labels):
    """scipy.special.log_softmax; the gradient is made in its result."""
    from scipy.special import log_softmax

    rows = np.arange(len(labels))
    log_probs = log_softmax(logits, axis=1)
    loss = -log_probs[rows, labels].mean()
    dlogits = np.exp(log_probs, out=log_probs)
    dlogits[rows, labels] -= 1
    dlogits /= np.float32(len(labels))
    return loss, dlogits


def _ours(backend):
    def loss(logits, labels):
        with fs.use_backend(backend):
            return fs.cross_entropy(logits, labels)

    def loss_and_grad(logits, labels):
        with fs.use_backend(backend):
            return fs.cross_entropy_and_grad(logits, labels, out=logits)[:2]

    label = {"numpy": "NumPy", "numba": "Numba", "cython": "Cython"}[backend]
    return Rival(backend, f"fastsoftmax, {label}", loss, loss_and_grad, backends.why_not(backend))


def all_rivals():
    """Every contender, the absent ones too, in the order of the table."""
    no_scipy = None if importlib.util.find_spec("scipy") else "SciPy is not installed"
    found = [Rival("one_hot", "NumPy, one-hot", one_hot_loss, one_hot_loss_and_grad),
             Rival("indices", "NumPy, indices", indices_loss, indices_loss_and_grad),
             Rival("scipy", "SciPy, log_softmax", scipy_loss, scipy_loss_and_grad, no_scipy),
             _ours("numba"), _ours("cython")]
    if found[-1].absent and found[-2].absent:
        found.append(_ours("numpy"))  # the slow one speaks for us only where there is no other
    return found
