"""grad_filter: python -m fastsoftmax.bench.linear_filter. How sparse models are, what filtering saves, whether bounds hold.

Two models: the demo's, trained here or read from a checkpoint of `fastsoftmax train`, on words that it has not seen; and a
made-up one that is as sure of itself as large language models are. Of each the share of p that is not below eps, the time
of loss and gradients with and without grad_filter in interleaved rounds, and the errors against float64 beside the bounds.
Then the time of both products of a block by the share of dlogits that is kept, from which plan.KEPT_COST is read off. Exit
status 1 where a bound does not hold, or where the target is missed though the sparsity would allow it.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass

import numpy as np

import fastsoftmax as fs

from .. import check, reference
from ..contract import FILTERED
from ..linear import results as linear_results
from ..plan import KEPT_COST
from . import linear_measure, machine, session
from .linear_report import Table, show
from .report import digits, table_markdown
from .rounds import ROUNDS, Timed, distrust, interleaved, noisy, summary

EPS = (1e-6, 1e-5, 1e-4)
TARGET_EPS, TARGET = 1e-6, 1.8  # times faster than dense, on the demo's model
STEPS = 600  # of training: what the demo's 60 s are on two cores
WORKSPACE_BYTES = 64 << 20
EXACT_ROWS = 256  # at most, whose gradients are computed in float64
AT_A_TIME = 32  # rows, in float64
TILE = (6, 64)  # of the dense product, in registers
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
COSTS = ((48, None), (512, None), (512, "bfloat16"), (2_048, None))  # features, compute_dtype
COST_SIZE = (150, 20_480)  # rows, classes
DENSE, FORWARD = "dense", "losses alone"
MISSED = 1  # exit status


@dataclass(frozen=True)
class Case:
    """One model on some rows."""

    name: str
    text: str
    x: np.ndarray
    w: np.ndarray
    b: np.ndarray
    y: np.ndarray

    def gradients(self, eps, rows=None, out=None):
        """What is timed, and judged."""
        return fs.linear_cross_entropy_and_grad(self.x[:rows], self.w, self.y[:rows], bias=self.b, grad_filter=eps, out=out,
                                                max_workspace_bytes=WORKSPACE_BYTES)


def demo_case(options, stop):
    """The demo's model on held-out words."""
    from ..train import checkpoint, corpus, loop

    settings = loop.Settings()
    found = checkpoint.read(options.checkpoint) if options.checkpoint else None
    with session.progress(stop, "reading the corpus") as tell:
        tell(corpus.PACKAGE)
        words = corpus.load(None, len(found.vocabulary) if found else options.vocabulary)
    run = loop.Run(words, found.settings if found else settings, {})
    if found:
        checkpoint.resume(run, found, options.checkpoint)
    else:
        loop.train(run, steps=options.steps, stop=stop)
    contexts, labels = (a[:options.rows] for a in run.judged)
    m = run.model
    return Case("demo", f"the demo's model after {run.training['steps']:,} steps, perplexity "
                f"{run.training['held_out_perplexity']:.0f}", m.features(contexts), m.classifier, m.bias, labels)


def peaked_case(options):
    """Class k has a logit of -1.2*log(k + 1) and a normal part of deviation 3 beside it, which takes D features."""
    rng, (n, d, v) = np.random.default_rng(options.seed), (options.rows, options.features, options.vocabulary)
    x = rng.standard_normal((n, d), dtype=np.float32)
    w = rng.standard_normal((v, d), dtype=np.float32) * np.float32(3 / np.sqrt(d))
    b = (-1.2 * np.log(1 + np.arange(v))).astype(np.float32)
    return Case("peaked", "a made-up model, sure of itself", x, w, b, rng.integers(0, min(100, v), n))


