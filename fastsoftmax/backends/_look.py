"""[1] contract.Look by NumPy: a few rows at a time, as a student would write it."""

import numpy as np

from ..dtypes import BF16, F16


def look(job):
    """The statistics, the first classes or the samples of rows; see contract.Look."""
    return _Looking(job)


class _Looking:
    CHUNK_LOGITS = 1 << 16

    def __init__(self, job):
        self.job = job

    def each(self, cuts, n_threads):
        """All rows from cuts[0] to cuts[-1], on this thread; the first bad row, or -1."""
        step = max(1, self.CHUNK_LOGITS // max(1, self.job.logits.shape[1]))
        with np.errstate(all="ignore"):
            for start in range(cuts[0], cuts[-1], step):
                rows = slice(start, min(start + step, cuts[-1]))
                bad = self._draw(rows) if self.job.words is not None else self._look(rows)
                if bad >= 0:
                    return start + bad
        return -1

    def _logits(self, rows):
        a = np.ascontiguousarray(self.job.logits[rows])
        if self.job.dtype is BF16:
            a = (a.astype(np.uint32) << 16).view(np.float32)
        return (a.view(np.float16) if self.job.dtype is F16 else a).astype(np.float64)

    def _z(self, x):
        u = x * self.job.scale
        return self.job.cap * np.tanh(u / self.job.cap) if self.job.cap else u

    def _parts(self, x):
        """(maximum, z_m - z, exp(z - z_m), rest) of some rows."""
        m = np.fmax.reduce(x, axis=1)  # NaN apart
        m = np.where(np.isnan(m), -np.inf, m)
        gap = self._z(m)[:, None] - self._z(x) if self.job.cap else (m[:, None] - x) * self.job.scale
        e = np.exp(-gap)
        others = e.copy()
        others[np.arange(len(x)), np.argmax(np.where(np.isnan(x), -np.inf, x), axis=1)] = 0
        rest = others.sum(axis=1)
        broken = np.isnan(x).any(axis=1) | (np.isinf(m) & (self.job.cap == 0))
        return m, gap, e, np.where(broken, np.nan, rest)

    def _look(self, rows):
        job, x = self.job, self._logits(rows)
        n_rows, n_classes = x.shape
        inert, y = np.zeros(n_rows, bool), None
        if job.labels is not None:
            y = job.labels[rows].copy()
            inert = y == job.ignore_index
            bad = ((y < 0) | (y >= n_classes)) & ~inert
            if bad.any():
                return int(bad.argmax())
            y[inert] = 0
        if job.ids is not None:
            order = _order(x)[:, :job.ids.shape[1]]
            job.ids[rows] = np.where(inert[:, None], -1, order)
            job.values[rows] = np.where(inert[:, None], 0, np.take_along_axis(x, order, 1))
        if job.stats is not None:
            stats = self._stats(x, y)
            stats[inert] = 0
            stats[inert, 7] = -1
            job.stats[rows] = stats
        return -1

    def _stats(self, x, y):
        at = np.arange(len(x))
        m, gap, e, rest = self._parts(x)
        down = np.sum(np.where(e == 0, 0, e * gap), axis=1)
        z_m = self._z(m)
        endless = np.where(np.isnan(x).any(axis=1), np.nan, m)
        lse = np.where(np.isinf(m) & (self.job.cap == 0), endless, z_m + np.log1p(rest))
        stats = np.stack([m, rest, np.where(np.isnan(rest), np.nan, down), lse, np.full(len(x), np.nan),
                          np.full(len(x), np.nan), np.zeros(len(x)), np.zeros(len(x))], axis=1)
        if y is not None:
            x_y = x[at, y]
            stats[:, 4], stats[:, 5] = np.log1p(rest) + gap[at, y], x_y
            stats[:, 6] = 1 + np.sum(_before(x, x_y[:, None], y[:, None]), axis=1)
        first = np.argmax(x, axis=1)  # the first NaN, if there is one
        stats[:, 7] = first
        return stats

    def _draw(self, rows):
        """By inversion, and again from what comes before the class drawn, until that has less than top_p of the mass."""
        job, x = self.job, self._logits(rows)
        first = np.argmax(x, axis=1)
        _, _, e, rest = self._parts(x)
        for i, (row, word) in enumerate(zip(range(rows.start, rows.stop), job.words[rows], strict=True)):
            job.drawn[row] = first[i] if np.isnan(rest[i]) else self._drawn(x[i], e[i], int(word))
        return -1

    def _drawn(self, x, e, word):
        allowed, most = e, self.job.top_p * e.sum()
        while True:
            u, word = uniform(word)
            mass = np.cumsum(allowed)
            k = min(np.searchsorted(mass, u * mass[-1], side="right"), np.flatnonzero(allowed)[-1])
            if self.job.top_p >= 1:
                return k
            allowed = np.where(_before(x, x[k], k), e, 0)
            if not allowed.sum() >= most or allowed.sum() == 0:
                return k


def _before(x, value, k):
    """Which classes of rows x come before class k, whose logit is `value`."""
    ids = np.arange(x.shape[-1])
    above = np.where(np.isnan(value), False, ~(x <= value))
    return above | (((x == value) | (np.isnan(x) & np.isnan(value))) & (ids < k))


def _order(x):
    """Classes in order: NaN, then the larger logit, then the smaller id."""
    return np.lexsort((np.where(np.isnan(x), 0, -x), ~np.isnan(x)), axis=1)


def uniform(word):
    """(a number in [0, 1) of 53 bits, the next word): splitmix64."""
    word = (word + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    z = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53, word
