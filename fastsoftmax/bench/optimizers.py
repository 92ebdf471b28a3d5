"""What an optimizer's step costs: python -m fastsoftmax.bench.optimizers.

A step reads a parameter, its gradient and its state, and writes all but the gradient: the ceiling is what this machine
takes to update and to read as many bytes. Then a whole step of a linear layer: the optimizer in its tiles, after its
gradient in full, and PyTorch's. Everything that is compared is in the same interleaved rounds.
"""

import argparse
import importlib.util
import sys

import numpy as np

import fastsoftmax as fs

from .. import backends, optim
from .ceilings import Ceilings
from .machine import stamp_line
from .rounds import ROUNDS, Timed, distrust, interleaved, noisy, summary

RATE = 1e-6  # small, so that numbers stay what they are
# {name: (how ours is made, torch's name, its options)}
RULES = {
    "SGD": (lambda: optim.SGD(RATE), "SGD", {}),
    "SGD with momentum": (lambda: optim.SGD(RATE, momentum=0.9), "SGD", {"momentum": 0.9}),
    "Adagrad": (lambda: optim.Adagrad(RATE), "Adagrad", {}),
    "Adam": (lambda: optim.Adam(RATE), "Adam", {}),
}
CEILING, TORCH = "ceiling", "PyTorch, fused"
LAYER_ROWS = 256
TILES, IN_FULL, TORCH_LAYER = "in the tiles", "after the gradient in full", "PyTorch"


def _has_torch():
    return importlib.util.find_spec("torch") is not None


def _torch_optimizer(rule, parameter):
    import torch

    _, name, options = RULES[rule]
    return getattr(torch.optim, name)([parameter], lr=RATE, fused=True, **options)


def updates(rule, shape, seed):
    """{contender: Timed} for one update of a parameter, each with a state of its own."""
    rng = np.random.default_rng(seed)
    x, g = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    found = {}
    for name in backends.available():
        optimizer = RULES[rule][0]()
        found[f"fastsoftmax, {name}"] = Timed(lambda optimizer=optimizer: optimizer.update("x", x, g),
                                              context=lambda name=name: fs.use_backend(name))
    if _has_torch():
        import torch

        torch.set_num_threads(fs.get_num_threads())
        parameter = torch.from_numpy(x)
        parameter.grad = torch.from_numpy(g)
        found[TORCH] = Timed(_torch_optimizer(rule, parameter).step)
    return found


def measure_updates(rule, shape, rounds, seed):
    """{contender: summary}, the ceiling among them."""
    ceilings = Ceilings(4 * shape[0] * shape[1])
    passes = ceilings.timed(("read", "update"))
    *_, taken = interleaved(updates(rule, shape, seed) | {f"pass: {name}": timed for name, timed in passes.items()}, rounds)
    read, update = (np.array(ceilings.scaled(taken.pop(f"pass: {name}"))) for name in ("read", "update"))
    taken[CEILING] = list(read + (1 + len(RULES[rule][0]().NAMES)) * update)
    return {name: summary(seconds) for name, seconds in taken.items()}


def layer_steps(shape, seed):
    """{contender: Timed} for a step of a linear layer by Adam: losses, gradients and the optimizer."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((LAYER_ROWS, shape[1]), dtype=np.float32)
    w = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.05)
    y, dw, (tiles, whole) = rng.integers(0, shape[0], LAYER_ROWS), np.ones_like(w), (optim.Adam(RATE), optim.Adam(RATE))

    def in_full():
        found = fs.linear_cross_entropy_and_grad(x, w, y, out=(None, dw, None))
        whole.update("classifier", w, found.dclassifier)

    found = {TILES: Timed(lambda: fs.linear_cross_entropy_step(x, w, y, optimizer=tiles)), IN_FULL: Timed(in_full)}
    if _has_torch():
        found[TORCH_LAYER] = Timed(_torch_step(x, w, y))
    return found


def _torch_step(x, w, y):
    import torch
    from torch.nn.functional import cross_entropy, linear

    features, labels = torch.from_numpy(x).requires_grad_(), torch.from_numpy(y)
    classifier = torch.from_numpy(w).requires_grad_()
    optimizer = _torch_optimizer("Adam", classifier)

    def step():
        features.grad = None
        optimizer.zero_grad()
        cross_entropy(linear(features, classifier), labels).backward()
        optimizer.step()

    return step


def measure(shape, rounds, seed, tell=lambda text: None):
    """{what is timed: {contender: summary}}."""
    found = {}
    for rule in RULES:
        tell(rule)
        found[rule] = measure_updates(rule, shape, rounds, seed)
    tell("a linear layer")
    *_, taken = interleaved(layer_steps(shape, seed), rounds)
    layer = f"{LAYER_ROWS} x {shape[1]:,} x {shape[0]:,}, loss, gradients and Adam"
    return found | {layer: {name: summary(seconds) for name, seconds in taken.items()}}


def markdown(found, options):
    """The report. Shares and multiples are medians of the rounds' own ratios."""
    size = f"{options.size[0]:,} x {options.size[1]:,} float32"
    lines = ["# The speed of optimizers", "",
             f"`python -m fastsoftmax.bench.optimizers`: {size}, {options.rounds} interleaved rounds, medians", "",
             stamp_line(), "", "Ceiling: what compiled loops take to read the gradient and to update parameter and state."]
    for what, timings in found.items():
        against = CEILING if CEILING in timings else next(iter(timings))
        head = "of the ceiling" if against == CEILING else f"times {against}"
        lines += ["", f"## {what}", "", f"| contender | ms | least | spread | {head} |", "|---|---:|---:|---:|---:|"]
        for name, s in timings.items():
            ratio = float(np.median(np.divide(timings[against]["seconds"], s["seconds"])))
            share = f"{100 * ratio:.0f} %" if against == CEILING else f"{1 / ratio:.2f}"
            lines.append(f"| {name} | {s['ms']:.2f} | {s['min_ms']:.2f} | {100 * s['spread']:.0f} % | {share} |")
    warning = distrust(options.rounds, {what: noisy(timings) for what, timings in found.items()})
    return "\n".join(lines + (["", warning] if warning else [])) + "\n"


def main(argv=None):
    """Measure, print, and with --output save -> exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.optimizers", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split(","))), metavar="V,D", default=(50_000, 512),
                        help="classes, features")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    parser.add_argument("--output", metavar="FILE", help="where the report goes, in Markdown")
    options = parser.parse_args(argv)
    if len(options.size) != 2 or min(options.size) < 1 or options.rounds < 1:
        parser.error("--size takes two positive numbers, V,D; --rounds must be at least 1")
    text = markdown(measure(options.size, options.rounds, options.seed, lambda text: print(text, flush=True)), options)
    print("\n" + text)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
