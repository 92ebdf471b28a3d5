"""What bench.linear measures. Results are plain dicts, filled as it goes, so that they hold what was done if interrupted.

section  {"description", "rounds", "entries": [...], "absent": {label: reason}, "ceiling": {...}, "noisy": [label]}
entry    {"name", "label", "ours"} and figures: of timings "seconds", "ms", "min_ms", "spread", and others each where it is
         measured
"""

import numpy as np

from .. import backends, reference, threads
from . import linear_memory
from .cases import Case
from .ceilings import FMA_ITERATIONS, Ceilings
from .grid import no_room
from .linear_rivals import BARE, FLOAT32, GRADIENTS, LOSSES, NUMPY, TORCH, Inputs, Size
from .rivals import Call, reference_name
from .rounds import Timed, interleaved, noisy, summary

EXACT = (256, 512, 20_000)  # at most, where errors are measured
GRID_ROUNDS = 5
LONG_ROUNDS, LONG = 3, 1e12  # of cells with more operations than that, which take seconds
PAUSE = 0.12  # seconds before each timing, in which threads of others go to sleep: OpenBLAS in NumPy 2.4 spins for 0.103
SETTLED = 0.05  # seconds of calls that no clock sees after that, for caches and threads to be as a call leaves them
FMA_SLICES = 8  # for each thread: 60 ms of a peak that is to be held for a second
PEAK, READ = "FMA peak", "read"  # keys of the ceilings' timings beside the contenders' names


def memory(found, rivals, size, tell):
    """Peak extra memory of each, gradients aside."""
    found |= {"description": size.describe(), "entries": [], "absent": {}}
    for rival in rivals:
        tell(f"memory of {rival.label}")
        if rival.absent:
            found["absent"][rival.label] = rival.absent
            continue
        try:
            extra = linear_memory.measure(rival, size)
        except RuntimeError as error:
            if rival.ours:
                raise
            found["absent"][rival.label] = str(error).replace("\n", " ")
            continue
        found["entries"].append(_entry(rival) | {"extra_mb": extra / 1e6})


def main_case(found, rivals, size, *, rounds, seed, tell):
    """Loss and both gradients, beside the FMA peak."""
    fma, operations = _fma()
    for taken in _timed(found, Inputs(size, GRADIENTS, seed), rivals, {PEAK: fma} if fma else {}, rounds, tell):
        ms = {e["name"]: e["ms"] for e in found["entries"]}
        found["ceiling"] = summary(taken[PEAK]) if fma else None
        if fma:
            found["ceiling"]["gflop_per_s"] = operations / found["ceiling"]["ms"] / 1e6
        for e in found["entries"]:
            e["gflop_per_s"] = size.operations / e["ms"] / 1e6
            e["peak_share"] = e["gflop_per_s"] / found["ceiling"]["gflop_per_s"] if fma else None
            e["times_torch"] = ms[TORCH] / e["ms"] if TORCH in ms else None
            e["times_numpy"] = ms[NUMPY] / e["ms"] if NUMPY in ms else None
            e["of_bare"] = e["ms"] / ms[BARE] if BARE in ms else None
            e["times_float32"] = ms[FLOAT32] / e["ms"] if FLOAT32 in ms else None


def one_row(found, rivals, size, *, rounds, seed, tell):
    """The losses of one row, beside reading as many bytes as the classifier has."""
    inputs = Inputs(Size(1, size.n_features, size.n_classes), LOSSES, seed)
    ceilings = Ceilings(inputs.w.nbytes)
    for taken in _timed(found, inputs, rivals, ceilings.timed((READ,)), rounds, tell):
        ceiling = found["ceiling"] = summary(ceilings.scaled(taken[READ])) | {"how": ceilings.how}
        for e in [*found["entries"], ceiling]:
            e["gb_per_s"] = inputs.w.nbytes / e["ms"] / 1e6
            e["read_share"] = ceiling["ms"] / e["ms"]


