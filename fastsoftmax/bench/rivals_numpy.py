"""NumPy twice: the textbook, with a one-hot table, and its best idiom, with indices and every step in place."""

import numpy as np

import fastsoftmax as fs

from .rivals import Contender


def _one_hot_loss(i):
    """A one-hot table and a softmax table, each n_rows x n_classes."""
    targets = fs.one_hot(i.labels, i.x.shape[1], i.x.dtype)
    shifted = i.x - i.x.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(targets * log_probs).sum(axis=1).mean(), None


def _one_hot_gradient(i):
    """As above; gradient softmax - one_hot, over the number of rows."""
    targets = fs.one_hot(i.labels, i.x.shape[1], i.x.dtype)
    shifted = i.x - i.x.max(axis=1, keepdims=True)
    exps = np.exp(shifted)
    sums = exps.sum(axis=1, keepdims=True)
    loss = -(targets * (shifted - np.log(sums))).sum(axis=1).mean()
    return loss, (exps / sums - targets) / i.x.dtype.type(len(i.labels))


def wide(x):
    """NumPy computes in 16 bits slowly and sums in them badly: an expert widens first, in a copy."""
    return x if x.dtype.itemsize > 2 else x.astype(np.float32)


def _buffer(i, like):
    """Where a table is computed: `out` itself where it is wide enough."""
    return np.empty_like(like) if i.out is None or i.out.dtype != like.dtype else i.out


def stored(i, table):
    """The table in the memory that was meant for it."""
    out = i.x if i.operation.in_place else i.out
    if table is not out:
        np.copyto(out, table, casting="unsafe")  # float32 to bfloat16 is not among NumPy's safe ones
    return out


def _exps(i, x):
    """(maxima, exp(x - maxima), their sums)."""
    maxima = x.max(axis=i.axis, keepdims=True)
    exps = np.subtract(x, maxima, out=_buffer(i, x))
    np.exp(exps, out=exps)
    return maxima, exps, exps.sum(axis=i.axis, keepdims=True)


def at_labels(i, x):
    """x at the labels, the class axis kept, of length 1."""
    return np.take_along_axis(x, np.expand_dims(i.labels, i.axis), i.axis)


def _logsumexp(i):
    """One temporary table."""
    maxima, _, sums = _exps(i, wide(i.x))
    return np.squeeze(np.log(sums) + maxima, i.axis), None


def _loss(i):
    """Labels as indices, one temporary table."""
    lse, _ = _logsumexp(i)
    return (lse - np.squeeze(at_labels(i, i.x), i.axis)).mean(), None


def _gradient_into(i, z):
    """Every step in place in z."""
    z -= z.max(axis=i.axis, keepdims=True)
    at_label = at_labels(i, z)
    np.exp(z, out=z)
    sums = z.sum(axis=i.axis, keepdims=True)
    loss = (np.log(sums) - at_label).mean()
    z /= sums * z.dtype.type(i.labels.size)
    at_label = at_labels(i, z) - z.dtype.type(1 / i.labels.size)
    np.put_along_axis(z, np.expand_dims(i.labels, i.axis), at_label, i.axis)
    return loss, stored(i, z)


def _gradient_in_place(i):
    return _gradient_into(i, wide(i.x))


def _gradient(i):
    z = wide(i.x)
    if z is i.x:
        np.copyto(i.out, i.x)
        z = i.out
    return _gradient_into(i, z)


def _softmax(i):
    _, exps, sums = _exps(i, wide(i.x))
    exps /= sums
    return None, stored(i, exps)


def _log_softmax(i):
    x = wide(i.x)
    maxima, exps, sums = _exps(i, x)
    return None, stored(i, np.subtract(x, maxima + np.log(sums), out=exps))


def _soft_cross_entropy(i):
    """sum q*(lse - x), as lse*sum(q) - sum(q*x)."""
    lse, _ = _logsumexp(i)
    x, q = wide(i.x), wide(i.second)
    return (lse * q.sum(axis=i.axis) - dot(i, q, x)).mean(), None


def _softmax_grad(i):
    p, dp = wide(i.x), wide(i.second)
    out = np.subtract(dp, np.expand_dims(dot(i, p, dp), i.axis), out=_buffer(i, p))
    return None, stored(i, np.multiply(out, p, out=out))


def dot(i, a, b):
    """Sums of products over the classes, without a table of products."""
    return np.vecdot(a, b) if i.axis == -1 else np.einsum("nci,nci->ni", a, b)


ONE_HOT = {"loss": _one_hot_loss, "gradient-in-place": _one_hot_gradient, "gradient": _one_hot_gradient}
INDICES = {"loss": _loss, "gradient-in-place": _gradient_in_place, "gradient": _gradient, "softmax": _softmax,
           "log-softmax": _log_softmax, "logsumexp": _logsumexp, "soft-cross-entropy": _soft_cross_entropy,
           "softmax-grad": _softmax_grad}


def load(name):
    """The contender "one-hot" or "indices"."""
    return Contender({"one-hot": ONE_HOT, "indices": INDICES}[name])
