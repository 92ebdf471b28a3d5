"""What one asks of a row beside its loss, and other targets than one label: python -m fastsoftmax.bench.scores.

Every operation in the same interleaved rounds as what it is compared with: the loss alone, the gradient alone, NumPy's and
PyTorch's way to the same result, the ceilings of memory. Exit status 1 where a figure misses its target.
"""

import argparse
import importlib.util
import sys

import numpy as np

import fastsoftmax as fs

from .. import backends
from .ceilings import Ceilings
from .machine import stamp_line
from .rounds import ROUNDS, Timed, distrust, interleaved, noisy, summary

MISSED = 1  # exit status
TARGETS_A_ROW = 16
# what, against what, whether that is to take at least or at most so many times as long
FIGURES = (
    ("score, top_k=10", "loss", "at most", 1.35), ("topk, k=10", "NumPy: argpartition", "at least", 8.0),
    ("topk, k=10", "PyTorch: topk", "at least", 3.0), ("sample", "loss", "at most", 1.6),
    ("sample, top_k=50", "loss", "at most", 2.5), ("sample, top_p=0.95", "loss", "at most", 2.5),
    ("sparse gradient", "gradient", "at most", 1.15), ("divergence", "ceiling of 12 bytes", "at least", 0.8),
    ("divergence", "PyTorch: kl_div(log_softmax)", "at least", 8.0), ("hvp", "ceiling of 12 bytes", "at least", 0.8),
)