def accuracy(found, rivals, size, *, seed, tell):
    """Relative Frobenius errors, against float64, of the losses and both gradients; and how many times NumPy's they are."""
    size = size.within(*EXACT)
    found |= {"description": size.describe(), "entries": []}
    inputs = Inputs(size, LOSSES, seed), Inputs(size, GRADIENTS, seed)
    tell("the answers in float64")
    right = _right(inputs[0])
    for rival in rivals:
        if rival.absent or rival.name == BARE:
            continue
        tell(f"error of {rival.label}")
        losses, gradients = (Call(rival, i).result() for i in inputs)
        errors = {name: float(np.linalg.norm(got - exact) / np.linalg.norm(exact))
                  for (name, exact), got in zip(right.items(), (losses[0], *gradients[1:]), strict=True)}
        found["entries"].append(_entry(rival) | {"errors": errors})
    numpy = next(e["errors"] for e in found["entries"] if e["name"] == NUMPY)
    for e in found["entries"]:
        e["times_numpy"] = {name: error / numpy[name] for name, error in e["errors"].items()}
        e["worst_error"] = max(e["errors"].values())
        e["worst_times_numpy"] = float(np.max(list(e["times_numpy"].values())))


def _right(inputs):
    """{"loss": each row's, "dfeatures", "dclassifier"} in float64."""
    x, w = inputs.x.astype(np.float64), inputs.w.astype(np.float64)
    losses, dlogits = reference.cross_entropy(x @ w.T, inputs.y, reduction="none", dlosses=1 / len(x))
    dlogits = dlogits.astype(np.float64)
    return {"loss": losses.astype(np.float64), "dfeatures": dlogits @ w, "dclassifier": dlogits.T @ x}


def grid(found, rivals, sizes, *, rounds, seed, tell):
    """Loss and both gradients of many sizes: the faster of NumPy and PyTorch over ours, on our best backend."""
    ours = reference_name([r.name for r in rivals if r.ours and not r.absent])
    rivals = [r for r in rivals if r.name in (NUMPY, TORCH, ours)]
    found |= {"rounds": min(rounds, GRID_ROUNDS), "cells": [], "left_out": [], "worst": None}
    for size in sizes:
        reason = no_room(Case("", size.n_rows, size.n_classes))
        if reason:
            found["left_out"].append(f"{size.describe()}: {reason}")
            continue
        cell = {"size": [size.n_rows, size.n_features, size.n_classes]}
        some = min(found["rounds"], LONG_ROUNDS) if size.operations > LONG else found["rounds"]
        *_, _ = _timed(cell, Inputs(size, GRADIENTS, seed), rivals, {}, some,
                       lambda text, size=size: tell(f"{size.describe()}: {text}"))
        ms = {e["name"]: e["ms"] for e in cell["entries"]}
        best = min((e for e in cell["entries"] if not e["ours"]), key=lambda e: e["ms"])
        found["cells"].append(cell | {"ratio": best["ms"] / ms[ours], "rival": best["label"]})
        found["worst"] = min(found["cells"], key=lambda c: c["ratio"])


def _entry(rival):
    return {"name": rival.name, "label": rival.label, "ours": rival.ours}


def _timed(found, inputs, rivals, more, rounds, tell):
    """Time contenders and `more` timings in interleaved rounds; after each one fill `found` and give all seconds so far."""
    found |= {"description": inputs.case.describe(), "rounds": 0, "entries": [], "absent": {}, "noisy": []}
    calls = {}
    for rival in rivals:
        tell(f"warming up {rival.label}")
        reason = rival.why_not(inputs.case, inputs.operation) or _try(calls, rival, inputs)
        if reason is None:
            found["entries"].append(_entry(rival))
        else:
            found["absent"][rival.label] = reason
    timed = more | calls
    for one in timed.values():
        one.pause, one.settle = PAUSE, SETTLED
    for taken in interleaved(timed, rounds, tell):
        found["rounds"] += 1
        for e in found["entries"]:
            e |= summary(taken[e["name"]])
        labels = {r.name: r.label for r in rivals}
        found["noisy"] = noisy({labels.get(name, name): summary(seconds) for name, seconds in taken.items()})
        yield taken


def _try(calls, rival, inputs):
    """None, or why a contender that should work does not. Ours must work."""
    try:
        call = Call(rival, inputs)
        call.result()
    except Exception as error:
        if rival.ours:
            raise
        return f"it failed: {type(error).__name__}: {' '.join(str(error).split())}"
    calls[rival.name] = call
    return None


def _fma():
    """(the Timed of multiply-adds on all threads, how many operations they are); (None, 0) where it is not built."""
    if backends.why_not("cython") is not None:
        return None, 0
    fma_pass, n_threads = backends.load("cython").fma_pass, threads.get_num_threads()
    slices = [(FMA_ITERATIONS,)] * (n_threads * FMA_SLICES)

    def task(n):
        fma_pass(n)
        return -1

    return Timed(lambda: threads.each(task, slices, n_threads)), fma_pass(1) * FMA_ITERATIONS * len(slices)
