"""The linear layer and its loss: python -m fastsoftmax.bench.linear. Time, memory, error, the ceilings, and a grid.

Loss and both gradients against what NumPy takes for the three bare products, against NumPy's and PyTorch's whole job, and
against the FMA peak, all in the same interleaved rounds; the losses of one row against reading the classifier once. Exit
status 1 where a figure of ours misses its target.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import sys

from .. import threads
from . import linear_measure as measure
from . import linear_report as report
from . import session
from .linear_rivals import Size, contenders
from .rounds import ROUNDS

SIZE = Size(2_048, 512, 100_000)
GRID_FEATURES, GRID_ROWS, GRID_CLASSES = (64, 256, 512, 2_048), (1, 16, 128, 1_024, 16_384), (20_000,)
MISSED = 1  # exit status


def _blas_threads():
    """NumPy's products on as many threads as ours, where that can be asked for; else BLAS takes as many as it likes."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads.get_num_threads(), user_api="blas")


def _steps(results, options):
    """What session.run calls: everything in order, each table shown as soon as it is measured."""
    def steps(stop):
        rivals, size, how = contenders(), options.size, {"rounds": options.rounds, "seed": options.seed}
        jobs = {"memory": lambda found, tell: measure.memory(found, rivals, size, tell),
                "main": lambda found, tell: measure.main_case(found, rivals, size, tell=tell, **how),
                "accuracy": lambda found, tell: measure.accuracy(found, rivals, size, seed=options.seed, tell=tell),
                "one_row": lambda found, tell: measure.one_row(found, rivals, size, tell=tell, **how)}
        if options.grid:
            sizes = [Size(n, d, v) for v in options.grid_classes for d in GRID_FEATURES for n in options.grid_rows]
            jobs["grid"] = lambda found, tell: measure.grid(found, rivals, sizes, tell=tell, **how)
        for name, job in jobs.items():
            results[name] = {}
            with session.progress(stop, name) as tell, _blas_threads():
                job(results[name], tell)
            report.show(report.table(name, results[name]))

    return steps


def _numbers(text):
    """Positive whole numbers between commas."""
    found = tuple(int(part) for part in text.split(","))
    if min(found) < 1:
        raise ValueError(text)
    return found


def _size(text):
    return Size(*_numbers(text))


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.linear", description=__doc__.splitlines()[0])
    parser.add_argument("--output", metavar="FOLDER", default="fastsoftmax-linear", help="folder of the report")
    parser.add_argument("--rounds", type=int, default=ROUNDS,
                        help=f"interleaved rounds; in the grid at most {measure.GRID_ROUNDS}")
    parser.add_argument("--size", type=_size, metavar="N,D,V", default=SIZE, help="rows, features, classes")
    parser.add_argument("--no-grid", dest="grid", action="store_false", help="leave the grid out")
    parser.add_argument("--grid-rows", type=_numbers, metavar="N,...", default=GRID_ROWS, help="of the grid")
    parser.add_argument("--grid-classes", type=_numbers, metavar="V,...", default=GRID_CLASSES, help="of the grid")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main(argv=None):
    """Measure, print and save linear.json and linear.md -> exit status."""
    options = _parse(argv)
    try:
        session.need(("rich", "tqdm"), "bench")
        session.make_folder(options.output)
    except session.CommandError as error:
        print(error, file=sys.stderr)
        return 2
    results = report.begin(options)

    def write():
        report.judge(results, options.size)
        session.replace(os.path.join(options.output, "linear.json"), json.dumps(results, indent=1) + "\n")
        session.replace(os.path.join(options.output, "linear.md"), report.markdown(results))

    status = session.run(results, _steps(results, options), write)
    report.show(report.verdict(results))
    print(f"\nreport ({results['status']}): {os.path.join(options.output, 'linear.md')}", flush=True)
    return status or (MISSED if results["missed"] else 0)


if __name__ == "__main__":
    sys.exit(main())
