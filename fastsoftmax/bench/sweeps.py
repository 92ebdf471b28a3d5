"""What the pictures show: time and memory against the number of classes, threads, dtypes; and the first call.

Each sweep fills a dict as it goes: {"lines": {label: {"ms": [...], ...}}} along one axis, None where there is nothing.
"""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np

import fastsoftmax as fs

from . import memory
from .cases import DTYPES, OPERATIONS, Case, make
from .ceilings import Ceilings
from .measure import set_up
from .rivals import Call
from .rounds import Timed, interleaved, summary

SCALED = OPERATIONS["gradient-in-place"]
DTYPE_RIVALS = ("indices", "torch")  # that take part in the dtypes' sweep


def classes(sweep, case, rivals, measured, *, rounds, seed, tell):
    """Time and memory of loss and gradient in place against V, up to the case's, whose timings are `measured`."""
    sizes = sorted({max(2, round(case.n_classes / 10 ** (i / 2))) for i in range(5)})
    known = {e["name"]: e for e in measured["entries"]}
    rivals = [r for r in rivals if r.name in known and not r.compiles]
    sweep |= {"operation": SCALED.label, "n_rows": case.n_rows, "dtype": case.dtype, "n_classes": sizes,
              "lines": {r.label: {"name": r.name, "ms": [], "extra_bytes": []} for r in rivals}}
    for n in sizes[:-1]:
        tell(f"time of {n:,} classes")
        calls = set_up({"entries": [], "absent": {}}, make(replace(case, n_classes=n), SCALED, seed), rivals, tell)
        *_, taken = interleaved(calls, rounds)
        for rival in rivals:
            seconds = taken.get(rival.name)  # None where it failed at this size
            sweep["lines"][rival.label]["ms"].append(None if seconds is None else 1e3 * float(np.median(seconds)))
    for rival in rivals:
        tell(f"memory of {rival.label} against the number of classes")
        line = sweep["lines"][rival.label]
        line["ms"].append(known[rival.name]["ms"])
        line["extra_bytes"] = memory.measure(rival, case, [SCALED], sizes[:-1])[SCALED.name]
        line["extra_bytes"].append(known[rival.name]["extra_bytes"])


def threads(sweep, case, rivals, *, rounds, seed, tell):
    """Ours, and the ceilings, on 1, 2, 4 ... threads: the case, and one row ten times as long as its rows."""
    most = fs.get_num_threads()
    counts = [n for n in (1 << i for i in range(12)) if n < most] + [most]
    one_row = Case("one-row", 1, 10 * case.n_classes, case.dtype)
    jobs = [(make(c, o, seed), suffix) for c, o, suffix in (
        (case, OPERATIONS["loss"], ""), (case, SCALED, ""), (one_row, OPERATIONS["loss"], ", one row"))]
    ceilings, cells = Ceilings(case.n_bytes), {}
    for n in counts:
        cells |= {(f"ceiling, {name}", n): t for name, t in ceilings.timed(("read", "update"), n).items()}
        for rival in rivals:
            for inputs, suffix in jobs if rival.ours and not rival.absent else ():
                cells[f"{rival.label}, {inputs.operation.label}{suffix}", n] = call = Call(rival, inputs)
                call.context = _both(call.context, n)
    *_, taken = interleaved(cells, rounds, lambda text: tell(f"thread scaling: {text}"))
    sweep |= {"threads": counts, "description": case.describe(), "one_row": one_row.describe(), "lines": {}}
    for (label, _), seconds in taken.items():
        sweep["lines"].setdefault(label, {"ms": []})["ms"].append(1e3 * float(np.median(seconds)))


def _both(context, n_threads):
    @contextlib.contextmanager
    def both():
        with context(), fs.use_num_threads(n_threads):
            yield

    return both


def dtypes(sweep, case, rivals, *, rounds, seed, tell):
    """Time and error of each dtype at one shape, rounds interleaved across the dtypes."""
    sweep |= {"description": case.describe(), "operations": []}
    for operation in (OPERATIONS["loss"], SCALED):
        entries, cells = [], {}
        for dtype in DTYPES:
            done = {"entries": [], "absent": {}}
            calls = set_up(done, make(replace(case, dtype=dtype), operation, seed), rivals, tell)
            entries += [e | {"dtype": dtype} for e in done["entries"]]
            cells |= {(name, dtype): call for name, call in calls.items()}
        *_, taken = interleaved(cells, rounds, lambda text, o=operation: tell(f"{o.label} in each dtype: {text}"))
        sweep["operations"].append({"name": operation.name, "label": operation.label, "entries": [
            e | summary(taken[e["name"], e["dtype"]]) for e in entries]})


SMALL = Case("small", 4, 10)
SMALL_CALLS = {  # each as plain as can be: what is measured is what a call costs before the first logit
    "softmax": lambda x, labels: fs.softmax(x),
    "log_softmax": lambda x, labels: fs.log_softmax(x),
    "logsumexp": lambda x, labels: fs.logsumexp(x),
    "loss": fs.cross_entropy,
    "loss+gradient": fs.cross_entropy_and_grad,
    "loss+gradient in place": lambda x, labels: fs.cross_entropy_and_grad(x, labels, out=x),
}


def small_call(sweep, rivals, *, rounds, seed, tell):
    """Microseconds of a call on 4 x 10 logits, on each of our backends: {"lines": {label: {call: us}}}."""
    inputs, cells = make(SMALL, SCALED, seed), {}
    for rival in rivals:
        for name, call in SMALL_CALLS.items() if rival.ours and not rival.absent else ():
            cells[rival.label, name] = Timed(lambda c=call: c(inputs.x, inputs.labels),
                                             context=lambda n=rival.name: fs.use_backend(n))
    *_, taken = interleaved(cells, rounds, lambda text: tell(f"small calls: {text}"))
    sweep |= {"description": SMALL.describe(), "lines": {}}
    for (label, name), seconds in taken.items():
        sweep["lines"].setdefault(label, {})[name] = 1e6 * float(np.median(seconds))


FIRST_CALL = """
import json, time, numpy as np, fastsoftmax as fs
logits, labels = np.zeros((4, 10), np.float32), np.zeros(4, np.int64)
start = time.perf_counter()
fs.cross_entropy_and_grad(logits, labels)
print(json.dumps(time.perf_counter() - start))
"""


def first_call(sweep, rivals, tell):
    """Seconds of the first call in a new process, of each backend of ours, once its cache is filled."""
    for rival in rivals:
        if rival.ours and not rival.absent:
            tell(f"first call of {rival.label}")
            for _ in range(2):  # the first fills the cache
                done = subprocess.run([sys.executable, "-P", "-c", FIRST_CALL], capture_output=True, text=True,
                                      check=True, env=os.environ | {"FASTSOFTMAX_BACKEND": rival.name})
            sweep[rival.label] = json.loads(done.stdout)
