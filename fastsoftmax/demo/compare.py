"""Contenders side by side on one table of logits: time, useful bandwidth, peak extra memory and error.

Rounds are interleaved, A B C A B C, so that a slow moment of the machine falls on all of them.
"""

import time

import numpy as np

from . import ceilings, memory
from .rivals import JOBS, all_rivals

LEAST_BYTES = {"loss": 4, "loss+gradient": 8}  # per logit: read once; read once and write once
CEILING = {"loss": "read", "loss+gradient": "update"}
CHECKED_ROWS = 16  # rows of the gradient that are compared with float64


def run(comparison, *, n_rows, n_classes, rounds, seed, tell=lambda text: None):
    """Fill the dict `comparison`, entry after entry, so that it holds what was done whenever it is interrupted.

    keys: n_rows, n_classes, entries [{name, label, job, ms, gb_per_s, percent, ...}], absent {label: reason},
    ceiling {read, update, copy: GB/s}, scaling {label: {n_classes, ms, extra_bytes}}, for loss and gradient.
    """
    rivals = all_rivals()
    comparison |= {"n_rows": n_rows, "n_classes": n_classes, "rounds": 0, "entries": [], "scaling": {},
                   "absent": {r.label: r.absent for r in rivals if r.absent}}
    rivals = [r for r in rivals if not r.absent]
    tell("making the table and its float64 answers")
    table = _Table(n_rows, n_classes, seed)
    cells = [(rival, job, comparison["entries"]) for job in JOBS for rival in rivals]
    for rival, job, entries in cells:  # also the warm-up: compiles, starts threads, touches pages
        tell(f"error of {rival.label}, {job}")
        entries.append({"name": rival.name, "label": rival.label, "job": job, "seconds": []}
                       | table.error(rival, job))
    timer = ceilings.Timer(table.work, np.empty_like(table.work))
    for done in range(rounds):
        tell(f"round {done + 1} of {rounds}")
        timer.round()
        for (rival, job, _), entry in zip(cells, comparison["entries"], strict=True):
            entry["seconds"].append(table.time(rival, job))
        comparison |= {"rounds": done + 1, "ceiling": timer.gb_per_s()}
        _summarise(comparison)
    del timer
    _scaling(comparison, rivals, table, tell)


def _summarise(comparison):
    logits = comparison["n_rows"] * comparison["n_classes"]
    for entry in comparison["entries"]:
        seconds = float(np.median(entry["seconds"]))
        rate = LEAST_BYTES[entry["job"]] * logits / seconds / 1e9
        entry |= {"ms": 1e3 * seconds, "gb_per_s": rate,
                  "percent": 100 * rate / comparison["ceiling"][CEILING[entry["job"]]]}


def _scaling(comparison, rivals, table, tell):
    n_classes = comparison["n_classes"]
    sizes = sorted({max(2, round(n_classes / 10 ** (i / 2))) for i in range(5)})
    for rival in rivals:
        tell(f"time and memory against the number of classes: {rival.label}")
        mine = [e for e in comparison["entries"] if e["name"] == rival.name]
        ms = [1e3 * min(table.time(rival, JOBS[1], n) for _ in range(3)) for n in sizes[:-1]]
        ms.append(next(e["ms"] for e in mine if e["job"] == JOBS[1]))
        extra = memory.measure(rival.name, comparison["n_rows"], sizes)
        for entry in mine:
            entry["extra_bytes"] = extra[entry["job"]][-1]
        comparison["scaling"][rival.label] = {"n_classes": sizes, "ms": ms, "extra_bytes": extra[JOBS[1]]}


class _Table:
    """logits (n_rows, n_classes) float32, normal with deviation 3; labels; their float64 answers."""

    def __init__(self, n_rows, n_classes, seed):
        rng = np.random.default_rng(seed)
        self.logits = rng.standard_normal((n_rows, n_classes), dtype=np.float32)
        self.logits *= 3
        self.labels = rng.integers(0, n_classes, n_rows)
        self.work = self.logits.copy()
        losses = np.empty(n_rows)
        for i in range(n_rows):  # a row at a time: the float64 table would be twice the logits
            row = self.logits[i].astype(np.float64)
            losses[i] = row.max() + np.log(np.exp(row - row.max()).sum()) - row[self.labels[i]]
        self.loss = losses.mean()
        self.dlogits = self.logits[:CHECKED_ROWS].astype(np.float64)
        self.dlogits = np.exp(self.dlogits - self.dlogits.max(axis=1, keepdims=True))
        self.dlogits /= self.dlogits.sum(axis=1, keepdims=True)
        self.dlogits[np.arange(len(self.dlogits)), self.labels[:CHECKED_ROWS]] -= 1
        self.dlogits /= n_rows

    def error(self, rival, job):
        """Largest relative error: of the loss, and of the gradient's elements."""
        np.copyto(self.work, self.logits)
        loss, dlogits = rival.call(job, self.work, self.labels)
        errors = {"loss_error": float(abs(loss - self.loss) / self.loss), "gradient_error": None}
        if dlogits is not None:
            off = np.abs(dlogits[:CHECKED_ROWS] - self.dlogits)
            errors["gradient_error"] = float((off / np.abs(self.dlogits)).max())
        return errors

    def time(self, rival, job, n_classes=None):
        """Seconds of one call, on a fresh copy of the logits, or of their first n_classes classes."""
        work, labels = self.work, self.labels
        if n_classes:
            work = work.reshape(-1)[:len(labels) * n_classes].reshape(len(labels), n_classes)
            labels = labels % n_classes
        np.copyto(work, self.logits[:, :n_classes])
        start = time.perf_counter()
        rival.call(job, work, labels)
        return time.perf_counter() - start
