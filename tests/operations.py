"""Every public operation over rows, in one table: its inputs, its call, what is right and how large the terms are.

`right(*inputs)` takes the inputs as (n_rows, n_classes) and gives a pair for each result: the value in reference.WIDE,
and the size of the terms that were rounded on the way there, of which a kernel may lose a few units (checks.check_close).
"""

from functools import cache, partial
from typing import NamedTuple

import numpy as np

import fastsoftmax as fs
from fastsoftmax import reference

DTYPES = ("float64", "float32", "bfloat16", "float16")
OPTIONS = dict(label_smoothing=0.1, z_loss=0.01, softcap=5.0, temperature=0.7)


class Operation(NamedTuple):
    kernel: str  # of contract.KERNELS
    inputs: tuple  # what `make` makes
    call: callable
    right: callable
    takes_out: bool

    def __call__(self, *inputs, **options):
        """The results as a tuple of arrays."""
        got = self.call(*inputs, **options)
        return tuple(map(np.asarray, got if isinstance(got, tuple) else (got,)))


def dtype_of(name):
    """The NumPy dtype of a row of the table; bfloat16 comes from ml_dtypes."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def make(kind, shape, dtype, seed=0):
    """One input of an operation: logits, upstream, probs, log_probs or labels."""
    return _made(kind, shape, dtype, seed).copy()


@cache
def _made(kind, shape, dtype, seed):
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    if kind == "labels":
        return rng.integers(0, shape[-1], shape[:-1])
    x = 2 * rng.normal(size=shape)
    if kind.endswith("probs"):
        x -= np.log(np.sum(np.exp(x), axis=-1, keepdims=True))
        x = x if kind == "log_probs" else np.exp(x)
    return x.astype(dtype_of(dtype))


def inputs_of(name, shape, dtype, seed=0):
    return tuple(make(kind, shape, dtype, seed) for kind in OPERATIONS[name].inputs)


def depths(x):
    """How far below the maximum each logit lies: exp is rounded in proportion to it."""
    x = np.asarray(x).astype(reference.WIDE)
    return np.max(x, axis=-1, keepdims=True) - x


def _sum(x):
    return np.sum(x, axis=-1)


def softmax(x):
    p = reference.softmax(x.astype(reference.WIDE))
    return [(p, p * (1 + depths(x)))]


def log_softmax(x):
    log_p = reference.log_softmax(x.astype(reference.WIDE))
    return [(log_p, np.abs(log_p) + _sum(softmax(x)[0][1])[..., None])]


def logsumexp(x):
    lse = reference.logsumexp(x.astype(reference.WIDE))
    return [(lse, np.abs(lse) + np.abs(np.max(x, axis=-1).astype(reference.WIDE)))]


def softmax_grad(p, dp):
    p, dp = p.astype(reference.WIDE), dp.astype(reference.WIDE)
    dot, size = _sum(p * dp)[..., None], _sum(np.abs(p * dp))[..., None]
    return [(p * (dp - dot), p * (np.abs(dp) + size))]


def log_softmax_grad(log_p, d):
    log_p, d = log_p.astype(reference.WIDE), d.astype(reference.WIDE)
    p, size = np.exp(log_p), _sum(np.abs(d))[..., None]
    return [(d - p * _sum(d)[..., None], np.abs(d) + p * (1 + np.abs(log_p)) * size)]


def _rounded(z, t):
    """Sizes of the terms of losses and gradients for weights t of the classes."""
    p, log_p = reference.softmax(z), reference.log_softmax(z)
    total = _sum(np.abs(t))
    spread = _sum(p * depths(z))
    loss = _sum(np.where(t == 0, 0, np.abs(t * log_p))) + total * spread
    gradient = (1 + depths(z)) * p * total[..., None] + np.abs(t)
    return loss, gradient


def cross_entropy_and_grad(x, labels):
    loss, gradient = reference.cross_entropy(x, labels, reduction="none")
    lse = logsumexp(x)[0]
    z, row = x.astype(reference.WIDE), np.arange(len(x))
    t = reference.targets(labels, x.shape[-1], None, 0.0)
    loss_size, gradient_size = _rounded(z, t)
    spread = _sum(reference.softmax(z) * depths(z))
    gradient_size[row, labels] = np.abs(gradient[row, labels]) + spread  # relative, also as p -> 1
    return [(loss, loss_size), (gradient, gradient_size), lse]


def optional_and_grad(x, labels):
    """With every option at once, all of them rounding: sizes are those of the largest terms of the row."""
    loss, gradient = reference.cross_entropy(x, labels, reduction="none", **OPTIONS)
    z = reference.transform(x, OPTIONS["temperature"], OPTIONS["softcap"])
    lse = reference.logsumexp(z)
    size = 1 + np.abs(lse) + OPTIONS["softcap"]
    return [(loss, size * size), (gradient, 0 * gradient + 4 * size[..., None]), (lse, size)]


def soft_cross_entropy_and_grad(x, q):
    z, t = x.astype(reference.WIDE), q.astype(reference.WIDE)
    loss_size, gradient_size = _rounded(z, t)
    return [(reference.losses(z, t), loss_size), (reference.dlogits(z, t, np.ones(len(z))), gradient_size), logsumexp(x)[0]]


def entropy(p):
    right = reference.entropy(p)
    return [(right, np.abs(right) + _sum(np.abs(p.astype(reference.WIDE))))]


def kl_divergence(p, q):
    p, q = p.astype(reference.WIDE), q.astype(reference.WIDE)
    with np.errstate(all="ignore"):
        terms = np.where(p == 0, 0, np.abs(p * (np.log(p) - np.log(q))))
    return [(reference.kl_divergence(p, q), _sum(terms) + _sum(np.abs(p)))]


def js_divergence(p, q):
    p, q = p.astype(reference.WIDE), q.astype(reference.WIDE)
    m = (p + q) / 2
    with np.errstate(all="ignore"):
        terms = [np.where(a == 0, 0, a * (np.log(a) - np.log(m))) for a in (p, q)]
    return [(_sum(terms[0] + terms[1]) / 2, _sum(np.abs(terms[0]) + np.abs(terms[1])) + _sum(p + q))]


def entropy_with_logits_and_grad(x):
    z = x.astype(reference.WIDE)
    p, log_p = reference.softmax(z), reference.log_softmax(z)
    with np.errstate(all="ignore"):
        size = np.where(p == 0, 0, p * (1 + depths(x)) * (1 + np.abs(log_p)))
        value = -_sum(np.where(p == 0, 0, p * log_p))
        gradient = np.where(p == 0, 0, -p * (log_p + value[..., None]))
    total = _sum(size)
    return [(value, total), (gradient, size + (1 + depths(x)) * p * total[..., None]), logsumexp(x)[0]]


def _first(right):
    return lambda *inputs: right(*inputs)[:1]


_none = dict(reduction="none")
OPERATIONS = {
    "softmax": Operation("softmax_rows", ("logits",), fs.softmax, softmax, True),
    "log_softmax": Operation("log_softmax_rows", ("logits",), fs.log_softmax, log_softmax, True),
    "logsumexp": Operation("lse_rows", ("logits",), fs.logsumexp, logsumexp, False),
    "softmax_grad": Operation("softmax_grad_rows", ("probs", "upstream"), fs.softmax_grad, softmax_grad, True),
    "log_softmax_grad": Operation("log_softmax_grad_rows", ("log_probs", "upstream"), fs.log_softmax_grad,
                                  log_softmax_grad, True),
    "cross_entropy": Operation("cross_entropy_rows", ("logits", "labels"), partial(fs.cross_entropy, **_none),
                               _first(cross_entropy_and_grad), False),
    "cross_entropy_and_grad": Operation("cross_entropy_rows", ("logits", "labels"),
                                        partial(fs.cross_entropy_and_grad, **_none), cross_entropy_and_grad, True),
    "optional": Operation("cross_entropy_rows", ("logits", "labels"), partial(fs.cross_entropy, **_none, **OPTIONS),
                          _first(optional_and_grad), False),
    "optional_and_grad": Operation("cross_entropy_rows", ("logits", "labels"),
                                   partial(fs.cross_entropy_and_grad, **_none, **OPTIONS), optional_and_grad, True),
    "soft_cross_entropy": Operation("soft_cross_entropy_rows", ("logits", "probs"),
                                    partial(fs.soft_cross_entropy, **_none), _first(soft_cross_entropy_and_grad), False),
    "soft_cross_entropy_and_grad": Operation("soft_cross_entropy_rows", ("logits", "probs"),
                                             partial(fs.soft_cross_entropy_and_grad, **_none),
                                             soft_cross_entropy_and_grad, True),
    "entropy": Operation("entropy_rows", ("probs",), fs.entropy, entropy, False),
    "entropy_with_logits": Operation("centered_rows", ("logits",), fs.entropy_with_logits,
                                     _first(entropy_with_logits_and_grad), False),
    "entropy_with_logits_and_grad": Operation("centered_rows", ("logits",), fs.entropy_with_logits_and_grad,
                                              entropy_with_logits_and_grad, True),
    "js_divergence": Operation("js_divergence_rows", ("probs", "other probs"), fs.js_divergence, js_divergence, False),
    "kl_divergence": Operation("kl_divergence_rows", ("probs", "other probs"), fs.kl_divergence, kl_divergence, False),
}
