"""[1] What RIGHT means: the formulas in NumPy, float64 or wider, as a student would write them. Read this first.

Shapes: logits (n_rows, n_classes), labels (n_rows,), class_weight (n_classes,), sample_weight (n_rows,).
Nothing here is fast. The tests hold every kernel against this page.
"""

import numpy as np

WIDE = np.longdouble  # 64 bits of mantissa on x86, so that float64 kernels can be held against it too


def transform(logits, temperature=1.0, softcap=None):
    """z = c*tanh(u/c), or u, with u = logits/temperature."""
    u = np.asarray(logits).astype(WIDE) / temperature
    return u if softcap is None else softcap * np.tanh(u / softcap)


def _from_the_maximum(z):
    """(maximum, z - maximum, log of sum exp(z - maximum)) of each row: log1p of all terms but one maximum's, 1."""
    best = np.argmax(z, axis=-1)[..., None]
    delta = z - np.take_along_axis(z, best, -1)
    others = np.exp(delta)
    np.put_along_axis(others, best, 0.0, -1)
    return np.max(z, axis=-1), delta, np.log1p(np.sum(others, axis=-1))


def logsumexp(z):
    """log(sum(exp(z))) of each row, (n_rows,)."""
    with np.errstate(all="ignore"):
        top, _, log_sum = _from_the_maximum(np.asarray(z, WIDE))
        return np.where(np.isinf(top), top, top + log_sum)


def log_softmax(z):
    """z - logsumexp(z), the maximum subtracted first, so that log p keeps its digits as p -> 1."""
    with np.errstate(all="ignore"):
        _, delta, log_sum = _from_the_maximum(np.asarray(z, WIDE))
        return delta - log_sum[..., None]


def softmax(z):
    """exp(z_k) / sum(exp(z)), (n_rows, n_classes)."""
    with np.errstate(all="ignore"):
        return np.exp(log_softmax(z))


def targets(labels, n_classes, class_weight, label_smoothing):
    """t[i, k], the weight of class k in row i: (1-e)*w[y]*[k == y] + e/V*w[k]."""
    weight = np.ones(n_classes) if class_weight is None else np.asarray(class_weight, WIDE)
    t = np.tile(label_smoothing / n_classes * weight, (len(labels), 1))
    t[np.arange(len(labels)), labels] += (1 - label_smoothing) * weight[labels]
    return t


def _dot(t, log_p):
    """sum_k t*log p with 0 * log 0 = 0."""
    with np.errstate(all="ignore"):
        return np.sum(np.where(t == 0, 0.0, t * log_p), axis=-1)


def losses(z, t, z_loss=0.0):
    """-sum_k t[k]*log softmax(z)[k] + z_loss*logsumexp(z)^2, (n_rows,)."""
    plain = -_dot(t, log_softmax(z))
    return plain if z_loss == 0 else plain + z_loss * logsumexp(z) ** 2


def dlogits(logits, t, upstream, z_loss=0.0, temperature=1.0, softcap=None):
    """The gradient of sum_i upstream[i]*losses[i] with respect to the logits, (n_rows, n_classes)."""
    z = transform(logits, temperature, softcap)
    log_p = log_softmax(z)
    p = np.exp(log_p)
    # sum(t)*p - t, with p - 1 = expm1(log p) so that the gradient at a label keeps its digits as p -> 1
    dz = t * np.expm1(log_p) + (np.sum(t, axis=-1)[:, None] - t) * p
    if z_loss:
        dz = dz + (2 * z_loss * logsumexp(z))[:, None] * p
    slope = 1.0 if softcap is None else 1 - (z / softcap) ** 2
    return np.asarray(upstream)[:, None] / temperature * slope * dz


def cross_entropy(logits, labels, *, class_weight=None, sample_weight=None, ignore_index=-100,
                  reduction="mean", label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0,
                  dlosses=1.0):
    """(loss, dlogits) of 2-D logits with torch's meaning of every option that torch has."""
    logits, labels = np.asarray(logits), np.asarray(labels)
    n_rows, n_classes = logits.shape
    weight = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight, WIDE)
    used = (labels != ignore_index) & (weight != 0)
    safe = np.where(used, labels, 0)
    t = targets(safe, n_classes, class_weight, label_smoothing)
    z = transform(logits, temperature, softcap)
    per_row = np.where(used, losses(z, t, z_loss) * weight, 0.0)
    class_of = np.ones(n_classes) if class_weight is None else np.asarray(class_weight, WIDE)
    norm = 1.0
    with np.errstate(all="ignore"):
        if reduction == "mean":
            norm = 1 / np.sum(np.where(used, weight * class_of[safe], 0.0))
        loss = per_row if reduction == "none" else np.sum(per_row) * norm
        gradient = dlogits(logits, t, dlosses * weight * norm, z_loss, temperature, softcap)
    gradient[~used] = 0.0
    return loss, gradient


def entropy(probs):
    """-sum p*log p of each row, with 0*log 0 = 0."""
    p = np.asarray(probs).astype(WIDE)
    with np.errstate(all="ignore"):
        return -_dot(p, np.log(p))


def kl_divergence(p, q):
    """sum p*(log p - log q) of each row, with 0*log 0 = 0; inf where p > 0 and q = 0."""
    p, q = np.asarray(p).astype(WIDE), np.asarray(q).astype(WIDE)
    with np.errstate(all="ignore"):
        return _dot(p, np.log(p) - np.log(q))
