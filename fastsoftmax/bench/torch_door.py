"""What the door from PyTorch costs and wins: python -m fastsoftmax.bench.torch_door. Exit status 1 where a figure misses.

Each figure compares two contenders in the same interleaved rounds, on the same memory.
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


def _step(loss, x, y):
    """Forward and backward, as a training step has them: it begins by giving back its own last gradient, no rival's."""
    leaf = x.detach().requires_grad_()

    def run():
        leaf.grad = None
        loss(leaf, y).backward()

    return run


def contenders(shape):
    """{pair: {name: what to time}}, all on the same memory."""
    import torch
    from torch.nn import functional

    import fastsoftmax.torch as fst

    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal(shape, np.float32), rng.integers(shape[1], size=shape[0])
    x, y = torch.from_numpy(logits), torch.from_numpy(labels)
    return {"forward": {"plain": Timed(lambda: fs.cross_entropy(logits, labels)),
                        "door": Timed(lambda: fst.cross_entropy(x, y))},
            "forward and backward": {"door": Timed(_step(fst.cross_entropy, x, y)),
                                     "torch": Timed(_step(functional.cross_entropy, x, y))}}


def measure(shape, rounds):
    """{pair: {name: summary}}. Pairs are timed apart: torch's threads spin for a while, to the cost of whoever is next."""
    found = {}
    for pair, timed in contenders(shape).items():
        *_, taken = interleaved(timed, rounds)
        found[pair] = {name: summary(seconds) for name, seconds in taken.items()}
    return found


def judged(small, large):
    """[(what, measured, wanted, met)]: microseconds are a difference of least times, ratios are of medians."""
    least = {name: 1e3 * found["min_ms"] for name, found in small["forward"].items()}
    forward, step = ({name: found["ms"] for name, found in large[pair].items()} for pair in large)
    rows = [("small, forward: door beyond the plain call", least["door"] - least["plain"], 15.0, MICRO, True),
            ("large, forward: door over the plain call", forward["door"] / forward["plain"], 1.05, TIMES, True),
            ("large, forward and backward: PyTorch over the door", step["torch"] / step["door"], 12.0, TIMES, False)]
    return [(what, form.format(value), f"at {'most' if at_most else 'least'} {form.format(bound)}",
             value <= bound if at_most else value >= bound) for what, value, bound, form, at_most in rows]


def report(places, rows, rounds):
    """All of it as text."""
    found = {f"{place}, {pair}": timings for place, pairs in places.items() for pair, timings in pairs.items()}
    lines = [f"{where}: {name:5} {1e3 * s['ms']:11,.1f} us, least {1e3 * s['min_ms']:11,.1f} us, spread {s['spread']:.0%}"
             for where, timings in found.items() for name, s in timings.items()]
    lines += [f"{what}: {value}, wanted {wanted}: {'met' if met else 'MISSED'}" for what, value, wanted, met in rows]
    doubt = distrust(rounds, {where: noisy(timings) for where, timings in found.items()})
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
    places = {f"{n:,} x {v:,}": measure((n, v), options.rounds) for n, v in (SMALL, options.large)}
    rows = judged(*places.values())
    print(report(places, rows, options.rounds))
    return 0 if all(met for *_, met in rows) else MISSED


if __name__ == "__main__":
    sys.exit(main())
