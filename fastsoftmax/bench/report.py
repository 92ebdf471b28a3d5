"""The report: tables on the terminal, report.md, results.json and plots, from whatever has been done so far."""

import json
import os

from . import ceilings, grid, machine, rounds, targets
from .plots import PICTURES, draw
from .session import replace

MB = 1e6
IN_SHORT = ("one-hot", "indices", "scipy", "torch", "torch-compile", "jax")  # of the others, where there is no room for all
LEGEND = (
    "GB/s counts the least traffic possible, whatever a contender really moves: 4 bytes a float32 logit read, and as "
    "many written where there is a table to write. Ceiling: compiled loops of our own that only move these bytes, "
    "timed in the same rounds. Spread: interquartile range over median. Times ours: median over that of the first of "
    "our backends. Extra MB: peak resident memory beyond the inputs and the result, in a process of its own. Max ulp "
    "and error: the largest, in units of the dtype's last place and relative, against longdouble.")


def write(results, folder):
    """report.md, results.json and the PNG plots that the results allow."""
    pictures = draw(PICTURES, results, folder)
    write_text(results, folder, pictures)


def write_text(results, folder, pictures=()):
    """report.md and results.json."""
    replace(os.path.join(folder, "results.json"), json.dumps(results, indent=1) + "\n")
    replace(os.path.join(folder, "report.md"), markdown(results, pictures))


def markdown(results, pictures=()):
    """The whole report as text."""
    status = "" if results["status"] == "complete" else f" ({results['status']}: what was done so far)"
    parts = [f"# fastsoftmax bench{status}"]
    if results.get("cases"):
        parts.append(summary_markdown(results))
    parts += [f"![{title}]({name})" for name, title in pictures]
    for case in results.get("cases", []):
        parts.append(f"## {case['name']}: {case['description']}")
        parts += [operation_markdown(operation) for operation in case["operations"] if operation["rounds"]]
    if (results.get("grid") or {}).get("cells"):
        parts += ["## The grid", grid_markdown(results["grid"])]
    if results.get("comparison"):
        parts += ["## Against before", results["comparison"]]
    return "\n\n".join([*parts, LEGEND]) + "\n"


def summary_markdown(results, *, whole=True):
    """What the documentation shows: machine, one line an operation, the promised figures, and whether to trust them.

    whole=False is what a README has room for: not the promised figures, and of the others IN_SHORT.
    """
    parts = [machine.describe(results["machine"])]
    if results.get("ceilings"):
        parts.append(f"Measured in the same run: {ceilings.describe(results['ceilings'])}.")
    parts += [_summary_table(case, whole) for case in results["cases"] if any(o["rounds"] for o in case["operations"])]
    judged = targets.judge(results)
    if judged and whole:
        rows = [[t["text"], t["wanted"], t["measured"], "yes" if t["met"] else "NO"] for t in judged]
        parts.append(table_markdown(["wanted", "at", "measured", "met"], rows))
    if (results.get("grid") or {}).get("cells"):
        parts.append(grid.describe(results["grid"]))
    doubt = distrust(results) if whole else _distrust_in_short(results)
    return "\n\n".join([*parts, doubt or "Every timing's spread is small enough to trust its median."])


def distrust(results):
    """Why some of the timings should not be trusted, or None."""
    done = _done(results)
    least = min((o["rounds"] for o in done.values()), default=0)
    return rounds.distrust(least, {place: o["noisy"] for place, o in done.items()}) if done else None


def _done(results):
    return {f"{case['name']}, {o['label']}": o for case in results.get("cases", []) for o in case["operations"]}


def _distrust_in_short(results):
    if distrust(results) is None:
        return None
    done = _done(results).values()
    n_noisy, n_timings = sum(len(o["noisy"]) for o in done), sum(1 + len(o["entries"]) for o in done)
    return (f"NOT TO BE TRUSTED altogether: of {n_timings} timings {n_noisy} have an interquartile range over "
            f"{100 * rounds.TRUSTED_SPREAD:.0f}% of their median, or rounds were few. Run again on a quiet machine.")


