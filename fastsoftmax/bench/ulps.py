"""Errors of every kernel in units of the last place, for each dtype and instruction set.

python -m fastsoftmax.bench.ulps BACKEND prints those of a backend as it is loaded here (FASTSOFTMAX_CPU) as JSON;
measure_all() asks a process of its own for each.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

import fastsoftmax as fs

from .. import backends, reference
from .cases import DTYPES, dtype_of
from .oracle import subtract_one_hot, ulp
from .report import table_markdown

SIZES = (*range(1, 18), *range(31, 34), *range(63, 66), 97, 127, 4095, 4096, 4097, 8193)  # straddle lanes and blocks
INSTRUCTION_SETS = ("x86-64-v4", "x86-64-v3", "baseline")


def tables(dtype, toy=False):
    """Dense and adversarial (n_rows, n_classes) logits in a dtype, all with a finite maximum."""
    rng = np.random.default_rng(7)
    dense = np.linspace(-104, 0, 8 * 257 if toy else 256 * 257).reshape(257, -1).T  # every depth at which exp is not 0
    dense[:, 0] = 0
    made = [dense, dense - 50]
    made += [spread * rng.standard_normal((8, 1000)) for spread in (0.1, 3, 20)]
    made += [3 * rng.standard_normal((3, n)) for n in (SIZES[::6] if toy else SIZES)]
    n = 5_000
    rising = np.linspace(-60, 0, n)
    holes = np.where(rng.random(n) < 0.5, -np.inf, 3 * rng.standard_normal(n))
    holes[0] = 0
    sign = np.where(np.arange(n) % 2, 1.0, -1.0)
    made.append(np.stack([np.zeros(n), rising, rising[::-1], holes, 30 * sign, np.repeat(rising[:n // 2], 2),
                          np.eye(1, n)[0] * 90, rising + 1e4, 3 * rng.standard_normal(n) + 5e4]))
    largest = float(np.finfo(np.float16).max) if dtype == "float16" else 3e38
    made.append(largest * sign[None, :])
    made[-1][:, :7] = [0, 1, -1, 1e-3, 300, -300, 88]
    return [table.astype(dtype_of(dtype)) for table in made]


def measure(dtype, toy=False):
    """{kernel: [max ulp, max ulp / (1 + depth)]} of the current backend over all tables."""
    worst = {}
    for table in tables(dtype, toy):
        with np.errstate(all="ignore"):  # overflow to inf is among the answers
            results = _Table(table, dtype).results()
        for kernel, (got, right, scale, depth, unit) in results.items():
            off = np.abs(np.asarray(got).astype(np.longdouble) - right)
            error = np.where(off == 0, 0, off / ulp(np.maximum(np.abs(right), scale), unit))
            now = [float(np.max(error)), float(np.max(error / depth))]
            worst[kernel] = [float(np.max(pair)) for pair in zip(now, worst.get(kernel, (0, 0)), strict=True)]
    return worst


class _Table:
    """One table of logits with what every answer is made of, in longdouble.

    results() are {kernel: (got, right, scale, depth, dtype of the ulp)}. scale: what the error is relative to where
    that is more than the answer itself. Losses come in float64, but their exponentials are of the dtype, at least
    float32.
    """

    def __init__(self, x, dtype):
        self.x, self.dtype, self.real = x, dtype, "float64" if dtype == "float64" else "float32"
        self.wide = x.astype(np.longdouble)
        self.top = self.wide.max(1, keepdims=True)
        self.log_p = reference.log_softmax(x)
        self.p = np.exp(self.log_p)
        self.depth = 1 + np.where(np.isfinite(self.wide), self.top - self.wide, 0)
        # what a loss's exponentials are at least deep, where the maximum stands alone
        self.row_depth = np.partition(self.depth, 1, axis=1)[:, 1] if x.shape[1] > 1 else np.ones(len(x))

    def results(self):
        """Of every kernel that the table suits: masked classes and overflowing differences have no ulps."""
        labels = (np.arange(len(self.x)) * 7919) % self.x.shape[1]
        at_label = np.arange(len(labels)), labels
        gradient, top = self.p.copy(), self.top[:, 0]
        subtract_one_hot(gradient, self.log_p, labels)
        depth = self.depth.copy()  # the label's gradient is -rest/(1 + rest), as deep as the rest is
        depth[at_label] = np.maximum(depth[at_label], self.row_depth)
        losses, dlogits, _ = fs.cross_entropy_and_grad(self.x, labels, reduction="none")
        found = {"lse_rows": (fs.logsumexp(self.x), reference.logsumexp(self.wide), np.abs(top), 1, self.dtype),
                 "softmax_rows": (fs.softmax(self.x), self.p, 0, self.depth, self.dtype),
                 "cross_entropy_rows, dlogits": (dlogits, gradient, 0, depth, self.dtype)}
        if np.isfinite((self.wide - self.top).astype(self.x.dtype).astype(np.float64)).all():
            found["log_softmax_rows"] = (fs.log_softmax(self.x), self.log_p, self.top - self.wide,
                                         self.row_depth[:, None], self.dtype)
            found["cross_entropy_rows, losses"] = (losses, -self.log_p[at_label], top - self.wide[at_label],
                                                   self.row_depth, self.real)
            found |= self._soft_targets() | self._gradients() | self._divergences()
        return found

    def _probs(self):
        """(probabilities of the dtype, the same in longdouble)."""
        probs = self.p.astype(self.x.dtype)
        return probs, probs.astype(np.longdouble)

    def _soft_targets(self):
        q = np.roll(self._probs()[0], 1, axis=1)
        wide = q.astype(np.longdouble)
        total = wide.sum(1, keepdims=True)
        losses, dlogits, _ = fs.soft_cross_entropy_and_grad(self.x, q, reduction="none")
        return {"soft_cross_entropy_rows, losses": (losses, -(wide * self.log_p).sum(1), 0, self.row_depth, self.real),
                "soft_cross_entropy_rows, dlogits": (dlogits, self.p * total - wide, self.p * total + wide, self.depth,
                                                     self.dtype)}

    def _gradients(self):
        probs, p = self._probs()
        log_probs = self.log_p.astype(self.x.dtype)
        log_p, upstream = log_probs.astype(np.longdouble), np.cos(np.arange(p.size)).reshape(p.shape).astype(self.x.dtype)
        g, e = upstream.astype(np.longdouble), np.exp(log_p)
        size = np.abs(g)
        return {"softmax_grad_rows": (fs.softmax_grad(probs, upstream), p * (g - (p * g).sum(1, keepdims=True)),
                                      p * (size + (p * size).sum(1, keepdims=True)), 1, self.dtype),
                "log_softmax_grad_rows": (fs.log_softmax_grad(log_probs, upstream), g - e * g.sum(1, keepdims=True),
                                          size + e * size.sum(1, keepdims=True), 1 - log_p, self.dtype)}

    def _divergences(self):
        probs, p = self._probs()
        others, q = np.roll(probs, 1, axis=1), np.roll(p, 1, axis=1)
        with np.errstate(all="ignore"):
            log_p, log_q = (np.where(a > 0, np.log(a), 0) for a in (p, q))
        found = {"entropy_rows": (fs.entropy(probs), -(p * log_p).sum(1), 0, 1, self.real)}
        if (p > 0).all():
            found["kl_divergence_rows"] = (fs.kl_divergence(others, probs), (q * (log_q - log_p)).sum(1),
                                           (q * (np.abs(log_q) + np.abs(log_p))).sum(1), 1, self.real)
        return found


def measure_all(toy=False, tell=print):
    """[{"backend", "instruction_set", "dtypes": {dtype: measure(dtype)}}], each in a process of its own."""
    found = []
    for backend in backends.available():
        for cpu in INSTRUCTION_SETS if backend == "cython" else (None,):
            tell(f"ulps of {backend}" + (f" for {cpu}" if cpu else ""))
            environment = os.environ | {"FASTSOFTMAX_BACKEND": backend} | ({"FASTSOFTMAX_CPU": cpu} if cpu else {})
            command = [sys.executable, "-P", "-m", "fastsoftmax.bench.ulps", backend, *(["--toy"] if toy else [])]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode and "this CPU supports only" in done.stderr:
                continue
            if done.returncode:
                raise RuntimeError(f"measuring {backend} for {cpu} failed: {done.stderr.strip()[-500:]}")
            found.append({"backend": backend, "instruction_set": cpu, "dtypes": json.loads(done.stdout)})
    return found


def markdown(found):
    """One table a dtype: kernels down, backends and instruction sets across."""
    parts = ["## Units in the last place", "Largest error over dense and adversarial inputs; in brackets divided by "
             "1 + max - x, as no kernel in this dtype can avoid the rounding of max - x. Losses, entropies and "
             "divergences are float64 and counted in units of what they are computed in, at least float32."]
    header = [one["backend"] + (f", {one['instruction_set']}" if one["instruction_set"] else "") for one in found]
    for dtype in DTYPES:
        shown = [one["dtypes"].get(dtype, {}) for one in found]
        kernels = list(dict.fromkeys(kernel for errors in shown for kernel in errors))
        if kernels:
            parts.append(table_markdown([dtype, *header], [
                [kernel, *("{:.2f} ({:.2f})".format(*errors[kernel]) for errors in shown)] for kernel in kernels]))
    return "\n\n".join(parts)


def main(argv=None):
    """Print {dtype: {kernel: [ulp, ulp per depth]}} of one backend as JSON."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.ulps")
    parser.add_argument("backend")
    parser.add_argument("--toy", action="store_true", help="small tables: a trial")
    arguments = parser.parse_args(argv)
    with fs.use_backend(arguments.backend):
        print(json.dumps({dtype: measure(dtype, arguments.toy) for dtype in DTYPES}))


if __name__ == "__main__":
    main()
