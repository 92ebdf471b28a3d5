"""Where two threads start to pay: `python -m fastsoftmax.bench.threshold`.

From it LOGITS_PER_THREAD and AWAKE of src_cython/pool.pxi are set, from `... threshold numba` LOGITS_PER_PYTHON_THREAD
of contract.py. One thread against two that are asked for at any size, over sizes a factor of 1.4 apart: with workers awake,
calls following each other, and with workers asleep, a pause before each call.
"""

import argparse
import contextlib
import time

import numpy as np

import fastsoftmax as fs

from .. import backends
from ..contract import LOGITS_PER_ROW
from .cases import OPERATIONS, Case, make
from .rounds import ROUNDS, Timed, interleaved

CLASSES = 1000
ROWS = [round(16 * 2 ** (i / 2)) for i in range(15)]
GAIN = 1.05  # what two threads must win
PAUSE = 1e-3  # seconds, after which workers sleep
CALLS = {  # an axis that is written out goes past the short cut, which chooses its threads itself
    "loss": lambda i: fs.cross_entropy(i.x, i.labels, axis=1),
    "softmax": lambda i: fs.softmax(i.x, axis=1),
    "gradient": lambda i: fs.cross_entropy_and_grad(i.x, i.labels, axis=1),
    "gradient-in-place": lambda i: fs.cross_entropy_and_grad(i.x, i.labels, out=i.x, axis=1),
}


@contextlib.contextmanager
def on(backend, n_threads, pause):
    """n threads, whatever the size, asleep after a pause or just awake."""
    module = backends.load(backend)
    kept, module.LOGITS_PER_THREAD = module.LOGITS_PER_THREAD, 1
    try:
        with fs.use_backend(backend), fs.use_num_threads(n_threads):
            if pause:
                end = time.perf_counter() + pause
                while time.perf_counter() < end:  # busy, as the callers of a library are
                    pass
            else:
                fs.softmax(np.zeros((4, 8), np.float32), axis=1)  # wakes them
            yield
    finally:
        module.LOGITS_PER_THREAD = kept


def measure(backend, name, pause, rows=ROWS, rounds=ROUNDS):
    """[(work in logits, microseconds on one thread, on two)], medians of interleaved rounds."""
    timed = {}
    for n_rows in rows:
        inputs = make(Case(f"{n_rows}", n_rows, CLASSES), OPERATIONS[name], 0)
        for n_threads in (1, 2):
            timed[n_rows, n_threads] = Timed(lambda i=inputs: CALLS[name](i), repeats=not pause,
                                             context=lambda n=n_threads: on(backend, n, pause))
    *_, taken = interleaved(timed, rounds)
    micros = {key: 1e6 * float(np.median(seconds)) for key, seconds in taken.items()}
    return [(n_rows * (CLASSES + LOGITS_PER_ROW), micros[n_rows, 1], micros[n_rows, 2]) for n_rows in rows]


def threshold(measured):
    """The least work from which on two threads win at every size; None where they never do."""
    found = None
    for work, one, two in reversed(measured):
        if one < GAIN * two:
            break
        found = work
    return found


def main(argv=None):
    """Print the times and the threshold of each operation."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.threshold", description=__doc__.splitlines()[0])
    parser.add_argument("backend", nargs="?", default="cython", choices=backends.NAMES)
    backend = parser.parse_args(argv).backend
    for state, pause in {"awake": 0, "asleep": PAUSE}.items():
        for name in CALLS:
            measured = measure(backend, name, pause)
            for work, one, two in measured:
                print(f"{state:6} {name:18} {work:>9,} logits: {one:8.1f} us on one thread, {two:8.1f} on two, "
                      f"{one / two:.2f} times")
            least = threshold(measured) or "nowhere"
            print(f"{state:6} {name:18} two threads win {GAIN - 1:.0%} from {least} logits on", flush=True)


if __name__ == "__main__":
    main()