def sparsity(case, tell):
    """{eps: shares of p, in float64, that are not below it, and what they cost; and the mass that is below}."""
    tell("how sparse p is")
    found = {eps: {"kept": [], "tiles": [], "sorted_tiles": [], "dropped": [], "of_class": 0} for eps in EPS}
    order = np.argsort(-sum(p.sum(axis=0) for p in _probs(case)))
    for p in _probs(case):
        for eps, f in found.items():
            kept = p >= eps
            f["kept"].append(kept.mean(axis=1))
            f["dropped"].append(np.where(kept, 0, p).sum(axis=1))
            f["tiles"].append(_tiles(kept))
            f["sorted_tiles"].append(_tiles(kept[:, order]))
            f["of_class"] = f["of_class"] + kept.sum(axis=0)
    starts = np.arange(0, len(case.w), FILTERED)
    sizes = np.diff([*starts, len(case.w)]) * len(case.x)
    for f in found.values():  # by the rule of plan.py
        f["most_dropped"] = [np.max(np.concatenate(f["dropped"]), keepdims=True)]
        costs = np.minimum(sizes, KEPT_COST * np.add.reduceat(f.pop("of_class"), starts))
        f["cost"] = [np.full(1, costs.sum() / sizes.sum())]
    return {eps: {name: float(np.concatenate(parts).mean()) for name, parts in f.items()} for eps, f in found.items()}


def _probs(case):
    """softmax in float64, some rows at a time."""
    w, b, rows = case.w.astype(np.float64), case.b.astype(np.float64), 5 * TILE[0]
    for start in range(0, len(case.x), rows):
        z = case.x[start:start + rows].astype(np.float64) @ w.T + b
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z, out=z)
        yield np.divide(p, p.sum(axis=1, keepdims=True), out=p)


