"""[1] The NumPy backend: always works, written to be read. A few rows at a time, so memory stays bounded."""

import numpy as np

from ..contract import LOGITS_PER_PYTHON_THREAD, Targets
from ..dtypes import BF16, F16
from ._blas import products as products
from ._look import look as look
from ._steps import step as step

SPLITS_CLASSES = FORGETS_CLASSES = TILES = False
LOGITS_PER_THREAD = LOGITS_PER_PYTHON_THREAD
CHUNK_LOGITS = 1 << 16  # logits a chunk: 512 KB of float64 temporaries, whatever the batch


def scan_labels(labels, n_classes, ignore_index, class_weight, sample_weight):
    """(first row whose label is out of range or -1, sum of the weights of the rows that count)."""
    labels, bad = _checked(labels, n_classes, ignore_index)
    if bad >= 0:
        return bad, 0.0
    used = labels != ignore_index
    if sample_weight is not None:
        used &= sample_weight != 0
    weight = np.ones(len(labels)) if sample_weight is None else sample_weight
    if class_weight is not None:
        weight = weight * class_weight[np.where(used, labels, 0)]
    return -1, float(np.sum(weight, where=used))


def _checked(labels, n_classes, ignore_index):
    """(a copy, which no other thread can change, the first row out of range in it or -1)."""
    labels = labels.copy()
    bad = ((labels < 0) | (labels >= n_classes)) & (labels != ignore_index)
    return labels, int(bad.argmax()) if bad.any() else -1


def _real(array, dtype):
    """The stored numbers in the dtype they are computed in, contiguous: a row's sums round by its strides."""
    if array is None:
        return None
    array = np.ascontiguousarray(array)
    if dtype is BF16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.view(np.float16).astype(np.float32) if dtype is F16 else array


def _store(values, out, dtype):
    """Round to nearest even into the carrier."""
    if dtype is BF16:
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        out[...] = np.where(np.isnan(values), (bits >> 16) | 0x40, rounded)
    elif dtype is F16:
        out.view(np.float16)[...] = values
    else:
        out[...] = values


