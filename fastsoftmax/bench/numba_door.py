"""What a transform of the logits costs: `python -m fastsoftmax.bench.numba_door`.

A softcap as a user writes it (fused_cross_entropy) against the loss with no transform, the library's own softcap, both of
the Numba backend, and NumPy: loss and gradient in place, in interleaved rounds. With --call, what a call from compiled code
costs.
"""

import argparse

import numpy as np
from numba import njit

import fastsoftmax as fs
from fastsoftmax.numba import fused_cross_entropy, row_cross_entropy, tanh

from .. import threads
from .rounds import ROUNDS, Timed, interleaved, noisy, summary

CAP = 30.0


@njit(cache=True)
def capped(x, cap):
    return cap * tanh(x / cap)


@njit(cache=True)
def slope(x, z, cap):
    return 1 - (z / cap) ** 2


@njit
def calls_of_loss(x, y, n):
    total = 0.0
    for _ in range(n):
        total += fs.cross_entropy(x, y)
    return total


@njit
def calls_of_row(x, y, n):
    total = 0.0
    for _ in range(n):
        total += row_cross_entropy(x[0], y[0])
    return total


def with_numpy(x, y):
    """As a student writes it, with the chain rule."""
    z = CAP * np.tanh(x / CAP)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    total = p.sum(axis=1, keepdims=True)
    row = np.arange(len(x))
    loss = np.mean(z.max(axis=1) + np.log(total[:, 0]) - z[row, y])
    p /= total
    p[row, y] -= 1
    x[:] = p / len(x) * (1 - (z / CAP) ** 2)
    return loss


def contenders(x, y):
    """{name: a call that turns x into its gradient}."""
    fused = fused_cross_entropy((capped, slope))
    return {"no transform": lambda: fs.cross_entropy_and_grad(x, y, out=x),
            "softcap=": lambda: fs.cross_entropy_and_grad(x, y, softcap=CAP, out=x),
            "fused_cross_entropy": lambda: fused(x, y, params=(CAP,), out=x),
            "NumPy": lambda: with_numpy(x, y)}


def measure(n_rows, n_classes, rounds, tell=lambda text: None):
    """{name: summary} of interleaved rounds, each on fresh logits."""
    rng = np.random.default_rng(0)
    fresh = rng.normal(size=(n_rows, n_classes)).astype(np.float32)
    x, y = fresh.copy(), rng.integers(0, n_classes, n_rows)
    with fs.use_backend("numba"):
        timed = {name: Timed(call, lambda: np.copyto(x, fresh), repeats=False) for name, call in contenders(x, y).items()}
        *_, taken = interleaved(timed, rounds, tell)
    return {name: summary(seconds) for name, seconds in taken.items()}


def call_costs(rounds):
    """{what: summary} of one call from compiled code on a row of 10 classes."""
    x, y, n = np.zeros((1, 10), np.float32), np.zeros(1, np.int64), 10_000
    timed = {"fs.cross_entropy": Timed(lambda: calls_of_loss(x, y, n)),
             "row_cross_entropy": Timed(lambda: calls_of_row(x, y, n))}
    *_, taken = interleaved(timed, rounds)
    return {name: summary([s / n for s in seconds]) for name, seconds in taken.items()}


def main(argv=None):
    """Print the times, and what the transform adds."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.numba_door", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--call", action="store_true", help="also what a call from compiled code costs")
    args = parser.parse_args(argv)
    found = measure(args.rows, args.classes, args.rounds)
    plain = found["no transform"]["ms"]
    print(f"loss and gradient in place, {args.rows} x {args.classes:,} float32, {threads.get_num_threads()} threads, "
          f"{args.rounds} rounds, medians")
    for name, s in found.items():
        print(f"  {name:20} {s['ms']:9.2f} ms  {s['ms'] / plain:5.2f} times no transform, spread {s['spread']:.0%}")
    for name, s in call_costs(args.rounds).items() if args.call else ():
        print(f"  {name:20} {1e6 * s['ms']:9.0f} ns from compiled code on a row of 10 classes, spread {s['spread']:.0%}")
    if noisy(found):
        print(f"NOT TO BE TRUSTED, they spread too much: {', '.join(noisy(found))}")


if __name__ == "__main__":
    main()
