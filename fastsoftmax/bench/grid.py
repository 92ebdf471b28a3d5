"""Every shape from one short row to thousands of long ones, each dtype: are we ever slower than somebody else?"""

import os

from .cases import DTYPES, OPERATIONS, Case, make
from .measure import set_up
from .rivals import reference_name
from .rounds import interleaved, summary

ROWS = (1, 8, 64, 512, 4096)
CLASSES = (10, 100, 1_000, 10_000, 100_000)
TOY_ROWS, TOY_CLASSES = (1, 8), (10, 100)
SHOWN = tuple(OPERATIONS[name] for name in ("loss", "gradient-in-place", "softmax"))
RIVALS = ("indices", "scipy", "torch")
LOGITS = 200_000_000  # in all rounds of a cell: large cells get fewer, but at least LEAST_ROUNDS
LEAST_ROUNDS = 3
# Who takes so many times as long as the fastest in the first round, and so many seconds, takes part in no other.
FAR, SLOW = 5, 0.1
TABLES = 5  # that the hungriest contender holds at once


def run(grid, rivals, *, rounds, seed, tell=lambda text: None, toy=False):
    """Fill {"cells": [{"n_rows", "n_classes", "dtype", "operation", "entries", "ratio", "rival"}], "left_out", "worst"}.

    ratio: the median of the fastest other contender, `rival`, over ours; below 1 we are the slower one. A contender that is
    FAR behind has one round.
    """
    rows, classes = _axes(toy)
    grid |= {"rows": rows, "classes": classes, "cells": [], "left_out": [], "worst": None}
    for dtype in DTYPES:
        for n_classes in classes:
            for n_rows in rows:
                case = Case(f"{n_rows:,} x {n_classes:,} {dtype}", n_rows, n_classes, dtype)
                reason = no_room(case)
                if reason:
                    grid["left_out"].append(f"{case.describe()}: {reason}")
                    continue
                for operation in SHOWN:
                    tell(f"{case.name}, {operation.label}")
                    few = max(LEAST_ROUNDS, LOGITS // (n_rows * n_classes))
                    grid["cells"].append(_cell(case, operation, rivals, min(rounds, few), seed))
                    judged = [c for c in grid["cells"] if c["ratio"] is not None]
                    grid["worst"] = min(judged, key=lambda c: c["ratio"], default=None)


def n_cells(toy=False):
    """How many steps run() has."""
    rows, classes = _axes(toy)
    return len(DTYPES) * len(rows) * len(classes) * len(SHOWN)


def _axes(toy):
    return (TOY_ROWS, TOY_CLASSES) if toy else (ROWS, CLASSES)


def _cell(case, operation, rivals, rounds, seed):
    done = {"entries": [], "absent": {}}
    calls = set_up(done, make(case, operation, seed), rivals, lambda text: None)
    *_, taken = interleaved(calls, 1)
    fastest = min(seconds[0] for seconds in taken.values())
    near = {name: call for name, call in calls.items() if taken[name][0] < max(FAR * fastest, SLOW)}
    if rounds > 1:
        *_, more = interleaved(near, rounds - 1)
        taken |= {name: taken[name] + seconds for name, seconds in more.items()}
    cell = {"n_rows": case.n_rows, "n_classes": case.n_classes, "dtype": case.dtype, "operation": operation.name,
            "label": operation.label, "ratio": None, "rival": None,
            "entries": [e | summary(taken[e["name"]]) for e in done["entries"]]}
    ours = reference_name(list(calls))
    times = {e["name"]: e["ms"] for e in cell["entries"]}
    others = [e for e in cell["entries"] if not e["ours"]]
    if ours and others:
        fastest = min(others, key=lambda e: e["ms"])
        cell |= {"ratio": fastest["ms"] / times[ours], "rival": fastest["label"]}
    return cell


def describe(grid):
    """The worst cell, in a sentence."""
    worst = grid["worst"]
    if worst is None:
        return "No cell has another contender."
    return (f"Worst of {len(grid['cells'])} cells: {worst['label']} at {worst['n_rows']:,} x {worst['n_classes']:,} "
            f"{worst['dtype']}, where {worst['rival']} takes {worst['ratio']:.2f} times as long as we do.")


def no_room(case):
    """Why a case does not fit into the memory that is free now, or None."""
    try:
        with open("/proc/meminfo") as info:
            free = next(1024 * int(line.split()[1]) for line in info if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") if hasattr(os, "sysconf") else float("inf")
    needed = TABLES * max(case.n_bytes, 4 * case.n_rows * case.n_classes)
    return f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free" if needed > free else None
