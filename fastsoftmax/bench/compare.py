"""Is it slower than before? Two results held together by what a slow day of the machine does not change."""

import json

from .session import CommandError

SCHEMA = 1  # of results.json
REGRESSED = 1  # exit status
DEFAULT_MARGIN = 10.0  # per cent


def load(path):
    """The results of an earlier run, from its results.json."""
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read {path}: {error}") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise CommandError(f"{path} is not a results.json of this version of fastsoftmax bench")
    return results


def compare(old, new, margin):
    """[(what, old share, new share, regressed)] for each of our timings that both results have.

    A share is the fastest round's per cent of the fastest ceiling round: minima, in units of what the machine itself
    did in the same rounds. Regressed: slower than that by more than `margin` per cent.
    """
    before, rows = _shares(old), []
    for what, share in _shares(new).items():
        if what in before:
            rows.append((what, before[what], share, share * (1 + margin / 100) < before[what]))
    if not rows:
        raise CommandError("the two results have no timing of fastsoftmax in common")
    return rows


def describe(rows, margin):
    """Lines for people."""
    worse = [row for row in rows if row[-1]]
    head = f"{len(worse)} of {len(rows)} timings are slower than before by more than {margin:g}%"
    lines = [f"  {what}: {share:.0f}% of the ceiling, was {was:.0f}%" for what, was, share, _ in worse]
    return "\n".join([head + (":" if worse else "."), *lines])


def _shares(results):
    return {f"{case['name']} ({case['description']}), {operation['label']}, {entry['label']}": entry["min_percent"]
            for case in results.get("cases", []) for operation in case["operations"]
            for entry in operation["entries"] if entry["ours"] and entry.get("min_percent")}
