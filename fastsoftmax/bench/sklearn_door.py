"""SoftmaxClassifier against LogisticRegression: python -m fastsoftmax.bench.sklearn_door. Time, and peak memory in a child.

Both are fitted for one iteration or epoch to float32 features. An iteration of L-BFGS takes several evaluations of the loss
and its gradient, each a pass over the data; a minibatch epoch is one. Exit status 1 where a figure misses its target.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np

from . import machine
from .memory import EXACT, now_and_reset, peak_now
from .rounds import Timed, interleaved, noisy, summary
from .targets import Target

SIZE = (20_000, 64, 10_000)
ROUNDS = 3  # of LogisticRegression, which takes 15 s and more a fit
THEIRS = "LogisticRegression"
LABELS = {THEIRS: "LogisticRegression, lbfgs", "lbfgs": "SoftmaxClassifier, lbfgs", "adagrad": "SoftmaxClassifier, adagrad"}
TIMES, SHARE = 10.0, 0.1  # what is promised
MISSED = 1  # exit status


def sample(n_rows, n_features, n_classes):
    """Features float32, labels in which every class occurs."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n_rows) % n_classes)
    return rng.standard_normal((n_rows, n_features), np.float32), y


def fit(name, X, y):
    """One iteration or epoch -> (evaluations of the loss and its gradient, the model)."""
    from scipy import optimize
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    from ..sklearn import SoftmaxClassifier

    model = LogisticRegression(max_iter=1) if name == THEIRS else SoftmaxClassifier(solver=name, max_iter=1, random_state=0)
    minimize, seen = optimize.minimize, []
    optimize.minimize = lambda *args, **options: seen.append(minimize(*args, **options)) or seen[-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
    finally:
        optimize.minimize = minimize
    return sum(int(result.nfev) for result in seen) or 1, model


def memory(name, size):
    """Peak bytes of a fit beyond its data, in a process of its own."""
    # -P: the installed package, also from a folder that holds a source tree of the same name
    command = [sys.executable, "-P", "-m", "fastsoftmax.bench.sklearn_door", "--child", json.dumps([name, *size])]
    done = subprocess.run(command, env=os.environ | EXACT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {name} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _extra(name, *size):
    fit(name, *sample(40, 3, 5))  # imports and threads are not the fit's memory
    X, y = sample(*size)
    before = now_and_reset()
    model = fit(name, X, y)  # stays alive
    extra = peak_now() - before
    del model
    return max(0, extra)


def measure(size, rounds, tell):
    """{"size", "rounds", "entries": {name: {"ms", "spread", "evaluations", "ms_an_evaluation", "extra_mb"}}, "noisy"}"""
    found = {name: {} for name in LABELS}
    for name, entry in found.items():
        tell(f"memory of {LABELS[name]}")
        entry["extra_mb"] = memory(name, size) / 1e6
    X, y = sample(*size)

    def timed(name):
        def run():
            found[name]["evaluations"] = fit(name, X, y)[0]

        one = Timed(run, repeats=False)
        one.warm = name == THEIRS  # the first of a round would take as long again
        return one

    for taken in interleaved({name: timed(name) for name in LABELS}, rounds, tell):
        for name, seconds in taken.items():
            found[name] |= summary(seconds)
    for entry in found.values():
        entry["ms_an_evaluation"] = entry["ms"] / entry["evaluations"]
    restless = noisy({LABELS[name]: entry for name, entry in found.items()})
    return {"size": list(size), "rounds": rounds, "entries": found, "noisy": restless}


def targets():
    """What is promised of each of our solvers."""
    def gain(name, key):
        return lambda results: results["entries"][THEIRS]["ms"] / results["entries"][name][key]

    def share(name):
        return lambda results: results["entries"][name]["extra_mb"] / results["entries"][THEIRS]["extra_mb"]

    for name, what in (("lbfgs", "an evaluation"), ("adagrad", "an epoch")):
        yield Target(f"{LABELS[name]}: LogisticRegression's iteration over {what}", TIMES,
                     gain(name, "ms_an_evaluation"), form="{:.1f}")
        yield Target(f"{LABELS[name]}: its peak memory over LogisticRegression's", SHARE,
                     share(name), at_most=True, form="{:.3f}")


def text(results, judged):
    """The report, in Markdown."""
    n, d, v = results["size"]
    lines = [f"{n:,} x {d}, {v:,} classes, float32, medians of {results['rounds']} interleaved rounds.", "",
             "| one iteration or epoch | ms | spread | evaluations | ms an evaluation | peak extra MB |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    lines += [f"| {LABELS[name]} | {e['ms']:.0f} | {e['spread']:.0%} | {e['evaluations']} | {e['ms_an_evaluation']:.0f} | "
              f"{e['extra_mb']:.0f} |" for name, e in results["entries"].items()]
    lines += ["", "| wanted | at | measured | met |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {j['text']} | {j['wanted']} | {j['measured']} | {'yes' if j['met'] else 'NO'} |" for j in judged]
    if results["noisy"]:
        lines += ["", f"NOT TO BE TRUSTED, because they spread too much: {', '.join(results['noisy'])}."]
    return "\n".join(lines)


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.sklearn_door", description=__doc__.splitlines()[0])
    parser.add_argument("--size", metavar="N,D,V", default=SIZE, type=lambda t: tuple(map(int, t.split(","))),
                        help="rows, features, classes; targets are of the default alone")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if len(options.size) != 3 or min(options.size) < 1 or options.size[0] < options.size[2] or options.rounds < 1:
        parser.error("--size must be three positive numbers, of which N is at least V, and --rounds at least 1")
    return options


def main(argv=None):
    """Measure and print -> exit status."""
    options = _parse(argv)
    if options.child:
        print(json.dumps(_extra(*json.loads(options.child))))
        return 0
    started = time.perf_counter()
    results = measure(options.size, options.rounds,
                      lambda what: print(f"{time.perf_counter() - started:5.0f} s  {what}", file=sys.stderr, flush=True))
    judged = [target.judge(results) for target in targets()] if tuple(options.size) == SIZE else []
    print(f"{machine.describe(machine.stamp())}\n\n{text(results, judged)}")
    return 0 if all(j["met"] for j in judged) else MISSED


if __name__ == "__main__":
    sys.exit(main())
