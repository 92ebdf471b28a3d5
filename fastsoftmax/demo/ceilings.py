"""The bandwidth that this machine reaches when it only reads, updates in place or copies float32 memory."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import fastsoftmax as fs
from fastsoftmax import backends

BYTES = {"read": 4, "update": 8, "copy": 8}  # memory traffic per float32 element


def measure(n_bytes=1 << 28, rounds=5):
    """Median GB/s of each pass, {"read": ..., "update": ..., "copy": ..., "how": text}, over arrays of n_bytes."""
    first, second = np.ones(n_bytes // 4, np.float32), np.zeros(n_bytes // 4, np.float32)
    timer = Timer(first, second)
    timer.round()  # the first one pays for page faults and starts the threads
    timer.clear()
    for _ in range(rounds):
        timer.round()
    return timer.gb_per_s()


def describe(ceiling):
    """One line for people."""
    parts = ", ".join(f"{name} {ceiling[name]:.1f}" for name in BYTES)
    return f"bandwidth in GB/s: {parts} ({ceiling['how']})"


class Timer:
    """Times the three passes over two flat float32 arrays, a round at a time, so that rounds can be interleaved.

    The values of `first` survive up to rounding of the update; those of `second` are overwritten.
    """

    def __init__(self, first, second):
        self.first, self.second = first.reshape(-1), second.reshape(-1)
        self.n_threads = fs.get_num_threads()
        self.passes, self.how = _passes()
        self.how += f", {self.n_threads} thread{'s' * (self.n_threads > 1)}"
        self.seconds = {name: [] for name in BYTES}

    def round(self):
        """Time each pass once."""
        cuts = [self.first.size * i // self.n_threads for i in range(self.n_threads + 1)]
        parts = [slice(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        with ThreadPoolExecutor(self.n_threads) as pool:
            list(pool.map(time.sleep, [0.001] * self.n_threads))  # starts the threads before the clock
            for name, run in self.passes.items():
                start = time.perf_counter()
                list(pool.map(lambda part, run=run: run(self.first[part], self.second[part]), parts))
                self.seconds[name].append(time.perf_counter() - start)

    def clear(self):
        """Forget the rounds so far."""
        self.seconds = {name: [] for name in BYTES}

    def gb_per_s(self):
        """Median GB/s of each pass, and how it was measured."""
        rates = {n: BYTES[n] * self.first.size / np.median(s) / 1e9 for n, s in self.seconds.items() if s}
        return {name: float(rate) for name, rate in rates.items()} | {"how": self.how}


def _passes():
    kernels = backends.load("cython") if backends.why_not("cython") is None else None
    if all(hasattr(kernels, name) for name in ("read_pass", "update_pass", "copy_pass")):
        return {"read": lambda a, b: kernels.read_pass(a), "update": lambda a, b: kernels.update_pass(a),
                "copy": lambda a, b: kernels.copy_pass(a, b)}, "compiled loops"
    return {"read": lambda a, b: a.max(), "update": lambda a, b: np.add(a, 0, out=a),
            "copy": lambda a, b: np.copyto(b, a)}, "NumPy loops"
