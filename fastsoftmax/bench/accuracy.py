"""How exact: python -m fastsoftmax.bench.accuracy. The promised figures, PyTorch beside us, and ulps of every kernel.

The oracle is reference.py, in longdouble, on the same float32 logits. Exit status 1 where a figure of ours misses its
target.
"""

import argparse
import importlib.util
import json
import os
import sys
from dataclasses import dataclass

import numpy as np

import fastsoftmax as fs

from .. import backends, reference
from . import machine, ulps
from .oracle import subtract_one_hot, ulp
from .report import table_markdown
from .session import CommandError, make_folder, replace

OFFSETS = (0.0, 1e4, 1e6)  # added to every logit
ROWS = {100_000: 16, 1_000_000: 4}  # {classes: rows}
TOY_ROWS = {1_000: 4, 5_000: 2}
SURE = ((17.0, 0.0), (60.0, 0.0))  # logits whose label, the first, is all but certain
MISSED = 1  # exit status


@dataclass(frozen=True)
class Figure:
    """A promise: `target` is the most that its error may be."""

    name: str
    label: str
    target: float


FIGURES = (Figure("loss", "loss, relative", 2e-7), Figure("lse", "lse, ulp", 1.0),
           Figure("softmax", "softmax, relative / (1 + max - x)", 4e-7),
           Figure("gradient", "gradient, relative / (1 + max - x)", 4e-7),
           Figure("row_sum", "sum of a gradient's row", 1e-6),
           Figure("sure_loss", "loss where p[y] -> 1, relative", 1e-5),
           Figure("sure_gradient", "label's gradient where p[y] -> 1, relative", 1e-5))


class _Ours:
    """fastsoftmax on a backend."""

    def __init__(self, backend):
        self.backend = backend

    def results(self, logits, labels):
        """(losses, lse, softmax, gradient of the summed loss), as NumPy arrays."""
        with fs.use_backend(self.backend):
            losses, gradient, _ = fs.cross_entropy_and_grad(logits, labels, reduction="none")
            return losses, fs.logsumexp(logits), fs.softmax(logits), gradient


class _Torch:
    """PyTorch, as its users call it."""

    def results(self, logits, labels):
        """As _Ours.results."""
        import torch

        x = torch.from_numpy(logits).requires_grad_()
        losses = torch.nn.functional.cross_entropy(x, torch.from_numpy(labels), reduction="none")
        gradient = torch.autograd.grad(losses.sum(), x)[0]
        with torch.no_grad():
            return tuple(t.detach().numpy() for t in (losses, torch.logsumexp(x, 1), torch.softmax(x, 1), gradient))


def contenders():
    """{label: what is judged}; every backend that works here, and PyTorch where it is installed."""
    ours = {f"fastsoftmax, {name}": _Ours(name) for name in backends.available()}
    return ours | ({"PyTorch": _Torch()} if importlib.util.find_spec("torch") else {})


def measure(toy=False, tell=print):
    """[{"contender", "n_classes", "offset", figure name: worst error}], for sizes and offsets; then the sure labels."""
    judged, rows = contenders(), []
    for n_classes, n_rows in (TOY_ROWS if toy else ROWS).items():
        rng = np.random.default_rng(n_classes)
        plain = 3 * rng.standard_normal((n_rows, n_classes), dtype=np.float32)
        labels = rng.integers(0, n_classes, n_rows)
        for offset in OFFSETS:
            tell(f"float32, {n_classes:,} classes, offset {offset:,.0f}")
            logits = plain + np.float32(offset)
            right = _Right(logits, labels)
            rows += [{"contender": label, "n_classes": n_classes, "offset": offset}
                     | right.errors(*one.results(logits, labels)) for label, one in judged.items()]
    rows += [{"contender": label, "n_classes": 2, "offset": 0.0} | _sure(one) for label, one in judged.items()]
    return rows


