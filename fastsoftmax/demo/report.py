"""The demo's report: report.md, results.json and plots, from whatever has been done so far."""

import json
import os

from ..bench import ceilings
from ..bench.plots import draw
from ..bench.report import LEGEND, operation_markdown
from ..bench.session import replace
from .plots import PICTURES


def write(results, folder):
    """report.md, results.json and the PNG plots that the results allow."""
    write_text(results, folder, draw(PICTURES, results, folder))


def write_text(results, folder, pictures=()):
    """report.md and results.json."""
    replace(os.path.join(folder, "results.json"), json.dumps(results, indent=1) + "\n")
    replace(os.path.join(folder, "report.md"), markdown(results, pictures))


def markdown(results, pictures=()):
    """The report as text."""
    status = "" if results["status"] == "complete" else f" ({results['status']}: what was done so far)"
    parts = [f"# fastsoftmax demo{status}"]
    if "configuration" in results:
        parts.append(f"```\n{results['configuration']}\n```")
    if "ceilings" in results:
        parts.append(ceilings.describe(results["ceilings"]) + ".")
    done = [o for o in (results.get("comparison") or {}).get("operations", []) if o["rounds"]]
    if done:
        parts += [f"## Comparison at {results['comparison']['description']}", *map(operation_markdown, done), LEGEND]
    if results.get("training"):
        parts += ["## Next-word model", f"```\n{training_text(results['training'])}\n```"]
    parts += [f"![{title}]({name})" for name, title in pictures]
    return "\n\n".join(parts) + "\n"


def training_text(training):
    """Perplexities side by side, and the predictions."""
    if training.get("held_out_perplexity") is None:
        return "interrupted before the first step"
    lines = [f"{training['corpus']}: {training['words']:,} words in {training['seconds']:.1f} s "
             f"({training['words'] / max(training['seconds'], 1e-9):,.0f} words/s), full softmax over "
             f"{training['n_classes']:,} classes",
             f"held-out perplexity over {training['n_held_out_words']:,} words "
             f"({100 * training['unknown_share']:.1f}% of them outside the vocabulary, one class together):",
             f"  uniform  {training['uniform_perplexity']:12,.1f}",
             f"  unigram  {training['unigram_perplexity']:12,.1f}",
             f"  model    {training['held_out_perplexity']:12,.1f}"]
    for p in training["predictions"]:
        best = ", ".join(f"{w} {100 * q:.0f}%" for w, q in zip(p["next"], p["probs"], strict=True))
        lines.append(f"{' '.join(p['context'])} ... {best}")
    return "\n".join(lines)
