"""[5] The main job: configuration, comparison, next-word model on real text, report. Imports nothing heavy."""

import contextlib
import io
import os
import time

from ..bench import session

NEEDED = ("matplotlib", "rich", "tqdm")
RIVALS = "one-hot,indices,scipy"  # beside ours
OPERATIONS = ("loss", "gradient-in-place")
CHECKS = 8  # looks at the held-out words in the course of the training
SWEEP_ROUNDS = 3  # of the curves against the number of classes: the training needs the time


def run(options):
    """The demo with the options of `fastsoftmax demo` -> exit status; a report in options.output, come what may."""
    from ..train import corpus
    from . import report

    session.need(NEEDED, "demo")
    corpus.check(options.corpus)
    session.make_folder(options.output)
    chosen = {name: value for name, value in vars(options).items() if name not in ("run", "command")}
    results = {"status": "interrupted", "options": chosen}

    def write():
        report.write(results, options.output)
        print(f"\nreport ({results['status']}): {os.path.join(options.output, 'report.md')}", flush=True)

    return session.run(results, lambda stop: _steps(results, options, stop), write)


def _steps(results, options, stop):
    from ..bench import ceilings
    from ..train import corpus, loop
    from . import report

    start = time.perf_counter()
    _title("1. Configuration")
    results["configuration"] = _configuration()
    print(results["configuration"], flush=True)
    results["ceilings"] = ceilings.measure()
    print(ceilings.describe(results["ceilings"]), flush=True)
    report.write_text(results, options.output)

    _title(f"2. Comparison at {options.rows:,} x {options.classes:,} float32")
    _compare(results, options, stop)
    report.write_text(results, options.output)

    _title(f"3. Next-word model, full softmax, {options.seconds:g} s of training")
    training = results["training"] = {}
    with session.progress(stop, "reading the corpus") as tell:
        tell(options.corpus or corpus.PACKAGE)
        words = corpus.load(options.corpus, options.vocabulary)
    stop.check()
    print(f"{words.name}: {len(words.train):,} words to train on, {len(words.vocabulary):,} classes", flush=True)
    run = loop.Run(words, loop.Settings(seed=options.seed), training)
    loop.train(run, seconds=options.seconds, evaluate_every=options.seconds / CHECKS, stop=stop)
    print(report.training_text(training), flush=True)
    results["total_seconds"] = time.perf_counter() - start


def _compare(results, options, stop):
    """The table of step 2, then time and memory against the number of classes."""
    from ..bench import cases, measure, rivals, sweeps
    from ..bench.report import print_operation

    case = cases.Case("demo", options.rows, options.classes)
    operations = [cases.OPERATIONS[name] for name in OPERATIONS]
    contenders = rivals.select(RIVALS)
    how = {"rounds": options.rounds, "seed": options.seed}
    comparison = results["comparison"] = measure.new_case(case, contenders)
    with session.progress(stop, "memory", len(contenders)) as tell:
        extra = measure.memory_of(case, operations, contenders, tell)
    for operation in operations:
        with session.progress(stop, "comparison", 1 + len(contenders) + options.rounds) as tell:
            measure.run_operation(comparison, case, operation, contenders, extra=extra, tell=tell, **how)
        print_operation(comparison["operations"][-1], f"{operation.label}, {case.describe()}")
    found = results["sweeps"] = {"classes": {}}
    with session.progress(stop, "time and memory against classes") as tell:
        sweeps.classes(found["classes"], case, contenders, comparison["operations"][-1], tell=tell,
                       rounds=min(options.rounds, SWEEP_ROUNDS), seed=options.seed)


def _configuration():
    import fastsoftmax as fs

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        fs.show_config()
    return text.getvalue().strip()


def _title(text):
    print(f"\n{text}", flush=True)
