"""What this machine can do at best: bandwidth of reading, updating in place and copying, and its FMA peak.

The loops are compiled ones of our own, in slices on the same pool of threads as the kernels, so that a ceiling pays
for threads what they pay.
"""

import time

import numpy as np

from .. import backends, threads
from .rounds import Timed, interleaved

BYTES = {"read": 4, "update": 8, "copy": 8}  # memory traffic per float32 element
MOST_BYTES = 1 << 28  # of an array that is passed over: past every cache, and no need for more
SLICE, THREAD = 1 << 20, 1 << 17  # elements of one slice of a pass at most, and for which a thread is woken at least
FMA_ITERATIONS = 1 << 22


class Ceilings:
    """Passes over two float32 arrays as large as a table of `n_bytes`, but at most MOST_BYTES."""

    def __init__(self, n_bytes=MOST_BYTES):
        n = max(1, min(n_bytes, MOST_BYTES) // 4)
        self._first, self._second = np.ones(n, np.float32), np.ones(n, np.float32)
        self._scale = n_bytes / self._first.nbytes
        self._passes, how = _passes()
        self.how = f"{how}, {_plural(threads.get_num_threads())}"

    def timed(self, names, n_threads=None):
        """{name: Timed} for the passes of these names, each once, on n_threads or as many as a call would use."""
        n_threads = n_threads or threads.get_num_threads()
        return {name: self._timed(name, n_threads) for name in dict.fromkeys(names)}

    def _timed(self, name, n_threads):
        one_slice, first, second = self._passes[name], self._first, self._second
        n_threads = max(1, min(n_threads, first.size // THREAD))
        step = max(1, min(SLICE, -(-first.size // (4 * n_threads))))
        slices = [(slice(i, i + step),) for i in range(0, first.size, step)]

        def task(part):
            one_slice(first[part], second[part])
            return -1

        # the caches hold before an update what they hold after an in-place contender's refresh
        refresh = (lambda: first.fill(1)) if name == "update" else (lambda: None)
        return Timed(lambda: threads.each(task, slices, n_threads), refresh)

    def scaled(self, seconds):
        """Timings, as they would be over a whole table."""
        return [s * self._scale for s in seconds]

    def gb_per_s(self, name, seconds):
        """The rate of a pass that took so long, as timed."""
        return BYTES[name] * self._first.size / seconds / 1e9


def measure(rounds=5):
    """{"read", "update", "copy": median GB/s past the caches, "fma": GFLOP/s or None, "how": text}."""
    ceilings = Ceilings()
    *_, taken = interleaved(ceilings.timed(BYTES), rounds)
    rates = {name: float(ceilings.gb_per_s(name, np.median(seconds))) for name, seconds in taken.items()}
    return rates | {"fma": fma_peak(), "how": ceilings.how}


def describe(ceiling):
    """One line for people."""
    parts = ", ".join(f"{name} {ceiling[name]:.1f}" for name in BYTES)
    peak = "" if ceiling["fma"] is None else f"; fused multiply-add {ceiling['fma']:,.0f} GFLOP/s"
    return f"bandwidth in GB/s: {parts}{peak} ({ceiling['how']})"


def fma_peak(rounds=5):
    """Best GFLOP/s of fused multiply-adds on all threads; None where the compiled loop for it is not built."""
    if not hasattr(_cython(), "fma_pass"):
        return None
    fma, n_threads, done, best = _cython().fma_pass, threads.get_num_threads(), [], 0.0

    def task(n):
        done.append(fma(n))
        return -1

    for _ in range(rounds):
        done.clear()
        start = time.perf_counter()
        threads.each(task, [(FMA_ITERATIONS,)] * n_threads, n_threads)
        best = max(best, sum(done) / (time.perf_counter() - start) / 1e9)
    return float(best)


def _plural(n_threads):
    return f"{n_threads} thread{'s' * (n_threads > 1)}"


def _cython():
    return backends.load("cython") if backends.why_not("cython") is None else None


def _passes():
    """({name: run(first, second)}, how)."""
    if _cython() is not None:
        loops, how = _cython(), "compiled loops"
    elif backends.why_not("numba") is None:
        from . import ceilings_numba as loops

        how = "loops compiled by Numba"
    else:
        return {"read": lambda a, b: a.max(), "update": lambda a, b: np.add(a, 1, out=a),
                "copy": lambda a, b: np.copyto(b, a)}, "NumPy loops"
    return {"read": lambda a, b: loops.read_pass(a), "update": lambda a, b: loops.update_pass(a),
            "copy": loops.copy_pass}, how
