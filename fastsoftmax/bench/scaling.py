"""How calls scale with threads: python -m fastsoftmax.bench.scaling. Exit status 1 where a bit depends on their number.

Every operation for every number of threads in the same interleaved rounds, beside passes over memory by as many threads.
"""

import argparse
import functools
import os
import sys

import numpy as np

import fastsoftmax as fs

from .ceilings import Ceilings
from .machine import stamp_line
from .rounds import ROUNDS, Timed, distrust, interleaved, noisy, summary

DIFFERS = 1  # exit status
LONG_ROW, FEATURES = 1_000_000, 512
CEILINGS = {"loss": "read", "gradient in place": "update", "gradient": "copy", "softmax": "copy", "score, top_k=10": "read"}


def powers_of_two(most):
    """1, 2, 4, ... and the most."""
    return sorted({most, *(1 << i for i in range(most.bit_length()) if 1 << i <= most)})


def operations(n_rows, n_classes, seed):
    """({name: what is timed}, {name: the same, giving the same whenever it is called})."""
    rng = np.random.default_rng(seed)
    x, v = (rng.standard_normal((n_rows, n_classes), np.float32) for _ in range(2))
    y, q = rng.integers(0, n_classes, n_rows), fs.softmax(v)
    out, mine = np.zeros_like(x), x.copy()
    row, label = rng.standard_normal((1, LONG_ROW), np.float32), np.zeros(1, np.int64)
    classifier = rng.standard_normal((n_classes, FEATURES), np.float32)
    one = rng.standard_normal((1, FEATURES), np.float32)

    def in_place():
        np.copyto(mine, x)
        return fs.cross_entropy_and_grad(mine, y, out=mine)

    calls = {
        "loss": lambda: fs.cross_entropy(x, y, reduction="none"),
        "gradient in place": lambda: fs.cross_entropy_and_grad(mine, y, out=mine),
        "gradient": lambda: fs.cross_entropy_and_grad(x, y, out=out),
        "softmax": lambda: fs.softmax(x, out=out),
        "score, top_k=10": lambda: fs.score(x, y, top_k=min(10, n_classes)),
        "divergence and gradient": lambda: fs.kl_divergence_with_logits_and_grad(q, x, out=out),
        "Hessian-vector product": lambda: fs.cross_entropy_hvp(x, y, v, out=out),
        f"loss of one row of {LONG_ROW:,}": lambda: fs.cross_entropy(row, label),
        f"loss of one row of {FEATURES} features": lambda: fs.linear_cross_entropy(one, classifier, label),
    }
    return calls, calls | {"gradient in place": in_place}


def bits(result):
    """Of all arrays and numbers of a result."""
    return tuple(np.asarray(a).tobytes() for a in (result if isinstance(result, tuple) else (result,)) if a is not None)


def differing(calls, threads):
    """The names of the calls whose results are not the same for all of these numbers of threads."""
    seen = {}
    for t in threads:
        with fs.use_num_threads(t):
            for name, call in calls.items():
                seen.setdefault(name, set()).add(hash(bits(call())))
    return [name for name, kinds in seen.items() if len(kinds) > 1]


def measure(size, threads, rounds, seed, tell=lambda text: None):
    """({(name, threads): summary}, names of calls whose bits differ)."""
    calls, repeatable = operations(*size, seed)
    ceilings = Ceilings(4 * size[0] * size[1])
    timed = {}
    for t in threads:
        for name, call in calls.items():
            timed[name, t] = Timed(call, context=functools.partial(fs.use_num_threads, t))
        for name, one in ceilings.timed(("read", "update", "copy"), t).items():
            timed[f"pass: {name}", t] = one
    *_, taken = interleaved(timed, rounds, tell)
    for (name, t), seconds in taken.items():
        taken[name, t] = ceilings.scaled(seconds) if name.startswith("pass: ") else seconds
    return {key: summary(seconds) for key, seconds in taken.items()}, differing(repeatable, threads)


def markdown(found, differ, options):
    """The report."""
    n, v = options.size
    last, columns = options.threads[-1], [f"{t} thread{'s' * (t > 1)}" for t in options.threads]
    lines = ["# How calls scale with threads", "",
             f"`python -m fastsoftmax.bench.scaling`: {n:,} x {v:,} float32 unless a row says otherwise, {options.rounds} "
             "interleaved rounds, medians in ms", "", stamp_line(), "",
             f"| what | {' | '.join(columns)} | times faster | of a pass |", "|---|" + "---:|" * (len(columns) + 2)]
    for name in dict.fromkeys(name for name, _ in found):
        ms = [found[name, t]["ms"] for t in options.threads]
        share = f"{found['pass: ' + CEILINGS[name], last]['ms'] / ms[-1]:.2f}" if name in CEILINGS else ""
        lines.append(f"| {name} | " + " | ".join(f"{m:.2f}" for m in ms) + f" | {ms[0] / ms[-1]:.1f} | {share} |")
    lines += ["", f"times faster: {last} threads than one. of a pass: the time of a pass over memory by {last} threads "
              "(read for losses and scores, update in place, copy elsewhere) over ours.", "",
              "Bits that depend on the number of threads: " + (", ".join(differ) or "none") + "."]
    warning = distrust(options.rounds, {"": noisy({f"{name} ({t})": s for (name, t), s in found.items()})})
    return "\n".join(lines + (["", warning] if warning else [])) + "\n"


def _numbers(text):
    return tuple(int(n) for n in text.split(","))


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--size", metavar="N,V", type=_numbers, default=(512, 100_000), help="rows, classes")
    parser.add_argument("--threads", metavar="T,...", type=_numbers, default=tuple(powers_of_two(os.cpu_count() or 1)))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    parser.add_argument("--output", metavar="FILE", help="where the report goes, in Markdown")
    options = parser.parse_args(argv)
    if len(options.size) != 2 or min(*options.size, *options.threads, options.rounds) < 1:
        parser.error("--size takes two positive numbers, N,V; --threads and --rounds must be at least 1")
    return options


def main(argv=None):
    """Measure, print, and with --output save -> exit status."""
    options = _parse(argv)
    found, differ = measure(options.size, options.threads, options.rounds, options.seed,
                            lambda text: print(text, end="\r", flush=True))
    text = markdown(found, differ, options)
    print("\n" + text)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(text)
    return DIFFERS if differ else 0


if __name__ == "__main__":
    sys.exit(main())
