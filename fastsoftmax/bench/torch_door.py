"""What the door from PyTorch costs and wins: python -m fastsoftmax.bench.torch_door. Exit status 1 where a figure misses.

Each figure compares two contenders of the same interleaved rounds, on inputs that are alike.
"""

import argparse
import sys

import numpy as np

import fastsoftmax as fs

from .rounds import ROUNDS, Timed, distrust, interleaved, noisy, summary

SMALL, LARGE = (8, 1_000), (512, 100_000)
MISSED = 1  # exit status
MICRO = "{:.1f} us"
TIMES = "{:.2f}"


def _inputs(shape):
    """Logits and labels as arrays, and as tensors of memory of their own; the logits once more, requiring a gradient."""
    import torch

    rng = np.random.default_rng(0)
    logits = rng.standard_normal(shape, np.float32)
    labels = rng.integers(shape[1], size=shape[0])
    return logits, labels, torch.tensor(logits), torch.tensor(labels), torch.tensor(logits, requires_grad=True)


def _step(loss, x, y):
    """Forward and backward, as a training step has them."""
    def run():
        x.grad = None
        loss(x, y).backward()

    return run


def contenders(shape):
    """{name: what to time} for one shape."""
    from torch.nn import functional

    import fastsoftmax.torch as fst

    logits, labels, x, y, z = _inputs(shape)
    return {"plain": Timed(lambda: fs.cross_entropy(logits, labels)),
            "door": Timed(lambda: fst.cross_entropy(x, y)),
            "plain and gradient": Timed(lambda: fs.cross_entropy_and_grad(logits, labels)),
            "door, backward": Timed(_step(fst.cross_entropy, z, y)),
            "torch": Timed(lambda: functional.cross_entropy(x, y)),
            "torch, backward": Timed(_step(functional.cross_entropy, z, y))}


def measure(shape, rounds, tell):
    """{name: summary of its timings}."""
    *_, taken = interleaved(contenders(shape), rounds, tell)
    return {name: summary(seconds) for name, seconds in taken.items()}


def judged(small, large):
    """[(what, measured, wanted, met)]. Overheads of microseconds are differences of least times, ratios are of medians."""
    least = {name: 1e3 * found["min_ms"] for name, found in small.items()}
    ms = {name: found["ms"] for name, found in large.items()}
    rows = [("small, forward: the door's time beyond the plain call's", least["door"] - least["plain"], 15.0, MICRO, True),
            ("large, forward: the door's time over the plain call's", ms["door"] / ms["plain"], 1.05, TIMES, True),
            ("large, forward and backward: PyTorch's time over the door's",
             ms["torch, backward"] / ms["door, backward"], 12.0, TIMES, False)]
    return [(what, form.format(value), f"at {'most' if at_most else 'least'} {form.format(bound)}",
             value <= bound if at_most else value >= bound) for what, value, bound, form, at_most in rows]


def report(places, rows, rounds):
    """All of it as text."""
    lines = []
    for place, found in places.items():
        for name, s in found.items():
            lines.append(f"{place}: {name:20} {1e3 * s['ms']:12,.1f} us, least {1e3 * s['min_ms']:12,.1f} us, "
                         f"spread {s['spread']:.0%}")
    lines += [f"{what}: {value}, wanted {wanted}: {'met' if met else 'MISSED'}" for what, value, wanted, met in rows]
    doubt = distrust(rounds, {place: noisy(found) for place, found in places.items()})
    return "\n".join([*lines, *([doubt] if doubt else [])])


def main(argv=None):
    """Measure and print -> exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.torch_door", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds")
    parser.add_argument("--large", type=lambda text: tuple(map(int, text.split(","))), metavar="N,V", default=LARGE,
                        help="rows and classes of the large case")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    places = {f"{n:,} x {v:,}": measure((n, v), options.rounds, lambda text: None) for n, v in (SMALL, options.large)}
    rows = judged(*places.values())
    print(report(places, rows, options.rounds))
    return 0 if all(met for *_, met in rows) else MISSED


if __name__ == "__main__":
    sys.exit(main())
