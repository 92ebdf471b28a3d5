"""[5] The main job: configuration, comparison, next-word model on real text, report. Imports nothing heavy."""

import contextlib
import importlib.util
import io
import os
import signal
import threading
import time

from .errors import DemoError as DemoError

NEEDED = ("matplotlib", "rich", "tqdm")
INTERRUPTED = 130
BATCH = 256  # words per training step


def run(options):
    """The demo with the options of `fastsoftmax demo` -> exit status; a report in options.output, come what may."""
    from . import corpus

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoError(f'{", ".join(missing)} not installed: pip install "fastsoftmax[demo]"')
    corpus.check(options.corpus)
    try:
        os.makedirs(options.output, exist_ok=True)
    except OSError as error:
        raise DemoError(f"cannot write to {options.output}: {error.strerror}") from error
    chosen = {name: value for name, value in vars(options).items() if name not in ("run", "command")}
    results = {"status": "interrupted", "options": chosen}
    with _ctrl_c() as stop:
        try:
            _steps(results, options, stop)
            stop.deferred = True  # from here on Ctrl-C waits until the report is whole
            results["status"] = "complete"
        except KeyboardInterrupt:
            _write(results, options, stop)
        except BaseException:
            results["status"] = "failed"
            _write(results, options, stop)
            raise
        else:
            _write(results, options, stop)
    return 0 if results["status"] == "complete" and not stop.requested else INTERRUPTED


def _write(results, options, stop):
    from . import report

    stop.deferred = True
    report.write(results, options.output)
    print(f"\nreport ({results['status']}): {os.path.join(options.output, 'report.md')}", flush=True)


def _steps(results, options, stop):
    from . import ceilings, compare, corpus, report, train

    start = time.perf_counter()
    _title("1. Configuration")
    results["configuration"] = _configuration()
    print(results["configuration"], flush=True)
    results["bandwidth"] = ceilings.measure()
    print(ceilings.describe(results["bandwidth"]), flush=True)
    report.write_text(results, options.output)

    _title(f"2. Comparison at {options.rows:,} x {options.classes:,} float32")
    comparison = results["comparison"] = {}
    with _status() as tell:
        compare.run(comparison, n_rows=options.rows, n_classes=options.classes, rounds=options.rounds,
                    seed=options.seed, tell=lambda text: (stop.check(), tell(text)))
    report.print_comparison(comparison)
    report.write_text(results, options.output)

    _title(f"3. Next-word model, full softmax, {options.seconds:g} s of training")
    training = results["training"] = {}
    with _status() as tell:
        tell("reading the corpus")
        words = corpus.load(options.corpus, options.vocabulary)
    stop.check()
    print(f"{words.name}: {len(words.train):,} words to train on, {len(words.vocabulary):,} classes", flush=True)
    train.run(training, words, seconds=options.seconds, batch=BATCH, seed=options.seed, check=stop.check)
    print(report.training_text(training), flush=True)
    results["total_seconds"] = time.perf_counter() - start


def _configuration():
    import fastsoftmax as fs

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        fs.show_config()
    return text.getvalue().strip()


def _title(text):
    print(f"\n{text}", flush=True)


@contextlib.contextmanager
def _status():
    """A line that tells what is being done, on a terminal; nothing elsewhere."""
    from rich.console import Console

    with Console().status("") as status:
        yield status.update


class _Stop:
    """Remembers Ctrl-C: a KeyboardInterrupt that lands in a callback or destructor would otherwise be lost."""

    requested = deferred = False

    def handle(self, *_):
        first, self.requested = not self.requested, True
        if first and not self.deferred:  # a second one must not cut the report short
            raise KeyboardInterrupt

    def check(self):
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.requested and not self.deferred:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _ctrl_c():
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers, and only it is interrupted
        return
    before = signal.signal(signal.SIGINT, stop.handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
