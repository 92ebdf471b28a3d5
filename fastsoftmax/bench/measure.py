"""Contenders side by side on one case: time, useful bandwidth, share of the ceiling, peak extra memory and error.

Results are plain dicts, filled entry after entry, so that they hold what was done whenever it is interrupted:

case       {"name", "shape", "axis", "n_rows", "n_classes", "dtype", "description",
            "contenders": {label: {"name", "ours"}}, "operations": [...]}
operation  {"name", "label", "rounds", "entries": [...], "absent": {label: reason}, "ceiling": {...}, "noisy": [label]}
entry      {"name", "label", "ours", "seconds": [...], "ms", "min_ms", "spread", "gb_per_s", "percent", "min_percent",
            "ratio", "relative_error", "max_ulp", "extra_bytes"}
"""

import numpy as np

from . import memory, oracle
from .cases import make
from .ceilings import BYTES, Ceilings
from .rivals import Call, reference_name
from .rounds import interleaved, noisy, summary

CEILING = "ceiling"  # the key of a ceiling's timings beside the contenders' names


def new_case(case, rivals):
    """The dict of a case of which nothing is measured yet."""
    return {"name": case.name, "shape": list(case.shape), "axis": case.axis, "n_rows": case.n_rows,
            "n_classes": case.n_classes, "dtype": case.dtype, "description": case.describe(),
            "contenders": {r.label: {"name": r.name, "ours": r.ours} for r in rivals}, "operations": []}


def memory_of(case, operations, rivals, tell=lambda text: None):
    """{(operation name, rival name): peak extra bytes}, each contender in a process of its own."""
    extra = {}
    for rival in rivals:
        tell(rival.label)
        mine = [o for o in operations if rival.why_not(case, o) is None]
        if mine:
            measured = memory.measure(rival, case, mine)
            extra |= {(name, rival.name): values[0] for name, values in measured.items()}
    return extra


def run_operation(result, case, operation, rivals, *, rounds, seed, extra, tell=lambda text: None):
    """Measure one operation with every contender that can; appends to new_case()'s operations.

    extra: what memory_of gave.
    """
    done = {"name": operation.name, "label": operation.label, "rounds": 0, "entries": [], "absent": {},
            "ceiling": None, "noisy": []}
    result["operations"].append(done)
    tell(f"{operation.label}: making the table and its answers")
    inputs = make(case, operation, seed)
    calls = set_up(done, inputs, rivals, tell)
    for entry in done["entries"]:
        entry["extra_bytes"] = extra.get((operation.name, entry["name"]))
    ceilings = Ceilings(case.n_bytes)
    passes = ceilings.timed(operation.passes)
    for taken in interleaved({(CEILING, n): t for n, t in passes.items()} | calls, rounds,
                             lambda text: tell(f"{operation.label}: {text}")):
        done["rounds"] += 1
        best = [sum(parts) for parts in zip(*(taken[CEILING, n] for n in operation.passes), strict=True)]
        summarise(done, case, operation, taken, ceilings.scaled(best), ceilings.how)
    return done


def set_up(done, inputs, rivals, tell):
    """Prepare, warm up and check the contenders -> {name: Call}; entries and absences go into `done`."""
    right, calls = oracle.right(inputs), {}
    for rival in rivals:
        tell(f"{inputs.operation.label}: error of {rival.label}")
        reason = rival.why_not(inputs.case, inputs.operation) or _try(done, calls, rival, inputs, right)
        if reason is not None:
            done["absent"][rival.label] = reason
    inputs.refresh()
    return calls


def _try(done, calls, rival, inputs, right):
    """None, or why a contender that should work does not. Ours must work."""
    try:
        call = Call(rival, inputs)
        errors = right.errors(*call.result())
    except Exception as error:
        if rival.ours:
            raise
        return f"it failed: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    calls[rival.name] = call
    done["entries"].append({"name": rival.name, "label": rival.label, "ours": rival.ours, "extra_bytes": None} | errors)
    return None


def summarise(done, case, operation, taken, best, how):
    """Fill in what the timings say: taken {name: seconds}, best: the ceiling's seconds, each round."""
    n_bytes = sum(BYTES[p] for p in operation.passes) / 4 * case.n_bytes
    ceiling = done["ceiling"] = summary(best) | {"passes": list(operation.passes), "how": how}
    ceiling["gb_per_s"] = n_bytes / ceiling["ms"] / 1e6
    reference = reference_name([e["name"] for e in done["entries"]])
    for entry in done["entries"]:
        entry |= summary(taken[entry["name"]])
        entry |= {"gb_per_s": n_bytes / entry["ms"] / 1e6, "percent": 100 * ceiling["ms"] / entry["ms"],
                  "min_percent": 100 * ceiling["min_ms"] / entry["min_ms"],
                  "ratio": entry["ms"] / (1e3 * float(np.median(taken[reference]))) if reference else None}
    done["noisy"] = noisy({e["label"]: e for e in done["entries"]} | {"the ceiling": ceiling})
