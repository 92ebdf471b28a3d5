"""Where two threads start to pay: `python -m fastsoftmax.bench.threshold`, from which contract.LOGITS_PER_THREAD is set.

One thread, as a user has it, against two that are asked for at any size, over sizes a quarter apart, on the Cython backend.
"""

import contextlib

import numpy as np

import fastsoftmax as fs

from .. import plan
from .cases import OPERATIONS, Case, make
from .rounds import ROUNDS, Timed, interleaved

CLASSES = 1000
ROWS = [round(16 * 2 ** (i / 2)) for i in range(15)]
GAIN = 1.05  # what two threads must win
CALLS = {  # an axis that is written out goes past the short cut, which has one thread
    "loss": lambda i, options: fs.cross_entropy(i.x, i.labels, **options),
    "softmax": lambda i, options: fs.softmax(i.x, **options),
    "gradient": lambda i, options: fs.cross_entropy_and_grad(i.x, i.labels, **options),
    "gradient-in-place": lambda i, options: fs.cross_entropy_and_grad(i.x, i.labels, out=i.x, **options),
}


@contextlib.contextmanager
def on(n_threads):
    """n threads, whatever the size."""
    kept, plan.LOGITS_PER_THREAD = plan.LOGITS_PER_THREAD, 1
    try:
        with fs.use_backend("cython"), fs.use_num_threads(n_threads):
            yield
    finally:
        plan.LOGITS_PER_THREAD = kept


def measure(name, rows=ROWS, rounds=ROUNDS):
    """[(logits, microseconds on one thread, on two)], medians of interleaved rounds."""
    timed = {}
    for n_rows in rows:
        inputs = make(Case(f"{n_rows}", n_rows, CLASSES), OPERATIONS[name], 0)
        for n_threads, options in ((1, {}), (2, {"axis": 1})):
            timed[n_rows, n_threads] = Timed(lambda i=inputs, o=options: CALLS[name](i, o),
                                             context=lambda n=n_threads: on(n))
    *_, taken = interleaved(timed, rounds)
    micros = {key: 1e6 * float(np.median(seconds)) for key, seconds in taken.items()}
    return [(n_rows * CLASSES, micros[n_rows, 1], micros[n_rows, 2]) for n_rows in rows]


def threshold(measured):
    """The least number of logits from which on two threads win at every size; None where they never do."""
    found = None
    for n_logits, one, two in reversed(measured):
        if one < GAIN * two:
            break
        found = n_logits
    return found


def main():
    """Print the times and the threshold of each operation."""
    for name in CALLS:
        measured = measure(name)
        for n_logits, one, two in measured:
            print(f"{name:18} {n_logits:>9,} logits: one thread {one:8.1f} us, two {two:8.1f} us, {one / two:.2f} times")
        print(f"{name:18} two threads win {GAIN - 1:.0%} from {threshold(measured) or 'nowhere'} logits on", flush=True)


if __name__ == "__main__":
    main()