def contenders(n_rows, n_classes, seed):
    """{name: Timed} for the operations on the current backend, and their rivals."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, n_classes)).astype(np.float32)
    v = rng.normal(size=x.shape).astype(np.float32)
    y = rng.integers(0, n_classes, n_rows)
    q, out = fs.softmax(v), np.zeros_like(x)
    ids = rng.integers(0, n_classes, (n_rows, min(TARGETS_A_ROW, n_classes)))
    shares = np.full(ids.shape, 1 / ids.shape[1])
    k, many = min(10, n_classes), min(50, n_classes)
    calls = {
        "loss": lambda: fs.cross_entropy(x, y),
        "score, top_k=10": lambda: fs.score(x, y, top_k=k),
        "topk, k=10": lambda: fs.topk(x, k),
        "sample": lambda: fs.sample(x, rng, temperature=0.8),
        "sample, top_k=50": lambda: fs.sample(x, rng, temperature=0.8, top_k=many),
        "sample, top_p=0.95": lambda: fs.sample(x, rng, temperature=0.8, top_p=0.95),
        "gradient": lambda: fs.cross_entropy_and_grad(x, y, out=out),
        "sparse gradient": lambda: fs.sparse_cross_entropy_and_grad(x, ids, shares, out=out),
        "divergence": lambda: fs.kl_divergence_with_logits_and_grad(q, x, out=out),
        "reverse divergence": lambda: fs.kl_divergence_with_logits_and_grad(q, x, reverse=True, out=out),
        "entropy and gradient": lambda: fs.entropy_with_logits_and_grad(x, out=out),
        "soft gradient": lambda: fs.soft_cross_entropy_and_grad(x, q, out=out),
        "hvp": lambda: fs.cross_entropy_hvp(x, y, v, out=out),
        "NumPy: argpartition": lambda: _largest(x, k),
    }
    if importlib.util.find_spec("torch") is not None:
        calls |= _torch_calls(x, q, k)
    return {name: Timed(call) for name, call in calls.items()}


def _largest(x, k):
    """What a NumPy user does: a partition of every row, and the order of its end."""
    at = np.argpartition(x, x.shape[1] - k, axis=1)[:, -k:]
    values = np.take_along_axis(x, at, 1)
    return np.take_along_axis(at, np.argsort(-values, axis=1), 1)


def _torch_calls(x, q, k):
    import torch
    from torch.nn.functional import kl_div, log_softmax

    torch.set_num_threads(fs.get_num_threads())
    logits, target = torch.from_numpy(x), torch.from_numpy(q)

    def divergence():
        leaf = logits.detach().requires_grad_()
        kl_div(log_softmax(leaf, dim=1), target, reduction="batchmean").backward()
        return leaf.grad

    return {"PyTorch: topk": lambda: torch.topk(logits, k, dim=1), "PyTorch: kl_div(log_softmax)": divergence}


def measure(n_rows, n_classes, rounds, seed, tell=lambda text: None):
    """{name: summary} of everything, the ceilings of memory among them."""
    ceilings = Ceilings(4 * n_rows * n_classes)
    passes = {f"pass: {name}": timed for name, timed in ceilings.timed(("read", "copy")).items()}
    timed = contenders(n_rows, n_classes, seed) | passes
    *_, taken = interleaved(timed, rounds, tell)
    for name in ("read", "copy"):
        taken[f"pass: {name}"] = ceilings.scaled(taken[f"pass: {name}"])
    # two arrays read and one written: a pass that reads one and a pass that copies one, round by round
    both = [r + c for r, c in zip(taken["pass: read"], taken["pass: copy"], strict=True)]
    return {name: summary(seconds) for name, seconds in (taken | {"ceiling of 12 bytes": both}).items()}


def judge(found):
    """[(text, figure, wanted, met)]: how many times as long the second takes, or the first where that is to be little.

    The median of the rounds' own ratios: a machine whose speed changes for seconds changes both of a round alike.
    """
    rows = []
    for name, against, sense, bound in FIGURES:
        if name in found and against in found:
            ratio = float(np.median(np.divide(found[name]["seconds"], found[against]["seconds"])))
            figure = ratio if sense == "at most" else 1 / ratio
            text = f"{name}: time over that of {against}" if sense == "at most" else f"{against}: time over that of {name}"
            rows.append((text, figure, f"{sense} {bound:g}", figure <= bound if sense == "at most" else figure >= bound))
    return rows


def markdown(found, judged, options, backend):
    """The report."""
    size = f"{options.size[0]:,} x {options.size[1]:,} float32"
    how = f"{options.rounds} interleaved rounds, medians (figures: of the rounds' ratios), {backend} backend"
    lines = ["# The speed of scores and targets", "", f"`python -m fastsoftmax.bench.scores`: {size}, {how}", "",
             stamp_line(), "", "| what | ms | least | spread |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {s['ms']:.2f} | {s['min_ms']:.2f} | {100 * s['spread']:.0f} % |" for name, s in found.items()]
    lines += ["", "| figure | measured | wanted | |", "|---|---:|---|---|"]
    for text, figure, wanted, met in judged:
        lines.append(f"| {text} | {figure:.2f} | {wanted} | {'met' if met else '**missed**'} |")
    warning = distrust(options.rounds, {"": noisy(found)})
    return "\n".join(lines + (["", warning] if warning else [])) + "\n"


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.scores", description=__doc__.splitlines()[0])
    parser.add_argument("--size", metavar="N,V", default="512,100000", help="rows, classes")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds")
    parser.add_argument("--backend", default="auto", choices=("auto", *backends.NAMES))
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    parser.add_argument("--output", metavar="FILE", help="where the report goes, in Markdown")
    options = parser.parse_args(argv)
    options.size = tuple(int(n) for n in options.size.split(","))
    if len(options.size) != 2 or min(options.size) < 1 or options.rounds < 1:
        parser.error("--size takes two positive numbers, N,V; --rounds must be at least 1")
    return options


def main(argv=None):
    """Measure, print, and with --output save -> exit status."""
    options = _parse(argv)
    with fs.use_backend(options.backend):
        found = measure(*options.size, options.rounds, options.seed, lambda text: print(text, end="\r", flush=True))
        judged, backend = judge(found), backends.current()
    text = markdown(found, judged, options, backend)
    print("\n" + text)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(text)
    return 0 if all(met for *_, met in judged) else MISSED


if __name__ == "__main__":
    sys.exit(main())
