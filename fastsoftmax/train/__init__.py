"""[5] A next-word model on any text: `fastsoftmax train`, which may be killed and resumed, and `fastsoftmax generate`."""

import math
import os
from dataclasses import fields

from ..bench import session

NEEDED = ("matplotlib", "tqdm")
LEARNING_RATES = {"adagrad": 0.1, "adam": 0.003, "sgd": 2.0}
SECONDS = 60.0  # where neither --seconds nor --steps is given


def run(options):
    """`fastsoftmax train` with its options -> exit status; a checkpoint and a report, also after Ctrl-C."""
    from . import checkpoint, corpus, report

    session.need(NEEDED, "demo")
    corpus.check(options.corpus)
    session.make_folder(options.checkpoint)
    path = os.path.join(options.checkpoint, checkpoint.NAME)
    if options.resume != os.path.exists(path):
        raise session.CommandError(f"{path} does not exist: there is nothing to resume" if options.resume else
                                   f"{path} exists: go on with it by --resume, or give another --checkpoint FOLDER")
    settings = _settings(options)
    found = checkpoint.read(path) if options.resume else None
    if found:
        checkpoint.check_settings(found, settings, path)
    chosen = {name: value for name, value in vars(options).items() if name not in ("run", "command")}
    results = {"status": "interrupted", "options": chosen, "training": {}}
    training = _Training(results, options, settings, path, found)

    def write():
        if results["status"] == "interrupted":  # after a failure half of the model may be stepped
            training.save()
        if found and not training.run:
            return  # nothing was done: the report that stands there is worth more
        report.write(results, options.checkpoint)
        print(f"\nreport ({results['status']}): {os.path.join(options.checkpoint, 'report.md')}", flush=True)

    return session.run(results, training.steps, write)


class _Training:
    """The steps of one command."""

    def __init__(self, results, options, settings, path, found):
        self.results, self.options, self.settings, self.path, self.found = results, options, settings, path, found
        self.run = None

    def steps(self, stop):
        from . import checkpoint, corpus, loop, report

        options = self.options
        with session.progress(stop, "reading the corpus") as tell:
            tell(options.corpus or corpus.PACKAGE)
            words = corpus.load(options.corpus, options.vocabulary)
        stop.check()
        print(f"{words.name}: {len(words.train):,} words to train on, {len(words.vocabulary):,} classes", flush=True)
        run = loop.Run(words, self.settings, self.results["training"])
        if self.found:
            checkpoint.resume(run, self.found, self.path)
            self.found = None  # its arrays are the run's now
            print(f"resumed at step {run.training['steps']:,}", flush=True)
        self.run = run
        seconds = options.seconds or (math.inf if options.steps else SECONDS)
        loop.train(run, seconds=seconds, steps=options.steps or math.inf, evaluate_every=options.evaluate_every,
                   stop=stop, save=self.save, save_every=options.checkpoint_every)
        print(report.training_text(run.training), flush=True)

    def save(self):
        from . import checkpoint

        if self.run:
            checkpoint.write(self.path, self.run)


def _settings(options):
    from .loop import Settings

    given = {field.name: getattr(options, field.name) for field in fields(Settings)}
    rate = given.pop("learning_rate") or LEARNING_RATES[given["optimizer"]]
    return Settings(learning_rate=rate, **given)