class _Right:
    """The answers for float32 logits."""

    def __init__(self, logits, labels):
        log_probs = reference.log_softmax(logits)
        self.losses = -log_probs[np.arange(len(labels)), labels]
        self.lse = logits[:, 0] - log_probs[:, 0]
        self.probs = np.exp(log_probs)
        self.gradient = self.probs.copy()
        subtract_one_hot(self.gradient, log_probs, labels)
        self.depth = 1 + (logits.max(1, keepdims=True).astype(np.float64) - logits)

    def errors(self, losses, lse, probs, gradient):
        """{figure name: worst error}."""
        return {"loss": float(np.max(np.abs(losses - self.losses) / self.losses)),
                "lse": float(np.max(np.abs(lse - self.lse) / ulp(self.lse, "float32"))),
                "softmax": float(np.max(np.abs(probs - self.probs) / self.probs / self.depth)),
                "gradient": float(np.max(np.abs(gradient - self.gradient) / np.abs(self.gradient) / self.depth)),
                "row_sum": float(np.max(np.abs(gradient.sum(1, dtype=np.float64))))}


def _sure(one):
    logits, labels = np.array(SURE, np.float32), np.zeros(len(SURE), np.int64)
    right = _Right(logits, labels)
    losses, _, _, gradient = one.results(logits, labels)
    return {"sure_loss": float(np.max(np.abs(losses - right.losses) / right.losses)),
            "sure_gradient": float(np.max(np.abs((gradient - right.gradient) / right.gradient)[:, 0]))}


def worst(rows):
    """{contender: {figure name: its worst error}}."""
    found = {}
    for row in rows:
        mine = found.setdefault(row["contender"], {})
        for figure in FIGURES:
            if figure.name in row:
                mine[figure.name] = float(np.max([mine.get(figure.name, 0.0), row[figure.name]]))
    return found


def missed(rows):
    """["contender: figure is error, target"] for each promise of ours that is not kept; NaN keeps none."""
    return [f"{label}: {figure.label} is {errors[figure.name]:.2g}, target {figure.target:g}"
            for label, errors in worst(rows).items() if label.startswith("fastsoftmax")
            for figure in FIGURES if not errors[figure.name] <= figure.target]


def markdown(results):
    """The report as text."""
    found = worst(results["figures"])
    promises = table_markdown(["float32, worst over sizes and offsets", "target", *found], [
        [f.label, f"{f.target:g}", *(f"{errors[f.name]:.2g}" for errors in found.values())] for f in FIGURES])
    shown = FIGURES[:5]
    detail = table_markdown(["float32", "classes", "offset", *(f.label for f in shown)], [
        [row["contender"], f"{row['n_classes']:,}", f"{row['offset']:,.0f}", *(f"{row[f.name]:.2g}" for f in shown)]
        for row in results["figures"] if "loss" in row])
    lost = results["missed"]
    verdict = "Every target is met." if not lost else "MISSED:\n" + "\n".join(f"- {text}" for text in lost)
    return "\n\n".join(["# Accuracy", machine.describe(results["machine"]), promises, verdict, detail,
                        ulps.markdown(results["ulps"])]) + "\n"


def main(argv=None):
    """Measure, print and save accuracy.json and accuracy.md -> exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.accuracy")
    parser.add_argument("--output", metavar="DIR", default="fastsoftmax-accuracy", help="folder of the report")
    parser.add_argument("--toy", action="store_true", help="small sizes: a trial")
    arguments = parser.parse_args(argv)
    try:
        make_folder(arguments.output)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 2

    def tell(text):
        print(text, file=sys.stderr, flush=True)

    results = {"machine": machine.stamp(), "figures": measure(arguments.toy, tell)}
    results |= {"missed": missed(results["figures"]), "ulps": ulps.measure_all(arguments.toy, tell)}
    text = markdown(results)
    replace(os.path.join(arguments.output, "accuracy.json"), json.dumps(results, indent=1) + "\n")
    replace(os.path.join(arguments.output, "accuracy.md"), text)
    print(text)
    return MISSED if results["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