def bind(job):
    """run(row0, row1, ...) over chunks of rows, so that no temporary grows with the batch."""
    row_kernel = KERNELS[job.kernel]
    step = max(1, CHUNK_LOGITS // max(1, job.first.shape[1]))

    def run(row0, row1, block0, block1, phase):
        with np.errstate(all="ignore"):
            for start in range(row0, row1, step):
                bad = row_kernel(job, slice(start, min(start + step, row1)))
                if bad >= 0:
                    return start + bad
        return -1

    return run


class _Softmax:
    """The statistics of a few rows, by the habits of DESIGN section 3."""

    def __init__(self, job, rows):
        self.scale, self.cap = job.scale, job.cap
        self.x = _real(job.first[rows], job.dtype)
        self.best = np.max(self.x, axis=1)
        if self.cap:
            self.delta = self.z(self.x) - self.z(self.best)[:, None]
        else:  # scaling after the subtraction keeps large offsets exact
            self.delta = (self.x - self.best[:, None]) * self.x.dtype.type(self.scale)
            # inf - inf is NaN, so a row of -inf alone and one with +inf end as NaN by themselves
        self.e = np.exp(self.delta)
        at = np.argmax(self.x, axis=1)[:, None]
        top = np.take_along_axis(self.e, at, 1)
        np.put_along_axis(self.e, at, 0, 1)
        self.rest = np.sum(self.e, axis=1, dtype=np.float64) + 0 * top[:, 0]
        np.put_along_axis(self.e, at, top, 1)
        self.log1p_rest = np.log1p(self.rest)
        m = self.z(self.best.astype(np.float64))
        self.lse = np.where(np.isinf(m), m, m + self.log1p_rest)

    def z(self, x):
        """What softmax sees of the logits x, in the dtype of x."""
        real = x.dtype.type
        if self.cap:
            return real(self.cap) * np.tanh(x * real(self.scale) / real(self.cap))
        return x * real(self.scale)

    def gap(self, x):
        """z_m - z(x) in float64 for x (n_rows,) or (n_rows, n_classes), the subtraction first where z is linear."""
        x, best = x.astype(np.float64), self.best.astype(np.float64)
        best = best if x.ndim == 1 else best[:, None]
        return self.z(best) - self.z(x) if self.cap else (best - x) * self.scale

    def gap_at(self, row, k):
        """gap of classes k of some of the rows."""
        x, best = self.x[row, k].astype(np.float64), self.best[row].astype(np.float64)
        return self.z(best) - self.z(x) if self.cap else (best - x) * self.scale

    def probs(self):
        # m - m = 0 and exp(0) = 1: the maximum's share is 1/S exactly
        return self.e * (1 / (1 + self.rest)).astype(self.e.dtype)[:, None]


def write_exps(job, tops):
    """See contract.py."""
    step = max(1, CHUNK_LOGITS // max(1, job.first.shape[1]))

    def run(row0, row1, block0, block1, phase):
        with np.errstate(all="ignore"):
            for start in range(row0, row1, step):
                _write_exps(job, tops, slice(start, min(start + step, row1)))
        return -1

    return run


def _write_exps(job, tops, rows):
    x = _real(job.first[rows], job.dtype)
    top, factor = tops[rows, None].astype(x.dtype), (job.dlosses[rows] * (job.grad_scale * job.scale))[:, None]
    real = x.dtype.type
    if job.cap:
        z, z_top = (real(job.cap) * np.tanh(a * real(job.scale) / real(job.cap)) for a in (x, top))
        e = np.exp(z - z_top) * factor * (1 - np.tanh(x.astype(np.float64) * job.scale / job.cap) ** 2)
    else:
        e = np.exp((x - top) * real(job.scale)) * factor
    _store(np.where(job.labels[rows, None] == job.ignore_index, 0, e), job.out[rows], job.dtype)


def _lse(job, rows):
    job.lse[rows] = _Softmax(job, rows).lse
    return -1


def _softmax(job, rows):
    _store(_Softmax(job, rows).probs(), job.out[rows], job.dtype)
    return -1


def _log_softmax(job, rows):
    s = _Softmax(job, rows)
    _store(s.delta - s.log1p_rest[:, None].astype(s.delta.dtype), job.out[rows], job.dtype)
    return -1


def _cross_entropy(job, rows):
    x, n_classes = job.first[rows], job.first.shape[1]
    inert = np.zeros(len(x), bool) if job.sample_weight is None else job.sample_weight[rows] == 0
    weight = np.ones(1) if job.class_weight is None else job.class_weight.astype(np.float64)
    row, y = np.arange(len(x)), None
    s = _Softmax(job, rows)
    several = isinstance(job.labels, Targets)
    if several:
        ids, bad = _checked(job.labels.ids[rows].reshape(-1), n_classes, -1)
        if bad >= 0:
            return bad // job.labels.ids.shape[1]
        at = np.flatnonzero(ids >= 0)
        at, y = at // job.labels.ids.shape[1], ids[at]
        shares = (1 - job.smoothing) * job.labels.shares[rows].reshape(-1)[ids >= 0]
        shares = shares * (weight[y] if job.class_weight is not None else 1)
        t = job.smoothing / n_classes * weight * np.ones(n_classes) if job.smoothing else np.zeros(n_classes)
        total = np.full(len(x), np.sum(t))
        c = np.bincount(at, shares, len(x))
    elif job.labels is not None:
        labels, bad = _checked(job.labels[rows], n_classes, job.ignore_index)
        if bad >= 0:
            return bad
        inert = inert | (labels == job.ignore_index)
        y = np.where(inert, 0, labels)
        c = (1 - job.smoothing) * (weight[y] if job.class_weight is not None else np.ones(len(x)))
        # without smoothing only the label's own weight counts, so that another one may be NaN
        t = job.smoothing / n_classes * weight * np.ones(n_classes) if job.smoothing else np.zeros(n_classes)
        total = np.full(len(x), np.sum(t))
    else:
        log_q, q = _targets(job, rows)
        c = np.zeros(len(x))
        t = weight * ((1 - job.smoothing) * q + job.smoothing / n_classes)
        total = np.sum(t, axis=1)
    loss = total * s.log1p_rest
    if job.labels is None or job.smoothing:
        loss += np.sum(np.where(t == 0, 0.0, t * s.gap(s.x)), axis=1)
    if several:
        terms = np.where(shares == 0, 0.0, shares * (s.log1p_rest[at] + s.gap_at(at, y)))
        loss += np.bincount(at, terms, len(x))
    elif y is not None:
        loss += np.where(c == 0, 0.0, c * (s.log1p_rest + s.gap(s.x[row, y])))
    if job.minus_entropy:
        loss += np.sum(np.where(q == 0, 0.0, q * log_q), axis=1)
    if job.z_loss:
        loss += job.z_loss * s.lse**2
    share = 1.0 if job.sample_weight is None else job.sample_weight[rows]
    job.losses[rows] = np.where(inert, 0.0, loss * share)
    job.lse[rows] = np.where(inert, 0.0, s.lse)
    if job.out is not None:
        a = c + total + (2 * job.z_loss * s.lse if job.z_loss else 0.0)
        dz = a[:, None] * s.probs() - t
        if y is not None:
            # at a maximum p - 1 = -rest/(1 + rest), which keeps its digits as p -> 1
            row, own = (at, shares) if several else (row, c)
            p_y, rest = s.e[row, y] / (1 + s.rest[row]), s.rest[row]
            minus = np.where(s.delta[row, y] == 0, -rest / (1 + rest), p_y - 1)
            dz[row, y] = own * minus + (a[row] - own) * p_y - (t[y] if t.ndim == 1 else t[row, y])
        if job.cap:
            dz *= 1 - (s.z(s.x.astype(np.float64)) / job.cap) ** 2
        g = job.grad_scale * job.scale * share * (1.0 if job.dlosses is None else job.dlosses[rows])
        dz *= np.broadcast_to(g, len(x))[:, None]
        dz[inert] = 0
        _store(dz, job.out[rows], job.dtype)
    return -1


def _targets(job, rows):
    """(log q or None, q) of the distributions that `second` holds."""
    second = _real(job.second[rows], job.dtype).astype(np.float64)
    if job.kind == "logs":
        log_q = second * job.q_scale - (0 if job.shifts is None else job.shifts[rows][:, None])
        return log_q, np.exp(log_q)
    return np.log(second) if job.minus_entropy or job.kernel == "centered_rows" else None, second


def _centered(job, rows):
    if job.kind == "second":
        return _directions(job, rows)
    s = _Softmax(job, rows)
    inert = np.zeros(len(s.x), bool) if job.sample_weight is None else job.sample_weight[rows] == 0
    delta, e = s.delta.astype(np.float64), s.e.astype(np.float64)
    f = delta if job.kind == "logits" else delta - _targets(job, rows)[0]
    mean = np.sum(np.where(e == 0, 0.0, e * f), axis=1) / (1 + s.rest)
    loss = s.log1p_rest - mean if job.kind == "logits" else mean - s.log1p_rest
    share = 1.0 if job.sample_weight is None else job.sample_weight[rows]
    job.losses[rows] = np.where(inert, 0.0, share * loss)
    job.lse[rows] = np.where(inert, 0.0, s.lse)
    if job.out is not None:
        p = e / (1 + s.rest)[:, None]
        dz = np.where(p == 0, 0.0, p * (f - mean[:, None]))
        if job.cap:
            dz *= 1 - (s.z(s.x.astype(np.float64)) / job.cap) ** 2
        g = job.grad_scale * job.scale * share * (1.0 if job.dlosses is None else job.dlosses[rows])
        dz *= np.broadcast_to(g, len(dz))[:, None]
        dz[inert] = 0
        _store(dz, job.out[rows], job.dtype)
    return -1


def _directions(job, rows):
    s, row = _Softmax(job, rows), np.arange(len(job.first[rows]))
    labels, bad = _checked(job.labels[rows], s.x.shape[1], job.ignore_index)
    if bad >= 0:
        return bad
    share = np.ones(len(row)) if job.sample_weight is None else job.sample_weight[rows]
    inert = (labels == job.ignore_index) | (share == 0)
    y, n_classes = np.where(inert, 0, labels), s.x.shape[1]
    weight = np.ones(n_classes) if job.class_weight is None else job.class_weight.astype(np.float64)
    own = (1 - job.smoothing) * weight[y]
    t = job.smoothing / n_classes * weight if job.smoothing else np.zeros(n_classes)
    v, p = _real(job.second[rows], job.dtype).astype(np.float64), s.e / (1 + s.rest)[:, None]
    u = s.z(s.x.astype(np.float64)) / job.cap if job.cap else np.zeros(())
    slope = 1 - u * u
    f = slope * v
    mean = np.sum(np.where(p == 0, 0.0, p * f), axis=1)
    a = own + np.sum(t) + (2 * job.z_loss * s.lse if job.z_loss else 0.0)
    job.losses[rows] = np.where(inert, 0.0, share * job.scale * (a * mean - own * f[row, y]))
    job.lse[rows] = np.where(inert, 0.0, s.lse)
    if job.out is not None:
        product = np.where(p == 0, 0.0, p * (a[:, None] * (f - mean[:, None]) + (2 * job.z_loss * mean)[:, None]))
        if job.cap:
            dz = a[:, None] * p - t
            dz[row, y] -= own
            product -= 2 / job.cap * u * v * dz
        g = job.grad_scale * job.scale**2 * share * (1.0 if job.dlosses is None else job.dlosses[rows])
        _store(np.where(inert[:, None], 0.0, g[:, None] * (slope * product)), job.out[rows], job.dtype)
    return -1


def _softmax_grad(job, rows):
    p, dp = _real(job.first[rows], job.dtype), _real(job.second[rows], job.dtype)
    dot = np.sum(p * dp, axis=1, dtype=np.float64)
    _store(p * (dp - dot[:, None].astype(p.dtype)), job.out[rows], job.dtype)
    return -1


def _log_softmax_grad(job, rows):
    lp, dlp = _real(job.first[rows], job.dtype), _real(job.second[rows], job.dtype)
    total = np.sum(dlp, axis=1, dtype=np.float64)
    _store(dlp - np.exp(lp) * total[:, None].astype(lp.dtype), job.out[rows], job.dtype)
    return -1


def _entropy(job, rows):
    p = _real(job.first[rows], job.dtype).astype(np.float64)
    job.losses[rows] = np.sum(np.where(p == 0, 0.0, -p * np.log(p)), axis=1)
    return -1


def _relative_to(p, q):
    """p*log(p/q), nothing where p is 0 unless q is NaN."""
    ratio = p / q
    extreme = (ratio == 0) | np.isinf(ratio)  # p/q may overflow where its logarithm is an ordinary number
    log_ratio = np.where(extreme, np.log(p) - np.log(q), np.log(ratio))
    return np.where((p == 0) & ~np.isnan(q), 0.0, p * log_ratio)


def _kl_divergence(job, rows):
    p = _real(job.first[rows], job.dtype).astype(np.float64)
    q = _real(job.second[rows], job.dtype).astype(np.float64)
    if job.kernel == "js_divergence_rows":
        middle = (p + q) / 2
        terms = (_relative_to(p, middle) + _relative_to(q, middle)) / 2
    else:
        terms = _relative_to(p, q)
    job.losses[rows] = np.sum(terms, axis=1)
    return -1


KERNELS = {
    "lse_rows": _lse,
    "softmax_rows": _softmax,
    "log_softmax_rows": _log_softmax,
    "cross_entropy_rows": _cross_entropy,
    "soft_cross_entropy_rows": _cross_entropy,
    "softmax_grad_rows": _softmax_grad,
    "log_softmax_grad_rows": _log_softmax_grad,
    "entropy_rows": _entropy,
    "kl_divergence_rows": _kl_divergence,
    "js_divergence_rows": _kl_divergence,
    "centered_rows": _centered,
}
