"""The demo's report: report.md, results.json and plots, from whatever has been done so far."""

import json
import os

from ..bench import ceilings
from ..bench.plots import draw
from ..bench.report import LEGEND, operation_markdown
from ..bench.session import replace
from ..train.report import training_text
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