def _summary_table(case, whole):
    """One line an operation: ours in ms and per cent of the ceiling, the others as multiples of ours."""
    operations = [o for o in case["operations"] if o["rounds"]]
    present = {e["label"] for o in operations for e in o["entries"] if whole or e["ours"] or e["name"] in IN_SHORT}
    ours = [label for label, c in case["contenders"].items() if label in present and c["ours"]][::-1]
    others = [label for label, c in case["contenders"].items() if label in present and not c["ours"]]
    header = [case["description"], *(f"{label.removeprefix('fastsoftmax, ')} {unit}" for label in ours
                                     for unit in ("ms", "% of ceiling")), *others]
    rows = []
    for o in operations:
        found = {e["label"]: e for e in o["entries"]}
        cells = [number(found.get(label), key, form) for label in ours
                 for key, form in (("ms", digits), ("percent", "{:.0f}".format))]
        cells += [number(found.get(label), "ratio", "{:.1f}x".format) for label in others]
        rows.append([o["label"], *cells])
    return table_markdown(header, rows)


def operation_rows(operation):
    """(header, rows), all text, of one operation's table."""
    header = [operation["label"], "ms", "min ms", "spread", "GB/s", "% of ceiling", "times ours", "extra MB", "max ulp",
              "error"]
    columns = (("ms", digits), ("min_ms", digits), ("spread", "{:.0%}".format), ("gb_per_s", "{:.2f}".format),
               ("percent", "{:.0f}".format), ("ratio", "{:.2f}".format),
               ("extra_bytes", lambda value: f"{value / MB:.1f}"), ("max_ulp", "{:.2g}".format),
               ("relative_error", "{:.1e}".format))
    return header, [[e["label"], *(number(e, key, form) for key, form in columns)] for e in operation["entries"]]


def operation_markdown(operation):
    """One operation's table with what is said below it."""
    return "\n\n".join([table_markdown(*operation_rows(operation)), *notes(operation)])


def notes(operation):
    """What is said below an operation's table: absences, ceiling, distrust; one text each."""
    lines = []
    if operation["absent"]:
        absent = "; ".join(f"{label}: {reason}" for label, reason in operation["absent"].items())
        lines.append(f"Absent: {absent}.")
    ceiling = operation["ceiling"]
    if ceiling:
        lines.append(f"Ceiling ({' + '.join(ceiling['passes'])}, {ceiling['how']}): {digits(ceiling['ms'])} ms, "
                     f"{ceiling['gb_per_s']:.1f} GB/s, spread {ceiling['spread']:.0%}; {operation['rounds']} "
                     "interleaved rounds.")
    warning = rounds.distrust(operation["rounds"], {"": operation["noisy"]})
    return [*lines, warning] if warning else lines


def print_operation(operation, title):
    """One operation's table on the terminal, with its notes."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 120)
    header, rows = operation_rows(operation)
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    print("\n".join(notes(operation)), flush=True)


def grid_markdown(cells):
    """Ratios as one table for each dtype and operation, rows down and classes across."""
    parts, found = [], {}
    for cell in cells["cells"]:
        found[cell["dtype"], cell["label"], cell["n_rows"], cell["n_classes"]] = cell
    for dtype, label in dict.fromkeys(key[:2] for key in found):
        rows = [[f"{n_rows:,}", *(number(found.get((dtype, label, n_rows, n)), "ratio", "{:.2f}".format)
                                  for n in cells["classes"])] for n_rows in cells["rows"]]
        parts.append(table_markdown([f"{dtype}, {label}: rows, classes", *(f"{n:,}" for n in cells["classes"])], rows))
    parts += [f"Left out: {text}." for text in cells["left_out"]]
    parts.append("Each cell: the fastest other contender's time over ours. " + grid.describe(cells))
    return "\n\n".join(parts)


def table_markdown(header, rows):
    """A Markdown table; numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(entry, key, form):
    value = None if entry is None else entry.get(key)
    return "-" if value is None else form(value)


def digits(ms):
    """Milliseconds with three figures, down to nanoseconds."""
    return f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3g}"
