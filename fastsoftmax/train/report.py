"""The report of a training: report.md, results.json and the training curve."""

import json
import os

import numpy as np

from ..bench.plots import draw
from ..bench.session import replace


def write(results, folder):
    """All of it, from whatever has been done so far."""
    pictures = draw((("training.png", "Next-word model", training_curve),), results, folder)
    replace(os.path.join(folder, "results.json"), json.dumps(results, indent=1) + "\n")
    status = "" if results["status"] == "complete" else f" ({results['status']}: what was done so far)"
    options = ", ".join(f"{name} {value}" for name, value in results["options"].items())
    parts = [f"# fastsoftmax train{status}", options + ".", f"```\n{training_text(results['training'])}\n```",
             *(f"![{title}]({name})" for name, title in pictures)]
    replace(os.path.join(folder, "report.md"), "\n\n".join(parts) + "\n")


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


def training_curve(figure, results):
    """Perplexity against words seen, on log axes."""
    training = results.get("training") or {}
    if not training.get("curve", {}).get("words"):
        return False
    axes = figure.add_subplot()
    loss = np.array(training["curve"]["loss"])
    width = max(1, len(loss) // 50)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    words = training["curve"]["words"][width - 1:]
    label = "training" + (f", mean of {width} points" if width > 1 else "")
    axes.plot(words, np.exp(smooth), alpha=0.6, label=label)
    axes.plot(training["checks"]["words"], training["checks"]["perplexity"], "o-", label="held out")
    axes.axhline(training["unigram_perplexity"], color="gray", ls="--", label="unigram, held out")
    axes.set(xlabel="words trained on", ylabel="perplexity", yscale="log")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    return True