def _tiles(kept):
    """Of each TILE_ROWS rows the share of tiles in which anything is kept."""
    n, v = (size // side * side for size, side in zip(kept.shape, TILE, strict=True))
    return kept[:n, :v].reshape(n // TILE[0], TILE[0], v // TILE[1], TILE[1]).any(axis=(1, 3)).mean(axis=1)


def exact(case):
    """dfeatures and dclassifier of the first rows in float64."""
    x, w, b = (a.astype(np.float64) for a in (case.x[:EXACT_ROWS], case.w, case.b))
    dx, dw = np.empty_like(x), np.zeros_like(w)
    for start in range(0, len(x), AT_A_TIME):
        some = slice(start, start + AT_A_TIME)
        dlogits = reference.cross_entropy(x[some] @ w.T + b, case.y[:EXACT_ROWS][some], reduction="sum",
                                          dlosses=1 / len(x))[1].astype(np.float64)
        dx[some] = dlogits @ w
        dw += dlogits.T @ x[some]
    return dx, dw


def bounds(case, tell):
    """{eps, None for dense: relative errors of the gradients, their bounds, what was kept}."""
    tell("the gradients in float64")
    right, found = exact(case), {}
    sizes = [float(np.linalg.norm(a)) for a in right]
    for eps in (None, *EPS):
        got = case.gradients(eps, EXACT_ROWS)
        errors = [float(np.linalg.norm(a - b)) / size for a, b, size in zip(got[1:3], right, sizes, strict=True)]
        most = [float(a) / size for a, size in zip(got.bound[:2], sizes, strict=True)] if got.bound else [0.0, 0.0]
        found[eps] = {"errors": errors, "bounds": most, "kept": got.bound.kept if got.bound else 1.0}
    for f in found.values():  # float32 rounds, filtered or not
        f["holds"] = all(e <= b + 2 * r for e, b, r in zip(f["errors"], f["bounds"], found[None]["errors"], strict=True))
    return found


def times(case, rounds, tell):
    """({key: summary} of dense, losses alone and each eps, the labels that spread too much)."""
    out = np.ones_like(case.x), np.ones_like(case.w), np.ones_like(case.b)
    calls = {FORWARD: lambda: fs.linear_cross_entropy(case.x, case.w, case.y, bias=case.b, reduction="none",
                                                      max_workspace_bytes=WORKSPACE_BYTES),
             DENSE: lambda: case.gradients(None, out=out)}
    calls |= {eps: lambda eps=eps: case.gradients(eps, out=out) for eps in EPS}
    *_, taken = interleaved({key: Timed(call) for key, call in calls.items()}, rounds, tell)
    found = {key: summary(seconds) for key, seconds in taken.items()}
    return found, noisy({str(key): s for key, s in found.items()})


def measure(case, rounds, tell):
    """Everything of a case."""
    sparse, held = sparsity(case, tell), bounds(case, tell)
    timed, spread = times(case, rounds, tell)
    forward, dense = timed[FORWARD]["ms"], timed[DENSE]["ms"]
    entries = []
    for eps in EPS:
        possible = {f"times_by_{name}": dense / (forward + sparse[eps][name] * (dense - forward))
                    for name in ("sorted_tiles", "cost")}
        judged = {name: held[eps][name] for name in ("errors", "bounds", "holds")}
        entries.append({"eps": eps, **sparse[eps], "ms": timed[eps]["ms"], "times": dense / timed[eps]["ms"],
                        "multiplied": held[eps]["kept"], **possible, **judged})
    (n, d), v = case.x.shape, len(case.w)
    return {"description": f"{case.text}: {n:,} x {d:,} x {v:,}", "dense_ms": dense, "forward_ms": forward,
            "rounds": rounds, "noisy": spread, "dense_errors": held[None]["errors"], "entries": entries}


def costs(rounds, tell):
    """Both products of a block, listing included, over the dense ones, by the share of dlogits kept at random places."""
    found = []
    for n_features, compute in COSTS:
        tell(f"costs at {n_features} features")
        block = _Block(n_features, compute)
        timed = {share: Timed(lambda share=share, block=block: block.filtered(share), block.refresh, repeats=False)
                 for share in SHARES} | {DENSE: Timed(block.dense, block.refresh, repeats=False)}
        *_, taken = interleaved(timed, rounds)
        ms = {key: summary(seconds)["ms"] for key, seconds in taken.items()}
        found.append({"n_features": n_features, "compute": compute or "float32", "dense_ms": ms[DENSE],
                      "ratios": {share: ms[share] / ms[DENSE] for share in SHARES}})
    return found


class _Block:
    """A block of dlogits, uniform in [0, 1), and its products."""

    def __init__(self, n_features, compute):
        (n, v), rng = COST_SIZE, np.random.default_rng(0)
        x, w = (rng.standard_normal((m, n_features), dtype=np.float32) for m in (n, v))
        options = dict(class_weight=None, sample_weight=None, ignore_index=None, reduction="mean", label_smoothing=0.0,
                       z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty="nan")
        problem = check.linear_cross_entropy(x, w, np.zeros(n, int), None, options, wrt=check.GRADIENTS,
                                             max_workspace_bytes=1 << 30, compute_dtype=compute)
        plan = linear_results.make_plan(problem, n)
        self.n, self.v, self.dlogits, self.out = n, v, rng.random((n, v), dtype=np.float32), np.empty_like(w)
        self.products, self.blocks = linear_results.make_products(problem, plan), linear_results.Blocks(problem, plan)
        self.blocks.load(problem, slice(0, n), n)
        self.norms, self.ones = self.products.class_norms(), np.ones(n, np.float32)

    def refresh(self):
        self.blocks.logits[:self.n, :self.v] = self.dlogits

    def dense(self):
        self._multiply(self.products)

    def filtered(self, share):
        limits = np.full(self.n, 1 - share, np.float32)
        self._multiply(self.products.filtered(self.blocks.logits, self.n, 0, self.v, limits, self.ones, self.norms, 0.5))

    def _multiply(self, products):
        products.dfeatures(self.blocks.logits, self.blocks.dfeatures, self.n, 0, self.v, True)
        products.dclassifier(self.blocks.logits, self.blocks.features, self.n, self.out, None, True)


def table(found):
    """The Table of a case."""
    header = ["eps", "p kept", "tiles", "sorted", "dropped", "at most", "multiplied", "ms", "times faster",
              "by tiles", "by entries", "dfeatures", "bound", "dclassifier", "bound", "holds"]
    rows = [[f"{e['eps']:g}", *(f"{e[key]:.2%}" for key in ("kept", "tiles", "sorted_tiles", "dropped", "most_dropped",
                                                           "multiplied")),
             digits(e["ms"]), *(f"{e[key]:.2f}" for key in ("times", "times_by_sorted_tiles", "times_by_cost")),
             *(f"{value:.1e}" for pair in zip(e["errors"], e["bounds"], strict=True) for value in pair),
             "yes" if e["holds"] else "NO"] for e in found["entries"]]
    notes = [f"Tiles: the share of {TILE[0]} x {TILE[1]} tiles in which any p is kept, as they are and with the classes "
             "sorted by their mass. Dropped: the mean and the largest share of a row's p. Multiplied: what the call kept. "
             "By tiles, by entries: what could be had, if sorted tiles were skipped at no cost, and by the cost of single "
             f"entries, {KEPT_COST:g} times that of the dense products.",
             f"Without a filter {digits(found['dense_ms'])} ms, of which the losses alone are "
             f"{digits(found['forward_ms'])}; the errors, all relative, are then "
             f"{' and '.join(f'{e:.1e}' for e in found['dense_errors'])}.",
             f"{found['rounds']} interleaved rounds; medians."]
    notes += filter(None, [distrust(found["rounds"], {"": found["noisy"]})])
    return Table(found["description"], header, rows, notes)


def cost_table(found):
    """The Table of the costs."""
    rows = [[f"{f['n_features']:,}, {f['compute']}", digits(f["dense_ms"]), *(f"{r:.2f}" for r in f["ratios"].values())]
            for f in found]
    return Table(f"Both products of a block of {COST_SIZE[0]} x {COST_SIZE[1]:,}: filtered over dense, by the share kept",
                 ["features", "dense ms", *(f"{share:.0%}" for share in SHARES)], rows, [])


def verdict(results):
    """(what was missed, as text, of what the run can answer; the lines to print)."""
    lines, missed = [], []
    for name in ("demo", "peaked"):
        entries = (results.get(name) or {}).get("entries", [])
        missed += [f"{name}, {e['eps']:g}: the bound does not hold" for e in entries if not e["holds"]]
        for e in entries:
            if name == "demo" and e["eps"] == TARGET_EPS:
                most = max(e["times_by_sorted_tiles"], e["times_by_cost"])
                lines.append(f"grad_filter={TARGET_EPS:g} on the demo's model: {e['times']:.2f} times faster than dense, "
                             f"wanted at least {TARGET}")
                if e["times"] < TARGET and most < TARGET:
                    lines[-1] += (f"; its sparsity forbids that: {e['kept']:.1%} of p are kept, in {e['tiles']:.1%} of the "
                                  f"tiles ({e['sorted_tiles']:.1%} with sorted classes), which allow {most:.2f} at most")
                elif e["times"] < TARGET:
                    missed.append(lines[-1])
    return missed, lines


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.linear_filter", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", metavar="FOLDER", help="of `fastsoftmax train`; None: the demo's model is trained")
    parser.add_argument("--steps", type=int, default=STEPS, help="of that training")
    parser.add_argument("--rows", type=int, default=1_024, help="of both models")
    parser.add_argument("--features", type=int, default=512, help="of the made-up model")
    parser.add_argument("--vocabulary", type=int, default=100_000, help="classes of both")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the made-up model")
    parser.add_argument("--output", metavar="FOLDER", default="fastsoftmax-linear-filter", help="folder of the report")
    return parser.parse_args(argv)


def _steps(results, options):
    def steps(stop):
        for name, make in (("demo", lambda: demo_case(options, stop)), ("peaked", lambda: peaked_case(options))):
            case = make()
            with session.progress(stop, name) as tell:
                results[name] = measure(case, options.rounds, tell)
            show(table(results[name]))
        with session.progress(stop, "costs") as tell:
            results["costs"] = costs(min(options.rounds, linear_measure.GRID_ROUNDS), tell)
        show(cost_table(results["costs"]))

    return steps


def main(argv=None):
    """Measure, print and save linear-filter.json and linear-filter.md -> exit status."""
    options = _parse(argv)
    try:
        session.need(("rich", "tqdm"), "bench")
        session.make_folder(options.output)
        results = {"machine": machine.stamp(), "options": vars(options)}

        def write():
            results["missed"], lines = verdict(results)
            tables = [table(results[name]) for name in ("demo", "peaked") if name in results]
            tables += [cost_table(results["costs"])] if "costs" in results else []
            parts = ["# grad_filter", machine.describe(results["machine"]), *lines]
            for title, header, rows, notes in tables:
                parts += [f"## {title}", table_markdown(header, rows), *notes]
            session.replace(os.path.join(options.output, "linear-filter.json"), json.dumps(results, indent=1) + "\n")
            session.replace(os.path.join(options.output, "linear-filter.md"), "\n\n".join(parts) + "\n")
            print("\n".join([*lines, *(f"MISSED: {text}" for text in results["missed"])]), flush=True)

        status = session.run(results, _steps(results, options), write)
    except session.CommandError as error:
        print(error, file=sys.stderr)
        return 2
    return status or (MISSED if results["missed"] else 0)


if __name__ == "__main__":
    sys.exit(main())
