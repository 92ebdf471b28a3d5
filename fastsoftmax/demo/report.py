"""The report: tables on the terminal, report.md, results.json and plots, from whatever has been done so far."""

import json
import os

from .plots import draw
from .rivals import JOBS

MB = 1e6


def write(results, folder):
    """report.md, results.json and the PNG plots that the results allow."""
    pictures = draw(results, folder)
    write_text(results, folder, pictures)


def write_text(results, folder, pictures=()):
    """report.md and results.json, each replaced whole, so that a reader never sees half a file."""
    _replace(os.path.join(folder, "results.json"), json.dumps(results, indent=1) + "\n")
    _replace(os.path.join(folder, "report.md"), markdown(results, pictures))


def markdown(results, pictures=()):
    """The report as text."""
    status = "" if results["status"] == "complete" else f" ({results['status']}: what was done so far)"
    parts = [f"# fastsoftmax demo{status}"]
    if "configuration" in results:
        parts.append(f"```\n{results['configuration']}\n```")
    if "bandwidth" in results:
        from .ceilings import describe

        parts.append(describe(results["bandwidth"]) + ".")
    if (results.get("comparison") or {}).get("entries"):
        parts.append(_comparison_markdown(results["comparison"]))
    if results.get("training"):
        parts += ["## Next-word model", f"```\n{training_text(results['training'])}\n```"]
    parts += [f"![{title}]({name})" for name, title in pictures]
    return "\n\n".join(parts) + "\n"


def comparison_rows(comparison, job):
    """Header and rows, all text, of one job's table."""
    header = ["", "ms", "GB/s", "% of ceiling", "extra MB", "error of loss"]
    rows = []
    for e in comparison["entries"]:
        if e["job"] == job:
            rows.append([e["label"], _number(e.get("ms"), ".1f"), _number(e.get("gb_per_s"), ".2f"),
                         _number(e.get("percent"), ".0f"),
                         _number(None if e.get("extra_bytes") is None else e["extra_bytes"] / MB, ".1f"),
                         _number(e["loss_error"], ".1e")])
            if job == JOBS[1]:
                rows[-1].append(_number(e["gradient_error"], ".1e"))
    return header + (["error of gradient"] if job == JOBS[1] else []), rows


def print_comparison(comparison):
    """Both tables on the terminal, and the contenders that are absent."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 110)
    for job in JOBS:
        header, rows = comparison_rows(comparison, job)
        table = Table(title=f"{job}, {comparison['n_rows']:,} x {comparison['n_classes']:,} float32, median of "
                            f"{comparison['rounds']}", title_justify="left")
        for i, name in enumerate(header):
            table.add_column(name, justify="right" if i else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    print(_legend(comparison), flush=True)


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


def _comparison_markdown(comparison):
    parts = [f"## Comparison at {comparison['n_rows']:,} x {comparison['n_classes']:,} float32, "
             f"median of {comparison['rounds']} interleaved rounds"]
    for job in JOBS:
        header, rows = comparison_rows(comparison, job)
        if rows:
            lines = [[job, *header[1:]], ["---", *["---:"] * (len(header) - 1)], *rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*parts, _legend(comparison)])


def _legend(comparison):
    ceiling = comparison.get("ceiling")
    lines = [f"Absent: {label}, because {reason}." for label, reason in comparison["absent"].items()]
    if ceiling:
        lines.append(f"Ceiling, measured in the same rounds: {ceiling['read']:.1f} GB/s reading (loss), "
                     f"{ceiling['update']:.1f} GB/s updating in place (loss+gradient); {ceiling['how']}.")
    lines.append("GB/s counts the least traffic possible, 4 bytes a logit for the loss and 8 with the gradient, "
                 "whatever a contender really moves. Extra MB: peak resident memory beyond the inputs, in a process "
                 "of its own. Errors: largest relative, against float64.")
    return "\n".join(lines)


def _number(value, form):
    return "-" if value is None else format(value, form)


def _replace(path, text):
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)
